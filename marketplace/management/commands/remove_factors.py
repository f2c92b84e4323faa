"""`manage.py remove_factors EMAIL`: let somebody in again who lost their second factors."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from marketplace import sign_in
from marketplace.errors import NotFound


class Command(BaseCommand):
    """For an operator, who made sure by another way that it is this person who asks."""

    help = (
        "Remove the second factors of the person of this address, recovery codes included, and end"
        " their sessions. They sign in with the password, and set up new ones."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = sign_in.take_factors_away(options["email"])
        except NotFound as error:
            raise CommandError(error.detail) from error
        self.stdout.write(
            _("%(count)s factors of %(email)s are gone, and their sessions.")
            % {"count": count, "email": options["email"]}
        )
