"""Answers to the cards: random ones, and the engine's view of what a sentence claims."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations, product
from random import Random
from typing import Any

from licensing import clauses, terms_cards, typed_terms
from licensing.clauses import Model
from licensing.decisions import Answer
from licensing.terms_cards import Answers
from licensing.terms_questions import Draft
from licensing.terms_sentence import DAY, SECTORS, Claim
from licensing.vocabulary import Use

START = datetime(2026, 12, 1, tzinfo=UTC)

USES = [
    frozenset(chosen)
    for size in range(1, len(terms_cards.USES) + 1)
    for chosen in combinations(terms_cards.USES, size)
]
ATTRIBUTIONS = [
    frozenset(),
    frozenset({"docs"}),
    frozenset({"answers"}),
    frozenset({"docs", "answers"}),
]

# Each answer's values. The product of all of them is what a creator can say.
VALUES: dict[str, list[Any]] = {
    "content": list(terms_cards.CONTENTS),
    "uses": USES,
    "training_days": [1, 30, 365, 1095],
    "use_days": [None, 1095, 3650],
    "territories": [
        frozenset({"*"}),
        frozenset({"EU"}),
        frozenset({"EU", "US"}),
        frozenset({"DE", "JP"}),
        frozenset({"*", "DE"}),
    ],
    "offered": list(terms_cards.OFFERED),
    "model_name": [None, "Atlas 2"],
    "release": list(terms_cards.RELEASES),
    "sectors": [frozenset(), frozenset({"military"}), frozenset(SECTORS)],
    "style": [False, True],
    "likeness": [False, True],
    "quote_words": [None, 0, 1, 200],
    "affiliates": [False, True],
    "contractors": [False, True],
    "attribution": ATTRIBUTIONS,
    "copies_days": [0, 1, 30],
    "models_after": list(terms_cards.MODELS_AFTER),
    "opt_out": list(terms_cards.OPT_OUTS),
    "opt_out_days": [0, 1, 30],
    "basis": list(terms_cards.BASES),
    "amount_minor": [None, 5, 250_000],
    "currency": ["USD", "EUR"],
}


def drawn(random: Random) -> Answers:
    return Answers(**{name: random.choice(values) for name, values in VALUES.items()})


def pairs() -> Iterator[Answers]:
    """Every value beside every other of another answer, all else as it comes by itself."""
    base = Answers()
    for one, other in combinations(VALUES, 2):
        for first, second in product(VALUES[one], VALUES[other]):
            yield replace(base, **{one: first, other: second})


def is_contradictory(given: Answers) -> bool:
    """What no contract can keep: models deleted when a use without end ends, or when published."""
    if not given.makes_models or given.models_after != "delete":
        return False
    return given.use_days is None or given.release == "open"


def draft(given: Answers) -> Draft:
    return Draft(typed_terms.parse(terms_cards.terms(given)), starts_at=START)


def is_true(claim: Claim, of: Draft) -> bool:
    """Whether the engine says what a part of the sentence claims."""
    asked = dict(claim.asked)
    day = asked.pop(DAY, None)
    at = {} if day is None else {"at": START + timedelta(days=day)}
    found = of.decide(**{**of.usual(asked["use"]), **asked, **at})
    has = any(claim.duty.items() <= duty.items() for duty in found.duties)
    if claim.answer is Answer.DENY and claim.duty:
        return has or found.answer is Answer.DENY
    if found.answer is not claim.answer:
        return False
    return not claim.duty or has is not claim.is_absent


def asked(random: Random) -> dict[str, Any]:
    """A question about anything, as `clauses.ask` takes it."""
    left_out = random.choice([0.0, 0.2, 0.5])
    words = {
        "territory": ["DE", "US", "EU", "*"],
        "availability": ["DE", "JP", "*"],
        "release": clauses.RELEASES,
        "field": clauses.FIELDS,
        "sector": (*clauses.SECTORS, "none"),
        "lineage": (*clauses.LINEAGES, "none"),
        "model": [Model("Atlas 2"), Model("Boreas")],
    }
    days = random.choice([0, 200, 1094, 1095, 4000])
    return {
        "use": random.choice(list(Use)).value,
        "at": START + timedelta(days=days),
        **{
            name: random.choice(values)
            for name, values in words.items()
            if random.random() >= left_out
        },
    }
