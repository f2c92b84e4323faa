"""Verbs of operators: a button on a row, a form that says what it does, a POST that does it once.

And what waits for an operator, which other apps put on the first page.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import ValidationError
from django.db.models import CharField, Count, Min, QuerySet, Value
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.access import system
from marketplace.admin_parts import own_transactions
from marketplace.errors import DomainError
from marketplace.models import User
from marketplace.tenant_forms import Refusable, dress

# How many of the forms that a session has sent are remembered.
SENT_MAX = 100
_SENT_KEY = "operator_sent"


class OperatorForm(Refusable, forms.Form):
    """What a verb takes. `row` is the row, None for a verb that makes one."""

    def __init__(self, *args: Any, row: Any, **kwargs: Any) -> None:
        self.row = row
        super().__init__(*args, **kwargs)
        # Names this copy of the form: it is carried out once.
        self.fields["copy"] = forms.CharField(
            widget=forms.HiddenInput, max_length=64, initial=secrets.token_urlsafe(16)
        )
        self.prepare()
        dress(self)

    def prepare(self) -> None:
        """Fill choices and initial values from the row."""

    def clean(self) -> dict[str, Any]:
        found = super().clean() or {}
        if not self.data.get("copy"):
            self.data = self.data.copy()  # type: ignore[attr-defined]
            self.data["copy"] = secrets.token_urlsafe(16)  # type: ignore[index]
            self.add_error(None, _("Send this form from its page."))
        return found


class ReasonForm(OperatorForm):
    """A verb that says why."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        help_text=gettext_lazy("Whoever it is about reads it. It stands in the audit."),
        widget=forms.Textarea(attrs={"rows": 4}),
    )


class NoteForm(OperatorForm):
    """A verb that notes why, for other operators."""

    note = forms.CharField(
        label=gettext_lazy("Why"),
        help_text=gettext_lazy("What you looked at and what you found. It stands on record."),
        max_length=1_000,
        widget=forms.Textarea(attrs={"rows": 4}),
    )


@dataclass(frozen=True, slots=True)
class Act:
    """Something that an operator does with a row, at an address of its own.

    `run` takes the operator, the row and what the form gathered. It calls the noun's verb, which
    decides what is allowed and writes the audit, and returns what to tell. It opens transactions
    of its own.
    """

    name: str
    label: Any
    help: Any
    run: Callable[[User, Any, dict[str, Any]], str]
    form: type[OperatorForm] = OperatorForm
    # Whether the row's state makes it worth a button. The verb itself decides what is allowed.
    offered: Callable[[Any], bool] = lambda row: True
    # Makes a row: its button stands on the list.
    is_making: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: text, an instant or nothing, and the row that it leads to."""

    value: Any
    row: Any = None


@dataclass(frozen=True, slots=True)
class Beside:
    """A table under a row's page: what an operator needs to know beside the row itself."""

    title: Any
    help: Any
    columns: tuple[Any, ...]
    rows: list[list[Cell]]
    # What stands there where there is no row.
    empty: Any
    # More rows stand behind these.
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """One kind of thing that waits for an operator. `rows` is read where all tenants are seen."""

    key: str
    title: Any
    rows: Callable[[], QuerySet[Any]]
    # The column that says since when.
    since: str


WAITING: list[Waiting] = []


@dataclass(frozen=True, slots=True)
class Line:
    """How many of a kind wait, and since when the first."""

    kind: Waiting
    count: int
    since: datetime


def lines() -> list[Line]:
    """What waits, the longest-waiting first, by one query. Under `access.system`."""
    if not WAITING:
        return []
    parts = [
        kind.rows()
        .order_by()
        .annotate(kind_=Value(kind.key, output_field=CharField()))
        .values("kind_")
        .annotate(n=Count("pk"), first=Min(kind.since))
        .values_list("kind_", "n", "first")
        for kind in WAITING
    ]
    kinds = {kind.key: kind for kind in WAITING}
    found = parts[0].union(*parts[1:], all=True) if parts[1:] else parts[0]
    counted = [Line(kinds[key], n, first) for key, n, first in found if n]
    return sorted(counted, key=lambda line: line.since)


def remember(request: HttpRequest, copy: str) -> None:
    sent = [*request.session.get(_SENT_KEY, []), copy]
    request.session[_SENT_KEY] = sent[-SENT_MAX:]


def was_sent(request: HttpRequest, copy: str) -> bool:
    return bool(copy) and copy in request.session.get(_SENT_KEY, [])


def operator_of(request: HttpRequest) -> User:
    """Who asks: an operator, since the site lets nobody else in."""
    user: Any = request.user
    if isinstance(user, SimpleLazyObject):
        user = User.objects.get(pk=user.pk)
    assert isinstance(user, User)
    return user


class Acting:
    """Pages of a table with the verbs of operators beside it. A part of OperatorAdmin."""

    acts: ClassVar[tuple[Act, ...]] = ()
    # Each takes the row. They read where all tenants are seen.
    besides: ClassVar[tuple[Callable[[Any], Beside], ...]] = ()
    model: Any
    opts: Any
    admin_site: Any

    def act_url(self, act: Act, row: Any = None) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{act.name}"
        arguments = [] if row is None else [row.pk]
        return reverse(name, args=arguments, current_app=self.admin_site.name)

    def buttons(self, row: Any = None) -> list[tuple[Act, str]]:
        """The acts that a page offers, each with its address."""
        return [
            (act, self.act_url(act, row))
            for act in self.acts
            if act.is_making == (row is None) and (row is None or act.offered(row))
        ]

    def tables(self, row: Any) -> list[tuple[Beside, list[list[tuple[Cell, str]]]]]:
        """What stands beside a row, each cell with the address of the row that it leads to."""
        return [
            (found, [[(cell, self._cell_url(cell)) for cell in line] for line in found.rows])
            for found in (beside(row) for beside in self.besides)
        ]

    def _cell_url(self, cell: Cell) -> str:
        if cell.row is None:
            return ""
        opts = cell.row._meta
        name = f"admin:{opts.app_label}_{opts.model_name}_change"
        return reverse(name, args=[cell.row.pk], current_app=self.admin_site.name)

    def act_urls(self) -> list[Any]:
        return [
            path(
                f"do/{act.name}/" if act.is_making else f"<path:object_id>/do/{act.name}/",
                self.admin_site.admin_view(self._act_view(act)),
                name=f"{self.opts.app_label}_{self.opts.model_name}_{act.name}",
            )
            for act in self.acts
        ]

    def _act_view(self, act: Act) -> Callable[..., HttpResponseBase]:
        @own_transactions
        def view(request: HttpRequest, object_id: str | None = None) -> HttpResponseBase:
            operator = operator_of(request)
            row = None if object_id is None else self._row(operator, unquote(object_id))
            with system(f"operator {operator.pk} fills in a form"):
                if request.method != "POST":
                    return self._act_page(request, act, row, act.form(row=row))
                form = act.form(request.POST, request.FILES, row=row)
                if was_sent(request, request.POST.get("copy", "")):
                    told = _("This form was sent already and carried out. Nothing was done again.")
                    messages.warning(request, told)
                    return redirect(self._back(row))
                if not form.is_valid():
                    return self._act_page(request, act, row, form)
            try:
                told = act.run(operator, row, form.cleaned_data)
            except DomainError as refusal:
                form.refuse(refusal)
                with system(f"operator {operator.pk} is told why not"):
                    return self._act_page(request, act, row, form)
            remember(request, form.cleaned_data["copy"])
            messages.success(request, told)
            return redirect(self._back(row))

        return view

    def _row(self, operator: User, id: str) -> Any:
        with system(f"operator {operator.pk} looks at a row"):
            try:
                row = self.model._default_manager.filter(pk=id).first()
            except (ValidationError, ValueError):
                row = None
        if row is None:
            raise Http404
        return row

    def _back(self, row: Any) -> str:
        page, arguments = ("changelist", []) if row is None else ("change", [row.pk])
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=arguments, current_app=self.admin_site.name)

    def _act_page(
        self, request: HttpRequest, act: Act, row: Any, form: OperatorForm
    ) -> TemplateResponse:
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": act.label,
            "verb": act,
            "form": form,
            "row": self.opts.verbose_name_plural if row is None else row,
            "row_url": self._back(row),
            "opts": self.opts,
        }
        page = TemplateResponse(request, "studio/verb.html", context)
        page.render()  # while the rows can still be read
        return page
