"""Where Stripe delivers its events, below /stripe/."""

from __future__ import annotations

from django.urls import path

from payments import views

urlpatterns = [path("webhook", views.stripe_webhook, name="stripe-webhook")]
