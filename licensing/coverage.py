"""What a grant covers: growth adds another snapshot of its collection, recorded once."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import chains, optouts, snapshots, terms, windows
from licensing.dimensions import Additions
from licensing.ledger import commitments
from licensing.models import Coverage, Grant, GrantEvent, Period, Snapshot
from marketplace import audit, events
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput, TermsForbid


def add(
    caller: Caller,
    id: str,
    *,
    snapshot: str,
    effective_from: datetime | None = None,
    by: str = GrantEvent.By.LICENSOR,
    reference: str = "",
) -> Coverage:
    """License a newer snapshot of the same collection, too, from an instant on (None: now).

    The caller is the grant's licensor, for whom an operator or payments act; `by` says whose act it
    is. Repeating it changes nothing. Raises NotFound, GrantWrongState, TermsForbid, InvalidInput,
    OptedOut where no work of it may be licensed.
    """
    chains.check_by(by)
    reference = chains.check_reference(reference, needed=False)
    with acting(caller):
        # No opt-out meanwhile: it would not tell the licensee of works that come in now.
        optouts.hold_still(caller.organization.pk)
        grant = chains.lock(caller, id)
        added = Snapshot.objects.owned_by(caller).get_visible(caller, snapshot)
        now = timezone.now()
        repeated = grant.coverage.filter(snapshot=added).first()
        if repeated is not None:
            _check_repeats(repeated, effective_from)
            return repeated
        chains.check_open(grant, "cover")
        at = chains.instant(effective_from, now, "effective_from")
        _check_is_newer(grant, added)
        additions = _check_allowed(grant, at)
        optouts.check(added)
        coverage = _record(
            grant,
            added,
            at,
            now,
            {"additions": additions, "by": str(by), "reference": reference or None},
        )
        facts: dict[str, Any] = {
            "snapshot": str(added.pk),
            "effective_from": commitments.timestamp(at),
        }
        audit.record(caller, "grant.coverage_added", subject=grant, **facts)
        events.record("grant.coverage_added", **chains.told(grant), **facts)
    return coverage


def _record(
    grant: Grant, snapshot: Snapshot, at: datetime, now: datetime, values: dict[str, Any]
) -> Coverage:
    """Record added coverage. The fields are published: they never change."""
    entry = chains.append(
        grant,
        "grant.coverage_added",
        {
            **values,
            "coverage": [snapshots.cited(snapshot)],
            "snapshot": {
                "id": str(snapshot.pk),
                "number": snapshot.number,
                "collection": str(snapshot.collection_id),
            },
            "effective_from": commitments.timestamp(at),
        },
        now,
    )
    coverage = Coverage(
        **chains.parties(grant), grant=grant, snapshot=snapshot, effective_from=at, entry=entry
    )
    coverage.save(force_insert=True)
    return coverage


def _check_repeats(coverage: Coverage, effective_from: datetime | None) -> None:
    if effective_from is not None and effective_from < coverage.effective_from:
        raise InvalidInput(
            _("The grant covers this snapshot from %(at)s on: that stays.")
            % {"at": commitments.timestamp(coverage.effective_from)},
            param="effective_from",
        )


def _check_is_newer(grant: Grant, snapshot: Snapshot) -> None:
    """Growth only goes on: who fetches gets the newest snapshot that is covered."""
    covered = [each.snapshot for each in grant.coverage.select_related("snapshot")]
    if snapshot.collection_id not in {each.collection_id for each in covered}:
        raise InvalidInput(
            _("That is a snapshot of another collection: license it by a grant of its own."),
            param="snapshot",
        )
    newest = max(each.number for each in covered)
    if snapshot.number < newest:
        raise InvalidInput(
            _("The grant covers snapshot %(number)s already, which is newer: name one after it.")
            % {"number": newest},
            param="snapshot",
        )


def _check_allowed(grant: Grant, at: datetime) -> str | None:
    """Whether the terms let works be added then: the word for it; None where they do not say."""
    periods: list[Period] = list(grant.periods.select_related("terms").order_by("number"))
    period = windows.counting(periods, "training_window", at)
    if period is None and at >= windows.last(periods, "training_window").training_window.upper:
        raise InvalidInput(
            _("Training is over by then. Renew the grant first, or add the works sooner."),
            param="effective_from",
        )
    typed = terms.load((period or periods[0]).terms)
    if typed.v == 1:
        # They do not say it, so that the licensor may give more.
        return None
    additions: str = typed.raw["subject"]["additions"]
    if additions == Additions.NONE:
        raise TermsForbid(
            _(
                "The grant's terms say that works which come later are not licensed. Amend the"
                " grant to terms whose “subject.additions” is another, or issue a new grant."
            ),
            grant=str(grant.pk),
            param="subject.additions",
        )
    return additions
