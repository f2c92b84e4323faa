"""How the OpenAPI document describes the requests that we send to others."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiWebhook

_HEADERS = {
    "webhook-id": "The event's id: the same in each attempt. Act once for each.",
    "webhook-timestamp": "When this attempt began, in Unix seconds.",
    "webhook-signature": "Signatures, with spaces between: `v1,` and base64 of an HMAC-SHA256 under"
    " the endpoint's secret, `v1a,` and base64 of an Ed25519 signature for its `public_key`; over"
    " `webhook-id`, a point, `webhook-timestamp`, a point, and the bytes of the body.",
}
_BODY: dict[str, Any] = {
    "allOf": [
        {"$ref": "#/components/schemas/Event"},
        {
            "type": "object",
            "required": ["timestamp"],
            "properties": {
                "timestamp": {
                    "type": "string",
                    "format": "date-time",
                    "description": "As `created_at`; Standard Webhooks call it so.",
                }
            },
        },
    ]
}

EVENT = OpenApiWebhook(
    name="event",
    decorator={
        "post": {
            "operationId": "receive_event",
            "summary": "An event, sent to a webhook endpoint",
            "description": "By https://www.standardwebhooks.com. Verify the signature over the"
            " bytes, refuse a timestamp more than five minutes off, answer within 15 seconds.",
            "tags": ["webhooks"],
            "security": [],
            "parameters": [
                {
                    "name": name,
                    "in": "header",
                    "required": True,
                    "description": description,
                    "schema": {"type": "string"},
                }
                for name, description in _HEADERS.items()
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": _BODY}},
            },
            "responses": {
                "2XX": {"description": "Taken: it is not sent again."},
                "410": {"description": "The endpoint is gone: it is disabled at once."},
                "default": {"description": "Not taken: it is sent again for about three days."},
            },
        }
    },
)
