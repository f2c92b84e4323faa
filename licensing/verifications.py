"""What anybody can ask of a license: whether the log has it, how it stands, if a receipt is sound.

By the public log alone, and so of no tenant: what a party knows beyond it is not read here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from licensing import certificates, status
from licensing.certificates import Proof
from licensing.ledger import commitments, tiles
from licensing.ledger.log import LOGS
from licensing.ledger.receipts import ReceiptError
from licensing.models import LedgerEntry
from licensing.offline import status as offline_status
from licensing.offline import verify

# What is taken of a receipt here; a receipt itself may be larger.
RECEIPT_MAX = 256 * 1024
_REF = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Found:
    """A license as the public log has it, which does not name its parties."""

    grant_ref: str
    # `live` or `test`, and the generation of it that has the entry, such as `live/2`.
    log: str
    generation: str
    index: int
    at: datetime
    leaf_hash: str
    checkpoint_size: int
    # None: the newest signed status root does not hold it yet.
    state: Proof | None

    @property
    def is_test(self) -> bool:
        return self.log == "test"


@dataclass(frozen=True, slots=True)
class Checked:
    """What the offline verifier says of a receipt, word by word."""

    is_sound: bool
    words: str
    is_test: bool = False
    # The grant that it is of; "" of a receipt of something else.
    grant_ref: str = ""


def find(grant_ref: str) -> Found | None:
    """The license of a reference, as soon as a signed checkpoint holds its entry.

    An entry that is kept back, or waits for its signature, is not there yet: None, as for no entry.
    """
    if not _REF.fullmatch(grant_ref):
        return None
    entry = (
        LedgerEntry.objects.filter(
            log__in=LOGS, kind="grant.issued", subject_ref=bytes.fromhex(grant_ref), seq=0
        )
        .select_related("leaf")
        .first()
    )
    leaf = None if entry is None else getattr(entry, "leaf", None)
    if entry is None or leaf is None:
        return None
    checkpoint = tiles.newest_checkpoint(leaf.log)
    if checkpoint is None or checkpoint.size <= leaf.index:
        return None
    return Found(
        grant_ref=grant_ref,
        log=entry.log,
        generation=leaf.log,
        index=leaf.index,
        at=commitments.parse_body(bytes(entry.body)).at,
        leaf_hash=bytes(entry.leaf_hash).hex(),
        checkpoint_size=checkpoint.size,
        state=certificates.proven_state(entry.log, bytes.fromhex(grant_ref)),
    )


def status_proof(found: Found) -> bytes | None:
    """The file that proves to anybody how a license stands; None while no root holds it."""
    return status.newest_proof(found.log, bytes.fromhex(found.grant_ref))


def check(data: bytes) -> Checked:
    """Verify a receipt by the code of the offline verifier, with the keys of this server's logs.

    Beside a grant's receipt its newest status proof is checked, too. Stores nothing.
    """
    keys = [key for log in LOGS for key in certificates.keys(log)]
    try:
        proven = verify.check(data, keys)
        ref = proven.body.subject_ref
        if commitments.ref_name(proven.body.kind) != "grant_ref":
            return Checked(True, verify.describe(proven), proven.body.log == "test")
        proof = status.newest_proof(proven.body.log, ref)
        words = verify.describe(proven, with_status=proof is not None)
        if proof is not None:
            stands = offline_status.check(proof, proven, keys)
            words += "\n" + offline_status.describe(stands, proven)
    except ReceiptError as error:
        return Checked(False, verify.describe_failure(error))
    return Checked(True, words, proven.body.log == "test", ref.hex())
