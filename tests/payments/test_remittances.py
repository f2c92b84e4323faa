"""Remittances: what a seller is owed beside its sales is sent once, after its debts were paid."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast
from urllib.parse import urlencode

import pytest
from django.utils import timezone

from marketplace import access
from marketplace.errors import PaymentProviderRefused
from marketplace.models import Organization
from payments import (
    advances,
    commands,
    connect,
    journal,
    payouts,
    reconcile,
    remittances,
    royalties,
    stripe_gateway,
    sync,
    transfers,
)
from payments.journal import Code, Key
from payments.models import (
    Command,
    ConnectedAccount,
    Journal,
    Mismatch,
    Order,
    Remittance,
    RoyaltyPayment,
)
from payments.stripe_facts import SettledFacts, TransferFacts
from tests.make import make_offer
from tests.payments.buying import balances, order_for
from tests.payments.racing import at_once
from tests.payments.rows import make_connected_row
from tests.payments.royalty_sales import give_back, make_works, person, sell, set_rule
from tests.payments.selling import onboarded
from tests.payments.simulating import Stripe, work
from tests.payments.simulator_account import client_of, session_params
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


class FakeGateway:
    """Stands for Stripe's transfers: a key that was used makes no second one."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, Any]] = {}
        self.refusal: Exception | None = None

    def transfer(self, params: dict[str, Any], *, key: str) -> TransferFacts:
        if self.refusal is not None:
            raise self.refusal
        self.made[key] = params
        amount, currency = params["amount"], params["currency"].upper()
        settled = SettledFacts(f"txn_{key}", currency, amount_minor=-amount, fee_minor=0)
        return TransferFacts(f"tr_{key}", amount, currency, settled)

    @property
    def sent(self) -> list[dict[str, Any]]:
        return list(self.made.values())


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    fake = FakeGateway()
    monkeypatch.setattr(stripe_gateway, "transfer", fake.transfer)
    return fake


def owe(seller: Organization, amount_minor: int, *, currency: str = "USD") -> None:
    """Owe a seller something beside its sales, as if a payout had paid back its advances."""
    move(seller, Code.SELLER_PAYABLE, -amount_minor, currency=currency)


def move(seller: Organization, code: Code, amount_minor: int, *, currency: str = "USD") -> None:
    with access.system("move money in a test"):
        posted = journal.begin(
            seller.pk,
            livemode=False,
            kind=journal.ROYALTY_PAYOUT,
            reference=f"rpo_{os.urandom(8).hex()}",
        )
        lines = {code: amount_minor, Code.ROYALTY_PAYABLE: -amount_minor}
        journal.write(
            posted, [(Key(each, seller.pk, None, currency), minor) for each, minor in lines.items()]
        )


def payable(seller: Organization, **fields: Any) -> None:
    with access.system("open an account in a test"):
        make_connected_row(seller, stripe_id="acct_archive", **{"state": "active", **fields})


def remitted() -> list[tuple[str, int, int]]:
    with access.system("read remittances in a test"):
        rows = Remittance.objects.order_by("pk")
        return [(row.state, row.withheld_minor, row.amount_minor) for row in rows]


def send() -> None:
    remittances.start_due()
    commands.complete_due()


@pytest.fixture
def a_day_later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have the day be over within which a seller is sent one sum: rows cannot be made older."""
    return lambda: monkeypatch.setattr(remittances, "EVERY", timedelta())


def recouped(seller: Organization, buyer: ApiClient, own: ApiClient, stripe: Stripe) -> None:
    """A sale for 500.00, half of which are royalties of Ann and Bob. Of Ann's 125.00, 120.00 pay
    back an advance, and the seller pays her the rest itself."""
    collection = make_works(seller, {"ann": 1, "bob": 1})
    set_rule(seller, collection)
    ann = person(seller, "ann").pk
    body = {"amount_minor": 12_000, "currency": "USD", "reference": "SEPA 1"}
    assert own.post(f"/v1/contributors/{ann}/royalty-advances", body).status_code == 201
    order = order_for(buyer, make_offer(seller, collection=collection, price_minor=50_000))
    stripe.control_pay(stripe.session_of(order))
    with access.system("find an order in a test"):
        pk = Order.objects.get(pk=order["id"]).pk
    sync.sync_order(pk)
    commands.complete_due()
    royalties.allocate_due()
    named = own.post("/v1/royalty-payouts/preview", {"currency": "USD"}).json()
    kept = ("currency", "contributors", "paid_minor", "recouped_minor")
    answer = own.post("/v1/royalty-payouts", {name: named[name] for name in kept})
    assert (answer.status_code, named["recouped_minor"]) == (201, 12_000)
    payouts.write_due()
    with access.system("find a payment in a test"):
        pk = RoyaltyPayment.objects.get(contributor=ann).pk
    path = f"/v1/royalty-payments/{pk}/paid-outside"
    assert own.post(path, {"reference": "SEPA 2"}).status_code == 200


def funded(stripe: Stripe) -> None:
    """Have 595.00 USD on our balance at Stripe, of which nothing is pending."""
    session = client_of(stripe.url).v1.checkout.sessions.create(cast(Any, session_params()))
    stripe.control_pay(session.id)
    stripe.advance(3 * 24 * 3600)


def owed(seller: Organization) -> int:
    with access.system("read what is owed in a test"):
        return -journal.balance_minor(
            Code.SELLER_PAYABLE, organization_id=seller.pk, livemode=False, currency="USD"
        )


# --- through Stripe ---------------------------------------------------------------------------


@pytest.mark.oracle
def test_advances_paid_back_and_royalties_paid_outside_reach_the_seller_once(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    account = onboarded(archive, stripe)
    own = client_for(archive)
    recouped(archive, client_for(lab), own, stripe)
    stripe.advance(3 * 24 * 3600)

    work()
    for _again in range(2):
        send()

    of_sale, of_royalties = sorted(stripe.list("/v1/transfers"), key=lambda one: one["amount"])[
        ::-1
    ]
    assert of_sale["amount"] == 25_000
    with access.system("read it"):
        row = Remittance.objects.get()
    assert (of_royalties["amount"], of_royalties["destination"]) == (12_500, account.stripe_id)
    assert (of_royalties["source_transaction"], of_royalties["transfer_group"]) == (
        None,
        str(row.pk),
    )
    assert (row.state, row.stripe_id) == ("sent", of_royalties["id"])
    [shown] = own.get("/v1/remittances").json()["data"]
    assert (shown["id"], shown["state"], shown["amount_minor"]) == (str(row.pk), "sent", 12_500)
    assert own.get(f"/v1/remittances/{row.pk}").json() == shown
    found = balances()
    assert (found["seller_payable"], found["stripe_clearing"]) == (0, 0)
    # What is left is Bob's, and the seller sees where its money went.
    assert found["stripe_balance"] == 50_000 - 1_480 - 25_000 - 12_500
    asked = {
        "currency": "USD",
        "begins_at": (timezone.now() - timedelta(days=1)).isoformat(),
        "ends_at": (timezone.now() + timedelta(days=1)).isoformat(),
    }
    lines = own.get(f"/v1/statement?{urlencode(asked)}").json()["lines"]
    assert [(one["kind"], one["amount_minor"]) for one in lines][-3:] == [
        ("royalty_payout", 12_000),
        ("royalty_paid_outside", 500),
        ("remittance", -12_500),
    ]
    assert lines[-1]["reference"] == str(row.pk)
    look()
    with access.system("read mismatches"):
        assert not Mismatch.objects.exists()


def test_what_our_balance_does_not_cover_yet_is_owed_still_and_sent_another_day(
    archive: Organization, stripe: Stripe, a_day_later: Callable[[], None]
) -> None:
    onboarded(archive, stripe)
    owe(archive, 12_000)
    for _again in range(2):
        send()
    assert (remitted(), owed(archive)) == ([("returned", 0, 12_000)], 12_000)
    with access.system("read why"):
        assert "balance" in Remittance.objects.get().refusal
        assert not Journal.objects.filter(kind=journal.REMITTANCE).exists()

    funded(stripe)
    a_day_later()
    for _again in range(2):
        send()

    assert remitted() == [("returned", 0, 12_000), ("sent", 0, 12_000)]
    assert owed(archive) == 0


def test_a_lost_answer_sends_one_and_the_reconciler_finds_it(
    archive: Organization, stripe: Stripe
) -> None:
    onboarded(archive, stripe)
    funded(stripe)
    owe(archive, 12_000)
    remittances.start_due()
    stripe.drop_responses(stripe_gateway.RETRIES_MAX + 1)
    commands.complete_due()
    assert remitted() == [("sending", 0, 12_000)]
    # Stripe has it, and the journal has not. Nobody makes the call again before the look.
    with access.system("make it wait"):
        Command.objects.filter(state="pending").update(
            next_attempt_at=timezone.now() + timedelta(hours=1)
        )

    look()

    assert (remitted(), owed(archive)) == ([("sent", 0, 12_000)], 0)
    assert len(stripe.list("/v1/transfers")) == 1


@pytest.mark.oracle
def test_one_whose_key_stripe_forgot_is_found(archive: Organization, stripe: Stripe) -> None:
    onboarded(archive, stripe)
    funded(stripe)
    owe(archive, 12_000)
    remittances.start_due()
    stripe.drop_responses(stripe_gateway.RETRIES_MAX + 1)
    commands.complete_due()
    stripe.advance(25 * 3600)
    with access.system("let a day pass"):
        Command.objects.filter(state="pending").update(
            first_sent_at=timezone.now() - timedelta(hours=25), next_attempt_at=timezone.now()
        )

    commands.complete_due()

    assert remitted() == [("sent", 0, 12_000)]
    assert len(stripe.list("/v1/transfers")) == 1


@pytest.mark.oracle
def test_what_stripe_made_of_one_is_booked_later_where_it_did_not_say_so_at_once(
    archive: Organization, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    onboarded(archive, stripe)
    funded(stripe)
    owe(archive, 12_000)
    whole = stripe_gateway.transfer

    def silent(params: dict[str, Any], *, key: str) -> TransferFacts:
        made = whole(params, key=key)
        return TransferFacts(made.id, made.amount_minor, made.currency)

    monkeypatch.setattr(stripe_gateway, "transfer", silent)
    send()
    assert balances()["stripe_clearing"] == -12_000

    for _again in range(2):
        look()

    assert balances()["stripe_clearing"] == 0


def test_an_account_that_lost_its_capability_is_waited_for(
    archive: Organization, stripe: Stripe, a_day_later: Callable[[], None]
) -> None:
    account = onboarded(archive, stripe)
    owe(archive, 1_000)
    # Before we hear of it.
    stripe.account(str(account.stripe_id), "restrict", requirement="identity.individual.documents")
    a_day_later()

    for _again in range(2):
        send()

    assert remitted() == [("returned", 0, 1_000)]
    assert owed(archive) == 1_000
    assert connect.sync_account(account.pk).state == "restricted"


def look() -> None:
    """Hold Stripe's books of these days against the journal: only what paid for it is foreign."""
    hour = timedelta(hours=1)
    for at in (timezone.now(), timezone.now() + timedelta(days=3)):
        reconcile.check_balance(since=at - hour, until=at + hour)
    with access.system("read mismatches"):
        assert set(Mismatch.objects.values_list("subject_type", flat=True)) <= {"charge"}


# --- what is sent -----------------------------------------------------------------------------


def test_debts_are_paid_first(archive: Organization, gateway: FakeGateway) -> None:
    payable(archive)
    owe(archive, 1_000)
    move(archive, Code.SELLER_RECEIVABLE, 300)

    for _again in range(2):
        send()

    assert [(one["amount"], one["currency"]) for one in gateway.sent] == [(700, "usd")]
    assert remitted() == [("sent", 300, 700)]
    found = balances()
    assert (found["seller_payable"], found["seller_receivable"]) == (0, 0)


def test_all_of_it_may_pay_a_debt(archive: Organization, gateway: FakeGateway) -> None:
    payable(archive)
    owe(archive, 1_000)
    move(archive, Code.SELLER_RECEIVABLE, 1_500)

    for _again in range(2):
        send()

    assert (gateway.sent, remitted()) == ([], [("withheld", 1_000, 0)])
    found = balances()
    assert (found["seller_payable"], found["seller_receivable"]) == (0, 500)


def test_less_than_stripes_minimum_waits_for_more(
    archive: Organization, gateway: FakeGateway
) -> None:
    payable(archive)
    owe(archive, 30)
    owe(archive, 49, currency="EUR")
    send()
    assert (gateway.sent, remitted()) == ([], [])

    owe(archive, 20)
    send()

    assert [(one["amount"], one["currency"]) for one in gateway.sent] == [(50, "usd")]


def test_what_comes_within_a_day_goes_together(
    archive: Organization, gateway: FakeGateway, a_day_later: Callable[[], None]
) -> None:
    payable(archive)
    owe(archive, 1_000)
    send()
    for _more in range(3):
        owe(archive, 100)
        send()
    # Another currency is another sum.
    owe(archive, 2_000, currency="EUR")
    send()
    assert [one["amount"] for one in gateway.sent] == [1_000, 2_000]

    a_day_later()
    send()

    assert [one["amount"] for one in gateway.sent] == [1_000, 2_000, 300]


@pytest.mark.parametrize(
    "fields", [{"state": "pending"}, {"clearance": "refused", "cleared_by": "usr_1"}]
)
def test_who_cannot_be_paid_is_sent_nothing_and_is_owed_still(
    fields: dict[str, str], archive: Organization, gateway: FakeGateway
) -> None:
    payable(archive, **fields)
    owe(archive, 1_000)

    send()

    assert (gateway.sent, remitted(), owed(archive)) == ([], [], 1_000)


def test_in_live_mode_somebody_has_to_have_cleared_the_seller(archive: Organization) -> None:
    payable(archive, livemode=True)
    with access.system("owe in live mode"):
        posted = journal.begin(
            archive.pk, livemode=True, kind=journal.ROYALTY_PAYOUT, reference="rpo_1"
        )
        lines = {Code.SELLER_PAYABLE: -1_000, Code.ROYALTY_PAYABLE: 1_000}
        journal.write(
            posted, [(Key(code, archive.pk, None, "USD"), minor) for code, minor in lines.items()]
        )

    assert remittances.start_due() == 0

    with access.system("clear the seller"):
        archive_account = transfers.Account.objects.get(organization=archive)
        archive_account.clearance, archive_account.cleared_by = "cleared", "usr_1"
        archive_account.save(update_fields=["clearance", "cleared_by"])
    assert remittances.start_due() == 1


def test_a_sales_own_share_is_left_to_its_transfer(
    archive: Organization, lab: Organization, client_for: ClientFor, gateway: FakeGateway
) -> None:
    sold = sell(lab, make_offer(archive, price_minor=50_000))
    assert owed(archive) == 50_000
    payable(archive)
    owe(archive, 1_000)
    # Of the sale's royalties a part may pay back what the seller advanced.
    with access.system("share out in a test"):
        lines = [
            journal.Line(Code.SELLER_PAYABLE, -500, archive.pk),
            journal.Line(Code.ROYALTY_POOL, 500, archive.pk),
        ]
        journal.post(sold, journal.ROYALTIES, lines, reference="ral_1")

    send()

    assert [one["amount"] for one in gateway.sent] == [1_500]
    assert owed(archive) == 50_000


def test_a_seller_who_is_refused_meanwhile_is_sent_nothing_and_is_owed_still(
    archive: Organization, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    payable(archive)
    owe(archive, 1_000)
    remittances.start_due()
    with access.system("refuse in a test"):
        account = ConnectedAccount.objects.get()
        account.clearance, account.cleared_by = "refused", "usr_1"
        account.save(update_fields=["clearance", "cleared_by"])
    monkeypatch.setattr(stripe_gateway, "find_transfer", lambda *_named: None)

    commands.complete_due()

    assert (gateway.sent, remitted(), owed(archive)) == ([], [("returned", 0, 1_000)], 1_000)


# --- at once ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_eight_workers_at_once_withhold_and_send_once(
    archive: Organization, gateway: FakeGateway
) -> None:
    """Seen to fail without `lock_debts`."""
    payable(archive)
    owe(archive, 1_000)
    move(archive, Code.SELLER_RECEIVABLE, 5_000)
    owe(archive, 2_000, currency="EUR")

    results = at_once(*[send] * 8)

    assert results == [None] * 8
    assert sorted(remitted()) == [("sent", 0, 2_000), ("withheld", 1_000, 0)]
    assert [one["amount"] for one in gateway.sent] == [2_000]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("refusal", [None, PaymentProviderRefused("No such account.")])
def test_what_ends_while_another_begins_is_not_sent_twice(
    refusal: Exception | None,
    archive: Organization,
    gateway: FakeGateway,
    a_day_later: Callable[[], None],
) -> None:
    payable(archive)
    owe(archive, 1_000)
    remittances.start_due()
    a_day_later()
    gateway.refusal = refusal

    at_once(*[commands.complete_due] * 2, *[remittances.start_due] * 6)
    gateway.refusal = None
    for _again in range(2):
        send()

    sent = [amount for state, _withheld, amount in remitted() if state == "sent"]
    assert (sum(sent), owed(archive)) == (1_000, 0)


def test_what_a_pool_paid_back_of_an_advance_on_its_collection_is_sent(
    archive: Organization, lab: Organization, gateway: FakeGateway, a_day_later: Callable[[], None]
) -> None:
    a_day_later()
    collection = make_works(archive, {"ann": 1})
    set_rule(archive, collection, basis_points=10_000)
    offer = make_offer(archive, collection=collection)
    advances.give(
        caller_for(archive),
        str(collection.pk),
        amount_minor=10_000,
        currency="USD",
        reference="SEPA 1",
    )
    payable(archive)

    first = sell(lab, offer, price_minor=4_000)
    royalties.allocate_due()
    send()

    assert remitted() == [("sent", 0, 4_000)]
    # What goes back of the sale opens the advance again: the next sale's part is kept for it.
    give_back(first, 1_000, cause="a refund")
    royalties.allocate_due()
    sell(lab, offer, price_minor=3_000)
    royalties.allocate_due()
    send()
    assert remitted() == [("sent", 0, 4_000), ("sent", 0, 2_000)]
    assert balances().get("seller_payable", 0) == 0


def owing(seller: Organization) -> int:
    with access.system("read what is owed in a test"):
        return transfers.owed_minor(seller.pk, livemode=False, currency="USD")


def test_what_goes_back_after_it_was_sent_is_a_debt_that_later_sales_pay(
    archive: Organization, lab: Organization, gateway: FakeGateway, client_for: ClientFor
) -> None:
    collection = make_works(archive, {"ann": 1})
    set_rule(archive, collection, basis_points=5_000)
    offer = make_offer(archive, collection=collection)
    advances.give(
        caller_for(archive),
        str(collection.pk),
        amount_minor=10_000,
        currency="USD",
        reference="SEPA 1",
    )
    payable(archive)
    first = sell(lab, offer, price_minor=8_000)
    royalties.allocate_due()
    send()
    assert remitted() == [("sent", 0, 4_000)]

    # Of the sale's own share nothing was sent: what goes back of it is no debt.
    give_back(first, 2_000, cause="a refund")
    royalties.allocate_due()
    for _again in range(2):
        send()

    # 10.00 of the advance are open again, which the seller was sent.
    assert (owing(archive), remitted()) == (1_000, [("sent", 0, 4_000)])
    with access.system("read a debt"):
        [posted] = Journal.objects.filter(kind=journal.OWED)
        assert posted.order_id is None
        assert timezone.now() - posted.occurred_at < timedelta(minutes=5)
    [shown] = client_for(archive).get("/v1/balances").json()["data"]
    assert (shown["owed_to_you_minor"], shown["you_owe_minor"]) == (3_000, 1_000)

    second = sell(lab, offer, price_minor=8_000)
    with access.system("settle in a test"):
        Order.objects.filter(pk=second.pk).update(
            charge="ch_2", settled_minor=8_000, settled_currency="USD", settled_fee_minor=0
        )
        transfers.plan(Order.objects.select_for_update().get(pk=second.pk))
    commands.complete_due()

    assert owing(archive) == 0
    assert [one["amount"] for one in gateway.sent] == [4_000, 4_000 - 1_000]


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_have_a_seller_owe_once(
    archive: Organization, gateway: FakeGateway
) -> None:
    """Seen to fail without `transfers.lock_debts` in `remittances.owe_back`."""
    payable(archive)
    owe(archive, -1_000)

    results = at_once(*[remittances.owe_back] * 4, *[remittances.start_due] * 4)

    assert [each for each in results if isinstance(each, Exception)] == []
    assert (owing(archive), owed(archive), remitted()) == (1_000, 0, [])
