"""The operators' admin site: who may enter, and pages that only show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import BinaryField, ForeignKey, JSONField, Model
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.sites import UnfoldAdminSite

from marketplace import operator_pages, panel_pages, panels
from marketplace.access import system
from marketplace.admin_parts import View, own_transactions
from marketplace.capped_pages import CappedPaginator, RememberingChangeList
from marketplace.operator_pages import Act, Beside

# Shown at once of what waits.
WAITING_MAX = 100


class OperatorAdmin(operator_pages.Acting, ModelAdmin):  # type: ignore[misc]
    """One table, to look at, and the verbs of operators beside it."""

    change_form_template = "admin/operator_change_form.html"
    change_list_template = "admin/operator_change_list.html"

    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 50
    paginator = CappedPaginator
    # Never shown: secrets, and bytes that mean nothing on a page.
    hidden: tuple[str, ...] = ("password", "secret", "seed", "values", "body", "params")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[RememberingChangeList]:
        return RememberingChangeList

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(self.admin_site.has_permission(request))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(self.admin_site.has_permission(request))

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # A filter by a hidden field in the address would tell it letter by letter.
        return False

    def get_list_select_related(self, request: HttpRequest) -> tuple[str, ...]:
        """What the list shows of other tables, and no more: Django's own way follows each key of
        a row five tables deep, and none that may be empty.
        """
        keys = {field.name for field in self.opts.fields if isinstance(field, ForeignKey)}
        return tuple(name for name in self.list_display if name in keys)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [
            _plain(field) if isinstance(field, JSONField) else field.name
            for field in self.model._meta.fields
            if field.name not in self.hidden and not isinstance(field, BinaryField)
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.get_fields(request, obj)

    def get_urls(self) -> list[Any]:
        return [*self.act_urls(), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return super().changelist_view(request, {"acts": self.buttons(), **(extra_context or {})})

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **more: Any
    ) -> Any:
        row = context.get("original")
        shown = {} if row is None else {"acts": self.buttons(row), "besides": self.tables(row)}
        return super().render_change_form(request, {**context, **shown}, *args, **more)


def _plain(field: JSONField) -> Any:
    """JSON as it is: Unfold colors it, some of it too light to read, by styles in the page."""

    @admin.display(description=field.verbose_name)
    def shown(row: Model) -> str:
        text = json.dumps(getattr(row, field.name), indent=2, ensure_ascii=False, default=str)
        return format_html('<pre tabindex="0">{}</pre>', text)

    return shown


def show(
    *names: str,
    search: tuple[str, ...] = (),
    acts: tuple[Act, ...] = (),
    besides: tuple[Callable[[Any], Beside], ...] = (),
) -> type[OperatorAdmin]:
    """An OperatorAdmin with these columns, verbs, and tables under each row's page."""
    shown = {"list_display": names, "search_fields": search, "acts": acts, "besides": besides}
    return type("TableAdmin", (OperatorAdmin,), shown)


class OperatorSite(UnfoldAdminSite):  # type: ignore[misc]
    """The admin for operators. Its views see all tenants, and the database is told why.

    In a module of its own: Django imports the site's module while it makes the site, and what
    that module registered at its import would be lost.
    """

    site_header = site_title = _("Licet operators")
    index_title = _("Everything on record")
    index_template = "admin/operator_index.html"

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self.hung: list[tuple[str, Any, str, View]] = []

    def register(
        self,
        model_or_iterable: type[Model] | Iterable[type[Model]],
        admin_class: type[admin.ModelAdmin[Any]] | None = None,
        **options: Any,
    ) -> None:
        """Take pages that cannot write. Others, such as Django's own for groups, stay outside."""
        if admin_class is not None and issubclass(admin_class, OperatorAdmin):
            super().register(model_or_iterable, admin_class, **options)

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return bool(user.is_active and getattr(user, "is_operator", False))

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponseBase:
        """Everybody signs in at the same place. Who is no operator is told so."""
        if request.user.is_authenticated and not self.has_permission(request):
            raise PermissionDenied
        target = request.GET.get("next", "") or reverse("admin:index", current_app=self.name)
        return redirect_to_login(target, settings.LOGIN_URL)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        @wraps(view)
        def seeing_all(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if getattr(view, "own_transactions", False):
                own: HttpResponseBase = view(request, *args, **kwargs)
                return own
            with system(f"operator {request.user.pk} in the admin"):
                response: HttpResponseBase = view(request, *args, **kwargs)
                if isinstance(response, TemplateResponse):
                    response.render()  # while the rows can still be read
                return response

        return super().admin_view(seeing_all, cacheable)

    def hang(self, name: str, title: Any, icon: str, view: View) -> None:
        """Take a page that is no table's, which opens its own transactions."""
        self.hung.append((name, title, icon, view))

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {
            **super().each_context(request),
            "site_base": "admin/operator_base.html",
            "templates": {"navigation": "admin/navigation.html"},
        }

    def _get_colors(self, key: str, *args: Any) -> dict[str, Any]:
        # They stand in studio/colors.css: Unfold would write them into each page.
        return {}

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Django's own, once for a request: sorting lazy names translates each many times."""
        known: dict[Any, list[Any]] = request.__dict__.setdefault("_app_lists", {})
        if app_label not in known:
            known[app_label] = super().get_app_list(request, app_label)
        return known[app_label]

    def _build_app_dict(self, request: HttpRequest, label: str | None = None) -> Any:
        built = super()._build_app_dict(request, label)
        for app in [built] if label and built else built.values():
            for model in app["models"]:
                model["name"] = str(model["name"])
        return built

    def get_sidebar_list(self, request: HttpRequest) -> list[dict[str, Any]]:
        """The menu: each app's tables, by name."""
        start = reverse("admin:index", current_app=self.name)
        home = {"title": _("Start"), "link": start, "icon": "home", "active": request.path == start}
        link = reverse(f"admin:{panels.Section.OPERATOR}-panels", current_app=self.name)
        figures = {
            "title": _("Figures"),
            "link": link,
            "icon": "bar_chart",
            "active": request.path.startswith(link),
        }
        hung = []
        for name, title, icon, _view in self.hung:
            link = reverse(f"admin:operator-{name}", current_app=self.name)
            active = request.path == link
            hung.append({"title": title, "link": link, "icon": icon, "active": active})
        groups = [{"title": "", "items": [home, figures, *hung]}]
        for app in self.get_app_list(request):
            items = [
                {
                    "title": model["name"],
                    "link": model["admin_url"],
                    "icon": "table_rows",
                    "active": request.path.startswith(model["admin_url"]),
                }
                for model in app["models"]
            ]
            groups.append({"title": app["name"], "items": items})
        return groups

    def get_urls(self) -> list[Any]:
        # Unfold's search keeps what it found, whatever changes since.
        left_out = {"search", "view_on_site", "password_change", "password_change_done"}
        shown = [url for url in super().get_urls() if getattr(url, "name", "") not in left_out]
        hung = [
            path(f"{name}/", self.admin_view(own_transactions(view)), name=f"operator-{name}")
            for name, _title, _icon, view in self.hung
        ]
        waiting = path("waiting/<slug:key>/", self.admin_view(self.waiting), name="waiting")
        panels_ = panel_pages.urls(self, panels.Section.OPERATOR, lambda _request: None)
        return [*hung, waiting, *panels_, *shown]

    def index(self, request: HttpRequest, extra_context: Any = None) -> TemplateResponse:
        figures = panel_pages.dashboard(request, self, panels.Section.OPERATOR, None)
        desk = [
            (line, reverse("admin:waiting", args=[line.kind.key], current_app=self.name))
            for line in operator_pages.lines()
        ]
        context = {**figures, "desk": desk, **(extra_context or {})}
        page: TemplateResponse = super().index(request, context)
        return page

    def waiting(self, request: HttpRequest, key: str) -> TemplateResponse:
        """What waits of one kind, each with the way to its page."""
        kind = next((one for one in operator_pages.WAITING if one.key == key), None)
        if kind is None:
            raise Http404
        rows = list(kind.rows().order_by(kind.since, "pk")[: WAITING_MAX + 1])
        shown = []
        for row in rows[:WAITING_MAX]:
            name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
            url = reverse(name, args=[row.pk], current_app=self.name)
            shown.append((f"{row._meta.verbose_name} {row.pk}", url, getattr(row, kind.since)))
        request.current_app = self.name
        context = {
            **self.each_context(request),
            "title": kind.title,
            "rows": shown,
            "is_cut": len(rows) > WAITING_MAX,
        }
        return TemplateResponse(request, "admin/operator_waiting.html", context)
