"""What the story's people do: come in with an app of their own, look, and reach things by key."""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page

from tests.browser.visitor import PASSWORD, Visitor
from tests.marketplace.factors import totp_code

# So often somebody presses Tab before they give up.
TABS_MAX = 150
# What stands for a row in an address: pages of two rows of one kind are one page.
_ROW = re.compile(r"[a-z]{3}_[0-9a-z]{26}|[0-9a-f]{32}|[\w-]{40,}")
_ALIKE = ("/invitations/", "/account/", "/login/")
# Of what has the focus: its words as a reader of the page says them.
_NAME = """() => {
    const one = document.activeElement;
    const own = one.labels && one.labels.length ? one.labels[0] : one;
    const said = own.cloneNode(true);
    said.querySelectorAll("[aria-hidden=true]").forEach((icon) => icon.remove());
    const inside = one.querySelector("[aria-label]");
    return one.ariaLabel || said.textContent.trim() || (inside ? inside.ariaLabel : "");
}"""
# Whoever uses no mouse must see where they are.
_IS_SEEN = """() => {
    const one = document.activeElement, place = one.getBoundingClientRect();
    return one.matches(":focus-visible") && place.bottom > 0 && place.top < innerHeight;
}"""


class App:
    """An authenticator app. A market takes each of its codes once, so it says none twice."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self._said: set[int] = set()

    def code(self) -> str:
        now = int(time.time()) // 30
        # A market takes the code before and the one after, too.
        step = next(one for one in (0, 1, -1) if now + one not in self._said)
        self._said.add(now + step)
        return totp_code(self.secret, step)


class Person:
    """Somebody at a browser; axe looks at each page that they see."""

    def __init__(self, visitor: Visitor, alike: set[str]) -> None:
        """`alike`: pages that are the same for everybody, which one of them looked at."""
        self.visitor = visitor
        self.page: Page = visitor.page
        self.faults: list[str] = []
        self._alike, self._own = alike, set[str]()

    def look(self) -> None:
        """Have the page checked, unless one like it was."""
        parts = urlsplit(self.page.url)
        like = _ROW.sub("…", f"{parts.netloc}{parts.path}")
        looked = self._alike if parts.path.startswith(_ALIKE) else self._own
        if like in looked:
            return
        looked.add(like)
        self.faults += [f"{like}: {one}" for one in self.visitor.violations()]
        if self.visitor.overflow() > 0:
            self.faults.append(f"{like}: {self.visitor.overflow()} pixels too wide")

    def press(self, words: str) -> None:
        self.visitor.press(words)
        self.look()

    def go(self, words: str) -> None:
        """Follow a link of the menu."""
        link = self.page.locator("nav.menu").get_by_role("link", name=words, exact=True)
        self.visitor.leave(link.first.click)
        self.look()

    def come_in(self, link: str, name: str) -> App:
        """Accept a mailed invitation: a password, and an app that makes codes."""
        assert self.visitor.open(link) == 200
        self.look()
        self.visitor.fill(name=name, password=PASSWORD)
        self.press("Accept")
        self.press("Authenticator app")
        app = App(self.page.locator("code.key").inner_text())
        self.visitor.fill(code=app.code())
        self.press("Add the app")
        assert "10 codes are left" in self.visitor.text
        assert self.visitor.open("/studio/") == 200
        self.look()
        return app

    def wait_for(self, words: str, *, seconds: float = 30) -> None:
        """Look at the page again until it says something: a worker is at it."""
        deadline = time.monotonic() + seconds
        while words not in self.visitor.text:
            assert time.monotonic() < deadline, f"“{words}” never came: {self.visitor.text[:2000]}"
            self.page.wait_for_timeout(250)
            self.page.reload()
        self.look()

    def download(self, words: str, into: Path) -> Path:
        """Take the file behind a link of the page."""
        with self.page.expect_download() as taken:
            self.page.get_by_role("link", name=words, exact=True).click()
        return _kept(taken.value, into)

    # --- by keyboard alone ---

    def tab_to(self, words: str, *, key: str = "Tab") -> None:
        """Press Tab until what is called so has the focus, and can be seen to."""
        for _press in range(TABS_MAX):
            self.page.keyboard.press(key)
            if self._focused() == words:
                assert self.page.evaluate(_IS_SEEN), f"nobody sees that “{words}” has the focus"
                return
        raise AssertionError(f"no key reaches “{words}” at {self.visitor.path}")

    def enter(self) -> None:
        """Press Enter on what has the focus, and see where that leads."""
        self.visitor.leave(lambda: self.page.keyboard.press("Enter"))
        self.look()

    def skip_the_menu(self) -> None:
        """Take the first link of the page, which leads past it."""
        self.page.keyboard.press("Tab")
        assert self._focused() == "Skip to the content"
        self.page.keyboard.press("Enter")

    def reach(self, words: str) -> None:
        self.tab_to(words)
        self.enter()

    def type_into(self, label: str, text: str) -> None:
        self.tab_to(label)
        self.page.keyboard.type(text)

    def fetch(self, words: str, into: Path) -> Path:
        """Take a file by Enter."""
        self.tab_to(words)
        with self.page.expect_download() as taken:
            self.page.keyboard.press("Enter")
        return _kept(taken.value, into)

    def _focused(self) -> str:
        said = str(self.page.evaluate(_NAME))
        return " ".join(said.replace("\u00ad", "").split())


def _kept(download: object, into: Path) -> Path:
    into.mkdir(exist_ok=True)
    path = into / download.suggested_filename  # type: ignore[attr-defined]
    download.save_as(path)  # type: ignore[attr-defined]
    return path
