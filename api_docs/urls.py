"""Addresses of the documentation."""

from __future__ import annotations

from django.urls import path

from api_docs import views

urlpatterns = [
    path("openapi.json", views.openapi, name="openapi"),
    path("docs/", views.overview, name="docs"),
    path("docs/reference/<slug:name>/", views.tag, name="docs-tag"),
    path("docs/schemas/<slug:name>/", views.schema, name="docs-schema"),
    path("docs/try/", views.try_it, name="docs-try"),
    path("docs/try/<slug:operation>/", views.try_it, name="docs-try-operation"),
    path("docs/guide/", views.guide, name="docs-guide"),
    path("docs/guide/<slug:name>/", views.guide, name="docs-guide-page"),
    path("docs/more/<path:path>/", views.more, name="docs-more"),
    path("docs/errors", views.errors, name="errors"),
]
