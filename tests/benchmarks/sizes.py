"""How much a market takes: the database of a work, and the memory of a process that serves."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from marketplace import api_keys, organizations
from payments import processes
from tests.benchmarks.imports import import_works, make_collection
from tests.benchmarks.measure import Figure, owner, progress

WORKS = 200_000
REQUESTS_A_THREAD = 100
# Out of the way: what is weighed is a process that works.
LIMITS = {"LICET_RATE_KEY": "100000:1000000"}


def run(quick: bool) -> Iterator[Figure]:
    """Works without contributors, one representation each, in one collection; then a web process
    before and after all of its threads answered."""
    collection = make_collection("Weighed")
    works = WORKS // 10 if quick else WORKS
    # The first rows of an empty table take whole pages: they are not what grows.
    import_works(collection, 0, 1_000)
    before = _weigh()
    import_works(collection, 1_000, works)
    after = _weigh()
    yield _disk(works, before, after)
    scopes = ["collections:read", "works:read"]
    caller = organizations.operator(collection.organization)
    yield _memory(api_keys.create(caller, name="weigh", scopes=scopes)[1])


def _weigh() -> dict[str, tuple[int, int]]:
    """Of each table: its bytes with indexes and TOAST, and those of its rows alone."""
    with owner() as opened:
        opened.execute("VACUUM")
        rows = opened.execute(
            "SELECT relname, pg_total_relation_size(oid), pg_relation_size(oid) FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall()
    return {name: (whole, heap) for name, whole, heap in rows}


def _disk(
    works: int, before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]
) -> Figure:
    grown = {name: (after[name][0] - before[name][0]) / works for name in after}
    heaps = sum(after[name][1] - before[name][1] for name in after) / works
    grown = {name: size for name, size in grown.items() if size}
    progress(f"sizes: bytes a work: { {name: round(size, 1) for name, size in grown.items()} }")
    whole = sum(grown.values())
    return Figure("database of a work", whole, "bytes/work", heaps, heaps / whole)


def _memory(secret: str) -> Figure:
    """What of the web process is its own: pages that it shares count in parts (PSS)."""
    [port] = processes.free_ports(1)
    web = subprocess.Popen(
        processes.served(port, threads=processes.WEB_THREADS),
        env={**os.environ, "LICET_DATABASE_ROLE": "licet_app", "LICET_DEBUG": "1", **LIMITS},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port)
        idle = _resident_mib(web.pid)
        with ThreadPoolExecutor(processes.WEB_THREADS) as threads:
            list(threads.map(lambda _: _ask(port, secret), range(processes.WEB_THREADS)))
        busy = _resident_mib(web.pid)
    finally:
        web.terminate()
        web.wait()
    return Figure(
        f"memory of a web process after {processes.WEB_THREADS} threads answered",
        busy,
        "MiB",
        idle,
        idle / busy,
    )


def _ask(port: int, secret: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for number in range(REQUESTS_A_THREAD):
        path = ("/v1/works?limit=100", "/v1/collections")[number % 2]
        connection.request("GET", path, headers={"Authorization": f"Bearer {secret}"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body[:300]
        assert json.loads(body)["data"]
    connection.close()


def _wait(port: int) -> None:
    for _try in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the web process does not answer")


def _resident_mib(pid: int) -> float:
    """Of a process and of those that it started."""
    found = 0
    for each in [pid, *_children(pid)]:
        for line in Path("/proc", str(each), "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                found += int(line.split()[1])
    return found / 1024


def _children(pid: int) -> Sequence[int]:
    named = Path("/proc", str(pid), "task", str(pid), "children").read_text().split()
    children = [int(each) for each in named]
    return children + [inner for each in children for inner in _children(each)]
