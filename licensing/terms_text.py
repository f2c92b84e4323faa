"""The exact text of typed terms of either version, and the numbers of its clauses. No Django.

A contract is written in one language and never translated: no gettext here. The same conditions
give the same bytes for ever: a change of a single character is a new wording.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from licensing import terms_text_1, terms_text_2
from licensing.sentences import Said

# Which wording renders which version of typed terms.
WORDINGS: dict[int, str] = {1: "en-1", 2: "en-2"}
_SECTIONS = {1: terms_text_1.sections, 2: terms_text_2.sections}


def render(typed: Mapping[str, Any], *, name: str, version: int) -> str:
    """Write checked conditions out as numbered clauses, each one line of short sentences."""
    lines = [f"License terms “{name}”, version {version}"]
    for number, (title, said) in enumerate(_SECTIONS[typed["v"]](typed), start=1):
        lines += ["", f"{number} {title}"]
        lines += [f"{number}.{place} {each.text}" for place, each in enumerate(said, start=1)]
    return "\n".join(lines) + "\n"


def clauses(typed: Mapping[str, Any]) -> Iterator[tuple[str, Said]]:
    """Each clause of checked conditions with its number in the text, such as “2.1”."""
    for number, (_, said) in enumerate(_SECTIONS[typed["v"]](typed), start=1):
        for place, each in enumerate(said, start=1):
            yield f"{number}.{place}", each
