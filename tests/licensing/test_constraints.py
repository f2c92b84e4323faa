"""Every rule that the tables of licensing keep by themselves, broken on purpose, by its name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.db.models import CheckConstraint, UniqueConstraint
from django.db.utils import ProgrammingError
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from licensing import lifecycle, offers
from licensing.ledger import commitments
from licensing.models import (
    AccessRequest,
    Acknowledgement,
    Agreement,
    ContributorLink,
    Grant,
    GrantEvent,
    LedgerCheckpoint,
    LedgerCosignature,
    LedgerEntry,
    LedgerKeyChange,
    LedgerLeaf,
    LedgerOpening,
    LedgerParty,
    Notice,
    Offer,
    OptOut,
    OptOutItem,
    Sample,
    SearchDocument,
    SearchWord,
    TakenSample,
)
from marketplace import access
from marketplace.models import Contributor, Organization, Representation
from tests import ledger
from tests.database import TestDatabase
from tests.licensing import (
    continuation_breaks,
    delivery_breaks,
    moderation_breaks,
    period_breaks,
    root_breaks,
)
from tests.licensing.period_breaks import again
from tests.make import EXCLUSIVE, issue_grant, make_collection, make_offer
from tests.people import caller_for, found

pytestmark = pytest.mark.django_db


class World:
    """A grant, and what it came from; each case copies one row and changes one thing in it."""

    def __init__(self, seller: Organization, buyer: Organization) -> None:
        self.seller, self.buyer = seller, buyer
        self.offer = make_offer(seller, typed=EXCLUSIVE)
        self.grant = issue_grant(buyer, self.offer)

    def other_offer(self) -> Offer:
        return make_offer(found("Other archive", "platform"))

    def other_grant(self) -> Grant:
        """Of other parties."""
        return issue_grant(found("Other lab", "lab"), self.other_offer())

    def second_grant(self) -> Grant:
        """Of the same parties."""
        offer = make_offer(self.seller, collection=make_collection(self.seller, name="More"))
        return issue_grant(self.buyer, offer)


@pytest.fixture(scope="module")
def committed(
    django_db_setup: TestDatabase, django_db_blocker: DjangoDbBlocker, ledger_keys: object
) -> Iterator[World]:
    """Made once: verbs take longer than a case. Tests that commit run after all that roll back."""
    with django_db_blocker.unblock():
        yield World(found("Archive", "platform"), found("Lab", "lab", jurisdiction="US-DE"))
        django_db_setup.remake()


@pytest.fixture
def world(committed: World) -> World:
    """A copy: objects remember what a case looked up, or hung on them."""
    return deepcopy(committed)


def frozen(world: World, **changes: Any) -> None:
    """A copy of the snapshot, recorded by an entry of its own."""
    fields: dict[str, Any] = {
        "number": 9,
        "snapshot_ref": os.urandom(16),
        "entry_id": ledger.append().pk,
    }
    again(world.offer.snapshot, **{**fields, **changes})


def version(world: World, **changes: Any) -> None:
    """A copy of the terms, published by an entry of its own."""
    fields: dict[str, Any] = {
        "version": 9,
        "terms_ref": os.urandom(16),
        "entry_id": ledger.append().pk,
    }
    again(world.offer.terms, **{**fields, **changes})


def draft(world: World, **changes: Any) -> None:
    unpublished = {"state": "draft", "published_at": None, "rights_basis": ""}
    again(world.offer, **{**unpublished, **changes})


def document(world: World) -> SearchDocument:
    return SearchDocument.objects.get(offer=world.offer)


def agreed(world: World, **changes: Any) -> None:
    again(world.grant.agreement, **{"made_by": "another", **changes})


def granted(world: World, **changes: Any) -> None:
    """A grant whose keys are all its own."""
    agreed(world)
    agreement = Agreement.objects.get(made_by="another")
    fields: dict[str, Any] = {
        "agreement_id": agreement.pk,
        "grant_ref": os.urandom(16),
        "issued_entry_id": ledger.append().pk,
    }
    again(world.grant, **{**fields, **changes})


def claim(world: World, **changes: Any) -> None:
    fields: dict[str, Any] = {"held_by": "another", "state": "released"}
    again(world.grant.claims.get(), **{**fields, **changes})


def asked(world: World, **changes: Any) -> None:
    """A copy of an access request that was declined."""
    now = timezone.now()
    fields: dict[str, Any] = {
        "livemode": False,
        "licensor": world.seller,
        "licensee": world.buyer,
        "offer": world.offer,
        "uses": ["pretrain"],
        "territories": ["*"],
        "model_name": "Gamma",
        "model_release": "closed_api",
        "state": "declined",
        "reason": "No.",
        "created_at": now,
        "expires_at": now + timedelta(days=1),
        "decided_at": now,
        "decided_by": "system",
    }
    AccessRequest.objects.create(**{**fields, **changes})


def open_request(world: World, **changes: Any) -> None:
    """One that awaits its answer."""
    fields = {"state": "pending", "reason": "", "decided_at": None, "decided_by": ""}
    asked(world, **{**fields, **changes})


def asked_twice(world: World) -> None:
    open_request(world)
    open_request(world)


def sampled(world: World, **changes: Any) -> Sample:
    """A sample of the offer; any other offer of the seller's stands for the hidden one."""
    fields: dict[str, Any] = {"organization": world.seller, "offer": world.offer, "works": 1}
    if "sample_offer" not in changes:
        more = make_collection(world.seller, name="Part")
        changes["sample_offer"] = make_offer(world.seller, collection=more)
    return Sample.objects.create(**{**fields, **changes})


def taken(world: World, **changes: Any) -> TakenSample:
    fields: dict[str, Any] = {
        "livemode": False,
        "licensor": world.seller,
        "licensee": world.buyer,
        "offer": world.offer,
        "sample": changes.get("sample") or sampled(world),
        "grant": world.grant,
    }
    return TakenSample.objects.create(**{**fields, **changes})


def out(world: World, **changes: Any) -> OptOut:
    """An opt-out of the seller's first work, as `optouts.record` would write it, or changed."""
    fields: dict[str, Any] = {
        "organization": world.seller,
        "by": "owner",
        "reason": "Asked.",
        "opt_out_ref": os.urandom(16),
        "size": 1,
        "root": b"r" * 32,
        "citation": b"c" * 32,
        "secret": b"s" * 32,
        "actor": "system",
        "entry": ledger.append(),
    }
    return OptOut.objects.create(**{**fields, **changes})


def work_of(organization: Organization) -> bytes:
    form = Representation.objects.filter(organization=organization).first()
    assert form is not None
    return bytes(form.digest)


def out_item(world: World, **changes: Any) -> None:
    fields: dict[str, Any] = {"organization": world.seller, "digest": work_of(world.seller)}
    OptOutItem.objects.create(**{"opt_out": out(world), **fields, **changes})


def told(world: World, **changes: Any) -> Notice:
    """A notice to the buyer; it does not outlive the test."""
    fields: dict[str, Any] = {
        "livemode": False,
        "licensor": world.seller,
        "licensee": world.buyer,
        "grant": world.grant,
        "opt_out": changes.get("opt_out") or out(world),
        "by": "owner",
        "notice_ref": os.urandom(16),
        "snapshots": [],
        "size": 1,
        "root": b"r" * 32,
        "citation": b"c" * 32,
        "secret": b"s" * 32,
        "entry": ledger.append(),
    }
    return Notice.objects.create(**{**fields, **changes})


def told_twice(world: World) -> None:
    once = told(world)
    told(world, opt_out=once.opt_out)


def acknowledged(world: World, **changes: Any) -> Acknowledgement:
    fields: dict[str, Any] = {
        "livemode": False,
        "licensor": world.seller,
        "licensee": world.buyer,
        "notice": changes.get("notice") or told(world),
        "statement": "Done.",
        "person_name": "Lin",
        "person_title": "Counsel",
        "actor": "system",
        "entry": ledger.append(),
    }
    return Acknowledgement.objects.create(**{**fields, **changes})


def acknowledged_twice(world: World) -> None:
    again(acknowledged(world), entry_id=ledger.append().pk)


def happened(world: World, **changes: Any) -> GrantEvent:
    """A suspension of the grant, as `lifecycle.suspend` would write it, or changed."""
    fields: dict[str, Any] = {
        "livemode": False,
        "licensor": world.seller,
        "licensee": world.buyer,
        "grant": world.grant,
        "number": 1,
        "kind": "suspended",
        "effective_at": timezone.now(),
        "by": "licensor",
        "cause": "other",
        "reason": "Looked into.",
        "actor": "system",
        "entry": changes.get("entry") or ledger.append(),
    }
    return GrantEvent.objects.create(**{**fields, **changes})


def linked(world: World, **changes: Any) -> None:
    """A contributor's link."""
    fields: dict[str, Any] = {
        "organization": world.seller,
        "contributor": contributor_of(world.seller),
        "token_sha256": b"t" * 32,
        "created_by": "system",
        "expires_at": timezone.now() + timedelta(days=1),
    }
    ContributorLink.objects.create(**{**fields, **changes})


def linked_twice(world: World) -> None:
    linked(world)
    linked(world)


def contributor_of(organization: Organization) -> Contributor:
    return Contributor.objects.get_or_create(organization=organization, external_id="c")[0]


def entry(**fields: Any) -> LedgerEntry:
    return LedgerEntry.objects.create(
        **{
            "log": "test",
            "kind": "note.made",
            "subject_ref": os.urandom(16),
            "seq": 0,
            "body": b"{}",
            "leaf_hash": b"h" * 32,
            **fields,
        }
    )


def opening_of_nothing(_world: World) -> None:
    LedgerOpening.objects.create(entry=entry(), parties=[], seed=bytes(32))


def leaf_twice(world: World) -> None:
    for index in (0, 1):
        LedgerLeaf.objects.create(
            log="test", index=index, entry=world.grant.issued_entry, leaf_hash=b"h" * 32
        )


def cosigned(size: int = 1) -> None:
    LedgerCheckpoint.objects.get_or_create(log="test", size=1, defaults={"note": "signed"})
    LedgerCosignature.objects.create(
        log="test", size=size, vkey="w+0+0", cosigned_at=0, line="cosigned"
    )


def party(world: World, **fields: Any) -> None:
    of = {"log": "test", "organization_id": world.seller.pk, "entry": world.grant.issued_entry}
    LedgerParty.objects.create(**of | fields)


def key_change(**fields: Any) -> None:
    of = {"log": "test", "ref": bytes(16), "old_vkey": "a", "new_vkey": "b"}
    LedgerKeyChange.objects.create(**of | {"entry": ledger.append()} | fields)


def forked(world: World) -> None:
    first = world.grant.issued_entry
    entry(log=first.log, subject_ref=bytes(first.subject_ref), seq=first.seq)


def on_grant(act: Callable[[Any], Any]) -> Callable[[World], Any]:
    return lambda world: act(world.grant)


NOW = timezone.now()
Break = Callable[[World], Any]
BREAKS: dict[str, Break] = {
    **continuation_breaks.BREAKS,
    # the ledger
    "ledger_chain_does_not_fork": forked,
    "ledger_entry_is_in_a_known_log": lambda _w: entry(log="mine"),
    "ledger_entry_fits_a_tile": lambda _w: entry(body=os.urandom(65_536)),
    "ledger_entry_subject_is_16_bytes": lambda _w: entry(subject_ref=b"short"),
    "ledger_entry_has_its_subject": lambda _w: entry(kind="grant.issued"),
    "licensing_ledgerleaf_entry_id_key": leaf_twice,
    "ledger_witness_cosigns_once": lambda _w: (cosigned(), cosigned()),
    "ledger_cosignature_is_of_a_checkpoint": lambda _w: cosigned(size=2),
    "ledger_opening_is_packed_or_plain": opening_of_nothing,
    "ledger_party_has_one_number": lambda w: party(w, sequence=9),
    "ledger_key_is_announced_once": lambda _w: (key_change(), key_change(old_vkey="c")),
    "ledger_key_gives_way_to_another": lambda _w: key_change(new_vkey="a"),
    "ledger_key_change_ref_is_16_bytes": lambda _w: key_change(ref=b"short"),
    "licensing_ledgerkeychange_entry_id_key": lambda w: (
        key_change(entry=w.grant.issued_entry),
        key_change(entry=w.grant.issued_entry, new_vkey="c"),
    ),
    "ledger_numbers_begin_at_1": lambda w: party(w, entry=ledger.append(), sequence=0),
    **{name: on_grant(act) for name, act in root_breaks.BREAKS.items()},
    # snapshots
    "snapshot_number_is_unique": lambda w: frozen(w, number=w.offer.snapshot.number),
    "snapshot_is_not_empty": lambda w: frozen(w, size=0),
    "snapshot_hashes_are_sha256": lambda w: frozen(w, secret=b"short"),
    "snapshot_is_recorded": lambda w: frozen(w, entry_id=None),
    "licensing_snapshot_entry_id_key": lambda w: frozen(w, entry_id=w.offer.snapshot.entry_id),
    "licensing_snapshot_snapshot_ref_key": lambda w: frozen(
        w, snapshot_ref=bytes(w.offer.snapshot.snapshot_ref)
    ),
    "snapshot_collection_id_same_parties": lambda w: frozen(
        w, collection_id=w.other_offer().collection_id
    ),
    # terms
    "terms_version_is_unique": lambda w: version(w, version=w.offer.terms.version),
    "terms_hashes_are_of_their_texts": lambda w: version(w, text="Mine."),
    "terms_are_recorded_iff_published": lambda w: version(w, entry_id=None),
    "licensing_terms_entry_id_key": lambda w: version(w, entry_id=w.offer.terms.entry_id),
    "licensing_terms_terms_ref_key": lambda w: version(w, terms_ref=bytes(w.offer.terms.terms_ref)),
    # offers
    "offer_price_is_not_negative": lambda w: draft(w, price_minor=-1),
    "offer_price_minor_is_of_its_price": lambda w: draft(w, price_minor=7),
    "offer_currency_is_iso_4217": lambda w: draft(w, currency="usd"),
    "offer_closes_after_it_opens": lambda w: draft(w, closes_at=w.offer.opens_at),
    "offer_is_not_private_to_its_owner": lambda w: draft(w, audience_id=w.seller.pk),
    "offer_state_matches_its_dates": lambda w: draft(w, withdrawn_at=NOW),
    "offer_on_sale_states_its_rights_basis": lambda w: again(w.offer, rights_basis=""),
    "offer_suspended_says_why": lambda w: again(
        w.offer, state="suspended", suspended_at=NOW, state_reason=""
    ),
    "search_document_is_one_per_offer": lambda w: again(document(w)),
    "searchdocument_offer_id_same_parties": lambda w: again(
        document(w), offer_id=w.other_offer().pk
    ),
    "search_word_is_not_empty": lambda w: SearchWord.objects.create(word=""),
    "offer_collection_id_same_parties": lambda w: draft(
        w, collection_id=w.other_offer().collection_id
    ),
    "offer_snapshot_id_same_parties": lambda w: draft(w, snapshot_id=w.other_offer().snapshot_id),
    "offer_terms_id_same_parties": lambda w: draft(w, terms_id=w.other_offer().terms_id),
    "offer_access_is_known": lambda w: draft(w, access="sometimes"),
    "offer_invoice_days_are_known": lambda w: draft(w, invoice_days=[45]),
    "offer_grants_on_issue_of_an_invoice": lambda w: draft(w, grants_on="issue"),
    # access requests
    "access_request_is_open_once": asked_twice,
    "access_request_parties_differ": lambda w: asked(w, licensee=w.seller),
    "access_request_state_matches_its_dates": lambda w: open_request(w, canceled_at=NOW),
    "access_request_reason_iff_declined": lambda w: asked(w, reason=""),
    "access_request_decision_names_who": lambda w: asked(w, decided_by=""),
    "access_request_asks_for_something": lambda w: asked(w, uses=[]),
    "access_request_release_is_known": lambda w: asked(w, model_release="shareware"),
    "access_request_expires_after_it_was_made": lambda w: asked(w, expires_at=NOW),
    # samples
    "sample_is_not_empty": lambda w: sampled(w, works=0),
    "sample_is_of_another_offer": lambda w: sampled(w, sample_offer=w.offer),
    "licensing_sample_sample_offer_id_key": lambda w: again(sampled(w)),
    "sample_offer_id_same_parties": lambda w: sampled(w, offer=w.other_offer()),
    "sample_sample_offer_id_same_parties": lambda w: sampled(w, sample_offer=w.other_offer()),
    "sample_is_taken_once": lambda w: again(taken(w), grant_id=w.second_grant().pk),
    "taken_sample_parties_differ": lambda w: taken(w, licensee=w.seller),
    "licensing_takensample_grant_id_key": lambda w: again(taken(w), livemode=True),
    "takensample_sample_id_same_parties": lambda w: taken(
        w, offer=make_offer(w.seller, collection=make_collection(w.seller, name="More"))
    ),
    "takensample_grant_id_same_parties": lambda w: taken(w, grant=w.other_grant()),
    # opt-outs, notices, links
    "opt_out_by_is_known": lambda w: out(w, by="nobody"),
    "opt_out_has_a_reason": lambda w: out(w, reason=""),
    "opt_out_is_not_empty": lambda w: out(w, size=0),
    "opt_out_hashes_are_sha256": lambda w: out(w, root=b"r" * 31),
    "opt_out_ref_is_16_bytes": lambda w: out(w, opt_out_ref=b"r"),
    "licensing_optout_opt_out_ref_key": lambda w: again(out(w), entry_id=ledger.append().pk),
    "licensing_optout_entry_id_key": lambda w: again(out(w), opt_out_ref=os.urandom(16)),
    "licensing_optout_other_entry_id_key": lambda w: again(
        out(w, other_entry=ledger.append()),
        entry_id=ledger.append().pk,
        opt_out_ref=os.urandom(16),
    ),
    "licensing_notice_notice_ref_key": lambda w: again(
        told(w), entry_id=ledger.append().pk, opt_out_id=out(w).pk
    ),
    "licensing_notice_entry_id_key": lambda w: again(
        told(w), notice_ref=os.urandom(16), opt_out_id=out(w).pk
    ),
    "licensing_acknowledgement_notice_id_key": acknowledged_twice,
    "licensing_acknowledgement_entry_id_key": lambda w: again(
        acknowledged(w), notice_id=told(w).pk
    ),
    "optoutitem_opt_out_id_same_parties": lambda w: out_item(
        w, opt_out=out(w, organization=w.buyer)
    ),
    "optoutitem_digest_same_parties": lambda w: out_item(w, digest=b"x" * 32),
    "notice_is_given_once": told_twice,
    "notice_by_is_known": lambda w: told(w, by="nobody"),
    "notice_is_not_empty": lambda w: told(w, size=0),
    "notice_parties_differ": lambda w: told(w, licensee=w.seller),
    "notice_hashes_are_sha256": lambda w: told(w, citation=b"c" * 31),
    "notice_ref_is_16_bytes": lambda w: told(w, notice_ref=b"r"),
    "notice_opt_out_id_same_parties": lambda w: told(w, opt_out=out(w, organization=w.buyer)),
    "notice_grant_id_same_parties": lambda w: told(w, grant=w.other_grant()),
    "acknowledgement_is_signed": lambda w: acknowledged(w, person_name=""),
    "acknowledgement_notice_id_same_parties": lambda w: acknowledged(
        w, licensee=found("Other lab", "lab")
    ),
    "contributor_link_token_is_unique": linked_twice,
    "contributor_link_token_is_hashed": lambda w: linked(w, token_sha256=b"t"),
    "contributor_link_expires_after_creation": lambda w: linked(w, expires_at=NOW),
    "contributor_link_ends_once": lambda w: linked(w, used_at=NOW, revoked_at=NOW),
    "contributor_link_opted_out_iff_used": lambda w: linked(w, opt_out=out(w)),
    "contributorlink_contributor_id_same_parties": lambda w: linked(
        w, contributor=contributor_of(w.buyer)
    ),
    "contributorlink_opt_out_id_same_parties": lambda w: linked(
        w, used_at=NOW, opt_out=out(w, organization=w.buyer)
    ),
    "accessrequest_offer_id_same_parties": lambda w: asked(w, offer=w.other_offer()),
    # agreements
    "agreement_is_made_once": lambda w: again(w.grant.agreement),
    "agreement_hash_is_of_its_document": lambda w: agreed(w, document="Another contract."),
    "agreement_parties_differ": lambda w: agreed(w, licensee_id=w.seller.pk),
    "agreement_states_what_controls": lambda w: agreed(w, controlling="neither"),
    "agreement_names_who_accepted": lambda w: agreed(w, accepted_by_title=""),
    # grants
    "grant_parties_differ": lambda w: granted(w, licensee_id=w.seller.pk),
    "grant_ended_at_iff_ended": lambda w: granted(w, status="revoked"),
    "grant_agreement_id_same_parties": lambda w: granted(w, livemode=True),
    "licensing_grant_agreement_id_key": lambda w: granted(w, agreement_id=w.grant.agreement_id),
    "licensing_grant_grant_ref_key": lambda w: granted(w, grant_ref=bytes(w.grant.grant_ref)),
    "licensing_grant_issued_entry_id_key": lambda w: granted(
        w, issued_entry_id=w.grant.issued_entry_id
    ),
    # what became of grants
    "grant_event_number_is_unique": lambda w: again(happened(w), entry_id=ledger.append().pk),
    "grant_event_follows_its_issue": lambda w: happened(w, number=0),
    "grant_event_kind_is_known": lambda w: happened(w, kind="frozen"),
    "grant_event_effect_iff_revoked": lambda w: happened(w, kind="revoked"),
    "grant_event_says_why_unless_expired": lambda w: happened(w, reason=""),
    "licensing_grantevent_entry_id_key": lambda w: again(happened(w), number=2),
    "grantevent_grant_id_same_parties": lambda w: happened(w, grant=w.other_grant()),
    **period_breaks.BREAKS,
    **delivery_breaks.BREAKS,
    **moderation_breaks.BREAKS,
    # claims
    "scope_claim_state_matches_its_holder": lambda w: claim(w, state="active", grant_id=None),
    "licensing_scopeclaim_held_by_key": lambda w: claim(w, held_by=w.grant.claims.get().held_by),
    "scope_claims_do_not_overlap": lambda w: claim(w, state="active"),
    "scopeclaim_collection_number_same_parties": lambda w: claim(
        w, collection_id=w.other_offer().collection.number
    ),
    "scopeclaim_grant_id_same_parties": lambda w: claim(w, grant_id=w.other_grant().pk),
}
# Keys that only serve as targets of composite foreign keys: each holds the primary key, which
# no row can break alone.
TARGETS = {
    "access_request_of_parties",
    "opt_out_of_organization",
    "moderation_of_organization",
    "notice_of_parties",
    "sample_of_offer",
    "snapshot_of_collection",
    "snapshot_of_organization",
    "terms_of_organization",
    "offer_of_organization",
    "agreement_of_parties",
    "grant_of_parties",
}
INDEXES = {"access_request_is_open_once", "period_reference_is_unique"}
# Broken in tests of their own, below: triggers name no constraint.
ELSEWHERE = {
    "terms_published_are_fixed",
    "offer_published_is_fixed",
    "contributor_link_ended_is_fixed",
    "status_change_is_queued",
}


def broken_by(act: Callable[[], Any]) -> str | None:
    """The name of the constraint that refuses an act, now or at the end of its transaction."""
    cause = None
    try:
        with transaction.atomic():
            act()
            connection.check_constraints()
    except IntegrityError as error:
        cause = error.__cause__
    return cause.diag.constraint_name if isinstance(cause, psycopg.Error) else None


@pytest.mark.parametrize("name", BREAKS)
def test_the_database_refuses_what_breaks(name: str, world: World) -> None:
    with access.system("test the tables"):
        assert broken_by(lambda: BREAKS[name](world)) == name


@pytest.mark.parametrize(
    "copy",
    [
        frozen,
        version,
        draft,
        agreed,
        period_breaks.period,
        period_breaks.coverage,
        claim,
        asked,
        open_request,
        sampled,
        taken,
        out_item,
        acknowledged,
        happened,
        linked,
        moderation_breaks.decided,
        moderation_breaks.reported,
        moderation_breaks.appealed,
    ],
)
def test_the_copies_that_the_cases_change_are_sound(
    world: World, copy: Callable[[World], None]
) -> None:
    with access.system("test the tables"):
        assert broken_by(lambda: copy(world)) is None


@pytest.mark.parametrize("kind", sorted(commitments.FIELDS))
def test_no_entry_of_a_published_kind_is_recorded_without_its_subject(
    kind: str, world: World
) -> None:
    before = LedgerEntry.objects.count()
    with access.system("test the tables"):
        assert broken_by(lambda: entry(kind=kind)) == "ledger_entry_has_its_subject"
    assert LedgerEntry.objects.count() == before


def test_every_named_constraint_has_a_case() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT conname FROM pg_constraint
            WHERE conrelid::regclass::text LIKE 'licensing\\_%'
              AND (contype IN ('u', 'x', 'c') OR conname LIKE '%\\_same\\_parties'
                   OR conname = 'ledger_cosignature_is_of_a_checkpoint')
            UNION SELECT tgname FROM pg_trigger
            WHERE tgrelid::regclass::text LIKE 'licensing\\_%' AND NOT tgisinternal
              AND tgname NOT LIKE 'insert\\_only%'
            """
        )
        named = {name for (name,) in cursor.fetchall()}
    declared = {
        constraint.name
        for model in apps.get_app_config("licensing").get_models()
        for constraint in model._meta.constraints
        if isinstance(constraint, CheckConstraint | UniqueConstraint)
    }

    # A unique constraint with a condition is an index to PostgreSQL.
    assert declared - INDEXES <= named
    assert named | INDEXES == set(BREAKS) | TARGETS | ELSEWHERE


# --- what never changes -----------------------------------------------------------------------


@pytest.fixture
def written(archive: Organization, lab: Organization, transactional_db: None) -> World:
    """Committed, so that another connection sees it."""
    world = World(archive, lab)
    act = lifecycle.Act(by="licensor", cause="other", reason="Looked into.")
    lifecycle.suspend(caller_for(archive), str(world.grant.pk), act)
    return world


INSERT_ONLY = ["snapshot", "agreement", "period", "coverage", "grantevent", "ledgerentry"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("table", INSERT_ONLY)
def test_what_was_written_stays(
    table: str, written: World, owner_connection: psycopg.Connection[Any]
) -> None:
    for verb in (
        f"UPDATE licensing_{table} SET id = id",
        f"DELETE FROM licensing_{table}",
    ):
        with pytest.raises(ProgrammingError, match="permission denied"):
            as_application(verb)
        with pytest.raises(psycopg.errors.RestrictViolation):
            as_owner(owner_connection, verb)
    with pytest.raises(psycopg.errors.RestrictViolation):
        owner_connection.execute(f"TRUNCATE licensing_{table} CASCADE")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "verb",
    [
        "UPDATE licensing_terms SET name = 'Other'",
        "UPDATE licensing_terms SET published_at = NULL",
        "DELETE FROM licensing_terms",
    ],
)
def test_published_terms_never_change(
    verb: str, written: World, owner_connection: psycopg.Connection[Any]
) -> None:
    with pytest.raises(IntegrityError, match="published terms never change"):
        as_application(verb)
    with pytest.raises(psycopg.errors.RestrictViolation):
        as_owner(owner_connection, verb)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "column",
    ["price_minor = 0", "closes_at = NULL, opens_at = now()", "rights_statement = 'Other.'"],
)
def test_a_published_offer_can_only_be_withdrawn(
    column: str, written: World, owner_connection: psycopg.Connection[Any]
) -> None:
    with pytest.raises(psycopg.errors.RestrictViolation):
        as_owner(owner_connection, f"UPDATE licensing_offer SET {column}")
    offers.withdraw(caller_for(written.seller), str(written.offer.pk))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE licensing_offer SET price_minor = 0",
        "DELETE FROM licensing_offer",
        "UPDATE licensing_grant SET licensee_id = licensor_id",
        "UPDATE licensing_grant SET issued_at = now()",
        "DELETE FROM licensing_grant",
        "UPDATE licensing_ledgeropening SET packed = ''",
        "UPDATE licensing_ledgerawaited SET log = 'live'",
        "UPDATE licensing_searchdocument SET audience_id = NULL",
        "UPDATE licensing_searchscope SET pairs = '{}'",
        "DELETE FROM licensing_searchscope",
        "DELETE FROM licensing_searchword",
        "UPDATE licensing_ledgerpending SET log = 'live'",
        "DELETE FROM licensing_ledgerrecovered",
        *continuation_breaks.FORBIDDEN,
        "DELETE FROM licensing_ledgerparty",
        "INSERT INTO licensing_ledgercounter VALUES ('test', gen_random_uuid(), 1)",
        "UPDATE licensing_ledgercounter SET last = last - 1",
        "DELETE FROM licensing_ledgercounter",
        "TRUNCATE licensing_scopeclaim",
        "UPDATE licensing_optout SET reason = 'Other'",
        "DELETE FROM licensing_optoutitem",
        "UPDATE licensing_notice SET size = 1",
        "DELETE FROM licensing_acknowledgement",
        "UPDATE licensing_contributorlink SET expires_at = now()",
        "UPDATE licensing_accessrequest SET uses = '{finetune}'",
        "DELETE FROM licensing_accessrequest",
        "UPDATE licensing_sample SET works = 9",
        "DELETE FROM licensing_takensample",
        "UPDATE licensing_auditleaf SET position = 1",
        "DELETE FROM licensing_auditleaf",
        "UPDATE licensing_auditroot SET size = 9",
        "DELETE FROM licensing_auditroot",
        "UPDATE licensing_deliverycount SET day = '2027-03-01'",
        "UPDATE licensing_deliverysummary SET part = 9",
        "DELETE FROM licensing_deliverysummary",
        "UPDATE licensing_statusroot SET size = 9",
        "DELETE FROM licensing_statusroot",
        "UPDATE licensing_statusleaf SET state = 1",
        "DELETE FROM licensing_statusleaf",
        "UPDATE licensing_statuschange SET log = 'live'",
    ],
)
def test_the_application_has_no_right_to(statement: str, world: World) -> None:
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        as_application(statement)


def as_application(statement: str) -> None:
    with (
        access.system("try it as the application"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


def as_owner(owner: psycopg.Connection[Any], statement: str) -> None:
    with owner.transaction():
        # The owner, too, sees the rows only as all-tenant work.
        owner.execute("SELECT set_config('licet.system', 'test', true)")
        owner.execute(statement)


@pytest.mark.parametrize("table", ["agreement", "grant", "period", "coverage", "scopeclaim"])
def test_without_a_tenant_a_private_table_shows_nothing(table: str, world: World) -> None:
    with access.system("count in a test"):
        assert rows_of(table) == 1
    assert rows_of(table) == 0


def rows_of(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM licensing_{table}")
        row: tuple[int] = cursor.fetchone()
        return row[0]


def test_a_hash_must_be_of_what_is_stored(world: World) -> None:
    text = world.offer.terms.text + "More."
    with access.system("test the tables"):
        assert broken_by(lambda: version(world, text=text)) == ("terms_hashes_are_of_their_texts")
        digest = hashlib.sha256(text.encode()).digest()
        assert broken_by(lambda: version(world, text=text, text_sha256=digest)) is None
