"""What a manifest is called, and where its works stand in tar shards. Needs no Django.

Both are functions of the works alone, so the same works have the same name and the same shards
wherever and whenever they are computed. Specified in api_docs/guide/pull.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from licensing import jcs

SHARD_BYTES_MAX = 1 << 30
BLOCK = 512
# Two empty blocks end an archive.
END = bytes(2 * BLOCK)


class ManifestId:
    """The content address of a manifest, fed with its excluded digests in ascending order."""

    def __init__(self, citation: bytes) -> None:
        # The snapshot's citation stands for every digest and every work's metadata.
        self._citation = citation
        self._excluded = hashlib.sha256()

    def exclude(self, digest: bytes) -> None:
        self._excluded.update(digest)

    def hexdigest(self) -> str:
        named = {
            "excluded": self._excluded.hexdigest(),
            "manifest": "licet/manifest/v1",
            "snapshot": self._citation.hex(),
        }
        return hashlib.sha256(jcs.dumps(named)).hexdigest()


def manifest_id(citation: bytes, excluded: Iterable[bytes]) -> str:
    """The address of the manifest of a snapshot without the excluded works (ascending)."""
    made = ManifestId(citation)
    for digest in excluded:
        made.exclude(digest)
    return made.hexdigest()


class Places:
    """Gives works their places in shards. Feed it every hosted work, ascending by digest."""

    def __init__(self) -> None:
        self.shard = 0
        # Of the shard that is being filled, without its end.
        self.length = 0

    def place(self, length: int) -> tuple[int, int] | None:
        """The shard of the next work, and where in it the bytes begin.

        None for a work that no shard can hold: it is fetched by itself.
        """
        member = BLOCK + padded(length)
        if member + len(END) > SHARD_BYTES_MAX:
            return None
        if self.length + member + len(END) > SHARD_BYTES_MAX:
            self.shard += 1
            self.length = 0
        offset = self.length + BLOCK
        self.length += member
        return self.shard, offset


def padded(length: int) -> int:
    return -(-length // BLOCK) * BLOCK


def header(name: str, length: int) -> bytes:
    """A member's header (POSIX ustar): nothing in it but the name and the length may vary."""
    head = bytearray(BLOCK)
    head[0 : len(name)] = name.encode("ascii")
    head[100:108] = b"0000644\0"
    head[108:116] = head[116:124] = b"0000000\0"
    head[124:136] = b"%011o\0" % length
    head[136:148] = b"00000000000\0"
    head[156:157] = b"0"
    head[257:265] = b"ustar\x0000"
    # The sum is taken with spaces where it will stand.
    head[148:156] = b"        "
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)
