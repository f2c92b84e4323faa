"""Agreements in the workspace: both parties read the contract, and take away its exact bytes."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from django.test import Client
from django.utils.html import escape

from licensing import certificates, verifications
from licensing.ledger import sequencer
from licensing.models import Agreement, Grant, Period
from licensing.offline import verify
from marketplace.access import system
from marketplace.models import Organization
from tests import make
from tests.licensing.test_certificates import signed
from tests.licensing.test_periods import ENDING, amend, another
from tests.licensing.test_seller_studio import member, text
from tests.make import issue_grant, make_offer

pytestmark = pytest.mark.django_db
# What an editor, a browser or a download might “repair”.
HOSTILE = "\ufeffLICENSE\r\n\tAGREEMENT \u2028 <b>“Zoë”</b> &amp;\n\n\x85 the end \r\n\n"


@pytest.fixture
def grant(archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch) -> Grant:
    monkeypatch.setattr(make, "DOCUMENT", HOSTILE)
    return signed(issue_grant(lab, make_offer(archive, typed=ENDING)))


def agreement_of(row: Grant | Period) -> Agreement:
    with system("read an agreement in a test"):
        return Agreement.objects.get(pk=row.agreement_id)


def url(kind: str, row: Any, page: str = "change") -> str:
    return f"/studio/licensing/{kind}/{row.pk}/{page}/"


def test_a_party_reads_the_contract_word_for_word_and_downloads_its_exact_bytes(
    grant: Grant, archive: Organization, lab: Organization
) -> None:
    _read_and_download(grant, archive, archive, lab, "agreement", "grant")
    _read_and_download(grant, lab, archive, lab, "heldagreement", "heldgrant")


def _read_and_download(
    grant: Grant,
    whose: Organization,
    archive: Organization,
    lab: Organization,
    kind: str,
    held: str,
) -> None:
    client, agreement = member(whose), agreement_of(grant)
    listed = text(client.get(f"/studio/licensing/{kind}/"))
    page = client.get(url(kind, agreement))
    document = client.get(url(kind, agreement, "document"))

    assert url(kind, agreement) in listed
    assert HOSTILE not in listed
    shown = text(page)
    for told in ("Lin", "Counsel", archive.name, lab.name, "Test: no rights are given"):
        assert told in shown
    assert f'<pre lang="en" tabindex="0">{escape(HOSTILE)}</pre>' in shown
    assert bytes(agreement.document_sha256).hex() in shown
    assert f'href="{url(held, grant)}"' in shown
    assert hashlib.sha256(document.content).digest() == bytes(agreement.document_sha256)
    assert document.content == HOSTILE.encode()
    assert document["Content-Type"] == "text/plain; charset=utf-8"
    assert document["Content-Disposition"] == f'attachment; filename="{agreement.pk}.txt"'
    # And back from the license.
    assert f'href="{url(kind, agreement)}"' in text(client.get(url(held, grant)))


def test_certificate_and_receipt_are_those_of_its_grant(grant: Grant, lab: Organization) -> None:
    client, agreement = member(lab), agreement_of(grant)
    certificate = client.get(url("heldagreement", agreement, "certificate"))
    receipt = client.get(url("heldagreement", agreement, "receipt"))
    assert certificate["Location"] == f"/certificates/{grant.pk}"
    assert receipt.content == client.get(url("heldgrant", grant, "receipt")).content
    assert str(grant.pk) in receipt["Content-Disposition"]
    # What counsel compares: the file's hash stands in what the offline verifier says.
    document = client.get(url("heldagreement", agreement, "document")).content
    checked = verifications.check(receipt.content)
    assert checked.is_sound
    assert f"agreement, SHA-256 {hashlib.sha256(document).hexdigest()}" in checked.words


def test_a_contract_that_changed_a_license_leads_to_it_with_a_receipt_of_its_own(
    grant: Grant, archive: Organization, lab: Organization
) -> None:
    period = amend(grant, another(archive, ENDING))
    agreement, client = agreement_of(period), member(lab)
    page = url("heldagreement", agreement)
    waiting = client.get(url("heldagreement", agreement, "receipt"))
    sequencer.run_once()

    shown = text(client.get(page))
    receipt = client.get(url("heldagreement", agreement, "receipt"))

    assert waiting["Location"] == page
    assert "A change of a license: its period 2" in shown
    assert f'href="{url("heldgrant", grant)}"' in shown
    assert receipt.content != client.get(url("heldgrant", grant, "receipt")).content
    document = client.get(url("heldagreement", agreement, "document")).content
    # No status root speaks of the change yet, and the receipt is sound by itself.
    proven = verify.describe(verify.check(receipt.content, certificates.keys("test")))
    assert f", SHA-256 {hashlib.sha256(document).hexdigest()}" in proven
    assert str(agreement.pk) in receipt["Content-Disposition"]


def test_each_side_finds_its_own_and_nobody_else_any(
    grant: Grant, archive: Organization, lab: Organization, stranger: Organization
) -> None:
    agreement = agreement_of(grant)
    seen = {
        (whose.name, kind): client.get(url(kind, agreement)).status_code
        for whose, client in ((one, member(one)) for one in (archive, lab, stranger))
        for kind in ("agreement", "heldagreement")
    }
    mine = {(archive.name, "agreement"), (lab.name, "heldagreement")}
    assert {key for key, status in seen.items() if status == 200} == mine
    assert {status for key, status in seen.items() if key not in mine} == {404}


def test_who_has_no_contract_reads_what_to_do_next(stranger: Organization) -> None:
    client: Client = member(stranger)
    assert "list an offer" in text(client.get("/studio/licensing/agreement/"))
    assert "get a quote" in text(client.get("/studio/licensing/heldagreement/"))
