"""`manage.py import_directory`, as a process: progress, summary, exit codes, and sudden ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from marketplace import collections
from marketplace.access import system
from marketplace.models import (
    Collection,
    CollectionItem,
    ImportJob,
    ImportRejection,
    Organization,
    Representation,
    Work,
)
from tests.database import TestDatabase
from tests.people import caller_for, found

pytestmark = pytest.mark.django_db(transaction=True)
# The command in small batches, each of which takes a while: time enough to end it midway.
SLOW = """
import os, sys, time
os.environ["DJANGO_SETTINGS_MODULE"] = "marketplace.settings"
import django
django.setup()
from django.core.management import execute_from_command_line
from marketplace import imports
from marketplace.imports import engine
engine.BATCH_LENGTH = 5
settle = imports.Directory.settle
def slowly(self):
    time.sleep(0.15)
    settle(self)
imports.Directory.settle = slowly
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""


class World:
    """A collection, a folder, and the command between them."""

    def __init__(self, database: TestDatabase, tmp_path: Path) -> None:
        self.archive: Organization = found("Archive", "platform")
        made = collections.create(caller_for(self.archive), name="Letters")
        self.collection: Collection = made
        self.folder = tmp_path / "letters"
        self.folder.mkdir()
        self.store = tmp_path / "store"
        self.environ = {**database.environ, "LICET_STORAGE_DIR": str(self.store)}

    def arguments(self, *more: str) -> list[str]:
        return [
            "import_directory",
            str(self.folder),
            f"--organization={self.archive.pk}",
            f"--collection={self.collection.pk}",
            *more,
        ]

    def run(self, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *self.arguments(*more)],
            cwd=django_settings.BASE_DIR,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def start_slowly(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", SLOW, *self.arguments()],
            cwd=django_settings.BASE_DIR,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def job(self) -> ImportJob | None:
        with system("look at a test's import"):
            return ImportJob.objects.first()

    def wait_for_works(self, count: int) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            job = self.job()
            if job is not None and job.imported >= count:
                return
            time.sleep(0.02)
        raise AssertionError("the import did not begin")

    def assert_whole(self, works: int, rejected: int) -> None:
        """Every work once, with its bytes; every rejection once; and nothing besides."""
        job = self.job()
        assert job is not None
        assert (job.status, job.imported, job.repeated, job.rejected) == (
            "finished",
            works,
            0,
            rejected,
        )
        assert Work.objects.count() == works
        assert CollectionItem.objects.count() == works
        kept = {path.name: path for path in (self.store / "sha256").rglob("*") if path.is_file()}
        forms = {bytes(form.digest).hex(): form.length for form in Representation.objects.all()}
        assert {name: path.stat().st_size for name, path in kept.items()} == forms
        assert len(forms) == works
        with system("look at a test's import"):
            assert ImportJob.objects.count() == 1
            assert ImportRejection.objects.count() == rejected


@pytest.fixture
def world(test_database: TestDatabase, tmp_path: Path) -> World:
    return World(test_database, tmp_path)


def fill(folder: Path, count: int) -> None:
    for n in range(count):
        (folder / f"f{n:03}").write_text(f"text {n}")


@pytest.mark.oracle
def test_it_sums_up_what_it_did_by_reason(world: World) -> None:
    fill(world.folder, 3)
    (world.folder / "same").write_text("text 0")
    for n in range(4):
        (world.folder / f"empty{n}").write_text("")
    done = world.run()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].endswith("3 imported, 1 repeated, 4 rejected, 0.0 MB read")
    assert lines[1:3] == [
        "empty (4): The file has no bytes. letters/empty0, letters/empty1, letters/empty2 …",
        "repeated (1): The collection holds the same bytes already. letters/same",
    ]
    job = world.job()
    assert job is not None
    assert lines[3:] == [f"Each one: GET /v1/imports/{job.pk}/rejections"]


@pytest.mark.oracle
def test_it_sums_up_as_json(world: World) -> None:
    fill(world.folder, 3)
    (world.folder / "empty").write_text("")
    (world.folder / "cache").mkdir()
    (world.folder / "cache" / "x").write_text("x")
    done = world.run("--json", "--prefix=p", "--exclude=cache")
    job = world.job()
    assert job is not None
    assert json.loads(done.stdout) == {
        "import": str(job.pk),
        "status": "finished",
        "imported": 3,
        "repeated": 0,
        "rejected": 1,
        "bytes_read": 18,
        "reasons": {"empty": 1},
    }
    assert set(Work.objects.values_list("external_id", flat=True)) == {
        "p/f000",
        "p/f001",
        "p/f002",
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "The folder is empty."),
        ({"collection": "col_01j00000000000000000000000"}, "There is no collection"),
        *(
            pytest.param(*case, marks=pytest.mark.oracle)
            for case in [
                ({"folder": "/nowhere"}, "No such file or directory"),
                ({"archive": "org_01j00000000000000000000000"}, "There is no organization"),
                ({"archive": "Archive"}, "There is no organization"),
            ]
        ),
    ],
)
def test_what_cannot_begin_exits_1_and_writes_nothing(
    world: World, change: dict[str, Any], words: str
) -> None:
    arguments = world.arguments()
    if "folder" in change:
        arguments[1] = change["folder"]
    elif change:
        fill(world.folder, 1)
    if "archive" in change:
        arguments[2] = f"--organization={change['archive']}"
    if "collection" in change:
        arguments[3] = f"--collection={change['collection']}"
    world.arguments = lambda *more: arguments  # type: ignore[method-assign]
    done = world.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert world.job() is None


@pytest.mark.oracle
def test_it_exits_1_when_nothing_could_be_imported(world: World) -> None:
    (world.folder / "empty").write_text("")
    done = world.run()
    assert done.returncode == 1
    assert "empty (1): The file has no bytes. letters/empty" in done.stdout
    assert "Nothing could be imported." in done.stderr


@pytest.mark.chaos
def test_a_killed_import_goes_on_where_it_stopped(world: World) -> None:
    fill(world.folder, 40)
    (world.folder / "f001").write_text("")
    running = world.start_slowly()
    try:
        world.wait_for_works(9)
    finally:
        running.kill()
        running.communicate()
    job = world.job()
    assert job is not None
    assert (job.status, 9 <= job.imported < 39) == ("running", True)
    assert Work.objects.count() == job.imported
    done = world.run()
    assert (done.returncode, done.stderr) == (0, "")
    world.assert_whole(works=39, rejected=1)


@pytest.mark.oracle
def test_an_interrupted_import_says_how_to_go_on(world: World) -> None:
    fill(world.folder, 60)
    running = world.start_slowly()
    try:
        world.wait_for_works(5)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    finally:
        running.kill()
    assert (running.returncode, out) == (1, "")
    assert (
        err.splitlines()[-1] == "CommandError: Stopped. The same command goes on where it stopped."
    )
    job = world.job()
    assert job is not None
    assert job.status == "failed"
    assert list((world.store / "incoming").iterdir()) == []
    assert world.run().returncode == 0
    world.assert_whole(works=60, rejected=0)


@pytest.mark.oracle
def test_it_is_never_silent_for_long(world: World) -> None:
    fill(world.folder, 60)
    running = world.start_slowly()
    assert running.stderr is not None
    os.set_blocking(running.stderr.fileno(), True)
    # From the first line on: what a process needs to start is not the import's silence.
    lines = [running.stderr.readline()]
    last = time.monotonic()
    longest = 0.0
    for line in running.stderr:
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
        lines.append(line)
    # Its end is the last thing that it says.
    longest = max(longest, time.monotonic() - last)
    running.communicate()
    assert running.returncode == 0
    assert lines[0].endswith(" MB read\n")
    assert longest < 5
