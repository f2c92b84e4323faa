"""What must hold of a log, whatever was killed: each claim gives what breaks it."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any

from licensing import packing
from licensing.ledger import notes, receipts, tree
from licensing.offline import __main__ as offline
from marketplace.typeid import TypeID
from tests.chaos.ledger_kills import ROOT, Market, progress
from tests.oracles.ledger_verifiers import Growth, Metamorphic


class Evidence:
    """All that was seen, signed, acknowledged and handed out, and the log as it is at the end."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.places: list[tuple[int, bytes, bytes, int]] = [
            (index, bytes(leaf), packing.unpack_body(bytes(body)), pk)
            for index, leaf, body, pk in market.rows(
                "SELECT l.index, l.leaf_hash, e.body, e.id FROM licensing_ledgerleaf l"
                " JOIN licensing_ledgerentry e ON e.id = l.entry_id"
                " WHERE l.log = 'test' ORDER BY l.index"
            )
        ]
        self.leaves = [leaf for _index, leaf, _body, _pk in self.places]
        self.receipts = [
            *((line["grant"], line["receipt"].encode()) for line in market.lines("receipts")),
            *market.seen.receipts,
        ]
        self.acknowledged = market.lines("acknowledged")

    @cached_property
    def nodes(self) -> dict[tuple[int, int], bytes]:
        frontier, nodes = tree.Frontier(), {}
        for index, leaf in enumerate(self.leaves):
            nodes[0, index] = leaf
            nodes.update({(level, at): root for level, at, root in frontier.push(leaf)})
        return nodes

    def node(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]

    def root(self, size: int) -> bytes:
        return tree.subtree_root(0, size, self.node)

    @cached_property
    def signed(self) -> dict[str, str]:
        """Every note of the log, and where it was: also what was signed and never kept."""
        found: dict[str, str] = {}
        for line in self.market.lines("signed"):
            found.setdefault(line["note"], "signed")
        for note in self.market.seen.checkpoints:
            found.setdefault(note, "served, and not signed by a sequencer of ours")
        for (note,) in self.market.rows("SELECT note FROM licensing_ledgercheckpoint"):
            found.setdefault(note, "kept, and not signed by a sequencer of ours")
        copied = self.market.home / "copy" / "test" / "checkpoint"
        found.setdefault(copied.read_text(), "copied, and not signed by a sequencer of ours")
        for _grant, receipt in self.receipts:
            note = receipts.parse(receipt).checkpoint
            found.setdefault(note, "in a receipt, and not signed by a sequencer of ours")
        return found

    @cached_property
    def states(self) -> list[tuple[notes.Checkpoint, str]]:
        """What the notes sign, by size."""
        opened = [
            (notes.open_checkpoint(note, [self.market.verifier])[0], note) for note in self.signed
        ]
        return sorted(opened, key=lambda each: each[0].size)


def nothing_acknowledged_is_lost(evidence: Evidence) -> Iterator[str]:
    """Every entry that a writer was told of is in the log, once."""
    places = Counter(evidence.leaves)
    leaf_of = evidence.market.leaf_of | {
        pk.hex: leaf
        for pk, leaf in evidence.market.rows(
            "SELECT g.id, encode(e.leaf_hash, 'hex') FROM licensing_grant g"
            " JOIN licensing_ledgerentry e ON e.id = g.issued_entry_id"
        )
    }
    for line in evidence.acknowledged:
        leaf = line.get("leaf") or leaf_of.get(TypeID.parse("grt", line["grant"]).hex)
        if leaf is None:
            yield f"the grant of {line} has no entry"
        elif (times := places[bytes.fromhex(leaf)]) != 1:
            yield f"{line} is in the log {times} times"
    for line in evidence.market.lines("given-up"):
        if places[bytes.fromhex(line["leaf"])]:
            yield f"{line} was rolled back, and is in the log"


def there_are_no_gaps(evidence: Evidence) -> Iterator[str]:
    """Places run from 0 without a gap, and each holds what its entry hashes to, once."""
    for expected, (index, leaf, body, _pk) in enumerate(evidence.places):
        if index != expected:
            yield f"place {expected} is missing: {index} follows"
            return
        if tree.leaf_hash(body) != leaf:
            yield f"the leaf at {index} is not what its entry hashes to"
    entries = [pk for _index, _leaf, _body, pk in evidence.places]
    if len(set(entries)) != len(entries):
        yield "an entry has two places"


def there_is_no_fork(evidence: Evidence) -> Iterator[str]:
    """Every checkpoint that was seen, or only signed, begins the log as it is, and the next one."""
    before: tuple[notes.Checkpoint, str] | None = None
    for state, note in evidence.states:
        where = evidence.signed[note]
        if where != "signed":
            yield f"the note of size {state.size} was {where}"
        if state.size > len(evidence.leaves):
            yield f"size {state.size} was signed ({where}), and there are {len(evidence.leaves)}"
            continue
        if state.root != evidence.root(state.size):
            yield f"another root was signed for size {state.size} ({where})"
        if before is not None:
            proof = tree.consistency_proof(before[0].size, state.size, evidence.node)
            try:
                tree.verify_consistency(
                    before[0].size, state.size, proof, before[0].root, state.root
                )
            except tree.ProofError as error:
                yield f"size {state.size} does not continue size {before[0].size}: {error}"
        before = state, note


def no_signatures_conflict(evidence: Evidence) -> Iterator[str]:
    """The key never signed two roots for one size: what was lost in a crash is counted, too."""
    roots: dict[int, set[bytes]] = defaultdict(set)
    for state, _note in evidence.states:
        roots[state.size].add(state.root)
    for size, found in roots.items():
        if len(found) > 1:
            yield f"{len(found)} roots were signed for size {size}"


def every_receipt_holds(evidence: Evidence) -> Iterator[str]:
    """Verified as its holder would, without the server; and the log still has what it proves."""
    file = evidence.market.home / "receipt"
    for grant, receipt in evidence.receipts:
        file.write_bytes(receipt)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = offline.main(
                ["verify", str(file), "--key", evidence.market.people["vkey"], "--allow-test"]
            )
        parsed = receipts.parse(receipt)
        if code != 0:
            yield f"the receipt of {grant} is refused ({code}): {said.getvalue()}"
        elif evidence.leaves[parsed.index] != parsed.leaf_hash:
            yield f"the receipt of {grant} proves place {parsed.index}, which is another entry's"


def nothing_is_stuck(evidence: Evidence) -> Iterator[str]:
    """The queue is empty, everything recorded has its place, and all of it is signed and copied."""
    market = evidence.market
    for table in ("licensing_ledgerpending", "licensing_ledgerawaited"):
        if left := market.rows(f"SELECT count(*) FROM {table}")[0][0]:
            yield f"{left} rows are left in {table}"
    [(entries,)] = market.rows("SELECT count(*) FROM licensing_ledgerentry WHERE log = 'test'")
    if entries != len(evidence.leaves):
        yield f"{entries} entries are recorded, and {len(evidence.leaves)} have a place"
    if market.published() != len(evidence.leaves):
        yield f"the second place vouches for {market.published()} of {len(evidence.leaves)}"


def fsck_finds_nothing(evidence: Evidence) -> Iterator[str]:
    """Every hash is computed again, in the database and in the second place."""
    for more in ([], ["--tiles", str(evidence.market.home / "copy")]):
        ran = subprocess.run(
            [sys.executable, "manage.py", "ledger_fsck", "--log", "test", *more],
            cwd=ROOT,
            env=evidence.market.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        progress(f"ledger_fsck {' '.join(more[:1])}: {ran.returncode}: {ran.stdout.strip()}")
        if ran.returncode:
            yield f"ledger_fsck {more} ended with {ran.returncode}: {ran.stderr}"


def another_verifier_agrees(evidence: Evidence) -> Iterator[str]:
    """Rust's, which we did not write, accepts each checkpoint after the one before."""
    if importlib.util.find_spec("metamorphic_log") is None:
        progress("no other verifier looks: metamorphic-log is not installed")
        return
    by_size = {state.size: note for state, note in evidence.states}
    sizes = [size for size in by_size if size <= len(evidence.leaves)]
    grown = [
        Growth(by_size[old], by_size[new], tuple(tree.consistency_proof(old, new, evidence.node)))
        for old, new in pairwise(sizes)
    ]
    answers = Metamorphic().growths(evidence.market.people["vkey"], grown)
    progress(f"metamorphic-log: {answers.count('')} of {len(answers)} growths accepted")
    yield from (f"metamorphic-log: {answer}" for answer in answers if answer)


def nobody_ended_otherwise(evidence: Evidence) -> Iterator[str]:
    """Only kills and full disks end a process."""
    yield from evidence.market.failures


def the_log_went_on_after_each_outage(evidence: Evidence) -> Iterator[str]:
    for disk, size in evidence.market.outages:
        if len(evidence.leaves) <= size:
            yield f"nothing was recorded after the outage of the {disk}"


CLAIMS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    nothing_acknowledged_is_lost,
    there_are_no_gaps,
    there_is_no_fork,
    no_signatures_conflict,
    every_receipt_holds,
    nothing_is_stuck,
    fsck_finds_nothing,
    another_verifier_agrees,
    nobody_ended_otherwise,
    the_log_went_on_after_each_outage,
)


def broken(evidence: Evidence) -> dict[str, list[str]]:
    """What breaks each claim; {} when all hold."""
    found: dict[str, list[str]] = {}
    for claim in CLAIMS:
        try:
            against = list(claim(evidence))
        except Exception as error:
            against = [f"cannot be told: {error!r}"]
        if against:
            found[claim.__name__] = [f"{len(against)} in all", *against[:5]]
    return found


def account(evidence: Evidence) -> dict[str, Any]:
    """What a run was: for whoever reads that it held."""
    market = evidence.market
    return {
        "kills": market.kills(),
        "by role": dict(market.fleet.kills),
        "at points": dict(market.points()),
        "full": dict(Counter(f"{line['place']}: {line['call']}" for line in market.lines("full"))),
        "ended by a full disk": market.refused_by_disks,
        "outages": [name for name, _size in market.outages],
        "acknowledged": len(evidence.acknowledged),
        "entries": len(evidence.leaves),
        "signatures": len(market.lines("signed")),
        "checkpoints": len(evidence.states),
        "receipts": len(evidence.receipts),
        # Known: the copy does not say how far each party had been counted, so what is recorded
        # after a restored backup takes the numbers of what it lost (api_docs/ledger_threats.md).
        "party numbers in two receipts": numbers_given_twice(evidence),
    }


def numbers_given_twice(evidence: Evidence) -> int:
    """How many numbers of a party two entries have, by the receipts that were handed out."""
    entries: dict[tuple[str, int], set[bytes]] = defaultdict(set)
    for _grant, receipt in evidence.receipts:
        parsed = receipts.parse(receipt)
        party = (parsed.openings or {}).get("party")
        if party is not None:
            entries[party["organization"], party["sequence"]].add(parsed.leaf_hash)
    return sum(len(found) > 1 for found in entries.values())
