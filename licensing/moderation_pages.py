"""Pages for whoever reports something, and for whoever a decision is about: no account needed.

The tokens stay in their addresses: the referrer policy is same-origin, and nothing else is linked.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from licensing import moderation, reports
from licensing.models import Report
from marketplace.errors import DomainError, InvalidInput
from marketplace.rate_limits import client_address

# People do not see this field, and leave it empty.
TRAP = "homepage"
_FIELDS = ("target", "ground", "explanation", "location", "name", "email")


@never_cache
@require_http_methods(["GET", "POST"])
def report(request: HttpRequest) -> HttpResponse:
    """Say what is wrong with a listing, a collection or a work."""
    values = {"target": request.GET.get("about", "")[:2_000]}
    error = None
    if request.method == "POST":
        values = {name: request.POST.get(name, "") for name in _FIELDS}
        confirmed = request.POST.get("in_good_faith") == "yes"
        if request.POST.get(TRAP):
            # To a program it looks like success.
            return render(request, "licensing/report.html", {"is_dropped": True})
        try:
            _report, token = reports.make(
                **values, in_good_faith=confirmed, address=client_address(request)
            )
            return redirect("followed-report", token=token)
        except DomainError as refused:
            error = refused
        values["in_good_faith"] = "yes" if confirmed else ""
    context = {
        "values": values,
        "grounds": Report.Ground.choices,
        "lengths": reports.LENGTHS,
        "error": error,
        "param": error.data.get("param") if isinstance(error, InvalidInput) else None,
        "trap": TRAP,
    }
    return render(request, "licensing/report.html", context, status=error.status if error else 200)


@never_cache
@require_http_methods(["GET", "POST"])
def followed(request: HttpRequest, token: str) -> HttpResponse:
    """A receipt: how the report stands, the decision with its reasons, and the appeal."""
    try:
        found = reports.find(token)
        error = None
        if request.method == "POST":
            try:
                moderation.appeal_as_reporter(token, reasons=request.POST.get("reasons", ""))
                return redirect("followed-report", token=token)
            except InvalidInput as refused:
                error = refused
    except DomainError as refused:
        return _refused(request, refused)
    context = _decided(found.decision, found) | {"report": found}
    return _shown(request, "licensing/report_followed.html", context, error)


@never_cache
@require_http_methods(["GET", "POST"])
def statement(request: HttpRequest, token: str) -> HttpResponse:
    """The statement of reasons, for the seller whom a decision is about, and its appeal."""
    try:
        decision = moderation.by_link(token)
        error = None
        if request.method == "POST":
            try:
                moderation.appeal_by_link(token, reasons=request.POST.get("reasons", ""))
                return redirect("statement-of-reasons", token=token)
            except InvalidInput as refused:
                error = refused
    except DomainError as refused:
        return _refused(request, refused)
    return _shown(request, "licensing/statement.html", _decided(decision, None), error)


def _decided(decision: Any, found: Report | None) -> dict[str, Any]:
    if decision is None:
        # Open again, where an appeal before was right.
        return {"decision": None, "appeal": found and moderation.last_appeal(found)}
    appeal = moderation.appeal_of(decision, found)
    return {
        "decision": decision,
        "appeal": appeal,
        "appeal_ends": moderation.appeal_ends(decision, found),
        "can_appeal": appeal is None and moderation.can_be_appealed(decision, found),
    }


def _shown(
    request: HttpRequest, template: str, context: dict[str, Any], error: InvalidInput | None
) -> HttpResponse:
    values = {"reasons": request.POST.get("reasons", "")[:5_000]}
    context = {**context, "error": error, "values": values, "param": error and "reasons"}
    return render(request, template, context, status=error.status if error else 200)


def _refused(request: HttpRequest, error: DomainError) -> HttpResponse:
    return render(request, "marketplace/problem.html", {"error": error}, status=error.status)


urlpatterns = [
    path("report/", report, name="report"),
    path("report/<str:token>", followed, name="followed-report"),
    path("moderation/<str:token>", statement, name="statement-of-reasons"),
]
