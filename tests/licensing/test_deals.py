"""Real deals in typed terms: each parses, renders plainly, and few of its facts need free words."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from licensing import terms, terms_text
from licensing.terms import TypedTerms
from tests.licensing.deals import DEALS, Deal

by_name = pytest.mark.parametrize("deal", DEALS, ids=lambda deal: deal.name)


def at(typed: Any, path: str) -> Any:
    """What stands at a place such as "price.parts[0].model"."""
    for step in re.findall(r"[^.\[\]]+", path):
        typed = typed[int(step)] if step.isdigit() else typed[step]
    return typed


def is_said(found: Any, value: str) -> bool:
    if value == "":
        return found not in (None, [])
    if value == "[]":
        return bool(found == [])
    return value in found if isinstance(found, list) else str(found) == value


@by_name
def test_a_real_deal_is_said_in_typed_terms(deal: Deal) -> None:
    typed = deal.typed()
    assert isinstance(terms.parse(json.loads(json.dumps(typed))), TypedTerms)
    for fact, said in deal.says.items():
        path, _, value = said.partition("=")
        assert is_said(at(typed, path), value), fact
    assert terms_text.render(typed, name=deal.name, version=1)


def test_at_least_fifteen_deals_are_encoded_and_few_facts_stay_free_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = [(deal.name, fact, path) for deal in DEALS for fact, path in deal.says.items()]
    free = [fact for fact in facts if fact[2].endswith("other")]
    with capsys.disabled():
        share = f"{100 * len(free) / len(facts):.1f} %"
        print(f"\n{len(DEALS)} deals, {len(facts)} facts, {len(free)} ({share}) in free words:")
        print("\n".join(f"- {name}: {fact} ({path})" for name, fact, path in free))
    assert len(DEALS) >= 15
    assert len(free) <= 0.15 * len(facts)


@by_name
def test_what_stays_free_words_is_counted(deal: Deal) -> None:
    others = {place.split("[")[0] for place, _text in terms.parse(deal.typed()).others}
    counted = {f"typed.{path}" for path in deal.says.values() if path.endswith("other")}
    assert others == counted
