"""Remote buckets: bytes that stay with their seller, delivered by links signed with its keys.

Nothing here asks the seller's server anything: links are signed, and the licensee follows them.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit, idempotency
from marketplace.access import Caller, acting
from marketplace.errors import InternalError, InvalidInput
from marketplace.models import RemoteBucket

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def connect(
    caller: Caller,
    *,
    endpoint: str,
    name: str,
    key: str,
    access_key_id: str,
    secret_access_key: str,
    region: str = "",
) -> RemoteBucket:
    """Deliver the organization's remote works from this bucket, instead of any before.

    Raises InvalidInput.
    """
    _check(endpoint=endpoint, name=name, key=key)
    with acting(caller):
        with connection.cursor() as cursor:
            # Two that connect together would otherwise both be in use.
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('bucket of ' || %s, 0))",
                [str(caller.organization.pk)],
            )
        RemoteBucket.objects.visible_to(caller).filter(disconnected_at__isnull=True).update(
            disconnected_at=timezone.now()
        )
        made = RemoteBucket(
            organization=caller.organization,
            endpoint=endpoint,
            region=region,
            name=name,
            key=key,
            access_key_id=access_key_id,
            secret_access_key=_cipher().encrypt(secret_access_key.encode()),
        )
        made.save(force_insert=True)
        audit.record(caller, "remote_bucket.connected", subject=made, endpoint=endpoint, name=name)
        idempotency.names(caller, made)
    return made


def disconnect(caller: Caller, id: Any) -> RemoteBucket:
    """Deliver nothing more from a bucket, at once. May be repeated. Raises NotFound."""
    with acting(caller):
        bucket = RemoteBucket.objects.get_visible(caller, id, lock=True)
        if bucket.disconnected_at is None:
            bucket.disconnected_at = timezone.now()
            bucket.save(update_fields=["disconnected_at"])
            audit.record(caller, "remote_bucket.disconnected", subject=bucket)
        idempotency.names(caller, bucket)
    return bucket


def in_use(organization: UUID) -> RemoteBucket | None:
    """The bucket that an organization's remote works are delivered from, in any transaction."""
    return RemoteBucket.objects.filter(
        organization=organization, disconnected_at__isnull=True
    ).first()


def signed_url(bucket: RemoteBucket, *, digest: bytes, external_id: str, seconds: int) -> str:
    """An address at the seller's own server where a work's bytes are, for a while."""
    # Only here: boto3 takes a second to load, in every process and command.
    from marketplace.buckets import Bucket

    try:
        secret = _cipher().decrypt(bytes(bucket.secret_access_key)).decode()
    except InvalidToken:
        raise InternalError(
            _("The seller's bucket cannot be opened: SECRET_KEY was changed. Connect it again.")
        ) from None
    # The digest first: an external id may hold anything, also what looks like a place for one.
    key = bucket.key.replace("{digest}", digest.hex()).replace("{external_id}", external_id)
    opened = Bucket(
        name=bucket.name,
        endpoint=bucket.endpoint,
        region=bucket.region or "us-east-1",
        access_key=bucket.access_key_id,
        secret_key=secret,
    )
    return opened.signed_url(key, seconds)


def _check(*, endpoint: str, name: str, key: str) -> None:
    try:
        parts = urlsplit(endpoint)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise InvalidInput(_("This is no address."), param="endpoint") from None
    is_secure = parts.scheme == "https" or (
        parts.scheme == "http" and settings.DEVELOPMENT and host in _LOOPBACK
    )
    if not is_secure or not host or endpoint != f"{parts.scheme}://{parts.netloc}":
        raise InvalidInput(
            _("Give an address as https://s3.example.org, without a path."), param="endpoint"
        )
    if parts.username is not None or parts.password is not None:
        raise InvalidInput(_("Keys have fields of their own."), param="endpoint")
    if not _NAME.fullmatch(name):
        raise InvalidInput(_("This is no name of a bucket."), param="name")
    if "{external_id}" not in key and "{digest}" not in key:
        raise InvalidInput(
            _("Say with {external_id} or {digest} which key each work has."), param="key"
        )
    if key.startswith("/"):
        raise InvalidInput(_("A key begins without a slash."), param="key")


def _cipher() -> Fernet:
    made = hashlib.sha256(b"marketplace.remote_buckets:" + settings.SECRET_KEY.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(made))
