"""`manage.py payee`: who may be paid in live mode."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace import operators
from marketplace.errors import DomainError
from payments import connect


class Command(BaseCommand):
    help = (
        "Clear a connected account, so that its owner may sell in live mode and is paid, or refuse "
        "it: then nothing is sold or sent, and what is owed stays owed. Repeating it changes "
        "nothing. `LICET_SCREENING` can decide without people."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("step", choices=["clear", "refuse", "sync"])
        parser.add_argument("id", metavar="acc_…")
        parser.add_argument("--operator", metavar="EMAIL", required=True, help="who does it")
        parser.add_argument("--note", default="", help="why; kept with the account")

    def handle(self, *args: Any, step: str, id: str, **options: Any) -> None:
        try:
            operator = operators.find(options["operator"])
            if step == "clear":
                account = connect.clear(operator, id, note=options["note"])
            elif step == "refuse":
                account = connect.refuse(operator, id, note=options["note"])
            else:
                account = connect.sync_account(connect.find(id).pk)
        except DomainError as error:
            raise CommandError(f"{error.data.get('param', '')} {error.detail}".strip()) from None
        self.stdout.write(f"{account.pk} {account.state}, {account.clearance}")
