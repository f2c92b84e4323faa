"""How an organization last read the files of one header: said once, remembered for the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.db import connection
from django.utils import timezone

from marketplace.access import Caller
from marketplace.models import ColumnTemplate


@dataclass(frozen=True)
class Columns:
    """What a file's columns mean: {field: column}, {field: constant}, and what means nothing."""

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    ignored: Sequence[str] = ()


def recall(caller: Caller, header: Sequence[str]) -> Columns | None:
    """What was said of this header last; None where nobody has said anything."""
    row = ColumnTemplate.objects.visible_to(caller).filter(header=_digest(header)).first()
    return None if row is None else Columns(row.columns, row.constants, tuple(row.ignored))


def remember(caller: Caller, header: Sequence[str], said: Columns) -> None:
    """Keep what was said of a header, in the caller's transaction. The last word counts."""
    assert connection.in_atomic_block, "A template is kept with the import that used it."
    ColumnTemplate.objects.update_or_create(
        organization=caller.organization,
        header=_digest(header),
        defaults={
            "columns": dict(said.columns),
            "constants": dict(said.constants),
            "ignored": list(said.ignored),
            "used_at": timezone.now(),
        },
    )


def _digest(header: Sequence[str]) -> bytes:
    names = [name.strip() for name in header]
    return hashlib.sha256(json.dumps(names).encode(errors="surrogateescape")).digest()
