"""How long pages take as browsers ask for them: lists, first pages, and all figures of a section.

Each is asked by a signed-in person through every middleware, rendered whole. Beside the clock's
time stand the processor's, and the database's own as EXPLAIN ANALYZE counts it: a neighbor's load
is in the first alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from marketplace import garbage, operators, organizations
from marketplace.models import Organization, User
from marketplace.tenant_site import studio
from tests.benchmarks.measure import CpuClock, Figure, django_backend, progress

SECONDS_GOAL = 0.300
QUERIES_GOAL = 15
WARM_UP = 2
PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Page(Figure):
    """A page: `value` is its p95 in ms; how many queries it asks; and what of it is computing."""

    queries: int = 0
    cpu_ms: float = 0.0
    database_ms: float = 0.0


@dataclass(slots=True)
class _Explained:
    """Has each read explained just before it runs, in the same transaction as the same role."""

    found: list[tuple[float, str]] = field(default_factory=list)

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if not many and sql.lstrip().startswith(("SELECT", "WITH")) and "set_config" not in sql:
            with connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", params)
                [[plan]] = cursor.fetchone()
                self.found.append((plan["Planning Time"] + plan["Execution Time"], sql))
        return execute(sql, params, many, context)


def member_of(organization: Organization) -> User:
    """Somebody who may see every page of an organization."""
    return organizations.admit(
        organization,
        email=f"{organization.pk}@example.org",
        name="Somebody",
        password=PASSWORD,
        role="owner",
    )


def operator() -> User:
    return operators.appoint(email="operator@example.org", name="Olive", password=PASSWORD)


def of_studio() -> Iterator[tuple[str, str]]:
    """Each page of the workspace that lists or counts: its name, and its address."""
    yield "first page", "/studio/"
    yield "figures, license out", "/studio/panels/"
    yield "figures, license in", "/studio/licenses/panels/"
    for link in studio.links:
        yield str(link.title), studio.page(link.name)
    for model, pages in studio._registry.items():
        name = str(pages.menu_title or model._meta.verbose_name_plural)
        address = f"/studio/{model._meta.app_label}/{model._meta.model_name}/"
        yield f"list of {name}", address
        if pages.search_fields:
            yield f"search in {name}, found", f"{address}?q=9"
            yield f"search in {name}, not found", f"{address}?q=nowhere+to+be+found"


def of_operators() -> Iterator[tuple[str, str]]:
    """Each page of the operators' site that lists or counts."""
    yield "first page", "/admin/"
    yield "figures", "/admin/panels/?mode=test"
    for model, pages in admin.site._registry.items():
        name = f"{model._meta.app_label}.{model.__name__}"
        address = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        yield f"list of {name}", address
        if pages.search_fields:
            yield f"search in {name}", f"{address}?q=nowhere+to+be+found"


def measured(who: str, user: User, pages: Iterator[tuple[str, str]], rounds: int) -> Iterator[Page]:
    """Ask for each page so many times; a line for each, and the slowest named on the side."""
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    client.get("/")
    # As a server does before its first request.
    garbage.spare_what_is_loaded()
    found = []
    for name, address in pages:
        page = _measured(client, f"page of {who}: {name}", address, rounds)
        found.append(page)
        yield page
    if found:
        worst = max(found, key=lambda one: one.value)
        most = max(found, key=lambda one: one.queries)
        progress(f"dashboards, the slowest is {worst.figure}: {worst.value:.0f} ms")
        progress(f"dashboards, most queries has {most.figure}: {most.queries}")


def _measured(client: Client, name: str, address: str, rounds: int) -> Page:
    clock = CpuClock(django_backend())

    def ask() -> None:
        answer = client.get(address)
        assert answer.status_code == 200, f"{address} answered {answer.status_code}"
        assert answer.content

    explained = _Explained()
    with connection.execute_wrapper(explained):
        ask()
    with CaptureQueriesContext(connection) as captured:
        ask()
    # Now: the next request empties the list. A transaction's beginning and end are no queries.
    queries = [one["sql"] for one in captured if one["sql"] not in {"BEGIN", "COMMIT"}]
    if len(queries) > QUERIES_GOAL:
        progress(f"{name}: {len(queries)} queries")
    seconds, busy = [], []
    for turn in range(WARM_UP + rounds):
        began, started = clock.read(), time.perf_counter()
        ask()
        if turn >= WARM_UP:
            seconds.append(time.perf_counter() - started)
            busy.append(clock.read() - began)
    p95 = _p95(seconds)
    slowest, sql = max(explained.found, default=(0.0, ""))
    if slowest > 50:
        progress(f"{name}: {slowest:.0f} ms of the database for {json.dumps(sql)[:3000]}")
    return Page(
        figure=name,
        value=p95 * 1000,
        unit="ms",
        limit=SECONDS_GOAL * 1000,
        ratio=SECONDS_GOAL / p95,
        goal=f"value <= {SECONDS_GOAL * 1000:g} ms, queries <= {QUERIES_GOAL}",
        holds=p95 <= SECONDS_GOAL and len(queries) <= QUERIES_GOAL,
        queries=len(queries),
        cpu_ms=_p95(busy) * 1000,
        database_ms=sum(took for took, _sql in explained.found),
    )


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]
