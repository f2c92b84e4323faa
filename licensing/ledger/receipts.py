"""Ledger receipts: the one file that proves an entry without our server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from licensing import jcs
from licensing.ledger import commitments, generations, notes, tree

# A receipt is a C2SP tlog-proof whose extra data carries the entry and its openings, so that
# other people's tools read it too. Specified in api_docs/ledger_format.md.
VERSION = "licet/receipt/v1"
PROOF_HEADER = "c2sp.org/tlog-proof@v1"
MEDIA_TYPE = "text/plain; charset=utf-8"
FILE_SUFFIX = ".tlog-proof"

# An entry is bounded; openings hold typed terms and addresses, never works.
SIZE_MAX = 4 * 1024 * 1024

# A tree below 2**64 leaves is no higher.
_PROOF_MAX = 64
_EXTRA_KEYS = frozenset({"receipt", "entry", "leaf_hash", "openings"})


class ReceiptError(ValueError):
    """A receipt is not sound. `part` names what broke, `field` which opening."""

    def __init__(self, part: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.part = part
        self.field = field


@dataclass(frozen=True)
class Receipt:
    """A receipt as it was read: well written, and not yet trusted."""

    entry: bytes
    # What the entry says it hashes to: only tells a changed entry from a changed proof.
    leaf_hash: bytes
    openings: Mapping[str, Any] | None
    index: int
    proof: tuple[bytes, ...]
    checkpoint: str


@dataclass(frozen=True)
class Verified:
    """What a sound receipt proves."""

    body: commitments.EntryBody
    # The opened values, each proven to be what the entry commits to.
    values: Mapping[str, Any]
    # Whose receipt it is, and the entry's number among theirs. None where it is not shown.
    party: commitments.Slot | None
    # Fields that the entry commits to and the receipt keeps private.
    undisclosed: tuple[str, ...]
    leaf_hash: bytes
    index: int
    checkpoint: notes.Checkpoint
    verified: tuple[notes.Signature, ...]
    unverified: tuple[notes.Signature, ...]


def build(
    entry: bytes,
    openings: Mapping[str, Any] | None,
    index: int,
    proof: Sequence[bytes],
    checkpoint_note: str,
) -> bytes:
    """Write a receipt. `openings` is None when nothing is disclosed, or was erased."""
    extra = jcs.dumps(
        {
            "receipt": VERSION,
            "entry": entry.decode(),
            "leaf_hash": tree.leaf_hash(entry).hex(),
            "openings": openings,
        }
    )
    lines = [PROOF_HEADER, f"extra {notes.encode_base64(extra)}", f"index {index}"]
    lines += [notes.encode_base64(step) for step in proof]
    data = ("\n".join(lines) + "\n\n" + checkpoint_note).encode()
    # Nothing is ever handed out that our own strict reader would refuse.
    parse(data)
    return data


def parse(data: bytes) -> Receipt:
    """Read a receipt, accepting one spelling only. Raises ReceiptError; trusts nothing."""
    if len(data) > SIZE_MAX:
        raise ReceiptError("container", f"the receipt is larger than {SIZE_MAX} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ReceiptError("container", "the receipt is not UTF-8 text") from None
    # The proof has no empty line of its own: the first one ends it.
    head, blank, checkpoint = text.partition("\n\n")
    if not blank:
        raise ReceiptError("container", "the receipt holds no checkpoint")
    lines = head.split("\n")
    if lines[0] != PROOF_HEADER:
        raise ReceiptError("container", f"the receipt does not begin with {PROOF_HEADER}")
    if len(lines) < 3:
        raise ReceiptError("container", "the receipt lacks its extra or its index line")
    entry, leaf_hash, openings = _parse_extra(lines[1])
    index, proof = _parse_proof(lines[2:])
    try:
        notes.split_note(checkpoint)
    except notes.NoteError as error:
        raise ReceiptError("checkpoint", str(error)) from None
    return Receipt(entry, leaf_hash, openings, index, proof, checkpoint)


def verify(receipt: Receipt, verifiers: Iterable[notes.Verifier]) -> Verified:
    """Check everything that a receipt claims, against trusted keys. Raises ReceiptError.

    Says that the entry was issued and logged; whether it is in force today is another question.
    """
    try:
        body = commitments.parse_body(receipt.entry)
    except commitments.CommitmentError as error:
        raise ReceiptError("entry", str(error), error.field) from None
    leaf_hash = tree.leaf_hash(receipt.entry)
    if leaf_hash != receipt.leaf_hash:
        raise ReceiptError("entry", "the entry does not hash to the receipt's leaf hash")
    values, party = _check_openings(body, receipt.openings)
    try:
        checkpoint, note = notes.open_checkpoint(receipt.checkpoint, verifiers)
    except notes.SignatureError as error:
        raise ReceiptError("signature", str(error)) from None
    except notes.NoteError as error:
        raise ReceiptError("checkpoint", str(error)) from None
    try:
        tree.verify_inclusion(
            receipt.index, checkpoint.size, leaf_hash, receipt.proof, checkpoint.root
        )
    except tree.ProofError as error:
        raise ReceiptError("proof", str(error)) from None
    # A test entry in the live log, or the reverse, could pass for what it is not.
    if generations.log_of_origin(checkpoint.origin) != body.log:
        raise ReceiptError(
            "checkpoint", f"the log {checkpoint.origin} is not the entry's: {body.log}"
        )
    return Verified(
        body=body,
        values=values,
        party=party,
        undisclosed=tuple(sorted(body.commitments.keys() - values.keys())),
        leaf_hash=leaf_hash,
        index=receipt.index,
        checkpoint=checkpoint,
        verified=note.verified,
        unverified=note.unverified,
    )


def _parse_extra(line: str) -> tuple[bytes, bytes, Mapping[str, Any] | None]:
    if not line.startswith("extra "):
        raise ReceiptError("container", "the receipt's second line does not begin with “extra ”")
    try:
        extra = jcs.loads_strict(notes.decode_base64(line.removeprefix("extra ")))
    except ValueError as error:
        raise ReceiptError("container", f"the extra line: {error}") from None
    if not isinstance(extra, dict) or extra.keys() != _EXTRA_KEYS or extra["receipt"] != VERSION:
        raise ReceiptError("container", f"the extra line is not of {VERSION}")
    entry, leaf_hash, openings = extra["entry"], extra["leaf_hash"], extra["openings"]
    if not isinstance(entry, str):
        raise ReceiptError("entry", "the entry is not text")
    if not commitments.is_sha256_hex(leaf_hash):
        raise ReceiptError("entry", "the leaf hash is not 32 bytes in hex")
    if openings is not None and not isinstance(openings, dict):
        raise ReceiptError("openings", "the openings are not an object")
    return entry.encode(), bytes.fromhex(leaf_hash), openings


def _parse_proof(lines: Sequence[str]) -> tuple[int, tuple[bytes, ...]]:
    if not lines[0].startswith("index "):
        raise ReceiptError("proof", "the line of the index does not begin with “index ”")
    if len(lines) > 1 + _PROOF_MAX:
        raise ReceiptError("proof", "the inclusion proof is too long")
    try:
        index = notes.parse_number(lines[0].removeprefix("index "))
        proof = tuple(notes.decode_base64(line) for line in lines[1:])
    except notes.NoteError as error:
        raise ReceiptError("proof", str(error)) from None
    if any(len(step) != tree.HASH_LENGTH for step in proof):
        raise ReceiptError("proof", "a hash in the proof has not 32 bytes")
    return index, proof


def _check_openings(
    body: commitments.EntryBody, openings: Mapping[str, Any] | None
) -> tuple[dict[str, Any], commitments.Slot | None]:
    if openings is None:
        return {}, None
    try:
        values = commitments.check_openings(body, openings)
        return values, commitments.check_party(body, openings)
    except commitments.CommitmentError as error:
        raise ReceiptError("openings", str(error), error.field) from None
