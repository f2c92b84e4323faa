"""How long an opt-out takes that 1,000 grants are told of, and whether everything refuses after."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.db import transaction

from licensing import delivery, links, optouts
from licensing.ledger import log
from licensing.models import Notice, Offer, OptOut
from marketplace import access, api_keys
from marketplace.access import Scope
from marketplace.errors import DomainError
from marketplace.models import Organization, Representation
from payments import orders, quotes
from tests import make
from tests.benchmarks.measure import Figure, median, progress
from tests.people import ApiClient, caller_for, found

WORKS = 10_000
GRANTS = 1_000
LICENSEES = 100
ROUNDS = 5
GOAL_SECONDS = 5.0

_SCOPE: dict[str, Any] = {"uses": ["pretrain"], "territories": ["EU"]}


def run(quick: bool) -> Iterator[Figure]:
    grants, works = (GRANTS // 10, WORKS // 10) if quick else (GRANTS, WORKS)
    market = _Market(grants=grants, works=works)
    ours, least, refusals = [], [], []
    for number in range(ROUNDS):
        # The last one takes out all that is left: then there is nothing to quote either.
        part = market.digests[number::ROUNDS]
        before = market.before(part[0])
        least.append(_entries_alone(market, grants))
        started = time.perf_counter()
        opt_out = market.take_out(part)
        committed = time.perf_counter()
        ours.append(committed - started)
        before.refused(is_all=number == ROUNDS - 1)
        refusals.append(time.perf_counter() - committed)
        assert market.told(opt_out) == grants
        progress(
            f"opt-out {number + 1}/{ROUNDS}: {ours[-1]:.2f} s, its entries alone {least[-1]:.2f} s,"
            f" refused everywhere {refusals[-1] * 1000:.0f} ms later"
        )
    value, limit = median(ours), median(least)
    yield Figure(
        figure=f"opt-out of {len(market.digests) // ROUNDS:,} works, {grants:,} grants notified",
        value=value,
        unit="s",
        limit=limit,
        ratio=median(alone / whole for whole, alone in zip(ours, least, strict=True)),
        goal=f"value <= {GOAL_SECONDS:g} s",
        holds=max(ours) <= GOAL_SECONDS,
    )
    yield Figure(
        figure="refused in order, delivery and decision after its commit (and in a quote)",
        value=median(refusals) * 1000,
        unit="ms",
        limit=value * 1000,
        ratio=value / median(refusals),
    )


class _Market:
    """One collection, all of which many grants of many licensees cover."""

    def __init__(self, *, grants: int, works: int) -> None:
        self.archive = found("Archive", "platform")
        collection = make.make_collection(self.archive, works=works)
        self.offer: Offer = make.make_offer(self.archive, price_minor=0, collection=collection)
        licensees = [
            found(f"Lab {number}", "lab") for number in range(min(LICENSEES, grants // 10))
        ]
        self.grants = []
        for number in range(grants):
            licensee = licensees[number % len(licensees)]
            self.grants.append(make.issue_grant(licensee, self.offer))
            if number % 200 == 199:
                progress(f"opt-out: {number + 1:,} grants")
        self.lab = licensees[0]
        with access.system("look up works in a test"):
            rows = Representation.objects.filter(organization=self.archive).order_by("digest")
            self.digests = [bytes(digest) for digest in rows.values_list("digest", flat=True)]

    def take_out(self, digests: Sequence[bytes]) -> OptOut:
        return optouts.record(
            caller_for(self.archive), by="owner", reason="Measured.", digests=digests
        )

    def told(self, opt_out: OptOut) -> int:
        with access.system("count in a test"):
            return Notice.objects.filter(opt_out=opt_out).count()

    def before(self, digest: bytes) -> _Before:
        return _Before(self, digest)


class _Before:
    """A quote, a link and a question from before the opt-out, each of which was answered then."""

    def __init__(self, market: _Market, digest: bytes) -> None:
        self._market, self._digest = market, digest
        self._lab = caller_for(market.lab)
        self._quote = quotes.make(self._lab, offer=str(market.offer.pk), **_SCOPE)
        soon = int(links.expiry().timestamp())
        grant = market.grants[0]
        self._link = links.Link(str(grant.pk), grant.livemode, digest.hex(), soon)
        self._client = _client(market.lab)
        # These bytes stay with the seller: of nothing else does delivery complain.
        assert self._deliver() == "not_found"
        assert self._decide() == "permit"

    def refused(self, *, is_all: bool) -> None:
        assert self._deliver() == "work_opted_out"
        assert self._decide() == "deny"
        assert self._order() == "opted_out"
        if is_all:
            assert self._requote() == "opted_out"

    def _deliver(self) -> str:
        [signature] = parse_qs(urlsplit(self._link.url()).query)["signature"]
        return _code(lambda: delivery.open_work(self._link, signature))

    def _decide(self) -> str:
        asked = {"question": {"use": "pretrain", "territory": "DE"}, "works": [self._digest.hex()]}
        answer = self._client.post("/v1/decisions", asked)
        assert answer.status_code == 200, answer.content
        return str(answer.json()["data"][0]["decision"])

    def _order(self) -> str:
        accept: orders.Accept = {
            "document_sha256": bytes(self._quote.document_sha256).hex(),
            "name": "Lin",
            "title": "Counsel",
            "authority": True,
        }
        return _code(lambda: orders.place(self._lab, quote=str(self._quote.pk), accept=accept))

    def _requote(self) -> str:
        return _code(lambda: quotes.make(self._lab, offer=str(self._market.offer.pk), **_SCOPE))


def _code(act: Callable[[], Any]) -> str:
    try:
        act()
    except DomainError as refusal:
        return refusal.code
    return "done"


def _client(lab: Organization) -> ApiClient:
    _key, secret = api_keys.create(
        caller_for(lab), name="measured", scopes=[Scope.DECISIONS_READ.value]
    )
    return ApiClient(secret)


def _entries_alone(market: _Market, grants: int) -> float:
    """Seconds for as many ledger entries of the same size, in a transaction that is undone."""
    fields = ("licensor", "licensee", "grant", "opt_out", "by", "notice", "works")
    party = {"legal_name": "Archive Ltd", "jurisdiction": "IE", "id": str(market.archive.pk)}
    facts = [
        log.Fact(
            log="test",
            kind="optout.notified",
            subject_ref=os.urandom(16),
            seq=0,
            prev=None,
            values=dict.fromkeys(fields, party),
            parties=[market.archive.pk, grant.licensee_id],
            at=grant.issued_at,
        )
        for grant in market.grants[:grants]
    ]
    with access.system("measure in a test"), transaction.atomic():
        started = time.perf_counter()
        log.append_many(facts)
        seconds = time.perf_counter() - started
        transaction.set_rollback(True)
    return seconds
