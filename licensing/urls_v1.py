"""Addresses of this app below /v1."""

from __future__ import annotations

from typing import Any

from django.urls import path

from licensing import views
from licensing.access_request_views import AccessRequestViewSet, ListingAccessRequestViewSet
from licensing.certificate_views import CertificateViewSet
from licensing.decision_views import DecisionViewSet
from licensing.delivery_views import LinksViewSet, ManifestViewSet
from licensing.ledger_entry_views import LedgerEntryViewSet
from licensing.ledger_views import ReceiptViewSet
from licensing.listing_views import ListingViewSet
from licensing.moderation_views import ModerationDecisionViewSet
from licensing.optout_views import (
    AcknowledgementReceiptViewSet,
    NoticeReceiptViewSet,
    NoticeViewSet,
    OptOutLinkViewSet,
    OptOutReceiptViewSet,
    OptOutViewSet,
)
from licensing.sample_views import OfferSampleViewSet
from licensing.status_views import StatusProofViewSet
from licensing.terms_template_views import TermsTemplateViewSet

_COLLECTION: dict[str, Any] = {"get": "list", "post": "create"}
_DETAIL: dict[str, Any] = {"get": "retrieve"}

urlpatterns = [
    path("collections/<str:pk>/snapshots", views.CollectionSnapshotViewSet.as_view(_COLLECTION)),
    path("snapshots/<str:pk>", views.SnapshotViewSet.as_view(_DETAIL), name="snapshot"),
    path("terms-templates", TermsTemplateViewSet.as_view({"get": "list"}), name="terms-templates"),
    path("terms-templates/<str:pk>", TermsTemplateViewSet.as_view(_DETAIL)),
    path("terms", views.TermsViewSet.as_view(_COLLECTION), name="terms-list"),
    path("terms/<str:pk>", views.TermsViewSet.as_view(_DETAIL), name="terms"),
    path("terms/<str:pk>/text", views.TermsViewSet.as_view({"get": "text"})),
    path("terms/<str:pk>/publish", views.TermsViewSet.as_view({"post": "publish"})),
    path("offers", views.OfferViewSet.as_view(_COLLECTION), name="offers"),
    path("offers/<str:pk>", views.OfferViewSet.as_view(_DETAIL), name="offer"),
    path("offers/<str:pk>/metadata", views.OfferViewSet.as_view({"post": "set_metadata"})),
    path("offers/<str:pk>/publish", views.OfferViewSet.as_view({"post": "publish"})),
    path("offers/<str:pk>/withdraw", views.OfferViewSet.as_view({"post": "withdraw"})),
    path(
        "offers/<str:pk>/sample",
        OfferSampleViewSet.as_view({"get": "retrieve", "post": "create"}),
    ),
    path("listings", ListingViewSet.as_view({"get": "list"}), name="listings-api"),
    path("listings/<str:pk>", ListingViewSet.as_view(_DETAIL), name="listing-api"),
    path(
        "listings/<str:pk>/access-requests", ListingAccessRequestViewSet.as_view({"post": "create"})
    ),
    path("access-requests", AccessRequestViewSet.as_view({"get": "list"}), name="access-requests"),
    path("access-requests/<str:pk>", AccessRequestViewSet.as_view(_DETAIL)),
    *(
        path(f"access-requests/<str:pk>/{act}", AccessRequestViewSet.as_view({"post": act}))
        for act in ("approve", "decline", "cancel")
    ),
    path("grants", views.GrantViewSet.as_view({"get": "list"}), name="grants"),
    path("grants/<str:pk>", views.GrantViewSet.as_view(_DETAIL), name="grant"),
    path("grants/<str:pk>/metadata", views.GrantViewSet.as_view({"post": "set_metadata"})),
    path("grants/<str:pk>/receipt", ReceiptViewSet.as_view(_DETAIL), name="grant-receipt"),
    path(
        "grants/<str:pk>/certificate", CertificateViewSet.as_view(_DETAIL), name="grant-certificate"
    ),
    path("grants/<str:pk>/certificate.pdf", CertificateViewSet.as_view({"get": "pdf"})),
    path(
        "grants/<str:pk>/status-proof",
        StatusProofViewSet.as_view(_DETAIL),
        name="grant-status-proof",
    ),
    path("ledger/entries", LedgerEntryViewSet.as_view({"get": "list"}), name="ledger-entries"),
    path("decisions", DecisionViewSet.as_view({"post": "create"}), name="decisions"),
    path("grants/<str:pk>/manifest", ManifestViewSet.as_view(_DETAIL), name="grant-manifest"),
    path("opt-outs", OptOutViewSet.as_view(_COLLECTION), name="opt-outs"),
    path("opt-outs/bulk", OptOutViewSet.as_view({"post": "create_many"})),
    path("opt-outs/<str:pk>", OptOutViewSet.as_view(_DETAIL), name="opt-out"),
    path("opt-outs/<str:pk>/works", OptOutViewSet.as_view({"get": "works"})),
    path("opt-outs/<str:pk>/receipt", OptOutReceiptViewSet.as_view(_DETAIL)),
    path("notices", NoticeViewSet.as_view({"get": "list"}), name="notices"),
    path("notices/acknowledge", NoticeViewSet.as_view({"post": "acknowledge_many"})),
    path("notices/<str:pk>", NoticeViewSet.as_view(_DETAIL), name="notice"),
    path("notices/<str:pk>/works", NoticeViewSet.as_view({"get": "works"})),
    path("notices/<str:pk>/acknowledge", NoticeViewSet.as_view({"post": "acknowledge"})),
    path("notices/<str:pk>/receipt", NoticeReceiptViewSet.as_view(_DETAIL)),
    path(
        "notices/<str:pk>/acknowledgement/receipt", AcknowledgementReceiptViewSet.as_view(_DETAIL)
    ),
    path("contributors/<str:pk>/opt-out-links", OptOutLinkViewSet.as_view(_COLLECTION)),
    path("opt-out-links/<str:pk>/revoke", OptOutLinkViewSet.as_view({"post": "revoke"})),
    path(
        "moderation-decisions",
        ModerationDecisionViewSet.as_view({"get": "list"}),
        name="moderation-decisions",
    ),
    path("moderation-decisions/<str:pk>", ModerationDecisionViewSet.as_view(_DETAIL)),
    path(
        "moderation-decisions/<str:pk>/appeal",
        ModerationDecisionViewSet.as_view({"post": "appeal"}),
    ),
    path("grants/<str:pk>/links", LinksViewSet.as_view({"post": "create"})),
]
