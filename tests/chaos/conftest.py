"""The simulated Stripe, and keys of the ledger, for processes that die."""

from __future__ import annotations

from tests.payments.simulating import ledger_keys, stripe

__all__ = ["ledger_keys", "stripe"]
