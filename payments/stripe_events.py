"""Stripe's events: stored under their ids before anything acts on them, then acted on."""

from __future__ import annotations

import contextlib
import json
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
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
from payments import connect, stripe_gateway, sync
from payments.models import ConnectedAccount, Order, StripeEvent

logger = logging.getLogger(__name__)

# An event whose handling failed is handled again after 2, 4, 8 … seconds, at most this many.
RETRY_SECONDS_MAX = 3600
# Longer than handling a batch takes: one that was taken longer ago, its worker died.
HANDLING_TAKES = timedelta(seconds=120)
ID_LENGTH_MAX = 255


@dataclass(frozen=True, slots=True)
class Subject:
    """What an event is about, of ours: an order or a connected account; neither for what is not.

    Where neither is known and `named` is, Stripe has to be asked to which payment or invoice that
    belongs.
    """

    order: UUID | None = None
    account: UUID | None = None
    named: tuple[str, str] | None = None
    # It is about an account that is neither ours nor one of our sellers'.
    is_foreign: bool = False


def receive(raw: bytes, signature: str) -> StripeEvent:
    """Verify a delivery and store it under its id; a repeat finds the stored one.

    Snapshot events, which hold an object, and thin ones, which only name it. Nothing is answered
    before it is stored, and nothing acts on what an event says: it only names what to fetch. Raises
    WebhookSignatureInvalid, WebhookModeMismatch, MalformedRequest.
    """
    stripe_gateway.verify_webhook(raw, signature)
    body = _parsed(raw)
    if body["livemode"] is not settings.STRIPE_LIVEMODE:
        raise WebhookModeMismatch(_("The event is not of this server's mode."), event=body["id"])
    event = _event(body)
    with system("store an event of Stripe's"):
        StripeEvent.objects.bulk_create([event], ignore_conflicts=True)
    return event


def store_fetched(bodies: Iterable[dict[str, Any]]) -> int:
    """Store events that Stripe was asked for, as if they had been delivered. How many were new.

    Without a signature, and their rows say so: they came over our own connection to Stripe. Those
    of the other mode, or unreadable, are left out.
    """
    events = []
    for body in bodies:
        with contextlib.suppress(MalformedRequest):
            parsed = _parsed(json.dumps(body).encode())
            if parsed["livemode"] is settings.STRIPE_LIVEMODE:
                events.append(_event(parsed, is_fetched=True))
    with system("store events of Stripe's that were not delivered"):
        known = set(
            StripeEvent.objects.filter(pk__in=[event.pk for event in events]).values_list(
                "pk", flat=True
            )
        )
        new = [event for event in events if event.pk not in known]
        StripeEvent.objects.bulk_create(new, ignore_conflicts=True)
    return len(new)


def takes_thin_events_of_v1() -> bool:
    """Whether such were delivered here lately: Stripe sends each event as the endpoint wants it."""
    with system("see which events of Stripe's are delivered"):
        return StripeEvent.objects.filter(
            livemode=settings.STRIPE_LIVEMODE,
            is_thin=True,
            is_fetched=False,
            type__startswith="v1.",
            received_at__gt=timezone.now() - timedelta(days=30),
        ).exists()


def _event(body: dict[str, Any], *, is_fetched: bool = False) -> StripeEvent:
    subject = _about(body)
    is_thin = body.get("object") == "v2.core.event"
    return StripeEvent(
        id=body["id"],
        type=body["type"],
        livemode=body["livemode"],
        api_version=str(body.get("api_version") or "")[:60],
        is_thin=is_thin,
        account=str(body.get("context" if is_thin else "account") or "")[:ID_LENGTH_MAX],
        object_id=str(subject.get("id") or "")[:ID_LENGTH_MAX],
        order_ref=_order_ref(subject),
        body=body,
        is_fetched=is_fetched,
    )


def handle_due(limit: int = 100) -> int:
    """Bring up to date all orders and accounts that unhandled events are about. Returns how many.

    Several events of one order cost one fetch. Safe beside other workers: each event is taken by
    one of them, for a while.
    """
    taken = _take(limit)
    events_of: dict[Subject, list[str]] = defaultdict(list)
    for event_id, subject in taken:
        events_of[subject].append(event_id)
    for subject, ids in events_of.items():
        try:
            _follow(subject)
        except sync.AskedJustNow as soon:
            # Those that come meanwhile are handled with these.
            with system("handle events of Stripe's a little later"):
                StripeEvent.objects.filter(pk__in=ids).update(next_attempt_at=soon.again_at)
        except Exception as error:
            logger.exception("could not handle %s", ", ".join(ids))
            _fail(ids, error)
        else:
            with system("mark events of Stripe's as handled"):
                StripeEvent.objects.filter(pk__in=ids).update(
                    handled_at=timezone.now(),
                    next_attempt_at=None,
                    last_error="",
                    is_foreign=subject.is_foreign,
                )
    return len(taken)


def _follow(subject: Subject) -> None:
    """Fetch what an event is about. What is not ours is left alone."""
    order = subject.order
    if order is None and subject.named is not None:
        payment = stripe_gateway.payment_of(*subject.named)
        if payment:
            with system("find the order of a payment"):
                order = (
                    Order.objects.filter(
                        Q(payment_intent=payment)
                        | Q(parts__payment_intent=payment)
                        | Q(invoice__stripe_id=payment)
                    )
                    .values_list("pk", flat=True)
                    .first()
                )
    if order is not None:
        sync.sync_order(order)
    elif subject.account is not None:
        connect.sync_account(subject.account)


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
        # PostgreSQL keeps no half of a surrogate pair, and no NaN.
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
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


def _about(body: dict[str, Any]) -> dict[str, Any]:
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


def _take(limit: int) -> list[tuple[str, Subject]]:
    """Take due events for a while, so that no second worker handles them; find what they name.

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
        return [(event.pk, _subject_of(event)) for event in events]


# What Stripe calls things that belong to a payment, by what the type of an event begins with. Only
# a fetch tells to which: the event names the thing alone.
_OF_A_PAYMENT = {
    "charge.dispute": "dispute",
    "charge.refund": "refund",
    "charge.updated": "charge",
    "refund": "refund",
    "invoice_payment": "invoice_payment",
    "credit_note": "credit_note",
}


def _subject_of(event: StripeEvent) -> Subject:
    account = ConnectedAccount.objects.filter(livemode=event.livemode)
    if event.account or event.type.startswith("v2.core.account"):
        # What happens in another account is about no order, whatever it says: buyers pay us. Of a
        # connected one of ours, how it stands is fetched.
        named = [each for each in (event.object_id, event.account) if each]
        found = account.filter(stripe_id__in=named).values_list("pk", flat=True).first()
        return Subject(account=found, is_foreign=found is None)
    order = _order_of(event)
    if order is not None or not event.object_id:
        return Subject(order=order)
    type = event.type.removeprefix("v1.")
    for prefix, kind in _OF_A_PAYMENT.items():
        if type.startswith(prefix):
            return Subject(named=(kind, event.object_id))
    return Subject()


def _order_of(event: StripeEvent) -> UUID | None:
    """The order that an event names; None for what is not ours, such as another product's."""
    orders = Order.objects.filter(livemode=event.livemode)
    try:
        named = Order._meta.pk.to_python(event.order_ref) if event.order_ref else None
    except ValidationError:
        named = None
    about = Q(pk=named) if named is not None else Q()
    if event.object_id:
        about |= (
            Q(checkout_session=event.object_id)
            | Q(payment_intent=event.object_id)
            | Q(charge=event.object_id)
            | Q(parts__payment_intent=event.object_id)
            | Q(parts__charge=event.object_id)
            | Q(disputes__stripe_id=event.object_id)
            | Q(refunds__stripe_id=event.object_id)
            | Q(invoice__stripe_id=event.object_id)
        )
    # A dispute, and a refund that somebody made at Stripe, name no order of ours.
    subject = _about(event.body)
    for name in ("payment_intent", "charge"):
        if isinstance(subject.get(name), str):
            about |= Q(**{name: subject[name]}) | Q(**{f"parts__{name}": subject[name]})
    return orders.filter(about).values_list("pk", flat=True).first() if about else None


def _fail(ids: list[str], error: Exception) -> None:
    with system("keep why events of Stripe's could not be handled"):
        for event in StripeEvent.objects.filter(pk__in=ids):
            wait = min(2 ** min(event.attempts, 16), RETRY_SECONDS_MAX)
            event.next_attempt_at = timezone.now() + timedelta(seconds=wait)
            event.last_error = f"{type(error).__name__}: {error}"[:1000]
            event.save(update_fields=["next_attempt_at", "last_error"])
