"""`manage.py fee`: what the market keeps of sales."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from licensing.models import Offer
from marketplace import operators
from marketplace.access import system
from marketplace.errors import DomainError
from marketplace.models import Collection, Organization
from payments import fees


class Command(BaseCommand):
    help = (
        "Set what the market keeps of each license price from now on: of all sales, or of one "
        "seller's, one collection's or one offer's, where the narrowest counts. Orders keep the "
        "fee that they were made under. The same again changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "basis_points", type=int, help="hundredths of a percent, such as 1250 for 12.5 %%"
        )
        parser.add_argument("--operator", metavar="EMAIL", required=True, help="who does it")
        parser.add_argument(
            "--fixed",
            action="append",
            default=[],
            metavar="USD:50",
            help="added to each sale in that currency, in its smallest unit; repeatable",
        )
        parser.add_argument(
            "--stripe-fees",
            choices=fees.Bearer.values,
            default=fees.Bearer.MARKET.value,
            help="who bears what Stripe takes (market)",
        )
        of = parser.add_mutually_exclusive_group()
        of.add_argument("--organization", metavar="org_…")
        of.add_argument("--collection", metavar="col_…")
        of.add_argument("--offer", metavar="off_…")
        parser.add_argument("--note", default="")

    def handle(self, *args: Any, basis_points: int, **options: Any) -> None:
        fixed = dict(_amount(each) for each in options["fixed"])
        try:
            schedule = fees.set(
                operators.find(options["operator"]),
                basis_points=basis_points,
                fixed_minor=fixed,
                stripe_fees=options["stripe_fees"],
                note=options["note"],
                **_scope(options),
            )
        except DomainError as error:
            raise CommandError(f"{error.data.get('param', '')} {error.detail}".strip()) from None
        self.stdout.write(f"{schedule.pk} version {schedule.version}: {schedule.basis_points} bp")


def _amount(text: str) -> tuple[str, int]:
    code, _colon, amount = text.partition(":")
    if not amount.isdecimal():
        raise CommandError(f"“{text}” is no amount. Write it like USD:50.")
    return code.upper(), int(amount)


def _scope(options: dict[str, Any]) -> dict[str, Any]:
    models: dict[str, Any] = {
        "organization": Organization,
        "collection": Collection,
        "offer": Offer,
    }
    for name, model in models.items():
        if options[name]:
            try:
                with system("an operator names whose fee it is"):
                    return {name: model.objects.get(pk=options[name])}
            except (ObjectDoesNotExist, ValidationError):
                raise CommandError(f"There is no {name} “{options[name]}”.") from None
    return {}
