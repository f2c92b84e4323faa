"""Status proofs to test with, made over a small log of their own: no database, and no key kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from licensing import status_proofs, status_tree
from licensing.ledger import commitments, notes, receipts, tree
from licensing.status_tree import STATES, Leaf
from tests.licensing import receipt_samples

SEED = receipt_samples.SEED
VALUES = receipt_samples.VECTOR["values"]
REF = bytes(range(16))
OTHERS = [bytes([n]) * 16 for n in (2, 200)]
ISSUED_AT = datetime(2026, 11, 24, 10, tzinfo=UTC)
AS_OF = datetime(2026, 11, 26, tzinfo=UTC)


@dataclass
class Log:
    """A log that grows in memory, and gives receipts against its newest tree."""

    name: str = "live"
    origin: str = ""
    bodies: list[bytes] = field(default_factory=list)

    def add(self, kind: str, subject_ref: bytes, *, seq: int = 0, **fields: Any) -> int:
        """Append an entry; gives its index."""
        values = fields.pop("values", {})
        prev = fields.pop("prev", None)
        self.bodies.append(
            commitments.entry_body(
                kind,
                log=self.name,
                subject_ref=subject_ref,
                seq=seq,
                prev=prev,
                commitments=commitments.commit(kind, SEED, values),
                parties=[],
                **fields,
            )
        )
        return len(self.bodies) - 1

    def issue(self, ref: bytes = REF, at: datetime = ISSUED_AT) -> int:
        return self.add("grant.issued", ref, at=at, values=VALUES)

    def status(
        self,
        rows: Sequence[tuple[bytes, int, bytes]],
        *,
        as_of: datetime = AS_OF,
        kind: str = "status.root",
        ref: bytes | None = None,
        public: Mapping[str, Any] = {},
    ) -> int:
        built = status_tree.build(rows)
        shown = {
            "tree": status_tree.TREE,
            "size": built.size,
            "root": built.root.hex(),
            "as_of": commitments.timestamp(as_of),
            "log_size": len(self.bodies),
            **public,
        }
        ref = status_tree.subject_ref(self.name) if ref is None else ref
        return self.add(kind, ref, at=as_of, public=shown)

    def leaf(self, index: int) -> bytes:
        return tree.leaf_hash(self.bodies[index])

    def receipt(self, index: int) -> bytes:
        frontier, nodes = tree.Frontier(), {}
        for place, body in enumerate(self.bodies):
            nodes[0, place] = tree.leaf_hash(body)
            for level, at, root in frontier.push(nodes[0, place]):
                nodes[level, at] = root
        key = notes.Signer(
            self.origin or f"licet.example/ledger/{self.name}", receipt_samples.KEY_SEED
        )
        signed = notes.Checkpoint(key.verifier.name, frontier.size, frontier.root())
        proof = tree.inclusion_proof(index, frontier.size, lambda level, at: nodes[level, at])
        opened = None
        if json.loads(self.bodies[index])["kind"] == "grant.issued":
            opened = commitments.openings("grant.issued", SEED, VALUES, v=2)
        return receipts.build(
            self.bodies[index], opened, index, proof, notes.sign(signed.text(), key)
        )

    def vkey(self) -> str:
        origin = self.origin or f"licet.example/ledger/{self.name}"
        return notes.Signer(origin, receipt_samples.KEY_SEED).verifier.vkey()


def rows(state: str, last_leaf: bytes, ref: bytes = REF) -> list[tuple[bytes, int, bytes]]:
    """The leaves of a small tree: one grant in this state, and two others."""
    others = [(each, STATES["active"], bytes([each[0]]) * 32) for each in OTHERS]
    return sorted([(ref, STATES[state], last_leaf), *others])


def proof(
    log: Log, root: int, leaves: Sequence[tuple[bytes, int, bytes]], ref: bytes = REF
) -> bytes:
    """The file that proves a grant's leaf by the root at this index of the log."""
    names = {byte: name for name, byte in STATES.items()}
    built = status_tree.build(leaves)
    read = [Leaf(each, names[byte], last) for each, byte, last in leaves]
    at = [leaf.grant_ref for leaf in read].index(ref)
    return status_proofs.build(status_tree.place(read, at, 0, built.blocks), log.receipt(root))


def made(
    state: str = "active", *, name: str = "live", as_of: datetime = AS_OF
) -> tuple[Log, bytes, bytes]:
    """A log with a grant and a root of its state: the log, the receipt, the status proof."""
    log = Log(name)
    issued = log.issue()
    leaves = rows(state, log.leaf(issued))
    root = log.status(leaves, as_of=as_of)
    return log, log.receipt(issued), proof(log, root, leaves)
