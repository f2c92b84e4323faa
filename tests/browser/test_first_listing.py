"""From an invitation's link to the first listed collection, as a person does it at a browser."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Frame, expect

from licensing.models import Offer
from marketplace import invitations
from marketplace.access import system
from marketplace.imports import queue
from marketplace.models import ImportJob, Organization, Work
from tests.browser.conftest import VisitorFor
from tests.browser.visitor import DESKTOP, PASSWORD, PHONE, Visitor
from tests.marketplace.factors import totp_code
from tests.people import caller_for

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
EMAIL = "creator@example.org"
SCREENS_MAX, SECONDS_MAX = 12, 180
NAME = "Letters of the harbor"


class Screens:
    """The pages that a person saw, one after the other; the same page again is no new one."""

    def __init__(self, visitor: Visitor) -> None:
        self.seen: list[str] = []
        visitor.page.on("framenavigated", self._came)

    def _came(self, frame: Frame) -> None:
        path = urlsplit(frame.url).path
        if frame.parent_frame is None and [path] != self.seen[-1:]:
            self.seen.append(path)


class Walk:
    """A creator's way; with `is_checked`, axe looks at each page of it."""

    def __init__(self, visitor: Visitor, *, is_checked: bool) -> None:
        self.visitor, self.is_checked = visitor, is_checked
        self.faults: list[str] = []

    def look(self) -> None:
        if not self.is_checked:
            return
        path = self.visitor.path
        self.faults += [f"{path}: {one}" for one in self.visitor.violations()]
        if self.visitor.overflow() > 0:
            self.faults.append(f"{path}: {self.visitor.overflow()} pixels too wide")


def invited(organization: Organization, mailoutbox: Any, email: str = EMAIL) -> str:
    """The path of a mailed invitation of an owner."""
    invitations.invite(caller_for(organization), email=email, role="owner")
    return str(mailoutbox[-1].body).partition("127.0.0.1:8000")[2].split()[0]


def come_in(walk: Walk, link: str) -> str:
    """Open the link, choose a password, set up an app. The app's key, for the next time."""
    creator = walk.visitor
    assert creator.open(link) == 200
    walk.look()
    creator.fill(name="Ada", password=PASSWORD)
    creator.press("Accept")
    walk.look()
    creator.press("Authenticator app")
    secret = creator.page.locator("code.key").inner_text()
    walk.look()
    creator.fill(code=totp_code(secret))
    creator.press("Add the app")
    assert "10 codes are left" in creator.text
    walk.look()
    return secret


def bring_in(walk: Walk, csv_file: Path, *, has_worker: bool = False) -> None:
    """Make a collection of a table: map its columns, look at what would come in, have it come."""
    creator = walk.visitor
    creator.press("Make a collection")
    walk.look()
    creator.fill(name=NAME, description="Five letters of 1911.")
    creator.press("Save")
    walk.look()
    creator.field("file").set_input_files(csv_file)
    with creator.page.expect_navigation(url="**/files/upl_*/"):
        creator.page.get_by_role("button", name="Send the file").click()
    assert "1 row would not come in" in creator.text
    creator.page.get_by_label("Rubric", exact=True).select_option("title")
    walk.look()
    creator.press("Import it like this")
    if not has_worker:
        expect(creator.page.get_by_text("Waiting for the worker.")).to_be_visible()
        # What `manage.py worker` does all the time.
        assert queue.carry_out_due() == 1
    expect(creator.page.get_by_text("Finished.")).to_be_visible()
    expect(creator.page.get_by_role("link", name="Next: choose terms")).to_be_visible()
    assert "Download the rejected rows" in creator.text
    walk.look()


def list_it(walk: Walk) -> None:
    """Answer the cards, read the words, sign for the rights, name a price."""
    creator = walk.visitor
    creator.press("Next: choose terms")
    creator.fill(name="Training")
    creator.page.get_by_label("Offered as a service: no open weights").check()
    expect(creator.page.locator('[data-part="said"]')).to_contain_text("no open weights")
    walk.look()
    creator.press("Save")
    creator.page.get_by_text("Read the words of “Training v1”").click()
    assert "What is permitted" in creator.page.locator("details[open] pre").inner_text()
    walk.look()
    creator.fill(price="1250.00", currency="USD", basis="own")
    creator.fill(statement="We wrote them.", person_title="Archivist")
    creator.field("authority").check()
    creator.press("List it")
    walk.look()


def start(visitor: Visitor, *, is_checked: bool = False) -> Walk:
    visitor.page.context.set_default_timeout(60_000)
    return Walk(visitor, is_checked=is_checked)


def test_a_creator_lists_a_first_collection_within_3_minutes_and_12_screens(
    archive: Organization,
    visitor_for: VisitorFor,
    csv_file: Path,
    settings: Any,
    mailoutbox: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings.SECOND_FACTOR = "required"
    link = invited(archive, mailoutbox)
    creator = visitor_for()
    screens, walk = Screens(creator), start(creator)
    began = time.monotonic()
    come_in(walk, link)
    creator.open("/studio/")
    bring_in(walk, csv_file)
    list_it(walk)
    seconds = time.monotonic() - began
    with capsys.disabled():
        print(f"\nFirst listing: {len(screens.seen)} screens, {seconds:.1f} s")
    assert "This collection is listed" in creator.text
    assert len(screens.seen) <= SCREENS_MAX, screens.seen
    assert seconds <= SECONDS_MAX
    with system("look at the offer in a test"):
        assert [str(one.state) for one in Offer.objects.all()] == ["listed"]
        job = ImportJob.objects.get()
        titles = sorted(Work.objects.values_list("title", flat=True))
    assert titles == [f"Letter {number}" for number in range(5)]
    assert (job.imported, job.rejected) == (5, 1)
    assert creator.complaints == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_every_page_on_the_way_to_the_first_listing_meets_wcag_2_2_aa(
    archive: Organization,
    visitor_for: VisitorFor,
    csv_file: Path,
    settings: Any,
    mailoutbox: Any,
    size: tuple[int, int],
) -> None:
    settings.SECOND_FACTOR = "required"
    settings.LISTING_REVIEW = True
    walk = start(visitor_for(size), is_checked=True)
    creator = walk.visitor
    come_in(walk, invited(archive, mailoutbox))
    creator.open("/studio/")
    walk.look()
    bring_in(walk, csv_file)
    list_it(walk)
    assert "The market's operator reviews the offer" in creator.text
    with system("look at the offer in a test"):
        assert [str(one.state) for one in Offer.objects.all()] == ["in_review"]
    assert (walk.faults, creator.complaints) == ([], [])
