"""Folders of this server as a source of works: every regular file, kept in the hosted store."""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from marketplace import embedded_rights, storage
from marketplace.access import Caller
from marketplace.errors import InvalidInput
from marketplace.imports.engine import NAME_LENGTH_MAX, Entry, Rejected, Source
from marketplace.works import EXTERNAL_ID_LENGTH_MAX, Record


class Directory(Source):
    """A folder of the server: every regular file in it, kept in the hosted store.

    `prefix` begins each work's external id, so that two folders may hold the same names; it is
    the folder's name unless given. Folders whose name is in `exclude` are left out.
    """

    def __init__(
        self, root: Path, *, prefix: str | None = None, exclude: Iterable[str] = ()
    ) -> None:
        self.root = Path(os.path.realpath(root))
        self.exclude = frozenset(exclude)
        self.bytes_read = 0
        begin = _shown(self.root.name) if prefix is None else prefix
        self._prefix = f"{begin}/" if begin else ""
        self._intake: storage.Intake | None = None
        self._mark = ""
        # What image files say of their rights, until their batch commits.
        self._said: dict[bytes, embedded_rights.Embedded] = {}
        self._stream: io.FileIO
        self._own = {
            os.path.realpath(folder)
            for folder in (settings.DATA_DIR, settings.STORAGE_DIR, settings.LEDGER_KEY_DIR)
        }
        self.name = self._named()

    def _named(self) -> str:
        """The folder's own name, and a mark of all that decides what a resumed run goes on with."""
        parts = [os.fsencode(self.root), self._prefix.encode(), *map(str.encode, self.exclude)]
        mark = hashlib.sha256(b"\0".join([*parts[:2], *sorted(parts[2:])])).hexdigest()[:8]
        return f"folder {_shown(self.root.name)[:200] or '/'} ({mark})"

    def check(self) -> None:
        try:
            with os.scandir(self.root) as found:
                is_empty = next(iter(found), None) is None
        except OSError as error:
            raise InvalidInput(
                _("The folder cannot be read: %(why)s. Name a folder that this user may read.")
                % {"why": error.strerror},
                param="folder",
            ) from None
        if is_empty:
            raise InvalidInput(
                _("The folder is empty. Put files into it, or name another one."), param="folder"
            )

    def entries(self, after: str) -> Iterator[Entry]:
        begin = tuple(after.removeprefix(self._prefix).split("/")) if after else ()
        self._intake = storage.Intake()
        self._mark = after
        for parts, found in self._walk():
            if parts > begin:
                entry = self._read(self._intake, parts, found)
                # A name that the column cannot hold is no mark; the one before it is.
                if len(entry.name) <= NAME_LENGTH_MAX:
                    self._mark = entry.name
                yield entry

    def mark(self) -> str:
        return self._mark

    def settle(self) -> None:
        if self._intake is not None:
            self._intake.settle()

    def note(self, caller: Caller) -> None:
        if self._said:
            embedded_rights.note(caller.organization.pk, self._said)
            self._said = {}

    def close(self) -> None:
        if self._intake is not None:
            self._intake.discard()

    def _walk(self) -> Iterator[tuple[tuple[str, ...], os.DirEntry[str] | OSError]]:
        """Everything below the root that is no folder, in the order of the names' parts."""
        # A stack, and no recursion: folders nest deeper than Python calls do.
        stack = [_children(self.root, ())]
        while stack:
            for parts, found in stack[-1]:
                if not isinstance(found, OSError) and _is_folder(found):
                    if found.name in self.exclude:
                        continue
                    if found.path not in self._own:
                        stack.append(_children(found.path, parts))
                        break
                yield parts, found
            else:
                stack.pop()

    def _read(
        self, intake: storage.Intake, parts: tuple[str, ...], found: os.DirEntry[str] | OSError
    ) -> Record | Rejected:
        """Turn one entry into a record, its bytes kept, or say why not."""
        name = self._prefix + "/".join(parts)
        if isinstance(found, OSError):
            return Rejected(name, "unreadable", found.strerror or "")
        if found.path in self._own:
            return Rejected(name, "own_data")
        if not _is_utf8(found.path[len(os.fspath(self.root)) :]):
            return Rejected(name, "name_not_utf8")
        if len(name) > EXTERNAL_ID_LENGTH_MAX:
            return Rejected(name, "name_too_long", f"{len(name)} > {EXTERNAL_ID_LENGTH_MAX}")
        try:
            if found.is_symlink():
                return Rejected(name, _link(self.root, found.path))
            if not found.is_file(follow_symlinks=False):
                return Rejected(name, "not_a_file")
            # Not through a link that took the file's place since it was listed, nor waiting for
            # somebody to write into a pipe that did.
            handle = os.open(found.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            return Rejected(name, "unreadable", error.strerror or "")
        # Outside that `except`: a full disk of ours is no fault of the file.
        with os.fdopen(handle, "rb", buffering=0) as self._stream:
            kept = _keep(intake, self, handle, name)
            if isinstance(kept, Record) and kept.media_type in embedded_rights.MEDIA_TYPES:
                self._stream.seek(0)
                said = embedded_rights.read(self._stream, kept.media_type)
                if said is not None:
                    self._said[kept.digest] = said
            return kept

    def read(self, size: int) -> bytes:
        """Read on in the file that is being kept, counting for whoever watches."""
        chunk = self._stream.read(size) or b""
        self.bytes_read += len(chunk)
        return chunk


def _keep(
    intake: storage.Intake, stream: storage.Readable, handle: int, name: str
) -> Record | Rejected:
    before = os.fstat(handle)
    if not stat.S_ISREG(before.st_mode):
        return Rejected(name, "not_a_file")
    if before.st_size == 0:
        return Rejected(name, "empty")
    try:
        kept = intake.put(stream)
    except storage.Unreadable as error:
        return Rejected(name, "unreadable", str(error))
    after = os.fstat(handle)
    if (kept.length, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        return Rejected(name, "changed_while_read")
    title = name.rpartition("/")[2]
    return Record(
        external_id=name,
        title=title,
        digest=kept.digest,
        length=kept.length,
        media_type=_media_type(title),
        custody="hosted",
    )


def _children(
    folder: str | Path, above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], os.DirEntry[str] | OSError]]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: _shown(entry.name))
    except OSError as error:
        yield above, error
        return
    for entry in entries:
        yield (*above, _shown(entry.name)), entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


# Python's own table only: the machine's mime.types must not change a snapshot's root.
_MEDIA_TYPES = mimetypes.MimeTypes(filenames=())


def _media_type(name: str) -> str:
    # As a path: a name such as "data:x" would be taken for a URL.
    kind, encoding = _MEDIA_TYPES.guess_type(f"./{name}")
    return kind if kind and not encoding else "application/octet-stream"


def _link(root: Path, path: str) -> str:
    """Which reason a link is refused for."""
    try:
        target = Path(path).resolve(strict=True)
    except (OSError, RuntimeError):
        return "link_broken"
    return "link" if target.is_relative_to(root) else "link_out_of_folder"


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    """A name as text: bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(name).decode(errors="backslashreplace")
