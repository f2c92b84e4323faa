"""Traders: who sells, submitted, looked at by an operator, shown to buyers, needed in live mode."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from licensing import offers
from licensing.models import Offer
from marketplace import organizations, traders
from marketplace.access import system
from marketplace.errors import (
    DomainError,
    InvalidInput,
    LegalIdentityIncomplete,
    MissingScope,
    NotFound,
    TraderNotVerified,
    TraderWrongState,
)
from marketplace.models import Audit, Organization, Trader, User
from payments import quotes
from tests.make import make_offer, make_operator, make_trader
from tests.payments.racing import at_once
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
SAID: dict[str, Any] = {
    "phone": "+353 1 234567",
    "trade_register": "CRO, Dublin",
    "certified": True,
}


@pytest.fixture
def olga(db: None) -> User:
    return make_operator()


def submitted(organization: Organization, **changed: Any) -> Trader:
    return traders.submit(caller_for(organization), **{**SAID, **changed})


def acts() -> list[str]:
    with system("read the audit in a test"):
        rows = Audit.objects.filter(action__startswith="trader.").order_by("id")
        return [row.action for row in rows]


def state(trader: Trader) -> str:
    return Trader.objects.get(pk=trader.pk).state


def test_a_seller_submits_and_reads_who_it_is_by_key(
    archive: Organization, client_for: ClientFor, olga: User
) -> None:
    client = client_for(archive)
    assert client.get("/v1/trader").status_code == 404
    for _each in range(2):
        answer = client.post("/v1/trader", SAID, Idempotency_Key="k")
        assert answer.status_code == 200
    assert client.post("/v1/trader", SAID).json() == answer.json()
    body = answer.json()
    assert (body["object"], body["state"], body["legal_name"]) == (
        "trader",
        "submitted",
        "Archive Ltd",
    )
    traders.refuse(olga, body["id"], reason="The register knows no such number.")
    body = client.get("/v1/trader").json()
    assert (body["state"], body["reason"]) == ("refused", "The register knows no such number.")
    assert client.post("/v1/trader", SAID).json()["state"] == "submitted"
    assert acts() == ["trader.submitted", "trader.refused", "trader.submitted"]


def test_what_is_missing_is_named(archive: Organization, client_for: ClientFor) -> None:
    for param, changed in {
        "phone": {"phone": "01 234567"},
        "trade_register": {"trade_register": " "},
        "certified": {"certified": False},
    }.items():
        refused = client_for(archive).post("/v1/trader", {**SAID, **changed})
        assert (refused.status_code, refused.json()["param"]) == (422, param)
    organizations.identify(caller_for(archive), registered_address="")
    with pytest.raises(LegalIdentityIncomplete):
        submitted(archive)
    assert not Trader.objects.exists()


def test_live_mode_lists_and_sells_nothing_before_it_is_verified_and_test_mode_does(
    archive: Organization, lab: Organization, client_for: ClientFor, olga: User
) -> None:
    offer = make_offer(archive, price_minor=0, is_published=False)
    live = client_for(archive, livemode=True)
    refused = live.post(f"/v1/offers/{offer.pk}/publish")
    assert (refused.status_code, refused.json()["code"]) == (409, "trader_not_verified")
    assert Offer.objects.get(pk=offer.pk).state == "draft"
    offers.publish(caller_for(archive), str(offer.pk))

    asked: dict[str, Any] = {"offer": str(offer.pk), "uses": ["pretrain"], "territories": ["DE"]}
    quotes.make(caller_for(lab), **asked)
    buyer = caller_for(lab, livemode=True)
    trader = submitted(archive)
    for _each in range(2):
        with pytest.raises(TraderNotVerified):
            quotes.make(buyer, **asked)
        traders.refuse(olga, str(trader.pk), reason="No.")
    traders.verify(olga, str(trader.pk))
    quotes.make(buyer, **asked)
    assert live.post(f"/v1/offers/{offer.pk}/publish").status_code == 200
    # What turns out to be wrong stops sales again.
    traders.refuse(olga, str(trader.pk), reason="Struck off.")
    with pytest.raises(TraderNotVerified):
        quotes.make(buyer, **asked)


def test_buyers_see_what_was_verified_and_nothing_before(
    client: Client, client_for: ClientFor, archive: Organization, olga: User
) -> None:
    offer = make_offer(archive)
    trader = submitted(archive)
    url, page = f"/v1/listings/{offer.pk}", f"/listings/{offer.pk}"
    assert client_for(None).get(url).json()["trader"] is None
    assert "+353 1 234567" not in client.get(page).content.decode()
    traders.verify(olga, str(trader.pk))
    assert client_for(None).get(url).json()["trader"] == {
        "legal_name": "Archive Ltd",
        "address": "1 Main Street, Archive",
        "registration_number": "12345",
        "trade_register": "CRO, Dublin",
        "email": "legal@example.org",
        "phone": "+353 1 234567",
    }
    text = client.get(page).content.decode()
    for shown in ("1 Main Street, Archive", "CRO, Dublin", "+353 1 234567", "Certified"):
        assert shown in text, shown


def test_another_identity_is_looked_at_again(archive: Organization, olga: User) -> None:
    trader = make_trader(archive)
    organizations.identify(caller_for(archive), name="The Archive")
    assert state(trader) == "verified"
    organizations.identify(caller_for(archive), legal_name="Archive plc")
    row = Trader.objects.get()
    assert (row.state, row.legal_name, row.decided_by) == ("submitted", "Archive plc", "")
    with pytest.raises(TraderNotVerified):
        traders.check(archive)
    organizations.identify(caller_for(archive), contact_email="")
    with pytest.raises(LegalIdentityIncomplete):
        traders.verify(olga, str(trader.pk))
    assert state(trader) == "submitted"


@pytest.mark.oracle
@pytest.mark.parametrize("before", [*Trader.State.values, "missing"])
@pytest.mark.parametrize("after", Trader.State.values)
def test_every_pair_of_states(before: str, after: str, archive: Organization, olga: User) -> None:
    if before == "missing":
        with pytest.raises(NotFound):
            traders.verify(olga, "trd_01m86qffpae7zr451q5yc40mdx")
        assert not Trader.objects.exists()
        return
    trader = submitted(archive)
    move(olga, trader, before)
    assert state(trader) == before
    try:
        move(olga, trader, after, phone="+353 1 999999")
    except TraderWrongState:
        assert after not in traders.TRANSITIONS[before]
        assert state(trader) == before
    else:
        assert after == before or after in traders.TRANSITIONS[before]
        assert state(trader) == after


def move(olga: User, trader: Trader, to: str, **changed: str) -> None:
    if to == "submitted":
        submitted(trader.organization, **changed)
    elif to == "verified":
        traders.verify(olga, str(trader.pk))
    else:
        traders.refuse(olga, str(trader.pk), reason="No.")


def test_a_decision_again_changes_nothing_and_needs_an_operator_and_a_reason(
    archive: Organization, olga: User
) -> None:
    trader = make_trader(archive)
    before, done = Trader.objects.values().get(), acts()
    traders.verify(olga, str(trader.pk))
    person = organizations.admit(
        archive, email="ada@example.org", name="Ada", password="correct horse", role="owner"
    )
    refused: list[tuple[type[DomainError], Callable[[], Any]]] = [
        (MissingScope, lambda: traders.verify(person, str(trader.pk))),
        (MissingScope, lambda: traders.refuse(person, str(trader.pk), reason="No.")),
        (InvalidInput, lambda: traders.refuse(olga, str(trader.pk), reason=" ")),
        (InvalidInput, lambda: traders.refuse(olga, str(trader.pk), reason="\x00")),
        (NotFound, lambda: traders.verify(olga, "x")),
    ]
    for error, act in refused:
        with pytest.raises(error):
            act()
    assert (Trader.objects.values().get(), acts()) == (before, done)


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_what_is_submitted_at_once_is_one_trader(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = traders._submitted

    def slow(*arguments: Any) -> Trader:
        # Long enough for the others to look, and to find none yet, if nothing kept them out.
        time.sleep(0.3)
        return write(*arguments)

    monkeypatch.setattr(traders, "_submitted", slow)
    results = at_once(*[lambda: submitted(archive)] * 3)
    assert [type(each) for each in results] == [Trader] * 3
    assert (Trader.objects.count(), acts()) == (1, ["trader.submitted"])
