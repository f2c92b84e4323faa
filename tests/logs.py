"""A log in memory, that can show any of its states: as files, checkpoints, proofs and receipts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from licensing.ledger import commitments, notes, receipts, tree
from tests.licensing.receipt_samples import VECTOR, signer

SEED = bytes.fromhex(VECTOR["seed"])
KIND: str = VECTOR["kind"]
_PLACE_OF_REF = b"f" * 32


def bodies(count: int, log: str = "test", first: int = 0) -> list[bytes]:
    """Entries that differ in their references only."""
    template = commitments.entry_body(
        KIND,
        log=log,
        at=commitments.parse_timestamp(VECTOR["at"]),
        subject_ref=bytes.fromhex(_PLACE_OF_REF.decode()),
        seq=0,
        prev=None,
        commitments=commitments.commit(KIND, SEED, VECTOR["values"]),
        parties=None,
    )
    return [
        template.replace(_PLACE_OF_REF, b"%032x" % number) for number in range(first, first + count)
    ]


class MemoryLog:
    """Entries and the complete subtrees over them."""

    def __init__(self, entries: Sequence[bytes], log: str = "test") -> None:
        self.entries = list(entries)
        self.key = signer(log)
        self._nodes: dict[tuple[int, int], bytes] = {}
        frontier = tree.Frontier()
        for index, entry in enumerate(entries):
            leaf = tree.leaf_hash(entry)
            self._nodes[0, index] = leaf
            for level, place, root in frontier.push(leaf):
                self._nodes[level, place] = root

    def node(self, level: int, index: int) -> bytes:
        return self._nodes[level, index]

    def root(self, size: int) -> bytes:
        return tree.subtree_root(0, size, self.node)

    def checkpoint(self, size: int) -> notes.Checkpoint:
        return notes.Checkpoint(self.key.verifier.name, size, self.root(size))

    def note(self, size: int, *cosigners: Cosigner, at: int = 1_800_000_000) -> str:
        text = self.checkpoint(size).text()
        lines = [cosigner.line(text, at) for cosigner in cosigners]
        return notes.sign(text, self.key) + "".join(lines)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        return tree.inclusion_proof(index, size, self.node)

    def consistency(self, size1: int, size2: int) -> list[bytes]:
        return tree.consistency_proof(size1, size2, self.node)

    def receipt(
        self, index: int, size: int, *cosigners: Cosigner, at: int = 1_800_000_000
    ) -> bytes:
        openings = commitments.openings(KIND, SEED, VECTOR["values"], v=1)
        note = self.note(size, *cosigners, at=at)
        return receipts.build(
            self.entries[index], openings, index, self.inclusion(index, size), note
        )

    def export(self, directory: Path, size: int) -> Path:
        """Write the state of `size` entries as C2SP tlog-tiles, and the key beside it."""
        level = 0
        while size >> 8 * level:
            in_level = size >> 8 * level
            for index in range(-(-in_level // 256)):
                places = range(index * 256, min(in_level, index * 256 + 256))
                hashes = b"".join(self.node(8 * level, place) for place in places)
                _write(directory / tree.tile_path(level, index, len(places)), hashes)
                if level == 0:
                    path = tree.tile_path(0, index, len(places)).replace("tile/0", "tile/entries")
                    bundle = b"".join(
                        len(entry).to_bytes(2) + entry
                        for entry in self.entries[places.start : places.stop]
                    )
                    _write(directory / path, bundle)
            level += 1
        _write(directory / "vkey", f"{self.key.verifier.vkey()}\n".encode())
        _write(directory / "checkpoint", self.note(size).encode())
        return directory


class Cosigner:
    """A witness that signs whatever it is shown."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = b"\x04" + self._key.public_key().public_bytes_raw()
        self.name = name
        self.key_id = hashlib.sha256(name.encode() + b"\n" + self._public).digest()[:4]
        self.vkey = f"{name}+{self.key_id.hex()}+{notes.encode_base64(self._public)}"

    def line(self, text: str, at: int) -> str:
        signed = self._key.sign(f"cosignature/v1\ntime {at}\n{text}".encode())
        value = self.key_id + at.to_bytes(8) + signed
        return f"{notes.SIGNATURE_MARK}{self.name} {notes.encode_base64(value)}\n"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
