"""Prints one JSON line for each figure: `python -m tests.benchmarks [NAME…] [--quick]`."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from tests.benchmarks.measure import set_up

if TYPE_CHECKING:
    from tests.database import TestDatabase

# Each is a module here, with `run(quick) -> Iterator[Figure]`.
NAMES = {
    "api": "api",
    "api-scale": "api_scale",
    "browser-import": "browser_imports",
    "dashboards": "dashboards",
    "decide": "decisions",
    "import": "imports",
    "ledger-append": "ledger_append",
    "ledger-bytes": "ledger_bytes",
    "ledger-latency": "ledger_latency",
    "ledger-proofs": "ledger_proofs",
    "ledger-verify": "ledger_verify",
    "opt-out": "opt_outs",
    "orders": "orders",
    "oscar": "oscar_peer",
    "pull": "pulls",
    "restore": "restores",
    "royalties": "royalties",
    "search": "listings",
    "sizes": "sizes",
    "snapshot": "snapshots",
    "status": "status_roots",
    "stripe-rules": "stripe_rules",
    "table": "tables",
    "webhooks": "webhooks",
}


def main() -> int:
    """Measure in a scratch database; 0 also where a goal is missed, 1 where a figure crashed."""
    arguments = _arguments()
    set_up()
    if arguments.inside:
        return _measure(arguments.inside, arguments.quick)

    # Only now: it reaches for the settings.
    from tests.database import TestDatabase

    database = TestDatabase()
    database.create()
    try:
        return max(_run(database, name, arguments.quick) for name in arguments.names or list(NAMES))
    finally:
        database.destroy()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"of {', '.join(NAMES)}; all")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows: a first look")
    parser.add_argument("--inside", choices=NAMES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no figure “{min(unknown)}”: choose from {', '.join(NAMES)}")
    return arguments


def _run(database: TestDatabase, name: str, quick: bool) -> int:
    """Have one figure measured by a process of its own, in a database of its own."""
    database.remake()
    with tempfile.TemporaryDirectory(prefix="licet-benchmarks-") as directory:
        command = [sys.executable, "-m", "tests.benchmarks", "--inside", name]
        result = subprocess.run(
            [*command, *(["--quick"] if quick else [])],
            env={
                **database.environ,
                "DATABASE_ADMIN_URL": database.admin_url,
                "LICET_DATA_DIR": directory,
            },
            check=False,
        )
    if result.returncode:
        print(f"{name}: not measured", file=sys.stderr)
    return int(result.returncode != 0)


def _measure(name: str, quick: bool) -> int:
    for figure in importlib.import_module(f"tests.benchmarks.{NAMES[name]}").run(quick):
        print(figure.line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
