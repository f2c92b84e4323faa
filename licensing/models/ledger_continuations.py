"""Generations of the logs: each continues one that was frozen."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils.translation import gettext_lazy as _

from licensing.models.ledger import LedgerEntry


class LedgerContinuation(models.Model):
    """A log that was frozen goes on as another generation: what `log.continued` is about.

    Updates: cannot. Deletion: cannot. Guarantees: commits with its entry, the first leaf of that
    generation; each generation begins once. Written by `ledger.freezing`, and by `ledger.recovery`
    with a lost tail.
    """

    id = models.BigAutoField(primary_key=True)
    # As entries say it. The generation that begins is `log`/`number`.
    log = models.CharField(max_length=4)
    number = models.IntegerField()
    # Names this one entry's chain.
    ref = models.BinaryField(max_length=16)
    # Of the frozen generation: the last known signed tree, with its note.
    size = models.BigIntegerField()
    checkpoint = models.TextField()
    # How many of its entries stand here in their signed places: the others have none, or another.
    known = models.BigIntegerField()
    entry = models.OneToOneField(LedgerEntry, models.PROTECT, related_name="continuation")

    class Meta:
        verbose_name = _("continuation of a log")
        verbose_name_plural = _("continuations of the logs")
        constraints = [
            models.UniqueConstraint(name="ledger_continues_once", fields=["log", "number"]),
            models.CheckConstraint(
                name="ledger_continuation_is_a_later_one",
                condition=Q(number__gte=2, number__lte=9999),
            ),
            models.CheckConstraint(
                name="ledger_continuation_knows_what_was_signed",
                condition=Q(known__gte=0, known__lte=F("size")),
            ),
            models.CheckConstraint(
                name="ledger_continuation_ref_is_16_bytes", condition=Exact(Length("ref"), 16)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.log}/{self.number}"
