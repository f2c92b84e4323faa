"""Snapshots: a collection frozen as it stands, under one root."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from psycopg.rows import tuple_row

from licensing import settree
from licensing.ledger import log
from licensing.models import LedgerEntry, Snapshot
from licensing.parties import party
from marketplace import audit, collections, idempotency, reservations
from marketplace.access import Caller, acting
from marketplace.errors import CollectionEmpty
from marketplace.models import Collection, CollectionItem
from marketplace.reservations import RESERVED_FOR

# Until the transaction ends. The default memory would spill the sort of a million digests to disk
# in many small runs; all rows are wanted, not the first ones soon; and compiling the plan takes
# longer than it saves.
_PLANNED = """
SET LOCAL work_mem = '128MB';
SET LOCAL cursor_tuple_fraction = 1;
SET LOCAL jit = off;
"""
_FETCHED_AT_ONCE = 2_000
_REPORT_EVERY = 10_000


class Item(NamedTuple):
    """One work of a snapshot, as its leaf and its line in a manifest need it."""

    digest: bytes
    length: int
    media_type: str
    canonicalization: str
    custody: str
    external_id: str
    title: str
    # Why the bytes may not be licensed now ("opted_out", …); None where they may.
    reserved: str | None
    # How many tokens, words, … its bytes have; None where nobody counted.
    units: Mapping[str, int] | None
    # A commitment that only holders of the snapshot's secret can check; None without contributor.
    contributor_ref: str | None


# Called with how many works were hashed so far, every so often.
Report = Callable[[int], None]


def finalize(caller: Caller, collection_id: str, *, report: Report | None = None) -> Snapshot:
    """Freeze a collection: everything that is in it now, under one root.

    The same as last time is the same snapshot. A new one is recorded in the log of the caller's
    mode, though both modes share it. Memory does not grow with the collection. Raises NotFound,
    CollectionEmpty.
    """
    return finalize_once(caller, collection_id, report=report)[0]


def finalize_once(
    caller: Caller, collection_id: str, *, report: Report | None = None
) -> tuple[Snapshot, bool]:
    """Do what `finalize` does, and say whether the snapshot is new."""
    with acting(caller):
        # Exclusive: imports share this row while they add, so none adds to a number once it is
        # counted.
        collection = Collection.objects.owned_by(caller).get_visible(
            caller, collection_id, lock=True
        )
        # What may not be licensed leaves before the count; snapshots made earlier keep it, and
        # their roots. One that is opted out right now is left out of deliveries all the same.
        collections.remove_reserved(collection)
        last = _unchanged(collection)
        snapshot = last or _freeze(caller, collection, report)
        idempotency.names(caller, snapshot)
    return snapshot, last is None


def of_collection(caller: Caller, collection_id: str) -> QuerySet[Snapshot]:
    """The snapshots of one of the caller's collections. Raises NotFound."""
    collection = Collection.objects.get_visible(caller, collection_id)
    return Snapshot.objects.owned_by(caller).filter(collection=collection)


def cited(snapshot: Snapshot) -> dict[str, Any]:
    """How the set is cited: everything that identifies it, never the bare root."""
    root = settree.SetRoot(
        tree=settree.TREE,
        type="snapshot",
        size=snapshot.size,
        root=bytes(snapshot.root),
        totals=snapshot.totals,
    )
    return {**root.as_dict(), "citation": bytes(snapshot.citation).hex()}


def items(snapshot: Snapshot) -> Iterator[Item]:
    """A snapshot's works, ascending by digest. Streams; needs an open transaction throughout."""
    secret = bytes(snapshot.secret)
    for row in _rows(snapshot.collection, snapshot.number, _SHOWN):
        *shown, units, contributor = row
        counted = None if units is None else json.loads(units)
        yield Item._make((*shown, counted, contributor_ref(secret, contributor)))


def reserved(snapshot: Snapshot) -> list[bytes]:
    """The digests of a snapshot that may not be licensed now, ascending."""
    with connection.cursor() as cursor:
        cursor.execute(
            _RESERVED,
            {
                "organization": snapshot.organization_id,
                "collection": snapshot.collection.number,
                "number": snapshot.number,
            },
        )
        return [bytes(digest) for (digest,) in cursor.fetchall()]


def has_free_work(snapshot: Snapshot) -> bool:
    """Whether any of its works may be licensed: is neither opted out nor held."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT EXISTS (SELECT {_HELD} AND NOT {reservations.IS_RESERVED})",
            {"collection": snapshot.collection.number, "number": snapshot.number},
        )
        row = cursor.fetchone()
    assert row is not None
    return bool(row[0])


def makeup(snapshot: Snapshot) -> Counter[tuple[str, str]]:
    """How many of its works are in which (language, media type). Reads every work once."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT work.language, form.media_type, count(*) {_HELD} GROUP BY 1, 2",
            {"collection": snapshot.collection.number, "number": snapshot.number},
        )
        return Counter({(language, media): count for language, media, count in cursor.fetchall()})


def _unchanged(collection: Collection) -> Snapshot | None:
    """The last snapshot, unless something was added or removed since."""
    number = collection.next_snapshot
    added = Q(added_in=number) & (Q(removed_in__isnull=True) | Q(removed_in__gt=number))
    removed = Q(removed_in=number, added_in__lt=number)
    items = CollectionItem.objects.filter(
        organization=collection.organization_id, collection=collection
    )
    if items.filter(added | removed).exists():
        return None
    return Snapshot.objects.filter(collection=collection, number=number - 1).first()


def _freeze(caller: Caller, collection: Collection, report: Report | None) -> Snapshot:
    number, secret = collection.next_snapshot, os.urandom(settree.SECRET_LENGTH)
    tree = settree.SetTree("snapshot", secret)
    counted = _Counted(_rows(collection, number, _HASHED), secret, report)
    tree.extend(counted)
    if not tree.size:
        raise CollectionEmpty(
            _("Import works into the collection before freezing it."), collection=str(collection.pk)
        )
    root = tree.finish({"works": tree.size, "bytes": counted.bytes, **counted.units.of(tree.size)})
    snapshot = Snapshot(
        organization=caller.organization,
        collection=collection,
        number=number,
        size=root.size,
        root=root.root,
        totals=dict(root.totals),
        citation=root.citation(),
        secret=secret,
        snapshot_ref=os.urandom(16),
        finalized_at=timezone.now(),
    )
    # At the end: what is recorded for the organization waits from here to the commit, and not
    # while the works are hashed.
    snapshot.entry = _record(caller, snapshot)
    snapshot.save(force_insert=True)
    collection.next_snapshot = number + 1
    collection.save(update_fields=["next_snapshot"])
    audit.record(caller, "snapshot.finalized", subject=snapshot, works=root.size)
    return snapshot


def _record(caller: Caller, snapshot: Snapshot) -> LedgerEntry:
    """Append `snapshot.finalized`. Its fields are published: they never change."""
    assert snapshot.snapshot_ref is not None
    return log.append(
        log=log.name(livemode=caller.livemode),
        kind="snapshot.finalized",
        subject_ref=bytes(snapshot.snapshot_ref),
        seq=0,
        prev=None,
        at=snapshot.finalized_at,
        parties=[snapshot.organization_id],
        values={
            "licensor": party(caller.organization),
            "collection": str(snapshot.collection_id),
            "snapshot": {"id": str(snapshot.pk), "number": snapshot.number},
            "coverage": [cited(snapshot)],
        },
    )


class _Counted:
    """Each row's key and the hash of its metadata; sums the rows' bytes and units on the way."""

    def __init__(
        self, rows: Iterator[tuple[Any, ...]], secret: bytes, report: Report | None
    ) -> None:
        self._rows, self._secret, self._report = rows, secret, report
        self.bytes = 0
        self.units = settree.UnitTotals()

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        metadata_sha256, total = settree.metadata_sha256, 0
        for place, row in enumerate(self._rows, start=1):
            digest, length, media_type, canonicalization, units, contributor = row
            total += length
            if units is not None:
                units, _end = _read_json(units)
                self.units.add(units)
            yield (
                digest,
                metadata_sha256(
                    media_type=media_type,
                    length=length,
                    canonicalization=canonicalization,
                    contributor=contributor_ref(self._secret, contributor),
                    units=units,
                ),
            )
            if self._report is not None and place % _REPORT_EVERY == 0:
                self._report(place)
        self.bytes = total


# What a snapshot holds is said once; its root and its manifest read different columns of it.
_HELD = """
FROM marketplace_collectionitem item
JOIN marketplace_representation form ON form.id = item.representation_id
JOIN marketplace_work work ON work.id = item.work_id
WHERE item.collection_number = %(collection)s AND item.added_in <= %(number)s
    AND (item.removed_in IS NULL OR item.removed_in > %(number)s)
"""
# From the reservations, which are few, to the snapshot; as `reservations.IS_RESERVED` says it.
_RESERVED = """
SELECT DISTINCT form.digest
FROM marketplace_reserveddigest reserved
JOIN marketplace_representation form
    ON form.organization_id = %(organization)s AND form.digest = reserved.digest
JOIN marketplace_collectionitem item
    ON item.organization_id = %(organization)s AND item.representation_id = form.id
WHERE reserved.ended_at IS NULL
    AND (reserved.organization_id IS NULL OR reserved.organization_id = %(organization)s)
    AND item.collection_number = %(collection)s AND item.added_in <= %(number)s
    AND (item.removed_in IS NULL OR item.removed_in > %(number)s)
ORDER BY form.digest
"""
# Null where nothing is counted, as nearly everywhere: to read an empty object costs more. As text,
# because the driver's own reader of jsonb takes five times as long as this one.
_UNITS = "nullif(item.units, '{}')::text"
_read_json = json.JSONDecoder().raw_decode
_HASHED = (
    "form.digest, form.length, form.media_type, form.canonicalization,"
    f" {_UNITS}, work.contributor_id"
)
# In the order of Item's fields.
_SHOWN = (
    "form.digest, form.length, form.media_type, form.canonicalization, form.custody,"
    f" work.external_id, work.title, {RESERVED_FOR}, {_UNITS}, work.contributor_id"
)


def _rows(collection: Collection, number: int, columns: str) -> Iterator[tuple[Any, ...]]:
    """Stream columns of what is in a snapshot, ascending by digest.

    Through a server's cursor in PostgreSQL's binary format, which Django does not offer: COPY
    took Python four times as long, for it hands over each row by itself.
    """
    with connection.cursor() as cursor:
        cursor.execute(_PLANNED)
    name = f"snapshot_{secrets.token_hex(8)}"
    with psycopg.ServerCursor(connection.connection, name, row_factory=tuple_row) as cursor:
        found = {"collection": collection.number, "number": number}
        cursor.execute(f"SELECT {columns} {_HELD} ORDER BY form.digest", found, binary=True)
        while rows := cursor.fetchmany(_FETCHED_AT_ONCE):
            yield from rows


def contributor_ref(secret: bytes, contributor: UUID | None) -> str | None:
    """Commit to a contributor without naming them: only the secret's holders can check it."""
    if contributor is None:
        return None
    return hashlib.sha256(b"licet/contributor/v1" + secret + contributor.bytes).hexdigest()
