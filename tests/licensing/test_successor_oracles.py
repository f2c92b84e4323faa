"""Verifiers that we did not write accept a frozen log's successor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from licensing.ledger import sequencer, signer, tiles, tree
from licensing.models import LedgerLeaf
from marketplace.models import Organization
from tests.database import TestDatabase
from tests.frozen import ORIGIN, World
from tests.ledger import grow
from tests.oracles.ledger_verifiers import (
    AicsTlog,
    Claim,
    GoChecksumDatabase,
    Metamorphic,
    SigstoreJavaScript,
    SigstorePython,
)

pytestmark = [pytest.mark.oracle, pytest.mark.django_db(transaction=True)]


def test_others_verify_the_successor_s_export_and_its_receipts(
    tmp_path: Path,
    settings: Any,
    test_database: TestDatabase,
    archive: Organization,
    lab: Organization,
) -> None:
    world = World(tmp_path, settings, test_database, archive, lab)
    world.lose()
    world.freeze(f"--apply={ORIGIN}")
    sequencer.run_once()
    grow(300)
    vkey, old = (signer.load(name).verifier.vkey() for name in ("test/2", "test"))
    stored, note = tiles.StoredTree("test/2", 302), (world.copy / "test/2/checkpoint").read_text()
    rows = LedgerLeaf.objects.filter(log="test/2", index__in=(0, 1, 255, 256, 301))
    claims = [
        Claim(
            note,
            bytes(row.entry.body),
            row.index,
            tuple(tree.inclusion_proof(row.index, 302, stored.node)),
        )
        for row in rows
    ]
    assert len(claims) == 5
    for verifier in (
        Metamorphic(),
        SigstorePython(),
        SigstoreJavaScript(),
        AicsTlog(),
        GoChecksumDatabase(),
    ):
        assert verifier.claims(vkey, claims) == [""] * 5
        assert "" not in verifier.claims(old, claims)
    for auditor in (AicsTlog(), GoChecksumDatabase()):
        assert auditor.exports(vkey, [world.copy / "test" / "2"]) == [""]
        assert auditor.exports(old, [world.copy / "test" / "2"]) != [""]
