"""Contributors' money in the workspace: rules, what each earned and was paid, and paying out."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from licensing.models import Offer
from marketplace import organizations
from marketplace.access import system
from marketplace.models import Audit, Organization
from payments import connect, payouts, royalties
from payments.models import (
    ConnectedAccount,
    RoyaltyAdvance,
    RoyaltyPayment,
    RoyaltyPayout,
    RoyaltyRule,
)
from tests.make import make_offer
from tests.payments.royalty_sales import make_works, person, sell, set_rule
from tests.payments.simulating import Stripe

pytestmark = pytest.mark.django_db
CONTRIBUTORS = "/studio/marketplace/contributor/"
RULES = "/studio/payments/royaltyrule/"
PAYMENTS = "/studio/payments/royaltypayment/"
PAY = "/studio/pay-contributors/"


def member(organization: Organization, role: str = "owner") -> Client:
    user = organizations.admit(
        organization,
        email=f"{role}.{organization.name}@example.org".lower(),
        name="Ada",
        password="correct horse battery",
        role=role,
    )
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def offer(archive: Organization) -> Offer:
    """Of two works of Ann's and one of Bob's; half of each sale is theirs."""
    collection = make_works(archive, {"ann": 2, "bob": 1})
    set_rule(archive, collection)
    return make_offer(archive, collection=collection)


@pytest.fixture
def sold(offer: Offer, lab: Organization) -> Offer:
    sell(lab, offer, price_minor=60_000)
    assert royalties.allocate_due() == 1
    return offer


def text(answer: Any) -> str:
    assert answer.status_code == 200
    return str(answer.content.decode())


def cells(page: str) -> list[str]:
    return [re.sub("<[^>]*>", "", one).strip() for one in re.findall(r"<td[^>]*>.*?</td>", page)]


def of(offer: Offer, name: str) -> str:
    return f"{CONTRIBUTORS}{person(offer.organization, name).pk}/"


def rows(model: Any) -> list[Any]:
    with system("look at rows in a test"):
        return list(model._default_manager.order_by("pk"))


def pay(client: Client, **said: Any) -> Any:
    """The form of payouts twice: what it tells first, sent back as the page has it."""
    told = client.post(PAY, {"currency": "USD"})
    form = told.context["form"]
    sent = {name: form[name].value() for name in form.fields}
    return told, client.post(PAY, {**sent, **said}, follow=True)


def test_a_seller_sees_what_each_contributor_earned_and_was_paid(
    sold: Offer, archive: Organization
) -> None:
    client = member(archive)
    assert {"200.00 USD", "100.00 USD"} <= set(cells(text(client.get(CONTRIBUTORS))))
    before = sold_state(client, sold)
    assert before == ("200.00", "–", "200.00")

    told, done = pay(client)

    assert "This pays 2 contributors" in text(told)
    assert "Press the button again to do it." in text(told)
    assert "It goes on without you." in text(done)
    payouts.write_due()
    # It is on its way, until the seller says that it is paid.
    assert sold_state(client, sold) == ("200.00", "–", "200.00")
    [ann] = [one for one in rows(RoyaltyPayment) if one.amount_minor != 10_000]
    paid = client.post(f"{PAYMENTS}{ann.pk}/paid_outside/", {"reference": "bank 7"}, follow=True)
    assert "The market owes the amount to you now." in text(paid)
    assert sold_state(client, sold) == ("200.00", "200.00", "–")
    assert "bank 7" in text(client.get(f"{of(sold, 'ann')}change/"))
    again = client.post(f"{PAYMENTS}{ann.pk}/paid_outside/", {"reference": "bank 8"})
    assert "not waiting to be paid" in text(again)
    assert "Nobody would be paid now" in text(client.post(PAY, {"currency": "USD"}))
    assert len(rows(RoyaltyPayout)) == 1


def sold_state(client: Client, offer: Offer) -> tuple[str, str, str]:
    """Earned, paid and not paid, as Ann's page shows them."""
    page = text(client.get(f"{of(offer, 'ann')}change/"))
    found = [
        re.search(rf"{label}.*?(?:([\d.]+) USD|(–))", page, re.DOTALL)
        for label in ("Earned so far", "Paid so far", "Not paid yet")
    ]
    values = [one[1] or one[2] for one in found if one]
    return values[0], values[1], values[2]


def test_who_may_not_see_royalties_sees_no_amount(sold: Offer, archive: Organization) -> None:
    with pytest.MonkeyPatch.context() as patch:
        held = organizations.ROLE_SCOPES["viewer"] - {"royalties:read", "payouts:read"}
        patch.setitem(organizations.ROLE_SCOPES, "viewer", held)
        client = member(archive, "viewer")
        page = text(client.get(f"{of(sold, 'ann')}change/"))
        assert "USD" not in page
        assert "What they were paid" not in page
        assert client.get(RULES).status_code == 403
        assert client.get(PAY).status_code == 403


def test_a_buyer_sees_nothing_of_it(sold: Offer, lab: Organization) -> None:
    client = member(lab)
    for url in (CONTRIBUTORS, RULES, PAYMENTS):
        assert "ann" not in text(client.get(url))
    assert client.get(f"{of(sold, 'ann')}change/").status_code == 404


def test_a_rule_is_set_in_percent_and_parts(offer: Offer, archive: Organization) -> None:
    client = member(archive)
    form = {
        "collection": str(offer.collection_id), "percent": "33.33", "method": "fixed", "unit": "",
        "parts": "ann: 30\nbob: 70", "minimum": "12.50", "currency": "EUR",
    }  # fmt: skip

    made = client.post(f"{RULES}add/", form)

    assert made.status_code == 302
    rule = rows(RoyaltyRule)[-1]
    assert (rule.version, rule.basis_points, rule.minimum_minor) == (2, 3_333, {"EUR": 1_250})
    assert not rule.holds_while_disputed
    page = text(client.get(made["Location"]))
    assert "33.33 %" in page
    assert "ann: 30" in page
    assert "bob: 70" in page
    # The same again is no new version.
    client.post(f"{RULES}add/", form)
    assert len(rows(RoyaltyRule)) == 2


@pytest.mark.parametrize(
    ("changed", "field", "says"),
    [
        ({"parts": "ann 30"}, "parts", "a colon and a whole number"),
        ({"parts": "eve: 1"}, "parts", "no contributor “eve”"),
        ({"parts": "ann: 1\nann: 2"}, "parts", "once"),
        ({"parts": ""}, "parts", "with “fixed”"),
        ({"unit": "tokens"}, "unit", "pro_rata"),
        ({"percent": "101"}, "percent", "100"),
        ({"minimum": "1.001"}, "minimum", "2 digits"),
    ],
)
def test_what_is_no_rule_is_refused_at_its_field(
    offer: Offer, archive: Organization, changed: dict[str, str], field: str, says: str
) -> None:
    form = {
        "collection": str(offer.collection_id), "percent": "10", "method": "fixed", "unit": "",
        "parts": "ann: 1", "minimum": "", "currency": "EUR", **changed,
    }  # fmt: skip
    refused = member(archive).post(f"{RULES}add/", form)
    [error] = refused.context["adminform"].form.errors[field]
    assert says in error
    assert len(rows(RoyaltyRule)) == 1


def test_figures_that_changed_meanwhile_pay_nobody(
    sold: Offer, archive: Organization, lab: Organization
) -> None:
    client = member(archive)
    told = client.post(PAY, {"currency": "USD"})
    form = told.context["form"]
    sent = {name: form[name].value() for name in form.fields}
    sell(lab, sold, price_minor=60_000)
    royalties.allocate_due()

    refused = client.post(PAY, sent)

    assert "Press the button again to do it." in text(refused)
    assert "600.00 USD" in text(refused)
    assert rows(RoyaltyPayout) == []


def test_an_advance_is_recorded_once_and_paid_back_first(
    sold: Offer, archive: Organization
) -> None:
    client = member(archive, "finance")
    url = f"{of(sold, 'ann')}advance/"
    form = {"amount": "50", "currency": "USD", "reference": "bank 1"}
    assert "What they earn pays it back first." in text(client.post(url, form, follow=True))
    client.post(url, form)
    assert [one.amount_minor for one in rows(RoyaltyAdvance)] == [5_000]
    told, _done = pay(client)
    assert "50.00 USD pays advances back" in text(told)
    payouts.write_due()
    # 200 earned: 50 paid the advance back, and 150 are to be paid.
    assert sold_state(client, sold) == ("200.00", "–", "150.00")
    assert "50.00 USD" in text(client.get(f"{of(sold, 'ann')}change/"))


def test_a_statement_adds_up_and_runs_in_no_spreadsheet(sold: Offer, archive: Organization) -> None:
    client = member(archive)
    url = f"{of(sold, 'ann')}statement/"
    pay(client)
    payouts.write_due()
    with system("find a payment in a test"):
        payment = RoyaltyPayment.objects.get(contributor=person(archive, "ann"))
    client.post(f"{PAYMENTS}{payment.pk}/paid_outside/", {"reference": "=1+1"})

    answer = client.get(url)

    assert answer["Content-Disposition"].startswith("attachment")
    heading, earned, paid = csv.reader(io.StringIO(answer.content.decode("utf-8-sig")))
    assert heading[:4] == ["at", "what", "amount", "currency"]
    assert (earned[1], Decimal(earned[2]), earned[6]) == ("earned", Decimal(200), "2")
    assert (paid[1], Decimal(paid[2]), paid[8]) == ("paid", Decimal(-200), "'=1+1")
    assert Decimal(earned[2]) + Decimal(paid[2]) == 0


def test_who_earned_nothing_has_no_statement(
    offer: Offer, archive: Organization, lab: Organization
) -> None:
    url = f"{of(offer, 'ann')}statement/"
    assert "They earned nothing yet" in text(member(archive).get(url, follow=True))
    assert member(lab).get(url).status_code == 404


def test_a_contributor_is_given_an_account_and_its_address_again(
    sold: Offer, archive: Organization, stripe: Stripe
) -> None:
    client = member(archive, "finance")
    url = f"{of(sold, 'ann')}open_account/"
    first = text(client.post(url, {"country": "ie"}, follow=True))
    again = text(client.post(url, {"country": "ie"}, follow=True))
    [account] = rows(ConnectedAccount)
    assert account.country == "IE"
    assert connect.lasting_url(account) in first
    assert connect.lasting_url(account) in again
    state = str(ConnectedAccount.State(account.state).label)
    assert state in text(client.get(f"{of(sold, 'ann')}change/"))


def test_an_editor_records_consent_and_no_money(sold: Offer, archive: Organization) -> None:
    client = member(archive, "editor")
    acts = len(rows(Audit))
    for verb, form in (
        ("advance", {"amount": "5", "currency": "USD", "reference": "1"}),
        ("open_account", {"country": "IE"}),
    ):
        assert client.post(f"{of(sold, 'ann')}{verb}/", form).status_code == 403
    assert len(rows(Audit)) == acts
    page = text(client.get(f"{of(sold, 'ann')}change/"))
    assert "Record their consent" in page
    assert "Record an advance" not in page
    assert rows(RoyaltyAdvance) == []
    assert rows(ConnectedAccount) == []
