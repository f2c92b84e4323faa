"""Deliveries signed as Stripe signs them, and the ways to sign them wrongly."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any


def signature(raw: bytes, secret: str, *, at: int | None = None) -> str:
    """The Stripe-Signature header of a body: https://docs.stripe.com/webhooks#verify-manually"""
    timestamp = int(time.time()) if at is None else at
    signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + raw, hashlib.sha256)
    return f"t={timestamp},v1={signed.hexdigest()}"


def event_body(**fields: Any) -> bytes:
    """A snapshot event about a Checkout session."""
    body = {
        "id": "evt_1",
        "object": "event",
        "type": "checkout.session.completed",
        "livemode": False,
        "api_version": "2026-10-28.endive",
        "created": 1_790_000_000,
        "data": {"object": {"id": "cs_test_1", "object": "checkout.session"}},
        **fields,
    }
    return json.dumps(body).encode()
