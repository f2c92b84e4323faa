"""Collections, their attestations, and what is taken out of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from marketplace import collections, imports
from marketplace.access import acting
from marketplace.models import Attestation, Audit, Collection, CollectionItem, Organization
from tests.make import records
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
ATTESTED = {
    "basis": "open_license",
    "license_name": "PSF-2.0",
    "statement": "Published under the PSF License Version 2.",
    "person_name": "Ada Archivist",
    "person_title": "Head of rights",
    "authority": True,
}


def made(client: ApiClient, **fields: Any) -> Any:
    answer = client.post("/v1/collections", {"name": "Letters", **fields})
    assert answer.status_code == 201, answer.content
    return answer


def acts(organization: Organization) -> list[str]:
    with acting(caller_for(organization), writing=False):
        rows = Audit.objects.filter(organization=organization).exclude(action="api_key.created")
        return list(rows.order_by("id").values_list("action", flat=True))


def test_a_collection_is_made_and_shown_alike(client_for: ClientFor, archive: Organization) -> None:
    client = client_for(archive)
    answer = made(client, description="From 1850 on.", notice="Not an offer")
    body = answer.json()
    assert {**body, "id": None, "created_at": None} == {
        "object": "collection",
        "id": None,
        "organization": str(archive.pk),
        "name": "Letters",
        "description": "From 1850 on.",
        "notice": "Not an offer",
        "external_id": "",
        "source_url": "",
        "languages": [],
        "metadata": {},
        "created_at": None,
    }
    assert answer["Location"] == f"/v1/collections/{body['id']}"
    assert client.get(answer["Location"]).json() == body
    assert acts(archive) == ["collection.created"]


@pytest.mark.parametrize("name", ["", "   ", "x" * 201])
def test_a_collection_needs_a_name(client_for: ClientFor, archive: Organization, name: str) -> None:
    answer = client_for(archive).post("/v1/collections", {"name": name})
    assert (answer.status_code, answer.json()["param"]) == (422, "name")
    assert Collection.objects.count() == 0


def test_collections_are_listed_newest_first_and_only_to_their_owner(
    client_for: ClientFor, archive: Organization, stranger: Organization
) -> None:
    first, second = (made(client_for(archive), name=name).json() for name in ("one", "two"))
    page = client_for(archive).get("/v1/collections").json()
    assert page == {"data": [second, first], "has_more": False, "next_cursor": None}
    assert client_for(stranger).get("/v1/collections").json()["data"] == []


def test_an_attestation_is_kept_with_who_made_it(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    collection = made(client).json()["id"]
    answer = client.post(f"/v1/collections/{collection}/attestations", ATTESTED)
    assert answer.status_code == 201
    body = answer.json()
    expected = {key: value for key, value in ATTESTED.items() if key != "authority"}
    assert {**body, "id": None, "attested_at": None} == {
        "object": "attestation",
        "id": None,
        "collection": collection,
        "attested_at": None,
        **expected,
    }
    assert client.get(answer["Location"]).json()["data"] == [body]
    with acting(caller_for(archive), writing=False):
        actor = Attestation.objects.get().actor
    assert actor.startswith("key_")
    assert acts(archive) == ["collection.created", "collection.attested"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"basis": "because"}, "basis"),
        ({"basis": None}, "basis"),
        ({"license_name": " "}, "license_name"),
        ({"statement": " "}, "statement"),
        ({"person_name": ""}, "person_name"),
        ({"person_title": ""}, "person_title"),
        ({"authority": False}, "authority"),
        ({"authority": "true"}, "authority"),
        ({"signature": "x"}, "signature"),
    ],
)
def test_an_attestation_that_says_too_little_is_refused(
    client_for: ClientFor, archive: Organization, change: dict[str, Any], param: str
) -> None:
    client = client_for(archive)
    url = f"/v1/collections/{made(client).json()['id']}/attestations"
    answer = client.post(url, {**ATTESTED, **change})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["param"] == param
    assert client.get(url).json()["data"] == []


def test_the_newest_attestation_counts(client_for: ClientFor, archive: Organization) -> None:
    client = client_for(archive)
    made_ = made(client).json()["id"]
    for statement in ("First.", "Second."):
        body = {**ATTESTED, "statement": statement}
        client.post(f"/v1/collections/{made_}/attestations", body)
    with acting(caller_for(archive), writing=False):
        found = collections.attestation(Collection.objects.get(pk=made_))
    assert found is not None
    assert found.statement == "Second."


def test_a_repeated_attestation_takes_effect_once(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    url = f"/v1/collections/{made(client).json()['id']}/attestations"
    first = client.post(url, ATTESTED, Idempotency_Key="k")
    again = client.post(url, ATTESTED, Idempotency_Key="k")
    assert (first.json(), first["Location"]) == (again.json(), again["Location"])
    assert len(client.get(url).json()["data"]) == 1


def test_nobody_attests_for_another_organization(
    client_for: ClientFor, archive: Organization, stranger: Organization
) -> None:
    url = f"/v1/collections/{made(client_for(archive)).json()['id']}/attestations"
    assert client_for(stranger).post(url, ATTESTED).status_code == 404
    assert client_for(stranger).get(url).status_code == 404
    assert client_for(archive).get(url).json()["data"] == []


def test_what_is_taken_out_leaves_the_next_snapshot_only(archive: Organization) -> None:
    caller = caller_for(archive)
    collection = collections.create(caller, name="Letters")
    rows = list(records(3))
    imports.run(caller, str(collection.pk), imports.Records(rows))
    collection.next_snapshot = 2
    collection.save(update_fields=["next_snapshot"])
    digests = [rows[0].digest, rows[1].digest, b"\0" * 32]
    assert collections.remove(caller, str(collection.pk), digests=digests) == 2
    assert collections.remove(caller, str(collection.pk), digests=digests) == 0
    collection.refresh_from_db()
    items = CollectionItem.objects.filter(collection=collection)
    assert [items.in_snapshot(number).count() for number in (0, 1, 2)] == [0, 3, 1]


def test_works_are_shown_with_their_exact_forms(
    client_for: ClientFor, archive: Organization, stranger: Organization
) -> None:
    caller = caller_for(archive)
    letters, other = (collections.create(caller, name=name) for name in ("Letters", "Other"))
    imports.run(caller, str(letters.pk), imports.Records(records(2)))
    imports.run(caller, str(other.pk), imports.Records(records(1, start=7)))
    client = client_for(archive)

    page = client.get("/v1/works").json()["data"]
    assert [work["external_id"] for work in page] == ["work-7", "work-1", "work-0"]
    assert {**page[1], "id": None, "created_at": None} == {
        "object": "work",
        "id": None,
        "external_id": "work-1",
        "title": "Work 1",
        "source_url": "",
        "language": "",
        "contributor": None,
        "representations": [
            {
                "digest": list(records(2))[1].digest.hex(),
                "length": 1001,
                "media_type": "text/plain",
                "canonicalization": "raw",
                "custody": "reference",
                "items": [{"collection": str(letters.pk), "units": {}}],
            }
        ],
        "created_at": None,
    }
    assert client.get(f"/v1/works/{page[1]['id']}").json() == page[1]
    assert client.get(f"/v1/works?collection={other.pk}").json()["data"] == page[:1]
    assert client.get(f"/v1/works?collection={letters.pk}").json()["data"] == page[1:]
    theirs = client_for(stranger)
    assert theirs.get("/v1/works").json()["data"] == []
    assert theirs.get(f"/v1/works/{page[1]['id']}").status_code == 404
    assert theirs.get(f"/v1/works?collection={letters.pk}").status_code == 404
    assert client.get("/v1/works?collection=").status_code == 404


def test_a_page_of_works_asks_for_their_forms_and_items_once(
    client_for: ClientFor,
    archive: Organization,
    django_assert_max_num_queries: Callable[..., Any],
) -> None:
    caller = caller_for(archive)
    collection = collections.create(caller, name="Letters")
    imports.run(caller, str(collection.pk), imports.Records(records(20)))
    client = client_for(archive)
    with django_assert_max_num_queries(16):
        assert len(client.get("/v1/works").json()["data"]) == 20


# --- searching --------------------------------------------------------------------------------


def names(client: ApiClient, query: str) -> set[str]:
    answer = client.get(f"/v1/collections?{query}")
    assert answer.status_code == 200, answer.content
    return {row["name"] for row in answer.json()["data"]}


def test_drafts_are_found_by_words_as_their_language_inflects_them(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    made(client, name="Old letters", description="Written by soldiers during wars.")
    made(client, name="Alte Häuser", languages=["de-AT", "en"])
    made(client, name="Старые книги", languages=["ru"])
    made(client, name="Letters from Lagos")

    assert names(client, "q=letter") == {"Old letters", "Letters from Lagos"}
    assert names(client, "q=SOLDIER") == {"Old letters"}
    assert names(client, "q=haus") == names(client, "q=Häusern") == {"Alte Häuser"}
    assert names(client, "q=книга") == {"Старые книги"}
    assert names(client, "q=letter+-war") == {"Letters from Lagos"}
    assert names(client, "q=häuser+or+lagos") == {"Alte Häuser", "Letters from Lagos"}
    assert names(client, "q=%22old+letters%22") == {"Old letters"}
    assert names(client, "q=ships") == names(client, "q=%22%27)(:*") == set()
    assert len(names(client, "q=")) == 4


def test_a_search_finds_nobody_elses_collections_and_comes_in_pages(
    client_for: ClientFor, archive: Organization, stranger: Organization
) -> None:
    client = client_for(archive)
    ids = [made(client, name=f"Map {n}").json()["id"] for n in range(3)]
    made(client, name="Letters")
    assert names(client_for(stranger), "q=map") == set()
    first = client.get("/v1/collections?q=maps&limit=2").json()
    second = client.get(f"/v1/collections?q=maps&limit=2&cursor={first['next_cursor']}").json()
    assert [row["id"] for row in first["data"] + second["data"]] == ids[::-1]
    assert second["has_more"] is False


def test_a_question_that_is_too_long_is_refused(
    client_for: ClientFor, archive: Organization
) -> None:
    answer = client_for(archive).get(f"/v1/collections?q={'x' * 201}")
    assert (answer.status_code, answer.json()["param"]) == (422, "q")


@pytest.mark.parametrize(
    "languages", [["german!"], ["de", "de"], [""], [5], "de", ["x" * 36], ["de"] * 101]
)
def test_languages_are_a_few_different_tags(
    client_for: ClientFor, archive: Organization, languages: Any
) -> None:
    body = {"name": "Letters", "languages": languages}
    answer = client_for(archive).post("/v1/collections", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["param"].startswith("languages")
    assert not Collection.objects.exists()
