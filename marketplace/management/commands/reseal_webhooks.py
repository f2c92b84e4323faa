"""`manage.py reseal_webhooks`: seal the secrets of webhooks with today's LICET_SECRET_KEY."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from marketplace import seals, webhooks


class Command(BaseCommand):
    """For an operator, after LICET_SECRET_KEY was replaced. Safe to repeat."""

    help = (
        "Seal the secrets of all webhooks with today's LICET_SECRET_KEY. Afterwards the keys in"
        " LICET_SECRET_KEY_FALLBACKS are no longer needed for them."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = webhooks.reseal_all()
        except seals.SealBroken as error:
            raise CommandError(
                _(
                    "A webhook's secret was sealed with another LICET_SECRET_KEY: name the one from"
                    " before in LICET_SECRET_KEY_FALLBACKS."
                )
            ) from error
        self.stdout.write(
            ngettext(
                "%(count)s secret was sealed anew.", "%(count)s secrets were sealed anew.", count
            )
            % {"count": count}
        )
