"""Random questions, terms and grants over a small vocabulary, for the engine and for the oracle.

A case is plain JSON but for its instants: `{"question": …, "candidates": […], "layers": […]}`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from licensing import decisions

# DE and FR are named, AT stands for the rest of the EU, ZW for the rest of the world.
WORLD = ["AT", "DE", "FR", "US", "ZW"]
PLACES = ["DE", "FR", "US", "EU", "*"]
USES = ["pretrain", "evaluate", "retrieve_rag"]
MODELS = ["Atlas", "Boreas"]
VERSIONS = ["1.0", "1.2", "2.0", "rc"]
START = datetime(2027, 1, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def some(values: list[str] | tuple[str, ...], least: int = 1) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=len(values), unique=True)


places = some(PLACES)
other = st.sampled_from([None, None, None, None, ["as the parties agree"]])


def without_none(value: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in value.items() if each is not None}


@st.composite
def models(draw: st.DrawFn) -> dict[str, Any]:
    scope = draw(
        st.sampled_from(
            ["any_model_of_licensee"] * 5
            + ["named_model", "named_version", "model_family", "up_to_n_models"]
        )
    )
    found: dict[str, Any] = {
        "scope": scope,
        "release": draw(some(decisions.RELEASES)),
        "successors": draw(st.sampled_from(["none", "minor_versions", "family"])),
    }
    if scope == "up_to_n_models":
        found["count"] = 2
    elif scope == "named_version":
        names = [f"{name}@{version}" for name in MODELS for version in VERSIONS]
        found["names"] = draw(some(names))[:3]
    elif scope != "any_model_of_licensee":
        found["names"] = draw(some(MODELS))
    return found


@st.composite
def permits(draw: st.DrawFn) -> dict[str, Any]:
    clause = {
        "uses": draw(some(USES)),
        "territories": {"training": draw(places), "availability": draw(places)},
        "models": draw(models()),
        "fields": draw(some(decisions.FIELDS)),
        "other": draw(other),
    }
    return without_none(clause)


@st.composite
def denies(draw: st.DrawFn) -> dict[str, Any]:
    parts: dict[str, st.SearchStrategy[Any]] = {
        "uses": some(USES),
        "territories": st.one_of(
            st.fixed_dictionaries({"training": places}),
            st.fixed_dictionaries({"availability": places}),
            st.fixed_dictionaries({"training": places, "availability": places}),
        ),
        "models": st.fixed_dictionaries({"release": some(decisions.RELEASES)}),
        "fields": some(decisions.FIELDS),
        "sectors": some(decisions.SECTORS),
        "lineage": some(decisions.LINEAGES),
        "other": st.just(["as the parties agree"]),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(parts)), min_size=1, max_size=3, unique=True))
    return {name: draw(parts[name]) for name in chosen}


@st.composite
def typed_v2(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {
        "v": 2,
        "permit": draw(st.lists(permits(), min_size=1, max_size=3)),
        "deny": draw(st.lists(denies(), max_size=3)),
    }
    if draw(st.integers(0, 9)) == 0:
        found["output"] = {"other": ["no style of a living author"]}
    return found


@st.composite
def typed_v1(draw: st.DrawFn) -> dict[str, Any]:
    clauses = []
    for _ in range(draw(st.integers(1, 2))):
        clause: dict[str, Any] = {"uses": draw(some(USES)), "territories": draw(places)}
        clause["model_scope"] = draw(st.sampled_from(["any_model_of_licensee", "named_model"]))
        if clause["model_scope"] == "named_model":
            clause["model_name"] = draw(st.sampled_from(MODELS))
        clauses.append(clause)
    return {
        "v": 1,
        "permit": clauses,
        "deny": draw(st.lists(st.fixed_dictionaries({"uses": some(USES)}), max_size=1)),
        "output": {"max_verbatim_words": None},
        "attribution": "none",
        "redistribution": "none",
        "on_expiry": {"raw_copies_delete_within_days": 30, "weights": "keep_frozen"},
    }


@st.composite
def windows(draw: st.DrawFn) -> tuple[datetime, datetime | None]:
    start = draw(st.sampled_from([0, 0, 0, 40]))
    ends = draw(st.sampled_from([None, 60, 100]))
    return day(start), None if ends is None else day(ends)


@st.composite
def periods(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "typed": draw(st.one_of(typed_v2(), typed_v2(), typed_v1())),
        "scope": {
            "uses": draw(st.one_of(st.just(USES), some(USES))),
            "territories": draw(st.one_of(st.just(["*"]), places)),
        },
        "training": draw(windows()),
        "use": draw(windows()),
    }


@st.composite
def candidates(draw: st.DrawFn, layers: list[str] | None = None) -> dict[str, Any]:
    state = draw(st.sampled_from(["active"] * 6 + ["suspended", "revoked", "expired"]))
    return {
        "layer": draw(st.sampled_from(layers or ["all"])),
        "covered_from": draw(st.sampled_from([day(0)] * 6 + [day(50), None])),
        "reserved": draw(st.sampled_from([None] * 9 + ["opted_out", "held", "claimed"])),
        "state": state,
        "ended_at": None if state in ("active", "suspended") else day(50),
        "periods": draw(st.lists(periods(), min_size=1, max_size=2)),
    }


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    maybe = {
        "territory": PLACES,
        "availability": PLACES,
        "release": decisions.RELEASES,
        "field": decisions.FIELDS,
        "sector": (*decisions.SECTORS, "none"),
        "lineage": (*decisions.LINEAGES, "none"),
        "name": MODELS,
        "version": VERSIONS,
        "family": MODELS,
    }
    found: dict[str, Any] = {
        "use": draw(st.sampled_from(USES)),
        "at": day(draw(st.sampled_from([0, 10, 50, 60, 99, 100]))),
    }
    for name, words in maybe.items():
        if draw(st.integers(0, 3)):
            found[name] = draw(st.sampled_from(words))
    return found


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    layers = draw(st.sampled_from([["all"], ["all"], ["all"], ["master", "publishing"]]))
    return {
        "question": draw(questions()),
        "candidates": draw(st.lists(candidates(layers), max_size=3)),
        "layers": layers,
    }


# --- the same case for the engine -------------------------------------------------------------


def to_question(question: dict[str, Any]) -> decisions.Question:
    model = {name: question.get(name) for name in ("name", "version", "family")}
    rest = {name: each for name, each in question.items() if name not in model}
    return decisions.ask(**rest, model=decisions.Model(**model))


def to_candidate(candidate: dict[str, Any], id: str) -> decisions.Candidate:
    grant = decisions.Grant(
        id=id,
        periods=tuple(
            decisions.Period(
                decisions.compile_terms(period["typed"], period["scope"]),
                training=period["training"],
                use=period["use"],
            )
            for period in candidate["periods"]
        ),
        layer=candidate["layer"],
        state=decisions.State(candidate["state"]),
        ended_at=candidate["ended_at"],
    )
    return decisions.Candidate(grant, candidate["covered_from"], candidate["reserved"])


def decide(case: dict[str, Any]) -> decisions.Decision:
    return decisions.decide(
        to_question(case["question"]),
        [to_candidate(each, f"grt_{place}") for place, each in enumerate(case["candidates"])],
        layers=case["layers"],
    )
