"""Invitations: a mailed token that lets one person in, once."""

from __future__ import annotations

import hashlib
import logging
import secrets
import smtplib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core import mail
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit, idempotency, organizations, preferences
from marketplace.access import Caller, acting, system
from marketplace.errors import (
    InvalidInput,
    InvitationEnded,
    InvitationForAnother,
    MailUnavailable,
    MissingScope,
    NotFound,
)
from marketplace.models import Collection, CollectionShare, Invitation, Membership, User
from marketplace.models.collections import permission_for

logger = logging.getLogger(__name__)

LIFETIME = timedelta(hours=72)


def invite(caller: Caller, *, email: str, role: str) -> Invitation:
    """Mail somebody a link by which they become a member. Only an owner makes owners.

    An open invitation of the same address is replaced. Raises InvalidInput, MissingScope,
    MailUnavailable.
    """
    organizations.check_role(role)
    check_may_give(caller, role)
    return send(caller, email=email, role=role)


def send(
    caller: Caller,
    *,
    email: str,
    role: str = "",
    collection: Collection | None = None,
    right: str = "",
) -> Invitation:
    """Record an invitation and mail its link; whoever gets a new one, keeps no old one."""
    address = check_email(email)
    token = secrets.token_urlsafe(32)
    with acting(caller):
        Invitation.objects.visible_to(caller).open().filter(
            email=address, collection=collection
        ).update(revoked_at=timezone.now())
        invitation = Invitation(
            organization=caller.organization,
            email=address,
            role=role,
            collection=collection,
            right=right,
            token_digest=_digest(token),
            created_by=caller.actor,
            expires_at=timezone.now() + LIFETIME,
        )
        invitation.save(force_insert=True)
        audit.record(caller, "invitation.mailed", subject=invitation, role=role, right=right)
        idempotency.names(caller, invitation)
        # Before the commit: a link that leads nowhere is better than one that nobody was sent.
        with preferences.writing_to(address):
            _mail(invitation, token)
    return invitation


def revoke(caller: Caller, id: str) -> Invitation:
    """Call an invitation back. Repeating it, or calling back what was accepted, changes nothing."""
    with acting(caller):
        invitation = Invitation.objects.get_visible(caller, id, lock=True)
        if invitation.accepted_at is None and invitation.revoked_at is None:
            invitation.revoked_at = timezone.now()
            invitation.save(update_fields=["revoked_at"])
            audit.record(caller, "invitation.revoked", subject=invitation)
        idempotency.names(caller, invitation)
    return invitation


def visible(caller: Caller, id: str) -> Invitation:
    """One of the caller's invitations. Raises NotFound."""
    with acting(caller, writing=False):
        return Invitation.objects.get_visible(caller, id)


def find(token: str) -> Invitation:
    """The invitation behind a mailed link, to show it. Raises NotFound, InvitationEnded."""
    with system("look at an invitation"):
        return _open(token)


def is_known(invitation: Invitation) -> bool:
    """Whether the invited person signs in here already: then they do so to accept."""
    return User.objects.filter(email=invitation.email).exists()


def accept(
    token: str, *, user: User | None = None, name: str = "", password: str = ""
) -> tuple[Invitation, User]:
    """Let the invited person in: as `user`, or as a new one with a name and a password.

    All of it or nothing; a second use of the link is refused. Raises NotFound, InvitationEnded,
    InvitationForAnother, InvalidInput.
    """
    with system("accept an invitation"):
        # Locked: two clicks at once let one of them in, and tell the other that it was used.
        invitation = _open(token, lock=True)
        person = _person(invitation, user, name, password)
        caller = Caller(
            organization=invitation.organization, livemode=False, scopes=frozenset(), user=person
        )
        if invitation.role:
            membership, is_new = Membership.objects.get_or_create(
                organization=invitation.organization,
                user=person,
                defaults={"role": invitation.role},
            )
            if is_new:
                audit.record(caller, "member.admitted", subject=membership, role=invitation.role)
        elif invitation.collection:
            CollectionShare.objects.update_or_create(
                content_object=invitation.collection,
                user=person,
                defaults={
                    "organization": invitation.organization,
                    "permission": permission_for(invitation.right),
                    "created_by": invitation.created_by,
                },
            )
            audit.record(
                caller, "collection.shared", subject=invitation.collection, right=invitation.right
            )
        invitation.accepted_at, invitation.accepted_by = timezone.now(), person
        invitation.save(update_fields=["accepted_at", "accepted_by"])
    return invitation, person


def send_mail(subject: str, body: str, address: str) -> None:
    """Mail one person. Raises MailUnavailable, for the caller's transaction to end with."""
    try:
        mail.send_mail(subject, body, None, [address])
    except (OSError, smtplib.SMTPException):
        logger.exception("The mail server took no mail.")
        raise MailUnavailable(_("The mail server took no mail. Try again later.")) from None


def check_email(email: str) -> str:
    """An address in the form that is stored. Raises InvalidInput."""
    address = email.strip().lower()
    try:
        validate_email(address)
    except ValidationError:
        raise InvalidInput(_("Give an email address."), param="email") from None
    return address


def check_may_give(caller: Caller, role: str) -> None:
    """Raise MissingScope where somebody would give more than they have."""
    if not organizations.ROLE_SCOPES[role] <= caller.scopes:
        raise MissingScope(
            _("You cannot make somebody “%(role)s”: it may do more than you may.") % {"role": role},
            scope="members:write",
        )


def new_user(*, email: str, name: str, password: str) -> User:
    """Make a person who can sign in. Raises InvalidInput for a weak password or no name."""
    if not name.strip() or len(name) > 200:
        raise InvalidInput(_("Give your name."), param="name")
    user = User(email=email, name=name.strip())
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidInput(" ".join(error.messages), param="password") from None
    user.set_password(password)
    user.save(force_insert=True)
    return user


def _person(invitation: Invitation, user: User | None, name: str, password: str) -> User:
    if user is not None:
        if user.email != invitation.email:
            raise InvitationForAnother(
                _("Sign in as %(email)s to accept it.") % {"email": invitation.email}
            )
        return user
    if is_known(invitation):
        raise InvitationForAnother(
            _("%(email)s has an account here. Sign in to accept.") % {"email": invitation.email}
        )
    return new_user(email=invitation.email, name=name, password=password)


def _open(token: str, *, lock: bool = False) -> Invitation:
    rows = Invitation.objects.select_related("organization", "collection")
    if lock:
        rows = rows.select_for_update(of=("self",))
    invitation = rows.filter(token_digest=_digest(token)).first()
    if invitation is None:
        raise NotFound(_("There is no such invitation. Copy the whole address from the mail."))
    ended: Mapping[str, Any] = {
        _("It was accepted before. Sign in."): invitation.accepted_at,
        _("It was called back. Ask for a new one."): invitation.revoked_at,
        _("Its time is over. Ask for a new one."): invitation.expires_at <= timezone.now(),
    }
    for why, has_ended in ended.items():
        if has_ended:
            raise InvitationEnded(why)
    return invitation


def _mail(invitation: Invitation, token: str) -> None:
    what = (
        _("a member (%(role)s)") % {"role": invitation.role}
        if invitation.role
        else _("a guest in “%(name)s”") % {"name": invitation.collection}
    )
    send_mail(
        _("%(organization)s invites you to Licet") % {"organization": invitation.organization.name},
        _(
            "%(organization)s invites you as %(what)s.\n\n%(url)s\n\n"
            "The link works once, until %(until)s. If you did not expect it, do nothing."
        )
        % {
            "organization": invitation.organization.name,
            "what": what,
            "url": f"{settings.BASE_URL}/invitations/{token}",
            "until": preferences.moment(invitation.expires_at),
        },
        invitation.email,
    )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
