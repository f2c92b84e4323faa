"""Members: who works in an organization, and as what."""

from __future__ import annotations

from django.utils.translation import gettext as _

from marketplace import audit, idempotency, invitations, organizations
from marketplace.access import Caller, acting
from marketplace.errors import LastOwner
from marketplace.models import CollectionShare, Membership, Organization

Role = Membership.Role


def set_role(caller: Caller, id: str, *, role: str) -> Membership:
    """Give a member another role, none above one's own. Repeating it changes nothing.

    Raises NotFound, InvalidInput, MissingScope, LastOwner.
    """
    organizations.check_role(role)
    with acting(caller):
        member = _locked(caller, id)
        invitations.check_may_give(caller, role)
        invitations.check_may_give(caller, member.role)
        if member.role != role:
            if role != Role.OWNER:
                _check_not_last(caller, member)
            audit.record(
                caller, "member.role_changed", subject=member, before=member.role, role=role
            )
            member.role = role
            member.save(update_fields=["role"])
        idempotency.names(caller, member)
    return member


def remove(caller: Caller, id: str) -> None:
    """Let a member go, at once: role, and what was shared with them here.

    Raises NotFound, MissingScope, LastOwner.
    """
    with acting(caller):
        member = _locked(caller, id)
        invitations.check_may_give(caller, member.role)
        _check_not_last(caller, member)
        CollectionShare.objects.visible_to(caller).filter(user=member.user).delete()
        audit.record(caller, "member.removed", subject=member, role=member.role)
        idempotency.names(caller, member)
        member.delete()


def _locked(caller: Caller, id: str) -> Membership:
    # The organization first: two owners who remove each other at once must not both succeed.
    Organization.objects.select_for_update(no_key=True).get(pk=caller.organization.pk)
    return Membership.objects.select_related("user").get_visible(caller, id)


def _check_not_last(caller: Caller, member: Membership) -> None:
    owners = Membership.objects.visible_to(caller).filter(role=Role.OWNER)
    if member.role == Role.OWNER and not owners.exclude(pk=member.pk).exists():
        raise LastOwner(_("Make somebody else an owner first."))
