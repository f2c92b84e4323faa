"""Invoices that are paid otherwise than they were asked for, and what people are told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from marketplace import access
from marketplace.models import Audit, Organization, User
from payments import reconcile, refunds, stripe_gateway
from payments.models import Mismatch, Order, Refund, Transfer
from payments.stripe_facts import InvoiceFacts, PaymentFacts, RefundFacts
from tests.payments.buying import balances, order_now
from tests.payments.invoicing import (
    at_stripe,
    invoice_of,
    invoiced_offer,
    look_at,
    make_due,
    ordered_on_invoice,
    pay_invoice,
)
from tests.payments.racing import at_once
from tests.payments.selling import onboarded, request_refund, reversals_of
from tests.payments.simulating import Stripe, work
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def buyer(lab: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(lab)


@pytest.fixture
def operator(db: None) -> User:
    return User.objects.create(email="op@example.org", name="Op", is_operator=True)


def settle(stripe: Stripe, times: int = 3) -> None:
    for _again in range(times):
        work()
        stripe.deliver()


def paid_otherwise(
    order: dict[str, Any], amount_minor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have Stripe say that an invoice is paid, with this much."""
    invoice = invoice_of(order).stripe_id or ""
    payment = PaymentFacts("pi_1", amount_minor, None, "", charge="ch_1")
    facts = InvoiceFacts(invoice, "paid", "USD", payment=payment)
    monkeypatch.setattr(stripe_gateway, "retrieve_invoice", lambda id: facts)
    look_at(order)
    work()


def mismatches(**wanted: Any) -> list[tuple[str, int | None, int | None]]:
    with access.system("read mismatches in a test"):
        rows = Mismatch.objects.filter(**{"resolved_at": None, **wanted}).order_by("pk")
        return [(row.kind, row.expected_minor, row.found_minor) for row in rows]


def acts_on(order: dict[str, Any]) -> list[str]:
    with access.system("read the audit in a test"):
        rows = Audit.objects.filter(subject=order["id"]).order_by("pk")
        return [row.action for row in rows]


# --- given up ---------------------------------------------------------------------------------


def test_the_audit_says_cancelled_once_the_invoice_is_void(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))

    for _again in range(2):
        assert buyer.post(f"/v1/orders/{order['id']}/cancel").status_code == 200

    assert acts_on(order) == ["order.placed", "order.cancel_asked", "order.cancelled"]
    with access.system("read the audit in a test"):
        actors = set(Audit.objects.filter(subject=order["id"]).values_list("actor", flat=True))
    assert len(actors) == 1


def test_an_order_that_was_paid_a_moment_before_is_not_cancelled_in_the_audit(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    pay_invoice(stripe, order)

    response = buyer.post(f"/v1/orders/{order['id']}/cancel")
    settle(stripe)

    assert (response.status_code, response.json()["code"]) == (409, "order_wrong_state")
    assert acts_on(order) == ["order.placed", "order.cancel_asked"]
    assert order_now(buyer, order)["status"] == "granted"
    assert invoice_of(order).void_asked_at is None


# --- another amount ---------------------------------------------------------------------------


@pytest.mark.parametrize("paid_minor", [40_000, pytest.param(60_000, marks=pytest.mark.oracle)])
def test_another_amount_for_what_began_with_its_invoice_is_a_mismatch(
    paid_minor: int,
    archive: Organization,
    buyer: ApiClient,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    onboarded(archive, stripe)
    order = ordered_on_invoice(buyer, invoiced_offer(archive, grants_on="issue"))
    settle(stripe, times=1)

    for _again in range(2):
        paid_otherwise(order, paid_minor, monkeypatch)

    now = order_now(buyer, order)
    assert (now["status"], now["paid_minor"]) == ("granted", paid_minor)
    assert mismatches() == [("paid_differs", 50_000, paid_minor)]
    # The rest is owed, by one side or the other.
    assert balances()["buyer_receivable"] == 50_000 - paid_minor
    with access.system("see its age"):
        assert Mismatch.objects.get().since is not None
    # What came short is not sent on before somebody decided.
    with access.system("look for what is sent on"):
        assert Transfer.objects.filter(order=order["id"]).exists() == (paid_minor > 50_000)


@pytest.mark.oracle
def test_what_was_paid_too_much_goes_back_from_nobodys_share(
    archive: Organization,
    buyer: ApiClient,
    client_for: ClientFor,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive, grants_on="issue"))
    settle(stripe, times=1)
    paid_otherwise(order, 60_000, monkeypatch)
    facts = stripe_gateway.retrieve_invoice("")
    given_back(facts, 10_000, monkeypatch)
    look_at(order)
    work()

    assert order_now(buyer, order)["status"] == "granted"
    found = balances()
    assert (found["buyer_receivable"], found["seller_payable"]) == (0, -50_000)
    reconcile.check_balance()
    assert mismatches(kind="paid_differs") == []

    given_back(facts, 35_000, monkeypatch)
    look_at(order)
    work()

    assert order_now(buyer, order)["status"] == "partially_refunded"
    assert balances()["seller_payable"] == -25_000


def given_back(facts: InvoiceFacts, amount_minor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Stripe say that people gave something back there: one refund each, 10,000 the first."""
    assert facts.payment is not None
    first = RefundFacts("re_1", "succeeded", 10_000)
    rest = amount_minor - 10_000
    more = (RefundFacts("re_2", "succeeded", rest),) if rest else ()
    payment = replace(facts.payment, refunds=(first, *more))
    changed = replace(facts, payment=payment)
    monkeypatch.setattr(stripe_gateway, "retrieve_invoice", lambda id: changed)


@pytest.mark.oracle
def test_a_payment_that_comes_to_a_void_invoice_is_a_mismatch(
    archive: Organization, buyer: ApiClient, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive, grants_on="issue"))
    settle(stripe, times=1)
    assert buyer.post(f"/v1/orders/{order['id']}/cancel").status_code == 200
    before = balances()

    paid_otherwise(order, 50_000, monkeypatch)

    assert order_now(buyer, order)["status"] == "cancelled"
    assert mismatches() == [("paid_differs", 0, 50_000)]
    assert balances() == before


# --- a refund that comes back -----------------------------------------------------------------


def refund_that_failed(
    buyer: ApiClient, seller: ApiClient, archive: Organization, stripe: Stripe
) -> tuple[dict[str, Any], str]:
    """119.00 of 595.00 went back, with a credit note; the buyer's bank did not take it."""
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    pay_invoice(stripe, order)
    settle(stripe, times=2)
    refund = request_refund(seller, order, amount_minor=11_900).json()["id"]
    settle(stripe)
    [at_stripes] = stripe.list("/v1/refunds")
    stripe.fail_refund(at_stripes["id"])
    stripe.wait_for("refund.failed")
    settle(stripe)
    return order, refund


@pytest.mark.oracle
def test_a_refund_that_fails_leaves_its_credit_note_and_is_owed_to_the_buyer(
    archive: Organization,
    buyer: ApiClient,
    client_for: ClientFor,
    operator: User,
    stripe: Stripe,
    settings: Any,
) -> None:
    settings.TAX = {"US": {"basis_points": 1_900}}
    order, refund = refund_that_failed(buyer, client_for(archive), archive, stripe)

    [note] = stripe.list("/v1/credit_notes")
    assert (note["status"], note["total"]) == ("issued", 11_900)
    # The price is less, and so is its tax: what is open is that the buyer has not got it.
    found = balances()
    assert found["buyer_receivable"] == -11_900
    assert (found["seller_payable"], found["tax_payable"]) == (-40_000, -7_600)
    assert mismatches() == [("refund_failed", 0, -11_900)]
    assert at_stripe(stripe, order)["post_payment_credit_notes_amount"] == 11_900

    for _again in range(2):
        call_command("refund", "paid-outside", refund, operator="op@example.org")

    found = balances()
    assert (found["buyer_receivable"], found["bank"]) == (0, -11_900)
    assert (found["seller_payable"], found["tax_payable"]) == (-40_000, -7_600)
    assert mismatches() == []
    assert acts_on({"id": refund})[-1:] == ["refund.paid_outside"]


@pytest.mark.oracle
def test_what_people_give_back_again_at_stripe_pays_what_came_back(
    archive: Organization,
    buyer: ApiClient,
    client_for: ClientFor,
    operator: User,
    stripe: Stripe,
) -> None:
    _order, refund = refund_that_failed(buyer, client_for(archive), archive, stripe)
    [charge] = stripe.list("/v1/charges")

    stripe.post("/v1/refunds", {"charge": charge["id"], "amount": 11_900})
    settle(stripe)

    found = balances()
    assert (found["buyer_receivable"], found["seller_payable"]) == (0, -38_100)
    assert found.get("dispute_losses", 0) == 0
    reconcile.check_balance()
    assert mismatches(kind="refund_failed") == []
    with pytest.raises(CommandError, match="not owed"):
        call_command("refund", "paid-outside", refund, operator="op@example.org")
    assert balances() == found


@pytest.mark.oracle
def test_a_credit_note_for_a_refund_that_failed_before_it_says_outside(
    archive: Organization, buyer: ApiClient, client_for: ClientFor, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    pay_invoice(stripe, order)
    settle(stripe, times=2)
    stripe.fail("/v1/credit_notes", status=500, times=1_000)
    assert request_refund(client_for(archive), order, amount_minor=10_000).status_code == 201
    settle(stripe, times=2)
    [refund] = stripe.list("/v1/refunds")
    stripe.fail_refund(refund["id"])
    stripe.wait_for("refund.failed")
    stripe.deliver()
    work()
    stripe.stop_failing()
    for _again in range(3):
        make_due()
        settle(stripe, times=1)

    [note] = stripe.list("/v1/credit_notes")
    assert (note["total"], note["out_of_band_amount"], note["refunds"]) == (10_000, 10_000, [])
    assert balances()["buyer_receivable"] == -10_000


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_two_operators_at_once_pay_a_failed_refund_once(
    archive: Organization,
    buyer: ApiClient,
    client_for: ClientFor,
    operator: User,
    stripe: Stripe,
) -> None:
    _order, refund = refund_that_failed(buyer, client_for(archive), archive, stripe)

    results = at_once(*[lambda: refunds.pay_outside(operator, refund)] * 4)

    assert [one.pk for one in results] == [Refund._meta.pk.to_python(refund)] * 4
    assert balances()["bank"] == -11_900
    assert acts_on({"id": refund}).count("refund.paid_outside") == 1


# --- what people give back at Stripe's dashboard ----------------------------------------------


def credited_by_hand(
    order: dict[str, Any], stripe: Stripe, amount_minor: int, **how: int
) -> dict[str, Any]:
    """Somebody credits a part of an invoice that was paid by card."""
    fields = {"invoice": invoice_of(order).stripe_id, "amount": amount_minor, **how}
    note: dict[str, Any] = stripe.post("/v1/credit_notes", fields)
    stripe.wait_for("credit_note.created")
    settle(stripe)
    return note


def paid_by_card(buyer: ApiClient, archive: Organization, stripe: Stripe) -> dict[str, Any]:
    onboarded(archive, stripe)
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    pay_invoice(stripe, order)
    settle(stripe, times=2)
    return order


@pytest.mark.oracle
def test_what_people_give_back_by_bank_of_an_invoice_paid_by_card_is_a_refund(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    """Seen to fail: the order stayed granted, and its seller kept the whole share."""
    order = paid_by_card(buyer, archive, stripe)
    part = credited_by_hand(order, stripe, 20_000, out_of_band_amount=20_000)

    now = order_now(buyer, order)
    assert (now["status"], now["refunded_minor"]) == ("partially_refunded", 20_000)
    with access.system("read a refund in a test"):
        refund = Refund.objects.get()
    assert (refund.cause, refund.state, refund.stripe_id) == ("stripe", "succeeded", part["id"])
    found = balances()
    assert (found["bank"], found["seller_payable"]) == (-20_000, 0)
    assert (found["buyer_receivable"], found["stripe_clearing"]) == (0, 0)
    assert [each.state for each in reversals_of(order)] == ["done"]
    assert stripe.list("/v1/refunds") == []

    credited_by_hand(order, stripe, 30_000, out_of_band_amount=30_000)

    assert order_now(buyer, order)["status"] == "refunded"
    with access.system("read a grant in a test"):
        assert Order.objects.select_related("grant").get().grant.status == "revoked"
    assert balances()["bank"] == -50_000
    assert reconcile.check_balance().new == 0


@pytest.mark.oracle
def test_what_was_given_back_by_bank_beside_a_refund_is_each_counted_once(
    archive: Organization, buyer: ApiClient, client_for: ClientFor, stripe: Stripe
) -> None:
    order = paid_by_card(buyer, archive, stripe)
    assert request_refund(client_for(archive), order, amount_minor=10_000).status_code == 201
    settle(stripe)
    credited_by_hand(order, stripe, 20_000, out_of_band_amount=20_000)
    look_at(order)
    settle(stripe)

    now = order_now(buyer, order)
    assert (now["status"], now["refunded_minor"]) == ("partially_refunded", 30_000)
    found = balances()
    assert (found["bank"], found["buyer_receivable"]) == (-20_000, 0)
    assert found.get("dispute_losses", 0) == 0
    assert len(stripe.list("/v1/credit_notes")) == 2


@pytest.mark.parametrize("is_closed", [False, pytest.param(True, marks=pytest.mark.oracle)])
def test_credit_that_people_give_a_buyer_at_stripe_is_a_mismatch(
    is_closed: bool, archive: Organization, buyer: ApiClient, stripe: Stripe, operator: User
) -> None:
    """Seen to fail: nobody was told."""
    order = paid_by_card(buyer, archive, stripe)
    before = balances()
    note = credited_by_hand(order, stripe, 20_000, credit_amount=20_000)

    assert mismatches() == [("credit_unbooked", 20_000, 0)]
    assert order_now(buyer, order)["status"] == "granted"
    assert balances() == before
    with access.system("read a mismatch in a test"):
        row = Mismatch.objects.get()
    assert (row.subject, str(row.order_id)) == (note["id"], order["id"])
    if is_closed:
        call_command(
            "reconcile", close=str(row.pk), operator=operator.email, note="For the next one."
        )
        look_at(order)
        settle(stripe)
        assert mismatches() == []
