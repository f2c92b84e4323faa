"""Rows that leave as JSON which PostgreSQL wrote: a serializer, compiled once for each kind of
question.

A list and a row are ordinary REST framework: a view, a queryset, a ModelSerializer. Where each of
the serializer's fields can be said in SQL, the question is compiled the first time it comes, with
stand-ins for who asks and for what; later ones run the statement with their own values, and its
text passes through untouched. Whatever cannot be said so is answered by the serializer, as ever
(`manage.py readplan` lists what, and why). Both ways give the same JSON.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import connection, models
from django.db.models import F, QuerySet, Value
from django.db.models.expressions import Combinable
from django.http import HttpResponse

from marketplace import json_sql, kept_sql
from marketplace.access import Caller, StandIn, TenantQuerySet, acting, alone, slots
from marketplace.typeid import TypeID, TypeIDField

if TYPE_CHECKING:
    from marketplace.http import TenantViewSet


# --- what is compiled -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Question:
    """A request as far as a view may look at it while its rows are chosen."""

    auth: Caller
    query_params: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement that writes rows as JSON."""

    statement: kept_sql.Statement
    # The members that are put in between the runs of a row's text.
    late: tuple[tuple[str, json_sql.Late], ...] = ()

    def run(
        self, values: Mapping[str, Any], limit: int | None = None, *, caller: Caller | None = None
    ) -> list[tuple[Any, str]]:
        """Rows of (primary key, JSON text), as the caller or, without one, in its transaction."""
        if caller is not None and self.late:
            with acting(caller, writing=False):
                return self.run(values, limit)
        given = self.statement.given(values)
        if limit is not None:
            given.append(limit)
        rows: list[Any]
        if caller is not None:
            rows, _count = alone(caller, self.statement.sql, given)
            return rows
        with connection.cursor() as cursor:
            cursor.execute(self.statement.sql, given)
            rows = cursor.fetchall()
        if not self.late:
            return rows
        found = [
            (name, field.texts({row[2 + 2 * n] for row in rows}))
            for n, (name, field) in enumerate(self.late)
        ]
        return [(row[0], _joined(row[1:], found)) for row in rows]


def _joined(pieces: Sequence[Any], late: Sequence[tuple[str, Mapping[Any, str]]]) -> str:
    """One object of the runs of its members and those that come between them."""
    text: list[str] = [pieces[0][:-1]]
    for n, (name, texts) in enumerate(late):
        text.append(f',"{name}":{texts[pieces[1 + 2 * n]]}')
        if inner := pieces[2 + 2 * n][1:-1]:
            text.append(f",{inner}")
    return "".join(text) + "}"


_plans: dict[tuple[Any, ...], Plan | None] = {}


def forget() -> None:
    """Compile everything anew. For tests that change what is compiled from."""
    _plans.clear()


def compiled(
    kind: type[TenantViewSet],
    *,
    livemode: bool,
    has_shares: bool,
    action: str,
    is_after: bool,
    shape: type[Any] | None = None,
) -> Plan:
    """The plan of a view's rows for one kind of caller. Raises `kept_sql.Inexpressible`.

    `shape` is the serializer that stands for the view's own in an older version of the API.
    """
    stand_in = StandIn(livemode, has_shares)
    # Not the view that was asked: it knows who asks.
    view: Any = kind(action=action, kwargs={}, request=_Question(stand_in, {}))
    rows: Any = view.model._default_manager.all()
    if type(rows).get_visible is not TenantQuerySet.get_visible:
        raise kept_sql.Inexpressible("its rows are found in another way")
    if not isinstance(view.model._meta.pk, TypeIDField):
        raise kept_sql.Inexpressible("its key is a number")
    with kept_sql.nothing_asked():
        rows = view.select(rows.visible_to(stand_in))
        if action == "retrieve":
            rows = rows.filter(pk=kept_sql.ROW)
        elif action == "some":
            rows = rows.filter(_among())
        else:
            rows = view.filter_queryset(rows).order_by("-pk")
            if is_after:
                rows = rows.filter(pk__lt=kept_sql.ROW)
        serializer = (shape or view.serializer_class)()
        return _statement(rows, serializer, is_page=action == "list")


def _among() -> Combinable:
    """That a row's key is in a list, which has a slot."""
    every = Value([kept_sql.ROW], output_field=ArrayField(models.UUIDField()))
    return json_sql.IsAmong(F("pk"), every)


def _statement(rows: QuerySet[Any], serializer: Any, *, is_page: bool) -> Plan:
    chosen, late = json_sql.runs(serializer, rows.model, json_sql.prefetched(rows))
    runs = {f"run_{n}": each for n, each in enumerate(chosen)}
    rows = rows.select_related(None).prefetch_related(None)
    rows = rows.annotate(**runs).values_list("pk", *runs)
    sql, params = rows.query.sql_with_params()
    return Plan(
        kept_sql.Statement.of(f"{sql} LIMIT %s" if is_page else sql, params),
        tuple((name, serializer.fields[name]) for name in late),
    )


def reason(kind: type[TenantViewSet]) -> str | None:
    """Why a view's list is left to its serializer; None where it is planned."""
    if not kind.is_plain():
        return "it chooses or shows its rows in a way of its own"
    try:
        compiled(kind, livemode=False, has_shares=False, action="list", is_after=False)
    except kept_sql.Inexpressible as error:
        return str(error)
    return None


def _plan(view: TenantViewSet, action: str, is_after: bool) -> Plan | None:
    caller = view.caller
    shape = view.get_serializer_class()
    key = (type(view), shape, action, is_after, caller.livemode, caller.has_shares)
    if key not in _plans:
        try:
            _plans[key] = compiled(
                type(view),
                livemode=caller.livemode,
                has_shares=caller.has_shares,
                action=action,
                is_after=is_after,
                shape=shape,
            )
        except kept_sql.Inexpressible:
            _plans[key] = None
    return _plans[key]


# --- what views ask for -----------------------------------------------------------------------


def page(view: TenantViewSet) -> HttpResponse | None:
    """One page of a view's list, newest first; None where the serializer has to write it."""
    asked = set(view.request.query_params) - {"limit", "cursor"}
    if not settings.READPLAN or set(view.kwargs) or "expand" in asked:
        return None
    if asked:
        return _chosen(view)
    paginator: Any = view.paginator
    limit, after = paginator.asked(view.request, view.model)
    plan = _plan(view, "list", after is not None)
    if plan is None:
        return None
    rows = plan.run(slots(view.caller, after), limit + 1, caller=view.caller)
    has_more = len(rows) > limit
    rows = rows[:limit]
    following = paginator.following(view.request, rows[-1][0]) if has_more else None
    return _paged((text for _pk, text in rows), has_more, following)


def _chosen(view: TenantViewSet) -> HttpResponse | None:
    """A page of what the parameters of a request choose: the view finds keys, the plan the rows."""
    plan = _plan(view, "some", is_after=False)
    if plan is None:
        return None
    paginator: Any = view.paginator
    with acting(view.caller, writing=False):
        keys = paginator.keys(view.filter_queryset(view.get_queryset()), view.request)
        pks = [uuid.UUID(int=key.int) for key in keys]
        found = dict(plan.run({**slots(view.caller), "pks": pks}))
    # Those that are there still.
    texts = (found[pk] for pk in pks if pk in found)
    return _paged(texts, paginator.has_more, paginator.next_cursor)


def _paged(texts: Iterable[str], has_more: bool, following: str | None) -> HttpResponse:
    more = "true" if has_more else "false"
    page = f'"has_more":{more},"next_cursor":{json.dumps(following)}'
    return answer(f'{{"data":[{",".join(texts)}],{page}}}')


def row(view: TenantViewSet) -> HttpResponse | None:
    """One row of a view; None where the serializer has to write it, or say why there is none."""
    key: Any = view.model._meta.pk
    is_plain = set(view.kwargs) == {"pk"} and not view.request.query_params
    if not is_plain or not isinstance(key, TypeIDField):
        return None
    try:
        pk = key.to_python(view.kwargs["pk"])
    except ValidationError:
        return None
    text = _text_of(view, pk)
    return answer(text) if text is not None else None


def shown(view: TenantViewSet, pk: Any) -> Any:
    """What a view shows of a row that a verb just made or changed; None as in `row`."""
    text = _text_of(view, pk) if isinstance(pk, TypeID) else None
    return None if text is None else json.loads(text)


def _text_of(view: TenantViewSet, pk: Any) -> str | None:
    plan = _plan(view, "retrieve", is_after=False) if settings.READPLAN else None
    if plan is None:
        return None
    rows = plan.run(slots(view.caller, uuid.UUID(int=pk.int)), caller=view.caller)
    return rows[0][1] if rows else None


def texts(
    serializer: type[Any], rows: Callable[[], QuerySet[Any]], ids: Sequence[uuid.UUID]
) -> list[str] | None:
    """The JSON of those of some rows that are in `rows()`, in the order of `ids`.

    For a view that chose its rows in another way, and whom they may be shown to. None where the
    serializer has to write them.
    """
    key = (serializer, rows)
    if not settings.READPLAN:
        return None
    if key not in _plans:
        try:
            with kept_sql.nothing_asked():
                chosen = rows().filter(_among())
                _plans[key] = _statement(chosen, serializer(), is_page=False)
        except kept_sql.Inexpressible:
            _plans[key] = None
    plan = _plans[key]
    if plan is None:
        return None
    found = {uuid.UUID(int=pk.int): text for pk, text in plan.run({"pks": list(ids)})}
    return [found[id] for id in ids if id in found]


def answer(text: str) -> HttpResponse:
    """JSON that is written already."""
    return HttpResponse(text, content_type="application/json")
