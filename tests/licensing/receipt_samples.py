"""Receipts to test with: the published vector, and others made in its likeness."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from licensing.ledger import commitments, notes, receipts, tree

VECTOR: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "ledger.json").read_text())
SEED = bytes.fromhex(VECTOR["seed"])
KEY_SEED = bytes.fromhex(VECTOR["log_key_seed"])


def signer(log: str = "test") -> notes.Signer:
    return notes.Signer(f"licet.example/ledger/{log}", KEY_SEED)


def make(
    *,
    log: str = "test",
    signed_as: str | None = None,
    values: Mapping[str, Any] = VECTOR["values"],
    disclosed: frozenset[str] | None = None,
    with_openings: bool = True,
    others: int = 5,
    index: int = 3,
    witnesses: tuple[notes.Signer, ...] = (),
) -> bytes:
    """A receipt for `values` at `index` of a log with `others` more entries."""
    kind = VECTOR["kind"]
    entry = commitments.entry_body(
        kind,
        log=log,
        at=commitments.parse_timestamp(VECTOR["at"]),
        subject_ref=bytes.fromhex(VECTOR["grant_ref"]),
        seq=0,
        prev=None,
        commitments=commitments.commit(kind, SEED, values),
        parties=None,
    )
    leaves = [tree.leaf_hash(b"another entry %d" % number) for number in range(others)]
    leaves.insert(index, tree.leaf_hash(entry))
    frontier = tree.Frontier()
    nodes = {(0, place): leaf for place, leaf in enumerate(leaves)}
    for leaf in leaves:
        nodes |= {(level, place): root for level, place, root in frontier.push(leaf)}
    key = signer(signed_as or log)
    checkpoint = notes.Checkpoint(key.verifier.name, frontier.size, frontier.root())
    return receipts.build(
        entry,
        commitments.openings(kind, SEED, values, disclosed, v=1) if with_openings else None,
        index,
        tree.inclusion_proof(index, len(leaves), lambda level, place: nodes[level, place]),
        notes.sign(checkpoint.text(), key, *witnesses),
    )
