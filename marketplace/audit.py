"""Who did what to an organization's things, and what operators did to the market itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, models
from psycopg.types.json import Jsonb

from marketplace.access import Caller
from marketplace.models import Audit, Membership, Organization, User

_ACTS_MAX = 200


@dataclass(frozen=True, slots=True)
class Act:
    """One line of the audit, for people: a member by name, a key by its id."""

    at: datetime
    who: str
    action: str
    subject: str


@dataclass(frozen=True, slots=True)
class OfMarket:
    """Who acts on the market itself, or on what is nobody's here: of no organization.

    An operator's id, or “system”. Only a transaction that sees all tenants writes such a row.
    """

    actor: str
    organization: None = None


def by_operator(operator: User, organization: Organization | None) -> Caller | OfMarket:
    """For `record`: an operator who acts on an organization's things, or (None) on the market's."""
    if organization is None:
        return OfMarket(str(operator.pk))
    return Caller(organization, livemode=False, scopes=frozenset(), user=operator)


def acts(caller: Caller, *, subject: str = "", most: int = _ACTS_MAX) -> list[Act]:
    """What was done to the organization's things, newest first; to one of them, if named."""
    rows = Audit.objects.visible_to(caller).order_by("-id")
    if subject:
        rows = rows.filter(subject=subject)
    members = Membership.objects.visible_to(caller).select_related("user")
    names = {str(member.user_id): member.user.name for member in members}
    return [
        Act(row.at, names.get(row.actor, row.actor), row.action, row.subject) for row in rows[:most]
    ]


def record(caller: Caller | OfMarket, action: str, *, subject: models.Model, **data: Any) -> Audit:
    """Write one audit row in the act's own transaction: the act and its record commit together."""
    assert connection.in_atomic_block, "An audit row commits with its act."
    row = Audit(
        organization=caller.organization,
        actor=caller.actor,
        action=action,
        subject=str(subject.pk),
        data=data,
    )
    organization = None if caller.organization is None else caller.organization.pk.hex
    values = {"id": row.pk.hex, "organization": organization, "data": Jsonb(data), "at": row.at}
    with connection.cursor() as cursor:
        cursor.execute(
            _RECORD,
            {**values, "actor": row.actor, "action": row.action, "subject": row.subject},
        )
    return row


# Most verbs run it: bare, it costs half of what a query set of it does.
_RECORD = """
INSERT INTO marketplace_audit (id, organization_id, actor, action, subject, data, at)
VALUES (%(id)s::uuid, %(organization)s::uuid, %(actor)s, %(action)s, %(subject)s, %(data)s, %(at)s)
"""


def record_done(asked: str, done: str, *, subject: models.Model) -> None:
    """Write that what somebody asked for before is done now, as that person's or key's act.

    In the transaction that did it, which sees all tenants. Nothing where nobody had asked.
    """
    assert connection.in_atomic_block, "An audit row commits with its act."
    before = Audit.objects.filter(action=asked, subject=str(subject.pk)).order_by("-id").first()
    if before is not None:
        Audit.objects.create(
            organization_id=before.organization_id,
            actor=before.actor,
            action=done,
            subject=before.subject,
        )


def record_all(caller: Caller, action: str, subjects: Mapping[str, Mapping[str, Any]]) -> None:
    """Write one audit row for each subject (its TypeID, and the row's data), in one statement."""
    assert connection.in_atomic_block, "An audit row commits with its act."
    Audit.objects.bulk_create(
        Audit(
            organization=caller.organization,
            actor=caller.actor,
            action=action,
            subject=subject,
            data=dict(data),
        )
        for subject, data in subjects.items()
    )
