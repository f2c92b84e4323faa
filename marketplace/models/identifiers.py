"""The table of further identifiers of works."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.tenants import Organization
from marketplace.models.works import Work


class WorkIdentifierQuerySet(TenantQuerySet["WorkIdentifier"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class WorkIdentifier(models.Model):
    """A name that others know a work by. Insert-only. Written by `works.identify`.

    Values are normalized (see `identifiers`), so that equal names are equal text. Three indexes:
    the key, `UNIQUE (work, scheme, value)` for "the names of a work" and for repeats, and
    (scheme, value) for "whose work is this?".
    """

    class Scheme(models.TextChoices):
        TEXT_NFC_LF = "text-nfc-lf/v1", _("SHA-256 of the normalized text")
        ISCC = "iscc", _("ISCC")
        URL = "url", _("URL")
        ISBN = "isbn", _("ISBN")
        ISRC = "isrc", _("ISRC")

    id = models.BigAutoField(primary_key=True)
    # The composite key of the work implies it: no check of its own for each of millions of rows.
    organization = models.ForeignKey(
        Organization, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    work = models.ForeignKey(
        Work, models.PROTECT, related_name="identifiers", db_index=False, db_constraint=False
    )
    scheme = models.CharField(max_length=20, choices=Scheme)
    # ASCII: a longer one, or one of wider characters, would not fit into the index.
    value = models.CharField(max_length=1000)

    objects = WorkIdentifierQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(name="identifier_by_value", fields=["scheme", "value"])]
        constraints = [
            models.UniqueConstraint(
                name="identifier_is_said_once", fields=["work", "scheme", "value"]
            ),
            models.CheckConstraint(
                name="identifier_fits_its_scheme",
                condition=Q(scheme="text-nfc-lf/v1", value__regex="^[0-9a-f]{64}$")
                | Q(scheme="iscc", value__regex="^ISCC:[A-Z2-7]{10,100}$")
                | Q(scheme="url", value__regex="^https?://[!-~]+$")
                | Q(scheme="isbn", value__regex="^97[89][0-9]{10}$")
                | Q(scheme="isrc", value__regex="^[A-Z]{2}[A-Z0-9]{3}[0-9]{7}$"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.scheme}:{self.value}"
