"""A stand-in for a market that delivers: it lists, links, serves, cuts off and lies on command."""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from licensing import layout, settree

GRANT = "grt_01jd0000000000000000000001"
API_KEY = "licet_test_0000000000"
SECRET = bytes(range(32))
ROOT = Path(__file__).resolve().parents[2]


class Seller(ThreadingHTTPServer):
    """A delivery server of the test's own: what it serves, and how it misbehaves."""

    daemon_threads = True
    # Kept connections end with the test; nobody waits for their threads.
    block_on_close = False

    def __init__(self, works: list[bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.works = {hashlib.sha256(work).hexdigest(): work for work in works}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.served: dict[str, bytes] = dict(self.works)
        self.withheld: set[str] = set()
        self.requests: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.authorized: list[str] = []
        self.generation = 1
        self.expired: set[int] = set()
        self.takes_ranges = True
        self.is_sharded = False
        self.delay_seconds = 0.0
        self.answers: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.end: list[dict[str, Any]] = [{"type": "end", "count": len(self.works)}]
        self.manifest_changes: dict[str, Any] = {}
        self.break_once: set[str] = set()
        self.changed_lines: dict[str, dict[str, Any]] = {}
        # Digest -> why it is out of licensing, by the manifest; and by now.
        self.excluded: dict[str, str] = {}
        self.taken_out: set[str] = set()
        self.links_given: list[list[str]] = []
        self.manifest_id_now: str | None = None

    @property
    def plain_end(self) -> list[dict[str, Any]]:
        return [{"type": "end", "count": len(self.works)}]

    def end_of_shards(self) -> dict[str, Any]:
        size = sum(map(len, self.works.values()))
        counted = {"count": len(self.works), "excluded": len(self.excluded), "bytes": size}
        return {"type": "end", "manifest": self.manifest_id(), **counted}

    def manifest_id(self) -> str:
        root = self.set_root()
        return layout.manifest_id(root.citation(), map(bytes.fromhex, sorted(self.excluded)))

    def described(self) -> dict[str, dict[str, Any]]:
        return {
            digest: settree.item_metadata(media_type="text/plain", length=len(work))
            for digest, work in self.works.items()
        }

    def set_root(self) -> settree.SetRoot:
        described = self.described()
        tree = settree.SetTree("snapshot", SECRET)
        for digest in sorted(described):
            tree.add(bytes.fromhex(digest), described[digest])
        return tree.finish({"works": len(described)})

    def shard_url(self) -> str:
        return f"{self.url}/shards/{self.generation}/{{shard}}.tar"

    def places(self) -> dict[str, dict[str, Any]]:
        """What the lines of excluded and of sharded works say more."""
        said: dict[str, dict[str, Any]] = {}
        places = layout.Places()
        for digest in sorted(self.works):
            if digest in self.excluded:
                said[digest] = {"excluded": self.excluded[digest], "url": None}
            elif self.is_sharded:
                shard, offset = places.place(len(self.works[digest])) or (0, 0)
                said[digest] = {"shard": shard, "offset": offset}
        return said

    def shard(self) -> bytes:
        """The one shard, as it is served."""
        members = []
        for digest in sorted(set(self.works) - set(self.excluded)):
            content = self.served[digest]
            members += [layout.header(digest, len(content)), content]
            members.append(bytes(layout.padded(len(content)) - len(content)))
        return b"".join([*members, layout.END])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves early is part of the tests."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def manifest(self) -> bytes:
        described, root = self.described(), self.set_root()
        head: dict[str, Any] = {
            "type": "manifest",
            "v": 1,
            "grant": GRANT,
            "livemode": False,
            "snapshot": root.as_dict() | {"citation": root.citation().hex()},
            "secret": SECRET.hex(),
            "expires_at": "2026-11-24T11:00:00.000000Z",
        }
        if self.is_sharded:
            head |= {
                "manifest": self.manifest_id(),
                "shards": {"url": self.shard_url(), "index": "…"},
            }
            self.end = [self.end_of_shards()] if self.end == self.plain_end else self.end
        places = self.places()
        lines: list[dict[str, Any]] = [head | self.manifest_changes]
        lines += [
            {
                "type": "work",
                "digest": digest,
                "length": len(self.works[digest]),
                "media_type": "text/plain",
                "external_id": f"ext-{digest[:4]}",
                "title": None,
                "path": "../../escape.txt",
                "url": None
                if digest in self.withheld
                else f"{self.url}/works/{self.generation}/{digest}",
                "metadata": described[digest],
            }
            | places.get(digest, {})
            | self.changed_lines.get(digest, {})
            for digest in sorted(described)
        ]
        return b"".join(json.dumps(line).encode() + b"\n" for line in [*lines, *self.end])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes; otherwise each answer waits for a delayed acknowledgment.
    disable_nagle_algorithm = True
    server: Seller

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        seller, (_, *parts) = self.server, self.path.split("/")
        name = parts[-1]
        seller.requests[name] += 1
        if self.headers["Authorization"]:
            seller.authorized.append(self.path)
        if seller.answers.get(name):
            status, headers = seller.answers[name].pop(0)
            self.answer(status, b'{"code":"told_so","detail":"as the test told it"}', headers)
        elif self.path == f"/v1/grants/{GRANT}/manifest":
            if self.headers["Authorization"] != f"Bearer {API_KEY}":
                self.answer(401, b'{"code":"no_key","detail":"No such key."}')
                return
            url = f"{seller.url}/deliveries/token"
            body = {"object": "delivery_manifest", "url": url, "expires_at": "…"}
            self.answer(200, json.dumps(body).encode())
        elif self.path == "/deliveries/token":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            data = seller.manifest()
            for start in range(0, len(data), 1000):
                chunk = data[start : start + 1000]
                self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        elif parts[0] in ("works", "shards") and int(parts[1]) in seller.expired:
            self.answer(403, b'{"code":"link_expired","detail":"Get a new manifest."}')
        elif name in seller.taken_out:
            self.answer(410, b'{"code":"opted_out","detail":"It was opted out."}')
        elif parts[0] == "works":
            self.serve_work(name)
        elif parts[0] == "shards":
            self.serve_shard()
        else:
            self.answer(404, b"not even JSON")

    def do_POST(self) -> None:
        """New links, as the API gives them."""
        seller = self.server
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["digests"]
        assert self.path == f"/v1/grants/{GRANT}/links"
        assert self.headers["Authorization"] == f"Bearer {API_KEY}"
        seller.links_given.append(asked)
        if seller.answers.get("links"):
            self.answer(seller.answers["links"].pop(0)[0], b'{"code":"told_so"}')
            return
        works = [
            {
                "digest": digest,
                "custody": "hosted",
                "url": None
                if digest in seller.taken_out
                else f"{seller.url}/works/{seller.generation}/{digest}",
                "excluded": "opted_out" if digest in seller.taken_out else None,
            }
            for digest in asked
        ]
        body = {
            "object": "delivery_links",
            "manifest": seller.manifest_id_now or seller.manifest_id(),
            "shards": {"url": seller.shard_url(), "index": "…"},
            "works": works,
        }
        self.answer(200, json.dumps(body).encode())

    def serve_shard(self) -> None:
        seller, data = self.server, self.server.shard()
        start, end = 0, len(data)
        if wanted := self.headers["Range"]:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), int(last) + 1
            seller.ranges.append(wanted)
        time.sleep(seller.delay_seconds)
        if seller.taken_out:
            self.answer(410, b'{"code":"opted_out","detail":"It was opted out."}')
        elif "shard" in seller.break_once:
            seller.break_once.discard("shard")
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
            self.send_header("Content-Length", str(end - start))
            self.end_headers()
            self.wfile.write(data[start : start + (end - start) // 2])
            self.close_connection = True
        elif seller.takes_ranges:
            place = f"bytes {start}-{end - 1}/{len(data)}"
            self.answer(206, data[start:end], {"Content-Range": place})
        else:
            self.answer(200, data)

    def serve_work(self, digest: str) -> None:
        seller, work = self.server, self.server.served[digest]
        time.sleep(seller.delay_seconds)
        if digest in seller.break_once:
            seller.break_once.discard(digest)
            self.send_response(200)
            self.send_header("Content-Length", str(len(work)))
            self.end_headers()
            self.wfile.write(work[: len(work) // 2])
            self.close_connection = True
            return
        wanted = self.headers["Range"]
        if wanted:
            seller.ranges.append(digest)
        if wanted and seller.takes_ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            place = f"bytes {start}-{len(work) - 1}/{len(work)}"
            self.answer(206, work[start:], {"Content-Range": place})
        else:
            self.answer(200, work)

    def answer(self, status: int, body: bytes, headers: dict[str, Any] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)


def some_works(count: int = 40) -> list[bytes]:
    rng = random.Random(count)
    return [b"", *(rng.randbytes(rng.randint(1, 5000)) for _ in range(count - 1))]
