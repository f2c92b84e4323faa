"""“List it”: one page from works to a listed offer; all of it or nothing, and once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from licensing import terms
from licensing.models import Offer, Snapshot, Terms
from marketplace import collections, imports, organizations
from marketplace.access import system
from marketplace.models import Attestation, Collection, Organization
from tests.make import TYPED, records
from tests.people import caller_for

pytestmark = pytest.mark.django_db
LISTED = f"The offer is {Offer.State.LISTED.label.lower()}."
RIGHTS = {
    "basis": "own",
    "license_name": "",
    "statement": "We wrote them.",
    "person_name": "Ada",
    "person_title": "Archivist",
    "authority": "on",
}


@pytest.fixture
def collection(archive: Organization) -> Collection:
    """Works that nobody attested, froze or offered."""
    made = collections.create(caller_for(archive), name="Letters")
    imports.run(caller_for(archive), str(made.pk), imports.Records(list(records(3))))
    return made


@pytest.fixture
def draft(archive: Organization) -> Terms:
    return terms.draft(caller_for(archive), name="Training", typed=TYPED)


def signed_in(organization: Organization, role: str = "owner") -> Client:
    user = organizations.admit(
        organization, email=f"{role}@example.org", name="Ada", password="correct horse", role=role
    )
    client = Client()
    client.force_login(user)
    return client


def url_of(collection: Collection) -> str:
    return f"/studio/marketplace/collection/{collection.pk}/list/"


def form(draft: Terms, **changes: str) -> dict[str, str]:
    return {"terms": str(draft.pk), "price": "12.50", "currency": "EUR", **RIGHTS, **changes}


def counts() -> tuple[int, ...]:
    with system("count in a test"):
        published = Terms.objects.filter(published_at__isnull=False).count()
        made = (Attestation, Snapshot, Offer)
        return (*(kind.objects.count() for kind in made), published)


def test_one_form_attests_freezes_publishes_and_offers(
    archive: Organization, collection: Collection, draft: Terms
) -> None:
    answer = signed_in(archive).post(url_of(collection), form(draft), follow=True)
    assert LISTED in answer.content.decode()
    assert counts() == (1, 1, 1, 1)
    with system("look at a test's offer"):
        offer = Offer.objects.get()
    assert (offer.price_minor, offer.currency, offer.rights_basis) == (1250, "EUR", "own")


def test_the_form_replayed_says_so_and_makes_no_second_offer(
    archive: Organization, collection: Collection, draft: Terms
) -> None:
    client = signed_in(archive)
    client.post(url_of(collection), form(draft))
    answer = client.post(url_of(collection), form(draft), follow=True)
    assert f"This was done before. {LISTED}" in answer.content.decode()
    assert counts() == (1, 1, 1, 1)


def test_the_second_of_two_who_list_one_collection_is_told_and_lists_nothing(
    archive: Organization, collection: Collection, draft: Terms
) -> None:
    ada, bob = signed_in(archive), signed_in(archive, "editor")
    shown = [one.get(url_of(collection)).context["form"]["seen"].value() for one in (ada, bob)]
    assert shown == ["-", "-"]
    ada.post(url_of(collection), form(draft, seen="-"))

    answer = bob.post(url_of(collection), form(draft, price="99", seen="-"))

    said = answer.content.decode()
    assert "Somebody else listed this while you wrote: for 12.50 EUR, under “Training v1”" in said
    assert counts() == (1, 1, 1, 1)
    # What was written stands in the form, and whoever sends it knowingly is not stopped.
    now = answer.context["form"]
    assert now["price"].value() == "99"
    bob.post(url_of(collection), form(draft, price="99", seen=now["seen"].value()))
    assert counts() == (1, 1, 2, 1)


def test_who_replays_a_listing_hears_that_it_was_theirs(
    archive: Organization, collection: Collection, draft: Terms
) -> None:
    client = signed_in(archive)
    client.post(url_of(collection), form(draft, seen="-"))
    answer = client.post(url_of(collection), form(draft, seen="-"), follow=True)
    assert f"This was done before. {LISTED}" in answer.content.decode()
    assert counts() == (1, 1, 1, 1)


def test_where_listings_are_reviewed_it_says_who_lists_it(
    archive: Organization, collection: Collection, draft: Terms, settings: Any
) -> None:
    settings.LISTING_REVIEW = True
    answer = signed_in(archive).post(url_of(collection), form(draft), follow=True)
    assert "operator reviews the offer" in answer.content.decode()
    with system("look at a test's offer"):
        assert Offer.objects.get().state == Offer.State.IN_REVIEW


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"statement": " "}, "statement"),
        ({"authority": ""}, "authority"),
        ({"basis": "open_license"}, "license_name"),
        ({"price": "12.505"}, "price"),
        ({"terms": "trm_x"}, "terms"),
    ],
)
def test_a_refusal_is_told_at_its_field_and_changes_nothing(
    archive: Organization,
    collection: Collection,
    draft: Terms,
    changes: dict[str, str],
    field: str,
) -> None:
    answer = signed_in(archive).post(url_of(collection), form(draft, **changes))
    assert answer.status_code == 200
    assert answer.context["form"].errors[field]
    assert counts() == (0, 0, 0, 0)


def test_another_s_terms_are_no_choice(
    archive: Organization, stranger: Organization, collection: Collection, draft: Terms
) -> None:
    theirs = terms.draft(caller_for(stranger), name="Theirs", typed=TYPED)
    answer = signed_in(archive).post(url_of(collection), form(theirs))
    assert answer.context["form"].errors["terms"]
    assert "Theirs" not in answer.content.decode()
    assert counts() == (0, 0, 0, 0)


def test_who_may_only_look_lists_nothing(
    archive: Organization, collection: Collection, draft: Terms
) -> None:
    answer = signed_in(archive, "viewer").post(url_of(collection), form(draft))
    assert answer.status_code == 403
    assert counts() == (0, 0, 0, 0)


def test_terms_written_for_a_collection_lead_on_to_its_listing(
    archive: Organization, stranger: Organization, collection: Collection
) -> None:
    client, add = signed_in(archive), "/studio/licensing/terms/add/"
    page = client.get(f"{add}?collection={collection.pk}").content.decode()
    assert f"?preset=news&amp;collection={collection.pk}" in page
    written = {"name": "Own", "typed": json.dumps(TYPED)}
    answer = client.post(f"{add}?collection={collection.pk}", written)
    assert answer.headers["Location"] == url_of(collection)
    theirs = collections.create(caller_for(stranger), name="Theirs")
    answer = client.post(f"{add}?collection={theirs.pk}", written)
    assert "/licensing/terms/" in answer.headers["Location"]
