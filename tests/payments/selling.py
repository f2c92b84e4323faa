"""The seller's side of a test: an account to be paid with, and what was sent to it."""

from __future__ import annotations

from typing import Any

from marketplace import access
from marketplace.models import Organization, User
from payments import connect, fees
from payments.models import ConnectedAccount, Transfer, TransferReversal
from tests.payments.simulating import Stripe
from tests.people import ApiClient, caller_for


def opened(seller: Organization, *, livemode: bool = False) -> ConnectedAccount:
    return connect.open(caller_for(seller, livemode=livemode))


def onboarded(seller: Organization, stripe: Stripe) -> ConnectedAccount:
    """An account that Stripe pays."""
    account = opened(seller)
    assert account.stripe_id is not None
    stripe.account(account.stripe_id, "complete")
    return connect.sync_account(account.pk)


def transfer_of(order: dict[str, Any]) -> Transfer:
    with access.system("read a transfer in a test"):
        return Transfer.objects.get(order=order["id"])


def reversals_of(order: dict[str, Any]) -> list[TransferReversal]:
    with access.system("read reversals in a test"):
        return list(TransferReversal.objects.filter(transfer__order=order["id"]).order_by("pk"))


def set_fee(basis_points: int, operator: User, **fields: Any) -> None:
    fees.set(operator, basis_points=basis_points, **fields)


def request_refund(client: ApiClient, order: dict[str, Any], **fields: Any) -> Any:
    return client.post("/v1/refunds", {"order": order["id"], "reason": "We agreed.", **fields})
