"""Fifty calls at once about one order, and eight buyers at once of the same exclusive rights."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.chaos import races
from tests.chaos.simulator_process import simulated_stripe

SHORT, SHARDS = 3, 4
# Of orders, and of sales, for each shard: 1,000 in all.
ROUNDS = int(os.environ.get("LICET_ROUNDS", "250"))


def assert_calls_made_one_grant_each(report: dict[str, Any], orders: int) -> None:
    assert report["strange"] == []
    assert set(report["mistakes"].values()) == {0}
    assert (report["statuses"], report["stuck"]) == ({"granted": orders}, 0)
    assert report["deadlocks"] == 0
    assert report["calls"] == orders * 50


def assert_each_right_has_one_owner(report: dict[str, Any], sales: int) -> None:
    twice = sales // 2
    assert report["strange"] == []
    assert set(report["mistakes"].values()) == {0}
    ended = {"granted": sales} | ({"refunded": twice} if twice else {})
    assert (report["statuses"], report["stuck"]) == (ended, 0)
    assert report["refused_before_paying"] == (sales + twice) * (races.BUYERS - 1)
    assert report["deadlocks"] == 0


@pytest.mark.chaos
@pytest.mark.django_db(transaction=True)
def test_fifty_calls_at_once_make_one_payment_and_one_grant() -> None:
    with simulated_stripe() as stripe:
        report = races.calls_about_each(stripe, orders=SHORT, seed=1)

    assert_calls_made_one_grant_each(report, SHORT)


@pytest.mark.chaos
@pytest.mark.django_db(transaction=True)
def test_of_eight_racing_buyers_one_gets_exclusive_rights() -> None:
    with simulated_stripe() as stripe:
        report = races.buyers_of_the_same(stripe, sales=SHORT)

    assert_each_right_has_one_owner(report, SHORT)


@pytest.mark.chaos
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_fifty_calls_at_once_make_one_payment_and_one_grant_a_thousand_times(shard: int) -> None:
    with simulated_stripe() as stripe:
        report = races.calls_about_each(stripe, orders=ROUNDS, seed=shard)

    print(report)
    assert_calls_made_one_grant_each(report, ROUNDS)


@pytest.mark.chaos
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_of_eight_racing_buyers_one_gets_exclusive_rights_a_thousand_times(shard: int) -> None:
    with simulated_stripe() as stripe:
        report = races.buyers_of_the_same(stripe, sales=ROUNDS)

    print(shard, report)
    assert_each_right_has_one_owner(report, ROUNDS)
