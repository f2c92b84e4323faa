"""Signing in by a company's identity provider: who is let in, and what is not believed."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialToken
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from marketplace import organizations
from marketplace import settings as settings_module
from marketplace.access import system
from marketplace.models import AccountAct, Organization, User
from tests.marketplace.factors import add_app, totp_code
from tests.marketplace.identity_provider import Provider, running

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
EMAIL = "ada@acme.example"


@pytest.fixture(scope="module")
def server() -> Iterator[Provider]:
    with running() as provider:
        yield provider


@pytest.fixture
def acme(server: Provider, settings: Any) -> Provider:
    settings.SOCIALACCOUNT_PROVIDERS = server.settings("acme.example")
    server.person = {"email": EMAIL, "email_verified": True, "name": "Ada A.", "picture": "p.png"}
    server.wrong, server.told, server.asked = {}, {}, []
    server.signs, server.algorithm = None, "RS256"
    return server


@pytest.fixture
def ada(archive: Organization) -> User:
    return organizations.admit(archive, email=EMAIL, name="Ada", password=PASSWORD, role="owner")


def begin(client: Client, onward: str = "/studio/", **more: str) -> Any:
    return client.post("/login/oidc/acme/", {"next": onward, **more})


def come_back(client: Client, acme: Provider, **more: str) -> Any:
    """Go to the provider, sign in there, and come back."""
    led = begin(client, **more)
    assert led.status_code == 302, led.content
    return client.get(f"/login/oidc/acme/callback/{acme.authorize(led['Location'])}")


def is_in(client: Client) -> bool:
    return bool(client.get("/v1/organization").status_code == 200)


def refused(client: Client, answer: Any, words: str) -> None:
    text = answer.content.decode()
    assert (answer.status_code, words in text) == (403, True), text
    assert 'href="/login/"' in text
    assert not is_in(client)
    assert not SocialAccount.objects.exists()


def test_an_invited_person_s_verified_address_signs_in(ada: User, acme: Provider) -> None:
    client = Client()
    page = client.get("/login/")
    assert "Sign in by Acme" in page.content.decode()
    assert f"form-action 'self' {acme.url}" in page["Content-Security-Policy"]
    answer = come_back(client, acme)
    assert (answer.status_code, answer["Location"]) == (302, "/studio/")
    assert is_in(client)
    account = SocialAccount.objects.get()
    assert (account.user_id, account.provider, account.uid) == (ada.pk, "acme", "u1")
    # Of what it said, only what is needed is kept.
    assert set(account.extra_data["id_token"]) == {"iss", "sub", "email", "email_verified"}
    assert not SocialToken.objects.exists()
    assert not EmailAddress.objects.exists()
    assert ada.check_password(PASSWORD)
    with system("look at acts in a test"):
        acts = [(act.action, act.data) for act in AccountAct.objects.order_by("id")]
    assert acts == [
        ("provider.connected", {"provider": "acme"}),
        ("account.signed_in", {"by": ["socialaccount"]}),
    ]
    again = Client()
    come_back(again, acme)
    assert is_in(again)
    assert SocialAccount.objects.count() == 1


def test_the_same_person_there_is_the_same_person_here(ada: User, acme: Provider) -> None:
    come_back(Client(), acme)
    acme.person["email"] = "renamed@acme.example"
    client = Client()
    come_back(client, acme)
    assert is_in(client)
    assert User.objects.count() == 1


def test_nobody_is_made_without_an_invitation(ada: User, acme: Provider) -> None:
    acme.person["email"] = "eve@acme.example"
    client = Client()
    refused(client, come_back(client, acme), "Ask for an invitation")
    assert User.objects.count() == 1


@pytest.mark.parametrize("verified", [False, None, "false", "yes", 1, {}])
def test_an_address_that_is_not_verified_connects_nobody(
    ada: User, acme: Provider, verified: Any
) -> None:
    acme.person["email_verified"] = verified
    client = Client()
    if verified is None:
        acme.told = {"sub": "u1"}
    refused(client, come_back(client, acme), "did not verify")


@pytest.mark.parametrize(
    "email", ["ada@example.org", "ada@acme.example.org", "ada@notacme.example", "acme.example", ""]
)
def test_a_provider_speaks_for_its_own_domains_alone(
    archive: Organization, acme: Provider, email: str
) -> None:
    if "@" in email:
        organizations.admit(archive, email=email, name="Ada", password=PASSWORD, role="owner")
    acme.person["email"] = email
    client = Client()
    refused(client, come_back(client, acme), "may not speak")


def test_a_domain_that_was_taken_away_ends_what_was_connected(
    ada: User, acme: Provider, settings: Any
) -> None:
    come_back(Client(), acme)
    settings.SOCIALACCOUNT_PROVIDERS = acme.settings("other.example")
    acme.person["email"] = "ada@other.example"
    client = Client()
    assert come_back(client, acme).status_code == 403
    assert not is_in(client)


def test_an_address_that_went_to_another_person_there_does_not_open_the_account(
    ada: User, acme: Provider
) -> None:
    come_back(Client(), acme)
    acme.wrong = {"sub": "u2"}
    client = Client()
    answer = come_back(client, acme)
    assert (answer.status_code, "another person" in answer.content.decode()) == (403, True)
    assert not is_in(client)


def test_a_closed_account_stays_closed(ada: User, acme: Provider) -> None:
    come_back(Client(), acme)
    User.objects.update(is_active=False)
    client = Client()
    assert come_back(client, acme)["Location"] == "/login/inactive/"
    assert not is_in(client)


# --- what is not believed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"aud": "somebody else"},
        {"aud": None},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"iat": 4_000_000_000},
        {"sub": None},
        {"sub": 7},
    ],
    ids=str,
)
def test_an_id_token_with_wrong_claims_is_not_believed(
    ada: User, acme: Provider, wrong: dict[str, Any]
) -> None:
    acme.wrong = wrong
    client = Client()
    refused(client, come_back(client, acme), "That did not work")


def _other_key(acme: Provider) -> None:
    acme.signs = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _no_signature(acme: Provider) -> None:
    acme.algorithm, acme.signs = "none", ""


def _shared_secret(acme: Provider) -> None:
    acme.algorithm, acme.signs = "HS256", "a secret of two, that we know as well"


def _public_key_as_secret(acme: Provider) -> None:
    """The old confusion: an HMAC under the published key."""
    public = acme.key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    acme.algorithm, acme.signs = "HS256", public


@pytest.mark.parametrize(
    "change",
    [_other_key, _no_signature, _shared_secret, _public_key_as_secret],
    ids=lambda change: change.__name__,
)
def test_an_id_token_that_the_provider_did_not_sign_is_not_believed(
    ada: User, acme: Provider, change: Callable[[Provider], None]
) -> None:
    change(acme)
    client = Client()
    refused(client, come_back(client, acme), "That did not work")


def test_a_provider_that_says_it_is_another_is_not_believed(
    ada: User, acme: Provider, settings: Any
) -> None:
    app = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"][0]
    client = Client()
    led = begin(client)
    back = acme.authorize(led["Location"])
    app["settings"]["server_url"] = acme.url.replace("127.0.0.1", "localhost")
    refused(client, client.get(f"/login/oidc/acme/callback/{back}"), "That did not work")


def test_user_info_about_somebody_else_is_not_believed(ada: User, acme: Provider) -> None:
    acme.person["email"] = None
    acme.told = {"sub": "u2", "email": EMAIL, "email_verified": True}
    client = Client()
    refused(client, come_back(client, acme), "That did not work")
    acme.told["sub"] = "u1"
    answer = come_back(client, acme)
    assert answer["Location"] == "/studio/"
    assert is_in(client)


def test_a_way_back_works_once_and_in_one_browser(ada: User, acme: Provider) -> None:
    client, other = Client(), Client()
    back = f"/login/oidc/acme/callback/{acme.authorize(begin(client)['Location'])}"
    refused(other, other.get(back), "That did not work")
    assert client.get(back)["Location"] == "/studio/"
    client.post("/logout/")
    again = client.get(back)
    assert (again.status_code, is_in(client)) == (403, False)


@pytest.mark.parametrize("query", ["", "?code=x", "?state=x", "?code=x&state=y", "?error=odd"])
def test_a_way_back_that_nobody_went_is_refused(ada: User, acme: Provider, query: str) -> None:
    client = Client()
    refused(client, client.get(f"/login/oidc/acme/callback/{query}"), "That did not work")


def test_who_changes_their_mind_there_is_told_so(ada: User, acme: Provider) -> None:
    client = Client()
    state = acme.authorize(begin(client)["Location"]).partition("&")[2]
    answer = client.get(f"/login/oidc/acme/callback/?error=access_denied&{state}")
    refused(client, answer, "without signing in")


def test_a_provider_that_is_away_is_named(ada: User, acme: Provider, settings: Any) -> None:
    app = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"][0]
    app["settings"]["server_url"] = "http://127.0.0.1:9"
    client = Client()
    refused(client, begin(client), "does not answer")


def test_a_provider_that_is_not_there_is_not_there(acme: Provider) -> None:
    client = Client()
    assert client.post("/login/oidc/nobody/").status_code == 404
    assert client.get("/login/oidc/nobody/callback/").status_code == 404
    # A link from elsewhere begins nothing.
    assert client.get("/login/oidc/acme/").status_code == 405


@pytest.mark.parametrize("process", ["connect", "redirect", "odd"])
def test_a_provider_signs_in_and_does_nothing_else(ada: User, acme: Provider, process: str) -> None:
    client = Client()
    refused(client, come_back(client, acme, process=process), "and does nothing else")


# --- beside the rest --------------------------------------------------------------------------


def test_the_provider_stands_for_the_password_and_not_for_the_second_factor(
    ada: User, acme: Provider, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.db.transaction.on_commit", lambda act, **_how: act())
    settings.SECOND_FACTOR = "required"
    client = Client()
    come_back(client, acme)
    assert client.get("/studio/")["Location"].startswith("/account/second-factor/")
    secret = add_app(client)
    second = Client()
    assert come_back(second, acme)["Location"] == "/login/second-factor/"
    assert not is_in(second)
    answer = second.post("/login/second-factor/", {"code": totp_code(secret, 1)})
    assert answer["Location"] == "/studio/"
    assert is_in(second)


def configured(monkeypatch: pytest.MonkeyPatch, value: Any, **more: str) -> Any:
    monkeypatch.setenv("LICET_OIDC", value if isinstance(value, str) else json.dumps(value))
    for name, text in more.items():
        monkeypatch.setenv(name, text)
    return runpy.run_path(str(settings_module.__file__))["SOCIALACCOUNT_PROVIDERS"]


def test_providers_are_read_from_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    one = {
        "id": "acme",
        "name": "Acme",
        "server_url": "https://id.acme.example/realm/",
        "client_id": "licet",
        "client_secret": "ACME_SECRET",
        "domains": ["Acme.example"],
    }
    [app] = configured(monkeypatch, [one], ACME_SECRET="s")["openid_connect"]["APPS"]
    assert (app["provider_id"], app["secret"]) == ("acme", "s")
    assert app["settings"]["server_url"] == "https://id.acme.example/realm"
    assert app["settings"]["domains"] == ["acme.example"]
    assert app["settings"]["origin"] == "https://id.acme.example"
    with pytest.raises(ImproperlyConfigured, match="LICET_OIDC lacks: domains"):
        configured(monkeypatch, [{name: one[name] for name in one if name != "domains"}])
    with pytest.raises(ImproperlyConfigured, match="twice"):
        configured(monkeypatch, [one, one])
    with pytest.raises(ImproperlyConfigured, match="an id is of"):
        configured(monkeypatch, [one | {"id": "a/b"}])
    with pytest.raises(ImproperlyConfigured, match="no JSON"):
        configured(monkeypatch, "acme")
    monkeypatch.delenv("ACME_SECRET")
    with pytest.raises(ImproperlyConfigured, match="set ACME_SECRET"):
        configured(monkeypatch, [one])


def test_this_provider_signs_what_others_can_check(acme: Provider) -> None:
    """The provider of these tests is one: its token passes a check by the book."""
    acme.challenges["c"] = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
    form = {"code": "c", "client_id": "licet", "client_secret": "a secret of two"}
    _status, answer = acme.answer("/token", form)
    claims = jwt.decode(
        answer["id_token"], acme.key.public_key(), ["RS256"], audience="licet", issuer=acme.url
    )
    assert claims["email"] == EMAIL


def test_a_provider_that_says_at_once_it_is_another_is_not_followed(
    ada: User, acme: Provider, settings: Any
) -> None:
    app = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"][0]
    app["settings"]["server_url"] = acme.url.replace("127.0.0.1", "localhost")
    client = Client()
    refused(client, begin(client), "That did not work")
