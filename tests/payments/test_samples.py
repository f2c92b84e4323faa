"""Evaluation samples: chosen by a seller, read and taken by a buyer, once and for free."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client, override_settings
from django.utils import timezone

from licensing import offers, optouts, search_documents
from licensing.models import Offer, Sample, SearchDocument, TakenSample
from marketplace import access, operators, reservations
from marketplace.models import Audit, CollectionItem, Organization
from tests.licensing.rows import make_item_row
from tests.make import TYPED, make_collection, make_offer, make_trader
from tests.payments.buying import ACCEPTANCE, counts
from tests.payments.racing import at_once
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


def works_of(offer: Offer) -> list[dict[str, str]]:
    """The works of an offer's collection, each by its three names, ascending by digest."""
    with access.system("look in a test"):
        items = CollectionItem.objects.filter(collection=offer.collection.number)
        return [
            {
                "works": str(item.work.pk),
                "external_ids": item.work.external_id,
                "digests": bytes(item.representation.digest).hex(),
            }
            for item in items.select_related("work", "representation").order_by(
                "representation__digest"
            )
        ]


def choose(client: ApiClient, offer: Offer, count: int = 2, *, by: str = "digests") -> Any:
    named = [each[by] for each in works_of(offer)[:count]]
    return client.post(f"/v1/offers/{offer.pk}/sample", {by: named})


def chosen(archive: Organization, client: ApiClient, **fields: Any) -> Offer:
    """An offer with a sample of two of its three works."""
    offer = make_offer(archive, **fields)
    assert choose(client, offer).status_code == 201
    return offer


def read(client: ApiClient, offer: Offer) -> dict[str, Any]:
    response = client.get(f"/v1/listings/{offer.pk}/sample")
    assert response.status_code == 200, response.content
    shown: dict[str, Any] = response.json()
    return shown


def acceptance(shown: dict[str, Any], **fields: Any) -> dict[str, Any]:
    accept = {"document_sha256": shown["document_sha256"], **ACCEPTANCE, **fields}
    return {"starts_at": shown["starts_at"], "accept": accept}


def take(client: ApiClient, offer: Offer, **headers: str) -> Any:
    return client.post(
        f"/v1/listings/{offer.pk}/sample", acceptance(read(client, offer)), **headers
    )


def fetched(url: str) -> bytes:
    """What the delivery process answers."""
    with override_settings(ROOT_URLCONF="licensing.delivery_urls"):
        answer: Any = Client().get(url.removeprefix(settings.DELIVERY_URL))
    assert answer.status_code == 200, answer.content
    return b"".join(answer.streaming_content) if answer.streaming else answer.content


def delivered(client: ApiClient, grant: dict[str, Any]) -> list[dict[str, Any]]:
    """The works of a grant's manifest."""
    url = client.get(f"/v1/grants/{grant['id']}/manifest").json()["url"]
    lines = [json.loads(line) for line in fetched(url).splitlines()]
    return [line for line in lines if line["type"] == "work"]


def rows() -> dict[str, int]:
    with access.system("count in a test"):
        return counts() | {
            model.__name__: model.objects.count() for model in (Offer, Sample, TakenSample)
        }


# --- the seller's choice ----------------------------------------------------------------------


@pytest.mark.parametrize("by", ["works", "external_ids", "digests"])
def test_a_seller_chooses_works_by_any_of_their_names(
    archive: Organization, client_for: ClientFor, by: str
) -> None:
    client, offer = client_for(archive), make_offer(archive)

    response = choose(client, offer, by=by)

    sample = response.json()
    assert response.status_code == 201
    assert (sample["object"], sample["offer"], sample["works"]) == ("sample", str(offer.pk), 2)
    assert client.get(f"/v1/offers/{offer.pk}/sample").json() == sample
    with access.system("look in a test"):
        audit = Audit.objects.get(action="sample.chosen")
        assert audit.data == {"offer": str(offer.pk), "works": 2}


def test_a_listing_says_how_many_works_its_sample_has(
    archive: Organization, client_for: ClientFor
) -> None:
    offer, without = make_offer(archive), make_offer(archive)
    choose(client_for(archive), offer)

    shown = {row["id"]: row["sample"] for row in ApiClient().get("/v1/listings").json()["data"]}

    assert shown == {str(offer.pk): {"works": 2}, str(without.pk): None}
    assert ApiClient().get(f"/v1/listings/{offer.pk}").json()["sample"] == {"works": 2}


def test_the_market_shows_a_sample_by_way_of_its_listing_alone(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    sample = choose(client_for(archive), make_offer(archive)).json()
    hidden, buyer = sample["sample_offer"], client_for(lab)

    assert buyer.get(f"/v1/listings/{hidden}").status_code == 404
    quoted = buyer.post(
        "/v1/quotes", {"offer": hidden, "uses": ["evaluate"], "territories": ["DE"]}
    )
    assert (quoted.status_code, quoted.json()["code"]) == (404, "not_found")
    assert choose(client_for(archive), Offer.objects.get(pk=hidden)).status_code == 404
    assert buyer.get(f"/v1/listings/{hidden}/sample").status_code == 404
    operator = operators.appoint(
        email="olga@example.org", name="Olga", password="correct horse battery"
    )
    offers.suspend(operator, hidden, reason="Look.")
    offers.reinstate(operator, hidden)
    search_documents.reindex()
    with access.system("look in a test"):
        assert not SearchDocument.objects.filter(offer=hidden).exists()


def test_a_new_choice_replaces_the_former_one(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    seller, offer = client_for(archive), make_offer(archive)
    first = choose(seller, offer, 2).json()

    second = choose(seller, offer, 1).json()

    assert second["id"] != first["id"]
    # The same conditions are the same version.
    assert second["terms"] == first["terms"]
    assert read(client_for(lab), offer)["works"] == 1
    assert seller.get(f"/v1/offers/{first['sample_offer']}").json()["state"] == "withdrawn"


def test_a_repeat_with_the_same_key_is_the_same_choice(
    archive: Organization, client_for: ClientFor
) -> None:
    client, offer = client_for(archive), make_offer(archive)
    body = {"digests": [works_of(offer)[0]["digests"]]}
    url = f"/v1/offers/{offer.pk}/sample"

    first, second = (client.post(url, body, Idempotency_Key="k") for _ in range(2))

    assert first.json() == second.json()
    assert rows()["Sample"] == 1


def test_without_its_offer_there_is_no_sample(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    seller, offer = client_for(archive), make_offer(archive)
    sample = choose(seller, offer).json()

    assert seller.post(f"/v1/offers/{sample['sample_offer']}/withdraw").status_code == 200

    assert ApiClient().get(f"/v1/listings/{offer.pk}").json()["sample"] is None
    assert client_for(lab).get(f"/v1/listings/{offer.pk}/sample").status_code == 404


def test_a_choice_names_works_that_the_offer_has(
    archive: Organization, client_for: ClientFor
) -> None:
    client, offer = client_for(archive), make_offer(archive)
    other = make_offer(archive, collection=make_collection(archive, name="Others"))
    mine, theirs = works_of(offer)[0], works_of(other)[0]
    before = rows()
    for body, param in (
        ({}, "works"),
        ({"works": [mine["works"]], "digests": [mine["digests"]]}, "works"),
        ({"works": []}, "works"),
        ({"external_ids": ["x"] * 1001}, "external_ids"),
        ({"works": [mine["works"], theirs["works"]]}, "works[1]"),
        ({"external_ids": ["unknown"]}, "external_ids[0]"),
        ({"digests": ["0" * 64]}, "digests[0]"),
    ):
        refused = client.post(f"/v1/offers/{offer.pk}/sample", body)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input"), body
        assert refused.json()["param"].startswith(param), body
    assert rows() == before


@pytest.mark.parametrize("reason", ["opted_out", "held"])
def test_a_choice_of_a_work_that_is_taken_out_is_refused(
    archive: Organization, client_for: ClientFor, reason: str
) -> None:
    client, offer = client_for(archive), make_offer(archive)
    digest = bytes.fromhex(works_of(offer)[1]["digests"])
    with access.system("reserve in a test"):
        reservations.reserve([digest], organization=archive.pk, reason=reason, cause="test")
    before = rows()

    refused = choose(client, offer)

    assert refused.json()["code"] == {"opted_out": "work_opted_out", "held": "work_held"}[reason]
    assert refused.json()["param"] == "digests[1]"
    assert rows() == before


def test_a_withdrawn_offer_takes_no_choice(archive: Organization, client_for: ClientFor) -> None:
    offer = make_offer(archive)
    offers.withdraw(caller_for(archive), str(offer.pk))
    before = rows()

    refused = choose(client_for(archive), offer)

    assert (refused.status_code, refused.json()["code"]) == (409, "offer_wrong_state")
    assert rows() == before


# --- the buyer's ------------------------------------------------------------------------------


def test_a_buyer_reads_the_document_then_holds_a_grant_to_evaluate(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer, client = chosen(archive, client_for(archive)), client_for(lab)
    before = rows()
    shown = read(client, offer)
    assert rows() == before
    assert (shown["works"], shown["opted_out"], shown["grant"]) == (2, 0, None)
    assert "Use: evaluate" in shown["document"]

    response = client.post(f"/v1/listings/{offer.pk}/sample", acceptance(shown))

    grant = response.json()
    assert response.status_code == 201
    assert response["Location"] == f"/v1/grants/{grant['id']}"
    assert grant == client.get(response["Location"]).json()
    assert grant["agreement"]["document"] == shown["document"]
    assert grant["agreement"]["accepted_by_name"] == ACCEPTANCE["name"]
    [period], [coverage] = grant["periods"], grant["coverage"]
    assert period["scope"] == {"uses": ["evaluate"], "territories": ["*"]}
    assert period["price_basis"]["amount_minor"] == 0
    assert coverage["size"] == 2
    assert read(client, offer)["grant"] == grant["id"]
    works = [each["digest"] for each in delivered(client, grant)]
    assert works == [each["digests"] for each in works_of(offer)[:2]]
    made = rows()
    assert (made["Grant"], made["LedgerEntry"], made["Journal"], made["TakenSample"]) == (
        before["Grant"] + 1,
        before["LedgerEntry"] + 1,
        0,
        1,
    )
    with access.system("look in a test"):
        assert Audit.objects.get(action="sample.taken").data == {"grant": grant["id"]}


def test_a_samples_bytes_are_delivered_and_no_others(
    archive: Organization, lab: Organization, client_for: ClientFor, tmp_path: Path
) -> None:
    with override_settings(STORAGE_DIR=tmp_path / "store"):
        _deliver(archive, client_for(archive), client_for(lab))


def _deliver(archive: Organization, seller: ApiClient, client: ApiClient) -> None:
    collection = make_collection(archive)
    inside, outside = (
        bytes(make_item_row(collection, content).digest).hex() for content in (b"in", b"out")
    )
    offer = make_offer(archive, collection=collection)
    chose = seller.post(f"/v1/offers/{offer.pk}/sample", {"digests": [inside]})
    assert chose.status_code == 201
    grant = take(client, offer).json()

    [work] = delivered(client, grant)
    assert fetched(work["url"]) == b"in"
    links = client.post(f"/v1/grants/{grant['id']}/links", {"digests": [inside, outside]}).json()
    assert {each["digest"]: each["excluded"] for each in links["works"]} == {
        inside: None,
        outside: "not_covered",
    }


def test_a_sample_of_what_is_sold_on_request_needs_no_approval(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer = chosen(archive, client_for(archive), access="on_request")
    assert take(client_for(lab), offer).status_code == 201


def test_a_repeat_answers_the_same_grant(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    seller, client = client_for(archive), client_for(lab)
    offer = chosen(archive, seller)
    body = acceptance(read(client, offer))
    url = f"/v1/listings/{offer.pk}/sample"
    first = client.post(url, body, Idempotency_Key="k")
    made = rows()
    replayed = client.post(url, body, Idempotency_Key="k")
    again = client.post(url, body)
    assert rows() == made
    # Also of what the seller chose since.
    choose(seller, offer, 1)
    later = take(client, offer)

    assert [each.status_code for each in (first, replayed, again, later)] == [201, 201, 200, 200]
    assert {each.json()["id"] for each in (first, replayed, again, later)} == {first.json()["id"]}
    assert rows()["Grant"] == made["Grant"]


def test_each_organization_and_each_mode_takes_its_own(
    archive: Organization, lab: Organization, stranger: Organization, client_for: ClientFor
) -> None:
    offer = chosen(archive, client_for(archive))
    make_trader(archive)
    buyers = [client_for(lab), client_for(lab, livemode=True), client_for(stranger)]

    grants = {take(buyer, offer).json()["id"] for buyer in buyers}

    assert len(grants) == 3


@pytest.mark.django_db(transaction=True)
def test_of_four_requests_at_once_one_makes_the_grant(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    """Without `samples.lock`, the others met the unique key of what is taken: a 500 each."""
    offer, client = chosen(archive, client_for(archive)), client_for(lab)
    body = acceptance(read(client, offer))
    url = f"/v1/listings/{offer.pk}/sample"

    responses = at_once(*[lambda: client.post(url, body)] * 4)

    assert sorted(response.status_code for response in responses) == [200, 200, 200, 201]
    assert len({response.json()["id"] for response in responses}) == 1
    made = rows()
    assert (made["Grant"], made["Order"], made["TakenSample"]) == (1, 1, 1)


@pytest.mark.django_db(transaction=True)
def test_of_two_choices_at_once_one_stays(archive: Organization, client_for: ClientFor) -> None:
    """Without the lock on the offer, both stayed listed."""
    client, offer = client_for(archive), make_offer(archive)

    responses = at_once(lambda: choose(client, offer, 1), lambda: choose(client, offer, 2))

    assert [response.status_code for response in responses] == [201, 201]
    with access.system("look in a test"):
        assert Sample.objects.current().filter(offer=offer).count() == 1


def test_another_document_a_late_start_or_no_authority_is_refused(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer, client = chosen(archive, client_for(archive)), client_for(lab)
    shown = read(client, offer)
    late = (timezone.now() - timedelta(hours=2)).isoformat()
    early = (timezone.now() + timedelta(hours=1)).isoformat()
    before = rows()
    for body, code, param in (
        (
            acceptance(shown, document_sha256="0" * 64),
            "accepted_document_mismatch",
            "accept.document_sha256",
        ),
        (acceptance({**shown, "starts_at": late}), "invalid_input", "starts_at"),
        (acceptance({**shown, "starts_at": early}), "invalid_input", "starts_at"),
        (acceptance(shown, authority=False), "invalid_input", "accept.authority"),
        (acceptance(shown, name=" "), "invalid_input", "accept.name"),
    ):
        refused = client.post(f"/v1/listings/{offer.pk}/sample", body)
        assert (refused.json()["code"], refused.json()["param"]) == (code, param)
    assert rows() == before


def test_what_was_opted_out_since_is_left_out_and_said(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer, client = chosen(archive, client_for(archive)), client_for(lab)
    first, second = (bytes.fromhex(each["digests"]) for each in works_of(offer)[:2])
    stale = acceptance(read(client, offer))
    url = f"/v1/listings/{offer.pk}/sample"
    optouts.record(caller_for(archive), by="owner", reason="Asked.", digests=[first])

    refused = client.post(url, stale)
    assert refused.json()["code"] == "accepted_document_mismatch"
    assert read(client, offer)["opted_out"] == 1
    grant = take(client, offer)
    assert grant.status_code == 201
    optouts.record(caller_for(archive), by="owner", reason="Asked.", digests=[second])
    # The grant stands, and its licensee is told.
    again = client.post(url, stale)
    assert (again.status_code, again.json()["id"]) == (200, grant.json()["id"])
    assert len(client.get("/v1/notices").json()["data"]) == 1
    make_trader(archive)
    other = client_for(lab, livemode=True).get(url)
    assert (other.status_code, other.json()["code"]) == (409, "opted_out")


def test_exclusive_rights_to_evaluate_the_whole_exclude_its_sample(
    archive: Organization, lab: Organization, stranger: Organization, client_for: ClientFor
) -> None:
    permit = [{**TYPED["permit"][0], "uses": ["evaluate"], "territories": ["*"]}]
    offer = chosen(
        archive,
        client_for(archive),
        price_minor=0,
        typed={**TYPED, "exclusivity": "exclusive", "permit": permit},
    )
    rival, client = client_for(stranger), client_for(lab)
    quote = rival.post(
        "/v1/quotes", {"offer": str(offer.pk), "uses": ["evaluate"], "territories": ["DE"]}
    ).json()
    order = {
        "quote": quote["id"],
        "accept": {"document_sha256": quote["document_sha256"], **ACCEPTANCE},
    }
    assert rival.post("/v1/orders", order).status_code == 201
    before = rows()

    refused = take(client, offer)

    assert (refused.status_code, refused.json()["code"]) == (409, "rights_taken")
    assert rows() == before


def test_who_may_not_see_the_listing_takes_no_sample(
    archive: Organization, lab: Organization, stranger: Organization, client_for: ClientFor
) -> None:
    private = chosen(archive, client_for(archive), audience=str(lab.pk))
    own = client_for(archive).get(f"/v1/listings/{private.pk}/sample")
    assert (own.status_code, own.json()["code"]) == (409, "own_collection")
    assert client_for(stranger).get(f"/v1/listings/{private.pk}/sample").status_code == 404
    assert take(client_for(lab), private).status_code == 201
    without = make_offer(archive)
    assert client_for(lab).get(f"/v1/listings/{without.pk}/sample").status_code == 404


def test_the_listings_page_says_that_there_is_a_sample(
    archive: Organization, client_for: ClientFor
) -> None:
    offer, without = chosen(archive, client_for(archive)), make_offer(archive)

    page = Client().get(f"/listings/{offer.pk}").content.decode()

    assert f"2 works, free to evaluate: <code>GET /v1/listings/{offer.pk}/sample</code>" in page
    assert "evaluate" not in Client().get(f"/listings/{without.pk}").content.decode()
