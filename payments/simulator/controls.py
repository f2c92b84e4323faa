"""Controls for tests and people, under /_simulator/: no part of Stripe's API."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from payments.simulator import (
    account_balances,
    connect_controls,
    due,
    invoice_payments,
    keys,
    payment_controls,
    payment_intents,
    settlement,
    tax_calculations,
    webhook_controls,
)
from payments.simulator.api import Api
from payments.simulator.errors import ApiError, missing
from payments.simulator.state import Resource
from payments.simulator.webhooks import Postman

PREFIX = "/_simulator/"


class Controls:
    """What a test can make happen, and what it can look at."""

    def __init__(self, api: Api, postman: Postman) -> None:
        self.api, self.world, self.postman = api, api.world, postman
        self._gets: dict[str, Callable[[], Any]] = {
            "requests": self._requests,
            "uncovered": self._uncovered,
            "deliveries": self._deliveries,
        }
        self._posts: dict[str, Callable[[dict[str, Any]], Any]] = {
            "clock": self._clock,
            "faults": self._faults,
            "funds": self._funds,
            "reset": self._reset,
            "redeliver": self._redeliver,
            "payouts": lambda wanted: connect_controls.pay_out(self.world, wanted),
            "settlement": self._settlement,
            "keys": self._keys,
            "limits": self.api.limits.choose,
            "tax": self._tax,
            "webhooks": self._webhooks,
        }

    def answer(self, method: str, path: str, body: bytes) -> Any:
        """Do what a control's path says. Raises ApiError for what is not there, or unreadable."""
        name = path.removeprefix(PREFIX).rstrip("/")
        if method == "GET" and name in self._gets:
            return self._gets[name]()
        if method == "POST":
            wanted = _json(body)
            if name in self._posts:
                return self._posts[name](wanted)
            kind, _slash, rest = name.partition("/")
            id, _slash, verb = rest.partition("/")
            if (kind, verb) in payment_controls.VERBS:
                with self.world.change():
                    return payment_controls.VERBS[kind, verb](self.world, id, wanted)
            if kind == "accounts" and verb in connect_controls.VERBS:
                return connect_controls.act(self.world, id, verb, wanted)
            if kind == "invoices" and verb in {"pay", "decline"}:
                return self._invoice(id, verb, wanted)
        raise missing("control", f"{method} {path}", param="path")

    def _invoice(self, id: str, verb: str, wanted: dict[str, Any]) -> Resource:
        with self.world.change():
            if verb == "pay" and "amount" in wanted:
                return invoice_payments.pay_part(self.world, id, _amount(wanted))
            if verb == "pay":
                return invoice_payments.pay(self.world, id)
            return invoice_payments.decline(self.world, id, decline_code=_decline_code(wanted))

    def _requests(self) -> Resource:
        notes = list(self.api.notes)
        counts = Counter(note.verdict for note in notes)
        return {"data": [asdict(note) for note in notes], "counts": dict(counts)}

    def _uncovered(self) -> Resource:
        return {"data": dict(self.api.uncovered)}

    def _deliveries(self) -> Resource:
        with self.world.lock:
            rows = self.world.database.execute(
                "SELECT event, json_extract(body, '$.type'), attempts, status, next_at IS NOT NULL"
                " FROM delivery JOIN object ON object.id = event ORDER BY object.seq"
            ).fetchall()
        names = ("event", "type", "attempts", "status", "is_pending")
        return {"data": [dict(zip(names, row, strict=True)) for row in rows]}

    def _clock(self, wanted: dict[str, Any]) -> Resource:
        seconds = wanted.get("advance_seconds")
        if type(seconds) is not int or seconds < 0:
            raise ApiError("advance_seconds is an integer, 0 or more.", param="advance_seconds")
        with self.world.change():
            self.world.advance(seconds)
            due.run(self.world)
        return {"now": self.world.now()}

    def _funds(self, _wanted: dict[str, Any]) -> Resource:
        with self.world.change():
            return account_balances.hasten_platform(self.world)

    def _settlement(self, wanted: dict[str, Any]) -> Resource:
        with self.world.change():
            return settlement.choose(self.world, wanted)

    def _tax(self, wanted: dict[str, Any]) -> Resource:
        with self.world.change():
            return tax_calculations.register(self.world, wanted)

    def _keys(self, wanted: dict[str, Any]) -> Resource:
        with self.world.change():
            return keys.create(self.world, wanted)

    def _webhooks(self, wanted: dict[str, Any]) -> Resource:
        return webhook_controls.change(self.postman, wanted)

    def _faults(self, wanted: dict[str, Any]) -> Resource:
        unknown = set(wanted) - {
            "clear",
            "drop_response",
            "hold_webhooks",
            "method",
            "path",
            "slow_ms",
            "status",
            "times",
            "type",
        }
        if unknown:
            raise ApiError(f"There is no such fault: {', '.join(sorted(unknown))}.")
        if wanted.get("clear"):
            self.api.faults.clear()
            self.postman.is_held = False
        if "hold_webhooks" in wanted:
            self.postman.is_held = bool(wanted["hold_webhooks"])
        if {"drop_response", "slow_ms", "status"} & set(wanted):
            self.api.faults.ask(wanted)
        self.world.changed.set()
        return {"is_held": self.postman.is_held}

    def _reset(self, wanted: dict[str, Any]) -> Resource:
        """A new account, without history: for the next test."""
        # No delivery of the old account is under way once this is ours.
        with self.postman.sending:
            self.world.forget()
            self.api.forget()
            self.postman.mishaps.clear()
            self.postman.is_held = False
        return {"now": self.world.now()}

    def _redeliver(self, wanted: dict[str, Any]) -> Resource:
        event, status = self.postman.redeliver(str(wanted.get("event") or wanted.get("type") or ""))
        return {"event": event["id"], "type": event["type"], "status": status}


def _amount(wanted: dict[str, Any]) -> int:
    amount = wanted["amount"]
    if type(amount) is not int:
        raise ApiError("amount is an integer, in the smallest unit.", param="amount")
    return amount


def _decline_code(wanted: dict[str, Any]) -> str:
    decline_code = wanted.get("decline_code", "generic_decline")
    if decline_code not in payment_intents.DECLINES:
        raise ApiError(
            f"decline_code is one of {', '.join(payment_intents.DECLINES)}.",
            param="decline_code",
        )
    return str(decline_code)


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ApiError("The body of a control is a JSON object.")
    return value
