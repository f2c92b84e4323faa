"""Download the works of a grant: parallel, resumable, and nothing kept that is not checked."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

from licensing.offline import manifest as manifests
from licensing.offline.manifest import Manifest, ManifestError, Work
from licensing.offline.transport import TIMEOUT_SECONDS, Interrupted, Refused, Transport

ATTEMPTS_MAX = 6
MANIFEST_ATTEMPTS_MAX = 4
REFRESHES_MAX = 3
PROGRESS_SECONDS = 1.0
FAILURES_SHOWN = 20

# How long Ctrl-C waits for a download to notice.
_LEAVE_SECONDS = 3.0
_CHUNK = 256 * 1024
_BACKOFF_SECONDS = 0.25
_BACKOFF_MAX_SECONDS = 20.0


class PullError(Exception):
    """The pull cannot go on at all. `code` is the server's, or ours."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Result(Enum):
    """What was done for one work."""

    FETCHED = "fetched"
    PRESENT = "present"
    # The manifest gives no link: the work is taken out of delivery, for example opted out.
    WITHHELD = "withheld"


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
            f"{self.counts[Result.WITHHELD]} withheld), "
            f"{_size(self.bytes_fetched)} in {self.seconds:.1f} s",
            f"pull: they are the set {self.manifest.root.citation().hex()}"
            + (", which the receipt covers" if self.job.covered is not None else ""),
        ]
        if not self.manifest.livemode:
            lines.append("pull: under a TEST LICENSE, no money moved")
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
        self._refreshing = threading.Lock()
        self._received = 0
        # Works are counted by the first manifest; links come from the newest.
        self._manifests: list[Manifest] = []
        self._outcome: Outcome | None = None

    def carry_out(self) -> Outcome:
        with _progress(self._state):
            manifest = self._get_manifest("manifest.ndjson")
            self._manifests.append(manifest)
            self._check_coverage(manifest)
            self._outcome = outcome = Outcome(self._job, manifest)
            numbers = iter(range(len(manifest)))
            threads = [
                threading.Thread(target=self._work_off, args=(numbers, outcome), daemon=True)
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
        for manifest in self._manifests:
            manifest.close()

    def _work_off(self, numbers: Iterator[int], outcome: Outcome) -> None:
        try:
            while not self._stop.is_set():
                with self._lock:
                    number = next(numbers, None)
                if number is None:
                    break
                self._settle(outcome.manifest.work(number), outcome)
        except PullError as error:
            self._end(error)
        except OSError as error:
            # A full or read-only disk stops everything: no other work could be kept either.
            self._end(PullError("cannot_write", f"{error.filename}: {error.strerror}"))
        finally:
            self._transport.close()

    def _settle(self, work: Work, outcome: Outcome) -> None:
        """Get one work and count what came of it."""
        try:
            result = self._have(work)
        except _Failed as error:
            with self._lock:
                outcome.failed[work.digest] = str(error)
        else:
            with self._lock:
                outcome.counts[result] += 1

    def _end(self, error: PullError) -> None:
        with self._lock:
            self._fatal = self._fatal or error
        self._stop.set()

    # --- one work -----------------------------------------------------------------------------

    def _have(self, work: Work) -> Result:
        """Make sure that a work is there."""
        folder = self._job.directory / "works" / work.digest[:2]
        path = folder / work.digest
        if _is(path, work):
            return Result.PRESENT
        if work.url is None:
            return Result.WITHHELD
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(work.digest + ".part")
        self._fetch(work, part)
        os.replace(part, path)
        return Result.FETCHED

    def _fetch(self, work: Work, part: Path) -> None:
        """Fetch a work into its .part file until its digest is right. Raises _Failed."""
        generation, link = self._link(work)
        attempt = refreshes = 0
        while True:
            wait_seconds = 0.0
            try:
                self._fetch_once(work, link, part)
                return
            except Refused as error:
                # 403: the link has expired. Any other refusal will not change.
                if error.status != 403 or refreshes == REFRESHES_MAX:
                    raise _Failed(str(error)) from None
                refreshes += 1
                self._refresh(generation)
                generation, link = self._link(work)
                continue
            except Interrupted as error:
                # Wrong bytes are rarely an accident: one more try, not six.
                attempt += ATTEMPTS_MAX // 2 if isinstance(error, _WrongBytes) else 1
                if attempt >= ATTEMPTS_MAX or self._stop.is_set():
                    raise _Failed(str(error)) from None
                wait_seconds = error.retry_after_seconds or 0.0
            pause = min(_BACKOFF_SECONDS * 2**attempt, _BACKOFF_MAX_SECONDS)
            # Spread out, so that many workers do not come back at the same instant.
            self._stop.wait(max(wait_seconds, pause * random.uniform(0.5, 1.0)))

    def _link(self, work: Work) -> tuple[int, str]:
        """The newest link to a work, and how many manifests it took."""
        generation = len(self._manifests)
        found: Work | None = work
        if generation > 1:
            found = self._manifests[generation - 1].find(work.digest)
        if found is None or found.url is None:
            raise _Failed("it is no longer delivered")
        return generation, found.url

    def _fetch_once(self, work: Work, link: str, part: Path) -> None:
        """Go on from what the .part file holds. Raises Interrupted or Refused."""
        url = urljoin(self._job.server + "/", link)
        hasher, have = hashlib.sha256(), 0
        if part.exists():
            hasher, have = _hash_file(part)
        if have > work.length or (have == work.length and have):
            if hasher.hexdigest() == work.digest:
                return
            part.unlink()
            hasher, have = hashlib.sha256(), 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        response = self._transport.get(url, headers)
        if response.status == 416 or (
            response.status == 206 and not _continues(response, have, work.length)
        ):
            self._transport.drop(url, response)
            part.unlink(missing_ok=True)
            raise Interrupted("the server cannot go on where the file stopped")
        if response.status == 200 and have:
            # The server ignores ranges: it sends the work from its beginning.
            hasher, have = hashlib.sha256(), 0
        try:
            self._receive(response, work, part, hasher, have)
        except BaseException:
            self._transport.drop(url, response)
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

    # --- the manifest -------------------------------------------------------------------------

    def _refresh(self, stale: int) -> None:
        """Get new links, unless another thread has. Raises PullError when there are none."""
        with self._refreshing:
            if len(self._manifests) > stale:
                return
            fresh = self._get_manifest("links.ndjson")
            if fresh.root != self._manifests[0].root:
                raise PullError("set_root_differs", "the server delivers another set: start again")
            self._manifests.append(fresh)

    def _get_manifest(self, name: str) -> Manifest:
        for attempt in itertools.count(1):
            try:
                return self._get_manifest_once(self._job.directory / name)
            except Refused as error:
                raise PullError(error.code or "refused", _explain(error)) from None
            except Interrupted as error:
                problem = PullError("unreachable", f"the manifest cannot be had: {error}")
                wait_seconds = error.retry_after_seconds or 0.0
            except ManifestError as error:
                if error.code != "manifest_incomplete":
                    raise PullError(error.code, str(error)) from None
                problem, wait_seconds = PullError(error.code, str(error)), 0.0
            if attempt == MANIFEST_ATTEMPTS_MAX or self._stop.is_set():
                raise problem
            self._stop.wait(max(wait_seconds, min(_BACKOFF_SECONDS * 2**attempt, 5.0)))
        raise AssertionError("unreachable")

    def _get_manifest_once(self, path: Path) -> Manifest:
        server = self._job.server + "/"
        url = urljoin(server, f"v1/grants/{quote(self._job.grant, safe='')}/manifest")
        # The key goes to this server only, so no redirect is followed.
        secret = {"Authorization": f"Bearer {self._job.api_key}"}
        response = self._transport.get(url, secret, follow=False)
        try:
            link = json.loads(response.read(manifests.LINE_MAX))["url"]
            url = urljoin(server, link)
        except (OSError, http.client.HTTPException) as error:
            raise Interrupted(f"the answer broke off: {error!r}") from None
        except (ValueError, KeyError, TypeError):
            raise PullError(
                "not_a_licet_server", f"{url} did not answer with the address of a manifest"
            ) from None
        finally:
            if not response.isclosed():
                self._transport.drop(url, response)
        stream = self._transport.get(url)
        try:
            return manifests.receive(stream, path, self._on_work)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.filename:
                raise
            raise Interrupted(f"the manifest broke off: {error!r}") from None
        finally:
            if not stream.isclosed():
                self._transport.drop(url, stream)

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


def _is(path: Path, work: Work) -> bool:
    """Whether a file is there with exactly a work's bytes."""
    try:
        if path.stat().st_size != work.length:
            return False
        return _hash_file(path)[0].hexdigest() == work.digest
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
        for number in range(len(outcome.manifest)):
            work = outcome.manifest.work(number)
            path = Path("works") / work.digest[:2] / work.digest
            if work.digest in outcome.failed or not (directory / path).is_file():
                continue
            line = {
                "digest": work.digest,
                "file": path.as_posix(),
                "length": work.length,
                "media_type": work.media_type,
                "external_id": work.external_id,
                "title": work.title,
                "path": work.path,
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    os.replace(part, directory / "index.ndjson")


def _explain(error: Refused) -> str:
    hints = {
        401: "the server does not know the API key",
        403: "the API key may not fetch works: it needs the scope delivery:read",
        404: "there is no such grant, or it is not yours",
    }
    hint = hints.get(error.status)
    return f"{error} ({hint})" if hint else str(error)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
