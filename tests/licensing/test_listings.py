"""Listings: the market as anybody sees it, with what a buyer decides by."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from licensing import offers
from licensing.models import Offer
from marketplace.models import Organization
from tests.make import TYPED, make_collection, make_offer
from tests.people import ApiClient, caller_for, found

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


def permitting(uses: list[str], territories: list[str]) -> dict[str, Any]:
    clause = {"uses": uses, "territories": territories, "model_scope": "any_model_of_licensee"}
    return {**TYPED, "permit": [clause], "deny": []}


def shown(client: ApiClient, query: str = "") -> set[str]:
    answer = client.get(f"/v1/listings?{query}")
    assert answer.status_code == 200, answer.content
    return {listing["id"] for listing in answer.json()["data"]}


def ids(*rows: Offer) -> set[str]:
    return {str(row.pk) for row in rows}


def test_a_listing_shows_what_a_buyer_decides_by_to_anybody(
    archive: Organization, client_for: ClientFor
) -> None:
    offer = make_offer(archive)

    listing = client_for(None).get(f"/v1/listings/{offer.pk}").json()

    assert listing["object"] == "listing"
    assert listing["seller"] == {
        "id": str(archive.pk),
        "name": "Archive",
        "legal_name": "Archive Ltd",
        "jurisdiction": "IE",
        "registration_number": "12345",
    }
    assert listing["collection"] == {
        "id": str(offer.collection_id),
        "name": "Letters",
        "description": "",
        "notice": "",
    }
    assert listing["rights"] == {
        "basis": "own",
        "license_name": "",
        "statement": "We wrote them.",
    }
    assert (listing["snapshot"]["size"], listing["snapshot"]["totals"]["works"]) == (3, 3)
    assert listing["snapshot"]["citation"] == bytes(offer.snapshot.citation).hex()
    assert "secret" not in listing["snapshot"]
    assert listing["terms"]["typed"] == TYPED
    assert listing["terms"]["text"] == offer.terms.text
    assert listing["terms"]["text_url"].endswith(f"/v1/terms/{offer.terms_id}/text")
    assert (listing["price_minor"], listing["currency"]) == (50_000, "USD")
    assert listing["is_private"] is False
    assert client_for(None).get("/v1/listings").json()["data"] == [listing]


def test_a_private_offer_is_listed_for_its_audience_alone(
    archive: Organization, lab: Organization, stranger: Organization, client_for: ClientFor
) -> None:
    private = make_offer(archive, audience=str(lab.pk))
    for outsider in (client_for(None), client_for(stranger)):
        assert shown(outsider) == set()
        answer = outsider.get(f"/v1/listings/{private.pk}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    buyer = client_for(lab)
    assert shown(buyer) == ids(private)
    assert buyer.get(f"/v1/listings/{private.pk}").json()["is_private"] is True


def test_only_what_is_on_sale_now_is_listed(
    archive: Organization, client_for: ClientFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection, hour = make_collection(archive), timedelta(hours=1)
    live = make_offer(archive, collection=collection)
    make_offer(archive, collection=collection, is_published=False)
    make_offer(archive, collection=collection, opens_at=timezone.now() + hour)
    withdrawn = make_offer(archive, collection=collection)
    offers.withdraw(caller_for(archive), str(withdrawn.pk))
    closing = make_offer(archive, collection=collection, closes_at=timezone.now() + hour / 2)

    assert shown(client_for(None)) == ids(live, closing)
    later = timezone.now() + hour / 2 + timedelta(seconds=1)
    monkeypatch.setattr(timezone, "now", lambda: later)
    assert shown(client_for(None)) == ids(live)
    assert client_for(None).get(f"/v1/listings/{withdrawn.pk}").status_code == 404


def test_listings_are_found_by_use_and_territory(
    archive: Organization, client_for: ClientFor
) -> None:
    collection = make_collection(archive)
    world = make_offer(archive, collection=collection, typed=permitting(["embed"], ["*"]))
    union = make_offer(archive, collection=collection, typed=permitting(["embed"], ["EU"]))
    spain = make_offer(
        archive, collection=collection, typed=permitting(["pretrain", "embed"], ["ES"])
    )
    client = client_for(None)
    assert shown(client, "use=embed") == ids(world, union, spain)
    assert shown(client, "use=pretrain") == ids(spain)
    assert shown(client, "territory=US") == ids(world)
    assert shown(client, "territory=ES") == ids(world, union, spain)
    assert shown(client, "territory=EU") == ids(world, union)
    assert shown(client, "territory=*") == ids(world)
    assert shown(client, "use=pretrain&territory=ES") == ids(spain)
    assert shown(client, "use=pretrain&territory=DE") == set()


def test_listings_are_found_by_words_and_price(
    archive: Organization, client_for: ClientFor
) -> None:
    letters = make_offer(archive, price_minor=50_000)
    press = found("Press", "platform")
    maps = make_offer(press, price_minor=900, collection=make_collection(press, name="Old Maps"))
    yen = make_offer(press, price_minor=900, currency="JPY", collection=maps.collection)
    client = client_for(None)
    assert shown(client, "q=LETTERS") == ids(letters)
    assert shown(client, "q=maps+old") == shown(client, "q=press") == ids(maps, yen)
    assert shown(client, "q=maps+letters") == set()
    assert shown(client, "currency=USD") == ids(letters, maps)
    assert shown(client, "currency=USD&max_price_minor=900") == ids(maps)
    assert shown(client, "currency=USD&max_price_minor=899") == set()


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("use=sell", "use"),
        ("territory=UK", "territory"),
        ("currency=XXX", "currency"),
        ("max_price_minor=5", "currency"),
        ("currency=USD&max_price_minor=-1", "max_price_minor"),
        ("currency=USD&max_price_minor=1.5", "max_price_minor"),
        (f"q={'x' * 201}", "q"),
        ("limit=0", "limit"),
    ],
)
def test_a_wrong_filter_is_named(client_for: ClientFor, query: str, param: str) -> None:
    answer = client_for(None).get(f"/v1/listings?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["param"] == param


def test_listings_come_in_pages_newest_first(archive: Organization, client_for: ClientFor) -> None:
    collection = make_collection(archive)
    made = [str(make_offer(archive, collection=collection).pk) for _ in range(3)]
    first = client_for(None).get("/v1/listings?limit=2").json()
    second = client_for(None).get(f"/v1/listings?limit=2&cursor={first['next_cursor']}").json()
    assert [row["id"] for row in first["data"] + second["data"]] == made[::-1]
    assert (first["has_more"], second["has_more"]) == (True, False)


@pytest.mark.parametrize("id", ["off_", "nothing", "off_00000000000000000000000000"])
def test_what_is_no_listing_is_not_there(client_for: ClientFor, id: str) -> None:
    answer = client_for(None).get(f"/v1/listings/{id}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_bad_key_is_refused_even_where_none_is_needed(client_for: ClientFor) -> None:
    answer = ApiClient("licet_test_wrong").get("/v1/listings")
    assert answer.status_code == 401
