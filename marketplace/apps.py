"""The marketplace app, and the admin that only operators enter."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class MarketplaceConfig(AppConfig):
    name = "marketplace"
    default_auto_field = "django.db.models.BigAutoField"
    default = True


class OperatorAdminConfig(admin_apps.AdminConfig):
    default_site = "marketplace.operator_site.OperatorSite"
    default = False
