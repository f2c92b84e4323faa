"""The least that could answer for us: ASGI and psycopg, with the same duties, and hand-written SQL.

A key that is kept by its digest, a limiter, a request's id; a POST writes the same idempotency row.
No row-level security: it reads and writes as the owner, of the tenant that the key names. Its
search reads every question as English, and counts fewer facets: those that a document names.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
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
        '.000000Z', 'Z'),
    'metadata', coalesce((SELECT data FROM marketplace_metadata noted
        WHERE noted.organization_id = marketplace_collection.organization_id
            AND subject = marketplace_collection.id AND kind = 'col' AND NOT livemode), '{}')
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
# The question stands in it as a constant, which the planner knows how often to expect.
_FOUND = """
WITH found AS MATERIALIZED (
    SELECT id, offer_id, search, facets FROM licensing_searchdocument
    WHERE search @@ websearch_to_tsquery('english', %(q)s) AND audience_id IS NULL
        AND opens_at <= now() AND (closes_at IS NULL OR closes_at > now())
    ORDER BY id DESC LIMIT 1001
), ranked AS (
    SELECT id, offer_id, ts_rank(search, websearch_to_tsquery('english', %(q)s)) AS rank, facets
    FROM found
)
SELECT (SELECT count(*) FROM found), (
        SELECT string_agg(number || ' ' || array_to_string(facets, ' '), ',')
        FROM (SELECT facets, count(*) AS number FROM found GROUP BY 1) each
    ), ARRAY(SELECT offer_id FROM ranked ORDER BY rank DESC, id DESC LIMIT %(limit)s)
"""


def _time(column: str) -> str:
    return f"""replace(to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        '.000000Z', 'Z')"""


_LISTED = f"""
SELECT terms_id, json_build_object('object', 'listing',
    'id', marketplace_typeid('off', uuid_send(offer.id)),
    'seller', json_build_object('id', marketplace_typeid('org', uuid_send(seller.id)),
        'name', seller.name, 'legal_name', legal_name, 'jurisdiction', jurisdiction,
        'registration_number', registration_number),
    'collection', json_build_object('id', marketplace_typeid('col', uuid_send(collection.id)),
        'name', collection.name, 'description', description, 'notice', notice),
    'rights', json_build_object('basis', rights_basis, 'license_name', rights_license,
        'statement', rights_statement),
    'snapshot', json_build_object('object', 'snapshot',
        'id', marketplace_typeid('snp', uuid_send(snapshot.id)),
        'collection', marketplace_typeid('col', uuid_send(snapshot.collection_id)),
        'number', snapshot.number, 'tree', 'licet/set/v1', 'type', 'snapshot', 'size', size,
        'root', encode(root, 'hex'), 'totals', totals, 'citation', encode(citation, 'hex'),
        'finalized_at', {_time("finalized_at")}),
    'is_private', audience_id IS NOT NULL,
    'price', coalesce(price, jsonb_build_object('model', 'flat', 'amount_minor', price_minor)),
    'price_minor', price_minor, 'currency', currency, 'access', access,
    'invoice_days', invoice_days, 'grants_on', grants_on, 'opens_at', {_time("opens_at")},
    'closes_at', {_time("closes_at")}, 'published_at', {_time("published_at")})::text
FROM unnest(%s::uuid[]) WITH ORDINALITY page (id, place)
JOIN licensing_offer offer ON offer.id = page.id
JOIN marketplace_organization seller ON seller.id = offer.organization_id
JOIN marketplace_collection collection ON collection.id = offer.collection_id
JOIN licensing_snapshot snapshot ON snapshot.id = offer.snapshot_id
WHERE state = 'listed' ORDER BY place
"""
# The text of each terms, which takes code to make, as we keep it.
_terms: dict[UUID, str] = {}

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
        if scope["path"] == "/v1/listings":
            return await _search(opened, parse_qs(scope["query_string"].decode()))
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


async def _search(opened: Any, asked: dict[str, list[str]]) -> Answer:
    if not _terms:
        told = json.loads(Path(os.environ["BARE_TERMS"]).read_text())
        _terms.update({UUID(id): text for id, text in told.items()})
    values = {"q": asked["q"][0], "limit": 50}
    found = await (await opened.execute(_FOUND, values, prepare=False)).fetchone()
    total, said, page = found
    rows = await (await opened.execute(_LISTED, [page])).fetchall()
    data = ",".join(f'{text[:-1]},"terms":{_terms[terms]}}}' for terms, text in rows)
    counted: Counter[str] = Counter()
    for kind in said.split(",") if said else []:
        number, *each = kind.split()
        for facet in each:
            counted[facet] += int(number)
    facets: dict[str, list[dict[str, Any]]] = {}
    for facet, number in counted.most_common():
        name, _colon, value = facet.partition(":")
        facets.setdefault(name, []).append({"value": value, "count": number})
    rest = {"has_more": total > 50, "total": str(total), "facets": facets}
    return 200, f'{{"data":[{data}],{json.dumps(rest)[1:]}'


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
