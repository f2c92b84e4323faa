"""Connected accounts for the simulator's own tests, made as a market makes them."""

from __future__ import annotations

from typing import Any

import stripe
from stripe.v2.core import Account as Seller

from tests.payments.simulator_account import Account

INCLUDE = ["configuration.recipient", "defaults", "identity", "requirements"]
ALL = [*INCLUDE, "configuration.customer", "configuration.merchant", "future_requirements"]
TRANSFERS, PAYOUTS = "stripe_balance.stripe_transfers", "stripe_balance.payouts"


def seller_params(**changed: Any) -> dict[str, Any]:
    """An account that may receive transfers, once somebody told Stripe who it is."""
    params: dict[str, Any] = {
        "contact_email": "archive@example.com",
        "display_name": "An archive",
        "dashboard": "express",
        "defaults": {
            "currency": "usd",
            "locales": ["en-US"],
            "responsibilities": {
                "fees_collector": "application",
                "losses_collector": "application",
            },
        },
        "identity": {
            "country": "US",
            "entity_type": "company",
            "business_details": {"registered_name": "Archive, Inc."},
        },
        "configuration": {
            "recipient": {
                "capabilities": {"stripe_balance": {"stripe_transfers": {"requested": True}}}
            }
        },
        "include": INCLUDE,
        "metadata": {"organization": "org_1"},
    }
    return params | changed


def made(account: Account, **changed: Any) -> Seller:
    params: Any = seller_params(**changed)
    return account.client.v2.core.accounts.create(params)


def onboarded(account: Account, *, country: str = "US") -> str:
    """The id of an account that may receive transfers."""
    seller = made(account, identity={"country": country, "entity_type": "company"})
    account.control(f"accounts/{seller.id}/complete", {})
    return seller.id


def fetched(account: Account, id: str) -> Seller:
    params: Any = {"include": INCLUDE}
    return account.client.v2.core.accounts.retrieve(id, params)


def statuses(seller: Seller) -> dict[str, str]:
    """The status of each capability."""
    assert seller.configuration is not None
    assert seller.configuration.recipient is not None
    capabilities = seller.configuration.recipient.capabilities
    if capabilities is None or capabilities.stripe_balance is None:
        return {}
    balance = capabilities.stripe_balance
    assert balance.stripe_transfers is not None
    assert balance.payouts is not None
    return {TRANSFERS: balance.stripe_transfers.status, PAYOUTS: balance.payouts.status}


def asked(seller: Seller) -> list[str]:
    """What Stripe still wants to know."""
    assert seller.requirements is not None
    return [each.description for each in seller.requirements.entries or []]


def all_of_connect(account: Account) -> list[str]:
    """Have everything happen that Connect is there for; the addresses that show it."""
    person = made(
        account,
        identity={
            "country": "US",
            "entity_type": "individual",
            "individual": {
                "given_name": "Given",
                "surname": "Surname",
                "date_of_birth": {"day": 1, "month": 2, "year": 1970},
                "id_numbers": [{"type": "us_ssn", "value": "000000000"}],
                "address": {"country": "US", "line1": "1 Way"},
            },
        },
    ).id
    update = account.client.v2.core.accounts.update
    update(person, {"display_name": "A person", "defaults": {"currency": "eur"}})
    update(person, {"identity": {"individual": {"phone": "0000"}}})
    update(person, {"configuration": {"recipient": {"applied": False}}})
    update(person, {"configuration": {"recipient": {"applied": True}}})
    refused, verified, closed = made(account).id, onboarded(account), made(account).id
    account.control(f"accounts/{refused}/refuse", {})
    account.control(f"accounts/{verified}/restrict", {"is_verifying": True})
    account.client.v2.core.accounts.close(closed)
    seller = onboarded(account)
    params: Any = {
        "amount": 1000,
        "currency": "usd",
        "destination": seller,
        "source_transaction": paid_charge(account).id,
        "description": "Royalties",
    }
    transfer = account.client.v1.transfers.create(params)
    account.client.v1.transfers.update(transfer.id, {"metadata": {"a": "b"}})
    account.client.v1.transfers.reversals.create(transfer.id, {"amount": 100})
    account.control("clock", {"advance_seconds": 2 * 24 * 3600})
    account.control("payouts", {})
    include = "&".join(f"include[{number}]={name}" for number, name in enumerate(ALL))
    return [
        "/v1/balance",
        "/v1/payouts?expand[]=data.balance_transaction",
        "/v1/transfers?expand[]=data.source_transaction&expand[]=data.balance_transaction",
        f"/v1/transfers/{transfer.id}/reversals?expand[]=data.transfer",
        "/v1/balance_transactions?expand[]=data.source&limit=100",
        "/v1/events?limit=100",
        "/v2/core/accounts?limit=2",
        "/v2/core/events?limit=100",
        *(
            f"/v2/core/accounts/{id}?{include}"
            for id in (person, refused, verified, closed, seller)
        ),
    ]


def paid_charge(account: Account, **changed: Any) -> stripe.Charge:
    """A charge of 595.00 USD, its funds pending."""
    intent = account.paid(**changed).payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert isinstance(intent.latest_charge, stripe.Charge)
    return intent.latest_charge
