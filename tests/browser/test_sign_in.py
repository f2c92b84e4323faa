"""Signing in with a real browser: a passkey, an app, and pages that everybody can use."""

from __future__ import annotations

from typing import Any

import pytest

from marketplace import invitations
from marketplace.models import Organization
from tests.browser.conftest import VisitorFor
from tests.browser.test_studio import member
from tests.browser.visitor import DESKTOP, PASSWORD, PHONE, Visitor
from tests.marketplace.factors import totp_code
from tests.people import caller_for

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
EMAIL = "ada@example.org"


def with_passkeys(visitor: Visitor) -> Visitor:
    """Give the browser a platform's authenticator, whose finger is always there."""
    session = visitor.page.context.new_cdp_session(visitor.page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return visitor


def sign_out(visitor: Visitor) -> None:
    visitor.open("/")
    visitor.leave(visitor.page.locator("header button").click)


def test_an_invited_person_comes_in_with_a_passkey_and_again_with_nothing_else(
    archive: Organization, visitor_for: VisitorFor, settings: Any, mailoutbox: Any
) -> None:
    settings.SECOND_FACTOR = "required"
    invitations.invite(caller_for(archive), email=EMAIL, role="owner")
    link = str(mailoutbox[0].body).partition("127.0.0.1:8000")[2].split()[0]
    ada = with_passkeys(visitor_for())
    assert ada.open(link) == 200
    ada.fill(name="Ada", password=PASSWORD)
    ada.press("Accept")
    assert ada.path == "/account/second-factor/?next=%2Fstudio%2F"
    ada.press("Passkey")
    ada.press("Add the passkey")
    assert "10 codes are left" in ada.text
    assert ada.open("/studio/") == 200
    sign_out(ada)
    assert ada.open("/login/?next=/studio/") == 200
    ada.press("Sign in with a passkey")
    assert ada.path == "/studio/"
    ada.open("/account/")
    assert "passkey, signs in alone" in ada.text
    assert ada.complaints == []


def test_an_app_is_set_up_from_the_page_and_its_code_is_the_second_step(
    archive: Organization, visitor_for: VisitorFor
) -> None:
    member(archive, EMAIL)
    ada = visitor_for()
    ada.sign_in(EMAIL, "/studio/")
    ada.open("/account/app/")
    secret = ada.page.locator("code.key").inner_text()
    ada.fill(code=totp_code(secret))
    ada.press("Add the app")
    sign_out(ada)
    ada.open("/login/?next=/studio/")
    ada.fill(login=EMAIL, password=PASSWORD)
    ada.press("Sign in")
    assert ada.path == "/login/second-factor/"
    ada.fill(code=totp_code(secret, 1))
    ada.press("Sign in")
    assert ada.path == "/studio/"
    assert ada.complaints == []


def test_pages_about_accounts_can_be_used_by_everybody(
    archive: Organization, visitor_for: VisitorFor
) -> None:
    member(archive, EMAIL)
    signed_out = ("/login/", "/login/password/", "/login/password/mailed/", "/login/inactive/")
    first = ("/account/", "/account/second-factor/", "/account/app/", "/account/passkeys/add/")
    later = ("/account/", "/account/codes/", "/account/codes/new/", "/account/password/")
    for size in (DESKTOP, PHONE):
        ada = with_passkeys(visitor_for(size))
        for path in signed_out:
            check(ada, path)
        ada.open("/login/")
        ada.fill(login=EMAIL, password=PASSWORD)
        ada.press("Sign in")
        if size == PHONE:
            # The second step, since the first round added a passkey.
            check(ada, "/login/second-factor/")
            continue
        for path in first:
            check(ada, path)
        ada.press("Add the passkey")
        for path in later:
            check(ada, path)


def check(visitor: Visitor, path: str) -> None:
    assert visitor.open(path) == 200, path
    assert visitor.overflow() <= 0, f"{path} scrolls sideways"
    assert visitor.violations() == [], path
