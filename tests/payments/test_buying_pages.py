"""Buying in the workspace: from the market to a quote, its acceptance, the payment, the license."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from licensing.models import AccessRequest
from marketplace import access, organizations
from marketplace.models import Organization
from payments.models import Order, Quote
from tests.make import TYPED_2, make_offer
from tests.payments.buying import counts
from tests.payments.invoicing import invoiced_offer
from tests.payments.simulating import Stripe, work
from tests.payments.test_samples import chosen

pytestmark = pytest.mark.django_db
WANTED = {"uses": ["pretrain"], "territories": ["EU"]}
PERSON = {"name": "Lin Chen", "title": "General Counsel", "authority": "on"}


@pytest.fixture
def counsel(lab: Organization) -> Client:
    return member(lab)


def member(organization: Organization, role: str = "owner") -> Client:
    user = organizations.admit(
        organization,
        email=f"{role}@{organization.pk}.example.org".lower(),
        name="Lin Chen",
        password="correct horse battery",
        role=role,
    )
    client = Client()
    client.force_login(user)
    return client


def quoted(counsel: Client, offer: Any, **fields: Any) -> Quote:
    """The quote that the form leads to."""
    answer = counsel.post(f"/studio/market/{offer.pk}/quote/", {**WANTED, **fields})
    assert answer.status_code == 302, answer.content
    with access.system("read a quote in a test"):
        return Quote.objects.get(pk=answer["Location"].split("/")[-3])


def accepting(quote: Quote, **fields: Any) -> dict[str, Any]:
    return {"document_sha256": bytes(quote.document_sha256).hex(), **PERSON, **fields}


def page_of(row: Any, verb: str = "change") -> str:
    return f"/studio/payments/{row._meta.model_name}/{row.pk}/{verb}/"


def order_of(quote: Quote) -> Order:
    with access.system("read an order in a test"):
        return Order.objects.get(quote=quote)


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer.content
    return str(answer.content.decode())


def test_a_license_is_bought_by_card_from_the_market_to_its_certificate(
    archive: Organization, counsel: Client, stripe: Stripe
) -> None:
    offer = make_offer(archive, price_minor=50_000, typed=TYPED_2)

    assert offer.collection.name in text(counsel.get("/studio/market/?use=pretrain"))
    shown = text(counsel.get(f"/studio/market/{offer.pk}/"))
    assert "What you may do with it" in shown
    assert "500.00 USD" in shown
    quote = quoted(counsel, offer)
    shown = text(counsel.get(page_of(quote)))
    assert bytes(quote.document_sha256).hex() in shown
    assert "LICENSE AGREEMENT" in shown
    assert "LICENSE AGREEMENT" in text(counsel.get(page_of(quote, "pay_by_card")))
    accepted = counsel.post(page_of(quote, "pay_by_card"), accepting(quote))
    order = order_of(quote)
    assert accepted["Location"] == page_of(order)
    assert order.checkout_url in text(counsel.get(page_of(order)))

    stripe.pay({"id": str(order.pk), "checkout_url": order.checkout_url})
    stripe.deliver()
    work()

    order = order_of(quote)
    assert order.status == Order.Status.GRANTED
    shown = text(counsel.get(page_of(order)))
    assert "The license is yours" in shown
    assert f"/studio/licensing/heldgrant/{order.grant_id}/change/" in shown
    assert f"{order.grant_id}" in re.findall(r'href="([^"]*certificate[^"]*)"', shown)[0]


def test_the_same_form_again_finds_its_quote_and_its_order(
    archive: Organization, counsel: Client, stripe: Stripe
) -> None:
    offer = make_offer(archive, price_minor=50_000)
    shown = text(counsel.get(f"/studio/market/{offer.pk}/quote/"))
    token = re.findall(r'name="form_token" value="([^"]+)"', shown)[0]
    first = quoted(counsel, offer, form_token=token)
    assert quoted(counsel, offer, form_token=token).pk == first.pk
    assert quoted(counsel, offer, form_token=token, uses=["finetune"]).pk != first.pk

    counsel.post(page_of(first, "pay_by_card"), accepting(first))
    before = counts()
    again = counsel.post(page_of(first, "pay_by_card"), accepting(first), follow=True)

    assert "This quote was accepted before" in text(again)
    assert again.redirect_chain[0][0] == page_of(order_of(first))
    assert counts() == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"authority": ""}, "Only somebody with authority"),
        ({"document_sha256": "ab" * 32}, "names another document"),
        ({"title": " "}, "This field is required"),
    ],
)
def test_a_refused_acceptance_says_why_and_orders_nothing(
    archive: Organization, counsel: Client, changed: dict[str, str], said: str, stripe: Stripe
) -> None:
    quote = quoted(counsel, make_offer(archive, price_minor=50_000))
    before = counts()

    answer = counsel.post(page_of(quote, "pay_by_card"), accepting(quote, **changed))

    assert said in text(answer)
    assert counts() == before


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"uses": []}, "This field is required"),
        ({"territories": []}, "Choose where"),
        ({"countries": "JP"}, "do not permit"),
        ({"countries": "Mars"}, "ISO 3166"),
        ({"model_name": "Atlas"}, "Say how the model is released"),
        ({"begins_on": "2001-01-01"}, "cannot begin in the past"),
        ({"begins_on": "soon"}, "valid date"),
    ],
)
def test_a_quote_that_cannot_be_made_says_why_at_its_field(
    archive: Organization, counsel: Client, sent: dict[str, Any], said: str, stripe: Stripe
) -> None:
    offer = make_offer(archive, price_minor=50_000)
    before = counts()

    answer = counsel.post(f"/studio/market/{offer.pk}/quote/", {**WANTED, **sent})

    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert counts() == before


def test_a_license_is_ordered_on_invoice(
    archive: Organization, lab: Organization, counsel: Client, stripe: Stripe
) -> None:
    quote = quoted(counsel, invoiced_offer(archive))
    form = accepting(quote, net_days="30", purchase_order="PO 7")

    answer = counsel.post(page_of(quote, "pay_by_invoice"), form)

    order = order_of(quote)
    assert answer["Location"] == page_of(order), answer.content
    with access.system("read an invoice in a test"):
        invoice = order.invoice
    assert (invoice.net_days, invoice.purchase_order) == (30, "PO 7")
    assert invoice.hosted_url in text(counsel.get(page_of(order)))


def test_what_costs_nothing_is_granted_with_its_acceptance(
    archive: Organization, counsel: Client
) -> None:
    quote = quoted(counsel, make_offer(archive, price_minor=0))

    counsel.post(page_of(quote, "accept_free"), accepting(quote))

    assert order_of(quote).status == Order.Status.GRANTED


def test_a_private_offer_is_marked_for_its_buyer_and_404_for_others(
    archive: Organization, lab: Organization, stranger: Organization, counsel: Client
) -> None:
    offer = make_offer(archive, price_minor=0, audience=str(lab.pk))
    other = member(stranger)

    assert "Private: for you alone" in text(counsel.get("/studio/market/"))
    assert "Private: for you alone" in text(counsel.get(f"/studio/market/{offer.pk}/"))
    assert offer.collection.name not in text(other.get("/studio/market/"))
    for page in ("", "quote/", "request/", "sample/"):
        assert other.get(f"/studio/market/{offer.pk}/{page}").status_code == 404


def test_a_buyer_asks_for_access_and_takes_it_back(archive: Organization, counsel: Client) -> None:
    offer = make_offer(archive, price_minor=0, access="on_request")
    url = f"/studio/market/{offer.pk}/"
    model = {"model_name": "Atlas", "model_release": "closed_api"}

    refused = counsel.post(f"{url}quote/", WANTED)
    assert (refused.status_code, "Ask the seller first" in refused.content.decode()) == (422, True)
    for _ in range(2):
        counsel.post(f"{url}request/", {**WANTED, **model, "message": "Please."})
    with access.system("read a request in a test"):
        asked = AccessRequest.objects.get()
    assert "Atlas" in text(counsel.get(url))

    counsel.post(f"/studio/market/requests/{asked.pk}/cancel/")

    with access.system("read a request in a test"):
        asked.refresh_from_db()
    assert asked.state == AccessRequest.State.CANCELED


def test_a_sample_is_read_and_taken_once(
    archive: Organization, client_for: Any, counsel: Client
) -> None:
    url = f"/studio/market/{chosen(archive, client_for(archive)).pk}/sample/"
    shown = text(counsel.get(url))
    hidden = dict(re.findall(r'name="(document_sha256|starts_at)" value="([^"]+)"', shown))

    refused = counsel.post(url, {**hidden, **PERSON, "authority": ""})
    assert refused.status_code == 422
    taken = counsel.post(url, {**hidden, **PERSON})
    again = counsel.post(url, {**hidden, **PERSON})

    assert "/studio/licensing/heldgrant/" in taken["Location"]
    assert again["Location"] == taken["Location"]
    assert counts()["Grant"] == 1


def test_a_viewer_looks_and_buys_nothing(archive: Organization, lab: Organization) -> None:
    offer = make_offer(archive, price_minor=0)
    viewer = member(lab, "viewer")
    before = counts()

    assert "buy nothing" in text(viewer.get(f"/studio/market/{offer.pk}/"))
    for page in ("quote/", "request/", "sample/"):
        assert viewer.post(f"/studio/market/{offer.pk}/{page}", WANTED).status_code == 403
    assert counts() == before


def test_the_market_says_what_it_does_not_understand(counsel: Client) -> None:
    answer = counsel.get("/studio/market/?use=dance")

    assert answer.status_code == 422
    assert "Use one of" in answer.content.decode()


def test_the_market_s_list_asks_the_database_few_questions(
    archive: Organization, counsel: Client, django_assert_max_num_queries: Any
) -> None:
    for _ in range(3):
        make_offer(archive, price_minor=0)
    with django_assert_max_num_queries(30):
        counsel.get("/studio/market/")
