"""Signed notes and checkpoints (C2SP signed-note, tlog-checkpoint), read strictly."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

# The signature type byte of C2SP signed-note.
ED25519 = 0x01

SIGNATURES_MAX = 16
SIGNATURE_MARK = "— "

_SIZE = re.compile(r"0|[1-9][0-9]{0,19}")
_SIZE_MAX = 2**64 - 1


class NoteError(ValueError):
    """A note, a checkpoint or a key is not written as its specification says."""


class SignatureError(NoteError):
    """A note is well written, but not signed by whom it should be."""


@dataclass(frozen=True)
class Verifier:
    """A named Ed25519 public key."""

    name: str
    public_key: bytes
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.public_key) != 32:
            raise NoteError("an Ed25519 public key has 32 bytes")
        hashed = self.name.encode() + b"\n" + bytes([ED25519]) + self.public_key
        object.__setattr__(self, "key_id", hashlib.sha256(hashed).digest()[:4])

    @classmethod
    def parse(cls, vkey: str) -> Verifier:
        """Read a verifier key: name+key id in hex+base64 of type and key. Raises NoteError."""
        name, _, rest = vkey.partition("+")
        key_id, _, encoded = rest.partition("+")
        key = decode_base64(encoded)
        if not key or key[0] != ED25519:
            raise NoteError("the key is not of type Ed25519 (01)")
        verifier = cls(name, key[1:])
        if verifier.key_id.hex() != key_id:
            raise NoteError("the key's id is not the one of its name and public key")
        return verifier

    def vkey(self) -> str:
        encoded = encode_base64(bytes([ED25519]) + self.public_key)
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def has_signed(self, text: str, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer:
    """A named Ed25519 private key, given by its 32-byte seed."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, self._key.public_key().public_bytes_raw())

    def signature_line(self, text: str) -> str:
        verifier = self.verifier
        return Signature(verifier.name, verifier.key_id, self._key.sign(text.encode())).line()


@dataclass(frozen=True)
class Signature:
    """A signature line: who says to have signed, and with what."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """The line as it was read: it has one spelling."""
        return f"{SIGNATURE_MARK}{self.name} {encode_base64(self.key_id + self.value)}\n"


@dataclass(frozen=True)
class Note:
    """A note with at least one signature that was verified."""

    text: str
    verified: tuple[Signature, ...]
    # By keys that are not known here: they say nothing.
    unverified: tuple[Signature, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A state of a log: its name, how many entries, and the root over them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The text to sign."""
        if not 0 <= self.size <= _SIZE_MAX:
            raise NoteError(f"tree size out of range: {self.size}")
        if len(self.root) != 32:
            raise NoteError("a root has 32 bytes")
        if not self.origin:
            raise NoteError("a checkpoint's origin is not empty")
        _check_characters(self.origin)
        if "\n" in self.origin:
            raise NoteError("a checkpoint's origin is one line")
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"


def sign(text: str, *signers: Signer) -> str:
    """Sign a text: the whole note, ready to publish."""
    _check_characters(text)
    if not text.endswith("\n"):
        raise NoteError("a note's text ends with a newline")
    if not 0 < len(signers) <= SIGNATURES_MAX:
        raise NoteError(f"a note has 1 to {SIGNATURES_MAX} signatures")
    return text + "\n" + "".join(signer.signature_line(text) for signer in signers)


def open_note(note: str, verifiers: Iterable[Verifier]) -> Note:
    """Check a note. Raises NoteError for wrong form, SignatureError when nothing known signed it.

    A signature by a known key that does not verify condemns the whole note.
    """
    text, signatures = split_note(note)
    known: dict[tuple[str, bytes], Verifier] = {}
    for verifier in verifiers:
        # Ids have four bytes: whoever wants a second key with the same one finds it in seconds.
        if known.setdefault((verifier.name, verifier.key_id), verifier) != verifier:
            raise NoteError(f"two trusted keys are named {verifier.name} and have the same id")
    verified: list[Signature] = []
    unverified: list[Signature] = []
    for signature in signatures:
        signer = known.get((signature.name, signature.key_id))
        if signer is None:
            unverified.append(signature)
        elif signer.has_signed(text, signature.value):
            verified.append(signature)
        else:
            raise SignatureError(f"the signature of {signature.name} is wrong")
    if not verified:
        names = ", ".join(signature.name for signature in unverified)
        raise SignatureError(f"no known key signed this; it names: {names}")
    return Note(text, tuple(verified), tuple(unverified))


def split_note(note: str) -> tuple[str, list[Signature]]:
    """Take a note apart without trusting it. Raises NoteError for anything but the exact form."""
    _check_characters(note)
    # The text may hold empty lines; the last one ends it.
    body, blank, tail = note.rpartition("\n\n")
    if not blank or not body:
        raise NoteError("the note has no text or no signatures")
    lines = tail.split("\n")
    if lines.pop() != "":
        raise NoteError("the note does not end with a newline")
    if not 0 < len(lines) <= SIGNATURES_MAX:
        raise NoteError(f"a note has 1 to {SIGNATURES_MAX} signatures")
    signatures = [_parse_signature(line) for line in lines]
    if len({(signature.name, signature.key_id) for signature in signatures}) != len(signatures):
        raise NoteError("one key stands twice among the signatures")
    return body + "\n", signatures


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint's text. Extension lines are refused: nobody could audit them."""
    _check_characters(text)
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] != "":
        raise NoteError("a checkpoint has three lines: origin, size and root")
    origin, size, root, _ = lines
    if not origin:
        raise NoteError("a checkpoint's origin is not empty")
    found = Checkpoint(origin, parse_number(size), decode_base64(root))
    if len(found.root) != 32:
        raise NoteError("a root has 32 bytes")
    return found


def open_checkpoint(note: str, verifiers: Iterable[Verifier]) -> tuple[Checkpoint, Note]:
    """Check a signed checkpoint: one of the verified keys must carry the log's own name."""
    opened = open_note(note, verifiers)
    checkpoint = parse_checkpoint(opened.text)
    if all(signature.name != checkpoint.origin for signature in opened.verified):
        raise SignatureError(f"the log {checkpoint.origin} has not signed its checkpoint")
    return checkpoint, opened


def parse_number(text: str) -> int:
    """Read a size or an index: ASCII decimal, no leading zeros, below 2**64."""
    if not _SIZE.fullmatch(text) or int(text) > _SIZE_MAX:
        raise NoteError(f"not a decimal number as logs write them: {text[:40]!r}")
    return int(text)


def encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def decode_base64(text: str) -> bytes:
    """Decode the one canonical spelling: Python's own check also takes unused trailing bits."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("not standard base64") from None
    if encode_base64(data) != text:
        raise NoteError("base64 is not in its canonical form")
    return data


def _parse_signature(line: str) -> Signature:
    if not line.startswith(SIGNATURE_MARK):
        raise NoteError("a signature line does not begin with an em dash and a space")
    name, _, encoded = line.removeprefix(SIGNATURE_MARK).partition(" ")
    _check_name(name)
    data = decode_base64(encoded)
    if len(data) < 5:
        raise NoteError("a signature is too short")
    return Signature(name, data[:4], data[4:])


def _check_name(name: str) -> None:
    if not name or "+" in name or any(character.isspace() for character in name):
        raise NoteError("a key's name is not empty and has no spaces and no plus sign")
    _check_characters(name)


def _check_characters(text: str) -> None:
    if any(character < " " and character != "\n" for character in text):
        raise NoteError("a note has no control characters but newline")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NoteError("a note is valid UTF-8") from None
