"""Evaluation samples: works of an offer that each buyer may evaluate once, for free."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.utils.translation import gettext as _

from licensing import jcs, offers, optouts, snapshots, terms, terms_templates
from licensing.models import Grant, Offer, Sample, TakenSample, Terms
from licensing.vocabulary import WORLDWIDE, Use
from marketplace import audit, collections, idempotency, reservations
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput, NotFound, WorkHeld, WorkOptedOut
from marketplace.models import CollectionItem, CollectionItemQuerySet, Representation
from marketplace.typeid import TypeID

# Named one by one in one call.
NAMED_MAX = 1_000
TEMPLATE = "evaluation-sample"
TERMS_NAME = "Evaluation sample"
# What the template permits, all of which a sample is taken for.
USES = [Use.EVALUATE.value]
TERRITORIES = [WORLDWIDE]

# How each way of naming works finds them among representations.
_NAMED = {"works": "work_id", "external_ids": "work__external_id", "digests": "digest"}


def choose(caller: Caller, offer_id: str, **chosen: Sequence[Any] | None) -> Sample:
    """Let buyers of one of the caller's offers evaluate some of its works, instead of others.

    `chosen` names them in exactly one way: `works`, `external_ids`, or `digests` (as bytes). A
    work comes with every representation that the offer's snapshot has of it. Samples that were
    taken stay as they are. Raises NotFound, InvalidInput, WorkOptedOut, WorkHeld, OfferWrongState,
    CollectionNotAttested.
    """
    name, named = _only(chosen)
    with acting(caller):
        offers.hold_sales_still(caller.organization.pk)
        # Locked: of two choices at once, one is the later. Who takes the sample shares the row.
        offer = Offer.objects.shown().get_visible(caller, offer_id, lock=True)
        # No opt-out until it is frozen: the snapshot would leave its works out and say nothing.
        optouts.hold_still(caller.organization.pk)
        forms = _forms(offer, name, named)
        held = _held(offer).filter(representation__in=forms)
        part = collections.make_part(
            caller,
            offer.collection,
            # In English, as all that is recorded: whoever's language the page has.
            name=f"Sample of {offer.collection.name[:180]}",
            forms=forms,
            units=dict(held.values_list("representation", "units")),
        )
        frozen = snapshots.finalize(caller, str(part.pk))
        for former in _of(offer):
            offers.withdraw(caller, str(former.sample_offer_id))
        sample = Sample(
            organization=caller.organization,
            offer=offer,
            sample_offer=offers.list_sample(caller, offer, snapshot=frozen, terms=_terms(caller)),
            works=frozen.size,
        )
        sample.save(force_insert=True)
        facts = {"offer": str(offer.pk), "works": frozen.size}
        audit.record(caller, "sample.chosen", subject=sample, **facts)
        idempotency.names(caller, sample)
    return sample


def chosen(caller: Caller, offer_id: str) -> Sample:
    """The sample of one of the caller's offers. Raises NotFound."""
    offer = Offer.objects.shown().get_visible(caller, offer_id)
    return _found(_of(offer).first())


def of(offer: Offer) -> Sample:
    """The sample of an offer that the caller may buy. Raises NotFound."""
    return _found(_of(offer).first())


def with_samples(rows: QuerySet[Offer]) -> QuerySet[Offer]:
    """The same offers with `sample_works`: how many works each one's sample has, None without."""
    mine = Sample.objects.current().filter(offer=OuterRef("pk")).order_by("-id")
    return rows.annotate(sample_works=Subquery(mine.values("works")[:1]))


def works_of(offers: Iterable[UUID]) -> dict[UUID, int]:
    """How many works the sample of each offer has; those without one are missing."""
    current = Sample.objects.current().filter(offer__in=list(offers)).order_by("id")
    return dict(current.values_list("offer", "works"))


def whole_of(offer: Offer) -> Offer:
    """The offer whose sample this is; itself where it is none."""
    sample: Sample | None = getattr(offer, "sample", None)
    return offer if sample is None else sample.offer


# --- taking -----------------------------------------------------------------------------------


def lock(caller: Caller, offer: Offer) -> None:
    """Make one buyer's requests for one offer's sample wait for each other: it is taken once.

    An advisory lock: the first time, there is no row yet to lock.
    """
    subject = f"sample {offer.pk} {caller.organization.pk} {caller.livemode}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [subject])


def taken(caller: Caller, offer: Offer) -> Grant | None:
    """The grant of the sample that the caller's organization took in this mode, if it did."""
    before = TakenSample.objects.visible_to(caller).filter(
        offer=offer, licensee=caller.organization
    )
    row = before.select_related("grant").first()
    return None if row is None else row.grant


def keep(caller: Caller, sample: Sample, grant: Grant) -> None:
    """Remember that the sample was taken, in the transaction of its grant."""
    assert connection.in_atomic_block, "It is taken iff its grant commits."
    row = TakenSample(
        licensor_id=sample.organization_id,
        licensee=caller.organization,
        livemode=caller.livemode,
        offer_id=sample.offer_id,
        sample=sample,
        grant=grant,
    )
    row.save(force_insert=True)
    audit.record(caller, "sample.taken", subject=sample, grant=str(grant.pk))


# --- which works ------------------------------------------------------------------------------


def _of(offer: Offer) -> QuerySet[Sample]:
    return Sample.objects.current().filter(offer=offer).order_by("-id")


def _found(sample: Sample | None) -> Sample:
    if sample is None:
        raise NotFound(_("This offer has no sample."))
    return sample


def _only(chosen: dict[str, Sequence[Any] | None]) -> tuple[str, Sequence[Any]]:
    """The one way in which works are named. Raises InvalidInput."""
    given = [(name, values) for name, values in chosen.items() if values is not None]
    if len(given) != 1:
        raise InvalidInput(
            _("Give exactly one of: %(names)s.") % {"names": ", ".join(_NAMED)},
            param=given[0][0] if given else "works",
        )
    [(name, values)] = given
    if not 0 < len(values) <= NAMED_MAX:
        raise InvalidInput(_("Name 1 to %(max)s.") % {"max": f"{NAMED_MAX:,}"}, param=name)
    if name == "works":
        values = [_work_id(index, text) for index, text in enumerate(values)]
    return name, values


def _work_id(index: int, text: str) -> TypeID:
    try:
        return TypeID.parse("wrk", text)
    except ValueError:
        raise InvalidInput(_("Give a work's id."), param=f"works[{index}]") from None


def _forms(offer: Offer, name: str, named: Sequence[Any]) -> list[Representation]:
    """What the offer's snapshot has of the named works: all of them, or a refusal."""
    held = _held(offer).filter(representation=OuterRef("pk"))
    key = _NAMED[name]
    forms = list(
        Representation.objects.select_related("work")
        .filter(Exists(held), organization=offer.organization_id, **{f"{key}__in": list(named)})
        .order_by("digest")
    )
    reserved = reservations.among(
        (bytes(form.digest) for form in forms), organization=offer.organization_id
    )
    found: dict[Any, str] = {}
    for form in forms:
        why = reserved.get(bytes(form.digest), "")
        found[_key(form, name)] = found.get(_key(form, name)) or why
    for index, each in enumerate(named):
        if _plain(each) not in found:
            raise InvalidInput(
                _("The offer's snapshot %(id)s has no such work.") % {"id": offer.snapshot_id},
                param=f"{name}[{index}]",
            )
        _refuse_reserved(found[_plain(each)], f"{name}[{index}]")
    return forms


def _held(offer: Offer) -> CollectionItemQuerySet:
    """What the offer's snapshot holds."""
    items = CollectionItem.objects.filter(
        organization=offer.organization_id, collection=offer.collection
    )
    return items.in_snapshot(offer.snapshot.number)


def _key(form: Representation, name: str) -> Any:
    if name == "digests":
        return bytes(form.digest)
    return form.work.external_id if name == "external_ids" else form.work_id.int


def _plain(each: Any) -> Any:
    return each.int if isinstance(each, UUID) else each


def _refuse_reserved(why: str, param: str) -> None:
    if why == reservations.Reason.OPTED_OUT:
        raise WorkOptedOut(
            _("%(param)s was opted out. Choose another work.") % {"param": param}, param=param
        )
    if why:
        raise WorkHeld(_("%(param)s is held. Choose another work.") % {"param": param}, param=param)


def _terms(caller: Caller) -> Terms:
    """The seller's terms for samples: the same version as long as the template is the same."""
    typed = hashlib.sha256(jcs.dumps(terms_templates.fill(TEMPLATE))).digest()
    mine = Terms.objects.owned_by(caller).filter(
        name=TERMS_NAME, typed_sha256=typed, published_at__isnull=False
    )
    before = mine.order_by("-version").first()
    if before is not None:
        return before
    drafted = terms.draft(caller, name=TERMS_NAME, template=TEMPLATE)
    return terms.publish(caller, str(drafted.pk))
