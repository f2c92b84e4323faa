"""The buttons of the pay page: each card, bank account and answer that a buyer can try."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from payments.simulator import cards, checkout, payment_intents
from payments.simulator.state import Resource, World

PREFIX = "/pay/"


def _by_card(name: str) -> Callable[[World, str], Resource]:
    return lambda world, id: checkout.pay(world, id, card=name)


def _by_decline(name: str) -> Callable[[World, str], Resource]:
    return lambda world, id: checkout.decline(world, id, decline_code=name)


def _walk_away(world: World, id: str) -> Resource:
    """The buyer closes the bank's page: nothing happens, and the session expires some day."""
    return world.get(checkout.KIND, id)


# What a press of a button does. Names are those of the controls, "pay:inquiry" for a card.
ACTIONS: dict[str, Callable[[World, str], Resource]] = {
    "pay": checkout.pay,
    "decline": checkout.decline,
    "require_action": checkout.require_action,
    "authenticate": checkout.authenticate,
    "fail_authentication": checkout.fail_authentication,
    "walk_away": _walk_away,
    "debit": checkout.debit,
    "settle": checkout.settle,
    "bounce": checkout.bounce,
    **{f"pay:{name}": _by_card(name) for name in cards.CARDS if name not in cards.PLAIN},
    **{f"decline:{name}": _by_decline(name) for name in cards.DECLINES},
}


def buttons(world: World, session: Resource, total: str) -> str:
    """What can be pressed on an open session's page. `total` is escaped."""
    if status_of(world, session) == "requires_action":
        return (
            "<p>The card's bank asks whether it is you.</p>"
            + _form(session, "authenticate", "Authenticate", is_main=True)
            + _form(session, "fail_authentication", "Fail the authentication")
            + _form(session, "walk_away", "Walk away")
        )
    shown = (
        _form(session, "pay", f"Pay {total}", is_main=True)
        + _form(session, "decline", "Decline: try a card that is refused")
        + _form(session, "require_action", "Try a card that asks its owner first (3-D Secure)")
    )
    account = cards.DEBITS.get(session["currency"])
    if account is not None and account.type in session["payment_method_types"]:
        shown += _form(session, "debit", f"Debit {account.label}: paid or returned days later")
    declines = "".join(
        _form(session, f"decline:{name}", f"Refused: {name.replace('_', ' ')}")
        for name in cards.DECLINES
        if name != "generic_decline"
    )
    later = "".join(
        _form(session, f"pay:{name}", f"Pay: {card.label}")
        for name, card in cards.CARDS.items()
        if name not in cards.PLAIN
    )
    return shown + f"<details><summary>More test cards</summary>{later}{declines}</details>"


def bank_buttons(world: World, session: Resource) -> str:
    """What the buyer's bank can do with a debit that is under way; empty where none is."""
    if status_of(world, session) != "processing":
        return ""
    return (
        "<p>The bank was asked to pay, and did not yet.</p>"
        + _form(session, "settle", "The bank pays", is_main=True)
        + _form(session, "bounce", "The bank returns the debit")
    )


def status_of(world: World, session: Resource) -> str:
    """The status of the session's payment intent; empty before the first attempt."""
    if session["payment_intent"] is None:
        return ""
    return str(world.get(payment_intents.KIND, session["payment_intent"])["status"])


def _form(session: Resource, action: str, label: str, *, is_main: bool = False) -> str:
    # The address is relative: a browser may know this machine under another name.
    shown = ' class="go"' if is_main else ""
    return (
        f'<form method="post" action="{PREFIX}{escape(session["id"], quote=True)}">'
        f'<button{shown} name="action" value="{action}">{label}</button></form>'
    )
