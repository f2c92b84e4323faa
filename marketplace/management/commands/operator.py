"""`manage.py operator`: who runs this market."""

from __future__ import annotations

import getpass
import os
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email
from django.utils.translation import gettext as _

from marketplace import operators
from marketplace.errors import DomainError
from marketplace.models import User

VARIABLE = "LICET_OPERATOR_PASSWORD"


class Command(BaseCommand):
    help = (
        "Appoint an operator, who enters /admin/; dismiss one; or list them. Each act is on record."
        f" A new person's password is asked for, or read from {VARIABLE}; somebody who has an "
        "account here keeps theirs. Repeating it changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
        appoint = steps.add_parser("appoint", help="make somebody an operator")
        appoint.add_argument("email")
        appoint.add_argument("--name", default="", help="of a person who has no account here yet")
        dismiss = steps.add_parser("dismiss", help="let somebody be an operator no more")
        dismiss.add_argument("email")
        steps.add_parser("list", help="say who are operators")

    def handle(self, *args: Any, step: str, **options: Any) -> None:
        if step == "list":
            for user in operators.everybody():
                self.stdout.write(f"{user.pk} {user.email} {user.name}")
            return
        try:
            if step == "appoint":
                user = _appoint(options["email"], options["name"])
                said = _("%(email)s is an operator.")
            else:
                user = operators.dismiss(options["email"])
                said = _("%(email)s is no operator.")
        except DomainError as error:
            raise CommandError(error.detail) from None
        self.stdout.write(said % {"email": user.email})


def _appoint(email: str, name: str) -> User:
    if User.objects.filter(email=email.lower()).exists():
        return operators.appoint(email=email, name=name, password="")
    try:
        validate_email(email)
        if not name.strip():
            raise ValidationError(_("Give the person's name: --name."))
        password = _password()
        validate_password(password, User(email=email, name=name))
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from None
    return operators.appoint(email=email, name=name.strip(), password=password)


def _password() -> str:
    """From the environment, or from the person: typed twice, and never shown."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return given
    password = getpass.getpass(_("Password: "))
    if getpass.getpass(_("Again: ")) != password:
        raise ValidationError(_("The two passwords differ."))
    return password
