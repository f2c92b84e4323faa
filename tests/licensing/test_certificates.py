"""Certificates: what they say of a license, and who may see them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client as Browser
from django.utils import timezone

from licensing import certificate_pdf, certificate_words, certificates, lifecycle
from licensing.certificates import Certificate
from licensing.ledger import openings, sequencer
from licensing.models import Grant, Terms
from marketplace import access
from marketplace.errors import NotFound
from marketplace.models import Membership, Organization, User
from tests.licensing.test_periods import ENDING, amend, another
from tests.licensing.test_periods import rows as periods_of
from tests.licensing.test_status import become, last_leaf, recorded
from tests.make import issue_grant, make_grant, make_offer, make_trader
from tests.people import ApiClient, caller_for, found

pytestmark = pytest.mark.django_db
Client = Callable[..., ApiClient]
ACT = lifecycle.Act(by="licensor", cause="breach", reason="They <b>copied</b> it.")


def signed(grant: Grant) -> Grant:
    """A grant whose entry and first status root are signed."""
    recorded("live" if grant.livemode else "test")
    sequencer.run_once()
    return grant


@pytest.fixture
def grant(archive: Organization, lab: Organization) -> Grant:
    return signed(make_grant(archive, lab))


def shown(organization: Organization, grant: Grant, **how: Any) -> Certificate:
    certificate = certificates.of(caller_for(organization), str(grant.pk), **how)
    assert certificate is not None
    return certificate


def browser(*organizations: Organization) -> Browser:
    """Somebody who is signed in, and a viewer at these organizations."""
    user = User.objects.create(email="viewer@example.org", name="Vi")
    with access.system("a test makes a member"):
        for organization in organizations:
            Membership.objects.create(organization=organization, user=user, role="viewer")
    opened = Browser(raise_request_exception=False)
    opened.force_login(user)
    return opened


def page(opened: Browser, grant: Grant, more: str = "") -> Any:
    return opened.get(f"/certificates/{grant.pk}{more}", headers={"Accept": "text/html"})


# --- what it says -----------------------------------------------------------------------------


def test_a_certificate_says_what_the_ledger_entry_opens_to(
    grant: Grant, archive: Organization, lab: Organization
) -> None:
    for viewer in (archive, lab):
        certificate = shown(viewer, grant)

        assert (certificate.id, certificate.grant_ref) == (
            str(grant.pk),
            bytes(grant.grant_ref).hex(),
        )
        assert dataclasses.astuple(certificate.licensor) == (
            "Archive Ltd", "IE", "12345", str(archive.pk),
        )  # fmt: skip
        assert certificate.licensee.legal_name == "Lab Ltd"
        assert certificate.licensee.jurisdiction == "US-DE"
        assert certificate.is_opened
        assert not certificate.livemode
        assert [each.sha256 for each in certificate.documents] == [
            hashlib.sha256(grant.agreement.document.encode()).hexdigest()
        ]
        assert certificate.record.leaf_hash == last_leaf(grant).hex()
        assert certificate.record.origin == "licet.example/ledger/test"
        assert certificate.period.scope == {"uses": ["pretrain"], "territories": ["EU"]}
        assert certificate.period.price == "free"
        assert certificate.others == ()


def test_the_terms_are_shown_word_by_word(grant: Grant, lab: Organization) -> None:
    terms = shown(lab, grant).period.terms
    row = Terms.objects.get(text_sha256=bytes.fromhex(terms.text_sha256))

    assert terms.text == row.text
    assert hashlib.sha256(terms.text.encode()).hexdigest() == terms.text_sha256
    lines = [f"{each.number} {each.text}".strip() for each in terms.clauses]
    assert lines == [line for line in row.text.splitlines() if line]
    assert terms.clauses[0].number == ""
    assert terms.clauses[1].is_heading
    assert not terms.clauses[2].is_heading


def test_the_parties_stay_those_of_the_entry_when_one_changes_its_name(
    grant: Grant, lab: Organization
) -> None:
    with access.system("a test renames an organization"):
        Organization.objects.filter(pk=lab.pk).update(legal_name="Other Ltd")

    assert shown(lab, grant).licensee.legal_name == "Lab Ltd"


def test_where_openings_were_erased_the_certificate_says_whose_word_the_names_are(
    grant: Grant, lab: Organization
) -> None:
    with access.system("a test erases openings"):
        openings.forget(openings.opened([grant.issued_entry_id]))

    certificate = shown(lab, grant)
    assert not certificate.is_opened
    assert certificate.licensee.legal_name == "Lab Ltd"
    parties = certificate_words.sections(certificate)[0].rows
    assert "was erased" in parties[-1].text


def test_a_later_period_takes_over_with_its_terms_and_its_contract(
    archive: Organization, lab: Organization
) -> None:
    grant = signed(issue_grant(lab, make_offer(archive, typed=ENDING)))
    at = timezone.now() + timedelta(days=10)
    changed = another(archive, {**ENDING, "attribution": "none"})
    amend(grant, changed, effective_at=at)

    certificate = shown(lab, grant)
    # Not yet: it is announced.
    assert certificate.period.number == 1
    assert {each.ends for each in certificate.period.windows} == {at}
    [later] = certificate.others
    assert (later.number, later.kind, later.terms.version) == (2, "amended", 2)
    assert {each.begins for each in later.windows} == {at}
    assert [each.period for each in certificate.documents] == [1, 2]
    assert certificate.documents[1].sha256 == hashlib.sha256(b"We agree.").hexdigest()

    rows = periods_of(grant)
    assert certificates._in_force(rows, at).number == 2
    assert certificates._in_force(rows, at + timedelta(days=4000)).number == 2
    assert certificates._in_force(rows, at - timedelta(days=4000)).number == 1
    time = certificate_words.sections(certificate)[2].rows
    assert time[-1].text.startswith("2 (an amendment), under “Training”, version 2. Works may")


def test_a_price_is_shown_unless_it_is_asked_to_be_hidden(
    archive: Organization, lab: Organization, client_for: Client
) -> None:
    grant = signed(make_grant(archive, lab))
    hidden = shown(lab, grant, with_price=False)

    assert hidden.period.price is None
    rows = [row.label for section in certificate_words.sections(hidden) for row in section.rows]
    assert "Price" not in rows
    url = f"/v1/grants/{grant.pk}/certificate"
    assert client_for(lab).get(url).json()["period"]["price"] == "free"
    assert client_for(lab).get(f"{url}?with_price=false").json()["period"]["price"] is None
    refused = client_for(lab).get(f"{url}?with_price=maybe")
    assert (refused.status_code, refused.json()["param"]) == (422, "with_price")


@pytest.mark.parametrize(
    ("basis", "said"),
    [
        ({"model": "flat", "amount_minor": 125_000, "currency": "EUR"}, "1,250.00 EUR"),
        ({"model": "free", "amount_minor": 0, "currency": "EUR"}, "free"),
        ({"model": "of old", "amount_minor": 7, "currency": "EUR"}, "0.07 EUR"),
        (
            {
                "model": "per_unit", "unit": "work", "tiers": [], "minimum_minor": None,
                "rate": {"amount_minor": 2, "per": 1}, "cap_minor": None,
                "amount_minor": 600, "currency": "EUR", "quantity": 300,
            },
            "6.00 EUR (",
        ),
    ],
)  # fmt: skip
def test_every_price_basis_has_its_line(basis: dict[str, Any], said: str) -> None:
    assert certificates._price(basis).startswith(said)


# --- how it stands ----------------------------------------------------------------------------


def stand(organization: Organization, grant: Grant) -> certificate_words.Stand:
    return certificate_words.stand(shown(organization, grant).state)


def test_in_force_is_what_records_and_status_proof_both_say(
    grant: Grant, lab: Organization
) -> None:
    said = stand(lab, grant)

    assert said.is_in_force
    assert said.headline.startswith("In force as of ")
    assert said.sentences[0].endswith("It does not say that it is still in force.")
    assert "by status root 0" in said.sentences[1]
    assert said.sentences[1].endswith("It proves nothing of later.")


def test_without_a_status_root_nothing_is_said_to_be_in_force(
    archive: Organization, lab: Organization
) -> None:
    grant = make_grant(archive, lab)
    sequencer.run_once()

    said = stand(lab, grant)
    assert not said.is_in_force
    assert said.headline == "Issued. Whether it is in force is not proven yet."
    assert "The next one comes by" in said.sentences[1]


def test_a_suspension_is_said_at_once_and_told_apart_from_what_is_proven(
    grant: Grant, lab: Organization
) -> None:
    become(grant, "suspended")
    fresh = stand(lab, grant)
    assert not fresh.is_in_force
    assert fresh.headline.startswith("SUSPENDED with effect from ")
    assert "in force as of" in fresh.sentences[1]
    assert "Cause: Breach of the terms." in fresh.sentences[2]
    assert fresh.sentences[3].endswith("by this market's records only: suspended.")

    recorded()
    # Recorded, and not signed: the root before is the newest that anybody can check.
    assert "in force as of" in stand(lab, grant).sentences[1]
    sequencer.run_once()
    proven = stand(lab, grant)
    assert proven.headline.startswith("SUSPENDED")
    assert "suspended as of" in proven.sentences[1]
    assert len(proven.sentences) == 3


def test_a_reinstated_license_is_in_force_only_once_that_is_proven(
    grant: Grant, lab: Organization
) -> None:
    become(grant, "suspended")
    signed(grant)
    become(grant, "active")

    assert not stand(lab, grant).is_in_force
    assert stand(lab, grant).headline.startswith("Suspended as of ")
    signed(grant)
    assert stand(lab, grant).is_in_force


def test_a_revocation_says_its_effect_and_cause(
    grant: Grant, archive: Organization, lab: Organization
) -> None:
    lifecycle.revoke(caller_for(archive), str(grant.pk), ACT, effect="void_from_start")

    said = stand(lab, grant)
    assert said.headline == "REVOKED, AS IF IT HAD NEVER BEEN GIVEN. Not in force."
    assert not said.is_in_force
    assert "Effect: As if it had never been given." in said.sentences[2]
    assert said.sentences[2].endswith("Reason: They <b>copied</b> it.")


def test_what_is_announced_is_said_and_not_taken_for_now(
    grant: Grant, archive: Organization, lab: Organization
) -> None:
    later = timezone.now() + timedelta(days=3)
    act = dataclasses.replace(ACT, effective_at=later)
    lifecycle.revoke(caller_for(archive), str(grant.pk), act)

    certificate = shown(lab, grant)
    assert certificate.state.is_in_force
    assert certificate.state.step is None
    assert certificate.state.announced is not None
    assert certificate.state.announced.effective_at == later
    assert stand(lab, grant).sentences[-1].startswith("Announced: Revoked with effect from ")


def test_an_ended_license_says_since_when(
    grant: Grant, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = certificates.Step("expired", timezone.now(), "", "", "", "")
    state = dataclasses.replace(shown(lab, grant).state, now="expired", step=step)

    said = certificate_words.stand(state)
    assert said.headline.startswith("ENDED with effect from ")
    assert "all its windows are over since" in said.sentences[2]


# --- who sees it ------------------------------------------------------------------------------


def test_a_license_that_is_not_signed_is_pending_and_called_no_certificate(
    archive: Organization, lab: Organization, client_for: Client
) -> None:
    grant = make_grant(archive, lab)
    assert certificates.of(caller_for(lab), str(grant.pk)) is None

    opened = browser(lab)
    for suffix in ("", ".pdf"):
        answer = client_for(lab).get(f"/v1/grants/{grant.pk}/certificate{suffix}")
        assert (answer.status_code, answer["Retry-After"]) == (202, "1")
        assert answer["Content-Type"] == "application/json"
        assert answer.json() == {"object": "certificate", "status": "pending"}
        waiting = page(opened, grant, suffix)
        assert waiting.status_code == 202
        assert "<h1>Pending</h1>" in waiting.text
        assert "ertificate" not in waiting.text.partition("<main")[2]


def test_only_the_two_parties_see_it(
    grant: Grant, archive: Organization, lab: Organization, stranger: Organization,
    client_for: Client,
) -> None:  # fmt: skip
    with pytest.raises(NotFound):
        certificates.of(caller_for(stranger), str(grant.pk))
    with pytest.raises(NotFound):
        certificates.of(caller_for(lab, livemode=True), str(grant.pk))
    for suffix in ("", ".pdf"):
        url = f"/v1/grants/{grant.pk}/certificate{suffix}"
        assert client_for(stranger).get(url).status_code == 404
        assert client_for(archive).get(url).status_code == 200
        assert client_for(lab).get(url).status_code == 200

    outsider = browser(stranger)
    for suffix in ("", ".pdf"):
        answer = page(outsider, grant, suffix)
        assert answer.status_code == 404
        assert "Archive" not in answer.text
        assert page(Browser(), grant, suffix).headers["Location"].startswith("/login/?next=/cert")
    assert outsider.get("/certificates/grt_nonsense").status_code == 404


def test_a_member_of_several_organizations_sees_it_as_the_one_that_is_a_party(
    grant: Grant, stranger: Organization, lab: Organization
) -> None:
    answer = page(browser(stranger, lab), grant)

    assert answer.status_code == 200
    assert answer["Cache-Control"].startswith("max-age=0")
    assert "Archive Ltd, IE, registration number 12345" in answer.text
    assert "<strong>TEST LICENSE, no money moved</strong>" in answer.text
    assert "In force as of" in answer.text
    assert "style=" not in answer.text
    assert "<script" not in answer.text


def test_names_and_reasons_are_text_on_the_page(archive: Organization) -> None:
    evil = found("Evil", "lab", legal_name="<script>alert(1)</script> Ltd")
    grant = signed(make_grant(archive, evil))
    lifecycle.suspend(caller_for(archive), str(grant.pk), ACT)

    text = page(browser(evil), grant).text
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; Ltd" in text
    assert "They &lt;b&gt;copied&lt;/b&gt; it." in text


def test_what_turns_the_direction_of_text_is_shown_as_what_it_is() -> None:
    assert certificate_words.line("Lab \u202edtL\nInc") == "Lab \\u202edtL Inc"


def test_the_page_can_hide_the_price(grant: Grant, lab: Organization) -> None:
    opened = browser(lab)

    assert "<dt>Price</dt>" in page(opened, grant).text
    hidden = page(opened, grant, "?price=hide").text
    assert "<dt>Price</dt>" not in hidden
    assert f"/certificates/{grant.pk}.pdf?price=hide" in hidden


def test_the_api_says_the_same_as_the_page(
    grant: Grant, lab: Organization, client_for: Client
) -> None:
    answer = client_for(lab).get(f"/v1/grants/{grant.pk}/certificate")
    body = answer.json()

    certificate = shown(lab, grant)
    assert answer["Cache-Control"] == "private, no-store"
    assert body["object"] == "certificate"
    assert body["verify_url"].endswith(f"/verify/{bytes(grant.grant_ref).hex()}")
    assert body["record"]["leaf_hash"] == certificate.record.leaf_hash
    assert body["state"]["proven"]["state"] == "active"
    assert body["state"]["is_in_force"] is True
    assert body["state"]["headline"] == certificate_words.stand(certificate.state).headline
    assert len(body["period"]["terms"]["clauses"]) == len(certificate.period.terms.clauses)
    assert json.dumps(body["period"]["windows"]).count("begins") == 3


def test_the_api_gives_the_pdf_by_address_or_by_accept(
    grant: Grant, lab: Organization, client_for: Client
) -> None:
    client = client_for(lab)
    by_address = client.get(f"/v1/grants/{grant.pk}/certificate.pdf")
    by_accept = client.get(f"/v1/grants/{grant.pk}/certificate", Accept="application/pdf")

    for answer in (by_address, by_accept):
        assert (answer.status_code, answer["Content-Type"]) == (200, "application/pdf")
        assert answer["Content-Disposition"] == f'attachment; filename="{grant.pk}.pdf"'
        assert answer["Cache-Control"] == "private, no-store"
        assert answer.content == certificate_pdf.render(shown(lab, grant))
    hidden = client.get(f"/v1/grants/{grant.pk}/certificate.pdf?with_price=false").content
    assert hidden == certificate_pdf.render(shown(lab, grant, with_price=False))


def test_a_live_license_is_shown_as_live(archive: Organization, lab: Organization) -> None:
    make_trader(archive)
    grant = signed(make_grant(archive, lab, livemode=True))

    answer = page(browser(lab), grant)
    assert answer.status_code == 200
    assert "TEST LICENSE" not in answer.text
    assert "licet.example/ledger/live" in answer.text


def test_later_snapshots_and_offers_leave_the_certificate_alone(
    grant: Grant, archive: Organization, lab: Organization
) -> None:
    before = shown(lab, grant)
    make_offer(archive)

    assert shown(lab, grant) == before
