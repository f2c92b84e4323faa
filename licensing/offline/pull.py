"""Download the works of a grant: parallel, resumable, and nothing kept that is not checked."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from licensing.offline import shards
from licensing.offline.links import Api, Gone, Links, PullError
from licensing.offline.manifest import Manifest, Work
from licensing.offline.transport import TIMEOUT_SECONDS, Interrupted, Refused, Transport

ATTEMPTS_MAX = 6
RUN_ATTEMPTS_MAX = 3
REFRESHES_MAX = 3
# Works that are looked for, and asked for, together.
SHARD_BATCH = 1000
PROGRESS_SECONDS = 1.0
FAILURES_SHOWN = 20

# How long Ctrl-C waits for a download to notice.
_LEAVE_SECONDS = 3.0
_CHUNK = 256 * 1024
_BACKOFF_SECONDS = 0.25
_BACKOFF_MAX_SECONDS = 20.0
# By these codes a server refuses a work that was taken out since the manifest was fetched.
_TAKEN_OUT = frozenset({"opted_out", "work_held"})


class Result(Enum):
    """What was done for one work."""

    FETCHED = "fetched"
    PRESENT = "present"
    # The manifest gives no link: the seller delivers it otherwise.
    WITHHELD = "withheld"
    # Taken out of licensing: opted out, or held until a claim is decided.
    EXCLUDED = "excluded"


class _WrongBytes(Interrupted):
    """The server sent a whole work, and it was another one."""


class _Failed(Exception):
    """One work could not be had; the others go on."""


@dataclass(frozen=True)
class Job:
    """What to pull, from where, to where."""

    server: str
    grant: str
    api_key: str = field(repr=False)
    directory: Path
    jobs: int = 8
    # Small works come many at a time, out of tar shards.
    shards: bool = False
    # Citations that a checked receipt covers; None when no receipt was given.
    covered: frozenset[str] | None = None
    timeout_seconds: float = TIMEOUT_SECONDS


@dataclass
class Outcome:
    """What came of a pull."""

    job: Job
    manifest: Manifest
    seconds: float = 0.0
    counts: Counter[Result] = field(default_factory=Counter)
    bytes_fetched: int = 0
    # Digest -> why it could not be had.
    failed: dict[str, str] = field(default_factory=dict)
    # Works that were taken out of licensing after they were fetched.
    excluded_but_here: int = 0

    @property
    def verified(self) -> int:
        return self.counts[Result.FETCHED] + self.counts[Result.PRESENT]

    @property
    def complete(self) -> bool:
        return self.counts.total() == len(self.manifest)

    def report(self) -> dict[str, Any]:
        root = self.manifest.root
        return {
            "complete": self.complete,
            "grant": self.manifest.grant,
            "livemode": self.manifest.livemode,
            "snapshot": root.as_dict() | {"citation": root.citation().hex()},
            "covered_by_receipt": self.job.covered is not None,
            "works": len(self.manifest),
            "verified": self.verified,
            "fetched": self.counts[Result.FETCHED],
            "already_there": self.counts[Result.PRESENT],
            "withheld": self.counts[Result.WITHHELD],
            "excluded": self.counts[Result.EXCLUDED],
            "excluded_but_here": self.excluded_but_here,
            "failed": [
                {"digest": digest, "reason": reason}
                for digest, reason in sorted(self.failed.items())
            ],
            "bytes": self.manifest.bytes,
            "bytes_fetched": self.bytes_fetched,
            "seconds": round(self.seconds, 3),
            "directory": str(self.job.directory),
        }

    def describe(self) -> str:
        lines = [
            f"pull: {self.verified} of {len(self.manifest)} works are there and checked "
            f"({self.counts[Result.FETCHED]} fetched, {self.counts[Result.PRESENT]} already there, "
            f"{self.counts[Result.WITHHELD]} withheld, {self.counts[Result.EXCLUDED]} excluded), "
            f"{_size(self.bytes_fetched)} in {self.seconds:.1f} s",
            f"pull: they are of the set {self.manifest.root.citation().hex()}"
            + (", which the receipt covers" if self.job.covered is not None else ""),
        ]
        if not self.manifest.livemode:
            lines.append("pull: under a TEST LICENSE, no money moved")
        if self.excluded_but_here:
            lines.append(
                f"pull: {self.excluded_but_here} EXCLUDED works are still here from before, and "
                "not in the index: see the notice about them"
            )
        shown = sorted(self.failed.items())[:FAILURES_SHOWN]
        lines += [f"pull: MISSING {digest}: {reason}" for digest, reason in shown]
        if len(self.failed) > len(shown):
            lines.append(f"pull: and {len(self.failed) - len(shown)} more are missing")
        if not self.complete:
            lines.append("pull: NOT COMPLETE; the same command fetches what is missing")
        return "\n".join(lines)


def run(job: Job) -> Outcome:
    """Pull everything that can be had. Raises PullError when nothing can.

    Works stand under works/<hh>/<digest>; index.ndjson maps them to the seller's names.
    """
    started = time.monotonic()
    try:
        job.directory.mkdir(parents=True, exist_ok=True)
        with closing(_Pull(job)) as pull:
            outcome = pull.carry_out()
            outcome.seconds = time.monotonic() - started
            _write_index(job.directory, outcome)
    except OSError as error:
        raise PullError("cannot_write", f"{error.filename or job.directory}: {error}") from None
    return outcome


class _Pull:
    """The threads of one pull, and what they share."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._transport = Transport(job.timeout_seconds)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._fatal: PullError | None = None
        self._received = 0
        self._api = Api(job.server, job.grant, job.api_key, self._transport, self._stop)
        self._outcome: Outcome | None = None
        self._links: Links
        # Places of works that are fetched one by one after all.
        self._singly: deque[int] = deque()
        self._folders: set[str] = set()

    def carry_out(self) -> Outcome:
        with _progress(self._state):
            manifest = self._api.manifest(self._job.directory / "manifest.ndjson", self._on_work)
            self._outcome = outcome = Outcome(self._job, manifest)
            self._check_coverage(manifest)
            self._links = Links(self._api, manifest)
            is_sharded = self._job.shards and bool(manifest.shards_url)
            step = SHARD_BATCH if is_sharded else 1
            starts = iter(range(0, len(manifest), step))
            settle = self._settle_batch if is_sharded else self._settle_one
            threads = [
                threading.Thread(target=self._work_off, args=(starts, settle), daemon=True)
                for _ in range(min(self._job.jobs, len(manifest)))
            ]
            for thread in threads:
                thread.start()
            try:
                for thread in threads:
                    thread.join()
            finally:
                # Also on Ctrl-C: what is half-done stays as a .part file to go on from.
                self._stop.set()
                for thread in threads:
                    thread.join(timeout=_LEAVE_SECONDS)
        if self._fatal is not None:
            raise self._fatal
        return outcome

    def close(self) -> None:
        self._transport.close()
        if self._outcome is not None:
            self._outcome.manifest.close()

    def _work_off(self, starts: Iterator[int], settle: Callable[[int], None]) -> None:
        try:
            while not self._stop.is_set():
                with self._lock:
                    start = next(starts, None)
                    single = self._singly.popleft() if start is None and self._singly else None
                if start is not None:
                    settle(start)
                elif single is not None:
                    self._settle_one(single)
                else:
                    break
        except PullError as error:
            self._end(error)
        except OSError as error:
            # A full or read-only disk stops everything: no other work could be kept either.
            self._end(PullError("cannot_write", f"{error.filename}: {error.strerror}"))
        finally:
            self._transport.close()

    def _settle_one(self, number: int) -> None:
        """Get one work and count what came of it."""
        assert self._outcome is not None
        work = self._outcome.manifest.work(number)
        try:
            self._count(self._have(number, work))
        except _Failed as error:
            with self._lock:
                self._outcome.failed[work.digest] = str(error)

    def _settle_batch(self, start: int) -> None:
        """Get the works from one place on out of shards; leave to be fetched singly what is not."""
        assert self._outcome is not None
        missing = []
        works = self._outcome.manifest.works(start, start + SHARD_BATCH)
        for number, work in enumerate(works, start):
            found = self._found(work)
            if found is not None:
                self._count(found)
            elif shards.is_in_shard(work):
                missing.append((number, work))
            else:
                self._singly.append(number)
        for run in shards.runs(missing):
            self._fetch_run(run)

    def _count(self, result: Result) -> None:
        with self._lock:
            assert self._outcome is not None
            self._outcome.counts[result] += 1

    def _end(self, error: PullError) -> None:
        with self._lock:
            self._fatal = self._fatal or error
        self._stop.set()

    # --- works out of shards ------------------------------------------------------------------

    def _fetch_run(self, run: shards.Run) -> None:
        """Fetch works that stand side by side. What cannot be had so is left to be had singly."""
        attempt = refreshes = 0
        link = self._links.shard(run.shard)
        while run.works and link is not None and not self._stop.is_set():
            before = len(run.works)
            wait_seconds = 0.0
            try:
                self._fetch_run_once(run, link)
                return
            except Refused as error:
                # Not an old link: then some of them were taken out. Each work will say so itself.
                if error.status != 403 or refreshes == REFRESHES_MAX:
                    break
                refreshes += 1
                link = self._links.renew_shard(run.shard, link)
                continue
            except shards.WrongShard:
                break
            except Interrupted as error:
                attempt = 1 if len(run.works) < before else attempt + 1
                wait_seconds = error.retry_after_seconds or 0.0
            if attempt >= RUN_ATTEMPTS_MAX:
                break
            self._pause(attempt, wait_seconds)
        with self._lock:
            self._singly.extend(number for number, _work in run.works)

    def _fetch_run_once(self, run: shards.Run, link: str) -> None:
        """Keep each work as it comes, and take it off the run."""
        response = self._transport.get(link, {"Range": run.range})
        try:
            if not run.is_answered_by(response):
                raise shards.WrongShard("the server does not give parts of its shards")
            done = 0
            try:
                for _number, work, content in shards.members(response, run):
                    self._keep(work, content)
                    done += 1
                    if self._stop.is_set():
                        raise Interrupted("stopped")
            finally:
                del run.works[:done]
            # To its end, so that the connection can be kept.
            response.read()
        except BaseException:
            self._transport.drop(link, response)
            raise

    def _keep(self, work: Work, content: bytes) -> None:
        path, part = self._places(work)
        with open(part, "wb", buffering=0) as file:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
        os.replace(part, path)
        with self._lock:
            assert self._outcome is not None
            self._outcome.counts[Result.FETCHED] += 1
            self._outcome.bytes_fetched += len(content)

    # --- one work -----------------------------------------------------------------------------

    def _found(self, work: Work) -> Result | None:
        """What there is to say of a work without fetching anything; None: fetch it."""
        if work.excluded is not None:
            return Result.EXCLUDED
        if _is(_path(self._job.directory, work), work):
            return Result.PRESENT
        return Result.WITHHELD if work.url is None else None

    def _have(self, number: int, work: Work) -> Result:
        """Make sure that a work is there. Raises _Failed."""
        found = self._found(work)
        if found is not None:
            return found
        path, name = self._places(work)
        part = Path(name)
        try:
            self._fetch(number, work, part)
        except Gone as error:
            if error.excluded in (None, "not_covered"):
                raise _Failed(str(error)) from None
            part.unlink(missing_ok=True)
            return Result.EXCLUDED
        os.replace(part, path)
        return Result.FETCHED

    def _places(self, work: Work) -> tuple[str, str]:
        """Where a work goes, and where it stands until it is whole."""
        path = _path(self._job.directory, work)
        folder = work.digest[:2]
        if folder not in self._folders:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._folders.add(folder)
        return path, path + ".part"

    def _fetch(self, number: int, work: Work, part: Path) -> None:
        """Fetch a work into its .part file until its digest is right. Raises _Failed and Gone."""
        link = self._links.work(work)
        attempt = refreshes = 0
        while True:
            wait_seconds = 0.0
            try:
                self._fetch_once(work, link, part)
                return
            except Refused as error:
                if error.code in _TAKEN_OUT:
                    raise Gone(error.code) from None
                # 403: the link has expired. Any other refusal will not change.
                if error.status != 403 or refreshes == REFRESHES_MAX:
                    raise _Failed(str(error)) from None
                refreshes += 1
                link = self._links.renew_work(number, work, link)
                continue
            except Interrupted as error:
                # Wrong bytes are rarely an accident: one more try, not six.
                attempt += ATTEMPTS_MAX // 2 if isinstance(error, _WrongBytes) else 1
                if attempt >= ATTEMPTS_MAX or self._stop.is_set():
                    raise _Failed(str(error)) from None
                wait_seconds = error.retry_after_seconds or 0.0
            self._pause(attempt, wait_seconds)

    def _pause(self, attempt: int, wait_seconds: float) -> None:
        pause = min(_BACKOFF_SECONDS * 2**attempt, _BACKOFF_MAX_SECONDS)
        # Spread out, so that many workers do not come back at the same instant.
        self._stop.wait(max(wait_seconds, pause * random.uniform(0.5, 1.0)))

    def _fetch_once(self, work: Work, link: str, part: Path) -> None:
        """Go on from what the .part file holds. Raises Interrupted or Refused."""
        hasher, have = hashlib.sha256(), 0
        if part.exists():
            hasher, have = _hash_file(part)
        if have > work.length or (have == work.length and have):
            if hasher.hexdigest() == work.digest:
                return
            part.unlink()
            hasher, have = hashlib.sha256(), 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        response = self._transport.get(link, headers)
        if response.status == 416 or (
            response.status == 206 and not _continues(response, have, work.length)
        ):
            self._transport.drop(link, response)
            part.unlink(missing_ok=True)
            raise Interrupted("the server cannot go on where the file stopped")
        if response.status == 200 and have:
            # The server ignores ranges: it sends the work from its beginning.
            hasher, have = hashlib.sha256(), 0
        try:
            self._receive(response, work, part, hasher, have)
        except BaseException:
            self._transport.drop(link, response)
            raise

    def _receive(
        self,
        response: http.client.HTTPResponse,
        work: Work,
        part: Path,
        hasher: hashlib._Hash,
        have: int,
    ) -> None:
        with part.open("ab" if have else "wb") as file:
            while True:
                try:
                    chunk = response.read(_CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise Interrupted(f"the download broke off: {error!r}") from None
                if not chunk:
                    break
                have += len(chunk)
                if have > work.length:
                    break
                hasher.update(chunk)
                file.write(chunk)
                with self._lock:
                    assert self._outcome is not None
                    self._outcome.bytes_fetched += len(chunk)
                if self._stop.is_set():
                    raise Interrupted("stopped")
        if have < work.length:
            raise Interrupted(f"the download broke off after {have} of {work.length} bytes")
        if have > work.length or hasher.hexdigest() != work.digest:
            part.unlink()
            raise _WrongBytes("the server sent other bytes than the manifest names")

    def _on_work(self, count: int) -> None:
        self._received = count

    def _check_coverage(self, manifest: Manifest) -> None:
        if manifest.grant != self._job.grant:
            raise PullError("other_grant", f"the server sent the manifest of {manifest.grant}")
        citation = manifest.root.citation().hex()
        if self._job.covered is not None and citation not in self._job.covered:
            raise PullError("not_covered", f"the receipt does not cover the set {citation}")

    # --- progress -----------------------------------------------------------------------------

    def _state(self, seconds: float) -> str:
        with self._lock:
            outcome = self._outcome
            if outcome is None:
                if not self._received:
                    return "pull: waiting for the manifest"
                return f"pull: {self._received} works in the manifest so far"
            done, size = outcome.counts.total(), outcome.bytes_fetched
            failed = f", {len(outcome.failed)} failed" if outcome.failed else ""
        return (
            f"pull: {done} of {len(outcome.manifest)} works, {_size(size)} fetched, "
            f"{_size(size / seconds)}/s{failed}"
        )


@contextmanager
def _progress(state: Callable[[float], str]) -> Iterator[None]:
    """Say at least every two seconds how far it is: silence looks like a hang."""
    done, started = threading.Event(), time.monotonic()

    def say() -> None:
        while not done.wait(PROGRESS_SECONDS):
            print(state(time.monotonic() - started), file=sys.stderr, flush=True)

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _is(path: str, work: Work) -> bool:
    """Whether a file is there with exactly a work's bytes."""
    try:
        if os.stat(path).st_size != work.length:
            return False
        return _hash_file(Path(path))[0].hexdigest() == work.digest
    except FileNotFoundError:
        return False


def _hash_file(path: Path) -> tuple[hashlib._Hash, int]:
    hasher, length = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
            length += len(chunk)
    return hasher, length


def _continues(response: http.client.HTTPResponse, start: int, length: int) -> bool:
    """Whether a partial answer begins where the file stopped."""
    return response.headers.get("Content-Range") == f"bytes {start}-{length - 1}/{length}"


def _write_index(directory: Path, outcome: Outcome) -> None:
    """Map every work that is there to the seller's own names for it."""
    part = directory / "index.ndjson.part"
    with part.open("w", encoding="utf-8") as file:
        for start in range(0, len(outcome.manifest), SHARD_BATCH):
            for work in outcome.manifest.works(start, start + SHARD_BATCH):
                if work.digest in outcome.failed or not os.path.isfile(_path(directory, work)):
                    continue
                if work.excluded is not None:
                    outcome.excluded_but_here += 1
                    continue
                line = {
                    "digest": work.digest,
                    "file": _file(work),
                    "length": work.length,
                    "media_type": work.media_type,
                    "external_id": work.external_id,
                    "title": work.title,
                    "path": work.path,
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    os.replace(part, directory / "index.ndjson")


def _file(work: Work) -> str:
    return f"works/{work.digest[:2]}/{work.digest}"


def _path(directory: Path, work: Work) -> str:
    # Text: a hundred thousand paths would be taken apart and joined again.
    return f"{directory}/{_file(work)}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
