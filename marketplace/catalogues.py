"""Catalogues: lists of data sets, of which each becomes a draft collection without works."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from django.utils.translation import gettext as _

from marketplace import collections
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput

BATCH_LENGTH = 200
# A line that is longer is no description of a data set.
LINE_LENGTH_MAX = 1024 * 1024
_NAME_LENGTH_MAX = 200
_DESCRIPTION_LENGTH_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that is no data set."""

    line: int
    field: str
    reason: str


@dataclass
class Outcome:
    """What a run over a catalogue did so far."""

    made: int = 0
    known: int = 0
    bytes_read: int = 0
    refused: list[Refused] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _DataSet:
    external_id: str
    name: str
    description: str
    source_url: str


Report = Callable[[Outcome], None]


def run(
    caller: Caller, path: Path, *, dry_run: bool = False, report: Report | None = None
) -> Outcome:
    """Make a draft collection of each data set in an NDJSON file; known ones stay as they are.

    Each line is an object with `id` and `name`, and as much of `url`, `creators`, `languages`,
    `tasks`, `licenses` ([{name}]), `sources` and `topics` as there is. Only the description is
    taken: a digest of metadata is never a work's digest, so there are no works. Committed in
    batches: after a stop, the same call goes on. Raises InvalidInput where nothing can be read.
    """
    outcome = Outcome()
    try:
        with path.open("rb") as file:
            for batch in _batches(file, outcome):
                if dry_run:
                    outcome.made += len(batch)
                else:
                    _make(caller, batch, outcome)
                if report is not None:
                    report(outcome)
    except OSError as error:
        raise InvalidInput(
            _("The file cannot be read: %(why)s.") % {"why": error.strerror}, param="file"
        ) from None
    return outcome


def _make(caller: Caller, batch: list[_DataSet], outcome: Outcome) -> None:
    with acting(caller):
        for data_set in batch:
            if collections.by_external_id(caller, data_set.external_id) is not None:
                outcome.known += 1
                continue
            collections.create(
                caller,
                name=data_set.name,
                description=data_set.description,
                external_id=data_set.external_id,
                source_url=data_set.source_url,
            )
            outcome.made += 1


def _batches(file: BinaryIO, outcome: Outcome) -> Iterator[list[_DataSet]]:
    batch: list[_DataSet] = []
    seen: set[str] = set()
    line = 0
    while data := file.readline(LINE_LENGTH_MAX + 1):
        line += 1
        outcome.bytes_read += len(data)
        if len(data) > LINE_LENGTH_MAX:
            outcome.refused.append(Refused(line, "line", _("The line is too long.")))
            while data and not data.endswith(b"\n"):
                data = file.readline(LINE_LENGTH_MAX)
                outcome.bytes_read += len(data)
            continue
        if not data.strip():
            continue
        found = _data_set(data, line)
        if isinstance(found, _DataSet) and found.external_id in seen:
            found = Refused(line, "id", _("The id stands in an earlier line."))
        if isinstance(found, Refused):
            outcome.refused.append(found)
            continue
        seen.add(found.external_id)
        batch.append(found)
        if len(batch) >= BATCH_LENGTH:
            yield batch
            batch = []
    yield batch


def _data_set(data: bytes, line: int) -> _DataSet | Refused:
    try:
        record = json.loads(data.decode("utf-8-sig" if line == 1 else "utf-8"))
    except (ValueError, RecursionError):
        return Refused(line, "line", _("The line is no whole JSON value."))
    if not isinstance(record, dict):
        return Refused(line, "line", _("The line is no JSON object."))
    for name in ("id", "name"):
        if not isinstance(record.get(name), str) or not record[name].strip():
            return Refused(line, name, _("This is missing or no text."))
    external_id = _clean(record["id"])
    if len(external_id) > 1000:
        return Refused(line, "id", _("This has more than 1,000 characters."))
    url = record.get("url")
    is_address = isinstance(url, str) and url.startswith(("http://", "https://"))
    return _DataSet(
        external_id=external_id,
        name=_clean(record["name"])[:_NAME_LENGTH_MAX],
        description=_description(record)[:_DESCRIPTION_LENGTH_MAX],
        source_url=_clean(str(url))[:2000] if is_address else "",
    )


_SHOWN = (
    ("creators", "Creators"),
    ("languages", "Languages"),
    ("tasks", "Tasks"),
    ("topics", "Topics"),
    ("sources", "Sources"),
    ("licenses", "Licenses"),
)


def _description(record: dict[str, Any]) -> str:
    """What a searcher would ask for, a line each."""
    lines = []
    said = record.get("description")
    if isinstance(said, str) and said.strip():
        lines.append(_clean(said))
    for key, label in _SHOWN:
        names = _names(record.get(key))
        if names:
            lines.append(f"{label}: {', '.join(names)}")
    return "\n".join(lines)


def _names(value: Any) -> list[str]:
    found = []
    for one in value if isinstance(value, list) else []:
        text = one.get("name") if isinstance(one, dict) else one
        if isinstance(text, str) and text.strip():
            found.append(_clean(text))
    return found


def _clean(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text).strip()
