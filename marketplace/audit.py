"""Who did what to an organization's things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import models, transaction

from marketplace.access import Caller
from marketplace.models import Audit


def record(caller: Caller, action: str, *, subject: models.Model, **data: Any) -> None:
    """Write one audit row in the act's own transaction: the act and its record commit together."""
    assert transaction.get_connection().in_atomic_block, "An audit row commits with its act."
    Audit.objects.create(
        organization=caller.organization,
        actor=caller.actor,
        action=action,
        subject=str(subject.pk),
        data=data,
    )


def record_all(caller: Caller, action: str, subjects: Mapping[str, Mapping[str, Any]]) -> None:
    """Write one audit row for each subject (its TypeID, and the row's data), in one statement."""
    assert transaction.get_connection().in_atomic_block, "An audit row commits with its act."
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
