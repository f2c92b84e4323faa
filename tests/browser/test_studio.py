"""The studio in a real browser: from signing in to a listed offer, and a stranger's 404s."""

from __future__ import annotations

from pathlib import Path

import pytest

from licensing.models import Offer
from marketplace import organizations
from marketplace.access import system
from marketplace.models import Collection, Organization
from marketplace.tenant_site import studio
from tests.browser.conftest import VisitorFor
from tests.browser.test_first_listing import Walk, bring_in
from tests.browser.visitor import PASSWORD, PHONE, Visitor

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def member(organization: Organization, email: str) -> None:
    organizations.admit(
        organization, email=email, name=email.partition("@")[0], password=PASSWORD, role="owner"
    )


def list_a_collection(creator: Visitor, csv_file: Path) -> None:
    """Follow the checklist from nothing to a listed offer."""
    bring_in(Walk(creator, is_checked=False), csv_file)
    creator.open("/studio/marketplace/collection/")
    creator.press("Letters of the harbor")
    collection = creator.path

    creator.open(collection)
    creator.press("Attest the rights")
    creator.fill(basis="own", statement="We wrote them.", person_title="Archivist")
    creator.field("authority").check()
    creator.press("Attest the rights")
    assert creator.path == collection
    creator.press("Freeze a snapshot")
    creator.press("Freeze a snapshot")
    assert "Snapshot 1 holds 5 works." in creator.text

    creator.press("Publish terms")
    creator.leave(creator.page.locator(".templates a").first.click)
    creator.page.get_by_text("Read its words").click()
    assert "What is permitted" in creator.page.locator("details pre").first.inner_text()
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
    snapshot = creator.page.locator(".field-snapshot .select2-selection")
    assert "Letters of the harbor" in snapshot.inner_text()
    creator.page.locator(".field-terms .select2-selection").click()
    creator.page.locator(".select2-search__field").press_sequentially("Tr")
    creator.page.locator(".select2-results__option", has_text="training v1").wait_for()
    creator.page.locator(".select2-search__field").press("Enter")
    assert "training v1" in creator.page.locator(".field-terms .select2-selection").inner_text()


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
    visitor_for: VisitorFor,
    csv_file: Path,
) -> None:
    member(archive, "creator@example.org")
    member(stranger, "stranger@example.org")

    creator = visitor_for()
    creator.sign_in("creator@example.org", "/studio/")
    list_a_collection(creator, csv_file)
    assert creator.complaints == []

    pages = pages_of(archive)
    assert len(pages) >= 6 * 3
    seen = {page: creator.open(page) for page in pages if page.endswith(("/change/", "/history/"))}
    assert set(seen.values()) == {200}

    other = visitor_for()
    other.sign_in("stranger@example.org", "/studio/")
    assert {page: other.open(page) for page in pages} == dict.fromkeys(pages, 404)
    # On sale is on sale: the market shows the offer to everybody.
    with system("look at the offer in a test"):
        assert [offer.published_at is None for offer in Offer.objects.all()] == [False]
    assert other.open("/") == 200
    assert "Letters of the harbor" in other.text


def test_a_collection_is_made_by_keyboard_alone_and_fits_a_phone(
    archive: Organization, visitor_for: VisitorFor
) -> None:
    member(archive, "creator@example.org")
    creator = visitor_for(PHONE)
    creator.sign_in("creator@example.org", "/studio/")
    walk_to(creator, "Make a collection")
    creator.leave(lambda: creator.page.keyboard.press("Enter"))
    walk_to(creator, name="name")
    creator.page.keyboard.type("A" * 180)
    walk_to(creator, "Save")
    creator.leave(lambda: creator.page.keyboard.press("Enter"))
    assert "Bring in works from a file" in creator.text
    with system("find a test's collection"):
        made = Collection.objects.get()
    assert creator.open(f"/studio/marketplace/collection/{made.pk}/change/") == 200
    assert "Before this is listed" in creator.text

    paths = [creator.path, "/studio/", "/studio/marketplace/collection/add/"]
    for model, pages in studio._registry.items():
        base = f"/studio/{model._meta.app_label}/{model._meta.model_name}/"
        paths += [base, f"{base}add/"] if pages.add_form else [base]
    paths += [creator.path.replace("change", verb) for verb in ("list", "attest", "history")]
    for path in paths:
        assert creator.open(path) == 200, path
        assert creator.overflow() <= 0, f"{path} scrolls sideways"
    assert creator.complaints == []


def walk_to(visitor: Visitor, words: str = "", *, name: str = "") -> None:
    """Press Tab until the focus stands on what says this, or on the field of this name."""
    for _press in range(60):
        visitor.page.keyboard.press("Tab")
        text, field = visitor.page.evaluate(
            "[document.activeElement.innerText, document.activeElement.name]"
        )
        if (words and text == words) or (name and field == name):
            return
    raise AssertionError(f"Tab never came to {words or name}.")
