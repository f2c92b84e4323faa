"""Snapshots: a collection frozen as it stands, under one root."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from licensing import settree
from licensing.models import Snapshot
from marketplace import audit, idempotency
from marketplace.access import Caller, acting
from marketplace.errors import CollectionEmpty
from marketplace.models import Collection, CollectionItem

# For the sort by digest; the default would spill a million rows to disk in many small runs.
_WORK_MEMORY = "128MB"
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
    # A commitment that only holders of the snapshot's secret can check; None without contributor.
    contributor_ref: str | None


# Called with how many works were hashed so far, every so often.
Report = Callable[[int], None]


def finalize(caller: Caller, collection_id: str, *, report: Report | None = None) -> Snapshot:
    """Freeze a collection: everything that is in it now, under one root.

    The same as last time is the same snapshot. Memory does not grow with the collection. Raises
    NotFound, CollectionEmpty.
    """
    return finalize_once(caller, collection_id, report=report)[0]


def finalize_once(
    caller: Caller, collection_id: str, *, report: Report | None = None
) -> tuple[Snapshot, bool]:
    """Do what `finalize` does, and say whether the snapshot is new."""
    with acting(caller):
        # Exclusive: imports share this row while they add, so none adds to a number once it is
        # counted.
        collection = Collection.objects.get_visible(caller, collection_id, lock=True)
        last = _unchanged(collection)
        snapshot = last or _freeze(caller, collection, report)
        idempotency.names(caller, snapshot)
    return snapshot, last is None


def of_collection(caller: Caller, collection_id: str) -> QuerySet[Snapshot]:
    """The snapshots of one of the caller's collections. Raises NotFound."""
    collection = Collection.objects.get_visible(caller, collection_id)
    return Snapshot.objects.owned_by(caller).filter(collection=collection)


def items(snapshot: Snapshot) -> Iterator[Item]:
    """A snapshot's works, ascending by digest. Streams; needs an open transaction throughout."""
    yield from _items(snapshot.collection, snapshot.number, bytes(snapshot.secret))


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
    counted = _Counted(_items(collection, number, secret), report)
    tree.extend(counted)
    if not tree.size:
        raise CollectionEmpty(
            _("Import works into the collection before freezing it."), collection=str(collection.pk)
        )
    root = tree.finish({"works": tree.size, "bytes": counted.bytes})
    snapshot = Snapshot(
        organization=caller.organization,
        collection=collection,
        number=number,
        size=root.size,
        root=root.root,
        totals=dict(root.totals),
        citation=root.citation(),
        secret=secret,
    )
    snapshot.save(force_insert=True)
    collection.next_snapshot = number + 1
    collection.save(update_fields=["next_snapshot"])
    audit.record(caller, "snapshot.finalized", subject=snapshot, works=root.size)
    return snapshot


class _Counted:
    """Each item's key and the hash of its metadata; sums the items' bytes on the way."""

    def __init__(self, found: Iterator[Item], report: Report | None) -> None:
        self._found, self._report = found, report
        self.bytes = 0

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        metadata_sha256, total = settree.metadata_sha256, 0
        for place, item in enumerate(self._found, start=1):
            total += item.length
            yield (
                item.digest,
                metadata_sha256(
                    media_type=item.media_type,
                    length=item.length,
                    canonicalization=item.canonicalization,
                    contributor=item.contributor_ref,
                ),
            )
            if self._report is not None and place % _REPORT_EVERY == 0:
                self._report(place)
        self.bytes = total


_ITEMS = """
COPY (
    SELECT form.digest, form.length, form.media_type, form.canonicalization, form.custody,
        work.external_id, work.title, work.contributor_id
    FROM marketplace_collectionitem item
    JOIN marketplace_representation form ON form.id = item.representation_id
    JOIN marketplace_work work ON work.id = item.work_id
    WHERE item.collection_number = {collection:d} AND item.added_in <= {number:d}
        AND (item.removed_in IS NULL OR item.removed_in > {number:d})
    ORDER BY form.digest
) TO STDOUT (FORMAT binary)
"""


def _items(collection: Collection, number: int, secret: bytes) -> Iterator[Item]:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL work_mem = '{_WORK_MEMORY}'")
        # Django's debugging cursor takes no parameters for COPY; these are integers of ours.
        with cursor.copy(_ITEMS.format(collection=collection.number, number=number)) as copy:
            copy.set_types(["bytea", "int8", "text", "text", "text", "text", "text", "uuid"])
            for row in copy.rows():
                contributor = row[7]
                yield Item(
                    *row[:7], None if contributor is None else _contributor(secret, contributor)
                )


def _contributor(secret: bytes, contributor: UUID) -> str:
    return hashlib.sha256(b"licet/contributor/v1" + secret + contributor.bytes).hexdigest()
