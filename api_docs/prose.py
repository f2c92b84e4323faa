"""Markdown as HTML: descriptions of the OpenAPI document, and pages of the guide."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from django.utils.safestring import SafeString
from markdown_it import MarkdownIt
from markdown_it.token import Token

Target = Callable[[str], str]


def html(text: str, target: Target = lambda address: address) -> SafeString:
    """Render Markdown. HTML in it is shown as text; `target` says where its links lead to."""
    # Safe: the parser escapes all that it did not make itself, and takes no HTML.
    return SafeString(_MARKDOWN.render(text, {"target": target}))


def title(text: str) -> str:
    """The first heading of a page, without its marks."""
    found = re.search(r"(?m)^# (.+)$", text)
    return found[1].replace("`", "") if found else ""


def anchor(heading: str) -> str:
    """What a heading is called in a link: as GitHub makes it, so that links work there, too."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _heading(self: Any, tokens: Sequence[Token], at: int, options: Any, env: dict[str, Any]) -> str:
    tokens[at].attrSet("id", anchor(tokens[at + 1].content))
    return str(self.renderToken(tokens, at, options, env))


def _link(self: Any, tokens: Sequence[Token], at: int, options: Any, env: dict[str, Any]) -> str:
    # Where it leads nowhere here, its words stay.
    tokens[at].attrs["href"] = env["target"](str(tokens[at].attrGet("href")))
    tokens[at].attrs = {name: value for name, value in tokens[at].attrs.items() if value}
    return str(self.renderToken(tokens, at, options, env))


def _image(self: Any, tokens: Sequence[Token], at: int, options: Any, env: dict[str, Any]) -> str:
    tokens[at].attrSet("src", env["target"](str(tokens[at].attrGet("src"))))
    return str(self.image(tokens, at, options, env))


def _table(self: Any, tokens: Sequence[Token], at: int, options: Any, env: dict[str, Any]) -> str:
    # Wider than a phone, it is moved by keyboard, too.
    return '<div class="wide" tabindex="0" role="region" aria-label="Table"><table>\n'


def _end_of_table(
    self: Any, tokens: Sequence[Token], at: int, options: Any, env: dict[str, Any]
) -> str:
    return "</table></div>\n"


def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False}).enable("table")
    made.add_render_rule("heading_open", _heading)
    made.add_render_rule("link_open", _link)
    made.add_render_rule("image", _image)
    made.add_render_rule("table_open", _table)
    made.add_render_rule("table_close", _end_of_table)
    return made


_MARKDOWN = _markdown()
