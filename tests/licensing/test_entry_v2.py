"""Version 2 of an entry's body: the published vector, and what breaks a party's number."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from licensing import jcs
from licensing.ledger import commitments, tree
from licensing.ledger.commitments import CommitmentError, Slot

VECTOR: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "ledger_v2.json").read_text()
)
SEED = bytes.fromhex(VECTOR["seed"])
SLOTS = [Slot(party["organization"], party["sequence"]) for party in VECTOR["parties"]]
BODY = commitments.parse_body(VECTOR["entry"].encode())
OPENINGS: dict[str, Any] = VECTOR["openings"][SLOTS[0].organization]
OTHER: dict[str, Any] = VECTOR["openings"][SLOTS[1].organization]


def test_the_published_vector_comes_out_of_the_same_facts() -> None:
    entry = commitments.entry_body(
        VECTOR["kind"],
        log=VECTOR["log"],
        at=commitments.parse_timestamp(VECTOR["at"]),
        subject_ref=bytes.fromhex(VECTOR["grant_ref"]),
        seq=0,
        prev=None,
        commitments=commitments.commit(VECTOR["kind"], SEED, VECTOR["values"]),
        parties=commitments.commit_parties(SEED, SLOTS),
    )

    assert entry.decode() == VECTOR["entry"]
    assert tree.leaf_hash(entry).hex() == VECTOR["leaf_hash"]
    assert BODY.v == 2
    for slot, published in zip(SLOTS, VECTOR["parties"], strict=True):
        made = commitments.openings(VECTOR["kind"], SEED, VECTOR["values"], v=2, slot=slot)
        assert made == VECTOR["openings"][slot.organization]
        assert commitments.check_openings(BODY, made) == VECTOR["values"]
        assert commitments.check_party(BODY, made) == slot
        assert published["commitment"] in json.loads(VECTOR["entry"])["parties"]


def test_what_one_party_has_says_nothing_of_the_other() -> None:
    text, other = json.dumps(OPENINGS), VECTOR["parties"][1]
    assert other["salt"] not in text
    assert VECTOR["seed"] not in text
    assert OPENINGS["party"] | {"organization": other["organization"]} != OTHER["party"]


@pytest.mark.parametrize(
    "party",
    [
        {"sequence": 42},
        {"sequence": 0},
        {"sequence": True},
        {"sequence": "41"},
        {"organization": SLOTS[1].organization},
        {"organization": 1},
        {"organization": "\ud800"},
        {"sequence": 2**60},
        {"salt": VECTOR["parties"][1]["salt"]},
        {"salt": "00"},
        {"more": 1},
    ],
)
def test_a_number_that_the_entry_does_not_commit_to_is_refused(party: dict[str, Any]) -> None:
    with pytest.raises(CommitmentError) as refused:
        commitments.check_party(BODY, {**OPENINGS, "party": {**OPENINGS["party"], **party}})
    assert refused.value.field == "party"


def test_openings_may_keep_the_number_private() -> None:
    assert commitments.check_party(BODY, {**OPENINGS, "party": None}) is None


@pytest.mark.parametrize("v", [1, 3, True, 2.5, "2", None])
def test_openings_are_of_the_entry_s_version(v: Any) -> None:
    for check in (commitments.check_openings, commitments.check_party):
        with pytest.raises(CommitmentError, match="not of version 2"):
            check(BODY, {**OPENINGS, "v": v})
    without = {key: value for key, value in OPENINGS.items() if key != "party"}
    with pytest.raises(CommitmentError, match="other members than version 2"):
        commitments.check_openings(BODY, without)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 1},
        {"v": 3},
        {"parties": None},
        {"parties": {}},
        {"parties": ["00"]},
        {"parties": [1]},
        {"parties": list(reversed(json.loads(VECTOR["entry"])["parties"]))},
        {"parties": 2 * json.loads(VECTOR["entry"])["parties"][:1]},
        {"parties": [each.upper() for each in json.loads(VECTOR["entry"])["parties"]]},
    ],
)
def test_a_malformed_entry_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CommitmentError):
        commitments.parse_body(jcs.dumps({**json.loads(VECTOR["entry"]), **change}))


def test_an_entry_of_no_party_is_an_entry() -> None:
    body = jcs.dumps({**json.loads(VECTOR["entry"]), "parties": []})
    assert commitments.parse_body(body).parties == ()


@pytest.mark.parametrize("sequence", [1, 9, 10, 4_294_967_296, 9_007_199_254_740_991])
def test_who_has_sha_256_alone_makes_the_same_commitment_to_a_party(sequence: int) -> None:
    """As PostgreSQL does, which gives the number."""
    slot = Slot(SLOTS[0].organization, sequence)
    inner, outer = commitments.party_key(SEED, slot.organization)

    inside = hashlib.sha256(inner + b"%d}" % sequence).digest()

    assert hashlib.sha256(outer + inside).digest() == commitments.party_commitment(
        commitments.party_salt(SEED, slot.organization), slot
    )
