"""Pages in a person's language, time and formats; what machines read stays as it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core import mail
from django.test import Client

from marketplace import accounts, organizations, preferences
from marketplace.access import system
from marketplace.errors import InvalidInput
from marketplace.models import AccountAct, Organization, User
from marketplace.preferences import Viewer, viewing

GERMAN = {"HTTP_ACCEPT_LANGUAGE": "de-AT,de;q=0.9,en;q=0.5"}
PAGE = "/account/preferences/"
AT = datetime(2026, 11, 27, 14, 4, tzinfo=UTC)


@pytest.fixture
def ada(archive: Organization) -> User:
    return organizations.admit(
        archive, email="ada@example.org", name="Ada", password="correct horse", role="owner"
    )


@pytest.fixture
def client(ada: User) -> Client:
    client = Client()
    client.force_login(ada)
    return client


def acts(user: User) -> list[Any]:
    with system("look at acts in a test"):
        rows = AccountAct.objects.filter(user=user, action="preferences.changed").order_by("id")
        return [row.data for row in rows]


def language_of(answer: Any) -> str:
    found = re.search('<html lang="([^"]*)"', answer.content.decode())
    assert found
    return found[1]


@pytest.mark.parametrize(
    ("amount", "code", "formats", "written"),
    [
        (123_450, "EUR", "de-DE", "1.234,50 €"),
        (123_450, "USD", "en-US", "$1,234.50"),
        (1_234, "JPY", "ja-JP", "￥1,234"),
        (-123_450, "EUR", "de-DE", "-1.234,50 €"),
        # Iceland's crown is counted with two digits here, with none by CLDR.
        (1_200, "ISK", "de", "12,00 ISK"),
        (12_340, "KWD", "en-GB", "KWD 12.340"),
        (123_450, "EUR", "", "1,234.50 EUR"),
        (123_450, "EUR", "no-such-tag", "1,234.50 EUR"),
        # Beyond what a float holds.
        (900_719_925_474_099_301, "USD", "en-US", "$9,007,199,254,740,993.01"),
    ],
)
def test_an_amount_is_written_exactly_in_the_readers_manner(
    amount: int, code: str, formats: str, written: str
) -> None:
    with viewing(Viewer(formats=formats)):
        assert preferences.amount(amount, code).replace("\xa0", " ") == written


@pytest.mark.parametrize(
    ("zone", "formats", "written"),
    [
        ("", "", "2026-11-27 14:04 UTC"),
        ("Europe/Berlin", "", "2026-11-27 15:04 CET"),
        ("Europe/Berlin", "de", "27.11.26, 15:04 CET"),
        ("America/Sao_Paulo", "en-US", "11/27/26, 11:04 AM UTC-03"),
    ],
)
def test_a_time_is_written_in_the_readers_zone_which_is_named(
    zone: str, formats: str, written: str
) -> None:
    with viewing(Viewer(zone=ZoneInfo(zone) if zone else None, formats=formats)):
        assert preferences.moment(AT).replace("\u202f", " ") == written


def test_a_browsers_language_decides_until_the_person_does(client: Client, ada: User) -> None:
    german = client.get(PAGE, **GERMAN)
    assert (language_of(german), german["Content-Language"]) == ("de", "de")
    assert "Accept-Language" in german["Vary"]
    assert "1.234,50" in german.content.decode() or "1 234,50" in german.content.decode()
    assert language_of(client.get(PAGE)) == "en"
    assert language_of(client.get(PAGE, HTTP_ACCEPT_LANGUAGE="fr, *;q=0.1")) == "en"
    form = {"language": "en", "time_zone": "Europe/Berlin", "formats": "en-GB"}
    assert client.post(PAGE, form, **GERMAN).status_code == 302
    chosen = client.get(PAGE, **GERMAN)
    assert language_of(chosen) == "en"
    assert re.search(r'<time datetime="[0-9T:-]+Z">[^<]* CES?T</time>', chosen.content.decode())
    assert acts(ada) == [{"fields": ["formats", "language", "time_zone"]}]


def test_the_workspace_follows_the_choice(client: Client, ada: User) -> None:
    preferences.choose(ada, language="de", time_zone="", formats="")
    assert language_of(client.get("/studio/", follow=True)) == "de"


def test_the_same_choice_again_changes_nothing_and_says_so(client: Client, ada: User) -> None:
    form = {"language": "en", "time_zone": "UTC", "formats": ""}
    client.post(PAGE, form)
    again = client.post(PAGE, form, follow=True)
    assert "Nothing was changed" in again.content.decode()
    assert len(acts(ada)) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("language", "tlh"), ("time_zone", "Europe/Atlantis"), ("time_zone", "../etc/passwd")],
)
def test_what_is_not_offered_is_refused_and_nothing_is_kept(
    client: Client, ada: User, field: str, value: str
) -> None:
    form = {"language": "de", "time_zone": "Europe/Berlin", "formats": "de-DE", field: value}
    answer = client.post(PAGE, form)
    assert answer.status_code == 422
    assert f'id="id_{field}_error"' in answer.content.decode()
    with pytest.raises(InvalidInput):
        preferences.choose(ada, **form)
    ada.refresh_from_db()
    assert (ada.language, ada.time_zone, ada.formats, acts(ada)) == ("", "", "", [])


def test_nobody_chooses_without_signing_in(ada: User) -> None:
    answer = Client().post(PAGE, {"language": "de"})
    assert (answer.status_code, answer["Location"][:7]) == (302, "/login/")
    ada.refresh_from_db()
    assert ada.language == ""


def test_what_machines_read_is_the_same_in_every_language(client: Client, ada: User) -> None:
    preferences.choose(ada, language="de", time_zone="Asia/Tokyo", formats="de-DE")
    for path in ("/v1/organization", "/v1/offers/ofr_x", "/openapi.json", "/health", "/v1/nowhere"):
        plain, german = Client().get(path), Client().get(path, **GERMAN)
        assert without_id(plain) == without_id(german)
        assert "Accept-Language" not in german.get("Vary", "")
        assert "Content-Language" not in german
    german = client.get("/v1/organization/nothing", **GERMAN)
    assert german.json()["title"] == client.get("/v1/organization/nothing").json()["title"]
    # Still English when somebody reads German elsewhere in the process.
    with viewing(Viewer("de", ZoneInfo("Asia/Tokyo"), "de")):
        assert without_id(Client().get("/v1/organization")) == without_id(
            Client().get("/v1/organization")
        )


def without_id(answer: Any) -> tuple[int, bytes]:
    return answer.status_code, re.sub(rb"req_[0-9a-z]+", b"", answer.content)


def test_a_mail_speaks_its_recipients_language(ada: User) -> None:
    preferences.choose(ada, language="de", time_zone="", formats="")
    said = []
    for address in ("Ada@example.org", "somebody@example.org"):
        with preferences.writing_to(address):
            said.append(preferences.amount(100, "EUR").replace("\xa0", " "))
    assert said == ["1,00 €", "1.00 EUR"]
    Client().post("/login/password/", {"email": "ada@example.org"})
    assert [one.subject for one in mail.outbox] == ["Wählen Sie ein neues Passwort für Licet"]


def test_an_erased_person_leaves_no_preference(ada: User) -> None:
    preferences.choose(ada, language="de", time_zone="Europe/Berlin", formats="de-DE")
    with system("erase a person in a test"):
        found = accounts.find(id=str(ada.pk))
        assert found is not None
        accounts.forget(found)
    ada.refresh_from_db()
    assert (ada.language, ada.time_zone, ada.formats) == ("", "", "")


@pytest.mark.oracle
def test_every_page_of_the_workspace_opens_in_german(client: Client, ada: User) -> None:
    preferences.choose(ada, language="de", time_zone="Europe/Berlin", formats="de-DE")
    start = client.get("/studio/", follow=True).content.decode()
    assert "Abmelden" in start
    found = sorted(set(re.findall(r'href="(/studio/[a-z_/]+/)"', start)))
    assert len(found) > 10
    for path in [*found, "/account/", "/listings", "/report/"]:
        answer = client.get(path, follow=True)
        assert (path, answer.status_code, language_of(answer)) == (path, 200, "de")
