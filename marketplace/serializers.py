"""Bodies that come in and resources that go out, for tenants and their works."""

from __future__ import annotations

from typing import Any

from django.db.models import F
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from marketplace import api_versions, json_sql
from marketplace.api_keys import OVERLAP_SECONDS, OVERLAP_SECONDS_MAX
from marketplace.http import (
    Body,
    Resource,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictRegexField,
)
from marketplace.metadata_views import MetadataField, NotesField
from marketplace.models import (
    COUNT_MAX,
    ApiKey,
    Attestation,
    Collection,
    CollectionItem,
    Contributor,
    Organization,
    Representation,
    Work,
)
from marketplace.organizations import missing_identity


class HexField(serializers.CharField):
    """Bytes as lower-case hexadecimal."""

    is_hexadecimal = True

    def to_representation(self, value: Any) -> str:
        return bytes(value).hex()


# --- organization and keys --------------------------------------------------------------------


class OrganizationSerializer(Resource[Organization]):
    """A tenant. The legal identity is what stands in its agreements."""

    object_name = "organization"
    missing_identity = serializers.SerializerMethodField(
        help_text=_("What live mode still needs to know.")
    )

    def get_missing_identity(self, row: Organization) -> list[str]:
        return missing_identity(row)

    class Meta:
        model = Organization
        fields = (
            "id",
            "kind",
            "name",
            "legal_name",
            "jurisdiction",
            "registration_number",
            "registered_address",
            "representative_name",
            "contact_email",
            "vat_id",
            "missing_identity",
            "created_at",
        )
        read_only_fields = fields


class IdentifyOrganization(Body):
    """Who the organization is to the law. Public to the other party of every agreement."""

    name = StrictCharField(max_length=200, required=False, help_text=_("As the market shows it."))
    legal_name = StrictCharField(max_length=200, required=False)
    jurisdiction = StrictCharField(
        max_length=6, required=False, help_text=_("ISO 3166-1 alpha-2, or ISO 3166-2.")
    )
    registration_number = StrictCharField(max_length=100, required=False, allow_blank=True)
    registered_address = StrictCharField(max_length=500, required=False, allow_blank=True)
    representative_name = StrictCharField(
        max_length=200, required=False, allow_blank=True, help_text=_("Who signs for it.")
    )
    contact_email = serializers.EmailField(required=False, allow_blank=True)
    vat_id = StrictCharField(max_length=20, required=False, allow_blank=True)


class ApiKeySerializer(Resource[ApiKey]):
    """A scoped secret of one organization and one mode, without the secret."""

    object_name = "api_key"
    version = serializers.RegexField(
        api_versions.PATTERN,
        read_only=True,
        help_text="Of the API: what requests with this key get, unless they name another.",
    )

    class Meta:
        model = ApiKey
        fields = (
            "id",
            "livemode",
            "name",
            "last_four",
            "scopes",
            "version",
            "rotated_from",
            "created_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
        )
        read_only_fields = fields


class ApiKeyWithSecretSerializer(ApiKeySerializer):
    """A key just made, with its secret: shown this once."""

    secret = serializers.CharField(
        read_only=True, allow_null=True, help_text=_("Keep it now: it is stored nowhere.")
    )
    secret_already_shown = serializers.BooleanField(
        read_only=True, help_text="True in a replayed answer: the secret is null there."
    )

    class Meta:
        model = ApiKey
        fields = (*ApiKeySerializer.Meta.fields, "secret", "secret_already_shown")
        read_only_fields = fields


class CreateApiKey(Body):
    """What the new key is called, and what it may do."""

    name = StrictCharField(max_length=100, help_text=_("For people, such as “nightly pull”."))
    scopes = serializers.ListField(
        child=StrictCharField(max_length=40),
        max_length=50,
        help_text=_("Of those that you hold, such as “grants:read” and “delivery:read”."),
    )
    expires_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text=_("Without it, the key works until revoked.")
    )
    version = StrictRegexField(
        api_versions.PATTERN,
        required=False,
        help_text="Of the API, to which the key is pinned. Without it, the newest.",
    )


class RotateApiKey(Body):
    """How the old secret ends."""

    overlap_seconds = StrictIntegerField(
        required=False,
        default=OVERLAP_SECONDS,
        min_value=0,
        max_value=OVERLAP_SECONDS_MAX,
        help_text=_("How long the old secret goes on working."),
    )


class Nothing(Body):
    """A body without fields: `{}`."""


# --- collections ------------------------------------------------------------------------------


LANGUAGES = _(
    "BCP 47, the main one first, such as “de” or “pt-BR”. Search reads name and description in the"
    " first; without any, in English."
)


class CollectionSerializer(Resource[Collection]):
    """Works that one organization keeps together."""

    object_name = "collection"
    metadata = MetadataField()

    class Meta:
        model = Collection
        fields = (
            "id",
            "organization",
            "name",
            "description",
            "notice",
            "external_id",
            "source_url",
            "languages",
            "metadata",
            "created_at",
        )
        read_only_fields = fields


class DescribeCollection(Body):
    """What to change of a collection's description; what is left out stays."""

    languages = serializers.ListField(
        child=StrictCharField(max_length=35), required=False, max_length=100, help_text=LANGUAGES
    )

    name = StrictCharField(max_length=200, required=False)
    description = StrictCharField(
        max_length=10_000,
        required=False,
        allow_blank=True,
        help_text=_("What is in it, for buyers."),
    )
    notice = StrictCharField(
        max_length=200,
        required=False,
        allow_blank=True,
        help_text=_("Shown wherever the collection is."),
    )


class CreateCollection(Body):
    """An empty collection."""

    languages = serializers.ListField(
        child=StrictCharField(max_length=35), required=False, max_length=100, help_text=LANGUAGES
    )

    name = StrictCharField(max_length=200)
    description = StrictCharField(
        max_length=10_000,
        required=False,
        allow_blank=True,
        help_text=_("What is in it, for buyers."),
    )
    notice = StrictCharField(
        max_length=200,
        required=False,
        allow_blank=True,
        help_text=_("Shown wherever the collection is."),
    )
    metadata = NotesField(required=False)


class AttestationSerializer(Resource[Attestation]):
    """A person's statement of why the organization may license a collection."""

    object_name = "attestation"

    class Meta:
        model = Attestation
        fields = (
            "id",
            "collection",
            "basis",
            "license_name",
            "statement",
            "person_name",
            "person_title",
            "attested_at",
        )
        read_only_fields = fields


class Attest(Body):
    """The statement, and who makes it."""

    basis = serializers.ChoiceField(
        choices=Attestation.Basis.choices, help_text=_("On what the rights rest.")
    )
    license_name = StrictCharField(
        max_length=100,
        required=False,
        allow_blank=True,
        help_text=_("Where the basis is an open license: its SPDX identifier."),
    )
    statement = StrictCharField(max_length=5_000, help_text=_("In the person's own words."))
    person_name = StrictCharField(max_length=200, help_text=_("Who states it."))
    person_title = StrictCharField(max_length=200, help_text=_("As what, such as “Archivist”."))
    authority = StrictBooleanField(help_text=_("I have authority to bind the organization."))


# --- works ------------------------------------------------------------------------------------


class Units(Body):
    """What is counted in a work's bytes, each for who counted it. Prices may be per unit."""

    pages = StrictIntegerField(required=False, min_value=1, max_value=COUNT_MAX)
    pixels = StrictIntegerField(required=False, min_value=1, max_value=COUNT_MAX)
    seconds = StrictIntegerField(required=False, min_value=1, max_value=COUNT_MAX)
    tokens = StrictIntegerField(required=False, min_value=1, max_value=COUNT_MAX)
    words = StrictIntegerField(required=False, min_value=1, max_value=COUNT_MAX)

    def as_sql_of(self, path: str) -> Any:
        return json_sql.Json(F(f"{path}{self.source}"))


class ItemSerializer(serializers.ModelSerializer[CollectionItem]):
    """A collection that has these bytes now."""

    collection = serializers.CharField(source="collection.pk", read_only=True)
    units = Units(read_only=True, help_text=_("What is counted in the bytes, there."))

    class Meta:
        model = CollectionItem
        fields = ("collection", "units")
        read_only_fields = fields


class RepresentationSerializer(serializers.ModelSerializer[Representation]):
    """One exact byte form of a work."""

    digest = HexField(read_only=True, help_text=_("SHA-256 of the exact bytes."))
    items = ItemSerializer(many=True, read_only=True)

    class Meta:
        model = Representation
        fields = ("digest", "length", "media_type", "canonicalization", "custody", "items")
        read_only_fields = fields


class WorkSerializer(Resource[Work]):
    """One item of content in its owner's own terms, with its exact byte forms."""

    object_name = "work"
    representations = RepresentationSerializer(many=True, read_only=True)

    class Meta:
        model = Work
        fields = (
            "id",
            "external_id",
            "title",
            "source_url",
            "language",
            "contributor",
            "representations",
            "created_at",
        )
        read_only_fields = fields


class ContributorIdentitySerializer(serializers.Serializer[Any]):
    """Who a contributor is."""

    name = serializers.CharField(read_only=True)
    email = serializers.CharField(read_only=True)


class ContributorSerializer(Resource[Contributor]):
    """A person whose works are in your collections."""

    object_name = "contributor"
    identity = ContributorIdentitySerializer(
        read_only=True,
        allow_null=True,
        help_text=_("Null once the person was erased, or where nobody was named."),
    )

    class Meta:
        model = Contributor
        fields = ("id", "external_id", "consent", "consent_changed_at", "identity", "created_at")
        read_only_fields = fields


class AddContributor(Body):
    """A reference of your own, and who it stands for."""

    external_id = StrictCharField(max_length=200, help_text=_("Your own reference."))
    consent = serializers.ChoiceField(choices=Contributor.Consent.choices, required=False)
    name = StrictCharField(
        max_length=200,
        required=False,
        allow_blank=True,
        help_text=_("Kept apart from the reference, so that it can be erased."),
    )
    email = serializers.EmailField(required=False, allow_blank=True, max_length=254)


class SetConsent(Body):
    """What the contributor said."""

    consent = serializers.ChoiceField(
        choices=Contributor.Consent.choices, help_text=_("Anything but “unknown”.")
    )


# --- imports ----------------------------------------------------------------------------------
