"""Where events come from: both kinds at one address, two secrets at once, and not only ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from licensing.models import Grant
from marketplace import access
from marketplace.models import Organization
from payments import reconcile, stripe_events
from payments.models import ConnectedAccount, Order, StripeEvent
from tests.make import make_offer
from tests.payments.buying import GRANTED_ONCE, counts, made_of, order_for, order_now
from tests.payments.rows import make_offer_row, make_order_row, make_quote_row
from tests.payments.selling import onboarded
from tests.payments.signing import event_body, signature
from tests.payments.simulating import Stripe, work
from tests.payments.test_events import deliver, stored
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def order(archive: Organization, lab: Organization) -> Order:
    with access.system("test events"):
        quote = make_quote_row(lab, make_offer_row(archive))
        return make_order_row(quote, checkout_session="cs_test_1", payment_intent="pi_1")


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Stripe was asked about, without asking it."""
    calls: list[str] = []
    monkeypatch.setattr(stripe_events.sync, "sync_order", lambda id: calls.append(str(id)))
    monkeypatch.setattr(stripe_events.connect, "sync_account", lambda id: calls.append(str(id)))
    monkeypatch.setattr(
        stripe_events.stripe_gateway, "payment_of", lambda kind, id: calls.append(id) or ""
    )
    return calls


def is_foreign() -> list[bool]:
    return [event.is_foreign for event in stored()]


# --- two kinds, two secrets -------------------------------------------------------------------


@pytest.mark.parametrize("style", ["snapshot", "thin", "both"])
def test_either_kind_of_events_leads_to_one_grant(
    style: str, archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    client = client_for(lab)
    order = order_for(client, make_offer(archive, price_minor=50_000))
    stripe._control("webhooks", {"style": style})
    stripe._control(f"sessions/{stripe.session_of(order)}/pay", {})
    names = {
        "snapshot": ["checkout.session.completed"],
        "thin": ["v1.checkout.session.completed"],
        "both": ["checkout.session.completed", "v1.checkout.session.completed"],
    }
    for name in names[style]:
        stripe.wait_for(name)

    stripe.deliver()
    stripe_events.handle_due()
    work()

    assert order_now(client, order)["status"] == "granted"
    assert made_of(order) == GRANTED_ONCE
    kinds = {event.is_thin for event in stored()}
    assert kinds == {"snapshot": {False}, "thin": {True}, "both": {False, True}}[style]
    assert is_foreign() == [False] * len(stored())


@pytest.mark.parametrize(
    ("type", "status"),
    [("v1.charge.dispute.created", "disputed"), ("v1.refund.created", "partially_refunded")],
)
def test_a_thin_event_alone_tells_of_what_is_new_about_a_payment(
    type: str,
    status: str,
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    stripe: Stripe,
) -> None:
    """It names the dispute, or the refund, and no order: to which payment that belongs is asked."""
    client = client_for(lab)
    order = order_for(client, make_offer(archive, price_minor=50_000))
    stripe.pay(order)
    stripe.deliver()
    work()
    assert order_now(client, order)["status"] == "granted"
    with access.system("nothing else has it looked at"):
        Order.objects.update(next_sync_at=None)
    stripe.tell_thinly()
    made = stripe.dispute(order) if status == "disputed" else stripe.refund(order, 20_000)
    id = made["id"]
    stripe.wait_for(type)
    [told] = [each for each in stripe.mailbox.deliveries if each.type == type]
    seen = len(stripe.requests())

    assert told.post().status_code == 200
    # What it is about was not heard of before, and nothing in it says whose it is.
    event = stored()[-1]
    assert (event.is_thin, event.object_id, event.order_ref) == (True, id, "")
    assert event.body.get("data") is None
    assert stripe_events.handle_due() == 1

    asked = [(one["method"], one["path"]) for one in stripe.requests()[seen:]]
    kind = "disputes" if status == "disputed" else "refunds"
    assert asked[0] == ("GET", f"/v1/{kind}/{id}")
    assert order_now(client, order)["status"] == status
    with access.system("read the license"):
        grant = Grant.objects.get(pk=order_now(client, order)["grant"])
    assert grant.status == ("suspended" if status == "disputed" else "active")
    # A repeat of it asks for nothing that it does not know.
    assert told.post().status_code == 200
    assert stripe_events.handle_due() == 0


def test_rolling_the_secret_rejects_no_delivery(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe, settings: Any
) -> None:
    """As Stripe rolls it: both sign for a while, then the new one alone."""
    client = client_for(lab)
    offers = [make_offer(archive, price_minor=50_000) for _each in range(4)]
    old, new = settings.STRIPE_WEBHOOK_SECRETS[0], "whsec_new"
    steps = [
        # What Stripe signs with, and what we hold.
        ([old], [old]),
        ([old], [new, old]),
        ([new, old], [new, old]),
        ([new], [new]),
    ]
    for offer, (signing, held) in zip(offers, steps, strict=True):
        settings.STRIPE_WEBHOOK_SECRETS = held
        stripe._control("webhooks", {"secrets": signing, "style": "both"})
        order = order_for(client, offer)
        stripe.pay(order)
        stripe.wait_for("v1.checkout.session.completed")
        # Asserts that each is answered with 200.
        assert stripe.deliver()
        work()
        assert order_now(client, order)["status"] == "granted"


# --- whose ------------------------------------------------------------------------------------


def test_an_event_of_another_account_changes_nothing_even_if_it_names_our_order(
    order: Order, fetched: list[str]
) -> None:
    before = counts()
    named = {"id": "cs_test_1", "object": "checkout.session", "client_reference_id": str(order.pk)}
    snapshot = event_body(id="evt_1", account="acct_elsewhere", data={"object": named})
    thin = event_body(
        id="evt_2",
        object="v2.core.event",
        type="v1.checkout.session.completed",
        context="acct_elsewhere",
        data=None,
        related_object={"id": "cs_test_1", "type": "checkout.session"},
    )
    assert [deliver(raw).status_code for raw in (snapshot, thin)] == [200, 200]

    assert stripe_events.handle_due() == 2

    assert fetched == []
    assert counts() == before
    assert is_foreign() == [True, True]
    assert all(event.handled_at is not None for event in stored())
    assert reconcile.foreign_events() == 2


def test_an_event_of_a_connected_account_of_ours_is_about_that_account_alone(
    archive: Organization, order: Order, stripe: Stripe, fetched: list[str]
) -> None:
    account = onboarded_row(archive)
    named = {"id": "pi_1", "object": "payment_intent", "metadata": {"order": str(order.pk)}}
    deliver(event_body(type="account.updated", account="acct_ours", data={"object": named}))

    stripe_events.handle_due()

    assert fetched == [str(account.pk)]
    assert is_foreign() == [False]


def onboarded_row(seller: Organization) -> ConnectedAccount:
    with access.system("an account of ours"):
        return ConnectedAccount.objects.create(
            organization=seller, livemode=False, country="US", stripe_id="acct_ours", state="active"
        )


def test_a_thin_event_of_an_account_of_ours_is_followed(
    archive: Organization, stripe: Stripe
) -> None:
    account = onboarded(archive, stripe)
    assert account.stripe_id is not None
    stripe.deliver()
    stripe.account(account.stripe_id, "restrict")
    stripe.wait_for("v2.core.account[configuration.recipient].capability_status_updated")
    stripe.deliver()

    stripe_events.handle_due()

    with access.system("how it stands"):
        assert ConnectedAccount.objects.get().state == "restricted"
    assert is_foreign() == [False] * len(stored())


@pytest.mark.parametrize(
    "about",
    [
        {"type": "v2.core.account.updated", "object": "v2.core.event", "data": None,
         "related_object": {"id": "acct_strange", "type": "v2.core.account"}},
        {"type": "charge.refunded", "data": {"object": {"id": "ch_of_tea", "object": "charge"}}},
        {"type": "refund.created", "data": {"object": {"id": "re_of_tea", "object": "refund"}}},
        {"type": "customer.created", "data": {"object": {"id": "cus_1", "object": "customer"}}},
    ],
)  # fmt: skip
def test_an_event_about_an_object_that_is_not_ours_changes_nothing(
    about: dict[str, Any], order: Order, fetched: list[str]
) -> None:
    before = counts()
    assert deliver(event_body(**about)).status_code == 200

    assert stripe_events.handle_due() == 1

    # A refund or a charge is asked for, to find its payment: that is not ours either.
    assert fetched in ([], ["re_of_tea"], ["ch_of_tea"])
    assert counts() == before
    # Whether it is of another account is all that an event says for sure.
    assert is_foreign() == [str(about["type"]).startswith("v2.core.account")]


# --- which mode -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_thin", [False, True])
def test_a_test_event_in_live_mode_is_refused_and_stores_nothing(
    is_thin: bool, order: Order, settings: Any
) -> None:
    settings.STRIPE_LIVEMODE = True
    raw = event_body(object="v2.core.event" if is_thin else "event", livemode=False)

    response = deliver(raw, signature(raw, settings.STRIPE_WEBHOOK_SECRETS[0]))

    assert (response.status_code, response.json()["code"]) == (400, "webhook_mode_mismatch")
    assert stored() == []


def test_a_fetched_event_of_the_other_mode_is_left_out(order: Order) -> None:
    bodies = [
        {"id": "evt_1", "type": "x", "livemode": True},
        {"id": "evt_2", "type": "x", "livemode": False},
        {"id": "", "type": "x", "livemode": False},
    ]

    assert stripe_events.store_fetched(bodies) == 1
    assert stripe_events.store_fetched(bodies) == 0

    [event] = stored()
    assert (event.pk, event.is_fetched) == ("evt_2", True)
    with access.system("it is due as if it had been delivered"):
        assert StripeEvent.objects.filter(next_attempt_at__isnull=False).count() == 1
