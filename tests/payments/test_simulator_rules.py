"""Rules of the simulator beside the table of its fidelity: empty text, and coarse currencies."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.payments.simulator_account import Account, account, line

__all__ = ["account"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"client_reference_id": ""}, "client_reference_id"),
        ({"expires_at": ""}, "expires_at"),
        ({"payment_intent_data": {"transfer_group": ""}}, "payment_intent_data[transfer_group]"),
    ],
)
def test_empty_text_is_refused_where_it_unsets_nothing(
    account: Account, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.open(**fields)

    assert (refused.value.code, refused.value.param) == ("parameter_invalid_empty", param)


@pytest.mark.parametrize(
    ("currency", "amount", "is_accepted"),
    [("kwd", 1_001, False), ("kwd", 1_010, True), ("isk", 1_050, False), ("isk", 1_100, True)],
)
def test_some_currencies_are_charged_in_coarser_steps(
    account: Account, currency: str, amount: int, is_accepted: bool
) -> None:
    lines = [line("A", amount, currency=currency)]
    if is_accepted:
        assert account.open(line_items=lines).amount_total == amount
        return
    with pytest.raises(stripe.InvalidRequestError, match="Invalid amount"):
        account.open(line_items=lines)
