"""The routes of quotes and orders, below /v1/."""

from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from payments import views
from payments.sample_views import ListingSampleViewSet

router = SimpleRouter(trailing_slash=False)
router.register("quotes", views.QuoteViewSet, basename="quote")
router.register("orders", views.OrderViewSet, basename="order")

urlpatterns = [
    path(
        "listings/<str:pk>/sample",
        ListingSampleViewSet.as_view({"get": "retrieve", "post": "create"}),
    ),
    *router.urls,
]
