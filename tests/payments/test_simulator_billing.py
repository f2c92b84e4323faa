"""Whom an invoice bills, and for what: customers, items, tax rates, balances."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.payments.simulator_account import account
from tests.payments.simulator_invoices import Billing, billing, refused, uncovered

__all__ = ["account", "billing"]

VAT: Any = {"display_name": "VAT", "percentage": 19.0, "inclusive": False}


def rate(billing: Billing, **changed: Any) -> str:
    return billing.v1.tax_rates.create(VAT | changed).id


# --- customers ---------------------------------------------------------------------------------


def test_a_customer_is_kept_found_and_changed(billing: Billing) -> None:
    customer = billing.customer(
        address={"line1": "1 Street", "country": "DE"},
        metadata={"organization": "org_1"},
        preferred_locales=["de"],
        tax_exempt="reverse",
    )
    other = billing.customer(email="other@example.com")

    changed = billing.v1.customers.update(customer.id, {"name": "Lab B", "tax_exempt": ""})

    assert (changed.name, changed.email, changed.tax_exempt) == ("Lab B", "lab@example.com", "none")
    assert changed.address is not None
    assert (changed.address.line1, changed.address.city) == ("1 Street", None)
    assert billing.v1.customers.retrieve(customer.id).name == "Lab B"
    found = billing.v1.customers.list({"email": "other@example.com"}).data
    assert [each.id for each in found] == [other.id]
    assert billing.events() == ["customer.created", "customer.created", "customer.updated"]


def test_an_update_that_changes_nothing_says_nothing(billing: Billing) -> None:
    customer = billing.customer()

    billing.v1.customers.update(customer.id, {"name": "Lab A"})

    assert billing.events() == ["customer.created"]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": f"{'a' * 512}@example.com"}, "email"),
        ({"business_name": "b" * 151}, "business_name"),
        ({"invoice_prefix": "lower"}, "invoice_prefix"),
        ({"tax_exempt": "sometimes"}, "tax_exempt"),
        ({"tax_id_data": [{"type": "eu_vat", "value": "12345"}]}, "tax_id_data[0][value]"),
        ({"tax_id_data": [{"type": "eu_vat", "value": "DE1"}] * 6}, "tax_id_data"),
        ({"metadata": {"k" * 41: "v"}}, f"metadata[{'k' * 41}]"),
    ],
)
def test_a_wrong_customer_is_refused_by_its_parameter(
    billing: Billing, params: dict[str, Any], param: str
) -> None:
    assert refused(lambda: billing.customer(**params)).param == param
    assert billing.v1.customers.list().data == []


def test_tax_ids_stand_with_their_customer(billing: Billing) -> None:
    customer = billing.customer(tax_id_data=[{"type": "eu_vat", "value": "DE123456789"}]).id
    ids = billing.v1.customers.tax_ids

    second = ids.create(customer, {"type": "gb_vat", "value": "GB123456789"})

    assert ids.list(customer).data[0].id == second.id
    assert ids.retrieve(customer, second.id).value == "GB123456789"
    shown = billing.v1.customers.retrieve(customer, {"expand": ["tax_ids"]}).tax_ids
    assert shown is not None
    assert [(each.type, each.country) for each in shown.data] == [
        ("gb_vat", "GB"),
        ("eu_vat", "DE"),
    ]
    stranger = billing.customer().id
    assert refused(ids.retrieve, stranger, second.id).http_status == 404
    assert refused(ids.create, customer, {"type": "eu_vat", "value": "1"}).code == "tax_id_invalid"


def test_what_customers_can_do_beyond_this_is_not_covered(billing: Billing) -> None:
    uncovered(lambda: billing.customer(balance=-100))
    uncovered(lambda: billing.customer(shipping={"name": "x", "address": {"line1": "y"}}))
    uncovered(billing.v1.customers.search, {"query": "email:'x'"})
    uncovered(billing.v1.customers.delete, billing.customer().id)


# --- items -------------------------------------------------------------------------------------


def test_items_without_an_invoice_wait_for_one_that_includes_them(billing: Billing) -> None:
    customer = billing.customer().id
    create = billing.v1.invoice_items.create
    item = create({"customer": customer, "currency": "usd", "amount": 500, "description": "A"})
    create({"customer": customer, "currency": "eur", "amount": 700})
    assert (item.invoice, item.amount, item.quantity) == (None, 500, 1)

    without = billing.draft(customer=customer, lines=())
    including = billing.draft(customer=customer, lines=(), pending_invoice_items_behavior="include")

    assert without.lines.data == []
    assert [(line.description, line.amount) for line in including.lines.data] == [("A", 500)]
    assert billing.v1.invoice_items.retrieve(item.id).invoice == including.id
    pending = billing.v1.invoice_items.list({"customer": customer, "pending": True}).data
    assert [each.currency for each in pending] == ["eur"]
    on_it = billing.v1.invoice_items.list({"invoice": including.id}).data
    assert [each.id for each in on_it] == [item.id]


def test_a_draft_follows_its_items(billing: Billing) -> None:
    draft = billing.draft(lines=())
    item = billing.item(draft, unit_amount_decimal="250", quantity=4, description="Four")
    assert billing.invoice(draft.id).total == 1_000
    (line,) = billing.invoice(draft.id).lines.data

    billing.v1.invoice_items.update(item.id, {"quantity": 2, "metadata": {"a": "b"}})
    changed = billing.invoice(draft.id)
    assert (changed.total, changed.lines.data[0].quantity) == (500, 2)
    assert changed.lines.data[0].id == line.id
    assert changed.lines.data[0].metadata.to_dict() == {"a": "b"}

    gone = billing.v1.invoice_items.delete(item.id)

    assert gone.to_dict() == {"id": item.id, "object": "invoiceitem", "deleted": True}
    assert billing.invoice(draft.id).total == 0
    assert billing.events()[-2:] == ["invoiceitem.deleted", "invoice.updated"]


def test_lines_are_listed_page_by_page(billing: Billing) -> None:
    invoice = billing.open(lines=[(str(n), 100 + n) for n in range(12)])
    find: Any = billing.v1.invoices.line_items.list

    first = find(invoice.id)
    assert ([line.description for line in first.data][-1], first.has_more) == ("9", True)
    rest = find(invoice.id, {"starting_after": first.data[-1].id, "limit": 5})
    assert ([line.description for line in rest.data], rest.has_more) == (["10", "11"], False)
    back = find(invoice.id, {"ending_before": rest.data[0].id, "limit": 2})
    assert ([line.description for line in back.data], back.has_more) == (["8", "9"], True)
    assert refused(find, invoice.id, {"limit": 101}).param == "limit"
    assert refused(find, invoice.id, {"starting_after": "il_none"}).param == "starting_after"


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"amount": 100, "quantity": 2}, "amount"),
        ({"amount": 100, "unit_amount_decimal": "100"}, "amount"),
        ({"description": "For nothing"}, "amount"),
        ({"amount": 100_000_000}, "amount"),
        ({"unit_amount_decimal": "1", "quantity": -1}, "quantity"),
        ({"amount": 100, "currency": "eur"}, "currency"),
        ({"amount": 100, "tax_rates": ["txr_none"]}, "tax_rates[0]"),
        ({"amount": 100, "period": {"start": 2, "end": 1}}, "period[end]"),
        ({"pricing": {"price": "price_none"}}, "pricing[price]"),
        ({"amount": 100, "customer": "cus_none"}, "customer"),
        ({"amount": 100, "invoice": "in_none"}, "invoice"),
    ],
)
def test_a_wrong_item_is_refused_by_its_parameter(
    billing: Billing, params: dict[str, Any], param: str
) -> None:
    draft = billing.draft(lines=())

    assert refused(lambda: billing.item(draft, **params)).param == param
    assert billing.invoice(draft.id).lines.data == []
    assert billing.v1.invoice_items.list().data == []


def test_an_item_needs_a_customer_and_a_currency(billing: Billing) -> None:
    create, customer = billing.v1.invoice_items.create, billing.customer().id

    assert refused(create, {"amount": 1, "currency": "usd"}).param == "customer"
    assert refused(create, {"amount": 1, "customer": customer}).param == "currency"
    uncovered(create, {"customer": customer, "currency": "usd", "unit_amount_decimal": "0.5"})
    draft = billing.draft(lines=())
    assert refused(lambda: billing.item(draft, amount=1, customer=customer)).param == "invoice"


def test_more_than_stripe_charges_is_refused_when_it_is_added(billing: Billing) -> None:
    draft = billing.draft(lines=(("A", 99_999_999),))

    error = refused(lambda: billing.item(draft, amount=1))

    assert error.code == "amount_too_large"
    assert billing.invoice(draft.id).total == 99_999_999


# --- taxes -------------------------------------------------------------------------------------


def test_exclusive_tax_comes_on_top(billing: Billing) -> None:
    draft = billing.draft(lines=())
    billing.item(draft, amount=50_000, tax_rates=[rate(billing)])

    invoice = billing.v1.invoices.finalize_invoice(draft.id)

    assert (invoice.subtotal, invoice.total, invoice.total_excluding_tax) == (
        50_000,
        59_500,
        50_000,
    )
    assert invoice.total_taxes is not None
    assert [(tax.amount, tax.tax_behavior) for tax in invoice.total_taxes] == [(9_500, "exclusive")]
    assert invoice.lines.data[0].amount == 50_000


def test_inclusive_tax_is_in_the_amount(billing: Billing) -> None:
    draft = billing.draft(lines=())
    billing.item(draft, amount=59_500, tax_rates=[rate(billing, inclusive=True)])

    invoice = billing.v1.invoices.finalize_invoice(draft.id)

    assert (invoice.subtotal, invoice.total) == (59_500, 59_500)
    assert (invoice.subtotal_excluding_tax, invoice.total_excluding_tax) == (50_000, 50_000)


def test_an_items_own_rates_go_before_those_of_the_invoice(billing: Billing) -> None:
    whole, half = rate(billing), rate(billing, percentage=9.5)
    draft = billing.draft(lines=(("A", 1_000),), default_tax_rates=[whole])
    billing.item(draft, amount=1_000, tax_rates=[half])

    invoice = billing.invoice(draft.id)

    taxes = [line.taxes for line in invoice.lines.data]
    assert [[tax.amount for tax in found or []] for found in taxes] == [[190], [95]]
    assert invoice.total == 2_285


@pytest.mark.parametrize(
    ("amount", "percentage", "inclusive", "tax"),
    [
        (10, 25.0, False, 3),  # 2.5: halves go up
        (10, 24.9, False, 2),
        (1_000, 8.875, False, 89),  # 88.75
        (100, 7.0, True, 7),  # 6.54…
        (1, 100.0, False, 1),
        (-10, 25.0, False, -3),
        (100, 0.0, False, 0),
    ],
)
def test_tax_is_rounded_to_the_smallest_unit(
    billing: Billing, amount: int, percentage: float, inclusive: bool, tax: int
) -> None:
    draft = billing.draft(lines=())
    one = rate(billing, percentage=percentage, inclusive=inclusive)
    billing.item(draft, amount=amount, tax_rates=[one])

    (line,) = billing.invoice(draft.id).lines.data

    assert line.taxes is not None
    assert [each.amount for each in line.taxes] == [tax]
    assert billing.v1.tax_rates.retrieve(one).percentage == percentage


@pytest.mark.parametrize(
    ("exempt", "reason"), [("exempt", "customer_exempt"), ("reverse", "reverse_charge")]
)
@pytest.mark.parametrize(("inclusive", "total"), [(True, 9_091), (False, 10_000)])
def test_an_exempt_customer_pays_no_tax(
    billing: Billing, exempt: str, reason: str, inclusive: bool, total: int
) -> None:
    """A tax that is in the price is backed out of it, as the table of Stripe's page says."""
    draft = billing.draft(customer=billing.customer(tax_exempt=exempt).id, lines=())
    billing.item(
        draft, amount=10_000, tax_rates=[rate(billing, percentage=10.0, inclusive=inclusive)]
    )

    invoice = billing.invoice(draft.id)

    assert (invoice.total, invoice.customer_tax_exempt) == (total, exempt)
    assert invoice.total_excluding_tax == total
    assert invoice.total_taxes is not None
    assert [(tax.amount, tax.taxability_reason) for tax in invoice.total_taxes] == [(0, reason)]


def test_each_line_is_rounded_by_itself_before_the_taxes_are_added(billing: Billing) -> None:
    """The table of rounding at the level of lines: 90.91 and 4.55 of inclusive tax."""
    ten = rate(billing, percentage=10.0, inclusive=True)
    draft = billing.draft(lines=(("1", 100_000), ("2", 5_000)), default_tax_rates=[ten])

    assert draft.total_taxes is not None
    assert [(tax.amount, tax.taxable_amount) for tax in draft.total_taxes] == [(9_546, 95_454)]
    assert (draft.total, draft.total_excluding_tax) == (105_000, 95_454)


def test_inclusive_and_exclusive_taxes_work_together(billing: Billing) -> None:
    """The amounts after discount of Stripe's table: 4.50 and 9.00 at 5 % within, 7 % on top."""
    rates = [rate(billing, percentage=5.0, inclusive=True), rate(billing, percentage=7.0)]
    draft = billing.draft(lines=(("1", 450), ("2", 900)), default_tax_rates=rates)

    taxes = [[tax.amount for tax in line.taxes or []] for line in draft.lines.data]
    assert taxes == [[21, 30], [43, 60]]
    assert draft.total == 1_440


def test_a_line_has_ten_rates_and_an_invoice_five(billing: Billing) -> None:
    one = rate(billing)
    draft = billing.draft(lines=())

    error = refused(lambda: billing.item(draft, amount=1, tax_rates=[one] * 11))
    assert error.param == "tax_rates"
    error = refused(lambda: billing.draft(default_tax_rates=[one] * 6))
    assert error.param == "default_tax_rates"


def test_a_rate_is_archived_and_never_changes_its_percentage(billing: Billing) -> None:
    one = rate(billing, country="DE", jurisdiction="DE", description="Standard")
    update: Any = billing.v1.tax_rates.update

    assert refused(update, one, {"percentage": 7.0}).param == "percentage"
    assert update(one, {"active": False, "display_name": "Old VAT"}).active is False

    found = billing.v1.tax_rates.list({"active": False}).data
    assert [each.display_name for each in found] == ["Old VAT"]
    assert billing.v1.tax_rates.list({"inclusive": True}).data == []
    draft = billing.draft(lines=())
    error = refused(lambda: billing.item(draft, amount=1, tax_rates=[one]))
    assert error.param == "tax_rates[0]"


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"percentage": 100.5}, "percentage"),
        ({"percentage": -1.0}, "percentage"),
        ({"percentage": 1.00001}, "percentage"),
        ({"display_name": "d" * 51}, "display_name"),
        ({"country": "Germany"}, "country"),
        ({"tax_type": "tithe"}, "tax_type"),
    ],
)
def test_a_wrong_rate_is_refused_by_its_parameter(
    billing: Billing, params: dict[str, Any], param: str
) -> None:
    assert refused(lambda: rate(billing, **params)).param == param
    assert billing.v1.tax_rates.list().data == []


# --- balances ----------------------------------------------------------------------------------


def test_credit_for_the_next_invoice_is_taken_off_it(billing: Billing) -> None:
    customer = billing.customer().id
    paid = billing.paid(customer=customer)
    billing.v1.credit_notes.create({"invoice": paid.id, "amount": 10_000, "credit_amount": 10_000})
    assert billing.v1.customers.retrieve(customer).balance == -10_000

    following = billing.open(customer=customer)

    assert (following.total, following.starting_balance) == (59_500, -10_000)
    assert (following.amount_due, following.ending_balance) == (49_500, 0)
    assert billing.payment(following).amount_requested == 49_500
    assert billing.v1.customers.retrieve(customer).balance == 0
    find = billing.v1.customers.balance_transactions
    moved = find.list(customer).data
    assert [(each.type, each.amount, each.ending_balance) for each in moved] == [
        ("applied_to_invoice", 10_000, 0),
        ("credit_note", -10_000, -10_000),
    ]
    assert find.retrieve(customer, moved[0].id).invoice == following.id


def test_credit_that_covers_an_invoice_pays_it(billing: Billing) -> None:
    customer = billing.customer().id
    paid = billing.paid(customer=customer)
    billing.v1.credit_notes.create({"invoice": paid.id, "amount": 59_500, "credit_amount": 59_500})

    small = billing.open(customer=customer, lines=(("A", 500),))

    assert (small.status, small.amount_due, small.ending_balance) == ("paid", 0, -59_000)
    # Credit is in a currency: it pays nothing in another.
    assert billing.open(customer=customer, currency="eur").amount_due == 59_500


def test_the_balances_of_others_are_not_shown(billing: Billing) -> None:
    customer = billing.customer().id
    billing.open(customer=customer, lines=(("A", 10),))
    (moved,) = billing.v1.customers.balance_transactions.list(customer).data
    stranger = billing.customer().id

    assert billing.v1.customers.balance_transactions.list(stranger).data == []
    error = refused(billing.v1.customers.balance_transactions.retrieve, stranger, moved.id)
    assert error.http_status == 404
    assert isinstance(error, stripe.InvalidRequestError)
