"""What becomes of a grant as it is published: golden vectors, made without this package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from licensing.ledger import commitments, tree
from licensing.ledger.commitments import CommitmentError, Slot

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "vectors" / "grant_steps.json").read_text()
)


def made(vector: dict[str, Any], values: dict[str, Any]) -> bytes:
    seed = bytes.fromhex(vector["seed"])
    slots = [Slot(party["organization"], party["sequence"]) for party in vector["parties"]]
    return commitments.entry_body(
        vector["kind"],
        log=vector["log"],
        at=commitments.parse_timestamp(vector["at"]),
        subject_ref=bytes.fromhex(vector["grant_ref"]),
        seq=vector["seq"],
        prev=bytes.fromhex(vector["prev"]),
        commitments=commitments.commit(vector["kind"], seed, values),
        parties=commitments.commit_parties(seed, slots),
    )


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["kind"] for vector in VECTORS])
def test_the_published_vector_comes_out_of_the_same_facts(vector: dict[str, Any]) -> None:
    entry = made(vector, vector["values"])

    assert entry.decode() == vector["entry"]
    assert tree.leaf_hash(entry).hex() == vector["leaf_hash"]
    assert commitments.FIELDS[vector["kind"]] == (vector["values"].keys(), frozenset())


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["kind"] for vector in VECTORS])
def test_a_kind_neither_lacks_a_field_nor_has_another(vector: dict[str, Any]) -> None:
    for field in vector["values"]:
        with pytest.raises(CommitmentError, match=field):
            made(
                vector, {name: vector["values"][name] for name in vector["values"].keys() - {field}}
            )
    with pytest.raises(CommitmentError, match="more"):
        made(vector, {**vector["values"], "more": 1})


def test_what_was_made_is_not_what_a_kind_with_public_members_is() -> None:
    body = json.loads(VECTORS[0]["entry"])
    with pytest.raises(CommitmentError, match="shows other members"):
        commitments.parse_body(
            json.dumps({**body, "public": {"x": 1}}, sort_keys=True, separators=(",", ":")).encode()
        )
