"""The only door to the ledger: recording a fact together with what it is about."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from licensing import jcs
from licensing.ledger import commitments, tree
from licensing.models import LedgerEntry

# The test log and the live one: own origins, own keys, no entry in common.
LOGS = commitments.LOGS


class LedgerCorrupted(Exception):
    """What is stored contradicts a hash over it: the log stops until a person has looked."""


# One statement: an entry is recorded with every grant.
_APPEND = """
WITH entry AS (
    INSERT INTO licensing_ledgerentry (log, kind, subject_ref, seq, body, leaf_hash, created_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id
), opening AS (
    INSERT INTO licensing_ledgeropening (entry_id, parties, seed, values)
    SELECT id, %s::uuid[], %s, %s FROM entry
)
INSERT INTO licensing_ledgerpending (entry_id, log) SELECT id, %s FROM entry RETURNING entry_id
"""


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

    The public body carries one commitment for each of `values`; what opens them is kept for
    `parties` only. `prev` is the leaf hash of the subject's entry before, None for its first.
    The entry's place in the log is given after commit, by `sequencer`.
    """
    # An entry that outlives the fact's own transaction would record what never happened.
    assert connection.in_atomic_block, "A fact and its entry commit together."
    assert log in LOGS, f"There is no log “{log}”."
    seed = os.urandom(commitments.SEED_LENGTH)
    body = commitments.entry_body(
        kind,
        log=log,
        at=at,
        grant_ref=subject_ref,
        seq=seq,
        prev=prev,
        commitments=commitments.commit(kind, seed, values),
    )
    entry = LedgerEntry(
        log=log,
        kind=kind,
        subject_ref=subject_ref,
        seq=seq,
        body=body,
        leaf_hash=tree.leaf_hash(body),
        created_at=at,
    )
    opened = jcs.dumps(dict(values)).decode()
    with connection.cursor() as cursor:
        cursor.execute(
            _APPEND,
            (
                *(log, kind, subject_ref, seq, body, bytes(entry.leaf_hash), at),
                *(list(parties), seed, opened, log),
            ),
        )
        (entry.pk,) = cursor.fetchone() or (None,)
    entry._state.adding = False
    return entry
