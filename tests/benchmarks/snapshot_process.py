"""The fresh process of the snapshot's figure: finalizes, or only streams the same digests."""

from __future__ import annotations

import json
import sys
import time

from tests.benchmarks.measure import app, peak_resident_mib, set_up

# What the server has sorted is fetched in parts: memory stays small on this side too.
FETCHED_AT_ONCE = 5_000
DIGESTS_SQL = """
DECLARE digests NO SCROLL CURSOR FOR
SELECT representation.digest
FROM marketplace_collectionitem item
JOIN marketplace_representation representation ON representation.id = item.representation_id
WHERE item.collection_number = {collection} AND item.removed_in IS NULL
ORDER BY representation.digest
"""


def main() -> int:
    """`finalize COLLECTION` or `stream COLLECTION`: prints JSON."""
    what, collection_id = sys.argv[1:]
    set_up()
    seconds, works = _finalize(collection_id) if what == "finalize" else _stream(collection_id)
    print(json.dumps({"seconds": seconds, "works": works, "mib": peak_resident_mib()}))
    return 0


def _finalize(collection_id: str) -> tuple[float, int]:
    from licensing import snapshots
    from marketplace import organizations
    from marketplace.models import Collection

    collection = Collection.objects.select_related("organization").get(pk=collection_id)
    caller = organizations.operator(collection.organization)
    started = time.perf_counter()
    snapshot = snapshots.finalize(caller, collection_id)
    return time.perf_counter() - started, snapshot.size


def _stream(collection_id: str) -> tuple[float, int]:
    """The limit: the same digests, sorted and fetched, and nothing made of them."""
    from marketplace.models import Collection

    collection = Collection.objects.get(pk=collection_id)
    works = 0
    started = time.perf_counter()
    with app() as opened, opened.transaction(), opened.cursor(binary=True) as cursor:
        cursor.execute(DIGESTS_SQL.format(collection=collection.number).encode())
        while rows := cursor.execute(f"FETCH {FETCHED_AT_ONCE} FROM digests".encode()).fetchall():
            works += len(rows)
    return time.perf_counter() - started, works


if __name__ == "__main__":
    sys.exit(main())
