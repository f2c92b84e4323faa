"""Signatories: in which recorded facts a natural person stands by name."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Q

from licensing.models import Acknowledgement, Agreement, Grant, GrantEvent, OptOut, Period


def entries(
    *, actor: str = "", name: str = "", organizations: Sequence[UUID] | None = None
) -> list[int]:
    """The ledger entries whose openings name a person: who accepted, acknowledged, or is told of.

    By their account (`usr_…`), and by the exact name that they gave, at `organizations` (None:
    at any). Under `access.system`.
    """
    if not actor and not name:
        return []
    found: set[int | None] = set()
    accepted = _who("accepted_by_actor", "accepted_by_name", "licensee", actor, name, organizations)
    contracts = Agreement.objects.filter(accepted)
    found.update(
        Grant.objects.filter(agreement__in=contracts).values_list("issued_entry", flat=True)
    )
    found.update(Period.objects.filter(agreement__in=contracts).values_list("entry", flat=True))
    said = _who("actor", "person_name", "licensee", actor, name, organizations)
    found.update(Acknowledgement.objects.filter(said).values_list("entry", flat=True))
    if name:
        told = OptOut.objects.filter(reason__icontains=name)
        if organizations is not None:
            told = told.filter(organization__in=organizations)
        for pair in told.values_list("entry", "other_entry"):
            found.update(pair)
        steps = GrantEvent.objects.filter(reason__icontains=name)
        if organizations is not None:
            # At either party: both have the openings, and no third has any.
            steps = steps.filter(Q(licensor__in=organizations) | Q(licensee__in=organizations))
        found.update(steps.values_list("entry", flat=True))
    return sorted(entry for entry in found if entry is not None)


def _who(
    by: str, called: str, at: str, actor: str, name: str, organizations: Sequence[UUID] | None
) -> Q:
    who = Q(**{by: actor}) if actor else Q()
    if name:
        named = Q(**{called: name})
        if organizations is not None:
            named &= Q(**{f"{at}__in": organizations})
        who |= named
    return who
