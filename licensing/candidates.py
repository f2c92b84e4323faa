"""Candidates: the newest listings that match a search, and what their facets add up to."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import connection
from django.utils import timezone

from licensing.models import SearchScope
from licensing.search_documents import USE_STEP, as_multirange, runs
from licensing.vocabulary import (
    COUNTRY_NUMBERS,
    USE_NUMBERS,
    Use,
    countries,
)
from marketplace import money
from marketplace.access import Caller
from marketplace.full_text import Question

# Facets are named as the parameters are that narrow a search down to one of their values.
FACETS = (
    "modality",
    "language",
    "use",
    "territory",
    "rights_basis",
    "currency",
    "max_price_minor",
)
FACET_VALUES_MAX = 25
# Of a price facet, in whole units of the currency.
_PRICES = (0, 100, 1_000, 10_000, 100_000, 1_000_000)
_RANK_STEPS = 1_000_000

Facets = dict[str, list[tuple[str, int]]]


@dataclass(frozen=True, slots=True)
class Search:
    """What somebody looks for, checked. Every field that is not empty narrows the market down."""

    q: str = ""
    use: str = ""
    territory: str = ""
    modality: str = ""
    # A primary subtag, such as "pt".
    language: str = ""
    rights_basis: str = ""
    currency: str = ""
    max_price_minor: int | None = None
    # "relevance", where there are words, or "newest".
    sort: str = "newest"


class Bounds(NamedTuple):
    """The oldest and the newest document that count, both included."""

    oldest: uuid.UUID
    newest: uuid.UUID


@dataclass(frozen=True, slots=True)
class Candidates:
    """Documents that match: the newest of them by name, and what they say of themselves, counted.

    In columns of plain text and numbers: a thousand objects for each search would keep the garbage
    collector busy for longer than the search takes.
    """

    size: int
    # The newest first; the nth of each belongs to the nth document.
    ids: list[str]
    offers: list[str]
    # A higher one is a better match.
    ranks: list[int]
    # How many have this scope and these facets, with spaces between them.
    kinds: list[tuple[int, str, str]]
    # Where a currency is asked for: without one they can't be compared.
    prices: list[int]

    def __len__(self) -> int:
        return self.size

    def places(self) -> list[str]:
        """What sorts them: higher for a better match, and for the newer of two that are alike."""
        return [place(rank, id) for rank, id in zip(self.ranks, self.ids, strict=True)]


def place(rank: int, id: str) -> str:
    """Where a document stands by relevance; of two places, the higher comes first."""
    return f"{rank:08d} {id}"


NOTHING = Candidates(0, [], [], [], [], [])
EVERYTHING = Bounds(uuid.UUID(int=0), uuid.UUID(int=(1 << 128) - 1))


def newest(
    caller: Caller | None,
    wanted: Search,
    question: Question | None,
    *,
    bounds: Bounds = EVERYTHING,
    most: int,
    named: int,
    counted: int,
) -> Candidates:
    """The newest listings that match and that a caller (None: anybody) may see.

    `most` are looked at; the newest `named` of them are told apart, and of the newest `counted`
    it is counted what they say: a page of twenty needs no more than that of a thousand.
    """
    conditions, values = _conditions(caller, wanted, question)
    words, rank = "", "0"
    if question is not None:
        words = ", search, text_config"
        # As its own language reads the question: what another reads in it would blur the order.
        rank = (
            "coalesce((ts_rank(search, (%(questions)s::text[]::tsquery[])"
            f"[array_position(%(configs)s::text[], text_config)]) * {_RANK_STEPS})::int, 0)"
        )
    # The rank is worked out for what is left by the limit, not for all that matches.
    statement = f"""
        WITH found AS MATERIALIZED (
            SELECT id, offer_id, scope_id, facets, price_minor{words}
            FROM licensing_searchdocument
            WHERE id BETWEEN %(oldest)s AND %(newest)s AND {" AND ".join(conditions)}
            ORDER BY id DESC LIMIT %(most)s
        ), named AS (
            SELECT string_agg(id::text, ',') AS ids, string_agg(offer_id::text, ',') AS offers,
                string_agg(rank::text, ',') AS ranks
            FROM (
                SELECT id, offer_id, {rank} AS rank FROM found ORDER BY id DESC LIMIT %(named)s
            ) each
        ), counted AS (SELECT * FROM found ORDER BY id DESC LIMIT %(counted)s)
        SELECT (SELECT count(*) FROM found), ids, offers, ranks, (
            SELECT string_agg(concat_ws(' ', number, scope_id, array_to_string(facets, ' ')), ',')
            FROM (SELECT scope_id, facets, count(*) AS number FROM counted GROUP BY 1, 2) each
        ), {"(SELECT string_agg(price_minor::text, ',') FROM counted)" if wanted.currency else "''"}
        FROM named
    """
    values |= {"oldest": bounds.oldest, "newest": bounds.newest, "most": most}
    with connection.cursor() as cursor:
        cursor.execute(statement, values | {"named": named, "counted": counted})
        row = cursor.fetchone()
    assert row is not None, "An aggregate has one row."
    ids, offers, ranks, kinds, prices = (text.split(",") if text else [] for text in row[1:])
    return Candidates(
        row[0], ids, offers, [*map(int, ranks)], [*map(_kind, kinds)], [*map(int, prices)]
    )


def _kind(text: str) -> tuple[int, str, str]:
    number, scope, facets = text.split(" ", 2)
    return int(number), scope, facets


def _conditions(
    caller: Caller | None, wanted: Search, question: Question | None
) -> tuple[list[str], dict[str, Any]]:
    conditions = ["opens_at <= %(now)s", "(closes_at IS NULL OR closes_at > %(now)s)"]
    values: dict[str, Any] = {"now": timezone.now()}
    if caller is None:
        conditions.append("audience_id IS NULL")
    else:
        conditions.append(
            "(audience_id IS NULL OR audience_id = %(caller)s OR organization_id = %(caller)s)"
        )
        values["caller"] = caller.organization.pk
    if wanted.use or wanted.territory:
        # Alone, and before the words: with the facets that it implies beside it, the planner would
        # expect far fewer rows than there are; and it is the cheaper one to look at.
        conditions.append("scope_id = ANY(%(scopes)s::uuid[])")
        values["scopes"] = _permitting(wanted.use, wanted.territory)
    if question is not None:
        conditions += _asked(question)
        values |= {
            "any_of": question.any_of,
            "configs": list(question.each),
            "questions": list(question.each.values()),
        }
    exact = [
        f"{name}:{getattr(wanted, name)}"
        for name in ("modality", "language", "rights_basis", "currency")
        if getattr(wanted, name)
    ]
    if exact:
        conditions.append("facets @> %(exact)s::text[]::varchar[]")
        values["exact"] = exact
    if wanted.max_price_minor is not None:
        conditions.append("price_minor <= %(price)s")
        values["price"] = wanted.max_price_minor
    return conditions, values


def _asked(question: Question) -> list[str]:
    conditions = ["search @@ %(any_of)s::text::tsquery"]
    if question.excludes:
        # As a CASE, which the planner takes to hold for every second row. Of the bare match it
        # would expect next to none, and read everything that matches the first condition.
        conditions.append(
            "CASE WHEN search @@ (%(questions)s::text[]::tsquery[])"
            "[array_position(%(configs)s::text[], text_config)] THEN true ELSE false END"
        )
    return conditions


# --- use × territory --------------------------------------------------------------------------


def _permitting(use: str, territory: str) -> list[uuid.UUID]:
    """The scopes that permit a use (or any one use) in all of a territory (or anywhere)."""
    asked = []
    for one in [Use(use)] if use else list(Use):
        if territory:
            asked.append(("@>", as_multirange(runs(one, countries([territory])))))
        else:
            first = USE_NUMBERS[one] * USE_STEP
            asked.append(("&&", as_multirange([(first, first + USE_STEP)])))
    condition = " OR ".join(
        f"pairs {operator} %s::text::int4multirange" for operator, _set in asked
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id FROM licensing_searchscope WHERE {condition}", [one for _op, one in asked]
        )
        return [id for (id,) in cursor.fetchall()]


def _where(scopes: Iterable[uuid.UUID]) -> dict[uuid.UUID, Where]:
    """Where each scope permits which use. Read once for each process: an id is its set's hash."""
    found = {id: _KEPT.get(id) for id in scopes}
    missing = [id for id, where in found.items() if where is None]
    if missing:
        read = {row.pk: _decoded(row.pairs) for row in SearchScope.objects.filter(pk__in=missing)}
        if len(_KEPT) + len(read) > _SCOPES_KEPT:
            _KEPT.clear()
        _KEPT.update(read)
        found |= read
    return {id: where for id, where in found.items() if where is not None}


def _decoded(pairs: Iterable[Any]) -> Where:
    where: dict[str, set[str]] = {}
    for run in pairs:
        first = run.lower // USE_STEP * USE_STEP
        where.setdefault(_USES[first // USE_STEP], set()).update(
            code
            for code, number in COUNTRY_NUMBERS.items()
            if run.lower <= first + number < run.upper
        )
    return {use: frozenset(codes) for use, codes in where.items()}


def _permits(where: Where, use: str, asked: frozenset[str]) -> bool:
    """Whether a use (or any one use) is permitted in all of some countries (or anywhere)."""
    if use:
        return use in where and asked <= where[use]
    return any(asked <= codes for codes in where.values())


Where = dict[str, frozenset[str]]
_KEPT: dict[uuid.UUID, Where] = {}
_SCOPES_KEPT = 10_000
_USES = {number: use.value for use, number in USE_NUMBERS.items()}


# --- facets -----------------------------------------------------------------------------------


def count(wanted: Search, found: Candidates) -> Facets:
    """For each facet, how many of some candidates each of its values would leave, most first.

    Prices are counted within one currency, as upper bounds; without a currency there are none.
    """
    said: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for number, scope, facets in found.kinds:
        held[scope] += number
        for facet in facets.split():
            said[facet] += number
    named: dict[str, Counter[str]] = {name: Counter() for name in FACETS}
    stated: Counter[str] = Counter()
    for facet, number in said.items():
        name, _colon, value = facet.partition(":")
        if name == "territory":
            stated[value] = number
        else:
            named[name][value] = number
    scopes = {uuid.UUID(id): number for id, number in held.items()}
    where = _where(scopes)
    asked = countries([wanted.territory] if wanted.territory else [])
    for use in Use:
        named["use"][use.value] = sum(
            number for id, number in scopes.items() if _permits(where[id], use, asked)
        )
    for code, _number in stated.most_common(FACET_VALUES_MAX):
        asked = countries([code])
        named["territory"][code] = sum(
            number for id, number in scopes.items() if _permits(where[id], wanted.use, asked)
        )
    if wanted.currency:
        for whole in _PRICES:
            bound = whole * 10 ** money.currency(wanted.currency).exponent
            named["max_price_minor"][str(bound)] = sum(price <= bound for price in found.prices)
    return {name: _most(counted) for name, counted in named.items()}


def _most(counted: Counter[str]) -> list[tuple[str, int]]:
    ordered = sorted(counted.items(), key=lambda one: (-one[1], one[0]))
    return [one for one in ordered if one[1]][:FACET_VALUES_MAX]
