"""`manage.py reseal_factors`: seal all second factors with today's LICET_SECRET_KEY."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import ngettext

from marketplace import second_factors


class Command(BaseCommand):
    """For an operator, after LICET_SECRET_KEY was replaced. Safe to repeat."""

    help = (
        "Seal the second factors of all people with today's LICET_SECRET_KEY. Afterwards the keys"
        " in LICET_SECRET_KEY_FALLBACKS are no longer needed for them."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = second_factors.reseal_all()
        except second_factors.SealBroken as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            ngettext(
                "%(count)s factor was sealed anew.", "%(count)s factors were sealed anew.", count
            )
            % {"count": count}
        )
