"""Signing in with a password, choosing a new one, and what ends a session."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.utils import timezone

from marketplace import accounts, organizations
from marketplace.access import system
from marketplace.models import AccountAct, Organization, User

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
EMAIL = "ada@example.org"


@pytest.fixture
def ada(archive: Organization) -> User:
    return organizations.admit(archive, email=EMAIL, name="Ada", password=PASSWORD, role="owner")


def signed_in(email: str = EMAIL, password: str = PASSWORD, **more: str) -> Client:
    client = Client()
    client.post("/login/", {"login": email, "password": password, **more})
    return client


def is_in(client: Client) -> bool:
    return bool(client.get("/v1/organization").status_code == 200)


def acts(user: User) -> list[tuple[str, Any]]:
    with system("look at acts in a test"):
        rows = AccountAct.objects.filter(user=user).order_by("id")
        return [(row.action, row.data) for row in rows]


def test_the_right_password_opens_the_page_that_was_asked_for(ada: User) -> None:
    client = Client()
    answer = client.post("/login/", {"login": " Ada@Example.org", "password": PASSWORD})
    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert is_in(client)
    assert acts(ada) == [("account.signed_in", {"by": ["password"]})]
    form = {"login": EMAIL, "password": PASSWORD, "next": "/studio/"}
    assert Client().post("/login/", form)["Location"] == "/studio/"


@pytest.mark.parametrize("onward", ["https://elsewhere.example/", "//elsewhere.example", "\\\\x.y"])
def test_nobody_is_led_to_another_site(ada: User, onward: str) -> None:
    form = {"login": EMAIL, "password": PASSWORD, "next": onward}
    assert Client().post("/login/", form)["Location"] == "/"


def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(ada: User) -> None:
    def told(email: str) -> str:
        client = Client()
        answer = client.post("/login/", {"login": email, "password": "wrong horse battery"})
        assert (answer.status_code, "_auth_user_id" in client.session) == (200, False)
        text = re.sub(r'csrfmiddlewaretoken" value="\w+"', "", answer.content.decode())
        return text.replace(email, "")

    assert told(EMAIL) == told("eve@example.org")
    assert "do not match" in told(EMAIL)
    assert acts(ada) == []


def test_a_closed_account_does_not_sign_in(ada: User) -> None:
    User.objects.update(is_active=False)
    client = Client()
    answer = client.post("/login/", {"login": EMAIL, "password": PASSWORD})
    assert answer["Location"] == "/login/inactive/"
    assert client.get("/login/inactive/").status_code == 200
    assert not is_in(client)


def test_after_five_failures_the_right_password_waits_too(ada: User) -> None:
    for _try in range(5):
        signed_in(password="wrong horse battery")
    answer = Client().post("/login/", {"login": EMAIL, "password": PASSWORD})
    assert (answer.status_code, "Too many tries" in answer.content.decode()) == (200, True)
    # Of this address alone.
    assert not is_in(signed_in(email="eve@example.org"))
    assert acts(ada) == []


def test_an_address_that_nobody_has_is_limited_in_the_same_way(ada: User) -> None:
    for _try in range(5):
        signed_in(email="eve@example.org")
    answer = Client().post("/login/", {"login": "eve@example.org", "password": PASSWORD})
    assert "Too many tries" in answer.content.decode()


def test_one_client_that_tries_many_addresses_is_stopped(ada: User) -> None:
    answers = [
        Client().post("/login/", {"login": f"{n}@example.org", "password": PASSWORD})
        for n in range(11)
    ]
    texts = ["Too many tries" in answer.content.decode() for answer in answers]
    assert texts == [False] * 10 + [True]


def test_the_counts_are_in_the_database_where_every_process_sees_them(ada: User) -> None:
    signed_in(password="wrong horse battery")
    with connection.cursor() as cursor:
        cursor.execute("SELECT cache_key FROM django_cache ORDER BY 1")
        keys = " ".join(row[0] for row in cursor.fetchall())
    assert "login_failed" in keys
    assert EMAIL not in keys
    assert cache.add("once", 1)
    assert not cache.add("once", 1)


def test_the_session_is_another_one_after_signing_in(ada: User) -> None:
    client = Client()
    session = client.session
    session["planted"] = True
    session.save()
    before = session.session_key
    client.post("/login/", {"login": EMAIL, "password": PASSWORD})
    assert client.session.session_key not in {None, before}
    assert not Session.objects.filter(pk=before).exists()


def test_scripts_do_not_read_the_session_and_other_sites_do_not_send_it(ada: User) -> None:
    client = signed_in()
    cookie = client.cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")
    assert int(cookie["max-age"]) == 12 * 3600


def test_an_idle_session_ends_and_a_used_one_goes_on(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in()
    Session.objects.update(expire_date=timezone.now() + timedelta(minutes=1))
    monkeypatch.setattr("marketplace.sign_in_gate._SEEN_SECONDS", 0)
    assert is_in(client)
    left = Session.objects.get().expire_date - timezone.now()
    assert left.total_seconds() > 11.9 * 3600
    Session.objects.update(expire_date=timezone.now())
    assert not is_in(client)


def test_the_worker_deletes_what_has_ended_and_nothing_else(ada: User) -> None:
    ended, kept = signed_in(), signed_in()
    key = ended.session.session_key
    before = timezone.now() - timedelta(seconds=1)
    Session.objects.filter(pk=key).update(expire_date=before)
    cache.set("over", 1, timeout=60)
    cache.set("counts", 1, timeout=60)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE django_cache SET expires = %s WHERE cache_key LIKE '%%over'", [before]
        )
    assert accounts.sweep() == 2
    assert is_in(kept)
    assert (cache.get("over"), cache.get("counts")) == (None, 1)
    assert accounts.sweep() == 0


def mailed_link() -> str:
    [found] = re.findall(r"http://127\.0\.0\.1:8000(/login/\S+)", str(mail.outbox[-1].body))
    return str(found)


def ask(email: str = EMAIL, **headers: str) -> str:
    answer = Client().post("/login/password/", {"email": email}, headers=headers)
    assert (answer.status_code, answer["Location"]) == (302, "/login/password/mailed/")
    return mailed_link()


def choose(link: str, password: str, client: Client | None = None) -> Any:
    client = client or Client()
    led = client.get(link)
    form = {"password1": password, "password2": password}
    return client.post(led.get("Location", link), form)


def test_a_mailed_link_chooses_a_new_password_once(ada: User) -> None:
    other = signed_in()
    link = ask()
    assert mail.outbox[-1].to == [EMAIL]
    assert choose(link, "a new horse battery")["Location"] == "/login/password/chosen/"
    assert "your account" in str(mail.outbox[-1].subject).lower()
    assert is_in(signed_in(password="a new horse battery"))
    assert not is_in(signed_in())
    assert not is_in(other)
    again = choose(link, "another horse battery")
    assert "This link has ended" in again.content.decode()
    assert is_in(signed_in(password="a new horse battery"))
    assert ("password.changed", {"by": "link"}) in acts(ada)


def test_the_link_is_of_this_market_whatever_host_was_asked_for(ada: User) -> None:
    assert ask(Host="localhost").startswith("/login/password/")


def test_a_forged_link_chooses_nothing(ada: User) -> None:
    link = ask()
    for forged in (link[:-3] + "x/", f"/login/password/{'0' * 32}-abc-def/"):
        answer = choose(forged, "a new horse battery")
        assert "This link has ended" in answer.content.decode()
    assert is_in(signed_in())


def test_a_known_and_an_unknown_address_get_the_same_answer_and_each_a_mail(ada: User) -> None:
    answers = [
        Client().post("/login/password/", {"email": email}, follow=True).content
        for email in (EMAIL, "eve@example.org")
    ]
    assert answers[0] == answers[1]
    assert [mailed.to for mailed in mail.outbox] == [[EMAIL], ["eve@example.org"]]
    assert "no account" in str(mail.outbox[1].body)


def test_a_mail_server_that_is_away_does_not_tell_who_is_known(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_arguments: object, **_named: object) -> None:
        raise OSError("connection refused")

    monkeypatch.setattr("django.core.mail.EmailMessage.send", away)
    for email in (EMAIL, "eve@example.org"):
        assert Client().post("/login/password/", {"email": email}).status_code == 302


def test_mails_with_links_are_limited(ada: User) -> None:
    for _time in range(5):
        ask()
    answer = Client().post("/login/password/", {"email": EMAIL})
    assert (answer.status_code, len(mail.outbox)) == (429, 5)
    assert "Too many tries" in answer.content.decode()


def test_no_password_changes_and_no_session_ends_without_its_record(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = signed_in()
    here.raise_request_exception = False

    def broken(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("the database is gone")

    with monkeypatch.context() as patch:
        patch.setattr("marketplace.account_acts.record", broken)
        form = {"oldpassword": PASSWORD, "password1": "a new horse", "password2": "a new horse"}
        assert here.post("/account/password/", form).status_code == 500
        assert here.post("/account/sign-out-everywhere/").status_code == 500
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)
    assert ada.signed_out_at is None
    assert is_in(here)


@pytest.fixture
def changed(ada: User) -> tuple[Client, Client, Any]:
    here, elsewhere = signed_in(), signed_in()
    form = {"oldpassword": PASSWORD, "password1": "a new horse", "password2": "a new horse"}
    return here, elsewhere, here.post("/account/password/", form)


def test_a_changed_password_ends_the_other_sessions(
    ada: User, changed: tuple[Client, Client, Any]
) -> None:
    here, elsewhere, answer = changed
    assert (answer.status_code, answer["Location"]) == (302, "/account/")
    assert (is_in(here), is_in(elsewhere)) == (True, False)
    assert acts(ada)[-1] == ("password.changed", {})
    assert "was changed" in str(mail.outbox[-1].body)


@pytest.mark.parametrize(
    "form",
    [
        {"oldpassword": "wrong", "password1": "a new horse", "password2": "a new horse"},
        {"oldpassword": PASSWORD, "password1": "a new horse", "password2": "another horse"},
        {"oldpassword": PASSWORD, "password1": "short", "password2": "short"},
        {"oldpassword": PASSWORD, "password1": "password1", "password2": "password1"},
    ],
)
def test_a_password_that_is_changed_badly_stays(ada: User, form: dict[str, str]) -> None:
    client = signed_in()
    answer = client.post("/account/password/", form)
    assert (answer.status_code, 'role="alert"' in answer.content.decode()) == (200, True)
    assert is_in(signed_in())
    assert [action for action, _data in acts(ada)] == ["account.signed_in"] * 2


def test_signing_out_everywhere_ends_every_session(ada: User) -> None:
    here, elsewhere = signed_in(), signed_in()
    answer = here.post("/account/sign-out-everywhere/")
    assert (answer.status_code, answer["Location"]) == (302, "/login/")
    assert (is_in(here), is_in(elsewhere)) == (False, False)
    assert is_in(signed_in())
    assert acts(ada)[2][0] == "account.signed_out_everywhere"


def test_a_look_does_not_sign_out(ada: User) -> None:
    client = signed_in()
    assert client.get("/account/sign-out-everywhere/").status_code == 405
    assert client.get("/logout/").status_code == 405
    assert is_in(client)


def test_a_session_outlives_a_new_key_and_its_end_does_so_too(ada: User, settings: Any) -> None:
    ended = signed_in()
    ended.post("/account/sign-out-everywhere/")
    kept = signed_in()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key of the market"
    assert (is_in(ended), is_in(kept)) == (False, True)


def test_the_address_of_an_account_stays(ada: User) -> None:
    client = signed_in()
    page = client.get("/account/").content.decode()
    assert EMAIL in page
    for path in ("/account/email/", "/login/signup/", "/account/signup/"):
        assert client.post(path, {"email": "eve@example.org"}).status_code == 404


def test_nobody_s_account_page_leads_to_the_login(client: Client) -> None:
    for path in ("/account/", "/account/second-factor/", "/account/password/", "/account/app/"):
        answer = client.get(path)
        assert (answer.status_code, answer["Location"][:7]) == (302, "/login/"), path


@pytest.mark.parametrize(
    "path", ["/login/", "/login/password/", "/account/", "/account/second-factor/", "/account/app/"]
)
def test_account_pages_run_our_scripts_alone_and_are_kept_by_nobody(ada: User, path: str) -> None:
    client = Client() if path.startswith("/login/") else signed_in()
    answer = client.get(path)
    assert answer.status_code == 200
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert "unsafe" not in policy
    assert "no-store" in answer["Cache-Control"]
    text = answer.content.decode()
    # Scripts come from files; data for them is none.
    inline = [tag for tag in re.findall(r"<script[^>]*>", text) if "src=" not in tag]
    assert all('type="application/json"' in tag for tag in inline)
    assert not re.search(r"\son\w+=|\sstyle=|<style", text)


def test_the_person_sees_their_own_acts_and_no_others(ada: User, lab: Organization) -> None:
    eve = organizations.admit(
        lab, email="eve@example.org", name="Eve", password=PASSWORD, role="owner"
    )
    signed_in(email="eve@example.org").post("/account/sign-out-everywhere/")
    page = signed_in().get("/account/").content.decode()
    assert "Signed in" in page
    assert "Signed out everywhere" not in page
    assert len(acts(eve)) == 2
