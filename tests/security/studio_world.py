"""Two tenants of the studio whose every text is a canary, and the crawler that looks for it."""

from __future__ import annotations

import io
import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote, quote_plus

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, models
from django.test import Client
from django.utils import timezone

from licensing import access_requests, moderation, offers, optouts, snapshots, terms
from licensing.models import AccessRequest, Agreement, Grant, HeldAgreement, HeldGrant, Notice
from marketplace import (
    api_keys,
    bulk_edits,
    collections,
    contributors,
    imports,
    invitations,
    organizations,
    panels,
    uploads,
    works,
)
from marketplace.access import acting, system
from marketplace.imports import queue
from marketplace.models import Excerpt, Organization, Representation, User
from marketplace.tenant_pages import own
from marketplace.tenant_site import studio
from payments import payouts, royalties
from payments.models import Order, StripeCustomer
from tests.make import TYPED, make_collection, make_grant, make_offer, make_operator, records
from tests.payments import royalty_sales
from tests.payments.rows import make_invoice_row
from tests.people import caller_for, found
from tests.webhooks import hear

PASSWORD = "correct horse battery"


# Tables of which both parties see the rows, and the side whose page it is.
SIDES: dict[Any, str] = {
    Agreement: "licensor",
    Grant: "licensor",
    AccessRequest: "licensor",
    HeldAgreement: "licensee",
    HeldGrant: "licensee",
    Notice: "licensee",
}


@dataclass
class Tenant:
    """One organization, its member, and every id and text of its own."""

    word: str
    organization: Organization
    user: User
    ids: dict[str, list[str]] = field(default_factory=dict)
    uuids: set[str] = field(default_factory=set)
    # A finished upload: a table that nobody imported yet.
    upload: str = ""
    draft_offer: str = ""

    def client(self) -> Client:
        client = Client(raise_request_exception=False)
        client.force_login(self.user)
        return client

    @property
    def kinds(self) -> list[str]:
        """One id of each table that the studio shows."""
        return [ids[0] for ids in self.ids.values()]


# Who sells to both tenants, and who buys from both: what they share is no secret between them.
@dataclass
class Others:
    buyer: Organization
    seller: Organization


def others() -> Others:
    return Others(found("Buyer", "lab"), found("Seller", "platform"))


def settle(word: str, beside: Others) -> Tenant:
    """Found a tenant and give it a row in every table of the workspace, each text with `word`."""
    organization = found(f"{word} house", "platform", legal_name=f"{word} legal")
    user = organizations.admit(
        organization,
        email=f"{word}@example.org".lower(),
        name=f"{word} person",
        password=PASSWORD,
        role="owner",
    )
    caller = caller_for(organization)
    contributors.add(
        caller,
        external_id=f"{word}-contributor",
        consent="granted",
        name=f"{word} contributor",
        email=f"{word}.contributor@example.org",
    )
    collection = collections.create(
        caller, name=f"{word} letters", description=f"{word} about", notice=f"{word} notice"
    )
    collections.attest(
        caller,
        str(collection.pk),
        basis="open_license",
        license_name=f"{word}-1.0",
        statement=f"{word} statement",
        person_name=f"{word} signer",
        person_title=f"{word} title",
        authority=True,
    )
    imports.run(caller, str(collection.pk), imports.Records(list(_records(word))))
    snapshot = snapshots.finalize(caller, str(collection.pk))
    typed = terms.draft(caller, name=f"{word} terms", typed=TYPED)
    terms.publish(caller, str(typed.pk))
    terms.draft(caller, name=f"{word} draft", typed=TYPED)
    made: dict[str, Any] = {"snapshot": str(snapshot.pk), "terms": str(typed.pk), "currency": "USD"}
    draft = offers.make(caller, **made, price_minor=700)
    offer = offers.publish(caller, str(offers.make(caller, **made, price_minor=0).pk))
    make_grant(organization, beside.buyer, offer=offer)
    _pay_contributors(caller, beside.buyer, offer)
    _ask(beside.buyer, organization, made)
    _buy(beside.seller, organization)
    invitations.invite(caller, email=f"{word}.guest@example.org", role="viewer")
    api_keys.create(caller, name=f"{word} key", scopes=["works:read"])
    hear(caller, f"https://hooks.example.org/{word}", f"{word} hook")
    with acting(caller, writing=False):
        taken = works.in_collection(caller, str(collection.pk)).order_by("pk")[0]
        digest = bytes(taken.representations.all()[0].digest).hex()
    optouts.record(caller, by="owner", reason=f"{word} reason", works=[str(taken.pk)])
    bulk_edits.ask(caller, str(collection.pk), change={"title_prefix": f"{word} "})
    moderation.decide(
        make_operator(),
        measure="work_held",
        reasons=moderation.Reasons(f"{word} facts", "law", f"{word} law"),
        organization=str(organization.pk),
        digests=[digest],
    )
    return Tenant(
        word,
        organization,
        user,
        upload=_bring(caller, str(collection.pk), word),
        draft_offer=str(draft.pk),
    )


def _bring(caller: Any, collection: str, word: str) -> str:
    """Import a table with a bad row, and make the excerpt of a work, as the worker would."""
    table = f"external_id,sha256,length,title\n{word}-bad,no digest,7,{word} bad\n".encode()
    row = uploads.begin(caller, length=len(table), name=f"{word}.csv")
    uploads.append(caller, row.pk, 0, io.BytesIO(table))
    uploads.finish(caller, row.pk)
    queue.ask(caller, collection, reader=caller, upload=str(row.pk), format="csv")
    assert queue.carry_out_due() == 1
    with acting(caller):
        forms = Representation.objects.visible_to(caller)
        Excerpt.objects.create(
            organization=caller.organization,
            digest=forms.order_by("-work_id")[0].digest,
            kind="text",
            status="made",
            content=f"{word} begins".encode(),
        )
    return str(row.pk)


def _ask(buyer: Organization, seller: Organization, made: dict[str, Any]) -> None:
    """Have a buyer ask for an offer that is sold on request."""
    caller = caller_for(seller)
    offer = offers.make(caller, **made, price_minor=0, access="on_request")
    access_requests.ask(
        caller_for(buyer),
        str(offers.publish(caller, str(offer.pk)).pk),
        uses=["pretrain"],
        territories=["EU"],
        model={"name": "Gamma", "version": "2", "release": "closed_api"},
    )


def _pay_contributors(caller: Any, buyer: Organization, offer: Any) -> None:
    """Share a sale with the contributors, and pay them."""
    collection = str(offer.collection_id)
    royalties.set_rule(caller, collection, basis_points=5_000, method="equal_per_work")
    royalty_sales.sell(buyer, offer)
    assert royalties.allocate_due() == 1
    seen = payouts.preview(caller, currency="USD")
    figures = {"contributors": seen.contributors, "paid_minor": seen.paid_minor}
    payouts.confirm(caller, currency="USD", recouped_minor=seen.recouped_minor, **figures)
    payouts.write_due()


def _buy(seller: Organization, buyer: Organization) -> None:
    """Give a tenant a license of somebody else's works, one of which is taken out then."""
    collection = make_collection(seller, works=2)
    make_grant(seller, buyer, offer=make_offer(seller, price_minor=0, collection=collection))
    caller = caller_for(seller)
    with acting(caller, writing=False):
        taken = works.in_collection(caller, str(collection.pk)).order_by("pk")[0]
    optouts.record(caller, by="owner", reason="Withdrawn.", works=[str(taken.pk)])
    _invoice(buyer)


def _invoice(buyer: Organization) -> None:
    """Have the newest order of a tenant be one that it did not pay in time."""
    then = timezone.now() - timedelta(days=60)
    with system("make an invoice in a test"):
        order = Order.objects.filter(organization=buyer, invoice=None).latest("accepted_at")
        customer, _is_new = StripeCustomer.objects.get_or_create(organization=buyer, livemode=False)
        make_invoice_row(
            order,
            customer=customer,
            status="open",
            number=f"{buyer.name}-{order.pk}",
            purchase_order=f"{buyer.name} purchase",
            stripe_id=f"in_{order.pk}",
            hosted_url="https://example.org/invoice",
            created_at=then,
            sent_at=then,
            due_at=then + timedelta(days=30),
        )


def _records(word: str) -> Iterator[imports.Record]:
    made = list(records(3, start=len(word) * 100 + ord(word[-1]), repeat=1))
    # The last comes twice: the import leaves one out, and says so.
    for record in (*made, made[-1]):
        yield imports.Record(
            external_id=f"{word}-{record.external_id}",
            title=f"{word} {record.title}",
            source_url=f"https://example.org/{word}",
            language="en",
            contributor=f"{word}-contributor",
            digest=record.digest,
            length=record.length,
            media_type="text/plain",
            custody="reference",
        )


def collect(tenant: Tenant) -> None:
    """Note down which rows are the tenant's, before anybody crawls."""
    caller = caller_for(tenant.organization)
    with system("collect the rows of a test"):
        for model in studio._registry:
            rows = own(model, caller)
            if model in SIDES:
                rows = rows.filter(**{SIDES[model]: tenant.organization})
            tenant.ids[model._meta.label] = [str(pk) for pk in rows.values_list("pk", flat=True)]
        for model in apps.get_models():
            names = {one.name for one in model._meta.fields}
            if (
                model._meta.app_label not in {"marketplace", "licensing"}
                or "organization" not in names
            ):
                continue
            pk = model._meta.pk
            if pk is not None and pk.name == "id" and not isinstance(pk, models.BigAutoField):
                rows = model._default_manager.filter(organization=tenant.organization)
                tenant.uuids |= {_uuid(one) for one in rows.values_list("pk", flat=True)}
    assert all(tenant.ids.values()), "The world must hold a row of each, or this proves nothing."


@dataclass(frozen=True)
class Probe:
    """One request, and what it must be answered with: a status, or None for any below 500."""

    kind: str
    method: str
    url: str
    data: dict[str, Any] = field(default_factory=dict, hash=False)
    status: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.method} {self.url} {self.data or ''}"


# Here anything may be written: an id in one of these is only text.
TEXTS = {
    "name",
    "description",
    "notice",
    "statement",
    "person_name",
    "person_title",
    "license_name",
    "languages",
    "email",
    "reason",
    "title",
    "external_id",
    "external_ids",
    "parts",
    "reference",
    "reasons",
    "value",
}

WEBHOOK = {"url": "https://hooks.example.org/new", "description": "d", "types": ["grant.issued"]}
# A form that its verb takes, for every way to write; a page without one fails a test.
ADD_FORMS: dict[str, Callable[[Tenant], dict[str, Any]]] = {
    "marketplace.Collection": lambda me: {"name": "New", "description": "d", "notice": "n"},
    "licensing.Terms": lambda me: {"name": "New", "typed": json.dumps(TYPED)},
    "licensing.Offer": lambda me: {
        "snapshot": me.ids["licensing.Snapshot"][0],
        "terms": me.ids["licensing.Terms"][0],
        "price": "5.00",
        "currency": "USD",
        "audience": "",
        "access": "on_request",
        "invoice_days": ["30"],
        "grants_on": "payment",
    },
    "licensing.OptOut": lambda me: {"external_ids": "none such", "reason": "r"},
    "payments.RoyaltyRule": lambda me: {
        "collection": me.ids["marketplace.Collection"][0],
        "percent": "40",
        "method": "equal_per_work",
        "unit": "",
        "parts": "",
        "minimum": "",
        "currency": "USD",
    },
    "marketplace.Contributor": lambda me: {"external_id": "c-1", "consent": "granted"},
    "marketplace.Invitation": lambda me: {"email": "new@example.org", "role": "viewer"},
    "marketplace.ApiKey": lambda me: {"name": "New", "scopes": ["works:read"]},
    "marketplace.WebhookEndpoint": lambda me: WEBHOOK,
}
# Every form leads to the row that it made. An opt-out of a work that there is not is refused: the
# form says so.
ADD_STATUS = {"licensing.OptOut": 200}
VERB_FORMS: dict[tuple[str, str], dict[str, Any]] = {
    ("licensing.AccessRequest", "decline"): {"reason": "No."},
    ("licensing.Offer", "choose_sample"): {"external_ids": "none such"},
    ("licensing.ModerationDecision", "appeal"): {"reasons": "It is ours."},
    ("marketplace.Collection", "describe"): {
        "name": "New",
        "description": "d",
        "notice": "n",
        "languages": "en",
    },
    ("marketplace.Collection", "edit_works"): {"change": "language", "value": "de"},
    ("marketplace.Contributor", "set_consent"): {"consent": "granted"},
    ("marketplace.Contributor", "open_account"): {"country": "IE"},
    ("marketplace.Contributor", "advance"): {"amount": "5", "currency": "USD", "reference": "1"},
    ("payments.RoyaltyPayment", "paid_outside"): {"reference": "1"},
    **{
        ("payments.Quote", verb): {
            "document_sha256": "ab" * 32,
            "name": "A",
            "title": "B",
            "authority": "on",
            "net_days": "30",
            "purchase_order": "1",
        }
        for verb in ("pay_by_card", "pay_by_invoice", "accept_free")
    },
    ("licensing.Notice", "acknowledge"): {"statement": "Done.", "name": "A", "title": "B"},
    ("marketplace.Membership", "set_role"): {"role": "viewer"},
    ("marketplace.WebhookEndpoint", "edit"): WEBHOOK,
    ("marketplace.WebhookEndpoint", "catch_up"): {"since": "24"},
    ("marketplace.WebhookEndpoint", "rotate"): {"overlap_seconds": "0"},
    # Without terms it is refused; with each id of another tenant in their place, it is, too.
    ("marketplace.Collection", "list"): {
        "terms": "",
        "price": "5.00",
        "currency": "USD",
    },
    ("marketplace.Collection", "attest"): {
        "basis": "own",
        "license_name": "",
        "statement": "Ours.",
        "person_name": "A",
        "person_title": "B",
        "authority": "on",
    },
}


def probes(me: Tenant, other: Tenant) -> Iterator[Probe]:
    """Everything that a member may try on the studio, read from its registry and its routes."""
    yield Probe("index", "GET", "/studio/", status=200)
    # First: the crawl itself makes new ones, each of which is shown once.
    yield from (*_secrets(me, 302), *_secrets(other, 404))
    for path in ("login/", "logout/", "jsi18n/", "password_change/", "no/such/"):
        yield Probe("index", "GET", f"/studio/{path}")
    for word in (str(other.organization.pk), "", "org_x"):
        yield Probe("switch", "POST", "/studio/organization/", {"organization": word}, 404)
        for name in ("mode", "organization"):
            sent = {"mode": "test", name: word}
            yield Probe("mode", "POST", "/studio/mode/", sent, 404 if name == "mode" else 302)
    for model, pages in studio._registry.items():
        label = model._meta.label
        base = f"/studio/{model._meta.app_label}/{model._meta.model_name}/"
        yield from _lists(pages, base, me, other)
        yield from _actions(pages, base, other, label)
        yield from _additions(pages, base, me, other, label)
        for pk in me.ids[label]:
            yield from _pages_of(pages, base, pk, label, None)
        for pk in other.ids[label]:
            yield from _pages_of(pages, base, pk, label, 404)
        yield from _verbs_with_foreign_values(pages, base, me, other, label)
    yield from _files(me, None)
    yield from _files(other, 404)
    yield from _uploads(me, other)
    yield from _certificates(me, other)
    yield from _questions(me, other)
    yield from _forms(other)
    yield from _market(other)
    yield from _figures(other)
    yield from _autocompletes(other)
    yield from _shortcuts(other)


def _lists(pages: Any, base: str, me: Tenant, other: Tenant) -> Iterator[Probe]:
    yield Probe("list", "GET", base, status=200)
    for query in (
        "all=",
        "p=1",
        "p=99",
        "o=1",
        "o=-2.1",
        "_popup=1",
        "_facets=True",
        "_to_field=id",
    ):
        yield Probe("list", "GET", f"{base}?{query}")
    for query in (
        other.word,
        f"{other.word} letters",
        "e",
        *other.kinds,
        str(other.organization.pk),
    ):
        yield Probe("search", "GET", f"{base}?q={query}", status=200)
    for param in sorted(pages._filter_params()):
        for value in (*other.kinds, "draft", "x"):
            yield Probe("filter", "GET", f"{base}?{param}={value}")
    for path in _paths(pages.model):
        if path not in pages._filter_params():
            yield Probe("lookup", "GET", f"{base}?{path}={other.word[0]}", status=400)


def _paths(model: type[models.Model]) -> Iterator[str]:
    """Filters in an address that would spell out what is hidden, letter by letter."""
    yield "pk__startswith"
    for one in model._meta.get_fields():
        yield f"{one.name}__startswith"
        target = one.related_model
        if one.is_relation and isinstance(target, type):
            yield f"{one.name}__pk__startswith"
            for inner in target._meta.get_fields():
                yield f"{one.name}__{inner.name}__startswith"


def _actions(pages: Any, base: str, other: Tenant, label: str) -> Iterator[Probe]:
    for name in ("delete_selected", *pages.actions):
        data = {"action": name, "_selected_action": other.ids[label], "index": "0", "post": "yes"}
        yield Probe("action", "POST", base, data)


def _additions(pages: Any, base: str, me: Tenant, other: Tenant, label: str) -> Iterator[Probe]:
    yield Probe("add", "GET", f"{base}add/", status=200 if pages.add_form else 403)
    for value in other.kinds:
        yield Probe(
            "add", "GET", f"{base}add/?from={value}&template={value}&name=x&snapshot={value}"
        )
    if pages.add_form is None:
        yield Probe("add", "POST", f"{base}add/", {"name": "x"}, 403)
        return
    form = ADD_FORMS[label](me)
    yield Probe("add", "POST", f"{base}add/", form, ADD_STATUS.get(label, 302))
    for name in sorted({*form, "organization", "collection", "licensor", "id", "number"} - TEXTS):
        for value in (*other.kinds, str(other.organization.pk)):
            yield Probe("field", "POST", f"{base}add/", {**form, name: value})
        data = {**form, name: other.kinds[0]}
        yield Probe("field", "POST", f"{base}add/?_to_field=id&_popup=1", data)


def _pages_of(pages: Any, base: str, pk: str, label: str, status: int | None) -> Iterator[Probe]:
    for name in (
        "change",
        "history",
        "delete",
        *(one.name for one in (*pages.verbs, *pages.files)),
    ):
        form = VERB_FORMS.get((label, name), {})
        yield Probe(name, "GET", f"{base}{pk}/{name}/", status=status)
        yield Probe(
            name, "POST", f"{base}{pk}/{name}/", {**form, "post": "yes"}, _post(name, pages, status)
        )
    yield Probe("change", "GET", f"{base}{pk}/")
    for to in ("organization", "collection", "licensor", "name", "number"):
        yield Probe("change", "GET", f"{base}{pk}/change/?_to_field={to}")
    yield Probe("change", "POST", f"{base}{pk}/change/", {"_saveasnew": "1", "name": "x"})


def _post(name: str, pages: Any, status: int | None) -> int | None:
    return 405 if name in {file.name for file in pages.files} else status


def _verbs_with_foreign_values(
    pages: Any, base: str, me: Tenant, other: Tenant, label: str
) -> Iterator[Probe]:
    for verb in pages.verbs:
        form = VERB_FORMS.get((label, verb.name), {})
        for name in sorted({*form, "collection", "organization", "row", "id"} - TEXTS):
            for value in (*other.kinds, str(other.organization.pk)):
                data = {**form, name: value}
                yield Probe("verb", "POST", f"{base}{me.ids[label][0]}/{verb.name}/", data)


def _files(of: Tenant, status: int | None) -> Iterator[Probe]:
    """The pages that bring files in, of a tenant's collections, imports and works."""
    sent = {"name": "x.csv", "length": "5"}
    new = f"/studio/files/collections/{of.ids['marketplace.Collection'][0]}/files/"
    excerpts = [f"/studio/files/works/{one}/excerpt/" for one in of.ids["marketplace.Work"]]
    for url in (new, f"{new}folder/", f"{new}{of.organization.pk}/", *excerpts):
        yield Probe("files", "GET", url, status=status)
    for url in (f"{new}begin/", f"{new}host/"):
        yield Probe("files", "POST", url, sent, status)
    for job in of.ids["marketplace.ImportJob"]:
        running = f"/studio/files/imports/{job}/"
        for name in ("progress/", "fragment/", "report.csv", "rejected-rows.csv"):
            yield Probe("files", "GET", f"{running}{name}", status=status)
        for name in ("cancel/", "resume/"):
            yield Probe("files", "POST", f"{running}{name}", sent, status)


def _uploads(me: Tenant, other: Tenant) -> Iterator[Probe]:
    """Pages of one's own that are told of another's upload or import; and the script's address."""
    mine = f"/studio/files/collections/{me.ids['marketplace.Collection'][0]}/files/"
    job = other.ids["marketplace.ImportJob"][0]
    yield Probe("upload", "GET", f"{mine}?again={job}", status=404)
    yield Probe("upload", "GET", f"{mine}{other.upload}/", status=404)
    for run in ({}, {"run": "1", "column.0": "external_id", "column.1": "sha256"}):
        yield Probe("upload", "POST", f"{mine}{other.upload}/", run, 404)
    yield Probe("upload", "POST", f"{mine}host/", {"upload": other.upload, "name": "x.txt"}, 404)
    piece = f"/v1/uploads/{other.upload}"
    yield Probe("upload", "GET", "/v1/uploads", status=200)
    yield Probe("upload", "GET", piece, status=404)
    for method, url in (("HEAD", piece), ("PATCH", piece)):
        yield Probe("upload", method, url, status=404)
    for verb in ("finish", "discard"):
        yield Probe("upload", "POST", f"{piece}/{verb}", status=404)


def _certificates(me: Tenant, other: Tenant) -> Iterator[Probe]:
    for label in ("licensing.Grant", "licensing.HeldGrant"):
        for of, status in ((me, None), (other, 404)):
            for name in (of.ids[label][0], f"{of.ids[label][0]}.pdf"):
                yield Probe("certificate", "GET", f"/certificates/{name}", status=status)


def _questions(me: Tenant, other: Tenant) -> Iterator[Probe]:
    """“May we …?” of a license of one's own about another's works, and of another's license."""
    held, given = "licensing.HeldGrant", "licensing.Grant"
    asked = "?use=pretrain&territory=EU"
    mine = f"/studio/questions/{me.ids[held][0]}/"
    foreign = [*other.ids[held], *other.ids[given], *me.ids[given]]
    for license in (*me.ids[held], *foreign):
        status = 404 if license in foreign else 200
        for query in ("", asked, f"{asked}&work={other.word}-work-1"):
            yield Probe("questions", "GET", f"/studio/questions/{license}/{query}", status=status)
    for work in (*other.kinds, "ab" * 32, "%00"):
        yield Probe("questions", "GET", f"{mine}{asked}&work={work}&model_name={work}")
        yield Probe("questions", "GET", f"/studio/questions/{asked}&work={work}&id={work}")


# Forms that are no table's, and what they take. Pages of the menu that have none are looked at.
PAGE_FORMS: dict[str, dict[str, Any]] = {
    "/studio/identity/": {"name": "N", "legal_name": "L", "jurisdiction": "IE"},
    "/studio/identity/verification/": {"phone": "+353 1 234567", "certified": "on"},
    "/studio/payout-account/": {"country": "IE"},
    "/studio/payout-account/look/": {},
    "/studio/pay-contributors/": {"currency": "USD"},
}


def _forms(other: Tenant) -> Iterator[Probe]:
    """Pages that are no table's, and their forms, with another tenant's ids."""
    for link in studio.links:
        # What is on sale is for everybody to see, also another's: `_market` has what is not.
        if link.name == "market:index":
            continue
        yield Probe("forms", "GET", f"{studio.page(link.name)}?id={other.organization.pk}")
    yield Probe("forms", "GET", f"/studio/mode/?organization={other.organization.pk}", status=200)
    for verb in ("bring_in", "attest", "freeze", "no-such"):
        yield Probe("forms", "GET", f"/studio/newest/{verb}/?collection={other.kinds[0]}")
    yield Probe("forms", "GET", "/studio/payout-account/stripe/")
    for url, form in PAGE_FORMS.items():
        for name in ("organization", "id", "seen", "row"):
            yield Probe("forms", "POST", url, {**form, name: str(other.organization.pk)})


def _secrets(of: Tenant, status: int) -> Iterator[Probe]:
    """The page that shows a new secret, of keys and webhooks that were made elsewhere."""
    for kind in ("ApiKey", "WebhookEndpoint"):
        for pk in of.ids[f"marketplace.{kind}"]:
            url = f"/studio/marketplace/{kind.lower()}/{pk}/secret/"
            yield Probe("secret", "GET", url, status=status)


def _market(other: Tenant) -> Iterator[Probe]:
    """The market's pages of an offer that was not listed, and of a request of somebody else."""
    for page in ("", "quote/", "request/", "sample/"):
        url = f"/studio/market/{other.draft_offer}/{page}"
        yield Probe("market", "GET", url, status=404)
        if page:
            sent = {"uses": ["pretrain"], "territories": ["EU"], "name": "A", "title": "B"}
            yield Probe("market", "POST", url, sent, 404)
    for request in other.ids["licensing.AccessRequest"]:
        yield Probe("market", "POST", f"/studio/market/requests/{request}/cancel/", status=404)


def _figures(other: Tenant) -> Iterator[Probe]:
    """Panels and their files, whatever they are asked about."""
    for below, section in (("", panels.Section.STUDIO), ("licenses/", panels.Section.LICENSES)):
        base = f"/studio/{below}panels/"
        yield Probe("figures", "GET", base, status=200)
        for panel in panels.of(section, caller_for(other.organization)):
            for name in (f"{panel.key}/", f"{panel.key}.csv"):
                query = f"?organization={other.organization.pk}&mode=live"
                yield Probe("figures", "GET", f"{base}{name}{query}", status=200)
            for kind in ("svg", "png"):
                yield Probe("figures", "GET", f"{base}{panel.key}.{kind}?unit=USD")
    yield Probe("figures", "GET", "/studio/panels/volume/", status=404)


def _autocompletes(other: Tenant) -> Iterator[Probe]:
    for model in apps.get_models():
        for one in model._meta.get_fields():
            if not one.is_relation or one.auto_created:
                continue
            where = f"app_label={model._meta.app_label}&model_name={model._meta.model_name}"
            for term in ("", other.word):
                url = f"/studio/autocomplete/?{where}&field_name={one.name}&term={term}"
                yield Probe("autocomplete", "GET", url)


def _shortcuts(other: Tenant) -> Iterator[Probe]:
    for label, ids in other.ids.items():
        kind = ContentType.objects.get_for_model(apps.get_model(label))
        yield Probe("shortcut", "GET", f"/studio/r/{kind.pk}/{ids[0]}/", status=404)


def leaks(me: Tenant, other: Tenant, tried: Iterable[Probe]) -> Iterator[str]:
    """Try each probe as a member of `me`; all that leaked of `other`, or was changed of it."""
    client, before = me.client(), fingerprint(other, beside=me)
    for probe in tried:
        for what in _wrong(send(client, probe), probe, other):
            yield f"{what}  in  {probe}"
    if fingerprint(other, beside=me) != before:
        yield "rows of the other tenant changed"
    for table in mixed(me, other):
        yield f"{table} refers to the other tenant's rows"


def send(client: Client, probe: Probe) -> Any:
    """What a probe is answered with."""
    match probe.method:
        case "GET" | "HEAD":
            return client.generic(probe.method, probe.url)
        case "PATCH":
            offset = {"Upload-Offset": "0"}
            kind = "application/offset+octet-stream"
            return client.patch(probe.url, b"x", content_type=kind, headers=offset)
        case _ if probe.url.startswith("/v1/"):
            return client.post(probe.url, probe.data, content_type="application/json")
        case _:
            return client.post(probe.url, fresh(probe.data))


def hidden(me: Tenant) -> Iterator[str]:
    """Lists of the studio that do not show each row that is one's own."""
    client = me.client()
    for model, pages in studio._registry.items():
        url = f"/studio/{model._meta.app_label}/{model._meta.model_name}/"
        context = client.get(url).context
        # The rows themselves: their count is taken without what is joined to them.
        shown = None if context is None else len(context["cl"].result_list)
        if shown != len(me.ids[model._meta.label]):
            yield f"{type(pages).__name__} shows {shown} of {len(me.ids[model._meta.label])}"


def fresh(data: dict[str, Any]) -> dict[str, Any]:
    """What to send: bytes go as a file, made anew for each request."""
    return {
        name: SimpleUploadedFile("works.csv", value) if isinstance(value, bytes) else value
        for name, value in data.items()
    }


def _wrong(answer: Any, probe: Probe, other: Tenant) -> Iterator[str]:
    if answer.status_code >= 500:
        yield f"status {answer.status_code}"
    if probe.status is not None and answer.status_code != probe.status:
        yield f"status {answer.status_code}, not {probe.status}"
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    text = "\n".join([content.decode(errors="replace"), str(answer.headers), _told(answer)])
    sent = f"{probe.url} {probe.data}"
    # What was sent may come back in a form; nothing else of the other tenant may.
    for echo in _echoes(probe, other):
        text = text.replace(echo, "")
    if other.word.lower() in text.lower():
        yield f"canary {_around(text, other.word)}"
    for pk in (str(other.organization.pk), *(pk for ids in other.ids.values() for pk in ids)):
        if pk in text and pk not in sent:
            yield f"id {pk}"


def _told(answer: Any) -> str:
    """Messages that the next page would show."""
    cookie = answer.cookies.get("messages")
    return "" if cookie is None else cookie.value.encode().decode("unicode_escape")


def _echoes(probe: Probe, other: Tenant) -> Iterator[str]:
    """What was asked for, as the field and the links of the answer repeat it."""
    asked = re.search(r"[?&](?:q|term|work)=([^&]*)", probe.url)
    if asked and other.word in asked.group(1):
        plus = quote_plus(asked.group(1))
        yield from (asked.group(1), quote(asked.group(1)), plus, quote_plus(plus))


def _around(text: str, word: str) -> str:
    place = text.lower().find(word.lower())
    return repr(text[max(0, place - 60) : place + 40])


def _tables() -> list[str]:
    ours = ("marketplace_", "licensing_", "payments_")
    return sorted(one for one in connection.introspection.table_names() if one.startswith(ours))


def fingerprint(tenant: Tenant, *, beside: Tenant | None = None) -> str:
    """All rows that name the tenant as they stand, but those that name `beside` as well."""
    parts = []
    other = "" if beside is None else _uuid(beside.organization.pk)
    with system("compare a tenant's rows in a test"), connection.cursor() as cursor:
        for table in _tables():
            cursor.execute(
                "SELECT md5(coalesce(string_agg(row::text, '|' ORDER BY row::text), ''))"
                f' FROM "{table}" row WHERE row::text LIKE %s AND NOT row::text LIKE %s',
                [f"%{_uuid(tenant.organization.pk)}%", f"%{other or 'nothing'}%"],
            )
            parts.append(f"{table} {cursor.fetchone()}")
    return "\n".join(parts)


def mixed(me: Tenant, other: Tenant) -> list[str]:
    """Tables in which one of my rows names a row of the other tenant."""
    found = []
    theirs = [f"%{one}%" for one in other.uuids]
    with system("look for mixed rows in a test"), connection.cursor() as cursor:
        for table in _tables():
            cursor.execute(
                f'SELECT count(*) FROM "{table}" row'
                " WHERE row::text LIKE %s AND row::text LIKE ANY(%s)",
                [f"%{_uuid(me.organization.pk)}%", theirs],
            )
            row = cursor.fetchone()
            if row is not None and row[0]:
                found.append(table)
    return found


def _uuid(pk: Any) -> str:
    return str(uuid.UUID(int=pk.int))
