"""The simulator's API: keys, versions, idempotency, expansion, lists, faults, and what it lacks."""

from __future__ import annotations

import json
import threading
import urllib.parse
import urllib.request
from typing import Any

import pytest
import stripe

from payments.simulator import idempotency
from tests.payments.simulator_account import Account, account, client_of, session_params

__all__ = ["account"]

AUTHORIZATION = "Bearer sk_test_devstripe_x"


def sessions(account: Account) -> int:
    return len(account.client.v1.checkout.sessions.list({"limit": 100}).data)


@pytest.mark.parametrize(
    "key", ["sk_live_51abc", "rk_live_51abc", "sk_test_51abc", "pk_test_devstripe", ""]
)
def test_only_the_simulators_own_keys_are_taken(account: Account, key: str) -> None:
    status, error = account.refusal("/v1/events", Authorization=f"Bearer {key}")

    assert (status, error["type"]) == (401, "invalid_request_error")
    assert "51abc" not in json.dumps(error)
    assert "51abc" not in json.dumps(account.control("requests"))


def test_another_api_version_is_refused(account: Account) -> None:
    status, error = account.refusal(
        "/v1/events", Authorization=AUTHORIZATION, Stripe_Version="2023-08-16"
    )

    assert (status, error["param"]) == (400, "Stripe-Version")


def test_requests_for_another_account_are_not_covered(account: Account) -> None:
    with pytest.raises(stripe.APIError) as refused:
        account.client.v1.events.list(options={"stripe_account": "acct_1"})

    assert refused.value.http_status == 501


def test_an_unknown_parameter_is_refused_as_stripe_does(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.open(payment_method_types=["card"])

    error = refused.value
    assert (error.http_status, error.code) == (400, "parameter_unknown")
    assert error.param == "payment_method_types"
    assert str(error.user_message) == "Received unknown parameter: payment_method_types"
    assert sessions(account) == 0


def test_an_unknown_url_is_404(account: Account) -> None:
    status, error = account.refusal("/v1/nothing", Authorization=AUTHORIZATION)

    assert (status, error["type"]) == (404, "invalid_request_error")
    assert error["message"].startswith("Unrecognized request URL (GET: /v1/nothing)")


def test_a_valid_call_without_behavior_is_501_counted_and_not_repeated(account: Account) -> None:
    with pytest.raises(stripe.APIError) as refused:
        account.client.v1.customers.create({"name": "x"})
    with pytest.raises(stripe.APIError):
        account.open(allow_promotion_codes=True)

    assert refused.value.http_status == 501
    assert account.control("uncovered")["data"] == {
        "POST /v1/customers": 1,
        "POST /v1/checkout/sessions: allow_promotion_codes": 1,
    }
    assert [note["verdict"] for note in account.control("requests")["data"]] == ["uncovered"] * 2


def test_requests_are_noted_with_their_verdict(account: Account) -> None:
    account.open()
    account.client.v1.events.list({"limit": 1})
    with pytest.raises(stripe.InvalidRequestError):
        account.retrieve("cs_test_dev_none")

    notes = account.control("requests")["data"]

    assert [(note["operation"], note["verdict"], note["status"]) for note in notes] == [
        ("POST /v1/checkout/sessions", "ok", 200),
        ("GET /v1/events", "ok", 200),
        ("GET /v1/checkout/sessions/{session}", "refused", 404),
    ]
    assert notes[1]["params"] == {"limit": "1"}
    assert {note["stripe_version"] for note in notes} == {stripe.api_version}


# --- idempotency -------------------------------------------------------------------------------


def test_the_same_key_replays_the_first_answer(account: Account) -> None:
    first = account.create(session_params(), key="order-1")
    account.control(f"sessions/{first.id}/pay", {})

    again = account.create(session_params(), key="order-1")

    assert (again.id, again.status) == (first.id, "open")
    notes = account.control("requests")["data"]
    assert [note["is_replayed"] for note in notes] == [False, True]
    assert sessions(account) == 1


def test_a_replayed_answer_says_so_and_names_the_first_request(account: Account) -> None:
    body = (
        b"success_url=https://market.example/&line_items[0][quantity]=1"
        b"&line_items[0][price_data][currency]=usd"
        b"&line_items[0][price_data][unit_amount]=100"
        b"&line_items[0][price_data][product_data][name]=License"
    )
    headers = {"Authorization": AUTHORIZATION, "Idempotency-Key": "k"}
    answers = []
    for _repeat in range(2):
        request = urllib.request.Request(f"{account.url}/v1/checkout/sessions", body, headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            answers.append((response.headers, response.read()))

    (first, first_body), (again, again_body) = answers
    assert again_body == first_body
    assert (first["Idempotent-Replayed"], again["Idempotent-Replayed"]) == (None, "true")
    assert again["Original-Request"] == first["Request-Id"] != again["Request-Id"]


def test_the_same_key_with_other_parameters_is_refused(account: Account) -> None:
    account.create(session_params(), key="k")

    other = session_params() | {"client_reference_id": "ord_2"}
    with pytest.raises(stripe.IdempotencyError) as refused:
        account.create(other, key="k")
    with pytest.raises(stripe.IdempotencyError):
        account.client.v1.refunds.create({"charge": "ch_1"}, {"idempotency_key": "k"})

    assert refused.value.http_status == 400
    assert sessions(account) == 1


def test_a_request_that_failed_its_validation_frees_its_key(account: Account) -> None:
    wrongs: list[dict[str, Any]] = [{"colour": "red"}, {"expires_at": 1}, {"line_items": []}]
    for wrong in wrongs:
        with pytest.raises(stripe.InvalidRequestError):
            account.create(session_params() | wrong, key="k")

    assert account.create(session_params(), key="k").status == "open"


def test_a_refusal_that_came_of_carrying_out_is_replayed(account: Account) -> None:
    session = account.open()
    account.client.v1.checkout.sessions.expire(session.id)
    for _repeat in range(2):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            account.client.v1.checkout.sessions.expire(session.id, {}, {"idempotency_key": "k"})

    assert refused.value.headers is not None
    assert account.control("requests")["data"][-1]["is_replayed"] is True


def test_a_key_is_forgotten_after_a_day(account: Account) -> None:
    first = account.create(session_params(), key="k")

    account.control("clock", {"advance_seconds": idempotency.KEPT_SECONDS - 60})
    assert account.create(session_params(), key="k").id == first.id
    account.control("clock", {"advance_seconds": 61})

    assert account.create(session_params(), key="k").id != first.id


def test_a_key_has_255_characters_at_most(account: Account) -> None:
    account.create(session_params(), key="k" * 255)

    with pytest.raises(stripe.IdempotencyError):
        account.create(session_params(), key="k" * 256)


def test_one_key_used_by_many_at_once_makes_one_object(account: Account) -> None:
    made: list[str] = []

    def create() -> None:
        made.append(account.create(session_params(), key="k").id)

    threads = [threading.Thread(target=create) for _number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 8
    assert len(set(made)) == 1
    assert sessions(account) == 1


# --- faults ------------------------------------------------------------------------------------


def test_a_lost_answer_is_recovered_by_the_sdks_own_retry(account: Account) -> None:
    account.control("faults", {"drop_response": 2, "path": "/v1/checkout/sessions"})

    session = account.open()

    assert session.status == "open"
    assert sessions(account) == 1
    posts = [note for note in account.control("requests")["data"] if note["method"] == "POST"]
    assert [note["is_replayed"] for note in posts] == [False, True, True]


def test_a_client_that_does_not_retry_loses_the_answer_and_not_the_object(
    account: Account,
) -> None:
    client = client_of(account.url, retries=0)
    account.control("faults", {"drop_response": 1})
    create: Any = client.v1.checkout.sessions.create
    with pytest.raises(stripe.APIConnectionError):
        create(session_params(), {"idempotency_key": "k"})

    again = create(session_params(), {"idempotency_key": "k"})

    assert sessions(account) == 1
    assert account.retrieve(again.id).id == again.id
    # The same request under a new key is a second object: the test above has teeth.
    create(session_params())
    assert sessions(account) == 2


def test_a_failure_that_was_asked_for_carries_nothing_out(account: Account) -> None:
    create: Any = client_of(account.url, retries=0).v1.checkout.sessions.create
    account.control("faults", {"status": 500, "times": 2, "method": "POST"})

    for _attempt in range(2):
        with pytest.raises(stripe.APIError) as failed:
            create(session_params())
        assert failed.value.http_status == 500
        assert sessions(account) == 0
    create(session_params())

    assert sessions(account) == 1


def test_faults_can_be_taken_back(account: Account) -> None:
    account.control("faults", {"status": 503, "times": 99})
    account.control("faults", {"clear": True})

    assert account.open().status == "open"


@pytest.mark.parametrize(
    "wanted",
    [{"status": 200}, {"drop_response": -1}, {"drop": 1}, {"drop_response": "1"}, {"status": "5"}],
)
def test_an_unreadable_fault_is_refused(account: Account, wanted: dict[str, Any]) -> None:
    body = json.dumps(wanted).encode()

    assert account.refusal("/_simulator/faults", body)[0] == 400


def test_a_reset_leaves_an_empty_account(account: Account) -> None:
    account.paid()
    account.control("faults", {"status": 500, "times": 9})

    account.control("reset", {})

    assert sessions(account) == 0
    assert account.client.v1.events.list().data == []
    assert account.control("deliveries")["data"] == []


# --- expansion and lists -----------------------------------------------------------------------


def test_expansion_replaces_ids_by_objects(account: Account) -> None:
    session = account.paid()
    whole = account.retrieve(session.id, "payment_intent.latest_charge.balance_transaction")

    intent = whole.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert isinstance(charge.balance_transaction, stripe.BalanceTransaction)
    assert charge.balance_transaction.source == charge.id
    assert account.retrieve(session.id).payment_intent == intent.id


@pytest.mark.parametrize("path", ["amount_total", "nothing", "payment_intent.nothing", "data.x"])
def test_what_cannot_be_expanded_is_refused(account: Account, path: str) -> None:
    session = account.paid()

    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.retrieve(session.id, path)

    assert str(refused.value.user_message) == f"This property cannot be expanded ({path})."


def test_expansion_has_at_most_four_levels(account: Account) -> None:
    session = account.paid()

    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.retrieve(session.id, "payment_intent.latest_charge.refunds.data.charge")

    assert "more than 4 levels" in str(refused.value.user_message)


def test_lists_are_paged_in_both_directions(account: Account) -> None:
    made = [account.open().id for _number in range(5)]
    newest_first = made[::-1]
    page = account.client.v1.checkout.sessions.list

    first = page({"limit": 2})
    second = page({"limit": 2, "starting_after": first.data[-1].id})
    back = page({"limit": 1, "ending_before": second.data[-1].id})

    assert ([each.id for each in first.data], first.has_more) == (newest_first[:2], True)
    assert [each.id for each in second.data] == newest_first[2:4]
    assert ([each.id for each in back.data], back.has_more) == ([newest_first[2]], True)
    assert [each.id for each in first.auto_paging_iter()] == newest_first


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"starting_after": "cs_none"}, "starting_after"),
        ({"starting_after": "cs_1", "ending_before": "cs_2"}, "starting_after"),
    ],
)
def test_a_wrong_page_is_refused(account: Account, query: dict[str, str], param: str) -> None:
    path = f"/v1/checkout/sessions?{urllib.parse.urlencode(query)}"

    status, error = account.refusal(path, Authorization=AUTHORIZATION)

    assert (status, error["param"]) == (400, param)


# --- bodies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"\xff=1",
        b"a%FF=1",
        b"amount=1&amount[a]=2",
        b"amount[a]=2&amount=1",
        b"amount[[=1",
        b"=1",
        b"metadata" + b"[a]" * 40 + b"=1",
    ],
)
def test_a_body_that_is_no_form_is_refused(account: Account, body: bytes) -> None:
    status, error = account.refusal("/v1/refunds", body, Authorization=AUTHORIZATION)

    assert (status, error["type"]) == (400, "invalid_request_error")


def test_text_of_all_kinds_arrives_unchanged(account: Account) -> None:
    text = "é 日本 & = + % [x] 😀 \u2028"

    session = account.open(client_reference_id=text, metadata={"a b": text})

    assert session.client_reference_id == text
    assert session.metadata is not None
    assert session.metadata.to_dict() == {"a b": text}


def test_what_belongs_to_one_payment_is_found_among_many_by_an_index(account: Account) -> None:
    """Reconcilers ask for each order; without indexes every answer reads the whole account."""
    world = account.simulator.world
    queries: list[str] = []
    world.database.set_trace_callback(queries.append)
    account.client.v1.charges.list({"payment_intent": "pi_1"})
    account.client.v1.charges.list({"transfer_group": "ord_1"})
    account.client.v1.refunds.list({"charge": "ch_1"})
    account.client.v1.disputes.list({"payment_intent": "pi_1"})
    account.client.v1.balance_transactions.list({"source": "ch_1"})
    account.client.v1.events.list({"delivery_success": False})
    world.database.set_trace_callback(None)

    asked = [query for query in queries if query.startswith("SELECT seq, body")]
    plans = [
        world.database.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()[0][3] for query in asked
    ]

    assert len(plans) == 6
    assert [plan.split("USING INDEX ")[1].split(" ")[0] for plan in plans] == [
        "object_by_payment_intent",
        "object_by_transfer_group",
        "object_by_charge",
        "object_by_payment_intent",
        "object_by_source",
        "object_by_pending_webhooks",
    ]
