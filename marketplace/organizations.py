"""Organizations, the people in them, and their roles."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from marketplace import audit, idempotency
from marketplace.access import Caller, Scope, acting
from marketplace.errors import InvalidInput, LegalIdentityIncomplete
from marketplace.models import Membership, Organization, User
from marketplace.typeid import TypeID

# What other apps do in the transaction that changes who an organization is. They add to it when
# they start, since nothing here knows them.
IDENTIFIED: list[Callable[[Organization], None]] = []
# What each role may do when its member is signed in. Keys carry their own scopes.
_READ = frozenset(scope for scope in Scope if scope.value.endswith(":read"))
ROLE_SCOPES: dict[str, frozenset[Scope]] = {
    Membership.Role.OWNER: frozenset(Scope),
    Membership.Role.MANAGER: frozenset(Scope) - {Scope.KEYS_WRITE, Scope.ORGANIZATION_WRITE},
    Membership.Role.EDITOR: _READ
    | {
        Scope.WORKS_WRITE,
        Scope.COLLECTIONS_WRITE,
        Scope.TERMS_WRITE,
        Scope.OFFERS_WRITE,
        Scope.OPT_OUTS_WRITE,
    },
    Membership.Role.FINANCE: _READ
    | {
        Scope.QUOTES_WRITE,
        Scope.ORDERS_WRITE,
        Scope.ACCESS_REQUESTS_WRITE,
        Scope.REFUNDS_WRITE,
        Scope.PAYOUTS_WRITE,
        Scope.ROYALTIES_WRITE,
    },
    Membership.Role.VIEWER: _READ,
}


# What live mode must know beside the legal name and the jurisdiction.
_IDENTITY = ("registration_number", "registered_address", "representative_name", "contact_email")
_JURISDICTION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")


def found(
    *,
    kind: str,
    name: str,
    legal_name: str,
    jurisdiction: str,
    registration_number: str = "",
    registered_address: str = "",
    representative_name: str = "",
    contact_email: str = "",
) -> Organization:
    """Create an organization. Its first member is added with `admit`. Raises InvalidInput."""
    if kind not in Organization.Kind.values:
        raise InvalidInput(_one_of(Organization.Kind.values), param="kind")
    _check_jurisdiction(jurisdiction)
    organization = Organization(
        kind=kind,
        name=name,
        legal_name=legal_name,
        jurisdiction=jurisdiction,
        registration_number=registration_number,
        registered_address=registered_address,
        representative_name=representative_name,
        contact_email=contact_email,
    )
    with transaction.atomic():
        organization.save(force_insert=True)
    return organization


def identify(caller: Caller, **fields: str) -> Organization:
    """Say who the caller's organization is to the law; fields left out stay as they are.

    What was agreed before keeps the names of its time. Raises InvalidInput.
    """
    if "jurisdiction" in fields:
        _check_jurisdiction(fields["jurisdiction"])
    for field in ("name", "legal_name"):
        if not fields.get(field, "-").strip():
            raise InvalidInput(_("This may not be blank."), param=field)
    with acting(caller):
        organization = Organization.objects.get_visible(caller, caller.organization.pk, lock=True)
        changed = sorted(name for name in fields if getattr(organization, name) != fields[name])
        for name in changed:
            setattr(organization, name, fields[name].strip())
        if changed:
            organization.save(update_fields=changed)
            for follow in IDENTIFIED:
                follow(organization)
            audit.record(caller, "organization.identified", subject=organization, changed=changed)
        idempotency.names(caller, organization)
    return organization


def missing_identity(organization: Organization) -> list[str]:
    """The fields of the legal identity that are empty; a creator needs no registration number."""
    is_person = organization.kind == Organization.Kind.CREATOR
    return [
        name
        for name in _IDENTITY
        if not getattr(organization, name) and not (is_person and name == "registration_number")
    ]


def check_identity(organization: Organization) -> None:
    """Raise LegalIdentityIncomplete unless live mode knows who the organization is."""
    missing = missing_identity(organization)
    if missing:
        raise LegalIdentityIncomplete(
            _("Live mode needs: %(missing)s. Say them first: POST /v1/organization.")
            % {"missing": ", ".join(missing)},
            organization=str(organization.pk),
            missing=missing,
        )


def find(id: str) -> Organization:
    """An organization by its id, for an operator's command. Raises InvalidInput."""
    try:
        return Organization.objects.get(pk=id)
    except (Organization.DoesNotExist, ValidationError):
        raise InvalidInput(
            _("There is no organization “%(id)s”.") % {"id": id}, param="organization"
        ) from None


def named(text: str) -> Organization:
    """The one organization of exactly this name, legal name or id, for who offers it something.

    Nothing near it is found or told: who is on this market is nobody's to list. Where several have
    the name, none is guessed. Raises InvalidInput.
    """
    text = text.strip()
    try:
        by_id = Q(pk=TypeID.parse("org", text))
    except ValueError:
        by_id = Q()
    rows = Organization.objects.filter(by_id or Q(name=text) | Q(legal_name=text))
    match list(rows.order_by("pk")[:2]):
        case [one]:
            return one
        case []:
            raise InvalidInput(
                _("No organization here has exactly this name. Ask it for its name or its id."),
                param="audience",
            )
    raise InvalidInput(
        _("Several organizations have this name. Ask the one that you mean for its id."),
        param="audience",
    )


def addresses(organization: Organization) -> list[str]:
    """Where an organization is told what it must know: its contact, and its owners."""
    owners = Membership.objects.filter(
        organization=organization, role=Membership.Role.OWNER, user__is_active=True
    )
    told = [
        organization.contact_email,
        *owners.order_by("pk").values_list("user__email", flat=True),
    ]
    return list(dict.fromkeys(address for address in told if address))


def admit(organization: Organization, *, email: str, name: str, password: str, role: str) -> User:
    """Make a person a member, with a password to sign in. Repeating it changes nothing."""
    check_role(role)
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


def check_role(role: str) -> None:
    """Raise InvalidInput for a role that there is not."""
    if role not in ROLE_SCOPES:
        raise InvalidInput(_one_of(ROLE_SCOPES), param="role")


def operator(organization: Organization, *, livemode: bool = False) -> Caller:
    """A caller for an operator's command on behalf of `organization`; the audit says "system"."""
    return Caller(organization=organization, livemode=livemode, scopes=frozenset(Scope))


def _one_of(words: Iterable[str]) -> str:
    return _("Use one of: %(words)s.") % {"words": ", ".join(words)}


def _check_jurisdiction(jurisdiction: str) -> None:
    if not _JURISDICTION.fullmatch(jurisdiction):
        raise InvalidInput(
            _("Use an ISO 3166-1 alpha-2 code, such as “IE”, or a subdivision, such as “US-DE”."),
            param="jurisdiction",
        )
