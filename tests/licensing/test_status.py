"""Status roots: when they are made, what is in them, and that nothing of it can be skipped."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from licensing import lifecycle, status, status_tree
from licensing.ledger import commitments, guard, notes, sequencer, signer, tree
from licensing.models import Grant, LedgerEntry, StatusChange, StatusLeaf, StatusRoot
from licensing.status_tree import STATES
from marketplace import access
from marketplace.access import Caller
from marketplace.models import Organization
from payments.management.commands import worker
from tests.ledger import append, naive_root
from tests.licensing.rows import make_grant_row

pytestmark = pytest.mark.django_db


@pytest.fixture
def grants(archive: Organization, lab: Organization) -> list[Grant]:
    return [give(archive, lab) for _number in range(3)]


def give(archive: Organization, lab: Organization, **fields: Any) -> Grant:
    return make_grant_row(archive, lab, works=[os.urandom(8)], **fields)


def note(**fields: Any) -> LedgerEntry:
    with access.system("a test writes to the ledger"):
        return append(**fields)


class Clock:
    """What the server takes for now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = datetime(2027, 3, 1, 12, tzinfo=UTC)
        monkeypatch.setattr(timezone, "now", lambda: self.now)

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def become(grant: Grant, state: str) -> None:
    """Change a grant's status by the verb of its life; its expiry without, by hand."""
    act = lifecycle.Act(by="licensor", cause="breach", reason="A test.")
    licensor = Caller(
        organization=grant.licensor,
        livemode=grant.livemode,
        scopes=frozenset(),
    )
    match state:
        case "suspended":
            lifecycle.suspend(licensor, str(grant.pk), act)
        case "active":
            lifecycle.reinstate(licensor, str(grant.pk), act)
        case "revoked":
            lifecycle.revoke(licensor, str(grant.pk), act)
        case _:
            with access.system("a test ends a grant"):
                Grant.objects.filter(pk=grant.pk).update(status=state, ended_at=timezone.now())


def last_leaf(grant: Grant) -> bytes:
    chain = LedgerEntry.objects.filter(subject_ref=bytes(grant.grant_ref)).order_by("-seq")
    return bytes(chain[0].leaf_hash)


def recorded(log: str = "test") -> StatusRoot:
    root = status.record(log)
    assert root is not None
    return root


def expected_root(*leaves: tuple[Grant, str, bytes]) -> bytes:
    """The root as api_docs/ledger_format.md says it, by code of its own."""
    data = [
        b"licet/status/v1" + bytes(grant.grant_ref) + bytes([STATES[state]]) + leaf
        for grant, state, leaf in leaves
    ]
    return naive_root([tree.leaf_hash(each) for each in sorted(data)])


def test_a_root_holds_every_grant_of_its_log(
    grants: list[Grant], archive: Organization, lab: Organization
) -> None:
    live = give(archive, lab, livemode=True)
    become(grants[1], "suspended")

    root = recorded()

    stand = [(grant, "active", last_leaf(grant)) for grant in grants]
    stand[1] = (grants[1], "suspended", last_leaf(grants[1]))
    assert bytes(root.root) == expected_root(*stand)
    assert (root.number, root.size, root.log_size) == (0, 3, 0)
    other = recorded("live")
    assert bytes(other.root) == expected_root((live, "active", last_leaf(live)))


def test_its_entry_says_to_everybody_what_it_commits_to(grants: list[Grant]) -> None:
    sequencer.run_once()
    before = timezone.now()

    root = recorded()

    body = commitments.parse_body(bytes(root.entry.body))
    assert body.kind == "status.root"
    assert body.subject_ref == status_tree.subject_ref("test")
    assert (body.seq, body.prev, body.commitments, body.parties) == (0, None, {}, ())
    assert body.public == {
        "tree": "licet/status/v1",
        "size": 3,
        "root": bytes(root.root).hex(),
        "as_of": commitments.timestamp(root.as_of),
        # Each grant, and the snapshot and the terms that it is of.
        "log_size": 9,
    }
    assert before <= root.as_of <= body.at


def test_roots_form_one_chain(grants: list[Grant]) -> None:
    first = recorded()
    become(grants[0], "suspended")
    second = recorded()

    body = commitments.parse_body(bytes(second.entry.body))
    assert (body.seq, body.prev) == (1, bytes(first.entry.leaf_hash))
    assert body.subject_ref == status_tree.subject_ref("test")
    assert status_tree.subject_ref("live") != status_tree.subject_ref("test")


def test_a_log_without_grants_has_no_root() -> None:
    assert not status.due("test")
    note()
    assert status.record("test") is None
    assert not StatusRoot.objects.exists()


def test_nothing_changed_makes_no_root_until_the_next_day(
    grants: list[Grant], clock: Clock
) -> None:
    recorded()
    for _hour in range(11):
        clock.forward(hours=1)
        assert status.record("test") is None
    clock.forward(minutes=59, seconds=59)
    assert status.record("test") is None

    clock.forward(seconds=1)

    root = recorded()
    assert (root.number, root.as_of) == (1, datetime(2027, 3, 2, tzinfo=UTC))
    assert status.record("test") is None
    assert LedgerEntry.objects.filter(kind="status.root").count() == 2


def test_a_new_grant_waits_for_the_next_root(
    grants: list[Grant], archive: Organization, lab: Organization, clock: Clock
) -> None:
    recorded()
    late = give(archive, lab)
    assert status.record("test") is None

    become(grants[0], "suspended")

    root = recorded()
    assert root.size == 4
    assert status.contains(root, late)


def test_a_restored_log_gets_no_root_before_its_tail_is_back(grants: list[Grant]) -> None:
    ahead = notes.Checkpoint(signer.origin("test"), 99, bytes(32))
    guard.advance("test", ahead.size, ahead.root, lambda _size: [])
    before = LedgerEntry.objects.count(), StatusChange.objects.count()

    assert status.record_due() == []

    assert (LedgerEntry.objects.count(), StatusChange.objects.count()) == before
    assert status.due("test")


@pytest.mark.parametrize("state", ["suspended", "revoked", "expired"])
def test_the_worker_says_a_changed_status_within_60_seconds(
    state: str, grants: list[Grant], clock: Clock
) -> None:
    [job] = [job for job in worker.JOBS if job.name == "status roots"]
    [sequences] = [job for job in worker.JOBS if job.name == "the ledger's sequencer"]
    assert isinstance(job.every_seconds, int)
    worker.run_safely(job)
    clock.forward(hours=1)
    become(grants[2], state)
    changed_at = clock.now

    # The worst case: the job has just run.
    clock.forward(seconds=job.every_seconds)
    assert worker.run_safely(job)
    clock.forward(seconds=sequencer.PASS_SECONDS + sequencer.NOTE_SECONDS)
    assert sequences.run_alone is not None
    sequences.run_alone()

    root = StatusRoot.objects.order_by("number").last()
    assert root is not None
    assert root.number == 1
    assert changed_at < root.as_of
    assert (clock.now - changed_at).total_seconds() <= 60
    assert status.proof(root, grants[2]) is not None
    leaf = StatusLeaf.objects.get(grant_ref=bytes(grants[2].grant_ref), number=1)
    assert leaf.state == STATES[state]


def test_only_what_changed_is_written(grants: list[Grant]) -> None:
    recorded()
    become(grants[0], "suspended")
    recorded()

    assert StatusLeaf.objects.filter(number=0).count() == 3
    [leaf] = StatusLeaf.objects.filter(number=1)
    assert bytes(leaf.grant_ref) == bytes(grants[0].grant_ref)
    assert bytes(leaf.last_leaf) == last_leaf(grants[0])
    assert not StatusChange.objects.exists()


def test_a_change_that_was_taken_back_makes_no_root(grants: list[Grant]) -> None:
    recorded()
    with access.system("a test changes its mind"):
        Grant.objects.filter(pk=grants[0].pk).update(status="suspended")
        Grant.objects.filter(pk=grants[0].pk).update(status="active")
    assert StatusChange.objects.count() == 2

    assert status.record("test") is None
    assert not StatusChange.objects.exists()
    assert not status.due("test")


def test_a_status_changed_past_the_verbs_is_said_too(grants: list[Grant]) -> None:
    """A row that somebody edits by hand has no entry, and is in the next root all the same."""
    recorded()
    with access.system("a test edits a row"):
        Grant.objects.filter(pk=grants[0].pk).update(status="suspended")

    root = recorded()

    assert StatusLeaf.objects.get(number=root.number).state == STATES["suspended"]


def test_an_older_root_keeps_its_proofs(grants: list[Grant]) -> None:
    old = recorded()
    for state in ("suspended", "active", "revoked"):
        become(grants[0], state)
        recorded()
    sequencer.run_once()

    for root in StatusRoot.objects.all():
        for grant in grants:
            assert status.proof(root, grant) is not None
    assert status.newest("test", 2) == StatusRoot.objects.get(number=2)
    assert status.newest("test", old.as_of) == old
    assert status.newest("test", old.as_of - timedelta(microseconds=1)) is None


def test_every_entry_that_a_root_names_stands_before_it(
    archive: Organization, lab: Organization
) -> None:
    """What lets an auditor hold each leaf against the public log."""
    for _round in range(3):
        grant = give(archive, lab)
        become(grant, "suspended")
        note()
        recorded()
        note()
    sequencer.run_once()

    for root in StatusRoot.objects.select_related("entry__leaf"):
        places = {
            bytes(entry.leaf_hash): entry.leaf.index
            for entry in LedgerEntry.objects.select_related("leaf")
        }
        for leaf in StatusLeaf.objects.filter(number=root.number):
            assert places[bytes(leaf.last_leaf)] < root.entry.leaf.index
        assert root.log_size <= root.entry.leaf.index


def test_a_chain_goes_on_after_its_rows_were_lost(grants: list[Grant]) -> None:
    """`ledger_recover` brings entries back, and no rows of ours."""
    first = recorded()
    lost = note(
        subject_ref=status_tree.subject_ref("test"),
        seq=1,
        prev=bytes(first.entry.leaf_hash),
    )
    become(grants[0], "suspended")

    root = recorded()

    body = commitments.parse_body(bytes(root.entry.body))
    assert (root.number, body.seq, body.prev) == (2, 2, bytes(lost.leaf_hash))
    sequencer.run_once()
    assert status.proof(root, grants[1]) is not None


@pytest.mark.django_db(transaction=True)
def test_two_workers_never_make_two_roots_of_one_number(
    archive: Organization, lab: Organization
) -> None:
    grant = give(archive, lab)
    made: list[StatusRoot | None] = []
    failed: list[Exception] = []
    start = threading.Barrier(4)

    def work() -> None:
        try:
            start.wait(10)
            made.append(status.record("test"))
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    for state in ("active", "suspended", "active", "suspended"):
        if made:
            become(grant, state)
        workers = [threading.Thread(target=work) for _number in range(4)]
        for each in workers:
            each.start()
        for each in workers:
            each.join()
        assert not failed

    numbers = sorted(root.number for root in made if root is not None)
    assert numbers == list(range(len(numbers)))
    assert StatusRoot.objects.count() == len(numbers) >= 4
    assert not StatusChange.objects.exists()


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 512, 513, 1000])
def test_a_tree_of_blocks_is_the_tree_of_its_leaves(size: int) -> None:
    rows = sorted((os.urandom(16), 1 + n % 4, os.urandom(32)) for n in range(size))
    hashes = [status_tree.leaf_hash(*row) for row in rows]
    names = {byte: name for name, byte in STATES.items()}

    built = status_tree.build(rows)

    assert (built.size, built.root) == (size, naive_root(hashes))
    assert tuple(status_tree.unpack(status_tree.pack(built.blocks))) == built.blocks
    for index in {0, size // 2, size - 1, min(255, size - 1), min(256, size - 1)}:
        block, at = divmod(index, status_tree.BLOCK)
        inside = rows[block * status_tree.BLOCK : (block + 1) * status_tree.BLOCK]
        leaves = [status_tree.Leaf(ref, names[byte], leaf) for ref, byte, leaf in inside]
        placed = status_tree.place(leaves, at, block, built.blocks)
        assert placed.index == index
        status_tree.verify(placed, size, built.root)


def test_no_leaf_of_no_grant_is_the_empty_tree() -> None:
    assert status_tree.build([]).root == tree.EMPTY_ROOT


@pytest.mark.parametrize("refs", [(b"b" * 16, b"a" * 16), (b"a" * 16, b"a" * 16)])
def test_references_ascend_and_stand_once(refs: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="does not follow"):
        status_tree.build([(ref, 1, bytes(32)) for ref in refs])


class Absence:
    """A small tree of known references, and proofs of its leaves."""

    rows = [(bytes([n]) * 16, 1, bytes([n]) * 32) for n in (2, 4, 6)]
    built = status_tree.build(rows)

    @classmethod
    def at(cls, index: int) -> status_tree.Placed:
        leaves = [status_tree.Leaf(ref, "active", leaf) for ref, _byte, leaf in cls.rows]
        return status_tree.place(leaves, index, 0, cls.built.blocks)

    @classmethod
    def verify(cls, ref: bytes, before: int | None, after: int | None) -> None:
        status_tree.verify_absence(
            ref,
            None if before is None else cls.at(before),
            None if after is None else cls.at(after),
            cls.built.size,
            cls.built.root,
        )


@pytest.mark.parametrize(
    ("n", "before", "after"), [(1, None, 0), (3, 0, 1), (5, 1, 2), (7, 2, None)]
)
def test_a_grant_that_is_in_no_root_is_proven_so(
    n: int, before: int | None, after: int | None
) -> None:
    Absence.verify(bytes([n]) * 16, before, after)


@pytest.mark.parametrize(
    ("n", "before", "after"),
    [(3, 0, 2), (3, None, 1), (3, 1, None), (4, 0, 1), (4, 1, 2), (5, 0, 1), (1, None, None)],
)
def test_a_wrong_absence_is_refused(n: int, before: int | None, after: int | None) -> None:
    with pytest.raises(tree.ProofError):
        Absence.verify(bytes([n]) * 16, before, after)


def test_in_an_empty_tree_every_grant_is_absent() -> None:
    status_tree.verify_absence(bytes(16), None, None, 0, tree.EMPTY_ROOT)
    with pytest.raises(tree.ProofError):
        status_tree.verify_absence(bytes(16), None, None, 0, bytes(32))
