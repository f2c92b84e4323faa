"""Reservations: digests that nobody may license, for now or for good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from marketplace.models import ReservedDigest

Reason = ReservedDigest.Reason

# For queries over representations named `form`: true where its bytes are reserved. Ask it in the
# statement that reads the works, so that an opt-out is seen by whoever reads after its commit.
IS_RESERVED = """
EXISTS (
    SELECT 1 FROM marketplace_reserveddigest reserved
    WHERE reserved.digest = form.digest AND reserved.ended_at IS NULL
        AND (reserved.organization_id IS NULL OR reserved.organization_id = form.organization_id)
)
"""

# The same question, answered with the reason; null where they are not. Of several, an opt-out is
# said first ("opted_out" is the greatest of their names).
RESERVED_FOR = """
(
    SELECT max(reserved.reason) FROM marketplace_reserveddigest reserved
    WHERE reserved.digest = form.digest AND reserved.ended_at IS NULL
        AND (reserved.organization_id IS NULL OR reserved.organization_id = form.organization_id)
)
"""


def reserve(digests: Sequence[bytes], *, organization: UUID | None, reason: str, cause: str) -> int:
    """Take digests out of licensing, at one organization (None: at all). Commits with the caller.

    Returns how many were not reserved for this reason before; repeating it reserves none.
    """
    assert connection.in_atomic_block, "A reservation commits with what caused it."
    with connection.cursor() as cursor:
        # Sorted, so that two callers that reserve the same digests wait and never deadlock.
        cursor.execute(
            """
            INSERT INTO marketplace_reserveddigest (digest, organization_id, reason, cause, since)
            SELECT digest, %s, %s, %s, %s FROM unnest(%s::bytea[]) AS digest
            ON CONFLICT (digest, organization_id, reason) WHERE ended_at IS NULL DO NOTHING
            """,
            [organization, reason, cause, timezone.now(), sorted(set(digests))],
        )
        return int(cursor.rowcount)


def end(digests: Iterable[bytes], *, organization: UUID | None, reason: str) -> int:
    """Let digests be licensed again, as far as this reason goes. Returns how many there were."""
    return ReservedDigest.objects.filter(
        digest__in=list(digests), organization=organization, reason=reason, ended_at__isnull=True
    ).update(ended_at=timezone.now())


def end_caused_by(cause: str) -> int:
    """Let digests be licensed again, as far as one cause goes. Returns how many there were."""
    assert connection.in_atomic_block, "A reservation ends with what ends it."
    return ReservedDigest.objects.filter(cause=cause, ended_at__isnull=True).update(
        ended_at=timezone.now()
    )


def at(organization: UUID) -> QuerySet[ReservedDigest]:
    """What an organization may not license now, for use inside other queries."""
    return ReservedDigest.objects.filter(
        Q(organization__isnull=True) | Q(organization=organization), ended_at__isnull=True
    )


def among(digests: Iterable[bytes], *, organization: UUID) -> dict[bytes, str]:
    """Which of some digests an organization may not license now, and why (one reason each).

    Of several reasons an opt-out is said, which is for good: as `RESERVED_FOR` does.
    """
    rows = at(organization).filter(digest__in=list(digests)).order_by("reason")
    return {bytes(digest): reason for digest, reason in rows.values_list("digest", "reason")}
