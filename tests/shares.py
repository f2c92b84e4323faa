"""A share of the slow tests, for who can't wait for all: `LICET_SHARE=0/6` runs a sixth of them.

Which sixth a test is in, its name says, so that each is in one, and all six are all of them.
`.ci/run` takes one by the commit's name; `make oracles` and `make chaos` run all.
"""

from __future__ import annotations

import os
import re
import zlib

import pytest

SLOW = ("chaos", "oracle")


def wanted(share: str) -> tuple[int, int]:
    """Which share, and of how many. Raises UsageError."""
    found = re.fullmatch(r"([0-9]{1,2})/([1-9][0-9]?)", share)
    if found is None or int(found[1]) >= int(found[2]):
        raise pytest.UsageError(f"LICET_SHARE is “{share}”: say which of how many, as in 0/6.")
    return int(found[1]), int(found[2])


def is_in(share: tuple[int, int], name: str) -> bool:
    """Whether a test is in a share, by its name."""
    which, of = share
    return zlib.crc32(name.encode()) % of == which


def pytest_report_header() -> str | None:
    """Say at the top what is left out."""
    share = os.environ.get("LICET_SHARE", "")
    if not share:
        return None
    which, of = wanted(share)
    return f"LICET_SHARE: share {which} of {of} of the slow tests ({', '.join(SLOW)})"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow tests that are in another share."""
    if share := os.environ.get("LICET_SHARE", ""):
        which = wanted(share)
        kept, left = [], []
        for item in items:
            is_slow = any(item.get_closest_marker(name) for name in SLOW)
            (kept if not is_slow or is_in(which, item.nodeid) else left).append(item)
        items[:] = kept
        config.hook.pytest_deselected(items=left)
