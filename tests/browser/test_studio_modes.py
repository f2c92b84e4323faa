"""Live mode in a real browser: turned to by a button, said on every page, and left again."""

from __future__ import annotations

from typing import Any

import pytest

from marketplace import organizations
from marketplace.access import system
from marketplace.models import ApiKey, Organization
from tests.browser.conftest import VisitorFor
from tests.browser.test_accessibility import faults
from tests.browser.visitor import DESKTOP, PASSWORD, PHONE

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PAGES = ("/studio/", "/studio/mode/", "/studio/marketplace/apikey/", "/studio/licensing/offer/add/")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_an_owner_turns_to_live_mode_and_makes_a_live_key(
    visitor_for: VisitorFor, size: tuple[int, int], archive: Organization, ledger_keys: Any
) -> None:
    organizations.admit(
        archive, email="ada@example.org", name="Ada", password=PASSWORD, role="owner"
    )
    ada = visitor_for(size)
    ada.sign_in("ada@example.org", "/studio/")
    assert ada.page.locator(".mode strong").inner_text() == "Test mode"
    assert list(faults(ada, list(PAGES), size)) == []

    ada.open("/studio/mode/")
    ada.press("Turn to live mode")
    assert ada.page.locator(".mode strong").inner_text() == "Live mode"
    assert list(faults(ada, list(PAGES), size)) == []

    ada.open("/studio/marketplace/apikey/add/")
    ada.fill(name="Nightly")
    ada.field("scopes").select_option("works:read")
    ada.press("Save")
    assert ada.page.locator("#content pre").inner_text().startswith("licet_live_")
    assert ada.violations() == []
    ada.leave(ada.page.reload)
    assert "licet_live_" not in ada.page.content()
    assert "was shown once" in ada.page.content()
    with system("look at the keys of a test"):
        assert [key.livemode for key in ApiKey.objects.all()] == [True]
    assert ada.complaints == []
