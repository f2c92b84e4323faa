"""What becomes of a grant after its issue: recorded once, carried out at its time."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from licensing import decision_requests, lifecycle
from licensing.decisions import State
from licensing.ledger import commitments, sequencer
from licensing.lifecycle import Act
from licensing.models import Grant, GrantEvent, LedgerEntry, LedgerOpening, ScopeClaim
from marketplace import access, operators, organizations
from marketplace.access import acting
from marketplace.errors import DomainError, GrantWrongState, InvalidInput, NotFound
from marketplace.models import Audit, Organization, Representation, User
from tests.make import EXCLUSIVE, TYPED, issue_grant, make_collection, make_offer
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
ACT = Act(by="operator", cause="payment_disputed", reason="A chargeback.", reference="ord_1")
DAY = timedelta(days=1)
PRETRAIN: dict[str, Any] = {"use": "pretrain", "territory": "EU"}
STEPS = {
    "suspend": lifecycle.suspend,
    "reinstate": lifecycle.reinstate,
    "revoke": lifecycle.revoke,
}


@pytest.fixture
def grant(archive: Organization, lab: Organization) -> Grant:
    return issue_grant(lab, make_offer(archive))


def do(step: str, grant: Grant, act: Act = ACT, **more: Any) -> GrantEvent:
    with access.system("look up a licensor in a test"):
        licensor = grant.licensor
    caller = caller_for(licensor, livemode=grant.livemode)
    return STEPS[step](caller, str(grant.pk), act, **more)  # type: ignore[operator, no-any-return]


def chain(grant: Grant) -> list[tuple[int, str]]:
    """What is recorded of a grant; every link is checked."""
    entries = LedgerEntry.objects.filter(subject_ref=bytes(grant.grant_ref)).order_by("seq")
    prev = None
    for number, entry in enumerate(entries):
        body = commitments.parse_body(bytes(entry.body))
        assert (body.seq, body.prev) == (number, prev)
        prev = bytes(entry.leaf_hash)
    return [(entry.seq, entry.kind) for entry in entries]


def row(grant: Grant) -> tuple[str, datetime | None, list[str]]:
    """How a grant, and its claims, stand."""
    with access.system("look in a test"):
        found = Grant.objects.get(pk=grant.pk)
        claims = ScopeClaim.objects.filter(grant=grant)
        return found.status, found.ended_at, [claim.state for claim in claims]


def everything(grant: Grant) -> Any:
    with access.system("look in a test"):
        events = list(GrantEvent.objects.order_by("pk").values())
        audits = Audit.objects.filter(action__startswith="grant.").count()
    return row(grant), chain(grant), events, audits


def opened(organization: Organization, event: GrantEvent) -> dict[str, Any]:
    with acting(caller_for(organization), writing=False):
        values = LedgerOpening.objects.get(entry=event.entry).values
    return dict(json.loads(values))


def ask(client: ApiClient, organization: Organization, **question: Any) -> Any:
    with access.system("look up works in a test"):
        form = Representation.objects.filter(organization=organization).first()
    assert form is not None
    asked = {"question": {**PRETRAIN, **question}, "works": [bytes(form.digest).hex()]}
    [answer] = client.post("/v1/decisions", asked).json()["data"]
    return answer


# --- one step ---------------------------------------------------------------------------------


def test_a_suspension_stops_a_grant_and_keeps_its_rights(
    grant: Grant, archive: Organization, lab: Organization
) -> None:
    event = do("suspend", grant, replace(ACT, duties=[{"do": "stop_training", "within_days": 3}]))

    assert row(grant) == ("suspended", None, ["suspended"])
    assert chain(grant) == [(0, "grant.issued"), (1, "grant.suspended")]
    assert event.effective_at == event.created_at == event.entry.created_at
    assert (event.number, event.kind, event.effect) == (1, "suspended", "")
    values = opened(lab, event)
    assert values == opened(archive, event)
    assert values == {
        "licensor": values["licensor"],
        "licensee": values["licensee"],
        "grant": {"id": str(grant.pk), "grant_ref": bytes(grant.grant_ref).hex()},
        "by": "operator",
        "cause": {"code": "payment_disputed", "reference": "ord_1"},
        "reason": "A chargeback.",
        "effective_at": commitments.timestamp(event.effective_at),
        "duties": [{"do": "stop_training", "within_days": 3}],
    }
    assert (values["licensor"]["id"], values["licensee"]["id"]) == (str(archive.pk), str(lab.pk))


def test_a_reinstated_grant_is_in_force_again(grant: Grant, lab: Organization) -> None:
    do("suspend", grant)
    event = do("reinstate", grant, replace(ACT, cause="settled", reason="Won.", reference=""))

    assert row(grant) == ("active", None, ["active"])
    assert chain(grant)[2:] == [(2, "grant.reinstated")]
    values = opened(lab, event)
    assert values["cause"] == {"code": "settled", "reference": None}
    assert "duties" not in values
    assert "effect" not in values


def test_a_revocation_ends_a_grant_and_frees_its_rights(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    offer = make_offer(archive, typed=EXCLUSIVE)
    grant = issue_grant(lab, offer)
    event = do("revoke", grant)

    assert row(grant) == ("revoked", event.effective_at, ["released"])
    assert chain(grant)[1:] == [(1, "grant.revoked")]
    assert opened(lab, event)["effect"] == "prospective"
    # Somebody else may have what was exclusively the lab's.
    assert issue_grant(stranger, offer).status == "active"


def test_what_is_void_from_the_start_was_never_permitted(
    grant: Grant, archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    event = do("revoke", grant, effect="void_from_start")

    with access.system("look in a test"):
        begins = grant.periods.get().access_window.lower
    assert event.effective_at == min(begins, grant.issued_at)
    assert opened(lab, event)["effect"] == "void_from_start"
    early = (grant.issued_at + timedelta(seconds=1)).isoformat()
    for question in ({}, {"at": early}):
        answer = ask(client_for(lab), archive, **question)
        assert [reason["code"] for reason in answer["reasons"]] == ["grant_revoked"]


def test_both_parties_find_each_step_among_their_entries_with_what_opens_it(
    grant: Grant, archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    do("suspend", grant)
    do("reinstate", grant)
    do("revoke", grant)
    sequencer.run_once()

    # The seller's first two are about what it put on sale.
    for organization, before in ((archive, 2), (lab, 0)):
        page = client_for(organization).get("/v1/ledger/entries").json()["data"][before:]
        assert [(each["sequence"] - before, each["kind"]) for each in page] == [
            (1, "grant.issued"),
            (2, "grant.suspended"),
            (3, "grant.reinstated"),
            (4, "grant.revoked"),
        ]
        assert {each["subject_ref"] for each in page} == {bytes(grant.grant_ref).hex()}
        assert all(each["openings"]["values"]["licensee"] for each in page)
        assert [each["index"] for each in page] == [2, 3, 4, 5]


def test_a_grant_shows_what_became_of_it(
    grant: Grant, archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    do("suspend", grant)
    event = do("revoke", grant, replace(ACT, cause="refunded", reason="Returned."))

    for organization in (archive, lab):
        shown = client_for(organization).get(f"/v1/grants/{grant.pk}").json()
        assert shown["status"] == "revoked"
        assert [each["kind"] for each in shown["events"]] == ["suspended", "revoked"]
        assert shown["events"][1] == {
            "object": "grant_event",
            "id": str(event.pk),
            "number": 2,
            "kind": "revoked",
            "effective_at": shown["ended_at"],
            "effect": "prospective",
            "by": "operator",
            "cause": "refunded",
            "reference": "ord_1",
            "reason": "Returned.",
            "duties": [],
            "recorded_at": shown["ended_at"],
        }


# --- repeats and refusals ---------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_repeating_a_step_changes_nothing(step: str, grant: Grant) -> None:
    if step == "reinstate":
        do("suspend", grant)
    first = do(step, grant)
    before = everything(grant)

    assert do(step, grant) == first
    assert do(step, grant, replace(ACT, effective_at=first.effective_at)) == first
    assert do(step, grant, replace(ACT, effective_at=timezone.now() + DAY)) == first
    assert everything(grant) == before


def test_what_was_announced_can_be_had_sooner(grant: Grant) -> None:
    do("revoke", grant, replace(ACT, effective_at=timezone.now() + DAY))
    event = do("revoke", grant)

    assert row(grant) == ("revoked", event.effective_at, ["released"])
    assert chain(grant)[1:] == [(1, "grant.revoked"), (2, "grant.revoked")]


def test_an_announced_suspension_can_be_taken_back(
    grant: Grant, archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    do("suspend", grant, replace(ACT, effective_at=timezone.now() + DAY))
    do("reinstate", grant)

    later = (timezone.now() + 2 * DAY).isoformat()
    assert ask(client_for(lab), archive, at=later)["decision"] == "permit"


@pytest.mark.parametrize(
    ("before", "step"),
    [
        ([], "reinstate"),
        (["revoke"], "suspend"),
        (["revoke"], "reinstate"),
        (["suspend", "revoke"], "reinstate"),
    ],
)
def test_a_step_that_the_state_does_not_allow_is_refused(
    before: list[str], step: str, grant: Grant
) -> None:
    for each in before:
        do(each, grant)
    found = everything(grant)
    with pytest.raises(GrantWrongState):
        do(step, grant)
    assert everything(grant) == found


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("suspend", {"by": "nobody"}, "by"),
    ("suspend", {"cause": "whim"}, "cause"),
    ("suspend", {"reason": " "}, "reason"),
    ("suspend", {"reason": "x" * 1001}, "reason"),
    ("suspend", {"reference": "x" * 61}, "reference"),
    ("suspend", {"effective_at": datetime(2020, 1, 1, tzinfo=UTC)}, "effective_at"),
    ("suspend", {"effective_at": datetime(2120, 1, 1)}, "effective_at"),
    ("suspend", {"duties": [{"do": "dance", "within_days": 1}]}, "duties[0].do"),
    ("suspend", {"duties": [{"do": "stop_use"}]}, "duties[0].do"),
    ("suspend", {"duties": [{"do": "stop_use", "within_days": -1}]}, "duties[0].within_days"),
    ("suspend", {"duties": [{"do": "stop_use", "within_days": True}]}, "duties[0].within_days"),
    ("suspend", {"duties": 2 * [{"do": "stop_use", "within_days": 1}]}, "duties[1].do"),
    ("reinstate", {"duties": [{"do": "stop_use", "within_days": 1}]}, "duties"),
    ("revoke", {"duties": 21 * [{"do": "stop_use", "within_days": 1}]}, "duties"),
]


@pytest.mark.parametrize(("step", "change", "param"), BAD)
def test_a_bad_act_is_named_and_changes_nothing(
    step: str, change: dict[str, Any], param: str, grant: Grant
) -> None:
    if step == "reinstate":
        do("suspend", grant)
    found = everything(grant)
    with pytest.raises(InvalidInput) as refused:
        do(step, grant, replace(ACT, **change))
    assert refused.value.data["param"] == param
    assert everything(grant) == found


@pytest.mark.parametrize(
    ("effect", "change", "param"),
    [
        ("undone", {}, "effect"),
        ("void_from_start", {"effective_at": timezone.now() + DAY}, "effective_at"),
    ],
)
def test_a_bad_effect_is_named(
    effect: str, change: dict[str, Any], param: str, grant: Grant
) -> None:
    found = everything(grant)
    with pytest.raises(InvalidInput) as refused:
        do("revoke", grant, replace(ACT, **change), effect=effect)
    assert refused.value.data["param"] == param
    assert everything(grant) == found


def test_it_is_done_for_the_licensor_alone(
    grant: Grant, archive: Organization, lab: Organization, stranger: Organization
) -> None:
    found = everything(grant)
    callers = [caller_for(lab), caller_for(stranger), caller_for(archive, livemode=True)]
    for caller in callers:
        for step in STEPS.values():
            with pytest.raises(NotFound):
                step(caller, str(grant.pk), ACT)  # type: ignore[operator]
    assert everything(grant) == found


# --- when it takes effect ---------------------------------------------------------------------


@pytest.mark.parametrize(("step", "code"), [("suspend", "suspended"), ("revoke", "revoked")])
def test_what_is_announced_counts_from_its_instant_on(
    step: str,
    code: str,
    grant: Grant,
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = timezone.now() + DAY
    do(step, grant, replace(ACT, effective_at=at))
    client, url = client_for(lab), f"/v1/grants/{grant.pk}/manifest"

    assert row(grant) == ("active", None, ["active"])
    assert client.get(url).status_code == 200
    answer = ask(client, archive)
    assert answer["decision"] == "permit"
    assert datetime.fromisoformat(answer["valid_until"]) == at
    for later in (at, at + DAY):
        reasons = ask(client, archive, at=later.isoformat())["reasons"]
        assert reasons == [{"code": f"grant_{code}", "grant": str(grant.pk)}]

    lifecycle.carry_out_due()
    assert row(grant)[0] == "active"
    monkeypatch.setattr(timezone, "now", lambda: at)
    # Before the worker has moved the grant, too.
    refused = client.get(url)
    assert (refused.status_code, refused.json()["grant_status"]) == (409, code)
    assert lifecycle.carry_out_due() == 1
    ended_at, claims = (None, ["suspended"]) if step == "suspend" else (at, ["released"])
    assert row(grant) == (code, ended_at, claims)
    assert lifecycle.carry_out_due() == 0


def test_the_time_of_a_lifted_suspension_stays_denied(
    grant: Grant,
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suspended = do("suspend", grant).effective_at
    lifted = timezone.now() + DAY
    monkeypatch.setattr(timezone, "now", lambda: lifted)
    do("reinstate", grant)
    client = client_for(lab)

    during = ask(client, archive, at=(suspended + DAY / 2).isoformat())
    assert [reason["code"] for reason in during["reasons"]] == ["grant_suspended"]
    assert ask(client, archive, at=lifted.isoformat())["decision"] == "permit"


T = [datetime(2027, 1, day, tzinfo=UTC) for day in range(1, 10)]


@pytest.mark.parametrize(
    ("events", "at", "stands"),
    [
        ([], 3, (State.ACTIVE, None)),
        ([("suspended", 5)], 3, (State.ACTIVE, 5)),
        ([("suspended", 5)], 5, (State.SUSPENDED, 5)),
        ([("suspended", 2), ("reinstated", 4)], 3, (State.SUSPENDED, 2)),
        ([("suspended", 2), ("reinstated", 4)], 4, (State.ACTIVE, None)),
        # Taken back before it came into effect.
        ([("suspended", 5), ("reinstated", 2)], 6, (State.ACTIVE, None)),
        ([("suspended", 5), ("reinstated", 2)], 3, (State.ACTIVE, None)),
        ([("suspended", 2), ("revoked", 6)], 3, (State.SUSPENDED, 2)),
        ([("suspended", 2), ("revoked", 6)], 7, (State.REVOKED, 6)),
        ([("suspended", 2), ("reinstated", 4), ("revoked", 6)], 5, (State.ACTIVE, 6)),
        # The one that was recorded last counts.
        ([("revoked", 6), ("revoked", 4)], 5, (State.REVOKED, 4)),
        ([("revoked", 6), ("expired", 4)], 7, (State.EXPIRED, 4)),
    ],
)
def test_of_the_events_in_effect_the_last_one_counts(
    events: list[tuple[str, int]], at: int, stands: tuple[State, int | None]
) -> None:
    found = decision_requests.standing([(kind, T[day]) for kind, day in events], T[at])
    state, since = stands
    if state is State.ACTIVE and since is not None:
        # An active grant is said to end as it will, from then on.
        assert (found[0] is not State.ACTIVE, found[1]) == (True, T[since])
    else:
        assert found == (state, None if since is None else T[since])


# --- expiry -----------------------------------------------------------------------------------

ENDING = {**TYPED, "term": {**TYPED["term"], "use_days": 400}}


def test_a_grant_expires_when_its_last_window_is_over(
    archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    lasting = issue_grant(lab, make_offer(archive))
    ending = make_offer(archive, typed=ENDING, collection=make_collection(archive, name="Ending"))
    grants = [issue_grant(lab, ending) for _each in range(3)]
    do("suspend", grants[1])
    do("revoke", grants[2])
    with access.system("look in a test"):
        # Not the same second, perhaps.
        end, *others = (each.periods.get().use_window.upper for each in grants)
    assert lifecycle.expire_due() == 0
    monkeypatch.setattr(timezone, "now", lambda: max(end, *others))

    assert lifecycle.expire_due() == 2
    for grant, ended_at in zip(grants[:2], (end, others[0]), strict=True):
        assert row(grant) == ("expired", ended_at, ["released"])
        assert chain(grant)[-1][1] == "grant.expired"
    assert row(grants[2])[0] == "revoked"
    assert row(lasting)[0] == "active"
    with access.system("look in a test"):
        event = GrantEvent.objects.get(grant=grants[0])
    values = opened(lab, event)
    assert values == {
        "licensor": values["licensor"],
        "licensee": values["licensee"],
        "grant": {"id": str(grants[0].pk), "grant_ref": bytes(grants[0].grant_ref).hex()},
        "ended_at": commitments.timestamp(end),
    }
    before = everything(grants[0])
    assert lifecycle.expire_due() == 0
    assert everything(grants[0]) == before
    with pytest.raises(GrantWrongState):
        do("revoke", grants[0])


# --- at once ----------------------------------------------------------------------------------


def at_once(*steps: Callable[[], Any]) -> list[Any]:
    def carry_out(step: Callable[[], Any]) -> Any:
        try:
            return step()
        except DomainError as error:
            return error.code
        finally:
            connection.close()

    with ThreadPoolExecutor(len(steps)) as pool:
        return list(pool.map(carry_out, steps))


@pytest.mark.django_db(transaction=True)
def test_steps_at_once_make_one_chain(
    archive: Organization, lab: Organization, ledger_keys: object
) -> None:
    """Without the lock on the grant's row, both read the same last entry: the chain would fork."""
    grant = issue_grant(lab, make_offer(archive))
    for round in range(1, 4):
        events = at_once(*[lambda: do("suspend", grant)] * 4)
        assert len({event.pk for event in events}) == 1, events
        events = at_once(*[lambda: do("reinstate", grant)] * 4)
        assert len({event.pk for event in events}) == 1, events
        assert len(chain(grant)) == 1 + 2 * round
    ended = at_once(lambda: do("revoke", grant), lambda: do("suspend", grant))
    assert isinstance(ended[0], GrantEvent)
    assert row(grant)[0] == "revoked"
    last = chain(grant)[-1]
    assert last[1] == "grant.revoked"
    assert (ended[1] == "grant_wrong_state") == (last[0] == 7)


@pytest.mark.django_db(transaction=True)
def test_two_workers_expire_a_grant_once(
    archive: Organization,
    lab: Organization,
    ledger_keys: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer = make_offer(archive, typed=ENDING)
    grants = [issue_grant(lab, offer) for _each in range(5)]
    with access.system("look in a test"):
        end = grants[0].periods.get().use_window.upper + DAY
    monkeypatch.setattr(timezone, "now", lambda: end)

    assert sum(at_once(*[lifecycle.expire_due] * 3)) == 5
    for grant in grants:
        assert chain(grant) == [(0, "grant.issued"), (1, "grant.expired")]


# --- the operator's command -------------------------------------------------------------------


@pytest.fixture
def operator(db: None) -> User:
    return operators.appoint(email="op@example.org", name="Op", password="correct horse battery")


def said(*words: str) -> str:
    out = StringIO()
    call_command("grant", *words, stdout=out)
    return out.getvalue()


def test_an_operator_suspends_and_revokes_by_command(
    grant: Grant, lab: Organization, operator: User
) -> None:
    id, by = str(grant.pk), ("--operator", "op@example.org")
    why = ("--cause", "breach", "--reason", "Copies were sold.")
    assert said("suspend", id, *by, *why).startswith(f"{id} suspended from ")
    said("reinstate", id, *by, "--cause", "settled", "--reason", "They were not.")
    at = "2127-01-31T12:00:00Z"
    duty = ("--duty", "purge_copies:30")
    said("revoke", id, *by, *why, "--by", "licensor", "--effective-at", at, *duty)
    assert row(grant)[0] == "active"
    said("revoke", id, *by, *why, "--void-from-start")

    with access.system("look in a test"):
        events = list(GrantEvent.objects.filter(grant=grant).order_by("number"))
    assert [(event.kind, event.effect) for event in events] == [
        ("suspended", ""),
        ("reinstated", ""),
        ("revoked", "prospective"),
        ("revoked", "void_from_start"),
    ]
    assert (events[2].by, events[2].duties) == (
        "licensor",
        [{"do": "purge_copies", "within_days": 30}],
    )
    assert {event.actor for event in events} == {str(operator.pk)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["suspend", "{id}", "--void-from-start"], "Only a revocation"),
        (["suspend", "{id}", "--effective-at", "tomorrow"], "give a time"),
        (["suspend", "{id}", "--effective-at", "2027-13-01T00:00:00Z"], "give a time"),
        (["suspend", "{id}", "--duty", "stop_use"], "a word and days"),
        (["suspend", "{id}", "--duty", "dance:1"], "duties"),
        (["reinstate", "{id}"], "not suspended"),
        (["suspend", "grt_none"], "no grant"),
    ],
)
def test_a_bad_command_is_refused_and_changes_nothing(
    words: list[str], message: str, grant: Grant, operator: User
) -> None:
    found = everything(grant)
    given = [word.format(id=grant.pk) for word in words]
    with pytest.raises(CommandError, match=message):
        said(*given, "--operator", operator.email, "--cause", "other", "--reason", "Why.")
    assert everything(grant) == found


def test_only_an_operator_may(grant: Grant, lab: Organization) -> None:
    user = organizations.admit(
        lab, email="no@example.org", name="No", password="correct horse battery", role="owner"
    )
    with pytest.raises(DomainError) as refused:
        lifecycle.for_operator(user, str(grant.pk))
    assert refused.value.code == "missing_scope"
    with pytest.raises(CommandError, match="no operator"):
        said(
            *("suspend", str(grant.pk), "--operator", user.email),
            *("--cause", "other", "--reason", "Why."),
        )
