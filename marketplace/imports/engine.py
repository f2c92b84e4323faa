"""The engine of imports: batches that commit with their progress, each refusal with its reason."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import DatabaseError, connection
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace import audit, events, feeds, works
from marketplace.access import Caller, acting
from marketplace.errors import ImportSourceChanged, ImportUnderWay, InvalidInput
from marketplace.feeds import Deletion, Withdrawn
from marketplace.imports.ahead import ahead
from marketplace.models import Collection, ImportJob, ImportRejection
from marketplace.works import LeftOut, Record

BATCH_LENGTH = 10_000
# Even a slow source commits what it has this often: that is what a resumed import keeps.
COMMIT_EVERY_SECONDS = 2.0
# How long a worker that falls silent keeps others from going on with its import. Ten times what a
# batch takes; one that takes longer still costs its work at most, for only one of two commits it.
LEASE = timedelta(seconds=20)
# As long as the columns are.
NAME_LENGTH_MAX = 4000
_DETAIL_LENGTH_MAX = 1000

# Why an entry was not imported. `code` is a promise to clients.
REASONS = {
    works.REPEATED: gettext_lazy("The collection holds the same bytes already."),
    works.UNITS_DIFFER: gettext_lazy(
        "The collection has these bytes and counts them otherwise. An update feed changes that."
    ),
    works.NAME_TAKEN: gettext_lazy("This name was imported before, with other bytes."),
    works.CONTRIBUTOR_UNKNOWN: gettext_lazy("Nobody is recorded under that contributor's id."),
    works.CONSENT_REFUSED: gettext_lazy("The contributor does not consent."),
    works.INVALID: gettext_lazy("The record cannot be kept as it is."),
    "opted_out": gettext_lazy("These bytes were taken out of licensing."),
    "held": gettext_lazy("These bytes are held until a claim is decided."),
    "claimed": gettext_lazy("Somebody else claims these bytes."),
    feeds.UNKNOWN_ID: gettext_lazy("There is no such work to delete."),
    feeds.OTHER_WORK: gettext_lazy("These bytes are recorded as another work."),
    # Of folders.
    "empty": gettext_lazy("The file has no bytes."),
    "unreadable": gettext_lazy("It could not be read."),
    "not_a_file": gettext_lazy("Neither a file nor a folder."),
    "link_out_of_folder": gettext_lazy("The link leads out of the folder."),
    "link_broken": gettext_lazy("The link leads nowhere."),
    "link": gettext_lazy("What the link leads to is imported under its own name."),
    "name_not_utf8": gettext_lazy("The name is not UTF-8."),
    "name_too_long": gettext_lazy("The name is too long for an external id."),
    "changed_while_read": gettext_lazy("The file changed while it was read. Import again."),
    "no_digest": gettext_lazy("There is no SHA-256 of the bytes. Add it and import again."),
    "digest_invalid": gettext_lazy("What stands for the SHA-256 is not 64 hexadecimal digits."),
    "own_data": gettext_lazy("This server's own data is not imported."),
    # Of tables.
    "malformed": gettext_lazy("This cannot be read as a row."),
    "unclosed_quote": gettext_lazy("A quote is opened and never closed."),
    "wrong_column_count": gettext_lazy("The row has more or fewer columns than the header."),
    "not_an_object": gettext_lazy("The line is no JSON object."),
    "duplicate_key": gettext_lazy("The object says the same key twice."),
    "nested_too_deeply": gettext_lazy("The object is nested too deeply."),
    "cut_off": gettext_lazy("The file ends within this line."),
    "wrong_type": gettext_lazy("The value is of another type than the field."),
    "rows_damaged": gettext_lazy("This part of the file is damaged."),
    "field_too_long": gettext_lazy("The field is too long."),
    "not_utf8": gettext_lazy("The bytes are not UTF-8."),
    "characters_not_allowed": gettext_lazy("It holds characters that cannot be stored."),
    "missing": gettext_lazy("The field is required and empty."),
    "not_a_number": gettext_lazy("Give a whole number."),
    "out_of_range": gettext_lazy("The number is too small or too large."),
    "language_invalid": gettext_lazy("Give a BCP 47 tag, such as “en” or “pt-BR”."),
    "url_invalid": gettext_lazy("Give an http or https address without spaces."),
    "media_type_invalid": gettext_lazy("Give a media type, such as “text/plain”."),
    "email_invalid": gettext_lazy("This is no email address."),
    "consent_invalid": gettext_lazy("Use granted, refused, withdrawn or unknown."),
    "identifier_invalid": gettext_lazy("This is no identifier of its scheme."),
    "operation_unknown": gettext_lazy("Use “upsert” or “delete”."),
}


@dataclass(frozen=True, slots=True)
class Rejected:
    """One entry of a source that cannot be imported."""

    name: str
    code: str
    detail: str = ""
    # Which of its fields is meant, and where it stands in the source, from 1.
    field: str = ""
    line: int | None = None


Entry = Record | Rejected | Deletion
Report = Callable[[ImportJob], None]
# Called in the transaction that takes works out, with what was taken out.
Taken = Callable[[Caller, ImportJob, Withdrawn], None]


class Source:
    """Something to import from. Yields its entries in an order that never changes."""

    # What the job shows, and what a resumed job must match.
    name: str
    # "csv", "ndjson", …; "" for what is no table.
    format = ""
    # Each entry is a change of a work (a Record) or its Deletion.
    feed = False
    # Which columns stand for which fields, where somebody said so.
    columns: Mapping[str, str] = {}
    # What each entry has that no column says, and which columns stand for nothing.
    constants: Mapping[str, str] = {}
    ignored: Sequence[str] = ()
    # What must be the same for an import to go on; "" where the name says it all.
    fingerprint = ""
    # Entries may be made in another thread, some before those ahead of them are settled.
    can_read_ahead = False
    # Bytes of the source itself; None where it has no length.
    length: int | None = None

    def check(self) -> None:
        """Raise InvalidInput where there is nothing to read."""

    def entries(self, after: str) -> Iterator[Entry]:
        """Everything that comes after the mark `after` ("" for all)."""
        raise NotImplementedError

    def mark(self) -> str:
        """Where to go on after the entries so far, for `entries` of a later run."""
        raise NotImplementedError

    def read_so_far(self) -> int:
        """Bytes of `length` that the entries so far took."""
        return 0

    def settle(self) -> None:
        """Make durable what the entries so far stand for: their rows commit next."""

    def note(self, caller: Caller) -> None:
        """Write down what the settled entries say beside their records, in their transaction."""

    def close(self) -> None:
        """Drop what was not settled. The import has ended, well or not."""


@dataclass
class Records(Source):
    """A source of records that are made already, and come in the same order each time."""

    rows: Iterable[Record]
    name: str = "records"
    _mark: str = field(default="", init=False)

    def entries(self, after: str) -> Iterator[Entry]:
        rows = iter(self.rows)
        if after and all(row.name != after for row in rows):
            raise InvalidInput(
                _("The import stopped after “%(name)s”, which is not among these records.")
                % {"name": after},
                param="records",
            )
        self._mark = after
        for row in rows:
            # A name that the column cannot hold is no mark; the one before it is.
            if len(row.name) <= NAME_LENGTH_MAX:
                self._mark = row.name
            yield row

    def mark(self) -> str:
        return self._mark


def run(
    caller: Caller,
    collection_id: str,
    source: Source,
    *,
    report: Report | None = None,
    taken: Taken | None = None,
    dry_run: bool = False,
    anew: bool = False,
) -> ImportJob:
    """Import a source; go on where an earlier run over the same source stopped.

    Works are committed in batches, with the job's progress: a stop loses at most the last batch,
    and a bad entry never costs a good one. `report` is called first, and after each batch. With
    `dry_run` everything is checked and reported, and nothing written but that report; it cannot be
    resumed. With `anew` a stopped run is given up. Raises NotFound and InvalidInput before anything
    is written, ImportSourceChanged where a stopped run read another file under this name,
    ImportUnderWay when another process goes on with the same import.
    """
    source.check()
    job = _begin(caller, collection_id, source, dry_run=dry_run, anew=anew)
    return go_on(caller, job, source, report=report, taken=taken)


def go_on(
    caller: Caller,
    job: ImportJob,
    source: Source,
    *,
    report: Report | None = None,
    taken: Taken | None = None,
) -> ImportJob:
    """Import what a running job has not imported yet. A canceled job ends quietly."""
    trial = None
    if report is not None:
        report(job)
    try:
        trial = works.Trial() if job.dry_run else None
        batches = _batches(source, job.resume_after)
        with closing(ahead(batches) if source.can_read_ahead else batches) as batches:
            for batch in batches:
                source.settle()
                _commit(caller, job, source, batch, trial, taken)
                if report is not None:
                    report(job)
        _finish(caller, job)
    except _Canceled:
        with acting(caller, writing=False):
            job.refresh_from_db()
    except ImportUnderWay:
        # The job is the other process's now.
        raise
    except BaseException as error:
        _stop(caller, job, error)
        raise
    finally:
        source.close()
        if trial is not None:
            with suppress(DatabaseError):
                trial.close()
    if report is not None:
        report(job)
    return job


def rejections(caller: Caller, id: str) -> QuerySet[ImportRejection]:
    """What one of the caller's imports left out. Raises NotFound."""
    job = ImportJob.objects.get_visible(caller, id)
    return ImportRejection.objects.visible_to(caller).filter(job=job)


class _Canceled(Exception):
    """Somebody canceled the job while it ran."""


def _begin(
    caller: Caller, collection_id: str, source: Source, *, dry_run: bool, anew: bool
) -> ImportJob:
    """Take up the unfinished job of this source, or make one."""
    with acting(caller):
        # Locked, so that two processes that begin together find one job.
        collection = Collection.objects.owned_by(caller).get_visible(
            caller, collection_id, lock=True
        )
        job = None if dry_run else _unfinished(collection, source)
        if job is not None and anew:
            give_up(caller, job)
            job = None
        if job is None:
            job = ImportJob(
                organization=caller.organization,
                collection=collection,
                source=source.name,
                format=source.format,
                feed=source.feed,
                columns=dict(source.columns),
                constants=dict(source.constants),
                ignored=list(source.ignored),
                dry_run=dry_run,
                fingerprint=source.fingerprint,
                source_length=source.length,
                requested_by=caller.actor,
            )
            job.save(force_insert=True)
            audit.record(caller, "import.started", subject=job)
            return job
        if job.fingerprint != source.fingerprint:
            raise ImportSourceChanged(
                _("The file is not the one whose import stopped. Import it anew (--anew)."),
                import_job=str(job.pk),
            )
        if job.status == ImportJob.Status.FAILED:
            job.status, job.finished_at, job.failure = ImportJob.Status.RUNNING, None, ""
            job.save(update_fields=["status", "finished_at", "failure"])
            audit.record(caller, "import.resumed", subject=job)
    return job


def _unfinished(collection: Collection, source: Source) -> ImportJob | None:
    ended = [ImportJob.Status.FINISHED, ImportJob.Status.CANCELED]
    return (
        # What waits for a worker is the worker's.
        ImportJob.objects.filter(
            collection=collection, source=source.name, dry_run=False, upload=""
        )
        .exclude(status__in=ended)
        .order_by("-id")
        .first()
    )


def give_up(caller: Caller, job: ImportJob) -> None:
    """End a job that has not ended, in the caller's transaction. What it imported stays."""
    job.status, job.finished_at = ImportJob.Status.CANCELED, timezone.now()
    job.leased_until = None
    job.save(update_fields=["status", "finished_at", "leased_until"])
    audit.record(caller, "import.canceled", subject=job)


def _finish(caller: Caller, job: ImportJob) -> None:
    with acting(caller):
        is_ours = ImportJob.objects.filter(
            pk=job.pk, status=ImportJob.Status.RUNNING, resume_after=job.resume_after
        ).update(status=ImportJob.Status.FINISHED, finished_at=timezone.now(), leased_until=None)
        if not is_ours:
            raise _lost(job)
        audit.record(
            caller,
            "import.finished",
            subject=job,
            imported=job.imported,
            repeated=job.repeated,
            rejected=job.rejected,
        )
        # The catalogue is of both modes.
        events.record("import.finished", to=[job.organization_id], livemode=None, subject=job)
        job.refresh_from_db()


def _stop(caller: Caller, job: ImportJob, error: BaseException) -> None:
    """Note that the import stopped before its end; it can be resumed."""
    # Never the whole text: it may hold a path of the server.
    why = getattr(error, "strerror", None) or getattr(error, "detail", type(error).__name__)
    # Where the database itself failed, the job stays "running", and is resumed all the same.
    with suppress(DatabaseError), acting(caller):
        ImportJob.objects.filter(pk=job.pk, status=ImportJob.Status.RUNNING).update(
            status=ImportJob.Status.FAILED,
            finished_at=timezone.now(),
            failure=str(why)[:500],
            leased_until=None,
        )


@dataclass(frozen=True, slots=True)
class _Batch:
    """Entries that commit together, and where the source stood after them."""

    entries: list[Entry]
    mark: str
    read_so_far: int


def _batches(source: Source, after: str) -> Generator[_Batch, None, None]:
    batch: list[Entry] = []
    due = time.monotonic() + COMMIT_EVERY_SECONDS
    for entry in source.entries(after):
        batch.append(entry)
        if len(batch) >= BATCH_LENGTH or time.monotonic() >= due:
            yield _Batch(batch, source.mark(), source.read_so_far())
            batch = []
            due = time.monotonic() + COMMIT_EVERY_SECONDS
    if batch:
        yield _Batch(batch, source.mark(), source.read_so_far())


def _commit(
    caller: Caller,
    job: ImportJob,
    source: Source,
    batch: _Batch,
    trial: works.Trial | None,
    taken: Taken | None,
) -> None:
    """Record one batch and the job's progress in one transaction."""
    entries = [entry for entry in batch.entries if not isinstance(entry, Rejected)]
    rejected = [entry for entry in batch.entries if isinstance(entry, Rejected)]
    counts = Counter(rejected=len(rejected))
    with acting(caller):
        if source.feed:
            outcome = feeds.apply(caller, job.collection, entries, trial=trial)
            counts.update(updated=outcome.updated, removed=outcome.removed)
            left_out = outcome.left_out
            if taken is not None and trial is None and outcome.withdrawn:
                taken(caller, job, outcome.withdrawn)
        else:
            records = [entry for entry in entries if isinstance(entry, Record)]
            left_out = works.add(caller, job.collection, records, trial=trial)
        repeated = sum(reason.code == works.REPEATED for reason in left_out.values())
        counts.update(repeated=repeated, rejected=len(left_out) - repeated)
        counts["imported"] = len(entries) - len(left_out) - counts["updated"] - counts["removed"]
        rejected += [
            Rejected(entries[n].name, reason.code, reason.detail, reason.field, entries[n].line)
            for n, reason in left_out.items()
        ]
        if trial is None:
            source.note(caller)
        _note(job, rejected)
        _advance(job, batch, counts, _bytes(entries, left_out))


def _bytes(entries: Sequence[Record | Deletion], left_out: Mapping[int, LeftOut]) -> int:
    """The length of the works. What an invalid record says of itself counts for nothing."""
    return sum(
        entry.length
        for n, entry in enumerate(entries)
        if isinstance(entry, Record) and (n not in left_out or left_out[n].code != works.INVALID)
    )


def _note(job: ImportJob, rejected: list[Rejected]) -> None:
    if not rejected:
        return
    if rejected[0].line is not None:
        # In the order of the file. Others keep theirs: first what could not be read.
        rejected.sort(key=lambda one: one.line or 0)
    with connection.cursor() as cursor:
        # Arrays: a repeated import rejects everything, and a row at a time would take hours.
        cursor.execute(
            "INSERT INTO marketplace_importrejection"
            " (organization_id, job_id, line, field, name, code, detail)"
            " SELECT %s, %s, * FROM"
            " unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[])",
            [
                job.organization_id,
                job.pk,
                [one.line for one in rejected],
                [one.field for one in rejected],
                [one.name[:NAME_LENGTH_MAX] for one in rejected],
                [one.code for one in rejected],
                [(one.detail or str(REASONS[one.code]))[:_DETAIL_LENGTH_MAX] for one in rejected],
            ],
        )


def _advance(job: ImportJob, batch: _Batch, counts: Counter[str], length: int) -> None:
    """Count a batch, and move the point from which a resumed import goes on."""
    before = job.resume_after
    job.imported += counts["imported"]
    job.updated += counts["updated"]
    job.removed += counts["removed"]
    job.repeated += counts["repeated"]
    job.rejected += counts["rejected"]
    job.bytes_read += length
    job.source_read = batch.read_so_far
    job.resume_after = batch.mark
    if job.leased_until is not None:
        job.leased_until = timezone.now() + LEASE
    is_ours = ImportJob.objects.filter(
        pk=job.pk, status=ImportJob.Status.RUNNING, resume_after=before
    ).update(
        imported=job.imported,
        updated=job.updated,
        removed=job.removed,
        repeated=job.repeated,
        rejected=job.rejected,
        bytes_read=job.bytes_read,
        source_read=job.source_read,
        resume_after=job.resume_after,
        leased_until=job.leased_until,
        attempts=0,
    )
    if not is_ours:
        raise _lost(job)


def _lost(job: ImportJob) -> Exception:
    """Why a job is not this process's any more."""
    status = ImportJob.objects.filter(pk=job.pk).values_list("status", flat=True).first()
    if status == ImportJob.Status.CANCELED:
        return _Canceled()
    return ImportUnderWay(
        _("Another process goes on with this import. Look at its progress instead."),
        import_job=str(job.pk),
    )
