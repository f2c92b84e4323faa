"""What we take for granted of Stripe: each case runs against a real sandbox, and the simulator.

A case gets a `Sandbox`: the SDK's own client, and a way to have a card pay, which in a real
sandbox is a test card through the API, and in the simulator its pay page.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import stripe

Case = Callable[["Sandbox"], None]
CASES: list[Case] = []
ACCOUNT_INCLUDE: Any = ["configuration.recipient", "identity", "requirements"]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """An account in test mode."""

    client: stripe.StripeClient
    # Pays an amount of USD by a card, with metadata, and returns the payment intent's id.
    pay: Callable[[int, dict[str, str]], str]
    # The same client with another key.
    with_key: Callable[[str], stripe.StripeClient]

    @property
    def v1(self) -> Any:
        return self.client.v1

    def tag(self) -> str:
        """A name of this case's own: a sandbox keeps what earlier runs left."""
        return f"licet-{uuid.uuid4().hex}"


def case(run: Case) -> Case:
    CASES.append(run)
    return run


def session_params(tag: str, **fields: Any) -> dict[str, Any]:
    return {
        "mode": "payment",
        "client_reference_id": tag,
        "metadata": {"order": tag},
        "payment_intent_data": {"metadata": {"order": tag}, "transfer_group": tag},
        "success_url": "https://market.example/return?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://market.example/cancel",
        "adaptive_pricing": {"enabled": False},
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": "usd",
                    "unit_amount": 50_000,
                    "product_data": {"name": "License"},
                },
            }
        ],
        **fields,
    }


def account_params() -> Any:
    return {
        "display_name": "An archive",
        "contact_email": "archive@example.org",
        "dashboard": "express",
        "identity": {"country": "us"},
        "configuration": {
            "recipient": {
                "capabilities": {"stripe_balance": {"stripe_transfers": {"requested": True}}}
            }
        },
        "defaults": {
            "responsibilities": {
                "fees_collector": "application",
                "losses_collector": "application",
            }
        },
        "include": ACCOUNT_INCLUDE,
    }


def refused(act: Callable[[], Any]) -> stripe.StripeError:
    with pytest.raises(stripe.InvalidRequestError) as error:
        act()
    return error.value


def charge_of(box: Sandbox, payment: str) -> Any:
    expand = ["latest_charge.balance_transaction", "latest_charge.refunds"]
    return box.v1.payment_intents.retrieve(payment, {"expand": expand}).latest_charge


# --- pay pages --------------------------------------------------------------------------------


@case
def a_pay_page_opens_unpaid_and_names_our_order(box: Sandbox) -> None:
    tag = box.tag()
    session = box.v1.checkout.sessions.create(session_params(tag))
    assert (session.status, session.payment_status) == ("open", "unpaid")
    assert (session.client_reference_id, session.amount_total) == (tag, 50_000)
    assert session.url.startswith("http")
    assert session.livemode is False


@case
def the_same_key_gives_the_same_pay_page(box: Sandbox) -> None:
    key, params = box.tag(), session_params(box.tag())
    found = {box.v1.checkout.sessions.create(params, {"idempotency_key": key}).id for _ in "123"}
    assert len(found) == 1


@case
def the_same_key_with_other_parameters_is_refused(box: Sandbox) -> None:
    key = box.tag()
    box.v1.checkout.sessions.create(session_params("a"), {"idempotency_key": key})
    with pytest.raises(stripe.IdempotencyError):
        box.v1.checkout.sessions.create(session_params("b"), {"idempotency_key": key})


@case
def a_closed_pay_page_stays_closed(box: Sandbox) -> None:
    session = box.v1.checkout.sessions.create(session_params(box.tag()))
    assert box.v1.checkout.sessions.expire(session.id).status == "expired"
    refused(lambda: box.v1.checkout.sessions.expire(session.id))
    assert box.v1.checkout.sessions.retrieve(session.id).status == "expired"


@case
def an_unpaid_pay_page_has_no_payment_yet(box: Sandbox) -> None:
    session = box.v1.checkout.sessions.create(session_params(box.tag()))
    expand = ["payment_intent.latest_charge.balance_transaction"]
    assert box.v1.checkout.sessions.retrieve(session.id, {"expand": expand}).payment_intent is None


@case
def a_parameter_that_was_removed_is_refused(box: Sandbox) -> None:
    params = session_params(box.tag(), payment_method_types=["card"])
    refused(lambda: box.v1.checkout.sessions.create(params))


@case
def an_amount_below_the_minimum_is_refused(box: Sandbox) -> None:
    params = session_params(box.tag())
    params["line_items"][0]["price_data"]["unit_amount"] = 10
    assert refused(lambda: box.v1.checkout.sessions.create(params)).code == "amount_too_small"


@case
def a_currency_that_is_none_is_refused(box: Sandbox) -> None:
    params = session_params(box.tag())
    params["line_items"][0]["price_data"]["currency"] = "zzz"
    refused(lambda: box.v1.checkout.sessions.create(params))


@case
def metadata_that_is_too_long_is_refused(box: Sandbox) -> None:
    params = session_params(box.tag(), metadata={"order": "x" * 501})
    refused(lambda: box.v1.checkout.sessions.create(params))


@case
def an_object_that_is_not_there_is_called_missing(box: Sandbox) -> None:
    error = refused(lambda: box.v1.checkout.sessions.retrieve("cs_test_nothing"))
    assert (error.http_status, error.code) == (404, "resource_missing")


@case
def a_wrong_key_is_an_authentication_error(box: Sandbox) -> None:
    with pytest.raises(stripe.AuthenticationError):
        box.with_key("sk_test_" + "0" * 24).v1.balance.retrieve()


@case
def expanding_deeper_than_four_levels_is_refused(box: Sandbox) -> None:
    session = box.v1.checkout.sessions.create(session_params(box.tag()))
    deep = ["payment_intent.latest_charge.balance_transaction.source.customer"]
    refused(lambda: box.v1.checkout.sessions.retrieve(session.id, {"expand": deep}))


@case
def a_page_after_the_newest_has_the_next(box: Sandbox) -> None:
    made = [box.v1.checkout.sessions.create(session_params(box.tag())).id for _ in "12"]
    first = box.v1.checkout.sessions.list({"limit": 1})
    after = box.v1.checkout.sessions.list({"limit": 1, "starting_after": made[1]})
    assert (first.data[0].id, after.data[0].id) == (made[1], made[0])
    assert first.has_more is True


# --- payments ---------------------------------------------------------------------------------


@case
def a_payment_is_a_charge_with_what_it_came_to(box: Sandbox) -> None:
    charge = charge_of(box, box.pay(50_000, {}))
    line = charge.balance_transaction
    assert (charge.paid, charge.amount, charge.refunded) == (True, 50_000, False)
    assert (line.type, line.source, line.amount) == ("charge", charge.id, 50_000)
    assert 0 < line.fee == line.amount - line.net


@case
def a_refund_of_a_part_is_taken_from_the_balance(box: Sandbox) -> None:
    payment = box.pay(50_000, {})
    refund = box.v1.refunds.create(
        {"payment_intent": payment, "amount": 20_000, "expand": ["balance_transaction"]}
    )
    assert (refund.status, refund.amount) == ("succeeded", 20_000)
    assert (refund.balance_transaction.type, refund.balance_transaction.amount) == (
        "refund",
        -20_000,
    )
    charge = charge_of(box, payment)
    assert (charge.amount_refunded, charge.refunded) == (20_000, False)


@case
def no_more_is_given_back_than_was_paid(box: Sandbox) -> None:
    payment = box.pay(50_000, {})
    refused(lambda: box.v1.refunds.create({"payment_intent": payment, "amount": 50_001}))
    assert charge_of(box, payment).amount_refunded == 0


@case
def a_payment_is_given_back_once(box: Sandbox) -> None:
    payment = box.pay(50_000, {})
    box.v1.refunds.create({"payment_intent": payment})
    error = refused(lambda: box.v1.refunds.create({"payment_intent": payment}))
    assert error.code == "charge_already_refunded"


@case
def the_same_key_gives_the_same_refund(box: Sandbox) -> None:
    payment, key = box.pay(50_000, {}), box.tag()
    params = {"payment_intent": payment, "amount": 100}
    found = {box.v1.refunds.create(params, {"idempotency_key": key}).id for _ in "123"}
    assert len(found) == 1
    assert charge_of(box, payment).amount_refunded == 100


@case
def a_refund_is_found_by_its_payment_and_our_name(box: Sandbox) -> None:
    payment, tag = box.pay(50_000, {}), box.tag()
    for metadata in ({"licet": tag}, {"licet": "another"}):
        box.v1.refunds.create({"payment_intent": payment, "amount": 100, "metadata": metadata})
    listed = box.v1.refunds.list({"payment_intent": payment}).data
    assert [refund.metadata["licet"] for refund in listed] == ["another", tag]


@case
def a_payment_without_a_dispute_has_none(box: Sandbox) -> None:
    payment = box.pay(50_000, {})
    assert box.v1.disputes.list({"payment_intent": payment}).data == []


# --- the balance, and events ------------------------------------------------------------------


@case
def the_balance_is_what_is_available_and_what_is_pending(box: Sandbox) -> None:
    balance = box.v1.balance.retrieve()
    assert isinstance(balance.available, list)
    assert isinstance(balance.pending, list)


@case
def a_balance_transaction_is_listed_by_its_time_and_its_source(box: Sandbox) -> None:
    charge = charge_of(box, box.pay(50_000, {}))
    line = charge.balance_transaction
    created = {"gte": line.created, "lt": line.created + 1}
    by_time = box.v1.balance_transactions.list({"created": created, "limit": 100})
    by_source = box.v1.balance_transactions.list({"source": charge.id})
    assert line.id in [each.id for each in by_time.auto_paging_iter()]
    assert [each.id for each in by_source.data] == [line.id]


@case
def a_balance_transaction_that_is_not_there_is_called_missing(box: Sandbox) -> None:
    error = refused(lambda: box.v1.balance_transactions.retrieve("txn_nothing"))
    assert (error.http_status, error.code) == (404, "resource_missing")


@case
def an_event_tells_of_a_payment_with_the_object(box: Sandbox) -> None:
    payment = box.pay(50_000, {})

    def found() -> bool:
        listed = box.v1.events.list({"type": "payment_intent.succeeded", "limit": 20})
        bodies = json.loads(listed.last_response.body)["data"]
        return payment in [body["data"]["object"]["id"] for body in bodies]

    # Stripe lists an event a moment later.
    deadline = time.monotonic() + 15
    while not found():
        assert time.monotonic() < deadline
        time.sleep(1)


@case
def events_are_listed_by_whether_somebody_took_them(box: Sandbox) -> None:
    listed = box.v1.events.list({"delivery_success": False, "limit": 3})
    assert all(event.pending_webhooks > 0 for event in listed.data)


@case
def thin_events_are_listed_from_a_time_on(box: Sandbox) -> None:
    box.client.v2.core.accounts.create(account_params())
    listed = box.client.v2.core.events.list(
        {"created": {"gte": "2026-01-01T00:00:00Z"}, "limit": 5}  # type: ignore[arg-type]
    )
    assert all(event.object == "v2.core.event" for event in listed.data)


@case
def payouts_are_listed(box: Sandbox) -> None:
    assert box.v1.payouts.list({"limit": 1}).object == "list"


# --- sellers ----------------------------------------------------------------------------------


@case
def a_new_account_cannot_be_paid_and_says_what_is_missing(box: Sandbox) -> None:
    account = box.client.v2.core.accounts.create(account_params())
    recipient: Any = account.configuration.recipient  # type: ignore[union-attr]
    assert recipient.capabilities.stripe_balance.stripe_transfers.status == "restricted"
    assert account.requirements is not None
    assert account.requirements.entries


@case
def what_was_not_asked_for_of_an_account_is_left_out(box: Sandbox) -> None:
    made = box.client.v2.core.accounts.create(account_params())
    bare = box.client.v2.core.accounts.retrieve(made.id)
    whole = box.client.v2.core.accounts.retrieve(made.id, {"include": ACCOUNT_INCLUDE})
    assert (bare.configuration, bare.requirements) == (None, None)
    assert whole.requirements is not None


@case
def an_account_gives_a_link_to_tell_its_details(box: Sandbox) -> None:
    made = box.client.v2.core.accounts.create(account_params())
    link = box.client.v2.core.account_links.create(
        {
            "account": made.id,
            "use_case": {
                "type": "account_onboarding",
                "account_onboarding": {
                    "collection_options": {"fields": "eventually_due"},
                    "refresh_url": "https://market.example/again",
                    "return_url": "https://market.example/back",
                },
            },
        }
    )
    assert link.url.startswith("http")


@case
def an_account_without_the_capability_gets_no_transfer(box: Sandbox) -> None:
    made = box.client.v2.core.accounts.create(account_params())
    charge = charge_of(box, box.pay(50_000, {}))
    error = refused(
        lambda: box.v1.transfers.create(
            {
                "amount": 100,
                "currency": "usd",
                "destination": made.id,
                "source_transaction": charge.id,
            }
        )
    )
    assert error.code == "insufficient_capabilities_for_transfer"


@case
def a_group_without_transfers_is_an_empty_list(box: Sandbox) -> None:
    assert box.v1.transfers.list({"transfer_group": box.tag()}).data == []


# --- invoices ---------------------------------------------------------------------------------


def invoice(box: Sandbox) -> Any:
    """A draft over 500.00 USD, due in 30 days."""
    customer = box.v1.customers.create({"name": "A lab", "email": "lab@example.org"})
    made = box.v1.invoices.create(
        {
            "customer": customer.id,
            "collection_method": "send_invoice",
            "days_until_due": 30,
            "currency": "usd",
            "auto_advance": False,
        }
    )
    box.v1.invoice_items.create(
        {"customer": customer.id, "invoice": made.id, "amount": 50_000, "currency": "usd"}
    )
    return made


@case
def a_finalized_invoice_is_open_and_has_a_page(box: Sandbox) -> None:
    made = box.v1.invoices.finalize_invoice(invoice(box).id)
    assert (made.status, made.amount_due, made.amount_remaining) == ("open", 50_000, 50_000)
    assert made.hosted_invoice_url.startswith("http")
    assert made.due_date > made.created


@case
def a_void_invoice_stays_void(box: Sandbox) -> None:
    made = box.v1.invoices.finalize_invoice(invoice(box).id)
    assert box.v1.invoices.void_invoice(made.id).status == "void"
    refused(lambda: box.v1.invoices.void_invoice(made.id))


@case
def a_draft_is_no_invoice_to_pay(box: Sandbox) -> None:
    made = invoice(box)
    refused(lambda: box.v1.invoices.void_invoice(made.id))
    assert box.v1.invoices.retrieve(made.id).status == "draft"


@case
def a_credit_note_lowers_what_is_due(box: Sandbox) -> None:
    made = box.v1.invoices.finalize_invoice(invoice(box).id)
    note = box.v1.credit_notes.create({"invoice": made.id, "amount": 20_000})
    assert (note.total, note.status) == (20_000, "issued")
    assert box.v1.invoices.retrieve(made.id).amount_remaining == 30_000
