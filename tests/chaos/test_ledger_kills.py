"""Writers, web workers and sequencers are killed hundreds of times; the log stays one log."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import ledger_claims
from tests.chaos.ledger_kills import Market, progress
from tests.chaos.ledger_lives import RECOVERY_POINTS, SEQUENCER_POINTS, WRITER_POINTS
from tests.database import TestDatabase

pytestmark = pytest.mark.chaos

# LICET_CHAOS_SEED repeats the choices of a run, and LICET_CHAOS_KILLS makes a shorter one; when a
# process runs how far is the machine's own choice.
SEED = int(os.environ.get("LICET_CHAOS_SEED", "0")) or int.from_bytes(os.urandom(4))
KILLS = int(os.environ.get("LICET_CHAOS_KILLS", "500"))
HITS = 5
# Where a sequencer died before the backup came back: the guard is ahead of what anybody has seen;
# and somebody has seen what is in no copy.
LAST_WORDS = ("guard: advanced, before the signature", "note committed, before it is copied")


@pytest.fixture
def market(test_database: TestDatabase, tmp_path: Path) -> Iterator[Market]:
    opened = Market(test_database, tmp_path, SEED)
    try:
        opened.open()
        yield opened
    finally:
        opened.close()


def test_a_log_stays_one_log_whoever_is_killed(
    market: Market, capfd: pytest.CaptureFixture[str]
) -> None:
    with capfd.disabled():  # minutes without a word would be long
        kill_and_look(market)


def kill_and_look(market: Market) -> None:
    started = time.monotonic()
    progress(f"seed {SEED}")
    stopped = []
    try:
        kill(market)
    except AssertionError as error:
        # What was signed and seen until then says more than where it ended.
        stopped = [str(error)]
    evidence = ledger_claims.Evidence(market)
    account = ledger_claims.account(evidence)
    progress(f"seed {SEED}, {time.monotonic() - started:.0f} s: {json.dumps(account, indent=1)}")
    broken = ledger_claims.broken(evidence)
    if stopped:
        broken["it came to an end"] = stopped
    assert not broken, json.dumps(broken, indent=1)
    assert market.kills() >= KILLS
    if KILLS >= 500:
        reached = market.points()
        points = (*SEQUENCER_POINTS, *WRITER_POINTS)
        assert not [point for point in points if reached[point] < HITS], reached
        assert not [point for point in RECOVERY_POINTS if reached[point] < 2], reached


def kill(market: Market) -> None:
    market.storm(KILLS * 6 // 10, 240, outages=6)
    for point in LAST_WORDS:
        market.back_up()
        market.storm(KILLS // 10, 40)
        market.lose_the_tail(point)
    market.storm(max(KILLS // 10, KILLS - market.kills()), 60)
    market.drain()
