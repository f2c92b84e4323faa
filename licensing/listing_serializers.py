"""What buyers are shown of what is on sale, and of a search for it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db.models import Case, F, Value, When
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer

from licensing.models import Offer, Terms
from licensing.serializers import (
    InvoiceDaysField,
    OfferPriceField,
    PriceSerializer,
    RightsSerializer,
    SnapshotSerializer,
    TermsSerializer,
)
from marketplace import json_sql, traders
from marketplace.http import OnceEach, Resource, TypeIDSerializerField
from marketplace.models import Trader
from marketplace.typeid import TypeID


class ListedCollectionSerializer(serializers.Serializer[Any]):
    """What is offered."""

    id = TypeIDSerializerField(prefix="col", source="pk")
    name = serializers.CharField()
    description = serializers.CharField()
    notice = serializers.CharField(help_text="To be read before anything else; usually empty.")


class PartySerializer(OnceEach, serializers.Serializer[Any]):
    """Who an organization is to the law."""

    id = TypeIDSerializerField(prefix="org", source="pk")
    name = serializers.CharField()
    legal_name = serializers.CharField()
    jurisdiction = serializers.CharField(help_text="ISO 3166-1 or 3166-2.")
    registration_number = serializers.CharField()


class ListedTraderSerializer(serializers.Serializer[Any]):
    """Who sells, as the seller certified and an operator verified."""

    legal_name = serializers.CharField()
    address = serializers.CharField()
    registration_number = serializers.CharField()
    trade_register = serializers.CharField()
    email = serializers.CharField()
    phone = serializers.CharField()


class ListedSampleSerializer(serializers.Serializer[Any]):
    """What of a listing may be evaluated for free: GET /v1/listings/{id}/sample."""

    works = serializers.IntegerField(help_text="How many, when chosen.")


class IsPrivateField(serializers.BooleanField):
    """Whether an offer is made to one organization."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, source="audience_id", **kwargs)

    def get_attribute(self, instance: Offer) -> bool:
        return instance.audience_id is not None

    def as_sql_of(self, path: str) -> Any:
        return Case(
            When(**{f"{path}audience__isnull": True}, then=Value(False)), default=Value(True)
        )


class TraderField(serializers.Field[Any, Any, Any, Any]):
    """Who sells, where an operator verified it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, source="*", **kwargs)

    def to_representation(self, value: Offer) -> Any:
        trader = traders.shown(value.organization)
        return None if trader is None else ListedTraderSerializer(trader).data

    def as_sql_of(self, path: str) -> Any:
        trader = f"{path}organization__trader__"
        shown = json_sql.written(ListedTraderSerializer(), Trader, trader)
        return Case(
            When(**{f"{trader}state": Trader.State.VERIFIED}, then=shown), default=Value(None)
        )


class SampleField(serializers.Field[Any, Any, Any, Any]):
    """How many works a listing's sample has."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, source="*", **kwargs)

    def to_representation(self, value: Any) -> Any:
        return None if value.sample_works is None else {"works": value.sample_works}

    def as_sql_of(self, path: str) -> Any:
        works = f"{path}sample_works"
        return Case(
            When(**{f"{works}__isnull": True}, then=Value(None)),
            default=json_sql.Object({"works": F(works)}),
        )


@extend_schema_field(TermsSerializer)
class ListedTermsSerializer(json_sql.Late, TermsSerializer):
    """Terms of a listing. They were published: their text is made once, for whoever may see it."""

    def key_of(self, path: str) -> Any:
        return F(f"{path}terms_id")

    def texts(self, keys: Collection[TypeID]) -> dict[TypeID, str]:
        found = {key: text for key in keys if (text := _terms.get(key)) is not None}
        if missing := set(keys) - set(found):
            if len(_terms) + len(missing) > _TERMS_KEPT:
                _terms.clear()
            for row in Terms.objects.filter(pk__in=missing):
                assert row.published_at is not None, "What is listed has published terms."
                shown = TermsSerializer(row).data
                found[row.pk] = _terms[row.pk] = JSONRenderer().render(shown).decode()
        return found


# The JSON of published terms by their ids: it says nothing of who asked.
_terms: dict[TypeID, str] = {}
_TERMS_KEPT = 2_000


class ListingSerializer(Resource[Offer]):
    """What is on sale, with everything that a buyer decides by."""

    object_name = "listing"
    seller = PartySerializer(source="organization", read_only=True)
    collection = ListedCollectionSerializer(read_only=True)
    rights = RightsSerializer(source="*", read_only=True)
    snapshot = SnapshotSerializer(read_only=True)
    terms = ListedTermsSerializer(read_only=True)
    price = extend_schema_field(PriceSerializer)(OfferPriceField)()
    invoice_days = InvoiceDaysField(read_only=True)
    is_private = IsPrivateField(help_text="Shown to you and nobody else.")
    trader = extend_schema_field(ListedTraderSerializer(allow_null=True))(TraderField)()
    sample = extend_schema_field(ListedSampleSerializer(allow_null=True))(SampleField)()

    class Meta:
        model = Offer
        fields = (
            "id",
            "seller",
            "trader",
            "collection",
            "rights",
            "snapshot",
            "terms",
            "is_private",
            "price",
            "price_minor",
            "currency",
            "access",
            "invoice_days",
            "grants_on",
            "sample",
            "opens_at",
            "closes_at",
            "published_at",
        )
        read_only_fields = fields


class FacetValueSerializer(serializers.Serializer[Any]):
    """A value of a facet, and how many of the candidates it would leave."""

    value = serializers.CharField(help_text="To give as the parameter of the facet's name.")
    count = serializers.IntegerField()


class FacetsSerializer(serializers.Serializer[Any]):
    """For each parameter that narrows a search down, its values, the most frequent first."""

    modality = FacetValueSerializer(many=True)
    language = FacetValueSerializer(many=True)
    use = FacetValueSerializer(many=True)
    territory = FacetValueSerializer(many=True)
    rights_basis = FacetValueSerializer(many=True)
    currency = FacetValueSerializer(many=True)
    max_price_minor = FacetValueSerializer(
        many=True, help_text="Within one `currency`; empty without it."
    )


@extend_schema_serializer(many=False)
class ListingPageSerializer(serializers.Serializer[Any]):
    """Some of the listings that a search found, and how to narrow it down."""

    data = ListingSerializer(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(
        allow_null=True, help_text="Give it as `cursor`, with the same search, for the next page."
    )
    total = serializers.CharField(
        help_text="How many were found; “1000+” where more match than are ranked and counted."
    )
    facets = FacetsSerializer(
        help_text="Counted over what `total` says: the newest 1,000 where more match."
    )
    suggestions = serializers.ListField(
        child=serializers.CharField(),
        help_text="Where nothing was found: words like yours, with which something is.",
    )
