"""Update feeds: what is new, changed and deleted, by the owner's own ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from django.db.models import QuerySet

from marketplace import reservations, works
from marketplace.access import Caller
from marketplace.models import Collection, CollectionItem, Representation, Work
from marketplace.works import LeftOut, Record, Trial

# What a feed changes of a work whose bytes are the same.
_SAID = ("title", "source_url", "language", "revision")

UNKNOWN_ID = "unknown_id"
OTHER_WORK = "digest_of_another_work"


@dataclass(frozen=True, slots=True)
class Deletion:
    """The owner takes a work out, by its external id."""

    name: str
    line: int | None = None


@dataclass(slots=True)
class Withdrawn:
    """What may not be licensed any more: digests of deleted works."""

    digests: list[bytes] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.digests)


@dataclass(slots=True)
class Outcome:
    """What became of a batch; what was left out by its position."""

    left_out: dict[int, LeftOut] = field(default_factory=dict)
    updated: int = 0
    removed: int = 0
    withdrawn: Withdrawn = field(default_factory=Withdrawn)


def apply(
    caller: Caller,
    collection: Collection,
    changes: Sequence[Record | Deletion],
    *,
    trial: Trial | None = None,
) -> Outcome:
    """Make the changes one after another, in the caller's transaction.

    A new id becomes a work of the collection. A known one with other bytes gets them as a new
    representation, which takes the place of the old one; with the same bytes, only what is said of
    it changes. A deleted work leaves the collection, and all its digests are `withdrawn`. With a
    `trial`, it only says what it would do.
    """
    outcome = Outcome()
    for positions in _without_repeats(changes):
        _apply(caller, collection, {n: changes[n] for n in positions}, outcome, trial)
    return outcome


def _without_repeats(changes: Sequence[Record | Deletion]) -> Iterator[list[int]]:
    """Cut the changes so that no id stands twice in a part: the later ones see the earlier."""
    part: list[int] = []
    names: set[str] = set()
    for n, change in enumerate(changes):
        if change.name in names:
            yield part
            part, names = [], set()
        part.append(n)
        names.add(change.name)
    if part:
        yield part


def _apply(
    caller: Caller,
    collection: Collection,
    part: Mapping[int, Record | Deletion],
    outcome: Outcome,
    trial: Trial | None,
) -> None:
    faults = {
        n: LeftOut(works.INVALID, fault)
        for n, change in part.items()
        if isinstance(change, Record) and (fault := change.fault())
    }
    outcome.left_out.update(faults)
    known = _known(caller, [change.name for n, change in part.items() if n not in faults])
    new: dict[int, Record] = {}
    for n, change in part.items():
        if n in faults:
            continue
        work = known.get(change.name)
        if isinstance(change, Deletion):
            if work is None:
                outcome.left_out[n] = LeftOut(UNKNOWN_ID, "", "external_id")
            else:
                _delete(collection, work, outcome, trial)
        elif work is None:
            new[n] = change
        else:
            _change(caller, collection, work, n, change, outcome, trial)
    left_out = works.add(caller, collection, list(new.values()), trial=trial)
    positions = list(new)
    outcome.left_out.update({positions[place]: why for place, why in left_out.items()})


def _known(caller: Caller, names: Sequence[str]) -> dict[str, Work]:
    rows = Work.objects.visible_to(caller).filter(
        organization=caller.organization, external_id__in=names
    )
    return {work.external_id: work for work in works.with_forms(rows)}


def _delete(collection: Collection, work: Work, outcome: Outcome, trial: Trial | None) -> None:
    outcome.removed += 1
    outcome.withdrawn.digests += [bytes(form.digest) for form in work.representations.all()]
    if trial is None:
        _take_out(collection, work)


def _change(
    caller: Caller,
    collection: Collection,
    work: Work,
    n: int,
    record: Record,
    outcome: Outcome,
    trial: Trial | None,
) -> None:
    """Bring a known work to what the feed says of it now."""
    reserved = reservations.among([record.digest], organization=caller.organization.pk)
    forms = {bytes(form.digest): form for form in work.representations.all()}
    held = Representation.objects.filter(
        organization=caller.organization, digest=record.digest
    ).exclude(work=work)
    if reserved:
        outcome.left_out[n] = LeftOut(reserved[record.digest], "", "sha256")
        return
    if held.exists():
        outcome.left_out[n] = LeftOut(OTHER_WORK, "", "sha256")
        return
    said = [name for name in _SAID if getattr(work, name) != getattr(record, name)]
    is_there = (
        record.digest in forms
        and _live(collection, work).filter(representation=forms[record.digest]).exists()
    )
    if not said and is_there:
        outcome.left_out[n] = LeftOut(works.REPEATED)
        return
    outcome.updated += 1
    if trial is not None:
        return
    if said:
        for name in said:
            setattr(work, name, getattr(record, name))
        work.save(update_fields=said)
    works.identify(caller, [(work.pk, record.identifiers)])
    if not is_there:
        _take_out(collection, work)
        CollectionItem.objects.create(
            organization=caller.organization,
            collection=collection,
            work=work,
            representation=forms.get(record.digest) or _form(caller, work, record),
            added_in=collection.next_snapshot,
        )


def _form(caller: Caller, work: Work, record: Record) -> Representation:
    return Representation.objects.create(
        organization=caller.organization,
        work=work,
        digest=record.digest,
        length=record.length,
        media_type=record.media_type,
        canonicalization=record.canonicalization,
        custody=record.custody,
    )


def _live(collection: Collection, work: Work) -> QuerySet[CollectionItem]:
    return CollectionItem.objects.filter(
        organization=collection.organization_id,
        collection=collection,
        work=work,
        removed_in__isnull=True,
    )


def _take_out(collection: Collection, work: Work) -> None:
    _live(collection, work).update(removed_in=collection.next_snapshot)
