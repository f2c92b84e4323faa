"""Moderation: decisions with reasons, what they do and undo, appeals, and who is told."""

from __future__ import annotations

import contextlib
import importlib
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone
from pytest_django import Settings

from licensing import audit_roots, moderation, offers, reports, snapshots
from licensing.models import Appeal, AuditLeaf, ModerationDecision, Offer, Report
from licensing.moderation import Reasons
from marketplace import legal_holds, organizations, reservations, traders
from marketplace.access import acting, system
from marketplace.errors import (
    AnotherOperatorNeeded,
    AppealTooLate,
    DecisionWrongState,
    DomainError,
    InvalidInput,
    MissingScope,
    NotFound,
    OfferNotBuyable,
    OfferWrongState,
    ReportWrongState,
    SalesSuspended,
)
from marketplace.models import Audit, Organization, Representation, ReservedDigest, User
from payments import quotes
from tests.ledger import append_many, naive_root
from tests.make import make_collection, make_offer, make_operator, make_trader
from tests.payments.racing import at_once
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
WHY = Reasons("A map of 1954 is in it.", "law", "Directive 2001/29/EC, article 2.")


@pytest.fixture
def olga(db: None) -> User:
    return make_operator("olga@example.org")


@pytest.fixture
def otto(db: None) -> User:
    return make_operator("otto@example.org")


@pytest.fixture
def offer(archive: Organization) -> Offer:
    return make_offer(archive)


def reported(target: str, **said: Any) -> tuple[Report, str]:
    given: dict[str, Any] = {
        "ground": "copyright",
        "explanation": "I drew it.",
        "location": "Page 3.",
        "name": "Rae",
        "email": "rae@example.org",
        "in_good_faith": True,
        "address": "192.0.2.1",
    }
    return reports.make(target=target, **{**given, **said})


def state(offer: Offer) -> str:
    return Offer.objects.get(pk=offer.pk).state


def fresh(row: Any) -> Any:
    with system("look in a test"):
        return type(row).objects.get(pk=row.pk)


def digests(organization: Organization) -> list[str]:
    with acting(caller_for(organization), writing=False):
        rows = Representation.objects.filter(organization=organization).order_by("pk")
        return [bytes(row.digest).hex() for row in rows]


def held(organization: Organization) -> set[str]:
    rows = reservations.at(organization.pk).filter(reason="held")
    return {bytes(row.digest).hex() for row in rows}


def acts(organization: Organization) -> list[str]:
    with system("read the audit in a test"):
        rows = Audit.objects.filter(organization=organization).order_by("id")
        named = [row.action for row in rows]
    return [each for each in named if each.startswith(("report.", "moderation", "offer."))]


def links(box: list[Any], place: str) -> list[str]:
    return [m[1] for each in box for m in re.finditer(rf"/{place}/([\w-]{{43}})", each.body)]


def everything() -> tuple[Any, ...]:
    with system("look in a test"):
        return tuple(
            list(model.objects.order_by("pk").values())  # type: ignore[attr-defined]
            for model in (Report, ModerationDecision, Appeal, Offer, ReservedDigest, Audit)
        )


# --- deciding ---------------------------------------------------------------------------------


def test_a_decision_suspends_the_listing_and_tells_both_sides_why(
    archive: Organization, lab: Organization, offer: Offer, olga: User
) -> None:
    report, _token = reported(f"{offer.pk}")
    mail.outbox.clear()

    decision = moderation.decide(
        olga, report=str(report.pk), measure="listing_suspended", reasons=WHY
    )

    assert state(offer) == "suspended"
    with pytest.raises(OfferNotBuyable):
        quotes.make(caller_for(lab), offer=str(offer.pk), uses=["pretrain"], territories=["DE"])
    assert decision.suspended == [str(offer.pk)]
    assert (fresh(report).state, fresh(report).decision_id) == ("decided", decision.pk)
    seller, reporter = mail.outbox
    assert (seller.to, reporter.to) == (["legal@example.org"], ["rae@example.org"])
    for each in (seller, reporter):
        for said in (WHY.facts, WHY.reference, "Illegal content", "No automated means"):
            assert said in each.body, said
    # Nobody learns who reported, and no reporter the seller's link.
    assert "Rae" not in seller.body
    assert "rae@" not in seller.body
    assert links([reporter], "moderation") == []
    [token] = links([seller], "moderation")
    assert moderation.by_link(token).pk == decision.pk
    assert acts(archive)[-3:] == ["report.received", "offer.suspended", "moderation_decision.taken"]


def test_the_same_decision_again_changes_nothing_and_another_is_refused(
    offer: Offer, olga: User, otto: User
) -> None:
    report, _token = reported(str(offer.pk))
    ask: dict[str, Any] = {"report": str(report.pk), "measure": "none", "reasons": WHY}
    first = moderation.decide(olga, **ask)
    before, told = everything(), len(mail.outbox)
    assert moderation.decide(olga, **ask) == first
    with pytest.raises(ReportWrongState) as refused:
        moderation.decide(otto, **{**ask, "measure": "listing_suspended"})
    assert refused.value.data["decision"] == str(first.pk)
    assert (everything(), len(mail.outbox)) == (before, told)


def test_a_decision_of_ones_own_accord_is_taken_once(offer: Offer, olga: User) -> None:
    ask: dict[str, Any] = {"offer": str(offer.pk), "measure": "listing_suspended", "reasons": WHY}
    first = moderation.decide(olga, **ask)
    assert moderation.decide(olga, **ask) == first
    with system("count in a test"):
        assert ModerationDecision.objects.count() == 1


def test_no_action_is_told_to_the_reporter_alone(
    archive: Organization, client_for: ClientFor, offer: Offer, olga: User
) -> None:
    report, _token = reported(str(offer.pk))
    mail.outbox.clear()
    decision = moderation.decide(olga, report=str(report.pk), measure="none", reasons=WHY)
    assert [each.to for each in mail.outbox] == [["rae@example.org"]]
    assert state(offer) == "listed"
    client = client_for(archive)
    assert client.get("/v1/moderation-decisions").json()["data"] == []
    assert client.get(f"/v1/moderation-decisions/{decision.pk}").status_code == 404


def test_all_who_reported_the_same_are_decided_together(offer: Offer, olga: User) -> None:
    first, _token = reported(str(offer.pk))
    second, _token = reported(str(offer.pk), name="Sid", email="sid@example.org")
    with pytest.raises(ReportWrongState, match="joined"):
        moderation.decide(olga, report=str(second.pk), measure="none", reasons=WHY)
    mail.outbox.clear()
    decision = moderation.decide(olga, report=str(first.pk), measure="none", reasons=WHY)
    assert {fresh(each).decision_id for each in (first, second)} == {decision.pk}
    assert [each.to for each in mail.outbox] == [["rae@example.org"], ["sid@example.org"]]
    # What comes later is another case.
    third, _token = reported(str(offer.pk), email="tea@example.org")
    assert third.joined_to is None


def test_held_works_are_not_licensed_with_all_that_they_are_represented_by(
    archive: Organization, offer: Offer, olga: User
) -> None:
    named, *_others = digests(archive)
    # The same work, as another file.
    with acting(caller_for(archive)):
        form = Representation.objects.get(digest=bytes.fromhex(named))
        other = bytes(32)
        Representation.objects.create(
            organization=archive,
            work_id=form.work_id,
            digest=other,
            length=1,
            media_type="text/plain",
            custody="reference",
        )
    report, _token = reported(named)
    assert reports_of(report) == [(archive, [named])]
    decision = moderation.decide(
        olga,
        report=str(report.pk),
        organization=str(archive.pk),
        measure="work_held",
        reasons=WHY,
    )
    assert (held(archive), decision.digests) == ({named, other.hex()}, [named])
    moderation.lift(olga, str(decision.pk), reason="It was another map.")
    assert held(archive) == set()


def reports_of(report: Report) -> list[tuple[Organization, list[str]]]:
    with system("look for an operator in a test"):
        return reports.holders(report)


def test_a_take_down_holds_every_work_of_the_listing(
    archive: Organization, offer: Offer, olga: User
) -> None:
    other = make_collection(archive, name="Other", works=1)
    snapshots.finalize(caller_for(archive), str(other.pk))
    mine = set(digests(archive))
    decision = moderation.decide(olga, offer=str(offer.pk), measure="taken_down", reasons=WHY)
    assert state(offer) == "suspended"
    assert len(held(archive)) == 3
    assert held(archive) < mine
    moderation.lift(olga, str(decision.pk), reason="All is well.")
    assert (state(offer), held(archive)) == ("listed", set())


def test_suspended_sales_take_everything_off_sale_and_let_nothing_on(
    archive: Organization, client_for: ClientFor, olga: User
) -> None:
    first, second = make_offer(archive), make_offer(archive)
    offers.suspend(olga, str(second.pk), reason="By hand.")
    draft = make_offer(archive, is_published=False)

    decision = moderation.decide(
        olga, organization=str(archive.pk), measure="sales_suspended", reasons=WHY
    )

    assert decision.suspended == [str(first.pk)]
    refused = client_for(archive).post(f"/v1/offers/{draft.pk}/publish")
    assert (refused.status_code, refused.json()["code"]) == (409, "sales_suspended")
    assert refused.json()["decision"] == str(decision.pk)
    for offer in (first, second):
        with pytest.raises(SalesSuspended):
            offers.reinstate(olga, str(offer.pk))
    assert [state(each) for each in (first, second, draft)] == ["suspended", "suspended", "draft"]

    moderation.lift(olga, str(decision.pk), reason="Explained.")
    # What was suspended by hand stays so.
    assert [state(each) for each in (first, second, draft)] == ["listed", "suspended", "draft"]


def test_a_decided_suspension_is_not_undone_by_hand(offer: Offer, olga: User) -> None:
    moderation.decide(olga, offer=str(offer.pk), measure="listing_suspended", reasons=WHY)
    before = everything()
    with pytest.raises(OfferWrongState, match="stands against"):
        offers.reinstate(olga, str(offer.pk))
    assert everything() == before


@pytest.mark.parametrize("first_lifted", [0, 1])
def test_what_two_decisions_ask_for_is_undone_with_the_second(
    archive: Organization, offer: Offer, olga: User, first_lifted: int
) -> None:
    named = digests(archive)[0]
    two = [
        moderation.decide(olga, offer=str(offer.pk), measure="taken_down", reasons=WHY),
        moderation.decide(
            olga, organization=str(archive.pk), measure="sales_suspended", reasons=WHY
        ),
    ]
    work = moderation.decide(
        olga, organization=str(archive.pk), digests=[named], measure="work_held", reasons=WHY
    )
    moderation.lift(olga, str(two[first_lifted].pk), reason="One.")
    assert state(offer) == "suspended"
    moderation.lift(olga, str(two[1 - first_lifted].pk), reason="Two.")
    assert (state(offer), held(archive)) == ("listed", {named})
    moderation.lift(olga, str(work.pk), reason="Three.")
    assert held(archive) == set()


def test_an_offer_that_cannot_come_back_stays_off_and_the_decision_ends(
    archive: Organization, olga: User
) -> None:
    later = timezone.now() + timedelta(seconds=60)
    offer = make_offer(archive, closes_at=later)
    withdrawn = make_offer(archive)
    decision = moderation.decide(
        olga, organization=str(archive.pk), measure="sales_suspended", reasons=WHY
    )
    offers.withdraw(caller_for(archive), str(withdrawn.pk))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("licensing.offers.timezone.now", lambda: later + timedelta(seconds=1))
        moderation.lift(olga, str(decision.pk), reason="Over.")
    assert [state(each) for each in (offer, withdrawn)] == ["suspended", "withdrawn"]
    with system("look in a test"):
        row = Audit.objects.get(action="moderation_decision.ended")
    assert row.data == {"how": "lifted", "kept": [str(offer.pk)]}


def test_a_measure_ends_by_itself_when_its_time_is_over(offer: Offer, olga: User) -> None:
    until = timezone.now() + timedelta(hours=1)
    decision = moderation.decide(
        olga, offer=str(offer.pk), measure="listing_suspended", reasons=WHY, until=until
    )
    assert moderation.expire_due() == 0
    olga.is_active = False
    olga.save(update_fields=["is_active"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("licensing.moderation.timezone.now", lambda: until + timedelta(seconds=1))
        assert moderation.expire_due() == 1
        assert moderation.expire_due() == 0
    assert (fresh(decision).state, state(offer)) == ("expired", "listed")


BAD: dict[str, tuple[dict[str, Any], type[DomainError]]] = {
    "an unknown measure": ({"measure": "delete"}, InvalidInput),
    "an unknown ground": ({"reasons": Reasons("a", "taste", "b")}, InvalidInput),
    "an unknown automation": ({"reasons": Reasons("a", "law", "b", "magic")}, InvalidInput),
    "no facts": ({"reasons": Reasons(" ", "law", "b")}, InvalidInput),
    "no law": ({"reasons": Reasons("a", "law", "")}, InvalidInput),
    "a null byte": ({"reasons": Reasons("a\x00", "law", "b")}, InvalidInput),
    "too many words": ({"reasons": Reasons("a" * 5_001, "law", "b")}, InvalidInput),
    "an end that is past": ({"until": datetime(2020, 1, 1, tzinfo=UTC)}, InvalidInput),
    "an end of nothing": (
        {"measure": "none", "until": datetime(2099, 1, 1, tzinfo=UTC)},
        InvalidInput,
    ),
    "no listing": ({"offer": None}, InvalidInput),
    "no works": ({"measure": "work_held"}, InvalidInput),
    "no seller": ({"measure": "sales_suspended", "offer": None}, InvalidInput),
    "a work of nobody": ({"measure": "work_held", "digests": ["0" * 64]}, InvalidInput),
    "what is no digest": ({"measure": "work_held", "digests": ["x"]}, InvalidInput),
    "an unknown offer": ({"offer": "off_01m86qffpae7zr451q5yc40mdx"}, NotFound),
    "no id": ({"offer": "nothing"}, NotFound),
    "an unknown report": ({"report": "rpt_01m86qffpae7zr451q5yc40mdx"}, NotFound),
    "an unknown seller": ({"measure": "sales_suspended", "offer": None, "organization": "x"},
                          InvalidInput),
}  # fmt: skip


def test_what_cannot_be_decided_is_refused(offer: Offer, olga: User) -> None:
    before = everything()
    for name, (changed, error) in BAD.items():
        ask = {"offer": str(offer.pk), "measure": "listing_suspended", "reasons": WHY, **changed}
        with pytest.raises(error):
            moderation.decide(olga, **ask)
        assert everything() == before, name


def test_only_operators_moderate(archive: Organization, offer: Offer, olga: User) -> None:
    person = organizations.admit(
        archive, email="ada@example.org", name="Ada", password="correct horse", role="owner"
    )
    decision = moderation.decide(olga, offer=str(offer.pk), measure="none", reasons=WHY)
    before = everything()
    for act in (
        lambda: moderation.decide(person, offer=str(offer.pk), measure="none", reasons=WHY),
        lambda: moderation.lift(person, str(decision.pk), reason="No."),
        lambda: moderation.answer(person, "apl_1", is_reversed=True, text="No."),
    ):
        with pytest.raises(MissingScope):
            act()
    assert everything() == before


# --- states -----------------------------------------------------------------------------------

STATES = ModerationDecision.State


@pytest.mark.oracle
@pytest.mark.parametrize(("before", "after"), [*product(STATES.values, STATES.values)])
def test_every_pair_of_a_decisions_states(
    before: str, after: str, offer: Offer, olga: User, otto: User
) -> None:
    decision = moderation.decide(
        olga,
        offer=str(offer.pk),
        measure="listing_suspended",
        reasons=WHY,
        until=timezone.now() + timedelta(hours=1),
    )
    filed = moderation.appeal(caller_for(offer.organization), str(decision.pk), reasons="Mine.")
    assert filed.pk == decision.pk
    move(decision, before, olga, otto)
    allowed = after in moderation.TRANSITIONS.get(before, frozenset())
    with contextlib.suppress(DecisionWrongState):
        move(decision, after, olga, otto)
    now = fresh(decision).state
    assert now == (after if allowed else before)
    assert state(offer) == ("suspended" if now == "in_force" else "listed")


def move(decision: ModerationDecision, to: str, olga: User, otto: User) -> None:
    """Try to bring a decision into a state, by the verb that does."""
    later = timezone.now() + timedelta(hours=2)
    if to == "lifted":
        moderation.lift(olga, str(decision.pk), reason="Over.")
    elif to == "reversed":
        with system("find an appeal in a test"):
            found = Appeal.objects.get(decision=decision)
        moderation.answer(otto, str(found.pk), is_reversed=True, text="You are right.")
    elif to == "expired":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("licensing.moderation.timezone.now", lambda: later)
            moderation.expire_due()


ANSWERS = Appeal.State


@pytest.mark.oracle
@pytest.mark.parametrize(("before", "after"), [*product(ANSWERS.values, ANSWERS.values)])
def test_every_pair_of_an_appeals_states(
    before: str, after: str, offer: Offer, olga: User, otto: User
) -> None:
    decision = moderation.decide(
        olga, offer=str(offer.pk), measure="listing_suspended", reasons=WHY
    )
    moderation.appeal(caller_for(offer.organization), str(decision.pk), reasons="Mine.")
    with system("find an appeal in a test"):
        found = Appeal.objects.get()

    def answer(to: str) -> None:
        if to != "open":
            moderation.answer(otto, str(found.pk), is_reversed=to == "reversed", text="So.")

    answer(before)
    allowed = after in moderation.APPEAL_TRANSITIONS.get(before, frozenset())
    try:
        answer(after)
    except DecisionWrongState:
        assert not allowed
    assert fresh(found).state == (after if allowed else before)


# --- appeals ----------------------------------------------------------------------------------


def test_a_seller_appeals_by_key_and_another_operator_gives_it_back(
    archive: Organization, client_for: ClientFor, offer: Offer, olga: User, otto: User
) -> None:
    decision = moderation.decide(
        olga, offer=str(offer.pk), measure="listing_suspended", reasons=WHY
    )
    url, client = f"/v1/moderation-decisions/{decision.pk}", client_for(archive)
    shown = client.get(url).json()
    assert (shown["object"], shown["state"], shown["appeal"]) == (
        "moderation_decision",
        "in_force",
        None,
    )
    assert [row["id"] for row in client.get("/v1/moderation-decisions").json()["data"]] == [
        str(decision.pk)
    ]

    answers = [
        client.post(f"{url}/appeal", {"reasons": "We drew the map."}, Idempotency_Key="k")
        for _each in range(2)
    ]
    answers.append(client.post(f"{url}/appeal", {"reasons": "Another."}))
    assert [each.status_code for each in answers] == [200, 200, 200]
    assert {each.json()["appeal"]["reasons"] for each in answers} == {"We drew the map."}
    with system("find an appeal in a test"):
        found = Appeal.objects.get()
        assert list(moderation.appeals_waiting(olga)) == []
        assert list(moderation.appeals_waiting(otto)) == [found]
    before = everything()
    with pytest.raises(AnotherOperatorNeeded):
        moderation.answer(olga, str(found.pk), is_reversed=False, text="I was right.")
    assert everything() == before

    mail.outbox.clear()
    for _each in range(2):
        moderation.answer(otto, str(found.pk), is_reversed=True, text="The map is yours.")
    assert [each.to for each in mail.outbox] == [["legal@example.org"]]
    shown = client.get(url).json()
    assert (shown["state"], shown["appeal"]["state"]) == ("reversed", "reversed")
    assert shown["appeal"]["answer"] == "The map is yours."
    assert state(offer) == "listed"
    assert acts(archive)[-4:] == [
        "moderation_appeal.filed",
        "offer.reinstated",
        "moderation_decision.ended",
        "moderation_appeal.reversed",
    ]


def test_a_reporter_who_is_right_has_the_report_looked_at_again(
    offer: Offer, olga: User, otto: User
) -> None:
    report, token = reported(str(offer.pk))
    with pytest.raises(DecisionWrongState):
        moderation.appeal_as_reporter(token, reasons="Too slow.")
    decision = moderation.decide(olga, report=str(report.pk), measure="none", reasons=WHY)
    for _each in range(2):
        moderation.appeal_as_reporter(token, reasons="Look at page 3.")
    with system("find an appeal in a test"):
        found = Appeal.objects.get()
    moderation.answer(otto, str(found.pk), is_reversed=True, text="Page 3 was missed.")
    assert (fresh(decision).state, fresh(report).state) == ("reversed", "received")

    again = moderation.decide(otto, report=str(report.pk), measure="listing_suspended", reasons=WHY)
    assert (fresh(report).decision_id, state(offer)) == (again.pk, "suspended")


def test_a_reporter_who_finds_a_measure_too_mild_does_not_undo_it(
    archive: Organization, offer: Offer, olga: User, otto: User
) -> None:
    report, token = reported(str(offer.pk))
    decision = moderation.decide(
        olga, report=str(report.pk), measure="listing_suspended", reasons=WHY
    )
    moderation.appeal_as_reporter(token, reasons="Stop the seller.")
    with system("find an appeal in a test"):
        found = Appeal.objects.get()
    moderation.answer(otto, str(found.pk), is_reversed=True, text="Right.")
    assert (fresh(decision).state, fresh(report).state) == ("in_force", "received")
    assert state(offer) == "suspended"


@pytest.mark.parametrize(
    ("decided", "ends"),
    [
        ("2026-01-31T10:00:00+00:00", "2026-07-31T10:00:00+00:00"),
        ("2026-08-31T10:00:00+00:00", "2027-02-28T10:00:00+00:00"),
        ("2027-08-29T10:00:00+00:00", "2028-02-29T10:00:00+00:00"),
    ],
)
def test_six_months_end_with_a_shorter_months_last_day(decided: str, ends: str) -> None:
    decision = ModerationDecision(decided_at=datetime.fromisoformat(decided))
    assert moderation.appeal_ends(decision) == datetime.fromisoformat(ends)


def test_after_six_months_it_is_too_late(offer: Offer, olga: User) -> None:
    decision = moderation.decide(
        olga, offer=str(offer.pk), measure="listing_suspended", reasons=WHY
    )
    before = everything()
    late = moderation.appeal_ends(decision) + timedelta(seconds=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("licensing.moderation.timezone.now", lambda: late)
        with pytest.raises(AppealTooLate):
            moderation.appeal(caller_for(offer.organization), str(decision.pk), reasons="Mine.")
    assert everything() == before


def test_what_has_ended_is_not_appealed(offer: Offer, olga: User) -> None:
    decision = moderation.decide(
        olga, offer=str(offer.pk), measure="listing_suspended", reasons=WHY
    )
    moderation.lift(olga, str(decision.pk), reason="Over.")
    with pytest.raises(DecisionWrongState):
        moderation.appeal(caller_for(offer.organization), str(decision.pk), reasons="Mine.")


def test_nobody_else_appeals(stranger: Organization, offer: Offer, olga: User) -> None:
    decision = moderation.decide(
        olga, offer=str(offer.pk), measure="listing_suspended", reasons=WHY
    )
    with pytest.raises(NotFound):
        moderation.appeal(caller_for(stranger), str(decision.pk), reasons="Mine.")
    for token in ("", "x", "a" * 43):
        with pytest.raises(NotFound):
            moderation.by_link(token)


def test_a_mail_that_fails_undoes_no_decision(
    offer: Offer, olga: User, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    report, _token = reported(str(offer.pk))
    decision = moderation.decide(
        olga, report=str(report.pk), measure="listing_suspended", reasons=WHY
    )
    assert (fresh(decision).state, state(offer)) == ("in_force", "suspended")
    assert str(report.pk) in caplog.text


# --- at once ----------------------------------------------------------------------------------


def pausing(patch: pytest.MonkeyPatch, place: str) -> None:
    """Have whoever comes to a function wait for the other there, as far as a lock lets both come.

    Without the lock both come; with it, the second waits at the lock, and the first goes on alone.
    """
    together = threading.Barrier(2)
    module, _dot, name = place.rpartition(".")
    inner = getattr(importlib.import_module(module), name)

    def waiting(*arguments: Any, **named: Any) -> Any:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(0.5)
        return inner(*arguments, **named)

    patch.setattr(place, waiting)


@pytest.mark.django_db(transaction=True)
def test_of_two_operators_at_once_one_decides(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer, operators = make_offer(archive), [make_operator(f"{n}@example.org") for n in "ab"]
    report, _token = reported(str(offer.pk))
    pausing(monkeypatch, "licensing.moderation._drafted")

    def decide(operator: User, measure: str) -> Callable[[], Any]:
        return lambda: moderation.decide(
            operator, report=str(report.pk), measure=measure, reasons=WHY
        )

    results = at_once(decide(operators[0], "none"), decide(operators[1], "listing_suspended"))

    assert sorted(type(each).__name__ for each in results) == [
        "ModerationDecision",
        "ReportWrongState",
    ]
    with system("count in a test"):
        assert ModerationDecision.objects.count() == 1


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_nothing_comes_on_sale_while_sales_are_suspended(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer, olga = make_offer(archive, is_published=False), make_operator()
    check, drafted = offers._check_may_sell, moderation._drafted

    def slow(seller: Organization) -> None:
        check(seller)
        # Long enough for the whole suspension, if nothing kept it out.
        time.sleep(0.6)

    def late(*arguments: Any) -> Any:
        time.sleep(0.2)
        return drafted(*arguments)

    monkeypatch.setattr(offers, "_check_may_sell", slow)
    monkeypatch.setattr(moderation, "_drafted", late)
    at_once(
        lambda: offers.publish(caller_for(archive), str(offer.pk)),
        lambda: moderation.decide(
            olga, organization=str(archive.pk), measure="sales_suspended", reasons=WHY
        ),
    )
    assert state(offer) in {"draft", "suspended"}


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_of_two_answers_at_once_one_counts(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer, olga = make_offer(archive), make_operator()
    others = [make_operator(f"{n}@example.org") for n in "ab"]
    decision = moderation.decide(
        olga, offer=str(offer.pk), measure="listing_suspended", reasons=WHY
    )
    at_once(
        *(
            lambda: moderation.appeal(caller_for(archive), str(decision.pk), reasons="Mine.")
            for _each in range(2)
        )
    )
    with system("find an appeal in a test"):
        found = Appeal.objects.get()
    pausing(monkeypatch, "licensing.moderation._to_tell")

    results = at_once(
        lambda: moderation.answer(others[0], str(found.pk), is_reversed=True, text="Yes."),
        lambda: moderation.answer(others[1], str(found.pk), is_reversed=False, text="No."),
    )

    assert sorted(type(each).__name__ for each in results) == ["Appeal", "DecisionWrongState"]
    is_reversed = fresh(found).state == "reversed"
    assert state(offer) == ("listed" if is_reversed else "suspended")


# --- on record --------------------------------------------------------------------------------


def test_every_act_of_the_desk_has_its_place_in_what_the_ledger_commits_to(
    archive: Organization, olga: User, otto: User, settings: Settings
) -> None:
    settings.LEDGER_AUDIT_SECONDS = 0
    append_many(1)
    offer = make_offer(archive)
    report, token = reported(str(offer.pk))
    ask: dict[str, Any] = {"report": str(report.pk), "reasons": WHY}
    moderation.decide(olga, **ask, measure="listing_suspended")
    moderation.appeal_as_reporter(token, reasons="More.")
    with system("find an appeal in a test"):
        found = Appeal.objects.get()
    moderation.answer(otto, str(found.pk), is_reversed=False, text="Enough.")
    again = moderation.decide(olga, offer=str(offer.pk), measure="work_held", reasons=WHY,
                              digests=digests(archive)[:1])  # fmt: skip
    moderation.appeal(caller_for(archive), str(again.pk), reasons="Mine.")
    with system("find an appeal in a test"):
        mine = Appeal.objects.get(decision=again)
    moderation.answer(otto, str(mine.pk), is_reversed=True, text="Yours.")
    trader = make_trader(archive)
    traders.refuse(olga, str(trader.pk), reason="Struck off.")
    hold = legal_holds.place(olga, str(archive.pk), reason="A court.", matter="1")
    legal_holds.lift(otto, str(hold.pk), reason="Over.")

    [root] = audit_roots.record_due()

    with system("look in a test"):
        rows = {str(row.pk): row for row in Audit.objects.all()}
        leaves = list(AuditLeaf.objects.order_by("position"))
        placed = {rows[str(leaf.audit_id)].action for leaf in leaves}
    assert placed >= {
        "report.received",
        "moderation_decision.taken",
        "moderation_decision.ended",
        "moderation_appeal.filed",
        "moderation_appeal.refused",
        "moderation_appeal.reversed",
        "trader.submitted",
        "trader.verified",
        "trader.refused",
        "legal_hold.placed",
        "legal_hold.lifted",
    }
    assert root.size == len(rows) == len(leaves)
    assert bytes(root.root) == naive_root([bytes(leaf.leaf_hash) for leaf in leaves])
    # Each says who did it; what operators do, they do under their own name.
    acted = {row.actor for row in rows.values() if row.action.startswith("legal_hold.")}
    assert acted == {str(olga.pk), str(otto.pk)}


def test_a_decision_about_what_is_nobodys_here_is_on_record_without_an_organization(
    olga: User, otto: User
) -> None:
    report, token = reported("https://example.org/a")
    decision = moderation.decide(olga, report=str(report.pk), measure="none", reasons=WHY)
    moderation.appeal_as_reporter(token, reasons="Look again.")
    with system("find an appeal in a test"):
        found = Appeal.objects.get()
    for _each in range(2):
        moderation.answer(otto, str(found.pk), is_reversed=True, text="I looked.")
    with system("read the audit in a test"):
        rows = Audit.objects.filter(organization=None).exclude(action="operator.appointed")
        said = [(row.action, row.actor, row.subject) for row in rows.order_by("id")]
    assert said == [
        ("report.received", "system", str(report.pk)),
        ("moderation_decision.taken", str(olga.pk), str(decision.pk)),
        ("moderation_appeal.filed", "reporter", str(found.pk)),
        ("moderation_decision.ended", str(otto.pk), str(decision.pk)),
        ("moderation_appeal.reversed", str(otto.pk), str(found.pk)),
    ]
