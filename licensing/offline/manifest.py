"""A delivery manifest: received line by line, checked against the cited set, kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from licensing import jcs, settree
from licensing.layout import ManifestId

LINE_MAX = 1024 * 1024

_HEX_32 = re.compile(r"[0-9a-f]{64}")


class ManifestError(Exception):
    """The manifest is cut off, malformed, or not of the set that it cites."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Work:
    """One line of a manifest: an exact sequence of bytes, and where to get it."""

    digest: str
    length: int
    media_type: str
    external_id: str | None
    title: str | None
    path: str | None
    # None: nothing to fetch, because the seller delivers it otherwise, or because it is excluded.
    url: str | None
    # Why a work is out of licensing now ("opted_out", …); None for all others.
    excluded: str | None = None
    # Where its bytes stand in the tar shards, if they do.
    shard: int | None = None
    offset: int | None = None


class Manifest:
    """A complete, checked manifest in a file; in memory only its head and 8 bytes per work."""

    def __init__(self, head: Mapping[str, Any], root: settree.SetRoot) -> None:
        self.grant: str = head["grant"]
        self.livemode: bool = head["livemode"]
        self.root = root
        # The manifest's content address, and a template of its shards' addresses; "" for none.
        self.id: str = head.get("manifest", "")
        self.shards_url: str = head["shards"]["url"] if "shards" in head else ""
        self.bytes = 0
        self.units = settree.UnitTotals()
        self.excluded = 0
        self.offsets = array("Q")
        self._lock = threading.Lock()
        self._file: BinaryIO

    def open(self, path: Path) -> None:
        # Kept open: a newer manifest may take the name, and these offsets are of this one.
        self._file = path.open("rb")

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self.offsets)

    def work(self, number: int) -> Work:
        """Read one work by its place. Safe to call from several threads."""
        with self._lock:
            self._file.seek(self.offsets[number])
            line = self._file.readline()
        return _work(json.loads(line))

    def works(self, start: int, stop: int) -> list[Work]:
        """Read works from one place up to another, which costs less than one by one."""
        stop = min(stop, len(self))
        with self._lock:
            self._file.seek(self.offsets[start])
            lines = [self._file.readline() for _number in range(start, stop)]
        return [_work(json.loads(line)) for line in lines]


def receive(source: BinaryIO, path: Path, on_work: Callable[[int], None]) -> Manifest:
    """Store a manifest while checking it: complete, ascending, and of the set that it cites.

    `path` appears only when all of that holds. Raises ManifestError. `on_work` hears how many
    works have come so far.
    """
    part = path.with_name(path.name + ".part")
    # The manifest holds the set's secret and links that work for whoever has them.
    with open(part, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        line, record = _record(source)
        if record.get("type") == "error":
            raise _server_error(record)
        root, secret = _head(record)
        manifest = Manifest(record, root)
        file.write(line)
        tree = settree.SetTree(root.type, secret)
        try:
            tree.extend(_items(source, file, manifest, on_work))
        except settree.SetTreeError as error:
            raise ManifestError("manifest_invalid", f"the manifest's works: {error}") from None
        found = tree.finish(root.totals)
    if found != root:
        raise ManifestError(
            "set_root_differs",
            f"the manifest's works are not the set that it cites: they make {found.size} items "
            f"with root {found.root.hex()}, cited are {root.size} with root {root.root.hex()}",
        )
    _check_totals(manifest)
    os.replace(part, path)
    manifest.open(path)
    return manifest


def _items(
    source: BinaryIO, file: BinaryIO, manifest: Manifest, on_work: Callable[[int], None]
) -> Iterator[tuple[bytes, bytes]]:
    """Copy works to the file, giving what their leaves are made of, up to the last record."""
    position = file.tell()
    made = ManifestId(manifest.root.citation())
    while True:
        line, record = _record(source)
        if record.get("type") == "work":
            work = _work(record)
            metadata: Any = record.get("metadata")
            if not _describes(metadata, work):
                raise ManifestError(
                    "manifest_invalid", f"the metadata of {work.digest} is of another work"
                )
            manifest.offsets.append(position)
            manifest.bytes += work.length
            manifest.units.add(metadata.get("units", {}))
            if work.excluded is not None:
                manifest.excluded += 1
                made.exclude(bytes.fromhex(work.digest))
            position += file.write(line)
            on_work(len(manifest))
            yield bytes.fromhex(work.digest), _hashed(metadata, work)
        elif record.get("type") == "end":
            if record.get("count") != len(manifest):
                raise ManifestError(
                    "manifest_incomplete",
                    f"the manifest counts {record.get('count')} works and brought {len(manifest)}",
                )
            if source.read(1):
                raise ManifestError("manifest_invalid", "the manifest goes on after its end")
            # What is kept can be received again, by `decide`.
            file.write(line)
            if manifest.id:
                _check_end(record, manifest, made.hexdigest())
            return
        elif record.get("type") == "error":
            raise _server_error(record)
        else:
            raise ManifestError("manifest_invalid", "the manifest holds an unknown record")


def _check_end(record: Mapping[str, Any], manifest: Manifest, made: str) -> None:
    """The works are those that the manifest is named for, and the last record says the same."""
    said = [record.get(name) for name in ("manifest", "excluded", "bytes")]
    if manifest.id != made or said != [made, manifest.excluded, manifest.bytes]:
        raise ManifestError(
            "manifest_differs", f"the manifest is not {manifest.id}, which it calls itself"
        )


def _record(source: BinaryIO) -> tuple[bytes, dict[str, Any]]:
    line = source.readline(LINE_MAX + 1)
    if not line.endswith(b"\n"):
        if len(line) > LINE_MAX:
            raise ManifestError("manifest_invalid", "a line of the manifest is too long")
        raise ManifestError(
            "manifest_incomplete", "the manifest was cut off: it has no last record"
        )
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise ManifestError("manifest_invalid", "a line of the manifest is no JSON") from None
    if not isinstance(record, dict):
        raise ManifestError("manifest_invalid", "a line of the manifest is no JSON object")
    return line, record


def _head(record: Mapping[str, Any]) -> tuple[settree.SetRoot, bytes]:
    try:
        snapshot, secret = record["snapshot"], bytes.fromhex(record["secret"])
        root = settree.SetRoot(
            tree=snapshot["tree"],
            type=snapshot["type"],
            size=snapshot["size"],
            root=bytes.fromhex(snapshot["root"]),
            totals=dict(snapshot["totals"]),
        )
        citation = root.citation().hex()
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError("manifest_invalid", f"the manifest's first record: {error}") from None
    if record.get("type") != "manifest" or record.get("v") != 1:
        raise ManifestError("manifest_invalid", "this is no delivery manifest of version 1")
    if not isinstance(record.get("grant"), str) or not isinstance(record.get("livemode"), bool):
        raise ManifestError("manifest_invalid", "the manifest names no grant or no mode")
    if "manifest" in record and not _is_hex_32(record["manifest"]):
        raise ManifestError("manifest_invalid", "the manifest's name is no SHA-256 in hex")
    shards = record.get("shards", {"url": ""})
    if not isinstance(shards, dict) or not isinstance(shards.get("url"), str):
        raise ManifestError("manifest_invalid", "the manifest's shards have no address")
    if root.tree != settree.TREE or root.type not in settree.TYPES or len(secret) != 32:
        raise ManifestError("manifest_invalid", "the manifest is of an unknown kind of set")
    if citation != snapshot.get("citation"):
        raise ManifestError("set_root_differs", "the manifest's citation is not that of its set")
    return root, secret


def _work(record: Mapping[str, Any]) -> Work:
    digest: Any = record.get("digest")
    length: Any = record.get("length")
    url = record.get("url")
    # The digest becomes a file name: nothing but hexadecimal digits may.
    if not _is_hex_32(digest):
        raise ManifestError("manifest_invalid", "a work has no SHA-256 digest in hex")
    if not _is_count(length):
        raise ManifestError("manifest_invalid", f"the length of {digest} is no whole number")
    if url is not None and not isinstance(url, str):
        raise ManifestError("manifest_invalid", f"the link of {digest} is no text")
    shard, offset = record.get("shard"), record.get("offset")
    if (shard, offset) != (None, None) and not (_is_count(shard) and _is_count(offset)):
        raise ManifestError("manifest_invalid", f"the place of {digest} in its shard is none")
    return Work(
        digest=digest,
        length=length,
        media_type=str(record.get("media_type")),
        external_id=_text(record.get("external_id")),
        title=_text(record.get("title")),
        path=_text(record.get("path")),
        url=url,
        excluded=_text(record.get("excluded")),
        shard=shard,
        offset=offset,
    )


def _hashed(metadata: Any, work: Work) -> bytes:
    try:
        return hashlib.sha256(jcs.dumps(metadata)).digest()
    except (TypeError, ValueError) as error:
        raise ManifestError(
            "manifest_invalid", f"the metadata of {work.digest} cannot be hashed: {error}"
        ) from None


def _check_totals(manifest: Manifest) -> None:
    """What the set is said to add up to, and may have been paid by, is what its works add up to."""
    count = len(manifest)
    made = {"works": count, "bytes": manifest.bytes, **manifest.units.of(count)}
    for name, total in manifest.root.totals.items():
        if total != made.get(name):
            raise ManifestError(
                "totals_differ",
                f"the manifest's set is said to have {total} {name}, its works have"
                f" {made.get(name, 'no such total')}",
            )


def _is_hex_32(value: Any) -> bool:
    return isinstance(value, str) and _HEX_32.fullmatch(value) is not None


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _describes(metadata: Any, work: Work) -> bool:
    """Whether the hashed metadata says of the work what its line says, and counts in integers."""
    if not isinstance(metadata, dict) or not isinstance(metadata.get("representation"), dict):
        return False
    units = metadata.get("units", {})
    if not isinstance(units, dict) or not all(map(_is_count, units.values())):
        return False
    representation = metadata["representation"]
    said = (representation.get("length"), representation.get("media_type"))
    return said == (work.length, work.media_type)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _server_error(record: Mapping[str, Any]) -> ManifestError:
    code = str(record.get("code", "error"))
    return ManifestError(code, f"the server stopped the manifest: {code}: {record.get('detail')}")
