"""`decide` answers by an exported grant as the market does, or says why it cannot."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, override_settings
from django.utils import timezone

from licensing import settree
from licensing.ledger import sequencer, signer
from licensing.models import Grant
from licensing.offline import __main__ as command
from marketplace.models import Organization
from tests.licensing import receipt_samples
from tests.licensing.receipt_samples import VECTOR
from tests.licensing.test_decision_requests import ask, digests_of
from tests.make import TYPED, TYPED_2, issue_grant, make_offer
from tests.people import ApiClient

ClientFor = Callable[..., ApiClient]
GRANT = "grt_01jd0000000000000000000001"
WORKS = sorted(f"{number:064x}" for number in (7, 8, 9))
LIVE_KEY = receipt_samples.signer("live").verifier.vkey()
INSIDE = ["--use", "pretrain", "--territory", "DE", "--at", "2027-01-01T00:00:00Z"]


def manifest(works: list[str] = WORKS, *, excluded: Mapping[str, str] | None = None) -> bytes:
    described = settree.item_metadata(media_type="text/plain", length=5)
    tree = settree.SetTree("snapshot", bytes(32))
    for work in works:
        tree.add(bytes.fromhex(work), described)
    root = tree.finish({"works": len(works)})
    head = {
        "type": "manifest",
        "v": 1,
        "grant": GRANT,
        "livemode": True,
        "snapshot": root.as_dict() | {"citation": root.citation().hex()},
        "secret": bytes(32).hex(),
    }
    lines: list[dict[str, Any]] = [head]
    for work in works:
        line = {"type": "work", "digest": work, "length": 5, "media_type": "text/plain"}
        line |= {"url": None, "metadata": described}
        why = (excluded or {}).get(work)
        lines.append(line if why is None else {**line, "excluded": why})
    lines.append({"type": "end", "count": len(works)})
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def receipt(log: str = "live", **changes: Any) -> bytes:
    values = copy.deepcopy(VECTOR["values"])
    values["coverage"] = [json.loads(manifest().splitlines()[0])["snapshot"]]
    values["terms"] = TYPED
    return receipt_samples.make(log=log, values=values | changes)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A directory with a receipt and its manifest."""
    (tmp_path / "receipt").write_bytes(receipt())
    (tmp_path / "manifest").write_bytes(manifest())
    return tmp_path


def run(export: Path, *arguments: str, key: str = LIVE_KEY) -> int:
    return command.main(["decide", str(export / "receipt"), "--key", key, *arguments])


def with_manifest(export: Path, *arguments: str) -> list[str]:
    return ["--manifest", str(export / "manifest"), *arguments]


# --- the same answers as the server's ---------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.django_db
def test_it_answers_as_the_server_does(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed = copy.deepcopy(TYPED)
    typed["permit"].append(
        {
            "uses": ["evaluate", "retrieve_rag"],
            "territories": ["*"],
            "model_scope": "named_model",
            "model_name": "Atlas",
        }
    )
    offer = make_offer(archive, price_minor=0, typed=typed)
    grant = issue_grant(
        lab, offer, uses=["pretrain", "evaluate", "retrieve_rag"], territories=["EU"]
    )
    client = client_for(lab)
    works = [*digests_of(archive), "ab" * 32]
    export_grant(client, grant, tmp_path)
    capsys.readouterr()

    now = timezone.now()
    seen = set()
    for use in ("pretrain", "finetune", "evaluate", "retrieve_rag", "ground_display", "annotate"):
        for territory in ("DE", "EU", "US", "*", None):
            for model in ("Atlas", "Boreas", None):
                for days in (-1, 1, 500):
                    at = (now + timedelta(days=days)).isoformat()
                    question: dict[str, Any] = {"use": use, "at": at}
                    arguments = ["--use", use, "--at", at]
                    if territory is not None:
                        question["territory"] = territory
                        arguments += ["--territory", territory]
                    if model is not None:
                        question["model"] = {"name": model}
                        arguments += ["--model", model]
                    theirs = ask(client, question, works, grant=str(grant.pk)).json()
                    for work in works:
                        arguments += ["--work", work]
                    code = run(
                        tmp_path,
                        *with_manifest(tmp_path, *arguments, "--json", "--allow-test"),
                        key=signer.load("test").verifier.vkey(),
                    )
                    ours = json.loads(capsys.readouterr().out)
                    assert ours["data"] == theirs["data"], question
                    assert (ours["summary"], ours["at"]) == (theirs["summary"], theirs["at"])
                    assert code == (0 if theirs["summary"]["permit"] == len(works) else 4)
                    seen |= {each["decision"] for each in ours["data"]}
    assert seen == {"permit", "deny", "needs_review"}


def export_grant(client: ApiClient, grant: Grant, directory: Path) -> None:
    """What a licensee keeps: the receipt, and the manifest as the delivery process serves it."""
    sequencer.run_once()
    answer = client.get(f"/v1/grants/{grant.pk}/receipt", Accept="text/plain")
    assert answer.status_code == 200
    (directory / "receipt").write_bytes(answer.content)
    url = client.get(f"/v1/grants/{grant.pk}/manifest").json()["url"]
    with override_settings(ROOT_URLCONF="licensing.delivery_urls"):
        served: Any = Client().get(url[url.index("/grants/") :])
        assert served.status_code == 200
        (directory / "manifest").write_bytes(b"".join(served.streaming_content))


# --- what it says -----------------------------------------------------------------------------


def test_it_says_the_clause_and_what_it_cannot_know(
    export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = with_manifest(export, *INSIDE, "--work", WORKS[0], "--work", "ab" * 32)
    assert run(export, *asked) == 4
    assert capsys.readouterr().out.splitlines() == [
        f"permit        {WORKS[0]}  clause 2.1  permitted  until 2027-11-24T10:00:00Z",
        f"deny          {'ab' * 32}  not_covered",
        "By what was issued and logged. Not known here: whether the grant was renewed, amended,"
        " suspended or revoked since, and which works were opted out since the manifest was made."
        " Ask the market for that.",
    ]


def test_anything_of_the_grant_needs_no_manifest(
    export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(export, *INSIDE) == 0
    assert capsys.readouterr().out.startswith("permit        anything of the grant  clause 2.1")


def test_works_are_taken_from_a_file(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (export / "works").write_text("\n".join([*WORKS, ""]))
    asked = with_manifest(export, *INSIDE, "--works", str(export / "works"), "--json")
    assert run(export, *asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["work"] for each in found["data"]] == WORKS
    assert {each["grant"] for each in found["data"]} == {GRANT}


@pytest.mark.parametrize(
    ("said", "code"),
    [("opted_out", "opted_out"), ("held", "held"), ("claimed", "held"), ("not read yet", "held")],
)
def test_a_work_that_the_manifest_excludes_is_denied(
    export: Path, capsys: pytest.CaptureFixture[str], said: str, code: str
) -> None:
    (export / "manifest").write_bytes(manifest(excluded={WORKS[1]: said}))
    asked = with_manifest(export, *INSIDE, "--work", WORKS[1], "--json")
    assert run(export, *asked) == 4
    [decision] = json.loads(capsys.readouterr().out)["data"]
    assert (decision["decision"], decision["reasons"][0]["code"]) == ("deny", code)


def test_a_test_license_permits_nothing_without_being_told_so(
    export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (export / "receipt").write_bytes(receipt("test"))
    assert run(export, *INSIDE, key=VECTOR["vkey"]) == 3
    assert capsys.readouterr().out.startswith("TEST LICENSE, no money moved\npermit ")
    assert run(export, *INSIDE, "--allow-test", key=VECTOR["vkey"]) == 0


def test_terms_of_version_2_are_read(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    permit = {
        "uses": ["pretrain"],
        "territories": {"training": ["*"], "availability": ["EU"]},
        "models": {
            "scope": "any_model_of_licensee",
            "release": ["closed_api"],
            "successors": "none",
        },
        "fields": ["commercial"],
    }
    typed = {**TYPED_2, "permit": [permit], "deny": [{"sectors": ["military"]}]}
    (export / "receipt").write_bytes(receipt(terms=typed))
    whole = ["--availability", "FR", "--release", "closed_api", "--field", "commercial"]
    assert run(export, *INSIDE, *whole, "--sector", "none") == 0
    assert run(export, *INSIDE, *whole, "--sector", "military") == 4
    assert run(export, *INSIDE, *whole) == 4
    said = capsys.readouterr().out
    assert said.startswith("permit ")
    assert "deny          anything of the grant  clause 3.1  denied_by_clause" in said
    assert "needs_review  anything of the grant  clause 2.1  question_incomplete" in said


# --- what it refuses --------------------------------------------------------------------------


def test_what_is_not_an_exported_grant_is_named(
    export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str) -> str:
        assert run(export, *INSIDE, *arguments) == 1
        return capsys.readouterr().out

    asked = with_manifest(export, "--work", WORKS[0])
    (export / "manifest").write_bytes(manifest(WORKS[:2]))
    assert "does not cover the manifest's set" in refused(*asked)
    (export / "manifest").write_bytes(manifest().replace(WORKS[0].encode(), b"f" * 64))
    assert "NOT SOUND" in refused(*asked)
    (export / "manifest").write_bytes(manifest()[:-20])
    assert "was cut off" in refused(*asked)
    (export / "receipt").write_bytes(receipt(terms={**TYPED, "v": 3}))
    assert "cannot be read by this version" in refused()
    (export / "receipt").write_bytes(receipt(terms={"v": 1, "permit": [{}], "deny": []}))
    assert "cannot be read by this version" in refused()
    (export / "receipt").write_bytes(
        receipt_samples.make(log="live", disclosed=frozenset({"licensor"}))
    )
    assert "does not disclose “terms”" in refused()
    (export / "receipt").write_bytes(receipt().replace(b"index 3", b"index 4"))
    assert "NOT SOUND: proof" in refused()
    assert json.loads(refused("--json"))["broken"] == "proof"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--use", "pretrain", "--territory", "XX"], "--territory XX: give an ISO 3166-1 code"),
        (["--use", "pretrain", "--availability", "eu"], "--availability eu: give an ISO"),
        (["--use", "pretrain", "--at", "2027-01-01T00:00:00"], "--at 2027-01-01T00:00:00: give"),
        (["--use", "pretrain", "--at", "soon"], "--at soon: give an instant"),
        (["--use", "pretrain", "--work", "xyz"], "xyz: give a work's SHA-256"),
        (["--use", "pretrain", "--work", WORKS[0]], "give --manifest"),
        (["--use", "pretrain", "--work", WORKS[0], "--work", WORKS[0].upper()], "twice"),
        (["--use", "pretrain", "--works", "/dev/null"], "/dev/null: there is no work in it"),
        (["--use", "pretrain", "--works", "/nowhere"], "/nowhere: No such file"),
    ],
)
def test_a_wrong_call_says_what_to_do(
    export: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(export, *arguments) == 2
    found = capsys.readouterr()
    assert (found.out, said in found.err) == ("", True), found.err


def test_a_missing_manifest_is_a_wrong_call(
    export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--manifest", str(export / "nowhere"), "--work", WORKS[0]]
    assert run(export, *INSIDE, *asked) == 2
    assert "No such file" in capsys.readouterr().err


def test_an_unknown_use_is_a_wrong_call(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run(export, "--use", "train")
    assert left.value.code == 2
    assert "invalid choice: 'train'" in capsys.readouterr().err
