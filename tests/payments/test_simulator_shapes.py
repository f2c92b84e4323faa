"""What the simulator answers has the shape of the SDK's classes: nothing invented or missing."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import stripe
from stripe.events._event_classes import get_v2_event_class

from tests.payments.simulator_account import Account, account, line

__all__ = ["account"]

# Every class that an answer may name by its "object".
CLASSES: dict[str, type] = {
    "tax.calculation": stripe.tax.Calculation,
    "tax.calculation_line_item": stripe.tax.CalculationLineItem,
    "tax.transaction": stripe.tax.Transaction,
    "tax.transaction_line_item": stripe.tax.TransactionLineItem,
    "balance": stripe.Balance,
    "balance_transaction": stripe.BalanceTransaction,
    "charge": stripe.Charge,
    "checkout.session": stripe.checkout.Session,
    "credit_note": stripe.CreditNote,
    "credit_note_line_item": stripe.CreditNoteLineItem,
    "customer": stripe.Customer,
    "customer_balance_transaction": stripe.CustomerBalanceTransaction,
    "dispute": stripe.Dispute,
    "event": stripe.Event,
    "invoice": stripe.Invoice,
    "invoice_payment": stripe.InvoicePayment,
    "invoiceitem": stripe.InvoiceItem,
    "item": stripe.LineItem,
    "line_item": stripe.InvoiceLineItem,
    "list": stripe.ListObject,
    "payment_intent": stripe.PaymentIntent,
    "payout": stripe.Payout,
    "price": stripe.Price,
    "refund": stripe.Refund,
    "transfer": stripe.Transfer,
    "transfer_reversal": stripe.TransferReversal,
    "v2.core.account": stripe.v2.core.Account,
    "v2.core.account_link": stripe.v2.core.AccountLink,
    "v2.core.event": stripe.v2.core.Event,
    "tax_id": stripe.TaxId,
    "tax_rate": stripe.TaxRate,
}


def faults(annotation: Any, value: Any, path: str) -> Iterator[str]:
    """Where a value differs from what the SDK says it is."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {typing.Union, types.UnionType}:
        yield from _faults_of_union(arguments, value, path)
    elif annotation is type(None) or value is None:
        if annotation is not type(None) or value is not None:
            yield f"{path}: {value!r} for {annotation}"
    elif isinstance(annotation, typing.ForwardRef | str):
        named = annotation if isinstance(annotation, str) else annotation.__forward_arg__
        # So the SDK names it where it also has a Dispute of another kind.
        named = named.removesuffix("Resource")
        if not isinstance(value, dict) or CLASSES[value["object"]].__name__ != named:
            yield f"{path}: {value!r:.80} for {named}"
        else:
            yield from faults_of_object(CLASSES[value["object"]], value, path)
    elif origin in {typing.Literal}:
        if value not in arguments:
            yield f"{path}: {value!r} is none of {arguments}"
    elif origin is list:
        for number, each in enumerate(value):
            yield from faults(arguments[0], each, f"{path}[{number}]")
    elif origin is stripe.ListObject:
        yield from faults_of_object(stripe.ListObject, value, path)
    elif "UntypedStripeObject" in str(annotation):
        if not isinstance(value, dict):
            yield f"{path}: {value!r:.80} is no map"
    elif annotation in (Decimal,):
        Decimal(value)
    elif isinstance(annotation, type) and issubclass(annotation, stripe.StripeObject):
        yield from faults_of_object(annotation, value, path)
    elif isinstance(annotation, type):
        if type(value) is not annotation:
            yield f"{path}: {value!r} for {annotation.__name__}"
    elif annotation is not Any and not isinstance(annotation, typing.TypeVar):
        yield f"{path}: cannot judge {annotation}"


def _faults_of_union(options: tuple[Any, ...], value: Any, path: str) -> Iterator[str]:
    """None of the options fits. Enums are written open; here they are closed."""
    if any(typing.get_origin(option) is typing.Literal for option in options):
        options = tuple(option for option in options if option is not str)
    found = [list(faults(option, value, path)) for option in options]
    if all(found):
        yield from min(found, key=len)


def faults_of_object(cls: type, value: Any, path: str) -> Iterator[str]:
    annotations = {
        name: annotation
        for each in reversed(cls.__mro__)
        if issubclass(each, stripe.StripeObject) and each is not stripe.StripeObject
        for name, annotation in inspect.get_annotations(each).items()
        if typing.get_origin(annotation) is not typing.ClassVar and not name.startswith("_")
    }
    if cls is stripe.ListObject:
        annotations["object"] = typing.Literal["list"]
    if not isinstance(value, dict):
        yield f"{path}: {value!r:.80} is no object"
        return
    for name in value.keys() - annotations.keys():
        yield f"{path}.{name}: invented"
    for name, annotation in annotations.items():
        if name in value:
            if name == "data" and cls is stripe.ListObject:
                for number, each in enumerate(value["data"]):
                    yield from faults_of_answer(each, f"{path}.data[{number}]")
            else:
                yield from faults(annotation, value[name], f"{path}.{name}")
        elif type(None) not in typing.get_args(annotation):
            yield f"{path}.{name}: missing"


def faults_of_answer(value: Any, path: str) -> Iterator[str]:
    if "object" not in value:
        # A list of API version 2.
        yield from faults(str | None, value["next_page_url"], f"{path}.next_page_url")
        yield from (f"{path}.{name}: invented" for name in value.keys() - {"data", "next_page_url"})
        for number, each in enumerate(value["data"]):
            yield from faults_of_answer(each, f"{path}.data[{number}]")
        return
    cls = CLASSES[value["object"]]
    if value["object"] == "v2.core.event":
        # Each type of event has a class of its own.
        cls = get_v2_event_class(value["type"]) or cls
    yield from faults_of_object(cls, value, path)
    if value["object"] == "event":
        yield from faults_of_answer(value["data"]["object"], f"{path}.data.object")


def get(account: Account, path: str) -> Any:
    return account.http(path, Authorization="Bearer sk_test_devstripe_shapes")


def hard_cases(account: Account) -> None:
    """Objects in each state that payments come to when something goes wrong."""
    control, evidence = account.control, {"evidence": {"customer_name": "A"}}
    control("settlement", {"currency": "eur", "rates": {"usd": "0.92"}})
    for text in ("processing_error", "expired_card"):
        control(f"sessions/{account.open().id}/decline", {"decline_code": text})
    for end in ("", "fail_authentication", "authenticate"):
        session = account.open()
        control(f"sessions/{session.id}/require_action", {})
        if end:
            control(f"sessions/{session.id}/{end}", {})
    for currency in ("usd", "eur"):
        for end in ("", "settle", "bounce"):
            session = account.open(line_items=[line("A", 5_000, currency=currency)])
            control(f"sessions/{session.id}/debit", {})
            if end:
                control(f"sessions/{session.id}/{end}", {})
            if end == "settle":
                intent = account.retrieve(session.id).payment_intent
                assert isinstance(intent, str)
                account.client.v1.refunds.create({"payment_intent": intent})
    for card in ("refund_pending", "refund_fails"):
        session = account.open()
        control(f"sessions/{session.id}/pay", {"card": card})
        intent = account.retrieve(session.id).payment_intent
        assert isinstance(intent, str)
        refund = account.client.v1.refunds.create({"payment_intent": intent})
        control(f"refunds/{refund.id}/fail", {})
    for status, end in (
        ("needs_response", "win"),
        ("warning_needs_response", "escalate"),
        ("lost", ""),
    ):
        intent = account.paid().payment_intent
        assert isinstance(intent, stripe.PaymentIntent)
        assert isinstance(intent.latest_charge, stripe.Charge)
        dispute = control(f"charges/{intent.latest_charge.id}/dispute", {"status": status})["id"]
        if end:
            account.client.v1.disputes.update(dispute, evidence)  # type: ignore[arg-type]
            control(f"disputes/{dispute}/{end}", {})


def test_every_answer_has_the_shape_of_the_sdks_classes(account: Account) -> None:
    is_open = account.open()
    declined = account.open()
    account.control(f"sessions/{declined.id}/decline", {})
    expired = account.open()
    account.client.v1.checkout.sessions.expire(expired.id)
    paid = account.paid()
    assert isinstance(paid.payment_intent, stripe.PaymentIntent)
    intent = paid.payment_intent.id
    account.client.v1.refunds.create(
        {"payment_intent": intent, "amount": 100, "reason": "duplicate", "metadata": {"a": "b"}}
    )
    account.client.v1.refunds.create({"payment_intent": intent})
    hard_cases(account)

    seen: set[str] = set()
    found: list[str] = []
    for path in (
        "/v1/checkout/sessions?limit=100&expand[]=data.line_items&expand[]=data.payment_intent.latest_charge",
        f"/v1/checkout/sessions/{is_open.id}/line_items",
        f"/v1/checkout/sessions/{paid.id}",
        "/v1/payment_intents?limit=100",
        "/v1/charges?limit=100&expand[]=data.refunds&expand[]=data.balance_transaction",
        "/v1/refunds?limit=100&expand[]=data.charge&expand[]=data.balance_transaction",
        "/v1/balance_transactions?limit=100&expand[]=data.source",
        "/v1/disputes?expand[]=data.charge&expand[]=data.payment_intent",
        "/v1/events?limit=100",
    ):
        answer = get(account, path)
        found += faults_of_answer(answer, path)
        seen |= {each["object"] for each in answer.get("data", [answer])}

    assert found == []
    assert seen == {
        "balance_transaction",
        "charge",
        "checkout.session",
        "dispute",
        "event",
        "item",
        "payment_intent",
        "refund",
    }


def test_every_delivered_event_has_the_shape_of_the_sdks_classes(account: Account) -> None:
    session = account.paid()
    assert isinstance(session.payment_intent, stripe.PaymentIntent)
    account.client.v1.refunds.create({"payment_intent": session.payment_intent.id})
    events = get(account, "/v1/events?limit=100")["data"]

    assert [list(faults_of_answer(event, event["type"])) for event in events] == [[]] * 7
    assert {event["api_version"] for event in events} == {stripe.api_version}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"color": "red"}, "charge.color: invented"),
        ({"amount": "100"}, "charge.amount: '100' for int"),
        ({"amount": None}, "charge.amount: None for <class 'int'>"),
        ({"status": "lost"}, "charge.status: 'lost' is none of"),
        ({"fraud_details": {"x": 1}}, "charge.fraud_details.x: invented"),
        ({"billing_details": None}, "charge.billing_details: None for"),
    ],
)
def test_a_wrong_shape_would_be_found(account: Account, change: dict[str, Any], fault: str) -> None:
    account.paid()
    (charge,) = get(account, "/v1/charges")["data"]

    found = list(faults_of_answer(charge | change, "charge"))

    assert len(found) == 1
    assert found[0].startswith(fault)


def test_a_missing_field_would_be_found(account: Account) -> None:
    account.paid()
    (charge,) = get(account, "/v1/charges")["data"]
    del charge["amount"]

    assert list(faults_of_answer(charge, "charge")) == ["charge.amount: missing"]


def test_error_codes_are_codes_that_stripe_has() -> None:
    """The SDK lists Stripe's codes with the last error of a payment intent."""
    annotation = stripe.PaymentIntent.LastPaymentError.__annotations__["code"]
    literals = [each for each in typing.get_args(annotation) if typing.get_args(each)]
    codes = {code for each in literals for code in typing.get_args(each)}

    ours = {
        "amount_too_large",
        "amount_too_small",
        "balance_insufficient",
        "card_declined",
        "charge_already_refunded",
        "charge_disputed",
        "charge_not_refundable",
        "email_invalid",
        "invoice_not_editable",
        "expired_card",
        "idempotency_key_in_use",
        "incorrect_cvc",
        "lock_timeout",
        "parameter_invalid_empty",
        "parameter_invalid_integer",
        "parameter_missing",
        "parameter_unknown",
        "parameters_exclusive",
        "payment_intent_authentication_failure",
        "processing_error",
        "rate_limit",
        "resource_already_exists",
        "resource_missing",
        "transfers_not_allowed",
        "tax_id_invalid",
        "url_invalid",
    }
    assert ours <= codes
