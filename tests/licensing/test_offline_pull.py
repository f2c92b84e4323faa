"""`pull` keeps exactly the licensed bytes, goes on where it stopped, and says what is missing."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from licensing import settree
from licensing.offline import __main__ as command
from licensing.offline import links, pull, shards
from licensing.offline.links import PullError
from licensing.offline.pull import Job, Result
from tests.licensing.offline_seller import API_KEY, GRANT, ROOT, Seller, some_works


@pytest.fixture
def seller() -> Iterator[Seller]:
    server = Seller(some_works())
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(links, "_BACKOFF_SECONDS", 0.001)


@pytest.fixture
def job(seller: Seller, tmp_path: Path) -> Job:
    return Job(seller.url, GRANT, API_KEY, tmp_path / "works here", jobs=4, timeout_seconds=5)


def stored(job: Job) -> dict[str, bytes]:
    """Every file below works/ that is a whole work, by its name."""
    found = [path for path in job.directory.glob("works/*/*") if path.suffix != ".part"]
    assert all(path.parent.name == path.name[:2] for path in found)
    return {path.name: path.read_bytes() for path in found}


def largest(seller: Seller) -> str:
    return max(seller.works, key=lambda digest: len(seller.works[digest]))


def test_a_pull_brings_every_work_and_says_which_set_it_is(seller: Seller, job: Job) -> None:
    outcome = pull.run(job)
    assert outcome.complete
    assert outcome.counts == {Result.FETCHED: 40}
    assert stored(job) == seller.works
    assert outcome.bytes_fetched == sum(map(len, seller.works.values()))
    snapshot = json.loads(seller.manifest().splitlines()[0])["snapshot"]
    assert outcome.report()["snapshot"] == snapshot
    assert snapshot["citation"] in outcome.describe()
    assert "TEST LICENSE, no money moved" in outcome.describe()
    # Nothing is written where the manifest's own names point.
    assert sorted(path.name for path in job.directory.iterdir()) == [
        "index.ndjson",
        "manifest.ndjson",
        "works",
    ]
    assert list(job.directory.parent.iterdir()) == [job.directory]


def test_the_index_maps_works_to_the_sellers_names(seller: Seller, job: Job) -> None:
    pull.run(job)
    lines = [json.loads(line) for line in (job.directory / "index.ndjson").read_text().splitlines()]
    assert [line["digest"] for line in lines] == sorted(seller.works)
    digest = lines[0]["digest"]
    assert lines[0] == {
        "digest": digest,
        "file": f"works/{digest[:2]}/{digest}",
        "length": len(seller.works[digest]),
        "media_type": "text/plain",
        "external_id": f"ext-{digest[:4]}",
        "title": None,
        "path": "../../escape.txt",
    }


def test_the_api_key_goes_to_the_api_only(seller: Seller, job: Job) -> None:
    pull.run(job)
    assert seller.authorized == [f"/v1/grants/{GRANT}/manifest"]
    assert stat.S_IMODE((job.directory / "manifest.ndjson").stat().st_mode) == 0o600
    assert API_KEY not in repr(job)


def test_a_second_pull_fetches_no_work_again(seller: Seller, job: Job) -> None:
    pull.run(job)
    seller.requests.clear()
    outcome = pull.run(job)
    assert outcome.counts == {Result.PRESENT: 40}
    assert outcome.bytes_fetched == 0
    assert seller.requests == {"manifest": 1, "token": 1}


def test_a_changed_file_is_fetched_again(seller: Seller, job: Job) -> None:
    pull.run(job)
    digest = largest(seller)
    path = job.directory / "works" / digest[:2] / digest
    path.write_bytes(b"x" + path.read_bytes()[1:])
    outcome = pull.run(job)
    assert outcome.counts == {Result.PRESENT: 39, Result.FETCHED: 1}
    assert stored(job) == seller.works


def test_after_a_kill_no_finished_work_is_fetched_again(seller: Seller, job: Job) -> None:
    seller.delay_seconds = 0.05
    arguments = ["--server", seller.url, "--grant", GRANT, "--to", str(job.directory)]
    process = subprocess.Popen(
        [sys.executable, "-m", "licensing.offline", "pull", *arguments, "--jobs", "2"],
        env={**os.environ, "LICET_KEY": API_KEY},
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while len(stored(job)) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finished = set(stored(job))
    assert 5 <= len(finished) < 40
    assert not (job.directory / "index.ndjson").exists()

    seller.delay_seconds = 0
    seller.requests.clear()
    outcome = pull.run(job)
    assert outcome.complete
    assert outcome.counts[Result.PRESENT] == len(finished)
    assert not finished & set(seller.requests)
    assert stored(job) == seller.works


@pytest.mark.parametrize("takes_ranges", [True, False])
def test_half_a_file_is_gone_on_with(seller: Seller, job: Job, takes_ranges: bool) -> None:
    digest = largest(seller)
    seller.takes_ranges = takes_ranges
    seller.break_once = {digest}
    outcome = pull.run(job)
    assert outcome.complete
    assert seller.ranges == [digest]
    assert seller.requests[digest] == 2
    assert stored(job) == seller.works
    length, total = len(seller.works[digest]), sum(map(len, seller.works.values()))
    # With ranges not a byte twice; without, the first half was in vain.
    assert outcome.bytes_fetched == total + (0 if takes_ranges else length // 2)


def test_a_false_part_is_thrown_away(seller: Seller, job: Job) -> None:
    for digest, junk in zip(sorted(seller.works)[:3], (b"junk", b"j" * 9000, b""), strict=True):
        folder = job.directory / "works" / digest[:2]
        folder.mkdir(parents=True)
        (folder / f"{digest}.part").write_bytes(junk)
    assert pull.run(job).complete
    assert stored(job) == seller.works
    assert not list(job.directory.glob("works/*/*.part"))


def test_a_wrong_byte_is_never_kept(seller: Seller, job: Job) -> None:
    wrong, longer, shorter = sorted(seller.works, key=lambda each: len(seller.works[each]))[-3:]
    seller.served[wrong] = bytes([seller.works[wrong][0] ^ 1]) + seller.works[wrong][1:]
    seller.served[longer] += b"x"
    seller.served[shorter] = seller.works[shorter][:-1]
    outcome = pull.run(job)
    assert not outcome.complete
    assert set(outcome.failed) == {wrong, longer, shorter}
    assert "other bytes" in outcome.failed[wrong]
    assert set(stored(job)) == set(seller.works) - {wrong, longer, shorter}
    assert outcome.verified == 37
    assert f"MISSING {wrong}" in outcome.describe()
    assert outcome.report()["complete"] is False
    indexed = (job.directory / "index.ndjson").read_text()
    assert wrong not in indexed


def expire_after_the_manifest(seller: Seller) -> None:
    """The manifest's links have expired when they are used; newer ones work."""
    seller.expired = {1}
    original = seller.manifest

    def manifest() -> bytes:
        data = original()
        seller.generation = 2
        return data

    seller.manifest = manifest  # type: ignore[method-assign]


def test_expired_links_are_refreshed_for_all_that_come_next(seller: Seller, job: Job) -> None:
    expire_after_the_manifest(seller)
    outcome = pull.run(job)
    assert outcome.complete
    assert seller.requests["manifest"] == 1
    # From a refused one on; the others use what came with it. Of those that are fetched at once, a
    # later one may be refused first, and an earlier one asks again.
    assert 1 <= len(seller.links_given) <= job.jobs
    for asked in seller.links_given:
        assert asked == sorted(seller.works)[-len(asked) :]
    assert stored(job) == seller.works


def test_links_are_renewed_some_at_a_time(
    seller: Seller, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "RENEWED_AT_ONCE", 7)
    expire_after_the_manifest(seller)
    assert pull.run(job).complete
    assert max(len(asked) for asked in seller.links_given) == 7
    assert {digest for asked in seller.links_given for digest in asked} == set(seller.works)
    assert stored(job) == seller.works


def test_links_that_never_work_end_in_failures(seller: Seller, job: Job) -> None:
    seller.expired = {1}
    outcome = pull.run(job)
    assert len(outcome.failed) == 40
    assert all("link_expired" in reason for reason in outcome.failed.values())


def test_a_grant_that_ends_meanwhile_stops_the_pull(seller: Seller, job: Job) -> None:
    seller.expired = {1}
    seller.answers["links"] = [(409, {})] * 9
    with pytest.raises(PullError, match="HTTP 409 told_so") as refused:
        pull.run(job)
    assert refused.value.code == "told_so"


@pytest.mark.parametrize("is_expired", [True, False])
def test_a_work_taken_out_meanwhile_is_excluded_and_not_missing(
    seller: Seller, job: Job, is_expired: bool
) -> None:
    if is_expired:
        expire_after_the_manifest(seller)
    seller.taken_out = {largest(seller)}
    outcome = pull.run(job)
    assert outcome.failed == {}
    assert outcome.complete
    assert outcome.counts == {Result.FETCHED: 39, Result.EXCLUDED: 1}
    assert largest(seller) not in (job.directory / "index.ndjson").read_text()


def test_an_excluded_work_that_is_here_from_before_is_said_to_be_so(
    seller: Seller, job: Job
) -> None:
    pull.run(job)
    digest = largest(seller)
    seller.excluded = {digest: "opted_out"}
    seller.requests.clear()
    outcome = pull.run(job)
    assert outcome.complete
    assert outcome.counts == {Result.PRESENT: 39, Result.EXCLUDED: 1}
    assert outcome.report()["excluded_but_here"] == 1
    assert "1 EXCLUDED works are still here" in outcome.describe()
    assert digest not in (job.directory / "index.ndjson").read_text()
    # What the licensee may still do with it is the notice's to say, not this tool's.
    assert digest in stored(job)
    assert digest not in seller.requests


# --- out of shards ----------------------------------------------------------------------------


@pytest.fixture
def sharded(seller: Seller, job: Job) -> Job:
    seller.is_sharded = True
    return replace(job, shards=True)


def test_small_works_come_many_at_a_time(seller: Seller, sharded: Job) -> None:
    outcome = pull.run(sharded)
    assert outcome.complete
    assert outcome.counts == {Result.FETCHED: 40}
    assert stored(sharded) == seller.works
    assert seller.requests == {"manifest": 1, "token": 1, "0.tar": 1}
    assert outcome.bytes_fetched == sum(map(len, seller.works.values()))


def test_without_shards_in_the_manifest_works_come_singly(seller: Seller, job: Job) -> None:
    assert pull.run(replace(job, shards=True)).complete
    assert stored(job) == seller.works


def test_only_what_is_missing_is_asked_for(seller: Seller, sharded: Job) -> None:
    pull.run(sharded)
    digests = sorted(seller.works)
    for digest in (digests[3], digests[4], digests[20]):
        (sharded.directory / "works" / digest[:2] / digest).unlink()
    seller.ranges.clear()
    outcome = pull.run(sharded)
    assert outcome.counts == {Result.PRESENT: 37, Result.FETCHED: 3}
    assert len(seller.ranges) == 2
    assert stored(sharded) == seller.works


def test_large_works_come_singly(
    seller: Seller, sharded: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "LENGTH_MAX", 3000)
    assert pull.run(sharded).complete
    large = {digest for digest, work in seller.works.items() if len(work) > 3000}
    assert set(seller.requests) & set(seller.works) == large
    assert stored(sharded) == seller.works


def test_a_broken_shard_is_gone_on_with_after_its_last_whole_work(
    seller: Seller, sharded: Job
) -> None:
    seller.break_once = {"shard"}
    outcome = pull.run(sharded)
    assert outcome.complete
    assert stored(sharded) == seller.works
    first, second = (int(each[6:].partition("-")[0]) for each in seller.ranges)
    assert first == 0 < second
    assert outcome.bytes_fetched == sum(map(len, seller.works.values()))


def test_after_a_kill_no_work_out_of_a_shard_is_fetched_again(
    seller: Seller, sharded: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    seller.delay_seconds = 0.2
    arguments = ["--server", seller.url, "--grant", GRANT, "--to", str(sharded.directory)]
    # Four works to a request: then there is a middle to be killed in.
    program = (
        "import sys; from licensing.offline import __main__, pull; pull.SHARD_BATCH = 4;"
        "sys.exit(__main__.main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "pull", *arguments, "--jobs", "1", "--shards"],
        env={**os.environ, "LICET_KEY": API_KEY},
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while len(stored(sharded)) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finished = set(stored(sharded))
    assert 8 <= len(finished) < 40

    seller.delay_seconds = 0
    outcome = pull.run(sharded)
    assert outcome.complete
    assert outcome.counts == {Result.PRESENT: len(finished), Result.FETCHED: 40 - len(finished)}
    missing = sum(len(work) for digest, work in seller.works.items() if digest not in finished)
    assert outcome.bytes_fetched == missing
    assert stored(sharded) == seller.works


def test_what_a_shard_refuses_is_asked_for_singly(seller: Seller, sharded: Job) -> None:
    seller.taken_out = {largest(seller)}
    outcome = pull.run(sharded)
    assert outcome.complete
    assert outcome.counts == {Result.FETCHED: 39, Result.EXCLUDED: 1}
    assert seller.requests["0.tar"] == 1


def test_a_wrong_byte_in_a_shard_is_never_kept(seller: Seller, sharded: Job) -> None:
    digest = largest(seller)
    seller.served[digest] = bytes([seller.works[digest][0] ^ 1]) + seller.works[digest][1:]
    outcome = pull.run(sharded)
    assert set(outcome.failed) == {digest}
    assert set(stored(sharded)) == set(seller.works) - {digest}


def test_a_shard_of_other_works_gives_none(seller: Seller, sharded: Job) -> None:
    original = seller.shard
    seller.shard = lambda: original()[512:] + bytes(512)  # type: ignore[method-assign]
    assert pull.run(sharded).complete
    assert stored(sharded) == seller.works


def test_a_server_without_ranges_is_asked_for_works_singly(seller: Seller, sharded: Job) -> None:
    seller.takes_ranges = False
    assert pull.run(sharded).complete
    assert seller.requests["0.tar"] == 1
    assert stored(sharded) == seller.works


def test_an_expired_shard_link_is_renewed(seller: Seller, sharded: Job) -> None:
    expire_after_the_manifest(seller)
    assert pull.run(sharded).complete
    assert seller.links_given == [[]]
    assert stored(sharded) == seller.works


def test_shards_of_another_manifest_are_not_asked_for(seller: Seller, sharded: Job) -> None:
    expire_after_the_manifest(seller)
    seller.manifest_id_now = "0" * 64
    assert pull.run(sharded).complete
    assert seller.requests["0.tar"] == 1
    assert stored(sharded) == seller.works


@pytest.mark.parametrize(
    "change",
    [{"manifest": "0" * 64}, {"excluded": 1}, {"excluded": None}, {"bytes": 0}],
)
def test_a_manifest_that_is_not_what_it_calls_itself_is_refused(
    seller: Seller, sharded: Job, change: dict[str, Any]
) -> None:
    seller.end = [seller.end_of_shards() | change]
    with pytest.raises(PullError) as refused:
        pull.run(sharded)
    assert refused.value.code == "manifest_differs"
    assert stored(sharded) == {}


def test_an_exclusion_that_the_name_does_not_hold_is_refused(seller: Seller, sharded: Job) -> None:
    """Nobody between server and licensee can hide a work as excluded."""
    digest = largest(seller)
    seller.changed_lines[digest] = {"excluded": "opted_out", "url": None}
    seller.end = [seller.end_of_shards() | {"excluded": 1}]
    with pytest.raises(PullError) as refused:
        pull.run(sharded)
    assert refused.value.code == "manifest_differs"


@pytest.mark.parametrize("change", [{"shard": 0, "offset": None}, {"shard": -1}, {"offset": "x"}])
def test_a_place_that_is_none_is_refused(
    seller: Seller, sharded: Job, change: dict[str, Any]
) -> None:
    seller.changed_lines[largest(seller)] = change
    with pytest.raises(PullError) as refused:
        pull.run(sharded)
    assert refused.value.code == "manifest_invalid"


# --- answers of every kind --------------------------------------------------------------------


def test_a_withheld_work_is_counted_and_not_missing(seller: Seller, job: Job) -> None:
    seller.withheld = {largest(seller)}
    outcome = pull.run(job)
    assert outcome.complete
    assert outcome.counts == {Result.FETCHED: 39, Result.WITHHELD: 1}
    assert largest(seller) not in stored(job)


def test_a_busy_server_is_asked_again(seller: Seller, job: Job) -> None:
    digest = largest(seller)
    seller.answers = {
        "manifest": [(503, {"Retry-After": "0"}), (429, {"Retry-After": "0"})],
        "token": [(502, {})],
        digest: [(500, {}), (503, {"Retry-After": "x"}), (302, {"Location": f"/works/1/{digest}"})],
    }
    assert pull.run(job).complete
    # Two errors, the redirect, and where it leads.
    assert seller.requests[digest] == 4


def test_a_server_that_stays_broken_is_given_up_on(seller: Seller, job: Job) -> None:
    digest = largest(seller)
    seller.answers[digest] = [(500, {})] * 99
    gone = min(seller.works)
    seller.answers[gone] = [(404, {})]
    outcome = pull.run(job)
    assert set(outcome.failed) == {digest, gone}
    assert seller.requests[digest] == pull.ATTEMPTS_MAX
    assert seller.requests[gone] == 1
    assert outcome.failed[gone] == "HTTP 404 told_so: as the test told it"


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ([], "manifest_incomplete"),
        ([{"type": "end", "count": 39}], "manifest_incomplete"),
        ([{"type": "error", "code": "grant_suspended", "detail": "…"}], "grant_suspended"),
        ([{"type": "end", "count": 40}, {"type": "work"}], "manifest_invalid"),
        ([{"type": "surprise"}], "manifest_invalid"),
    ],
)
def test_a_manifest_that_does_not_end_well_brings_nothing(
    seller: Seller, job: Job, end: list[dict[str, Any]], code: str
) -> None:
    seller.end = end
    with pytest.raises(PullError) as refused:
        pull.run(job)
    assert refused.value.code == code
    assert stored(job) == {}
    assert not (job.directory / "manifest.ndjson").exists()
    assert not set(seller.works) & set(seller.requests)


def changed_snapshot(seller: Seller, **change: Any) -> dict[str, Any]:
    head = json.loads(seller.manifest().splitlines()[0])
    snapshot: dict[str, Any] = head["snapshot"] | change
    named = {key: snapshot[key] for key in ("tree", "type", "size", "root", "totals")}
    snapshot["citation"] = (
        settree.SetRoot(**named | {"root": bytes.fromhex(snapshot["root"])}).citation().hex()
    )
    return snapshot


@pytest.mark.parametrize("change", [{"size": 41}, {"root": "00" * 32}, {"type": "manifest"}])
def test_works_that_are_not_the_cited_set_are_refused(
    seller: Seller, job: Job, change: dict[str, Any]
) -> None:
    seller.manifest_changes = {"snapshot": changed_snapshot(seller, **change)}
    with pytest.raises(PullError) as refused:
        pull.run(job)
    assert refused.value.code == "set_root_differs"
    assert stored(job) == {}


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "../../../../etc/passwd"},
        {"digest": "A" * 64},
        {"length": -1},
        {"length": True},
        {"length": 7},
        {"media_type": "text/html"},
        {"url": 1},
        {"metadata": None},
        {"metadata": {"representation": {}}},
    ],
)
def test_a_malformed_line_is_refused(seller: Seller, job: Job, change: dict[str, Any]) -> None:
    seller.changed_lines[largest(seller)] = change
    with pytest.raises(PullError) as refused:
        pull.run(job)
    assert refused.value.code == "manifest_invalid"
    assert stored(job) == {}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"v": 2}, "manifest_invalid"),
        ({"secret": "00"}, "manifest_invalid"),
        ({"secret": None}, "manifest_invalid"),
        ({"snapshot": {}}, "manifest_invalid"),
        ({"livemode": None}, "manifest_invalid"),
        ({"secret": "11" * 32}, "set_root_differs"),
        ({"grant": "grt_another"}, "other_grant"),
    ],
)
def test_a_manifest_with_a_wrong_head_is_refused(
    seller: Seller, job: Job, change: dict[str, Any], code: str
) -> None:
    seller.manifest_changes = change
    with pytest.raises(PullError) as refused:
        pull.run(job)
    assert refused.value.code == code
    assert stored(job) == {}


def test_a_link_to_no_web_server_is_refused(seller: Seller, job: Job, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    seller.changed_lines[largest(seller)] = {"url": secret.as_uri()}
    outcome = pull.run(job)
    assert "not a web address" in outcome.failed[largest(seller)]


def test_the_receipt_must_cover_the_set(seller: Seller, tmp_path: Path) -> None:
    citation = json.loads(seller.manifest().splitlines()[0])["snapshot"]["citation"]
    job = Job(seller.url, GRANT, API_KEY, tmp_path, covered=frozenset({"00" * 32, citation}))
    assert "which the receipt covers" in pull.run(job).describe()
    other = Job(seller.url, GRANT, API_KEY, tmp_path, covered=frozenset({"00" * 32}))
    with pytest.raises(PullError) as refused:
        pull.run(other)
    assert refused.value.code == "not_covered"


def test_a_wrong_key_or_address_is_explained(seller: Seller, job: Job, tmp_path: Path) -> None:
    with pytest.raises(PullError, match="does not know the API key"):
        pull.run(Job(seller.url, GRANT, "wrong", tmp_path))
    with pytest.raises(PullError, match="not yours"):
        pull.run(Job(seller.url, "grt_other", API_KEY, tmp_path))
    seller.answers["manifest"] = [(200, {})]
    with pytest.raises(PullError) as refused:
        pull.run(job)
    assert refused.value.code == "not_a_licet_server"
    seller.answers["manifest"] = [(302, {"Location": "http://127.0.0.1:9/"})]
    with pytest.raises(PullError, match="HTTP 302"):
        pull.run(job)


def test_a_server_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(PullError) as refused:
        pull.run(Job("http://127.0.0.1:9", GRANT, API_KEY, tmp_path))
    assert refused.value.code == "unreachable"


def test_a_directory_that_cannot_be_written_is_named(seller: Seller, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PullError, match="file") as refused:
        pull.run(Job(seller.url, GRANT, API_KEY, tmp_path / "file" / "below"))
    assert refused.value.code == "cannot_write"


# --- the command ------------------------------------------------------------------------------


def test_the_command_reports_as_json_and_in_its_exit_code(
    seller: Seller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("LICET_KEY", API_KEY)
    arguments = ["pull", "--server", seller.url + "/", "--grant", GRANT, "--json"]
    assert command.main([*arguments, "--to", str(tmp_path / "a")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["complete"], report["works"], report["fetched"]) == (True, 40, 40)
    assert report["failed"] == []

    seller.served[largest(seller)] = b"x"
    (tmp_path / "key").write_text(API_KEY + "\n")
    monkeypatch.delenv("LICET_KEY")
    with_file = [*arguments, "--key-file", str(tmp_path / "key")]
    assert command.main([*with_file, "--to", str(tmp_path / "b")]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["complete"], report["verified"]) == (False, 39)
    assert report["failed"][0]["digest"] == largest(seller)

    seller.end = []
    assert command.main([*with_file, "--to", str(tmp_path / "c")]) == 1
    assert json.loads(capsys.readouterr().out)["code"] == "manifest_incomplete"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--key-env", "NOT_SET"], "NOT_SET holds no API key"),
        (["--key-file", "/nonexistent"], "No such file"),
        (["--server", "licet.example"], "give an address as https://"),
        (["--server", "http://licet.example"], "unencrypted"),
        (["--receipt", "/nonexistent"], "Give the log's verifier key with --receipt-key"),
    ],
)
def test_a_command_that_cannot_start_says_why(
    change: list[str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    monkeypatch.setenv("LICET_KEY", API_KEY)
    arguments = ["pull", "--server", "http://127.0.0.1:9", "--grant", GRANT]
    assert command.main([*arguments, "--to", str(tmp_path / "to"), *change]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("jobs", ["0", "65", "x"])
def test_a_number_of_jobs_out_of_range_is_refused(jobs: str, capsys: Any) -> None:
    arguments = ["pull", "--server", "http://127.0.0.1:9", "--grant", GRANT, "--to", "x"]
    with pytest.raises(SystemExit) as left:
        command.main([*arguments, "--jobs", jobs])
    assert left.value.code == 2
    assert "from 1 to 64" in capsys.readouterr().err


def test_progress_is_said_while_it_lasts(
    seller: Seller, job: Job, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(pull, "PROGRESS_SECONDS", 0.02)
    seller.delay_seconds = 0.01
    pull.run(job)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert any(" of 40 works, " in line and "/s" in line for line in lines)
