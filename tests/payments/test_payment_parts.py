"""Invoices that are paid in several parts, by nothing, or that a balance of the buyer would pay."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from marketplace import access
from marketplace.models import Organization
from payments import orders, reconcile, stripe_events, sync
from payments.models import Journal, Mismatch, Order, PaymentPart, Refund
from tests.payments.buying import (
    GRANTED_ONCE,
    acceptance,
    balances,
    made_of,
    order_now,
    quote_for,
)
from tests.payments.invoicing import invoice_of, invoiced_offer, look_at, ordered_on_invoice
from tests.payments.racing import at_once
from tests.payments.selling import onboarded, request_refund, transfer_of
from tests.payments.simulating import Stripe, work
from tests.payments.test_sync import refused
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def buyer(lab: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(lab)


def settle(stripe: Stripe, times: int = 2) -> None:
    for _again in range(times):
        work()
        stripe.deliver()


def pay_part(stripe: Stripe, order: dict[str, Any], amount: int) -> None:
    stripe.invoice(invoice_of(order).stripe_id or "", "pay", amount=amount)
    stripe.wait_for("invoice_payment.paid")
    stripe.deliver()
    work()


def parts_of(order: dict[str, Any]) -> list[tuple[int, int]]:
    with access.system("read parts in a test"):
        rows = PaymentPart.objects.filter(order=order["id"]).order_by("pk")
        return [(row.amount_minor, row.refunded_minor) for row in rows]


def booked(order: dict[str, Any]) -> int:
    """In how many journals money came in."""
    with access.system("count journals in a test"):
        return Journal.objects.filter(order=order["id"], kind="payment").count()


def row_of(order: dict[str, Any]) -> Order:
    with access.system("read an order in a test"):
        return Order.objects.get(pk=order["id"])


def in_two_parts(
    buyer: ApiClient, seller: Organization, stripe: Stripe, **fields: Any
) -> dict[str, Any]:
    """500.00, paid as 150.00 and 350.00."""
    order = ordered_on_invoice(buyer, invoiced_offer(seller, **fields))
    pay_part(stripe, order, 15_000)
    pay_part(stripe, order, 35_000)
    return order


@pytest.mark.oracle
def test_an_invoice_that_is_paid_in_parts_is_granted_once_it_is_paid_whole(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    onboarded(archive, stripe)
    order = ordered_on_invoice(buyer, invoiced_offer(archive))

    pay_part(stripe, order, 15_000)
    now = order_now(buyer, order)
    assert (now["status"], now["paid_minor"], now["grant"]) == ("awaiting_payment", 0, None)
    found = balances()
    assert (found["buyer_receivable"], found["stripe_clearing"]) == (-15_000, 0)

    pay_part(stripe, order, 35_000)
    look_at(order)
    work()

    now = order_now(buyer, order)
    assert (now["status"], now["paid_minor"]) == ("granted", 50_000)
    assert made_of(order) == GRANTED_ONCE
    assert (parts_of(order), booked(order)) == ([(15_000, 0), (35_000, 0)], 2)
    found = balances()
    assert (found["buyer_receivable"], found["stripe_clearing"]) == (0, 0)
    row = row_of(order)
    charges = stripe.list("/v1/charges")
    fees = [each["fee"] for each in stripe.list("/v1/balance_transactions") if each["fee"]]
    assert (row.settled_minor, row.settled_fee_minor) == (50_000, sum(fees))
    # No charge alone holds the seller's share: our balance covers it, or people see to it.
    assert row.charge is None
    assert {each["amount"] for each in charges} == {15_000, 35_000}
    assert "source_transaction" not in stripe.posts("/v1/transfers")[-1]["params"]
    assert transfer_of(order).share_minor == 50_000


@pytest.mark.oracle
def test_the_largest_charge_is_the_source_where_it_holds_the_sellers_share(
    archive: Organization, buyer: ApiClient, stripe: Stripe, settings: Any
) -> None:
    settings.TAX = {"US": {"basis_points": 5_000}}
    onboarded(archive, stripe)
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    pay_part(stripe, order, 20_000)
    pay_part(stripe, order, 55_000)
    work()

    [sent] = stripe.list("/v1/transfers")
    assert sent["amount"] == 50_000
    assert sent["source_transaction"] == row_of(order).charge
    assert transfer_of(order).state == "sent"


@pytest.mark.oracle
def test_a_refund_goes_back_by_one_of_the_payments(
    archive: Organization, buyer: ApiClient, client_for: ClientFor, stripe: Stripe
) -> None:
    order = in_two_parts(buyer, archive, stripe)
    seller = client_for(archive)

    too_much = request_refund(seller, order)
    assert (too_much.status_code, too_much.json()["code"]) == (409, "refund_too_large")
    assert too_much.json()["left_minor"] == 35_000
    assert stripe.list("/v1/refunds") == []

    for amount in (15_000, 20_000, 15_000):
        assert request_refund(seller, order, amount_minor=amount).status_code == 201
        settle(stripe)

    now = order_now(buyer, order)
    assert (now["status"], now["refunded_minor"]) == ("refunded", 50_000)
    assert parts_of(order) == [(15_000, 15_000), (35_000, 35_000)]
    assert sorted(each["amount"] for each in stripe.list("/v1/refunds")) == [15_000, 15_000, 20_000]
    notes = stripe.list("/v1/credit_notes")
    assert sorted(each["total"] for each in notes) == [15_000, 15_000, 20_000]
    found = balances()
    assert (found["buyer_receivable"], found["seller_payable"]) == (0, 0)


@pytest.mark.oracle
def test_what_cannot_be_granted_goes_back_as_it_came(
    archive: Organization, buyer: ApiClient, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "issue_grant", refused)
    order = in_two_parts(buyer, archive, stripe)
    settle(stripe, times=3)

    assert order_now(buyer, order)["status"] == "refunded"
    assert sorted(each["amount"] for each in stripe.list("/v1/refunds")) == [15_000, 35_000]
    with access.system("read refunds in a test"):
        assert {row.state for row in Refund.objects.filter(order=order["id"])} == {"succeeded"}
    assert balances()["buyer_receivable"] == 0


@pytest.mark.oracle
def test_a_part_by_bank_is_given_back_by_bank(
    archive: Organization, buyer: ApiClient, client_for: ClientFor, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    pay_part(stripe, order, 15_000)
    stripe.mark_paid_outside(invoice_of(order).stripe_id or "")
    settle(stripe)
    assert order_now(buyer, order)["status"] == "granted"
    assert balances()["bank"] == 35_000

    assert request_refund(client_for(archive), order, amount_minor=20_000).status_code == 201
    settle(stripe, times=3)

    assert order_now(buyer, order)["refunded_minor"] == 20_000
    assert stripe.list("/v1/refunds") == []
    found = balances()
    assert (found["bank"], found["buyer_receivable"]) == (15_000, 0)


@pytest.mark.oracle
def test_an_invoice_of_which_a_part_was_paid_is_not_taken_back(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    pay_part(stripe, order, 15_000)

    response = buyer.post(f"/v1/orders/{order['id']}/cancel")

    assert (response.status_code, response.json()["code"]) == (409, "order_wrong_state")
    assert invoice_of(order).status == "open"
    pay_part(stripe, order, 35_000)
    assert order_now(buyer, order)["status"] == "granted"


@pytest.mark.oracle
def test_every_transaction_of_the_parts_is_in_the_journal(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    in_two_parts(buyer, archive, stripe)

    report = reconcile.check_balance(until=timezone.now() + timedelta(minutes=1))

    assert (report.lines, report.new) == (2, 0)


@pytest.mark.oracle
def test_a_refund_made_at_stripe_of_any_part_leads_to_its_order(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = in_two_parts(buyer, archive, stripe)
    for charge in stripe.list("/v1/charges"):
        stripe.post("/v1/refunds", {"charge": charge["id"], "amount": 1_000})
    settle(stripe)

    assert order_now(buyer, order)["refunded_minor"] == 2_000
    assert parts_of(order) == [(15_000, 1_000), (35_000, 1_000)]


# --- nothing came -----------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize("grants_on", ["payment", "issue"])
def test_an_invoice_that_was_credited_whole_before_it_was_paid_is_cancelled(
    grants_on: str, archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive, grants_on=grants_on))
    settle(stripe)

    stripe.post("/v1/credit_notes", {"invoice": invoice_of(order).stripe_id, "amount": 50_000})
    stripe.wait_for("invoice.paid")
    settle(stripe)

    now = order_now(buyer, order)
    assert (now["status"], now["paid_minor"]) == ("cancelled", 0)
    with access.system("read mismatches in a test"):
        assert not Mismatch.objects.exists()
    assert balances().get("buyer_receivable", 0) == 0
    assert stripe.list("/v1/transfers") == stripe.list("/v1/refunds") == []


def test_no_invoice_is_sent_to_who_has_a_balance_at_stripe(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    first = ordered_on_invoice(buyer, invoiced_offer(archive))
    stripe.invoice(invoice_of(first).stripe_id or "", "pay")
    stripe.post(
        "/v1/credit_notes",
        {"invoice": invoice_of(first).stripe_id, "amount": 1_000, "credit_amount": 1_000},
    )
    body = {
        **acceptance(quote_for(buyer, invoiced_offer(archive))),
        "method": "invoice",
        "net_days": 30,
    }

    response = buyer.post("/v1/orders", body)

    problem = response.json()
    assert (response.status_code, problem["code"]) == (409, "order_not_payable")
    assert "The buyer has a balance at Stripe." in problem["detail"]
    order = buyer.get(f"/v1/orders/{problem['order']}").json()
    assert (order["status"], order["invoice"]["status"]) == ("expired", "refused")
    assert made_of(order)["claims"] == 0
    assert len(stripe.list("/v1/invoices")) == 1
    [customer] = stripe.list("/v1/customers")
    assert customer["balance"] == -1_000


# --- at once ----------------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_looks_at_once_book_each_part_once(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    order_id = row_of(order).pk
    for amount in (15_000, 35_000):
        stripe.invoice(invoice_of(order).stripe_id or "", "pay", amount=amount)
    stripe.wait_for("invoice_payment.paid")
    stripe.deliver()
    look_at(order)

    results = at_once(
        *[lambda: stripe_events.handle_due()] * 2,
        *[lambda: sync.complete_due()] * 2,
        *[lambda: sync.sync_order(order_id)] * 2,
    )

    assert not [one for one in results if isinstance(one, Exception)]
    assert (len(parts_of(order)), booked(order)) == (2, 2)
    assert made_of(order) == GRANTED_ONCE
    assert balances()["buyer_receivable"] == 0


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_refunds_asked_for_at_once_take_no_more_of_a_part_than_it_holds(
    archive: Organization, buyer: ApiClient, client_for: ClientFor, stripe: Stripe
) -> None:
    order = in_two_parts(buyer, archive, stripe)
    clients = [client_for(archive) for _each in range(4)]

    responses = at_once(
        *(
            lambda client=client: request_refund(client, order, amount_minor=15_000)
            for client in clients
        )
    )
    settle(stripe, times=3)

    statuses = sorted(response.status_code for response in responses)
    assert statuses == [201, 201, 201, 409]
    assert parts_of(order) == [(15_000, 15_000), (35_000, 30_000)]
    assert sum(each["amount"] for each in stripe.list("/v1/refunds")) == 45_000
