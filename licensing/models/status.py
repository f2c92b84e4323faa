"""The tables of status roots: which state every grant of a log is in, and was in."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from licensing.models.ledger import LedgerEntry
from marketplace.models import DIGEST_LENGTH


class StatusRoot(models.Model):
    """That a log's grants were in these states at a moment. Written by `status.record`.

    Updates: cannot. Deletion: cannot. Guarantees: commits with its ledger entry, whose number in
    the chain of status roots it has.
    """

    pk = models.CompositePrimaryKey("log", "number")
    log = models.CharField(max_length=4)
    number = models.IntegerField()
    # Everything that was committed before this moment is in it.
    as_of = models.DateTimeField()
    # Every entry with a place below this one is in it.
    log_size = models.BigIntegerField()
    # Of the status tree: how many leaves, and their root.
    size = models.BigIntegerField()
    root = models.BinaryField(max_length=DIGEST_LENGTH)
    # The parts of the tree (`status_tree.pack`): a proof reads the leaves of one.
    blocks = models.BinaryField()
    entry = models.OneToOneField(LedgerEntry, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("status root")
        verbose_name_plural = _("status roots")
        constraints = [
            models.CheckConstraint(
                name="status_root_is_sha256",
                condition=Exact(Length("root"), DIGEST_LENGTH),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.log} #{self.number}"


class StatusLeaf(models.Model):
    """How a grant stands in a log's status tree from a root on, until its next row. Insert-only.

    A root writes rows only for grants that changed since the one before: the tree of root n is
    each grant's row of the greatest number up to n. Names no party, and is public like the log.
    """

    pk = models.CompositePrimaryKey("log", "grant_ref", "number")
    log = models.CharField(max_length=4)
    grant_ref = models.BinaryField(max_length=16)
    number = models.IntegerField()
    # Of `status_tree.STATES`.
    state = models.SmallIntegerField()
    # The leaf hash of the newest entry of the grant's chain.
    last_leaf = models.BinaryField(max_length=DIGEST_LENGTH)

    class Meta:
        verbose_name = _("status leaf")
        verbose_name_plural = _("status leaves")
        constraints = [
            models.CheckConstraint(
                name="status_leaf_state_is_known", condition=Q(state__in=[1, 2, 3, 4])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.log} {bytes(self.grant_ref).hex()} #{self.number}"


class StatusChange(models.Model):
    """That a grant's status changed, and no root says so yet: a queue.

    Written by a trigger on grants, in the transaction that changes the status, whoever does;
    deleted with the root that has the change (`status.record`).
    """

    id = models.BigAutoField(primary_key=True)
    log = models.CharField(max_length=4)
    grant_ref = models.BinaryField(max_length=16)

    class Meta:
        verbose_name = _("status change")
        verbose_name_plural = _("status changes")

    def __str__(self) -> str:
        return f"{self.log} {bytes(self.grant_ref).hex()}"
