"""Rebuilds the tail of a log that a restored database has lost, from the log's copy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from django.db.models import Exists, Model, OneToOneRel, OuterRef
from django.utils.translation import gettext as _

from licensing.ledger import (
    commitments,
    export,
    generations,
    guard,
    keychain,
    notes,
    rotation,
    sequencer,
    signer,
    succession,
    tiles,
    tree,
    witnessing,
)
from licensing.ledger.stores import Store
from licensing.ledger.tree import TILE_HEIGHT, TILE_WIDTH
from licensing.models import (
    LedgerAwaited,
    LedgerCheckpoint,
    LedgerEntry,
    LedgerKeyChange,
    LedgerLeaf,
    LedgerOpening,
    LedgerPending,
    LedgerRecovered,
)
from marketplace import access

# Entries that one transaction brings back at most.
BATCH_ENTRIES = 2048

# What the log says of itself is whole in its entry, and comes back with it.
_WHOLE = (keychain.KIND, keychain.CONTINUED)

# What of ours refers to an entry without being what the entry is about.
_OWN = (LedgerAwaited, LedgerLeaf, LedgerOpening, LedgerPending, LedgerRecovered)

Progress = Callable[[int, int], None]


class RecoveryRefused(Exception):
    """The lost tail cannot be rebuilt from this copy. Says where it breaks, and what to do."""


class CopyLacking(RecoveryRefused):
    """It is the copy that has not got what was signed; another one may have it."""


class RecoveryBusy(Exception):
    """Another process works on the log now: nothing can be told. Says what to do."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one transaction brings back: the leaves up to `end`, and the root over them then."""

    end: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Orphan:
    """A recovered entry whose subject (grant, opt-out, …) this database does not have."""

    index: int
    body: commitments.EntryBody


@dataclass(frozen=True, slots=True)
class Plan:
    """A lost tail, checked as a whole: nothing of it is in the database yet."""

    log: str
    store: Store
    # The copy's checkpoint: as signed, and the note itself.
    signed: notes.Checkpoint
    note: notes.Note
    # What the key signed last, or was about to sign: where the tail ends.
    target: notes.Checkpoint
    # Entries that have their place in this database.
    size: int
    steps: tuple[Step, ...]
    # Entries of the tail that this database holds already, without a place.
    held: int
    # The others: they come back without their subjects.
    lost: tuple[Orphan, ...]
    # Entries that wait here, and follow the tail.
    waiting: int
    lacks_note: bool

    @property
    def is_needed(self) -> bool:
        return bool(self.steps) or self.lacks_note


def generation(log: str) -> str:
    """The name of the generation whose tail may be lost here. Raises GuardUnreadable.

    Where the current one was frozen, the database is from before its successor began.
    """
    name = succession.current(log)
    _state, is_frozen = guard.open_guard(name).look()
    return generations.next_of(name) if is_frozen else name


def plan(log: str, store: Store, progress: Progress = lambda _done, _size: None) -> Plan:
    """Check the copy's tail against its checkpoint, the guard and what is stored here.

    Changes nothing. Raises RecoveryRefused where the tail cannot be rebuilt from this copy, and
    KeyUnusable, GuardUnreadable or StoreUnavailable where that cannot be told.
    """
    signed, note = _checkpoint(log, store)
    target = _target(log, store, signed)
    with access.system("compare a log with its copy"):
        newest = tiles.newest_tree(log)
        stored = tiles.StoredTree(log, newest.size if newest is not None else 0)
        _check_stored(stored, bytes(newest.root) if newest is not None else tree.EMPTY_ROOT)
        steps: tuple[Step, ...] = ()
        lost: list[Orphan] = []
        for state in (signed, target):
            if state.size <= stored.size:
                _check_begins_with(stored, state, store)
        if stored.size < target.size:
            copy = _Copy(log, store, target.size)
            if stored.size == 0:
                _check_begins_again(copy)
            steps, lost = _check_tail(copy, stored, signed, target, progress)
        held = max(0, target.size - stored.size) - len(lost)
        pending = LedgerPending.objects.filter(log=generations.log_of(log)).count()
        # Of those held here, some may stand where nothing was signed before the log was frozen.
        waiting = max(0, pending - held)
        kept = LedgerCheckpoint.objects.filter(log=log, size__gte=signed.size).exists()
    return Plan(
        log=log,
        store=store,
        signed=signed,
        note=note,
        target=target,
        size=stored.size,
        steps=steps,
        held=held,
        lost=tuple(each for each in lost if each.body.kind not in _WHOLE),
        waiting=waiting,
        lacks_note=not kept,
    )


def apply(plan: Plan, progress: Progress = lambda _done, _size: None) -> None:
    """Put the tail into its places, in transactions that each leave a sound log.

    Killed in the middle, the next plan goes on from there. Raises RecoveryBusy while a sequencer
    is at work, and RecoveryRefused when the copy or the log are not what was planned any more.
    """
    copy = _Copy(plan.log, plan.store, plan.target.size)
    ends = (plan.size, *(step.end for step in plan.steps))
    for (start, end), step in zip(pairwise(ends), plan.steps, strict=True):
        with _alone(plan.log, start):
            entries = _put(plan.log, copy.entries(start, end))
            sequencer.grow(plan.log, {entry.pk: bytes(entry.leaf_hash) for entry in entries})
            grown = tiles.newest_tree(plan.log)
            if grown is None or (grown.size, bytes(grown.root)) != (step.end, step.root):
                raise RecoveryRefused(
                    _("%(store)s has changed since it was checked. Run the command again.")
                    % {"store": plan.store}
                )
            if plan.lacks_note and end == plan.signed.size:
                _keep_note(plan)
        progress(end, plan.target.size)
    if plan.lacks_note and plan.signed.size <= plan.size:
        with _alone(plan.log, ends[-1]):
            _keep_note(plan)


def orphans(log: str) -> list[Orphan]:
    """List the recovered entries whose subjects are missing still, in the log's order."""
    with access.system("list recovered entries without their subjects"):
        rows = LedgerRecovered.objects.filter(entry__leaf__log=log)
        for model, column in _subjects():
            found = model._default_manager.filter(**{column: OuterRef("entry_id")})
            rows = rows.exclude(Exists(found))
        rows = rows.select_related("entry__leaf").order_by("entry__leaf__index")
        return [
            Orphan(row.entry.leaf.index, commitments.parse_body(bytes(row.entry.body)))
            for row in rows
        ]


# --- what is to be reached --------------------------------------------------------------------


def _checkpoint(log: str, store: Store) -> tuple[notes.Checkpoint, notes.Note]:
    current = rotation.keys_of(log).current
    there = store.read(f"{log}/{export.CHECKPOINT}")
    try:
        if there is None:
            raise notes.NoteError(_("there is none"))
        signed, opened = notes.open_checkpoint(there.decode(), signer.verifiers(log))
        # The newest carries the key that signs now, in the middle of a change of keys too.
        keychain.check_signed(current, opened)
    except (notes.NoteError, UnicodeDecodeError) as error:
        raise CopyLacking(
            _("%(store)s has no checkpoint that the key of the log “%(log)s” signed: %(error)s.")
            % {"store": store, "log": log, "error": error}
        ) from None
    return signed, opened


def _target(log: str, store: Store, signed: notes.Checkpoint) -> notes.Checkpoint:
    """The longest tree that the key may have signed, by the copy and by the guard.

    The guard moves before the copy's checkpoint, and after the copy's entries: when a crash came
    between, the entries up to the guard's tree are in the copy all the same.
    """
    state = guard.open_guard(log).read()
    if state is None or state.size < signed.size:
        return signed
    if state.size == signed.size and state.root != signed.root:
        raise RecoveryRefused(
            _(
                "The guard of the log “%(log)s” and the checkpoint in %(store)s have other roots"
                " for size %(size)s: one of them is not of this log."
            )
            % {"log": log, "store": store, "size": state.size}
        )
    return state


# --- checking ---------------------------------------------------------------------------------


class _Copy:
    """A log's copy, read for the tree of `size` leaves. Raises RecoveryRefused naming a file."""

    def __init__(self, log: str, store: Store, size: int) -> None:
        self.log, self.store, self.size = log, store, size
        # Of each level, the tile that was read last.
        self._last: dict[int, tuple[int, list[bytes]]] = {}

    def node(self, level: int, index: int) -> bytes:
        part = tree.tile_part(level, index)
        hashes = self.tile(part.level, part.index)
        return tree.fold(hashes[part.start : part.start + part.count])

    def tile(self, level: int, index: int) -> list[bytes]:
        if level in self._last and self._last[level][0] == index:
            return self._last[level][1]
        width = min(TILE_WIDTH, (self.size >> TILE_HEIGHT * level) - index * TILE_WIDTH)
        path = export.tile_path(level, index, None if width == TILE_WIDTH else width)
        data = self._read(path)
        if len(data) != width * tree.HASH_LENGTH:
            raise self.damaged(path, _("it has not %(width)s hashes") % {"width": width})
        hashes = tiles.split(data)
        self._last[level] = index, hashes
        return hashes

    def entries(self, start: int, end: int) -> Iterator[tuple[int, bytes, commitments.EntryBody]]:
        """Give (index, exact body, what it says), each hashed as its tile says."""
        for bundle in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
            first = bundle * TILE_WIDTH
            for index, body in enumerate(self._bundle(bundle), first):
                if start <= index < end:
                    yield index, body, self._parsed(bundle, index, body)

    def _bundle(self, index: int) -> list[bytes]:
        width = min(TILE_WIDTH, self.size - index * TILE_WIDTH)
        path = self._bundle_path(index)
        data = self._read(path)
        bodies: list[bytes] = []
        at = 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 2])
            bodies.append(data[at + 2 : at + 2 + length])
            at += 2 + length
        if at != len(data) or len(bodies) != width:
            raise self.damaged(path, _("it has not %(width)s whole entries") % {"width": width})
        for number, (body, leaf) in enumerate(zip(bodies, self.tile(0, index), strict=True)):
            if tree.leaf_hash(body) != leaf:
                place = index * TILE_WIDTH + number
                raise self.damaged(
                    path, _("entry %(place)s is not what its tile says") % {"place": place}
                )
        return bodies

    def _parsed(self, bundle: int, index: int, body: bytes) -> commitments.EntryBody:
        try:
            said = commitments.parse_body(body)
            if said.log != generations.log_of(self.log):
                raise commitments.CommitmentError(_("it is of another log"))
        except commitments.CommitmentError as error:
            raise self.damaged(
                self._bundle_path(bundle),
                _("entry %(place)s cannot be read: %(error)s") % {"place": index, "error": error},
            ) from None
        return said

    def _bundle_path(self, index: int) -> str:
        width = min(TILE_WIDTH, self.size - index * TILE_WIDTH)
        return export.bundle_path(index, None if width == TILE_WIDTH else width)

    def _read(self, path: str) -> bytes:
        data = self.store.read(f"{self.log}/{path}")
        if data is None:
            raise self.damaged(path, _("it is missing"))
        return data

    def damaged(self, path: str, why: str) -> CopyLacking:
        return CopyLacking(
            _(
                "The copy of the log “%(log)s” in %(store)s cannot rebuild size %(size)s:"
                " %(path)s: %(why)s. Name another copy with --from, if you have one."
            )
            % {"log": self.log, "store": self.store, "size": self.size, "path": path, "why": why}
        )


def _root(stored: tiles.StoredTree) -> bytes:
    try:
        return stored.root()
    except LookupError as error:
        raise RecoveryRefused(
            _("What this database has of the log is broken: %(error)s. Restore the backup again.")
            % {"error": error}
        ) from error


def _check_stored(stored: tiles.StoredTree, root: bytes) -> None:
    if _root(stored) != root:
        raise RecoveryRefused(
            _(
                "The stored leaves and tiles of the log “%(log)s” do not make its root at size"
                " %(size)s. Restore the backup again."
            )
            % {"log": stored.log, "size": stored.size}
        )


def _check_tail(
    copy: _Copy,
    stored: tiles.StoredTree,
    signed: notes.Checkpoint,
    target: notes.Checkpoint,
    progress: Progress,
) -> tuple[tuple[Step, ...], list[Orphan]]:
    """Hash the copy from the stored tree's last whole tile on.

    Gives the steps to its root, and the entries that this database has nothing of.
    """
    first = stored.size // TILE_WIDTH * TILE_WIDTH
    try:
        frontier = tree.Frontier.load(first, copy.node)
    except tree.ProofError as error:
        raise copy.damaged("tile", str(error)) from None
    steps: list[Step] = []
    lost: list[Orphan] = []
    filled = _Filled(copy)
    for start, end in pairwise(_ends(first, stored.size, signed.size, target.size)):
        read = list(copy.entries(start, end))
        for _index, body, _said in read:
            filled.push(frontier, tree.leaf_hash(body))
        root = frontier.root()
        if end == stored.size:
            _check_begins_as_copied(stored, copy, root)
        elif end > stored.size:
            held = _held(copy.log, read)
            lost += [
                Orphan(index, said)
                for index, _body, said in read
                if (said.subject_ref, said.seq) not in held
            ]
            steps.append(Step(end, root))
        if end == signed.size and root != signed.root:
            raise copy.damaged(export.CHECKPOINT, _("the entries do not make its root"))
        progress(end, target.size)
    if first == stored.size:
        _check_begins_as_copied(stored, copy, tree.Frontier.load(first, copy.node).root())
    if frontier.root() != target.root:
        raise copy.damaged(
            "tile", _("the entries do not make the root that the guard has for this size")
        )
    return tuple(steps), lost


class _Filled:
    """The tiles above the entries, as they fill: each must be the copy's."""

    def __init__(self, copy: _Copy) -> None:
        self._copy = copy

    def push(self, frontier: tree.Frontier, leaf: bytes) -> None:
        for level, index, root in frontier.push(leaf):
            tile_level, within = divmod(level, TILE_HEIGHT)
            # The entries were compared with the tiles of level 0; these stand above them.
            if within == 0 and self._copy.node(level, index) != root:
                path = export.tile_path(tile_level, index // TILE_WIDTH)
                raise self._copy.damaged(path, _("it is not what its entries make it"))


def _ends(first: int, size: int, signed: int, target: int) -> list[int]:
    """Where the batches begin and end: among others at each state that has a root."""
    places = {first, target, *range(first + BATCH_ENTRIES, target, BATCH_ENTRIES)}
    places |= {place for place in (size, signed) if first < place < target}
    return sorted(places)


def _check_begins_as_copied(stored: tiles.StoredTree, copy: _Copy, root: bytes) -> None:
    if stored.size == 0 or _root(stored) == root:
        return
    for index in range(-(-stored.size // TILE_WIDTH)):
        here = stored.tile(0, index)
        for number, (ours, theirs) in enumerate(zip(here, copy.tile(0, index), strict=False)):
            if ours != theirs:
                raise RecoveryRefused(
                    _(
                        "The log “%(log)s” of %(size)s entries here is no beginning of the copy in"
                        " %(store)s: leaf %(leaf)s is another one. Was it given after the backup"
                        " was restored? Stop the worker, restore the backup again, and run this"
                        " before the worker."
                    )
                    % {
                        "log": stored.log,
                        "size": stored.size,
                        "store": copy.store,
                        "leaf": index * TILE_WIDTH + number,
                    }
                )
    raise copy.damaged("tile", _("its upper tiles are not what its lower ones make them"))


def _check_begins_with(stored: tiles.StoredTree, target: notes.Checkpoint, store: Store) -> None:
    """Nothing is missing here; but is it the same log?"""
    before = tiles.StoredTree(stored.log, target.size)
    if _root(before) != target.root:
        _check_begins_as_copied(before, _Copy(stored.log, store, target.size), target.root)


def _held(
    log: str, read: Sequence[tuple[int, bytes, commitments.EntryBody]]
) -> dict[tuple[bytes, int], LedgerEntry]:
    """The entries of a batch that are here without a place: recorded before the backup was made.

    Others of the same subject and number were recorded anew, since then: they are in the way.
    """
    wanted = {(said.subject_ref, said.seq): (index, body) for index, body, said in read}
    ended = generations.before(log) if succession.beginning_of(log) is None else None
    log = generations.log_of(log)
    rows = LedgerEntry.objects.filter(log=log, subject_ref__in={ref for ref, _seq in wanted})
    found: dict[tuple[bytes, int], LedgerEntry] = {}
    for row in rows:
        key = bytes(row.subject_ref), row.seq
        if key not in wanted:
            continue
        index, body = wanted[key]
        if bytes(row.body) != body or _has_place(row, ended):
            raise RecoveryRefused(
                _(
                    "Entry %(index)s of the lost tail (%(kind)s, %(ref)s, number %(seq)s) was"
                    " recorded anew after the backup was restored, with other bytes: entry %(pk)s"
                    " here. Both cannot stand. Restore the backup again, and run this before the"
                    " server and the worker."
                )
                % {
                    "index": index,
                    "kind": row.kind,
                    "ref": key[0].hex(),
                    "seq": row.seq,
                    "pk": row.pk,
                }
            )
        found[key] = row
    return found


def _has_place(entry: LedgerEntry, ended: str | None) -> bool:
    """Whether it has one that it keeps: not behind what was signed of a log that has ended."""
    leaf = LedgerLeaf.objects.filter(entry=entry).first()
    if leaf is None or leaf.log != ended:
        return leaf is not None
    last = tiles.newest_checkpoint(ended)
    return last is not None and leaf.index < last.size


def _check_begins_again(copy: _Copy) -> None:
    """Check that a successor which this database knows nothing of may begin here as it did."""
    ended = generations.before(copy.log)
    if ended is None:
        return
    _index, body, _said = next(copy.entries(0, 1))
    try:
        begun = keychain.read_continuation(body)
        notes.open_checkpoint(begun.note, signer.verifiers(ended))
    except (keychain.KeyChangeError, notes.NoteError) as error:
        raise copy.damaged(export.bundle_path(0), str(error)) from None
    known = succession.stand(ended, begun.frozen).known
    if known > begun.known:
        raise RecoveryRefused(
            _(
                "This database has %(known)s signed entries of the log “%(log)s”, and when that was"
                " frozen %(then)s were left: the others have places in “%(next)s” now. Restore the"
                " backup that was frozen, or one from before it."
            )
            % {"known": known, "log": ended, "then": begun.known, "next": copy.log}
        )


# --- writing ----------------------------------------------------------------------------------


@contextmanager
def _alone(log: str, size: int) -> Iterator[None]:
    """A transaction that no sequencer shares, over a log that still has `size` entries."""
    with access.system("rebuild a log's lost tail"):
        if not sequencer.elected(log):
            raise RecoveryBusy(
                _("A worker gives places in the log “%(log)s” now. Stop it, and run this again.")
                % {"log": log}
            )
        newest = tiles.newest_tree(log)
        if (newest.size if newest is not None else 0) != size:
            raise RecoveryRefused(
                _(
                    "The log “%(log)s” has grown since it was checked. Stop the worker, and run"
                    " the command again."
                )
                % {"log": log}
            )
        yield


def _put(log: str, read: Iterable[tuple[int, bytes, commitments.EntryBody]]) -> list[LedgerEntry]:
    """Have a batch of entries here: those that wait leave the queue, the others are written."""
    batch = list(read)
    if generations.before(log) is not None and succession.beginning_of(log) is None:
        _begin_again(log, batch[0][1], batch[0][2])
    held = _held(log, batch)
    LedgerPending.objects.filter(entry__in=[entry.pk for entry in held.values()]).delete()
    entries: list[LedgerEntry] = []
    written: list[LedgerEntry] = []
    for _index, body, said in batch:
        entry = held.get((said.subject_ref, said.seq))
        if entry is None:
            entry = LedgerEntry(
                log=generations.log_of(log),
                kind=said.kind,
                subject_ref=said.subject_ref,
                seq=said.seq,
                body=body,
                leaf_hash=tree.leaf_hash(body),
                created_at=said.at,
            )
            written.append(entry)
        entries.append(entry)
    LedgerEntry.objects.bulk_create(written)
    changes = [each for each in written if each.kind == keychain.KIND]
    LedgerKeyChange.objects.bulk_create(map(rotation.row_of, changes))
    LedgerRecovered.objects.bulk_create(
        LedgerRecovered(entry=entry) for entry in written if entry not in changes
    )
    return entries


def _begin_again(log: str, body: bytes, said: commitments.EntryBody) -> None:
    """Have a successor begin as it did, with what is here of the log that it continues."""
    begun = keychain.read_continuation(body)
    entry = LedgerEntry.objects.create(
        log=said.log,
        kind=said.kind,
        subject_ref=said.subject_ref,
        seq=said.seq,
        body=body,
        leaf_hash=tree.leaf_hash(body),
        created_at=said.at,
    )
    known = succession.stand(generations.before(log) or log, begun.frozen).known
    succession.begin(log, entry, begun.frozen, known)


def _keep_note(plan: Plan) -> None:
    """Keep the copy's checkpoint as the log signed it, and what known witnesses signed of it."""
    note = plan.note.text + "\n" + "".join(each.line() for each in plan.note.verified)
    kept = LedgerCheckpoint.objects.create(log=plan.log, size=plan.signed.size, note=note)
    for signature in plan.note.unverified:
        # The log's own signature stands without them: nothing about them stops a recovery.
        with contextlib.suppress(notes.SignatureError, witnessing.WitnessesMisconfigured):
            known = [each.key for each in witnessing.servers()]
            witnessing.keep(witnessing.valid(kept, [signature], known))


def _subjects() -> Iterator[tuple[type[Model], str]]:
    """Every table whose rows are recorded by an entry, and the column that names it."""
    for relation in LedgerEntry._meta.get_fields(include_hidden=True):
        if isinstance(relation, OneToOneRel) and relation.related_model not in _OWN:
            yield relation.related_model, relation.field.attname
