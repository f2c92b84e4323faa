"""Checkout sessions: opened by the API, paid or declined on their page, expired by time."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from payments.simulator import amounts, cards, events, lists, metadata, payment_intents
from payments.simulator.errors import ApiError, Uncovered
from payments.simulator.state import Resource, World, new_id

KIND = "checkout.session"
URL = "/v1/checkout/sessions"

# https://docs.stripe.com/api/checkout/sessions/create#create_checkout_session-expires_at
LIFETIME_SECONDS_MIN, LIFETIME_SECONDS_MAX = 30 * 60, 24 * 3600
LINE_ITEMS_MAX = 100
REFERENCE_LENGTH_MAX = 200
DESCRIPTION_LENGTH_MAX = 1000
URL_LENGTH_MAX = 5000

# Parameters that the simulator acts on; any other valid one is answered with 501.
COVERED = {
    "": {
        "adaptive_pricing",
        "allowed_payment_method_types",
        "cancel_url",
        "client_reference_id",
        "currency",
        "customer_email",
        "excluded_payment_method_types",
        "expires_at",
        "line_items",
        "metadata",
        "mode",
        "payment_intent_data",
        "success_url",
        "ui_mode",
    },
    "line_items": {"metadata", "price", "price_data", "quantity"},
    "price_data": {"currency", "product", "product_data", "unit_amount"},
    "product_data": {"description", "images", "metadata", "name"},
    "payment_intent_data": {"description", "metadata", "transfer_group"},
}


# Fields of a session that nothing here gives a value.
NOT_USED = (
    "after_expiration",
    "allow_promotion_codes",
    "billing_address_collection",
    "client_secret",
    "collected_information",
    "consent",
    "consent_collection",
    "currency_conversion",
    "customer",
    "customer_account",
    "invoice",
    "invoice_creation",
    "locale",
    "origin_context",
    "payment_link",
    "payment_method_configuration_details",
    "payment_method_options",
    "permissions",
    "recovered_from",
    "saved_payment_method_options",
    "setup_intent",
    "shipping_address_collection",
    "shipping_cost",
    "submit_type",
    "subscription",
    "wallet_options",
)


def create(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Open a session. Nothing is charged, and no payment intent exists, before somebody pays."""
    _check_coverage(params)
    items = _line_items(world, params)
    currency = items[0]["currency"]
    total = sum(item["amount_total"] for item in items)
    if total == 0:
        raise Uncovered("an order that costs nothing", param="line_items")
    amounts.check_charge(total, currency, param="line_items")
    _check_url(params, "success_url", is_required=True)
    _check_url(params, "cancel_url", is_required=False)
    expires_at = _expires_at(world, params)
    if len(params.get("client_reference_id", "")) > REFERENCE_LENGTH_MAX:
        raise ApiError(
            f"Invalid string: must be at most {REFERENCE_LENGTH_MAX} characters",
            param="client_reference_id",
        )
    payment = _payment_data(params)
    session = _session(world, params, currency=currency, total=total, expires_at=expires_at)
    world.add(session, private={"items": items, "payment": payment}, due_at=expires_at)
    return session


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return world.get(KIND, arguments["session"], param="session")


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    for param in ("customer", "customer_account", "customer_details", "payment_link"):
        if param in params:
            raise Uncovered(f"listing sessions by {param}", param=param)
    if "subscription" in params:
        raise Uncovered("listing sessions by subscription", param="subscription")

    def is_wanted(session: Resource) -> bool:
        return all(
            session[name] == params[name] for name in ("payment_intent", "status") if name in params
        )

    return lists.page(world, KIND, URL, params, is_wanted, by=("payment_intent",))


def line_items(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """What a session sells. There are never more than one page holds."""
    session = world.get(KIND, arguments["session"], param="session")
    for param in ("starting_after", "ending_before", "limit"):
        if param in params:
            raise Uncovered(f"{param} for line items", param=param)
    return items_of(world, session)


def items_of(world: World, session: Resource) -> Resource:
    return lists.as_list(world.private(session["id"])["items"], f"{URL}/{session['id']}/line_items")


def expire(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """End an open session on request. Raises for one that is complete or expired."""
    session = world.get(KIND, arguments["session"], param="session")
    if session["status"] != "open":
        raise ApiError(
            f'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout'
            f" Session has a status of {session['status']}.",
            param="session",
            is_outcome=True,
        )
    return _expired(world, session)


def expire_due(world: World) -> int:
    """Expire what is past its time. Returns how many."""
    due = world.due(KIND)
    for session in due:
        _expired(world, session)
    return len(due)


def pay(
    world: World,
    id: str,
    *,
    card: str = cards.ACCEPTED,
    disputed_after_seconds: int = payment_intents.DISPUTED_AFTER_SECONDS,
) -> Resource:
    """Pay a session as a buyer does, with a card that is accepted. Paying again changes nothing.

    Raises ApiError for an expired one.
    """
    session = _payable(world, id)
    if session["status"] == "complete":
        return session
    _check_method(session, "card")
    intent = payment_intents.succeed(
        world,
        _intent(world, session),
        card=card,
        disputed_after_seconds=disputed_after_seconds,
    )
    return _completed(world, session, intent, payment_status="paid")


def decline(world: World, id: str, *, decline_code: str = "generic_decline") -> Resource:
    """Try to pay a session with a card that is declined: it stays open, to be paid otherwise."""
    session = _open(world, id)
    _check_method(session, "card")
    intent = payment_intents.fail(world, _intent(world, session), decline_code=decline_code)
    return _tried(world, session, intent)


def require_action(world: World, id: str) -> Resource:
    """Try to pay with a card whose bank wants its owner to authenticate (3-D Secure).

    The session stays open until somebody does; a buyer who walks away leaves it to expire.
    """
    session = _open(world, id)
    _check_method(session, "card")
    intent = payment_intents.require_action(
        world,
        _intent(world, session),
        url=session["url"],
        return_url=session["success_url"],
    )
    return _tried(world, session, intent)


def authenticate(world: World, id: str) -> Resource:
    """The buyer authenticates, and the card is charged. Raises where nobody was asked to."""
    session, intent = _asked(world, id)
    payment_intents.succeed(world, intent, card="authenticated", is_authenticated=True)
    return _completed(world, session, intent, payment_status="paid")


def fail_authentication(world: World, id: str) -> Resource:
    """The buyer fails to authenticate. The session stays open, to be paid otherwise."""
    session, intent = _asked(world, id)
    return _tried(world, session, payment_intents.fail_authentication(world, intent))


def debit(world: World, id: str) -> Resource:
    """Pay by bank debit: the session is complete, and unpaid until the bank has paid."""
    session = _open(world, id)
    _check_method(session, cards.debit(session["currency"]).type)
    intent = payment_intents.debit(world, _intent(world, session))
    return _completed(world, session, intent, payment_status="unpaid")


def settle(world: World, id: str) -> Resource:
    """The bank paid the debit, days later."""
    session, intent = _debited(world, id)
    payment_intents.settle(world, intent)
    session["payment_status"] = "paid"
    world.put(session)
    events.emit(world, "checkout.session.async_payment_succeeded", session)
    return session


def bounce(world: World, id: str, *, failure_code: str = "insufficient_funds") -> Resource:
    """The bank did not pay the debit: the session stays complete, and unpaid for good."""
    if failure_code not in cards.RETURNS:
        raise ApiError(f"failure_code is one of {', '.join(cards.RETURNS)}.", param="failure_code")
    session, intent = _debited(world, id)
    payment_intents.bounce(world, intent, failure_code=failure_code)
    events.emit(world, "checkout.session.async_payment_failed", session)
    return session


# --- creating ----------------------------------------------------------------------------------


def _check_coverage(params: dict[str, Any]) -> None:
    if params.get("mode", "payment") != "payment":
        raise Uncovered(f"mode={params['mode']}", param="mode")
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise Uncovered(f"ui_mode={params['ui_mode']}", param="ui_mode")
    if params.get("adaptive_pricing", {}).get("enabled"):
        raise Uncovered("adaptive pricing", param="adaptive_pricing[enabled]")
    _check_covered("", params, "")
    _check_covered("payment_intent_data", params.get("payment_intent_data", {}))
    for number, item in enumerate(params.get("line_items", [])):
        path = f"line_items[{number}]"
        _check_covered("line_items", item, path)
        data = item.get("price_data", {})
        _check_covered("price_data", data, f"{path}[price_data]")
        _check_covered(
            "product_data", data.get("product_data", {}), f"{path}[price_data][product_data]"
        )


def _check_covered(name: str, given: dict[str, Any], path: str | None = None) -> None:
    for key in given:
        if key not in COVERED[name]:
            where = name if path is None else path
            raise Uncovered(
                f"{key} of a Checkout Session", param=f"{where}[{key}]" if where else key
            )


def _line_items(world: World, params: dict[str, Any]) -> list[Resource]:
    given = params.get("line_items")
    if not given:
        raise ApiError(
            "You must pass `line_items` in `payment` mode.",
            code="parameter_missing",
            param="line_items",
        )
    if len(given) > LINE_ITEMS_MAX:
        raise ApiError(
            f"Array line_items exceeded maximum {LINE_ITEMS_MAX} allowed elements.",
            param="line_items",
        )
    items = [_line_item(world, item, f"line_items[{n}]") for n, item in enumerate(given)]
    for number, item in enumerate(items):
        if item["currency"] != items[0]["currency"]:
            raise ApiError(
                "All line items of a Checkout Session must be in the same currency.",
                param=f"line_items[{number}][price_data][currency]",
            )
    if "currency" in params and params["currency"].lower() != items[0]["currency"]:
        raise ApiError("The currency is not that of the line items.", param="currency")
    return items


def _line_item(world: World, given: dict[str, Any], path: str) -> Resource:
    if "price" in given and "price_data" in given:
        raise ApiError(
            "You may only specify one of these parameters: price, price_data.",
            code="parameters_exclusive",
            param=path,
        )
    if "price" in given:
        # No price was ever made: the simulator has none.
        world.get("price", given["price"], param=f"{path}[price]", status=400)
    for name in ("price_data", "quantity"):
        if name not in given:
            raise ApiError(
                f"Missing required param: {path}[{name}].",
                code="parameter_missing",
                param=f"{path}[{name}]",
            )
    quantity = given["quantity"]
    if quantity < 1:
        raise ApiError(
            "This value must be greater than or equal to 1.",
            code="parameter_invalid_integer",
            param=f"{path}[quantity]",
        )
    price = _price(world, given["price_data"], f"{path}[price_data]")
    total = price["unit_amount"] * quantity
    return {
        "id": new_id("li"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": total,
        "amount_tax": 0,
        "amount_total": total,
        "currency": price["currency"],
        "description": given["price_data"]["product_data"]["name"],
        "metadata": metadata.merged({}, given.get("metadata"), param=f"{path}[metadata]"),
        "price": price,
        "quantity": quantity,
    }


def _price(world: World, data: dict[str, Any], path: str) -> Resource:
    currency = amounts.check_currency(data["currency"], param=f"{path}[currency]")
    if "product" in data:
        world.get("product", data["product"], param=f"{path}[product]", status=400)
    product = data.get("product_data")
    for name, value in (("product_data", product), ("unit_amount", data.get("unit_amount"))):
        if value is None:
            raise ApiError(
                f"Missing required param: {path}[{name}].",
                code="parameter_missing",
                param=f"{path}[{name}]",
            )
    unit_amount: int = data["unit_amount"]
    if unit_amount < 0:
        raise ApiError(
            "Invalid non-negative integer",
            code="parameter_invalid_integer",
            param=f"{path}[unit_amount]",
        )
    if unit_amount > amounts.MAXIMUM:
        raise ApiError(
            f"Invalid integer: must be no more than {amounts.MAXIMUM}.",
            code="amount_too_large",
            param=f"{path}[unit_amount]",
        )
    assert product is not None
    if not product["name"].strip():
        raise ApiError(
            "You passed an empty string for a product's name.",
            code="parameter_invalid_empty",
            param=f"{path}[product_data][name]",
        )
    return {
        "id": new_id("price"),
        "object": "price",
        "active": False,
        "billing_scheme": "per_unit",
        "created": world.now(),
        "currency": currency,
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": None,
        "metadata": {},
        "nickname": None,
        "product": new_id("prod", 14),
        "recurring": None,
        "tax_behavior": data.get("tax_behavior", "unspecified"),
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "one_time",
        "unit_amount": unit_amount,
        "unit_amount_decimal": str(unit_amount),
    }


def _check_url(params: dict[str, Any], param: str, *, is_required: bool) -> None:
    if param not in params:
        if is_required:
            raise ApiError(
                f"Missing required param: {param}.", code="parameter_missing", param=param
            )
        return
    address = params[param]
    try:
        parts = urlsplit(address)
        is_whole = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_whole = False
    if not is_whole or len(address) > URL_LENGTH_MAX or any(ord(c) <= 32 for c in address):
        raise ApiError("Not a valid URL", code="url_invalid", param=param)


def _expires_at(world: World, params: dict[str, Any]) -> int:
    now = world.now()
    expires_at: int = params.get("expires_at", now + LIFETIME_SECONDS_MAX)
    if expires_at < now + LIFETIME_SECONDS_MIN:
        raise ApiError(
            "The `expires_at` timestamp must be at least 30 minutes from Checkout Session"
            " creation.",
            param="expires_at",
        )
    if expires_at > now + LIFETIME_SECONDS_MAX:
        raise ApiError(
            "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.",
            param="expires_at",
        )
    return expires_at


def _payment_data(params: dict[str, Any]) -> dict[str, Any]:
    """What the payment intent will carry, kept until somebody pays."""
    given = params.get("payment_intent_data", {})
    if len(given.get("description", "")) > DESCRIPTION_LENGTH_MAX:
        raise ApiError(
            f"Invalid string: must be at most {DESCRIPTION_LENGTH_MAX} characters",
            param="payment_intent_data[description]",
        )
    return {
        "description": given.get("description"),
        "metadata": metadata.merged(
            {}, given.get("metadata"), param="payment_intent_data[metadata]"
        ),
        "transfer_group": given.get("transfer_group"),
    }


def _method_types(params: dict[str, Any], currency: str) -> list[str]:
    """The ways to pay: a card, and what debits bank accounts in the currency; or fewer.

    A type that the simulator lacks is one that is not eligible: nobody can pay by it.
    """
    account = cards.DEBITS.get(currency)
    known = ["card", *([account.type] if account else [])]
    allowed = params.get("allowed_payment_method_types", known)
    excluded = params.get("excluded_payment_method_types", [])
    offered = [type for type in known if type in allowed and type not in excluded]
    if not offered:
        raise Uncovered("ways to pay beside cards and bank debits", param="payment_method_types")
    return offered


def _session(
    world: World, params: dict[str, Any], *, currency: str, total: int, expires_at: int
) -> Resource:
    id = new_id("cs_test", 40)
    return {
        "id": id,
        "object": KIND,
        **dict.fromkeys(NOT_USED),
        "adaptive_pricing": {"enabled": False},
        "allowed_payment_method_types": params.get("allowed_payment_method_types"),
        "amount_subtotal": total,
        "amount_total": total,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "created": world.now(),
        "currency": currency,
        "custom_fields": [],
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "customer_creation": "if_required",
        "customer_email": params.get("customer_email"),
        "discounts": [],
        "excluded_payment_method_types": params.get("excluded_payment_method_types"),
        "expires_at": expires_at,
        "livemode": False,
        "metadata": metadata.merged({}, params.get("metadata")),
        "mode": "payment",
        "payment_intent": None,
        "customer_details": None,
        "payment_method_collection": "if_required",
        "payment_method_types": _method_types(params, currency),
        "payment_status": "unpaid",
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "open",
        "success_url": params["success_url"],
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": f"{world.base_url}/pay/{id}",
    }


# --- paying ------------------------------------------------------------------------------------


def _payable(world: World, id: str) -> Resource:
    session = world.get(KIND, id, param="session")
    # The clock may be ahead of the process that expires sessions.
    if session["status"] == "expired" or (
        session["status"] == "open" and session["expires_at"] <= world.now()
    ):
        raise ApiError(f"The Checkout Session {id} has expired: nobody can pay it any more.")
    return session


def _open(world: World, id: str) -> Resource:
    session = _payable(world, id)
    if session["status"] == "complete":
        raise ApiError(f"The Checkout Session {id} is complete: nothing is left to pay.")
    return session


def _check_method(session: Resource, type: str) -> None:
    if type not in session["payment_method_types"]:
        raise ApiError(f"The Checkout Session {session['id']} takes no {type}.", status=409)


def _asked(world: World, id: str) -> tuple[Resource, Resource]:
    """A session whose buyer is asked to authenticate, and its intent."""
    session = _open(world, id)
    intent = _intent(world, session)
    if intent["status"] != "requires_action":
        raise ApiError(f"Nobody is asked to authenticate for {id}.", status=409)
    return session, intent


def _debited(world: World, id: str) -> tuple[Resource, Resource]:
    """A session whose debit is under way, and its intent."""
    session = world.get(KIND, id, param="session")
    intent = world.find(payment_intents.KIND, session["payment_intent"] or "")
    if intent is None or intent["status"] != "processing":
        raise ApiError(f"No debit is under way for {id}.", status=409)
    return session, intent


def _tried(world: World, session: Resource, intent: Resource) -> Resource:
    """The session after an attempt that did not pay it."""
    session["payment_intent"] = intent["id"]
    world.put(session, due_at=session["expires_at"])
    return session


def _completed(
    world: World, session: Resource, intent: Resource, *, payment_status: str
) -> Resource:
    session |= {
        "payment_intent": intent["id"],
        "payment_status": payment_status,
        "status": "complete",
        # A page that is done with has no address.
        "url": None,
        "customer_details": _buyer(session),
    }
    world.put(session)
    events.emit(world, "checkout.session.completed", session)
    return session


def _intent(world: World, session: Resource) -> Resource:
    """The session's payment intent, which the first attempt to pay makes."""
    if session["payment_intent"] is not None:
        return world.get(payment_intents.KIND, session["payment_intent"])
    return payment_intents.start(
        world,
        amount=session["amount_total"],
        currency=session["currency"],
        method_types=tuple(session["payment_method_types"]),
        **world.private(session["id"])["payment"],
    )


def _expired(world: World, session: Resource) -> Resource:
    session |= {"status": "expired", "url": None}
    world.put(session)
    events.emit(world, "checkout.session.expired", session)
    return session


def _buyer(session: Resource) -> Resource:
    return {
        "address": None,
        "business_name": None,
        "email": session["customer_email"] or "buyer@example.com",
        "individual_name": None,
        "name": "Simulated buyer",
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [],
    }
