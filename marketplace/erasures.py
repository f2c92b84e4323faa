"""The list of erasures: what was deleted of whom, by ids alone, so that it can be done again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from marketplace.models import Erasure
from marketplace.typeid import TypeID

VERSION = 1
PREFIX = "erasures/"


class ErasureUnreadable(Exception):
    """A file of the list is not what this software wrote. Says which."""


@dataclass(slots=True)
class Gone:
    """What was deleted or blanked: how many of each kind of row, and which, by ids that last."""

    counts: Counter[str] = field(default_factory=Counter)
    refs: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, count: int, refs: Sequence[str] = ()) -> None:
        if count:
            self.counts[kind] += count
        if refs:
            self.refs.setdefault(kind, []).extend(refs)

    def add_refs(self, kind: str, refs: Sequence[str]) -> None:
        self.add(kind, len(refs), refs)

    def __bool__(self) -> bool:
        return bool(self.counts)


def lock() -> None:
    """Have erasures follow one another until the transaction ends.

    Each locks rows of many tables, in no common order: two at once could wait for each other.
    """
    assert connection.in_atomic_block, "A lock lasts as long as its transaction."
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('erasures', 0))")


def record(gone: Gone, *, subject: str = "", organization: UUID | None = None) -> Erasure:
    """Put an erasure on the list, in its own transaction."""
    assert connection.in_atomic_block, "An erasure and its row commit together."
    return Erasure.objects.create(
        organization_id=organization,
        subject=subject,
        counts=dict(sorted(gone.counts.items())),
        refs={kind: sorted(set(refs)) for kind, refs in sorted(gone.refs.items())},
    )


def uncopied(most: int = 100) -> list[Erasure]:
    """Those that no other place has yet. Under `access.system`."""
    return list(
        Erasure.objects.select_for_update(skip_locked=True)
        .filter(copied_at__isnull=True)
        .order_by("pk")[:most]
    )


def copied_paths() -> set[str]:
    """What the list outside the database must hold. Under `access.system`."""
    return {path(row) for row in Erasure.objects.filter(copied_at__isnull=False).only("pk")}


def path(row: Erasure) -> str:
    """Where the list outside the database keeps it. The same for good: files are written once."""
    return f"{PREFIX}{row.pk}.json"


def dump(row: Erasure) -> bytes:
    """Write it for the list outside the database: the same bytes at any time."""
    document = {
        "v": VERSION,
        "id": str(row.pk),
        "organization": None if row.organization_id is None else str(row.organization_id),
        "subject": row.subject,
        "refs": row.refs,
        "counts": row.counts,
        "erased_at": row.erased_at.isoformat(),
    }
    return (json.dumps(document, sort_keys=True, indent=1) + "\n").encode()


def load(place: str, data: bytes) -> Erasure:
    """Read what `dump` wrote; the row is not saved. Raises ErasureUnreadable."""
    try:
        document = json.loads(data)
        if document["v"] != VERSION:
            raise ValueError("another version")
        row = Erasure(
            id=TypeID.parse("era", document["id"]),
            organization_id=_organization(document["organization"]),
            subject=document["subject"],
            refs=document["refs"],
            counts=document["counts"],
            erased_at=datetime.fromisoformat(document["erased_at"]),
        )
        if dump(row) != data or path(row) != place:
            raise ValueError("it was changed")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ErasureUnreadable(f"{place}: {error}") from None
    return row


def keep(row: Erasure) -> bool:
    """Insert a row that a restored database lost. False where it is here already."""
    if Erasure.objects.filter(pk=row.pk).exists():
        return False
    row.copied_at = timezone.now()
    row.save(force_insert=True)
    return True


def copied(row: Erasure) -> None:
    """Note that the list outside the database has it."""
    row.copied_at = timezone.now()
    row.save(update_fields=["copied_at"])


def _organization(text: Any) -> TypeID | None:
    return None if text is None else TypeID.parse("org", text)
