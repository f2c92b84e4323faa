"""Pages that bring files in: choose and send, say what columns mean, watch, correct, go on.

A site hooks them in by `patterns(bind)`: `bind(view)` makes a view of Django's of one that takes
the request and its caller, behind whatever wall the site has, outside any transaction. It may set
`request.frame`, a function that returns what the site's own base template needs.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from marketplace import (
    croissant,
    excerpts,
    imports,
    previews,
    sent_forms,
    sharing,
    uploads,
    works,
)
from marketplace.access import Caller, Scope, acting
from marketplace.errors import (
    DomainError,
    IdempotencyInFlight,
    InvalidInput,
    NotFound,
    WorkRefused,
)
from marketplace.imports import queue
from marketplace.imports.corrections import rejected_rows
from marketplace.imports.templates import Columns
from marketplace.models import Collection, Excerpt, ImportJob, Upload

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, Caller, P], HttpResponseBase]
# What a form without a script may bring in.
PLAIN_LENGTH_MAX = 10 << 20
# A piece of an upload: what a lost connection costs at most, and what fits a slow one.
PIECE_LENGTH = 4 << 20
_NAME_LENGTH_MAX = 500
# What a person may say of all rows at once.
CONSTANTS = ("language", "media_type", "contributor", "revision")
LABELS = {
    "external_id": gettext_lazy("Your own id"),
    "sha256": gettext_lazy("SHA-256 of the bytes"),
    "length": gettext_lazy("Length in bytes"),
    "media_type": gettext_lazy("Media type"),
    "title": gettext_lazy("Title"),
    "source_url": gettext_lazy("Address"),
    "language": gettext_lazy("Language"),
    "revision": gettext_lazy("Revision"),
    "contributor": gettext_lazy("Contributor: your id of them"),
    "contributor_name": gettext_lazy("Contributor: name"),
    "contributor_email": gettext_lazy("Contributor: email"),
    "consent": gettext_lazy("Contributor: consent"),
    "text_nfc_lf_v1": gettext_lazy("SHA-256 of normalized text"),
    "identifier_url": gettext_lazy("Further address"),
    "iscc": "ISCC",
    "isbn": "ISBN",
    "isrc": "ISRC",
    "pages": gettext_lazy("Pages"),
    "pixels": gettext_lazy("Pixels"),
    "seconds": gettext_lazy("Seconds"),
    "tokens": gettext_lazy("Tokens"),
    "words": gettext_lazy("Words"),
    "megapixels": gettext_lazy("Megapixels"),
    "minutes": gettext_lazy("Minutes"),
}
# What a person does after an import, for whoever knows it to say: its words and its address.
NEXT: list[Callable[[Caller, Collection], tuple[str, str] | None]] = []
# Python's own table only, as for folders of the server.
_MEDIA_TYPES = mimetypes.MimeTypes(filenames=())


def patterns(bind: Callable[[Any], Any]) -> list[URLPattern]:
    """The addresses of these pages, for a site to include."""
    new = "collections/<str:collection>/files/"
    job = "imports/<str:job>/"
    views: list[tuple[str, View[...], str]] = [
        (new, choose, "import-files"),
        (f"{new}begin/", begin, "import-begin"),
        (f"{new}folder/", folder, "import-folder"),
        (f"{new}host/", host, "import-host"),
        (f"{new}<str:upload>/", columns, "import-columns"),
        (f"{job}progress/", progress, "import-progress"),
        (f"{job}fragment/", fragment, "import-fragment"),
        (f"{job}cancel/", cancel, "import-cancel"),
        (f"{job}resume/", resume, "import-resume"),
        (f"{job}report.csv", report, "import-report"),
        (f"{job}rejected-rows.csv", rows, "import-rows"),
        ("works/<str:work>/excerpt/", excerpt, "work-excerpt"),
    ]
    return [path(route, bind(view), name=name) for route, view, name in views]


def page(scope: Scope) -> Callable[[View[P]], View[P]]:
    """Mark a page: it needs a scope, opens its own transactions, and is never kept by a cache.

    What is not the caller's, or not there, is one 404.
    """

    def marked(view: View[P]) -> View[P]:
        @wraps(view)
        def checked(
            request: HttpRequest, caller: Caller, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponseBase:
            # Of a shared collection, the verb decides.
            if not caller.may(scope) and not caller.has_shares:
                raise PermissionDenied
            try:
                return never_cache(view)(request, caller, *args, **kwargs)
            except NotFound:
                raise Http404 from None

        checked.own_transactions = True  # type: ignore[attr-defined]
        return cast(View[P], checked)

    return marked


# --- a table ----------------------------------------------------------------------------------


@page(Scope.WORKS_WRITE)
@require_http_methods(["GET", "POST"])
def choose(request: HttpRequest, caller: Caller, collection: str) -> HttpResponseBase:
    """Choose a file: sent in pieces by the script, or, up to 10 MiB, by the form itself."""
    found = _collection(caller, collection)
    context: dict[str, Any] = {"title": _("Bring in works from a file"), "collection": found}
    if request.method == "POST":
        try:
            upload = _taken(caller, request.FILES.get("file"))
            return HttpResponseRedirect(_url(request, "import-columns", collection, upload))
        except DomainError as error:
            context |= {"error": error, "status": error.status}
    context |= {
        "begin_url": _url(request, "import-begin", collection),
        "folder_url": _url(request, "import-folder", collection),
        "again": _corrected(request, caller),
        **_limits(caller),
    }
    return _shown(request, caller, "imports/_choose.html", context)


@page(Scope.WORKS_WRITE)
@require_POST
def begin(request: HttpRequest, caller: Caller, collection: str) -> HttpResponseBase:
    """Begin an upload for the script, or refuse it, before its first byte is sent."""
    _collection(caller, collection)
    try:
        length = _number(request.POST.get("length", ""))
        _check_length(length)
        row = uploads.begin(caller, length=length, name=_name(request.POST.get("name", "")))
    except DomainError as error:
        return JsonResponse({"error": str(error.detail)}, status=error.status)
    return JsonResponse(
        {
            "upload": str(row.pk),
            "url": reverse("upload", args=[row.pk]),
            "next": _url(request, "import-columns", collection, row.pk),
        },
        status=201,
    )


@page(Scope.WORKS_WRITE)
@require_http_methods(["GET", "POST"])
def columns(request: HttpRequest, caller: Caller, collection: str, upload: str) -> HttpResponseBase:
    """Say what the file's columns mean, see what would come of it, and have it imported."""
    editor = sharing.editor(caller, collection)
    found = _collection(caller, collection)
    error: DomainError | None = None
    try:
        file = uploads.path(caller, upload)
        seen = previews.make(editor, file=file, collection=collection)
        if request.method == "POST" and seen.look.header:
            mapping = _mapping(request, seen)
            seen = previews.make(editor, file=file, collection=collection, mapping=mapping)
        if request.method == "POST" and "run" in request.POST and seen.can_run:
            return HttpResponseRedirect(_asked(request, caller, collection, upload, seen))
    except (InvalidInput, IdempotencyInFlight) as refused:
        error = refused
    context = {
        "title": _("What the columns mean"),
        "collection": found,
        "preview": seen,
        "error": error,
        "status": 422 if error else 200,
        "columns": _choices(request, seen),
        "constants": [
            (f"constant.{name}", LABELS[name], seen.mapping.constants.get(name, ""))
            for name in CONSTANTS
        ],
        "missing": [LABELS[name] for name in seen.missing],
        "files_url": _url(request, "import-files", collection),
        "form_token": sent_forms.token(),
    }
    return _shown(request, caller, "imports/_columns.html", context)


def _asked(
    request: HttpRequest, caller: Caller, collection: str, upload: str, seen: previews.Preview
) -> str:
    """Have the import begun, and say where it is seen. The same form again finds it."""

    def run(who: Caller) -> ImportJob:
        return _run(who, sharing.editor(who, collection), collection, upload, seen)

    def watch(job: str) -> str:
        return _url(request, "import-progress", job)

    if not sent_forms.has_token(request):
        return watch(str(run(caller).pk))
    sent = sent_forms.once(request, caller, run, watch)
    if sent.is_repeat:
        messages.info(request, _("You sent this form before. This is its import."))
    return sent.url


def _run(
    caller: Caller, editor: Caller, collection: str, upload: str, seen: previews.Preview
) -> ImportJob:
    if seen.look.kind == "croissant":
        return croissant.bring_in(editor, collection, uploads.path(caller, upload))
    header = previews.own_header(seen.look.header)
    return queue.ask(
        editor,
        collection,
        reader=caller,
        upload=upload,
        format=seen.look.kind,
        header=header,
        **previews.said(seen.mapping, header),
    )


def _mapping(request: HttpRequest, seen: previews.Preview) -> Columns:
    """What the form says: a field for each column, "" for none; and constants."""
    fields: dict[str, str] = {}
    for n, column in enumerate(seen.columns):
        chosen = request.POST.get(f"column.{n}", "")
        if chosen in fields:
            raise InvalidInput(
                _("“%(one)s” and “%(other)s” cannot both be “%(field)s”.")
                % {
                    "one": fields[chosen],
                    "other": column.name,
                    "field": LABELS.get(chosen, chosen),
                },
                param="columns",
            )
        if chosen:
            fields[chosen] = column.name
    constants = {
        name: text
        for name in CONSTANTS
        if name not in fields and (text := request.POST.get(f"constant.{name}", "").strip())
    }
    return Columns(fields, constants)


def _choices(request: HttpRequest, seen: previews.Preview) -> list[dict[str, Any]]:
    asked = request.method == "POST"
    return [
        {
            "column": column,
            "name": f"column.{n}",
            "options": [
                (name, label, name == (request.POST.get(f"column.{n}") if asked else column.field))
                for name, label in LABELS.items()
            ],
        }
        for n, column in enumerate(seen.columns)
    ]


# --- its import -------------------------------------------------------------------------------


@page(Scope.WORKS_READ)
@require_GET
def progress(request: HttpRequest, caller: Caller, job: str) -> HttpResponseBase:
    """Watch an import; it goes on without anybody who watches."""
    context = _progress(request, caller, job)
    return _shown(request, caller, "imports/_watch.html", context)


@page(Scope.WORKS_READ)
@require_GET
def fragment(request: HttpRequest, caller: Caller, job: str) -> HttpResponseBase:
    """The part of that page which changes, for the script."""
    context = _progress(request, caller, job)
    return render(request, "imports/_progress.html", context)


@page(Scope.WORKS_WRITE)
@require_POST
def cancel(request: HttpRequest, caller: Caller, job: str) -> HttpResponseBase:
    return _done(request, caller, job, queue.cancel)


@page(Scope.WORKS_WRITE)
@require_POST
def resume(request: HttpRequest, caller: Caller, job: str) -> HttpResponseBase:
    return _done(request, caller, job, queue.resume)


@page(Scope.WORKS_READ)
@require_GET
def report(request: HttpRequest, caller: Caller, job: str) -> HttpResponseBase:
    """Each line that did not come in, with its reason."""
    return _csv(imports.rejections_csv(caller, job), f"{job}-rejections.csv")


@page(Scope.WORKS_READ)
@require_GET
def rows(request: HttpRequest, caller: Caller, job: str) -> HttpResponseBase:
    """The rejected rows themselves, to correct and to send again."""
    try:
        return _csv(rejected_rows(caller, job), f"{job}-rejected-rows.csv")
    except NotFound:
        raise
    except DomainError as error:
        context = {**_progress(request, caller, job), "error": error, "status": error.status}
        return _shown(request, caller, "imports/_watch.html", context)


def _done(
    request: HttpRequest, caller: Caller, job: str, verb: Callable[[Caller, str], Any]
) -> HttpResponseBase:
    try:
        verb(caller, job)
    except NotFound:
        raise
    except DomainError as error:
        context = {**_progress(request, caller, job), "error": error, "status": error.status}
        return _shown(request, caller, "imports/_watch.html", context)
    return HttpResponseRedirect(_url(request, "import-progress", job))


def _progress(request: HttpRequest, caller: Caller, id: str) -> dict[str, Any]:
    with acting(caller, writing=False):
        job = ImportJob.objects.select_related("collection").get_visible(caller, id)
        onward = _onward(request, caller, job)
    is_open = job.status in {ImportJob.Status.QUEUED, ImportJob.Status.RUNNING}
    return {
        "title": _("Import into “%(name)s”") % {"name": job.collection.name},
        "job": job,
        "is_open": is_open,
        "onward": onward,
        "may_write": caller.may(Scope.WORKS_WRITE),
        **_pace(job),
        "fragment_url": _url(request, "import-fragment", id),
        "cancel_url": _url(request, "import-cancel", id),
        "resume_url": _url(request, "import-resume", id) if job.upload else "",
        "report_url": _url(request, "import-report", id),
        "rows_url": _url(request, "import-rows", id) if job.format == "csv" and job.upload else "",
        "again_url": f"{_url(request, 'import-files', job.collection.pk)}?again={id}",
    }


def _onward(request: HttpRequest, caller: Caller, job: ImportJob) -> tuple[str, str] | None:
    """What comes next, once works are there; only a site with a frame has pages for it."""
    is_there = job.status == ImportJob.Status.FINISHED and (job.imported or job.repeated)
    if not is_there or not hasattr(request, "frame"):
        return None
    return next(filter(None, (one(caller, job.collection) for one in NEXT)), None)


def _pace(job: ImportJob) -> dict[str, Any]:
    """How far, how fast, and how long still, by the bytes of the file and this worker's time."""
    percent = None
    if job.source_length:
        percent = min(100, 100 * job.source_read // job.source_length)
    rate = left = None
    if job.status == ImportJob.Status.RUNNING and job.taken_up_at is not None:
        seconds = (timezone.now() - job.taken_up_at).total_seconds()
        new = job.rows - job.taken_up_rows
        if new > 0 and seconds > 0 and job.source_read:
            rate = new / seconds
            total = job.rows * (job.source_length or 0) / job.source_read
            left = max(0, round((total - job.rows) / rate))
    return {"percent": percent, "rate": rate and round(rate), "left": left}


# --- files as works ---------------------------------------------------------------------------


@page(Scope.WORKS_WRITE)
@require_http_methods(["GET", "POST"])
def folder(request: HttpRequest, caller: Caller, collection: str) -> HttpResponseBase:
    """Send files, each of which becomes a hosted work: a folder by the script, few by the form."""
    found = _own_collection(caller, collection)
    context: dict[str, Any] = {"title": _("Bring in a folder of files"), "collection": found}
    if request.method == "POST":
        try:
            context |= _hosted(caller, collection, request.FILES.getlist("file"))
        except DomainError as error:
            context |= {"error": error, "status": error.status}
    context |= {
        "begin_url": _url(request, "import-begin", collection),
        "host_url": _url(request, "import-host", collection),
        "files_url": _url(request, "import-files", collection),
        **_limits(caller),
    }
    return _shown(request, caller, "imports/_folder.html", context)


@page(Scope.WORKS_WRITE)
@require_POST
def host(request: HttpRequest, caller: Caller, collection: str) -> HttpResponseBase:
    """Make a finished upload a work, for the script; 422 says why not."""
    _own_collection(caller, collection)
    name = _name(request.POST.get("name", ""))
    try:
        _host(caller, collection, request.POST.get("upload", ""), name)
    except NotFound:
        raise
    except DomainError as error:
        # A script whose connection broke asks again for what was done.
        if not _is_hosted(caller, collection, request.POST.get("upload", ""), name):
            return JsonResponse({"error": str(error.detail)}, status=error.status)
    return JsonResponse({"name": name}, status=201)


def _hosted(caller: Caller, collection: str, files: list[Any]) -> dict[str, Any]:
    if not files:
        raise InvalidInput(_("Choose a file first."), param="file")
    if sum(file.size for file in files) > PLAIN_LENGTH_MAX:
        raise _too_large(PLAIN_LENGTH_MAX)
    came, refused = 0, []
    for file in files:
        try:
            _host(caller, collection, _taken(caller, file), _name(file.name))
            came += 1
        except (InvalidInput, WorkRefused) as error:
            refused.append((_name(file.name), str(error.detail)))
    return {"came": came, "refused": refused}


def _host(caller: Caller, collection: str, upload: Any, name: str) -> None:
    title = name.rpartition("/")[2]
    try:
        uploads.host(
            caller,
            collection,
            upload=upload,
            external_id=name or str(upload),
            media_type=_media_type(title),
            title=title,
        )
    except WorkRefused:
        # Who sends a folder again sends the bytes again: these would fill the room for a week.
        uploads.discard(caller, upload)
        raise
    # Nothing reads it any more: the work has the bytes under their digest.
    uploads.discard(caller, upload)


def _is_hosted(caller: Caller, collection: str, upload: Any, name: str) -> bool:
    with acting(caller, writing=False):
        digest = Upload.objects.get_visible(caller, upload).digest
        found = works.in_collection(caller, collection).filter(external_id=name)
        return found.filter(representations__digest=digest).exists()


def _media_type(name: str) -> str:
    kind, encoding = _MEDIA_TYPES.guess_type(f"./{name}")
    return kind if kind and not encoding else "application/octet-stream"


@page(Scope.WORKS_READ)
@require_GET
def excerpt(request: HttpRequest, caller: Caller, work: str) -> HttpResponseBase:
    """What there is to see of one of the caller's own works; 404 where there is nothing."""
    made = excerpts.of(caller, work)
    is_picture = made.kind == Excerpt.Kind.PICTURE
    return HttpResponse(
        bytes(made.content or b""),
        headers={
            "Content-Type": "image/png" if is_picture else "text/plain; charset=utf-8",
            # Made of other people's bytes: no browser may take it for anything else.
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cross-Origin-Resource-Policy": "same-origin",
        },
    )


# --- what these pages share -------------------------------------------------------------------


def _collection(caller: Caller, id: str) -> Collection:
    """A collection that the caller may bring works into. Raises NotFound."""
    with acting(caller, writing=False):
        return Collection.objects.editable_by(caller).get_visible(caller, id)


def _own_collection(caller: Caller, id: str) -> Collection:
    with acting(caller, writing=False):
        return Collection.objects.owned_by(caller).get_visible(caller, id)


def _taken(caller: Caller, file: Any) -> Any:
    """A file that a form sent, as a finished upload's id."""
    if file is None:
        raise InvalidInput(_("Choose a file first."), param="file")
    if file.size > PLAIN_LENGTH_MAX:
        raise _too_large(PLAIN_LENGTH_MAX)
    row = uploads.begin(caller, length=file.size, name=_name(file.name))
    uploads.append(caller, row.pk, 0, file)
    return uploads.finish(caller, row.pk).pk


def _limits(caller: Caller) -> dict[str, Any]:
    most = _length_max()
    return {
        "organization": str(caller.organization.pk),
        "length_max": most,
        "too_large": str(_too_large(most).detail),
        "piece_length": PIECE_LENGTH,
        "plain_max_mib": PLAIN_LENGTH_MAX >> 20,
    }


def _length_max() -> int:
    return int(min(settings.BROWSER_UPLOAD_LENGTH_MAX, settings.UPLOAD_LENGTH_MAX))


def _check_length(length: int) -> None:
    if length > _length_max():
        raise _too_large(_length_max())


def _too_large(most: int) -> InvalidInput:
    unit, name = (1 << 30, "GiB") if most >= 1 << 30 else (1 << 20, "MiB")
    return InvalidInput(
        _("The file is larger than %(max)s %(unit)s. Split it, or send it through the API.")
        % {"max": most // unit, "unit": name},
        param="file",
    )


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise InvalidInput(_("Say how long the file is, in bytes."), param="length")
    return int(text)


def _name(text: str) -> str:
    return "".join(one for one in text if one.isprintable())[:_NAME_LENGTH_MAX]


def _corrected(request: HttpRequest, caller: Caller) -> dict[str, Any] | None:
    """The import whose rejected rows are to be tried again, if the address names one."""
    id = request.GET.get("again", "")
    if not id:
        return None
    with acting(caller, writing=False):
        job = ImportJob.objects.get_visible(caller, id)
    is_csv = job.format == "csv" and job.upload
    return {"job": job, "rows_url": _url(request, "import-rows", id) if is_csv else ""}


def _csv(lines: Any, name: str) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["X-Content-Type-Options"] = "nosniff"
    return answer


def _url(request: HttpRequest, name: str, *arguments: Any) -> str:
    """The address of another of these pages, in the site that this one stands in."""
    match = request.resolver_match
    space = match.namespace if match is not None else ""
    return reverse(f"{space}:{name}" if space else name, args=[str(one) for one in arguments])


def _shown(
    request: HttpRequest, caller: Caller, body: str, context: dict[str, Any]
) -> HttpResponse:
    with acting(caller, writing=False):
        frame: Callable[[], dict[str, Any]] = getattr(request, "frame", dict)
        whole = {"base_template": "marketplace/base.html", **frame(), **context, "body": body}
        return render(request, "imports/page.html", whole, status=context.get("status", 200))
