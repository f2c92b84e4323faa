"""A log as anybody can have it: its checkpoint and tiles, from a server or a directory."""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Iterable
from pathlib import Path

from licensing.ledger import notes, tree
from licensing.ledger.regrowth import bundle_length
from licensing.offline.transport import Interrupted, Refused, Transport

# The largest that each can be: 16 signatures of a checkpoint; 256 hashes; 256 entries.
_CHECKPOINT_MAX = 128 * 1024
_TILE_MAX = tree.TILE_WIDTH * tree.HASH_LENGTH
_BUNDLE_MAX = tree.TILE_WIDTH * (2 + 65_535)


class LogUnavailable(Exception):
    """What is needed of a log cannot be had from this place; says what and why."""


class Log:
    """The files of a log in the layout of C2SP tlog-tiles, below an address or a directory."""

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/")
        self._is_remote = place.startswith(("http://", "https://"))
        self._transport = Transport()
        if not self._is_remote and not Path(place).is_dir():
            raise LogUnavailable(f"{place}: neither a web address nor a directory")

    def beside(self, number: int) -> str | None:
        """Where the log's generation of this number stands; None where no such directory is."""
        head = self.place if number == 2 else self.place.rpartition("/")[0]
        place = f"{head}/{number}"
        return place if self._is_remote or Path(place).is_dir() else None

    def checkpoint(self) -> str:
        """The newest signed state, not verified. Raises LogUnavailable."""
        try:
            return self._found("checkpoint", _CHECKPOINT_MAX).decode()
        except UnicodeDecodeError:
            raise LogUnavailable(f"{self.place}/checkpoint: not UTF-8 text") from None

    def key_change(self, key_id: str) -> bytes | None:
        """The proof that a key gave way to another; None where there is none."""
        return self._read(f"keys/{key_id}", _CHECKPOINT_MAX)

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of a tile. Raises LogUnavailable.

        A partial tile may have been cleared away once its full one was there.
        """
        path = tree.tile_path(level, index, width)
        data = self._read(path, _TILE_MAX)
        if data is None and width < tree.TILE_WIDTH:
            data = self._read(tree.tile_path(level, index, tree.TILE_WIDTH), _TILE_MAX)
        if data is None:
            raise LogUnavailable(f"{self.place}/{path}: not there")
        if len(data) < width * tree.HASH_LENGTH:
            raise LogUnavailable(f"{self.place}/{path}: shorter than {width} hashes")
        return data[: width * tree.HASH_LENGTH]

    def bundle(self, index: int, width: int) -> bytes:
        """The first `width` entries of a bundle, as they stand there. Raises LogUnavailable."""
        path = tree.bundle_path(index, width)
        data = self._read(path, _BUNDLE_MAX)
        if data is None and width < tree.TILE_WIDTH:
            full = self._read(tree.bundle_path(index, tree.TILE_WIDTH), _BUNDLE_MAX)
            data = None if full is None else full[: bundle_length(full, width)]
        if data is None:
            raise LogUnavailable(f"{self.place}/{path}: not there")
        return data

    def close(self) -> None:
        self._transport.close()

    def _found(self, path: str, limit: int) -> bytes:
        data = self._read(path, limit)
        if data is None:
            raise LogUnavailable(f"{self.place}/{path}: not there")
        return data

    def _read(self, path: str, limit: int) -> bytes | None:
        """A file of the log; None where there is none."""
        address = f"{self.place}/{path}"
        try:
            if self._is_remote:
                data = self._fetch(address, limit)
            else:
                with open(address, "rb") as file:
                    data = file.read(limit + 1)
        except FileNotFoundError:
            return None
        except (OSError, http.client.HTTPException, Interrupted, Refused) as error:
            if isinstance(error, Refused) and error.status == 404:
                return None
            reason = getattr(error, "strerror", None) or str(error)
            raise LogUnavailable(f"{address}: {reason}") from None
        if len(data) > limit:
            raise LogUnavailable(f"{address}: larger than {limit} bytes")
        return data

    def _fetch(self, address: str, limit: int) -> bytes:
        response = self._transport.get(address)
        data = response.read(limit + 1)
        if len(data) > limit:
            self._transport.drop(address, response)
        return data


class LogTree:
    """The nodes of a log's tree of `size` leaves: the `GetNode` of proofs. Reads each tile once."""

    def __init__(self, log: Log, size: int) -> None:
        self._log = log
        self._size = size
        self._read: dict[tuple[int, int], bytes] = {}

    def node(self, level: int, index: int) -> bytes:
        part = tree.tile_part(level, index)
        hashes = self._tile(part.level, part.index)
        places = range(part.start, part.start + part.count)
        return tree.fold([hashes[place * 32 : place * 32 + 32] for place in places])

    def root(self) -> bytes:
        return tree.subtree_root(0, self._size, self.node)

    def _tile(self, level: int, index: int) -> bytes:
        key = (level, index)
        if key not in self._read:
            in_level = self._size >> tree.TILE_HEIGHT * level
            width = min(tree.TILE_WIDTH, in_level - index * tree.TILE_WIDTH)
            self._read[key] = self._log.tile(level, index, width)
        return self._read[key]


def check_consistent(log: Log, checkpoints: Iterable[notes.Checkpoint]) -> None:
    """Prove from a log's tiles that of these trees each begins with all smaller ones.

    All tiles are those of the largest: another's partial ones may never have been stored.
    Raises ProofError, which says whose fault it can be, or LogUnavailable.
    """
    ordered = sorted(checkpoints, key=lambda each: each.size)
    largest = ordered[-1]
    stored = LogTree(log, largest.size)
    for older, newer in itertools.pairwise(ordered):
        try:
            proof = []
            if older.size < newer.size:
                proof = tree.consistency_proof(older.size, newer.size, stored.node)
            tree.verify_consistency(older.size, newer.size, proof, older.root, newer.root)
        except tree.ProofError:
            if stored.root() != largest.root:
                raise tree.ProofError(
                    f"the tiles at {log.place} do not make the root that was signed for "
                    f"{largest.size} entries"
                ) from None
            raise tree.ProofError(
                f"{newer.origin} signed a tree of {newer.size} entries that does not continue the "
                f"tree of {older.size} entries that it signed too. Keep both: they prove it"
            ) from None
