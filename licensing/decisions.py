"""Decisions: may these works be used so? One pure function over compiled clauses. No Django.

What it means, with worked examples: api_docs/decision_semantics.md. A change of meaning is a new
ENGINE; answers name theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

from licensing import vocabulary
from licensing.vocabulary import Use, Window

ENGINE = "1"

# The one rights layer of grants that tell none apart.
ALL_LAYERS = "all"

# Words of a question that say "none of those that a clause may name".
NONE = "none"
RELEASES = ("closed_api", "open_weights", "internal_only")
FIELDS = ("commercial", "non_commercial", "education", "government", "personal")
SECTORS = (
    "ads_targeting",
    "surveillance",
    "law_enforcement",
    "competitor_product",
    "credit_insurance",
    "military",
)
LINEAGES = ("finetune_of", "distilled_from", "merged_from", "synthetic_from", "embedding_of")

# How many pieces of the open dimensions are looked at before a human is asked: a bound on what
# terms made for the purpose could cost. No terms that were seen come near it.
_PIECES_MAX = 10_000


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


# --- the small dimensions as bits of one integer ----------------------------------------------


@dataclass(frozen=True, slots=True)
class _Dimension:
    """A closed vocabulary: each word is one bit of an integer that all dimensions share."""

    name: str
    words: Mapping[str, int]
    # All of its bits.
    full: int


def _lay_out(**vocabularies: Iterable[str]) -> dict[str, _Dimension]:
    found, place = {}, 0
    for name, words in vocabularies.items():
        bits = {}
        for word in words:
            bits[word] = 1 << place
            place += 1
        found[name] = _Dimension(name, bits, sum(bits.values()))
    return found


_COUNTRIES = sorted(vocabulary.COUNTRY_NUMBERS)
_DIMENSIONS = _lay_out(
    territory=_COUNTRIES,
    availability=_COUNTRIES,
    release=RELEASES,
    field=FIELDS,
    # What is none of them is a case of its own: no list of sectors is the whole world of them.
    sector=(*SECTORS, NONE),
    lineage=(*LINEAGES, NONE),
)
_PLACES = (_DIMENSIONS["territory"], _DIMENSIONS["availability"])
_EVERYTHING = sum(dimension.full for dimension in _DIMENSIONS.values())


def _bits(name: str, words: Iterable[str]) -> int:
    """The bits of some words. Raises KeyError for an unknown one."""
    dimension = _DIMENSIONS[name]
    known = vocabulary.countries(words) if dimension in _PLACES else words
    return sum(dimension.words[word] for word in set(known))


# --- the question -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Model:
    """The model that a question is about, as far as it says."""

    name: str | None = None
    version: str | None = None
    family: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A point: one value in each dimension that is known. Made by `ask`.

    A group of countries stands for each of them: all must be permitted.
    """

    use: Use
    at: datetime
    model: Model
    # The bits of what is asked, and all bits of the dimensions that are left out.
    asked: int
    missing: int


def ask(
    *,
    use: str,
    at: datetime,
    territory: str | None = None,
    availability: str | None = None,
    model: Model | None = None,
    release: str | None = None,
    field: str | None = None,
    sector: str | None = None,
    lineage: str | None = None,
) -> Question:
    """Put a question. What is left out is unknown; `sector` and `lineage` may be "none".

    Raises ValueError for an unknown use, KeyError for another unknown word.
    """
    if at.tzinfo is None:
        raise ValueError("a question's instant has a time zone")
    given = {
        "territory": territory,
        "availability": availability,
        "release": release,
        "field": field,
        "sector": sector,
        "lineage": lineage,
    }
    asked = missing = 0
    for name, word in given.items():
        if word is None:
            missing |= _DIMENSIONS[name].full
        else:
            asked |= _bits(name, [word])
    return Question(Use(use), at, model or Model(), asked, missing)


# --- clauses ----------------------------------------------------------------------------------


class _Match(IntEnum):
    UNMATCHED = 0
    UNKNOWN = 1
    MATCHED = 2


@dataclass(frozen=True, slots=True)
class ModelRule:
    """Which models a permit is for."""

    scope: str
    names: tuple[str, ...]
    successors: str = NONE

    def match(self, asked: Model) -> _Match:
        if self.scope == "named_model":
            found = _one_of(asked.name, self.names)
        elif self.scope == "model_family":
            return _one_of(asked.family, self.names)
        elif self.scope == "named_version":
            found = max((self._version(asked, each) for each in self.names), default=_Match(0))
        else:
            # Up to n models: which of a licensee's models count is recorded nowhere yet.
            return _Match.UNKNOWN
        if self.successors == "family" and found is _Match.UNMATCHED:
            # The family is that of the models named; only a human knows who belongs to it.
            families = {name.rpartition("@")[0] or name for name in self.names}
            return _Match.MATCHED if asked.family in families else _Match.UNKNOWN
        return found

    def _version(self, asked: Model, entry: str) -> _Match:
        name, _at, version = entry.rpartition("@")
        if asked.name not in (None, name):
            return _Match.UNMATCHED
        if asked.version is None or asked.version == version:
            known = asked.name is not None and asked.version is not None
            return _Match.MATCHED if known else _Match.UNKNOWN
        if self.successors != "minor_versions":
            return _Match.UNMATCHED
        found = _is_minor_successor(asked.version, version)
        return min(found, _Match.UNKNOWN) if asked.name is None else found


def _one_of(asked: str | None, names: Sequence[str]) -> _Match:
    if asked is None:
        return _Match.UNKNOWN
    return _Match.MATCHED if asked in names else _Match.UNMATCHED


def _is_minor_successor(version: str, of: str) -> _Match:
    """Whether 2.3 follows 2.1. Versions that are no dotted numbers are for a human."""
    try:
        asked, named = ([int(part) for part in each.split(".")] for each in (version, of))
    except ValueError:
        return _Match.UNKNOWN
    return _Match.MATCHED if asked[0] == named[0] and asked >= named else _Match.UNMATCHED


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause as the engine reads it."""

    # "2.1" for the first permit, "3.1" for the first prohibition.
    number: str
    # None: every use.
    uses: frozenset[str] | None
    # The bits that it is about; all bits of a dimension that it does not constrain.
    allowed: int = _EVERYTHING
    # All bits of the dimensions that it constrains.
    constrains: int = 0
    models: ModelRule | None = None
    # It has words that only a human can read.
    other: bool = False
    # A permit's bits before the bought scope narrowed them.
    offered: int = _EVERYTHING
    # All bits of the dimensions of which the bought scope left nothing: it can never hold.
    emptied: int = 0

    def match(self, question: Question, asked: int) -> _Match:
        """Compare with a question about this use. `asked`: uniform in places, see `_cells`."""
        if self.emptied or asked & self.allowed != asked:
            return _Match.UNMATCHED
        found = _Match.MATCHED if self.models is None else self.models.match(question.model)
        if self.other or self.constrains & question.missing:
            return min(found, _Match.UNKNOWN)
        return found


@dataclass(frozen=True, slots=True)
class Compiled:
    """A terms version as it was bought, ready for questions. Made by `compile_terms`."""

    # By use: the clauses that speak of it.
    permits: Mapping[str, tuple[Clause, ...]]
    denies: Mapping[str, tuple[Clause, ...]]
    # Uses that the terms permit, bought or not.
    offered_uses: frozenset[str]
    duties: tuple[Mapping[str, Any], ...]
    # By use: the different sets of places that its clauses draw lines around.
    borders: Mapping[str, tuple[int, ...]]


def compile_terms(
    typed: Mapping[str, Any],
    scope: Mapping[str, Any] | None = None,
    duties: Sequence[Mapping[str, Any]] | None = None,
) -> Compiled:
    """Read checked typed terms, version 1 or 2, narrowed to what was bought (None: all of it).

    Raises ValueError for another version, KeyError for an unknown word.
    """
    if typed["v"] not in (1, 2):
        raise ValueError(f"typed terms of version {typed['v']} are not known here")
    read = _permit_v1 if typed["v"] == 1 else _permit_v2
    offered = [read(f"2.{place}", each) for place, each in enumerate(typed["permit"], start=1)]
    if _has_other({key: typed[key] for key in typed if key not in ("permit", "deny")}):
        offered = [replace(clause, other=True) for clause in offered]
    permits = [clause for each in offered if (clause := _narrowed(each, scope)) is not None]
    denies = [_deny(f"3.{place}", each) for place, each in enumerate(typed["deny"], start=1)]
    by_use = {
        use.value: (
            tuple(clause for clause in permits if clause.uses is None or use in clause.uses),
            tuple(clause for clause in denies if clause.uses is None or use in clause.uses),
        )
        for use in Use
    }
    return Compiled(
        permits={use: found for use, (found, _) in by_use.items()},
        denies={use: found for use, (_, found) in by_use.items()},
        offered_uses=frozenset(use for each in offered for use in each.uses or ()),
        duties=tuple(duties_v1(typed) if duties is None else duties),
        borders={use: _borders([*found, *others]) for use, (found, others) in by_use.items()},
    )


def duties_v1(typed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What terms of version 1 oblige their licensee to: `{"type", "clause", …}` each."""
    if typed["v"] != 1:
        return []
    found: list[dict[str, Any]] = []
    if typed["output"]["max_verbatim_words"] is not None:
        words = typed["output"]["max_verbatim_words"]
        found.append({"type": "output", "clause": "6.1", "max_verbatim_words": words})
    if typed["attribution"] != "none":
        found.append({"type": "attribution", "clause": "7.1", "where": typed["attribution"]})
    expiry = typed["on_expiry"]
    return [
        *found,
        {"type": "redistribution", "clause": "8.1", "to": typed["redistribution"]},
        {
            "type": "retention",
            "clause": "9.1",
            "object": "raw_copies",
            "delete_within_days": expiry["raw_copies_delete_within_days"],
        },
        {"type": "retention", "clause": "9.2", "object": "weights", "rule": expiry["weights"]},
    ]


def _permit_v1(number: str, clause: Mapping[str, Any]) -> Clause:
    models = None
    if clause["model_scope"] == "named_model":
        models = ModelRule("named_model", (clause["model_name"],))
    return _clause(
        number, clause["uses"], {"territory": clause["territories"]}, models=models, other=False
    )


def _permit_v2(number: str, clause: Mapping[str, Any]) -> Clause:
    places, models = clause["territories"], clause["models"]
    rule = None
    if models["scope"] != "any_model_of_licensee":
        names = tuple(models.get("names", ()))
        rule = ModelRule(models["scope"], names, models["successors"])
    constraints = {
        "territory": places["training"],
        "availability": places["availability"],
        "release": models["release"],
        "field": clause["fields"],
    }
    return _clause(number, clause["uses"], constraints, models=rule, other=_has_other(clause))


def _deny(number: str, clause: Mapping[str, Any]) -> Clause:
    places = clause.get("territories", {})
    constraints = {
        "territory": places.get("training"),
        "availability": places.get("availability"),
        "release": clause.get("models", {}).get("release"),
        "field": clause.get("fields"),
        "sector": clause.get("sectors"),
        "lineage": clause.get("lineage"),
    }
    return _clause(number, clause.get("uses"), constraints, other=_has_other(clause))


def _clause(
    number: str,
    uses: Iterable[str] | None,
    constraints: Mapping[str, Iterable[str] | None],
    *,
    models: ModelRule | None = None,
    other: bool,
) -> Clause:
    allowed, constrains = _EVERYTHING, 0
    for name, words in constraints.items():
        full = _DIMENSIONS[name].full
        bits = full if words is None else _bits(name, words)
        # Naming every word of a closed vocabulary constrains nothing.
        if bits != full:
            allowed &= ~full | bits
            constrains |= full
    used = None if uses is None else frozenset(uses)
    return Clause(number, used, allowed, constrains, models, other, offered=allowed)


def _narrowed(clause: Clause, scope: Mapping[str, Any] | None) -> Clause | None:
    """A permit within the bought scope; None where nothing is left of it."""
    if scope is None:
        return clause
    uses = (clause.uses or frozenset()) & frozenset(scope["uses"])
    territory = _DIMENSIONS["territory"].full
    bought = _bits("territory", scope["territories"])
    allowed = clause.allowed & (~territory | bought)
    if not uses:
        return None
    return replace(
        clause,
        uses=uses,
        allowed=allowed,
        constrains=clause.constrains | (territory if allowed & territory != territory else 0),
        emptied=0 if allowed & territory else territory,
        # A scope with more in it than this engine reads is narrower than it can tell.
        other=clause.other or not scope.keys() <= {"uses", "territories"},
    )


def _has_other(value: Any) -> bool:
    """Whether free text stands anywhere in typed terms."""
    if isinstance(value, Mapping):
        return bool(value.get("other")) or any(map(_has_other, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_other, value))


def _borders(clauses: Iterable[Clause]) -> tuple[int, ...]:
    found = {
        clause.allowed & dimension.full
        for clause in clauses
        for dimension in _PLACES
        if clause.constrains & dimension.full
    }
    return tuple(sorted(found))


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


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, with where to look."""

    code: Code
    clause: str | None = None
    grant: str | None = None
    dimension: str | None = None

    def as_dict(self) -> dict[str, Any]:
        given = {"clause": self.clause, "grant": self.grant, "dimension": self.dimension}
        return {"code": self.code.value, **{k: v for k, v in given.items() if v is not None}}


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, and what it rests on."""

    answer: Answer
    grant: str | None = None
    clause: str | None = None
    # What a permit obliges to, each with its clause and grant.
    duties: tuple[Mapping[str, Any], ...] = ()
    # A permit holds until then as things stand now; None: no end is known.
    valid_until: datetime | None = None
    reasons: tuple[Reason, ...] = ()
    engine: str = field(default=ENGINE)

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
    return replace(
        worst,
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
    for dimension in _PLACES:
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
            if _order(found) > _order(best) or _comes_first(found, best):
                best = found
    if best is None or best.answer is Answer.PERMIT or len(reasons) == len(best.reasons):
        return best
    return replace(best, reasons=tuple(sorted(reasons, key=_reason_order)))


def _comes_first(found: Decision, best: Decision) -> bool:
    """Equal answers are told apart by the grant's id, never by the order that they came in."""
    return _order(found) == _order(best) and (found.grant or "") < (best.grant or "")


def _reason_order(reason: Reason) -> tuple[str, ...]:
    return tuple(part or "" for part in (reason.grant, reason.clause, reason.code))


_UNAVAILABLE = {"opted_out": Code.OPTED_OUT, "held": Code.HELD, "claimed": Code.HELD}
_STOPPED = {
    State.SUSPENDED: Code.GRANT_SUSPENDED,
    State.REVOKED: Code.GRANT_REVOKED,
    State.EXPIRED: Code.GRANT_EXPIRED,
}


def _stopped(question: Question, candidate: Candidate) -> Code | None:
    """What acts on coverage, before any clause is read."""
    if candidate.reserved is not None:
        return _UNAVAILABLE[candidate.reserved]
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
    open_periods = [
        (period, window[1])
        for period in grant.periods
        if (window := period.window(use))[0] <= question.at
        and (window[1] is None or question.at < window[1])
    ]
    if not open_periods:
        return _denied(grant, Reason(Code.OUTSIDE_WINDOW, grant=grant.id, dimension="at"))
    maybe: list[Clause] = []
    for period, _ends in open_periods:
        for clause in period.compiled.denies[use]:
            match = clause.match(question, asked)
            if match is _Match.MATCHED:
                return _denied(grant, Reason(Code.DENIED_BY_CLAUSE, clause.number, grant.id))
            if match is _Match.UNKNOWN:
                maybe.append(clause)
    best: tuple[datetime, str] | None = None
    rests_on: Period | None = None
    possible: list[tuple[Clause, _Match]] = []
    for period, ends in open_periods:
        for clause in period.compiled.permits[use]:
            match = clause.match(question, asked)
            if match is _Match.MATCHED and not maybe and grant.typed_controls:
                key = (ends or _NO_END, clause.number)
                if best is None or key[0] > best[0]:
                    best, rests_on = key, period
            elif match is not _Match.UNMATCHED:
                possible.append((clause, match))
    if best is not None and rests_on is not None:
        return _permitted(question, grant, rests_on, best[1], best[0])
    if any(_can_be_permitted(question, asked, clause, maybe) for clause, _ in possible):
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
    possible: Sequence[tuple[Clause, _Match]],
    maybe: Sequence[Clause],
) -> Decision:
    unknown = [clause for clause, match in possible if match is _Match.UNKNOWN]
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
    if clause.models is not None and clause.models.match(question.model) is _Match.UNKNOWN:
        yield Reason(Code.QUESTION_INCOMPLETE, clause.number, grant.id, "model")
    for name, dimension in _DIMENSIONS.items():
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
    for name, dimension in _DIMENSIONS.items():
        part = asked & dimension.full
        if part & clause.allowed != part or clause.emptied & dimension.full:
            code = Code.NOT_IN_SCOPE if part & clause.offered == part else Code.NOT_PERMITTED
            yield Reason(code, clause.number, grant.id, name)
    if clause.models is not None and clause.models.match(question.model) is _Match.UNMATCHED:
        yield Reason(Code.NOT_PERMITTED, clause.number, grant.id, "model")


# --- what the unknown could be ----------------------------------------------------------------


def _can_be_permitted(
    question: Question, asked: int, permit: Clause, maybe: Sequence[Clause]
) -> bool:
    """Whether what the question leaves out could be such that this permit holds undenied."""
    # Free text may turn out not to apply.
    denies = [clause.allowed for clause in maybe if not clause.other]
    if not denies:
        return True
    open_dimensions = [d.full for d in _DIMENSIONS.values() if d.full & question.missing]
    return _is_outside(permit.allowed & question.missing, denies, open_dimensions)


def _is_outside(box: int, denies: Sequence[int], dimensions: Sequence[int]) -> bool:
    """Whether some point of a box lies outside all of some boxes.

    Takes the boxes away one after the other, cutting what is left into parts that do not overlap.
    """
    left = [(box, 0)]
    for _piece in range(_PIECES_MAX):
        if not left:
            return False
        part, place = left.pop()
        while place < len(denies) and not _overlap(part, denies[place], dimensions):
            place += 1
        if place == len(denies):
            return True
        for full in dimensions:
            outside = part & full & ~denies[place]
            if outside:
                left.append((part & ~full | outside, place + 1))
            part &= ~full | denies[place]
    return True


def _overlap(one: int, other: int, dimensions: Sequence[int]) -> bool:
    return all(one & other & full for full in dimensions)
