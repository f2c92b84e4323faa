"""The simulated Stripe, for whole stories."""

from __future__ import annotations

from tests.payments.simulating import stripe

__all__ = ["stripe"]
