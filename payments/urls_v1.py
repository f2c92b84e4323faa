"""The routes of quotes, orders and royalties, below /v1/."""

from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from payments import royalty_views, seller_views, views
from payments.advance_views import CollectionAdvanceViewSet
from payments.sample_views import ListingSampleViewSet

router = SimpleRouter(trailing_slash=False)
router.register("quotes", views.QuoteViewSet, basename="quote")
router.register("orders", views.OrderViewSet, basename="order")
router.register("royalty-rules", royalty_views.RoyaltyRuleViewSet, basename="royalty-rule")
router.register(
    "royalty-allocations", royalty_views.RoyaltyAllocationViewSet, basename="royalty-allocation"
)
router.register("royalty-payouts", royalty_views.RoyaltyPayoutViewSet, basename="royalty-payout")
router.register("royalty-payments", royalty_views.RoyaltyPaymentViewSet, basename="royalty-payment")

router.register("sales", seller_views.SaleViewSet, basename="sale")
router.register("transfers", seller_views.TransferViewSet, basename="transfer")
router.register("remittances", seller_views.RemittanceViewSet, basename="remittance")
router.register("refunds", seller_views.RefundViewSet, basename="refund")
router.register("disputes", seller_views.DisputeViewSet, basename="dispute")

urlpatterns = [
    path(
        "payout-account",
        seller_views.PayoutAccountViewSet.as_view({"get": "retrieve", "post": "create"}),
    ),
    path("payout-account/links", seller_views.PayoutAccountLinkViewSet.as_view({"post": "create"})),
    path("payout-accounts", seller_views.PayoutAccountsViewSet.as_view({"get": "list"})),
    path(
        "contributors/<str:pk>/payout-account",
        seller_views.ContributorAccountViewSet.as_view({"get": "retrieve", "post": "create"}),
    ),
    path(
        "contributors/<str:pk>/payout-account/links",
        seller_views.ContributorAccountLinkViewSet.as_view({"post": "create"}),
    ),
    path("balances", seller_views.BalanceViewSet.as_view({"get": "retrieve"})),
    path("statement", seller_views.StatementViewSet.as_view({"get": "retrieve"})),
    path("quotes/<str:pk>/metadata", views.QuoteViewSet.as_view({"post": "set_metadata"})),
    path("orders/<str:pk>/metadata", views.OrderViewSet.as_view({"post": "set_metadata"})),
    path("orders/<str:pk>/cancel", views.OrderViewSet.as_view({"post": "cancel"})),
    *(
        path(f"refunds/<str:pk>/{act}", seller_views.RefundViewSet.as_view({"post": act}))
        for act in ("approve", "decline")
    ),
    path(
        "listings/<str:pk>/sample",
        ListingSampleViewSet.as_view({"get": "retrieve", "post": "create"}),
    ),
    path("royalty-rules/preview", royalty_views.RoyaltyPreviewViewSet.as_view({"post": "create"})),
    path(
        "royalty-payouts/preview",
        royalty_views.RoyaltyPayoutPreviewViewSet.as_view({"post": "create"}),
    ),
    path(
        "royalty-payments/<str:pk>/paid-outside",
        royalty_views.RoyaltyPaymentViewSet.as_view({"post": "paid_outside"}),
    ),
    path(
        "contributors/<str:pk>/royalty-statement",
        royalty_views.RoyaltyStatementViewSet.as_view({"get": "retrieve"}),
    ),
    path(
        "contributors/<str:pk>/royalty-advances",
        royalty_views.RoyaltyAdvanceViewSet.as_view({"get": "list", "post": "create"}),
    ),
    path(
        "collections/<str:pk>/royalty-advances",
        CollectionAdvanceViewSet.as_view({"get": "list", "post": "create"}),
    ),
    *router.urls,
]
