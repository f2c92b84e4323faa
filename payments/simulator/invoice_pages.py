"""The pages of invoices and credit notes: what their customer sees, and pays, without scripts."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from html import escape
from urllib.parse import parse_qs

from payments.simulator import (
    amounts,
    credit_notes,
    invoice_payments,
    invoices,
    pages,
    payment_intents,
)
from payments.simulator.errors import ApiError
from payments.simulator.pages import Page
from payments.simulator.state import Resource, World

PREFIXES = (invoices.PAGES, credit_notes.PAGES)

_TITLES = {
    "paid": "This is paid",
    "void": "This invoice is void",
}
_SENTENCES = {
    "paid": "<p>Nothing is left to pay.</p>",
    "void": "<p>Nobody can pay it any more, and nothing was charged.</p>",
}


def answer(world: World, method: str, path: str, body: bytes) -> Page:
    """The page at an address below /invoice/ or /credit_note/, or what its button did."""
    prefix = next(each for each in PREFIXES if path.startswith(each))
    id, _slash, rest = path.removeprefix(prefix).rstrip("/").partition("/")
    if prefix == credit_notes.PAGES:
        return _show_note(world, id)
    if method == "POST":
        return _submit(world, id, body)
    return _show(world, id, with_buttons=rest != "pdf")


def _show(world: World, id: str, *, with_buttons: bool = True) -> Page:
    with world.lock:
        invoice = world.find(invoices.KIND, id)
        if invoice is None or invoice["status"] == "draft":
            # Stripe gives a draft no page, either.
            return pages.document(404, "No invoice", "<p>No finalized invoice has this id.</p>")
        return _page(world, invoice, with_buttons=with_buttons)


def _submit(world: World, id: str, body: bytes) -> Page:
    """A button was pressed. A second press finds what the first one did."""
    action = parse_qs(body.decode("utf-8", "replace")).get("action", [""])[0]
    if action not in {"pay", "decline"}:
        return pages.document(
            400, "Unknown button", "<p>The form has the buttons Pay and Decline.</p>"
        )
    try:
        with world.change():
            if action == "pay":
                invoice_payments.pay(world, id)
            else:
                invoice_payments.decline(world, id)
    except ApiError:
        # It was paid or voided meanwhile, or never was: the page says so.
        return _show(world, id)
    return Page(303, location=f"{world.base_url}{invoices.PAGES}{id}")


def _page(world: World, invoice: Resource, *, with_buttons: bool) -> Page:
    status = invoice["status"]
    left = escape(amounts.show(invoice["amount_remaining"], invoice["currency"]))
    is_payable = status in invoice_payments.PAYABLE
    body = (
        _SENTENCES.get(status, "")
        + (_trouble(world, invoice) if is_payable else "")
        + _facts(invoice)
        + _lines(invoice)
    )
    if is_payable and with_buttons:
        # The address is relative: a browser may know this machine under another name.
        form = f'<form method="post" action="{invoices.PAGES}{escape(invoice["id"], quote=True)}">'
        body += (
            f'{form}<button class="go" name="action" value="pay">Pay {left}</button></form>'
            f'{form}<button name="action" value="decline">'
            "Decline: try a card that is refused</button></form>"
        )
    return pages.document(200, _TITLES.get(status, f"Invoice: {left} due"), body)


def _facts(invoice: Resource) -> str:
    rows = [
        ("Invoice", invoice["number"]),
        ("Billed to", invoice["customer_name"] or invoice["customer_email"]),
        *((field["name"], field["value"]) for field in invoice["custom_fields"] or []),
        ("Due", _date(invoice["due_date"])),
    ]
    if invoice["customer_tax_exempt"] == "reverse":
        rows.append(("Tax", "Reverse charge"))
    if invoice["description"]:
        rows.append(("Memo", invoice["description"]))
    return _table((name, str(value)) for name, value in rows)


def _lines(invoice: Resource) -> str:
    currency = invoice["currency"]
    rows = [
        (line["description"] or "", amounts.show(line["amount"], currency))
        for line in invoice["lines"]["data"]
    ]
    tax = sum(each["amount"] for each in invoice["total_taxes"])
    if tax:
        rows.append(("Tax", amounts.show(tax, currency)))
    foot = [("Total", amounts.show(invoice["total"], currency))]
    credited = invoice["pre_payment_credit_notes_amount"]
    if credited:
        foot.append(("Credited", amounts.show(credited, currency)))
    foot.append(("Still due", amounts.show(invoice["amount_remaining"], currency)))
    footer = f'<p class="small">{escape(invoice["footer"])}</p>' if invoice["footer"] else ""
    return _table(rows, foot) + footer


def _trouble(world: World, invoice: Resource) -> str:
    """Why the last attempt failed, where it did."""
    payment = invoice_payments.of(world, invoice)
    if payment is None:
        return ""
    intent = world.get(payment_intents.KIND, payment["payment"]["payment_intent"])
    error = intent["last_payment_error"]
    if error is None:
        return ""
    message = escape(error["message"])
    return f'<p class="trouble" role="alert">{message} You can try again.</p>'


def _show_note(world: World, id: str) -> Page:
    with world.lock:
        note = world.find(credit_notes.KIND, id)
    if note is None:
        return pages.document(404, "No credit note", "<p>No credit note has this id.</p>")
    currency = note["currency"]
    rows = [
        (line["description"] or "Credit", amounts.show(line["amount"], currency))
        for line in note["lines"]["data"]
    ]
    body = _table([("Credit note", note["number"]), ("Memo", note["memo"] or "")]) + _table(
        rows, [("Total", amounts.show(note["total"], currency))]
    )
    return pages.document(200, "Void credit note" if note["voided_at"] else "Credit note", body)


def _table(rows: Iterable[tuple[str, str]], foot: Iterable[tuple[str, str]] = ()) -> str:
    def cells(pairs: Iterable[tuple[str, str]]) -> str:
        return "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in pairs
        )

    return f"<table><tbody>{cells(rows)}</tbody><tfoot>{cells(foot)}</tfoot></table>"


def _date(at: int) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%B %-d, %Y")
