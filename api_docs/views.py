"""The OpenAPI document, and pages that read it and the guide out. In English, whoever asks."""

from __future__ import annotations

import functools

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers
from django.utils.safestring import SafeString
from django.views.decorators.http import condition, require_safe

from api_docs import guide_pages, prose, reference
from api_docs.refusals import all_kinds


@require_safe
@condition(etag_func=lambda request: reference.served().etag)
def openapi(request: HttpRequest) -> HttpResponse:
    """The OpenAPI 3.1 document of this server, as it is committed."""
    served = reference.served()
    is_packed = "gzip" in request.headers.get("Accept-Encoding", "")
    response = HttpResponse(
        served.packed if is_packed else served.plain, content_type="application/json"
    )
    if is_packed:
        response["Content-Encoding"] = "gzip"
    patch_vary_headers(response, ["Accept-Encoding"])
    response["Cache-Control"] = "public, max-age=300"
    # Tools that run on other sites' pages read it, too.
    response["Access-Control-Allow-Origin"] = "*"
    response["Access-Control-Expose-Headers"] = "ETag"
    return response


@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """Every operation of the API, by noun."""
    return render(request, "api_docs/reference.html", {"content": _overview()})


@require_safe
def tag(request: HttpRequest, name: str) -> HttpResponse:
    """The operations of one noun, each with what it takes and answers."""
    found = next((each for each in reference.tags() if each.name == name), None)
    if found is None:
        raise Http404
    return _page(request, f"{found.title}: API reference", _tag(name))


@require_safe
def schema(request: HttpRequest, name: str) -> HttpResponse:
    """What an object of the API consists of."""
    if name not in reference.schemas():
        raise Http404
    return _page(request, f"{name}: API reference", _schema(name))


@require_safe
def try_it(request: HttpRequest, operation: str = "") -> HttpResponse:
    """A form that sends a request of one operation."""
    name = operation or request.GET.get("operation", "list_listings")
    chosen = reference.by_id().get(name)
    if chosen is None:
        raise Http404
    return render(request, "api_docs/try.html", {"tags": reference.tags(), "operation": chosen})


@require_safe
def guide(request: HttpRequest, name: str = "README") -> HttpResponse:
    """A page of the guide."""
    return _guide(request, f"guide/{name}.md")


@require_safe
def more(request: HttpRequest, path: str) -> HttpResponse:
    """A page that the guide leads to: a format, a specification, a decision."""
    return _guide(request, f"{path}.md")


@require_safe
def errors(request: HttpRequest) -> HttpResponse:
    """Every error code, what it means, and whether trying again may help."""
    # Not the classes: a template would call them, and reads nothing that begins with "_".
    rows = [
        {
            "code": kind.code,
            "status": kind.status,
            "title": kind.title,
            "meaning": kind.__doc__,
            "retryable": kind.retryable,
        }
        for kind in all_kinds()
    ]
    return render(request, "api_docs/errors.html", {"rows": rows})


def _page(request: HttpRequest, title: str, content: SafeString) -> HttpResponse:
    return render(request, "api_docs/page.html", {"title": title, "content": content})


def _guide(request: HttpRequest, path: str) -> HttpResponse:
    page = guide_pages.pages().get(path)
    if page is None:
        raise Http404
    return render(
        request,
        "api_docs/guide.html",
        {
            "title": page.title,
            "page": page,
            "pages": [each for each in guide_pages.pages().values() if each.is_guide],
            "content": guide_pages.html(path),
        },
    )


# What is the same for everybody is made once in each process.


@functools.cache
def _overview() -> SafeString:
    return render_to_string("api_docs/_overview.html", {"tags": reference.tags()})


@functools.cache
def _tag(name: str) -> SafeString:
    [found] = [each for each in reference.tags() if each.name == name]
    return render_to_string("api_docs/_tag.html", {"tag": found, "tags": reference.tags()})


@functools.cache
def _schema(name: str) -> SafeString:
    described = reference.schemas()[name]
    return render_to_string(
        "api_docs/_schema.html",
        {
            "name": name,
            "meaning": prose.html(described.get("description", "")),
            "variants": reference.variants(described),
            "fields": reference.fields_of(described),
        },
    )
