"""Parts of an invoice that are paid each by a payment of its own, in the simulated Stripe."""

from __future__ import annotations

from typing import Any

import pytest

from tests.payments.simulator_account import account
from tests.payments.simulator_invoices import Billing, billing, refused, uncovered
from tests.payments.test_simulator_credit_notes import credit
from tests.payments.test_simulator_shapes import faults_of_answer, get

__all__ = ["account", "billing"]


def pay_part(billing: Billing, invoice: Any, amount: int) -> Any:
    billing.account.control(f"invoices/{invoice.id}/pay", {"amount": amount})
    return billing.invoice(invoice.id, "payments")


def test_a_part_is_paid_by_an_intent_of_its_own(billing: Billing) -> None:
    invoice = billing.open()
    default = billing.intent(invoice)

    after = pay_part(billing, invoice, 20_000)

    assert (after.status, after.amount_paid, after.amount_remaining) == ("open", 20_000, 39_500)
    assert (after.amount_due, after.total) == (59_500, 59_500)
    part, rest = after.payments.data
    assert (part.status, part.amount_paid, part.is_default) == ("paid", 20_000, False)
    # The default payment asks for what remains.
    assert (rest.status, rest.amount_requested, rest.is_default) == ("open", 39_500, True)
    assert billing.v1.payment_intents.retrieve(default.id).amount == 39_500
    assert billing.events()[-1] == "invoice_payment.paid"
    assert "invoice.paid" not in billing.events()


def test_an_invoice_is_paid_once_nothing_remains(billing: Billing) -> None:
    invoice = billing.open()
    pay_part(billing, invoice, 20_000)

    after = pay_part(billing, invoice, 39_500)

    assert (after.status, after.amount_paid, after.amount_remaining) == ("paid", 59_500, 0)
    assert [each.status for each in after.payments.data] == ["paid", "paid", "canceled"]
    assert billing.events().count("invoice.paid") == 1
    assert billing.events().count("invoice_payment.paid") == 2


def test_the_rest_is_paid_on_the_page_or_outside(billing: Billing) -> None:
    on_page, outside = billing.open(), billing.open()
    for invoice in (on_page, outside):
        pay_part(billing, invoice, 20_000)

    billing.account.control(f"invoices/{on_page.id}/pay", {})
    billing.v1.invoices.pay(outside.id, {"paid_out_of_band": True})

    first, second = billing.invoice(on_page.id), billing.invoice(outside.id)
    assert (first.status, first.amount_paid, first.amount_paid_off_stripe) == ("paid", 59_500, 0)
    assert (second.status, second.amount_paid) == ("paid", 59_500)
    assert second.amount_paid_off_stripe == 39_500


@pytest.mark.parametrize("amount", [0, -1, 59_501])
def test_a_part_is_something_and_no_more_than_remains(amount: int, billing: Billing) -> None:
    invoice = billing.open()

    path = f"/_simulator/invoices/{invoice.id}/pay"
    status, error = billing.account.refusal(path, f'{{"amount": {amount}}}'.encode())

    assert (status, error["param"]) == (400, "amount")
    assert billing.invoice(invoice.id).amount_paid == 0
    assert billing.v1.charges.list().data == []


def test_an_invoice_of_which_a_part_was_paid_is_not_voided(billing: Billing) -> None:
    invoice = billing.open()
    pay_part(billing, invoice, 20_000)

    assert "cannot be voided" in str(refused(billing.v1.invoices.void_invoice, invoice.id))
    assert billing.invoice(invoice.id).status == "open"


def test_a_credit_of_a_partly_paid_invoice_takes_first_what_is_owed(billing: Billing) -> None:
    invoice = billing.open()
    pay_part(billing, invoice, 20_000)
    [charge] = billing.v1.charges.list().data
    refund = billing.v1.refunds.create({"charge": charge.id, "amount": 500})

    note = credit(
        billing, invoice, amount=40_000, refunds=[{"type": "refund", "refund": refund.id}]
    )

    assert (note.type, note.pre_payment_amount, note.post_payment_amount) == ("mixed", 39_500, 500)
    assert billing.invoice(invoice.id).status == "paid"


def test_refunds_of_any_of_the_payments_can_be_named(billing: Billing) -> None:
    invoice = billing.open()
    for amount in (20_000, 39_500):
        pay_part(billing, invoice, amount)
    for charge in billing.v1.charges.list().data:
        refund = billing.v1.refunds.create({"charge": charge.id, "amount": 500})
        credit(billing, invoice, amount=500, refunds=[{"type": "refund", "refund": refund.id}])

    assert billing.invoice(invoice.id).post_payment_credit_notes_amount == 1_000
    # Which of them Stripe would refund by itself, its pages do not say.
    uncovered(lambda: credit(billing, invoice, amount=500, refund_amount=500))


def test_parts_have_the_shape_of_the_sdks_classes(billing: Billing) -> None:
    invoice = billing.open()
    pay_part(billing, invoice, 20_000)

    for path in (
        f"/v1/invoices/{invoice.id}?expand[]=payments",
        f"/v1/invoice_payments?invoice={invoice.id}",
    ):
        assert list(faults_of_answer(get(billing.account, path), path)) == []
