"""What lists, rows and orders cost beside django-oscar-api, the fastest market of our own stack.

Both serve over HTTP from one worker, on one PostgreSQL server, with as many things on sale; the
measure is the processor time of a server's processes and of PostgreSQL's. It has an environment of
its own (`oscar_shop`), set up as its documentation says, with pages of 20 (by itself it would send
every product at once). An order there is a basket and its checkout, without a payment; here a quote
and an order of a license that costs nothing, with its contract and its entry in the ledger.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from marketplace import api_keys
from payments import processes
from tests import make
from tests.benchmarks import listings
from tests.benchmarks.api import LIMITS, database_process, family_cpu
from tests.benchmarks.measure import Figure, median, progress
from tests.people import caller_for, found

HERE = Path(__file__).parent
SHOP = HERE / "oscar_shop"
LOCK = SHOP / "requirements.lock"
ENVIRONMENT = HERE.parents[1] / ".data" / "benchmarks" / "oscar"
ITEMS = 200_000
ROUNDS, REQUESTS, ORDERS = 7, 60, 20
SCOPES = ["listings:read", "quotes:write", "orders:write"]
# Of theirs.
LIST_GOAL, DETAIL_GOAL, ORDER_GOAL = 1 / 3, 1 / 3, 1 / 5


@dataclass
class Site:
    """One of both, and the processes that are its own."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[Any, Any]:
        """What is answered, as JSON, and the headers. Each request comes on a connection kept."""
        said = {**self.headers, **headers}
        data = None
        if body is not None:
            data, said["Content-Type"] = json.dumps(body), "application/json"
        if not hasattr(self, "_connection"):
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self._connection.request(method, path, body=data, headers=said)
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status in {200, 201}, (self.name, path, answer.status, text[:500])
        return json.loads(text), answer.headers


def run(quick: bool) -> Iterator[Figure]:
    """Ask both by turns: a page of 20, a row, a whole order."""
    count = ITEMS // 10 if quick else ITEMS
    python = _environment()
    listings.load(count, random.Random(3))
    buyer = found("Lab", "lab")
    offer = str(make.make_offer(found("Archive", "platform"), price_minor=0).pk)
    secret = api_keys.create(caller_for(buyer), name="bench", scopes=SCOPES)[1]
    with _theirs(python, count) as theirs, _ours(secret) as ours:
        page, headers = ours.ask("GET", "/v1/listings?limit=20")
        assert headers["RateLimit"], "The whole production middleware is on."
        assert headers["Request-Id"]
        own = [each["id"] for each in page["data"]]
        numbers = itertools.count()
        database = database_process()

        def row() -> None:
            ours.ask("GET", f"/v1/listings/{own[next(numbers) % len(own)]}")

        def their_row() -> None:
            theirs.ask("GET", f"/api/products/{1 + next(numbers) % count}/")

        asked: tuple[tuple[str, Callable[[], Any], Callable[[], Any], float, int], ...] = (
            ("list of 20", lambda: _page(ours), lambda: _page(theirs), LIST_GOAL, REQUESTS),
            ("detail", row, their_row, DETAIL_GOAL, REQUESTS),
            (
                "whole order",
                lambda: _order(ours, offer, next(numbers)),
                lambda: _their_order(theirs, 1 + next(numbers) % count),
                ORDER_GOAL,
                ORDERS,
            ),
        )
        for name, mine, other, goal, many in asked:
            spent = _spent(ours, theirs, mine, other, database, many)
            value, limit = (median(each) * 1000 for each in spent)
            yield Figure(
                figure=f"{name} beside {count:,} on sale: CPU of server and database, and theirs",
                value=value,
                unit="ms",
                limit=limit,
                ratio=value / limit,
                goal=f"ratio <= {goal:.3f}",
                holds=value / limit <= goal,
            )


def _spent(
    ours: Site,
    theirs: Site,
    mine: Callable[[], Any],
    other: Callable[[], Any],
    database: int,
    many: int,
) -> tuple[list[float], list[float]]:
    spent: tuple[list[float], list[float]] = ([], [])
    for turn in range(1 + ROUNDS):
        for side, (site, ask) in enumerate(((ours, mine), (theirs, other))):
            began = family_cpu(site.process.pid) + family_cpu(database)
            for _each in range(many):
                ask()
            if turn:  # the first one warms both up
                now = family_cpu(site.process.pid) + family_cpu(database)
                spent[side].append((now - began) / many)
    return spent


def _page(site: Site) -> None:
    if site.name == "ours":
        assert len(site.ask("GET", "/v1/listings?limit=20")[0]["data"]) == 20
    else:
        assert len(site.ask("GET", "/api/products/?limit=20")[0]["results"]) == 20


def _order(site: Site, offer: str, number: int) -> None:
    asked = {"offer": offer, "uses": ["pretrain"], "territories": ["EU"]}
    quote, _headers = site.ask("POST", "/v1/quotes", asked, **{"Idempotency-Key": f"q{number}"})
    accept = {
        "document_sha256": quote["document_sha256"],
        "name": "Lin",
        "title": "Counsel",
        "authority": True,
    }
    placed = {"quote": quote["id"], "accept": accept}
    order, _headers = site.ask("POST", "/v1/orders", placed, **{"Idempotency-Key": f"o{number}"})
    assert order["status"] == "granted", order


def _their_order(site: Site, product: int) -> None:
    """A basket of one product, and its checkout, by somebody new."""
    at = f"http://127.0.0.1:{site.port}/api"
    put = {"url": f"{at}/products/{product}/", "quantity": 1}
    basket, headers = site.ask("POST", "/api/basket/add-product/", put)
    cookies = "; ".join(each.partition(";")[0] for each in headers.get_all("Set-Cookie", []))
    placed = {"basket": f"{at}/baskets/{basket['id']}/", "guest_email": "lin@lab.example"}
    order, _headers = site.ask("POST", "/api/checkout/", placed, Cookie=cookies)
    assert order["number"], order


# --- both sides -------------------------------------------------------------------------------


@contextmanager
def _ours(secret: str) -> Iterator[Site]:
    [port] = processes.free_ports(1)
    environ = {**os.environ, **LIMITS, "LICET_DATABASE_ROLE": "licet_app", "LICET_DEBUG": "1"}
    command = processes.served(port, threads=processes.WEB_THREADS)
    with _running("ours", command, port, "/v1/listings?limit=1", env=environ) as site:
        site.headers["Authorization"] = f"Bearer {secret}"
        yield site


@contextmanager
def _theirs(python: Path, count: int) -> Iterator[Site]:
    """A database of its own on the same server, and the shop."""
    admin_url = os.environ["DATABASE_ADMIN_URL"]
    name = f"oscar_{os.getpid()}"
    environ = {
        **{key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"},
        "DATABASE_URL": urlunsplit(urlsplit(admin_url)._replace(path=f"/{name}")),
        "PYTHONPATH": str(SHOP),
    }
    with psycopg.connect(admin_url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            started = time.monotonic()
            load = [python, SHOP / "shop.py", str(count)]
            subprocess.run(load, env=environ, check=True, stdout=subprocess.DEVNULL)
            progress(f"oscar: {count:,} products after {time.monotonic() - started:.0f} s")
            [port] = processes.free_ports(1)
            command = [str(python), "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"]
            command += ["--port", str(port), "--workers", "1", "--blocking-threads"]
            command += [str(processes.WEB_THREADS), "--no-ws", "shop:application"]
            with psycopg.connect(environ["DATABASE_URL"], autocommit=True) as own:
                own.execute("VACUUM ANALYZE")
            with _running("theirs", command, port, "/api/products/1/", env=environ) as site:
                yield site
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _running(
    name: str, command: list[str], port: int, path: str, *, env: dict[str, str]
) -> Iterator[Site]:
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    site = Site(name, port, process)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                Site(name, port, process).ask("GET", path)
                break
            assert time.monotonic() < deadline, f"{name} does not answer"
            time.sleep(0.2)
        yield site
    finally:
        process.terminate()
        process.wait()


def _environment() -> Path:
    """Its Python, with what its lock names; made once."""
    python = ENVIRONMENT / "bin" / "python"
    done = ENVIRONMENT / LOCK.name
    if not done.exists() or done.read_bytes() != LOCK.read_bytes():
        progress("oscar: its environment is being made")
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", LOCK]
        subprocess.run(install, check=True)
        done.write_bytes(LOCK.read_bytes())
    return python
