"""How the OpenAPI document says what a request may have shown beside its rows (`expand`)."""

from __future__ import annotations

from typing import Any

from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import OpenApiParameter

from marketplace.expand import NAMES_MAX, PARAMETER, Expansion, scope_of

ACTIONS = frozenset({"list", "retrieve"})


def of(view: Any) -> dict[str, Expansion]:
    """What the action of a view can show beside its rows."""
    return getattr(view, "expandable", {}) if getattr(view, "action", "") in ACTIONS else {}


def parameter(known: dict[str, Expansion]) -> OpenApiParameter:
    """`expand`, with its names and the scope that each needs."""
    needed = {name: scope_of(expansion) for name, expansion in known.items()}
    scopes = ", ".join(f"`{name}` `{scope.value}`" for name, scope in needed.items() if scope)
    return OpenApiParameter(
        PARAMETER,
        {
            "type": "array",
            "items": {"type": "string", "enum": list(known)},
            "uniqueItems": True,
            "minItems": 1,
            "maxItems": min(NAMES_MAX, len(known)),
        },
        style="form",
        explode=False,
        description="What to show beside a row, in its `expanded`: names with commas between. Null"
        f" is what you may not see, or what is not there. Each needs its scope: {scopes}.",
    )


def describe(schema: Any, known: dict[str, Expansion]) -> None:
    """Give the rows of a view the member `expanded`, of a type of its own, and name its names."""
    row = schema.resolve_serializer(schema.view.serializer_class, "response")
    shown = {
        name: {
            "oneOf": [
                schema.resolve_serializer(each.view.serializer_class, "response").ref,
                {"type": "null"},
            ],
            "readOnly": True,
            **({"description": each.says} if each.says else {}),
        }
        for name, each in known.items()
    }
    expanded = _component(
        f"{row.name}Expanded",
        {
            "type": "object",
            "description": "What was asked for by `expand`, each as it is fetched by its id.",
            "properties": shown,
        },
    )
    schema.registry.register_on_missing(expanded)
    schema.registry.register_on_missing(
        _component(f"{row.name}ExpandEnum", {"type": "string", "enum": list(known)})
    )
    row.schema["properties"]["expanded"] = {
        "allOf": [expanded.ref],
        "readOnly": True,
        "description": "Left out without `expand`.",
    }


def _component(name: str, schema: dict[str, Any]) -> Any:
    return ResolvedComponent(  # type: ignore[no-untyped-call]
        name=name, type=ResolvedComponent.SCHEMA, schema=schema, object=name
    )
