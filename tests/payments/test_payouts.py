"""Payouts to contributors: previewed, confirmed, sent or paid outside; statements that add up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from marketplace import access
from marketplace.errors import PaymentProviderRefused
from marketplace.models import Organization
from marketplace.typeid import TypeID
from payments import (
    commands,
    journal,
    payouts,
    royalties,
    royalty_payments,
    royalty_shares,
    stripe_gateway,
)
from payments.models import (
    Command,
    ConnectedAccount,
    Journal,
    Order,
    RoyaltyAdvance,
    RoyaltyPayment,
    RoyaltyPayout,
)
from payments.royalty_shares import MICRO_IN_MINOR, Cut
from payments.stripe_facts import SettledFacts, TransferFacts
from tests.make import make_offer
from tests.payments.buying import balances
from tests.payments.royalty_sales import give_back, make_works, person, sell, set_rule
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
M = MICRO_IN_MINOR
ClientFor = Callable[..., ApiClient]


class Market:
    """A seller whose works are by Ann and Bob in equal parts, and who owes them royalties."""

    def __init__(self, seller: Organization, buyer: Organization, client: ApiClient) -> None:
        self.seller, self.buyer, self.client = seller, buyer, client
        self.collection = make_works(seller, {"ann": 1, "bob": 1, "": 1})
        self.offer: Any = None

    def sold(self, price_minor: int = 30_000, **rule: Any) -> Order:
        set_rule(self.seller, self.collection, **{"basis_points": 10_000, **rule})
        self.offer = self.offer or make_offer(self.seller, collection=self.collection)
        order = sell(self.buyer, self.offer, price_minor=price_minor)
        royalties.allocate_due()
        return order

    def preview(self) -> dict[str, Any]:
        answer = self.client.post("/v1/royalty-payouts/preview", {"currency": "USD"})
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found

    def payable(self) -> dict[str, tuple[int, int]]:
        names = {str(person(self.seller, name).pk): name for name in ("ann", "bob")}
        return {
            names[each["contributor"]]: (each["amount_minor"], each["recouped_minor"])
            for each in self.preview()["largest"]
        }

    def confirm(self, **changed: Any) -> Any:
        named = {
            name: value
            for name, value in self.preview().items()
            if name in {"currency", "contributors", "paid_minor", "recouped_minor"}
        }
        answer = self.client.post("/v1/royalty-payouts", {**named, **changed})
        payouts.write_due()
        return answer

    def statement(self, name: str, **asked: str) -> dict[str, Any]:
        query = "&".join(f"{key}={value}" for key, value in {"currency": "USD", **asked}.items())
        pk = person(self.seller, name).pk
        answer = self.client.get(f"/v1/contributors/{pk}/royalty-statement?{query}")
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found

    def payment(self, name: str) -> RoyaltyPayment:
        with access.system("read in a test"):
            return RoyaltyPayment.objects.filter(contributor=person(self.seller, name)).latest(
                "created_at"
            )

    def account(self, name: str) -> ConnectedAccount:
        with access.system("open an account in a test"):
            return ConnectedAccount.objects.create(
                organization=self.seller,
                livemode=False,
                contributor=person(self.seller, name),
                country="DE",
                stripe_id=f"acct_{name}",
                state="active",
            )


@pytest.fixture
def market(archive: Organization, lab: Organization, client_for: ClientFor) -> Market:
    return Market(archive, lab, client_for(archive))


class FakeGateway:
    """Stands for Stripe's transfers."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.refusal: Exception | None = None

    def transfer(self, params: dict[str, Any], *, key: str) -> TransferFacts:
        self.sent.append(params)
        if self.refusal is not None:
            raise self.refusal
        amount = params["amount"]
        settled = SettledFacts(f"txn_{key}", "USD", amount_minor=-amount, fee_minor=0)
        return TransferFacts(f"tr_{key}", amount, "USD", settled)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    fake = FakeGateway()
    monkeypatch.setattr(stripe_gateway, "transfer", fake.transfer)
    return fake


def test_a_payout_owes_each_what_the_preview_said(market: Market) -> None:
    market.sold(30_001)
    assert market.preview() | {"largest": None} == {
        "object": "royalty_payout_preview",
        "currency": "USD",
        "contributors": 2,
        "paid_minor": 20_000,
        "recouped_minor": 0,
        "largest": None,
    }

    answer = market.confirm()

    assert answer.status_code == 201, answer.content
    assert answer.json()["paid_minor"] == 20_000
    # A third of a cent each stays accrued; the part of nobody known stays where it is.
    assert balances() == {
        "stripe_clearing": 30_001,
        "buyer_receivable": 0,
        "royalty_pool": 0,
        "royalty_payable": -10_001,
        "contributor_payable": -20_000,
    }
    assert market.payable() == {}
    closing = market.statement("ann")["closing_micro"]
    assert closing in {333_333, 333_334}


def test_what_is_left_of_a_minor_unit_is_carried_on(market: Market) -> None:
    for _sale in range(3):
        market.sold(30_001)
        market.confirm()

    paid = [row["paid_minor"] for row in market.client.get("/v1/royalty-payouts").json()["data"]]
    # After three sales, three thirds are a cent, or a millionth less.
    assert paid[1:] == [20_000, 20_000]
    assert paid[0] in {20_000, 20_001, 20_002}
    with access.system("add up in a test"):
        for name in ("ann", "bob"):
            owed = market.statement(name)["closing_micro"]
            assert 0 <= owed <= M


def test_a_payout_that_is_not_what_was_previewed_is_refused(market: Market) -> None:
    market.sold()
    named = market.preview()
    market.sold()

    answer = market.client.post(
        "/v1/royalty-payouts",
        {
            name: named[name]
            for name in ("currency", "contributors", "paid_minor", "recouped_minor")
        },
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "royalty_payout_changed")
    assert answer.json()["paid_minor"] == 40_000
    with access.system("count in a test"):
        assert not RoyaltyPayout.objects.exists()
        assert not Journal.objects.filter(kind=journal.ROYALTY_PAYOUT).exists()


def test_nothing_to_pay_is_no_payout(market: Market) -> None:
    answer = market.client.post(
        "/v1/royalty-payouts",
        {"currency": "USD", "contributors": 1, "paid_minor": 0, "recouped_minor": 0},
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "royalty_payout_changed")


def test_the_same_request_twice_pays_once(market: Market) -> None:
    market.sold()
    body = {"currency": "USD", "contributors": 2, "paid_minor": 20_000, "recouped_minor": 0}

    answers = [
        market.client.post("/v1/royalty-payouts", body, Idempotency_Key="one") for _again in "ab"
    ]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    payouts.write_due()
    with access.system("count in a test"):
        assert RoyaltyPayment.objects.count() == 2


def test_a_payout_answers_at_once_and_says_how_far_it_is(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payouts, "BATCH", 1)
    market.sold()
    body = {"currency": "USD", "contributors": 2, "paid_minor": 20_000, "recouped_minor": 0}

    begun = market.client.post("/v1/royalty-payouts", body)

    path = f"/v1/royalty-payouts/{begun.json()['id']}"
    assert (begun.status_code, begun["Location"]) == (201, path)
    id = TypeID.parse("rpo", begun.json()["id"])
    seen = [begun.json()]
    while payouts.step(id):
        seen.append(market.client.get(path).json())
    assert [(each["state"], each["written"]) for each in seen] == [
        ("running", 0),
        ("running", 1),
        ("running", 2),
    ]
    done = market.client.get(path).json()
    assert (done["state"], done["written"], done["done_at"] is None) == ("done", 2, False)
    assert not payouts.step(id)
    assert balances()["contributor_payable"] == -20_000


def test_another_payout_waits_until_the_first_is_written(market: Market) -> None:
    market.sold()
    body = {"currency": "USD", "contributors": 2, "paid_minor": 20_000, "recouped_minor": 0}
    market.client.post("/v1/royalty-payouts", body)

    refused = [
        market.client.post("/v1/royalty-payouts", body),
        market.client.post("/v1/royalty-payouts/preview", {"currency": "USD"}),
    ]

    assert [(one.status_code, one.json()["code"]) for one in refused] == [
        (409, "royalty_payout_running")
    ] * 2
    with access.system("count in a test"):
        assert RoyaltyPayout.objects.count() == 1
    other = market.client.post("/v1/royalty-payouts/preview", {"currency": "EUR"})
    assert (other.status_code, other.json()["contributors"]) == (200, 0)


def test_less_than_the_minimum_waits_for_more(market: Market) -> None:
    market.sold(minimum_minor={"USD": 15_000})
    assert market.preview()["contributors"] == 0

    market.sold(minimum_minor={"USD": 15_000})

    assert market.payable() == {"ann": (20_000, 0), "bob": (20_000, 0)}


def test_a_disputed_sale_is_held_where_its_rule_says_so(market: Market) -> None:
    held, other = market.sold(), market.sold(holds_while_disputed=False)
    with access.system("dispute in a test"):
        Order.objects.filter(pk__in=[held.pk, other.pk]).update(
            status="disputed", refusal="rights_taken"
        )

    assert market.payable() == {"ann": (10_000, 0), "bob": (10_000, 0)}
    assert market.statement("ann")["held_micro"] == 10_000 * M

    with access.system("win the dispute in a test"):
        Order.objects.filter(pk=held.pk).update(status="dispute_won")
    assert market.payable() == {"ann": (20_000, 0), "bob": (20_000, 0)}
    assert market.statement("ann")["held_micro"] == 0


def test_what_is_about_to_be_taken_back_is_not_paid_out(market: Market) -> None:
    order = market.sold()

    give_back(order, 15_000, cause="rfd_1")

    assert market.payable() == {}
    royalties.allocate_due()
    assert market.payable() == {"ann": (5_000, 0), "bob": (5_000, 0)}


def test_what_was_paid_and_is_taken_back_is_set_against_later_sales(market: Market) -> None:
    order = market.sold()
    market.confirm()
    give_back(order, 30_000, cause="rfd_1")
    royalties.allocate_due()
    assert market.statement("ann")["closing_micro"] == -10_000 * M
    assert market.payable() == {}

    market.sold(36_000)

    assert market.payable() == {"ann": (2_000, 0), "bob": (2_000, 0)}


def test_an_advance_is_paid_back_first(market: Market) -> None:
    ann = person(market.seller, "ann").pk
    body = {"amount_minor": 12_000, "currency": "USD", "reference": "SEPA 1"}
    advances = [
        market.client.post(f"/v1/contributors/{ann}/royalty-advances", body) for _again in "ab"
    ]
    assert [answer.status_code for answer in advances] == [201, 201]
    assert advances[0].json()["id"] == advances[1].json()["id"]
    market.sold()
    assert market.payable() == {"ann": (0, 10_000), "bob": (10_000, 0)}

    assert market.confirm().status_code == 201
    market.sold()

    assert market.payable() == {"ann": (8_000, 2_000), "bob": (10_000, 0)}
    assert market.confirm().status_code == 201
    statement = market.statement("ann")
    assert (statement["recouped_minor"], statement["paid_minor"]) == (12_000, 8_000)
    assert (statement["advances_open_minor"], statement["closing_micro"]) == (0, 0)
    # The seller had paid it: it is the seller's now.
    assert balances()["seller_payable"] == -12_000


def test_another_advance_under_the_same_reference_is_refused(market: Market) -> None:
    ann = person(market.seller, "ann").pk
    path = f"/v1/contributors/{ann}/royalty-advances"
    body = {"amount_minor": 12_000, "currency": "USD", "reference": "SEPA 1"}
    market.client.post(path, body)

    answer = market.client.post(path, {**body, "amount_minor": 1})

    assert (answer.status_code, answer.json()["param"]) == (422, "reference")
    with access.system("count in a test"):
        assert RoyaltyAdvance.objects.get().amount_minor == 12_000


def test_who_has_an_account_is_sent_the_money_once(market: Market, gateway: FakeGateway) -> None:
    market.sold()
    market.account("ann")
    market.confirm()

    assert royalty_payments.send_due() == 1
    assert royalty_payments.send_due() == 0
    for _again in range(2):
        commands.complete_due()

    payment = market.payment("ann")
    [sent] = gateway.sent
    assert sent == {
        "amount": 10_000,
        "currency": "usd",
        "destination": "acct_ann",
        "transfer_group": str(payment.pk),
        "metadata": {"licet": str(payment.pk)},
    }
    assert payment.state == "paid"
    assert market.payment("bob").state == "due"
    found = balances()
    assert found["contributor_payable"] == -10_000
    # What was under way at Stripe is back at what the buyer's payment is.
    assert (found["stripe_clearing"], found["stripe_balance"]) == (30_000, -10_000)


def test_what_stripe_refuses_is_owed_again(market: Market, gateway: FakeGateway) -> None:
    market.sold()
    market.account("ann")
    market.confirm()
    gateway.refusal = PaymentProviderRefused("No such account.")

    royalty_payments.send_due()
    commands.complete_due()

    payment = market.payment("ann")
    assert (payment.state, payment.refusal) == ("returned", "No such account.")
    assert market.payable() == {"ann": (10_000, 0)}
    statement = market.statement("ann")
    assert (statement["returned_minor"], statement["closing_micro"]) == (10_000, 10_000 * M)
    assert balances()["royalty_payable"] == -20_000
    gateway.refusal = None
    market.confirm()
    royalty_payments.send_due()
    commands.complete_due()
    assert market.payment("ann").state == "paid"


def test_an_account_that_was_refused_is_sent_nothing(market: Market, gateway: FakeGateway) -> None:
    market.sold()
    account = market.account("ann")
    with access.system("refuse in a test"):
        account.clearance, account.cleared_by = "refused", "usr_1"
        account.save(update_fields=["clearance", "cleared_by"])
    market.confirm()

    assert royalty_payments.send_due() == 0

    assert market.payment("ann").state == "due"
    with access.system("count in a test"):
        assert not Command.objects.filter(kind="royalty_transfer").exists()


def test_a_payment_outside_is_recorded_once(market: Market) -> None:
    market.sold()
    market.confirm()
    path = f"/v1/royalty-payments/{market.payment('bob').pk}/paid-outside"

    first = market.client.post(path, {"reference": "SEPA 2"})
    again = market.client.post(path, {"reference": "SEPA 2"})
    other = market.client.post(path, {"reference": "SEPA 3"})

    assert (first.status_code, first.json()["state"]) == (200, "paid")
    assert again.json() == first.json()
    assert (other.status_code, other.json()["code"]) == (409, "royalty_payment_wrong_state")
    found = balances()
    # The seller paid it: the market owes it to the seller.
    assert (found["contributor_payable"], found["seller_payable"]) == (-10_000, -10_000)


def test_each_line_of_a_statement_can_be_computed_again(market: Market) -> None:
    order = market.sold(10_001)
    market.sold(777)
    give_back(order, 5_003, cause="rfd_1")
    royalties.allocate_due()

    ann = person(market.seller, "ann").pk
    statement = market.statement("ann")

    assert [line["pool_minor"] for line in statement["lines"]] == [10_001, 777, -5_003]
    for line in statement["lines"]:
        assert again(line, ann) == line["amount_micro"]
    assert statement["accrued_micro"] == sum(line["amount_micro"] for line in statement["lines"])
    assert statement["closing_micro"] == statement["opening_micro"] + statement["accrued_micro"]


def again(line: dict[str, Any], contributor: TypeID) -> int:
    """A line's amount, from nothing but the line."""
    before = line["kept_before_minor"] * M

    def share(amount: int, which: str) -> int:
        remainder, last = line[f"cut_{which}_remainder"], line[f"cut_{which}_hash"]
        cut = None if remainder is None else Cut(int(remainder), bytes.fromhex(last))
        return royalty_shares.share(
            amount,
            line["weight"],
            line["total_weight"],
            cut,
            tie=TypeID.parse("ral", line["tie"]),
            contributor=contributor,
        )

    return share(before + line["pool_minor"] * M, "after") - share(before, "before")


def test_a_period_begins_with_what_the_last_one_ended_with(market: Market) -> None:
    market.sold()
    market.confirm()
    middle = market.statement("ann")["ends_at"]
    market.sold()

    first = market.statement("ann", to=middle)
    second = market.statement("ann", **{"from": middle})

    assert (first["opening_micro"], first["accrued_micro"]) == (0, 10_000 * M)
    assert (first["paid_minor"], first["closing_micro"]) == (10_000, 0)
    assert second["opening_micro"] == first["closing_micro"]
    assert (second["accrued_micro"], second["closing_micro"]) == (10_000 * M, 10_000 * M)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("", "currency"),
        ("currency=USD&from=yesterday", "from"),
        ("currency=USD&from=2026-01-01T00:00:00Z&to=2025-01-01T00:00:00Z", "to"),
    ],
)
def test_a_statement_of_no_period_is_refused(query: str, param: str, market: Market) -> None:
    ann = person(market.seller, "ann").pk
    answer = market.client.get(f"/v1/contributors/{ann}/royalty-statement?{query}")

    assert (answer.status_code, answer.json()["param"]) == (422, param)
