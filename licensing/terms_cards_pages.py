"""The cards as pages show them: a fragment for “New: terms”, and its preview.

A host page puts `context(request, …)` into its own, includes `licensing/terms_cards_form.html` in
its form, and drafts what `CardsForm.drafted` says. Nothing here reads a table or writes one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from licensing import (
    terms_cards,
    terms_presets,
    terms_questions,
    terms_sentence,
    terms_text,
    terms_warnings,
    typed_terms,
)
from licensing.terms_cards import Answers, Beyond, Inexpressible
from licensing.terms_cards_form import CardsForm, initial_of
from licensing.terms_presets import Anchor, Preset
from licensing.terms_questions import Row
from licensing.terms_warnings import Collection, Remark
from marketplace.errors import InvalidInput
from marketplace.tenant_site import studio, the_caller

# Apart from the ids of a host's own fields.
_IDS = "terms_%s"
# The script says with it that it takes the preview alone.
SCRIPT_HEADER = "X-Terms-Preview"


@dataclass(frozen=True, slots=True)
class Preview:
    """What answers come to. Where they are refused or incomplete, there is no table and no text."""

    sentences: list[str]
    remarks: list[Remark]
    rows: list[Row]
    text: str
    typed: str
    anchors: tuple[Anchor, ...]


def previewed(given: Answers, *, name: str = "", collection: Collection | None = None) -> Preview:
    """What answers come to: sentences, warnings, a buyer's questions, the contract's words."""
    remarks = terms_warnings.of_answers(given, collection)
    anchors = terms_presets.find(given.content).anchors
    sentences = terms_sentence.sentences(given)
    typed = terms_cards.terms(given)
    try:
        checked = typed_terms.parse(typed)
    except InvalidInput:
        # The remarks say what is refused, and at which card.
        return Preview(sentences if not given.uses else [], remarks, [], "", "", anchors)
    return Preview(
        sentences,
        remarks,
        terms_questions.rows(checked),
        terms_text.render(typed, name=name or _("Draft"), version=1),
        json.dumps(typed, indent=2, ensure_ascii=False),
        anchors,
    )


def context(
    request: HttpRequest,
    *,
    preview_url: str,
    typed: Mapping[str, Any] | None = None,
    price: Mapping[str, Any] | None = None,
    currency: str = "USD",
    collection: Collection | None = None,
) -> dict[str, Any]:
    """What `licensing/terms_cards_form.html` reads, for a host page or for the preview's own.

    `preview_url` is where `preview` is registered.
    Begins with what was sent; else with `?preset=photos`; else with `typed`, checked terms (and an
    offer's price and currency) to begin with; else with the first preset. What the cards cannot
    say of `typed` is told above them.
    """
    beyond: tuple[Beyond, ...] = ()
    preset = _preset(request)
    given = preset.answers
    if typed is not None and "preset" not in request.GET:
        found = terms_cards.answers(typed, price=price, currency=currency)
        if isinstance(found, Inexpressible):
            beyond = found.clauses
            given = found.closest or given
        else:
            given = found
    form = sent(request) or CardsForm(initial=initial_of(given), auto_id=_IDS)
    if form.is_bound:
        beyond, preview = (), None
        if form.is_valid():
            given = form.answers
            preview = previewed(given, name=form.cleaned_data["name"], collection=collection)
    else:
        preview = previewed(given, collection=collection)
    return {
        "cards_form": form,
        "cards": form.cards(),
        "beyond": beyond,
        "presets": terms_presets.presets(),
        "preset": given.content,
        "preview": preview,
        "preview_url": preview_url,
    }


def sent(request: HttpRequest) -> CardsForm | None:
    """The cards as they were sent, by a form or in the address; None: none was."""
    data = request.POST if request.method == "POST" else request.GET
    return CardsForm(data, auto_id=_IDS) if "content" in data else None


def _preset(request: HttpRequest) -> Preset:
    try:
        return terms_presets.find(request.GET.get("preset", ""))
    except InvalidInput:
        return terms_presets.presets()[0]


def preview(request: HttpRequest) -> HttpResponse:
    """The preview of what was sent. To the script its region alone; else the whole page again.

    For members of an organization: it stands inside `studio.admin_view`, and asks by itself, too.
    """
    the_caller(request)
    shown = context(request, preview_url=request.path)
    if SCRIPT_HEADER in request.headers:
        return TemplateResponse(request, "licensing/terms_cards_preview.html", shown)
    request.current_app = studio.name
    return TemplateResponse(
        request,
        "licensing/terms_cards_page.html",
        {
            **studio.each_context(request),
            **shown,
            "title": _("New: terms"),
            "save_url": reverse("admin:licensing_terms_add", current_app=studio.name),
            "with_name": True,
        },
    )
