"""Terms to begin with: a library of typed conditions by kind of content, to change and to publish.

The library is data (`terms_library/*.json`), checked like what a client sends. A template is a
draft's beginning and binds nobody: what is published is the draft that was made of it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from licensing import terms_schema
from marketplace.errors import InvalidInput

_LIBRARY = Path(__file__).parent / "terms_library"
_PARTS = frozenset({"permit", "deny", *terms_schema.SECTIONS})


@dataclass(frozen=True, slots=True)
class Template:
    """One beginning: what it is for, and which real deals show what such terms were worth."""

    name: str
    title: str
    description: str
    modalities: tuple[str, ...]
    # Real deals of this kind: `deal`, `price`, `source`.
    anchors: tuple[Mapping[str, str], ...]
    typed: Mapping[str, Any]


@cache
def library() -> tuple[Template, ...]:
    """Every template, by title."""
    found = []
    for path in _LIBRARY.glob("*.json"):
        said = json.loads(path.read_text())
        said |= {name: tuple(said[name]) for name in ("modalities", "anchors")}
        found.append(Template(**said))
    return tuple(sorted(found, key=lambda template: template.title))


def find(name: str) -> Template:
    """A template by its name. Raises InvalidInput naming those that there are."""
    for template in library():
        if template.name == name:
            return template
    known = ", ".join(sorted(template.name for template in library()))
    raise InvalidInput(
        _("There is no template “%(name)s”. Use one of: %(known)s.")
        % {"name": name[:100], "known": known},
        param="template",
    )


def fill(name: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Typed conditions of a template, with whole parts (`term`, `permit`, …) replaced.

    Parts and not single fields: null has a meaning in some fields and stands for no deletion. The
    result is not checked yet: `terms.parse` does. Raises InvalidInput.
    """
    typed = copy.deepcopy(dict(find(name).typed))
    for part, value in (changes or {}).items():
        if part not in _PARTS:
            raise InvalidInput(
                _("“%(part)s” is no part of terms. Change one of: %(known)s.")
                % {"part": part[:100], "known": ", ".join(sorted(_PARTS))},
                param=f"changes.{part[:100]}",
            )
        typed[part] = value
    return typed
