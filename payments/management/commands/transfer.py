"""`manage.py transfer`: what an operator of the market has sent again."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace import operators
from marketplace.errors import DomainError
from payments import transfers


class Command(BaseCommand):
    help = (
        "Send a seller's share again that Stripe refused, once what it complained of is settled, "
        "such as a balance that did not cover it. Repeating it changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("step", choices=["again"])
        parser.add_argument("id", metavar="trf_…")
        parser.add_argument("--operator", metavar="EMAIL", required=True, help="who does it")

    def handle(self, *args: Any, step: str, id: str, **options: Any) -> None:
        try:
            operator = operators.find(options["operator"])
            transfer = transfers.send_again(operator, id)
        except DomainError as error:
            raise CommandError(f"{error.data.get('param', '')} {error.detail}".strip()) from None
        self.stdout.write(f"{transfer.pk} {transfer.state}")
