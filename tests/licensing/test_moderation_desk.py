"""The operator's desk about listings, reports, decisions and appeals, through its pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from licensing import moderation, offers, reports
from licensing.models import Appeal, ModerationDecision, Offer, Report
from marketplace.access import system
from marketplace.models import CollectionItem, Organization, User
from tests.licensing.test_moderation import (
    WHY,
    acts,
    digests,
    everything,
    fresh,
    held,
    reported,
    state,
)
from tests.make import make_collection, make_grant, make_offer, make_operator
from tests.marketplace.test_operator_desk import act_of, form_of
from tests.people import caller_for

pytestmark = pytest.mark.django_db
SAID = {
    "measure": "listing_suspended",
    "facts": "A map of 1954 is in it.",
    "ground": "law",
    "reference": "Directive 2001/29/EC, article 2.",
    "automation": "none",
}


@pytest.fixture
def olga(db: None) -> User:
    return make_operator("olga@example.org")


@pytest.fixture
def otto(db: None) -> User:
    return make_operator("otto@example.org")


@pytest.fixture
def desk(client: Client, olga: User) -> Client:
    client.force_login(olga)
    return client


@pytest.fixture
def offer(archive: Organization) -> Offer:
    return make_offer(archive)


def sent(desk: Client, label: str, row: Any, **said: Any) -> tuple[str, Any]:
    """Send a verb's form, twice. What the page says, and what the second one changed: nothing."""
    act, found, url = act_of(label, **({} if row is None else {"pk": row.pk}))
    form = form_of(act, found, **said)
    page = desk.post(url, form, follow=True)
    assert page.status_code == 200
    before = everything()
    again = desk.post(url, form, follow=True).content.decode()
    assert "This form was sent already" in again
    assert everything() == before
    return page.content.decode(), form


def refused(desk: Client, label: str, row: Any, why: str, **said: Any) -> None:
    """A verb that says why not, and changes nothing."""
    before = everything()
    act, found, url = act_of(label, **({} if row is None else {"pk": row.pk}))
    page = desk.post(url, form_of(act, found, **said)).content.decode()
    assert "This was not done." in page
    assert why in page
    assert everything() == before


@pytest.mark.oracle
def test_a_report_is_decided_once_with_its_reasons(
    desk: Client, archive: Organization, offer: Offer, olga: User
) -> None:
    report, _token = reported(str(offer.pk))
    label = "licensing.Report decide"
    refused(desk, label, report, "This field is required.", **{**SAID, "facts": " "})
    refused(desk, label, report, "Name the works.", **{**SAID, "measure": "work_held"})
    refused(desk, label, report, "There is no organization", **SAID, organization="org_x")

    page, _form = sent(desk, label, report, **SAID)

    assert "Seller and reporters are told" in page
    with system("find a decision in a test"):
        decision = ModerationDecision.objects.get()
    assert (decision.decided_by, decision.facts) == (str(olga.pk), SAID["facts"])
    assert (fresh(report).decision_id, state(offer)) == (decision.pk, "suspended")
    assert acts(archive)[-2:] == ["offer.suspended", "moderation_decision.taken"]
    # Decided before, by a copy of the form that was open meanwhile.
    refused(desk, label, report, "The report was decided", **{**SAID, "measure": "none"})
    # Its page has no button any more.
    url = act_of(label, pk=report.pk)[2]
    assert url not in desk.get(url.replace("do/decide/", "change/")).content.decode()


@pytest.mark.oracle
def test_what_nobody_reported_is_decided_from_the_list(
    desk: Client, archive: Organization, offer: Offer
) -> None:
    label = "licensing.ModerationDecision decide"
    refused(desk, label, None, "Name the listing.", **SAID)
    refused(desk, label, None, "There is no offer", **SAID, offer="off_x")
    said = {**SAID, "measure": "work_held", "organization": str(archive.pk)}
    named = digests(archive)
    refused(
        desk, label, None, "none of these, or not all", **said, digests=f"{named[0]}\n{'0' * 64}"
    )
    sent(desk, label, None, **said, digests="\n".join(named[:2]))
    assert held(archive) == set(named[:2])
    assert acts(archive)[-1] == "moderation_decision.taken"


def test_a_decision_is_lifted_once_and_what_it_did_is_undone(
    desk: Client, archive: Organization, offer: Offer, otto: User
) -> None:
    decision = moderation.decide(otto, offer=str(offer.pk), measure="taken_down", reasons=WHY)
    label = "licensing.ModerationDecision lift"
    refused(desk, label, decision, "This field is required.", reason=" ")
    page, _form = sent(desk, label, decision, reason="It was another map.")
    assert "what it did is undone" in page
    assert (fresh(decision).state, state(offer), held(archive)) == ("lifted", "listed", set())
    assert acts(archive)[-2:] == ["offer.reinstated", "moderation_decision.ended"]


@pytest.mark.oracle
@pytest.mark.parametrize("answer", ["yes", "no"])
def test_an_appeal_is_answered_once_by_another_operator(
    desk: Client, archive: Organization, offer: Offer, olga: User, otto: User, answer: str
) -> None:
    decision = moderation.decide(
        olga, offer=str(offer.pk), measure="listing_suspended", reasons=WHY
    )
    moderation.appeal(caller_for(archive), str(decision.pk), reasons="We drew it.")
    with system("find an appeal in a test"):
        appeal = Appeal.objects.get()
    label, said = "licensing.Appeal answer", {"is_reversed": answer, "text": "I looked."}
    refused(desk, label, appeal, "another operator answers", **said)

    desk.force_login(otto)
    refused(desk, label, appeal, "This field is required.", **{**said, "text": ""})
    page, _form = sent(desk, label, appeal, **said)

    assert "The appeal is answered." in page
    is_right = answer == "yes"
    assert fresh(appeal).state == ("reversed" if is_right else "upheld")
    assert fresh(appeal).answered_by == str(otto.pk)
    assert (fresh(decision).state, state(offer)) == (
        ("reversed", "listed") if is_right else ("in_force", "suspended")
    )
    assert acts(archive)[-1] == f"moderation_appeal.{'reversed' if is_right else 'refused'}"
    other = "no" if is_right else "yes"
    refused(desk, label, appeal, "The appeal was answered", **{**said, "is_reversed": other})


@pytest.mark.oracle
def test_a_listing_is_refused_approved_suspended_and_reinstated_each_once(
    desk: Client, archive: Organization, olga: User, settings: Settings
) -> None:
    settings.LISTING_REVIEW = True
    offer = make_offer(archive, is_published=False)
    verb = "licensing.Offer "
    refused(desk, f"{verb}approve", offer, "this takes one that is")
    offers.publish(caller_for(archive), str(offer.pk))
    refused(desk, f"{verb}refuse", offer, "This field is required.", reason="")

    sent(desk, f"{verb}refuse", offer, reason="Say whose they are.")
    assert (state(offer), fresh(offer).state_reason) == ("draft", "Say whose they are.")
    refused(desk, f"{verb}suspend", offer, "cannot become", reason="No.")
    offers.publish(caller_for(archive), str(offer.pk))
    sent(desk, f"{verb}approve", offer)
    assert state(offer) == "listed"
    sent(desk, f"{verb}suspend", offer, reason="Looked into.")
    assert (state(offer), fresh(offer).state_reason) == ("suspended", "Looked into.")
    refused(desk, f"{verb}approve", offer, "this takes one that is")
    sent(desk, f"{verb}reinstate", offer)
    assert state(offer) == "listed"
    assert acts(archive)[-6:] == [
        "offer.submitted",
        "offer.refused",
        "offer.submitted",
        "offer.approved",
        "offer.suspended",
        "offer.reinstated",
    ]


def test_a_listing_that_a_decision_keeps_off_is_not_reinstated_by_hand(
    desk: Client, offer: Offer, otto: User
) -> None:
    moderation.decide(otto, offer=str(offer.pk), measure="listing_suspended", reasons=WHY)
    refused(desk, "licensing.Offer reinstate", offer, "stands against this listing")


# --- what a report's page shows beside it -----------------------------------------------------


def page_of(desk: Client, report: Report) -> str:
    return desk.get(f"/admin/licensing/report/{report.pk}/change/").content.decode()


def licensed(report: Report, most: int = 50) -> list[str]:
    with system("look for an operator in a test"):
        return [str(each.grant_id) for each in reports.licensed(report, most)]


def test_a_reports_page_says_who_has_it_and_who_licenses_it(
    desk: Client, archive: Organization, lab: Organization, stranger: Organization
) -> None:
    grant = make_grant(archive, lab)
    named = digests(archive)[0]
    report, _token = reported(named)
    other, _token = reported(named, email="sid@example.org")
    page = page_of(desk, report)
    for said in ("Who has it here", named, f"/{archive.pk}/", f"/{lab.pk}/", f"/{grant.pk}/"):
        assert said in page, said
    assert f"/admin/licensing/report/{other.pk}/change/" in page
    assert str(stranger.pk) not in page

    nobody, _token = reported("https://example.org/a")
    page = page_of(desk, nobody)
    assert "Nobody here has it" in page
    assert "Nobody holds a license of it." in page
    assert "Nobody else reported it." in page


@pytest.mark.oracle
def test_licenses_of_what_is_reported_are_those_of_the_snapshots_that_it_is_in(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    collection = make_collection(archive)
    one = make_offer(archive, price_minor=0, collection=collection)
    first, other = make_grant(archive, lab, offer=one), make_grant(archive, stranger)
    gone, *_left = digests(archive)
    # The next snapshot is without it.
    with system("take a work out in a test"):
        items = CollectionItem.objects.filter(representation__digest=bytes.fromhex(gone))
        items.update(removed_in=2)
    second = make_grant(
        archive, stranger, offer=make_offer(archive, price_minor=0, collection=collection)
    )
    assert licensed(reported(gone)[0]) == [str(first.pk)]
    assert licensed(reported(str(one.pk))[0]) == [str(second.pk), str(first.pk)]
    assert licensed(reported(str(collection.pk))[0]) == [str(second.pk), str(first.pk)]
    assert len(licensed(reported(str(one.pk), email="sid@example.org")[0], most=0)) == 1
    assert other.licensee_id == stranger.pk


@pytest.mark.oracle
def test_a_reports_page_reads_no_more_for_more_licenses(
    desk: Client, archive: Organization, lab: Organization, stranger: Organization
) -> None:
    offer = make_offer(archive, price_minor=0)
    report, _token = reported(str(offer.pk))
    counts = []
    # What is read once and remembered.
    page_of(desk, report)
    for licensee in (lab, stranger):
        make_grant(archive, licensee, offer=offer)
        with CaptureQueriesContext(connection) as queries:
            page_of(desk, report)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 15
