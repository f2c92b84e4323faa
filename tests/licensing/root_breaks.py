"""How to break the constraints of status roots and of the audit's tree, for test_constraints.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils import timezone

from licensing.models import AuditLeaf, AuditRoot, Grant, StatusLeaf, StatusRoot
from marketplace.models import Audit
from tests import ledger


def audit_leaf(**fields: Any) -> None:
    of = {"position": 0, "audit": Audit.objects.earliest("id"), "leaf_hash": bytes(32)}
    AuditLeaf.objects.create(**of | fields)


def audit_root(**fields: Any) -> None:
    of = {"log": "test", "number": 0, "size": 1, "root": bytes(32), "frontier": bytes(32)}
    AuditRoot.objects.create(**of | {"until": timezone.now(), "entry": ledger.append()} | fields)


def status_root(**fields: Any) -> None:
    of: dict[str, Any] = {
        "log": "test",
        "number": 0,
        "as_of": timezone.now(),
        "log_size": 0,
        "size": 0,
        "root": b"r" * 32,
        "blocks": b"",
        "entry": ledger.append(),
    }
    StatusRoot.objects.create(**of | fields)


BREAKS: dict[str, Callable[[Grant], Any]] = {
    "status_root_is_sha256": lambda _g: status_root(root=b"short"),
    "licensing_statusroot_entry_id_key": lambda g: (
        status_root(entry=g.issued_entry),
        status_root(entry=g.issued_entry, number=1),
    ),
    "status_leaf_state_is_known": lambda _g: StatusLeaf.objects.create(
        log="test", grant_ref=bytes(16), number=0, state=9, last_leaf=bytes(32)
    ),
    "audit_leaf_positions_begin_at_0": lambda _g: audit_leaf(position=-1),
    "audit_leaf_is_sha256": lambda _g: audit_leaf(leaf_hash=b"short"),
    "licensing_auditleaf_audit_id_key": lambda _g: (audit_leaf(), audit_leaf(position=1)),
    "audit_root_is_not_of_nothing": lambda _g: audit_root(size=0),
    "audit_root_is_sha256": lambda _g: audit_root(root=b"short"),
    "licensing_auditroot_entry_id_key": lambda g: (
        audit_root(entry=g.issued_entry),
        audit_root(entry=g.issued_entry, number=1),
    ),
}
