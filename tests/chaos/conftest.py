"""The simulated Stripe, for processes that die."""

from __future__ import annotations

from tests.payments.simulating import stripe

__all__ = ["stripe"]
