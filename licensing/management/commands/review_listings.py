"""`manage.py review_listings`: what waits for review, and an operator's decisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from licensing import offers
from licensing.models import Offer
from marketplace import money, operators
from marketplace.errors import DomainError
from marketplace.models import User

# What an operator may decide, and whether the seller must hear why.
PLAIN: dict[str, Callable[[User, str], Offer]] = {
    "approve": offers.approve,
    "reinstate": offers.reinstate,
}
REASONED: dict[str, Callable[..., Offer]] = {
    "refuse": offers.refuse,
    "suspend": offers.suspend,
}


class Command(BaseCommand):
    help = (
        "Without a decision: list what waits for review, the longest-waiting first. With one: "
        "carry it out as the operator who is named, and record that in the audit."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        decision = parser.add_mutually_exclusive_group()
        decision.add_argument("--approve", metavar="off_…", help="list an offer in review")
        decision.add_argument("--refuse", metavar="off_…", help="back to its seller, as a draft")
        decision.add_argument("--suspend", metavar="off_…", help="take a listing down for now")
        decision.add_argument("--reinstate", metavar="off_…", help="bring a suspended one back")
        parser.add_argument("--operator", metavar="EMAIL", help="who decides")
        parser.add_argument("--reason", default="", help="which the seller reads")

    def handle(self, *args: Any, **options: Any) -> None:
        decided = [name for name in (*PLAIN, *REASONED) if options[name]]
        if not decided:
            self._list()
            return
        if not options["operator"]:
            raise CommandError(_("Say who decides: --operator EMAIL."))
        name, id = decided[0], options[decided[0]]
        try:
            operator = operators.find(options["operator"])
            if name in PLAIN:
                offer = PLAIN[name](operator, id)
            else:
                offer = REASONED[name](operator, id, reason=options["reason"])
        except DomainError as error:
            raise CommandError(error.detail) from None
        self.stdout.write(f"{offer.pk} {offer.state}")

    def _list(self) -> None:
        waiting = offers.in_review()
        for offer in waiting:
            assert offer.submitted_at is not None, "Each in review was submitted."
            price = money.show(offer.price_minor, offer.currency)
            self.stdout.write(
                f"{offer.pk}  {offer.submitted_at:%Y-%m-%d %H:%M}  {offer.organization.name}:"
                f" {offer.collection.name} – {offer.terms.name} v{offer.terms.version}, {price}"
            )
        self.stdout.write(_("%(count)s in review") % {"count": len(waiting)})
