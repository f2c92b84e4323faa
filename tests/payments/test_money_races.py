"""Verbs of money, each done by several at once: what is counted, sent or decided is so once.

Each test that names a lock was seen to fail without it. Something between the look
and the change is slow (`slowly`), so that a missing lock shows each time.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from marketplace import access, operators, organizations
from marketplace.errors import DomainError
from marketplace.models import Audit, Organization, User
from payments import (
    commands,
    connect,
    journal,
    mismatches,
    orders,
    payouts,
    reconcile,
    refunds,
    royalties,
    royalty_payments,
    stripe_events,
    stripe_gateway,
    sync,
    transfers,
)
from payments.journal import Code, Key
from payments.models import (
    Command,
    ConnectedAccount,
    Dispute,
    Invoice,
    Journal,
    Mismatch,
    Order,
    Refund,
    RefundApproval,
    RoyaltyAdvance,
    RoyaltyPayment,
    RoyaltyRule,
    StripeEvent,
    Transfer,
)
from payments.stripe_facts import (
    AccountFacts,
    CheckoutFacts,
    DisputeFacts,
    Page,
    PaymentFacts,
    RefundFacts,
)
from tests.make import make_offer
from tests.payments.racing import at_once
from tests.payments.rows import (
    make_connected_row,
    make_invoice_row,
    make_offer_row,
    make_order_row,
    make_quote_row,
    make_transfer_row,
    paid_order_row,
)
from tests.payments.royalty_sales import make_works, person, sell, set_rule
from tests.people import caller_for

pytestmark = [pytest.mark.chaos, pytest.mark.django_db(transaction=True)]
Slowly = Callable[[Any, str], None]


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Slowly:
    """Have a function take a while before it does what it does."""

    def patch(owner: Any, name: str) -> None:
        whole = getattr(owner, name)

        def slow(*args: Any, **kwargs: Any) -> Any:
            time.sleep(0.05)
            return whole(*args, **kwargs)

        monkeypatch.setattr(owner, name, slow)

    return patch


@pytest.fixture
def operator() -> User:
    return operator_named("olive")


def operator_named(name: str) -> User:
    return operators.appoint(
        email=f"{name}@example.org", name=name, password="correct horse battery"
    )


def given_back(seller: Organization, buyer: Organization, **fields: Any) -> Order:
    """A paid order of which something can be given back."""
    with access.system("sell in a test"):
        quote = make_quote_row(buyer, make_offer_row(seller))
        return paid_order_row(
            quote, **{"status": "dispute_won", "refusal": "rights_taken", **fields}
        )


def unpaid(seller: Organization, buyer: Organization, **fields: Any) -> Order:
    with access.system("order in a test"):
        return make_order_row(make_quote_row(buyer, make_offer_row(seller)), **fields)


def codes(results: list[Any]) -> list[str]:
    """The codes of those that were refused; anything else that was raised is an error."""
    raised = [each for each in results if isinstance(each, Exception)]
    assert [each for each in raised if not isinstance(each, DomainError)] == []
    return sorted(each.code for each in raised)


def count(model: Any, **fields: Any) -> int:
    with access.system("count in a test"):
        return int(model.objects.filter(**fields).count())


# --- refunds ----------------------------------------------------------------------------------


def requested(seller: Organization, buyer: Organization, **fields: Any) -> Refund:
    order = given_back(seller, buyer)
    with access.system("ask in a test"):
        return Refund.objects.create(
            organization=buyer,
            seller=seller,
            livemode=False,
            order=order,
            amount_minor=20_000,
            currency="USD",
            cause="buyer",
            needs_seller=True,
            requested_by="key_1",
            **fields,
        )


def test_a_refund_that_several_approve_is_sent_once(
    archive: Organization, lab: Organization, slowly: Slowly
) -> None:
    """Without `refunds._lock_refund`."""
    refund = requested(archive, lab)
    slowly(refunds, "_approve")
    callers = [
        dataclasses.replace(caller_for(archive), user=member(archive, number))
        for number in range(4)
    ]

    results = at_once(*[lambda by=by: refunds.approve(by, str(refund.pk)) for by in callers])

    assert codes(results) == ["refund_wrong_state"] * 3
    assert (count(Command, kind="refund"), count(RefundApproval)) == (1, 1)


def test_a_refund_that_is_approved_and_declined_at_once_is_one_of_both(
    archive: Organization, lab: Organization, slowly: Slowly
) -> None:
    """Without `refunds._lock_refund`."""
    refund = requested(archive, lab)
    slowly(refunds, "_check_undecided")
    slowly(refunds, "_move")

    results = at_once(
        lambda: refunds.approve(caller_for(archive), str(refund.pk)),
        lambda: refunds.decline(caller_for(archive), str(refund.pk)),
    )

    assert codes(results) == ["refund_wrong_state"]
    with access.system("read it"):
        state = Refund.objects.get().state
    assert (state, count(Command, kind="refund")) in {("sending", 1), ("declined", 0)}


def test_operators_who_give_back_at_once_give_no_more_than_was_paid(
    archive: Organization, lab: Organization, operator: User, slowly: Slowly
) -> None:
    """Without the lock in `refunds._find_order`."""
    order = given_back(archive, lab)
    slowly(refunds, "_was_delivered")

    results = at_once(
        *[
            lambda why=why: refunds.give(
                operator, str(order.pk), amount_minor=30_000, reason=why, effect="prospective"
            )
            for why in ("So.", "Agreed.", "A law.", "Nothing came.")
        ]
    )

    assert codes(results) == ["refund_too_large"] * 3
    assert (count(Refund), count(Command, kind="refund")) == (1, 1)


def test_operators_who_approve_at_once_send_once(
    archive: Organization, lab: Organization, slowly: Slowly
) -> None:
    """Without the locks in `refunds.approve_as_operator`."""
    refund = requested(archive, lab, needs_two=True)
    with access.system("the seller agreed"):
        RefundApproval.objects.create(
            seller=archive, refund=refund, actor="usr_1", is_operator=False
        )
    operators = [operator_named(f"olive{n}") for n in range(4)]
    slowly(refunds, "_approve")

    results = at_once(
        *[lambda by=by: refunds.approve_as_operator(by, str(refund.pk)) for by in operators]
    )

    assert codes(results) == ["refund_wrong_state"] * 3
    assert count(Command, kind="refund") == 1


# --- orders -----------------------------------------------------------------------------------


def test_an_order_that_several_cancel_is_cancelled_once(
    archive: Organization, lab: Organization, slowly: Slowly
) -> None:
    """Without the lock in `orders.cancel`."""
    order = unpaid(archive, lab, checkout_session="cs_1")
    slowly(orders.scope_claims, "release")

    results = at_once(*[lambda: orders.cancel(caller_for(lab), str(order.pk))] * 4)

    assert [each.status for each in results] == ["cancelled"] * 4
    assert count(Audit, action="order.cancelled") == 1
    assert count(Command, kind="expire_checkout") == 1


def test_an_invoice_that_several_cancel_is_taken_back_once(
    archive: Organization, lab: Organization, slowly: Slowly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the lock in `orders.cancel`."""
    order = unpaid(archive, lab, method="invoice")
    with access.system("an invoice in a test"):
        make_invoice_row(order, stripe_id="in_1", status="open", sent_at=timezone.now())
    monkeypatch.setattr(orders, "_taken_back", lambda _caller, order: order)
    slowly(orders, "_check_nothing_left")

    results = at_once(*[lambda: orders.cancel(caller_for(lab), str(order.pk))] * 4)

    assert codes(results) == []
    assert count(Audit, action="order.cancel_asked") == 1
    assert (count(Command, kind="void_invoice"), count(Invoice)) == (1, 1)


def test_a_pay_page_that_opens_while_its_order_is_cancelled_is_closed(
    archive: Organization, lab: Organization, slowly: Slowly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the order's lock in `commands._locked`."""
    order = unpaid(archive, lab)
    expires_at = int((timezone.now() + timedelta(hours=1)).timestamp())
    with access.system("commit to a page in a test"):
        commands.give(Command.Kind.CREATE_CHECKOUT, {"expires_at": expires_at}, order=order)
    page = CheckoutFacts("cs_1", "https://pay/cs_1", False, False, "USD", None)
    monkeypatch.setattr(stripe_gateway, "create_checkout", lambda _params, key: page)
    slowly(orders.scope_claims, "release")
    slowly(commands.CALLS["create_checkout"].keep.__globals__["order_states"], "move")

    results = at_once(
        lambda: orders.resume(caller_for(lab), str(order.pk)),
        lambda: orders.cancel(caller_for(lab), str(order.pk)),
    )

    assert codes(results) == []
    with access.system("read it"):
        row = Order.objects.get()
    assert (row.status, row.checkout_session) == ("cancelled", "cs_1")
    assert count(Command, kind="expire_checkout") == 1


@pytest.mark.parametrize("kind", ["create_checkout", "create_account"])
def test_a_call_that_several_make_is_kept_once(
    kind: str, archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the locks of `commands.carry_out`: the order's, or the command's where it has none.

    Each call has the same key: Stripe makes one object.
    """
    expires_at = int((timezone.now() + timedelta(hours=1)).timestamp())
    order = unpaid(archive, lab)
    with access.system("commit to a call in a test"):
        account = make_connected_row(archive)
        about: dict[str, Any] = (
            {"order": order}
            if kind == "create_checkout"
            else {"account": account, "reference": str(account.pk)}
        )
        command = commands.give(Command.Kind(kind), {"expires_at": expires_at}, **about)
    kept: list[str] = []
    keys: set[str] = set()
    # Nobody is answered before all have asked.
    asked = threading.Barrier(4)

    def send(_params: Any, *, key: str) -> Any:
        keys.add(key)
        asked.wait(timeout=60)
        if kind == "create_account":
            return AccountFacts("acct_1", "US", "restricted", False, ())
        return CheckoutFacts("cs_1", "https://pay/cs_1", False, False, "USD", None)

    call = commands.CALLS[kind]

    def keep(of: Command, result: Any) -> str:
        time.sleep(0.05)
        kept.append(str(of.pk))
        return call.keep(of, result)

    monkeypatch.setattr(stripe_gateway, kind, send)
    monkeypatch.setitem(commands.CALLS, kind, commands.Call(call.send, keep, call.refuse))

    results = at_once(*[lambda: commands.carry_out(command.pk)] * 4)

    assert [each.state for each in results] == ["done"] * 4
    assert (kept, keys) == ([str(command.pk)], {str(command.pk)})
    with access.system("read it"):
        assert Command.objects.get().attempts == 4


def test_what_goes_back_and_is_disputed_at_once_is_booked_once(
    archive: Organization, lab: Organization, slowly: Slowly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the lock in `sync._locked`: refunds and disputes are merged under it."""
    order = given_back(
        archive, lab, status="paid_ungrantable", checkout_session="cs_1", payment_intent="pi_1"
    )
    now = timezone.now()
    disputed = DisputeFacts("du_1", "needs_response", "fraudulent", 50_000, "USD", now, None, False)
    payment = PaymentFacts(
        "pi_1",
        50_000,
        now,
        "",
        refunds=(RefundFacts("re_1", "succeeded", 20_000),),
        disputes=(disputed,),
    )
    page = CheckoutFacts("cs_1", "", False, True, "USD", payment)
    monkeypatch.setattr(stripe_gateway, "retrieve_checkout", lambda _session: page)
    slowly(sync, "_settle")

    results = at_once(*[lambda: sync.sync_order(order.pk)] * 4)

    assert [each.status for each in results] == ["disputed"] * 4
    with access.system("read it"):
        assert Order.objects.get().refunded_minor == 20_000
    assert (count(Refund), count(Dispute)) == (1, 1)
    assert (count(Journal, kind="refund"), count(Journal, kind="dispute")) == (1, 1)
    assert count(Command, kind="send_evidence") == 1


def test_orders_that_are_due_are_looked_at_by_one_worker_each(
    archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `select_for_update` in `sync.complete_due`."""
    for _each in range(3):
        unpaid(archive, lab, next_sync_at=timezone.now() - timedelta(seconds=1))
    looked: list[Any] = []
    monkeypatch.setattr(sync, "sync_order", looked.append)
    whole = timedelta(seconds=60)

    class Slow(timedelta):
        def __radd__(self, other: Any) -> Any:
            time.sleep(0.05)
            return other + whole

    monkeypatch.setattr(sync, "CLAIMED_FOR", Slow(seconds=60))

    results = at_once(*[sync.complete_due] * 4)

    assert codes(results) == []
    assert len(looked) == len(set(looked)) == 3


# --- sellers ----------------------------------------------------------------------------------


def sold(seller: Organization, buyer: Organization) -> Order:
    """A sale that is settled at Stripe, and of which nothing was sent yet."""
    return given_back(
        seller,
        buyer,
        charge=f"ch_{timezone.now().timestamp()}",
        settled_minor=50_000,
        settled_currency="USD",
        settled_fee_minor=0,
    )


def test_shares_of_several_sales_at_once_pay_a_debt_once(
    archive: Organization, lab: Organization, slowly: Slowly
) -> None:
    """Without `transfers.lock_debts`."""
    with access.system("open an account in a test"):
        make_connected_row(archive, stripe_id="acct_1", state="active")
    orders_of_it = [sold(archive, lab) for _sale in range(4)]
    with access.system("owe in a test"):
        posted = journal.begin(archive.pk, livemode=False, kind=journal.OWED, reference="trr_1")
        lines = {Code.SELLER_RECEIVABLE: 60_000, Code.SELLER_PAYABLE: -60_000}
        journal.write(
            posted, [(Key(code, archive.pk, None, "USD"), minor) for code, minor in lines.items()]
        )
    slowly(transfers, "_as_settled")

    def plan(order: Order) -> None:
        with access.system("plan in a test"):
            transfers.plan(Order.objects.select_for_update().get(pk=order.pk))

    results = at_once(*[lambda order=order: plan(order) for order in orders_of_it])

    assert codes(results) == []
    with access.system("read them"):
        withheld = sorted(Transfer.objects.values_list("withheld_minor", flat=True))
        assert transfers.owed_minor(archive.pk, livemode=False, currency="USD") == 0
    assert withheld == [0, 0, 10_000, 50_000]


def test_a_share_that_waited_is_sent_once(
    archive: Organization, lab: Organization, slowly: Slowly
) -> None:
    """Without the lock in `transfers.start_waiting`."""
    with access.system("a transfer that waits in a test"):
        make_connected_row(archive, stripe_id="acct_1", state="active")
        make_transfer_row(sold(archive, lab), share_minor=50_000)
    slowly(transfers, "_payable")

    results = at_once(*[transfers.start_waiting] * 4)

    assert codes(results) == []
    assert count(Command, kind="transfer") == 1


def test_a_refused_transfer_that_several_send_again_is_sent_once(
    archive: Organization, lab: Organization, operator: User, slowly: Slowly
) -> None:
    """Without the lock in `transfers.send_again`."""
    with access.system("a refused transfer in a test"):
        make_connected_row(archive, stripe_id="acct_1", state="active")
        transfer = make_transfer_row(
            sold(archive, lab), share_minor=50_000, state="refused", refusal="No."
        )
    slowly(transfers, "_payable")

    results = at_once(*[lambda: transfers.send_again(operator, str(transfer.pk))] * 4)

    assert codes(results) == []
    assert count(Command, kind="transfer") == 1
    assert count(Audit, action="transfer.sent_again") == 1


@pytest.mark.parametrize("whose", ["organization", "contributor"])
def test_an_account_that_several_open_is_one(
    whose: str, archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key makes the others wait: this one passes without the lock in `connect.open`, too."""

    def create(_params: Any, *, key: str) -> AccountFacts:
        time.sleep(0.05)
        return AccountFacts("acct_1", "US", "restricted", False, ())

    monkeypatch.setattr(stripe_gateway, "create_account", create)
    caller = caller_for(archive)
    make_works(archive, {"ann": 1})
    ann = str(person(archive, "ann").pk)

    def open_one() -> ConnectedAccount:
        if whose == "organization":
            return connect.open(caller)
        return connect.open_for(caller, ann, country="US")

    results = at_once(*[open_one] * 4)

    assert codes(results) == []
    assert {each.stripe_id for each in results} == {"acct_1"}
    assert (count(ConnectedAccount), count(Command, kind="create_account")) == (1, 1)
    assert count(Audit, action="connected_account.opened") == 1


def test_of_two_looks_at_an_account_the_newer_one_stays(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the last lock in `connect.sync_account`: the older facts were saved last."""
    with access.system("open an account in a test"):
        account = make_connected_row(archive, stripe_id="acct_1", state="pending")
    asked: list[str] = []
    merge = connect._merge

    def retrieve(_id: str) -> AccountFacts:
        asked.append("")
        if len(asked) > 1:
            time.sleep(0.1)
        status = "pending" if len(asked) == 1 else "active"
        return AccountFacts("acct_1", "US", status, False, ())

    def merge_slowly(row: ConnectedAccount, facts: AccountFacts) -> None:
        if facts.status == "pending":
            time.sleep(0.4)
        merge(row, facts)

    monkeypatch.setattr(stripe_gateway, "retrieve_account", retrieve)
    monkeypatch.setattr(connect, "_merge", merge_slowly)

    def later() -> None:
        time.sleep(0.05)
        connect.sync_account(account.pk)

    results = at_once(lambda: connect.sync_account(account.pk), later)

    assert codes(results) == []
    with access.system("read it"):
        assert ConnectedAccount.objects.get().state == "active"


def test_a_clearance_that_several_give_is_given_once(
    archive: Organization, operator: User, slowly: Slowly
) -> None:
    """Without the lock in `connect._decide`."""
    with access.system("open an account in a test"):
        account = make_connected_row(archive, stripe_id="acct_1", state="active")
    slowly(connect, "_set")

    results = at_once(*[lambda: connect.clear(operator, str(account.pk), note="Known.")] * 4)

    assert codes(results) == []
    assert count(Audit, action="connected_account.cleared") == 1


# --- royalties --------------------------------------------------------------------------------


def test_rules_set_at_once_are_versions_one_after_another(
    archive: Organization, slowly: Slowly
) -> None:
    """Without the lock of the collection in `royalties.set_rule`."""
    collection = make_works(archive, {"ann": 1})
    slowly(royalties, "_says")

    results = at_once(
        *[
            lambda points=points: set_rule(archive, collection, basis_points=points)
            for points in (1, 2, 3, 4)
        ]
    )

    assert codes(results) == []
    with access.system("read them"):
        versions = RoyaltyRule.objects.order_by("version").values_list("version", flat=True)
        assert list(versions) == [1, 2, 3, 4]


def test_an_advance_that_is_recorded_at_once_stands_once(
    archive: Organization, slowly: Slowly
) -> None:
    """Without `payouts._lock`, by the key alone: then each meets it."""
    make_works(archive, {"ann": 1})
    ann, caller = str(person(archive, "ann").pk), caller_for(archive)

    def record() -> Any:
        return payouts.advance(caller, ann, amount_minor=500, currency="USD", reference="SEPA 1")

    results = at_once(*[record] * 4)

    assert codes(results) == []
    assert count(RoyaltyAdvance) == 1
    assert count(Audit, action="royalty_advance.recorded") == 1


def test_a_royalty_that_is_sent_and_paid_outside_at_once_is_one_of_both(
    archive: Organization, lab: Organization, slowly: Slowly
) -> None:
    """Without the lock in `royalty_payments.paid_outside`, or in `send_due`."""
    collection = make_works(archive, {"ann": 1})
    set_rule(archive, collection, basis_points=10_000)
    sell(lab, make_offer(archive, collection=collection), price_minor=1_000)
    royalties.allocate_due()
    caller = caller_for(archive)
    payouts.confirm(caller, currency="USD", contributors=1, paid_minor=1_000, recouped_minor=0)
    payouts.write_due()
    with access.system("open an account in a test"):
        make_connected_row(
            archive, contributor=person(archive, "ann"), stripe_id="acct_1", state="active"
        )
        payment = str(RoyaltyPayment.objects.get().pk)
    slowly(royalty_payments, "_move")

    results = at_once(
        *[lambda: royalty_payments.paid_outside(caller, payment, reference="SEPA 1")] * 2,
        *[royalty_payments.send_due] * 2,
    )

    assert set(codes(results)) <= {"royalty_payment_wrong_state"}
    sent = count(Command, kind="royalty_transfer")
    outside = count(Journal, kind=journal.ROYALTY_PAID_OUTSIDE)
    assert sent + outside == 1


# --- what comes from Stripe -------------------------------------------------------------------


def test_an_event_is_taken_by_one_worker(
    archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch, slowly: Slowly
) -> None:
    """Without `select_for_update` in `stripe_events._take`."""
    order = unpaid(archive, lab, checkout_session="cs_1")
    with access.system("an event in a test"):
        StripeEvent.objects.create(
            id="evt_1",
            type="checkout.session.completed",
            livemode=False,
            object_id="cs_1",
            body={},
        )
    followed: list[Any] = []
    monkeypatch.setattr(stripe_events.sync, "sync_order", followed.append)
    slowly(stripe_events, "_subject_of")

    results = at_once(*[stripe_events.handle_due] * 4)

    assert codes(results) == []
    assert (sorted(results), followed) == ([0, 0, 0, 1], [order.pk])


def test_an_event_that_is_delivered_at_once_is_stored_once(
    monkeypatch: pytest.MonkeyPatch, slowly: Slowly
) -> None:
    """Without `ignore_conflicts` in `stripe_events.receive` and `store_fetched`."""
    monkeypatch.setattr(stripe_gateway, "verify_webhook", lambda _raw, _signature: None)
    body = {"id": "evt_1", "type": "x", "livemode": False}
    raw = json.dumps(body).encode()
    slowly(StripeEvent.objects, "bulk_create")

    results = at_once(
        *[lambda: stripe_events.receive(raw, "")] * 2,
        *[lambda: stripe_events.store_fetched([body])] * 2,
    )

    assert codes(results) == []
    assert count(StripeEvent) == 1


def test_a_difference_that_several_find_is_one_and_is_closed_once(
    archive: Organization, lab: Organization, operator: User, slowly: Slowly
) -> None:
    """Without the lock in `mismatches.close`; finding waits for `reconcile._begin`."""
    order = given_back(archive, lab)
    each = mismatches.Found(mismatches.Kind.AMOUNT_DIFFERS, "txn_1", order_id=order.pk)
    for _again in range(2):
        mismatches.keep([each], livemode=False, looked_at={"txn_1"})
    with access.system("read it"):
        row = str(Mismatch.objects.get().pk)
    slowly(mismatches, "_whose")

    results = at_once(*[lambda: mismatches.close(operator, row, note="So.")] * 4)

    assert codes(results) == []
    assert count(Audit, action="mismatch.closed") == 1


def test_one_of_several_looks_at_stripes_books_and_the_others_leave_it_to_it(
    slowly: Slowly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the lock in `reconcile._begin`."""
    monkeypatch.setattr(stripe_gateway, "balance_lines", lambda *_range, after: Page((), ""))
    slowly(stripe_gateway, "balance_lines")
    with access.system("somebody looked before"):
        reconcile.ReconcileCursor.objects.create(
            name=reconcile.BALANCE, livemode=False, reached_at=timezone.now() - timedelta(hours=3)
        )

    results = at_once(*[reconcile.check_balance] * 4)

    assert codes(results) == []
    assert sorted(each.is_done for each in results) == [False, False, False, True]


def member(of: Organization, number: int) -> User:
    return organizations.admit(
        of,
        email=f"m{number}@example.org",
        name=f"M{number}",
        password="correct horse battery",
        role="owner",
    )
