"""A continuation as it is published: the golden vector, what is refused, and others' verifiers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from licensing import jcs
from licensing.ledger import commitments, generations, keychain, notes, receipts, tree
from licensing.ledger.commitments import CommitmentError
from licensing.offline import verify
from tests.oracles.ledger_verifiers import (
    AicsTlog,
    Claim,
    GoChecksumDatabase,
    Metamorphic,
    SigstoreJavaScript,
    SigstorePython,
)

VECTOR: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "continued.json").read_text()
)
ENTRY: bytes = VECTOR["entry"].encode()
PROOF: bytes = VECTOR["proof"].encode()
FROZEN, SUCCESSOR = (notes.Verifier.parse(VECTOR[name]) for name in ("frozen", "successor"))
LAST = notes.parse_checkpoint(notes.split_note(VECTOR["checkpoint"])[0])


def test_the_published_vector_comes_out_of_the_same_facts() -> None:
    made = commitments.entry_body(
        keychain.CONTINUED,
        log="test",
        at=commitments.parse_timestamp(VECTOR["at"]),
        subject_ref=bytes.fromhex(VECTOR["log_ref"]),
        seq=0,
        prev=None,
        commitments={},
        parties=[],
        public={
            "origin": LAST.origin,
            "size": LAST.size,
            "root": LAST.root.hex(),
            "checkpoint": VECTOR["checkpoint"],
            "known": VECTOR["known"],
            "signed": VECTOR["signed"],
            "key": SUCCESSOR.vkey(),
        },
    )

    assert made == ENTRY
    assert tree.leaf_hash(made).hex() == VECTOR["leaf_hash"]
    found = keychain.read_continuation(ENTRY)
    assert found == keychain.Continuation(LAST, VECTOR["checkpoint"], 5, 12, SUCCESSOR)
    text = notes.Checkpoint(SUCCESSOR.name, 1, tree.leaf_hash(made)).text()
    signers = [
        notes.Signer(key.name, bytes.fromhex(VECTOR["seeds"][name]))
        for name, key in (("frozen", FROZEN), ("successor", SUCCESSOR))
    ]
    assert receipts.build(made, None, 0, [], notes.sign(text, *signers)) == PROOF


def test_who_trusts_the_frozen_log_s_key_learns_of_its_successor() -> None:
    proof = {FROZEN.key_id.hex(): PROOF}.get
    found = keychain.follow_frozen([FROZEN], proof)
    assert found is not None
    assert (found.continuation.key, found.checkpoint.size) == (SUCCESSOR, 1)
    assert keychain.follow_frozen([SUCCESSOR], proof) is None
    stranger = notes.Signer(FROZEN.name, bytes(32)).verifier
    with pytest.raises(keychain.KeyChangeError, match="has not signed it"):
        keychain.read_successor(PROOF, stranger)
    with pytest.raises(keychain.KeyChangeError, match="continues another log"):
        keychain.read_successor(PROOF, SUCCESSOR)
    # It signs the one tree, and no other log in general.
    assert keychain.follow([FROZEN], proof) == []


def test_the_receipt_of_a_continuation_says_what_it_continues() -> None:
    said = verify.describe(verify.check(PROOF, [SUCCESSOR]))
    assert "sound: log.continued, entry 0 of licet.example/ledger/test/2" in said
    assert "continues       licet.example/ledger/test, frozen at 9 entries" in said
    assert "kept of it      5 entries, of 12 signed" in said
    with pytest.raises(receipts.ReceiptError, match="has not signed its checkpoint"):
        verify.check(PROOF, [FROZEN])


@pytest.mark.parametrize(
    ("public", "match"),
    [
        ({"size": 8}, "does not say what its checkpoint says"),
        ({"root": "00" * 32}, "does not say what its checkpoint says"),
        ({"origin": "licet.example/ledger/test/1"}, "does not say what its checkpoint says"),
        ({"known": 10}, "sizes"),
        ({"known": True}, "sizes"),
        ({"known": -1}, "sizes"),
        ({"signed": 8}, "sizes"),
        ({"key": VECTOR["frozen"]}, "does not name the log that continues that one"),
        ({"key": "x"}, "continues no log"),
        ({"checkpoint": "x"}, "continues no log"),
        ({"more": 1}, "continues no log"),
    ],
)
def test_a_continuation_that_contradicts_itself_is_refused(
    public: dict[str, Any], match: str
) -> None:
    body = json.loads(ENTRY)
    body["public"] |= public
    with pytest.raises(keychain.KeyChangeError, match=match):
        keychain.read_continuation(jcs.dumps(body))


def test_a_continuation_without_its_members_is_no_entry() -> None:
    body = json.loads(ENTRY)
    del body["public"]["signed"]
    with pytest.raises(CommitmentError):
        commitments.parse_body(jcs.dumps(body))


@pytest.mark.parametrize(
    ("origin", "log"),
    [
        ("a/test", "test"),
        ("a/live/2", "live"),
        ("live", "live"),
        ("a/live/9999", "live"),
        ("a/live/1", None),
        ("a/live/02", None),
        ("a/live/0", None),
        ("a/live/10000", None),
        ("a/live/2/3", None),
        ("a/lives/2", None),
        ("a/2", None),
        ("", None),
    ],
)
def test_an_origin_says_which_log_it_is_of(origin: str, log: str | None) -> None:
    assert generations.log_of_origin(origin) == log


def test_generations_are_counted_from_the_first() -> None:
    assert generations.next_of("live") == "live/2"
    assert generations.next_of("live/9") == "live/10"
    assert generations.before("live/3") == "live/2"
    assert generations.before("live/2") == "live"
    assert generations.before("live") is None
    assert generations.next_origin("a/live") == "a/live/2"
    assert generations.next_origin("a/live/9") == "a/live/10"
    assert len(generations.name("live", 9999)) == generations.NAME_MAX


@pytest.mark.oracle
@pytest.mark.parametrize(
    "oracle", [Metamorphic, SigstorePython, SigstoreJavaScript, AicsTlog, GoChecksumDatabase]
)
def test_other_people_s_verifiers_take_the_successor_s_first_checkpoint(oracle: Any) -> None:
    note = receipts.parse(PROOF).checkpoint
    verifier = oracle()
    assert verifier.claims(SUCCESSOR.vkey(), [Claim(note, ENTRY, 0, ())]) == [""]
    stranger = notes.Signer(SUCCESSOR.name, bytes([3]) * 32).verifier
    assert verifier.claims(stranger.vkey(), [Claim(note, ENTRY, 0, ())]) != [""]
