"""Snapshots that are finalized and terms that are published: what the ledger has of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection

from licensing import samples, snapshots, terms
from licensing.ledger import commitments, notes, receipts, tree
from licensing.models import LedgerEntry, LedgerOpening, LedgerParty, Snapshot, Terms
from licensing.offline import __main__ as command
from licensing.offline import verify
from licensing.parties import party
from marketplace.access import acting, system
from marketplace.errors import CollectionEmpty, NotFound, TermsAlreadyPublished
from marketplace.models import Audit, Organization, Work
from tests.ledger import enable_triggers
from tests.licensing.test_ledger_numbers import together
from tests.make import TYPED, issue_grant, make_collection, make_offer
from tests.people import caller_for

VECTOR: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "facts.json").read_text())
KEYS = [notes.Verifier.parse(VECTOR["vkey"])]


def recorded(kind: str = "") -> list[LedgerEntry]:
    with system("look in a test"):
        return list(LedgerEntry.objects.filter(kind__startswith=kind).order_by("id"))


def opened(entry: LedgerEntry) -> dict[str, Any]:
    """What an entry's opening says, once it is proven to be what the entry commits to."""
    with system("look in a test"):
        opening = LedgerOpening.objects.get(entry=entry)
    values = json.loads(opening.values)
    body = commitments.parse_body(bytes(entry.body))
    made = commitments.openings(entry.kind, bytes(opening.seed), values, v=body.v, slot=None)
    assert commitments.check_openings(body, made) == values
    return dict(values)


def draft(organization: Organization) -> Terms:
    return terms.draft(caller_for(organization), name="Training", typed=TYPED)


def numbers(organization: Organization) -> list[int]:
    with system("look in a test"):
        mine = LedgerParty.objects.filter(log="test", organization_id=organization.pk)
        return list(mine.order_by("sequence").values_list("sequence", flat=True))


# --- what is recorded -------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("livemode", [False, True])
def test_a_finalized_snapshot_is_recorded_in_the_log_of_its_mode(
    archive: Organization, livemode: bool
) -> None:
    collection = make_collection(archive)
    snapshot = snapshots.finalize(caller_for(archive, livemode=livemode), str(collection.pk))

    [entry] = recorded()
    assert entry == snapshot.entry
    assert (entry.kind, entry.log) == ("snapshot.finalized", "live" if livemode else "test")
    assert (bytes(entry.subject_ref), entry.seq) == (bytes(snapshot.snapshot_ref), 0)
    assert entry.created_at == snapshot.finalized_at
    values = opened(entry)
    assert values == {
        "licensor": party(archive),
        "collection": str(collection.pk),
        "snapshot": {"id": str(snapshot.pk), "number": 1},
        "coverage": [snapshots.cited(snapshot)],
    }
    with system("look in a test"):
        assert LedgerOpening.objects.get(entry=entry).parties == [archive.pk]


@pytest.mark.django_db
@pytest.mark.parametrize("livemode", [False, True])
def test_published_terms_are_recorded_in_the_log_of_their_mode(
    archive: Organization, livemode: bool
) -> None:
    drafted = draft(archive)
    assert recorded() == []
    published = terms.publish(caller_for(archive, livemode=livemode), str(drafted.pk))

    [entry] = recorded()
    assert entry == published.entry
    assert (entry.kind, entry.log) == ("terms.published", "live" if livemode else "test")
    assert (bytes(entry.subject_ref), entry.seq) == (bytes(published.terms_ref or b""), 0)
    assert entry.created_at == published.published_at
    assert opened(entry) == {
        "licensor": party(archive),
        "version": {"id": str(published.pk), "name": "Training", "number": 1},
        "terms": TYPED,
        "terms_text": {
            "sha256": hashlib.sha256(published.text.encode()).hexdigest(),
            "template_version": published.template_version,
        },
    }


@pytest.mark.django_db
def test_a_grant_cites_what_its_snapshot_and_terms_were_recorded_with(
    archive: Organization, lab: Organization
) -> None:
    offer = make_offer(archive)
    grant = issue_grant(lab, offer)
    granted = opened(grant.issued_entry)
    [frozen], [published] = recorded("snapshot."), recorded("terms.")

    assert granted["coverage"] == opened(frozen)["coverage"]
    for field in ("terms", "terms_text"):
        assert granted[field] == opened(published)[field]


# --- repeats and refusals ---------------------------------------------------------------------


@pytest.mark.django_db
def test_what_did_not_change_is_not_recorded_again(archive: Organization) -> None:
    collection = make_collection(archive)
    first = snapshots.finalize(caller_for(archive), str(collection.pk))
    for livemode in (False, True):
        again = snapshots.finalize(caller_for(archive, livemode=livemode), str(collection.pk))
        assert again == first
    assert recorded() == [first.entry]
    assert numbers(archive) == [1]


@pytest.mark.django_db
def test_a_refused_act_records_nothing(archive: Organization, stranger: Organization) -> None:
    collection = make_collection(archive, works=1)
    drafted = draft(archive)
    terms.publish(caller_for(archive), str(drafted.pk))
    with acting(caller_for(archive), writing=False):
        before = LedgerEntry.objects.count(), Audit.objects.count(), Snapshot.objects.count()

    with pytest.raises(TermsAlreadyPublished):
        terms.publish(caller_for(archive), str(drafted.pk))
    with pytest.raises(NotFound):
        terms.publish(caller_for(stranger), str(drafted.pk))
    with pytest.raises(NotFound):
        snapshots.finalize(caller_for(stranger), str(collection.pk))
    empty = make_collection(archive, works=0, name="Empty")
    with acting(caller_for(archive), writing=False):
        made = Audit.objects.count() - before[1]
    with pytest.raises(CollectionEmpty):
        snapshots.finalize(caller_for(archive), str(empty.pk))

    with acting(caller_for(archive), writing=False):
        after = LedgerEntry.objects.count(), Audit.objects.count() - made, Snapshot.objects.count()
    assert before == after
    assert (numbers(archive), numbers(stranger)) == ([1], [])


@pytest.mark.django_db
def test_what_cannot_be_recorded_is_not_published(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafted, collection = draft(archive), make_collection(archive)

    def refuse(*_given: Any) -> None:
        raise commitments.CommitmentError("an entry has at most 65535 bytes")

    monkeypatch.setattr(commitments, "entry_body", lambda *_given, **_named: refuse())
    with pytest.raises(commitments.CommitmentError):
        terms.publish(caller_for(archive), str(drafted.pk))
    with pytest.raises(commitments.CommitmentError):
        snapshots.finalize(caller_for(archive), str(collection.pk))

    drafted.refresh_from_db()
    collection.refresh_from_db()
    assert (drafted.published_at, drafted.entry_id, collection.next_snapshot) == (None, None, 1)
    assert recorded() == []


@pytest.mark.django_db(transaction=True)
def test_what_is_older_than_its_recording_has_no_entry_and_is_licensed_as_before(
    archive: Organization, lab: Organization, owner_connection: psycopg.Connection[Any]
) -> None:
    offer = make_offer(archive)
    with owner_connection.transaction():
        for table, check, ref in (
            ("snapshot", "snapshot_is_recorded", "snapshot_ref"),
            ("terms", "terms_are_recorded_iff_published", "terms_ref"),
        ):
            found = owner_connection.execute(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s", [check]
            ).fetchone()
            assert found is not None
            assert found[0].endswith("NOT VALID")
            name = f"licensing_{table}"
            owner_connection.execute(f"ALTER TABLE {name} DROP CONSTRAINT {check}")
            owner_connection.execute(f"ALTER TABLE {name} DISABLE TRIGGER USER")
            owner_connection.execute(f"UPDATE {name} SET entry_id = NULL, {ref} = NULL")
            owner_connection.execute(f"ALTER TABLE {name} ADD CONSTRAINT {check} {found[0]}")
            enable_triggers(owner_connection, name)
    before = recorded()

    grant = issue_grant(lab, offer)

    assert snapshots.finalize(caller_for(archive), str(offer.collection_id)) == offer.snapshot
    assert recorded() == [*before, grant.issued_entry]


# --- several at once --------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_several_at_once_one_publishes_and_records(archive: Organization) -> None:
    """Seen to fail without the row's lock: all but one end in `terms_published_are_fixed`."""
    drafted = draft(archive)

    def publish() -> str:
        try:
            terms.publish(caller_for(archive), str(drafted.pk))
        except TermsAlreadyPublished:
            return "refused"
        return "published"

    assert sorted(together([publish] * 6)) == ["published", *["refused"] * 5]
    assert [entry.kind for entry in recorded()] == ["terms.published"]


@pytest.mark.django_db(transaction=True)
def test_of_several_at_once_one_finalizes_and_records(archive: Organization) -> None:
    """Seen to fail without the collection's lock: `snapshot_number_is_unique`."""
    collection = make_collection(archive)

    def finalize() -> Any:
        return snapshots.finalize(caller_for(archive), str(collection.pk)).pk

    assert len(set(together([finalize] * 6))) == 1
    assert [entry.kind for entry in recorded()] == ["snapshot.finalized"]


@pytest.mark.django_db(transaction=True)
def test_two_who_record_and_license_crosswise_do_not_wait_for_each_other_for_ever(
    archive: Organization, lab: Organization
) -> None:
    """A sample records a snapshot and its terms in one transaction; a grant is of both parties."""
    offers = {each: make_offer(each) for each in (archive, lab)}
    with system("look in a test"):
        works = {
            each: str(Work.objects.filter(organization=each).earliest("id").pk) for each in offers
        }
    fresh = {each: [make_collection(each, name=f"More {n}") for n in range(3)] for each in offers}

    def sample(seller: Organization) -> Callable[[], Any]:
        return lambda: samples.choose(
            caller_for(seller), str(offers[seller].pk), works=[works[seller]]
        )

    def license(seller: Organization, buyer: Organization, number: int) -> Callable[[], Any]:
        return lambda: issue_grant(buyer, offers[seller], made_by=f"{seller.name} {number}")

    def freeze(seller: Organization, number: int) -> Callable[[], Any]:
        return lambda: snapshots.finalize(caller_for(seller), str(fresh[seller][number].pk))

    def publish(seller: Organization) -> Callable[[], Any]:
        return lambda: terms.publish(caller_for(seller), str(draft(seller).pk))

    for number in range(3):
        acts = []
        for seller, buyer in ((archive, lab), (lab, archive)):
            acts += [sample(seller), license(seller, buyer, number)]
            acts += [freeze(seller, number), publish(seller)]
        together(acts)

    kinds = [entry.kind for entry in recorded()]
    # Of the samples' terms there is one version a seller.
    assert kinds.count("grant.issued") == 6
    assert kinds.count("snapshot.finalized") == 2 + 6 + 6
    for organization in (archive, lab):
        mine = numbers(organization)
        assert mine == list(range(1, len(mine) + 1))


@pytest.mark.django_db
def test_recording_costs_a_snapshot_one_append(
    archive: Organization, django_assert_max_num_queries: Any
) -> None:
    collection = make_collection(archive)
    with connection.execute_wrapper(_Seen()) as _wrapped:
        snapshots.finalize(caller_for(archive), str(collection.pk))
    assert _Seen.statements.count("ledger_advance") == 1
    assert _Seen.statements.count("licensing_ledgerentry") == 1


class _Seen:
    """Which of the ledger's statements were sent."""

    statements: list[str] = []

    def __call__(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        for name in ("ledger_advance", "licensing_ledgerentry"):
            if f"{name}" in str(sql):
                self.statements.append(name)
        return execute(sql, params, many, context)


# --- the published vectors --------------------------------------------------------------------


@pytest.fixture(
    params=VECTOR["entries"], ids=[f"{e['kind']} {e['seq']}" for e in VECTOR["entries"]]
)
def published(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(request.param)


def test_a_published_vector_comes_out_of_the_same_facts(published: dict[str, Any]) -> None:
    kind, seed = published["kind"], bytes.fromhex(published["seed"])
    slots = [commitments.Slot(**each) for each in published["parties"]]
    entry = commitments.entry_body(
        kind,
        log=VECTOR["log"],
        at=commitments.parse_timestamp(published["at"]),
        subject_ref=bytes.fromhex(published["subject_ref"]),
        seq=published["seq"],
        prev=published["prev"] and bytes.fromhex(published["prev"]),
        commitments=commitments.commit(kind, seed, published["values"]),
        parties=commitments.commit_parties(seed, slots),
        public=published.get("public"),
    )
    slot = slots[0] if slots else None
    assert entry.decode() == published["entry"]
    assert tree.leaf_hash(entry).hex() == published["leaf_hash"]
    made = commitments.openings(kind, seed, published["values"], v=2, slot=slot)
    assert made == published["openings"]


def test_a_published_receipt_is_sound_and_licenses_nothing(published: dict[str, Any]) -> None:
    proven = verify.check(published["receipt"].encode(), KEYS)
    assert (proven.body.kind, dict(proven.values)) == (published["kind"], published["values"])
    assert verify.cited(proven) == frozenset()


def test_a_published_kind_has_no_other_fields(published: dict[str, Any]) -> None:
    kind, seed, values = published["kind"], bytes.fromhex(published["seed"]), published["values"]
    with pytest.raises(commitments.CommitmentError, match="does not commit to “more”"):
        commitments.commit(kind, seed, {**values, "more": 1})
    for name in values:
        rest = {field: value for field, value in values.items() if field != name}
        with pytest.raises(commitments.CommitmentError, match=f"“{name}”, which is missing"):
            commitments.commit(kind, seed, rest)


SAID = {
    "snapshot.finalized": [
        "  licensor        Demo archive, DE, HRB 1001, org_01jd0000000000000000000001\n",
        "  coverage        snapshot of 7 items (28,021 bytes, 7 works), citation ",
        "  collection      col_01jd0000000000000000000003\n",
        "  snapshot        number 3, snp_01jd0000000000000000000004\n",
    ],
    "terms.published": [
        "  terms text      SHA-256 ",
        "  typed terms     SHA-256 ",
        "  version         “Training – größere Modelle”, number 2, "
        "trm_01jd0000000000000000000005\n",
    ],
}


def test_the_offline_tool_says_what_was_recorded(
    published: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "receipt"
    path.write_text(published["receipt"])
    assert command.main(["verify", str(path), "--key", VECTOR["vkey"], "--allow-test"]) == 0
    text = capsys.readouterr().out
    for fact in SAID[published["kind"]]:
        assert fact in text
    # It is no license.
    assert "still in force" not in text
    assert "issued" not in text


def test_a_citation_that_is_another_set_s_is_refused() -> None:
    given = VECTOR["entries"][0]
    kind, seed = given["kind"], bytes.fromhex(given["seed"])
    [cited] = given["values"]["coverage"]
    values = {**given["values"], "coverage": [{**cited, "size": 8}]}
    entry = commitments.entry_body(
        kind,
        log="test",
        at=commitments.parse_timestamp(given["at"]),
        subject_ref=bytes.fromhex(given["subject_ref"]),
        seq=0,
        prev=None,
        commitments=commitments.commit(kind, seed, values),
        parties=[],
    )
    key = notes.Signer("licet.example/ledger/test", bytes(range(32)))
    root = notes.Checkpoint(key.verifier.name, 1, tree.leaf_hash(entry))
    made = commitments.openings(kind, seed, values, v=2)
    data = receipts.build(entry, made, 0, [], notes.sign(root.text(), key))
    with pytest.raises(receipts.ReceiptError) as refused:
        verify.check(data, [key.verifier])
    assert (refused.value.part, refused.value.field) == ("openings", "coverage")
