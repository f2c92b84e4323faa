"""How fast `imports.run` is beside a plain COPY of the same rows into the same tables."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import psycopg

from marketplace import access, imports, organizations
from marketplace.imports import Record
from marketplace.models import Collection
from marketplace.typeid import uuid7
from tests.benchmarks.measure import Figure, median, owner, progress

WORKS = 100_000
ROUNDS = 5
RATIO_GOAL = 0.3

# Beyond what the table's own sequence reaches, so that the COPY may name its keys.
FIRST_COPIED_KEY = 1_000_000_000
COPIES = {
    "work": "id, organization_id, external_id, title, source_url, language, created_at",
    "representation": "id, organization_id, work_id, digest, length, media_type,"
    " canonicalization, custody",
    "collectionitem": "organization_id, collection_number, work_id, representation_id, added_in",
}


def run(quick: bool) -> Iterator[Figure]:
    """Import and copy by turns; a row of the figure is a work, a representation and an item."""
    works = WORKS // 10 if quick else WORKS
    # A tenant each: neither side's unique indexes hold the other's rows nearby.
    imported_into, copied_into = make_collection("Imports"), make_collection("Copies")
    ours, bare = [], []
    for round_ in range(ROUNDS):
        first = round_ * works
        bare.append(works / copy_rows(copied_into, first, works))
        ours.append(works / import_works(imported_into, first, works))
        progress(
            f"import: round {round_ + 1}/{ROUNDS}: {ours[-1]:,.0f} works/s,"
            f" COPY {bare[-1]:,.0f} works/s"
        )
    _check_same_rows(imported_into, copied_into)
    ratio = median(mine / limit for mine, limit in zip(ours, bare, strict=True))
    yield Figure(
        figure="import",
        value=median(ours),
        unit="works/s",
        limit=median(bare),
        ratio=ratio,
        goal=f"ratio >= {RATIO_GOAL:g}",
        holds=ratio >= RATIO_GOAL,
    )


def make_collection(name: str) -> Collection:
    seller = organizations.found(
        kind="platform", name=name, legal_name=f"{name} Ltd", jurisdiction="IE"
    )
    with access.acting(organizations.operator(seller)):
        collection = Collection.objects.create(organization=seller, name=name)
    collection.refresh_from_db()
    return collection


def _record(number: int) -> Record:
    return Record(
        external_id=f"letters/{number // 1000:06}/{number:09}.txt",
        title=f"{number:09}.txt",
        digest=hashlib.sha256(number.to_bytes(8)).digest(),
        length=1000 + number % 9000,
        media_type="text/plain",
        custody="hosted",
        language="en",
    )


def import_works(collection: Collection, first: int, works: int) -> float:
    """Seconds of the verb. Making the records is not part of it."""
    caller = organizations.operator(collection.organization)
    source = imports.Records([_record(first + n) for n in range(works)], name=f"from {first}")
    started = time.perf_counter()
    job = imports.run(caller, str(collection.pk), source)
    seconds = time.perf_counter() - started
    assert (job.imported, job.repeated, job.rejected) == (works, 0, 0), "not every work is new"
    return seconds


def copy_rows(collection: Collection, first: int, works: int) -> float:
    """Seconds of three COPYs in one transaction, of bytes made before: only PostgreSQL works."""
    rows = _copied_rows(collection, first, works)
    with owner() as opened:
        started = time.perf_counter()
        with opened.transaction():
            for table, columns in COPIES.items():
                _send(opened, f"COPY marketplace_{table} ({columns}) FROM STDIN", rows[table])
        return time.perf_counter() - started


def _send(opened: psycopg.Connection[object], statement: str, rows: bytes) -> None:
    with opened.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        copy.write(rows)


def _copied_rows(collection: Collection, first: int, works: int) -> dict[str, bytes]:
    organization, number = collection.organization_id.hex, collection.number
    lines: dict[str, list[str]] = {table: [] for table in COPIES}
    for n in range(first, first + works):
        record, work, key = _record(n), uuid7().hex, FIRST_COPIED_KEY + n
        lines["work"].append(
            f"{work}\t{organization}\t{record.external_id}\t{record.title}"
            f"\t{record.source_url}\t{record.language}\t2026-01-01T00:00:00Z\n"
        )
        lines["representation"].append(
            f"{key}\t{organization}\t{work}\t\\\\x{record.digest.hex()}\t{record.length}"
            f"\t{record.media_type}\t{record.canonicalization}\t{record.custody}\n"
        )
        lines["collectionitem"].append(f"{organization}\t{number}\t{work}\t{key}\t1\n")
    return {table: "".join(rows).encode() for table, rows in lines.items()}


def _check_same_rows(one: Collection, other: Collection) -> None:
    """Refuse to compare what is not the same."""
    sums = []
    with owner() as opened:
        for collection in (one, other):
            sums.append(
                opened.execute(
                    """
                    SELECT count(*), sum(representation.length), sum(length(work.external_id)),
                        sum(length(work.title)), min(representation.digest::text),
                        max(representation.media_type || representation.custody), max(item.added_in)
                    FROM marketplace_collectionitem item
                    JOIN marketplace_work work ON work.id = item.work_id
                    JOIN marketplace_representation representation
                        ON representation.id = item.representation_id
                    WHERE item.collection_number = %s
                    """,
                    [collection.number],
                ).fetchone()
            )
    assert sums[0] == sums[1], f"the two sides wrote different rows: {sums}"
