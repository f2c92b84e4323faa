"""Decisions: may these works be used so? One pure function over compiled clauses. No Django.

What it means, with worked examples: api_docs/decision_semantics.md. A change of meaning is a new
ENGINE; answers name theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

from licensing import vocabulary
from licensing.clauses import (
    DIMENSIONS,
    PLACES,
    Clause,
    Compiled,
    Match,
    Question,
    can_hold_undenied,
)
from licensing.vocabulary import Use, Window

ENGINE = "2"

# The one rights layer of grants that tell none apart.
ALL_LAYERS = "all"


class Answer(IntEnum):
    """Ordered: across grants the best counts, across rights layers and places the worst."""

    DENY = 0
    NEEDS_REVIEW = 1
    PERMIT = 2

    @property
    def word(self) -> str:
        return self.name.lower()


class Code(StrEnum):
    """Why. A promise to clients: documented, never renamed."""

    PERMITTED = "permitted"
    DENIED_BY_CLAUSE = "denied_by_clause"
    # No clause permits it; `dimension` says where the nearest clause ends.
    NOT_PERMITTED = "not_permitted"
    # The terms would permit it, and it was not bought.
    NOT_IN_SCOPE = "not_in_scope"
    OUTSIDE_WINDOW = "outside_window"
    # The question leaves out what a clause asks for.
    QUESTION_INCOMPLETE = "question_incomplete"
    # Words of a contract that only a human can read.
    NEEDS_A_HUMAN = "needs_a_human"
    OPTED_OUT = "opted_out"
    HELD = "held"
    GRANT_SUSPENDED = "grant_suspended"
    GRANT_REVOKED = "grant_revoked"
    GRANT_EXPIRED = "grant_expired"
    NOT_COVERED = "not_covered"
    NO_GRANT = "no_grant"


class State(StrEnum):
    """A grant's state, as its row has it."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    EXPIRED = "expired"


# --- grants -----------------------------------------------------------------------------------

Interval = tuple[datetime, datetime | None]


@dataclass(frozen=True, slots=True)
class Period:
    """What a grant permits, and when: half-open intervals; an end of None is no end."""

    compiled: Compiled
    training: Interval
    use: Interval

    def window(self, use: Use) -> Interval:
        return self.training if vocabulary.USE_WINDOWS[use] is Window.TRAINING else self.use


@dataclass(frozen=True, slots=True)
class Grant:
    """What is the same about a grant for every work."""

    id: str
    periods: tuple[Period, ...]
    layer: str = ALL_LAYERS
    state: State = State.ACTIVE
    ended_at: datetime | None = None
    # False: the contract's own words control, so that a human reads before a permit.
    typed_controls: bool = True


@dataclass(frozen=True, slots=True)
class Candidate:
    """A grant, and what is true of it for one work."""

    grant: Grant
    # Since when it covers the work; None: it does not.
    covered_from: datetime | None
    # Why the licensor may not license these bytes now: "opted_out", "held", "claimed".
    reserved: str | None = None


# --- the answer -------------------------------------------------------------------------------


# Named tuples: they are made in half the time of frozen dataclasses, and many are made.
class Reason(NamedTuple):
    """One reason, with where to look."""

    code: Code
    clause: str | None = None
    grant: str | None = None
    dimension: str | None = None

    def as_dict(self) -> dict[str, Any]:
        given = {"clause": self.clause, "grant": self.grant, "dimension": self.dimension}
        return {"code": self.code.value, **{k: v for k, v in given.items() if v is not None}}


class Decision(NamedTuple):
    """The answer, and what it rests on."""

    answer: Answer
    grant: str | None = None
    clause: str | None = None
    # What a permit obliges to, each with its clause and grant.
    duties: tuple[Mapping[str, Any], ...] = ()
    # A permit holds until then as things stand now; None: no end is known.
    valid_until: datetime | None = None
    reasons: tuple[Reason, ...] = ()
    engine: str = ENGINE

    def as_dict(self) -> dict[str, Any]:
        """JSON, as the API and the offline tool print it."""
        ends = self.valid_until
        return {
            "decision": self.answer.word,
            "grant": self.grant,
            "clause": self.clause,
            "duties": [dict(duty) for duty in self.duties],
            "valid_until": None if ends is None else instant(ends),
            "reasons": [reason.as_dict() for reason in self.reasons],
            "engine": self.engine,
        }


def instant(at: datetime) -> str:
    """RFC 3339 in UTC; microseconds only where there are some."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def decide(
    question: Question,
    candidates: Sequence[Candidate],
    *,
    layers: Sequence[str] = (ALL_LAYERS,),
    holds_grants: bool = False,
) -> Decision:
    """Answer one question about one work.

    `candidates` are the asker's grants that may bear on the work; `holds_grants` says that there
    are others, which do not cover it. `layers` are the rights that the use needs, each from some
    grant.
    """
    parts = [
        _best(question, asked, [each for each in candidates if each.grant.layer == layer])
        or _nothing(bool(candidates) or holds_grants)
        for layer in layers
        for asked in _cells(question, candidates)
    ]
    if len(parts) == 1:
        return parts[0]
    worst = min(parts, key=lambda part: (*_order(part), part.grant or "", part.clause or ""))
    if worst.answer is not Answer.PERMIT:
        return worst
    # All are permits: the answer rests on all of them.
    return worst._replace(
        duties=_unique(duty for part in parts for duty in part.duties),
        reasons=_unique(reason for part in parts for reason in part.reasons),
    )


_NO_END = datetime.max.replace(tzinfo=UTC)


def _order(part: Decision) -> tuple[Answer, datetime]:
    return (part.answer, part.valid_until or _NO_END)


def _unique(values: Iterable[Any]) -> tuple[Any, ...]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return tuple(found)


def _nothing(holds_grants: bool) -> Decision:
    code = Code.NOT_COVERED if holds_grants else Code.NO_GRANT
    return Decision(Answer.DENY, reasons=(Reason(code),))


def _cells(question: Question, candidates: Sequence[Candidate]) -> list[int]:
    """Split a question about groups of countries so that no clause's border runs through a part.

    The countries of a part get the same answer, so one answer for each part is one for each.
    """
    cells = [question.asked]
    for dimension in PLACES:
        group = question.asked & dimension.full
        if not group & (group - 1):
            continue  # one country, or unknown
        borders = {
            border & dimension.full
            for each in candidates
            for period in each.grant.periods
            for border in period.compiled.borders[question.use]
        }
        parts = [group]
        for border in sorted(borders):
            parts = [p for part in parts for p in (part & border, part & ~border) if p]
        if len(parts) > 1:
            cells = [cell & ~dimension.full | part for cell in cells for part in parts]
    return cells


def _best(question: Question, asked: int, candidates: Sequence[Candidate]) -> Decision | None:
    """The best answer of the grants of one rights layer. None: none of them covers the work."""
    best: Decision | None = None
    # Of the grants that answer as the best does, when that is no permit.
    reasons: list[Reason] = []
    for candidate in candidates:
        since = candidate.covered_from
        if since is None or question.at < since:
            continue
        found = _of_grant(question, asked, candidate)
        if best is None or found.answer > best.answer:
            best, reasons = found, list(found.reasons)
        elif found.answer == best.answer:
            reasons += found.reasons
            if _comes_first(found, best):
                best = found
    if best is None or best.answer is Answer.PERMIT or len(reasons) == len(best.reasons):
        return best
    return best._replace(reasons=tuple(sorted(reasons, key=_reason_order)))


def _comes_first(found: Decision, best: Decision) -> bool:
    """Equal answers are told apart by what they say, never by the order that they came in."""
    if found.valid_until != best.valid_until:
        return _order(found) > _order(best)
    return (found.grant or "") < (best.grant or "")


def _reason_order(reason: Reason) -> tuple[str, ...]:
    return tuple(part or "" for part in (reason.grant, reason.clause, reason.code))


# What stands in the way of a work, by why the licensor may not license its bytes now.
RESERVED = {"opted_out": Code.OPTED_OUT, "held": Code.HELD, "claimed": Code.HELD}
_STOPPED = {
    State.SUSPENDED: Code.GRANT_SUSPENDED,
    State.REVOKED: Code.GRANT_REVOKED,
    State.EXPIRED: Code.GRANT_EXPIRED,
}


def _stopped(question: Question, candidate: Candidate) -> Code | None:
    """What acts on coverage, before any clause is read."""
    if candidate.reserved is not None:
        return RESERVED[candidate.reserved]
    grant = candidate.grant
    if grant.state is State.ACTIVE:
        return None
    # An end takes nothing from the time before it.
    if grant.ended_at is not None and question.at < grant.ended_at:
        return None
    return _STOPPED[grant.state]


def _of_grant(question: Question, asked: int, candidate: Candidate) -> Decision:
    grant, use = candidate.grant, question.use
    stopped = _stopped(question, candidate)
    if stopped is not None:
        return _denied(grant, Reason(stopped, grant=grant.id))
    serves = vocabulary.USE_WINDOWS[use] is Window.USE
    open_periods = []
    for period in grant.periods:
        starts, ends = period.use if serves else period.training
        if starts <= question.at and (ends is None or question.at < ends):
            open_periods.append((period, ends))
    if not open_periods:
        return _denied(grant, Reason(Code.OUTSIDE_WINDOW, grant=grant.id, dimension="at"))
    maybe: list[Clause] = []
    for period, _ends in open_periods:
        for clause in period.compiled.denies[use]:
            match = clause.match(question, asked)
            if match is Match.MATCHED:
                return _denied(grant, Reason(Code.DENIED_BY_CLAUSE, clause.number, grant.id))
            if match is Match.UNKNOWN:
                maybe.append(clause)
    best: tuple[datetime, str] | None = None
    rests_on: Period | None = None
    possible: list[tuple[Clause, Match]] = []
    for period, ends in open_periods:
        for clause in period.compiled.permits[use]:
            match = clause.match(question, asked)
            if match is Match.MATCHED and not maybe and grant.typed_controls:
                key = (ends or _NO_END, clause.number)
                if best is None or key[0] > best[0]:
                    best, rests_on = key, period
            elif match is not Match.UNMATCHED:
                possible.append((clause, match))
    if best is not None and rests_on is not None:
        return _permitted(question, grant, rests_on, best[1], best[0])
    if any(can_hold_undenied(question, asked, clause, maybe) for clause, _ in possible):
        return _unsure(question, grant, possible, maybe)
    if possible:
        # Whatever is unknown, where a permit holds a prohibition holds too.
        return _denied(grant, Reason(Code.DENIED_BY_CLAUSE, maybe[0].number, grant.id))
    return _denied(grant, _nearest(question, asked, grant, [period for period, _ in open_periods]))


def _denied(grant: Grant, reason: Reason) -> Decision:
    return Decision(Answer.DENY, grant.id, reason.clause, reasons=(reason,))


def _permitted(
    question: Question, grant: Grant, period: Period, clause: str, ends: datetime
) -> Decision:
    # A later period may prohibit what this one permits; an end that is known ends it too.
    for later in grant.periods:
        begins = later.window(question.use)[0]
        if question.at < begins < ends and later.compiled.denies[question.use]:
            ends = begins
    if grant.ended_at is not None and grant.ended_at < ends:
        ends = grant.ended_at
    return Decision(
        Answer.PERMIT,
        grant.id,
        clause,
        tuple({**duty, "grant": grant.id} for duty in period.compiled.duties),
        None if ends == _NO_END else ends,
        (Reason(Code.PERMITTED, clause, grant.id),),
    )


def _unsure(
    question: Question,
    grant: Grant,
    possible: Sequence[tuple[Clause, Match]],
    maybe: Sequence[Clause],
) -> Decision:
    unknown = [clause for clause, match in possible if match is Match.UNKNOWN]
    reasons = [
        reason for clause in (*unknown, *maybe) for reason in _open_ends(question, grant, clause)
    ]
    if not grant.typed_controls:
        reasons.append(Reason(Code.NEEDS_A_HUMAN, grant=grant.id, dimension="document"))
    first = min(possible, key=lambda each: (-each[1], each[0].number))[0]
    return Decision(
        Answer.NEEDS_REVIEW,
        grant.id,
        first.number,
        reasons=tuple(sorted(_unique(reasons), key=_reason_order)),
    )


def _open_ends(question: Question, grant: Grant, clause: Clause) -> Iterator[Reason]:
    """Why a clause is unknown: one reason for each thing that would have to be known."""
    if clause.other:
        yield Reason(Code.NEEDS_A_HUMAN, clause.number, grant.id, "other")
    if clause.match_model(question.model) is Match.UNKNOWN:
        yield Reason(Code.QUESTION_INCOMPLETE, clause.number, grant.id, "model")
    for name, dimension in DIMENSIONS.items():
        if clause.constrains & question.missing & dimension.full:
            yield Reason(Code.QUESTION_INCOMPLETE, clause.number, grant.id, name)


def _nearest(question: Question, asked: int, grant: Grant, periods: Sequence[Period]) -> Reason:
    """Where the nearest permit ends: the one that fails in the fewest dimensions."""
    use = question.use
    failing: list[tuple[int, str, Reason]] = []
    for period in periods:
        for clause in period.compiled.permits[use]:
            found = list(_failures(question, asked, grant, clause))
            failing.append((len(found), clause.number, found[0]))
    if failing:
        return min(failing, key=lambda each: each[:2])[2]
    offered = any(use in period.compiled.offered_uses for period in periods)
    code = Code.NOT_IN_SCOPE if offered else Code.NOT_PERMITTED
    return Reason(code, grant=grant.id, dimension="use")


def _failures(question: Question, asked: int, grant: Grant, clause: Clause) -> Iterator[Reason]:
    outside = asked & ~clause.allowed | clause.emptied
    for name, dimension in DIMENSIONS.items() if outside else ():
        if outside & dimension.full:
            part = asked & dimension.full
            code = Code.NOT_IN_SCOPE if part & clause.offered == part else Code.NOT_PERMITTED
            yield Reason(code, clause.number, grant.id, name)
    if clause.match_model(question.model) is Match.UNMATCHED:
        yield Reason(_model_code(question, clause), clause.number, grant.id, "model")


def _model_code(question: Question, clause: Clause) -> Code:
    rule = clause.models
    offered = rule is None or rule.match(question.model) is not Match.UNMATCHED
    return Code.NOT_IN_SCOPE if offered else Code.NOT_PERMITTED
