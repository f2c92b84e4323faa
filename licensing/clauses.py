"""Clauses and questions, as sets of bits: what typed terms say, and whether it holds. No Django.

What it means: api_docs/decision_semantics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import Any

from licensing import vocabulary
from licensing.duties import duties
from licensing.vocabulary import Use

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
DIMENSIONS = _lay_out(
    territory=_COUNTRIES,
    availability=_COUNTRIES,
    release=RELEASES,
    field=FIELDS,
    # What is none of them is a case of its own: no list of sectors is the whole world of them.
    sector=(*SECTORS, NONE),
    lineage=(*LINEAGES, NONE),
)
PLACES = (DIMENSIONS["territory"], DIMENSIONS["availability"])
_EVERYTHING = sum(dimension.full for dimension in DIMENSIONS.values())


def _bits(name: str, words: Iterable[str]) -> int:
    """The bits of some words. Raises KeyError for an unknown one."""
    dimension = DIMENSIONS[name]
    known = vocabulary.countries(words) if dimension in PLACES else words
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
    territory: str | Sequence[str] | None = None,
    availability: str | None = None,
    model: Model | None = None,
    release: str | None = None,
    field: str | None = None,
    sector: str | None = None,
    lineage: str | None = None,
) -> Question:
    """Put a question. What is left out is unknown; `sector` and `lineage` may be "none".

    Several territories are asked about as a group is: all must be permitted. Raises ValueError for
    an unknown use, KeyError for another unknown word.
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
            missing |= DIMENSIONS[name].full
        else:
            asked |= _bits(name, [word] if isinstance(word, str) else word)
    return Question(Use(use), at, model or Model(), asked, missing)


# --- clauses ----------------------------------------------------------------------------------


class Match(IntEnum):
    UNMATCHED = 0
    UNKNOWN = 1
    MATCHED = 2


def _match_bought(bought: Model, asked: Model) -> Match:
    """Whether a question is about the one model that was bought. Without a version: any."""
    if asked.name not in (None, bought.name):
        return Match.UNMATCHED
    if bought.version is None:
        return Match.UNKNOWN if asked.name is None else Match.MATCHED
    if asked.version not in (None, bought.version):
        return Match.UNMATCHED
    return Match.UNKNOWN if asked.name is None or asked.version is None else Match.MATCHED


@dataclass(frozen=True, slots=True)
class ModelRule:
    """Which models a permit is for."""

    scope: str
    names: tuple[str, ...]
    successors: str = NONE

    def match(self, asked: Model) -> Match:
        if self.scope == "named_model":
            found = _one_of(asked.name, self.names)
        elif self.scope == "model_family":
            return _one_of(asked.family, self.names)
        elif self.scope == "named_version":
            found = max((self._version(asked, each) for each in self.names), default=Match(0))
        else:
            # Up to n models: which of a licensee's models count is recorded nowhere yet.
            return Match.UNKNOWN
        if self.successors == "family" and found is Match.UNMATCHED:
            # The family is that of the models named; only a human knows who belongs to it.
            families = {name.rpartition("@")[0] or name for name in self.names}
            return Match.MATCHED if asked.family in families else Match.UNKNOWN
        return found

    def _version(self, asked: Model, entry: str) -> Match:
        name, _at, version = entry.rpartition("@")
        if asked.name not in (None, name):
            return Match.UNMATCHED
        if asked.version is None or asked.version == version:
            known = asked.name is not None and asked.version is not None
            return Match.MATCHED if known else Match.UNKNOWN
        if self.successors != "minor_versions":
            return Match.UNMATCHED
        found = _is_minor_successor(asked.version, version)
        return min(found, Match.UNKNOWN) if asked.name is None else found


def _one_of(asked: str | None, names: Sequence[str]) -> Match:
    if asked is None:
        return Match.UNKNOWN
    return Match.MATCHED if asked in names else Match.UNMATCHED


def _is_minor_successor(version: str, of: str) -> Match:
    """Whether 2.3 follows 2.1. Versions that are no dotted numbers are for a human."""
    try:
        asked, named = ([int(part) for part in each.split(".")] for each in (version, of))
    except ValueError:
        return Match.UNKNOWN
    return Match.MATCHED if asked[0] == named[0] and asked >= named else Match.UNMATCHED


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
    # The one model that was bought, where one was.
    bought: Model | None = None
    # A permit's bits before the bought scope narrowed them.
    offered: int = _EVERYTHING
    # All bits of the dimensions of which the bought scope left nothing: it can never hold.
    emptied: int = 0

    def match(self, question: Question, asked: int) -> Match:
        """Compare with a question about this use. `asked`: uniform in places, see `_cells`."""
        if self.emptied or asked & self.allowed != asked:
            return Match.UNMATCHED
        found = self.match_model(question.model)
        if self.other or self.constrains & question.missing:
            return min(found, Match.UNKNOWN)
        return found

    def match_model(self, asked: Model) -> Match:
        """Compare the model alone: with the one that was bought, and with the clause's own."""
        found = Match.MATCHED
        if self.bought is not None:
            found = _match_bought(self.bought, asked)
            # If it is of any model, then of that one, which the clause's own rule may exclude.
            asked = replace(
                asked, name=self.bought.name, version=self.bought.version or asked.version
            )
        return found if self.models is None else min(found, self.models.match(asked))


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
    *,
    has_duties: bool = True,
) -> Compiled:
    """Read checked typed terms, version 1 or 2, narrowed to what was bought (None: all of it).

    Without `has_duties`, `permit` and `deny` are all that is read of version 2.

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
        duties=tuple(duties(typed)) if has_duties else (),
        borders={use: _borders([*found, *others]) for use, (found, others) in by_use.items()},
    )


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
        full = DIMENSIONS[name].full
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
    if not uses:
        return None
    # A scope with more in it than this engine reads is narrower than it can tell.
    other = clause.other or not scope.keys() <= {"uses", "territories", "model"}
    bought = {"territory": _bits("territory", scope["territories"])}
    model = None
    if "model" in scope:
        model = Model(scope["model"]["name"], scope["model"].get("version"))
        bought["release"] = _bits("release", [scope["model"]["release"]])
        other = other or not scope["model"].keys() <= {"name", "version", "release"}
    allowed, constrains, emptied = clause.allowed, clause.constrains, 0
    for name, bits in bought.items():
        full = DIMENSIONS[name].full
        allowed &= ~full | bits
        constrains |= full if allowed & full != full else 0
        emptied |= 0 if allowed & full else full
    return replace(
        clause,
        uses=uses,
        allowed=allowed,
        constrains=constrains,
        emptied=emptied,
        bought=model,
        other=other,
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
        for dimension in PLACES
        if clause.constrains & dimension.full
    }
    return tuple(sorted(found))


# --- what the unknown could be ----------------------------------------------------------------


def can_hold_undenied(
    question: Question, asked: int, permit: Clause, maybe: Sequence[Clause]
) -> bool:
    """Whether what the question leaves out could be such that this permit holds undenied."""
    # Free text may turn out not to apply.
    denies = [clause.allowed for clause in maybe if not clause.other]
    if not denies:
        return True
    open_dimensions = [d.full for d in DIMENSIONS.values() if d.full & question.missing]
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
