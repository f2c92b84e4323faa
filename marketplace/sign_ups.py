"""Sign-ups: a new organization and its first owner, behind a mailed link. Off unless set."""

from __future__ import annotations

from django.conf import settings
from django.core import signing
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from marketplace import invitations, organizations, preferences
from marketplace.errors import InvalidInput, InvitationEnded, NotFound
from marketplace.models import Organization, User

LIFETIME_SECONDS = 24 * 3600
# Who may come by themselves; the market's operator is appointed.
KINDS = (Organization.Kind.CREATOR, Organization.Kind.PLATFORM, Organization.Kind.LAB)
_SALT = "marketplace.sign_ups"


def check_is_open() -> None:
    """Raise NotFound where this market takes no sign-ups."""
    if not settings.SIGN_UP:
        raise NotFound(_("This market takes no sign-ups. Ask its operator for an invitation."))


def begin(email: str) -> None:
    """Mail a link to an address. The same for one that is known: nobody learns who is here.

    Raises NotFound, InvalidInput, MailUnavailable.
    """
    check_is_open()
    address = invitations.check_email(email)
    token = signing.dumps(address, salt=_SALT)
    with preferences.writing_to(address):
        invitations.send_mail(
            _("Your organization on Licet"),
            _(
                "Open this link within 24 hours to found your organization:\n\n%(url)s\n\n"
                "If you did not ask for it, do nothing."
            )
            % {"url": f"{settings.BASE_URL}/sign-up/{token}"},
            address,
        )


def email(token: str) -> str:
    """The address that a mailed link proves. Raises NotFound, InvitationEnded."""
    check_is_open()
    try:
        address: str = signing.loads(token, salt=_SALT, max_age=LIFETIME_SECONDS)
    except signing.SignatureExpired:
        raise InvitationEnded(_("Its time is over. Sign up again.")) from None
    except signing.BadSignature:
        raise NotFound(_("There is no such sign-up. Copy the whole address.")) from None
    # One organization a sign-up: the address becomes a person, so the link works once.
    if User.objects.filter(email=address).exists():
        raise InvitationEnded(_("This address has an account here. Sign in."))
    return address


def found(
    token: str,
    *,
    kind: str,
    organization: str,
    legal_name: str,
    jurisdiction: str,
    name: str,
    password: str,
) -> tuple[Organization, User]:
    """Make the organization and its first owner: both or neither.

    Raises NotFound, InvitationEnded, InvalidInput.
    """
    address = email(token)
    if kind not in KINDS:
        raise InvalidInput(_("Use one of: %(known)s.") % {"known": ", ".join(KINDS)}, param="kind")
    for param, value in (("organization", organization), ("legal_name", legal_name)):
        if not value.strip() or len(value) > 200:
            raise InvalidInput(_("Give the name, of at most 200 characters."), param=param)
    try:
        with transaction.atomic():
            user = invitations.new_user(email=address, name=name, password=password)
            founded = organizations.found(
                kind=kind,
                name=organization,
                legal_name=legal_name,
                jurisdiction=jurisdiction,
                contact_email=address,
            )
            organizations.admit(founded, email=address, name=name, password=password, role="owner")
    except IntegrityError:
        # Two clicks at once: the address is unique.
        raise InvitationEnded(_("This address has an account here. Sign in.")) from None
    return founded, user
