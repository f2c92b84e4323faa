"""Random questions, terms and grants over a small vocabulary, for the engine and for the oracle.

A case is plain JSON but for its instants: `{"question": …, "candidates": […], "layers": […]}`.
Made from a seed: Hypothesis' own strategies took thirty times as long, and most of their cases
ended before a clause was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from licensing import clauses, decisions

# DE and FR are named, AT stands for the rest of the EU, ZW for the rest of the world.
WORLD = ["AT", "DE", "FR", "US", "ZW"]
PLACES = ["DE", "FR", "US", "EU", "*"]
USES = ["pretrain", "evaluate", "retrieve_rag"]
MODELS = ["Atlas", "Boreas"]
VERSIONS = ["1.0", "1.2", "2.0", "rc"]
START = datetime(2027, 1, 1, tzinfo=UTC)

# What a question may leave out.
WORDS: dict[str, Sequence[str]] = {
    "territory": PLACES,
    "availability": PLACES,
    "release": clauses.RELEASES,
    "field": clauses.FIELDS,
    "sector": (*clauses.SECTORS, "none"),
    "lineage": (*clauses.LINEAGES, "none"),
    "name": MODELS,
    "version": VERSIONS,
    "family": MODELS,
}


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def case(random: Random) -> dict[str, Any]:
    layers = ["master", "publishing"] if random.random() < 0.1 else ["all"]
    many = random.choice([0, 1, 1, 1, 1, 2, 2, 3])
    return {
        "question": question(random),
        "candidates": [candidate(random, layers) for _ in range(many)],
        "layers": layers,
    }


def question(random: Random) -> dict[str, Any]:
    left_out = random.choice([0.0, 0.0, 0.1, 0.3, 0.5, 1.0])
    return {
        "use": random.choice(USES),
        "at": day(random.choice([0, 10, 10, 10, 50, 50, 60, 99, 100])),
        **{
            name: random.choice(words)
            for name, words in WORDS.items()
            if random.random() >= left_out
        },
    }


def candidate(random: Random, layers: Sequence[str] = ("all",)) -> dict[str, Any]:
    state = random.choice(["active"] * 12 + ["suspended", "revoked", "expired"])
    return {
        "layer": random.choice(layers),
        "covered_from": random.choice([day(0)] * 14 + [day(50), None]),
        "reserved": random.choice([None] * 27 + ["opted_out", "held", "claimed"]),
        "state": state,
        "ended_at": None if state in ("active", "suspended") else random.choice([None, day(50)]),
        "typed_controls": random.random() >= 0.05,
        "periods": [period(random) for _ in range(random.choice([1, 1, 1, 2]))],
    }


def period(random: Random) -> dict[str, Any]:
    return {
        "typed": random.choice([typed_v1, typed_v2, typed_v2])(random),
        "scope": {
            "uses": _wide(random, USES),
            "territories": random.choice([["*"], ["*"], ["EU"], ["DE", "US"]]),
            **_bought_model(random),
        },
        "training": _window(random),
        "use": _window(random),
    }


def typed_v1(random: Random) -> dict[str, Any]:
    clauses = []
    for _ in range(random.choice([1, 2])):
        clause: dict[str, Any] = {"uses": _wide(random, USES), "territories": _wide(random, PLACES)}
        clause["model_scope"] = random.choice(["any_model_of_licensee", "named_model"])
        if clause["model_scope"] == "named_model":
            clause["model_name"] = random.choice(MODELS)
        clauses.append(clause)
    return {
        "v": 1,
        "permit": clauses,
        "deny": [{"uses": _some(random, USES)}] if random.random() < 0.3 else [],
        "output": {"max_verbatim_words": None},
        "attribution": "none",
        "redistribution": "none",
        "on_expiry": {"raw_copies_delete_within_days": 30, "weights": "keep_frozen"},
    }


def typed_v2(random: Random) -> dict[str, Any]:
    found: dict[str, Any] = {
        "v": 2,
        "permit": [_permit(random) for _ in range(random.choice([1, 2, 3]))],
        "deny": [deny(random) for _ in range(random.choice([0, 0, 1, 1, 2, 3]))],
    }
    if random.random() < 0.05:
        found["output"] = {"other": ["no style of a living author"]}
    return found


def deny(random: Random) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "uses": _some(random, USES),
        "territories": {
            key: _some(random, PLACES) for key in _some(random, ["training", "availability"])
        },
        "models": {"release": _some(random, clauses.RELEASES)},
        "fields": _some(random, clauses.FIELDS),
        "sectors": _some(random, clauses.SECTORS),
        "lineage": _some(random, clauses.LINEAGES),
        "other": ["as the parties agree"],
    }
    chosen = random.sample(sorted(parts), random.choice([1, 2, 2, 3]))
    return {name: parts[name] for name in chosen}


def _permit(random: Random) -> dict[str, Any]:
    clause: dict[str, Any] = {
        "uses": _wide(random, USES),
        "territories": {
            "training": _wide(random, PLACES),
            "availability": _wide(random, PLACES),
        },
        "models": _models(random),
        "fields": _wide(random, clauses.FIELDS),
    }
    if random.random() < 0.07:
        clause["other"] = ["as the parties agree"]
    return clause


def _models(random: Random) -> dict[str, Any]:
    narrow = ["named_model", "named_version", "model_family", "up_to_n_models"]
    scope = random.choice(["any_model_of_licensee"] * 5 + narrow)
    found: dict[str, Any] = {
        "scope": scope,
        "release": _wide(random, clauses.RELEASES),
        "successors": random.choice(["none", "minor_versions", "family"]),
    }
    if scope == "up_to_n_models":
        found["count"] = 2
    elif scope == "named_version":
        names = [f"{name}@{version}" for name in MODELS for version in VERSIONS]
        found["names"] = random.sample(names, random.choice([1, 2, 3]))
    elif scope != "any_model_of_licensee":
        found["names"] = _some(random, MODELS)
    return found


def _bought_model(random: Random) -> dict[str, Any]:
    if random.random() < 0.7:
        return {}
    model = {"name": random.choice(MODELS), "release": random.choice(clauses.RELEASES)}
    if random.random() < 0.5:
        model["version"] = random.choice(VERSIONS)
    return {"model": model}


def _window(random: Random) -> tuple[datetime, datetime | None]:
    ends = random.choice([None, None, 60, 100])
    return day(random.choice([0] * 9 + [40])), None if ends is None else day(ends)


def _some(random: Random, words: Sequence[str]) -> list[str]:
    return random.sample(words, random.randint(1, len(words)))


def _wide(random: Random, words: Sequence[str]) -> list[str]:
    """In two of three cases all of them."""
    return _some(random, words) if random.random() < 1 / 3 else list(words)


# --- the same case for the engine -------------------------------------------------------------


def to_question(asked: dict[str, Any]) -> clauses.Question:
    model = {name: asked.get(name) for name in ("name", "version", "family")}
    rest = {name: each for name, each in asked.items() if name not in model}
    return clauses.ask(**rest, model=clauses.Model(**model))


def to_candidate(given: dict[str, Any], id: str) -> decisions.Candidate:
    grant = decisions.Grant(
        id=id,
        periods=tuple(
            decisions.Period(
                clauses.compile_terms(
                    each["typed"], each["scope"], has_duties="term" in each["typed"]
                ),
                training=each["training"],
                use=each["use"],
            )
            for each in given["periods"]
        ),
        layer=given["layer"],
        state=decisions.State(given["state"]),
        ended_at=given["ended_at"],
        typed_controls=given["typed_controls"],
    )
    return decisions.Candidate(grant, given["covered_from"], given["reserved"])


def decide(asked: dict[str, Any]) -> decisions.Decision:
    return decisions.decide(
        to_question(asked["question"]),
        [to_candidate(each, f"grt_{place}") for place, each in enumerate(asked["candidates"])],
        layers=asked["layers"],
    )
