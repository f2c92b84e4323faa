"""Attacks on the money: what happens at Stripe behind our back, twice, late or otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from licensing import lifecycle
from licensing.lifecycle import Act
from licensing.models import Grant
from marketplace import access
from marketplace.errors import (
    PaymentModeUnavailable,
    PaymentProviderUnavailable,
    RefundTooLarge,
    RightsTaken,
)
from marketplace.models import Organization, User
from payments import commands, connect, orders, refunds, stripe_gateway, sync, transfers
from payments.models import Command, Dispute, Order
from payments.stripe_facts import TransferFacts
from tests.make import EXCLUSIVE, make_offer
from tests.payments.buying import GRANTED_ONCE, balances, made_of, order_for, order_now
from tests.payments.invoicing import (
    at_stripe,
    invoice_of,
    invoiced_offer,
    make_due,
    ordered_on_invoice,
)
from tests.payments.rows import make_offer_row, make_quote_row, paid_order_row
from tests.payments.selling import onboarded, request_refund, reversals_of, set_fee, transfer_of
from tests.payments.simulating import Stripe, work
from tests.payments.test_refunds import deliver_something, dispute, grant_status
from tests.payments.test_sync import facts
from tests.payments.test_transfers import bought
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def buyer(lab: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(lab)


@pytest.fixture
def seller(archive: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(archive)


@pytest.fixture
def order(archive: Organization, buyer: ApiClient, stripe: Stripe) -> dict[str, Any]:
    return bought(buyer, archive, stripe)


@pytest.fixture
def operator() -> User:
    return User.objects.create(email="op@example.org", name="Op", is_operator=True)


def pk_of(order: dict[str, Any]) -> UUID:
    found: UUID = Order._meta.pk.to_python(order["id"])
    return found


def look(order: dict[str, Any]) -> None:
    sync.sync_order(pk_of(order))


# --- disputes ---------------------------------------------------------------------------------


def test_of_two_disputes_one_that_was_won_lets_nothing_go_on(
    buyer: ApiClient, order: dict[str, Any], stripe: Stripe
) -> None:
    first, second = dispute(order, stripe, amount=20_000), dispute(order, stripe, amount=10_000)
    work()

    stripe.decide(first, "win")
    look(order)

    assert order_now(buyer, order)["status"] == "disputed"
    assert grant_status(order) == "suspended"
    assert balances()["dispute_hold"] == 10_000

    stripe.decide(second, "lose")
    look(order)

    assert order_now(buyer, order)["status"] == "dispute_lost"
    assert grant_status(order) == "revoked"
    found = balances()
    assert (found["dispute_hold"], found["stripe_clearing"]) == (0, 0)
    assert found["seller_payable"] == -40_000


@pytest.mark.oracle
def test_of_two_disputes_one_that_was_lost_is_not_won_by_the_other(
    buyer: ApiClient, order: dict[str, Any], stripe: Stripe
) -> None:
    first, second = dispute(order, stripe, amount=20_000), dispute(order, stripe, amount=10_000)
    work()

    stripe.decide(first, "lose")
    look(order)
    stripe.decide(second, "win")
    look(order)

    assert order_now(buyer, order)["status"] == "dispute_lost"
    assert grant_status(order) == "revoked"
    assert balances()["dispute_hold"] == 0


@pytest.mark.parametrize("is_first", [True, False])
def test_a_license_that_its_seller_suspended_stays_so_when_a_dispute_is_won(
    is_first: bool,
    archive: Organization,
    buyer: ApiClient,
    order: dict[str, Any],
    stripe: Stripe,
) -> None:
    def suspend() -> None:
        breach = Act(by="licensor", cause="breach", reason="Shared.")
        lifecycle.suspend(caller_for(archive), order["grant"], breach)

    if is_first:
        suspend()
    id = dispute(order, stripe)
    if not is_first:
        suspend()
    work()
    stripe.decide(id, "win")
    look(order)

    assert order_now(buyer, order)["status"] == "dispute_won"
    assert grant_status(order) == "suspended"


@pytest.mark.oracle
def test_an_inquiry_that_becomes_a_chargeback_is_answered_again(
    order: dict[str, Any], stripe: Stripe
) -> None:
    id = dispute(order, stripe, status="warning_needs_response")
    work()
    assert len(stripe.posts(f"/v1/disputes/{id}")) == 1

    stripe.decide(id, "escalate")
    look(order)
    work()

    # The simulator's bank decides for the seller only where the chargeback itself was answered.
    assert [each["status"] for each in stripe.posts(f"/v1/disputes/{id}")] == [200, 200]
    stripe.decide(id, "win")
    look(order)
    assert grant_status(order) == "active"
    with access.system("read a dispute in a test"):
        assert Dispute.objects.get().evidence_sent_at is not None


def test_what_an_appeal_brings_back_before_any_license_is_granted_and_passed_on(
    archive: Organization, buyer: ApiClient, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    said = {"dispute": "lost"}
    monkeypatch.setattr(
        stripe_gateway,
        "retrieve_checkout",
        lambda session: facts(session, is_paid=True, **said),
    )
    assert sync.sync_order(pk_of(order)).status == "dispute_lost"
    assert made_of(order)["grants"] == 0

    said["dispute"] = "won"
    assert sync.sync_order(pk_of(order)).status == "granted"
    sync.sync_order(pk_of(order))

    assert made_of(order) == GRANTED_ONCE
    found = balances()
    assert found["buyer_receivable"] == found["dispute_hold"] == 0
    assert (found["stripe_clearing"], found["seller_payable"]) == (50_000, -50_000)


# --- refunds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("has_license", [pytest.param(True, marks=pytest.mark.oracle), False])
def test_what_a_bank_sent_back_and_was_refunded_again_is_owed_no_more(
    has_license: bool,
    archive: Organization,
    buyer: ApiClient,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.pay(order)
    if not has_license:
        monkeypatch.setattr(orders, "issue_grant", refuse_to_grant)
    look(order)
    work()
    if has_license:
        stripe.refund(order, 50_000)
        look(order)
    [made] = stripe.list("/v1/refunds")
    stripe.fail_refund(made["id"])
    look(order)
    assert balances()["buyer_receivable"] == -50_000

    # In two parts, by somebody at Stripe.
    stripe.refund(order, 20_000)
    look(order)
    assert balances()["buyer_receivable"] == -30_000
    stripe.refund(order, 30_000)
    look(order)

    found = balances()
    assert found["buyer_receivable"] == found["stripe_clearing"] == 0
    assert found.get("dispute_losses", 0) == found.get("seller_payable", 0) == 0
    assert order_now(buyer, order)["status"] == "refunded"


def test_what_a_dispute_took_after_a_bank_sent_a_refund_back_is_owed_no_more(
    order: dict[str, Any], stripe: Stripe
) -> None:
    made = stripe.refund(order, 50_000)
    look(order)
    stripe.fail_refund(made["id"])
    look(order)
    assert balances()["buyer_receivable"] == -50_000

    id = dispute(order, stripe)
    work()
    [sent] = stripe.posts(f"/v1/disputes/{id}")
    # It came back: the bank is not told that the buyer has it.
    assert "refund_refusal_explanation" not in sent["params"]["evidence"]
    stripe.decide(id, "lose")
    look(order)

    found = balances()
    assert found["buyer_receivable"] == found["dispute_hold"] == found["stripe_clearing"] == 0
    assert found.get("dispute_losses", 0) == found["seller_payable"] == 0


@pytest.mark.oracle
def test_what_stripe_would_not_give_back_by_itself_an_operator_can(
    archive: Organization,
    buyer: ApiClient,
    seller: ApiClient,
    stripe: Stripe,
    operator: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.pay(order)
    monkeypatch.setattr(orders, "issue_grant", refuse_to_grant)
    look(order)
    give = {"amount_minor": None, "reason": "It was refused.", "effect": "prospective"}
    # Not while the first is under way.
    with pytest.raises(RefundTooLarge):
        refunds.give(operator, order["id"], **give)
    stripe.fail("/v1/refunds", 400)
    work()
    assert balances()["buyer_receivable"] == -50_000

    # Nobody else: there is nothing to decide about for buyer and seller.
    assert request_refund(seller, order).status_code == 409
    refunds.give(operator, order["id"], **give)
    work()
    look(order)

    assert order_now(buyer, order)["status"] == "refunded"
    assert balances()["buyer_receivable"] == balances()["stripe_clearing"] == 0
    assert [made["amount"] for made in stripe.list("/v1/refunds")] == [50_000]


@pytest.mark.parametrize(("currency", "amount"), [("KWD", 1_005), ("ISK", 150), ("UGX", 1)])
def test_a_refund_that_stripe_does_not_count_is_refused_before_it_is_asked(
    currency: str, amount: int, archive: Organization, lab: Organization, seller: ApiClient
) -> None:
    with access.system("sell in a test"):
        quote = make_quote_row(lab, make_offer_row(archive), currency=currency)
        sold = paid_order_row(quote, status=Order.Status.DISPUTE_WON)

    refused = request_refund(seller, {"id": str(sold.pk)}, amount_minor=amount)

    assert (refused.status_code, refused.json()["param"]) == (422, "amount_minor")
    with access.system("count in a test"):
        assert not sold.refunds.exists()


def test_what_a_bank_took_since_a_refund_was_asked_for_is_not_approved_away(
    buyer: ApiClient, seller: ApiClient, order: dict[str, Any], stripe: Stripe
) -> None:
    deliver_something(order)
    asked = request_refund(buyer, order).json()
    approval = f"/v1/refunds/{asked['id']}/approve"
    id = dispute(order, stripe, amount=10_000)

    refused = seller.post(approval, {})
    assert (refused.status_code, refused.json()["code"]) == (409, "payment_disputed")
    work()
    stripe.decide(id, "win")
    stripe.refund(order, 30_000)
    look(order)
    refused = seller.post(approval, {})
    assert refused.json()["code"] == "refund_too_large"
    assert refused.json()["left_minor"] == 20_000

    found = seller.get(f"/v1/refunds/{asked['id']}").json()
    assert (found["state"], found["approvals"]) == ("requested", [])
    assert stripe.posts("/v1/refunds")[1:] == []


@pytest.mark.oracle
def test_nothing_is_fetched_while_all_of_its_payment_is_on_its_way_back(
    buyer: ApiClient, order: dict[str, Any], stripe: Stripe
) -> None:
    manifest = f"/v1/grants/{order['grant']}/manifest"
    assert request_refund(buyer, order, amount_minor=20_000).status_code == 201
    assert grant_status(order) == "active"

    # Nothing was delivered: the rest is given at once. Stripe was not reached yet.
    assert request_refund(buyer, order).status_code == 201
    assert buyer.get(manifest).status_code == 409

    stripe.fail("/v1/refunds", 400, times=2)
    work()
    assert grant_status(order) == "active"

    assert request_refund(buyer, order).status_code == 201
    work()
    look(order)
    assert grant_status(order) == "revoked"


@pytest.mark.oracle
def test_a_large_refund_needs_two_people_in_parts_too(
    seller: ApiClient, order: dict[str, Any], stripe: Stripe, settings: Any
) -> None:
    settings.REFUND_LIMITS = {"USD": 20_000}

    first, second, third = [
        request_refund(seller, order, amount_minor=10_000).json() for _each in range(3)
    ]

    assert [each["needs_two"] for each in (first, second, third)] == [False, False, True]
    assert [each["state"] for each in (first, second, third)] == ["sending", "sending", "requested"]
    work()
    look(order)
    assert request_refund(seller, order, amount_minor=1).json()["needs_two"] is True


# --- bank debits ------------------------------------------------------------------------------


def test_a_debit_whose_account_the_buyer_has_to_prove_keeps_its_rights(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = order_for(buyer, make_offer(archive, price_minor=50_000, typed=EXCLUSIVE))
    stripe.session(order, "debit")
    world = stripe.simulator.api.world
    with world.change():
        [intent] = world.newest("payment_intent", match={"transfer_group": order["id"]})
        # As with two small deposits that the buyer has to look up, within ten days.
        world.put(intent | {"status": "requires_action"})

    look(order)

    assert order_now(buyer, order)["status"] == "awaiting_payment"
    assert made_of(order)["claims"] == 1

    with world.change():
        world.put(intent | {"status": "requires_payment_method"})
    look(order)

    assert order_now(buyer, order)["status"] == "expired"
    assert made_of(order)["claims"] == 0


# --- transfers --------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [20_000, pytest.param(50_000, marks=pytest.mark.oracle)])
def test_what_an_operator_took_back_at_stripe_is_not_taken_from_the_seller_again(
    amount: int, archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    onboarded(archive, stripe)
    order = bought(buyer, archive, stripe)
    work()
    transfer = transfer_of(order).stripe_id

    # Refund and reversal, both by hand: what is left of the transfer would cover a second one.
    stripe.refund(order, amount)
    stripe.post(f"/v1/transfers/{transfer}/reversals", {"amount": amount})
    look(order)
    work()

    [made] = stripe.list("/v1/transfers")
    assert made["amount_reversed"] == amount
    assert [(each.state, each.amount_minor) for each in reversals_of(order)] == [("done", amount)]
    found = balances()
    assert found.get("seller_receivable", 0) == found["seller_payable"] == 0
    assert found["stripe_clearing"] == 0


@pytest.mark.oracle
def test_a_debt_for_stripes_fee_is_paid_by_later_sales_in_whatever_currency_they_settle(
    archive: Organization, buyer: ApiClient, seller: ApiClient, stripe: Stripe, operator: User
) -> None:
    set_fee(0, operator, stripe_fees="seller")
    stripe.settle_in("eur", usd="0.90")
    onboarded(archive, stripe)
    first = bought(buyer, archive, stripe)
    work()
    request_refund(seller, first)
    work()
    look(first)
    work()
    # 13.35 EUR, at the sale's own rate.
    with access.system("read a debt"):
        assert transfers.owed_minor(archive.pk, livemode=False, currency="USD") == 1_483

    second = bought(buyer, archive, stripe)
    work()

    assert transfer_of(second).withheld_minor == 1_483
    found = balances()
    assert found["seller_receivable"] == found["seller_payable"] == found["stripe_clearing"] == 0


@pytest.mark.oracle
def test_a_share_that_stripes_fee_takes_whole_is_owed_to_nobody(
    archive: Organization, buyer: ApiClient, seller: ApiClient, stripe: Stripe, operator: User
) -> None:
    set_fee(9_900, operator, stripe_fees="seller")
    onboarded(archive, stripe)
    order = bought(buyer, archive, stripe)
    look(order)

    assert (transfer_of(order).state, transfer_of(order).sent_minor) == ("dropped", 500)
    assert stripe.list("/v1/transfers") == []
    found = balances()
    assert (found["seller_payable"], found["stripe_fees"]) == (0, 980)

    request_refund(seller, order)
    work()
    look(order)

    # Stripe keeps its fee, and the seller bears that part: the same as of a larger share.
    found = balances()
    assert (found["seller_payable"], found["seller_receivable"]) == (0, 500)
    assert found["stripe_fees"] == 980


@pytest.mark.parametrize("is_lost", [False, pytest.param(True, marks=pytest.mark.oracle)])
def test_a_seller_that_is_refused_while_its_share_is_on_its_way_is_sent_no_more(
    is_lost: bool,
    archive: Organization,
    buyer: ApiClient,
    stripe: Stripe,
    operator: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account = onboarded(archive, stripe)
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.pay(order)
    look(order)
    if is_lost:
        lose_the_answer(monkeypatch)
    connect.refuse(operator, str(account.pk), note="On a list.")

    work()

    # What had arrived before is known; nothing else is sent until somebody clears the seller.
    assert transfer_of(order).state == ("sent" if is_lost else "waiting")
    assert len(stripe.list("/v1/transfers")) == is_lost
    connect.clear(operator, str(account.pk), note="Another of that name.")
    work()
    work()
    assert transfer_of(order).state == "sent"
    assert len(stripe.list("/v1/transfers")) == 1
    assert balances()["seller_payable"] == balances()["stripe_clearing"] == 0


def test_a_payment_that_is_disputed_before_its_share_was_sent_is_not_passed_on(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    onboarded(archive, stripe)
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.pay(order)
    look(order)
    assert transfer_of(order).state == "sending"
    id = stripe.dispute(order)["id"]
    look(order)

    work()

    assert transfer_of(order).state == "waiting"
    assert stripe.list("/v1/transfers") == []
    stripe.decide(id, "win")
    look(order)
    for _again in range(2):
        work()
    assert transfer_of(order).state == "sent"
    assert [made["amount"] for made in stripe.list("/v1/transfers")] == [50_000]
    assert balances()["seller_payable"] == balances()["stripe_clearing"] == 0


def lose_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the transfer that is due, and lose its answer."""
    of_today = stripe_gateway.transfer

    def lost(params: dict[str, Any], *, key: str) -> TransferFacts:
        of_today(params, key=key)
        raise PaymentProviderUnavailable("The answer was lost.")

    with monkeypatch.context() as patch:
        patch.setattr(stripe_gateway, "transfer", lost)
        work()
    make_due()


# --- invoices ---------------------------------------------------------------------------------


@pytest.mark.parametrize("grants_on", ["issue", pytest.param("payment", marks=pytest.mark.oracle)])
def test_an_invoice_that_somebody_credited_wholly_gives_no_license_for_nothing(
    grants_on: str, archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = ordered_on_invoice(buyer, invoiced_offer(archive, grants_on=grants_on))
    look(order)
    order = order_now(buyer, order)
    assert (order["grant"] is not None) == (grants_on == "issue")

    stripe.post("/v1/credit_notes", {"invoice": invoice_of(order).stripe_id, "amount": 50_000})
    assert at_stripe(stripe, order)["status"] == "paid"
    look(order)

    assert order_now(buyer, order)["status"] == "cancelled"
    assert made_of(order)["claims"] == 0
    assert all(left == 0 for left in balances().values())
    if order["grant"]:
        assert grant_status(order) == "revoked"


# --- keys -------------------------------------------------------------------------------------


def test_a_key_that_an_older_release_used_otherwise_pays_once(
    archive: Organization, buyer: ApiClient, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    onboarded(archive, stripe)
    of_today = stripe_gateway.transfer

    def of_old(params: dict[str, Any], *, key: str) -> TransferFacts:
        of_today({**params, "description": "As it was said before."}, key=key)
        raise PaymentProviderUnavailable("The answer was lost.")

    with monkeypatch.context() as patch:
        patch.setattr(stripe_gateway, "transfer", of_old)
        order = bought(buyer, archive, stripe)
        work()

    with monkeypatch.context() as patch:
        # Not listed yet: then it is neither given up nor sent under another key.
        patch.setattr(stripe_gateway, "find_transfer", lambda _group, _ours: None)
        make_due()
        work()
        assert transfer_of(order).state == "sending"
    make_due()
    work()

    assert transfer_of(order).state == "sent"
    assert len(stripe.list("/v1/transfers")) == 1
    assert balances()["seller_payable"] == balances()["stripe_clearing"] == 0


def test_with_a_key_of_the_other_mode_nothing_is_asked_and_nothing_given_up(
    buyer: ApiClient, seller: ApiClient, order: dict[str, Any], stripe: Stripe, settings: Any
) -> None:
    request_refund(seller, order)
    asked = len(stripe.requests())

    settings.STRIPE_LIVEMODE = True
    work()
    look(order)
    with access.system("read a call in a test"):
        call = Command.objects.get(kind="refund")
    with pytest.raises(PaymentModeUnavailable):
        commands.carry_out(call.pk)

    assert [one["path"] for one in stripe.requests()[asked:] if "events" not in one["path"]] == []
    with access.system("read a call in a test"):
        call.refresh_from_db()
    assert (call.state, call.attempts) == ("pending", 0)

    settings.STRIPE_LIVEMODE = False
    work()
    look(order)
    assert order_now(buyer, order)["status"] == "refunded"


def refuse_to_grant(_order: Order) -> Grant:
    raise RightsTaken("Somebody else has these rights.")
