"""Second factors: set up, asked for, taken away, sealed; and the gate that every page passes."""

from __future__ import annotations

import io
import re
import runpy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from marketplace import (
    invitations,
    operators,
    organizations,
    second_factors,
    sign_in_gate,
    sign_ups,
)
from marketplace import settings as settings_module
from marketplace.access import system
from marketplace.models import AccountAct, Organization, User
from tests.marketplace.factors import Passkey, add_app, options, totp_code, totp_secret
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
PASSWORD = "correct horse battery"
EMAIL = "ada@example.org"


@pytest.fixture(autouse=True)
def committed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """allauth tells of a factor once it is committed; a test's own transaction never is."""
    if not request.node.get_closest_marker("django_db").kwargs.get("transaction"):
        monkeypatch.setattr("django.db.transaction.on_commit", lambda act, **_how: act())


@pytest.fixture
def ada(archive: Organization) -> User:
    return organizations.admit(archive, email=EMAIL, name="Ada", password=PASSWORD, role="owner")


@pytest.fixture
def required(settings: Any) -> None:
    settings.SECOND_FACTOR = "required"


def browser(email: str = EMAIL, onward: str = "/studio/") -> Client:
    """A browser that gave the password."""
    client = Client(headers={"host": "localhost"})
    client.post("/login/", {"login": email, "password": PASSWORD, "next": onward})
    return client


def is_in(client: Client) -> bool:
    return bool(client.get("/v1/organization").status_code == 200)


def acts(user: User) -> list[str]:
    with system("look at acts in a test"):
        rows = AccountAct.objects.filter(user=user).order_by("id")
        return [f"{row.action} {row.data.get('kind', '')}".strip() for row in rows]


def add_passkey(client: Client, passkey: Passkey, *, alone: bool = True) -> Any:
    asked = options(client.get("/account/passkeys/add/").content.decode())
    form = {"name": "Phone", "credential": passkey.create(asked, verified=alone)}
    return client.post("/account/passkeys/add/", form | ({"passwordless": "on"} if alone else {}))


@contextmanager
def later(seconds: int = 400) -> Iterator[None]:
    """After the time for which a password that was given lately still counts."""
    now = time.time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: now() + seconds)
        yield


# --- an authenticator app ---------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_app_is_set_up_and_asked_for_from_then_on(ada: User) -> None:
    first = browser()
    secret = add_app(first)
    assert is_in(first)
    second = browser()
    assert not is_in(second)
    assert second.get("/login/second-factor/").status_code == 200
    wrong = second.post("/login/second-factor/", {"code": "000000"})
    assert (wrong.status_code, "does not fit" in wrong.content.decode()) == (200, True)
    assert not is_in(second)
    code = totp_code(secret, 1)
    right = second.post("/login/second-factor/", {"code": code})
    assert (right.status_code, right["Location"]) == (302, "/studio/")
    assert is_in(second)
    # Each code works once, in whichever process.
    third = browser()
    assert third.post("/login/second-factor/", {"code": code}).status_code == 200
    assert not is_in(third)
    assert acts(ada) == [
        "account.signed_in",
        "factor.added totp",
        "factor.added recovery_codes",
        "account.signed_in",
    ]
    assert "authenticator app was added" in str(mail.outbox[0].body)


def test_the_qr_code_is_a_picture_in_the_page_and_the_key_stands_beside_it(ada: User) -> None:
    page = browser().get("/account/app/").content.decode()
    assert '<img class="qr" src="data:image/svg+xml;base64,' in page
    assert len(totp_secret(page)) == 32


def test_a_wrong_code_sets_nothing_up(ada: User) -> None:
    client = browser()
    client.get("/account/app/")
    answer = client.post("/account/app/", {"code": "000000"})
    assert (answer.status_code, "does not fit" in answer.content.decode()) == (200, True)
    assert not Authenticator.objects.exists()


def test_guesses_of_codes_are_limited(ada: User) -> None:
    secret = add_app(browser())
    client = browser()
    for _try in range(5):
        client.post("/login/second-factor/", {"code": "000000"})
    answer = client.post("/login/second-factor/", {"code": totp_code(secret, 1)})
    assert "Too many tries" in answer.content.decode()
    assert not is_in(client)


def test_a_recovery_code_signs_in_once(ada: User) -> None:
    owner = browser()
    add_app(owner)
    page = owner.get("/account/codes/").content.decode()
    codes = re.findall(r"<li><code>(\d{8})</code></li>", page)
    assert len(codes) == 10
    client = browser()
    assert client.post("/login/second-factor/", {"code": codes[3]})["Location"] == "/studio/"
    assert is_in(client)
    again = browser()
    assert again.post("/login/second-factor/", {"code": codes[3]}).status_code == 200
    assert not is_in(again)
    file = owner.get("/account/codes/file/")
    assert file["Content-Type"] == "text/plain"
    assert file.content.decode().split() == [code for code in codes if code != codes[3]]


def test_new_recovery_codes_end_the_old_ones(ada: User) -> None:
    owner = browser()
    add_app(owner)
    old = re.findall(r"<code>(\d{8})</code>", owner.get("/account/codes/").content.decode())
    assert owner.post("/account/codes/new/")["Location"] == "/account/codes/"
    new = re.findall(r"<code>(\d{8})</code>", owner.get("/account/codes/").content.decode())
    assert set(old).isdisjoint(new)
    client = browser()
    assert client.post("/login/second-factor/", {"code": old[0]}).status_code == 200
    assert not is_in(client)
    assert acts(ada)[-1] == "factor.replaced recovery_codes"


# --- passkeys ---------------------------------------------------------------------------------


def test_a_passkey_signs_in_alone(ada: User) -> None:
    passkey = Passkey()
    made = add_passkey(browser(), passkey)
    assert (made.status_code, made["Location"]) == (302, "/account/codes/")
    client = Client(headers={"host": "localhost"})
    asked = client.get("/login/passkey/", headers={"accept": "application/json"}).json()
    form = {"credential": passkey.use(asked), "next": "/studio/"}
    answer = client.post("/login/passkey/", form)
    assert (answer.status_code, answer["Location"]) == (302, "/studio/")
    assert is_in(client)
    assert acts(ada)[-3:] == [
        "factor.added webauthn",
        "factor.added recovery_codes",
        "account.signed_in",
    ]


def test_a_passkey_is_the_second_step_after_the_password(ada: User) -> None:
    passkey = Passkey()
    add_passkey(browser(), passkey, alone=False)
    client = browser()
    assert not is_in(client)
    asked = options(client.get("/login/second-factor/").content.decode())
    form = {"credential": passkey.use(asked, verified=False)}
    assert client.post("/login/second-factor/", form)["Location"] == "/studio/"
    assert is_in(client)


def _someone_else_s(passkey: Passkey) -> Passkey:
    other = Passkey()
    other.id, other.handle = passkey.id, passkey.handle
    return other


def _of_another_site(passkey: Passkey) -> Passkey:
    passkey.origin = "https://localhost.example"
    return passkey


def _of_nobody(passkey: Passkey) -> Passkey:
    passkey.handle = "bm9ib2R5"
    return passkey


def _without_whose(passkey: Passkey) -> Passkey:
    passkey.handle = ""
    return passkey


@pytest.mark.parametrize(
    "change",
    [_someone_else_s, _of_another_site, _of_nobody, _without_whose],
    ids=lambda f: f.__name__,
)
def test_a_forged_passkey_signs_nobody_in(ada: User, change: Callable[[Passkey], Passkey]) -> None:
    passkey = Passkey()
    add_passkey(browser(), passkey)
    client = Client(headers={"host": "localhost"})
    asked = client.get("/login/passkey/", headers={"accept": "application/json"}).json()
    answer = client.post("/login/passkey/", {"credential": change(passkey).use(asked)})
    assert (answer.status_code, answer["Location"]) == (302, "/login/")
    assert not is_in(client)
    assert 'role="status"' in client.get("/login/").content.decode()


def test_a_passkey_without_pin_or_finger_does_not_sign_in_alone(ada: User) -> None:
    passkey = Passkey()
    add_passkey(browser(), passkey)
    client = Client(headers={"host": "localhost"})
    asked = client.get("/login/passkey/", headers={"accept": "application/json"}).json()
    client.post("/login/passkey/", {"credential": passkey.use(asked, verified=False)})
    assert not is_in(client)


def test_an_answer_of_a_passkey_works_once(ada: User) -> None:
    passkey = Passkey()
    add_passkey(browser(), passkey)
    client = Client(headers={"host": "localhost"})
    asked = client.get("/login/passkey/", headers={"accept": "application/json"}).json()
    said = passkey.use(asked)
    assert client.post("/login/passkey/", {"credential": said})["Location"] == "/"
    for other in (client, Client(headers={"host": "localhost"})):
        other.post("/logout/")
        other.post("/login/passkey/", {"credential": said})
        assert not is_in(other)


@pytest.mark.parametrize(
    "said", ["", "{}", "[]", "7", "null", '{"response": 7}', '{"id": "a", "rawId": 1}', "not JSON"]
)
def test_an_answer_that_is_none_is_refused(ada: User, said: str) -> None:
    add_passkey(browser(), Passkey())
    alone, second = Client(headers={"host": "localhost"}), browser()
    alone.get("/login/passkey/", headers={"accept": "application/json"})
    second.get("/login/second-factor/")
    assert alone.post("/login/passkey/", {"credential": said}).status_code == 302
    assert second.post("/login/second-factor/", {"credential": said}).status_code == 200
    assert (is_in(alone), is_in(second)) == (False, False)


# --- taking a factor away ---------------------------------------------------------------------


def test_the_password_is_asked_for_again_before_a_factor_goes(ada: User) -> None:
    client = browser()
    add_app(client)
    add_passkey(client, Passkey())
    [key] = Authenticator.objects.filter(type="webauthn")
    paths = ("/account/app/remove/", f"/account/passkeys/{key.pk}/remove/", "/account/codes/new/")
    again = {"password": "wrong", "next": paths[0]}
    with later():
        for path in paths:
            for answer in (client.get(path), client.post(path)):
                assert answer.status_code == 302, path
                assert answer["Location"].startswith("/account/again/?next="), path
        assert client.get("/account/codes/")["Location"].startswith("/account/again/")
        wrong = client.post("/account/again/", again)
    assert "not your password" in wrong.content.decode()
    assert Authenticator.objects.count() == 3
    with later():
        again["password"] = PASSWORD
        assert client.post("/account/again/", again)["Location"] == paths[0]
        for path in paths[:2]:
            assert client.post(path)["Location"] == "/account/"
    assert not Authenticator.objects.exists()
    assert acts(ada)[-3:] == [
        "factor.removed totp",
        "factor.removed webauthn",
        "factor.removed recovery_codes",
    ]
    assert "was removed" in str(mail.outbox[-1].body)


def test_an_operator_takes_away_what_somebody_lost(ada: User) -> None:
    client = browser()
    add_app(client)
    out = io.StringIO()
    call_command("remove_factors", EMAIL, stdout=out)
    assert out.getvalue() == "2 factors of ada@example.org are gone, and their sessions.\n"
    assert not Authenticator.objects.exists()
    assert not is_in(client)
    assert is_in(browser())
    assert acts(ada)[3:-1] == ["factor.removed"]
    assert "An operator took away" in str(mail.outbox[-1].body)
    with pytest.raises(CommandError, match="nobody"):
        call_command("remove_factors", "eve@example.org")


def test_nobody_takes_another_s_passkey_away(ada: User, lab: Organization) -> None:
    add_passkey(browser(), Passkey())
    [key] = Authenticator.objects.filter(type="webauthn")
    organizations.admit(lab, email="eve@example.org", name="Eve", password=PASSWORD, role="owner")
    eve = browser("eve@example.org")
    for path in (f"/account/passkeys/{key.pk}/remove/", f"/account/passkeys/{key.pk}/rename/"):
        assert eve.post(path, {"name": "Mine"}).status_code == 404
    key.refresh_from_db()
    assert key.wrap().name == "Phone"


# --- the gate ---------------------------------------------------------------------------------


def test_whoever_has_none_is_led_to_set_up_and_then_on(ada: User, required: None) -> None:
    client = browser(onward="/")
    led = client.get("/studio/")
    assert (led.status_code, led["Location"]) == (302, "/account/second-factor/?next=%2Fstudio%2F")
    assert "asks its people" in client.get(led["Location"]).content.decode()
    refused = client.get("/v1/organization")
    assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_needed")
    add_app(client)
    assert client.get("/studio/").status_code == 200
    assert is_in(client)
    assert 'href="/studio/"' in client.get(led["Location"]).content.decode()


def test_offered_a_member_may_do_without(ada: User, settings: Any) -> None:
    settings.SECOND_FACTOR = "offered"
    client = browser()
    assert client.get("/studio/").status_code == 200
    page = client.get("/account/second-factor/?next=/studio/").content.decode()
    assert ">Later</a>" in page


def test_an_operator_needs_one_outside_development(settings: Any) -> None:
    settings.SECOND_FACTOR, settings.DEVELOPMENT = "offered", False
    operators.appoint(email=EMAIL, name="Olive", password=PASSWORD)
    client = browser(onward="/admin/")
    assert client.get("/admin/")["Location"].startswith("/account/second-factor/")
    add_app(client)
    assert client.get("/admin/").status_code == 200


@pytest.mark.parametrize("mode", ["offered", "required"])
def test_a_session_that_did_not_use_the_factor_ends_at_the_gate(
    ada: User, settings: Any, mode: str
) -> None:
    settings.SECOND_FACTOR = mode
    add_app(browser())
    for path in ("/studio/", "/account/", "/account/app/remove/"):
        client = Client()
        client.force_login(ada)
        answer = client.get(path)
        assert answer["Location"].startswith("/login/?next="), path
        assert "_auth_user_id" not in client.session
    client = Client()
    client.force_login(ada)
    assert client.get("/v1/organization").json()["code"] == "second_factor_needed"
    assert Authenticator.objects.count() == 2


def test_who_took_the_last_factor_away_needs_a_new_one(ada: User, required: None) -> None:
    client = browser()
    add_app(client)
    client.post("/account/app/remove/")
    assert client.get("/studio/")["Location"].startswith("/account/second-factor/")


def test_keys_are_not_asked_for_a_factor(
    client_for: ClientFor, archive: Organization, ada: User, required: None
) -> None:
    assert client_for(archive).get("/v1/organization").status_code == 200
    # A header that is no key opens nothing to the session beside it.
    client = browser()
    for header in ("Basic YTpi", "Bearer licet_test_x", "Session x"):
        answer = client.get("/v1/organization", headers={"authorization": header})
        assert answer.status_code == 401, header
    for header in ("", " ", " Bearer x"):
        answer = client.get("/v1/organization", headers={"authorization": header})
        assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_needed"), header
    # Nor does it open a page.
    answer = client.get("/studio/", headers={"authorization": "Bearer x"})
    assert answer["Location"].startswith("/account/second-factor/")


def _addresses(patterns: Any, before: str = "") -> Iterator[str]:
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _addresses(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route


# Routes that anybody may read, signed in or not. A new one is put here, and into the gate, on
# purpose; all others are closed to a session without its factor.
OPEN_ROUTES = re.compile(
    r"^(listings(/.*)?|health|openapi\.json|docs/.*|ledger/.*|stripe/.*|opt-out/.*"
    r"|verify/.*|report/.*|moderation/.*"
    r"|checkout/return/.*|payout-account/.*|invitations/.*|sign-up/.*|login/.*|\^login/.*|logout/)?$"
)
SET_UP_ROUTES = re.compile(r"^account/")


def _example(route: str) -> str:
    """An address that a route might have: its parts in <…> and (…) filled in."""
    filled = re.sub(r"<[^>]*>|\(\?P<\w+>[^)]*\)|\([^)]*\)", "x1", route)
    return "/" + re.sub(r"[\^$?\\]|\[[^\]]*\]\+?", "", filled)


def test_every_page_by_session_passes_the_gate(ada: User, required: None) -> None:
    client = browser(onward="/")
    routes = list(_addresses(get_resolver().url_patterns))
    assert len(routes) > 300
    passed = {route for route in routes if sign_in_gate.is_open(_example(route))}
    assert passed == {route for route in routes if OPEN_ROUTES.match(route)}
    closed = [r for r in routes if r not in passed and not SET_UP_ROUTES.match(r)]
    # One of each kind is enough to show that closed is closed; the gate knows paths alone.
    for path in sorted({"/" + route.split("/")[0].lstrip("^") + "/" for route in closed}):
        answer = client.get(path + "x1")
        is_api = path == "/v1/"
        assert answer.status_code == (403 if is_api else 302), path
        if not is_api:
            assert answer["Location"].startswith("/account/second-factor/"), path


# --- coming in --------------------------------------------------------------------------------


def mailed() -> str:
    [found] = re.findall(r"http://127\.0\.0\.1:8000(/\S+)", str(mail.outbox[-1].body))
    return str(found)


def test_an_invitation_leads_to_password_then_factor_then_studio(
    archive: Organization, required: None
) -> None:
    invitations.invite(caller_for(archive), email=EMAIL, role="editor")
    client = Client(headers={"host": "localhost"})
    led = client.post(mailed(), {"name": "Ada", "password": PASSWORD})
    assert led["Location"] == "/account/second-factor/?next=%2Fstudio%2F"
    assert client.get("/studio/")["Location"] == led["Location"]
    # The password was chosen a moment ago: it is not asked for again.
    add_app(client)
    assert client.get("/studio/").status_code == 200
    assert acts(User.objects.get())[0] == "account.signed_in"


def test_a_sign_up_leads_there_likewise(settings: Any, required: None) -> None:
    settings.SIGN_UP = True
    sign_ups.begin(EMAIL)
    client = Client(headers={"host": "localhost"})
    form = {
        "kind": "creator",
        "organization": "Ada writes",
        "legal_name": "Ada Writes B.V.",
        "jurisdiction": "NL",
        "name": "Ada",
        "password": PASSWORD,
    }
    led = client.post(mailed(), form)
    assert led["Location"] == "/account/second-factor/?next=%2Fstudio%2F"
    assert add_passkey(client, Passkey()).status_code == 302
    assert client.get("/studio/").status_code == 200


def test_a_known_person_signs_in_with_the_factor_to_accept(
    ada: User, lab: Organization, required: None
) -> None:
    secret = add_app(browser())
    invitations.invite(caller_for(lab), email=EMAIL, role="viewer")
    link = mailed()
    client = browser(onward=link)
    assert "Sign in as" in client.get(link).content.decode()
    answer = client.post("/login/second-factor/", {"code": totp_code(secret, 1)})
    assert answer["Location"] == link
    assert client.post(link)["Location"] == "/studio/"
    with system("look at memberships in a test"):
        assert ada.memberships.count() == 2


# --- the seal ---------------------------------------------------------------------------------


def stored() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(data::text, ' ') FROM mfa_authenticator")
        row = cursor.fetchone()
        assert row is not None
        return str(row[0])


def test_secrets_are_sealed_in_the_database(ada: User) -> None:
    client = browser()
    secret = add_app(client)
    codes = re.findall(r"<code>(\d{8})</code>", client.get("/account/codes/").content.decode())
    assert secret not in stored()
    assert [code for code in codes if code in stored()] == []
    assert stored().count("gAAAAA") == 2


def test_a_new_key_of_the_market_keeps_factors_and_seals_them_anew(
    ada: User, settings: Any
) -> None:
    secret = add_app(browser())
    before, old = stored(), settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another key", [old]
    client = browser()
    client.post("/login/second-factor/", {"code": totp_code(secret, 1)})
    assert is_in(client)
    # Used, and so sealed with today's key; the codes still need the old one.
    assert stored() != before
    out = io.StringIO()
    call_command("reseal_factors", stdout=out)
    assert out.getvalue() == "1 factor was sealed anew.\n"
    settings.SECRET_KEY_FALLBACKS = []
    for factor in Authenticator.objects.exclude(type="webauthn"):
        for name in ("secret", "seed"):
            if name in factor.data:
                assert second_factors.unseal(factor.data[name])


def test_without_its_key_a_factor_opens_to_nobody(ada: User, settings: Any) -> None:
    add_app(browser())
    settings.SECRET_KEY = "another key"
    client = browser()
    answer = client.post("/login/second-factor/", {"code": "000000"})
    assert "cannot read your second factor" in answer.content.decode()
    assert not is_in(client)
    with pytest.raises(CommandError, match="LICET_SECRET_KEY_FALLBACKS"):
        call_command("reseal_factors")


def test_outside_development_everybody_needs_one_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LICET_DEBUG", "0")
    for name in ("LICET_SECRET_KEY", "STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRET"):
        monkeypatch.setenv(name, "set")
    monkeypatch.setenv("DATABASE_URL", "postgresql://licet@127.0.0.1/licet")
    file = str(settings_module.__file__)
    assert runpy.run_path(file)["SECOND_FACTOR"] == "required"
    monkeypatch.setenv("LICET_SECOND_FACTOR", "offered")
    assert runpy.run_path(file)["SECOND_FACTOR"] == "offered"
    monkeypatch.delenv("LICET_SECOND_FACTOR")
    monkeypatch.setenv("LICET_DEBUG", "1")
    assert runpy.run_path(file)["SECOND_FACTOR"] == "offered"


def test_the_owner_has_allauth_s_tables_and_the_application_writes_them() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tablename, tableowner FROM pg_tables WHERE tablename ~"
            " '^(account_|mfa_|socialaccount_|django_cache)' ORDER BY 1"
        )
        tables = cursor.fetchall()
        assert {owner for _name, owner in tables} == {"licet_owner"}
        assert len(tables) == 7
        for name, _owner in tables:
            for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
                cursor.execute("SELECT has_table_privilege('licet_app', %s, %s)", [name, right])
                assert cursor.fetchone() == (True,), (name, right)
            cursor.execute("SELECT has_table_privilege('licet_app', %s, 'TRUNCATE')", [name])
            assert cursor.fetchone() == (False,)
