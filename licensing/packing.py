"""What opens a ledger entry, as bytes: its canonical JSON, deflated with a dictionary of ours.

A packed value is one byte for its version, then raw deflate (RFC 1951) with the version's preset
dictionary, `packing_<version>.txt`: entries as they typically are. What was packed once must
always unpack: a dictionary never changes; a better one is another version's.
"""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path

VERSION = 1
_VERSIONS = frozenset({1})


class PackingError(ValueError):
    """Bytes that no version of ours has packed."""


def pack(text: bytes) -> bytes:
    """Pack canonical JSON with the newest version."""
    packer = zlib.compressobj(
        level=9, wbits=-zlib.MAX_WBITS, memLevel=9, zdict=_dictionary(VERSION)
    )
    return bytes([VERSION]) + packer.compress(text) + packer.flush()


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
    if not unpacker.eof or unpacker.unused_data:
        raise PackingError("it does not end where it should")
    return text


@cache
def _dictionary(version: int) -> bytes:
    return Path(__file__).with_name(f"packing_{version}.txt").read_bytes()
