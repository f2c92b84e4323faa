"""Traders: who sells here, as certified by them and verified by an operator before live sales."""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit, idempotency, organizations
from marketplace.access import Caller, acting, system
from marketplace.errors import (
    InvalidInput,
    MissingScope,
    NotFound,
    TraderNotVerified,
    TraderWrongState,
)
from marketplace.models import Organization, Trader, User

State = Trader.State

TRANSITIONS: dict[str, frozenset[str]] = {
    # Submitted again: the same identity, with what was corrected.
    State.SUBMITTED: frozenset({State.SUBMITTED, State.VERIFIED, State.REFUSED}),
    # What turns out to be wrong is refused later, too; what is changed is looked at again.
    State.VERIFIED: frozenset({State.SUBMITTED, State.REFUSED}),
    State.REFUSED: frozenset({State.SUBMITTED, State.VERIFIED}),
}
REASON_LENGTH_MAX = 2_000
# E.164 with the spaces and signs that people write.
_PHONE = re.compile(r"\+[0-9][0-9 ()./-]{5,38}")
# The trader's name for a thing -> the organization's.
_IDENTITY = {
    "legal_name": "legal_name",
    "address": "registered_address",
    "registration_number": "registration_number",
    "email": "contact_email",
}


def submit(caller: Caller, *, phone: str, trade_register: str = "", certified: bool) -> Trader:
    """Say who the caller's organization is as a trader, and certify that it sells lawfully.

    The rest is its legal identity, which is complete before. The same again changes nothing;
    anything else is looked at anew. Raises LegalIdentityIncomplete, InvalidInput.
    """
    phone, trade_register = phone.strip(), trade_register.strip()
    if not _PHONE.fullmatch(phone):
        raise InvalidInput(_("Give a phone number that begins with “+”."), param="phone")
    if len(trade_register) > 200 or "\x00" in trade_register:
        raise InvalidInput(_("Name the register in up to 200 characters."), param="trade_register")
    if not certified:
        raise InvalidInput(
            _("Certify that you offer only what the law allows: without it you cannot sell."),
            param="certified",
        )
    with acting(caller):
        _hold(caller.organization)
        organization = Organization.objects.get_visible(caller, caller.organization.pk)
        organizations.check_identity(organization)
        if organization.registration_number and not trade_register:
            raise InvalidInput(
                _("Name the register of your registration number."), param="trade_register"
            )
        said = {**_said(organization), "phone": phone, "trade_register": trade_register}
        trader = Trader.objects.filter(organization=organization).first()
        is_same = trader is not None and trader.state != State.REFUSED
        if trader is None or not is_same or _differs(trader, said):
            trader = _submitted(trader or Trader(organization=organization), said, caller.actor)
            audit.record(caller, "trader.submitted", subject=trader)
        idempotency.names(caller, trader)
    return trader


def own(caller: Caller) -> Trader:
    """What the caller's organization submitted. Raises NotFound where that is nothing."""
    with acting(caller, writing=False):
        trader = Trader.objects.visible_to(caller).first()
    if trader is None:
        raise NotFound(_("No identity of a trader was submitted yet: POST /v1/trader."))
    return trader


def follow(organization: Organization) -> None:
    """Have a changed legal identity looked at again, in the transaction that changes it."""
    _hold(organization)
    trader = Trader.objects.filter(organization=organization).first()
    said = _said(organization)
    # Nothing can be verified of an identity that lost a part.
    if trader is None or not _differs(trader, said):
        return
    said = {name: value or getattr(trader, name) for name, value in said.items()}
    _submitted(trader, said, trader.certified_by)


def check(organization: Organization) -> None:
    """Refuse to list or sell in live mode before it is verified.

    Raises LegalIdentityIncomplete, TraderNotVerified.
    """
    organizations.check_identity(organization)
    if not Trader.objects.filter(organization=organization.pk, state=State.VERIFIED).exists():
        raise TraderNotVerified(
            _(
                "An operator verifies who the seller is before anything is listed or sold in live"
                " mode: POST /v1/trader."
            ),
            seller=str(organization.pk),
        )


def shown(organization: Organization) -> Trader | None:
    """Who sells, as buyers are shown it. None where nobody verified it."""
    trader = getattr(organization, "trader", None)
    return trader if trader is not None and trader.state == State.VERIFIED else None


# --- the operator's ---------------------------------------------------------------------------


def awaiting() -> QuerySet[Trader]:
    """What waits for an operator, the longest-waiting first."""
    waiting = Trader.objects.filter(state=State.SUBMITTED).select_related("organization")
    return waiting.order_by("submitted_at", "pk")


def verify(operator: User, id: str) -> Trader:
    """Say that a trader is who it says. Repeating it changes nothing.

    Raises MissingScope for who is no operator, NotFound, TraderWrongState.
    """
    return _decide(operator, id, State.VERIFIED, "")


def refuse(operator: User, id: str, *, reason: str) -> Trader:
    """Say what is wrong with a trader's identity; a verified one no longer is. Repeatable.

    Raises MissingScope for who is no operator, NotFound, InvalidInput, TraderWrongState.
    """
    reason = reason.strip()
    if not reason or len(reason) > REASON_LENGTH_MAX or "\x00" in reason:
        raise InvalidInput(
            _("Say why, in up to %(max)s characters: the seller reads it.")
            % {"max": REASON_LENGTH_MAX},
            param="reason",
        )
    return _decide(operator, id, State.REFUSED, reason)


def _decide(operator: User, id: str, state: State, reason: str) -> Trader:
    if not operator.is_operator or not operator.is_active:
        raise MissingScope(_("Only an operator of this market verifies traders."))
    with system(f"operator {operator.pk} looks at who a trader is"):
        trader = _locked(id)
        if trader.state == state:
            return trader
        if state not in TRANSITIONS[trader.state]:
            raise TraderWrongState(
                _("The trader is “%(state)s”.") % {"state": trader.state}, state=str(trader.state)
            )
        caller = Caller(trader.organization, livemode=True, scopes=frozenset(), user=operator)
        if state == State.VERIFIED:
            organizations.check_identity(trader.organization)
            audit.record(caller, "trader.verified", subject=trader)
        else:
            audit.record(caller, "trader.refused", subject=trader, reason=reason)
        trader.state, trader.reason = state, reason
        trader.decided_by, trader.decided_at = str(operator.pk), timezone.now()
        trader.save(update_fields=["state", "reason", "decided_by", "decided_at"])
    return trader


def _locked(id: str) -> Trader:
    """A trader that nobody changes meanwhile: what an operator verifies is what they read."""
    rows = Trader.objects.select_related("organization")
    try:
        organization = rows.get(pk=id).organization
    except (Trader.DoesNotExist, ValidationError):
        raise NotFound(_("There is no trader “%(id)s”.") % {"id": id}) from None
    _hold(organization)
    return rows.get(pk=id)


def _submitted(trader: Trader, said: dict[str, str], by: str) -> Trader:
    for name, value in said.items():
        setattr(trader, name, value)
    trader.state, trader.certified_by, trader.submitted_at = State.SUBMITTED, by, timezone.now()
    trader.decided_by, trader.decided_at, trader.reason = "", None, ""
    if trader._state.adding:
        trader.save(force_insert=True)
    else:
        decided = ["decided_by", "decided_at", "reason"]
        trader.save(update_fields=[*said, "state", "certified_by", "submitted_at", *decided])
    return trader


def _said(organization: Organization) -> dict[str, str]:
    return {name: getattr(organization, field) for name, field in _IDENTITY.items()}


def _differs(trader: Trader, said: dict[str, str]) -> bool:
    return any(getattr(trader, name) != value for name, value in said.items())


def _hold(organization: Organization) -> None:
    """Have changes of one trader wait for each other, its first one included."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('trader ' || %s, 0))",
            [str(organization.pk)],
        )
