"""The reconciler, through the real SDK: what events did not bring is fetched, the rest is told."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from marketplace import access, operators
from marketplace.errors import InvalidInput, MissingScope, PaymentProviderUnavailable
from marketplace.models import Audit, Organization, User
from payments import (
    balance_checks,
    journal,
    mismatches,
    reconcile,
    stripe_events,
    stripe_gateway,
)
from payments.models import Account, Mismatch, Order, ReconcileCursor, StripeEvent
from payments.stripe_facts import Page, SettledFacts
from tests.make import make_offer
from tests.payments.buying import GRANTED_ONCE, balances, made_of, order_for, order_now
from tests.payments.selling import opened
from tests.payments.simulating import Stripe, work
from tests.payments.simulator_account import client_of
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def buyer(lab: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(lab)


@pytest.fixture
def order(archive: Organization, buyer: ApiClient, stripe: Stripe) -> dict[str, Any]:
    return order_for(buyer, make_offer(archive, price_minor=50_000))


@pytest.fixture
def operator() -> User:
    return operators.appoint(
        email="olive@example.org", name="Olive", password="correct horse battery"
    )


def check() -> reconcile.Report:
    """Look at everything until a moment that Stripe's whole seconds reach for sure."""
    return reconcile.check_balance(
        since=timezone.now() - timedelta(hours=1), until=timezone.now() + timedelta(seconds=2)
    )


def open_rows() -> list[Mismatch]:
    with access.system("read mismatches in a test"):
        return list(Mismatch.objects.filter(resolved_at=None).order_by("subject"))


def said() -> list[tuple[str, int | None, int | None]]:
    return [(row.kind, row.expected_minor, row.found_minor) for row in open_rows()]


def lose_events(stripe: Stripe, order: dict[str, Any]) -> None:
    stripe._control("webhooks", {"lose_about": order["id"]})


def row_of(order: dict[str, Any]) -> Order:
    with access.system("read an order in a test"):
        return Order.objects.get(pk=order["id"])


# --- events -----------------------------------------------------------------------------------


def test_an_event_that_was_lost_is_fetched_and_handled(
    order: dict[str, Any], buyer: ApiClient, stripe: Stripe
) -> None:
    lose_events(stripe, order)
    stripe._control(f"sessions/{stripe.session_of(order)}/pay", {})
    with access.system("the order is not due"):
        Order.objects.update(next_sync_at=timezone.now() + timedelta(hours=1))

    report = reconcile.fetch_events(since=timezone.now() - timedelta(hours=1))
    # Stripe's times are whole seconds, and this one is not over.
    while not report.events_stored:
        report = reconcile.fetch_events(since=timezone.now() - timedelta(hours=1))
    stripe_events.handle_due()

    assert order_now(buyer, order)["status"] == "granted"
    assert made_of(order) == GRANTED_ONCE
    with access.system("read events"):
        assert set(StripeEvent.objects.values_list("is_fetched", flat=True)) == {True}


def test_what_was_delivered_is_not_fetched_again(order: dict[str, Any], stripe: Stripe) -> None:
    stripe.pay(order)
    delivered = len(stripe.deliver())

    assert reconcile.fetch_events(since=timezone.now() - timedelta(hours=1)).events_stored == 0

    with access.system("read events"):
        assert list(StripeEvent.objects.values_list("is_fetched", flat=True)) == [False] * delivered


def test_a_month_in_which_nothing_was_is_looked_through_in_wide_steps(
    order: dict[str, Any], stripe: Stripe
) -> None:
    stripe.pay(order)
    stripe.deliver()
    work()
    steps: list[str] = []
    a_month_ago = timezone.now() - timedelta(days=29)
    soon = timezone.now() + timedelta(seconds=2)

    report = reconcile.check_balance(since=a_month_ago, until=soon, tell=steps.append)

    # What came at its end is found as ever.
    assert (report.lines, report.new, said()) == (1, 0, [])
    assert 29 < len(steps) < 29 + 10
    steps.clear()
    reconcile.fetch_events(since=a_month_ago, tell=steps.append)
    assert 29 < len(steps) < 29 + 10


def test_undelivered_events_are_fetched_once_an_hour(order: dict[str, Any]) -> None:
    assert reconcile.events_due() is not None

    assert reconcile.events_due() is None

    with access.system("an hour goes by"):
        ReconcileCursor.objects.update(reached_at=timezone.now() - reconcile.EVENTS_EVERY)
    assert reconcile.events_due() is not None


def test_only_one_looks_at_a_time_and_one_who_died_is_followed(order: dict[str, Any]) -> None:
    with access.system("somebody looks"):
        ReconcileCursor.objects.create(
            name=reconcile.EVENTS,
            livemode=False,
            reached_at=timezone.now() - timedelta(hours=2),
            busy_until=timezone.now() + timedelta(minutes=1),
        )
    assert reconcile.fetch_events().is_done is False

    with access.system("and died"):
        ReconcileCursor.objects.update(busy_until=timezone.now())
    assert reconcile.fetch_events().is_done is True


def test_a_look_that_was_stopped_goes_on_where_it_was(
    order: dict[str, Any], stripe: Stripe
) -> None:
    began = timezone.now() - timedelta(days=10)
    with access.system("ten days were missed"):
        ReconcileCursor.objects.create(name=reconcile.BALANCE, livemode=False, reached_at=began)
    asked: list[str] = []

    def tell(what: str) -> None:
        asked.append(what)
        if len(asked) == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconcile.check_balance(tell=tell)
    reached = ReconcileCursor.objects.none()
    with access.system("how far it was"):
        reached = ReconcileCursor.objects.get()
    # Of 1, 2, 4, 8 and 16 hours, and four days.
    assert timedelta(hours=126) < reached.reached_at - began <= timedelta(hours=127)
    assert reached.busy_until is None

    reconcile.check_balance(tell=asked.append)

    assert len(asked) == 10 + 9


# --- the balance ------------------------------------------------------------------------------


def test_each_day_that_is_over_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []

    def listed(since: Any, _until: Any, *, after: str) -> Page[Any]:
        looked.append(since)
        return Page((), "")

    monkeypatch.setattr(stripe_gateway, "balance_lines", listed)
    monkeypatch.setattr(reconcile, "BALANCE_LAG", timedelta())
    with access.system("yesterday is not looked at yet"):
        ReconcileCursor.objects.create(
            name=reconcile.BALANCE,
            livemode=False,
            reached_at=reconcile._midnight() - timedelta(hours=2),
        )

    first, second = reconcile.balance_due(), reconcile.balance_due()

    assert first is not None
    assert (first.is_done, second, len(looked)) == (True, None, 2)


def test_what_agrees_is_no_mismatch(order: dict[str, Any], stripe: Stripe) -> None:
    stripe.pay(order)
    stripe.deliver()
    work()

    report = check()

    assert (report.lines, report.synced, said()) == (1, 0, [])


def test_what_the_journal_lacks_is_brought_up_to_date_first(
    order: dict[str, Any], buyer: ApiClient, stripe: Stripe
) -> None:
    lose_events(stripe, order)
    stripe._control(f"sessions/{stripe.session_of(order)}/pay", {})
    with access.system("the payment is known"):
        [charge] = stripe.list("/v1/charges")
        Order.objects.update(payment_intent=charge["payment_intent"])

    report = check()

    assert (report.lines, report.synced, said()) == (1, 1, [])
    assert order_now(buyer, order)["status"] == "granted"


def test_a_payout_and_a_fee_of_stripes_own_are_booked(
    order: dict[str, Any], stripe: Stripe
) -> None:
    stripe.pay(order)
    stripe.deliver()
    work()
    stripe._control("clock", {"advance_seconds": 3 * 24 * 3600})
    stripe._control("payouts", {"currency": "usd"})
    ahead = timezone.now() + timedelta(days=4)

    report = reconcile.check_balance(since=timezone.now() - timedelta(hours=1), until=ahead)

    assert (report.lines, report.booked, said()) == (2, 1, [])
    assert (balances()["bank"], balances()["stripe_balance"]) == (48_520, 0)
    # Once.
    again = reconcile.check_balance(since=timezone.now() - timedelta(hours=1), until=ahead)
    assert (again.booked, balances()["bank"]) == (0, 48_520)


def test_what_stripe_has_and_is_nobodys_order_is_a_mismatch_until_it_is_explained(
    stripe: Stripe, operator: User, archive: Organization
) -> None:
    foreign_charge(stripe)

    assert check().new == 1
    assert said() == [("missing_in_journal", 700, None)]
    [row] = open_rows()
    assert (row.order_id, row.subject_type) == (None, "charge")
    # Another look finds the same one.
    assert (check().new, open_rows()[0].first_seen_at) == (0, row.first_seen_at)

    with pytest.raises(InvalidInput):
        mismatches.close(operator, str(row.pk), note=" ")
    with pytest.raises(MissingScope):
        mismatches.close(User(email="nobody@example.org"), str(row.pk), note="So.")
    assert len(open_rows()) == 1
    mismatches.close(operator, str(row.pk), note="A test of our own.")

    assert (check().new, said()) == (0, [])
    with access.system("read it"):
        closed = Mismatch.objects.get()
    assert (closed.resolved_by, closed.note) == (str(operator.pk), "A test of our own.")


def foreign_charge(stripe: Stripe) -> None:
    """A payment of something else on the same account."""
    session = client_of(stripe.url).v1.checkout.sessions.create(
        {
            "mode": "payment",
            "success_url": "http://127.0.0.1/",
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": 700,
                        "product_data": {"name": "Tea"},
                    },
                }
            ],
        }
    )
    stripe._control(f"sessions/{session.id}/pay", {})


def test_what_only_the_journal_has_is_a_mismatch_with_its_order(
    order: dict[str, Any], stripe: Stripe
) -> None:
    with access.system("book what never was"):
        row = row_of(order)
        journal.settle(row, SettledFacts("txn_never", "USD", 900, 56), 900)

    check()

    assert said() == [("missing_at_stripe", None, 900)]
    [found] = open_rows()
    assert (found.subject, str(found.order_id)) == ("txn_never", order["id"])
    assert found.journal_id is not None


def test_a_clearing_account_that_stays_open_is_told_with_its_age(
    order: dict[str, Any], stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    with access.system("a payment that Stripe never settled"):
        row = row_of(order)
        row.paid_minor = 50_000
        journal.post(row, journal.PAYMENT, journal.payment(row))
    check()
    assert said() == []

    # As if that had been longer ago than it may be.
    monkeypatch.setitem(balance_checks.LIMITS, Account.Code.STRIPE_CLEARING, timedelta())
    check()

    assert said() == [("clearing_open", 0, 50_000)]
    [found] = open_rows()
    assert found.subject == f"{order['id']}:stripe_clearing:USD"
    assert timedelta() < found.age < timedelta(minutes=1)


def test_it_is_resolved_by_itself_once_it_is_gone(order: dict[str, Any], stripe: Stripe) -> None:
    with access.system("something that is all right by now"):
        Mismatch.objects.create(
            livemode=False, kind="clearing_open", subject=f"{order['id']}:stripe_clearing:USD"
        )

    report = check()

    assert (report.gone, said()) == (1, [])
    with access.system("read it"):
        [row] = Mismatch.objects.all()
    assert row.resolved_by == "system"
    assert row.resolved_at is not None


def test_closing_one_about_an_order_stands_in_the_sellers_audit(
    order: dict[str, Any], operator: User
) -> None:
    with access.system("one about an order"):
        row = Mismatch.objects.create(
            livemode=False, kind="amount_differs", subject="txn_1", order_id=row_of(order).pk
        )

    for _again in range(2):
        mismatches.close(operator, str(row.pk), note="Rounded by hand.")

    with access.system("read the audit"):
        [act] = Audit.objects.filter(action="mismatch.closed")
    assert (act.subject, act.actor) == (str(row.pk), str(operator.pk))


def test_closing_one_about_a_sellers_money_of_no_order_stands_in_its_audit_too(
    archive: Organization, operator: User
) -> None:
    with access.system("one about a transfer of royalties"):
        posted = journal.settle_own(
            archive.pk, SettledFacts("txn_1", "USD", 900, 0), livemode=False
        )
        row = Mismatch.objects.create(
            livemode=False, kind="amount_differs", subject="txn_1", journal=posted
        )

    for _again in range(2):
        mismatches.close(operator, str(row.pk), note="Rounded by hand.")

    with access.system("read the audit"):
        [act] = Audit.objects.filter(action="mismatch.closed")
    assert (act.organization, act.subject) == (archive, str(row.pk))


def test_who_closed_one_of_nobodys_stands_in_its_row_for_good(operator: User) -> None:
    with access.system("one about nobody's money"):
        row = Mismatch.objects.create(livemode=False, kind="unknown_type", subject="txn_1")
    mismatches.close(operator, str(row.pk), note="A loan of Stripe's.")

    assert mismatches.close(operator, str(row.pk), note="Another word.").note == row_note(row)
    with access.system("try to change it"), pytest.raises(IntegrityError), transaction.atomic():
        Mismatch.objects.filter(pk=row.pk).update(note="It never was.")

    assert row_note(row) == "A loan of Stripe's."
    with access.system("read the audit"):
        [act] = Audit.objects.filter(action="mismatch.closed")
    assert (act.organization, act.actor, act.subject) == (None, str(operator.pk), str(row.pk))


def row_note(row: Mismatch) -> str:
    with access.system("read a mismatch in a test"):
        found = Mismatch.objects.get(pk=row.pk)
    assert found.resolved_by.startswith("usr_")
    return found.note


def test_a_stripe_that_is_away_stops_the_look_and_moves_no_mark(
    order: dict[str, Any], stripe: Stripe
) -> None:
    began = timezone.now() - timedelta(hours=3)
    with access.system("where it is"):
        ReconcileCursor.objects.create(name=reconcile.BALANCE, livemode=False, reached_at=began)
    stripe.fail("/v1/balance_transactions", 500, times=9)

    with pytest.raises(PaymentProviderUnavailable):
        reconcile.check_balance()

    with access.system("where it is still"):
        assert ReconcileCursor.objects.get().reached_at == began
    assert said() == []


def test_a_refund_that_failed_later_agrees_too(order: dict[str, Any], stripe: Stripe) -> None:
    stripe.pay(order)
    stripe.deliver()
    work()
    made = client_of(stripe.url).v1.refunds.create(
        {"payment_intent": str(row_of(order).payment_intent), "amount": 20_000}
    )
    stripe._control(f"refunds/{made.id}/fail", {})
    # What the events would bring, had they not been lost.
    report = check()

    assert (report.lines, report.synced, said()) == (3, 1, [])
    assert balances()["stripe_clearing"] == 0
    assert balances()["stripe_balance"] == 48_520


def test_a_bank_debit_is_no_mismatch_before_it_arrives_nor_when_it_fails(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    arriving, failing = (
        order_for(buyer, make_offer(archive, price_minor=50_000)) for _each in range(2)
    )
    for order in (arriving, failing):
        stripe._control(f"sessions/{stripe.session_of(order)}/debit", {})
    with access.system("the payments are known"):
        for session in stripe.list("/v1/checkout/sessions"):
            Order.objects.filter(checkout_session=session["id"]).update(
                payment_intent=session["payment_intent"]
            )
    first = check()
    assert said() == []

    stripe._control(f"sessions/{stripe.session_of(failing)}/bounce", {})
    stripe._control(f"sessions/{stripe.session_of(arriving)}/settle", {})
    second = check()

    assert said() == []
    assert (first.lines, second.lines) == (2, 3)
    assert order_now(buyer, arriving)["status"] == "granted"
    assert made_of(failing)["grants"] == 0


def test_thin_events_are_fetched_of_what_no_snapshot_tells(
    order: dict[str, Any], archive: Organization, stripe: Stripe
) -> None:
    stripe._control("webhooks", {"style": "both", "hold": True})
    opened(archive)
    stripe._control(f"sessions/{stripe.session_of(order)}/pay", {})
    deadline = time.monotonic() + 3
    stored = 0
    # Stripe's times are whole seconds, and this one is not over.
    while time.monotonic() < deadline:
        stored += reconcile.fetch_events(since=timezone.now() - timedelta(hours=1)).events_stored
        time.sleep(0.5)

    with access.system("read events"):
        kinds = {(row.is_thin, row.type.partition(".")[0]) for row in StripeEvent.objects.all()}
        assert stored == StripeEvent.objects.count() > 0
    assert (True, "v2") in kinds
    assert (True, "v1") not in kinds
    assert (False, "checkout") in kinds


@pytest.mark.oracle
def test_faults_at_stripe_are_found_through_the_real_client(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    """A smaller `test_reconcile_faults`, with nothing of ours replaced."""
    for _each in range(8):
        stripe.pay(order_for(buyer, make_offer(archive, price_minor=50_000)))
    stripe.deliver()
    work()
    assert (check().lines, said()) == (8, [])
    world = stripe.simulator.world
    lines = list(world.newest("balance_transaction"))
    with world.change():
        for line, change in zip(
            lines,
            ({"amount": 50_001}, {"amount": -50_000}, {"fee": 1_481}, {"currency": "eur"}),
            strict=False,
        ):
            world.put(line | change)
        world.remove(lines[4]["id"])
        world.add(lines[5] | {"id": "txn_dev_more", "type": "reserve_hold", "source": None})

    assert check().new == 6

    assert {(row.subject, str(row.kind)) for row in open_rows()} == {
        (lines[0]["id"], "amount_differs"),
        (lines[1]["id"], "sign_differs"),
        (lines[2]["id"], "fee_differs"),
        (lines[3]["id"], "currency_differs"),
        (lines[4]["id"], "missing_at_stripe"),
        ("txn_dev_more", "unknown_type"),
    }


# --- the command ------------------------------------------------------------------------------


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    out = io.StringIO()
    try:
        call_command("reconcile", "--json", *arguments, stdout=out, stderr=io.StringIO())
    except CommandError as error:
        return error.returncode, json.loads(out.getvalue())
    return 0, json.loads(out.getvalue())


def test_the_command_ends_with_1_while_something_is_open(
    order: dict[str, Any], stripe: Stripe
) -> None:
    span = (
        f"--since={timezone.now() - timedelta(hours=1):%Y-%m-%dT%H:%M}",
        f"--until={timezone.now() + timedelta(hours=1):%Y-%m-%dT%H:%M}",
    )
    assert run(*span) == (
        0,
        {
            "events_stored": 0, "foreign_events": 0, "transactions": 0, "orders_synced": 0,
            "booked": 0, "new": 0, "gone": 0, "open": [],
        },
    )  # fmt: skip
    with access.system("book what never was"):
        journal.settle(row_of(order), SettledFacts("txn_never", "USD", 900, 56), 900)

    status, told = run(*span)

    assert (status, told["new"]) == (1, 1)
    [row] = told["open"]
    assert (row["kind"], row["found"], row["order"]) == (
        "missing_at_stripe", "9.00 USD", order["id"],
    )  # fmt: skip
    assert row["age_hours"] == 0


def test_an_operator_closes_one_by_the_command(order: dict[str, Any], operator: User) -> None:
    with access.system("one that is open"):
        row = Mismatch.objects.create(livemode=False, kind="unknown_type", subject="txn_1")
    out = io.StringIO()

    for wrong in (["--note=So."], ["--operator=olive@example.org"]):
        with pytest.raises(CommandError) as refused:
            call_command("reconcile", f"--close={row.pk}", *wrong, stdout=out)
        assert refused.value.returncode == 2
        assert len(open_rows()) == 1
    call_command(
        "reconcile", f"--close={row.pk}", "--operator=olive@example.org", "--note=So.", stdout=out
    )

    assert open_rows() == []
    assert out.getvalue() == "closed: unknown_type txn_1\n"
