"""The least that could answer for us: ASGI and psycopg, with the same duties, and hand-written SQL.

A key that is kept by its digest, a limiter, a request's id; a POST writes the same idempotency row.
No row-level security: it reads and writes as the owner, of the tenant that the key names.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID, uuid4

from psycopg_pool import AsyncConnectionPool

Answer = tuple[int, str]

_SHOWN = """
json_build_object('object', 'collection', 'id', marketplace_typeid('col', uuid_send(id)),
    'organization', marketplace_typeid('org', uuid_send(organization_id)), 'name', name,
    'description', description, 'notice', notice, 'external_id', external_id,
    'source_url', source_url, 'languages', languages, 'created_at',
    replace(to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        '.000000Z', 'Z')
)::text
"""
_KEY = "SELECT organization_id FROM marketplace_apikey WHERE digest = %s AND revoked_at IS NULL"
_LIST = f"""
SELECT {_SHOWN} FROM marketplace_collection
WHERE organization_id = %s ORDER BY id DESC LIMIT %s
"""
_ROW = f"SELECT {_SHOWN} FROM marketplace_collection WHERE organization_id = %s AND id = %s"
_MAKE = f"""
INSERT INTO marketplace_collection (id, organization_id, name, description, notice, languages,
    next_snapshot, created_at)
VALUES (%s, %s, %s, '', '', '{{}}', 1, now()) RETURNING {_SHOWN}
"""
_ONCE = """
INSERT INTO marketplace_idempotencykey (organization_id, livemode, key, fingerprint, effect,
    response_status, response_body, response_location, locked_until, created_at)
VALUES (%s, false, %s, %s, %s, 201, %s::jsonb, '', now(), now())
"""

_OPTIONS = "-c role=licet_owner -c licet.system=bench -c timezone=UTC -c jit=off"
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_pool: AsyncConnectionPool | None = None
_keys: dict[bytes, tuple[float, UUID]] = {}
_spent: dict[UUID, float] = {}


async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
    if scope["type"] != "http":
        return
    headers = dict(scope["headers"])
    try:
        status, text = await _answer(scope, headers, receive)
    except LookupError as error:
        status, text = 404, json.dumps({"code": str(error)})
    body = text.encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"request-id", f"req_{uuid4().hex}".encode()),
                (b"ratelimit", b'"key";r=1;t=1'),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def _answer(scope: Any, headers: dict[bytes, bytes], receive: Any) -> Answer:
    pool = await _opened()
    async with pool.connection() as opened:
        tenant = await _tenant(opened, headers[b"authorization"][7:])
        _limit(tenant)
        if scope["method"] == "POST":
            return await _make(opened, tenant, headers, (await receive())["body"])
        id = scope["path"].removeprefix("/v1/collections").strip("/")
        if id:
            found = await (await opened.execute(_ROW, [tenant, _uuid(id)])).fetchone()
            if found is None:
                raise LookupError("not_found")
            return 200, found[0]
        asked = parse_qs(scope["query_string"].decode())
        limit = int(asked.get("limit", ["50"])[0])
        rows = await (await opened.execute(_LIST, [tenant, limit + 1])).fetchall()
        more = "true" if len(rows) > limit else "false"
        return 200, f'{{"data":[{",".join(each for (each,) in rows[:limit])}],"has_more":{more}}}'


async def _make(opened: Any, tenant: UUID, headers: dict[bytes, bytes], body: bytes) -> Answer:
    said = json.loads(body)
    id = uuid4()
    async with opened.transaction():
        made = await (await opened.execute(_MAKE, [id, tenant, said["name"]])).fetchone()
        print_ = hashlib.sha256(body).digest()
        key = headers[b"idempotency-key"].decode()
        await opened.execute(_ONCE, [tenant, key, print_, str(id), made[0]])
    return 201, made[0]


async def _opened() -> AsyncConnectionPool:
    global _pool
    if _pool is None:
        _pool = AsyncConnectionPool(
            os.environ["DATABASE_URL"],
            kwargs={
                "autocommit": True,
                "options": _OPTIONS,
            },
            max_size=4,
            open=False,
        )
        await _pool.open()
    return _pool


async def _tenant(opened: Any, secret: bytes) -> UUID:
    digest = hashlib.sha256(secret).digest()
    until, tenant = _keys.get(digest, (0.0, None))
    if tenant is None or until <= time.monotonic():
        found = await (await opened.execute(_KEY, [digest])).fetchone()
        if found is None:
            raise LookupError("unauthenticated")
        tenant = found[0]
        _keys[digest] = (time.monotonic() + 1.0, tenant)
    return tenant


def _limit(tenant: UUID) -> None:
    """GCRA: 100,000 a second."""
    now = time.monotonic()
    until = max(_spent.get(tenant, now), now) + 1e-5
    if until - now > 1.0:
        raise LookupError("too_many_requests")
    _spent[tenant] = until


def _uuid(typeid: str) -> UUID:
    number = 0
    for each in typeid.rpartition("_")[2]:
        number = number * 32 + _ALPHABET.index(each)
    return UUID(int=number)
