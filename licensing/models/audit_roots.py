"""The tables of the audit's tree: a leaf for each act, and the roots that the logs have of it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils.translation import gettext_lazy as _

from licensing.models.ledger import LedgerEntry
from marketplace.models import DIGEST_LENGTH, Audit


class AuditLeaf(models.Model):
    """An act's place in the audit's tree. Written by `audit_roots`, after the act is committed.

    Updates: cannot. Deletion: cannot. Guarantees: a place is one act's, and an act has one place.
    Holds no text of the act: what the hash is of stands in the audit alone.
    """

    position = models.BigIntegerField(primary_key=True)
    audit = models.OneToOneField(Audit, models.PROTECT, related_name="leaf")
    leaf_hash = models.BinaryField(max_length=DIGEST_LENGTH)

    class Meta:
        verbose_name = _("leaf of the audit")
        verbose_name_plural = _("leaves of the audit")
        constraints = [
            models.CheckConstraint(
                name="audit_leaf_positions_begin_at_0", condition=Q(position__gte=0)
            ),
            models.CheckConstraint(
                name="audit_leaf_is_sha256", condition=Exact(Length("leaf_hash"), DIGEST_LENGTH)
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.position}"


class AuditRoot(models.Model):
    """That the audit's tree had this root, as a log says it. Written by `audit_roots.record_due`.

    Updates: cannot. Deletion: cannot. Guarantees: commits with its ledger entry, whose number in
    the chain of the log's audit roots it has.
    """

    pk = models.CompositePrimaryKey("log", "number")
    log = models.CharField(max_length=4)
    number = models.IntegerField()
    # How many acts the tree holds: all that were committed before `until`, of both modes.
    size = models.BigIntegerField()
    root = models.BinaryField(max_length=DIGEST_LENGTH)
    until = models.DateTimeField()
    # The roots of the tree's complete subtrees, largest first: the next root grows from them.
    frontier = models.BinaryField()
    entry = models.OneToOneField(LedgerEntry, models.PROTECT, related_name="+")

    class Meta:
        verbose_name = _("root of the audit")
        verbose_name_plural = _("roots of the audit")
        constraints = [
            models.CheckConstraint(name="audit_root_is_not_of_nothing", condition=Q(size__gt=0)),
            models.CheckConstraint(
                name="audit_root_is_sha256", condition=Exact(Length("root"), DIGEST_LENGTH)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.log} #{self.number}"
