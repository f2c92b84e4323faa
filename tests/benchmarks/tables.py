"""How long `import_works` takes over a CSV of two million works, and how much memory."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marketplace import access
from marketplace.models import Contributor, Work
from tests.benchmarks.imports import copy_rows, make_collection
from tests.benchmarks.measure import Figure, progress

WORKS = 2_000_000
# Stated, not measured: as if each further million took as long as the second one.
STATED = 10_000_000
# How many works one contributor made.
WORKS_EACH = 20
SECONDS_GOAL = 150.0
MEMORY_GOAL_MIB = 512.0
# COPYs of this many rows are one transaction each: their rows are made beforehand, in memory.
COPIED_AT_ONCE = 100_000
# Of a line of progress: "61.6 s  270,000 rows (4,385/s), …".
_ROWS = re.compile(r"([0-9,]+) rows")
HEADER = (
    "external_id,sha256,length,media_type,title,source_url,language,"
    "contributor,contributor_name,contributor_email,consent"
)


def run(quick: bool) -> Iterator[Figure]:
    """Import a file by the command, as an operator would; beside it, COPYs of half as many works.

    The first half of the file is the figure with a goal; the second says what more cost.
    """
    works = WORKS // 10 if quick else WORKS
    half = works // 2
    imported_into, copied_into = make_collection("Tables"), make_collection("Copies")
    with tempfile.TemporaryDirectory(prefix="licet-tables-") as directory:
        path = Path(directory, "works.csv")
        write(path, works)
        progress(f"table: {path.stat().st_size / 1e6:.0f} MB of CSV are written")
        done = bring_in(path, imported_into, half)
    progress(f"table: {works:,} works in {done.seconds:.1f} s, {done.mib:.0f} MiB")
    bare = sum(
        copy_rows(copied_into, first, min(COPIED_AT_ONCE, half - first))
        for first in range(0, half, COPIED_AT_ONCE)
    )
    check(works)
    yield Figure(
        figure=f"table of {half:,} works and {works // WORKS_EACH:,} contributors",
        value=done.half_seconds,
        unit="s",
        limit=bare,
        ratio=bare / done.half_seconds,
        goal=f"value <= {SECONDS_GOAL:g} s",
        holds=done.half_seconds <= SECONDS_GOAL,
    )
    yield _as_many(works, done.seconds, bare * works / half)
    slope = (done.seconds - done.half_seconds) / (works - half)
    stated = done.seconds + slope * (STATED - works)
    yield _as_many(STATED, stated, bare * STATED / half, " (stated from the second half)")
    yield Figure(
        figure="table, peak memory of its process",
        value=done.mib,
        unit="MiB",
        limit=MEMORY_GOAL_MIB,
        ratio=MEMORY_GOAL_MIB / done.mib,
        goal=f"value <= {MEMORY_GOAL_MIB:g} MiB",
        holds=done.mib <= MEMORY_GOAL_MIB,
    )


def _as_many(works: int, seconds: float, bare: float, how: str = "") -> Figure:
    return Figure(
        figure=f"table of {works:,} works{how}",
        value=seconds,
        unit="s",
        limit=bare,
        ratio=bare / seconds,
    )


def write(path: Path, works: int) -> None:
    with path.open("w") as file:
        print(HEADER, file=file)
        for n in range(works):
            # Scattered, as catalogues have them: each batch names nearly as many people as works.
            who = n * 7919 % (works // WORKS_EACH)
            print(
                f"table/{n:09}",
                hashlib.sha256(f"table {n}".encode()).hexdigest(),
                1000 + n % 9000,
                "text/html",
                f'"The {n}th post, a title of some words"',
                f"https://example.org/posts/{n}",
                "en",
                f"author-{who}",
                f"Author {who}",
                f"author-{who}@example.org",
                "granted",
                sep=",",
                file=file,
            )


@dataclass(frozen=True, slots=True)
class Done:
    """From the command's start until half of the works were committed, and until its exit."""

    half_seconds: float
    seconds: float
    mib: float


def bring_in(path: Path, collection: Any, half: int) -> Done:
    """Run the command in a process of its own: its wall time and its highest memory."""
    command = [
        *(sys.executable, "manage.py", "import_works", str(path), "--json"),
        *("--organization", str(collection.organization_id), "--collection", str(collection.pk)),
    ]
    started = time.perf_counter()
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert running.stderr is not None
    mib, lines, half_seconds = 0.0, 0, 0.0
    # It says its progress every second: each line is an occasion to look.
    for line in running.stderr:
        lines += 1
        if lines % 10 == 0:
            progress(f"table: {line.strip()}")
        mib = max(mib, _peak_mib(running.pid))
        if not half_seconds and (rows := _ROWS.search(line)) and _number(rows[1]) >= half:
            half_seconds = time.perf_counter() - started
    out, _err = running.communicate()
    seconds = time.perf_counter() - started
    assert running.returncode == 0, out
    said = json.loads(out)
    assert said["rejected"] == said["repeated"] == 0, said
    assert lines >= seconds / 2, "it was silent for long"
    return Done(half_seconds, seconds, mib)


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def check(works: int) -> None:
    with access.system("count what a benchmark imported"):
        made = Work.objects.filter(contributor__isnull=False).count()
        assert (made, Contributor.objects.count()) == (works, works // WORKS_EACH)


def _peak_mib(pid: int) -> float:
    """The most memory that a process ever held; 0 once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    held = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(held[0]) / 1024 if held else 0


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
