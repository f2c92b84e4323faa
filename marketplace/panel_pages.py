"""Pages and files of panels, for whichever admin site hangs them in: see `urls` and `dashboard`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from marketplace import chart_images, charts, panels
from marketplace.access import Caller
from marketplace.errors import NotFound
from marketplace.panels import Panel, Question, Section

View = Callable[..., HttpResponseBase]
CallerOf = Callable[[HttpRequest], Caller | None]

_FORMATS = {"csv": "text/csv; charset=utf-8", "svg": "image/svg+xml", "png": "image/png"}
# An image that is opened by itself runs nothing.
_FILE_POLICY = "default-src 'none'; frame-ancestors 'none'"


def dashboard(
    request: HttpRequest, site: AdminSite, section: Section, caller: Caller | None
) -> dict[str, Any]:
    """What `panels/dashboard.html` reads, for a site's first page: at most six panels.

    Inside the transaction of who looks.
    """
    question = _question(request, caller)
    seen = panels.of(section, caller, first_page=True)
    return {
        "shown_panels": [panels.show(panel, question) for panel in seen],
        "panels_url": _address(site, section),
        "panels_query": _query(request, caller),
    }


def urls(
    site: AdminSite, section: Section, caller_of: CallerOf, *, below: str = ""
) -> list[URLPattern]:
    """The addresses of a section's panels below a site, for its `get_urls`: `below` its own.

    `caller_of` says whose panels a request may see: None on operators' sites alone. Each view runs
    inside `site.admin_view`, and so in the transaction that this opens.
    """

    @require_safe
    def all_of_them(request: HttpRequest) -> HttpResponse:
        caller = caller_of(request)
        question = _question(request, caller)
        found = panels.of(section, caller)
        return _page(request, site, section, caller, _("All figures"), found, question)

    @require_safe
    def one(request: HttpRequest, key: str) -> HttpResponse:
        caller = caller_of(request)
        panel = _find(section, caller, key)
        question = _question(request, caller)
        return _page(request, site, section, caller, panel.title, [panel], question)

    @require_safe
    def file(request: HttpRequest, key: str, format: str) -> HttpResponse:
        caller = caller_of(request)
        if format not in _FORMATS:
            raise Http404
        panel = _find(section, caller, key)
        return _file(panel, _question(request, caller), format, request.GET.get("unit", ""))

    return [
        path(f"{below}panels/", site.admin_view(all_of_them), name=f"{section}-panels"),
        path(f"{below}panels/<slug:key>/", site.admin_view(one), name=f"{section}-panel"),
        path(
            f"{below}panels/<slug:key>.<slug:format>",
            site.admin_view(file),
            name=f"{section}-panel-file",
        ),
    ]


def _find(section: Section, caller: Caller | None, key: str) -> Panel:
    try:
        return panels.find(section, caller, key)
    except NotFound:
        raise Http404 from None


def _question(request: HttpRequest, caller: Caller | None) -> Question:
    if caller is not None:
        return panels.ask(caller)
    return panels.ask(None, livemode=_mode(request) == "live")


def _mode(request: HttpRequest) -> str:
    """Which of the market's two modes an operator looks at: the one that it is run in, at first."""
    asked = request.GET.get("mode", "")
    return asked if asked in {"live", "test"} else "live" if settings.STRIPE_LIVEMODE else "test"


def _query(request: HttpRequest, caller: Caller | None) -> str:
    return "" if caller is not None else f"mode={_mode(request)}"


def _address(site: AdminSite, section: Section) -> str:
    return reverse(f"admin:{section}-panels", current_app=site.name)


def _page(
    request: HttpRequest,
    site: AdminSite,
    section: Section,
    caller: Caller | None,
    title: Any,
    found: list[Panel],
    question: Question,
) -> TemplateResponse:
    request.current_app = site.name
    context = {
        **site.each_context(request),
        "title": title,
        "shown_panels": [panels.show(panel, question) for panel in found],
        "panels_url": _address(site, section),
        "panels_query": _query(request, caller),
        "is_panels_page": True,
        "modes": [] if caller is not None else [("live", _("Live")), ("test", _("Test"))],
        "mode": "" if caller is not None else _mode(request),
    }
    return TemplateResponse(request, "panels/page.html", context)


def _file(panel: Panel, question: Question, format: str, unit: str) -> HttpResponse:
    answer = panel.read(question)
    name = panel.key
    content: bytes
    if format == "csv":
        # With a byte order mark, by which spreadsheets know that it is UTF-8.
        content = panels.csv_text(answer).encode("utf-8-sig")
    else:
        drawn = {chart.unit: chart for chart in panels.drawn(panel, answer)}
        if unit not in drawn:
            raise Http404
        chart = drawn[unit]
        name += f"-{unit.lower()}" if unit else ""
        drawing = panels.file_drawing(chart)
        if format == "png":
            content = chart_images.png(drawing)
        else:
            content = charts.svg(
                drawing, id=name, title=chart.title, description=chart.description, alone=True
            ).encode()
    response = HttpResponse(content, content_type=_FORMATS[format])
    response["Content-Disposition"] = f'attachment; filename="{name}.{format}"'
    response["Content-Security-Policy"] = _FILE_POLICY
    return response
