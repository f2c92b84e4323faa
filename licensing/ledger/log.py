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

# One statement: an entry is recorded with every grant. Its parties' numbers are counted up here, so
# what commits to them is, too (`commitments.party_key`), and with that the body, which is stored
# packed, and its hash. The hash is made again of the stored body before the entry gets its place.
_APPEND = r"""
WITH number AS MATERIALIZED (
    SELECT organization_id, last AS sequence, sha256(around || sha256(
        before || convert_to(last || '}', 'UTF8')
    )) AS committed
    FROM ledger_advance(%s::text[], %s::uuid[], %s::int[])
    JOIN unnest(%s::uuid[], %s::bytea[], %s::bytea[]) AS each (organization_id, before, around)
        USING (organization_id)
), made AS MATERIALIZED (
    SELECT coalesce(
        '"' || string_agg(encode(committed, 'hex'), '","' ORDER BY committed) || '"', ''
    ) AS parties, coalesce(string_agg(committed, '' ORDER BY committed), '') AS packed FROM number
), entry AS (
    INSERT INTO licensing_ledgerentry (log, kind, subject_ref, seq, body, leaf_hash, created_at)
    SELECT %s, %s, %s, %s, %s::bytea || packed || %s::bytea,
        sha256(%s::bytea || convert_to(parties, 'UTF8') || %s::bytea), %s
    FROM made
    RETURNING id, leaf_hash
), opening AS (
    INSERT INTO licensing_ledgeropening (entry_id, parties, seed, packed)
    SELECT id, %s::uuid[], %s, %s FROM entry
), party AS (
    INSERT INTO licensing_ledgerparty (log, organization_id, sequence, entry_id)
    SELECT %s, organization_id, sequence, id FROM entry, number
), pending AS (
    INSERT INTO licensing_ledgerpending (entry_id, log, not_before)
    SELECT id, %s, %s::timestamptz FROM entry
)
SELECT id, leaf_hash, parties FROM entry, made
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
# What comes before an entry's body where it is hashed as a leaf (RFC 9162, 2.1.1).
_LEAF = b"\x00"
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
    # A number that is taken outside the fact's own transaction would leave a gap.
    assert connection.in_atomic_block, "A fact and its entry commit together."
    fact = Fact(log, kind, subject_ref, seq, prev, values, list(dict.fromkeys(parties)), at, public)
    seed = os.urandom(commitments.SEED_LENGTH)
    before, after = _body_around(fact, seed)
    with connection.cursor() as cursor:
        cursor.execute(_APPEND, _appended(fact, seed, before, after, not_before))
        row = cursor.fetchone()
    assert row is not None
    key, leaf_hash, committed = row
    return _entry(fact, before + committed.encode() + after, bytes(leaf_hash), key)


def _appended(
    fact: Fact, seed: bytes, before: bytes, after: bytes, not_before: datetime | None
) -> tuple[Any, ...]:
    """What `_APPEND` is given."""
    parties, log = fact.parties, fact.log
    organizations = _array(party.hex for party in parties)
    keys = [commitments.party_key(seed, str(TypeID("org", party))) for party in parties]
    packed = packing.pack_body_around(before, after, len(parties))
    return (
        *(_array([log] * len(parties)), organizations, _array(["1"] * len(parties))),
        *(organizations, _bytes(key[0] for key in keys), _bytes(key[1] for key in keys)),
        *(log, fact.kind, fact.subject_ref, fact.seq, *packed),
        *(_LEAF + before, after, fact.at),
        *(organizations, seed, packing.pack(jcs.dumps(dict(fact.values)))),
        *(log, log, not_before),
    )


def _body_around(fact: Fact, seed: bytes) -> tuple[bytes, bytes]:
    """An entry's body up to what commits to the parties, and from there on."""
    places = [f"{place:064x}" for place in range(len(fact.parties))]
    head = b'"parties":['
    body = _body(fact, seed, places)
    before, found, after = body.partition(head + jcs.dumps(places)[1:-1])
    assert found, "A body has its parties in one place."
    return before + head, after


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
            [packing.pack_body(bytes(entry.body)) for entry, _seed, _opened in made],
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


def _bytes(items: Iterable[bytes]) -> str:
    return "{" + ",".join(f'"\\\\x{item.hex()}"' for item in items) + "}"


def _made(fact: Fact, numbers: Mapping[UUID, int]) -> tuple[LedgerEntry, bytes, bytes]:
    """An entry that is not stored yet, its seed, and what opens it."""
    seed = os.urandom(commitments.SEED_LENGTH)
    slots = [slot(*each) for each in numbers.items()]
    body = _body(fact, seed, commitments.commit_parties(seed, slots))
    opened = packing.pack(jcs.dumps(dict(fact.values)))
    return _entry(fact, body, tree.leaf_hash(body)), seed, opened


def _body(fact: Fact, seed: bytes, parties: Sequence[str]) -> bytes:
    assert fact.log in LOGS, f"There is no log “{fact.log}”."
    return commitments.entry_body(
        fact.kind,
        log=fact.log,
        at=fact.at,
        subject_ref=fact.subject_ref,
        seq=fact.seq,
        prev=fact.prev,
        commitments=commitments.commit(fact.kind, seed, fact.values),
        parties=parties,
        public=fact.public,
    )


def _entry(fact: Fact, body: bytes, leaf_hash: bytes, key: int | None = None) -> LedgerEntry:
    entry = LedgerEntry(
        pk=key,
        log=fact.log,
        kind=fact.kind,
        subject_ref=fact.subject_ref,
        seq=fact.seq,
        body=body,
        leaf_hash=leaf_hash,
        created_at=fact.at,
    )
    entry._state.adding = False
    return entry
