"""What the studio refuses to serve: pages that go round the classes which keep tenants apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.core.checks import CheckMessage, Error
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from marketplace.access import TenantQuerySet
from marketplace.tenant_pages import (
    TenantInline,
    TenantListFilter,
    TenantModelAdmin,
    TenantRelatedFilter,
)
from marketplace.tenant_site import TenantSite

# What a page may not override: each of these keeps tenants apart. `narrow` is for the rest.
GUARDS = (
    "get_queryset",
    "get_object",
    "choices",
    "formfield_for_foreignkey",
    "formfield_for_manytomany",
    "formfield_for_dbfield",
    "get_search_results",
    "lookup_allowed",
    "to_field_allowed",
    "has_view_permission",
    "has_change_permission",
    "has_delete_permission",
    "get_actions",
    "may_write",
    "history_view",
    "delete_view",
    "changeform_view",
    "save_model",
    "get_inline_instances",
)
# The columns that say whose a row is. Verbs set them; no form shows them as a field.
TENANT_FIELDS = ("organization", "licensor", "licensee", "livemode")


def check_studio(site: TenantSite) -> list[CheckMessage]:
    """Every reason why a registered page is not to be served."""
    return [
        found for model, pages in site._registry.items() for found in _check_pages(model, pages)
    ]


def _check_pages(model: type[models.Model], pages: Any) -> Iterator[CheckMessage]:
    if not isinstance(pages, TenantModelAdmin):
        yield _error(pages, "E001", "is not a TenantModelAdmin", "Derive it from that class.")
        return
    yield from _check_scoped(pages, TenantModelAdmin)
    for entry in pages.list_filter:
        yield from _check_filter(model, pages, entry)
    if pages.list_editable:
        yield _error(pages, "E006", "edits rows in its list", "Write through a verb.")
    if pages.add_form is not None:
        shown = {*pages.add_form.base_fields, *(pages.add_form._meta.fields or ())}
        for name in sorted(shown & set(TENANT_FIELDS)):
            yield _error(pages, "E005", f"asks for “{name}” in a form", "The verb sets it.")
    for inline in pages.inlines:
        if not issubclass(inline, TenantInline):
            yield _error(inline, "E004", "is not a TenantInline", "Derive it from that class.")
        else:
            yield from _check_scoped(inline(model, pages.admin_site), TenantInline)


def _check_scoped(pages: Any, base: type) -> Iterator[CheckMessage]:
    if not isinstance(pages.model._default_manager.all(), TenantQuerySet):
        yield _error(pages, "E007", "shows rows that have no tenant", "Leave them to operators.")
    if pages.raw_id_fields:
        yield _error(pages, "E003", "has raw id fields", "Offer choices: those are scoped.")
    if not hasattr(pages, "read"):
        yield _error(pages, "E008", "names no scope to read", "Set `read`.")
    for kind in type(pages).__mro__:
        for name in GUARDS:
            if name in vars(kind) and not issubclass(base, kind):
                yield _error(pages, "E009", f"overrides {name}", "Override `narrow`.")


def _check_filter(
    model: type[models.Model], pages: TenantModelAdmin, entry: Any
) -> Iterator[CheckMessage]:
    if isinstance(entry, type):
        if not issubclass(entry, TenantListFilter):
            yield _error(
                pages, "E002", f"has the filter {entry.__name__}", "Derive a TenantListFilter."
            )
        return
    name, kind = (entry, None) if isinstance(entry, str) else entry
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        yield _error(pages, "E002", f"filters by “{name}” of other tables", "Filter by its own.")
        return
    is_scoped = isinstance(kind, type) and issubclass(kind, TenantRelatedFilter)
    if field.is_relation and not is_scoped:
        yield _error(pages, "E002", f"has a plain filter by “{name}”", "Use a TenantRelatedFilter.")


def _error(pages: Any, number: str, what: str, hint: str) -> Error:
    kind = pages if isinstance(pages, type) else type(pages)
    return Error(
        f"In the studio, {kind.__module__}.{kind.__name__} {what}.", hint=hint, id=f"licet.{number}"
    )


def check_registered(**_options: Any) -> list[CheckMessage]:
    """The system check: Django's commands refuse to start with a page that is not walled."""
    return [
        found
        for site in admin.sites.all_sites
        if isinstance(site, TenantSite)
        for found in check_studio(site)
    ]
