"""A webhook handler as one would write it first: it does what each delivery says, at once.

In memory, and never in two minds: what goes wrong with it is the fault of its design alone.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable

from payments import stripe_gateway


class NaiveHandler:
    """What it holds of each order: how many licenses, whether in force, and its books."""

    def __init__(self) -> None:
        self.grants: Counter[str] = Counter()
        self.active: dict[str, bool] = {}
        self.paid: Counter[str] = Counter()
        self.refunded: Counter[str] = Counter()
        self._order_of: dict[str, str] = {}
        self._lock = threading.Lock()

    def receive(self, raw: bytes, signature: str, between: Callable[[], None]) -> None:
        """Act on a delivery. `between` may raise, after the payment and before the grant."""
        stripe_gateway.verify_webhook(raw, signature)
        event = json.loads(raw)
        # Events about accounts name their object, and are nothing to it.
        about = event.get("data", {}).get("object", {})
        with self._lock:
            self._act(event["type"], about, between)

    def _act(self, type_: str, about: dict[str, object], between: Callable[[], None]) -> None:
        order = str(about.get("client_reference_id") or "")
        if type_ == "checkout.session.completed":
            self._order_of[str(about["payment_intent"])] = order
            self.paid[order] += int(str(about["amount_total"]))
            between()
            self.grants[order] += 1
            self.active[order] = True
        elif type_ == "checkout.session.expired":
            self.active[order] = False
        elif type_ == "charge.refunded":
            order = self._order_of.get(str(about["payment_intent"]), "")
            self.refunded[order] = int(str(about["amount_refunded"]))
            if about["refunded"]:
                self.active[order] = False
        elif type_ in {"charge.dispute.created", "charge.dispute.closed"}:
            order = self._order_of.get(str(about["payment_intent"]), "")
            self.active[order] = about["status"] == "won"
