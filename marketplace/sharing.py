"""Sharing: a single collection opened to a colleague, or to an editor from outside."""

from __future__ import annotations

import dataclasses

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from marketplace import audit, idempotency, invitations
from marketplace.access import Caller, Scope, acting
from marketplace.errors import InvalidInput
from marketplace.models import Collection, CollectionShare, Invitation, Membership
from marketplace.models.collections import permission_for

RIGHTS = ("view", "edit")
# What an editor of a share may do in the owner's name, in that collection.
_EDITS = frozenset(
    {Scope.COLLECTIONS_READ, Scope.COLLECTIONS_WRITE, Scope.WORKS_READ, Scope.WORKS_WRITE}
)


def share(
    caller: Caller, collection_id: str, *, email: str, right: str
) -> CollectionShare | Invitation:
    """Open one of the caller's collections to somebody.

    A member of the organization has it at once; anybody else gets a mail and has it when they
    accept, so that nobody learns who has an account here. Sharing again changes the right. Raises
    NotFound, InvalidInput.
    """
    if right not in RIGHTS:
        raise InvalidInput(
            _("Use one of: %(known)s.") % {"known": ", ".join(RIGHTS)}, param="right"
        )
    address = invitations.check_email(email)
    with acting(caller):
        collection = Collection.objects.owned_by(caller).get_visible(caller, collection_id)
        colleague = (
            Membership.objects.visible_to(caller)
            .filter(user__email=address)
            .select_related("user")
            .first()
        )
        if colleague is None:
            return invitations.send(caller, email=address, collection=collection, right=right)
        # Guarded by a constraint: two shares at once make one row.
        shared: CollectionShare
        shared, _is_new = CollectionShare.objects.update_or_create(
            content_object=collection,
            user=colleague.user,
            defaults={
                "organization": caller.organization,
                "permission": permission_for(right),
                "created_by": caller.actor,
            },
        )
        audit.record(
            caller, "collection.shared", subject=collection, user=str(shared.user_id), right=right
        )
        idempotency.names(caller, shared)
    return shared


def unshare(caller: Caller, id: str) -> None:
    """Take a share back, at once. Raises NotFound."""
    with acting(caller):
        shared = CollectionShare.objects.get_visible(caller, id, lock=True)
        audit.record(
            caller,
            "collection.unshared",
            subject=shared.content_object,
            user=str(shared.user_id),
        )
        idempotency.names(caller, shared)
        shared.delete()


def of_collection(caller: Caller, collection_id: str) -> QuerySet[CollectionShare]:
    """Who has one of the caller's collections. Raises NotFound."""
    collection = Collection.objects.owned_by(caller).get_visible(caller, collection_id)
    return (
        CollectionShare.objects.visible_to(caller)
        .filter(content_object=collection)
        .select_related("user", "permission")
    )


def editor(caller: Caller, collection_id: str) -> Caller:
    """Who writes when `caller` edits a collection: themselves, or an editor in the owner's name.

    Raises NotFound unless the collection is editable by the caller. The caller's idempotency key
    is recorded before, since it belongs to the caller's own organization.
    """
    with acting(caller, writing=False):
        collection = (
            Collection.objects.editable_by(caller)
            .select_related("organization")
            .get_visible(caller, collection_id)
        )
    if collection.organization_id == caller.organization.pk:
        if caller.may(Scope.COLLECTIONS_WRITE):
            return caller
        return dataclasses.replace(caller, scopes=caller.scopes | _EDITS)
    with acting(caller):
        pass  # the idempotency key, if the request has one
    return dataclasses.replace(
        caller,
        organization=collection.organization,
        scopes=_EDITS,
        request_key="",
        has_shares=False,
    )
