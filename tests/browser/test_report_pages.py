"""The pages of reports and decisions in a real browser: axe finds nothing, wide and narrow."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core import mail
from django.test import Client

from licensing import moderation
from marketplace.models import Organization
from tests.licensing.test_moderation import WHY, digests, links, reported
from tests.make import make_offer, make_operator, make_trader

sync_api = pytest.importorskip("playwright.sync_api")
axe_api = pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = [pytest.mark.browser, pytest.mark.django_db]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@pytest.fixture
def pages(client: Client, archive: Organization) -> dict[str, str]:
    """Each page as the server sends it, with our own style in it."""
    offer = make_offer(archive)
    make_trader(archive)
    report, token = reported(str(offer.pk))
    asked = client.post("/report/", {"target": "", "ground": "law"}).content.decode()
    moderation.decide(
        make_operator(), report=str(report.pk), measure="work_held", reasons=WHY,
        digests=[digests(archive)[0]],
    )  # fmt: skip
    [mine] = links(mail.outbox, "moderation")
    found = {"a refused report": asked}
    for name, url in {
        "a listing": f"/listings/{offer.pk}",
        "a report": "/report/",
        "a receipt": f"/report/{token}",
        "a statement": f"/moderation/{mine}",
    }.items():
        found[name] = client.get(url).content.decode()
    style = Path(str(finders.find("marketplace/page.css"))).read_text()
    return {
        name: re.sub(r'<link rel="stylesheet"[^>]*>', f"<style>{style}</style>", text)
        for name, text in found.items()
    }


@pytest.fixture
def chromium() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("There is no chromium here: apt install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(pages: dict[str, str], chromium: Any, width: int) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 900})
    for name, text in pages.items():
        page.set_content(text)
        results = axe_api.Axe().run(page, options=RULES)
        assert results.response["violations"] == [], name
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, (name, wide)
