"""A real browser, one context for each person; skipped, with the reason, where there is none."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from playwright.sync_api import Browser, sync_playwright

from tests.browser.visitor import DESKTOP, Visitor

VisitorFor = Callable[..., Visitor]
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def chromium(monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    """The machine's own Chromium, driven by Playwright."""
    path = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if path is None:
        pytest.skip("There is no chromium here: apt install chromium")
    # Playwright runs a loop in this thread; the test's own queries are plain all the same.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    # Chromium starts for root in no other way.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()
        # This thread's connection within the loop is not the one outside of it.
        connections.close_all()


@pytest.fixture
def visitor_for(chromium: Browser, live_server: Any) -> VisitorFor:
    """Start a browser that knows nobody: `visitor_for(size=PHONE)`."""

    def start(size: tuple[int, int] = DESKTOP) -> Visitor:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, base_url=live_server.url
        )
        context.set_default_timeout(60_000)
        return Visitor(context.new_page(), live_server.url)

    return start


@pytest.fixture
def csv_file(tmp_path: Path, settings: Any) -> Path:
    """A table as a creator's system exports it, with one line that is wrong."""
    settings.UPLOAD_DIR = tmp_path / "uploads"
    lines = ["asset id,SHA-256,Bytes,Rubric,Language"]
    for number in range(5):
        digest = hashlib.sha256(b"letter %d" % number).hexdigest()
        lines.append(f"letter-{number},{digest},{100 + number},Letter {number},en")
    path = tmp_path / "letters.csv"
    path.write_text("\n".join([*lines, "letter-5,no digest,7,Letter 5,en\n"]))
    return path
