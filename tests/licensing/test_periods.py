"""A grant's later periods: renewed without a gap, amended for the rest; each recorded once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.utils import timezone

from licensing import lifecycle, periods, signatories, snapshots, terms, windows
from licensing.ledger import commitments
from licensing.models import Grant, LedgerEntry, LedgerOpening, Period, ScopeClaim, Terms
from licensing.periods import Agreed
from marketplace import access, imports, operators
from marketplace.access import acting
from marketplace.errors import (
    DomainError,
    GrantWrongState,
    InvalidInput,
    NotFound,
    RightsTaken,
    TermsForbid,
    TermsNotPublished,
)
from marketplace.models import Audit, Organization, Representation, User
from tests.make import (
    EXCLUSIVE,
    TYPED,
    TYPED_2,
    issue_grant,
    make_collection,
    make_offer,
    records,
)
from tests.people import ApiClient, caller_for
from tests.people import found as found_organization

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
DAY = timedelta(days=1)
YEAR = 365 * DAY
ENDING = {**TYPED, "term": {**TYPED["term"], "use_days": 400}}
# Permits no finetuning, and ends as the others do.
NARROW = {
    **TYPED,
    "permit": [{**TYPED["permit"][0], "uses": ["pretrain"], "territories": ["EU"]}],
    "deny": [{"uses": ["finetune"]}],
}
# Permits nothing of what was bought.
OTHER = {**TYPED, "permit": [{**TYPED["permit"][0], "uses": ["evaluate"]}]}
ACT = lifecycle.Act(by="licensor", cause="other", reason="Why.")


def agreed(**changes: Any) -> Agreed:
    made = Agreed("We agree.", "Lin", "Counsel", timezone.now())
    return replace(made, **changes)


@pytest.fixture
def grant(archive: Organization, lab: Organization) -> Grant:
    return issue_grant(lab, make_offer(archive, typed=ENDING), uses=("pretrain", "finetune"))


def another(archive: Organization, typed: Any, *, name: str = "Training", out: bool = True) -> str:
    drafted = terms.draft(caller_for(archive), name=name, typed=typed)
    if out:
        terms.publish(caller_for(archive), str(drafted.pk))
    return str(drafted.pk)


def seller(grant: Grant) -> Any:
    with access.system("look up a licensor in a test"):
        return caller_for(grant.licensor, livemode=grant.livemode)


def renew(grant: Grant, reference: str = "ord_2", **more: Any) -> Period:
    return periods.renew(seller(grant), str(grant.pk), reference=reference, **more)


def amend(grant: Grant, to: str, reference: str = "amd_1", **more: Any) -> Period:
    given = {"agreed": agreed(), **more}
    return periods.amend(seller(grant), str(grant.pk), terms=to, reference=reference, **given)


def rows(grant: Grant) -> list[Period]:
    with access.system("look in a test"):
        return list(grant.periods.order_by("number"))


def chain(grant: Grant) -> list[str]:
    entries = LedgerEntry.objects.filter(subject_ref=bytes(grant.grant_ref)).order_by("seq")
    prev = None
    for number, entry in enumerate(entries):
        body = commitments.parse_body(bytes(entry.body))
        assert (body.seq, body.prev) == (number, prev)
        prev = bytes(entry.leaf_hash)
    return [entry.kind for entry in entries]


def everything(grant: Grant) -> Any:
    with access.system("look in a test"):
        found = list(Period.objects.order_by("pk").values())
        claims = list(ScopeClaim.objects.order_by("pk").values())
        audits = Audit.objects.filter(action__startswith="grant.").count()
    return found, claims, chain(grant), audits


def opened(organization: Organization, period: Period) -> dict[str, Any]:
    with acting(caller_for(organization), writing=False):
        values = LedgerOpening.objects.get(entry=period.entry).values
    return dict(json.loads(values))


def ask(client: ApiClient, organization: Organization, use: str, at: datetime) -> Any:
    with access.system("look up works in a test"):
        form = Representation.objects.filter(organization=organization).first()
    assert form is not None
    asked = {
        "question": {"use": use, "territory": "EU", "at": at.isoformat()},
        "works": [bytes(form.digest).hex()],
    }
    [answer] = client.post("/v1/decisions", asked).json()["data"]
    return answer


# --- renewals ---------------------------------------------------------------------------------


def test_a_renewal_goes_on_where_the_old_period_ends(
    grant: Grant, archive: Organization, lab: Organization
) -> None:
    period = renew(grant)
    first, second = rows(grant)

    ends, used = first.training_window.upper, first.use_window.upper
    assert second.training_window == DateTimeTZRange(ends, ends + YEAR)
    assert second.access_window == DateTimeTZRange(ends, ends + YEAR)
    # Used for as long after the end of training as before: 35 days.
    assert second.use_window == DateTimeTZRange(used, ends + 400 * DAY)
    assert (second.kind, second.number, second.agreement_id) == ("renewed", 2, None)
    assert (second.terms_id, second.scope) == (first.terms_id, first.scope)
    assert chain(grant) == ["grant.issued", "grant.renewed"]
    values = opened(lab, period)
    assert values == opened(archive, period)
    with access.system("look in a test"):
        held = second.terms
    assert values == {
        "licensor": values["licensor"],
        "licensee": values["licensee"],
        "grant": {"id": str(grant.pk), "grant_ref": bytes(grant.grant_ref).hex()},
        "period": {"id": str(period.pk), "number": 2},
        "version": {"id": str(held.pk), "name": "Training", "number": 1},
        "terms": json.loads(held.typed),
        "terms_text": {
            "sha256": bytes(held.text_sha256).hex(),
            "template_version": held.template_version,
        },
        "scope": {"uses": ["pretrain", "finetune"], "territories": ["EU"]},
        "windows": {
            name: [commitments.timestamp(window.lower), commitments.timestamp(window.upper)]
            for name, window in (
                ("access", second.access_window),
                ("training", second.training_window),
                ("use", second.use_window),
            )
        },
        "price": first.price_basis,
        "by": "licensor",
        "reference": "ord_2",
    }


def test_use_without_an_end_goes_on_under_the_first_period(
    archive: Organization, lab: Organization
) -> None:
    grant = issue_grant(lab, make_offer(archive))
    period = renew(grant)
    assert rows(grant)[1].use_window.isempty
    assert opened(lab, period)["windows"]["use"] is None


def test_a_renewed_grant_may_be_trained_on_and_fetched_for_longer(
    grant: Grant,
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, ends = client_for(lab), rows(grant)[0].training_window.upper
    assert ask(client, archive, "pretrain", ends)["decision"] == "deny"
    renew(grant)
    for at in (ends - DAY, ends, ends + YEAR - DAY):
        assert ask(client, archive, "pretrain", at)["decision"] == "permit"
    late = ask(client, archive, "pretrain", ends + YEAR)
    assert late["reasons"][0]["code"] == "outside_window"
    monkeypatch.setattr(timezone, "now", lambda: ends + DAY)
    assert client.get(f"/v1/grants/{grant.pk}/manifest").status_code == 200


def test_a_renewed_grant_expires_when_its_last_period_is_over(
    grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew(grant)
    first, second = rows(grant)
    monkeypatch.setattr(timezone, "now", lambda: first.use_window.upper + DAY)
    assert lifecycle.expire_due() == 0
    monkeypatch.setattr(timezone, "now", lambda: second.use_window.upper)
    assert lifecycle.expire_due() == 1
    with access.system("look in a test"):
        grant.refresh_from_db()
    assert (grant.status, grant.ended_at) == ("expired", second.use_window.upper)
    assert chain(grant) == ["grant.issued", "grant.renewed", "grant.expired"]


def test_it_may_be_said_late_and_leaves_no_gap(
    grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = rows(grant)[0].training_window.upper
    monkeypatch.setattr(timezone, "now", lambda: ends + 20 * DAY)
    assert renew(grant).training_window.lower == ends
    found = everything(grant)
    endless = ends + 10 * YEAR
    monkeypatch.setattr(timezone, "now", lambda: endless)
    with pytest.raises(GrantWrongState, match="so long ago"):
        renew(grant, "ord_3")
    assert everything(grant) == found


def test_a_newer_version_needs_the_licensees_acceptance(
    grant: Grant, archive: Organization, lab: Organization
) -> None:
    newer = another(archive, ENDING)
    found = everything(grant)
    with pytest.raises(InvalidInput) as refused:
        renew(grant, terms=newer)
    assert refused.value.data["param"] == "agreed"
    assert everything(grant) == found

    period = renew(grant, terms=newer, agreed=agreed())
    assert str(period.terms_id) == newer
    values = opened(lab, period)
    digest = hashlib.sha256(b"We agree.").hexdigest()
    assert values["documents"] == [{"role": "renewal", "sha256": digest}]
    assert values["acceptance"]["document_sha256"] == digest
    with access.system("look in a test"):
        kept = period.agreement
        assert kept is not None
        assert (kept.document, kept.accepted_by_name) == ("We agree.", "Lin")
    # The next one goes on from there.
    assert str(renew(grant, "ord_3").terms_id) == newer


@pytest.mark.parametrize("step", ["renew", "amend"])
def test_repeating_it_gives_the_period_that_it_made(
    step: str, grant: Grant, archive: Organization
) -> None:
    to = another(archive, NARROW | {"deny": []} | {"permit": TYPED["permit"]})

    steps = {"renew": lambda: renew(grant), "amend": lambda: amend(grant, to, "ord_2")}
    do = steps.pop(step)
    [other] = steps.values()
    first = do()
    found = everything(grant)
    assert do() == first
    with pytest.raises(InvalidInput) as refused:
        other()
    assert refused.value.data["param"] == "reference"
    assert everything(grant) == found


def renewing(word: str, **more: Any) -> dict[str, Any]:
    return {**TYPED_2, "term": {**TYPED_2["term"], "renewal": word, **more}}


def test_terms_say_for_how_long_and_how_often(archive: Organization, lab: Organization) -> None:
    automatic = renewing("automatic", renewal_days=30, renewals_max=1, notice_days=10)
    grant = issue_grant(lab, make_offer(archive, typed=automatic))
    ends = rows(grant)[0].training_window.upper
    period = renew(grant)
    assert period.training_window.upper == period.access_window.upper == ends + 30 * DAY
    found = everything(grant)
    with pytest.raises(TermsForbid, match="1 times"):
        renew(grant, "ord_3")
    assert everything(grant) == found


def test_terms_that_are_not_renewed_forbid_it(archive: Organization, lab: Organization) -> None:
    grant = issue_grant(lab, make_offer(archive, typed=TYPED_2))
    found = everything(grant)
    with pytest.raises(TermsForbid, match="not renewed"):
        renew(grant)
    assert everything(grant) == found


# --- exclusive rights -------------------------------------------------------------------------


def test_a_renewal_claims_the_scope_for_its_time(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    offer = make_offer(archive, typed=EXCLUSIVE)
    grant = issue_grant(lab, offer)
    ends = rows(grant)[0].training_window.upper
    lifecycle.suspend(caller_for(archive), str(grant.pk), ACT)
    period = renew(grant)

    with access.system("look in a test"):
        claims = list(ScopeClaim.objects.filter(grant=grant).order_by("during"))
    assert [claim.state for claim in claims] == ["suspended", "suspended"]
    assert claims[1].during == period.training_window
    assert claims[1].held_by == str(period.pk)
    with pytest.raises(RightsTaken):
        issue_grant(stranger, offer, starts_at=ends + DAY)
    lifecycle.revoke(caller_for(archive), str(grant.pk), ACT)
    assert issue_grant(stranger, offer, starts_at=ends + DAY).status == "active"


def test_a_renewal_is_refused_where_others_hold_the_scope_by_then(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    offer = make_offer(archive, typed=EXCLUSIVE)
    grant = issue_grant(lab, offer)
    issue_grant(stranger, offer, starts_at=rows(grant)[0].training_window.upper + DAY)
    found = everything(grant)
    with pytest.raises(RightsTaken):
        renew(grant)
    assert everything(grant) == found


def test_an_exclusive_grants_own_claim_does_not_block_its_amendment(
    archive: Organization, lab: Organization
) -> None:
    grant = issue_grant(lab, make_offer(archive, typed=EXCLUSIVE))
    amend(grant, another(archive, {**EXCLUSIVE, "attribution": "none"}))
    with access.system("look in a test"):
        [claim] = ScopeClaim.objects.filter(grant=grant)
    assert claim.state == "active"


# --- amendments -------------------------------------------------------------------------------


def test_an_amendment_takes_over_from_its_instant_on(
    grant: Grant, archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    wide = {
        **ENDING,
        "permit": [{**TYPED["permit"][0], "uses": ["pretrain", "finetune", "evaluate"]}],
    }
    wide = {**wide, "attribution": "none", "deny": [{"uses": ["retrieve_rag"]}]}
    at = timezone.now() + 10 * DAY
    period = amend(grant, another(archive, wide), effective_at=at)
    first, second = rows(grant)

    for name in windows.NAMES:
        assert getattr(second, name) == DateTimeTZRange(at, getattr(first, name).upper)
    assert chain(grant) == ["grant.issued", "grant.amended"]
    values = opened(lab, period)
    assert values == opened(archive, period)
    with access.system("look in a test"):
        old = first.terms
    assert values["replaced"] == [
        {
            "period": {"id": str(first.pk), "number": 1},
            "terms_sha256": bytes(old.typed_sha256).hex(),
            "terms_text_sha256": bytes(old.text_sha256).hex(),
        }
    ]
    assert values["effective_at"] == commitments.timestamp(at)
    assert values["terms"] == wide
    digest = hashlib.sha256(b"We agree.").hexdigest()
    assert values["documents"] == [{"role": "amendment", "sha256": digest}]
    assert values["acceptance"]["name"] == "Lin"
    client = client_for(lab)
    before = ask(client, archive, "retrieve_rag", at - DAY)
    after = ask(client, archive, "retrieve_rag", at)
    assert [before["reasons"][0]["code"], after["reasons"][0]["code"]] == [
        "not_permitted",
        "denied_by_clause",
    ]
    assert datetime.fromisoformat(ask(client, archive, "pretrain", at - DAY)["valid_until"]) == at
    assert ask(client, archive, "pretrain", at)["decision"] == "permit"


def test_old_terms_hold_no_more_once_they_are_amended(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    """What the old period permits and the amended one does not is permitted no more."""
    wide = {**TYPED, "permit": [{**TYPED["permit"][0], "territories": ["EU", "US"]}]}
    grant = issue_grant(lab, make_offer(archive, typed=wide), territories=("EU",))
    with access.system("look in a test"):
        assert grant.periods.get().use_window.upper is None
    strict = {**wide, "deny": [*TYPED["deny"], {"uses": ["retrieve_rag"]}]}
    at = timezone.now() + DAY
    amend(grant, another(archive, strict), effective_at=at)
    client = client_for(lab)
    assert ask(client, archive, "retrieve_rag", at)["reasons"][0]["code"] == "denied_by_clause"
    later = ask(client, archive, "retrieve_rag", at - timedelta(hours=1))
    assert later["reasons"][0]["code"] == "not_permitted"


def test_only_the_windows_that_are_open_are_amended(
    archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {**TYPED, "term": {"access_days": 10, "training_days": 20, "use_days": None}}
    grant = issue_grant(lab, make_offer(archive, typed=short))
    renew(grant)
    first = rows(grant)[0]
    monkeypatch.setattr(timezone, "now", lambda: first.training_window.upper + 15 * DAY)
    period = amend(grant, another(archive, {**short, "attribution": "none"}))
    # Access was over; training is of the renewal, use of the first period.
    assert period.access_window.isempty
    assert period.training_window.upper == rows(grant)[1].training_window.upper
    assert period.use_window == DateTimeTZRange(period.created_at, None)
    replaced = opened(lab, period)["replaced"]
    assert [each["period"]["number"] for each in replaced] == [1, 2]
    assert opened(lab, period)["windows"]["access"] is None


def test_a_renewal_after_an_amendment_is_by_the_amended_terms(
    grant: Grant, archive: Organization
) -> None:
    to = another(archive, {**ENDING, "attribution": "none"}, name="Other")
    amend(grant, to)
    period = renew(grant)
    assert str(period.terms_id) == to
    assert period.training_window.lower == rows(grant)[0].training_window.upper
    assert chain(grant) == ["grant.issued", "grant.amended", "grant.renewed"]


def test_terms_whose_changes_hold_for_new_licenses_forbid_it(
    archive: Organization, lab: Organization
) -> None:
    grant = issue_grant(lab, make_offer(archive, typed=TYPED_2))
    found = everything(grant)
    with pytest.raises(TermsForbid, match="new licenses only"):
        amend(grant, another(archive, TYPED_2))
    assert everything(grant) == found


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["renew", "amend"])
def test_a_grant_that_has_ended_or_will_is_refused(
    step: str, grant: Grant, archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = another(archive, {**ENDING, "attribution": "none"})
    offer = make_offer(archive, collection=make_collection(archive, name="Gone"))
    gone = issue_grant(found_organization("Other lab", "lab"), offer)
    lifecycle.revoke(caller_for(archive), str(gone.pk), replace(ACT, effective_at=now() + DAY))
    end = rows(grant)[0].use_window.upper
    monkeypatch.setattr(timezone, "now", lambda: end)
    assert lifecycle.expire_due() == 1
    for ended in (gone, grant):
        before = everything(ended)
        with pytest.raises(GrantWrongState, match="A new grant"):
            renew(ended) if step == "renew" else amend(ended, to)
        assert everything(ended) == before


def now() -> datetime:
    return timezone.now()


def test_what_is_bad_is_named_and_changes_nothing(
    grant: Grant, archive: Organization, lab: Organization
) -> None:
    good = another(archive, {**ENDING, "attribution": "none"})
    with access.system("look in a test"):
        same = str(Terms.objects.get(name="Training", version=1).pk)
    other = another(archive, OTHER)
    exclusive = another(archive, {**ENDING, "exclusivity": "exclusive"})
    named = another(archive, ENDING, name="Another name")
    drafted = another(archive, ENDING, out=False)
    found = everything(grant)
    bad: list[tuple[Callable[[], Any], str]] = [
        (lambda: renew(grant, " "), "reference"),
        (lambda: renew(grant, "x" * 61), "reference"),
        (lambda: renew(grant, by="nobody"), "by"),
        (lambda: renew(grant, terms=named, agreed=agreed()), "terms"),
        (lambda: renew(grant, terms=other, agreed=agreed()), "terms"),
        (lambda: amend(grant, same), "terms"),
        (lambda: amend(grant, other), "terms"),
        (lambda: amend(grant, exclusive), "terms"),
        (lambda: amend(grant, good, agreed=agreed(document=" ")), "agreed.document"),
        (lambda: amend(grant, good, agreed=agreed(name="")), "agreed.name"),
        (lambda: amend(grant, good, agreed=agreed(title="x" * 201)), "agreed.title"),
        (
            lambda: amend(grant, good, agreed=agreed(accepted_at=now() + DAY)),
            "agreed.accepted_at",
        ),
        (
            lambda: amend(grant, good, agreed=agreed(accepted_at=datetime(2020, 1, 1))),
            "agreed.accepted_at",
        ),
        (lambda: amend(grant, good, effective_at=datetime(2020, 1, 1, tzinfo=UTC)), "effective_at"),
        (lambda: amend(grant, good, effective_at=now() + 401 * DAY), "effective_at"),
    ]
    for step, param in bad:
        with pytest.raises(InvalidInput) as refused:
            step()
        assert refused.value.data["param"] == param, refused.value
    with pytest.raises(TermsNotPublished):
        amend(grant, drafted)
    for caller in (caller_for(lab), caller_for(archive, livemode=True)):
        with pytest.raises(NotFound):
            periods.renew(caller, str(grant.pk), reference="ord_2")
    assert everything(grant) == found


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
    """Without the lock on the grant's row, both would follow the same entry and period."""
    grant = issue_grant(lab, make_offer(archive))
    to = another(archive, {**TYPED, "attribution": "none"})
    made = at_once(*[lambda: renew(grant)] * 4)
    assert len({period.pk for period in made}) == 1, made
    made = at_once(
        lambda: amend(grant, to), lambda: renew(grant, "ord_3"), lambda: amend(grant, to)
    )
    assert made[0] == made[2], made
    assert [row.number for row in rows(grant)] == [1, 2, 3, 4]
    assert sorted(chain(grant)) == ["grant.amended", "grant.issued", *2 * ["grant.renewed"]]


@pytest.mark.django_db(transaction=True)
def test_a_renewal_and_another_buyer_never_both_get_the_time_after(
    archive: Organization, lab: Organization, stranger: Organization, ledger_keys: object
) -> None:
    offer = make_offer(archive, typed=EXCLUSIVE)
    grant = issue_grant(lab, offer)
    later = rows(grant)[0].training_window.upper + DAY
    made = at_once(lambda: renew(grant), lambda: issue_grant(stranger, offer, starts_at=later))
    assert made.count("rights_taken") == 1, made


# --- who takes over from whom -----------------------------------------------------------------

T = [datetime(2027, 1, day, tzinfo=UTC) for day in range(1, 10)]


def window(*days: int | None) -> DateTimeTZRange:
    if not days:
        return DateTimeTZRange(empty=True)
    lower, upper = (None if day is None else T[day] for day in days)
    return DateTimeTZRange(lower, upper)


@pytest.mark.parametrize(
    ("given", "counting"),
    [
        ([(1, 5)], [(1, 5)]),
        ([(1, None)], [(1, None)]),
        # Renewed: none is cut.
        ([(1, 5), (5, 8)], [(1, 5), (5, 8)]),
        ([(1, None), ()], [(1, None), None]),
        # Amended: the older one ends there.
        ([(1, 5), (3, 5)], [(1, 3), (3, 5)]),
        ([(1, None), (3, None)], [(1, 3), (3, None)]),
        # Amended again, later and sooner.
        ([(1, 5), (3, 5), (4, 5)], [(1, 3), (3, 4), (4, 5)]),
        ([(1, 5), (3, 5), (2, 5)], [(1, 2), None, (2, 5)]),
        # Amended before a renewal that was recorded already.
        ([(1, 5), (5, 8), (3, 5)], [(1, 3), (5, 8), (3, 5)]),
    ],
)
def test_of_the_windows_that_hold_an_instant_the_newest_counts(
    given: list[tuple[int | None, ...]], counting: list[tuple[int, int | None] | None]
) -> None:
    found = windows.in_turn([window(*days) for days in given])
    assert found == [
        None if each is None else (T[each[0]], None if each[1] is None else T[each[1]])
        for each in counting
    ]
    # It is what asking the windows themselves gives.
    for at in T:
        numbered = [
            Period(number=number, training_window=window(*days))
            for number, days in enumerate(given, 1)
        ]
        counts = windows.counting(numbered, "training_window", at)
        holding = [
            number
            for number, each in enumerate(found, 1)
            if each and each[0] <= at and (each[1] is None or at < each[1])
        ]
        assert holding == ([] if counts is None else [counts.number])


# --- what shows it, and the operator's command ------------------------------------------------


def test_a_grant_shows_its_periods(
    grant: Grant, archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    to = another(archive, {**ENDING, "attribution": "none"})
    renew(grant)
    amend(grant, to)

    for organization in (archive, lab):
        shown = client_for(organization).get(f"/v1/grants/{grant.pk}").json()["periods"]
        assert [(each["number"], each["kind"]) for each in shown] == [
            (1, "issued"),
            (2, "renewed"),
            (3, "amended"),
        ]
        assert [each["reference"] for each in shown] == ["", "ord_2", "amd_1"]
        assert [each["agreement"] is None for each in shown] == [True, True, False]
        assert shown[2]["agreement"]["document"] == "We agree."
        assert (
            shown[1]["windows"]["training"]["starts_at"]
            == (shown[0]["windows"]["training"]["ends_at"])
        )
    endless = issue_grant(
        lab, make_offer(archive, collection=make_collection(archive, name="Endless"))
    )
    renew(endless)
    shown = client_for(lab).get(f"/v1/grants/{endless.pk}").json()["periods"]
    assert [each["windows"]["use"] is None for each in shown] == [False, True]


@pytest.fixture
def operator(db: None) -> User:
    return operators.appoint(email="op@example.org", name="Op", password="correct horse battery")


def said(*words: str) -> str:
    out = StringIO()
    call_command("grant", *words, "--operator", "op@example.org", stdout=out)
    return out.getvalue()


def test_an_operator_changes_a_grant_by_command(
    grant: Grant, archive: Organization, operator: User, tmp_path: Path
) -> None:
    id, file = str(grant.pk), tmp_path / "amendment.txt"
    file.write_text("We change it.\n")
    to = another(archive, {**ENDING, "attribution": "none"})
    accepted = ("--document", str(file), "--accepted-by", "Lin", "--accepted-title", "Counsel")
    accepted = (*accepted, "--accepted-at", "2026-01-31T12:00:00Z")

    assert said("renew", id, "--reference", "ord_2").startswith(f"{id} renewed: period 2 (per_")
    amended = said("amend", id, "--reference", "amd_1", "--terms", to, *accepted)
    assert amended.startswith(f"{id} amended: period 3 (per_")
    assert amended == said("amend", id, "--reference", "amd_1", "--terms", to, *accepted)
    with access.system("look in a test"):
        first = grant.coverage.get()
        letters = first.snapshot.collection
    imports.run(caller_for(archive), str(letters.pk), imports.Records(list(records(1, start=50))))
    snapshot = snapshots.finalize(caller_for(archive), str(letters.pk))
    covered = said("cover", id, "--snapshot", str(snapshot.pk), "--by", "licensor")
    assert covered.startswith(f"{id} covers {snapshot.pk} from ")
    assert chain(grant)[1:] == ["grant.renewed", "grant.amended", "grant.coverage_added"]
    with access.system("look in a test"):
        kept = rows(grant)[2].agreement
        assert kept is not None
        assert (kept.document, kept.accepted_by_actor) == ("We change it.\n", str(operator.pk))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["renew", "{id}"], "needs --reference"),
        (
            ["renew", "{id}", "--reference", "r", "--effective-at", "2127-01-01T00:00:00Z"],
            "go with",
        ),
        (["renew", "{id}", "--reference", "r", "--cause", "other"], "go with"),
        (["amend", "{id}", "--reference", "r", "--terms", "trm_1"], "needs --document"),
        (["renew", "{id}", "--reference", "r", "--accepted-by", "Lin"], "--document is missing"),
        (["cover", "{id}"], "needs --snapshot"),
        (["cover", "{id}", "--snapshot", "snp_none"], "snp_none"),
        (["suspend", "{id}", "--cause", "other"], "needs --reason"),
    ],
)
def test_a_bad_command_is_refused_and_changes_nothing(
    words: list[str], message: str, grant: Grant, operator: User
) -> None:
    found = everything(grant)
    with pytest.raises(CommandError, match=message):
        said(*(word.format(id=grant.pk) for word in words))
    assert everything(grant) == found


def test_what_is_void_from_the_start_is_so_however_often_it_was_renewed(
    archive: Organization, lab: Organization
) -> None:
    grant = issue_grant(lab, make_offer(archive))
    renew(grant)
    event = lifecycle.revoke(seller(grant), str(grant.pk), ACT, effect="void_from_start")
    assert event.effective_at == min(grant.issued_at, rows(grant)[0].use_window.lower)


def test_who_accepted_an_amendment_can_be_erased_from_its_opening(
    grant: Grant, archive: Organization
) -> None:
    to = another(archive, {**ENDING, "attribution": "none"})
    renew(grant)
    period = amend(grant, to, agreed=agreed(name="Quill"))
    with access.system("look in a test"):
        assert signatories.entries(name="Quill") == [period.entry_id]
        assert signatories.entries(name="Lin") == [grant.issued_entry_id]
