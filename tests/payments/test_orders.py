"""Orders: a quote accepted by a named person, held, and opened for payment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from licensing import offers, scope_claims
from marketplace import access
from marketplace.models import Audit, Organization
from payments import commands, orders, quotes, stripe_gateway
from payments.models import Command, Order, Quote
from tests.make import EXCLUSIVE, make_offer
from tests.payments.buying import (
    acceptance,
    counts,
    made_of,
    order_for,
    order_now,
    quote_for,
)
from tests.payments.racing import at_once
from tests.payments.simulating import Stripe
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


def test_an_order_opens_a_pay_page_and_holds_the_rights(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    client = client_for(lab)
    quote = quote_for(client, make_offer(archive, price_minor=50_000))

    response = client.post("/v1/orders", acceptance(quote))

    order = response.json()
    assert response.status_code == 201
    assert response["Location"] == f"/v1/orders/{order['id']}"
    assert order["status"] == "awaiting_payment"
    assert order["checkout_url"].startswith(f"{stripe.url}/")
    assert (order["total_minor"], order["currency"]) == (50_000, "USD")
    assert order["acceptance"]["document_sha256"] == quote["document_sha256"]
    assert order["acceptance"]["name"] == "Lin Chen"
    assert order["acceptance"]["title"] == "General Counsel"
    assert (order["grant"], order["refusal"], order["paid_at"]) == (None, None, None)
    assert order == order_now(client, order)
    assert made_of(order)["claims"] == 1
    with access.system("test what was recorded"):
        command = Command.objects.get()
        assert (command.kind, command.state) == ("create_checkout", "done")
        audit = Audit.objects.get(action="order.placed")
        assert audit.subject == order["id"]
        assert audit.data == {"quote": quote["id"]}


def test_a_free_license_is_granted_at_once_without_stripe(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    order = order_for(client_for(lab), make_offer(archive, price_minor=0))

    assert order["status"] == "granted"
    assert order["grant"].startswith("grt_")
    assert (order["checkout_url"], order["checkout_expires_at"]) == (None, None)
    assert stripe.requests() == []
    assert made_of(order) == {"grants": 1, "entries": 1, "sales": 0, "refunds": 0, "claims": 1}


REFUSALS: dict[str, tuple[dict[str, Any], int, str, str | None]] = {
    "another document": (
        {"document_sha256": "0" * 64},
        409,
        "accepted_document_mismatch",
        "accept.document_sha256",
    ),
    "no authority": ({"authority": False}, 422, "invalid_input", "accept.authority"),
    "authority as text": ({"authority": "yes"}, 422, "invalid_input", "accept.authority"),
    "no name": ({"name": " "}, 422, "invalid_input", "accept.name"),
    "no title": ({"title": ""}, 422, "invalid_input", "accept.title"),
    "no hash": ({"document_sha256": "abc"}, 422, "invalid_input", "accept.document_sha256"),
    "an unknown field": ({"rank": "General"}, 422, "invalid_input", "accept.rank"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_an_acceptance_that_does_not_fit_changes_nothing(
    case: str, archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    changes, status, code, param = REFUSALS[case]
    client = client_for(lab)
    quote = quote_for(client, make_offer(archive, price_minor=50_000))
    before = counts()

    response = client.post("/v1/orders", acceptance(quote, **changes))

    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code)
    assert problem.get("param") == param
    assert counts() == before
    assert stripe.requests() == []


def test_a_retry_need_not_wait_when_stripe_was_away(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe, settings: Any
) -> None:
    client = client_for(lab)
    body = acceptance(quote_for(client, make_offer(archive, price_minor=50_000)))
    there = settings.STRIPE_API_BASE
    settings.STRIPE_API_BASE = "http://127.0.0.1:9"
    away = client.post("/v1/orders", body, Idempotency_Key="k1")
    assert (away.status_code, away.json()["code"]) == (503, "payment_provider_unavailable")
    settings.STRIPE_API_BASE = there

    resumed = client.post("/v1/orders", body, Idempotency_Key="k1")
    again = client.post("/v1/orders", body, Idempotency_Key="k1")

    assert (resumed.status_code, again.status_code) == (201, 201)
    assert resumed.json()["id"] == away.json()["order"]
    assert again.json() == resumed.json()
    assert again["Idempotent-Replayed"] == "true"


def test_a_quote_makes_one_order(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    client = client_for(lab)
    quote = quote_for(client, make_offer(archive, price_minor=50_000))
    client.post("/v1/orders", acceptance(quote))
    before = counts()

    response = client.post("/v1/orders", acceptance(quote))

    assert (response.status_code, response.json()["code"]) == (409, "quote_already_accepted")
    assert counts() == before


def test_an_expired_quote_cannot_be_accepted(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = client_for(lab)
    monkeypatch.setattr(quotes, "LIFETIME", timedelta(microseconds=1))
    quote = quote_for(client, make_offer(archive, price_minor=50_000))
    before = counts()

    response = client.post("/v1/orders", acceptance(quote))

    assert (response.status_code, response.json()["code"]) == (409, "quote_expired")
    assert counts() == before


def test_a_withdrawn_offer_cannot_be_ordered(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    client = client_for(lab)
    offer = make_offer(archive, price_minor=50_000)
    quote = quote_for(client, offer)
    offers.withdraw(caller_for(archive), str(offer.pk))
    before = counts()

    response = client.post("/v1/orders", acceptance(quote))

    assert (response.status_code, response.json()["code"]) == (409, "offer_not_buyable")
    assert counts() == before


def test_another_organizations_quote_is_not_there(
    archive: Organization,
    lab: Organization,
    stranger: Organization,
    client_for: ClientFor,
    stripe: Stripe,
) -> None:
    quote = quote_for(client_for(lab), make_offer(archive, price_minor=50_000))

    response = client_for(stranger).post("/v1/orders", acceptance(quote))

    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_only_the_buyer_sees_an_order(
    archive: Organization,
    lab: Organization,
    stranger: Organization,
    client_for: ClientFor,
    stripe: Stripe,
) -> None:
    order = order_for(client_for(lab), make_offer(archive, price_minor=50_000))

    for other in (archive, stranger):
        assert client_for(other).get(f"/v1/orders/{order['id']}").status_code == 404
        assert client_for(other).get("/v1/orders").json()["data"] == []
    [listed] = client_for(lab).get("/v1/orders").json()["data"]
    assert listed == order


# --- repeats ----------------------------------------------------------------------------------


def test_a_repeat_with_the_same_key_finds_the_same_order(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    client = client_for(lab)
    body = acceptance(quote_for(client, make_offer(archive, price_minor=50_000)))

    first = client.post("/v1/orders", body, Idempotency_Key="k")
    second = client.post("/v1/orders", body, Idempotency_Key="k")

    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second["Location"] == first["Location"]
    assert second["Idempotent-Replayed"] == "true"
    assert counts()["Order"] == 1
    assert len(stripe.posts("/v1/checkout/sessions")) == 1


def test_a_lost_answer_of_stripes_leaves_one_session(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    """One more loss than the SDK repeats by itself: the client's repeat goes on."""
    client = client_for(lab)
    body = acceptance(quote_for(client, make_offer(archive, price_minor=50_000)))
    stripe.drop_responses(stripe_gateway.RETRIES_MAX + 1)

    lost = client.post("/v1/orders", body, Idempotency_Key="k")
    assert (lost.status_code, lost.json()["code"]) == (503, "payment_provider_unavailable")
    assert lost["Retry-After"] == "1"
    waiting = client.get(f"/v1/orders/{lost.json()['order']}").json()
    assert (waiting["status"], waiting["checkout_url"]) == ("awaiting_payment", None)
    with access.system("let the time pass"):
        connection.cursor().execute(
            "UPDATE marketplace_idempotencykey SET locked_until = now() - interval '1 second'"
        )
    resumed = client.post("/v1/orders", body, Idempotency_Key="k")

    assert resumed.status_code == 201
    assert resumed.json()["id"] == waiting["id"]
    posted = stripe.posts("/v1/checkout/sessions")
    assert len(posted) == stripe_gateway.RETRIES_MAX + 2
    assert len({request["idempotency_key"] for request in posted}) == 1
    assert stripe.sessions_of(waiting) == 1


def test_the_worker_opens_the_pay_page_of_a_client_that_never_came_back(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    client = client_for(lab)
    body = acceptance(quote_for(client, make_offer(archive, price_minor=50_000)))
    stripe.drop_responses(stripe_gateway.RETRIES_MAX + 1)
    lost = client.post("/v1/orders", body)
    order = client.get(f"/v1/orders/{lost.json()['order']}").json()
    with access.system("let the time pass"):
        Command.objects.update(next_attempt_at=timezone.now())

    assert commands.complete_due() == 1

    assert order_now(client, order)["checkout_url"].startswith(stripe.url)
    assert stripe.sessions_of(order) == 1


def test_a_process_that_died_before_the_call_is_finished_by_the_repeat(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caller = caller_for(lab)
    offer = make_offer(archive, price_minor=50_000)
    quote = quotes.make(caller, offer=str(offer.pk), uses=["pretrain"], territories=["DE"])
    with monkeypatch.context() as patch:
        patch.setattr(commands, "carry_out", died)
        with pytest.raises(SystemExit):
            orders.place(
                caller,
                quote=str(quote.pk),
                accept={
                    "document_sha256": bytes(quote.document_sha256).hex(),
                    "name": "Lin Chen",
                    "title": "General Counsel",
                    "authority": True,
                },
            )
    with access.system("find the order"):
        order = Order.objects.get()

    resumed = orders.resume(caller, str(order.pk))

    assert resumed.checkout_url.startswith(stripe.url)
    assert counts()["Order"] == 1


def died(*_args: Any, **_kwargs: Any) -> None:
    raise SystemExit(9)


def test_what_stripe_refuses_ends_the_order_and_frees_the_rights(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = client_for(lab)
    quote = quote_for(client, make_offer(archive, price_minor=50_000, typed=EXCLUSIVE))
    # Stripe opens no session for less than half an hour.
    monkeypatch.setattr(orders, "CHECKOUT_LIFETIME", timedelta(minutes=20))

    response = client.post("/v1/orders", acceptance(quote))

    problem = response.json()
    assert (response.status_code, problem["code"]) == (409, "order_not_payable")
    order = client.get(f"/v1/orders/{problem['order']}").json()
    assert order["status"] == "expired"
    assert made_of(order)["claims"] == 0


# --- races ------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_two_buyers_of_exclusive_rights_one_may_pay(
    archive: Organization,
    lab: Organization,
    stranger: Organization,
    client_for: ClientFor,
    stripe: Stripe,
) -> None:
    offer = make_offer(archive, price_minor=50_000, typed=EXCLUSIVE)
    buyers = [client_for(lab), client_for(stranger)]
    bodies = [acceptance(quote_for(buyer, offer)) for buyer in buyers]

    responses = at_once(
        *(
            lambda buyer=buyer, body=body: buyer.post("/v1/orders", body)
            for buyer, body in zip(buyers, bodies, strict=True)
        )
    )

    assert sorted(response.status_code for response in responses) == [201, 409]
    [refused] = [response for response in responses if response.status_code == 409]
    assert refused.json()["code"] == "rights_taken"
    made = counts()
    assert (made["Order"], made["Command"], made["ScopeClaim"]) == (1, 1, 1)
    assert len(stripe.posts("/v1/checkout/sessions")) == 1


@pytest.mark.django_db(transaction=True)
def test_of_eight_acceptances_of_one_quote_one_makes_an_order(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    """Without `orders._lock`, the others met the unique key of the quote: a 500 each."""
    client = client_for(lab)
    body = acceptance(quote_for(client, make_offer(archive, price_minor=50_000)))

    responses = at_once(*[lambda: client_for(lab).post("/v1/orders", body)] * 8)

    assert sorted(response.status_code for response in responses) == [201, *[409] * 7]
    refusals = {r.json()["code"] for r in responses if r.status_code == 409}
    assert refusals == {"quote_already_accepted"}
    assert counts()["Order"] == 1


def test_the_rights_stay_held_until_nobody_can_pay_any_more(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    order = order_for(client_for(lab), make_offer(archive, price_minor=50_000))

    scope_claims.release_overdue()

    assert made_of(order)["claims"] == 1
    with access.system("read the order"):
        placed = Order.objects.get()
        assert placed.checkout_expires_at is not None
        lifetime = placed.checkout_expires_at - placed.accepted_at
    assert lifetime == orders.CHECKOUT_LIFETIME


def test_nobody_may_change_a_quote_that_an_order_rests_on(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    quote = quote_for(client_for(lab), make_offer(archive, price_minor=50_000))

    with access.system("try"), connection.cursor() as cursor:
        cursor.execute(
            "SELECT has_table_privilege(current_user, 'payments_quote', 'UPDATE, DELETE')"
        )
        assert cursor.fetchone() == (False,)
        assert Quote.objects.filter(pk=quote["id"]).count() == 1
