"""Metadata: what an organization notes on its objects, as names and texts, for itself alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection, models
from django.db.models import OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Cast, Coalesce, Lower
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit, idempotency
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput
from marketplace.models import Metadata, Organization
from marketplace.typeid import TypeID, TypeIDField

M = TypeVar("M", bound=models.Model)

MEMBERS_MAX = 50
NAME_LENGTH_MAX = 40
TEXT_LENGTH_MAX = 500
# A name is part of a path in many tools: `metadata[job]`.
_NAME = re.compile(rf"[^\[\]\x00\ud800-\udfff]{{1,{NAME_LENGTH_MAX}}}")

# What a client sends: a name's new text; none, or an empty one, takes the name away.
Notes = Mapping[str, str | None]


def set(caller: Caller, kind: type[M], id: str, notes: Notes) -> M:
    """Change what the caller's organization notes on an object that it sees; names left out stay.

    Repeating it changes nothing. The audit says that it happened, and no text. Raises NotFound,
    InvalidInput.
    """
    _check(notes)
    rows: Any = kind._default_manager
    with acting(caller):
        subject: M = rows.get_visible(caller, id)
        _lock(caller, subject)
        before = _noted(caller.organization, caller.livemode, subject)
        after = _merged(before, notes)
        if after != before:
            _write(caller.organization, caller.livemode, subject, after)
            changed = len({*before.items()} ^ {*after.items()})
            audit.record(caller, "metadata.set", subject=subject, changed=changed)
        idempotency.names(caller, subject)
    return subject


def begin(caller: Caller, subject: models.Model, notes: Notes | None) -> None:
    """Note on an object what came with the request that made it, if anything.

    In that request's transaction. Raises InvalidInput.
    """
    assert connection.in_atomic_block, "The first notes commit with their object."
    _check(notes or {})
    if after := _merged({}, notes or {}):
        _write(caller.organization, caller.livemode, subject, after)


def carry(
    organization: Organization, *, livemode: bool, source: models.Model, target: models.Model
) -> None:
    """Note on one object what the organization noted on another: what that one came of.

    In the caller's transaction. Whatever was noted on the target before stays as it is.
    """
    assert connection.in_atomic_block, "What is carried over commits with its object."
    with connection.cursor() as cursor:
        cursor.execute(
            _CARRY,
            {
                "organization": organization.pk,
                "livemode": livemode,
                "source": source.pk,
                "source_kind": _prefix(type(source)),
                "id": TypeID.new("mtd"),
                "target": target.pk,
                "target_kind": _prefix(type(target)),
                "at": timezone.now(),
            },
        )


_CARRY = """
INSERT INTO marketplace_metadata (id, organization_id, livemode, kind, subject, data, changed_at)
SELECT %(id)s, organization_id, livemode, %(target_kind)s, %(target)s, data, %(at)s
FROM marketplace_metadata WHERE organization_id = %(organization)s AND livemode = %(livemode)s
    AND kind = %(source_kind)s AND subject = %(source)s
ON CONFLICT DO NOTHING
"""


def beside(rows: QuerySet[Any], caller: Caller) -> QuerySet[Any]:
    """The same rows with `metadata`: what the caller's organization notes on each, and nobody else.

    Part of the question: a statement that is kept has a slot for the organization.
    """
    noted = Metadata.objects.visible_to(caller).filter(
        kind=_prefix(rows.model), subject=OuterRef("pk")
    )
    nothing = Value({}, models.JSONField())
    shown: QuerySet[Any] = rows.annotate(metadata=Coalesce(Subquery(noted.values("data")), nothing))
    return shown


# --- erasing a person -------------------------------------------------------------------------


def forget(told: Sequence[str], organization: UUID | None = None) -> list[str]:
    """Take what is said of a person out of notes; name the rows that said it, and when.

    Of one organization, or (under `access.system`) of all. A name that holds the person goes with
    its text.
    """
    told = [text for text in told if text]
    rows = Metadata.objects.all()
    if organization is not None:
        rows = rows.filter(organization=organization)
    if not told:
        return []
    holds = models.Q()
    for text in told:
        # As jsonb writes a text; the exact look is in Python.
        holds |= models.Q(shown__contains=json.dumps(text, ensure_ascii=False)[1:-1].lower())
    rows = rows.annotate(shown=Lower(Cast("data", models.TextField()))).filter(holds)
    # Whole words: “Ann” is nobody in “annual”.
    person = re.compile("|".join(rf"(?<!\w){re.escape(text)}(?!\w)" for text in told), re.I)
    forgotten = []
    for row in rows.select_for_update(of=("self",)):
        left = {
            name: person.sub(idempotency.ERASED, text)[:TEXT_LENGTH_MAX]
            for name, text in row.data.items()
            if not person.search(name)
        }
        if left != row.data:
            _keep(row, left)
            forgotten.append(f"{row.pk}@{row.changed_at.isoformat()}")
    return forgotten


def forget_again(refs: Sequence[str]) -> int:
    """Empty the rows that `forget` named, where they are older than what it did to them.

    How many there were. Whole: nobody knows any more what they said of whom. Under
    `access.system`. Raises ValueError.
    """
    emptied = 0
    for id, _at, changed_at in (ref.partition("@") for ref in refs):
        row = Metadata.objects.filter(
            pk=TypeID.parse("mtd", id), changed_at__lt=datetime.fromisoformat(changed_at)
        ).first()
        if row is not None and row.data:
            _keep(row, {})
            emptied += 1
    return emptied


def _keep(row: Metadata, data: dict[str, str]) -> None:
    row.data, row.changed_at = data, timezone.now()
    row.save(update_fields=["data", "changed_at"])


# --- one object's -----------------------------------------------------------------------------


def _check(notes: Notes) -> None:
    if len(notes) > MEMBERS_MAX:
        raise _too_many()
    for name, text in notes.items():
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                _("Use names of 1 to %(max)s characters, without [ and ].")
                % {"max": NAME_LENGTH_MAX},
                param="metadata",
            )
        if text is not None and len(text) > TEXT_LENGTH_MAX:
            raise InvalidInput(
                _("Use at most %(max)s characters.") % {"max": TEXT_LENGTH_MAX},
                param=f"metadata.{name}",
            )


def _merged(before: Mapping[str, str], notes: Notes) -> dict[str, str]:
    after = {name: text for name, text in {**before, **notes}.items() if text}
    if len(after) > MEMBERS_MAX:
        raise _too_many()
    return after


def _too_many() -> InvalidInput:
    return InvalidInput(
        _("Note at most %(max)s names on an object.") % {"max": MEMBERS_MAX}, param="metadata"
    )


def _lock(caller: Caller, subject: models.Model) -> None:
    """Have changes of the same notes follow one another until the transaction ends.

    An advisory lock: the first time, there is no row to lock; and an object's own row may be one
    that nobody updates.
    """
    name = f"metadata {caller.organization.pk} {caller.livemode} {subject.pk}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])


def _noted(organization: Organization, livemode: bool, subject: models.Model) -> dict[str, str]:
    rows = Metadata.objects.filter(
        organization=organization,
        livemode=livemode,
        kind=_prefix(type(subject)),
        subject=subject.pk,
    )
    return rows.values_list("data", flat=True).first() or {}


def _row(
    organization: Organization, livemode: bool, subject: models.Model, data: dict[str, str]
) -> Metadata:
    return Metadata(
        organization=organization,
        livemode=livemode,
        kind=_prefix(type(subject)),
        subject=subject.pk,
        data=data,
    )


def _write(
    organization: Organization, livemode: bool, subject: models.Model, data: dict[str, str]
) -> None:
    Metadata.objects.bulk_create(
        [_row(organization, livemode, subject, data)],
        update_conflicts=True,
        unique_fields=["organization", "subject", "kind", "livemode"],
        update_fields=["data", "changed_at"],
    )


def _prefix(kind: type[models.Model]) -> str:
    """What tells the kinds of objects apart: how their ids begin."""
    key = kind._meta.pk
    assert isinstance(key, TypeIDField)
    return key.prefix
