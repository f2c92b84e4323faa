"""The only door to the ledger: recording facts together with what they are about."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from licensing import jcs, packing
from licensing.ledger import commitments, tree
from licensing.models import LedgerEntry
from marketplace.typeid import TypeID

# The test log and the live one: own origins, own keys, no entry in common.
LOGS = commitments.LOGS


class LedgerCorrupted(Exception):
    """What is stored contradicts a hash over it: the log stops until a person has looked."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something to record.

    The public body carries one commitment for each of `values`; what opens them is kept for
    `parties` only. `prev` is the leaf hash of the subject's entry before, None for its first.
    `public` is what the kind shows to everybody (`commitments.PUBLIC`).
    """

    log: str
    kind: str
    subject_ref: bytes
    seq: int
    prev: bytes | None
    values: Mapping[str, Any]
    parties: Sequence[UUID]
    at: datetime
    public: Mapping[str, Any] = dataclasses.field(default_factory=dict)


# Counts up what each party of a log has, and locks it until the transaction ends. In one order for
# all, by log and organization, or two recordings could wait for each other.
_ADVANCE = """
SELECT log, organization_id, last FROM ledger_advance(%s::text[], %s::uuid[], %s::int[])
"""

# One statement: an entry is recorded with every grant.
_APPEND = """
WITH entry AS (
    INSERT INTO licensing_ledgerentry (log, kind, subject_ref, seq, body, leaf_hash, created_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id
), opening AS (
    INSERT INTO licensing_ledgeropening (entry_id, parties, seed, packed)
    SELECT id, %s::uuid[], %s, %s FROM entry
), party AS (
    INSERT INTO licensing_ledgerparty (log, organization_id, sequence, entry_id)
    SELECT %s, organization_id, sequence, id
    FROM entry, unnest(%s::uuid[], %s::bigint[]) AS each (organization_id, sequence)
)
INSERT INTO licensing_ledgerpending (entry_id, log, not_before)
SELECT id, %s, %s::timestamptz FROM entry RETURNING entry_id
"""

# One statement for all of them; the parties of each and their numbers come as the text of arrays,
# because PostgreSQL's arrays of arrays are rectangles. The keys are taken before anything is
# inserted, in the facts' order: what comes back then needs no matching.
_APPEND_MANY = """
WITH fact AS MATERIALIZED (
    SELECT nextval('licensing_ledgerentry_id_seq') AS id, given.* FROM (
        SELECT * FROM unnest(
            %s::text[], %s::text[], %s::bytea[], %s::int[], %s::bytea[], %s::bytea[],
            %s::timestamptz[], %s::text[], %s::text[], %s::bytea[], %s::bytea[]
        ) WITH ORDINALITY AS each (
            log, kind, subject_ref, seq, body, leaf_hash, at, parties, numbers, seed, opened, place
        ) ORDER BY place
    ) given
), entry AS (
    INSERT INTO licensing_ledgerentry
        (id, log, kind, subject_ref, seq, body, leaf_hash, created_at)
    SELECT id, log, kind, subject_ref, seq, body, leaf_hash, at FROM fact
), opening AS (
    INSERT INTO licensing_ledgeropening (entry_id, parties, seed, packed)
    SELECT id, parties::uuid[], seed, opened FROM fact
), party AS (
    INSERT INTO licensing_ledgerparty (log, organization_id, sequence, entry_id)
    SELECT log, organization_id, sequence, id
    FROM fact, unnest(parties::uuid[], numbers::bigint[]) AS each (organization_id, sequence)
), pending AS (
    INSERT INTO licensing_ledgerpending (entry_id, log) SELECT id, log FROM fact
)
SELECT id FROM fact ORDER BY place
"""
_AT_ONCE = 2_000
_NOTHING: Mapping[str, Any] = {}


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
    parties: Sequence[UUID],
    at: datetime,
    public: Mapping[str, Any] = _NOTHING,
    not_before: datetime | None = None,
) -> LedgerEntry:
    """Record a fact, in the transaction of the row that it is about.

    The entry's place in the log is given after commit, by `sequencer`, and not before `not_before`,
    nor before the place of its subject's entry before. Until the transaction ends,
    its parties' other recordings wait: who appends more than once in one transaction calls `hold`
    first, or gives all facts to `append_many`.
    """
    fact = Fact(log, kind, subject_ref, seq, prev, values, parties, at, public)
    (numbers,) = _numbered([fact])
    entry, seed, opened = _made(fact, numbers)
    organizations = _array(organization.hex for organization in numbers)
    with connection.cursor() as cursor:
        cursor.execute(
            _APPEND,
            (
                *(log, kind, subject_ref, seq, bytes(entry.body), bytes(entry.leaf_hash), at),
                *(organizations, seed, opened),
                *(log, organizations, _array(map(str, numbers.values())), log, not_before),
            ),
        )
        (entry.pk,) = cursor.fetchone() or (None,)
    return entry


def append_many(facts: Sequence[Fact]) -> list[LedgerEntry]:
    """Record many facts as `append` does each, in their order: a statement for each 2,000.

    Each party's numbers ascend as the facts do, and are taken in one step for all.
    """
    entries = []
    numbered = _numbered(facts)
    for start in range(0, len(facts), _AT_ONCE):
        chunk = facts[start : start + _AT_ONCE]
        numbers = numbered[start : start + _AT_ONCE]
        made = [_made(fact, each) for fact, each in zip(chunk, numbers, strict=True)]
        columns = (
            [fact.log for fact in chunk],
            [fact.kind for fact in chunk],
            [fact.subject_ref for fact in chunk],
            [fact.seq for fact in chunk],
            [bytes(entry.body) for entry, _seed, _opened in made],
            [bytes(entry.leaf_hash) for entry, _seed, _opened in made],
            [fact.at for fact in chunk],
            [_array(party.hex for party in each) for each in numbers],
            [_array(map(str, each.values())) for each in numbers],
            [seed for _entry, seed, _opened in made],
            [opened for _entry, _seed, opened in made],
        )
        with connection.cursor() as cursor:
            cursor.execute(_APPEND_MANY, columns)
            for (entry, _seed, _opened), (pk,) in zip(made, cursor.fetchall(), strict=True):
                entry.pk = pk
                entries.append(entry)
    return entries


def hold(parties: Iterable[tuple[str, UUID]]) -> None:
    """Keep others from recording for these parties, each (log, organization), from now on.

    Until the transaction ends. For whoever appends more than once in it: all at once and in one
    order, because two who took their parties bit by bit could wait for each other for ever.
    """
    _advance(dict.fromkeys(parties, 0))


def slot(organization: UUID, sequence: int) -> commitments.Slot:
    """A party and its number as an entry commits to them."""
    return commitments.Slot(str(TypeID("org", organization)), sequence)


def _numbered(facts: Sequence[Fact]) -> list[dict[UUID, int]]:
    """Take the next numbers of every party: for each fact, organization -> number."""
    counts = Counter((fact.log, party) for fact in facts for party in set(fact.parties))
    last = _advance(counts)
    given = {each: last[each] - count for each, count in counts.items()}
    numbered = []
    for fact in facts:
        numbers = {}
        for party in dict.fromkeys(fact.parties):
            given[fact.log, party] += 1
            numbers[party] = given[fact.log, party]
        numbered.append(numbers)
    return numbered


def _advance(counts: Mapping[tuple[str, UUID], int]) -> dict[tuple[str, UUID], int]:
    """Count up by so many, and give what each has then."""
    # A number that is taken outside the fact's own transaction would leave a gap.
    assert connection.in_atomic_block, "A fact and its entry commit together."
    if not counts:
        return {}
    logs, organizations = zip(*counts, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(
            _ADVANCE,
            (
                _array(logs),
                _array(organization.hex for organization in organizations),
                _array(map(str, counts.values())),
            ),
        )
        return {(log, organization): last for log, organization, last in cursor.fetchall()}


def _array(items: Iterable[str]) -> str:
    """The text of an array: writing it takes a third of the time of handing over a list."""
    return "{" + ",".join(items) + "}"


def _made(fact: Fact, numbers: Mapping[UUID, int]) -> tuple[LedgerEntry, bytes, bytes]:
    """An entry that is not stored yet, its seed, and what opens it."""
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
        parties=commitments.commit_parties(seed, [slot(*each) for each in numbers.items()]),
        public=fact.public,
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
