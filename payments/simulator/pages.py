"""The pay page that a buyer sees, as plain HTML forms, and the simulator's front page."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import islice
from urllib.parse import parse_qs

from payments.simulator import amounts, checkout, pay_page, payment_intents
from payments.simulator.errors import ApiError
from payments.simulator.state import Resource, World

PREFIX = pay_page.PREFIX
SESSIONS_SHOWN = 20

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --go: #0a5c36; }
* { box-sizing: border-box; }
body { margin: 0; font: 1rem/1.5 system-ui, sans-serif; }
.banner { background: #ffd54a; color: #222; padding: .75rem 1rem; text-align: center; }
main { max-width: 32rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; }
td, th { padding: .5rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
td:last-child, th:last-child { text-align: right; white-space: nowrap; padding-left: 1rem; }
tfoot td { font-weight: 700; border: 0; }
button { font: inherit; width: 100%; min-height: 3rem; margin-top: .75rem; border-radius: .4rem;
  border: 1px solid currentColor; background: transparent; color: inherit; cursor: pointer; }
details { margin-top: 1.5rem; }
button.go { background: var(--go); border-color: var(--go); color: #fff; font-weight: 700; }
:focus-visible { outline: 3px solid #2a6fdb; outline-offset: 2px; }
.trouble { border-left: 4px solid #b3261e; padding: .5rem .75rem; margin: 1rem 0; }
.small { font-size: .85rem; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True, slots=True)
class Page:
    """What a browser gets: a document, or another address to go to."""

    status: int
    html: str = ""
    location: str = ""


def show(world: World, id: str) -> Page:
    """The pay page of a session, as the session stands."""
    with world.lock:
        session = world.find(checkout.KIND, id)
        if session is None:
            return _document(404, "Nothing to pay here", "<p>No Checkout session has this id.</p>")
        return _session_page(world, session)


def submit(world: World, id: str, body: bytes) -> Page:
    """A button of the pay page was pressed. A second press finds what the first one did."""
    action = parse_qs(body.decode("utf-8", "replace")).get("action", [""])[0]
    try:
        with world.change():
            if action in pay_page.ACTIONS:
                session = pay_page.ACTIONS[action](world, id)
                return Page(303, location=_after(world, session, action))
    except ApiError:
        # It expired or was paid meanwhile: the page says so.
        return show(world, id)
    return _document(400, "Unknown button", "<p>The form has no such button.</p>")


def front(world: World) -> Page:
    """What runs here, and the newest sessions."""
    with world.lock:
        sessions = list(islice(world.newest(checkout.KIND), SESSIONS_SHOWN))
    rows = "".join(
        f'<tr><td><a href="{PREFIX}{escape(each["id"])}">'
        f"{escape(amounts.show(each['amount_total'], each['currency']))}</a></td>"
        f"<td>{escape(each['status'])}</td></tr>"
        for each in sessions
    )
    table = (
        f"<table><thead><tr><th>Checkout session</th><th>Status</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        if rows
        else "<p>No Checkout session was made yet.</p>"
    )
    return _document(
        200,
        "Simulated Stripe",
        "<p>A local simulator of Stripe for development and tests.</p>" + table,
    )


def _session_page(world: World, session: Resource) -> Page:
    bank = pay_page.bank_buttons(world, session)
    if bank:
        return _document(200, "This is not paid yet", bank + _cancel(session))
    if session["status"] == "complete" and session["payment_status"] == "unpaid":
        return _document(
            200, "The bank did not pay", _trouble(world, session, then="") + _cancel(session)
        )
    if session["status"] == "complete":
        link = escape(_success_url(session), quote=True)
        return _document(
            200,
            "This is paid",
            f'<p>Nothing is left to pay.</p><p><a href="{link}">Back to the market</a></p>',
        )
    if session["status"] == "expired" or session["expires_at"] <= world.now():
        return _document(
            200,
            "This page has expired",
            "<p>Nobody can pay here any more, and nothing was charged.</p>" + _cancel(session),
        )
    total = escape(amounts.show(session["amount_total"], session["currency"]))
    body = (
        _trouble(world, session)
        + _items(world, session, total)
        + pay_page.buttons(world, session, total)
        + _cancel(session)
    )
    return _document(200, f"Pay {total}", body)


def _items(world: World, session: Resource, total: str) -> str:
    rows = "".join(
        f"<tr><td>{escape(item['description'])}"
        + (f" × {item['quantity']}" if item["quantity"] != 1 else "")
        + f"</td><td>{escape(amounts.show(item['amount_total'], item['currency']))}</td></tr>"
        for item in checkout.items_of(world, session)["data"]
    )
    return (
        f"<table><tbody>{rows}</tbody>"
        f"<tfoot><tr><td>Total</td><td>{total}</td></tr></tfoot></table>"
    )


def _after(world: World, session: Resource, action: str) -> str:
    """Where a browser goes after a button: to the market, or to the page again."""
    page = f"{world.base_url}{PREFIX}{session['id']}"
    if action == "walk_away":
        return str(session["cancel_url"] or page)
    if session["status"] == "complete" and action not in {"settle", "bounce"}:
        return _success_url(session)
    return page


def _trouble(world: World, session: Resource, *, then: str = " You can try again.") -> str:
    """Why the last attempt failed, where it did."""
    if session["payment_intent"] is None:
        return ""
    intent = world.get(payment_intents.KIND, session["payment_intent"])
    error = intent["last_payment_error"]
    if error is None:
        return ""
    message = escape(error["message"])
    return f'<p class="trouble" role="alert">{message}{then}</p>'


def _cancel(session: Resource) -> str:
    if not session["cancel_url"]:
        return ""
    return f'<p><a href="{escape(session["cancel_url"], quote=True)}">Back without paying</a></p>'


def _success_url(session: Resource) -> str:
    address: str = session["success_url"]
    return address.replace("{CHECKOUT_SESSION_ID}", session["id"])


def _document(status: int, title: str, body: str) -> Page:
    return Page(
        status,
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} · simulated</title><style>{_STYLE}</style></head><body>"
        '<div class="banner" role="note"><strong>Simulated: no money moved.</strong>'
        " This is not Stripe.</div>"
        f"<main><h1>{title}</h1>{body}</main></body></html>",
    )
