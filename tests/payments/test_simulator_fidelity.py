"""The document on the simulator's fidelity says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from payments.simulator import contract
from payments.simulator.webhooks import ATTEMPTS_MAX, RETRY_SECONDS, RETRY_SECONDS_MAX

HERE = Path(__file__).parent
TEXT = (HERE.parents[1] / "api_docs/stripe_fidelity.md").read_text("utf-8")
RULE = re.compile(r"\| (.+?) \| (https://\S+) \| `(\w+\.py)::(\w+)` \| (.+?) \|")


def test_every_rule_names_a_page_of_stripes_and_a_test_that_exists() -> None:
    rules = RULE.findall(TEXT)

    rows = TEXT.split("## The rules")[1].split("## ")[0].count("\n| ")
    assert len(rules) == rows - 1 >= 30
    for rule, page, file, test, _checked in rules:
        assert page.startswith("https://docs.stripe.com/"), rule
        assert f"def {test}(" in (HERE / file).read_text("utf-8"), rule


def test_no_rule_claims_a_live_check_that_never_was() -> None:
    assert {checked for *_rule, checked in RULE.findall(TEXT)} == {"never"}


def test_the_figures_of_the_document_are_those_of_the_code() -> None:
    assert f"`{contract.api_version()}`" in TEXT
    assert f"all {len(contract.routes())} operations" in TEXT
    assert f"after {RETRY_SECONDS} s and go on {ATTEMPTS_MAX} times" in TEXT
    assert f"up to {RETRY_SECONDS_MAX:.0f} s apart" in TEXT
