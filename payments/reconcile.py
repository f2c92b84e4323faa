"""The reconciler: events that never came, and Stripe's books against ours, again and again.

Open orders are `sync.complete_due`. Webhooks alone lose payments: what they did not bring is
healed here, and what cannot be healed is a `Mismatch` with an age.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Min
from django.utils import timezone

from marketplace.access import system
from marketplace.errors import PaymentProviderRefused, PaymentProviderUnavailable
from payments import (
    balance_checks,
    commands,
    mismatches,
    refusals,
    stripe_events,
    stripe_gateway,
    stripe_pace,
    sync,
)
from payments.balance_checks import Booked
from payments.mismatches import Found
from payments.models import Mismatch, Order, ReconcileCursor, StripeEvent
from payments.stripe_facts import LineFacts

logger = logging.getLogger(__name__)

EVENTS, BALANCE = "events", "balance"
EVENTS_EVERY = timedelta(hours=1)
# What came just before the last look may not have been listed yet.
EVENTS_OVERLAP = timedelta(hours=1)
# https://docs.stripe.com/api/events/list: "going back up to 30 days".
EVENTS_KEPT = timedelta(days=30)
# A day is looked at once it has been over for this long: its last events are handled by then.
BALANCE_LAG = timedelta(hours=1)
# Stripe may list a moment later what it made just now: that is for the next look.
LISTED_AFTER = timedelta(minutes=2)
# So much of Stripe's time is looked at before the cursor moves on: what dies is done again.
STEP = timedelta(hours=1)
STEP_OF_EVENTS = timedelta(hours=6)
# After a step in which nothing was, the next one is twice as wide, up to this.
STEP_WIDEST = timedelta(days=1)
# So many steps back, what was listed is remembered; what is older is asked for one by one.
STEPS_SEEN = 48
# Who looks says so again with each step; one who died is followed by somebody else.
BUSY_FOR = timedelta(minutes=15)

Tell = Callable[[str], None]


@dataclass(slots=True)
class Report:
    """What a look at Stripe did."""

    events_stored: int = 0
    lines: int = 0
    # Orders that were brought up to what Stripe says, because the journal lacked something.
    synced: int = 0
    # Movements of the market's own money that were booked.
    booked: int = 0
    new: int = 0
    gone: int = 0
    # Nobody else was looking at the same time.
    is_done: bool = True


@dataclass(slots=True)
class _Look:
    """One pass over a time of Stripe's, step by step."""

    livemode: bool
    report: Report
    tell: Tell
    # The transactions of the last steps: what was booked later than Stripe made it.
    seen: deque[set[str]] = field(default_factory=lambda: deque(maxlen=STEPS_SEEN))
    synced: set[UUID] = field(default_factory=set)
    # What did not agree in this pass.
    found: set[str] = field(default_factory=set)
    # Whose what is: Stripe is asked once.
    orders: dict[str, UUID | None] = field(default_factory=dict)


class _Steps:
    """A time, in steps; whoever takes one says whether it was empty."""

    def __init__(self, low: datetime, until: datetime, step: timedelta) -> None:
        # Stripe's times are whole seconds.
        self._low, self._until = low.replace(microsecond=0), until.replace(microsecond=0)
        self._step = step
        self.was_empty = False

    def __iter__(self) -> Iterator[tuple[datetime, datetime]]:
        low, step = self._low, self._step
        while low < self._until:
            high = min(low + step, self._until)
            yield low, high
            low, step = high, min(step * 2, STEP_WIDEST) if self.was_empty else self._step


def quiet(_said: str) -> None:
    """Tell nobody how far it is."""


def events_due() -> Report | None:
    """Fetch what was not delivered, once an hour. The worker's; None where it is not time yet."""
    cursor = _cursor(EVENTS)
    if cursor is not None and cursor.reached_at > timezone.now() - EVENTS_EVERY:
        return None
    return fetch_events()


def balance_due() -> Report | None:
    """Look at each day that is over, once. The worker's; None where none is due."""
    midnight = _midnight()
    cursor = _cursor(BALANCE)
    is_early = timezone.now() < midnight + BALANCE_LAG
    if is_early or (cursor is not None and cursor.reached_at >= midnight):
        return None
    return check_balance(until=midnight)


def fetch_events(*, since: datetime | None = None, tell: Tell = quiet) -> Report:
    """Store the events that nobody took, as if they had been delivered; the worker handles them.

    From where the last look stopped, 30 days back at most. Repeatable, and goes on where it was
    stopped. Raises PaymentProviderUnavailable.
    """
    report, now = Report(), timezone.now()
    start = _begin(EVENTS, at=_first_order_at())
    if start is None:
        return Report(is_done=False)
    begin = max(since or start - EVENTS_OVERLAP, now - EVENTS_KEPT)
    try:
        for low, high in (steps := _Steps(begin, now, STEP_OF_EVENTS)):
            stored = _fetch_step(low, high)
            steps.was_empty = not stored
            report.events_stored += stored
            tell(f"events until {high:%Y-%m-%d %H:%M}: {report.events_stored} stored")
            _go_on(EVENTS, max(high, start) if since is None else None)
        found = balance_checks.unhandled_events(livemode=settings.STRIPE_LIVEMODE)
        _keep(report, found, _open_subjects(Mismatch.Kind.EVENT_UNHANDLED))
    finally:
        _end(EVENTS)
    return report


def check_balance(
    *, since: datetime | None = None, until: datetime | None = None, tell: Tell = quiet
) -> Report:
    """Hold every balance transaction of a time against the journal, and the other way round.

    From where the last look stopped, or from `since`, to before `until`. What Stripe has and the
    journal lacks is fetched first; what is left is a mismatch. What was one before is looked at
    again, and resolved once it is gone. Repeatable, and goes on where it was stopped. Raises
    PaymentProviderUnavailable.
    """
    report = Report()
    first = _first_order_at()
    start = _begin(BALANCE, at=first)
    if start is None:
        return Report(is_done=False)
    look = _Look(settings.STRIPE_LIVEMODE, report, tell)
    try:
        end = until or timezone.now() - LISTED_AFTER
        for low, high in (steps := _Steps(since or start, end, STEP)):
            lines = report.lines
            _check_step(look, low, high)
            steps.was_empty = report.lines == lines
            tell(f"balance until {high:%Y-%m-%d %H:%M}: {report.lines} transactions")
            _go_on(BALANCE, high if since is None else None)
        _look_again(look)
        found = balance_checks.open_clearing(livemode=look.livemode)
        _keep(report, found, _open_subjects(Mismatch.Kind.CLEARING_OPEN))
        _keep(report, [], balance_checks.made_good(livemode=look.livemode))
        _keep(report, [], refusals.made_good(livemode=look.livemode))
    finally:
        _end(BALANCE)
    return report


def foreign_events() -> int:
    """How many events were of accounts that are neither ours nor our sellers'."""
    with system("count events of other accounts"):
        return StripeEvent.objects.filter(
            livemode=settings.STRIPE_LIVEMODE, is_foreign=True
        ).count()


# --- one step ---------------------------------------------------------------------------------


def _fetch_step(low: datetime, high: datetime) -> int:
    stored, after = 0, ""
    while True:
        page = stripe_gateway.undelivered_events(low, high, after=after)
        stored += stripe_events.store_fetched(page.items)
        after = page.after
        if not after:
            break
    # Of the thin ones Stripe does not say which were delivered. Those that tell what a snapshot
    # event tells, too, are wanted only where they are what arrives here.
    takes_thin = stripe_events.takes_thin_events_of_v1()
    thin = [
        body
        for body in stripe_gateway.thin_events(low, high).items
        if takes_thin or str(body.get("type", "")).startswith("v2.")
    ]
    return stored + stripe_events.store_fetched(thin)


def _check_step(look: _Look, low: datetime, high: datetime) -> None:
    """Both directions over one step: Stripe's list first, then what the journal has beside it."""
    seen: set[str] = set()
    for lines in _pages(low, high):
        look.report.lines += len(lines)
        seen |= {line.transaction for line in lines}
        _keep_lines(look, _check(look, lines), {line.transaction for line in lines})
    look.seen.append(seen)
    written = balance_checks.written(low, high, livemode=look.livemode)
    beside = [each for each in dict.fromkeys(written) if not _was_seen(look, each)]
    if beside:
        _check_by_id(look, beside)


def _was_seen(look: _Look, transaction: str) -> bool:
    return any(transaction in seen for seen in look.seen)


def _pages(low: datetime, high: datetime) -> Iterator[tuple[LineFacts, ...]]:
    after = ""
    while True:
        page = stripe_gateway.balance_lines(low, high, after=after)
        if page.items:
            yield page.items
        after = page.after
        if not after:
            return


def _check(look: _Look, lines: tuple[LineFacts, ...]) -> list[Found]:
    """What does not agree of some transactions, after what can be healed was healed."""
    ids = [line.transaction for line in lines]
    entries = balance_checks.booked(ids, livemode=look.livemode)
    _heal(look, [line for line in lines if line.transaction not in entries])
    entries = balance_checks.booked(ids, livemode=look.livemode)
    found = []
    for line in lines:
        entry = entries.get(line.transaction)
        if entry is None:
            order = _order_of(look, line)
            if not balance_checks.is_under_way(line, order):
                found.append(balance_checks.missing(line, order))
        else:
            differs = balance_checks.compare(line, entry) or balance_checks.payout_differs(line)
            if differs is not None:
                found.append(differs)
    return found


def _order_of(look: _Look, line: LineFacts) -> UUID | None:
    if line.transaction not in look.orders:
        try:
            found = balance_checks.order_of(line, livemode=look.livemode)
        except PaymentProviderRefused:
            # Stripe does not say: then it is nobody's that we know.
            found = None
        look.orders[line.transaction] = found
    return look.orders[line.transaction]


def _heal(look: _Look, lines: list[LineFacts]) -> None:
    """Bring the orders of unbooked transactions up to date, and book what is of no order."""
    for line in lines:
        if line.type in balance_checks.PAYOUTS | balance_checks.FEES:
            balance_checks.book_own(line, livemode=look.livemode)
            look.report.booked += 1
            continue
        order = _order_of(look, line)
        if order in look.synced:
            continue
        try:
            if order is None:
                look.report.booked += _book_sent(look, line)
            else:
                look.synced.add(order)
                _sync(order)
                look.report.synced += 1
        except PaymentProviderUnavailable:
            # Stripe is away for the others too: this step is done again later.
            raise
        except Exception:
            # The edge of a retry loop: one order must not keep the others from being looked at.
            logger.exception("could not settle %s", order or line.transaction)


def _sync(order: UUID) -> None:
    try:
        sync.sync_order(order)
    except sync.AskedJustNow:
        time.sleep(stripe_pace.FETCH_GAP.total_seconds())
        sync.sync_order(order)


def _book_sent(look: _Look, line: LineFacts) -> bool:
    """Book a transfer of no order; a call whose answer was lost is made again before, and says it.

    Its key, or what Stripe finds, leads to the first call's transfer.
    """
    if balance_checks.book_sent(line, livemode=look.livemode):
        return True
    for command in balance_checks.calls_like(line, livemode=look.livemode):
        commands.carry_out(command)
        if balance_checks.booked([line.transaction], livemode=look.livemode):
            return True
    return False


def _check_by_id(look: _Look, transactions: list[str]) -> None:
    """Ask Stripe for transactions one by one: those that no list of this pass had."""
    found: list[Found] = []
    entries: dict[str, Booked] = balance_checks.booked(transactions, livemode=look.livemode)
    for number, transaction in enumerate(transactions, start=1):
        line = stripe_gateway.balance_line(transaction)
        if line is not None:
            found += _check(look, (line,))
        elif transaction in entries:
            found.append(balance_checks.unknown_to_stripe(transaction, entries[transaction]))
        if number % 100 == 0:
            look.tell(f"{number} of {len(transactions)} transactions asked for by id")
    _keep_lines(look, found, set(transactions))


def _look_again(look: _Look) -> None:
    """Look at what did not agree before, and was in no list of this pass."""
    with system("find what did not agree before"):
        before = list(
            mismatches.still_open(livemode=look.livemode)
            .filter(kind__in=mismatches.OF_LINES)
            .exclude(subject__in=look.found)
            .values_list("subject", flat=True)
        )
    if before:
        _check_by_id(look, before)


def _keep_lines(look: _Look, found: list[Found], looked_at: set[str]) -> None:
    look.found |= {each.subject for each in found}
    _keep(look.report, found, looked_at)


def _keep(report: Report, found: list[Found], looked_at: set[str]) -> None:
    new, gone = mismatches.keep(found, livemode=settings.STRIPE_LIVEMODE, looked_at=looked_at)
    report.new += new
    report.gone += gone


def _open_subjects(kind: Mismatch.Kind) -> set[str]:
    with system("find what did not agree before"):
        rows = mismatches.still_open(livemode=settings.STRIPE_LIVEMODE)
        return set(rows.filter(kind=kind).values_list("subject", flat=True))


# --- how far it is ----------------------------------------------------------------------------


def _cursor(name: str) -> ReconcileCursor | None:
    with system("read how far a look at Stripe has come"):
        return ReconcileCursor.objects.filter(name=name, livemode=settings.STRIPE_LIVEMODE).first()


def _begin(name: str, *, at: datetime) -> datetime | None:
    """Take a look over, from where it stopped, or from `at`; None where somebody is at it."""
    now = timezone.now()
    with system("begin a look at Stripe"):
        cursor, _is_new = ReconcileCursor.objects.select_for_update().get_or_create(
            name=name, livemode=settings.STRIPE_LIVEMODE, defaults={"reached_at": at}
        )
        if cursor.busy_until is not None and cursor.busy_until > now:
            return None
        cursor.busy_until = now + BUSY_FOR
        cursor.save(update_fields=["busy_until"])
        return cursor.reached_at


def _go_on(name: str, reached_at: datetime | None) -> None:
    """Say that somebody is still at it, and how far it is."""
    values = {"busy_until": timezone.now() + BUSY_FOR}
    with system("keep how far a look at Stripe has come"):
        ReconcileCursor.objects.filter(name=name, livemode=settings.STRIPE_LIVEMODE).update(
            **(values if reached_at is None else values | {"reached_at": reached_at})
        )


def _end(name: str) -> None:
    with system("end a look at Stripe"):
        ReconcileCursor.objects.filter(name=name, livemode=settings.STRIPE_LIVEMODE).update(
            busy_until=None
        )


def _first_order_at() -> datetime:
    """When the market began to take payments: before that, Stripe has nothing for us."""
    with system("find the first order"):
        first = Order.objects.filter(livemode=settings.STRIPE_LIVEMODE).aggregate(
            at=Min("accepted_at")
        )["at"]
    return first or timezone.now()


def _midnight() -> datetime:
    return timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
