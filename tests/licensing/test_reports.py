"""Reports: what anybody may say is wrong, what is refused, the receipt, and the bounds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.core import mail
from django.db import connection
from django.test import Client
from pytest_django import Settings

from licensing import moderation, moderation_pages, offers, reports
from licensing.models import Appeal, Offer, Report
from marketplace.access import acting, system
from marketplace.errors import InvalidInput, NotFound, TooManyReports
from marketplace.models import Audit, Organization
from payments import erasures
from payments.erasures import Person
from tests.licensing.test_moderation import WHY, fresh, links, reported
from tests.make import make_offer, make_operator
from tests.payments.racing import at_once
from tests.people import caller_for

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


@pytest.fixture
def offer(archive: Organization) -> Offer:
    return make_offer(archive)


def form(about: str, **changed: str) -> dict[str, str]:
    return {
        "target": about,
        "ground": "copyright",
        "explanation": "I drew it.",
        "location": "Page 3.",
        "name": "Rae",
        "email": "Rae@example.org",
        "in_good_faith": "yes",
        "homepage": "",
        **changed,
    }


def count() -> int:
    with system("count in a test"):
        return Report.objects.count()


def test_anybody_reports_a_listing_from_its_page_and_follows_it(
    client: Client, archive: Organization, offer: Offer
) -> None:
    assert (
        f'href="/report/?about={offer.pk}"' in client.get(f"/listings/{offer.pk}").content.decode()
    )
    assert f'value="{offer.pk}"' in client.get(f"/report/?about={offer.pk}").content.decode()

    answer = client.post("/report/", form(str(offer.pk)))

    assert answer.status_code == 302
    with system("look in a test"):
        report = Report.objects.get()
        act = Audit.objects.get(action="report.received")
    assert (report.offer_id, report.organization_id) == (offer.pk, archive.pk)
    assert (report.reporter_name, report.reporter_email) == ("Rae", "rae@example.org")
    assert (act.organization_id, act.subject) == (archive.pk, str(report.pk))
    [receipt] = mail.outbox
    [token] = links([receipt], "report")
    assert (receipt.to, answer["Location"]) == (["rae@example.org"], f"/report/{token}")
    assert bytes(report.token_sha256) == hashlib.sha256(token.encode()).digest()
    page = client.get(f"/report/{token}")
    assert str(report.pk) in page.content.decode()
    assert "no-store" in page["Cache-Control"] or "no-cache" in page["Cache-Control"]


@pytest.mark.parametrize("how", ["id", "address", "collection", "digest", "url"])
def test_what_is_meant_is_found_and_the_same_thing_is_joined(
    how: str, archive: Organization, offer: Offer
) -> None:
    digest = hashlib.sha256(b"w").hexdigest()
    one, another = {
        "id": (str(offer.pk), f" {offer.pk} "),
        "address": (f"{configured.BASE_URL}/listings/{offer.pk}", str(offer.pk)),
        "collection": (str(offer.collection_id), str(offer.collection_id)),
        "digest": (digest, f"sha256:{digest.upper()}"),
        "url": ("https://example.org/a.jpg", "https://example.org/a.jpg "),
    }[how]
    first, token = reported(one)
    second, other = reported(another, name="Sid", email="sid@example.org")
    assert (first.joined_to, second.joined_to) == (None, first)
    assert token != other
    assert reports.find(other).pk == second.pk
    is_known = how in {"id", "address", "collection"}
    assert first.organization_id == (archive.pk if is_known else None)
    with system("look in a test"):
        [row] = reports.waiting()
    assert (row, row.more) == (first, 1)


def test_a_private_offer_and_a_draft_are_not_told_apart_from_nothing(
    archive: Organization, lab: Organization
) -> None:
    rows = [make_offer(archive, audience=str(lab.pk)), make_offer(archive, is_published=False)]
    targets = [str(each.pk) for each in rows] + [str(each.collection_id) for each in rows]
    said = set()
    for target in [*targets, "off_01m86qffpae7zr451q5yc40mdx", "col_01m86qffpae7zr451q5yc40mdx"]:
        with pytest.raises(InvalidInput) as refused:
            reported(target)
        said.add(refused.value.detail)
    assert said == {"There is no such listing.", "There is no such collection on sale."}
    assert (count(), mail.outbox) == (0, [])
    # What was on sale can be reported after it is not.
    gone = make_offer(archive)
    offers.withdraw(caller_for(archive), str(gone.pk))
    assert reported(str(gone.pk))[0].offer_id == gone.pk


BAD: dict[str, dict[str, Any]] = {
    "target": {"target": ""},
    "target ": {"target": "javascript:alert(1)"},
    "target  ": {"target": "https://example.org/a b"},
    "target   ": {"target": "x" * 2_001},
    "target    ": {"target": "ftp://example.org"},
    "ground": {"ground": "taste"},
    "explanation": {"explanation": " \n "},
    "explanation ": {"explanation": "a\x00b"},
    "explanation  ": {"explanation": "x" * 5_001},
    "location": {"location": ""},
    "name": {"name": ""},
    "name ": {"name": "x" * 201},
    "email": {"email": ""},
    "email ": {"email": "rae"},
    "email  ": {"email": "a@b.c\nBcc: x@example.org"},
    "in_good_faith": {"in_good_faith": ""},
}


def test_each_bad_field_is_named_and_nothing_is_kept(client: Client, offer: Offer) -> None:
    for name, changed in BAD.items():
        answer = client.post("/report/", form(str(offer.pk), **changed))
        page = answer.content.decode()
        assert answer.status_code == 422, name
        assert f'id="{name.strip()}"' in page
        assert page.count('aria-invalid="true"') == 1, name
    assert (count(), mail.outbox) == (0, [])


def test_html_stays_the_text_that_it_is(client: Client, offer: Offer) -> None:
    sent = form(str(offer.pk), explanation=HOSTILE, location=HOSTILE, name=HOSTILE)
    page = client.get(client.post("/report/", sent)["Location"]).content.decode()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page
    wrong = client.post("/report/", {**sent, "ground": HOSTILE, "target": HOSTILE})
    assert "<script>alert" not in wrong.content.decode()


def test_child_abuse_may_be_reported_without_a_name_and_nothing_else(offer: Offer) -> None:
    report, token = reported(str(offer.pk), ground="child_abuse", name="", email="")
    assert (report.reporter_name, report.reporter_email, mail.outbox) == ("", "", [])
    assert reports.find(token).pk == report.pk
    for ground in ("law", "copyright", "personal_data", "other"):
        with pytest.raises(InvalidInput):
            reported(str(offer.pk), ground=ground, name="", email="")
    assert count() == 1


def test_a_program_that_fills_every_field_is_thanked_and_dropped(
    client: Client, offer: Offer
) -> None:
    answer = client.post("/report/", form(str(offer.pk), homepage="https://spam.example"))
    assert answer.status_code == 200
    assert (count(), mail.outbox) == (0, [])


def test_a_sender_and_an_address_report_so_much_a_day(
    client: Client, offer: Offer, settings: Settings
) -> None:
    settings.REPORTS_A_DAY = 2
    for _each in range(2):
        reported(str(offer.pk), address="192.0.2.7")
    # The same sender under another name, and the same name from elsewhere.
    for changed in (
        {"address": "192.0.2.7", "email": "sid@example.org"},
        {"address": "192.0.2.8"},
    ):
        with pytest.raises(TooManyReports):
            reported(str(offer.pk), **changed)
    assert count() == 2
    reported(str(offer.pk), address="192.0.2.8", email="sid@example.org")
    page = client.post("/report/", form(str(offer.pk)))
    assert (page.status_code, count()) == (429, 3)
    with system("look in a test"), connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(r::text, '') FROM licensing_report r")
        assert "192.0.2" not in cursor.fetchone()[0]


def test_a_proxy_says_who_calls_only_where_one_is_named(rf: Any, settings: Settings) -> None:
    request = rf.get("/", headers={"X-Forwarded-For": "6.6.6.6, 198.51.100.9"})
    assert moderation_pages.client_address(request) == "127.0.0.1"
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    assert moderation_pages.client_address(request) == "198.51.100.9"
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 2
    assert moderation_pages.client_address(request) == "6.6.6.6"


def test_a_seller_does_not_learn_who_reported(archive: Organization, offer: Offer) -> None:
    reported(str(offer.pk))
    with acting(caller_for(archive), writing=False):
        assert Report.objects.count() == 0
        assert "rae" not in str(list(Audit.objects.values())).lower()


def test_the_pages_show_the_decision_and_take_appeals_without_an_account(
    client: Client, offer: Offer
) -> None:
    report, token = reported(str(offer.pk))
    moderation.decide(
        make_operator(), report=str(report.pk), measure="listing_suspended", reasons=WHY
    )
    [mine] = links(mail.outbox, "moderation")
    for address in (f"/report/{token}", f"/moderation/{mine}"):
        page = client.get(address).content.decode()
        assert WHY.facts in page
        assert WHY.reference in page
        assert "out-of-court" in page
        blank = client.post(address, {"reasons": " "})
        assert (blank.status_code, 'aria-invalid="true"' in blank.content.decode()) == (422, True)
        assert client.post(address, {"reasons": HOSTILE})["Location"] == address
        page = client.get(address).content.decode()
        assert "&lt;script&gt;" in page
        assert '<form method="post" class' not in page
    # Neither side sees the other's words.
    with system("look in a test"):
        assert sorted(Appeal.objects.values_list("by", flat=True)) == ["reporter", "seller"]
    assert "Rae" not in client.get(f"/moderation/{mine}").content.decode()


@pytest.mark.parametrize("place", ["report", "moderation"])
def test_a_forged_link_leads_nowhere(client: Client, place: str) -> None:
    for token in ("x", "a" * 43, "%00", "a" * 5_000):
        assert client.get(f"/{place}/{token}").status_code == 404
        assert client.post(f"/{place}/{token}", {"reasons": "Mine."}).status_code == 404
    with pytest.raises(NotFound):
        reports.find("a" * 43)


def test_who_reported_is_erased_and_what_they_reported_stays(offer: Offer) -> None:
    report, token = reported(str(offer.pk))
    with system("erase in a test"):
        gone = reports.forget("RAE@example.org")
        assert reports.forget("rae@example.org").counts == {}
    assert (dict(gone.counts), gone.refs) == ({"reports": 1}, {"reports": [str(report.pk)]})
    row = fresh(report)
    assert (row.reporter_name, row.reporter_email, row.explanation) == ("", "", "I drew it.")
    assert reports.find(token).pk == report.pk
    # It can still be decided; nobody is mailed.
    mail.outbox.clear()
    moderation.decide(make_operator(), report=str(report.pk), measure="none", reasons=WHY)
    assert mail.outbox == []


def test_who_reported_goes_again_from_a_backup(
    offer: Offer, settings: Settings, tmp_path: Path
) -> None:
    settings.ERASURES = str(tmp_path)
    report, _token = reported(str(offer.pk))
    assert erasures.erase(Person(email="rae@example.org")).counts == {"reports": 1}
    assert fresh(report).reporter_email == ""
    with system("restore a backup in a test"):
        Report.objects.filter(pk=report.pk).update(
            reporter_name="Rae", reporter_email="rae@example.org", erased_at=None
        )
    assert erasures.replay().counts == {"reports": 1}
    assert (fresh(report).reporter_name, fresh(report).reporter_email) == ("", "")


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_reports_at_once_keep_to_the_bound_and_join_one(
    archive: Organization, settings: Settings
) -> None:
    settings.REPORTS_A_DAY = 3
    offer = make_offer(archive)
    results = at_once(*[lambda: reported(str(offer.pk))] * 5)
    assert sum(isinstance(each, TooManyReports) for each in results) == 2
    with system("look in a test"):
        assert Report.objects.filter(joined_to__isnull=True).count() == 1
        assert Report.objects.count() == 3
