"""Quotes: what is priced, what it says, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from licensing import offers, optouts, prices
from licensing.models import LedgerOpening
from marketplace import access, organizations
from marketplace.models import Organization, Representation
from payments import quotes, sync
from payments.models import Order
from tests.make import EXCLUSIVE, TYPED, make_offer, make_trader
from tests.payments.buying import SCOPE, acceptance, counts, order_for, order_now, quote_for
from tests.payments.rows import make_offer_row, make_quote_row
from tests.payments.simulating import Stripe
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
NO_TAX = {
    "kind": "tax",
    "amount_minor": 0,
    "country": "US",
    "rate_basis_points": 0,
    "inclusive": False,
    "reason": "not_registered",
    "provider": "local",
}
ClientFor = Callable[..., ApiClient]


def test_a_quote_holds_the_price_the_scope_and_the_whole_contract(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    client = client_for(lab)
    offer = make_offer(archive, price_minor=50_000)

    response = client.post("/v1/quotes", {"offer": str(offer.pk), **SCOPE})

    quote = response.json()
    assert response.status_code == 201
    assert response["Location"] == f"/v1/quotes/{quote['id']}"
    assert quote["object"] == "quote"
    assert quote["livemode"] is False
    assert (quote["offer"], quote["seller"]) == (str(offer.pk), str(archive.pk))
    assert quote["scope"] == SCOPE
    assert quote["lines"] == [
        {"kind": "license", "amount_minor": 50_000},
        NO_TAX,
    ]
    assert (quote["subtotal_minor"], quote["tax_minor"], quote["total_minor"]) == (
        50_000,
        0,
        50_000,
    )
    digest = hashlib.sha256(quote["document"].encode()).hexdigest()
    assert quote["document_sha256"] == digest
    assert archive.legal_name in quote["document"]
    assert lab.legal_name in quote["document"]
    made, ends = (datetime.fromisoformat(quote[name]) for name in ("created_at", "expires_at"))
    assert ends - made == timedelta(hours=1)
    assert set(quote["windows"]) == {"access", "training", "use"}
    assert client.get(f"/v1/quotes/{quote['id']}").json() == quote
    assert client.get("/v1/quotes").json()["data"] == [quote]


def test_a_quote_holds_nothing(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    quote_for(client_for(lab), make_offer(archive, price_minor=50_000, typed=EXCLUSIVE))

    assert counts() == {
        "Quote": 1,
        "Order": 0,
        "Command": 0,
        "ScopeClaim": 0,
        "Grant": 0,
        "LedgerEntry": 0,
        "Journal": 0,
    }


def test_a_quote_begins_when_asked(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    begins = (timezone.now() + timedelta(days=30)).replace(microsecond=0)

    quote = quote_for(
        client_for(lab), make_offer(archive, price_minor=0), starts_at=begins.isoformat()
    )

    shown = datetime.fromisoformat(quote["windows"]["training"]["starts_at"])
    assert shown == begins


def test_tax_stands_on_its_own_line(
    archive: Organization, lab: Organization, client_for: ClientFor, settings: Any
) -> None:
    settings.TAX = {"US": {"basis_points": 850}}

    quote = quote_for(client_for(lab), make_offer(archive, price_minor=50_000))

    assert quote["lines"][1] == {
        "kind": "tax",
        "amount_minor": 4_250,
        "country": "US",
        "rate_basis_points": 850,
        "inclusive": False,
        "reason": "standard",
        "provider": "local",
    }
    assert (quote["subtotal_minor"], quote["tax_minor"], quote["total_minor"]) == (
        50_000,
        4_250,
        54_250,
    )


def refused(client: ApiClient, of: Any, **fields: Any) -> tuple[int, str, str | None]:
    before = counts()
    response = client.post("/v1/quotes", {"offer": str(of.pk), **SCOPE, **fields})
    assert counts() == before
    problem = response.json()
    return response.status_code, problem["code"], problem.get("param")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"uses": ["levitate"]}, "uses[0]"),
        ({"uses": []}, "uses"),
        ({"uses": "pretrain"}, "uses"),
        ({"territories": ["Atlantis"]}, "territories[0]"),
        ({"territories": []}, "territories"),
        ({"starts_at": "yesterday"}, "starts_at"),
        ({"starts_at": "2020-01-01T00:00:00Z"}, "starts_at"),
        ({"starts_at": "2999-01-01T00:00:00Z"}, "starts_at"),
        ({"offer": "grt_01kqzzzzzzzzzzzzzzzzzzzzzz"}, "offer"),
        ({"price_minor": 1}, "price_minor"),
    ],
)
def test_a_wrong_field_is_named(
    fields: dict[str, Any],
    param: str,
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
) -> None:
    offer = make_offer(archive, price_minor=50_000)

    status, code, named = refused(client_for(lab), offer, **fields)

    assert (status, code) == (422, "invalid_input")
    assert named is not None
    # Shape is checked first; which element is wrong, the terms say.
    assert named.split("[")[0] == param.split("[")[0]


def test_a_withdrawn_offer_is_not_quoted(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer = make_offer(archive, price_minor=50_000)
    offers.withdraw(caller_for(archive), str(offer.pk))

    assert refused(client_for(lab), offer)[:2] == (409, "offer_not_buyable")


def test_an_offer_to_somebody_else_is_not_there(
    archive: Organization, lab: Organization, stranger: Organization, client_for: ClientFor
) -> None:
    offer = make_offer(archive, price_minor=50_000, audience=str(lab.pk))

    assert refused(client_for(stranger), offer)[:2] == (404, "not_found")
    assert quote_for(client_for(lab), offer)["total_minor"] == 50_000


def test_a_seller_cannot_buy_its_own(archive: Organization, client_for: ClientFor) -> None:
    offer = make_offer(archive, price_minor=50_000)

    assert refused(client_for(archive), offer)[:2] == (409, "own_collection")


def test_exclusive_rights_that_are_held_are_not_quoted(
    archive: Organization,
    lab: Organization,
    stranger: Organization,
    client_for: ClientFor,
    stripe: Stripe,
) -> None:
    offer = make_offer(archive, price_minor=50_000, typed=EXCLUSIVE)
    order_for(client_for(lab), offer)

    assert refused(client_for(stranger), offer)[:2] == (409, "rights_taken")


def test_a_price_in_live_mode_is_not_quoted_where_stripe_is_in_test_mode(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer = make_offer(archive, price_minor=50_000)
    make_trader(archive)
    live = client_for(lab, livemode=True)

    assert refused(live, offer)[:2] == (409, "payment_mode_unavailable")


@pytest.mark.parametrize("who", ["archive", "lab"])
def test_in_live_mode_both_parties_are_known_to_the_law(
    archive: Organization, lab: Organization, client_for: ClientFor, who: str
) -> None:
    offer = make_offer(archive, price_minor=0)
    make_trader(archive)
    live = client_for(lab, livemode=True)
    organizations.identify(caller_for({"archive": archive, "lab": lab}[who]), contact_email="")
    assert refused(live, offer)[:2] == (409, "legal_identity_incomplete")
    assert client_for(lab).post("/v1/quotes", {"offer": str(offer.pk), **SCOPE}).status_code == 201


def test_only_the_buyer_sees_a_quote(
    archive: Organization, lab: Organization, stranger: Organization, client_for: ClientFor
) -> None:
    quote = quote_for(client_for(lab), make_offer(archive, price_minor=0))

    for other in (archive, stranger):
        assert client_for(other).get(f"/v1/quotes/{quote['id']}").status_code == 404
    live = client_for(lab, livemode=True)
    assert live.get(f"/v1/quotes/{quote['id']}").status_code == 404


def test_a_repeat_with_the_same_key_gives_the_same_quote(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    client = client_for(lab)
    body = {"offer": str(make_offer(archive, price_minor=0).pk), **SCOPE}

    first, second = (client.post("/v1/quotes", body, Idempotency_Key="k") for _ in range(2))

    assert second.json() == first.json()
    assert counts()["Quote"] == 1


# --- price models -----------------------------------------------------------------------------

PER_WORK = {
    "model": "per_unit",
    "unit": "work",
    "tiers": [{"up_to": 2, "amount_minor": 5_000, "per": 1}],
    "rate": {"amount_minor": 2_500, "per": 1},
    "minimum_minor": 15_000,
    "cap_minor": None,
}


def test_a_price_per_unit_is_quoted_line_by_line_and_agreed_in_words(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    quote = quote_for(client_for(lab), make_offer(archive, price=PER_WORK))

    tiers = [{"amount_minor": 5_000, "per": 1}, {"amount_minor": 2_500, "per": 1}]
    assert quote["lines"] == [
        {
            "kind": "license",
            "amount_minor": 10_000,
            "unit": "work",
            "quantity": 2,
            "rate": tiers[0],
            "above": 0,
            "up_to": 2,
        },
        {
            "kind": "license",
            "amount_minor": 2_500,
            "unit": "work",
            "quantity": 1,
            "rate": tiers[1],
            "above": 2,
        },
        {"kind": "minimum", "amount_minor": 2_500},
        NO_TAX,
    ]
    assert (quote["subtotal_minor"], quote["total_minor"]) == (15_000, 15_000)
    assert sum(line["amount_minor"] for line in quote["lines"]) == quote["total_minor"]
    start = quote["document"].index("D. Price")
    assert quote["document"][start:].splitlines()[1:8] == [
        "Basis: per work, for 3 works. No less than: 150.00 USD.",
        "2 works, at 50.00 USD per work: 100.00 USD",
        "1 work after the first 2, at 25.00 USD per work: 25.00 USD",
        "Up to the minimum: 25.00 USD",
        "License fee: 150.00 USD",
        "Tax: 0.00 USD",
        "Total: 150.00 USD",
    ]


@pytest.mark.parametrize(
    "price",
    [
        {"model": "subscription", "amount_minor": 90_000, "every": "month"},
        {
            "model": "metered",
            "unit": "token",
            "rate": {"amount_minor": 250, "per": 1_000_000},
            "every": "month",
        },
        {
            "model": "milestones",
            "milestones": [
                {"goal": "The agreement is signed", "amount_minor": 60_000},
                {"goal": "All works are delivered", "amount_minor": 90_000},
            ],
        },
    ],
    ids=lambda price: price["model"],
)
def test_what_cannot_be_charged_yet_is_offered_and_not_quoted(
    archive: Organization, lab: Organization, client_for: ClientFor, price: dict[str, Any]
) -> None:
    offer = make_offer(archive, price=price)
    listing = client_for(lab).get(f"/v1/listings/{offer.pk}").json()

    assert listing["price"]["model"] == price["model"]
    assert refused(client_for(lab), offer) == (422, "not_supported_yet", "offer")


def test_a_free_grant_says_that_it_was_free(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    client = client_for(lab)
    order = order_for(client, make_offer(archive, price={"model": "free"}))
    grant = client.get(f"/v1/grants/{order['grant']}").json()
    assert grant["periods"][0]["price_basis"] == {
        "model": "free",
        "amount_minor": 0,
        "currency": "USD",
    }


def test_the_price_stays_as_quoted_through_payment_into_grant_and_ledger(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the price came to is computed once: at the quote. Nothing later computes it again."""
    client = client_for(lab)
    quote = quote_for(client, make_offer(archive, price=PER_WORK))
    monkeypatch.setattr(prices, "lines", None)
    monkeypatch.setattr(prices, "basis", None)
    order = client.post("/v1/orders", acceptance(quote)).json()
    stripe.pay(order)
    with access.system("settle in a test"):
        pk = Order.objects.get().pk
    sync.sync_order(pk)

    grant = client.get(f"/v1/grants/{order_now(client, order)['grant']}").json()
    expected = {**PER_WORK, "amount_minor": 15_000, "currency": "USD", "quantity": 3}
    assert grant["periods"][0]["price_basis"] == expected
    assert (order["total_minor"], order_now(client, order)["paid_minor"]) == (15_000, 15_000)
    with access.system("read the ledger in a test"):
        opening = LedgerOpening.objects.get(entry__kind="grant.issued")
    assert json.loads(opening.values)["price"] == expected


def test_a_quote_from_before_prices_had_models_is_granted_as_flat(
    archive: Organization, lab: Organization
) -> None:
    with access.system("make a row in a test"):
        row = make_quote_row(lab, make_offer_row(archive))
        connection.check_constraints()
    assert row.price_basis is None
    assert quotes.price_basis(row) == {
        "model": "flat",
        "amount_minor": 50_000,
        "currency": "USD",
    }


# --- PostgreSQL writes it, or its serializer --------------------------------------------------


@pytest.mark.parametrize(
    ("price", "term", "asked"),
    [
        ({"model": "free"}, {}, {}),
        ({"model": "flat", "amount_minor": 50_000}, {"use_days": 3_650}, {}),
        (PER_WORK, {}, {"model": {"name": "Atlas", "release": "internal_only"}}),
        (PER_WORK, {}, {"model": {"name": 'Ä "T"', "version": "2", "release": "open_weights"}}),
    ],
    ids=["free", "flat", "per work", "per work, for a version"],
)
def test_a_quote_is_the_same_whoever_writes_it(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    settings: Any,
    price: dict[str, Any],
    term: dict[str, Any],
    asked: dict[str, Any],
) -> None:
    settings.TAX = {"US": {"basis_points": 850}}
    begins = (timezone.now() + timedelta(days=30)).replace(microsecond=250)
    starts_at = begins.astimezone(timezone.get_fixed_timezone(120)).isoformat()
    client = client_for(lab)
    offer = make_offer(archive, price=price, typed={**TYPED, "term": {**TYPED["term"], **term}})
    with access.system("look in a test"):
        out = [bytes(Representation.objects.all()[0].digest)]
    made = [quote_for(client, offer, starts_at=starts_at, **asked)]
    optouts.record(caller_for(archive), by="owner", reason="Asked.", digests=out)
    made.append(quote_for(client, offer, starts_at=starts_at, **asked))
    assert [line["kind"] for line in made[1]["lines"]][-2:] == ["tax", "opted_out"]
    for quote in made:
        settings.READPLAN = True
        planned = client.get(f"/v1/quotes/{quote['id']}").json()
        settings.READPLAN = False
        assert client.get(f"/v1/quotes/{quote['id']}").json() == planned == quote
    assert client.get("/v1/quotes").json()["data"] == made[::-1]
