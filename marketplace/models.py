"""The tables of tenants and their works."""

from __future__ import annotations

from typing import ClassVar, Self

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.typeid import TypeIDField

# A digest is SHA-256: 32 bytes, never text.
DIGEST_LENGTH = 32


class Sha256(Func):
    """SHA-256 of a text's UTF-8 bytes, computed by PostgreSQL: lets a constraint prove a hash."""

    template = "sha256(convert_to(%(expressions)s, 'UTF8'))"
    output_field = models.BinaryField()


class OrganizationQuerySet(TenantQuerySet["Organization"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(pk=caller.organization.pk)


class Organization(models.Model):
    """A tenant. It can license out, license in, or both; `kind` is a label, not a right.

    Written by `organizations`. Its legal identity is public: both parties of a grant see it.
    """

    class Kind(models.TextChoices):
        CREATOR = "creator", _("Creator")
        PLATFORM = "platform", _("Platform")
        LAB = "lab", _("AI lab")
        OPERATOR = "operator", _("Operator")

    id = TypeIDField(prefix="org", primary_key=True)
    kind = models.CharField(max_length=8, choices=Kind)
    name = models.CharField(max_length=200)
    legal_name = models.CharField(max_length=200)
    # ISO 3166-1 alpha-2, or a subdivision of it (ISO 3166-2), such as "US-DE".
    jurisdiction = models.CharField(max_length=6)
    registration_number = models.CharField(max_length=100, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = OrganizationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="organization_kind_is_known",
                condition=Q(kind__in=["creator", "platform", "lab", "operator"]),
            ),
            models.CheckConstraint(
                name="organization_has_a_name", condition=~Q(name="") & ~Q(legal_name="")
            ),
            models.CheckConstraint(
                name="organization_jurisdiction_is_iso_3166",
                condition=Q(jurisdiction__regex=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$"),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=(username or "").lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person who signs in. Rights come from memberships; operators are `is_operator`.

    Written by `organizations`.
    """

    id = TypeIDField(prefix="usr", primary_key=True)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=200)
    is_active = models.BooleanField(default=True)
    is_operator = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="user_email_is_lower_case",
                condition=Q(email=Func(F("email"), function="lower")),
            ),
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def is_staff(self) -> bool:
        """Django's admin asks this; only operators may enter."""
        return self.is_operator


class MembershipQuerySet(TenantQuerySet["Membership"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class Membership(models.Model):
    """A user's role in an organization. Written by `organizations`."""

    class Role(models.TextChoices):
        OWNER = "owner", _("Owner")
        MANAGER = "manager", _("Manager")
        EDITOR = "editor", _("Editor")
        FINANCE = "finance", _("Finance")
        VIEWER = "viewer", _("Viewer")

    id = TypeIDField(prefix="mem", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="memberships")
    user = models.ForeignKey(User, models.PROTECT, related_name="memberships")
    role = models.CharField(max_length=7, choices=Role)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="membership_is_one_per_user", fields=["organization", "user"]
            ),
            models.UniqueConstraint(
                name="membership_of_organization", fields=["organization", "id"]
            ),
            models.CheckConstraint(
                name="membership_role_is_known",
                condition=Q(role__in=["owner", "manager", "editor", "finance", "viewer"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.role}"


class ApiKeyQuerySet(TenantQuerySet["ApiKey"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class ApiKey(models.Model):
    """A scoped secret of one organization and one mode. The secret itself is never stored.

    Updates: `last_used_at`, `expires_at` (earlier only) and `revoked_at`. Written by `api_keys`.
    """

    id = TypeIDField(prefix="key", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="api_keys")
    livemode = models.BooleanField()
    name = models.CharField(max_length=100)
    # SHA-256 of the secret. At 178 random bits a slow hash would add nothing.
    digest = models.BinaryField(max_length=DIGEST_LENGTH)
    last_four = models.CharField(max_length=4)
    scopes = ArrayField(models.CharField(max_length=40))
    rotated_from = models.OneToOneField(
        "self", models.PROTECT, null=True, blank=True, related_name="rotated_to"
    )
    created_by = models.CharField(max_length=40)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("API key")
        constraints = [
            # Serves `api_keys.authenticate`, by digest.
            models.UniqueConstraint(name="api_key_digest_is_unique", fields=["digest"]),
            models.UniqueConstraint(name="api_key_of_organization", fields=["organization", "id"]),
            models.CheckConstraint(
                name="api_key_digest_is_sha256", condition=Exact(Length("digest"), DIGEST_LENGTH)
            ),
            models.CheckConstraint(
                name="api_key_expires_after_creation",
                condition=Q(expires_at__isnull=True) | Q(expires_at__gt=F("created_at")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} …{self.last_four}"


class ContributorQuerySet(TenantQuerySet["Contributor"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class Contributor(models.Model):
    """A person whose works are in someone else's collection. Written by `contributors`.

    Who it is stands apart, in ContributorIdentity, so that it can be erased while the works, the
    consent and the money keep their reference.
    """

    class Consent(models.TextChoices):
        UNKNOWN = "unknown", _("Not asked")
        GRANTED = "granted", _("Granted")
        REFUSED = "refused", _("Refused")
        WITHDRAWN = "withdrawn", _("Withdrawn")

    id = TypeIDField(prefix="ctr", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="contributors")
    external_id = models.CharField(max_length=200)
    consent = models.CharField(max_length=9, choices=Consent, default=Consent.UNKNOWN)
    consent_changed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ContributorQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="contributor_external_id_is_unique", fields=["organization", "external_id"]
            ),
            models.UniqueConstraint(
                name="contributor_of_organization", fields=["organization", "id"]
            ),
            models.CheckConstraint(
                name="contributor_consent_is_known",
                condition=Q(consent__in=["unknown", "granted", "refused", "withdrawn"]),
            ),
            models.CheckConstraint(
                name="contributor_consent_is_dated_iff_known",
                condition=Q(consent="unknown", consent_changed_at__isnull=True)
                | ~Q(consent="unknown") & Q(consent_changed_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.external_id


class ContributorIdentityQuerySet(TenantQuerySet["ContributorIdentity"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class ContributorIdentity(models.Model):
    """Who a contributor is. Deleting the row erases the person. Written by `contributors`."""

    contributor = models.OneToOneField(
        Contributor,
        models.CASCADE,
        primary_key=True,
        related_name="identity",
        db_constraint=False,  # the composite foreign key in the migration holds it
    )
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    name = models.CharField(max_length=200)
    email = models.EmailField(blank=True)

    objects = ContributorIdentityQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name


class CollectionQuerySet(TenantQuerySet["Collection"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class Collection(models.Model):
    """Works that one organization keeps together. Written by `collections`.

    `number` keys its items and claims (4 bytes a row instead of 16); no client sees it.
    `next_snapshot` is the number that the next snapshot will get: what is added now belongs to it.
    """

    id = TypeIDField(prefix="col", primary_key=True)
    number = models.IntegerField(
        unique=True,
        editable=False,
        db_default=Func(Value("marketplace_collection_number"), function="nextval"),
    )
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="collections")
    name = models.CharField(max_length=200)
    description = models.TextField(max_length=10_000, blank=True)
    # Shown wherever the collection is: "not an offer" on the demo's.
    notice = models.CharField(max_length=200, blank=True)
    next_snapshot = models.IntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = CollectionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="collection_of_organization", fields=["organization", "id"]
            ),
            models.UniqueConstraint(
                name="collection_number_of_organization", fields=["organization", "number"]
            ),
            models.CheckConstraint(name="collection_has_a_name", condition=~Q(name="")),
            models.CheckConstraint(
                name="collection_snapshots_count_from_one", condition=Q(next_snapshot__gte=1)
            ),
        ]

    def __str__(self) -> str:
        return self.name


class AttestationQuerySet(TenantQuerySet["Attestation"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class Attestation(models.Model):
    """A person's statement of why the organization may license a collection.

    Updates: cannot. Deletion: cannot. The newest one counts. Written by `collections.attest`.
    """

    class Basis(models.TextChoices):
        OWN = "own", _("Own works")
        ASSIGNED = "assigned", _("Rights assigned to us")
        AGENT = "agent", _("Agent of the owners")
        PLATFORM_TERMS = "platform_terms", _("Terms of our platform")
        OPEN_LICENSE = "open_license", _("Open license")
        PUBLIC_DOMAIN = "public_domain", _("Public domain")

    id = TypeIDField(prefix="att", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    collection = models.ForeignKey(
        Collection, models.PROTECT, related_name="attestations", db_constraint=False
    )
    basis = models.CharField(max_length=14, choices=Basis)
    # An SPDX identifier or name where the basis is an open license, such as "PSF-2.0".
    license_name = models.CharField(max_length=100, blank=True)
    statement = models.TextField(max_length=5_000)
    person_name = models.CharField(max_length=200)
    person_title = models.CharField(max_length=200)
    actor = models.CharField(max_length=40)
    attested_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = AttestationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="attestation_basis_is_known",
                condition=Q(
                    basis__in=[
                        "own",
                        "assigned",
                        "agent",
                        "platform_terms",
                        "open_license",
                        "public_domain",
                    ]
                ),
            ),
            models.CheckConstraint(
                name="attestation_names_its_open_license",
                condition=~Q(basis="open_license") | ~Q(license_name=""),
            ),
            models.CheckConstraint(
                name="attestation_is_signed",
                condition=~Q(statement="") & ~Q(person_name="") & ~Q(person_title=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.basis} by {self.person_name}"


class WorkQuerySet(TenantQuerySet["Work"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class Work(models.Model):
    """One item of content in the owner's own terms. Written by `works`.

    Three indexes: the key, `UNIQUE (organization, external_id)` for imports, and
    `UNIQUE (organization, id)` for composite foreign keys.
    """

    id = TypeIDField(prefix="wrk", primary_key=True)
    organization = models.ForeignKey(
        Organization, models.PROTECT, related_name="works", db_index=False
    )
    external_id = models.CharField(max_length=1000)
    title = models.CharField(max_length=1000, blank=True)
    source_url = models.URLField(max_length=2000, blank=True)
    # BCP 47, such as "en" or "pt-BR"; empty where nobody said.
    language = models.CharField(max_length=35, blank=True)
    contributor = models.ForeignKey(
        Contributor,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="works",
        db_index=False,
        db_constraint=False,
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = WorkQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="work_external_id_is_unique", fields=["organization", "external_id"]
            ),
            models.UniqueConstraint(name="work_of_organization", fields=["organization", "id"]),
            models.CheckConstraint(name="work_has_an_external_id", condition=~Q(external_id="")),
        ]

    def __str__(self) -> str:
        return self.title or self.external_id


class RepresentationQuerySet(TenantQuerySet["Representation"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class Representation(models.Model):
    """One exact byte form of a work. Written by `works`.

    Three indexes: the key, `UNIQUE (organization, digest)` for repeats and delivery, and
    `UNIQUE (work, id)` for "the forms of a work" and the items' composite foreign key.
    """

    class Custody(models.TextChoices):
        HOSTED = "hosted", _("Hosted here")
        REMOTE = "remote", _("In the seller's own store")
        REFERENCE = "reference", _("Digest only")

    id = models.BigAutoField(primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    work = models.ForeignKey(
        Work, models.PROTECT, related_name="representations", db_index=False, db_constraint=False
    )
    digest = models.BinaryField(max_length=DIGEST_LENGTH)
    length = models.BigIntegerField()
    media_type = models.CharField(max_length=255)
    # How the bytes were made canonical before hashing: "raw", "text/nfc-lf/v1".
    canonicalization = models.CharField(max_length=40, default="raw")
    custody = models.CharField(max_length=9, choices=Custody)

    objects = RepresentationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="representation_digest_is_unique", fields=["organization", "digest"]
            ),
            models.UniqueConstraint(name="representation_of_work", fields=["work", "id"]),
            models.CheckConstraint(
                name="representation_digest_is_sha256",
                condition=Exact(Length("digest"), DIGEST_LENGTH),
            ),
            models.CheckConstraint(name="representation_is_not_empty", condition=Q(length__gt=0)),
            models.CheckConstraint(
                name="representation_custody_is_known",
                condition=Q(custody__in=["hosted", "remote", "reference"]),
            ),
        ]

    def __str__(self) -> str:
        return bytes(self.digest).hex()


class CollectionItemQuerySet(TenantQuerySet["CollectionItem"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)

    def in_snapshot(self, number: int) -> Self:
        """Those in snapshot `number`: added by then, and not removed by then."""
        return self.filter(
            Q(removed_in__isnull=True) | Q(removed_in__gt=number), added_in__lte=number
        )


class CollectionItem(models.Model):
    """One life of a representation in a collection, as an interval of snapshot numbers.

    It is in snapshot n iff `added_in <= n < coalesce(removed_in, infinity)`, so a snapshot copies
    no rows. Each number is set once. Written by `collections`.

    Three indexes: the key, the live item of (collection, representation), and
    (organization, representation) for "which collections hold these bytes?".
    """

    id = models.BigAutoField(primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    collection = models.ForeignKey(
        Collection,
        models.PROTECT,
        to_field="number",
        db_column="collection_number",
        related_name="items",
        db_index=False,
        db_constraint=False,
    )
    work = models.ForeignKey(
        Work, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    representation = models.ForeignKey(
        Representation, models.PROTECT, related_name="items", db_index=False, db_constraint=False
    )
    added_in = models.IntegerField()
    removed_in = models.IntegerField(null=True, blank=True)

    objects = CollectionItemQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(name="item_by_representation", fields=["organization", "representation"]),
        ]
        constraints = [
            models.UniqueConstraint(
                name="item_lives_once_at_a_time",
                fields=["collection", "representation"],
                condition=Q(removed_in__isnull=True),
            ),
            models.CheckConstraint(
                name="item_is_removed_after_it_was_added",
                condition=Q(removed_in__isnull=True) | Q(removed_in__gte=F("added_in")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.representation_id} in {self.collection_id}"


class ImportJobQuerySet(TenantQuerySet["ImportJob"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class ImportJob(models.Model):
    """One import into a collection, with its progress. Running it again resumes it.

    Written by `imports`. Counts: `imported` new works, `repeated` ones whose bytes or name the
    organization already has, `rejected` ones with an ImportRejection each.
    """

    class Status(models.TextChoices):
        RUNNING = "running", _("Running")
        FINISHED = "finished", _("Finished")
        FAILED = "failed", _("Failed")

    id = TypeIDField(prefix="imp", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    collection = models.ForeignKey(
        Collection, models.PROTECT, related_name="imports", db_constraint=False
    )
    # What was read, as the owner named it: never a full path of the server.
    source = models.CharField(max_length=500)
    status = models.CharField(max_length=8, choices=Status, default=Status.RUNNING)
    imported = models.BigIntegerField(default=0)
    repeated = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    bytes_read = models.BigIntegerField(default=0)
    # Where to go on after a stop: the last name that was committed, in the source's order.
    resume_after = models.CharField(max_length=4000, blank=True)
    failure = models.CharField(max_length=500, blank=True)
    started_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = ImportJobQuerySet.as_manager()

    class Meta:
        verbose_name = _("import")
        constraints = [
            models.UniqueConstraint(name="import_of_organization", fields=["organization", "id"]),
            models.CheckConstraint(
                name="import_status_is_known",
                condition=Q(status__in=["running", "finished", "failed"]),
            ),
            models.CheckConstraint(
                name="import_is_ended_iff_dated",
                condition=Q(status="running", finished_at__isnull=True)
                | ~Q(status="running") & Q(finished_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source} ({self.status})"


class ImportRejectionQuerySet(TenantQuerySet["ImportRejection"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class ImportRejection(models.Model):
    """One entry of a source that was not imported (rejected or repeated), and why. Insert-only."""

    id = models.BigAutoField(primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    job = models.ForeignKey(
        ImportJob, models.PROTECT, related_name="rejections", db_constraint=False
    )
    # The entry's name; bytes that are no UTF-8 are shown as \xNN.
    name = models.CharField(max_length=4000)
    # One of `imports.REASONS`.
    code = models.CharField(max_length=40)
    detail = models.CharField(max_length=1000)

    objects = ImportRejectionQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.name}: {self.code}"


class AuditQuerySet(TenantQuerySet["Audit"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class Audit(models.Model):
    """One act of somebody on an organization's things: keys, roles, states, overrides.

    Updates: cannot. Deletion: cannot. Written by `audit.record`, in the act's own transaction.
    """

    id = TypeIDField(prefix="aud", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    actor = models.CharField(max_length=40)
    # Past tense: "api_key.created".
    action = models.CharField(max_length=60)
    # The TypeID of what was acted on.
    subject = models.CharField(max_length=60)
    data = models.JSONField(default=dict)
    at = models.DateTimeField(default=timezone.now, editable=False)

    objects = AuditQuerySet.as_manager()

    class Meta:
        verbose_name_plural = _("audit")
        constraints = [
            models.UniqueConstraint(name="audit_of_organization", fields=["organization", "id"]),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"


class IdempotencyKeyQuerySet(TenantQuerySet["IdempotencyKey"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class IdempotencyKey(models.Model):
    """A POST that a client may send again. Written by `idempotency`.

    The row is inserted in the effect's first transaction and names the effect, so that a retry
    after a crash finds what was made; the answer is stored once the request ended.
    """

    id = models.BigAutoField(primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    livemode = models.BooleanField()
    key = models.CharField(max_length=255)
    # SHA-256 over method, path and body.
    fingerprint = models.BinaryField(max_length=DIGEST_LENGTH)
    # TypeID of what the request made; null until the verb named it.
    effect = models.CharField(max_length=60, null=True, blank=True)
    # Null until the request ended.
    response_status = models.SmallIntegerField(null=True, blank=True)
    response_body = models.JSONField(null=True, blank=True)
    response_location = models.CharField(max_length=500, blank=True)
    # While it lies ahead, the first request is taken to be alive.
    locked_until = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = IdempotencyKeyQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="idempotency_key_is_unique", fields=["organization", "livemode", "key"]
            ),
        ]

    def __str__(self) -> str:
        return self.key
