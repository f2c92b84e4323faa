"""The Markdown of this directory, as pages: the guide, and what its pages lead to."""

from __future__ import annotations

import functools
import posixpath
from dataclasses import dataclass
from pathlib import Path

from django.templatetags.static import static
from django.urls import reverse
from django.utils.safestring import SafeString

from api_docs import prose

ROOT = Path(__file__).parent
_INDEX = "guide/README.md"


@dataclass(frozen=True, slots=True)
class GuidePage:
    """One Markdown file: by its path from ROOT."""

    path: str
    title: str
    text: str

    @property
    def name(self) -> str:
        return posixpath.basename(self.path).removesuffix(".md")

    @property
    def is_guide(self) -> bool:
        return self.path.startswith("guide/")

    @property
    def address(self) -> str:
        if self.path == _INDEX:
            return reverse("docs-guide")
        if self.is_guide:
            return reverse("docs-guide-page", args=[self.name])
        return reverse("docs-more", args=[self.path.removesuffix(".md")])


@functools.cache
def pages() -> dict[str, GuidePage]:
    """Every page by its path: the guide's in the order of its index, then all others."""
    found = {}
    for file in sorted(ROOT.rglob("*.md")):
        path = file.relative_to(ROOT).as_posix()
        text = file.read_text(encoding="utf-8")
        found[path] = GuidePage(path, prose.title(text), text)
    order = found[_INDEX].text
    return dict(sorted(found.items(), key=lambda each: _place(order, each[1])))


@functools.cache
def html(path: str) -> SafeString:
    """A page as HTML, its links leading to pages where there are some."""
    return prose.html(pages()[path].text, lambda target: _address(path, target))


def _place(order: str, page: GuidePage) -> tuple[bool, int]:
    if page.path == _INDEX:
        return False, -1
    at = order.find(f"]({page.name}.md)") if page.is_guide else -1
    return at < 0, at


def _address(path: str, target: str) -> str:
    """Where a link of the page at `path` leads to here."""
    if "://" in target or target.startswith(("#", "mailto:")):
        return target
    file, _hash, heading = target.partition("#")
    file = posixpath.normpath(posixpath.join(posixpath.dirname(path), file))
    if file.startswith("pictures/"):
        return static(f"api_docs/{file}")
    page = pages().get(file)
    if page is None:
        # A file of the source, which is not served.
        return ""
    return f"{page.address}#{heading}" if heading else page.address
