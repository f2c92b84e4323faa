"""Opt-outs: works taken out of licensing, at once, and every licensee that holds them told."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Count, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import notices
from licensing.ledger import log
from licensing.models import LedgerEntry, OptOut, Snapshot
from licensing.parties import party
from marketplace import (
    access,
    audit,
    contributors,
    events,
    idempotency,
    organizations,
    reservations,
)
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput, NothingToOptOut, OptedOut
from marketplace.feeds import Withdrawn
from marketplace.models import (
    DIGEST_LENGTH,
    Collection,
    Contributor,
    ImportJob,
    Organization,
)
from marketplace.typeid import TypeID

By = OptOut.By
REASON_LENGTH_MAX = 1000
# Named one by one in one call; whole collections and contributors have no limit.
NAMED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Chosen:
    """What to take out, as the caller names it: exactly one of these."""

    digests: Sequence[bytes] | None = None
    works: Sequence[str] | None = None
    external_ids: Sequence[str] | None = None
    collection: str | None = None
    contributor: str | None = None

    def only(self) -> tuple[str, Any]:
        """The one that is given. Raises InvalidInput."""
        given = {name: getattr(self, name) for name in _CHOSEN if getattr(self, name) is not None}
        if len(given) != 1:
            raise InvalidInput(
                _("Give exactly one of: %(names)s.") % {"names": ", ".join(_CHOSEN)},
                param=next(iter(given), "digests"),
            )
        [(name, value)] = given.items()
        if not isinstance(value, str) and not 0 < len(value) <= NAMED_MAX:
            raise InvalidInput(
                _("Name 1 to %(max)s at once.") % {"max": f"{NAMED_MAX:,}"}, param=name
            )
        return name, value


def record(caller: Caller, *, by: str, reason: str, **chosen: Any) -> OptOut:
    """Take works out of licensing at the caller's organization, for good.

    See `record_once`, and `Chosen` for how works are named.
    """
    return record_once(caller, by=by, reason=reason, **chosen)[0]


def record_once(caller: Caller, *, by: str, reason: str, **chosen: Any) -> tuple[OptOut, bool]:
    """Do what `record` does, and say whether anything was taken out that was in before.

    One transaction: whoever asks for a quote, a delivery or a decision after its commit is
    refused, and every grant that covers one of the works has its notice. A work goes out with all
    its representations. What is out already stays with the opt-out that took it out: where
    nothing is left, that one (the first) is returned; else the new one holds what is left.

    The catalogue is shared by both modes, so the works go out in both. The act is recorded in the
    log of the caller's mode, and in the other one as well where grants of that mode are affected;
    a notice is recorded in its grant's log. Raises InvalidInput, NotFound, NothingToOptOut.
    """
    named = Chosen(**chosen)
    named.only()
    reason = _reason(reason)
    with acting(caller):
        opt_out, is_new = _take_out(caller, named, by=by, reason=reason)
        idempotency.names(caller, opt_out)
    return opt_out, is_new


def of_feed(caller: Caller, job: ImportJob, withdrawn: Withdrawn) -> None:
    """Record what an update feed deleted, in the transaction that takes the works out.

    What was out before stays with its opt-out.
    """
    with acting(caller):
        # One opt-out after the other in one transaction.
        hold_all([caller.organization.pk])
    for begin in range(0, len(withdrawn.digests), NAMED_MAX):
        record_once(
            caller,
            by=By.FEED,
            reason=f"Deleted by the owner's update feed ({job.pk}).",
            digests=withdrawn.digests[begin : begin + NAMED_MAX],
        )


def record_everywhere(digests: Sequence[bytes], *, reason: str) -> list[OptOut]:
    """Take bytes out at every organization, also at those that have not seen them yet.

    An operator's act, of live mode. One transaction; one opt-out for each organization that has
    them and had not taken them out before.
    """
    reason = _reason(reason)
    Chosen(digests=digests).only()
    opt_outs = []
    with access.system("an operator takes works out at every organization"):
        owners = list(Organization.objects.raw(_OWNERS, {"digests": list(digests)}))
        hold_all([owner.pk for owner in owners])
        for owner in owners:
            caller = organizations.operator(owner, livemode=True)
            opt_out, is_new = _take_out(
                caller,
                Chosen(digests=_of(owner.pk, digests)),
                by=By.OPERATOR,
                reason=reason,
                is_everywhere=True,
            )
            if is_new:
                opt_outs.append(opt_out)
        cause = str(opt_outs[0].pk) if opt_outs else "operator"
        reservations.reserve(
            digests, organization=None, reason=reservations.Reason.OPTED_OUT, cause=cause
        )
    return opt_outs


def hold_still(licensor: UUID) -> None:
    """Keep an organization's works as they are until the transaction ends: no opt-out meanwhile.

    Lock first, then look, then write: without it, a grant could commit right after an opt-out
    that looked for grants and did not see it, and its licensee would never be told. Shared: those
    who license do not hold each other up.
    """
    assert connection.in_atomic_block, "A lock lasts as long as its transaction."
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock_shared(hashtextextended('opt-outs of ' || %s, 0))",
            [str(licensor)],
        )


def hold(organization: UUID) -> None:
    """Keep others from importing, licensing and taking out an organization's works meanwhile.

    Until the transaction ends. Who locks more takes this first, as imports do: an import that
    held it and waited for a contributor, whose holder waited for it, would end as a deadlock.
    """
    # A batch that is being recorded is waited for, and taken out too.
    contributors.hold(organization)
    with connection.cursor() as cursor:
        # `hold_still` is the other side of this one.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('opt-outs of ' || %s, 0))",
            [str(organization)],
        )


def hold_all(owners: Sequence[UUID]) -> None:
    """Hold organizations, and everybody whom their opt-outs may be recorded with.

    For several opt-outs in one transaction: all locks are taken here, before the first is written.
    """
    for owner in owners:
        hold(owner)
    # While they are held nobody licenses from them: these are all that there will be.
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT licensee_id FROM licensing_grant WHERE licensor_id = ANY(%s::uuid[])",
            [list(owners)],
        )
        licensees = [licensee for (licensee,) in cursor.fetchall()]
    log.hold((name, each) for name in log.LOGS for each in {*owners, *licensees})


def excluded(snapshot: Snapshot) -> int:
    """How many works of a snapshot may not be licensed now, for whatever reason."""
    [(count,)] = _excluded(snapshot, f"SELECT count(*) {_EXCLUDED}")
    return int(count)


def check(snapshot: Snapshot) -> int:
    """How many works of a snapshot are out. Raises OptedOut where that is all of them."""
    out = excluded(snapshot)
    if out >= snapshot.size:
        raise OptedOut(
            _("Every work of this snapshot was taken out of licensing. There is nothing to buy."),
            snapshot=str(snapshot.pk),
        )
    return out


def left(snapshot: Snapshot, out: int) -> dict[str, int]:
    """What a snapshot adds up to without the `out` works that are out: what is paid for.

    Its bytes are those that were frozen.
    """
    totals = {**snapshot.totals, "works": snapshot.size - out}
    if out and totals.keys() - {"works", "bytes"}:
        for unit, count in _excluded(snapshot, _UNITS_OUT):
            if unit in totals:
                totals[unit] -= int(count)
    return totals


def counted(rows: QuerySet[OptOut]) -> QuerySet[OptOut]:
    """The same opt-outs, each with how many notices it has, and how many were acknowledged."""
    return rows.annotate(
        notified=Count("notices", distinct=True),
        acknowledged=Count("notices__acknowledgement", distinct=True),
    )


# --- taking out -------------------------------------------------------------------------------


def _take_out(
    caller: Caller, chosen: Chosen, *, by: str, reason: str, is_everywhere: bool = False
) -> tuple[OptOut, bool]:
    owner = caller.organization
    hold(owner.pk)
    digests, first = _resolve(caller, chosen)
    if not digests:
        if first is None:
            name, _value = chosen.only()
            raise NothingToOptOut(_("There are no works in what you named."), param=name)
        return OptOut.objects.get_visible(caller, first), False
    opt_out = OptOut(
        organization=owner,
        by=by,
        reason=reason,
        is_everywhere=is_everywhere,
        opt_out_ref=os.urandom(16),
        actor=caller.actor,
        recorded_at=timezone.now(),
    )
    reservations.reserve(
        digests,
        organization=owner.pk,
        reason=reservations.Reason.OPTED_OUT,
        cause=str(opt_out.pk),
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO licensing_optoutitem (organization_id, opt_out_id, digest)"
            " SELECT %s, %s, unnest(%s::bytea[])",
            [owner.pk, opt_out.pk, digests],
        )
    affected = notices.affected(opt_out)
    # The entries come in two steps.
    log.hold(_parties(opt_out, caller.livemode, affected))
    _save(caller, opt_out, {caller.livemode, *(each.livemode for each in affected)})
    notices.queue(opt_out, affected)
    audit.record(
        caller, "opt_out.recorded", subject=opt_out, by=by, works=opt_out.size, told=len(affected)
    )
    # The works go out in both modes.
    events.record("opt_out.recorded", to=[owner.pk], livemode=None, subject=opt_out, by=str(by))
    return opt_out, True


def _save(caller: Caller, opt_out: OptOut, modes: set[bool]) -> None:
    """Compute the set's root, append the entries, and insert the row."""
    secret, root = notices.commit_to(opt_out)
    opt_out.size, opt_out.root = root.size, root.root
    opt_out.citation, opt_out.secret = root.citation(), secret
    values = {
        "licensor": party(opt_out.organization),
        "opt_out": str(opt_out.pk),
        "by": str(opt_out.by),
        "reason": opt_out.reason,
        "reach": "everywhere" if opt_out.is_everywhere else "organization",
        "works": root.cited(),
    }
    # The caller's own mode first.
    own, *other = _append(opt_out, values, sorted(modes, key=lambda mode: mode != caller.livemode))
    opt_out.entry, opt_out.other_entry = own, other[0] if other else None
    opt_out.save(force_insert=True)


def _parties(
    opt_out: OptOut, livemode: bool, affected: Sequence[notices.Affected]
) -> set[tuple[str, UUID]]:
    """Who gets an entry of an opt-out, in which log."""
    own = log.name(livemode=livemode), opt_out.organization_id
    told = {(log.name(livemode=each.livemode), each.licensee) for each in affected}
    return {own, *told, *((name, opt_out.organization_id) for name, _licensee in told)}


def _append(opt_out: OptOut, values: dict[str, Any], modes: Sequence[bool]) -> list[LedgerEntry]:
    return log.append_many(
        [
            log.Fact(
                log=log.name(livemode=livemode),
                kind="optout.recorded",
                subject_ref=bytes(opt_out.opt_out_ref),
                seq=0,
                prev=None,
                values=values,
                parties=[opt_out.organization_id],
                at=opt_out.recorded_at,
            )
            for livemode in modes
        ]
    )


def _reason(text: str) -> str:
    text = text.strip()
    if not 0 < len(text) <= REASON_LENGTH_MAX:
        raise InvalidInput(
            _("Say why, in up to %(max)s characters.") % {"max": REASON_LENGTH_MAX}, param="reason"
        )
    return text


# --- which works ------------------------------------------------------------------------------

# How each way of naming works finds them, at one organization.
_CHOSEN = {
    "digests": (
        "SELECT work_id AS id, encode(digest, 'hex') AS name FROM marketplace_representation"
        " WHERE organization_id = %(organization)s AND digest = ANY(%(given)s::bytea[])"
    ),
    "works": (
        "SELECT id, id::text AS name FROM marketplace_work"
        " WHERE organization_id = %(organization)s AND id = ANY(%(given)s::uuid[])"
    ),
    "external_ids": (
        "SELECT id, external_id AS name FROM marketplace_work"
        " WHERE organization_id = %(organization)s AND external_id = ANY(%(given)s::text[])"
    ),
    # Also what was taken out of the collection since: snapshots made before still hold it.
    "collection": (
        "SELECT work_id AS id FROM marketplace_collectionitem"
        " WHERE organization_id = %(organization)s AND collection_number = %(given)s"
    ),
    "contributor": (
        "SELECT id FROM marketplace_work"
        " WHERE organization_id = %(organization)s AND contributor_id = %(given)s"
    ),
}

# Every representation of those works, ascending; and the opt-out that took it out, if one did.
_FORMS = """
SELECT form.digest, reserved.cause
FROM (SELECT DISTINCT id FROM ({chosen}) each) chosen
JOIN marketplace_representation form ON form.work_id = chosen.id
LEFT JOIN marketplace_reserveddigest reserved ON reserved.digest = form.digest
    AND reserved.organization_id = %(organization)s AND reserved.reason = 'opted_out'
    AND reserved.ended_at IS NULL
ORDER BY form.digest
"""

_OWNERS = """
SELECT organization.* FROM marketplace_organization organization
WHERE EXISTS (
    SELECT FROM marketplace_representation form
    WHERE form.organization_id = organization.id AND form.digest = ANY(%(digests)s::bytea[])
) ORDER BY organization.id
"""

# Begins at what is reserved, which is little, and not at the snapshot's works, which may be many.
_EXCLUDED = """
FROM (
    SELECT digest FROM marketplace_reserveddigest
    WHERE organization_id = %(organization)s AND ended_at IS NULL
    UNION
    SELECT digest FROM marketplace_reserveddigest
    WHERE organization_id IS NULL AND ended_at IS NULL
) reserved
JOIN marketplace_representation form
    ON form.organization_id = %(organization)s AND form.digest = reserved.digest
JOIN marketplace_collectionitem item
    ON item.organization_id = form.organization_id AND item.representation_id = form.id
WHERE item.collection_number = %(collection)s AND item.added_in <= %(number)s
    AND (item.removed_in IS NULL OR item.removed_in > %(number)s)
"""
_UNITS_OUT = f"""
SELECT unit.key, sum(unit.value::bigint)
FROM (SELECT item.units {_EXCLUDED}) out, jsonb_each_text(out.units) unit GROUP BY 1
"""


def _excluded(snapshot: Snapshot, statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            {
                "organization": snapshot.organization_id,
                "collection": snapshot.collection.number,
                "number": snapshot.number,
            },
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _resolve(caller: Caller, chosen: Chosen) -> tuple[list[bytes], str | None]:
    """The digests that are not out yet, ascending; and which opt-out took out the first other."""
    name, value = chosen.only()
    given = _given(caller, name, value)
    names = {"organization": caller.organization.pk, "given": given}
    with connection.cursor() as cursor:
        if isinstance(given, list):
            _check_known(cursor, name, given, names)
        cursor.execute(_FORMS.format(chosen=_CHOSEN[name]), names)
        rows = cursor.fetchall()
    causes = [cause for _digest, cause in rows if cause is not None]
    return [bytes(digest) for digest, cause in rows if cause is None], min(causes, default=None)


def _given(caller: Caller, name: str, value: Any) -> Any:
    """What was named, as its query takes it. Raises InvalidInput, NotFound."""
    if name == "collection":
        return Collection.objects.get_visible(caller, value).number
    if name == "contributor":
        return Contributor.objects.get_visible(caller, value).pk
    if name == "works":
        return [_work_id(index, text) for index, text in enumerate(value)]
    if name == "digests":
        for index, digest in enumerate(value):
            if len(digest) != DIGEST_LENGTH:
                raise InvalidInput(_("Give a SHA-256."), param=f"digests[{index}]")
    return list(value)


def _work_id(index: int, text: str) -> TypeID:
    try:
        return TypeID.parse("wrk", text)
    except ValueError:
        raise InvalidInput(_("Give a work's id."), param=f"works[{index}]") from None


def _check_known(cursor: Any, name: str, given: list[Any], names: dict[str, Any]) -> None:
    """Refuse all where one is unknown: a typo must not leave a work on sale."""
    cursor.execute(f"SELECT each.name FROM ({_CHOSEN[name]}) each", names)
    known = {row[0] for row in cursor.fetchall()}
    for index, each in enumerate(given):
        if _as_queried(each) not in known:
            raise InvalidInput(_("Your organization has no such work."), param=f"{name}[{index}]")


def _as_queried(each: Any) -> str:
    """A digest, a work's key or an external id as PostgreSQL writes it."""
    if isinstance(each, bytes):
        return each.hex()
    return str(UUID(int=each.int)) if isinstance(each, UUID) else str(each)


def _of(organization: UUID, digests: Sequence[bytes]) -> list[bytes]:
    """Those of some digests that an organization has."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT digest FROM marketplace_representation"
            " WHERE organization_id = %s AND digest = ANY(%s::bytea[])",
            [organization, list(digests)],
        )
        return [bytes(digest) for (digest,) in cursor.fetchall()]
