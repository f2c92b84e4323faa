"""A web server whose processes are killed at work, and buyers who send again what was lost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from payments.processes import free_ports, served

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = "tests.chaos.short_lease:application"
WORKERS = 3
# Where one dies sooner, the server takes that for a fault of the application, and ends.
LIVES_SECONDS = 6
# Of one request, with all its repetitions.
ANSWERED_WITHIN_SECONDS = 120
ANSWERS_WITHIN_SECONDS = 60


class Web:
    """The product's web server on loopback, with several processes, which its first one starts.

    Where that one ends, too, it is started again, as whatever keeps servers running does.
    """

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        [self.port] = free_ports(1)
        command = served(self.port, threads=8)[:-1]
        # Said once more, the last one counts.
        command += ["--workers", str(WORKERS), "--respawn-failed-workers"]
        self._command = [*command, "--respawn-interval", "0.1", APPLICATION]
        self._environ, self._log = dict(environ), log
        self.kills = 0
        self._seen: dict[int, float] = {}
        self._program = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as file:
            return subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def workers(self) -> list[int]:
        """The processes that have served for a while."""
        parent, now = self._program.pid, time.monotonic()
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except FileNotFoundError:
            return []
        alive = [pid for pid in map(int, children) if _is_worker(pid)]
        self._seen = {pid: self._seen.get(pid, now) for pid in alive}
        return [pid for pid in alive if now - self._seen[pid] > LIVES_SECONDS]

    def wait(self) -> None:
        """Return once somebody answers."""
        ends = time.monotonic() + ANSWERS_WITHIN_SECONDS
        while not self._answers():
            if self._program.poll() is not None:
                self._program = self._started()
            assert time.monotonic() < ends, self._log.read_text()[-2_000:]
            time.sleep(0.05)

    @contextlib.contextmanager
    def being_killed(self, chance: random.Random) -> Iterator[None]:
        """Kill one of its processes, again and again, while requests are answered."""
        over = threading.Event()
        failed: list[BaseException] = []

        def kill() -> None:
            try:
                while not over.wait(chance.uniform(0.05, 1)):
                    self.wait()
                    # One goes on serving: buyers that wait for a server lose nothing.
                    if len(old := self.workers()) > 1:
                        os.kill(chance.choice(old), signal.SIGKILL)
                        self.kills += 1
            except BaseException as failure:
                failed.append(failure)

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        for failure in failed:
            raise failure

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._program.pid, signal.SIGKILL)
        self._program.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except (OSError, HTTPException):
            return False


def _is_worker(pid: int) -> bool:
    """Not the process that Python keeps beside those that it starts."""
    with contextlib.suppress(OSError):
        return b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@dataclass(frozen=True)
class Answer:
    """What a client was answered: nothing else of it is the client's to keep."""

    status: int
    body: bytes
    replayed: bool


@dataclass
class Buyer:
    """A program that buys, each POST under a key of its own, sent again until it is answered."""

    web: Web
    secret: str
    # By key: what was sent where, and the first answer that came.
    sent: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    first: dict[str, Answer] = field(default_factory=dict)
    # How often no answer came; and how often one asked for a repetition.
    lost: int = 0
    put_off: int = 0

    def buy(self, name: str, offer: str) -> None:
        quote = self._post(
            f"quote {name}",
            "/v1/quotes",
            {"offer": offer, "uses": ["pretrain"], "territories": ["DE"]},
        )
        accept = {
            "document_sha256": quote["document_sha256"],
            "name": "Lin Chen",
            "title": "Counsel",
            "authority": True,
        }
        self._post(f"order {name}", "/v1/orders", {"quote": quote["id"], "accept": accept})

    def again(self, key: str) -> Answer:
        """Send what was answered once more: it comes to what this returns."""
        return self._until_answered(key)

    def _post(self, key: str, path: str, body: Any) -> Any:
        self.sent[key] = path, json.dumps(body).encode()
        answer = self.first[key] = self._until_answered(key)
        assert answer.status == 201, answer.body
        return json.loads(answer.body)

    def _until_answered(self, key: str) -> Answer:
        ends = time.monotonic() + ANSWERED_WITHIN_SECONDS
        while time.monotonic() < ends:
            answer = self._once(key)
            if answer is None:
                self.lost += 1
            elif not _asks_for_another(answer):
                return answer
            else:
                self.put_off += 1
            time.sleep(0.1)
        raise AssertionError(f"“{key}” was never answered")

    def _once(self, key: str) -> Answer | None:
        """One request; None where the connection died without an answer."""
        path, body = self.sent[key]
        connection = HTTPConnection("127.0.0.1", self.web.port, timeout=30)
        headers = {
            "Authorization": f"Bearer {self.secret}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        try:
            connection.request("POST", path, body, headers)
            got = connection.getresponse()
            is_replayed = got.headers.get("Idempotent-Replayed") == "true"
            return Answer(got.status, got.read(), is_replayed)
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()


def _asks_for_another(answer: Answer) -> bool:
    if answer.status >= 500:
        return True
    return answer.status >= 400 and bool(json.loads(answer.body).get("retryable"))


def environ_of(database: Mapping[str, str], stripe_url: str, home: Path) -> dict[str, str]:
    """The environment of a web server on a test's database and its simulated Stripe."""
    own = {"DJANGO_SETTINGS_MODULE": "marketplace.settings", "LICET_DATABASE_ROLE": "licet_app"}
    python = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        **database,
        **own,
        "PYTHONPATH": python,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "LICET_SIMULATOR_URL": stripe_url,
        "LICET_DATA_DIR": str(home),
        # What is tried is not the quota.
        "LICET_RATE_KEY": "100000:100000",
        "LICET_RATE_ADDRESS": "100000:100000",
    }
