"""How people sign in: what django-allauth asks of us, and what we keep of what it does."""

from __future__ import annotations

import logging
import uuid
from typing import Any
from urllib.parse import urlsplit

from allauth.account import signals as account_signals
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.account.forms import UserTokenForm as AllauthUserTokenForm
from allauth.account.internal.flows.login import record_authentication
from allauth.mfa import signals as factor_signals
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth import login
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from marketplace import account_acts, audit, invitations, preferences, second_factors
from marketplace.access import system
from marketplace.errors import AnotherOperatorNeeded, MailUnavailable, MissingScope, NotFound
from marketplace.models import User

logger = logging.getLogger(__name__)

_BACKEND = "allauth.account.auth_backends.AuthenticationBackend"
# What the mails that allauth asks for say.
_MAILS = {
    "account/email/password_reset_key": (
        _("Choose a new password for Licet"),
        _(
            "Somebody, we hope you, asked for a new password. Choose it here:\n\n"
            "%(password_reset_url)s\n\n"
            "If it was not you, do nothing: your password stays what it is."
        ),
    ),
    "account/email/unknown_account": (
        _("You have no account on Licet"),
        _(
            "Somebody, perhaps you, asked for a new password for this address. It has no account"
            " here, so there is nothing to change. People come in by an invitation: ask whoever"
            " works with you here."
        ),
    ),
}
_NOTICES = {
    "licet/factors_removed": _("An operator took away your second factors, as you asked."),
    "account/email/password_changed": _("Your password was changed."),
    "account/email/password_reset": _("Your password was chosen anew, by a mailed link."),
    "account/email/password_set": _("A password was set."),
    "mfa/email/totp_activated": _("An authenticator app was added."),
    "mfa/email/totp_deactivated": _("Your authenticator app was removed."),
    "mfa/email/webauthn_added": _("A passkey was added."),
    "mfa/email/webauthn_removed": _("A passkey was removed."),
    "mfa/email/recovery_codes_generated": _("New recovery codes were made."),
    "socialaccount/email/account_connected": _("You signed in by your company for the first time."),
}


def enter(request: HttpRequest, user: User) -> None:
    """Sign in who just chose their password behind a link that was mailed to them."""
    login(request, user, backend=_BACKEND)
    # Proved this moment: setting up a second factor asks for no password again.
    record_authentication(request, user, "password", reauthenticated=True)
    account_acts.record(user, "account.signed_in", by=["link"])


def sign_out_everywhere(user: User) -> None:
    """End all sessions of a person, this one too."""
    with transaction.atomic():
        user.signed_out_at = timezone.now()
        user.save(update_fields=["signed_out_at"])
        account_acts.record(user, "account.signed_out_everywhere")


def take_factors_away(email: str, *, operator: User | None = None) -> int:
    """Remove all factors of who lost them, and end their sessions. How many. Raises NotFound.

    For an operator, who made sure that it is this person who asks; on a page, it is named on
    record. Raises MissingScope for who is none, AnotherOperatorNeeded for one's own factors.
    """
    if operator is not None and not (operator.is_operator and operator.is_active):
        raise MissingScope(gettext("Only an operator of this market removes second factors."))
    if operator is not None and operator.email == email.strip().lower():
        raise AnotherOperatorNeeded(gettext("These are yours: another operator removes them."))
    by = "operator" if operator is None else str(operator.pk)
    with transaction.atomic():
        user = User.objects.select_for_update().filter(email=email.strip().lower()).first()
        if user is None:
            raise NotFound(gettext("There is nobody “%(email)s”.") % {"email": email})
        count = int(Authenticator.objects.filter(user=user).delete()[0])
        user.signed_out_at = timezone.now()
        user.save(update_fields=["signed_out_at"])
        account_acts.record(user, "factor.removed", by=by, count=count)
        with system("put an operator's act on record"):
            audit.record(audit.OfMarket(by), "factor.removed", subject=user, count=count)
    AccountAdapter().send_notification_mail("licet/factors_removed", user)
    return count


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Accounts: nobody makes one here, an address is a person's for good, mails are ours."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": _("The email and password do not match. Try again."),
        "enter_current_password": _("That is not your current password."),
        "incorrect_code": _("That code does not fit. Use the newest one, once."),
        "incorrect_password": _("That is not your password."),
        "invalid_password_reset": _("This link has ended. Ask for a new one."),
        "too_many_login_attempts": _("Too many tries failed. Try again in five minutes."),
        "rate_limited": _("That was too often. Try again in some minutes."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        methods = [record["method"] for record in get_authentication_records(request, user)]
        account_acts.record(user, "account.signed_in", by=methods)
        if not second_factors.has(user):
            # So that who is led to set-up need not give the password again.
            record_authentication(request, user, "password", reauthenticated=True)
        response: HttpResponse = super().post_login(request, user, **kwargs)
        return response

    def set_password(self, user: User, password: str) -> None:
        match = getattr(self.request, "resolver_match", None)
        is_link = match is not None and match.url_name == "account_reset_password_from_key"
        # Here, and not when allauth tells of it: no password changes without its record.
        with transaction.atomic():
            user.set_password(password)
            user.save(update_fields=["password"])
            account_acts.record(user, "password.changed", **({"by": "link"} if is_link else {}))

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("mfa_index")

    def get_reset_password_from_key_url(self, key: str) -> str:
        # Not the Host that was asked for: the link goes to somebody else than who asked.
        uid, _dash, token = key.partition("-")
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": uid, "key": token})
        return f"{settings.BASE_URL}{path}"

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        subject, text = _MAILS[template_prefix]
        try:
            with preferences.writing_to(email):
                invitations.send_mail(str(subject), str(text) % context, email)
        except MailUnavailable:
            # The answer is the same for every address, whatever becomes of the mail; it is logged.
            return

    def send_notification_mail(
        self, template_prefix: str, user: User, context: Any = None, email: Any = None
    ) -> None:
        if template_prefix not in _NOTICES:
            return
        with preferences.writing_to(user.email):
            self._notify(template_prefix, user)

    def _notify(self, template_prefix: str, user: User) -> None:
        text = gettext(
            "%(what)s\n\nIf it was not you: choose a new password and sign out everywhere, at"
            " %(url)s"
        ) % {"what": _NOTICES[template_prefix], "url": f"{settings.BASE_URL}{reverse('mfa_index')}"}
        try:
            invitations.send_mail(gettext("Your account on Licet was changed"), text, user.email)
        except MailUnavailable:
            return  # logged; what was done stays done


class MfaAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Second factors: sealed in the database, named for people."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": AccountAdapter.error_messages["incorrect_code"],
    }

    def encrypt(self, text: str) -> str:
        return second_factors.seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        try:
            return second_factors.unseal(encrypted_text)
        except second_factors.SealBroken:
            logger.exception("A second factor cannot be read.")
            raise ValidationError(
                _("This market cannot read your second factor. Ask whoever runs it.")
            ) from None

    def get_totp_issuer(self) -> str:
        # Markets tell themselves apart in somebody's app.
        return f"Licet {urlsplit(settings.BASE_URL).hostname}"

    def generate_authenticator_name(self, user: User, type: Any) -> str:
        count = Authenticator.objects.filter(user=user, type=type).count()
        return gettext("Passkey %(number)s") % {"number": count + 1}

    def _get_site_name(self) -> str:
        return "Licet"

    def get_public_key_credential_user_entity(self, user: User) -> dict[str, Any]:
        # As `TypeIDField` reads it again; allauth would write a bare UUID, which that refuses.
        return {"id": str(user.pk).encode(), "name": user.email, "display_name": user.name}


class UserTokenForm(AllauthUserTokenForm):  # type: ignore[misc]
    """Finds whose password a mailed link lets choose anew."""

    def _get_user(self, uidb36: str) -> User | None:
        try:
            return User.objects.filter(pk=uuid.UUID(hex=uidb36), is_active=True).first()
        except ValueError:
            return None


# --- what is kept of what allauth does --------------------------------------------------------


def listen() -> None:
    """Have allauth's acts recorded. It offers nothing but signals for this."""
    for signal, receiver in (
        (factor_signals.authenticator_added, _added),
        (factor_signals.authenticator_removed, _removed),
        (factor_signals.authenticator_reset, _renewed),
        (factor_signals.authenticator_used, _used),
        (account_signals.password_reset, _password_reset),
    ):
        signal.connect(receiver, dispatch_uid=f"licet {receiver.__name__}")


def _added(request: HttpRequest, user: User, authenticator: Any, **_more: Any) -> None:
    account_acts.record(user, "factor.added", kind=authenticator.type)
    if authenticator.type in second_factors.KINDS:
        second_factors.note_passed(request, user, authenticator.type)


def _removed(user: User, authenticator: Any, **_more: Any) -> None:
    account_acts.record(user, "factor.removed", kind=authenticator.type)


def _renewed(user: User, authenticator: Any, **_more: Any) -> None:
    account_acts.record(user, "factor.replaced", kind=authenticator.type)


def _used(authenticator: Any, **_more: Any) -> None:
    second_factors.reseal(authenticator)


def _password_reset(request: HttpRequest, user: User, **_more: Any) -> None:
    # Who proved the address may try again at once.
    AccountAdapter(request)._delete_login_attempts_cached_email(request, email=user.email)
