"""What the API is asked for during a pull: the grant's manifest, and new links for old ones."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urljoin

from licensing.offline import manifest as manifests
from licensing.offline.manifest import Manifest, ManifestError, Work
from licensing.offline.transport import Interrupted, Refused, Transport

ATTEMPTS_MAX = 4
# As many as the API answers at once; the works after the one that asked will ask next.
RENEWED_AT_ONCE = 1000
_ANSWER_MAX = 16 * 1024 * 1024

_BACKOFF_SECONDS = 0.25
_BACKOFF_MAX_SECONDS = 5.0

T = TypeVar("T")


class PullError(Exception):
    """The pull cannot go on at all. `code` is the server's, or ours."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Gone(Exception):
    """There is no link to a work any more. `excluded` says why, where it was taken out."""

    def __init__(self, excluded: str | None) -> None:
        super().__init__("it is no longer delivered" + (f": {excluded}" if excluded else ""))
        self.excluded = excluded


class Api:
    """One grant at a Licet server, asked with the licensee's key."""

    def __init__(
        self, server: str, grant: str, key: str, transport: Transport, stop: threading.Event
    ) -> None:
        self.server = server + "/"
        self._grant = urljoin(self.server, f"v1/grants/{quote(grant, safe='')}")
        # The key goes to this server only, so no redirect is followed with it.
        self._secret = {"Authorization": f"Bearer {key}"}
        self._transport = transport
        self._stop = stop

    def manifest(self, path: Path, on_work: Callable[[int], None]) -> Manifest:
        """Fetch, check and store the manifest. Raises PullError."""
        return self._persist(lambda: self._manifest_once(path, on_work), "the manifest")

    def links(self, digests: list[str]) -> dict[str, Any]:
        """New links to some works, and to the shards. Raises PullError."""
        return self._persist(lambda: self._links_once(digests), "new links")

    def _persist(self, ask: Callable[[], T], what: str) -> T:
        for attempt in itertools.count(1):
            try:
                return ask()
            except Refused as error:
                raise PullError(error.code or "refused", _explain(error)) from None
            except Interrupted as error:
                problem = PullError("unreachable", f"{what} cannot be had: {error}")
                wait_seconds = error.retry_after_seconds or 0.0
            except ManifestError as error:
                if error.code not in ("manifest_incomplete", "manifest_changed"):
                    raise PullError(error.code, str(error)) from None
                problem, wait_seconds = PullError(error.code, str(error)), 0.0
            if attempt == ATTEMPTS_MAX or self._stop.is_set():
                raise problem
            pause = min(_BACKOFF_SECONDS * 2**attempt, _BACKOFF_MAX_SECONDS)
            self._stop.wait(max(wait_seconds, pause))
        raise AssertionError("unreachable")

    def _manifest_once(self, path: Path, on_work: Callable[[int], None]) -> Manifest:
        url = f"{self._grant}/manifest"
        answer = self._read(url, self._transport.get(url, self._secret, follow=False))
        link = answer.get("url")
        if not isinstance(link, str):
            raise _not_ours(url)
        url = urljoin(self.server, link)
        stream = self._transport.get(url)
        try:
            return manifests.receive(stream, path, on_work)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.filename:
                raise
            raise Interrupted(f"the manifest broke off: {error!r}") from None
        finally:
            if not stream.isclosed():
                self._transport.drop(url, stream)

    def _links_once(self, digests: list[str]) -> dict[str, Any]:
        url = f"{self._grant}/links"
        body = json.dumps({"digests": digests}).encode()
        answer = self._read(url, self._transport.post(url, self._secret, body))
        works, shards = answer.get("works"), answer.get("shards")
        if not isinstance(works, list) or not isinstance(shards, dict):
            raise _not_ours(url)
        return answer

    def _read(self, url: str, response: http.client.HTTPResponse) -> dict[str, Any]:
        try:
            answer = json.loads(response.read(_ANSWER_MAX))
        except (OSError, http.client.HTTPException) as error:
            raise Interrupted(f"the answer broke off: {error!r}") from None
        except (ValueError, RecursionError):
            raise _not_ours(url) from None
        finally:
            if not response.isclosed():
                self._transport.drop(url, response)
        if not isinstance(answer, dict):
            raise _not_ours(url)
        return answer


class Links:
    """The newest links of a manifest, shared by the threads of a pull."""

    def __init__(self, api: Api, manifest: Manifest) -> None:
        self._api = api
        self._manifest = manifest
        self._lock = threading.Lock()
        # Of the works that were asked for last: a link, or None and why.
        self._fresh: dict[str, tuple[str | None, str | None]] = {}
        self._shards = manifest.shards_url

    def work(self, work: Work) -> str:
        """The newest link to a work. Raises Gone."""
        link, excluded = self._fresh.get(work.digest, (work.url, work.excluded))
        if link is None:
            raise Gone(excluded)
        return urljoin(self._api.server, link)

    def shard(self, number: int) -> str | None:
        """The newest link to a shard; None when the manifest's shards are no longer given."""
        if not self._shards:
            return None
        return urljoin(self._api.server, self._shards.replace("{shard}", str(number)))

    def renew_work(self, number: int, work: Work, stale: str) -> str:
        """A link in place of one that expired. Raises Gone, or PullError when there is none."""
        with self._lock:
            if self.work(work) == stale:
                # The works that come next need new links, too.
                works = self._manifest.works(number, number + RENEWED_AT_ONCE)
                self._ask([each.digest for each in works if each.url is not None])
            return self.work(work)

    def renew_shard(self, number: int, stale: str) -> str | None:
        with self._lock:
            if self.shard(number) == stale:
                self._ask([])
            return self.shard(number)

    def _ask(self, digests: list[str]) -> None:
        answer = self._api.links(digests)
        # Where works were taken out meanwhile, the new shards are not those of this manifest.
        is_same = answer.get("manifest") == self._manifest.id
        self._shards = str(answer["shards"].get("url", "")) if is_same else ""
        if digests:
            self._fresh = {str(each.get("digest")): _link(each) for each in answer["works"]}


def _link(each: Any) -> tuple[str | None, str | None]:
    url, excluded = each.get("url"), each.get("excluded")
    return (
        url if isinstance(url, str) else None,
        excluded if isinstance(excluded, str) else None,
    )


def _not_ours(url: str) -> PullError:
    return PullError("not_a_licet_server", f"{url} did not answer as a Licet server does")


def _explain(error: Refused) -> str:
    hints = {
        401: "the server does not know the API key",
        403: "the API key may not fetch works: it needs the scope delivery:read",
        404: "there is no such grant, or it is not yours",
    }
    hint = hints.get(error.status)
    return f"{error} ({hint})" if hint else str(error)
