"""Uploads: bytes that come in pieces, resumable, checked against their digest."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace import (
    audit,
    embedded_rights,
    excerpts,
    idempotency,
    legal_holds,
    reservations,
    storage,
    works,
)
from marketplace.access import Caller, acting, system
from marketplace.errors import (
    DigestMismatch,
    InternalError,
    InvalidInput,
    UploadIncomplete,
    UploadOffsetMismatch,
    UploadsFull,
    UploadUnderWay,
    UploadWrongState,
    WorkRefused,
)
from marketplace.models import Collection, Representation, Upload, Work
from marketplace.storage import Readable
from marketplace.works import Record

Status = Upload.Status

# Of an upload that nobody sends to or uses any more.
KEPT = timedelta(days=7)

_CHUNK = 256 * 1024
# A process that dies loses at most this much of what it was sent.
_DURABLE_EVERY = 32 << 20
_SWEPT_AT_ONCE = 100

# Why an upload did not become a work; the codes are those of an import's rejections.
_REFUSALS = {
    works.REPEATED: gettext_lazy("The collection holds the same bytes already."),
    works.UNITS_DIFFER: gettext_lazy("The collection has these bytes and counts them otherwise."),
    works.NAME_TAKEN: gettext_lazy("This external id was used before, for other bytes."),
    works.CONTRIBUTOR_UNKNOWN: gettext_lazy("Nobody is recorded under that contributor's id."),
    reservations.Reason.OPTED_OUT: gettext_lazy("These bytes were taken out of licensing."),
    reservations.Reason.HELD: gettext_lazy("These bytes are held until a claim is decided."),
    reservations.Reason.CLAIMED: gettext_lazy("Somebody else claims these bytes."),
}


def begin(caller: Caller, *, length: int, sha256: bytes | None = None, name: str = "") -> Upload:
    """Announce an upload of exactly `length` bytes; `sha256` is what they shall hash to.

    Raises InvalidInput for a length that is not taken, UploadsFull where the organization's
    uploads together would be too large.
    """
    if not 0 < length <= settings.UPLOAD_LENGTH_MAX:
        raise InvalidInput(
            _(
                "An upload has 1 to %(max)s bytes. Split what is larger, or leave it in a bucket of"
                " yours and connect that."
            )
            % {"max": f"{settings.UPLOAD_LENGTH_MAX:,}"},
            param="length",
        )
    with acting(caller):
        _check_room(caller, length)
        upload = Upload(organization=caller.organization, length=length, expected=sha256, name=name)
        upload.save(force_insert=True)
        audit.record(caller, "upload.begun", subject=upload, length=length)
        idempotency.names(caller, upload)
    return upload


def append(
    caller: Caller, id: Any, offset: int, stream: Readable, *, length: int | None = None
) -> Upload:
    """Add what the stream holds at `offset`, which must be where the upload ends now.

    `length` is what the stream claims to hold. Reads to its end, a chunk at a time, outside any
    transaction. Where the stream breaks off, what came before is kept: the row's `received` says
    from where to go on. One request at a time sends to an upload. Raises NotFound,
    UploadWrongState, UploadUnderWay, UploadOffsetMismatch, and InvalidInput for more bytes than
    were announced.
    """
    with _held(caller, id) as (upload, file):
        _check_state(upload, Status.RECEIVING)
        if offset != upload.received:
            raise UploadOffsetMismatch(
                _("Send the piece that begins at byte %(offset)s.") % {"offset": upload.received},
                offset=upload.received,
            )
        if length is not None and offset + length > upload.length:
            raise _too_long(upload)
        if os.fstat(file).st_size < upload.received:
            raise InternalError(_("The upload's bytes are gone. Begin it anew."))
        # What a dying process wrote and did not count may be there.
        os.ftruncate(file, upload.received)
        os.lseek(file, upload.received, os.SEEK_SET)
        _let_go_of_connection()
        for received in _written(file, upload, stream):
            with acting(caller):
                _record(upload, received=received, used_at=timezone.now())
            _let_go_of_connection()
    return upload


def finish(caller: Caller, id: Any) -> Upload:
    """Check a whole upload's length and digest, after which it can be used. May be repeated.

    Raises NotFound, UploadWrongState, UploadUnderWay, UploadIncomplete and DigestMismatch, which
    all leave it as it was.
    """
    with _held(caller, id) as (upload, file):
        if upload.status == Status.FINISHED:
            return upload
        _check_state(upload, Status.RECEIVING)
        if upload.received != upload.length:
            raise UploadIncomplete(
                _("%(received)s of %(length)s bytes have come.")
                % {"received": upload.received, "length": upload.length},
                offset=upload.received,
                length=upload.length,
            )
        _let_go_of_connection()
        digest = _digest(file, upload.length)
        if upload.expected is not None and bytes(upload.expected) != digest:
            raise DigestMismatch(
                _("The bytes hash to something else. Discard the upload and send them again."),
                expected=bytes(upload.expected).hex(),
                digest=digest.hex(),
            )
        now = timezone.now()
        with acting(caller):
            _record(upload, status=Status.FINISHED, digest=digest, finished_at=now, used_at=now)
            audit.record(caller, "upload.finished", subject=upload, digest=digest.hex())
            idempotency.names(caller, upload)
    return upload


def discard(caller: Caller, id: Any) -> Upload:
    """Give an upload up, and its bytes with it. May be repeated. Raises UploadUnderWay."""
    with _held(caller, id) as (upload, _file):
        if upload.status != Status.DISCARDED:
            with acting(caller):
                _record(upload, status=Status.DISCARDED)
                audit.record(caller, "upload.discarded", subject=upload)
                idempotency.names(caller, upload)
                _file_of(upload.pk).unlink(missing_ok=True)
    return upload


def path(caller: Caller, id: Any) -> Path:
    """Where a finished upload's bytes are. Reading them there keeps them for another week.

    Raises NotFound, UploadIncomplete and UploadWrongState.
    """
    with acting(caller):
        return _file_of(_finished(caller, id).pk)


def host(
    caller: Caller,
    collection_id: Any,
    *,
    upload: Any,
    external_id: str,
    media_type: str,
    title: str = "",
    source_url: str = "",
    language: str = "",
    contributor: str = "",
    units: Mapping[str, int] | None = None,
) -> Work:
    """Make a finished upload a hosted work of a collection. Nothing is copied.

    Bytes that the organization has already become an item of the collection under the work that
    they belong to. Raises NotFound, UploadIncomplete, UploadWrongState, and WorkRefused.
    """
    with acting(caller):
        collection = Collection.objects.owned_by(caller).get_visible(caller, collection_id)
        row = _finished(caller, upload)
        digest = bytes(row.digest or b"")
        record = Record(
            external_id=external_id,
            digest=digest,
            length=row.length,
            media_type=media_type,
            custody=Representation.Custody.HOSTED,
            title=title,
            source_url=source_url,
            language=language,
            contributor=contributor,
            units=tuple(sorted((units or {}).items())),
        )
        reserved = reservations.among([digest], organization=caller.organization.pk)
        if digest in reserved:
            raise _refusal(reserved[digest])
        # Before the row that names it commits.
        storage.adopt(_file_of(row.pk), digest)
        left_out = works.add(caller, collection, [record])
        if left_out:
            raise _refusal(left_out[0].code, left_out[0].detail)
        with _file_of(row.pk).open("rb") as file:
            said = embedded_rights.read(file, media_type)
        if said is not None:
            embedded_rights.note(caller.organization.pk, {digest: said})
        excerpts.ask(caller, [digest])
        form = Representation.objects.visible_to(caller).select_related("work").get(digest=digest)
        audit.record(caller, "work.hosted", subject=form.work, upload=str(row.pk))
        idempotency.names(caller, form.work)
    return form.work


def hold(caller: Caller, collection_id: Any, ids: Iterable[Any]) -> None:
    """Lock uploads, until the transaction ends, before several are hosted in it.

    In one order for all, and before the works' own lock, as `host` does: two that took them one
    by one could wait for each other for ever. Their bytes are kept now, so that nobody waits for
    that either. Those that are not there are refused when they are hosted. Raises NotFound for
    the collection.
    """
    assert connection.in_atomic_block, "A lock lasts as long as its transaction."
    Collection.objects.owned_by(caller).get_visible(caller, collection_id)
    rows = Upload.objects.visible_to(caller).filter(pk__in=set(ids))
    locked = list(rows.select_for_update(of=("self",)).order_by("pk"))
    finished = {bytes(row.digest or b""): row for row in locked if row.status == Status.FINISHED}
    reserved = reservations.among(list(finished), organization=caller.organization.pk)
    for digest, row in finished.items():
        if digest not in reserved:
            storage.adopt(_file_of(row.pk), digest)


def sweep() -> int:
    """Discard what nobody used for a week. Returns how many uploads that were.

    What is of an organization whose records are held stays until the hold is lifted.
    """
    swept = 0
    with system("discard everybody's unused uploads"):
        unused = (
            Upload.objects.filter(used_at__lt=timezone.now() - KEPT)
            .exclude(status=Status.DISCARDED)
            .exclude(organization__in=legal_holds.held_organizations())
            .select_for_update(skip_locked=True)
            .order_by("used_at")
        )
        for upload in unused[:_SWEPT_AT_ONCE]:
            handle = _opened(upload.pk)
            try:
                if _lock(handle):
                    _record(upload, status=Status.DISCARDED)
                    _file_of(upload.pk).unlink(missing_ok=True)
                    swept += 1
            finally:
                os.close(handle)
    return swept


# --- rows -------------------------------------------------------------------------------------


def _check_room(caller: Caller, length: int) -> None:
    with connection.cursor() as cursor:
        # Two that begin together would otherwise both find room.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('uploads of ' || %s, 0))",
            [str(caller.organization.pk)],
        )
    kept = Upload.objects.visible_to(caller).exclude(status=Status.DISCARDED)
    total = (kept.aggregate(total=Sum("length"))["total"] or 0) + length
    if total > settings.UPLOADS_LENGTH_MAX:
        raise UploadsFull(
            _("All uploads together may have %(max)s bytes. Discard one that you do not need.")
            % {"max": settings.UPLOADS_LENGTH_MAX},
            length_max=settings.UPLOADS_LENGTH_MAX,
        )


def _check_state(upload: Upload, wanted: str) -> None:
    if upload.status != wanted:
        raise UploadWrongState(
            _("The upload is %(status)s. Begin a new one.") % {"status": upload.status},
            upload_status=upload.status,
        )


def _too_long(upload: Upload) -> InvalidInput:
    return InvalidInput(
        _("The upload was announced with %(length)s bytes.") % {"length": upload.length},
        param="Content-Length",
    )


def _finished(caller: Caller, id: Any) -> Upload:
    # Locked, so that a sweep does not take the bytes away under who uses them.
    upload = Upload.objects.get_visible(caller, id, lock=True)
    if upload.status == Status.RECEIVING:
        raise UploadIncomplete(
            _("Finish the upload first."), offset=upload.received, length=upload.length
        )
    _check_state(upload, Status.FINISHED)
    _record(upload, used_at=timezone.now())
    return upload


def _record(upload: Upload, **values: Any) -> None:
    for name, value in values.items():
        setattr(upload, name, value)
    upload.save(update_fields=list(values))


def _refusal(reason: str, detail: str = "") -> WorkRefused:
    said = str(_REFUSALS.get(reason, _("The work cannot be kept as it is.")))
    return WorkRefused(f"{said} ({detail})" if detail else said, reason=str(reason))


# --- files ------------------------------------------------------------------------------------


@contextmanager
def _held(caller: Caller, id: Any) -> Iterator[tuple[Upload, int]]:
    """An upload, read anew, and its open file, which no other request or sweep holds.

    The lock is the file's: it costs no database connection while a slow sender drips, and it ends
    with a process that dies. Raises NotFound and UploadUnderWay.
    """
    with acting(caller, writing=False):
        found = Upload.objects.get_visible(caller, id)
    handle = _opened(found.pk)
    try:
        if not _lock(handle):
            raise UploadUnderWay(_("Another request holds this upload. Ask for its offset, later."))
        with acting(caller, writing=False):
            # Again: only now does it stand still.
            found.refresh_from_db()
        if found.status == Status.DISCARDED:
            # Opening it made it anew.
            _file_of(found.pk).unlink(missing_ok=True)
        yield found, handle
    finally:
        os.close(handle)


def _file_of(pk: Any) -> Path:
    return Path(settings.UPLOAD_DIR) / str(pk)


def _opened(pk: Any) -> int:
    file = _file_of(pk)
    file.parent.mkdir(parents=True, exist_ok=True)
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _written(file: int, upload: Upload, stream: Readable) -> Iterator[int]:
    """Write what the stream holds; yield each count of bytes that are durable.

    Where reading fails, or there are too many bytes, those before are yielded first.
    """
    received = durable = upload.received
    failure: Exception | None = None
    chunk = b"begin"
    while chunk and failure is None:
        try:
            # One more than may come shows that more would.
            chunk = stream.read(min(_CHUNK, upload.length - received + 1))
        except OSError as error:  # the sender went away
            failure, chunk = error, b""
        if received + len(chunk) > upload.length:
            failure, chunk = _too_long(upload), chunk[: upload.length - received]
        received += len(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(file, rest) :]
        if received - durable >= _DURABLE_EVERY or not chunk or failure is not None:
            os.fdatasync(file)
            durable = received
            yield durable
    if failure is not None:
        raise failure


def _digest(file: int, length: int) -> bytes:
    os.lseek(file, 0, os.SEEK_SET)
    digest = hashlib.sha256()
    while length:
        chunk = os.read(file, min(1 << 20, length))
        if not chunk:
            raise InternalError(_("The upload's bytes are gone. Begin it anew."))
        digest.update(chunk)
        length -= len(chunk)
    return digest.digest()


def _let_go_of_connection() -> None:
    """A slow sender, or a large file, must not keep a connection from the pool."""
    if not connection.in_atomic_block:
        connection.close()
