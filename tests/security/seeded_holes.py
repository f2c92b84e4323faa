"""Mistakes that a developer of the studio makes, each seeded by itself, for the crawl to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest
from django.contrib import admin
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.http import Http404
from django.shortcuts import redirect
from django.utils import timezone

from licensing import certificate_pages, certificates
from licensing import studio as licensing_studio
from licensing.agreements_studio import AgreementPages, HeldAgreementPages
from licensing.deals_studio import HeldPages, NoticePages, RequestPages
from licensing.models import Grant, Offer, Terms
from licensing.models.licenses import GrantQuerySet, OfferQuerySet
from licensing.studio import CollectionPages, GrantPages, OfferPages, SnapshotPages, TermsPages
from marketplace import (
    access,
    authentication,
    excerpts,
    import_pages,
    organizations,
    panel_pages,
    panels,
    tenant_pages,
    uploads,
)
from marketplace.access import Caller, acting, system
from marketplace.errors import NotFound
from marketplace.imports import reports
from marketplace.models import (
    Collection,
    Excerpt,
    ImportJob,
    ImportRejection,
    Membership,
    Representation,
    Upload,
    Work,
)
from marketplace.models.collections import CollectionQuerySet
from marketplace.models.imports import ImportJobQuerySet
from marketplace.models.invitations import InvitationQuerySet
from marketplace.models.records import AuditQuerySet
from marketplace.models.tenants import ApiKeyQuerySet, MembershipQuerySet
from marketplace.models.uploads import UploadQuerySet
from marketplace.models.webhooks import WebhookDeliveryQuerySet, WebhookEndpointQuerySet
from marketplace.organization_studio import InvitationPages, KeyPages, MemberPages
from marketplace.studio import CollectionFilter, ImportPages, WorkPages
from marketplace.tenant_pages import (
    NewestFormSet,
    TenantRelatedFilter,
    find,
)
from marketplace.tenant_site import TenantSite, the_caller
from marketplace.webhooks_studio import DeliveryPages, EndpointPages
from payments.models.invoices import InvoiceQuerySet
from payments.studio import PurchasePages, SalePages
from tests.security.studio_world import Tenant

Open = Callable[[pytest.MonkeyPatch, Tenant], None]
WHY = "a hole in a test"


@dataclass(frozen=True)
class Hole:
    """A mistake, how to make it, and which probes touch it (a pattern of their text)."""

    name: str
    open: Open
    near: str


def without_row_level_security(patch: pytest.MonkeyPatch) -> None:
    """Take the database's own wall away: each transaction sees all tenants' rows."""
    plain = access._set
    patch.setattr(
        access,
        "_set",
        lambda tenant, reason: plain(tenant, reason or (tenant and WHY)),
    )


@contextmanager
def peeking() -> Iterator[None]:
    """Read all tenants' rows inside a page's transaction, as `system` refuses to."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('licet.system', true)")
        before = (cursor.fetchone() or ("",))[0]
        cursor.execute("SELECT set_config('licet.system', %s, true)", [WHY])
        yield
        cursor.execute("SELECT set_config('licet.system', %s, true)", [before or ""])


def everything(model: Any) -> Any:
    return model._default_manager.all()


def _owner(caller: Caller, model: Any, pk: Any) -> Caller:
    """Who a page acts as that takes a row by its id alone: the row's own organization."""
    with transaction.atomic(), peeking():
        row = find(everything(model), pk)
        if row is None:
            return caller
        owner = row.licensor if isinstance(row, Grant) else row.organization
        return organizations.operator(owner)


# --- kinds of mistakes ------------------------------------------------------------------------


def rows_of(pages: Any) -> Open:
    """A page whose author wrote its own `get_queryset`, and forgot the tenant."""

    def open(patch: pytest.MonkeyPatch, other: Tenant) -> None:
        patch.setattr(
            pages, "get_queryset", lambda self, request: everything(self.model).order_by("-pk")
        )

    return open


def row_of(pages: Any, *querysets: Any) -> Open:
    """A page, and its verb's noun, that take a row by its id alone."""

    def found(self: Any, request: Any, object_id: str, from_field: Any = None) -> Any:
        try:
            rows = everything(self.model)
            # Deals given are narrowed to one's own by their page as well.
            is_deal = pages in (GrantPages, AgreementPages)
            rows = rows if is_deal else self.narrow(rows, the_caller(request))
            return rows.get(pk=object_id)
        except Exception:
            raise Http404 from None

    def open(patch: pytest.MonkeyPatch, other: Tenant) -> None:
        patch.setattr(pages, "get_object", found)
        for one in querysets:
            patch.setattr(one, "visible_to", lambda self, caller: self)
            if hasattr(one, "owned_by"):
                patch.setattr(one, "owned_by", lambda self, caller: self)
            if hasattr(one, "editable_by"):
                patch.setattr(one, "editable_by", lambda self, caller: self)

    return open


def seen_by_all(queryset: Any) -> Open:
    """A table whose `visible_to` lets everything through."""

    def open(patch: pytest.MonkeyPatch, other: Tenant) -> None:
        patch.setattr(queryset, "visible_to", lambda self, caller: self)

    return open


def as_owner(name: str, model: Any, *, place: int, module: Any = import_pages) -> Open:
    """A function that works in the name of whoever owns the row that the address names."""

    def open(patch: pytest.MonkeyPatch, other: Tenant) -> None:
        plain = getattr(module, name)

        def deputy(*given: Any, **more: Any) -> Any:
            values = list(given)
            at = next(n for n, one in enumerate(values) if isinstance(one, Caller))
            values[at] = _owner(values[at], model, values[at + place])
            return plain(*values, **more)

        patch.setattr(module, name, deputy)

    return open


def query_without(condition: str) -> Open:
    """A panel whose query lost its condition."""

    def open(patch: pytest.MonkeyPatch, other: Tenant) -> None:
        plain = panels.fetch

        def fetch(sql: str, question: Any, **more: Any) -> Any:
            return plain(sql.replace(condition, "TRUE"), question, **more)

        patch.setattr(panels, "fetch", fetch)

    return open


# --- single mistakes --------------------------------------------------------------------------


def _hidden_sales(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    """A quote is the buyer's alone: joined, it hides its sale from the seller."""

    def narrow(self: Any, rows: Any, caller: Caller) -> Any:
        return rows.select_related("organization", "seller", "quote__offer__collection")

    patch.setattr(SalePages, "narrow", narrow)


def _history(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    plain = TermsPages.get_object

    def get_object(self: Any, request: Any, object_id: str, from_field: Any = None) -> Any:
        if "/history/" in request.path and (row := find(everything(Terms), object_id)):
            return row
        return plain(self, request, object_id, from_field)

    patch.setattr(TermsPages, "get_object", get_object)


def _forbidden(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    """“You may not” for what is there, and “not found” for what is not."""
    plain = WorkPages.get_object

    def get_object(self: Any, request: Any, object_id: str, from_field: Any = None) -> Any:
        try:
            return plain(self, request, object_id, from_field)
        except Http404:
            if _owner(the_caller(request), Work, object_id) is not the_caller(request):
                raise PermissionDenied from None
            raise

    patch.setattr(WorkPages, "get_object", get_object)


def _redirect(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    """As Django itself answers an id that is not there: back to the start, with a message."""
    plain = SnapshotPages.changeform_view

    def changeform_view(self: Any, request: Any, *given: Any, **more: Any) -> Any:
        try:
            return plain(self, request, *given, **more)
        except Http404:
            return redirect("/studio/")

    patch.setattr(SnapshotPages, "changeform_view", changeform_view)


def _deletion(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    row_of(TermsPages)(patch, other)
    patch.setattr(TermsPages, "has_delete_permission", lambda self, request, obj=None: True)


def _excerpt(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    def of(caller: Caller, work: Any) -> Excerpt:
        with system(WHY):
            digests = Representation.objects.filter(work=work).values("digest")
            found = Excerpt.objects.filter(digest__in=digests).first()
        if found is None:
            raise NotFound("There is none.")
        return found

    patch.setattr(excerpts, "of", of)


def _rejections(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    patch.setattr(
        reports,
        "rejections",
        lambda caller, id: ImportRejection.objects.filter(job=id),
    )


def _again(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    as_owner("_progress", ImportJob, place=1)(patch, other)
    plain = import_pages._corrected

    def corrected(request: Any, caller: Caller) -> Any:
        id = request.GET.get("again", "")
        return plain(request, _owner(caller, ImportJob, id) if id else caller)

    patch.setattr(import_pages, "_corrected", corrected)


def _finished(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    def finished(caller: Caller, id: Any) -> Upload:
        row = find(Upload.objects.select_for_update(), id)
        if row is None:
            raise NotFound("There is none.")
        row.used_at = timezone.now()
        row.save(update_fields=["used_at"])
        return cast(Upload, row)

    patch.setattr(uploads, "_finished", finished)


def _search(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    def found_anywhere(self: Any, request: Any, rows: Any, term: str) -> tuple[Any, bool]:
        if not term:
            return rows, False
        found = self.narrow(everything(self.model), the_caller(request))
        return found.filter(collection__name__icontains=term).order_by("-pk"), False

    patch.setattr(OfferPages, "get_search_results", found_anywhere)


def _filter(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    plain = admin.RelatedFieldListFilter.field_choices
    patch.setattr(TenantRelatedFilter, "field_choices", plain)


def _options(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    patch.setattr(
        CollectionFilter,
        "options",
        lambda self, caller: [(str(row.pk), row.name) for row in Collection.objects.all()],
    )


def _autocomplete(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    patch.setattr(
        AutocompleteJsonView,
        "get_queryset",
        lambda self: everything(self.model_admin.model).order_by("pk"),
    )


def _choices(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    patch.setattr(OfferPages, "choices", lambda self, request, model: everything(model))
    patch.setattr(OfferPages, "autocomplete_fields", ())


def _lookup(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    def lookup_allowed(self: Any, lookup: str, value: str, request: Any = None) -> bool:
        return True

    patch.setattr(OfferPages, "lookup_allowed", lookup_allowed)


def _inline(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    patch.setattr(NewestFormSet, "get_queryset", lambda self: everything(self.model)[:20])


def _action(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    def withdraw_selected(self: Any, request: Any, rows: Any) -> None:
        Offer.objects.filter(pk__in=request.POST.getlist("_selected_action")).update(
            state="withdrawn", withdrawn_at="2026-01-01T00:00:00Z"
        )

    patch.setattr(OfferPages, "withdraw_selected", withdraw_selected)
    plain = admin.ModelAdmin.response_action

    def response_action(self: Any, request: Any, queryset: Any) -> Any:
        withdraw_selected(self, request, queryset)
        return plain(self, request, queryset)

    patch.setattr(OfferPages, "response_action", response_action)


def _cache(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    """A panel that is kept by its query, whoever asks."""
    plain, kept = panels.fetch, {}

    def fetch(sql: str, question: Any, **more: Any) -> Any:
        if sql not in kept:
            kept[sql] = plain(sql, question, **more)
        return kept[sql]

    patch.setattr(panels, "fetch", fetch)
    other.client().get("/studio/panels/")


def _question(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    """A file of figures that asks for whom the address says."""
    plain = panel_pages._question

    def question(request: Any, caller: Caller | None) -> Any:
        asked = plain(request, caller)
        named = request.GET.get("organization")
        if caller is None or not named or "." not in request.path:
            return asked
        collection = other.ids["marketplace.Collection"][0]
        return panels.ask(_owner(caller, Collection, collection))

    patch.setattr(panel_pages, "_question", question)


def _switch(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    def anyone(self: authentication.SignedIn, organization: str = "") -> Any:
        with system(WHY):
            chosen = organization or self.memberships[0].organization_id
            row = Membership.objects.select_related("organization").filter(organization=chosen)
            return organizations.operator(row[0].organization)

    patch.setattr(authentication.SignedIn, "caller", anyone)


def _menu(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    """A number beside each entry of the menu, counted over everybody's rows."""
    plain = TenantSite._menu_item

    def item(self: Any, request: Any, pages: Any) -> Any:
        found = plain(self, request, pages)
        with acting(the_caller(request), writing=False):
            return {**found, "title": f"{found['title']} {everything(pages.model).count()}"}

    patch.setattr(TenantSite, "_menu_item", item)


def _from(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    """New terms that begin with anybody's."""
    plain = licensing_studio.own

    def own(model: Any, caller: Caller) -> Any:
        return everything(model) if model is Terms else plain(model, caller)

    base = licensing_studio._base

    def begun(request: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(licensing_studio, "own", own)
            return base(request)

    patch.setattr(licensing_studio, "_base", begun)


def _todo(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    """A checklist that leads to anybody's newest draft."""
    plain, todo = licensing_studio.own, licensing_studio._todo

    def own(model: Any, caller: Caller) -> Any:
        if model is Terms:
            drafts = Terms.objects.filter(published_at=None)
            return drafts.exclude(organization=caller.organization)
        return plain(model, caller)

    def listed(caller: Caller, row: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(licensing_studio, "own", own)
            return todo(caller, row)

    patch.setattr(licensing_studio, "_todo", listed)


def _certificate(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    """A certificate made in its seller's name, for whoever is signed in."""

    def own(request: Any, id: str) -> Any:
        caller = authentication.signed_in(request.user).caller()
        assert caller is not None
        try:
            return certificates.of(_owner(caller, Grant, id), id)
        except Exception:
            raise Http404 from None

    patch.setattr(certificate_pages, "_own", own)


def _both_walls(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    without_row_level_security(patch)
    patch.setattr(tenant_pages, "own", lambda model, caller: everything(model))


def _exclusion(patch: pytest.MonkeyPatch, other: Tenant) -> None:
    """A page that reads all tenants' rows, and shows those that are not drafts."""

    def get_queryset(self: Any, request: Any) -> Any:
        with peeking():
            ids = list(Offer.objects.exclude(state="draft").values_list("pk", flat=True))
        return Offer.objects.filter(pk__in=ids).order_by("-pk")

    patch.setattr(OfferPages, "get_queryset", get_queryset)


HOLES = (
    Hole("members: list without the tenant", rows_of(MemberPages), "list: .*/membership/ "),
    Hole("invitations: list without the tenant", rows_of(InvitationPages), "list: .*/invitation/ "),
    Hole("API keys: list without the tenant", rows_of(KeyPages), "list: .*/apikey/ "),
    Hole("webhooks: list without the tenant", rows_of(EndpointPages), "list: .*/webhookendpoint/ "),
    Hole("webhooks: rotate any", row_of(EndpointPages, WebhookEndpointQuerySet), "rotate: POST"),
    Hole("deliveries: page by id alone", row_of(DeliveryPages), "change: GET .*/webhookdelivery/"),
    Hole("deliveries: body of any", row_of(DeliveryPages), "body: GET"),
    Hole("deliveries: replay any", row_of(DeliveryPages, WebhookDeliveryQuerySet), "replay: POST"),
    Hole("terms: list without the tenant", rows_of(TermsPages), "list: .*/terms/ "),
    Hole("offers: list without the tenant", rows_of(OfferPages), "list: .*/offer/ "),
    Hole("snapshots: list without the tenant", rows_of(SnapshotPages), "list: .*/snapshot/ "),
    Hole("imports: list without the tenant", rows_of(ImportPages), "list: .*/importjob/ "),
    Hole("works: list without the tenant", rows_of(WorkPages), "list: .*/work/ "),
    Hole("purchases: list without the tenant", rows_of(PurchasePages), "list: .*/order/ "),
    Hole("sales: list without the tenant", rows_of(SalePages), "list: .*/sale/ "),
    Hole("grants given: list without the tenant", rows_of(GrantPages), "list: .*/grant/ "),
    Hole("licenses held: list without the tenant", rows_of(HeldPages), "list: .*/heldgrant/ "),
    Hole("agreements given: without the tenant", rows_of(AgreementPages), "list: .*/agreement/ "),
    Hole(
        "agreements held: without the tenant", rows_of(HeldAgreementPages), "list: .*ldagreement/ "
    ),
    Hole("agreements: contract of any", row_of(AgreementPages), "document: GET"),
    Hole("invoices: everybody's", seen_by_all(InvoiceQuerySet), ".*/studio/payments/invoice/"),
    Hole("requests: list without the tenant", rows_of(RequestPages), "list: .*/accessrequest/ "),
    Hole("notices: list without the tenant", rows_of(NoticePages), "list: .*/notice/ "),
    Hole("offers: ids of all tenants, read before", _exclusion, "list: .*/offer/ "),
    Hole("sales: joined with what only buyers see", _hidden_sales, "list: .*/sale/ "),
    Hole("start: everybody's acts", seen_by_all(AuditQuerySet), "index: GET /studio/ "),
    Hole("uploads: everybody's", seen_by_all(UploadQuerySet), "upload: "),
    Hole("imports: everybody's", seen_by_all(ImportJobQuerySet), "files: GET "),
    Hole("certificates: no party check", seen_by_all(GrantQuerySet), "certificate: "),
    Hole("certificates: in the seller's name", _certificate, "certificate: "),
    Hole("terms: page by id alone", row_of(TermsPages), "change: GET .*/terms/"),
    Hole("terms: history by id alone", _history, "history: GET .*/terms/"),
    Hole("terms: deletion of any", _deletion, "delete: .*/terms/"),
    Hole("orders: page by id alone", row_of(PurchasePages), "change: GET .*/order/"),
    Hole("offers: withdraw any", row_of(OfferPages, OfferQuerySet), "withdraw: POST"),
    Hole("keys: revoke any", row_of(KeyPages, ApiKeyQuerySet), "revoke: POST"),
    Hole("members: remove any", row_of(MemberPages, MembershipQuerySet), "remove: POST"),
    Hole("members: set any role", row_of(MemberPages, MembershipQuerySet), "set_role: POST"),
    Hole("invitations: call any back", row_of(InvitationPages, InvitationQuerySet), "call_back: P"),
    Hole("collections: attest any", row_of(CollectionPages, CollectionQuerySet), "attest: "),
    Hole("grants: receipt of any", row_of(GrantPages), "receipt: GET"),
    Hole("works: forbidden, not missing", _forbidden, "change: GET .*/work/"),
    Hole("snapshots: a redirect tells", _redirect, "change: GET .*/snapshot/"),
    Hole("works: excerpt of any", _excerpt, "files: GET .*excerpt"),
    Hole("imports: report by id alone", _rejections, "files: GET .*report.csv"),
    Hole(
        "imports: rows in its owner's name",
        as_owner("rejected_rows", ImportJob, place=1),
        "files: .*rows",
    ),
    Hole(
        "imports: progress of any", as_owner("_progress", ImportJob, place=1), "files: GET .*ress"
    ),
    Hole("imports: cancel any", as_owner("_done", ImportJob, place=1), "files: POST .*cancel"),
    Hole("imports: tried again from any", _again, "upload: GET .*again"),
    Hole("imports: begin in any", as_owner("_collection", Collection, place=1), "files: .*files/"),
    Hole(
        "imports: folder of any",
        as_owner("_own_collection", Collection, place=1),
        "files: .*(folder|host)",
    ),
    Hole(
        "uploads: columns of any",
        as_owner("path", Upload, place=1, module=uploads),
        "upload: .*/files/",
    ),
    Hole("uploads: any made one's own work", _finished, "upload: POST .*host"),
    Hole(
        "uploads: a piece to any",
        as_owner("_held", Upload, place=1, module=uploads),
        "upload: (PATCH|POST /v1)",
    ),
    Hole("offers: search in all", _search, "search: .*/offer/"),
    Hole("offers: a filter's choices", _filter, "list: .*/offer/ "),
    Hole("works: a filter's choices", _options, "list: .*/work/ "),
    Hole("autocomplete: of all", _autocomplete, "autocomplete: .*offer"),
    Hole("offers: a form's choices", _choices, "add: .*/offer/"),
    Hole("offers: filters in the address", _lookup, "lookup: .*/offer/"),
    Hole("collections: inlines of all", _inline, "change: GET .*/collection/"),
    Hole("offers: an action on any id", _action, "action: .*/offer/"),
    Hole(
        "panels: licenses given by all",
        query_without("given.licensor_id = %(organization)s"),
        "figures: GET .*/panels/licens",
    ),
    Hole(
        "panels: licenses held by all",
        query_without("given.licensee_id = %(organization)s"),
        "figures: GET .*/panels/licens",
    ),
    Hole(
        "panels: opt-outs of all",
        query_without("optout.organization_id = %(organization)s"),
        "figures: GET .*/panels/opt",
    ),
    Hole("panels: kept, whoever asks", _cache, "figures: GET /studio/panels/ "),
    Hole("panels: files of whom one names", _question, "figures: GET .*csv"),
    Hole("switch: to any organization", _switch, "switch: "),
    Hole("menu: counts of all", _menu, "index: GET /studio/ "),
    Hole("terms: begin with anybody's", _from, "add: GET .*/terms/.*from="),
    Hole("collections: a checklist's links", _todo, "change: GET .*/collection/"),
    Hole("every page: both walls down", _both_walls, "list: GET [^?]*/ "),
)
