"""Rows that leave as JSON which PostgreSQL wrote: a serializer, compiled once for each kind of
question.

A list and a row are ordinary REST framework: a view, a queryset, a ModelSerializer. Where each of
the serializer's fields can be said in SQL, the question is compiled the first time it comes, with
stand-ins for who asks and for what; later ones run the statement with their own values, and its
text passes through untouched. Whatever cannot be said so is answered by the serializer, as ever
(`manage.py readplan` lists what, and why). Both ways give the same JSON.
"""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import connection, models
from django.db.models import Case, F, Func, QuerySet, TextField, Value, When
from django.db.models.expressions import Combinable
from django.http import HttpResponse
from rest_framework import serializers

from marketplace.access import Caller, TenantQuerySet, acting
from marketplace.models import Organization, User
from marketplace.typeid import TypeIDField

if TYPE_CHECKING:
    from marketplace.http import TenantViewSet


class Inexpressible(Exception):
    """Something that SQL does not say. Its text says what."""


# --- what a serializer writes, as SQL ---------------------------------------------------------


class Object(Func):
    """`json_build_object`; its names are written into the statement, since they are our own."""

    function = "json_build_object"
    output_field = models.JSONField()

    def __init__(self, members: Mapping[str, Any]) -> None:
        assert all(name.isidentifier() for name in members)
        self.names = list(members)
        super().__init__(*members.values())

    def as_sql(self, compiler: Any, connection: Any, **context: Any) -> Any:  # type: ignore[override]
        parts, params = [], []
        for name, expression in zip(self.names, self.get_source_expressions(), strict=True):
            sql, more = compiler.compile(expression)
            parts.append(f"'{name}', {sql}")
            params.extend(more)
        return f"{self.function}({', '.join(parts)})", params


class _Text(Func):
    """A value cast to text; a bare parameter would have no type."""

    template = "(%(expressions)s)::text"
    output_field = TextField()


class _Instant(Func):
    """As `isoformat` writes a UTC time: a fraction has six digits, or there is none."""

    template = (
        "replace(to_char(%(expressions)s AT TIME ZONE 'UTC',"
        " 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), '.000000Z', 'Z')"
    )
    output_field = TextField()


class _Hex(Func):
    template = "encode(%(expressions)s, 'hex')"
    output_field = TextField()


class _Id(Func):
    """A TypeID's text."""

    template = "marketplace_typeid('%(prefix)s', uuid_send(%(expressions)s))"
    output_field = TextField()

    def __init__(self, column: Any, *, prefix: str) -> None:
        assert prefix.isalpha()
        super().__init__(column, prefix=prefix)


class Json(Func):
    """A column of jsonb, of the type that `Object` has."""

    template = "(%(expressions)s)::json"
    output_field = models.JSONField()


class _IsAmong(Func):
    """Whether a value is in a list, which is one parameter, however long it is."""

    template = "%(expressions)s)"
    arg_joiner = " = ANY("
    output_field = models.BooleanField()


class Late:
    """Of a serializer in a row: shown apart, by its key, and put into the row's text.

    For what takes code to show and changes no more, so that its text can be kept.
    """

    def key_of(self, path: str) -> Combinable:
        """The key, in the row at `path`."""
        raise NotImplementedError

    def texts(self, keys: Collection[Any]) -> Mapping[Any, str]:
        """The JSON of each."""
        raise NotImplementedError


_PLAIN = (
    *(models.CharField, models.TextField, models.IntegerField, models.BooleanField),
    models.JSONField,
)
# How a field of a serializer shows its value: those whose way SQL knows. Others may say it
# themselves, by a method `as_sql_of(path)`.
_AS_IT_IS: Final = {
    serializers.CharField.to_representation,
    serializers.IntegerField.to_representation,
    serializers.BooleanField.to_representation,
    serializers.ChoiceField.to_representation,
    serializers.JSONField.to_representation,
    serializers.BigIntegerField.to_representation,
}


def written(serializer: Any, model: type[models.Model], path: str = "") -> Combinable:
    """What a serializer shows of a model's row at `path`. Raises Inexpressible."""
    kind = type(serializer)
    is_plain = kind.to_representation is serializers.Serializer.to_representation
    if not is_plain and not getattr(kind, "shows_as_ever", False):
        raise Inexpressible(f"{kind.__name__} has a to_representation of its own")
    return Object(
        {
            name: _member(model, name, field, path)
            for name, field in serializer.fields.items()
            if not field.write_only
        }
    )


def _runs(serializer: Any, model: type[models.Model]) -> tuple[list[Combinable], list[str]]:
    """What is selected for a row: runs of its members, and between them the keys of late ones.

    And the names of these. Raises Inexpressible.
    """
    chosen: list[Combinable] = []
    run: dict[str, Any] = {}
    late = []
    for name, field in serializer.fields.items():
        if isinstance(field, Late):
            chosen += [_Text(Object(run)), field.key_of("")]
            late.append(name)
            run = {}
        elif not field.write_only:
            run[name] = _member(model, name, field, "")
    return [*chosen, _Text(Object(run))], late


def _member(model: type[models.Model], name: str, field: Any, path: str) -> Combinable:
    try:
        return _written(model, field, path)
    except Inexpressible as error:
        raise Inexpressible(f"{name}: {error}") from None


def _written(model: type[models.Model], field: Any, path: str) -> Combinable:
    said = getattr(field, "as_sql_of", None)
    if said is not None:
        return said(path)  # type: ignore[no-any-return]
    if isinstance(field, serializers.ListSerializer):
        raise Inexpressible("rows of another table")
    *way, last = (field.source or "").split(".")
    if last == "*":
        if isinstance(field, serializers.Serializer):
            return written(field, model, path)
        raise Inexpressible(type(field).__name__)
    for step in way:
        relation = _field(model, step)
        if relation.related_model is None or relation.null:
            raise Inexpressible(f"{field.source} may end on its way")
        model, path = relation.related_model, f"{path}{step}__"
    column = _field(model, last)
    if isinstance(field, serializers.Serializer):
        return _nested(column, field, f"{path}{last}")
    return _of_column(column, field, F(f"{path}{last}"))


def _nested(column: Any, field: Any, path: str) -> Combinable:
    if column.related_model is None:
        raise Inexpressible(f"{type(field).__name__} of a {type(column).__name__}")
    inner = written(field, column.related_model, f"{path}__")
    if not column.null:
        return inner
    return Case(When(**{f"{path}__isnull": True}, then=Value(None)), default=inner)


def _of_column(column: Any, field: Any, value: F) -> Combinable:
    # The key of another row is of the kind of that row's own.
    target = column.target_field if isinstance(column, models.ForeignKey) else column
    way = type(field).to_representation
    if isinstance(target, TypeIDField):
        if way is serializers.CharField.to_representation:
            return _Id(value, prefix=target.prefix)
    elif isinstance(target, models.DateTimeField):
        if isinstance(field, serializers.DateTimeField):
            return _Instant(value)
    elif isinstance(target, models.BinaryField):
        if getattr(type(field), "is_hexadecimal", False):
            return _Hex(value)
    elif isinstance(target, ArrayField):
        child: Any = getattr(field, "child", None)
        if (
            way is serializers.ListField.to_representation
            and type(child).to_representation in _AS_IT_IS
            and isinstance(target.base_field, _PLAIN)
        ):
            return value
    elif isinstance(target, _PLAIN) and way in _AS_IT_IS and _fits(target, field):
        return value
    raise Inexpressible(f"{type(field).__name__} of a {type(target).__name__}")


def _fits(column: Any, field: Any) -> bool:
    """Whether a value needs no conversion: a number shown as text would."""
    if getattr(field, "coerce_to_string", False):
        return False
    is_text = isinstance(column, models.CharField | models.TextField)
    if isinstance(field, serializers.CharField | serializers.ChoiceField):
        return is_text
    return not is_text


def _field(model: type[models.Model], name: str) -> Any:
    for column in model._meta.concrete_fields:
        if name in {column.name, column.attname} or (name == "pk" and column.primary_key):
            return column
    raise Inexpressible(f"{model.__name__} has no column {name}")


# --- what is compiled -------------------------------------------------------------------------

# Stand for whoever asks, and for what they ask for. Made anew by each process: they are no data.
_TENANT: Final = uuid.uuid4()
_PERSON: Final = uuid.uuid4()
_ROW: Final = uuid.uuid4()


class _StandIn(Caller):
    """Looks like a Caller to whoever builds a queryset, and knows only what has a slot.

    Reading anything else of it is refused: it would be kept for others.
    """

    __slots__ = ()

    def __init__(self, livemode: bool, has_shares: bool) -> None:
        # All that they have beside their keys is deferred, and asking the database is refused.
        organization = Organization.from_db(None, ["id"], [_TENANT])
        user = User.from_db(None, ["id"], [_PERSON])
        # The modes and shares are part of what a plan is kept by.
        known = {"livemode": livemode, "has_shares": has_shares}
        for name, value in {"organization": organization, "user": user, **known}.items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise Inexpressible(f"its rows depend on the caller's {name}")


@dataclass(frozen=True, slots=True)
class _Question:
    """A request as far as a view may look at it while its rows are chosen."""

    auth: Caller
    query_params: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement, and where the values of a question stand among its parameters."""

    sql: str
    # A slot's name, or a constant.
    params: tuple[tuple[str, Any], ...]
    # The members that are put in between the runs of a row's text.
    late: tuple[tuple[str, Late], ...] = ()

    def run(self, values: Mapping[str, Any], limit: int | None = None) -> list[tuple[Any, str]]:
        """Rows of (primary key, JSON text)."""
        given = [values[slot] if slot else constant for slot, constant in self.params]
        with connection.cursor() as cursor:
            cursor.execute(self.sql, given if limit is None else [*given, limit])
            rows: list[Any] = cursor.fetchall()
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


@contextmanager
def _nothing_asked() -> Iterator[None]:
    """Refuse every statement: what the database says to a stand-in must not be kept."""

    def refuse(execute: Any, sql: str, *_rest: Any) -> Any:
        raise Inexpressible("its rows depend on an earlier question")

    with connection.execute_wrapper(refuse):
        yield


def compiled(
    kind: type[TenantViewSet], *, livemode: bool, has_shares: bool, action: str, is_after: bool
) -> Plan:
    """The plan of a view's rows for one kind of caller. Raises Inexpressible."""
    stand_in = _StandIn(livemode, has_shares)
    # Not the view that was asked: it knows who asks.
    view: Any = kind(action=action, kwargs={}, request=_Question(stand_in, {}))
    rows: Any = view.model._default_manager.all()
    if type(rows).get_visible is not TenantQuerySet.get_visible:
        raise Inexpressible("its rows are found in another way")
    if not isinstance(view.model._meta.pk, TypeIDField):
        raise Inexpressible("its key is a number")
    with _nothing_asked():
        rows = view.select(rows.visible_to(stand_in))
        if action == "retrieve":
            rows = rows.filter(pk=_ROW)
        else:
            rows = view.filter_queryset(rows).order_by("-pk")
            if is_after:
                rows = rows.filter(pk__lt=_ROW)
        return _statement(rows, view.serializer_class(), is_page=action != "retrieve")


def _statement(rows: QuerySet[Any], serializer: Any, *, is_page: bool) -> Plan:
    chosen, late = _runs(serializer, rows.model)
    runs = {f"run_{n}": each for n, each in enumerate(chosen)}
    rows = rows.select_related(None).prefetch_related(None)
    rows = rows.annotate(**runs).values_list("pk", *runs)
    sql, params = rows.query.sql_with_params()
    if any(isinstance(param, datetime.date) for param in params):
        raise Inexpressible("its rows depend on the time")
    slots = {_TENANT: "organization", _PERSON: "user", _ROW: "pk"}
    named = tuple(
        ("pks", None)
        if param == [_ROW]
        else (slots[param], None)
        if isinstance(param, uuid.UUID) and param in slots
        else ("", param)
        for param in params
    )
    return Plan(
        f"{sql} LIMIT %s" if is_page else sql,
        named,
        tuple((name, serializer.fields[name]) for name in late),
    )


def reason(kind: type[TenantViewSet]) -> str | None:
    """Why a view's list is left to its serializer; None where it is planned."""
    if not kind.is_plain():
        return "it chooses or shows its rows in a way of its own"
    try:
        compiled(kind, livemode=False, has_shares=False, action="list", is_after=False)
    except Inexpressible as error:
        return str(error)
    return None


def _plan(view: TenantViewSet, action: str, is_after: bool) -> Plan | None:
    caller = view.caller
    key = (type(view), action, is_after, caller.livemode, caller.has_shares)
    if key not in _plans:
        try:
            _plans[key] = compiled(
                type(view),
                livemode=caller.livemode,
                has_shares=caller.has_shares,
                action=action,
                is_after=is_after,
            )
        except Inexpressible:
            _plans[key] = None
    return _plans[key]


def _values(caller: Caller, pk: Any = None) -> dict[str, Any]:
    user = None if caller.user is None else uuid.UUID(int=caller.user.pk.int)
    return {"organization": uuid.UUID(int=caller.organization.pk.int), "user": user, "pk": pk}


# --- what views ask for -----------------------------------------------------------------------


def page(view: TenantViewSet) -> HttpResponse | None:
    """One page of a view's list, newest first; None where the serializer has to write it."""
    asked = view.request.query_params
    if not settings.READPLAN or set(view.kwargs) or set(asked) - {"limit", "cursor"}:
        return None
    paginator: Any = view.paginator
    limit, after = paginator.asked(view.request, view.model)
    plan = _plan(view, "list", after is not None)
    if plan is None:
        return None
    with acting(view.caller, writing=False):
        rows = plan.run(_values(view.caller, after), limit + 1)
    has_more = len(rows) > limit
    rows = rows[:limit]
    following = json.dumps(paginator.following(view.request, rows[-1][0]) if has_more else None)
    data = ",".join(text for _pk, text in rows)
    more = "true" if has_more else "false"
    return answer(f'{{"data":[{data}],"has_more":{more},"next_cursor":{following}}}')


def row(view: TenantViewSet) -> HttpResponse | None:
    """One row of a view; None where the serializer has to write it, or say why there is none."""
    key: Any = view.model._meta.pk
    if not settings.READPLAN or set(view.kwargs) != {"pk"} or not isinstance(key, TypeIDField):
        return None
    plan = _plan(view, "retrieve", is_after=False)
    if plan is None:
        return None
    try:
        pk = key.to_python(view.kwargs["pk"])
    except ValidationError:
        return None
    assert pk is not None
    with acting(view.caller, writing=False):
        rows = plan.run(_values(view.caller, uuid.UUID(int=pk.int)))
    return answer(rows[0][1]) if rows else None


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
        every = Value([_ROW], output_field=ArrayField(models.UUIDField()))
        try:
            with _nothing_asked():
                chosen = rows().filter(_IsAmong(F("pk"), every))
                _plans[key] = _statement(chosen, serializer(), is_page=False)
        except Inexpressible:
            _plans[key] = None
    plan = _plans[key]
    if plan is None:
        return None
    found = {uuid.UUID(int=pk.int): text for pk, text in plan.run({"pks": list(ids)})}
    return [found[id] for id in ids if id in found]


def answer(text: str) -> HttpResponse:
    """JSON that is written already."""
    return HttpResponse(text, content_type="application/json")
