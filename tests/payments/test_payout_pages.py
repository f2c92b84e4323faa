"""The payout account in the workspace: opened there, led to Stripe, and told how it stands."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client

from marketplace import access, organizations
from marketplace.models import Audit, Organization
from payments import connect, stripe_gateway
from payments.models import ConnectedAccount
from tests.make import make_operator
from tests.payments.selling import onboarded, opened
from tests.payments.simulating import Stripe
from tests.people import caller_for, found

pytestmark = pytest.mark.django_db
URL = "/studio/payout-account/"


def member(organization: Organization, role: str = "owner") -> Client:
    user = organizations.admit(
        organization,
        email=f"{role}.{organization.pk}@example.org",
        name=role,
        password="correct horse battery",
        role=role,
    )
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def accounts() -> list[ConnectedAccount]:
    with access.system("read accounts in a test"):
        return list(ConnectedAccount.objects.all())


def acts() -> list[str]:
    with access.system("read the audit in a test"):
        rows = Audit.objects.filter(action__startswith="connected_account.").order_by("id")
        return [row.action for row in rows]


def shown(client: Client) -> str:
    answer = client.get(URL)
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_a_seller_opens_it_is_led_to_stripe_and_comes_back_to_how_it_stands(
    archive: Organization, stripe: Stripe
) -> None:
    client = member(archive)
    assert "Set up payouts" in shown(client)

    answer = client.post(URL, {"country": "ie"}, follow=True)

    text = answer.content.decode()
    assert answer.redirect_chain == [(URL, 302)]
    assert "The account is opened" in text
    assert "Something is still missing" in text
    assert "A bank account" in text
    assert 'name="country"' not in text
    [account] = accounts()
    assert (account.country, account.state) == ("IE", "onboarding")
    # A link, for the policy lets forms lead nowhere else.
    assert f'<a class="button primary" href="{URL}stripe/"' in text
    led = client.get(f"{URL}stripe/")
    assert (led.status_code, led["Location"].startswith(f"{stripe.url}/onboard/")) == (302, True)

    stripe.account(str(account.stripe_id), "complete")
    [link] = stripe.posts("/v2/core/account_links")
    back = urlsplit(link["params"]["use_case"]["account_onboarding"]["return_url"]).path
    assert f'href="{URL}"' in client.get(back).content.decode()
    assert "You can be paid" in shown(client)


def test_the_same_form_again_opens_nothing_and_says_so(
    archive: Organization, stripe: Stripe
) -> None:
    client = member(archive)
    client.post(URL, {"country": "IE"})

    again = client.post(URL, {"country": "IE"}, follow=True)

    assert "opened before: nothing was changed" in again.content.decode()
    assert len(accounts()) == 1
    assert len(stripe.posts("/v2/core/accounts")) == 1
    assert acts() == ["connected_account.opened"]


def test_an_account_that_stripe_rejects_says_so_with_a_way_out(
    archive: Organization, stripe: Stripe
) -> None:
    account = onboarded(archive, stripe)
    stripe.account(str(account.stripe_id), "refuse", code="rejected_fraud")
    client = member(archive)

    looked = client.post(f"{URL}look/", follow=True)

    text = looked.content.decode()
    assert "Stripe rejected this account" in text
    assert "answer there" in text
    assert f'href="{URL}stripe/"' not in text
    # No form of Stripe's changes it: nobody is led there.
    led = client.get(f"{URL}stripe/", follow=True)
    assert led.redirect_chain == [(URL, 302)]
    assert "nothing to tell Stripe" in led.content.decode()
    assert stripe.posts("/v2/core/account_links") == []
    assert "Stripe rejected this account." in client.get("/studio/").content.decode()


def test_an_account_that_stripe_restricts_names_what_it_wants_and_leads_there(
    archive: Organization, stripe: Stripe
) -> None:
    account = onboarded(archive, stripe)
    stripe.account(str(account.stripe_id), "restrict", requirement="identity.individual.documents")
    connect.sync_account(account.pk)

    text = shown(member(archive))

    assert "Stripe pays you nothing at present" in text
    assert "A document that shows who you are" in text
    assert f'href="{URL}stripe/"' in text


def test_an_account_that_the_market_refuses_says_whom_to_ask(
    archive: Organization, stripe: Stripe
) -> None:
    account = onboarded(archive, stripe)
    connect.refuse(make_operator(), str(account.pk), note="On a list.")

    text = shown(member(archive))

    assert "This market does not pay this account" in text
    # The note is the operators'.
    assert "On a list." not in text


def test_a_country_that_stripe_does_not_send_to_is_refused_before(stripe: Stripe) -> None:
    client = member(found("Arquivo", "platform", jurisdiction="BR"))
    assert "Stripe makes no transfers from" in shown(client)

    refused = client.post(URL, {"country": "BR"})

    assert "Stripe makes no transfers from" in refused.content.decode()
    assert (accounts(), acts(), stripe.posts("/v2/core/accounts")) == ([], [], [])


@pytest.mark.oracle
@pytest.mark.parametrize("country", ["", "1", "<b", "IRL"])
def test_what_is_no_country_is_refused_at_its_field(
    archive: Organization, stripe: Stripe, country: str
) -> None:
    refused = member(archive).post(URL, {"country": country})

    assert refused.context["form"].errors.keys() == {"country"}
    assert accounts() == []


def test_a_refusal_of_stripe_is_told_and_leaves_no_account(
    archive: Organization, stripe: Stripe
) -> None:
    stripe.fail("/v2/core/accounts", 400)

    refused = member(archive).post(URL, {"country": "IE"})

    assert "This was not done" in refused.content.decode()
    assert accounts() == []


def test_while_stripe_is_silent_the_page_says_so_and_the_form_goes_on(
    archive: Organization, stripe: Stripe
) -> None:
    client = member(archive)
    stripe.drop_responses(stripe_gateway.RETRIES_MAX + 1)
    silent = client.post(URL, {"country": "IE"})
    assert "This was not done" in silent.content.decode()
    assert "The account is being opened" in shown(client)

    opened_now = client.post(URL, {"country": "IE"}, follow=True)

    assert "Something is still missing" in opened_now.content.decode()
    assert len(accounts()) == 1


@pytest.mark.oracle
@pytest.mark.parametrize("role", ["editor", "viewer"])
def test_who_may_not_write_sees_how_it_stands_and_who_can(
    archive: Organization, stripe: Stripe, role: str
) -> None:
    account = opened(archive)
    client = member(archive, role)
    text = shown(client)
    assert "Something is still missing" in text
    assert "Who can: owner, manager, finance." in text
    assert f"{URL}stripe/" not in text

    refused: list[Any] = [
        client.post(URL, {"country": "IE"}),
        client.post(f"{URL}look/"),
        client.get(f"{URL}stripe/"),
    ]

    assert [one.status_code for one in refused] == [403, 403, 403]
    assert [one.synced_at for one in accounts()] == [account.synced_at]


def test_a_stranger_sees_nothing_of_it(
    archive: Organization, stranger: Organization, stripe: Stripe
) -> None:
    account = opened(archive)
    client = member(stranger)

    text = shown(client)

    assert str(account.pk) not in text
    assert "Something is still missing" not in text
    assert connect.own(caller_for(archive)).pk == account.pk
