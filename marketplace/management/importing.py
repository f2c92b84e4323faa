"""What the import commands share: progress on standard error, and the summary."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, OutputWrapper
from django.db.models import Count
from django.utils.translation import gettext as _

from marketplace import imports
from marketplace.access import Caller, acting
from marketplace.errors import printable
from marketplace.models import ImportJob, ImportRejection, Organization

SAY_EVERY_SECONDS = 1.0
NAMES_SHOWN = 3


class Progress:
    """What an import has done so far, from its start or its resumption on."""

    def __init__(self, source: imports.Source) -> None:
        self._source = source
        self._begin = time.monotonic()
        self._job: ImportJob | None = None
        # What an earlier run had done: no part of this one's rate.
        self._before: tuple[int, int] | None = None

    def note(self, job: ImportJob) -> None:
        if self._before is None:
            self._before = job.rows, job.source_read
        self._job = job

    def line(self) -> str:
        if isinstance(self._source, imports.Directory):
            return self._of_folder(self._source.bytes_read)
        return self._of_table()

    def _of_folder(self, bytes_read: int) -> str:
        job = self._job or ImportJob()
        return _(
            "%(seconds)5.1f s  %(imported)s imported, %(repeated)s repeated,"
            " %(rejected)s rejected, %(megabytes).1f MB read"
        ) % {
            "seconds": time.monotonic() - self._begin,
            "imported": job.imported,
            "repeated": job.repeated,
            "rejected": job.rejected,
            "megabytes": bytes_read / 1e6,
        }

    def _of_table(self) -> str:
        job = self._job or ImportJob()
        rows_before, read_before = self._before or (0, 0)
        seconds = max(time.monotonic() - self._begin, 0.001)
        length, read = self._source.length or 0, job.source_read
        new = read - read_before
        line = _(
            "%(seconds)6.1f s  %(rows)s rows (%(rate)s/s), %(read).1f of %(length).1f MB,"
            " %(left)s left: %(imported)s imported, %(repeated)s repeated, %(rejected)s rejected"
        ) % {
            "seconds": seconds,
            "rows": f"{job.rows:,}",
            "rate": f"{(job.rows - rows_before) / seconds:,.0f}",
            "read": read / 1e6,
            "length": length / 1e6,
            "left": f"{(length - read) / new * seconds:.0f} s" if new > 0 else "?",
            "imported": f"{job.imported:,}",
            "repeated": f"{job.repeated:,}",
            "rejected": f"{job.rejected:,}",
        }
        if job.feed:
            line += _(", %(updated)s updated, %(removed)s removed") % {
                "updated": f"{job.updated:,}",
                "removed": f"{job.removed:,}",
            }
        return line


@contextmanager
def saying(stderr: OutputWrapper, progress: Progress) -> Iterator[None]:
    """Print a line of progress every so often, also while one batch takes long."""
    done = threading.Event()

    def say() -> None:
        while not done.wait(SAY_EVERY_SECONDS):
            stderr.write(progress.line())

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def organization(id: str) -> Organization:
    try:
        return Organization.objects.get(pk=id)
    except (Organization.DoesNotExist, ValidationError):
        raise CommandError(_("There is no organization “%(id)s”.") % {"id": id}) from None


def sum_up(stdout: OutputWrapper, caller: Caller, job: ImportJob, progress: Progress) -> None:
    """Print the last line of progress, and each reason with the first names."""
    if job.dry_run:
        stdout.write(_("A dry run: nothing was imported. An import would say:"))
    stdout.write(progress.line())
    for code, count, names in _left_out(caller, job):
        more = " …" if count > len(names) else ""
        shown = printable(", ".join(names)).replace("\n", "\\n")
        stdout.write(f"{code} ({count}): {imports.REASONS[code]} {shown}{more}")
    if job.rejected + job.repeated > 0:
        stdout.write(_("Each one: GET /v1/imports/%(job)s/rejections") % {"job": job.pk})


def as_json(caller: Caller, job: ImportJob) -> str:
    """The job and its reasons as one JSON object."""
    shown: dict[str, Any] = {
        "import": str(job.pk),
        "status": job.status,
        "imported": job.imported,
        "repeated": job.repeated,
        "rejected": job.rejected,
        "bytes_read": job.bytes_read,
        "reasons": {code: count for code, count, _names in _left_out(caller, job)},
    }
    if job.format:
        shown |= {"dry_run": job.dry_run, "updated": job.updated, "removed": job.removed}
    return json.dumps(shown)


def _left_out(caller: Caller, job: ImportJob) -> list[tuple[str, int, list[str]]]:
    """Each reason with how many entries it left out, and the first names."""
    with acting(caller, writing=False):
        rejections = ImportRejection.objects.visible_to(caller).filter(job=job)
        counts = rejections.order_by("code").values_list("code").annotate(count=Count("id"))
        return [
            (
                code,
                count,
                list(
                    rejections.filter(code=code)
                    .order_by("id")
                    .values_list("name", flat=True)[:NAMES_SHOWN]
                ),
            )
            for code, count in counts
        ]
