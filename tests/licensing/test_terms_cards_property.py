"""Cards and typed terms, forth and back, and what the sentences claim: asked of the engine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licensing import terms_cards, terms_sentence, terms_templates, typed_terms
from licensing.terms_cards import Answers
from licensing.terms_questions import Draft
from marketplace.errors import InvalidInput
from tests.licensing import card_answers as cases

EXAMPLES = int(os.environ.get("LICET_EXAMPLES", "60"))
many = settings(max_examples=EXAMPLES, deadline=None)
seeds = st.randoms(use_true_random=True)


def check_round_trip(answers: Answers) -> None:
    typed = terms_cards.terms(answers)
    if cases.is_contradictory(answers):
        with pytest.raises(InvalidInput) as refused:
            typed_terms.parse(typed)
        assert terms_cards.card_of(str(refused.value.data["param"])).name == "ending"
        return
    assert not typed_terms.parse(typed).needs_human
    price = terms_cards.price(answers)
    found = terms_cards.answers(typed, price=price, currency=answers.currency)
    assert found == answers.tidied()


def check_sentence(answers: Answers) -> None:
    if cases.is_contradictory(answers):
        return
    draft = cases.draft(answers)
    for part in terms_sentence.parts(answers):
        for claim in part.claims:
            assert cases.is_true(claim, draft), (part.text, claim)


@many
@given(seeds)
def test_answers_come_back_from_their_terms(random: Random) -> None:
    check_round_trip(cases.drawn(random))


@many
@given(seeds)
def test_the_engine_says_what_each_part_of_the_sentence_says(random: Random) -> None:
    check_sentence(cases.drawn(random))


@pytest.mark.oracle
def test_every_two_answers_come_back_together() -> None:
    count = 0
    for answers in cases.pairs():
        check_round_trip(answers)
        count += 1
    assert count > 5_000


@pytest.mark.oracle
def test_every_two_answers_are_said_as_they_are() -> None:
    seen = set()
    for answers in cases.pairs():
        if answers.tidied() not in seen:
            seen.add(answers.tidied())
            check_sentence(answers)
    assert len(seen) > 2_900


# Each template that the cards can say, with its answers.
EXPRESSIBLE = [
    (template.typed, found)
    for template in terms_templates.library()
    if isinstance(found := terms_cards.answers(template.typed), Answers)
]


@many
@given(seeds, st.sampled_from(EXPRESSIBLE))
def test_a_template_and_its_answers_decide_alike(
    random: Random, template: tuple[Mapping[str, Any], Answers]
) -> None:
    typed, answers = template
    theirs = Draft(typed_terms.parse(dict(typed)), starts_at=cases.START)
    asked = cases.asked(random)
    assert theirs.decide(**asked).answer is cases.draft(answers).decide(**asked).answer
