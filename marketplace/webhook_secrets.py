"""What webhooks are signed with, by https://www.standardwebhooks.com: made, sealed, shown, used."""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from marketplace import seals

PURPOSE = "licet webhook secrets"
# Of the secret of HMAC-SHA256, and of the seed of the Ed25519 key: random bytes.
_LENGTH = 32


def new() -> bytes:
    """A fresh secret, sealed: what signs by HMAC, and by Ed25519."""
    return seals.seal(PURPOSE, os.urandom(2 * _LENGTH))


def opened(sealed: bytes | memoryview) -> bytes:
    """What was sealed. Raises SealBroken: LICET_SECRET_KEY was changed, and the old one dropped."""
    return seals.unseal(PURPOSE, bytes(sealed))


def resealed(sealed: bytes | memoryview) -> bytes | None:
    """The same secret, sealed with today's key; None where it is. Raises SealBroken."""
    if seals.is_todays(PURPOSE, bytes(sealed)):
        return None
    return seals.seal(PURPOSE, opened(sealed))


def shown(secret: bytes) -> str:
    """The half that both sides know, `whsec_…`: shown once."""
    return "whsec_" + base64.b64encode(secret[:_LENGTH]).decode()


def public_key(secret: bytes) -> str:
    """What verifies the Ed25519 signatures, `whpk_…`: no secret."""
    return "whpk_" + base64.b64encode(_key(secret).public_key().public_bytes_raw()).decode()


def signatures(secrets: Sequence[bytes], *, id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: of each secret an HMAC (`v1`) and an Ed25519 (`v1a`) one.

    Over id, Unix seconds and the very bytes of the body, with points between.
    """
    signed = f"{id}.{timestamp}.".encode() + body
    written = []
    for secret in secrets:
        digest = hmac.digest(secret[:_LENGTH], signed, "sha256")
        for version, signature in (("v1", digest), ("v1a", _key(secret).sign(signed))):
            written.append(f"{version},{base64.b64encode(signature).decode()}")
    return " ".join(written)


def _key(secret: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(secret[_LENGTH:])
