"""A change of key as it is published: the golden vector, and other people's verifiers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from licensing import jcs
from licensing.ledger import commitments, keychain, notes, tree
from licensing.ledger.commitments import CommitmentError
from tests.oracles.ledger_verifiers import (
    AicsTlog,
    Claim,
    GoChecksumDatabase,
    Metamorphic,
    SigstoreJavaScript,
    SigstorePython,
)

VECTOR: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "key_changed.json").read_text()
)
ENTRY: bytes = VECTOR["entry"].encode()
OLD, NEW = (notes.Signer(VECTOR["origin"], bytes([n]) * 32) for n in (1, 2))


def test_the_published_vector_comes_out_of_the_same_facts() -> None:
    made = commitments.entry_body(
        keychain.KIND,
        log="test",
        at=commitments.parse_timestamp(VECTOR["at"]),
        subject_ref=bytes.fromhex(VECTOR["log_ref"]),
        seq=0,
        prev=None,
        commitments={},
        parties=[],
        public={"old": OLD.verifier.vkey(), "new": NEW.verifier.vkey()},
    )

    assert made == ENTRY
    assert tree.leaf_hash(made).hex() == VECTOR["leaf_hash"]
    change = keychain.read(ENTRY, 7)
    assert change == keychain.KeyChange(7, OLD.verifier, NEW.verifier)


@pytest.mark.parametrize("public", [{}, {"old": 1}, {"new": "x"}, {"more": "x"}])
def test_a_change_that_names_no_two_keys_is_refused(public: dict[str, Any]) -> None:
    body = json.loads(ENTRY)
    entry = jcs.dumps({**body, "public": {**body["public"], **public} if public else {}})
    with pytest.raises(keychain.KeyChangeError):
        keychain.read(entry, 0)
    if "more" in public or not public:
        with pytest.raises(CommitmentError):
            commitments.parse_body(entry)


@pytest.mark.parametrize("new", ["old", "other"])
def test_a_change_is_to_another_key_of_the_same_log(new: str) -> None:
    other = {
        "old": OLD.verifier.vkey(),
        "other": notes.Signer("other.example/test", bytes(32)).verifier.vkey(),
    }[new]
    body = json.loads(ENTRY)
    body["public"]["new"] = other
    with pytest.raises(keychain.KeyChangeError, match="two keys of one log"):
        keychain.read(jcs.dumps(body), 0)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "oracle", [Metamorphic, SigstorePython, SigstoreJavaScript, AicsTlog, GoChecksumDatabase]
)
def test_other_people_s_verifiers_take_two_signatures_by_either_key(oracle: Any) -> None:
    text = notes.Checkpoint(VECTOR["origin"], 1, tree.leaf_hash(ENTRY)).text()
    verifier = oracle()
    stranger = notes.Signer(VECTOR["origin"], bytes([3]) * 32).verifier
    for order in ([OLD, NEW], [NEW, OLD]):
        claim = Claim(notes.sign(text, *order), ENTRY, 0, ())
        for key in (OLD, NEW):
            assert verifier.claims(key.verifier.vkey(), [claim]) == [""]
        assert verifier.claims(stranger.vkey(), [claim]) != [""]
    alone = Claim(notes.sign(text, NEW), ENTRY, 0, ())
    assert verifier.claims(OLD.verifier.vkey(), [alone]) != [""]
