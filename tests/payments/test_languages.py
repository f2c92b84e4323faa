"""What is recorded, and sent to Stripe, reads the same in whosever session it comes about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils.translation import gettext

from licensing.models import GrantEvent
from marketplace import access, preferences
from marketplace.models import Organization
from marketplace.preferences import Viewer, viewing
from payments import checkouts
from payments.models import Command
from tests import pseudo
from tests.make import make_offer
from tests.payments.buying import order_for, order_now, quote_for
from tests.payments.invoicing import (
    invoiced_offer,
    look_at,
    ordered_on_invoice,
    pay_invoice,
    travel,
)
from tests.payments.selling import onboarded, request_refund
from tests.payments.simulating import Stripe, work
from tests.payments.test_refunds import dispute
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
GERMAN = Viewer("de", ZoneInfo("Asia/Tokyo"), "de-DE")


@pytest.fixture
def buyer(lab: Organization, client_for: Callable[..., ApiClient]) -> ApiClient:
    return client_for(lab)


@pytest.fixture
def german(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All that is asked for, and all that the worker does, is in a German reader's session."""
    monkeypatch.setattr(preferences, "is_english", lambda path: False)
    monkeypatch.setattr(preferences, "of_request", lambda request: GERMAN)
    with viewing(GERMAN), pseudo.spoken():
        yield


def sent(stripe: Stripe) -> str:
    """Every request that Stripe got, as text."""
    return json.dumps(stripe.requests(), ensure_ascii=False)


def check(stripe: Stripe) -> None:
    assert pseudo.stored() == []
    assert pseudo.OPENS not in sent(stripe)
    # As times have it; an id may have these letters by chance.
    assert " JST" not in sent(stripe)


def look(order: dict[str, Any]) -> None:
    look_at(order)
    work()


@pytest.mark.oracle
def test_a_sale_its_dispute_and_its_refund_are_recorded_in_english(
    german: None, archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    onboarded(archive, stripe)
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.pay(order)
    stripe.deliver()
    work()
    assert order_now(buyer, order)["status"] == "granted"
    id = dispute(order, stripe)
    work()
    stripe.decide(id, "win")
    look(order)
    assert request_refund(buyer, order).status_code == 201
    work()

    check(stripe)
    assert "License to “Letters”" in sent(stripe)


@pytest.mark.oracle
def test_an_invoice_that_is_late_is_recorded_in_english(
    german: None,
    archive: Organization,
    buyer: ApiClient,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive, grants_on="issue"))
    look(order)
    with monkeypatch.context() as patch:
        for days in (31, 7):
            travel(patch, days=days)
            look(order)
    pay_invoice(stripe, order)
    stripe.deliver()
    work()

    check(stripe)
    with access.system("read events in a test"):
        reasons = list(GrantEvent.objects.order_by("pk").values_list("reason", flat=True))
    assert reasons == ["The invoice is overdue.", "The invoice was paid."]


def test_what_stripe_refuses_is_kept_in_english(
    german: None,
    archive: Organization,
    buyer: ApiClient,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stripe.fail("/v1/checkout/sessions", 503, times=9)
    quote = quote_for(buyer, make_offer(archive, price_minor=50_000))
    body = {
        "quote": quote["id"],
        "accept": {
            "document_sha256": quote["document_sha256"],
            "name": "Lin",
            "title": "Counsel",
            "authority": True,
        },
    }
    assert buyer.post("/v1/orders", body).status_code == 503
    stripe.stop_failing()
    # Too late for its pay page, which whoever comes back then learns in their language.
    travel(monkeypatch, hours=2)
    with access.system("make a call due in a test"):
        Command.objects.update(next_attempt_at=preferences.timezone.now())
    work()

    check(stripe)
    with access.system("read calls in a test"):
        [refusal] = Command.objects.values_list("refusal", flat=True)
    assert refusal == "The time for paying passed before Stripe could be reached."


def test_a_word_in_somebody_s_language_would_be_seen(
    german: None,
    archive: Organization,
    buyer: ApiClient,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = checkouts._params

    def translated(order: Any) -> dict[str, Any]:
        made = plain(order)
        made["line_items"][0]["price_data"]["product_data"]["name"] = gettext("Tax")
        return made

    monkeypatch.setattr(checkouts, "_params", translated)
    order_for(buyer, make_offer(archive, price_minor=50_000))

    assert [row.partition(":")[0] for row in pseudo.stored()] == ["payments_command"]
    assert pseudo.OPENS in sent(stripe)
