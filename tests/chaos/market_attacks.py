"""What a superuser may do to grants, to status roots, to changes of keys, and to frozen logs.

Named as in the second table of api_docs/ledger_threats.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings

from licensing import status
from licensing.ledger import notes, sequencer, signer
from licensing.models import Grant
from marketplace import access
from marketplace.models import Organization
from tests.people import ApiClient

TABLES = (
    "agreement",
    "coverage",
    "grant",
    "grantevent",
    "ledgercontinuation",
    "ledgerkeychange",
    "period",
    "statuschange",
    "statusleaf",
    "statusroot",
)


@dataclass
class Market:
    """Two grants, one of them revoked; and what their parties keep."""

    super: psycopg.Connection[Any]
    licensor: Organization
    licensee: Organization
    client: ApiClient
    active: Grant
    revoked: Grant
    # Of each grant's newest entry.
    receipts: dict[str, bytes]

    def execute(self, statement: str, values: Any = None) -> None:
        tables = "|".join(TABLES)
        self.super.execute(re.sub(rf"\b({tables})!", r"licensing_\1", statement), values)

    def copy(self, table: str, key: str, value: Any, changes: str) -> None:
        """Put a row there once more, with another id and these changes (SQL: name, value …)."""
        self.execute(
            f"INSERT INTO {table}! SELECT (jsonb_populate_record(row, jsonb_build_object("
            f"'id', gen_random_uuid(), {changes}))).* FROM {table}! row WHERE {key} = %s",
            [value],
        )


Attack = Callable[[Market], None]
# One that is no grant's.
ANY_ENTRY = "(SELECT min(id) FROM licensing_ledgerentry)"
ATTACKS: dict[str, Attack] = {}


def attack(made: Attack) -> Attack:
    ATTACKS[f"M{len(ATTACKS) + 1}"] = made
    return made


# --- what a grant permits ---


@attack
def widen_a_scope(market: Market) -> None:
    market.execute(
        """UPDATE period! SET scope = '{"uses": ["pretrain", "finetune"], "territories": ["*"]}'"""
        " WHERE grant_id = %s",
        [market.active.pk],
    )


@attack
def lengthen_a_window(market: Market) -> None:
    market.execute(
        "UPDATE period! SET training_window ="
        " tstzrange(lower(training_window), upper(training_window) + interval '9 years')"
        " WHERE grant_id = %s",
        [market.active.pk],
    )


@attack
def lower_a_price(market: Market) -> None:
    market.execute(
        "UPDATE period! SET price_basis = jsonb_set(price_basis, '{amount_minor}', '1')"
        " WHERE grant_id = %s",
        [market.active.pk],
    )


@attack
def exchange_a_contract(market: Market) -> None:
    market.execute(
        "UPDATE agreement! SET document = 'Another.',"
        " document_sha256 = sha256(convert_to('Another.', 'UTF8')) WHERE id = %s",
        [market.active.agreement_id],
    )


@attack
def cover_what_nobody_licensed(market: Market) -> None:
    """Another row, by an entry that is about something else."""
    with access.system("an attacker looks"):
        other = market.revoked.coverage.get().snapshot_id
    market.copy(
        "coverage",
        "grant_id",
        market.active.pk,
        f"'snapshot_id', '{other.hex}', 'entry_id', {ANY_ENTRY}",
    )


@attack
def cover_nothing(market: Market) -> None:
    market.execute("DELETE FROM coverage! WHERE grant_id = %s", [market.active.pk])


@attack
def give_a_grant_without_an_entry(market: Market) -> None:
    """Its row names the entry of something else."""
    market.execute("CREATE TEMPORARY TABLE made AS SELECT gen_random_uuid() AS id")
    market.copy(
        "agreement",
        "id",
        market.active.agreement_id,
        "'id', (SELECT id FROM made), 'made_by', 'by hand'",
    )
    market.copy(
        "grant",
        "id",
        market.active.pk,
        "'agreement_id', (SELECT id FROM made), 'grant_ref', '\\x' || repeat('ab', 16),"
        f" 'issued_entry_id', {ANY_ENTRY}",
    )


@attack
def delete_a_grant(market: Market) -> None:
    for table in ("coverage", "period", "grantevent"):
        market.execute(f"DELETE FROM {table}! WHERE grant_id = %s", [market.active.pk])
    market.execute("DELETE FROM grant! WHERE id = %s", [market.active.pk])


# --- how it stands ---


@attack
def forget_a_revocation(market: Market) -> None:
    market.execute("DELETE FROM grantevent! WHERE grant_id = %s", [market.revoked.pk])


@attack
def undo_a_revocation(market: Market) -> None:
    forget_a_revocation(market)
    market.execute(
        "UPDATE grant! SET status = 'active', ended_at = NULL WHERE id = %s", [market.revoked.pk]
    )


@attack
def undo_a_revocation_and_commit_to_it(market: Market) -> None:
    undo_a_revocation(market)
    make_a_root(market, market.revoked)


@attack
def revoke_without_an_entry(market: Market) -> None:
    market.execute(
        "UPDATE grant! SET status = 'revoked', ended_at = now() WHERE id = %s", [market.active.pk]
    )
    make_a_root(market, market.active)


def make_a_root(market: Market, grant: Grant) -> None:
    """As the worker does for a grant whose status changed."""
    market.execute(
        "INSERT INTO statuschange! (log, grant_ref) VALUES ('test', %s)", [bytes(grant.grant_ref)]
    )
    assert status.record("test") is not None
    sequencer.run_once()


@attack
def edit_a_status_leaf(market: Market) -> None:
    market.execute(
        "UPDATE statusleaf! SET state = 1 WHERE grant_ref = %s", [bytes(market.revoked.grant_ref)]
    )


@attack
def edit_a_status_root(market: Market) -> None:
    market.execute("UPDATE statusroot! SET root = set_byte(root, 0, 255 - get_byte(root, 0))")


@attack
def delete_the_newest_status_root(market: Market) -> None:
    newest = "(SELECT max(number) FROM statusroot!)"
    market.execute(f"DELETE FROM statusleaf! WHERE number = {newest}")
    market.execute(f"DELETE FROM statusroot! WHERE number = {newest}")


# --- a log whose key was changed, and one that was frozen ---

LOG_ATTACKS: dict[str, Callable[[psycopg.Connection[Any]], None]] = {}


def of_a_log(name: str) -> Callable[[Any], Any]:
    def keep(made: Callable[[psycopg.Connection[Any]], None]) -> Any:
        LOG_ATTACKS[name] = made
        return made

    return keep


@of_a_log("K1")
def forget_a_change_of_key(opened: psycopg.Connection[Any]) -> None:
    opened.execute("DELETE FROM licensing_ledgerkeychange")


@of_a_log("K2")
def announce_another_key(opened: psycopg.Connection[Any]) -> None:
    stranger = notes.Signer(signer.origin("test"), os.urandom(32)).verifier.vkey()
    opened.execute("UPDATE licensing_ledgerkeychange SET new_vkey = %s", [stranger])


@of_a_log("F1")
def edit_what_a_frozen_log_kept(opened: psycopg.Connection[Any]) -> None:
    opened.execute("UPDATE licensing_ledgercontinuation SET known = known + 1")


@of_a_log("F2")
def edit_the_size_it_was_frozen_at(opened: psycopg.Connection[Any]) -> None:
    opened.execute("UPDATE licensing_ledgercontinuation SET size = size - 1")


@of_a_log("F3")
def forget_that_it_was_frozen(opened: psycopg.Connection[Any]) -> None:
    opened.execute("DELETE FROM licensing_ledgercontinuation")


@of_a_log("F4")
def add_to_a_frozen_log(opened: psycopg.Connection[Any]) -> None:
    opened.execute(
        "INSERT INTO licensing_ledgerleaf (log, index, entry_id, leaf_hash)"
        " VALUES ('test', 5, -1, sha256(''))"
    )


@of_a_log("F5")
def thaw_its_guard(_opened: psycopg.Connection[Any]) -> None:
    path = Path(settings.LEDGER_GUARD) / "test.guard"
    path.write_text(path.read_text().removesuffix("frozen\n"))


@of_a_log("F6")
def forget_that_it_was_frozen_and_thaw_its_guard(opened: psycopg.Connection[Any]) -> None:
    forget_that_it_was_frozen(opened)
    thaw_its_guard(opened)
