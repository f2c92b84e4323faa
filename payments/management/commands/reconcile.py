"""`manage.py reconcile`: hold Stripe's books against ours now, and say what does not agree."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error

from marketplace import money, operators
from marketplace.access import system
from marketplace.errors import DomainError, PaymentProviderRefused, PaymentProviderUnavailable
from payments import mismatches, reconcile, stripe_pace
from payments.models import Mismatch

OPEN, CANNOT_TELL = 1, 2


class Command(BaseCommand):
    help = (
        "Fetch events that were not delivered, bring the orders up to date that Stripe has more of"
        " than the journal, and list what still does not agree, the oldest first. Goes on where the"
        " last look stopped; with --since it looks again, and leaves that mark alone. Stopped in"
        " the middle, the same command goes on; run twice, it changes nothing. Exit code 0: all"
        " agrees; 1: something does not; 2: cannot tell, or somebody else looks just now."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since", type=_time, help="look from here on: 2026-11-01, or 2026-11-01T12:00 (UTC)"
        )
        parser.add_argument("--until", type=_time, help="look at what was made before; else: now")
        parser.add_argument("--close", metavar="MISMATCH", help="say why this one may stay")
        parser.add_argument("--operator", metavar="EMAIL", help="with --close: who says so")
        parser.add_argument("--note", default="", help="with --close: why. Nobody's name")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["close"]:
            self._close(options["close"], options["operator"] or "", options["note"])
            return
        since, until = options["since"], options["until"]
        try:
            with stripe_pace.background():
                events = reconcile.fetch_events(since=since, tell=self.stderr.write)
                balance = reconcile.check_balance(since=since, until=until, tell=self.stderr.write)
        except (PaymentProviderUnavailable, PaymentProviderRefused, Error) as error:
            raise CommandError(str(error), returncode=CANNOT_TELL) from error
        with system("show what does not agree with Stripe"):
            rows = [_shown(row) for row in mismatches.still_open(livemode=settings.STRIPE_LIVEMODE)]
        said = {
            "events_stored": events.events_stored,
            "foreign_events": reconcile.foreign_events(),
            "transactions": balance.lines,
            "orders_synced": balance.synced,
            "booked": balance.booked,
            "new": events.new + balance.new,
            "gone": events.gone + balance.gone,
            "open": rows,
        }
        if options["json"]:
            self.stdout.write(json.dumps(said))
        else:
            self._tell(said)
        if not (events.is_done and balance.is_done):
            raise CommandError("Somebody else looks just now.", returncode=CANNOT_TELL)
        if rows:
            raise CommandError(f"{len(rows)} mismatches are open.", returncode=OPEN)

    def _close(self, mismatch: str, email: str, note: str) -> None:
        try:
            operator = operators.find(email)
            closed = mismatches.close(operator, mismatch, note=note)
        except DomainError as error:
            raise CommandError(error.detail, returncode=CANNOT_TELL) from error
        self.stdout.write(f"closed: {closed}")

    def _tell(self, said: dict[str, Any]) -> None:
        for name, count in said.items():
            if name != "open":
                self.stdout.write(f"{count:>8}  {name.replace('_', ' ')}")
        for row in said["open"]:
            self.stdout.write(
                f"{row['age_hours']:>7}h  {row['kind']}  {row['subject']}  {row['order'] or '-'}"
                f"  expected {row['expected'] or '-'}, found {row['found'] or '-'}"
            )


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"“{text}” is no date such as 2026-11-01.") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _shown(row: Mismatch) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "kind": row.kind,
        "subject": row.subject,
        "type": row.subject_type,
        "order": None if row.order_id is None else str(row.order_id),
        "journal": None if row.journal_id is None else str(row.journal_id),
        "expected": _amount(row.expected_minor, row.expected_currency),
        "found": _amount(row.found_minor, row.found_currency),
        "first_seen_at": row.first_seen_at.isoformat(),
        "age_hours": int(row.age.total_seconds() // 3600),
    }


def _amount(minor: int | None, currency: str) -> str | None:
    if minor is None or not currency:
        return None
    # Stripe may have a currency that this market has not.
    return money.show(minor, currency) if currency in money.CURRENCIES else f"{minor} {currency}"
