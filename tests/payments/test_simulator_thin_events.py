"""Thin events: delivered without the object, signed, fetched by the unmodified SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest
import stripe
from stripe.v2.core import EventNotification

from payments.simulator import thin_events
from payments.simulator.state import Cause, Resource
from tests.payments.simulator_account import SECRET, Account, account, wait_until

__all__ = ["account"]

CAPABILITY = "v2.core.account[configuration.recipient].capability_status_updated"


def emit(account: Account, type: str = CAPABILITY, id: str = "acct_dev_1") -> Resource:
    """Have something happen to an object that is not there."""
    world = account.simulator.world
    with world.change(Cause("req_1", "key_1")):
        return thin_events.emit(
            world,
            type,
            id,
            "v2.core.account",
            f"/v2/core/accounts/{id}",
            data={"updated_capability": "stripe_balance.stripe_transfers"},
        )


def notifications(account: Account, count: int) -> list[Any]:
    """What was delivered, as the SDK reads it after it checked the signature."""
    wait_until(lambda: len(account.receiver.raws) == count, lambda: account.receiver.types)
    return [
        account.client.parse_event_notification(raw, signature, SECRET)
        for raw, signature in zip(account.receiver.raws, account.receiver.signatures, strict=True)
    ]


def test_the_sdk_reads_a_delivery_and_fetches_the_event(account: Account) -> None:
    event = emit(account)

    (notice,) = notifications(account, 1)

    assert isinstance(notice, EventNotification)
    assert (notice.id, notice.type, notice.livemode) == (event["id"], CAPABILITY, False)
    about = notice.related_object
    assert (about.id, about.type) == ("acct_dev_1", "v2.core.account")
    assert about.url == "/v2/core/accounts/acct_dev_1"
    assert notice.context is None
    assert notice.reason is not None
    assert notice.reason.request is not None
    assert (notice.reason.request.id, notice.reason.request.idempotency_key) == ("req_1", "key_1")
    fetched: Any = notice.fetch_event()
    assert fetched.data.updated_capability == "stripe_balance.stripe_transfers"


def test_a_delivery_holds_no_data_of_the_object(account: Account) -> None:
    emit(account)
    notifications(account, 1)

    sent = json.loads(account.receiver.raws[0])

    assert sent["object"] == "v2.core.event"
    assert set(sent) & {"data", "changes"} == set()
    assert sent["created"].endswith("Z")


def test_the_sdk_refuses_a_thin_delivery_of_another_sender(account: Account) -> None:
    emit(account)
    notifications(account, 1)
    raw, signature = account.receiver.raws[0], account.receiver.signatures[0]

    with pytest.raises(stripe.SignatureVerificationError):
        account.client.parse_event_notification(raw, signature, "whsec_other")


def test_a_thin_event_that_was_not_taken_comes_again(account: Account) -> None:
    account.receiver.statuses = [500]
    event = emit(account)

    both = notifications(account, 2)

    assert {each.id for each in both} == {event["id"]}
    again = account.control("redeliver", {"type": CAPABILITY})
    assert again == {"event": event["id"], "type": CAPABILITY, "status": 200}


def test_thin_events_are_found_by_object_type_and_time(account: Account) -> None:
    first, second = emit(account), emit(account, "v2.core.account.created", "acct_dev_2")
    find = account.client.v2.core.events.list

    def ids(**params: Any) -> list[str]:
        return [each.id for each in find(params).data]  # type: ignore[arg-type]

    assert ids() == [second["id"], first["id"]]
    assert ids(object_id="acct_dev_1") == [first["id"]]
    assert ids(types=["v2.core.account.created"]) == [second["id"]]
    assert ids(created={"gt": "2100-01-01T00:00:00Z"}) == []
    assert ids(created={"gte": first["created"]}) == [second["id"], first["id"]]
    for wrong in ({"types": ["a"] * 21}, {"created": {"gt": "yesterday"}}, {"limit": 0}):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            ids(**wrong)
        assert refused.value.http_status == 400


def test_the_sdk_follows_the_pages_of_a_list(account: Account) -> None:
    emitted = [emit(account)["id"] for _each in range(5)]

    first = account.client.v2.core.events.list({"limit": 2, "types": [CAPABILITY]})

    assert [each.id for each in first.data] == emitted[:-3:-1]
    assert [each.id for each in first.auto_paging_iter()] == emitted[::-1]


def test_an_event_of_one_version_is_none_of_the_other(account: Account) -> None:
    event = emit(account)

    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.client.v1.events.retrieve(event["id"])

    assert refused.value.http_status == 404
    assert account.client.v1.events.list().data == []
