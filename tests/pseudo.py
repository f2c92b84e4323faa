"""A language that says every marked text in brackets, and readers of what stands outside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any
from unittest import mock

from django.db import connection
from django.utils import translation

from marketplace.access import system

# In this language all is said in brackets; in any other as ever.
LANGUAGE = "de"
OPENS, CLOSES = "⟦", "⟧"
# Attributes that people read or hear.
_READ = ("alt", "aria-description", "aria-label", "aria-roledescription", "placeholder", "title")
# What stands in these is no sentence of ours.
_SILENT = {"code", "pre", "script", "style", "textarea", "kbd"}
# Elements within a sentence: one may begin before them, and end behind.
_WITHIN = {"a", "b", "bdi", "br", "code", "em", "i", "kbd", "span", "strong", "time"}
_VOID = {
    *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source"),
    *("track", "wbr"),
}


@contextmanager
def spoken() -> Iterator[set[tuple[str, ...]]]:
    """Bracket each text that is looked up in a catalog; which ones, is what comes back: a text, or
    one thing and several.
    """
    real = translation._trans  # type: ignore[attr-defined]
    gettext, ngettext = real.gettext, real.ngettext
    asked: set[tuple[str, ...]] = set()

    def one(message: str) -> str:
        if not message or translation.get_language() != LANGUAGE:
            return str(gettext(message))
        asked.add((str(message),))
        return f"{OPENS}{message}{CLOSES}"

    def several(singular: str, plural: str, number: int) -> str:
        if translation.get_language() != LANGUAGE:
            return str(ngettext(singular, plural, number))
        asked.add((str(singular), str(plural)))
        return f"{OPENS}{singular if number == 1 else plural}{CLOSES}"

    with (
        mock.patch.object(real, "gettext", one),
        mock.patch.object(real, "ngettext", several),
        mock.patch.object(real, "pgettext", lambda _context, message: one(message)),
        mock.patch.object(real, "npgettext", lambda _context, *texts: several(*texts)),
    ):
        yield asked


def unmarked(page: str) -> list[str]:
    """What a page says outside the brackets, in the order of the page."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return [one for text in reader.said for one in outside(text)]


def outside(text: str) -> list[str]:
    """The parts of a text that have letters and stand in no brackets."""
    parts, depth = [""], 0
    for letter in text:
        if letter == OPENS:
            depth += 1
            parts.append("")
        elif letter == CLOSES:
            # What was cut short may have lost its beginning.
            depth = max(0, depth - 1)
        elif not depth:
            parts[-1] += letter
    trimmed = (re.sub(r"\s+", " ", part).strip() for part in parts)
    return [part for part in trimmed if re.search(r"[^\W\d_]{2}", part)]


def stored() -> list[str]:
    """Rows of any table of ours that have a bracket: what was recorded in somebody's language."""
    tables = [
        name
        for name in connection.introspection.table_names()
        if name.startswith(("marketplace_", "licensing_", "payments_"))
    ]
    # In the canonical bytes of an entry, it is these digits.
    digits = OPENS.encode().hex()
    found = []
    with system("look for texts in somebody's language"), connection.cursor() as cursor:
        for table in sorted(tables):
            cursor.execute(
                f'SELECT row::text FROM "{table}" row'
                " WHERE row::text LIKE %s OR row::text LIKE %s OR row::text LIKE %s",
                [f"%{OPENS}%", f"%{digits}%", "%\\\\u27e6%"],
            )
            found += [f"{table}: {text[:500]}" for (text,) in cursor.fetchall()]
    return found


class _Reader(HTMLParser):
    """Collect texts and read attributes; leave out silent elements and those said to be English."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.said: list[str] = []
        self._text = ""
        self._open: list[tuple[str, bool]] = []

    @property
    def _is_silent(self) -> bool:
        return bool(self._open) and self._open[-1][1]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given: dict[str, Any] = {name: value or "" for name, value in attrs}
        is_english = tag != "html" and given.get("lang") == "en"
        # A sign's name, such as “home”: the font draws it, and nobody hears it.
        is_sign = "material-symbols" in given.get("class", "")
        is_hidden = given.get("aria-hidden") == "true" or is_sign
        is_silent = self._is_silent or tag in _SILENT or is_english or is_hidden
        if not is_silent or tag == "textarea":
            self.said += [given[name] for name in _READ if name in given]
            if tag == "input" and given.get("type") in {"submit", "button", "reset"}:
                self.said.append(given.get("value", ""))
            if tag == "meta" and given.get("name") == "description":
                self.said.append(given.get("content", ""))
        if tag not in _VOID:
            self._open.append((tag, is_silent))
        self._part(tag)

    def handle_endtag(self, tag: str) -> None:
        names = [name for name, _silent in self._open]
        if tag in names:
            # An element that nobody closed ends with the one around it.
            del self._open[len(names) - 1 - names[::-1].index(tag) :]
        self._part(tag)

    def handle_data(self, data: str) -> None:
        if not self._is_silent:
            self._text += data

    def close(self) -> None:
        super().close()
        self._part("")

    def _part(self, tag: str) -> None:
        if tag in _WITHIN:
            self._text += " "
        else:
            self.said.append(self._text)
            self._text = ""
