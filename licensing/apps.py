"""The licensing app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy


class LicensingConfig(AppConfig):
    name = "licensing"
    verbose_name = gettext_lazy("Licensing")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """What is said of a collection or a seller changes what its listings are found by.

        And what dashboards show of licenses, and operators watch of the ledger.
        """
        from licensing import (
            delivery_panels,
            ledger_readings,
            license_panels,
            market_panels,
            notice_panels,
            search_documents,
        )
        from marketplace import collections, metrics, model_names, organizations, panels, probes

        model_names.translate(self)
        collections.DESCRIBED.append(search_documents.redescribe)
        organizations.IDENTIFIED.append(search_documents.rename_seller)
        metrics.READINGS.append(ledger_readings.readings)
        probes.CHECKS.append(ledger_readings.KEY)
        panels.register(
            *license_panels.PANELS,
            *notice_panels.PANELS,
            *delivery_panels.PANELS,
            *market_panels.PANELS,
        )
