"""The API's views of an organization, its keys and its works."""

from __future__ import annotations

from typing import Any, cast

from django.db.models import Prefetch, Q, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import api_keys, collections, contributors
from marketplace.access import Scope, acting
from marketplace.http import Listing, Retrieving, TenantViewSet
from marketplace.models import (
    ApiKey,
    Attestation,
    Collection,
    CollectionItem,
    Contributor,
    ImportJob,
    ImportRejection,
    Organization,
    Representation,
    Work,
)
from marketplace.serializers import (
    AddContributor,
    ApiKeySerializer,
    Attest,
    AttestationSerializer,
    CollectionSerializer,
    ContributorSerializer,
    CreateApiKey,
    CreateCollection,
    ImportJobSerializer,
    ImportRejectionSerializer,
    NewApiKeySerializer,
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
    scopes = {"own": Scope.ORGANIZATION_READ}

    @extend_schema(summary="Show your organization", responses=OrganizationSerializer)
    def own(self, request: Request) -> Response:
        return Response(self.shown(self.caller.organization))


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
        responses={201: NewApiKeySerializer},
    )
    def create(self, request: Request) -> Response:
        key, secret = api_keys.create(self.caller, **self.read(CreateApiKey))
        return self._with_secret(key, secret, "/v1/api-keys")

    @extend_schema(
        summary="Rotate an API key",
        description="Makes a successor with the same scopes. The old secret goes on working for "
        "`overlap_seconds`, so that no client stops.",
        request=RotateApiKey,
        responses={201: NewApiKeySerializer},
    )
    def rotate(self, request: Request, pk: str) -> Response:
        key, secret = api_keys.rotate(self.caller, pk, **self.read(RotateApiKey))
        return self._with_secret(key, secret, "/v1/api-keys")

    @extend_schema(
        summary="Revoke an API key",
        description="Ends the key now. Repeating it changes nothing.",
        request=Nothing,
        responses={200: ApiKeySerializer},
    )
    def revoke(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(api_keys.revoke(self.caller, pk))

    def _with_secret(self, key: ApiKey, secret: str, url: str) -> Response:
        response = self.created(key)
        response["Location"] = f"{url}/{key.pk}"
        response.data = {**cast("dict[str, Any]", response.data), "secret": secret}
        return response

    def resume(self, effect: str) -> Response:
        """The first answer was lost before it was stored, and its secret with it."""
        response = self.created(self._effect(effect))
        response["Location"] = f"/v1/api-keys/{effect}"
        shown = cast("dict[str, Any]", response.data)
        response.data = {**shown, "secret": None, "secret_already_shown": True}
        return response


class CollectionViewSet(Listing, Retrieving, TenantViewSet):
    """Works that one organization keeps together."""

    model = Collection
    serializer_class = CollectionSerializer
    scopes = {
        "list": Scope.COLLECTIONS_READ,
        "retrieve": Scope.COLLECTIONS_READ,
        "create": Scope.COLLECTIONS_WRITE,
    }

    @extend_schema(
        summary="Create a collection",
        request=CreateCollection,
        responses={201: CollectionSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.created(collections.create(self.caller, **self.read(CreateCollection)))


class AttestationViewSet(Listing, TenantViewSet):
    """Who stated, and why, that a collection may be licensed. The newest statement counts."""

    model = Attestation
    serializer_class = AttestationSerializer
    scopes = {"list": Scope.COLLECTIONS_READ, "create": Scope.COLLECTIONS_WRITE}

    def get_queryset(self) -> QuerySet[Any]:
        rows = super().get_queryset()
        if getattr(self, "swagger_fake_view", False):
            return rows
        if self.action == "list":
            # The 404 of a collection that is not the caller's, not an empty list.
            collection = Collection.objects.get_visible(self.caller, self.kwargs["pk"])
            return rows.filter(collection=collection)
        return rows

    @extend_schema(
        summary="Attest a collection's rights basis",
        description="A collection is listed only once a named person has stated the basis of its "
        "rights. Statements are never changed: make a new one.",
        request=Attest,
        responses={201: AttestationSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        return self.created(collections.attest(self.caller, pk, **self.read(Attest)))


class WorkViewSet(Listing, Retrieving, TenantViewSet):
    """Items of content, in the owner's own terms."""

    model = Work
    serializer_class = WorkSerializer
    scopes = {"list": Scope.WORKS_READ, "retrieve": Scope.WORKS_READ}

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.prefetch_related(
            Prefetch("representations", Representation.objects.order_by("id"))
        )

    def get_queryset(self) -> QuerySet[Any]:
        rows = super().get_queryset()
        collection = self.request.query_params.get("collection") if self.request else None
        if self.action != "list" or not collection:
            return rows
        found = Collection.objects.get_visible(self.caller, collection)
        live = CollectionItem.objects.filter(
            Q(removed_in__isnull=True), organization=found.organization_id, collection=found
        )
        return rows.filter(pk__in=live.values("work"))

    @extend_schema(
        summary="List works",
        parameters=[OpenApiParameter("collection", str, description="Only those in it now.")],
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)


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
        request=AddContributor,
        responses={201: ContributorSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.created(contributors.add(self.caller, **self.read(AddContributor)))

    @extend_schema(
        summary="Record a contributor's consent",
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


class ImportViewSet(Listing, Retrieving, TenantViewSet):
    """Imports and their progress. `manage.py import_directory` starts one."""

    model = ImportJob
    serializer_class = ImportJobSerializer
    scopes = {"list": Scope.WORKS_READ, "retrieve": Scope.WORKS_READ}


class ImportRejectionViewSet(Listing, TenantViewSet):
    """What an import left out, each entry with its reason."""

    model = ImportRejection
    serializer_class = ImportRejectionSerializer
    scopes = {"list": Scope.WORKS_READ}

    def get_queryset(self) -> QuerySet[Any]:
        rows = super().get_queryset()
        if getattr(self, "swagger_fake_view", False):
            return rows
        with acting(self.caller, writing=False):
            job = ImportJob.objects.get_visible(self.caller, self.kwargs["pk"])
        return rows.filter(job=job)
