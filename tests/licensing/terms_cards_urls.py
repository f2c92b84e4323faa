"""A bare page with the cards in it, and their preview: as the studio includes them."""

from __future__ import annotations

import json

from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.urls import path

from licensing import terms, terms_cards_pages
from licensing.models import Terms
from marketplace import urls
from marketplace.access import acting
from marketplace.admin_parts import own_transactions
from marketplace.tenant_site import studio, the_caller

PAGE = """{% extends "marketplace/base.html" %}{% block title %}New: terms{% endblock %}
{% block main %}<h1>New: terms</h1><form method="post" action="/studio/bare/">{% csrf_token %}
{% include "licensing/terms_cards_form.html" with with_name=True %}
<p><button name="_save" value="1">Save as a draft</button></p></form>{% endblock %}"""


@own_transactions
def bare(request: HttpRequest) -> HttpResponse:
    """The page; a form that was sent becomes a draft, whose text is the answer."""
    caller = the_caller(request)
    form = terms_cards_pages.sent(request)
    if request.method == "POST" and form is not None and form.is_valid():
        return HttpResponse(terms.draft(caller, **form.drafted()).text, content_type="text/plain")
    with acting(caller, writing=False):
        return _page(request)


def _page(request: HttpRequest) -> HttpResponse:
    typed = None
    if request.GET.get("from"):
        named = Terms.objects.visible_to(the_caller(request)).get(pk=request.GET["from"])
        typed = json.loads(named.typed)
    context = terms_cards_pages.context(request, preview_url="/studio/bare/preview/", typed=typed)
    return HttpResponse(Template(PAGE).render(RequestContext(request, context)))


urlpatterns = [
    path("studio/bare/", studio.admin_view(bare)),
    path("studio/bare/preview/", studio.admin_view(terms_cards_pages.preview)),
    *urls.urlpatterns,
]
handler403 = urls.handler403
