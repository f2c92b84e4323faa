"""Metadata: an organization's own references on its objects, which nobody else sees."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from marketplace import api_keys, idempotency, metadata
from marketplace.access import Scope, acting, system
from marketplace.models import Audit, IdempotencyKey, Metadata, Organization
from tests.make import make_collection, make_grant, make_offer
from tests.payments.buying import acceptance, order_for, order_now, quote_for
from tests.payments.racing import at_once
from tests.payments.simulating import Stripe, work
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
NOTED = {"po": "4711", "job": "nightly, run 7"}
KINDS = ("collections", "offers", "quotes", "orders", "grants")


@pytest.fixture
def objects(client_for: ClientFor, archive: Organization, lab: Organization) -> dict[str, str]:
    """The address of one object of each kind, with nothing noted on any."""
    offer = make_offer(archive, price_minor=0)
    order = order_for(client_for(lab), offer)
    return {
        "collections": f"/v1/collections/{offer.collection_id}",
        "offers": f"/v1/offers/{offer.pk}",
        "quotes": f"/v1/quotes/{order['quote']}",
        "orders": f"/v1/orders/{order['id']}",
        "grants": f"/v1/grants/{order['grant']}",
    }


@pytest.fixture
def of(client_for: ClientFor, archive: Organization, lab: Organization) -> dict[str, ApiClient]:
    """Who sees the object of each kind."""
    seller, buyer = client_for(archive), client_for(lab)
    return {kind: seller if kind in {"collections", "offers"} else buyer for kind in KINDS}


def rows() -> list[tuple[str, bool, dict[str, str]]]:
    with system("look in a test"):
        found = Metadata.objects.order_by("id").values_list("kind", "livemode", "data")
        return list(found)


def noted(client: ApiClient, address: str) -> Any:
    """What a client sees noted on an object: in its row, and in the list of its kind."""
    row = client.get(address).json()
    [listed] = [
        each
        for each in client.get(address.rpartition("/")[0]).json()["data"]
        if each["id"] == row["id"]
    ]
    assert listed["metadata"] == row["metadata"]
    return row["metadata"]


def note(client: ApiClient, address: str, notes: Mapping[str, str | None], **headers: str) -> Any:
    return client.post(f"{address}/metadata", {"metadata": notes}, **headers)


# --- noting and changing ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_noted_on_an_object_stands_in_its_row(
    kind: str, objects: dict[str, str], of: dict[str, ApiClient]
) -> None:
    client, address = of[kind], objects[kind]
    assert noted(client, address) == {}

    answer = note(client, address, NOTED)

    assert answer.status_code == 200
    assert answer.json() == client.get(address).json()
    assert noted(client, address) == NOTED
    assert rows() == [(answer.json()["id"][:3], False, NOTED)]


def test_names_left_out_stay_and_empty_ones_go(
    objects: dict[str, str], of: dict[str, ApiClient]
) -> None:
    client, address = of["orders"], objects["orders"]
    note(client, address, NOTED | {"desk": "3"})
    changed = note(client, address, {"po": "4712", "job": None, "desk": "", "never": None})
    assert changed.json()["metadata"] == {"po": "4712"}
    assert note(client, address, {"po": None}).json()["metadata"] == {}
    assert rows() == [("ord", False, {})]


def test_a_repeat_changes_nothing_and_the_audit_holds_no_text(
    objects: dict[str, str], of: dict[str, ApiClient], lab: Organization
) -> None:
    client, address = of["orders"], objects["orders"]
    for _time in range(3):
        assert note(client, address, NOTED).json()["metadata"] == NOTED
    note(client, address, {"po": None})
    with acting(caller_for(lab), writing=False):
        found = Audit.objects.filter(action="metadata.set").order_by("id")
        assert list(found.values_list("subject", "data")) == [
            (address.rpartition("/")[2], {"changed": 2}),
            (address.rpartition("/")[2], {"changed": 1}),
        ]


def test_texts_are_kept_exactly(objects: dict[str, str], of: dict[str, ApiClient]) -> None:
    odd = {" a b ": "  x ", "größe": "10\n\t…", "quo\"te'": "\\u0000 {} 𝄞", "n": "0" * 500}
    client, address = of["collections"], objects["collections"]
    assert note(client, address, odd).json()["metadata"] == odd
    assert noted(client, address) == odd


FIFTY = {f"n{number}": "x" for number in range(50)}


@pytest.mark.parametrize(
    ("notes", "param"),
    [
        ({"a[b": "x"}, "metadata"),
        ({"a]": "x"}, "metadata"),
        ({"": "x"}, "metadata"),
        ({"a" * 41: "x"}, "metadata"),
        ({"a\x00": "x"}, "metadata"),
        ({"po": "x" * 501}, "metadata.po"),
        ({"po": 4711}, "metadata.po"),
        ({"po": {"job": "7"}}, "metadata.po"),
        ({"po": ["7"]}, "metadata.po"),
        ({"po": "\x00"}, "metadata.po"),
        ({"po": "\ud800"}, "metadata.po"),
        ({"\ud800": "x"}, "metadata"),
        (FIFTY, "metadata"),
        (FIFTY | {"one": "more"}, "metadata"),
        ([], "metadata"),
        ("po=4711", "metadata"),
        (None, "metadata"),
    ],
)
def test_what_is_beyond_the_limits_is_refused_and_changes_nothing(
    notes: Any, param: str, objects: dict[str, str], of: dict[str, ApiClient]
) -> None:
    client, address = of["orders"], objects["orders"]
    note(client, address, NOTED)
    answer = note(client, address, notes)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["param"] == param
    assert rows() == [("ord", False, NOTED)]


def test_fifty_names_fit_and_can_be_replaced(
    objects: dict[str, str], of: dict[str, ApiClient]
) -> None:
    client, address = of["orders"], objects["orders"]
    assert note(client, address, FIFTY).json()["metadata"] == FIFTY
    replaced = note(client, address, {"n0": None, "other": "x"})
    assert len(replaced.json()["metadata"]) == 50


# --- who sees it ------------------------------------------------------------------------------


def test_the_other_party_of_a_grant_never_sees_what_one_noted(
    client_for: ClientFor, archive: Organization, lab: Organization, settings: Any
) -> None:
    address = f"/v1/grants/{make_grant(archive, lab).pk}"
    seller, buyer = client_for(archive), client_for(lab)
    note(buyer, address, {"po": "ours"})
    assert noted(seller, address) == {}
    note(seller, address, {"po": "theirs", "crm": "9"})
    for way in (True, False):
        settings.READPLAN = way
        assert noted(buyer, address) == {"po": "ours"}
        assert noted(seller, address) == {"po": "theirs", "crm": "9"}
    note(seller, address, {"po": None, "crm": None})
    assert noted(buyer, address) == {"po": "ours"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_gets_the_404_of_what_is_not_there(
    kind: str,
    objects: dict[str, str],
    of: dict[str, ApiClient],
    client_for: ClientFor,
    stranger: Organization,
) -> None:
    note(of[kind], objects[kind], NOTED)
    answer = note(client_for(stranger), objects[kind], {"po": "1"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert noted(of[kind], objects[kind]) == NOTED
    assert len(rows()) == 1


def test_the_seller_notes_nothing_on_the_buyers_order(
    objects: dict[str, str], client_for: ClientFor, archive: Organization
) -> None:
    for kind in ("quotes", "orders"):
        assert note(client_for(archive), objects[kind], NOTED).status_code == 404
    assert rows() == []


def test_each_mode_notes_its_own_on_what_they_share(
    objects: dict[str, str], client_for: ClientFor, archive: Organization
) -> None:
    test, live = client_for(archive), client_for(archive, livemode=True)
    for kind in ("collections", "offers"):
        note(test, objects[kind], {"po": "test"})
        assert noted(live, objects[kind]) == {}
        note(live, objects[kind], {"po": "live"})
        assert noted(test, objects[kind]) == {"po": "test"}
        assert noted(live, objects[kind]) == {"po": "live"}
    assert note(live, objects["orders"], NOTED).status_code == 404


NEEDED = {
    "collections": Scope.COLLECTIONS_WRITE,
    "offers": Scope.OFFERS_WRITE,
    "quotes": Scope.QUOTES_WRITE,
    "orders": Scope.ORDERS_WRITE,
    "grants": Scope.ORDERS_WRITE,
}


@pytest.mark.parametrize("kind", KINDS)
def test_noting_needs_the_scope_that_the_object_is_written_with(
    kind: str,
    objects: dict[str, str],
    client_for: ClientFor,
    archive: Organization,
    lab: Organization,
) -> None:
    who = archive if kind in {"collections", "offers"} else lab
    without = client_for(who, scopes=[each for each in Scope if each != NEEDED[kind]])
    answer = note(without, objects[kind], NOTED)
    assert (answer.status_code, answer.json()["scope"]) == (403, NEEDED[kind])
    assert rows() == []
    assert note(client_for(who, scopes=[NEEDED[kind]]), objects[kind], NOTED).status_code == 200


def test_a_revoked_key_notes_nothing(objects: dict[str, str], lab: Organization) -> None:
    caller = caller_for(lab)
    key, secret = api_keys.create(caller, name="t", scopes=["orders:write"])
    api_keys.revoke(caller, str(key.pk))
    answer = note(ApiClient(secret), objects["orders"], NOTED)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert rows() == []


def test_the_market_shows_nothing_of_what_a_seller_noted(
    objects: dict[str, str], of: dict[str, ApiClient]
) -> None:
    for kind in ("collections", "offers"):
        note(of[kind], objects[kind], {"secret": "margin 40 %"})
    listing = objects["offers"].replace("offers", "listings")
    for address in (listing, "/v1/listings"):
        shown = ApiClient().get(address)
        assert shown.status_code == 200
        assert b"margin" not in shown.content
        assert b'"metadata"' not in shown.content


# --- with what makes an object ----------------------------------------------------------------


def test_a_collection_and_an_offer_are_made_with_metadata(
    client_for: ClientFor, archive: Organization
) -> None:
    seller = client_for(archive)
    made = seller.post("/v1/collections", {"name": "Letters", "metadata": {**NOTED, "gone": ""}})
    assert (made.status_code, made.json()["metadata"]) == (201, NOTED)
    draft = make_offer(archive, is_published=False)
    body = {"snapshot": str(draft.snapshot_id), "terms": str(draft.terms_id), "price_minor": 0}
    offer = seller.post("/v1/offers", {**body, "currency": "USD", "metadata": NOTED})
    assert (offer.status_code, offer.json()["metadata"]) == (201, NOTED)
    assert rows() == [("col", False, NOTED), ("off", False, NOTED)]


@pytest.mark.parametrize("path", ["collections", "quotes", "orders"])
def test_what_cannot_be_noted_makes_nothing(
    path: str, client_for: ClientFor, archive: Organization, lab: Organization
) -> None:
    offer, buyer = make_offer(archive, price_minor=0), client_for(lab)
    bodies = {
        "collections": {"name": "Letters"},
        "quotes": {"offer": str(offer.pk), "uses": ["pretrain"], "territories": ["EU"]},
        "orders": acceptance(quote_for(buyer, offer)),
    }
    before = len(buyer.get(f"/v1/{path}").json()["data"])
    answer = buyer.post(f"/v1/{path}", {**bodies[path], "metadata": {"a[]": "x"}})
    assert (answer.status_code, answer.json()["param"]) == (422, "metadata")
    assert len(buyer.get(f"/v1/{path}").json()["data"]) == before
    assert rows() == []


@pytest.mark.parametrize(
    ("given", "carried"),
    [({}, NOTED), ({"metadata": {"own": "1"}}, {"own": "1"}), ({"metadata": {}}, {})],
)
def test_a_quotes_metadata_is_its_orders_and_its_grants(
    given: dict[str, Any],
    carried: dict[str, str],
    client_for: ClientFor,
    archive: Organization,
    lab: Organization,
) -> None:
    buyer = client_for(lab)
    quote = quote_for(buyer, make_offer(archive, price_minor=0), metadata=NOTED)

    order = buyer.post("/v1/orders", {**acceptance(quote), **given}).json()

    grant = f"/v1/grants/{order['grant']}"
    assert (quote["metadata"], order["metadata"]) == (NOTED, carried)
    assert noted(buyer, grant) == carried
    assert noted(client_for(archive), grant) == {}
    # Each has its own from then on.
    note(buyer, f"/v1/quotes/{quote['id']}", {"po": None, "job": None})
    assert order_now(buyer, order)["metadata"] == carried


def test_what_is_noted_before_the_payment_is_the_grants(
    client_for: ClientFor, archive: Organization, lab: Organization, stripe: Stripe
) -> None:
    buyer = client_for(lab)
    order = order_for(buyer, make_offer(archive, price_minor=50_000), metadata=NOTED)
    note(buyer, f"/v1/orders/{order['id']}", {"po": "4712"})
    stripe.pay(order)
    stripe.deliver()
    work()
    granted = order_now(buyer, order)
    assert granted["status"] == "granted"
    assert noted(buyer, f"/v1/grants/{granted['grant']}") == NOTED | {"po": "4712"}
    assert noted(client_for(archive), f"/v1/grants/{granted['grant']}") == {}


# --- again, and at once -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_repeat_with_the_same_key_answers_alike(
    kind: str, objects: dict[str, str], of: dict[str, ApiClient]
) -> None:
    client, address = of[kind], objects[kind]
    first = note(client, address, {"po": "1"}, Idempotency_Key="k1")
    note(client, address, {"po": "2"})
    again = note(client, address, {"po": "1"}, Idempotency_Key="k1")
    assert (again.json(), again["Idempotent-Replayed"]) == (first.json(), "true")
    assert noted(client, address) == {"po": "2"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_retry_after_a_crash_finds_what_was_noted(
    kind: str, objects: dict[str, str], of: dict[str, ApiClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, address = of[kind], objects[kind]
    with monkeypatch.context() as patch:
        patch.setattr(idempotency, "store", lambda *_arguments: None)  # died before storing
        note(client, address, NOTED, Idempotency_Key="k1")
    with system("let the lease of a dead request end"):
        IdempotencyKey.objects.filter(key="k1").update(
            locked_until=timezone.now() - timedelta(seconds=1)
        )
    resumed = note(client, address, NOTED, Idempotency_Key="k1")
    assert resumed.status_code == 200
    assert resumed.json() == client.get(address).json()
    assert resumed.json()["metadata"] == NOTED
    assert len(rows()) == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_who_note_at_once_neither_loses_what_it_noted(
    client_for: ClientFor, archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail, with one name of the two, without `metadata._lock`."""
    address = f"/v1/collections/{make_collection(archive).pk}"
    clients = {name: client_for(archive) for name in ("first", "second")}
    both_have_read, honest = threading.Barrier(2), metadata._noted

    def read_together(*arguments: Any) -> Any:
        found = honest(*arguments)
        with contextlib.suppress(threading.BrokenBarrierError):  # the other waits for the lock
            both_have_read.wait(timeout=1)
        return found

    monkeypatch.setattr(metadata, "_noted", read_together)
    answers = at_once(
        *(lambda name=name: note(clients[name], address, {name: "x"}) for name in clients)
    )
    assert [answer.status_code for answer in answers] == [200, 200]
    assert client_for(archive).get(address).json()["metadata"] == {"first": "x", "second": "x"}


# --- erasing a person -------------------------------------------------------------------------


def test_a_person_goes_out_of_notes_by_whole_words(
    objects: dict[str, str], of: dict[str, ApiClient], lab: Organization
) -> None:
    client, address = of["orders"], objects["orders"]
    note(client, address, {"for": "ANN Lee, annual", "Ann Lee": "asked", "po": "4711"})
    with system("erase in a test"):
        [ref] = metadata.forget(["Ann Lee"], lab.pk)
        assert metadata.forget(["Ann Lee"], lab.pk) == []
        assert metadata.forget(["Ann"]) == []
    assert noted(client, address) == {"for": "[erased], annual", "po": "4711"}
    with system("restore in a test"):
        # Newer than the erasure, or of it, stays; older, all of it goes.
        assert metadata.forget_again([ref]) == 0
        Metadata.objects.update(changed_at=F("changed_at") - timedelta(days=1))
        assert metadata.forget_again([ref]) == 1
        assert metadata.forget_again([ref]) == 0
    assert noted(client, address) == {}


def test_a_person_of_another_organization_is_a_namesake(
    objects: dict[str, str], of: dict[str, ApiClient], archive: Organization
) -> None:
    note(of["orders"], objects["orders"], {"for": "Ann Lee"})
    with system("erase in a test"):
        assert metadata.forget(["Ann Lee"], archive.pk) == []
    assert noted(of["orders"], objects["orders"]) == {"for": "Ann Lee"}
