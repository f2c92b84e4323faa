"""One person at one browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Locator, Page, Request

PASSWORD = "correct horse battery"
DESKTOP, PHONE = (1280, 900), (390, 844)
# WCAG 2.2 at the levels A and AA: https://github.com/dequelabs/axe-core/blob/develop/doc/API.md
_WCAG = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]},
    "resultTypes": ["violations"],
}
# Ends once the browser drew the page, and ran what waited for that.
_DRAWN = "new Promise(done => requestAnimationFrame(() => setTimeout(done)))"
SETTLED_SECONDS = 60


class Visitor:
    """What a person does on a page, and what the browser said of it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        page.on("console", self._heard)
        page.on(
            "pageerror", lambda error: self.complaints.append(f"{error} {error.stack} ({page.url})")
        )
        page.on("requestfailed", self._missed)
        self._underway: set[Request] = set()
        # Playwright keeps a note at each listener, which methods written in C have no room for.
        page.on("request", lambda request: self._underway.add(request))
        for over in ("requestfinished", "requestfailed"):
            page.on(over, lambda request: self._underway.discard(request))

    def open(self, path: str) -> int:
        """Go to a page; the status that it was answered with."""
        answer = self.page.goto(path)
        assert answer is not None
        return answer.status

    def press(self, words: str) -> None:
        """Follow the link, or press the button, of the main part that says this."""
        content = self.page.locator("#content, main").last
        link = content.get_by_role("link", name=words, exact=True)
        button = content.get_by_role("button", name=words, exact=True)
        with self.page.expect_navigation():
            link.or_(button).first.click()

    def fill(self, **values: str) -> None:
        for name, value in values.items():
            field = self.field(name)
            if field.evaluate("element => element.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)

    def field(self, name: str) -> Locator:
        return self.page.locator(f"[name={name}]").first

    def leave(self, act: Callable[[], Any]) -> None:
        """Do what leads to another page, and wait for it."""
        with self.page.expect_navigation():
            act()

    def sign_in(self, email: str, then: str) -> None:
        assert self.open(then) == 200
        assert "/login/" in self.page.url
        self.fill(login=email, password=PASSWORD)
        self.leave(lambda: self.field("password").press("Enter"))
        assert self.page.url == f"{self.url}{then}"

    def settle(self) -> None:
        """Wait until the page is loaded and has what its scripts asked for meanwhile.

        Playwright's “networkidle” adds half a second to each of hundreds of pages.
        """
        self.page.wait_for_load_state("load")
        self.page.evaluate(_DRAWN)
        until = time.monotonic() + SETTLED_SECONDS
        while self._underway:
            assert time.monotonic() < until, f"{self.path} waits for {self._underway}."
            self.page.wait_for_timeout(10)
            self.page.evaluate(_DRAWN)

    def violations(self) -> list[str]:
        """What axe finds wrong with the page by WCAG 2.2 AA, one line each."""
        self.settle()
        found = Axe().run(self.page, options=_WCAG).response["violations"]
        return [
            f"{one['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
            for one in found
            for node in one["nodes"]
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(width))

    def picture(self, path: Path) -> None:
        self.settle()
        self.page.screenshot(path=path)

    @property
    def text(self) -> str:
        return self.page.locator("body").inner_text()

    @property
    def path(self) -> str:
        return self.page.url.removeprefix(self.url)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            where = message.location
            self.complaints.append(
                f"{message.text} ({self.page.url}; {where['url']}:{where['lineNumber']})"
            )

    def _missed(self, request: Request) -> None:
        # What leaving a page cuts off is no fault.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.failure}: {request.url}")
