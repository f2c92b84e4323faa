"""Stripe's events: stored under their ids before anything acts on them, then acted on."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.access import system
from marketplace.errors import MalformedRequest, WebhookModeMismatch
from payments import stripe_gateway, sync
from payments.models import Order, StripeEvent

logger = logging.getLogger(__name__)

# An event whose handling failed is handled again after 2, 4, 8 … seconds, at most this many.
RETRY_SECONDS_MAX = 3600
# Longer than handling a batch takes: one that was taken longer ago, its worker died.
HANDLING_TAKES = timedelta(seconds=120)
ID_LENGTH_MAX = 255
# Stripe tries to deliver for three days: https://docs.stripe.com/webhooks#automatic-retries. It
# lists events for 30: https://docs.stripe.com/webhooks/process-undelivered-events
UNDELIVERED_SINCE = timedelta(days=4)


def receive(raw: bytes, signature: str) -> StripeEvent:
    """Verify a delivery and store it under its id; a repeat finds the stored one.

    Nothing is answered before it is stored, and nothing acts on what an event says: it only
    names what to fetch. Raises WebhookSignatureInvalid, WebhookModeMismatch, MalformedRequest.
    """
    stripe_gateway.verify_webhook(raw, signature)
    body = _parsed(raw)
    if body["livemode"] is not settings.STRIPE_LIVEMODE:
        raise WebhookModeMismatch(_("The event is not of this server's mode."), event=body["id"])
    event = _event(body)
    with system("store an event of Stripe's"):
        StripeEvent.objects.bulk_create([event], ignore_conflicts=True)
    return event


def fetch_undelivered() -> int:
    """Ask Stripe for events that did not reach us, and store what is new of them.

    What heals a loss of all events of an order that was settled: its refunds at Stripe, and its
    disputes. Returns how many were undelivered. Raises PaymentProviderUnavailable.
    """
    since = timezone.now() - UNDELIVERED_SINCE
    bodies = stripe_gateway.undelivered_events(since)
    with system("store events of Stripe's that were not delivered"):
        StripeEvent.objects.bulk_create(
            [_event(body) for body in bodies if body["livemode"] is settings.STRIPE_LIVEMODE],
            ignore_conflicts=True,
        )
    return len(bodies)


def handle_due(limit: int = 100) -> int:
    """Bring up to date every order that unhandled events are about. Returns how many events.

    Several events of one order cost one fetch. Safe beside other workers: each event is taken by
    one of them, for a while.
    """
    taken = _take(limit)
    events_of: dict[UUID | None, list[str]] = defaultdict(list)
    for event_id, order_id in taken:
        events_of[order_id].append(event_id)
    for order_id, ids in events_of.items():
        try:
            if order_id is not None:
                sync.sync_order(order_id)
        except Exception as error:
            logger.exception("could not handle %s", ", ".join(ids))
            _fail(ids, error)
        else:
            with system("mark events of Stripe's as handled"):
                StripeEvent.objects.filter(pk__in=ids).update(
                    handled_at=timezone.now(), next_attempt_at=None, last_error=""
                )
    return len(taken)


def _event(body: dict[str, Any]) -> StripeEvent:
    """The row of an event."""
    subject = _subject(body)
    return StripeEvent(
        id=body["id"],
        type=body["type"],
        livemode=body["livemode"],
        api_version=str(body.get("api_version") or "")[:60],
        object_id=str(subject.get("id") or "")[:ID_LENGTH_MAX],
        order_ref=_order_ref(subject),
        body=body,
    )


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
        # PostgreSQL keeps no half of a surrogate pair.
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        body = None
    if (
        not isinstance(body, dict)
        or not isinstance(body.get("id"), str)
        or not 0 < len(body["id"]) <= ID_LENGTH_MAX
        or not isinstance(body.get("type"), str)
        or len(body["type"]) > 100
        or not isinstance(body.get("livemode"), bool)
        or b"\\u0000" in raw
    ):
        raise MalformedRequest(_("This is signed, but it is no event."))
    return body


def _subject(body: dict[str, Any]) -> dict[str, Any]:
    """What the event is about: a whole object (snapshot event), or its name (thin event)."""
    data = body.get("data")
    subject = data.get("object") if isinstance(data, dict) else None
    subject = body.get("related_object") if subject is None else subject
    return subject if isinstance(subject, dict) else {}


def _order_ref(subject: dict[str, Any]) -> str:
    """Our order, as we named it to Stripe: in the session's reference, else in the metadata."""
    metadata = subject.get("metadata")
    named = subject.get("client_reference_id") or (
        metadata.get("order") if isinstance(metadata, dict) else None
    )
    return named if isinstance(named, str) and len(named) <= 60 else ""


def _take(limit: int) -> list[tuple[str, UUID | None]]:
    """Take due events for a while, so that no second worker handles them, and find their orders.

    Only event rows are locked here, and none of them while an order is: locking both, in either
    order, deadlocks against another worker.
    """
    now = timezone.now()
    with system("take events of Stripe's to handle"):
        events = list(
            StripeEvent.objects.select_for_update(skip_locked=True)
            .filter(next_attempt_at__lte=now)
            .order_by("next_attempt_at")[:limit]
        )
        for event in events:
            event.attempts += 1
            event.next_attempt_at = now + HANDLING_TAKES
        StripeEvent.objects.bulk_update(events, ["attempts", "next_attempt_at"])
        return [(event.pk, _order_of(event)) for event in events]


def _order_of(event: StripeEvent) -> UUID | None:
    """The order that an event is about; None for what is not ours, such as another product's."""
    orders = Order.objects.filter(livemode=event.livemode)
    try:
        named = Order._meta.pk.to_python(event.order_ref) if event.order_ref else None
    except ValidationError:
        named = None
    about = Q(pk=named) if named is not None else Q()
    if event.object_id:
        about |= Q(checkout_session=event.object_id) | Q(payment_intent=event.object_id)
    # A dispute, and a refund that somebody made at Stripe, name no order of ours.
    subject = _subject(event.body)
    for name in ("payment_intent", "charge"):
        if isinstance(subject.get(name), str):
            about |= Q(**{name: subject[name]})
    return orders.filter(about).values_list("pk", flat=True).first() if about else None


def _fail(ids: list[str], error: Exception) -> None:
    with system("keep why events of Stripe's could not be handled"):
        for event in StripeEvent.objects.filter(pk__in=ids):
            wait = min(2 ** min(event.attempts, 16), RETRY_SECONDS_MAX)
            event.next_attempt_at = timezone.now() + timedelta(seconds=wait)
            event.last_error = f"{type(error).__name__}: {error}"[:1000]
            event.save(update_fields=["next_attempt_at", "last_error"])
