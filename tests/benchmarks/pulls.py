"""How fast `pull` is beside a bare nginx of the same files, killed and resumed, and slow readers.

The peer is nginx with the very files of our store, and the same offline tool fetching them one
by one, by a manifest whose links lead to nginx: both sides check and keep the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from licensing import delivery, snapshots
from licensing.links import SHARDS, Link
from licensing.models import Grant
from marketplace import access, api_keys, imports, storage
from marketplace.access import Scope
from marketplace.imports import Record
from marketplace.models import Organization
from payments import processes
from tests import make
from tests.benchmarks.measure import Figure, median, progress
from tests.people import caller_for, found

WORKS = 100_000
# One by one, each work costs us a request and its queries: fewer are enough to tell.
PLAIN_WORKS = 2_000
LENGTHS = (500, 4_000)
# A round of this size lasts minutes, longer than a noisy neighbor's turn.
ROUNDS = 1
RATIO_GOAL = 0.7
JOBS = 8

SLOW_READERS = 16
SLOW_BYTES_A_SECOND = 64 * 1024
LISTS = 400
LIST_ROUNDS = 3
P99_GOAL = 2.0

NGINX = """
daemon off; pid {directory}/nginx.pid; error_log {directory}/nginx.log; worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location /v1/ {{ root {directory}/api; default_type application/json; }}
    location / {{ root {store}; default_type application/octet-stream; }}
  }}
}}
"""


def run(quick: bool) -> Iterator[Figure]:
    """Pull out of shards and singly, kill and go on, and list while others read slowly."""
    if shutil.which("nginx") is None:
        raise SystemExit("pull: there is no nginx to measure against: install it")
    works = WORKS // 10 if quick else WORKS
    seller, buyer = found("Archive", "platform"), found("Lab", "lab")
    # Before the processes start: what they find in their environment is where these live.
    ports = processes.free_ports(4)
    os.environ["LICET_STORAGE_DIR"] = str(settings.STORAGE_DIR)
    settings.DELIVERY_URL = f"http://127.0.0.1:{ports[1]}"
    few, many = (_grant(seller, buyer, n) for n in (PLAIN_WORKS // (10 if quick else 1), works))
    _key, key = api_keys.create(
        caller_for(buyer), name="bench", scopes=[Scope.DELIVERY_READ, Scope.COLLECTIONS_READ]
    )
    with (
        tempfile.TemporaryDirectory(prefix="licet-pull-") as name,
        processes.running(ports[:3]) as world,
        _nginx(Path(name), ports[3]) as peer,
    ):
        pulls = _Pulls(Path(name), world.web_url, peer, key)
        for grant in (few, many):
            _write_peer(Path(name) / "api", grant, peer)
        yield from _beside_nginx(pulls, "pull --shards", many, shards=True, goal=True)
        yield from _beside_nginx(pulls, "pull, one by one", few, shards=False, goal=False)
        yield _killed(pulls, many)
        yield _slow_readers(world, many, key)


# --- beside nginx -----------------------------------------------------------------------------


class _Pulls:
    """Runs the tool as a user would, each time into a new directory."""

    def __init__(self, directory: Path, ours: str, peer: str, key: str) -> None:
        self.directory = directory / "pulled"
        self.ours, self.peer = ours, peer
        self._key = key

    def command(self, server: str, grant: Grant, *, shards: bool) -> list[str]:
        command = [sys.executable, "-m", "licensing.offline", "pull", "--server", server]
        command += ["--grant", str(grant.pk), "--to", str(self.directory), "--jobs", str(JOBS)]
        return [*command, "--json", *(["--shards"] if shards else [])]

    def start(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            env={**os.environ, "LICET_KEY": self._key},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def once(self, server: str, grant: Grant, *, shards: bool) -> dict[str, Any]:
        """A whole pull's report. What was pulled stays until `clear`."""
        done, _ = self.start(self.command(server, grant, shards=shards)).communicate()
        report: dict[str, Any] = json.loads(done)
        assert report["complete"], report
        return report

    def finished(self) -> dict[str, int]:
        """The works that are whole, and when each was written, in nanoseconds."""
        found = {}
        for folder in (self.directory / "works").glob("??"):
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.name.endswith(".part"):
                        found[entry.name] = entry.stat().st_mtime_ns
        return found

    def clear(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def _beside_nginx(
    pulls: _Pulls, figure: str, grant: Grant, *, shards: bool, goal: bool
) -> Iterator[Figure]:
    ours: list[float] = []
    bare: list[float] = []
    for round_ in range(ROUNDS):
        for server, rates in ((pulls.peer, bare), (pulls.ours, ours)):
            pulls.clear()
            report = pulls.once(server, grant, shards=shards and server == pulls.ours)
            assert report["fetched"] == report["works"]
            rates.append(report["works"] / report["seconds"])
        progress(
            f"{figure}: round {round_ + 1}/{ROUNDS}: {ours[-1]:,.0f} works/s,"
            f" nginx {bare[-1]:,.0f} works/s"
        )
    pulls.clear()
    ratio = median(mine / limit for mine, limit in zip(ours, bare, strict=True))
    yield Figure(
        figure=figure,
        value=median(ours),
        unit="works/s",
        limit=median(bare),
        ratio=ratio,
        goal=f"ratio >= {RATIO_GOAL:g}" if goal else None,
        holds=ratio >= RATIO_GOAL if goal else None,
    )


def _killed(pulls: _Pulls, grant: Grant) -> Figure:
    """Kill a pull at about half, pull again, and count the finished works that came again."""
    pulls.clear()
    process = pulls.start(pulls.command(pulls.ours, grant, shards=True))
    total = WORKS
    while process.poll() is None:
        total = _coverage_size(grant)
        if len(pulls.finished()) > total // 3:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = pulls.finished()
    assert 0 < len(before) < total, f"killed too late: {len(before)} of {total}"
    report = pulls.once(pulls.ours, grant, shards=True)
    after = pulls.finished()
    again = sum(after[name] != written for name, written in before.items())
    progress(f"killed with {len(before)} of {total} works; {report['fetched']} fetched after it")
    assert report["fetched"] == total - report["already_there"]
    pulls.clear()
    again = max(again, len(before) - report["already_there"])
    return Figure(
        figure=f"finished works fetched again after kill -9 at {len(before)}",
        value=again,
        unit="works",
        limit=0,
        ratio=float(again == 0),
        goal="0 works",
        holds=again == 0,
    )


# --- slow readers -----------------------------------------------------------------------------


def _slow_readers(world: processes.World, grant: Grant, key: str) -> Figure:
    """The 99th percentile of a list, with 16 who read a shard slowly, and without them."""
    url = urlsplit(_shard_url(grant))
    without, with_ = [], []
    for round_ in range(LIST_ROUNDS):
        without.append(_list_p99(world.web_port, key))
        with _reading(url.hostname or "", url.port or 80, f"{url.path}?{url.query}"):
            with_.append(_list_p99(world.web_port, key))
        progress(
            f"slow readers: round {round_ + 1}/{LIST_ROUNDS}: list p99 {with_[-1]:.1f} ms,"
            f" without them {without[-1]:.1f} ms"
        )
    factor = median(some / none for some, none in zip(with_, without, strict=True))
    return Figure(
        figure="list p99 with 16 slow downloads",
        value=median(with_),
        unit="ms",
        limit=median(without),
        ratio=1 / factor,
        goal=f"at most {P99_GOAL:g} times as long",
        holds=factor <= P99_GOAL,
    )


@contextlib.contextmanager
def _reading(host: str, port: int, target: str) -> Iterator[None]:
    """Sixteen sockets that take what they asked for a little at a time, in a process of theirs."""
    command = [sys.executable, "-m", "tests.benchmarks.slow_readers", host, str(port), target]
    process = subprocess.Popen(
        [*command, str(SLOW_READERS), str(SLOW_BYTES_A_SECOND)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said == b"reading\n", said
        yield
        assert process.poll() is None, "the slow readers stopped"
    finally:
        process.kill()
        process.communicate()


def _list_p99(port: int, key: str) -> float:
    """Milliseconds of `GET /v1/collections`, the 99th percentile."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    taken = []
    for number in range(LISTS + 20):
        started = time.perf_counter()
        connection.request("GET", "/v1/collections", headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        if number >= 20:
            taken.append(time.perf_counter() - started)
    connection.close()
    return sorted(taken)[int(len(taken) * 0.99)] * 1000


# --- what is pulled ---------------------------------------------------------------------------


def _grant(seller: Organization, buyer: Organization, works: int) -> Grant:
    """A grant over so many small hosted works, by the verbs that make one."""
    progress(f"pull: making {works} works")
    collection = make.make_collection(seller, works=0)
    caller = caller_for(seller)
    source = imports.Records(list(_records(works)), name=f"{works} works")
    job = imports.run(caller, str(collection.pk), source)
    assert job.imported == works
    snapshots.finalize(caller, str(collection.pk))
    return make.make_grant(
        seller, buyer, offer=make.make_offer(seller, collection=collection, price_minor=0)
    )


def _records(works: int) -> Iterator[Record]:
    """Works of random bytes, which are written where the store keeps them."""
    rng = random.Random(works)
    for number in range(works):
        content = rng.randbytes(rng.randint(*LENGTHS))
        digest = hashlib.sha256(content).digest()
        path = storage.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        yield Record(
            external_id=f"{works}/{number:07}",
            digest=digest,
            length=len(content),
            media_type="text/plain",
            custody="hosted",
        )


def _coverage_size(grant: Grant) -> int:
    with access.system("a benchmark looks at a grant"):
        return int(grant.coverage.get().snapshot.size)


def _shard_url(grant: Grant) -> str:
    made = delivery.links(caller_for(grant.licensee), grant.pk, [])
    expires = int(time.time()) + 3600
    link = Link(str(grant.pk), grant.livemode, SHARDS + made.manifest, expires)
    return link.url("/0.tar")


# --- nginx ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _nginx(directory: Path, port: int) -> Iterator[str]:
    written = NGINX.format(directory=directory, port=port, store=settings.STORAGE_DIR)
    configuration = directory / "nginx.conf"
    configuration.write_text(written)
    # nginx as root would read the files as somebody who may not.
    run_as = ["-g", "user root;"] if os.geteuid() == 0 else []
    process = subprocess.Popen(["nginx", "-p", str(directory), "-c", str(configuration), *run_as])
    try:
        deadline = time.monotonic() + 20
        while True:
            assert process.poll() is None, "nginx did not start"
            assert time.monotonic() < deadline, "nginx does not answer"
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _write_peer(api: Path, grant: Grant, peer: str) -> None:
    """The grant's manifest as files, with links to the files themselves."""
    folder = api / "v1" / "grants" / str(grant.pk)
    folder.mkdir(parents=True)
    (folder / "manifest").write_text(json.dumps({"url": f"{peer}/v1/grants/{grant.pk}/lines"}))
    link = Link(str(grant.pk), grant.livemode, "manifest", int(time.time()) + 3600)
    with (folder / "lines").open("wb") as file:
        for piece in delivery.manifest(link):
            for line in piece.splitlines():
                record = json.loads(line)
                if record["type"] == "work":
                    path = storage.path(bytes.fromhex(record["digest"]))
                    record["url"] = f"{peer}/{path.relative_to(settings.STORAGE_DIR)}"
                file.write(json.dumps(record).encode() + b"\n")
