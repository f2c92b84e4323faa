"""The API's views of members, invitations, and shares of single collections."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import invitations, members, sharing
from marketplace.access import Scope
from marketplace.http import Body, Listing, Resource, Retrieving, StrictCharField, TenantViewSet
from marketplace.models import CollectionShare, Invitation, Membership
from marketplace.serializers import Nothing


class RemovedSerializer(serializers.Serializer[Any]):
    """What is no longer there."""

    id = serializers.CharField()
    object = serializers.CharField()
    removed = serializers.BooleanField(help_text=_("Always true."))


class MemberSerializer(Resource[Membership]):
    """A person who works in your organization, and as what."""

    object_name = "member"
    name = serializers.CharField(source="user.name", read_only=True)
    email = serializers.EmailField(source="user.email", read_only=True)

    class Meta:
        model = Membership
        fields = ("id", "name", "email", "role", "created_at")
        read_only_fields = fields


class SetRole(Body):
    """Another role for a member."""

    role = serializers.ChoiceField(
        choices=Membership.Role.choices, help_text=_("What the person may do.")
    )


class InvitationSerializer(Resource[Invitation]):
    """A mail that lets one person in: as a member, or to a single collection."""

    object_name = "invitation"

    class Meta:
        model = Invitation
        fields = (
            "id",
            "email",
            "role",
            "collection",
            "right",
            "created_at",
            "expires_at",
            "accepted_at",
            "revoked_at",
        )
        read_only_fields = fields


class Invite(Body):
    """Whom to invite, and as what."""

    email = StrictCharField(max_length=254, help_text=_("Where the link is mailed."))
    role = serializers.ChoiceField(
        choices=Membership.Role.choices, help_text=_("What the person may do.")
    )


class ShareSerializer(Resource[CollectionShare]):
    """A single collection opened to a person."""

    object_name = "collection_share"
    collection = serializers.CharField(source="content_object_id", read_only=True)
    name = serializers.CharField(source="user.name", read_only=True)
    email = serializers.EmailField(source="user.email", read_only=True)
    right = serializers.ChoiceField(choices=list(sharing.RIGHTS), read_only=True)

    class Meta:
        model = CollectionShare
        fields = ("id", "collection", "name", "email", "right", "created_at")
        read_only_fields = fields


class ShareCollection(Body):
    """With whom, and what they may do."""

    email = StrictCharField(max_length=254, help_text=_("A colleague's, or an outsider's."))
    right = serializers.ChoiceField(
        choices=list(sharing.RIGHTS), help_text=_("Editing includes looking.")
    )


@extend_schema_view(list=extend_schema(summary="List members"))
class MemberViewSet(Listing, TenantViewSet):
    """The people in your organization."""

    model = Membership
    serializer_class = MemberSerializer
    scopes = {
        "list": Scope.MEMBERS_READ,
        "role": Scope.MEMBERS_WRITE,
        "remove": Scope.MEMBERS_WRITE,
    }

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.select_related("user")

    @extend_schema(
        summary="Change a member's role",
        description="None above your own; an organization keeps an owner.",
        request=SetRole,
        responses={200: MemberSerializer},
    )
    def role(self, request: Request, pk: str) -> Response:
        return self.answered(members.set_role(self.caller, pk, **self.read(SetRole)))

    @extend_schema(
        summary="Remove a member",
        description="At once: the role, and the collections that were shared with the person.",
        request=Nothing,
        responses={200: RemovedSerializer},
    )
    def remove(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        members.remove(self.caller, pk)
        return _removed(pk, "member")

    def resume(self, effect: str) -> Response:
        if self.action == "remove":
            return _removed(effect, "member")
        return super().resume(effect)


@extend_schema_view(
    list=extend_schema(summary="List invitations"),
    retrieve=extend_schema(summary="Show an invitation"),
)
class InvitationViewSet(Listing, Retrieving, TenantViewSet):
    """Who was invited. The links are in the mails alone."""

    model = Invitation
    serializer_class = InvitationSerializer
    scopes = {
        "list": Scope.MEMBERS_READ,
        "retrieve": Scope.MEMBERS_READ,
        "create": Scope.MEMBERS_WRITE,
        "revoke": Scope.MEMBERS_WRITE,
    }

    @extend_schema(
        summary="Invite a member",
        description="Mails a link that works once, for 72 hours. Inviting the same address again "
        "replaces its link.",
        request=Invite,
        responses={201: InvitationSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.created(invitations.invite(self.caller, **self.read(Invite)))

    @extend_schema(
        summary="Call an invitation back",
        description="Its link ends. Repeating it changes nothing.",
        request=Nothing,
        responses={200: InvitationSerializer},
    )
    def revoke(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(invitations.revoke(self.caller, pk))


class ShareViewSet(Listing, TenantViewSet):
    """Single collections opened to single people."""

    model = CollectionShare
    serializer_class = ShareSerializer
    scopes = {
        "list": Scope.MEMBERS_READ,
        "create": Scope.MEMBERS_WRITE,
        "remove": Scope.MEMBERS_WRITE,
    }

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.select_related("user", "permission")

    def get_queryset(self) -> QuerySet[Any]:
        if self.action != "list" or getattr(self, "swagger_fake_view", False):
            return super().get_queryset()
        return sharing.of_collection(self.caller, self.kwargs["pk"])

    @extend_schema(summary="List who has a collection")
    def list(self, request: Request, pk: str) -> Response:
        return super().list(request)

    @extend_schema(
        summary="Share a collection",
        description="A member of your organization has it at once (201, the share). Anybody else "
        "gets a mailed link and has it when they accept (202, the invitation), so that nobody "
        "learns who has an account here. Sharing again changes the right.",
        request=ShareCollection,
        responses={201: ShareSerializer, 202: InvitationSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        made = sharing.share(self.caller, pk, **self.read(ShareCollection))
        if isinstance(made, Invitation):
            return Response(
                InvitationSerializer(made).data,
                status=202,
                headers={"Location": f"/v1/invitations/{made.pk}"},
            )
        response = self.created(made)
        response["Location"] = self.collection_url()
        return response

    def resume(self, effect: str) -> Response:
        """A retry finds what was made: the share, or the invitation."""
        if self.action == "remove":
            return _removed(effect, "collection_share")
        if effect.startswith("inv_"):
            invitation = invitations.visible(self.caller, effect)
            return Response(InvitationSerializer(invitation).data, status=202)
        return super().resume(effect)

    @extend_schema(
        summary="Take a share back",
        request=Nothing,
        responses={200: RemovedSerializer},
    )
    def remove(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        sharing.unshare(self.caller, pk)
        return _removed(pk, "collection_share")


def _removed(id: str, name: str) -> Response:
    return Response({"id": id, "object": name, "removed": True})
