"""Access requests: asked, answered, and what an approval opens."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, Event
from time import sleep
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from licensing import access_requests, offers
from licensing.models import AccessRequest, Offer
from marketplace.access import system
from marketplace.errors import AccessAlreadyRequested, AccessRequestWrongState
from marketplace.models import Audit, Organization
from payments import orders, quotes
from tests.make import make_offer, make_trader
from tests.payments.buying import ACCEPTANCE, acceptance, counts
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
MODEL = {"name": "Gamma", "version": "2", "release": "closed_api"}
ASKED = {"uses": ["pretrain"], "territories": ["EU"], "model": MODEL, "message": "Please."}
SCOPE = {"uses": ["pretrain"], "territories": ["DE"]}


def on_request(seller: Organization, **conditions: Any) -> Offer:
    return make_offer(seller, price_minor=0, access="on_request", **conditions)


def asked(buyer: Organization, offer: Offer, **fields: Any) -> AccessRequest:
    body: dict[str, Any] = {**ASKED, **fields}
    return access_requests.ask(caller_for(buyer), str(offer.pk), **body)


def overdue(request: AccessRequest) -> None:
    """Let the time of a request pass."""
    past = F("created_at") + timedelta(microseconds=1)
    with system("let time pass in a test"):
        AccessRequest.objects.filter(pk=request.pk).update(expires_at=past)


def stored(request: AccessRequest) -> AccessRequest:
    with system("read in a test"):
        return AccessRequest.objects.get(pk=request.pk)


def quoted(client: ApiClient, offer: Offer, **fields: Any) -> tuple[int, str]:
    before = counts()["Quote"]
    answer = client.post("/v1/quotes", {"offer": str(offer.pk), **SCOPE, **fields})
    made = answer.status_code == 201
    assert counts()["Quote"] == before + made
    return answer.status_code, "" if made else answer.json()["code"]


def test_a_buyer_asks_the_seller_approves_and_the_buyer_buys(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    seller, buyer = client_for(archive), client_for(lab)
    offer = on_request(archive)
    assert client_for(None).get(f"/v1/listings/{offer.pk}").json()["access"] == "on_request"

    answer = buyer.post(f"/v1/listings/{offer.pk}/access-requests", ASKED)

    request = answer.json()
    assert answer.status_code == 201
    assert answer["Location"] == f"/v1/access-requests/{request['id']}"
    assert request | {"created_at": 0, "expires_at": 0, "id": 0} == {
        "object": "access_request",
        "id": 0,
        "livemode": False,
        "listing": str(offer.pk),
        "seller": str(archive.pk),
        "buyer": {
            "id": str(lab.pk),
            "name": "Lab",
            "legal_name": "Lab Ltd",
            "jurisdiction": "US-DE",
            "registration_number": "12345",
        },
        "uses": ["pretrain"],
        "territories": ["EU"],
        "model": MODEL,
        "message": "Please.",
        "status": "pending",
        "reason": "",
        "created_at": 0,
        "expires_at": 0,
        "decided_at": None,
        "canceled_at": None,
    }
    for client in (seller, buyer):
        assert client.get(f"/v1/access-requests/{request['id']}").json() == request
        assert client.get("/v1/access-requests").json()["data"] == [request]
    assert quoted(buyer, offer) == (409, "access_not_approved")

    approved = seller.post(f"/v1/access-requests/{request['id']}/approve")

    assert (approved.status_code, approved.json()["status"]) == (200, "approved")
    assert approved.json()["decided_at"] is not None
    quote = buyer.post("/v1/quotes", {"offer": str(offer.pk), **SCOPE}).json()
    assert buyer.post("/v1/orders", acceptance(quote)).json()["status"] == "granted"


def test_a_request_and_its_approval_last_as_long_as_the_market_says(
    archive: Organization, lab: Organization, settings: Any
) -> None:
    settings.ACCESS_REQUEST_DAYS = 3
    request = asked(lab, on_request(archive))
    assert request.expires_at - request.created_at == timedelta(days=3)
    approved = access_requests.approve(caller_for(archive), str(request.pk))
    assert approved.decided_at is not None
    assert approved.expires_at - approved.decided_at == timedelta(days=3)


# --- what an approval opens -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "outcome"),
    [
        ({"uses": ["pretrain"], "territories": ["DE"]}, (201, "")),
        ({"uses": ["pretrain"], "territories": ["EU"]}, (201, "")),
        ({"uses": ["pretrain"], "territories": ["DE", "FR"]}, (201, "")),
        ({"uses": ["pretrain"], "territories": ["US"]}, (409, "access_not_approved")),
        ({"uses": ["pretrain"], "territories": ["DE", "US"]}, (409, "access_not_approved")),
        ({"uses": ["finetune"], "territories": ["DE"]}, (409, "access_not_approved")),
        ({"uses": ["pretrain", "finetune"], "territories": ["DE"]}, (409, "access_not_approved")),
    ],
)
def test_an_approval_is_for_what_was_asked_and_no_more(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    scope: dict[str, Any],
    outcome: tuple[int, str],
) -> None:
    offer = on_request(archive)
    access_requests.approve(caller_for(archive), str(asked(lab, offer).pk))
    assert quoted(client_for(lab), offer, **scope) == outcome


def test_two_approvals_are_not_added_up(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer = on_request(archive)
    for fields in ({}, {"uses": ["finetune"], "territories": ["US"]}):
        access_requests.approve(caller_for(archive), str(asked(lab, offer, **fields).pk))
    client = client_for(lab)
    assert quoted(client, offer)[0] == 201
    assert quoted(client, offer, uses=["finetune"], territories=["US"])[0] == 201
    assert quoted(client, offer, uses=["finetune"], territories=["DE"])[0] == 409


def test_an_approval_opens_one_offer_to_one_buyer_in_one_mode(
    archive: Organization, lab: Organization, stranger: Organization, client_for: ClientFor
) -> None:
    offer, other = on_request(archive), on_request(archive)
    access_requests.approve(caller_for(archive), str(asked(lab, offer).pk))
    refused = (409, "access_not_approved")
    assert quoted(client_for(lab), offer) == (201, "")
    assert quoted(client_for(lab), other) == refused
    assert quoted(client_for(stranger), offer) == refused
    make_trader(archive)
    assert quoted(client_for(lab, livemode=True), offer) == refused


@pytest.mark.parametrize("how", ["declined", "expired", "canceled", "pending", "worker"])
def test_nothing_but_an_approval_that_stands_opens_an_offer(
    archive: Organization, lab: Organization, client_for: ClientFor, how: str
) -> None:
    offer = on_request(archive)
    request = asked(lab, offer)
    if how == "declined":
        access_requests.decline(caller_for(archive), str(request.pk), reason="No.")
    elif how != "pending":
        access_requests.approve(caller_for(archive), str(request.pk))
        assert quoted(client_for(lab), offer) == (201, "")
        if how == "canceled":
            access_requests.cancel(caller_for(lab), str(request.pk))
        else:
            overdue(request)
        if how == "worker":
            assert access_requests.expire_due() == 1
    assert quoted(client_for(lab), offer) == (409, "access_not_approved")


def test_a_refused_buyer_reads_what_to_do(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer, client = on_request(archive), client_for(lab)

    def detail(**fields: Any) -> str:
        body = {"offer": str(offer.pk), **SCOPE, **fields}
        return str(client.post("/v1/quotes", body).json()["detail"])

    again = f"POST /v1/listings/{offer.pk}/access-requests"
    assert detail() == f"This offer is sold on request. Ask the seller first: {again}."
    request = asked(lab, offer)
    assert detail() == f"Your request {request.pk} awaits the seller's answer."
    access_requests.approve(caller_for(archive), str(request.pk))
    assert detail(uses=["finetune"]) == (
        "The seller approved pretrain in EU for Gamma 2 (closed_api). Quote within that, or ask for"
        f" more: {again}."
    )


def test_a_quote_is_good_for_no_longer_than_its_approval(
    archive: Organization, lab: Organization
) -> None:
    offer = on_request(archive)
    request = asked(lab, offer)
    access_requests.approve(caller_for(archive), str(request.pk))
    soon = timezone.now() + timedelta(minutes=5)
    with system("let time pass in a test"):
        AccessRequest.objects.filter(pk=request.pk).update(expires_at=soon)
    quote = quotes.make(caller_for(lab), offer=str(offer.pk), uses=["pretrain"], territories=["DE"])
    assert quote.expires_at == soon


def test_a_quote_of_an_approval_that_was_given_up_cannot_be_ordered(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer, client = on_request(archive), client_for(lab)
    request = asked(lab, offer)
    access_requests.approve(caller_for(archive), str(request.pk))
    quote = client.post("/v1/quotes", {"offer": str(offer.pk), **SCOPE}).json()
    access_requests.cancel(caller_for(lab), str(request.pk))
    before = counts()

    answer = client.post("/v1/orders", acceptance(quote))

    assert (answer.status_code, answer.json()["code"]) == (409, "access_not_approved")
    assert counts() == before


# --- asking -----------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a use that the terms deny": ({"uses": ["ground_display"]}, "uses[0]"),
    "no use": ({"uses": []}, "uses"),
    "no such place": ({"territories": ["XX"]}, "territories[0]"),
    "a place beyond the terms": ({"territories": ["JP"]}, "territories[0]"),
    "no model": ({"model": None}, "model"),
    "a model without a name": ({"model": {**MODEL, "name": " "}}, "model.name"),
    "a release of another kind": ({"model": {**MODEL, "release": "shareware"}}, "model.release"),
    "a field of the model too many": ({"model": {**MODEL, "size": 7}}, "model.size"),
    "an unknown field": ({"price": 5}, "price"),
    "a message too long": ({"message": "x" * 5_001}, "message"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_field_is_named_and_nothing_is_asked(
    archive: Organization, lab: Organization, client_for: ClientFor, case: str
) -> None:
    changes, param = WRONG[case]
    offer = on_request(archive)
    answer = client_for(lab).post(f"/v1/listings/{offer.pk}/access-requests", ASKED | changes)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["param"] == param
    with system("count in a test"):
        assert not AccessRequest.objects.exists()


def test_what_cannot_be_asked_for(
    archive: Organization, lab: Organization, stranger: Organization, client_for: ClientFor
) -> None:
    def ask(client: ApiClient, offer: Offer) -> tuple[int, str]:
        answer = client.post(f"/v1/listings/{offer.pk}/access-requests", ASKED)
        return answer.status_code, answer.json()["code"]

    lab_client = client_for(lab)
    assert ask(lab_client, make_offer(archive)) == (409, "offer_is_open")
    assert ask(client_for(archive), on_request(archive)) == (409, "own_collection")
    private = on_request(archive, audience=str(stranger.pk))
    assert ask(lab_client, private) == (404, "not_found")
    assert ask(lab_client, on_request(archive, is_published=False)) == (404, "not_found")
    withdrawn = on_request(archive)
    offers.withdraw(caller_for(archive), str(withdrawn.pk))
    assert ask(lab_client, withdrawn) == (409, "offer_not_buyable")
    with system("count in a test"):
        assert not AccessRequest.objects.exists()


def test_one_question_about_one_offer_is_open_at_a_time(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    offer = on_request(archive)
    first = asked(lab, offer)
    with pytest.raises(AccessAlreadyRequested) as refusal:
        asked(lab, offer)
    assert refusal.value.data["access_request"] == str(first.pk)
    asked(stranger, offer)
    asked(lab, on_request(archive))
    overdue(first)
    second = asked(lab, offer)
    assert (stored(first).state, second.state) == ("expired", "pending")
    access_requests.cancel(caller_for(lab), str(second.pk))
    third = asked(lab, offer)
    access_requests.decline(caller_for(archive), str(third.pk), reason="No.")
    assert asked(lab, offer).state == "pending"


def test_a_repeat_with_the_same_key_finds_the_same_request(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    client, url = client_for(lab), f"/v1/listings/{on_request(archive).pk}/access-requests"
    first, second = (client.post(url, ASKED, Idempotency_Key="k") for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()


# --- every state, every event -----------------------------------------------------------------

ACTS: dict[str, Callable[[AccessRequest], Any]] = {
    "approve": lambda it: access_requests.approve(caller_for(it.licensor), str(it.pk)),
    "decline": lambda it: access_requests.decline(
        caller_for(it.licensor), str(it.pk), reason="Not now."
    ),
    "cancel": lambda it: access_requests.cancel(caller_for(it.licensee), str(it.pk)),
    "expire": lambda it: (overdue(it), access_requests.expire_due()),
}
REACHED_BY = {
    "pending": [],
    "approved": ["approve"],
    "declined": ["decline"],
    "expired": ["expire"],
    "approved, then expired": ["approve", "expire"],
    "canceled": ["cancel"],
    "approved, then canceled": ["approve", "cancel"],
}
# What comes of an event in a state; where nothing stands here, it is refused.
COMES_OF = {
    ("pending", "approve"): "approved",
    ("pending", "decline"): "declined",
    ("pending", "cancel"): "canceled",
    ("pending", "expire"): "expired",
    ("approved", "approve"): "approved",
    ("approved", "cancel"): "canceled",
    ("approved", "expire"): "expired",
    ("declined", "decline"): "declined",
    ("declined", "expire"): "declined",
    ("expired", "expire"): "expired",
    ("canceled", "cancel"): "canceled",
    ("canceled", "expire"): "canceled",
}


@pytest.mark.parametrize("event", ACTS)
@pytest.mark.parametrize("way", REACHED_BY)
def test_each_event_in_each_state(
    archive: Organization, lab: Organization, way: str, event: str
) -> None:
    request = asked(lab, on_request(archive))
    for act in REACHED_BY[way]:
        ACTS[act](request)
    before = stored(request)
    state = way.rsplit(" ", 1)[-1]
    assert before.state == state

    expected = COMES_OF.get((state, event))

    if expected is None:
        with pytest.raises(AccessRequestWrongState) as refusal:
            ACTS[event](request)
        assert refusal.value.data["state"] == state
        assert stored(request).__dict__ | {"_state": 0} == before.__dict__ | {"_state": 0}
    else:
        ACTS[event](request)
        assert stored(request).state == expected
        if event != "expire" and expected == state:
            # A repeat changes nothing.
            assert stored(request).__dict__ | {"_state": 0} == before.__dict__ | {"_state": 0}


@pytest.mark.parametrize("event", ["approve", "decline", "cancel"])
def test_what_is_overdue_is_expired_before_the_worker_says_so(
    archive: Organization, lab: Organization, client_for: ClientFor, event: str
) -> None:
    request = asked(lab, on_request(archive))
    overdue(request)
    with pytest.raises(AccessRequestWrongState):
        ACTS[event](request)
    client = client_for(lab)
    assert client.get(f"/v1/access-requests/{request.pk}").json()["status"] == "expired"
    listed = client.get("/v1/access-requests?status=expired").json()["data"]
    assert [one["id"] for one in listed] == [str(request.pk)]
    assert client.get("/v1/access-requests?status=pending").json()["data"] == []


def test_each_side_does_its_own_part(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    request = asked(lab, on_request(archive))
    for client, act in (
        (client_for(lab), "approve"),
        (client_for(lab), "decline"),
        (client_for(archive), "cancel"),
    ):
        body = {"reason": "No."} if act == "decline" else {}
        answer = client.post(f"/v1/access-requests/{request.pk}/{act}", body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert stored(request).state == "pending"


def test_a_no_says_why(archive: Organization, lab: Organization, client_for: ClientFor) -> None:
    request = asked(lab, on_request(archive))
    url = f"/v1/access-requests/{request.pk}/decline"
    seller = client_for(archive)
    for body in ({}, {"reason": ""}, {"reason": " "}):
        answer = seller.post(url, body)
        assert (answer.status_code, answer.json()["param"]) == (422, "reason")
    assert stored(request).state == "pending"
    assert seller.post(url, {"reason": "Not for closed models."}).status_code == 200
    shown = client_for(lab).get(f"/v1/access-requests/{request.pk}").json()
    assert (shown["status"], shown["reason"]) == ("declined", "Not for closed models.")


def test_a_list_is_narrowed_by_side_and_status(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    received = asked(lab, on_request(archive))
    made = asked(archive, on_request(lab))
    access_requests.approve(caller_for(lab), str(made.pk))
    client = client_for(archive)

    def listed(query: str) -> list[str]:
        answer = client.get(f"/v1/access-requests?{query}")
        assert answer.status_code == 200
        return [one["id"] for one in answer.json()["data"]]

    assert listed("") == [str(made.pk), str(received.pk)]
    assert listed("role=seller") == [str(received.pk)]
    assert listed("role=buyer") == [str(made.pk)]
    assert listed("status=approved") == [str(made.pk)]
    assert listed("status=approved&role=seller") == []
    for query in ("role=both", "status=open"):
        answer = client.get(f"/v1/access-requests?{query}")
        assert (answer.status_code, answer.json()["param"]) == (422, query.split("=")[0])


def test_acts_are_audited(archive: Organization, lab: Organization) -> None:
    offer = on_request(archive)
    access_requests.approve(caller_for(archive), str(asked(lab, offer).pk))
    declined = asked(lab, offer)
    access_requests.decline(caller_for(archive), str(declined.pk), reason="No.")
    access_requests.cancel(caller_for(lab), str(asked(lab, offer).pk))
    with system("read the audit in a test"):
        rows = Audit.objects.filter(action__startswith="access_request.").order_by("id")
        found = [(row.action.split(".")[1], row.organization_id) for row in rows]
    assert found == [
        ("made", lab.pk),
        ("approved", archive.pk),
        ("made", lab.pk),
        ("declined", archive.pk),
        ("made", lab.pk),
        ("canceled", lab.pk),
    ]


# --- at once ----------------------------------------------------------------------------------


def at_once(*acts: Callable[[], Any]) -> list[str]:
    """What came of acts that started together: "done", or the refusal's code."""
    ready = Barrier(len(acts))

    def attempt(act: Callable[[], Any]) -> str:
        try:
            ready.wait()
            act()
            return "done"
        except (AccessRequestWrongState, AccessAlreadyRequested) as refusal:
            return refusal.code
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(attempt, acts))


@pytest.mark.django_db(transaction=True)
def test_an_answer_and_a_cancellation_at_once_end_in_one_state(
    archive: Organization, lab: Organization
) -> None:
    """Without the row's lock the second met the checks of the table: a 500."""
    offer = on_request(archive)
    for _ in range(10):
        request = asked(lab, offer)
        found = at_once(
            lambda it=request: ACTS["decline"](it), lambda it=request: ACTS["cancel"](it)
        )
        assert sorted(found) == ["access_request_wrong_state", "done"]
        assert stored(request).state == ("declined" if found[0] == "done" else "canceled")


@pytest.mark.django_db(transaction=True)
def test_what_expires_while_it_is_approved_ends_in_one_state(
    archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the row's lock the worker ended it, and then it was approved all the same."""
    request = asked(lab, on_request(archive))
    decided, moved = Event(), access_requests._move
    soon = timezone.now() + timedelta(milliseconds=400)
    with system("let time pass in a test"):
        AccessRequest.objects.filter(pk=request.pk).update(expires_at=soon)

    def slowly(*args: Any) -> bool:
        is_new = moved(*args)
        decided.set()
        while timezone.now() <= soon:
            sleep(0.01)
        sleep(0.3)
        return is_new

    ended: list[int] = []

    def expire() -> None:
        assert decided.wait(5)
        while timezone.now() <= soon:
            sleep(0.01)
        ended.append(access_requests.expire_due())

    monkeypatch.setattr(access_requests, "_move", slowly)
    assert at_once(lambda: ACTS["approve"](request), expire) == ["done", "done"]
    assert ended == [0]
    assert stored(request).state_now == "approved"


@pytest.mark.django_db(transaction=True)
def test_of_eight_questions_at_once_one_is_asked(archive: Organization, lab: Organization) -> None:
    """Without `access_requests._lock`, the others met the unique key: a 500 each."""
    offer = on_request(archive)
    found = at_once(*[lambda: asked(lab, offer)] * 8)
    assert sorted(found) == ["access_already_requested"] * 7 + ["done"]


def test_an_order_of_a_quote_keeps_to_its_approval_through_the_verb(
    archive: Organization, lab: Organization
) -> None:
    offer = on_request(archive)
    access_requests.approve(caller_for(archive), str(asked(lab, offer).pk))
    caller = caller_for(lab)
    quote = quotes.make(caller, offer=str(offer.pk), uses=["pretrain"], territories=["FR"])
    order = orders.place(
        caller,
        quote=str(quote.pk),
        accept={"document_sha256": bytes(quote.document_sha256).hex(), **ACCEPTANCE},  # type: ignore[typeddict-item]
    )
    assert order.status == "granted"
