"""How a grant stood when its status was last proven: what `verify --status` adds to a receipt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from licensing import status_proofs
from licensing.ledger import commitments, notes, receipts
from licensing.status_proofs import Proven

NOT_IN_FORCE = 4


def check(data: bytes, receipt: receipts.Verified, keys: Sequence[notes.Verifier]) -> Proven:
    """Check a status proof, and that it speaks of a sound receipt. Raises ReceiptError."""
    proven = status_proofs.verify(status_proofs.parse(data), keys)
    status_proofs.check_speaks_of(proven, receipt)
    return proven


def report(proven: Proven, receipt: receipts.Verified) -> dict[str, Any]:
    """For programs: what stands as `status` beside what the receipt proves."""
    return {
        "state": proven.state,
        "in_force": proven.is_in_force,
        "as_of": commitments.timestamp(proven.as_of),
        "number": proven.number,
        "last_leaf": proven.last_leaf.hex(),
        "receipt_is_newest": proven.last_leaf == receipt.leaf_hash,
    }


def describe(proven: Proven, receipt: receipts.Verified) -> str:
    """For people."""
    state = "in force" if proven.is_in_force else proven.state
    text = f"{state} as of {commitments.timestamp(proven.as_of)} (status root {proven.number})"
    if proven.last_leaf != receipt.leaf_hash:
        text += "\nMore was recorded of this grant after the receipt: entry with the leaf hash "
        text += proven.last_leaf.hex()
    return text
