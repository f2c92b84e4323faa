"""Organizations, the people in them, and their roles."""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError
from django.db import transaction

from marketplace import audit
from marketplace.access import Caller, Scope, acting
from marketplace.errors import InvalidInput
from marketplace.models import Membership, Organization, User

# What each role may do when its member is signed in. Keys carry their own scopes.
_READ = frozenset(scope for scope in Scope if scope.value.endswith(":read"))
ROLE_SCOPES: dict[str, frozenset[Scope]] = {
    Membership.Role.OWNER: frozenset(Scope),
    Membership.Role.MANAGER: frozenset(Scope) - {Scope.KEYS_WRITE, Scope.MEMBERS_WRITE},
    Membership.Role.EDITOR: _READ
    | {
        Scope.WORKS_WRITE,
        Scope.COLLECTIONS_WRITE,
        Scope.TERMS_WRITE,
        Scope.OFFERS_WRITE,
        Scope.OPT_OUTS_WRITE,
    },
    Membership.Role.FINANCE: _READ
    | {Scope.QUOTES_WRITE, Scope.ORDERS_WRITE, Scope.ACCESS_REQUESTS_WRITE},
    Membership.Role.VIEWER: _READ,
}


def found(
    *, kind: str, name: str, legal_name: str, jurisdiction: str, registration_number: str = ""
) -> Organization:
    """Create an organization. An operator's act; its first member is added with `admit`."""
    if kind not in Organization.Kind.values:
        raise InvalidInput(f"Use one of: {', '.join(Organization.Kind.values)}.", param="kind")
    if not re.fullmatch(r"[A-Z]{2}(-[A-Z0-9]{1,3})?", jurisdiction):
        raise InvalidInput(
            "Use an ISO 3166-1 alpha-2 code, such as “IE”, or a subdivision, such as “US-DE”.",
            param="jurisdiction",
        )
    organization = Organization(
        kind=kind,
        name=name,
        legal_name=legal_name,
        jurisdiction=jurisdiction,
        registration_number=registration_number,
    )
    with transaction.atomic():
        organization.save(force_insert=True)
    return organization


def find(id: str) -> Organization:
    """An organization by its id, for an operator's command. Raises InvalidInput."""
    try:
        return Organization.objects.get(pk=id)
    except (Organization.DoesNotExist, ValidationError):
        raise InvalidInput(f"There is no organization “{id}”.", param="organization") from None


def admit(organization: Organization, *, email: str, name: str, password: str, role: str) -> User:
    """Make a person a member, with a password to sign in. Repeating it changes nothing."""
    if role not in ROLE_SCOPES:
        raise InvalidInput(f"Use one of: {', '.join(ROLE_SCOPES)}.", param="role")
    caller = operator(organization)
    with acting(caller):
        user = User.objects.filter(email=email.lower()).first()
        if user is None:
            user = User(email=email.lower(), name=name)
            user.set_password(password)
            user.save(force_insert=True)
        membership, is_new = Membership.objects.get_or_create(
            organization=organization, user=user, defaults={"role": role}
        )
        if is_new:
            audit.record(caller, "member.admitted", subject=membership, role=role)
    return user


def appoint_operator(*, email: str, name: str, password: str) -> User:
    """Make a person an operator of this market, who may enter the admin.

    Somebody who signs in already keeps their password. Repeating it changes nothing.
    """
    with transaction.atomic():
        user = User.objects.select_for_update().filter(email=email.lower()).first()
        if user is None:
            user = User(email=email.lower(), name=name, is_operator=True)
            user.set_password(password)
            user.save(force_insert=True)
        elif not user.is_operator:
            user.is_operator = True
            user.save(update_fields=["is_operator"])
    return user


def operator(organization: Organization, *, livemode: bool = False) -> Caller:
    """A caller for an operator's command on behalf of `organization`; the audit says "system"."""
    return Caller(organization=organization, livemode=livemode, scopes=frozenset(Scope))
