"""What was delivered, as it is published: golden vectors, made without this package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from licensing.ledger import commitments, notes, receipts, tree
from licensing.ledger.commitments import CommitmentError, Slot
from licensing.offline import verify

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "vectors" / "deliveries.json").read_text()
)
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=["first", "late"])


def made(vector: dict[str, Any], values: dict[str, Any]) -> bytes:
    seed = bytes.fromhex(vector["seed"])
    slots = [Slot(party["organization"], party["sequence"]) for party in vector["parties"]]
    return commitments.entry_body(
        vector["kind"],
        log=vector["log"],
        at=commitments.parse_timestamp(vector["at"]),
        subject_ref=bytes.fromhex(vector["delivery_ref"]),
        seq=vector["seq"],
        prev=None if vector["prev"] is None else bytes.fromhex(vector["prev"]),
        commitments=commitments.commit(vector["kind"], seed, values),
        parties=commitments.commit_parties(seed, slots),
    )


def proven(vector: dict[str, Any], **changed: Any) -> receipts.Verified:
    """As a receipt of it would be, in a log of one entry; `changed` is what others may open."""
    values = vector["values"] | changed
    entry = made(vector, values)
    body = commitments.parse_body(entry)
    party = vector["parties"][0]
    opened = commitments.openings(
        vector["kind"],
        bytes.fromhex(vector["seed"]),
        values,
        v=2,
        slot=Slot(party["organization"], party["sequence"]),
    )
    leaf = tree.leaf_hash(entry)
    return receipts.Verified(
        body=body,
        index=0,
        leaf_hash=leaf,
        checkpoint=notes.Checkpoint("example.org/ledger/test", 1, leaf),
        verified=(),
        unverified=(),
        values=commitments.check_openings(body, opened),
        party=commitments.check_party(body, opened),
        undisclosed=(),
    )


@each_vector
def test_the_published_vector_comes_out_of_the_same_facts(vector: dict[str, Any]) -> None:
    entry = made(vector, vector["values"])

    assert entry.decode() == vector["entry"]
    assert tree.leaf_hash(entry).hex() == vector["leaf_hash"]


@each_vector
def test_the_kind_neither_lacks_a_field_nor_has_another(vector: dict[str, Any]) -> None:
    always, sometimes = commitments.FIELDS[vector["kind"]]
    assert (always, sometimes) == (vector["values"].keys(), frozenset())
    for field in always:
        less = {name: value for name, value in vector["values"].items() if name != field}
        with pytest.raises(CommitmentError, match=field):
            made(vector, less)
    with pytest.raises(CommitmentError, match="more"):
        made(vector, {**vector["values"], "more": 1})


def test_the_second_follows_the_first() -> None:
    first, second = (commitments.parse_body(each["entry"].encode()) for each in VECTORS)
    assert (first.seq, first.prev, second.seq) == (0, None, 1)
    assert second.prev is not None
    assert second.prev.hex() == VECTORS[0]["leaf_hash"]
    assert first.subject_ref == second.subject_ref


SAID = {
    0: [
        "  grant           grt_01k3x3hzv6f8v8cq1m4t5n6p7s",
        "  day             2027-02-11 by UTC, part 0",
        "  coverage        snapshot of 120 items (120,000 bytes, 120 works), citation ",
        "  manifests       at least 2 answers, 61,204 bytes",
        "  works           at least 118 answers, 118,000 bytes",
    ],
    1: [
        "  day             2027-02-11 by UTC, part 1",
        "  redirects       at least 2 answers, 2,000 bytes",
        "  shards          at least 1 answers, 122,880 bytes",
    ],
}


@each_vector
def test_a_receipt_says_what_was_delivered_and_gives_no_license(vector: dict[str, Any]) -> None:
    found = proven(vector)
    text = verify.describe(found)
    for said in SAID[vector["seq"]]:
        assert any(line.startswith(said) for line in text.splitlines()), (said, text)
    assert not any(line.startswith(("  issued", "  price")) for line in text.splitlines())
    assert text.count("at least") == 2
    # It cites what was covered, and licenses nothing.
    assert verify.cited(found) == frozenset()
    assert verify.report(found)["delivery_ref"] == vector["delivery_ref"]


@pytest.mark.parametrize(
    "delivered",
    [None, "much", 3, [1], {"works": 5}, {"works": {"answers": "1", "bytes": 2}}, {"works": []}],
)
def test_a_receipt_that_counts_in_another_way_is_shown_as_it_stands(delivered: Any) -> None:
    text = verify.describe(proven(VECTORS[0], delivered=delivered))
    assert "at least" not in text
    assert "2027-02-11" in text
