"""Invoices: drafts, what becomes of them, who pays them, and what time does to them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.payments.simulator_account import account, wait_until
from tests.payments.simulator_invoices import DAY, Billing, billing, refused, uncovered

__all__ = ["account", "billing"]

STATES = ("draft", "open", "paid", "uncollectible", "void")


def test_an_invoice_with_two_lines_and_an_order_number_is_finalized_and_sent(
    billing: Billing,
) -> None:
    draft = billing.draft()
    assert (draft.status, draft.number, draft.hosted_invoice_url) == ("draft", None, None)

    invoice = billing.v1.invoices.send_invoice(draft.id)

    assert (invoice.status, invoice.total, invoice.amount_due) == ("open", 59_500, 59_500)
    assert (invoice.amount_paid, invoice.amount_remaining) == (0, 59_500)
    assert [(line.description, line.amount) for line in invoice.lines.data] == [
        ("License", 50_000),
        ("Tax", 9_500),
    ]
    assert invoice.custom_fields is not None
    assert [(field.name, field.value) for field in invoice.custom_fields] == [
        ("Purchase order", "PO-4711")
    ]
    assert invoice.due_date == invoice.created + 30 * DAY
    assert invoice.hosted_invoice_url == f"{billing.account.url}/invoice/{invoice.id}"
    assert invoice.number is not None
    assert invoice.number.endswith("-0001")
    assert invoice.status_transitions.finalized_at is not None


@pytest.mark.parametrize("days", [14, 30, 60])
def test_days_until_due_count_from_the_creation(billing: Billing, days: int) -> None:
    invoice = billing.draft(days_until_due=days)

    assert invoice.due_date == invoice.created + days * DAY


def test_numbers_count_up_for_each_customer(billing: Billing) -> None:
    prefix = "LAB"
    customer = billing.customer(invoice_prefix=prefix).id
    numbers = [billing.open(customer=customer).number for _each in range(2)]

    assert numbers == ["LAB-0001", "LAB-0002"]
    assert billing.v1.customers.retrieve(customer).next_invoice_sequence == 3
    assert billing.open(customer=customer, number="2026-17").number == "2026-17"


# What each verb does in each state: the state after it, or None where it is refused.
# https://docs.stripe.com/invoicing/integration/workflow-transitions
AFTER: dict[str, tuple[str | None, ...]] = {
    #                     draft    open             paid    uncollectible    void
    "finalize": ("open", None, None, None, None),
    "send": ("open", "open", "paid", None, None),
    "void": (None, "void", None, "void", None),
    "mark_uncollectible": (None, "uncollectible", None, None, None),
    "pay_outside": (None, "paid", None, "paid", None),
    "delete": ("gone", None, None, None, None),
    "describe": ("draft", None, None, None, None),
    "note": ("draft", "open", "paid", "uncollectible", "void"),
    "add_item": ("draft", None, None, None, None),
    "delete_item": ("draft", None, None, None, None),
    "credit": (None, "open", "paid", None, None),
}


def say(billing: Billing, verb: str, id: str) -> None:
    v1, invoice = billing.v1, billing.invoice(id)
    match verb:
        case "finalize":
            v1.invoices.finalize_invoice(id)
        case "send":
            v1.invoices.send_invoice(id)
        case "void":
            v1.invoices.void_invoice(id)
        case "mark_uncollectible":
            v1.invoices.mark_uncollectible(id)
        case "pay_outside":
            v1.invoices.pay(id, {"paid_out_of_band": True})
        case "delete":
            v1.invoices.delete(id)
        case "describe":
            v1.invoices.update(id, {"description": "Other words"})
        case "note":
            v1.invoices.update(id, {"metadata": {"seen": "1"}})
        case "add_item":
            billing.item(invoice, amount=100)
        case "delete_item":
            parent = invoice.lines.data[0].parent
            assert parent is not None
            assert parent.invoice_item_details is not None
            v1.invoice_items.delete(parent.invoice_item_details.invoice_item)
        case "credit":
            paid: Any = {"refund_amount": 100} if invoice.status == "paid" else {}
            v1.credit_notes.create({"invoice": id, "amount": 100, **paid})
        case _:
            raise AssertionError(verb)


@pytest.mark.parametrize("verb", AFTER)
@pytest.mark.parametrize("state", STATES)
def test_each_verb_is_allowed_or_refused_in_each_state(
    billing: Billing, state: str, verb: str
) -> None:
    invoice = billing.in_state(state)
    after = AFTER[verb][STATES.index(state)]
    before, events = billing.invoice(invoice.id).to_dict(), billing.events()

    if after is None and (verb, state) == ("pay_outside", "draft"):
        uncovered(say, billing, verb, invoice.id)
    elif after is None:
        assert refused(say, billing, verb, invoice.id).http_status == 400
    else:
        say(billing, verb, invoice.id)

    if after == "gone":
        assert refused(billing.invoice, invoice.id).http_status == 404
    else:
        assert billing.invoice(invoice.id).status == (after or state)
    if after is None:
        assert billing.invoice(invoice.id).to_dict() == before
        assert billing.events() == events


@pytest.mark.parametrize(
    ("state", "is_paid"),
    [("draft", False), ("open", True), ("paid", True), ("uncollectible", True), ("void", False)],
)
def test_a_card_pays_what_is_open_or_written_off(
    billing: Billing, state: str, is_paid: bool
) -> None:
    invoice = billing.in_state(state)
    path = f"/_simulator/invoices/{invoice.id}/pay"

    if is_paid:
        billing.account.http(path, b"{}")
    else:
        assert billing.account.refusal(path, b"{}")[0] == 400

    assert billing.invoice(invoice.id).status == ("paid" if is_paid else state)
    assert len(billing.v1.charges.list().data) == (1 if is_paid else 0)


@pytest.mark.parametrize(
    ("verb", "state", "words"),
    [
        ("finalize", "open", "already finalized"),
        ("pay_outside", "paid", "already paid"),
        ("void", "paid", "cannot be voided"),
        ("void", "draft", "isn't open"),
        ("mark_uncollectible", "uncollectible", "already been marked uncollectible"),
        ("delete", "open", "only delete draft invoices"),
    ],
)
def test_a_refusal_says_what_is_wrong(billing: Billing, verb: str, state: str, words: str) -> None:
    invoice = billing.in_state(state)

    assert words in str(refused(say, billing, verb, invoice.id))


def test_an_item_on_a_finalized_invoice_is_not_editable(billing: Billing) -> None:
    error = refused(say, billing, "add_item", billing.open().id)

    assert (error.code, error.param) == ("invoice_not_editable", "invoice")


# --- paying ------------------------------------------------------------------------------------


def test_the_charge_that_paid_is_found_through_the_invoices_payment(billing: Billing) -> None:
    invoice = billing.paid()

    payment, charge = billing.payment(invoice), billing.charge(invoice)

    assert (payment.status, payment.amount_paid, payment.is_default) == ("paid", 59_500, True)
    assert (charge.amount, charge.paid, charge.customer) == (59_500, True, invoice.customer)
    assert (invoice.amount_paid, invoice.amount_remaining) == (59_500, 0)
    assert invoice.status_transitions.paid_at is not None
    same = billing.v1.invoice_payments.retrieve(payment.id)
    assert same.payment.payment_intent == charge.payment_intent
    found = billing.v1.invoice_payments.list(
        {"payment": {"type": "payment_intent", "payment_intent": str(charge.payment_intent)}}
    ).data
    assert [each.invoice for each in found] == [invoice.id]


def test_the_payments_of_an_invoice_are_shown_where_they_are_asked_for(billing: Billing) -> None:
    invoice = billing.paid()

    assert "payments" not in invoice.to_dict()
    expanded = billing.invoice(invoice.id, "payments.data.payment.payment_intent")
    assert expanded.payments is not None
    intent = expanded.payments.data[0].payment.payment_intent
    assert not isinstance(intent, str)
    assert intent is not None
    assert intent.status == "succeeded"
    assert (
        refused(
            billing.invoice, invoice.id, "payments.data.payment.payment_intent.latest_charge"
        ).param
        == "expand"
    )


def test_finalizing_makes_an_intent_that_waits_and_charges_nothing(billing: Billing) -> None:
    invoice = billing.open()

    payment, intent = billing.payment(invoice), billing.intent(invoice)

    assert (payment.status, payment.amount_requested, payment.amount_paid) == ("open", 59_500, None)
    assert (intent.amount, intent.status) == (59_500, "requires_payment_method")
    assert intent.latest_charge is None


def test_the_invoices_metadata_stays_with_the_invoice(billing: Billing) -> None:
    invoice = billing.paid()

    assert billing.intent(invoice).metadata.to_dict() == {}
    assert billing.charge(invoice).metadata.to_dict() == {}
    assert invoice.metadata is not None
    assert invoice.metadata.to_dict() == {"order": "ord_1"}


def test_a_declined_card_leaves_the_invoice_open_to_pay_otherwise(billing: Billing) -> None:
    invoice = billing.open()
    for _attempt in range(2):
        billing.account.control(f"invoices/{invoice.id}/decline", {})

    declined = billing.invoice(invoice.id)
    assert (declined.status, declined.attempted, declined.attempt_count) == ("open", True, 1)
    intent = billing.intent(invoice)
    assert intent.last_payment_error is not None
    assert intent.last_payment_error.code == "card_declined"
    billing.account.control(f"invoices/{invoice.id}/pay", {})

    assert billing.invoice(invoice.id).status == "paid"
    assert billing.intent(invoice).id == intent.id
    assert len(billing.v1.charges.list().data) == 3


def test_paying_twice_charges_once(billing: Billing) -> None:
    invoice = billing.paid()

    billing.account.control(f"invoices/{invoice.id}/pay", {})

    assert len(billing.v1.charges.list().data) == 1
    assert billing.events().count("invoice.paid") == 1


def test_many_who_pay_at_once_charge_once(billing: Billing) -> None:
    invoice = billing.open()
    path = f"/_simulator/invoices/{invoice.id}/pay"

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _n: billing.account.http(path, b"{}"), range(8)))

    assert [answer["status"] for answer in answers] == ["paid"] * 8
    assert len(billing.v1.charges.list().data) == 1
    assert billing.events().count("invoice_payment.paid") == 1


def test_what_was_paid_outside_of_stripe_has_no_charge(billing: Billing) -> None:
    invoice = billing.v1.invoices.pay(billing.open().id, {"paid_out_of_band": True})

    assert (invoice.status, invoice.amount_paid, invoice.amount_remaining) == ("paid", 59_500, 0)
    assert invoice.amount_paid_off_stripe == 59_500
    assert billing.v1.charges.list().data == []
    assert billing.payment(invoice).status == "canceled"
    assert billing.intent(invoice).status == "canceled"
    assert "invoice.payment_succeeded" not in billing.events()


def test_nobody_here_has_a_card_on_file(billing: Billing) -> None:
    invoice = billing.open()

    assert "default payment method" in str(refused(billing.v1.invoices.pay, invoice.id))
    uncovered(billing.v1.invoices.pay, invoice.id, {"payment_method": "pm_1"})
    assert billing.invoice(invoice.id).status == "open"


def test_voiding_cancels_the_payment_and_keeps_the_amounts(billing: Billing) -> None:
    invoice = billing.v1.invoices.void_invoice(billing.open().id)

    assert (invoice.status, invoice.total) == ("void", 59_500)
    assert invoice.status_transitions.voided_at is not None
    intent = billing.intent(invoice)
    assert (intent.status, intent.cancellation_reason) == ("canceled", "void_invoice")
    assert billing.payment(invoice).status == "canceled"


def test_writing_off_says_why_and_when(billing: Billing) -> None:
    invoice = billing.in_state("uncollectible")

    assert invoice.status_transitions.marked_uncollectible_at is not None
    assert invoice.status_details is not None
    assert invoice.status_details.uncollectible is not None
    assert invoice.status_details.uncollectible.reason == "user_forgiven"


def test_a_lost_answer_finalizes_once(billing: Billing) -> None:
    draft = billing.draft()
    billing.account.control("faults", {"drop_response": 1, "path": f"/v1/invoices/{draft.id}"})

    invoice = billing.v1.invoices.finalize_invoice(draft.id)

    assert invoice.status == "open"
    assert billing.events().count("invoice.finalized") == 1
    assert billing.events().count("payment_intent.created") == 1


# --- events and time ---------------------------------------------------------------------------


def test_events_tell_the_life_of_an_invoice(billing: Billing) -> None:
    invoice = billing.v1.invoices.send_invoice(billing.draft(lines=(("License", 100),)).id)
    billing.account.control(f"invoices/{invoice.id}/decline", {})
    billing.account.control(f"invoices/{invoice.id}/pay", {})

    assert billing.events() == [
        "customer.created",
        "invoice.created",
        "invoiceitem.created",
        "invoice.updated",
        "payment_intent.created",
        "invoice.updated",
        "invoice.finalized",
        "invoice.sent",
        "charge.failed",
        "payment_intent.payment_failed",
        "invoice.updated",
        "invoice.payment_failed",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
    ]


@pytest.mark.parametrize(
    ("state", "type"),
    [("void", "invoice.voided"), ("uncollectible", "invoice.marked_uncollectible")],
)
def test_an_end_without_payment_has_its_event(billing: Billing, state: str, type: str) -> None:
    billing.in_state(state)

    assert billing.events().count(type) == 1


def test_an_invoice_is_late_once_its_date_is_over(billing: Billing) -> None:
    invoice = billing.open(days_until_due=14)
    clock = billing.account.control

    clock("clock", {"advance_seconds": 7 * DAY - 60})
    assert "invoice.will_be_due" not in billing.events()
    clock("clock", {"advance_seconds": 60})
    assert billing.events().count("invoice.will_be_due") == 1
    clock("clock", {"advance_seconds": 7 * DAY})
    clock("clock", {"advance_seconds": 7 * DAY})

    assert billing.events().count("invoice.overdue") == 1
    assert billing.events().count("invoice.will_be_due") == 1
    assert billing.invoice(invoice.id).status == "open"
    customer = billing.v1.customers.retrieve(str(invoice.customer))
    assert customer.delinquent is True
    billing.account.control(f"invoices/{invoice.id}/pay", {})
    assert billing.v1.customers.retrieve(str(invoice.customer)).delinquent is False


@pytest.mark.parametrize("state", ["paid", "void", "uncollectible", "draft"])
def test_what_nobody_owes_is_never_late(billing: Billing, state: str) -> None:
    billing.in_state(state)

    billing.account.control("clock", {"advance_seconds": 40 * DAY})

    assert {"invoice.overdue", "invoice.will_be_due"} & set(billing.events()) == set()


def test_time_is_noticed_without_being_told(billing: Billing) -> None:
    billing.v1.invoices.finalize_invoice(billing.draft(due_date=int(time.time()) + 1).id)

    wait_until(lambda: "invoice.overdue" in billing.events(), billing.events)


def test_a_draft_advances_by_itself_after_an_hour(billing: Billing) -> None:
    draft = billing.draft(auto_advance=True)
    assert draft.automatically_finalizes_at == draft.created + 3600

    billing.account.control("clock", {"advance_seconds": 3600})

    assert billing.invoice(draft.id).status == "open"
    assert billing.events().count("invoice.sent") == 1


@pytest.mark.parametrize(("auto_advance", "sent"), [(True, 1), (False, 0)])
def test_what_collects_itself_is_sent_when_it_is_final(
    billing: Billing, auto_advance: bool, sent: int
) -> None:
    billing.v1.invoices.finalize_invoice(billing.draft().id, {"auto_advance": auto_advance})

    assert billing.events().count("invoice.sent") == sent


def test_a_draft_that_is_finalized_too_late_is_late_at_once(billing: Billing) -> None:
    draft = billing.draft(auto_advance=True)

    billing.account.control("clock", {"advance_seconds": 40 * DAY})

    assert billing.invoice(draft.id).status == "open"
    assert billing.events().count("invoice.overdue") == 1
    billing.account.control("clock", {"advance_seconds": DAY})
    assert billing.events().count("invoice.overdue") == 1


def test_a_draft_that_advances_by_itself_can_be_stopped(billing: Billing) -> None:
    draft = billing.draft(auto_advance=True)
    billing.v1.invoices.update(draft.id, {"auto_advance": False})

    billing.account.control("clock", {"advance_seconds": 3600})

    assert billing.invoice(draft.id).status == "draft"


def test_a_draft_that_cannot_be_finalized_says_why(billing: Billing) -> None:
    draft = billing.draft(auto_advance=True, currency="isk", lines=(("License", 10_050),))

    billing.account.control("clock", {"advance_seconds": 3600})

    stopped = billing.invoice(draft.id)
    assert (stopped.status, stopped.auto_advance) == ("draft", False)
    assert stopped.last_finalization_error is not None
    assert stopped.last_finalization_error.type == "invalid_request_error"
    assert billing.events()[-1] == "invoice.finalization_failed"


# --- what is due -------------------------------------------------------------------------------


def test_an_invoice_of_nothing_is_paid_at_once(billing: Billing) -> None:
    invoice = billing.open(lines=(("Free license", 0),))

    assert (invoice.status, invoice.amount_due, invoice.attempted) == ("paid", 0, True)
    assert billing.v1.payment_intents.list().data == []
    assert billing.v1.invoice_payments.list({"invoice": invoice.id}).data == []
    assert billing.events()[-1] == "invoice.paid"
    assert "invoice.payment_succeeded" not in billing.events()


def test_too_little_to_charge_is_left_to_the_next_invoice(billing: Billing) -> None:
    customer = billing.customer().id
    assert billing.open(customer=customer, lines=(("Least", 50),)).amount_due == 50
    small = billing.open(customer=customer, lines=(("Sample", 49),))
    assert (small.status, small.amount_due, small.ending_balance) == ("paid", 0, 49)
    assert billing.v1.customers.retrieve(customer).balance == 49

    draft = billing.draft(customer=customer)
    assert (draft.amount_due, draft.amount_remaining) == (59_549, 59_549)
    assert (draft.ending_balance, billing.v1.customers.retrieve(customer).balance) == (None, 49)
    large = billing.v1.invoices.finalize_invoice(draft.id)

    assert (large.starting_balance, large.amount_due, large.ending_balance) == (49, 59_549, 0)
    moved = billing.v1.customers.balance_transactions.list(customer).data
    assert [(each.type, each.amount) for each in moved] == [
        ("applied_to_invoice", -49),
        ("invoice_too_small", 49),
    ]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"custom_fields": [{"name": "n", "value": "v"}] * 5}, "custom_fields"),
        ({"custom_fields": [{"name": "n" * 41, "value": "v"}]}, "custom_fields[0][name]"),
        ({"custom_fields": [{"name": "n", "value": "v" * 141}]}, "custom_fields[0][value]"),
        ({"days_until_due": -1}, "days_until_due"),
        ({"due_date": 1_900_000_000, "days_until_due": 30}, "due_date"),
        ({"number": "9" * 27}, "number"),
        ({"currency": "xyz"}, "currency"),
        ({"customer": "cus_none"}, "customer"),
        ({"default_tax_rates": ["txr_none"]}, "default_tax_rates[0]"),
        ({"footer": "f" * 5001}, "footer"),
        ({"transfer_group": "ord_1"}, "transfer_group"),
    ],
)
def test_a_wrong_invoice_is_refused_by_its_parameter(
    billing: Billing, params: dict[str, Any], param: str
) -> None:
    assert refused(lambda: billing.draft(**params)).param == param
    assert billing.v1.invoices.list().data == []


def test_an_invoice_that_is_sent_needs_a_date_and_an_address(billing: Billing) -> None:
    customer = billing.v1.customers.create({"name": "No address"}).id
    create = billing.v1.invoices.create

    without = {"customer": billing.customer().id, "collection_method": "send_invoice"}
    assert "days_until_due" in str(refused(create, without))
    error = refused(create, without | {"customer": customer, "days_until_due": 30})
    assert "Missing email" in str(error)
    past = without | {"due_date": int(time.time()) - 60}
    assert refused(create, past).param == "due_date"
    assert billing.v1.invoices.list().data == []


def test_what_invoices_can_do_beyond_this_is_not_covered(billing: Billing) -> None:
    create, customer = billing.v1.invoices.create, billing.customer().id
    for params in (
        {"customer": customer},
        {"customer": customer, "collection_method": "charge_automatically"},
        {"customer": customer, "transfer_data": {"destination": "acct_1"}},
    ):
        uncovered(create, params)
    for changed in (
        {"automatic_tax": {"enabled": True}},
        {"discounts": [{"coupon": "x"}]},
        {"payment_settings": {"payment_method_types": ["sepa_debit"]}},
        {"rendering": {"template": "x"}},
    ):
        uncovered(lambda changed=changed: billing.draft(**changed))
    assert billing.v1.invoices.list().data == []


# --- changing and finding ----------------------------------------------------------------------


def test_a_draft_changes_and_is_deleted_with_its_items(billing: Billing) -> None:
    draft = billing.draft(default_tax_rates=[])
    changed = billing.v1.invoices.update(
        draft.id,
        {
            "description": "Words",
            "days_until_due": 60,
            "custom_fields": "",
            "metadata": {"order": ""},
            "rendering": {"pdf": {"page_size": "a4"}},
        },
    )
    assert (changed.description, changed.custom_fields) == ("Words", None)
    assert changed.due_date == draft.created + 60 * DAY
    assert changed.rendering is not None
    assert changed.rendering.pdf is not None
    assert changed.rendering.pdf.page_size == "a4"

    gone = billing.v1.invoices.delete(draft.id)

    assert gone.to_dict() == {"id": draft.id, "object": "invoice", "deleted": True}
    assert billing.v1.invoice_items.list().data == []
    (event,) = billing.account.client.v1.events.list({"type": "invoice.deleted"}).data
    assert event.request is not None
    assert gone.last_response is not None
    assert event.request.id == gone.last_response.request_id


def test_only_metadata_changes_on_a_finalized_invoice(billing: Billing) -> None:
    invoice = billing.open()
    update = billing.v1.invoices.update

    assert refused(update, invoice.id, {"due_date": invoice.created + DAY}).param == "due_date"
    changed = update(invoice.id, {"metadata": {"seen": "1"}})

    assert changed.metadata is not None
    assert changed.metadata.to_dict() == {"order": "ord_1", "seen": "1"}
    assert changed.due_date == invoice.due_date


def test_invoices_are_found_by_customer_state_and_date(billing: Billing) -> None:
    first, second = billing.open(days_until_due=14), billing.paid(days_until_due=60)
    assert first.due_date is not None
    find: Any = billing.v1.invoices.list

    assert [each.id for each in find().data] == [second.id, first.id]
    assert [each.id for each in find({"status": "open"}).data] == [first.id]
    assert [each.id for each in find({"customer": second.customer}).data] == [second.id]
    assert [each.id for each in find({"due_date": {"gt": first.due_date}}).data] == [second.id]
    assert [each.id for each in find({"due_date": first.due_date}).data] == [first.id]
    assert find({"created": {"lt": first.created}}).data == []


def test_a_draft_shows_its_customer_as_it_is_and_a_final_one_as_it_was(billing: Billing) -> None:
    customer = billing.customer(tax_id_data=[{"type": "eu_vat", "value": "DE123456789"}]).id
    final, draft = billing.open(customer=customer), billing.draft(customer=customer)

    billing.v1.customers.update(customer, {"name": "Lab B", "address": {"city": "Oslo"}})

    assert billing.invoice(final.id).customer_name == "Lab A"
    renamed = billing.invoice(draft.id)
    assert renamed.customer_name == "Lab B"
    assert renamed.customer_address is not None
    assert renamed.customer_address.city == "Oslo"
    assert renamed.customer_tax_ids is not None
    assert [each.value for each in renamed.customer_tax_ids] == ["DE123456789"]
