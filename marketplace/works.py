"""Works: recorded in bulk with their exact bytes' digests, and put into a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Prefetch, QuerySet

from marketplace.access import Caller
from marketplace.models import (
    DIGEST_LENGTH,
    Collection,
    CollectionItem,
    Contributor,
    Representation,
    Work,
)
from marketplace.typeid import uuid7

EXTERNAL_ID_LENGTH_MAX = 1000

# Why a record was left out. The codes are promises to clients.
REPEATED = "repeated"
NAME_TAKEN = "name_taken"
INVALID = "invalid"
CONTRIBUTOR_UNKNOWN = "contributor_unknown"

_LENGTHS = {
    "external_id": EXTERNAL_ID_LENGTH_MAX,
    "title": 1000,
    "source_url": 2000,
    "language": 35,
    "media_type": 255,
    "canonicalization": 40,
}
# Larger integers have no canonical JSON, which a snapshot's leaves are made of.
_LENGTH_MAX = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Record:
    """One work with one representation, ready to be recorded."""

    external_id: str
    digest: bytes
    # In bytes; 0 where the bytes are elsewhere and nobody said.
    length: int
    media_type: str
    custody: str
    title: str = ""
    source_url: str = ""
    language: str = ""
    canonicalization: str = "raw"
    # The external id of who made it; "" where nobody said.
    contributor: str = ""

    @property
    def name(self) -> str:
        return self.external_id

    def fault(self) -> str:
        """What the tables would refuse in it, or ""."""
        for name, length_max in _LENGTHS.items():
            text = getattr(self, name)
            if len(text) > length_max:
                return f"{name}: longer than {length_max} characters"
            if not text.isprintable() and not _can_be_stored(text):
                return f"{name}: holds characters that cannot be stored"
        if not self.external_id:
            return "external_id: empty"
        if len(self.digest) != DIGEST_LENGTH:
            return f"digest: not {DIGEST_LENGTH} bytes"
        if self.custody not in Representation.Custody.values:
            return "custody: unknown"
        least = 0 if self.custody == Representation.Custody.REFERENCE else 1
        if not least <= self.length <= _LENGTH_MAX:
            return f"length: not {least} to {_LENGTH_MAX}"
        return ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why a record did not become an item: a code, and what to add to its meaning."""

    code: str
    detail: str = ""


# One batch, staged so that what is there already can be told from what is new. COPY cannot go
# into the tables themselves: one repeated row would refuse them all. Emptied twice: at the commit,
# so that a pooled connection keeps no tenant's rows; before, for two batches in one transaction.
_STAGE = """
CREATE TEMPORARY TABLE IF NOT EXISTS work_batch (
    n integer, work_id uuid, external_id text, title text, source_url text, language text,
    digest bytea, length bigint, media_type text, canonicalization text, custody text,
    contributor_id uuid
) ON COMMIT DELETE ROWS;
TRUNCATE work_batch
"""
_COPY = "COPY work_batch FROM STDIN"

# One statement, so that each row is looked up once. LATERAL with LIMIT keeps the plan to one
# index probe a row however large the tables grow: without it, batches slowed down with the size
# of the catalogue (a staged table has no statistics, and PostgreSQL then prefers to hash).
_ADD = """
WITH known AS MATERIALIZED (
    SELECT batch.n, form.id, form.work_id
    FROM work_batch batch CROSS JOIN LATERAL (
        SELECT id, work_id FROM marketplace_representation
        WHERE organization_id = %(organization)s AND digest = batch.digest
        LIMIT 1
    ) form
), new_work AS (
    INSERT INTO marketplace_work
        (id, organization_id, external_id, title, source_url, language, contributor_id, created_at)
    SELECT work_id, %(organization)s, external_id, title, source_url, language, contributor_id,
        now()
    FROM work_batch batch
    WHERE NOT EXISTS (SELECT FROM known WHERE known.n = batch.n)
    ON CONFLICT (organization_id, external_id) DO NOTHING
    RETURNING id
), new_form AS (
    INSERT INTO marketplace_representation
        (organization_id, work_id, digest, length, media_type, canonicalization, custody)
    SELECT %(organization)s, work_id, digest, length, media_type, canonicalization, custody
    FROM work_batch batch JOIN new_work ON new_work.id = batch.work_id
    RETURNING id, work_id
), item AS (
    INSERT INTO marketplace_collectionitem
        (organization_id, collection_number, work_id, representation_id, added_in)
    SELECT %(organization)s, %(collection)s, work_id, id, %(snapshot)s
    FROM (SELECT id, work_id FROM new_form UNION ALL SELECT id, work_id FROM known) form
    ON CONFLICT (collection_number, representation_id) WHERE removed_in IS NULL DO NOTHING
    RETURNING representation_id
)
SELECT n, 'repeated' FROM known
WHERE NOT EXISTS (SELECT FROM item WHERE item.representation_id = known.id)
UNION ALL
SELECT n, 'name_taken' FROM work_batch batch
WHERE NOT EXISTS (SELECT FROM known WHERE known.n = batch.n)
    AND NOT EXISTS (SELECT FROM new_work WHERE new_work.id = batch.work_id)
"""


def add(caller: Caller, collection: Collection, records: Sequence[Record]) -> dict[int, LeftOut]:
    """Record works and put them into a collection, in the caller's transaction.

    Bytes that the organization has already are not recorded again; where the collection lacks
    them, they become an item of it. Returns what was left out, by its position in `records`.
    """
    assert connection.in_atomic_block, "Works are recorded with their import's progress."
    contributors = _contributors(caller, records)
    left_out = _left_out_by_themselves(records, contributors)
    with connection.cursor() as cursor:
        # One organization's batches wait for each other: two that bring the same bytes would
        # otherwise both find them new.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('works of ' || %s, 0))",
            [str(caller.organization.pk)],
        )
        # Shared: making a snapshot takes this row exclusively, so the number read here is still
        # the next one when the items commit. Without it, an item could enter a snapshot whose
        # root was computed without it. Imports do not hold each other up here.
        cursor.execute(
            "SELECT number, next_snapshot FROM marketplace_collection WHERE id = %s FOR SHARE",
            [collection.pk],
        )
        number, snapshot = cursor.fetchone() or (None, None)
        _stage(cursor, records, left_out, contributors)
        names = {
            "organization": caller.organization.pk,
            "collection": number,
            "snapshot": snapshot,
        }
        cursor.execute(_ADD, names)
        left_out.update((n, LeftOut(code)) for n, code in cursor.fetchall())
    return left_out


def in_collection(caller: Caller, collection_id: str) -> QuerySet[Work]:
    """The works that are in one of the caller's collections now. Raises NotFound."""
    collection = Collection.objects.get_visible(caller, collection_id)
    live = CollectionItem.objects.filter(
        organization=collection.organization_id, collection=collection, removed_in__isnull=True
    )
    return Work.objects.visible_to(caller).filter(pk__in=live.values("work"))


def with_forms(rows: QuerySet[Work]) -> QuerySet[Work]:
    """The same works; their representations are read with them, in one query for all."""
    return rows.prefetch_related(Prefetch("representations", Representation.objects.order_by("id")))


def _contributors(caller: Caller, records: Sequence[Record]) -> dict[str, UUID]:
    """The keys of the contributors that some records name."""
    named = {record.contributor for record in records if record.contributor}
    if not named:
        return {}
    rows = Contributor.objects.visible_to(caller).filter(external_id__in=named)
    return dict(rows.values_list("external_id", "pk"))


def _left_out_by_themselves(
    records: Sequence[Record], contributors: Mapping[str, UUID]
) -> dict[int, LeftOut]:
    """What the tables would refuse, and what repeats another record of the same batch."""
    left_out: dict[int, LeftOut] = {}
    digests: set[bytes] = set()
    names: set[str] = set()
    for n, record in enumerate(records):
        fault = record.fault()
        if fault:
            left_out[n] = LeftOut(INVALID, fault)
        elif record.contributor and record.contributor not in contributors:
            left_out[n] = LeftOut(CONTRIBUTOR_UNKNOWN, f"contributor: {record.contributor[:200]}")
        elif record.digest in digests:
            left_out[n] = LeftOut(REPEATED)
        elif record.external_id in names:
            left_out[n] = LeftOut(NAME_TAKEN)
        else:
            digests.add(record.digest)
            names.add(record.external_id)
    return left_out


def _stage(
    cursor: Any,
    records: Sequence[Record],
    left_out: Mapping[int, LeftOut],
    contributors: Mapping[str, UUID],
) -> None:
    cursor.execute(_STAGE)
    # Sorted, so that ids made within one millisecond, too, keep the records' order.
    ids = sorted(uuid7() for _record in records)
    with cursor.copy(_COPY) as copy:
        for n, record in enumerate(records):
            if n in left_out:
                continue
            copy.write_row(
                (
                    n,
                    ids[n],
                    record.external_id,
                    record.title,
                    record.source_url,
                    record.language,
                    record.digest,
                    record.length,
                    record.media_type,
                    record.canonicalization,
                    record.custody,
                    contributors.get(record.contributor),
                )
            )


def _can_be_stored(text: str) -> bool:
    try:
        return b"\x00" not in text.encode()
    except UnicodeEncodeError:
        return False
