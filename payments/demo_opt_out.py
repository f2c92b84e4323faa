"""The demonstration's second story: may I? Then a contributor takes a letter out."""

from __future__ import annotations

import hashlib
import http.cookiejar
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any, Protocol

QUESTION = {"use": "pretrain", "territory": "DE", "availability": "DE", "model": {"name": "Atlas"}}


class Client(Protocol):
    """One tenant's HTTP client, as `demo.Http` is."""

    def get(self, path: str) -> Any: ...

    def post(self, path: str, body: dict[str, Any] | None = None, *, key: str = "") -> Any: ...

    def raw(
        self,
        path: str,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        method: str | None = None,
    ) -> bytes: ...


class Failed(Exception):
    """The market answered otherwise than the story says."""


@dataclass(frozen=True)
class Letter:
    """A work of one contributor, uploaded for this telling."""

    digest: str
    contributor: str


def write_letter(archive: Client, collection: str) -> Letter:
    """Upload a letter, new with each telling, and put it into the collection."""
    content = f"Dear reader, it is {time.time_ns()} ns past the epoch.\n".encode()
    digest = hashlib.sha256(content).hexdigest()
    contributor = archive.post(
        "/v1/contributors", {"external_id": f"correspondent-{digest[:8]}", "consent": "granted"}
    )
    upload = archive.post("/v1/uploads", {"length": len(content), "sha256": digest})
    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    archive.raw(f"/v1/uploads/{upload['id']}", content, headers, method="PATCH")
    archive.post(f"/v1/uploads/{upload['id']}/finish")
    archive.post(
        f"/v1/collections/{collection}/works",
        {
            "upload": upload["id"],
            "external_id": f"letters/{digest[:8]}.txt",
            "media_type": "text/plain",
            "title": "A letter",
            "contributor": contributor["external_id"],
        },
    )
    return Letter(digest, str(contributor["id"]))


def may_i(lab: Client, letter: Letter, expected: str) -> str:
    """Ask whether the letter may be trained on; the answer in a line. Raises Failed."""
    body = {"question": QUESTION, "works": [letter.digest]}
    [decision] = lab.post("/v1/decisions", body)["data"]
    if decision["decision"] != expected:
        raise Failed(f"The market answered “{decision['decision']}” and not “{expected}”.")
    clause = f", clause {decision['clause']}" if decision["clause"] else ""
    return f"{decision['decision']}: {decision['reasons'][0]['code']}{clause}"


def link_of(lab: Client, grant: str, letter: Letter) -> str:
    """A delivery link of the letter, which works now."""
    answer = lab.post(f"/v1/grants/{grant}/links", {"digests": [letter.digest]})
    url = str(answer["works"][0]["url"])
    with urllib.request.urlopen(url, timeout=30) as found:
        if hashlib.sha256(found.read()).hexdigest() != letter.digest:
            raise Failed("The link brought other bytes.")
    return url


def take_out(archive: Client, letter: Letter) -> str:
    """The contributor opens the link that the archive mailed, and presses its button."""
    made = archive.post(f"/v1/contributors/{letter.contributor}/opt-out-links")
    cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    browser = urllib.request.build_opener(cookies)
    page = browser.open(made["secret"], timeout=30).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    if token is None:
        raise Failed("The contributor's page has no button.")
    data = urllib.parse.urlencode({"csrfmiddlewaretoken": token[1]}).encode()
    request = urllib.request.Request(made["secret"], data, {"Referer": made["secret"]})
    done = browser.open(request, timeout=30).read().decode()
    found = re.search(r"opt_[0-9a-z]{26}", done)
    if found is None:
        raise Failed("The contributor's page names no receipt.")
    return found[0]


def refused(url: str) -> str:
    """What a link of before answers now. Raises Failed where it still works."""
    try:
        urllib.request.urlopen(url, timeout=30).close()
    except urllib.error.HTTPError as error:
        code = re.search(r'"code": *"([a-z_]+)"', error.read().decode())
        return f"{error.code} {code[1] if code else ''}"
    raise Failed("The link still works.")


def acknowledge(lab: Client, grant: str) -> str:
    """The licensee finds the notice and states what it did."""
    notices = lab.get(f"/v1/notices?state=queued&grant={grant}")["data"]
    if len(notices) != 1:
        raise Failed(f"The lab has {len(notices)} notices and not one.")
    done = lab.post(
        f"/v1/notices/{notices[0]['id']}/acknowledge",
        {
            "statement": "Left out of all runs from now on; copies deleted.",
            "name": "Lin Labcoat",
            "title": "General counsel",
        },
    )
    return f"notice {done['id']}: {done['state']}"
