"""Payment intents, and the charges that their attempts make."""

from __future__ import annotations

from typing import Any

from payments.simulator import balance, cards, events, lists, schedule
from payments.simulator.errors import Uncovered
from payments.simulator.state import Resource, World, new_id

KIND = "payment_intent"
CHARGE = "charge"

DECLINES = cards.DECLINES
# How long after its charge a test card's dispute comes.
DISPUTED_AFTER_SECONDS = 2


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

    by = ("payment_intent", "transfer_group")
    return lists.page(world, CHARGE, "/v1/charges", params, lambda charge: True, by=by)


def start(
    world: World,
    *,
    amount: int,
    currency: str,
    description: str | None,
    metadata: dict[str, str],
    transfer_group: str | None,
    method_types: tuple[str, ...] = ("card",),
) -> Resource:
    """Make the intent of a Checkout session, when somebody first tries to pay it."""
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
        "customer": None,
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
        "payment_method_types": list(method_types),
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


def succeed(
    world: World,
    intent: Resource,
    *,
    card: str = cards.ACCEPTED,
    disputed_after_seconds: int = DISPUTED_AFTER_SECONDS,
    is_authenticated: bool = False,
) -> Resource:
    """Charge a card that is accepted. Some are disputed soon after."""
    used = cards.card(card)
    charge = _charge(world, intent, last4=used.last4)
    if is_authenticated:
        charge["payment_method_details"]["card"]["three_d_secure"] = _authentication()
    charge["balance_transaction"] = balance.of_charge(world, charge)["id"]
    world.add(charge, private={"card": card})
    _charge_succeeded(world, intent, charge)
    if used.dispute is not None:
        reason, status, code = used.dispute
        schedule.later(
            world,
            disputed_after_seconds,
            "dispute",
            charge["id"],
            reason=reason,
            status=status,
            code=code,
        )
    return intent


def card_of(world: World, charge: Resource) -> cards.Card:
    """The test card that paid a charge."""
    kept = world.private(charge["id"]) or {}
    return cards.CARDS[kept.get("card", cards.ACCEPTED)]


def fail(
    world: World, intent: Resource, *, decline_code: str, last4: str | None = None
) -> Resource:
    """Try to charge a card that is declined."""
    decline = cards.decline(decline_code)
    charge = _charge(world, intent, last4=last4 or decline.last4)
    charge |= {
        "failure_code": decline.code,
        "failure_message": decline.message,
        "outcome": _outcome("issuer_declined", decline_code),
        "status": "failed",
    }
    world.add(charge)
    error = {"charge": charge["id"], "code": decline.code}
    if decline.decline_code is not None:
        error["decline_code"] = decline.decline_code
    error |= {"message": decline.message, "type": "card_error"}
    return _charge_failed(world, intent, charge, error)


def require_action(world: World, intent: Resource, *, url: str, return_url: str) -> Resource:
    """The card's bank wants its owner to authenticate. Nothing is charged before that."""
    intent |= {
        "last_payment_error": None,
        "next_action": {
            "redirect_to_url": {"return_url": return_url, "url": url},
            "type": "redirect_to_url",
        },
        "payment_method": new_id("pm"),
        "status": "requires_action",
    }
    world.put(intent)
    events.emit(world, "payment_intent.requires_action", intent)
    return intent


def fail_authentication(world: World, intent: Resource) -> Resource:
    """The owner did not prove to be it: no charge was made, and another card may be tried."""
    intent |= {
        "last_payment_error": {
            "code": "payment_intent_authentication_failure",
            "message": "The provided payment method has failed authentication. You can provide a"
            " new payment method to attempt to fulfill this PaymentIntent again.",
            "type": "invalid_request_error",
        },
        "next_action": None,
        "payment_method": None,
        "status": "requires_payment_method",
    }
    world.put(intent)
    events.emit(world, "payment_intent.payment_failed", intent)
    return intent


def debit(world: World, intent: Resource) -> Resource:
    """Begin to debit a bank account: days pass before the bank says whether it pays."""
    account = cards.debit(intent["currency"])
    charge = _charge(world, intent, last4=account.last4)
    charge |= {
        "id": new_id("py"),
        "payment_method_details": {account.type: _account(account), "type": account.type},
    }
    # Expected already: https://docs.stripe.com/reports/balance-transaction-types
    charge["balance_transaction"] = balance.of_charge(world, charge, type="payment")["id"]
    world.add(charge)
    events.emit(world, "charge.pending", charge)
    intent |= {
        "last_payment_error": None,
        "latest_charge": charge["id"],
        "next_action": None,
        "payment_method": charge["payment_method"],
        "status": "processing",
    }
    world.put(intent)
    events.emit(world, "payment_intent.processing", intent)
    return intent


def settle(world: World, intent: Resource) -> Resource:
    """The bank paid a debit."""
    charge = world.get(CHARGE, intent["latest_charge"])
    _charge_succeeded(world, intent, charge)
    return intent


def bounce(world: World, intent: Resource, *, failure_code: str) -> Resource:
    """The bank did not pay a debit."""
    message = cards.RETURNS[failure_code]
    charge = world.get(CHARGE, intent["latest_charge"])
    charge |= {
        "failure_balance_transaction": balance.of_failed_payment(world, charge)["id"],
        "failure_code": failure_code,
        "failure_message": message,
        "status": "failed",
    }
    world.put(charge)
    error = {
        "charge": charge["id"],
        "code": failure_code,
        "message": message,
        "type": "invalid_request_error",
    }
    return _charge_failed(world, intent, charge, error)


def _charge_succeeded(world: World, intent: Resource, charge: Resource) -> None:
    charge |= {
        "amount_captured": charge["amount"],
        "captured": True,
        "outcome": _outcome("authorized"),
        "paid": True,
        "status": "succeeded",
    }
    world.put(charge)
    events.emit(world, "charge.succeeded", charge)
    intent |= {
        "amount_received": intent["amount"],
        "last_payment_error": None,
        "latest_charge": charge["id"],
        "next_action": None,
        "payment_method": charge["payment_method"],
        "status": "succeeded",
    }
    world.put(intent)
    events.emit(world, "payment_intent.succeeded", intent)


def _charge_failed(
    world: World, intent: Resource, charge: Resource, error: dict[str, str]
) -> Resource:
    events.emit(world, "charge.failed", charge)
    intent |= {
        "last_payment_error": error,
        "latest_charge": charge["id"],
        "next_action": None,
        "payment_method": None,
        "status": "requires_payment_method",
    }
    world.put(intent)
    events.emit(world, "payment_intent.payment_failed", intent)
    return intent


def _charge(world: World, intent: Resource, *, last4: str) -> Resource:
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
        "customer": None,
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
        "payment_method_details": {"card": _card(intent, last4), "type": "card"},
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


def _authentication() -> Resource:
    return {
        "authentication_flow": "challenge",
        "electronic_commerce_indicator": "05",
        "exemption_indicator": None,
        "result": "authenticated",
        "result_reason": None,
        "transaction_id": new_id("dstrans"),
        "version": "2.2.0",
    }


def _account(account: cards.Debit) -> Resource:
    """The debited account, as a charge shows it."""
    shown: Resource = {"fingerprint": "simulated", "last4": account.last4, "mandate": None}
    if account.type == "us_bank_account":
        return shown | {
            "account_holder_type": "company",
            "account_type": "checking",
            "bank_name": "Simulated bank",
            "payment_reference": None,
            "routing_number": "110000000",
        }
    return shown | {"bank_code": "37040044", "branch_code": "", "country": "DE"}


def _card(intent: Resource, last4: str) -> Resource:
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
        "last4": last4,
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
