"""Files that a person brings in: sent, understood, watched, corrected, and nobody else's."""

from __future__ import annotations

import csv
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from marketplace import collections, import_pages, organizations, storage
from marketplace.access import acting, system
from marketplace.imports import engine, queue
from marketplace.models import ImportJob, Organization, Representation, Upload, Work
from tests.database import TestDatabase
from tests.marketplace.test_import_preview import GERMAN, digest
from tests.people import caller_for, found

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.marketplace.import_urls")]
INLINE = re.compile(
    r"<script(?![^>]*\bsrc=)|\son[a-z]+=|\sstyle=|<style|javascript:", re.IGNORECASE
)
PIECE = "application/offset+octet-stream"


@pytest.fixture(autouse=True)
def folders(settings: Any, tmp_path: Path) -> None:
    settings.STORAGE_DIR = tmp_path / "works"
    settings.UPLOAD_DIR = tmp_path / "uploads"


def person(organization: Organization, role: str = "owner") -> Client:
    user = organizations.admit(
        organization,
        email=f"{role}@{organization.name}.org".lower(),
        name="Ada",
        password="correct horse battery",
        role=role,
    )
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def ada(archive: Organization) -> Client:
    return person(archive)


@pytest.fixture
def into(archive: Organization) -> str:
    return str(collections.create(caller_for(archive), name="Letters <b>").pk)


def sent(client: Client, into: str, content: str | bytes, name: str = "works.csv") -> str:
    """Send a file by the plain form; the address of the next page."""
    data = content if isinstance(content, bytes) else content.encode()
    answer = client.post(
        f"/files/collections/{into}/files/", {"file": SimpleUploadedFile(name, data)}
    )
    assert answer.status_code == 302, answer.content
    return str(answer["Location"])


def shown(client: Client, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status
    text = answer.content.decode()
    assert not INLINE.search(text)
    return text


def chosen(page: str) -> dict[str, str]:
    """What the form of the columns would send as it is shown."""
    values = {}
    for name, options in re.findall(r'<select[^>]*name="([^"]+)">(.*?)</select>', page, re.DOTALL):
        found = re.search(r'value="([^"]*)" selected', options)
        values[name] = found[1] if found else ""
    return values


def ran(client: Client, address: str, **values: str) -> str:
    """Have a file imported as its page proposes, but for `values`; the progress page's address."""
    answer = client.post(address, {**chosen(shown(client, address)), **values, "run": "1"})
    assert answer.status_code == 302, answer.content
    return str(answer["Location"])


def works(organization: Organization) -> list[tuple[str, str, str]]:
    with acting(caller_for(organization), writing=False):
        rows = Work.objects.filter(organization=organization).order_by("external_id")
        return list(rows.values_list("external_id", "title", "language"))


def jobs() -> list[ImportJob]:
    with system("look at a test's imports"):
        return list(ImportJob.objects.order_by("id"))


def test_a_table_comes_in_by_plain_forms_alone(
    ada: Client, archive: Organization, into: str
) -> None:
    page = shown(ada, f"/files/collections/{into}/files/")
    assert "Letters &lt;b&gt;" in page
    address = sent(ada, into, GERMAN)
    page = shown(ada, address)
    assert chosen(page)["column.0"] == "external_id"
    assert chosen(page)["column.6"] == ""
    assert "Brief 19" in page
    assert "There is no SHA-256 of the bytes" in page
    assert jobs() == []
    progress = ran(ada, address)
    assert "A worker takes it up" in shown(ada, progress)
    assert queue.carry_out_due() == 1
    page = shown(ada, progress)
    assert "Finished." in page
    assert "Download the rejected rows" in page
    assert len(works(archive)) == 30
    assert works(archive)[0] == ("b-0", "Brief 0", "de")


def test_what_a_person_says_of_the_columns_counts(
    ada: Client, archive: Organization, into: str
) -> None:
    address = sent(ada, into, GERMAN)
    ran(ada, address, **{"column.4": "", "constant.language": "de-AT", "column.1": "revision"})
    assert queue.carry_out_due() == 1
    assert works(archive)[0] == ("b-0", "", "de-AT")
    # The next file of this header is read the same way.
    page = shown(ada, sent(ada, into, GERMAN))
    assert chosen(page)["column.1"] == "revision"
    assert 'value="de-AT"' in page


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"column.1": "sha256"}, "cannot both be"),
        ({"constant.media_type": "no type"}, "cannot stand for"),
        ({"column.0": "", "column.6": ""}, "No column is set for"),
    ],
)
def test_what_cannot_be_meant_is_said_and_not_imported(
    ada: Client, into: str, values: dict[str, str], says: str
) -> None:
    address = sent(ada, into, GERMAN)
    answer = ada.post(address, {**chosen(shown(ada, address)), **values, "run": "1"})
    assert answer.status_code in {200, 422}
    assert says in answer.content.decode()
    assert jobs() == []


def test_a_file_that_is_too_large_is_refused_before_its_first_byte(
    ada: Client, into: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = ada.post(
        f"/files/collections/{into}/files/begin/", {"name": "big.csv", "length": str(10 * 10**9)}
    )
    assert answer.status_code == 422
    assert "larger than 4 GiB" in answer.json()["error"]
    monkeypatch.setattr(import_pages, "PLAIN_LENGTH_MAX", 1 << 20)
    form = {"file": SimpleUploadedFile("big.csv", bytes(1 + (1 << 20)))}
    answer = ada.post(f"/files/collections/{into}/files/", form)
    assert answer.status_code == 422
    assert "larger than 1 MiB" in answer.content.decode()
    for length in ("0", "-1", "many", ""):
        answer = ada.post(f"/files/collections/{into}/files/begin/", {"length": length})
        assert answer.status_code == 422
    with system("count a test's uploads"):
        assert not Upload.objects.exists()


def test_a_script_sends_pieces_with_the_persons_session(
    ada: Client, archive: Organization, into: str
) -> None:
    data = GERMAN.encode()
    begun = ada.post(
        f"/files/collections/{into}/files/begin/", {"name": "a.csv", "length": len(data)}
    ).json()
    headers = {"Licet-Organization": str(archive.pk)}

    def piece(offset: int, end: int) -> Any:
        return ada.generic(
            "PATCH",
            begun["url"],
            data[offset:end],
            content_type=PIECE,
            headers={**headers, "Upload-Offset": str(offset)},
        )

    assert piece(0, 500).json()["offset"] == 500
    # A piece that came twice, since its answer was lost: the script asks where to go on.
    assert piece(0, 500).status_code == 409
    assert ada.get(begun["url"], headers=headers).json()["offset"] == 500
    assert piece(500, len(data)).json()["offset"] == len(data)
    finished = ada.post(
        f"{begun['url']}/finish", "{}", content_type="application/json", headers=headers
    )
    assert finished.json()["status"] == "finished"
    assert "Brief 19" in shown(ada, begun["next"])


def test_hostile_cells_stay_text(ada: Client, archive: Organization, into: str) -> None:
    bad = '"<script>alert(1)</script>"'
    content = f"id,sha256,length,{bad},title\nx,{digest('x')},1,{bad},{bad}\n{bad},,1,,\n"
    page = shown(ada, sent(ada, into, content, name="<img src=x>.csv"))
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


def test_an_import_is_watched_canceled_and_gone_on_with(
    ada: Client, archive: Organization, into: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = ran(ada, sent(ada, into, GERMAN))
    monkeypatch.setattr(engine, "BATCH_LENGTH", 10)
    commit, seen = engine._commit, []

    def fails_after_one(*arguments: Any) -> None:
        if seen:
            raise OSError(5, "The disk is gone")
        commit(*arguments)
        seen.append(ada.get(progress.replace("progress/", "fragment/")).content.decode())

    monkeypatch.setattr(engine, "_commit", fails_after_one)
    assert queue.carry_out_due() == 1
    assert 'data-open="yes"' in seen[0]
    assert "rows a second" in seen[0]
    assert "left." in seen[0]
    assert "<html" not in seen[0]
    page = shown(ada, progress)
    assert "The disk is gone" in page
    assert "Go on where it stopped" in page
    monkeypatch.setattr(engine, "_commit", commit)
    assert ada.post(progress.replace("progress/", "resume/")).status_code == 302
    assert queue.carry_out_due() == 1
    assert (jobs()[0].status, jobs()[0].imported, jobs()[0].repeated) == ("finished", 30, 0)
    answer = ada.post(progress.replace("progress/", "cancel/"))
    assert answer.status_code == 409
    assert "finished" in answer.content.decode()
    waiting = ran(ada, sent(ada, into, GERMAN))
    assert ada.post(waiting.replace("progress/", "cancel/")).status_code == 302
    assert jobs()[1].status == "canceled"
    assert queue.carry_out_due() == 0


def test_rejected_rows_are_downloaded_corrected_and_sent_again(
    ada: Client, archive: Organization, into: str
) -> None:
    progress = ran(ada, sent(ada, into, GERMAN.replace("Brief ohne Summe", "=1+1")))
    assert queue.carry_out_due() == 1
    answer = ada.get(progress.replace("progress/", "rejected-rows.csv"))
    assert answer["Content-Disposition"].startswith("attachment")
    text = b"".join(answer).decode()
    header, row = csv.reader(io.StringIO(text))
    assert row[5] == "'=1+1"
    row[6] = digest("30")
    out = io.StringIO()
    csv.writer(out).writerows([header, row])
    page = shown(ada, progress)
    again = re.search(r'href="([^"]*\?again=[^"]*)"', page)
    assert again is not None
    assert "You correct what was rejected" in shown(ada, again[1])
    corrected = ran(ada, sent(ada, into, out.getvalue()))
    assert queue.carry_out_due() == 1
    assert "Finished." in shown(ada, corrected)
    assert (jobs()[1].imported, jobs()[1].rejected) == (1, 0)
    assert ("b-30", "=1+1", "de") in works(archive)
    report = b"".join(ada.get(progress.replace("progress/", "report.csv"))).decode()
    assert report.splitlines()[1].startswith("32,sha256,no_digest")


def test_files_become_hosted_works_whatever_they_are(
    ada: Client, archive: Organization, into: str
) -> None:
    files = [
        SimpleUploadedFile("page.html", b"<script>alert(1)</script>"),
        SimpleUploadedFile("drawing.svg", b"<svg onload='alert(1)'/>"),
        SimpleUploadedFile("again.html", b"<script>alert(1)</script>"),
    ]
    answer = ada.post(f"/files/collections/{into}/files/folder/", {"file": files})
    page = answer.content.decode()
    assert "2 works came in" in page
    assert "again.html: The collection holds the same bytes already." in page
    with acting(caller_for(archive), writing=False):
        forms = Representation.objects.filter(organization=archive).order_by("media_type")
        kept = [(form.media_type, form.custody, bytes(form.digest)) for form in forms]
    assert [(kind, custody) for kind, custody, _digest in kept] == [
        ("image/svg+xml", "hosted"),
        ("text/html", "hosted"),
    ]
    assert all(storage.length(one) for _kind, _custody, one in kept)
    with acting(caller_for(archive), writing=False):
        # What was refused takes no room either.
        assert set(Upload.objects.values_list("status", flat=True)) == {"discarded"}


def test_the_script_hosts_a_file_once_though_it_asks_twice(
    ada: Client, archive: Organization, into: str
) -> None:
    begun = ada.post(
        f"/files/collections/{into}/files/begin/", {"name": "a/b.txt", "length": 2}
    ).json()
    ada.generic("PATCH", begun["url"], b"ab", content_type=PIECE, headers={"Upload-Offset": "0"})
    ada.post(f"{begun['url']}/finish", "{}", content_type="application/json")
    for _time in range(2):
        answer = ada.post(
            f"/files/collections/{into}/files/host/",
            {"upload": begun["upload"], "name": "a/b.txt"},
        )
        assert answer.status_code == 201
    assert works(archive) == [("a/b.txt", "b.txt", "")]
    other = ada.post(
        f"/files/collections/{into}/files/host/", {"upload": begun["upload"], "name": "other"}
    )
    assert other.status_code == 409


ADDRESSES = [
    "collections/{into}/files/",
    "collections/{into}/files/folder/",
    "collections/{into}/files/{upload}/",
    "imports/{job}/progress/",
    "imports/{job}/fragment/",
    "imports/{job}/report.csv",
    "imports/{job}/rejected-rows.csv",
]
POSTS = [
    "collections/{into}/files/",
    "collections/{into}/files/begin/",
    "collections/{into}/files/host/",
    "collections/{into}/files/folder/",
    "collections/{into}/files/{upload}/",
    "imports/{job}/cancel/",
    "imports/{job}/resume/",
]


def test_a_stranger_gets_404_everywhere_and_who_may_not_write_403(
    ada: Client, archive: Organization, stranger: Organization, into: str
) -> None:
    address = sent(ada, into, GERMAN)
    job = ran(ada, address).split("/")[-3]
    known = {"into": into, "upload": address.split("/")[-2], "job": job}
    eve, viewer = person(stranger), person(archive, "viewer")
    form: Callable[[], dict[str, Any]] = lambda: {  # noqa: E731
        "file": SimpleUploadedFile("a.csv", b"a"),
        "length": "5",
        "upload": known["upload"],
        "run": "1",
    }
    for route in ADDRESSES:
        assert eve.get(f"/files/{route.format(**known)}").status_code == 404, route
    for route in POSTS:
        assert eve.post(f"/files/{route.format(**known)}", form()).status_code == 404, route
        assert viewer.post(f"/files/{route.format(**known)}", form()).status_code == 403, route
    # A collection of one's own does not open another's upload.
    own = str(collections.create(caller_for(stranger), name="Theirs").pk)
    assert eve.get(f"/files/collections/{own}/files/{known['upload']}/").status_code == 404
    assert viewer.get(f"/files/imports/{job}/progress/").status_code == 200
    assert jobs()[0].status == "queued"
    assert works(archive) == []
    with system("count a test's uploads"):
        assert Upload.objects.count() == 1


@pytest.mark.chaos
@pytest.mark.django_db(transaction=True)
def test_an_import_from_the_browser_survives_its_worker(
    tmp_path: Path, django_db_setup: TestDatabase
) -> None:
    """A whole `manage.py worker` is killed amid the file; the next one brings in each row once."""
    archive = found("Archive", "platform")
    ada = person(archive)
    into = str(collections.create(caller_for(archive), name="Letters").pk)
    count = 60_000
    rows = (f"w-{n:06},{digest(str(n))},{n + 1},Letter {n}" for n in range(count))
    content = "\n".join(["asset id,sha-256,size,Titel", *rows])
    progress = ran(ada, sent(ada, into, content), **{"constant.language": "de"})
    environ = {
        **django_db_setup.environ,
        "LICET_UPLOAD_DIR": str(tmp_path / "uploads"),
        "LICET_STORAGE_DIR": str(tmp_path / "works"),
    }
    worker = subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        cwd=django_settings.BASE_DIR,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not jobs()[0].imported:
        time.sleep(0.02)
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()
    [before] = jobs()
    assert before.status == "running"
    assert 0 < before.imported < count
    assert "Running." in shown(ada, progress)
    # Nobody takes it while the dead worker's lease lasts.
    assert queue.carry_out_due() == 0
    with system("let a dead worker's lease end in a test"):
        ImportJob.objects.update(leased_until=timezone.now())
    assert queue.carry_out_due() == 1
    assert "Finished." in shown(ada, progress)
    [job] = jobs()
    assert (job.imported, job.repeated, job.rejected) == (count, 0, 0)
    with system("count a test's works"):
        assert Work.objects.filter(language="de").count() == count
