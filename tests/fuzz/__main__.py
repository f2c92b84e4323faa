"""Tries the API by what its document says: `python -m tests.fuzz [--cases N] [--seed N]`.

schemathesis makes requests out of the committed document, right ones and wrong ones, alone and in
chains by its links, and holds each answer against it. The application runs in this process, with
the production middleware, over a small market whose ids are put where the document wants one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

CASES = 5_000


def main() -> int:
    """0: nothing found. 1: what was found was printed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES, help=f"how many requests; {CASES}")
    parser.add_argument("--seed", type=int, default=1, help="tells runs apart; 1")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
    os.environ.setdefault("LICET_DEBUG", "1")
    import django
    from django.conf import settings

    settings.DEBUG = False
    django.setup()
    if arguments.inside:
        from tests.fuzz import trial

        return trial.run(arguments.cases, arguments.seed)

    from tests.database import TestDatabase

    database = TestDatabase()
    database.create()
    try:
        with tempfile.TemporaryDirectory(prefix="licet-fuzz-") as directory:
            return subprocess.run(
                [
                    *(sys.executable, "-m", "tests.fuzz", "--inside"),
                    *("--cases", str(arguments.cases), "--seed", str(arguments.seed)),
                ],
                env={
                    **database.environ,
                    "LICET_DATA_DIR": directory,
                    "LICET_LOG_LEVEL": "CRITICAL",
                },
                check=False,
            ).returncode
    finally:
        database.destroy()


if __name__ == "__main__":
    sys.exit(main())
