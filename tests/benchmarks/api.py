"""What a request costs, beside a bare server of the same duties: processor time of both servers'
processes and of PostgreSQL's, over HTTP, with the whole production middleware.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from licensing.listing_serializers import ListedTermsSerializer
from licensing.models import Offer
from marketplace import api_keys
from marketplace.access import system
from payments import processes
from tests.benchmarks import listings
from tests.benchmarks.measure import Figure, median, owner, progress
from tests.people import caller_for, found

ORGANIZATIONS, COLLECTIONS = 5_000, 200_000
# Of the tenant that asks.
OWN = 1_000
ROUNDS, REQUESTS = 9, 150
SCOPES = ["collections:read", "collections:write"]
# Limits that stay out of the way, and are counted and told all the same.
LIMITS = {"LICET_RATE_KEY": "100000:1000000"}
LOAD_SQL = """
INSERT INTO marketplace_organization
SELECT (jsonb_populate_record(organization, jsonb_build_object(
    'id', ('a0' || lpad(to_hex(n), 30, '0'))::uuid, 'name', 'Tenant ' || n))).*
FROM marketplace_organization organization, generate_series(%s::int, %s::int) n
WHERE organization.id = %s
"""
COLLECTIONS_SQL = """
INSERT INTO marketplace_collection (id, organization_id, name, description, notice, languages,
    next_snapshot, created_at)
SELECT ('c1' || lpad(to_hex(n), 30, '0'))::uuid,
    CASE WHEN n <= %(own)s THEN %(tenant)s::uuid
        ELSE ('a0' || lpad(to_hex(1 + n %% %(tenants)s), 30, '0'))::uuid END,
    'Collection ' || n, repeat('What is in it, and whence. ', 8), '', '{en,de}', 1,
    now() - n * interval '1 second'
FROM generate_series(1, %(count)s) n
"""

Ask = Callable[["Server"], None]


@dataclass
class Server:
    """One of both, a connection to it, and the processes that are its own."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    secret: str

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        said = {"Authorization": f"Bearer {self.secret}", **headers}
        data = None
        if body is not None:
            data, said["Content-Type"] = json.dumps(body), "application/json"
        try:
            self.connection.request(method, path, body=data, headers=said)
            answer = self.connection.getresponse()
        except (BrokenPipeError, http.client.RemoteDisconnected):
            # It had rested for too long. Keys make it safe to send again.
            self.connection.close()
            self.connection.request(method, path, body=data, headers=said)
            answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status in {200, 201}, (self.name, path, answer.status, text[:500])
        # Neither may save itself what the other does.
        assert answer.headers["Request-Id"]
        assert answer.headers["RateLimit"]
        return json.loads(text)

    def cpu(self) -> float:
        return family_cpu(self.process.pid)


def run(quick: bool) -> Iterator[Figure]:
    """Ask both by turns: a list of 50, a row, a small POST; and a search of as many listings."""
    count = COLLECTIONS // 10 if quick else COLLECTIONS
    seller = found("Measured", "platform")
    secret = api_keys.create(caller_for(seller), name="bench", scopes=SCOPES)[1]
    load(str(UUID(int=seller.pk.int)), count)
    numbers = itertools.count()
    with _servers(secret) as (ours, bare, database):
        assert "Content-Security-Policy" in _page_headers(ours)
        ids = [row["id"] for row in ours.ask("GET", "/v1/collections?limit=50")["data"]]
        asked: dict[str, tuple[Ask, float]] = {
            "list of 50": (lambda one: _list(one), 0.5),
            "detail": (lambda one: _row(one, ids[next(numbers) % len(ids)]), 0.4),
            "small POST": (lambda one: _post(one, next(numbers)), 0.25),
        }
        assert _shape(ours, ids[0]) == _shape(bare, ids[0])
        for name, (ask, goal) in asked.items():
            yield _figure(name, ask, goal, ours, bare, database, count)
    yield _search(secret, count)


def _search(secret: str, count: int) -> Figure:
    """Rare words and common ones by turns, by relevance, with facets."""
    listings.load(count, random.Random(3))
    pairs = zip(listings.COMMON[:60], listings.RARE[:60], strict=True)
    words = itertools.cycle([each for two in pairs for each in two])
    with TemporaryDirectory() as directory:
        kept = Path(directory) / "terms.json"
        with system("what a bare server keeps of terms"):
            ids = Offer.objects.values_list("terms_id", flat=True).distinct()
            told = ListedTermsSerializer().texts(list(ids))
        kept.write_text(json.dumps({str(UUID(int=id.int)): text for id, text in told.items()}))
        with _servers(secret, BARE_TERMS=str(kept)) as (ours, bare, database):
            path = "/v1/listings?q=collection&limit=50"
            mine, other = (each.ask("GET", path) for each in (ours, bare))
            assert len(mine["data"]) == len(other["data"]) == 50
            # What a bare server leaves out, it saves itself.
            assert mine["data"][0].keys() - other["data"][0].keys() <= {"trader", "sample"}

            def look(server: Server) -> None:
                server.ask("GET", f"/v1/listings?q={next(words)}&limit=50")

            return _figure("search, page of 50", look, 0.5, ours, bare, database, count)


def _figure(
    name: str, ask: Ask, goal: float, ours: Server, bare: Server, database: int, count: int
) -> Figure:
    spent: dict[str, list[float]] = {ours.name: [], bare.name: []}
    rates: dict[str, list[float]] = {ours.name: [], bare.name: []}
    for number in range(1 + ROUNDS):
        for server in (ours, bare):
            began, at = server.cpu() + family_cpu(database), time.perf_counter()
            for _turn in range(REQUESTS):
                ask(server)
            cost = (server.cpu() + family_cpu(database) - began) / REQUESTS
            if number:  # the first one warms both up
                spent[server.name].append(cost)
                rates[server.name].append(REQUESTS / (time.perf_counter() - at))
    mine, limit = (median(spent[each.name]) * 1000 for each in (ours, bare))
    progress(
        f"api, {name}: {median(rates[ours.name]):.0f} requests/s of one client, bare"
        f" {median(rates[bare.name]):.0f}"
    )
    return Figure(
        figure=f"{name} beside {count:,} of others: CPU of server and database",
        value=mine,
        unit="ms",
        limit=limit,
        ratio=limit / mine,
        goal=f"ratio >= {goal}",
        holds=limit / mine >= goal,
    )


def _list(server: Server) -> None:
    assert len(server.ask("GET", "/v1/collections?limit=50")["data"]) == 50


def _row(server: Server, id: str) -> None:
    assert server.ask("GET", f"/v1/collections/{id}")["id"] == id


def _post(server: Server, number: int) -> None:
    key = f"{server.name}-{number}"
    made = server.ask("POST", "/v1/collections", {"name": key}, **{"Idempotency-Key": key})
    assert made["name"] == key


def _shape(server: Server, id: str) -> Any:
    return server.ask("GET", f"/v1/collections/{id}")


def _page_headers(server: Server) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/docs/", timeout=60) as page:
        return page.headers


def load(tenant: str, count: int, *, tenants: int = ORGANIZATIONS) -> None:
    """So many collections, some of the tenant's own, the others of so many others."""
    started = time.monotonic()
    with owner() as opened:
        opened.execute(LOAD_SQL, [1, tenants, tenant])
        opened.execute(
            COLLECTIONS_SQL,
            {"own": OWN, "tenant": tenant, "tenants": tenants, "count": count},
        )
        opened.execute("VACUUM ANALYZE marketplace_collection")
        opened.execute("VACUUM ANALYZE marketplace_organization")
    progress(f"api: loaded after {time.monotonic() - started:.0f} s")


@contextmanager
def _servers(secret: str, **more: str) -> Iterator[tuple[Server, Server, int]]:
    """Both, each with one worker, and the process that PostgreSQL's are children of."""
    database = database_process()
    ports = processes.free_ports(2)
    environ = {
        **os.environ,
        **LIMITS,
        **more,
        "LICET_DATABASE_ROLE": "licet_app",
        "LICET_DEBUG": "1",
    }
    bare = [sys.executable, "-m", "granian", "--interface", "asgi", "--host", "127.0.0.1"]
    bare += ["--port", str(ports[1]), "--workers", "1", "--no-ws", "tests.benchmarks.bare_peer:app"]
    commands = [processes.served(ports[0], threads=processes.WEB_THREADS), bare]
    running = [
        subprocess.Popen(each, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for each in commands
    ]
    try:
        servers = [
            Server(name, port, process, secret)
            for name, port, process in zip(("ours", "bare"), ports, running, strict=True)
        ]
        for server in servers:
            _wait(server)
        yield servers[0], servers[1], database
    finally:
        for each in running:
            each.terminate()
            each.wait()


def _wait(server: Server) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            server.ask("GET", "/v1/collections?limit=1")
            return
        except OSError:
            server.connection.close()
            assert time.monotonic() < deadline, f"{server.name} does not answer"
            time.sleep(0.1)


def database_process() -> int:
    """The process that PostgreSQL's are children of."""
    with owner() as opened:
        row = opened.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        # While it is connected: its process ends with the connection.
        stat = Path(f"/proc/{row[0]}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def family_cpu(parent: int) -> float:
    """Processor seconds of a process and all below it, each with all its threads.

    Of the database's: one server's connections rest while the other is asked.
    """
    spent = 0
    for pid in _family(parent):
        # Some of PostgreSQL's end meanwhile: those that clean up.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            threads = list(Path(f"/proc/{pid}/task").iterdir())
            spent += sum(int((each / "schedstat").read_text().split()[0]) for each in threads)
    return spent / 1e9


def _family(parent: int) -> list[int]:
    born: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for each in Path(f"/proc/{parent}/task").glob("*/children"):
            born += [int(pid) for pid in each.read_text().split()]
    return [parent, *(pid for child in born for pid in _family(child))]
