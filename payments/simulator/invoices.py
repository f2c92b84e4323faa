"""Invoices: drafts made, changed, listed and deleted. What comes later is in invoice_states."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from payments.simulator import (
    amounts,
    covered,
    customer_balances,
    customers,
    events,
    invoice_lines,
    lists,
    metadata,
    tax_rates,
)
from payments.simulator.errors import ApiError, Uncovered
from payments.simulator.state import Resource, World, new_id

KIND = "invoice"
URL = "/v1/invoices"
# Where an invoice is seen and paid.
PAGES = "/invoice/"

CUSTOM_FIELDS_MAX, FIELD_NAME_LENGTH_MAX, FIELD_VALUE_LENGTH_MAX = 4, 40, 140
NUMBER_LENGTH_MAX, DESCRIPTION_LENGTH_MAX, FOOTER_LENGTH_MAX = 26, 1500, 5000
DAY_SECONDS = 24 * 3600
# https://docs.stripe.com/invoicing/integration/automatic-advancement-collection
FINALIZES_AFTER_SECONDS = 3600
# With Stripe an automation says how many days before; here it is always a week.
WILL_BE_DUE_SECONDS = 7 * DAY_SECONDS
DEFAULT_CURRENCY = "usd"

# Parameters that may change as long as the invoice is a draft.
_TEXTS = {"description", "footer", "statement_descriptor"}
CHANGEABLE = _TEXTS | {
    "auto_advance",
    "automatic_tax",
    "collection_method",
    "custom_fields",
    "days_until_due",
    "default_tax_rates",
    "due_date",
    "effective_at",
    "issuer",
    "metadata",
    "number",
    "payment_settings",
    "rendering",
}
COVERED = CHANGEABLE | {"currency", "customer", "pending_invoice_items_behavior"}
# What may change on a finalized one.
ALWAYS_CHANGEABLE = frozenset({"auto_advance", "metadata"})

# Fields that begin without a value; most of them never get one here.
_EMPTY = (
    "account_tax_ids",
    "application",
    "automatically_finalizes_at",
    "custom_fields",
    "customer_account",
    "customer_address",
    "customer_email",
    "customer_name",
    "customer_phone",
    "customer_shipping",
    "default_payment_method",
    "default_source",
    "description",
    "due_date",
    "effective_at",
    "ending_balance",
    "footer",
    "from_invoice",
    "hosted_invoice_url",
    "invoice_pdf",
    "last_finalization_error",
    "latest_revision",
    "next_payment_attempt",
    "number",
    "on_behalf_of",
    "parent",
    "receipt_number",
    "rendering",
    "shipping_cost",
    "shipping_details",
    "statement_descriptor",
    "status_details",
    "test_clock",
    "threshold_reason",
)
_ZERO = (
    "amount_due",
    "amount_overpaid",
    "amount_paid",
    "amount_paid_off_stripe",
    "amount_remaining",
    "amount_shipping",
    "attempt_count",
    "post_payment_credit_notes_amount",
    "pre_payment_credit_notes_amount",
    "starting_balance",
    "subtotal",
    "subtotal_excluding_tax",
    "total",
    "total_excluding_tax",
)
_LISTS = (
    "customer_tax_ids",
    "default_tax_rates",
    "discounts",
    "total_discount_amounts",
    "total_pretax_credit_amounts",
    "total_taxes",
)


def create(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Make a draft. Without `pending_invoice_items_behavior=include` it has no lines yet."""
    covered.check(params, COVERED, "an invoice")
    if "customer" not in params:
        raise covered.missing("customer")
    if params.get("collection_method", "charge_automatically") != "send_invoice":
        raise Uncovered("collection_method=charge_automatically", param="collection_method")
    if not {"due_date", "days_until_due"} & params.keys():
        raise ApiError(
            "If invoice collection method is 'send_invoice', you must specify 'due_date' or"
            " 'days_until_due'."
        )
    customer = world.get(customers.KIND, params["customer"], param="customer", status=400)
    _check_email(customer)
    currency = amounts.check_currency(
        params.get("currency") or customer["currency"] or DEFAULT_CURRENCY, param="currency"
    )
    invoice = _draft(world, customer, currency)
    _change(world, invoice, params)
    # The id of its payment is known before the payment is, so that nobody must look for it.
    world.add(invoice, private={"payment": new_id("inpay")})
    if params.get("pending_invoice_items_behavior") == "include":
        for item in invoice_lines.pending(world, customer["id"], currency):
            invoice_lines.attach(world, item, invoice)
    refresh(world, invoice)
    world.put(invoice, due_at=_due_at(world, invoice))
    events.emit(world, "invoice.created", invoice)
    return invoice


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return world.get(KIND, arguments["invoice"], param="invoice")


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    for param in ("customer_account", "subscription"):
        if param in params:
            raise Uncovered(f"listing invoices by {param}", param=param)

    def is_wanted(invoice: Resource) -> bool:
        return _is_within(invoice["due_date"], params.get("due_date")) and all(
            invoice[name] == params[name]
            for name in ("collection_method", "customer", "status")
            if name in params
        )

    return lists.page(world, KIND, URL, params, is_wanted)


def lines(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    invoice = world.get(KIND, arguments["invoice"], param="invoice")
    return invoice_lines.page(invoice["lines"]["data"], invoice["lines"]["url"], params)


def update(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Change a draft; of a finalized invoice, only what is no part of the document."""
    invoice = world.get(KIND, arguments["invoice"], param="id")
    if invoice["status"] != "draft":
        for name in params:
            if name not in ALWAYS_CHANGEABLE:
                raise ApiError(
                    "Finalized invoices can't be updated in this way", param=name, is_outcome=True
                )
    covered.check(params, CHANGEABLE, "an invoice")
    before = deepcopy(invoice)
    _change(world, invoice, params)
    if invoice["status"] == "draft":
        refresh(world, invoice)
    save(world, invoice, before)
    return invoice


def delete(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Delete a draft, with its items. A finalized invoice is voided instead."""
    invoice = world.get(KIND, arguments["invoice"], param="invoice")
    if invoice["status"] != "draft":
        raise ApiError("You can only delete draft invoices.", is_outcome=True)
    for line in invoice["lines"]["data"]:
        world.remove(invoice_lines.item_of(line))
    world.remove(invoice["id"])
    events.emit(world, "invoice.deleted", invoice)
    return {"id": invoice["id"], "object": KIND, "deleted": True}


def update_customer(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Change a customer, and the drafts that show who it is."""
    customer = customers.update(world, arguments, params)
    for invoice in world.newest(KIND):
        if invoice["customer"] == customer["id"] and invoice["status"] == "draft":
            before = deepcopy(invoice)
            refresh(world, invoice)
            save(world, invoice, before)
    return customer


def save(world: World, invoice: Resource, before: Resource, *types: str) -> None:
    """Keep a changed invoice; say what changed, and then what that means."""
    previous = events.differences(before, invoice)
    due_at = _due_at(world, invoice)
    if due_at is None and before["status"] == "draft" and invoice["status"] == "open":
        # It was finalized so late that it is overdue from the start.
        due_at = invoice["due_date"]
    world.put(invoice, due_at=due_at)
    if previous:
        events.emit(world, "invoice.updated", invoice, previous=previous)
    for type in types:
        events.emit(world, type, invoice)


def refresh(world: World, invoice: Resource) -> None:
    """Bring a draft up to its customer, its lines and its customer's balance."""
    assert invoice["status"] == "draft"
    customer = world.get(customers.KIND, invoice["customer"])
    invoice |= {
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_tax_exempt": customer["tax_exempt"],
        "customer_tax_ids": [
            {"type": each["type"], "value": each["value"]}
            for each in customers.tax_ids(world, customer)
        ],
    }
    invoice_lines.add_up(world, invoice)
    if invoice["total"] > amounts.MAXIMUM:
        raise ApiError(
            "The total amount must be no more than"
            f" {amounts.show(amounts.MAXIMUM, invoice['currency'])}.",
            code="amount_too_large",
            is_outcome=True,
        )
    balance = customer_balances.of(world, invoice["customer"], invoice["currency"])
    due = max(0, invoice["total"] + balance)
    invoice |= {"starting_balance": balance, "amount_due": due, "amount_remaining": due}


def _check_email(customer: Resource) -> None:
    if not customer["email"]:
        raise ApiError(
            "Missing email. In order to create invoices that are sent to the customer, the"
            " customer must have a valid email."
        )


def _due_at(world: World, invoice: Resource) -> int | None:
    """When the clock next does something to an invoice: finalize it, remind, or call it late."""
    if invoice["status"] == "draft":
        at: int | None = invoice["automatically_finalizes_at"]
        return at
    if invoice["status"] != "open":
        return None
    now, due = world.now(), invoice["due_date"]
    return next((at for at in (due - WILL_BE_DUE_SECONDS, due) if now < at), None)


def _is_within(value: int | None, wanted: Any) -> bool:
    if wanted is None:
        return True
    if value is None or isinstance(wanted, int):
        return bool(value == wanted)
    return bool(
        value > wanted.get("gt", -1)
        and value >= wanted.get("gte", 0)
        and value < wanted.get("lt", 1 << 62)
        and value <= wanted.get("lte", 1 << 62)
    )


# --- what a caller may set ---------------------------------------------------------------------


def _change(world: World, invoice: Resource, params: dict[str, Any]) -> None:
    for name, length_max in (
        ("description", DESCRIPTION_LENGTH_MAX),
        ("footer", FOOTER_LENGTH_MAX),
    ):
        covered.check_length(params.get(name), length_max, param=name)
    if params.get("collection_method", "send_invoice") != "send_invoice":
        raise Uncovered("collection_method=charge_automatically", param="collection_method")
    if params.get("automatic_tax", {}).get("enabled"):
        raise Uncovered("automatic tax", param="automatic_tax[enabled]")
    if params.get("issuer", {}).get("type", "self") != "self":
        raise Uncovered("issuing for an account", param="issuer[type]")
    _check_payment_settings(params.get("payment_settings", {}))
    for name in _TEXTS & params.keys():
        invoice[name] = params[name]
    if "number" in params:
        covered.check_length(params["number"], NUMBER_LENGTH_MAX, param="number")
        invoice["number"] = params["number"] or None
    if "effective_at" in params:
        invoice["effective_at"] = params["effective_at"] or None
    if "custom_fields" in params:
        invoice["custom_fields"] = _custom_fields(params["custom_fields"])
    if "rendering" in params:
        invoice["rendering"] = _rendering(params["rendering"])
    if "default_tax_rates" in params:
        invoice["default_tax_rates"] = tax_rates.chosen(
            world,
            params["default_tax_rates"],
            param="default_tax_rates",
            rates_max=tax_rates.DEFAULT_RATES_MAX,
        )
    if "auto_advance" in params:
        invoice["auto_advance"] = params["auto_advance"]
    if invoice["status"] == "draft":
        at = invoice["created"] + FINALIZES_AFTER_SECONDS
        invoice["automatically_finalizes_at"] = at if invoice["auto_advance"] else None
        _change_due_date(world, invoice, params)
    invoice["metadata"] = metadata.merged(invoice["metadata"], params.get("metadata"))


def _change_due_date(world: World, invoice: Resource, params: dict[str, Any]) -> None:
    if "due_date" in params and "days_until_due" in params:
        raise covered.exclusive("due_date", "days_until_due")
    if "days_until_due" in params:
        if params["days_until_due"] < 0:
            raise ApiError(
                "Invalid non-negative integer",
                code="parameter_invalid_integer",
                param="days_until_due",
            )
        invoice["due_date"] = invoice["created"] + params["days_until_due"] * DAY_SECONDS
    elif "due_date" in params:
        if params["due_date"] < world.now():
            raise ApiError("The due date must be in the future.", param="due_date")
        invoice["due_date"] = params["due_date"]


def _custom_fields(given: Any) -> list[Resource] | None:
    """Such as the buyer's purchase order number. Empty text unsets them all."""
    if len(given) > CUSTOM_FIELDS_MAX:
        raise ApiError(
            f"Array custom_fields exceeded maximum {CUSTOM_FIELDS_MAX} allowed elements.",
            param="custom_fields",
        )
    for number, field in enumerate(given):
        for name, length_max in (
            ("name", FIELD_NAME_LENGTH_MAX),
            ("value", FIELD_VALUE_LENGTH_MAX),
        ):
            covered.check_length(field[name], length_max, param=f"custom_fields[{number}][{name}]")
    return [{"name": field["name"], "value": field["value"]} for field in given] or None


def _rendering(given: dict[str, Any]) -> Resource:
    covered.check(given, {"amount_tax_display", "pdf"}, "an invoice", path="rendering")
    return {
        "amount_tax_display": given.get("amount_tax_display") or None,
        "pdf": {"page_size": given["pdf"].get("page_size", "auto")} if "pdf" in given else None,
        "template": None,
        "template_version": None,
    }


def _check_payment_settings(given: dict[str, Any]) -> None:
    covered.check(given, {"payment_method_types"}, "an invoice", path="payment_settings")
    for type in given.get("payment_method_types", []):
        if type != "card":
            raise Uncovered(f"paying by {type}", param="payment_settings[payment_method_types]")


# --- the object --------------------------------------------------------------------------------


def _draft(world: World, customer: Resource, currency: str) -> Resource:
    id, now = new_id("in"), world.now()
    return {
        "id": id,
        "object": KIND,
        **dict.fromkeys(_EMPTY),
        **dict.fromkeys(_ZERO, 0),
        **{name: [] for name in _LISTS},
        "account_country": "US",
        "account_name": "Simulated account",
        "attempted": False,
        "auto_advance": False,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "billing_reason": "manual",
        "collection_method": "send_invoice",
        "created": now,
        "currency": currency,
        "customer": customer["id"],
        "customer_tax_exempt": "none",
        "issuer": {"type": "self"},
        "lines": lists.as_list([], f"{URL}/{id}/lines"),
        "livemode": False,
        "metadata": {},
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": now,
        "period_start": now,
        "status": "draft",
        "status_transitions": dict.fromkeys(
            ("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")
        ),
        "webhooks_delivered_at": now,
    }
