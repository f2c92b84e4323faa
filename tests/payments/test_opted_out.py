"""Works that go out between the acceptance and the payment: the buyer gets the money back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from licensing import optouts
from marketplace.access import system
from marketplace.models import Organization, Representation
from tests.make import make_offer
from tests.payments.buying import REFUNDED_ONCE, made_of, order_for, order_now
from tests.payments.simulating import Stripe, work
from tests.people import ApiClient, caller_for

ClientFor = Callable[..., ApiClient]
pytestmark = pytest.mark.django_db


def test_what_was_paid_after_everything_went_out_is_refunded(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    client = client_for(lab)
    order = order_for(client, make_offer(archive, price_minor=50_000))
    with system("look in a test"):
        works = [bytes(form.digest) for form in Representation.objects.all()]
    optouts.record(caller_for(archive), by="owner", reason="Asked.", digests=works)
    stripe.pay(order)
    stripe.deliver()
    work()
    now = order_now(client, order)
    assert (now["status"], now["refusal"]) == ("refunded", "opted_out")
    assert made_of(order) == REFUNDED_ONCE
