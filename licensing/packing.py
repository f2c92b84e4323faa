"""Ledger entries and what opens them, as bytes: canonical JSON, deflated with a dictionary of ours.

A packed value is one byte for its version, then raw deflate (RFC 1951) with the version's preset
dictionary, `packing_<version>.txt`: entries as they typically are. Since version 2, what looks
random is not deflated: digests, references and the keys in TypeIDs leave a mark in the text, a
control character that JSON has none of, and follow the deflated text as the bytes that they spell.

Versions 1 and 2 are of what opens an entry. Version 3 is of its body, where instants leave a mark,
too, and each digest its own: what is packed does not depend on what it says elsewhere.

What was packed once must always unpack: a dictionary never changes; a better one is another
version's.
"""

from __future__ import annotations

import re
import zlib
from datetime import datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path

VERSION = 2
_VERSIONS = frozenset({1, 2})
_BODY = b"\x03"
# C2SP tlog-tiles writes an entry's length in two bytes.
_BODY_MAX = 65_535

# A digest of 32 bytes, one that came before, a reference of 16 bytes, the key of a TypeID.
_DIGEST, _AGAIN, _REFERENCE, _KEY = b"\x01", b"\x02", b"\x03", b"\x04"
_RANDOM = re.compile(
    rb"""(["_])(?:(?P<digest>[0-9a-f]{64})|(?P<reference>[0-9a-f]{32})"""
    rb"""|(?P<key>[0-7][0-9a-hjkmnp-tv-z]{25}))(?=")"""
)
_MARK = re.compile(rb"\x01|\x02([0-~])|\x03|\x04")
_MARKS = re.compile(rb"[\x01-\x04]")
# In a body: the same, and an instant, as microseconds since 1970 in 8 bytes.
_INSTANT = b"\x05"
_BODY_RANDOM = re.compile(
    rb""""(?:(?P<digest>[0-9a-f]{64})|(?P<reference>[0-9a-f]{32})"""
    rb"""|(?P<instant>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})Z)(?=")"""
)
_BODY_MARKS = re.compile(rb"[\x01\x03\x05]")
# How many bytes follow for each mark.
_BODY_TAKEN = {_DIGEST: 32, _REFERENCE: 16, _INSTANT: 8}
_EPOCH, _MICROSECOND = datetime(1970, 1, 1), timedelta(microseconds=1)
# What says which digest came before is printable.
_FIRST, _AGAIN_MAX = ord("0"), ord("~") - ord("0")

# Crockford's base32, and what Python reads and writes.
_CROCKFORD = b"0123456789abcdefghjkmnpqrstvwxyz"
_PLAIN = bytes.maketrans(_CROCKFORD, b"0123456789abcdefghijklmnopqrstuv")


class PackingError(ValueError):
    """Bytes that no version of ours has packed."""


def pack(text: bytes) -> bytes:
    """Pack canonical JSON with the newest version."""
    if _MARKS.search(text):
        # No JSON, then, and nothing that a mark could stand for.
        return b"\x01" + _deflate(text, 1)
    marked, taken = _mark(text)
    return b"\x02" + _deflate(marked, 2) + taken


def unpack(packed: bytes) -> bytes:
    """Give exactly what was packed, by any version. Raises PackingError."""
    version = packed[0] if packed else 0
    if version not in _VERSIONS:
        raise PackingError(f"it is packed in an unknown way ({version})")
    unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=_dictionary(version))
    try:
        text = unpacker.decompress(packed[1:])
    except zlib.error as error:
        raise PackingError(f"it does not unpack: {error}") from None
    if not unpacker.eof:
        raise PackingError("it does not end where it should")
    if version == 1:
        if unpacker.unused_data:
            raise PackingError("it does not end where it should")
        return text
    return _unmark(text, unpacker.unused_data)


def pack_body(body: bytes) -> bytes:
    """Pack an entry's body. What is no JSON object is given back as it is, and is stored so."""
    if not body.startswith(b"{") or _BODY_MARKS.search(body):
        return body
    text, taken = _mark_body(body)
    return _BODY + _deflated(text) + taken


def pack_body_around(before: bytes, after: bytes, digests: int) -> tuple[bytes, bytes]:
    """Pack a body between whose parts so many digests will stand, as strings with commas between.

    Gives what comes before their bytes, and what comes after: together they are what `pack_body`
    makes of the whole.
    """
    head, first = _mark_body(before)
    tail, last = _mark_body(after)
    between = b",".join([b'"' + _DIGEST + b'"'] * digests)
    return _BODY + _deflated(head + between + tail) + first, last


def unpack_body(stored: bytes) -> bytes:
    """Give an entry's body as it was hashed, of a row that holds it packed, or as it is.

    What does not unpack is given as it stands: it has another hash than was recorded.
    """
    if not stored.startswith(_BODY):
        return stored
    unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=_dictionary(_BODY[0]))
    try:
        text = unpacker.decompress(stored[1:], _BODY_MAX)
        body = _unmark_body(text, unpacker.unused_data) if unpacker.eof else stored
    except (zlib.error, PackingError):
        return stored
    # A mark is one byte of the text, and up to 64 of the body: what fits the column may not a tile.
    return body if len(body) <= _BODY_MAX else stored


def _deflate(text: bytes, version: int) -> bytes:
    # Memory enough for a text of some thousand bytes: more takes longer to clear than to fill.
    packer = zlib.compressobj(
        level=9, wbits=-zlib.MAX_WBITS, memLevel=7, zdict=_dictionary(version)
    )
    return packer.compress(text) + packer.flush()


def _mark(text: bytes) -> tuple[bytes, bytes]:
    """Take what looks random out of a text: the text with marks, and what was taken."""
    taken: list[bytes] = []
    digests: dict[bytes, int] = {}

    def mark(found: re.Match[bytes]) -> bytes:
        before = found[1]
        if key := found["key"]:
            taken.append(int(key.translate(_PLAIN), 32).to_bytes(16))
            return before + _KEY
        if reference := found["reference"]:
            taken.append(bytes.fromhex(reference.decode()))
            return before + _REFERENCE
        digest = bytes.fromhex(found["digest"].decode())
        place = digests.get(digest)
        if place is not None and place <= _AGAIN_MAX:
            return before + _AGAIN + bytes([_FIRST + place])
        digests.setdefault(digest, len(digests))
        taken.append(digest)
        return before + _DIGEST

    return _RANDOM.sub(mark, text), b"".join(taken)


def _unmark(text: bytes, taken: bytes) -> bytes:
    at = 0
    digests: list[bytes] = []

    def take(length: int) -> bytes:
        nonlocal at
        at += length
        if at > len(taken):
            raise PackingError("it does not end where it should")
        return taken[at - length : at]

    def spell(found: re.Match[bytes]) -> bytes:
        mark = found[0][:1]
        if mark == _KEY:
            return _spell_key(int.from_bytes(take(16)))
        if mark == _REFERENCE:
            return take(16).hex().encode()
        if mark == _AGAIN:
            place = found[1][0] - _FIRST
            if place >= len(digests):
                raise PackingError("it does not unpack: a digest before the first")
            return digests[place]
        digest = take(32).hex().encode()
        if digest not in digests:
            digests.append(digest)
        return digest

    whole = _MARK.sub(spell, text)
    if at != len(taken):
        raise PackingError("it does not end where it should")
    return whole


@lru_cache(maxsize=256)
def _deflated(text: bytes) -> bytes:
    """A body's text without all that is its own is that of many bodies."""
    return _deflate(text, _BODY[0])


def _mark_body(text: bytes) -> tuple[bytes, bytes]:
    taken: list[bytes] = []

    def mark(found: re.Match[bytes]) -> bytes:
        if digest := found["digest"]:
            taken.append(bytes.fromhex(digest.decode()))
            return b'"' + _DIGEST
        if reference := found["reference"]:
            taken.append(bytes.fromhex(reference.decode()))
            return b'"' + _REFERENCE
        try:
            at = datetime.fromisoformat(found["instant"].decode())
        except ValueError:
            return found[0]  # no day or hour that there is
        instant = ((at - _EPOCH) // _MICROSECOND).to_bytes(8, signed=True)
        if _spell_instant(instant) != found[0][1:]:
            return found[0]
        taken.append(instant)
        return b'"' + _INSTANT

    return _BODY_RANDOM.sub(mark, text), b"".join(taken)


def _unmark_body(text: bytes, taken: bytes) -> bytes:
    at = 0

    def spell(found: re.Match[bytes]) -> bytes:
        nonlocal at
        length = _BODY_TAKEN[found[0]]
        at += length
        if at > len(taken):
            raise PackingError("it does not end where it should")
        piece = taken[at - length : at]
        return _spell_instant(piece) if found[0] == _INSTANT else piece.hex().encode()

    whole = _BODY_MARKS.sub(spell, text)
    if at != len(taken):
        raise PackingError("it does not end where it should")
    return whole


def _spell_instant(instant: bytes) -> bytes:
    try:
        at = _EPOCH + int.from_bytes(instant, signed=True) * _MICROSECOND
    except OverflowError:
        raise PackingError("it has an instant that no calendar has") from None
    return at.isoformat(timespec="microseconds").encode() + b"Z"


def _spell_key(key: int) -> bytes:
    return bytes(_CROCKFORD[key >> shift & 31] for shift in range(125, -1, -5))


@cache
def _dictionary(version: int) -> bytes:
    return Path(__file__).with_name(f"packing_{version}.txt").read_bytes()
