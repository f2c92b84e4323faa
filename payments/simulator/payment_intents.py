"""Payment intents, and the charges that their attempts make."""

from __future__ import annotations

from typing import Any

from payments.simulator import balance, events, lists
from payments.simulator.errors import Uncovered
from payments.simulator.state import Resource, World, new_id

KIND = "payment_intent"
CHARGE = "charge"

# https://docs.stripe.com/declines/codes
DECLINES = {
    "generic_decline": "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
    "lost_card": "Your card was declined.",
}


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    if "client_secret" in params:
        raise Uncovered("retrieving with a client secret", param="client_secret")
    return world.get(KIND, arguments["intent"], param="intent")


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    for param in ("customer", "customer_account"):
        if param in params:
            raise Uncovered(f"listing by {param}", param=param)
    return lists.page(world, KIND, "/v1/payment_intents", params, lambda intent: True)


def retrieve_charge(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return world.get(CHARGE, arguments["charge"], param="charge")


def list_charges(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    if "customer" in params:
        raise Uncovered("listing by customer", param="customer")

    def is_wanted(charge: Resource) -> bool:
        return all(
            charge[name] == params[name]
            for name in ("payment_intent", "transfer_group")
            if name in params
        )

    return lists.page(world, CHARGE, "/v1/charges", params, is_wanted)


def start(
    world: World,
    *,
    amount: int,
    currency: str,
    description: str | None,
    metadata: dict[str, str],
    transfer_group: str | None,
    customer: str | None = None,
) -> Resource:
    """Make the intent of a Checkout session, when somebody first tries to pay it, or an invoice."""
    id = new_id("pi")
    intent: Resource = {
        "id": id,
        "object": KIND,
        "amount": amount,
        "amount_capturable": 0,
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{id}_secret_dev",
        "confirmation_method": "automatic",
        "created": world.now(),
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "description": description,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": metadata,
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": None,
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": transfer_group,
    }
    world.add(intent)
    events.emit(world, "payment_intent.created", intent)
    return intent


def succeed(world: World, intent: Resource) -> Resource:
    """Charge a card that is accepted."""
    charge = _charge(world, intent)
    charge |= {
        "amount_captured": charge["amount"],
        "balance_transaction": balance.of_charge(world, charge)["id"],
        "captured": True,
        "outcome": _outcome("authorized"),
        "paid": True,
        "status": "succeeded",
    }
    world.add(charge)
    events.emit(world, "charge.succeeded", charge)
    intent |= {
        "amount_received": intent["amount"],
        "last_payment_error": None,
        "latest_charge": charge["id"],
        "payment_method": charge["payment_method"],
        "status": "succeeded",
    }
    world.put(intent)
    events.emit(world, "payment_intent.succeeded", intent)
    return intent


def fail(world: World, intent: Resource, *, decline_code: str) -> Resource:
    """Try to charge a card that is declined."""
    message = DECLINES[decline_code]
    charge = _charge(world, intent)
    charge |= {
        "failure_code": "card_declined",
        "failure_message": message,
        "outcome": _outcome("issuer_declined", decline_code),
        "status": "failed",
    }
    world.add(charge)
    events.emit(world, "charge.failed", charge)
    intent |= {
        "last_payment_error": {
            "charge": charge["id"],
            "code": "card_declined",
            "decline_code": decline_code,
            "message": message,
            "type": "card_error",
        },
        "latest_charge": charge["id"],
        "status": "requires_payment_method",
    }
    world.put(intent)
    events.emit(world, "payment_intent.payment_failed", intent)
    return intent


def _charge(world: World, intent: Resource) -> Resource:
    return {
        "id": new_id("ch"),
        "object": CHARGE,
        "amount": intent["amount"],
        "amount_captured": 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": {
            "address": None,
            "email": "buyer@example.com",
            "name": "Simulated buyer",
            "phone": None,
            "tax_id": None,
        },
        "calculated_statement_descriptor": "SIMULATED",
        "captured": False,
        "created": world.now(),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": False,
        "metadata": intent["metadata"],
        "on_behalf_of": None,
        "outcome": None,
        "paid": False,
        "payment_intent": intent["id"],
        "payment_method": new_id("pm"),
        "payment_method_details": {"card": _card(world, intent), "type": "card"},
        "radar_options": {},
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "pending",
        "transfer_data": None,
        "transfer_group": intent["transfer_group"],
    }


def _card(world: World, intent: Resource) -> Resource:
    return {
        "amount_authorized": intent["amount"],
        "brand": "visa",
        "checks": {
            "address_line1_check": None,
            "address_postal_code_check": None,
            "cvc_check": "pass",
        },
        "country": "US",
        "exp_month": 12,
        "exp_year": 2040,
        "fingerprint": "simulated",
        "funding": "credit",
        "installments": None,
        "last4": "4242",
        "mandate": None,
        "network": "visa",
        "three_d_secure": None,
        "wallet": None,
    }


def _outcome(type: str, reason: str | None = None) -> Resource:
    is_authorized = type == "authorized"
    return {
        "advice_code": None if is_authorized else "try_again_later",
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network" if is_authorized else "declined_by_network",
        "reason": reason,
        "risk_level": "normal",
        "risk_score": 1,
        "seller_message": "Payment complete." if is_authorized else "The bank declined the card.",
        "type": type,
    }
