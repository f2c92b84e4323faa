"""A table of a million works, sent by Chromium through the page; its worker is killed half-way."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.db.models import Count
from playwright.sync_api import sync_playwright

from marketplace import access, organizations
from marketplace.imports.engine import LEASE
from marketplace.models import Collection, CollectionItem, ImportJob, Work
from payments import processes
from tests.benchmarks.imports import copy_rows, make_collection
from tests.benchmarks.measure import Figure, progress
from tests.browser.visitor import PASSWORD, Visitor

WORKS = 1_000_000
SECONDS_GOAL = 180.0
MEMORY_GOAL_MIB = 512.0
# Nobody waits longer for any part of it.
PATIENCE_SECONDS = 1_200
# COPYs of this many rows are one transaction each: their rows are made beforehand, in memory.
COPIED_AT_ONCE = 100_000
EMAIL = "creator@example.org"
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@dataclass(slots=True)
class Run:
    """What was measured of one import."""

    upload: float = 0.0
    importing: float = 0.0
    # Of `importing`: from the worker's death until another had written its first rows.
    standstill: float = 0.0
    killed_at: int = 0
    mib: float = 0.0


def run(quick: bool) -> Iterator[Figure]:
    """Send a table as a creator does; beside it, the disk's own copy and a COPY of as many rows."""
    works = WORKS // 10 if quick else WORKS
    chromium = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if chromium is None:
        progress("browser-import: left out, there is no chromium here (apt install chromium)")
        return
    # Playwright runs a loop in this thread; our own queries are plain all the same.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    into, copied_into = make_collection("Browser"), make_collection("Copies")
    organizations.admit(into.organization, email=EMAIL, name="Ada", password=PASSWORD, role="owner")
    with tempfile.TemporaryDirectory(prefix="licet-browser-") as directory:
        path = Path(directory, "works.csv")
        write(path, works)
        megabytes = path.stat().st_size / 1e6
        copied = _copy(path)
        progress(f"browser-import: {megabytes:.0f} MB of CSV are written")
        with processes.running(processes.free_ports(3)) as world:
            done = _bring_in(world, chromium, into, path, works)
    progress(f"browser-import: imported in {done.importing:.1f} s, {done.mib:.0f} MiB")
    assert done.standstill, "nobody went on after the worker's death"
    _check(into, works)
    bare = sum(
        copy_rows(copied_into, first, min(COPIED_AT_ONCE, works - first))
        for first in range(0, works, COPIED_AT_ONCE)
    )
    seconds = done.upload + done.importing
    yield Figure(
        figure=f"{works:,} works from the browser, their worker killed at {done.killed_at:,}",
        value=seconds,
        unit="s",
        limit=bare,
        ratio=bare / seconds,
        goal=f"value <= {SECONDS_GOAL:g} s",
        holds=seconds <= SECONDS_GOAL,
    )
    yield Figure(
        figure=f"of it, the upload of {megabytes:.0f} MB and the look at its columns",
        value=done.upload,
        unit="s",
        limit=copied,
        ratio=copied / done.upload,
    )
    yield Figure(
        figure="of it, nobody at it: the dead worker's lease",
        value=done.standstill,
        unit="s",
        limit=LEASE.total_seconds(),
        ratio=LEASE.total_seconds() / done.standstill,
    )
    yield Figure(
        figure="peak memory of a worker",
        value=done.mib,
        unit="MiB",
        limit=MEMORY_GOAL_MIB,
        ratio=MEMORY_GOAL_MIB / done.mib,
        goal=f"value <= {MEMORY_GOAL_MIB:g} MiB",
        holds=done.mib <= MEMORY_GOAL_MIB,
    )


def write(path: Path, works: int) -> None:
    """A table as a creator's system exports it: the columns are named as people name them."""
    with path.open("w") as file:
        print("asset id,sha-256,size,title,url,language", file=file)
        for n in range(works):
            digest = hashlib.sha256(b"browser %d" % n).hexdigest()
            print(
                f"letters/{n:09}.txt,{digest},{1000 + n % 9000},"
                f'"The {n}th letter, a title of some words",https://example.org/letters/{n},en',
                file=file,
            )


def _copy(path: Path) -> float:
    """Seconds until the same bytes are on the disk a second time."""
    started = time.perf_counter()
    twice = path.with_suffix(".copy")
    with path.open("rb") as source, twice.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        os.fsync(target.fileno())
    seconds = time.perf_counter() - started
    twice.unlink()
    return seconds


def _bring_in(
    world: processes.World, chromium: str, into: Collection, path: Path, works: int
) -> Run:
    done = Run()
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        context = browser.new_context(base_url=world.web_url)
        context.set_default_timeout(PATIENCE_SECONDS * 1_000)
        creator = Visitor(context.new_page(), world.web_url)
        creator.sign_in(EMAIL, "/studio/")
        creator.open(f"/studio/marketplace/collection/{into.pk}/bring_in/")
        started = time.perf_counter()
        creator.field("file").set_input_files(path)
        with creator.page.expect_navigation(url="**/files/upl_*/"):
            creator.page.get_by_role("button", name="Send the file").click()
        done.upload = time.perf_counter() - started
        progress(f"browser-import: sent in {done.upload:.1f} s")
        started = time.perf_counter()
        creator.press("Import it like this")
        _watch(world, done, works)
        done.importing = time.perf_counter() - started
        creator.page.get_by_text("Finished.").wait_for()
        assert creator.complaints == [], creator.complaints
        browser.close()
    return done


def _watch(world: processes.World, done: Run, works: int) -> None:
    """Kill the worker when half of the rows are in, start another, and wait for the end."""
    deadline, killed = time.monotonic() + PATIENCE_SECONDS, 0.0
    said = 0.0
    while time.monotonic() < deadline:
        worker = world.running["worker"]
        done.mib = max(done.mib, _peak_mib(worker.pid))
        job = _job()
        if job.status == ImportJob.Status.FINISHED:
            return
        assert job.status != ImportJob.Status.FAILED, job.failure
        if not killed and job.imported >= works // 2:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            killed, done.killed_at = time.monotonic(), _job().imported
            assert done.killed_at < works, "it was over before its worker was killed"
            progress(f"browser-import: its worker is killed at {done.killed_at:,}")
            processes._spawn(world, "worker", [sys.executable, "manage.py", "worker"])
        elif killed and not done.standstill and job.imported > done.killed_at:
            done.standstill = time.monotonic() - killed
            progress(f"browser-import: another goes on after {done.standstill:.1f} s")
        if time.monotonic() - said > 10:
            said = time.monotonic()
            progress(f"browser-import: {job.imported:,} works are in")
        time.sleep(0.2)
    raise AssertionError("the import took too long")


def _job() -> ImportJob:
    with access.system("watch a benchmark's import"):
        return ImportJob.objects.get()


def _check(into: Collection, works: int) -> None:
    """Each work once, whatever the dead worker had begun."""
    job = _job()
    assert (job.imported, job.repeated, job.rejected) == (works, 0, 0), "not each row came in once"
    with access.system("count what a benchmark imported"):
        mine = Work.objects.filter(organization=into.organization)
        assert mine.aggregate(all=Count("pk"), once=Count("external_id", distinct=True)) == {
            "all": works,
            "once": works,
        }
        items = CollectionItem.objects.filter(collection=into)
        assert items.count() == works


def _peak_mib(pid: int) -> float:
    """The most memory that a process ever held; 0 once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    held = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(held[0]) / 1024 if held else 0
