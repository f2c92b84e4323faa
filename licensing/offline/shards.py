"""Reading works out of tar shards: which bytes to ask for, and what of the answer to keep."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from licensing.layout import BLOCK, header, padded
from licensing.offline.manifest import Work
from licensing.offline.transport import Interrupted

# A larger work is fetched by itself, where half of it can be gone on with.
LENGTH_MAX = 4 * 1024 * 1024
# As much is asked for at once: what a broken connection costs at most.
RUN_BYTES = 32 * 1024 * 1024

_READ = 1024 * 1024


class WrongShard(Interrupted):
    """The archive does not hold what the manifest says."""


@dataclass(slots=True)
class Run:
    """Works that stand side by side in one shard, with their places in the manifest."""

    shard: int
    works: list[tuple[int, Work]] = field(default_factory=list)

    @property
    def start(self) -> int:
        return _offset(self.works[0][1]) - BLOCK

    @property
    def end(self) -> int:
        last = self.works[-1][1]
        return _offset(last) + last.length

    @property
    def range(self) -> str:
        return f"bytes={self.start}-{self.end - 1}"

    def is_answered_by(self, response: http.client.HTTPResponse) -> bool:
        said = response.headers.get("Content-Range", "").partition("/")[0]
        return response.status == 206 and said == f"bytes {self.start}-{self.end - 1}"


def is_in_shard(work: Work) -> bool:
    return work.shard is not None and work.excluded is None and work.length <= LENGTH_MAX


def runs(missing: Iterable[tuple[int, Work]]) -> Iterator[Run]:
    """Join works that are missing (in the manifest's order) to runs without a gap."""
    run: Run | None = None
    for number, work in missing:
        assert work.shard is not None
        if run is not None:
            last = run.works[-1][1]
            follows = _offset(last) + padded(last.length) + BLOCK == _offset(work)
            is_full = _offset(work) + work.length - run.start > RUN_BYTES
            if work.shard != run.shard or not follows or is_full:
                yield run
                run = None
        run = run or Run(work.shard)
        run.works.append((number, work))
    if run is not None:
        yield run


def members(response: http.client.HTTPResponse, run: Run) -> Iterator[tuple[int, Work, bytes]]:
    """Each work of a run with its bytes, checked. Raises Interrupted, also as WrongShard."""
    source = _Source(response, run.end - run.start)
    for number, work in run.works:
        if source.take(BLOCK) != header(work.digest, work.length):
            raise WrongShard("the shard holds another work than the manifest says")
        content = source.take(work.length)
        if hashlib.sha256(content).hexdigest() != work.digest:
            raise WrongShard("the server sent other bytes than the manifest names")
        yield number, work, content
        if number != run.works[-1][0]:
            source.take(padded(work.length) - work.length)


class _Source:
    """An answer's bytes, read in large pieces and given in small ones."""

    def __init__(self, response: http.client.HTTPResponse, length: int) -> None:
        self._response = response
        self._left = length
        self._held = b""
        self._at = 0

    def take(self, count: int) -> bytes:
        while len(self._held) - self._at < count:
            try:
                piece = self._response.read(min(self._left, max(_READ, count)))
            except (OSError, http.client.HTTPException) as error:
                raise Interrupted(f"the download broke off: {error!r}") from None
            if not piece:
                raise Interrupted("the download broke off")
            self._left -= len(piece)
            self._held = self._held[self._at :] + piece
            self._at = 0
        taken = self._held[self._at : self._at + count]
        self._at += count
        return taken


def _offset(work: Work) -> int:
    assert work.offset is not None
    return work.offset
