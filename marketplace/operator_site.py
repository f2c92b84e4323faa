"""The operators' admin site: who may enter, and pages that only show."""

from __future__ import annotations

from collections.abc import Iterable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.db.models import BinaryField, Model
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from marketplace.access import system


class OperatorAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """One table, to look at."""

    show_full_result_count = False
    list_per_page = 50
    # Never shown: secrets, and bytes that mean nothing on a page.
    hidden: tuple[str, ...] = ("password", "secret", "seed", "values", "body", "params")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.admin_site.has_permission(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.admin_site.has_permission(request)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # A filter by a hidden field in the address would tell it letter by letter.
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [
            field.name
            for field in self.model._meta.fields
            if field.name not in self.hidden and not isinstance(field, BinaryField)
        ]


def show(*names: str, search: tuple[str, ...] = ()) -> type[OperatorAdmin]:
    """An OperatorAdmin with these columns."""
    return type(
        "TableAdmin",
        (OperatorAdmin,),
        {"list_display": names, "search_fields": search, "list_select_related": True},
    )


class OperatorSite(admin.AdminSite):
    """Django's admin, for operators. Its views see all tenants, and the database is told why.

    In a module of its own: Django imports the site's module while it makes the site, and what
    that module registered at its import would be lost.
    """

    site_header = site_title = _("Licet operators")
    index_title = _("Everything on record")
    enable_nav_sidebar = False

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

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        @wraps(view)
        def seeing_all(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            with system(f"operator {request.user.pk} in the admin"):
                response: HttpResponseBase = view(request, *args, **kwargs)
                if isinstance(response, TemplateResponse):
                    response.render()  # while the rows can still be read
                return response

        return super().admin_view(seeing_all, cacheable)
