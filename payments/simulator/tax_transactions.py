"""Tax transactions: what was sold, as calculated before; and reversals of all or a part of it."""

from __future__ import annotations

from typing import Any

from payments.simulator import covered, lists, metadata, tax_calculations
from payments.simulator.errors import ApiError, Uncovered
from payments.simulator.state import Resource, World, new_id

KIND = "tax.transaction"
LINE = "tax.transaction_line_item"
URL = "/v1/tax/transactions"

# In Stripe's published contract; the SDK's types have no lengths.
REFERENCE_LENGTH_MAX = 500
COVERED = {"calculation", "metadata", "posted_at", "reference"}
REVERSAL_COVERED = {"line_items", "metadata", "mode", "original_transaction", "reference"}
LINE_COVERED = {"amount", "amount_tax", "metadata", "original_line_item", "quantity", "reference"}


def create_from_calculation(
    world: World, arguments: dict[str, str], params: dict[str, Any]
) -> Resource:
    """Record a sale. Raises where its calculation has expired, or its reference is taken."""
    covered.check(params, COVERED, "a tax transaction")
    calculation = tax_calculations.retrieve(world, {"calculation": params["calculation"]}, {})
    _check_reference(world, params["reference"])
    if any(world.private(each["id"])["calculation"] == calculation["id"] for each in _all(world)):
        # Stripe's pages do not say what a second sale of one calculation is.
        raise Uncovered("recording a calculation again", param="calculation")
    lines = [
        _line(
            each,
            amount=each["amount"],
            amount_tax=each["amount_tax"],
            reference=each["reference"],
            notes=each["metadata"],
        )
        for each in world.private(calculation["id"])["lines"]
    ]
    transaction = _transaction(
        world,
        calculation,
        reference=params["reference"],
        notes=params.get("metadata"),
        posted_at=_posted_at(world, calculation, params.get("posted_at")),
    )
    world.add(transaction, private={"lines": lines, "calculation": calculation["id"]})
    return transaction


def create_reversal(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Record that a sale went back: all of it, or parts of its lines. Amounts are below zero."""
    covered.check(params, REVERSAL_COVERED, "a reversal of a tax transaction")
    original = world.get(
        KIND, params["original_transaction"], param="original_transaction", status=400
    )
    if original["type"] == "reversal":
        raise Uncovered("reversing a reversal", param="original_transaction")
    _check_reference(world, params["reference"])
    is_full = params["mode"] == "full"
    if is_full == ("line_items" in params):
        if is_full:
            raise ApiError("A full reversal has no line items.", param="line_items")
        raise covered.missing("line_items")
    left = _left(world, original)
    given = _whole(world, original, left) if is_full else params["line_items"]
    lines = _reversed_lines(world, original, left, given)
    reversal = _transaction(
        world,
        original,
        reference=params["reference"],
        notes=params.get("metadata"),
        posted_at=world.now(),
    ) | {"reversal": {"original_transaction": original["id"]}, "type": "reversal"}
    world.add(reversal, private={"lines": lines, "calculation": ""})
    return reversal


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return world.get(KIND, arguments["transaction"], param="transaction")


def lines(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    found = retrieve(world, arguments, {})
    covered.check(params, {"limit"}, "a list of a tax transaction's lines")
    stored = world.private(found["id"])["lines"]
    limit = params.get("limit", lists.LIMIT)
    return lists.as_list(stored[:limit], _url(found), has_more=len(stored) > limit)


def included_lines(world: World, transaction: Resource) -> Resource:
    """The `line_items` of a transaction, which it shows where they are asked for."""
    return lists.as_list(world.private(transaction["id"])["lines"], _url(transaction))


def _url(transaction: Resource) -> str:
    return f"{URL}/{transaction['id']}/line_items"


def _all(world: World) -> list[Resource]:
    return list(world.newest(KIND))


def _check_reference(world: World, reference: str) -> None:
    covered.check_length(reference, REFERENCE_LENGTH_MAX, param="reference")
    if any(each["reference"] == reference for each in _all(world)):
        raise ApiError(
            f"A tax transaction with the reference {reference} exists already.",
            code="resource_already_exists",
            param="reference",
            is_outcome=True,
        )


def _posted_at(world: World, calculation: Resource, given: int | None) -> int:
    at = world.now() if given is None else given
    if not calculation["tax_date"] <= at <= world.now():
        raise ApiError(
            "posted_at must fall within the tax date and the current time.", param="posted_at"
        )
    return at


# --- reversing ---------------------------------------------------------------------------------


def _left(world: World, original: Resource) -> dict[str, tuple[int, int]]:
    """What of each line was not reversed yet: its amount, and its tax."""
    left = {
        line["id"]: (line["amount"], line["amount_tax"])
        for line in world.private(original["id"])["lines"]
    }
    for each in _all(world):
        if each["reversal"] != {"original_transaction": original["id"]}:
            continue
        for line in world.private(each["id"])["lines"]:
            of = line["reversal"]["original_line_item"]
            amount, tax = left[of]
            left[of] = amount + line["amount"], tax + line["amount_tax"]
    return left


def _whole(
    world: World, original: Resource, left: dict[str, tuple[int, int]]
) -> list[dict[str, Any]]:
    """Every line of a sale. What was reversed in part cannot be reversed whole here."""
    found = world.private(original["id"])["lines"]
    if any(left[line["id"]] == (0, 0) for line in found if line["amount"]):
        raise ApiError(
            f"The transaction {original['id']} was reversed before.",
            param="original_transaction",
            is_outcome=True,
        )
    if any(left[line["id"]] != (line["amount"], line["amount_tax"]) for line in found):
        # Whether it takes what is left, or is refused, Stripe's pages do not say.
        raise Uncovered("a full reversal after one in part", param="mode")
    return [
        {
            "original_line_item": line["id"],
            "reference": line["reference"],
            "amount": -line["amount"],
            "amount_tax": -line["amount_tax"],
            "quantity": line["quantity"],
        }
        for line in found
    ]


def _reversed_lines(
    world: World,
    original: Resource,
    left: dict[str, tuple[int, int]],
    given: list[dict[str, Any]],
) -> list[Resource]:
    by_id = {line["id"]: line for line in world.private(original["id"])["lines"]}
    found: list[Resource] = []
    for number, each in enumerate(given):
        path = f"line_items[{number}]"
        covered.check(each, LINE_COVERED, "a reversal's line", path=path)
        covered.check_length(each["reference"], REFERENCE_LENGTH_MAX, param=f"{path}[reference]")
        line = by_id.get(each["original_line_item"])
        if line is None:
            raise ApiError(
                f"The transaction has no line {each['original_line_item']}.",
                code="resource_missing",
                param=f"{path}[original_line_item]",
            )
        before = left[line["id"]]
        for name, most in zip(("amount", "amount_tax"), before, strict=True):
            if not -most <= each[name] <= 0:
                raise ApiError(
                    f"A reversal's {name} is negative, and no more than is left of its line"
                    f" ({most}).",
                    param=f"{path}[{name}]",
                    is_outcome=True,
                )
        left[line["id"]] = before[0] + each["amount"], before[1] + each["amount_tax"]
        found.append(
            _line(
                line,
                amount=each["amount"],
                amount_tax=each["amount_tax"],
                reference=each["reference"],
                notes=metadata.merged({}, each.get("metadata"), param=f"{path}[metadata]"),
                quantity=each.get("quantity", line["quantity"]),
            )
            | {"reversal": {"original_line_item": line["id"]}, "type": "reversal"}
        )
    return found


# --- the objects -------------------------------------------------------------------------------


def _line(
    of: Resource,
    *,
    amount: int,
    amount_tax: int,
    reference: str,
    notes: dict[str, str],
    quantity: int | None = None,
) -> Resource:
    return {
        "id": new_id("tax_li"),
        "object": LINE,
        "amount": amount,
        "amount_tax": amount_tax,
        "livemode": False,
        "metadata": notes,
        "product": None,
        "quantity": of["quantity"] if quantity is None else quantity,
        "reference": reference,
        "reversal": None,
        "tax_behavior": of["tax_behavior"],
        "tax_code": of["tax_code"],
        "type": "transaction",
    }


def _transaction(
    world: World, of: Resource, *, reference: str, notes: Any, posted_at: int
) -> Resource:
    """A transaction with what its calculation, or the transaction that it reverses, says."""
    return {
        "id": new_id("tax"),
        "object": KIND,
        "created": world.now(),
        "currency": of["currency"],
        "customer": of["customer"],
        "customer_details": of["customer_details"],
        "livemode": False,
        "metadata": metadata.merged({}, notes),
        "posted_at": posted_at,
        "reference": reference,
        "reversal": None,
        "ship_from_details": of["ship_from_details"],
        "shipping_cost": of["shipping_cost"],
        "tax_date": of["tax_date"],
        "type": "transaction",
    }
