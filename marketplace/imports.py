"""Imports: many works into a collection, streaming, resumable, each refusal with its reason."""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace import audit, storage, works
from marketplace.access import Caller, acting
from marketplace.errors import ImportUnderWay, InvalidInput
from marketplace.models import Collection, ImportJob, ImportRejection
from marketplace.works import EXTERNAL_ID_LENGTH_MAX, LeftOut, Record

__all__ = ["REASONS", "Directory", "Record", "Records", "Rejected", "Source", "run"]

BATCH_LENGTH = 10_000
# Even a slow source commits what it has this often: that is what a resumed import keeps.
COMMIT_EVERY_SECONDS = 2.0
# As long as the columns are.
_NAME_LENGTH_MAX = 4000
_DETAIL_LENGTH_MAX = 1000

# Why an entry was not imported. `code` is a promise to clients.
REASONS = {
    works.REPEATED: gettext_lazy("The collection holds the same bytes already."),
    works.NAME_TAKEN: gettext_lazy("This name was imported before, with other bytes."),
    works.CONTRIBUTOR_UNKNOWN: gettext_lazy("Nobody is recorded under that contributor's id."),
    works.INVALID: gettext_lazy("The record cannot be kept as it is."),
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
}


@dataclass(frozen=True, slots=True)
class Rejected:
    """One entry of a source that cannot be imported."""

    name: str
    code: str
    detail: str = ""


Entry = Record | Rejected
Report = Callable[[ImportJob], None]


class Source(Protocol):
    """Something to import from. Yields its entries in an order that never changes."""

    @property
    def name(self) -> str:
        """What the job shows, and what a resumed job must match."""

    def check(self) -> None:
        """Raise InvalidInput where there is nothing to read."""

    def entries(self, after: str) -> Iterator[Entry]:
        """Everything that comes after the entry named `after` ("" for all)."""

    def settle(self) -> None:
        """Make durable what the entries so far stand for: their rows commit next."""

    def close(self) -> None:
        """Drop what was not settled. The import has ended, well or not."""


def run(
    caller: Caller, collection_id: str, source: Source, *, report: Report | None = None
) -> ImportJob:
    """Import a source; go on where an earlier run over the same source stopped.

    Works are committed in batches, with the job's progress: a stop loses at most the last batch,
    and a bad entry never costs a good one. `report` is called after each batch. Raises NotFound
    and InvalidInput before anything is written, ImportUnderWay when another process goes on with
    the same import.
    """
    source.check()
    job = _begin(caller, collection_id, source)
    try:
        for batch in _batches(source.entries(job.resume_after)):
            source.settle()
            _commit(caller, job, batch)
            if report is not None:
                report(job)
        _finish(caller, job)
    except ImportUnderWay:
        # The job is the other process's now.
        raise
    except BaseException as error:
        _stop(caller, job, error)
        raise
    finally:
        source.close()
    if report is not None:
        report(job)
    return job


def rejections(caller: Caller, id: str) -> QuerySet[ImportRejection]:
    """What one of the caller's imports left out. Raises NotFound."""
    job = ImportJob.objects.get_visible(caller, id)
    return ImportRejection.objects.visible_to(caller).filter(job=job)


def _begin(caller: Caller, collection_id: str, source: Source) -> ImportJob:
    """Take up the unfinished job of this source, or make one."""
    with acting(caller):
        # Locked, so that two processes that begin together find one job.
        collection = Collection.objects.owned_by(caller).get_visible(
            caller, collection_id, lock=True
        )
        job = (
            ImportJob.objects.filter(collection=collection, source=source.name)
            .exclude(status=ImportJob.Status.FINISHED)
            .order_by("-id")
            .first()
        )
        if job is None:
            job = ImportJob(
                organization=caller.organization, collection=collection, source=source.name
            )
            job.save(force_insert=True)
            audit.record(caller, "import.started", subject=job)
        elif job.status == ImportJob.Status.FAILED:
            job.status, job.finished_at, job.failure = ImportJob.Status.RUNNING, None, ""
            job.save(update_fields=["status", "finished_at", "failure"])
            audit.record(caller, "import.resumed", subject=job)
    return job


def _finish(caller: Caller, job: ImportJob) -> None:
    with acting(caller):
        job.status, job.finished_at = ImportJob.Status.FINISHED, timezone.now()
        job.save(update_fields=["status", "finished_at"])
        audit.record(
            caller,
            "import.finished",
            subject=job,
            imported=job.imported,
            repeated=job.repeated,
            rejected=job.rejected,
        )


def _stop(caller: Caller, job: ImportJob, error: BaseException) -> None:
    """Note that the import stopped before its end; it can be resumed."""
    # Never the whole text: it may hold a path of the server.
    why = getattr(error, "strerror", None) or type(error).__name__
    # Where the database itself failed, the job stays "running", and is resumed all the same.
    with suppress(DatabaseError), acting(caller):
        ImportJob.objects.filter(pk=job.pk, status=ImportJob.Status.RUNNING).update(
            status=ImportJob.Status.FAILED, finished_at=timezone.now(), failure=str(why)[:500]
        )


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    due = time.monotonic() + COMMIT_EVERY_SECONDS
    for entry in entries:
        batch.append(entry)
        if len(batch) >= BATCH_LENGTH or time.monotonic() >= due:
            yield batch
            batch = []
            due = time.monotonic() + COMMIT_EVERY_SECONDS
    if batch:
        yield batch


def _commit(caller: Caller, job: ImportJob, batch: list[Entry]) -> None:
    """Record one batch and the job's progress in one transaction."""
    records = [entry for entry in batch if isinstance(entry, Record)]
    rejected = [entry for entry in batch if isinstance(entry, Rejected)]
    with acting(caller):
        left_out = works.add(caller, job.collection, records)
        rejected += [
            Rejected(records[n].name, reason.code, reason.detail)
            for n, reason in sorted(left_out.items())
        ]
        _note(job, rejected)
        _advance(job, batch, records, left_out)


def _note(job: ImportJob, rejected: list[Rejected]) -> None:
    with connection.cursor() as cursor:
        # Arrays: a repeated import rejects everything, and a row at a time would take hours.
        cursor.execute(
            "INSERT INTO marketplace_importrejection (organization_id, job_id, name, code, detail)"
            " SELECT %s, %s, * FROM unnest(%s::text[], %s::text[], %s::text[])",
            [
                job.organization_id,
                job.pk,
                [one.name[:_NAME_LENGTH_MAX] for one in rejected],
                [one.code for one in rejected],
                [(one.detail or str(REASONS[one.code]))[:_DETAIL_LENGTH_MAX] for one in rejected],
            ],
        )


def _advance(
    job: ImportJob, batch: list[Entry], records: list[Record], left_out: dict[int, LeftOut]
) -> None:
    """Count a batch, and move the point from which a resumed import goes on."""
    counts = Counter(reason.code for reason in left_out.values())
    before = job.resume_after
    # A name that the column cannot hold is no point to resume from; the one before it is.
    names = [entry.name for entry in batch if len(entry.name) <= _NAME_LENGTH_MAX]
    job.imported += len(records) - len(left_out)
    job.repeated += counts[works.REPEATED]
    job.rejected += len(batch) - len(records) + len(left_out) - counts[works.REPEATED]
    # What an invalid record says of itself counts for nothing.
    job.bytes_read += sum(
        record.length
        for n, record in enumerate(records)
        if n not in left_out or left_out[n].code != works.INVALID
    )
    job.resume_after = names[-1] if names else before
    is_ours = ImportJob.objects.filter(
        pk=job.pk, status=ImportJob.Status.RUNNING, resume_after=before
    ).update(
        imported=job.imported,
        repeated=job.repeated,
        rejected=job.rejected,
        bytes_read=job.bytes_read,
        resume_after=job.resume_after,
    )
    if not is_ours:
        raise ImportUnderWay(
            _("Another process goes on with this import. Look at its progress instead."),
            import_job=str(job.pk),
        )


# --- sources ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Records:
    """A source of records that are made already, and come in the same order each time."""

    rows: Iterable[Record]
    name: str = "records"

    def check(self) -> None:
        """Nothing can be wrong before the first record."""

    def entries(self, after: str) -> Iterator[Entry]:
        rows = iter(self.rows)
        if after and all(row.name != after for row in rows):
            raise InvalidInput(
                _("The import stopped after “%(name)s”, which is not among these records.")
                % {"name": after},
                param="records",
            )
        yield from rows

    def settle(self) -> None:
        """Records name their bytes only by digest."""

    def close(self) -> None:
        """Nothing was kept."""


class Directory:
    """A folder of the server: every regular file in it, kept in the hosted store.

    `prefix` begins each work's external id, so that two folders may hold the same names; it is
    the folder's name unless given. Folders whose name is in `exclude` are left out.
    """

    def __init__(
        self, root: Path, *, prefix: str | None = None, exclude: Iterable[str] = ()
    ) -> None:
        self.root = Path(os.path.realpath(root))
        self.exclude = frozenset(exclude)
        self.bytes_read = 0
        begin = _shown(self.root.name) if prefix is None else prefix
        self._prefix = f"{begin}/" if begin else ""
        self._intake: storage.Intake | None = None
        self._stream: io.FileIO
        self._own = {
            os.path.realpath(folder)
            for folder in (settings.DATA_DIR, settings.STORAGE_DIR, settings.LEDGER_KEY_DIR)
        }

    @property
    def name(self) -> str:
        """The folder's own name, and a mark of all that decides what a resumed run goes on with."""
        parts = [os.fsencode(self.root), self._prefix.encode(), *map(str.encode, self.exclude)]
        mark = hashlib.sha256(b"\0".join([*parts[:2], *sorted(parts[2:])])).hexdigest()[:8]
        return f"folder {_shown(self.root.name)[:200] or '/'} ({mark})"

    def check(self) -> None:
        try:
            with os.scandir(self.root) as found:
                is_empty = next(iter(found), None) is None
        except OSError as error:
            raise InvalidInput(
                _("The folder cannot be read: %(why)s. Name a folder that this user may read.")
                % {"why": error.strerror},
                param="folder",
            ) from None
        if is_empty:
            raise InvalidInput(
                _("The folder is empty. Put files into it, or name another one."), param="folder"
            )

    def entries(self, after: str) -> Iterator[Entry]:
        begin = tuple(after.removeprefix(self._prefix).split("/")) if after else ()
        self._intake = storage.Intake()
        for parts, found in self._walk():
            if parts > begin:
                yield self._read(self._intake, parts, found)

    def settle(self) -> None:
        if self._intake is not None:
            self._intake.settle()

    def close(self) -> None:
        if self._intake is not None:
            self._intake.discard()

    def _walk(self) -> Iterator[tuple[tuple[str, ...], os.DirEntry[str] | OSError]]:
        """Everything below the root that is no folder, in the order of the names' parts."""
        # A stack, and no recursion: folders nest deeper than Python calls do.
        stack = [_children(self.root, ())]
        while stack:
            for parts, found in stack[-1]:
                if not isinstance(found, OSError) and _is_folder(found):
                    if found.name in self.exclude:
                        continue
                    if found.path not in self._own:
                        stack.append(_children(found.path, parts))
                        break
                yield parts, found
            else:
                stack.pop()

    def _read(
        self, intake: storage.Intake, parts: tuple[str, ...], found: os.DirEntry[str] | OSError
    ) -> Entry:
        """Turn one entry into a record, its bytes kept, or say why not."""
        name = self._prefix + "/".join(parts)
        if isinstance(found, OSError):
            return Rejected(name, "unreadable", found.strerror or "")
        if found.path in self._own:
            return Rejected(name, "own_data")
        if not _is_utf8(found.path[len(os.fspath(self.root)) :]):
            return Rejected(name, "name_not_utf8")
        if len(name) > EXTERNAL_ID_LENGTH_MAX:
            return Rejected(name, "name_too_long", f"{len(name)} > {EXTERNAL_ID_LENGTH_MAX}")
        try:
            if found.is_symlink():
                return Rejected(name, _link(self.root, found.path))
            if not found.is_file(follow_symlinks=False):
                return Rejected(name, "not_a_file")
            # Not through a link that took the file's place since it was listed, nor waiting for
            # somebody to write into a pipe that did.
            handle = os.open(found.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            return Rejected(name, "unreadable", error.strerror or "")
        # Outside that `except`: a full disk of ours is no fault of the file.
        with os.fdopen(handle, "rb", buffering=0) as self._stream:
            return _keep(intake, self, handle, name)

    def read(self, size: int) -> bytes:
        """Read on in the file that is being kept, counting for whoever watches."""
        chunk = self._stream.read(size) or b""
        self.bytes_read += len(chunk)
        return chunk


def _keep(intake: storage.Intake, stream: storage.Readable, handle: int, name: str) -> Entry:
    before = os.fstat(handle)
    if not stat.S_ISREG(before.st_mode):
        return Rejected(name, "not_a_file")
    if before.st_size == 0:
        return Rejected(name, "empty")
    try:
        kept = intake.put(stream)
    except storage.Unreadable as error:
        return Rejected(name, "unreadable", str(error))
    after = os.fstat(handle)
    if (kept.length, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        return Rejected(name, "changed_while_read")
    title = name.rpartition("/")[2]
    return Record(
        external_id=name,
        title=title,
        digest=kept.digest,
        length=kept.length,
        media_type=_media_type(title),
        custody="hosted",
    )


def _children(
    folder: str | Path, above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], os.DirEntry[str] | OSError]]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: _shown(entry.name))
    except OSError as error:
        yield above, error
        return
    for entry in entries:
        yield (*above, _shown(entry.name)), entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


# Python's own table only: the machine's mime.types must not change a snapshot's root.
_MEDIA_TYPES = mimetypes.MimeTypes(filenames=())


def _media_type(name: str) -> str:
    # As a path: a name such as "data:x" would be taken for a URL.
    kind, encoding = _MEDIA_TYPES.guess_type(f"./{name}")
    return kind if kind and not encoding else "application/octet-stream"


def _link(root: Path, path: str) -> str:
    """Which reason a link is refused for."""
    try:
        target = Path(path).resolve(strict=True)
    except (OSError, RuntimeError):
        return "link_broken"
    return "link" if target.is_relative_to(root) else "link_out_of_folder"


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    """A name as text: bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(name).decode(errors="backslashreplace")
