"""A grant's life after its issue: suspended, reinstated, revoked, expired; each recorded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import chains, scope_claims, windows
from licensing.ledger import commitments, log
from licensing.models import Grant, GrantEvent, LedgerEntry, Period
from marketplace import access, audit, events
from marketplace.access import Caller, acting
from marketplace.errors import GrantWrongState, InvalidInput, MissingScope, NotFound
from marketplace.models import User

Kind = GrantEvent.Kind
Effect = GrantEvent.Effect
STATUS = GrantEvent.STATUS

# By what was recorded last of a grant (None: nothing since its issue), what may come next. The same
# again is for who wants it sooner.
TRANSITIONS: dict[str | None, frozenset[str]] = {
    None: frozenset({Kind.SUSPENDED, Kind.REVOKED}),
    Kind.SUSPENDED: frozenset({Kind.SUSPENDED, Kind.REINSTATED, Kind.REVOKED}),
    Kind.REINSTATED: frozenset({Kind.SUSPENDED, Kind.REINSTATED, Kind.REVOKED}),
    Kind.REVOKED: frozenset({Kind.REVOKED}),
    Kind.EXPIRED: frozenset(),
}

_ENDED = frozenset({Grant.Status.REVOKED, Grant.Status.EXPIRED})

# What a licensee can be told to do, within so many days of the event's effect.
DUTIES = frozenset(
    {"stop_training", "stop_use", "purge_copies", "suppress_outputs", "retrain", "certify_deletion"}
)
REASON_LENGTH_MAX = 1000
_DUTIES_MAX = 20
_DAYS_MAX = 36_500
# Grants that one transaction expires, or carries announced events out for.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody does to a grant, and why."""

    # `GrantEvent.By` and `GrantEvent.Cause`.
    by: str
    cause: str
    # For the parties; who else sees the entry sees none of it.
    reason: str
    # What shows the cause, such as the id of an order.
    reference: str = ""
    # None: at once.
    effective_at: datetime | None = None
    # [{"do": one of DUTIES, "within_days": n}]
    duties: Sequence[Mapping[str, Any]] = ()


def suspend(caller: Caller, id: str, act: Act) -> GrantEvent:
    """Stop a grant for a time: nothing is delivered, decisions deny. Its exclusive rights stay.

    The caller is its licensor, for whom an operator or payments act. Repeating it changes nothing,
    unless it asks for an earlier instant. Raises NotFound, GrantWrongState, InvalidInput.
    """
    return _record(caller, id, Kind.SUSPENDED, act)


def reinstate(caller: Caller, id: str, act: Act) -> GrantEvent:
    """End a suspension, or take back one that was announced. As `suspend` otherwise."""
    if act.duties:
        raise InvalidInput(_("A reinstatement makes no duties."), param="duties")
    return _record(caller, id, Kind.REINSTATED, act)


def revoke(caller: Caller, id: str, act: Act, *, effect: str = Effect.PROSPECTIVE) -> GrantEvent:
    """End a grant for good, from an instant on or as if it had never been given.

    Frees its exclusive rights once it is in effect. As `suspend` otherwise.
    """
    return _record(caller, id, Kind.REVOKED, act, effect)


def for_operator(operator: User, id: str) -> Caller:
    """The licensor of any tenant's grant as a caller, for an operator's act.

    The audit and the event name the operator. Raises MissingScope for who is none, NotFound.
    """
    if not operator.is_operator or not operator.is_active:
        raise MissingScope(_("Only an operator of this market acts for a licensor."))
    with access.system("an operator names any tenant's grant"):
        try:
            grant = Grant.objects.select_related("licensor").get(pk=id)
        except (Grant.DoesNotExist, ValidationError):
            raise NotFound(_("There is no grant “%(id)s”.") % {"id": id}) from None
    return Caller(
        organization=grant.licensor, livemode=grant.livemode, scopes=frozenset(), user=operator
    )


def carry_out_due() -> int:
    """Move the grants whose announced events have come into effect. The worker's; repeatable.

    Delivery and decisions do not wait for it: they read the events.
    """
    moved = 0
    now = timezone.now()
    with access.system("carry out what was announced for grants"):
        for grant in _announced(now):
            moved += _carry_out(grant, now)
    return moved


def expire_due() -> int:
    """Record the end of every grant whose windows are all over. The worker's; repeatable."""
    expired = 0
    while batch := _expire_batch(timezone.now()):
        expired += batch
    return expired


# --- recording --------------------------------------------------------------------------------


def _record(caller: Caller, id: str, kind: Kind, act: Act, effect: str = "") -> GrantEvent:
    _check(act, effect if kind == Kind.REVOKED else None)
    with acting(caller):
        grant = chains.lock(caller, id)
        now = timezone.now()
        last = grant.events.order_by("-number").first()
        effective_at = _effective_at(grant, act, effect, now)
        if last is not None and _is_said(last, kind, act, effect, effective_at):
            return last
        if kind not in TRANSITIONS[None if last is None else last.kind]:
            raise _wrong_state(grant, last, kind)
        if effective_at < now and effect != Effect.VOID_FROM_START:
            raise InvalidInput(
                _("That is in the past. Leave it out: it counts from now on."),
                param="effective_at",
            )
        event = GrantEvent(
            **chains.parties(grant),
            grant=grant,
            kind=kind,
            effective_at=effective_at,
            effect=effect,
            by=act.by,
            cause=act.cause,
            reference=act.reference.strip(),
            reason=act.reason.strip(),
            duties=[dict(duty) for duty in act.duties],
            actor=caller.actor,
            created_at=now,
        )
        _append(grant, event)
        _carry_out(grant, now)
        facts: dict[str, Any] = {
            "cause": str(act.cause),
            "effective_at": commitments.timestamp(effective_at),
        }
        audit.record(
            caller,
            {
                Kind.SUSPENDED: "grant.suspended",
                Kind.REINSTATED: "grant.reinstated",
                Kind.REVOKED: "grant.revoked",
            }[kind],
            subject=grant,
            **facts,
        )
        events.record(f"grant.{kind}", **chains.told(grant), **facts)
    return event


def _is_said(last: GrantEvent, kind: str, act: Act, effect: str, effective_at: datetime) -> bool:
    """Whether what was recorded last says all of it."""
    if last.kind != kind:
        return False
    market = GrantEvent.By.MARKET
    if kind == Kind.SUSPENDED and last.by == market and act.by != market:
        # The market ends what it suspended for a payment; the licensor's own suspension stays.
        return False
    return last.effect in (effect, Effect.VOID_FROM_START) and last.effective_at <= effective_at


def _effective_at(grant: Grant, act: Act, effect: str, now: datetime) -> datetime:
    if effect != Effect.VOID_FROM_START:
        return act.effective_at or now
    return min(grant.issued_at, windows.begins(grant.periods.all()))


def _wrong_state(grant: Grant, last: GrantEvent | None, kind: str) -> GrantWrongState:
    if last is None or last.kind == Kind.REINSTATED:
        detail = _("The grant is not suspended.")
    else:
        detail = _("The grant has ended, or will: that is final. A new grant can be issued.")
    return GrantWrongState(detail, grant=str(grant.pk), grant_status=grant.status, step=str(kind))


def _append(grant: Grant, event: GrantEvent) -> None:
    """Record an event in its grant's chain. The fields are published: they never change."""
    [previous] = chains.newest([grant]).values()
    fact = _fact(event, previous)
    event.number = fact.seq
    event.entry = log.append(**{name: getattr(fact, name) for name in fact.__slots__})
    event.save(force_insert=True)


def _fact(event: GrantEvent, previous: LedgerEntry) -> log.Fact:
    grant = event.grant
    values: dict[str, Any] = {}
    effective_at = commitments.timestamp(event.effective_at)
    if event.kind == Kind.EXPIRED:
        values["ended_at"] = effective_at
    else:
        values |= {
            "effective_at": effective_at,
            "by": str(event.by),
            "cause": {"code": str(event.cause), "reference": event.reference or None},
            "reason": event.reason,
        }
    if event.kind == Kind.REVOKED:
        values["effect"] = str(event.effect)
    if event.kind in (Kind.SUSPENDED, Kind.REVOKED):
        values["duties"] = event.duties
    return chains.fact(grant, f"grant.{event.kind}", previous, values, event.created_at)


# --- what is asked ----------------------------------------------------------------------------


def _check(act: Act, effect: str | None) -> None:
    chains.check_by(act.by)
    if act.cause not in GrantEvent.Cause.values:
        raise chains.unknown("cause", GrantEvent.Cause.values)
    if not 0 < len(act.reason.strip()) <= REASON_LENGTH_MAX:
        raise InvalidInput(
            _("Say why, in up to %(max)s characters.") % {"max": REASON_LENGTH_MAX}, param="reason"
        )
    chains.check_reference(act.reference, needed=False)
    if effect is not None and effect not in Effect.values:
        raise chains.unknown("effect", Effect.values)
    if effect == Effect.VOID_FROM_START and act.effective_at is not None:
        raise InvalidInput(
            _("What is void from the start has no other instant: leave it out."),
            param="effective_at",
        )
    if act.effective_at is not None and act.effective_at.tzinfo is None:
        raise InvalidInput(_("Give a time zone, such as “Z”."), param="effective_at")
    _check_duties(act.duties)


def _check_duties(duties: Sequence[Mapping[str, Any]]) -> None:
    if len(duties) > _DUTIES_MAX:
        raise InvalidInput(_("Give at most %(max)s.") % {"max": _DUTIES_MAX}, param="duties")
    seen = set()
    for index, duty in enumerate(duties):
        param = f"duties[{index}]"
        if duty.keys() != {"do", "within_days"} or duty["do"] not in DUTIES:
            raise chains.unknown(f"{param}.do", sorted(DUTIES))
        days = duty["within_days"]
        if not isinstance(days, int) or isinstance(days, bool) or not 0 <= days <= _DAYS_MAX:
            raise InvalidInput(_("Give a whole number of days."), param=f"{param}.within_days")
        if duty["do"] in seen:
            raise InvalidInput(_("Give each duty once."), param=f"{param}.do")
        seen.add(duty["do"])


# --- taking effect ----------------------------------------------------------------------------


def _carry_out(grant: Grant, now: datetime) -> bool:
    """Have a locked grant, and its claims, stand as its events say by now."""
    event = GrantEvent.objects.in_effect(now).filter(grant=grant).first()
    if event is None:
        return False
    status = STATUS[event.kind]
    ended_at = event.effective_at if status in _ENDED else None
    if (grant.status, grant.ended_at) == (status, ended_at):
        return False
    grant.status, grant.ended_at = status, ended_at
    grant.save(update_fields=["status", "ended_at"])
    scope_claims.follow(grant)
    return True


def _announced(now: datetime) -> list[Grant]:
    """Grants that do not stand yet as an announced event has them stand: locked, some at once."""
    due = GrantEvent.objects.filter(effective_at__gt=F("created_at"), effective_at__lte=now)
    stands = (
        GrantEvent.objects.in_effect(now)
        .filter(grant=OuterRef("pk"))
        .annotate(status=Case(*(When(kind=kind, then=Value(to)) for kind, to in STATUS.items())))
        .values("status")
    )
    return list(
        Grant.objects.filter(Exists(due.filter(grant=OuterRef("pk"))))
        .exclude(status=Subquery(stands[:1]))
        .order_by("pk")
        .select_for_update(of=("self",), skip_locked=True)[:_AT_ONCE]
    )


# --- expiry -----------------------------------------------------------------------------------


def _expire_batch(now: datetime) -> int:
    with access.system("expire grants whose windows are over"):
        over = _over(Grant.objects.all(), now).order_by("pk")
        locked = list(over.select_for_update(of=("self",), skip_locked=True)[:_AT_ONCE])
        # Looked at again, now that they are locked: one may have been renewed meanwhile.
        grants = list(
            _over(Grant.objects.filter(pk__in=[grant.pk for grant in locked]), now)
            .select_related("licensor", "licensee")
            .prefetch_related("periods")
            .order_by("pk")
        )
        for livemode in (False, True):
            _expire([grant for grant in grants if grant.livemode == livemode], now)
    return len(grants)


def _over(grants: QuerySet[Grant], now: datetime) -> QuerySet[Grant]:
    """Those that have not ended yet, and have no window that is open or is to open."""
    lasting = Q()
    for name in windows.NAMES:
        lasting |= Q(**{f"{name}__upper_inf": True}) | Q(**{f"{name}__endswith__gt": now})
    return grants.filter(
        ~Exists(Period.objects.filter(lasting, grant=OuterRef("pk"))),
        status__in=[Grant.Status.ACTIVE, Grant.Status.SUSPENDED],
    )


def _expire(grants: Sequence[Grant], now: datetime) -> None:
    if not grants:
        return
    newest = chains.newest(grants)
    ended, facts = [], []
    for grant in grants:
        ended_at = windows.ends(grant.periods.all())
        assert ended_at is not None, "A grant with a window without end does not expire."
        event = GrantEvent(
            **chains.parties(grant),
            grant=grant,
            kind=Kind.EXPIRED,
            effective_at=ended_at,
            actor="system",
            created_at=now,
        )
        fact = _fact(event, newest[bytes(grant.grant_ref)])
        event.number = fact.seq
        ended.append(event)
        facts.append(fact)
    for event, entry in zip(ended, log.append_many(facts), strict=True):
        event.entry = entry
    GrantEvent.objects.bulk_create(ended)
    events.record_all(
        [each for grant in grants for each in events.made("grant.expired", **chains.told(grant))]
    )
    for grant in grants:
        _carry_out(grant, now)
