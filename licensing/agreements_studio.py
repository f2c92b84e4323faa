"""The workspace's pages of agreements: each contract as it was accepted, for both parties."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from licensing.models import Agreement, Grant, HeldAgreement, LedgerEntry, Period
from licensing.studio import receipt_file
from marketplace import preferences
from marketplace.access import Caller, Scope
from marketplace.models import Organization
from marketplace.tenant_pages import File, Rows, TenantModelAdmin
from marketplace.tenant_site import Section, studio

# --- what an agreement belongs to -------------------------------------------------------------


def _amendment(row: Agreement) -> Period | None:
    """The period that was agreed by it later; None: it is the contract that a grant began with."""
    agreed = Period.objects.filter(agreement=row.pk, licensor=row.licensor_id)
    return agreed.select_related("grant__issued_entry", "entry").first()


def _recorded(row: Agreement) -> tuple[Grant, LedgerEntry]:
    """The grant of an agreement, and the ledger's entry of what was agreed."""
    if hasattr(row, "grant"):
        return row.grant, row.grant.issued_entry
    period = _amendment(row)
    # It commits with its grant, or with its period.
    assert period is not None, "An agreement belongs to a grant."
    return period.grant, period.entry


# --- files ------------------------------------------------------------------------------------


def _document(caller: Caller, row: Agreement) -> HttpResponse:
    """The exact bytes that were hashed and accepted."""
    document = row.document.encode()
    assert hashlib.sha256(document).digest() == bytes(row.document_sha256)
    return HttpResponse(
        document,
        content_type="text/plain; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{row.pk}.txt"',
            "Cache-Control": "private, no-store",
        },
    )


def _certificate(caller: Caller, row: Agreement) -> HttpResponseBase:
    return redirect("certificate", str(_recorded(row)[0].pk))


def _receipt(caller: Caller, row: Agreement) -> HttpResponse | None:
    grant, entry = _recorded(row)
    # An amendment's receipt is of the entry that recorded it: named apart from the grant's.
    name = grant.pk if entry.pk == grant.issued_entry_id else row.pk
    return receipt_file(caller, entry, name=str(name))


# --- pages ------------------------------------------------------------------------------------


class AgreementPages(TenantModelAdmin):
    """Contracts under which the caller's organization licensed its works out."""

    read = Scope.GRANTS_READ
    place = 7
    icon = "contract"
    menu_title = gettext_lazy("Agreements given")
    intro = gettext_lazy(
        "The contracts that buyers accepted, word for word, each with its hash on record."
    )
    empty = gettext_lazy(
        "Nobody has accepted a contract of yours yet. Each license begins with one: list an offer."
    )
    list_display: Any = ("buyer", "by", "by_title", "accepted", "mode")
    list_display_links = ("buyer",)
    search_fields: Sequence[str] = ("licensee__name", "accepted_by_name")
    show = (
        "seller",
        "buyer",
        "accepted",
        "by",
        "by_title",
        "authority",
        "mode",
        "what_controls",
        "what_for",
        "license",
        "came_of",
        "sha256",
        "contract",
    )
    files: ClassVar[tuple[File, ...]] = (
        File("document", gettext_lazy("Download the contract"), _document, ""),
        File("certificate", gettext_lazy("Certificate"), _certificate, ""),
        File(
            "receipt",
            gettext_lazy("Receipt"),
            _receipt,
            gettext_lazy("The receipt is being signed. Try again in a few seconds."),
        ),
    )
    # The page of the grant, as this side sees it.
    grant_page: ClassVar[str] = "licensing_grant_change"

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        """Those with buyers; those held stand on a page of their own."""
        return self._read(rows.filter(licensor=caller.organization))

    @staticmethod
    def _read(rows: Rows) -> Rows:
        # A list shows no contract: they are long.
        return rows.select_related("licensor", "licensee", "grant__issued_entry").defer("document")

    def label(self, row: Agreement) -> str:
        return _("Agreement with %(name)s") % {"name": row.licensee.name}

    def beside(self, caller: Caller, row: Any) -> dict[str, Any]:
        return {
            "next_step": _(
                "This is what was accepted, and never changes. Its SHA-256 is in the ledger:"
                " the receipt proves it, also without this market."
            )
        }

    @admin.display(description=gettext_lazy("Licensee"), ordering="licensee__name")
    def buyer(self, row: Agreement) -> str:
        return _party(row.licensee)

    @admin.display(description=gettext_lazy("Licensor"), ordering="licensor__name")
    def seller(self, row: Agreement) -> str:
        return _party(row.licensor)

    @admin.display(description=gettext_lazy("Accepted"), ordering="accepted_at")
    def accepted(self, row: Agreement) -> str:
        return preferences.moment(row.accepted_at)

    @admin.display(description=gettext_lazy("Accepted by"), ordering="accepted_by_name")
    def by(self, row: Agreement) -> str:
        return row.accepted_by_name

    @admin.display(description=gettext_lazy("As what"), ordering="accepted_by_title")
    def by_title(self, row: Agreement) -> str:
        return row.accepted_by_title

    @admin.display(description=gettext_lazy("Authority"))
    def authority(self, row: Agreement) -> str:
        # Nothing is accepted without the statement (`Acceptance`).
        return _("Stated, for the licensee, by the person who accepted")

    @admin.display(description=gettext_lazy("Mode"))
    def mode(self, row: Agreement) -> str:
        return _("Live") if row.livemode else _("Test: no rights are given, and no money moves")

    @admin.display(description=gettext_lazy("What controls where texts differ"))
    def what_controls(self, row: Agreement) -> str:
        return str(Agreement.Controlling(row.controlling).label)

    @admin.display(description=gettext_lazy("What it agrees"))
    def what_for(self, row: Agreement) -> str:
        if hasattr(row, "grant"):
            return _("A license")
        period = _amendment(row)
        number = "–" if period is None else period.number
        return _("A change of a license: its period %(number)s") % {"number": number}

    @admin.display(description=gettext_lazy("License"))
    def license(self, row: Agreement) -> Any:
        grant, _entry = _recorded(row)
        url = studio.page(self.grant_page, grant.pk)
        return format_html('<a href="{}">{}</a> ({})', url, grant.pk, grant.get_status_display())

    @admin.display(description=gettext_lazy("Came of"))
    def came_of(self, row: Agreement) -> str:
        return row.made_by

    @admin.display(description=gettext_lazy("SHA-256 of the contract"))
    def sha256(self, row: Agreement) -> str:
        return bytes(row.document_sha256).hex()

    @admin.display(description=gettext_lazy("The contract"))
    def contract(self, row: Agreement) -> Any:
        return format_html('<pre lang="en" tabindex="0">{}</pre>', row.document)


class HeldAgreementPages(AgreementPages):
    """Contracts that the caller's organization accepted."""

    section = Section.LICENSES
    place = 2
    menu_title = gettext_lazy("Agreements held")
    intro = gettext_lazy(
        "The contracts that your organization accepted, word for word, each with its hash on"
        " record."
    )
    empty = gettext_lazy(
        "You have accepted no contract yet. Find an offer in the market, and get a quote: it holds"
        " one."
    )
    list_display: Any = ("seller", "by", "by_title", "accepted", "mode")
    list_display_links = ("seller",)
    search_fields = ("licensor__name", "accepted_by_name")
    grant_page = "licensing_heldgrant_change"

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        """Those with sellers; those given stand on a page of their own."""
        return self._read(rows.filter(licensee=caller.organization))

    def label(self, row: Agreement) -> str:
        return _("Agreement with %(name)s") % {"name": row.licensor.name}


def _party(organization: Organization) -> str:
    """A party as it is called today; the contract names it as it was called then."""
    name, legal_name = organization.name, organization.legal_name
    return name if name == legal_name else f"{name} ({legal_name}, {organization.jurisdiction})"


studio.register(Agreement, AgreementPages)
studio.register(HeldAgreement, HeldAgreementPages)
