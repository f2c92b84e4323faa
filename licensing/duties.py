"""The duties that typed terms make, each with the clause that makes it. No Django."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from licensing import terms_text


def duties(typed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a licensee (or, where `by` says so, a licensor) must keep to, of either version.

    Each has `type`, `clause` (its number in the text) and parameters that go by the type. The
    conditions were checked before: those of published terms, a receipt or a grant were.
    """
    return [
        {**said.duty, "clause": clause}
        for clause, said in terms_text.clauses(typed)
        if said.duty is not None
    ]
