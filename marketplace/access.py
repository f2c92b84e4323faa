"""Who is calling, what they may do, and the one place that tells the database so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import DEFAULT_DB_ALIAS, connection, connections, models, transaction
from django.utils.translation import gettext as _
from psycopg import sql
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus

from marketplace import kept_sql, one_message
from marketplace.errors import NotFound
from marketplace.typeid import TypeIDField

if TYPE_CHECKING:
    from marketplace.models import ApiKey, Organization, User


class Scope(StrEnum):
    """What a key may do. `read` never changes anything; `write` includes no `read`."""

    ORGANIZATION_READ = "organization:read"
    ORGANIZATION_WRITE = "organization:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    WORKS_READ = "works:read"
    WORKS_WRITE = "works:write"
    COLLECTIONS_READ = "collections:read"
    COLLECTIONS_WRITE = "collections:write"
    TERMS_READ = "terms:read"
    TERMS_WRITE = "terms:write"
    OFFERS_READ = "offers:read"
    OFFERS_WRITE = "offers:write"
    LISTINGS_READ = "listings:read"
    QUOTES_READ = "quotes:read"
    QUOTES_WRITE = "quotes:write"
    ORDERS_READ = "orders:read"
    ORDERS_WRITE = "orders:write"
    SALES_READ = "sales:read"
    REFUNDS_READ = "refunds:read"
    REFUNDS_WRITE = "refunds:write"
    PAYOUTS_READ = "payouts:read"
    PAYOUTS_WRITE = "payouts:write"
    ROYALTIES_READ = "royalties:read"
    ROYALTIES_WRITE = "royalties:write"
    GRANTS_READ = "grants:read"
    DELIVERY_READ = "delivery:read"
    DECISIONS_READ = "decisions:read"
    ACCESS_REQUESTS_READ = "access_requests:read"
    ACCESS_REQUESTS_WRITE = "access_requests:write"
    OPT_OUTS_READ = "opt_outs:read"
    OPT_OUTS_WRITE = "opt_outs:write"
    MEMBERS_READ = "members:read"
    MEMBERS_WRITE = "members:write"
    EVENTS_READ = "events:read"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"


class FirstWrite(Protocol):
    """What must stand in a request's first transaction: its idempotency key."""

    def __call__(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """An organization that asks for something, through a key or a signed-in member."""

    organization: Organization
    livemode: bool
    scopes: frozenset[str]
    user: User | None = None
    api_key: ApiKey | None = None
    # The user was given single collections of other organizations, or more right to some of ours.
    has_shares: bool = False
    # The request's Idempotency-Key, if it has one.
    request_key: str = ""
    # Run once, inside the first transaction that this request opens for writing.
    first_writes: list[FirstWrite] = field(default_factory=list, compare=False)

    @property
    def version(self) -> str | None:
        """The version of the API that its key is pinned to; None for people."""
        return None if self.api_key is None else self.api_key.version

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes

    @property
    def actor(self) -> str:
        """Who acted, for the audit: `key_…` or `usr_…`."""
        if self.api_key is not None:
            return str(self.api_key.pk)
        return str(self.user.pk) if self.user is not None else "system"


class StandIn(Caller):
    """Looks like a Caller to whoever builds a queryset, and knows only what has a slot.

    Reading anything else of it is refused: it would be kept for others.
    """

    __slots__ = ()

    def __init__(self, livemode: bool, has_shares: bool) -> None:
        # All that they have beside their keys is deferred, and asking the database is refused.
        organization = _model("Organization").from_db(None, ["id"], [kept_sql.TENANT])
        user = _model("User").from_db(None, ["id"], [kept_sql.PERSON])
        # The modes and shares are part of what is kept by.
        known = {"livemode": livemode, "has_shares": has_shares}
        for name, value in {"organization": organization, "user": user, **known}.items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise kept_sql.Inexpressible(f"its rows depend on the caller's {name}")


def _model(name: str) -> type[models.Model]:
    """A model of this app, which is made of what stands here."""
    return apps.get_model("marketplace", name)


def slots(caller: Caller, pk: UUID | None = None) -> dict[str, UUID | None]:
    """A caller's values, and a key, for the slots of a kept statement."""
    user = None if caller.user is None else UUID(int=caller.user.pk.int)
    return {"organization": UUID(int=caller.organization.pk.int), "user": user, "pk": pk}


_current: ContextVar[tuple[str, str] | None] = ContextVar("licet_tenant", default=None)


@contextmanager
def acting(caller: Caller, *, writing: bool = True) -> Iterator[None]:
    """Open a transaction in which the database shows what `caller`'s organization may see.

    The outermost block sets the tenant for row-level security, for this transaction only (a
    pooled connection keeps nothing). A nested block of the same tenant joins it without a
    savepoint. With `writing`, the request's idempotency key is recorded in it first.
    """
    with _as(str(caller.organization.pk.hex), ""):
        if writing:
            while caller.first_writes:
                caller.first_writes.pop()()
        yield


@contextmanager
def system(reason: str) -> Iterator[None]:
    """Open a transaction that sees all tenants, for work that belongs to none, saying why."""
    assert reason, "All-tenant work names its reason."
    with _as("", reason):
        yield


@contextmanager
def _as(tenant: str, reason: str) -> Iterator[None]:
    outer = _current.get()
    if outer is not None and connection.in_atomic_block:
        # Work for one tenant inside all-tenant work keeps the wider view; nothing else may mix.
        if outer[1] == "" and outer != (tenant, reason):
            raise RuntimeError("A transaction belongs to one tenant.")
        with transaction.atomic(savepoint=False):
            yield
        return
    # True in a larger transaction, as tests are: there, the end of this block stands for a commit.
    is_inside = connection.in_atomic_block
    with transaction.atomic():
        _set(tenant, reason)
        token = _current.set((tenant, reason))
        try:
            yield
        finally:
            _current.reset(token)
        if is_inside:
            with connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
    if is_inside:
        # "Local" lasts until the larger transaction ends: undo it.
        _set("", "")


_SET: Final = "SELECT set_config('licet.tenant', %s, true), set_config('licet.system', %s, true)"
_BEGIN: Final = sql.SQL("BEGIN; SET LOCAL licet.tenant = {}; SET LOCAL licet.system = {}")


def _set(tenant: str, reason: str) -> None:
    raw = connection.connection
    if _is_watched(connection) or raw.pgconn.transaction_status != TransactionStatus.IDLE:
        with connection.cursor() as cursor:
            cursor.execute(_SET, [tenant, reason])
        return
    # The transaction is begun as well, in one message: each request is spared a third of what
    # PostgreSQL and we spend on a short transaction.
    begin = _BEGIN.format(sql.Literal(tenant), sql.Literal(reason)).as_bytes(raw)
    with connection.wrap_database_errors:
        result = raw.pgconn.exec_(begin)
        if result.status != ExecStatus.COMMAND_OK:
            raise error_from_result(result)


def _is_watched(database: Any) -> bool:
    """Whether somebody wants to see each statement before it runs, or after."""
    return bool(database.execute_wrappers) or database.queries_logged


def alone(caller: Caller, statement: str, values: Any) -> tuple[list[tuple[Any, ...]], int]:
    """Run one statement as `caller`'s organization; its rows, and how many it found or changed.

    In a transaction of its own, all of which is one message to PostgreSQL: half of what `acting`
    around it costs. Within a transaction, or where statements are watched, as `acting` does it.
    """
    tenant = str(caller.organization.pk.hex)
    # Looked up once: Django's `connection` looks it up at each use.
    database = connections[DEFAULT_DB_ALIAS]
    if database.in_atomic_block or _is_watched(database):
        with _as(tenant, ""), database.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else [], cursor.rowcount
    database.ensure_connection()
    with database.wrap_database_errors:
        return one_message.run(database.connection, tenant, statement, values)


@contextmanager
def undone() -> Iterator[None]:
    """Undo at its end what the block wrote; for what is tried, and not done.

    A savepoint that psycopg is not told of: where it sees a ROLLBACK, it gives up every statement
    that it had prepared, and PostgreSQL plans all of a connection's statements anew.
    """
    assert connection.in_atomic_block, "What is tried is a part of something."
    raw = connection.connection.pgconn
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT tried")
    try:
        yield
    finally:
        result = raw.exec_(b"ROLLBACK TO SAVEPOINT tried; RELEASE SAVEPOINT tried")
        if result.status != ExecStatus.COMMAND_OK:
            raise error_from_result(result)
        # What failed within is undone, and the transaction as good as before.
        transaction.set_rollback(False)


@contextmanager
def planned_anew() -> Iterator[None]:
    """Have PostgreSQL plan each statement within for its own values, instead of once for all.

    For questions whose best plan depends on who asks: a plan for everybody reads a whole table to
    find that a tenant has nothing in it. Sends nothing by itself.
    """
    connection.ensure_connection()
    prepared = connection.connection
    before = prepared.prepare_threshold
    prepared.prepare_threshold = None
    try:
        yield
    finally:
        prepared.prepare_threshold = before


M = TypeVar("M", bound=models.Model)


class TenantQuerySet(models.QuerySet[M]):
    """A queryset whose model says, once, which of its rows a caller may see."""

    def visible_to(self, caller: Caller) -> Self:
        raise NotImplementedError(f"{self.model.__name__} has no visible_to.")

    def get_visible(self, caller: Caller, id: Any, *, lock: bool = False) -> M:
        """Return the row, or raise the one NotFound that hidden and missing rows share."""
        try:
            kept = _kept(self, caller, lock=lock)
            if kept is None:
                return _visible(self, caller, lock=lock).get(pk=id)
            pk = self.model._meta.pk.to_python(id)
            row = None if pk is None else kept.one(slots(caller, UUID(int=pk.int)))
            if row is None:
                raise ObjectDoesNotExist
            return row
        except (ObjectDoesNotExist, ValidationError, ValueError):
            name = self.model._meta.verbose_name
            told = _("There is no %(name)s “%(id)s”.") % {"name": name, "id": id}
            raise NotFound(told) from None


def _visible(rows: TenantQuerySet[M], caller: Caller, *, lock: bool) -> TenantQuerySet[M]:
    seen = rows.visible_to(caller)
    return seen.select_for_update(of=("self",)) if lock else seen


_found: dict[tuple[Any, ...], kept_sql.Rows[Any] | None] = {}


def _kept(rows: TenantQuerySet[M], caller: Caller, *, lock: bool) -> kept_sql.Rows[M] | None:
    """How one of a model's rows is found; None where that depends on more than its key."""
    query = rows.query
    chosen = (
        *(query.where, query.annotations, query.is_sliced, query.distinct),
        *(query.deferred_loading[0], query.values_select, query.select_for_update),
        rows._prefetch_related_lookups,  # type: ignore[attr-defined]
    )
    if any(chosen) or not settings.READPLAN:
        return None
    of = (rows.model, type(rows).visible_to, str(query.select_related), lock)
    key = (*of, caller.livemode, caller.has_shares)
    if key not in _found:
        try:
            _found[key] = _compiled(rows, StandIn(caller.livemode, caller.has_shares), lock=lock)
        except kept_sql.Inexpressible:
            _found[key] = None
    return _found[key]


def _compiled(rows: TenantQuerySet[M], caller: Caller, *, lock: bool) -> kept_sql.Rows[M]:
    if not isinstance(rows.model._meta.pk, TypeIDField):
        raise kept_sql.Inexpressible("its key is a number")
    with kept_sql.nothing_asked():
        return kept_sql.Rows(_visible(rows, caller, lock=lock).filter(pk=kept_sql.ROW))
