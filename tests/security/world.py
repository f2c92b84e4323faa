"""A small market with a row in every tenant's table, in both modes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from licensing import (
    access_requests,
    audit_roots,
    delivery_summaries,
    lifecycle,
    moderation,
    notices,
    offers,
    optout_links,
    optouts,
    reports,
    samples,
    snapshots,
    terms,
)
from licensing.models import Coverage, DeliveryCount, Notice
from marketplace import (
    account_acts,
    api_keys,
    collections,
    contributors,
    embedded_rights,
    imports,
    invitations,
    legal_holds,
    organizations,
    remote_buckets,
    sharing,
    uploads,
    webhook_deliveries,
    webhooks,
)
from marketplace.access import Caller, Scope, acting, system
from marketplace.embedded_rights import Embedded
from marketplace.imports import templates
from marketplace.models import (
    BulkEdit,
    Collection,
    Excerpt,
    IdempotencyKey,
    ImportJob,
    Membership,
    Organization,
    Representation,
    WebhookAttempt,
    WebhookDelivery,
    Work,
)
from marketplace.typeid import TypeID
from payments import advances, orders, payouts, quotes, royalties
from payments import samples as taking
from payments.models import (
    Account,
    Command,
    ConnectedAccount,
    Dispute,
    FeeSchedule,
    Invoice,
    Journal,
    Mismatch,
    PaymentPart,
    Posting,
    ReconcileCursor,
    Refund,
    RefundApproval,
    Remittance,
    RoyaltyAllocation,
    StripeCustomer,
    StripeEvent,
    StripePace,
    Transfer,
    TransferReversal,
)
from tests.database import TestDatabase
from tests.make import TYPED, make_operator, make_trader, records
from tests.people import ApiClient, caller_for, found

ACCEPTANCE = {"name": "Lin", "title": "Counsel", "authority": True}


@dataclass
class World:
    """Who is in it, and one id of each kind to ask for."""

    archive: Organization
    lab: Organization
    stranger: Organization
    subjects: dict[str, TypeID] = field(default_factory=dict)

    def subject(self, name: str) -> TypeID:
        return self.subjects[name]

    def client(
        self,
        organization: Organization,
        *,
        livemode: bool = False,
        scopes: Iterable[str] = tuple(Scope),
    ) -> ApiClient:
        caller = caller_for(organization, livemode=livemode)
        _key, secret = api_keys.create(caller, name="test", scopes=[str(one) for one in scopes])
        return ApiClient(secret)

    def open_rows(self, model: Any) -> int:
        """How many rows of a model an outsider may see: itself, and what the market shows."""
        return {"Organization": 1, "Terms": 1, "Snapshot": 1, "SearchDocument": 2}.get(
            model.__name__, 0
        )

    def fingerprint(self) -> str:
        """A hash over every row of ours but keys and audits, which asking itself writes."""
        tables = [
            table
            for table in connection.introspection.table_names()
            if table.startswith(("marketplace_", "licensing_", "payments_"))
            and table not in {"marketplace_apikey", "marketplace_audit"}
        ]
        # One statement: a hundred of them take longer than what they look at.
        hashes = " UNION ALL ".join(
            f"SELECT '{table}', md5(coalesce(string_agg(row::text, '|' ORDER BY row::text), ''))"
            f' FROM "{table}" row'
            for table in sorted(tables)
        )
        with system("compare the world in a test"), connection.cursor() as cursor:
            cursor.execute(hashes)
            return hashlib.sha256(str(sorted(cursor.fetchall())).encode()).hexdigest()


def _catalogue(world: World) -> dict[str, Any]:
    archive = caller_for(world.archive)
    contributor = contributors.add(
        archive, external_id="c-1", consent="granted", name="Con Tributor", email="c@example.org"
    )
    collection = collections.create(archive, name="Letters", notes={"shelf": "7"})
    collections.attest(
        archive,
        str(collection.pk),
        basis="own",
        statement="We wrote them.",
        person_name="Ada",
        person_title="Head of rights",
        authority=True,
    )
    # The second record repeats the first one's bytes: a rejection with its reason.
    first, *rest = records(3, repeat=1)
    named = dataclasses.replace(first, identifiers=(("isbn", "9780306406157"),))
    job = imports.run(archive, str(collection.pk), imports.Records([named, *rest]))
    _prohibition(archive, collection)
    snapshot = snapshots.finalize(archive, str(collection.pk))
    drafted = terms.draft(archive, name="Training", typed=TYPED)
    published = terms.publish(archive, str(drafted.pk))
    hidden = collections.create(archive, name="Drawer")
    imports.run(archive, str(hidden.pk), imports.Records(records(2, start=100)))
    with acting(archive):
        form = Representation.objects.visible_to(archive).first()
        assert form is not None
        Excerpt.objects.create(organization=world.archive, digest=form.digest, kind="text")
        change = {"language": "de"}
        BulkEdit.objects.create(
            organization=world.archive, collection=collection, change=change, requested_by="system"
        )
        templates.remember(archive, ["id"], templates.Columns({"external_id": "id"}))
    with acting(archive, writing=False):
        work = Work.objects.filter(organization=world.archive).first()
    assert work is not None
    world.subjects |= {
        "collection": collection.pk,
        "contributor": contributor.pk,
        "work": work.pk,
        "importjob": job.pk,
        "upload": uploads.begin(archive, length=3).pk,
        "remote_bucket": remote_buckets.connect(
            archive,
            endpoint="https://s3.example.org",
            name="works",
            key="{digest}",
            access_key_id="a",
            secret_access_key="s",
        ).pk,
        "draft_snapshot": snapshots.finalize(archive, str(hidden.pk)).pk,
        "draft_terms": terms.draft(archive, name="Unpublished", typed=TYPED).pk,
        "apikey": api_keys.create(archive, name="seen", scopes=["works:read"])[0].pk,
    }
    return {"snapshot": str(snapshot.pk), "terms": str(published.pk)}


def _prohibition(archive: Caller, collection: Collection) -> None:
    """One image whose file prohibits mining, and the owner's answer for it."""
    with acting(archive):
        form = Representation.objects.filter(organization=archive.organization).first()
        assert form is not None
        said = Embedded(creator="Con Tributor", data_mining="DMI-PROHIBITED")
        embedded_rights.note(archive.organization.pk, {bytes(form.digest): said})
    embedded_rights.override(
        archive,
        str(collection.pk),
        statement="We made it.",
        person_name="Ada",
        person_title="Head of rights",
        authority=True,
    )


def _offers(world: World, made_of: dict[str, Any]) -> str:
    archive = caller_for(world.archive)
    for name, audience in (("offer", None), ("private_offer", str(world.lab.pk))):
        offer = offers.make(archive, **made_of, price_minor=0, currency="USD", audience=audience)
        world.subjects[name] = offers.publish(archive, str(offer.pk)).pk
    on_request = offers.make(archive, **made_of, price_minor=0, currency="USD", access="on_request")
    _questions(world, str(offers.publish(archive, str(on_request.pk)).pk))
    return str(world.subjects["offer"])


def _questions(world: World, offer: str) -> None:
    for livemode in (True, False):
        request = access_requests.ask(
            caller_for(world.lab, livemode=livemode),
            offer,
            uses=["pretrain"],
            territories=["DE"],
            model={"name": "Gamma", "release": "closed_api"},
        )
        world.subjects["access_request"] = request.pk


def _purchases(world: World, offer: str) -> None:
    for livemode in (True, False):
        lab = caller_for(world.lab, livemode=livemode)
        quote = quotes.make(
            lab, offer=offer, uses=["pretrain"], territories=["DE"], notes={"po": "4711"}
        )
        order = orders.place(
            lab,
            quote=str(quote.pk),
            accept={"document_sha256": bytes(quote.document_sha256).hex(), **ACCEPTANCE},  # type: ignore[typeddict-item]
        )
        assert order.grant is not None
        world.subjects |= {"quote": quote.pk, "order": order.pk, "grant": order.grant.pk}
        _interruption(world, livemode)
        with system("fill the world of a test"):
            _money(world, order, livemode)
        _royalties(world, order, livemode)
        _deliveries(world)


def _deliveries(world: World) -> None:
    """What left some days ago is recorded; what left today is not."""
    days = [timezone.now().date() - timedelta(days=days) for days in (2, 0)]
    for day in days:
        with system("fill the world of a test"):
            coverage = Coverage.objects.get(grant=world.subjects["grant"])
            DeliveryCount.objects.create(
                coverage=coverage, day=day, what="works", answers=1, bytes=8
            )
    assert delivery_summaries.record_due() == 1


def _interruption(world: World, livemode: bool) -> None:
    """The grant is suspended, and in force again."""
    archive, grant = caller_for(world.archive, livemode=livemode), str(world.subject("grant"))
    act = lifecycle.Act(by="licensor", cause="other", reason="Looked into.")
    lifecycle.suspend(archive, grant, act)
    lifecycle.reinstate(archive, grant, act)


def _samples(world: World) -> None:
    """Of the private offer, taken in both modes; another work than the one that goes out."""
    listing = str(world.subjects["private_offer"])
    samples.choose(caller_for(world.archive), listing, external_ids=["work-1"])
    for livemode in (True, False):
        lab = caller_for(world.lab, livemode=livemode)
        shown = taking.show(lab, listing)
        document = bytes(shown.quote.document_sha256).hex()
        taking.take(
            lab,
            listing,
            accept={"document_sha256": document, **ACCEPTANCE},  # type: ignore[typeddict-item]
            starts_at=shown.starts_at,
        )


def _royalties(world: World, order: Any, livemode: bool) -> None:
    """What a sale with royalties would have left behind."""
    seller = caller_for(world.archive, livemode=livemode)
    contributor = world.subjects["contributor"]
    rule = royalties.set_rule(
        seller,
        str(world.subjects["collection"]),
        basis_points=5_000,
        method="fixed",
        parts=[{"contributor": str(contributor), "parts": 1}],
    )
    payouts.advance(seller, str(contributor), amount_minor=5, currency="USD", reference="SEPA 1")
    collection = str(world.subjects["collection"])
    advances.give(seller, collection, amount_minor=5, currency="EUR", reference="SEPA 2")
    with system("fill the world of a test"):
        allocation = RoyaltyAllocation.objects.create(
            organization=order.seller,
            livemode=livemode,
            order=order,
            rule=rule,
            snapshot=order.quote.snapshot,
            sold_at=timezone.now(),
            currency="USD",
            pool_minor=100,
        )
    assert royalties.allocate_due() == 1
    payout = payouts.confirm(
        seller, currency="USD", contributors=1, paid_minor=95, recouped_minor=5
    )
    assert payouts.write_due() == 1
    with acting(seller, writing=False):
        payment = payout.payments.get()
    world.subjects |= {
        "royalty_rule": rule.pk,
        "royalty_allocation": allocation.pk,
        "royalty_payout": payout.pk,
        "royalty_payment": payment.pk,
    }


def _money(world: World, order: Any, livemode: bool) -> None:
    """What a paid order would have left behind; this one was free."""
    Command.objects.create(
        organization=order.organization,
        livemode=livemode,
        order=order,
        kind=Command.Kind.REFUND,
        params={},
    )
    customer = StripeCustomer.objects.create(organization=order.organization, livemode=livemode)
    Invoice.objects.create(
        organization=order.organization,
        seller=order.seller,
        livemode=livemode,
        order=order,
        customer=customer,
        net_days=30,
        due_at=timezone.now() + timedelta(days=30),
        grants_on="payment",
    )
    PaymentPart.objects.create(
        organization=order.organization,
        seller=order.seller,
        livemode=livemode,
        order=order,
        amount_minor=10_000,
    )
    StripeEvent.objects.create(id=f"evt_{livemode}", type="x", livemode=livemode, body={})
    Mismatch.objects.create(livemode=livemode, kind="clearing_open", subject="txn", order=order)
    now = timezone.now()
    ReconcileCursor.objects.create(name="events", livemode=livemode, reached_at=now)
    StripePace.objects.create(name=f"* {livemode}", next_at=now)
    journal = Journal.objects.create(
        organization=order.organization, livemode=livemode, kind="sale", order=order
    )
    for code, owner, amount in (
        (Account.Code.STRIPE_CLEARING, None, 100),
        (Account.Code.SELLER_PAYABLE, order.seller, -100),
    ):
        account = Account.objects.create(
            livemode=livemode, code=code, organization=owner, currency="USD"
        )
        Posting.objects.create(
            journal=journal, account=account, currency="USD", amount_minor=amount
        )
    _back_and_forth(world, order, livemode)


def _back_and_forth(world: World, order: Any, livemode: bool) -> None:
    """What a paid order's seller got, and what went back of it."""
    seller = {"organization": order.seller, "livemode": livemode}
    ConnectedAccount.objects.create(
        **seller, country="US", stripe_id=f"acct_{livemode}", state="active"
    )
    transfer = Transfer.objects.create(**seller, order=order, share_minor=100, currency="USD")
    TransferReversal.objects.create(
        **seller, transfer=transfer, cause="rfd_1", amount_minor=50, settled_minor=50
    )
    remittance = Remittance.objects.create(
        **seller, currency="USD", withheld_minor=0, amount_minor=100, state="sending"
    )
    parties = {"organization": order.organization, "seller": order.seller, "livemode": livemode}
    money = {**parties, "order": order, "amount_minor": 50, "currency": "USD"}
    refund = Refund.objects.create(**money, cause="buyer", requested_by="system")
    RefundApproval.objects.create(
        seller=order.seller, refund=refund, actor="system", is_operator=False
    )
    dispute = Dispute.objects.create(
        **money, stripe_id=f"du_{livemode}", reason="fraudulent", status="needs_response"
    )
    FeeSchedule.objects.create(
        organization=order.seller, version=1 + livemode, basis_points=100, actor="system"
    )
    world.subjects |= {"transfer": transfer.pk, "refund": refund.pk, "dispute": dispute.pk}
    world.subjects |= {"remittance": remittance.pk}


@pytest.fixture(scope="module")
def world(
    django_db_setup: TestDatabase, django_db_blocker: DjangoDbBlocker, ledger_keys: object
) -> Iterator[World]:
    """Archive sells to Lab, in both modes; Stranger and Outsider have no part in it.

    Committed once for a module, since it takes a second to make; a test's own rows roll back.
    """
    with django_db_blocker.unblock():
        yield _build()
        django_db_setup.remake()


def _people(world: World) -> None:
    """A collection shared with the archive's member, and a guest who did not come yet."""
    archive = caller_for(world.archive)
    collection = str(world.subjects["collection"])
    shared = sharing.share(archive, collection, email="archive@example.org", right="edit")
    invited = invitations.invite(archive, email="guest@example.org", role="viewer")
    with acting(archive, writing=False):
        member = Membership.objects.visible_to(archive).get()
    world.subjects |= {"share": shared.pk, "invitation": invited.pk, "member": member.pk}


def _opt_out(world: World) -> None:
    """One work out, its notices acknowledged, and a contributor's link that nobody used."""
    archive, lab = caller_for(world.archive), caller_for(world.lab)
    out = optouts.record(archive, by="owner", reason="Asked.", external_ids=["work-0"])
    with acting(lab, writing=False):
        notice = Notice.objects.visible_to(lab).get()
    notices.acknowledge(lab, str(notice.pk), statement="Done.", name="Lin", title="Counsel")
    link, _address = optout_links.make(archive, str(world.subjects["contributor"]))
    world.subjects |= {"opt_out": out.pk, "notice": notice.pk, "opt_out_link": link.pk}


def _moderated(world: World) -> None:
    """A report about a listing; a work that is not on sale, held, and the archive's appeal."""
    olga = make_operator()
    with acting(caller_for(world.archive), writing=False):
        form = Representation.objects.filter(work__external_id="work-100").get()
    reports.make(
        target=str(world.subjects["offer"]),
        ground="law",
        explanation="It is mine.",
        location="Page 3.",
        name="Rae",
        email="rae@example.org",
        in_good_faith=True,
        address="192.0.2.1",
    )
    decision = moderation.decide(
        olga,
        organization=str(world.archive.pk),
        digests=[bytes(form.digest).hex()],
        measure="work_held",
        reasons=moderation.Reasons("A map is in it.", "law", "Article 2."),
    )
    moderation.appeal(caller_for(world.archive), str(decision.pk), reasons="It is ours.")
    world.subjects["moderation_decision"] = decision.pk
    legal_holds.place(olga, str(world.archive.pk), reason="A court asked.", matter="4 O 17/26")


def _erased(world: World) -> None:
    """A contributor of the archive who asked to be forgotten."""
    archive = caller_for(world.archive)
    gone = contributors.add(archive, external_id="gone", name="Gone", email="gone@example.org")
    contributors.erase(archive, str(gone.pk))


def _webhooks(world: World) -> None:
    """The lab's endpoint in both modes, and one delivery to each that nobody took."""
    for livemode in (True, False):
        lab = caller_for(world.lab, livemode=livemode)
        endpoint, _secret = webhooks.create(lab, url="https://hooks.example.org/licet")
        event = webhooks.test(lab, endpoint.pk)
        webhook_deliveries.queue_new()
        with acting(lab):
            delivery = WebhookDelivery.objects.get(event=event)
            WebhookAttempt.objects.create(
                organization=world.lab,
                delivery=delivery,
                number=1,
                started_at=timezone.now(),
                duration_ms=15_000,
                error="No answer within 15 seconds.",
            )
        world.subjects |= {
            "event": event.pk,
            "webhook_endpoint": endpoint.pk,
            "webhook_delivery": delivery.pk,
        }


def _build() -> World:
    made = World(found("Archive", "platform"), found("Lab", "lab"), found("Stranger", "lab"))
    found("Outsider", "lab")
    for organization in (made.archive, made.lab):
        user = organizations.admit(
            organization,
            email=f"{organization.name}@example.org",
            name=organization.name,
            password="correct horse battery",
            role="owner",
        )
        account_acts.record(user, "account.signed_in", by=["password"])
        for livemode in (True, False):
            made.client(organization, livemode=livemode)
    make_trader(made.archive)
    _purchases(made, _offers(made, _catalogue(made)))
    _samples(made)
    _people(made)
    _opt_out(made)
    _erased(made)
    _webhooks(made)
    _moderated(made)
    audit_roots.record_due()
    answer = made.client(made.archive).post(
        "/v1/collections", {"name": "Once"}, Idempotency_Key="k1"
    )
    assert answer.status_code == 201
    with system("check the world of a test"):
        assert IdempotencyKey.objects.count() == 1
        assert ImportJob.objects.count() == 2
    return made
