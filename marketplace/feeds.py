"""Update feeds: what is new, changed and deleted, by the owner's own ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import QuerySet

from marketplace import reservations, works
from marketplace.access import Caller
from marketplace.models import Collection, CollectionItem, Representation, ReservedDigest, Work
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

    A new id with new bytes becomes a work of the collection. A known one with other bytes gets them
    as a new representation, which takes the place of the old one; with the same bytes, only what is
    said of it changes. A deleted work leaves the collection, and all its digests are `withdrawn`.
    With a `trial`, it only says what it would do, each change judged by what stands now.
    """
    # First of all: what is read here must not change before it is acted on.
    _number, snapshot = works.hold(caller, collection)
    batch = _Batch(caller, collection, snapshot, trial)
    for positions in _without_repeats(changes):
        batch.apply({n: changes[n] for n in positions})
    batch.outcome.withdrawn.digests += sorted(batch.withdrawn)
    return batch.outcome


def _without_repeats(changes: Sequence[Record | Deletion]) -> Iterator[list[int]]:
    """Cut the changes so that no part has an id or bytes twice: the later see the earlier."""
    part: list[int] = []
    names: set[str] = set()
    digests: set[bytes] = set()
    for n, change in enumerate(changes):
        brought = {change.digest} if isinstance(change, Record) else set()
        if change.name in names or digests & brought:
            yield part
            part, names, digests = [], set(), set()
        part.append(n)
        names.add(change.name)
        digests |= brought
    if part:
        yield part


class _Batch:
    """Changes of one collection that are made in one transaction."""

    def __init__(
        self, caller: Caller, collection: Collection, snapshot: int, trial: Trial | None
    ) -> None:
        self.outcome = Outcome()
        self._caller = caller
        self._collection = collection
        self._snapshot = snapshot
        self._trial = trial
        # Their opt-out is recorded at the end of the batch, and counts from here on.
        # By which change they were withdrawn: those before it do not see it.
        self.withdrawn: dict[bytes, int] = {}

    def apply(self, part: Mapping[int, Record | Deletion]) -> None:
        left_out = self.outcome.left_out
        for n, change in part.items():
            if isinstance(change, Record) and (fault := change.fault()):
                left_out[n] = LeftOut(works.INVALID, fault)
        sound = {n: change for n, change in part.items() if n not in left_out}
        known = self._known([change.name for change in sound.values()])
        deleted: dict[int, Work] = {}
        changed: dict[int, Record] = {}
        new: dict[int, Record] = {}
        for n, change in sound.items():
            if isinstance(change, Record):
                (changed if change.name in known else new)[n] = change
            elif change.name in known:
                deleted[n] = known[change.name]
            else:
                left_out[n] = LeftOut(UNKNOWN_ID, "", "external_id")
        self._delete(deleted)
        held = self._held([record.digest for record in (*changed.values(), *new.values())])
        for some in (changed, new):
            for n, record in list(some.items()):
                if self.withdrawn.get(record.digest, n) < n:
                    left_out[n] = LeftOut(ReservedDigest.Reason.OPTED_OUT, "", "sha256")
                    del some[n]
        self._change(changed, known, held)
        self._add(new, held)

    def _add(self, new: dict[int, Record], held: Mapping[bytes, UUID]) -> None:
        reserved = self._reserved(new)
        for n, record in list(new.items()):
            # What is reserved is said to be; that is for `works.add` to tell.
            if record.digest in held and record.digest not in reserved:
                self.outcome.left_out[n] = LeftOut(OTHER_WORK, "", "sha256")
                del new[n]
        left_out = works.add(self._caller, self._collection, list(new.values()), trial=self._trial)
        self.outcome.left_out.update(_at(new, left_out))

    def _known(self, names: Sequence[str]) -> dict[str, Work]:
        rows = Work.objects.visible_to(self._caller).filter(
            organization=self._caller.organization, external_id__in=names
        )
        return {work.external_id: work for work in works.with_forms(rows)}

    def _delete(self, deleted: Mapping[int, Work]) -> None:
        self.outcome.removed += len(deleted)
        for n, work in deleted.items():
            for form in work.representations.all():
                self.withdrawn.setdefault(bytes(form.digest), n)
        if self._trial is None:
            self._take_out(list(deleted.values()))

    def _change(
        self,
        changed: Mapping[int, Record],
        known: Mapping[str, Work],
        held: Mapping[bytes, UUID],
    ) -> None:
        """Bring known works to what the feed says of them now."""
        records = list(changed.values())
        refused: dict[int, LeftOut] = {}
        works.settle_contributors(self._caller, records, refused, self._trial)
        self.outcome.left_out.update(_at(changed, refused))
        reserved = self._reserved(changed)
        live = self._live(list(known.values()))
        changes = []
        for n, record in changed.items():
            work = known[record.name]
            if n in self.outcome.left_out:
                continue
            if record.digest in reserved:
                self.outcome.left_out[n] = LeftOut(reserved[record.digest], "", "sha256")
            elif held.get(record.digest, work.pk) != work.pk:
                self.outcome.left_out[n] = LeftOut(OTHER_WORK, "", "sha256")
            elif change := _difference(work, record, live.get(work.pk)):
                changes.append(change)
            else:
                self.outcome.left_out[n] = LeftOut(works.REPEATED)
        self.outcome.updated += len(changes)
        if self._trial is None:
            self._make(changes)

    def _make(self, changes: Sequence[_Change]) -> None:
        for change in changes:
            for name in change.said:
                setattr(change.work, name, getattr(change.record, name))
            if change.said:
                change.work.save(update_fields=change.said)
        works.identify(
            self._caller, [(change.work.pk, change.record.identifiers) for change in changes]
        )
        replaced = [change for change in changes if change.is_other_item]
        self._take_out([change.work for change in replaced])
        CollectionItem.objects.bulk_create(
            CollectionItem(
                organization=self._caller.organization,
                collection=self._collection,
                work=change.work,
                representation=change.form or _form(self._caller, change.work, change.record),
                added_in=self._snapshot,
                units=change.units,
            )
            for change in replaced
        )

    def _reserved(self, changes: Mapping[int, Record]) -> dict[bytes, str]:
        return reservations.among(
            [record.digest for record in changes.values()],
            organization=self._caller.organization.pk,
        )

    def _held(self, digests: Sequence[bytes]) -> dict[bytes, UUID]:
        """Whose bytes they are, at this organization."""
        rows = Representation.objects.filter(
            organization=self._caller.organization, digest__in=digests
        )
        return {bytes(digest): work for digest, work in rows.values_list("digest", "work")}

    def _live(self, rows: Sequence[Work]) -> dict[UUID, CollectionItem]:
        """Which representation of each work the collection has now, and how it is counted."""
        return {item.work_id: item for item in self._items(rows)}

    def _take_out(self, rows: Sequence[Work]) -> None:
        self._items(rows).update(removed_in=self._snapshot)

    def _items(self, rows: Sequence[Work]) -> QuerySet[CollectionItem]:
        return CollectionItem.objects.filter(
            organization=self._collection.organization_id,
            collection=self._collection,
            work__in=[work.pk for work in rows],
            removed_in__isnull=True,
        )


@dataclass(frozen=True, slots=True)
class _Change:
    """What a feed changes of a known work."""

    work: Work
    record: Record
    # The work's columns that are said otherwise now.
    said: list[str]
    # Its representation that the collection shall hold; None where it is not recorded yet.
    form: Representation | None
    # The item's life ends and another begins: for other bytes, or the same counted otherwise.
    is_other_item: bool
    # How the item that begins is counted.
    units: Mapping[str, int]


def _difference(work: Work, record: Record, live: CollectionItem | None) -> _Change | None:
    forms = {bytes(form.digest): form for form in work.representations.all()}
    form = forms.get(record.digest)
    said = [name for name in _SAID if getattr(work, name) != getattr(record, name)]
    names = {(name.scheme, name.value) for name in work.identifiers.all()}
    is_same_form = form is not None and live is not None and form.pk == live.representation_id
    # What the feed does not count stays as it was counted of the same bytes.
    before = live.units if live is not None and is_same_form else {}
    units = {**before, **dict(record.units)}
    is_other_item = not is_same_form or units != before
    if not said and not is_other_item and names.issuperset(record.identifiers):
        return None
    return _Change(work, record, said, form, is_other_item, units)


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


def _at(changes: Mapping[int, Record], left_out: Mapping[int, LeftOut]) -> dict[int, LeftOut]:
    """Reasons by their place in the whole batch instead of in a list of some changes."""
    positions = list(changes)
    return {positions[place]: why for place, why in left_out.items()}
