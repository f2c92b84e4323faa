"""The decision engine, against an independent evaluator, its properties, and published vectors."""

from __future__ import annotations

import ast
import json
import os
from collections import Counter
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licensing import decisions
from licensing.decisions import Answer
from tests.licensing import decision_cases as cases
from tests.oracles.decision_oracle import Oracle

ORACLE = Oracle(cases.WORLD)
TESTS = Path(__file__).parents[1]
VECTORS: dict[str, Any] = json.loads((TESTS / "licensing/vectors/decisions.json").read_text())
# More by hand: LICET_EXAMPLES=100000 pytest tests/licensing/test_decisions.py
EXAMPLES = int(os.environ.get("LICET_EXAMPLES", "500"))
# The machine may be busy; a slow example proves nothing.
many = settings(max_examples=EXAMPLES, deadline=None)
fewer = settings(many, max_examples=EXAMPLES // 2)
# Hypothesis draws the seed, tells it when a test fails, and tries failed ones first.
seeds = st.randoms(use_true_random=True)


@many
@given(seeds)
def test_the_engine_agrees_with_an_evaluator_that_tries_everything(random: Random) -> None:
    case = cases.case(random)
    expected = ORACLE.answer(case["question"], case["candidates"], case["layers"])
    assert cases.decide(case).answer.word == expected


def test_the_evaluator_shares_no_line_with_the_engine() -> None:
    source = ast.parse((TESTS / "oracles/decision_oracle.py").read_text())
    imported = {
        each.module if isinstance(each, ast.ImportFrom) else each.names[0].name
        for each in ast.walk(source)
        if isinstance(each, ast.Import | ast.ImportFrom)
    }
    assert imported == {"__future__", "collections.abc", "itertools", "typing"}


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["name"])
def test_the_published_vectors_hold(vector: dict[str, Any]) -> None:
    case = _with_instants({name: vector[name] for name in ("question", "candidates", "layers")})
    assert cases.decide(case).as_dict() == vector["decision"]
    expected = ORACLE.answer(case["question"], case["candidates"], case["layers"])
    assert vector["decision"]["decision"] == expected


def test_the_vectors_are_of_this_engine_and_show_every_reason() -> None:
    assert VECTORS["engine"] == decisions.ENGINE
    shown = {
        reason["code"] for vector in VECTORS["vectors"] for reason in vector["decision"]["reasons"]
    }
    assert shown == set(decisions.Code)


def _with_instants(value: Any) -> Any:
    """JSON has no instants: what is written like one is one."""
    if isinstance(value, dict):
        return {name: _with_instants(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_instants(each) for each in value]
    if isinstance(value, str) and value.startswith("20") and value.endswith("Z"):
        return datetime.fromisoformat(value.replace("Z", "+00:00"))
    return value


def test_the_cases_are_of_all_kinds() -> None:
    found = Counter(cases.decide(cases.case(Random(seed))).answer for seed in range(2_000))
    assert min(found[answer] for answer in Answer) > 200, found


@fewer
@given(seeds)
def test_one_more_grant_never_worsens_an_answer(random: Random) -> None:
    case = cases.case(random)
    before = cases.decide(case)
    case["candidates"].append(cases.candidate(random, ["all", "master", "publishing"]))
    assert cases.decide(case).answer >= before.answer


@fewer
@given(seeds)
def test_an_added_prohibition_never_improves_an_answer(random: Random) -> None:
    case = cases.case(random)
    before = cases.decide(case)
    for period in periods_of(case):
        if period["typed"]["v"] == 2 and random.random() < 0.5:
            period["typed"]["deny"].insert(0, cases.deny(random))
    assert cases.decide(case).answer <= before.answer


@fewer
@given(seeds)
def test_no_order_changes_an_answer(random: Random) -> None:
    case = cases.case(random)
    before = cases.decide(case)
    for period in periods_of(case):
        random.shuffle(period["typed"]["permit"])
        random.shuffle(period["typed"]["deny"])
    for candidate in case["candidates"]:
        random.shuffle(candidate["periods"])
    after = cases.decide(case)
    assert (after.answer, after.grant, after.valid_until) == (
        before.answer,
        before.grant,
        before.valid_until,
    )
    given_out = [
        cases.to_candidate(each, f"grt_{place}") for place, each in enumerate(case["candidates"])
    ]
    random.shuffle(given_out)
    shuffled = decisions.decide(
        cases.to_question(case["question"]), given_out, layers=case["layers"]
    )
    assert shuffled == after


@fewer
@given(seeds)
def test_a_wider_window_never_worsens_an_answer(random: Random) -> None:
    case = cases.case(random)
    for candidate in case["candidates"]:
        # With several, a wider window lets another period's prohibitions in.
        candidate["periods"] = candidate["periods"][:1]
    before = cases.decide(case)
    for period in periods_of(case):
        period["training"] = (period["training"][0], None)
        period["use"] = (cases.day(-1), period["use"][1])
    assert cases.decide(case).answer >= before.answer


@fewer
@given(seeds)
def test_a_permit_holds_until_its_end(random: Random) -> None:
    case = cases.case(random)
    found = cases.decide(case)
    if found.answer is not Answer.PERMIT:
        return
    for later in range(0, 200, 5):
        at = cases.day(later)
        if case["question"]["at"] <= at < (found.valid_until or cases.day(1000)):
            again = cases.decide({**case, "question": {**case["question"], "at": at}})
            assert again.answer is Answer.PERMIT


@pytest.mark.oracle
@fewer
@given(seeds)
def test_saying_more_never_turns_a_certain_answer_around(random: Random) -> None:
    """What was left out made no difference, or the answer was needs_review."""
    case = cases.case(random)
    before = cases.decide(case)
    for name, words in cases.WORDS.items():
        case["question"].setdefault(name, random.choice(words))
    if before.answer is not Answer.NEEDS_REVIEW:
        assert cases.decide(case).answer is before.answer


@pytest.mark.parametrize("more", [{"seats": 5}, {"model": {"parameters": 7}}])
def test_a_scope_with_more_in_it_than_is_read_is_for_a_human(more: dict[str, Any]) -> None:
    [vector] = [
        each for each in VECTORS["vectors"] if each["name"] == "The one model that was bought"
    ]
    case = _with_instants({name: vector[name] for name in ("question", "candidates", "layers")})
    [period] = periods_of(case)
    scope = period["scope"]
    period["scope"] = {**scope, **more, "model": scope["model"] | more.get("model", {})}
    found = cases.decide(case)
    assert (found.answer, found.reasons[0].code) == (Answer.NEEDS_REVIEW, "needs_a_human")


def periods_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    return [period for each in case["candidates"] for period in each["periods"]]
