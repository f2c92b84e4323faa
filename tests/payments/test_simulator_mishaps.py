"""Deliveries that go wrong on request: lost, shuffled, repeated; and secrets that are rolled."""

from __future__ import annotations

import json
from typing import Any

import pytest
import stripe

from tests.payments.simulator_account import SECRET, Account, account, wait_until
from tests.payments.test_simulator_webhooks import PAID

__all__ = ["account"]


def settled(account: Account) -> list[dict[str, Any]]:
    """Wait until nothing is to be delivered any more."""
    wait_until(
        lambda: not any(each["is_pending"] for each in account.control("deliveries")["data"]),
        lambda: account.control("deliveries"),
    )
    found: list[dict[str, Any]] = account.control("deliveries")["data"]
    return found


def undelivered(account: Account) -> list[str]:
    found = account.client.v1.events.list({"delivery_success": False, "limit": 100}).data
    return [event.type for event in found]


def released(account: Account, count: int) -> list[str]:
    """Pay, with all events held until there are all of them. The events' ids, as delivered."""
    account.control("webhooks", {"hold": True})
    for _each in range(count // len(PAID)):
        account.paid()
    account.receiver.raws.clear()
    account.control("webhooks", {"hold": False})
    settled(account)
    return [json.loads(raw)["id"] for raw in account.receiver.raws]


def test_the_next_events_are_lost_and_found_by_the_list(account: Account) -> None:
    account.control("webhooks", {"lose_next": 2})

    account.paid()

    account.wait_for_events(*PAID[2:])
    settled(account)
    assert undelivered(account) == [PAID[1], PAID[0]]
    account.control("redeliver", {"type": PAID[0]})
    assert undelivered(account) == [PAID[1]]


def test_a_share_is_lost_by_a_seed(account: Account) -> None:
    lost = []
    for seed in (1, 1, 2):
        account.control("reset", {})
        account.control("webhooks", {"lose_percent": 40, "seed": seed})
        arrived = released(account, 40)
        missing = [each.id for each in account.client.v1.events.list({"limit": 100}).data]
        lost.append([number for number, id in enumerate(missing[::-1]) if id not in arrived])

    assert lost[0] == lost[1] != lost[2]
    assert 0 < len(lost[0]) < 40


@pytest.mark.parametrize("style", ["snapshot", "thin"])
def test_all_events_about_one_order_are_lost(account: Account, style: str) -> None:
    account.control("webhooks", {"lose_about": "ord_1", "style": style})
    account.paid()
    account.paid(
        client_reference_id="ord_2",
        metadata={"order": "ord_2"},
        payment_intent_data={"metadata": {"order": "ord_2"}, "transfer_group": "ord_2"},
    )

    prefix = "v1." if style == "thin" else ""
    account.wait_for_events(*[prefix + type for type in PAID])
    settled(account)
    assert account.receiver.types == [prefix + type for type in PAID]


def test_events_are_shuffled_by_a_seed(account: Account) -> None:
    orders = []
    for _each in range(2):
        account.control("reset", {})
        account.control("webhooks", {"shuffle": True, "seed": 3})
        arrived = released(account, 12)
        listed = [each.id for each in account.client.v1.events.list({"limit": 100}).data][::-1]
        assert sorted(arrived) == sorted(listed)
        orders.append([listed.index(id) for id in arrived])

    assert orders[0] == orders[1] != sorted(orders[0])


def test_events_are_delivered_several_times(account: Account) -> None:
    account.control("webhooks", {"repeat": 4, "seed": 5})

    arrived = released(account, 20)

    assert len(set(arrived)) == 20
    times = [arrived.count(id) for id in set(arrived)]
    assert max(times) <= 4
    assert len(arrived) > 25
    assert [each["attempts"] for each in account.control("deliveries")["data"]] == [
        arrived.count(each["event"]) for each in account.control("deliveries")["data"]
    ]


def test_mishaps_end_on_request(account: Account) -> None:
    account.control("webhooks", {"lose_percent": 100, "lose_about": "ord_1", "hold": True})

    account.control("webhooks", {"clear": True})

    account.paid()
    account.wait_for_events(*PAID)


@pytest.mark.parametrize(
    "wanted",
    [
        {"lose_percent": 101},
        {"lose_next": "1"},
        {"repeat": 0},
        {"shuffle": 1},
        {"lose_about": 7},
        {"style": "fat"},
        {"secrets": []},
        {"secrets": ["a", "b", "c"]},
        {"secrets": "a"},
        {"color": "red"},
    ],
)
def test_a_mishap_that_cannot_be_is_refused(account: Account, wanted: dict[str, Any]) -> None:
    assert account.refusal("/_simulator/webhooks", json.dumps(wanted).encode())[0] == 400

    account.paid()
    account.wait_for_events(*PAID)


def verified(account: Account, number: int, secret: str) -> stripe.Event:
    raw, signature = account.receiver.raws[number], account.receiver.signatures[number]
    return account.client.construct_event(raw, signature, secret)


def test_a_rolled_secret_signs_beside_the_one_before(account: Account) -> None:
    account.control("webhooks", {"secrets": ["whsec_new", SECRET]})
    account.paid()
    account.wait_for_events(*PAID)

    assert account.receiver.signatures[0].count("v1=") == 2
    for secret in ("whsec_new", SECRET):
        assert verified(account, 0, secret).type == PAID[0]
    with pytest.raises(stripe.SignatureVerificationError):
        verified(account, 0, "whsec_third")

    account.receiver.raws.clear()
    account.receiver.signatures.clear()
    account.control("webhooks", {"secrets": ["whsec_new"]})
    account.paid()
    account.wait_for_events(*PAID)
    assert verified(account, 0, "whsec_new").type == PAID[0]
    with pytest.raises(stripe.SignatureVerificationError):
        verified(account, 0, SECRET)
