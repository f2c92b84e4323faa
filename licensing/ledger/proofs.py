"""Proofs that an entry is in its log: the receipts that parties take away."""

from __future__ import annotations

import json

from licensing.ledger import commitments, notes, receipts, tiles, tree, witnessing
from licensing.ledger.log import LedgerCorrupted
from licensing.models import LedgerCheckpoint, LedgerEntry, LedgerLeaf, LedgerOpening
from marketplace.access import Caller


def receipt(entry: LedgerEntry, opening: LedgerOpening | None) -> bytes | None:
    """Make the receipt file of an entry, with its openings if they are given.

    Against the first tree that holds it and has a cosignature: that bounds best when it was
    recorded. Without one, against the newest. None while the entry has no place yet, or no signed
    checkpoint contains it. Verified before it is handed out: a receipt that its holder cannot
    verify is worth less than an error now.
    """
    leaf = LedgerLeaf.objects.filter(entry=entry).first()
    if leaf is None:
        return None
    cosigned = witnessing.earliest_cosigned(leaf.log, leaf.index)
    checkpoint = cosigned or tiles.newest_checkpoint(leaf.log)
    if checkpoint is None or checkpoint.size <= leaf.index:
        return None
    body = bytes(entry.body)
    proof = _inclusion(leaf, checkpoint, body)
    note = checkpoint.note if cosigned is None else witnessing.cosigned_note(cosigned)
    return receipts.build(body, _openings(entry, opening), leaf.index, proof, note)


def receipt_for(caller: Caller, entry: LedgerEntry) -> bytes | None:
    """The receipt of an entry as a caller may have it: opened for its parties only."""
    opening = LedgerOpening.objects.visible_to(caller).filter(entry=entry).first()
    return receipt(entry, opening)


def _inclusion(leaf: LedgerLeaf, checkpoint: LedgerCheckpoint, body: bytes) -> list[bytes]:
    text, _signatures = notes.split_note(checkpoint.note)
    signed = notes.parse_checkpoint(text)
    stored = tiles.StoredTree(leaf.log, signed.size)
    try:
        proof = tree.inclusion_proof(leaf.index, signed.size, stored.node)
        tree.verify_inclusion(leaf.index, signed.size, tree.leaf_hash(body), proof, signed.root)
    except (LookupError, tree.ProofError) as error:
        raise LedgerCorrupted(
            f"Entry {leaf.entry_id} cannot be proven at size {signed.size}: {error}."
        ) from error
    return proof


def _openings(entry: LedgerEntry, opening: LedgerOpening | None) -> dict[str, object] | None:
    if opening is None:
        return None
    values = json.loads(opening.values)
    return commitments.openings(entry.kind, bytes(opening.seed), values)
