"""Secrets that the database keeps sealed: by a key made of LICET_SECRET_KEY for each purpose."""

from __future__ import annotations

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class SealBroken(Exception):
    """Something was sealed with a key that is in neither of the settings for keys."""


def seal(purpose: str, secret: bytes) -> bytes:
    """Encrypt a secret with today's key of a purpose."""
    return _seals(purpose)[0].encrypt(secret)


def unseal(purpose: str, sealed: bytes) -> bytes:
    """Decrypt what `seal` made, with today's key or one from before. Raises SealBroken."""
    try:
        return MultiFernet(_seals(purpose)).decrypt(sealed)
    except InvalidToken:
        raise SealBroken from None


def is_todays(purpose: str, sealed: bytes) -> bool:
    """Whether it was sealed with today's key, so that no key from before is needed."""
    try:
        _seals(purpose)[0].decrypt(sealed)
    except InvalidToken:
        return False
    return True


def _seals(purpose: str) -> list[Fernet]:
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return [_fernet(purpose, key) for key in keys]


@lru_cache(maxsize=16)
def _fernet(purpose: str, secret: str) -> Fernet:
    # A key of its own: what else the secret signs tells nothing about it.
    derived = HKDF(SHA256(), length=32, salt=None, info=purpose.encode())
    return Fernet(base64.urlsafe_b64encode(derived.derive(secret.encode())))
