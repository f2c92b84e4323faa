"""Deliveries: each event's way to each endpoint that wants it. The worker's.

At least once: an attempt whose answer was lost is made again, with the same `webhook-id`.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event as Signal
from threading import Lock
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import (
    audit,
    events,
    invitations,
    preferences,
    seals,
    webhook_http,
    webhook_secrets,
    webhooks,
)
from marketplace.access import Caller, system
from marketplace.errors import MailUnavailable
from marketplace.models import (
    Event,
    Membership,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)

logger = logging.getLogger(__name__)

State = WebhookDelivery.State
# Seconds from each failed attempt to the next: about three days in all. After the last one the
# delivery has failed.
SCHEDULE_SECONDS = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
# A wait is drawn out by up to so much: what failed together does not come back together.
JITTER = 0.25
# For how long an endpoint may ask us to keep away (Retry-After).
RETRY_AFTER_MAX = timedelta(days=1)
# An attempt that began so long ago and left no row died; it is made again.
LEASE = timedelta(seconds=90)
# However much waits for it, an endpoint that fails is asked less and less, up to this.
REST_SECONDS_MAX = 600
# One that took nothing for so long is disabled.
FAILING_DAYS = 5
# What has ended is kept so long.
KEPT_DAYS = webhooks.KEPT_DAYS
# How many endpoints are sent to at once, at most so many of one organization; those that failed
# last time use at most half: who is slow and dead waits for who is slow and dead.
SLOTS = 16
SLOTS_OF_ORGANIZATION = 4
SLOTS_OF_FAILING = SLOTS // 2
# Deliveries to one endpoint in a row, before others have their turn.
_IN_A_ROW = 50
_SWEPT_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Claimed:
    """One attempt that was begun: all that it takes to make it, outside any transaction."""

    delivery: UUID
    endpoint: UUID
    organization: UUID
    number: int
    url: str
    event: str
    body: bytes
    secrets: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt."""

    started_at: datetime
    duration_ms: int
    answer: webhook_http.Answer | None
    error: str

    @property
    def is_taken(self) -> bool:
        """Whether the endpoint took it: any 2xx, and nothing else."""
        return self.answer is not None and 200 <= self.answer.status < 300


def queue_new() -> int:
    """Give events that committed their places, and each endpoint that wants one its delivery."""
    total = 0
    while True:
        with system("give events their places, and queue their deliveries"):
            fresh = events.give_positions()
            _queue(fresh)
        total += len(fresh)
        if len(fresh) < events.BATCH:
            return total


def deliver_due() -> int:
    """Send what is due, one endpoint after the other, until nothing is. How many were taken."""
    taken = 0
    while True:
        due = _due_endpoints(limit=100)
        more = sum(_deliver_to(endpoint) for endpoint, _organization, _fails in due)
        if not more:
            # Whoever failed rests.
            return taken
        taken += more


class Deliverer:
    """Sends what is due to several endpoints at once, for as long as its process lives.

    A round starts what there is room for and waits for nothing: a slow endpoint holds one of the
    slots, and nobody else's deliveries.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._closing = Signal()
        self._lock = Lock()
        # Endpoints that are being sent to: of which organization, and whether they failed before.
        self._busy: dict[UUID, tuple[UUID, bool]] = {}

    def run_once(self) -> int:
        """Start sending to endpoints that have something due. How many."""
        started = 0
        with self._lock:
            busy = list(self._busy)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(SLOTS, thread_name_prefix="webhooks")
        if len(busy) >= SLOTS:
            return 0
        for endpoint, organization, fails in _due_endpoints(limit=100, but=busy):
            with self._lock:
                if not self._has_room(organization, fails=fails):
                    continue
                self._busy[endpoint] = organization, fails
            self._pool.submit(self._deliver, endpoint)
            started += 1
        return started

    def close(self) -> None:
        """Wait for the attempts that are under way; begin nothing more."""
        self._closing.set()
        if self._pool is not None:
            self._pool.shutdown(wait=True)

    def _has_room(self, organization: UUID, *, fails: bool) -> bool:
        busy = self._busy.values()
        return (
            len(busy) < SLOTS
            and sum(each == organization for each, _fails in busy) < SLOTS_OF_ORGANIZATION
            and (not fails or sum(fails for _each, fails in busy) < SLOTS_OF_FAILING)
        )

    def _deliver(self, endpoint: UUID) -> None:
        try:
            _deliver_to(endpoint, self._closing)
        except Exception:
            # The edge of a retry loop: what was begun is due again when its lease is over.
            logger.exception("could not deliver to %s", endpoint)
        finally:
            connection.close()
            with self._lock:
                del self._busy[endpoint]


def sweep() -> int:
    """Delete deliveries that ended some weeks ago, with their attempts. How many.

    Their events stay. The worker's; repeatable.
    """
    swept = 0
    before = timezone.now() - timedelta(days=KEPT_DAYS)
    while True:
        with system("sweep deliveries of webhooks that are over"):
            old = WebhookDelivery.objects.filter(ended_at__lt=before).order_by("ended_at")
            ids = list(
                old.select_for_update(skip_locked=True).values_list("pk", flat=True)[
                    :_SWEPT_AT_ONCE
                ]
            )
            WebhookAttempt.objects.filter(delivery__in=ids).delete()
            WebhookDelivery.objects.filter(pk__in=ids).delete()
        swept += len(ids)
        if len(ids) < _SWEPT_AT_ONCE:
            return swept


def payload(event: Event) -> dict[str, Any]:
    """An event as `GET /v1/events` shows it, with the `timestamp` of Standard Webhooks."""
    at = event.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return {
        "object": "event",
        "id": str(event.pk),
        "livemode": event.livemode,
        "type": event.type,
        "timestamp": at,
        "created_at": at,
        "data": event.data,
    }


def body(event: Event) -> bytes:
    """What is sent of an event: the same bytes in each attempt."""
    return json.dumps(payload(event), separators=(",", ":"), ensure_ascii=False).encode()


# --- queueing ---------------------------------------------------------------------------------


def _queue(fresh: Sequence[Event]) -> None:
    if not fresh:
        return
    # Locked: whoever disables one cancels what is on its way, which this is not yet.
    endpoints = list(
        WebhookEndpoint.objects.filter(
            organization__in={event.organization_id for event in fresh}, disabled_at__isnull=True
        )
        .select_for_update(of=("self",), no_key=True)
        .order_by("pk")
    )
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(
            organization_id=event.organization_id,
            livemode=event.livemode,
            endpoint=endpoint,
            event=event,
        )
        for event in fresh
        for endpoint in endpoints
        if _wants(endpoint, event)
    )


def _wants(endpoint: WebhookEndpoint, event: Event) -> bool:
    if (endpoint.organization_id, endpoint.livemode) != (event.organization_id, event.livemode):
        return False
    if event.type == webhooks.TESTED:
        return bool(event.data["webhook_endpoint"] == str(endpoint.pk))
    return not endpoint.types or event.type in endpoint.types


# --- sending ----------------------------------------------------------------------------------


def _due_endpoints(*, limit: int, but: Sequence[UUID] = ()) -> list[tuple[UUID, UUID, bool]]:
    """Endpoints that have something due: id, organization, whether they failed last time.

    In any order: the same ones first each time would starve the others.
    """
    now = timezone.now()
    due = WebhookDelivery.objects.filter(endpoint=OuterRef("pk"), next_attempt_at__lte=now)
    with system("find endpoints that have deliveries due"):
        return [
            (endpoint, organization, failures > 0)
            for endpoint, organization, failures in WebhookEndpoint.objects.filter(
                Q(rests_until__isnull=True) | Q(rests_until__lte=now),
                Exists(due),
                disabled_at__isnull=True,
            )
            .exclude(pk__in=but)
            .order_by("?")
            .values_list("pk", "organization_id", "failures")[:limit]
        ]


def _deliver_to(endpoint: UUID, closing: Signal | None = None) -> int:
    """Send an endpoint what is due to it, until one attempt fails. How many were taken."""
    taken = 0
    for _turn in range(_IN_A_ROW):
        claimed = None if closing is not None and closing.is_set() else _claim(endpoint)
        if claimed is None:
            break
        # A connection to the database is not held while somebody else's server thinks.
        _release()
        outcome = _attempt(claimed)
        if not _keep(claimed, outcome):
            break
        taken += 1
    return taken


def _release() -> None:
    if not connection.in_atomic_block:
        connection.close()


def _claim(endpoint_id: UUID) -> Claimed | None:
    """Begin the attempt that is due first. It is due again when its lease is over."""
    now = timezone.now()
    with system("begin a delivery to a webhook's endpoint"):
        endpoint = (
            WebhookEndpoint.objects.select_for_update(skip_locked=True)
            .filter(Q(rests_until__isnull=True) | Q(rests_until__lte=now), pk=endpoint_id)
            .filter(disabled_at__isnull=True)
            .first()
        )
        if endpoint is None:
            return None
        delivery = (
            WebhookDelivery.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("event")
            .filter(endpoint=endpoint, next_attempt_at__lte=now)
            .order_by("next_attempt_at", "pk")
            .first()
        )
        if delivery is None:
            return None
        delivery.attempts += 1
        delivery.next_attempt_at = now + LEASE
        delivery.save(update_fields=["attempts", "next_attempt_at"])
        return Claimed(
            delivery=delivery.pk,
            endpoint=endpoint.pk,
            organization=endpoint.organization_id,
            number=delivery.attempts,
            url=endpoint.url,
            event=str(delivery.event.pk),
            body=body(delivery.event),
            secrets=_secrets(endpoint, now),
        )


def _secrets(endpoint: WebhookEndpoint, now: datetime) -> tuple[bytes, ...]:
    """Those that sign now, the newest first. None where they cannot be opened."""
    sealed = [endpoint.secret]
    ends = endpoint.previous_secret_ends_at
    if endpoint.previous_secret is not None and ends is not None and ends > now:
        sealed.append(endpoint.previous_secret)
    try:
        return tuple(webhook_secrets.opened(each) for each in sealed)
    except seals.SealBroken:
        logger.error("the secret of %s cannot be opened: LICET_SECRET_KEY", endpoint.pk)
        return ()


def _attempt(claimed: Claimed) -> Outcome:
    """Make one attempt, outside any transaction."""
    started_at, begun = timezone.now(), time.monotonic()
    answer, error = None, ""
    with preferences.viewing(preferences.NOBODY):
        try:
            if not claimed.secrets:
                raise webhook_http.Unreachable(_("The market cannot sign: rotate the secret."))
            timestamp = int(started_at.timestamp())
            signature = webhook_secrets.signatures(
                claimed.secrets, id=claimed.event, timestamp=timestamp, body=claimed.body
            )
            headers = {
                "Content-Type": "application/json; charset=utf-8",
                "User-Agent": "Licet-Webhooks/1",
                "webhook-id": claimed.event,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": signature,
            }
            answer = webhook_http.post(claimed.url, headers, claimed.body)
        except webhook_http.Unreachable as failure:
            error = str(failure)[:300]
    return Outcome(started_at, int((time.monotonic() - begun) * 1000), answer, error)


# --- what came of it --------------------------------------------------------------------------


def _keep(claimed: Claimed, outcome: Outcome) -> bool:
    """Keep an attempt, and move its delivery and its endpoint. Whether it was taken."""
    with system("keep what came of a delivery"):
        endpoint = WebhookEndpoint.objects.select_for_update().get(pk=claimed.endpoint)
        delivery = WebhookDelivery.objects.select_for_update().get(pk=claimed.delivery)
        answer = outcome.answer
        WebhookAttempt(
            organization_id=claimed.organization,
            delivery=delivery,
            number=claimed.number,
            started_at=outcome.started_at,
            duration_ms=outcome.duration_ms,
            status=None if answer is None else answer.status,
            error=outcome.error,
            answer="" if answer is None else _text(answer.body),
        ).save(force_insert=True)
        disabled_because = ""
        if outcome.is_taken:
            _taken(delivery, endpoint)
        else:
            disabled_because = _failed(claimed, delivery, endpoint, answer)
            if disabled_because:
                _disable(endpoint, disabled_because)
    if disabled_because:
        _tell_owners(endpoint)
    return outcome.is_taken


def _text(body: bytes) -> str:
    # PostgreSQL keeps no null character.
    return body.decode(errors="replace").replace("\x00", "\ufffd")[: webhook_http.ANSWER_LENGTH_MAX]


def _taken(delivery: WebhookDelivery, endpoint: WebhookEndpoint) -> None:
    delivery.state, delivery.ended_at = State.DELIVERED, timezone.now()
    delivery.next_attempt_at = None
    delivery.save(update_fields=["state", "ended_at", "next_attempt_at"])
    if endpoint.failures or endpoint.rests_until is not None:
        endpoint.failures, endpoint.failing_since, endpoint.rests_until = 0, None, None
        endpoint.save(update_fields=["failures", "failing_since", "rests_until"])


def _failed(
    claimed: Claimed,
    delivery: WebhookDelivery,
    endpoint: WebhookEndpoint,
    answer: webhook_http.Answer | None,
) -> str:
    """Plan the next attempt, or give up. Why the endpoint is to be disabled: "" where it is not."""
    now = timezone.now()
    asked = timedelta(seconds=(answer.retry_after_seconds or 0) if answer is not None else 0)
    asked = min(asked, RETRY_AFTER_MAX)
    made = claimed.number - delivery.attempts_before
    # Where somebody asked for it anew meanwhile, or this attempt was taken for dead, a later one
    # decides.
    if delivery.state == State.PENDING and delivery.attempts == claimed.number and made > 0:
        if made > len(SCHEDULE_SECONDS):
            delivery.state, delivery.ended_at = State.FAILED, now
            delivery.next_attempt_at = None
        else:
            wait = _drawn_out(SCHEDULE_SECONDS[made - 1])
            delivery.next_attempt_at = now + max(wait, asked)
        delivery.save(update_fields=["state", "ended_at", "next_attempt_at"])
    endpoint.failures += 1
    endpoint.failing_since = endpoint.failing_since or now
    rest = _drawn_out(min(2 ** min(endpoint.failures, 16), REST_SECONDS_MAX))
    endpoint.rests_until = now + max(rest, asked)
    endpoint.save(update_fields=["failures", "failing_since", "rests_until"])
    if endpoint.disabled_at is not None:
        return ""
    if answer is not None and answer.status == 410:
        return webhooks.Because.GONE
    if now - endpoint.failing_since > timedelta(days=FAILING_DAYS):
        return webhooks.Because.FAILING
    return ""


def _drawn_out(seconds: float) -> timedelta:
    return timedelta(seconds=seconds * random.uniform(1, 1 + JITTER))


def _disable(endpoint: WebhookEndpoint, because: str) -> None:
    webhooks.disable(endpoint, because)
    market = Caller(endpoint.organization, livemode=endpoint.livemode, scopes=frozenset())
    audit.record(market, "webhook_endpoint.disabled", subject=endpoint, because=because)
    events.record(
        "webhook_endpoint.disabled",
        to=[endpoint.organization_id],
        livemode=endpoint.livemode,
        subject=endpoint,
        because=because,
    )


def _tell_owners(endpoint: WebhookEndpoint) -> None:
    """Mail the owners of an endpoint that was disabled. A mail that fails undoes nothing."""
    with system("find the owners of a webhook's endpoint"):
        owners = Membership.objects.filter(
            organization=endpoint.organization_id, role=Membership.Role.OWNER
        )
        addresses = list(owners.values_list("user__email", flat=True))
    for address in addresses:
        try:
            with preferences.viewing(preferences.NOBODY), preferences.writing_to(address):
                invitations.send_mail(_("A webhook was disabled"), _letter(endpoint), address)
        except MailUnavailable:
            logger.warning("the owners of %s were not told that it is disabled", endpoint.pk)


def _letter(endpoint: WebhookEndpoint) -> str:
    if endpoint.disabled_because == webhooks.Because.GONE:
        why = _("It answered that it is gone (410).")
    else:
        why = _("It took nothing for %(days)s days.") % {"days": FAILING_DAYS}
    return "\n\n".join(
        [
            _("Nothing is sent to %(url)s any more (%(id)s).")
            % {"url": endpoint.url, "id": endpoint.pk},
            why,
            _(
                "Your events are kept: read them with GET /v1/events, or enable the endpoint again"
                " with POST /v1/webhook-endpoints/%(id)s at %(market)s, and have it sent what it"
                " missed with POST /v1/webhook-endpoints/%(id)s/replay."
            )
            % {"id": endpoint.pk, "market": settings.BASE_URL},
        ]
    )
