"""The public log over HTTP, read as an auditor would, and the receipts of grants."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from licensing.ledger import notes, receipts, sequencer, signer, tiles
from licensing.models import Grant, LedgerAwaited
from marketplace.models import Organization
from marketplace.typeid import TypeID
from tests.ledger import append_many, naive_root
from tests.licensing.rows import make_grant_row
from tests.people import ApiClient

FOREVER = "public, max-age=31536000, immutable"


class Auditor:
    """Reads a log over its public addresses only, with arithmetic of its own."""

    def __init__(self, log: str = "test") -> None:
        self.prefix = f"/ledger/{log}"
        self.client = Client(raise_request_exception=False)

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(f"{self.prefix}/{path}", headers=headers)

    def checkpoint(self) -> tuple[int, bytes]:
        vkey = self.get("vkey").content.decode().strip()
        note = self.get("checkpoint").content.decode()
        signed, _note = notes.open_checkpoint(note, [notes.Verifier.parse(vkey)])
        return signed.size, signed.root

    def level(self, level: int | str, count: int) -> list[bytes]:
        """The `count` tiles' worth of hashes of a level, whole tiles and the partial one."""
        found = []
        for index in range(-(-count // 256)):
            width = min(256, count - index * 256)
            partial = "" if width == 256 else f".p/{width}"
            answer = self.get(f"tile/{level}/{index:03d}{partial}")
            assert answer.status_code == 200, answer.content
            found.append(answer.content)
        return found

    def hashes(self, level: int, count: int) -> list[bytes]:
        data = b"".join(self.level(level, count))
        assert len(data) == 32 * count
        return [data[start : start + 32] for start in range(0, len(data), 32)]

    def entries(self, count: int) -> list[bytes]:
        found = []
        for bundle in self.level("entries", count):
            while bundle:
                length = int.from_bytes(bundle[:2])
                found.append(bundle[2 : 2 + length])
                assert len(found[-1]) == length
                bundle = bundle[2 + length :]
        return found


@pytest.mark.django_db
@pytest.mark.parametrize("size", [1, 255, 256, 257, 600])
def test_the_published_log_makes_its_signed_root(size: int) -> None:
    append_many(size)
    sequencer.run_once()
    auditor = Auditor()

    signed_size, root = auditor.checkpoint()

    assert signed_size == size
    leaves = [hashlib.sha256(b"\x00" + body).digest() for body in auditor.entries(size)]
    assert len(leaves) == size
    assert naive_root(leaves) == root
    assert auditor.hashes(0, size) == leaves
    whole = size // 256
    assert auditor.hashes(1, whole) == [
        naive_root(leaves[start : start + 256]) for start in range(0, whole * 256, 256)
    ]


@pytest.mark.django_db
def test_partial_tiles_of_older_checkpoints_stay() -> None:
    append_many(3)
    sequencer.run_once()
    auditor = Auditor()
    older = auditor.get("tile/0/000.p/3").content
    append_many(300)
    sequencer.run_once()

    assert auditor.get("tile/0/000.p/3").content == older
    assert auditor.get("tile/0/000").content[: 3 * 32] == older


@pytest.mark.django_db
def test_what_no_checkpoint_contains_is_not_served() -> None:
    append_many(3)
    sequencer.run_once()
    append_many(1)
    sequencer.integrate("test")
    auditor = Auditor()

    for path in ("tile/0/000.p/4", "tile/entries/000.p/4", "tile/0/000", "tile/1/000.p/1"):
        answer = auditor.get(path)
        assert (path, answer.status_code, answer.json()["code"]) == (path, 404, "not_found")
    assert auditor.get("tile/0/000.p/3").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/0",
        "tile/0/x000/000.p/1",
        "tile/0/000/000.p/1",
        "tile/00/000.p/1",
        "tile/64/000.p/1",
        "tile/63/x999/x999/x999/999",
        "tile/0/x999/x999/x999/x999/x999/999.p/255",
        "tile/-1/000.p/1",
        "tile/entries/001.p/1",
        "tile/0/000.p/1/",
        "checkpoint/",
        "tile",
    ],
)
def test_other_addresses_are_not_found(path: str) -> None:
    append_many(1)
    sequencer.run_once()

    answer = Auditor().get(path)

    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.django_db
def test_an_empty_log_has_no_checkpoint_and_an_unknown_one_no_address() -> None:
    assert Auditor("live").get("checkpoint").json()["code"] == "not_found"
    assert Auditor("live").get("tile/0/000").status_code == 404
    assert Auditor("other").get("checkpoint").status_code == 404


@pytest.mark.django_db
def test_types_and_caching_are_those_of_the_specification() -> None:
    append_many(300)
    sequencer.run_once()
    auditor = Auditor()

    seen = {
        path: (answer["Content-Type"], answer["Cache-Control"])
        for path in ("checkpoint", "vkey", "tile/0/000", "tile/1/000.p/1", "tile/entries/000")
        for answer in [auditor.get(path)]
    }

    text, data = "text/plain; charset=utf-8", "application/octet-stream"
    assert seen == {
        "checkpoint": (text, "no-cache"),
        "vkey": (text, "no-cache"),
        "tile/0/000": (data, FOREVER),
        "tile/1/000.p/1": (data, FOREVER),
        "tile/entries/000": (data, FOREVER),
    }
    packed = auditor.get("tile/entries/000", Accept_Encoding="gzip")
    assert packed["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.content) == auditor.get("tile/entries/000").content


@pytest.mark.django_db
def test_the_log_is_read_only() -> None:
    answer = Client(enforce_csrf_checks=True).post("/ledger/test/checkpoint")

    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("index", "path"),
    [
        (0, "000"),
        (67, "067"),
        (999, "999"),
        (1000, "x001/000"),
        (1234067, "x001/x234/067"),
        (1000000, "x001/x000/000"),
    ],
)
def test_tile_indexes_are_written_in_groups_of_three(index: int, path: str) -> None:
    assert (tiles.index_path(index), tiles.parse_index(path)) == (path, index)


# --- receipts ---------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_receipt_is_pending_then_a_file_that_verifies(
    client_for: Callable[..., ApiClient], lab: Organization, archive: Organization
) -> None:
    grant = make_grant_row(archive, lab)
    url = f"/v1/grants/{grant.pk}/receipt"

    pending = client_for(lab).get(url)
    sequencer.run_once()
    answers = {party.name: client_for(party).get(url) for party in (lab, archive)}

    assert (pending.status_code, pending["Retry-After"]) == (202, "1")
    assert pending.json() == {"object": "receipt", "status": "pending"}
    for answer in answers.values():
        assert answer.status_code == 200
        assert answer["Content-Type"] == "text/plain; charset=utf-8"
        assert answer["Content-Disposition"] == f'attachment; filename="{grant.pk}.tlog-proof"'
        found = receipts.verify(receipts.parse(answer.content), [signer.load("test").verifier])
        assert found.body.subject_ref == bytes(grant.grant_ref)
        assert found.values["licensee"]["id"] == str(lab.pk)
        assert found.undisclosed == ()


@pytest.mark.django_db
def test_a_receipt_is_the_parties_alone(
    client_for: Callable[..., ApiClient],
    lab: Organization,
    archive: Organization,
    stranger: Organization,
) -> None:
    grant = make_grant_row(archive, lab)
    sequencer.run_once()
    url = f"/v1/grants/{grant.pk}/receipt"

    answers = {
        "stranger": client_for(stranger).get(url),
        "nobody": client_for(None).get(url),
        "wrong scope": client_for(lab, scopes=["works:read"]).get(url),
        "other mode": client_for(lab, livemode=True).get(url),
        "no such grant": client_for(lab).get(f"/v1/grants/{TypeID.new('grt')}/receipt"),
    }

    assert {
        name: (answer.status_code, answer.json()["code"]) for name, answer in answers.items()
    } == {
        "stranger": (404, "not_found"),
        "nobody": (401, "unauthenticated"),
        "wrong scope": (403, "missing_scope"),
        "other mode": (404, "not_found"),
        "no such grant": (404, "not_found"),
    }


@pytest.mark.django_db
def test_a_client_may_wait_for_its_receipt(
    client_for: Callable[..., ApiClient],
    lab: Organization,
    archive: Organization,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grant = make_grant_row(archive, lab)
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        sequencer.run_once()

    monkeypatch.setattr("licensing.ledger_views.time.sleep", nap)

    answer = client_for(lab).get(f"/v1/grants/{grant.pk}/receipt?wait=2", Accept="text/plain")

    assert (answer.status_code, naps) == (200, [0.05])
    assert answer.content.startswith(b"c2sp.org/tlog-proof@v1\n")


@pytest.mark.django_db
def test_who_looks_in_vain_has_the_log_signed_at_once(
    client_for: Callable[..., ApiClient],
    lab: Organization,
    archive: Organization,
    stranger: Organization,
) -> None:
    pace = sequencer.Pace()
    append_many(1)
    sequencer.run_once(pace)
    grant = make_grant_row(archive, lab)
    sequencer.run_once(pace)
    address = f"/v1/grants/{grant.pk}/receipt"
    assert client_for(stranger).get(address).status_code == 404
    sequencer.run_once(pace)
    assert LedgerAwaited.objects.count() == 0

    for _again in range(2):
        assert client_for(lab).get(address).status_code == 202
        assert LedgerAwaited.objects.get().entry_id == grant.issued_entry_id
    sequencer.run_once(pace)

    assert client_for(lab).get(address).status_code == 200
    assert LedgerAwaited.objects.count() == 0


@pytest.mark.django_db
def test_while_one_client_waits_another_is_answered_at_once(
    client_for: Callable[..., ApiClient],
    lab: Organization,
    archive: Organization,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else as many waiting clients as threads would keep everybody else out."""
    address = f"/v1/grants/{make_grant_row(archive, lab).pk}/receipt?wait=2"
    meanwhile: list[Any] = []

    def nap(_seconds: float) -> None:
        # Were it to wait too, it would nap, and so on for ever.
        assert not meanwhile, "It waited as well."
        meanwhile.append(client_for(archive).get(address))
        sequencer.run_once()

    monkeypatch.setattr("licensing.ledger_views.time.sleep", nap)

    assert client_for(lab).get(address).status_code == 200
    (refused,) = meanwhile
    assert (refused.status_code, refused["Retry-After"]) == (202, "1")
    assert refused.json() == {"object": "receipt", "status": "pending"}
    # Nobody waits any more: the next one may.
    assert client_for(archive).get(address).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("wait", ["6", "-1", "1.5", "x", ""])
def test_a_wait_is_zero_to_five_seconds(
    client_for: Callable[..., ApiClient], lab: Organization, wait: str
) -> None:
    grant = TypeID.new("grt")

    answer = client_for(lab).get(f"/v1/grants/{grant}/receipt?wait={wait}")

    assert (answer.status_code, answer.json()["param"]) == (422, "wait")
    assert Grant.objects.count() == 0
