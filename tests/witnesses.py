"""A witness of the tests' own (C2SP tlog-witness), which lies on command."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from licensing.ledger import notes, tree
from tests.logs import Cosigner

# What a witness answers: a status, a body, and headers.
Answer = tuple[int, bytes, dict[str, str]]


class WitnessServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, name: str, *logs: notes.Verifier) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.key = Cosigner(name, os.urandom(32))
        self.url = f"http://127.0.0.1:{self.server_address[1]}/sub"
        self.setting = f"{self.key.vkey} {self.url}/"
        self.logs = {log.name: log for log in logs}
        # Origin -> what it cosigned last.
        self.seen: dict[str, notes.Checkpoint] = {}
        # Path -> what monitors are shown: the note of that, with its own cosignature.
        self.shown: dict[str, str] = {}
        self.requests: list[tuple[str, bytes]] = []
        self.at = 1_800_000_000
        # In place of what it should answer; and what happens before it looks.
        self.lie: Callable[[bytes], Answer] | None = None
        self.before: Callable[[], None] = lambda: None
        # Bytes that are sent one by one, in place of any HTTP.
        self.drip: bytes | None = None
        self.lock = threading.Lock()

    def answer(self, body: bytes) -> Answer:
        head, _blank, note = body.decode().partition("\n\n")
        old_line, *proof = head.split("\n")
        old = int(old_line.removeprefix("old "))
        steps = [notes.decode_base64(step) for step in proof]
        checkpoint = notes.parse_checkpoint(notes.split_note(note)[0])
        log = self.logs.get(checkpoint.origin)
        if log is None:
            return 404, b"unknown log\n", {}
        try:
            notes.open_checkpoint(note, [log])
        except notes.NoteError:
            return 403, b"", {}
        if old > checkpoint.size:
            return 400, b"", {}
        with self.lock:
            last = self.seen.get(checkpoint.origin)
            if old != (last.size if last else 0):
                size = f"{last.size if last else 0}\n".encode()
                return 409, size, {"Content-Type": "text/x.tlog.size"}
            try:
                if last is None:
                    assert not steps
                elif last.size == checkpoint.size:
                    if last.root != checkpoint.root:
                        return 409, b"", {}
                else:
                    tree.verify_consistency(old, checkpoint.size, steps, last.root, checkpoint.root)
            except tree.ProofError:
                return 422, b"", {}
            self.seen[checkpoint.origin] = checkpoint
            line = self.key.line(checkpoint.text(), self.at)
            address = hashlib.sha256(checkpoint.origin.encode()).hexdigest()
            self.shown[f"/sub/{address}/checkpoint"] = note + line
        return 200, line.encode(), {}


class _Handler(BaseHTTPRequestHandler):
    server: WitnessServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, body))
        self.server.before()
        if self.server.drip is not None:
            self._drip(self.server.drip)
            return
        self._answer(*(self.server.lie or self.server.answer)(body))

    def do_GET(self) -> None:
        shown = self.server.shown.get(self.path)
        self._answer(404 if shown is None else 200, (shown or "").encode(), {})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drip(self, data: bytes) -> None:
        self.close_connection = True
        try:
            for byte in data:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            return

    def log_message(self, *arguments: Any) -> None:
        return


@contextmanager
def serving(name: str, *logs: notes.Verifier) -> Iterator[WitnessServer]:
    with WitnessServer(name, *logs) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
