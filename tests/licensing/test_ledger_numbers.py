"""Each party's numbers of its entries: without gaps, committed to, and for itself alone."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from licensing.ledger import commitments, log, proofs
from licensing.models import LedgerCounter, LedgerEntry, LedgerOpening, LedgerParty
from marketplace import access
from marketplace.models import Organization
from tests.ledger import append
from tests.people import caller_for

THREADS, ROUNDS = 8, 12


def fact(*parties: Organization, log_name: str = "test") -> log.Fact:
    return log.Fact(
        log=log_name,
        kind="note.made",
        subject_ref=os.urandom(16),
        seq=0,
        prev=None,
        values={"text": "noted"},
        parties=[party.pk for party in parties],
        at=timezone.now(),
    )


def numbers(organization: Organization, *, livemode: bool = False) -> list[int]:
    """What an organization sees of its own."""
    caller = caller_for(organization, livemode=livemode)
    with access.acting(caller, writing=False):
        rows = LedgerParty.objects.visible_to(caller).order_by("sequence")
        return list(rows.values_list("sequence", flat=True))


def opened(organization: Organization, entry: LedgerEntry) -> commitments.Slot | None:
    """An organization's number of an entry, as its openings prove it."""
    caller = caller_for(organization)
    with access.acting(caller, writing=False):
        opening = LedgerOpening.objects.visible_to(caller).get(entry=entry)
        party = LedgerParty.objects.visible_to(caller).get(entry=entry)
        made = proofs.openings(entry, opening, party)
        assert made is not None
        return commitments.check_party(commitments.parse_body(bytes(entry.body)), made)


def together(acts: list[Callable[[], Any]]) -> list[Any]:
    """Run each in a thread of its own, begun at the same moment."""
    barrier = Barrier(len(acts))

    def run(act: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return act()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(run, acts))


@pytest.mark.django_db
def test_each_party_counts_its_own_entries_of_each_log(
    archive: Organization, lab: Organization
) -> None:
    with access.system("a test writes to the ledger"):
        append(parties=[archive.pk])
        both = append(parties=[archive.pk, lab.pk])
        append("live", parties=[archive.pk, lab.pk])
        append(parties=[lab.pk])

    assert (numbers(archive), numbers(lab)) == ([1, 2], [1, 2])
    assert (numbers(archive, livemode=True), numbers(lab, livemode=True)) == ([1], [1])
    assert opened(archive, both) == commitments.Slot(str(archive.pk), 2)
    assert opened(lab, both) == commitments.Slot(str(lab.pk), 1)


@pytest.mark.django_db
def test_one_party_learns_nothing_of_the_other_s_number(
    archive: Organization, lab: Organization
) -> None:
    with access.system("a test writes to the ledger"):
        entry = append(parties=[archive.pk, lab.pk])
        seed = bytes(LedgerOpening.objects.get(entry=entry).seed)
    caller = caller_for(lab)
    with access.acting(caller, writing=False):
        # Row-level security alone.
        seen = set(LedgerParty.objects.values_list("organization_id", flat=True))
        counted = set(LedgerCounter.objects.values_list("organization_id", flat=True))
        receipt = proofs.openings(
            entry, LedgerOpening.objects.get(entry=entry), LedgerParty.objects.get(entry=entry)
        )

    assert seen == counted == {lab.pk}
    text = json.dumps(receipt)
    assert commitments.party_salt(seed, str(lab.pk)).hex() in text
    assert commitments.party_salt(seed, str(archive.pk)).hex() not in text
    assert seed.hex() not in text
    assert str(archive.pk) not in text


@pytest.mark.django_db
def test_many_facts_are_numbered_in_their_order_with_one_step(
    archive: Organization, lab: Organization, django_assert_num_queries: Any
) -> None:
    with access.system("a test writes to the ledger"):
        append(parties=[lab.pk])
        with django_assert_num_queries(2):
            entries = log.append_many(
                [fact(archive, lab), fact(archive), fact(lab, archive), fact(lab, log_name="live")]
            )

    found = {
        (row.entry_id, row.organization_id): row.sequence
        for organization in (archive, lab)
        for row in _rows(organization)
    }
    first, second, third, live = (entry.pk for entry in entries)
    assert [found[pk, archive.pk] for pk in (first, second, third)] == [1, 2, 3]
    assert [found[pk, lab.pk] for pk in (first, third)] == [2, 3]
    assert found[live, lab.pk] == 1
    for entry in (entries[0], entries[2]):
        for party in (archive, lab):
            slot = opened(party, entry)
            assert slot is not None
            assert slot.sequence == found[entry.pk, party.pk]


def _rows(organization: Organization) -> list[LedgerParty]:
    with access.acting(caller_for(organization), writing=False):
        return list(LedgerParty.objects.all())


@pytest.mark.django_db
def test_an_organization_that_is_both_parties_has_one_number(archive: Organization) -> None:
    with access.system("a test writes to the ledger"):
        entry = append(parties=[archive.pk, archive.pk])

    assert numbers(archive) == [1]
    assert len(commitments.parse_body(bytes(entry.body)).parties) == 1


@pytest.mark.django_db(transaction=True)
def test_a_recording_that_is_rolled_back_leaves_no_gap(archive: Organization) -> None:
    for is_kept in (True, False, True):
        try:
            with access.acting(caller_for(archive)):
                append(parties=[archive.pk])
                if not is_kept:
                    raise RuntimeError("something else failed")
        except RuntimeError:
            pass

    assert numbers(archive) == [1, 2]


@pytest.mark.django_db(transaction=True)
def test_two_organizations_that_record_crosswise_never_wait_for_each_other(
    archive: Organization, lab: Organization
) -> None:
    """A,B beside B,A, one by one and many at once: no deadlock, no gap, no number twice."""

    def record(turn: int) -> None:
        parties = (archive, lab) if turn % 2 else (lab, archive)
        for number in range(ROUNDS):
            with access.acting(caller_for(parties[number % 2])):
                if number % 3:
                    append(parties=[party.pk for party in parties])
                else:
                    log.hold(("test", party.pk) for party in reversed(parties))
                    log.append_many([fact(*parties[:1]), fact(*parties[::-1])][number % 2 :])

    together([lambda turn=turn: record(turn) for turn in range(THREADS)])  # type: ignore[misc]

    for organization in (archive, lab):
        found = numbers(organization)
        assert found == list(range(1, len(found) + 1))
        assert len(found) >= THREADS * ROUNDS
        caller = caller_for(organization)
        with access.acting(caller, writing=False):
            entries = [row.entry for row in LedgerParty.objects.select_related("entry")]
        assert all(opened(organization, entry) for entry in entries)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ends", ["commits", "rolls back"])
def test_who_commits_late_is_not_overtaken(
    archive: Organization, lab: Organization, stranger: Organization, ends: str
) -> None:
    """Else a reader who has seen number 2 would never look for 1 again."""
    recorded, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        try:
            with access.acting(caller_for(archive)):
                append(parties=[archive.pk, lab.pk])
                recorded.set()
                go_on.wait(30)
                if ends == "rolls back":
                    raise RuntimeError("too late")
        except RuntimeError:
            pass

    def quick() -> None:
        recorded.wait(30)
        with access.acting(caller_for(stranger)):
            # Nobody of these is held up.
            append(parties=[stranger.pk])
        threading.Timer(0.5, go_on.set).start()
        with access.acting(caller_for(lab)):
            append(parties=[lab.pk])
        # It waited for the other one.
        assert go_on.is_set()

    def read() -> list[list[int]]:
        recorded.wait(30)
        seen = [numbers(lab)]
        while not go_on.wait(0.05):
            seen.append(numbers(lab))
        return seen

    _slow, _quick, seen = together([slow, quick, read])

    assert seen[0] == []
    assert all(each == list(range(1, len(each) + 1)) for each in seen)
    assert numbers(lab) == ([1, 2] if ends == "commits" else [1])
    assert numbers(stranger) == [1]
