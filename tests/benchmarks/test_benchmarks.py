"""The benchmarks still run, and say what they promise: one JSON line for each figure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import NAMES
from tests.benchmarks.measure import Figure

ROOT = Path(__file__).resolve().parents[2]
KEYS = ["figure", "value", "unit", "limit", "ratio", "goal", "holds"]


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *arguments],
        cwd=ROOT,
        env={**os.environ, "LICET_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_figure_is_one_line_of_json() -> None:
    figure = Figure("import", 100.00004, "works/s", 200, 0.50000049, "ratio >= 0.3", True)

    assert figure.line() == (
        '{"figure": "import", "value": 100.0, "unit": "works/s", "limit": 200, "ratio": 0.5,'
        ' "goal": "ratio >= 0.3", "holds": true}'
    )


@pytest.mark.oracle
def test_a_quick_look_prints_its_figure_and_nothing_else() -> None:
    done = benchmarks("import", "--quick")

    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    figure = json.loads(line)
    assert list(figure) == KEYS
    assert (figure["figure"], figure["unit"], figure["goal"]) == (
        "import",
        "works/s",
        "ratio >= 0.3",
    )
    assert figure["holds"] is (figure["ratio"] >= 0.3)


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    done = benchmarks("imports")

    assert (done.returncode, done.stdout) == (2, "")
    known = ", ".join(NAMES)
    assert f"there is no figure “imports”: choose from {known}" in done.stderr
    assert {"import", "orders", "search"} <= set(NAMES)
