"""The tables of tenants, their people and their keys."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar, Self

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

from marketplace import api_versions
from marketplace.access import Caller, TenantQuerySet
from marketplace.models.digests import DIGEST_LENGTH
from marketplace.typeid import TypeID, TypeIDField


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
    # With the names above, who the organization is to the law: complete before live mode.
    registered_address = models.CharField(max_length=500, blank=True, db_default="")
    representative_name = models.CharField(max_length=200, blank=True, db_default="")
    contact_email = models.EmailField(blank=True, db_default="")
    vat_id = models.CharField(max_length=20, blank=True, db_default="")
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


class UserIDField(TypeIDField):
    """A person's id, also as the bare hexadecimal that allauth keeps of it in sessions."""

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        # The column is the same: no migration.
        return name, f"{TypeIDField.__module__}.{TypeIDField.__name__}", args, kwargs

    def to_python(self, value: Any) -> TypeID | None:
        if isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value):
            return TypeID(self.prefix, uuid.UUID(hex=value))
        return super().to_python(value)


class User(AbstractBaseUser, PermissionsMixin):
    """A person who signs in. Rights come from memberships; operators are `is_operator`.

    Written by `organizations`.
    """

    id = UserIDField(prefix="usr", primary_key=True)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=200)
    is_active = models.BooleanField(default=True)
    is_operator = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # When they last signed out everywhere: sessions from before are over.
    signed_out_at = models.DateTimeField(null=True, blank=True, editable=False)
    # How they read pages; empty: as the browser says. Written by `preferences`.
    language = models.CharField(max_length=12, blank=True, default="", db_default="")
    time_zone = models.CharField(max_length=64, blank=True, default="", db_default="")
    formats = models.CharField(max_length=12, blank=True, default="", db_default="")

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

    def get_session_auth_hash(self) -> str:
        return self._ending(super().get_session_auth_hash(), None)

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        hashes = super().get_session_auth_fallback_hash()
        for key, found in zip(settings.SECRET_KEY_FALLBACKS, hashes, strict=True):
            yield self._ending(found, key)

    def _ending(self, found: str, secret: str | None) -> str:
        # Nobody who never signed out everywhere is signed out by an upgrade.
        if self.signed_out_at is None:
            return found
        ended = f"{found} {self.signed_out_at.isoformat()}"
        return salted_hmac(
            "licet.signed_out_at", ended, secret=secret, algorithm="sha256"
        ).hexdigest()

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
    # Of the API, for requests that name none. An older release makes keys of the first.
    version = models.CharField(_("API version"), max_length=10, db_default=api_versions.FIRST)
    created_by = models.CharField(max_length=40)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("API key")
        constraints = [
            # Serves `known_keys`, by digest.
            models.UniqueConstraint(name="api_key_digest_is_unique", fields=["digest"]),
            models.UniqueConstraint(name="api_key_of_organization", fields=["organization", "id"]),
            models.CheckConstraint(
                name="api_key_digest_is_sha256", condition=Exact(Length("digest"), DIGEST_LENGTH)
            ),
            models.CheckConstraint(
                name="api_key_expires_after_creation",
                condition=Q(expires_at__isnull=True) | Q(expires_at__gt=F("created_at")),
            ),
            models.CheckConstraint(
                name="api_key_version_is_a_date",
                condition=Q(version__regex=api_versions.PATTERN),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} …{self.last_four}"
