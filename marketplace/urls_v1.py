"""Addresses of this app below /v1."""

from __future__ import annotations

from typing import Any

from django.urls import path

from marketplace import views
from marketplace.embedded_rights_views import ProhibitionViewSet, RightsOverrideViewSet
from marketplace.event_views import (
    EndpointDeliveryViewSet,
    EventViewSet,
    WebhookDeliveryViewSet,
    WebhookEndpointViewSet,
    WebhookReplayViewSet,
    WebhookTestViewSet,
)
from marketplace.import_views import (
    CollectionImportViewSet,
    ImportRejectionViewSet,
    ImportViewSet,
)
from marketplace.people_views import InvitationViewSet, MemberViewSet, ShareViewSet
from marketplace.remote_bucket_views import RemoteBucketViewSet
from marketplace.trader_views import TraderViewSet
from marketplace.upload_views import CollectionWorkViewSet, UploadViewSet

_COLLECTION: dict[str, Any] = {"get": "list", "post": "create"}
_DETAIL: dict[str, Any] = {"get": "retrieve"}
_UPLOAD: dict[str, Any] = {"get": "retrieve", "patch": "append"}

urlpatterns = [
    path(
        "organization",
        views.OrganizationViewSet.as_view({"get": "own", "post": "identify"}),
        name="organization",
    ),
    path("trader", TraderViewSet.as_view({"get": "retrieve", "post": "create"}), name="trader"),
    path("api-keys", views.ApiKeyViewSet.as_view(_COLLECTION), name="api-keys"),
    path("api-keys/<str:pk>", views.ApiKeyViewSet.as_view(_DETAIL), name="api-key"),
    path("api-keys/<str:pk>/rotate", views.ApiKeyViewSet.as_view({"post": "rotate"})),
    path("api-keys/<str:pk>/revoke", views.ApiKeyViewSet.as_view({"post": "revoke"})),
    path("collections", views.CollectionViewSet.as_view(_COLLECTION), name="collections"),
    path(
        "collections/<str:pk>",
        views.CollectionViewSet.as_view({"get": "retrieve", "post": "describe"}),
        name="collection",
    ),
    path(
        "collections/<str:pk>/metadata", views.CollectionViewSet.as_view({"post": "set_metadata"})
    ),
    path("collections/<str:pk>/shares", ShareViewSet.as_view(_COLLECTION)),
    path("shares/<str:pk>/remove", ShareViewSet.as_view({"post": "remove"})),
    path("members", MemberViewSet.as_view({"get": "list"}), name="members"),
    path("members/<str:pk>/remove", MemberViewSet.as_view({"post": "remove"})),
    path("members/<str:pk>/role", MemberViewSet.as_view({"post": "role"})),
    path("invitations", InvitationViewSet.as_view(_COLLECTION), name="invitations"),
    path("invitations/<str:pk>", InvitationViewSet.as_view(_DETAIL), name="invitation"),
    path("invitations/<str:pk>/revoke", InvitationViewSet.as_view({"post": "revoke"})),
    path("collections/<str:pk>/attestations", views.AttestationViewSet.as_view(_COLLECTION)),
    path("collections/<str:pk>/prohibitions", ProhibitionViewSet.as_view({"get": "list"})),
    path("collections/<str:pk>/rights-overrides", RightsOverrideViewSet.as_view(_COLLECTION)),
    path("collections/<str:pk>/works", CollectionWorkViewSet.as_view({"post": "create"})),
    path("collections/<str:pk>/works/bulk", CollectionWorkViewSet.as_view({"post": "create_many"})),
    path("remote-buckets", RemoteBucketViewSet.as_view(_COLLECTION), name="remote-buckets"),
    path("remote-buckets/<str:pk>", RemoteBucketViewSet.as_view(_DETAIL), name="remote-bucket"),
    path("remote-buckets/<str:pk>/disconnect", RemoteBucketViewSet.as_view({"post": "disconnect"})),
    path("uploads", UploadViewSet.as_view(_COLLECTION), name="uploads"),
    path("uploads/<str:pk>", UploadViewSet.as_view(_UPLOAD), name="upload"),
    path("uploads/<str:pk>/finish", UploadViewSet.as_view({"post": "finish"})),
    path("uploads/<str:pk>/discard", UploadViewSet.as_view({"post": "discard"})),
    path("works", views.WorkViewSet.as_view({"get": "list"}), name="works"),
    path("works/<str:pk>", views.WorkViewSet.as_view(_DETAIL), name="work"),
    path("contributors", views.ContributorViewSet.as_view(_COLLECTION), name="contributors"),
    path("contributors/<str:pk>", views.ContributorViewSet.as_view(_DETAIL), name="contributor"),
    path("contributors/<str:pk>/consent", views.ContributorViewSet.as_view({"post": "consent"})),
    path("contributors/<str:pk>/erase", views.ContributorViewSet.as_view({"post": "erase"})),
    path("collections/<str:pk>/imports", CollectionImportViewSet.as_view({"post": "create"})),
    path("imports", ImportViewSet.as_view({"get": "list"}), name="imports"),
    path("imports/<str:pk>", ImportViewSet.as_view(_DETAIL), name="import"),
    path("imports/<str:pk>/cancel", ImportViewSet.as_view({"post": "cancel"})),
    path("imports/<str:pk>/rejections", ImportRejectionViewSet.as_view({"get": "list"})),
    path("imports/<str:pk>/rejections.csv", ImportViewSet.as_view({"get": "report"})),
    path("events", EventViewSet.as_view({"get": "list"}), name="events"),
    path("events/<str:pk>", EventViewSet.as_view(_DETAIL), name="event"),
    path("webhook-endpoints", WebhookEndpointViewSet.as_view(_COLLECTION), name="webhooks"),
    path(
        "webhook-endpoints/<str:pk>",
        WebhookEndpointViewSet.as_view({"get": "retrieve", "post": "change"}),
    ),
    path(
        "webhook-endpoints/<str:pk>/rotate-secret",
        WebhookEndpointViewSet.as_view({"post": "rotate_secret"}),
    ),
    path("webhook-endpoints/<str:pk>/test", WebhookTestViewSet.as_view({"post": "create"})),
    path("webhook-endpoints/<str:pk>/replay", WebhookReplayViewSet.as_view({"post": "replay"})),
    path("webhook-endpoints/<str:pk>/deliveries", EndpointDeliveryViewSet.as_view({"get": "list"})),
    path("webhook-deliveries/<str:pk>", WebhookDeliveryViewSet.as_view(_DETAIL)),
    path("webhook-deliveries/<str:pk>/replay", WebhookDeliveryViewSet.as_view({"post": "replay"})),
]
