"""The calls that onboard a seller and pay it keep to Stripe's contract, and no wrong one does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from payments.simulator import contract
from payments.simulator.contract import ContractError
from tests.payments.simulator_sellers import seller_params
from tests.payments.test_contract import at, changed, places, renamed, without

# Bodies of API version 1 are forms, where scalars are text; those of version 2 are JSON.
FORMS: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/transfers"): {
        "amount": "100",
        "currency": "usd",
        "destination": "acct_1",
        "source_transaction": "ch_1",
        "transfer_group": "ord_1",
        "description": "License",
        "metadata": {"order": "ord_1"},
        "expand": ["balance_transaction"],
    },
    ("GET", "/v1/transfers"): {
        "destination": "acct_1",
        "transfer_group": "ord_1",
        "created": {"gte": "1"},
        "limit": "1",
    },
    ("POST", "/v1/transfers/tr_1/reversals"): {
        "amount": "100",
        "description": "Refund",
        "metadata": {"refund": "ref_1"},
        "refund_application_fee": "false",
    },
    ("GET", "/v1/balance_transactions"): {"payout": "po_1", "type": "charge", "limit": "100"},
    ("GET", "/v1/payouts"): {"status": "paid", "arrival_date": {"gte": "1"}},
    ("GET", "/v2/core/accounts/acct_1"): {"include": ["requirements", "configuration.recipient"]},
    ("GET", "/v2/core/events"): {"types": ["v2.core.account.closed"], "object_id": "acct_1"},
}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v2/core/accounts"): seller_params(),
    ("POST", "/v2/core/accounts/acct_1"): {"display_name": "A", "include": ["requirements"]},
    ("POST", "/v2/core/account_links"): {
        "account": "acct_1",
        "use_case": {
            "type": "account_onboarding",
            "account_onboarding": {
                "refresh_url": "https://market.example/again",
                "return_url": "https://market.example/back",
                "collection_options": {"fields": "eventually_due"},
            },
        },
    },
}
CALLS = [(*call, FORMS[call], True) for call in FORMS] + [
    (*call, BODIES[call], False) for call in BODIES
]
REQUIRED = [
    ("POST", "/v1/transfers", ("currency",)),
    ("POST", "/v1/transfers", ("destination",)),
    ("POST", "/v2/core/account_links", ("account",)),
    ("POST", "/v2/core/account_links", ("use_case", "type")),
    ("POST", "/v2/core/account_links", ("use_case", "account_onboarding", "refresh_url")),
    ("POST", "/v2/core/accounts", ("defaults", "responsibilities", "fees_collector")),
    ("POST", "/v2/core/accounts", ("defaults", "responsibilities", "losses_collector")),
]
ENUMS = [
    ("POST", "/v2/core/accounts", ("dashboard",)),
    ("POST", "/v2/core/accounts", ("identity", "entity_type")),
    ("POST", "/v2/core/accounts", ("include", 0)),
    ("POST", "/v2/core/account_links", ("use_case", "type")),
    ("GET", "/v2/core/accounts/acct_1", ("include", 0)),
]


def mutations() -> Iterator[tuple[str, str, str, dict[str, Any], bool]]:
    """Requests that are wrong in one place each: (kind, method, path, params, form)."""
    for method, url, params, form in CALLS:
        for path in places(params):
            if isinstance(path[-1], str) and "metadata" not in path[:-1]:
                yield "rename", method, url, renamed(params, path), form
            wrong: Any = {"a": {"b": "c"}} if isinstance(at(params, path), str | bool) else "text"
            yield "type", method, url, changed(params, path, wrong), form
            if not form and isinstance(at(params, path), str):
                yield "type", method, url, changed(params, path, 1), form
    known = {(method, url): (params, form) for method, url, params, form in CALLS}
    for method, url, path in REQUIRED:
        params, form = known[method, url]
        yield "missing", method, url, without(params, path), form
    for method, url, path in ENUMS:
        params, form = known[method, url]
        yield "enum", method, url, changed(params, path, "recipients"), form


@pytest.mark.parametrize(("method", "path", "params", "form"), CALLS)
def test_the_calls_about_sellers_keep_to_the_contract(
    method: str, path: str, params: dict[str, Any], form: bool
) -> None:
    checked = contract.check(method, path, params, form=form)

    assert set(checked.params) == set(params)


def test_every_seeded_wrong_call_about_sellers_is_caught() -> None:
    tried: dict[str, int] = {}
    passed = []
    for kind, method, path, params, form in mutations():
        tried[kind] = tried.get(kind, 0) + 1
        try:
            contract.check(method, path, params, form=form)
        except ContractError:
            continue
        passed.append((kind, method, path, params))

    assert passed == []
    assert (tried["missing"], tried["enum"]) == (7, 5)
    assert sum(tried.values()) >= 150, tried
