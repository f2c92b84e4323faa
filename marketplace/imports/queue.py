"""Imports that a client asks for: queued with an upload, run by the worker, resumed by the next."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit, idempotency, organizations, uploads
from marketplace.access import Caller, acting, system
from marketplace.errors import DomainError, ImportEnded, ImportUnderWay
from marketplace.imports import engine, templates
from marketplace.imports.engine import LEASE, Taken
from marketplace.imports.opening import open_table
from marketplace.imports.tables import Table
from marketplace.models import Collection, ImportJob, Upload

logger = logging.getLogger(__name__)
Status = ImportJob.Status
# A file that kills whoever reads it (a library's fault, say) must not kill workers for ever.
ATTEMPTS_MAX = 5
_ENDED = (Status.FINISHED, Status.CANCELED, Status.FAILED)


def ask(
    caller: Caller,
    collection_id: str,
    *,
    reader: Caller,
    upload: str,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, str] | None = None,
    ignored: Iterable[str] = (),
    feed: bool = False,
    dry_run: bool = False,
    header: Sequence[str] = (),
) -> ImportJob:
    """Queue the import of an upload of `reader`'s. The file's beginning is checked first.

    With a `header`, what was said of its columns is remembered for the next file that has it.
    The two differ where somebody from outside edits a shared collection. Raises NotFound,
    UploadIncomplete, UploadWrongState and InvalidInput before anything is written.
    """
    source = _source(
        reader,
        upload,
        format=format,
        columns=columns,
        constants=constants,
        ignored=ignored,
        feed=feed,
    )
    source.check()
    with acting(caller):
        collection = Collection.objects.owned_by(caller).get_visible(caller, collection_id)
        job = ImportJob(
            organization=caller.organization,
            collection=collection,
            source=source.name,
            format=source.format,
            feed=feed,
            columns=dict(source.columns),
            constants=dict(source.constants),
            ignored=list(source.ignored),
            dry_run=dry_run,
            upload=upload,
            fingerprint=source.fingerprint,
            source_length=source.length,
            requested_by=caller.actor,
            status=Status.QUEUED,
        )
        job.save(force_insert=True)
        if header:
            said = templates.Columns(source.columns, source.constants, source.ignored)
            templates.remember(caller, header, said)
        audit.record(caller, "import.queued", subject=job, upload=upload)
        idempotency.names(caller, job)
    return job


def cancel(caller: Caller, id: str) -> ImportJob:
    """End an import that has not ended. What it imported stays. Repeating it changes nothing.

    Raises NotFound, ImportEnded.
    """
    with acting(caller):
        job = ImportJob.objects.get_visible(caller, id, lock=True)
        if job.status in _ENDED and job.status != Status.CANCELED:
            raise ImportEnded(
                _("The import is %(status)s.") % {"status": job.status}, import_job=str(job.pk)
            )
        if job.status != Status.CANCELED:
            engine.give_up(caller, job)
        idempotency.names(caller, job)
    return job


def resume(caller: Caller, id: str) -> ImportJob:
    """Have a failed import of an upload gone on with, from where it stopped, as it was asked for.

    Raises NotFound, and ImportEnded for one that did not fail. Where its file is gone, it fails
    again.
    """
    with acting(caller):
        job = ImportJob.objects.get_visible(caller, id, lock=True)
        if job.status in {Status.QUEUED, Status.RUNNING}:
            return job
        if job.status != Status.FAILED or not job.upload:
            raise ImportEnded(
                _("The import is %(status)s.") % {"status": job.status}, import_job=str(job.pk)
            )
        job.status, job.finished_at, job.failure = Status.QUEUED, None, ""
        job.attempts, job.leased_until = 0, None
        job.save(update_fields=["status", "finished_at", "failure", "attempts", "leased_until"])
        audit.record(caller, "import.resumed", subject=job)
    return job


def carry_out_due(taken: Taken | None = None) -> int:
    """Run one import that is due: the oldest that is queued, or whose worker fell silent.

    Returns how many were run. A failure stays with its import.
    """
    job = _claim()
    if job is None:
        return 0
    if job.attempts > ATTEMPTS_MAX:
        _fail(job, _("Workers that took it up stopped at the same place."))
        return 1
    caller = organizations.operator(job.organization)
    try:
        source = _source(
            _reader(job),
            job.upload,
            format=job.format,
            columns=job.columns,
            constants=job.constants,
            ignored=job.ignored,
            feed=job.feed,
        )
        source.check()
        engine.go_on(caller, job, source, taken=taken)
    except ImportUnderWay:
        # Another worker thought this one dead, and goes on with it.
        logger.warning("import %s was taken over", job.pk)
    except DomainError as error:
        _fail(job, str(error.detail))
    except OSError as error:
        # The edge of a worker's loop: the file of one import must not stop the others.
        logger.exception("import %s stopped", job.pk)
        _fail(job, error.strerror or "OSError")
    return 1


def _source(caller: Caller, upload: str, **how: Any) -> Table:
    return open_table(uploads.path(caller, upload), name=str(upload), **how)


def _reader(job: ImportJob) -> Caller:
    """Whose upload it is: whether the job may read it, `ask` decided."""
    with system("read the upload of a queued import"):
        upload = Upload.objects.select_related("organization").get(pk=job.upload)
    return organizations.operator(upload.organization)


def _claim() -> ImportJob | None:
    """Take the lease of what is due; two workers never get the same one."""
    now = timezone.now()
    with system("run everybody's queued imports"), transaction.atomic():
        due = ImportJob.objects.exclude(upload="").filter(
            status__in=[Status.QUEUED, Status.RUNNING]
        )
        job = (
            due.exclude(leased_until__gt=now)
            .select_for_update(skip_locked=True, of=("self",))
            .select_related("organization", "collection")
            .order_by("id")
            .first()
        )
        if job is None:
            return None
        job.status, job.leased_until = Status.RUNNING, now + LEASE
        job.attempts += 1
        job.taken_up_at, job.taken_up_rows = now, job.rows
        job.save(
            update_fields=["status", "leased_until", "attempts", "taken_up_at", "taken_up_rows"]
        )
    return job


def _fail(job: ImportJob, why: str) -> None:
    caller = organizations.operator(job.organization)
    with acting(caller):
        ImportJob.objects.filter(pk=job.pk, status=Status.RUNNING).update(
            status=Status.FAILED,
            finished_at=timezone.now(),
            leased_until=None,
            failure=why[:500],
        )
