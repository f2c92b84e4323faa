"""The API: a request checked against the contract, carried out once, answered and noted."""

from __future__ import annotations

import hmac
import json
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from payments.simulator import (
    account_balances,
    account_links,
    accounts,
    balance,
    checkout,
    contract,
    credit_notes,
    customer_balances,
    customers,
    disputes,
    events,
    expansion,
    forms,
    idempotency,
    invoice_items,
    invoice_payments,
    invoice_states,
    invoices,
    keys,
    payment_intents,
    payouts,
    refunds,
    reversals,
    tax_calculations,
    tax_rates,
    tax_transactions,
    thin_events,
    transfers,
    v2_lists,
)
from payments.simulator.errors import ApiError, Uncovered, of_contract
from payments.simulator.faults import Fault, Faults
from payments.simulator.idempotency import Answer, KeysInUse
from payments.simulator.limits import Limits
from payments.simulator.state import Cause, Resource, World, new_id

Behavior = Callable[[World, dict[str, str], dict[str, Any]], Resource]

KEY_PREFIX = "sk_test_devstripe"
REQUESTS_KEPT = 10_000

BEHAVIORS: dict[tuple[str, str], Behavior] = {
    ("POST", "/v1/checkout/sessions"): checkout.create,
    ("GET", "/v1/checkout/sessions"): checkout.list_,
    ("GET", "/v1/checkout/sessions/{session}"): checkout.retrieve,
    ("GET", "/v1/checkout/sessions/{session}/line_items"): checkout.line_items,
    ("POST", "/v1/checkout/sessions/{session}/expire"): checkout.expire,
    ("GET", "/v1/payment_intents"): payment_intents.list_,
    ("GET", "/v1/payment_intents/{intent}"): payment_intents.retrieve,
    ("GET", "/v1/charges"): payment_intents.list_charges,
    ("GET", "/v1/charges/{charge}"): payment_intents.retrieve_charge,
    ("POST", "/v1/refunds"): refunds.create,
    ("GET", "/v1/refunds"): refunds.list_,
    ("GET", "/v1/refunds/{refund}"): refunds.retrieve,
    ("POST", "/v1/refunds/{refund}"): refunds.update,
    ("GET", "/v1/balance"): account_balances.retrieve,
    ("GET", "/v1/balance_transactions"): payouts.balance_transactions,
    ("GET", "/v1/balance_transactions/{id}"): balance.retrieve,
    ("GET", "/v1/disputes"): disputes.list_,
    ("GET", "/v1/disputes/{dispute}"): disputes.retrieve,
    ("POST", "/v1/disputes/{dispute}"): disputes.update,
    ("POST", "/v1/disputes/{dispute}/close"): disputes.close,
    ("GET", "/v1/events"): events.list_,
    ("GET", "/v1/events/{id}"): events.retrieve,
    ("GET", "/v1/payouts"): payouts.list_,
    ("GET", "/v1/payouts/{payout}"): payouts.retrieve,
    ("POST", "/v1/transfers"): transfers.create,
    ("GET", "/v1/transfers"): transfers.list_,
    ("GET", "/v1/transfers/{transfer}"): transfers.retrieve,
    ("POST", "/v1/transfers/{transfer}"): transfers.update,
    ("POST", "/v1/transfers/{id}/reversals"): reversals.create,
    ("GET", "/v1/transfers/{id}/reversals"): reversals.list_,
    ("GET", "/v1/transfers/{transfer}/reversals/{id}"): reversals.retrieve,
    ("POST", "/v1/transfers/{transfer}/reversals/{id}"): reversals.update,
    ("POST", "/v2/core/account_links"): account_links.create,
    ("POST", "/v2/core/accounts"): accounts.create,
    ("GET", "/v2/core/accounts"): accounts.list_,
    ("GET", "/v2/core/accounts/{id}"): accounts.retrieve,
    ("POST", "/v2/core/accounts/{id}"): accounts.update,
    ("POST", "/v2/core/accounts/{id}/close"): accounts.close,
    ("GET", "/v2/core/events"): thin_events.list_,
    ("GET", "/v2/core/events/{id}"): thin_events.retrieve,
    # Invoices, and whom and what they bill.
    ("POST", "/v1/customers"): customers.create,
    ("GET", "/v1/customers"): customers.list_,
    ("GET", "/v1/customers/{customer}"): customers.retrieve,
    ("POST", "/v1/customers/{customer}"): invoices.update_customer,
    ("POST", "/v1/customers/{customer}/tax_ids"): customers.create_tax_id,
    ("GET", "/v1/customers/{customer}/tax_ids"): customers.list_tax_ids,
    ("GET", "/v1/customers/{customer}/tax_ids/{id}"): customers.retrieve_tax_id,
    ("GET", "/v1/customers/{customer}/balance_transactions"): customer_balances.list_,
    (
        "GET",
        "/v1/customers/{customer}/balance_transactions/{transaction}",
    ): customer_balances.retrieve,
    ("POST", "/v1/tax_rates"): tax_rates.create,
    ("GET", "/v1/tax_rates"): tax_rates.list_,
    ("GET", "/v1/tax_rates/{tax_rate}"): tax_rates.retrieve,
    ("POST", "/v1/tax_rates/{tax_rate}"): tax_rates.update,
    ("POST", "/v1/tax/calculations"): tax_calculations.create,
    ("GET", "/v1/tax/calculations/{calculation}"): tax_calculations.retrieve,
    ("GET", "/v1/tax/calculations/{calculation}/line_items"): tax_calculations.lines,
    (
        "POST",
        "/v1/tax/transactions/create_from_calculation",
    ): tax_transactions.create_from_calculation,
    ("POST", "/v1/tax/transactions/create_reversal"): tax_transactions.create_reversal,
    ("GET", "/v1/tax/transactions/{transaction}"): tax_transactions.retrieve,
    ("GET", "/v1/tax/transactions/{transaction}/line_items"): tax_transactions.lines,
    ("POST", "/v1/invoiceitems"): invoice_items.create,
    ("GET", "/v1/invoiceitems"): invoice_items.list_,
    ("GET", "/v1/invoiceitems/{invoiceitem}"): invoice_items.retrieve,
    ("POST", "/v1/invoiceitems/{invoiceitem}"): invoice_items.update,
    ("DELETE", "/v1/invoiceitems/{invoiceitem}"): invoice_items.delete,
    ("POST", "/v1/invoices"): invoices.create,
    ("GET", "/v1/invoices"): invoices.list_,
    ("GET", "/v1/invoices/{invoice}"): invoices.retrieve,
    ("POST", "/v1/invoices/{invoice}"): invoices.update,
    ("DELETE", "/v1/invoices/{invoice}"): invoices.delete,
    ("GET", "/v1/invoices/{invoice}/lines"): invoices.lines,
    ("POST", "/v1/invoices/{invoice}/finalize"): invoice_states.finalize,
    ("POST", "/v1/invoices/{invoice}/send"): invoice_states.send,
    ("POST", "/v1/invoices/{invoice}/pay"): invoice_states.pay,
    ("POST", "/v1/invoices/{invoice}/void"): invoice_states.void,
    ("POST", "/v1/invoices/{invoice}/mark_uncollectible"): invoice_states.mark_uncollectible,
    ("GET", "/v1/invoice_payments"): invoice_payments.list_,
    ("GET", "/v1/invoice_payments/{invoice_payment}"): invoice_payments.retrieve,
    ("POST", "/v1/credit_notes"): credit_notes.create,
    ("GET", "/v1/credit_notes"): credit_notes.list_,
    ("GET", "/v1/credit_notes/preview"): credit_notes.preview,
    ("GET", "/v1/credit_notes/{id}"): credit_notes.retrieve,
    ("POST", "/v1/credit_notes/{id}"): credit_notes.update,
    ("POST", "/v1/credit_notes/{id}/void"): credit_notes.void,
    ("GET", "/v1/credit_notes/{credit_note}/lines"): credit_notes.lines,
}

# What may be asked in a connected account's name, and by which header.
AS_AN_ACCOUNT = {("Stripe-Account", "GET /v1/balance")}


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: str
    body: bytes
    headers: Mapping[str, str]

    def header(self, name: str) -> str:
        return self.headers.get(name, "")


@dataclass(slots=True)
class Response:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    # The fault "the answer is lost": the connection closes without it.
    is_dropped: bool = False


@dataclass(slots=True)
class Note:
    """A request as the controls show it. Keys are never kept."""

    id: str
    method: str
    path: str
    operation: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    idempotency_key: str = ""
    stripe_version: str = ""
    # ok, refused, limited, uncovered, or fault.
    verdict: str = ""
    status: int = 0
    error: str = ""
    is_replayed: bool = False


class Api:
    """Stripe's API over one account."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.world, self.faults = world, faults
        self.limits, self.keys_in_use = Limits(), KeysInUse()
        self.notes: deque[Note] = deque(maxlen=REQUESTS_KEPT)
        self.uncovered: Counter[str] = Counter()

    def answer(self, request: Request) -> Response:
        """Answer one request. Never raises for what a client sent."""
        note = Note(new_id("req", 14), request.method, request.path)
        note.idempotency_key = request.header("Idempotency-Key")
        note.stripe_version = request.header("Stripe-Version")
        fault = self.faults.take(request.method, request.path)
        try:
            if fault is not None and fault.status:
                note.verdict = "fault"
                raise ApiError("A fault was asked for.", status=fault.status, type=fault.type)
            response = self._answer(request, note, fault)
        except ApiError as error:
            response = self._refused(error, note)
        response.is_dropped = fault is not None and fault.is_dropped
        note.verdict = note.verdict or "ok"
        note.status = response.status
        self.notes.append(note)
        response.headers |= {
            "Content-Type": "application/json",
            "Request-Id": note.id,
            "Stripe-Version": contract.api_version(),
        }
        if note.idempotency_key:
            response.headers["Idempotency-Key"] = note.idempotency_key
        return response

    def forget(self) -> None:
        """Drop what tests asked for and looked at."""
        self.notes.clear()
        self.uncovered.clear()
        self.faults.clear()
        self.limits.clear()

    def _refused(self, error: ApiError, note: Note) -> Response:
        if isinstance(error, Uncovered):
            note.verdict = "uncovered"
            name = f"{note.operation}: {error.param}" if error.param else note.operation
            self.uncovered[name] += 1
        note.verdict = note.verdict or ("limited" if error.status == 429 else "refused")
        note.error = error.message
        if note.path.startswith("/v2/") and error.code == "resource_missing":
            # https://docs.stripe.com/api/v2/core/accounts/retrieve
            error.code = "not_found"
        headers = dict(error.headers)
        if error.status == 501:
            # No repeat brings the behavior.
            headers["Stripe-Should-Retry"] = "false"
        return Response(error.status, _text(error.body()), headers)

    def _answer(self, request: Request, note: Note, fault: Fault | None) -> Response:
        key = _check_key(self.world, request)
        self._check_call(request, key)
        # JSON bodies are v2's; what stands in an address is text there, too.
        is_v2 = request.path.startswith("/v2/")
        is_form = request.method != "POST" or not is_v2
        note.params = given = _params(request, is_form)
        cursor = given.pop(v2_lists.CURSOR, None) if is_v2 and request.method == "GET" else None
        try:
            checked = contract.check(request.method, request.path, given, form=is_form)
        except contract.ContractError as error:
            raise of_contract(error) from None
        operation = checked.operation
        note.operation = str(operation)
        _check_headers(request, operation)
        behavior = BEHAVIORS.get((operation.method, operation.template))
        if behavior is None:
            raise Uncovered(note.operation)
        params = checked.params
        paths = params.pop("expand", [])
        if cursor is not None:
            params[v2_lists.CURSOR] = cursor
        if request.header("Stripe-Account"):
            checked.arguments["account"] = request.header("Stripe-Account")

        def carry_out() -> bytes:
            answer = behavior(self.world, checked.arguments, params)
            return _text(expansion.expand(self.world, answer, paths))

        in_use = note.idempotency_key if request.method == "POST" else ""
        with self.keys_in_use.using(in_use, fault.slow_ms if fault else 0):
            if request.method != "GET":
                return self._once(request, note, carry_out)
            with self.world.lock:
                return Response(200, carry_out())

    def _check_call(self, request: Request, key: str) -> None:
        """Refuse what is one call too many, or beyond what the key may do."""
        try:
            operation, _arguments = contract.find(request.method, request.path)
        except contract.NoSuchOperation as error:
            raise of_contract(error) from None
        self.limits.check(request.method, request.path, str(operation))
        keys.check(self.world, key, operation.method, operation.template)

    def _once(self, request: Request, note: Note, carry_out: Callable[[], bytes]) -> Response:
        """Carry a request out, unless its idempotency key was used before."""
        key = note.idempotency_key
        if not key:
            with self.world.change(Cause(note.id)):
                return Response(200, carry_out())
        print = idempotency.fingerprint(request.method, request.path, note.params)
        is_v2 = request.path.startswith("/v2/")
        kept_seconds = idempotency.KEPT_SECONDS_V2 if is_v2 else idempotency.KEPT_SECONDS
        # Requests wait for each other, so no second one ever meets a key that is in use.
        with self.world.lock:
            kept = idempotency.replay(self.world, key, print, kept_seconds=kept_seconds)
            if kept is not None:
                note.is_replayed = True
                headers = {"Idempotent-Replayed": "true", "Original-Request": kept.request}
                return Response(kept.status, kept.body, headers)
            try:
                with self.world.change(Cause(note.id, key)):
                    body = carry_out()
                    idempotency.keep(self.world, key, print, Answer(200, body, note.id))
            except ApiError as error:
                if error.is_outcome and not is_v2:
                    with self.world.change():
                        answer = Answer(error.status, _text(error.body()), note.id)
                        idempotency.keep(self.world, key, print, answer)
                raise
        return Response(200, body)


def _check_key(world: World, request: Request) -> str:
    """Only the simulator's own keys: nobody's real secret is taken, or talked about."""
    scheme, _space, key = request.header("Authorization").partition(" ")
    if scheme.lower() == "bearer":
        if key.startswith(KEY_PREFIX):
            return key
        if key.startswith(keys.PREFIX) and keys.is_known(world, key):
            return key
    if not key:
        raise ApiError("You did not provide an API key.", status=401)
    is_live = not hmac.compare_digest(key[:8].encode(), b"sk_test_")
    raise ApiError(
        f"Invalid API Key provided: {key[:8]}****. This is a simulator of Stripe; it takes only"
        f" keys that begin with {KEY_PREFIX}." + (" It never takes a live key." if is_live else ""),
        status=401,
    )


def _params(request: Request, is_form: bool) -> dict[str, Any]:
    if request.method != "POST":
        return forms.parse(request.query)
    if is_form:
        try:
            return forms.parse(request.body.decode())
        except UnicodeDecodeError:
            raise ApiError("The request's body is no form in UTF-8.") from None
    try:
        value = json.loads(request.body or b"{}")
    except ValueError:
        raise ApiError("The request's body is no JSON.") from None
    if not isinstance(value, dict):
        raise ApiError("The request's body is no JSON object.")
    return value


def _check_headers(request: Request, operation: contract.Operation) -> None:
    version = request.header("Stripe-Version")
    if version and version != contract.api_version():
        raise ApiError(
            f"The simulator answers as API version {contract.api_version()} only,"
            f" not as {version}.",
            param="Stripe-Version",
        )
    for name in ("Stripe-Account", "Stripe-Context"):
        is_covered = (name, str(operation)) in AS_AN_ACCOUNT
        if request.header(name) and not is_covered:
            raise Uncovered(f"the header {name}", param=name)


def _text(body: dict[str, Any]) -> bytes:
    return json.dumps(body, indent=2, ensure_ascii=False).encode()
