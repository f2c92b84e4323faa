"""Bodies that come in and resources that go out, for tenants and their works."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from marketplace.api_keys import OVERLAP_SECONDS, OVERLAP_SECONDS_MAX
from marketplace.http import (
    Body,
    Resource,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    TypeIDSerializerField,
)
from marketplace.models import (
    ApiKey,
    Attestation,
    Collection,
    Contributor,
    ImportJob,
    ImportRejection,
    Organization,
    Representation,
    Work,
)


class HexField(serializers.CharField):
    """Bytes as lower-case hexadecimal."""

    def to_representation(self, value: Any) -> str:
        return bytes(value).hex()


# --- organization and keys --------------------------------------------------------------------


class OrganizationSerializer(Resource[Organization]):
    object_name = "organization"

    class Meta:
        model = Organization
        fields = (
            "id",
            "kind",
            "name",
            "legal_name",
            "jurisdiction",
            "registration_number",
            "created_at",
        )
        read_only_fields = fields


class ApiKeySerializer(Resource[ApiKey]):
    object_name = "api_key"

    class Meta:
        model = ApiKey
        fields = (
            "id",
            "livemode",
            "name",
            "last_four",
            "scopes",
            "rotated_from",
            "created_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
        )
        read_only_fields = fields


class NewApiKeySerializer(ApiKeySerializer):
    """A key just made, with its secret: shown this once."""

    secret = serializers.CharField(
        read_only=True, allow_null=True, help_text="Keep it now: it is stored nowhere."
    )
    secret_already_shown = serializers.BooleanField(
        read_only=True, required=False, help_text="Present in a replayed answer."
    )

    class Meta(ApiKeySerializer.Meta):
        fields = (*ApiKeySerializer.Meta.fields, "secret", "secret_already_shown")  # type: ignore[assignment]
        read_only_fields = fields


class CreateApiKey(Body):
    name = StrictCharField(max_length=100)
    scopes = serializers.ListField(child=StrictCharField(max_length=40), max_length=50)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)


class RotateApiKey(Body):
    overlap_seconds = StrictIntegerField(
        required=False,
        default=OVERLAP_SECONDS,
        min_value=0,
        max_value=OVERLAP_SECONDS_MAX,
        help_text="How long the old secret goes on working.",
    )


class Nothing(Body):
    """A body without fields: `{}`."""


# --- collections ------------------------------------------------------------------------------


class CollectionSerializer(Resource[Collection]):
    object_name = "collection"

    class Meta:
        model = Collection
        fields = ("id", "organization", "name", "description", "notice", "created_at")
        read_only_fields = fields


class CreateCollection(Body):
    name = StrictCharField(max_length=200)
    description = StrictCharField(max_length=10_000, required=False, allow_blank=True)
    notice = StrictCharField(
        max_length=200,
        required=False,
        allow_blank=True,
        help_text="Shown wherever the collection is.",
    )


class AttestationSerializer(Resource[Attestation]):
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
    basis = serializers.ChoiceField(choices=Attestation.Basis.choices)
    license_name = StrictCharField(
        max_length=100,
        required=False,
        allow_blank=True,
        help_text="Where the basis is an open license: its SPDX identifier.",
    )
    statement = StrictCharField(max_length=5_000)
    person_name = StrictCharField(max_length=200)
    person_title = StrictCharField(max_length=200)
    authority = StrictBooleanField(help_text="I have authority to bind the organization.")


# --- works ------------------------------------------------------------------------------------


class RepresentationSerializer(serializers.ModelSerializer[Representation]):
    digest = HexField(read_only=True, help_text="SHA-256 of the exact bytes.")

    class Meta:
        model = Representation
        fields = ("digest", "length", "media_type", "canonicalization", "custody")
        read_only_fields = fields


class WorkSerializer(Resource[Work]):
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
    name = serializers.CharField(read_only=True)
    email = serializers.CharField(read_only=True)


class ContributorSerializer(Resource[Contributor]):
    object_name = "contributor"
    identity = serializers.SerializerMethodField(help_text="Null once the person was erased.")

    class Meta:
        model = Contributor
        fields = ("id", "external_id", "consent", "consent_changed_at", "identity", "created_at")
        read_only_fields = fields

    def get_identity(self, row: Contributor) -> ContributorIdentitySerializer | None:
        identity = getattr(row, "identity", None)
        return ContributorIdentitySerializer(identity).data if identity is not None else None  # type: ignore[return-value]


class AddContributor(Body):
    external_id = StrictCharField(max_length=200)
    consent = serializers.ChoiceField(choices=Contributor.Consent.choices, required=False)
    name = StrictCharField(max_length=200, required=False, allow_blank=True)
    email = serializers.EmailField(required=False, allow_blank=True, max_length=254)


class SetConsent(Body):
    consent = serializers.ChoiceField(choices=["granted", "refused", "withdrawn"])


# --- imports ----------------------------------------------------------------------------------


class ImportJobSerializer(Resource[ImportJob]):
    object_name = "import"

    class Meta:
        model = ImportJob
        fields = (
            "id",
            "collection",
            "source",
            "status",
            "imported",
            "repeated",
            "rejected",
            "bytes_read",
            "failure",
            "started_at",
            "finished_at",
        )
        read_only_fields = fields


class ImportRejectionSerializer(Resource[ImportRejection]):
    object_name = "import_rejection"
    job = TypeIDSerializerField(prefix="imp", source="job_id", read_only=True)

    class Meta:
        model = ImportRejection
        fields = ("job", "name", "code", "detail")
        read_only_fields = fields
