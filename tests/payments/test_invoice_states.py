"""Every state of an order on invoice meets every fact; and things that happen at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from marketplace import access
from marketplace.models import Organization
from payments import invoices, orders, stripe_events, stripe_gateway, sync
from payments.models import Command, Dispute, Invoice
from payments.stripe_facts import InvoiceFacts
from tests.payments.buying import GRANTED_ONCE, acceptance, balances, made_of, quote_for
from tests.payments.invoicing import (
    invoice_of,
    invoiced_offer,
    look_at,
    make_due,
    ordered_on_invoice,
    pay_invoice,
    travel,
)
from tests.payments.racing import at_once
from tests.payments.selling import request_refund
from tests.payments.simulating import Stripe, work
from tests.payments.test_sync import died, facts, refused, row_of, settle
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def buyer(lab: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(lab)


# --- states and facts -------------------------------------------------------------------------

PAID: dict[str, dict[str, Any]] = {
    "paid": {},
    "partly refunded": {"refunded_minor": 20_000},
    "refunded": {"refunded_minor": 50_000},
    "disputed": {"dispute": "needs_response"},
    "won": {"dispute": "won"},
    "lost": {"dispute": "lost"},
}
FACTS = ["open", "uncollectible", "void", *PAID]
# How a fresh order really gets to each state. “late” is time alone.
STEPS: dict[str, list[str]] = {
    "awaiting_payment": [],
    "past_due": ["late"],
    "cancelled": ["void"],
    "granted": ["paid"],
    "paid": ["paid"],
    "paid_late": ["void", "paid"],
    "paid_ungrantable": ["paid"],
    "partially_refunded": ["paid", "partly refunded"],
    "refunded": ["paid", "refunded"],
    "disputed": ["paid", "disputed"],
    "dispute_won": ["paid", "won"],
    "dispute_lost": ["paid", "lost"],
}
_PAID_AFTER = {
    ("granted", "partly refunded"): "partially_refunded",
    ("granted", "refunded"): "refunded",
    ("granted", "disputed"): "disputed",
    ("granted", "won"): "dispute_won",
    ("granted", "lost"): "dispute_lost",
    ("partially_refunded", "refunded"): "refunded",
    ("partially_refunded", "disputed"): "disputed",
    ("partially_refunded", "won"): "dispute_won",
    ("partially_refunded", "lost"): "dispute_lost",
    ("disputed", "refunded"): "refunded",
    ("disputed", "won"): "dispute_won",
    ("disputed", "lost"): "dispute_lost",
    ("dispute_lost", "won"): "dispute_won",
    ("dispute_won", "partly refunded"): "partially_refunded",
    ("dispute_won", "refunded"): "refunded",
}
# What a state and a fetched fact lead to; what is not listed stays as it was.
LEADS_TO = {
    "payment": {
        ("awaiting_payment", "void"): "cancelled",
        ("past_due", "void"): "cancelled",
        **{
            (unpaid, fact): after
            for unpaid in ("awaiting_payment", "past_due", "cancelled", "paid", "paid_late")
            for fact, after in {
                "paid": "granted",
                "partly refunded": "paid_ungrantable",
                "refunded": "refunded",
                "disputed": "disputed",
                "won": "granted",
                "lost": "dispute_lost",
            }.items()
        },
        # What was paid is granted, whatever a stale fetch says.
        **{
            (paid, fact): "granted"
            for paid in ("paid", "paid_late")
            for fact in ("open", "uncollectible", "void")
        },
        ("paid_ungrantable", "refunded"): "refunded",
        ("paid_ungrantable", "disputed"): "disputed",
        ("paid_ungrantable", "won"): "paid_ungrantable",
        ("paid_ungrantable", "lost"): "dispute_lost",
        **_PAID_AFTER,
    },
    "issue": {
        ("awaiting_payment", "void"): "cancelled",
        ("past_due", "void"): "cancelled",
        **{
            (unpaid, fact): after
            for unpaid in ("awaiting_payment", "past_due")
            for fact, after in {
                "paid": "granted",
                "partly refunded": "partially_refunded",
                "refunded": "refunded",
                "disputed": "disputed",
                "won": "dispute_won",
                "lost": "dispute_lost",
            }.items()
        },
        **_PAID_AFTER,
    },
}
# With a license from the start, nothing waits for one.
_ONLY_WITH_PAYMENT = {"paid", "paid_late", "paid_ungrantable"}
CASES = [
    (grants_on, state, fact)
    for grants_on, state, fact in product(LEADS_TO, STEPS, FACTS)
    if grants_on == "payment" or state not in _ONLY_WITH_PAYMENT
]


def said(invoice: str, fact: str) -> InvoiceFacts:
    """What a fetch brings."""
    payment = facts(invoice, is_paid=True, **PAID[fact]).payment if fact in PAID else None
    status = "paid" if fact in PAID else fact
    return InvoiceFacts(invoice, status, "USD", payment=payment)


# All of it stands in the table that `test_order_states` tries whole: `make oracles` brings each of
# these about, too; here, every third of what changes an order.
QUICK = [case for case in CASES if case[0] == "payment" and case[1:] in LEADS_TO["payment"]][::3]
PARAMS = [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.oracle) for case in CASES]


@pytest.mark.oracle
@pytest.mark.parametrize(("grants_on", "state", "fact"), PARAMS)
def test_facts_only_grow(
    grants_on: str,
    state: str,
    fact: str,
    archive: Organization,
    buyer: ApiClient,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every state of an order on invoice meets every fact that a fetch can bring."""
    order = ordered_on_invoice(buyer, invoiced_offer(archive, grants_on=grants_on))
    settle(order)
    bring_to(order, state, monkeypatch)

    monkeypatch.setattr(stripe_gateway, "retrieve_invoice", lambda id: said(id, fact))
    monkeypatch.setattr(sync.logger, "disabled", True)
    settled = settle(order)

    assert settled.status == LEADS_TO[grants_on].get((state, fact), state)
    assert settle(order).status == settled.status
    assert_clearing_is_even(order)


def bring_to(order: dict[str, Any], state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead a fresh order to a state by what really leads there."""
    with monkeypatch.context() as patch:
        if state in {"paid", "paid_late"}:
            patch.setattr(orders, "issue_grant", died)
            patch.setattr(sync.logger, "disabled", True)
        elif state == "paid_ungrantable":
            patch.setattr(orders, "issue_grant", refused)
        for step in STEPS[state]:
            if step == "late":
                travel(monkeypatch, days=31)
                step = "open"
            patch.setattr(stripe_gateway, "retrieve_invoice", lambda id, step=step: said(id, step))
            settle(order)
    assert row_of(order).status == state


def assert_clearing_is_even(order: dict[str, Any]) -> None:
    found, row = balances(), row_of(order)
    with access.system("look for open disputes in a test"):
        is_open = Dispute.objects.filter(order=order["id"], closed_at=None).exists()
    if is_open or row.status in {"paid", "paid_late", "paid_ungrantable"}:
        return
    owes = row.status in {"awaiting_payment", "past_due"} and row.grant_id is not None
    assert found.get("buyer_receivable", 0) == (50_000 if owes else 0)
    assert found.get("dispute_hold", 0) == 0


# --- lost answers -----------------------------------------------------------------------------

POSTS = [
    "/v1/customers",
    "/v1/invoices",
    "/v1/invoiceitems",
    "/v1/invoices/*/finalize",
    "/v1/invoices/*/send",
]


@pytest.mark.oracle
@pytest.mark.parametrize("post", POSTS)
def test_an_answer_that_is_lost_while_an_invoice_is_sent_makes_one_of_each(
    post: str, archive: Organization, buyer: ApiClient, stripe: Stripe, settings: Any
) -> None:
    settings.TAX = {"US": {"basis_points": 1_900}}
    body = {
        **acceptance(quote_for(buyer, invoiced_offer(archive))),
        "method": "invoice",
        "net_days": 30,
    }
    stripe.lose(post, times=stripe_gateway.RETRIES_MAX + 1)

    lost = buyer.post("/v1/orders", body)

    assert (lost.status_code, lost.json()["code"]) == (503, "payment_provider_unavailable")
    [order] = buyer.get("/v1/orders").json()["data"]
    assert order["status"] == "awaiting_payment"
    for _again in range(3):
        make_due()
        work()
    sent = buyer.get(f"/v1/orders/{order['id']}").json()
    assert sent["invoice"]["status"] == "open"
    assert len(stripe.list("/v1/customers")) == 1
    [invoice] = stripe.list("/v1/invoices")
    assert (invoice["total"], len(invoice["lines"]["data"])) == (59_500, 2)
    assert len(stripe.list("/v1/invoiceitems")) == 2


@pytest.mark.oracle
@pytest.mark.parametrize("post", POSTS)
def test_after_a_day_what_was_made_is_looked_for_before_it_is_made_again(
    post: str,
    archive: Organization,
    buyer: ApiClient,
    stripe: Stripe,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer was lost, and Stripe has forgotten our keys since."""
    settings.TAX = {"US": {"basis_points": 1_900}}
    body = {
        **acceptance(quote_for(buyer, invoiced_offer(archive))),
        "method": "invoice",
        "net_days": 30,
    }
    stripe.lose(post, times=stripe_gateway.RETRIES_MAX + 1)
    assert buyer.post("/v1/orders", body).status_code == 503
    stripe.forget_keys()
    travel(monkeypatch, hours=24)

    for _again in range(3):
        make_due()
        work()

    assert len(stripe.list("/v1/customers")) == 1
    [invoice] = stripe.list("/v1/invoices")
    assert (invoice["status"], invoice["total"]) == ("open", 59_500)
    assert len(invoice["lines"]["data"]) == 2


def test_a_lost_answer_to_voiding_cancels_once(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    stripe.lose("/v1/invoices/*/void", times=stripe_gateway.RETRIES_MAX + 1)

    lost = buyer.post(f"/v1/orders/{order['id']}/cancel")
    assert lost.status_code == 503
    make_due()
    work()

    assert row_of(order).status == "cancelled"
    assert invoice_of(order).status == "void"


@pytest.mark.oracle
@pytest.mark.parametrize("a_day_later", [False, True])
def test_a_lost_answer_to_a_credit_note_makes_one(
    a_day_later: bool,
    archive: Organization,
    buyer: ApiClient,
    client_for: ClientFor,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    pay_invoice(stripe, order)
    stripe.deliver()
    work()
    stripe.lose("/v1/credit_notes", times=stripe_gateway.RETRIES_MAX + 1)
    assert request_refund(client_for(archive), order, amount_minor=10_000).status_code == 201
    for _again in range(2):
        work()
        stripe.deliver()
    if a_day_later:
        stripe.forget_keys()
        travel(monkeypatch, hours=24)

    for _again in range(3):
        make_due()
        work()
        stripe.deliver()

    [note] = stripe.list("/v1/credit_notes")
    assert note["total"] == 10_000
    assert row_of(order).refunded_minor == 10_000
    with access.system("look at the command"):
        assert Command.objects.get(kind="credit_note").state == "done"


def test_a_repeat_with_the_same_key_goes_on_with_the_same_invoice(
    archive: Organization, buyer: ApiClient, stripe: Stripe, settings: Any
) -> None:
    body = {
        **acceptance(quote_for(buyer, invoiced_offer(archive))),
        "method": "invoice",
        "net_days": 30,
    }
    there = settings.STRIPE_API_BASE
    settings.STRIPE_API_BASE = "http://127.0.0.1:9"
    away = buyer.post("/v1/orders", body, Idempotency_Key="k1")
    assert away.status_code == 503
    settings.STRIPE_API_BASE = there

    resumed = buyer.post("/v1/orders", body, Idempotency_Key="k1")
    again = buyer.post("/v1/orders", body, Idempotency_Key="k1")

    assert (resumed.status_code, again.status_code) == (201, 201)
    assert again.json() == resumed.json()
    assert resumed.json()["invoice"]["status"] == "open"
    assert len(stripe.list("/v1/invoices")) == 1


# --- what is refused --------------------------------------------------------------------------


def test_an_address_that_stripe_refuses_ends_the_order_and_can_be_mended(
    archive: Organization, lab: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    Organization.objects.filter(pk=lab.pk).update(contact_email="not-an-address")
    quote = quote_for(buyer, invoiced_offer(archive))
    body = {**acceptance(quote), "method": "invoice", "net_days": 30}

    response = buyer.post("/v1/orders", body)

    assert (response.status_code, response.json()["code"]) == (409, "order_not_payable")
    order = buyer.get(f"/v1/orders/{response.json()['order']}").json()
    assert (order["status"], order["invoice"]["status"]) == ("expired", "refused")
    assert made_of(order)["claims"] == 0

    Organization.objects.filter(pk=lab.pk).update(contact_email="legal@example.org")
    assert ordered_on_invoice(buyer, invoiced_offer(archive))["invoice"]["status"] == "open"
    assert len(stripe.list("/v1/customers")) == 1


# --- events -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_thin", [False, pytest.param(True, marks=pytest.mark.oracle)])
@pytest.mark.parametrize(
    "type",
    ["invoice.paid", "invoice.updated", "invoice.payment_succeeded", "invoice_payment.paid"],
)
def test_each_event_of_an_invoice_leads_to_its_order(
    type: str, is_thin: bool, archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    stripe.deliver()
    work()
    if is_thin:
        stripe.tell_thinly()
        type = f"v1.{type}"
    stripe.invoice(invoice_of(order).stripe_id or "", "pay")
    stripe.wait_for(type)
    heard = [each for each in stripe.mailbox.deliveries if each.type == type]

    assert heard[-1].post().status_code == 200
    assert stripe_events.handle_due() == 1

    assert row_of(order).status == "granted"


# --- at once ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("grants_on", ["payment", "issue"])
def test_webhook_worker_and_reconciler_at_once_grant_once(
    grants_on: str, archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive, grants_on=grants_on))
    order_id = row_of(order).pk
    pay_invoice(stripe, order)
    stripe.deliver()
    look_at(order)

    results = at_once(
        *[lambda: stripe_events.handle_due()] * 2,
        *[lambda: sync.complete_due()] * 2,
        *[lambda: sync.sync_order(order_id)] * 2,
    )

    assert not [one for one in results if isinstance(one, Exception)]
    assert row_of(order).status == "granted"
    assert made_of(order) == GRANTED_ONCE
    assert balances()["buyer_receivable"] == 0


@pytest.mark.django_db(transaction=True)
def test_eight_looks_at_once_remind_once(
    archive: Organization, buyer: ApiClient, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    order_id = row_of(order).pk
    travel(monkeypatch, days=30, hours=1)

    at_once(*[lambda: sync.sync_order(order_id)] * 8)

    with access.system("count the reminders"):
        assert Command.objects.filter(kind="send_invoice", reference="due").count() == 1


@pytest.mark.django_db(transaction=True)
def test_eight_orders_at_once_make_one_customer(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    """Without `invoices._lock_customer`, two customers, or an invoice that is never sent."""
    offer = invoiced_offer(archive)
    client = client_for(lab)
    bodies = [
        {**acceptance(quote_for(client, offer)), "method": "invoice", "net_days": 30}
        for _each in range(8)
    ]

    responses = at_once(
        *(lambda body=body: client_for(lab).post("/v1/orders", body) for body in bodies)
    )
    for _again in range(3):
        make_due()
        work()

    assert {response.status_code for response in responses} <= {201, 503}
    assert len(stripe.list("/v1/customers")) == 1
    with access.system("count what was sent"):
        assert Invoice.objects.filter(status="open").count() == 8
    assert len(stripe.list("/v1/invoices")) == 8


def test_the_reminders_are_in_the_order_of_time() -> None:
    assert list(invoices.REMINDERS.values()) == sorted(invoices.REMINDERS.values())
