"""What every page of the studio is made of: rows, choices, filters and verbs of one tenant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.widgets import AutocompleteSelect, RelatedFieldWidgetWrapper
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models, transaction
from django.db.models.functions import Cast
from django.forms import BaseInlineFormSet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import escape
from django.utils.safestring import mark_safe
from django.utils.text import capfirst
from django.utils.translation import get_language, gettext_lazy, ngettext
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from unfold.admin import ModelAdmin, TabularInline

from marketplace import audit, json_sql, sent_forms, shown_once
from marketplace.access import Caller, Scope, TenantQuerySet, acting
from marketplace.admin_parts import own_transactions
from marketplace.capped_pages import CappedPaginator, RememberingChangeList
from marketplace.errors import DomainError, IdempotencyInFlight
from marketplace.tenant_forms import AddForm, ChosenForm, VerbForm
from marketplace.tenant_site import Section, the_caller
from marketplace.typeid import TypeIDField

Rows = models.QuerySet[Any]
# Stands for a row's key in what is rendered once for all rows.
_ANY_ROW = "any-row"


@dataclass(frozen=True, slots=True)
class Done:
    """What a verb did: what to tell, and where to go on (else back to the row)."""

    told: str
    url: str = ""
    # What the page there shows, once.
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Verb:
    """Something to do with one row, at an address of its own: GET explains, POST does it."""

    name: str
    label: Any
    help: Any
    run: Callable[[Caller, Any, dict[str, Any]], Done]
    form: type[VerbForm] | None = None
    # Whether the row's state makes it worth a button. The verb itself decides what is allowed.
    offered: Callable[[Any], bool] = lambda row: True
    # What it takes, where that is not what the others of its pages take.
    scope: Scope | None = None
    # Whether the same showing of its form, sent again, is told so and does nothing. False for a
    # verb that finds by itself what it did, and goes on with it.
    once: bool = True


@dataclass(frozen=True, slots=True)
class File:
    """Something to download of one row, at an address of its own."""

    name: str
    label: Any
    # Inside the caller's transaction; None while there is none yet.
    make: Callable[[Caller, Any], HttpResponseBase | None]
    # What to tell then.
    not_yet: Any
    offered: Callable[[Any], bool] = lambda row: True


def own(model: type[models.Model], caller: Caller) -> Rows:
    """The caller's own rows of any model; none of a model that has no tenant."""
    rows = model._default_manager.all()
    if not isinstance(rows, TenantQuerySet):
        return rows.none()
    seen = rows.visible_to(caller)
    # Where more is visible than is one's own (what is on sale, what one was granted).
    return cast(Any, seen).owned_by(caller) if hasattr(seen, "owned_by") else seen


def find(rows: Rows, pk: Any) -> Any:
    """The row that an address or a form names; None also for what is no id of this kind."""
    try:
        return rows.filter(pk=pk).first()
    except (ValidationError, ValueError):
        return None


class OwnSelect(AutocompleteSelect):
    """A field that completes while one types. What was sent and is no id selects nothing."""

    def optgroups(self, name: str, value: Any, attr: Any = None) -> Any:
        rows = cast(Any, self.choices).queryset
        cast(Any, self.choices).field.label_from_instance = cast(Any, self.admin_site).label
        return super().optgroups(name, [one for one in value if find(rows, one)], attr)


class Scoped:
    """Rows and choices of one tenant, for pages and inlines alike."""

    model: Any
    admin_site: Any
    # What reading takes; what each verb takes (None: nothing here is written).
    read: ClassVar[Scope]
    write: ClassVar[Scope | None] = None

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        """Leave out more, or read more with each row. Never called on others' rows."""
        return rows

    def get_queryset(self, request: HttpRequest) -> Rows:
        caller = the_caller(request)
        rows = self.narrow(own(self.model, caller), caller)
        ordering = cast(Any, self).get_ordering(request)
        return rows.order_by(*ordering) if ordering else rows.order_by("-pk")

    def choices(self, request: HttpRequest, model: type[models.Model]) -> Rows:
        """What a field, a filter or an autocomplete may offer of another table."""
        pages = self.admin_site._registry.get(model)
        if pages is not None:
            return cast(Rows, pages.get_queryset(request))
        return own(model, the_caller(request))

    def formfield_for_foreignkey(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        # Also what validation accepts when the form comes back.
        kwargs["queryset"] = self.choices(request, db_field.remote_field.model)
        if db_field.name in cast(Any, self).get_autocomplete_fields(request):
            kwargs["widget"] = OwnSelect(db_field, self.admin_site)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        kwargs["queryset"] = self.choices(request, db_field.remote_field.model)
        return super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        if field is not None and isinstance(field.widget, RelatedFieldWidgetWrapper):
            # Without the pencil and the cross beside it: rows are changed on their own pages.
            field.widget = field.widget.widget
        return field

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return the_caller(request).may(self.read)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # what is changed, is changed by a verb with a page of its own

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class TenantModelAdmin(Scoped, ModelAdmin):  # type: ignore[misc]
    """The pages of one table: list, add, look at, history, and one for each verb.

    A subclass says what is shown and which verbs there are. It does not override what keeps
    tenants apart (`tenant_checks.GUARDS`); it narrows by `narrow`.
    """

    # Where it stands in the menu: its section, its place there, its name (else the table's) and
    # its sign (of Google's Material Symbols).
    section: ClassVar[Section] = Section.STUDIO
    place: ClassVar[int] = 0
    menu_title: ClassVar[Any] = ""
    icon: ClassVar[str] = "folder"
    # In plain words above the list, and what an empty list says to do next.
    intro: ClassVar[Any] = ""
    empty: ClassVar[Any] = ""
    # Fields of the page of one row; of the form that makes one (None: none is made here).
    show: ClassVar[tuple[str, ...]] = ()
    add_form: ClassVar[type[AddForm] | None] = None
    verbs: ClassVar[tuple[Verb, ...]] = ()
    files: ClassVar[tuple[File, ...]] = ()
    list_display: Any = ("__str__",)
    list_filter: ClassVar[Any] = ()
    inlines: ClassVar[Any] = ()

    action_form = ChosenForm
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 50
    FOUND_MAX: ClassVar[int] = 1_000
    # By language.
    _checkboxes: ClassVar[dict[str | None, str]] = {}
    paginator = CappedPaginator
    show_facets = admin.ShowFacets.NEVER
    save_as = False
    view_on_site = False
    list_select_related = False
    change_list_template = "studio/change_list.html"
    change_form_template = "studio/change_form.html"
    add_form_template = "studio/change_form.html"
    object_history_template = "studio/history.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[RememberingChangeList]:
        return RememberingChangeList

    def action_checkbox(self, obj: Any) -> str:
        """Unfold's, of which only the value differs: to render each is a tenth of a page."""
        language = get_language()
        if language not in self._checkboxes:
            of_any = super().action_checkbox(SimpleNamespace(pk=_ANY_ROW))
            self._checkboxes[language] = of_any
        return mark_safe(self._checkboxes[language].replace(_ANY_ROW, escape(str(obj.pk))))

    action_checkbox.short_description = ModelAdmin.action_checkbox.short_description  # type: ignore[attr-defined]

    def label(self, row: Any) -> str:
        """What people call a row. A subclass says it where the row's own text is an id."""
        return str(row)

    # --- who may do what ---

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.add_form is not None and self.may_write(request)

    def get_actions(self, request: HttpRequest) -> Any:
        """Each action is a verb: who may not write is offered none, and may ask for none."""
        return super().get_actions(request) if self.may_write(request) else {}

    def may_write(self, request: HttpRequest, row: Any = None) -> bool:
        caller = the_caller(request)
        if self.write is None or not caller.may(self.write):
            return False
        rows = self.model._default_manager.all()
        if row is not None and hasattr(rows, "editable_by"):
            # A row that was shared with a colleague to look at is not theirs to change.
            return bool(rows.editable_by(caller).filter(pk=row.pk).exists())
        return True

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """The row; what is hidden and what is missing share one 404, on every page."""
        row = super().get_object(request, object_id, from_field)
        if row is None:
            raise Http404
        return row

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only the filters that the list offers: others would spell out what is hidden."""
        return lookup in self._filter_params()

    def _filter_params(self) -> set[str]:
        params = set()
        for entry in self.list_filter:
            if isinstance(entry, type) and issubclass(entry, TenantListFilter):
                params.add(str(entry.parameter_name))
                continue
            name = entry if isinstance(entry, str) else entry[0]
            params |= {f"{name}__{how}" for how in ("exact", "id__exact", "isnull", "gte", "lt")}
        return params

    def get_search_results(
        self, request: HttpRequest, queryset: Rows, search_term: str
    ) -> tuple[Rows, bool]:
        """The newest rows that are found. To find a rare word reads a whole catalogue: once, here,
        and not for the count and for the list again.
        """
        rows, _is_double = super().get_search_results(request, queryset, search_term)
        if not search_term or not self.get_search_fields(request):
            return rows, False
        # Bare keys, and as one parameter: a thousand ids would take some fifty milliseconds.
        is_id = isinstance(self.opts.pk, TypeIDField)
        key: Any = models.UUIDField() if is_id else self.opts.pk.clone()
        keys = rows.annotate(bare_key=Cast("pk", key)).order_by("-pk")
        found = list(keys.values_list("bare_key", flat=True)[: self.FOUND_MAX])
        if not found:
            return queryset.none(), False
        every = models.Value(found, output_field=ArrayField(key))
        return queryset.filter(json_sql.IsAmong(models.F("pk"), every)), False

    # --- what is shown ---

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None or self.add_form is None:
            return self.show
        return list(self.add_form.base_fields) or self.add_form._meta.fields

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [(None, {"fields": self.get_fields(request, obj)})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.show if obj is not None else ()

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if change or self.add_form is None:
            return super().get_form(request, obj, change=change, **kwargs)
        form = super().get_form(request, obj, change=change, **{**kwargs, "form": self.add_form})
        ours = {
            "caller": the_caller(request),
            "refusal": getattr(request, "studio_refusal", None),
        }
        return type(form.__name__, (form,), ours)

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj is not None else ()

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        context = {
            "title": capfirst(self.opts.verbose_name_plural),
            "intro": self.intro,
            "empty": self.empty,
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> Any:
        context = {**self._shown(request, object_id), **(extra_context or {})}
        if object_id is not None and request.method == "POST":
            raise PermissionDenied  # with “_saveasnew”, Django would go on to add a row
        try:
            if object_id is None and (url := self._made_before(request)):
                return redirect(url)
            # A savepoint: after a refusal, the page is made again from the same transaction.
            with transaction.atomic():
                return super().changeform_view(request, object_id, form_url, context)
        except DomainError as refusal:
            request.studio_refusal = refusal  # type: ignore[attr-defined]
            return super().changeform_view(request, object_id, form_url, context)

    def _made_before(self, request: HttpRequest) -> str:
        """Where the row stands that this very form made when it was sent before; else nothing."""
        is_sent = request.method == "POST" and sent_forms.has_token(request)
        if not is_sent or not self.has_add_permission(request):
            return ""
        # A savepoint: after a refusal, the page is made from the same transaction.
        with transaction.atomic():
            sending = sent_forms.sending(request, the_caller(request))
        if sending.repeats is None:
            request.studio_sending = sending  # type: ignore[attr-defined]
            return ""
        messages.info(request, _("You sent this form before. This is what it made."))
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"
        return sending.where(reverse(name, current_app=self.admin_site.name))

    def _shown(self, request: HttpRequest, object_id: str | None) -> dict[str, Any]:
        if object_id is None:
            name = self.opts.verbose_name
            return {
                "title": _("New: %(name)s") % {"name": name},
                "subtitle": None,
                "form_token": sent_forms.token(),
                **self.beside_new(request),
            }
        row = self.get_object(request, unquote(object_id))
        return {
            "title": self.label(row),
            "subtitle": None,
            "verbs": [
                (verb, self._url(verb.name, row))
                for verb in self.verbs
                if verb.offered(row) and self._may(verb, request, row)
            ],
            "files": [
                (file, self._url(file.name, row)) for file in self.files if file.offered(row)
            ],
            **self.beside(the_caller(request), row),
        }

    def beside(self, caller: Caller, row: Any) -> dict[str, Any]:
        """What a row's page shows beside its fields, for `studio/change_form.html` to read:

        `next_step` (a sentence), or `checklist` (its Items) under `checklist_title`.
        """
        return {}

    def beside_new(self, request: HttpRequest) -> dict[str, Any]:
        """What the page of the add form shows beside it: `library`, and `words` of one."""
        return {}

    def _url(self, page: str, row: Any) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=[row.pk], current_app=self.admin_site.name)

    # --- what is written ---

    def make(self, caller: Caller, data: dict[str, Any]) -> models.Model:
        """Make a row by its noun's verb, from what the add form gathered."""
        raise NotImplementedError

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            raise PermissionDenied
        sending: sent_forms.Sending | None = getattr(request, "studio_sending", None)
        caller = the_caller(request) if sending is None else sending.caller
        made = self.make(caller, form.cleaned_data)
        # Django goes on with its own instance: let it be the row that the verb made.
        obj.__dict__.update(made.__dict__)
        if sending is not None:
            sending.done(self._url("change", obj))

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> Any:
        self.message_user(
            request, _("“%(name)s” is there.") % {"name": self.label(obj)}, messages.SUCCESS
        )
        return redirect(self._url("change", obj))

    def each(self, request: HttpRequest, rows: Rows, run: Callable[[Caller, Any], Any]) -> None:
        """Do a verb on each row that an action was asked for; a refusal costs no other row."""
        caller, done = the_caller(request), 0
        if not self.may_write(request):
            raise PermissionDenied
        for row in rows:
            try:
                with transaction.atomic():
                    run(caller, row)
                done += 1
            except DomainError as refusal:
                self.message_user(request, f"{self.label(row)}: {refusal.detail}", messages.ERROR)
        if done:
            told = ngettext("Done for %(n)s.", "Done for %(n)s.", done) % {"n": done}
            self.message_user(request, told, messages.SUCCESS)

    # Who did what stands in the audit, which each verb writes; Django's log knows no tenants.
    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any: ...
    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any: ...
    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any: ...

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> TemplateResponse:
        row = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": _("History of “%(name)s”") % {"name": self.label(row)},
            "acts": audit.acts(the_caller(request), subject=str(row.pk)),
            "opts": self.opts,
            "object": row,
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, str(self.object_history_template), context)

    # --- verbs ---

    def get_urls(self) -> list[Any]:
        views: list[tuple[str, Any]] = [(verb.name, self._verb_view(verb)) for verb in self.verbs]
        views += [(file.name, self._file_view(file)) for file in self.files]
        ours = [
            path(
                f"<path:object_id>/{name}/",
                self.admin_site.admin_view(view),
                name=f"{self.opts.app_label}_{self.opts.model_name}_{name}",
            )
            for name, view in views
        ]
        return [*ours, *super().get_urls()]

    def _may(self, verb: Verb, request: HttpRequest, row: Any) -> bool:
        if verb.scope is not None:
            return the_caller(request).may(verb.scope)
        return self.may_write(request, row)

    def _file_view(self, file: File) -> Callable[..., HttpResponseBase]:
        @require_safe
        def view(request: HttpRequest, object_id: str) -> HttpResponseBase:
            row = self.get_object(request, unquote(object_id))
            if not self.has_view_permission(request, row):
                raise PermissionDenied
            made = file.make(the_caller(request), row)
            if made is None:
                messages.warning(request, str(file.not_yet))
                return redirect(self._url("change", row))
            return made

        return view

    def _verb_view(self, verb: Verb) -> Callable[..., HttpResponseBase]:
        @own_transactions
        def view(request: HttpRequest, object_id: str) -> HttpResponseBase:
            caller, sending = the_caller(request), None
            with acting(caller, writing=False):
                row = self.get_object(request, unquote(object_id))
                if not self._may(verb, request, row):
                    raise PermissionDenied
            back = self._url("change", row)
            if verb.once and request.method == "POST" and sent_forms.has_token(request):
                try:
                    sending = sent_forms.sending(request, caller)
                except IdempotencyInFlight as refusal:
                    messages.warning(request, str(refusal.detail))
                    return redirect(back)
                if sending.repeats is not None:
                    told = _("You sent this form before: it was done then, and not again now.")
                    messages.info(request, told)
                    return redirect(sending.where(back))
            with acting(caller, writing=False):
                form = self._verb_form(verb, request, caller, row)
                is_sent = request.method == "POST" and (form is None or form.is_valid())
                if not is_sent:
                    return self._verb_page(request, verb, row, form)
            try:
                who = caller if sending is None else sending.caller
                done = verb.run(who, row, {} if form is None else form.cleaned_data)
            except DomainError as refusal:
                if sending is not None:
                    sending.refused()
                return self._refused(request, verb, row, form, refusal)
            answer = redirect(done.url or back)
            if done.secret:
                shown_once.hand_over(request, answer, done.secret, path=answer.url)
            if sending is not None:
                # Who sends it again is led to no secret: that was shown.
                sending.done(back if done.secret else answer.url)
            messages.success(request, done.told)
            return answer

        return view

    @staticmethod
    def _verb_form(verb: Verb, request: HttpRequest, caller: Caller, row: Any) -> VerbForm | None:
        if verb.form is None:
            return None
        if request.method == "POST":
            return verb.form(request.POST, request.FILES, caller=caller, row=row)
        return verb.form(caller=caller, row=row)

    def _refused(
        self,
        request: HttpRequest,
        verb: Verb,
        row: Any,
        form: VerbForm | None,
        refusal: DomainError,
    ) -> HttpResponse:
        with acting(the_caller(request), writing=False):
            if form is None:
                messages.error(request, str(refusal.detail))
                return redirect(self._url("change", row))
            form.refuse(refusal)
            return self._verb_page(request, verb, row, form)

    def _verb_page(
        self, request: HttpRequest, verb: Verb, row: Any, form: VerbForm | None
    ) -> TemplateResponse:
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": verb.label,
            "verb": verb,
            "form": form,
            "form_token": sent_forms.token(),
            "row": self.label(row),
            "row_url": self._url("change", row),
            "opts": self.opts,
        }
        page = TemplateResponse(request, "studio/verb.html", context)
        page.render()  # while the rows can still be read
        return page


class NewestFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    """The first rows of many: the rest is on the table's own list."""

    ROWS_MAX = 20

    def get_queryset(self) -> Any:
        if not hasattr(self, "_queryset"):
            self._queryset = super().get_queryset()[: self.ROWS_MAX]
        return self._queryset


class TenantInline(Scoped, TabularInline):  # type: ignore[misc]
    """Rows that belong to the row of a page, to look at."""

    extra = 0
    max_num = 0
    can_delete = False
    show_change_link = True
    formset = NewestFormSet
    template = "studio/inline.html"
    # What stands in place of no rows.
    empty: ClassVar[Any] = gettext_lazy("None yet.")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields or ()


class TenantRelatedFilter(admin.RelatedFieldListFilter):
    """A filter by another table's rows that offers only one's own."""

    CHOICES_MAX = 50

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        model = field.remote_field.model
        newest = model_admin.choices(request, model).values("pk")[: self.CHOICES_MAX]
        # Names alone: what the table's own list shows beside them would be read for each.
        rows = model._default_manager.filter(pk__in=newest).order_by("-pk")
        return [(row.pk, model_admin.admin_site.label(row)) for row in rows]


class TenantListFilter(admin.SimpleListFilter):
    """A filter of our own. `options` offers, and `chosen` narrows, rows of the caller only."""

    def options(self, caller: Caller) -> list[tuple[str, str]]:
        raise NotImplementedError

    def chosen(self, caller: Caller, rows: Rows, value: str) -> Rows:
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return self.options(the_caller(request))

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        value = self.value()
        return queryset if not value else self.chosen(the_caller(request), queryset, value)
