"""Panels: who sees which, what is made of their numbers, and their pages and files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.admin import AdminSite
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from marketplace import access, operators, panel_pages, panels
from marketplace.access import Scope, acting
from marketplace.errors import NotFound
from marketplace.models import Membership, Organization, User
from marketplace.panels import Figure, Line, Money, Panel, Section, Series, Stat, Table
from marketplace.preferences import Viewer, viewing
from marketplace.tenant_site import studio
from tests.make import make_grant, make_offer
from tests.payments.royalty_sales import sell
from tests.people import caller_for

AUCKLAND = ZoneInfo("Pacific/Auckland")
PASSWORD = "correct horse battery"


@pytest.fixture
def member(archive: Organization) -> User:
    user = User.objects.create(email="ada@example.org", name="Ada")
    with access.system("make a member in a test"):
        Membership.objects.create(organization=archive, user=user, role="owner")
    return user


@pytest.fixture
def browser(member: User) -> Client:
    client = Client()
    client.force_login(member)
    return client


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(operators.appoint(email="op@example.org", name="Op", password=PASSWORD))
    return client


def panel(read: Any, **fields: Any) -> Panel:
    values: dict[str, Any] = {
        "key": "test-panel",
        "title": "A panel",
        "section": Section.STUDIO,
        "scope": Scope.SALES_READ,
        "empty": "Do something.",
        "read": read,
        "place": 1,
    }
    return Panel(**{**values, **fields})


SERIES = Series("Words.", (date(2026, 10, 1), date(2026, 11, 1)), (Line("USD", "USD", (-5, 1000)),))
STAT = Stat("Words.", "Name", (Figure("=1+1", 3), Figure("b", 1234567, "JPY")))


# --- periods, words, CSV ----------------------------------------------------------------------


def test_a_month_begins_at_the_viewers_midnight() -> None:
    # In Auckland, summer time (13 hours ahead) ends on April 5.
    period = panels.last_months(3, zone=AUCKLAND, now=datetime(2026, 5, 1, tzinfo=UTC))

    begins = [month.astimezone(UTC).isoformat() for month in (*period.months, period.ends_at)]
    assert begins == [
        "2026-02-28T11:00:00+00:00",
        "2026-03-31T11:00:00+00:00",
        "2026-04-30T12:00:00+00:00",
        "2026-05-31T12:00:00+00:00",
    ]
    assert [day.isoformat() for day in period.days] == ["2026-03-01", "2026-04-01", "2026-05-01"]


def test_the_viewers_zone_is_the_one_that_the_request_activated() -> None:
    with timezone.override(AUCKLAND):
        period = panels.ask(None).period

    assert {month.tzinfo for month in period.months} == {AUCKLAND}
    assert {(month.day, month.hour) for month in period.months} == {(1, 0)}


@pytest.mark.parametrize(
    ("now", "last"),
    [
        ("2026-12-31T10:59:59+00:00", "2026-12-01"),
        ("2026-12-31T11:00:00+00:00", "2027-01-01"),
    ],
)
def test_a_year_ends_there_too(now: str, last: str) -> None:
    period = panels.last_months(zone=AUCKLAND, now=datetime.fromisoformat(now))

    assert period.days[-1].isoformat() == last
    assert len(period.months) == 12


@pytest.mark.parametrize(
    ("formats", "texts"),
    [
        ("", ["-1,250.00 USD", "1,250 JPY", "0.050 KWD", "0.00 EUR"]),
        ("de-DE", ["-1.250,00\xa0$", "1.250\xa0¥", "0,050\xa0KWD", "0,00\xa0€"]),
    ],
)
def test_money_is_written_as_the_viewer_does(formats: str, texts: list[str]) -> None:
    amounts = [(-125_000, "USD"), (1_250, "JPY"), (50, "KWD"), (0, "EUR")]
    with viewing(Viewer(formats=formats)):
        assert [panels.money_text(*amount) for amount in amounts] == texts


def test_numbers_and_times_are_written_as_the_viewer_does() -> None:
    at = datetime(2026, 11, 27, 15, 4, tzinfo=UTC)
    cells = (1_234_567, at, date(2026, 11, 27))
    assert [panels.cell_text(cell) for cell in cells] == [
        "1,234,567",
        "2026-11-27 15:04 UTC",
        "2026-11-27",
    ]
    with viewing(Viewer("de", ZoneInfo("Asia/Tokyo"), "de-DE")):
        assert [panels.cell_text(cell) for cell in cells] == [
            "1.234.567",
            "28.11.26, 00:04 JST",
            "27.11.2026",
        ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 second"), (119, "119 seconds"), (7199, "119 minutes"), (90_000, "25 hours"),
     (172_800, "2 days"), (-5, "0 seconds")],
)  # fmt: skip
def test_an_age_has_one_unit(seconds: int, text: str) -> None:
    assert panels.age_text(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_formula_is_text_in_a_file(begin: str) -> None:
    name = f'{begin}HYPERLINK("https://evil.example")'
    answer = Table("", (begin + "Name", "Value"), ((name, Money(-100, "USD")),))

    [heading, row] = list(csv.reader(io.StringIO(panels.csv_text(answer), newline="")))

    assert heading == ["'" + begin + "Name", "Value", "Currency"]
    # A number is a number, also below 0.
    assert row == ["'" + name, "-1.00", "USD"]


def test_a_file_has_the_numbers_without_their_dress() -> None:
    at = datetime(2026, 11, 30, 23, 59, 1, tzinfo=AUCKLAND)
    answer = Table(
        "", tuple("abcdef"), ((1234567, at, date(2026, 1, 2), timedelta(hours=2), None, "x,y"),)
    )

    assert panels.csv_text(answer).splitlines()[1] == (
        '1234567,2026-11-30T10:59:01Z,2026-01-02,7200,,"x,y"'
    )
    assert panels.csv_text(SERIES).splitlines() == [
        "Month,USD,Currency", "2026-10,-0.05,USD", "2026-11,10.00,USD",
    ]  # fmt: skip
    assert panels.csv_text(STAT).splitlines() == [
        "Name,Value,Currency", "'=1+1,3,", "b,1234567,JPY",
    ]  # fmt: skip


def test_each_unit_has_a_chart_of_its_own() -> None:
    found = panels.drawn(panel(lambda _question: STAT), STAT)

    assert [chart.unit for chart in found] == ["", "JPY"]
    assert 'aria-labelledby="studio-test-panel-jpy-title' in found[1].svg
    assert panels.drawn(panel(None), Table("", ("a",), (("b",),))) == ()
    assert panels.drawn(panel(None), Stat("", "a", (Figure("b", 0),))) == ()


# --- who sees what ----------------------------------------------------------------------------


@pytest.fixture
def registered() -> Iterator[Panel]:
    made = panel(lambda _question: SERIES)
    panels.register(made)
    yield made
    del panels._PANELS[made.section, made.key]


def test_a_key_is_taken_once(registered: Panel) -> None:
    with pytest.raises(AssertionError, match="two panels"):
        panels.register(registered)


@pytest.mark.parametrize("section", [Section.STUDIO, Section.OPERATOR])
def test_a_tenants_panel_names_a_scope_and_an_operators_none(section: Section) -> None:
    scope = None if section is Section.STUDIO else Scope.SALES_READ
    with pytest.raises(AssertionError):
        panels.register(panel(lambda _question: SERIES, section=section, scope=scope))
    assert (section, "test-panel") not in panels._PANELS


@pytest.mark.django_db
def test_who_lacks_the_scope_does_not_see_it(archive: Organization, registered: Panel) -> None:
    reader = caller_for(archive, scopes=[Scope.SALES_READ])
    other = caller_for(archive, scopes=[Scope.WORKS_READ])

    assert registered in panels.of(Section.STUDIO, reader)
    assert panels.of(Section.STUDIO, other) == []
    assert panels.find(Section.STUDIO, reader, registered.key) is registered
    for caller, section in ((other, Section.STUDIO), (reader, Section.LICENSES)):
        with pytest.raises(NotFound):
            panels.find(section, caller, registered.key)
    # Nobody's caller sees operators' panels, and an operator no tenant's.
    assert panels.of(Section.OPERATOR, reader) == []
    assert panels.of(Section.STUDIO, None) == []


@pytest.mark.django_db
@pytest.mark.parametrize("section", list(Section))
def test_a_first_page_has_at_most_six_and_reads_little(
    section: Section, archive: Organization, lab: Organization
) -> None:
    sell(lab, make_offer(archive))
    make_grant(archive, lab)
    caller = None if section is Section.OPERATOR else caller_for(archive)
    seen = panels.of(section, caller, first_page=True)
    everything = panels.of(section, caller)
    assert 1 <= len(seen) <= 6
    assert seen == everything[: len(seen)]

    entered = access.system("look in a test") if caller is None else acting(caller, writing=False)
    with entered:
        question = panels.ask(caller, livemode=False)
        for one in everything:
            with CaptureQueriesContext(
                connection,
            ) as queries:
                shown = panels.show(one, question)
            assert 1 <= len(queries) <= 2, one.key
            # Words for where there is nothing, and where there is something.
            assert str(one.empty).endswith(".")
            assert shown.answer.is_empty or shown.answer.sentence.endswith(".")


@pytest.mark.django_db
def test_a_panel_reads_inside_a_transaction_of_somebody(archive: Organization) -> None:
    caller = caller_for(archive)
    # Without a tenant, the walls show nothing.
    for one in panels.of(Section.STUDIO, caller):
        assert one.read(panels.ask(caller)).is_empty


# --- pages and files --------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_page_shows_words_a_chart_and_the_same_numbers(
    browser: Client, archive: Organization, lab: Organization
) -> None:
    sell(lab, make_offer(archive))

    page = browser.get("/studio/panels/earnings-by-month/")

    text = page.content.decode()
    assert page.status_code == 200
    assert "You earned 500.00 USD in these 12 months, after fees and tax." in text
    assert '<svg xmlns="http://www.w3.org/2000/svg"' in text
    assert "<summary>The same numbers as a table</summary>" in text
    assert "500.00 USD</td>" in text
    assert "style=" not in text.partition('<div class="panels">')[2].partition("</section>")[0]
    assert "script-src 'self'" in page["Content-Security-Policy"]


@pytest.mark.django_db
def test_an_empty_panel_says_what_to_do_next(browser: Client) -> None:
    text = browser.get("/studio/panels/").content.decode()

    assert "Nothing was sold in these months. List an offer with a price" in text
    assert "<figure>" not in text
    assert "Download" not in text


@pytest.mark.django_db
def test_files_are_what_they_say(browser: Client, archive: Organization, lab: Organization) -> None:
    sell(lab, make_offer(archive))
    base = "/studio/panels/earnings-by-month"

    table, image, picture = (
        browser.get(f"{base}.{name}") for name in ("csv", "svg?unit=USD", "png?unit=USD")
    )

    assert table.content.decode("utf-8-sig").splitlines()[-1].endswith(",500.00,USD")
    assert table["Content-Type"] == "text/csv; charset=utf-8"
    assert image.content.startswith(b"<svg ")
    assert image["Content-Type"] == "image/svg+xml"
    assert picture.content.startswith(b"\x89PNG")
    assert picture["Content-Disposition"] == 'attachment; filename="earnings-by-month-usd.png"'
    for bad in (f"{base}.svg?unit=EUR", f"{base}.pdf", f"{base}x.csv", f"{base}x/"):
        assert browser.get(bad).status_code == 404


@pytest.mark.django_db
def test_another_tenant_sees_nothing_of_it(
    browser: Client, stranger: Organization, lab: Organization
) -> None:
    sell(lab, make_offer(stranger, currency="EUR"))

    assert b"EUR" not in browser.get("/studio/panels/").content
    assert b"EUR" not in browser.get("/studio/panels/earnings-by-month.csv").content
    assert browser.get("/admin/panels/").status_code == 302
    assert browser.get("/studio/panels/volume/").status_code == 404


@pytest.mark.django_db
def test_operators_choose_the_mode(
    operator: Client, archive: Organization, lab: Organization
) -> None:
    sell(lab, make_offer(archive))

    test = operator.get("/admin/panels/?mode=test").content.decode()
    live = operator.get("/admin/panels/?mode=live").content.decode()

    assert "Licenses for 500.00 USD were sold; the market kept 0.00 USD of it." in test
    assert "500.00" not in live
    assert '<option value="live" selected>' in live
    assert "volume.csv?mode=test" in test
    assert operator.get("/admin/panels/volume.csv?mode=live").content.count(b"USD") == 0
    # Who is a member of nobody has no studio.
    assert operator.get("/studio/panels/").status_code == 302


@pytest.mark.django_db
def test_a_site_gets_its_first_page_from_one_call(archive: Organization, rf: Any) -> None:
    caller = caller_for(archive)
    site: AdminSite = studio
    with acting(caller, writing=False):
        context = panel_pages.dashboard(rf.get("/studio/"), site, Section.STUDIO, caller)

    assert context["panels_url"] == "/studio/panels/"
    assert [one.panel.key for one in context["shown_panels"]] == [
        "earnings-by-month", "licenses-given", "payouts", "earnings-by-collection", "licensed",
        "opt-outs",
    ]  # fmt: skip
