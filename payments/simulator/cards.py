"""Cards, and bank accounts, that a buyer can try: what comes of each, at once and later."""

from __future__ import annotations

from dataclasses import dataclass

from payments.simulator.errors import ApiError


@dataclass(frozen=True, slots=True)
class Decline:
    """A card that is refused. `decline_code` is the bank's reason, where Stripe passes one on."""

    code: str
    decline_code: str | None
    message: str
    last4: str


@dataclass(frozen=True, slots=True)
class Card:
    """A card that is charged. The rest says what happens to the charge afterwards."""

    label: str
    last4: str
    # The dispute that its owner opens soon after: reason, status, the network's code.
    dispute: tuple[str, str, str] | None = None
    # The status that a refund begins with, and the one that it ends with.
    refund: tuple[str, str] = ("succeeded", "succeeded")


@dataclass(frozen=True, slots=True)
class Debit:
    """A bank account that is debited: days pass before anybody knows whether it was."""

    label: str
    type: str
    last4: str


# https://docs.stripe.com/testing#declined-payments
DECLINES = {
    "generic_decline": Decline(
        "card_declined", "generic_decline", "Your card was declined.", "0002"
    ),
    "insufficient_funds": Decline(
        "card_declined", "insufficient_funds", "Your card has insufficient funds.", "9995"
    ),
    "lost_card": Decline("card_declined", "lost_card", "Your card was declined.", "9987"),
    "stolen_card": Decline("card_declined", "stolen_card", "Your card was declined.", "9979"),
    "expired_card": Decline("expired_card", None, "Your card has expired.", "0069"),
    "incorrect_cvc": Decline(
        "incorrect_cvc", None, "Your card's security code is incorrect.", "0127"
    ),
    "processing_error": Decline(
        "processing_error",
        None,
        "An error occurred while processing your card. Try again in a little bit.",
        "0119",
    ),
}

# https://docs.stripe.com/testing#disputes and #refunds
ACCEPTED = "accepted"
CARDS = {
    ACCEPTED: Card("a card that is accepted", "4242"),
    # https://docs.stripe.com/testing#regulatory-cards
    "authenticated": Card("a card that asks its owner first", "3184"),
    "disputed_fraudulent": Card(
        "disputed soon after as fraudulent", "0259", ("fraudulent", "needs_response", "10.4")
    ),
    "disputed_not_received": Card(
        "disputed soon after as not received",
        "2685",
        ("product_not_received", "needs_response", "13.1"),
    ),
    "inquiry": Card(
        "its bank asks about it soon after", "1976", ("general", "warning_needs_response", "10")
    ),
    "refund_pending": Card("its refunds take a while", "7726", refund=("pending", "succeeded")),
    "refund_fails": Card("its refunds fail later", "5126", refund=("succeeded", "failed")),
}

# Those that the pay page has buttons of their own for.
PLAIN = frozenset({ACCEPTED, "authenticated"})

# By the currency that they debit: https://docs.stripe.com/payments/bank-debits
DEBITS = {
    "usd": Debit("a US bank account", "us_bank_account", "6789"),
    "eur": Debit("a SEPA bank account", "sepa_debit", "3201"),
}
# Why a debit came back: https://docs.stripe.com/payments/ach-direct-debit#test-account-numbers
RETURNS = {
    "account_closed": "The customer's bank account has been closed.",
    "debit_not_authorized": "The customer has notified their bank that this payment was"
    " unauthorized.",
    "insufficient_funds": "The customer's account has insufficient funds to cover this payment.",
    "no_account": "The customer's bank account could not be located.",
}


def card(name: str) -> Card:
    """A card by its name. Raises for one that there is not."""
    if name not in CARDS:
        raise ApiError(f"card is one of {', '.join(CARDS)}.", param="card")
    return CARDS[name]


def decline(name: str) -> Decline:
    if name not in DECLINES:
        raise ApiError(f"decline_code is one of {', '.join(DECLINES)}.", param="decline_code")
    return DECLINES[name]


def debit(currency: str) -> Debit:
    if currency not in DEBITS:
        raise ApiError(f"No bank account here is debited in {currency}.", param="currency")
    return DEBITS[currency]
