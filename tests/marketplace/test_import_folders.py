"""Imports of a folder: every file kept or refused with its reason, whatever is in there."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from marketplace import collections, imports, storage
from marketplace.access import acting
from marketplace.errors import InvalidInput
from marketplace.imports import Directory, Record, Rejected, engine, folders
from marketplace.models import (
    CollectionItem,
    ImportJob,
    ImportRejection,
    Organization,
    Representation,
    Work,
)
from tests.people import caller_for

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Path) -> Path:
    """A store of works for one test."""
    settings.STORAGE_DIR = tmp_path / "store"
    return tmp_path / "store"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "letters"
    made.mkdir()
    return made


@pytest.fixture
def run(archive: Organization) -> Callable[..., ImportJob]:
    """Import a folder into one collection of Archive."""
    collection = collections.create(caller_for(archive), name="Letters")

    def import_(folder: Path, **options: Any) -> ImportJob:
        source = Directory(folder, **options)
        return imports.run(caller_for(archive), str(collection.pk), source)

    return import_


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


def counts(job: ImportJob) -> tuple[int, int, int]:
    return job.imported, job.repeated, job.rejected


def left_out(job: ImportJob) -> dict[str, tuple[str, str]]:
    from marketplace.access import system

    with system("read a test's rejections"):
        rows = ImportRejection.objects.filter(job=job)
        return {row.name: (row.code, row.detail) for row in rows}


def entries(folder: Path, after: str = "", **options: Any) -> list[Record | Rejected]:
    return list(Directory(folder, **options).entries(after))


def reasons(folder: Path, **options: Any) -> dict[str, str]:
    found = entries(folder, **options)
    return {one.name: one.code for one in found if isinstance(one, Rejected)}


def stored(store: Path) -> list[Path]:
    return [path for path in store.rglob("*") if path.is_file()]


def test_every_files_bytes_stand_under_their_digest(
    run: Callable[..., ImportJob], folder: Path, store: Path
) -> None:
    """Also those of the last batch, and of a folder that is smaller than one."""
    write(folder, a="one", b="two")
    (folder / "in").mkdir()
    (folder / "in" / "c.html").write_bytes(os.urandom(3 * 2**20 + 17))
    job = run(folder)
    assert (counts(job), job.bytes_read) == ((3, 0, 0), 6 + 3 * 2**20 + 17)
    kept = {
        work.external_id: storage.path(bytes(work.representations.get().digest)).read_bytes()
        for work in Work.objects.all()
    }
    assert kept == {
        f"letters/{name}": (folder / name).read_bytes() for name in ("a", "b", "in/c.html")
    }
    assert len(stored(store)) == 3


def test_a_file_becomes_a_hosted_work_in_its_own_words(
    run: Callable[..., ImportJob], folder: Path
) -> None:
    (folder / "in").mkdir()
    write(folder / "in", **{"é b.html": "<p>"})
    run(folder, prefix="")
    work = Work.objects.get()
    form = work.representations.get()
    assert (work.external_id, work.title) == ("in/é b.html", "é b.html")
    assert (form.length, form.media_type, form.canonicalization, form.custody) == (
        3,
        "text/html",
        "raw",
        "hosted",
    )


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.txt", "text/plain"),
        ("a.py", "text/x-python"),
        ("a.txt.gz", "application/octet-stream"),
        ("a", "application/octet-stream"),
        ("data:text,html", "application/octet-stream"),
    ],
)
def test_a_media_type_comes_from_the_name_alone(folder: Path, name: str, media_type: str) -> None:
    write(folder, **{name: "x"})
    (entry,) = entries(folder)
    assert isinstance(entry, Record)
    assert entry.media_type == media_type


def test_the_same_bytes_twice_are_kept_once(
    run: Callable[..., ImportJob], folder: Path, store: Path
) -> None:
    write(folder, a="same", b="same", c="other")
    job = run(folder)
    assert counts(job) == (2, 1, 0)
    assert left_out(job) == {
        "letters/b": ("repeated", "The collection holds the same bytes already.")
    }
    assert len(stored(store)) == 2
    again = run(folder)
    assert (counts(again), len(stored(store))) == ((0, 3, 0), 2)


def test_two_folders_may_hold_the_same_names(run: Callable[..., ImportJob], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, a=name)
        assert counts(run(tmp_path / name)) == (1, 0, 0)


def test_what_is_no_file_of_this_folder_is_left_out_with_its_reason(
    run: Callable[..., ImportJob], folder: Path, tmp_path: Path
) -> None:
    write(tmp_path, secret="outside")
    write(folder, good="bytes", empty="")
    (folder / "into").symlink_to("good")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to("..")
    (folder / "lost").symlink_to("nowhere")
    (folder / "round").symlink_to("round")
    os.mkfifo(folder / "pipe")
    (folder / "nothing in here").mkdir()
    job = run(folder)
    assert counts(job) == (1, 0, 7)
    assert {name.removeprefix("letters/"): code for name, (code, _) in left_out(job).items()} == {
        "empty": "empty",
        "into": "link",
        "out": "link_out_of_folder",
        "up": "link_out_of_folder",
        "lost": "link_broken",
        "round": "link_broken",
        "pipe": "not_a_file",
    }


def test_a_name_that_is_not_utf8_is_shown_and_left_out(
    run: Callable[..., ImportJob], folder: Path
) -> None:
    raw = os.fsencode(folder)
    for name in (b"caf\xe9.txt", b"caf\xc3\xa9.txt"):
        with open(os.path.join(raw, name), "w") as file:
            file.write(str(name))
    os.mkdir(os.path.join(raw, b"\xff"))
    with open(os.path.join(raw, b"\xff", b"inside"), "w") as file:
        file.write("x")
    job = run(folder)
    assert (counts(job), [work.title for work in Work.objects.all()]) == ((1, 0, 2), ["café.txt"])
    assert left_out(job) == {
        "letters/caf\\xe9.txt": ("name_not_utf8", "The name is not UTF-8."),
        "letters/\\xff/inside": ("name_not_utf8", "The name is not UTF-8."),
    }


def test_a_folder_whose_own_name_is_not_utf8_is_imported(
    run: Callable[..., ImportJob], folder: Path
) -> None:
    odd = Path(os.fsdecode(os.path.join(os.fsencode(folder), b"\xe9")))
    odd.mkdir()
    write(odd, a="x")
    job = run(odd)
    assert counts(job) == (1, 0, 0)
    assert job.source.startswith("folder \\xe9 (")
    assert Work.objects.get().external_id == "\\xe9/a"


def test_a_name_too_long_for_an_external_id_is_left_out(
    run: Callable[..., ImportJob], folder: Path
) -> None:
    deep = folder.joinpath(*["d" * 200] * 5)
    deep.mkdir(parents=True)
    write(deep, a="x")
    write(folder, b="y")
    job = run(folder)
    assert counts(job) == (1, 0, 1)
    assert [code for code, _detail in left_out(job).values()] == ["name_too_long"]


def test_folders_may_nest_deeper_than_python_calls(folder: Path) -> None:
    try:
        here = os.open(folder, os.O_RDONLY)
        for _level in range(1200):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)
        assert list(reasons(folder).values()) == ["name_too_long"]
    finally:
        # Deeper than shutil.rmtree goes.
        subprocess.run(["rm", "-rf", str(folder / "d")], check=True)


def test_what_cannot_be_read_costs_nothing_else(
    run: Callable[..., ImportJob], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By raising what the system would: who runs the tests may be allowed to read everything."""
    write(folder, a="x", b="y", c="z", vanished="v")
    (folder / "locked").mkdir()
    write(folder / "locked", d="w")
    scan, open_ = os.scandir, os.open

    def scandir(path: Any) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scan(path)

    def open_one(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith("letters/b"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        if str(path).endswith("letters/vanished"):
            os.unlink(path)
        return open_(path, *args, **kwargs)

    monkeypatch.setattr(folders.os, "scandir", scandir)
    monkeypatch.setattr(folders.os, "open", open_one)
    job = run(folder)
    monkeypatch.undo()
    assert counts(job) == (2, 0, 3)
    assert left_out(job) == {
        "letters/b": ("unreadable", "Permission denied"),
        "letters/locked": ("unreadable", "Permission denied"),
        "letters/vanished": ("unreadable", "No such file or directory"),
    }


def test_a_file_that_fails_midway_is_left_out(
    run: Callable[..., ImportJob], folder: Path, monkeypatch: pytest.MonkeyPatch, store: Path
) -> None:
    (folder / "bad").write_bytes(bytes(3 * 2**20))
    write(folder, good="x")
    read = Directory.read

    def fail(self: Directory, size: int) -> bytes:
        chunk = read(self, size)
        if self.bytes_read > 2 * 2**20:
            self.bytes_read = 0
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return chunk

    monkeypatch.setattr(Directory, "read", fail)
    job = run(folder)
    assert counts(job) == (1, 0, 1)
    assert left_out(job) == {"letters/bad": ("unreadable", "Input/output error")}
    assert len(stored(store)) == 1


@pytest.mark.parametrize("change", ["x longer than before", "other"])
def test_a_file_that_changes_while_it_is_read_is_left_out(
    run: Callable[..., ImportJob], folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    write(folder, a="first", b="second")
    os.utime(folder / "a", (1, 1))
    put = storage.Intake.put

    def change_first(self: storage.Intake, stream: Any) -> storage.Stored:
        kept = put(self, stream)
        if kept.length == len("first"):
            write(folder, a=change)
        return kept

    monkeypatch.setattr(storage.Intake, "put", change_first)
    job = run(folder)
    assert counts(job) == (1, 0, 1)
    assert left_out(job)["letters/a"][0] == "changed_while_read"
    monkeypatch.undo()


def test_a_full_disk_stops_the_import_and_loses_nothing(
    run: Callable[..., ImportJob], folder: Path, monkeypatch: pytest.MonkeyPatch, store: Path
) -> None:
    write(folder, a="one", b="two")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as filling:
        filling.setattr(storage.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            run(folder)
    assert (Work.objects.count(), stored(store)) == (0, [])
    job = run(folder)
    assert (job.status, counts(job)) == ("finished", (2, 0, 0))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("letters", "The folder is empty."),
        ("nowhere", "No such file or directory"),
        ("file", "Not a directory"),
    ],
)
def test_where_there_is_nothing_to_read_nothing_is_written(
    run: Callable[..., ImportJob],
    folder: Path,
    tmp_path: Path,
    archive: Organization,
    name: str,
    words: str,
) -> None:
    write(tmp_path, file="x")
    with pytest.raises(InvalidInput) as refusal:
        run(tmp_path / name)
    assert refusal.value.data["param"] == "folder"
    assert words in refusal.value.detail
    with acting(caller_for(archive), writing=False):
        assert ImportJob.objects.count() == 0


def test_the_servers_own_data_is_not_imported(
    run: Callable[..., ImportJob], settings: Any, folder: Path
) -> None:
    settings.STORAGE_DIR = folder / "store"
    settings.DATA_DIR = folder / "data"
    for name in ("store", "data"):
        (folder / name).mkdir()
        write(folder / name, inside=name)
    write(folder, a="x")
    job = run(folder)
    assert counts(job) == (1, 0, 2)
    assert {name: code for name, (code, _) in left_out(job).items()} == {
        "letters/data": "own_data",
        "letters/store": "own_data",
    }


def test_folders_of_an_excluded_name_are_left_out_wherever_they_are(folder: Path) -> None:
    for name in ("in", "in/cache", "cache"):
        (folder / name).mkdir()
        write(folder / name, file=name)
    write(folder, a="x")
    names = [entry.name for entry in entries(folder, prefix="", exclude=["cache"])]
    assert names == ["a", "in/file"]


def test_a_walk_goes_on_after_any_of_its_names(folder: Path) -> None:
    """Folders and files whose names sort between each other, in the order of the walk."""
    for name in ("a", "a.d", "a0", "b"):
        (folder / name).mkdir()
    for name in ("a.txt", "a/z", "a.d/y", "a0/x", "A", "b/é", "b/e", "b/\n", "c d", "z\\xff", "é"):
        (folder / name).write_text(name)
    names = [entry.name for entry in entries(folder)]
    assert len(names) == 11
    for position, name in enumerate(names):
        assert [entry.name for entry in entries(folder, after=name)] == names[position + 1 :]


def test_another_folder_of_the_same_name_is_another_source(tmp_path: Path) -> None:
    """It must not be resumed where the first one stopped."""
    one, two = tmp_path / "1" / "letters", tmp_path / "2" / "letters"
    names = {
        Directory(one).name,
        Directory(two).name,
        Directory(one, prefix="other").name,
        Directory(one, exclude=["x"]).name,
        Directory(one, exclude=["y", "x"]).name,
        Directory(one, exclude=["x", "y"]).name,
    }
    assert len(names) == 5
    assert all(str(tmp_path) not in name for name in names)


def test_a_stopped_folder_goes_on_where_it_stopped(
    run: Callable[..., ImportJob],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    store: Path,
) -> None:
    monkeypatch.setattr(engine, "BATCH_LENGTH", 4)
    write(folder, **{f"f{n:02}": f"text {n}" for n in range(20)})
    write(folder, f07="")
    commit, made = engine._commit, []

    def die(*args: Any) -> None:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(1)
        commit(*args)

    with monkeypatch.context() as dying:
        dying.setattr(engine, "_commit", die)
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    assert Work.objects.count() == 11
    opened: list[str] = []
    open_ = os.open

    def watch(path: Any, *args: Any, **kwargs: Any) -> int:
        if "letters/" in str(path):
            opened.append(Path(path).name)
        return open_(path, *args, **kwargs)

    monkeypatch.setattr(folders.os, "open", watch)
    job = run(folder)
    monkeypatch.undo()
    assert opened == [f"f{n:02}" for n in range(12, 20)]
    assert (job.status, counts(job)) == ("finished", (19, 0, 1))
    digests = [bytes(row.digest) for row in Representation.objects.all()]
    assert all(storage.path(digest).is_file() for digest in digests)
    assert (len(digests), CollectionItem.objects.count(), len(stored(store))) == (19, 19, 19)


def test_what_a_dead_process_left_is_swept_a_day_later(store: Path) -> None:
    intake = storage.Intake()
    left = [store / "incoming" / name for name in ("old", "new")]
    for path in left:
        path.write_bytes(b"half")
    os.utime(left[0], (1, 1))
    assert storage.Intake() is not intake
    assert stored(store) == [left[1]]


def test_nothing_stands_under_its_digest_before_it_is_settled(store: Path) -> None:
    intake = storage.Intake()
    chunks: Iterator[bytes] = iter([b"ab", b"c", b"d", b""])

    class Slow:
        def read(self, _size: int) -> bytes:
            return next(chunks)

    kept = intake.put(Slow())
    assert kept.length == 4
    assert not storage.path(kept.digest).exists()
    intake.settle()
    assert storage.path(kept.digest).read_bytes() == b"abcd"
    assert stored(store) == [storage.path(kept.digest)]
    intake.discard()
    assert storage.path(kept.digest).is_file()
