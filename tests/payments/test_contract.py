"""Stripe's request contract: all of it is read, and no wrong request passes it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import stripe

from payments import stripe_gateway
from payments.simulator import contract
from payments.simulator.api import BEHAVIORS
from payments.simulator.contract import AnyOf, Choice, ContractError, Kind, ListOf, MapOf, Record
from tests.payments.simulator_account import session_params

# The calls that the market makes, as requests that keep to the contract. Scalars are text, as
# they are in a form.
CREATE: dict[str, Any] = {
    **session_params(),
    "expires_at": "1790000000",
    "adaptive_pricing": {"enabled": "false"},
    "customer_email": "buyer@example.com",
    "expand": ["line_items"],
    "submit_type": "pay",
    "line_items": [
        {
            "quantity": "1",
            "price_data": {
                "currency": "usd",
                "unit_amount": "50000",
                "tax_behavior": "exclusive",
                "product_data": {"name": "License", "description": "…", "metadata": {"a": "b"}},
            },
        }
    ],
}
CALLS: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/checkout/sessions"): CREATE,
    ("GET", "/v1/checkout/sessions/cs_1"): {"expand": ["payment_intent.latest_charge"]},
    ("POST", "/v1/checkout/sessions/cs_1/expire"): {"expand": ["payment_intent"]},
    ("POST", "/v1/refunds"): {
        "payment_intent": "pi_1",
        "charge": "ch_1",
        "amount": "100",
        "reason": "requested_by_customer",
        "metadata": {"order": "ord_1"},
        "refund_application_fee": "false",
        "reverse_transfer": "false",
        "expand": ["charge"],
    },
    ("GET", "/v1/refunds"): {
        "payment_intent": "pi_1",
        "charge": "ch_1",
        "limit": "1",
        "starting_after": "re_1",
        "ending_before": "re_2",
        "created": {"gte": "1", "lt": "2"},
        "expand": ["data.charge"],
    },
    ("GET", "/v1/payment_intents/pi_1"): {"expand": ["latest_charge"], "client_secret": "x"},
    ("POST", "/v1/tax/calculations"): {
        "currency": "eur",
        "customer_details": {
            "address": {"country": "DE", "state": "BE", "line1": "Street"},
            "address_source": "billing",
            "tax_ids": [{"type": "eu_vat", "value": "DE123456789"}],
        },
        "line_items": [{"amount": "100", "reference": "license", "tax_behavior": "exclusive"}],
    },
    ("POST", "/v1/tax/transactions/create_from_calculation"): {
        "calculation": "taxcalc_1",
        "reference": "ord_1",
        "posted_at": "1790000000",
        "metadata": {"order": "ord_1"},
    },
    ("POST", "/v1/tax/transactions/create_reversal"): {
        "mode": "partial",
        "original_transaction": "tax_1",
        "reference": "rfd_1",
        "metadata": {"order": "ord_1"},
        "line_items": [
            {
                "original_line_item": "tax_li_1",
                "reference": "license",
                "amount": "-100",
                "amount_tax": "-19",
                "quantity": "1",
            }
        ],
    },
    ("GET", "/v1/tax/transactions/tax_1/line_items"): {"limit": "1"},
    ("GET", "/v1/events"): {
        "types": ["charge.refunded", "refund.created"],
        "type": "charge.*",
        "delivery_success": "false",
        "created": {"gt": "1", "gte": "2", "lt": "3", "lte": "4"},
        "limit": "100",
        "starting_after": "evt_1",
        "ending_before": "evt_2",
        "expand": ["data"],
    },
}
# What Stripe's reference marks as required in these calls, written down by hand.
REQUIRED = [
    ("POST", "/v1/checkout/sessions", ("line_items", 0, "price_data", "currency")),
    ("POST", "/v1/checkout/sessions", ("line_items", 0, "price_data", "product_data", "name")),
    ("POST", "/v1/tax/calculations", ("currency",)),
    ("POST", "/v1/tax/calculations", ("line_items",)),
    ("POST", "/v1/tax/calculations", ("line_items", 0, "amount")),
    ("POST", "/v1/tax/transactions/create_from_calculation", ("calculation",)),
    ("POST", "/v1/tax/transactions/create_from_calculation", ("reference",)),
    ("POST", "/v1/tax/transactions/create_reversal", ("mode",)),
    ("POST", "/v1/tax/transactions/create_reversal", ("original_transaction",)),
    ("POST", "/v1/tax/transactions/create_reversal", ("reference",)),
    ("POST", "/v1/tax/transactions/create_reversal", ("line_items", 0, "original_line_item")),
    ("POST", "/v1/tax/transactions/create_reversal", ("line_items", 0, "reference")),
    ("POST", "/v1/tax/transactions/create_reversal", ("line_items", 0, "amount")),
    ("POST", "/v1/tax/transactions/create_reversal", ("line_items", 0, "amount_tax")),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where everything stands in a request, containers included."""
    if path:
        yield path
    if not isinstance(value, dict | list):
        return
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        yield from places(each, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def changed(params: dict[str, Any], path: tuple[Any, ...], new: Any) -> dict[str, Any]:
    copy = deepcopy(params)
    at(copy, path[:-1])[path[-1]] = new
    return copy


def renamed(params: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    copy = deepcopy(params)
    holder = at(copy, path[:-1])
    holder[f"{path[-1]}_x"] = holder.pop(path[-1])
    return copy


def without(params: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    copy = deepcopy(params)
    del at(copy, path[:-1])[path[-1]]
    return copy


def mutations() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Requests that are wrong in one place each: (kind, method, path, params)."""
    for (method, url), params in CALLS.items():
        for path in places(params):
            value = at(params, path)
            is_own_name = any(key in {"metadata"} for key in path[:-1])
            if isinstance(path[-1], str) and not is_own_name:
                yield "rename", method, url, renamed(params, path)
            if isinstance(value, str):
                yield "type", method, url, changed(params, path, {"a": {"b": "c"}})
                yield "type", method, url, changed(params, path, ["a"])
                if value.isdecimal():
                    for wrong in ("many", "1.5", "", "１", "0x10"):
                        yield "type", method, url, changed(params, path, wrong)
                if value in {"true", "false"}:
                    for wrong in ("yes", "1", "True"):
                        yield "type", method, url, changed(params, path, wrong)
            else:
                yield "type", method, url, changed(params, path, "text")
    for method, url, path in REQUIRED:
        yield "missing", method, url, without(CALLS[method, url], path)
    create, refund = CREATE, CALLS["POST", "/v1/refunds"]
    for wrong in ("", "pay", "Payment", "payments"):
        for name in ("mode", "submit_type"):
            if (name, wrong) != ("submit_type", "pay"):
                yield "enum", "POST", "/v1/checkout/sessions", changed(create, (name,), wrong)
        path = ("line_items", 0, "price_data", "tax_behavior")
        yield "enum", "POST", "/v1/checkout/sessions", changed(create, path, wrong)
        yield "enum", "POST", "/v1/refunds", changed(refund, ("reason",), wrong)
    reversal = "/v1/tax/transactions/create_reversal"
    for wrong in ("", "whole", "Full"):
        yield "enum", "POST", reversal, changed(CALLS["POST", reversal], ("mode",), wrong)


def test_the_contract_is_that_of_the_installed_sdk() -> None:
    assert contract.api_version() == stripe.api_version


def test_every_operation_of_the_sdk_is_read() -> None:
    routes = contract.routes()

    by_method = {method: sum(m == method for m, _path in routes) for method, _path in routes}
    assert by_method == {"POST": 330, "GET": 290, "DELETE": 28}
    assert sum(operation.params is not None for operation in routes.values()) == 648


def test_the_quick_index_finds_the_operations_that_the_whole_reading_finds() -> None:
    for (method, template), operation in contract.routes().items():
        path = template.replace("{", "").replace("}", "_1")

        found, arguments = contract.find(method, path)

        assert found == operation, path
        assert set(arguments) == {part[1:-1] for part in template.split("/") if part[:1] == "{"}


def test_every_type_of_every_parameter_is_read() -> None:
    seen: set[Record] = set()

    def visit(kind: Kind) -> None:
        match kind:
            case Record() if kind not in seen:
                seen.add(kind)
                for field in contract.fields(kind).values():
                    visit(field.kind)
            case ListOf(item) | MapOf(item):
                visit(item)
            case AnyOf(options):
                for option in options:
                    visit(option)

    for operation in contract.routes().values():
        assert operation.params is not None
        visit(Record(*operation.params))

    assert len(seen) > 4_000


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_the_requests_that_we_send_keep_to_the_contract(method: str, path: str) -> None:
    checked = contract.check(method, path, CALLS[method, path], form=True)

    assert set(checked.params) == set(CALLS[method, path])


def test_values_are_read_as_the_types_of_the_contract() -> None:
    params = contract.check("POST", "/v1/checkout/sessions", CREATE, form=True).params

    assert params["expires_at"] == 1_790_000_000
    assert params["adaptive_pricing"] == {"enabled": False}
    assert params["line_items"][0]["quantity"] == 1


def test_parameters_can_be_checked_as_they_are_handed_to_the_sdk() -> None:
    """For tests that replace the gateway: no form is needed to check what it was given."""
    params = session_params()

    assert contract.check("POST", "/v1/checkout/sessions", params, form=False).params == params
    for name, wrong in [("expires_at", "1790000000"), ("metadata", {"order": 1}), ("mode", 1)]:
        with pytest.raises(ContractError):
            contract.check("POST", "/v1/checkout/sessions", params | {name: wrong}, form=False)


def test_a_list_may_come_as_numbered_entries() -> None:
    numbered = {"expand": {"0": "charge", "10": "b", "2": "a"}, "charge": "ch_1"}

    params = contract.check("POST", "/v1/refunds", numbered, form=True).params

    assert params["expand"] == ["charge", "a", "b"]


def test_every_seeded_wrong_request_is_caught() -> None:
    tried: dict[str, int] = {}
    passed = []
    for kind, method, path, params in mutations():
        tried[kind] = tried.get(kind, 0) + 1
        try:
            contract.check(method, path, params, form=True)
        except ContractError:
            continue
        passed.append((kind, method, path, params))

    assert passed == []
    assert tried["missing"] == len(REQUIRED)
    assert sum(tried.values()) >= 200, tried


@pytest.mark.parametrize(
    ("params", "param", "message", "code"),
    [
        ({"amounts": "1"}, "amounts", "Received unknown parameter: amounts", "parameter_unknown"),
        ({"amount": "x"}, "amount", "Invalid integer: x", "parameter_invalid_integer"),
        (
            {"reason": "bored"},
            "reason",
            "Invalid reason: must be one of duplicate, fraudulent, requested_by_customer",
            "",
        ),
        ({"expand": "charge"}, "expand", "Invalid array", ""),
        ({"metadata": {"a": {"b": "c"}}}, "metadata[a]", "Invalid string: {'b': 'c'}", ""),
    ],
)
def test_a_refusal_names_the_parameter(
    params: dict[str, Any], param: str, message: str, code: str
) -> None:
    with pytest.raises(ContractError) as refused:
        contract.check("POST", "/v1/refunds", params, form=True)

    assert (refused.value.param, refused.value.message) == (param, message)
    assert refused.value.code == code


def test_a_missing_parameter_is_named_with_its_place() -> None:
    items = [{"quantity": "1", "price_data": {"unit_amount": "1"}}]

    with pytest.raises(ContractError) as refused:
        contract.check("POST", "/v1/checkout/sessions", {"line_items": items}, form=True)

    assert refused.value.param == "line_items[0][price_data][currency]"
    assert refused.value.code == "parameter_missing"


def test_metadata_can_be_unset_by_empty_text() -> None:
    params = contract.check("POST", "/v1/refunds/re_1", {"metadata": ""}, form=True).params

    assert params == {"metadata": ""}


def test_parameters_that_were_removed_from_this_version_are_unknown() -> None:
    for path in ("/v1/payment_intents", "/v1/checkout/sessions"):
        params: dict[str, Any] = {"payment_method_types": ["card"]}
        if path == "/v1/payment_intents":
            params |= {"amount": "100", "currency": "usd"}

        with pytest.raises(ContractError) as refused:
            contract.check("POST", path, params, form=True)

        assert refused.value.param == "payment_method_types"


def test_an_unknown_path_is_no_operation() -> None:
    for method, path in [
        ("GET", "/v1/nothing"),
        ("DELETE", "/v1/refunds/re_1"),
        ("GET", "/v1/refunds/re_1/x"),
        ("GET", "/v1/refunds//"),
    ]:
        with pytest.raises(contract.NoSuchOperation):
            contract.check(method, path, {}, form=True)


def test_numbers_in_json_bodies_are_numbers() -> None:
    body = {"event_name": "tokens", "payload": {"value": "1"}}
    contract.check("POST", "/v2/billing/meter_events", body, form=False)

    with pytest.raises(ContractError):
        contract.check("POST", "/v2/billing/meter_events", body | {"event_name": 1}, form=False)
    with pytest.raises(ContractError):
        contract.check("GET", "/v1/events", {"limit": "1"}, form=False)


def test_an_open_enum_is_closed_and_unsettable_text_stays_open() -> None:
    create = contract.fields(
        Record("stripe.params.checkout._session_create_params", "SessionCreateParams")
    )

    assert create["mode"].kind == Choice(("payment", "setup", "subscription"))
    branding = contract.fields(
        Record(
            "stripe.params.checkout._session_create_params", "SessionCreateParamsBrandingSettings"
        )
    )
    assert branding["button_color"].kind == AnyOf((Choice(("",)), contract.Scalar("text")))


def calls_of_the_gateway() -> set[str]:
    """The SDK's methods that the gateway calls, by the names that the contract gives them."""
    assert stripe_gateway.__file__ is not None
    tree = ast.parse(Path(stripe_gateway.__file__).read_text())
    client: Any = stripe.StripeClient("sk_test_devstripe")
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("client.v"):
            service: Any = client
            *names, method = ast.unparse(node.func).split(".")[1:]
            for name in names:
                service = getattr(service, name)
            found.add(f"{type(service).__module__}.{type(service).__name__}.{method}")
    return found


def test_the_simulator_has_a_behavior_for_every_call_of_the_gateway() -> None:
    covered = {contract.find(*route)[0].service for route in BEHAVIORS}

    assert calls_of_the_gateway() - covered == set()
    # Create and retrieve a session, make and list refunds.
    assert len(calls_of_the_gateway()) >= 4
