"""Where copies of a log and its guard are kept outside the database: a directory, or a bucket."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from django.conf import settings
from django.utils.translation import gettext as _

from marketplace.buckets import Bucket

# In a directory's root, and of no concern to whoever reads paths: all begin with a dot.
_LOCK = ".lock"
_DRAFTS = ".drafts"
# A week: more than a clock steps, for a draft that somebody works on must stay.
_DRAFT_SECONDS = 7 * 86_400
# In a bucket: proves that the server heeds conditions.
_PROBE = ".conditional-writes"

# Puts that are on their way to a bucket at the same time.
_PUTS = 8
_ATTEMPTS = 5

_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class StoreConflict(Exception):
    """Something else stands where this was to be written: nothing was changed. Says what to do."""


class StoreUnavailable(Exception):
    """A store cannot be read or written now, or never as it is set up. Says what to do."""


class Store(Protocol):
    """Named bytes that outlive the database. Paths are relative, with slashes.

    Each method raises StoreUnavailable; what it wrote by the time it returns is durable.
    """

    def read(self, path: str) -> bytes | None:
        """Give what stands there; None where nothing does."""

    def write_once(self, path: str, data: bytes) -> None:
        """Put bytes there for good. The same ones are fine, others raise StoreConflict."""

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Do `write_once` for many, in no order. One that fails may leave others written."""

    def replace(self, path: str, data: bytes, *, expected: bytes | None) -> None:
        """Compare and set: only where `expected` stands (None: nothing), else StoreConflict."""

    def paths(self, prefix: str) -> Iterator[str]:
        """List everything whose path begins with `prefix`, in no order."""


def open_store(url: str) -> Store:
    """Open `/some/directory` or `s3://bucket/prefix`, by its name alone. Raises StoreUnavailable.

    A directory is made by its first write, but not the one above: where a volume is not mounted,
    nothing is written.
    """
    if bucket := _S3.fullmatch(url):
        prefix = (bucket[2] or "").strip("/")
        named = Bucket(bucket[1], prefix=f"{prefix}/" if prefix else "", **settings.LEDGER_BUCKET)
        return BucketStore(named)
    if not url or _SCHEME.match(url):
        raise StoreUnavailable(
            _("“%(url)s” is no place to keep a log. Name a directory, or s3://bucket/prefix.")
            % {"url": url}
        )
    return DirectoryStore(Path(url))


class DirectoryStore:
    """Files in a directory of this machine, or of a volume that it mounts."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))

    def __str__(self) -> str:
        return str(self.root)

    def read(self, path: str) -> bytes | None:
        try:
            return self._at(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise self._unavailable(error) from error

    def write_once(self, path: str, data: bytes) -> None:
        self.write_all({path: data})

    def write_all(self, files: Mapping[str, bytes]) -> None:
        touched: set[Path] = set()
        try:
            self._prepare()
            for path, data in files.items():
                place = self._at(path)
                self._make_parents(place, touched)
                with self._draft(data) as draft:
                    try:
                        # A link, unlike a rename, never replaces what stands there.
                        os.link(draft, place)
                    except FileExistsError:
                        if self.read(path) != data:
                            raise _occupied(str(place)) from None
                # What was there already, too: whoever put it may have died before it was durable.
                touched.add(place.parent)
            self._settle(touched)
        except OSError as error:
            raise self._unavailable(error) from error

    def replace(self, path: str, data: bytes, *, expected: bytes | None) -> None:
        touched: set[Path] = set()
        try:
            self._prepare()
            with self._locked():
                if self.read(path) != expected:
                    raise _changed(f"{self}/{path}")
                place = self._at(path)
                self._make_parents(place, touched)
                with self._draft(data) as draft:
                    os.replace(draft, place)
                self._settle({*touched, place.parent})
        except OSError as error:
            raise self._unavailable(error) from error

    def paths(self, prefix: str) -> Iterator[str]:
        start, root = self._at(prefix.rpartition("/")[0]), str(self.root)
        try:
            for directory, names, files in os.walk(start, onerror=_raise):
                if directory == root:
                    names[:] = [name for name in names if not name.startswith(".")]
                    files = [name for name in files if not name.startswith(".")]
                # What is linked is listed, not entered.
                linked = [name for name in names if os.path.islink(os.path.join(directory, name))]
                for name in [*files, *linked]:
                    path = os.path.relpath(os.path.join(directory, name), root)
                    if path.startswith(prefix):
                        yield path
        except OSError as error:
            if error.filename == str(start) and isinstance(error, FileNotFoundError):
                return
            raise self._unavailable(error) from error

    def _at(self, path: str) -> Path:
        assert ".." not in path.split("/"), "A path stays below its store."
        return self.root / path

    def _prepare(self) -> None:
        if not self.root.is_dir():
            # Only the last part: where the others are missing, a volume is.
            self.root.mkdir(exist_ok=True)
            _sync(self.root.parent)
        (self.root / _DRAFTS).mkdir(exist_ok=True)
        self._sweep()

    def _sweep(self) -> None:
        """Remove the drafts that killed processes left: no draft is worked on for so long."""
        oldest = time.time() - _DRAFT_SECONDS
        with os.scandir(self.root / _DRAFTS) as drafts:
            for draft in drafts:
                with suppress(FileNotFoundError):
                    if draft.stat().st_mtime < oldest:
                        os.unlink(draft)

    def _make_parents(self, place: Path, touched: set[Path]) -> None:
        missing = []
        directory = place.parent
        while not directory.is_dir():
            missing.append(directory)
            directory = directory.parent
        for directory in reversed(missing):
            directory.mkdir(exist_ok=True)
            touched.update({directory, directory.parent})

    @contextmanager
    def _draft(self, data: bytes) -> Iterator[Path]:
        """A file of these bytes, durable, that has no place yet. Out of the readers' sight."""
        draft = self.root / _DRAFTS / f"{os.getpid()}.{os.urandom(8).hex()}"
        try:
            with draft.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield draft
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time, of all processes that see this directory; the system lets go at death."""
        with (self.root / _LOCK).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _settle(self, directories: Iterable[Path]) -> None:
        for directory in directories:
            _sync(directory)

    def _unavailable(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(
            _(
                "The directory %(place)s cannot be used: %(error)s. See that it is there (its"
                " volume mounted), has room, and belongs to the user that Licet runs as."
            )
            % {"place": self.root, "error": error}
        )


class BucketStore:
    """Objects in an S3-compatible bucket that heeds conditions (If-None-Match, If-Match)."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._is_tried = False

    def __str__(self) -> str:
        return f"s3://{self.bucket.name}/{self.bucket.prefix}"

    def read(self, path: str) -> bytes | None:
        found = self._read(path)
        return None if found is None else found[0]

    def write_once(self, path: str, data: bytes) -> None:
        self._try_conditions()
        for _attempt in range(_ATTEMPTS):
            if self._put(path, data, None):
                return
            # Refused for what is there, or for what somebody is just putting there.
            found = self.read(path)
            if found == data:
                return
            if found is not None:
                raise _occupied(f"{self}{path}")
        raise self._unavailable(OSError(f"{path} is being written by others all the time"))

    def write_all(self, files: Mapping[str, bytes]) -> None:
        self._try_conditions()
        with ThreadPoolExecutor(_PUTS, "ledger export") as pool:
            for _done in pool.map(self.write_once, files.keys(), files.values()):
                pass

    def replace(self, path: str, data: bytes, *, expected: bytes | None) -> None:
        self._try_conditions()
        found = self._read(path)
        if (None if found is None else found[0]) != expected:
            raise _changed(f"{self}{path}")
        tag = None if found is None else found[1]
        # A put whose answer was lost is sent again, and then meets itself.
        if not self._put(path, data, tag) and self.read(path) != data:
            raise _changed(f"{self}{path}")

    def paths(self, prefix: str) -> Iterator[str]:
        try:
            for key in self.bucket.keys(prefix):
                if not key.startswith("."):
                    yield key
        except OSError as error:
            raise self._unavailable(error) from error

    def _read(self, path: str) -> tuple[bytes, str] | None:
        try:
            return self.bucket.get(path)
        except OSError as error:
            raise self._unavailable(error) from error

    def _put(self, path: str, data: bytes, tag: str | None) -> bool:
        try:
            return self.bucket.put_if(path, data, tag)
        except OSError as error:
            raise self._unavailable(error) from error

    def _try_conditions(self) -> None:
        """Refuse a server that overwrites where it was told not to: its copy protects nothing."""
        if self._is_tried:
            return
        if self._put(_PROBE, b"", None) and self._put(_PROBE, b"", None):
            raise StoreUnavailable(
                _(
                    "%(place)s ignores conditional writes (If-None-Match). Use a server that heeds"
                    " them: Amazon S3 does, and MinIO, Ceph and R2 in their newer releases."
                )
                % {"place": self}
            )
        self._is_tried = True

    def _unavailable(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(
            _(
                "%(place)s cannot be used: %(error)s. See that the bucket is there, that"
                " LICET_LEDGER_BUCKET_… are right, and that their key may get, put and list."
            )
            % {"place": self, "error": error}
        )


def _occupied(place: str) -> StoreConflict:
    return StoreConflict(
        _(
            "%(place)s holds other bytes, and is written once. Either that copy was changed, or"
            " this database is not the one that it was made from. Run manage.py ledger_fsck on"
            " both before anything else; delete nothing."
        )
        % {"place": place}
    )


def _changed(place: str) -> StoreConflict:
    return StoreConflict(
        _(
            "%(place)s is not what it was when it was read: another process has replaced it."
            " Try again; if that goes on, two installations write to the same place."
        )
        % {"place": place}
    )


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise(error: OSError) -> None:
    raise error
