"""The workspace's pages of an organization itself: its members, invitations and API keys."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace import api_keys, invitations, members
from marketplace.access import Caller, Scope
from marketplace.models import ApiKey, Invitation, Membership
from marketplace.secret_pages import SecretPages
from marketplace.tenant_forms import AddForm, VerbForm
from marketplace.tenant_pages import Done, Rows, TenantModelAdmin, Verb
from marketplace.tenant_site import Section, studio

ROLES_HELP = gettext_lazy(
    "Viewers look. Editors work on collections, terms and offers; finance buys, refunds and pays"
    " out; managers do both and invite people; owners also make keys and change the organization."
)

# --- members ----------------------------------------------------------------------------------


class RoleForm(VerbForm):
    role = forms.ChoiceField(
        label=gettext_lazy("Role"), choices=Membership.Role.choices, help_text=ROLES_HELP
    )

    def prepare(self) -> None:
        self.fields["role"].initial = self.row.role


def _set_role(caller: Caller, row: Membership, data: dict[str, Any]) -> Done:
    member = members.set_role(caller, str(row.pk), role=data["role"])
    return Done(_("The role is “%(role)s” now.") % {"role": member.get_role_display()})


def _remove(caller: Caller, row: Membership, data: dict[str, Any]) -> Done:
    members.remove(caller, str(row.pk))
    told = _("%(name)s is no longer a member.") % {"name": row.user.name}
    return Done(told, studio.page("marketplace_membership_changelist"))


class MemberPages(TenantModelAdmin):
    """Who works here, and as what."""

    read, write = Scope.MEMBERS_READ, Scope.MEMBERS_WRITE
    section = Section.ORGANIZATION
    place = 1
    icon = "group"
    menu_title = gettext_lazy("Members")
    intro = gettext_lazy("Who works in your organization, and what they may do.")
    list_display: Any = ("person", "email", "role", "created_at")
    list_filter: ClassVar[Any] = ("role",)
    show = ("person", "email", "role", "created_at")
    verbs: ClassVar[tuple[Verb, ...]] = (
        Verb("set_role", gettext_lazy("Change the role"), ROLES_HELP, _set_role, RoleForm),
        Verb(
            "remove",
            gettext_lazy("Remove"),
            gettext_lazy("They lose their role, and what was shared with them here, at once."),
            _remove,
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        return rows.select_related("user")

    def label(self, row: Membership) -> str:
        return row.user.name

    @admin.display(description=gettext_lazy("Name"))
    def person(self, row: Membership) -> str:
        return row.user.name

    @admin.display(description=gettext_lazy("Email"))
    def email(self, row: Membership) -> str:
        return row.user.email


studio.register(Membership, MemberPages)

# --- invitations ------------------------------------------------------------------------------


class InvitationForm(AddForm):
    intro = gettext_lazy(
        "We mail a link that works once, within 72 hours. Whoever opens it chooses a password, or"
        " signs in, and becomes a member."
    )
    role = forms.ChoiceField(
        label=gettext_lazy("Role"), choices=Membership.Role.choices, help_text=ROLES_HELP
    )

    class Meta:
        model = Invitation
        fields = ("email", "role")


def _call_back(caller: Caller, row: Invitation, data: dict[str, Any]) -> Done:
    invitations.revoke(caller, str(row.pk))
    return Done(_("The invitation is called back: its link no longer works."))


class InvitationPages(TenantModelAdmin):
    """Who was invited, and what became of it."""

    read, write = Scope.MEMBERS_READ, Scope.MEMBERS_WRITE
    section = Section.ORGANIZATION
    place = 2
    icon = "mail"
    intro = gettext_lazy("Whom you invited. A link works once, for 72 hours.")
    empty = gettext_lazy("You have invited nobody yet.")
    add_form = InvitationForm
    list_display: Any = ("email", "what", "state", "expires_at")
    show = ("email", "what", "state", "created_at", "expires_at", "accepted_at")
    verbs: ClassVar[tuple[Verb, ...]] = (
        Verb(
            "call_back",
            gettext_lazy("Call it back"),
            gettext_lazy("The link in the mail stops working. You can invite them again."),
            _call_back,
            offered=lambda row: row.accepted_at is None and row.revoked_at is None,
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        return rows.select_related("collection")

    def label(self, row: Invitation) -> str:
        return row.email

    @admin.display(description=gettext_lazy("As"))
    def what(self, row: Invitation) -> str:
        if row.role:
            return str(Membership.Role(row.role).label)
        return _("Guest in “%(name)s”") % {"name": row.collection}

    @admin.display(description=gettext_lazy("State"))
    def state(self, row: Invitation) -> str:
        if row.accepted_at is not None:
            return _("Accepted")
        if row.revoked_at is not None:
            return _("Called back")
        return _("Expired") if row.expires_at <= timezone.now() else _("Open")

    def make(self, caller: Caller, data: dict[str, Any]) -> Invitation:
        return invitations.invite(caller, email=data["email"], role=data["role"])


studio.register(Invitation, InvitationPages)

# --- API keys ---------------------------------------------------------------------------------


class KeyForm(AddForm):
    intro = gettext_lazy(
        "A key lets a program act for your organization, within the scopes that you choose. Its"
        " secret is shown once: keep it where only that program reads it."
    )
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("Scopes"),
        choices=[(one.value, one.value) for one in Scope],
        widget=forms.SelectMultiple(attrs={"size": 12}),
        help_text=gettext_lazy(
            "Only what the program needs; several with Ctrl or Command. “write” includes no “read”."
        ),
    )

    class Meta:
        model = ApiKey
        fields = ("name", "scopes", "expires_at")
        help_texts = {
            "name": gettext_lazy("What uses it, such as: nightly import."),
            "expires_at": gettext_lazy("In your time zone. Empty: until you revoke it."),
        }


def _revoke(caller: Caller, row: ApiKey, data: dict[str, Any]) -> Done:
    api_keys.revoke(caller, str(row.pk))
    return Done(_("The key is revoked: nothing is let in by it any more."))


class KeyPages(SecretPages):
    """What programs act by."""

    read, write = Scope.KEYS_READ, Scope.KEYS_WRITE
    section = Section.ORGANIZATION
    place = 3
    icon = "key"
    menu_title = gettext_lazy("API keys")
    intro = gettext_lazy(
        "What programs act by for your organization. Secrets are never shown again."
    )
    empty = gettext_lazy("You have no key yet. Make one for each program that uses the API.")
    secret_title = gettext_lazy("The key “%(name)s”")
    secret_intro = gettext_lazy("Copy the secret now: it is shown this once, and kept nowhere.")
    secret_gone = gettext_lazy(
        "The secret was shown once, and is kept nowhere. If you have not got it, revoke this key"
        " and make another."
    )
    add_form = KeyForm
    list_display: Any = ("name", "ending", "state", "last_used_at", "expires_at")
    show = (
        "name",
        "ending",
        "state",
        "allowed",
        "version",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    verbs: ClassVar[tuple[Verb, ...]] = (
        Verb(
            "revoke",
            gettext_lazy("Revoke"),
            gettext_lazy("It ends now, for good. Programs that still use it are refused."),
            _revoke,
            offered=lambda row: row.revoked_at is None,
        ),
    )

    @admin.display(description=gettext_lazy("Secret ends with"))
    def ending(self, row: ApiKey) -> str:
        return f"…{row.last_four}"

    @admin.display(description=gettext_lazy("Scopes"))
    def allowed(self, row: ApiKey) -> str:
        return ", ".join(row.scopes)

    @admin.display(description=gettext_lazy("State"))
    def state(self, row: ApiKey) -> str:
        if row.revoked_at is not None:
            return _("Revoked")
        is_over = row.expires_at is not None and row.expires_at <= timezone.now()
        return _("Expired") if is_over else _("Works")

    def make(self, caller: Caller, data: dict[str, Any]) -> ApiKey:
        key, secret = api_keys.create(caller, **data)
        key.new_secret = secret  # type: ignore[attr-defined]
        return key


studio.register(ApiKey, KeyPages)
