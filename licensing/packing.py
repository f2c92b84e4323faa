"""What opens a ledger entry, as bytes: its canonical JSON, deflated with a dictionary of ours.

A packed value is one byte for its version, then raw deflate (RFC 1951) with the version's preset
dictionary, `packing_<version>.txt`: entries as they typically are. Since version 2, what looks
random is not deflated: digests, references and the keys in TypeIDs leave a mark in the text, a
control character that JSON has none of, and follow the deflated text as the bytes that they spell.

What was packed once must always unpack: a dictionary never changes; a better one is another
version's.
"""

from __future__ import annotations

import re
import zlib
from functools import cache
from pathlib import Path

VERSION = 2
_VERSIONS = frozenset({1, 2})

# A digest of 32 bytes, one that came before, a reference of 16 bytes, the key of a TypeID.
_DIGEST, _AGAIN, _REFERENCE, _KEY = b"\x01", b"\x02", b"\x03", b"\x04"
_RANDOM = re.compile(
    rb"""(["_])(?:(?P<digest>[0-9a-f]{64})|(?P<reference>[0-9a-f]{32})"""
    rb"""|(?P<key>[0-7][0-9a-hjkmnp-tv-z]{25}))(?=")"""
)
_MARK = re.compile(rb"\x01|\x02([0-~])|\x03|\x04")
_MARKS = re.compile(rb"[\x01-\x04]")
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


def _spell_key(key: int) -> bytes:
    return bytes(_CROCKFORD[key >> shift & 31] for shift in range(125, -1, -5))


@cache
def _dictionary(version: int) -> bytes:
    return Path(__file__).with_name(f"packing_{version}.txt").read_bytes()
