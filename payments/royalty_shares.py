"""How a pool is shared out, to the millionth of a minor unit: plain integers, no database.

What `royalties` computes in SQL, in words that anybody can run again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

MICRO_IN_MINOR = 1_000_000


class Cut(NamedTuple):
    """Who gets one unit more, of those whose share is no whole number of units.

    Whose remainder is larger than `remainder`; of those with the same, whose hash is not above
    `hash`.
    """

    remainder: int
    hash: bytes


def tie_hash(tie: UUID, contributor: UUID | None) -> bytes:
    """What decides between equal remainders: nobody chose it, and each sale shuffles anew.

    `tie` is the id of the sale's allocation. Unknown contributors count as one, without an id.
    """
    return hashlib.sha256(tie.bytes + (b"" if contributor is None else contributor.bytes)).digest()


def cut(amount: int, weights: Mapping[UUID | None, int], tie: UUID) -> Cut | None:
    """Where the largest remainders end. None where every share is whole."""
    total = sum(weights.values())
    odd = amount - sum(amount * weight // total for weight in weights.values())
    if not odd:
        return None
    ranked = sorted(
        (-(amount * weight % total), tie_hash(tie, contributor))
        for contributor, weight in weights.items()
    )
    remainder, last = ranked[odd - 1]
    return Cut(-remainder, last)


def share(
    amount: int, weight: int, total: int, cut: Cut | None, *, tie: UUID, contributor: UUID | None
) -> int:
    """One contributor's part of an amount, from what a line of a statement shows."""
    whole, remainder = divmod(amount * weight, total)
    if cut is None or remainder < cut.remainder:
        return whole
    if remainder == cut.remainder and tie_hash(tie, contributor) > cut.hash:
        return whole
    return whole + 1


def split(amount: int, weights: Mapping[UUID | None, int], tie: UUID) -> dict[UUID | None, int]:
    """An amount in parts that add up to it: each within one unit of its exact proportion."""
    total, ends = sum(weights.values()), cut(amount, weights, tie)
    return {
        contributor: share(amount, weight, total, ends, tie=tie, contributor=contributor)
        for contributor, weight in weights.items()
    }


def left(kept_minor: int, recoups_minor: int) -> int:
    """What is shared of what is kept of a sale's pool, once an advance has its part: that first."""
    return max(0, kept_minor - recoups_minor)


def accruals(
    kept_before_minor: int,
    pool_minor: int,
    weights: Mapping[UUID | None, int],
    tie: UUID,
    *,
    recoups_minor: int = 0,
) -> dict[UUID | None, int]:
    """What a pool brings to each, or takes from each, in micro-units.

    The difference between two splits of what is shared of a sale, so that reversals in parts end
    where nothing is kept by anybody. `recoups_minor` of the whole sale pay advances back.
    """
    kept_minor = kept_before_minor + pool_minor
    before = split(left(kept_before_minor, recoups_minor) * MICRO_IN_MINOR, weights, tie)
    after = split(left(kept_minor, recoups_minor) * MICRO_IN_MINOR, weights, tie)
    return {contributor: after[contributor] - before[contributor] for contributor in weights}
