"""Rows with others beside them: `?expand=offer,terms` shows what ids of a row name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.access import Scope, acting
from marketplace.errors import InvalidInput, MissingScope
from marketplace.http import Listing, Retrieving, TenantViewSet

PARAMETER = "expand"
NAMES_MAX = 4

# A row as it is shown.
Shown = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Expansion:
    """What an id in a row names: which view shows it, to whom, and how."""

    view: type[TenantViewSet]
    # Where a shown row has the id; without it, in the member of the same name.
    id_in: Callable[[Shown], str | None] | None = None
    # Which one it is, for the API's document, where the name alone does not say it.
    says: str = ""


class Expanding(Listing, Retrieving):
    """`list` and `retrieve` that take `expand`. Ids stay ids: what they name comes beside them.

    What is shown beside a row is what its own view shows to this caller, by one question for a
    whole page; null is what the caller may not see, or what is not there.
    """

    expandable: ClassVar[dict[str, Expansion]]

    def list(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        names = asked(self)
        if not names:
            return super().list(request, *args, **kwargs)
        with acting(self.caller, writing=False):
            response = super().list(request, *args, **kwargs)
            expand(self, names, response.data["data"])
            return response

    def retrieve(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        names = asked(self)
        if not names:
            return super().retrieve(request, *args, **kwargs)
        with acting(self.caller, writing=False):
            response = super().retrieve(request, *args, **kwargs)
            expand(self, names, [response.data])
            return response


def asked(view: Any) -> list[str]:
    """What a request wants beside its rows. Raises InvalidInput, MissingScope."""
    text = view.request.query_params.get(PARAMETER)
    if text is None:
        return []
    names: list[str] = text.split(",")
    known = ", ".join(view.expandable)
    if len(names) > NAMES_MAX or len(set(names)) < len(names) or not {*names} <= {*view.expandable}:
        raise InvalidInput(
            f"Name up to {NAMES_MAX} different ones of these, with commas between: {known}.",
            param=PARAMETER,
        )
    for name in names:
        needed = scope_of(view.expandable[name])
        if needed is not None and not view.caller.may(needed):
            raise MissingScope(
                f"This needs the scope “{needed.value}”. Create a key that holds it.",
                scope=needed.value,
            )
    return names


def scope_of(expansion: Expansion) -> Scope | None:
    """What a caller needs to see what is shown beside a row: the same as to fetch it."""
    return expansion.view.scopes["retrieve"]


def expand(view: Any, names: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Put into each shown row, as `expanded`, what its ids name. In the transaction of the rows."""
    for row in rows:
        row["expanded"] = {}
    for name in names:
        expansion = view.expandable[name]
        ids = [expansion.id_in(row) if expansion.id_in else row[name] for row in rows]
        found = _shown(view, expansion, {id for id in ids if id is not None})
        for row, id in zip(rows, ids, strict=True):
            row["expanded"][name] = found.get(id)


def _shown(view: Any, expansion: Expansion, ids: Set[str]) -> dict[str, Any]:
    """What the caller may see of what some ids name, as a request for each would answer it."""
    target: Any = expansion.view(
        action="retrieve", request=view.request, args=(), kwargs={}, format_kwarg=None
    )
    found = target.get_queryset().filter(pk__in=ids)
    return {shown["id"]: shown for shown in target.shown_all(found)}
