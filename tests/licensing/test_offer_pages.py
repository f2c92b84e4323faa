"""Offers in the workspace: for one buyer, on request, on invoice, by count, and their samples."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from licensing import offer_forms, offers, snapshots, terms
from licensing.models import Offer, Sample
from marketplace import organizations
from marketplace.access import system
from marketplace.models import Collection, Organization
from tests.make import TYPED, make_collection
from tests.people import caller_for, found

pytestmark = pytest.mark.django_db
ADD = "/studio/licensing/offer/add/"


class Seller:
    """An owner of the archive at the form, with a snapshot and terms to offer."""

    def __init__(self, organization: Organization) -> None:
        self.collection: Collection = make_collection(organization)
        caller = caller_for(organization)
        frozen = snapshots.finalize(caller, str(self.collection.pk))
        drafted = terms.draft(caller, name="Training", typed=TYPED)
        terms.publish(caller, str(drafted.pk))
        self.caller = caller
        self.form = {
            "snapshot": str(frozen.pk),
            "terms": str(drafted.pk),
            "price": "1250.00",
            "currency": "USD",
        }
        user = organizations.admit(
            organization,
            email="ada@example.org",
            name="Ada",
            password="correct horse battery",
            role="owner",
        )
        self.client = Client(raise_request_exception=False)
        self.client.force_login(user)

    def send(self, **changes: Any) -> Any:
        return self.client.post(ADD, {**self.form, **changes})

    def refused(self, **changes: Any) -> dict[str, list[str]]:
        """What stands at which field; nothing was made."""
        answer = self.send(**changes)
        assert answer.status_code == 200
        assert rows(Offer) == []
        return {name: list(said) for name, said in answer.context["adminform"].form.errors.items()}

    def made(self, **changes: Any) -> tuple[Offer, str]:
        """The offer, and its page."""
        answer = self.send(**changes)
        assert answer.status_code == 302, answer.context["adminform"].form.errors
        [offer] = [one for one in rows(Offer) if str(one.pk) in answer.url]
        return offer, text(self.client.get(answer.url))


@pytest.fixture
def seller(archive: Organization, ledger_keys: object) -> Seller:
    return Seller(archive)


def rows(model: Any) -> list[Any]:
    with system("read rows in a test"):
        return list(model.objects.select_related(None).order_by("pk"))


def text(answer: Any) -> str:
    return str(answer.content.decode())


# --- for whom ---------------------------------------------------------------------------------


def test_a_private_offer_finds_its_buyer_by_the_exact_name_or_the_id(
    seller: Seller, lab: Organization
) -> None:
    for called in (" Lab Ltd ", str(lab.pk)):
        offer, page = seller.made(audience=called)
        assert offer.audience_id == lab.pk
        # So that a namesake is told apart, before it is published.
        assert f"Lab (Lab Ltd, US-DE, {lab.pk})" in page
        assert "whether it is for the organization that you mean" in page


def test_nothing_near_a_name_is_found(seller: Seller, lab: Organization) -> None:
    for called in ("lab", "Lab%", str(seller.collection.pk)):
        errors = seller.refused(audience=called)
        assert errors == {
            "audience": [
                "No organization here has exactly this name. Ask it for its name or its id."
            ]
        }


def test_of_two_with_one_name_none_is_guessed(seller: Seller, lab: Organization) -> None:
    namesake = found("Lab", "lab", legal_name="Another Ltd")
    assert "Several organizations" in seller.refused(audience="Lab")["audience"][0]
    offer, _page = seller.made(audience="Another Ltd")
    assert offer.audience_id == namesake.pk


def test_an_offer_is_not_private_to_its_seller(seller: Seller) -> None:
    assert "its own seller" in seller.refused(audience="Archive")["audience"][0]


# --- how it is sold and paid ------------------------------------------------------------------


def test_what_is_left_out_is_as_the_api_has_it(seller: Seller) -> None:
    offer, page = seller.made()
    assert (offer.price_minor, offer.access, offer.invoice_days, offer.grants_on) == (
        125_000,
        "open",
        [],
        "payment",
    )
    assert offer.audience_id is None
    assert "At once only" in page


def test_an_offer_on_request_and_on_invoice_says_so(seller: Seller) -> None:
    offer, page = seller.made(access="on_request", invoice_days=["60", "30"], grants_on="issue")
    assert (offer.access, offer.invoice_days, offer.grants_on) == ("on_request", [30, 60], "issue")
    assert "Only whom the seller approved" in page
    assert "within 30, 60 days; the license begins: With the invoice" in page
    assert set(offer_forms.INVOICE_DAYS) == offers.INVOICE_DAYS


def test_what_cannot_be_together_stands_at_its_field(seller: Seller) -> None:
    assert "grants_on" in seller.refused(grants_on="issue")
    assert "invoice_days" in seller.refused(invoice_days=["31"])
    assert "access" in seller.refused(access="whoever")


def test_a_price_by_count_says_its_rate_and_what_it_comes_to(seller: Seller) -> None:
    offer, page = seller.made(price="2.50", charged_by="work", minimum="5", cap="100")
    assert offer.price == {
        "model": "per_unit",
        "unit": "work",
        "tiers": [],
        "rate": {"amount_minor": 250, "per": 1},
        "minimum_minor": 500,
        "cap_minor": 10_000,
    }
    # Three works.
    assert offer.price_minor == 750
    assert re.search(r"2\.50.{0,5}for 1 of these: works\. Now: .{0,5}7\.50", page)


def test_a_price_by_count_is_refused_at_its_part(seller: Seller) -> None:
    by = {"price": "2", "charged_by": "work"}
    assert "cap" in seller.refused(**by, minimum="9", cap="5")
    assert "minimum" in seller.refused(**by, minimum="0.001")
    # Nobody counted the tokens of these works.
    assert "charged_by" in seller.refused(price="2", charged_by="token")
    assert "price" in seller.refused(price="0", charged_by="work")
    assert set(seller.refused(per="5", cap="9")) == {"per", "cap"}


# --- samples ----------------------------------------------------------------------------------


def test_a_sample_is_chosen_once_for_each_showing_of_its_form(seller: Seller) -> None:
    offer, page = seller.made()
    assert "Choose a sample" in page
    url = f"/studio/licensing/offer/{offer.pk}/choose_sample/"
    form = {"external_ids": "work-1000\r\n\r\nwork-1001\r\nwork-1000", "form_token": "one"}

    chosen = seller.client.post(url, form, follow=True)
    again = seller.client.post(url, form, follow=True)

    assert "The sample is chosen." in text(chosen)
    assert "it was done then, and not again now" in text(again)
    [sample] = rows(Sample)
    assert sample.works == 2
    assert "2 works" in text(again)
    # The sample is an offer, too: it has none of its own.
    own = seller.client.get(f"/studio/licensing/offer/{sample.sample_offer_id}/change/")
    assert "Choose a sample" not in text(own)

    seller.client.post(url, {"external_ids": "work-1002", "form_token": "two"})

    assert [one.works for one in rows(Sample)] == [2, 1]


def test_a_work_that_is_not_in_the_snapshot_is_named(seller: Seller) -> None:
    offer, _page = seller.made()
    url = f"/studio/licensing/offer/{offer.pk}/choose_sample/"
    answer = seller.client.post(url, {"external_ids": "work-1000\nnone such"})
    assert answer.status_code == 200
    said = answer.context["form"].errors["external_ids"]
    assert said[0] == "“none such” cannot be in it."
    assert "has no such work" in said[1]
    assert rows(Sample) == []
