"""The marketplace app, and the admin that only operators enter."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps
from django.core import checks
from django.utils.translation import gettext_lazy


class MarketplaceConfig(AppConfig):
    name = "marketplace"
    verbose_name = gettext_lazy("Marketplace")
    default_auto_field = "django.db.models.BigAutoField"
    default = True

    def ready(self) -> None:
        from marketplace import model_names, sign_in, traces
        from marketplace.tenant_checks import check_registered

        traces.check()
        model_names.translate(self)
        sign_in.listen()
        checks.register(check_registered, checks.Tags.admin)

        # What was verified of a trader is its legal identity: another one is looked at again.
        from marketplace import organizations, traders

        organizations.IDENTIFIED.append(traders.follow)


class OperatorAdminConfig(admin_apps.AdminConfig):
    default_site = "marketplace.operator_site.OperatorSite"
    default = False
