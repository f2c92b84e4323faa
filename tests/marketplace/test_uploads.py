"""Uploads: resumable, checked, one sender at a time, and never partly a work."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from marketplace import collections, reservations, storage, uploads
from marketplace.access import acting, system
from marketplace.errors import (
    DigestMismatch,
    NotFound,
    UploadIncomplete,
    UploadOffsetMismatch,
    UploadUnderWay,
    UploadWrongState,
)
from marketplace.models import Audit, Organization, Upload, Work
from payments.processes import free_ports, served
from tests.database import TestDatabase
from tests.marketplace.test_embedded_rights import VOCABULARY, image, xmp
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db

CONTENT = b"a letter, " * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, settings: Any) -> None:
    settings.STORAGE_DIR = tmp_path / "store"
    settings.UPLOAD_DIR = tmp_path / "store" / "uploads"


def begun(client: ApiClient, **body: Any) -> str:
    answer = client.post("/v1/uploads", {"length": len(CONTENT), "sha256": DIGEST, **body})
    assert answer.status_code == 201, answer.json()
    return str(answer.json()["id"])


def sent(client: ApiClient, id: str, offset: int, content: bytes) -> Any:
    return client.patch(f"/v1/uploads/{id}", content, Upload_Offset=str(offset))


def finished(client: ApiClient, content: bytes = CONTENT) -> str:
    id = begun(client, length=len(content), sha256=hashlib.sha256(content).hexdigest())
    assert sent(client, id, 0, content).status_code == 200
    assert client.post(f"/v1/uploads/{id}/finish").status_code == 200
    return id


def row(id: str) -> Upload:
    with system("look at an upload in a test"):
        return Upload.objects.get(pk=id)


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# --- sending ----------------------------------------------------------------------------------


def test_an_upload_comes_in_pieces_of_any_size_and_is_checked(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    id = begun(client, name="letters.txt")
    for start, end in ((0, 1), (1, 5000), (5000, len(CONTENT))):
        answer = sent(client, id, start, CONTENT[start:end])
        assert (answer.status_code, answer["Upload-Offset"]) == (200, str(end))

    answer = client.post(f"/v1/uploads/{id}/finish")

    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["status"], shown["digest"], shown["offset"]) == ("finished", DIGEST, 10_000)
    assert uploads.path(caller_for(archive), id).read_bytes() == CONTENT


def test_head_says_where_to_go_on(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    id = begun(client)
    sent(client, id, 0, CONTENT[:77])
    answer = client.request("HEAD", f"/v1/uploads/{id}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert (answer["Upload-Offset"], answer["Upload-Length"]) == ("77", "10000")
    assert answer["Cache-Control"] == "no-store"


def test_the_upload_says_the_address_that_takes_its_pieces(
    client_for: Callable[..., ApiClient], archive: Organization, settings: Any
) -> None:
    client = client_for(archive)
    id = begun(client)
    url = client.get(f"/v1/uploads/{id}").json()["url"]
    assert url == f"{settings.DELIVERY_URL}/v1/uploads/{id}"
    settings.ROOT_URLCONF = "licensing.delivery_urls"
    answer = sent(client, id, 0, CONTENT[:5])
    assert (answer.status_code, answer.json()["offset"]) == (200, 5)


@pytest.mark.parametrize("offset", [0, 49, 51, 10_000, 10**14])
def test_a_piece_at_another_offset_is_refused_and_told_the_right_one(
    client_for: Callable[..., ApiClient], archive: Organization, offset: int
) -> None:
    client = client_for(archive)
    id = begun(client)
    sent(client, id, 0, CONTENT[:50])
    answer = sent(client, id, offset, b"xyz")
    assert refusal(answer) == (409, "upload_offset_mismatch")
    assert answer.json()["offset"] == 50
    assert row(id).received == 50


@pytest.mark.parametrize("offset", ["", "-1", "+1", "1.0", "0x1", "٣", "1 ", "9" * 16])
def test_an_offset_that_is_no_number_is_refused(
    client_for: Callable[..., ApiClient], archive: Organization, offset: str
) -> None:
    client = client_for(archive)
    id = begun(client)
    answer = sent(client, id, offset, b"xyz")  # type: ignore[arg-type]
    assert refusal(answer) == (422, "invalid_input")
    assert answer.json()["param"] == "Upload-Offset"
    assert row(id).received == 0


def test_more_bytes_than_announced_are_refused_unread(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    id = begun(client)
    answer = sent(client, id, 0, CONTENT + b"!")
    assert refusal(answer) == (422, "invalid_input")
    assert answer.json()["param"] == "Content-Length"
    assert row(id).received == 0


def test_a_stream_that_holds_more_than_it_claims_is_cut_at_the_length(
    archive: Organization, settings: Any
) -> None:
    caller = caller_for(archive)
    id = uploads.begin(caller, length=4).pk
    with pytest.raises(Exception, match="announced with 4 bytes"):
        uploads.append(caller, id, 0, io.BytesIO(b"abcdef"))
    assert row(str(id)).received == 4
    assert (settings.UPLOAD_DIR / str(id)).read_bytes() == b"abcd"


def test_json_is_no_piece(client_for: Callable[..., ApiClient], archive: Organization) -> None:
    client = client_for(archive)
    id = begun(client)
    answer = client.patch(
        f"/v1/uploads/{id}", b"{}", content_type="application/json", Upload_Offset="0"
    )
    assert refusal(answer) == (415, "unsupported_media_type")
    assert "application/offset+octet-stream" in answer.json()["detail"]
    assert row(id).received == 0


def test_what_came_before_a_broken_connection_is_kept(archive: Organization) -> None:
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            piece = super().read(size)
            if not piece:
                raise OSError("the sender went away")
            return piece

    caller = caller_for(archive)
    id = uploads.begin(caller, length=len(CONTENT)).pk
    with pytest.raises(OSError, match="went away"):
        uploads.append(caller, id, 0, Breaking(CONTENT[:123]))
    assert row(str(id)).received == 123
    uploads.append(caller, id, 123, io.BytesIO(CONTENT[123:]))
    assert bytes(uploads.finish(caller, id).digest or b"").hex() == DIGEST


def test_what_a_dead_process_wrote_and_did_not_count_is_overwritten(
    archive: Organization, settings: Any
) -> None:
    caller = caller_for(archive)
    id = uploads.begin(caller, length=len(CONTENT)).pk
    uploads.append(caller, id, 0, io.BytesIO(CONTENT[:100]))
    with (settings.UPLOAD_DIR / str(id)).open("ab") as file:
        file.write(b"#" * 50_000)
    uploads.append(caller, id, 100, io.BytesIO(CONTENT[100:]))
    assert bytes(uploads.finish(caller, id).digest or b"").hex() == DIGEST


# --- finishing --------------------------------------------------------------------------------


def test_an_incomplete_upload_does_not_finish(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    id = begun(client)
    sent(client, id, 0, CONTENT[:-1])
    answer = client.post(f"/v1/uploads/{id}/finish")
    assert refusal(answer) == (409, "upload_incomplete")
    assert (answer.json()["offset"], answer.json()["length"]) == (9_999, 10_000)
    assert row(id).status == "receiving"
    with pytest.raises(UploadIncomplete):
        uploads.path(caller_for(archive), id)


def test_bytes_that_are_not_those_announced_do_not_finish(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    id = begun(client)
    wrong = CONTENT[:-1] + b"!"
    sent(client, id, 0, wrong)
    answer = client.post(f"/v1/uploads/{id}/finish")
    assert refusal(answer) == (422, "digest_mismatch")
    assert answer.json()["digest"] == hashlib.sha256(wrong).hexdigest()
    assert answer.json()["expected"] == DIGEST
    assert (row(id).status, row(id).digest) == ("receiving", None)


def test_finishing_again_changes_nothing(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    id = finished(client)
    before = client.get(f"/v1/uploads/{id}").json()
    assert client.post(f"/v1/uploads/{id}/finish").json() == before
    with system("count audits in a test"):
        assert Audit.objects.filter(action="upload.finished").count() == 1


def test_a_finished_upload_takes_no_more(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    id = finished(client)
    assert refusal(sent(client, id, 10_000, b"!")) == (409, "upload_wrong_state")
    assert uploads.path(caller_for(archive), id).read_bytes() == CONTENT


def test_without_an_announced_digest_the_one_found_is_said(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    id = client.post("/v1/uploads", {"length": 3}).json()["id"]
    sent(client, id, 0, b"abc")
    shown = client.post(f"/v1/uploads/{id}/finish").json()
    assert (shown["sha256"], shown["digest"]) == (None, hashlib.sha256(b"abc").hexdigest())


# --- beginning --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "length"),
        ({"length": 0}, "length"),
        ({"length": -1}, "length"),
        ({"length": "5"}, "length"),
        ({"length": True}, "length"),
        ({"length": 65 << 30}, "length"),
        ({"length": 10**30}, "length"),
        ({"length": 5, "sha256": "abc"}, "sha256"),
        ({"length": 5, "sha256": "A" * 64}, "sha256"),
        ({"length": 5, "sha256": DIGEST + "\n"}, "sha256"),
        ({"length": 5, "name": "x" * 501}, "name"),
        ({"length": 5, "name": "a\x00"}, "name"),
        ({"length": 5, "offset": 3}, "offset"),
    ],
)
def test_what_cannot_be_announced(
    client_for: Callable[..., ApiClient], archive: Organization, body: Any, param: str
) -> None:
    answer = client_for(archive).post("/v1/uploads", body)
    assert refusal(answer) == (422, "invalid_input")
    assert answer.json()["param"] == param
    with system("count uploads in a test"):
        assert Upload.objects.count() == 0


def test_all_uploads_of_an_organization_together_have_a_limit(
    client_for: Callable[..., ApiClient], archive: Organization, lab: Organization, settings: Any
) -> None:
    settings.UPLOADS_LENGTH_MAX = 15_000
    client = client_for(archive)
    id = begun(client)
    answer = client.post("/v1/uploads", {"length": 5001})
    assert refusal(answer) == (409, "uploads_full")
    begun(client_for(lab))

    assert client.post(f"/v1/uploads/{id}/discard").json()["status"] == "discarded"

    begun(client, length=15_000)


def test_a_beginning_that_is_sent_twice_begins_one(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    first, second = (
        client.post("/v1/uploads", {"length": 5}, Idempotency_Key="k") for _time in range(2)
    )
    assert first.json() == second.json()
    with system("count uploads in a test"):
        assert Upload.objects.count() == 1


# --- the end ----------------------------------------------------------------------------------


def test_a_discarded_upload_has_no_bytes_and_takes_none(
    client_for: Callable[..., ApiClient], archive: Organization, settings: Any
) -> None:
    client = client_for(archive)
    id = begun(client)
    sent(client, id, 0, b"abc")
    for _time in range(2):
        assert client.post(f"/v1/uploads/{id}/discard").json()["status"] == "discarded"
    assert refusal(sent(client, id, 3, b"d")) == (409, "upload_wrong_state")
    assert refusal(client.post(f"/v1/uploads/{id}/finish")) == (409, "upload_wrong_state")
    with pytest.raises(UploadWrongState):
        uploads.path(caller_for(archive), id)
    assert list(settings.UPLOAD_DIR.iterdir()) == []


def test_what_nobody_used_for_a_week_is_swept(archive: Organization, settings: Any) -> None:
    caller = caller_for(archive)
    old, new = (uploads.begin(caller, length=4).pk for _time in range(2))
    for id in (old, new):
        uploads.append(caller, id, 0, io.BytesIO(b"abc"))
    with system("age an upload in a test"):
        Upload.objects.filter(pk=old).update(used_at=timezone.now() - timedelta(days=7, seconds=1))
        Upload.objects.filter(pk=new).update(used_at=timezone.now() - timedelta(days=6, hours=23))

    assert (uploads.sweep(), uploads.sweep()) == (1, 0)

    assert (row(str(old)).status, row(str(new)).status) == ("discarded", "receiving")
    assert [file.name for file in settings.UPLOAD_DIR.iterdir()] == [str(new)]


def test_the_sweep_leaves_what_is_being_sent(archive: Organization) -> None:
    caller = caller_for(archive)
    id = uploads.begin(caller, length=4).pk
    with system("age an upload in a test"):
        Upload.objects.filter(pk=id).update(used_at=timezone.now() - timedelta(days=8))
    with uploads._held(caller, id):
        assert uploads.sweep() == 0
    assert row(str(id)).status == "receiving"


def test_using_a_finished_upload_keeps_it(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    id = finished(client_for(archive))
    with system("age an upload in a test"):
        Upload.objects.filter(pk=id).update(used_at=timezone.now() - timedelta(days=8))
    uploads.path(caller_for(archive), id)
    assert uploads.sweep() == 0


def test_nobody_else_reaches_an_upload(
    client_for: Callable[..., ApiClient], archive: Organization, lab: Organization
) -> None:
    id = finished(client_for(archive))
    other = caller_for(lab)
    acts: list[Callable[[], Any]] = [
        lambda: uploads.append(other, id, 0, io.BytesIO(b"")),
        lambda: uploads.finish(other, id),
        lambda: uploads.discard(other, id),
        lambda: uploads.path(other, id),
    ]
    for act in acts:
        with pytest.raises(NotFound):
            act()
    collection = collections.create(other, name="Theirs")
    with pytest.raises(NotFound):
        uploads.host(other, collection.pk, upload=id, external_id="w", media_type="text/plain")
    assert row(id).status == "finished"


# --- becoming a work --------------------------------------------------------------------------


def hosting(client: ApiClient, **body: Any) -> Any:
    collection = (
        body.pop("collection", None)
        or client.post("/v1/collections", {"name": "Letters"}).json()["id"]
    )
    return client.post(
        f"/v1/collections/{collection}/works",
        {"external_id": "letter-1", "title": "A letter", "media_type": "text/plain", **body},
    )


def test_a_finished_upload_becomes_a_hosted_work(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    letters = client.post("/v1/collections", {"name": "Letters"}).json()["id"]
    answer = hosting(client, upload=finished(client), collection=letters)
    assert answer.status_code == 201, answer.json()
    work = answer.json()
    assert answer["Location"] == f"/v1/works/{work['id']}"
    assert (work["external_id"], work["title"]) == ("letter-1", "A letter")
    assert work["representations"] == [
        {
            "digest": DIGEST,
            "length": 10_000,
            "media_type": "text/plain",
            "canonicalization": "raw",
            "custody": "hosted",
            "items": [{"collection": letters, "units": {}}],
        }
    ]
    assert storage.path(bytes.fromhex(DIGEST)).read_bytes() == CONTENT


def test_a_picture_that_prohibits_mining_keeps_its_collection_from_being_listed(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    picture = image(packet=xmp(VOCABULARY + "DMI-PROHIBITED", creator="Ada")).getvalue()
    answer = hosting(client, upload=finished(client, picture), media_type="image/jpeg")
    assert answer.status_code == 201
    [collection] = client.get("/v1/collections").json()["data"]
    [found] = client.get(f"/v1/collections/{collection['id']}/prohibitions").json()["data"]
    assert found["data_mining"] == "DMI-PROHIBITED"


def test_a_work_outlives_its_upload(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    id = finished(client)
    hosting(client, upload=id)
    client.post(f"/v1/uploads/{id}/discard")
    assert storage.path(bytes.fromhex(DIGEST)).read_bytes() == CONTENT


def test_an_upload_on_another_file_system_is_copied(
    client_for: Callable[..., ApiClient],
    archive: Organization,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_args: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    client = client_for(archive)
    id = finished(client)
    monkeypatch.setattr(os, "link", refuse)
    assert hosting(client, upload=id).status_code == 201
    assert storage.path(bytes.fromhex(DIGEST)).read_bytes() == CONTENT


def test_an_unfinished_upload_becomes_no_work(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    assert refusal(hosting(client, upload=begun(client))) == (409, "upload_incomplete")
    with acting(caller_for(archive), writing=False):
        assert Work.objects.count() == 0
    assert not storage.path(bytes.fromhex(DIGEST)).exists()


def test_a_work_that_an_import_would_leave_out_is_refused_with_its_reason(
    client_for: Callable[..., ApiClient], archive: Organization
) -> None:
    client = client_for(archive)
    collection = client.post("/v1/collections", {"name": "Letters"}).json()["id"]
    first = finished(client)
    assert hosting(client, upload=first, collection=collection).status_code == 201
    other = finished(client, b"other bytes")

    again = hosting(client, upload=first, collection=collection, external_id="letter-2")
    taken = hosting(client, upload=other, collection=collection)
    nobody = hosting(
        client, upload=other, collection=collection, external_id="x", contributor="c-9"
    )

    for answer, reason in (
        (again, "repeated"),
        (taken, "name_taken"),
        (nobody, "contributor_unknown"),
    ):
        assert refusal(answer) == (409, "work_refused")
        assert answer.json()["reason"] == reason
    with acting(caller_for(archive), writing=False):
        assert Work.objects.count() == 1


@pytest.mark.parametrize("reason", ["opted_out", "held", "claimed"])
def test_reserved_bytes_become_no_work(
    client_for: Callable[..., ApiClient], archive: Organization, reason: str
) -> None:
    client = client_for(archive)
    id = finished(client)
    with system("reserve a digest in a test"):
        reservations.reserve([bytes.fromhex(DIGEST)], organization=None, reason=reason, cause="t")
    answer = hosting(client, upload=id)
    assert (refusal(answer), answer.json()["reason"]) == ((409, "work_refused"), reason)
    assert not storage.path(bytes.fromhex(DIGEST)).exists()


@pytest.mark.parametrize(
    "media_type", ["", "text", "text/", "Text/Plain", "a/b\n", "text/plain; x"]
)
def test_a_media_type_is_one(
    client_for: Callable[..., ApiClient], archive: Organization, media_type: str
) -> None:
    client = client_for(archive)
    answer = hosting(client, upload=finished(client), media_type=media_type)
    assert (refusal(answer), answer.json()["param"]) == ((422, "invalid_input"), "media_type")


# --- races and deaths -------------------------------------------------------------------------


def race(caller: Any, id: Any) -> list[Any]:
    """Eight requests that all send a piece of their own at offset 0, slowly."""
    barrier = threading.Barrier(8)

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            time.sleep(0.02)
            return super().read(min(size or 1, 10))

    def send(number: int) -> Any:
        from django.db import connection

        barrier.wait()
        try:
            return uploads.append(caller, id, 0, Slow(bytes([65 + number]) * 50)).received
        except (UploadUnderWay, UploadOffsetMismatch) as refused:
            return refused.code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(send, range(8)))


@pytest.mark.django_db(transaction=True)
def test_of_those_who_send_at_one_offset_one_wins(archive: Organization, settings: Any) -> None:
    id = uploads.begin(caller_for(archive), length=100).pk
    results = race(caller_for(archive), id)
    assert results.count(50) == 1
    assert set(results) - {50} <= {"upload_under_way", "upload_offset_mismatch"}
    content = (settings.UPLOAD_DIR / str(id)).read_bytes()
    assert (len(content), len(set(content)), row(str(id)).received) == (50, 1, 50)


@pytest.mark.django_db(transaction=True)
def test_without_its_lock_that_race_is_lost(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_lock", lambda handle: True)
    id = uploads.begin(caller_for(archive), length=100).pk
    assert race(caller_for(archive), id).count(50) > 1


@pytest.mark.django_db(transaction=True)
def test_two_that_begin_at_once_do_not_both_find_the_last_room(
    archive: Organization, settings: Any
) -> None:
    settings.UPLOADS_LENGTH_MAX = 10

    def begin(_number: int) -> bool:
        from django.db import connection

        try:
            uploads.begin(caller_for(archive), length=10)
        except uploads.UploadsFull:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(begin, range(8))) == 1


@contextmanager
def serving(database: TestDatabase, store: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The delivery process on `port`, killed at the end if it lives still."""
    process = subprocess.Popen(
        served(port, threads=4),
        env={
            **database.environ,
            "LICET_DATABASE_ROLE": "licet_app",
            "LICET_PROCESS": "delivery",
            "LICET_STORAGE_DIR": str(store),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.1)
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a server and its workers, which are a session of their own, without a word to them."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def start_piece(port: int, id: str, client: ApiClient, offset: int, length: int) -> socket.socket:
    sender = socket.create_connection(("127.0.0.1", port), timeout=20)
    head = (
        f"PATCH /v1/uploads/{id} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {client.secret}\r\nUpload-Offset: {offset}\r\n"
        f"Content-Type: application/offset+octet-stream\r\nContent-Length: {length}\r\n\r\n"
    )
    sender.sendall(head.encode())
    return sender


def send_rest(port: int, id: str, client: ApiClient, content: bytes) -> int:
    """Ask where to go on, send from there to the end, and say where that was."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as line:
        key = {"Authorization": f"Bearer {client.secret}"}
        line.request("HEAD", f"/v1/uploads/{id}", headers=key)
        answer = line.getresponse()
        answer.read()
        offset = int(answer.headers["Upload-Offset"])
        line.request(
            "PATCH",
            f"/v1/uploads/{id}",
            body=memoryview(content)[offset:],
            headers={
                **key,
                "Upload-Offset": str(offset),
                "Content-Type": "application/offset+octet-stream",
            },
        )
        assert line.getresponse().status == 200
    return offset


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _family(int(child)))]


def _peak_memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.mark.chaos
@pytest.mark.django_db(transaction=True)
def test_an_upload_goes_on_after_its_server_was_killed(
    client_for: Callable[..., ApiClient],
    archive: Organization,
    test_database: TestDatabase,
    settings: Any,
) -> None:
    client, [port] = client_for(archive), free_ports(1)
    content = os.urandom(1 << 20) * 200
    id = begun(client, length=len(content), sha256=hashlib.sha256(content).hexdigest())
    with (
        serving(test_database, settings.STORAGE_DIR, port) as process,
        closing(start_piece(port, id, client, 0, len(content))) as sender,
    ):
        sender.sendall(content[: 40 << 20])
        deadline = time.monotonic() + 30
        while row(id).received == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        kill(process)

    with serving(test_database, settings.STORAGE_DIR, port) as process:
        offset = send_rest(port, id, client, content)
        memory_kib = max(_peak_memory_kib(pid) for pid in _family(process.pid))

    assert 0 < offset <= 40 << 20
    assert client.post(f"/v1/uploads/{id}/finish").status_code == 200
    # Never the whole piece in memory: a process that has served nothing takes about 85 MiB.
    assert memory_kib < 160 * 1024


@pytest.mark.django_db(transaction=True)
def test_a_wrong_digest_found_by_the_verb_leaves_the_row(archive: Organization) -> None:
    caller = caller_for(archive)
    id = uploads.begin(caller, length=3, sha256=b"\x01" * 32).pk
    uploads.append(caller, id, 0, io.BytesIO(b"abc"))
    with pytest.raises(DigestMismatch):
        uploads.finish(caller, id)
    assert row(str(id)).status == "receiving"
