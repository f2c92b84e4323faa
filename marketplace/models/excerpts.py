"""The table of excerpts: what a page shows of a hosted work's bytes."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Length
from django.db.models.lookups import LessThanOrEqual
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.digests import DIGEST_LENGTH
from marketplace.models.tenants import Organization

EXCERPT_LENGTH_MAX = 256 * 1024


class ExcerptQuerySet(TenantQuerySet["Excerpt"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class Excerpt(models.Model):
    """A small picture, or the first words, of a representation. Written by `excerpts`.

    Lifecycle: due -> made | none. Made by the worker of bytes that are hosted here, of no others.
    """

    class Status(models.TextChoices):
        DUE = "due", _("To be made")
        MADE = "made", _("Made")
        NONE = "none", _("There is none")

    class Kind(models.TextChoices):
        PICTURE = "picture", _("Picture")
        TEXT = "text", _("Text")

    id = models.BigAutoField(primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    # Of the representation's bytes.
    digest = models.BinaryField(max_length=DIGEST_LENGTH)
    kind = models.CharField(max_length=7, choices=Kind)
    status = models.CharField(max_length=4, choices=Status, default=Status.DUE)
    # PNG, or UTF-8; null unless made.
    content = models.BinaryField(max_length=EXCERPT_LENGTH_MAX, null=True)
    attempts = models.SmallIntegerField(default=0)
    asked_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ExcerptQuerySet.as_manager()

    class Meta:
        constraints = [
            # The composite key to representations implies that the digest is one.
            models.UniqueConstraint(name="excerpt_is_made_once", fields=["organization", "digest"]),
            models.CheckConstraint(
                name="excerpt_kind_is_known", condition=Q(kind__in=["picture", "text"])
            ),
            models.CheckConstraint(
                name="excerpt_has_content_iff_made",
                condition=Q(status="made", content__isnull=False)
                | Q(status__in=["due", "none"], content__isnull=True),
            ),
            models.CheckConstraint(
                name="excerpt_is_small",
                condition=Q(content__isnull=True)
                | Q(LessThanOrEqual(Length("content"), EXCERPT_LENGTH_MAX)),
            ),
        ]
        indexes = [
            # For the worker.
            models.Index(name="excerpt_is_due", fields=["id"], condition=Q(status="due")),
        ]

    def __str__(self) -> str:
        return bytes(self.digest).hex()
