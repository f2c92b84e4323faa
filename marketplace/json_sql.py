"""What a serializer shows of a row, as SQL that writes JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import (
    Case,
    F,
    Func,
    OuterRef,
    Prefetch,
    QuerySet,
    Subquery,
    TextField,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from rest_framework import serializers

from marketplace.kept_sql import Inexpressible
from marketplace.typeid import TypeIDField


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


class Text(Func):
    """A value cast to text; a bare parameter would have no type."""

    template = "(%(expressions)s)::text"
    output_field = TextField()


class Instant(Func):
    """As `isoformat` writes a UTC time: a fraction has six digits, or there is none."""

    template = (
        "replace(to_char(%(expressions)s AT TIME ZONE 'UTC',"
        " 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), '.000000Z', 'Z')"
    )
    output_field = TextField()


class Hex(Func):
    template = "encode(%(expressions)s, 'hex')"
    output_field = TextField()


class _Id(Func):
    """A TypeID's text."""

    template = "marketplace_typeid('%(prefix)s', uuid_send(%(expressions)s))"
    output_field = TextField()

    def __init__(self, column: Any, *, prefix: str) -> None:
        assert prefix.isalpha()
        super().__init__(column, prefix=prefix)


class Later(Func):
    """The instant that is so many days of 24 hours after one; null where there is no number."""

    template = "(%(expressions)s * interval '24 hours')"
    arg_joiner = " + "
    output_field = models.DateTimeField()


class Without(Func):
    """An object of jsonb without one of its members."""

    template = "(%(expressions)s - '%(member)s')::json"
    output_field = models.JSONField()

    def __init__(self, column: Any, *, member: str) -> None:
        assert member.isidentifier()
        super().__init__(column, member=member)


class List(Subquery):
    """The one column of some rows as a list, in their order."""

    template = "array_to_json(ARRAY(%(subquery)s))"
    output_field = models.JSONField()


class Json(Func):
    """A column of jsonb, of the type that `Object` has."""

    template = "(%(expressions)s)::json"
    output_field = models.JSONField()


class IsAmong(Func):
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


class ListAsKept(serializers.ListSerializer[Any]):
    """Objects that a column of jsonb keeps just as they are shown."""

    def as_sql_of(self, path: str) -> Any:
        return Json(F(f"{path}{self.source}"))


# Rows of other tables that come with a row, by the name of the relation.
Beside = Mapping[str, QuerySet[Any]]


def prefetched(rows: QuerySet[Any]) -> Beside:
    """What a query set brings with its rows by prefetching."""
    lookups: Any = rows._prefetch_related_lookups  # type: ignore[attr-defined]
    return {
        each.prefetch_to: each.queryset
        for each in lookups
        if isinstance(each, Prefetch) and each.queryset is not None
    }


def written(
    serializer: Any, model: type[models.Model], path: str = "", beside: Beside | None = None
) -> Combinable:
    """What a serializer shows of a model's row at `path`. Raises Inexpressible."""
    kind = type(serializer)
    is_plain = kind.to_representation is serializers.Serializer.to_representation
    if not is_plain and not getattr(kind, "shows_as_ever", False):
        raise Inexpressible(f"{kind.__name__} has a to_representation of its own")
    return Object(
        {
            name: _member(model, name, field, path, beside or {})
            for name, field in serializer.fields.items()
            if not field.write_only
        }
    )


def runs(
    serializer: Any, model: type[models.Model], beside: Beside
) -> tuple[list[Combinable], list[str]]:
    """What is selected for a row: runs of its members, and between them the keys of late ones.

    And the names of these. Raises Inexpressible.
    """
    chosen: list[Combinable] = []
    run: dict[str, Any] = {}
    late = []
    for name, field in serializer.fields.items():
        if isinstance(field, Late):
            chosen += [Text(Object(run)), field.key_of("")]
            late.append(name)
            run = {}
        elif not field.write_only:
            run[name] = _member(model, name, field, "", beside)
    return [*chosen, Text(Object(run))], late


def _member(
    model: type[models.Model], name: str, field: Any, path: str, beside: Beside
) -> Combinable:
    try:
        return _written(model, field, path, beside)
    except Inexpressible as error:
        raise Inexpressible(f"{name}: {error}") from None


def _written(model: type[models.Model], field: Any, path: str, beside: Beside) -> Combinable:
    said = getattr(field, "as_sql_of", None)
    if said is not None:
        return said(path)  # type: ignore[no-any-return]
    if isinstance(field, serializers.ListSerializer):
        return _rows(model, field, path, beside)
    *way, last = (field.source or "").split(".")
    if last == "*":
        if isinstance(field, serializers.Serializer):
            return written(field, model, path, beside)
        raise Inexpressible(type(field).__name__)
    for step in way:
        relation = _field(model, step)
        if relation.related_model is None or relation.null:
            raise Inexpressible(f"{field.source} may end on its way")
        model, path = relation.related_model, f"{path}{step}__"
    if isinstance(field, serializers.Serializer):
        return _nested(_relation(model, last), field, f"{path}{last}")
    column = _field(model, last)
    return _of_column(column, field, F(f"{path}{last}"))


def _rows(model: type[models.Model], field: Any, path: str, beside: Beside) -> Combinable:
    """Rows of another table that name this one, in the order that they are prefetched in."""
    if (rows := beside.get(f"{path}{field.source}")) is None:
        raise Inexpressible("rows of another table")
    relation: Any = model._meta.get_field(field.source)
    its = rows.filter(**{relation.remote_field.name: OuterRef(f"{path}pk")}).select_related(None)
    shown = written(field.child, rows.model, beside=prefetched(rows))
    return List(its.prefetch_related(None).annotate(shown=shown).values("shown"))


def _relation(model: type[models.Model], name: str) -> Any:
    """A column, or the one row of another table that names this one."""
    for relation in model._meta.related_objects:
        if relation.one_to_one and relation.get_accessor_name() == name:
            return relation
    return _field(model, name)


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
            return Instant(value)
    elif isinstance(target, models.BinaryField):
        if getattr(type(field), "is_hexadecimal", False):
            return Hex(value)
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
