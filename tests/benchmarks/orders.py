"""What an order costs from paid to granted, beside the same rows written by bare SQL."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import psycopg
from django.utils import timezone
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from marketplace.typeid import uuid7
from payments import orders, quotes, stripe_gateway, sync
from payments.models import Order
from payments.stripe_facts import CheckoutFacts, PaymentFacts
from tests import make
from tests.benchmarks.measure import CpuClock, Figure, app, django_backend, median, owner, progress
from tests.people import caller_for, found

# Short turns, so that a noisy neighbor disturbs both sides alike.
ORDERS_A_ROUND = 50
ROUNDS = 11
RATIO_GOAL = 0.25
PRICE_MINOR = 50_000

# What a granted order wrote, by table, in the order of the foreign keys: how to find one order's
# rows, and which columns belong to it alone. Columns named `id` that a sequence fills stay out.
WRITTEN: dict[str, tuple[str, dict[str, str]]] = {
    "licensing_ledgerentry": ("id = %(entry)s", {"subject_ref": "grant_ref"}),
    "licensing_ledgeropening": ("entry_id = %(entry)s", {"entry_id": "entry"}),
    "licensing_ledgerpending": ("entry_id = %(entry)s", {"entry_id": "entry"}),
    # Two parties, each with a number of its own: no order's two rows are of one party.
    "licensing_ledgerparty": ("entry_id = %(entry)s", {"entry_id": "entry", "sequence": "number"}),
    "licensing_agreement": ("made_by = %(made_by)s", {"id": "agreement", "made_by": "made_by"}),
    "licensing_grant": (
        "id = %(grant)s",
        {
            "id": "grant",
            "agreement_id": "agreement",
            "grant_ref": "grant_ref",
            "issued_entry_id": "entry",
        },
    ),
    "licensing_period": (
        "grant_id = %(grant)s",
        {"id": "period", "grant_id": "grant", "entry_id": "entry"},
    ),
    "licensing_coverage": (
        "grant_id = %(grant)s",
        {"id": "coverage", "grant_id": "grant", "entry_id": "entry"},
    ),
    # What came in, and what it is for: each a journal of its own.
    **{
        f"payments_journal:{kind}": (
            f"order_id = %(order)s AND kind = '{kind}'",
            {"id": kind, "order_id": "order"},
        )
        for kind in ("payment", "sale")
    },
    **{
        f"payments_posting:{kind}": (
            "journal_id IN (SELECT id FROM payments_journal"
            f" WHERE order_id = %(order)s AND kind = '{kind}')",
            {"journal_id": kind},
        )
        for kind in ("payment", "sale")
    },
    "payments_transfer": ("order_id = %(order)s", {"id": "transfer", "order_id": "order"}),
}
FILLED_BY_A_SEQUENCE = {"licensing_ledgerentry", "payments_posting"}
FILLED_BY_A_DEFAULT = {"xid"}
NEW_IDS = ("agreement", "grant", "period", "coverage", "payment", "sale", "transfer")

# Beyond what the market's own orders count up to.
_NUMBERS = itertools.count(1_000_000)

TAKE_OVER = """
UPDATE licensing_scopeclaim SET state = 'active', grant_id = %(grant)s, held_until = NULL
WHERE held_by = %(made_by)s
"""
GRANTED = """
UPDATE payments_order SET status = 'granted', payment_intent = %(intent)s, paid_at = %(now)s,
    paid_minor = total_minor, grant_id = %(grant)s, granted_at = %(now)s, next_sync_at = NULL
WHERE id = %(order)s
"""


def run(quick: bool) -> Iterator[Figure]:
    """Grant orders by turns, through `sync_order` and by bare SQL, each in its own backend."""
    a_round = ORDERS_A_ROUND // 10 if quick else ORDERS_A_ROUND
    placed = _place(2 * a_round * (ROUNDS + 1))
    with app() as bare_connection:
        bare_side = _Bare(bare_connection)
        ours, bare = [], []
        for round_ in range(ROUNDS + 1):
            for_us, for_bare = placed[:a_round], placed[a_round : 2 * a_round]
            placed = placed[2 * a_round :]
            mine, mine_wrote = _rows_written(_grant, for_us)
            bare_side.learn(for_us[0])
            limit, limit_wrote = _rows_written(bare_side.grant, for_bare)
            if round_ == 0:
                # Connections, plans and caches warm up, and the accounts are opened.
                continue
            assert mine_wrote == limit_wrote, (
                f"not the same inserts: {mine_wrote} by sync_order, {limit_wrote} by bare SQL"
            )
            ours.append(mine)
            bare.append(limit)
            progress(
                f"orders: round {round_}/{ROUNDS}: {mine.cpu * 1000:.2f} ms of CPU an order,"
                f" bare {limit.cpu * 1000:.2f} ms"
            )
    yield from _figures(ours, bare)


@dataclass(frozen=True, slots=True)
class _Cost:
    """Of one order, in seconds; CPU is this process's and its backend's."""

    cpu: float
    client: float
    wall: float


def _figures(ours: list[_Cost], bare: list[_Cost]) -> Iterator[Figure]:
    pairs = list(zip(ours, bare, strict=True))
    ratio = median(limit.cpu / mine.cpu for mine, limit in pairs)
    yield Figure(
        figure="order granted, CPU of client and backend",
        value=median(cost.cpu for cost in ours) * 1000,
        unit="ms/order",
        limit=median(cost.cpu for cost in bare) * 1000,
        ratio=ratio,
        goal=f"ratio >= {RATIO_GOAL:g}",
        holds=ratio >= RATIO_GOAL,
    )
    yield Figure(
        figure="order granted, CPU of the client alone",
        value=median(cost.client for cost in ours) * 1000,
        unit="ms/order",
        limit=median(cost.client for cost in bare) * 1000,
        ratio=median(limit.client / mine.client for mine, limit in pairs),
    )
    yield Figure(
        figure="orders granted, one after another",
        value=median(1 / cost.wall for cost in ours),
        unit="orders/s",
        limit=median(1 / cost.wall for cost in bare),
        ratio=median(limit.wall / mine.wall for mine, limit in pairs),
    )


def _place(count: int) -> list[Order]:
    """Orders with an open pay page, as buyers leave them. Not measured."""
    seller, buyer = found("Archive", "platform"), found("Lab", "lab")
    caller = caller_for(buyer)
    offer = make.make_offer(seller, price_minor=PRICE_MINOR)
    placed: list[Order] = []
    started = time.monotonic()
    with patch.object(stripe_gateway, "create_checkout", _opened):
        while len(placed) < count:
            quote = quotes.make(caller, offer=str(offer.pk), uses=["pretrain"], territories=["EU"])
            placed.append(
                orders.place(
                    caller,
                    quote=str(quote.pk),
                    accept={
                        "document_sha256": bytes(quote.document_sha256).hex(),
                        "name": "Lin",
                        "title": "Counsel",
                        "authority": True,
                    },
                )
            )
            if len(placed) % 200 == 0:
                progress(f"orders: {len(placed)} placed in {time.monotonic() - started:.1f} s")
    return placed


def _opened(_params: dict[str, Any], *, key: str) -> CheckoutFacts:
    return _facts(f"cs_{key}", payment=None)


def _paid(session: str) -> CheckoutFacts:
    return _facts(
        session,
        payment=PaymentFacts(
            payment_intent=f"pi_{session}",
            received_minor=PRICE_MINOR,
            paid_at=timezone.now(),
            decline="",
        ),
    )


def _facts(session: str, *, payment: PaymentFacts | None) -> CheckoutFacts:
    """What the gateway would have fetched: the call itself is Stripe's time, not ours."""
    return CheckoutFacts(
        session=session,
        url=f"https://pay.example/{session}",
        has_expired=False,
        is_paid=payment is not None,
        currency="USD",
        payment=payment,
    )


def _grant(placed: list[Order]) -> _Cost:
    clock = CpuClock(django_backend())
    cpu, client, wall = clock.read(), time.process_time(), time.perf_counter()
    with patch.object(stripe_gateway, "retrieve_checkout", _paid):
        for order in placed:
            synced = sync.sync_order(order.pk)
            assert synced.status == Order.Status.GRANTED, synced.status
    return _Cost(
        (clock.read() - cpu) / len(placed),
        (time.process_time() - client) / len(placed),
        (time.perf_counter() - wall) / len(placed),
    )


class _Bare:
    """Writes what a granted order writes: one transaction, prepared statements, nothing computed.

    Learns the rows from an order that `sync_order` granted, so that both write the same columns.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._backend = connection.info.backend_pid
        self._statements: list[tuple[str, dict[str, Any]]] = []

    def learn(self, granted: Order) -> None:
        """Take over the rows of a granted order, all but its own keys."""
        with owner() as opened, opened.transaction():
            opened.execute("SELECT set_config('licet.system', 'read a granted order', true)")
            row = opened.execute(
                "SELECT o.grant_id, g.issued_entry_id FROM payments_order o"
                " JOIN licensing_grant g ON g.id = o.grant_id WHERE o.id = %s",
                [granted.pk],
            ).fetchone()
            assert row is not None
            keys = {
                "order": granted.pk,
                "made_by": str(granted.pk),
                "grant": row[0],
                "entry": row[1],
            }
            cursor = opened.cursor(row_factory=dict_row)
            self._statements = [
                _insertion(
                    label,
                    cursor.execute(f"SELECT * FROM {_table(label)} WHERE {of}", keys).fetchall(),
                )
                for label, (of, _own) in WRITTEN.items()
            ]

    def grant(self, placed: list[Order]) -> _Cost:
        clock = CpuClock(self._backend)
        cpu, client, wall = clock.read(), time.process_time(), time.perf_counter()
        for order in placed:
            self._grant_one(order)
        return _Cost(
            (clock.read() - cpu) / len(placed),
            (time.process_time() - client) / len(placed),
            (time.perf_counter() - wall) / len(placed),
        )

    def _grant_one(self, order: Order) -> None:
        own: dict[str, Any] = {name: uuid7() for name in NEW_IDS}
        own |= {
            "order": order.pk.hex,
            "made_by": str(order.pk),
            "grant_ref": os.urandom(16),
            "intent": f"pi_{order.pk}",
            "now": timezone.now(),
            "number": next(_NUMBERS),
        }
        execute = self._connection.execute
        with self._connection.transaction():
            execute("SELECT set_config('licet.system', 'settle an order', true)", prepare=True)
            for statement, values in self._statements:
                cursor = execute(statement, values | own, prepare=True)
                if cursor.description:
                    (own["entry"],) = cursor.fetchone() or (None,)
            execute(TAKE_OVER, own, prepare=True)
            execute(GRANTED, own, prepare=True)


def _table(label: str) -> str:
    """The table of an entry of WRITTEN: one table may stand there for several sorts of its rows."""
    return label.partition(":")[0]


def _insertion(label: str, rows: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """One statement for a table's rows of one order; its own keys are named parameters."""
    table, own = _table(label), WRITTEN[label][1]
    left_out = FILLED_BY_A_DEFAULT | ({"id"} if table in FILLED_BY_A_SEQUENCE else set())
    columns = [name for name in rows[0] if name not in left_out]
    values: dict[str, Any] = {}
    tuples = []
    for number, row in enumerate(rows):
        places = []
        for name in columns:
            place = own.get(name, f"{name}_{number}")
            if name not in own:
                value = row[name]
                values[place] = Jsonb(value) if isinstance(value, dict) else value
            places.append(f"%({place})s")
        tuples.append(f"({', '.join(places)})")
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join(tuples)}"
    return statement + (" RETURNING id" if table == "licensing_ledgerentry" else ""), values


def _rows_written(
    grant: Callable[[list[Order]], _Cost], placed: list[Order]
) -> tuple[_Cost, dict[str, int]]:
    before = _counts()
    cost = grant(placed)
    after = _counts()
    return cost, {table: after[table] - n for table, n in before.items() if after[table] != n}


def _counts() -> dict[str, int]:
    """Every table's rows, as somebody who sees them all."""
    with owner() as opened, opened.transaction():
        opened.execute("SELECT set_config('licet.system', 'count all rows', true)")
        tables = opened.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            " AND tablename ~ '^(marketplace|licensing|payments)_'"
        ).fetchall()
        counts = {}
        for (table,) in tables:
            row = opened.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert row is not None
            counts[table] = row[0]
    return counts
