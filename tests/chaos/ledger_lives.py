"""Processes that live with a log, and die: writers, web workers and sequencers, forked on demand.

Run as a program, it imports the application once and never connects to the database itself. It
reads one JSON document for each process that it is to start or kill, and writes one for each that
has ended. Points, clocks and full disks are put around the application's functions from outside:
it knows nothing of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import importlib
import json
import os
import random
import runpy
import select
import signal
import sys
import time
import traceback
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any, NoReturn

NOWHERE = ""

# Where a sequencer dies, in the order in which a pass comes to them. Those of a file die when a
# path that ends, or continues, like this is linked or renamed.
SEQUENCER_POINTS = (
    "places given, before the commit",
    "integrated, after the commit",
    "copy: a draft half written",
    "copy: entries drafted, not linked",
    "copy: entries linked, not their hashes",
    "copy: hashes linked, nothing durable",
    "copy: pushed, before the guard",
    "guard: drafted, not in place",
    "guard: in place, not durable",
    "guard: advanced, before the signature",
    "signed, before the note is inserted",
    "note inserted, before the commit",
    "note committed, before it is copied",
    "copy: checkpoint drafted, not in place",
    "copy: checkpoint in place, not durable",
)
WRITER_POINTS = ("recorded, before the commit", "committed, before it is acknowledged")
RECOVERY_POINTS = ("tail put back, before the commit", "a step of the tail committed")

ENDED_BY_FAILURE = 1


class Life:
    """What a process was told when it was started, and where it leaves its traces."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.slot: str = told["slot"]
        self.role: str = told["role"]
        self.point: str = told.get("point", NOWHERE)
        self.random = random.Random(told["seed"])
        self.shifts_clock: bool = told.get("shifts_clock", False)
        self.home = Path(os.environ["LICET_CHAOS_HOME"])
        self.told = told

    def note(self, file: str, **said: Any) -> None:
        """Append a line: whole, or not at all, however this process ends."""
        line = json.dumps({"slot": self.slot, "pid": os.getpid(), **said}) + "\n"
        descriptor = os.open(self.home / file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def die(self) -> NoReturn:
        self.note("points", point=self.point)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("Nobody survives that.")

    def after(self, place: Any, name: str, *, only_if: Callable[[Any], Any] | None = None) -> None:
        """Die when this function of the application has done its work."""
        original = getattr(place, name)

        @functools.wraps(original)
        def deadly(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if only_if is None or only_if(result):
                self.die()
            return result

        setattr(place, name, deadly)

    def at_file(self, name: str, mark: str, *, before: bool) -> None:
        """Die when a file gets its place whose path has this mark."""
        original = getattr(os, name)

        def deadly(source: Any, target: Any) -> None:
            is_meant = mark in str(target)
            if is_meant and before:
                self.die()
            original(source, target)
            if is_meant:
                self.die()

        setattr(os, name, deadly)


# --- where they die ---------------------------------------------------------------------------


def arm(life: Life) -> None:
    """Have the process die at its point."""
    from licensing.ledger import export, guard, log, notes, recovery, sequencer, stores
    from licensing.models import LedgerCheckpoint

    wrap: dict[str, Callable[[], None]] = {
        "places given, before the commit": lambda: life.after(sequencer, "grow"),
        "integrated, after the commit": lambda: life.after(sequencer, "integrate", only_if=bool),
        "copy: a draft half written": lambda: _half_drafts(life, stores),
        "copy: entries drafted, not linked": lambda: life.at_file(
            "link", "/tile/entries/", before=True
        ),
        "copy: entries linked, not their hashes": lambda: life.at_file(
            "link", "/tile/entries/", before=False
        ),
        "copy: hashes linked, nothing durable": lambda: life.at_file(
            "link", "/tile/0/", before=False
        ),
        "copy: pushed, before the guard": lambda: life.after(export, "secure"),
        "guard: drafted, not in place": lambda: life.at_file("replace", ".guard", before=True),
        "guard: in place, not durable": lambda: life.at_file("replace", ".guard", before=False),
        "guard: advanced, before the signature": lambda: life.after(guard, "advance"),
        "signed, before the note is inserted": lambda: life.after(notes, "sign"),
        "note inserted, before the commit": lambda: life.after(LedgerCheckpoint.objects, "create"),
        "note committed, before it is copied": lambda: life.after(
            sequencer, "sign", only_if=lambda signed: signed is not None
        ),
        "copy: checkpoint drafted, not in place": lambda: life.at_file(
            "replace", "/checkpoint", before=True
        ),
        "copy: checkpoint in place, not durable": lambda: life.at_file(
            "replace", "/checkpoint", before=False
        ),
        "recorded, before the commit": lambda: life.after(log, "append"),
        "committed, before it is acknowledged": lambda: None,  # the writer's own
        "tail put back, before the commit": lambda: life.after(sequencer, "grow"),
        "a step of the tail committed": lambda: _between_steps(life, recovery),
    }
    assert wrap.keys() == {*SEQUENCER_POINTS, *WRITER_POINTS, *RECOVERY_POINTS}
    if life.point:
        wrap[life.point]()


def _half_drafts(life: Life, stores: Any) -> None:
    @contextlib.contextmanager
    def draft(store: Any, data: bytes) -> Iterator[Path]:
        path = store.root / stores._DRAFTS / f"{os.getpid()}.{os.urandom(8).hex()}"
        path.write_bytes(data[: len(data) // 2])
        life.die()
        yield path

    stores.DirectoryStore._draft = draft


def _between_steps(life: Life, recovery: Any) -> None:
    original, recovery.BATCH_ENTRIES = recovery.apply, 40

    def applied(plan: Any, _progress: Any = None) -> None:
        original(plan, lambda _end, _size: life.die())

    recovery.apply = applied


def witness_signatures(life: Life) -> None:
    """Leave a trace of all that the key signs: also of what is lost with the process."""
    from licensing.ledger import notes

    original = notes.sign

    def signed(text: str, *signers: Any) -> str:
        note = original(text, *signers)
        life.note("signed", note=note)
        return note

    notes.sign = signed


# --- what goes wrong around them --------------------------------------------------------------


def fill_disks(life: Life) -> None:
    """Have no space in a directory as long as the file `full.NAME` stands beside it."""
    from licensing.ledger import stores

    at = life.random.choice(["draft", "link", "replace", "mkdir"])

    def check(path: Any, call: str) -> None:
        for name in ("guard", "copy"):
            root = life.home / name
            if Path(path).is_relative_to(root) and (life.home / f"full.{name}").exists():
                life.note("full", place=name, call=call)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    drafted = stores.DirectoryStore._draft

    @contextlib.contextmanager
    def draft(store: Any, data: bytes) -> Iterator[Path]:
        if at == "draft" and (life.home / f"full.{store.root.name}").exists():
            # As a full disk has it: some of the bytes are there.
            path = store.root / stores._DRAFTS / f"{os.getpid()}.{os.urandom(8).hex()}"
            path.write_bytes(data[: len(data) // 2])
            check(path, "write")
        with drafted(store, data) as path:
            yield path

    vars(stores)["DirectoryStore"]._draft = draft
    for name in ("link", "replace", "mkdir"):
        original = getattr(os, name)

        def full(*args: Any, _name: str = name, _original: Any = original, **kwargs: Any) -> Any:
            if at == _name:
                check(args[1] if _name != "mkdir" else args[0], _name)
            return _original(*args, **kwargs)

        setattr(os, name, full)


def shift_clock(life: Life) -> None:
    """Have the wall clock step back and forth by up to three hours, several times a second."""
    from django.utils import timezone

    steps = [life.random.uniform(-10_800, 10_800) for _number in range(997)]

    def offset() -> float:
        return steps[int(time.monotonic() * 4) % len(steps)]

    # The code of the function itself: the models' defaults hold on to the function.
    vars(timezone)["_shift"] = lambda: timedelta(seconds=offset())
    made: dict[str, Any] = {}
    exec("def now(): return datetime.now(tz=timezone.utc) + _shift()", made)
    timezone.now.__code__ = made["now"].__code__
    really, really_ns = time.time, time.time_ns
    time.time = lambda: really() + offset()
    time.time_ns = lambda: really_ns() + int(offset() * 1e9)


# --- what they do -----------------------------------------------------------------------------


def sequence(life: Life) -> None:
    from django.core.management import call_command

    call_command("ledger_sequence")


def recover(life: Life) -> None:
    from django.core.management import call_command

    call_command("ledger_recover", log="test", apply=True)


def serve(life: Life) -> None:
    """The command line of the product's web process, in a process that has it imported."""
    from payments.processes import served

    sys.argv = served(life.told["port"], threads=8)[2:]
    runpy.run_module("granian", run_name="__main__")


def record_notes(life: Life) -> None:
    """Chains of facts that are about no row, some of them of a party; some are rolled back."""
    from marketplace import access
    from tests import ledger

    organizations = [uuid.UUID(each) for each in life.told["organizations"]]
    subject, seq, prev = os.urandom(16), 0, None
    while True:
        life_goes_on(life)
        parties = life.random.sample(organizations, life.random.choice([0, 0, 1, 2]))
        is_given_up = life.random.random() < 0.1
        with contextlib.suppress(_GivenUp), access.system("record in a test"):
            entry = ledger.append(subject_ref=subject, seq=seq, prev=prev, parties=parties)
            if is_given_up:
                raise _GivenUp
        if is_given_up:
            life.note("given-up", leaf=bytes(entry.leaf_hash).hex())
            continue
        acknowledge(life, leaf=bytes(entry.leaf_hash).hex())
        seq, prev = seq + 1, bytes(entry.leaf_hash)


class _GivenUp(Exception):
    pass


def issue_grants(life: Life) -> None:
    """The product's own verb, as an order calls it."""
    from licensing.models import Offer
    from marketplace import access
    from marketplace.errors import OfferNotBuyable
    from marketplace.models import Organization
    from tests import make

    with access.system("read in a test"):
        lab = Organization.objects.get(pk=life.told["lab"])
        offer = Offer.objects.get(pk=life.told["offer"])
    while True:
        life_goes_on(life)
        try:
            grant = make.issue_grant(lab, offer)
        except OfferNotBuyable:
            assert life.shifts_clock  # by this clock it is not on sale yet
            continue
        leaf = bytes(grant.issued_entry.leaf_hash).hex()
        acknowledge(life, leaf=leaf, grant=str(grant.pk), lab=life.told["name"])


def buy(life: Life) -> None:
    """Over HTTP: a quote, an order, the grant, and its receipt. Asked again wherever it broke."""
    while True:
        life_goes_on(life)
        quote = ask(life, "/v1/quotes", {"offer": life.told["offer"], **life.told["scope"]})
        accept = {"document_sha256": quote["document_sha256"], **life.told["acceptance"]}
        order = ask(life, "/v1/orders", {"quote": quote["id"], "accept": accept})
        assert order["status"] == "granted", order
        acknowledge(life, grant=order["grant"], lab=life.told["name"])
        fetch_receipt(life, order["grant"])


def ask(life: Life, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST until a web worker has answered; the key makes one order of all tries."""
    key = str(uuid.UUID(int=life.random.getrandbits(128)))
    while True:
        answer = http(life, path, json.dumps(body).encode(), {"Idempotency-Key": key})
        if answer is not None and answer[0] in (200, 201):
            document: dict[str, Any] = json.loads(answer[1])
            return document
        if answer is not None and answer[0] < 500 and answer[0] not in (409, 429):
            raise AssertionError(f"{path}: {answer}")
        time.sleep(0.2)


def fetch_receipt(life: Life, grant: str) -> None:
    for _try in range(3):
        answer = http(life, f"/v1/grants/{grant}/receipt?wait=2")
        if answer is not None and answer[0] == 200:
            life.note("receipts", grant=grant, receipt=answer[1].decode())
            return


def http(
    life: Life, path: str, data: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes] | None:
    """The answer of any web worker; None where the connection died without one."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{life.random.choice(life.told['ports'])}{path}",
        data=data,
        headers={
            "Authorization": f"Bearer {life.told['secret']}",
            "Content-Type": "application/json",
            **(headers or {}),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except (OSError, HTTPException):
        return None


def life_goes_on(life: Life) -> None:
    time.sleep(life.random.uniform(0, 2 * life.told["rest"]))


def acknowledge(life: Life, **what: str) -> None:
    if life.point == "committed, before it is acknowledged":
        # Told to nobody, it is in the log all the same.
        life.note("unacknowledged", **what)
        life.die()
    life.note("acknowledged", **what)


def prepare(life: Life) -> None:
    """The people and offers of the market."""
    from licensing.ledger import signer
    from marketplace import api_keys
    from marketplace.access import Scope
    from tests import make
    from tests.payments.buying import ACCEPTANCE, SCOPE
    from tests.people import caller_for, found

    verifier = signer.create("test")
    signer.create("live")
    archives = [found(f"Archive {number}", "platform") for number in range(2)]
    labs = [found(f"Lab {number}", "lab", jurisdiction="US-DE") for number in range(4)]
    offers = [str(make.make_offer(archive, price_minor=0).pk) for archive in archives]
    scopes = [str(scope) for scope in Scope]
    world = {
        "organizations": [each.pk.hex for each in (*archives, *labs)],
        "labs": [
            {
                "name": lab.name,
                "lab": str(lab.pk),
                "offer": offers[number % len(offers)],
                "secret": api_keys.create(caller_for(lab), name="chaos", scopes=scopes)[1],
            }
            for number, lab in enumerate(labs)
        ],
        "scope": SCOPE,
        "acceptance": ACCEPTANCE,
        "vkey": verifier.vkey(),
    }
    (life.home / "world.json").write_text(json.dumps(world))


ROLES: dict[str, Callable[[Life], None]] = {
    "prepare": prepare,
    "sequencer": sequence,
    "recovery": recover,
    "web": serve,
    "notes": record_notes,
    "grants": issue_grants,
    "buyer": buy,
}


# --- starting and burying them ----------------------------------------------------------------


def live(told: dict[str, Any]) -> NoReturn:
    """The life of one process: it ends here, or by SIGKILL."""
    code = ENDED_BY_FAILURE
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: with whoever started it
        life = Life(told)
        out = os.open(life.home / f"{life.slot}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1)
        sys.stderr = os.fdopen(2, "w", buffering=1)
        if life.role in ("sequencer", "recovery"):
            witness_signatures(life)
            fill_disks(life)
        if life.shifts_clock:
            shift_clock(life)
        arm(life)
        ROLES[life.role](life)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else ENDED_BY_FAILURE
    except BaseException as failure:
        code = getattr(failure, "returncode", ENDED_BY_FAILURE)
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    importlib.import_module("django").setup()
    # What the processes need, once for all of them.
    for module in (
        "marketplace.wsgi",
        "marketplace.urls",
        "granian.server",
        "payments.processes",
        "licensing.management.commands.ledger_sequence",
        "licensing.management.commands.ledger_recover",
        "tests.make",
        "tests.payments.buying",
    ):
        importlib.import_module(module)
    alive: dict[str, int] = {}
    waiting = b""
    while True:
        readable, _writable, _failed = select.select([0], [], [], 0.01)
        if readable:
            read = os.read(0, 65_536)
            if not read:
                break  # whoever wanted them is gone
            waiting += read
        *lines, waiting = waiting.split(b"\n")
        for line in lines:
            told = json.loads(line)
            if told["do"] == "start":
                pid = os.fork()
                if pid == 0:
                    live(told)
                alive[told["slot"]] = pid
                say(slot=told["slot"], pid=pid)
            elif told["slot"] in alive:
                end(alive[told["slot"]])
        for slot, pid in list(alive.items()):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                # What it started itself, too; its id is nobody else's until it is waited for.
                end(pid)
                _pid, status = os.waitpid(pid, 0)
                del alive[slot]
                say(slot=slot, pid=pid, ended=os.waitstatus_to_exitcode(status))
    for pid in alive.values():
        end(pid)
        os.waitpid(pid, 0)


def end(pid: int) -> None:
    """Kill a process that is ours, and not buried yet: its id is nobody else's."""
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
