"""The feed of events, and webhooks, over HTTP."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import (
    OpenApiParameter,
    extend_schema,
    extend_schema_field,
    extend_schema_view,
)
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import events, webhooks
from marketplace.access import Scope, acting
from marketplace.http import (
    Body,
    InstantField,
    KeysetPagination,
    Listing,
    ObjectField,
    Resource,
    Retrieving,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    TenantViewSet,
    TypeIDSerializerField,
    WordField,
    ZonedDateTimeField,
)
from marketplace.models import Audit, Event, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from marketplace.serializers import Nothing

REPLAYABLE = [(state, state) for state in webhooks.REPLAYABLE]
EVENT_TYPES = [(name, name) for name in sorted(events.TYPES)]
_TYPES_IN_WORDS = "\n".join(f"- `{name}`: {said}" for name, said in sorted(events.TYPES.items()))


# --- events -----------------------------------------------------------------------------------


class EventSerializer(Resource[Event]):
    """Something that happened. `data` has the ids to fetch it by."""

    object_name = "event"
    type = serializers.ChoiceField(EVENT_TYPES, read_only=True)
    data = serializers.DictField(  # type: ignore[assignment]
        read_only=True,
        help_text=gettext_lazy(
            "The id of what it is about, under the name before the point of `type`, and more ids"
            " and small facts. Members may be added."
        ),
    )

    class Meta:
        model = Event
        fields = ("id", "livemode", "type", "created_at", "data")
        read_only_fields = fields


class FeedPagination(KeysetPagination):
    """Oldest first, by position; `next_cursor` is always there, for a client to go on from."""

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        shape = super().get_paginated_response_schema(schema)
        shape["properties"]["next_cursor"] = {
            "type": "string",
            "description": "Keep it, and give it as `after` next time, also where `has_more` is"
            " false: what happens later comes then.",
        }
        return shape

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        limit, _cursor = super().get_schema_operation_parameters(view)
        return [
            limit,
            {
                "name": "after",
                "in": "query",
                "schema": {"type": "string", "maxLength": 64, "pattern": "^[A-Za-z0-9_=-]*$"},
                "description": "`next_cursor` of the page before. Without it: from the beginning.",
            },
        ]

    def limit(self, request: Request) -> int:
        return self._limit(request)


@extend_schema_view(
    retrieve=extend_schema(summary="Show an event"),
)
class EventViewSet(Retrieving, TenantViewSet):
    """What happened, in order, for a client that goes on from where it was."""

    model = Event
    serializer_class = EventSerializer
    pagination_class = FeedPagination
    scopes = {"list": Scope.EVENTS_READ, "retrieve": Scope.EVENTS_READ}

    @extend_schema(
        summary="List events, oldest first",
        description="The feed of your organization and the key's mode. Read on from `next_cursor`"
        " and miss nothing, however late something committed; an event comes up to a second after"
        " what it tells.\n\nTypes:\n\n" + _TYPES_IN_WORDS,
        parameters=[
            OpenApiParameter(
                "types",
                {"type": "string", "maxLength": 2_000, "pattern": "^[a-z_.,]*$"},
                description="Only these types, with commas between.",
            )
        ],
    )
    def list(self, request: Request) -> Response:
        asked = request.query_params
        limit = FeedPagination().limit(request)
        named = [each for each in asked.get("types", "").split(",") if each]
        types = events.check_types(named)
        cursor = asked.get("after", "")
        position = events.position_of(self.caller, cursor) if cursor else 0
        with acting(self.caller, writing=False):
            page = events.after(self.caller, position, types=types, limit=limit)
            return Response(
                {
                    "data": self.shown_all(page.rows),
                    "has_more": page.has_more,
                    "next_cursor": events.cursor_at(self.caller, page.position),
                }
            )


# --- endpoints --------------------------------------------------------------------------------


class WebhookEndpointSerializer(Resource[WebhookEndpoint]):
    """Where events are sent to, without the secret."""

    object_name = "webhook_endpoint"
    types = serializers.ListField(
        child=serializers.ChoiceField(EVENT_TYPES),
        read_only=True,
        help_text=gettext_lazy("None: all."),
    )
    public_key = serializers.SerializerMethodField(
        help_text=gettext_lazy("`whpk_…`: verifies the signatures that begin with `v1a,`.")
    )

    def get_public_key(self, row: WebhookEndpoint) -> str:
        return webhooks.public_key(row)

    class Meta:
        model = WebhookEndpoint
        fields = (
            "id",
            "livemode",
            "url",
            "types",
            "description",
            "public_key",
            "previous_secret_ends_at",
            "failing_since",
            "created_at",
            "disabled_at",
            "disabled_because",
        )
        read_only_fields = fields


class WebhookEndpointWithSecretSerializer(WebhookEndpointSerializer):
    """An endpoint with its new secret: shown this once."""

    secret = serializers.CharField(
        read_only=True,
        allow_null=True,
        help_text=gettext_lazy("`whsec_…`: keep it now, it is not shown again."),
    )
    secret_already_shown = serializers.BooleanField(
        read_only=True, help_text="True in a replayed answer: the secret is null there."
    )

    class Meta(WebhookEndpointSerializer.Meta):
        fields = (*WebhookEndpointSerializer.Meta.fields, "secret", "secret_already_shown")  # type: ignore[assignment]
        read_only_fields = fields  # type: ignore[assignment]


class _Types(serializers.ListField):
    child = StrictCharField(max_length=60)


class CreateWebhookEndpoint(Body):
    """Where to send events."""

    url = StrictCharField(
        max_length=500,
        help_text=gettext_lazy("https://, on the public internet. It answers 2xx within 15 s."),
    )
    types = _Types(
        required=False, max_length=50, help_text=gettext_lazy("Only these types; none: all.")
    )
    description = StrictCharField(max_length=200, required=False, allow_blank=True)


class ChangeWebhookEndpoint(Body):
    """What to change. Fields left out stay as they are."""

    url = StrictCharField(max_length=500, required=False)
    types = _Types(required=False, max_length=50, help_text=gettext_lazy("An empty list: all."))
    description = StrictCharField(max_length=200, required=False, allow_blank=True)
    disabled = StrictBooleanField(
        required=False, help_text=gettext_lazy("True: nothing is sent. False: from now on again.")
    )


class RotateWebhookSecret(Body):
    """How long the secret before it signs as well."""

    overlap_seconds = StrictIntegerField(
        required=False,
        min_value=0,
        max_value=webhooks.OVERLAP_SECONDS_MAX,
        default=webhooks.OVERLAP_SECONDS,
        help_text=gettext_lazy("0: every earlier secret ends now."),
    )


@extend_schema_view(
    list=extend_schema(summary="List webhook endpoints"),
    retrieve=extend_schema(summary="Show a webhook endpoint"),
)
class WebhookEndpointViewSet(Listing, Retrieving, TenantViewSet):
    """Have events sent to you, signed as Standard Webhooks are."""

    model = WebhookEndpoint
    serializer_class = WebhookEndpointSerializer
    scopes = {
        "list": Scope.WEBHOOKS_READ,
        "retrieve": Scope.WEBHOOKS_READ,
        "create": Scope.WEBHOOKS_WRITE,
        "change": Scope.WEBHOOKS_WRITE,
        "rotate_secret": Scope.WEBHOOKS_WRITE,
    }

    @extend_schema(
        summary="Create a webhook endpoint",
        description="The answer holds the secret, this once. Events of the key's mode are sent to"
        " it from now on, each as `GET /v1/events/{id}` shows it, with its time as `timestamp`"
        " too.\n\nEach request has the headers `webhook-id` (the event's id, the same in every"
        " attempt), `webhook-timestamp` and `webhook-signature`: verify these, and answer 2xx"
        " within 15 seconds. What is not taken is sent again for about three days; 410 disables"
        " the endpoint. An event can come twice, and not in order: act once for each `webhook-id`.",
        request=CreateWebhookEndpoint,
        responses={201: WebhookEndpointWithSecretSerializer},
    )
    def create(self, request: Request) -> Response:
        endpoint, secret = webhooks.create(self.caller, **self.read(CreateWebhookEndpoint))
        return self.with_secret(self.created(endpoint), secret)

    @extend_schema(
        summary="Change, disable or enable a webhook endpoint",
        description="Fields left out stay as they are. What is on its way to an endpoint when it is"
        " disabled is canceled. Have that, and what happens until it is enabled, sent by a replay.",
        request=ChangeWebhookEndpoint,
        responses={200: WebhookEndpointSerializer},
    )
    def change(self, request: Request, pk: str) -> Response:
        return self.answered(webhooks.change(self.caller, pk, **self.read(ChangeWebhookEndpoint)))

    @extend_schema(
        summary="Rotate a webhook endpoint's secret",
        description="The answer holds the new secret, this once; its Ed25519 key is another one as"
        " well. For `overlap_seconds`, each request is signed with both secrets.",
        request=RotateWebhookSecret,
        responses={200: WebhookEndpointWithSecretSerializer},
    )
    def rotate_secret(self, request: Request, pk: str) -> Response:
        body = self.read(RotateWebhookSecret)
        endpoint, secret = webhooks.rotate_secret(self.caller, pk, **body)
        return self.with_secret(self.answered(endpoint), secret)

    def resume(self, effect: str) -> Response:
        """The first answer was lost before it was stored, and its secret with it."""
        response = super().resume(effect)
        return response if self.action == "change" else self.with_secret(response, None)


class WebhookTestViewSet(TenantViewSet):
    """Try an endpoint."""

    model = Event
    serializer_class = EventSerializer
    scopes = {"create": Scope.WEBHOOKS_WRITE}

    @extend_schema(
        summary="Send a test to a webhook endpoint",
        description="An event of the type `webhook_endpoint.tested`, for this endpoint alone. What"
        " came of it stands in the endpoint's deliveries.",
        request=Nothing,
        responses={201: EventSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.created(webhooks.test(self.caller, pk))

    def collection_url(self) -> str:
        """Of all events."""
        return reverse("events")


class ReplayWebhookEndpoint(Body):
    """Which events to send again: those of a window, up to 30 days back."""

    since = ZonedDateTimeField(help_text="When the first of them happened. 30 days ago at most.")
    until = ZonedDateTimeField(
        required=False, help_text="Before when the last of them happened. Default: now."
    )
    state = serializers.ChoiceField(
        REPLAYABLE,
        required=False,
        help_text="Only these. `missed`: events that were never sent to it, because it was disabled"
        " or wanted other types. Default: all but `delivered`.",
    )


class WebhookReplaySerializer(serializers.Serializer[webhooks.Replayed]):
    """What is sent again."""

    object = ObjectField(name="webhook_replay")
    endpoint = TypeIDSerializerField(prefix="whe", read_only=True)
    since = InstantField(read_only=True)
    until = InstantField(read_only=True)
    state = WordField(REPLAYABLE, allow_null=True, read_only=True)
    deliveries = serializers.IntegerField(
        read_only=True,
        min_value=0,
        max_value=webhooks.REPLAYED_AT_ONCE,
        help_text="How many are on their way now.",
    )
    next_since = InstantField(
        read_only=True,
        allow_null=True,
        help_text="There were more: ask again, with this as `since`. Null: that was all.",
    )


class WebhookReplayViewSet(TenantViewSet):
    """Catch up an endpoint that was down."""

    model = Audit
    serializer_class = WebhookReplaySerializer
    scopes = {"replay": Scope.WEBHOOKS_WRITE}

    @extend_schema(
        summary="Send an endpoint again what it missed",
        description="Of a window of time: deliveries that failed or were canceled, and events that"
        " it wants and that happened while it was disabled. Each with its own `webhook-id`, then by"
        " the whole schedule; what is on its way stays so. Up to 5,000 at once, the oldest first."
        " 409 where the endpoint is disabled.",
        request=ReplayWebhookEndpoint,
        responses={200: WebhookReplaySerializer},
    )
    def replay(self, request: Request, pk: str) -> Response:
        done = webhooks.replay_since(self.caller, pk, **self.read(ReplayWebhookEndpoint))
        return self._told(done)

    def resume(self, effect: str) -> Response:
        return self._told(self._effect(effect))

    def _told(self, done: Audit) -> Response:
        return Response(WebhookReplaySerializer(webhooks.replayed(done)).data)


# --- deliveries -------------------------------------------------------------------------------


class WebhookAttemptSerializer(serializers.ModelSerializer[WebhookAttempt]):
    """One request, and what came of it."""

    status = serializers.IntegerField(
        read_only=True, allow_null=True, help_text=gettext_lazy("Of the answer; null: none came.")
    )
    error = serializers.CharField(
        read_only=True, help_text=gettext_lazy("Why no answer came, in words.")
    )
    answer = serializers.CharField(
        read_only=True, help_text=gettext_lazy("The first 1,024 bytes of it, as text.")
    )

    class Meta:
        model = WebhookAttempt
        fields = ("number", "started_at", "duration_ms", "status", "error", "answer")
        read_only_fields = fields


class WebhookDeliverySerializer(Resource[WebhookDelivery]):
    """One event on its way to one endpoint."""

    object_name = "webhook_delivery"

    class Meta:
        model = WebhookDelivery
        fields = (
            "id",
            "livemode",
            "endpoint",
            "event",
            "state",
            "attempts",
            "next_attempt_at",
            "created_at",
            "ended_at",
        )
        read_only_fields = fields


class InspectedWebhookDeliverySerializer(WebhookDeliverySerializer):
    """A delivery with each of its attempts."""

    tries = serializers.SerializerMethodField(
        help_text=gettext_lazy("Oldest first. A number that is missing is of an attempt that died.")
    )

    @extend_schema_field(WebhookAttemptSerializer(many=True))
    def get_tries(self, row: WebhookDelivery) -> Any:
        made = sorted(row.tries.all(), key=lambda each: each.number)
        return WebhookAttemptSerializer(made, many=True).data

    class Meta(WebhookDeliverySerializer.Meta):
        fields = (*WebhookDeliverySerializer.Meta.fields, "tries")  # type: ignore[assignment]
        read_only_fields = fields  # type: ignore[assignment]


class EndpointDeliveryViewSet(Listing, TenantViewSet):
    """What was sent to an endpoint."""

    model = WebhookDelivery
    serializer_class = WebhookDeliverySerializer
    scopes = {"list": Scope.WEBHOOKS_READ}

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return super().get_queryset()
        # The 404 of an endpoint that is not the caller's, not an empty list.
        return webhooks.deliveries(
            self.caller, self.kwargs["pk"], state=self.request.query_params.get("state", "")
        )

    @extend_schema(
        summary="List an endpoint's deliveries",
        description="Newest first; kept for 30 days after their end.",
        parameters=[OpenApiParameter("state", str, enum=list(WebhookDelivery.State.values))],
    )
    def list(self, request: Request, pk: str) -> Response:
        return super().list(request)


@extend_schema_view(
    retrieve=extend_schema(
        summary="Inspect a webhook delivery",
        description="With each attempt: when, how long, what was answered, or why nothing was.",
    ),
)
class WebhookDeliveryViewSet(Retrieving, TenantViewSet):
    """Look into a delivery, and have it sent again."""

    model = WebhookDelivery
    serializer_class = InspectedWebhookDeliverySerializer
    scopes = {"retrieve": Scope.WEBHOOKS_READ, "replay": Scope.WEBHOOKS_WRITE}

    def select(self, rows: Any) -> Any:
        return rows.prefetch_related("tries")

    @extend_schema(
        summary="Send a webhook delivery again",
        description="At once, with the same `webhook-id`, whatever became of it; then by the whole"
        " schedule. 409 where its endpoint is disabled.",
        request=Nothing,
        responses={200: InspectedWebhookDeliverySerializer},
    )
    def replay(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(webhooks.replay(self.caller, pk))
