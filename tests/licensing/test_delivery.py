"""Signed links: who gets one, what it opens, and everything that closes it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from licensing import delivery, snapshots
from licensing.models import Coverage, Grant
from licensing.offline import manifest as manifests
from marketplace import access, storage
from marketplace.errors import GrantNotInForce, NotFound
from marketplace.models import CollectionItem, Organization
from payments import processes
from payments.processes import free_ports
from tests.database import TestDatabase
from tests.licensing.rows import HOUR, WORKS, make_grant_row, make_item_row
from tests.people import ApiClient, caller_for

BASE = "http://127.0.0.1:8001"
FIRST = WORKS[0]
OTHER_DIGEST = hashlib.sha256(b"never licensed").hexdigest()

# Of the delivery process alone; tests of the API say so.
delivers = pytest.mark.urls("licensing.delivery_urls")


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, settings: Any) -> None:
    settings.STORAGE_DIR = tmp_path / "store"
    settings.DELIVERY_URL = BASE


def expires(seconds: int = 60) -> int:
    return int(timezone.now().timestamp()) + seconds


def link_to(grant: Grant, subject: str, seconds: int = 60) -> str:
    link = delivery.Link(str(grant.pk), grant.livemode, subject, expires(seconds))
    return link.url().removeprefix(BASE)


def work_link(grant: Grant, content: bytes = FIRST, seconds: int = 60) -> str:
    return link_to(grant, hashlib.sha256(content).hexdigest(), seconds)


def fetch(url: str, method: str = "GET", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Client(raise_request_exception=False).generic(
        method, url.removeprefix(BASE), headers=named
    )


def content_of(answer: Any) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else answer.content


def refusal(answer: Any) -> tuple[int, str]:
    assert answer["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def change(grant: Grant, **fields: Any) -> None:
    with access.system("a test changes a grant"):
        Grant.objects.filter(pk=grant.pk).update(**fields)


# --- the link to a manifest -------------------------------------------------------------------


@pytest.mark.django_db
def test_the_licensee_gets_a_link_that_expires(
    client_for: Callable[..., ApiClient], archive: Organization, lab: Organization, settings: Any
) -> None:
    settings.DELIVERY_LINK_SECONDS = 120
    grant = make_grant_row(archive, lab)

    answer = client_for(lab).get(f"/v1/grants/{grant.pk}/manifest")

    assert answer.status_code == 200
    assert answer["Cache-Control"] == "private, no-store"
    body = answer.json()
    assert sorted(body) == ["expires_at", "object", "url"]
    assert body["object"] == "delivery_manifest"
    assert body["url"].startswith(f"{BASE}/grants/{grant.pk}/manifest?mode=test&expires=")
    left = timezone.datetime.fromisoformat(body["expires_at"]) - timezone.now()  # type: ignore[attr-defined]
    assert timedelta(seconds=110) < left <= timedelta(seconds=120)


@pytest.mark.django_db
def test_only_the_licensee_gets_a_link(
    client_for: Callable[..., ApiClient],
    archive: Organization,
    lab: Organization,
    stranger: Organization,
) -> None:
    url = f"/v1/grants/{make_grant_row(archive, lab).pk}/manifest"

    refusals = {
        "licensor": refusal(client_for(archive).get(url)),
        "stranger": refusal(client_for(stranger).get(url)),
        "nobody": refusal(client_for(None).get(url)),
        "wrong scope": refusal(client_for(lab, scopes=["grants:read"]).get(url)),
        "other mode": refusal(client_for(lab, livemode=True).get(url)),
    }

    assert refusals == {
        "licensor": (404, "not_found"),
        "stranger": (404, "not_found"),
        "nobody": (401, "unauthenticated"),
        "wrong scope": (403, "missing_scope"),
        "other mode": (404, "not_found"),
    }


@pytest.mark.django_db
def test_a_grant_out_of_force_gives_no_link(
    client_for: Callable[..., ApiClient], archive: Organization, lab: Organization
) -> None:
    now = timezone.now()
    grants = {
        "suspended": make_grant_row(archive, lab),
        "over": make_grant_row(archive, lab, works=[b"2"], access_until=now),
        "to come": make_grant_row(archive, lab, works=[b"3"], access_from=now + HOUR / 2),
        "uncovered": make_grant_row(archive, lab, works=[b"4"], covered_from=now + HOUR / 2),
    }
    change(grants["suspended"], status="suspended")

    refusals = {
        name: refusal(client_for(lab).get(f"/v1/grants/{grant.pk}/manifest"))
        for name, grant in grants.items()
    }

    assert refusals == dict.fromkeys(grants, (409, "grant_not_in_force"))


# --- manifests --------------------------------------------------------------------------------


@delivers
@pytest.mark.django_db
def test_a_manifest_lists_every_work_with_its_link(
    archive: Organization, lab: Organization
) -> None:
    grant = make_grant_row(archive, lab)
    url, _expires_at = delivery.offer_manifest(caller_for(lab), grant.pk)

    answer = fetch(url)

    assert answer["Content-Type"] == "application/x-ndjson"
    head, *works, end = map(json.loads, content_of(answer).splitlines())
    assert (head["type"], head["v"], head["grant"], head["livemode"]) == (
        "manifest",
        1,
        str(grant.pk),
        False,
    )
    assert end == {
        "type": "end",
        "count": 3,
        "excluded": 0,
        "bytes": sum(map(len, WORKS)),
        "manifest": head["manifest"],
    }
    digests = sorted(hashlib.sha256(content).hexdigest() for content in WORKS)
    assert [work["digest"] for work in works] == digests
    for work in works:
        served = fetch(work["url"])
        assert hashlib.sha256(content_of(served)).hexdigest() == work["digest"]
        assert work["external_id"] == f"{work['digest'][:8]}.txt"


@delivers
@pytest.mark.django_db
def test_the_offline_tool_accepts_the_manifest(
    archive: Organization, lab: Organization, tmp_path: Path
) -> None:
    """It computes the set's root again from the works and the secret."""
    grant = make_grant_row(archive, lab)
    data = content_of(fetch(link_to(grant, delivery.MANIFEST)))

    found = manifests.receive(io.BytesIO(data), tmp_path / "manifest", lambda _count: None)
    found.close()

    coverage = _coverage(grant)
    assert found.root.citation() == bytes(coverage.snapshot.citation)
    assert (len(found), found.bytes) == (3, sum(map(len, WORKS)))


@delivers
@pytest.mark.django_db
def test_works_that_are_not_hosted_have_no_link(archive: Organization, lab: Organization) -> None:
    grant = make_grant_row(archive, lab, custody="reference")

    lines = content_of(fetch(link_to(grant, delivery.MANIFEST))).splitlines()

    assert [json.loads(line)["url"] for line in lines[1:-1]] == [None, None, None]
    assert refusal(fetch(work_link(grant))) == (404, "not_found")


@delivers
@pytest.mark.django_db
def test_a_manifest_that_breaks_off_says_so_in_its_last_line(
    archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = make_grant_row(archive, lab)
    whole = snapshots.items

    def broken(snapshot: Any) -> Iterator[Any]:
        yield next(iter(whole(snapshot)))
        raise OSError("the disk is gone")

    monkeypatch.setattr(snapshots, "items", broken)

    lines = [
        json.loads(line) for line in content_of(fetch(link_to(grant, "manifest"))).splitlines()
    ]

    assert [line["type"] for line in lines] == ["manifest", "work", "error"]
    assert lines[-1] == {
        "type": "error",
        "code": "internal_error",
        "detail": "Something went wrong",
    }


@delivers
@pytest.mark.django_db(transaction=True)
def test_a_client_that_leaves_early_leaves_nothing_open(
    archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_PIECE_BYTES", 1)
    grant = make_grant_row(archive, lab)
    answer = fetch(link_to(grant, delivery.MANIFEST))
    received = [next(answer.streaming_content) for _line in range(2)]
    assert connection.in_atomic_block

    answer.close()

    assert [json.loads(line)["type"] for line in received] == ["manifest", "work"]
    assert not connection.in_atomic_block
    assert Grant.objects.count() == 0  # no tenant, no rows


@delivers
@pytest.mark.django_db
def test_a_manifest_is_refused_before_its_first_line(
    archive: Organization, lab: Organization
) -> None:
    grant = make_grant_row(archive, lab)
    change(grant, status="revoked", ended_at=timezone.now())

    answer = fetch(link_to(grant, delivery.MANIFEST))

    assert refusal(answer) == (409, "grant_not_in_force")
    assert answer.json()["grant_status"] == "revoked"


# --- works ------------------------------------------------------------------------------------


@delivers
@pytest.mark.django_db
def test_a_work_leaves_as_bytes_that_no_browser_runs(
    archive: Organization, lab: Organization
) -> None:
    page = b"<script>alert(1)</script>"
    grant = make_grant_row(archive, lab, works=[page])
    digest = hashlib.sha256(page).hexdigest()

    answer = fetch(work_link(grant, page))

    assert (answer.status_code, content_of(answer)) == (200, page)
    headers = {
        name: answer[name]
        for name in (
            "Content-Type",
            "Content-Length",
            "ETag",
            "Accept-Ranges",
            "Content-Disposition",
            "X-Content-Type-Options",
            "Content-Security-Policy",
            "Cache-Control",
        )
    }
    assert headers == {
        "Content-Type": "application/octet-stream",
        "Content-Length": "25",
        "ETag": f'"{digest}"',
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{digest}"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, no-store",
    }


TEN = b"0123456789"


@delivers
@pytest.mark.django_db
def test_one_range_is_served_and_odd_ones_get_the_whole(
    archive: Organization, lab: Organization
) -> None:
    url = work_link(make_grant_row(archive, lab, works=[TEN]), TEN)
    etag = f'"{hashlib.sha256(TEN).hexdigest()}"'

    def ask(**headers: str) -> tuple[int, str | None, bytes]:
        answer = fetch(url, **headers)
        content = content_of(answer)
        assert answer["Content-Length"] == str(len(content))
        return answer.status_code, answer.get("Content-Range"), content

    parts = {
        "bytes=0-0": (206, "bytes 0-0/10", b"0"),
        "bytes=2-4": (206, "bytes 2-4/10", b"234"),
        "bytes=7-": (206, "bytes 7-9/10", b"789"),
        "bytes=7-99": (206, "bytes 7-9/10", b"789"),
        "bytes=-3": (206, "bytes 7-9/10", b"789"),
        "bytes=-99": (206, "bytes 0-9/10", TEN),
    }
    whole = (200, None, TEN)
    odd = ["bytes=4-2", "bytes=-", "bytes=0-1,4-5", "chars=0-1", "bytes=a-b", "bytes= 0-1", ""]
    assert {given: ask(Range=given) for given in parts} == parts
    assert {given: ask(Range=given) for given in odd} == dict.fromkeys(odd, whole)
    assert ask(Range="bytes=2-4", If_Range=etag)[0] == 206
    assert ask(Range="bytes=2-4", If_Range='"another"') == whole


@delivers
@pytest.mark.django_db
@pytest.mark.parametrize("given", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_past_the_end_is_not_satisfiable(
    archive: Organization, lab: Organization, given: str
) -> None:
    answer = fetch(work_link(make_grant_row(archive, lab, works=[TEN]), TEN), Range=given)

    assert refusal(answer) == (416, "range_not_satisfiable")
    assert answer["Content-Range"] == "bytes */10"


@delivers
@pytest.mark.django_db
def test_head_and_a_known_etag_send_no_bytes(archive: Organization, lab: Organization) -> None:
    url = work_link(make_grant_row(archive, lab, works=[TEN]), TEN)
    etag = f'"{hashlib.sha256(TEN).hexdigest()}"'

    head = fetch(url, "HEAD")
    part = fetch(url, "HEAD", Range="bytes=2-4")
    known = fetch(url, If_None_Match=etag)

    assert (head.status_code, head["Content-Length"], head.content) == (200, "10", b"")
    assert (part.status_code, part["Content-Range"]) == (206, "bytes 2-4/10")
    assert (known.status_code, known.content) == (304, b"")
    assert fetch(url, "POST").status_code == 405
    assert fetch(url, "POST").json()["code"] == "method_not_allowed"


@delivers
@pytest.mark.django_db
@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_a_work_that_is_not_whole_is_not_begun(
    archive: Organization, lab: Organization, harm: str
) -> None:
    grant = make_grant_row(archive, lab, works=[TEN])
    path = storage.path(hashlib.sha256(TEN).digest())
    path.unlink()
    if harm == "cut":
        path.write_bytes(TEN[:4])

    assert refusal(fetch(work_link(grant, TEN))) == (500, "internal_error")


@delivers
@pytest.mark.django_db(transaction=True)
def test_a_slow_download_holds_no_database_connection(
    archive: Organization, lab: Organization
) -> None:
    grant = make_grant_row(archive, lab)

    answer = fetch(work_link(grant))

    assert connection.connection is None
    assert content_of(answer) == FIRST
    assert connection.connection is None


# --- links that open nothing ------------------------------------------------------------------


@delivers
@pytest.mark.django_db
def test_a_link_opens_nothing_but_what_was_signed(archive: Organization, lab: Organization) -> None:
    grant = make_grant_row(archive, lab)
    other = make_grant_row(archive, lab, works=[b"other"])
    url = work_link(grant)
    digest = hashlib.sha256(FIRST).hexdigest()
    second = hashlib.sha256(WORKS[1]).hexdigest()
    head, signature = url.rsplit("=", 1)
    forged = {
        "signature": f"{head}={'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        "no signature": f"{head}=",
        "no query": url.split("?")[0],
        "other work": url.replace(digest, second),
        "other grant": url.replace(str(grant.pk), str(other.pk)),
        "other mode": url.replace("mode=test", "mode=live"),
        "later": url.replace("expires=1", "expires=2"),
        "leading zero": url.replace("expires=", "expires=0"),
        "manifest": url.replace(f"works/{digest}", "manifest"),
        "a work by the manifest's signature": link_to(grant, "manifest").replace(
            "manifest?", f"works/{digest}?"
        ),
    }

    refusals = {name: refusal(fetch(address)) for name, address in forged.items()}

    assert refusals == dict.fromkeys(forged, (403, "link_invalid"))
    assert fetch(url).status_code == 200


@delivers
@pytest.mark.django_db
def test_another_secret_makes_other_links(
    archive: Organization, lab: Organization, settings: Any
) -> None:
    url = work_link(make_grant_row(archive, lab))
    settings.SECRET_KEY = "rotated"
    assert refusal(fetch(url)) == (403, "link_invalid")

    settings.SECRET_KEY_FALLBACKS = ["development only: never a secret"]
    assert fetch(url).status_code == 200


@delivers
@pytest.mark.django_db
def test_an_old_link_says_how_to_get_a_new_one(archive: Organization, lab: Organization) -> None:
    grant = make_grant_row(archive, lab)

    for url in (work_link(grant, seconds=0), link_to(grant, "manifest", seconds=-1)):
        answer = fetch(url)
        assert refusal(answer) == (403, "link_expired")
        assert answer.json()["retryable"] is True
        assert answer.json()["detail"] == (
            "Ask for new links, or fetch the grant's manifest again."
        )


@delivers
@pytest.mark.django_db
def test_a_true_link_opens_nothing_when_the_grant_does_not_permit_it(
    archive: Organization, lab: Organization
) -> None:
    now = timezone.now()
    suspended, revoked = make_grant_row(archive, lab), make_grant_row(archive, lab, works=[b"1"])
    over = make_grant_row(archive, lab, works=[b"2"], access_until=now)
    to_come = make_grant_row(archive, lab, works=[b"3"], access_from=now + HOUR / 2)
    change(suspended, status="suspended")
    change(revoked, status="revoked", ended_at=now)

    refusals = [
        refusal(fetch(work_link(grant, content)))
        for grant, content in [
            (suspended, FIRST),
            (revoked, b"1"),
            (over, b"2"),
            (to_come, b"3"),
        ]
    ]

    assert refusals == [(409, "grant_not_in_force")] * 4


@delivers
@pytest.mark.django_db
def test_a_link_that_worked_stops_when_the_grant_does(
    archive: Organization, lab: Organization
) -> None:
    grant = make_grant_row(archive, lab)
    url = work_link(grant)
    assert fetch(url).status_code == 200

    change(grant, status="suspended")
    assert refusal(fetch(url)) == (409, "grant_not_in_force")

    change(grant, status="active")
    assert fetch(url).status_code == 200


@delivers
@pytest.mark.django_db
def test_only_works_of_the_covered_snapshot_are_served(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    """Added later, removed before, in another collection, or another seller's same digest."""
    grant = make_grant_row(archive, lab)
    make_grant_row(archive, stranger, works=[b"elsewhere"])
    make_grant_row(stranger, archive, works=[b"another seller's"])
    with access.system("a test changes a collection"):
        collection = _coverage(grant).snapshot.collection
        make_item_row(collection, b"added later", added_in=2)
        removed = make_item_row(collection, b"removed before", added_in=1)
        CollectionItem.objects.filter(representation=removed).update(removed_in=1)
        kept = make_item_row(collection, b"removed later", added_in=1)
        CollectionItem.objects.filter(representation=kept).update(removed_in=2)

    contents = [b"added later", b"removed before", b"elsewhere", b"another seller's", b"nothing"]
    refusals = [refusal(fetch(work_link(grant, content))) for content in contents]

    assert refusals == [(404, "not_found")] * 5
    assert content_of(fetch(work_link(grant, b"removed later"))) == b"removed later"


@delivers
@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/", "/grants", "/grants/x/manifest", f"/grants/x/works/{OTHER_DIGEST}", "/v1/grants"]
)
def test_other_addresses_are_problem_documents(path: str) -> None:
    assert refusal(fetch(path)) == (404, "not_found")


@delivers
@pytest.mark.django_db
def test_a_grant_that_is_not_there_is_not_found(archive: Organization, lab: Organization) -> None:
    grant = make_grant_row(archive, lab)
    gone = str(grant.pk)[:-1] + ("0" if str(grant.pk)[-1] != "0" else "1")
    link = delivery.Link(gone, False, OTHER_DIGEST, expires())

    assert refusal(fetch(link.url())) == (404, "not_found")
    with pytest.raises(NotFound):
        delivery.offer_manifest(caller_for(lab), gone)


@pytest.mark.django_db
def test_the_verb_refuses_what_the_api_refuses(archive: Organization, lab: Organization) -> None:
    grant = make_grant_row(archive, lab, access_until=timezone.now())

    with pytest.raises(GrantNotInForce, match="access window"):
        delivery.offer_manifest(caller_for(lab), grant.pk)


# --- the process ------------------------------------------------------------------------------


@pytest.fixture
def process(test_database: TestDatabase, tmp_path: Path) -> Iterator[str]:
    """The delivery process as `make run` starts it; gives its address."""
    port = free_ports(1)[0]
    log = (tmp_path / "delivery.log").open("wb")
    running = subprocess.Popen(
        processes.served(port, threads=processes.DELIVERY_THREADS),
        env={
            **os.environ,
            "LICET_DEBUG": "1",
            "LICET_PROCESS": "delivery",
            "LICET_STORAGE_DIR": str(tmp_path / "store"),
            "DATABASE_URL": test_database.url,
            "DJANGO_SETTINGS_MODULE": "marketplace.settings",
        },
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _attempt in range(300):
            assert running.poll() is None, (tmp_path / "delivery.log").read_text()
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).close()
                break
            except urllib.error.HTTPError:
                raise
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        running.terminate()
        running.wait(10)
        log.close()
        shutil.rmtree(tmp_path / "store", ignore_errors=True)


@pytest.mark.django_db(transaction=True)
def test_the_process_serves_manifests_and_works(
    process: str, archive: Organization, lab: Organization, settings: Any, tmp_path: Path
) -> None:
    settings.DELIVERY_URL = process
    large = os.urandom(3_000_000)
    grant = make_grant_row(archive, lab, works=[*WORKS, large])
    url, _expires_at = delivery.offer_manifest(caller_for(lab), grant.pk)

    for _again in range(3):
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = manifests.receive(answer, tmp_path / "manifest", lambda _count: None)
        assert len(found) == 4
        found.close()
    digest = hashlib.sha256(large).hexdigest()
    link = delivery.Link(str(grant.pk), False, digest, expires()).url()
    with urllib.request.urlopen(link, timeout=10) as answer:
        assert answer.headers["Request-Id"].startswith("req_")
        assert answer.read() == large
    asked = urllib.request.Request(link, headers={"Range": "bytes=2999990-"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert (answer.status, answer.read()) == (206, large[2_999_990:])
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{process}/grants/{grant.pk}/works/{digest}", timeout=10)
    assert (refused.value.code, json.load(refused.value)["code"]) == (403, "link_invalid")
    with pytest.raises(urllib.error.HTTPError) as missing:
        urllib.request.urlopen(f"{process}/v1/listings", timeout=10)
    assert (missing.value.code, json.load(missing.value)["code"]) == (404, "not_found")
    refused.value.close()
    missing.value.close()


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_readers_that_take_nothing_do_not_stop_the_others(
    process: str, archive: Organization, lab: Organization, settings: Any
) -> None:
    """Seen to fail (a timeout) with four threads, as any other web process would have."""
    settings.DELIVERY_URL = process
    large = os.urandom(20_000_000)
    grant = make_grant_row(archive, lab, works=[*WORKS, large])
    link, small = (
        delivery.Link(str(grant.pk), False, hashlib.sha256(work).hexdigest(), expires()).url()
        for work in (large, WORKS[0])
    )
    address = urllib.parse.urlsplit(link)
    assert address.hostname is not None
    with contextlib.ExitStack() as stack:
        for _reader in range(8):
            stalled = socket.create_connection((address.hostname, address.port or 80), timeout=5)
            stack.enter_context(stalled)
            request = f"GET {address.path}?{address.query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            stalled.sendall(request.encode())
            assert stalled.recv(12) == b"HTTP/1.1 200"
        with urllib.request.urlopen(small, timeout=5) as answer:
            assert answer.read() == WORKS[0]


def _coverage(grant: Grant) -> Coverage:
    with access.system("a test looks at a grant"):
        return Coverage.objects.select_related("snapshot__collection").get(grant=grant)
