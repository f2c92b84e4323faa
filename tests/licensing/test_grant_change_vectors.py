"""What a grant is changed to, as it is published: golden vectors, made without this package."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from licensing.ledger import commitments, tree
from licensing.ledger.commitments import CommitmentError
from licensing.offline import entries, verify
from tests.licensing.golden import load, made, opened, proven

VECTORS = load("grant_changes")
KINDS = [vector["kind"] for vector in VECTORS]
SOMETIMES = {"price", "documents", "acceptance", "signatures"}
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=KINDS)


@each_vector
def test_the_published_vector_comes_out_of_the_same_facts(vector: dict[str, Any]) -> None:
    entry = made(vector, vector["values"])

    assert entry.decode() == vector["entry"]
    assert tree.leaf_hash(entry).hex() == vector["leaf_hash"]


@each_vector
def test_a_kind_neither_lacks_a_field_nor_has_another(vector: dict[str, Any]) -> None:
    always, sometimes = commitments.FIELDS[vector["kind"]]
    assert always == vector["values"].keys()
    assert sometimes <= SOMETIMES
    for field in always:
        less = {name: value for name, value in vector["values"].items() if name != field}
        with pytest.raises(CommitmentError, match=field):
            made(vector, less)
    with pytest.raises(CommitmentError, match="more"):
        made(vector, {**vector["values"], "more": 1})
    for field in sometimes:
        assert made(vector, {**vector["values"], field: "shown"})


def test_each_follows_the_one_before() -> None:
    assert KINDS == ["grant.coverage_added", "grant.amended", "grant.renewed"]
    bodies = [commitments.parse_body(vector["entry"].encode()) for vector in VECTORS]
    assert [body.seq for body in bodies] == [1, 2, 3]
    assert [body.prev and body.prev.hex() for body in bodies[1:]] == [
        vector["leaf_hash"] for vector in VECTORS[:-1]
    ]


def test_saved_pages_of_them_are_checked_offline() -> None:
    items = [
        {
            "object": "ledger_entry",
            "sequence": vector["parties"][0]["sequence"],
            "index": number,
            "log": vector["log"],
            "kind": vector["kind"],
            "subject_ref": vector["grant_ref"],
            "leaf_hash": vector["leaf_hash"],
            "entry": base64.b64encode(vector["entry"].encode()).decode(),
            "openings": opened(vector, vector["values"]),
        }
        for number, vector in enumerate(VECTORS)
    ]
    page = json.dumps({"object": "list", "data": items, "has_more": False}).encode()
    found = entries.check([("page", page)], after=1)
    assert (found.first, found.last, found.unproven) == (2, 4, ())


SAID = {
    "grant.coverage_added": [
        "  coverage        snapshot of 120 items (120,000 bytes, 120 works), citation ",
        "  snapshot        number 2, snp_01k3x3hzv6f8v8cq1m4t5n6p7t",
        "  counts from     2027-02-15T00:00:00.000000Z",
        "  additions       monthly",
    ],
    "grant.amended": [
        "  period          number 2, per_01k3x3hzv6f8v8cq1m4t5n6p7w",
        "  version         “Training”, number 2, trm_01k3x3hzv6f8v8cq1m4t5n6p7x",
        "  training window from 2027-04-01T00:00:00.000000Z until 2027-12-01T00:00:00.000000Z",
        "  accepted by     Lin Ünal, Counsel",
        "  takes over from period 1, typed terms SHA-256 ",
        "  counts from     2027-04-01T00:00:00.000000Z",
    ],
    "grant.renewed": [
        "  period          number 3, per_01k3x3hzv6f8v8cq1m4t5n6p7z",
        "  price           EUR 2,500.00 (250000 in minor units)",
        "  by              market",
        "  reference       ord_01k3x3hzv6f8v8cq1m4t5n6p80",
    ],
}


@each_vector
def test_a_receipt_says_what_was_changed(vector: dict[str, Any]) -> None:
    lines = verify.describe(proven(vector)).splitlines()
    for said in SAID[vector["kind"]]:
        assert any(line.startswith(said) for line in lines), (said, lines)
    assert not any(line.startswith("  issued") for line in lines)
    assert lines[-1] == (
        "This proves how the grant was changed and logged, not that it is still in force."
    )
