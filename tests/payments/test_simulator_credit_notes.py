"""Credit notes: less is owed on an open invoice, and a paid one is given back in part."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.payments.simulator_account import account
from tests.payments.simulator_invoices import Billing, billing, refused, uncovered

__all__ = ["account", "billing"]


def credit(billing: Billing, billed: stripe.Invoice, **params: Any) -> stripe.CreditNote:
    given: Any = {"invoice": billed.id} | params
    return billing.v1.credit_notes.create(given)


def of_line(invoice: stripe.Invoice, number: int = 0, **params: Any) -> dict[str, Any]:
    id = invoice.lines.data[number].id
    return {"type": "invoice_line_item", "invoice_line_item": id} | params


def taxed(billing: Billing, amount: int = 50_000, quantity: int = 1) -> stripe.Invoice:
    """A paid invoice with 19 % on top."""
    rate = billing.v1.tax_rates.create(
        {"display_name": "VAT", "percentage": 19.0, "inclusive": False}
    )
    draft = billing.draft(lines=())
    unit = {"unit_amount_decimal": str(amount), "quantity": quantity}
    billing.item(draft, description="License", tax_rates=[rate.id], **unit)
    invoice = billing.v1.invoices.finalize_invoice(draft.id)
    billing.account.control(f"invoices/{invoice.id}/pay", {})
    return billing.invoice(invoice.id)


def check_refused(billing: Billing, billed: stripe.Invoice, **params: Any) -> Any:
    """A refused credit note leaves no trace."""
    before, events = billing.invoice(billed.id).to_dict(), billing.events()
    error = refused(lambda: credit(billing, billed, **params))
    assert billing.invoice(billed.id).to_dict() == before
    assert billing.events() == events
    assert billing.v1.refunds.list().data == []
    return error


def test_a_refund_of_a_part_is_a_refund_of_the_charge(billing: Billing) -> None:
    invoice = billing.paid()

    note = credit(
        billing,
        invoice,
        lines=[of_line(invoice, 0, amount=10_000), of_line(invoice, 1, amount=1_900)],
        refund_amount=11_900,
        reason="order_change",
        memo="Fewer works",
        metadata={"refund": "rf_1"},
    )

    assert (note.total, note.type, note.status) == (11_900, "post_payment", "issued")
    assert (note.pre_payment_amount, note.post_payment_amount) == (0, 11_900)
    assert note.number == f"{invoice.number}-CN-01"
    (named,) = note.refunds
    refund = billing.v1.refunds.retrieve(str(named.refund))
    charge = billing.charge(invoice)
    assert (refund.amount, refund.charge) == (11_900, charge.id)
    assert (named.amount_refunded, charge.amount_refunded) == (11_900, 11_900)
    after = billing.invoice(invoice.id)
    assert (after.status, after.post_payment_credit_notes_amount) == ("paid", 11_900)
    assert after.amount_paid == 59_500


def test_a_credit_for_an_open_invoice_reduces_what_is_due(billing: Billing) -> None:
    invoice = billing.open()

    note = credit(billing, invoice, lines=[of_line(invoice, amount=10_000)])

    assert (note.type, note.pre_payment_amount, note.refunds) == ("pre_payment", 10_000, [])
    after = billing.invoice(invoice.id)
    assert (after.amount_due, after.amount_remaining) == (49_500, 49_500)
    assert (after.total, after.pre_payment_credit_notes_amount) == (59_500, 10_000)
    assert billing.payment(invoice).amount_requested == 49_500
    billing.account.control(f"invoices/{invoice.id}/pay", {})
    assert billing.charge(invoice).amount == 49_500
    assert billing.invoice(invoice.id).amount_paid == 49_500


def test_a_credit_of_everything_pays_an_open_invoice(billing: Billing) -> None:
    invoice = billing.open()

    credit(billing, invoice, amount=59_500)

    after = billing.invoice(invoice.id)
    assert (after.status, after.amount_remaining, after.amount_paid) == ("paid", 0, 0)
    assert billing.intent(invoice).status == "canceled"
    assert billing.events()[-1] == "invoice.paid"
    assert billing.v1.charges.list().data == []


@pytest.mark.parametrize(
    "parts",
    [
        {"refund_amount": 900},
        {"credit_amount": 900},
        {"out_of_band_amount": 900},
        {"refund_amount": 400, "credit_amount": 300, "out_of_band_amount": 200},
    ],
)
def test_what_was_paid_goes_back_in_parts_that_add_up(
    billing: Billing, parts: dict[str, int]
) -> None:
    invoice = billing.paid()

    note = credit(billing, invoice, amount=900, **parts)

    assert note.post_payment_amount == 900
    assert sum(each.amount_refunded for each in note.refunds) == parts.get("refund_amount", 0)
    assert note.out_of_band_amount == parts.get("out_of_band_amount")
    assert (note.customer_balance_transaction is not None) == ("credit_amount" in parts)
    assert billing.charge(invoice).amount_refunded == parts.get("refund_amount", 0)


@pytest.mark.parametrize(
    "parts", [{}, {"refund_amount": 899}, {"refund_amount": 900, "credit_amount": 1}]
)
def test_parts_that_do_not_add_up_are_refused(billing: Billing, parts: dict[str, int]) -> None:
    error = check_refused(billing, billing.paid(), amount=900, **parts)

    assert "must equal" in str(error)


def test_nothing_goes_back_of_what_was_never_paid(billing: Billing) -> None:
    error = check_refused(billing, billing.open(), amount=900, refund_amount=900)

    assert "must equal" in str(error)


def test_no_more_is_credited_than_was_billed(billing: Billing) -> None:
    invoice = billing.paid()
    assert "greater than" in str(
        check_refused(billing, invoice, amount=59_501, refund_amount=59_501)
    )
    credit(billing, invoice, amount=59_000, out_of_band_amount=59_000)

    error = check_refused(billing, invoice, amount=501, out_of_band_amount=501)

    assert (error.http_status, error.param) == (400, "amount")
    credit(billing, invoice, amount=500, out_of_band_amount=500)


def test_no_more_is_credited_on_an_open_invoice_than_is_due(billing: Billing) -> None:
    invoice = billing.open()
    credit(billing, invoice, amount=50_000)

    assert "greater than" in str(check_refused(billing, invoice, amount=9_501))


def test_refunds_without_a_credit_note_count_against_what_can_be_credited(
    billing: Billing,
) -> None:
    invoice = billing.paid()
    refund = billing.v1.refunds.create({"charge": billing.charge(invoice).id, "amount": 50_000})

    error = refused(lambda: credit(billing, invoice, amount=9_501, out_of_band_amount=9_501))
    assert "greater than" in str(error)
    note = credit(billing, invoice, amount=50_000, refunds=[{"refund": refund.id}])

    assert [(each.refund, each.amount_refunded) for each in note.refunds] == [(refund.id, 50_000)]
    assert billing.charge(invoice).amount_refunded == 50_000
    credit(billing, invoice, amount=9_500, refund_amount=9_500)
    assert billing.charge(invoice).refunded is True


def test_a_refund_is_named_by_credit_notes_once(billing: Billing) -> None:
    invoice, other = billing.paid(), billing.paid()
    refund = billing.v1.refunds.create({"charge": billing.charge(invoice).id, "amount": 1_000})
    part = {"refund": refund.id, "amount_refunded": 600}
    credit(billing, invoice, amount=600, refunds=[part])

    error = refused(lambda: credit(billing, invoice, amount=600, refunds=[part]))
    assert error.param == "refunds[0][amount_refunded]"
    error = refused(lambda: credit(billing, other, amount=600, refunds=[part]))
    assert error.param == "refunds[0][refund]"
    note = credit(billing, invoice, amount=400, refunds=[{"refund": refund.id}])

    assert note.refunds[0].amount_refunded == 400


def test_an_invoice_paid_outside_of_stripe_has_nothing_to_refund(billing: Billing) -> None:
    invoice = billing.v1.invoices.pay(billing.open().id, {"paid_out_of_band": True})

    assert check_refused(billing, invoice, amount=100, refund_amount=100).param == "refund_amount"
    assert credit(billing, invoice, amount=100, out_of_band_amount=100).refunds == []


# --- lines and taxes ---------------------------------------------------------------------------


def test_a_line_is_credited_with_its_share_of_the_tax(billing: Billing) -> None:
    invoice = taxed(billing)
    assert invoice.total == 59_500

    note = credit(billing, invoice, lines=[of_line(invoice, amount=5_000)], refund_amount=5_950)

    assert (note.subtotal, note.total, note.total_excluding_tax) == (5_000, 5_950, 5_000)
    (line,) = note.lines.data
    assert (line.amount, line.description) == (5_000, "License")
    assert [tax.amount for tax in line.taxes or []] == [950]
    assert [rate.percentage for rate in line.tax_rates] == [19.0]


def test_parts_of_a_line_have_its_tax_together(billing: Billing) -> None:
    invoice = taxed(billing, amount=101)
    assert invoice.total == 120

    notes = [
        credit(billing, invoice, lines=[of_line(invoice, amount=part)], out_of_band_amount=total)
        for part, total in ((50, 59), (50, 60), (1, 1))
    ]

    # 9 + 10 + 0 of tax: rounded each for itself it would be 10 + 10 + 0.
    assert [note.total - note.subtotal for note in notes] == [9, 10, 0]
    assert sum(note.total for note in notes) == invoice.total


def test_a_line_is_credited_by_quantity(billing: Billing) -> None:
    invoice = taxed(billing, amount=1_000, quantity=3)

    note = credit(billing, invoice, lines=[of_line(invoice, quantity=2)], refund_amount=2_380)

    (line,) = note.lines.data
    assert (line.quantity, line.unit_amount, line.amount) == (2, 1_000, 2_000)
    error = refused(
        lambda: credit(billing, invoice, lines=[of_line(invoice, quantity=2)], refund_amount=2_380)
    )
    assert error.param == "lines[0][quantity]"


def test_a_line_is_not_credited_by_amount_and_by_quantity(billing: Billing) -> None:
    invoice = taxed(billing, amount=1_000, quantity=3)
    credit(billing, invoice, lines=[of_line(invoice, quantity=1)], refund_amount=1_190)

    error = refused(
        lambda: credit(billing, invoice, lines=[of_line(invoice, amount=100)], refund_amount=119)
    )

    assert error.param == "lines[0]"
    credit(billing, invoice, lines=[of_line(invoice, quantity=2)], refund_amount=2_380)


def test_a_line_of_its_own_has_the_rates_that_it_names(billing: Billing) -> None:
    invoice = taxed(billing)
    rate = invoice.lines.data[0].taxes
    assert rate is not None
    assert rate[0].tax_rate_details is not None
    line = {
        "type": "custom_line_item",
        "description": "Goodwill",
        "unit_amount": 100,
        "quantity": 2,
        "tax_rates": [rate[0].tax_rate_details.tax_rate],
    }

    note = credit(billing, invoice, lines=[line], refund_amount=238)

    assert (note.subtotal, note.total) == (200, 238)
    assert note.lines.data[0].type == "custom_line_item"


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": 1, "refund_amount": -1}, "refund_amount"),
        ({"amount": 1, "reason": "bored"}, "reason"),
        ({"amount": 1, "memo": "m" * 5001}, "memo"),
        ({"amount": 1, "refunds": [{"amount_refunded": 1}]}, "refunds[0][refund]"),
        ({"amount": 1, "refunds": [{"refund": "re_none"}]}, "refunds[0][refund]"),
        ({"amount": 1, "invoice": "in_none"}, "invoice"),
        (
            {"lines": [{"type": "invoice_line_item", "amount": 1}]},
            "lines[0][invoice_line_item]",
        ),
        (
            {"lines": [{"type": "invoice_line_item", "invoice_line_item": "il_none", "amount": 1}]},
            "lines[0][invoice_line_item]",
        ),
        ({"lines": [{"type": "custom_line_item", "unit_amount": 1}]}, "lines[0][description]"),
        (
            {"lines": [{"type": "custom_line_item", "unit_amount": 0, "description": "d"}]},
            "lines[0][unit_amount]",
        ),
    ],
)
def test_a_wrong_credit_note_is_refused_by_its_parameter(
    billing: Billing, params: dict[str, Any], param: str
) -> None:
    assert check_refused(billing, billing.paid(), **params).param == param


def test_a_line_is_credited_by_amount_or_quantity_and_not_beyond_itself(
    billing: Billing,
) -> None:
    invoice = billing.paid()

    for line, param in (
        (of_line(invoice), "lines[0][amount]"),
        (of_line(invoice, amount=1, quantity=1), "lines[0][amount]"),
        (of_line(invoice, amount=50_001), "lines[0][amount]"),
        (of_line(invoice, amount=0), "lines[0][amount]"),
    ):
        assert check_refused(billing, invoice, lines=[line], refund_amount=1).param == param
    lines = [of_line(invoice, amount=100)]
    error = check_refused(billing, invoice, lines=lines, amount=99, refund_amount=99)
    assert error.param == "amount"


# --- afterwards --------------------------------------------------------------------------------


def test_a_credit_note_is_voided_as_long_as_its_invoice_is_open(billing: Billing) -> None:
    invoice = billing.open()
    note = credit(billing, invoice, amount=10_000)

    voided = billing.v1.credit_notes.void_credit_note(note.id)

    assert (voided.status, voided.voided_at is not None) == ("void", True)
    after = billing.invoice(invoice.id)
    assert (after.amount_due, after.amount_remaining) == (59_500, 59_500)
    assert after.pre_payment_credit_notes_amount == 0
    assert billing.payment(invoice).amount_requested == 59_500
    assert billing.events()[-2:] == ["credit_note.voided", "invoice.updated"]
    assert "already void" in str(refused(billing.v1.credit_notes.void_credit_note, note.id))
    # What is void counts no more, but for its number.
    assert credit(billing, invoice, amount=59_500).number == f"{invoice.number}-CN-02"


def test_a_credit_note_of_a_paid_invoice_stays(billing: Billing) -> None:
    invoice = billing.paid()
    note = credit(billing, invoice, amount=100, refund_amount=100)

    error = refused(billing.v1.credit_notes.void_credit_note, note.id)

    assert error.http_status == 400
    assert billing.v1.credit_notes.retrieve(note.id).status == "issued"


def test_events_tell_of_a_credit_note(billing: Billing) -> None:
    invoice = billing.paid()
    before = len(billing.events())

    note = credit(billing, invoice, amount=100, refund_amount=100)
    billing.v1.credit_notes.update(note.id, {"memo": "Sorry", "metadata": {"a": "b"}})
    billing.v1.credit_notes.update(note.id, {"memo": "Sorry"})

    assert billing.events()[before:] == [
        "charge.refunded",
        "refund.created",
        "refund.updated",
        "credit_note.created",
        "invoice.updated",
        "credit_note.updated",
    ]


def test_a_preview_shows_the_note_and_makes_none(billing: Billing) -> None:
    invoice = billing.paid()
    events = billing.events()

    note = billing.v1.credit_notes.preview(
        {"invoice": invoice.id, "amount": 100, "refund_amount": 100}
    )

    assert (note.total, note.post_payment_amount) == (100, 100)
    assert billing.v1.credit_notes.list().data == []
    assert billing.v1.refunds.list().data == []
    assert billing.events() == events


def test_credit_notes_are_found_by_invoice_and_customer(billing: Billing) -> None:
    first, second = billing.open(), billing.open()
    notes = [credit(billing, each, amount=100) for each in (first, second)]
    find: Any = billing.v1.credit_notes.list

    assert [each.id for each in find({"invoice": first.id}).data] == [notes[0].id]
    assert [each.id for each in find({"customer": second.customer}).data] == [notes[1].id]
    lines = billing.v1.credit_notes.line_items.list(notes[0].id)
    assert [line.amount for line in lines.data] == [100]
    expanded = billing.v1.credit_notes.retrieve(notes[0].id, {"expand": ["invoice.customer"]})
    assert isinstance(expanded.invoice, stripe.Invoice)
    assert isinstance(expanded.invoice.customer, stripe.Customer)


def test_the_refunds_of_a_credit_note_expand(billing: Billing) -> None:
    note = credit(billing, billing.paid(), amount=100, refund_amount=100, expand=["refunds.refund"])

    (named,) = note.refunds
    assert isinstance(named.refund, stripe.Refund)
    assert named.refund.amount == 100


def test_a_lost_answer_credits_once(billing: Billing) -> None:
    invoice = billing.paid()
    billing.account.control("faults", {"drop_response": 1, "path": "/v1/credit_notes"})

    note = credit(billing, invoice, amount=100, refund_amount=100)

    assert [each.id for each in billing.v1.credit_notes.list().data] == [note.id]
    assert billing.charge(invoice).amount_refunded == 100


def test_what_credit_notes_can_do_beyond_this_is_not_covered(billing: Billing) -> None:
    invoice = billing.paid()
    for params in (
        {"shipping_cost": {"shipping_rate": "shr_1"}},
        {"lines": [of_line(invoice, amount=1, tax_amounts="")]},
        {"amount": 1, "refunds": [{"type": "payment_record_refund"}]},
    ):
        uncovered(lambda params=params: credit(billing, invoice, **params))
    less = billing.open(lines=(("A", 500), ("Discount", -100)))
    uncovered(lambda: credit(billing, less, lines=[of_line(less, 1, amount=-50)]))
    assert billing.v1.credit_notes.list().data == []
