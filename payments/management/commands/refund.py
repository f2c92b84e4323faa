"""`manage.py refund`: what an operator of the market gives back, agrees to, or paid by bank."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from licensing.models import GrantEvent
from marketplace import operators
from marketplace.errors import DomainError
from marketplace.models import User
from payments import refunds
from payments.models import Refund


class Command(BaseCommand):
    help = (
        "Give a payment back, or be one of the two people that a large refund needs. After the "
        "first delivery the licensor must agree as well. The tax, the fee and the seller's share "
        "go back in proportion; once all is back, the license ends. With paid-outside: say that a "
        "refund that had failed was paid to the buyer by bank."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("step", choices=["give", "approve", "paid-outside"])
        parser.add_argument("id", metavar="ord_… or rfd_…")
        parser.add_argument("--operator", metavar="EMAIL", required=True, help="who does it")
        parser.add_argument(
            "--amount-minor", type=int, help="in the currency's smallest unit (all that is left)"
        )
        parser.add_argument("--reason", default="", help="in words, for both parties")
        parser.add_argument(
            "--void-from-start",
            action="store_true",
            help="once all is back, the license ends as if it had never been given",
        )

    def handle(self, *args: Any, step: str, id: str, **options: Any) -> None:
        if step == "give" and not options["reason"].strip():
            raise CommandError("Say why: --reason.")
        try:
            operator = operators.find(options["operator"])
            if step == "give":
                refund = self._give(operator, id, options)
            elif step == "approve":
                refund = refunds.approve_as_operator(operator, id)
            else:
                refund = refunds.pay_outside(operator, id)
        except DomainError as error:
            raise CommandError(f"{error.data.get('param', '')} {error.detail}".strip()) from None
        self.stdout.write(f"{refund.pk} {refund.state}")

    def _give(self, operator: User, id: str, options: dict[str, Any]) -> Refund:
        effect = (
            GrantEvent.Effect.VOID_FROM_START
            if options["void_from_start"]
            else GrantEvent.Effect.PROSPECTIVE
        )
        return refunds.give(
            operator,
            id,
            amount_minor=options["amount_minor"],
            reason=options["reason"],
            effect=effect,
        )
