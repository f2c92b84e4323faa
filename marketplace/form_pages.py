"""Pages of the workspace that are one form and no table's: shown, refused at a field, or done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from marketplace.access import Caller, Scope
from marketplace.errors import DomainError
from marketplace.tenant_forms import VerbForm
from marketplace.tenant_pages import Done
from marketplace.tenant_site import who_may


@dataclass(frozen=True, slots=True)
class FormPage:
    """One page: whoever may read it sees how it stands; who may write, the form besides."""

    title: Any
    intro: Any
    button: Any
    read: Scope
    write: Scope
    form: type[VerbForm]
    # The noun's verb, outside any transaction.
    run: Callable[[Caller, Any, dict[str, Any]], Done]
    # The template of what stands above the form.
    above: str


def answer(
    request: HttpRequest, caller: Caller, page: FormPage, row: Any, **context: Any
) -> HttpResponse:
    """Show the page, or do what was sent. `row` is what the form is about, found for the caller.

    `without_form` in the context leaves the form out where there is nothing to send.
    """
    if not caller.may(page.read):
        raise PermissionDenied
    may_write = caller.may(page.write)
    if request.method != "POST":
        return _shown(request, page, page.form(caller=caller, row=row), may_write, context)
    if not may_write:
        raise PermissionDenied
    form = page.form(request.POST, caller=caller, row=row)
    if form.is_valid():
        try:
            done = page.run(caller, row, form.cleaned_data)
        except DomainError as refusal:
            form.refuse(refusal)
        else:
            messages.success(request, done.told)
            return redirect(done.url or request.path)
    return _shown(request, page, form, may_write, context)


def _shown(
    request: HttpRequest, page: FormPage, form: VerbForm, may_write: bool, context: dict[str, Any]
) -> HttpResponse:
    frame: dict[str, Any] = request.frame()  # type: ignore[attr-defined]
    is_offered = may_write and not context.get("without_form")
    shown = {
        **frame,
        "title": page.title,
        "page": page,
        "form": form if is_offered or form.is_bound else None,
        "who": "" if may_write else who_may(page.write),
        **context,
    }
    answer = render(request, "studio/form_page.html", shown)
    answer["Cache-Control"] = "no-store"
    return answer
