"""What people sign in with, in tests: an authenticator app, and a passkey with a key of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import re
import struct
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from django.test import Client
from fido2 import cbor

ORIGIN = "http://localhost"
_PRESENT, _VERIFIED, _ATTESTED = 0x01, 0x04, 0x40


def totp_code(secret: str, steps: int = 0) -> str:
    """The code of RFC 6238 for a key, now or some steps of 30 seconds later."""
    counter = struct.pack(">Q", int(time.time()) // 30 + steps)
    digest = hmac.new(base64.b32decode(secret), counter, hashlib.sha1).digest()
    at = digest[-1] & 15
    return f"{(int.from_bytes(digest[at : at + 4]) & 0x7FFFFFFF) % 1_000_000:06}"


def totp_secret(page: str) -> str:
    """The key that the set-up page shows."""
    [secret] = re.findall(r'<code class="key">([A-Z2-7]+)</code>', page)
    return str(secret)


def add_app(client: Client) -> str:
    """Set up an authenticator app; its key."""
    page = client.get("/account/app/")
    assert page.status_code == 200, page.get("Location")
    secret = totp_secret(page.content.decode())
    answer = client.post("/account/app/", {"code": totp_code(secret)})
    assert (answer.status_code, answer["Location"]) == (302, "/account/codes/")
    return secret


def options(page: str) -> Any:
    """What a page hands to its script for the browser's passkeys."""
    [text] = re.findall(
        r'<script id="passkey-options" type="application/json">(.*?)</script>', page
    )
    return json.loads(html.unescape(text))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Passkey:
    """An authenticator in software: real CBOR, and real ES256 signatures (WebAuthn level 2)."""

    def __init__(self, origin: str = ORIGIN) -> None:
        self.origin = origin
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = hashlib.sha256(self.key.private_numbers().private_value.to_bytes(32)).digest()
        self.handle = ""
        self.count = 0

    def create(self, asked: Any, *, verified: bool = True) -> str:
        """What the browser answers to `navigator.credentials.create`."""
        wanted = asked["creation_options"]["publicKey"]
        self.handle = wanted["user"]["id"]
        point = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32), -3: point.y.to_bytes(32)}
        attested = bytes(16) + struct.pack(">H", len(self.id)) + self.id + cbor.encode(cose)
        data = self._data(wanted["rp"]["id"], verified, _ATTESTED) + attested
        said = self._said("webauthn.create", wanted["challenge"])
        packed = cbor.encode({"fmt": "none", "attStmt": {}, "authData": data})
        response = {"clientDataJSON": _text(said), "attestationObject": _text(packed)}
        return self._credential(response, {"credProps": {"rk": verified}})

    def use(self, asked: Any, *, verified: bool = True) -> str:
        """What the browser answers to `navigator.credentials.get`."""
        wanted = asked["request_options"]["publicKey"]
        data = self._data(wanted["rpId"], verified)
        said = self._said("webauthn.get", wanted["challenge"])
        signed = self.key.sign(data + hashlib.sha256(said).digest(), ec.ECDSA(SHA256()))
        response = {
            "clientDataJSON": _text(said),
            "authenticatorData": _text(data),
            "signature": _text(signed),
            "userHandle": self.handle,
        }
        return self._credential(response, {})

    def _data(self, rp_id: str, verified: bool, flags: int = 0) -> bytes:
        self.count += 1
        flags |= _PRESENT | (_VERIFIED if verified else 0)
        return hashlib.sha256(rp_id.encode()).digest() + struct.pack(">BI", flags, self.count)

    def _said(self, act: str, challenge: str) -> bytes:
        return json.dumps({"type": act, "challenge": challenge, "origin": self.origin}).encode()

    def _credential(self, response: dict[str, str], results: dict[str, Any]) -> str:
        return json.dumps(
            {
                "id": _text(self.id),
                "rawId": _text(self.id),
                "type": "public-key",
                "response": response,
                "clientExtensionResults": results,
            }
        )
