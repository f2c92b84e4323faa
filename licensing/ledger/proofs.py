"""Proofs that an entry is in its log: the receipts that parties take away."""

from __future__ import annotations

import json
from typing import Any

from licensing.ledger import commitments, log, notes, receipts, tiles, tree, witnessing
from licensing.ledger.log import LedgerCorrupted
from licensing.models import LedgerCheckpoint, LedgerEntry, LedgerLeaf, LedgerOpening, LedgerParty
from marketplace.access import Caller


def receipt(
    entry: LedgerEntry, opening: LedgerOpening | None, party: LedgerParty | None = None
) -> bytes | None:
    """Make the receipt file of an entry, with its openings and a party's number if given.

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
    return receipts.build(body, openings(entry, opening, party), leaf.index, proof, note)


def receipt_at(entry: LedgerEntry, checkpoint: LedgerCheckpoint) -> bytes:
    """The receipt of an entry that has nothing to open, against a given checkpoint."""
    leaf = LedgerLeaf.objects.get(entry=entry)
    body = bytes(entry.body)
    proof = _inclusion(leaf, checkpoint, body)
    return receipts.build(body, None, leaf.index, proof, checkpoint.note)


def receipt_for(caller: Caller, entry: LedgerEntry) -> bytes | None:
    """The receipt of an entry as a caller may have it: opened for its parties only."""
    opening = LedgerOpening.objects.visible_to(caller).filter(entry=entry).first()
    party = LedgerParty.objects.visible_to(caller).filter(entry=entry).first()
    return receipt(entry, opening, party)


def openings(
    entry: LedgerEntry, opening: LedgerOpening | None, party: LedgerParty | None
) -> dict[str, Any] | None:
    """What opens an entry for one party: all values, and its own number. None when erased."""
    if opening is None:
        return None
    return commitments.openings(
        entry.kind,
        bytes(opening.seed),
        json.loads(opening.values),
        v=commitments.parse_body(bytes(entry.body)).v,
        slot=None if party is None else log.slot(party.organization_id, party.sequence),
    )


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
