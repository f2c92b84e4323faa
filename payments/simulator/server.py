"""The simulator's HTTP server: on loopback only, one thread a connection."""

from __future__ import annotations

import ipaddress
import json
import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from payments.simulator import account_links, controls, onboarding, pages, state
from payments.simulator.api import Api, Request, Response
from payments.simulator.controls import Controls
from payments.simulator.errors import ApiError
from payments.simulator.faults import Faults
from payments.simulator.pages import Page
from payments.simulator.webhooks import Postman

logger = logging.getLogger(__name__)

BODY_LENGTH_MAX = 1 << 20
IDLE_SECONDS = 120


class NotLoopback(ValueError):
    """An address that other machines can reach, or that is on another machine."""


class Simulator:
    """A simulated Stripe account on an address of this machine."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        directory: Path | None = None,
        webhook_url: str = "",
        webhook_secret: str = "whsec_simulator",
        country: str = "US",
        event_style: str = "snapshot",
    ) -> None:
        _check_loopback(host)
        if webhook_url:
            _check_webhook_url(webhook_url)
        self.world = state.World(directory)
        self.world.webhook_url, self.world.webhook_secret = webhook_url, webhook_secret
        self.world.country = country
        self.world.first_event_style = event_style
        self.api = Api(self.world, Faults())
        self.postman = Postman(self.world)
        self.controls = Controls(self.api, self.postman)
        self._server = _Server((host, port), _Handler)
        self._server.simulator = self
        shown = f"[{host}]" if ":" in host else host
        self.url = self.world.base_url = f"http://{shown}:{self._server.server_port}"

    def serve(self) -> None:
        """Serve until `stop` is called from another thread."""
        self.postman.start()
        try:
            self._server.serve_forever(poll_interval=0.02)
        finally:
            self.postman.stop()
            self._server.server_close()
            with self.world.lock:
                self.world.database.close()

    def stop(self) -> None:
        self._server.shutdown()


class _Server(ThreadingHTTPServer):
    simulator: Simulator
    daemon_threads = True
    # A connection that stays open must not keep the process.
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away is no news; anything else is.
        logger.debug("a connection failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def version_string(self) -> str:
        return "Licet-simulated-Stripe"

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)

    def _handle(self) -> None:
        try:
            body = self._body()
            self._check_sender()
        except ApiError as error:
            self.close_connection = True
            self._send_json(error.status, error.body())
            return
        path, _question, query = self.path.partition("?")
        try:
            self._route(path, query, body)
        except ApiError as error:
            self._send_json(error.status, error.body())
        except Exception:
            logger.exception("the simulator failed at %s %s", self.command, path)
            self._send_json(500, ApiError("The simulator failed.", type="api_error").body())

    def _route(self, path: str, query: str, body: bytes) -> None:
        simulator = self.server.simulator
        if path.startswith(("/v1/", "/v2/")):
            self._send(
                simulator.api.answer(
                    Request(self.command, path, query, body, dict(self._lowered()))
                )
            )
        elif path.startswith(controls.PREFIX):
            self._send_json(200, simulator.controls.answer(self.command, path, body))
        elif path.startswith(pages.PREFIX) and self.command != "DELETE":
            id = path.removeprefix(pages.PREFIX).rstrip("/")
            world = simulator.world
            page = pages.show(world, id) if self.command == "GET" else pages.submit(world, id, body)
            self._send_page(page)
        elif path.startswith(account_links.PREFIX) and self.command != "DELETE":
            id = path.removeprefix(account_links.PREFIX).rstrip("/")
            world = simulator.world
            if self.command == "GET":
                self._send_page(onboarding.show(world, id))
            else:
                self._send_page(onboarding.submit(world, id, body))
        elif path == "/" and self.command == "GET":
            self._send_page(pages.front(simulator.world))
        else:
            raise ApiError(f"Unrecognized request URL ({self.command}: {path}).", status=404)

    def _lowered(self) -> Any:
        return ((name.title(), value) for name, value in self.headers.items())

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding"):
            raise ApiError("Send a Content-Length.", status=411)
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > BODY_LENGTH_MAX:
            raise ApiError(f"A body has at most {BODY_LENGTH_MAX} bytes.", status=413)
        return self.rfile.read(int(length))

    def _check_sender(self) -> None:
        """Keep other websites out, which a browser on this machine may have open."""
        # A name that somebody else's DNS points here is not ours.
        host = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        if not _is_loopback(host):
            raise ApiError("The simulator serves this machine only.", status=403)
        if self.command != "GET" and self.headers.get("Sec-Fetch-Site") == "cross-site":
            raise ApiError("Another website may not press buttons here.", status=403)

    def _send(self, response: Response) -> None:
        if response.is_dropped:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)

    def _send_json(self, status: int, body: Any) -> None:
        text = json.dumps(body, ensure_ascii=False).encode()
        self._send(Response(status, text, {"Content-Type": "application/json"}))

    def _send_page(self, page: Page) -> None:
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            # Not form-action: it would stop the way back to the market after paying.
            "Content-Security-Policy": (
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none';"
                " base-uri 'none'"
            ),
        }
        if page.location:
            headers["Location"] = page.location
        self._send(Response(page.status, page.html.encode(), headers))


def in_thread(simulator: Simulator) -> threading.Thread:
    """Serve in a thread of this process, for tests."""
    thread = threading.Thread(target=simulator.serve, name="simulator", daemon=True)
    thread.start()
    return thread


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_loopback(host: str) -> None:
    if not _is_loopback(host):
        raise NotLoopback(f"The simulator serves this machine only, not {host}.")


def _check_webhook_url(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme != "http" or not _is_loopback(parts.hostname or ""):
        raise NotLoopback("Webhooks go to an http:// address of this machine only.")
