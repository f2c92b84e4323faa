"""Files sent by a real browser: in pieces, over a lost connection and a reload, a folder whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings as django_settings
from django.db import connections
from playwright.sync_api import BrowserContext, Page, Route, expect, sync_playwright

from marketplace import collections, import_pages
from marketplace.access import system
from marketplace.imports import queue
from marketplace.models import ImportJob, Organization, Upload, Work
from tests.marketplace.test_browser_upload import person
from tests.marketplace.test_import_preview import digest
from tests.people import caller_for, found

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.marketplace.import_urls"),
]
ROWS = 3_000
_WIDE = """[...document.querySelectorAll('body *')].filter(
    (one) => !one.closest('.scroll, header') && one.getBoundingClientRect().right > innerWidth + 1
).map((one) => one.outerHTML.slice(0, 200))"""


@pytest.fixture
def market(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Organization:
    settings.STORAGE_DIR = tmp_path / "works"
    settings.UPLOAD_DIR = tmp_path / "uploads"
    monkeypatch.setattr(import_pages, "PIECE_LENGTH", 32 << 10)
    # Playwright keeps an event loop in this thread, which Django takes for asynchronous code.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    return found("Archive", "platform")


@pytest.fixture
def context(market: Organization, live_server: Any) -> Iterator[BrowserContext]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("There is no chromium here: apt install chromium")
    session = person(market).cookies[django_settings.SESSION_COOKIE_NAME].value
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_context(base_url=live_server.url)
        opened.set_default_timeout(60_000)
        name = django_settings.SESSION_COOKIE_NAME
        opened.add_cookies([{"name": name, "value": session, "url": live_server.url}])
        yield opened
        browser.close()
        # Within Playwright's loop Django has connections of its own, which nobody else closes.
        connections.close_all()


def files_of(market: Organization) -> str:
    into = collections.create(caller_for(market), name="Letters")
    return f"/files/collections/{into.pk}/files/"


def table(path: Path) -> Path:
    rows = (f"w-{n:05},{digest(str(n))},{n + 1},Letter {n}" for n in range(ROWS))
    path.write_text("\n".join(["asset id,sha-256,size,Titel", *rows, "bad,,1,=1+1"]))
    return path


def check_accessible(page: Page) -> None:
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        result = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
        assert result.violations_count == 0, result.generate_report()
        # Nothing stands outside the window but what scrolls by itself.
        wide = page.evaluate(_WIDE)
        assert wide == []


def test_an_upload_goes_on_after_a_lost_connection_and_a_reload(
    market: Organization, context: BrowserContext, tmp_path: Path
) -> None:
    file, page = table(tmp_path / "works.csv"), context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    pieces: list[int] = []

    def lost_after_three(route: Route) -> None:
        if route.request.method == "PATCH":
            if len(pieces) >= 3:
                route.abort()
                return
            pieces.append(int(route.request.headers["upload-offset"]))
        elif len(pieces) >= 3:
            route.abort()
            return
        route.continue_()

    page.route("**/v1/uploads/**", lost_after_three)
    page.goto(files_of(market))
    check_accessible(page)
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_role("button", name="Send the file").click()
    expect(page.locator("[data-status]")).to_contain_text("The connection is lost")
    page.unroute("**/v1/uploads/**")
    page.reload()
    later: list[int] = []
    page.on(
        "request",
        lambda request: (
            request.method == "PATCH" and later.append(int(request.headers["upload-offset"]))
        ),
    )
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_role("button", name="Send the file").click()
    page.wait_for_url("**/files/upl_*/")
    assert pieces == [0, 32 << 10, 64 << 10]
    # Not one byte twice.
    assert later[0] == 96 << 10
    assert len(later) == len(set(later))
    with system("count a test's uploads"):
        assert [row.length for row in Upload.objects.all()] == [file.stat().st_size]
    check_accessible(page)
    expect(page.get_by_role("cell", name="There is no SHA-256")).to_be_visible()
    page.get_by_role("button", name="Import it like this").click()
    expect(page.get_by_text("Waiting for the worker.")).to_be_visible()
    assert queue.carry_out_due() == 1
    # The page looks by itself.
    expect(page.get_by_text("Finished.")).to_be_visible()
    check_accessible(page)
    expect(page.get_by_role("link", name="Download the rejected rows")).to_be_visible()
    with system("look at a test's imports"):
        job = ImportJob.objects.get()
    assert (job.imported, job.rejected) == (ROWS, 1)
    assert complaints == []


def test_a_file_that_is_too_large_is_refused_before_anything_is_sent(
    market: Organization, context: BrowserContext, tmp_path: Path, settings: Any
) -> None:
    settings.BROWSER_UPLOAD_LENGTH_MAX = 1 << 20
    file, page = tmp_path / "big.csv", context.new_page()
    file.write_bytes(bytes(2 << 20))
    page.goto(files_of(market))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_role("button", name="Send the file").click()
    expect(page.locator("[data-status]")).to_contain_text("larger than 1 MiB")
    assert asked == []
    with system("count a test's uploads"):
        assert not Upload.objects.exists()


def test_a_folder_comes_in_with_its_paths(
    market: Organization, context: BrowserContext, tmp_path: Path
) -> None:
    folder = tmp_path / "Letters"
    (folder / "1901").mkdir(parents=True)
    (folder / "1901" / "a.txt").write_text("Dear Ada")
    (folder / "page.html").write_text("<script>alert(1)</script>")
    (folder / "same.html").write_text("<script>alert(1)</script>")
    (folder / "empty.txt").write_text("")
    page = context.new_page()
    page.goto(f"{files_of(market)}folder/")
    check_accessible(page)
    page.get_by_label("Files", exact=True).set_input_files(folder)
    page.get_by_role("button", name="Send the files").click()
    status = page.locator("[data-status]")
    expect(status).to_have_text("Files that came in: 2. Files that did not: 2.")
    refused = page.locator("[data-refusals] li")
    expect(refused.filter(has_text="empty.txt")).to_contain_text("The file is empty.")
    with system("look at a test's works"):
        names = sorted(Work.objects.values_list("external_id", flat=True))
    assert names[0] == "Letters/1901/a.txt"
    assert names[1] in {"Letters/page.html", "Letters/same.html"}
    assert len(names) == 2
