"""Openings that go: without value and salt, a commitment tells nobody anything."""

from __future__ import annotations

from collections.abc import Iterable

from licensing.models import LedgerEntry, LedgerOpening


def opened(entries: Iterable[int]) -> list[str]:
    """Name those of some entries that still have their openings: `key:leaf hash`, in hex.

    The key finds the entry at once in any copy of the database; the leaf hash, which is public,
    keeps a key that was given again after a restore from meaning another entry.
    """
    rows = LedgerEntry.objects.filter(pk__in=list(entries), opening__isnull=False)
    return [f"{pk}:{bytes(leaf).hex()}" for pk, leaf in rows.values_list("pk", "leaf_hash")]


def forget(refs: Iterable[str]) -> int:
    """Delete the openings that `opened` named, seed and values: how many there were.

    The entry, its place and every receipt stay as they are; who has a receipt keeps what it opens.
    Under `access.system`. Raises ValueError.
    """
    wanted = {int(pk): bytes.fromhex(leaf) for pk, leaf in (ref.split(":") for ref in refs)}
    found = LedgerEntry.objects.filter(pk__in=list(wanted)).values_list("pk", "leaf_hash")
    same = [pk for pk, leaf in found if bytes(leaf) == wanted[pk]]
    return LedgerOpening.objects.filter(entry__in=same).delete()[0]
