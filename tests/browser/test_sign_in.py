"""Signing in with a real browser: a passkey, an app, and pages that everybody can use."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

from marketplace import invitations
from marketplace.models import Organization
from tests.browser.conftest import DESKTOP, PHONE, Browser
from tests.browser.test_studio import PASSWORD, Visitor, member
from tests.marketplace.factors import totp_code
from tests.people import caller_for

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
BrowserFor = Callable[..., Browser]
EMAIL = "ada@example.org"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@pytest.fixture
def url(live_server: Any) -> str:
    # Browsers make no passkeys for a bare address.
    return str(live_server.url).replace("127.0.0.1", "localhost")


def with_passkeys(browser: Browser) -> Browser:
    """Give the browser a platform's authenticator, whose finger is always there."""
    options = VirtualAuthenticatorOptions()
    options.protocol = VirtualAuthenticatorOptions.Protocol.CTAP2
    options.transport = VirtualAuthenticatorOptions.Transport.INTERNAL
    options.has_resident_key = options.has_user_verification = options.is_user_verified = True
    browser.add_virtual_authenticator(options)
    return browser


def press(visitor: Visitor, words: str) -> None:
    says = f"normalize-space()='{words}'"
    path = f"//main//*[self::a[{says}] or self::button[{says}]]"
    found = visitor.browser.find_element(By.XPATH, path)
    visitor.leave(found.click)


def violations(visitor: Visitor) -> list[str]:
    """What axe finds on the page that is open."""
    package = importlib.util.find_spec("axe_playwright_python")
    assert package is not None
    assert package.origin is not None
    visitor.browser.execute_script((Path(package.origin).parent / "axe.min.js").read_text())
    run = "axe.run({runOnly: arguments[0]}).then(found => arguments[1](found.violations))"
    found = visitor.browser.execute_async_script(run, TAGS)
    return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]


def test_an_invited_person_comes_in_with_a_passkey_and_again_with_nothing_else(
    archive: Organization, browser_for: BrowserFor, url: str, settings: Any, mailoutbox: Any
) -> None:
    settings.SECOND_FACTOR = "required"
    invitations.invite(caller_for(archive), email=EMAIL, role="owner")
    link = str(mailoutbox[0].body).partition("127.0.0.1:8000")[2].split()[0]
    ada = Visitor(with_passkeys(browser_for()), url)
    assert ada.open(link) == 200
    ada.fill(name="Ada", password=PASSWORD)
    press(ada, "Accept")
    assert ada.path == "/account/second-factor/?next=%2Fstudio%2F"
    press(ada, "Passkey")
    press(ada, "Add the passkey")
    assert "10 codes are left" in ada.text
    assert ada.open("/studio/") == 200
    ada.open("/")
    ada.leave(ada.find("header button").click)
    assert ada.open("/login/?next=/studio/") == 200
    press(ada, "Sign in with a passkey")
    assert ada.path == "/studio/"
    ada.open("/account/")
    assert "passkey, signs in alone" in ada.text
    assert ada.complaints() == []


def test_an_app_is_set_up_from_the_page_and_its_code_is_the_second_step(
    archive: Organization, browser_for: BrowserFor, url: str
) -> None:
    member(archive, EMAIL)
    ada = Visitor(browser_for(), url)
    ada.sign_in(EMAIL, "/studio/")
    ada.open("/account/app/")
    secret = ada.find("code.key").text
    ada.fill(code=totp_code(secret))
    press(ada, "Add the app")
    ada.open("/")
    ada.leave(ada.find("header button").click)
    ada.open("/login/?next=/studio/")
    ada.fill(login=EMAIL, password=PASSWORD)
    press(ada, "Sign in")
    assert ada.path == "/login/second-factor/"
    ada.fill(code=totp_code(secret, 1))
    press(ada, "Sign in")
    assert ada.path == "/studio/"
    assert ada.complaints() == []


def test_pages_about_accounts_can_be_used_by_everybody(
    archive: Organization, browser_for: BrowserFor, url: str
) -> None:
    member(archive, EMAIL)
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    signed_out = ("/login/", "/login/password/", "/login/password/mailed/", "/login/inactive/")
    first = ("/account/", "/account/second-factor/", "/account/app/", "/account/passkeys/add/")
    later = ("/account/", "/account/codes/", "/account/codes/new/", "/account/password/")
    for size in (DESKTOP, PHONE):
        ada = Visitor(with_passkeys(browser_for(size=size)), url)
        for path in signed_out:
            check(ada, path, wide)
        ada.open("/login/")
        ada.fill(login=EMAIL, password=PASSWORD)
        press(ada, "Sign in")
        if size == PHONE:
            # The second step, since the first round added a passkey.
            check(ada, "/login/second-factor/", wide)
            continue
        for path in first:
            check(ada, path, wide)
        press(ada, "Add the passkey")
        for path in later:
            check(ada, path, wide)


def check(visitor: Visitor, path: str, wide: str) -> None:
    assert visitor.open(path) == 200, path
    assert visitor.browser.execute_script(wide) <= 0, f"{path} scrolls sideways"
    assert violations(visitor) == [], path
