"""Works: recorded in bulk with their exact bytes' digests, and put into a collection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet

from marketplace import contributors
from marketplace.access import Caller
from marketplace.contributors import Person
from marketplace.models import (
    COUNT_MAX,
    DIGEST_LENGTH,
    UNITS,
    Collection,
    CollectionItem,
    Representation,
    Work,
    WorkIdentifier,
)
from marketplace.typeid import uuid7

EXTERNAL_ID_LENGTH_MAX = 1000

# Why a record was left out. The codes are promises to clients.
REPEATED = "repeated"
UNITS_DIFFER = "units_differ"
NAME_TAKEN = "name_taken"
INVALID = "invalid"
CONTRIBUTOR_UNKNOWN = "contributor_unknown"
CONSENT_REFUSED = "consent_refused"

_LENGTHS = {
    "external_id": EXTERNAL_ID_LENGTH_MAX,
    "title": 1000,
    "source_url": 2000,
    "language": 35,
    "revision": 200,
    "media_type": 255,
    "canonicalization": 40,
}
_NAMES, _LENGTHS_MAX = tuple(_LENGTHS), tuple(_LENGTHS.values())
_TEXTS = attrgetter(*_NAMES)
_CUSTODIES = frozenset(Representation.Custody.values)
# Larger integers have no canonical JSON, which a snapshot's leaves are made of.
LENGTH_MAX = 2**53 - 1


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
    # The owner's own word for this state of the work: "v3", a date, a commit.
    revision: str = ""
    canonicalization: str = "raw"
    # The external id of who made it; "" where nobody said.
    contributor: str = ""
    # What the record says of its contributor, who is then recorded with it. None: nothing, and
    # the contributor must be known already.
    person: Person | None = None
    # Further names of the work, as (scheme, normalized value): see `identifiers`.
    identifiers: tuple[tuple[str, str], ...] = ()
    # How many of each of UNITS the bytes have, as (unit, count), ascending; () where nobody said.
    units: tuple[tuple[str, int], ...] = ()
    # Where it stands in its source, from 1.
    line: int | None = None

    @property
    def name(self) -> str:
        return self.external_id

    def fault(self) -> str:
        """What the tables would refuse in it, or ""."""
        # Asked of every record of millions: all texts are taken at once.
        for place, text in enumerate(_TEXTS(self)):
            if len(text) > _LENGTHS_MAX[place]:
                return f"{_NAMES[place]}: longer than {_LENGTHS_MAX[place]} characters"
            if not text.isprintable() and not can_be_stored(text):
                return f"{_NAMES[place]}: holds characters that cannot be stored"
        if not self.external_id:
            return "external_id: empty"
        if len(self.digest) != DIGEST_LENGTH:
            return f"digest: not {DIGEST_LENGTH} bytes"
        if self.custody not in _CUSTODIES:
            return "custody: unknown"
        least = 0 if self.custody == Representation.Custody.REFERENCE else 1
        if not least <= self.length <= LENGTH_MAX:
            return f"length: not {least} to {LENGTH_MAX}"
        return _fault_of_units(self.units) if self.units else ""


def _fault_of_units(units: Sequence[tuple[str, int]]) -> str:
    names = [name for name, _count in units]
    if names != sorted(set(names)) or not set(names).issubset(UNITS):
        return f"units: not of {', '.join(UNITS)}"
    for name, count in units:
        if type(count) is not int or not 1 <= count <= COUNT_MAX:
            return f"{name}: not 1 to {COUNT_MAX}"
    return ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why a record did not become an item: a code, and what to add to its meaning."""

    code: str
    detail: str = ""
    field: str = ""


class Trial:
    """What a dry run would have recorded so far: it is kept beside the tables, and no row of ours.

    For one connection, which keeps it between transactions; `close` drops it.
    """

    def __init__(self) -> None:
        self.close()
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE import_trial (key bytea PRIMARY KEY)")

    def knows(self, keys: Iterable[bytes]) -> set[bytes]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT key FROM import_trial WHERE key = ANY(%s)", [list(keys)])
            return {bytes(key) for (key,) in cursor.fetchall()}

    def note(self, keys: Iterable[bytes]) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO import_trial SELECT unnest(%s::bytea[]) ON CONFLICT DO NOTHING",
                [list(keys)],
            )

    def close(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS import_trial")


# One batch, staged so that what is there already can be told from what is new. COPY cannot go
# into the tables themselves: one repeated row would refuse them all. Emptied twice: at the commit,
# so that a pooled connection keeps no tenant's rows; before, for two batches in one transaction.
_STAGE = """
CREATE TEMPORARY TABLE IF NOT EXISTS work_batch (
    n integer, work_id uuid, form_id bigint, external_id text, title text, source_url text,
    language text, revision text, digest bytea, length bigint, media_type text,
    canonicalization text, custody text, contributor_id uuid, units text
) ON COMMIT DELETE ROWS;
TRUNCATE work_batch
"""
_COPY = "COPY work_batch FROM STDIN (FORMAT BINARY)"
_TYPES = (
    *("int4", "uuid", "int8", "text", "text", "text", "text", "text"),
    *("bytea", "int8", "text", "text", "text", "uuid", "text"),
)

# LATERAL with LIMIT keeps the plans to one index probe a row however large the tables grow:
# without it, batches slowed down with the size of the catalogue (a staged table has no
# statistics, and PostgreSQL then prefers to hash).
_RESERVED = """
    SELECT reason FROM marketplace_reserveddigest reserved
    WHERE reserved.digest = batch.digest AND reserved.ended_at IS NULL
        AND (reserved.organization_id IS NULL OR reserved.organization_id = %(organization)s)
    ORDER BY reason DESC LIMIT 1
"""

# What is there already of a batch: only rows of which something is. A name is sought by the order
# of names, and not by equality: statistics that were taken while a first batch was not committed
# say that the table is empty, and then any index of the organization's looks as good as the one by
# name. Each probe reads all the organization's works by another: 12 s for 5,000 of them.
_LOOK = f"""
SELECT n, form.id, form.work_id, item.units, named.id, reserved.reason
FROM work_batch batch
LEFT JOIN LATERAL (
    SELECT id, work_id FROM marketplace_representation
    WHERE organization_id = %(organization)s AND digest = batch.digest
    LIMIT 1
) form ON true
LEFT JOIN LATERAL (
    SELECT units FROM marketplace_collectionitem
    WHERE collection_number = %(collection)s AND representation_id = form.id
        AND removed_in IS NULL
    LIMIT 1
) item ON form.id IS NOT NULL
LEFT JOIN LATERAL (
    SELECT id, external_id FROM marketplace_work
    WHERE organization_id = %(organization)s AND external_id >= batch.external_id
    ORDER BY external_id LIMIT 1
) named ON named.external_id = batch.external_id
LEFT JOIN LATERAL ({_RESERVED}) reserved ON true
WHERE form.id IS NOT NULL OR named.id IS NOT NULL OR reserved.reason IS NOT NULL
"""

# Known forms keep their work; all else is new. A reservation that came since the look is seen
# here: what it names does not enter.
_ADD = f"""
WITH batch AS MATERIALIZED (
    SELECT * FROM work_batch batch WHERE NOT EXISTS ({_RESERVED})
), new_work AS (
    INSERT INTO marketplace_work
        (id, organization_id, external_id, title, source_url, language, revision, contributor_id,
        created_at)
    SELECT work_id, %(organization)s, external_id, title, source_url, language, revision,
        contributor_id, now()
    FROM batch WHERE form_id IS NULL
    ON CONFLICT (organization_id, external_id) DO NOTHING
    RETURNING id
), new_form AS (
    INSERT INTO marketplace_representation
        (organization_id, work_id, digest, length, media_type, canonicalization, custody)
    SELECT %(organization)s, work_id, digest, length, media_type, canonicalization, custody
    FROM batch JOIN new_work ON new_work.id = batch.work_id
    RETURNING id, work_id
), item AS (
    INSERT INTO marketplace_collectionitem
        (organization_id, collection_number, work_id, representation_id, added_in, units)
    SELECT %(organization)s, %(collection)s, work_id, id, %(snapshot)s,
        coalesce(units::jsonb, '{{}}')
    FROM (
        SELECT id, work_id, units FROM new_form JOIN batch USING (work_id)
        UNION ALL SELECT form_id, work_id, units FROM batch WHERE form_id IS NOT NULL
    ) form
    ON CONFLICT (collection_number, representation_id) WHERE removed_in IS NULL DO NOTHING
)
SELECT n, reserved.reason FROM work_batch batch CROSS JOIN LATERAL ({_RESERVED}) reserved
UNION ALL
SELECT n, 'name_taken' FROM batch
WHERE form_id IS NULL AND NOT EXISTS (SELECT FROM new_work WHERE new_work.id = batch.work_id)
"""

_IDENTIFY = """
INSERT INTO marketplace_workidentifier (organization_id, work_id, scheme, value)
SELECT %s, * FROM unnest(%s::uuid[], %s::text[], %s::text[])
ON CONFLICT (work_id, scheme, value) DO NOTHING
"""


def add(
    caller: Caller,
    collection: Collection,
    records: Sequence[Record],
    *,
    trial: Trial | None = None,
) -> dict[int, LeftOut]:
    """Record works and put them into a collection, in the caller's transaction.

    Bytes that the organization has already are not recorded again; where the collection lacks
    them, they become an item of it. The outcome is that of the records one after another, however
    they are cut into batches. Returns what was left out, by its position in `records`. With a
    `trial`, it only says what it would do.
    """
    assert connection.in_atomic_block, "Works are recorded with their import's progress."
    left_out = {
        n: LeftOut(INVALID, fault) for n, record in enumerate(records) if (fault := record.fault())
    }
    number, snapshot = hold(caller, collection)
    names = {"organization": caller.organization.pk, "collection": number, "snapshot": snapshot}
    makers = settle_contributors(caller, records, left_out, trial)
    with connection.cursor() as cursor:
        ids = _stage(cursor, records, left_out, makers)
        cursor.execute(_LOOK, names)
        known = {row[0]: Known(*row[1:]) for row in cursor.fetchall()}
        kept = _decide(records, left_out, known, trial)
        if trial is None:
            _restage(cursor, left_out, known, kept)
            cursor.execute(_ADD, names)
            left_out.update((n, LeftOut(code)) for n, code in cursor.fetchall())
            new = [n for n in kept if n not in left_out and n not in known]
            identify(caller, [(ids[n], records[n].identifiers) for n in new])
    return left_out


def hold(caller: Caller, collection: Collection) -> tuple[int, int]:
    """Keep others from changing a collection's works until the transaction ends.

    Returns the collection's number, and the next snapshot's, which stays what it is.
    """
    contributors.hold(caller.organization.pk)
    with connection.cursor() as cursor:
        # Shared: making a snapshot takes this row exclusively, so the number read here is still
        # the next one when the items commit. Without it, an item could enter a snapshot whose
        # root was computed without it.
        cursor.execute(
            "SELECT number, next_snapshot FROM marketplace_collection WHERE id = %s FOR SHARE",
            [collection.pk],
        )
        number, snapshot = cursor.fetchone() or (0, 0)
    return number, snapshot


def identify(caller: Caller, rows: Iterable[tuple[UUID, Sequence[tuple[str, str]]]]) -> None:
    """Record further identifiers of works, as (scheme, value); those that are there stay."""
    flat = [(work, scheme, value) for work, names in rows for scheme, value in names]
    if flat:
        columns = [list(column) for column in zip(*flat, strict=True)]
        with connection.cursor() as cursor:
            cursor.execute(_IDENTIFY, [caller.organization.pk, *columns])


def in_collection(
    caller: Caller, collection_id: str, among: QuerySet[Work] | None = None
) -> QuerySet[Work]:
    """The works that are in one of the caller's collections now. Raises NotFound."""
    collection = Collection.objects.get_visible(caller, collection_id)
    # By way of their forms, which have indexes to both sides: a page of a large collection reads
    # the works of that page, and no more of the collection.
    there = Representation.objects.filter(
        work=OuterRef("pk"),
        items__organization=collection.organization_id,
        items__collection=collection,
        items__removed_in__isnull=True,
    )
    seen = Work.objects.visible_to(caller) if among is None else among
    return seen.filter(Exists(there))


def with_forms(rows: QuerySet[Work], *, seen_by: Caller | None = None) -> QuerySet[Work]:
    """The same works; their forms and identifiers are read with them, in one query each.

    For somebody, also the items that those forms are now, of collections that they may see.
    """
    found = Representation.objects.order_by("id")
    if seen_by is not None:
        found = found.prefetch_related(Prefetch("items", _items_seen_by(seen_by)))
    forms = Prefetch("representations", found)
    names = Prefetch("identifiers", WorkIdentifier.objects.order_by("scheme", "value"))
    return rows.prefetch_related(forms).prefetch_related(names)


def _items_seen_by(caller: Caller) -> QuerySet[CollectionItem]:
    own = Q(organization=caller.organization)
    if caller.has_shares:
        own |= Q(collection__in=Collection.objects.visible_to(caller))
    live = CollectionItem.objects.filter(own, removed_in__isnull=True)
    return live.select_related("collection").order_by("id")


@dataclass(frozen=True, slots=True)
class Known:
    """What is there already of one record: its bytes, its name, or a reservation."""

    form: int | None
    work: UUID | None
    # As JSON: how its item in the collection is counted. None where there is no item.
    units: str | None
    named: UUID | None
    reserved: str | None


NOTHING_KNOWN = Known(None, None, None, None, None)


def settle_contributors(
    caller: Caller,
    records: Sequence[Record],
    left_out: dict[int, LeftOut],
    trial: Trial | None,
) -> Mapping[str, UUID]:
    """Record what the records say of their contributors; leave out what lacks consent."""
    rows = [
        (n, record.contributor, record.person)
        for n, record in enumerate(records)
        if record.contributor and n not in left_out
    ]
    if not rows:
        return {}
    already = set()
    if trial is not None:
        keys = {_key(b"c", name): name for _n, name, _person in rows}
        already = {keys[key] for key in trial.knows(keys)}
    outcome = contributors.settle(caller, rows, is_trial=trial is not None, refused=already)
    for n in outcome.unknown:
        left_out[n] = LeftOut(
            CONTRIBUTOR_UNKNOWN, f"contributor: {records[n].contributor[:200]}", "contributor"
        )
    for n in outcome.refused:
        left_out[n] = LeftOut(CONSENT_REFUSED, "", "consent")
    if trial is not None:
        trial.note(_key(b"c", records[n].contributor) for n in outcome.refused)
    return outcome.ids


def _decide(
    records: Sequence[Record],
    left_out: dict[int, LeftOut],
    known: Mapping[int, Known],
    trial: Trial | None,
) -> list[int]:
    """Which records enter, one after another: an earlier one may take a later one's place."""
    digests: set[bytes] = set()
    names: set[str] = set()
    # How the batch counts them: a digest with one of its units.
    counted: set[bytes] = set()
    if trial is not None:
        keys = {_key(b"x", one.external_id): one.external_id for one in _rest(records, left_out)}
        names = {keys[key] for key in trial.knows(keys)}
        seen = trial.knows(b"d" + one.digest for one in _rest(records, left_out))
        digests = {key[1:] for key in seen}
        counted = trial.knows(key for one in _rest(records, left_out) for key in _counted(one))
    kept = []
    for n, record in enumerate(records):
        if n in left_out:
            continue
        there = known.get(n, NOTHING_KNOWN)
        if there.reserved is not None:
            left_out[n] = LeftOut(there.reserved, "", "sha256")
        elif there.units is not None or record.digest in digests:
            left_out[n] = _repeats(record, there, counted)
        elif there.form is None and (there.named or record.external_id in names):
            left_out[n] = LeftOut(NAME_TAKEN, "", "external_id")
        else:
            kept.append(n)
            digests.add(record.digest)
            counted.update(_counted(record))
            if there.form is None:
                names.add(record.external_id)
    if trial is not None:
        trial.note(b"d" + records[n].digest for n in kept)
        trial.note(counted)
        trial.note(
            _key(b"x", records[n].external_id)
            for n in kept
            if known.get(n, NOTHING_KNOWN).form is None
        )
    return kept


def _repeats(record: Record, there: Known, counted: set[bytes]) -> LeftOut:
    """Why bytes that the collection has are not taken again: are they counted otherwise?"""
    if there.units is None:
        stands = [key in counted for key in _counted(record)]
    else:
        known = json.loads(there.units) if record.units else {}
        stands = [known.get(name) == count for name, count in record.units]
    # What it does not say is left as it is.
    if all(stands):
        return LeftOut(REPEATED)
    return LeftOut(UNITS_DIFFER, "", record.units[stands.index(False)][0])


def _rest(records: Sequence[Record], left_out: Mapping[int, LeftOut]) -> Iterator[Record]:
    return (record for n, record in enumerate(records) if n not in left_out)


def _counted(record: Record) -> list[bytes]:
    return [_key(b"u" + record.digest, repr(unit)) for unit in record.units]


def _key(kind: bytes, name: str) -> bytes:
    return kind + hashlib.sha256(name.encode()).digest()


def _stage(
    cursor: Any,
    records: Sequence[Record],
    left_out: Mapping[int, LeftOut],
    makers: Mapping[str, UUID],
) -> list[UUID]:
    """Send the batch to the database. Returns the works' ids, by position."""
    cursor.execute(_STAGE)
    # Sorted, so that ids made within one millisecond, too, keep the records' order.
    ids = sorted(uuid7() for _record in records)
    with cursor.copy(_COPY) as copy:
        copy.set_types(_TYPES)
        for n, record in enumerate(records):
            if n in left_out:
                continue
            copy.write_row(
                (
                    n,
                    ids[n],
                    None,
                    record.external_id,
                    record.title,
                    record.source_url,
                    record.language,
                    record.revision,
                    record.digest,
                    record.length,
                    record.media_type,
                    record.canonicalization,
                    record.custody,
                    makers.get(record.contributor),
                    json.dumps(dict(record.units)) if record.units else None,
                )
            )
    return ids


def _restage(
    cursor: Any,
    left_out: Mapping[int, LeftOut],
    known: Mapping[int, Known],
    kept: Sequence[int],
) -> None:
    """Take out of the staged batch what does not enter; have the known forms keep their work."""
    if left_out:
        cursor.execute("DELETE FROM work_batch WHERE n = ANY(%s)", [list(left_out)])
    forms = [(n, known[n].form, known[n].work) for n in kept if n in known and known[n].form]
    if forms:
        numbers, form_ids, work_ids = (list(column) for column in zip(*forms, strict=True))
        cursor.execute(
            "UPDATE work_batch SET form_id = known.form, work_id = known.work"
            " FROM unnest(%s::int[], %s::bigint[], %s::uuid[]) known (n, form, work)"
            " WHERE work_batch.n = known.n",
            [numbers, form_ids, work_ids],
        )


def can_be_stored(text: str) -> bool:
    """Whether PostgreSQL takes it: no null character, no half of a surrogate pair."""
    try:
        return b"\x00" not in text.encode()
    except UnicodeEncodeError:
        return False
