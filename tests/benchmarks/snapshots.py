"""How long a snapshot of a million works takes, and how much memory, in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from marketplace import access, organizations
from marketplace.models import Collection
from tests.benchmarks.measure import Figure, median, owner, progress

WORKS = 1_000_000
ROUNDS = 3
SECONDS_GOAL = 8.0
MEMORY_GOAL_MIB = 512.0

# Ids that ascend, as UUIDv7 do; digests that do not.
WORKS_SQL = """
INSERT INTO marketplace_work (id, organization_id, external_id, title, source_url, language,
    created_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, %(organization)s, 'work/' || n, 'Work ' || n, '', 'en', now()
FROM generate_series(%(first)s::bigint, %(last)s) n
"""
REPRESENTATIONS_SQL = """
INSERT INTO marketplace_representation (organization_id, work_id, digest, length, media_type,
    canonicalization, custody)
SELECT %(organization)s, lpad(to_hex(n), 32, '0')::uuid, sha256(n::text::bytea), 1000 + n %% 9000,
    'text/plain', 'raw', 'hosted'
FROM generate_series(%(first)s::bigint, %(last)s) n
"""
ITEMS_SQL = """
INSERT INTO marketplace_collectionitem (organization_id, collection_number, work_id,
    representation_id, added_in)
SELECT organization_id, %(collection)s, work_id, id, %(added_in)s FROM marketplace_representation
WHERE organization_id = %(organization)s
    AND work_id BETWEEN lpad(to_hex(%(first)s::bigint), 32, '0')::uuid
        AND lpad(to_hex(%(last)s::bigint), 32, '0')::uuid
"""


def run(quick: bool) -> Iterator[Figure]:
    """Time `snapshots.finalize` against the same digests, sorted and streamed, without a hash."""
    works = WORKS // 10 if quick else WORKS
    collection = _load(works)
    ours, bare = [], []
    for round_ in range(ROUNDS):
        # Nothing new would make no new snapshot.
        _add(collection, works + round_ + 1, works + round_ + 1)
        bare.append(_in_fresh_process("stream", collection))
        ours.append(_in_fresh_process("finalize", collection))
        progress(
            f"snapshot: round {round_ + 1}/{ROUNDS}: {ours[-1]['seconds']:.2f} s,"
            f" bare {bare[-1]['seconds']:.2f} s"
        )
    assert [of["works"] for of in ours] == [of["works"] for of in bare], "not the same works"
    seconds = median(of["seconds"] for of in ours)
    goal = SECONDS_GOAL * works / WORKS
    yield Figure(
        figure=f"snapshot of {works:,} works",
        value=seconds,
        unit="s",
        limit=median(of["seconds"] for of in bare),
        ratio=median(b["seconds"] / o["seconds"] for o, b in zip(ours, bare, strict=True)),
        goal=f"value <= {goal:g} s",
        holds=seconds <= goal,
    )
    memory = max(of["mib"] for of in ours)
    limit = median(of["mib"] for of in bare)
    yield Figure(
        figure=f"snapshot of {works:,} works, peak memory of its process",
        value=memory,
        unit="MiB",
        limit=limit,
        ratio=limit / memory,
        goal=f"value <= {MEMORY_GOAL_MIB:g} MiB",
        holds=memory <= MEMORY_GOAL_MIB,
    )


def _load(works: int) -> Collection:
    seller = organizations.found(
        kind="platform", name="Archive", legal_name="Archive Ltd", jurisdiction="IE"
    )
    with access.acting(organizations.operator(seller)):
        collection = Collection.objects.create(organization=seller, name="Letters")
    collection.refresh_from_db()
    started = time.monotonic()
    step = max(1, works // 10)
    for first in range(1, works + 1, step):
        last = min(first + step - 1, works)
        _add(collection, first, last)
        progress(f"snapshot: {last:,} works loaded in {time.monotonic() - started:.1f} s")
    with owner() as opened:
        # As autovacuum would have, by the time that somebody finalizes.
        for table in ("work", "representation", "collectionitem"):
            opened.execute(f"VACUUM ANALYZE marketplace_{table}")
    return collection


def _add(collection: Collection, first: int, last: int) -> None:
    collection.refresh_from_db()
    values = {
        "organization": collection.organization_id,
        "collection": collection.number,
        "added_in": collection.next_snapshot,
        "first": first,
        "last": last,
    }
    with owner() as opened, opened.transaction():
        for statement in (WORKS_SQL, REPRESENTATIONS_SQL, ITEMS_SQL):
            opened.execute(statement, values)


def _in_fresh_process(what: str, collection: Collection) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.snapshot_process", what, str(collection.pk)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer
