"""The rules of the table of continued logs, each broken on purpose: for test_constraints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from licensing.models import LedgerContinuation
from tests import ledger


def continued(**fields: Any) -> None:
    of = {"log": "test", "number": 2, "ref": bytes(16), "size": 9, "checkpoint": "n", "known": 5}
    LedgerContinuation.objects.create(**of | {"entry": ledger.append()} | fields)


def _twice_of_one_entry(_world: Any) -> None:
    entry = ledger.append()
    continued(entry=entry)
    continued(entry=entry, number=3)


BREAKS: dict[str, Callable[[Any], Any]] = {
    "ledger_continues_once": lambda _w: (continued(), continued()),
    "ledger_continuation_is_a_later_one": lambda _w: continued(number=1),
    "ledger_continuation_knows_what_was_signed": lambda _w: continued(known=10),
    "ledger_continuation_ref_is_16_bytes": lambda _w: continued(ref=b"short"),
    "licensing_ledgercontinuation_entry_id_key": _twice_of_one_entry,
}

# What the application has no right to do to the log's own tables.
FORBIDDEN = [
    "UPDATE licensing_ledgercosignature SET line = ''",
    "DELETE FROM licensing_ledgercosignature",
    "DELETE FROM licensing_ledgercontinuation",
    "DELETE FROM licensing_ledgerleaf",
    "DELETE FROM licensing_ledgertree",
    "DELETE FROM licensing_ledgertile",
]
