"""The simulated Stripe, for tests of payments."""

from __future__ import annotations

from tests.payments.simulating import stripe

__all__ = ["stripe"]
