"""The market that operations of the document are asked of, and its Stripe."""

from tests.payments.simulating import stripe
from tests.security.world import world

__all__ = ["stripe", "world"]
