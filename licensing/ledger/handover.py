"""Writes what verifies every receipt once this server is gone, for whoever keeps it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from django.utils import timezone
from django.utils.translation import gettext as _

from licensing.ledger import (
    export,
    generations,
    notes,
    rotation,
    stores,
    succession,
    tiles,
    witnessing,
)
from licensing.models import LedgerCheckpoint, LedgerCosignature, LedgerPending
from licensing.offline import build

README = "README.md"
SUMS = "SHA256SUMS"
TOOL = "licet-offline.pyz"
_TITLE = "# A ledger of licenses, to keep"

# What explains the files: of this source tree, by the names that they get.
_DOCUMENTS = {
    "docs/ledger_format.md": "api_docs/ledger_format.md",
    "docs/set_tree.md": "api_docs/set_tree.md",
    "docs/verify.md": "api_docs/guide/verify.md",
    "LICENSE": "LICENSE",
}

Progress = Callable[[str, int, int], None]


class HandoverRefused(Exception):
    """The directory is not one to write into; says what to do."""


@dataclass(frozen=True)
class HandedOver:
    """A log as it stands in the directory."""

    log: str
    checkpoint: notes.Checkpoint
    # The newest first.
    vkeys: tuple[str, ...]
    cosigned: int
    # Entries that have no place yet, and are not in the directory.
    waiting: int


def write(
    directory: Path, progress: Progress = lambda _log, _done, _size: None
) -> list[HandedOver]:
    """Write both logs and all that checks them. Once more, later: adds what is new.

    Raises HandoverRefused, WitnessesMisconfigured, and what `export.push` raises.
    """
    _check_ours(directory)
    directory.mkdir(parents=True, exist_ok=True)
    witnesses = {server.key.vkey() for server in witnessing.servers()}
    witnesses |= set(LedgerCosignature.objects.values_list("vkey", flat=True).distinct())
    store = stores.open_store(str(directory / "ledger"))
    written = []
    for log in succession.all_names():
        newest = tiles.newest_checkpoint(log)
        if newest is not None:
            written.append(_write_log(directory, store, newest, progress))
    _put(directory / "keys" / "witnesses.vkey", (f"{each}\n" for each in sorted(witnesses)))
    for name, source in _DOCUMENTS.items():
        _put(directory / name, [(build.ROOT / source).read_text()])
    build.build(directory / TOOL)
    _put(directory / README, [_readme(written, len(witnesses))])
    _put(directory / SUMS, _sums(directory))
    return written


def _check_ours(directory: Path) -> None:
    """A handover goes into a new directory, or into one that an earlier one has made."""
    try:
        if not directory.exists() or not any(directory.iterdir()):
            return
        readme = directory / README
        if readme.is_file() and readme.read_text(errors="replace").startswith(_TITLE):
            return
    except OSError as error:
        raise HandoverRefused(f"{directory}: {error.strerror}") from None
    raise HandoverRefused(
        _("%(directory)s holds something else. Name an empty or a new directory.")
        % {"directory": directory}
    )


def _write_log(
    directory: Path, store: stores.Store, newest: LedgerCheckpoint, progress: Progress
) -> HandedOver:
    log = newest.log
    rotation.keys_of(log)
    keys = rotation.published(log)
    export.push(log, store, newest.size, progress=lambda done, size: progress(log, done, size))
    export.publish(log, store, witnessing.cosigned_note(newest))
    export.publish_keys(log, store)
    name = generations.file_name(log)
    _put(directory / "keys" / f"{name}.vkey", (f"{each.vkey()}\n" for each in keys))
    sizes = LedgerCosignature.objects.filter(log=log, size__lte=newest.size)
    cosigned = LedgerCheckpoint.objects.filter(
        log=log, size__in=sizes.values("size").distinct()
    ).order_by("size")
    _put(
        directory / "cosigned" / f"{name}.ndjson",
        (
            json.dumps(
                {"size": each.size, "note": witnessing.cosigned_note(each)}, ensure_ascii=False
            )
            + "\n"
            for each in cosigned.iterator()
        ),
    )
    return HandedOver(
        log=log,
        checkpoint=notes.parse_checkpoint(notes.split_note(newest.note)[0]),
        vkeys=tuple(each.vkey() for each in keys),
        cosigned=cosigned.count(),
        waiting=(
            LedgerPending.objects.filter(log=generations.log_of(log)).count()
            if succession.is_current(log)
            else 0
        ),
    )


def _put(path: Path, parts: Iterable[str]) -> None:
    """Write a file whole, or leave the one that was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w", encoding="utf-8", newline="") as file:
        file.writelines(parts)
    draft.replace(path)


def _sums(directory: Path) -> Iterator[str]:
    """As `sha256sum -c` reads it; without this list and what begins with a dot."""
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and not path.name.startswith(".") and name != SUMS:
            with path.open("rb") as file:
                yield f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n"


def _readme(written: list[HandedOver], witnesses: int) -> str:
    rows = "\n".join(
        f"| {each.log} | `{each.checkpoint.origin}` | {each.checkpoint.size} |"
        f" `{notes.encode_base64(each.checkpoint.root)}` | {each.cosigned} |"
        for each in written
    )
    keys = "\n".join(vkey for each in written for vkey in each.vkeys)
    template = Path(__file__).with_suffix(".md").read_text()
    return template.format(
        title=_TITLE,
        tool=TOOL,
        log=("live" if any(generations.log_of(each.log) == "live" for each in written) else "test"),
        day=timezone.now().date().isoformat(),
        rows=rows,
        keys=keys,
        witnesses=f"{witnesses} of them" if witnesses else "there were none",
    )
