"""The operators' admin. Read-only: every change goes through a verb."""

from __future__ import annotations

from functools import wraps
from typing import Any

from django.contrib import admin
from django.db.models import BinaryField
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from marketplace import models
from marketplace.access import system


class OperatorSite(admin.AdminSite):
    """Django's admin, for operators. Its views see all tenants, and the database is told why."""

    site_header = site_title = _("Licet operators")
    index_title = _("Everything on record")
    enable_nav_sidebar = False

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


class OperatorAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """One table, to look at."""

    show_full_result_count = False
    list_per_page = 50
    # Never shown: secrets, and bytes that mean nothing on a page.
    hidden: tuple[str, ...] = ("password", "secret", "seed", "values")

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


admin.site.register(
    models.Organization,
    show("name", "kind", "legal_name", "jurisdiction", search=("name", "legal_name")),
)
admin.site.register(
    models.User, show("email", "name", "is_operator", "is_active", search=("email",))
)
admin.site.register(models.Membership, show("user", "organization", "role"))
admin.site.register(
    models.ApiKey,
    show("name", "organization", "livemode", "last_four", "last_used_at", "revoked_at"),
)
admin.site.register(models.Contributor, show("external_id", "organization", "consent"))
admin.site.register(models.Collection, show("name", "organization", "next_snapshot"))
admin.site.register(models.Attestation, show("collection", "basis", "person_name", "attested_at"))
admin.site.register(models.Work, show("external_id", "organization", "title"))
admin.site.register(
    models.ImportJob, show("source", "collection", "status", "imported", "rejected")
)
admin.site.register(models.Audit, show("at", "organization", "actor", "action", "subject"))
