"""Many at once: one request, one transaction, and a result for each of its items."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from typing import Any, cast

from django.db import models, transaction
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers, status
from rest_framework.response import Response

from marketplace.access import Caller, acting
from marketplace.errors import DomainError
from marketplace.http import Body, TenantViewSet, as_domain_error, problem

ITEMS_MAX = 100

# What a verb did for one item: the row, and the status that the single request answers with.
Done = tuple[models.Model, int]
Item = dict[str, Any]

_PROBLEM = {"oneOf": [{"$ref": "#/components/schemas/Problem"}, {"type": "null"}]}


class Each(serializers.ListField):
    """1 to `ITEMS_MAX` objects. What is in each is its own affair: see `answered`."""

    child: Body

    def __init__(self, child: Body) -> None:
        super().__init__(child=child, min_length=1, max_length=ITEMS_MAX)

    def to_internal_value(self, data: Any) -> list[Item]:
        if not isinstance(data, list) or not 1 <= len(data) <= ITEMS_MAX:
            raise serializers.ValidationError(f"Give a list of 1 to {ITEMS_MAX} objects.")
        for index, item in enumerate(data):
            if not isinstance(item, dict):
                raise serializers.ValidationError({index: ["Give an object."]})  # type: ignore[dict-item]
        return data


class Result(serializers.Serializer[Any]):
    """What came of one item. A subclass says what its `item` is."""

    index = serializers.IntegerField(
        min_value=0, max_value=ITEMS_MAX - 1, help_text="Of the item in the request, from 0."
    )
    ok = serializers.BooleanField(help_text="Whether it was done: `item` is null where it was not.")
    status = serializers.IntegerField(
        min_value=200, max_value=499, help_text="What a request of its own would have answered."
    )
    error = serializers.SerializerMethodField(
        help_text="The refusal. `param` names the member as `items[3].reason`."
    )

    @extend_schema_field(_PROBLEM)
    def get_error(self, result: Any) -> Any:
        return result["error"]


def all_of(child: Result) -> serializers.ListField:
    """The `results` of an answer."""
    return serializers.ListField(child=child, min_length=1, max_length=ITEMS_MAX)


class Results(serializers.Serializer[Any]):
    """What came of all items, in their order. A subclass says what its `results` are."""

    succeeded = serializers.IntegerField(min_value=0, max_value=ITEMS_MAX)
    failed = serializers.IntegerField(min_value=0, max_value=ITEMS_MAX)


def answered(
    view: TenantViewSet,
    body: type[Body],
    verb: Callable[[Caller, Item], Done],
    *,
    hold: Callable[[list[Item]], None],
) -> Response:
    """Do `verb` for each item of a body whose `items` are `Each`, one after the other.

    One transaction, each item in a savepoint: a refused item leaves no trace, and takes nothing
    with it. `hold` takes all locks of all items before the first, in one order for everybody. A
    failure of ours, and what may succeed later without a change, ends the whole, of which nothing
    stays. The answer commits with what it tells of, so a retry finds both or neither: there is no
    half of it to go on from.
    """
    read = body(data=view.request.data)
    read.is_valid(raise_exception=True)
    shape = cast(Each, read.fields["items"]).child
    items = [_checked(shape, item) for item in read.validated_data["items"]]
    # The effect of the request is the whole: no single row is to be named as it.
    caller = dataclasses.replace(view.caller, request_key="")
    with acting(view.caller):
        begun = transaction.savepoint()
        hold([item for item in items if not isinstance(item, DomainError)])
        outcomes = [_done(caller, verb, item) for item in items]
        if all(isinstance(each, DomainError) for each in outcomes):
            # Not even what was locked stays: counters of the ledger are made to be locked.
            transaction.savepoint_rollback(begun)
        response = Response(_told(view, outcomes))
        view.keep(response)
    return response


def _checked(shape: Body, item: Item) -> Item | DomainError:
    try:
        checked: Item = shape.run_validation(item)
    except serializers.ValidationError as error:
        return as_domain_error(error)
    return checked


def _done(
    caller: Caller, verb: Callable[[Caller, Item], Done], item: Item | DomainError
) -> Done | DomainError:
    if isinstance(item, DomainError):
        return item
    try:
        with transaction.atomic():
            return verb(caller, item)
    except DomainError as refusal:
        if refusal.retryable or refusal.status >= status.HTTP_500_INTERNAL_SERVER_ERROR:
            raise
        return refusal


def _told(view: TenantViewSet, outcomes: list[Done | DomainError]) -> dict[str, Any]:
    shown = _shown(view, {each[0].pk for each in outcomes if not isinstance(each, DomainError)})
    results = []
    for index, each in enumerate(outcomes):
        if isinstance(each, DomainError):
            told = {"ok": False, "status": each.status, "item": None}
            results.append({"index": index, **told, "error": _refusal(view, index, each)})
        else:
            row, code = each
            told = {"ok": True, "status": code, "item": shown[row.pk]}
            results.append({"index": index, **told, "error": None})
    failed = sum(isinstance(each, DomainError) for each in outcomes)
    return {"results": results, "succeeded": len(outcomes) - failed, "failed": failed}


def _shown(view: TenantViewSet, ids: Iterable[Any]) -> dict[Any, Any]:
    """The rows as `retrieve` shows them, each by its id."""
    rows = list(view.get_queryset().filter(pk__in=ids))
    return {row.pk: told for row, told in zip(rows, view.shown_all(rows), strict=True)}


def _refusal(view: TenantViewSet, index: int, error: DomainError) -> Any:
    """The problem document that a single request gets, whose `param` begins at the whole body."""
    told = json.loads(problem(view.request._request, error).content)
    param = told.get("param")
    if param is not None:
        told["param"] = f"items[{index}]" if param == "body" else f"items[{index}].{param}"
    return told
