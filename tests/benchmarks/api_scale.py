"""Whether lists stay as fast while everything around them grows: five times the market's listings,
a hundred times the other tenants, ten times the works of a collection. In this process, through
every middleware, without a network.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from uuid import UUID

from django.test import Client

from marketplace import api_keys, garbage, imports
from tests.benchmarks import api, listings
from tests.benchmarks.measure import CpuClock, Figure, django_backend, median, owner, progress
from tests.make import make_collection, records
from tests.people import caller_for, found

SMALL, LARGE = 200_000, 1_000_000
FEW, MANY = 50, 5_000
SHORT, LONG = 20_000, 200_000
ASKS, ROUNDS = 200, 5
SECONDS_GOAL, FLAT_GOAL, TENANTS_GOAL = 0.020, 1.3, 1.2
# Collections of others, spread over more of them than before.
SPREAD_SQL = """
UPDATE marketplace_collection
SET organization_id = ('a0' || lpad(to_hex(1 + number %% %(tenants)s), 30, '0'))::uuid
WHERE organization_id <> %(tenant)s::uuid
"""
_TABLES = ("marketplace_collection", "marketplace_organization")


def run(quick: bool) -> Iterator[Figure]:
    """A tenant's list of 50 beside few tenants and many; the market's, small and large."""
    scale = 10 if quick else 1
    yield _tenants(SMALL // scale, MANY // scale)
    yield _works(SHORT // scale, LONG // scale)
    yield from _market(SMALL // scale, LARGE // scale)


def _tenants(count: int, many: int) -> Figure:
    tenant = found("Measured", "platform")
    secret = api_keys.create(caller_for(tenant), name="bench", scopes=api.SCOPES)[1]
    api.load(str(UUID(int=tenant.pk.int)), count, tenants=FEW)
    client = Client(headers={"Authorization": f"Bearer {secret}"})

    def look() -> None:
        answer = client.get("/v1/collections?limit=50")
        assert len(answer.json()["data"]) == 50

    few = median(_cpu(look) for _round in range(ROUNDS))
    with owner() as opened:
        opened.execute(api.LOAD_SQL, [FEW + 1, many, str(UUID(int=tenant.pk.int))])
        for table in _TABLES:
            opened.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        opened.execute(SPREAD_SQL, {"tenants": many, "tenant": str(UUID(int=tenant.pk.int))})
        for table in _TABLES:
            opened.execute(f"VACUUM FULL ANALYZE {table}")
    progress(f"api-scale: {many:,} tenants")
    value = median(_cpu(look) for _round in range(ROUNDS))
    figure = f"list of a tenant beside {many:,} others and beside {FEW}, CPU"
    return _grown(figure, value, few, TENANTS_GOAL)


def _works(short: int, long: int) -> Figure:
    """The newest works of a collection, which grows."""
    caller = caller_for(found("Library", "platform"))
    collection = str(make_collection(caller.organization).pk)
    secret = api_keys.create(caller, name="bench", scopes=["works:read"])[1]
    client = Client(headers={"Authorization": f"Bearer {secret}"})

    def look() -> None:
        answer = client.get(f"/v1/works?collection={collection}&limit=50")
        assert len(answer.json()["data"]) == 50

    taken = []
    for begin, end in ((0, short), (short, long)):
        more = imports.Records(records(end - begin, start=begin + 10))
        imports.run(caller, collection, more)
        with owner() as opened:
            opened.execute("VACUUM ANALYZE")
        progress(f"api-scale: a collection of {end:,} works")
        taken.append(median(_cpu(look) for _round in range(ROUNDS)))
    few, value = taken
    figure = f"50 works of a collection of {long:,} and of {short:,}, CPU"
    return _grown(figure, value, few, FLAT_GOAL)


def _market(small: int, large: int) -> Iterator[Figure]:
    chance = random.Random(3)
    listings.load(small, chance)
    client = Client()
    before = _p95_of(client)
    yield _p95_figure(small, before)
    listings.load(large - small, chance, first=small + 1)
    after = _p95_of(client)
    yield _p95_figure(large, after)
    figure = f"list of {large:,} listings and of {small:,}, p95"
    yield _grown(figure, after, before, FLAT_GOAL)


def _grown(figure: str, after: float, before: float, goal: float) -> Figure:
    """What took so many seconds, and how many before it all grew."""
    return Figure(
        figure=figure,
        value=after * 1000,
        unit="ms",
        limit=before * 1000,
        ratio=after / before,
        goal=f"ratio <= {goal}",
        holds=after / before <= goal,
    )


def _p95_figure(count: int, seconds: float) -> Figure:
    return Figure(
        figure=f"list of 50 of {count:,} listings, whole answer in this process, p95",
        value=seconds * 1000,
        unit="ms",
        limit=SECONDS_GOAL * 1000,
        ratio=SECONDS_GOAL / seconds,
        goal=f"value <= {SECONDS_GOAL * 1000:g} ms",
        holds=seconds <= SECONDS_GOAL,
    )


def _p95_of(client: Client) -> float:
    """Of pages one after another, as somebody reads on: the median of several rounds' p95."""
    garbage.spare_what_is_loaded()
    found = []
    for _round in range(1 + ROUNDS):
        cursor, taken = "", []
        for _ask in range(ASKS):
            began = time.perf_counter()
            answer = client.get("/v1/listings", {"limit": "50", **_after(cursor)})
            taken.append(time.perf_counter() - began)
            page = answer.json()
            assert len(page["data"]) == 50
            cursor = page["next_cursor"]
        found.append(sorted(taken)[int(len(taken) * 0.95)])
    return median(found[1:])


def _after(cursor: str) -> dict[str, str]:
    return {"cursor": cursor} if cursor else {}


def _cpu(look: Callable[[], None]) -> float:
    """Of one look, this process's and its backend's; the machine's neighbors do not count."""
    for _warm in range(10):
        look()
    clock = CpuClock(django_backend())
    began = clock.read()
    for _ask in range(ASKS):
        look()
    return (clock.read() - began) / ASKS
