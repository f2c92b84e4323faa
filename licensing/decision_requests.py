"""Decision requests: what a caller's grants say about works. Writes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _

from licensing import clauses, decisions, windows
from licensing.clauses import Compiled, Question
from licensing.decisions import Candidate, Decision, State
from licensing.ledger import log, notes, succession, tiles
from licensing.models import Agreement, Grant, GrantEvent, GrantQuerySet, Period
from marketplace import reservations
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput, NotFound, NotSupportedYet
from marketplace.typeid import TypeID

WORKS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """Which works, and of which grants: those given narrow the caller's grants."""

    # Works by their digests, or by the licensor's ids. None of both: for anything of a grant.
    digests: Sequence[bytes] = ()
    external_ids: Sequence[str] = ()
    grant: str | None = None
    collection: str | None = None
    licensor: str | None = None


def decide(
    caller: Caller, question: Question, asked: Asked, *, as_of: int | None = None
) -> list[Decision]:
    """Answer one question for each work, in the order asked, by what the caller holds.

    Where no work is named, the one answer is about anything of those grants. Reads in one
    transaction; the number of statements does not grow with the works. Raises NotFound for a
    grant that the caller does not hold, InvalidInput, NotSupportedYet.
    """
    _check(asked)
    with acting(caller, writing=False):
        _check_as_of(caller, as_of)
        if asked.grant is not None:
            _check_held(caller, asked.grant)
        found = _found(caller, asked)
        ids = {grant for covers in found.values() for grant in covers}
        grants = _grants(caller, ids, question.at)
        holds_grants = bool(found) or asked.grant is not None or _held(caller).exists()
    return list(_answers(question, asked, found, grants, holds_grants))


def _check(asked: Asked) -> None:
    named = (asked.digests, asked.external_ids)
    if all(named):
        raise InvalidInput(
            _("Name works by their digests or by external ids, not both."), param="external_ids"
        )
    if not any(named) and asked.grant is None and asked.collection is None:
        raise InvalidInput(
            _("Name works; or a grant or a collection, to ask for anything of it."), param="works"
        )
    if asked.external_ids and asked.licensor is None and asked.grant is None:
        raise InvalidInput(
            _("External ids are the licensor's own: say whose, or name the grant."),
            param="licensor",
        )


def _check_as_of(caller: Caller, as_of: int | None) -> None:
    if as_of is None:
        return
    newest = tiles.newest_checkpoint(succession.current(log.name(livemode=caller.livemode)))
    size = 0
    if newest is not None:
        size = notes.parse_checkpoint(notes.split_note(newest.note)[0]).size
    if as_of != size:
        raise NotSupportedYet(
            _("Decisions are made as of the newest ledger size, which is %(size)s. Leave it out.")
            % {"size": size},
            param="as_of",
        )


def _held(caller: Caller) -> GrantQuerySet:
    return Grant.objects.visible_to(caller).filter(licensee=caller.organization)


def _check_held(caller: Caller, id: str) -> None:
    """Raise the NotFound of what is not there also for a grant that the caller gave."""
    if not _held(caller).filter(pk=TypeID.parse("grt", id)).exists():
        raise NotFound(_("You hold no grant “%(id)s”.") % {"id": id}, grant=id)


# --- what is covered --------------------------------------------------------------------------

# A work under a grant: since when, in microseconds of Unix time, and why its bytes are reserved,
# if they are. Of many equal instants, none is made before it is needed.
Cover = tuple[int, str | None]
# By work (a digest, an external id; None: anything) and grant.
Covers = dict[Any, dict[UUID, Cover]]

_UNIX_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_SINCE = "(extract(epoch FROM min(covered.effective_from)) * 1000000)::bigint"

_COVERED = """
WITH covered AS MATERIALIZED (
    SELECT coverage.grant_id, coverage.licensor_id, coverage.effective_from, snapshot.number,
        collection.number AS collection_number
    FROM licensing_coverage coverage
    JOIN licensing_snapshot snapshot ON snapshot.id = coverage.snapshot_id
    JOIN marketplace_collection collection ON collection.id = snapshot.collection_id
    WHERE coverage.licensee_id = %(licensee)s AND coverage.livemode = %(livemode)s
        AND (%(grant)s::uuid IS NULL OR coverage.grant_id = %(grant)s)
        AND (%(collection)s::uuid IS NULL OR snapshot.collection_id = %(collection)s)
        AND (%(licensor)s::uuid IS NULL OR coverage.licensor_id = %(licensor)s)
), seller AS (
    SELECT DISTINCT licensor_id FROM covered
)
"""
_ANYTHING = f"""
SELECT NULL, grant_id, {_SINCE}, NULL FROM covered GROUP BY grant_id
"""
# Each step is taken once for a work, not once for each of its grants: hence materialized. The
# reservation is read in the statement that reads the coverage: who asks after an opt-out's commit
# sees both or neither.
_IN_A_SNAPSHOT = f"""
, held AS MATERIALIZED (
    SELECT asked.name, asked.reserved, asked.organization_id, item.collection_number,
        item.added_in, item.removed_in
    FROM asked
    JOIN marketplace_collectionitem item
        ON item.organization_id = asked.organization_id AND item.representation_id = asked.id
)
SELECT held.name, covered.grant_id, {_SINCE}, max(held.reserved)
FROM held
JOIN covered
    ON covered.collection_number = held.collection_number
    AND covered.licensor_id = held.organization_id
    AND held.added_in <= covered.number
    AND (held.removed_in IS NULL OR held.removed_in > covered.number)
GROUP BY held.name, covered.grant_id
"""
_BY_DIGEST = f"""
, asked AS MATERIALIZED (
    SELECT form.id, form.organization_id, form.digest AS name,
        {reservations.RESERVED_FOR} AS reserved
    FROM seller
    JOIN marketplace_representation form
        ON form.organization_id = seller.licensor_id AND form.digest = ANY(%(digests)s)
)
{_IN_A_SNAPSHOT}
"""
_BY_EXTERNAL_ID = f"""
, asked AS MATERIALIZED (
    SELECT form.id, form.organization_id, work.external_id AS name,
        {reservations.RESERVED_FOR} AS reserved
    FROM seller
    JOIN marketplace_work work
        ON work.organization_id = seller.licensor_id AND work.external_id = ANY(%(external_ids)s)
    JOIN marketplace_representation form ON form.work_id = work.id
)
{_IN_A_SNAPSHOT}
"""


def _found(caller: Caller, asked: Asked) -> Covers:
    if asked.digests:
        statement = _COVERED + _BY_DIGEST
    elif asked.external_ids:
        statement = _COVERED + _BY_EXTERNAL_ID
    else:
        statement = _COVERED + _ANYTHING
    found: Covers = {}
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            {
                "licensee": caller.organization.pk,
                "livemode": caller.livemode,
                "grant": _uuid("grt", asked.grant),
                "collection": _uuid("col", asked.collection),
                "licensor": _uuid("org", asked.licensor),
                "digests": list(asked.digests),
                "external_ids": list(asked.external_ids),
            },
        )
        for work, grant, since, reserved in cursor.fetchall():
            key = bytes(work) if asked.digests else work
            found.setdefault(key, {})[grant] = (since, reserved)
    return found


def _uuid(prefix: str, id: str | None) -> UUID | None:
    return None if id is None else TypeID.parse(prefix, id)


# --- what the grants permit -------------------------------------------------------------------


def _grants(caller: Caller, ids: Iterable[UUID], at: datetime) -> dict[UUID, decisions.Grant]:
    """The facts of grants that hold for all of their works, for a question about an instant."""
    # Values of one statement: the objects would cost more than the decisions.
    rows = list(
        Period.objects.visible_to(caller)
        .filter(licensee=caller.organization, grant__in=list(ids))
        .annotate(has_events=Exists(GrantEvent.objects.filter(grant=OuterRef("grant"))))
        .order_by("grant", "number")
        .values_list(
            "grant",
            "grant__status",
            "grant__ended_at",
            "grant__agreement__controlling",
            "has_events",
            "terms__typed",
            "scope",
            "training_window",
            "use_window",
        )
    )
    events = _events(caller, {row[0] for row in rows if row[4]})
    found: dict[UUID, decisions.Grant] = {}
    for (id, status, ended_at, controlling, _has), periods in groupby(rows, lambda row: row[:5]):
        state = State(status)
        if id in events:
            state, ended_at = standing(events[id], at)
        found[id] = decisions.Grant(
            id=str(id),
            periods=_periods([row[5:] for row in periods]),
            state=state,
            ended_at=ended_at,
            typed_controls=controlling == Agreement.Controlling.TYPED,
        )
    return found


# An event's kind, and when it takes effect.
Event = tuple[str, datetime]


def _events(caller: Caller, grants: set[UUID]) -> dict[UUID, list[Event]]:
    """What was recorded of grants, in its order. Most have nothing: they cost no statement."""
    if not grants:
        return {}
    rows = (
        GrantEvent.objects.visible_to(caller)
        .filter(grant__in=grants)
        .order_by("grant", "number")
        .values_list("grant", "kind", "effective_at")
    )
    return {
        id: [(kind, effective_at) for _id, kind, effective_at in events]
        for id, events in groupby(rows, lambda row: row[0])
    }


def standing(events: Sequence[Event], at: datetime) -> tuple[State, datetime | None]:
    """How a grant stands at an instant, and since when; of an active one, how it ends, and when.

    Of the events that are in effect, the one recorded last counts. That leaves a suspension which
    was lifted standing for the time that it lasted.
    """
    counts = max((n for n, (_kind, since) in enumerate(events) if since <= at), default=-1)
    state = State(GrantEvent.STATUS[events[counts][0]]) if counts >= 0 else State.ACTIVE
    if state is not State.ACTIVE:
        return state, events[counts][1]
    # What was recorded before the one that counts was replaced by it.
    stops = [
        (since, -n, State(GrantEvent.STATUS[kind]))
        for n, (kind, since) in enumerate(events)
        if n > counts and since > at
    ]
    for since, _order, following in sorted(stops):
        if following is not State.ACTIVE:
            return following, since
    return State.ACTIVE, None


# No time is in it.
_NEVER = (datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC))


def _periods(rows: Sequence[Any]) -> tuple[decisions.Period, ...]:
    """A grant's periods, each for as long as no later one has taken over from it."""
    typed, scopes, training, use = zip(*rows, strict=True)
    counting = zip(typed, scopes, windows.in_turn(training), windows.in_turn(use), strict=True)
    return tuple(
        decisions.Period(
            _compiled(terms, json.dumps(scope, sort_keys=True)),
            training=trained or _NEVER,
            use=used or _NEVER,
        )
        for terms, scope, trained, used in counting
    )


# Published terms never change, so what was read out of them once stays true.
@lru_cache(maxsize=1024)
def _compiled(typed: str, scope: str) -> Compiled:
    return clauses.compile_terms(json.loads(typed), json.loads(scope))


# --- the answers ------------------------------------------------------------------------------


def _answers(
    question: Question,
    asked: Asked,
    found: Covers,
    grants: dict[UUID, decisions.Grant],
    holds_grants: bool,
) -> Iterator[Decision]:
    # Works of one collection are mostly covered alike: the same facts get the same answer.
    given: dict[Any, Decision] = {}
    for work in asked.digests or asked.external_ids or (None,):
        covers = found.get(work, {})
        facts = frozenset(covers.items())
        if facts not in given:
            candidates = [
                Candidate(grants[grant], _UNIX_TIME + timedelta(microseconds=since), reserved)
                for grant, (since, reserved) in covers.items()
            ]
            given[facts] = decisions.decide(question, candidates, holds_grants=holds_grants)
        yield given[facts]
