"""Cosignatures: what witnesses say to have seen, and when (C2SP tlog-cosignature, Ed25519)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from licensing.ledger import notes

# The signature type byte of a timestamped Ed25519 cosignature.
COSIGNATURE_V1 = 0x04

_TIME_LENGTH = 8
_SIGNATURE_LENGTH = 64
_TIME_MAX = 2**63 - 1


@dataclass(frozen=True)
class Witness:
    """A named key of somebody who cosigns checkpoints that continue the ones before."""

    name: str
    public_key: bytes
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        # The same rules of names and keys as for a log's own key.
        notes.Verifier(self.name, self.public_key)
        hashed = self.name.encode() + b"\n" + bytes([COSIGNATURE_V1]) + self.public_key
        object.__setattr__(self, "key_id", hashlib.sha256(hashed).digest()[:4])

    @classmethod
    def parse(cls, vkey: str) -> Witness:
        """Read a witness's verifier key. Raises NoteError."""
        name, _, rest = vkey.partition("+")
        key_id, _, encoded = rest.partition("+")
        key = notes.decode_base64(encoded)
        if not key or key[0] != COSIGNATURE_V1:
            raise notes.NoteError("the key is not one of a witness, of type cosignature/v1 (04)")
        witness = cls(name, key[1:])
        if witness.key_id.hex() != key_id:
            raise notes.NoteError("the key's id is not the one of its name and public key")
        return witness

    def vkey(self) -> str:
        encoded = notes.encode_base64(bytes([COSIGNATURE_V1]) + self.public_key)
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def cosigned_at(self, checkpoint: str, value: bytes) -> int:
        """When the witness saw a checkpoint's text: seconds since 1970. Raises SignatureError."""
        seconds = int.from_bytes(value[:_TIME_LENGTH])
        signed = f"cosignature/v1\ntime {seconds}\n{checkpoint}"
        try:
            if len(value) != _TIME_LENGTH + _SIGNATURE_LENGTH or seconds > _TIME_MAX:
                raise ValueError
            key = Ed25519PublicKey.from_public_bytes(self.public_key)
            key.verify(value[_TIME_LENGTH:], signed.encode())
        except (InvalidSignature, ValueError):
            raise notes.SignatureError(f"the cosignature of {self.name} is wrong") from None
        return seconds


@dataclass(frozen=True)
class Cosignature:
    """A cosignature that was verified."""

    name: str
    seconds: int


def verified(
    checkpoint: str, signatures: Iterable[notes.Signature], witnesses: Iterable[Witness]
) -> list[Cosignature]:
    """The cosignatures of known witnesses among a note's signatures, earliest first.

    Raises SignatureError when one of a known witness is wrong: that condemns the note, as a wrong
    one of the log does.
    """
    known = {(witness.name, witness.key_id): witness for witness in witnesses}
    found = []
    for signature in signatures:
        witness = known.get((signature.name, signature.key_id))
        if witness is not None:
            seconds = witness.cosigned_at(checkpoint, signature.value)
            found.append(Cosignature(witness.name, seconds))
    return sorted(found, key=lambda each: (each.seconds, each.name))
