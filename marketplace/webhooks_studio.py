"""The workspace's pages of webhooks: where events are sent to, and what became of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from marketplace import events, preferences, webhook_deliveries, webhooks
from marketplace.access import Caller, Scope, acting
from marketplace.errors import DomainError, InvalidInput, WebhookSecretOverlaps
from marketplace.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from marketplace.secret_pages import SecretPages
from marketplace.seen_forms import UNCHANGED, SeenForm
from marketplace.tenant_forms import AddForm, VerbForm
from marketplace.tenant_pages import (
    Done,
    File,
    Rows,
    TenantInline,
    TenantModelAdmin,
    TenantRelatedFilter,
    Verb,
    own,
)
from marketplace.tenant_site import Section, studio

Because = WebhookEndpoint.Because
State = WebhookDelivery.State
# Where it is written how a program takes them.
GUIDE = "/docs/guide/webhooks/"
_MISSED = gettext_lazy("Once it is enabled, “Send what it missed” sends what happens meanwhile.")


def _guide() -> str:
    return format_html('<a href="{}">{}</a>', GUIDE, _("How a program takes and verifies them"))


# --- endpoints: what they take ----------------------------------------------------------------


def _types() -> list[tuple[str, str]]:
    return [(name, _said(name)) for name in sorted(events.TYPES)]


def _said(type: str) -> str:
    # The reference marks names of members so; a page says them plainly.
    return format_html("<code>{}</code> {}", type, _(events.TYPES[type]).replace("`", ""))


_URL = gettext_lazy("URL")
_URL_HELP = gettext_lazy(
    "https://, on the public internet. It answers 2xx within 15 seconds, and works later."
)
_DESCRIPTION = gettext_lazy("Description")
_DESCRIPTION_HELP = gettext_lazy("For yourself: which system it is. May stay empty.")


def _types_field() -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        label=gettext_lazy("Events"),
        required=False,
        choices=_types,
        # Not Unfold's look: it would make the box around all of them as small as each.
        widget=forms.CheckboxSelectMultiple(attrs={"class": "several border-0"}),
        help_text=gettext_lazy("None chosen: all, and types that are added later."),
    )


class EndpointForm(AddForm):
    intro = gettext_lazy(
        "Events of this mode are sent to your server from now on. The next page shows the secret"
        " that they are signed with, once; the endpoint’s page has a public key that verifies them"
        " as well. Use the one or the other."
    )
    types = _types_field()

    class Meta:
        model = WebhookEndpoint
        fields = ("url", "description", "types")
        labels = {"url": _URL, "description": _DESCRIPTION}
        help_texts = {"url": _URL_HELP, "description": _DESCRIPTION_HELP}


class ChangeForm(SeenForm):
    labels = {"url": _URL, "description": _DESCRIPTION, "types": gettext_lazy("Events")}
    url = forms.CharField(label=_URL, max_length=500, help_text=_URL_HELP)
    description = forms.CharField(
        label=_DESCRIPTION, max_length=200, required=False, help_text=_DESCRIPTION_HELP
    )
    types = _types_field()

    def prepare(self) -> None:
        super().prepare()
        self.fields["types"].initial = self.row.types

    @classmethod
    def standing(cls, row: WebhookEndpoint) -> dict[str, str]:
        return {
            "url": row.url,
            "description": row.description,
            "types": ", ".join(row.types),
        }

    def clean_types(self) -> str:
        return ", ".join(sorted(self.cleaned_data["types"]))


def _change(caller: Caller, row: WebhookEndpoint, data: dict[str, Any]) -> Done:
    with acting(caller):
        # Under the lock of the verb: two who save at once come one after the other.
        found = WebhookEndpoint.objects.get_visible(caller, row.pk, lock=True)
        if data["seen"] and ChangeForm.is_stale(found, data):
            raise InvalidInput(ChangeForm.told(found), param="")
        if ChangeForm.is_same(found, data):
            return Done(str(UNCHANGED))
        webhooks.change(
            caller,
            row.pk,
            url=data["url"],
            description=data["description"],
            types=[each for each in data["types"].split(", ") if each],
        )
    return Done(_("Saved. What is sent from now on goes by it."))


class RotateForm(VerbForm):
    overlap_seconds = forms.TypedChoiceField(
        label=gettext_lazy("The secret before it"),
        coerce=int,
        choices=[
            (24 * 3600, gettext_lazy("signs as well for a day")),
            (3600, gettext_lazy("signs as well for an hour")),
            (webhooks.OVERLAP_SECONDS_MAX, gettext_lazy("signs as well for a week")),
            (0, gettext_lazy("ends now, as every earlier one")),
        ],
        initial=webhooks.OVERLAP_SECONDS,
        help_text=gettext_lazy("Where somebody else may know it, let it end now."),
    )


def _rotate(caller: Caller, row: WebhookEndpoint, data: dict[str, Any]) -> Done:
    try:
        _endpoint, secret = webhooks.rotate_secret(caller, row.pk, **data)
    except WebhookSecretOverlaps as refusal:
        # In the words of the form, and not of the API.
        ends = datetime.fromisoformat(refusal.data["previous_secret_ends_at"])
        raise InvalidInput(
            _("The secret before this one signs until %(when)s. Let it end now, or wait.")
            % {"when": preferences.moment(ends)},
            param="overlap_seconds",
        ) from None
    told = _("The endpoint has another secret.")
    return Done(told, studio.page("marketplace_webhookendpoint_secret", row.pk), secret)


def _test(caller: Caller, row: WebhookEndpoint, data: dict[str, Any]) -> Done:
    webhooks.test(caller, row.pk)
    return Done(_("A test is on its way. What came of it stands here in some seconds."))


def _disable(caller: Caller, row: WebhookEndpoint, data: dict[str, Any]) -> Done:
    if row.disabled_at is not None:
        return Done(str(UNCHANGED))
    webhooks.change(caller, row.pk, disabled=True)
    return Done(_("The endpoint is disabled: nothing is sent to it any more."))


def _enable(caller: Caller, row: WebhookEndpoint, data: dict[str, Any]) -> Done:
    if row.disabled_at is None:
        return Done(str(UNCHANGED))
    webhooks.change(caller, row.pk, disabled=False)
    return Done(_("The endpoint is enabled: what happens from now on is sent to it."))


class CatchUpForm(VerbForm):
    since = forms.TypedChoiceField(
        label=gettext_lazy("What happened in"),
        coerce=int,
        choices=[
            (1, gettext_lazy("the last hour")),
            (24, gettext_lazy("the last 24 hours")),
            (3 * 24, gettext_lazy("the last three days")),
            (7 * 24, gettext_lazy("the last week")),
            (webhooks.KEPT_DAYS * 24, gettext_lazy("the last 30 days")),
        ],
        initial=24,
    )


def _catch_up(caller: Caller, row: WebhookEndpoint, data: dict[str, Any]) -> Done:
    # A little less than what the verb takes at most: time goes on between here and there.
    since = timezone.now() - timedelta(hours=data["since"]) + timedelta(minutes=1)
    done = webhooks.replayed(webhooks.replay_since(caller, row.pk, since=since))
    if not done.deliveries:
        return Done(_("It missed nothing in that time."))
    said = ngettext(
        "%(count)s event is on its way.", "%(count)s events are on their way.", done.deliveries
    ) % {"count": preferences.number(done.deliveries)}
    if done.next_since is None:
        return Done(said)
    return Done(" ".join([said, _("There are more: do it again once these have arrived.")]))


def _is_enabled(row: WebhookEndpoint) -> bool:
    return row.disabled_at is None


# --- endpoints: their pages -------------------------------------------------------------------


class DeliveryInline(TenantInline):
    model = WebhookDelivery
    read = Scope.WEBHOOKS_READ
    fields = ("told", "state", "attempts", "begun", "over")
    verbose_name_plural = gettext_lazy("Deliveries (the newest 20)")
    empty = gettext_lazy("Nothing was sent yet. Send a test to see whether your server takes it.")

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        return rows.select_related("event")

    @admin.display(description=gettext_lazy("Event"))
    def told(self, row: WebhookDelivery) -> str:
        return row.event.type

    @admin.display(description=gettext_lazy("Queued at"))
    def begun(self, row: WebhookDelivery) -> str:
        return preferences.moment(row.created_at)

    @admin.display(description=gettext_lazy("Ended at"))
    def over(self, row: WebhookDelivery) -> str:
        return "–" if row.ended_at is None else preferences.moment(row.ended_at)


class EndpointPages(SecretPages):
    """Where an organization has its events sent, and whether they are taken there."""

    read, write = Scope.WEBHOOKS_READ, Scope.WEBHOOKS_WRITE
    section = Section.LICENSES
    place = 5
    icon = "webhook"
    menu_title = gettext_lazy("Webhooks")
    intro = gettext_lazy("Where events are sent as they happen: licenses, notices, orders.")
    empty = gettext_lazy(
        "You have no webhook yet. It tells a program of yours, within seconds, that a license was"
        " given or ended, that works were taken out, that an order was paid: your server is sent"
        " each event, signed."
    )
    secret_title = gettext_lazy("The secret of %(name)s")
    secret_intro = gettext_lazy(
        "Copy the secret now: it is shown this once. The program that verifies what comes needs it."
    )
    secret_gone = gettext_lazy(
        "The secret was shown once, and is not shown again. If you have not got it, rotate it."
    )
    add_form = EndpointForm
    list_display: Any = ("address", "wanted", "state", "last_delivery")
    show = (
        "address",
        "description",
        "wanted",
        "state",
        "last_delivery",
        "verified_by",
        "secret_before",
        "made",
    )
    inlines: ClassVar[Any] = (DeliveryInline,)
    verbs: ClassVar[tuple[Verb, ...]] = (
        Verb(
            "test",
            gettext_lazy("Send a test"),
            gettext_lazy(
                "An event that says nothing else is sent to this endpoint alone, as every event is."
            ),
            _test,
            offered=_is_enabled,
        ),
        Verb(
            "enable",
            gettext_lazy("Enable"),
            gettext_lazy(
                "What happens from now on is sent to it. What happened meanwhile is sent by “Send"
                " what it missed”."
            ),
            _enable,
            offered=lambda row: not _is_enabled(row),
        ),
        Verb(
            "catch_up",
            gettext_lazy("Send what it missed"),
            gettext_lazy(
                "Deliveries that failed or were canceled, and events that happened while it was"
                " disabled. Each with its own webhook-id: a program that acts once for each id does"
                " nothing twice."
            ),
            _catch_up,
            CatchUpForm,
            offered=_is_enabled,
        ),
        Verb(
            "edit",
            gettext_lazy("Change it"),
            gettext_lazy("Its secret stays. What is on its way goes to the new URL."),
            _change,
            ChangeForm,
        ),
        Verb(
            "rotate",
            gettext_lazy("Rotate the secret"),
            gettext_lazy(
                "The next page shows another secret, once. While both sign, your program may be"
                " told of it without losing an event. The public key is another one as well."
            ),
            _rotate,
            RotateForm,
        ),
        Verb(
            "disable",
            gettext_lazy("Disable"),
            gettext_lazy(
                "Nothing is sent to it, and what is on its way is canceled. You can enable it"
                " again, and have sent then what happened meanwhile."
            ),
            _disable,
            offered=_is_enabled,
        ),
    )
    files: ClassVar[tuple[File, ...]] = (
        File("deliveries", gettext_lazy("All deliveries"), lambda caller, row: _all(row), ""),
    )

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        said = {
            "intro": format_html("{} {}", self.intro, _guide()),
            "empty": format_html("{} {}", self.empty, _guide()),
        }
        return super().changelist_view(request, {**said, **(extra_context or {})})

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        # By event and not by id: an endpoint's deliveries have an index by that.
        newest = own(WebhookDelivery, caller).filter(endpoint=OuterRef("pk")).order_by("-event_id")
        at = newest.annotate(at=Coalesce("ended_at", "created_at")).values("at")
        states = newest.values("state")
        return cast(Rows, rows.annotate(last_state=Subquery(states[:1]), last_at=Subquery(at[:1])))

    def label(self, row: WebhookEndpoint) -> str:
        return row.url

    def beside(self, caller: Caller, row: Any) -> dict[str, Any]:
        said = _what_to_do(row)
        return {"next_step": said} if said else {}

    @admin.display(description=_URL, ordering="url")
    def address(self, row: WebhookEndpoint) -> str:
        return row.url

    @admin.display(description=gettext_lazy("Events"))
    def wanted(self, row: WebhookEndpoint) -> str:
        if not row.types:
            return _("All")
        return format_html_join(", ", "<code>{}</code>", ((one,) for one in row.types))

    @admin.display(description=gettext_lazy("State"))
    def state(self, row: WebhookEndpoint) -> str:
        match row.disabled_because:
            case "":
                return _("Active") if row.failing_since is None else _("Active, but it fails")
            case Because.GONE:
                return _("Disabled: it answered 410")
            case Because.FAILING:
                return _("Disabled: it took nothing")
            case _owner:
                return _("Disabled by your organization")

    @admin.display(description=gettext_lazy("Last delivery"))
    def last_delivery(self, row: Any) -> str:
        if not row.last_state:
            return "–"
        state = State(row.last_state).label
        return format_html("{}<br>{}", state, preferences.moment(row.last_at))

    @admin.display(description=gettext_lazy("Public key (Ed25519)"))
    def verified_by(self, row: WebhookEndpoint) -> str:
        try:
            return format_html("<code>{}</code>", webhooks.public_key(row))
        except DomainError as refusal:
            return str(refusal.detail)

    @admin.display(description=gettext_lazy("The secret before it"))
    def secret_before(self, row: WebhookEndpoint) -> str:
        ends = row.previous_secret_ends_at
        if ends is None or ends <= timezone.now():
            return _("Signs no more")
        return _("Signs as well until %(when)s") % {"when": preferences.moment(ends)}

    @admin.display(description=gettext_lazy("Created"))
    def made(self, row: WebhookEndpoint) -> str:
        return preferences.moment(row.created_at)

    def make(self, caller: Caller, data: dict[str, Any]) -> WebhookEndpoint:
        endpoint, secret = webhooks.create(caller, **data)
        endpoint.new_secret = secret  # type: ignore[attr-defined]
        return endpoint


def _what_to_do(row: WebhookEndpoint) -> str:
    """Why an endpoint is as it is, and what helps; nothing where all is well."""
    days = {"days": webhook_deliveries.FAILING_DAYS}
    match row.disabled_because:
        case Because.GONE:
            why = _(
                "Its server answered 410, which says that it is gone for good. Correct the URL, or"
                " the server; then enable it."
            )
        case Because.FAILING:
            why = (
                _(
                    "Its server took nothing for %(days)s days; its deliveries say why. Repair it,"
                    " then enable it."
                )
                % days
            )
        case Because.OWNER:
            why = _("Nothing is sent to it until you enable it.")
        case _active:
            if row.failing_since is None:
                return ""
            return _(
                "Since %(when)s it took nothing: its deliveries say why. They are tried again, less"
                " and less often; after %(days)s days of it, it is disabled."
            ) % {**days, "when": preferences.moment(row.failing_since)}
    return f"{why} {_MISSED}"


def _all(row: WebhookEndpoint) -> HttpResponse:
    url = studio.page("marketplace_webhookdelivery_changelist")
    return redirect(f"{url}?endpoint__id__exact={row.pk}")


studio.register(WebhookEndpoint, EndpointPages)

# --- deliveries -------------------------------------------------------------------------------


class AttemptInline(TenantInline):
    model = WebhookAttempt
    read = Scope.WEBHOOKS_READ
    ordering: ClassVar[Sequence[str]] = ("-number",)
    fields = ("number", "at", "took", "status", "why", "answered")
    verbose_name_plural = gettext_lazy("Attempts (the newest 20)")
    empty = gettext_lazy("None was made yet.")

    @admin.display(description=gettext_lazy("Begun at"))
    def at(self, row: WebhookAttempt) -> str:
        return preferences.moment(row.started_at)

    @admin.display(description=gettext_lazy("Took"))
    def took(self, row: WebhookAttempt) -> str:
        return f"{preferences.number(Decimal(row.duration_ms) / 1000, 3)} s"

    @admin.display(description=gettext_lazy("Why no answer came"))
    def why(self, row: WebhookAttempt) -> str:
        # Kept in English, as all that a worker records.
        return format_html('<span lang="en">{}</span>', row.error) if row.error else "–"

    @admin.display(description=gettext_lazy("Its answer begins"))
    def answered(self, row: WebhookAttempt) -> str:
        return format_html("<pre>{}</pre>", row.answer) if row.answer else "–"


def _replay(caller: Caller, row: WebhookDelivery, data: dict[str, Any]) -> Done:
    webhooks.replay(caller, row.pk)
    return Done(_("It is sent again now. What came of it stands here in some seconds."))


def _sent(caller: Caller, row: WebhookDelivery) -> HttpResponse:
    """The very bytes that are signed."""
    return HttpResponse(
        webhook_deliveries.body(row.event),
        content_type="application/json; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{row.event_id}.json"',
            "Cache-Control": "private, no-store",
        },
    )


class DeliveryPages(TenantModelAdmin):
    """Each event on its way to each endpoint, to look into and to send again."""

    read, write = Scope.WEBHOOKS_READ, Scope.WEBHOOKS_WRITE
    section = Section.LICENSES
    place = 6
    icon = "outgoing_mail"
    intro = gettext_lazy(
        "What was sent to your endpoints, newest first; kept for 30 days after its end."
    )
    empty = gettext_lazy("Nothing was sent yet. Add a webhook, and send it a test.")
    list_display: Any = ("told", "sent_to", "state", "attempts", "begun", "over")
    list_filter: ClassVar[Any] = ("state", ("endpoint", TenantRelatedFilter))
    show = (
        "told",
        "sent_to",
        "state",
        "attempts",
        "begun",
        "due",
        "over",
        "webhook_id",
        "sent",
    )
    inlines: ClassVar[Any] = (AttemptInline,)
    verbs: ClassVar[tuple[Verb, ...]] = (
        Verb(
            "replay",
            gettext_lazy("Send it again"),
            gettext_lazy(
                "At once, with the same webhook-id, whatever became of it; then by the whole"
                " schedule of about three days. A program that acts once for each id does nothing"
                " twice."
            ),
            _replay,
            offered=lambda row: _is_enabled(row.endpoint),
        ),
    )
    files: ClassVar[tuple[File, ...]] = (
        File("body", gettext_lazy("Body, as it is sent"), _sent, ""),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        return rows.select_related("event", "endpoint")

    def label(self, row: WebhookDelivery) -> str:
        return f"{row.event.type}, {preferences.moment(row.created_at)}"

    def beside(self, caller: Caller, row: Any) -> dict[str, Any]:
        said = {
            State.FAILED: _(
                "No attempt of three days was taken. Once your server takes it, send it again."
            ),
            State.CANCELED: _(
                "Its endpoint was disabled before it was taken. Once it is enabled, this can be"
                " sent again."
            ),
        }
        return {"next_step": said[row.state]} if row.state in said else {}

    @admin.display(description=gettext_lazy("Event"))
    def told(self, row: WebhookDelivery) -> str:
        return row.event.type

    @admin.display(description=gettext_lazy("To"))
    def sent_to(self, row: WebhookDelivery) -> str:
        url = studio.page("marketplace_webhookendpoint_change", row.endpoint_id)
        return format_html('<a href="{}">{}</a>', url, row.endpoint.url)

    @admin.display(description=gettext_lazy("Queued at"))
    def begun(self, row: WebhookDelivery) -> str:
        return preferences.moment(row.created_at)

    @admin.display(description=gettext_lazy("Next attempt"))
    def due(self, row: WebhookDelivery) -> str:
        return "–" if row.next_attempt_at is None else preferences.moment(row.next_attempt_at)

    @admin.display(description=gettext_lazy("Ended at"))
    def over(self, row: WebhookDelivery) -> str:
        return "–" if row.ended_at is None else preferences.moment(row.ended_at)

    @admin.display(description=gettext_lazy("Id of the event (webhook-id)"))
    def webhook_id(self, row: WebhookDelivery) -> str:
        return str(row.event_id)

    @admin.display(description=gettext_lazy("Body, with line breaks added"))
    def sent(self, row: WebhookDelivery) -> str:
        said = webhook_deliveries.payload(row.event)
        return format_html("<pre>{}</pre>", json.dumps(said, indent=2, ensure_ascii=False))


studio.register(WebhookDelivery, DeliveryPages)
