"""The plugin of pytest that writes `api_docs/examples.json` (`make examples`)."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest

_TAKEN = pytest.StashKey[Any]()


def pytest_sessionstart(session: pytest.Session) -> None:
    # Now, and not above: a plugin is imported before Django is set up.
    examples = importlib.import_module("tests.api_docs.examples")
    session.config.stash[_TAKEN] = (examples.EXAMPLES, examples.watch())


def pytest_sessionfinish(session: pytest.Session) -> None:
    path, taken = session.config.stash[_TAKEN]
    path.write_text(taken.written())
    for place, wrong in sorted(taken.misfits.items()):
        sys.stdout.write(f"\nNot as the document says: {' '.join(place)} {wrong}")
