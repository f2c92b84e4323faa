"""Addresses of the documentation."""

from __future__ import annotations

from django.urls import path

from api_docs import views

urlpatterns = [
    path("openapi.json", views.OpenApi.as_view(), name="openapi"),
    path("docs/", views.Reference.as_view(url_name="openapi"), name="docs"),
    path("docs/errors", views.errors, name="errors"),
]
