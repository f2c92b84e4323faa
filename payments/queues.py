"""What is due to be done by the worker: how much, and since when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Min, QuerySet
from django.utils import timezone

from marketplace import access
from marketplace.metrics import Reading
from marketplace.models import ImportJob
from payments.models import Command, Order, StripeEvent


@dataclass(frozen=True, slots=True)
class Queue:
    """Work of one kind that is due now. `since`: when the oldest of it was; None for none."""

    name: str
    count: int
    since: datetime | None


def due() -> list[Queue]:
    """Every queue. Two cheap queries each, of partial indexes."""
    now = timezone.now()
    with access.system("look what is due"):
        return [
            _queue(
                "calls",
                Command.objects.filter(livemode=settings.STRIPE_LIVEMODE, next_attempt_at__lte=now),
                "next_attempt_at",
            ),
            _queue(
                "events", StripeEvent.objects.filter(next_attempt_at__lte=now), "next_attempt_at"
            ),
            _queue(
                "imports",
                ImportJob.objects.filter(status=ImportJob.Status.QUEUED),
                "started_at",
            ),
            _queue(
                "orders",
                Order.objects.filter(status=Order.Status.PAID, livemode=settings.STRIPE_LIVEMODE),
                "paid_at",
            ),
        ]


def readings() -> Iterator[Reading]:
    """The same as metrics."""
    now = timezone.now()
    for each in due():
        labels = {"queue": each.name}
        waits = 0.0 if each.since is None else max(0.0, (now - each.since).total_seconds())
        yield Reading("licet_due", "Work that is due for the worker.", each.count, labels)
        yield Reading(
            "licet_due_oldest_seconds", "For how long the oldest of it has been due.", waits, labels
        )


def _queue(name: str, rows: QuerySet[Any], column: str) -> Queue:
    oldest = rows.aggregate(oldest=Min(column))["oldest"]
    return Queue(name, rows.count() if oldest else 0, oldest)
