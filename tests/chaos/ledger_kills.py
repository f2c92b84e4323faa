"""A market with a ledger whose processes are killed all the time: who kills, and what is seen."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from licensing.ledger import notes
from marketplace import devdb
from payments.processes import free_ports
from tests.chaos.ledger_lives import NOWHERE, RECOVERY_POINTS, SEQUENCER_POINTS, WRITER_POINTS
from tests.database import TestDatabase

LIVES = Path(__file__).with_name("ledger_lives.py")
ROOT = LIVES.parents[2]
KILLED = -9

SEQUENCERS = [f"sequencer-{number}" for number in range(3)]
WEBS = [f"web-{number}" for number in range(4)]
# Facts about nothing, grants by the product's verb, and buyers over HTTP.
WRITERS = {
    **{f"writer-{number:02}": "notes" for number in range(14)},
    **{f"writer-{number:02}": "grants" for number in range(14, 24)},
    **{f"writer-{number:02}": "buyer" for number in range(24, 32)},
}
# Seconds that a writer rests on average between two recordings: the machine has two cores.
REST_SECONDS = 0.7
KILL_EVERY_SECONDS = 0.4
OUTAGE_SECONDS = 2.5
# Whom a random kill meets; most sequencers die at their points.
KILLED_AT_RANDOM = (*SEQUENCERS, *WRITERS, *WEBS)
DISK_BYTES = {"copy": "192m", "guard": "1m"}
STUCK_AFTER_SECONDS = 60


def progress(text: str) -> None:
    print(f"ledger kills: {text}", file=sys.__stderr__, flush=True)


class Fleet:
    """Processes that are started by one program, and counted when they have ended."""

    def __init__(self, environ: dict[str, str], home: Path) -> None:
        self.home = home
        self.alive: dict[str, int] = {}
        self.told: dict[str, dict[str, Any]] = {}
        # Slot and exit code of all that ended; how many of them were killed, by role.
        self.ended: list[tuple[str, int]] = []
        self.kills: Counter[str] = Counter()
        # Where in its log the words of each one's present life begin.
        self._born: dict[str, int] = {}
        self._said: queue.Queue[dict[str, Any]] = queue.Queue()
        self._program = subprocess.Popen(
            [sys.executable, str(LIVES)],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def start(self, slot: str, role: str, **told: Any) -> None:
        assert slot not in self.alive
        self.told[slot] = {"do": "start", "slot": slot, "role": role, **told}
        log = self.home / f"{slot}.log"
        self._born[slot] = log.stat().st_size if log.exists() else 0
        self.alive[slot] = 0
        self._tell(self.told[slot])

    def kill(self, slot: str) -> None:
        self._tell({"do": "kill", "slot": slot})

    def hear(self) -> list[tuple[str, int]]:
        """Who has ended since this was asked last, and with which code."""
        heard: list[tuple[str, int]] = []
        while True:
            try:
                said = self._said.get_nowait()
            except queue.Empty:
                return heard
            assert said, "the program that starts processes has ended"
            slot = said["slot"]
            if "ended" not in said:
                self.alive[slot] = said["pid"]
                continue
            del self.alive[slot]
            heard.append((slot, said["ended"]))
            self.ended.append(heard[-1])
            if said["ended"] == KILLED:
                self.kills[self.told[slot]["role"]] += 1

    def wait(self, slot: str, seconds: float = STUCK_AFTER_SECONDS) -> int:
        """The exit code of a process, once it has ended."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for ended, code in self.hear():
                if ended == slot:
                    return code
            time.sleep(0.01)
        raise AssertionError(f"{slot} does not end:\n{self.last_words(slot)}")

    def kill_all(self, slots: Any) -> None:
        for slot in slots:
            if slot in self.alive:
                self.kill(slot)
        ends = time.monotonic() + STUCK_AFTER_SECONDS
        while any(slot in self.alive for slot in slots):
            assert time.monotonic() < ends, f"still there: {self.alive}"
            self.hear()
            time.sleep(0.01)

    def last_words(self, slot: str) -> str:
        log = self.home / f"{slot}.log"
        if not log.exists():
            return "(no word)"
        return log.read_bytes()[self._born[slot] :][-1500:].decode(errors="replace")

    def close(self) -> None:
        """It kills what it started when nobody tells it anything any more."""
        assert self._program.stdin is not None
        self._program.stdin.close()
        try:
            self._program.wait(20)
        except subprocess.TimeoutExpired:
            self._program.kill()
            self._program.wait()
        self._listening.join()

    def _tell(self, what: dict[str, Any]) -> None:
        assert self._program.stdin is not None
        self._program.stdin.write(json.dumps(what) + "\n")
        self._program.stdin.flush()

    def _listen(self) -> None:
        assert self._program.stdout is not None
        with self._program.stdout as said:
            for line in said:
                self._said.put(json.loads(line))
        self._said.put({})


@dataclass
class Seen:
    """What somebody outside saw of the log, and was given."""

    # Each checkpoint that was served, once, in the order of its first sight.
    checkpoints: dict[str, float] = field(default_factory=dict)
    # Grant and receipt, as they were handed out.
    receipts: list[tuple[str, bytes]] = field(default_factory=list)


class Market:
    """The database, the processes, the disks, and the two who look at it from outside."""

    def __init__(self, database: TestDatabase, home: Path, seed: int) -> None:
        self.home, self.random, self.seen = home, random.Random(seed), Seen()
        self._database = database
        self.name = f"{database.name}_kills"
        self.backup = f"{database.name}_backup"
        self._admin = psycopg.connect(database._admin_url, autocommit=True)
        self.fleet: Fleet
        self.disks: list[str] = []
        # Who ended without being killed, and why that was not to be.
        self.failures: list[str] = []
        self.refused_by_disks = 0
        # Sizes of the log when its disks had space again.
        self.outages: list[tuple[str, int]] = []
        # Leaves of grants that a restored backup has lost.
        self.leaf_of: dict[str, str] = {}
        self._is_over = threading.Event()
        self._outside: list[threading.Thread] = []

    def open(self) -> None:
        """Make the database, the disks and the people, and begin to look."""
        home, database = self.home, self._database
        for name in (self.name, self.backup):
            # Held as long as they live: see TestDatabase.
            self._admin.execute("SELECT pg_advisory_lock(hashtext(%s))", [name])
        database._clone(self._admin, self.name)
        for name, size in DISK_BYTES.items():
            if _mount(home / name, size):
                self.disks.append(name)
        parts = urlsplit(database.url)
        self.environ = {
            **database.environ,
            "DJANGO_SETTINGS_MODULE": "marketplace.settings",
            "DATABASE_URL": urlunsplit(parts._replace(path="/" + quote(self.name))),
            "LICET_DATABASE_ROLE": devdb.APP,
            "LICET_CHAOS_HOME": str(home),
            "LICET_LEDGER_KEY_DIR": str(home / "keys"),
            "LICET_LEDGER_GUARD": str(home / "guard"),
            "LICET_LEDGER_EXPORT": str(home / "copy"),
        }
        (home / "keys").mkdir()
        self.fleet = Fleet(self.environ, home)
        self.fleet.start("prepare", "prepare", seed=0)
        assert self.fleet.wait("prepare") == 0, self.fleet.last_words("prepare")
        self.people: dict[str, Any] = json.loads((home / "world.json").read_text())
        self.secrets = {lab["name"]: lab["secret"] for lab in self.people["labs"]}
        self.verifier = notes.Verifier.parse(self.people["vkey"])
        self.ports = free_ports(len(WEBS))
        self._outside = [
            threading.Thread(target=self._poll_checkpoints),
            threading.Thread(target=self._fetch_receipts),
        ]
        for thread in self._outside:
            thread.start()

    def close(self) -> None:
        self._is_over.set()
        for thread in self._outside:
            thread.join()
        if hasattr(self, "fleet"):
            self.fleet.close()
        for name in (self.name, self.backup):
            self._database._drop(name)
        self._admin.close()
        for name in self.disks:
            subprocess.run(["umount", str(self.home / name)], check=False)

    # --- the database and the files ---

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._database._admin_url, dbname=self.name) as opened:
            return opened.execute(statement, values or None).fetchall()

    def lines(self, file: str) -> list[dict[str, Any]]:
        path = self.home / file
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def size(self) -> int:
        return int(self.rows("SELECT coalesce(max(size), 0) FROM licensing_ledgertree")[0][0])

    def published(self) -> int:
        """How far the second place vouches for the log."""
        try:
            text = (self.home / "copy" / "test" / "checkpoint").read_text()
        except FileNotFoundError:
            return 0
        return notes.open_checkpoint(text, [self.verifier])[0].size

    def points(self) -> Counter[str]:
        return Counter(line["point"] for line in self.lines("points"))

    def kills(self) -> int:
        return self.fleet.kills.total()

    # --- who lives ---

    def _start(self, slot: str, point: str = NOWHERE, **told: Any) -> None:
        lab = self.random.choice(self.people["labs"])
        role = "sequencer" if slot in SEQUENCERS else "web" if slot in WEBS else WRITERS[slot]
        self.fleet.start(
            slot,
            role,
            point=point,
            seed=self.random.getrandbits(32),
            **{
                "shifts_clock": slot not in WEBS and self.random.random() < 0.5,
                "organizations": self.people["organizations"],
                "scope": self.people["scope"],
                "acceptance": self.people["acceptance"],
                "rest": REST_SECONDS,
                "ports": self.ports,
                **lab,
                **({"port": self.ports[WEBS.index(slot)]} if slot in WEBS else {}),
                **told,
            },
        )

    def _start_missing(self, slots: Any) -> None:
        for slot in slots:
            if slot not in self.fleet.alive:
                self._start(slot, self._next_point(slot))

    def _next_point(self, slot: str) -> str:
        """The rarest points the most often; of writers and of some sequencers, none."""
        points = WRITER_POINTS if slot in WRITERS else SEQUENCER_POINTS
        if slot in WEBS or self.random.random() < (0.8 if slot in WRITERS else 0.2):
            return NOWHERE
        reached = self.points()
        rarest = sorted(points, key=lambda point: (reached[point], self.random.random()))
        return self.random.choice(rarest[:5])

    def _bury(self) -> None:
        for slot, code in self.fleet.hear():
            words = self.fleet.last_words(slot)
            is_full = slot in SEQUENCERS and "No space left on device" in words
            if code == 1 and is_full:
                self.refused_by_disks += 1
            elif code != KILLED:
                self.failures.append(f"{slot} ended with {code}:\n{words[-700:]}")
                progress(self.failures[-1])

    # --- killing ---

    def storm(self, kills: int, seconds: float, *, outages: int = 0) -> None:
        """Kill until there are so many kills more, or the time is over; start all again."""
        before, ends = self.kills(), time.monotonic() + seconds
        next_kill = next_word = time.monotonic()
        every = kills // (outages + 1)
        with contextlib.ExitStack() as full:
            space_at, had = 0.0, 0
            while (done := self.kills() - before) < kills and time.monotonic() < ends:
                now = time.monotonic()
                self._bury()
                self._start_missing([*SEQUENCERS, *WEBS, *WRITERS])
                if now >= next_kill:
                    next_kill = now + self.random.uniform(0, 2 * KILL_EVERY_SECONDS)
                    self.fleet.kill(self.random.choice(KILLED_AT_RANDOM))
                if had < outages and done >= every * (had + 1) and not space_at:
                    had, space_at = had + 1, now + OUTAGE_SECONDS
                    full.enter_context(self._full(["copy", "guard"][had % 2], really=had % 4 < 2))
                if space_at and now >= space_at:
                    full.close()
                    space_at = 0.0
                if now >= next_word:
                    next_word = now + 10
                    progress(self._word())
                time.sleep(0.02)

    def _word(self) -> str:
        return (
            f"{self.kills()} kills, {sum(self.points().values())} of them at points;"
            f" {len(self.lines('acknowledged'))} acknowledged, size {self.size()},"
            f" {len(self.seen.checkpoints)} checkpoints and {len(self.seen.receipts)} receipts"
            f" seen, {len(self.failures)} failures"
        )

    @contextlib.contextmanager
    def _full(self, name: str, *, really: bool) -> Iterator[None]:
        """A disk that has no space: a small one that is filled, or calls that say so."""
        really = really and name in self.disks
        place = self.home / name / ".ballast" if really else self.home / f"full.{name}"
        progress(f"the disk of the {name} is full{'' if really else ' (played)'}")
        _fill(place) if really else place.touch()
        yield
        place.unlink()
        self.outages.append((f"{name}{'' if really else ', played'}", self.size()))

    def drain(self, seconds: float = STUCK_AFTER_SECONDS) -> None:
        """Kill whoever writes; have the sequencers come to an end, and be killed."""
        self.fleet.kill_all([*WRITERS, *WEBS])
        ends = time.monotonic() + seconds
        while not self._is_drained():
            self._bury()
            for slot in SEQUENCERS:
                if slot not in self.fleet.alive:
                    self._start(slot)
            if time.monotonic() > ends:
                words = self.fleet.last_words(SEQUENCERS[0])
                raise AssertionError(f"the log does not go on:\n{words}\n{self.failures}")
            time.sleep(0.1)
        self.fleet.kill_all(SEQUENCERS)

    def _is_drained(self) -> bool:
        [(waiting, placed, signed)] = self.rows(
            "SELECT (SELECT count(*) FROM licensing_ledgerpending),"
            " (SELECT max(size) FROM licensing_ledgertree),"
            " (SELECT max(size) FROM licensing_ledgercheckpoint)"
        )
        return (waiting, placed, signed) == (0, self.published(), self.published())

    # --- the backup, and its return ---

    def back_up(self) -> int:
        """Copy the database while entries wait in it. Gives how many have their place."""
        self.fleet.kill_all(SEQUENCERS)
        time.sleep(0.5)
        self.fleet.kill_all([*WRITERS, *WEBS])
        self._copy_database(self.name, self.backup)
        return self.size()

    def restore(self) -> None:
        self._copy_database(self.backup, self.name)

    def _copy_database(self, source: str, target: str) -> None:
        self._database._drop(target)
        # The sessions of the dead end when they notice.
        self._admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [source]
        )
        for _try in range(100):
            with contextlib.suppress(psycopg.errors.ObjectInUse):
                self._admin.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                        *map(sql.Identifier, (target, source, devdb.OWNER))
                    )
                )
                return
            time.sleep(0.05)
        raise AssertionError(f"{source} is in use")

    def lose_the_tail(self, point: str) -> None:
        """Sign a last tree, at which the sequencer dies, and come back with the backup.

        All that was acknowledged until then is in the second place; what the backup lacks comes
        back from there, though the first recoveries are killed at work.
        """
        self.drain()
        self._start("writer-00", rest=0.002)
        self._wait_for("entries wait", lambda: self._count("licensing_ledgerpending") > 60)
        self.fleet.kill_all(["writer-00"])
        self._start("sequencer-0", point)
        assert self.fleet.wait("sequencer-0") == KILLED, self.fleet.last_words("sequencer-0")
        assert self._count("licensing_ledgerpending") == 0
        if point.startswith("note committed"):
            # Published: somebody has seen what no copy has.
            self._start("web-0")
            self._wait_for("the note is seen", lambda: self._has_seen(self.size()))
        self.fleet.kill_all(WEBS)
        target = self.size()
        for pk, leaf in self.rows(
            "SELECT g.id, encode(e.leaf_hash, 'hex') FROM licensing_grant g"
            " JOIN licensing_ledgerentry e ON e.id = g.issued_entry_id"
        ):
            self.leaf_of[pk.hex] = leaf
        self.restore()
        restored = self.size()
        progress(f"restored at {restored} of {target}, which was signed")
        assert restored < target
        self._expect_refusals(restored)
        for step in RECOVERY_POINTS:
            self.fleet.start("recovery", "recovery", point=step, seed=0)
            assert self.fleet.wait("recovery") == KILLED, self.fleet.last_words("recovery")
        self.fleet.start("recovery", "recovery", seed=0)
        assert self.fleet.wait("recovery") == 0, self.fleet.last_words("recovery")
        assert self.size() == target

    def _expect_refusals(self, size: int) -> None:
        """Sequencers over a database that lacks what was signed: no place, no signature."""
        signed, refusals = len(self.lines("signed")), 0
        ends = time.monotonic() + 3
        while time.monotonic() < ends or refusals < 3:
            assert time.monotonic() < ends + STUCK_AFTER_SECONDS, "nobody refuses"
            for slot, code in self.fleet.hear():
                words = self.fleet.last_words(slot)
                refused = "signed size" in words or "Sign nothing" in words
                assert (code, refused) == (1, True), f"{slot} ended with {code}: {words}"
                refusals += 1
            for slot in SEQUENCERS:
                if slot not in self.fleet.alive:
                    self._start(slot)
            time.sleep(0.02)
        self.fleet.kill_all(SEQUENCERS)
        assert self.size() == size, "a restored database has given places"
        assert len(self.lines("signed")) == signed, "a restored database has signed"

    def _count(self, table: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])

    def _wait_for(self, what: str, is_so: Any) -> None:
        ends = time.monotonic() + STUCK_AFTER_SECONDS
        while not is_so():
            assert time.monotonic() < ends, f"never: {what}"
            time.sleep(0.05)

    # --- those outside ---

    def _has_seen(self, size: int) -> bool:
        return any(
            notes.open_checkpoint(note, [self.verifier])[0].size == size
            for note in list(self.seen.checkpoints)
        )

    def _poll_checkpoints(self) -> None:
        while not self._is_over.wait(0.05):
            answer = self._get("/ledger/test/checkpoint")
            if answer is not None:
                self.seen.checkpoints.setdefault(answer.decode(), time.monotonic())

    def _fetch_receipts(self) -> None:
        """Of any grant that was acknowledged, again and again: old ones too."""
        chosen = random.Random(0)
        while not self._is_over.wait(0.1):
            grants = [line for line in self.lines("acknowledged") if "grant" in line]
            for line in chosen.sample(grants, min(5, len(grants))):
                secret = self.secrets[line["lab"]]
                answer = self._get(f"/v1/grants/{line['grant']}/receipt", secret)
                if answer is not None and not answer.startswith(b"{"):
                    self.seen.receipts.append((line["grant"], answer))

    def _get(self, path: str, secret: str = "") -> bytes | None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{random.choice(self.ports)}{path}",
            headers={"Authorization": f"Bearer {secret}"} if secret else {},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                body: bytes = response.read()
                return body
        except (urllib.error.HTTPError, OSError, HTTPException):
            return None


def _mount(place: Path, size: str) -> bool:
    """Whether this directory is now a small disk of its own: only root may have that."""
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        progress(f"full disks are played only: {made.stderr.strip()}")
    return made.returncode == 0


def _fill(place: Path) -> None:
    """Write until nothing fits any more, however much others write meanwhile."""
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for length in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while os.write(descriptor, bytes(length)):
                    pass
    finally:
        os.close(descriptor)
