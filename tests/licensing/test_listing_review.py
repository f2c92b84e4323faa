"""The review of listings: an operator approves, refuses, suspends and reinstates, on record."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from licensing import offers
from licensing.models import Offer, SearchDocument
from marketplace import operators
from marketplace.access import acting, system
from marketplace.errors import (
    DomainError,
    InvalidInput,
    MissingScope,
    NotFound,
    NothingToLicense,
    OfferNotBuyable,
    OfferWrongState,
)
from marketplace.models import Audit, Organization, Representation, ReservedDigest, User
from payments import orders, quotes
from payments.models import Order, Quote
from tests.make import make_grant, make_offer
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def operator(db: None) -> User:
    return operators.appoint(
        email="olga@example.org", name="Olga", password="correct horse battery"
    )


@pytest.fixture
def reviewed(settings: Settings) -> None:
    settings.LISTING_REVIEW = True


def state(offer: Offer) -> str:
    return Offer.objects.get(pk=offer.pk).state


def is_found(client: ApiClient, offer: Offer) -> bool:
    """Whether the market shows it, in all places alike."""
    found = client.get("/v1/listings?q=letters").json()
    there = client.get(f"/v1/listings/{offer.pk}").status_code == 200
    assert [row["id"] for row in found["data"]] == ([str(offer.pk)] if there else [])
    assert found["total"] == str(int(there))
    assert SearchDocument.objects.filter(offer=offer.pk).exists() is there
    return there


def acts(offer: Offer) -> list[tuple[str, str]]:
    with system("read the audit in a test"):
        rows = Audit.objects.filter(subject=str(offer.pk)).order_by("id")
        return [(row.action, row.actor) for row in rows]


def test_a_reviewed_market_shows_what_an_operator_approved(
    archive: Organization, client_for: ClientFor, operator: User, reviewed: None
) -> None:
    seller, anybody = client_for(archive), client_for(None)
    offer = make_offer(archive, is_published=False)

    answer = seller.post(f"/v1/offers/{offer.pk}/publish").json()
    assert (answer["state"], answer["published_at"]) == ("in_review", None)
    assert answer["submitted_at"] is not None
    assert answer["rights"]["basis"] == "own"
    assert not is_found(anybody, offer)
    assert seller.post(f"/v1/offers/{offer.pk}/publish").json() == answer

    offers.approve(operator, str(offer.pk))
    offers.approve(operator, str(offer.pk))
    answer = seller.get(f"/v1/offers/{offer.pk}").json()
    assert (answer["state"], answer["state_reason"]) == ("listed", "")
    assert answer["published_at"] is not None
    assert is_found(anybody, offer)
    assert [act for act, _actor in acts(offer)] == [
        "offer.made",
        "offer.submitted",
        "offer.approved",
    ]
    assert acts(offer)[-1][1] == str(operator.pk)


def test_a_refused_offer_is_a_draft_that_says_why_and_may_be_published_again(
    archive: Organization, client_for: ClientFor, operator: User, reviewed: None
) -> None:
    seller = client_for(archive)
    offer = make_offer(archive)
    offers.refuse(operator, str(offer.pk), reason="  Say where the letters are from. ")
    answer = seller.get(f"/v1/offers/{offer.pk}").json()
    assert (answer["state"], answer["submitted_at"]) == ("draft", None)
    assert answer["state_reason"] == "Say where the letters are from."
    answer = seller.post(f"/v1/offers/{offer.pk}/publish").json()
    assert (answer["state"], answer["state_reason"]) == ("in_review", "")


def test_a_suspended_listing_vanishes_and_comes_back_as_the_newest(
    archive: Organization, lab: Organization, client_for: ClientFor, operator: User
) -> None:
    offer, anybody, seller = make_offer(archive), client_for(None), client_for(archive)
    before = SearchDocument.objects.get()
    grant = make_grant(archive, lab, offer=make_offer(archive, price_minor=0))

    offers.suspend(operator, str(offer.pk), reason="A claim is being looked into.")
    offers.suspend(operator, str(offer.pk), reason="Again.")
    answer = seller.get(f"/v1/offers/{offer.pk}").json()
    assert answer["state"] == "suspended"
    assert answer["state_reason"] == "A claim is being looked into."
    assert answer["suspended_at"] is not None
    assert anybody.get(f"/v1/listings/{offer.pk}").status_code == 404
    assert not SearchDocument.objects.filter(offer=offer.pk).exists()
    with pytest.raises(OfferNotBuyable):
        quotes.make(caller_for(lab), offer=str(offer.pk), uses=["pretrain"], territories=["DE"])
    # The seller cannot bring it back; what was granted stands.
    refused = seller.post(f"/v1/offers/{offer.pk}/publish")
    assert (refused.status_code, refused.json()["code"]) == (409, "offer_wrong_state")
    assert client_for(lab).get(f"/v1/grants/{grant.pk}").json()["status"] == "active"

    offers.reinstate(operator, str(offer.pk))
    offers.reinstate(operator, str(offer.pk))
    again = SearchDocument.objects.get(offer=offer.pk)
    assert again.pk > before.pk
    assert seller.get(f"/v1/offers/{offer.pk}").json()["state_reason"] == ""
    assert anybody.get("/v1/listings").json()["data"][0]["id"] == str(offer.pk)
    assert [act for act, _actor in acts(offer)][2:] == ["offer.suspended", "offer.reinstated"]


@pytest.mark.parametrize("before", ["draft", "in_review", "listed", "suspended"])
def test_a_seller_withdraws_from_any_state_for_good(
    archive: Organization,
    client_for: ClientFor,
    operator: User,
    settings: Settings,
    before: str,
) -> None:
    settings.LISTING_REVIEW = before == "in_review"
    offer = make_offer(archive, is_published=before != "draft")
    if before == "suspended":
        offers.suspend(operator, str(offer.pk), reason="A claim.")
    assert state(offer) == before
    seller = client_for(archive)
    answer = seller.post(f"/v1/offers/{offer.pk}/withdraw")
    assert (answer.status_code, answer.json()["state"]) == (200, "withdrawn")
    assert not is_found(client_for(None), offer)
    for act in (offers.approve, offers.reinstate):
        with pytest.raises(OfferWrongState):
            act(operator, str(offer.pk))
    for act_with_reason in (offers.refuse, offers.suspend):
        with pytest.raises(OfferWrongState):
            act_with_reason(operator, str(offer.pk), reason="No.")
    assert seller.post(f"/v1/offers/{offer.pk}/publish").status_code == 409
    assert state(offer) == "withdrawn"


@pytest.mark.parametrize(
    ("act", "starting", "refusal"),
    [
        ("approve", "draft", OfferWrongState),
        ("approve", "suspended", OfferWrongState),
        ("reinstate", "in_review", OfferWrongState),
        ("reinstate", "draft", OfferWrongState),
        ("refuse", "listed", OfferWrongState),
        ("refuse", "suspended", OfferWrongState),
        ("suspend", "draft", OfferWrongState),
        ("suspend", "in_review", OfferWrongState),
    ],
)
def test_an_operator_skips_no_state(
    archive: Organization,
    operator: User,
    settings: Settings,
    act: str,
    starting: str,
    refusal: type[DomainError],
) -> None:
    settings.LISTING_REVIEW = starting == "in_review"
    offer = make_offer(archive, is_published=starting != "draft")
    if starting == "suspended":
        offers.suspend(operator, str(offer.pk), reason="A claim.")
    before = acts(offer)
    reason = {"reason": "No."} if act in {"refuse", "suspend"} else {}
    with pytest.raises(refusal):
        getattr(offers, act)(operator, str(offer.pk), **reason)
    assert state(offer) == starting
    assert acts(offer) == before


@pytest.mark.parametrize("reason", ["", "  ", "x" * 2001, "a\x00b"])
def test_a_seller_hears_why(archive: Organization, operator: User, reason: str) -> None:
    offer = make_offer(archive)
    with pytest.raises(InvalidInput):
        offers.suspend(operator, str(offer.pk), reason=reason)
    assert state(offer) == "listed"


def test_only_operators_decide(archive: Organization, operator: User) -> None:
    offer = make_offer(archive)
    clerk = User.objects.create(email="clerk@example.org", name="Clerk")
    operator.is_active = False
    for person in (clerk, operator):
        with pytest.raises(MissingScope):
            offers.suspend(person, str(offer.pk), reason="No.")
    assert state(offer) == "listed"


@pytest.mark.parametrize("id", ["off_", "nothing", "off_01m86nywy0fqhtmrs59rm4ban2"])
def test_what_is_not_there_is_not_found(operator: User, id: str) -> None:
    with pytest.raises(NotFound):
        offers.approve(operator, id)


def reserve_everything() -> None:
    """Every work's digest, for all, as an opt-out of each would."""
    with system("reserve in a test"):
        for digest in Representation.objects.values_list("digest", flat=True):
            ReservedDigest.objects.create(digest=digest, reason="opted_out", cause="a test")


def test_what_held_when_it_was_handed_in_must_hold_when_it_is_listed(
    archive: Organization, operator: User, reviewed: None
) -> None:
    closing = make_offer(archive, closes_at=timezone.now() + timedelta(hours=1))
    later = timezone.now() + timedelta(hours=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timezone, "now", lambda: later)
        with pytest.raises(OfferWrongState):
            offers.approve(operator, str(closing.pk))
    assert state(closing) == "in_review"
    offers.approve(operator, str(closing.pk))
    assert state(closing) == "listed"


def test_an_offer_whose_works_are_all_reserved_is_not_listed(
    archive: Organization, client_for: ClientFor, operator: User
) -> None:
    draft = make_offer(archive, is_published=False)
    listed = make_offer(archive)
    offers.suspend(operator, str(listed.pk), reason="A claim.")
    reserve_everything()
    answer = client_for(archive).post(f"/v1/offers/{draft.pk}/publish")
    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_license")
    with pytest.raises(NothingToLicense):
        offers.reinstate(operator, str(listed.pk))
    assert (state(draft), state(listed)) == ("draft", "suspended")


# --- the command ------------------------------------------------------------------------------


def said(*arguments: str) -> str:
    out = io.StringIO()
    call_command("review_listings", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_lists_what_waits_and_carries_decisions_out(
    archive: Organization, operator: User, reviewed: None
) -> None:
    first, second = make_offer(archive), make_offer(archive)
    lines = said().splitlines()
    assert [line.split()[0] for line in lines] == [str(first.pk), str(second.pk), "2"]
    assert "Archive: Letters – Training v1" in lines[0]
    by = ("--operator", "OLGA@example.org")
    assert said("--approve", str(first.pk), *by) == f"{first.pk} listed\n"
    assert said("--refuse", str(second.pk), *by, "--reason", "Why.") == f"{second.pk} draft\n"
    assert said("--suspend", str(first.pk), *by, "--reason", "Why.") == f"{first.pk} suspended\n"
    assert said("--reinstate", str(first.pk), *by) == f"{first.pk} listed\n"
    assert said() == "0 in review\n"


def test_the_command_refuses_without_a_name_a_reason_or_a_right(
    archive: Organization, operator: User
) -> None:
    offer = make_offer(archive)
    User.objects.create(email="clerk@example.org", name="Clerk")
    for arguments in (
        ("--suspend", str(offer.pk), "--reason", "Why."),
        ("--suspend", str(offer.pk), "--operator", "olga@example.org"),
        ("--suspend", str(offer.pk), "--operator", "clerk@example.org", "--reason", "Why."),
        ("--approve", "nothing", "--operator", "olga@example.org"),
    ):
        with pytest.raises(CommandError):
            said(*arguments)
    assert state(offer) == "listed"


# --- at once ----------------------------------------------------------------------------------


def at_once(*acts: Callable[[], Any]) -> list[str]:
    """What each got, all at the same moment: "done", or the code of its refusal."""
    ready = Barrier(len(acts))

    def attempt(act: Callable[[], Any]) -> str:
        try:
            ready.wait(10)
            act()
            return "done"
        except DomainError as error:
            return error.code
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(attempt, acts))


@pytest.mark.django_db(transaction=True)
def test_published_at_once_it_is_listed_once(archive: Organization) -> None:
    offer = make_offer(archive, is_published=False)
    caller, id = caller_for(archive), str(offer.pk)
    assert at_once(*[lambda: offers.publish(caller, id)] * 6) == ["done"] * 6
    assert SearchDocument.objects.filter(offer=offer.pk).count() == 1
    assert [act for act, _actor in acts(offer)] == ["offer.made", "offer.published"]


@pytest.mark.django_db(transaction=True)
def test_withdrawn_while_it_is_approved_it_is_in_no_search(
    archive: Organization, operator: User, settings: Settings
) -> None:
    settings.LISTING_REVIEW = True
    caller = caller_for(archive)
    for _round in range(5):
        id = str(make_offer(archive).pk)
        outcome = at_once(
            lambda id=id: offers.approve(operator, id),  # type: ignore[misc]
            lambda id=id: offers.withdraw(caller, id),  # type: ignore[misc]
        )
        assert outcome in (["done", "done"], ["offer_wrong_state", "done"])
        assert Offer.objects.get(pk=id).state == "withdrawn"
        assert not SearchDocument.objects.filter(offer=id).exists()


def accepted(lab: Organization, offer: Offer) -> Quote:
    return quotes.make(caller_for(lab), offer=str(offer.pk), uses=["pretrain"], territories=["DE"])


def place(lab: Organization, quote: Quote) -> Order:
    return orders.place(
        caller_for(lab),
        quote=str(quote.pk),
        accept={
            "document_sha256": bytes(quote.document_sha256).hex(),
            "name": "Lin",
            "title": "Counsel",
            "authority": True,
        },
    )


@pytest.mark.django_db(transaction=True)
def test_an_order_that_began_first_holds_a_suspension_off_until_it_is_placed(
    archive: Organization, lab: Organization, operator: User
) -> None:
    offer = make_offer(archive, price_minor=0)
    finished: list[str] = []

    def suspend() -> None:
        offers.suspend(operator, str(offer.pk), reason="A claim.")
        finished.append("suspended")
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        with acting(caller_for(lab)):
            offers.buyable(caller_for(lab), str(offer.pk))
            waiting = pool.submit(suspend)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
            # What was buyable still is, to the end of this transaction.
            assert offers.buyable(caller_for(lab), str(offer.pk)) == offer
            finished.append("bought")
        waiting.result(timeout=10)
    assert finished == ["bought", "suspended"]
    with pytest.raises(OfferNotBuyable):
        accepted(lab, offer)


@pytest.mark.django_db(transaction=True)
def test_an_order_waits_for_a_suspension_that_began_first_and_is_refused(
    archive: Organization, lab: Organization, operator: User
) -> None:
    offer = make_offer(archive, price_minor=0)
    quote = accepted(lab, offer)

    def order() -> None:
        try:
            place(lab, quote)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with system("hold a suspension open in a test"):
            offers.suspend(operator, str(offer.pk), reason="A claim.")
            waiting = pool.submit(order)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
        with pytest.raises(OfferNotBuyable):
            waiting.result(timeout=10)
    with system("count in a test"):
        assert not Order.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_suspended_while_it_is_ordered_there_is_an_order_or_a_refusal(
    archive: Organization, lab: Organization, operator: User, ledger_keys: object
) -> None:
    for _round in range(3):
        offer = make_offer(archive, price_minor=0)
        quote = accepted(lab, offer)
        placed, suspended = at_once(
            lambda quote=quote: place(lab, quote),  # type: ignore[misc]
            lambda id=str(offer.pk): offers.suspend(operator, id, reason="A claim."),  # type: ignore[misc]
        )
        assert suspended == "done"
        with system("count in a test"):
            assert Order.objects.filter(quote=quote).count() == int(placed == "done")
        assert placed in {"done", "offer_not_buyable"}
        # Another lab's claim on the same uses must not stop the next round.
        assert state(offer) == "suspended"
