"""The page of an invoice: what its customer sees and presses, in each of its states."""

from __future__ import annotations

import pytest

from tests.payments.simulator_account import account
from tests.payments.simulator_invoices import Billing, billing
from tests.payments.test_simulator_pages import Shown, browse, press

__all__ = ["account", "billing"]


def page(billing: Billing, url: str | None) -> Shown:
    assert url is not None
    return browse(billing.account, url)


def test_the_page_says_what_is_billed_and_that_no_money_moves(billing: Billing) -> None:
    invoice = billing.open(description="For model A", footer="Register no. 1")

    shown = page(billing, invoice.hosted_invoice_url)

    assert shown.status == 200
    for words in (
        "Simulated: no money moved.",
        "Invoice: 595.00 USD due",
        "Purchase order",
        "PO-4711",
        "Lab A",
        "License",
        "For model A",
        "Register no. 1",
        str(invoice.number),
    ):
        assert shown.says(words), words
    assert list(shown.page.buttons) == ["pay", "decline"]
    assert "script" not in [tag for tag, _attributes in shown.page.tags]
    assert "default-src 'none'" in shown.headers["Content-Security-Policy"]


def test_pay_pays_the_invoice_once(billing: Billing) -> None:
    invoice = billing.open()
    shown = page(billing, invoice.hosted_invoice_url)

    answers = [press(billing.account, shown, "pay") for _press in range(2)]

    assert [answer.status for answer in answers] == [303, 303]
    assert answers[0].headers["Location"] == invoice.hosted_invoice_url
    assert billing.invoice(invoice.id).status == "paid"
    assert len(billing.v1.charges.list().data) == 1
    after = page(billing, invoice.hosted_invoice_url)
    assert after.says("This is paid")
    assert after.page.buttons == {}


def test_a_decline_is_said_and_the_customer_can_pay_after_it(billing: Billing) -> None:
    invoice = billing.open()
    press(billing.account, page(billing, invoice.hosted_invoice_url), "decline")

    again = page(billing, invoice.hosted_invoice_url)

    assert again.says("Your card was declined. You can try again.")
    assert press(billing.account, again, "pay").status == 303
    assert billing.invoice(invoice.id).status == "paid"


def test_a_void_invoice_cannot_be_paid_from_a_page_that_was_open(billing: Billing) -> None:
    invoice = billing.open()
    before = page(billing, invoice.hosted_invoice_url)
    billing.v1.invoices.void_invoice(invoice.id)

    for button in ("pay", "decline"):
        shown = press(billing.account, before, button)
        assert (shown.status, shown.page.buttons) == (200, {})
        assert shown.says("This invoice is void")
    assert billing.v1.charges.list().data == []


def test_a_draft_has_no_page(billing: Billing) -> None:
    draft = billing.draft()

    for body in (None, b"action=pay", b"action=decline"):
        assert browse(billing.account, f"/invoice/{draft.id}", body).status == 404
        assert browse(billing.account, "/invoice/in_dev_none", body).status == 404
    assert billing.invoice(draft.id).status == "draft"


def test_an_unknown_button_and_another_website_do_nothing(billing: Billing) -> None:
    invoice = billing.open()
    url = f"/invoice/{invoice.id}"

    assert browse(billing.account, url, b"action=steal").status == 400
    crossing = browse(billing.account, url, b"action=pay", Sec_Fetch_Site="cross-site")
    assert crossing.status == 403
    assert billing.invoice(invoice.id).status == "open"


def test_text_of_others_stays_text(billing: Billing) -> None:
    evil = "<script>alert(1)</script>"
    invoice = billing.open(
        lines=((evil, 500),),
        customer=billing.customer(name=evil).id,
        custom_fields=[{"name": evil, "value": evil}],
        description=evil,
        footer=evil,
    )
    billing.v1.credit_notes.create({"invoice": invoice.id, "amount": 100, "memo": evil})
    (note,) = billing.v1.credit_notes.list().data

    for url in (invoice.hosted_invoice_url, note.pdf):
        shown = page(billing, url)
        assert "<script>" not in shown.text
        assert shown.says(evil)


def test_a_credit_shows_on_the_page_and_has_its_own(billing: Billing) -> None:
    invoice = billing.open()
    note = billing.v1.credit_notes.create({"invoice": invoice.id, "amount": 9_500})

    shown = page(billing, invoice.hosted_invoice_url)

    assert shown.says("Credited")
    assert shown.says("Pay 500.00 USD")
    assert page(billing, note.pdf).says(note.number)
    assert browse(billing.account, "/credit_note/cn_dev_none").status == 404


@pytest.mark.parametrize("exempt", ["none", "reverse"])
def test_reverse_charge_is_said(billing: Billing, exempt: str) -> None:
    invoice = billing.open(customer=billing.customer(tax_exempt=exempt).id)

    says = page(billing, invoice.hosted_invoice_url).says("Reverse charge")

    assert says == (exempt == "reverse")


def test_what_stands_for_the_pdf_has_no_buttons(billing: Billing) -> None:
    invoice = billing.open()

    shown = page(billing, invoice.invoice_pdf)

    assert (shown.status, shown.page.buttons) == (200, {})
    assert shown.says(str(invoice.number))
