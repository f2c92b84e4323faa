"""A grant's later periods: renewed from the old end on, or amended for the rest of the present."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import agreements, asked_models, chains, grants, scope_claims, windows
from licensing import terms as terms_of
from licensing.dimensions import Amendment, Renewal
from licensing.grants import Acceptance
from licensing.ledger import commitments
from licensing.models import Agreement, Grant, GrantEvent, Period, Terms
from licensing.terms import TypedTerms, Windows
from marketplace import audit, events
from marketplace.access import Caller, acting
from marketplace.errors import (
    GrantWrongState,
    InvalidInput,
    TermsForbid,
    TermsNotPublished,
)

Kind = Period.Kind

NAME_LENGTH_MAX = 200
DOCUMENT_LENGTH_MAX = 1_000_000
_NEVER = DateTimeTZRange(empty=True)


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the licensee accepted: the whole text, who did so for it, as what, and when."""

    document: str
    name: str
    title: str
    accepted_at: datetime


def renew(
    caller: Caller,
    id: str,
    *,
    reference: str,
    terms: str | None = None,
    agreed: Agreed | None = None,
    price_basis: dict[str, Any] | None = None,
    by: str = GrantEvent.By.LICENSOR,
) -> Period:
    """Go on where the grant's time to start training ends, without a gap, however late it is said.

    By the terms that hold then, or a newer version of them (`terms`), which the licensee has to
    accept. `price_basis` is of `prices.basis`; None: as before. The caller is the licensor, for
    whom an operator or payments act; `by` says whose act it is, and `reference` what led to it:
    repeating it gives the period that it made. Raises NotFound, GrantWrongState, TermsForbid,
    InvalidInput, TermsNotPublished; RightsTaken where others hold the scope by then.
    """
    asked = _Asked(caller, Kind.RENEWED, reference, by, terms, agreed, price_basis)
    return _change(id, asked, lambda grant, periods, now: _renewal(asked, grant, periods, now))


def amend(
    caller: Caller,
    id: str,
    *,
    reference: str,
    terms: str,
    agreed: Agreed,
    effective_at: datetime | None = None,
    price_basis: dict[str, Any] | None = None,
    by: str = GrantEvent.By.LICENSOR,
) -> Period:
    """Put the rest of the present period under other terms, from an instant on (None: now).

    The windows that are open then stay as long as they were; the scope stays, too, and must be
    within the new terms. Everything else as in `renew`.
    """
    asked = _Asked(caller, Kind.AMENDED, reference, by, terms, agreed, price_basis)

    def amendment(grant: Grant, periods: Sequence[Period], now: datetime) -> _Made:
        return _amendment(asked, periods, chains.instant(effective_at, now, "effective_at"))

    return _change(id, asked, amendment)


@dataclass(frozen=True, slots=True)
class _Asked:
    caller: Caller
    kind: Period.Kind
    reference: str
    by: str
    terms: str | None
    agreed: Agreed | None
    price_basis: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class _Made:
    """What a period is to be."""

    # The period that it goes on from, for what stays the same.
    before: Period
    terms: Terms
    windows: Windows
    # What else its entry says.
    values: Mapping[str, Any]


def _change(
    id: str, asked: _Asked, make: Callable[[Grant, Sequence[Period], datetime], _Made]
) -> Period:
    """Lock, check, change, record: the steps that both have in common."""
    caller = asked.caller
    chains.check_by(asked.by)
    reference = chains.check_reference(asked.reference, needed=True)
    now = timezone.now()
    if asked.agreed is not None:
        _check_agreed(asked.agreed, now)
    with acting(caller):
        grant = chains.lock(caller, id)
        repeated = grant.periods.filter(reference=reference).first()
        if repeated is not None:
            _check_repeats(repeated, asked)
            return repeated
        chains.check_open(grant, "renew" if asked.kind == Kind.RENEWED else "amend")
        # Read again: the lock may have been waited for.
        now = timezone.now()
        periods = list(grant.periods.select_related("terms").order_by("number"))
        made = make(grant, periods, now)
        period = Period(
            **chains.parties(grant),
            grant=grant,
            number=periods[-1].number + 1,
            kind=asked.kind,
            terms=made.terms,
            scope=made.before.scope,
            access_window=made.windows.access,
            training_window=made.windows.training,
            use_window=made.windows.use,
            price_basis=asked.price_basis or made.before.price_basis,
            reference=reference,
            created_at=now,
        )
        if asked.kind == Kind.RENEWED:
            # Before anything is recorded: claims are waited for first, as orders do.
            scope_claims.extend(
                grant,
                during=period.training_window,
                exclusive=terms_of.load(made.terms).exclusive,
                held_by=str(period.pk),
            )
        _record(asked, grant, period, made.values)
        facts: dict[str, Any] = {"period": str(period.pk), "terms": str(made.terms.pk)}
        audit.record(
            caller,
            "grant.renewed" if asked.kind == Kind.RENEWED else "grant.amended",
            subject=grant,
            **facts,
        )
        events.record(f"grant.{asked.kind}", **chains.told(grant), **facts)
    return period


def _record(asked: _Asked, grant: Grant, period: Period, more: Mapping[str, Any]) -> None:
    """Record a period in its grant's chain. The fields are published: they never change."""
    terms = period.terms
    values: dict[str, Any] = {
        "period": {"id": str(period.pk), "number": period.number},
        "version": {"id": str(terms.pk), "name": terms.name, "number": terms.version},
        **terms_of.recorded(terms),
        "scope": period.scope,
        "windows": grants.recorded_windows(
            Windows(period.access_window, period.training_window, period.use_window)
        ),
        "price": period.price_basis,
        "by": str(asked.by),
        "reference": period.reference,
        **more,
    }
    if asked.agreed is not None:
        acceptance = _acceptance(asked.agreed, asked.caller.actor)
        period.agreement = _agreement(grant, period, asked.agreed.document, acceptance)
        values["acceptance"] = acceptance.recorded()
        role = "renewal" if period.kind == Kind.RENEWED else "amendment"
        values["documents"] = [{"role": role, "sha256": acceptance.document_sha256.hex()}]
    period.entry = chains.append(grant, f"grant.{period.kind}", values, period.created_at)
    period.save(force_insert=True)


def _acceptance(agreed: Agreed, actor: str) -> Acceptance:
    return Acceptance(
        document_sha256=hashlib.sha256(agreed.document.encode()).digest(),
        name=agreed.name.strip(),
        title=agreed.title.strip(),
        actor=actor,
        accepted_at=agreed.accepted_at,
    )


def _agreement(grant: Grant, period: Period, document: str, acceptance: Acceptance) -> Agreement:
    return agreements.make(
        **chains.parties(grant),
        document=document,
        acceptance=acceptance,
        made_by=str(period.pk),
    )


# --- renewal ----------------------------------------------------------------------------------


def _renewal(asked: _Asked, grant: Grant, periods: Sequence[Period], now: datetime) -> _Made:
    before = windows.last(periods, "training_window")
    terms = _version(asked, before)
    typed = terms_of.load(terms)
    _check_renews(grant, terms_of.load(before.terms), periods)
    if terms.pk != before.terms_id:
        if asked.agreed is None:
            raise InvalidInput(
                _("Another version needs the licensee's acceptance: say who accepted what, when."),
                param="agreed",
            )
        _check_scope(typed, before.scope)
    renewed = _renewed_windows(typed, periods)
    if renewed.training.upper <= now:
        raise GrantWrongState(
            _(
                "Training ended so long ago that a renewal from there on is over by now. Issue a"
                " new grant."
            ),
            grant=str(grant.pk),
            grant_status=grant.status,
            step="renew",
        )
    return _Made(before, terms, renewed, {})


def _version(asked: _Asked, before: Period) -> Terms:
    """The terms that hold at the end, or the newer version that is asked for."""
    if asked.terms is None:
        return before.terms
    terms = _published(asked.caller, asked.terms)
    if terms.name != before.terms.name or terms.version < before.terms.version:
        raise InvalidInput(
            _("A renewal is by “%(name)s”, version %(version)s or newer. Amend it to other terms.")
            % {"name": before.terms.name, "version": before.terms.version},
            param="terms",
        )
    return terms


def _check_renews(grant: Grant, typed: TypedTerms, periods: Sequence[Period]) -> None:
    """Whether the terms that hold until then let the grant be renewed (once more)."""
    if typed.v == 1:
        return  # they do not say it: the licensor may
    term = typed.raw["term"]
    if term["renewal"] == Renewal.NONE:
        raise TermsForbid(
            _(
                "The grant's terms say that it is not renewed. Amend it to terms whose"
                " “term.renewal” is another, or issue a new grant."
            ),
            grant=str(grant.pk),
            param="term.renewal",
        )
    most = term.get("renewals_max")
    if most is not None and sum(each.kind == Kind.RENEWED for each in periods) >= most:
        raise TermsForbid(
            _(
                "The grant's terms let it be renewed %(most)s times, and it was. Amend it to terms"
                " with another “term.renewals_max”, or issue a new grant."
            )
            % {"most": most},
            grant=str(grant.pk),
            param="term.renewals_max",
        )


def _renewed_windows(typed: TypedTerms, periods: Sequence[Period]) -> Windows:
    """When the renewed grant allows what.

    Training goes on where it ended, for as long as the terms say; works are fetched from there on,
    too. What was made may be used for as long after the end of training as before; that begins
    where the old use ends, so that no use stands under two periods. Use without an end goes on.
    """
    starts = windows.last(periods, "training_window").training_window.upper
    used_until = windows.last(periods, "use_window").use_window.upper
    days = typed.training_days
    if typed.v == 2:
        days = typed.raw["term"].get("renewal_days", days)
    length = timedelta(days=days)
    ends = None
    if typed.use_days is not None:
        ends = starts + length + timedelta(days=typed.use_days - typed.training_days)
    goes_on = used_until is not None and (ends is None or ends > used_until)
    return Windows(
        access=DateTimeTZRange(starts, starts + min(length, timedelta(days=typed.access_days))),
        training=DateTimeTZRange(starts, starts + length),
        use=DateTimeTZRange(used_until, ends) if goes_on else _NEVER,
    )


# --- amendment --------------------------------------------------------------------------------


def _amendment(asked: _Asked, periods: Sequence[Period], at: datetime) -> _Made:
    counting = {name: windows.counting(periods, name, at) for name in windows.NAMES}
    replaced = sorted(
        {period.pk: period for period in counting.values() if period is not None}.values(),
        key=lambda period: period.number,
    )
    if not replaced:
        raise InvalidInput(
            _("No window of the grant is open then: there is nothing to amend."),
            param="effective_at",
        )
    before = counting["training_window"] or replaced[-1]
    assert asked.terms is not None
    terms = _published(asked.caller, asked.terms)
    if all(period.terms_id == terms.pk for period in replaced):
        raise InvalidInput(_("These terms hold then already."), param="terms")
    typed, present = terms_of.load(terms), terms_of.load(before.terms)
    _check_amends(before, present)
    if typed.exclusive != present.exclusive:
        raise InvalidInput(
            _("An amendment leaves a grant as exclusive as it is. Issue a new grant."),
            param="terms",
        )
    _check_scope(typed, before.scope)
    return _Made(
        before,
        terms,
        Windows(*(_rest(counting[name], name, at) for name in windows.NAMES)),
        {
            "effective_at": commitments.timestamp(at),
            "replaced": [
                {
                    "period": {"id": str(period.pk), "number": period.number},
                    "terms_sha256": bytes(period.terms.typed_sha256).hex(),
                    "terms_text_sha256": bytes(period.terms.text_sha256).hex(),
                }
                for period in replaced
            ],
        },
    )


def _check_amends(before: Period, present: TypedTerms) -> None:
    if present.v == 2 and present.raw["contract"]["amendment"] == Amendment.NEW_VERSION:
        raise TermsForbid(
            _(
                "The grant's terms say that a change holds for new licenses only. Issue a new"
                " grant under the new terms."
            ),
            grant=str(before.grant_id),
            param="contract.amendment",
        )


def _rest(period: Period | None, name: str, at: datetime) -> DateTimeTZRange:
    if period is None:
        return _NEVER
    return DateTimeTZRange(at, getattr(period, name).upper)


# --- what both check --------------------------------------------------------------------------


def _published(caller: Caller, id: str) -> Terms:
    terms = Terms.objects.owned_by(caller).get_visible(caller, id)
    if terms.published_at is None:
        raise TermsNotPublished(
            _("Publish the terms first: what a grant says can no longer change."),
            terms=str(terms.pk),
        )
    return terms


def _check_scope(typed: TypedTerms, scope: Mapping[str, Any]) -> None:
    """What was bought stays bought: other terms must permit it, too."""
    uses, territories = scope["uses"], scope["territories"]
    try:
        typed.check_scope(uses, territories)
        if "model" in scope:
            asked_models.check(scope["model"], typed, uses=uses, territories=territories)
    except InvalidInput as error:
        raise InvalidInput(
            _("What the grant was bought for stays: %(why)s") % {"why": error.detail}, param="terms"
        ) from None


def _check_agreed(agreed: Agreed, now: datetime) -> None:
    if not 0 < len(agreed.document.strip()) <= DOCUMENT_LENGTH_MAX:
        raise InvalidInput(_("Give the text that was accepted."), param="agreed.document")
    for name in ("name", "title"):
        if not 0 < len(getattr(agreed, name).strip()) <= NAME_LENGTH_MAX:
            raise InvalidInput(
                _("Say who accepted for the licensee, and as what."), param=f"agreed.{name}"
            )
    if agreed.accepted_at.tzinfo is None:
        raise InvalidInput(_("Give a time zone, such as “Z”."), param="agreed.accepted_at")
    if agreed.accepted_at > now:
        raise InvalidInput(_("That is in the future."), param="agreed.accepted_at")


def _check_repeats(period: Period, asked: _Asked) -> None:
    if period.kind != asked.kind or (asked.terms not in (None, str(period.terms_id))):
        raise InvalidInput(
            _("This has led to something else already: period %(number)s. Name another.")
            % {"number": period.number},
            param="reference",
        )
