"""Sellers' own buckets over HTTP."""

from __future__ import annotations

from django.utils.translation import gettext_lazy
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import remote_buckets
from marketplace.access import Scope
from marketplace.http import Body, Listing, Resource, Retrieving, StrictCharField, TenantViewSet
from marketplace.models import RemoteBucket
from marketplace.serializers import Nothing


class RemoteBucketSerializer(Resource[RemoteBucket]):
    """Where remote works are. Its secret key is never shown."""

    object_name = "remote_bucket"

    class Meta:
        model = RemoteBucket
        fields = (
            "id",
            "endpoint",
            "region",
            "name",
            "key",
            "access_key_id",
            "created_at",
            "disconnected_at",
        )
        read_only_fields = fields


class ConnectBucket(Body):
    """A bucket, and keys that may read it."""

    endpoint = StrictCharField(
        max_length=300, help_text=gettext_lazy("https://s3.example.org, without a path.")
    )
    region = StrictCharField(max_length=60, required=False, allow_blank=True)
    name = StrictCharField(max_length=63)
    key = StrictCharField(
        max_length=500,
        help_text=gettext_lazy("How a work's key is made: with `{external_id}` or `{digest}`."),
    )
    access_key_id = StrictCharField(max_length=128)
    secret_access_key = StrictCharField(
        max_length=256,
        write_only=True,
        help_text=gettext_lazy("Kept encrypted. Give keys that may read this bucket only."),
    )


@extend_schema_view(
    list=extend_schema(summary="List remote buckets"),
    retrieve=extend_schema(summary="Show a remote bucket"),
)
class RemoteBucketViewSet(Listing, Retrieving, TenantViewSet):
    """Deliver from a bucket of your own: the bytes never pass through the market."""

    model = RemoteBucket
    serializer_class = RemoteBucketSerializer
    scopes = {
        "list": Scope.WORKS_READ,
        "retrieve": Scope.WORKS_READ,
        "create": Scope.WORKS_WRITE,
        "disconnect": Scope.WORKS_WRITE,
    }

    @extend_schema(
        summary="Connect a bucket of your own",
        description="Works in remote custody are delivered from it: licensees are sent on to it by"
        " links that are signed with these keys and expire. It takes the place of any before.",
        request=ConnectBucket,
        responses={201: RemoteBucketSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.created(remote_buckets.connect(self.caller, **self.read(ConnectBucket)))

    @extend_schema(
        summary="Disconnect a bucket",
        description="Nothing is delivered from it any more. Repeating it changes nothing.",
        request=Nothing,
        responses={200: RemoteBucketSerializer},
    )
    def disconnect(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(remote_buckets.disconnect(self.caller, pk))
