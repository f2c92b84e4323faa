"""Settlement: the currency that the account is paid in, and what others are worth in it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from payments.simulator import amounts
from payments.simulator.errors import ApiError
from payments.simulator.state import Resource, World

_SETTING = "settlement"


@dataclass(frozen=True, slots=True)
class Settled:
    """An amount as it reaches the balance. `rate` is None where nothing was converted."""

    amount: int
    currency: str
    rate: Any


def of(world: World, amount: int, currency: str) -> Settled:
    """What an amount comes to. A currency without a rate has a balance of its own.

    The rate is between smallest units, as Stripe gives it:
    https://docs.stripe.com/api/balance_transactions/object#balance_transaction_object-exchange_rate
    """
    wanted = world.setting(_SETTING)
    if wanted is None or currency == wanted["currency"] or currency not in wanted["rates"]:
        return Settled(amount, currency, None)
    rate = Decimal(wanted["rates"][currency])
    # Away from zero at the half, on either side of it.
    settled = int((amount * rate).quantize(Decimal(1), rounding=ROUND_HALF_UP))
    return Settled(settled, wanted["currency"], float(rate))


def choose(world: World, wanted: dict[str, Any]) -> Resource:
    """Take {"currency": "eur", "rates": {"usd": "0.92"}}; {} settles each currency as it is."""
    if not wanted:
        world.set(_SETTING, None)
        return {"currency": None, "rates": {}}
    currency = amounts.check_currency(str(wanted.get("currency", "")), param="currency")
    given = wanted.get("rates", {})
    if not isinstance(given, dict):
        raise ApiError("rates is an object of currencies.", param="rates")
    rates = {
        amounts.check_currency(code, param="rates"): str(_rate(rate))
        for code, rate in given.items()
    }
    chosen = {"currency": currency, "rates": rates}
    world.set(_SETTING, chosen)
    return chosen


def _rate(text: Any) -> Decimal:
    try:
        # Text: a number of JSON would have lost digits already.
        rate = Decimal(text) if isinstance(text, str) else Decimal(0)
    except InvalidOperation:
        rate = Decimal(0)
    if not rate.is_finite() or rate <= 0:
        raise ApiError("A rate is a positive decimal number, as text.", param="rates")
    return rate
