"""Hosted works in an S3-compatible bucket, tried against a server of that kind on this machine."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from marketplace import buckets, storage
from marketplace.buckets import Bucket

CONTENT = bytes(range(256)) * 4000


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def named(endpoint: str, tmp_path: Path, settings: Any) -> dict[str, str]:
    named = {
        "name": f"works-{tmp_path.name.replace('_', '-').lower()}"[:60].rstrip("-"),
        "endpoint": endpoint,
        "region": "us-east-1",
        "prefix": "licet/",
        "access_key": "a",
        "secret_key": "never shown",
    }
    client(endpoint).create_bucket(Bucket=named["name"])
    settings.STORAGE_DIR = tmp_path / "store"
    settings.STORAGE_BUCKET = named
    return named


def client(endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="s",
    )


def kept(named: dict[str, str]) -> list[str]:
    listed = client(named["endpoint"]).list_objects_v2(Bucket=named["name"])
    return [each["Key"] for each in listed.get("Contents", [])]


def read(digest: bytes, start: int, end: int) -> bytes:
    return b"".join(storage.chunks(digest, start, end))


def test_what_is_put_is_in_the_bucket_and_nowhere_else(
    named: dict[str, str], tmp_path: Path
) -> None:
    stored = storage.put(io.BytesIO(CONTENT))
    name = stored.digest.hex()
    assert kept(named) == [f"licet/sha256/{name[:2]}/{name[2:4]}/{name}"]
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
    assert storage.length(stored.digest) == len(CONTENT)
    assert read(stored.digest, 0, len(CONTENT)) == CONTENT
    assert read(stored.digest, 1000, 700_001) == CONTENT[1000:700_001]


def test_nothing_is_in_the_bucket_before_it_is_settled(named: dict[str, str]) -> None:
    intake = storage.Intake()
    stored = intake.put(io.BytesIO(CONTENT))
    assert kept(named) == []
    assert storage.length(stored.digest) is None
    intake.discard()
    intake.settle()
    assert kept(named) == []


def test_the_same_bytes_are_kept_once(
    named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.put(io.BytesIO(b"twice"))
    monkeypatch.setattr(Bucket, "put", lambda *_given: pytest.fail("it was sent again"))
    storage.put(io.BytesIO(b"twice"))


def test_a_finished_upload_is_adopted_by_the_bucket(named: dict[str, str], tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(CONTENT)
    digest = storage.put(io.BytesIO(b"other")).digest
    storage.adopt(upload, digest)
    assert upload.read_bytes() == CONTENT
    assert len(kept(named)) == 1


def test_bytes_that_are_not_there_are_an_error_and_not_an_end(named: dict[str, str]) -> None:
    stored = storage.put(io.BytesIO(CONTENT))
    with pytest.raises(OSError, match="ended early"):
        read(stored.digest, 0, len(CONTENT) + 1)
    with pytest.raises(OSError, match="did not give"):
        read(bytes(32), 0, 1)
    with pytest.raises(OSError, match="did not give"):
        read(stored.digest, len(CONTENT) + 5, len(CONTENT) + 9)


def test_a_bucket_that_is_not_there_is_an_error(
    named: dict[str, str], settings: Any, tmp_path: Path
) -> None:
    settings.STORAGE_BUCKET = {**named, "name": "nobody-made-this"}
    with pytest.raises(OSError, match="did not take"):
        storage.put(io.BytesIO(CONTENT))
    # What could not be sent is still here, and is swept with what a dead process leaves.
    assert len(list((tmp_path / "store" / "incoming").iterdir())) == 1


def test_a_bucket_that_does_not_answer_is_an_error(named: dict[str, str], settings: Any) -> None:
    settings.STORAGE_BUCKET = {**named, "endpoint": "http://127.0.0.1:9"}
    with pytest.raises(OSError, match="did not answer"):
        storage.length(bytes(32))


def test_a_secret_is_in_no_representation(named: dict[str, str]) -> None:
    assert "never shown" not in repr(buckets.hosted())
