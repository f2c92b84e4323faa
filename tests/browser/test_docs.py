"""The documentation's pages: WCAG 2.2 AA on desk and phone, by keyboard, from this host alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Route

from marketplace.models import Organization
from tests.browser.conftest import VisitorFor
from tests.browser.visitor import DESKTOP, PHONE, Visitor
from tests.make import make_offer
from tests.people import ApiClient

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PAGES = (
    "/docs/",
    "/docs/reference/collections/",
    "/docs/reference/listings/",
    "/docs/reference/quotes/",
    "/docs/reference/webhook-endpoints/",
    "/docs/schemas/Quote/",
    "/docs/try/",
    "/docs/try/append_upload/",
    "/docs/try/create_quote/",
    "/docs/guide/",
    "/docs/guide/quickstart/",
    "/docs/guide/errors/",
    "/docs/guide/studio/",
    "/docs/guide/verify/",
    "/docs/guide/webhooks/",
    "/docs/more/ledger_format/",
    "/docs/errors",
)
ELSEWHERE = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`refused by the policy: ${event.violatedDirective} ${event.blockedURI}`);
});
"""


def watched(visitor: Visitor) -> list[str]:
    """Every host that the browser asks from now on; what the policy refuses is a complaint."""
    hosts: list[str] = []
    visitor.page.add_init_script(ELSEWHERE)
    visitor.page.on("request", lambda request: hosts.append(urlsplit(request.url).netloc))
    return hosts


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_no_page_breaks_wcag_2_2_aa_its_policy_or_asks_another_host(
    visitor_for: VisitorFor, size: tuple[int, int]
) -> None:
    visitor = visitor_for(size)
    hosts = watched(visitor)
    found = []
    for path in PAGES:
        assert visitor.open(path) == 200, path
        visitor.page.evaluate(
            "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
        )
        found += [f"{path}: {each}" for each in visitor.violations()]
        if visitor.overflow() > 0:
            found.append(f"{path}: {visitor.overflow()} pixels too wide")
    assert found == [], "\n".join(found)
    assert visitor.complaints == []
    # An address of "data:" has no host.
    assert set(hosts) - {""} == {urlsplit(visitor.url).netloc}


def test_a_policy_that_is_broken_would_be_noticed(visitor_for: VisitorFor) -> None:
    visitor = visitor_for()
    watched(visitor)
    visitor.open("/docs/")
    visitor.page.evaluate("document.body.setAttribute('style', 'color: red')")
    visitor.page.wait_for_timeout(200)
    assert any("refused by the policy: style-src" in each for each in visitor.complaints)


def test_a_page_that_breaks_wcag_would_be_noticed(visitor_for: VisitorFor) -> None:
    visitor = visitor_for()
    visitor.open("/docs/")
    visitor.page.evaluate("document.querySelector('main').append(new Image())")
    assert [each.partition(":")[0] for each in visitor.violations()] == ["image-alt"]


def test_a_page_is_looked_at_once_it_has_what_it_asked_for(visitor_for: VisitorFor) -> None:
    visitor = visitor_for()

    def answer_late(route: Route) -> None:
        visitor.page.wait_for_timeout(500)
        route.fulfill(body="x")

    visitor.page.route("**/late", answer_late)
    visitor.open("/docs/")
    visitor.page.evaluate("void fetch('/late').then(() => { document.title = 'It came.'; })")
    visitor.settle()
    assert visitor.page.title() == "It came."


def test_every_operation_is_reached_by_keyboard(visitor_for: VisitorFor) -> None:
    visitor = visitor_for()
    visitor.open("/docs/")
    visitor.page.keyboard.press("Tab")
    assert focused(visitor) == "Skip to the content"
    visitor.page.keyboard.press("Enter")
    wanted = set(
        visitor.page.eval_on_selector_all(".operations a", "all => all.map(each => each.href)")
    )
    assert len(wanted) >= 160
    met: set[str] = set()
    for _step in range(len(wanted) + 100):
        visitor.page.keyboard.press("Tab")
        met.add(visitor.page.evaluate("document.activeElement.href || ''"))
        if wanted <= met:
            break
    assert wanted - met == set()
    last = visitor.page.evaluate("document.activeElement.hash").removeprefix("#")
    visitor.leave(lambda: visitor.page.keyboard.press("Enter"))
    assert visitor.page.locator(f"h2#{last}").is_visible()


def test_words_find_an_operation(visitor_for: VisitorFor) -> None:
    visitor = visitor_for()
    visitor.open("/docs/")
    visitor.page.get_by_label("Find an operation").fill("post quote")
    shown = visitor.page.locator("[data-words]:visible a").all_inner_texts()
    assert shown == ["Make a quote", "Set the metadata of a quote"]
    assert visitor.page.get_by_role("status").inner_text().startswith("2 of ")
    visitor.page.get_by_label("Find an operation").fill("")
    assert len(visitor.page.locator("[data-words]:visible a").all_inner_texts()) >= 160


def answered(visitor: Visitor) -> tuple[str, Any]:
    """The status that the page shows, and the JSON below its headers."""
    visitor.page.locator("#answer:visible").wait_for()
    status = visitor.page.locator("#status").inner_text()
    body = visitor.page.locator("#answer").inner_text().partition("\n\n")[2]
    return status, json.loads(body)


def test_a_request_is_sent_with_a_key_that_is_stored_nowhere(
    visitor_for: VisitorFor,
    archive: Organization,
    lab: Organization,
    client_for: Callable[..., ApiClient],
) -> None:
    offer = make_offer(archive)
    secret = client_for(lab).secret
    assert secret
    visitor = visitor_for()
    hosts = watched(visitor)
    visitor.open("/docs/try/")
    visitor.page.get_by_label("API key").fill(secret)
    visitor.page.get_by_role("button", name="Send").click()
    status, listings = answered(visitor)
    assert status.startswith("200")
    assert [each["id"] for each in listings["data"]] == [str(offer.pk)]

    # By keyboard to another operation: the key is still there, and the focus is at the form.
    visitor.page.get_by_label("Operation", exact=True).select_option("create_quote")
    visitor.page.get_by_role("button", name="Show this operation").press("Enter")
    visitor.page.get_by_role("heading", name="Make a quote").wait_for()
    assert focused(visitor) == "Make a quote"
    body = {"offer": str(offer.pk), "uses": ["pretrain"], "territories": ["DE"]}
    visitor.page.get_by_label("Body (application/json)").fill(json.dumps(body))
    visitor.page.get_by_role("button", name="Send").press("Enter")
    visitor.page.locator("#status", has_text="201").wait_for()
    status, quote = answered(visitor)
    assert quote["offer"] == str(offer.pk)

    kept = "[...Object.values(localStorage), ...Object.values(sessionStorage), document.cookie]"
    assert secret not in json.dumps(visitor.page.evaluate(kept))
    assert secret not in visitor.page.url
    assert visitor.violations() == []
    assert visitor.complaints == []
    assert set(hosts) - {""} == {urlsplit(visitor.url).netloc}
    visitor.open("/docs/try/")
    assert visitor.page.get_by_label("API key").input_value() == ""


def test_a_refusal_is_shown_as_it_came(visitor_for: VisitorFor) -> None:
    visitor = visitor_for()
    visitor.open("/docs/try/get_grant/")
    visitor.page.get_by_label("id (required)").fill("grt_x y")
    visitor.page.get_by_role("button", name="Send").click()
    status, problem = answered(visitor)
    assert (status, problem["code"]) == ("401 Unauthorized", "unauthenticated")


def focused(visitor: Visitor) -> str:
    return str(visitor.page.evaluate("document.activeElement.innerText")).strip()
