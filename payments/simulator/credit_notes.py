"""Credit notes: a finalized invoice made smaller, and what was paid for it given back."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from payments.simulator import (
    amounts,
    covered,
    customer_balances,
    events,
    invoice_lines,
    invoice_payments,
    invoices,
    lists,
    metadata,
    refunds,
    tax_rates,
)
from payments.simulator.errors import ApiError, Uncovered, missing
from payments.simulator.state import Resource, World, new_id

KIND = "credit_note"
LINE = "credit_note_line_item"
URL = "/v1/credit_notes"
PAGES = "/credit_note/"

MEMO_LENGTH_MAX = 5000
COVERED = {
    "amount",
    "credit_amount",
    "effective_at",
    # No mail is sent, as in Stripe's test mode.
    "email_type",
    "invoice",
    "lines",
    "memo",
    "metadata",
    "out_of_band_amount",
    "reason",
    "refund_amount",
    "refunds",
}
LINE_COVERED = {
    "invoice_line_item": {"amount", "invoice_line_item", "metadata", "quantity", "type"},
    "custom_line_item": {
        "description",
        "metadata",
        "quantity",
        "tax_rates",
        "type",
        "unit_amount",
    },
}


def create(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Credit a part of an invoice: first what is still owed, then what was paid.

    What was paid goes back as refunds, as credit for the next invoice, or outside of Stripe; the
    caller says how much of each, and the sum must be right.
    """
    invoice, note = _prepared(world, params)
    if params.get("refund_amount"):
        _refund(world, invoice, note, params["refund_amount"])
    if params.get("credit_amount"):
        note["customer_balance_transaction"] = customer_balances.move(
            world,
            invoice["customer"],
            amount=-params["credit_amount"],
            currency=invoice["currency"],
            type="credit_note",
            invoice=invoice["id"],
            credit_note=note["id"],
        )["id"]
    world.add(note)
    events.emit(world, "credit_note.created", note)
    _apply(world, invoice, note, sign=1)
    return note


def preview(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """The credit note that the same parameters would make."""
    return _prepared(world, params)[1]


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return world.get(KIND, arguments["id"])


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    if "customer_account" in params:
        raise Uncovered("listing credit notes by customer_account", param="customer_account")

    def is_wanted(note: Resource) -> bool:
        return all(note[name] == params[name] for name in ("customer", "invoice") if name in params)

    return lists.page(world, KIND, URL, params, is_wanted)


def lines(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    note = world.get(KIND, arguments["credit_note"], param="credit_note")
    return invoice_lines.page(note["lines"]["data"], note["lines"]["url"], params)


def update(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Change a credit note's memo or metadata: nothing else of it can be changed."""
    note = world.get(KIND, arguments["id"])
    before = dict(note)
    covered.check_length(params.get("memo"), MEMO_LENGTH_MAX, param="memo")
    note["memo"] = params.get("memo", note["memo"])
    note["metadata"] = metadata.merged(note["metadata"], params.get("metadata"))
    previous = events.differences(before, note)
    if previous:
        world.put(note)
        events.emit(world, "credit_note.updated", note, previous=previous)
    return note


def void(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Take a credit note back, as long as its invoice is open: more is owed again."""
    note = world.get(KIND, arguments["id"])
    invoice = world.get(invoices.KIND, note["invoice"])
    if note["status"] == "void":
        raise ApiError("This credit note is already void.", is_outcome=True)
    if invoice["status"] != "open":
        raise ApiError(
            "You can only void a credit note if its invoice is open. This invoice is"
            f" {invoice['status']}.",
            is_outcome=True,
        )
    note |= {"status": "void", "voided_at": world.now()}
    world.put(note)
    events.emit(world, "credit_note.voided", note)
    _apply(world, invoice, note, sign=-1)
    return note


def of(world: World, invoice: Resource) -> list[Resource]:
    """The credit notes of an invoice, void ones too, the newest first."""
    return [each for each in world.newest(KIND) if each["invoice"] == invoice["id"]]


# --- what a credit note comes to ---------------------------------------------------------------


def _prepared(world: World, params: dict[str, Any]) -> tuple[Resource, Resource]:
    """A credit note that keeps every rule, and its invoice. Nothing is changed yet."""
    covered.check(params, COVERED, "a credit note")
    covered.check_length(params.get("memo"), MEMO_LENGTH_MAX, param="memo")
    for name in ("amount", "credit_amount", "out_of_band_amount", "refund_amount"):
        if params.get(name, 0) < 0:
            raise ApiError(
                "Invalid non-negative integer", code="parameter_invalid_integer", param=name
            )
    invoice = world.get(invoices.KIND, params["invoice"], param="invoice", status=400)
    if invoice["status"] not in {"open", "paid"}:
        raise ApiError(
            "Credit notes are issued for open and paid invoices. This invoice is"
            f" {invoice['status']}.",
            param="invoice",
            is_outcome=True,
        )
    notes = of(world, invoice)
    note = _note(world, invoice, params, _lines(world, invoice, notes, params), number=len(notes))
    if "amount" in params and params["amount"] != note["total"]:
        raise ApiError("The amount is not that of the lines with their taxes.", param="amount")
    linked = _linked(world, invoice, notes, params.get("refunds", []))
    note["refunds"] = linked
    _check_sums(world, invoice, notes, note, params)
    return invoice, note


def _check_sums(
    world: World,
    invoice: Resource,
    notes: list[Resource],
    note: Resource,
    params: dict[str, Any],
) -> None:
    total, currency = note["total"], invoice["currency"]
    credited = sum(each["total"] for each in notes if each["status"] == "issued")
    # Refunds that no credit note names count, too: no more is given back than was billed.
    named = [*_refunds_named(notes), *note["refunds"]]
    unnamed = _refunded(world, invoice) - sum(each["amount_refunded"] for each in named)
    left = invoice["total"] - credited - unnamed
    if total > left:
        raise ApiError(
            f"The credit note amount ({amounts.show(total, currency)}) is greater than what is"
            f" left of the invoice to credit ({amounts.show(left, currency)}).",
            param="amount" if "amount" in params else "lines",
            is_outcome=True,
        )
    post = note["post_payment_amount"]
    given = sum(params.get(n, 0) for n in ("credit_amount", "out_of_band_amount", "refund_amount"))
    given += sum(each["amount_refunded"] for each in note["refunds"])
    if given != post:
        raise ApiError(
            "The sum of credit amount, refund amount and out of band amount"
            f" ({amounts.show(given, currency)}) must equal the credit note amount that was paid"
            f" ({amounts.show(post, currency)}).",
            is_outcome=True,
        )


def _refunds_named(notes: list[Resource]) -> list[Resource]:
    return [each for note in notes if note["status"] == "issued" for each in note["refunds"]]


def _refunded(world: World, invoice: Resource) -> int:
    charges = invoice_payments.charges_of(world, invoice)
    return sum(charge["amount_refunded"] for charge in charges)


def _linked(
    world: World, invoice: Resource, notes: list[Resource], given: list[dict[str, Any]]
) -> list[Resource]:
    """Refunds that were made already, and which the credit note explains."""
    charges = {charge["id"] for charge in invoice_payments.charges_of(world, invoice)}
    linked: list[Resource] = []
    for number, each in enumerate(given):
        path = f"refunds[{number}]"
        if each.get("type", "refund") != "refund" or "payment_record_refund" in each:
            raise Uncovered("refunds of payment records", param=f"{path}[type]")
        if "refund" not in each:
            raise covered.missing(f"{path}[refund]")
        refund = world.get(refunds.KIND, each["refund"], param=f"{path}[refund]", status=400)
        if refund["charge"] not in charges:
            raise ApiError(
                f"The refund {refund['id']} is not of this invoice's payment.",
                param=f"{path}[refund]",
            )
        named = sum(
            one["amount_refunded"]
            for one in [*_refunds_named(notes), *linked]
            if one["refund"] == refund["id"]
        )
        amount = each.get("amount_refunded", refund["amount"] - named)
        if not 0 < amount <= refund["amount"] - named:
            raise ApiError(
                f"Of the refund {refund['id']} less than that is left for a credit note.",
                param=f"{path}[amount_refunded]",
            )
        linked.append(_refund_named(refund["id"], amount))
    return linked


def _refund_named(refund: str, amount: int) -> Resource:
    return {
        "amount_refunded": amount,
        "payment_record_refund": None,
        "refund": refund,
        "type": "refund",
    }


# --- its lines ---------------------------------------------------------------------------------


def _lines(
    world: World, invoice: Resource, notes: list[Resource], params: dict[str, Any]
) -> list[Resource]:
    given = params.get("lines")
    if not given:
        if not params.get("amount"):
            raise ApiError(
                "One of amount, lines, or shipping_cost must be provided.",
                code="parameter_missing",
                param="amount",
            )
        return [_line(type="custom_line_item", amount=params["amount"], quantity=1)]
    lines: list[Resource] = []
    for number, each in enumerate(given):
        path = f"lines[{number}]"
        covered.check(each, LINE_COVERED[each["type"]], "a credit note's line", path=path)
        if each["type"] == "invoice_line_item":
            lines.append(_invoice_line(world, invoice, notes, lines, each, path))
        else:
            lines.append(_custom_line(world, each, path))
    return lines


def _invoice_line(
    world: World,
    invoice: Resource,
    notes: list[Resource],
    others: list[Resource],
    given: dict[str, Any],
    path: str,
) -> Resource:
    """A part of a line of the invoice, by amount or by quantity, with its share of the taxes."""
    id = given.get("invoice_line_item")
    if id is None:
        raise covered.missing(f"{path}[invoice_line_item]")
    line = next((each for each in invoice["lines"]["data"] if each["id"] == id), None)
    if line is None:
        raise missing("invoice line item", id, param=f"{path}[invoice_line_item]", status=400)
    if ("amount" in given) == ("quantity" in given):
        if "amount" in given:
            raise covered.exclusive(f"{path}[amount]", f"{path}[quantity]")
        raise covered.missing(f"{path}[amount]")
    is_exempt = invoice["customer_tax_exempt"] in tax_rates.EXEMPT_REASONS
    if line["amount"] < 0 or (
        is_exempt and any(tax["tax_behavior"] == "inclusive" for tax in line["taxes"])
    ):
        raise Uncovered("crediting a line that is below zero, or has a tax backed out", param=path)
    unit = int(line["pricing"]["unit_amount_decimal"])
    amount: int = given["amount"] if "amount" in given else unit * given["quantity"]
    earlier = [
        each for note in notes if note["status"] == "issued" for each in note["lines"]["data"]
    ]
    same = [each for each in [*earlier, *others] if each["invoice_line_item"] == id]
    if any((each["quantity"] is None) != ("quantity" not in given) for each in same):
        raise ApiError(
            "A line that was credited by quantity is credited by quantity again, and one by amount"
            " by amount.",
            param=path,
            is_outcome=True,
        )
    done = sum(each["amount"] for each in same)
    if not 0 < amount <= line["amount"] - done:
        raise ApiError(
            f"Of the line {id}, {amounts.show(line['amount'] - done, line['currency'])} are left"
            " to credit.",
            param=f"{path}[amount]" if "amount" in given else f"{path}[quantity]",
            is_outcome=True,
        )
    return _line(
        type="invoice_line_item",
        amount=amount,
        description=line["description"],
        invoice_line_item=id,
        notes=metadata.merged({}, given.get("metadata"), param=f"{path}[metadata]"),
        quantity=given.get("quantity"),
        rates=[
            world.get(tax_rates.KIND, tax["tax_rate_details"]["tax_rate"]) for tax in line["taxes"]
        ],
        taxes=tax_rates.part_of(line["taxes"], start=done, part=amount, whole=line["amount"]),
    )


def _custom_line(world: World, given: dict[str, Any], path: str) -> Resource:
    for name in ("description", "unit_amount"):
        if name not in given:
            raise covered.missing(f"{path}[{name}]")
    quantity = given.get("quantity", 1)
    amount = given["unit_amount"] * quantity
    if amount <= 0:
        raise ApiError(
            "Invalid positive integer",
            code="parameter_invalid_integer",
            param=f"{path}[unit_amount]",
        )
    rates = tax_rates.chosen(world, given.get("tax_rates", []), param=f"{path}[tax_rates]")
    return _line(
        type="custom_line_item",
        amount=amount,
        description=given["description"],
        notes=metadata.merged({}, given.get("metadata"), param=f"{path}[metadata]"),
        quantity=quantity,
        rates=rates,
        taxes=tax_rates.taxes_of(amount, rates),
    )


def _line(
    *,
    type: str,
    amount: int,
    description: str | None = None,
    invoice_line_item: str | None = None,
    notes: dict[str, str] | None = None,
    quantity: int | None,
    rates: list[Resource] | None = None,
    taxes: list[Resource] | None = None,
) -> Resource:
    unit_amount = amount // quantity if quantity else None
    return {
        "id": new_id("cnli"),
        "object": LINE,
        "amount": amount,
        "description": description,
        "discount_amount": 0,
        "discount_amounts": [],
        "invoice_line_item": invoice_line_item,
        "livemode": False,
        "metadata": notes or {},
        "pretax_credit_amounts": [],
        "quantity": quantity,
        "tax_rates": rates or [],
        "taxes": taxes or [],
        "type": type,
        "unit_amount": unit_amount,
        "unit_amount_decimal": None if unit_amount is None else str(unit_amount),
    }


# --- the object, and what it does --------------------------------------------------------------


def _note(
    world: World,
    invoice: Resource,
    params: dict[str, Any],
    found: list[Resource],
    *,
    number: int,
) -> Resource:
    id = new_id("cn")
    taxes = [tax for line in found for tax in line["taxes"]]
    subtotal = sum(line["amount"] for line in found)
    net = subtotal - tax_rates.sum_of(taxes, "inclusive")
    total = subtotal + tax_rates.sum_of(taxes, "exclusive")
    before = min(total, invoice["amount_remaining"])
    after = total - before
    return {
        "id": id,
        "object": KIND,
        "amount": total,
        "amount_shipping": 0,
        "created": world.now(),
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_account": None,
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": params.get("effective_at", world.now()),
        "invoice": invoice["id"],
        "lines": lists.as_list(found, f"{URL}/{id}/lines"),
        "livemode": False,
        "memo": params.get("memo"),
        "metadata": metadata.merged({}, params.get("metadata")),
        "number": f"{invoice['number']}-CN-{number + 1:02d}",
        "out_of_band_amount": params.get("out_of_band_amount"),
        "pdf": f"{world.base_url}{PAGES}{id}/pdf",
        "post_payment_amount": after,
        "pre_payment_amount": before,
        "pretax_credit_amounts": [],
        "reason": params.get("reason"),
        "refunds": [],
        "shipping_cost": None,
        "status": "issued",
        "subtotal": subtotal,
        "subtotal_excluding_tax": net,
        "total": total,
        "total_excluding_tax": net,
        "total_taxes": tax_rates.added(taxes),
        "type": "pre_payment" if not after else "mixed" if before else "post_payment",
        "voided_at": None,
    }


def _refund(world: World, invoice: Resource, note: Resource, amount: int) -> None:
    """Refund a part of the charge that paid the invoice."""
    charges = invoice_payments.charges_of(world, invoice)
    if len(charges) > 1:
        # Of which of them, Stripe's pages do not say: `refunds` names them.
        raise Uncovered("refunding one of several payments", param="refund_amount")
    if not charges:
        raise ApiError(
            "No charge paid this invoice: there is nothing to refund.",
            param="refund_amount",
            is_outcome=True,
        )
    refund = refunds.create(world, {}, {"charge": charges[0]["id"], "amount": amount})
    note["refunds"].append(_refund_named(refund["id"], amount))


def _apply(world: World, invoice: Resource, note: Resource, *, sign: int) -> None:
    """Make the invoice smaller by what was still owed of the credit; larger where sign is -1."""
    before = deepcopy(invoice)
    owed = sign * note["pre_payment_amount"]
    invoice["amount_due"] -= owed
    invoice["amount_remaining"] -= owed
    invoice["pre_payment_credit_notes_amount"] += owed
    invoice["post_payment_credit_notes_amount"] += sign * note["post_payment_amount"]
    invoices.save(world, invoice, before)
    if owed:
        invoice_payments.follow(world, invoice)
    if invoice["status"] == "open" and invoice["amount_remaining"] == 0:
        invoice_payments.settle(world, invoice)
