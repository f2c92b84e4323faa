"""What the law asks of decisions and appeals: Regulation (EU) 2022/2065, articles 16, 17 and 20."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from licensing import moderation, offers, optouts
from licensing.models import Appeal, ModerationDecision, Offer
from licensing.moderation import Reasons
from marketplace import reservations
from marketplace.access import system
from marketplace.errors import (
    AnotherOperatorNeeded,
    DecisionWrongState,
    DomainError,
    InvalidInput,
)
from marketplace.models import Audit, Organization, User
from tests.licensing.test_moderation import (
    WHY,
    digests,
    everything,
    fresh,
    held,
    links,
    pausing,
    reported,
    state,
)
from tests.make import make_offer, make_operator
from tests.payments.racing import at_once
from tests.people import caller_for

pytestmark = pytest.mark.django_db
REDRESS = "out-of-court dispute settlement body, or to a court"


@pytest.fixture
def olga(db: None) -> User:
    return make_operator("olga@example.org")


@pytest.fixture
def otto(db: None) -> User:
    return make_operator("otto@example.org")


@pytest.fixture
def offer(archive: Organization) -> Offer:
    return make_offer(archive)


# Article 17(3) -> what stands in the statement for it.
ELEMENTS = {
    "(a) the measure": "The listing is suspended",
    "(a) the territory": "verywhere",
    "(a) the duration": "2099-01-01",
    "(b) facts and circumstances": WHY.facts,
    "(b) after a notice, or of one's own accord": "After a report (article 16",
    "(c) automated means": "The content was found by automated means",
    "(d) legal ground and why": WHY.reference,
    "(d), (e) which of the two": "Illegal content",
    "(f) the internal way": "Another person than who decided answers you.",
    "(f) the other ways": REDRESS,
}


def test_the_statement_of_reasons_has_each_element_by_mail_and_on_both_pages(
    offer: Offer, olga: User, client: Client
) -> None:
    report, token = reported(str(offer.pk))
    mail.outbox.clear()
    reasons = Reasons(WHY.facts, WHY.ground, WHY.reference, automation="detected")
    decision = moderation.decide(
        olga,
        report=str(report.pk),
        measure="listing_suspended",
        reasons=reasons,
        until=datetime(2099, 1, 1, 10, tzinfo=UTC),
    )
    seller, reporter = mail.outbox
    [own] = links([seller], "moderation")
    pages = [client.get(f"/moderation/{own}"), client.get(f"/report/{token}")]
    for text in [seller.body, reporter.body, *(page.content.decode() for page in pages)]:
        for element, said in ELEMENTS.items():
            assert said in text, element
    ends = moderation.appeal_ends(decision)
    for body in (seller.body, reporter.body):
        assert f"Until {ends:%Y-%m-%d %H:%M} UTC you can object" in body


def test_a_decision_says_whether_it_follows_a_report(
    client: Client, offer: Offer, olga: User, otto: User
) -> None:
    own = moderation.decide(olga, offer=str(offer.pk), measure="listing_suspended", reasons=WHY)
    assert (own.follows_report, "own look" in mail.outbox[-1].body) == (False, True)
    report, token = reported(str(offer.pk))
    after = moderation.decide(olga, report=str(report.pk), measure="none", reasons=WHY)
    moderation.appeal_as_reporter(token, reasons="Look again.")
    with system("find an appeal in a test"):
        found = Appeal.objects.get()
    moderation.answer(otto, str(found.pk), is_reversed=True, text="You are right.")
    # Its report is open again; why it was looked at does not change.
    assert (fresh(after).follows_report, fresh(report).decision_id) == (True, None)
    page = client.get(f"/report/{token}").content.decode()
    for said in ("Received", "looked at again", "Look again.", "You are right."):
        assert said in page, said


def test_who_is_answered_is_told_of_the_other_ways(
    archive: Organization, offer: Offer, olga: User, otto: User, client: Client
) -> None:
    moderation.decide(olga, offer=str(offer.pk), measure="listing_suspended", reasons=WHY)
    [own] = links(mail.outbox, "moderation")
    moderation.appeal_by_link(own, reasons="We drew it.")
    with system("find an appeal in a test"):
        found = Appeal.objects.get()
    mail.outbox.clear()
    moderation.answer(otto, str(found.pk), is_reversed=False, text="It stands.")
    [told] = mail.outbox
    assert "It stands." in told.body
    assert REDRESS in told.body
    assert REDRESS in client.get(f"/moderation/{own}").content.decode()


def test_a_measure_whose_time_is_over_can_be_appealed_for_six_months_all_the_same(
    archive: Organization, offer: Offer, olga: User, otto: User
) -> None:
    until = timezone.now() + timedelta(hours=1)
    decision = moderation.decide(
        olga, offer=str(offer.pk), measure="listing_suspended", reasons=WHY, until=until
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("licensing.moderation.timezone.now", lambda: until + timedelta(days=90))
        assert moderation.expire_due() == 1
        moderation.appeal(caller_for(archive), str(decision.pk), reasons="It was wrong.")
        with system("find an appeal in a test"):
            found = Appeal.objects.get()
        moderation.answer(otto, str(found.pk), is_reversed=True, text="It was.")
    assert (fresh(found).state, fresh(decision).state) == ("reversed", "expired")
    assert state(offer) == "listed"


def test_a_reporter_objects_to_a_decision_that_was_taken_back_and_its_seller_does_not(
    archive: Organization, offer: Offer, olga: User, otto: User, client: Client
) -> None:
    report, token = reported(str(offer.pk))
    decision = moderation.decide(
        olga, report=str(report.pk), measure="listing_suspended", reasons=WHY
    )
    mail.outbox.clear()
    moderation.lift(otto, str(decision.pk), reason="It was another map.")
    seller, reporter = mail.outbox
    ends = moderation.appeal_ends(fresh(decision), report)
    assert f"Until {ends:%Y-%m-%d %H:%M} UTC you can object" in reporter.body
    assert "you can object" not in seller.body
    with pytest.raises(DecisionWrongState):
        moderation.appeal(caller_for(archive), str(decision.pk), reasons="Mine.")

    assert client.post(f"/report/{token}", {"reasons": "It is that map."}).status_code == 302
    with system("find an appeal in a test"):
        found = Appeal.objects.get()
    # Whoever took it back decided last; whoever decided first may answer.
    with pytest.raises(AnotherOperatorNeeded):
        moderation.answer(otto, str(found.pk), is_reversed=True, text="No.")
    moderation.answer(olga, str(found.pk), is_reversed=True, text="It is.")
    assert (fresh(decision).state, fresh(report).state) == ("lifted", "received")
    assert state(offer) == "listed"


# --- what sellers might try, and what operators might mistype -----------------------------------


@pytest.mark.parametrize("way", ["withdrawn", "draft"])
def test_a_take_down_reaches_the_works_of_a_listing_that_is_not_on_sale(
    archive: Organization, olga: User, way: str
) -> None:
    offer = make_offer(archive, is_published=way != "draft")
    if way == "withdrawn":
        offers.withdraw(caller_for(archive), str(offer.pk))
    decision = moderation.decide(olga, offer=str(offer.pk), measure="taken_down", reasons=WHY)
    assert (state(offer), decision.suspended) == (way, [])
    assert held(archive) == set(digests(archive))
    if way == "draft":
        with pytest.raises(DomainError):
            offers.publish(caller_for(archive), str(offer.pk))
    moderation.lift(olga, str(decision.pk), reason="Over.")
    assert (state(offer), held(archive)) == (way, set())


def test_what_names_another_seller_or_works_that_it_has_not_is_refused(
    archive: Organization, lab: Organization, offer: Offer, olga: User
) -> None:
    before, named = everything(), digests(archive)[0]
    ask: dict[str, Any] = {"measure": "listing_suspended", "reasons": WHY, "offer": str(offer.pk)}
    with pytest.raises(InvalidInput, match="another seller"):
        moderation.decide(olga, **ask, organization=str(lab.pk))
    with pytest.raises(InvalidInput, match="or not all"):
        moderation.decide(
            olga,
            measure="work_held",
            reasons=WHY,
            organization=str(archive.pk),
            digests=[named, "0" * 64],
        )
    assert everything() == before
    moderation.decide(olga, **ask, organization=str(archive.pk))
    assert state(offer) == "suspended"


@pytest.mark.parametrize("first", ["hold", "opt_out"])
def test_an_opt_out_outlives_a_take_down_whichever_came_first(
    archive: Organization, offer: Offer, olga: User, first: str
) -> None:
    named, *others = digests(archive)

    def opt_out() -> None:
        given = [bytes.fromhex(named)]
        optouts.record(caller_for(archive), by="owner", reason="Asked.", digests=given)

    if first == "opt_out":
        opt_out()
    decision = moderation.decide(olga, offer=str(offer.pk), measure="taken_down", reasons=WHY)
    if first == "hold":
        opt_out()
    reserved = reservations.among(map(bytes.fromhex, digests(archive)), organization=archive.pk)
    # Of two reasons the one for good is said.
    assert reserved == {
        bytes.fromhex(named): "opted_out",
        **{bytes.fromhex(each): "held" for each in others},
    }
    moderation.lift(olga, str(decision.pk), reason="Over.")
    left = reservations.among(map(bytes.fromhex, digests(archive)), organization=archive.pk)
    assert left == {bytes.fromhex(named): "opted_out"}
    assert state(offer) == "listed"


# --- at once ------------------------------------------------------------------------------------


def ended(decision: ModerationDecision) -> list[str]:
    with system("read the audit in a test"):
        rows = Audit.objects.filter(action="moderation_decision.ended", subject=str(decision.pk))
        return [row.data["how"] for row in rows.order_by("id")]


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("second", ["lift", "answer"])
def test_of_two_operators_who_end_a_decision_at_once_one_does(
    archive: Organization, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    """Without the lock in `moderation._lock` it ends twice."""
    offer, olga, otto = make_offer(archive), make_operator(), make_operator("otto@example.org")
    decision = moderation.decide(
        olga, offer=str(offer.pk), measure="listing_suspended", reasons=WHY
    )
    moderation.appeal(caller_for(archive), str(decision.pk), reasons="Mine.")
    with system("find an appeal in a test"):
        found = Appeal.objects.get()
    pausing(monkeypatch, "licensing.moderation._end")
    other = {
        "lift": lambda: moderation.lift(otto, str(decision.pk), reason="Over, too."),
        "answer": lambda: moderation.answer(
            otto, str(found.pk), is_reversed=True, text="You are right."
        ),
    }[second]
    results = at_once(lambda: moderation.lift(olga, str(decision.pk), reason="Over."), other)
    assert len(ended(decision)) == 1
    assert state(offer) == "listed"
    refused = [each for each in results if isinstance(each, Exception)]
    assert [type(each).__name__ for each in refused] in ([], ["DecisionWrongState"])
