"""Requests to other people's servers: never to an address that is not public."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from marketplace import webhook_http
from tests.webhooks import Receiver, receiver

__all__ = ["receiver"]

# Nothing is sent to any of these, with the port of a server that listens on this machine.
NEVER = [
    # This machine, however it is written.
    "http://127.0.0.1:{port}/", "https://127.0.0.1:{port}/", "https://localhost:{port}/",
    "https://LOCALHOST:{port}/", "https://localhost.:{port}/", "https://a.localhost:{port}/",
    "https://127.1:{port}/", "https://127.0.1:{port}/", "https://2130706433:{port}/",
    "https://0x7f.1:{port}/", "https://0x7f000001:{port}/", "https://0x7f.0x0.0x0.0x1:{port}/",
    "https://0177.0.0.1:{port}/", "https://017700000001:{port}/", "https://127.0.0.1.:{port}/",
    "https://0:{port}/", "https://0.0.0.0:{port}/", "https://127.255.255.254:{port}/",
    "https://[::1]:{port}/", "https://[::]:{port}/", "https://[0:0:0:0:0:0:0:1]:{port}/",
    # IPv4 inside IPv6: mapped, compatible, NAT64 (both prefixes), 6to4, Teredo.
    "https://[::ffff:127.0.0.1]:{port}/", "https://[::ffff:7f00:1]:{port}/",
    "https://[::127.0.0.1]:{port}/", "https://[64:ff9b::127.0.0.1]:{port}/",
    "https://[64:ff9b::7f00:1]:{port}/", "https://[64:ff9b:1::7f00:1]:{port}/",
    "https://[2002:7f00:1::]:{port}/", "https://[2001:0:7f00:1::]:{port}/",
    # Other networks that are nobody's, or one's own.
    "https://10.0.0.1:{port}/", "https://10.255.255.255:{port}/", "https://172.16.0.1:{port}/",
    "https://172.31.255.255:{port}/", "https://192.168.1.1:{port}/", "https://100.64.0.1:{port}/",
    "https://169.254.169.254/latest/meta-data/", "https://169.254.170.2/", "https://192.0.0.8/",
    "https://192.0.0.192/", "https://192.0.2.1/", "https://198.18.0.1/", "https://198.51.100.1/",
    "https://203.0.113.1/", "https://192.88.99.1/", "https://224.0.0.1/", "https://239.1.1.1/",
    "https://240.0.0.1/", "https://255.255.255.255/", "https://[fe80::1]/", "https://[fc00::1]/",
    "https://[fd00:ec2::254]/", "https://[ff02::1]/", "https://[2001:db8::1]/",
    "https://[3fff::1]/", "https://[100::1]/", "https://[fec0::1]/", "https://[5f00::1]/",
    # Names of networks of one's own.
    "https://metadata/", "https://metadata.google.internal/", "https://printer.local/",
    "https://router.home.arpa/", "https://intranet:{port}/",
    # What is no such address, or is read in two ways.
    "", "https://", "example.org", "//example.org/", "ftp://example.org/", "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/", "http://example.org/", "HTTPS://example.org/",
    "https://user:pass@example.org/", "https://example.org@127.0.0.1:{port}/",
    "https://127.0.0.1:{port}\\@example.org/", "https://example.org\\@127.0.0.1/",
    "https://example.org#@127.0.0.1/", "https://example.org /", " https://example.org/",
    "https://example.org/\r\nHost: 127.0.0.1", "https://example.org/\x00", "https://ex%61mple.org/",
    "https://例え.jp/", "https://１２７.0.0.1/", "https://[::1%25lo]/", "https://[fe80::1%lo]/",
    "https://[::1", "https://example..org/", "https://-a.example.org/", "https://.example.org/",
    "https://example.org:0/", "https://example.org:99999/", "https://example.org:port/",
    # Ports of other protocols.
    "https://example.org:25/", "https://example.org:22/", "https://example.org:80/",
    "https://example.org:" + "/" * 500,
]  # fmt: skip
ALLOWED = {
    "https://example.org": ("example.org", 443, "/", "example.org"),
    "https://hooks.example.org/licet": ("hooks.example.org", 443, "/licet", "hooks.example.org"),
    "https://Example.org:8443/a?b=c": ("example.org", 8443, "/a?b=c", "example.org:8443"),
    "https://xn--r8jz45g.jp/": ("xn--r8jz45g.jp", 443, "/", "xn--r8jz45g.jp"),
    "https://93.184.216.34/": ("93.184.216.34", 443, "/", "93.184.216.34"),
    "https://[2606:4700::1111]/": ("2606:4700::1111", 443, "/", "[2606:4700::1111]"),
}
# What a name may lead to, and may not.
NOT_PUBLIC = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fd00::1"]


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len(set(NEVER)) == len(NEVER) >= 60


@pytest.fixture(scope="module")
def listener() -> Iterator[Receiver]:
    """The same, for all that must not reach it."""
    made = Receiver()
    yield made
    made.close()


@pytest.mark.parametrize("url", NEVER)
def test_nothing_is_sent_to_what_is_not_public(url: str, listener: Receiver) -> None:
    address = url.replace("{port}", str(listener.port))
    with pytest.raises(webhook_http.UrlRefused):
        webhook_http.parse(address)
    with pytest.raises(webhook_http.Unreachable):
        webhook_http.post(address, {}, b"{}")
    assert listener.connections == 0


@pytest.mark.parametrize("url", ALLOWED)
def test_a_public_address_is_taken_apart_once(url: str) -> None:
    target = webhook_http.parse(url)
    assert (target.host, target.port, target.path, target.authority) == ALLOWED[url]
    assert (target.scheme, target.is_loopback) == ("https", False)


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Have every name lead to these. The names that were asked for."""
    asked: list[str] = []

    def resolve(host: str, port: int, **_options: Any) -> list[Any]:
        asked.append(host)
        return [(None, None, None, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_name_that_leads_to_what_is_not_public_is_not_followed(
    address: str, listener: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "93.184.216.34", address)
    with pytest.raises(webhook_http.Unreachable, match="not public"):
        webhook_http.post(f"https://rebind.example.org:{listener.port}/", {}, b"{}")
    assert listener.connections == 0


def test_loopback_is_open_to_development_alone_that_asks_for_it(
    receiver: Receiver, settings: Any
) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    assert webhook_http.post(receiver.url, {}, b"{}").status == 200
    for url in ("http://10.0.0.1/", "https://10.0.0.1/", "http://example.org/"):
        with pytest.raises(webhook_http.UrlRefused):
            webhook_http.parse(url)
    settings.WEBHOOKS_TO_LOOPBACK = False
    with pytest.raises(webhook_http.Unreachable):
        webhook_http.post(receiver.url, {}, b"{}")
    assert len(receiver.requests) == 1


def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    receiver.answers = [(302, {"Location": receiver.url + "elsewhere"}, b"")]
    assert webhook_http.post(receiver.url, {}, b"{}").status == 302
    assert [each.path for each in receiver.requests] == ["/"]


def test_only_the_beginning_of_an_answer_is_read(receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    receiver.answers = [(200, {}, b"x" * 1_000_000)]
    assert webhook_http.post(receiver.url, {}, b"{}").body == b"x" * 1024


def test_an_answer_that_never_ends_is_cut(
    receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    monkeypatch.setattr(webhook_http, "DEADLINE_SECONDS", 0.2)
    receiver.is_silent = True
    with pytest.raises(webhook_http.Unreachable, match="No answer within"):
        webhook_http.post(receiver.url, {}, b"{}")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120.0), ("soon", None), ("", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)
def test_an_endpoint_says_how_long_to_keep_away(
    text: str, seconds: float | None, receiver: Receiver, settings: Any
) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    receiver.answers = [(503, {"Retry-After": text}, b"")]
    assert webhook_http.post(receiver.url, {}, b"{}").retry_after_seconds == seconds


# --- TLS --------------------------------------------------------------------------------------


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """A key and a certificate that signs itself, of one name."""
    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    key_file, file = directory / "key.pem", directory / "certificate.pem"
    form = serialization.PrivateFormat.PKCS8
    pem = serialization.Encoding.PEM
    key_file.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    file.write_bytes(made.public_bytes(pem))
    return key_file, file


@contextmanager
def tls_server(key: Path, file: Path) -> Iterator[tuple[int, list[Any]]]:
    """A server that takes one connection: its port, and the names and requests that it saw."""
    seen: list[Any] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    context.sni_callback = lambda _socket, name, _context: seen.append(name)

    def serve(listening: socket.socket) -> None:
        try:
            with listening.accept()[0] as raw, context.wrap_socket(raw, server_side=True) as opened:
                came = opened.recv(65_536)
                while not came.endswith(b"{}"):
                    came += opened.recv(65_536)
                seen.append(came)
                opened.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        except OSError:
            seen.append("refused")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield listening.getsockname()[1], seen
        thread.join(10)


@pytest.mark.parametrize("name", ["hooks.example.org", "other.example.org"])
def test_the_address_that_was_looked_at_is_connected_to_under_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate must be of the name; a certificate of another one ends the exchange."""
    key, file = certificate(tmp_path, name)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    asked = resolving(monkeypatch, "93.184.216.34")
    connected: list[Any] = []
    connect = socket.socket.connect

    with tls_server(key, file) as (port, seen):

        def to_the_test(address: Any, _timeout: float) -> socket.socket:
            connected.append(address)
            opened = socket.socket()
            connect(opened, ("127.0.0.1", port))
            return opened

        monkeypatch.setattr(socket, "create_connection", to_the_test)
        if name == "hooks.example.org":
            assert webhook_http.post("https://hooks.example.org/a", {"x": "y"}, b"{}").status == 204
        else:
            with pytest.raises(webhook_http.Unreachable, match="TLS failed"):
                webhook_http.post("https://hooks.example.org/a", {"x": "y"}, b"{}")
    assert asked == ["hooks.example.org"]
    assert connected == [("93.184.216.34", 443)]
    assert seen[0] == "hooks.example.org"
    if name == "hooks.example.org":
        assert seen[1].startswith(b"POST /a HTTP/1.1\r\n")
        assert b"\r\nHost: hooks.example.org\r\n" in seen[1]
    else:
        assert seen[1] == "refused"
