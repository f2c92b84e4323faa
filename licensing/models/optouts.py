"""The tables of works that were taken out, and of whom that was told."""

from __future__ import annotations

from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from licensing.models.ledger import LedgerEntry
from licensing.models.licenses import Grant, party_to
from marketplace.access import Caller, TenantQuerySet
from marketplace.models import DIGEST_LENGTH, Contributor, Organization
from marketplace.typeid import TypeIDField


class OptOutQuerySet(TenantQuerySet["OptOut"]):
    def visible_to(self, caller: Caller) -> Self:
        """The owner's own, in both modes: an opt-out acts on the catalogue, which they share."""
        return self.filter(organization=caller.organization)


class OptOut(models.Model):
    """Works that were taken out of licensing at one organization. Written by `optouts.record`.

    Updates: cannot. Deletion: cannot. What the set commits to is `citation`; its works are the
    items. Commits with the reservations that make quotes, deliveries and decisions refuse.
    """

    class By(models.TextChoices):
        OWNER = "owner", _("The owner")
        CONTRIBUTOR = "contributor", _("The contributor")
        OPERATOR = "operator", _("The market's operator")
        FEED = "feed", _("The owner's update feed")

    id = TypeIDField(prefix="opt", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="opt_outs")
    by = models.CharField(max_length=11, choices=By)
    reason = models.CharField(max_length=1000)
    # Reserved at every organization, also at those that have not seen the works yet.
    is_everywhere = models.BooleanField(default=False)
    # Names the opt-out in the public logs: random, so that it tells nothing.
    opt_out_ref = models.BinaryField(max_length=16, unique=True)
    size = models.BigIntegerField()
    root = models.BinaryField(max_length=DIGEST_LENGTH)
    citation = models.BinaryField(max_length=DIGEST_LENGTH)
    # Blinds the leaves; shown to the owner alone. Each notice has a set, and a secret, of its own.
    secret = models.BinaryField(max_length=32)
    actor = models.CharField(max_length=40)
    recorded_at = models.DateTimeField(default=timezone.now, editable=False)
    # In the log of the mode that it was called in; and in the other one where grants of that mode
    # cover a work.
    entry = models.OneToOneField(LedgerEntry, models.PROTECT, related_name="+")
    other_entry = models.OneToOneField(
        LedgerEntry, models.PROTECT, null=True, blank=True, related_name="+"
    )

    objects = OptOutQuerySet.as_manager()

    class Meta:
        verbose_name = _("opt-out")
        constraints = [
            models.UniqueConstraint(name="opt_out_of_organization", fields=["organization", "id"]),
            models.CheckConstraint(
                name="opt_out_by_is_known",
                condition=Q(by__in=["owner", "contributor", "operator", "feed"]),
            ),
            models.CheckConstraint(name="opt_out_has_a_reason", condition=~Q(reason="")),
            models.CheckConstraint(name="opt_out_is_not_empty", condition=Q(size__gt=0)),
            models.CheckConstraint(
                name="opt_out_hashes_are_sha256",
                condition=Q(Exact(Length("root"), 32))
                & Q(Exact(Length("citation"), 32))
                & Q(Exact(Length("secret"), 32)),
            ),
            models.CheckConstraint(
                name="opt_out_ref_is_16_bytes", condition=Exact(Length("opt_out_ref"), 16)
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class OptOutItemQuerySet(TenantQuerySet["OptOutItem"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class OptOutItem(models.Model):
    """One representation that an opt-out took out. Insert-only. Written by `optouts.record`.

    A licensee reads those that its notice is about, and row-level security lets it.
    """

    pk = models.CompositePrimaryKey("opt_out", "digest")
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    opt_out = models.ForeignKey(
        OptOut, models.PROTECT, related_name="items", db_index=False, db_constraint=False
    )
    digest = models.BinaryField(max_length=DIGEST_LENGTH)

    objects = OptOutItemQuerySet.as_manager()

    def __str__(self) -> str:
        return bytes(self.digest).hex()


class NoticeQuerySet(TenantQuerySet["Notice"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(party_to(caller), livemode=caller.livemode)


class Notice(models.Model):
    """What a licensee is told: works that its grant covers were taken out.

    Updates: cannot. Deletion: cannot. Queued when it is written, by `optouts.record` in the
    opt-out's transaction; acknowledged once there is an Acknowledgement of it.
    """

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        ACKNOWLEDGED = "acknowledged", _("Acknowledged")

    id = TypeIDField(prefix="ntc", primary_key=True)
    livemode = models.BooleanField()
    licensor = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    licensee = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    grant = models.ForeignKey(Grant, models.PROTECT, related_name="notices", db_constraint=False)
    opt_out = models.ForeignKey(
        OptOut, models.PROTECT, related_name="notices", db_index=False, db_constraint=False
    )
    # Who took them out: the licensee does not see the opt-out itself.
    by = models.CharField(max_length=11, choices=OptOut.By)
    # Names the notice in the public log: random, so that nobody sees which grants go together.
    notice_ref = models.BinaryField(max_length=16, unique=True)
    # The covered snapshots that hold a work which was taken out, as they were then: growth of the
    # grant later must not change what the notice said.
    snapshots = ArrayField(models.UUIDField())
    # A set of its own: those works of the opt-out that this grant covers, and no others.
    size = models.BigIntegerField()
    root = models.BinaryField(max_length=DIGEST_LENGTH)
    citation = models.BinaryField(max_length=DIGEST_LENGTH)
    secret = models.BinaryField(max_length=32)
    queued_at = models.DateTimeField(default=timezone.now, editable=False)
    entry = models.OneToOneField(LedgerEntry, models.PROTECT, related_name="+")

    objects = NoticeQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="notice_of_parties", fields=["licensor", "licensee", "livemode", "id"]
            ),
            # Serves "the notices of an opt-out", too.
            models.UniqueConstraint(name="notice_is_given_once", fields=["opt_out", "grant"]),
            models.CheckConstraint(
                name="notice_by_is_known",
                condition=Q(by__in=["owner", "contributor", "operator", "feed"]),
            ),
            models.CheckConstraint(name="notice_is_not_empty", condition=Q(size__gt=0)),
            models.CheckConstraint(
                name="notice_parties_differ", condition=~Q(licensor=F("licensee"))
            ),
            models.CheckConstraint(
                name="notice_hashes_are_sha256",
                condition=Q(Exact(Length("root"), 32))
                & Q(Exact(Length("citation"), 32))
                & Q(Exact(Length("secret"), 32)),
            ),
            models.CheckConstraint(
                name="notice_ref_is_16_bytes", condition=Exact(Length("notice_ref"), 16)
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class AcknowledgementQuerySet(TenantQuerySet["Acknowledgement"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(party_to(caller), livemode=caller.livemode)


class Acknowledgement(models.Model):
    """A person's statement, for a licensee, of what was done about a notice.

    Updates: cannot. Deletion: cannot. Written by `optouts.acknowledge`, once for a notice.
    """

    id = TypeIDField(prefix="ack", primary_key=True)
    livemode = models.BooleanField()
    licensor = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    licensee = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    notice = models.OneToOneField(
        Notice, models.PROTECT, related_name="acknowledgement", db_constraint=False
    )
    statement = models.CharField(max_length=2000)
    person_name = models.CharField(max_length=200)
    person_title = models.CharField(max_length=200)
    actor = models.CharField(max_length=40)
    acknowledged_at = models.DateTimeField(default=timezone.now, editable=False)
    entry = models.OneToOneField(LedgerEntry, models.PROTECT, related_name="+")

    objects = AcknowledgementQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="acknowledgement_is_signed",
                condition=~Q(statement="") & ~Q(person_name="") & ~Q(person_title=""),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class ContributorLinkQuerySet(TenantQuerySet["ContributorLink"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class ContributorLink(models.Model):
    """An address with which a contributor takes all their works out, once. Written by `optouts`.

    Whoever holds the token may; only its SHA-256 is kept.
    """

    id = TypeIDField(prefix="lnk", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    contributor = models.ForeignKey(
        Contributor, models.PROTECT, related_name="opt_out_links", db_constraint=False
    )
    token_sha256 = models.BinaryField(max_length=DIGEST_LENGTH)
    created_by = models.CharField(max_length=40)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    # Null also where it was used and there was nothing to take out.
    opt_out = models.ForeignKey(
        OptOut, models.PROTECT, null=True, blank=True, related_name="+", db_constraint=False
    )

    objects = ContributorLinkQuerySet.as_manager()

    class Meta:
        verbose_name = _("opt-out link")
        constraints = [
            models.UniqueConstraint(
                name="contributor_link_token_is_unique", fields=["token_sha256"]
            ),
            models.CheckConstraint(
                name="contributor_link_token_is_hashed",
                condition=Exact(Length("token_sha256"), DIGEST_LENGTH),
            ),
            models.CheckConstraint(
                name="contributor_link_expires_after_creation",
                condition=Q(expires_at__gt=F("created_at")),
            ),
            models.CheckConstraint(
                name="contributor_link_ends_once",
                condition=Q(used_at__isnull=True) | Q(revoked_at__isnull=True),
            ),
            models.CheckConstraint(
                name="contributor_link_opted_out_iff_used",
                condition=Q(opt_out__isnull=True) | Q(used_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)
