"""Tax calculations of the simulated Stripe, through the SDK."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.payments.simulator_account import Account, account
from tests.payments.test_simulator_shapes import faults_of_answer, get

__all__ = ["account"]


def calculated(account: Account, *amounts: tuple[int, str], **details: Any) -> Any:
    given = {"address": {"country": "DE"}, "address_source": "billing", **details}
    params: Any = {
        "currency": "eur",
        "customer_details": given,
        "line_items": [
            {"amount": amount, "reference": f"line {number}", "tax_behavior": behavior}
            for number, (amount, behavior) in enumerate(amounts or [(50_000, "exclusive")])
        ],
    }
    return account.client.v1.tax.calculations.create(params)


@pytest.mark.parametrize(
    ("registered", "details", "reason"),
    [
        ({}, {}, "not_collecting"),
        ({"DE": "19"}, {"taxability_override": "customer_exempt"}, "customer_exempt"),
        (
            {"DE": "19"},
            {"tax_ids": [{"type": "eu_vat", "value": "DE123456789"}]},
            "reverse_charge",
        ),
    ],
)
def test_zero_tax_says_why(
    registered: dict[str, str], details: dict[str, Any], reason: str, account: Account
) -> None:
    account.control("tax", registered)

    found = calculated(account, **details)

    assert (found.tax_amount_exclusive, found.amount_total) == (0, 50_000)
    assert [each.taxability_reason for each in found.tax_breakdown] == [reason]


def test_each_line_is_taxed_by_itself(account: Account) -> None:
    account.control("tax", {"DE": "19"})

    found = calculated(account, (50_000, "exclusive"), (11_900, "inclusive"), (3, "exclusive"))

    # 9,500, and 0.57 rounded to 1; of 119.00, 19.00 are tax.
    assert (found.tax_amount_exclusive, found.tax_amount_inclusive) == (9_501, 1_900)
    assert found.amount_total == 61_903 + 9_501
    lines = account.client.v1.tax.calculations.line_items.list(found.id).data
    assert [line.amount_tax for line in lines] == [9_500, 1_900, 1]


def test_a_customer_is_somewhere(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        calculated(account, address={"country": "Germany"})

    assert refusal.value.code == "customer_tax_location_invalid"


def test_calculations_have_the_shape_of_the_sdks_classes(account: Account) -> None:
    account.control("tax", {"DE": "19"})
    found = calculated(
        account, (50_000, "exclusive"), tax_ids=[{"type": "eu_vat", "value": "DE123456789"}]
    )

    for path in (
        f"/v1/tax/calculations/{found.id}",
        f"/v1/tax/calculations/{found.id}/line_items",
    ):
        assert list(faults_of_answer(get(account, path), path)) == []
