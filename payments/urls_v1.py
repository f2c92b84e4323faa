"""The routes of quotes and orders, below /v1/."""

from __future__ import annotations

from rest_framework.routers import SimpleRouter

from payments import views

router = SimpleRouter(trailing_slash=False)
router.register("quotes", views.QuoteViewSet, basename="quote")
router.register("orders", views.OrderViewSet, basename="order")

urlpatterns = router.urls
