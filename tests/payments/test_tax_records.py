"""What Stripe Tax is told of a sale that it calculated, and of what goes back of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from marketplace import access
from marketplace.models import Organization
from payments import commands, stripe_gateway, sync, tax_records
from payments.models import Command, Mismatch, Order
from payments.settlements import Shares
from tests.make import make_offer
from tests.payments.buying import order_for
from tests.payments.invoicing import invoiced_offer, make_due, ordered_on_invoice, pay_invoice
from tests.payments.racing import at_once
from tests.payments.selling import request_refund
from tests.payments.simulating import Stripe, work
from tests.people import ApiClient, found

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]

RECORDS = "/v1/tax/transactions/create_from_calculation"
REVERSALS = "/v1/tax/transactions/create_reversal"


@pytest.fixture
def buyer(client_for: ClientFor, stripe: Stripe, settings: Any) -> ApiClient:
    """A buyer in Germany, whose tax Stripe calculates."""
    settings.TAX_PROVIDER = "stripe"
    stripe.collect_tax(DE="19")
    return client_for(found("Labor", "lab", jurisdiction="DE"))


def settle(stripe: Stripe, times: int = 3) -> None:
    for _again in range(times):
        work()
        stripe.deliver()


def bought(buyer: ApiClient, seller: Organization, stripe: Stripe) -> dict[str, Any]:
    """500.00, and 95.00 of tax, paid."""
    order = order_for(buyer, make_offer(seller, price_minor=50_000))
    stripe.pay(order)
    stripe.deliver()
    work()
    return order


def told(stripe: Stripe, path: str) -> list[dict[str, Any]]:
    """The parameters of the calls that Stripe carried out."""
    return [one["params"] for one in stripe.posts(path) if one["verdict"] == "ok"]


def commands_of(order: dict[str, Any]) -> list[tuple[str, str]]:
    with access.system("read commands in a test"):
        rows = Command.objects.filter(order=order["id"], kind__endswith="_tax").order_by("pk")
        return [(row.kind, row.state) for row in rows]


def open_mismatches() -> list[tuple[str, int | None]]:
    with access.system("read mismatches in a test"):
        rows = Mismatch.objects.filter(resolved_at=None).order_by("pk")
        return [(row.kind, row.expected_minor) for row in rows]


def row_of(order: dict[str, Any]) -> Order:
    return Order.objects.select_related("quote").get(pk=order["id"])


def test_a_sale_is_recorded_once_it_is_paid_and_granted(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    settle(stripe)
    assert stripe.posts(RECORDS) == []

    stripe.pay(order)
    settle(stripe)

    [record] = told(stripe, RECORDS)
    assert record["reference"] == order["id"]
    assert record["calculation"].startswith("taxcalc_")
    assert commands_of(order) == [("record_tax", "done")]
    assert stripe.posts(REVERSALS) == []


@pytest.mark.oracle
def test_refunds_in_parts_reverse_the_tax_that_the_journal_takes_back(
    archive: Organization, buyer: ApiClient, client_for: ClientFor, stripe: Stripe
) -> None:
    order = bought(buyer, archive, stripe)
    for amount in (11_900, 101, None):
        asked = {} if amount is None else {"amount_minor": amount}
        assert request_refund(client_for(archive), order, **asked).status_code == 201
        settle(stripe)

    lines = [each["line_items"]["0"] for each in told(stripe, REVERSALS)]

    assert [(line["amount"], line["amount_tax"]) for line in lines] == [
        ("-10000", "-1900"),
        ("-85", "-16"),
        ("-39915", "-7584"),
    ]
    assert {each["mode"] for each in told(stripe, REVERSALS)} == {"partial"}
    assert commands_of(order) == [("record_tax", "done"), *[("reverse_tax", "done")] * 3]


@pytest.mark.oracle
def test_a_whole_refund_is_a_full_reversal(
    archive: Organization, buyer: ApiClient, client_for: ClientFor, stripe: Stripe
) -> None:
    order = bought(buyer, archive, stripe)
    refund = request_refund(client_for(archive), order).json()
    settle(stripe)

    [reversal] = told(stripe, REVERSALS)

    assert (reversal["mode"], reversal["reference"]) == ("full", refund["id"])
    assert "line_items" not in reversal


@pytest.mark.oracle
def test_a_lost_dispute_reverses_the_tax_too(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = bought(buyer, archive, stripe)
    stripe.dispute(order, status="lost")
    settle(stripe)

    assert [each["mode"] for each in told(stripe, REVERSALS)] == ["full"]


@pytest.mark.oracle
def test_the_tax_of_a_license_that_begins_with_its_invoice_goes_with_it(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive, grants_on="issue"))
    settle(stripe)
    assert commands_of(order) == [("record_tax", "done")]

    assert buyer.post(f"/v1/orders/{order['id']}/cancel").status_code == 200
    settle(stripe)

    assert [each["mode"] for each in told(stripe, REVERSALS)] == ["full"]
    assert commands_of(order) == [("record_tax", "done"), ("reverse_tax", "done")]


@pytest.mark.oracle
def test_an_invoice_has_no_tax_of_stripes_own(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    """Else it would be calculated, and reported, twice."""
    order = ordered_on_invoice(buyer, invoiced_offer(archive))
    pay_invoice(stripe, order)
    settle(stripe)

    [invoice] = stripe.posts("/v1/invoices")
    assert invoice["params"]["automatic_tax"] == {"enabled": "false"}
    assert len(told(stripe, RECORDS)) == 1


@pytest.mark.oracle
def test_what_the_operators_own_table_says_is_not_told_to_stripe(
    archive: Organization, client_for: ClientFor, stripe: Stripe, settings: Any
) -> None:
    settings.TAX = {"DE": {"basis_points": 1_900}}
    client = client_for(found("Labor", "lab", jurisdiction="DE"))
    order = bought(client, archive, stripe)
    assert request_refund(client_for(archive), order).status_code == 201
    settle(stripe)

    assert stripe.posts(RECORDS) == stripe.posts(REVERSALS) == []
    assert commands_of(order) == []


# --- lost, refused, at once -------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize("path", [RECORDS, REVERSALS])
def test_an_answer_that_is_lost_records_once(
    path: str, archive: Organization, buyer: ApiClient, client_for: ClientFor, stripe: Stripe
) -> None:
    stripe.lose(path, times=stripe_gateway.RETRIES_MAX + 1)
    order = bought(buyer, archive, stripe)
    assert request_refund(client_for(archive), order, amount_minor=11_900).status_code == 201
    for _again in range(4):
        make_due()
        settle(stripe, times=1)

    assert commands_of(order) == [("record_tax", "done"), ("reverse_tax", "done")]
    replies = [one for one in stripe.posts(path) if not one["is_replayed"]]
    assert len(replies) == 1
    assert open_mismatches() == []


@pytest.mark.oracle
def test_a_repeat_after_a_day_makes_no_second_record_and_is_told(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    """Stripe lists no tax transactions; but a reference is one sale's for ever."""
    stripe.lose(RECORDS, times=stripe_gateway.RETRIES_MAX + 1)
    order = bought(buyer, archive, stripe)
    stripe.forget_keys()
    make_due()
    settle(stripe)

    assert len(told(stripe, RECORDS)) == stripe_gateway.RETRIES_MAX + 1
    assert len({one["idempotency_key"] for one in stripe.posts(RECORDS)}) == 1
    assert commands_of(order) == [("record_tax", "refused")]
    assert open_mismatches() == [("tax_unrecorded", 9_500)]


@pytest.mark.oracle
def test_what_was_never_recorded_is_not_reversed_and_both_are_told(
    archive: Organization, buyer: ApiClient, client_for: ClientFor, stripe: Stripe
) -> None:
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.pay(order)
    # So late that the calculation has expired.
    stripe.advance(90 * 24 * 3600)
    settle(stripe)
    assert request_refund(client_for(archive), order, amount_minor=11_900).status_code == 201
    settle(stripe)

    assert commands_of(order) == [("record_tax", "refused"), ("reverse_tax", "refused")]
    assert open_mismatches() == [("tax_unrecorded", 9_500), ("tax_unrecorded", -1_900)]
    assert stripe.posts(REVERSALS) == []


@pytest.mark.oracle
def test_a_reversal_waits_for_the_record_of_its_sale(
    archive: Organization, buyer: ApiClient, client_for: ClientFor, stripe: Stripe
) -> None:
    stripe.fail(RECORDS, status=500, times=3 * (stripe_gateway.RETRIES_MAX + 1))
    order = bought(buyer, archive, stripe)
    assert request_refund(client_for(archive), order).status_code == 201
    settle(stripe)
    assert commands_of(order) == [("record_tax", "pending"), ("reverse_tax", "pending")]
    assert stripe.posts(REVERSALS) == []

    for _again in range(4):
        make_due()
        settle(stripe, times=1)

    assert commands_of(order) == [("record_tax", "done"), ("reverse_tax", "done")]


@pytest.mark.oracle
def test_a_cause_reverses_once(archive: Organization, buyer: ApiClient, stripe: Stripe) -> None:
    order = bought(buyer, archive, stripe)
    part = Shares(seller_minor=100, royalties_minor=0, fee_minor=0, tax_minor=19)

    for _again in range(2):
        with access.system("take back in a test"):
            tax_records.reverse(row_of(order), cause="rfd_1", shares=part)
            tax_records.record(row_of(order))
    settle(stripe)

    assert commands_of(order) == [("record_tax", "done"), ("reverse_tax", "done")]
    assert len(told(stripe, REVERSALS)) == len(told(stripe, RECORDS)) == 1


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_workers_at_once_record_a_sale_once(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.pay(order)
    stripe.deliver()
    order_id = Order._meta.pk.to_python(order["id"])
    sync.sync_order(order_id)
    with access.system("find the command"):
        command = Command.objects.get(order=order_id, kind="record_tax").pk

    results = at_once(*[lambda: commands.carry_out(command)] * 4)

    assert not [one for one in results if isinstance(one, Exception)]
    assert commands_of(order) == [("record_tax", "done")]
    made = {one["idempotency_key"] for one in stripe.posts(RECORDS)}
    assert made == {str(command)}
