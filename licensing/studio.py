"""The creators' pages of this app's tables: snapshots, terms, offers, and the grants given."""

from __future__ import annotations

import json
from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, Prefetch, Q, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from licensing import (
    offer_forms,
    offers,
    snapshots,
    terms,
    terms_cards_pages,
    terms_templates,
    windows,
)
from licensing.ledger import proofs, receipts
from licensing.listing_studio import LIST_IT
from licensing.models import Grant, LedgerEntry, Offer, Period, Snapshot, Terms
from licensing.terms_cards_form import CardsForm
from licensing.terms_templates import Template
from marketplace import preferences
from marketplace import studio as catalogue
from marketplace.access import Caller, Scope
from marketplace.models import Attestation, Collection
from marketplace.seen_forms import UNCHANGED
from marketplace.studio import counted, of_newest_collection, page
from marketplace.tenant_forms import AddForm
from marketplace.tenant_pages import (
    Done,
    File,
    Rows,
    TenantInline,
    TenantModelAdmin,
    TenantRelatedFilter,
    Verb,
    find,
    own,
)
from marketplace.tenant_site import Item, Step, checklist, studio, the_caller

# --- collections: what is frozen and listed of them -------------------------------------------


def _freeze(caller: Caller, collection: Collection, data: dict[str, Any]) -> Done:
    snapshot, is_new = snapshots.finalize_once(caller, str(collection.pk))
    if is_new:
        told = _("Snapshot %(number)s holds %(works)s.")
    else:
        told = _("Nothing changed since snapshot %(number)s, which holds %(works)s.")
    return Done(told % {"number": snapshot.number, "works": counted(snapshot.size)})


class SnapshotInline(TenantInline):
    model = Snapshot
    read = Scope.COLLECTIONS_READ
    fields = ("number", "size", "finalized_at")
    verbose_name_plural = gettext_lazy("Snapshots (newest first)")
    empty = gettext_lazy("Nothing is frozen yet. Buyers license a snapshot, which never changes.")


class CollectionPages(catalogue.CollectionPages):
    """A seller's collections, with what licensing knows of them."""

    list_display: Any = (
        "name",
        "works_held",
        "attested",
        "snapshots_made",
        "state",
        "created_at",
    )
    show = ("name", "description", "notice", "spoken", "works_held", "state", "created_at")
    inlines: ClassVar[Any] = (SnapshotInline, *catalogue.CollectionPages.inlines)
    verbs = (
        LIST_IT,
        *catalogue.CollectionPages.verbs,
        Verb(
            "freeze",
            gettext_lazy("Freeze a snapshot"),
            gettext_lazy(
                "A snapshot fixes what is in the collection now, under one checksum. Buyers license"
                " a snapshot; works that you add later go into the next one."
            ),
            _freeze,
            offered=lambda row: bool(row.size),
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        listed = own(Offer, caller).on_sale().filter(collection=OuterRef("pk"))  # type: ignore[attr-defined]
        frozen = Snapshot.objects.owned_by(caller).order_by("-number")
        sized = super().narrow(rows, caller)
        return cast(
            Rows,
            # One look-up for each row shown: EXISTS would read and hash every offer there is.
            sized.alias(on_sale=Subquery(listed.values("pk")[:1]))
            .annotate(is_listed=Q(on_sale__isnull=False))
            .prefetch_related(Prefetch("snapshots", frozen)),
        )

    @admin.display(description=gettext_lazy("Snapshots"))
    def snapshots_made(self, row: Any) -> int:
        return len(row.snapshots.all())

    @admin.display(description=gettext_lazy("State"))
    def state(self, row: Any) -> str:
        if row.is_listed:
            return _("Listed")
        if row.snapshots.all():
            return _("Frozen, not listed")
        return _("Collecting") if row.size else _("Empty")

    def beside(self, caller: Caller, row: Any) -> dict[str, Any]:
        title = _("This collection is listed") if row.is_listed else _("Before this is listed")
        return checklist(title, _todo(caller, row))


def _todo(caller: Caller, row: Any) -> list[Item]:
    """What is left to do before a collection is listed, in the order in which it is done."""

    def verb(name: str) -> str:
        return page(f"marketplace_collection_{name}", row.pk)

    frozen = list(row.snapshots.all()[:1])
    ours = own(Terms, caller)
    draft = ours.filter(published_at=None).order_by("-pk").first()
    has_terms = ours.filter(published_at__isnull=False).exists()
    offer = own(Offer, caller).filter(collection=row).order_by("-pk").first()
    new_offer = page("licensing_offer_add")
    if frozen:
        new_offer += f"?snapshot={frozen[0].pk}"
    return [
        Item(
            _("Bring works into it"),
            _("Send a table of them, or a folder of files; or use the API."),
            verb("bring_in"),
            bool(row.size),
        ),
        Item(
            _("Attest the rights"),
            _("Say why you may license these works, and sign it with your name."),
            verb("attest"),
            bool(row.attestations.all()),
        ),
        Item(
            _("Freeze a snapshot"),
            _("Buyers license a snapshot, which never changes."),
            verb("freeze"),
            bool(frozen),
        ),
        Item(
            _("Publish terms"),
            _("One set of terms serves all your collections."),
            _change(draft) if draft and not has_terms else page("licensing_terms_add"),
            has_terms,
        ),
        Item(
            _("Make an offer"),
            _("It puts a snapshot under terms at a price. Nobody else sees it yet."),
            _change(offer) if offer else new_offer,
            offer is not None,
        ),
        Item(
            _("Publish the offer"),
            _("Then buyers find it in the market."),
            _change(offer) if offer else new_offer,
            row.is_listed,
        ),
    ]


def _change(row: Any) -> str:
    return page(f"{row._meta.app_label}_{row._meta.model_name}_change", row.pk)


class SnapshotPages(TenantModelAdmin):
    """Frozen versions of one's collections, to look at."""

    read = Scope.COLLECTIONS_READ
    place = 4
    icon = "ac_unit"
    intro = gettext_lazy("Frozen versions of your collections. They never change.")
    empty = gettext_lazy("You have none yet. Open a collection and freeze it.")
    list_display: Any = ("name", "size", "finalized_at")
    list_filter: ClassVar[Any] = (("collection", TenantRelatedFilter),)
    search_fields = ("collection__name",)
    show = ("collection", "number", "size", "sha256", "finalized_at")

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        return rows.select_related("collection")

    def label(self, row: Snapshot) -> str:
        return f"{row.collection.name} #{row.number}"

    @admin.display(description=gettext_lazy("Snapshot"))
    def name(self, row: Snapshot) -> str:
        return self.label(row)

    @admin.display(description=gettext_lazy("Cited as (SHA-256)"))
    def sha256(self, row: Snapshot) -> str:
        return bytes(row.citation).hex()


studio.register(Collection, CollectionPages)
studio.register(Snapshot, SnapshotPages)

# --- terms ------------------------------------------------------------------------------------


def _template(request: HttpRequest) -> Template | None:
    name = request.GET.get("template", "")
    return next((one for one in terms_templates.library() if one.name == name), None)


def _is_written(request: HttpRequest) -> bool:
    """Whether the conditions are written as such, and not answered on cards."""
    if request.method == "POST":
        return "content" not in request.POST
    return "written" in request.GET


def _base(request: HttpRequest) -> tuple[str, dict[str, Any] | None]:
    """What new terms begin with: terms of one's own, a template, or neither."""
    base = find(own(Terms, the_caller(request)), request.GET.get("from"))
    if base is not None:
        return base.name, json.loads(base.typed)
    template = _template(request)
    return ("", None) if template is None else (str(template.title), dict(template.typed))


def _wanted_for(request: HttpRequest) -> Any:
    """The collection of one's own that new terms are written for; None: for none."""
    return find(own(Collection, the_caller(request)), request.GET.get("collection"))


class _Indented(json.JSONEncoder):
    """Conditions as people read and edit them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "indent": 2})


class TermsForm(AddForm):
    intro = gettext_lazy(
        "Answer the cards: beside them stands what a buyer may do then. Save a draft to read the"
        " contract's words; publish it when they say what you mean."
    )
    typed = forms.JSONField(
        label=gettext_lazy("Conditions"),
        required=False,
        encoder=_Indented,
        widget=forms.Textarea(attrs={"rows": 28, "class": "code", "spellcheck": "false"}),
        help_text=gettext_lazy("Begin with a template, and change what differs for you."),
    )

    class Meta:
        model = Terms
        fields = ("name", "typed")
        help_texts = {
            "name": gettext_lazy("Buyers see it. The same name again makes its next version."),
        }

    def clean(self) -> dict[str, Any]:
        """The conditions: as the cards answer them, or as they were written."""
        data = super().clean() or {}
        if "content" not in self.data:
            if not data.get("typed"):
                self.add_error("typed", _("Give the conditions, or answer the cards."))
            return data
        cards = CardsForm(self.data, auto_id="terms_%s")
        if not cards.is_valid():
            raise forms.ValidationError(_("Something is missing on the cards."))
        if why := cards.refusals():
            raise forms.ValidationError(why)
        return {**data, "typed": cards.drafted()["typed"]}


def _publish_terms(caller: Caller, row: Terms, data: dict[str, Any]) -> Done:
    terms.publish(caller, str(row.pk))
    return Done(_("“%(name)s” is published. Offers can use it now.") % {"name": row})


class TermsPages(TenantModelAdmin):
    """A seller's license terms and their versions."""

    read, write = Scope.TERMS_READ, Scope.TERMS_WRITE
    place = 5
    icon = "gavel"
    intro = gettext_lazy("On which conditions your works may be used.")
    empty = gettext_lazy("You have no terms yet. Begin with a template.")
    add_form = TermsForm
    list_display: Any = ("name", "version", "is_published", "created_at")
    search_fields = ("name",)
    show = ("name", "version", "words", "conditions", "created_at", "published_at")
    verbs = (
        Verb(
            "publish",
            gettext_lazy("Publish"),
            gettext_lazy(
                "Publishing fixes the conditions and their words for good: offers can use them, and"
                " nobody can change them. A change is a new version under the same name."
            ),
            _publish_terms,
            offered=lambda row: row.published_at is None,
        ),
    )

    @admin.display(description=gettext_lazy("Published"), boolean=True)
    def is_published(self, row: Terms) -> bool:
        return row.published_at is not None

    @admin.display(description=gettext_lazy("In words"))
    def words(self, row: Terms) -> Any:
        return _preformatted(row.text)

    @admin.display(description=gettext_lazy("Conditions"))
    def conditions(self, row: Terms) -> Any:
        return _preformatted(_pretty(json.loads(row.typed)))

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(terms_cards_pages.preview)
        return [path("preview/", view, name="licensing_terms_preview"), *super().get_urls()]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None and not _is_written(request):
            return ["name"]
        return super().get_fields(request, obj)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        name, typed = _base(request)
        return {"name": name, "typed": typed or terms.EXAMPLE}

    def beside_new(self, request: HttpRequest) -> dict[str, Any]:
        template = _template(request)
        words = ""
        if template is not None:
            typed = terms.parse(template.typed)
            words = terms.render(typed, name=str(template.title), version=1)
        collection = _wanted_for(request)
        shown = {
            "library": terms_templates.library(),
            "template": template,
            "words": words,
            "keep": f"&collection={collection.pk}" if collection else "",
        }
        if _is_written(request):
            return shown
        return {
            **shown,
            "has_cards": True,
            **terms_cards_pages.context(
                request, preview_url=page("licensing_terms_preview"), typed=_base(request)[1]
            ),
        }

    def make(self, caller: Caller, data: dict[str, Any]) -> Terms:
        return terms.draft(caller, **data)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> Any:
        """On to what they were written for: there, the words are read before they are published."""
        answer = super().response_add(request, obj, post_url_continue)
        collection = _wanted_for(request)
        if collection is None:
            return answer
        return redirect(page("marketplace_collection_list", collection.pk))


studio.register(Terms, TermsPages)

# --- offers -----------------------------------------------------------------------------------


def _publish_offer(caller: Caller, row: Offer, data: dict[str, Any]) -> Done:
    if row.state in {Offer.State.IN_REVIEW, Offer.State.LISTED}:
        # A colleague did, since the page was shown.
        return Done(str(UNCHANGED))
    offer = offers.publish(caller, str(row.pk))
    return Done(_("The offer is %(state)s.") % {"state": offer.get_state_display().lower()})


def _withdraw_offer(caller: Caller, row: Offer, data: dict[str, Any]) -> Done:
    if row.state == Offer.State.WITHDRAWN:
        return Done(str(UNCHANGED))
    offers.withdraw(caller, str(row.pk))
    return Done(_("The offer is withdrawn. Licenses that were given stand."))


class OfferPages(TenantModelAdmin):
    """A seller's offers, whatever their state."""

    read, write = Scope.OFFERS_READ, Scope.OFFERS_WRITE
    place = 6
    icon = "sell"
    intro = gettext_lazy("What you put on sale, on which terms, for how much.")
    empty = gettext_lazy("You have no offers yet. You need a snapshot and terms; then make one.")
    add_form = offer_forms.OfferForm
    autocomplete_fields = ("snapshot", "terms")
    list_display: Any = (
        "collection",
        "asked",
        "terms",
        "state",
        "only_for",
        "created_at",
    )
    list_display_links = ("collection",)
    list_filter: ClassVar[Any] = (
        "state",
        ("collection", TenantRelatedFilter),
        ("terms", TenantRelatedFilter),
    )
    search_fields = ("collection__name", "terms__name")
    show = (
        "collection",
        "frozen",
        "terms",
        "priced",
        "made_for",
        "access",
        "invoiced",
        "sampled",
        "state",
        "rights",
        "rights_statement",
        "created_at",
        "published_at",
        "withdrawn_at",
    )
    actions = ("withdraw_selected",)
    verbs = (
        Verb(
            "publish",
            gettext_lazy("Publish"),
            gettext_lazy(
                "Put the offer on sale. Its terms must be published and the rights in its"
                " collection attested."
            ),
            _publish_offer,
            offered=lambda row: row.published_at is None and row.withdrawn_at is None,
        ),
        Verb(
            "choose_sample",
            gettext_lazy("Choose a sample"),
            gettext_lazy(
                "Up to 1,000 works that each buyer of this offer may evaluate once, for free. A new"
                " choice replaces the one before; who took that keeps it. To offer no sample any"
                " more, withdraw the offer of the sample."
            ),
            offer_forms.choose_sample,
            offer_forms.SampleForm,
            offered=lambda row: row.withdrawn_at is None and not hasattr(row, "sample"),
        ),
        Verb(
            "withdraw",
            gettext_lazy("Withdraw"),
            gettext_lazy(
                "Take the offer off sale for good. Licenses that were given stand; to sell again,"
                " make another offer."
            ),
            _withdraw_offer,
            offered=lambda row: row.withdrawn_at is None,
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        # With the sample that an offer may be: a sample has none of its own.
        return rows.select_related(
            "collection", "snapshot__collection", "terms", "audience", "sample"
        )

    @admin.display(description=gettext_lazy("Price"))
    def asked(self, row: Offer) -> str:
        return preferences.amount(row.price_minor, row.currency)

    def label(self, row: Offer) -> str:
        return f"{row.collection.name}, {self.asked(row)}"

    @admin.display(description=gettext_lazy("Snapshot"))
    def frozen(self, row: Offer) -> str:
        return studio.label(row.snapshot)

    @admin.display(description=gettext_lazy("rights basis"))
    def rights(self, row: Offer) -> str:
        return str(Attestation.Basis(row.rights_basis).label) if row.rights_basis else "–"

    @admin.display(description=gettext_lazy("For"))
    def only_for(self, row: Offer) -> str:
        return row.audience.name if row.audience else _("everybody")

    @admin.display(description=gettext_lazy("For"))
    def made_for(self, row: Offer) -> str:
        """Who may buy it, so that a namesake is told apart."""
        if row.audience is None:
            return _("everybody")
        buyer = row.audience
        return f"{buyer.name} ({buyer.legal_name}, {buyer.jurisdiction}, {buyer.pk})"

    @admin.display(description=gettext_lazy("Price"))
    def priced(self, row: Offer) -> str:
        return offer_forms.priced(row)

    @admin.display(description=gettext_lazy("Payment"))
    def invoiced(self, row: Offer) -> str:
        return offer_forms.invoiced(row)

    @admin.display(description=gettext_lazy("Sample"))
    def sampled(self, row: Offer) -> str:
        return offer_forms.sampled(row)

    def make(self, caller: Caller, data: dict[str, Any]) -> Offer:
        return offer_forms.make(caller, data)

    def beside(self, caller: Caller, row: Any) -> dict[str, Any]:
        if row.published_at is None and row.withdrawn_at is None:
            said = _("Nobody else sees this draft. Next: publish it.")
            if row.audience is not None:
                said = _(
                    "Nobody else sees this draft. Look below whether it is for the organization"
                    " that you mean, then publish it."
                )
            return {"next_step": said}
        return {}

    @admin.action(description=gettext_lazy("Withdraw the selected offers"))
    def withdraw_selected(self, request: HttpRequest, rows: Rows) -> None:
        self.each(request, rows, lambda caller, row: offers.withdraw(caller, str(row.pk)))


studio.register(Offer, OfferPages)

# --- grants given -----------------------------------------------------------------------------


class PeriodInline(TenantInline):
    model = Period
    read = Scope.GRANTS_READ
    fields = ("number", "kind", "terms", "uses", "places", "train_until", "use_until")
    verbose_name_plural = gettext_lazy("Periods")

    @admin.display(description=gettext_lazy("Uses"))
    def uses(self, row: Period) -> str:
        return ", ".join(row.scope["uses"])

    @admin.display(description=gettext_lazy("Territories"))
    def places(self, row: Period) -> str:
        return ", ".join(row.scope["territories"])

    @admin.display(description=gettext_lazy("Training until"))
    def train_until(self, row: Period) -> str:
        return _until(row.training_window)

    @admin.display(description=gettext_lazy("Use until"))
    def use_until(self, row: Period) -> str:
        return _until(row.use_window)


def _receipt(caller: Caller, grant: Grant) -> HttpResponse | None:
    return receipt_file(caller, grant.issued_entry, name=str(grant.pk))


def receipt_file(caller: Caller, entry: LedgerEntry, *, name: str) -> HttpResponse | None:
    """The receipt of an entry, to download; None until it is signed."""
    receipt = proofs.receipt_for(caller, entry)
    if receipt is None:
        return None
    return HttpResponse(
        receipt,
        content_type=receipts.MEDIA_TYPE,
        headers={
            "Content-Disposition": f'attachment; filename="{name}{receipts.FILE_SUFFIX}"',
            "Cache-Control": "private, no-store",
        },
    )


class GrantPages(TenantModelAdmin):
    """Who licensed what from the caller's organization."""

    read = Scope.GRANTS_READ
    place = 7
    icon = "verified_user"
    menu_title = gettext_lazy("Licenses given")
    intro = gettext_lazy("Who licensed what from you, for which use, until when.")
    empty = gettext_lazy(
        "Nobody has licensed anything yet. Each license appears here with its receipt."
    )
    list_display: Any = ("licensee", "uses", "train_until", "status", "issued_at")
    list_filter: ClassVar[Any] = ("status",)
    search_fields = ("licensee__name",)
    show: ClassVar[tuple[str, ...]] = (
        "licensee",
        "uses",
        "places",
        "train_until",
        "status",
        "issued_at",
        "ended_at",
        "contract",
    )
    # Where its contract stands, as this side sees it.
    contract_page: ClassVar[str] = "licensing_agreement_change"
    inlines: ClassVar[Any] = (PeriodInline,)
    files: ClassVar[tuple[File, ...]] = (
        File(
            "certificate",
            gettext_lazy("Certificate"),
            lambda caller, grant: redirect("certificate", str(grant.pk)),
            "",
        ),
        File(
            "receipt",
            gettext_lazy("Receipt"),
            _receipt,
            gettext_lazy("The receipt is being signed. Try again in a few seconds."),
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        """Grants given; those held are the licensee's to look after."""
        periods = Period.objects.visible_to(caller).order_by("-number")
        return (
            rows.filter(licensor=caller.organization)
            .select_related("licensee", "issued_entry")
            .prefetch_related(Prefetch("periods", periods))
        )

    def label(self, row: Grant) -> str:
        return _("License of %(name)s") % {"name": row.licensee.name}

    @admin.display(description=gettext_lazy("Uses"))
    def uses(self, row: Grant) -> str:
        return ", ".join(row.periods.all()[0].scope["uses"])

    @admin.display(description=gettext_lazy("Territories"))
    def places(self, row: Grant) -> str:
        return ", ".join(row.periods.all()[0].scope["territories"])

    @admin.display(description=gettext_lazy("Training until"))
    def train_until(self, row: Grant) -> str:
        return _until(windows.last(row.periods.all(), "training_window").training_window)

    @admin.display(description=gettext_lazy("Contract"))
    def contract(self, row: Grant) -> Any:
        url = page(self.contract_page, row.agreement_id)
        return format_html('<a href="{}">{}</a>', url, _("The agreement, word for word"))


studio.register(Grant, GrantPages)

# --- the checklist, and words for people ------------------------------------------------------

studio.steps += [
    Step(
        43,
        gettext_lazy("Freeze a snapshot"),
        gettext_lazy("It fixes what is licensed, so that both sides can prove it later."),
        of_newest_collection("freeze"),
        lambda caller: own(Snapshot, caller),
        Scope.COLLECTIONS_WRITE,
    ),
    Step(
        50,
        gettext_lazy("Choose your terms"),
        gettext_lazy("Begin with a template, read it in plain words, publish it."),
        lambda caller: page("licensing_terms_add"),
        lambda caller: own(Terms, caller).filter(published_at__isnull=False),
        Scope.TERMS_WRITE,
    ),
    Step(
        60,
        gettext_lazy("List an offer"),
        gettext_lazy("A snapshot, terms and a price: publish it, and buyers find it."),
        lambda caller: page("licensing_offer_add"),
        lambda caller: own(Offer, caller).on_sale(),  # type: ignore[attr-defined]
        Scope.OFFERS_WRITE,
    ),
]


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _preformatted(text: str) -> Any:
    return format_html("<pre>{}</pre>", text)


def _until(window: Any) -> str:
    """When a period's window ends; where it has none, another period's counts."""
    return "–" if window.isempty else _day(window.upper)


def _day(instant: Any) -> str:
    return _("without end") if instant is None else preferences.day(instant)
