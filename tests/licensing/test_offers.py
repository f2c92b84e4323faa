"""Offers: drafted, put on sale with what they need, and taken off."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from licensing import offers, snapshots, terms
from licensing.models import Offer
from marketplace import collections, imports
from marketplace.access import system
from marketplace.errors import NotFound, OfferNotBuyable, OwnCollection
from marketplace.models import Audit, Organization
from marketplace.typeid import TypeID
from tests.make import TYPED, make_collection, make_offer, records
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
HOUR = timedelta(hours=1)


def drafted(organization: Organization) -> dict[str, Any]:
    """The body of an offer of published terms over a new snapshot."""
    caller = caller_for(organization)
    snapshot = snapshots.finalize(caller, str(make_collection(organization).pk))
    published = terms.draft(caller, name="Training", typed=TYPED)
    terms.publish(caller, str(published.pk))
    return {
        "snapshot": str(snapshot.pk),
        "terms": str(published.pk),
        "price_minor": 50_000,
        "currency": "USD",
    }


def in_hours(hours: float) -> str:
    return (timezone.now() + hours * HOUR).isoformat()


def test_an_offer_goes_on_sale_with_what_the_seller_attested(
    archive: Organization, client_for: ClientFor
) -> None:
    client, body = client_for(archive), drafted(archive)

    answer = client.post("/v1/offers", body)
    offer = answer.json()
    assert answer.status_code == 201
    assert answer["Location"] == f"/v1/offers/{offer['id']}"
    assert {name: offer[name] for name in body} == body
    assert (offer["object"], offer["state"], offer["rights"]) == ("offer", "draft", None)
    assert (offer["audience"], offer["closes_at"], offer["published_at"]) == (None, None, None)

    published = client.post(f"/v1/offers/{offer['id']}/publish")
    assert published.status_code == 200
    assert published.json()["state"] == "listed"
    assert published.json()["published_at"] is not None
    assert published.json()["rights"] == {
        "basis": "own",
        "license_name": "",
        "statement": "We wrote them.",
    }
    assert client.post(f"/v1/offers/{offer['id']}/publish").json() == published.json()

    withdrawn = client.post(f"/v1/offers/{offer['id']}/withdraw")
    assert withdrawn.json()["state"] == "withdrawn"
    assert withdrawn.json()["withdrawn_at"] is not None
    assert client.post(f"/v1/offers/{offer['id']}/withdraw").json() == withdrawn.json()
    again = client.post(f"/v1/offers/{offer['id']}/publish")
    assert (again.status_code, again.json()["code"]) == (409, "offer_wrong_state")
    assert client.get("/v1/offers").json()["data"] == [withdrawn.json()]


def test_the_newest_attestation_counts_when_an_offer_goes_on_sale(archive: Organization) -> None:
    offer = make_offer(archive, is_published=False)
    caller = caller_for(archive)
    collections.attest(
        caller,
        str(offer.collection_id),
        basis="open_license",
        license_name="PSF-2.0",
        statement="It is published under it.",
        person_name="Ada",
        person_title="Head of rights",
        authority=True,
    )
    offer = offers.publish(caller, str(offer.pk))
    assert (offer.rights_basis, offer.rights_license) == ("open_license", "PSF-2.0")
    assert offer.rights_statement == "It is published under it."


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a negative price": ({"price_minor": -1}, "price_minor"),
    "a price below what Stripe charges": ({"price_minor": 49}, "price_minor"),
    "a price above what Stripe charges": ({"price_minor": 100_000_000}, "price_minor"),
    "a price beyond all integers": ({"price_minor": 10**30}, "price_minor"),
    "a price with a point": ({"price_minor": 500.0}, "price_minor"),
    "a price as text": ({"price_minor": "500"}, "price_minor"),
    "an unknown currency": ({"currency": "XXX"}, "currency"),
    "a currency in small letters": ({"currency": "usd"}, "currency"),
    "dates reversed": ({"opens_at": in_hours(2), "closes_at": in_hours(1)}, "closes_at"),
    "a sale that is over": ({"opens_at": in_hours(-2), "closes_at": in_hours(-1)}, "closes_at"),
    "a date that is none": ({"closes_at": "tomorrow"}, "closes_at"),
    "an id of another kind": ({"snapshot": str(TypeID.new("trm"))}, "snapshot"),
    "an audience that is not there": ({"audience": str(TypeID.new("org"))}, "audience"),
    "an unknown field": ({"discount": 5}, "discount"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_field_is_named_and_nothing_is_written(
    archive: Organization, client_for: ClientFor, case: str
) -> None:
    changes, param = WRONG[case]
    answer = client_for(archive).post("/v1/offers", drafted(archive) | changes)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["param"] == param
    assert not Offer.objects.exists()


def test_an_offer_cannot_be_private_to_its_seller(
    archive: Organization, client_for: ClientFor
) -> None:
    body = drafted(archive) | {"audience": str(archive.pk)}
    answer = client_for(archive).post("/v1/offers", body)
    assert (answer.status_code, answer.json()["param"]) == (422, "audience")


def test_a_seller_offers_only_what_is_its_own(
    archive: Organization, stranger: Organization, client_for: ClientFor
) -> None:
    # On sale, so that the stranger may read them.
    theirs, mine = make_offer(archive), drafted(stranger)
    client = client_for(stranger)
    for change in ({"snapshot": str(theirs.snapshot_id)}, {"terms": str(theirs.terms_id)}):
        answer = client.post("/v1/offers", mine | change)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert not Offer.objects.filter(organization=stranger).exists()


def test_terms_must_be_published_first(archive: Organization, client_for: ClientFor) -> None:
    client, body = client_for(archive), drafted(archive)
    unpublished = terms.draft(caller_for(archive), name="Other", typed=TYPED)
    offer = client.post("/v1/offers", body | {"terms": str(unpublished.pk)}).json()
    answer = client.post(f"/v1/offers/{offer['id']}/publish")
    assert (answer.status_code, answer.json()["code"]) == (409, "terms_not_published")
    assert client.get(f"/v1/offers/{offer['id']}").json() == offer


def test_rights_must_be_attested_first(archive: Organization, client_for: ClientFor) -> None:
    client, caller = client_for(archive), caller_for(archive)
    unattested = collections.create(caller, name="Unattested")
    imports.run(caller, str(unattested.pk), imports.Records(list(records(1))))
    snapshot = snapshots.finalize(caller, str(unattested.pk))
    offer = client.post("/v1/offers", drafted(archive) | {"snapshot": str(snapshot.pk)}).json()
    answer = client.post(f"/v1/offers/{offer['id']}/publish")
    assert (answer.status_code, answer.json()["code"]) == (409, "collection_not_attested")
    assert client.get(f"/v1/offers/{offer['id']}").json() == offer


def test_a_sale_that_ended_meanwhile_is_not_begun(archive: Organization) -> None:
    offer = make_offer(archive, is_published=False, closes_at=timezone.now() + HOUR)
    with pytest.MonkeyPatch.context() as patch:
        later = timezone.now() + 2 * HOUR
        patch.setattr(timezone, "now", lambda: later)
        with pytest.raises(offers.OfferWrongState):
            offers.publish(caller_for(archive), str(offer.pk))


def test_acts_on_offers_are_audited_with_the_attestation(archive: Organization) -> None:
    offer = make_offer(archive)
    offers.withdraw(caller_for(archive), str(offer.pk))
    with system("read the audit in a test"):
        rows = list(Audit.objects.filter(subject=str(offer.pk)).order_by("id"))
    assert [row.action for row in rows] == ["offer.made", "offer.published", "offer.withdrawn"]
    assert rows[1].data["attestation"].startswith("att_")


# --- what a buyer may buy ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "refusal"),
    [
        ({}, None),
        ({"is_published": False}, NotFound),
        ({"opens_at": timezone.now() + HOUR}, OfferNotBuyable),
    ],
    ids=["on sale", "a draft", "not yet open"],
)
def test_a_buyer_gets_what_is_on_sale(
    archive: Organization,
    lab: Organization,
    conditions: dict[str, Any],
    refusal: type[Exception] | None,
) -> None:
    offer = make_offer(archive, **conditions)
    if refusal is None:
        assert offers.buyable(caller_for(lab), str(offer.pk)) == offer
    else:
        with pytest.raises(refusal):
            offers.buyable(caller_for(lab), str(offer.pk))


def test_a_private_offer_is_there_for_its_audience_alone(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    offer = make_offer(archive, audience=str(lab.pk))
    assert offers.buyable(caller_for(lab), str(offer.pk)) == offer
    with pytest.raises(NotFound):
        offers.buyable(caller_for(stranger), str(offer.pk))
    offers.withdraw(caller_for(archive), str(offer.pk))
    with pytest.raises(OfferNotBuyable):
        offers.buyable(caller_for(lab), str(offer.pk))
    with pytest.raises(NotFound):
        offers.buyable(caller_for(stranger), str(offer.pk))


def test_nobody_buys_its_own(archive: Organization) -> None:
    with pytest.raises(OwnCollection):
        offers.buyable(caller_for(archive), str(make_offer(archive).pk))


@pytest.mark.parametrize(
    "id",
    ["off_", "nothing", "off_01m86nywy0fqhtmrs59rm4ban2", "col_01m86nywy1erwb87mb0jj4pgss"],
)
def test_what_is_no_offer_is_not_there(lab: Organization, id: str) -> None:
    with pytest.raises(NotFound):
        offers.buyable(caller_for(lab), id)
