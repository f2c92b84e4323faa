"""What was delivered, as it is published: golden vectors, made without this package."""

from __future__ import annotations

from typing import Any

import pytest

from licensing.ledger import commitments, tree
from licensing.ledger.commitments import CommitmentError
from licensing.offline import verify
from tests.licensing.golden import load, made, proven

VECTORS = load("deliveries")
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=["first", "late"])


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
