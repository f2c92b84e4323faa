"""Changes of the logs' own keys."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils.translation import gettext_lazy as _

from licensing.models.ledger import LedgerEntry


class LedgerKeyChange(models.Model):
    """A log's key gave way to another: what its `log.key_changed` entry is about. Insert-only.

    Updates: cannot. Deletion: cannot. Guarantees: commits with its entry, and a key is announced
    once. Written by `ledger.rotation.announce`, and by `ledger.recovery` with a lost tail.
    """

    id = models.BigAutoField(primary_key=True)
    log = models.CharField(max_length=4)
    # Names the log's own chain of entries: the same in all of a log's changes.
    ref = models.BinaryField(max_length=16)
    old_vkey = models.TextField()
    new_vkey = models.TextField()
    entry = models.OneToOneField(LedgerEntry, models.PROTECT, related_name="key_change")

    class Meta:
        verbose_name = _("change of a log's key")
        verbose_name_plural = _("changes of the logs' keys")
        constraints = [
            models.UniqueConstraint(name="ledger_key_is_announced_once", fields=["new_vkey"]),
            models.CheckConstraint(
                name="ledger_key_gives_way_to_another", condition=~Q(old_vkey=F("new_vkey"))
            ),
            models.CheckConstraint(
                name="ledger_key_change_ref_is_16_bytes", condition=Exact(Length("ref"), 16)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.log} key change #{self.pk}"
