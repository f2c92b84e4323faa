"""Many opt-outs, and many acknowledgements, in one request each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from licensing import notices, optouts
from licensing.models import Acknowledgement, LedgerEntry, LedgerParty, Notice, OptOut
from marketplace.access import system
from marketplace.models import Event, IdempotencyKey, Organization, ReservedDigest
from marketplace.typeid import TypeID
from tests.api_docs.examples import misfit
from tests.licensing.test_optouts import REASON, body, counts, digests
from tests.make import issue_grant, make_collection, make_offer
from tests.payments.racing import at_once, meeting_after
from tests.people import ApiClient, found

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
OPT_OUTS, ACKNOWLEDGE = "/v1/opt-outs/bulk", "/v1/notices/acknowledge"


def said(notice: str, statement: str = "Deleted.") -> dict[str, str]:
    return {"notice": notice, "statement": statement, "name": "Lin", "title": "Counsel"}


def notices_of(client: ApiClient) -> list[str]:
    return [each["id"] for each in client.get("/v1/notices").json()["data"]]


def results(answer: Any) -> list[tuple[int, int, Any]]:
    assert answer.status_code == 200, answer.json()
    return [
        (each["index"], each["status"], each["error"] and each["error"].get("param"))
        for each in answer.json()["results"]
    ]


# --- opt-outs ---------------------------------------------------------------------------------


def test_each_opt_out_has_its_set_its_entry_and_its_notices(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    issue_grant(lab, make_offer(archive))
    client, [first, second, third] = client_for(archive), digests(archive)

    answer = client.post(
        OPT_OUTS, {"items": [body(first), body(second, third, reason="They asked, too.")]}
    )

    assert results(answer) == [(0, 201, None), (1, 201, None)]
    made = [each["item"] for each in answer.json()["results"]]
    assert [each["reason"] for each in made] == [REASON, "They asked, too."]
    assert [each["works"]["size"] for each in made] == [1, 2]
    assert [each["notices"]["queued"] for each in made] == [1, 1]
    assert client.get("/v1/opt-outs").json()["data"] == made[::-1]
    told = client_for(lab).get("/v1/notices").json()["data"]
    assert {each["opt_out"] for each in told} == {each["id"] for each in made}
    with system("look in a test"):
        kinds = list(LedgerEntry.objects.order_by("id").values_list("kind", flat=True))
        numbers = LedgerParty.objects.filter(organization_id=archive.pk).order_by("sequence")
        assert Event.objects.filter(type="opt_out.recorded").count() == 2 * 2
        # Without a gap, as those of single requests.
        assert list(numbers.values_list("sequence", flat=True)) == list(range(1, 8))
    assert kinds[-4:] == ["optout.recorded", "optout.notified"] * 2


def test_what_is_out_stays_with_its_opt_out_and_what_is_refused_leaves_no_trace(
    archive: Organization, client_for: ClientFor
) -> None:
    make_offer(archive)
    client, out = client_for(archive), digests(archive)
    items = [
        body(out[0]),
        body(out[0]),
        body(out[1], b"\x00" * 32),
        body(out[1], works=[str(TypeID.new("wrk"))]),
        body(collection=str(TypeID.new("col"))),
        body(out[1], reason=" "),
        {"digests": [out[1].hex()[:-1]], "reason": REASON},
        body(out[1]),
    ]

    answer = client.post(OPT_OUTS, {"items": items})

    assert results(answer) == [
        (0, 201, None),
        (1, 200, None),
        (2, 422, "items[2].digests[1]"),
        (3, 422, "items[3].digests"),
        (4, 404, None),
        (5, 422, "items[5].reason"),
        (6, 422, "items[6].digests[0]"),
        (7, 201, None),
    ]
    assert misfit({"$ref": "#/components/schemas/OptOutResults"}, answer.json()) is None
    found = [each["item"] for each in answer.json()["results"]]
    assert found[0] == found[1]
    with system("look in a test"):
        reserved = ReservedDigest.objects.order_by("digest").values_list("digest", "cause")
        assert [(bytes(digest), cause) for digest, cause in reserved] == [
            (out[0], found[0]["id"]),
            (out[1], found[7]["id"]),
        ]
        assert OptOut.objects.count() == 2


def test_opt_outs_sent_again_get_the_first_answer(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    issue_grant(lab, make_offer(archive))
    client, out = client_for(archive), digests(archive)
    items = {"items": [body(each) for each in out]}
    first = client.post(OPT_OUTS, items, Idempotency_Key="k")
    before = counts()
    again = client.post(OPT_OUTS, items, Idempotency_Key="k")
    assert results(again) == [(index, 201, None) for index in range(3)]
    assert (again.json(), again["Idempotent-Replayed"]) == (first.json(), "true")
    assert counts() == before


@pytest.mark.parametrize("path", [OPT_OUTS, ACKNOWLEDGE])
def test_a_key_without_the_scope_does_nothing(
    archive: Organization, client_for: ClientFor, path: str
) -> None:
    make_offer(archive)
    before = counts()
    client = client_for(archive, scopes=["opt_outs:read", "works:write"])
    answer = client.post(path, {"items": [body(*digests(archive))]})
    assert (answer.status_code, answer.json()["scope"]) == (403, "opt_outs:write")
    assert counts() == before


# --- acknowledgements -------------------------------------------------------------------------


@pytest.fixture
def told(archive: Organization, lab: Organization, client_for: ClientFor) -> list[str]:
    """Three notices of the lab, oldest first."""
    issue_grant(lab, make_offer(archive))
    client_for(archive).post(OPT_OUTS, {"items": [body(each) for each in digests(archive)]})
    return notices_of(client_for(lab))[::-1]


def stated() -> dict[str, str]:
    with system("look in a test"):
        return {str(each.notice_id): each.statement for each in Acknowledgement.objects.all()}


def test_notices_are_acknowledged_each_once(
    archive: Organization, lab: Organization, client_for: ClientFor, told: list[str]
) -> None:
    client = client_for(lab)
    items = [said(told[0]), said(told[1], "Left out."), said(told[0], "Another statement.")]

    answer = client.post(ACKNOWLEDGE, {"items": items})

    assert results(answer) == [(0, 200, None), (1, 200, None), (2, 200, None)]
    found = [each["item"] for each in answer.json()["results"]]
    # The first statement stands.
    assert found[0] == found[2]
    assert found[0] == client.get(f"/v1/notices/{told[0]}").json()
    assert stated() == {told[0]: "Deleted.", told[1]: "Left out."}
    with system("look in a test"):
        assert LedgerEntry.objects.filter(kind="optout.acknowledged").count() == 2
    assert answer.json() == client.post(ACKNOWLEDGE, {"items": items}).json()
    assert len(stated()) == 2


def test_a_notice_that_is_not_the_licensee_s_is_refused_and_the_others_stand(
    archive: Organization,
    lab: Organization,
    stranger: Organization,
    client_for: ClientFor,
    told: list[str],
) -> None:
    missing = str(TypeID.new("ntc"))
    items = [said(told[0]), said(missing), said(told[1], " "), said("ntc_x")]
    expected = [(0, 200, None), (1, 404, None), (2, 422, "items[2].statement")]
    answer = client_for(lab).post(ACKNOWLEDGE, {"items": items})
    assert results(answer) == [*expected, (3, 422, "items[3].notice")]
    assert misfit({"$ref": "#/components/schemas/NoticeResults"}, answer.json()) is None
    assert list(stated()) == [told[0]]
    for other in (archive, stranger):
        answer = client_for(other).post(ACKNOWLEDGE, {"items": [said(told[1])]})
        assert results(answer) == [(0, 404, None)]
    assert list(stated()) == [told[0]]


def test_an_answer_keeps_no_effect_but_itself(
    lab: Organization, client_for: ClientFor, told: list[str]
) -> None:
    items = {"items": [said(each) for each in told]}
    first = client_for(lab).post(ACKNOWLEDGE, items, Idempotency_Key="k").json()
    with system("look in a test"):
        row = IdempotencyKey.objects.get(key="k")
    assert (row.effect, row.response_status, row.response_body) == (None, 200, first)


# --- at once ----------------------------------------------------------------------------------


def acknowledged_crosswise(client: ApiClient, ids: list[str]) -> list[Any]:
    items = [said(each) for each in ids]

    def post(order: list[dict[str, str]]) -> Any:
        return ApiClient(client.secret).post(ACKNOWLEDGE, {"items": order})

    return at_once(lambda: post(items), lambda: post(items[::-1]))


@pytest.mark.django_db(transaction=True)
def test_two_that_acknowledge_the_same_in_opposite_orders_do_not_wait_for_each_other(
    lab: Organization, client_for: ClientFor, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "acknowledge", meeting_after(notices.acknowledge))
    answers = acknowledged_crosswise(client_for(lab), told)
    assert [each.status_code for each in answers] == [200, 200]
    assert [each.json()["succeeded"] for each in answers] == [3, 3]
    with system("look in a test"):
        assert LedgerEntry.objects.filter(kind="optout.acknowledged").count() == 3


@pytest.mark.django_db(transaction=True)
def test_without_the_order_one_of_them_is_ended(
    lab: Organization, client_for: ClientFor, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "acknowledge", meeting_after(notices.acknowledge))
    monkeypatch.setattr(notices, "hold", lambda *_arguments: None)
    answers = acknowledged_crosswise(client_for(lab), told)
    assert sorted(each.status_code for each in answers) == [200, 500]
    assert sorted(stated()) == sorted(told)


@pytest.mark.django_db(transaction=True)
def test_two_bulks_of_the_same_opt_outs_in_opposite_orders_take_each_out_once(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    issue_grant(lab, make_offer(archive))
    items = [body(each) for each in digests(archive)]
    secret = client_for(archive).secret

    def post(order: list[dict[str, Any]]) -> Any:
        return ApiClient(secret).post(OPT_OUTS, {"items": order})

    answers = at_once(lambda: post(items), lambda: post(items[::-1]))
    statuses = [{status for _index, status, _param in results(each)} for each in answers]
    assert sorted(statuses, key=min) == [{200}, {201}]
    with system("look in a test"):
        assert (OptOut.objects.count(), Notice.objects.count()) == (3, 3)


@pytest.fixture
def late(lab: Organization, stranger: Organization) -> Organization:
    """Sells one collection to the lab and one to the stranger, and is numbered after both."""
    seller = found("Late", "platform")
    for licensee in (lab, stranger):
        issue_grant(licensee, make_offer(seller, collection=make_collection(seller)))
    return seller


def taken_out_while_acknowledged(
    late: Organization,
    stranger: Organization,
    client_for: ClientFor,
    monkeypatch: pytest.MonkeyPatch,
) -> list[int]:
    """Opt-outs of the lab's and then the stranger's work, while the stranger acknowledges one."""
    seller, buyer = client_for(late), client_for(stranger)
    named = [{"external_ids": [each], "reason": REASON} for each in ("work-1000", "work-2000")]
    before = {"external_ids": ["work-2001"], "reason": REASON}
    assert seller.post("/v1/opt-outs", before).status_code == 201
    [notice] = notices_of(buyer)
    begun, record = threading.Event(), optouts.record_once

    def slow(*arguments: Any, **fields: Any) -> Any:
        made = record(*arguments, **fields)
        if not begun.is_set():
            begun.set()
            time.sleep(1)  # until the other one holds what the second item needs
        return made

    def acknowledge() -> Any:
        assert begun.wait(30)
        return buyer.post(ACKNOWLEDGE, {"items": [said(notice)]})

    monkeypatch.setattr(optouts, "record_once", slow)
    answers = at_once(lambda: seller.post(OPT_OUTS, {"items": named}), acknowledge)
    connection.close()
    return sorted(each.status_code for each in answers)


@pytest.mark.django_db(transaction=True)
def test_opt_outs_and_acknowledgements_at_once_do_not_wait_for_each_other(
    late: Organization,
    stranger: Organization,
    client_for: ClientFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert taken_out_while_acknowledged(late, stranger, client_for, monkeypatch) == [200, 200]


@pytest.mark.django_db(transaction=True)
def test_opt_outs_that_held_their_parties_one_by_one_would(
    late: Organization,
    stranger: Organization,
    client_for: ClientFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(optouts, "hold_all", lambda _owners: None)
    assert taken_out_while_acknowledged(late, stranger, client_for, monkeypatch) == [200, 500]
