"""Status proofs: the file that says how a grant stood at a moment (ledger_format.md, Status)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from licensing import jcs, status_tree
from licensing.ledger import commitments, generations, notes, receipts, tree
from licensing.ledger.receipts import ReceiptError
from licensing.status_tree import Leaf, Placed

VERSION = "licet/status-proof/v1"
MEDIA_TYPE = "application/json"
FILE_SUFFIX = ".status.json"

# Its receipt is of a small entry without openings.
SIZE_MAX = 1024 * 1024
_PATH_MAX = 64
_KEYS = frozenset({"status_proof", "grant_ref", "state", "last_leaf", "index", "path", "receipt"})
# How a grant stands by an entry of its chain, until the next one.
_STATE_OF = {
    "grant.suspended": "suspended",
    "grant.reinstated": "active",
    "grant.revoked": "revoked",
    "grant.expired": "expired",
}
_REF = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class StatusProof:
    """A status proof as it was read: well written, and not yet trusted."""

    placed: Placed
    # Of the `status.root` entry.
    receipt: receipts.Receipt


@dataclass(frozen=True, slots=True)
class Proven:
    """What a sound status proof says: how a grant stood, and by which root."""

    grant_ref: bytes
    state: str
    last_leaf: bytes
    as_of: datetime
    # The root's number among those of its log.
    number: int
    log_size: int
    root: receipts.Verified

    @property
    def is_in_force(self) -> bool:
        return self.state == status_tree.IN_FORCE


def build(placed: Placed, receipt: bytes) -> bytes:
    """Write a status proof: a leaf with its path, and the receipt of its root's entry."""
    data = jcs.dumps(
        {
            "status_proof": VERSION,
            "grant_ref": placed.leaf.grant_ref.hex(),
            "state": placed.leaf.state,
            "last_leaf": placed.leaf.last_leaf.hex(),
            "index": placed.index,
            "path": [step.hex() for step in placed.path],
            "receipt": receipt.decode(),
        }
    )
    # Nothing is ever handed out that our own strict reader would refuse.
    parse(data)
    return data


def parse(data: bytes) -> StatusProof:
    """Read a status proof strictly. Raises ReceiptError, as all here."""
    if len(data) > SIZE_MAX:
        raise ReceiptError("status", f"a status proof has at most {SIZE_MAX} bytes")
    try:
        given = jcs.loads_strict(data)
    except ValueError as error:
        raise ReceiptError("status", f"no canonical JSON: {error}") from None
    if isinstance(given, dict) and given.get("status") == "pending":
        raise ReceiptError("status", "the market had not signed it yet; fetch it again")
    if not isinstance(given, dict) or given.keys() != _KEYS or given["status_proof"] != VERSION:
        raise ReceiptError("status", f"the file is not of {VERSION}")
    ref, state, last_leaf = given["grant_ref"], given["state"], given["last_leaf"]
    index, path, receipt = given["index"], given["path"], given["receipt"]
    if not isinstance(ref, str) or not _REF.fullmatch(ref):
        raise ReceiptError("status", "the grant's reference is not 16 bytes in hex")
    if not isinstance(state, str) or state not in status_tree.STATES:
        raise ReceiptError("status", "the state is none that is known here")
    if not _is_number(index):
        raise ReceiptError("status", "the place of the leaf is not a whole number")
    if not isinstance(path, list) or len(path) > _PATH_MAX:
        raise ReceiptError("status", "the path is no list of at most 64 hashes")
    if not all(map(commitments.is_sha256_hex, [last_leaf, *path])):
        raise ReceiptError("status", "a hash is not 32 bytes in hex")
    if not isinstance(receipt, str):
        raise ReceiptError("status", "the receipt of the root is not text")
    leaf = Leaf(bytes.fromhex(ref), state, bytes.fromhex(last_leaf))
    placed = Placed(leaf, index, tuple(map(bytes.fromhex, path)))
    try:
        return StatusProof(placed, receipts.parse(receipt.encode()))
    except ReceiptError as error:
        raise _of_root(error) from None


def verify(proof: StatusProof, verifiers: Iterable[notes.Verifier]) -> Proven:
    """Check that a trusted log holds the root, and that the root holds the leaf."""
    try:
        root = receipts.verify(proof.receipt, verifiers)
    except ReceiptError as error:
        raise _of_root(error) from None
    body = root.body
    if body.kind != status_tree.KIND:
        raise ReceiptError("status", f"the root is an entry of another kind: {body.kind}")
    if body.subject_ref != status_tree.subject_ref(body.log):
        raise ReceiptError("status", "the root is not of its log's one chain of status roots")
    size, as_of = _check_public(body, root.index)
    try:
        status_tree.verify(proof.placed, size, bytes.fromhex(body.public["root"]))
    except tree.ProofError as error:
        raise ReceiptError("status", f"the leaf: {error}") from None
    leaf = proof.placed.leaf
    return Proven(
        grant_ref=leaf.grant_ref,
        state=leaf.state,
        last_leaf=leaf.last_leaf,
        as_of=as_of,
        number=body.seq,
        log_size=body.public["log_size"],
        root=root,
    )


def check_speaks_of(proven: Proven, receipt: receipts.Verified) -> None:
    """Check that a status is of a receipt's grant, log, and of a time after its entry.

    What the leaf names as the grant's newest entry is the receipt's, or a later one.
    """
    body = receipt.body
    if commitments.ref_name(body.kind) != "grant_ref":
        raise ReceiptError("status", f"the receipt is of no grant: {body.kind}")
    theirs, ours = proven.root.checkpoint.origin, receipt.checkpoint.origin
    is_same = theirs == ours
    if not is_same and not _is_later(theirs, ours):
        raise ReceiptError(
            "status",
            f"it is of another log, {proven.root.checkpoint.origin}, than the receipt: "
            f"{receipt.checkpoint.origin}",
        )
    if proven.grant_ref != body.subject_ref:
        raise ReceiptError("status", "it is of another grant than the receipt")
    if proven.last_leaf == receipt.leaf_hash:
        _check_state(proven, receipt)
        return
    if proven.last_leaf == body.prev:
        raise ReceiptError(
            "status",
            "it is older than the receipt, or leaves it out: the newest entry that it knows of the"
            " grant is the one before the receipt's",
        )
    # Any other entry of the chain is later than its first. Later than another one it is where the
    # root says to have read that far.
    is_older = (is_same and proven.root.index < receipt.index) or proven.as_of < body.at
    # Nor does a root tell what was read of a log that is frozen: part of that may have been lost.
    if is_older or (body.seq > 0 and (not is_same or receipt.index >= proven.log_size)):
        raise ReceiptError("status", "it is older than the receipt: fetch a newer one")


def _check_state(proven: Proven, receipt: receipts.Verified) -> None:
    """Check that the state is the one that the grant's newest entry says, if that says one.

    Entry and state commit together; where the entry announces what counts later, or does not show
    from when, nothing follows.
    """
    body = receipt.body
    said = _STATE_OF.get(body.kind)
    counts_from = receipt.values.get("ended_at", receipt.values.get("effective_at"))
    if said is None or not isinstance(counts_from, str):
        return
    try:
        is_announced = commitments.parse_timestamp(counts_from) > body.at
    except commitments.CommitmentError as error:
        raise ReceiptError("status", str(error)) from None
    if not is_announced and proven.state != said:
        raise ReceiptError(
            "status",
            f"its root says “{proven.state}”, and the newest entry that it knows of the grant, the"
            f" receipt's, “{said}”. Keep both: they convict the log",
        )


def _is_later(origin: str, than: str) -> bool:
    """Whether a log continues the other one, which was frozen."""
    here, there = generations.of_origin(origin), generations.of_origin(than)
    return here is not None and there is not None and here[0] == there[0] and here[1] > there[1]


def _check_public(body: commitments.EntryBody, index: int) -> tuple[int, datetime]:
    public: Mapping[str, Any] = body.public
    if public["tree"] != status_tree.TREE:
        raise ReceiptError("status", "the root is of no tree that is known here")
    if not commitments.is_sha256_hex(public["root"]):
        raise ReceiptError("status", "the root is not 32 bytes in hex")
    if not _is_number(public["size"]) or not _is_number(public["log_size"]):
        raise ReceiptError("status", "a size of the root is not a whole number")
    try:
        as_of = commitments.parse_timestamp(public["as_of"])
    except commitments.CommitmentError as error:
        raise ReceiptError("status", str(error)) from None
    if as_of > body.at or public["log_size"] > index:
        raise ReceiptError("status", "the root says to be of later than its own entry")
    return public["size"], as_of


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _of_root(error: ReceiptError) -> ReceiptError:
    """The same, told apart from what is wrong with the grant's own receipt."""
    return ReceiptError("status", f"the receipt of the root: {error.part}: {error}", error.field)
