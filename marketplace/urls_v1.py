"""Addresses of this app below /v1."""

from __future__ import annotations

from typing import Any

from django.urls import path

from marketplace import views
from marketplace.embedded_rights_views import ProhibitionViewSet, RightsOverrideViewSet
from marketplace.people_views import InvitationViewSet, MemberViewSet, ShareViewSet

_COLLECTION: dict[str, Any] = {"get": "list", "post": "create"}
_DETAIL: dict[str, Any] = {"get": "retrieve"}

urlpatterns = [
    path(
        "organization",
        views.OrganizationViewSet.as_view({"get": "own", "post": "identify"}),
        name="organization",
    ),
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
    path("works", views.WorkViewSet.as_view({"get": "list"}), name="works"),
    path("works/<str:pk>", views.WorkViewSet.as_view(_DETAIL), name="work"),
    path("contributors", views.ContributorViewSet.as_view(_COLLECTION), name="contributors"),
    path("contributors/<str:pk>", views.ContributorViewSet.as_view(_DETAIL), name="contributor"),
    path("contributors/<str:pk>/consent", views.ContributorViewSet.as_view({"post": "consent"})),
    path("contributors/<str:pk>/erase", views.ContributorViewSet.as_view({"post": "erase"})),
    path("imports", views.ImportViewSet.as_view({"get": "list"}), name="imports"),
    path("imports/<str:pk>", views.ImportViewSet.as_view(_DETAIL), name="import"),
    path("imports/<str:pk>/rejections", views.ImportRejectionViewSet.as_view({"get": "list"})),
]
