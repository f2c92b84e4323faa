"""Answers to begin with, by kind of content, and what public deals of that kind were worth.

The data are `terms_presets.json`. A price that was seen somewhere is shown with its source and its
date, and is never advice: what works are worth, their maker says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from licensing.terms_cards import CONTENTS, Answers
from marketplace.errors import InvalidInput

_DATA = Path(__file__).parent / "terms_presets.json"
_SETS = frozenset({"uses", "territories", "sectors", "attribution"})


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a public deal was worth: by whose word, and of when (a year, a day, or "")."""

    deal: str
    seen: str
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Preset:
    """One beginning. Its answers bind nobody."""

    name: str
    answers: Answers
    anchors: tuple[Anchor, ...]

    @property
    def label(self) -> str:
        return str(CONTENTS[self.name].label)


@cache
def presets() -> tuple[Preset, ...]:
    """Every preset, in the order of the kinds of content."""
    said = json.loads(_DATA.read_text())
    return tuple(_preset(name, said[name]) for name in CONTENTS)


def find(name: str) -> Preset:
    """A preset by its kind of content. Raises InvalidInput naming those that there are."""
    for preset in presets():
        if preset.name == name:
            return preset
    raise InvalidInput(
        _("There is no preset “%(name)s”. Use one of: %(known)s.")
        % {"name": name[:100], "known": ", ".join(CONTENTS)},
        param="preset",
    )


def _preset(name: str, said: Mapping[str, Any]) -> Preset:
    given: dict[str, Any] = {
        field: frozenset(value) if field in _SETS else value
        for field, value in said["answers"].items()
    }
    anchors = tuple(Anchor(**anchor) for anchor in said["anchors"])
    return Preset(name, Answers(content=name, **given), anchors)
