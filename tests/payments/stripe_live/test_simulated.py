"""The very cases that run against a real sandbox, against the simulator: so that they are sound."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.payments.simulator_account import Account, account, client_of
from tests.payments.stripe_live import test_live
from tests.payments.stripe_live.cases import CASES, Case, Sandbox, session_params

__all__ = ["account"]


@pytest.fixture
def sandbox(account: Account) -> Sandbox:
    def pay(amount: int, metadata: dict[str, str]) -> str:
        params: Any = session_params("paid", payment_intent_data={"metadata": metadata})
        params["line_items"][0]["price_data"]["unit_amount"] = amount
        session = account.create(params)
        account.control(f"sessions/{session.id}/pay", {})
        return str(account.retrieve(session.id).payment_intent)

    def with_key(key: str) -> stripe.StripeClient:
        return stripe.StripeClient(key, base_addresses={"api": account.url})

    return Sandbox(client_of(account.url), pay, with_key)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_simulator_does_as_we_take_it_for_granted(case: Case, sandbox: Sandbox) -> None:
    case(sandbox)


def test_there_are_as_many_cases_as_were_promised_and_no_key_is_needed_to_name_them() -> None:
    assert len({case.__name__ for case in CASES}) == len(CASES) >= 25
    [marker, skip] = test_live.pytestmark
    assert marker.name == "stripe_live"
    assert skip.kwargs["reason"].startswith(test_live.NAME)
