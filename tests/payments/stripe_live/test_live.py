"""The cases against a real sandbox: `STRIPE_LIVE_TEST_KEY=sk_test_… pytest -m stripe_live`."""

from __future__ import annotations

import os

import pytest
import stripe

from tests.payments.stripe_live.cases import CASES, Case, Sandbox

NAME = "STRIPE_LIVE_TEST_KEY"
KEY = os.environ.get(NAME, "")

pytestmark = [
    pytest.mark.stripe_live,
    pytest.mark.skipif(not KEY, reason=f"{NAME} (sk_test_…) is not set: Stripe was not asked"),
]


def client_with(key: str) -> stripe.StripeClient:
    return stripe.StripeClient(
        key,
        stripe_version=stripe.api_version,
        max_network_retries=2,
        http_client=stripe.RequestsClient(timeout=30),
    )


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    assert KEY.startswith(("sk_test_", "rk_test_")), f"{NAME} is no key of test mode."
    client = client_with(KEY)

    def pay(amount: int, metadata: dict[str, str]) -> str:
        """By one of Stripe's test cards: https://docs.stripe.com/testing"""
        return client.v1.payment_intents.create(
            {
                "amount": amount,
                "currency": "usd",
                "payment_method": "pm_card_visa",
                "confirm": True,
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                "metadata": metadata,
            }
        ).id

    return Sandbox(client, pay, client_with)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_stripe_does_as_we_take_it_for_granted(case: Case, sandbox: Sandbox) -> None:
    case(sandbox)
