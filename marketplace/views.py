"""The API's views of an organization, its keys and its works."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from django.db.models import Model, QuerySet
from django.urls import reverse
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    extend_schema,
    extend_schema_view,
)
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import (
    api_keys,
    collections,
    contributors,
    organizations,
    sharing,
    works,
)
from marketplace.access import Scope, planned_anew
from marketplace.http import Listing, Retrieving, TenantViewSet
from marketplace.metadata_views import Noted, sets_metadata
from marketplace.models import (
    ApiKey,
    Attestation,
    Collection,
    Contributor,
    Organization,
    Work,
)
from marketplace.serializers import (
    AddContributor,
    ApiKeySerializer,
    ApiKeyWithSecretSerializer,
    Attest,
    AttestationSerializer,
    CollectionSerializer,
    ContributorSerializer,
    CreateApiKey,
    CreateCollection,
    DescribeCollection,
    IdentifyOrganization,
    Nothing,
    OrganizationSerializer,
    RotateApiKey,
    SetConsent,
    WorkSerializer,
)


class OrganizationViewSet(TenantViewSet):
    """The organization that the key belongs to."""

    model = Organization
    serializer_class = OrganizationSerializer
    scopes = {"own": Scope.ORGANIZATION_READ, "identify": Scope.ORGANIZATION_WRITE}

    @extend_schema(summary="Show your organization", responses=OrganizationSerializer)
    def own(self, request: Request) -> Response:
        return Response(self.shown(self.caller.organization))

    @extend_schema(
        summary="Say who your organization is to the law",
        description="Fields left out stay as they are. What was agreed before keeps the names of "
        "its time. Live keys need `missing_identity` to be empty.",
        request=IdentifyOrganization,
        responses={200: OrganizationSerializer},
    )
    def identify(self, request: Request) -> Response:
        body = self.read(IdentifyOrganization)
        return self.answered(organizations.identify(self.caller, **body))


@extend_schema_view(
    list=extend_schema(summary="List API keys"),
    retrieve=extend_schema(summary="Show an API key"),
)
class ApiKeyViewSet(Listing, Retrieving, TenantViewSet):
    """Scoped secrets of one organization and one mode."""

    model = ApiKey
    serializer_class = ApiKeySerializer
    scopes = {
        "list": Scope.KEYS_READ,
        "retrieve": Scope.KEYS_READ,
        "create": Scope.KEYS_WRITE,
        "rotate": Scope.KEYS_WRITE,
        "revoke": Scope.KEYS_WRITE,
    }

    @extend_schema(
        summary="Create an API key",
        description="The answer holds the secret, this once. A key can give no scope that its "
        "maker does not hold, and belongs to its maker's mode.",
        request=CreateApiKey,
        responses={201: ApiKeyWithSecretSerializer},
        examples=[
            OpenApiExample(
                "A key that only pulls",
                value={"name": "nightly pull", "scopes": ["grants:read", "delivery:read"]},
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        key, secret = api_keys.create(self.caller, **self.read(CreateApiKey))
        return self.with_secret(self.created(key), secret)

    @extend_schema(
        summary="Rotate an API key",
        description="Makes a successor with the same scopes. The old secret goes on working for "
        "`overlap_seconds`, so that no client stops.",
        request=RotateApiKey,
        responses={201: ApiKeyWithSecretSerializer},
    )
    def rotate(self, request: Request, pk: str) -> Response:
        key, secret = api_keys.rotate(self.caller, pk, **self.read(RotateApiKey))
        return self.with_secret(self.created(key), secret)

    @extend_schema(
        summary="Revoke an API key",
        description="Ends the key now. Repeating it changes nothing.",
        request=Nothing,
        responses={200: ApiKeySerializer},
    )
    def revoke(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(api_keys.revoke(self.caller, pk))

    def collection_url(self) -> str:
        """Of all keys: a rotated key's successor is not below it."""
        return reverse("api-keys")

    def resume(self, effect: str) -> Response:
        """The first answer was lost before it was stored, and its secret with it."""
        if self.action == "revoke":
            return super().resume(effect)
        return self.with_secret(self.created(self._effect(effect)), None)


@extend_schema_view(
    list=extend_schema(summary="List your collections"),
    retrieve=extend_schema(summary="Show a collection"),
)
class CollectionViewSet(Noted, Listing, Retrieving, TenantViewSet):
    """Works that one organization keeps together."""

    model = Collection
    serializer_class = CollectionSerializer
    scopes = {
        "list": Scope.COLLECTIONS_READ,
        "retrieve": Scope.COLLECTIONS_READ,
        "create": Scope.COLLECTIONS_WRITE,
        "describe": Scope.COLLECTIONS_WRITE,
        "set_metadata": Scope.COLLECTIONS_WRITE,
    }
    shared = frozenset({"describe"})

    @extend_schema(
        summary="List your collections, or search among them",
        description="Drafts too: whatever nobody offered yet.",
        parameters=[
            OpenApiParameter(
                "q",
                str,
                description="Words in name or description, as each language inflects them."
                " `“a phrase”`, `or` and `-without` mean what they do elsewhere.",
            )
        ],
    )
    def list(self, request: Request) -> Response:
        return super().list(request)

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        words = self.request.query_params.get("q", "")
        return collections.matching(queryset, words) if words else queryset

    @extend_schema(
        summary="Describe a collection",
        description="Changes what is said of it; fields left out stay as they are. "
        "Also for whom the collection was shared with for editing.",
        request=DescribeCollection,
        responses={200: CollectionSerializer},
    )
    def describe(self, request: Request, pk: str) -> Response:
        body = self.read(DescribeCollection)
        editor = sharing.editor(self.caller, pk)
        return self.answered(collections.describe(editor, pk, **body))

    @extend_schema(
        summary="Create a collection",
        description="It starts empty. Import works into it, attest why you may license them, then "
        "freeze a snapshot to offer.",
        request=CreateCollection,
        responses={201: CollectionSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.created(collections.create(self.caller, **self.read(CreateCollection)))

    @sets_metadata("a collection", CollectionSerializer)
    def set_metadata(self, request: Request, pk: str) -> Response:
        return super().set_metadata(request, pk)


@extend_schema_view(
    list=extend_schema(summary="List a collection's attestations"),
)
class AttestationViewSet(Listing, TenantViewSet):
    """Who stated, and why, that a collection may be licensed. The newest statement counts."""

    model = Attestation
    serializer_class = AttestationSerializer
    scopes = {"list": Scope.COLLECTIONS_READ, "create": Scope.COLLECTIONS_WRITE}

    def get_queryset(self) -> QuerySet[Any]:
        if self.action != "list" or getattr(self, "swagger_fake_view", False):
            return super().get_queryset()
        # The 404 of a collection that is not the caller's, not an empty list.
        return collections.attestations(self.caller, self.kwargs["pk"])

    @extend_schema(
        summary="Attest a collection's rights basis",
        description="A collection is listed only once a named person has stated the basis of its "
        "rights. Statements are never changed: make a new one.",
        request=Attest,
        responses={201: AttestationSerializer},
        examples=[
            OpenApiExample(
                "Under an open license",
                value={
                    "basis": "open_license",
                    "license_name": "PSF-2.0",
                    "statement": "Published under the PSF License Version 2.",
                    "person_name": "Ada Archivist",
                    "person_title": "Head of rights",
                    "authority": True,
                },
                request_only=True,
            )
        ],
    )
    def create(self, request: Request, pk: str) -> Response:
        return self.created(collections.attest(self.caller, pk, **self.read(Attest)))

    def created(self, row: Model) -> Response:
        """201, and the list's address: an attestation has none of its own."""
        response = super().created(row)
        response["Location"] = self.collection_url()
        return response


@extend_schema_view(
    retrieve=extend_schema(summary="Show a work"),
)
class WorkViewSet(Listing, Retrieving, TenantViewSet):
    """Items of content, in the owner's own terms."""

    model = Work
    serializer_class = WorkSerializer
    scopes = {"list": Scope.WORKS_READ, "retrieve": Scope.WORKS_READ}

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return works.with_forms(rows, seen_by=self.caller)

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        collection = self.request.query_params.get("collection")
        if collection is None:
            return queryset
        return works.in_collection(self.caller, collection, queryset)

    @extend_schema(
        summary="List works",
        parameters=[
            OpenApiParameter("collection", str, description="Only those in this collection now.")
        ],
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        # Of a large collection the newest works are looked through until a page is full; of a small
        # one its works are found, and put in order.
        with planned_anew() if "collection" in request.query_params else nullcontext():
            return super().list(request, *args, **kwargs)


@extend_schema_view(
    list=extend_schema(summary="List contributors"),
    retrieve=extend_schema(summary="Show a contributor"),
)
class ContributorViewSet(Listing, Retrieving, TenantViewSet):
    """People whose works are in your collections."""

    model = Contributor
    serializer_class = ContributorSerializer
    scopes = {
        "list": Scope.WORKS_READ,
        "retrieve": Scope.WORKS_READ,
        "create": Scope.WORKS_WRITE,
        "consent": Scope.WORKS_WRITE,
        "erase": Scope.WORKS_WRITE,
    }

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.select_related("identity")

    @extend_schema(
        summary="Add a contributor",
        description="Name and email are kept apart from the reference, so that they can be erased "
        "while works, consent and money keep it.",
        request=AddContributor,
        responses={201: ContributorSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.created(contributors.add(self.caller, **self.read(AddContributor)))

    @extend_schema(
        summary="Record a contributor's consent",
        description="Repeating it changes nothing.",
        request=SetConsent,
        responses={200: ContributorSerializer},
    )
    def consent(self, request: Request, pk: str) -> Response:
        return self.answered(contributors.set_consent(self.caller, pk, **self.read(SetConsent)))

    @extend_schema(
        summary="Erase a contributor's identity",
        description="Deletes the name and the email. The reference, the consent and the works "
        "stay. Repeating it changes nothing.",
        request=Nothing,
        responses={200: ContributorSerializer},
    )
    def erase(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(contributors.erase(self.caller, pk))
