"""What is hashed and signed reads the same, whoever's language the page has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from django.core import mail
from django.test import Client

from licensing import moderation, optouts, prices
from licensing.ledger import sequencer
from licensing.models import Offer
from marketplace import organizations, preferences
from marketplace.access import acting, system
from marketplace.models import Organization, User
from marketplace.preferences import Viewer, viewing
from marketplace.works import in_collection
from tests import pseudo
from tests.licensing import wordings
from tests.licensing.test_status import recorded
from tests.make import make_collection, make_grant, make_offer, make_operator
from tests.people import ApiClient, caller_for

GERMAN = Viewer("de", ZoneInfo("Asia/Tokyo"), "de-DE")


def test_contracts_have_the_same_bytes_for_a_german_reader() -> None:
    with viewing(GERMAN):
        made = dict(wordings.lines())
    assert made == wordings.recorded()


def test_a_price_in_a_contract_is_written_in_english() -> None:
    price = prices.parse({"model": "flat", "amount_minor": 123_450})
    english = prices.in_words(price, {}, "EUR")
    with viewing(GERMAN):
        assert prices.in_words(price, {}, "EUR") == english


def test_a_rate_is_shown_to_its_reader_and_stays_in_the_contract() -> None:
    price = prices.parse(
        {"model": "per_unit", "unit": "work", "rate": {"amount_minor": 123_450, "per": 1}}
    )
    english = prices.in_words(price, {"works": 2}, "EUR")
    with viewing(GERMAN):
        assert prices.in_words(price, {"works": 2}, "EUR") == english
        assert prices.shown(price, 0, "EUR") == "1,234.50 EUR je Werk"
    assert prices.shown(price, 0, "EUR") == "1,234.50 EUR per work"


@pytest.mark.django_db
def test_certificates_and_receipts_are_the_same_bytes_for_everybody(
    archive: Organization,
    lab: Organization,
    client_for: Callable[..., ApiClient],
    ledger_keys: object,
) -> None:
    with viewing(GERMAN):
        grant = make_grant(archive, lab)
    recorded("test")
    sequencer.run_once()
    client = client_for(lab)
    for name in ("certificate", "certificate.pdf", "receipt", ""):
        url = f"/v1/grants/{grant.pk}/{name}".rstrip("/")
        plain = client.get(url)
        german = client.get(url, Accept_Language="de")
        assert (plain.status_code, german.status_code) == (200, 200)
        assert plain.content == german.content, name


@pytest.mark.django_db
def test_licensing_and_opting_out_are_recorded_in_english(
    archive: Organization, lab: Organization, ledger_keys: object
) -> None:
    caller = caller_for(archive)
    with viewing(GERMAN), pseudo.spoken():
        collection = make_collection(archive, works=2)
        make_grant(archive, lab, offer=make_offer(archive, price_minor=0, collection=collection))
        with acting(caller, writing=False):
            taken = in_collection(caller, str(collection.pk)).order_by("pk")[0]
        optouts.record(caller, by="owner", reason="Withdrawn.", works=[str(taken.pk)])
        recorded("test")
        sequencer.run_once()
    assert pseudo.stored() == []
    # And it is looked for where it would be found.
    with system("change a name in a test"):
        Organization.objects.filter(pk=archive.pk).update(name=f"{pseudo.OPENS}Archive")
    assert [row.partition(":")[0] for row in pseudo.stored()] == ["marketplace_organization"]


@pytest.mark.django_db
def test_a_listing_shows_prices_uses_and_countries_as_its_reader_has_them(
    archive: Organization,
) -> None:
    make_offer(archive, price_minor=123_450)
    page = Client().get("/", headers={"Accept-Language": "de-DE"}).content.decode()
    assert "1.234,50\xa0$" in page
    assert "Modelle vortrainieren (1)" in page
    assert "Vereinigte Staaten (US) (1)" in page
    page = Client().get("/").content.decode()
    assert "1,234.50 USD" in page
    assert "Pretrain models (1)" in page
    assert "United States (US) (1)" in page


@pytest.mark.django_db
def test_tables_and_their_columns_have_names_in_the_reader_s_language(
    archive: Organization,
) -> None:
    user = organizations.admit(
        archive, email="a@example.org", name="Ada", password="correct horse battery", role="owner"
    )
    User.objects.filter(pk=user.pk).update(language="de")
    make_offer(archive)
    client = Client()
    client.force_login(user)
    with system("read an offer in a test"):
        offer = Offer.objects.get()
    page = client.get(f"/studio/licensing/offer/{offer.pk}/change/").content.decode()
    for words in ("Veröffentlicht am", "Rechtsgrundlage", "Sammlungen", "Stände"):
        assert words in page, words
    page = client.get("/studio/licensing/offer/").content.decode()
    assert "1 Angebot" in " ".join(page.split())
    for words in ("Published at", "Rights basis", "Collections", "Snapshots", "offer<"):
        assert words not in page, words


@pytest.mark.django_db
def test_a_decision_is_mailed_to_each_as_they_read_whoever_takes_it(
    archive: Organization, client_for: Callable[..., ApiClient]
) -> None:
    for email, name in (("d@example.org", "Dora"), ("e@example.org", "Ed")):
        organizations.admit(
            archive, email=email, name=name, password="correct horse battery", role="owner"
        )
    preferences.choose(
        User.objects.get(email="d@example.org"), language="de", time_zone="Asia/Tokyo", formats=""
    )
    offer = make_offer(archive)
    mail.outbox.clear()
    # An operator who reads German decides.
    with viewing(GERMAN):
        moderation.decide(
            make_operator(),
            offer=str(offer.pk),
            measure="listing_suspended",
            reasons=moderation.Reasons("Copied.", "law", "§ 97"),
            until=datetime(2099, 1, 1, 15, tzinfo=UTC),
        )
    told = {each.to[0]: each.body for each in mail.outbox}
    assert set(told) == {"d@example.org", "e@example.org", "legal@example.org"}
    assert "Für wie lange: bis 02.01.99, 00:00 JST" in told["d@example.org"]
    # Who chose no language, and who has no account, are written to in English.
    for address in ("e@example.org", "legal@example.org"):
        assert "For how long: until 2099-01-01 15:00 UTC" in told[address]
