"""Snapshots: a collection frozen under one root that anybody with the secret can compute again."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from licensing import jcs, offers, settree, snapshots
from licensing.models import Snapshot
from marketplace import collections, contributors, imports
from marketplace.access import acting
from marketplace.models import Collection, Organization
from tests.make import make_collection, make_grant, make_offer, records
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


def add(collection: Collection, *, start: int, count: int = 1) -> None:
    more = imports.Records(list(records(count, start=start)))
    imports.run(caller_for(collection.organization), str(collection.pk), more)


def remove(collection: Collection, *numbers: int) -> None:
    digests = [hashlib.sha256(f"work {number}".encode()).digest() for number in numbers]
    caller = caller_for(collection.organization)
    assert collections.remove(caller, str(collection.pk), digests=digests) == len(numbers)


def freeze(collection: Collection) -> Snapshot:
    return snapshots.finalize(caller_for(collection.organization), str(collection.pk))


def names(snapshot: Snapshot) -> set[str]:
    with acting(caller_for(snapshot.organization), writing=False):
        return {item.external_id for item in snapshots.items(snapshot)}


def test_a_snapshot_cites_everything_that_identifies_its_set(
    archive: Organization, client_for: ClientFor
) -> None:
    client = client_for(archive)
    collection = make_collection(archive, works=3)

    answer = client.post(f"/v1/collections/{collection.pk}/snapshots")

    snapshot = answer.json()
    assert answer.status_code == 201
    assert answer["Location"] == f"/v1/snapshots/{snapshot['id']}"
    assert snapshot["object"] == "snapshot"
    assert (snapshot["collection"], snapshot["number"]) == (str(collection.pk), 1)
    assert (snapshot["tree"], snapshot["type"], snapshot["size"]) == ("licet/set/v1", "snapshot", 3)
    assert snapshot["totals"] == {"works": 3, "bytes": 2000 + 2001 + 2002}
    cited = {name: snapshot[name] for name in ("tree", "type", "size", "root", "totals")}
    assert snapshot["citation"] == hashlib.sha256(jcs.dumps(cited)).hexdigest()
    assert client.get(answer["Location"]).json() == snapshot
    listed = client.get(f"/v1/collections/{collection.pk}/snapshots").json()["data"]
    assert listed == [snapshot]


def test_nobody_is_shown_the_secret(archive: Organization, client_for: ClientFor) -> None:
    snapshot = freeze(make_collection(archive))
    answer = client_for(archive).get(f"/v1/snapshots/{snapshot.pk}")
    assert bytes(snapshot.secret).hex() not in answer.content.decode()


def test_the_items_and_the_secret_give_the_root_again(archive: Organization) -> None:
    collection = make_collection(archive, works=5)
    snapshot = freeze(collection)
    tree = settree.SetTree("snapshot", bytes(snapshot.secret))
    with acting(caller_for(archive), writing=False):
        found = list(snapshots.items(snapshot))
    for item in found:
        tree.add(
            item.digest,
            settree.item_metadata(
                media_type=item.media_type,
                length=item.length,
                canonicalization=item.canonicalization,
                contributor=item.contributor_ref,
                units=item.units,
            ),
        )
    assert [item.digest for item in found] == sorted(item.digest for item in found)
    assert tree.finish(snapshot.totals).root == bytes(snapshot.root)
    assert tree.finish(snapshot.totals).citation() == bytes(snapshot.citation)
    assert found[0]._asdict() | {"digest": b"", "length": 0, "external_id": "", "title": ""} == {
        "digest": b"",
        "length": 0,
        "media_type": "text/plain",
        "canonicalization": "raw",
        "custody": "reference",
        "external_id": "",
        "title": "",
        "reserved": None,
        "units": None,
        "contributor_ref": None,
    }


def test_what_did_not_change_is_the_same_snapshot(
    archive: Organization, client_for: ClientFor
) -> None:
    client = client_for(archive)
    url = f"/v1/collections/{make_collection(archive).pk}/snapshots"
    first, again = client.post(url), client.post(url)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert len(client.get(url).json()["data"]) == 1


def test_what_came_and_went_between_two_snapshots_is_no_change(archive: Organization) -> None:
    collection = make_collection(archive)
    first = freeze(collection)
    add(collection, start=50)
    remove(collection, 50)
    assert freeze(collection).pk == first.pk


def test_each_snapshot_keeps_what_was_in_it(archive: Organization) -> None:
    collection = make_collection(archive, works=2)
    first = freeze(collection)
    before = names(first)
    add(collection, start=50)
    second = freeze(collection)
    remove(collection, 50)
    third = freeze(collection)
    assert [snapshot.number for snapshot in (first, second, third)] == [1, 2, 3]
    assert names(first) == names(third) == before
    assert names(second) == before | {"work-50"}
    # Each has a secret of its own: equal sets cannot be recognized by their roots.
    assert bytes(first.root) != bytes(third.root)


def test_an_empty_collection_cannot_be_frozen(archive: Organization, client_for: ClientFor) -> None:
    collection = collections.create(caller_for(archive), name="Empty")
    client = client_for(archive)
    answer = client.post(f"/v1/collections/{collection.pk}/snapshots")
    assert (answer.status_code, answer.json()["code"]) == (409, "collection_empty")
    collection.refresh_from_db()
    assert collection.next_snapshot == 1
    assert not Snapshot.objects.filter(collection=collection).exists()


def test_a_collection_that_was_emptied_cannot_be_frozen(
    archive: Organization, client_for: ClientFor
) -> None:
    collection = collections.create(caller_for(archive), name="Emptied")
    add(collection, start=7)
    freeze(collection)
    remove(collection, 7)
    answer = client_for(archive).post(f"/v1/collections/{collection.pk}/snapshots")
    assert (answer.status_code, answer.json()["code"]) == (409, "collection_empty")


def test_a_contributor_is_committed_to_and_not_named(archive: Organization) -> None:
    collection = make_collection(archive, works=2)
    caller = caller_for(archive)
    contributor = contributors.add(caller, external_id="c-1", consent="granted")
    (record,) = records(1, start=77)
    signed = dataclasses.replace(record, contributor="c-1")
    imports.run(caller, str(collection.pk), imports.Records([signed]))

    def refs(snapshot: Snapshot) -> set[str | None]:
        with acting(caller_for(archive), writing=False):
            return {item.contributor_ref for item in snapshots.items(snapshot)}

    first = freeze(collection)
    add(collection, start=50)
    second = freeze(collection)
    secret = bytes(first.secret)
    preimage = b"licet/contributor/v1" + secret + contributor.pk.bytes
    assert refs(first) == {None, hashlib.sha256(preimage).hexdigest()}
    assert refs(first) & refs(second) == {None}


def test_a_buyer_reads_what_is_on_sale_or_licensed_to_it(
    archive: Organization, lab: Organization, stranger: Organization, client_for: ClientFor
) -> None:
    private = make_offer(archive, price_minor=0, audience=str(lab.pk))
    grant = make_grant(archive, lab, offer=private)
    hidden = freeze(make_collection(archive, name="Drawer"))
    seller = caller_for(archive)

    def status(organization: Organization, snapshot: Any) -> int:
        return int(client_for(organization).get(f"/v1/snapshots/{snapshot}").status_code)

    assert status(lab, private.snapshot_id) == 200
    assert status(stranger, private.snapshot_id) == 404
    assert status(lab, hidden.pk) == 404
    offers.withdraw(seller, str(private.pk))
    # No longer on sale, and still licensed.
    assert grant.status == "active"
    assert status(lab, private.snapshot_id) == 200


def test_a_buyer_cannot_list_a_sellers_snapshots(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer = make_offer(archive)
    answer = client_for(lab).get(f"/v1/collections/{offer.collection_id}/snapshots")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_repeat_with_the_same_key_answers_the_same(
    archive: Organization, client_for: ClientFor
) -> None:
    collection = make_collection(archive)
    client, url = client_for(archive), f"/v1/collections/{collection.pk}/snapshots"
    first = client.post(url, Idempotency_Key="k")
    add(collection, start=50)
    again = client.post(url, Idempotency_Key="k")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again["Location"] == first["Location"] == f"/v1/snapshots/{first.json()['id']}"


def test_an_unknown_field_is_refused(archive: Organization, client_for: ClientFor) -> None:
    url = f"/v1/collections/{make_collection(archive).pk}/snapshots"
    answer = client_for(archive).post(url, {"number": 7})
    assert (answer.status_code, answer.json()["param"]) == (422, "number")


def test_progress_is_reported(archive: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_REPORT_EVERY", 2)
    monkeypatch.setattr(snapshots, "_FETCHED_AT_ONCE", 2)
    collection, seen = make_collection(archive, works=5), []
    snapshots.finalize(caller_for(archive), str(collection.pk), report=seen.append)
    assert seen == [2, 4]


def test_items_can_be_left_half_read(archive: Organization) -> None:
    snapshot = freeze(make_collection(archive, works=5))
    with acting(caller_for(archive), writing=False):
        reading = snapshots.items(snapshot)
        first = next(reading)
        # Two at once, on one connection.
        assert next(snapshots.items(snapshot)) == first
        assert Snapshot.objects.get(pk=snapshot.pk).size == 5
        reading.close()  # type: ignore[attr-defined]
        assert len(list(snapshots.items(snapshot))) == 5


@pytest.mark.django_db(transaction=True)
def test_of_several_at_once_one_makes_the_snapshot(archive: Organization) -> None:
    collection = make_collection(archive, works=50)

    def finalize(_number: int) -> str:
        try:
            return str(freeze(collection).pk)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(finalize, range(4)))
    assert len(set(made)) == 1
    assert Snapshot.objects.filter(collection=collection).count() == 1
