"""Witnesses that watch a log which is attacked: one that we did not write, and the tests' own."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from licensing.ledger import notes
from tests.logs import MemoryLog
from tests.oracles import witness as others
from tests.witnesses import serving

OURS = "witness.example/ours"


@dataclass(frozen=True)
class Watcher:
    """A witness (C2SP tlog-witness), as whoever talks to it knows it."""

    vkey: str
    url: str

    @property
    def name(self) -> str:
        return self.vkey.partition("+")[0]

    def submit(self, log: MemoryLog, old: int) -> int:
        """Ask it to cosign the whole of a log, from the tree that it saw: the status."""
        size = len(log.entries)
        steps = log.consistency(old, size) if old < size else []
        lines = "".join(f"{notes.encode_base64(step)}\n" for step in steps)
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=10)
        try:
            body = f"old {old}\n{lines}\n{log.note(size)}".encode()
            connection.request("POST", f"{parts.path}/add-checkpoint", body)
            return connection.getresponse().status
        finally:
            connection.close()


@contextmanager
def watching(directory: Path, log: notes.Verifier) -> Iterator[list[Watcher]]:
    """Have both watch a log that they saw nothing of; ours alone, where the other is missing."""
    with ExitStack() as stack:
        ours = stack.enter_context(serving(OURS, log))
        watchers = [Watcher(ours.key.vkey, ours.url)]
        if others.is_installed():
            theirs = stack.enter_context(others.serving(directory, log.name, log.vkey()))
            watchers.append(Watcher(theirs.vkey, theirs.url))
        yield watchers
