"""Tax transactions of the simulated Stripe, and their reversals, through the SDK."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.payments.simulator_account import Account, account
from tests.payments.simulator_invoices import refused, uncovered
from tests.payments.test_simulator_shapes import faults_of_answer, get
from tests.payments.test_simulator_tax import calculated

__all__ = ["account"]

# A line of 500.00 with 95.00 of tax.
WHOLE = (-50_000, -9_500)


def recorded(account: Account, reference: str = "ord_1", **changed: Any) -> Any:
    account.control("tax", {"DE": "19"})
    calculation = calculated(account).id
    params: Any = {"calculation": calculation, "reference": reference} | changed
    return account.client.v1.tax.transactions.create_from_calculation(params)


def line_of(account: Account, transaction: Any) -> Any:
    [line] = account.client.v1.tax.transactions.line_items.list(transaction.id).data
    return line


def reversal(account: Account, of: Any, reference: str, *parts: tuple[int, int]) -> Any:
    """Reverse all, or parts of the one line: (amount, tax)."""
    params: Any = {"mode": "full", "original_transaction": of.id, "reference": reference}
    if parts:
        params |= {
            "mode": "partial",
            "line_items": [
                {
                    "original_line_item": line_of(account, of).id,
                    "reference": "license",
                    "amount": amount,
                    "amount_tax": tax,
                }
                for amount, tax in parts
            ],
        }
    return account.client.v1.tax.transactions.create_reversal(params)


def test_a_sale_is_recorded_as_it_was_calculated(account: Account) -> None:
    found = recorded(account, metadata={"order": "ord_1"})

    assert (found.type, found.reference, found.currency) == ("transaction", "ord_1", "eur")
    assert found.customer_details.address.country == "DE"
    assert found.metadata.to_dict() == {"order": "ord_1"}
    line = line_of(account, found)
    assert (line.amount, line.amount_tax, line.reference) == (50_000, 9_500, "line 0")
    shown = account.client.v1.tax.transactions.retrieve(found.id, {"expand": ["line_items"]})
    assert [each.id for each in shown.line_items.data] == [line.id]


def test_a_reference_is_one_transactions_reversals_included(account: Account) -> None:
    first = recorded(account)
    reversal(account, first, "rfd_1", (-100, -19))

    for taken in ("ord_1", "rfd_1"):
        error = refused(lambda taken=taken: recorded(account, taken))
        assert (error.code, error.param) == ("resource_already_exists", "reference")
    error = refused(lambda: reversal(account, first, "ord_1", (-100, -19)))
    assert error.param == "reference"
    assert line_of(account, first).amount == 50_000


def test_a_calculation_that_has_expired_is_not_recorded(account: Account) -> None:
    calculation = calculated(account).id
    account.control("clock", {"advance_seconds": 90 * 24 * 3600})

    error = refused(
        account.client.v1.tax.transactions.create_from_calculation,
        {"calculation": calculation, "reference": "ord_1"},
    )

    assert error.code == "resource_missing"


@pytest.mark.parametrize("ahead_seconds", [-3_600, 3_600])
def test_a_sale_is_posted_between_its_tax_date_and_now(
    ahead_seconds: int, account: Account
) -> None:
    at = calculated(account).tax_date + ahead_seconds

    assert refused(lambda: recorded(account, posted_at=at)).param == "posted_at"


def test_a_full_reversal_is_the_whole_sale_below_zero(account: Account) -> None:
    sale = recorded(account)

    found = reversal(account, sale, "rfd_1")

    assert (found.type, found.reversal.original_transaction) == ("reversal", sale.id)
    line = line_of(account, found)
    assert (line.amount, line.amount_tax) == WHOLE
    assert line.reversal.original_line_item == line_of(account, sale).id
    again = refused(lambda: reversal(account, sale, "rfd_2"))
    assert again.param == "original_transaction"


def test_reversals_in_part_take_no_more_than_was_sold(account: Account) -> None:
    sale = recorded(account)
    reversal(account, sale, "rfd_1", (-10_000, -1_900))
    reversal(account, sale, "rfd_2", (-40_000, -7_500))

    for amounts in ((-1, 0), (0, -101), (1, 0)):
        error = refused(lambda amounts=amounts: reversal(account, sale, "rfd_3", amounts))
        assert error.param in {"line_items[0][amount]", "line_items[0][amount_tax]"}
    last = reversal(account, sale, "rfd_3", (0, -100))

    assert line_of(account, last).amount_tax == -100


def test_two_parts_of_one_line_count_together(account: Account) -> None:
    sale = recorded(account)

    error = refused(lambda: reversal(account, sale, "rfd_1", (-30_000, 0), (-30_000, 0)))

    assert error.param == "line_items[1][amount]"


def test_a_reversal_in_part_says_of_what(account: Account) -> None:
    sale = recorded(account)
    params: Any = {"original_transaction": sale.id, "reference": "rfd_1"}
    create = account.client.v1.tax.transactions.create_reversal
    of_nothing = [
        {"original_line_item": "tax_li_x", "reference": "a", "amount": -1, "amount_tax": 0}
    ]

    assert refused(create, params | {"mode": "partial"}).param == "line_items"
    assert (
        refused(create, params | {"mode": "full", "line_items": of_nothing}).param == "line_items"
    )
    error = refused(create, params | {"mode": "partial", "line_items": of_nothing})
    assert error.param == "line_items[0][original_line_item]"


def test_what_stripes_pages_do_not_say_is_not_answered(account: Account) -> None:
    sale = recorded(account)
    part = reversal(account, sale, "rfd_1", (-100, -19))

    uncovered(lambda: reversal(account, sale, "rfd_2"))
    uncovered(lambda: reversal(account, part, "rfd_2"))
    uncovered(
        account.client.v1.tax.transactions.create_reversal,
        {
            "mode": "partial",
            "original_transaction": sale.id,
            "reference": "rfd_2",
            "flat_amount": -100,
        },
    )


def test_tax_transactions_have_the_shape_of_the_sdks_classes(account: Account) -> None:
    sale = recorded(account, metadata={"a": "b"})
    part = reversal(account, sale, "rfd_1", (-100, -19))

    for found in (sale, part):
        for path in (
            f"/v1/tax/transactions/{found.id}",
            f"/v1/tax/transactions/{found.id}?expand[]=line_items",
            f"/v1/tax/transactions/{found.id}/line_items",
        ):
            assert list(faults_of_answer(get(account, path), path)) == []
    assert isinstance(sale, stripe.tax.Transaction)
