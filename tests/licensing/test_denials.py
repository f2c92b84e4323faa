"""What denies leave of a permit, beside a walk through every case of small terms."""

from __future__ import annotations

import copy
import itertools
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licensing import denials, terms, vocabulary
from licensing.denials import Lost
from marketplace.errors import InvalidInput
from tests.make import TYPED_2

PLACES = ["DE", "FR", "US"]
RELEASES = ["closed_api", "open_weights", "internal_only"]
PURPOSES = ["commercial", "education"]
USES = ["pretrain", "evaluate"]


def some(words: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(words), min_size=1, unique=True)


permits = st.fixed_dictionaries(
    {
        "uses": some(USES),
        "territories": st.fixed_dictionaries(
            {"training": some(PLACES), "availability": some(PLACES)}
        ),
        "models": st.fixed_dictionaries({"release": some(RELEASES)}),
        "fields": some(PURPOSES),
    }
)
denying = st.fixed_dictionaries(
    {},
    optional={
        "uses": some(USES),
        "territories": st.fixed_dictionaries(
            {}, optional={"training": some(PLACES), "availability": some(PLACES)}
        ),
        "models": st.fixed_dictionaries({"release": some(RELEASES)}),
        "fields": some(PURPOSES),
        "sectors": st.just(["military"]),
        "other": st.just(["Perhaps."]),
    },
)


def is_denied(deny: dict[str, Any], use: str, case: tuple[str, str, str, str]) -> bool:
    """Whether a deny holds in a case, whatever is not known of it."""
    training, availability, release, purpose = case
    places = deny.get("territories", {})
    return (
        "sectors" not in deny
        and "other" not in deny
        and use in deny.get("uses", [use])
        and training in places.get("training", [training])
        and availability in places.get("availability", [availability])
        and release in deny.get("models", {}).get("release", [release])
        and purpose in deny.get("fields", [purpose])
    )


def walked(typed: dict[str, Any]) -> list[Lost]:
    """What is lost, by the definition: case by case."""
    found = []
    for number, permit in enumerate(typed["permit"]):
        places = permit["territories"]
        cases = list(
            itertools.product(
                places["training"],
                places["availability"],
                permit["models"]["release"],
                permit["fields"],
            )
        )
        for place, use in enumerate(permit["uses"]):
            denies = list(enumerate(typed["deny"]))
            if all(any(is_denied(deny, use, case) for _, deny in denies) for case in cases):
                alone = (n for n, deny in denies if all(is_denied(deny, use, c) for c in cases))
                found.append(Lost(number, place, next(alone, None)))
    return found


@pytest.mark.oracle
@settings(max_examples=1000, deadline=None)
@given(st.lists(permits, min_size=1, max_size=3), st.lists(denying, max_size=6))
def test_what_is_lost_is_what_a_walk_through_all_cases_finds(permit: Any, deny: Any) -> None:
    typed = {"permit": permit, "deny": deny}
    assert list(denials.lost(typed)) == walked(typed)


def denied_together() -> dict[str, Any]:
    typed = copy.deepcopy(TYPED_2)
    typed["permit"][0]["uses"] = ["pretrain", "evaluate"]
    typed["permit"][0]["territories"]["training"] = ["DE", "FR"]
    typed["deny"] = [
        {"uses": ["evaluate"], "territories": {"training": ["DE"]}},
        {"uses": ["evaluate"], "territories": {"training": ["EU"]}, "fields": ["commercial"]},
        {"territories": {"training": ["FR"]}, "fields": ["non_commercial"]},
    ]
    return typed


def test_a_use_that_several_denies_forbid_together_is_refused_where_it_is_permitted() -> None:
    with pytest.raises(InvalidInput) as refused:
        terms.parse(denied_together())
    assert refused.value.data["param"] == "typed.permit[0].uses[1]"


@pytest.mark.parametrize("left", [0, 1, 2])
def test_what_one_deny_fewer_leaves_is_accepted(left: int) -> None:
    typed = denied_together()
    del typed["deny"][left]
    assert terms.parse(typed)


def test_hostile_conditions_are_read_in_bounded_time() -> None:
    """Fifty permits of everything under fifty denies of nearly everything: 47,500 questions."""
    world = list(vocabulary.COUNTRY_NUMBERS)
    clause = copy.deepcopy(TYPED_2["permit"][0])
    clause |= {
        "uses": [use.value for use in vocabulary.Use],
        "territories": {"training": world, "availability": world},
    }
    typed = {
        "permit": [clause] * 50,
        "deny": [
            {"territories": {"training": world[place::2], "availability": world[: 5 * place]}}
            for place in range(50)
        ],
    }
    before = time.process_time()
    assert list(denials.lost(typed)) == []
    # A twentieth of this on an idle machine; pair by pair without a bound, minutes.
    assert time.process_time() - before < 5
