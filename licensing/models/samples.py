"""The tables of evaluation samples: which works a seller chose, and who took them."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from licensing.models.licenses import Grant, Offer, party_to
from marketplace.access import Caller, TenantQuerySet
from marketplace.models import Organization
from marketplace.typeid import TypeIDField


class SampleQuerySet(TenantQuerySet["Sample"]):
    def visible_to(self, caller: Caller) -> Self:
        """The seller's own. Buyers see what the listing says of it."""
        return self.filter(organization=caller.organization)

    def current(self) -> Self:
        """Those that may be taken: chosen last for their offers, and not taken back."""
        return self.filter(sample_offer__state=Offer.State.LISTED)


class Sample(models.Model):
    """Works of an offer that a buyer may evaluate for free, frozen. Written by `samples.choose`.

    Updates: cannot. Deletion: cannot. `sample_offer` holds the works' snapshot and the terms; the
    market shows it nowhere, and whoever takes the sample licenses it. A later choice withdraws it.
    """

    id = TypeIDField(prefix="smp", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    offer = models.ForeignKey(Offer, models.PROTECT, related_name="samples", db_constraint=False)
    sample_offer = models.OneToOneField(
        Offer, models.PROTECT, related_name="sample", db_constraint=False
    )
    works = models.IntegerField()
    chosen_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = SampleQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="sample_of_offer", fields=["organization", "offer", "id"]),
            models.CheckConstraint(name="sample_is_not_empty", condition=Q(works__gt=0)),
            models.CheckConstraint(
                name="sample_is_of_another_offer", condition=~Q(offer=F("sample_offer"))
            ),
        ]

    def __str__(self) -> str:
        return f"{self.works} of {self.offer_id}"


class TakenSampleQuerySet(TenantQuerySet["TakenSample"]):
    def visible_to(self, caller: Caller) -> Self:
        """Those that the caller took, and those taken from it."""
        return self.filter(party_to(caller), livemode=caller.livemode)


class TakenSample(models.Model):
    """That a buyer took an offer's sample: once, whatever the seller chooses later.

    Updates: cannot. Deletion: cannot. Written by `samples.keep`, with its grant.
    """

    id = TypeIDField(prefix="tks", primary_key=True)
    livemode = models.BooleanField()
    licensor = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    licensee = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    offer = models.ForeignKey(Offer, models.PROTECT, related_name="+", db_constraint=False)
    sample = models.ForeignKey(Sample, models.PROTECT, related_name="taken", db_constraint=False)
    grant = models.OneToOneField(Grant, models.PROTECT, related_name="+", db_constraint=False)
    taken_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = TakenSampleQuerySet.as_manager()

    class Meta:
        constraints = [
            # Serves `samples.taken`.
            models.UniqueConstraint(
                name="sample_is_taken_once", fields=["offer", "licensee", "livemode"]
            ),
            models.CheckConstraint(
                name="taken_sample_parties_differ", condition=~Q(licensor=F("licensee"))
            ),
        ]

    def __str__(self) -> str:
        return f"{self.offer_id} by {self.licensee_id}"
