"""The only door to the ledger: recording facts together with what they are about."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from licensing import jcs, packing
from licensing.ledger import commitments, tree
from licensing.models import LedgerEntry

# The test log and the live one: own origins, own keys, no entry in common.
LOGS = commitments.LOGS


class LedgerCorrupted(Exception):
    """What is stored contradicts a hash over it: the log stops until a person has looked."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something to record.

    The public body carries one commitment for each of `values`; what opens them is kept for
    `parties` only. `prev` is the leaf hash of the subject's entry before, None for its first.
    """

    log: str
    kind: str
    subject_ref: bytes
    seq: int
    prev: bytes | None
    values: Mapping[str, Any]
    parties: Iterable[UUID]
    at: datetime


# One statement: an entry is recorded with every grant.
_APPEND = """
WITH entry AS (
    INSERT INTO licensing_ledgerentry (log, kind, subject_ref, seq, body, leaf_hash, created_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id
), opening AS (
    INSERT INTO licensing_ledgeropening (entry_id, parties, seed, packed)
    SELECT id, %s::uuid[], %s, %s FROM entry
)
INSERT INTO licensing_ledgerpending (entry_id, log) SELECT id, %s FROM entry RETURNING entry_id
"""

# One statement for all of them; the parties of each come as the text of an array, because
# PostgreSQL's arrays of arrays are rectangles. The keys are taken before anything is inserted, in
# the facts' order: what comes back then needs no matching.
_APPEND_MANY = """
WITH fact AS MATERIALIZED (
    SELECT nextval('licensing_ledgerentry_id_seq') AS id, given.* FROM (
        SELECT * FROM unnest(
            %s::text[], %s::text[], %s::bytea[], %s::int[], %s::bytea[], %s::bytea[],
            %s::timestamptz[], %s::text[], %s::bytea[], %s::bytea[]
        ) WITH ORDINALITY AS each (
            log, kind, subject_ref, seq, body, leaf_hash, at, parties, seed, opened, place
        ) ORDER BY place
    ) given
), entry AS (
    INSERT INTO licensing_ledgerentry
        (id, log, kind, subject_ref, seq, body, leaf_hash, created_at)
    SELECT id, log, kind, subject_ref, seq, body, leaf_hash, at FROM fact
), opening AS (
    INSERT INTO licensing_ledgeropening (entry_id, parties, seed, packed)
    SELECT id, parties::uuid[], seed, opened FROM fact
), pending AS (
    INSERT INTO licensing_ledgerpending (entry_id, log) SELECT id, log FROM fact
)
SELECT id FROM fact ORDER BY place
"""
_AT_ONCE = 2_000


def name(*, livemode: bool) -> str:
    """The log that records what happens in this mode."""
    return "live" if livemode else "test"


def append(
    *,
    log: str,
    kind: str,
    subject_ref: bytes,
    seq: int,
    prev: bytes | None,
    values: Mapping[str, Any],
    parties: Iterable[UUID],
    at: datetime,
) -> LedgerEntry:
    """Record a fact, in the transaction of the row that it is about.

    The entry's place in the log is given after commit, by `sequencer`.
    """
    entry, seed, opened = _made(Fact(log, kind, subject_ref, seq, prev, values, parties, at))
    with connection.cursor() as cursor:
        cursor.execute(
            _APPEND,
            (
                *(log, kind, subject_ref, seq, bytes(entry.body), bytes(entry.leaf_hash), at),
                *(list(parties), seed, opened, log),
            ),
        )
        (entry.pk,) = cursor.fetchone() or (None,)
    return entry


def append_many(facts: Sequence[Fact]) -> list[LedgerEntry]:
    """Record many facts as `append` does each, in their order: a statement for each 2,000."""
    entries = []
    for start in range(0, len(facts), _AT_ONCE):
        chunk = facts[start : start + _AT_ONCE]
        made = [_made(fact) for fact in chunk]
        columns = (
            [fact.log for fact in chunk],
            [fact.kind for fact in chunk],
            [fact.subject_ref for fact in chunk],
            [fact.seq for fact in chunk],
            [bytes(entry.body) for entry, _seed, _opened in made],
            [bytes(entry.leaf_hash) for entry, _seed, _opened in made],
            [fact.at for fact in chunk],
            [_array(fact.parties) for fact in chunk],
            [seed for _entry, seed, _opened in made],
            [opened for _entry, _seed, opened in made],
        )
        with connection.cursor() as cursor:
            cursor.execute(_APPEND_MANY, columns)
            for (entry, _seed, _opened), (pk,) in zip(made, cursor.fetchall(), strict=True):
                entry.pk = pk
                entries.append(entry)
    return entries


def _array(parties: Iterable[UUID]) -> str:
    return "{" + ",".join(party.hex for party in parties) + "}"


def _made(fact: Fact) -> tuple[LedgerEntry, bytes, bytes]:
    """An entry that is not stored yet, its seed, and what opens it."""
    # An entry that outlives the fact's own transaction would record what never happened.
    assert connection.in_atomic_block, "A fact and its entry commit together."
    assert fact.log in LOGS, f"There is no log “{fact.log}”."
    seed = os.urandom(commitments.SEED_LENGTH)
    body = commitments.entry_body(
        fact.kind,
        log=fact.log,
        at=fact.at,
        subject_ref=fact.subject_ref,
        seq=fact.seq,
        prev=fact.prev,
        commitments=commitments.commit(fact.kind, seed, fact.values),
    )
    entry = LedgerEntry(
        log=fact.log,
        kind=fact.kind,
        subject_ref=fact.subject_ref,
        seq=fact.seq,
        body=body,
        leaf_hash=tree.leaf_hash(body),
        created_at=fact.at,
    )
    entry._state.adding = False
    return entry, seed, packing.pack(jcs.dumps(dict(fact.values)))
