"""The door to Stripe: the unmodified SDK against the simulator, checked by its own contract."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import stripe as sdk
from django.db import transaction
from django.utils import timezone

from marketplace import access, money
from marketplace.errors import PaymentProviderRefused, PaymentProviderUnavailable
from marketplace.models import Organization
from payments import checkouts, connect, stripe_gateway
from payments.models import Command
from tests.make import make_offer
from tests.payments.buying import order_for
from tests.payments.invoicing import (
    invoiced_offer,
    ordered_on_invoice,
    pay_invoice,
)
from tests.payments.selling import onboarded, request_refund
from tests.payments.simulating import Stripe, work
from tests.payments.test_contract import calls_of_the_gateway
from tests.payments.test_transfers import bought, settled
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


def checkout_params(**fields: Any) -> dict[str, Any]:
    return {
        "mode": "payment",
        "client_reference_id": "ord_1",
        "success_url": "http://127.0.0.1/back",
        "expires_at": int((timezone.now() + timedelta(hours=1)).timestamp()),
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


def test_a_checkout_is_opened_paid_and_refunded(stripe: Stripe) -> None:
    opened = stripe_gateway.create_checkout(checkout_params(), key="k1")
    assert (opened.currency, opened.is_paid, opened.has_expired) == ("USD", False, False)
    assert opened.payment is None

    stripe.pay({"checkout_url": opened.url})
    paid = stripe_gateway.retrieve_checkout(opened.session)
    assert (paid.is_paid, paid.has_expired) == (True, False)
    assert paid.payment is not None
    assert (paid.payment.received_minor, paid.payment.refunded_minor) == (50_000, 0)
    assert paid.payment.paid_at is not None
    assert abs(paid.payment.paid_at - timezone.now()) < timedelta(minutes=1)

    whole = {"payment_intent": paid.payment.payment_intent, "amount": 50_000}
    refund = stripe_gateway.refund(whole, key="k2")
    assert (refund.status, refund.amount_minor) == ("succeeded", 50_000)
    refunded = stripe_gateway.retrieve_checkout(opened.session).payment
    assert refunded is not None
    assert refunded.refunded_minor == 50_000


def test_the_same_key_gives_the_same_session(stripe: Stripe) -> None:
    params = checkout_params()

    sessions = {stripe_gateway.create_checkout(params, key="k1").session for _ in range(3)}

    assert len(sessions) == 1


def test_a_refund_is_found_by_the_row_that_it_was_made_for(stripe: Stripe) -> None:
    opened = stripe_gateway.create_checkout(checkout_params(), key="k1")
    stripe.pay({"checkout_url": opened.url})
    payment = stripe_gateway.retrieve_checkout(opened.session).payment
    assert payment is not None
    intent = payment.payment_intent
    part = {"payment_intent": intent, "amount": 20_000, "metadata": {"licet": "rfd_1"}}

    assert stripe_gateway.find_refund(intent, "rfd_1") is None
    first = stripe_gateway.refund(part, key="k2")
    found = stripe_gateway.find_refund(intent, "rfd_1")

    assert found is not None
    assert (found.refund, found.ours, found.amount_minor) == (first.refund, "rfd_1", 20_000)
    assert stripe_gateway.find_refund(intent, "rfd_2") is None


def test_every_currency_of_stripes_goes_there_and_back(stripe: Stripe) -> None:
    """What is asked for is what is paid and settled, in currencies of 0, 2 and 3 digits."""
    wrong = {}
    for code, unit in money.CURRENCIES.items():
        amount = max(unit.stripe_minimum_minor, 1_234 * unit.step_minor)
        params = checkout_params()
        params["line_items"][0]["price_data"] |= {"currency": code.lower(), "unit_amount": amount}
        opened = stripe_gateway.create_checkout(params, key=f"k-{code}")
        stripe.control_pay(opened.session)
        found = stripe_gateway.retrieve_checkout(opened.session)
        payment = found.payment
        if payment is None or payment.settled is None:
            wrong[code] = "not paid"
        elif (found.currency, payment.received_minor, payment.settled.amount_minor) != (
            code,
            amount,
            amount,
        ):
            wrong[code] = f"{found.currency} {payment.received_minor}"

    assert wrong == {}
    assert len(money.CURRENCIES) > 130


def test_an_expired_checkout_says_so(stripe: Stripe) -> None:
    opened = stripe_gateway.create_checkout(checkout_params(), key="k1")
    stripe.expire({"checkout_url": opened.url})

    expired = stripe_gateway.retrieve_checkout(opened.session)

    assert (expired.is_paid, expired.has_expired) == (False, True)


def test_a_decline_says_why(stripe: Stripe) -> None:
    opened = stripe_gateway.create_checkout(checkout_params(), key="k1")
    stripe.decline({"checkout_url": opened.url})

    payment = stripe_gateway.retrieve_checkout(opened.session).payment

    assert payment is not None
    assert "declined" in payment.decline


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "barter"},
        {"payment_method_types": ["card"]},
        {"expires_at": 1},
        {"colour": "red"},
    ],
)
def test_a_wrong_request_is_refused_and_not_worth_a_repeat(
    fields: dict[str, Any], stripe: Stripe
) -> None:
    with pytest.raises(PaymentProviderRefused):
        stripe_gateway.create_checkout(checkout_params(**fields), key="k1")


def test_a_session_that_is_not_there_is_refused(stripe: Stripe) -> None:
    with pytest.raises(PaymentProviderRefused) as refusal:
        stripe_gateway.retrieve_checkout("cs_test_dev_missing")

    assert refusal.value.data == {"provider_code": "resource_missing"}


def test_a_key_that_stripe_does_not_know_is_ours_to_repair(stripe: Stripe, settings: Any) -> None:
    settings.STRIPE_API_KEY = "sk_test_somebody"

    with pytest.raises(PaymentProviderUnavailable):
        stripe_gateway.retrieve_checkout("cs_test_dev_1")


@pytest.fixture
def nobody_listens(settings: Any) -> Iterator[None]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings.STRIPE_API_BASE = f"http://127.0.0.1:{free.getsockname()[1]}"
        yield


def test_a_stripe_that_cannot_be_reached_may_be_tried_again(nobody_listens: None) -> None:
    with pytest.raises(PaymentProviderUnavailable) as failure:
        stripe_gateway.retrieve_checkout("cs_test_1")

    assert failure.value.retryable


def test_a_stripe_that_never_answers_is_given_up(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_gateway, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(stripe_gateway, "RETRIES_MAX", 0)
    # A client is kept for each address, and another test may have had this one.
    monkeypatch.setattr(stripe_gateway, "_client", stripe_gateway._client.__wrapped__)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.STRIPE_API_BASE = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(PaymentProviderUnavailable) as failure:
            stripe_gateway.retrieve_checkout("cs_test_1")

    assert "read timeout=0.2" in str(failure.value.__cause__)


def test_no_call_is_made_inside_a_transaction(stripe: Stripe) -> None:
    with access.system("hold a lock"), pytest.raises(RuntimeError, match="durable"):
        stripe_gateway.create_checkout(checkout_params(), key="k1")
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        stripe_gateway.retrieve_checkout("cs_test_1")

    assert stripe.requests() == []


def test_every_request_of_ours_fits_the_sdks_own_contract(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    """The simulator checks each request, and so does this test, against the SDK's types."""
    from payments.simulator import contract

    use_every_verb(archive, client_for(archive), client_for(lab), stripe)

    seen = set()
    # The tests' own come without the SDK, and so without a version.
    for request in [one for one in stripe.requests() if one["stripe_version"]]:
        checked = contract.check(
            request["method"],
            request["path"],
            request["params"],
            form=request["method"] == "GET" or request["path"].startswith("/v1/"),
        )
        seen.add(checked.operation.service)
        assert request["stripe_version"] == sdk.api_version
        assert request["verdict"] == "ok", request
    assert seen == calls_of_the_gateway()


def use_every_verb(
    archive: Organization, seller: ApiClient, buyer: ApiClient, stripe: Stripe
) -> None:
    """Have the market make each of its calls to Stripe, by what leads to it."""
    onboarded(archive, stripe)
    connect.onboarding_url(connect.own(caller_for(archive)))
    offer = make_offer(archive, price_minor=50_000)
    order = bought(buyer, archive, stripe)
    settled(order)
    request_refund(seller, order, amount_minor=1_000)
    settled(order)
    stripe.dispute(bought(buyer, archive, stripe))
    stripe.deliver()
    work()
    [refund] = stripe.list("/v1/refunds")
    [charge, *_older] = stripe.list("/v1/charges")
    [dispute] = stripe.list("/v1/disputes")
    for kind, id in (
        ("refund", refund["id"]),
        ("charge", charge["id"]),
        ("dispute", dispute["id"]),
    ):
        assert stripe_gateway.payment_of(kind, id).startswith("pi_")
    stripe_gateway.find_refund(refund["payment_intent"], "rfd_1")
    stripe_gateway.find_transfer(order["id"], "trf_1")
    [*_newer, first] = stripe.list("/v1/transfers")
    stripe_gateway.find_reversal(first["id"], "trr_1")
    given_up = order_for(buyer, offer)
    assert buyer.post(f"/v1/orders/{given_up['id']}/cancel", {}).status_code == 200
    work()
    use_every_verb_of_invoices(archive, seller, buyer, stripe)
    use_every_verb_of_reconciling(stripe)


def use_every_verb_of_reconciling(stripe: Stripe) -> None:
    until = timezone.now() + timedelta(days=8)
    since = until - timedelta(days=9)
    [line, *_others] = stripe_gateway.balance_lines(since, until).items
    assert stripe_gateway.balance_line(line.transaction) == line
    # A disputed payment took more than there is: another one comes, and is available a week later.
    params = checkout_params()
    params["line_items"][0]["price_data"]["unit_amount"] = 50_000_000
    stripe.control_pay(stripe_gateway.create_checkout(params, key="k-last").session)
    stripe.advance(8 * 24 * 3600)
    assert stripe_gateway.payout_lines(stripe.pay_out()["id"])
    stripe_gateway.undelivered_events(since, until)
    stripe_gateway.thin_events(since, until)


def use_every_verb_of_invoices(
    archive: Organization, seller: ApiClient, buyer: ApiClient, stripe: Stripe
) -> None:
    offer = invoiced_offer(archive)
    given_up, paid = [ordered_on_invoice(buyer, offer) for _each in range(2)]
    assert buyer.post(f"/v1/orders/{given_up['id']}/cancel", {}).status_code == 200
    pay_invoice(stripe, paid)
    settled(paid)
    request_refund(seller, paid, amount_minor=1_000)
    for _again in range(2):
        settled(paid)
    [note] = stripe.list("/v1/credit_notes")
    [payment, *_older] = stripe.list("/v1/invoice_payments")
    assert stripe_gateway.payment_of("credit_note", note["id"]) == note["invoice"]
    assert stripe_gateway.payment_of("invoice_payment", payment["id"]).startswith("in_")
    stripe_gateway.find_customer("legal@example.org", "scu_1")
    stripe_gateway.find_credit_note(note["invoice"], "rfd_1")
    stripe_gateway.find_invoice(note["customer"], "inv_1", [], key="k")
    stripe.post(
        "/v1/credit_notes", {"invoice": note["invoice"], "amount": 500, "credit_amount": 500}
    )
    with pytest.raises(PaymentProviderRefused, match="has a balance"):
        stripe_gateway.send_invoice(
            {
                "customer": note["customer"],
                "collection_method": "send_invoice",
                "days_until_due": 9,
            },
            [],
            key="k-balance",
        )
    use_every_verb_of_tax()


def use_every_verb_of_tax() -> None:
    calculation = stripe_gateway.calculate_tax(
        {
            "currency": "usd",
            "customer_details": {"address": {"country": "DE"}, "address_source": "billing"},
            "line_items": [{"amount": 100, "reference": "license"}],
        }
    ).calculation
    sale = stripe_gateway.record_tax(
        {"calculation": calculation, "reference": "ord_1"}, key="k-record"
    )
    part = {"mode": "partial", "reference": "rfd_1", "amount": -100, "amount_tax": 0}
    assert stripe_gateway.reverse_tax(sale, part, key="k-reverse").startswith("tax_")


def test_the_stored_request_is_what_was_sent(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    order = order_for(client_for(lab), make_offer(archive, price_minor=50_000))

    with access.system("read the command"):
        command = Command.objects.get()
    assert command.params["client_reference_id"] == order["id"]
    assert command.params["metadata"] == {"order": order["id"]}
    assert command.params["payment_intent_data"]["transfer_group"] == order["id"]
    assert command.params["success_url"].startswith("http://127.0.0.1:8000/checkout/return/ord_")
    assert command.params["adaptive_pricing"] == {"enabled": False}
    [item] = command.params["line_items"]
    assert item["price_data"]["unit_amount"] == 50_000
    assert item["price_data"]["currency"] == "usd"
    assert checkouts.returned(command.params["success_url"].rsplit("/", 1)[1]) == order["id"]
    [request] = stripe.posts("/v1/checkout/sessions")
    assert request["idempotency_key"] == str(command.pk)
