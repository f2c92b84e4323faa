"""What terms say must fit the offer that they are sold by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from licensing import snapshots, terms
from licensing.models import Offer
from marketplace.models import Organization
from tests.make import TYPED_2, make_collection
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]

FREE_WORDS = {**TYPED_2, "contract": {**TYPED_2["contract"], "other": ["As we agree."]}}


def body(organization: Organization, **terms_of: Any) -> dict[str, Any]:
    """An offer of published terms over a new snapshot, without its price."""
    caller = caller_for(organization)
    snapshot = snapshots.finalize(caller, str(make_collection(organization).pk))
    drafted = terms.draft(caller, name="Terms", **terms_of)
    terms.publish(caller, str(drafted.pk))
    return {"snapshot": str(snapshot.pk), "terms": str(drafted.pk), "currency": "USD"}


def test_free_words_are_sold_on_request_alone(archive: Organization, client_for: ClientFor) -> None:
    client = client_for(archive)
    wanted = {**body(archive, typed=FREE_WORDS), "price_minor": 50_000}
    refused = client.post("/v1/offers", wanted)
    assert (refused.status_code, refused.json()["code"]) == (409, "terms_need_human")
    assert refused.json()["terms"] == wanted["terms"]
    assert "typed.contract.other[0]" in refused.json()["detail"]
    assert client.get("/v1/offers").json()["data"] == []
    made = client.post("/v1/offers", {**wanted, "access": "on_request"})
    assert (made.status_code, made.json()["access"]) == (201, Offer.Access.ON_REQUEST)


@pytest.mark.parametrize(
    "price",
    [
        {"price_minor": 50_000},
        {"price": {"model": "flat", "amount_minor": 100}},
        {"price": {"model": "subscription", "amount_minor": 100, "every": "month"}},
    ],
)
def test_terms_that_say_free_are_not_sold_at_a_price(
    archive: Organization, client_for: ClientFor, price: dict[str, Any]
) -> None:
    client = client_for(archive)
    answer = client.post("/v1/offers", {**body(archive, template="evaluation-sample"), **price})
    assert (answer.status_code, answer.json()["param"]) == (422, "price")
    assert client.get("/v1/offers").json()["data"] == []


@pytest.mark.parametrize("price", [{"price_minor": 0}, {"price": {"model": "free"}}])
def test_terms_that_say_free_are_offered_free(
    archive: Organization, client_for: ClientFor, price: dict[str, Any]
) -> None:
    wanted = {**body(archive, template="evaluation-sample"), **price}
    assert client_for(archive).post("/v1/offers", wanted).status_code == 201
