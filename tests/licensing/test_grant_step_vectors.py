"""What becomes of a grant as it is published: golden vectors, made without this package."""

from __future__ import annotations

import json
from typing import Any

import pytest

from licensing.ledger import commitments, tree
from licensing.ledger.commitments import CommitmentError
from tests.licensing.golden import load, made

VECTORS = load("grant_steps")


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
