"""Webhook endpoints: where an organization has its events sent, and what they are signed with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit, events, idempotency, seals, webhook_http, webhook_secrets
from marketplace.access import Caller, acting, system
from marketplace.errors import (
    InternalError,
    InvalidInput,
    TooManyWebhookEndpoints,
    WebhookEndpointDisabled,
    WebhookSecretOverlaps,
)
from marketplace.models import Audit, Event, WebhookDelivery, WebhookEndpoint
from marketplace.typeid import first_at

Because = WebhookEndpoint.Because
State = WebhookDelivery.State
# Of one organization and mode, that are not disabled.
ENDPOINTS_MAX = 20
# How long the secret before a rotation goes on signing, unless told otherwise.
OVERLAP_SECONDS = 24 * 3600
OVERLAP_SECONDS_MAX = 7 * 24 * 3600
TESTED = "webhook_endpoint.tested"
# Deliveries are kept so long after their end: before that, nobody knows any more what was taken.
KEPT_DAYS = 30
# Deliveries that one request has sent again.
REPLAYED_AT_ONCE = 5_000
# Of an event that happened while the endpoint was disabled, or wanted other types.
MISSED = "missed"
# What a replay may be asked for. Without a word: all but what was delivered.
REPLAYABLE = (State.FAILED.value, State.CANCELED.value, MISSED, State.DELIVERED.value)
# An event's id is made within its transaction, a moment from the instant that it says.
_ID_SLACK = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one request had sent again. `next_since`: from where to ask for the rest, if any is."""

    endpoint: str
    since: datetime
    until: datetime
    state: str
    deliveries: int
    next_since: datetime | None


def create(
    caller: Caller, *, url: str, types: Sequence[str] = (), description: str = ""
) -> tuple[WebhookEndpoint, str]:
    """Have the caller's events of its mode sent to an address. Returns it with its secret, once.

    Only events of `types`, or of every type. Raises InvalidInput, TooManyWebhookEndpoints.
    """
    _check_url(url)
    wanted = events.check_types(types)
    sealed = webhook_secrets.new()
    with acting(caller):
        _check_room(caller)
        endpoint = WebhookEndpoint(
            organization=caller.organization,
            livemode=caller.livemode,
            url=url,
            types=wanted,
            description=description.strip(),
            secret=sealed,
        )
        endpoint.save(force_insert=True)
        audit.record(caller, "webhook_endpoint.created", subject=endpoint, url=url, types=wanted)
        idempotency.names(caller, endpoint)
    return endpoint, webhook_secrets.shown(webhook_secrets.opened(sealed))


def change(
    caller: Caller,
    id: Any,
    *,
    url: str | None = None,
    types: Sequence[str] | None = None,
    description: str | None = None,
    disabled: bool | None = None,
) -> WebhookEndpoint:
    """Change an endpoint; what is left out stays. Disabled, it is sent nothing.

    What was on its way to a disabled endpoint is canceled; that, and what happens meanwhile, is
    sent by `replay_since` alone. Raises NotFound, InvalidInput, TooManyWebhookEndpoints.
    """
    if url is not None:
        _check_url(url)
    wanted = None if types is None else events.check_types(types)
    with acting(caller):
        endpoint = WebhookEndpoint.objects.get_visible(caller, id, lock=True)
        changed = _set(endpoint, url=url, types=wanted, description=description)
        if changed:
            endpoint.save(update_fields=changed)
            audit.record(
                caller, "webhook_endpoint.changed", subject=endpoint, url=endpoint.url,
                types=endpoint.types, changed=changed,
            )  # fmt: skip
        if disabled is True and endpoint.disabled_at is None:
            disable(endpoint, Because.OWNER)
            audit.record(caller, "webhook_endpoint.disabled", subject=endpoint)
        elif disabled is False and endpoint.disabled_at is not None:
            _check_room(caller)
            _enable(endpoint)
            audit.record(caller, "webhook_endpoint.enabled", subject=endpoint)
        idempotency.names(caller, endpoint)
    return endpoint


def rotate_secret(
    caller: Caller, id: Any, *, overlap_seconds: int = OVERLAP_SECONDS
) -> tuple[WebhookEndpoint, str]:
    """Give an endpoint another secret. Returns it with that, once; both sign for the overlap.

    Without an overlap every earlier secret ends now. Raises NotFound, InvalidInput,
    WebhookSecretOverlaps while one from before still signs.
    """
    if not 0 <= overlap_seconds <= OVERLAP_SECONDS_MAX:
        raise InvalidInput(
            _("Use 0 to %(max)s seconds.") % {"max": OVERLAP_SECONDS_MAX}, param="overlap_seconds"
        )
    with acting(caller):
        endpoint = WebhookEndpoint.objects.get_visible(caller, id, lock=True)
        now = timezone.now()
        ends = endpoint.previous_secret_ends_at
        if overlap_seconds and ends is not None and ends > now:
            raise WebhookSecretOverlaps(
                _("The secret before this one signs until then. End it with overlap_seconds 0."),
                previous_secret_ends_at=ends.isoformat(),
            )
        endpoint.previous_secret = endpoint.secret if overlap_seconds else None
        endpoint.previous_secret_ends_at = (
            now + timedelta(seconds=overlap_seconds) if overlap_seconds else None
        )
        endpoint.secret = webhook_secrets.new()
        endpoint.save(update_fields=["secret", "previous_secret", "previous_secret_ends_at"])
        audit.record(
            caller,
            "webhook_endpoint.secret_rotated",
            subject=endpoint,
            overlap_seconds=overlap_seconds,
        )
        idempotency.names(caller, endpoint)
    return endpoint, webhook_secrets.shown(webhook_secrets.opened(endpoint.secret))


def test(caller: Caller, id: Any) -> Event:
    """Send an endpoint an event that says nothing else, as every event is sent: by the worker.

    Raises NotFound, WebhookEndpointDisabled.
    """
    with acting(caller):
        endpoint = WebhookEndpoint.objects.get_visible(caller, id, lock=True)
        _check_enabled(endpoint)
        [event] = events.record(
            TESTED, to=[caller.organization.pk], livemode=caller.livemode, subject=endpoint
        )
        audit.record(caller, "webhook_endpoint.tested", subject=endpoint)
        idempotency.names(caller, event)
    return event


def replay(caller: Caller, id: Any) -> WebhookDelivery:
    """Send a delivery again now, and by its whole schedule, whatever became of it.

    With the same `webhook-id`. Repeating it before it was sent changes nothing. Raises NotFound,
    WebhookEndpointDisabled.
    """
    with acting(caller):
        # The endpoint first, as everywhere: in two orders, two rows deadlock.
        found = WebhookDelivery.objects.get_visible(caller, id)
        endpoint = WebhookEndpoint.objects.select_for_update().get(pk=found.endpoint_id)
        _check_enabled(endpoint)
        delivery = WebhookDelivery.objects.get_visible(caller, id, lock=True)
        delivery.state, delivery.ended_at = State.PENDING, None
        delivery.attempts_before = delivery.attempts
        delivery.next_attempt_at = timezone.now()
        delivery.save(update_fields=["state", "ended_at", "attempts_before", "next_attempt_at"])
        # Whoever asks knows that it listens again.
        endpoint.rests_until = None
        endpoint.save(update_fields=["rests_until"])
        audit.record(caller, "webhook_delivery.replayed", subject=delivery)
        idempotency.names(caller, delivery)
    return delivery


def replay_since(
    caller: Caller, id: Any, *, since: datetime, until: datetime | None = None, state: str = ""
) -> Audit:
    """Send an endpoint again what happened since an instant, and until another (by default, now).

    What failed or was canceled, and what it wants and was never sent; or what is of one `state` of
    REPLAYABLE; the oldest REPLAYED_AT_ONCE of it. What is on its way stays so: repeating it before
    it was sent changes nothing. Returns its record in the audit, for `replayed`. Raises NotFound,
    InvalidInput, WebhookEndpointDisabled.
    """
    now = timezone.now()
    # Nothing has happened behind it.
    until = now if until is None else min(until, now)
    _check_window(since, until, state, now)
    with acting(caller):
        # Whoever queues new events waits for it: what has no delivery now was not to have one.
        endpoint = WebhookEndpoint.objects.get_visible(caller, id, lock=True)
        _check_enabled(endpoint)
        rows = list(_to_replay(endpoint, since, until, state)[: REPLAYED_AT_ONCE + 1])
        rows, rest = rows[:REPLAYED_AT_ONCE], rows[REPLAYED_AT_ONCE:]
        _make_due(endpoint, rows)
        row = audit.record(
            caller,
            "webhook_endpoint.replayed",
            subject=endpoint,
            since=since.isoformat(),
            until=until.isoformat(),
            state=state,
            deliveries=len(rows),
            next_since=rest[0].created_at.isoformat() if rest else None,
        )
        idempotency.names(caller, row)
    return row


def replayed(row: Audit) -> Replayed:
    """What a `replay_since` did, from its record."""
    data, rest = row.data, row.data["next_since"]
    return Replayed(
        endpoint=row.subject,
        since=datetime.fromisoformat(data["since"]),
        until=datetime.fromisoformat(data["until"]),
        state=data["state"],
        deliveries=data["deliveries"],
        next_since=None if rest is None else datetime.fromisoformat(rest),
    )


def deliveries(caller: Caller, id: Any, *, state: str = "") -> QuerySet[WebhookDelivery]:
    """What was, and is to be, sent to an endpoint; of one state, if named.

    Raises NotFound, InvalidInput.
    """
    endpoint = WebhookEndpoint.objects.get_visible(caller, id)
    rows = WebhookDelivery.objects.visible_to(caller).filter(endpoint=endpoint)
    if not state:
        return rows
    _check_state(state, State.values)
    return rows.filter(state=state)


def public_key(endpoint: WebhookEndpoint) -> str:
    """What verifies an endpoint's Ed25519 signatures, at any time."""
    try:
        return webhook_secrets.public_key(webhook_secrets.opened(endpoint.secret))
    except seals.SealBroken:
        raise InternalError(
            _("The secret cannot be opened: LICET_SECRET_KEY was changed. Rotate it.")
        ) from None


def disable(endpoint: WebhookEndpoint, because: str) -> None:
    """Send a locked endpoint nothing more, and cancel what was on its way."""
    now = timezone.now()
    endpoint.disabled_at, endpoint.disabled_because = now, because
    endpoint.save(update_fields=["disabled_at", "disabled_because"])
    WebhookDelivery.objects.filter(endpoint=endpoint, state=State.PENDING).update(
        state=State.CANCELED, next_attempt_at=None, ended_at=now
    )


def reseal_all() -> int:
    """Seal every secret with today's LICET_SECRET_KEY. How many. Raises SealBroken."""
    count = 0
    with system("seal the secrets of all webhooks anew"):
        for endpoint in WebhookEndpoint.objects.select_for_update().order_by("pk"):
            for name in ("secret", "previous_secret"):
                sealed = getattr(endpoint, name)
                anew = None if sealed is None else webhook_secrets.resealed(sealed)
                if anew is not None:
                    setattr(endpoint, name, anew)
                    endpoint.save(update_fields=[name])
                    count += 1
    return count


def _set(endpoint: WebhookEndpoint, **wanted: Any) -> list[str]:
    """Take over what is given and differs. The names of what does."""
    changed = [
        name
        for name, value in wanted.items()
        if value is not None and getattr(endpoint, name) != value
    ]
    for name in changed:
        setattr(endpoint, name, wanted[name])
    return changed


def _enable(endpoint: WebhookEndpoint) -> None:
    endpoint.disabled_at, endpoint.disabled_because = None, ""
    endpoint.failures, endpoint.failing_since, endpoint.rests_until = 0, None, None
    endpoint.save(
        update_fields=[
            "disabled_at", "disabled_because", "failures", "failing_since", "rests_until",
        ]
    )  # fmt: skip


def _check_window(since: datetime, until: datetime, state: str, now: datetime) -> None:
    if since < now - timedelta(days=KEPT_DAYS):
        raise InvalidInput(
            _("Deliveries are kept for %(days)s days: read the feed of events for what is older.")
            % {"days": KEPT_DAYS},
            param="since",
        )
    if since >= now:
        raise InvalidInput(_("Give an instant that is over."), param="since")
    if until <= since:
        raise InvalidInput(_("Give an instant after `since`."), param="until")
    if state:
        _check_state(state, REPLAYABLE)


def _check_state(state: str, known: Sequence[str]) -> None:
    if state not in known:
        raise InvalidInput(_("Use: %(known)s.") % {"known": ", ".join(known)}, param="state")


def _to_replay(
    endpoint: WebhookEndpoint, since: datetime, until: datetime, state: str
) -> QuerySet[Any]:
    """Events of a window that an endpoint is to be sent, oldest first, each with its delivery."""
    theirs = WebhookDelivery.objects.filter(endpoint=endpoint, event=OuterRef("pk"))
    rows = Event.objects.filter(
        organization=endpoint.organization_id,
        livemode=endpoint.livemode,
        created_at__gte=since,
        created_at__lt=until,
        # Says the same as the two above, roughly, and has an index.
        pk__gte=first_at("evt", since - _ID_SLACK),
        pk__lt=first_at("evt", until + _ID_SLACK),
        # One without its place has its delivery yet to come.
        position__isnull=False,
    ).annotate(
        delivery=Subquery(theirs.values("pk")), delivery_state=Subquery(theirs.values("state"))
    )
    wants = Q() if not endpoint.types else Q(type__in=endpoint.types)
    # A test is for one endpoint, whatever types it wants.
    wants = Q(wants, ~Q(type=TESTED)) | Q(type=TESTED, data__webhook_endpoint=str(endpoint.pk))
    missed = Q(wants, delivery_state__isnull=True)
    if state == MISSED:
        rows = rows.filter(missed)
    elif state:
        rows = rows.filter(delivery_state=state)
    else:
        rows = rows.filter(missed | Q(delivery_state__in=[State.FAILED, State.CANCELED]))
    return rows.order_by("created_at", "pk")


def _make_due(endpoint: WebhookEndpoint, rows: Sequence[Any]) -> None:
    """Have the deliveries of events pending and due now; and made, where there are none."""
    if not rows:
        return
    now = timezone.now()
    again = [event.delivery for event in rows if event.delivery is not None]
    WebhookDelivery.objects.filter(pk__in=again).update(
        state=State.PENDING, ended_at=None, attempts_before=F("attempts"), next_attempt_at=now
    )
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(
            organization_id=endpoint.organization_id,
            livemode=endpoint.livemode,
            endpoint=endpoint,
            event_id=event.pk,
            next_attempt_at=now,
        )
        for event in rows
        if event.delivery is None
    )
    # Whoever asks knows that it listens again.
    endpoint.rests_until = None
    endpoint.save(update_fields=["rests_until"])


def _check_url(url: str) -> None:
    try:
        webhook_http.parse(url)
    except webhook_http.UrlRefused as refusal:
        raise InvalidInput(str(refusal), param="url") from None


def _check_room(caller: Caller) -> None:
    with connection.cursor() as cursor:
        # Two that come together would each find room.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('webhooks of ' || %s, 0))",
            [str(caller.organization.pk)],
        )
    rows = WebhookEndpoint.objects.visible_to(caller).filter(disabled_at__isnull=True)
    if rows.count() >= ENDPOINTS_MAX:
        raise TooManyWebhookEndpoints(
            _("An organization has at most %(max)s endpoints. Disable one first.")
            % {"max": ENDPOINTS_MAX},
            endpoints_max=ENDPOINTS_MAX,
        )


def _check_enabled(endpoint: WebhookEndpoint) -> None:
    if endpoint.disabled_at is not None:
        raise WebhookEndpointDisabled(
            _("This endpoint is disabled. Enable it first: send disabled false."),
            endpoint=str(endpoint.pk),
        )
