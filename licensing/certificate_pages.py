"""Pages of certificates for a license's parties, and of its verification for anybody."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponsePermanentRedirect,
    HttpResponseRedirect,
)
from django.shortcuts import render
from django.urls import path
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from licensing import (
    certificate_pdf,
    certificate_qr,
    certificate_words,
    certificates,
    status_proofs,
    verifications,
)
from licensing.certificates import Certificate
from licensing.verifications import RECEIPT_MAX, Checked, Found
from marketplace.access import Scope
from marketplace.authentication import signed_in
from marketplace.errors import NotFound
from marketplace.models import User

# What a form adds to the file that it brings.
_FORM_MAX = RECEIPT_MAX + 8 * 1024

# --- for the parties --------------------------------------------------------------------------


@never_cache
@login_required
@require_safe
def certificate(request: HttpRequest, id: str) -> HttpResponse:
    """A license's certificate, for the members of either party."""
    found = _own(request, id)
    if found is None:
        return _pending(request, id)
    context = {
        "certificate": found,
        "stand": certificate_words.stand(found.state),
        "banner": certificate_words.banner(found.livemode),
        "sections": certificate_words.sections(found),
        "with_price": _with_price(request),
        **_qr(found.verify_url),
    }
    return render(request, "licensing/certificate.html", context)


@never_cache
@login_required
@require_safe
def certificate_file(request: HttpRequest, id: str) -> HttpResponse:
    """The same as a PDF."""
    found = _own(request, id)
    return _pending(request, id) if found is None else pdf_file(found)


def pdf_file(of: Certificate) -> HttpResponse:
    """A certificate's PDF as an answer; the API gives the same."""
    return HttpResponse(
        certificate_pdf.render(of),
        content_type=certificate_pdf.MEDIA_TYPE,
        headers={
            "Content-Disposition": f'attachment; filename="{of.id}.pdf"',
            "Cache-Control": "private, no-store",
        },
    )


def _own(request: HttpRequest, id: str) -> Certificate | None:
    """The certificate as the first of the member's organizations sees it that is a party.

    In both modes: a page only shows what a party has; what changes live rows takes a key.
    """
    assert isinstance(request.user, User)
    me = signed_in(request.user)
    for membership in me.memberships:
        caller = me.caller(str(membership.organization_id))
        if caller is None or not caller.may(Scope.GRANTS_READ):
            continue
        for livemode in (True, False):
            try:
                return certificates.of(
                    dataclasses.replace(caller, livemode=livemode),
                    id,
                    with_price=_with_price(request),
                )
            except NotFound:
                continue
    raise Http404


def _with_price(request: HttpRequest) -> bool:
    return request.GET.get("price") != "hide"


def _pending(request: HttpRequest, id: str) -> HttpResponse:
    answer = render(request, "licensing/certificate_pending.html", {"id": id}, status=202)
    answer["Retry-After"] = "1"
    return answer


def _qr(url: str) -> dict[str, Any]:
    return {"qr_path": certificate_qr.svg_path(url), "qr_width": certificate_qr.width(url)}


# --- for anybody ------------------------------------------------------------------------------


# It changes nothing: there is nothing that another site could forge. And Django's check would read
# the whole body before its size is known.
@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def verify(request: HttpRequest, ref: str = "") -> HttpResponse:
    """What the log says of a license by its reference, and of a receipt that somebody brings."""
    asked = request.GET.get("ref", "").strip() if not ref else ""
    if asked:
        return HttpResponseRedirect(f"/verify/{_path_part(asked)}")
    if ref != ref.lower():
        return HttpResponsePermanentRedirect(f"/verify/{_path_part(ref.lower())}")
    found = verifications.find(ref) if ref else None
    context = {"ref": ref, "found": found, **_about(found)}
    if ref and found is None:
        return render(request, "licensing/verify.html", context, status=404)
    if request.method == "POST":
        return _checked(request, context)
    return render(request, "licensing/verify.html", context)


@never_cache
@require_safe
def status_proof(request: HttpRequest, ref: str) -> HttpResponse:
    """The file that proves how a license stands: of hashes alone, and so for anybody."""
    found = verifications.find(ref)
    data = None if found is None else verifications.status_proof(found)
    if data is None:
        raise Http404
    name = f"{ref}{status_proofs.FILE_SUFFIX}"
    return HttpResponse(
        data,
        content_type=status_proofs.MEDIA_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _checked(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """The page with what the offline verifier says of the file. The file is kept nowhere."""
    if _length(request) > _FORM_MAX:
        # Before anything of the body is read.
        return _refused(request, context, _too_large(), 413)
    # In memory only: Django's other handler writes what is larger to the disk.
    request.upload_handlers = [MemoryFileUploadHandler(request)]
    given = request.FILES.get("receipt")
    if given is None:
        return _refused(request, context, _("Choose a receipt file."), 422)
    data = given.read(RECEIPT_MAX + 1)
    if len(data) > RECEIPT_MAX:
        return _refused(request, context, _too_large(), 413)
    checked = verifications.check(data)
    context |= {"checked": checked, "is_other": _is_other(checked, context["ref"])}
    return render(
        request, "licensing/verify.html", context, status=200 if checked.is_sound else 422
    )


def _is_other(checked: Checked, ref: str) -> bool:
    """Whether a sound receipt is of something else than the license of this page."""
    return bool(ref) and checked.is_sound and checked.grant_ref != ref


def _length(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def _too_large() -> str:
    return _("A receipt has at most %(max)s KiB here. Check larger ones offline.") % {
        "max": RECEIPT_MAX // 1024
    }


def _refused(
    request: HttpRequest, context: dict[str, Any], error: str, status: int
) -> HttpResponse:
    return render(request, "licensing/verify.html", {**context, "error": error}, status=status)


def _path_part(text: str) -> str:
    """A reference as somebody typed it; what is none becomes one that nobody has."""
    shown = text.lower()
    return shown if shown.isalnum() and shown.isascii() and len(shown) <= 64 else "unknown"


def _about(found: Found | None) -> dict[str, Any]:
    if found is None:
        return {"max_kib": RECEIPT_MAX // 1024}
    state = found.state
    return {
        "max_kib": RECEIPT_MAX // 1024,
        "banner": certificate_words.banner(not found.is_test),
        "recorded_at": certificate_words.instant(found.at),
        "stands": "" if state is None else certificate_words.as_of(state.state, state.as_of),
        "is_in_force": state is not None and state.state == "active",
        "commands": _commands(found),
    }


def _commands(found: Found) -> str:
    """How to check all of it without this page."""
    site = settings.BASE_URL
    log = f"{site}/ledger/{found.generation}"
    test = " --allow-test" if found.is_test else ""
    lines = [
        f"curl -fsS {log}/vkey > ledger.vkey",
        f"curl -fsS {site}/verify/{found.grant_ref}/status-proof > status.json",
        "python3 -I licet-offline.pyz verify RECEIPT --key ledger.vkey --status status.json"
        f" --log {log}{test}",
        f"python3 -I licet-offline.pyz audit {log} --key ledger.vkey",
    ]
    return "\n".join(lines)


urlpatterns = [
    path("certificates/<str:id>.pdf", certificate_file, name="certificate-pdf"),
    path("certificates/<str:id>", certificate, name="certificate"),
    path("verify/", verify, name="verify-receipt"),
    path("verify/<str:ref>", verify, name="verify"),
    path("verify/<str:ref>/status-proof", status_proof, name="verify-status-proof"),
]
