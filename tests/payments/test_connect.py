"""Connected accounts: opened once, followed as Stripe says, and asked before anything is sold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client

from marketplace import access
from marketplace.errors import (
    MissingScope,
    PaymentProviderUnavailable,
    RegionNotSupported,
    SellerCannotBePaid,
)
from marketplace.models import Audit, Organization, User
from payments import commands, connect, regions, stripe_gateway
from payments.models import Command, ConnectedAccount
from payments.stripe_facts import AccountFacts
from tests.make import make_offer
from tests.payments.buying import quote_for
from tests.payments.rows import make_connected_row
from tests.payments.selling import onboarded, opened
from tests.payments.simulating import Stripe, work
from tests.people import ApiClient, caller_for, found

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def seller(archive: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(archive)


@pytest.fixture
def operator() -> User:
    return User.objects.create(email="op@example.org", name="Op", is_operator=True)


def accounts() -> int:
    with access.system("count in a test"):
        return ConnectedAccount.objects.count()


def link(client: ApiClient) -> str:
    url: str = client.post("/v1/payout-account/links", {}).json()["url"]
    return url


def test_an_account_is_opened_once_and_says_in_words_what_is_missing(
    seller: ApiClient, stripe: Stripe
) -> None:
    first = seller.post("/v1/payout-account", {})
    second = seller.post("/v1/payout-account", {})

    assert (first.status_code, second.status_code) == (200, 200)
    account = first.json()
    assert second.json()["id"] == account["id"]
    assert account["object"] == "payout_account"
    assert account["state"] == "onboarding"
    words = {each["in_words"] for each in account["requirements"]}
    assert "A bank account" in words
    assert not any("." in each or "_" in each for each in words)
    assert len(stripe.posts("/v2/core/accounts")) == 1
    assert accounts() == 1


def test_a_seller_without_an_account_has_none(seller: ApiClient) -> None:
    missing = seller.get("/v1/payout-account")

    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


def test_each_link_is_another_one_and_leads_to_stripes_pages(
    seller: ApiClient, stripe: Stripe
) -> None:
    seller.post("/v1/payout-account", {})

    first, second = link(seller), link(seller)

    assert first != second
    assert first.startswith(f"{stripe.url}/onboard/")


def test_who_comes_back_from_stripe_is_told_how_it_stands(
    archive: Organization, seller: ApiClient, stripe: Stripe
) -> None:
    account = opened(archive)
    back = urlsplit(
        next(
            request["params"]["use_case"]["account_onboarding"]["return_url"]
            for request in [*_links(seller, stripe)]
        )
    ).path

    missing = Client().get(back)
    stripe.account(str(account.stripe_id), "complete")
    complete = Client().get(back)

    assert "Something is still missing" in missing.content.decode()
    assert "A bank account" in missing.content.decode()
    assert "You can be paid" in complete.content.decode()
    assert seller.get("/v1/payout-account").json()["state"] == "active"
    assert complete["Referrer-Policy"] == "no-referrer"
    assert Client().get(back[:-1] + "!").status_code == 404


def _links(seller: ApiClient, stripe: Stripe) -> list[dict[str, Any]]:
    link(seller)
    return stripe.posts("/v2/core/account_links")


def test_an_old_link_leads_on_to_a_new_one(
    archive: Organization, seller: ApiClient, stripe: Stripe
) -> None:
    opened(archive)
    [request] = _links(seller, stripe)
    again = urlsplit(request["params"]["use_case"]["account_onboarding"]["refresh_url"]).path

    response = Client().get(again)

    assert response.status_code == 302
    assert response["Location"].startswith(f"{stripe.url}/onboard/")


def test_thin_events_of_an_account_are_followed(archive: Organization, stripe: Stripe) -> None:
    account = opened(archive)
    stripe.account(str(account.stripe_id), "complete")
    stripe.wait_for("v2.core.account[configuration.recipient].capability_status_updated")

    stripe.deliver()
    work()
    assert connect.own(caller_for(archive)).state == "active"

    stripe.account(str(account.stripe_id), "restrict", requirement="identity.individual.documents")
    stripe.wait_for("v2.core.account[requirements].updated")
    stripe.deliver()
    work()

    restricted = connect.own(caller_for(archive))
    assert restricted.state == "restricted"
    assert connect.missing(restricted) == ["A document that shows who you are"]


def test_an_account_whose_events_are_lost_is_looked_at_again(
    archive: Organization, stripe: Stripe
) -> None:
    account = opened(archive)
    stripe.account(str(account.stripe_id), "complete")
    with access.system("let an hour pass"):
        ConnectedAccount.objects.update(next_sync_at=account.created_at)

    work()

    assert connect.own(caller_for(archive)).state == "active"


def test_an_older_look_does_not_undo_a_newer_one(
    archive: Organization, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = opened(archive)
    older = stripe_gateway.retrieve_account(str(account.stripe_id))

    def fetch(id: str) -> AccountFacts:
        """While the older answer is under way, a newer one is kept."""
        monkeypatch.undo()
        stripe.account(id, "complete")
        connect.sync_account(account.pk)
        return older

    monkeypatch.setattr(stripe_gateway, "retrieve_account", fetch)

    assert connect.sync_account(account.pk).state == "active"


def test_a_lost_answer_opens_one_account(archive: Organization, stripe: Stripe) -> None:
    stripe.drop_responses(stripe_gateway.RETRIES_MAX + 1)
    with pytest.raises(PaymentProviderUnavailable):
        opened(archive)

    account = opened(archive)

    assert account.stripe_id is not None
    assert len({one["idempotency_key"] for one in stripe.posts("/v2/core/accounts")}) == 1
    assert accounts() == 1


def test_a_refused_account_can_be_opened_again_with_other_details(
    archive: Organization, seller: ApiClient, stripe: Stripe
) -> None:
    stripe.fail("/v2/core/accounts", 400)
    refused = seller.post("/v1/payout-account", {})
    assert (refused.status_code, refused.json()["code"]) == (502, "payment_provider_refused")
    assert accounts() == 0

    assert seller.post("/v1/payout-account", {}).status_code == 200


# --- before anything is sold ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("market", "seller", "can"),
    [
        ("US", "US", True),
        ("US", "DE", True),
        ("DE", "GB", True),
        ("CA", "CH", True),
        ("US", "BR", False),
        ("DE", "JP", False),
        ("JP", "JP", True),
        ("AU", "NZ", False),
    ],
)
def test_stripe_transfers_within_a_region(market: str, seller: str, can: bool) -> None:
    assert regions.are_one(market, seller) is can
    assert regions.are_one(seller, market) is can


@pytest.mark.parametrize(
    "type",
    [
        "blocked_by_stripe",
        pytest.param("feature_not_enabled", marks=pytest.mark.oracle),
        pytest.param("cannot_proceed", marks=pytest.mark.oracle),
    ],
)
def test_an_error_that_version_2_has_a_type_of_its_own_for_is_a_refusal_and_not_tried_again(
    type: str, seller: ApiClient, stripe: Stripe
) -> None:
    stripe.fail("/v2/core/accounts", status=400, type=type)

    refused = seller.post("/v1/payout-account", {})

    assert (refused.status_code, refused.json()["code"]) == (502, "payment_provider_refused")
    assert refused.json()["detail"] == "A fault was asked for."
    assert accounts() == 0
    with access.system("read a call in a test"):
        [call] = Command.objects.all()
    assert (call.state, call.next_attempt_at) == ("refused", None)
    work()
    assert len(stripe.posts("/v2/core/accounts")) == 1
    # What Stripe complained of was settled: it goes on.
    assert seller.post("/v1/payout-account", {}).status_code == 200


def test_a_seller_in_another_region_is_refused_before_the_sale_with_the_reason(
    lab: Organization, client_for: ClientFor
) -> None:
    brazil = found("Arquivo", "platform", jurisdiction="BR")
    offer = make_offer(brazil, price_minor=50_000)
    buyer = client_for(lab)

    refused = buyer.post(
        "/v1/quotes", {"offer": str(offer.pk), "uses": ["pretrain"], "territories": ["DE"]}
    )

    assert (refused.status_code, refused.json()["code"]) == (409, "region_not_supported")
    assert (refused.json()["seller_country"], refused.json()["market_country"]) == ("BR", "US")
    with pytest.raises(RegionNotSupported):
        opened(brazil)
    assert accounts() == 0


def test_what_a_seller_in_another_region_gives_for_nothing_is_given(
    lab: Organization, client_for: ClientFor
) -> None:
    brazil = found("Arquivo", "platform", jurisdiction="BR")

    assert quote_for(client_for(lab), make_offer(brazil, price_minor=0))["total_minor"] == 0


def test_nobody_sells_whom_stripe_does_not_pay(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    offer = make_offer(archive, price_minor=50_000)
    account = onboarded(archive, stripe)
    stripe.account(str(account.stripe_id), "refuse", code="rejected_fraud")
    connect.sync_account(account.pk)

    refused = client_for(lab).post(
        "/v1/quotes", {"offer": str(offer.pk), "uses": ["pretrain"], "territories": ["DE"]}
    )

    assert (refused.status_code, refused.json()["code"]) == (409, "seller_cannot_be_paid")


def test_in_live_mode_a_seller_needs_identity_account_and_clearance(
    archive: Organization, operator: User, settings: Any
) -> None:
    settings.STRIPE_LIVEMODE = True

    def check() -> None:
        connect.check_payable(archive, livemode=True)

    with pytest.raises(SellerCannotBePaid, match="no account"):
        check()
    with access.system("an account in live mode"):
        account = ConnectedAccount.objects.create(
            organization=archive,
            livemode=True,
            country="US",
            stripe_id="acct_1",
            state="onboarding",
        )
    with pytest.raises(SellerCannotBePaid, match="not ready"):
        check()
    with access.system("it is complete"):
        ConnectedAccount.objects.update(state="active")
    with pytest.raises(SellerCannotBePaid, match="not ready"):
        check()

    connect.clear(operator, str(account.pk), note="Looked at the register.")
    check()

    connect.refuse(operator, str(account.pk), note="On a list.")
    with pytest.raises(SellerCannotBePaid, match="does not pay"):
        check()


def test_only_an_operator_decides_who_is_paid(archive: Organization, stripe: Stripe) -> None:
    account = opened(archive)
    nobody = User.objects.create(email="no@example.org", name="No")

    with pytest.raises(MissingScope):
        connect.clear(nobody, str(account.pk), note="Why not.")

    assert connect.own(caller_for(archive)).clearance == "none"


def test_a_decision_that_is_repeated_changes_nothing(archive: Organization, operator: User) -> None:
    with access.system("open an account in a test"):
        account = make_connected_row(archive, stripe_id="acct_1", state="active")
    for decide in (connect.clear, connect.refuse):
        for note in ("Known.", "Another word."):
            decided = decide(operator, str(account.pk), note=note)
            assert decided.clearance_note == "Known."

    with access.system("read the audit"):
        acts = Audit.objects.filter(subject=str(account.pk)).order_by("pk")
        assert [act.action for act in acts] == [
            "connected_account.cleared",
            "connected_account.refused",
        ]


def cleared(organization: Organization) -> bool | None:
    """An operator's screening, as the tests name it."""
    return {"Archive": True, "Bad": False}.get(organization.name)


@pytest.mark.parametrize(
    ("name", "clearance"), [("Archive", "cleared"), ("Bad", "refused"), ("Other", "none")]
)
def test_a_screening_of_the_operators_clears_or_refuses_in_live_mode(
    name: str, clearance: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STRIPE_LIVEMODE = True
    settings.SCREENING = "tests.payments.test_connect.cleared"
    with access.system("an account in live mode"):
        account = ConnectedAccount.objects.create(
            organization=found(name, "platform"),
            livemode=True,
            country="US",
            stripe_id="acct_1",
            state="pending",
        )
    monkeypatch.setattr(
        stripe_gateway,
        "retrieve_account",
        lambda id: AccountFacts(id, "US", "active", False, ()),
    )

    screened = connect.sync_account(account.pk)

    assert (screened.state, screened.clearance) == ("active", clearance)
    assert screened.cleared_by == ("" if clearance == "none" else "screening")


def test_another_organizations_account_is_not_there(
    archive: Organization, stranger: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    opened(archive)
    outsider = client_for(stranger)

    assert outsider.get("/v1/payout-account").status_code == 404
    assert outsider.post("/v1/payout-account/links", {}).status_code == 404
    with access.system("find the command"):
        command = Command.objects.get()
    with pytest.raises(Command.DoesNotExist):
        commands.carry_out(command.pk, caller=caller_for(stranger))
