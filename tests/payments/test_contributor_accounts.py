"""Contributors with accounts: opened for them, completed by them without a login, and paid."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from marketplace import access, contributors
from marketplace.models import Contributor, Organization, User
from payments import commands, connect, payouts, royalty_payments, stripe_gateway
from payments.models import Command, ConnectedAccount, RoyaltyPayment
from payments.stripe_facts import AccountFacts
from tests.make import make_offer
from tests.payments.buying import balances, order_for
from tests.payments.royalty_sales import make_works, person, set_rule
from tests.payments.simulating import Stripe, work
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
GERMANY = {"country": "DE"}


@pytest.fixture
def seller(archive: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(archive)


@pytest.fixture
def ann(archive: Organization) -> Contributor:
    return contributors.add(
        caller_for(archive), external_id="ann", name="Ann Writer", email="ann@example.org"
    )


def path(of: Contributor) -> str:
    return f"/v1/contributors/{of.pk}/payout-account"


def accounts() -> int:
    with access.system("count in a test"):
        return ConnectedAccount.objects.count()


def test_an_account_is_opened_once_and_stripe_hears_nothing_of_the_person(
    seller: ApiClient, ann: Contributor, stripe: Stripe
) -> None:
    answers = [seller.post(path(ann), GERMANY) for _again in "ab"]

    assert [answer.status_code for answer in answers] == [200, 200]
    account = answers[0].json()
    assert answers[1].json()["id"] == account["id"]
    assert (account["contributor"], account["country"]) == (str(ann.pk), "DE")
    assert account["state"] == "onboarding"
    assert "A bank account" in {each["in_words"] for each in account["requirements"]}
    [asked] = stripe.posts("/v2/core/accounts")
    assert "Ann" not in str(asked["params"])
    assert "ann@" not in str(asked["params"])
    assert seller.get(path(ann)).json()["id"] == account["id"]
    # The seller's own is another one.
    assert seller.get("/v1/payout-account").status_code == 404


def test_who_was_handed_the_link_completes_the_account_without_a_login(
    seller: ApiClient, ann: Contributor, stripe: Stripe
) -> None:
    seller.post(path(ann), GERMANY)
    lasting = urlsplit(seller.post(f"{path(ann)}/links").json()["lasting_url"]).path

    page = Client().get(lasting)
    assert page.status_code == 302
    assert page["Location"].startswith(f"{stripe.url}/onboard/")
    complete_on_the_page(page["Location"])

    # Led back, and by the old address too: it no longer leads to where a bank can be changed.
    done = Client().get(lasting)
    assert (done.status_code, urlsplit(done["Location"]).path) == (
        302,
        lasting.replace("/again/", "/return/"),
    )
    assert "You can be paid" in Client().get(done["Location"]).content.decode()
    assert seller.get(path(ann)).json()["state"] == "active"
    assert Client().get(lasting[:-1] + "!").status_code == 404


def complete_on_the_page(link: str) -> None:
    """Tell Stripe everything, as a person would on its page."""
    data = urllib.parse.urlencode({"action": "complete"}).encode()

    class Stay(urllib.request.HTTPRedirectHandler):
        """Back to the market leads to where no server of a test listens."""

        def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
            return None

    opener = urllib.request.build_opener(Stay)
    with opener.open(link, timeout=10):
        pass
    with pytest.raises(urllib.error.HTTPError) as led_back:
        opener.open(link, data=data, timeout=10)
    assert led_back.value.code in {302, 303}
    led_back.value.close()


def test_capability_changes_of_a_contributors_account_are_followed(
    archive: Organization, seller: ApiClient, ann: Contributor, stripe: Stripe
) -> None:
    account = active(archive, ann, stripe)
    stripe.account(str(account.stripe_id), "restrict", requirement="identity.individual.documents")
    stripe.wait_for("v2.core.account[requirements].updated")
    stripe.deliver()
    work()

    stands = seller.get(path(ann)).json()

    assert stands["state"] == "restricted"
    asked = [each["in_words"] for each in stands["requirements"]]
    assert asked == ["A document that shows who you are"]


def active(seller: Organization, of: Contributor, stripe: Stripe) -> ConnectedAccount:
    """An account that a contributor is paid with."""
    account = connect.open_for(caller_for(seller), str(of.pk), country="DE")
    stripe.account(str(account.stripe_id), "complete")
    return connect.sync_account(account.pk)


def test_an_erased_contributor_gets_no_account_and_no_link(
    archive: Organization, seller: ApiClient, ann: Contributor, stripe: Stripe
) -> None:
    bob = contributors.add(caller_for(archive), external_id="bob")
    seller.post(path(bob), GERMANY)
    lasting = urlsplit(seller.post(f"{path(bob)}/links").json()["lasting_url"]).path
    for each in (ann, bob):
        contributors.erase(caller_for(archive), str(each.pk))

    refused = [
        seller.post(path(ann), GERMANY),
        seller.post(path(bob), GERMANY),
        seller.post(f"{path(bob)}/links"),
    ]

    assert [(one.status_code, one.json()["code"]) for one in refused] == [
        (409, "contributor_erased")
    ] * 3
    assert Client().get(lasting).status_code == 404
    # What was opened before stays: erasing a person ends no debt.
    assert seller.get(path(bob)).json()["contributor"] == str(bob.pk)
    assert accounts() == 1


def test_a_contributor_in_another_region_is_refused_with_the_reason(
    seller: ApiClient, ann: Contributor, stripe: Stripe
) -> None:
    refused = seller.post(path(ann), {"country": "BR"})

    assert (refused.status_code, refused.json()["code"]) == (409, "region_not_supported")
    assert seller.post(path(ann), {}).json()["param"] == "country"
    assert accounts() == 0
    assert stripe.posts("/v2/core/accounts") == []


def test_accounts_are_listed_page_by_page_and_by_state(
    archive: Organization, seller: ApiClient, ann: Contributor, stripe: Stripe
) -> None:
    bob = contributors.add(caller_for(archive), external_id="bob")
    connect.open(caller_for(archive), country="US")
    active(archive, ann, stripe)
    seller.post(path(bob), GERMANY)

    whole = seller.get("/v1/payout-accounts").json()["data"]
    first = seller.get("/v1/payout-accounts?limit=2").json()
    rest = seller.get(f"/v1/payout-accounts?limit=2&cursor={first['next_cursor']}").json()
    ready = seller.get("/v1/payout-accounts?state=active").json()["data"]

    assert [each["contributor"] for each in whole] == [str(bob.pk), str(ann.pk), None]
    assert first["data"] + rest["data"] == whole
    assert [each["contributor"] for each in ready] == [str(ann.pk)]
    assert seller.get("/v1/payout-accounts?state=rich").json()["param"] == "state"


def test_in_live_mode_a_contributor_waits_for_clearance_of_its_own(
    archive: Organization, ann: Contributor, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STRIPE_LIVEMODE = True
    settings.SCREENING = "tests.payments.test_contributor_accounts.screened"
    facts = AccountFacts("acct_1", "DE", "active", False, ())
    monkeypatch.setattr(stripe_gateway, "retrieve_account", lambda _id: facts)
    with access.system("accounts in live mode"):
        of_ann, own = (
            ConnectedAccount.objects.create(
                organization=archive,
                livemode=True,
                contributor=of,
                country="DE",
                stripe_id=stripe_id,
            )
            for of, stripe_id in ((ann, "acct_1"), (None, "acct_2"))
        )

    assert connect.sync_account(own.pk).clearance == "none"
    assert connect.sync_account(of_ann.pk).clearance == "cleared"


def screened(party: Organization | Contributor) -> bool | None:
    """A screening that knows Ann, and not whom she writes for."""
    return True if isinstance(party, Contributor) and party.identity.name == "Ann Writer" else None


def test_the_contributors_of_others_are_not_there(
    ann: Contributor, stranger: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    outsider = client_for(stranger)

    answers = [
        outsider.get(path(ann)),
        outsider.post(path(ann), GERMANY),
        outsider.post(f"{path(ann)}/links"),
    ]

    assert [answer.status_code for answer in answers] == [404] * 3
    assert accounts() == 0


# --- from the sale to the account -------------------------------------------------------------


class Payroll:
    """A sale that a buyer really paid, its royalties shared out: Ann and Bob are owed 250.00 each.

    Ann has an account.
    """

    def __init__(
        self, seller: Organization, api: ApiClient, buyer: ApiClient, stripe: Stripe
    ) -> None:
        self.seller, self.api, self.stripe = seller, api, stripe
        collection = make_works(seller, {"ann": 1, "bob": 1})
        set_rule(seller, collection, basis_points=10_000)
        order = order_for(buyer, make_offer(seller, collection=collection, price_minor=50_000))
        stripe.pay(order)
        stripe.deliver()
        work()
        self.ann, self.bob = person(seller, "ann"), person(seller, "bob")
        self.account = active(seller, self.ann, stripe)

    def confirm(self) -> None:
        named = self.api.post("/v1/royalty-payouts/preview", {"currency": "USD"}).json()
        names = ("currency", "contributors", "paid_minor", "recouped_minor")
        answer = self.api.post("/v1/royalty-payouts", {name: named[name] for name in names})
        assert answer.status_code == 201, answer.content
        payouts.write_due()
        royalty_payments.send_due()

    def send(self) -> None:
        """Make the calls that are due, now."""
        with access.system("let the time pass in a test"):
            Command.objects.filter(state="pending").update(next_attempt_at=timezone.now())
        commands.complete_due()

    def payment(self, of: Contributor) -> RoyaltyPayment:
        with access.system("read in a test"):
            return RoyaltyPayment.objects.filter(contributor=of).latest("created_at")

    def statement(self, of: Contributor) -> dict[str, Any]:
        asked = f"/v1/contributors/{of.pk}/royalty-statement?currency=USD"
        found: dict[str, Any] = self.api.get(asked).json()
        return found

    def transfers(self) -> list[dict[str, Any]]:
        return self.stripe.list("/v1/transfers")


@pytest.fixture
def payroll(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> Payroll:
    return Payroll(archive, client_for(archive), client_for(lab), stripe)


def test_a_contributor_with_an_account_is_paid_by_one_transfer(payroll: Payroll) -> None:
    payroll.stripe.make_available()
    payroll.confirm()
    for _again in range(2):
        payroll.send()
        royalty_payments.send_due()

    [made] = payroll.transfers()
    payment = payroll.payment(payroll.ann)
    assert (made["amount"], made["destination"]) == (25_000, payroll.account.stripe_id)
    assert (payment.state, payment.stripe_id) == ("paid", made["id"])
    # Bob has no account: he waits to be paid outside.
    assert payroll.payment(payroll.bob).state == "due"
    found_ = balances()
    assert found_["contributor_payable"] == -25_000
    assert (found_["stripe_clearing"], found_["royalty_pool"]) == (0, 0)
    said = payroll.statement(payroll.ann)
    assert (said["paid_minor"], said["returned_minor"], said["closing_micro"]) == (25_000, 0, 0)


def test_a_transfer_that_stripe_refuses_is_owed_again_and_paid_by_the_next_payout(
    payroll: Payroll,
) -> None:
    payroll.stripe.make_available()
    payroll.confirm()
    account = str(payroll.account.stripe_id)
    payroll.stripe.account(account, "restrict", requirement="identity.individual.documents")

    payroll.send()

    assert payroll.payment(payroll.ann).state == "returned"
    assert payroll.transfers() == []
    assert balances()["contributor_payable"] == -25_000
    said = payroll.statement(payroll.ann)
    assert (said["returned_minor"], said["closing_micro"]) == (25_000, 25_000 * 1_000_000)
    # Nothing more is sent there until Stripe says that it can be.
    assert connect.of_contributor(caller_for(payroll.seller), str(payroll.ann.pk)).state == (
        "restricted"
    )

    payroll.stripe.account(account, "complete")
    connect.sync_account(payroll.account.pk)
    payroll.confirm()
    payroll.send()

    assert [one["amount"] for one in payroll.transfers()] == [25_000]
    assert payroll.statement(payroll.ann)["closing_micro"] == 0


@pytest.mark.oracle
def test_what_our_balance_at_stripe_does_not_cover_yet_is_sent_later(payroll: Payroll) -> None:
    payroll.confirm()
    payroll.send()

    waiting = payroll.payment(payroll.ann)
    assert (waiting.state, payroll.transfers()) == ("due", [])
    assert waiting.waits_until is not None
    assert royalty_payments.send_due() == 0

    payroll.stripe.make_available()
    with access.system("let an hour pass"):
        RoyaltyPayment.objects.update(waits_until=timezone.now() - timedelta(seconds=1))
    assert royalty_payments.send_due() == 1
    payroll.send()

    assert payroll.payment(payroll.ann).state == "paid"
    assert [one["amount"] for one in payroll.transfers()] == [25_000]
    assert payroll.statement(payroll.ann)["returned_minor"] == 0


@pytest.mark.oracle
@pytest.mark.parametrize("is_a_day_ago", [False, True])
def test_a_lost_reply_leaves_exactly_one_transfer(is_a_day_ago: bool, payroll: Payroll) -> None:
    payroll.stripe.make_available()
    payroll.confirm()
    payroll.stripe.lose("/v1/transfers", stripe_gateway.RETRIES_MAX + 1)
    payroll.send()
    assert payroll.payment(payroll.ann).state == "sending"
    assert len(payroll.transfers()) == 1
    if is_a_day_ago:
        payroll.stripe.forget_keys()
        with access.system("let a day pass"):
            Command.objects.update(first_sent_at=timezone.now() - timedelta(hours=25))

    payroll.send()

    [made] = payroll.transfers()
    payment = payroll.payment(payroll.ann)
    assert (payment.state, payment.stripe_id) == ("paid", made["id"])
    assert balances()["contributor_payable"] == -25_000


@pytest.mark.oracle
def test_a_contributor_who_was_erased_is_still_sent_what_is_owed(payroll: Payroll) -> None:
    payroll.stripe.make_available()
    payroll.confirm()
    contributors.erase(caller_for(payroll.seller), str(payroll.ann.pk))

    payroll.send()

    assert payroll.payment(payroll.ann).state == "paid"


@pytest.mark.oracle
def test_an_operator_can_refuse_to_pay_a_contributor(payroll: Payroll) -> None:
    operator = User.objects.create(email="op@example.org", name="Op", is_operator=True)
    connect.refuse(operator, str(payroll.account.pk), note="On a list.")

    payroll.confirm()

    assert payroll.payment(payroll.ann).state == "due"
    assert payroll.transfers() == []
