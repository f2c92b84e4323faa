"""“May we …?” of one license held, or of all: a form, answered by the engine that the API asks.

Nothing is written, as the API writes nothing: the address holds the question, and asks it anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, time
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from licensing import (
    clauses,
    decision_requests,
    decision_words,
    terms_text,
    use_labels,
    vocabulary,
    windows,
)
from licensing.asked_models import NAME_LENGTH_MAX, VERSION_LENGTH_MAX
from licensing.clauses import Question
from licensing.decisions import Answer, Decision
from licensing.models import HeldGrant, Period
from licensing.vocabulary import Use, Window
from marketplace.access import Caller, Scope, acting
from marketplace.errors import DomainError, NotFound
from marketplace.tenant_forms import VerbForm
from marketplace.tenant_pages import find, own
from marketplace.tenant_site import Link, Section, studio

# A work by its bytes; what else is given is the licensor's own id.
_DIGEST = re.compile(r"\A[0-9a-fA-F]{64}\Z")
# Days that are no slip of a finger, and that every time zone can write.
_YEARS = range(1970, 3000)

FIELDS = {
    "commercial": gettext_lazy("Business"),
    "non_commercial": gettext_lazy("Work without profit"),
    "education": gettext_lazy("Teaching"),
    "government": gettext_lazy("Public office"),
    "personal": gettext_lazy("Private life"),
}
SECTORS = {
    clauses.NONE: gettext_lazy("None of these"),
    "ads_targeting": gettext_lazy("Aiming ads at people"),
    "surveillance": gettext_lazy("Watching people"),
    "law_enforcement": gettext_lazy("The police and the like"),
    "competitor_product": gettext_lazy("A product that competes with the licensor"),
    "credit_insurance": gettext_lazy("Judging people for credit or insurance"),
    "military": gettext_lazy("Armed forces"),
}
LINEAGES = {
    clauses.NONE: gettext_lazy("Nothing of these"),
    "finetune_of": gettext_lazy("A fine-tune of another model"),
    "distilled_from": gettext_lazy("A model that another model taught"),
    "merged_from": gettext_lazy("A merge with other models"),
    "synthetic_from": gettext_lazy("Trained on data that a model made"),
    "embedding_of": gettext_lazy("Embeddings that a model made"),
}


class QuestionForm(VerbForm):
    """A question about one license. The row is the license.

    Every question has the first fields; the others are shown once the answer depends on them.
    """

    FIRST: ClassVar = ("use", "territory", "on", "work")
    # What says more about each dimension that an answer may depend on.
    MORE: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "model": ("model_name", "model_version", "model_family"),
        "availability": ("availability",),
        "release": ("release",),
        "field": ("field",),
        "sector": ("sector",),
        "lineage": ("lineage",),
    }
    params: ClassVar[dict[str, str]] = {"works": "work", "external_ids": "work"}

    use = forms.ChoiceField(label=gettext_lazy("May we …"))
    territory = forms.ChoiceField(label=gettext_lazy("Where does it happen?"), required=False)
    on = forms.DateField(
        label=gettext_lazy("When?"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=gettext_lazy("A day, from its midnight on. Empty: now."),
    )
    work = forms.CharField(
        label=gettext_lazy("With which work?"),
        required=False,
        max_length=1_000,
        help_text=gettext_lazy(
            "Its SHA-256, or the licensor’s own id. Empty: with anything of the license."
        ),
    )
    model_name = forms.CharField(
        label=gettext_lazy("For which model?"), required=False, max_length=NAME_LENGTH_MAX
    )
    model_version = forms.CharField(
        label=gettext_lazy("Its version"), required=False, max_length=VERSION_LENGTH_MAX
    )
    model_family = forms.CharField(
        label=gettext_lazy("Its family"), required=False, max_length=NAME_LENGTH_MAX
    )
    release = forms.ChoiceField(label=gettext_lazy("How is the model released?"), required=False)
    availability = forms.ChoiceField(
        label=gettext_lazy("Where is what was made offered?"), required=False
    )
    field = forms.ChoiceField(label=gettext_lazy("Whom does it serve?"), required=False)
    sector = forms.ChoiceField(label=gettext_lazy("What is the product for?"), required=False)
    lineage = forms.ChoiceField(
        label=gettext_lazy("What is the model to another model?"), required=False
    )

    def prepare(self) -> None:
        self._choose("use", dict(use_labels.USES), is_open=False)
        places = sorted(vocabulary.COUNTRY_NAMES, key=lambda code: vocabulary.COUNTRY_NAMES[code])
        named = [*vocabulary.GROUPS, *places]
        for name in ("territory", "availability"):
            self._choose(name, {code: use_labels.territory(code) for code in named})
        for name, labels in (
            ("release", use_labels.RELEASES),
            ("field", FIELDS),
            ("sector", SECTORS),
            ("lineage", LINEAGES),
        ):
            self._choose(name, labels)
        self.begin()

    def begin(self) -> None:
        """Ask what was bought, to begin with."""
        scope = self.row.periods.all()[0].scope
        self.fields["use"].initial = scope["uses"][0]
        self.fields["territory"].initial = scope["territories"][0]

    def _choose(self, name: str, labels: Mapping[Any, Any], *, is_open: bool = True) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        left_open = [("", _("Leave it open"))] if is_open else []
        field.choices = [*left_open, *((str(value), label) for value, label in labels.items())]

    def clean_on(self) -> Any:
        day = self.cleaned_data["on"]
        if day is not None and day.year not in _YEARS:
            raise forms.ValidationError(_("Choose a day of this age."))
        return day

    def question(self) -> Question:
        """The point that is asked about: what is left open is unknown."""
        data: dict[str, Any] = {name: value or None for name, value in self.cleaned_data.items()}
        model = clauses.Model(data["model_name"], data["model_version"], data["model_family"])
        rest = ("territory", "availability", "release", "field", "sector", "lineage")
        asked = {name: data[name] for name in rest}
        return clauses.ask(use=data["use"], model=model, at=_instant(data["on"]), **asked)

    def asked(self) -> decision_requests.Asked:
        """Which works it is about, of this one license."""
        work = self.cleaned_data["work"].strip()
        is_digest = _DIGEST.fullmatch(work) is not None
        return decision_requests.Asked(
            digests=[bytes.fromhex(work)] if is_digest else (),
            external_ids=[work] if work and not is_digest else (),
            grant=str(self.row.pk),
        )

    def show(self, open_dimensions: Collection[str] = ()) -> None:
        """Leave out the fields that are neither given nor asked for."""
        wanted = {name for each in open_dimensions for name in self.MORE.get(each, ())}
        for name in list(self.fields):
            if name not in self.FIRST and name not in wanted and not self.data.get(name):
                del self.fields[name]


class WorkQuestionForm(QuestionForm):
    """A question about one work, by whatever licenses there are. No row."""

    field_order = ("work", *QuestionForm.FIRST)
    work = forms.RegexField(
        _DIGEST,
        label=gettext_lazy("With which work?"),
        strip=True,
        help_text=gettext_lazy("The SHA-256 of its exact bytes: 64 hexadecimal digits."),
        error_messages={"invalid": gettext_lazy("Give a SHA-256 as 64 hexadecimal digits.")},
    )

    def begin(self) -> None:
        """As the form stands: nothing was bought that it would be about."""

    def asked(self) -> decision_requests.Asked:
        return decision_requests.Asked(digests=[bytes.fromhex(self.cleaned_data["work"])])


def _instant(day: Any) -> datetime:
    now = timezone.now()
    if day is None or day == timezone.localdate(now):
        return now
    return datetime.combine(day, time(), timezone.get_current_timezone())


# --- the page ---------------------------------------------------------------------------------


@never_cache
@require_safe
def ask(request: HttpRequest, caller: Caller, id: str) -> HttpResponseBase:
    """A question about one license. The form, and above it the answer to what the address asks."""
    _check(caller)
    with acting(caller, writing=False):
        row = _held(caller, id)
    data = request.GET if "use" in request.GET else None
    return _asked(request, caller, QuestionForm(data, caller=caller, row=row), row)


@never_cache
@require_safe
def ask_of_all(request: HttpRequest, caller: Caller) -> HttpResponseBase:
    """A question about one work, which any of the caller's licenses may answer."""
    _check(caller)
    data = request.GET if "use" in request.GET else None
    return _asked(request, caller, WorkQuestionForm(data, caller=caller, row=None), None)


def _check(caller: Caller) -> None:
    if not (caller.may(Scope.GRANTS_READ) and caller.may(Scope.DECISIONS_READ)):
        raise PermissionDenied


def _asked(
    request: HttpRequest, caller: Caller, form: QuestionForm, row: HeldGrant | None
) -> HttpResponse:
    answer: dict[str, Any] = {}
    open_dimensions: set[str] = set()
    if form.is_bound and form.is_valid():
        question = form.question()
        try:
            [found] = decision_requests.decide(caller, question, form.asked())
        except NotFound:
            raise Http404 from None
        except DomainError as refusal:
            form.refuse(refusal)
        else:
            by = row
            if by is None and found.grant is not None:
                with acting(caller, writing=False):
                    by = _held(caller, found.grant)
            answer = {"answer": _answer(by, question, found, form.cleaned_data)}
            open_dimensions = decision_words.asks_for(found)
    form.show(open_dimensions)
    return _shown(request, caller, row, form, answer)


def _held(caller: Caller, id: str) -> HeldGrant:
    """A license of the caller's, with what it permits. What is hidden or missing is one 404."""
    periods = Period.objects.visible_to(caller).select_related("terms").order_by("number")
    held = own(HeldGrant, caller).filter(licensee=caller.organization)
    shown = held.select_related("licensor").prefetch_related(Prefetch("periods", periods))
    row: HeldGrant | None = find(shown, id)
    if row is None:
        raise Http404
    return row


def _answer(
    row: HeldGrant | None, question: Question, found: Decision, given: Mapping[str, Any]
) -> dict[str, Any]:
    """What the page says of a decision."""
    words = {} if row is None else _clauses(row, question)
    duties = dict.fromkeys(str(duty["clause"]) for duty in found.duties)
    place = given["territory"]
    return {
        "is_yes": found.answer is Answer.PERMIT,
        "answer": decision_words.answer(found),
        "to_do": decision_words.to_do(found),
        "use": use_labels.USES[question.use],
        "place": use_labels.territory(place) if place else _("left open"),
        "work": given["work"].strip() or _("anything of the license"),
        "at": question.at,
        "until": found.valid_until,
        "whys": [
            {"why": why, "clause": clause, "words": words.get(clause, "")}
            for why, clause in decision_words.whys(found)
        ],
        "duties": [(clause, words.get(clause, "")) for clause in duties],
        "engine": found.engine,
        "is_test": row is not None and not row.livemode,
        # By which license, where there may be several.
        "by": "" if row is None else studio.label(row),
        "by_url": "" if row is None else _page_of(row),
    }


def _clauses(row: HeldGrant, question: Question) -> dict[str, str]:
    """The words of the terms that count at the instant asked about, by their clauses' numbers."""
    serves = vocabulary.USE_WINDOWS[Use(question.use)] is Window.USE
    name = "use_window" if serves else "training_window"
    period = windows.counting(row.periods.all(), name, question.at)
    if period is None:
        return {}
    typed = json.loads(period.terms.typed)
    return {number: said.text for number, said in terms_text.clauses(typed)}


def _page_of(row: HeldGrant) -> str:
    return studio.page("licensing_heldgrant_change", row.pk)


def _shown(
    request: HttpRequest,
    caller: Caller,
    row: HeldGrant | None,
    form: QuestionForm,
    answer: dict[str, Any],
) -> HttpResponse:
    frame = request.frame()  # type: ignore[attr-defined]
    context = {
        **frame,
        **answer,
        "title": _("May we …?"),
        "form": form,
        "row": "" if row is None else studio.label(row),
        "row_url": "" if row is None else _page_of(row),
        "here": request.path,
    }
    with acting(caller, writing=False):
        page = TemplateResponse(
            request, "licensing/may_we.html", context, status=422 if form.errors else 200
        )
        # While the rows can still be read.
        page.render()
    return page


def patterns(bind: Callable[[Any], Any]) -> list[URLPattern]:
    """The addresses of these pages, for the workspace to include."""
    return [
        path("", bind(ask_of_all), name="index"),
        path("<str:id>/", bind(ask), name="license"),
    ]


studio.hang("questions", patterns)
studio.links.append(
    Link(
        Section.LICENSES,
        3,
        gettext_lazy("May we …?"),
        "help",
        "questions:index",
        Scope.DECISIONS_READ,
    )
)
