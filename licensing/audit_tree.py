"""The audit's tree: what a leaf hashes, and what its roots are called (ledger_format.md)."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from licensing import jcs
from licensing.ledger import commitments, tree
from marketplace.typeid import TypeID

TREE = "licet/audit/v1"
KIND = "audit.root"
_REF_LENGTH = 16


class Act(NamedTuple):
    """An audit row, as it is stored."""

    id: UUID
    # None: an act on the market itself.
    organization: UUID | None
    actor: str
    action: str
    subject: str
    # The JSON as PostgreSQL writes it.
    data: str
    at: datetime


def subject_ref(log: str) -> bytes:
    """Name the one chain of audit roots that a log has: fixed, so that there cannot be two."""
    return hashlib.sha256(f"{TREE}/{log}".encode()).digest()[:_REF_LENGTH]


def leaf_bytes(act: Act) -> bytes:
    """The bytes that an act's leaf hashes.

    Its id has 62 random bits: who knows the hash alone cannot try out what it is of.
    """
    owner = None if act.organization is None else str(TypeID("org", act.organization))
    return jcs.dumps(
        {
            "id": str(TypeID("aud", act.id)),
            "organization": owner,
            "actor": act.actor,
            "action": act.action,
            "subject": act.subject,
            "data": _exact(act.data),
            "at": commitments.timestamp(act.at),
        }
    )


def leaf_hash(act: Act) -> bytes:
    return tree.leaf_hash(leaf_bytes(act))


def _exact(data: str) -> Any:
    """Read JSON so that it has a canonical form: other numbers than that has stand as text."""
    return json.loads(data, parse_int=_whole, parse_float=str)


def _whole(text: str) -> int | str:
    number = int(text)
    return number if abs(number) <= jcs.INTEGER_MAX else text
