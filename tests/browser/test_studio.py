"""The studio in a real browser: from signing in to a listed offer, and a stranger's 404s."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from licensing.models import Offer
from marketplace import organizations
from marketplace.access import system
from marketplace.models import Organization
from marketplace.studio_site import studio
from tests.browser.conftest import PHONE, Browser

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PASSWORD = "correct horse battery"
BrowserFor = Callable[..., Browser]
WAIT_SECONDS = 60


class Visitor:
    """One person at one browser."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self.url = browser, url

    def open(self, path: str) -> int:
        """Go to a page; the status that it was answered with."""
        self.browser.get(f"{self.url}{path}")
        script = "return performance.getEntriesByType('navigation')[0].responseStatus"
        return int(self.browser.execute_script(script))

    def find(self, css: str) -> WebElement:
        wait = WebDriverWait(self.browser, WAIT_SECONDS)
        return wait.until(lambda browser: browser.find_element(By.CSS_SELECTOR, css))

    def leave(self, act: Callable[[], Any]) -> None:
        """Do what leads to another page, and wait for it."""
        page = self.browser.find_element(By.TAG_NAME, "html")
        act()
        wait = WebDriverWait(self.browser, WAIT_SECONDS)
        wait.until(lambda browser: browser.find_element(By.TAG_NAME, "html") != page)
        wait.until(
            lambda browser: browser.execute_script("return document.readyState") == "complete"
        )

    def press(self, words: str) -> None:
        """Follow the link, or press the button, of the main part that says this."""
        says = f"normalize-space()='{words}'"
        path = f"//*[@id='content']//*[self::a[{says}] or self::button[{says}]]"
        found = self.browser.find_element(By.XPATH, path)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        self.leave(found.click)

    def fill(self, **values: str) -> None:
        for name, value in values.items():
            field = self.find(f"[name={name}]")
            if field.tag_name == "select":
                Select(field).select_by_value(value)
            else:
                field.send_keys(value)

    def sign_in(self, email: str, then: str) -> None:
        assert self.open(then) == 200
        assert "/login/" in self.browser.current_url
        self.fill(login=email, password=PASSWORD)
        self.leave(lambda: self.find("[name=password]").send_keys(Keys.ENTER))
        assert self.browser.current_url == f"{self.url}{then}"

    @property
    def text(self) -> str:
        return self.find("body").text

    @property
    def path(self) -> str:
        return str(self.browser.current_url).removeprefix(self.url)

    def complaints(self) -> list[str]:
        """What the browser refused, missed or failed at: the policy, a file, a script."""
        return [str(line["message"]) for line in self.browser.get_log("browser")]


def member(organization: Organization, email: str) -> None:
    organizations.admit(
        organization, email=email, name=email.partition("@")[0], password=PASSWORD, role="owner"
    )


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    """A table as a creator's system exports it, with one line that is wrong."""
    lines = ["external_id,sha256,length,title,language"]
    for number in range(5):
        digest = hashlib.sha256(b"letter %d" % number).hexdigest()
        lines.append(f"letter-{number},{digest},{100 + number},Letter {number},en")
    path = tmp_path / "letters.csv"
    path.write_text("\n".join([*lines, "letter-5,no digest,7,Letter 5,en\n"]))
    return path


def list_a_collection(creator: Visitor, csv_file: Path) -> None:
    """Follow the checklist from nothing to a listed offer."""
    creator.press("Make a collection")
    creator.fill(name="Letters of the harbor", description="Five letters of 1911.")
    creator.press("Save")
    collection = creator.path

    creator.press("Bring works into it")
    creator.find("[name=file]").send_keys(str(csv_file))
    creator.press("Import a CSV file")
    assert "5 works came in; 1 rejected" in creator.text
    assert "letter-5" in creator.text

    creator.open(collection)
    creator.press("Attest the rights")
    creator.fill(basis="own", statement="We wrote them.", person_title="Archivist")
    creator.find("[name=authority]").click()
    creator.press("Attest the rights")
    assert creator.path == collection
    creator.press("Freeze a snapshot")
    creator.press("Freeze a snapshot")
    assert "Snapshot 1 holds 5 works." in creator.text

    creator.press("Publish terms")
    creator.leave(creator.find(".templates a").click)
    creator.find("summary").click()
    assert "What is permitted" in creator.find("details pre").text
    creator.press("Save")
    creator.press("Publish")
    creator.press("Publish")
    assert "is published" in creator.text

    creator.open(collection)
    creator.press("Make an offer")
    creator.fill(price="1250.00", currency="EUR")
    choose_terms(creator)
    creator.press("Save")
    assert "Nobody else sees this draft" in creator.text
    creator.press("Publish")
    creator.press("Publish")
    creator.open(collection)
    assert "This collection is listed" in creator.text


def choose_terms(creator: Visitor) -> None:
    """The field completes while one types; the snapshot came with the link."""
    assert "Letters of the harbor" in creator.find(".field-snapshot .select2-selection").text
    creator.find(".field-terms .select2-selection").click()
    search = creator.find(".select2-search__field")
    search.send_keys("Tr")
    creator.find(".select2-results__option--highlighted, .select2-results__option--selectable")
    WebDriverWait(creator.browser, WAIT_SECONDS).until(
        lambda browser: "Searching" not in creator.find(".select2-results").text
    )
    search.send_keys(Keys.ENTER)
    assert "training v1" in creator.find(".field-terms .select2-selection").text


def pages_of(organization: Organization) -> list[str]:
    """The address of every page of every row that the organization has in the studio."""
    found = []
    with system("list a tenant's pages in a test"):
        for model, pages in studio._registry.items():
            base = f"/studio/{model._meta.app_label}/{model._meta.model_name}"
            owner = {"organization": organization}
            names = ["change", "history", "delete"]
            names += [one.name for one in (*pages.verbs, *pages.files)]
            if any(one.name == "organization" for one in model._meta.fields):
                for row in model._default_manager.filter(**owner):
                    found += [f"{base}/{row.pk}/{name}/" for name in names]
    return found


def test_a_creator_lists_a_collection_and_a_stranger_finds_none_of_its_pages(
    archive: Organization,
    stranger: Organization,
    browser_for: BrowserFor,
    live_server: Any,
    csv_file: Path,
) -> None:
    member(archive, "creator@example.org")
    member(stranger, "stranger@example.org")

    creator = Visitor(browser_for(), live_server.url)
    creator.sign_in("creator@example.org", "/studio/")
    list_a_collection(creator, csv_file)
    assert creator.complaints() == []

    pages = pages_of(archive)
    assert len(pages) >= 6 * 3
    seen = {page: creator.open(page) for page in pages if page.endswith(("/change/", "/history/"))}
    assert set(seen.values()) == {200}

    other = Visitor(browser_for(), live_server.url)
    other.sign_in("stranger@example.org", "/studio/")
    assert {page: other.open(page) for page in pages} == dict.fromkeys(pages, 404)
    # On sale is on sale: the market shows the offer to everybody.
    with system("look at the offer in a test"):
        assert [offer.published_at is None for offer in Offer.objects.all()] == [False]
    assert other.open("/") == 200
    assert "Letters of the harbor" in other.text


def test_a_collection_is_made_by_keyboard_alone_and_fits_a_phone(
    archive: Organization, browser_for: BrowserFor, live_server: Any
) -> None:
    member(archive, "creator@example.org")
    creator = Visitor(browser_for(size=PHONE), live_server.url)
    creator.sign_in("creator@example.org", "/studio/")
    walk_to(creator, "Make a collection")
    creator.leave(lambda: active(creator).send_keys(Keys.ENTER))
    walk_to(creator, name="name")
    active(creator).send_keys("A" * 180)
    walk_to(creator, "Save")
    creator.leave(lambda: active(creator).send_keys(Keys.ENTER))
    assert "Before this is listed" in creator.text

    paths = [creator.path, "/studio/", "/studio/marketplace/collection/add/"]
    for model, pages in studio._registry.items():
        base = f"/studio/{model._meta.app_label}/{model._meta.model_name}/"
        paths += [base, f"{base}add/"] if pages.add_form else [base]
    paths += [creator.path.replace("change", verb) for verb in ("import", "attest", "history")]
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    for path in paths:
        assert creator.open(path) == 200, path
        assert creator.browser.execute_script(wide) <= 0, f"{path} scrolls sideways"
    assert creator.complaints() == []


def active(visitor: Visitor) -> WebElement:
    return visitor.browser.switch_to.active_element


def walk_to(visitor: Visitor, words: str = "", *, name: str = "") -> None:
    """Press Tab until the focus stands on what says this, or on the field of this name."""
    for _press in range(60):
        active(visitor).send_keys(Keys.TAB)
        one = active(visitor)
        if (words and one.text == words) or (name and one.get_attribute("name") == name):
            return
    raise AssertionError(f"Tab never came to {words or name}.")
