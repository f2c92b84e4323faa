"""The API reference, in a browser that holds it to its policy."""

from __future__ import annotations

import pytest

from tests.browser.conftest import VisitorFor

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_the_reference_works_under_the_policy_of_all_pages(visitor_for: VisitorFor) -> None:
    visitor = visitor_for()
    assert visitor.open("/docs/") == 200
    visitor.page.locator(".opblock-tag").first.wait_for()
    visitor.page.locator(".opblock-summary-control").first.click()
    visitor.page.get_by_role("button", name="Try it out").first.wait_for()
    assert visitor.complaints == []
