"""How to break each constraint of the audit's tree, for test_constraints.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils import timezone

from licensing.models import AuditLeaf, AuditRoot, Grant
from marketplace.models import Audit
from tests import ledger


def leaf(**fields: Any) -> None:
    of = {"position": 0, "audit": Audit.objects.earliest("id"), "leaf_hash": bytes(32)}
    AuditLeaf.objects.create(**of | fields)


def root(**fields: Any) -> None:
    of = {"log": "test", "number": 0, "size": 1, "root": bytes(32), "frontier": bytes(32)}
    AuditRoot.objects.create(**of | {"until": timezone.now(), "entry": ledger.append()} | fields)


BREAKS: dict[str, Callable[[Grant], Any]] = {
    "audit_leaf_positions_begin_at_0": lambda _g: leaf(position=-1),
    "audit_leaf_is_sha256": lambda _g: leaf(leaf_hash=b"short"),
    "licensing_auditleaf_audit_id_key": lambda _g: (leaf(), leaf(position=1)),
    "audit_root_is_not_of_nothing": lambda _g: root(size=0),
    "audit_root_is_sha256": lambda _g: root(root=b"short"),
    "licensing_auditroot_entry_id_key": lambda g: (
        root(entry=g.issued_entry),
        root(entry=g.issued_entry, number=1),
    ),
    "audit_entry_has_its_subject": lambda _g: ledger.append(
        kind="audit.root",
        values={},
        public={"tree": "t", "size": 1, "root": "", "from": None, "to": ""},
    ),
}
