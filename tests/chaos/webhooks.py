"""Shuffled, repeated and lost webhooks, with crashes: what two handlers make of them.

    python -m tests.chaos.webhooks --orders 200 --seed 1 --json

Buyers pay, are declined, refunded and disputed at a simulated Stripe; what should have come of
each order is read from Stripe's own objects. Needs a database server; works in a scratch database.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile


def main(arguments: list[str] | None = None) -> int:
    """Print one JSON object; 1 where ours made a mistake, or the naive handler made none."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.webhooks", description=__doc__)
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one line; otherwise for people")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="licet-webhooks-") as directory:
        os.environ["LICET_DATA_DIR"] = directory
        # Only now: they reach for the settings, and for a database.
        from tests.benchmarks.measure import set_up

        set_up()
        from tests.chaos.scratch import scratch_database
        from tests.chaos.webhook_storm import Storm

        with scratch_database():
            report = Storm(orders=options.orders, seed=options.seed).run()
    print(json.dumps(report, indent=None if options.json else 2))
    return int(
        any(report["real"][mistake] for mistake in MISTAKES) or not report["naive"]["double"]
    )


MISTAKES = ("double", "lost", "wrongly_active", "wrongly_inactive", "unbalanced")


if __name__ == "__main__":
    sys.exit(main())
