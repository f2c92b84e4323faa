"""What a server's garbage collection looks through."""

from __future__ import annotations

import subprocess
import sys

from tests.database import BASE_DIR, TestDatabase

_PROGRAM = """
import gc
import marketplace.wsgi
kept = gc.get_freeze_count()
print(kept, len(gc.get_objects()))
"""


def test_a_server_never_looks_for_cycles_through_what_start_up_loaded(
    test_database: TestDatabase,
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=test_database.environ,
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, looked_through = map(int, ran.stdout.split())
    assert kept > 100_000
    assert looked_through < kept / 100
