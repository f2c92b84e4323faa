"""What an import would do, shown before it runs: columns, first works, problems, how long."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from marketplace import croissant, uploads, works
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput
from marketplace.imports import REASONS, Entry, Rejected, Source, guesses, looks, open_table
from marketplace.imports import templates as column_templates
from marketplace.imports.corrections import ADDED
from marketplace.imports.looks import Look
from marketplace.imports.rows import REQUIRED
from marketplace.imports.tables import Table
from marketplace.imports.templates import Columns
from marketplace.models import Collection, ImportJob
from marketplace.works import Record, Trial

# Rows that are looked at, within so many seconds.
ROWS_MAX = 5_000
SECONDS_MAX = 3.0
SHOWN_MAX = 20
PROBLEMS_MAX = 200
# Rows a second, where no import of the organization's says how many they are here.
PACE = 4_000.0
_TELLING_ROWS = 10_000


@dataclass(frozen=True)
class Column:
    """One of the file's columns: some values, and the field that it stands for, or ""."""

    name: str
    samples: Sequence[str]
    field: str = ""
    is_ignored: bool = False


@dataclass(frozen=True)
class Problem:
    """A row that would not come in: where, why, and what to do."""

    line: int | None
    name: str
    field: str
    code: str
    why: str
    detail: str = ""


@dataclass(frozen=True)
class Preview:
    """What an import of a file would do. Nothing of it is written anywhere."""

    look: Look
    columns: Sequence[Column] = ()
    mapping: Columns = field(default_factory=Columns)
    # Whether the mapping is the one that this header was last read with.
    is_remembered: bool = False
    # Required fields that no column stands for.
    missing: Sequence[str] = ()
    # The first works, as they would come in.
    works: Sequence[Record] = ()
    # Of the rows that were read: those that would not come in, and how many for each reason.
    problems: Sequence[Problem] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    rows_read: int = 0
    # They were all the rows that there are.
    is_whole: bool = False
    rows_estimated: int = 0
    seconds_estimated: float = 0.0
    # Why it cannot be imported as it is; "" where it can.
    refusal: str = ""

    @property
    def can_run(self) -> bool:
        return not self.refusal and not self.missing

    @property
    def rejected(self) -> int:
        return sum(self.counts.values())


def make(
    caller: Caller,
    *,
    upload: Any = None,
    file: Path | None = None,
    mapping: Columns | None = None,
    collection: Any = None,
    rows_max: int = ROWS_MAX,
) -> Preview:
    """Look at a finished upload, or at a file of this server, and say what would come of it.

    Without a `mapping`, the one that the header was last read with is tried, else a guess. With a
    collection, rows are held against what it has already. Nothing is written, but that a look
    keeps an upload for another week. Raises NotFound, UploadIncomplete and UploadWrongState.
    """
    path = file if file is not None else uploads.path(caller, upload)
    try:
        found = looks.look(path)
    except OSError as error:
        why = _("The file cannot be read: %(why)s.") % {"why": error.strerror}
        return Preview(Look("unknown", refusal=why), refusal=why)
    if found.refusal:
        return Preview(found, refusal=found.refusal)
    if found.kind == "json":
        return _of_croissant(caller, path, found, collection, rows_max)
    header = own_header(found.header)
    is_remembered = False
    if mapping is None:
        with acting(caller, writing=False):
            mapping = column_templates.recall(caller, header)
        is_remembered = mapping is not None
    if mapping is None:
        mapping = Columns(guesses.guess(header, found.samples))
    missing = [name for name in REQUIRED if name not in mapping.columns]
    base: dict[str, Any] = {
        "columns": _columns(found, header, mapping),
        "mapping": mapping,
        "is_remembered": is_remembered,
        "missing": missing,
    }
    if missing:
        return Preview(found, **base)
    source = table(path, found.kind, mapping, header)
    return _tried(caller, found, source, collection, rows_max, base)


def own_header(header: Sequence[str]) -> list[str]:
    """The owner's columns, without those that we put before rejected rows."""
    return [name for name in header if name.strip() not in ADDED]


def table(
    path: Path, kind: str, mapping: Columns, header: Sequence[str], *, name: str = ""
) -> Table:
    """The source that reads a file exactly as its preview did: what was not said is not read."""
    return open_table(path, format=kind, name=name, **said(mapping, header))


def said(mapping: Columns, header: Sequence[str]) -> dict[str, Any]:
    """A mapping as `open_table` and `queue.ask` take it: every other column is ignored."""
    used = set(mapping.columns.values())
    return {
        "columns": dict(mapping.columns),
        "constants": dict(mapping.constants),
        "ignored": [column for column in header if column not in used],
    }


def _of_croissant(
    caller: Caller, path: Path, found: Look, collection: Any, rows_max: int
) -> Preview:
    try:
        document = croissant.read(path)
    except InvalidInput as error:
        return Preview(found, refusal=str(error.detail))
    look = Look("croissant", found.encoding, rows=len(document.files))
    return _tried(caller, look, croissant.Files(document), collection, rows_max, {})


def _columns(found: Look, header: Sequence[str], mapping: Columns) -> list[Column]:
    fields = {column: name for name, column in mapping.columns.items()}
    return [
        Column(
            name,
            [looks.shown(value) for value in found.samples.get(name, ())[: looks.SAMPLES]],
            fields.get(name, ""),
            name not in fields,
        )
        for name in header
    ]


def _tried(
    caller: Caller,
    found: Look,
    source: Source,
    collection: Any,
    rows_max: int,
    base: dict[str, Any],
) -> Preview:
    try:
        source.check()
    except InvalidInput as error:
        return Preview(found, **base, refusal=str(error.detail))
    entries, is_whole = _read(source, rows_max)
    records = [entry for entry in entries if isinstance(entry, Record)]
    problems = [entry for entry in entries if isinstance(entry, Rejected)]
    left_out: set[int] = set()
    if collection is not None and records:
        more = _against(caller, collection, records)
        problems += more.values()
        left_out = set(more)
    problems.sort(key=lambda one: one.line or 0)
    rows = _estimated(found, source, len(entries), is_whole)
    with acting(caller, writing=False):
        seconds = rows / _pace(caller)
    return Preview(
        found,
        **base,
        works=[one for n, one in enumerate(records) if n not in left_out][:SHOWN_MAX],
        problems=[_problem(one) for one in problems[:PROBLEMS_MAX]],
        counts=dict(Counter(one.code for one in problems).most_common()),
        rows_read=len(entries),
        is_whole=is_whole,
        rows_estimated=rows,
        seconds_estimated=seconds,
    )


def _read(source: Source, rows_max: int) -> tuple[list[Entry], bool]:
    entries: list[Entry] = []
    end = time.monotonic() + SECONDS_MAX
    try:
        for entry in source.entries(""):
            if len(entries) >= rows_max or time.monotonic() > end:
                return entries, False
            entries.append(entry)
    finally:
        source.close()
    return entries, True


def _against(caller: Caller, collection_id: Any, records: Sequence[Record]) -> dict[int, Rejected]:
    """What the collection, and rows among each other, leave out."""
    with acting(caller, writing=False):
        collection = Collection.objects.owned_by(caller).get_visible(caller, collection_id)
        trial = Trial()
        try:
            left_out = works.add(caller, collection, records, trial=trial)
        finally:
            trial.close()
    return {
        n: Rejected(records[n].name, one.code, one.detail, one.field, records[n].line)
        for n, one in left_out.items()
    }


def _problem(one: Rejected) -> Problem:
    why = str(REASONS.get(one.code, one.code))
    return Problem(one.line, looks.shown(one.name), one.field, one.code, why, one.detail)


def _estimated(found: Look, source: Source, read: int, is_whole: bool) -> int:
    """How many rows there are, by the bytes of those that were read."""
    if is_whole:
        return read
    if found.rows is not None:
        return found.rows
    length, so_far = source.length or 0, source.read_so_far()
    return max(read, length * read // so_far) if so_far else read


def _pace(caller: Caller) -> float:
    """Rows a second of the organization's last import that was large enough to tell."""
    done = ImportJob.objects.visible_to(caller).filter(
        status=ImportJob.Status.FINISHED, imported__gte=_TELLING_ROWS, dry_run=False
    )
    for job in done.order_by("-id")[:1]:
        if job.finished_at is not None and job.finished_at > job.started_at:
            return max(job.rows / (job.finished_at - job.started_at).total_seconds(), 1.0)
    return PACE
