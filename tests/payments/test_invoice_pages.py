"""Invoices in the workspace: the buyer sees what is to pay, overdue first, and what came back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from marketplace import access
from marketplace.models import Organization
from payments.models import Invoice, Order
from tests.make import make_grant
from tests.payments.invoicing import (
    invoice_of,
    invoiced_offer,
    ordered_on_invoice,
    pay_invoice,
)
from tests.payments.rows import (
    make_command_row,
    make_customer_row,
    make_invoice_row,
    make_offer_row,
    make_order_row,
    make_quote_row,
)
from tests.payments.selling import request_refund
from tests.payments.simulating import Stripe, work
from tests.payments.test_buying_pages import member, text
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
LIST = "/studio/payments/invoice/"
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def buyer(lab: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(lab)


def page_of(row: Invoice) -> str:
    return f"{LIST}{row.pk}/change/"


def invoiced(seller: Organization, buyer: Organization, *given: dict[str, Any]) -> list[Invoice]:
    """Plain rows, one for each."""
    with access.system("make invoices in a test"):
        customer, offer, made = make_customer_row(buyer), make_offer_row(seller), []
        for fields in given:
            order = make_order_row(make_quote_row(buyer, offer), method="invoice")
            made.append(make_invoice_row(order, customer=customer, **fields))
        return made


def sent(number: str, days: float, **fields: Any) -> dict[str, Any]:
    """One that Stripe has sent, due in so many days, made long before."""
    now = timezone.now()
    return {
        "status": "open",
        "number": number,
        "stripe_id": f"in_{number}",
        "sent_at": now - timedelta(days=90),
        "created_at": now - timedelta(days=90),
        "due_at": now + timedelta(days=days),
        "hosted_url": f"https://invoice.example/{number}",
        **fields,
    }


@pytest.mark.oracle
def test_an_invoice_is_read_paid_and_its_credit_notes_seen(
    archive: Organization,
    lab: Organization,
    buyer: ApiClient,
    client_for: ClientFor,
    stripe: Stripe,
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive), purchase_order="PO-4711")
    counsel, invoice = member(lab), invoice_of(order)

    listed = text(counsel.get(LIST))
    shown = text(counsel.get(page_of(invoice)))
    for told in (invoice.number, archive.name, "500.00 USD", "PO-4711", "To pay"):
        assert told in listed
        assert told in shown
    assert "overdue" not in listed
    assert f'href="{invoice.hosted_url}"' in shown
    assert f'href="/studio/payments/order/{order["id"]}/change/"' in shown
    assert "it is given once the invoice is paid" in shown

    pay_invoice(stripe, order)
    stripe.deliver()
    work()
    shown = text(counsel.get(page_of(invoice)))
    assert "Paid. Nothing is left to do." in shown
    assert "/studio/licensing/heldgrant/grt_" in shown

    assert request_refund(client_for(archive), order, amount_minor=11_900).status_code == 201
    for _again in range(3):
        work()
        stripe.deliver()
    [note] = stripe.list("/v1/credit_notes")
    assert f"<div>119.00 USD: issued ({note['id']})</div>" in text(counsel.get(page_of(invoice)))


def test_an_invoice_says_that_its_license_is_suspended_and_what_went_back(
    archive: Organization, lab: Organization
) -> None:
    grant = make_grant(archive, lab)
    with access.system("make an invoice in a test"):
        order = Order.objects.get(grant=grant)
        late = sent("L-1", -40, suspended_at=timezone.now())
        row = make_invoice_row(order, **late)
        noted = {"lines": [{"amount": 10_000}, {"amount": 1_900}]}
        note: dict[str, Any] = {"kind": "credit_note", "state": "done", "next_attempt_at": None}
        make_command_row(order, params=noted, stripe_id="cn_1", reference="rfd_1", **note)
        outside = {**noted, "out_of_band_amount": 11_900}
        make_command_row(order, params=outside, stripe_id="cn_2", reference="rfd_2", **note)
    counsel = member(lab)

    shown = text(counsel.get(page_of(row)))

    assert "its license is suspended until it is paid." in shown
    assert f'href="/studio/licensing/heldgrant/{grant.pk}/change/"' in shown
    assert "<div>119.00 USD: issued (cn_1)</div>" in shown
    assert "<div>119.00 USD: issued, paid back outside of Stripe (cn_2)</div>" in shown
    order_page = text(counsel.get(f"/studio/payments/order/{order.pk}/change/"))
    assert f'<a href="{page_of(row)}">L-1</a>' in order_page


def test_what_is_overdue_stands_first_and_is_counted(
    archive: Organization, lab: Organization
) -> None:
    rows = invoiced(
        archive,
        lab,
        sent("L-1", -40),
        sent("A-2", 10),
        sent("P-3", -40, status="paid"),
        sent("G-4", -40, void_asked_at=timezone.now()),
        sent("L-5", -1),
        {},
    )
    counsel = member(lab)

    page = counsel.get(LIST)

    shown = [row.number for row in page.context["cl"].result_list]
    assert shown == ["L-5", "L-1", "", "G-4", "P-3", "A-2"]
    assert "2 invoices are overdue, and stand first" in text(page)
    states = {"L-1": "Overdue", "A-2": "To pay", "P-3": "Paid", "G-4": "Being taken back"}
    for row in rows[:4]:
        assert states[row.number] in text(counsel.get(page_of(row)))
    assert "Do not pay it." in text(counsel.get(page_of(rows[3])))
    draft = text(counsel.get(page_of(rows[5])))
    assert "Stripe is asked to send it" in draft
    assert "Pay now" not in draft


def test_an_invoice_is_found_by_either_number(archive: Organization, lab: Organization) -> None:
    invoiced(archive, lab, sent("L-1", 5, purchase_order="PO-9"), sent("A-2", 5))
    counsel = member(lab)
    for words in ("L-1", "po-9"):
        found = counsel.get(LIST, {"q": words}).context["cl"].result_list
        assert [row.number for row in found] == ["L-1"]


def test_only_the_buyer_sees_an_invoice(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    [row] = invoiced(archive, lab, sent("L-1", -5))
    assert member(lab).get(page_of(row)).status_code == 200
    for organization in (archive, stranger):
        client = member(organization)
        assert client.get(page_of(row)).status_code == 404
        assert "You have no invoice" in text(client.get(LIST))
        assert "overdue" not in text(client.get(LIST))
