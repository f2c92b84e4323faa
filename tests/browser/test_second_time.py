"""What comes a second time at a browser: a link, a form, another editor."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from licensing import terms
from licensing.models import Offer
from marketplace import collections, imports, invitations, organizations
from marketplace.access import system
from marketplace.models import Collection, Membership, Organization, User
from tests.browser.conftest import VisitorFor
from tests.browser.test_first_listing import EMAIL, invited
from tests.browser.test_studio import member
from tests.browser.visitor import PASSWORD, Visitor
from tests.make import TYPED, records
from tests.people import caller_for

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def collection(archive: Organization) -> Collection:
    """Works, and terms to offer them under: nothing is on sale yet."""
    caller = caller_for(archive)
    made = collections.create(caller, name="Letters")
    imports.run(caller, str(made.pk), imports.Records(list(records(3))))
    terms.draft(caller, name="Training", typed=TYPED)
    return made


def members() -> list[tuple[str, str]]:
    with system("list a test's members"):
        rows = Membership.objects.select_related("user")
        return sorted((row.user.email, row.user.name) for row in rows)


def offers() -> list[tuple[int, str]]:
    with system("look at a test's offers"):
        return sorted((row.price_minor, str(row.state)) for row in Offer.objects.all())


def editor(visitor_for: VisitorFor, archive: Organization, email: str) -> Visitor:
    member(archive, email)
    visitor = visitor_for()
    visitor.sign_in(email, "/studio/")
    return visitor


def fill_in(visitor: Visitor, collection: Collection, price: str) -> None:
    assert visitor.open(f"/studio/marketplace/collection/{collection.pk}/list/") == 200
    visitor.fill(price=price, currency="EUR", basis="own")
    visitor.fill(statement="We wrote them.", person_title="Archivist")
    visitor.field("authority").check()


def test_an_invitation_that_is_over_says_so_and_lets_nobody_in(
    archive: Organization, visitor_for: VisitorFor, mailoutbox: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(invitations, "LIFETIME", timedelta(milliseconds=1))
    late = visitor_for()
    assert late.open(invited(archive, mailoutbox)) == 410
    assert "Its time is over. Ask for a new one." in late.text
    assert late.page.locator("[name=password]").count() == 0
    assert late.violations() == []
    assert members() == []


def test_an_invitation_lets_the_first_in_and_tells_the_second_that_it_was_used(
    archive: Organization, visitor_for: VisitorFor, mailoutbox: Any
) -> None:
    link = invited(archive, mailoutbox)
    ada, eve = visitor_for(), visitor_for()
    for each, name in ((eve, "Eve"), (ada, "Ada")):
        # Both have the form before them.
        assert each.open(link) == 200
        each.fill(name=name, password=PASSWORD)
    ada.press("Accept")
    assert ada.path.startswith("/account/second-factor/")

    eve.press("Accept")

    assert "It was accepted before. Sign in." in eve.text
    assert eve.page.locator("[name=password]").count() == 0
    assert eve.violations() == []
    # Not with the link alone, either; and it left her with no session.
    assert eve.open(link) == 410
    assert "It was accepted before. Sign in." in eve.text
    eve.open("/studio/")
    assert eve.path.startswith("/login/")
    assert members() == [(EMAIL, "Ada")]
    assert [user.name for user in User.objects.all()] == ["Ada"]


def test_who_has_an_account_accepts_by_signing_in_and_is_no_second_person(
    archive: Organization, lab: Organization, visitor_for: VisitorFor, mailoutbox: Any
) -> None:
    organizations.admit(lab, email=EMAIL, name="Ada", password=PASSWORD, role="owner")
    ada = visitor_for()
    assert ada.open(invited(archive, mailoutbox)) == 200
    assert f"Sign in as {EMAIL}" in ada.text
    assert ada.page.locator("[name=password]").count() == 0
    assert members() == [(EMAIL, "Ada")]


def test_a_form_that_is_sent_again_from_the_page_before_does_nothing_and_says_so(
    archive: Organization, collection: Collection, visitor_for: VisitorFor
) -> None:
    ada = editor(visitor_for, archive, "ada@example.org")
    fill_in(ada, collection, "12.50")
    ada.press("List it")
    assert offers() == [(1250, "listed")]

    ada.leave(ada.page.go_back)
    ada.fill(price="12.50", currency="EUR")
    if ada.page.locator("[name=statement]").count():
        ada.fill(basis="own", statement="We wrote them.", person_title="Archivist")
        ada.field("authority").check()
    ada.press("List it")

    assert re.search("was done before|sent this form before", ada.text)
    assert offers() == [(1250, "listed")]
    assert ada.violations() == []


def test_the_second_of_two_editors_at_one_listing_is_told_what_the_first_did(
    archive: Organization, collection: Collection, visitor_for: VisitorFor
) -> None:
    ada = editor(visitor_for, archive, "ada@example.org")
    bob = editor(visitor_for, archive, "bob@example.org")
    fill_in(ada, collection, "12.50")
    fill_in(bob, collection, "99.00")
    ada.press("List it")

    bob.press("List it")

    assert "Somebody else listed this while you wrote: for €12.50" in bob.text
    assert offers() == [(1250, "listed")]
    # Nothing that he wrote is lost.
    assert bob.field("price").input_value() == "99.00"
    assert bob.violations() == []

    # One takes it off sale while the other reads its page: there, too, the second is told.
    with system("look at a test's offers"):
        [offer] = Offer.objects.all()
    page = f"/studio/licensing/offer/{offer.pk}"
    for each in (ada, bob):
        assert each.open(f"{page}/withdraw/") == 200
    ada.press("Withdraw")
    assert "The offer is withdrawn." in ada.text
    bob.open(f"{page}/publish/")
    bob.press("Publish")
    assert "withdrawn" in bob.text.lower()
    assert offers() == [(1250, "withdrawn")]
    assert (ada.complaints, bob.complaints) == ([], [])
