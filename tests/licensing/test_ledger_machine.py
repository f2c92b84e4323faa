"""Whatever happens in whatever order, a log is the tree of what was committed, in order."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from django.conf import settings as django_settings
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from licensing.ledger import notes, proofs, receipts, sequencer, signer, tiles, tree
from licensing.ledger.log import LOGS
from licensing.models import LedgerCheckpoint, LedgerEntry, LedgerLeaf, LedgerPending, LedgerTree
from tests.ledger import append_many, naive_root

WIDTH = 4


class Lost(Exception):
    """Whoever was at work died before the commit."""


@contextlib.contextmanager
def lost() -> Iterator[None]:
    with contextlib.suppress(Lost), transaction.atomic():
        yield
        raise Lost


@dataclass
class Model:
    """What a log has to be: a list, and two numbers."""

    # Acknowledged, that is committed, in the order of their ids.
    entries: list[LedgerEntry] = field(default_factory=list)
    integrated: int = 0
    signed: list[int] = field(default_factory=list)

    def leaves(self, size: int) -> list[bytes]:
        return [bytes(entry.leaf_hash) for entry in self.entries[:size]]

    def root(self, size: int) -> bytes:
        return naive_root(self.leaves(size))


class LedgerMachine(RuleBasedStateMachine):
    """Both logs of the real database, each beside its model."""

    log = st.sampled_from(LOGS)

    def __init__(self) -> None:
        super().__init__()
        self.models = {log: Model() for log in LOGS}
        # Each example starts from logs without an entry, and guards that know of none.
        self.example = transaction.atomic()
        self.example.__enter__()
        self.guards = tempfile.TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(django_settings, "LEDGER_GUARD", self.guards.name, raising=False)

    def teardown(self) -> None:
        self.patch.undo()
        self.guards.cleanup()
        transaction.set_rollback(True)
        self.example.__exit__(None, None, None)

    # --- what can happen ----------------------------------------------------------------------

    @rule(log=log, count=st.integers(1, 6))
    def append(self, log: str, count: int) -> None:
        self.models[log].entries += append_many(count, log)

    @rule(log=log, count=st.integers(1, 3))
    def roll_back(self, log: str, count: int) -> None:
        """Ids are used up, and nothing else is left."""
        with lost():
            append_many(count, log)

    @rule(log=log, at_most=st.integers(1, 9))
    def sequence(self, log: str, at_most: int) -> None:
        model = self.models[log]
        model.integrated += self.integrate(log, at_most)

    @rule(log=log, at_most=st.integers(1, 9))
    def sequence_and_die(self, log: str, at_most: int) -> None:
        with lost():
            self.integrate(log, at_most)

    @rule(log=log)
    def sign(self, log: str) -> None:
        model = self.models[log]
        signed = sequencer.sign(log)
        nothing_new = model.integrated == max(model.signed, default=0)
        assert (signed is None) == nothing_new
        if signed is not None:
            assert signed.size == model.integrated
            model.signed.append(signed.size)

    @rule(log=log)
    def sign_and_die(self, log: str) -> None:
        """What was signed and is not stored is signed again, or a tree that continues it."""
        with lost():
            sequencer.sign(log)

    @rule(log=log, data=st.data())
    def prove(self, log: str, data: st.DataObject) -> None:
        """An acknowledged entry has a receipt as soon as a signed tree contains it, for ever."""
        model = self.models[log]
        if not model.entries:
            return
        place = data.draw(st.integers(0, len(model.entries) - 1))
        found = proofs.receipt(model.entries[place], None)
        newest = max(model.signed, default=0)
        assert (found is not None) == (place < newest)
        if found is not None:
            proven = receipts.verify(receipts.parse(found), [signer.load(log).verifier])
            assert (proven.index, proven.checkpoint.size) == (place, newest)
            assert proven.checkpoint.root == model.root(newest)
            assert proven.leaf_hash == model.leaves(newest)[place]

    @precondition(lambda self: any(len(model.signed) > 1 for model in self.models.values()))
    @rule(log=log, data=st.data())
    def verify_that_it_only_grew(self, log: str, data: st.DataObject) -> None:
        """Between any two signed states there is a consistency proof out of the stored tree."""
        model = self.models[log]
        if not model.signed:
            return
        size1, size2 = sorted(data.draw(st.sampled_from(model.signed)) for _end in range(2))
        stored = tiles.StoredTree(log, size2)
        proof = tree.consistency_proof(size1, size2, stored.node)
        tree.verify_consistency(size1, size2, proof, model.root(size1), model.root(size2))

    # --- what always holds --------------------------------------------------------------------

    @invariant()
    def places_have_no_gap_and_follow_the_ids(self) -> None:
        for log, model in self.models.items():
            rows = LedgerLeaf.objects.filter(log=log).order_by("index")
            assert [(row.index, row.entry_id) for row in rows] == [
                (place, entry.pk) for place, entry in enumerate(model.entries[: model.integrated])
            ]

    @invariant()
    def what_has_no_place_waits(self) -> None:
        for log, model in self.models.items():
            waiting = LedgerPending.objects.filter(log=log).order_by("entry_id")
            assert [row.entry_id for row in waiting] == [
                entry.pk for entry in model.entries[model.integrated :]
            ]

    @invariant()
    def roots_are_the_definitions(self) -> None:
        for log, model in self.models.items():
            for grown in LedgerTree.objects.filter(log=log):
                assert bytes(grown.root) == model.root(grown.size)
            assert tiles.StoredTree(log, model.integrated).root() == model.root(model.integrated)

    @invariant()
    def what_is_signed_stays_and_is_what_was_integrated(self) -> None:
        for log, model in self.models.items():
            rows = LedgerCheckpoint.objects.filter(log=log).order_by("size")
            assert [row.size for row in rows] == model.signed
            for row in rows:
                opened, _note = notes.open_checkpoint(row.note, [signer.load(log).verifier])
                assert (opened.size, opened.root) == (row.size, model.root(row.size))

    @invariant()
    def no_tile_shows_more_than_is_signed(self) -> None:
        for log, model in self.models.items():
            newest = max(model.signed, default=0)
            for size in (newest, newest + 1):
                index, width = divmod(size, WIDTH)
                if width:
                    expected = b"".join(model.leaves(size)[index * WIDTH :])
                    found = tiles.tile(log, 0, index, width)
                    assert found == (expected if size == newest else None)

    def integrate(self, log: str, at_most: int) -> int:
        model = self.models[log]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sequencer, "BATCH", at_most)
            taken = sequencer.integrate(log)
        assert taken == min(at_most, len(model.entries) - model.integrated)
        return taken


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of four hashes: a dozen entries fill three levels of them."""
    for module in (tree, tiles, sequencer):
        monkeypatch.setattr(module, "TILE_HEIGHT", 2)
    for module in (tree, tiles):
        monkeypatch.setattr(module, "TILE_WIDTH", WIDTH)


@pytest.mark.oracle
@pytest.mark.django_db
def test_any_history_of_appends_crashes_and_passes_leaves_a_sound_log(small_tiles: None) -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=8,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
