"""What the tables of deliveries keep by themselves: for test_constraints."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from typing import Any

from licensing.models import DeliveryCount, DeliverySummary
from tests import ledger


def counted(world: Any, **fields: Any) -> None:
    of = {"coverage": world.grant.coverage.get(), "day": date(2027, 3, 1), "what": "works"}
    DeliveryCount.objects.create(**of | {"answers": 1, "bytes": 1} | fields)


def summary(world: Any, **fields: Any) -> None:
    of = {"coverage": world.grant.coverage.get(), "day": date(2027, 3, 1), "part": 0}
    if "entry" not in fields:
        fields["entry"] = ledger.append()
    DeliverySummary.objects.create(**of | {"delivery_ref": os.urandom(16)} | fields)


BREAKS: dict[str, Callable[[Any], Any]] = {
    "delivery_count_is_not_negative": lambda w: counted(w, bytes=-1),
    "delivery_count_is_of_a_known_sort": lambda w: counted(w, what="smells"),
    "delivery_is_summarized_once": lambda w: (summary(w), summary(w)),
    "delivery_ref_is_16_bytes": lambda w: summary(w, delivery_ref=b"short"),
    "delivery_parts_begin_at_0": lambda w: summary(w, part=-1),
    "licensing_deliverysummary_entry_id_key": lambda w: (
        summary(w, entry=w.grant.issued_entry),
        summary(w, entry=w.grant.issued_entry, part=1),
    ),
}
