"""A log that lost what it signed, for tests that freeze it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from licensing.ledger import proofs, sequencer, signer
from licensing.models import (
    Grant,
    LedgerCheckpoint,
    LedgerEntry,
    LedgerLeaf,
    LedgerOpening,
    LedgerPending,
    LedgerTree,
)
from marketplace import access
from marketplace.models import Organization
from tests.database import TestDatabase
from tests.ledger import grow, lose_tail
from tests.make import issue_grant, make_offer

ORIGIN = "licet.example/ledger/test"


class World:
    """A log of 9 entries, of which a restored backup has 5, and a copy that cannot help."""

    def __init__(
        self,
        directory: Path,
        settings: Any,
        database: TestDatabase,
        seller: Organization,
        buyer: Organization,
    ) -> None:
        # Keys of its own: it makes one more.
        self.keys = settings.LEDGER_KEY_DIR = directory / "keys"
        for name in ("test", "live"):
            signer.create(name)
        settings.LEDGER_EXPORT = str(directory / "copy")
        self.settings = settings
        self.copy, self.directory, self.database = directory / "copy", directory, database
        self.buyer, self.offer = buyer, make_offer(seller)
        self.old = issue_grant(buyer, self.offer)
        # Whatever the offer recorded is among them.
        grow(5 - LedgerEntry.objects.filter(log="test").count())
        # The backup has this one's entry, without a place.
        self.grant = issue_grant(buyer, self.offer)
        sequencer.run_once()
        grow(3)
        self.old_receipt = self.receipt_of(self.old)
        self.last = directory / "checkpoint"
        self.last.write_text(LedgerCheckpoint.objects.get(log="test", size=9).note)
        self.lost_receipt = self.receipt_of(self.grant)

    def lose(self, *, waiting: int = 1) -> None:
        lose_tail(self.database, 5, waiting=waiting)
        bundle = self.copy / "test" / "tile" / "entries" / "000.p" / "9"
        bundle.unlink(missing_ok=True)

    def receipt_of(self, grant: Grant) -> bytes:
        with access.system("a test takes a receipt"):
            entry = LedgerEntry.objects.get(pk=grant.issued_entry_id)
            receipt = proofs.receipt(entry, LedgerOpening.objects.get(entry=entry))
        assert receipt is not None
        return receipt

    def freeze(self, *arguments: str) -> str:
        return run("ledger_freeze", "--log=test", f"--checkpoint={self.last}", *arguments)

    def applied(self) -> str:
        return self.freeze(f"--apply={ORIGIN}")

    def refused(self, code: int, match: str, *arguments: str) -> None:
        """The command ends so, dry or not, and changes nothing."""
        before = self.state()
        for more in ((), (f"--apply={ORIGIN}",)):
            with pytest.raises(CommandError, match=match) as refusal:
                self.freeze(*arguments, *more)
            assert refusal.value.returncode == code
            assert self.state() == before

    def state(self) -> list[Any]:
        guards = Path(self.settings.LEDGER_GUARD)
        return [
            *(
                list(model.objects.order_by("pk").values_list())  # type: ignore[attr-defined]
                for model in (LedgerTree, LedgerLeaf, LedgerCheckpoint, LedgerPending)
            ),
            LedgerEntry.objects.count(),
            {path.name: path.read_bytes() for path in self.keys.glob("*.key")},
            {path.name: path.read_bytes() for path in guards.glob("*.guard")},
        ]


def run(command: str, *arguments: str) -> str:
    out = io.StringIO()
    call_command(command, *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()
