"""Hosted bytes, kept under their SHA-256: `sha256/ab/cd/<hex>` in STORAGE_DIR or in a bucket."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from django.conf import settings

if TYPE_CHECKING:
    from marketplace.buckets import Bucket

_CHUNK = 1 << 20
_READ = 256 * 1024
# The file system writes many files' journals at once, if they are asked for at once.
_FLUSHES_AT_ONCE = 8
# What lies in `incoming` for so long was left by a process that died.
_ABANDONED_SECONDS = 24 * 3600


class Readable(Protocol):
    """A binary stream that returns no bytes at its end."""

    def read(self, size: int, /) -> bytes: ...


class Unreadable(Exception):
    """The stream that was to be kept failed, not the store."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What was put: SHA-256 (32 bytes) and length in bytes."""

    digest: bytes
    length: int


class Intake:
    """Bytes on their way into the store: copied one by one, made durable together.

    Nothing stands under its digest before `settle`, and never half-written; a crash leaves at
    most files in `incoming`, which no digest names.
    """

    def __init__(self) -> None:
        self._root = Path(settings.STORAGE_DIR)
        self._waiting: dict[bytes, Path] = {}
        self._incoming = self._root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def put(self, stream: Readable) -> Stored:
        """Copy a stream, read once: hashed while it is copied. Raises Unreadable."""
        begin = _read(stream)
        rest = _read(stream)
        if not rest:
            # Small: known bytes are recognized before anything is written.
            kept = Stored(hashlib.sha256(begin).digest(), len(begin))
            if self._knows(kept):
                return kept
        temporary = self._incoming / secrets.token_hex(16)
        try:
            kept = _copy(chain([begin, rest], iter(partial(_read, stream), b"")), temporary)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if self._knows(kept):
            temporary.unlink()
        else:
            self._waiting[kept.digest] = temporary
        return kept

    def settle(self) -> None:
        """Keep what was put, for good: after this, a row that names it may commit."""
        bucket = _bucket()
        if bucket is not None:
            _send(bucket, self._waiting)
            self.discard()
            return
        _flush(self._waiting.values())
        folders = set()
        while self._waiting:
            digest, temporary = next(iter(self._waiting.items()))
            final = path(digest)
            if not final.parent.exists():
                final.parent.mkdir(parents=True, exist_ok=True)
                # A new folder is itself an entry of the one above.
                folders |= {final.parent.parent, final.parent.parent.parent}
            temporary.replace(final)
            del self._waiting[digest]
            folders.add(final.parent)
        _flush(folders)

    def discard(self) -> None:
        """Drop what was put and not settled."""
        for temporary in self._waiting.values():
            temporary.unlink(missing_ok=True)
        self._waiting.clear()

    def _knows(self, kept: Stored) -> bool:
        return kept.digest in self._waiting or _holds(kept.digest, kept.length)

    def _sweep(self) -> None:
        oldest = time.time() - _ABANDONED_SECONDS
        for left in self._incoming.iterdir():
            with suppress(FileNotFoundError):
                if left.stat().st_mtime < oldest:
                    left.unlink()


def put(stream: Readable) -> Stored:
    """Keep one stream's bytes durably. The same bytes twice are kept once. Raises Unreadable."""
    intake = Intake()
    kept = intake.put(stream)
    intake.settle()
    return kept


def adopt(file: Path, digest: bytes) -> None:
    """Keep a whole file of the store's own file system under its digest, without copying it.

    The file must be durable, hash to `digest`, and never be written again: it keeps its name, too.
    """
    if _holds(digest, file.stat().st_size):
        return
    bucket = _bucket()
    if bucket is not None:
        bucket.put(_name(digest), file)
        return
    final = path(digest)
    incoming = Path(settings.STORAGE_DIR) / "incoming"
    temporary = incoming / secrets.token_hex(16)
    incoming.mkdir(parents=True, exist_ok=True)
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        # A second name for the same bytes, so that adopting can be done again after a crash.
        os.link(file, temporary)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with file.open("rb") as stream:
            assert put(stream).digest == digest, "An adopted file hashes to its digest."
        return
    temporary.replace(final)
    _flush([final.parent, final.parent.parent, final.parent.parent.parent])


def path(digest: bytes) -> Path:
    """Where the bytes of a digest stand in STORAGE_DIR, whether or not they are there."""
    return Path(_file(digest))


def chunks(digest: bytes, start: int, end: int) -> Generator[bytes]:
    """Read bytes `start` to `end` of what is kept. Raises OSError where they are not all there."""
    bucket = _bucket()
    if bucket is not None:
        yield from bucket.chunks(_name(digest), start, end)
        return
    # Opened by its first reader: what nobody reads leaves nothing to close.
    with open(_file(digest), "rb", buffering=0) as file:
        if start:
            file.seek(start)
        while start < end:
            chunk = file.read(min(_READ, end - start))
            if not chunk:
                raise OSError(f"{digest.hex()} ended early")
            start += len(chunk)
            yield chunk


def length(digest: bytes) -> int | None:
    """How many bytes are kept of a digest; None where none are."""
    bucket = _bucket()
    if bucket is not None:
        return bucket.length(_name(digest))
    try:
        return path(digest).stat().st_size
    except FileNotFoundError:
        return None


def _name(digest: bytes) -> str:
    name = digest.hex()
    return f"sha256/{name[:2]}/{name[2:4]}/{name}"


def _file(digest: bytes) -> str:
    # Text: a path's parts would be taken apart and joined again for each of a shard's works.
    return f"{settings.STORAGE_DIR}/{_name(digest)}"


def _bucket() -> Bucket | None:
    """The bucket that keeps hosted works; None where they are files of STORAGE_DIR."""
    if not settings.STORAGE_BUCKET["name"]:
        return None
    # Only here: boto3 takes a second to load, in every process and command.
    from marketplace import buckets

    return buckets.hosted()


def _send(bucket: Bucket, files: Mapping[bytes, Path]) -> None:
    with ThreadPoolExecutor(_FLUSHES_AT_ONCE) as pool:
        names = map(_name, files)
        # Consumed, so that a failure is raised here.
        for _done in pool.map(bucket.put, names, files.values()):
            pass


def _holds(digest: bytes, expected: int) -> bool:
    return length(digest) == expected


def _copy(chunks: Iterable[bytes], temporary: Path) -> Stored:
    digest, length = hashlib.sha256(), 0
    # Unbuffered: whole chunks are written, and buffering would copy them once more.
    with temporary.open("xb", buffering=0) as target:
        for chunk in chunks:
            digest.update(chunk)
            length += len(chunk)
            rest = memoryview(chunk)
            while rest:
                rest = rest[target.write(rest) :]
    return Stored(digest.digest(), length)


def _read(stream: Readable) -> bytes:
    try:
        return stream.read(_CHUNK)
    except OSError as error:
        raise Unreadable(error.strerror or type(error).__name__) from error


def _flush(paths: Iterable[Path]) -> None:
    """Have files or folders written to disk; a rename, too, is lost in a power cut otherwise."""
    with ThreadPoolExecutor(_FLUSHES_AT_ONCE) as pool:
        # Consumed, so that a failure is raised here.
        for _done in pool.map(_flush_one, list(paths)):
            pass


def _flush_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
