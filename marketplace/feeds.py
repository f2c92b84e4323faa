"""Update feeds: what is new, changed and deleted, by the owner's own ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from marketplace.access import Caller
from marketplace.models import Collection
from marketplace.works import LeftOut, Record, Trial

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
    raise NotImplementedError
