"""The tables of what was delivered: counted while it leaves, recorded once its day is over."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils.translation import gettext_lazy as _

from licensing.models.ledger import LedgerEntry
from licensing.models.licenses import Coverage


class DeliveryCount(models.Model):
    """What left on a day under a grant's coverage, until it is recorded.

    Counted up by `delivery_counts.flush`; deleted by `delivery_summaries` with the entry that says
    it. What comes late for a day is counted anew.
    """

    class What(models.TextChoices):
        MANIFESTS = "manifests", _("Manifests, and indexes of shards")
        WORKS = "works", _("Works, one by one")
        SHARDS = "shards", _("Shards of many works")
        REDIRECTS = "redirects", _("Links to the seller's own store")

    pk = models.CompositePrimaryKey("coverage", "day", "what")
    coverage = models.ForeignKey(Coverage, models.PROTECT, related_name="+", db_index=False)
    # By UTC.
    day = models.DateField()
    what = models.CharField(max_length=9, choices=What)
    # How many answers something left in, and how many bytes of content; of redirects, the bytes
    # that were offered there.
    answers = models.BigIntegerField()
    bytes = models.BigIntegerField()

    class Meta:
        verbose_name = _("delivery count")
        verbose_name_plural = _("delivery counts")
        constraints = [
            models.CheckConstraint(
                name="delivery_count_is_not_negative", condition=Q(answers__gte=0, bytes__gte=0)
            ),
            models.CheckConstraint(
                name="delivery_count_is_of_a_known_sort",
                condition=Q(what__in=["manifests", "works", "shards", "redirects"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.coverage_id} {self.day} {self.what}"


class DeliverySummary(models.Model):
    """That what was delivered on a day, under a grant's coverage, stands in the ledger.

    Updates: cannot. Deletion: cannot. Guarantees: commits with its entry and with the deletion of
    what was counted; a part of a day is recorded once. Written by `delivery_summaries`.
    """

    id = models.BigAutoField(primary_key=True)
    coverage = models.ForeignKey(Coverage, models.PROTECT, related_name="+", db_index=False)
    day = models.DateField()
    # From 0: what was counted after the day's first summary makes another part.
    part = models.IntegerField()
    # Names the chain of one grant's summaries in public: random, and not the grant's own.
    delivery_ref = models.BinaryField(max_length=16)
    entry = models.OneToOneField(LedgerEntry, models.PROTECT, related_name="+")

    class Meta:
        verbose_name = _("delivery summary")
        verbose_name_plural = _("delivery summaries")
        constraints = [
            models.UniqueConstraint(
                name="delivery_is_summarized_once", fields=["coverage", "day", "part"]
            ),
            models.CheckConstraint(
                name="delivery_ref_is_16_bytes", condition=Exact(Length("delivery_ref"), 16)
            ),
            models.CheckConstraint(name="delivery_parts_begin_at_0", condition=Q(part__gte=0)),
        ]

    def __str__(self) -> str:
        return f"{self.coverage_id} {self.day} #{self.part}"
