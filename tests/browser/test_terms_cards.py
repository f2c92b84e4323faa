"""The cards in a real browser: with a script and without, wide and narrow, and what axe finds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings as configured
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client
from playwright.sync_api import Browser, Page, expect

from marketplace import organizations
from marketplace.models import Organization

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
WIDE, NARROW = (1280, 900), (390, 844)
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
Open = Callable[..., Page]


@pytest.fixture
def cookie(archive: Organization, settings: Any) -> dict[str, str]:
    """Somebody who signed in, in a market whose studio has the cards."""
    settings.ROOT_URLCONF = "tests.licensing.terms_cards_urls"
    user = organizations.admit(
        archive, email="ada@example.org", name="Ada", password="correct horse", role="editor"
    )
    client = Client()
    client.force_login(user)
    assert SessionStore(client.session.session_key).exists(client.session.session_key)
    return {
        "name": configured.SESSION_COOKIE_NAME,
        "value": client.cookies[configured.SESSION_COOKIE_NAME].value,
    }


@pytest.fixture
def open_page(cookie: dict[str, str], live_server: Any, chromium: Browser) -> Open:
    """Open an address: `open_page("/studio/bare/", size=NARROW, has_script=False)`."""

    def start(path: str, *, size: tuple[int, int] = WIDE, has_script: bool = True) -> Page:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, java_script_enabled=has_script
        )
        context.add_cookies([{**cookie, "url": live_server.url}])
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{live_server.url}{path}")
        return page

    return start


def picture(page: Page, name: str) -> None:
    """For whoever wants to look: LICET_PICTURES=DIR."""
    if folder := os.environ.get("LICET_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_the_sentence_follows_each_change(open_page: Open) -> None:
    page = open_page("/studio/bare/?preset=photos")
    said = page.locator('[data-part="said"]')
    expect(said).to_contain_text("no open weights")
    expect(page.get_by_role("button", name="Preview")).to_be_hidden()
    page.get_by_label("Published with its weights, too").check()
    expect(said).to_contain_text("open weights are allowed")
    row = page.get_by_role("row").filter(has_text="publish its weights")
    expect(row).to_contain_text("Yes")
    page.get_by_label("Amount", exact=True).fill("0.05")
    page.get_by_label("Currency", exact=True).select_option("EUR")
    expect(said).to_contain_text("€0.05 an image")
    picture(page, "terms_cards")


def test_what_is_refused_leads_to_its_card(open_page: Open) -> None:
    page = open_page("/studio/bare/?preset=photos")
    page.get_by_label("Are deleted when the use of results ends").check()
    page.get_by_role("link", name="Let models be kept; or").click()
    assert page.url.endswith("#card-ending")
    expect(page.locator("#card-ending")).to_be_focused()
    page.get_by_label("They may use what they made for").fill("5")
    expect(page.locator('[data-part="said"]')).to_contain_text("results may be used for 5 years")


def test_without_a_script_the_button_does_the_same(open_page: Open) -> None:
    page = open_page("/studio/bare/?preset=books", has_script=False)
    page.get_by_label("Published with its weights, too").check()
    page.get_by_role("button", name="Preview").click()
    expect(page.locator('[data-part="said"]')).to_contain_text("open weights are allowed")
    expect(page.get_by_label("Published with its weights, too")).to_be_checked()


def test_fields_that_do_not_matter_are_hidden(open_page: Open) -> None:
    page = open_page("/studio/bare/?preset=photos")
    expect(page.get_by_label("Name of the model")).to_be_hidden()
    page.get_by_label("One model only").check()
    page.get_by_label("Name of the model").fill("Atlas 2")
    expect(page.locator('[data-part="said"]')).to_contain_text("only for the model “Atlas 2”")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize(
    "path", ["/studio/bare/?preset=photos", "/studio/bare/preview/?preset=news"]
)
def test_axe_finds_nothing(open_page: Open, size: tuple[int, int], path: str) -> None:
    page = open_page(path, size=size)
    page.get_by_label("Are deleted when the use of results ends").check()
    expect(page.locator('[data-part="said"]')).to_contain_text("cannot stand")
    picture(page, f"terms_cards_{path.strip('/').partition('/')[0]}_{size[0]}_refused")
    for label in ("May be kept as they are", "Only in these places", "One model only"):
        page.get_by_label(label).check()
    expect(page.locator('[data-part="said"]')).to_contain_text("Something is missing")
    expect(page.locator("[data-terms-preview]")).not_to_have_attribute("aria-busy", "true")
    scope = {"include": [[".terms-cards"]]}
    found = Axe().run(page, context=scope, options={"runOnly": WCAG})
    assert [
        (each["id"], [node["html"] for node in each["nodes"]])
        for each in found.response["violations"]
    ] == []
    too_wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    assert not too_wide or size == WIDE
