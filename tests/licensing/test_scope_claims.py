"""Scope claims: exclusivity, kept by the database, whoever comes first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.utils import timezone

from licensing import scope_claims
from licensing.models import ScopeClaim
from marketplace import collections
from marketplace.access import acting, system
from marketplace.errors import RightsTaken
from marketplace.models import Collection, Organization
from tests.make import EXCLUSIVE, issue_grant, make_offer
from tests.people import caller_for

pytestmark = pytest.mark.django_db
YEAR = DateTimeTZRange(datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC))
NEXT_YEAR = DateTimeTZRange(YEAR.upper, datetime(2029, 1, 1, tzinfo=UTC))
FROM_THEN_ON = DateTimeTZRange(datetime(2027, 7, 1, tzinfo=UTC), None)


def letters(organization: Organization) -> Collection:
    collection = collections.create(caller_for(organization), name="Letters")
    collection.refresh_from_db()
    return collection


def claim(collection: Collection, licensee: Organization, held_by: str, **scope: Any) -> ScopeClaim:
    """An exclusive claim to pretrain in the EU for a year, unless told otherwise."""
    asked = {
        "livemode": False,
        "uses": ["pretrain"],
        "territories": ["EU"],
        "during": YEAR,
        "exclusive": True,
        "held_until": timezone.now() + timedelta(hours=1),
        **scope,
    }
    return scope_claims.hold(
        offer_collection=collection,
        licensor=collection.organization,
        licensee=licensee,
        held_by=held_by,
        **asked,
    )


def hold(collection: Collection, licensee: Organization, held_by: str, **scope: Any) -> ScopeClaim:
    """A claim in a transaction of its own."""
    with acting(caller_for(licensee)):
        return claim(collection, licensee, held_by, **scope)


def state(held_by: str) -> str:
    with system("read a claim in a test"):
        return str(ScopeClaim.objects.get(held_by=held_by).state)


@pytest.mark.parametrize(
    "scope",
    [
        {},
        {"exclusive": False},
        {"uses": ["embed", "pretrain"]},
        {"territories": ["DE"]},
        {"territories": ["US", "FR"]},
        {"territories": ["*"]},
        {"during": FROM_THEN_ON},
        {"during": DateTimeTZRange(YEAR.lower, YEAR.lower + timedelta(microseconds=1))},
    ],
    ids=str,
)
def test_what_overlaps_an_exclusive_claim_is_taken(
    archive: Organization, lab: Organization, stranger: Organization, scope: dict[str, Any]
) -> None:
    collection = letters(archive)
    hold(collection, lab, "first")
    with pytest.raises(RightsTaken) as refusal:
        hold(collection, stranger, "second", **scope)
    # Nothing of the other buyer's.
    assert refusal.value.data == {"collection": str(collection.pk)}
    with system("count claims in a test"):
        assert ScopeClaim.objects.count() == 1


@pytest.mark.parametrize(
    "scope",
    [
        {"uses": ["finetune", "embed"]},
        {"territories": ["US", "GB", "CH"]},
        {"during": NEXT_YEAR},
        {"livemode": True},
    ],
    ids=str,
)
def test_what_does_not_overlap_an_exclusive_claim_is_free(
    archive: Organization, lab: Organization, stranger: Organization, scope: dict[str, Any]
) -> None:
    collection = letters(archive)
    hold(collection, lab, "first")
    assert hold(collection, stranger, "second", **scope).state == "held"


def test_another_collection_is_free(archive: Organization, lab: Organization) -> None:
    hold(letters(archive), lab, "first")
    assert hold(letters(archive), lab, "second").state == "held"


def test_claims_that_are_not_exclusive_stand_side_by_side(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    collection = letters(archive)
    lanes = [
        hold(collection, buyer, f"{number}", exclusive=False).lane
        for number, buyer in enumerate((lab, stranger, lab))
    ]
    assert len({lane.lower for lane in lanes}) == 3
    with pytest.raises(RightsTaken):
        hold(collection, stranger, "exclusive")


def test_a_refused_claim_leaves_the_transaction_usable(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    collection = letters(archive)
    hold(collection, lab, "first")
    with acting(caller_for(stranger)):
        with pytest.raises(RightsTaken):
            claim(collection, stranger, "second")
        assert claim(collection, stranger, "third", uses=["embed"]).state == "held"


def test_what_was_released_is_free(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    collection = letters(archive)
    hold(collection, lab, "first")
    with system("release in a test"):
        scope_claims.release("first")
        scope_claims.release("first")
    assert state("first") == "released"
    assert hold(collection, stranger, "second").state == "held"


def test_the_worker_releases_what_is_overdue_and_nothing_else(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    collection = letters(archive)
    hold(collection, lab, "overdue", held_until=timezone.now() - timedelta(seconds=1))
    hold(collection, lab, "not yet", uses=["embed"])
    grant = issue_grant(lab, make_offer(archive, price_minor=0), made_by="granted")
    with pytest.raises(RightsTaken):
        hold(collection, stranger, "second")

    assert scope_claims.release_overdue() == 1

    assert (state("overdue"), state("not yet"), state("granted")) == ("released", "held", "active")
    assert grant.status == "active"
    assert hold(collection, stranger, "second").state == "held"


def test_a_grant_takes_its_orders_claim_over(archive: Organization, lab: Organization) -> None:
    grant = issue_grant(lab, make_offer(archive, typed=EXCLUSIVE), made_by="order")
    with system("read a claim in a test"):
        claim = ScopeClaim.objects.get(held_by="order")
        assert (claim.state, claim.grant, claim.held_until) == ("active", grant, None)
        scope_claims.release("order")
    assert state("order") == "active"


def test_a_late_payment_takes_its_released_claim_again_if_it_is_free(
    archive: Organization, lab: Organization
) -> None:
    offer = make_offer(archive, typed=EXCLUSIVE)
    hold(offer.collection, lab, "late", during=FROM_THEN_ON)
    with system("release in a test"):
        scope_claims.release("late")
    assert issue_grant(lab, offer, made_by="late").status == "active"
    assert state("late") == "active"


def test_a_late_payment_is_refused_if_others_took_its_rights(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    offer = make_offer(archive, typed=EXCLUSIVE)
    hold(offer.collection, lab, "late", during=FROM_THEN_ON)
    with system("release in a test"):
        scope_claims.release("late")
    hold(offer.collection, stranger, "other", during=FROM_THEN_ON)
    with pytest.raises(RightsTaken):
        issue_grant(lab, offer, made_by="late")
    assert (state("late"), state("other")) == ("released", "held")


def test_an_overdue_claim_of_somebody_else_does_not_refuse_a_paid_order(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    offer = make_offer(archive, typed=EXCLUSIVE)
    hold(offer.collection, lab, "late", during=FROM_THEN_ON)
    past = timezone.now() - timedelta(seconds=1)
    with system("settle in a test"):
        scope_claims.release("late")
    hold(offer.collection, stranger, "overdue", during=FROM_THEN_ON, held_until=past)
    # Settling is all-tenant work: it may see, and release, what nobody can pay for any more.
    with system("settle in a test"):
        grant = issue_grant(stranger, make_offer(archive, price_minor=0), made_by="else")
        scope_claims.take_over("late", grant_of(lab, archive))
    assert (state("late"), state("overdue"), grant.status) == ("active", "released", "active")


def grant_of(licensee: Organization, licensor: Organization) -> Any:
    return issue_grant(licensee, make_offer(licensor, price_minor=0))


# --- at once ----------------------------------------------------------------------------------


def hold_at_once(collection: Collection, licensee: Organization, count: int) -> list[str]:
    """What each of `count` threads got, holding the same exclusive scope at the same moment."""
    ready = Barrier(count)

    def attempt(number: int) -> str:
        try:
            with acting(caller_for(licensee)):
                ready.wait()
                claim(collection, licensee, f"order {number}")
            return "held"
        except RightsTaken:
            return "taken"
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return sorted(pool.map(attempt, range(count)))


@pytest.mark.django_db(transaction=True)
def test_of_eight_at_once_one_gets_the_exclusive_rights(
    archive: Organization, lab: Organization
) -> None:
    # Without the lock, in 2,000 such races of bare inserts, 91 ended as "deadlock detected".
    assert hold_at_once(letters(archive), lab, 8) == ["held"] + ["taken"] * 7


@pytest.mark.django_db(transaction=True)
def test_it_is_the_constraint_that_keeps_exclusivity(
    archive: Organization, lab: Organization, owner_connection: psycopg.Connection[Any]
) -> None:
    """The race above, seen to fail without the constraint: everybody gets the same rights.

    One of its name stays, which the INSERT names, and refuses nothing.
    """
    owner_connection.execute(
        "ALTER TABLE licensing_scopeclaim DROP CONSTRAINT scope_claims_do_not_overlap,"
        " ADD CONSTRAINT scope_claims_do_not_overlap EXCLUDE (id WITH =) WHERE (false)"
    )
    assert hold_at_once(letters(archive), lab, 8) == ["held"] * 8
