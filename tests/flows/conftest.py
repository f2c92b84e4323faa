"""The simulated Stripe, and keys of the ledger, for whole stories."""

from __future__ import annotations

from tests.payments.simulating import ledger_keys, stripe

__all__ = ["ledger_keys", "stripe"]
