"""Checks a copied log by its files and a key alone: no database, no trust in who copied it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from licensing.ledger import generations, keychain, notes, tiles
from licensing.ledger.export import CHECKPOINT, KEYS, VKEY, bundle_path, tile_path
from licensing.ledger.fsck import Broken, CannotTell, Progress, Sound
from licensing.ledger.regrowth import (
    BundleError,
    Regrowth,
    bundle_leaves,
    bundle_length,
    first_difference,
    fold,
)
from licensing.ledger.stores import Store
from licensing.ledger.tree import HASH_LENGTH, TILE_HEIGHT, TILE_WIDTH

# Below a log there may lie those that continue it, once it was frozen.
_SUCCESSOR = re.compile(r"[0-9]+/")
_TILE = re.compile(r"tile/([0-7]|entries)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


def logs_in(store: Store) -> list[str]:
    """What stands in a store: `test`, `live`, or "" where the store is a log itself."""
    if store.read(CHECKPOINT) is not None or store.read(VKEY) is not None:
        return [""]
    return [
        name
        for log in ("test", "live")
        if next(store.paths(f"{log}/"), None) is not None
        for name in _generations(store, log)
    ]


def _generations(store: Store, name: str) -> list[str]:
    found = [name]
    while next(store.paths(f"{generations.next_of(found[-1])}/"), None) is not None:
        found.append(generations.next_of(found[-1]))
    return found


def check_tiles(
    store: Store,
    log: str,
    keys: Sequence[notes.Verifier] = (),
    progress: Progress = lambda _done, _size: None,
) -> Sound:
    """Check all files of a log below `log`, "" for the store itself.

    With `keys`, signatures must be by one of those, or by one that it gave way to; else by the
    `vkey` that lies there. Raises Broken, CannotTell, and what the store raises.
    """
    prefix = f"{log}/" if log else ""
    return _Check(store, prefix, keys, progress).run(log)


class _Check:
    def __init__(
        self, store: Store, prefix: str, keys: Sequence[notes.Verifier], progress: Progress
    ) -> None:
        self.store, self.prefix, self.keys, self.progress = store, prefix, keys, progress
        self.grown = Regrowth()
        self.reader = keychain.Reader()
        self.changed: set[str] = set()
        self.ahead = 0
        # The last whole file that partial ones were compared with.
        self._base: tuple[str, bytes] = ("", b"")

    def run(self, log: str) -> Sound:
        checkpoint, note = self._checkpoint(self._verifiers(), log)
        self.reader.origin = checkpoint.origin
        size = checkpoint.size
        for index in range(-(-size // TILE_WIDTH)):
            self._tile(index, min(TILE_WIDTH, size - index * TILE_WIDTH), checkpoint)
            self.progress(self.grown.size, size)
        for level, hashes in enumerate(self.grown.edge):
            if hashes and level:
                index = size >> TILE_HEIGHT * (level + 1)
                self._same(tile_path(level, index, len(hashes)), b"".join(hashes), level, index)
        if size and self.grown.roots.get(size) != checkpoint.root:
            raise Broken(self.prefix + CHECKPOINT, "the entries have another root than was signed")
        try:
            self.reader.check(note)
        except notes.SignatureError as error:
            raise Broken(self.prefix + CHECKPOINT, str(error)) from None
        for path in self.store.paths(self.prefix):
            below = path.removeprefix(self.prefix)
            if not _SUCCESSOR.match(below):
                self._listed(below, size)
        return Sound(size, checkpoints=1, ahead=self.ahead)

    # --- key and checkpoint -------------------------------------------------------------------

    def _verifiers(self) -> list[notes.Verifier]:
        """Whom to trust: the keys that were given, or those that lie here; and who followed."""
        listed = self._listed_keys()
        given = list(self.keys)
        try:
            successor, is_vouched = self._successor()
            if successor is not None and is_vouched:
                # Who trusts the frozen log's key trusts the one that it named.
                given.append(successor.continuation.key)
            followed = keychain.follow(
                dict.fromkeys([*given, *listed]),
                lambda key_id: self.store.read(f"{self.prefix}{KEYS}/{key_id}"),
            )
        except keychain.KeyChangeError as error:
            raise Broken(self.prefix + KEYS, str(error)) from None
        self.reader = keychain.Reader(followed, successor)
        self.changed |= {f"{KEYS}/{each.change.old.key_id.hex()}" for each in followed}
        trusted = list(given if self.keys else listed)
        for each in followed:
            if each.change.old in trusted:
                trusted.append(each.change.new)
        if listed and not set(listed) & set(trusted):
            named = ", ".join(each.vkey() for each in self.keys)
            raise Broken(self.prefix + VKEY, f"it is another key than {named}")
        accounted = set(trusted)
        for each in reversed(followed):
            # Who trusts the newest key alone is shown the ones before it, too.
            if each.change.new in accounted:
                accounted.add(each.change.old)
        stray = [each for each in listed if each not in accounted]
        if stray:
            raise Broken(self.prefix + VKEY, f"the log names no such key: {stray[0].vkey()}")
        return trusted

    def _successor(self) -> tuple[keychain.Successor | None, bool]:
        """How the log continues a frozen one, if it does; and whether a given key has signed so."""
        found, is_vouched = None, False
        for path in self.store.paths(f"{self.prefix}{KEYS}/"):
            name = path.removeprefix(f"{self.prefix}{KEYS}/")
            data = self.store.read(path)
            here = None if data is None else keychain.read_successor(data, None)
            if data is None or here is None:
                continue
            key = next((each for each in self.keys if each.key_id.hex() == name), None)
            found = here if key is None else keychain.read_successor(data, key)
            is_vouched = is_vouched or key is not None
            self.changed.add(f"{KEYS}/{name}")
        return found, is_vouched

    def _listed_keys(self) -> list[notes.Verifier]:
        data = self.store.read(self.prefix + VKEY)
        if data is None:
            if not self.keys:
                raise CannotTell(
                    f"{self.prefix}{VKEY} is missing. Give the log's verifier key with --key."
                )
            return []
        try:
            found = [notes.Verifier.parse(line) for line in data.decode().splitlines()]
        except ValueError as error:
            raise Broken(self.prefix + VKEY, str(error)) from None
        if not found or "".join(f"{each.vkey()}\n" for each in found).encode() != data:
            raise Broken(self.prefix + VKEY, "it is not the verifier key and a newline")
        return found

    def _checkpoint(
        self, keys: Sequence[notes.Verifier], log: str
    ) -> tuple[notes.Checkpoint, notes.Note]:
        place = self.prefix + CHECKPOINT
        data = self.store.read(place)
        if data is None:
            raise Broken(
                place, "it is missing: was the copy stopped? Run manage.py ledger_export again"
            )
        try:
            checkpoint, note = notes.open_checkpoint(data.decode(), keys)
        except ValueError as error:
            raise Broken(place, str(error)) from None
        if log and not f"/{checkpoint.origin}".endswith(f"/{log}"):
            raise Broken(place, f"it is of the log {checkpoint.origin}, not of “{log}”")
        return checkpoint, note

    # --- what the checkpoint vouches for ------------------------------------------------------

    def _tile(self, index: int, width: int, checkpoint: notes.Checkpoint) -> None:
        first = index * TILE_WIDTH
        part = None if width == TILE_WIDTH else width
        bundle_place, tile_place = bundle_path(index, part), tile_path(0, index, part)
        bundle = self._read(bundle_place, first)
        hashes = self._read(tile_place, first)
        try:
            leaves = bundle_leaves(bundle, width)
        except BundleError as error:
            # A wrong length misleads the reader from there on: the tile knows where that began.
            told = hashes[: len(error.leaves) * HASH_LENGTH]
            read = b"".join(error.leaves)
            within = first_difference(read, told) if read != told else len(error.leaves)
            leaf = first + min(within, width - 1)
            raise Broken(self.prefix + bundle_place, f"leaf {leaf}: {error}", leaf) from None
        _check_length(self.prefix + tile_place, hashes, width, first)
        if b"".join(leaves) != hashes:
            raise self._guilty(index, leaves, hashes, checkpoint)
        sizes = {checkpoint.size} if first + width == checkpoint.size else set()
        for tile in self.grown.grow(leaves, sizes | self.reader.sizes(first, first + width)):
            if tile.level:
                self._same(tile_path(tile.level, tile.index), tile.hashes, tile.level, tile.index)
        try:
            self.reader.see(bundle, first, self.grown.roots)
        except keychain.KeyChangeError as error:
            raise Broken(self.prefix + bundle_place, str(error), first) from None

    def _guilty(
        self, index: int, leaves: list[bytes], hashes: bytes, checkpoint: notes.Checkpoint
    ) -> Broken:
        """Entries and tile contradict each other: the tree above says which of them is right."""
        within = first_difference(b"".join(leaves), hashes)
        leaf = index * TILE_WIDTH + within
        part = None if len(leaves) == TILE_WIDTH else len(leaves)
        bundle_place = self.prefix + bundle_path(index, part)
        tile_place = self.prefix + tile_path(0, index, part)
        told = tiles.split(hashes)
        if self._leads_up(index, told, checkpoint):
            return Broken(bundle_place, f"leaf {leaf}: the entry is not what was hashed", leaf)
        if self._leads_up(index, leaves, checkpoint):
            return Broken(tile_place, f"leaf {leaf}: its hash is not the one of its entry", leaf)
        both = f"its hash in {tile_place} is another, and neither is what the tree has above them"
        return Broken(bundle_place, f"leaf {leaf}: {both}", leaf)

    def _leads_up(self, index: int, leaves: list[bytes], checkpoint: notes.Checkpoint) -> bool:
        """Whether these leaves are what the next level, or the checkpoint, has of them."""
        if len(leaves) < TILE_WIDTH:
            return self.grown.root_with(leaves) == checkpoint.root
        above, within = divmod(index, TILE_WIDTH)
        count = min(TILE_WIDTH, checkpoint.size // TILE_WIDTH - above * TILE_WIDTH)
        part = None if count == TILE_WIDTH else count
        parents = self.store.read(self.prefix + tile_path(1, above, part)) or b""
        return parents[within * HASH_LENGTH :][:HASH_LENGTH] == fold(b"".join(leaves))

    def _same(self, path: str, hashes: bytes, level: int, index: int) -> None:
        """Compare an upper tile with what the tiles below it make."""
        first = index * TILE_WIDTH << TILE_HEIGHT * level
        found = self._read(path, first)
        _check_length(self.prefix + path, found, len(hashes) // HASH_LENGTH, first)
        if found != hashes:
            within = first_difference(found, hashes)
            leaf = (index * TILE_WIDTH + within) << TILE_HEIGHT * level
            raise Broken(
                self.prefix + path, f"its hash {within}, from leaf {leaf}, is another", leaf
            )

    def _read(self, path: str, leaf: int) -> bytes:
        data = self.store.read(self.prefix + path)
        if data is None:
            raise Broken(self.prefix + path, f"it is missing (leaf {leaf})", leaf)
        return data

    # --- what else lies there -----------------------------------------------------------------

    def _listed(self, path: str, size: int) -> None:
        """Check a file by its name: known, compared before, or the beginning of one that was."""
        if path in {CHECKPOINT, VKEY} | self.changed:
            return
        parts = _TILE.fullmatch(path)
        index = tiles.parse_index(parts[2]) if parts else None
        width = int(parts[3] or TILE_WIDTH) if parts else 0
        if parts is None or index is None or (parts[3] and width >= TILE_WIDTH):
            raise Broken(self.prefix + path, "no log has such a file")
        is_bundle = parts[1] == "entries"
        level = 0 if is_bundle else int(parts[1])
        end = (index * TILE_WIDTH + width) << TILE_HEIGHT * level
        known = max(0, min(TILE_WIDTH, (size >> TILE_HEIGHT * level) - index * TILE_WIDTH))
        if end <= size and width == known:
            return  # compared with its entries, when the tree was grown
        where: Callable[[int | None], str] = (
            (lambda part: bundle_path(index, part))
            if is_bundle
            else (lambda part: tile_path(level, index, part))
        )
        data = self._read(path, min(end, size))
        base = self._base_of(where(None if known == TILE_WIDTH else known)) if known else b""
        if end <= size:
            wanted = base[: bundle_length(base, width) if is_bundle else width * HASH_LENGTH]
            if data != wanted:
                raise Broken(self.prefix + path, "it is not the beginning of its whole tile")
            return
        self.ahead += 1
        if not data.startswith(base):
            raise Broken(self.prefix + path, "it does not go on from what was signed")
        self._ahead(path, data, level, index, width, is_bundle)

    def _ahead(
        self, path: str, data: bytes, level: int, index: int, width: int, is_bundle: bool
    ) -> None:
        """Check a file beyond the checkpoint: of a copy that is being made, or was stopped."""
        place = self.prefix + path
        first = index * TILE_WIDTH << TILE_HEIGHT * level
        if is_bundle:
            try:
                bundle_leaves(data, width)
            except BundleError as error:
                raise Broken(place, str(error), first + len(error.leaves)) from None
            return
        _check_length(place, data, width, first)
        part = None if width == TILE_WIDTH else width
        if level == 0:
            bundle = self.store.read(self.prefix + bundle_path(index, part))
            if bundle is None:
                raise Broken(place, "no log has such a file: it has no entries", first)
            try:
                same = b"".join(bundle_leaves(bundle, width)) == data
            except BundleError:
                same = False
            if not same:
                raise Broken(place, "its hashes are not the ones of its entries", first)
            return
        for within, root in enumerate(tiles.split(data)):
            below = self.store.read(self.prefix + tile_path(level - 1, index * TILE_WIDTH + within))
            if below is None or fold(below) != root:
                raise Broken(place, f"no tile below it makes its hash {within}", first)

    def _base_of(self, path: str) -> bytes:
        if self._base[0] != path:
            self._base = (path, self._read(path, 0))
        return self._base[1]


def _check_length(place: str, hashes: bytes, width: int, leaf: int) -> None:
    if len(hashes) != width * HASH_LENGTH:
        raise Broken(
            place, f"it has {len(hashes)} bytes, not the {width * HASH_LENGTH} of its hashes", leaf
        )
