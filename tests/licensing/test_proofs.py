"""Receipts made from the stored tree, and what stops them."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from licensing.ledger import proofs, receipts, sequencer, signer, tiles, tree
from licensing.ledger.log import LedgerCorrupted
from licensing.models import LedgerLeaf, LedgerOpening
from marketplace import access
from marketplace.models import Organization
from tests.database import TestDatabase
from tests.ledger import append, append_many, tamper
from tests.people import caller_for


def verified(receipt: bytes | None, log: str = "test") -> receipts.Verified:
    assert receipt is not None
    return receipts.verify(receipts.parse(receipt), [signer.load(log).verifier])


@pytest.mark.django_db
def test_there_is_no_receipt_before_place_and_signature() -> None:
    entry = append_many(1)[0]
    assert proofs.receipt(entry, None) is None

    sequencer.integrate("test")
    assert proofs.receipt(entry, None) is None

    sequencer.sign("test")
    assert verified(proofs.receipt(entry, None)).leaf_hash == bytes(entry.leaf_hash)


@pytest.mark.django_db
def test_every_entry_has_a_receipt_that_verifies_while_the_log_grows() -> None:
    entries = []
    for step in (1, 2, 253, 1, 44):
        entries += append_many(step)
        sequencer.run_once()
        for entry in entries[:: max(1, len(entries) // 20)]:
            found = verified(proofs.receipt(entry, None))
            assert (found.index, found.checkpoint.size) == (entries.index(entry), len(entries))


@pytest.mark.django_db
def test_a_receipt_is_opened_for_its_parties_only(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    with access.acting(caller_for(archive)):
        entry = append(values={"text": "nine works"}, parties=[archive.pk, lab.pk])
    sequencer.run_once()

    read = {}
    for organization in (archive, lab, stranger):
        caller = caller_for(organization)
        with access.acting(caller, writing=False):
            found = verified(proofs.receipt_for(caller, entry))
        read[organization.name] = (dict(found.values), found.undisclosed)

    opened, closed = ({"text": "nine works"}, ()), ({}, ("text",))
    assert read == {"Archive": opened, "Lab": opened, "Stranger": closed}


@pytest.mark.django_db
def test_a_receipt_outlives_the_erasure_of_what_it_opened(archive: Organization) -> None:
    caller = caller_for(archive)
    with access.acting(caller):
        entry = append(values={"text": "a person's name"}, parties=[archive.pk])
        openings = LedgerOpening.objects.visible_to(caller).filter(entry=entry)
        assert openings.count() == 1
        openings.delete()
    sequencer.run_once()

    with access.acting(caller, writing=False):
        found = verified(proofs.receipt_for(caller, entry))

    assert (dict(found.values), found.undisclosed) == ({}, ("text",))


@pytest.mark.django_db(transaction=True)
def test_a_receipt_that_would_not_verify_is_not_handed_out(test_database: TestDatabase) -> None:
    entries = append_many(5)
    sequencer.run_once()
    tamper(
        test_database,
        "licensing_ledgerleaf",
        "UPDATE licensing_ledgerleaf SET leaf_hash = sha256('x') WHERE index = 3",
    )

    with pytest.raises(LedgerCorrupted, match=f"Entry {entries[2].pk} cannot be proven at size 5"):
        proofs.receipt(entries[2], None)


@pytest.mark.django_db
def test_a_proof_reads_each_tile_once() -> None:
    """Level 0 whole or partial, and the roots of the whole tiles: never all 600 leaves."""
    append_many(600)
    sequencer.run_once()
    leaves = [bytes(row.leaf_hash) for row in LedgerLeaf.objects.order_by("index")]
    stored = tiles.StoredTree("test", 600)

    with CaptureQueriesContext(
        connection,
    ) as queries:
        proof = tree.inclusion_proof(300, 600, stored.node)

    tree.verify_inclusion(300, 600, leaves[300], proof, stored.root())
    # Tile 0/1 around the leaf, tile 1/0 for its left neighbor, tile 0/2 for the right edge.
    assert len(queries) == 3
