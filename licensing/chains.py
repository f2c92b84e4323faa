"""A grant's chain of ledger entries: what follows its issue, each entry after the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from licensing.ledger import log
from licensing.models import Grant, GrantEvent, LedgerEntry
from licensing.parties import party
from marketplace.access import Caller
from marketplace.errors import GrantWrongState, InvalidInput, NotFound

Kind = GrantEvent.Kind

# What was recorded last of a grant's life that leaves it open to more; None: nothing.
OPEN: frozenset[str | None] = frozenset({None, Kind.SUSPENDED, Kind.REINSTATED})

REFERENCE_LENGTH_MAX = 60


def lock(caller: Caller, id: str) -> Grant:
    """Lock first: the chain's next number is nobody else's until the transaction ends.

    The caller is the grant's licensor, for whom an operator or payments act. Raises NotFound.
    """
    grant = Grant.objects.get_visible(caller, id, lock=True)
    if grant.licensor_id != caller.organization.pk:
        raise NotFound(_("Only for its licensor is a grant changed."))
    return grant


def check_open(grant: Grant, step: str) -> None:
    """Raise GrantWrongState for a locked grant that has ended, or is announced to end.

    An expiry is as final as a revocation: the grant's exclusive rights are free, and what the log
    says of it is told to everybody. What ended is licensed anew.
    """
    last = grant.events.order_by("-number").first()
    if (None if last is None else last.kind) not in OPEN:
        raise GrantWrongState(
            _("The grant has ended, or will: that is final. A new grant can be issued."),
            grant=str(grant.pk),
            grant_status=grant.status,
            step=step,
        )


def newest(grants: Sequence[Grant]) -> dict[bytes, LedgerEntry]:
    """The last entry of each grant's chain, by its reference. The grants are locked, of one log."""
    entries = (
        LedgerEntry.objects.filter(
            log=log.name(livemode=grants[0].livemode),
            subject_ref__in=[bytes(grant.grant_ref) for grant in grants],
        )
        .order_by("subject_ref", "-seq")
        .distinct("subject_ref")
    )
    return {bytes(entry.subject_ref): entry for entry in entries}


def fact(
    grant: Grant, kind: str, previous: LedgerEntry, values: Mapping[str, Any], at: datetime
) -> log.Fact:
    """What is recorded after `previous` in a grant's chain: its parties, itself, and `values`."""
    return log.Fact(
        log=log.name(livemode=grant.livemode),
        kind=kind,
        subject_ref=bytes(grant.grant_ref),
        seq=previous.seq + 1,
        prev=bytes(previous.leaf_hash),
        values={
            "licensor": party(grant.licensor),
            "licensee": party(grant.licensee),
            "grant": {"id": str(grant.pk), "grant_ref": bytes(grant.grant_ref).hex()},
            **values,
        },
        parties=[grant.licensor_id, grant.licensee_id],
        at=at,
    )


def append(grant: Grant, kind: str, values: Mapping[str, Any], at: datetime) -> LedgerEntry:
    """Record the next entry of a locked grant's chain."""
    [previous] = newest([grant]).values()
    made = fact(grant, kind, previous, values, at)
    return log.append(**{name: getattr(made, name) for name in made.__slots__})


def parties(grant: Grant) -> dict[str, Any]:
    """Whose a row of a grant is."""
    return {"licensor": grant.licensor, "licensee": grant.licensee, "livemode": grant.livemode}


def told(grant: Grant) -> dict[str, Any]:
    """Who is told of a step in a grant's life, for `events`: both parties."""
    return {
        "to": [grant.licensor_id, grant.licensee_id],
        "livemode": grant.livemode,
        "subject": grant,
    }


# --- what is asked ----------------------------------------------------------------------------


def check_by(by: str) -> None:
    if by not in GrantEvent.By.values:
        raise unknown("by", GrantEvent.By.values)


def check_reference(reference: str, *, needed: bool) -> str:
    """What led to a step, such as an order's id, without spaces around it."""
    given = reference.strip()
    if len(given) > REFERENCE_LENGTH_MAX:
        raise InvalidInput(
            _("Give at most %(max)s characters.") % {"max": REFERENCE_LENGTH_MAX},
            param="reference",
        )
    if needed and not given:
        raise InvalidInput(
            _("Name what led to it, such as an order: once for a grant."), param="reference"
        )
    return given


def instant(at: datetime | None, now: datetime, param: str) -> datetime:
    """From when on something counts: now, or later."""
    if at is None:
        return now
    if at.tzinfo is None:
        raise InvalidInput(_("Give a time zone, such as “Z”."), param=param)
    if at < now:
        raise InvalidInput(
            _("That is in the past. Leave it out: it counts from now on."), param=param
        )
    return at


def unknown(param: str, known: Iterable[str]) -> InvalidInput:
    return InvalidInput(_("Use one of: %(known)s.") % {"known": ", ".join(known)}, param=param)
