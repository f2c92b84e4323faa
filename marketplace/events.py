"""Events: what happened, told to each organization that acts on it, in the order of its feed."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from marketplace.access import Caller
from marketplace.errors import InvalidCursor, InvalidInput
from marketplace.models import Event

# Every type, and what it says. A type is a promise to clients: never renamed, never taken away.
# `data` has the id of what it is about under the name before the point. In English for machines,
# looked up by pages.
TYPES: dict[str, str] = {
    "access_request.created": gettext_noop(
        "A buyer asks to license an offer that is sold on request."
    ),
    "access_request.approved": gettext_noop("The seller lets the buyer license what it asked for."),
    "access_request.declined": gettext_noop("The seller declined a buyer's request."),
    "access_request.canceled": gettext_noop(
        "The buyer took its request back, or gave its approval up."
    ),
    "dispute.opened": gettext_noop("A buyer's bank asks about a payment, or wants it back."),
    "dispute.won": gettext_noop("A dispute ended for the seller: the payment stays."),
    "dispute.lost": gettext_noop("A dispute ended for the buyer: the payment is gone."),
    "grant.issued": gettext_noop("A license was given."),
    "grant.suspended": gettext_noop("A license was suspended, from `effective_at` on."),
    "grant.reinstated": gettext_noop("A suspension was ended, from `effective_at` on."),
    "grant.revoked": gettext_noop("A license was ended for good, from `effective_at` on."),
    "grant.expired": gettext_noop("The windows of a license are all over."),
    "grant.renewed": gettext_noop("A license has a new period that follows on the last one."),
    "grant.amended": gettext_noop("A license has other terms from now on."),
    "grant.coverage_added": gettext_noop("A license covers another snapshot of its collection."),
    "import.finished": gettext_noop("An import came to its end."),
    "notice.created": gettext_noop(
        "Works that a license covers were opted out: fetch the notice, and act."
    ),
    "notice.acknowledged": gettext_noop("A licensee stated what it did about a notice."),
    "offer.submitted": gettext_noop("An offer waits for the market's review."),
    "offer.published": gettext_noop("An offer is on sale."),
    "offer.refused": gettext_noop("The market gave an offer back as a draft; the offer says why."),
    "offer.suspended": gettext_noop(
        "The market took an offer off sale for now; the offer says why."
    ),
    "offer.reinstated": gettext_noop("An offer that was suspended is on sale again."),
    "offer.withdrawn": gettext_noop("The seller took an offer off sale."),
    "opt_out.recorded": gettext_noop("Works of the organization were taken out of licensing."),
    "order.paid": gettext_noop("An order was paid. Its license follows as `grant.issued`."),
    "order.refused": gettext_noop(
        "An order was paid and its license could not be given: the money goes back."
    ),
    "order.expired": gettext_noop("An order was not paid in time."),
    "order.cancelled": gettext_noop("An order was given up before it was paid."),
    "order.past_due": gettext_noop("An order's invoice is overdue."),
    "order.refunded": gettext_noop("All or a part of an order's payment went back."),
    "refund.requested": gettext_noop("Somebody asks for a payment back, or gives it back."),
    "refund.declined": gettext_noop("A refund was declined, or taken back by whoever asked."),
    "refund.succeeded": gettext_noop("A refund arrived."),
    "refund.failed": gettext_noop(
        "A refund did not arrive: Stripe or the buyer's bank did not take it."
    ),
    "royalty_payment.paid": gettext_noop("A contributor was paid."),
    "royalty_payment.returned": gettext_noop(
        "A contributor could not be paid: the amount is owed again."
    ),
    "transfer.paid": gettext_noop("The seller's share of a sale was sent to its account."),
    "webhook_endpoint.disabled": gettext_noop(
        "An endpoint was disabled by the market: it failed, or is gone."
    ),
    "webhook_endpoint.tested": gettext_noop(
        "Somebody asked for a test. Sent to that endpoint alone."
    ),
}

# Events that one transaction gives their places at most.
BATCH = 500
# Rows of a page of the feed.
PAGE_LENGTH_MAX = 200
_TYPES_MAX = 50
# The database refuses what is larger.
DATA_LENGTH_MAX = 16 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """Events of a feed, oldest first, and the position that all of it was looked at until."""

    rows: Sequence[Event]
    has_more: bool
    position: int


def record(
    type: str, *, to: Iterable[Any], livemode: bool | None, subject: Any, **facts: Any
) -> list[Event]:
    """Tell organizations (their ids) of something, in the transaction in which it happens.

    One event each; `livemode=None` for what both modes share. `facts` are ids and small values:
    no words of people, no names. Who acts as one tenant may tell another.
    """
    return record_all(made(type, to=to, livemode=livemode, subject=subject, **facts))


def made(
    type: str, *, to: Iterable[Any], livemode: bool | None, subject: Any, **facts: Any
) -> list[Event]:
    """The events that `record` would write; for `record_all`, where there are many subjects."""
    assert type in TYPES, f"“{type}” is no type of event."
    data = {type.partition(".")[0]: str(subject.pk), **facts}
    modes = (False, True) if livemode is None else (livemode,)
    return [
        Event(organization_id=organization, livemode=mode, type=type, data=data)
        for organization in dict.fromkeys(to)
        for mode in modes
    ]


def record_all(made: Sequence[Event]) -> list[Event]:
    """Write events in one statement, in the transaction in which all of it happens."""
    assert connection.in_atomic_block, "An event commits with what happened."
    return Event.objects.bulk_create(made, batch_size=1_000)


def give_positions() -> list[Event]:
    """Give up to BATCH events that have committed their places, after all that have one.

    In the caller's all-tenant transaction. Any number of processes may call it: one at a time
    works, the others get nothing. An event whose transaction began first and committed last comes
    after those that a reader has seen, so who reads on from a place misses nothing.
    """
    assert connection.in_atomic_block, "What follows from an event commits with its place."
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended('event positions', 0))")
        if cursor.fetchone() != (True,):
            return []
        cursor.execute(_GIVE, {"limit": BATCH})
        given = [id for (id,) in cursor.fetchall()]
    return list(Event.objects.filter(pk__in=given).order_by("pk"))


def after(
    caller: Caller, position: int, *, types: Sequence[str] = (), limit: int = PAGE_LENGTH_MAX
) -> Page:
    """The caller's feed behind a position, in a transaction of the caller's. 0 is its beginning.

    Raises InvalidCursor for a position that the feed has not reached: such a cursor is older than
    a restored backup, and reading on from it would pass over what comes now.
    """
    feed = Event.objects.visible_to(caller).filter(position__isnull=False)
    # Before the rows: what comes meanwhile is behind the place that this page ends at.
    newest = feed.order_by("-position").values_list("position", flat=True).first() or 0
    if position > newest:
        raise InvalidCursor(
            _("This feed has not come so far. Read it from its beginning, and drop what you know.")
        )
    rows = feed.filter(position__gt=position, position__lte=newest).order_by("position")
    if types:
        rows = rows.filter(type__in=types)
    page = list(rows[: limit + 1])
    has_more, page = len(page) > limit, page[:limit]
    last = page[-1].position if has_more else newest
    assert last is not None, "What is in the feed has its place."
    return Page(page, has_more, last)


def check_types(types: Sequence[str], *, param: str = "types") -> list[str]:
    """The types that somebody names, each once, in order. Raises InvalidInput."""
    for index, type in enumerate(types):
        if type not in TYPES:
            raise InvalidInput(
                _("“%(type)s” is no type of event. Use: %(known)s.")
                % {"type": type[:60], "known": ", ".join(TYPES)},
                param=f"{param}[{index}]",
            )
    if len(types) > _TYPES_MAX:
        raise InvalidInput(_("Give at most %(max)s.") % {"max": _TYPES_MAX}, param=param)
    return sorted(set(types))


# --- cursors ----------------------------------------------------------------------------------


def cursor_at(caller: Caller, position: int) -> str:
    """A position in the caller's feed, as text for a client to keep."""
    raw = position.to_bytes(8) + _feed(caller)
    return base64.urlsafe_b64encode(raw).decode()


def position_of(caller: Caller, cursor: str) -> int:
    """The position that a cursor says. Raises InvalidCursor, also for another feed's cursor."""
    try:
        raw = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    # Several texts decode to the same bytes.
    if len(raw) != 12 or raw[0] >= 0x80 or base64.urlsafe_b64encode(raw).decode() != cursor:
        raise InvalidCursor(_("Give `next_cursor` of a page of this feed."))
    if raw[8:] != _feed(caller):
        raise InvalidCursor(_("This cursor is of another organization or mode."))
    return int.from_bytes(raw[:8])


def _feed(caller: Caller) -> bytes:
    """What tells feeds apart: against a mistake, not against anybody; it opens nothing."""
    named = UUID(str(caller.organization.pk.hex)).bytes + bytes([caller.livemode])
    return hashlib.sha256(b"licet/feed/v1" + named).digest()[:4]


_GIVE = """
WITH waiting AS (
    SELECT id, organization_id, livemode FROM marketplace_event
    WHERE position IS NULL ORDER BY id LIMIT %(limit)s
), placed AS (
    SELECT id, organization_id, livemode,
        row_number() OVER (PARTITION BY organization_id, livemode ORDER BY id) AS place
    FROM waiting
), reached AS (
    SELECT organization_id, livemode, coalesce((
        SELECT max(position) FROM marketplace_event event
        WHERE event.organization_id = feed.organization_id AND event.livemode = feed.livemode
    ), 0) AS position
    FROM (SELECT DISTINCT organization_id, livemode FROM waiting) feed
)
UPDATE marketplace_event event SET position = reached.position + placed.place
FROM placed JOIN reached USING (organization_id, livemode)
WHERE event.id = placed.id
RETURNING event.id
"""
