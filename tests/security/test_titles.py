"""Markup in what people write: it is text on every page, whoever looks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client

from licensing.ledger import sequencer
from marketplace import bulk_edits, collections, contributors, imports, organizations, panels
from marketplace.access import acting, system
from marketplace.models import Collection, Work
from marketplace.tenant_site import studio
from tests.licensing.test_status import recorded
from tests.make import make_grant, make_offer, make_operator, records
from tests.people import caller_for, found
from tests.webhooks import hear

pytestmark = pytest.mark.django_db
# As HTML, inside of an attribute, and as SVG.
MARKUP = """"'><script>alert(1)</script><svg onload=alert(1)><img src=x onerror=alert(1)>"""
RUN = ("<script>alert", "<svg onload", "<img src=x")
PASSWORD = "correct horse battery"


def member(organization: Any, name: str) -> Client:
    user = organizations.admit(
        organization, email=f"{name}@example.org", name=MARKUP, password=PASSWORD, role="owner"
    )
    client = Client()
    client.force_login(user)
    return client


def market() -> tuple[Any, Any, Any, Any]:
    """A seller, a buyer and a grant between them, every text of which is markup."""
    seller = found(MARKUP, "platform", legal_name=MARKUP)
    buyer = found(f"{MARKUP} buyer", "lab", legal_name=MARKUP)
    caller = caller_for(seller)
    contributors.add(caller, external_id=MARKUP, consent="granted", name=MARKUP)
    collection = collections.create(caller, name=MARKUP, description=MARKUP, notice=MARKUP)
    collections.attest(
        caller,
        str(collection.pk),
        basis="open_license",
        license_name=MARKUP,
        statement=MARKUP,
        person_name=MARKUP,
        person_title=MARKUP,
        authority=True,
    )
    made = [
        imports.Record(
            external_id=f"{MARKUP}{record.external_id}",
            title=MARKUP,
            contributor=MARKUP,
            digest=record.digest,
            length=record.length,
            media_type="text/plain",
            custody="reference",
        )
        for record in records(2, start=7)
    ]
    imports.run(caller, str(collection.pk), imports.Records(made))
    bulk_edits.ask(caller, str(collection.pk), change={"title_prefix": MARKUP})
    offer = make_offer(seller, price_minor=0, collection=collection)
    grant = make_grant(seller, buyer, offer=offer)
    hear(caller, "https://hooks.example.org/", MARKUP)
    recorded("test")
    sequencer.run_once()
    return seller, buyer, grant, offer


def pages(seller: Any, buyer: Any, grant: Any, offer: Any) -> Iterator[tuple[str, Client, str]]:
    """Every page that shows a title: to both sides, to anybody, and to an operator."""
    for organization, name in ((seller, "seller"), (buyer, "buyer")):
        client, caller = member(organization, name), caller_for(organization)
        yield name, client, "/studio/"
        for model, shown in studio._registry.items():
            base = f"/studio/{model._meta.app_label}/{model._meta.model_name}/"
            yield name, client, base
            with acting(caller, writing=False):
                keys = [str(pk) for pk in shown.model._default_manager.values_list("pk")[:1]]
            for pk in keys:
                for view in ("change", "history", *(verb.name for verb in shown.verbs)):
                    yield name, client, f"{base}{pk}/{view}/"
        for link in studio.links:
            yield name, client, studio.page(link.name)
        yield name, client, f"/studio/market/{offer.pk}/"
        yield name, client, f"/certificates/{grant.pk}"
        for below, section in (("", panels.Section.STUDIO), ("licenses/", panels.Section.LICENSES)):
            for panel in panels.of(section, caller):
                for kind in ("/", ".svg", ".csv"):
                    yield name, client, f"/studio/{below}panels/{panel.key}{kind}"
    anybody = Client()
    for url in ("/", f"/listings/{offer.pk}", f"/report/?target={offer.pk}"):
        yield "anybody", anybody, url
    operator = Client()
    operator.force_login(make_operator())
    yield "operator", operator, "/admin/"
    for model in admin.site._registry:
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        yield "operator", operator, base
        with system("find a row in a test"):
            row = model._default_manager.first()
        if row is not None:
            yield "operator", operator, f"{base}{row.pk}/change/"


@pytest.mark.oracle
@pytest.mark.usefixtures("ledger_keys")
def test_markup_in_a_title_is_text_on_every_page() -> None:
    run, shown, seen = [], set(), 0
    for who, client, url in pages(*market()):
        answer = client.get(url, follow=True)
        assert answer.status_code in {200, 403, 404}, (who, url, answer.status_code)
        text = b"".join(answer).decode(errors="replace")
        seen += answer.status_code == 200
        is_text = answer["Content-Type"].startswith("text/csv")
        run += [f"{who} {url}: {one}" for one in RUN if one in text and not is_text]
        if "&lt;script&gt;alert(1)" in text:
            shown.add(who)
    assert run == []
    # Each of them was shown it, as text.
    assert shown == {"seller", "buyer", "anybody", "operator"}
    assert seen >= 100


@pytest.mark.usefixtures("ledger_keys")
def test_the_crawl_sees_what_is_not_escaped() -> None:
    """What it looks for is what the market's own texts say."""
    seller, _buyer, grant, _offer = market()
    with acting(caller_for(seller), writing=False):
        texts = [grant.licensor.name, Collection.objects.all()[0].name, Work.objects.all()[0].title]
    assert all(one in text for one in RUN for text in texts)
