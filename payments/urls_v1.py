"""The routes of quotes and orders, below /v1/."""

from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from payments import seller_views, views
from payments.sample_views import ListingSampleViewSet

router = SimpleRouter(trailing_slash=False)
router.register("quotes", views.QuoteViewSet, basename="quote")
router.register("orders", views.OrderViewSet, basename="order")

router.register("sales", seller_views.SaleViewSet, basename="sale")
router.register("transfers", seller_views.TransferViewSet, basename="transfer")
router.register("refunds", seller_views.RefundViewSet, basename="refund")
router.register("disputes", seller_views.DisputeViewSet, basename="dispute")

urlpatterns = [
    path(
        "payout-account",
        seller_views.PayoutAccountViewSet.as_view({"get": "retrieve", "post": "create"}),
    ),
    path("payout-account/links", seller_views.PayoutAccountLinkViewSet.as_view({"post": "create"})),
    path("balances", seller_views.BalanceViewSet.as_view({"get": "retrieve"})),
    path("statement", seller_views.StatementViewSet.as_view({"get": "retrieve"})),
    path("orders/<str:pk>/cancel", views.OrderViewSet.as_view({"post": "cancel"})),
    *(
        path(f"refunds/<str:pk>/{act}", seller_views.RefundViewSet.as_view({"post": act}))
        for act in ("approve", "decline")
    ),
    path(
        "listings/<str:pk>/sample",
        ListingSampleViewSet.as_view({"get": "retrieve", "post": "create"}),
    ),
    *router.urls,
]
