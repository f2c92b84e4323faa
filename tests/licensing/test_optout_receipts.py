"""What each step of an opt-out left in the ledger can be proven offline, by its parties."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from licensing import jcs
from licensing.ledger import commitments, notes, receipts, sequencer, signer, tree
from licensing.offline import __main__ as command
from licensing.offline import verify
from marketplace.access import system
from marketplace.models import Organization, Representation
from tests.make import issue_grant, make_offer
from tests.people import ApiClient

ClientFor = Callable[..., ApiClient]
VECTOR: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "optouts.json").read_text()
)
KEYS = [notes.Verifier.parse(VECTOR["vkey"])]
SAID = {"statement": "Deleted.", "name": "Lin", "title": "Counsel"}
KINDS = ["optout.recorded", "optout.notified", "optout.acknowledged"]


@pytest.fixture(params=VECTOR["entries"], ids=KINDS)
def published(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(request.param)


def test_a_published_vector_comes_out_of_the_same_facts(published: dict[str, Any]) -> None:
    kind, seed = published["kind"], bytes.fromhex(published["seed"])
    made = commitments.commit(kind, seed, published["values"])
    assert made == published["commitments"]
    openings = commitments.openings(kind, seed, published["values"], v=1)
    assert openings["salts"] == published["salts"]
    entry = commitments.entry_body(
        kind,
        log=VECTOR["log"],
        at=commitments.parse_timestamp(published["at"]),
        subject_ref=bytes.fromhex(published["subject_ref"]),
        seq=published["seq"],
        prev=published["prev"] and bytes.fromhex(published["prev"]),
        commitments=made,
        parties=None,
    )
    assert entry.decode() == published["entry"]
    assert tree.leaf_hash(entry).hex() == published["leaf_hash"]
    proof = [bytes.fromhex(step) for step in published["proof"]]
    built = receipts.build(entry, openings, published["index"], proof, VECTOR["checkpoint"])
    assert built.decode() == published["receipt"]


def test_a_published_receipt_is_sound(published: dict[str, Any]) -> None:
    proven = verify.check(published["receipt"].encode(), KEYS)
    assert (proven.body.kind, dict(proven.values)) == (published["kind"], published["values"])


def test_a_published_kind_has_no_other_fields(published: dict[str, Any]) -> None:
    kind, seed, values = published["kind"], bytes.fromhex(published["seed"]), published["values"]
    with pytest.raises(commitments.CommitmentError, match="does not commit to “more”"):
        commitments.commit(kind, seed, {**values, "more": 1})
    for name in values:
        rest = {field: value for field, value in values.items() if field != name}
        with pytest.raises(commitments.CommitmentError, match=f"“{name}”, which is missing"):
            commitments.commit(kind, seed, rest)


@pytest.mark.parametrize("index", [0, 1])
def test_works_whose_citation_is_another_s_are_refused(index: int) -> None:
    given = VECTOR["entries"][index]
    kind, seed = given["kind"], bytes.fromhex(given["seed"])
    values = {**given["values"], "works": {**given["values"]["works"], "size": 7}}
    entry = commitments.entry_body(
        kind,
        log="test",
        at=commitments.parse_timestamp(given["at"]),
        subject_ref=bytes.fromhex(given["subject_ref"]),
        seq=0,
        prev=None,
        commitments=commitments.commit(kind, seed, values),
        parties=None,
    )
    key = notes.Signer("licet.example/ledger/test", bytes(range(32)))
    root = notes.Checkpoint(key.verifier.name, 1, tree.leaf_hash(entry))
    opened = commitments.openings(kind, seed, values, v=1)
    data = receipts.build(entry, opened, 0, [], notes.sign(root.text(), key))
    with pytest.raises(receipts.ReceiptError) as refused:
        verify.check(data, [key.verifier])
    assert (refused.value.part, refused.value.field) == ("openings", "works")


# --- of a server ------------------------------------------------------------------------------


def receipt(client: ApiClient, address: str) -> bytes:
    answer = client.get(f"/v1/{address}/receipt", Accept="text/plain")
    assert answer.status_code == 200, answer.content
    return answer.content


@pytest.mark.django_db
def test_each_step_s_receipt_verifies_with_the_offline_tool(
    archive: Organization, lab: Organization, client_for: ClientFor, tmp_path: Path, capsys: Any
) -> None:
    grant = issue_grant(lab, make_offer(archive))
    with system("look in a test"):
        works = [bytes(form.digest).hex() for form in Representation.objects.all()]
    owner, licensee = client_for(archive), client_for(lab)
    out = owner.post("/v1/opt-outs", {"digests": works[:2], "reason": "The author asked."}).json()
    notice = licensee.get("/v1/notices").json()["data"][0]
    stated = f"notices/{notice['id']}/acknowledgement"
    assert licensee.get(f"/v1/{stated}/receipt").status_code == 404
    acknowledged = licensee.post(f"/v1/notices/{notice['id']}/acknowledge", SAID)
    assert acknowledged.status_code == 200
    assert owner.get(f"/v1/opt-outs/{out['id']}/receipt").status_code == 202
    sequencer.run_once()
    key = signer.load("test").verifier.vkey()
    shown = {}
    for client, address in (
        (owner, f"opt-outs/{out['id']}"),
        (licensee, f"notices/{notice['id']}"),
        (owner, stated),
    ):
        path = tmp_path / "receipt"
        path.write_bytes(receipt(client, address))
        assert command.main(["verify", str(path), "--key", key, "--allow-test"]) == 0
        shown[address] = capsys.readouterr().out
    text = "\n".join(shown.values())
    assert [f"sound: {kind}" in text for kind in KINDS] == [True] * 3
    for fact in (
        "  taken out by    owner\n",
        "  reason          The author asked.\n",
        "  works           opt_outs of 2 items (2 works), citation " + out["works"]["citation"],
        f"  opt-out         {out['id']}\n",
        f"  grant           {grant.pk}\n",
        f"  notice          {notice['id']}\n",
        "  stated          Deleted.\n",
        "  by              Lin, Counsel\n",
    ):
        assert fact in text
    # Whether a license is in force is not what these are about.
    assert "still in force" not in text


@pytest.mark.django_db
def test_a_licensee_cannot_fetch_the_receipt_of_the_opt_out_itself(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    issue_grant(lab, make_offer(archive))
    with system("look in a test"):
        works = [bytes(form.digest).hex() for form in Representation.objects.all()]
    body = {"digests": works, "reason": "Asked."}
    out = client_for(archive).post("/v1/opt-outs", body).json()
    assert client_for(lab).get(f"/v1/opt-outs/{out['id']}/receipt").status_code == 404


@pytest.mark.django_db
def test_an_opt_out_in_both_logs_has_a_receipt_of_each(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    issue_grant(lab, make_offer(archive))
    with system("look in a test"):
        works = [bytes(form.digest).hex() for form in Representation.objects.all()]
    live = client_for(archive, livemode=True)
    out = live.post("/v1/opt-outs", {"digests": works, "reason": "Asked."}).json()
    sequencer.run_once()
    for client, log in ((live, "live"), (client_for(archive), "test")):
        data = receipt(client, f"opt-outs/{out['id']}")
        proven = receipts.verify(receipts.parse(data), [signer.load(log).verifier])
        assert (proven.body.log, proven.values["opt_out"]) == (log, out["id"])
        assert jcs.dumps(proven.values["reason"]) == b'"Asked."'
