"""The decision engine, against an independent evaluator, its properties, and published vectors."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from licensing import decisions
from licensing.decisions import Answer
from tests.licensing import decision_cases as cases
from tests.oracles.decision_oracle import Oracle

ORACLE = Oracle(cases.WORLD)
# More by hand: LICET_EXAMPLES=100000 pytest tests/licensing/test_decisions.py
EXAMPLES = int(os.environ.get("LICET_EXAMPLES", "2500"))
# The machine may be busy; a slow example proves nothing.
many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
fewer = settings(many, max_examples=EXAMPLES // 5)


@many
@given(cases.cases())
def test_the_engine_agrees_with_an_evaluator_that_tries_everything(case: dict[str, Any]) -> None:
    expected = ORACLE.answer(case["question"], case["candidates"], case["layers"])
    assert cases.decide(case).answer.word == expected


@fewer
@given(cases.cases(), cases.candidates(["all", "master", "publishing"]))
def test_one_more_grant_never_worsens_an_answer(case: dict[str, Any], more: Any) -> None:
    before = cases.decide(case)
    after = cases.decide({**case, "candidates": [*case["candidates"], more]})
    assert after.answer >= before.answer


@fewer
@given(cases.cases(), cases.denies(), st.data())
def test_an_added_prohibition_never_improves_an_answer(
    case: dict[str, Any], deny: dict[str, Any], data: st.DataObject
) -> None:
    before = cases.decide(case)
    every = [period for each in case["candidates"] for period in each["periods"]]
    for period in every:
        if period["typed"]["v"] == 2 and data.draw(st.booleans()):
            period["typed"]["deny"].insert(0, deny)
    assert cases.decide(case).answer <= before.answer


@fewer
@given(cases.cases(), st.randoms(use_true_random=False))
def test_no_order_changes_an_answer(case: dict[str, Any], random: Any) -> None:
    before = cases.decide(case)
    for candidate in case["candidates"]:
        for period in candidate["periods"]:
            random.shuffle(period["typed"]["permit"])
            random.shuffle(period["typed"]["deny"])
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
@given(cases.cases())
def test_a_wider_window_never_worsens_an_answer(case: dict[str, Any]) -> None:
    for candidate in case["candidates"]:
        # With several, a wider window lets another period's prohibitions in.
        candidate["periods"] = candidate["periods"][:1]
    before = cases.decide(case)
    for candidate in case["candidates"]:
        [period] = candidate["periods"]
        period["training"] = (period["training"][0], None)
        period["use"] = (cases.day(-1), period["use"][1])
    assert cases.decide(case).answer >= before.answer


@fewer
@given(cases.cases(), st.integers(0, 200))
def test_a_permit_holds_until_its_end(case: dict[str, Any], later: int) -> None:
    found = cases.decide(case)
    at = cases.day(later)
    if found.answer is not Answer.PERMIT or at < case["question"]["at"]:
        return
    if found.valid_until is None or at < found.valid_until:
        case["question"]["at"] = at
        assert cases.decide(case).answer is Answer.PERMIT


@fewer
@given(cases.cases(), st.data())
def test_saying_more_never_turns_a_certain_answer_around(
    case: dict[str, Any], data: st.DataObject
) -> None:
    """What was left out made no difference, or the answer was needs_review."""
    before = cases.decide(case)
    words = {
        "territory": cases.PLACES,
        "availability": cases.PLACES,
        "release": decisions.RELEASES,
        "field": decisions.FIELDS,
        "sector": (*decisions.SECTORS, "none"),
        "lineage": (*decisions.LINEAGES, "none"),
    }
    for name, values in words.items():
        if name not in case["question"]:
            case["question"][name] = data.draw(st.sampled_from(values))
    after = cases.decide(case)
    if before.answer is not Answer.NEEDS_REVIEW:
        assert after.answer is before.answer
