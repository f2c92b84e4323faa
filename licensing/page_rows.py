"""The rows of a page of listings: read as one text, a third of what a query set of them costs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import BinaryField, DateTimeField, Field, ForeignKey, Model
from django.db.models.base import ModelState

from licensing import samples
from licensing.models import Offer, Snapshot, Terms
from marketplace.models import Collection, Organization, Trader
from marketplace.typeid import TypeID, TypeIDField

M = TypeVar("M", bound=Model)

# What is shown of each; all else is deferred, as by `only`.
_SHOWN: dict[type[Model], tuple[str, ...]] = {
    Offer: (
        *("id", "organization", "collection", "snapshot", "terms", "audience", "price"),
        *(
            "price_minor",
            "currency",
            "access",
            "invoice_days",
            "grants_on",
            "opens_at",
            "closes_at",
            "published_at",
        ),
        *("rights_basis", "rights_license", "rights_statement"),
    ),
    Organization: ("id", "name", "legal_name", "jurisdiction", "registration_number"),
    Collection: ("id", "name", "description", "notice"),
    Snapshot: (
        *("id", "collection", "number", "size", "root", "totals", "citation", "finalized_at"),
    ),
    Terms: (
        *("id", "organization", "name", "version", "typed", "typed_sha256", "text", "text_sha256"),
        *("template_version", "created_at", "published_at"),
    ),
    Trader: (
        *("id", "organization", "state", "legal_name", "address", "registration_number"),
        *("trade_register", "email", "phone"),
    ),
}
_RELATED = {"organization": Organization, "collection": Collection, "snapshot": Snapshot}
_RELATED["terms"] = Terms


def read(ids: Sequence[UUID]) -> list[Offer]:
    """Those of some offers that are listed, in this order, with all that a page shows of them.

    Sellers and terms that several have in common are read once, and are one object.
    """
    with connection.cursor() as cursor:
        cursor.execute(_STATEMENT, [list(ids)])
        texts = cursor.fetchone()
    assert texts is not None, "An aggregate has one row."
    tables = dict(zip(_SHOWN, texts, strict=True))
    offers = {row.pk: row for row in _rows(Offer, tables[Offer])}
    for name, model in _RELATED.items():
        found = {row.pk: row for row in _rows(model, tables[model])}
        for offer in offers.values():
            offer._state.fields_cache[name] = found[getattr(offer, f"{name}_id")]
    traders = {row.organization_id: row for row in _rows(Trader, tables[Trader])}
    for offer in offers.values():
        # None, too, is known then, and not asked for.
        cache = offer.organization._state.fields_cache
        cache["trader"] = traders.get(offer.organization_id)
    works = samples.works_of(offers)
    for id, offer in offers.items():
        offer.sample_works = works.get(id)  # type: ignore[attr-defined]
    return [offers[id] for id in ids if id in offers]


def _fields(model: type[Model]) -> list[Field[Any, Any]]:
    return [model._meta.get_field(name) for name in _SHOWN[model]]  # type: ignore[misc]


def _table(model: type[Model], condition: str) -> str:
    columns = ", ".join(str(field.column) for field in _fields(model))
    table = "page" if model is Offer else model._meta.db_table
    return f"(SELECT json_agg(json_build_array({columns}))::text FROM {table} {condition})"


_TABLES = [
    _table(Offer, ""),
    *(_table(row, f"WHERE id IN (SELECT {name}_id FROM page)") for name, row in _RELATED.items()),
    _table(Trader, "WHERE organization_id IN (SELECT organization_id FROM page)"),
]
_STATEMENT = f"""
WITH page AS MATERIALIZED (
    SELECT * FROM {Offer._meta.db_table} WHERE id = ANY(%s) AND state = 'listed'
)
SELECT {", ".join(_TABLES)}
"""


def _reader(field: Field[Any, Any]) -> Callable[[Any], Any] | None:
    """What makes a field's value of its JSON; None where that is the value."""
    target = field.target_field if isinstance(field, ForeignKey) else field
    if isinstance(target, TypeIDField):
        return partial(_id, target.prefix)
    if isinstance(target, DateTimeField):
        return datetime.fromisoformat
    if isinstance(target, BinaryField):
        return lambda text: bytes.fromhex(text[2:])
    return None


@lru_cache(10_000)
def _id(prefix: str, text: str) -> TypeID:
    """Kept: the same sellers' and terms' ids stand in row after row."""
    return TypeID(prefix, UUID(text))


_READERS = {
    model: [(field.attname, _reader(field)) for field in _fields(model)] for model in _SHOWN
}


def _rows(model: type[M], text: str | None) -> Iterable[M]:
    """Instances as the database would load them: constructing them takes five times as long."""
    for values in json.loads(text or "[]"):
        row = model.__new__(model)
        row._state = ModelState()
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS
        row.__dict__.update(
            (name, value if read is None or value is None else read(value))
            for (name, read), value in zip(_READERS[model], values, strict=True)
        )
        yield row
