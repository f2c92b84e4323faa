"""Tar shards of a manifest's hosted works: never stored, each byte computed when it is asked for.

Only the layout is kept, 52 bytes a work in a file of the store, and made again when it is gone.
"""

from __future__ import annotations

import json
import mmap
import os
import secrets
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from django.conf import settings

from licensing.layout import BLOCK, END, Places, header, padded
from marketplace import storage

# A record: the work's digest, its length, its shard, and where in it the bytes begin.
_RECORD = struct.Struct(">32sQIQ")
_TAIL = struct.Struct(">Q")
# Kept for whoever pulls now; whoever comes later has them made again.
_LAYOUTS_KEPT = 64
# What is checked together before it is sent.
_GROUP_LENGTH = 2_000
_GROUP_BYTES = 32 << 20
_PIECE_BYTES = 256 * 1024

# One process makes one layout at a time: eight that pull begin together.
_making = threading.Lock()


@dataclass(frozen=True, slots=True)
class Member:
    """A work's place: the digest, and where its bytes stand in which shard."""

    digest: bytes
    length: int
    shard: int
    offset: int

    @property
    def begin(self) -> int:
        return self.offset - BLOCK

    @property
    def end(self) -> int:
        return self.offset + padded(self.length)


@dataclass(frozen=True, slots=True)
class Shard:
    """One archive: which members it holds, and its length in bytes."""

    number: int
    first: int
    count: int
    length: int


class Layout:
    """Where every hosted work of one manifest stands."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        [size] = _TAIL.unpack_from(self._map, len(self._map) - _TAIL.size)
        self._end = len(self._map) - _TAIL.size - size
        table = json.loads(self._map[self._end : self._end + size])
        self.shards = [Shard(number, *row) for number, row in enumerate(table)]

    def __len__(self) -> int:
        return int(self._end) // _RECORD.size

    def members(self) -> Iterator[Member]:
        return map(self.member, range(len(self)))

    def member(self, index: int) -> Member:
        return Member(*_RECORD.unpack_from(self._map, index * _RECORD.size))

    def groups(self, shard: Shard, start: int, end: int) -> Iterator[list[Member]]:
        """The members that bytes `start` to `end` of a shard touch, some at a time."""
        low, high = shard.first, shard.first + shard.count
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.member(middle).end <= start else (low, middle)
        members = map(self.member, range(low, shard.first + shard.count))
        group: list[Member] = []
        for member in members:
            if member.begin >= end:
                break
            group.append(member)
            if len(group) == _GROUP_LENGTH or member.end - group[0].begin >= _GROUP_BYTES:
                yield group
                group = []
        if group:
            yield group


def layout(manifest: str) -> Layout | None:
    """The layout of a manifest, if it was made and is still kept."""
    try:
        found = Layout(_path(manifest))
    except FileNotFoundError:
        return None
    with suppress(OSError):
        # The least recently used goes first.
        os.utime(_path(manifest))
    return found


def make(manifest: str, works: Iterable[tuple[bytes, int]]) -> Layout:
    """Lay out works (digest, length; ascending) as shards, and keep that."""
    with _making:
        path = _path(manifest)
        path.parent.mkdir(parents=True, exist_ok=True)
        making = path.with_name(f"{manifest}.{secrets.token_hex(8)}")
        try:
            _write(making, works)
            making.replace(path)
        finally:
            making.unlink(missing_ok=True)
        _forget(path.parent)
        return Layout(path)


def chunks(members: Iterable[Member], start: int, end: int) -> Iterator[bytes]:
    """Bytes `start` to `end` of a shard, as far as these members make them."""
    held: list[bytes] = []
    size = 0
    for member in members:
        for piece in _member(member, start, end):
            held.append(piece)
            size += len(piece)
            if size >= _PIECE_BYTES:
                yield b"".join(held)
                held, size = [], 0
    if held:
        yield b"".join(held)


def tail(shard: Shard, start: int, end: int) -> bytes:
    """What of a shard's end lies in bytes `start` to `end`."""
    begin = shard.length - len(END)
    return END[max(0, start - begin) : max(0, end - begin)]


def _member(member: Member, start: int, end: int) -> Iterator[bytes]:
    if start < member.offset:
        head = header(member.digest.hex(), member.length)
        yield head[max(0, start - member.begin) : end - member.begin]
    first = max(0, start - member.offset)
    last = min(member.length, end - member.offset)
    if first < last:
        yield from storage.chunks(member.digest, first, last)
    first = max(member.offset + member.length, start)
    last = min(member.end, end)
    if first < last:
        yield bytes(last - first)


def _write(path: Path, works: Iterable[tuple[bytes, int]]) -> None:
    places = Places()
    # Of each shard: its first member, how many, and its length.
    table: list[list[int]] = []
    first = count = 0
    pack = _RECORD.pack
    with path.open("wb") as file:
        rows = _placed(works, places)
        while batch := list(islice(rows, 5_000)):
            for _digest, _length, shard, _offset in batch:
                if shard != len(table):
                    table.append([first, count - first, 0])
                    first = count
                count += 1
            file.write(b"".join(pack(*row) for row in batch))
        if count:
            table.append([first, count - first, 0])
        file.flush()
        _measure(path, table)
        said = json.dumps(table).encode()
        file.write(said + _TAIL.pack(len(said)))


def _measure(path: Path, table: list[list[int]]) -> None:
    """A shard is as long as where its last member ends, and its end."""
    with path.open("rb") as file:
        for row in table:
            file.seek((row[0] + row[1] - 1) * _RECORD.size)
            last = Member(*_RECORD.unpack(file.read(_RECORD.size)))
            row[2] = last.end + len(END)


def _placed(
    works: Iterable[tuple[bytes, int]], places: Places
) -> Iterator[tuple[bytes, int, int, int]]:
    for digest, length in works:
        place = places.place(length)
        if place is not None:
            yield digest, length, *place


def _forget(folder: Path) -> None:
    found = []
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            found.append((path.stat().st_mtime, path))
    for _time, path in sorted(found)[:-_LAYOUTS_KEPT]:
        path.unlink(missing_ok=True)


def _path(manifest: str) -> Path:
    return Path(settings.STORAGE_DIR) / "layouts" / manifest
