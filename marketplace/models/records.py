"""The tables of what was done, and of POSTs that may be sent again."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.digests import DIGEST_LENGTH
from marketplace.models.tenants import Organization
from marketplace.typeid import TypeIDField


class AuditQuerySet(TenantQuerySet["Audit"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class Audit(models.Model):
    """One act of somebody on an organization's things: keys, roles, states, overrides.

    Updates: cannot. Deletion: cannot. Written by `audit.record`, in the act's own transaction.
    """

    id = TypeIDField(prefix="aud", primary_key=True)
    # Null: what an operator did to the market itself, or to what is nobody's here. No tenant
    # reads or writes such a row.
    organization = models.ForeignKey(
        Organization, models.PROTECT, null=True, blank=True, related_name="+"
    )
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
    # Of the API, in which the body is written. Null, too, where it is older than versions are, and
    # of pages.
    response_version = models.CharField(max_length=10, null=True, blank=True)
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
