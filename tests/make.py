"""Things that tests need beyond the common few: plain functions with keyword defaults."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from licensing import grants, offers, prices, scope_claims, snapshots, terms
from licensing.models import Grant, Offer, ScopeClaim
from marketplace import collections, imports, operators, traders
from marketplace.access import acting
from marketplace.models import Collection, Organization, Trader, User
from marketplace.typeid import TypeID
from payments import orders, quotes
from tests.people import caller_for

TYPED: dict[str, Any] = {
    "v": 1,
    "permit": [
        {
            "uses": ["pretrain", "finetune"],
            "territories": ["EU", "US"],
            "model_scope": "any_model_of_licensee",
        }
    ],
    "deny": [{"uses": ["ground_display"]}],
    "exclusivity": "non_exclusive",
    "term": {"access_days": 365, "training_days": 365, "use_days": None},
    "output": {"max_verbatim_words": 200},
    "attribution": "in_model_docs",
    "redistribution": "none",
    "on_expiry": {"raw_copies_delete_within_days": 30, "weights": "keep_and_continue"},
}
# The same deal, near enough, in version 2.
TYPED_2: dict[str, Any] = {
    "v": 2,
    "permit": [
        {
            "uses": ["pretrain", "finetune"],
            "territories": {"training": ["EU", "US"], "availability": ["*"]},
            "models": {
                "scope": "any_model_of_licensee",
                "release": ["closed_api", "internal_only"],
                "successors": "family",
            },
            "fields": ["commercial", "non_commercial"],
        }
    ],
    "deny": [{"uses": ["ground_display"]}, {"sectors": ["surveillance"]}],
    "parties": {"affiliates": "none", "contractors": "no", "processors": "none"},
    "subject": {
        "selection": "snapshot",
        "additions": "none",
        "modalities": ["text"],
        "rights_layers": ["copyright_reproduction"],
    },
    "models": {
        "customer_finetunes": "allowed",
        "weights_transfer": "no",
        "max_parameters_millions": None,
        "max_training_exaflop": None,
        "makes": [],
    },
    "derivatives": {
        "finetune_of": "permit",
        "distilled_from": "permit",
        "merged_from": "permit",
        "synthetic_from": "permit",
        "embedding_of": "permit",
    },
    "output": {"max_verbatim_words": 200, "max_fraction_basis_points": None, "rules": []},
    "term": {
        "access_days": 365,
        "training_days": 365,
        "use_days": None,
        "renewal": "none",
        "termination": ["breach"],
        "sunset_days": 90,
    },
    "retention": {
        "raw_copies": {"rule": "delete_within", "days": 30},
        "processed_copies": {"rule": "delete_within", "days": 30},
        "embeddings": {"rule": "not_made"},
        "eval_sets": {"rule": "delete_within", "days": 30},
        "weights": {"rule": "keep_and_continue"},
        "logs": {"rule": "keep_for_audit", "days": 730},
        "certificate": "licensee",
    },
    "withdrawal": {
        "steps": [{"do": "exclude_future_runs", "within_days": 30}],
        "channels": ["platform"],
        "acknowledge_hours": 168,
    },
    "exclusivity": {"kind": "non_exclusive"},
    "redistribution": {"works": "none", "sublicense": "none", "dataset_publication": "no"},
    "attribution": {
        "places": ["in_model_docs"],
        "licensee_may_name_licensor": "yes",
        "licensor_may_name_licensee": "with_consent",
    },
    "reporting": {"cadence": "none", "attribution_provider": "none"},
    "audit": {"kind": "none"},
    "warranties": {
        "licensor": ["authority"],
        "licensee": ["lawful_use"],
        "disclaimers": ["as_is"],
        "indemnity": "none",
        "cap": "none",
        "chain_of_title": "none",
    },
    "personal_data": {
        "kind": "none",
        "lawful_basis": "none",
        "reidentification": "forbidden",
        "erase_within_days": None,
    },
    "security": {"regions": ["*"], "encryption": "none", "access_list": "none"},
    "price": {"parts": [{"model": "flat_fee"}], "modifiers": [], "settlement": "prepaid"},
    "split": {"rule": "none", "deductions": []},
    "contract": {
        "governing_law": None,
        "amendment": "new_version",
        "most_favored": "none",
        "confidentiality": "public",
        "documents": [],
    },
}
DOCUMENT = "A contract."
EXCLUSIVE = {**TYPED, "exclusivity": "exclusive"}


def records(count: int = 3, *, start: int = 0, repeat: int = 0) -> Iterator[imports.Record]:
    """Works that need no bytes; the last `repeat` of them bring the first one's again."""
    for n in range(start, start + count + repeat):
        same = start if n >= start + count else n
        yield imports.Record(
            external_id=f"work-{n}",
            title=f"Work {n}",
            digest=hashlib.sha256(f"work {same}".encode()).digest(),
            length=1000 + same,
            media_type="text/plain",
            custody="reference",
        )


def make_collection(
    organization: Organization, *, works: int = 3, name: str = "Letters"
) -> Collection:
    """An attested collection with works by reference."""
    caller = caller_for(organization)
    collection = collections.create(caller, name=name)
    collections.attest(
        caller,
        str(collection.pk),
        basis="own",
        statement="We wrote them.",
        person_name="Ada",
        person_title="Head of rights",
        authority=True,
    )
    with acting(caller, writing=False):
        start = Collection.objects.filter(organization=organization).count() * 1000
    imports.run(caller, str(collection.pk), imports.Records(list(records(works, start=start))))
    return collection


def make_trader(organization: Organization) -> Trader:
    """A seller that an operator verified: it may sell in live mode."""
    trader = traders.submit(
        caller_for(organization),
        phone="+353 1 234567",
        trade_register="CRO, Dublin",
        certified=True,
    )
    return traders.verify(make_operator("vera@example.org"), str(trader.pk))


def make_operator(email: str = "olga@example.org") -> User:
    return operators.appoint(
        email=email, name=email.partition("@")[0].title(), password="correct horse battery"
    )


def make_offer(
    organization: Organization,
    *,
    price_minor: int = 50_000,
    price: dict[str, Any] | None = None,
    currency: str = "USD",
    typed: dict[str, Any] | None = None,
    collection: Collection | None = None,
    is_published: bool = True,
    **conditions: Any,
) -> Offer:
    """An offer of a collection's snapshot; on sale unless said otherwise."""
    caller = caller_for(organization)
    collection = collection or make_collection(organization)
    snapshot = snapshots.finalize(caller, str(collection.pk))
    drafted = terms.draft(caller, name="Training", typed=typed or TYPED)
    terms.publish(caller, str(drafted.pk))
    offer = offers.make(
        caller,
        snapshot=str(snapshot.pk),
        terms=str(drafted.pk),
        price_minor=None if price else price_minor,
        price=price,
        currency=currency,
        **conditions,
    )
    return offers.publish(caller, str(offer.pk)) if is_published else offer


def make_grant(
    licensor: Organization,
    licensee: Organization,
    *,
    livemode: bool = False,
    offer: Offer | None = None,
    uses: tuple[str, ...] = ("pretrain",),
    territories: tuple[str, ...] = ("EU",),
) -> Grant:
    """A grant by way of a free offer's quote and order."""
    caller = caller_for(licensee, livemode=livemode)
    offer = offer or make_offer(licensor, price_minor=0)
    quote = quotes.make(caller, offer=str(offer.pk), uses=uses, territories=territories)
    order = orders.place(
        caller,
        quote=str(quote.pk),
        accept={
            "document_sha256": bytes(quote.document_sha256).hex(),
            "name": "Lin",
            "title": "Counsel",
            "authority": True,
        },
    )
    assert order.grant is not None
    return order.grant


def issue_grant(
    licensee: Organization,
    offer: Offer,
    *,
    made_by: str | None = None,
    livemode: bool = False,
    uses: Sequence[str] = ("pretrain",),
    territories: Sequence[str] = ("EU",),
    starts_at: datetime | None = None,
) -> Grant:
    """A grant as an order would have it issued: its rights are held, then it is."""
    made_by = made_by or str(TypeID.new("ord"))
    with acting(caller_for(licensee, livemode=livemode)):
        offer = offers.buyable(caller_for(licensee), str(offer.pk))
        starts_at = starts_at or timezone.now().replace(microsecond=0)
        typed = terms.load(offer.terms)
        bought: dict[str, Any] = {
            "licensor": offer.organization,
            "licensee": licensee,
            "livemode": livemode,
            "uses": uses,
            "territories": territories,
        }
        if not ScopeClaim.objects.filter(held_by=made_by).exists():
            scope_claims.hold(
                offer_collection=offer.collection,
                during=typed.windows(starts_at).training,
                exclusive=typed.exclusive,
                held_by=made_by,
                held_until=timezone.now() + timedelta(hours=1),
                **bought,
            )
        grant = grants.issue(
            **bought,
            snapshot=offer.snapshot,
            terms=offer.terms,
            starts_at=starts_at,
            price_basis=prices.basis(
                prices.load(offer.price, offer.price_minor), offer.snapshot.totals, offer.currency
            ),
            document=DOCUMENT,
            acceptance=grants.Acceptance(
                document_sha256=hashlib.sha256(DOCUMENT.encode()).digest(),
                name="Lin",
                title="Counsel",
                actor="system",
                accepted_at=timezone.now(),
            ),
            made_by=made_by,
        )
        # As the commit would: at the end of a test nobody's rows are visible any more.
        connection.check_constraints()
        return grant
