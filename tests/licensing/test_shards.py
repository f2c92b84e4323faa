"""Tar shards, new links, and works that were taken out: what leaves, and what does not."""

from __future__ import annotations

import hashlib
import io
import json
import random
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from licensing import layout, shards, snapshots
from licensing.links import SHARDS, Link
from licensing.models import Grant
from marketplace import access, reservations, storage
from marketplace.errors import WorkOptedOut
from marketplace.models import Organization
from tests.licensing.rows import HOUR, make_grant_row
from tests.people import ApiClient

BASE = "http://127.0.0.1:8001"
delivers = pytest.mark.urls("licensing.delivery_urls")


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, settings: Any) -> None:
    settings.STORAGE_DIR = tmp_path / "store"
    settings.DELIVERY_URL = BASE


def some_works(count: int = 30) -> list[bytes]:
    rng = random.Random(count)
    # Of every length around a block's, too.
    lengths = [1, 511, 512, 513, 1023, 1024, 1025, *(rng.randint(1, 5000) for _n in range(count))]
    return [rng.randbytes(length) for length in lengths[:count]]


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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


def manifest_of(grant: Grant) -> list[dict[str, Any]]:
    link = Link(str(grant.pk), grant.livemode, "manifest", int(timezone.now().timestamp()) + 60)
    return [json.loads(line) for line in content_of(fetch(link.url())).splitlines()]


def shard_url(grant: Grant, number: int = 0) -> str:
    head = manifest_of(grant)[0]
    return str(head["shards"]["url"]).replace("{shard}", str(number))


def take_out(content: bytes, *, reason: str = "opted_out", by: Organization | None = None) -> None:
    with access.system("a test takes a work out"):
        reservations.reserve(
            [hashlib.sha256(content).digest()],
            organization=None if by is None else by.pk,
            reason=reason,
            cause="test",
        )


def change(grant: Grant, **fields: Any) -> None:
    with access.system("a test changes a grant"):
        Grant.objects.filter(pk=grant.pk).update(**fields)


# --- the archive ------------------------------------------------------------------------------


@delivers
@pytest.mark.django_db
def test_python_and_gnu_tar_read_the_works_byte_for_byte(
    archive: Organization, lab: Organization, tmp_path: Path
) -> None:
    works = some_works()
    grant = make_grant_row(archive, lab, works=works)
    expected = {digest_of(content): content for content in works}

    answer = fetch(shard_url(grant))

    data = content_of(answer)
    assert answer["Content-Length"] == str(len(data))
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        members = opened.getmembers()
        assert [member.name for member in members] == sorted(expected)
        assert {m.name: opened.extractfile(m).read() for m in members} == expected  # type: ignore[union-attr]
        assert {(m.mode, m.mtime, m.uid, m.type) for m in members} == {
            (0o644, 0, 0, tarfile.REGTYPE)
        }
    (tmp_path / "shard.tar").write_bytes(data)
    (tmp_path / "out").mkdir()
    command = ["tar", "-C", str(tmp_path / "out"), "-xvf", str(tmp_path / "shard.tar")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (sorted(expected), "")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == expected


def test_a_header_is_what_pythons_tarfile_writes() -> None:
    for length in (1, 512, 2**30 - 2048):
        info = tarfile.TarInfo("a" * 64)
        info.size = length
        theirs = info.tobuf(tarfile.USTAR_FORMAT)
        assert layout.header("a" * 64, length) == theirs


@pytest.mark.oracle
@delivers
@pytest.mark.django_db
def test_every_range_of_a_shard_is_that_part_of_it(
    archive: Organization, lab: Organization
) -> None:
    grant = make_grant_row(archive, lab, works=some_works(9))
    url = shard_url(grant)
    whole = content_of(fetch(url))
    rng = random.Random(1)
    spans = [(0, 0), (0, 511), (511, 512), (512, 513), (len(whole) - 1024, len(whole) - 1)]
    spans += [(len(whole) - 1025, len(whole) - 1024), (len(whole) - 1, len(whole) - 1)]
    spans += [
        (min(pair), max(pair))
        for pair in ((rng.randrange(len(whole)), rng.randrange(len(whole))) for _n in range(60))
    ]
    for first, last in spans:
        answer = fetch(url, Range=f"bytes={first}-{last}")
        assert answer.status_code == 206
        assert content_of(answer) == whole[first : last + 1], (first, last)
        assert answer["Content-Range"] == f"bytes {first}-{last}/{len(whole)}"


@delivers
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("bytes=0-1,3-4", 200),
        ("bytes=5-2", 200),
        ("bytes=a-b", 200),
        ("bytes=-", 200),
        ("items=0-1", 200),
        ("bytes=0-99999999999999999", 206),
        ("bytes=-1", 206),
        ("bytes=-99999999999", 206),
        ("bytes=99999999999-", 416),
        ("bytes=-0", 416),
        ("bytes=" + "9" * 400 + "-", 200),
        ("bytes=0-\x00", 200),
    ],
)
def test_hostile_ranges_get_the_whole_or_a_refusal(
    archive: Organization, lab: Organization, given: str, status: int
) -> None:
    grant = make_grant_row(archive, lab, works=some_works(3))
    url = shard_url(grant)
    whole = content_of(fetch(url))
    answer = fetch(url, Range=given)
    assert answer.status_code == status
    if status == 200:
        assert content_of(answer) == whole
    if status == 416:
        assert answer["Content-Range"] == f"bytes */{len(whole)}"


@delivers
@pytest.mark.django_db
def test_the_index_and_the_manifest_say_where_each_work_stands(
    archive: Organization, lab: Organization
) -> None:
    works = some_works()
    grant = make_grant_row(archive, lab, works=works)
    contents = {digest_of(content): content for content in works}
    head, *listed, _end = manifest_of(grant)
    answer = fetch(head["shards"]["index"])
    assert answer["Content-Type"] == "application/x-ndjson"
    first, *rows, end = [json.loads(line) for line in content_of(answer).splitlines()]
    data = content_of(fetch(shard_url(grant)))

    assert (first["manifest"], first["lengths"]) == (head["manifest"], [len(data)])
    assert end == {"type": "end", "count": len(works)}
    assert [row["digest"] for row in rows] == sorted(contents)
    for row, line in zip(rows, listed, strict=True):
        assert data[row["offset"] : row["offset"] + row["length"]] == contents[row["digest"]]
        assert (line["shard"], line["offset"]) == (row["shard"], row["offset"])


@delivers
@pytest.mark.django_db
def test_shards_are_never_larger_than_promised(
    archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "SHARD_BYTES_MAX", 8 * 1024)
    works = [*some_works(40), b"x" * 7000]
    grant = make_grant_row(archive, lab, works=works)
    head, *listed, _end = manifest_of(grant)
    by_itself = [line["digest"] for line in listed if "shard" not in line]
    assert by_itself == [digest_of(b"x" * 7000)] or not by_itself
    count = 1 + max(line["shard"] for line in listed if "shard" in line)
    assert count > 3
    found = []
    for number in range(count):
        data = content_of(fetch(head["shards"]["url"].replace("{shard}", str(number))))
        assert len(data) <= 8 * 1024
        with tarfile.open(fileobj=io.BytesIO(data)) as opened:
            found += opened.getnames()
    assert found == [line["digest"] for line in listed if "shard" in line]
    missing = fetch(head["shards"]["url"].replace("{shard}", str(count)))
    assert refusal(missing) == (404, "not_found")


def test_a_work_that_fills_no_shard_stands_alone() -> None:
    places = layout.Places()
    most = layout.SHARD_BYTES_MAX - 3 * 512
    assert places.place(most + 1) is None
    assert places.place(most) == (0, 512)
    assert places.place(1) == (1, 512)
    assert places.place(1) == (1, 1536)


@delivers
@pytest.mark.django_db
def test_a_shard_has_an_etag_and_head_sends_no_bytes(
    archive: Organization, lab: Organization
) -> None:
    url = shard_url(make_grant_row(archive, lab))
    answer = fetch(url, "HEAD")
    whole = content_of(fetch(url))
    assert (answer.status_code, answer["Content-Length"]) == (200, str(len(whole)))
    assert answer.content == b""
    assert fetch(url, If_None_Match=answer["ETag"]).status_code == 304
    part = fetch(url, Range="bytes=5-", If_Range=answer["ETag"])
    assert (part.status_code, content_of(part)) == (206, whole[5:])
    assert fetch(url, Range="bytes=5-", If_Range='"other"').status_code == 200
    assert fetch(url, "POST").status_code == 405


@delivers
@pytest.mark.django_db
def test_the_same_works_are_the_same_manifest_and_the_same_bytes(
    archive: Organization, lab: Organization, settings: Any
) -> None:
    grant = make_grant_row(archive, lab, works=some_works(12))
    first, second = manifest_of(grant), manifest_of(grant)
    assert first[0]["manifest"] == second[0]["manifest"] == first[-1]["manifest"]
    citation = bytes.fromhex(first[0]["snapshot"]["citation"])
    assert first[0]["manifest"] == layout.manifest_id(citation, [])
    data = content_of(fetch(shard_url(grant)))
    for kept in (settings.STORAGE_DIR / "layouts").iterdir():
        kept.unlink()
    assert content_of(fetch(shard_url(grant))) == data


@delivers
@pytest.mark.django_db
def test_only_so_many_layouts_are_kept(
    archive: Organization, lab: Organization, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_LAYOUTS_KEPT", 2)
    for number in range(4):
        grant = make_grant_row(archive, lab, works=[b"work %d" % number])
        assert fetch(shard_url(grant)).status_code == 200
    assert len(list((settings.STORAGE_DIR / "layouts").iterdir())) == 2


@delivers
@pytest.mark.django_db(transaction=True)
def test_a_slow_shard_holds_no_database_connection(
    archive: Organization, lab: Organization
) -> None:
    answer = fetch(shard_url(make_grant_row(archive, lab)))
    assert connection.connection is None
    assert content_of(answer)
    assert connection.connection is None


# --- who may ----------------------------------------------------------------------------------


@delivers
@pytest.mark.django_db
def test_a_shard_link_opens_nothing_else(archive: Organization, lab: Organization) -> None:
    grant = make_grant_row(archive, lab)
    other = make_grant_row(archive, lab, works=[b"other"])
    url, theirs = shard_url(grant), manifest_of(other)[0]["manifest"]
    own = manifest_of(grant)[0]["manifest"]
    forged = {
        "other manifest": url.replace(own, theirs),
        "other grant": url.replace(str(grant.pk), str(other.pk)),
        "mode": url.replace("mode=test", "mode=live"),
        "later": url.replace("expires=1", "expires=2"),
        "unsigned": url.split("?")[0],
        "a work": url.replace(f"shards/{own}/0.tar", f"works/{own}"),
    }
    assert {name: refusal(fetch(each)) for name, each in forged.items()} == dict.fromkeys(
        forged, (403, "link_invalid")
    )


@delivers
@pytest.mark.django_db
@pytest.mark.parametrize("status", ["suspended", "revoked"])
def test_a_grant_out_of_force_gives_no_shard_and_no_index(
    archive: Organization, lab: Organization, status: str
) -> None:
    grant = make_grant_row(archive, lab)
    head = manifest_of(grant)[0]
    url = shard_url(grant)
    assert fetch(url).status_code == 200
    change(grant, status=status, ended_at=timezone.now() if status == "revoked" else None)
    assert refusal(fetch(url)) == (409, "grant_not_in_force")
    assert refusal(fetch(head["shards"]["index"])) == (409, "grant_not_in_force")


@delivers
@pytest.mark.django_db
def test_an_expired_shard_link_says_so(archive: Organization, lab: Organization) -> None:
    grant = make_grant_row(archive, lab)
    name = manifest_of(grant)[0]["manifest"]
    link = Link(str(grant.pk), False, SHARDS + name, int(timezone.now().timestamp()))
    assert refusal(fetch(link.url("/0.tar"))) == (403, "link_expired")


@delivers
@pytest.mark.django_db
def test_a_manifest_that_never_was_has_no_shards(archive: Organization, lab: Organization) -> None:
    grant = make_grant_row(archive, lab)
    link = Link(str(grant.pk), False, SHARDS + "0" * 64, int(timezone.now().timestamp()) + 60)
    assert refusal(fetch(link.url("/0.tar"))) == (409, "manifest_changed")


# --- works that were taken out ----------------------------------------------------------------

WORKS = (b"first work", b"second work, longer", b"third")


@delivers
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("reason", "refused"),
    [
        ("opted_out", (410, "work_opted_out")),
        ("held", (409, "work_held")),
        ("claimed", (409, "work_held")),
    ],
)
def test_a_work_taken_out_leaves_the_manifest_its_link_and_its_shard_at_once(
    archive: Organization, lab: Organization, reason: str, refused: tuple[int, str]
) -> None:
    grant = make_grant_row(archive, lab)
    old, url = manifest_of(grant), shard_url(grant)
    links = {line["digest"]: line["url"] for line in old[1:-1]}
    gone = digest_of(WORKS[1])
    assert fetch(url).status_code == 200

    take_out(WORKS[1], reason=reason)

    answer = fetch(links[gone])
    assert (refusal(answer), answer.json()["reason"]) == (refused, reason)
    assert answer.json()["digest"] == gone
    assert fetch(links[digest_of(WORKS[0])]).status_code == 200
    assert refusal(fetch(url)) == refused
    new = manifest_of(grant)
    lines = {line["digest"]: line for line in new[1:-1]}
    assert (lines[gone]["excluded"], lines[gone]["url"]) == (reason, None)
    assert "shard" not in lines[gone]
    assert [digest for digest, line in lines.items() if line["url"] is None] == [gone]
    assert (new[-1]["count"], new[-1]["excluded"]) == (3, 1)
    assert new[0]["manifest"] == new[-1]["manifest"] != old[0]["manifest"]
    citation = bytes.fromhex(new[0]["snapshot"]["citation"])
    assert new[0]["manifest"] == layout.manifest_id(citation, [bytes.fromhex(gone)])
    with tarfile.open(fileobj=io.BytesIO(content_of(fetch(shard_url(grant))))) as opened:
        assert opened.getnames() == sorted(set(lines) - {gone})


@delivers
@pytest.mark.django_db
def test_a_range_of_an_old_shard_without_the_work_is_still_given(
    archive: Organization, lab: Organization
) -> None:
    grant = make_grant_row(archive, lab)
    lines, url = manifest_of(grant)[1:-1], shard_url(grant)
    fetch(url)
    contents = {digest_of(content): content for content in WORKS}
    first, second, third = lines
    take_out(contents[second["digest"]])
    for line in (first, third):
        span = f"bytes={line['offset']}-{line['offset'] + line['length'] - 1}"
        assert content_of(fetch(url, Range=span)) == contents[line["digest"]]
    span = f"bytes={second['offset']}-{second['offset']}"
    assert refusal(fetch(url, Range=span)) == (410, "work_opted_out")


@delivers
@pytest.mark.django_db
def test_an_opt_out_while_a_shard_streams_breaks_it_off_before_the_work(
    archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_GROUP_LENGTH", 1)
    monkeypatch.setattr(shards, "_PIECE_BYTES", 1)
    grant = make_grant_row(archive, lab)
    contents = {digest_of(content): content for content in WORKS}
    last = max(contents)
    streaming = fetch(shard_url(grant)).streaming_content
    received = next(streaming)
    take_out(contents[last])
    rest: list[bytes] = []
    with pytest.raises(WorkOptedOut):
        rest.extend(iter(streaming))
    received += b"".join(rest)
    assert contents[last] not in received
    assert contents[min(contents)] in received


@delivers
@pytest.mark.django_db
def test_a_work_that_another_seller_took_out_is_still_delivered(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    grant = make_grant_row(archive, lab)
    take_out(WORKS[0], by=stranger)
    assert manifest_of(grant)[-1]["excluded"] == 0
    take_out(WORKS[0], by=archive)
    assert manifest_of(grant)[-1]["excluded"] == 1


@delivers
@pytest.mark.django_db
def test_a_work_that_comes_back_makes_the_old_manifest_again(
    archive: Organization, lab: Organization
) -> None:
    grant = make_grant_row(archive, lab)
    before = manifest_of(grant)[0]["manifest"]
    take_out(WORKS[0], reason="held")
    with access.system("a test ends a hold"):
        reservations.end([hashlib.sha256(WORKS[0]).digest()], organization=None, reason="held")
    assert manifest_of(grant)[0]["manifest"] == before
    assert fetch(shard_url(grant)).status_code == 200


@delivers
@pytest.mark.django_db
def test_an_opt_out_while_the_manifest_streams_makes_it_an_error(
    archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = make_grant_row(archive, lab)
    whole = snapshots.items

    def changed(snapshot: Any) -> Iterator[Any]:
        take_out(WORKS[0])
        yield from whole(snapshot)

    monkeypatch.setattr(snapshots, "items", changed)
    *_lines, last = manifest_of(grant)
    assert (last["type"], last["code"]) == ("error", "manifest_changed")


# --- new links --------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_licensee_gets_new_links_in_the_order_asked_for(
    client_for: Callable[..., ApiClient], archive: Organization, lab: Organization, settings: Any
) -> None:
    grant = make_grant_row(archive, lab)
    take_out(WORKS[1])
    unknown = "0" * 64
    asked = [digest_of(WORKS[2]), unknown, digest_of(WORKS[1]), digest_of(WORKS[0])]

    answer = client_for(lab).post(f"/v1/grants/{grant.pk}/links", {"digests": asked})

    assert (answer.status_code, answer["Cache-Control"]) == (200, "private, no-store")
    body = answer.json()
    assert body["object"] == "delivery_links"
    shown = [(w["digest"], w["custody"], w["excluded"], w["url"] is None) for w in body["works"]]
    assert shown == [
        (asked[0], "hosted", None, False),
        (unknown, None, "not_covered", True),
        (asked[2], "hosted", "opted_out", True),
        (asked[3], "hosted", None, False),
    ]
    settings.ROOT_URLCONF = "licensing.delivery_urls"
    assert content_of(fetch(body["works"][0]["url"])) == WORKS[2]
    assert fetch(body["shards"]["url"].replace("{shard}", "0")).status_code == 200
    assert manifest_of(grant)[0]["manifest"] == body["manifest"]


@pytest.mark.django_db
def test_only_the_licensee_of_a_grant_in_force_gets_new_links(
    client_for: Callable[..., ApiClient],
    archive: Organization,
    lab: Organization,
    stranger: Organization,
) -> None:
    url = f"/v1/grants/{make_grant_row(archive, lab).pk}/links"
    over = make_grant_row(archive, lab, works=[b"2"], access_until=timezone.now())
    to_come = make_grant_row(archive, lab, works=[b"3"], access_from=timezone.now() + HOUR / 2)
    body = {"digests": [digest_of(WORKS[0])]}
    refusals = {
        "licensor": refusal(client_for(archive).post(url, body)),
        "stranger": refusal(client_for(stranger).post(url, body)),
        "wrong scope": refusal(client_for(lab, scopes=["grants:read"]).post(url, body)),
        "other mode": refusal(client_for(lab, livemode=True).post(url, body)),
        "over": refusal(client_for(lab).post(f"/v1/grants/{over.pk}/links", body)),
        "to come": refusal(client_for(lab).post(f"/v1/grants/{to_come.pk}/links", body)),
    }
    assert refusals == {
        "licensor": (404, "not_found"),
        "stranger": (404, "not_found"),
        "wrong scope": (403, "missing_scope"),
        "other mode": (404, "not_found"),
        "over": (409, "grant_not_in_force"),
        "to come": (409, "grant_not_in_force"),
    }


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("digests", "param"),
    [
        (["A" * 64], "digests[0]"),
        (["0" * 63], "digests[0]"),
        (["0" * 64, "0" * 64 + "\n"], "digests[1]"),
        ("0" * 64, "digests"),
        (None, "digests"),
        (["0" * 64] * 1001, "digests"),
    ],
)
def test_digests_that_are_none_are_refused(
    client_for: Callable[..., ApiClient],
    archive: Organization,
    lab: Organization,
    digests: Any,
    param: str,
) -> None:
    grant = make_grant_row(archive, lab)
    answer = client_for(lab).post(f"/v1/grants/{grant.pk}/links", {"digests": digests})
    assert refusal(answer) == (422, "invalid_input")
    assert answer.json()["param"] == param


@pytest.mark.django_db
def test_a_shard_of_a_work_that_is_not_whole_breaks_off(
    archive: Organization, lab: Organization, settings: Any
) -> None:
    """It is not padded with something else: the length was promised, and is not kept."""
    settings.ROOT_URLCONF = "licensing.delivery_urls"
    grant = make_grant_row(archive, lab)
    storage.path(hashlib.sha256(WORKS[1]).digest()).write_bytes(b"short")
    with pytest.raises(OSError, match="ended early"):
        content_of(fetch(shard_url(grant)))
