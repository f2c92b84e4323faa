"""Copies a log to a second place, as C2SP tlog-tiles: entries and tiles first, checkpoint last."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.conf import settings
from django.utils.translation import gettext as _

from licensing.ledger import (
    generations,
    notes,
    rotation,
    signer,
    stores,
    tiles,
    tree,
    witnessing,
)
from licensing.ledger.log import LedgerCorrupted
from licensing.ledger.regrowth import first_difference
from licensing.ledger.stores import Store, StoreConflict, StoreUnavailable
from licensing.ledger.tree import TILE_HEIGHT, TILE_WIDTH
from licensing.models import LedgerCheckpoint, LedgerLeaf, LedgerTile, LedgerTree

CHECKPOINT = "checkpoint"
VKEY = "vkey"
# Below it, named by the former key's id: the proof that it gave way to another.
KEYS = "keys"

# Bundles that are read, and written, at a time: what is held in memory.
BATCH_TILES = 8

# Tries of replacing a checkpoint while others replace it too.
_ATTEMPTS = 5

# Is told how many entries of how many are in their place.
Progress = Callable[[int, int], None]

# What this process has last copied to each place, so that a pass with nothing new asks nobody.
_copied: dict[tuple[str, str], str] = {}
_copied_keys: dict[tuple[str, str], tuple[notes.Verifier, ...]] = {}


def tile_path(level: int, index: int, width: int | None = None) -> str:
    """The address of a tile below its log."""
    return f"tile/{level}/{tiles.index_path(index)}{_part(width)}"


def bundle_path(index: int, width: int | None = None) -> str:
    """The address of the entries of a tile of level 0 below their log."""
    return f"tile/entries/{tiles.index_path(index)}{_part(width)}"


# --- in the sequencer's pass ------------------------------------------------------------------


def secure(log: str, size: int) -> None:
    """Make the tree of `size` durable in the second place, before it is signed.

    Raises StoreUnavailable and StoreConflict, and LedgerCorrupted: then it is not to be signed.
    """
    if settings.LEDGER_EXPORT:
        push(log, stores.open_store(settings.LEDGER_EXPORT), size)
    elif generations.log_of(log) == "live" and not settings.DEVELOPMENT:
        raise StoreUnavailable(
            _(
                "The log “live” is not signed while it has no copy. Set LICET_LEDGER_EXPORT to a"
                " directory on another volume, or to s3://bucket/prefix."
            )
        )


def publish_newest(log: str) -> None:
    """Copy the newest signed checkpoint to the second place, unless this process just did."""
    newest = tiles.newest_checkpoint(log) if settings.LEDGER_EXPORT else None
    place = (settings.LEDGER_EXPORT, log)
    if newest is None or _copied.get(place) == newest.note:
        return
    store = stores.open_store(settings.LEDGER_EXPORT)
    # What was signed while there was no second place, or another one.
    push(log, store, newest.size)
    publish(log, store, newest.note)
    _copied[place] = newest.note
    known = tuple(rotation.published(log))
    if _copied_keys.get(place) != known:
        publish_keys(log, store)
        _copied_keys[place] = known


def publish_cosigned(log: str) -> None:
    """Have the checkpoint in the second place carry its cosignatures, once it is there."""
    newest = tiles.newest_checkpoint(log) if settings.LEDGER_EXPORT else None
    if newest is None:
        return
    store = stores.open_store(settings.LEDGER_EXPORT)
    published = checkpoint_in(log, store)
    # The sequencer alone moves it on.
    if published is not None and published.size == newest.size:
        publish(log, store, witnessing.cosigned_note(newest))


# --- writing ----------------------------------------------------------------------------------


def push(
    log: str,
    store: Store,
    size: int,
    *,
    from_start: bool = False,
    progress: Progress = lambda _done, _size: None,
) -> None:
    """Write every entry and tile of the tree of `size` that the store lacks.

    Goes on where the store stands: at its checkpoint, or where a push before this one ended.
    `from_start` looks at every file instead. All is hashed again from the entries' bodies, and
    compared with the stored leaves and tiles before it is written, with the tree's root at the
    end. Raises LedgerCorrupted, StoreConflict and StoreUnavailable.
    """
    published = checkpoint_in(log, store)
    if published is not None:
        if published.size > size and _has_signed(log, published.size):
            return  # by another process, meanwhile
        _check_same_history(log, store, published, size)
        if published.size == size and not from_start:
            return
    first = 0 if from_start else _standing(log, store, published.size if published else 0, size)
    if published is None or from_start:
        publish_keys(log, store)
    for end, files in _files(log, first, size):
        # What is there has what it is made of: a copy that was stopped can be checked, too.
        for stage in range(3):
            now = {path: data for path, data in files.items() if _stage(path) == stage}
            if now:
                store.write_all({f"{log}/{path}": data for path, data in now.items()})
        progress(end, size)


def publish(log: str, store: Store, note: str) -> None:
    """Replace the store's checkpoint by a signed one, whose tree was pushed before.

    Never by a smaller one, nor by another history: raises StoreConflict, having changed nothing.
    Nor is a cosignature taken away that stands there.
    """
    checkpoint = _parse(note)
    for attempt in range(1, _ATTEMPTS + 1):
        there = store.read(f"{log}/{CHECKPOINT}")
        if there == note.encode():
            return
        if there is not None:
            published = _read(there, log, store)
            if published.size > checkpoint.size and _has_signed(log, published.size):
                return  # by another process, meanwhile
            _check_same_history(log, store, published, checkpoint.size)
            if published == checkpoint and _signatures(note) <= _signatures(there.decode()):
                return
        try:
            store.replace(f"{log}/{CHECKPOINT}", note.encode(), expected=there)
            return
        except StoreConflict:
            if attempt == _ATTEMPTS:
                raise


def publish_keys(log: str, store: Store) -> None:
    """Have the store show the log's keys, and the proof of each change: never fewer than before.

    Raises StoreConflict where it shows another key, KeyUnusable.
    """
    rotation.keys_of(log)
    written = "".join(f"{each.vkey()}\n" for each in rotation.published(log))
    proofs = rotation.proofs_of(log)
    if proofs:
        store.write_all({f"{log}/{KEYS}/{name}": data for name, data in proofs.items()})
    there = store.read(f"{log}/{VKEY}")
    if there is None:
        store.write_once(f"{log}/{VKEY}", written.encode())
    elif not _lines(there) <= _lines(written.encode()):
        if _lines(written.encode()) < _lines(there):
            return  # by another process, meanwhile
        raise StoreConflict(
            _("%(log)s/vkey in %(store)s has another key than this server.")
            % {"store": store, "log": log}
        )
    elif there != written.encode():
        store.replace(f"{log}/{VKEY}", written.encode(), expected=there)


def check_empty(log: str, store: Store) -> None:
    """Check that a copy has nothing of a log that has published nothing. Raises StoreConflict."""
    published = checkpoint_in(log, store)
    if published is not None:
        _check_same_history(log, store, published, 0)


def _lines(vkeys: bytes) -> set[bytes]:
    return set(vkeys.splitlines())


def checkpoint_in(log: str, store: Store) -> notes.Checkpoint | None:
    """What the copy shows, unverified. Raises StoreConflict where it cannot be read."""
    there = store.read(f"{log}/{CHECKPOINT}")
    return None if there is None else _read(there, log, store)


def _read(there: bytes, log: str, store: Store) -> notes.Checkpoint:
    try:
        found = _parse(there.decode())
    except (notes.NoteError, UnicodeDecodeError) as error:
        raise StoreConflict(
            _("The checkpoint of the log “%(log)s” in %(store)s cannot be read: %(error)s.")
            % {"log": log, "store": store, "error": error}
        ) from None
    if found.origin != signer.origin(log):
        raise StoreConflict(
            _(
                "%(store)s holds the log %(found)s, and this is %(origin)s. Choose another place,"
                " or look whether LICET_LEDGER_ORIGIN was changed."
            )
            % {"store": store, "found": found.origin, "origin": signer.origin(log)}
        )
    return found


def _signatures(note: str) -> set[notes.Signature]:
    _text, signatures = notes.split_note(note)
    return set(signatures)


def _parse(note: str) -> notes.Checkpoint:
    text, _signatures = notes.split_note(note)
    return notes.parse_checkpoint(text)


def _stage(path: str) -> int:
    """Entries first, then their hashes, then what those make."""
    return 0 if path.startswith("tile/entries/") else 1 if path.startswith("tile/0/") else 2


def _has_signed(log: str, size: int) -> bool:
    return LedgerCheckpoint.objects.filter(log=log, size=size).exists()


def _check_same_history(log: str, store: Store, published: notes.Checkpoint, size: int) -> None:
    """Compare what the store's checkpoint says with our own tree: one log, never shorter."""
    names = {"log": log, "store": store, "found": published.size, "size": size}
    if published.size > size:
        raise StoreConflict(
            _(
                "%(store)s holds the log “%(log)s” up to %(found)s entries, and this database up"
                " to %(size)s. It was restored to an earlier state, or is not the one that the"
                " copy was made from. Sign nothing: the copy has what is missing here."
            )
            % names
        )
    try:
        root = tiles.StoredTree(log, published.size).root()
    except LookupError as error:
        raise LedgerCorrupted(str(error)) from error
    if root != published.root:
        raise StoreConflict(
            _(
                "%(store)s holds another history of the log “%(log)s”: the first %(found)s entries"
                " have another root there. %(place)s Run manage.py ledger_fsck on both; delete"
                " nothing."
            )
            % {**names, "place": _first_difference(log, store, published.size)}
        )


def _first_difference(log: str, store: Store, size: int) -> str:
    """Say where the store's tree of `size` leaves our own first, by its tiles from the top down."""
    stored, below = tiles.StoredTree(log, size), None
    for level in reversed(range(tiles.LEVELS_MAX)):
        # What stands in upper tiles was the same: only the right edge is not in them.
        index = (size >> TILE_HEIGHT * level) // TILE_WIDTH if below is None else below
        if not (width := stored.width(level, index)):
            continue
        path = tile_path(level, index, None if width == TILE_WIDTH else width)
        theirs = store.read(f"{log}/{path}")
        if theirs is None:
            return _("%(path)s is missing there.") % {"path": path}
        try:
            ours = b"".join(stored.tile(level, index))
        except LookupError as error:
            raise LedgerCorrupted(str(error)) from error
        if theirs != ours:
            below = index * TILE_WIDTH + first_difference(theirs, ours)
        elif below is not None:
            return _("%(path)s is the same in both, and what is above it is not.") % {"path": path}
    if below is None:
        return _("All tiles are the same: the checkpoint there is not theirs.")
    return _("Leaf %(index)s is the first that differs.") % {"index": below}


def _standing(log: str, store: Store, low: int, size: int) -> int:
    """How many leaves, in whole tiles, are certainly copied.

    Batches are written one after another: a bundle that is there vouches for all that lie more
    than a batch before it.
    """
    first, missing = low // TILE_WIDTH, size // TILE_WIDTH

    def is_there(index: int) -> bool:
        return store.read(f"{log}/{bundle_path(index)}") is not None

    present, step = first - 1, 1
    while present + step < missing and is_there(present + step):
        present, step = present + step, step * 2
    missing = min(missing, present + step)
    while missing - present > 1:
        middle = (present + missing) // 2
        present, missing = (middle, missing) if is_there(middle) else (present, middle)
    return max(first, present + 1 - BATCH_TILES) * TILE_WIDTH


# --- what is to be written --------------------------------------------------------------------


def _files(log: str, first: int, size: int) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Give (leaves copied then, path -> bytes) for leaves from `first`, a whole tile, to `size`."""
    try:
        stored = tiles.StoredTree(log, first)
        edge, frontier = stored.right_edge(), tree.Frontier.load(first, stored.node)
    except LookupError as error:
        raise LedgerCorrupted(str(error)) from error
    for start in range(first, size, BATCH_TILES * TILE_WIDTH):
        end = min(size, start + BATCH_TILES * TILE_WIDTH)
        files: dict[str, bytes] = {}
        full: dict[tuple[int, int], bytes] = {}
        bundle: list[bytes] = []
        for body, leaf in _leaves(log, start, end):
            bundle.append(len(body).to_bytes(2) + body)
            edge[0].append(leaf)
            for level, index, root in frontier.push(leaf):
                tile_level, within = divmod(level, TILE_HEIGHT)
                if within == 0:
                    full[tile_level - 1, index] = b"".join(edge[tile_level - 1])
                    edge[tile_level - 1].clear()
                    edge[tile_level].append(root)
            if len(bundle) == TILE_WIDTH:
                files[bundle_path(frontier.size // TILE_WIDTH - 1)] = b"".join(bundle)
                bundle.clear()
        _check_tiles(log, full)
        files |= {tile_path(level, index): hashes for (level, index), hashes in full.items()}
        if end == size:
            _check_root(log, size, frontier.root())
            if bundle:
                files[bundle_path(size // TILE_WIDTH, len(bundle))] = b"".join(bundle)
            files |= _partial(edge, size)
        yield end, files


def _partial(edge: list[list[bytes]], size: int) -> dict[str, bytes]:
    return {
        tile_path(level, size >> TILE_HEIGHT * (level + 1), len(hashes)): b"".join(hashes)
        for level, hashes in enumerate(edge)
        if hashes
    }


def _leaves(log: str, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """The body and leaf hash of each entry, hashed again: what is copied is what was hashed."""
    rows = (
        LedgerLeaf.objects.filter(log=log, index__gte=start, index__lt=end)
        .order_by("index")
        .values_list("index", "leaf_hash", "entry__body")
    )
    expected = start
    for index, leaf, row in rows.iterator(chunk_size=TILE_WIDTH):
        body = bytes(row)
        if index != expected or tree.leaf_hash(body) != bytes(leaf):
            break
        yield body, bytes(leaf)
        expected += 1
    if expected != end:
        raise LedgerCorrupted(
            f"Leaf {expected} of the log “{log}” is missing, or not what was hashed."
        )


def _check_tiles(log: str, full: dict[tuple[int, int], bytes]) -> None:
    """A stored tile that is not what its leaves make it would be copied for good."""
    for level in {level for level, _index in full}:
        indexes = [index for at, index in full if at == level]
        rows = LedgerTile.objects.filter(
            log=log, level=level, index__gte=min(indexes), index__lte=max(indexes)
        )
        found = {row.index: bytes(row.hashes) for row in rows}
        for index in indexes:
            if found.get(index) != full[level, index]:
                raise LedgerCorrupted(
                    f"Tile {level}/{index} of the log “{log}” is not what its leaves make it"
                    f"{_where(level, index, found.get(index), full[level, index])}."
                )


def _where(level: int, index: int, found: bytes | None, made: bytes) -> str:
    if found is None:
        return ": it is missing"
    within = first_difference(found, made)
    return f", from leaf {(index * TILE_WIDTH + within) << TILE_HEIGHT * level} on"


def _check_root(log: str, size: int, root: bytes) -> None:
    recorded = LedgerTree.objects.filter(log=log, size=size).values_list("root", flat=True).first()
    if recorded is None or bytes(recorded) != root:
        raise LedgerCorrupted(
            f"The entries of the log “{log}” do not make its root at size {size}."
        )


def _part(width: int | None) -> str:
    return "" if width is None else f".p/{width}"
