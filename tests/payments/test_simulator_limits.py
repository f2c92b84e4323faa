"""Limits: rates as Stripe documents them, locked objects, restricted keys, idempotency keys."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import stripe

from payments.simulator import contract, keys
from payments.simulator.limits import PER_SECOND
from tests.payments.simulator_account import Account, account, client_of, session_params, wait_until

__all__ = ["account"]


def unhurried(account: Account) -> stripe.StripeClient:
    """A client that does not repeat what was refused."""
    return client_of(account.url, retries=0)


def limited(call: Any, times: int) -> list[stripe.RateLimitError]:
    """The refusals among so many calls in a row."""
    found = []
    for _each in range(times):
        try:
            call()
        except stripe.RateLimitError as error:
            found.append(error)
    return found


def code_of(error: stripe.StripeError) -> str | None:
    """Of a 409 or 429 the SDK leaves `code` empty, and keeps it in the error that came."""
    assert error.error is not None
    return error.error.code


def reason_of(error: stripe.StripeError) -> str | None:
    return None if error.headers is None else error.headers.get("Stripe-Rate-Limited-Reason")


# --- rates -------------------------------------------------------------------------------------


def test_there_is_no_limit_unless_one_is_asked_for(account: Account) -> None:
    assert limited(account.client.v1.charges.list, 3 * PER_SECOND) == []


def test_one_endpoint_takes_25_calls_a_second(account: Account) -> None:
    client = unhurried(account)
    account.control("limits", {"global_per_second": 1_000})
    begun = time.monotonic()

    refused = limited(client.v1.charges.list, 3 * PER_SECOND)

    took = time.monotonic() - begun
    assert 0 < 3 * PER_SECOND - len(refused) <= PER_SECOND * (1 + took) + 1
    error = refused[0]
    assert (error.http_status, code_of(error)) == (429, "rate_limit")
    assert reason_of(error) == "endpoint-rate"
    # Another endpoint has a bucket of its own, whatever objects are asked for.
    assert limited(client.v1.refunds.list, 5) == []


def test_the_objects_of_an_endpoint_share_its_limit(account: Account) -> None:
    client = unhurried(account)
    sessions = [account.open().id for _each in range(3)]
    account.control("limits", {"endpoint_per_second": 2})

    refused = [
        error
        for id in sessions
        for error in limited(lambda id=id: client.v1.checkout.sessions.retrieve(id), 1)
    ]

    assert len(refused) == 1


def test_all_calls_share_a_limit(account: Account) -> None:
    client = unhurried(account)
    account.control("limits", {"global_per_second": 5, "endpoint_per_second": 1_000})
    calls = [client.v1.charges.list, client.v1.refunds.list, client.v1.events.list]

    refused = [error for call in calls * 6 for error in limited(call, 1)]

    assert len(refused) > 6
    assert {reason_of(each) for each in refused} == {"global-rate"}


def test_a_call_too_many_does_nothing_and_is_counted(account: Account) -> None:
    client = unhurried(account)
    account.control("limits", {"global_per_second": 1})
    client.v1.charges.list()

    with pytest.raises(stripe.RateLimitError):
        client.v1.checkout.sessions.create(session_params())  # type: ignore[arg-type]

    account.control("limits", {"off": True})
    assert client.v1.checkout.sessions.list().data == []
    found = account.control("requests")
    assert found["counts"] == {"ok": 2, "limited": 1}
    assert [each["verdict"] for each in found["data"]] == ["ok", "limited", "ok"]


def test_a_bucket_fills_up_again(account: Account) -> None:
    client = unhurried(account)
    account.control("limits", {"global_per_second": 5})
    assert limited(client.v1.charges.list, 8)
    time.sleep(1.05)

    assert limited(client.v1.charges.list, 5) == []


def test_the_sdk_gives_a_limited_call_up_and_repeats_one_for_a_locked_object(
    account: Account,
) -> None:
    account.control("limits", {"lock_timeouts": 1, "path": "/v1/checkout", "method": "POST"})

    account.open()

    first, second = account.control("requests")["data"]
    assert (first["status"], second["status"]) == (429, 200)
    account.control("limits", {"global_per_second": 1})
    assert len(limited(account.client.v1.charges.list, 2)) == 1


def test_a_locked_object_is_said_to_be_one(account: Account) -> None:
    account.control("limits", {"lock_timeouts": 1})

    with pytest.raises(stripe.RateLimitError) as refused:
        unhurried(account).v1.charges.list()

    assert (refused.value.http_status, code_of(refused.value)) == (429, "lock_timeout")
    assert reason_of(refused.value) is None


@pytest.mark.parametrize(
    "wanted", [b'{"global_per_second": 0}', b'{"lock_timeouts": "1"}', b'{"per_minute": 3}']
)
def test_a_limit_that_cannot_be_is_refused(account: Account, wanted: bytes) -> None:
    assert account.refusal("/_simulator/limits", wanted)[0] == 400
    assert limited(account.client.v1.charges.list, 2 * PER_SECOND) == []


# --- restricted keys ---------------------------------------------------------------------------


def restricted(account: Account, **permissions: str) -> stripe.StripeClient:
    key = account.control("keys", {"permissions": permissions})["key"]
    assert key.startswith("rk_test_devstripe_")
    return stripe.StripeClient(key, base_addresses={"api": account.url}, max_network_retries=0)


def test_a_restricted_key_does_what_it_may(account: Account) -> None:
    client = restricted(account, checkout_session="write", charge="read")

    session = client.v1.checkout.sessions.create(session_params())  # type: ignore[arg-type]

    # Who may write may read.
    assert client.v1.checkout.sessions.retrieve(session.id).id == session.id
    client.v1.checkout.sessions.expire(session.id)
    assert client.v1.charges.list().data == []


def test_a_restricted_key_gets_a_403_for_what_it_may_not(account: Account) -> None:
    session = account.paid()
    assert isinstance(session.payment_intent, stripe.PaymentIntent)
    client = restricted(account, charge="read", refund="read", dispute="none")
    params: Any = {"payment_intent": session.payment_intent.id}

    for call, permission in (
        (lambda: client.v1.refunds.create(params), "rak_refund_write"),
        (client.v1.disputes.list, "rak_dispute_read"),
        (client.v1.balance_transactions.list, "rak_balance_transaction_read"),
    ):
        with pytest.raises(stripe.PermissionError, match=permission) as refused:
            call()
        assert refused.value.http_status == 403
        assert refused.value.error is not None
        assert refused.value.error.type == "invalid_request_error"

    assert client.v1.refunds.list().data == []


def test_a_restricted_key_that_nobody_made_is_unknown(account: Account) -> None:
    client = stripe.StripeClient("rk_test_devstripe_mine", base_addresses={"api": account.url})

    with pytest.raises(stripe.AuthenticationError):
        client.v1.charges.list()


@pytest.mark.parametrize(
    "wanted",
    [b"{}", b'{"permissions": {"money": "read"}}', b'{"permissions": {"charge": "all"}}'],
)
def test_a_key_with_permissions_that_are_none_is_not_made(account: Account, wanted: bytes) -> None:
    assert account.refusal("/_simulator/keys", wanted)[0] == 400
    assert account.simulator.world.setting("restricted_keys") is None


def test_resources_are_called_as_in_stripes_errors() -> None:
    names = {template: keys.resource_of(template) for template in contract.templates()}

    assert names["/v1/checkout/sessions/{session}/expire"] == "checkout_session"
    assert names["/v1/disputes/{dispute}/close"] == "dispute"
    assert names["/v1/charges/search"] == "charge"
    assert names["/v2/core/accounts/{id}"] == "core_account"
    assert names["/v1/balance"] == "balance"
    assert "" not in names.values()


# --- idempotency keys in use -------------------------------------------------------------------


def test_a_key_is_in_use_while_its_request_is_under_way(account: Account) -> None:
    account.control("faults", {"slow_ms": 600, "method": "POST", "path": "/v1/checkout"})
    client = unhurried(account)
    made: list[str] = []

    def create() -> None:
        params: Any = session_params()
        made.append(client.v1.checkout.sessions.create(params, {"idempotency_key": "k1"}).id)

    first = threading.Thread(target=create)
    first.start()
    wait_until(lambda: bool(account.simulator.api.keys_in_use._keys), lambda: "not under way")
    with pytest.raises(stripe.APIError) as refused:
        create()
    account.open()
    assert made == []
    first.join()

    assert (refused.value.http_status, code_of(refused.value)) == (409, "idempotency_key_in_use")
    create()
    assert len(set(made)) == 1
    assert len(account.client.v1.checkout.sessions.list().data) == 2


def test_the_sdk_waits_until_a_key_is_free_and_gets_the_first_answer(account: Account) -> None:
    account.control("faults", {"slow_ms": 700, "method": "POST"})
    made: list[str] = []
    client = client_of(account.url, retries=5)

    def create() -> None:
        params: Any = session_params()
        made.append(client.v1.checkout.sessions.create(params, {"idempotency_key": "k1"}).id)

    threads = [threading.Thread(target=create) for _each in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 2
    assert len(set(made)) == 1
    assert 409 in [each["status"] for each in account.control("requests")["data"]]


@pytest.mark.parametrize(
    "wanted", [b'{"slow_ms": -1}', b'{"slow_ms": 5, "status": 500}', b'{"slow_ms": 99999}']
)
def test_a_fault_that_cannot_be_is_refused(account: Account, wanted: bytes) -> None:
    assert account.refusal("/_simulator/faults", wanted)[0] == 400
    assert account.simulator.api.faults.take("GET", "/v1/charges") is None
