"""Status proofs: over HTTP, for the parties; and offline, beside a receipt."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.utils import timezone

from licensing import jcs, lifecycle, status, status_proofs, status_tree
from licensing.ledger import commitments, notes, proofs, sequencer, signer, tree
from licensing.models import Grant, LedgerAwaited, LedgerEntry, StatusRoot
from licensing.offline import __main__ as command
from marketplace import access
from marketplace.models import Organization
from marketplace.typeid import TypeID
from tests.licensing import status_samples
from tests.licensing.status_samples import AS_OF, ISSUED_AT, REF, Log, made, proof, rows
from tests.licensing.test_status import become, give, recorded
from tests.people import ApiClient, caller_for

Client = Callable[..., ApiClient]
VECTOR: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "status.json").read_text())


# --- over HTTP --------------------------------------------------------------------------------


def url(grant: Grant, as_of: str | None = None) -> str:
    query = "" if as_of is None else f"?as_of={quote(as_of)}"
    return f"/v1/grants/{grant.pk}/status-proof{query}"


def verify(directory: Path, receipt: bytes, proof: bytes, *options: str) -> int:
    (directory / "receipt").write_bytes(receipt)
    (directory / "status").write_bytes(proof)
    files = [str(directory / "receipt"), "--status", str(directory / "status")]
    return command.main(["verify", *files, *options])


@pytest.mark.django_db
def test_a_status_proof_is_pending_then_a_file_that_verifies_offline(
    client_for: Client, lab: Organization, archive: Organization, tmp_path: Path, capsys: Any
) -> None:
    grant = give(archive, lab)
    root = recorded()

    pending = client_for(lab).get(url(grant))
    assert (pending.status_code, pending["Retry-After"]) == (202, "1")
    assert pending.json() == {"object": "status_proof", "status": "pending"}
    assert LedgerAwaited.objects.filter(entry=root.entry).exists()
    sequencer.run_once()

    key = signer.load("test").verifier.vkey()
    as_of = commitments.timestamp(root.as_of)
    for party in (lab, archive):
        answer = client_for(party).get(url(grant))
        assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
        name = f'attachment; filename="{grant.pk}.status.json"'
        assert answer["Content-Disposition"] == name
        receipt = client_for(party).get(f"/v1/grants/{grant.pk}/receipt").content
        assert verify(tmp_path, receipt, answer.content, "--key", key, "--allow-test") == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert last == f"in force as of {as_of} (status root 0)"


@pytest.mark.django_db
def test_a_suspension_shows_in_the_next_proof_and_the_older_one_stays(
    client_for: Client, lab: Organization, archive: Organization, tmp_path: Path, capsys: Any
) -> None:
    grant = give(archive, lab)
    first = recorded()
    become(grant, "suspended")
    second = recorded()
    sequencer.run_once()
    client, key = client_for(lab), signer.load("test").verifier.vkey()
    receipt = client.get(f"/v1/grants/{grant.pk}/receipt").content

    def stands(as_of: str | None) -> tuple[int, dict[str, Any]]:
        data = client.get(url(grant, as_of)).content
        code = verify(tmp_path, receipt, data, "--key", key, "--allow-test", "--json")
        return code, json.loads(capsys.readouterr().out)["status"]

    between = commitments.timestamp(second.as_of - timedelta(microseconds=1))
    for as_of in ("0", commitments.timestamp(first.as_of), between):
        code, old = stands(as_of)
        assert (code, old["state"], old["number"]) == (0, "active", 0)
        assert old["receipt_is_newest"]
    for later in (None, "1", "99", "2999-01-01T00:00:00+02:00"):
        code, new = stands(later)
        assert (code, new["state"], new["in_force"]) == (4, "suspended", False)
        assert new["as_of"] == commitments.timestamp(second.as_of)
        assert not new["receipt_is_newest"]


@pytest.mark.django_db
@pytest.mark.parametrize("step", ["suspended", "revoked"])
def test_a_root_that_contradicts_the_newest_entry_is_refused_beside_its_receipt(
    step: str,
    client_for: Client,
    lab: Organization,
    archive: Organization,
    tmp_path: Path,
    capsys: Any,
) -> None:
    grant = give(archive, lab)
    become(grant, step)
    with access.system("somebody undoes it by hand"):
        Grant.objects.filter(pk=grant.pk).update(status="active", ended_at=None)
    recorded()
    sequencer.run_once()
    proof = client_for(archive).get(url(grant)).content
    key = signer.load("test").verifier.vkey()

    code = verify(tmp_path, newest_receipt(grant), proof, "--key", key, "--allow-test")

    assert code == 1
    said = capsys.readouterr().out
    assert "its root says “active”, and the newest entry that it knows of the grant" in said
    assert f"the receipt's, “{step}”. Keep both" in said


@pytest.mark.django_db
def test_a_revocation_that_is_announced_for_later_contradicts_no_root_before_it(
    client_for: Client, lab: Organization, archive: Organization, tmp_path: Path, capsys: Any
) -> None:
    grant = give(archive, lab)
    later = timezone.now() + timedelta(days=1)
    act = lifecycle.Act(by="licensor", cause="breach", reason="A test.", effective_at=later)
    lifecycle.revoke(caller_for(archive), str(grant.pk), act)
    recorded()
    sequencer.run_once()
    proof = client_for(archive).get(url(grant)).content
    key = signer.load("test").verifier.vkey()

    assert verify(tmp_path, newest_receipt(grant), proof, "--key", key, "--allow-test") == 0
    assert "in force as of" in capsys.readouterr().out


def newest_receipt(grant: Grant) -> bytes:
    """Of the newest entry of its chain, for a party."""
    with access.system("a party takes a receipt"):
        rows = LedgerEntry.objects.filter(subject_ref=bytes(grant.grant_ref)).order_by("-seq")
        entry = rows.select_related("opening")[0]
        receipt = proofs.receipt(entry, entry.opening)
    assert receipt is not None
    return receipt


@pytest.mark.django_db
def test_a_grant_that_no_root_contains_yet_is_told_when_one_will(
    client_for: Client, lab: Organization, archive: Organization
) -> None:
    old = give(archive, lab)
    refused = client_for(lab).get(url(old))
    assert (refused.status_code, refused.json()["code"]) == (404, "status_not_recorded")
    root = recorded()
    late = give(archive, lab)

    refused = client_for(lab).get(url(late))

    midnight = (root.as_of + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert (refused.status_code, refused.json()["code"]) == (404, "status_not_recorded")
    assert refused.json()["next_due_at"] == commitments.timestamp(midnight)
    before = commitments.timestamp(root.as_of - timedelta(seconds=1))
    assert client_for(lab).get(url(old, before)).json()["code"] == "status_not_recorded"
    assert StatusRoot.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("as_of", ["", "-1", "01", "now", "2027-03-01", "2027-03-01T00:00:00"])
def test_another_moment_than_one_is_refused(
    as_of: str, client_for: Client, lab: Organization, archive: Organization
) -> None:
    answer = client_for(lab).get(url(give(archive, lab), as_of))
    assert (answer.status_code, answer.json()["param"]) == (422, "as_of")


@pytest.mark.django_db
def test_a_status_proof_is_the_parties_alone(
    client_for: Client, lab: Organization, archive: Organization, stranger: Organization
) -> None:
    grant = give(archive, lab)
    recorded()
    sequencer.run_once()
    missing = f"/v1/grants/{TypeID.new('grt')}/status-proof"

    answers = {
        "stranger": client_for(stranger).get(url(grant)),
        "nobody": client_for(None).get(url(grant)),
        "wrong scope": client_for(lab, scopes=["works:read"]).get(url(grant)),
        "other mode": client_for(lab, livemode=True).get(url(grant)),
        "no such grant": client_for(lab).get(missing),
    }

    assert {
        name: (answer.status_code, answer.json()["code"]) for name, answer in answers.items()
    } == {
        "stranger": (404, "not_found"),
        "nobody": (401, "unauthenticated"),
        "wrong scope": (403, "missing_scope"),
        "other mode": (404, "not_found"),
        "no such grant": (404, "not_found"),
    }


@pytest.mark.django_db
def test_leaves_that_are_not_those_of_the_root_are_never_handed_out(
    lab: Organization, archive: Organization
) -> None:
    grant = give(archive, lab)
    root = recorded()
    sequencer.run_once()
    root.blocks = status_tree.pack([status_tree.Block(bytes(grant.grant_ref), bytes(32))])
    with pytest.raises(status.LedgerCorrupted, match="cannot be proven"):
        status.proof(root, grant)


# --- the published vector ---------------------------------------------------------------------


def test_the_published_vector_comes_out_of_the_same_facts() -> None:
    grants = VECTOR["grants"]
    leaves = [
        status_tree.Leaf(
            bytes.fromhex(each["grant_ref"]), each["state"], bytes.fromhex(each["last_leaf"])
        )
        for each in grants
    ]
    assert [leaf.hash().hex() for leaf in leaves] == [each["leaf_hash"] for each in grants]
    built = status_tree.build(
        (leaf.grant_ref, status_tree.STATES[leaf.state], leaf.last_leaf) for leaf in leaves
    )
    assert (built.size, built.root.hex()) == (VECTOR["size"], VECTOR["root"])
    assert status_tree.subject_ref("live").hex() == VECTOR["status_ref"]
    entry = commitments.entry_body(
        "status.root",
        log="live",
        at=commitments.parse_timestamp("2026-11-26T00:00:01.500000Z"),
        subject_ref=status_tree.subject_ref("live"),
        seq=0,
        prev=None,
        commitments={},
        parties=[],
        public={
            "tree": "licet/status/v1",
            "size": built.size,
            "root": built.root.hex(),
            "as_of": "2026-11-26T00:00:00.250000Z",
            "log_size": 6,
        },
    )
    assert entry.decode() == VECTOR["entry"]
    assert tree.leaf_hash(entry).hex() == VECTOR["leaf_hash"]

    read = status_proofs.parse(VECTOR["proof"].encode())
    proven = status_proofs.verify(read, [notes.Verifier.parse(VECTOR["vkey"])])

    assert (proven.state, proven.number, proven.is_in_force) == ("suspended", 0, False)
    receipt = json.loads(VECTOR["proof"])["receipt"].encode()
    assert status_proofs.build(read.placed, receipt).decode() == VECTOR["proof"]


# --- offline ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "text", "code"),
    [("active", "in force", 0), *[(each, each, 4) for each in ("suspended", "revoked", "expired")]],
)
def test_a_status_is_said_with_its_moment(
    state: str, text: str, code: int, tmp_path: Path, capsys: Any
) -> None:
    log, receipt, status = made(state)

    assert verify(tmp_path, receipt, status, "--key", log.vkey()) == code

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("sound: grant.issued")
    assert lines[-1] == f"{text} as of 2026-11-26T00:00:00.000000Z (status root 0)"
    assert not any("still in force" in line for line in lines)


@pytest.mark.parametrize(("state", "code"), [("active", 3), ("revoked", 4)])
def test_a_test_license_is_none_and_one_that_ended_is_none_either(
    state: str, code: int, tmp_path: Path
) -> None:
    log, receipt, status = made(state, name="test")
    assert verify(tmp_path, receipt, status, "--key", log.vkey()) == code


def test_what_was_recorded_after_the_receipt_is_said(tmp_path: Path, capsys: Any) -> None:
    log = Log()
    issued = log.issue()
    later = log.add("grant.noted", REF, seq=1, prev=log.leaf(issued), at=ISSUED_AT)
    leaves = rows("active", log.leaf(later))
    status = proof(log, log.status(leaves), leaves)

    assert verify(tmp_path, log.receipt(issued), status, "--key", log.vkey()) == 0

    assert capsys.readouterr().out.splitlines()[-1].endswith(log.leaf(later).hex())


def refused(
    directory: Path, capsys: Any, log: Log, receipt: bytes, status: bytes, *keys: str
) -> str:
    """Why the tool does not take a status proof; it says so, and exits with 1."""
    options = [word for key in (log.vkey(), *keys) for word in ("--key", key)]
    assert verify(directory, receipt, status, *options) == 1
    said = str(capsys.readouterr().out)
    assert said.startswith("NOT SOUND: status: ")
    return said


def test_a_status_of_before_the_receipt_is_refused(tmp_path: Path, capsys: Any) -> None:
    """The grant's second receipt, and a root that only knew the first entry."""
    log = Log()
    issued = log.issue()
    leaves = rows("active", log.leaf(issued))
    root = log.status(leaves)
    later = log.add("grant.noted", REF, seq=1, prev=log.leaf(issued), at=AS_OF + timedelta(hours=1))

    why = refused(tmp_path, capsys, log, log.receipt(later), proof(log, root, leaves))

    assert "older than the receipt" in why


def test_a_status_that_may_be_of_before_the_receipt_is_refused(tmp_path: Path, capsys: Any) -> None:
    """The root stands behind the entry, and does not say to have read it."""
    log = Log()
    issued = log.issue()
    later = log.add("grant.noted", REF, seq=1, prev=log.leaf(issued), at=ISSUED_AT)
    leaves = rows("active", log.leaf(issued))
    root = log.status(leaves, public={"log_size": 1})

    why = refused(tmp_path, capsys, log, log.receipt(later), proof(log, root, leaves))

    assert "older than the receipt" in why


def test_a_root_that_leaves_a_revocation_out_is_refused(tmp_path: Path, capsys: Any) -> None:
    """The licensor holds the receipt of it, and the market says “active” ever after."""
    log = Log()
    issued = log.issue()
    revoked = log.add("grant.ended", REF, seq=1, prev=log.leaf(issued), at=ISSUED_AT)
    leaves = rows("active", log.leaf(issued))
    root = log.status(leaves)
    why = refused(tmp_path, capsys, log, log.receipt(revoked), proof(log, root, leaves))
    assert "leaves it out" in why


def test_a_status_whose_clock_is_before_the_receipt_is_refused(tmp_path: Path, capsys: Any) -> None:
    log = Log()
    issued = log.issue()
    leaves = rows("active", bytes(32))
    root = log.status(leaves, as_of=ISSUED_AT - timedelta(seconds=1))
    why = refused(tmp_path, capsys, log, log.receipt(issued), proof(log, root, leaves))
    assert "older than the receipt" in why


def test_a_status_of_another_log_is_refused(tmp_path: Path, capsys: Any) -> None:
    log, receipt, _status = made()
    other, _receipt, status = made(name="test")
    assert "another log" in refused(tmp_path, capsys, log, receipt, status, other.vkey())
    # A second market that signs with a key that is trusted here too.
    foreign = Log(origin="other.example/ledger/live")
    leaves = rows("active", foreign.leaf(foreign.issue()))
    status = proof(foreign, foreign.status(leaves), leaves)
    assert "another log" in refused(tmp_path, capsys, log, receipt, status, foreign.vkey())


def test_a_status_of_an_unknown_signer_is_refused(tmp_path: Path, capsys: Any) -> None:
    log, receipt, _status = made()
    _other, _receipt, status = made(name="test")
    assert "signature" in refused(tmp_path, capsys, log, receipt, status)


def test_a_status_of_another_grant_is_refused(tmp_path: Path, capsys: Any) -> None:
    log = Log()
    issued = log.issue()
    leaves = rows("active", log.leaf(issued))
    status = proof(log, log.status(leaves), leaves, status_samples.OTHERS[0])
    assert "another grant" in refused(tmp_path, capsys, log, log.receipt(issued), status)


def test_a_receipt_of_no_grant_has_no_status(tmp_path: Path, capsys: Any) -> None:
    log, _receipt, status = made()
    assert "of no grant" in refused(tmp_path, capsys, log, log.receipt(1), status)


def test_a_root_of_another_kind_is_refused(tmp_path: Path, capsys: Any) -> None:
    """Anybody who can have something recorded could have this recorded."""
    log = Log()
    issued = log.issue()
    leaves = rows("active", log.leaf(issued))
    root = log.status(leaves, kind="grant.noted", ref=bytes(16))
    why = refused(tmp_path, capsys, log, log.receipt(issued), proof(log, root, leaves))
    assert "another kind" in why


def test_a_root_of_a_second_chain_is_refused(tmp_path: Path, capsys: Any) -> None:
    log = Log()
    issued = log.issue()
    leaves = rows("active", log.leaf(issued))
    root = log.status(leaves, ref=bytes(16))
    why = refused(tmp_path, capsys, log, log.receipt(issued), proof(log, root, leaves))
    assert "one chain" in why


@pytest.mark.parametrize(
    "public",
    [
        {"tree": "licet/status/v2"},
        {"root": "00"},
        {"size": True},
        {"size": -1},
        {"size": 5},
        {"log_size": "1"},
        {"log_size": 2},
        {"as_of": "2026-11-26"},
        {"as_of": commitments.timestamp(AS_OF + timedelta(days=1))},
    ],
)
def test_a_root_that_says_nonsense_is_refused(
    public: dict[str, Any], tmp_path: Path, capsys: Any
) -> None:
    log = Log()
    issued = log.issue()
    leaves = rows("active", log.leaf(issued))
    root = log.status(leaves, public=public)
    refused(tmp_path, capsys, log, log.receipt(issued), proof(log, root, leaves))


@pytest.mark.parametrize(
    "change",
    [
        {"state": "suspended"},
        {"state": "unknown"},
        {"state": 1},
        {"last_leaf": "00" * 32},
        {"last_leaf": "00"},
        {"grant_ref": "00" * 16},
        {"grant_ref": REF.hex().upper()},
        {"index": 1},
        {"index": 7},
        {"index": True},
        {"index": -1},
        {"path": []},
        {"path": ["00" * 32, "00" * 32]},
        {"path": "00" * 32},
        {"path": [7]},
        {"path": ["00" * 32] * 65},
        {"receipt": ""},
        {"receipt": None},
        {"status_proof": "licet/status-proof/v2"},
        {"more": 1},
    ],
)
def test_a_changed_status_proof_is_refused(
    change: dict[str, Any], tmp_path: Path, capsys: Any
) -> None:
    log, receipt, status = made()
    changed = json.loads(status) | change
    refused(tmp_path, capsys, log, receipt, jcs.dumps(changed))


def test_an_answer_that_there_is_none_yet_says_what_to_do(tmp_path: Path, capsys: Any) -> None:
    log, receipt, _status = made()
    pending = jcs.dumps({"object": "status_proof", "status": "pending"})
    assert "fetch it again" in refused(tmp_path, capsys, log, receipt, pending)


def test_a_status_proof_has_one_spelling(tmp_path: Path, capsys: Any) -> None:
    log, receipt, status = made()
    for other in (status + b"\n", json.dumps(json.loads(status)).encode(), b"", b"[]", b"\xff"):
        refused(tmp_path, capsys, log, receipt, other)
    assert "at most" in refused(tmp_path, capsys, log, receipt, b" " * (1024 * 1024 + 1))


def test_a_root_s_own_receipt_says_what_it_commits_to(tmp_path: Path, capsys: Any) -> None:
    log, _receipt, _status = made()
    (tmp_path / "root").write_bytes(log.receipt(1))
    assert command.main(["verify", str(tmp_path / "root"), "--key", log.vkey()]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("sound: status.root")
    assert "  as of           2026-11-26T00:00:00.000000Z" in lines
    assert "  size            3" in lines
    assert not any("still in force" in line or "issued" in line for line in lines)
