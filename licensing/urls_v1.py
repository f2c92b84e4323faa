"""Addresses of this app below /v1."""

from __future__ import annotations

from typing import Any

from django.urls import path

from licensing import views
from licensing.delivery_views import ManifestViewSet
from licensing.ledger_views import ReceiptViewSet
from licensing.listing_views import ListingViewSet

_COLLECTION: dict[str, Any] = {"get": "list", "post": "create"}
_DETAIL: dict[str, Any] = {"get": "retrieve"}

urlpatterns = [
    path("collections/<str:pk>/snapshots", views.CollectionSnapshotViewSet.as_view(_COLLECTION)),
    path("snapshots/<str:pk>", views.SnapshotViewSet.as_view(_DETAIL), name="snapshot"),
    path("terms", views.TermsViewSet.as_view(_COLLECTION), name="terms-list"),
    path("terms/<str:pk>", views.TermsViewSet.as_view(_DETAIL), name="terms"),
    path("terms/<str:pk>/text", views.TermsViewSet.as_view({"get": "text"})),
    path("terms/<str:pk>/publish", views.TermsViewSet.as_view({"post": "publish"})),
    path("offers", views.OfferViewSet.as_view(_COLLECTION), name="offers"),
    path("offers/<str:pk>", views.OfferViewSet.as_view(_DETAIL), name="offer"),
    path("offers/<str:pk>/publish", views.OfferViewSet.as_view({"post": "publish"})),
    path("offers/<str:pk>/withdraw", views.OfferViewSet.as_view({"post": "withdraw"})),
    path("listings", ListingViewSet.as_view({"get": "list"}), name="listings-api"),
    path("listings/<str:pk>", ListingViewSet.as_view(_DETAIL), name="listing-api"),
    path("grants", views.GrantViewSet.as_view({"get": "list"}), name="grants"),
    path("grants/<str:pk>", views.GrantViewSet.as_view(_DETAIL), name="grant"),
    path("grants/<str:pk>/receipt", ReceiptViewSet.as_view(_DETAIL), name="grant-receipt"),
    path("grants/<str:pk>/manifest", ManifestViewSet.as_view(_DETAIL), name="grant-manifest"),
]
