"""Shares of the slow tests: each test is in one, and none is lost."""

from __future__ import annotations

from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest

from tests import shares

NAMES = [f"tests/payments/test_sync.py::test_each_pair[{n}]" for n in range(300)]


def test_each_test_is_in_one_share() -> None:
    parts = [[name for name in NAMES if shares.is_in((n, 3), name)] for n in range(3)]

    assert sorted(chain.from_iterable(parts)) == sorted(NAMES)
    # None is so large that it saves nothing.
    assert max(map(len, parts)) < 150


@pytest.mark.parametrize("share", ["3/3", "1/0", "a third", "1", "-1/3", "1/3/3"])
def test_a_share_that_is_none_is_refused(share: str) -> None:
    with pytest.raises(pytest.UsageError, match="say which of how many"):
        shares.wanted(share)


def test_the_other_shares_slow_tests_are_left_out_and_told(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    left: list[Any] = []
    hook = SimpleNamespace(pytest_deselected=lambda items: left.extend(items))
    config: Any = SimpleNamespace(hook=hook)
    items = [request.node]
    others = [n for n in range(7) if not shares.is_in((n, 7), request.node.nodeid)]
    monkeypatch.setenv("LICET_SHARE", f"{others[0]}/7")

    shares.pytest_collection_modifyitems(config, items)
    assert (items, left) == ([request.node], [])

    request.node.add_marker("oracle")
    shares.pytest_collection_modifyitems(config, items)
    assert (items, left) == ([], [request.node])
    assert f"share {others[0]} of 7" in str(shares.pytest_report_header())
