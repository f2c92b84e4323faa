"""Panels of licenses, opt-outs, deliveries and the ledger, by both sides of real grants."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from licensing import (
    delivery_panels,
    delivery_summaries,
    license_panels,
    lifecycle,
    market_panels,
    notice_panels,
    notices,
    offers,
    optouts,
)
from licensing.ledger import sequencer
from licensing.lifecycle import Act
from licensing.models import Coverage, DeliveryCount, Notice
from marketplace import access, panels
from marketplace.access import acting
from marketplace.models import Organization
from marketplace.panels import Question, Stat
from tests.make import TYPED, TYPED_2, issue_grant, make_collection, make_grant, make_offer
from tests.people import caller_for

pytestmark = pytest.mark.django_db


def read(
    organization: Organization, panel: Callable[[Question], Any], *, livemode: bool = False
) -> Any:
    caller = caller_for(organization, livemode=livemode)
    with acting(caller, writing=False):
        return panel(panels.ask(caller))


def for_all(panel: Callable[[Question], Any], *, livemode: bool = False) -> Any:
    with access.system("an operator looks in a test"):
        return panel(panels.ask(None, livemode=livemode))


def numbers(stat: Stat) -> list[int]:
    return [figure.value for figure in stat.figures]


def test_licenses_are_counted_by_how_they_stand(archive: Organization, lab: Organization) -> None:
    soon = {**TYPED, "term": {"access_days": 60, "training_days": 365, "use_days": None}}
    make_grant(archive, lab, offer=make_offer(archive, price_minor=0))
    make_grant(archive, lab, offer=make_offer(archive, price_minor=0, typed=soon))
    disputed, stopped, revoked = (
        make_grant(archive, lab, offer=make_offer(archive, price_minor=0)) for _grant in range(3)
    )
    caller = caller_for(archive)
    for grant, cause in ((disputed, "payment_disputed"), (stopped, "rights_claimed")):
        lifecycle.suspend(caller, str(grant.pk), Act(by="operator", cause=cause, reason="Why."))
    lifecycle.revoke(caller, str(revoked.pk), Act(by="licensor", cause="agreed", reason="Why."))

    for organization, panel in ((archive, license_panels.given), (lab, license_panels.held)):
        shown = read(organization, panel)
        # Active, a right of these ends soon, suspended, disputed, ended.
        assert numbers(shown) == [2, 1, 2, 1, 1]
        assert shown.sentence == "2 licenses are active; a right of 1 ends within 90 days."
        assert numbers(read(organization, panel, livemode=True)) == [0] * 5
    assert numbers(read(archive, license_panels.held)) == [0] * 5

    [row] = read(lab, license_panels.expiring).rows
    assert row[1:] == (archive.name, "Letters")
    assert row[0] - timezone.now() < timedelta(days=60)
    assert read(archive, license_panels.expiring).is_empty


def test_a_seller_sees_who_licensed_what_for_which_use(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    maps = make_offer(archive, price_minor=0, collection=make_collection(archive, name="<b>Maps"))
    make_grant(archive, stranger)
    make_grant(archive, lab, offer=maps, uses=("pretrain", "finetune"), territories=("DE", "US"))

    shown = read(archive, license_panels.licensed)

    assert [row[1:] for row in shown.rows] == [
        (lab.name, "<b>Maps", "finetune, pretrain", "Any model of the licensee", "DE, US",
         "Active"),
        (stranger.name, "Letters", "pretrain", "Any model of the licensee", "EU", "Active"),
    ]  # fmt: skip
    assert shown.sentence == f"The newest license: {lab.name} licensed “<b>Maps”."
    assert read(lab, license_panels.licensed).is_empty
    assert read(archive, license_panels.licensed, livemode=True).is_empty


def test_more_than_are_shown_are_said_to_be_there(
    archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(license_panels, "ROWS_MAX", 1)
    offer = make_offer(archive, price_minor=0)
    for _grant in range(2):
        issue_grant(lab, offer)

    shown = read(archive, license_panels.licensed)

    assert (len(shown.rows), shown.is_cut) == (1, True)


def test_notices_are_open_until_acknowledged_and_late_after_their_hours(
    archive: Organization, lab: Organization
) -> None:
    within_hours = make_offer(archive, price_minor=0, typed=TYPED_2)
    without = make_offer(archive, price_minor=0)
    for offer in (within_hours, without):
        issue_grant(lab, offer)
        optouts.record(
            caller_for(archive), collection=str(offer.collection_id), by="owner", reason="Ours."
        )

    asked = panels.ask(caller_for(lab))
    late = Question(
        asked.caller, asked.livemode, asked.period, asked.now + timedelta(hours=168, seconds=1)
    )
    with acting(caller_for(lab), writing=False):
        early_rows = notice_panels.to_answer(asked).rows
        late_rows = notice_panels.to_answer(late).rows
        notice = Notice.objects.visible_to(caller_for(lab)).order_by("pk")[0]

    assert [(row[0], row[1], row[4]) for row in early_rows] == [(archive.name, 3, "Open")] * 2
    assert early_rows[0][3] - early_rows[0][2] == timedelta(hours=168)
    assert early_rows[1][3] == "The terms name none"
    assert [row[4] for row in late_rows] == ["Late", "Open"]
    # Recorded, acknowledged, open, late.
    assert numbers(read(archive, notice_panels.told)) == [2, 0, 2, 0]
    notices.acknowledge(
        caller_for(lab), str(notice.pk), statement="Gone.", name="Lin", title="Counsel"
    )
    assert numbers(read(archive, notice_panels.told)) == [2, 1, 1, 0]
    assert read(archive, notice_panels.to_answer).is_empty
    assert numbers(read(archive, notice_panels.told, livemode=True)) == [2, 0, 0, 0]


def test_a_licensee_sees_what_it_fetched_once_the_day_is_over(
    archive: Organization, lab: Organization
) -> None:
    grant = make_grant(archive, lab)
    with access.system("count in a test"):
        DeliveryCount.objects.create(
            coverage=Coverage.objects.get(grant=grant),
            day=date(2026, 1, 5),
            what="works",
            answers=2,
            bytes=42,
        )
    assert read(lab, delivery_panels.deliveries).is_empty

    delivery_summaries.record_due()

    shown = read(lab, delivery_panels.deliveries)
    assert shown.rows == ((date(2026, 1, 5), archive.legal_name, str(grant.pk), 2, 42),)
    assert "2 answers, 42 bytes" in shown.sentence
    # The seller's own entries say it, too; but it fetched nothing.
    assert read(archive, delivery_panels.deliveries).is_empty
    assert read(lab, delivery_panels.deliveries, livemode=True).is_empty


def test_operators_see_listings_in_review(archive: Organization, settings: Any) -> None:
    settings.LISTING_REVIEW = True
    offer = make_offer(archive, is_published=False)
    assert for_all(market_panels.in_review).is_empty

    offers.publish(caller_for(archive), str(offer.pk))

    [row] = for_all(market_panels.in_review).rows
    assert row[:3] == ("Letters", archive.name, panels.Money(50_000, "USD"))


def test_operators_see_how_the_ledger_is(archive: Organization, ledger_keys: Path) -> None:
    assert for_all(market_panels.ledger).is_empty
    make_offer(archive)

    waiting = for_all(market_panels.ledger)
    assert waiting.rows[4][1] == 2
    assert waiting.sentence.startswith("2 entries wait for their place")
    sequencer.integrate("test")
    sequencer.sign("test")

    shown = for_all(market_panels.ledger)
    assert [shown.rows[n][1] for n in (0, 2, 3, 4, 5)] == ["test", 2, 0, 0, None]
    assert shown.rows[1][1] < timedelta(minutes=5)
    assert shown.sentence.startswith("Every entry has its place; the newest checkpoint is")
    assert for_all(market_panels.ledger, livemode=True).is_empty
