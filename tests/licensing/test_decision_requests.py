"""May these works be used so? Asked over HTTP, by what the asker holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from licensing.models import Grant, Offer
from marketplace import access, reservations
from marketplace.models import Organization, Representation
from marketplace.typeid import TypeID
from tests.make import TYPED, issue_grant, make_collection, make_offer
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]

PRETRAIN: dict[str, Any] = {"use": "pretrain", "territory": "EU"}


def digests_of(organization: Organization) -> list[str]:
    with access.system("look up works in a test"):
        rows = Representation.objects.filter(organization=organization).order_by("id")
        return [bytes(digest).hex() for digest in rows.values_list("digest", flat=True)]


def ask(client: ApiClient, question: dict[str, Any], works: list[str], **more: Any) -> Any:
    return client.post("/v1/decisions", {"question": question, "works": works, **more})


def reserve(digest: str, organization: Organization | None, reason: str) -> None:
    with access.system("a test opts a work out"):
        reservations.reserve(
            [bytes.fromhex(digest)],
            organization=organization.pk if organization else None,
            reason=reason,
            cause="opt_test",
        )


def set_status(grant: Grant, status: str, ended_at: datetime | None = None) -> None:
    with access.system("a test ends a grant"):
        Grant.objects.filter(pk=grant.pk).update(status=status, ended_at=ended_at)


@pytest.fixture
def offer(archive: Organization) -> Offer:
    return make_offer(archive, price_minor=0)


def test_before_buying_it_is_denied_for_want_of_a_grant_and_permitted_after(
    archive: Organization, lab: Organization, client_for: ClientFor, offer: Offer
) -> None:
    client, works = client_for(lab), digests_of(archive)
    next_year = (timezone.now() + timedelta(days=100)).isoformat()
    question = {**PRETRAIN, "at": next_year}

    before = ask(client, question, works)
    assert before.status_code == 200, before.json()
    assert before.json()["summary"] == {"permit": 0, "needs_review": 0, "deny": 3}
    assert before.json()["data"][0] == {
        "work": works[0],
        "decision": "deny",
        "grant": None,
        "clause": None,
        "duties": [],
        "valid_until": None,
        "reasons": [{"code": "no_grant"}],
        "engine": "2",
    }

    grant = issue_grant(lab, offer, uses=["pretrain"], territories=["EU"])
    after = ask(client, question, works).json()
    assert after["summary"] == {"permit": 3, "needs_review": 0, "deny": 0}
    with access.system("look at a period in a test"):
        ends = grant.periods.get().training_window.upper
    assert after["data"][0] == {
        "work": works[0],
        "decision": "permit",
        "grant": str(grant.pk),
        "clause": "2.1",
        "duties": [
            {**duty, "grant": str(grant.pk)}
            for duty in client_for(archive).get(f"/v1/terms/{offer.terms_id}").json()["duties"]
        ],
        "valid_until": ends.isoformat().replace("+00:00", "Z"),
        "reasons": [{"code": "permitted", "clause": "2.1", "grant": str(grant.pk)}],
        "engine": "2",
    }


@pytest.mark.parametrize(
    ("reason", "code"), [("opted_out", "opted_out"), ("held", "held"), ("claimed", "held")]
)
def test_a_reserved_work_is_denied_and_the_others_are_not(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    offer: Offer,
    reason: str,
    code: str,
) -> None:
    grant = issue_grant(lab, offer)
    works = digests_of(archive)
    reserve(works[1], archive, reason)
    answer = ask(client_for(lab), PRETRAIN, works).json()
    assert [each["decision"] for each in answer["data"]] == ["permit", "deny", "permit"]
    assert answer["data"][1]["reasons"] == [{"code": code, "grant": str(grant.pk)}]


def test_a_reservation_at_another_organization_changes_nothing(
    archive: Organization,
    lab: Organization,
    stranger: Organization,
    client_for: ClientFor,
    offer: Offer,
) -> None:
    issue_grant(lab, offer)
    works = digests_of(archive)
    reserve(works[0], stranger, "opted_out")
    reserve(works[1], None, "opted_out")
    answer = ask(client_for(lab), PRETRAIN, works).json()
    assert [each["decision"] for each in answer["data"]] == ["permit", "deny", "permit"]


def test_what_no_covered_snapshot_holds_is_not_covered(
    archive: Organization, lab: Organization, client_for: ClientFor, offer: Offer
) -> None:
    issue_grant(lab, offer)
    make_collection(archive, name="Diaries")
    works = [*digests_of(archive), "ab" * 32]
    answer = ask(client_for(lab), PRETRAIN, works).json()
    assert [each["decision"] for each in answer["data"]] == ["permit"] * 3 + ["deny"] * 4
    assert answer["data"][3]["reasons"] == answer["data"][6]["reasons"] == [{"code": "not_covered"}]


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"use": "retrieve_rag"}, {"code": "not_permitted", "dimension": "use"}),
        ({"use": "finetune"}, {"code": "not_in_scope", "dimension": "use"}),
        (
            {"use": "pretrain", "territory": "JP"},
            {"code": "not_permitted", "clause": "2.1", "dimension": "territory"},
        ),
        (
            {"use": "pretrain", "territory": "US"},
            {"code": "not_in_scope", "clause": "2.1", "dimension": "territory"},
        ),
        (
            {"use": "pretrain", "territory": "*"},
            {"code": "not_permitted", "clause": "2.1", "dimension": "territory"},
        ),
        (
            {"use": "ground_display", "territory": "DE"},
            {"code": "denied_by_clause", "clause": "3.1"},
        ),
        (
            {"use": "pretrain", "territory": "EU", "at": "2020-01-01T00:00:00Z"},
            {"code": "not_covered"},
        ),
        (
            {"use": "pretrain", "territory": "EU", "at": "2099-01-01T00:00:00+02:00"},
            {"code": "outside_window", "dimension": "at"},
        ),
    ],
)
def test_what_a_denial_says(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    offer: Offer,
    question: dict[str, Any],
    reason: dict[str, str],
) -> None:
    grant = issue_grant(lab, offer)
    [work, *_] = digests_of(archive)
    [decision] = ask(client_for(lab), question, [work]).json()["data"]
    expected = reason if reason["code"] == "not_covered" else {**reason, "grant": str(grant.pk)}
    assert (decision["decision"], decision["reasons"]) == ("deny", [expected])


def test_a_question_without_a_territory_needs_review(
    archive: Organization, lab: Organization, client_for: ClientFor, offer: Offer
) -> None:
    grant = issue_grant(lab, offer)
    [work, *_] = digests_of(archive)
    [decision] = ask(client_for(lab), {"use": "pretrain"}, [work]).json()["data"]
    assert decision["decision"] == "needs_review"
    assert decision["reasons"] == [
        {
            "code": "question_incomplete",
            "clause": "2.1",
            "grant": str(grant.pk),
            "dimension": "territory",
        }
    ]


@pytest.mark.parametrize("status", ["suspended", "revoked", "expired"])
def test_a_grant_that_is_not_in_force_denies_and_another_one_still_permits(
    archive: Organization, lab: Organization, client_for: ClientFor, offer: Offer, status: str
) -> None:
    grant = issue_grant(lab, offer)
    works = digests_of(archive)
    ended_at = None if status == "suspended" else timezone.now() + timedelta(days=1)
    set_status(grant, status, ended_at)
    at = (timezone.now() + timedelta(days=2)).isoformat()
    client = client_for(lab)
    [decision] = ask(client, {**PRETRAIN, "at": at}, works[:1]).json()["data"]
    assert decision["reasons"] == [{"code": f"grant_{status}", "grant": str(grant.pk)}]
    # An end takes nothing from the time before it; a suspension has none.
    [now] = ask(client, PRETRAIN, works[:1]).json()["data"]
    assert now["decision"] == ("deny" if status == "suspended" else "permit")

    other = issue_grant(lab, offer)
    [decision] = ask(client, {**PRETRAIN, "at": at}, works[:1]).json()["data"]
    assert (decision["decision"], decision["grant"]) == ("permit", str(other.pk))


def test_only_the_askers_own_grants_as_a_licensee_count(
    archive: Organization,
    lab: Organization,
    stranger: Organization,
    client_for: ClientFor,
    offer: Offer,
) -> None:
    grant = issue_grant(lab, offer)
    works = digests_of(archive)
    for asker in (archive, stranger):
        client = client_for(asker)
        answer = ask(client, PRETRAIN, works).json()
        assert answer["summary"]["deny"] == 3
        assert answer["data"][0]["reasons"] == [{"code": "no_grant"}]
        refused = ask(client, PRETRAIN, works, grant=str(grant.pk))
        missing = ask(client, PRETRAIN, works, grant=str(TypeID.new("grt")))
        assert (refused.status_code, missing.status_code) == (404, 404)
        assert refused.json()["code"] == missing.json()["code"] == "not_found"
    live = ask(client_for(lab, livemode=True), PRETRAIN, works).json()
    assert live["data"][0]["reasons"] == [{"code": "no_grant"}]


def test_works_are_named_by_the_licensors_own_ids_too(
    archive: Organization, lab: Organization, client_for: ClientFor, offer: Offer
) -> None:
    grant = issue_grant(lab, offer)
    with access.system("look up works in a test"):
        [form, *_] = Representation.objects.filter(organization=archive).select_related("work")
        external_id = form.work.external_id
    client = client_for(lab)
    names = {"external_ids": [external_id, "unknown"]}
    for whose in ({"licensor": str(archive.pk)}, {"grant": str(grant.pk)}):
        data = ask(client, PRETRAIN, [], **names, **whose).json()["data"]
        assert [(each["work"], each["decision"]) for each in data] == [
            (external_id, "permit"),
            ("unknown", "deny"),
        ]
    reserve(bytes(form.digest).hex(), archive, "opted_out")
    [decision, _] = ask(client, PRETRAIN, [], **names, licensor=str(archive.pk)).json()["data"]
    assert decision["reasons"] == [{"code": "opted_out", "grant": str(grant.pk)}]


def test_anything_of_a_collection_or_a_grant_can_be_asked_for(
    archive: Organization, lab: Organization, client_for: ClientFor, offer: Offer
) -> None:
    client = client_for(lab)
    collection = {"collection": str(offer.collection_id)}
    [before] = ask(client, PRETRAIN, [], **collection).json()["data"]
    assert (before["work"], before["decision"]) == (None, "deny")
    assert before["reasons"] == [{"code": "no_grant"}]
    grant = issue_grant(lab, offer)
    for named in (collection, {"grant": str(grant.pk)}):
        [after] = ask(client, PRETRAIN, [], **named).json()["data"]
        assert (after["decision"], after["clause"]) == ("permit", "2.1")
    other = {"collection": str(TypeID.new("col"))}
    [elsewhere] = ask(client, PRETRAIN, [], **other).json()["data"]
    assert elsewhere["reasons"] == [{"code": "not_covered"}]


WORK = "ab" * 32


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"question": {"use": "train"}, "works": [WORK]}, "question.use"),
        ({"question": {}, "works": [WORK]}, "question.use"),
        ({"question": {**PRETRAIN, "territory": "eu"}, "works": [WORK]}, "question.territory"),
        ({"question": {**PRETRAIN, "territory": 7}, "works": [WORK]}, "question.territory"),
        (
            {"question": {**PRETRAIN, "availability": "XX"}, "works": [WORK]},
            "question.availability",
        ),
        ({"question": {**PRETRAIN, "at": "2027-01-01T00:00:00"}, "works": [WORK]}, "question.at"),
        ({"question": {**PRETRAIN, "at": "soon"}, "works": [WORK]}, "question.at"),
        ({"question": {**PRETRAIN, "at": 1}, "works": [WORK]}, "question.at"),
        (
            {"question": {**PRETRAIN, "model": {"release": "all"}}, "works": [WORK]},
            "question.model.release",
        ),
        ({"question": {**PRETRAIN, "model": {"size": 7}}, "works": [WORK]}, "question.model.size"),
        ({"question": {**PRETRAIN, "field": "war"}, "works": [WORK]}, "question.field"),
        ({"question": {**PRETRAIN, "sector": "war"}, "works": [WORK]}, "question.sector"),
        ({"question": {**PRETRAIN, "lineage": "copy"}, "works": [WORK]}, "question.lineage"),
        ({"question": {**PRETRAIN, "when": "now"}, "works": [WORK]}, "question.when"),
        ({"question": PRETRAIN, "works": [WORK, "xyz"]}, "works[1]"),
        ({"question": PRETRAIN, "works": [WORK[:-2]]}, "works[0]"),
        ({"question": PRETRAIN, "works": [" ".join([WORK[:32], WORK[32:]])]}, "works[0]"),
        ({"question": PRETRAIN, "works": [7]}, "works[0]"),
        ({"question": PRETRAIN, "works": [WORK, "cd" * 32, WORK.upper()]}, "works[2]"),
        ({"question": PRETRAIN, "works": [f"{n:064x}" for n in range(1001)]}, "works"),
        ({"question": PRETRAIN, "works": WORK}, "works"),
        ({"question": PRETRAIN}, "works"),
        ({"question": PRETRAIN, "works": []}, "works"),
        ({"question": PRETRAIN, "external_ids": ["a"]}, "licensor"),
        (
            {"question": PRETRAIN, "external_ids": ["a", "a"], "licensor": "org_x"},
            "external_ids[1]",
        ),
        ({"question": PRETRAIN, "external_ids": ["a"], "works": [WORK]}, "external_ids"),
        ({"question": PRETRAIN, "works": [WORK], "grant": "grt_x"}, "grant"),
        ({"question": PRETRAIN, "works": [WORK], "as_of": -1}, "as_of"),
        ({"question": PRETRAIN, "works": [WORK], "as_of": "1"}, "as_of"),
        ({"question": "pretrain?", "works": [WORK]}, "question"),
    ],
)
def test_bad_input_is_named(
    lab: Organization, client_for: ClientFor, body: dict[str, Any], param: str
) -> None:
    answer = client_for(lab).post("/v1/decisions", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["param"] == param


def test_only_the_newest_ledger_size_can_be_asked_for(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    client = client_for(lab)
    assert ask(client, PRETRAIN, [WORK], as_of=0).status_code == 200
    refused = ask(client, PRETRAIN, [WORK], as_of=5)
    assert (refused.status_code, refused.json()["code"]) == (422, "not_supported_yet")
    assert refused.json()["param"] == "as_of"


def test_a_key_without_the_scope_gets_403(lab: Organization, client_for: ClientFor) -> None:
    answer = ask(client_for(lab, scopes=["grants:read"]), PRETRAIN, [WORK])
    assert (answer.status_code, answer.json()["scope"]) == (403, "decisions:read")
    assert ask(client_for(None), PRETRAIN, [WORK]).status_code == 401


def test_an_answer_is_never_replayed_from_before_an_opt_out(
    archive: Organization, lab: Organization, client_for: ClientFor, offer: Offer
) -> None:
    issue_grant(lab, offer)
    [work, *_] = digests_of(archive)
    body = {"question": PRETRAIN, "works": [work]}
    client = client_for(lab)
    first = client.post("/v1/decisions", body, Idempotency_Key="once")
    assert first.json()["summary"]["permit"] == 1
    assert first["Cache-Control"] == "no-store"
    reserve(work, archive, "opted_out")
    again = client.post("/v1/decisions", body, Idempotency_Key="once")
    assert again.json()["summary"]["deny"] == 1


def test_the_number_of_statements_does_not_grow_with_the_works(
    archive: Organization, lab: Organization, client_for: ClientFor, offer: Offer
) -> None:
    issue_grant(lab, offer)
    second = make_offer(archive, price_minor=0, typed={**TYPED, "deny": []})
    issue_grant(lab, second)
    client, works = client_for(lab), digests_of(archive)

    def statements(asked: list[str]) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert ask(client, PRETRAIN, asked).status_code == 200
        return len(queries)

    statements(works[:1])  # notes that the key is in use
    few = statements(works[:1])
    assert statements([*works, *(f"{n:064x}" for n in range(900))]) == few
