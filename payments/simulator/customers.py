"""Customers: who gets invoices, with the tax ids that stand on them."""

from __future__ import annotations

import re
import secrets
from typing import Any

from payments.simulator import covered, events, lists, metadata
from payments.simulator.errors import ApiError, Uncovered
from payments.simulator.state import Resource, World, new_id

KIND = "customer"
TAX_ID = "tax_id"
URL = "/v1/customers"

EMAIL_LENGTH_MAX, NAME_LENGTH_MAX = 512, 150
TAX_IDS_MAX = 5
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PREFIX = re.compile(r"[A-Z0-9]{1,12}", re.ASCII)
_PREFIX_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
# https://docs.stripe.com/billing/customer/tax-ids: two letters of the country, then its number.
_EU_VAT = re.compile(
    r"(AT|BE|BG|CY|CZ|DE|DK|EE|EL|ES|FI|FR|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI|SK|XI)"
    r"[A-Z0-9+*]{2,12}",
    re.ASCII,
)
# Stripe asks an authority about these; the simulator asks nobody, so they stay pending.
_VERIFIED_TYPES = frozenset({"eu_vat", "gb_vat", "au_abn"})

_TEXTS = {"business_name", "description", "email", "individual_name", "name", "phone"}
COVERED = _TEXTS | {
    "address",
    "invoice_prefix",
    "metadata",
    "preferred_locales",
    "tax_exempt",
}
ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")


def create(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    covered.check(params, COVERED | {"tax_id_data"}, "a customer")
    _check(params)
    given = params.get("tax_id_data", [])
    if len(given) > TAX_IDS_MAX:
        raise ApiError(
            f"Array tax_id_data exceeded maximum {TAX_IDS_MAX} allowed elements.",
            param="tax_id_data",
        )
    customer = _customer(world)
    _change(customer, params)
    world.add(customer)
    events.emit(world, "customer.created", customer)
    for number, each in enumerate(given):
        _add_tax_id(world, customer, each, f"tax_id_data[{number}]")
    return customer


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return world.get(KIND, arguments["customer"], param="id")


def update(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    customer = world.get(KIND, arguments["customer"], param="id")
    covered.check(params, COVERED, "a customer")
    _check(params)
    before = dict(customer)
    _change(customer, params)
    save(world, customer, before)
    return customer


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    if "test_clock" in params:
        raise Uncovered("test clocks of customers", param="test_clock")

    def is_wanted(customer: Resource) -> bool:
        return "email" not in params or customer["email"] == params["email"]

    return lists.page(world, KIND, URL, params, is_wanted)


def save(world: World, customer: Resource, before: Resource) -> None:
    """Keep a changed customer, and say what changed. Nothing is said where nothing did."""
    previous = events.differences(before, customer)
    if previous:
        world.put(customer)
        events.emit(world, "customer.updated", customer, previous=previous)


def set_delinquent(world: World, id: str, *, is_delinquent: bool) -> None:
    """Whether the latest news of an invoice was bad, as the customer shows it."""
    customer = world.get(KIND, id)
    before = dict(customer)
    customer["delinquent"] = is_delinquent
    save(world, customer, before)


def next_number(world: World, id: str) -> str:
    """The customer's next invoice number: prefix and count, `8AB2C3D4-0001`."""
    customer = world.get(KIND, id)
    count: int = customer["next_invoice_sequence"]
    customer["next_invoice_sequence"] = count + 1
    world.put(customer)
    return f"{customer['invoice_prefix']}-{count:04d}"


# --- tax ids -----------------------------------------------------------------------------------


def create_tax_id(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    customer = world.get(KIND, arguments["customer"], param="customer")
    if len(tax_ids(world, customer)) >= TAX_IDS_MAX:
        raise ApiError(f"A customer may have up to {TAX_IDS_MAX} tax IDs.", is_outcome=True)
    return _add_tax_id(world, customer, params, "")


def retrieve_tax_id(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    world.get(KIND, arguments["customer"], param="customer")
    found = world.get(TAX_ID, arguments["id"])
    if found["customer"] != arguments["customer"]:
        return world.get(TAX_ID, "")
    return found


def list_tax_ids(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    customer = world.get(KIND, arguments["customer"], param="customer")["id"]
    return lists.page(
        world,
        TAX_ID,
        f"{URL}/{customer}/tax_ids",
        params,
        lambda each: each["customer"] == customer,
    )


def tax_ids(world: World, customer: Resource) -> list[Resource]:
    """A customer's tax ids, the oldest first."""
    found = [each for each in world.newest(TAX_ID) if each["customer"] == customer["id"]]
    return found[::-1]


def included_tax_ids(world: World, customer: Resource) -> Resource:
    """The `tax_ids` of a customer, which it shows where they are asked for."""
    return lists.as_list(tax_ids(world, customer)[::-1], f"{URL}/{customer['id']}/tax_ids")


def _add_tax_id(world: World, customer: Resource, given: dict[str, Any], path: str) -> Resource:
    type, value = given["type"], given["value"].strip()
    param = f"{path}[value]" if path else "value"
    if not value or (type == "eu_vat" and not _EU_VAT.fullmatch(value.replace(" ", ""))):
        raise ApiError(f"Invalid value for {type}.", code="tax_id_invalid", param=param)
    tax_id: Resource = {
        "id": new_id("txi"),
        "object": TAX_ID,
        "country": value[:2] if type == "eu_vat" else type[:2].upper(),
        "created": world.now(),
        "customer": customer["id"],
        "customer_account": None,
        "livemode": False,
        "owner": {"customer": customer["id"], "type": "customer"},
        "type": type,
        "value": value,
        "verification": {
            "status": "pending" if type in _VERIFIED_TYPES else "unavailable",
            "verified_address": None,
            "verified_name": None,
        },
    }
    world.add(tax_id)
    events.emit(world, "customer.tax_id.created", tax_id)
    return tax_id


# --- the object --------------------------------------------------------------------------------


def _check(params: dict[str, Any]) -> None:
    email = params.get("email")
    if email is not None and (len(email) > EMAIL_LENGTH_MAX or not _EMAIL.fullmatch(email)):
        raise ApiError(f"Invalid email address: {email[:100]}", code="email_invalid", param="email")
    for name in ("business_name", "individual_name"):
        covered.check_length(params.get(name), NAME_LENGTH_MAX, param=name)
    prefix = params.get("invoice_prefix")
    if prefix is not None and not _PREFIX.fullmatch(prefix):
        raise ApiError(
            "Invoice prefixes are 1 to 12 uppercase letters or numbers.", param="invoice_prefix"
        )


def _change(customer: Resource, params: dict[str, Any]) -> None:
    for name in _TEXTS & params.keys():
        customer[name] = params[name] or None
    for name in {"invoice_prefix", "preferred_locales"} & params.keys():
        customer[name] = params[name]
    if "address" in params:
        customer["address"] = address(params["address"])
    if "tax_exempt" in params:
        customer["tax_exempt"] = params["tax_exempt"] or "none"
    customer["metadata"] = metadata.merged(customer["metadata"], params.get("metadata"))


def address(given: Any) -> Resource | None:
    """An address with all of its fields; empty text unsets it."""
    return {name: given.get(name) for name in ADDRESS} if given else None


def _customer(world: World) -> Resource:
    return {
        "id": new_id("cus", 14),
        "object": KIND,
        "address": None,
        "balance": 0,
        "business_name": None,
        "created": world.now(),
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "individual_name": None,
        "invoice_prefix": "".join(secrets.choice(_PREFIX_LETTERS) for _each in range(8)),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
