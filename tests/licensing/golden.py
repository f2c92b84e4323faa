"""Golden vectors of single entries, as tests read them; made without this package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from licensing.ledger import commitments, notes, receipts, tree
from licensing.ledger.commitments import Slot

Vector = dict[str, Any]


def load(name: str) -> list[Vector]:
    """The vectors of a file, each with kind, values, seed, parties, entry and leaf hash."""
    path = Path(__file__).parent / "vectors" / f"{name}.json"
    vectors: list[Vector] = json.loads(path.read_text())
    return vectors


def made(vector: Vector, values: Mapping[str, Any]) -> bytes:
    """The entry that our code writes of a vector's facts, with these values."""
    seed, ref = bytes.fromhex(vector["seed"]), commitments.ref_name(vector["kind"])
    return commitments.entry_body(
        vector["kind"],
        log=vector["log"],
        at=commitments.parse_timestamp(vector["at"]),
        subject_ref=bytes.fromhex(vector[ref]),
        seq=vector["seq"],
        prev=None if vector["prev"] is None else bytes.fromhex(vector["prev"]),
        commitments=commitments.commit(vector["kind"], seed, values),
        parties=commitments.commit_parties(seed, _slots(vector)),
    )


def opened(vector: Vector, values: Mapping[str, Any]) -> dict[str, Any]:
    """What opens that entry for its first party."""
    seed = bytes.fromhex(vector["seed"])
    return commitments.openings(vector["kind"], seed, values, v=2, slot=_slots(vector)[0])


def proven(vector: Vector, **changed: Any) -> receipts.Verified:
    """As a receipt of it would be, in a log of one entry; `changed` are values of another's."""
    values = vector["values"] | changed
    entry, shown = made(vector, values), opened(vector, values)
    body, leaf = commitments.parse_body(entry), tree.leaf_hash(entry)
    return receipts.Verified(
        body=body,
        index=0,
        leaf_hash=leaf,
        checkpoint=notes.Checkpoint("example.org/ledger/test", 1, leaf),
        verified=(),
        unverified=(),
        values=commitments.check_openings(body, shown),
        party=commitments.check_party(body, shown),
        undisclosed=(),
    )


def _slots(vector: Vector) -> list[Slot]:
    return [Slot(party["organization"], party["sequence"]) for party in vector["parties"]]
