"""The tables of what may be licensed, and of what was."""

from __future__ import annotations

from typing import Self

from django.contrib.postgres.fields import DateTimeRangeField
from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Length, Now
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from licensing.models.ledger import LedgerEntry
from marketplace.access import Caller, TenantQuerySet
from marketplace.models import DIGEST_LENGTH, Collection, Organization, Sha256
from marketplace.typeid import TypeIDField


class SnapshotQuerySet(TenantQuerySet["Snapshot"]):
    def owned_by(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)

    def visible_to(self, caller: Caller) -> Self:
        """One's own; those of offers that one may buy; those that one's grants cover."""
        offered = Offer.objects.buyable_by(caller).filter(snapshot=OuterRef("pk"))
        covered = Coverage.objects.visible_to(caller).filter(snapshot=OuterRef("pk"))
        return self.filter(Q(organization=caller.organization) | Exists(offered) | Exists(covered))


class Snapshot(models.Model):
    """A finalized version of a collection: root, size, totals. Written by `snapshots.finalize`.

    Updates: cannot. Deletion: cannot. What is cited anywhere is `citation`, never the bare root.
    """

    id = TypeIDField(prefix="snp", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    collection = models.ForeignKey(
        Collection, models.PROTECT, related_name="snapshots", db_constraint=False
    )
    number = models.IntegerField()
    size = models.BigIntegerField()
    root = models.BinaryField(max_length=DIGEST_LENGTH)
    # {"bytes": n, "works": n}: integers only.
    totals = models.JSONField()
    # SHA-256(JCS({tree, type, size, root, totals})).
    citation = models.BinaryField(max_length=DIGEST_LENGTH)
    # Blinds the leaves; handed to licensees with the manifest, never shown in public.
    secret = models.BinaryField(max_length=32)
    finalized_at = models.DateTimeField(default=timezone.now, editable=False)
    # Names the snapshot in the public log: random, so that it tells nothing. Null, as `entry` is,
    # where the snapshot is older than the recording of snapshots.
    snapshot_ref = models.BinaryField(max_length=16, null=True, unique=True)
    # In the log of the mode that it was finalized in.
    entry = models.OneToOneField(LedgerEntry, models.PROTECT, null=True, related_name="+")

    objects = SnapshotQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="snapshot_of_organization", fields=["organization", "id"]),
            models.UniqueConstraint(
                name="snapshot_of_collection", fields=["organization", "collection", "id"]
            ),
            models.UniqueConstraint(
                name="snapshot_number_is_unique", fields=["collection", "number"]
            ),
            models.CheckConstraint(name="snapshot_is_not_empty", condition=Q(size__gt=0)),
            # NOT VALID for good (migration 0096): no snapshot from before has an entry, and none
            # after is without.
            models.CheckConstraint(
                name="snapshot_is_recorded",
                condition=Q(entry__isnull=False, snapshot_ref__isnull=False)
                & Q(Exact(Length("snapshot_ref"), 16)),
            ),
            models.CheckConstraint(
                name="snapshot_hashes_are_sha256",
                condition=Q(Exact(Length("root"), 32))
                & Q(Exact(Length("citation"), 32))
                & Q(Exact(Length("secret"), 32)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.collection_id} #{self.number}"


class TermsQuerySet(TenantQuerySet["Terms"]):
    def owned_by(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)

    def visible_to(self, caller: Caller) -> Self:
        """One's own; those of offers that one may buy; those of one's grants."""
        offered = Offer.objects.buyable_by(caller).filter(terms=OuterRef("pk"))
        granted = Period.objects.visible_to(caller).filter(terms=OuterRef("pk"))
        return self.filter(Q(organization=caller.organization) | Exists(offered) | Exists(granted))


class Terms(models.Model):
    """Typed license conditions with the exact text that they render to. Written by `terms`.

    A published version never changes and is never rendered again: both hashes are the database's
    own SHA-256 of the stored bytes.
    """

    id = TypeIDField(prefix="trm", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    name = models.CharField(max_length=200)
    version = models.IntegerField(default=1)
    # Canonical JSON (RFC 8785) of the typed conditions: `terms.SCHEMA`.
    typed = models.TextField()
    typed_sha256 = models.BinaryField(max_length=DIGEST_LENGTH)
    text = models.TextField()
    text_sha256 = models.BinaryField(max_length=DIGEST_LENGTH)
    # Which wording rendered `text`.
    template_version = models.CharField(max_length=20)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    published_at = models.DateTimeField(null=True, blank=True)
    # Names the version in the public log: random, so that it tells nothing. Null, as `entry` is,
    # until it is published, and where that was before publishing was recorded.
    terms_ref = models.BinaryField(max_length=16, null=True, unique=True)
    # In the log of the mode that it was published in.
    entry = models.OneToOneField(LedgerEntry, models.PROTECT, null=True, related_name="+")

    objects = TermsQuerySet.as_manager()

    class Meta:
        verbose_name = _("terms")
        verbose_name_plural = _("terms")
        constraints = [
            models.UniqueConstraint(name="terms_of_organization", fields=["organization", "id"]),
            models.UniqueConstraint(
                name="terms_version_is_unique", fields=["organization", "name", "version"]
            ),
            models.CheckConstraint(
                name="terms_hashes_are_of_their_texts",
                condition=Q(Exact(Sha256("typed"), F("typed_sha256")))
                & Q(Exact(Sha256("text"), F("text_sha256"))),
            ),
            # NOT VALID for good (migration 0096), as with snapshots.
            models.CheckConstraint(
                name="terms_are_recorded_iff_published",
                condition=Q(published_at__isnull=True, entry__isnull=True, terms_ref__isnull=True)
                | Q(published_at__isnull=False, entry__isnull=False, terms_ref__isnull=False)
                & Q(Exact(Length("terms_ref"), 16)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"


class OfferQuerySet(TenantQuerySet["Offer"]):
    def visible_to(self, caller: Caller) -> Self:
        """The seller's own, whatever their state."""
        return self.filter(organization=caller.organization)

    def on_sale(self) -> Self:
        # The database's clock: a statement that is kept holds no instant.
        return self.filter(
            Q(closes_at__isnull=True) | Q(closes_at__gt=Now()), state="listed", opens_at__lte=Now()
        )

    def buyable_by(self, caller: Caller) -> Self:
        """What a caller may see in the market: public offers, and private ones made to it."""
        return (
            self.on_sale()
            .shown()
            .filter(
                Q(audience__isnull=True)
                | Q(audience=caller.organization)
                | Q(organization=caller.organization)
            )
        )

    def public(self) -> Self:
        """What anybody may see in the market."""
        return self.on_sale().shown().filter(audience__isnull=True)

    def shown(self) -> Self:
        """Without those that are the samples of others: they are taken by way of these."""
        return self.filter(sample__isnull=True)


class Offer(models.Model):
    """A snapshot under terms at a price, to everybody or to one organization. Written by `offers`.

    Lifecycle: draft -> in_review -> listed <-> suspended, where the market reviews its listings
    (draft -> listed where it does not); withdrawn from any of them. A listed offer's conditions
    never change: withdraw it and make another.
    """

    class State(models.TextChoices):
        DRAFT = "draft", _("Draft")
        IN_REVIEW = "in_review", _("In review")
        LISTED = "listed", _("On sale")
        SUSPENDED = "suspended", _("Suspended")
        WITHDRAWN = "withdrawn", _("Withdrawn")

    class Access(models.TextChoices):
        OPEN = "open", _("Whoever pays may license it")
        ON_REQUEST = "on_request", _("Only whom the seller approved")

    class GrantsOn(models.TextChoices):
        PAYMENT = "payment", _("With the payment")
        ISSUE = "issue", _("With the invoice")

    id = TypeIDField(prefix="off", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="offers")
    collection = models.ForeignKey(
        Collection, models.PROTECT, related_name="offers", db_constraint=False
    )
    snapshot = models.ForeignKey(
        Snapshot, models.PROTECT, related_name="offers", db_constraint=False
    )
    terms = models.ForeignKey(Terms, models.PROTECT, related_name="offers", db_constraint=False)
    # Null: to everybody.
    audience = models.ForeignKey(
        Organization, models.PROTECT, null=True, blank=True, related_name="private_offers"
    )
    state = models.CharField(max_length=9, choices=State, default=State.DRAFT)
    # What a buyer pays at least now, in the currency's minor unit.
    price_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    # The typed price (`prices.EXAMPLES`). Null: flat, as before prices had models.
    price = models.JSONField(null=True, blank=True)
    access = models.CharField(
        max_length=10, choices=Access, default=Access.OPEN, db_default=Access.OPEN
    )
    # Within how many days an invoice may be paid, such as [30, 60]. Empty: paid at once only.
    invoice_days = models.JSONField(default=list, blank=True, db_default=[])
    # When a license bought on invoice begins.
    grants_on = models.CharField(
        max_length=7, choices=GrantsOn, default=GrantsOn.PAYMENT, db_default=GrantsOn.PAYMENT
    )
    # Why an operator refused the offer (a draft again) or suspended it: the seller reads it.
    state_reason = models.TextField(max_length=2_000, blank=True, db_default="")
    # What the seller's newest attestation said when the seller published the offer: attestations
    # are private, and buyers must see on which basis the offer stands.
    rights_basis = models.CharField(max_length=14, blank=True)
    rights_license = models.CharField(max_length=100, blank=True)
    rights_statement = models.TextField(blank=True)
    opens_at = models.DateTimeField(default=timezone.now)
    closes_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # When it was handed to review; null where nobody reviewed it.
    submitted_at = models.DateTimeField(null=True, blank=True)
    # When it was first listed.
    published_at = models.DateTimeField(null=True, blank=True)
    suspended_at = models.DateTimeField(null=True, blank=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    objects = OfferQuerySet.as_manager()

    class Meta:
        indexes = [
            # Serves `offers.in_review`, and the operators' panel of it.
            models.Index(
                name="offer_in_review", fields=["submitted_at"], condition=Q(state="in_review")
            ),
        ]
        constraints = [
            models.UniqueConstraint(name="offer_of_organization", fields=["organization", "id"]),
            models.CheckConstraint(
                name="offer_price_is_not_negative", condition=Q(price_minor__gte=0)
            ),
            models.CheckConstraint(
                name="offer_price_minor_is_of_its_price",
                condition=Q(price__isnull=True)
                | Q(price__model="free", price_minor=0)
                | Q(
                    Exact(
                        Cast(KeyTextTransform("amount_minor", "price"), models.BigIntegerField()),
                        F("price_minor"),
                    ),
                    price__model__in=["flat", "subscription"],
                )
                | Q(price__model__in=["per_unit", "milestones"], price_minor__gt=0)
                | Q(price__model="metered"),
            ),
            models.CheckConstraint(
                name="offer_currency_is_iso_4217", condition=Q(currency__regex=r"^[A-Z]{3}$")
            ),
            models.CheckConstraint(
                name="offer_access_is_known", condition=Q(access__in=["open", "on_request"])
            ),
            models.CheckConstraint(
                name="offer_invoice_days_are_known",
                condition=Q(invoice_days__contains=[], invoice_days__contained_by=[14, 30, 60]),
            ),
            models.CheckConstraint(
                name="offer_grants_on_issue_of_an_invoice",
                condition=Q(grants_on="payment") | Q(grants_on="issue") & ~Q(invoice_days=[]),
            ),
            models.CheckConstraint(
                name="offer_closes_after_it_opens",
                condition=Q(closes_at__isnull=True) | Q(closes_at__gt=F("opens_at")),
            ),
            models.CheckConstraint(
                name="offer_is_not_private_to_its_owner",
                condition=Q(audience__isnull=True) | ~Q(audience=F("organization")),
            ),
            models.CheckConstraint(
                name="offer_state_matches_its_dates",
                condition=Q(state="withdrawn", withdrawn_at__isnull=False)
                | Q(withdrawn_at__isnull=True, suspended_at__isnull=True)
                & (
                    Q(state="draft", published_at__isnull=True, submitted_at__isnull=True)
                    | Q(state="in_review", published_at__isnull=True, submitted_at__isnull=False)
                    | Q(state="listed", published_at__isnull=False)
                )
                | Q(
                    state="suspended",
                    published_at__isnull=False,
                    suspended_at__isnull=False,
                    withdrawn_at__isnull=True,
                ),
            ),
            models.CheckConstraint(
                name="offer_on_sale_states_its_rights_basis",
                condition=~Q(state__in=["in_review", "listed", "suspended"]) | ~Q(rights_basis=""),
            ),
            models.CheckConstraint(
                name="offer_suspended_says_why",
                condition=Q(state="suspended") & ~Q(state_reason="")
                | Q(state__in=["in_review", "listed"], state_reason="")
                | Q(state__in=["draft", "withdrawn"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.collection_id} for {self.price_minor} {self.currency}"


def party_to(caller: Caller) -> Q:
    return Q(licensor=caller.organization) | Q(licensee=caller.organization)


class AgreementQuerySet(TenantQuerySet["Agreement"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(party_to(caller), livemode=caller.livemode)


class Agreement(models.Model):
    """The contract: made by an order, or (later) signed elsewhere and imported.

    Updates: cannot. Deletion: cannot. Written by `agreements`, with its grant.
    """

    class Controlling(models.TextChoices):
        TYPED = "typed", _("The typed terms")
        DOCUMENT = "document", _("The document")

    id = TypeIDField(prefix="agr", primary_key=True)
    livemode = models.BooleanField()
    licensor = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    licensee = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    # Which text controls where the two differ.
    controlling = models.CharField(max_length=8, choices=Controlling)
    # The whole contract, as it was accepted: exact text and its SHA-256.
    document = models.TextField()
    document_sha256 = models.BinaryField(max_length=DIGEST_LENGTH)
    # The acceptance: who, as what, and that they had authority.
    accepted_by_name = models.CharField(max_length=200)
    accepted_by_title = models.CharField(max_length=200)
    accepted_by_actor = models.CharField(max_length=40)
    accepted_at = models.DateTimeField()
    # The order or import that made it, as a TypeID: licensing does not know payments.
    made_by = models.CharField(max_length=60)

    objects = AgreementQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="agreement_of_parties", fields=["licensor", "licensee", "livemode", "id"]
            ),
            models.UniqueConstraint(name="agreement_is_made_once", fields=["made_by"]),
            models.CheckConstraint(
                name="agreement_hash_is_of_its_document",
                condition=Exact(Sha256("document"), F("document_sha256")),
            ),
            models.CheckConstraint(
                name="agreement_parties_differ", condition=~Q(licensor=F("licensee"))
            ),
            models.CheckConstraint(
                name="agreement_states_what_controls",
                condition=Q(controlling__in=["typed", "document"]),
            ),
            models.CheckConstraint(
                name="agreement_names_who_accepted",
                condition=~Q(accepted_by_name="") & ~Q(accepted_by_title=""),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class HeldAgreement(Agreement):
    """An agreement as its licensee sees it."""

    class Meta:
        proxy = True
        verbose_name = _("agreement held")
        verbose_name_plural = _("agreements held")


class GrantQuerySet(TenantQuerySet["Grant"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(party_to(caller), livemode=caller.livemode)


class Grant(models.Model):
    """Permission, given by a licensor to a licensee, to use works of a Snapshot.

    Lifecycle: active <-> suspended -> revoked | expired. Created only by `grants.issue`,
    in the same transaction as its agreement, first period, coverage and ledger entry.
    What it permits, and when, stands in its insert-only periods.
    """

    class Status(models.TextChoices):
        ACTIVE = "active", _("Active")
        SUSPENDED = "suspended", _("Suspended")
        REVOKED = "revoked", _("Revoked")
        EXPIRED = "expired", _("Expired")

    id = TypeIDField(prefix="grt", primary_key=True)
    livemode = models.BooleanField()
    licensor = models.ForeignKey(Organization, models.PROTECT, related_name="grants_given")
    licensee = models.ForeignKey(Organization, models.PROTECT, related_name="grants_held")
    agreement = models.OneToOneField(
        Agreement, models.PROTECT, related_name="grant", db_constraint=False
    )
    # Names the grant in the public log: random, so that it tells nothing.
    grant_ref = models.BinaryField(max_length=16, unique=True)
    issued_entry = models.OneToOneField(LedgerEntry, models.PROTECT, related_name="+")
    status = models.CharField(max_length=9, choices=Status, default=Status.ACTIVE)
    issued_at = models.DateTimeField(default=timezone.now, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = GrantQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="grant_of_parties", fields=["licensor", "licensee", "livemode", "id"]
            ),
            models.CheckConstraint(
                name="grant_parties_differ",
                condition=~Q(licensor=F("licensee")),
                violation_error_message=_("An organization cannot license its own collection."),
            ),
            models.CheckConstraint(
                name="grant_ended_at_iff_ended",
                condition=Q(status__in=["active", "suspended"], ended_at__isnull=True)
                | Q(status__in=["revoked", "expired"], ended_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class HeldGrant(Grant):
    """A grant as its licensee sees it."""

    class Meta:
        proxy = True
        verbose_name = _("license held")
        verbose_name_plural = _("licenses held")


class PeriodQuerySet(TenantQuerySet["Period"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(party_to(caller), livemode=caller.livemode)


class Period(models.Model):
    """What a grant permits, and when: the first period, a renewal, or an amendment.

    Updates: cannot. Deletion: cannot. Written by `grants` and `periods`. Windows are half-open UTC
    intervals: `access` for fetching works, `training` for starting runs, `use` for keeping what was
    made in use. Of the periods whose window of one name holds an instant, the one with the highest
    number counts.
    """

    class Kind(models.TextChoices):
        ISSUED = "issued", _("The first")
        RENEWED = "renewed", _("A renewal")
        AMENDED = "amended", _("An amendment")

    id = TypeIDField(prefix="per", primary_key=True)
    livemode = models.BooleanField()
    licensor = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    licensee = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    grant = models.ForeignKey(Grant, models.PROTECT, related_name="periods", db_constraint=False)
    number = models.IntegerField(default=1)
    kind = models.CharField(
        max_length=7, choices=Kind, default=Kind.ISSUED, db_default=Kind.ISSUED.value
    )
    terms = models.ForeignKey(Terms, models.PROTECT, related_name="+", db_constraint=False)
    # The scope that was bought: {"uses": [...], "territories": [...]}, and "model" where it is for
    # one (see `asked_models`).
    scope = models.JSONField()
    # Empty in a later period where another period's window goes on, or none does.
    access_window = DateTimeRangeField()
    training_window = DateTimeRangeField()
    use_window = DateTimeRangeField()
    # What the price was for, in integers: {"model": "flat", "amount_minor": n, "currency": "USD"},
    # and what else its model says (`prices.basis`).
    price_basis = models.JSONField()
    # What the licensee accepted for it. Null: the grant's own contract, or a renewal by it.
    agreement = models.ForeignKey(
        Agreement,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    # What led to a renewal or an amendment, such as an order's id: once for a grant.
    reference = models.CharField(max_length=60, blank=True, db_default="")
    entry = models.OneToOneField(LedgerEntry, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = PeriodQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="period_number_is_unique", fields=["grant", "number"]),
            models.UniqueConstraint(
                name="period_reference_is_unique",
                fields=["grant", "reference"],
                condition=~Q(reference=""),
            ),
            models.CheckConstraint(
                name="period_windows_are_not_empty",
                condition=Q(
                    access_window__isempty=False,
                    training_window__isempty=False,
                    use_window__isempty=False,
                )
                | Q(number__gt=1)
                & (
                    Q(access_window__isempty=False)
                    | Q(training_window__isempty=False)
                    | Q(use_window__isempty=False)
                ),
            ),
            models.CheckConstraint(
                name="period_kind_matches_the_rest",
                condition=Q(kind="issued", number=1, reference="", agreement__isnull=True)
                | Q(kind="renewed", number__gt=1) & ~Q(reference="")
                | Q(kind="amended", number__gt=1, agreement__isnull=False) & ~Q(reference=""),
            ),
            models.CheckConstraint(
                name="period_windows_begin",
                condition=Q(
                    access_window__lower_inf=False,
                    training_window__lower_inf=False,
                    use_window__lower_inf=False,
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.grant_id} #{self.number}"


class CoverageQuerySet(TenantQuerySet["Coverage"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(party_to(caller), livemode=caller.livemode)


class Coverage(models.Model):
    """A snapshot that a grant covers, from an instant on. Growth adds a row. Insert-only."""

    id = TypeIDField(prefix="cov", primary_key=True)
    livemode = models.BooleanField()
    licensor = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    licensee = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    grant = models.ForeignKey(Grant, models.PROTECT, related_name="coverage", db_constraint=False)
    snapshot = models.ForeignKey(
        Snapshot, models.PROTECT, related_name="coverage", db_constraint=False
    )
    effective_from = models.DateTimeField()
    entry = models.OneToOneField(LedgerEntry, models.PROTECT, related_name="+")

    objects = CoverageQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="coverage_is_given_once", fields=["grant", "snapshot"]),
        ]

    def __str__(self) -> str:
        return f"{self.snapshot_id} under {self.grant_id}"
