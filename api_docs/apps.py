"""The api_docs app."""

from __future__ import annotations

from django.apps import AppConfig


class ApiDocsConfig(AppConfig):
    name = "api_docs"
    default_auto_field = "django.db.models.BigAutoField"
