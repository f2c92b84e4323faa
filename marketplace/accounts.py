"""Accounts of people who sign in: how one ends, and nothing says any more whose it was."""

from __future__ import annotations

from uuid import UUID

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from marketplace import erasures, idempotency, metadata
from marketplace.models import CollectionShare, Invitation, Membership, User
from marketplace.typeid import TypeID


def find(*, email: str = "", id: str = "") -> User | None:
    """The account of an address, or of an id, locked until the transaction ends."""
    rows = User.objects.select_for_update(of=("self",))
    if email:
        return rows.filter(email=email.strip().lower()).first()
    try:
        return rows.filter(pk=TypeID.parse("usr", id)).first()
    except ValueError:
        return None


def roles(user: User) -> list[Membership]:
    """Where an account has which role. Under `access.system`."""
    return list(Membership.objects.select_related("organization").filter(user=user).order_by("pk"))


def forget(user: User) -> erasures.Gone:
    """Close an account and blank whose it was: its id stays, in what it did.

    Under `access.system`, with the account locked. Nothing is left to do, the second time.
    """
    gone = erasures.Gone()
    at = [role.organization_id for role in roles(user)]
    gone.add("memberships", Membership.objects.filter(user=user).delete()[0])
    gone.add("shares", CollectionShare.objects.filter(user=user).delete()[0])
    gone.add("factors", Authenticator.objects.filter(user=user).delete()[0])
    gone.add("connections", SocialAccount.objects.filter(user=user).delete()[0])
    # We write none; whatever did, they go.
    gone.add("addresses", EmailAddress.objects.filter(user=user).delete()[0])
    blank = f"{user.pk}@erased.invalid"
    if user.email != blank:
        gone.add_refs("answers", idempotency.blank([user.email]))
        gone.add_refs("notes", metadata.forget([user.email]))
        for organization in at:
            # Elsewhere it is a namesake's.
            gone.add_refs("answers", idempotency.blank([user.name], organization))
            gone.add_refs("notes", metadata.forget([user.name], organization))
        _forget_invitations(gone, Q(email=user.email) | Q(accepted_by=user))
        _end_sessions(gone, user)
        user.email, user.name = blank, ""
        user.is_active = user.is_operator = user.is_superuser = False
        user.last_login = None
        user.language = user.time_zone = user.formats = ""
        user.set_unusable_password()
        user.save()
        gone.add("accounts", 1)
    return gone


def sweep() -> int:
    """Delete sessions that ended, and counts of failed sign-ins that count no more: how many.

    The worker's job: Django leaves both where they are.
    """
    count = int(Session.objects.filter(expire_date__lt=timezone.now()).delete()[0])
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_cache WHERE expires < %s", [timezone.now()])
        return count + int(cursor.rowcount)


def forget_invitations(ids: list[str]) -> erasures.Gone:
    """Delete invitations that an erasure names, as a restored database has them again."""
    gone = erasures.Gone()
    _forget_invitations(gone, Q(pk__in=[TypeID.parse("inv", text) for text in ids]))
    return gone


def inviting(email: str) -> list[UUID]:
    """The organizations whose invitations to an address are kept. Under `access.system`."""
    rows = Invitation.objects.filter(email=email.strip().lower())
    return list(rows.order_by("organization").values_list("organization", flat=True).distinct())


def forget_invited(email: str) -> erasures.Gone:
    """Delete the invitations to an address that nobody has an account with."""
    gone = erasures.Gone()
    _forget_invitations(gone, Q(email=email.strip().lower()))
    gone.add_refs("answers", idempotency.blank([email.strip()]))
    gone.add_refs("notes", metadata.forget([email.strip()]))
    return gone


def _forget_invitations(gone: erasures.Gone, those: Q) -> None:
    rows = list(Invitation.objects.select_for_update(of=("self",)).filter(those))
    Invitation.objects.filter(pk__in=[row.pk for row in rows]).delete()
    gone.add_refs("invitations", [str(row.pk) for row in rows])


def _end_sessions(gone: erasures.Gone, user: User) -> None:
    # A session names its account in sealed bytes: there is no column to ask.
    mine = [
        each.pk
        for each in Session.objects.iterator()
        if each.get_decoded().get("_auth_user_id") == user._meta.pk.value_to_string(user)
    ]
    gone.add("sessions", Session.objects.filter(pk__in=mine).delete()[0])
