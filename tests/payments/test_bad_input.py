"""What bad input about money gets: each kind its own answer, before anybody pays where possible."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest

from licensing import optouts
from marketplace import access
from marketplace.models import Organization
from payments import connect, stripe_events, stripe_gateway, sync
from payments.models import Command, Order
from tests.make import make_offer
from tests.payments.buying import (
    acceptance,
    balances,
    counts,
    order_for,
    order_now,
    quote_for,
)
from tests.payments.selling import onboarded
from tests.payments.simulating import Stripe
from tests.payments.simulator_account import client_of, session_params
from tests.payments.test_money_verbs import sources
from tests.payments.test_sync import facts
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]

# Each kind, and the tests of its answer, through the API and the simulated Stripe.
ANSWERS: dict[str, list[str]] = {
    "an amount below Stripe's minimum": [
        "test_bad_input.py::test_what_falls_below_stripes_minimum_is_refused_before_anybody_pays",
        "../licensing/test_offers.py::test_a_wrong_field_is_named_and_nothing_is_written",
        "../licensing/test_prices.py::test_what_could_never_be_charged_is_refused",
        "test_simulator_checkout.py::test_a_wrong_session_is_refused_by_its_parameter",
    ],
    "mixed currencies in one order": [
        "test_bad_input.py::test_an_order_names_no_currency_of_its_own",
        "test_bad_input.py::test_what_was_paid_in_another_currency_goes_back",
        "test_simulator_checkout.py::test_a_wrong_session_is_refused_by_its_parameter",
    ],
    "a seller who cannot be paid": [
        "test_bad_input.py::test_an_order_of_a_seller_whom_stripe_stopped_paying_changes_nothing",
        "test_connect.py::test_nobody_sells_whom_stripe_does_not_pay",
        "test_connect.py::test_a_seller_in_another_region_is_refused_before_the_sale_with_the_reason",
        "test_connect.py::test_in_live_mode_a_seller_needs_identity_account_and_clearance",
        "test_transfers.py::test_an_account_that_lost_its_capability_is_waited_for",
    ],
    "a card that needs action and is abandoned": [
        "test_sync.py::test_a_card_that_needs_action_and_is_abandoned_ends_with_its_page",
    ],
    "a refund larger than what is left": [
        "test_refunds.py::test_no_more_than_is_left_and_no_less_than_something_is_given_back",
        "test_refunds.py::test_what_is_under_way_is_no_longer_left",
        "test_refunds.py::test_eight_requests_at_once_give_back_no_more_than_was_paid",
    ],
    "a dispute on a refunded charge": [
        "test_refunds.py::test_a_dispute_about_what_was_given_back_before_is_the_markets_loss",
    ],
    "an event for an object that is not ours": [
        "test_bad_input.py::test_a_payment_of_something_else_on_our_account_changes_nothing",
        "test_events.py::test_an_event_about_nothing_of_ours_is_handled_by_doing_nothing",
        "test_event_sources.py::test_an_event_about_an_object_that_is_not_ours_changes_nothing",
        "test_event_sources.py::"
        "test_an_event_of_another_account_changes_nothing_even_if_it_names_our_order",
    ],
    "a test event in live": [
        "test_event_sources.py::test_a_test_event_in_live_mode_is_refused_and_stores_nothing",
        "test_event_sources.py::test_a_fetched_event_of_the_other_mode_is_left_out",
        "test_events.py::test_an_event_of_the_other_mode_is_refused",
    ],
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_each_kind_of_bad_input_has_a_test_of_its_answer(kind: str) -> None:
    for named in ANSWERS[kind]:
        file, _sep, name = named.partition("::")
        assert re.search(r"assert|pytest\.raises", sources(file)[name]), named


def test_what_falls_below_stripes_minimum_is_refused_before_anybody_pays(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    offer = make_offer(
        archive,
        price={"model": "per_unit", "unit": "work", "rate": {"amount_minor": 20, "per": 1}},
    )
    buyer = client_for(lab)
    assert quote_for(buyer, offer)["total_minor"] == 60
    optouts.record(caller_for(archive), by="owner", reason="Asked.", external_ids=["work-1000"])
    before = counts()

    refused = buyer.post(
        "/v1/quotes", {"offer": str(offer.pk), "uses": ["pretrain"], "territories": ["DE"]}
    )

    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["param"]) == (
        422,
        "invalid_input",
        "offer",
    )
    assert "0.50 USD" in problem["detail"]
    assert counts() == before
    assert stripe.requests() == []


@pytest.mark.parametrize("named", ["offer", "price", "quote", "order", "refund"])
def test_an_order_names_no_currency_of_its_own(
    named: str, archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    """The offer has one, and its quote, order, tax, fee and refunds are in that."""
    offer = make_offer(archive, price_minor=50_000)
    buyer, seller = client_for(lab), client_for(archive)
    quote = quote_for(buyer, offer)
    flat = {"model": "flat", "amount_minor": 50_000}
    whole = {"snapshot": str(offer.snapshot_id), "terms": str(offer.terms_id), "currency": "USD"}
    client, path, body = {
        "offer": (seller, "/v1/offers", {**whole, "price": flat, "currencies": ["USD", "EUR"]}),
        "price": (seller, "/v1/offers", {**whole, "price": {**flat, "currency": "EUR"}}),
        "quote": (
            buyer,
            "/v1/quotes",
            {
                "offer": str(offer.pk),
                "uses": ["pretrain"],
                "territories": ["DE"],
                "currency": "EUR",
            },
        ),
        "order": (buyer, "/v1/orders", {**acceptance(quote), "currency": "EUR"}),
        "refund": (buyer, "/v1/refunds", {"order": "ord_1", "reason": "So.", "currency": "EUR"}),
    }[named]
    before = counts()

    refused = client.post(path, body)

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert refused.json()["param"] in {"currencies", "price.currency", "currency"}
    assert counts() == before
    assert stripe.requests() == []


def test_what_was_paid_in_another_currency_goes_back(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = order_for(client_for(lab), make_offer(archive, price_minor=50_000))
    with access.system("find an order in a test"):
        pk = Order.objects.get(pk=order["id"]).pk
    monkeypatch.setattr(
        stripe_gateway,
        "retrieve_checkout",
        lambda session: dataclasses.replace(facts(session, is_paid=True), currency="EUR"),
    )

    for _again in range(2):
        settled = sync.sync_order(pk)

    assert (settled.status, settled.refusal) == ("paid_ungrantable", "paid_amount_differs")
    with access.system("read the refund"):
        assert Command.objects.get(kind="refund").params["amount"] == 50_000
    assert counts()["Grant"] == 0


def test_an_order_of_a_seller_whom_stripe_stopped_paying_changes_nothing(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    """Between the quote and its acceptance."""
    account = onboarded(archive, stripe)
    buyer = client_for(lab)
    body = acceptance(quote_for(buyer, make_offer(archive, price_minor=50_000)))
    stripe.account(str(account.stripe_id), "refuse", code="rejected_fraud")
    connect.sync_account(account.pk)
    before = counts()

    refused = buyer.post("/v1/orders", body)

    assert (refused.status_code, refused.json()["code"]) == (409, "seller_cannot_be_paid")
    assert counts() == before
    assert stripe.posts("/v1/checkout/sessions") == []


def test_a_payment_of_something_else_on_our_account_changes_nothing(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    """Its events are answered and handled, whatever they name."""
    buyer = client_for(lab)
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    params: Any = session_params()
    session = client_of(stripe.url).v1.checkout.sessions.create(params)
    before = counts()
    stripe.control_pay(session.id)
    stripe.wait_for("checkout.session.completed")

    # Asserts that each is answered with 200.
    assert stripe.deliver()
    assert stripe_events.handle_due() > 0

    assert counts() == before
    assert order_now(buyer, order)["status"] == "awaiting_payment"
    assert balances() == {}
