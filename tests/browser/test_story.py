"""One market, as its people see it: invited, listed, sold, paid, certified, verified."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from licensing.offline import build
from marketplace import invitations, organizations
from marketplace.models import Organization
from payments import processes
from tests.browser.story import App, Person
from tests.browser.test_first_listing import NAME, Walk, bring_in, list_it
from tests.browser.visitor import DESKTOP, PASSWORD, PHONE, Visitor
from tests.database import TestDatabase
from tests.people import caller_for

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
SECONDS_MAX = 180
PersonAt = Callable[..., Person]
Verify = Callable[[Path], subprocess.CompletedProcess[str]]


@pytest.fixture
def world(
    test_database: TestDatabase,
    transactional_db: None,
    ledger_keys: Path,
    settings: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[processes.World]:
    """Server, delivery, worker and a simulated Stripe; who signs in needs a second factor."""
    settings.DATA_DIR = tmp_path
    for name, value in {
        **test_database.environ,
        "LICET_DATA_DIR": str(tmp_path),
        "LICET_LEDGER_KEY_DIR": str(ledger_keys),
        "LICET_SECOND_FACTOR": "required",
    }.items():
        monkeypatch.setenv(name, value)
    with processes.running(processes.free_ports(3)) as running:
        yield running
        running.check()


@pytest.fixture
def person_at(chromium: Browser, world: processes.World) -> PersonAt:
    """Somebody at a browser that knows nobody: `person_at(PHONE)`."""
    alike: dict[tuple[int, int], set[str]] = {}

    def start(size: tuple[int, int] = DESKTOP) -> Person:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, base_url=world.web_url
        )
        context.set_default_timeout(60_000)
        visitor = Visitor(context.new_page(), world.web_url)
        return Person(visitor, alike.setdefault(size, set()))

    return start


def test_a_work_goes_from_an_invitation_to_a_paid_certified_and_verified_license(
    world: processes.World,
    person_at: PersonAt,
    csv_file: Path,
    mailoutbox: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive = organizations.found(
        kind="creator", name="Harbor archive", legal_name="Harbor archive", jurisdiction="IE"
    )
    lab = organizations.found(
        kind="lab", name="Lab", legal_name="Lab Inc", jurisdiction="US-DE", contact_email="l@e.org"
    )
    creator, buyer, counsel = person_at(), person_at(), person_at()
    times = Times()

    app = creator.come_in(invited(archive, mailoutbox, "creator@example.org", "owner"), "Ada")
    times.note("the creator is in")
    complete_the_profile(creator)
    set_up_payouts(creator)
    times.note("can be paid")
    creator.visitor.open("/studio/")
    walk = Walk(creator.visitor, is_checked=True)
    bring_in(walk, csv_file, has_worker=True)
    list_it(walk)
    assert "This collection is listed" in creator.visitor.text
    times.note("listed")

    buyer.come_in(invited(lab, mailoutbox, "buyer@example.org", "finance"), "Lin")
    buy(buyer)
    times.note("sold and paid")

    see_the_sale(creator)
    receipt = verified(creator, tmp_path / "creator")
    verify = offline(world, tmp_path)
    assert verify(receipt).stdout.startswith("TEST LICENSE")
    spoiled = tmp_path / "spoiled.tlog-proof"
    spoiled.write_bytes(receipt.read_bytes().replace(b"A", b"B", 1))
    assert verify(spoiled).returncode != 0
    times.note("certified and verified")

    app = counsel.come_in(invited(lab, mailoutbox, "counsel@example.org", "viewer"), "Cleo")
    readers = [(person_at(size), tmp_path / f"counsel-{size[0]}") for size in (DESKTOP, PHONE)]
    for reader, into in readers:
        proof = verify(reach_the_proof(reader, app, into))
        assert (proof.returncode, proof.stdout[:12]) == (0, "TEST LICENSE")
    times.note("counsel has the proof, by keyboard, at two sizes")

    with capsys.disabled():
        print(f"\n{times}")
    everybody = [creator, buyer, counsel, *(reader for reader, _into in readers)]
    faults = [*walk.faults, *(fault for one in everybody for fault in one.faults)]
    complaints = [said for one in everybody for said in one.visitor.complaints]
    assert (faults, complaints) == ([], []), "\n".join([*faults, *complaints])
    assert times.total() <= SECONDS_MAX


class Times:
    """When each part of the story was over."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._notes: list[str] = []

    def note(self, words: str) -> None:
        self._notes.append(f"{self.total():6.1f} s  {words}")

    def total(self) -> float:
        return time.monotonic() - self._began

    def __str__(self) -> str:
        return "\n".join(self._notes)


def invited(organization: Organization, mailoutbox: Any, email: str, role: str) -> str:
    """The path of a mailed invitation."""
    invitations.invite(caller_for(organization), email=email, role=role)
    return str(mailoutbox[-1].body).partition("127.0.0.1:8000")[2].split()[0]


# --- the creator ------------------------------------------------------------------------------


def complete_the_profile(creator: Person) -> None:
    creator.press("Complete your profile")
    creator.visitor.fill(
        registered_address="1 Quay Street, Galway",
        registration_number="12345",
        representative_name="Ada",
        contact_email="ada@example.org",
    )
    creator.press("Save")
    assert "Saved." in creator.visitor.text


def set_up_payouts(creator: Person) -> None:
    """Tell Stripe, on its own pages, who one is."""
    creator.visitor.open("/studio/")
    creator.press("Set up payouts")
    creator.visitor.fill(country="IE")
    creator.press("Set up payouts")
    assert "Something is still missing" in creator.visitor.text
    creator.press("Go on at Stripe")
    assert creator.page.url.partition("/onboard/")[1]
    creator.press("Complete")
    creator.press("Back to the workspace")
    creator.wait_for("You can be paid")


def see_the_sale(creator: Person) -> None:
    creator.visitor.open("/studio/")
    creator.look()
    creator.go("Sales")
    assert "Lab" in creator.visitor.text
    assert "1,250.00" in creator.visitor.text
    creator.go("Licenses given")
    creator.press("Lab")


def verified(creator: Person, into: Path) -> Path:
    """Take the license's receipt, read its certificate, and check both at the public page."""
    license_page = creator.page.url
    creator.press("Certificate")
    creator.wait_for("In force as of")
    assert "Harbor archive" in creator.visitor.text
    assert "TEST LICENSE" in creator.visitor.text
    certificate = creator.download("Download as PDF", into)
    assert certificate.read_bytes().startswith(b"%PDF-")
    creator.visitor.leave(creator.page.locator("a.qr").click)
    creator.look()
    assert "/verify/" in creator.page.url
    assert "Harbor archive" not in creator.visitor.text
    checked = creator.page.url
    creator.page.goto(license_page)
    receipt = creator.download("Receipt", into)
    creator.page.goto(checked)
    creator.visitor.field("receipt").set_input_files(receipt)
    creator.press("Check it")
    assert "This receipt is sound." in creator.visitor.text
    return receipt


def offline(world: processes.World, directory: Path) -> Verify:
    """Software that knows the log's key, and asks the market nothing."""
    key, verifier = directory / "ledger.vkey", directory / "licet-offline.pyz"
    with urllib.request.urlopen(f"{world.web_url}/ledger/test/vkey", timeout=10) as answer:
        key.write_bytes(answer.read())
    build.build(verifier)
    command = [sys.executable, "-I", str(verifier), "verify", "--key", str(key), "--allow-test"]
    return lambda receipt: subprocess.run(
        [*command, str(receipt)], capture_output=True, text=True, timeout=60, check=False
    )


# --- the lab ----------------------------------------------------------------------------------


def buy(buyer: Person) -> None:
    """Find the offer, have it quoted, accept its contract, and pay by card."""
    visitor = buyer.visitor
    buyer.go("Market")
    visitor.fill(q="harbor")
    buyer.press("Search")
    buyer.press(NAME)
    assert "What you may do with it" in visitor.text
    buyer.press("Get a quote")
    visitor.field("uses").check()
    buyer.press("Get the quote")
    assert "1,250.00" in visitor.text
    buyer.press("Accept, and pay by card")
    visitor.fill(title="Head of data")
    visitor.field("authority").check()
    buyer.press("Accept, and pay by card")
    buyer.press("Pay now")
    assert "Simulated: no money moved." in visitor.text
    visitor.leave(buyer.page.get_by_role("button", name="Pay 1,250.00 USD").click)
    buyer.look()
    # The page looks again by itself.
    expect(buyer.page.get_by_role("heading", name="The license is yours")).to_be_visible()
    buyer.press("Open it in your workspace")
    buyer.press("Open the license")
    assert NAME in visitor.text


def open_the_menu(person: Person) -> None:
    """On a phone. It has the focus as soon as it is there, and gives it back."""
    keys, first = person.page.keyboard, person.page.locator("nav.menu a").first
    person.tab_to("Show or hide the menu")
    keys.press("Enter")
    expect(first).to_be_focused()
    keys.press("Escape")
    expect(person.page.locator(".menu-button.narrow-only")).to_be_focused()
    keys.press("Enter")
    expect(first).to_be_focused()


def reach_the_proof(counsel: Person, app: App, into: Path) -> Path:
    """From signing in to a license's receipt and certificate, without a mouse."""
    visitor = counsel.visitor
    assert visitor.open("/login/?next=/studio/") == 200
    counsel.look()
    counsel.type_into("Email", "counsel@example.org")
    counsel.type_into("Password", PASSWORD)
    counsel.enter()
    counsel.type_into("Code", app.code())
    counsel.enter()
    assert visitor.path == "/studio/"
    if counsel.page.viewport_size["width"] == PHONE[0]:
        open_the_menu(counsel)
    counsel.reach("Licenses held")
    counsel.skip_the_menu()
    counsel.reach("Harbor archive")
    counsel.skip_the_menu()
    receipt = counsel.fetch("Receipt", into)
    # It stands before the receipt.
    counsel.tab_to("Certificate", key="Shift+Tab")
    counsel.enter()
    assert "In force as of" in visitor.text
    certificate = counsel.fetch("Download as PDF", into)
    assert certificate.read_bytes().startswith(b"%PDF-")
    counsel.reach("QR code: check this license")
    assert "/verify/" in visitor.path
    return receipt
