"""One request to somebody else's server: to public addresses alone, without redirects, bounded."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.utils.translation import gettext as _

# For all of an exchange, from the connection to the answer, however steadily the other side sends.
DEADLINE_SECONDS = 15.0
# Bytes of an answer that are read.
ANSWER_LENGTH_MAX = 1024
URL_LENGTH_MAX = 500
# Of a name's addresses, so many are tried.
_ADDRESSES_MAX = 3
# Seconds that one address may take to take the connection.
_CONNECT_SECONDS = 5.0

# Written plainly: what two readers of an address may read differently is no address here.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[!$-;=?-\[\]_a-z~]*)?"
)
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
# What browsers read as a number of IPv4, in whatever form (WHATWG URL, “ends in a number”).
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
# Names that no public server has (RFC 6761, RFC 6762, RFC 8375, ICANN's “internal”).
_PRIVATE_NAMES = ("localhost", "local", "internal", "home.arpa", "onion")
# Below 1024, ports of other protocols listen: nobody is made to speak to a mail server.
_PORT_MIN, _PORT_MAX = 1024, 65_535

# Beside what Python calls global: relays and documentation, and ways to IPv4 addresses in others.
_NOT_GLOBAL_4 = tuple(
    ipaddress.IPv4Network(each)
    for each in ("192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/4", "240.0.0.0/4")
)
# All that is assigned for hosts. Without it: mapped (::ffff:0:0/96) and NAT64 (64:ff9b::/96, and
# 64:ff9b:1::/48) addresses, local, link-local and multicast ones.
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
_NOT_GLOBAL_6 = tuple(
    ipaddress.IPv6Network(each)
    # Protocols and Teredo, documentation (two), 6to4.
    for each in ("2001::/23", "2001:db8::/32", "3fff::/20", "2002::/16")
)


class UrlRefused(Exception):
    """Nothing is sent to such an address; says why, in words for its owner."""


class Unreachable(Exception):
    """No answer came; says why, in words for the endpoint's owner."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address, taken apart once: everything that follows reads these and not the text."""

    scheme: str
    host: str
    port: int
    path: str
    # As it stands in the header Host.
    authority: str
    # Of this machine, which development may send to.
    is_loopback: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, the beginning of the body, and for how long to keep away."""

    status: int
    body: bytes
    retry_after_seconds: float | None


def parse(url: str) -> Target:
    """Take an address apart, without asking anybody. Raises UrlRefused."""
    found = _URL.fullmatch(url)
    if len(url) > URL_LENGTH_MAX or found is None:
        raise UrlRefused(
            _("Give an address as https://example.org/path: of plain characters, without a user.")
        )
    scheme, host = found["scheme"], found["host"].lower()
    literal = _literal(host)
    is_loopback = settings.WEBHOOKS_TO_LOOPBACK and (
        host == "localhost" if literal is None else literal.is_loopback
    )
    if scheme == "http" and not is_loopback:
        raise UrlRefused(_("Use https://."))
    if not is_loopback:
        _check_host(host, literal)
    port = int(found["port"] or (443 if scheme == "https" else 80))
    if not is_loopback and port != 443 and not _PORT_MIN <= port <= _PORT_MAX:
        raise UrlRefused(
            _("Use port 443, or one from %(min)s to %(max)s.")
            % {"min": _PORT_MIN, "max": _PORT_MAX}
        )
    return Target(
        scheme=scheme,
        host=host.strip("[]"),
        port=port,
        path=found["path"] or "/",
        authority=host + (f":{found['port']}" if found["port"] else ""),
        is_loopback=is_loopback,
    )


def is_public(address: str) -> bool:
    """Whether an IP address is one that a server of the public internet may have."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not any(ip in each for each in _NOT_GLOBAL_4)
    return ip.is_global and ip in _GLOBAL_6 and not any(ip in each for each in _NOT_GLOBAL_6)


def post(url: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Send a body once, and read the beginning of the answer. Raises Unreachable.

    The name is resolved here, each time anew and once, and the connection goes to one of the
    addresses that were looked at: a name that leads elsewhere a moment later leads nowhere. Asks
    the system's resolver, whose time-outs are its own, before the deadline runs.
    """
    try:
        target = parse(url)
    except UrlRefused as refusal:
        raise Unreachable(str(refusal)) from None
    addresses = _resolved(target)
    try:
        with _connected(target, addresses) as connection:
            connection.request("POST", target.path, body, {**headers, "Host": target.authority})
            response = connection.getresponse()
            return Answer(response.status, _beginning(response), _retry_after(response))
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", "") or error.reason or type(error).__name__
        raise Unreachable(_("TLS failed: %(why)s.") % {"why": why}) from None
    except TimeoutError:
        raise Unreachable(
            _("No answer within %(seconds)s seconds.") % {"seconds": int(DEADLINE_SECONDS)}
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise Unreachable(_("The connection failed: %(why)s.") % {"why": why}) from None


# --- addresses --------------------------------------------------------------------------------


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host is written as; None for a name. Raises UrlRefused."""
    try:
        if host.startswith("["):
            return ipaddress.IPv6Address(host[1:-1])
        if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            # 0x7f.1, 127.1, 2130706433 and 0177.0.0.1 are none.
            return ipaddress.IPv4Address(host)
    except ValueError:
        raise UrlRefused(_("Write an IP address in its usual form, or a name.")) from None
    return None


def _check_host(host: str, literal: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> None:
    if literal is not None:
        if not is_public(str(literal)):
            raise UrlRefused(_("This address is not on the public internet."))
        return
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused(_("This is no name of a server."))
    name = ".".join(labels)
    if len(labels) < 2 or any(f".{name}".endswith(f".{each}") for each in _PRIVATE_NAMES):
        raise UrlRefused(_("This name is not on the public internet."))


def _resolved(target: Target) -> list[str]:
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unreachable(_("The name could not be resolved.")) from None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    for address in addresses:
        is_allowed = (
            ipaddress.ip_address(address).is_loopback if target.is_loopback else is_public(address)
        )
        # One is enough: a name that leads here and there is no honest one.
        if not is_allowed:
            raise Unreachable(_("The name leads to an address that is not public."))
    if not addresses:
        raise Unreachable(_("The name could not be resolved."))
    return addresses[:_ADDRESSES_MAX]


# --- the exchange -----------------------------------------------------------------------------


@contextlib.contextmanager
def _connected(target: Target, addresses: Sequence[str]) -> Iterator[http.client.HTTPConnection]:
    """A connection that is cut at the deadline: a socket's own time-out begins anew each byte."""
    ends = time.monotonic() + DEADLINE_SECONDS
    opened = _opened(addresses, target.port, ends)
    try:
        if target.scheme == "https":
            # Its name, not the address: what the certificate is of, and whom SNI asks for.
            opened = ssl.create_default_context().wrap_socket(
                opened, server_hostname=target.host, do_handshake_on_connect=False
            )
        # Given the socket that is cut: a connection that opened its own would be cut too late.
        connection = http.client.HTTPConnection(target.host, target.port)
        with _cut(opened, ends):
            if isinstance(opened, ssl.SSLSocket):
                opened.do_handshake()
            connection.sock = opened
            yield connection
    finally:
        opened.close()


@contextlib.contextmanager
def _cut(opened: socket.socket, ends: float) -> Iterator[None]:
    """Shut a socket down at an instant; what then fails is a TimeoutError."""
    late = threading.Event()

    def cut() -> None:
        late.set()
        with contextlib.suppress(OSError):
            # Beneath TLS, which would wait for the other side.
            socket.socket.shutdown(opened, socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, ends - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError):
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()


def _opened(addresses: Sequence[str], port: int, ends: float) -> socket.socket:
    """A connection to the first address that takes one. Raises OSError."""
    for index, address in enumerate(addresses):
        left = min(_CONNECT_SECONDS, ends - time.monotonic())
        try:
            # An address: nothing is resolved again.
            opened = socket.create_connection((address, port), max(0.1, left))
        except OSError:
            if index == len(addresses) - 1:
                raise
            continue
        opened.settimeout(DEADLINE_SECONDS)
        return opened
    raise AssertionError("There is an address.")


def _beginning(response: http.client.HTTPResponse) -> bytes:
    """The beginning of a body. The status stands, whatever becomes of the rest."""
    read = b""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        while len(read) < ANSWER_LENGTH_MAX:
            more = response.read1(ANSWER_LENGTH_MAX - len(read))
            if not more:
                break
            read += more
    return read


def _retry_after(response: http.client.HTTPResponse) -> float | None:
    """Seconds until an endpoint wants to hear of us again (RFC 9110, 10.2.3)."""
    text = (response.headers.get("Retry-After") or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        at = email.utils.parsedate_to_datetime(text)
        return max(0.0, at.timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
