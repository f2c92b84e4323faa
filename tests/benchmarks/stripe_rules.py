"""How many rules of the simulated Stripe were never checked against Stripe itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.measure import Figure

DOCUMENT = Path(__file__).parents[2] / "api_docs/stripe_fidelity.md"
# | rule | Stripe's page | test | date or “never” |
_RULE = re.compile(r"^\| .+ \| https://\S+ \| `[^`]+` \| (\S+) \|$", re.MULTILINE)


def run(quick: bool) -> Iterator[Figure]:
    """Count the document's rules, and those of them that no run against Stripe confirmed."""
    checked = _RULE.findall(DOCUMENT.read_text())
    never = checked.count("never")
    yield Figure(
        figure="rules of the simulated Stripe never checked live",
        value=never,
        unit="rules",
        limit=len(checked),
        ratio=(len(checked) - never) / len(checked),
    )
