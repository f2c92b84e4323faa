"""Buying on invoice: sent, paid late or never, and what becomes of the license."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from licensing import lifecycle
from licensing.lifecycle import Act
from licensing.models import GrantEvent
from marketplace import access
from marketplace.models import Organization
from payments import stripe_gateway
from payments.models import Command, Order
from tests.make import EXCLUSIVE
from tests.payments.buying import (
    GRANTED_ONCE,
    acceptance,
    balances,
    counts,
    made_of,
    order_for,
    order_now,
    quote_for,
)
from tests.payments.invoicing import (
    at_stripe,
    invoice_of,
    invoiced_offer,
    look_at,
    ordered_on_invoice,
    pay_invoice,
    travel,
)
from tests.payments.selling import onboarded, request_refund, transfer_of
from tests.payments.simulating import Stripe, work
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def buyer(lab: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(lab)


def settled(order: dict[str, Any]) -> None:
    look_at(order)
    work()


# --- the way through --------------------------------------------------------------------------


def test_an_invoice_is_sent_paid_granted_and_passed_on(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    onboarded(archive, stripe)

    order = ordered_on_invoice(buyer, invoiced_offer(archive), purchase_order="PO-4711")

    assert (order["status"], order["method"]) == ("awaiting_payment", "invoice")
    assert (order["checkout_url"], order["grant"]) == (None, None)
    invoice = order["invoice"]
    assert invoice["hosted_url"].startswith(f"{stripe.url}/")
    assert invoice["number"]
    assert (invoice["status"], invoice["net_days"]) == ("open", 30)
    assert invoice["purchase_order"] == "PO-4711"
    assert made_of(order)["claims"] == 1
    sent = at_stripe(stripe, order)
    assert (sent["status"], sent["total"], sent["currency"]) == ("open", 50_000, "usd")
    assert sent["custom_fields"] == [{"name": "Purchase order", "value": "PO-4711"}]
    assert sent["customer_email"] == "legal@example.org"
    assert sent["due_date"] == int(invoice_of(order).due_at.timestamp())

    pay_invoice(stripe, order)
    stripe.deliver()
    work()
    work()

    paid = order_now(buyer, order)
    assert (paid["status"], paid["paid_minor"]) == ("granted", 50_000)
    assert paid["invoice"]["status"] == "paid"
    assert made_of(order) == GRANTED_ONCE
    transfer = transfer_of(order)
    assert (transfer.state, transfer.sent_minor) == ("sent", 50_000)
    [sent_on] = stripe.list("/v1/transfers")
    assert sent_on["source_transaction"] == row_of(order).charge
    assert balances()["buyer_receivable"] == 0
    assert balances()["stripe_clearing"] == 0


def test_orders_are_the_same_whoever_writes_their_json(
    archive: Organization, buyer: ApiClient, stripe: Stripe, settings: Any
) -> None:
    onboarded(archive, stripe)
    ordered_on_invoice(buyer, invoiced_offer(archive))
    order_for(buyer, invoiced_offer(archive))

    planned = buyer.get("/v1/orders").json()
    settings.READPLAN = False
    serialized = buyer.get("/v1/orders").json()

    assert planned == serialized
    by_card, by_invoice = planned["data"]
    assert (by_card["invoice"], by_invoice["checkout_url"]) == (None, None)
    assert by_card["checkout_url"].startswith(stripe.url)
    assert by_invoice["invoice"]["number"]


def row_of(order: dict[str, Any]) -> Order:
    with access.system("read an order in a test"):
        return Order.objects.get(pk=order["id"])


@pytest.mark.oracle
def test_the_rights_are_held_until_the_invoice_is_overdue(
    archive: Organization,
    buyer: ApiClient,
    stranger: Organization,
    client_for: ClientFor,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer = invoiced_offer(archive, typed=EXCLUSIVE)
    late = ordered_on_invoice(buyer, offer)
    travel(monkeypatch, days=36)
    work()
    assert made_of(late)["claims"] == 1

    travel(monkeypatch, days=2)
    settled(late)

    assert order_now(buyer, late)["status"] == "past_due"
    assert made_of(late)["claims"] == 0
    assert ordered_on_invoice(client_for(stranger), offer)["status"] == "awaiting_payment"


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "other days": ({"net_days": 45}, "net_days"),
    "no days": ({"net_days": None}, "net_days"),
    "days as text": ({"net_days": "30"}, "net_days"),
    "a long number": ({"purchase_order": "x" * 141}, "purchase_order"),
    "another method": ({"method": "barter"}, "method"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_an_invoice_that_is_not_offered_changes_nothing(
    case: str, archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    changes, param = REFUSALS[case]
    accepted = acceptance(quote_for(buyer, invoiced_offer(archive)))
    body = {**accepted, "method": "invoice", "net_days": 30, **changes}
    before = counts()

    response = buyer.post("/v1/orders", {k: v for k, v in body.items() if v is not None})

    problem = response.json()
    assert (response.status_code, problem["code"], problem["param"]) == (
        422,
        "invalid_input",
        param,
    )
    assert counts() == before
    assert stripe.requests() == []


@pytest.mark.parametrize(
    ("offered", "asked", "param"),
    [
        ({"invoice_days": []}, {"method": "invoice", "net_days": 30}, "method"),
        ({"invoice_days": [14]}, {"method": "invoice", "net_days": 30}, "net_days"),
        ({}, {"net_days": 30}, "net_days"),
        ({}, {"purchase_order": "PO-1"}, "purchase_order"),
    ],
)
def test_what_an_offer_does_not_say_is_refused(
    offered: dict[str, Any],
    asked: dict[str, Any],
    param: str,
    archive: Organization,
    buyer: ApiClient,
    stripe: Stripe,
) -> None:
    quote = quote_for(buyer, invoiced_offer(archive, **offered))
    before = counts()

    response = buyer.post("/v1/orders", {**acceptance(quote), **asked})

    assert (response.status_code, response.json()["param"]) == (422, param)
    assert counts() == before


def test_an_invoice_needs_somewhere_to_go(
    archive: Organization, lab: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    lab.contact_email = ""
    lab.save(update_fields=["contact_email"])
    quote = quote_for(buyer, invoiced_offer(archive))
    before = counts()

    response = buyer.post("/v1/orders", {**acceptance(quote), "method": "invoice", "net_days": 30})

    assert (response.status_code, response.json()["code"]) == (409, "legal_identity_incomplete")
    assert response.json()["missing"] == ["contact_email"]
    assert counts() == before


def test_two_orders_of_one_buyer_have_one_customer(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    for _again in range(2):
        ordered_on_invoice(buyer, invoiced_offer(archive))

    [customer] = stripe.list("/v1/customers")
    assert customer["name"] == "Lab Ltd"
    assert {each["customer"] for each in stripe.list("/v1/invoices")} == {customer["id"]}


# --- the offer --------------------------------------------------------------------------------


def test_a_listing_says_how_it_can_be_paid(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    offer = invoiced_offer(archive, invoice_days=[60, 30, 30], grants_on="issue")

    listing = buyer.get(f"/v1/listings/{offer.pk}").json()

    assert (listing["invoice_days"], listing["grants_on"]) == ([30, 60], "issue")


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"invoice_days": [45]}, "invoice_days"),
        ({"invoice_days": ["30"]}, "invoice_days"),
        ({"grants_on": "issue"}, "grants_on"),
        ({"grants_on": "whim", "invoice_days": [30]}, "grants_on"),
    ],
)
def test_an_offer_on_other_terms_of_payment_is_refused(
    said: dict[str, Any], param: str, archive: Organization, client_for: ClientFor
) -> None:
    made = invoiced_offer(archive)
    client = client_for(archive)
    before = len(client.get("/v1/offers").json()["data"])

    response = client.post(
        "/v1/offers",
        {
            "snapshot": str(made.snapshot_id),
            "terms": str(made.terms_id),
            "price_minor": 50_000,
            "currency": "USD",
            **said,
        },
    )

    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "invalid_input")
    assert problem["param"].startswith(param)
    assert len(client.get("/v1/offers").json()["data"]) == before


# --- before it is paid ------------------------------------------------------------------------


def begun(buyer: ApiClient, seller: Organization, **fields: Any) -> dict[str, Any]:
    """An order whose license began with its invoice."""
    order = ordered_on_invoice(buyer, invoiced_offer(seller, grants_on="issue", **fields))
    settled(order)
    return order_now(buyer, order)


def test_a_license_may_begin_with_its_invoice(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = begun(buyer, archive)

    assert (order["status"], order["paid_minor"]) == ("awaiting_payment", 0)
    assert order["grant"].startswith("grt_")
    assert order["granted_at"]
    assert made_of(order) == GRANTED_ONCE
    # The buyer owes it, since then.
    assert balances() == {"buyer_receivable": 50_000, "seller_payable": -50_000}
    assert stripe.list("/v1/transfers") == []

    pay_invoice(stripe, order)
    stripe.deliver()
    work()

    paid = order_now(buyer, order)
    assert (paid["status"], paid["grant"]) == ("granted", order["grant"])
    assert made_of(order) == GRANTED_ONCE
    assert balances()["buyer_receivable"] == 0
    assert transfer_of(order).share_minor == 50_000


@pytest.mark.oracle
def test_an_overdue_license_is_suspended_and_goes_on_once_it_is_paid(
    archive: Organization, buyer: ApiClient, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = begun(buyer, archive)
    with monkeypatch.context() as patch:
        travel(patch, days=31)
        settled(order)
        late = order_now(buyer, order)
        assert late["status"] == "past_due"
        assert buyer.get(f"/v1/grants/{order['grant']}/manifest").status_code == 200
        assert grant_status(buyer, order) == "active"

        travel(patch, days=7)
        settled(order)
        assert grant_status(buyer, order) == "suspended"
        assert last_event(order) == ("suspended", "payment_overdue")
        refused = buyer.get(f"/v1/grants/{order['grant']}/manifest")
        assert (refused.status_code, refused.json()["code"]) == (409, "grant_not_in_force")

    pay_invoice(stripe, order)
    stripe.deliver()
    work()

    assert order_now(buyer, order)["status"] == "granted"
    assert grant_status(buyer, order) == "active"
    assert last_event(order) == ("reinstated", "settled")


def test_a_license_that_its_seller_suspended_stays_so_when_it_is_paid(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = begun(buyer, archive)
    lifecycle.suspend(
        caller_for(archive), order["grant"], Act(by="licensor", cause="breach", reason="Shared.")
    )

    pay_invoice(stripe, order)
    stripe.deliver()
    work()

    assert order_now(buyer, order)["status"] == "granted"
    assert grant_status(buyer, order) == "suspended"


def grant_status(client: ApiClient, order: dict[str, Any]) -> str:
    return str(client.get(f"/v1/grants/{order['grant']}").json()["status"])


def last_event(order: dict[str, Any]) -> tuple[str, str]:
    with access.system("read an event in a test"):
        event = GrantEvent.objects.filter(grant=order["grant"]).order_by("-number")[0]
    return event.kind, event.cause


@pytest.mark.oracle
def test_each_reminder_is_sent_once(
    archive: Organization, buyer: ApiClient, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    sent = f"/v1/invoices/{invoice_of(order).stripe_id}/send"
    assert len(stripe.posts(sent)) == 1
    for days, count in ((26, 1), (2, 2), (2, 3), (4, 3), (2, 4), (20, 4)):
        travel(monkeypatch, days=days)
        for _again in range(2):
            settled(order)
            work()
        assert len(stripe.posts(sent)) == count, days

    assert invoice_of(order).reminded_at is not None


def test_of_reminders_that_were_missed_the_last_is_sent(
    archive: Organization, buyer: ApiClient, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    travel(monkeypatch, days=60)

    settled(order)
    work()

    with access.system("read the reminders"):
        reminders = Command.objects.filter(kind="send_invoice").exclude(reference="")
        assert [command.reference for command in reminders] == ["after"]


# --- taken back -------------------------------------------------------------------------------


def test_a_cancelled_order_has_a_void_invoice(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))

    response = buyer.post(f"/v1/orders/{order['id']}/cancel")

    assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    assert response.json()["invoice"]["status"] == "void"
    assert at_stripe(stripe, order)["status"] == "void"
    assert made_of(order)["claims"] == 0
    assert balances() == {}
    again = buyer.post(f"/v1/orders/{order['id']}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")
    assert len(stripe.posts(f"/v1/invoices/{invoice_of(order).stripe_id}/void")) == 1


def test_a_license_ends_with_the_void_invoice_that_it_began_with(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = begun(buyer, archive)

    assert buyer.post(f"/v1/orders/{order['id']}/cancel").status_code == 200

    cancelled = order_now(buyer, order)
    assert (cancelled["status"], cancelled["grant"]) == ("cancelled", order["grant"])
    assert grant_status(buyer, order) == "revoked"
    assert balances() == {"buyer_receivable": 0, "seller_payable": 0}


def test_what_was_paid_meanwhile_is_not_cancelled(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    pay_invoice(stripe, order)

    response = buyer.post(f"/v1/orders/{order['id']}/cancel")
    work()

    assert (response.status_code, response.json()["code"]) == (409, "order_wrong_state")
    assert order_now(buyer, order)["status"] == "granted"
    assert made_of(order) == GRANTED_ONCE


def test_an_invoice_that_is_voided_at_stripe_cancels_its_order(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    stripe_gateway.void_invoice(invoice_of(order).stripe_id or "", key="by-hand")
    stripe.wait_for("invoice.voided")

    stripe.deliver()
    work()

    assert order_now(buyer, order)["status"] == "cancelled"
    assert made_of(order)["claims"] == 0


# --- given back -------------------------------------------------------------------------------


def test_a_refund_of_an_invoice_is_a_credit_note_with_its_tax(
    archive: Organization,
    buyer: ApiClient,
    client_for: ClientFor,
    stripe: Stripe,
    settings: Any,
) -> None:
    settings.TAX = {"US": {"basis_points": 1_900}}
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    assert [line["amount"] for line in at_stripe(stripe, order)["lines"]["data"]] == [
        50_000,
        9_500,
    ]
    pay_invoice(stripe, order)
    stripe.deliver()
    work()

    asked = request_refund(client_for(archive), order, amount_minor=11_900)
    assert asked.status_code == 201, asked.content
    for _again in range(3):
        work()
        stripe.deliver()

    assert order_now(buyer, order)["status"] == "partially_refunded"
    [note] = stripe.list("/v1/credit_notes")
    assert note["total"] == 11_900
    assert [line["amount"] for line in note["lines"]["data"]] == [10_000, 1_900]
    [refund] = stripe.list("/v1/refunds")
    assert [each["refund"] for each in note["refunds"]] == [refund["id"]]
    assert balances()["tax_payable"] == -7_600

    assert request_refund(client_for(archive), order).status_code == 201
    for _again in range(3):
        work()
        stripe.deliver()

    assert order_now(buyer, order)["status"] == "refunded"
    notes = stripe.list("/v1/credit_notes")
    assert sorted(each["total"] for each in notes) == [11_900, 47_600]
    assert balances()["tax_payable"] == 0


def test_what_was_paid_to_the_markets_bank_counts_and_is_given_back_from_there(
    archive: Organization, buyer: ApiClient, client_for: ClientFor, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    stripe.mark_paid_outside(invoice_of(order).stripe_id or "")
    stripe.deliver()
    work()

    assert order_now(buyer, order)["status"] == "granted"
    assert balances() == {"bank": 50_000, "buyer_receivable": 0, "seller_payable": -50_000}

    assert request_refund(client_for(archive), order, amount_minor=10_000).status_code == 201
    for _again in range(3):
        work()
        stripe.deliver()

    assert order_now(buyer, order)["status"] == "partially_refunded"
    [note] = stripe.list("/v1/credit_notes")
    assert note["out_of_band_amount"] == 10_000
    assert stripe.list("/v1/refunds") == []
    assert balances() == {"bank": 40_000, "buyer_receivable": 0, "seller_payable": -40_000}


def test_a_transfer_of_what_came_to_the_bank_is_covered_by_our_balance(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    onboarded(archive, stripe)
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    stripe.mark_paid_outside(invoice_of(order).stripe_id or "")
    stripe.deliver()
    work()
    work()

    # Our balance there is empty: it waits for people.
    transfer = transfer_of(order)
    assert (transfer.state, transfer.share_minor) == ("refused", 50_000)
    assert "source_transaction" not in str(stripe.posts("/v1/transfers")[-1])
