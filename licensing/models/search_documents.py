"""The tables of the market's search: what is listed, and the words that are in it."""

from __future__ import annotations

from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import Q

from licensing.models.licenses import Offer
from licensing.models.scope_claims import MultiRangeField
from marketplace.access import Caller, TenantQuerySet
from marketplace.models import Organization
from marketplace.typeid import TypeIDField


class SearchDocumentQuerySet(TenantQuerySet["SearchDocument"]):
    def visible_to(self, caller: Caller) -> Self:
        """What the market shows to a caller: public listings, private ones made to it, its own."""
        return self.filter(
            Q(audience__isnull=True)
            | Q(audience=caller.organization)
            | Q(organization=caller.organization)
        )


class SearchScope(models.Model):
    """A set of uses, each with the countries where terms permit it; few serve many listings.

    Belongs to no tenant. Updates and deletion: cannot.
    """

    # The first half of the SHA-256 of the pairs as text: the same set is the same row anywhere.
    id = models.UUIDField(primary_key=True)
    # Use number × 1000 + country number.
    pairs = MultiRangeField()

    def __str__(self) -> str:
        return f"scope {self.pk}"


class SearchDocument(models.Model):
    """What the search knows of a listed offer. Written with the offer's state by `offers`.

    There is one iff the offer is listed. Updates: what it is found by, when its collection or its
    seller is called otherwise; a listing that comes back gets a new one, so that ascending ids are
    the order in which listings came. No row-level security, for a
    full-text match under a policy may not use its index: `listings` asks for the audience.

    Four indexes: the key, for the newest first; `UNIQUE (organization, offer)` for writers;
    `search_document_terms` for words and facets; `search_document_scope` for uses and territories
    that few permit.
    """

    id = TypeIDField(prefix="doc", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    offer = models.ForeignKey(
        Offer, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    audience = models.ForeignKey(
        Organization, models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    # The text search configuration that read the texts, such as "german".
    text_config = models.CharField(max_length=20)
    # Collection's name (A), seller's name (B), notice (C), description (D).
    search = SearchVectorField()
    # "modality:text", "language:de", "territory:EU", "rights_basis:own",
    # "currency:USD": what the listing says of itself. Territories as the terms state them.
    facets = ArrayField(models.CharField(max_length=60))
    scope = models.ForeignKey(SearchScope, models.PROTECT, related_name="+", db_index=False)
    price_minor = models.BigIntegerField()
    opens_at = models.DateTimeField()
    closes_at = models.DateTimeField(null=True, blank=True)
    # Which version of `search_documents` wrote it.
    version = models.SmallIntegerField()

    objects = SearchDocumentQuerySet.as_manager()

    class Meta:
        indexes = [
            # Without a list of pending entries, which each search would have to read through.
            GinIndex(name="search_document_terms", fields=["search", "facets"], fastupdate=False),
            models.Index(name="search_document_scope", fields=["scope", "id"]),
        ]
        constraints = [
            models.UniqueConstraint(
                name="search_document_is_one_per_offer", fields=["organization", "offer"]
            ),
        ]

    def __str__(self) -> str:
        return f"{self.offer_id} in the search"


class SearchWord(models.Model):
    """A word of public listings, as it is written there: what a typing error may have meant.

    Belongs to no tenant. A word outlives the listings that had it: a suggestion is made only
    after it was seen to find something. Updates and deletion: cannot.
    """

    word = models.CharField(max_length=40, primary_key=True)

    class Meta:
        indexes = [
            # Serves "which words are like this one?".
            GinIndex(
                name="search_word_trigrams",
                fields=["word"],
                opclasses=["gin_trgm_ops"],
                fastupdate=False,
            ),
        ]
        constraints = [
            models.CheckConstraint(name="search_word_is_not_empty", condition=~Q(word="")),
        ]

    def __str__(self) -> str:
        return self.word
