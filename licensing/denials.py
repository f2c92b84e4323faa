"""Whether the clauses that deny leave anything of those that permit.

A case is a use in a place of training, for a place of availability, a release and a purpose. Each
value that a permit names carries a mask: which denies (bit n: `deny[n]`) match it. A case whose
four masks have a bit in common is denied; a use is lost where every case is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from licensing import vocabulary

# What a deny that names one of these depends on, no permit says: it may or may not hold.
_OPEN = frozenset({"sectors", "lineage", "other"})
# How many pairs of masks are looked at for one document. What would take more is accepted, and
# each decision under it denies: hostile documents have millions, real ones less than a hundred.
PAIRS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Lost:
    """A use that a clause permits and that is denied in every case."""

    permit: int
    use: int
    # The first deny that covers it alone; None where only several together do.
    deny: int | None


def lost(typed: dict[str, Any]) -> Iterator[Lost]:
    """The uses that are permitted and never allowed, clause by clause. The shape was checked."""
    denies = [
        (1 << number, _matched(deny))
        for number, deny in enumerate(typed["deny"])
        if not _OPEN & set(deny)
    ]
    pairs_left = PAIRS_MAX
    for number, permit in enumerate(typed["permit"]):
        permitted = _matched(permit)
        sides = [_masks(denies, side, permitted[side]) for side in _SIDES]
        known: dict[int, tuple[int | None, bool]] = {}
        for place, use in enumerate(permit["uses"]):
            about = _mask(denies, "uses", use)
            if about not in known:
                alone = _covering(sides, about)
                together, pairs_left = _is_covered(sides, about, pairs_left)
                known[about] = alone, together
            alone, together = known[about]
            if together:
                yield Lost(number, place, alone)


_SIDES = ("training", "availability", "release", "fields")


def _matched(clause: dict[str, Any]) -> dict[str, frozenset[str] | None]:
    """What a clause names in each dimension; None: anything."""
    places = clause.get("territories", {})
    matched: dict[str, frozenset[str] | None] = {
        side: vocabulary.countries(places[side]) if side in places else None
        for side in ("training", "availability")
    }
    release = clause.get("models", {}).get("release")
    for side, words in (
        ("release", release),
        ("fields", clause.get("fields")),
        ("uses", clause.get("uses")),
    ):
        matched[side] = None if words is None else frozenset(words)
    return matched


Denies = list[tuple[int, dict[str, frozenset[str] | None]]]


def _mask(denies: Denies, side: str, value: str) -> int:
    mask = 0
    for bit, matched in denies:
        words = matched[side]
        if words is None or value in words:
            mask |= bit
    return mask


def _masks(denies: Denies, side: str, values: frozenset[str] | None) -> frozenset[int]:
    return frozenset(_mask(denies, side, value) for value in values or ())


def _covering(sides: list[frozenset[int]], about: int) -> int | None:
    """The first deny that matches every value of every side."""
    common = about
    for side in sides:
        for mask in side:
            common &= mask
    return (common & -common).bit_length() - 1 if common else None


def _is_covered(sides: list[frozenset[int]], about: int, pairs_left: int) -> tuple[bool, int]:
    """Whether no case is free of all denies, and how many pairs may still be looked at."""
    cases = {about}
    # The small sides first, so that few masks meet the many of the places.
    for side in sorted(sides, key=len):
        masks = {mask & about for mask in side}
        pairs_left -= len(cases) * len(masks)
        if pairs_left < 0:
            return False, 0
        cases = {case & mask for case in cases for mask in masks}
        if 0 in cases:
            return False, pairs_left
    return True, pairs_left
