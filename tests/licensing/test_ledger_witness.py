"""Witnesses cosign the newest checkpoints; what they sign is checked, kept and shown."""

from __future__ import annotations

import io
import ipaddress
import os
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from licensing.ledger import (
    cosignatures,
    export,
    notes,
    proofs,
    signer,
    tiles,
    witness_http,
    witnessing,
)
from licensing.management.commands import ledger_witness
from licensing.models import LedgerCheckpoint, LedgerCosignature, LedgerLeaf
from licensing.offline import verify
from tests.database import TestDatabase
from tests.ledger import (
    append_many,
    enable_triggers,
    grow,
    lose_tail,
    restore_backup,
    superuser_connection,
    tamper,
)
from tests.logs import Cosigner, MemoryLog, bodies
from tests.witnesses import WitnessServer, serving

pytestmark = pytest.mark.django_db

COSIGNATURES = "licensing_ledgercosignature"


@pytest.fixture
def server(settings: Any) -> Iterator[WitnessServer]:
    with serving("witness.example/w1", signer.load("test").verifier) as started:
        settings.LEDGER_WITNESSES = started.setting
        yield started


def ask(**options: Any) -> str:
    out = io.StringIO()
    call_command(
        "ledger_witness", once=True, log="test", stdout=out, stderr=io.StringIO(), **options
    )
    return out.getvalue()


def refused(code: int, match: str) -> str:
    """The command ends so, and keeps nothing. Gives what it said."""
    before = kept()
    with pytest.raises(CommandError, match=match) as refusal:
        ask()
    assert refusal.value.returncode == code
    assert kept() == before
    return str(refusal.value)


def read(note: str) -> notes.Checkpoint:
    return notes.parse_checkpoint(notes.split_note(note)[0])


def kept(log: str = "test") -> list[tuple[int, str]]:
    rows = LedgerCosignature.objects.filter(log=log).order_by("size", "vkey")
    return [(row.size, row.vkey.partition("+")[0]) for row in rows]


def old_sizes(server: WitnessServer) -> list[int]:
    return [int(body.split(b"\n")[0].removeprefix(b"old ")) for _path, body in server.requests]


def served() -> str:
    answer = Client().get("/ledger/test/checkpoint")
    assert answer.status_code == 200
    return answer.content.decode()


# --- cosigned ---------------------------------------------------------------------------------


def test_each_newest_checkpoint_is_cosigned_once(server: WitnessServer) -> None:
    [asked] = witnessing.servers()
    for step in (1, 2, 254, 300):
        grow(step)
        for _pass in range(2):
            assert witnessing.witness("test", asked).result is witnessing.Result.WITNESSED

    assert kept() == [(size, "witness.example/w1") for size in (1, 3, 257, 557)]
    assert {path for path, _body in server.requests} == {"/sub/add-checkpoint"}
    # One request each, from where the one before had ended; what is kept is not asked for again.
    assert old_sizes(server) == [0, 1, 3, 257]


def test_the_published_checkpoint_and_receipts_carry_the_cosignatures(
    server: WitnessServer, settings: Any
) -> None:
    with serving("witness.example/w2", signer.load("test").verifier) as second:
        settings.LEDGER_WITNESSES = f"{server.setting}\n{second.setting}"
        second.at += 5
        grow(3)
        plain = served()
        ask()
    witnesses = [cosignatures.Witness.parse(each.key.vkey) for each in (server, second)]

    own = LedgerCheckpoint.objects.get(log="test").note
    assert plain == own
    checkpoint, note = notes.open_checkpoint(served(), [signer.load("test").verifier])
    assert served().startswith(own)
    found = cosignatures.verified(checkpoint.text(), note.unverified, witnesses)
    assert [(each.name, each.seconds) for each in found] == [
        ("witness.example/w1", server.at),
        ("witness.example/w2", server.at + 5),
    ]


def test_a_receipt_is_of_the_first_cosigned_tree_that_holds_its_entry(
    server: WitnessServer,
) -> None:
    entries = append_many(2)
    grow(1)
    assert shown(entries[0]) == (3, "0")
    grow(2)
    ask()
    grow(2)
    server.at += 100
    ask()
    late = append_many(1)[0]
    grow(1)

    assert shown(entries[0]) == (5, "2027-01-15T08:00:00Z")
    sixth = LedgerLeaf.objects.get(log="test", index=6).entry
    assert shown(sixth) == (7, "2027-01-15T08:01:40Z")
    assert shown(late) == (9, "0")


def shown(entry: Any) -> tuple[int, str]:
    """The size of a receipt's tree, and when its witness saw it as `verify` shows it."""
    data = proofs.receipt(entry, None)
    assert data is not None
    keys = [signer.load("test").verifier]
    known = [each.key for each in witnessing.servers()]
    proven = verify.check(data, keys)
    standing = verify.stand(data, proven, keys, witnesses=known)
    report = verify.report(proven, standing)
    seen = [each["at"] for each in report["witnesses"]]
    return proven.checkpoint.size, seen[0] if seen else "0"


def test_a_witness_that_another_process_brought_further_is_asked_from_there(
    server: WitnessServer, test_database: TestDatabase
) -> None:
    grow(2)
    ask()
    grow(3)
    stands = LedgerCheckpoint.objects.get(log="test", size=5)
    server.answer(witnessing._request(stands, 2))
    grow(1)

    assert "6 entries" in ask()

    assert old_sizes(server) == [0, 2, 5]
    assert kept() == [(2, "witness.example/w1"), (6, "witness.example/w1")]


def test_a_cosignature_that_was_lost_on_its_way_is_asked_for_again(server: WitnessServer) -> None:
    grow(4)
    server.answer(witnessing._request(LedgerCheckpoint.objects.get(size=4), 0))

    ask()

    assert old_sizes(server) == [0, 4]
    assert kept() == [(4, "witness.example/w1")]


def test_a_checkpoint_that_another_process_signed_meanwhile_is_no_conflict(
    server: WitnessServer,
) -> None:
    grow(2)
    newer: list[int] = []
    find = tiles.newest_checkpoint

    def late(log: str) -> LedgerCheckpoint | None:
        found = find(log)
        if not newer:
            newer.append(5)
            grow(3)
            server.answer(witnessing._request(LedgerCheckpoint.objects.get(size=5), 0))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(witnessing.tiles, "newest_checkpoint", late)
        ask()

    assert kept() == [(5, "witness.example/w1")]


@pytest.mark.django_db(transaction=True)
def test_two_that_ask_at_once_keep_one_line(server: WitnessServer) -> None:
    grow(5)
    [asked] = witnessing.servers()
    both = threading.Barrier(2)
    outcomes: list[witnessing.Outcome] = []
    held = witness_http.add_checkpoint

    def together(url: str, request: bytes) -> witness_http.Answer:
        answer = held(url, request)
        if answer.status == 409:
            answer = held(url, request.replace(b"old 0", b"old 5"))
        server.at += 1
        both.wait(20)
        return answer

    def work() -> None:
        try:
            outcomes.append(witnessing.witness("test", asked))
        finally:
            connection.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(witness_http, "add_checkpoint", together)
        threads = [threading.Thread(target=work) for _each in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    assert [each.result for each in outcomes] == [witnessing.Result.WITNESSED] * 2
    assert kept() == [(5, "witness.example/w1")]


# --- contradicted -----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_restored_backup_is_a_conflict(
    server: WitnessServer, test_database: TestDatabase
) -> None:
    grow(3, 2)
    ask()
    tamper(test_database, "licensing_ledgercosignature", "DELETE FROM licensing_ledgercosignature")
    restore_backup(test_database, 3)

    [stands] = LedgerCheckpoint.objects.filter(log="test")
    ours, theirs = read(stands.note), server.seen[signer.origin("test")]
    said = refused(1, "test: witness.example/w1 refuses the tree of 3 entries of")
    assert f"{ours.origin}, with the root {notes.encode_base64(ours.root)}: it has" in said
    assert "it has cosigned a tree of 5 entries" in said
    assert f"of 5 entries and the root {notes.encode_base64(theirs.root)}. Keep it:" in said
    # What it prints is the proof, whole: signed by the log, and by the witness.
    proof = said.partition("Keep it:\n")[2]
    checkpoint, note = notes.open_checkpoint(proof, [signer.load("test").verifier])
    assert checkpoint == theirs
    known = [each.key for each in witnessing.servers()]
    assert cosignatures.verified(note.text, note.unverified, known)


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "no note",
        lambda note, _line: note,
        lambda _note, line: line,
        lambda note, line: note.replace("\n5\n", "\n6\n") + line,
        lambda note, line: note + line.replace("A", "B", 3),
        lambda note, line: note + line + "x" * 70_000,
    ],
)
def test_only_what_log_and_witness_have_signed_is_shown_as_proof(
    shown: Any, server: WitnessServer
) -> None:
    grow(5)
    ask()
    [address] = server.shown
    note, mark, line = server.shown[address].partition(f"{notes.SIGNATURE_MARK}{server.key.name}")
    server.shown[address] = shown if isinstance(shown, str) else shown(note, mark + line)
    server.seen[signer.origin("test")] = MemoryLog(bodies(9)).checkpoint(9)
    grow(1)

    said = refused(1, "it has cosigned a tree of 9 entries")

    assert said.endswith("Ask the witness for the checkpoint that it has, and keep it.")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_kept", [True, False])
def test_an_emptied_database_is_a_conflict(
    is_kept: bool, server: WitnessServer, test_database: TestDatabase
) -> None:
    grow(3)
    ask()
    with superuser_connection(test_database) as superuser:
        superuser.execute("ALTER TABLE licensing_ledgercheckpoint DISABLE TRIGGER ALL")
        superuser.execute("DELETE FROM licensing_ledgercheckpoint")
        superuser.execute("ALTER TABLE licensing_ledgercheckpoint ENABLE TRIGGER ALL")
        enable_triggers(superuser, "licensing_ledgercheckpoint")
    if not is_kept:
        tamper(test_database, COSIGNATURES, f"DELETE FROM {COSIGNATURES}")

    refused(1, "refuses the tree of 0 entries of .*: it has cosigned a tree of 3 entries")


@pytest.mark.django_db(transaction=True)
def test_a_cosignature_of_another_tree_is_not_taken_for_one_of_this(
    server: WitnessServer, test_database: TestDatabase
) -> None:
    grow(3)
    ask()
    forged = notes.sign(
        notes.Checkpoint(signer.origin("test"), 3, b"r" * 32).text(), signer.load("test")
    )
    table = "licensing_ledgercheckpoint"
    tamper(test_database, table, f"UPDATE {table} SET note = $${forged}$$")

    refused(1, "it has cosigned another root of this size")


@pytest.mark.django_db(transaction=True)
def test_a_spoiled_cosignature_is_named_though_the_witness_agrees(
    server: WitnessServer, test_database: TestDatabase
) -> None:
    grow(3)
    ask()
    tamper(test_database, COSIGNATURES, f"UPDATE {COSIGNATURES} SET cosigned_at = 5")

    refused(2, "kept of its cosignature of 3 entries is spoiled. Run manage.py ledger_fsck")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("note", "match"),
    [
        ("replace(note, E'\\n3\\n', E'\\n2\\n')", "is a note over 2 entries of"),
        ("'spoiled'", "cannot be read"),
    ],
)
def test_a_spoiled_checkpoint_is_never_submitted(
    note: str, match: str, server: WitnessServer, test_database: TestDatabase
) -> None:
    grow(3)
    table = "licensing_ledgercheckpoint"
    tamper(test_database, table, f"UPDATE {table} SET note = {note}")

    refused(1, match)
    assert server.requests == []


@pytest.mark.django_db(transaction=True)
def test_a_restored_backup_is_a_conflict_though_its_own_cosignature_came_with_it(
    server: WitnessServer, test_database: TestDatabase
) -> None:
    for step in (3, 2):
        grow(step)
        ask()
    lose_tail(test_database, 3)
    assert kept() == [(3, "witness.example/w1")]

    refused(1, "refuses the tree of 3 entries of .*: it has cosigned a tree of 5 entries")


@pytest.mark.parametrize("size", [5, 3])
def test_another_history_is_a_conflict(server: WitnessServer, size: int) -> None:
    grow(5)
    fork = MemoryLog(bodies(5))
    server.seen[fork.checkpoint(1).origin] = fork.checkpoint(size)
    origin = signer.origin("test")
    server.seen[origin] = notes.Checkpoint(origin, size, fork.root(size))

    reason = "another root of this size" if size == 5 else "first 3 entries have another root"
    refused(1, reason)


def test_a_broken_tree_is_never_submitted(server: WitnessServer) -> None:
    grow(5)
    ask()
    grow(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles.StoredTree, "root", lambda _tree: b"r" * 32)
        refused(1, "does not continue its first 5 entries")
    assert len(server.requests) == 1


# --- not told ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ((200, b"", {}), "cannot be used"),
        ((200, b"cosigned!\n", {}), "cannot be used"),
        ((200, b"\xff\n", {}), "cannot be used"),
        ((301, b"", {"Location": "/elsewhere"}), "no answer of a witness .HTTP 301"),
        ((307, b"", {"Location": "/sub/add-checkpoint"}), "no answer of a witness .HTTP 307"),
        ((400, b"\x1b[31mbad\n", {}), r"no answer of a witness .HTTP 400: \[31mbad"),
        ((403, b"", {}), "does not trust this log's key .HTTP 403"),
        ((404, b"", {}), "does not know this log's origin"),
        ((409, b"", {}), "409 without the size"),
        ((409, b"05\n", {}), "409 without the size"),
        ((409, b"0\n", {}), "409 without the size"),
        ((500, b"", {}), "HTTP 500"),
        ((200, b"x" * 100_000, {}), "larger than 65536 bytes"),
    ],
)
def test_what_is_no_cosignature_is_not_kept(answer: Any, match: str, server: WitnessServer) -> None:
    grow(3)
    server.lie = lambda _body: answer
    refused(2, match)
    assert len(server.requests) == 1


def test_a_witness_that_never_agrees_with_itself_is_left(server: WitnessServer) -> None:
    grow(3)
    sizes = iter([1, 2] * 9)
    server.lie = lambda _body: (409, f"{next(sizes)}\n".encode(), {})
    refused(2, "changes with every answer")
    assert len(server.requests) == 5


def test_a_cosignature_must_be_of_this_checkpoint_and_this_key(server: WitnessServer) -> None:
    grow(3)
    text = notes.split_note(LedgerCheckpoint.objects.get().note)[0]
    stranger = Cosigner(server.key.name, b"s" * 32).line(text, server.at).encode()
    other = server.key.line(text.replace("\n3\n", "\n4\n"), server.at).encode()
    good = server.key.line(text, server.at).encode()

    server.lie = lambda _body: (200, stranger, {})
    refused(2, "with another key than the one that is trusted")
    server.lie = lambda _body: (200, other, {})
    refused(2, "cosignature of witness.example/w1 is wrong")
    server.lie = lambda _body: (200, stranger + good, {})
    ask()
    assert LedgerCosignature.objects.get().line.encode() == good


def test_a_witness_that_drips_is_cut_off(
    server: WitnessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness_http, "DEADLINE_SECONDS", 0.5)
    grow(3)
    for drip in (
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 500,
    ):
        server.drip = drip
        started = time.monotonic()
        refused(2, "no whole answer within 0.5 seconds")
        assert time.monotonic() - started < 5


def test_a_witness_that_is_away_does_not_keep_the_others_from_it(
    server: WitnessServer, settings: Any
) -> None:
    with serving("witness.example/gone") as gone:
        setting = gone.setting
    settings.LEDGER_WITNESSES = f"{setting} {server.setting}"
    grow(3)
    with pytest.raises(CommandError, match=r"gone: http://.*add-checkpoint: .*refused") as refusal:
        ask()
    assert refusal.value.returncode == 2
    assert kept() == [(3, "witness.example/w1")]


def test_a_log_that_is_empty_needs_no_witness(server: WitnessServer) -> None:
    assert "nothing is published yet" in ask()
    assert server.requests == []


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ("", "No witness is named"),
        ("{vkey}", "a verifier key and an address for each"),
        ("{url} {vkey}", "cannot be read"),
        ("{vkey} ftp://witness.example", "not a web address"),
        ("{vkey} https://me@witness.example", "not a web address"),
        ("{vkey} https://witness.example/?a=b", "cannot be sent to"),
        ("{vkey} https://witness.example:99999", "cannot be read"),
        ("{vkey} {url} {vkey} {url}", "one key is named twice"),
        ("{log} {url}", "not one of a witness"),
    ],
)
def test_a_setting_that_cannot_be_read_is_refused(
    setting: str, match: str, server: WitnessServer, settings: Any
) -> None:
    settings.LEDGER_WITNESSES = setting.format(
        vkey=server.key.vkey, url=server.url, log=signer.load("test").verifier.vkey()
    )
    refused(2, match)


def test_no_more_witnesses_than_a_note_can_hold(settings: Any) -> None:
    keys = [Cosigner(f"w{number}", bytes([number]) * 32).vkey for number in range(13)]
    settings.LEDGER_WITNESSES = " ".join(f"{key} https://w.example" for key in keys)
    refused(2, "more than 12")


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("line = overlay(line placing 'AAAA' from 60)", "checkpoint 3: the cosignature of"),
        ("cosigned_at = cosigned_at + 1", "checkpoint 3: a cosignature is not of the witness"),
        ("line = line || line", "checkpoint 3: one key stands twice"),
        ("line = ''", "checkpoint 3: "),
        ("vkey = 'witness'", "checkpoint 3: "),
        ("size = 5", "checkpoint 5: the cosignature of witness.example/w1 is wrong"),
    ],
)
def test_a_cosignature_that_was_changed_in_the_database_is_found(
    change: str, match: str, server: WitnessServer, test_database: TestDatabase
) -> None:
    grow(3)
    ask()
    grow(2)
    call_command("ledger_fsck", log="test", stdout=io.StringIO())
    tamper(
        test_database,
        "licensing_ledgercosignature",
        f"UPDATE licensing_ledgercosignature SET {change}",
    )
    errors = io.StringIO()
    with pytest.raises((CommandError, SystemExit)) as found:
        call_command("ledger_fsck", log="test", stdout=errors, stderr=errors)
    assert match in f"{errors.getvalue()}{found.value}"
    assert getattr(found.value, "returncode", 1) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("size", [3, 5])
def test_a_checkpoint_that_is_gone_is_missed_by_its_cosignature(
    size: int, server: WitnessServer, test_database: TestDatabase
) -> None:
    for step in (3, 2):
        grow(step)
        ask()
    table = "licensing_ledgercheckpoint"
    with superuser_connection(test_database) as superuser:
        superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        superuser.execute(f"DELETE FROM {table} WHERE size = {size}")
        superuser.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")
        enable_triggers(superuser, table)

    with pytest.raises(CommandError, match=f"checkpoint {size}: it is gone") as found:
        call_command("ledger_fsck", log="test", stdout=io.StringIO(), stderr=io.StringIO())
    assert found.value.returncode == 1


# --- the loop ---------------------------------------------------------------------------------


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command handles signals; what handled them before does so again."""
    monkeypatch.setattr(ledger_witness, "PAUSE_SECONDS", 0.05)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_loop_goes_on_until_a_witness_contradicts(
    server: WitnessServer, handlers: None
) -> None:
    grow(3)
    answers = iter([(500, b"", {}), (500, b"", {}), (409, b"9\n", {})])
    server.lie = lambda _body: next(answers)
    errors = io.StringIO()

    with pytest.raises(CommandError, match="it has cosigned a tree of 9 entries") as refusal:
        call_command("ledger_witness", log="test", stderr=errors)

    assert refusal.value.returncode == 1
    # The same failure is told once.
    assert errors.getvalue().count("HTTP 500") == 1


def test_the_loop_ends_when_it_is_told_to(server: WitnessServer, handlers: None) -> None:
    grow(3)
    ended = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    ended.start()
    call_command("ledger_witness", log="test", stdout=io.StringIO())
    ended.join()
    assert kept() == [(3, "witness.example/w1")]


# --- over TLS ---------------------------------------------------------------------------------


def test_a_witness_behind_tls_must_have_a_certificate_that_is_trusted(
    server: WitnessServer, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    settings.LEDGER_WITNESSES = server.setting.replace("http://", "https://")
    grow(3)

    refused(2, "CERTIFICATE_VERIFY_FAILED")
    assert server.requests == []

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    ask()
    assert kept() == [(3, "witness.example/w1")]


def self_signed(directory: Path) -> Path:
    """A file with a key and a certificate of 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "witness")])
    now = timezone.now()
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = directory / "certificate.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return file


# --- in the second place ----------------------------------------------------------------------


def test_the_copy_carries_the_cosignatures_and_keeps_them(
    server: WitnessServer, settings: Any, tmp_path: Path
) -> None:
    settings.LEDGER_EXPORT = str(tmp_path)
    copy = tmp_path / "test" / "checkpoint"
    grow(3)
    ask()
    assert copy.read_text() == served() != LedgerCheckpoint.objects.get().note

    export._copied.clear()
    export.publish_newest("test")
    assert copy.read_text() == served()
    call_command("ledger_export", str(tmp_path / "other"), log="test", stdout=io.StringIO())
    assert (tmp_path / "other" / "test" / "checkpoint").read_text() == served()
    call_command("ledger_fsck", tiles=str(tmp_path), log="test", stdout=io.StringIO())


@pytest.mark.django_db(transaction=True)
def test_a_recovered_checkpoint_has_its_cosignatures_again(
    server: WitnessServer, settings: Any, tmp_path: Path, test_database: TestDatabase
) -> None:
    settings.LEDGER_EXPORT = str(tmp_path)
    grow(3, 4)
    own = LedgerCheckpoint.objects.get(size=7).note
    ask()
    before = served()
    # Somebody else's line says nothing, and a wrong one of a witness stops no recovery.
    copy = tmp_path / "test" / "checkpoint"
    copy.write_text(before + Cosigner("stranger", b"s" * 32).line("another\n", 5))
    lose_tail(test_database, 3)
    assert kept() == []

    call_command("ledger_recover", log="test", apply=True, stdout=io.StringIO())

    assert LedgerCheckpoint.objects.get(size=7).note == own
    assert served() == before
