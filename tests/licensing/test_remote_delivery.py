"""Works in their seller's own bucket: connected, delivered by signed links, and cut off."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from django.db import connection, connections
from django.test import Client
from django.utils import timezone
from moto.server import ThreadedMotoServer

from licensing.links import Link
from licensing.models import Grant
from marketplace import access, remote_buckets, reservations
from marketplace.errors import InternalError
from marketplace.models import Audit, Organization, RemoteBucket
from tests.licensing.rows import WORKS, make_grant_row
from tests.people import ApiClient, caller_for

BASE = "http://127.0.0.1:8001"
DIGESTS = sorted(hashlib.sha256(work).hexdigest() for work in WORKS)
BUCKET = {
    "endpoint": "https://s3.example.org",
    "name": "seller-works",
    "key": "letters/{external_id}",
    "access_key_id": "reader",
    "secret_access_key": "never shown again",
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A seller's S3 server, with the works under the seller's own names."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    made = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=made,
        region_name="us-east-1",
        aws_access_key_id="reader",
        aws_secret_access_key="s",
    )
    client.create_bucket(Bucket="seller-works")
    for work in WORKS:
        name = f"{hashlib.sha256(work).hexdigest()[:8]}.txt"
        client.put_object(Bucket="seller-works", Key=f"letters/{name}", Body=work)
    yield made
    server.stop()


@pytest.fixture(autouse=True)
def _addresses(tmp_path: Any, settings: Any) -> None:
    settings.STORAGE_DIR = tmp_path / "store"
    settings.DELIVERY_URL = BASE


def connect(seller: Organization, **changes: Any) -> RemoteBucket:
    return remote_buckets.connect(caller_for(seller), **{**BUCKET, **changes})


def fetch(url: str, **headers: str) -> Any:
    return Client(raise_request_exception=False).get(url.removeprefix(BASE), headers=headers)


def link(grant: Grant, subject: str) -> str:
    expires = int(timezone.now().timestamp()) + 60
    return Link(str(grant.pk), grant.livemode, subject, expires).url()


def lines(grant: Grant) -> list[dict[str, Any]]:
    content = b"".join(fetch(link(grant, "manifest")).streaming_content)
    return [json.loads(line) for line in content.splitlines()]


delivers = pytest.mark.urls("licensing.delivery_urls")


@delivers
@pytest.mark.django_db
def test_a_remote_work_comes_from_the_sellers_own_server(
    archive: Organization, lab: Organization, endpoint: str
) -> None:
    connect(archive, endpoint=endpoint)
    grant = make_grant_row(archive, lab, custody="remote")

    head, *works, end = lines(grant)

    assert (head["type"], end["count"], end["excluded"]) == ("manifest", 3, 0)
    # Not in the shards: their bytes never pass through us.
    assert {(work["custody"], "shard" in work) for work in works} == {("remote", False)}
    for work in works:
        answer = fetch(work["url"])
        assert (answer.status_code, answer["Cache-Control"]) == (307, "private, no-store")
        location = answer["Location"]
        assert location.startswith(f"{endpoint}/seller-works/letters/")
        assert "X-Amz-Expires=300" in location
        with urllib.request.urlopen(location, timeout=10) as found:
            content = found.read()
        assert hashlib.sha256(content).hexdigest() == work["digest"]
        asked = urllib.request.Request(location, headers={"Range": "bytes=2-"})
        with urllib.request.urlopen(asked, timeout=10) as found:
            assert (found.status, found.read()) == (206, content[2:])


@delivers
@pytest.mark.django_db
def test_without_a_bucket_a_remote_work_has_no_link(
    archive: Organization, lab: Organization
) -> None:
    grant = make_grant_row(archive, lab, custody="remote")
    _head, *works, _end = lines(grant)
    assert {work["url"] for work in works} == {None}
    answer = fetch(link(grant, DIGESTS[0]))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@delivers
@pytest.mark.django_db
def test_a_bucket_that_is_disconnected_delivers_nothing_more(
    archive: Organization, lab: Organization
) -> None:
    bucket = connect(archive)
    grant = make_grant_row(archive, lab, custody="remote")
    url = link(grant, DIGESTS[0])
    assert fetch(url).status_code == 307
    remote_buckets.disconnect(caller_for(archive), bucket.pk)
    assert fetch(url).status_code == 404


@delivers
@pytest.mark.django_db
def test_a_remote_work_that_was_taken_out_is_refused_by_its_code(
    archive: Organization, lab: Organization
) -> None:
    connect(archive)
    grant = make_grant_row(archive, lab, custody="remote")
    with access.system("a test takes a work out"):
        reservations.reserve(
            [bytes.fromhex(DIGESTS[0])], organization=None, reason="opted_out", cause="test"
        )
    answer = fetch(link(grant, DIGESTS[0]))
    assert (answer.status_code, answer.json()["code"]) == (410, "work_opted_out")
    assert fetch(link(grant, DIGESTS[1])).status_code == 307


@delivers
@pytest.mark.django_db
def test_another_sellers_bucket_is_never_used(archive: Organization, lab: Organization) -> None:
    connect(lab)
    grant = make_grant_row(archive, lab, custody="remote")
    assert fetch(link(grant, DIGESTS[0])).status_code == 404


@pytest.mark.django_db
def test_new_links_are_given_to_remote_works_too(
    client_for: Callable[..., ApiClient], archive: Organization, lab: Organization
) -> None:
    grant = make_grant_row(archive, lab, custody="remote")
    address = f"/v1/grants/{grant.pk}/links"
    [none] = client_for(lab).post(address, {"digests": DIGESTS[:1]}).json()["works"]
    assert (none["custody"], none["url"]) == ("remote", None)
    connect(archive)
    [one] = client_for(lab).post(address, {"digests": DIGESTS[:1]}).json()["works"]
    assert one["url"].startswith(BASE)


@delivers
@pytest.mark.django_db
def test_hosted_works_are_delivered_out_of_a_bucket_singly_and_in_shards(
    archive: Organization, lab: Organization, endpoint: str, settings: Any, tmp_path: Any
) -> None:
    settings.STORAGE_BUCKET = {
        "name": "seller-works",
        "endpoint": endpoint,
        "region": "us-east-1",
        "prefix": "hosted/",
        "access_key": "a",
        "secret_key": "s",
    }
    grant = make_grant_row(archive, lab)
    head, *works, _end = lines(grant)
    contents = {hashlib.sha256(work).hexdigest(): work for work in WORKS}
    for work in works:
        answer = fetch(work["url"], Range="bytes=3-")
        assert answer.status_code == 206
        assert b"".join(answer.streaming_content) == contents[work["digest"]][3:]
    archived = b"".join(fetch(head["shards"]["url"].replace("{shard}", "0")).streaming_content)
    with tarfile.open(fileobj=io.BytesIO(archived)) as opened:
        found = {each.name: opened.extractfile(each).read() for each in opened}  # type: ignore[union-attr]
    assert found == contents
    assert not (tmp_path / "store" / "sha256").exists()


# --- the bucket -------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_secret_is_kept_encrypted_and_never_shown(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    answer = client.post("/v1/remote-buckets", BUCKET)
    assert answer.status_code == 201, answer.json()
    shown = [answer, client.get("/v1/remote-buckets"), client.get(answer["Location"])]
    assert not any(b"never shown" in each.content for each in shown)
    with access.system("a test looks at a bucket"):
        row = RemoteBucket.objects.get()
        [noted] = Audit.objects.filter(action="remote_bucket.connected")
    assert b"never shown" not in bytes(row.secret_access_key)
    assert "never shown" not in str(noted.__dict__)


@pytest.mark.django_db
def test_connecting_another_bucket_takes_the_place_of_the_first(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    client.post("/v1/remote-buckets", BUCKET)
    client.post("/v1/remote-buckets", {**BUCKET, "name": "newer"})
    listed = client.get("/v1/remote-buckets").json()["data"]
    in_use = [each["name"] for each in listed if each["disconnected_at"] is None]
    assert (len(listed), in_use) == (2, ["newer"])


@pytest.mark.django_db
def test_disconnecting_again_changes_nothing(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    id = client.post("/v1/remote-buckets", BUCKET).json()["id"]
    first = client.post(f"/v1/remote-buckets/{id}/disconnect").json()
    assert first["disconnected_at"] is not None
    assert client.post(f"/v1/remote-buckets/{id}/disconnect").json() == first


@pytest.mark.django_db
def test_a_changed_secret_key_says_what_to_do(archive: Organization, settings: Any) -> None:
    bucket = connect(archive)
    settings.SECRET_KEY = "another"
    with pytest.raises(InternalError, match="Connect it again"):
        remote_buckets.signed_url(bucket, digest=bytes(32), external_id="x", seconds=60)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"endpoint": "http://s3.example.org"}, "endpoint"),
        ({"endpoint": "https://s3.example.org/path"}, "endpoint"),
        ({"endpoint": "https://s3.example.org?x"}, "endpoint"),
        ({"endpoint": "https://a:b@s3.example.org"}, "endpoint"),
        ({"endpoint": "file:///etc/passwd"}, "endpoint"),
        ({"endpoint": "https://"}, "endpoint"),
        ({"endpoint": "https://["}, "endpoint"),
        ({"endpoint": "https://s3.example.org:port"}, "endpoint"),
        ({"endpoint": ""}, "endpoint"),
        ({"name": "UPPER"}, "name"),
        ({"name": "../other"}, "name"),
        ({"name": "a"}, "name"),
        ({"key": "works/"}, "key"),
        ({"key": "/{digest}"}, "key"),
        ({"secret_access_key": ""}, "secret_access_key"),
        ({"access_key_id": 7}, "access_key_id"),
    ],
)
def test_what_is_no_bucket_is_refused(
    client_for: Callable[..., ApiClient],
    archive: Organization,
    change: dict[str, Any],
    param: str,
) -> None:
    client = client_for(archive)
    client.post("/v1/remote-buckets", BUCKET)
    answer = client.post("/v1/remote-buckets", {**BUCKET, **change})
    assert (answer.status_code, answer.json()["param"]) == (422, param)
    [kept] = client.get("/v1/remote-buckets").json()["data"]
    assert kept["disconnected_at"] is None


@pytest.mark.django_db(transaction=True)
def test_of_those_who_connect_at_once_one_is_in_use(archive: Organization) -> None:
    """Seen to fail (a unique constraint) without its lock."""
    barrier = threading.Barrier(4)
    failed: list[Exception] = []

    def work(number: int) -> None:
        try:
            barrier.wait(10)
            connect(archive, name=f"bucket-{number}")
        except Exception as error:
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
    with access.system("a test counts buckets"), connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(*) FILTER (WHERE disconnected_at IS NULL)"
            " FROM marketplace_remotebucket"
        )
        assert cursor.fetchone() == (4, 1)
