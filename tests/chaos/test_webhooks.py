"""Whatever befalls deliveries and processes, each order ends as Stripe has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.webhook_storm import Storm
from tests.chaos.webhooks import MISTAKES

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (1, 2, 3, 4, 5)
# With these orders, the seeds come to more than 10,000 deliveries.
ORDERS, DELIVERIES_EACH = 200, 2_000


def assert_holds(report: dict[str, Any]) -> None:
    """Ours made no mistake, and the harness finds those of a handler that makes some."""
    real, naive = report["real"], report["naive"]
    assert {mistake: real[mistake] for mistake in MISTAKES} == dict.fromkeys(MISTAKES, 0)
    assert real["deadlocks"] == 0
    # Deliveries alone heal no loss: it is the pass that does.
    assert real["before_reconciling"]["lost"] > 0
    assert real["crashes"] > 0
    assert naive["double"] > 0
    assert naive["lost"] > 0
    assert naive["unbalanced"] > 0


@pytest.mark.chaos
@pytest.mark.django_db(transaction=True)
def test_shuffled_repeated_and_lost_deliveries_leave_each_order_as_stripe_has_it() -> None:
    report = Storm(orders=20, seed=1).run()

    assert_holds(report)
    assert report["real"]["deliveries"] > 130


@pytest.mark.chaos
@pytest.mark.parametrize("seed", SEEDS)
def test_ten_thousand_deliveries_leave_each_order_as_stripe_has_it(seed: int) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.chaos.webhooks", "--json"),
            *("--orders", str(ORDERS), "--seed", str(seed)),
        ],
        cwd=ROOT,
        env={**os.environ, "LICET_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )

    assert done.returncode == 0, done.stderr[-2000:] + done.stdout
    report = json.loads(done.stdout)
    assert_holds(report)
    assert report["real"]["deliveries"] >= DELIVERIES_EACH
    assert report["naive"]["wrongly_active"] > 0


def test_the_seeds_come_to_ten_thousand_deliveries() -> None:
    assert len(SEEDS) * DELIVERIES_EACH >= 10_000
