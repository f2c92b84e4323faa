"""What the simulator answers about sellers has the shape of the SDK's classes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.payments.simulator_account import Account, account
from tests.payments.simulator_sellers import ALL, all_of_connect, made
from tests.payments.test_simulator_shapes import faults_of_answer, get

__all__ = ["account"]


def test_every_answer_about_sellers_has_the_shape_of_the_sdks_classes(account: Account) -> None:
    seen: set[str] = set()
    found: list[str] = []
    for path in all_of_connect(account):
        answer = get(account, path)
        found += faults_of_answer(answer, path)
        seen |= {each["object"] for each in answer.get("data", [answer])}

    assert found == []
    assert seen == {
        "balance",
        "balance_transaction",
        "event",
        "payout",
        "transfer",
        "transfer_reversal",
        "v2.core.account",
        "v2.core.event",
    }


def test_every_kind_of_thin_event_was_looked_at(account: Account) -> None:
    all_of_connect(account)

    events = get(account, "/v2/core/events?limit=100")["data"]

    assert {event["type"].removeprefix("v2.core.account") for event in events} == {
        ".created",
        ".updated",
        ".closed",
        "[configuration.recipient].capability_status_updated",
        "[configuration.recipient].updated",
        "[defaults].updated",
        "[identity].updated",
        "[requirements].updated",
    }


def test_an_account_link_has_the_shape_of_the_sdks_class(account: Account) -> None:
    params: Any = {
        "account": made(account).id,
        "use_case": {
            "type": "account_onboarding",
            "account_onboarding": {
                "refresh_url": "https://market.example/again",
                "collection_options": {"fields": "currently_due"},
            },
        },
    }

    link = account.client.v2.core.account_links.create(params)

    assert list(faults_of_answer(link.to_dict(), "link")) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"livemode": "no"}, "account.livemode: 'no' for bool"),
        ({"color": "red"}, "account.color: invented"),
        ({"requirements": {"entries": [{}]}}, "account.requirements"),
        ({"dashboard": "big"}, "account.dashboard: 'big' is none of"),
    ],
)
def test_a_wrong_shape_of_an_account_would_be_found(
    account: Account, change: dict[str, Any], fault: str
) -> None:
    include = "&".join(f"include[{number}]={name}" for number, name in enumerate(ALL))
    seller = get(account, f"/v2/core/accounts/{made(account).id}?{include}")
    assert list(faults_of_answer(seller, "account")) == []

    found = list(faults_of_answer(seller | change, "account"))

    assert found
    assert all(each.startswith(fault) for each in found)


def test_an_event_is_held_against_the_class_of_its_type(account: Account) -> None:
    made(account)
    (event,) = get(account, "/v2/core/events")["data"]

    del event["related_object"]

    assert list(faults_of_answer(event, "event")) == ["event.related_object: missing"]
