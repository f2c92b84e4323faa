"""The buyer's side of a test: quote, accept, and what came of it."""

from __future__ import annotations

from typing import Any

from licensing.models import Grant, LedgerEntry, ScopeClaim
from marketplace import access
from payments.models import Command, Journal, Order, Posting, Quote
from tests.people import ApiClient

ACCEPTANCE = {"name": "Lin Chen", "title": "General Counsel", "authority": True}
SCOPE = {"uses": ["pretrain"], "territories": ["DE"]}


def quote_for(client: ApiClient, offer: Any, **fields: Any) -> dict[str, Any]:
    response = client.post("/v1/quotes", {"offer": str(offer.pk), **SCOPE, **fields})
    assert response.status_code == 201, response.content
    quote: dict[str, Any] = response.json()
    return quote


def acceptance(quote: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The body of an order that accepts a quote."""
    accept = {"document_sha256": quote["document_sha256"], **ACCEPTANCE, **fields}
    return {"quote": quote["id"], "accept": accept}


def order_for(client: ApiClient, offer: Any, **fields: Any) -> dict[str, Any]:
    response = client.post("/v1/orders", acceptance(quote_for(client, offer, **fields)))
    assert response.status_code == 201, response.content
    order: dict[str, Any] = response.json()
    return order


def order_now(client: ApiClient, order: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/orders/{order['id']}").json()
    return found


def counts() -> dict[str, int]:
    """How many rows there are of everything that buying makes."""
    models = (Quote, Order, Command, ScopeClaim, Grant, Journal)
    with access.system("count in a test"):
        made = {model.__name__: model.objects.count() for model in models}
        # An offer's own entries are there before anybody buys.
        entries = LedgerEntry.objects.exclude(kind__in=["snapshot.finalized", "terms.published"])
        return made | {"LedgerEntry": entries.count()}


def made_of(order: dict[str, Any]) -> dict[str, int]:
    """What one order led to: how many grants, ledger entries, journals, and claims in force."""
    with access.system("count in a test"):
        return {
            "grants": Grant.objects.filter(agreement__made_by=order["id"]).count(),
            "entries": LedgerEntry.objects.filter(kind="grant.issued").count(),
            "sales": Journal.objects.filter(order=order["id"], kind="sale").count(),
            "refunds": Journal.objects.filter(order=order["id"], kind="refund").count(),
            "claims": ScopeClaim.objects.filter(held_by=order["id"])
            .exclude(state="released")
            .count(),
        }


GRANTED_ONCE = {"grants": 1, "entries": 1, "sales": 1, "refunds": 0, "claims": 1}
REFUNDED_ONCE = {"grants": 0, "entries": 0, "sales": 0, "refunds": 1, "claims": 0}


def balances() -> dict[str, int]:
    """What stands on each kind of account, over all orders."""
    found: dict[str, int] = {}
    with access.system("add up in a test"):
        for posting in Posting.objects.select_related("account"):
            code = str(posting.account.code)
            found[code] = found.get(code, 0) + posting.amount_minor
    return found
