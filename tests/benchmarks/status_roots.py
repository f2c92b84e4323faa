"""How long a status root takes, a proof under it, and what it keeps when few grants changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import quantiles
from uuid import UUID

from licensing import status
from licensing.ledger import sequencer
from licensing.models import Grant, StatusRoot
from marketplace import access
from tests import make
from tests.benchmarks.measure import Figure, median, owner, progress
from tests.people import found

GRANTS = 100_000
CHANGED = 100
ROUNDS = 5
PROOFS = 200
# Of a million grants, by ten times the figure of a tenth of them.
GOAL_SECONDS = 60 / 10
PROOF_GOAL_MS = 50.0

_FILL = """
CREATE TEMPORARY TABLE seed ON COMMIT DROP AS
    SELECT n, gen_random_uuid() AS grant_id, gen_random_uuid() AS agreement_id,
        substr(sha256(n::text::bytea), 1, 16) AS ref, ('grant ' || n)::bytea AS body,
        nextval('licensing_ledgerentry_id_seq') AS entry_id
    FROM generate_series(1, {count}) n;
INSERT INTO licensing_ledgerentry (id, log, kind, subject_ref, seq, body, leaf_hash, created_at)
    SELECT entry_id, 'test', 'grant.issued', ref, 0, body, sha256('\\x00'::bytea || body), now()
    FROM seed;
INSERT INTO licensing_ledgerpending (entry_id, log) SELECT entry_id, 'test' FROM seed;
INSERT INTO licensing_agreement SELECT (jsonb_populate_record(agreement, jsonb_build_object(
        'id', agreement_id, 'made_by', 'filled ' || n))).*
    FROM seed, licensing_agreement agreement WHERE agreement.id = '{agreement}';
INSERT INTO licensing_grant SELECT (jsonb_populate_record(issued, jsonb_build_object(
        'id', grant_id, 'agreement_id', seed.agreement_id, 'grant_ref', ref,
        'issued_entry_id', entry_id))).*
    FROM seed, licensing_grant issued WHERE issued.id = '{grant}';
"""
_TABLES = ("licensing_ledgerentry", "licensing_grant", "licensing_agreement")


def run(quick: bool) -> Iterator[Figure]:
    """A first root of all, then roots of which each has a few changed grants."""
    count = GRANTS // 10 if quick else GRANTS
    _fill(count)
    while sequencer.run_once():
        pass
    started = time.monotonic()
    first = status.record("test")
    assert first is not None
    assert first.size == count + 1
    progress(f"status: the first root of {count:,} grants took {time.monotonic() - started:.2f} s")
    before, seconds = _kept(), []
    for turn in range(ROUNDS):
        _change(turn)
        started = time.monotonic()
        assert status.record("test") is not None
        seconds.append(time.monotonic() - started)
    kept = (_kept() - before) / ROUNDS
    while sequencer.run_once():
        pass
    yield _figure(
        f"status root of {count:,} grants, {CHANGED} changed",
        median(seconds),
        "s",
        GOAL_SECONDS * count / GRANTS,
    )
    took = _prove()
    yield _figure("status proof, p50", median(took) * 1000, "ms", PROOF_GOAL_MS)
    yield _figure("status proof, p99", quantiles(took, n=100)[-1] * 1000, "ms", 2 * PROOF_GOAL_MS)
    yield _figure(f"kept for a root, {CHANGED} changed", kept, "bytes", 64_000.0)


def _fill(count: int) -> None:
    seller, buyer = found("Archive", "platform"), found("Lab", "lab")
    grant = make.issue_grant(buyer, make.make_offer(seller))
    with owner() as opened, opened.transaction():
        for table in _TABLES:
            opened.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        opened.execute("SELECT set_config('licet.system', 'fill', true)")
        opened.execute(
            _FILL.format(
                count=count,
                grant=UUID(int=grant.pk.int),
                agreement=UUID(int=grant.agreement_id.int),
            )
        )
        opened.execute("SET CONSTRAINTS ALL IMMEDIATE")
    with owner() as opened:
        for table in _TABLES:
            opened.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
            opened.execute(f"ANALYZE {table}")


def _change(turn: int) -> None:
    states = ("suspended", "active")
    with access.system("change grants"):
        some = Grant.objects.order_by("grant_ref").values("pk")[:CHANGED]
        Grant.objects.filter(pk__in=some).update(status=states[turn % 2])


def _prove() -> list[float]:
    with access.system("prove grants"):
        grants = list(Grant.objects.order_by("pk")[:PROOFS])
        roots = list(StatusRoot.objects.select_related("entry"))
        took = []
        for number, grant in enumerate(grants):
            started = time.monotonic()
            assert status.proof(roots[number % len(roots)], grant) is not None
            took.append(time.monotonic() - started)
    return took


def _kept() -> int:
    """What stands in the rows of roots and leaves, with an index entry for each."""
    with owner() as opened:
        (size,) = opened.execute(
            "SELECT (SELECT coalesce(sum(pg_column_size(leaf.*) + 48), 0)"
            " FROM licensing_statusleaf leaf)"
            " + (SELECT coalesce(sum(pg_column_size(root.*) + 48), 0)"
            " FROM licensing_statusroot root)"
        ).fetchone() or (0,)
    return int(size)


def _figure(name: str, value: float, unit: str, limit: float) -> Figure:
    holds = value <= limit
    return Figure(name, value, unit, limit, limit / value, f"value <= {limit:g}", holds)
