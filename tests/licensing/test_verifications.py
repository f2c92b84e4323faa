"""The public verification of a license: what anybody learns by its reference or its receipt."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from licensing import certificates, status_tree, verifications
from licensing.ledger import sequencer, signer
from licensing.models import Grant
from licensing.offline import __main__ as command
from licensing.verifications import RECEIPT_MAX
from marketplace.models import Organization
from tests.licensing import receipt_samples
from tests.licensing.test_certificates import signed
from tests.licensing.test_status import become, recorded
from tests.make import make_grant, make_offer
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
Client = Callable[..., ApiClient]


@pytest.fixture
def grant(archive: Organization, lab: Organization) -> Grant:
    return signed(make_grant(archive, lab))


@pytest.fixture
def receipt(grant: Grant, lab: Organization, client_for: Client) -> bytes:
    content: bytes = client_for(lab).get(f"/v1/grants/{grant.pk}/receipt").content
    return content


def ref(grant: Grant) -> str:
    return bytes(grant.grant_ref).hex()


def get(path: str) -> Any:
    return Browser(raise_request_exception=False).get(path, headers={"Accept": "text/html"})


def bring(data: bytes | None, path: str = "/verify/") -> Any:
    given = {} if data is None else {"receipt": SimpleUploadedFile("r.tlog-proof", data)}
    # As strictly as browsers are treated: no token is needed.
    return Browser(raise_request_exception=False, enforce_csrf_checks=True).post(path, given)


# --- by reference -----------------------------------------------------------------------------


def test_anybody_learns_where_a_license_is_recorded_and_how_it_stands(grant: Grant) -> None:
    answer = get(f"/verify/{ref(grant)}")

    assert answer.status_code == 200
    assert "TEST LICENSE, no money moved" in answer.text
    assert f"<code>{ref(grant)}</code>" in answer.text
    assert '<span class="state">in force as of ' in answer.text
    index = grant.issued_entry.leaf.index
    assert f"<dd>{index} of the log <code>test</code>" in answer.text
    assert "/ledger/test/vkey &gt; ledger.vkey" in answer.text
    assert f"/verify/{ref(grant)}/status-proof &gt; status.json" in answer.text
    assert "--allow-test" in answer.text


def test_the_page_does_not_tell_who_the_parties_are(
    grant: Grant, archive: Organization, lab: Organization
) -> None:
    text = get(f"/verify/{ref(grant)}").text

    assert str(grant.pk) not in text
    for party in (archive, lab):
        assert party.legal_name not in text
        assert str(party.pk) not in text
    assert "Letters" not in text


@pytest.mark.parametrize(("state", "said"), [("suspended", "suspended"), ("expired", "ended")])
def test_what_is_not_in_force_is_said_once_a_signed_root_says_it(
    grant: Grant, state: str, said: str
) -> None:
    become(grant, state)
    assert "in force as of" in get(f"/verify/{ref(grant)}").text

    signed(grant)
    text = get(f"/verify/{ref(grant)}").text
    assert f'<p class="stand notice"><strong><span class="state">{said} as of' in text


def test_a_license_that_is_in_no_root_yet_is_said_to_be_unproven(
    archive: Organization, lab: Organization
) -> None:
    grant = make_grant(archive, lab)
    sequencer.run_once()

    assert "does not hold it yet" in get(f"/verify/{ref(grant)}").text
    assert get(f"/verify/{ref(grant)}/status-proof").status_code == 404


def test_an_entry_that_is_not_signed_is_as_unknown_as_none(
    archive: Organization, lab: Organization
) -> None:
    grant = make_grant(archive, lab)

    waiting, unknown = get(f"/verify/{ref(grant)}"), get(f"/verify/{'0' * 32}")
    assert (waiting.status_code, unknown.status_code) == (404, 404)
    assert waiting.text.replace(ref(grant), "") == unknown.text.replace("0" * 32, "")
    assert 'role="alert">No license of this reference' in unknown.text
    assert 'href="/"' in unknown.text
    assert '<input id="ref"' in unknown.text


def test_a_private_deal_that_is_kept_back_is_not_told(
    archive: Organization, lab: Organization, settings: Any
) -> None:
    settings.LEDGER_PRIVATE_DELAY = 3600
    grant = make_grant(archive, lab, offer=make_offer(archive, price_minor=0, audience=str(lab.pk)))
    sequencer.run_once()

    assert certificates.of(caller_for(lab), str(grant.pk)) is None
    assert get(f"/verify/{ref(grant)}").status_code == 404


@pytest.mark.parametrize("wrong", ["0" * 31, "0" * 33, "xyz", "0" * 500, "..", "ü" * 32])
def test_what_is_no_reference_is_unknown(wrong: str) -> None:
    assert get(f"/verify/{wrong}").status_code == 404
    assert get(f"/verify/{wrong}/status-proof").status_code == 404


def test_the_status_root_s_own_reference_is_no_license(grant: Grant) -> None:
    assert get(f"/verify/{status_tree.subject_ref('test').hex()}").status_code == 404


def test_a_reference_in_upper_case_or_typed_in_leads_to_its_page(grant: Grant) -> None:
    upper = get(f"/verify/{ref(grant).upper()}")
    assert (upper.status_code, upper["Location"]) == (301, f"/verify/{ref(grant)}")

    typed = get(f"/verify/?ref=%20{ref(grant).upper()}%20")
    assert (typed.status_code, typed["Location"]) == (302, f"/verify/{ref(grant)}")
    astray = get("/verify/?ref=//evil.example/")
    assert (astray.status_code, astray["Location"]) == (302, "/verify/unknown")


def test_the_commands_of_the_page_verify_without_an_account(
    grant: Grant, receipt: bytes, tmp_path: Path, capsys: Any
) -> None:
    proof = get(f"/verify/{ref(grant)}/status-proof")
    assert proof["Content-Type"] == "application/json"
    (tmp_path / "receipt").write_bytes(receipt)
    (tmp_path / "status.json").write_bytes(proof.content)
    key = get("/ledger/test/vkey").text.strip()

    files = [str(tmp_path / "receipt"), "--status", str(tmp_path / "status.json")]
    assert command.main(["verify", *files, "--key", key, "--allow-test"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("in force as of ")


# --- by receipt -------------------------------------------------------------------------------


def test_a_receipt_is_verified_in_the_words_of_the_offline_verifier(
    grant: Grant, receipt: bytes, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "receipt").write_bytes(receipt)
    key = signer.load("test").verifier.vkey()
    command.main(["verify", str(tmp_path / "receipt"), "--key", key])
    words = capsys.readouterr().out.splitlines()

    for path in ("/verify/", f"/verify/{ref(grant)}"):
        answer = bring(receipt, path)
        assert answer.status_code == 200
        assert "This receipt is sound." in answer.text
        assert "<strong>TEST LICENSE, no money moved</strong>" in answer.text
        checked = answer.context["checked"]
        # The last line says that nothing is known of its status: here something is.
        assert checked.words.splitlines()[:-1] == words[:-1]
        assert checked.words.splitlines()[-1].startswith("in force as of ")
        assert "So says this server" in answer.text


def test_a_revoked_license_s_receipt_is_said_to_be_so(grant: Grant, receipt: bytes) -> None:
    become(grant, "revoked")
    signed(grant)

    assert "\nrevoked as of " in bring(receipt).context["checked"].words


def test_a_sound_receipt_of_another_license_does_not_pass_for_this_one(
    grant: Grant, receipt: bytes, archive: Organization, lab: Organization
) -> None:
    other = make_grant(archive, lab)
    sequencer.run_once()

    answer = bring(receipt, f"/verify/{ref(other)}")
    assert answer.context["is_other"] is True
    assert "of another license than this page is about" in answer.text
    assert "This receipt is sound.<" not in answer.text


def test_a_receipt_of_another_server_is_not_sound() -> None:
    answer = bring(receipt_samples.make())

    assert answer.status_code == 422
    assert "This receipt is not sound." in answer.text
    assert answer.context["checked"].words.startswith("NOT SOUND: signature: ")
    assert "TEST LICENSE" not in answer.text


def test_one_byte_flipped_anywhere_is_refused(receipt: bytes) -> None:
    for place in range(0, len(receipt), 97):
        flipped = bytearray(receipt)
        flipped[place] ^= 1
        checked = verifications.check(bytes(flipped))
        assert not checked.is_sound, place
        assert checked.words.startswith("NOT SOUND: ")
    assert bring(bytes(flipped)).status_code == 422


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 200_000,
        os.urandom(1000),
        b"c2sp.org/tlog-proof@v1\nextra " + b"W1tb" * 60_000 + b"\nindex 0\n\nx\n\n",
        b"<script>alert(1)</script>",
        b"\xff\xfe",
    ],
    ids=["zeros", "noise", "nested", "html", "no text"],
)
def test_what_is_no_receipt_is_refused_with_words(data: bytes) -> None:
    answer = bring(data)

    assert answer.status_code == 422
    assert answer.context["checked"].words.startswith("NOT SOUND: container: ")
    assert "<script" not in answer.text


def test_a_form_without_a_file_says_so() -> None:
    for data in (None, b""):
        answer = bring(data)
        assert answer.status_code == 422
        assert 'role="alert"' in answer.text or "not sound" in answer.text


def test_a_file_that_is_too_large_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch, receipt: bytes
) -> None:
    assert bring(receipt + b"\n" * (RECEIPT_MAX + 1 - len(receipt))).status_code == 413
    monkeypatch.setattr(verifications, "check", None)

    answer = bring(b"\0" * 10_000_000)
    assert answer.status_code == 413
    assert "at most 256 KiB" in answer.text


def test_nothing_of_a_file_is_stored(receipt: bytes, settings: Any, tmp_path: Path) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert bring(receipt).status_code == 200
        assert bring(b"\0" * 10_000_000).status_code == 413
        assert bring(b"\0" * RECEIPT_MAX).status_code == 422

    assert len(asked) > 0
    writes = ("INSERT", "UPDATE", "DELETE", "COPY")
    assert [each["sql"] for each in asked if each["sql"].lstrip().startswith(writes)] == []
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_not_signed_yet_is_not_told(grant: Grant) -> None:
    become(grant, "suspended")
    recorded()

    assert "in force as of" in get(f"/verify/{ref(grant)}").text
    assert "suspended" not in get(f"/verify/{ref(grant)}").text


def test_other_methods_are_refused(grant: Grant) -> None:
    assert Browser().put(f"/verify/{ref(grant)}").status_code == 405
    assert Browser().post(f"/verify/{ref(grant)}/status-proof").status_code == 405
