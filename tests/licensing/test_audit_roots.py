"""Audit roots: what was done is committed to once a day, and what is changed later is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from licensing import audit_roots, audit_tree, jcs
from licensing.ledger import commitments, fsck, guard, notes, sequencer, signer, tree
from licensing.models import AuditLeaf, AuditRoot, LedgerLeaf
from marketplace import audit, contributors
from marketplace.access import acting, system
from marketplace.models import Audit, Organization
from marketplace.typeid import TypeID
from payments import erasures
from payments.management.commands import worker
from tests.database import TestDatabase
from tests.ledger import (
    append_many,
    naive_root,
    superuser_connection,
)
from tests.licensing.audit_acts import (
    act,
    begin,
    check,
    counted,
    expected_leaf,
    ids,
    recorded,
)
from tests.licensing.test_ledger_numbers import together
from tests.people import caller_for

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def at_once(settings: Any) -> None:
    """A root is due whenever something was done."""
    settings.LEDGER_AUDIT_SECONDS = 0


@pytest.fixture
def acted(archive: Organization) -> Organization:
    return begin(archive)


# --- what is recorded -------------------------------------------------------------------------


def test_a_root_holds_every_act(acted: Organization, lab: Organization) -> None:
    act(lab, words=["größer", None], deep={"b": True, "a": 1})
    with system("act on the market in a test"):
        audit.record(audit.OfMarket("usr_1"), "test.done", subject=lab)
    with system("look in a test"):
        rows = list(Audit.objects.order_by("id").values_list("pk", flat=True))

    root = recorded()

    assert ids() == rows
    assert (root.size, bytes(root.root)) == (len(rows), naive_root([*map(expected_leaf, rows)]))


def test_its_entry_says_to_everybody_what_it_commits_to(acted: Organization) -> None:
    before = timezone.now()
    root = recorded()

    body = commitments.parse_body(bytes(root.entry.body))
    assert (body.kind, body.log) == ("audit.root", "test")
    assert body.subject_ref == audit_tree.subject_ref("test")
    assert (body.seq, body.prev, body.commitments, body.parties) == (0, None, {}, ())
    assert body.public == {
        "tree": "licet/audit/v1",
        "size": root.size,
        "root": bytes(root.root).hex(),
        "from": None,
        "to": commitments.timestamp(root.until),
    }
    assert before <= root.until <= body.at


def test_the_next_root_follows_in_its_chain_and_grows_from_the_one_before(
    acted: Organization,
) -> None:
    first = recorded()
    act(acted, more="words")
    second = recorded()

    body = commitments.parse_body(bytes(second.entry.body))
    assert (body.seq, body.prev) == (1, bytes(first.entry.leaf_hash))
    assert body.public["from"] == commitments.timestamp(first.until)
    assert second.size == first.size + 1
    assert bytes(second.root) == naive_root([*map(expected_leaf, ids())])


def test_each_log_that_is_in_use_has_the_same_root(acted: Organization) -> None:
    only = recorded()
    append_many(1, "live")
    act(acted)
    test, live = audit_roots.record_due()
    assert (only.log, test.log, live.log) == ("test", "test", "live")
    assert (test.size, bytes(test.root)) == (live.size, bytes(live.root))
    assert (test.number, live.number) == (1, 0)
    body = commitments.parse_body(bytes(live.entry.body))
    assert (body.public["from"], body.subject_ref) == (None, audit_tree.subject_ref("live"))
    assert check().startswith(f"audit: sound: {live.size} acts, 3 roots; 0 acts since")


def test_where_nothing_is_recorded_there_is_no_root_either(archive: Organization) -> None:
    act(archive)
    assert audit_roots.record_due() == []
    assert counted() == (0, 0, 0)


def test_where_nothing_was_done_since_nothing_is_recorded(acted: Organization) -> None:
    recorded()
    before = counted()
    assert audit_roots.record_due() == []
    assert audit_roots.record_due() == []
    assert counted() == before


def test_a_root_is_due_a_day_after_the_one_before(acted: Organization, settings: Any) -> None:
    settings.LEDGER_AUDIT_SECONDS = 86_400
    recorded()
    act(acted)
    before = counted()
    assert audit_roots.record_due() == []
    assert counted() == before
    settings.LEDGER_AUDIT_SECONDS = 0
    assert recorded().number == 1


def test_more_acts_than_one_transaction_takes_get_their_places(
    acted: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_roots, "_AT_ONCE", 2)
    for _number in range(4):
        act(acted)
    root = recorded()
    assert root.size == len(ids()) >= 7
    assert bytes(root.root) == naive_root([*map(expected_leaf, ids())])


def test_an_act_that_is_taken_back_leaves_no_place_empty(acted: Organization) -> None:
    def fail() -> None:
        with acting(caller_for(acted)):
            audit.record(caller_for(acted), "test.done", subject=acted)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    root = recorded()
    act(acted)
    assert recorded().size == root.size + 1
    check()


@pytest.mark.django_db(transaction=True)
def test_an_act_that_commits_later_is_of_the_next_root(
    acted: Organization, test_database: TestDatabase
) -> None:
    with superuser_connection(test_database) as other:
        with other.transaction():
            other.execute(
                "INSERT INTO marketplace_audit (id, organization_id, actor, action, subject, data,"
                " at) SELECT gen_random_uuid(), organization_id, actor, action, subject, data,"
                " at - interval '1 minute' FROM marketplace_audit LIMIT 1"
            )
            first = recorded()
        assert recorded().size == first.size + 1
    check()


def test_numbers_without_a_canonical_form_stand_as_text(acted: Organization) -> None:
    act(acted, share=0.25, length=2**60, below=-(2**53))
    recorded()
    with system("look in a test"):
        row = Audit.objects.order_by("-id")[0]
    said = audit_tree.Act(
        row.pk,
        row.organization_id,
        row.actor,
        row.action,
        row.subject,
        json.dumps(row.data),
        row.at,
    )
    data = json.loads(audit_tree.leaf_bytes(said))["data"]
    assert data == {"share": "0.25", "length": str(2**60), "below": str(-(2**53))}
    check()


def test_what_cannot_be_recorded_leaves_no_root(
    acted: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_given: Any) -> None:
        raise commitments.CommitmentError("no")

    monkeypatch.setattr(audit_roots.ledger, "append", refuse)
    with pytest.raises(commitments.CommitmentError):
        audit_roots.record_due()
    assert counted()[1:] == (0, 1)


def test_a_restored_log_gets_no_root_before_its_tail_is_back(acted: Organization) -> None:
    ahead = notes.Checkpoint(signer.origin("test"), 9, bytes(32))
    guard.advance("test", ahead.size, ahead.root, lambda _size: [])
    assert audit_roots.record_due() == []
    assert counted()[1:] == (0, 1)


def test_the_worker_records_them(acted: Organization) -> None:
    [job] = [job for job in worker.JOBS if job.name == "audit roots"]
    job.run()
    sequencer.run_once()
    with system("look in a test"):
        root = AuditRoot.objects.get()
        assert LedgerLeaf.objects.filter(entry=root.entry_id).exists()
    assert fsck.check_database("test").size == 2


# --- several at once --------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_several_workers_one_gives_the_places(acted: Organization) -> None:
    """Seen to fail without the lock: two give one place, `licensing_auditleaf_pkey`."""
    for round in range(3):
        for number in range(40):
            act(acted, number=number)
        roots = [root for made in together([audit_roots.record_due] * 4) for root in made]
        assert [root.number for root in roots] == [round]
        with system("look in a test"):
            places = list(AuditLeaf.objects.order_by("position").values_list("position", flat=True))
        assert places == list(range(len(places)))
    check()


@pytest.mark.django_db(transaction=True)
def test_who_acts_does_not_wait_for_it(acted: Organization) -> None:
    with system("give places in a test"):
        assert audit_roots._elected()
        audit_roots._place(audit_roots._FIRST)
        together([lambda: act(acted)])
    assert recorded().size == len(ids())


# --- persons ----------------------------------------------------------------------------------


def test_acts_of_and_on_an_erased_person_still_check(
    acted: Organization, settings: Any, tmp_path: Any
) -> None:
    """An act names people by ids alone, and erasing them leaves it as it is."""
    settings.ERASURES = str(tmp_path / "list")
    someone = contributors.add(
        caller_for(acted), external_id="c-1", name="Ada Quill", email="ada@example.org"
    )
    root = recorded()
    erasures.erase(erasures.Person(contributor=str(someone.pk)))
    assert check().startswith(f"audit: sound: {root.size} acts")


def test_a_leaf_holds_no_word_of_its_act(acted: Organization) -> None:
    recorded()
    columns = {field.name for field in AuditLeaf._meta.concrete_fields}
    assert columns == {"position", "audit", "leaf_hash"}


# --- the published vector ---------------------------------------------------------------------

VECTOR: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "audit_root.json").read_text()
)


def test_the_published_vector_comes_out_of_the_same_acts() -> None:
    frontier = tree.Frontier()
    for published, data in zip(VECTOR["acts"], VECTOR["stored_data"], strict=True):
        row = published["row"]
        said = audit_tree.Act(
            TypeID.parse("aud", row["id"]),
            TypeID.parse("org", row["organization"]),
            row["actor"],
            row["action"],
            row["subject"],
            data,
            commitments.parse_timestamp(row["at"]),
        )
        assert audit_tree.leaf_bytes(said).decode() == published["bytes"]
        assert audit_tree.leaf_hash(said).hex() == published["leaf_hash"]
        frontier.push(audit_tree.leaf_hash(said))
        assert frontier.root().hex() == VECTOR["roots"][str(frontier.size)]
    entry = commitments.entry_body(
        audit_tree.KIND,
        log=VECTOR["log"],
        at=commitments.parse_timestamp(VECTOR["at"]),
        subject_ref=audit_tree.subject_ref(VECTOR["log"]),
        seq=VECTOR["seq"],
        prev=bytes.fromhex(VECTOR["prev"]),
        commitments={},
        parties=[],
        public=VECTOR["public"],
    )
    assert entry.decode() == VECTOR["entry"]
    assert tree.leaf_hash(entry).hex() == VECTOR["entry_leaf_hash"]
    assert VECTOR["public"]["root"] == frontier.root().hex()


@pytest.mark.parametrize("change", [{"more": 1}, {"root": None}])
def test_a_root_has_these_members_and_no_others(change: dict[str, Any]) -> None:
    body = json.loads(VECTOR["entry"])
    public = {**body["public"], **change}
    if change.get("root", 1) is None:
        del public["root"]
    with pytest.raises(commitments.CommitmentError):
        commitments.parse_body(jcs.dumps({**body, "public": public}))
