"""Imports in the worker's hands: taken over, canceled midway, or never to be finished."""

from __future__ import annotations

import functools
import hashlib
import io
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone

from marketplace import collections, sharing, uploads
from marketplace.access import acting, system
from marketplace.errors import ImportUnderWay
from marketplace.imports import engine, queue
from marketplace.models import Audit, ImportJob, Organization, Work
from tests.marketplace.test_imports import in_threads
from tests.marketplace.test_sharing import member
from tests.people import ApiClient, caller_for, found

ClientFor = Callable[..., ApiClient]
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def upload_dir(settings: Any, tmp_path: Path) -> None:
    settings.UPLOAD_DIR = tmp_path / "uploads"


def table(count: int) -> str:
    rows = (f"w-{n},{hashlib.sha256(str(n).encode()).hexdigest()},10" for n in range(count))
    return "\n".join(["external_id,sha256,length", *rows])


def upload(organization: Organization, content: str) -> str:
    caller, data = caller_for(organization), content.encode()
    begun = uploads.begin(caller, length=len(data))
    uploads.append(caller, begun.pk, 0, io.BytesIO(data))
    return str(uploads.finish(caller, begun.pk).pk)


def asked(organization: Organization, count: int = 30) -> ImportJob:
    caller = caller_for(organization)
    into = str(collections.create(caller, name="Letters").pk)
    return queue.ask(
        caller, into, reader=caller, upload=upload(organization, table(count)), format="csv"
    )


def now(job: ImportJob) -> ImportJob:
    with system("look at a test's import"):
        return ImportJob.objects.get(pk=job.pk)


def let_leases_end() -> None:
    with system("let a lease end in a test"):
        ImportJob.objects.update(leased_until=timezone.now() - timedelta(seconds=1))


def test_an_import_that_another_worker_took_over_is_not_failed_by_the_first(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(archive)

    def late(*_arguments: Any, **_options: Any) -> None:
        raise ImportUnderWay("Another process goes on.")

    monkeypatch.setattr(engine, "_commit", late)
    assert queue.carry_out_due() == 1
    assert (now(job).status, now(job).failure) == ("running", "")
    monkeypatch.undo()
    let_leases_end()
    assert queue.carry_out_due() == 1
    assert (now(job).status, now(job).imported) == ("finished", 30)


def test_a_file_that_kills_its_workers_is_given_up(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(archive)

    def dies(*_arguments: Any, **_options: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(engine, "go_on", dies)
    for _time in range(queue.ATTEMPTS_MAX):
        with pytest.raises(SystemExit):
            queue.carry_out_due()
        let_leases_end()
    assert queue.carry_out_due() == 1
    assert (now(job).status, now(job).leased_until) == ("failed", None)
    assert "stopped at the same place" in now(job).failure
    assert queue.carry_out_due() == 0


def test_an_import_that_gets_on_may_be_taken_up_again_and_again(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(archive, count=30)
    monkeypatch.setattr(engine, "BATCH_LENGTH", 3)
    monkeypatch.setattr(engine, "_stop", lambda *_arguments: None)
    commit, batches = engine._commit, [0]

    def dies_at_every_second(*arguments: Any) -> None:
        batches[0] += 1
        if batches[0] % 2 == 0:
            raise SystemExit
        commit(*arguments)

    monkeypatch.setattr(engine, "_commit", dies_at_every_second)
    for _time in range(queue.ATTEMPTS_MAX + 4):
        with pytest.raises(SystemExit):
            queue.carry_out_due()
        let_leases_end()
    monkeypatch.setattr(engine, "_commit", commit)
    assert queue.carry_out_due() == 1
    assert (now(job).status, now(job).imported, now(job).repeated) == ("finished", 30, 0)


def test_canceling_ends_a_running_import_after_its_batch(
    client_for: ClientFor, archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, client = asked(archive), client_for(archive)
    monkeypatch.setattr(engine, "BATCH_LENGTH", 10)
    commit = engine._commit

    def cancel_after(*arguments: Any) -> None:
        commit(*arguments)
        assert client.post(f"/v1/imports/{job.pk}/cancel").status_code == 200

    monkeypatch.setattr(engine, "_commit", cancel_after)
    assert queue.carry_out_due() == 1
    shown = client.get(f"/v1/imports/{job.pk}").json()
    assert (shown["status"], shown["imported"]) == ("canceled", 10)
    with acting(caller_for(archive), writing=False):
        assert Work.objects.filter(organization=archive).count() == 10
        acts = Audit.objects.filter(subject=str(job.pk)).order_by("id")
        assert list(acts.values_list("action", flat=True)) == ["import.queued", "import.canceled"]


def test_what_has_ended_cannot_be_canceled(client_for: ClientFor, archive: Organization) -> None:
    job = asked(archive, count=1)
    queue.carry_out_due()
    answer = client_for(archive).post(f"/v1/imports/{job.pk}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "import_ended")
    assert now(job).status == "finished"


def test_an_upload_that_is_gone_fails_its_import_and_no_other(
    archive: Organization, tmp_path: Path
) -> None:
    gone = asked(archive)
    for path in (tmp_path / "uploads").rglob("*"):
        if path.is_file():
            path.unlink()
    other = asked(archive)
    assert [queue.carry_out_due(), queue.carry_out_due()] == [1, 1]
    assert (now(gone).status, now(other).status) == ("failed", "finished")
    assert str(tmp_path) not in now(gone).failure


@pytest.mark.django_db(transaction=True)
def test_two_workers_never_run_the_same_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail when a claim takes no lease."""
    archive = found("Archive", "platform")
    jobs = [asked(archive, count=20) for _time in range(3)]
    both = threading.Barrier(3)
    run: list[Any] = []
    go_on = engine.go_on

    def counted(caller: Any, job: ImportJob, *more: Any, **options: Any) -> ImportJob:
        run.append(job.pk)
        return go_on(caller, job, *more, **options)

    monkeypatch.setattr(engine, "go_on", counted)

    def work() -> None:
        both.wait(10)
        while queue.carry_out_due():
            pass
        connection.close()

    in_threads(work, work, work)
    assert sorted(run) == sorted(job.pk for job in jobs)
    assert [now(job).status for job in jobs] == ["finished"] * 3


@pytest.mark.django_db(transaction=True)
def test_an_outside_editor_imports_an_upload_of_their_own(lab: Organization) -> None:
    archive = found("Archive", "platform")
    into = str(collections.create(caller_for(archive), name="Letters").pk)
    eve = member(lab, "eve@example.org", role="owner")
    address = f"/v1/collections/{into}/imports"
    own, foreign = (
        {"upload": upload(organization, table(5)), "format": "csv"}
        for organization in (lab, archive)
    )
    post = functools.partial(eve.post, address, content_type="application/json")
    assert post(own).status_code == 404
    sharing.share(caller_for(archive), into, email="eve@example.org", right="edit")
    [link] = re.findall(r"http://127\.0\.0\.1:8000(/\S+)", str(mail.outbox[-1].body))
    assert eve.post(link).status_code == 302
    # Of the owner's uploads they see none.
    assert post(foreign).status_code == 404
    assert post(own).status_code == 202
    assert queue.carry_out_due() == 1
    with system("look at a test's import"):
        job = ImportJob.objects.get()
        works = Work.objects.filter(organization=archive)
        assert (job.status, job.organization_id, works.count()) == ("finished", archive.pk, 5)
        assert not Work.objects.filter(organization=lab).exists()
