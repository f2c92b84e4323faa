"""Opt-outs: what goes out, who is told, and that everything refuses from the commit on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from licensing import jcs, optouts, settree, snapshots
from licensing.ledger import commitments, sequencer
from licensing.models import (
    Acknowledgement,
    LedgerEntry,
    LedgerOpening,
    Notice,
    OptOut,
    OptOutItem,
    Snapshot,
)
from marketplace import collections, contributors, imports, reservations
from marketplace.access import acting, system
from marketplace.errors import InvalidInput
from marketplace.models import Audit, Organization, Representation, ReservedDigest, Work
from tests.make import issue_grant, make_collection, make_offer
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
REASON = "The author asked."


def digests(organization: Organization) -> list[bytes]:
    """All digests of an organization, ascending."""
    with system("look in a test"):
        rows = Representation.objects.filter(organization=organization).order_by("digest")
        return [bytes(form.digest) for form in rows]


def body(*works: bytes, **fields: Any) -> dict[str, Any]:
    named = {"digests": [digest.hex() for digest in works]} if works else {}
    return {**named, "reason": REASON, **fields}


def counts() -> dict[str, int]:
    with system("count in a test"):
        return {
            model.__name__: model._default_manager.count()
            for model in (OptOut, OptOutItem, ReservedDigest, Notice, LedgerEntry)
        }


# --- what goes out ----------------------------------------------------------------------------


def test_an_opt_out_is_recorded_with_its_set_and_its_entry(
    archive: Organization, client_for: ClientFor
) -> None:
    make_offer(archive)
    client, out = client_for(archive), digests(archive)[:2]

    answer = client.post("/v1/opt-outs", body(*out))

    opt_out = answer.json()
    assert answer.status_code == 201, opt_out
    assert answer["Location"] == f"/v1/opt-outs/{opt_out['id']}"
    assert client.get(answer["Location"]).json() == opt_out
    assert client.get("/v1/opt-outs").json()["data"] == [opt_out]
    assert (opt_out["object"], opt_out["by"], opt_out["reason"]) == ("opt_out", "owner", REASON)
    assert (opt_out["organization"], opt_out["is_everywhere"]) == (str(archive.pk), False)
    assert opt_out["notices"] == {"queued": 0, "acknowledged": 0}
    assert (opt_out["works"]["type"], opt_out["works"]["size"]) == ("opt_outs", 2)
    [recorded] = opt_out["ledger"]
    assert (recorded["log"], recorded["index"]) == ("test", None)
    with system("look in a test"):
        entry = LedgerEntry.objects.get(kind="optout.recorded")
        reserved = list(
            ReservedDigest.objects.order_by("digest").values_list(
                "digest", "organization", "reason", "cause"
            )
        )
        audited = Audit.objects.get(action="opt_out.recorded")
    assert [(bytes(each[0]), *each[1:]) for each in reserved] == [
        (digest, archive.pk, "opted_out", opt_out["id"]) for digest in out
    ]
    parsed = commitments.parse_body(bytes(entry.body))
    assert parsed.subject_ref.hex() == opt_out["opt_out_ref"]
    assert (audited.subject, audited.data) == (
        opt_out["id"],
        {"by": "owner", "works": 2, "told": 0},
    )
    with acting(caller_for(archive), writing=False):
        values = json.loads(LedgerOpening.objects.get(entry=entry).values)
    cited = {name: value for name, value in opt_out["works"].items() if name != "secret"}
    assert values == {
        "licensor": values["licensor"],
        "opt_out": opt_out["id"],
        "by": "owner",
        "reason": REASON,
        "reach": "organization",
        "works": cited,
    }
    assert values["licensor"]["id"] == str(archive.pk)


def root_of(listed: list[dict[str, Any]], cited: dict[str, Any]) -> settree.SetRoot:
    """Build the set anew, from nothing but what the API shows."""
    tree = settree.SetTree("opt_outs", bytes.fromhex(cited["secret"]))
    for work in listed:
        tree.add(bytes.fromhex(work["digest"]), work["metadata"])
    return tree.finish({"works": tree.size})


def test_its_works_make_the_root_that_was_recorded(
    archive: Organization, client_for: ClientFor
) -> None:
    make_offer(archive)
    client = client_for(archive)
    opt_out = client.post("/v1/opt-outs", body(*digests(archive))).json()

    first = client.get(f"/v1/opt-outs/{opt_out['id']}/works?limit=2").json()
    last = client.get(
        f"/v1/opt-outs/{opt_out['id']}/works?limit=2&cursor={first['next_cursor']}"
    ).json()

    assert (first["has_more"], last["has_more"], last["next_cursor"]) == (True, False, None)
    listed = first["data"] + last["data"]
    assert [work["digest"] for work in listed] == [digest.hex() for digest in digests(archive)]
    root = root_of(listed, opt_out["works"])
    assert root.root.hex() == opt_out["works"]["root"]
    assert root.citation().hex() == opt_out["works"]["citation"]
    cited = {k: v for k, v in opt_out["works"].items() if k not in {"secret", "citation"}}
    assert hashlib.sha256(jcs.dumps(cited)).hexdigest() == opt_out["works"]["citation"]


@pytest.mark.parametrize("name", ["digests", "works", "external_ids", "collection", "contributor"])
def test_works_are_named_in_five_ways(
    name: str, archive: Organization, client_for: ClientFor
) -> None:
    caller = caller_for(archive)
    contributor = contributors.add(caller, external_id="c-1")
    collection = make_collection(archive)
    job = imports.Records(
        [
            imports.Record(
                external_id="hers",
                digest=b"\x01" * 32,
                length=3,
                media_type="text/plain",
                custody="reference",
                contributor="c-1",
            )
        ]
    )
    imports.run(caller, str(collection.pk), job)
    with system("look in a test"):
        work = Work.objects.get(external_id="hers")
    named = {
        "digests": ["01" * 32],
        "works": [str(work.pk)],
        "external_ids": ["hers"],
        "collection": str(collection.pk),
        "contributor": str(contributor.pk),
    }

    answer = client_for(archive).post("/v1/opt-outs", {name: named[name], "reason": REASON})

    assert answer.status_code == 201, answer.json()
    assert answer.json()["works"]["size"] == (4 if name == "collection" else 1)
    assert b"\x01" * 32 in reservations.among([b"\x01" * 32], organization=archive.pk)


def test_a_work_goes_out_with_all_its_representations(archive: Organization) -> None:
    make_collection(archive)
    with system("add a form in a test"):
        form = Representation.objects.filter(organization=archive).order_by("id")[0]
        Representation.objects.create(
            organization=archive,
            work=form.work,
            digest=b"\x02" * 32,
            length=1,
            media_type="text/plain",
            custody="reference",
        )

    opt_out = optouts.record(caller_for(archive), digests=[b"\x02" * 32], by="owner", reason=REASON)

    assert opt_out.size == 2
    assert len(reservations.among([b"\x02" * 32, bytes(form.digest)], organization=archive.pk)) == 2


def test_what_left_the_collection_before_goes_out_with_it(archive: Organization) -> None:
    collection, caller = make_collection(archive), caller_for(archive)
    snapshots.finalize(caller, str(collection.pk))
    removed = digests(archive)[0]
    collections.remove(caller, str(collection.pk), digests=[removed])

    opt_out = optouts.record(caller, collection=str(collection.pk), by="owner", reason=REASON)

    assert opt_out.size == 3


def test_repeating_it_answers_the_first_and_records_nothing(
    archive: Organization, client_for: ClientFor
) -> None:
    make_offer(archive)
    client, out = client_for(archive), digests(archive)
    first = client.post("/v1/opt-outs", body(*out[:2]))
    before = counts()

    again = client.post("/v1/opt-outs", body(*out[:2], reason="Another reason."))
    part = client.post("/v1/opt-outs", body(out[1]))

    assert (first.status_code, again.status_code, part.status_code) == (201, 200, 200)
    assert again.json() == part.json() == first.json()
    assert counts() == before


def test_where_some_are_out_already_the_new_one_holds_the_rest(
    archive: Organization, client_for: ClientFor
) -> None:
    make_offer(archive)
    client, out = client_for(archive), digests(archive)
    client.post("/v1/opt-outs", body(*out[:2]))

    second = client.post("/v1/opt-outs", body(*out)).json()

    listed = client.get(f"/v1/opt-outs/{second['id']}/works").json()["data"]
    assert [work["digest"] for work in listed] == [out[2].hex()]


def test_an_idempotency_key_replays_the_answer(
    archive: Organization, client_for: ClientFor
) -> None:
    make_offer(archive)
    client, out = client_for(archive), digests(archive)[:1]

    first = client.post("/v1/opt-outs", body(*out), Idempotency_Key="k")
    again = client.post("/v1/opt-outs", body(*out), Idempotency_Key="k")

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({}, "digests"),
        ({"digests": []}, "digests"),
        ({"digests": ["00" * 31]}, "digests[0]"),
        ({"digests": ["zz" * 32]}, "digests[0]"),
        ({"digests": ["00" * 32]}, "digests[0]"),
        ({"works": ["col_01jd0000000000000000000001"]}, "works[0]"),
        ({"works": ["wrk_01jd0000000000000000000001"]}, "works[0]"),
        ({"external_ids": ["nothing"]}, "external_ids[0]"),
        ({"external_ids": [7]}, "external_ids[0]"),
        ({"digests": ["00" * 32], "external_ids": ["x"]}, "digests"),
        ({"external_ids": ["work-1000"], "reason": " "}, "reason"),
        ({"external_ids": ["work-1000"], "reason": "x" * 1001}, "reason"),
        ({"everything": True}, "everything"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_goes_out(
    sent: dict[str, Any], param: str, archive: Organization, client_for: ClientFor
) -> None:
    make_offer(archive)
    before = counts()

    answer = client_for(archive).post("/v1/opt-outs", {"reason": REASON, **sent})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["param"] == param
    assert counts() == before


def test_one_unknown_digest_refuses_them_all(archive: Organization) -> None:
    make_offer(archive)
    before = counts()

    with pytest.raises(InvalidInput) as refused:
        optouts.record(
            caller_for(archive),
            digests=[*digests(archive), b"\x00" * 32],
            by="owner",
            reason=REASON,
        )

    assert refused.value.data["param"] == "digests[3]"
    assert counts() == before


def test_another_organizations_works_are_unknown(
    archive: Organization, stranger: Organization, client_for: ClientFor
) -> None:
    make_offer(archive)
    client = client_for(stranger)
    with system("look in a test"):
        work = Work.objects.filter(organization=archive)[0]
        collection = Snapshot.objects.get().collection_id

    answers = [
        client.post("/v1/opt-outs", {**named, "reason": REASON})
        for named in (
            {"digests": [digests(archive)[0].hex()]},
            {"works": [str(work.pk)]},
            {"external_ids": [work.external_id]},
            {"collection": str(collection)},
        )
    ]

    assert [answer.status_code for answer in answers] == [422, 422, 422, 404]
    assert counts()["OptOut"] == 0


def test_an_empty_collection_has_nothing_to_opt_out(
    archive: Organization, client_for: ClientFor
) -> None:
    empty = collections.create(caller_for(archive), name="Empty")

    answer = client_for(archive).post(
        "/v1/opt-outs", {"collection": str(empty.pk), "reason": REASON}
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_opt_out")
    assert counts()["OptOut"] == 0


# --- who is told ------------------------------------------------------------------------------


def test_a_licensee_is_told_and_acknowledges(
    archive: Organization, lab: Organization, stranger: Organization, client_for: ClientFor
) -> None:
    grant = issue_grant(lab, make_offer(archive))
    out = digests(archive)[:2]
    opt_out = client_for(archive).post("/v1/opt-outs", body(*out)).json()
    client = client_for(lab)

    [notice] = client.get("/v1/notices").json()["data"]

    assert opt_out["notices"] == {"queued": 1, "acknowledged": 0}
    assert (notice["object"], notice["state"], notice["by"]) == ("notice", "queued", "owner")
    assert (notice["grant"], notice["opt_out"]) == (str(grant.pk), opt_out["id"])
    assert (notice["licensor"], notice["licensee"]) == (str(archive.pk), str(lab.pk))
    assert notice["acknowledgement"] is None
    address = f"/v1/notices/{notice['id']}"
    assert client.get(address).json() == notice == client_for(archive).get(address).json()
    listed = client.get(f"{address}/works").json()["data"]
    assert [work["digest"] for work in listed] == [digest.hex() for digest in out]
    assert root_of(listed, notice["works"]).citation().hex() == notice["works"]["citation"]

    said = {"statement": "Deleted; left out of new runs.", "name": "Lin", "title": "Counsel"}
    answer = client.post(f"{address}/acknowledge", said)

    assert answer.status_code == 200
    acknowledged = answer.json()
    assert acknowledged["state"] == "acknowledged"
    assert {name: acknowledged["acknowledgement"][name] for name in said} == said
    counted = client_for(archive).get(f"/v1/opt-outs/{opt_out['id']}").json()["notices"]
    assert counted == {"queued": 1, "acknowledged": 1}
    sequencer.run_once()
    shown = client.get(address).json()
    assert (shown["ledger"]["index"], shown["acknowledgement"]["ledger"]["index"]) == (4, 5)
    assert client_for(stranger).get("/v1/notices").json()["data"] == []
    assert client_for(lab, livemode=True).get("/v1/notices").json()["data"] == []


def test_each_step_is_an_entry_that_follows_from_the_one_before(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    grant = issue_grant(lab, make_offer(archive))
    opt_out = client_for(archive).post("/v1/opt-outs", body(*digests(archive))).json()
    client = client_for(lab)
    [notice] = client.get("/v1/notices").json()["data"]
    said = {"statement": "Gone.", "name": "Lin", "title": "Counsel"}
    client.post(f"/v1/notices/{notice['id']}/acknowledge", said)

    with acting(caller_for(lab), writing=False):
        # The first two are of the offer's snapshot and terms.
        entries = list(LedgerEntry.objects.order_by("id")[2:])
        opened = {
            opening.entry_id: json.loads(opening.values) for opening in LedgerOpening.objects.all()
        }
    kinds = [entry.kind for entry in entries]
    assert kinds == ["grant.issued", "optout.recorded", "optout.notified", "optout.acknowledged"]
    _issued, recorded, notified, acknowledged = entries
    assert recorded.pk not in opened, "The licensee is no party to the opt-out itself."
    assert opened[notified.pk]["grant"] == {
        "id": str(grant.pk),
        "grant_ref": bytes(grant.grant_ref).hex(),
    }
    assert opened[notified.pk]["opt_out"] == {
        "id": opt_out["id"],
        "opt_out_ref": opt_out["opt_out_ref"],
    }
    cited = {name: value for name, value in notice["works"].items() if name != "secret"}
    assert (opened[notified.pk]["notice"], opened[notified.pk]["works"]) == (notice["id"], cited)
    assert opened[acknowledged.pk]["acknowledgement"]["statement"] == "Gone."
    bodies = [commitments.parse_body(bytes(entry.body)) for entry in (notified, acknowledged)]
    assert [each.seq for each in bodies] == [0, 1]
    assert bodies[1].prev == bytes(notified.leaf_hash)
    assert {each.subject_ref.hex() for each in bodies} == {notice["notice_ref"]}
    assert b"notice_ref" in bytes(notified.body)
    assert b"opt_out_ref" in bytes(recorded.body)


def test_acknowledging_again_changes_nothing(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    issue_grant(lab, make_offer(archive))
    optouts.record(caller_for(archive), digests=digests(archive), by="owner", reason=REASON)
    client = client_for(lab)
    [notice] = client.get("/v1/notices").json()["data"]
    address = f"/v1/notices/{notice['id']}/acknowledge"
    first = client.post(address, {"statement": "Gone.", "name": "Lin", "title": "Counsel"})
    before = counts()

    again = client.post(address, {"statement": "Other.", "name": "Bo", "title": "Engineer"})

    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert counts() == before


@pytest.mark.parametrize("name", ["statement", "name", "title"])
def test_an_acknowledgement_is_signed(
    name: str, archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    issue_grant(lab, make_offer(archive))
    optouts.record(caller_for(archive), digests=digests(archive), by="owner", reason=REASON)
    client = client_for(lab)
    [notice] = client.get("/v1/notices").json()["data"]
    said = {"statement": "Gone.", "name": "Lin", "title": "Counsel", name: "  "}

    answer = client.post(f"/v1/notices/{notice['id']}/acknowledge", said)

    assert (answer.status_code, answer.json()["param"]) == (422, name)
    assert client.get("/v1/notices?state=acknowledged").json()["data"] == []


def test_the_licensor_cannot_acknowledge(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    issue_grant(lab, make_offer(archive))
    optouts.record(caller_for(archive), digests=digests(archive), by="owner", reason=REASON)
    client = client_for(archive)
    [notice] = client.get("/v1/notices").json()["data"]
    said = {"statement": "Gone.", "name": "Ada", "title": "Head"}

    answer = client.post(f"/v1/notices/{notice['id']}/acknowledge", said)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    with system("count in a test"):
        assert Acknowledgement.objects.count() == 0


def test_notices_are_found_by_state_and_by_grant(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer = make_offer(archive)
    one, other = issue_grant(lab, offer), issue_grant(lab, offer)
    optouts.record(caller_for(archive), digests=digests(archive), by="owner", reason=REASON)
    client = client_for(lab)
    [notice] = client.get(f"/v1/notices?grant={one.pk}").json()["data"]
    said = {"statement": "Gone.", "name": "Lin", "title": "Counsel"}
    client.post(f"/v1/notices/{notice['id']}/acknowledge", said)

    def grants(query: str) -> set[str]:
        return {each["grant"] for each in client.get(f"/v1/notices?{query}").json()["data"]}

    assert grants("state=acknowledged") == {str(one.pk)}
    assert grants("state=queued") == {str(other.pk)}
    assert grants(f"grant={one.pk}&state=queued") == set()
    for query, param in (("state=lost", "state"), ("grant=grt_1", "grant")):
        refused = client.get(f"/v1/notices?{query}")
        assert (refused.status_code, refused.json()["param"]) == (422, param)


def test_only_grants_that_cover_a_work_are_told_and_only_of_that_work(
    archive: Organization, lab: Organization, stranger: Organization, client_for: ClientFor
) -> None:
    letters = make_offer(archive)
    in_letters = digests(archive)
    diaries = make_offer(archive, collection=make_collection(archive, name="Diaries"))
    in_diaries = [digest for digest in digests(archive) if digest not in in_letters]
    issue_grant(lab, letters)
    issue_grant(stranger, diaries)

    client_for(archive).post("/v1/opt-outs", body(in_letters[0], in_diaries[0], in_diaries[1]))

    for organization, expected in ((lab, in_letters[:1]), (stranger, in_diaries[:2])):
        client = client_for(organization)
        [notice] = client.get("/v1/notices").json()["data"]
        listed = client.get(f"/v1/notices/{notice['id']}/works").json()["data"]
        assert [work["digest"] for work in listed] == [digest.hex() for digest in expected]
        assert notice["works"]["size"] == len(expected)
        assert root_of(listed, notice["works"]).root.hex() == notice["works"]["root"]


def test_a_grant_of_an_older_snapshot_is_told_of_what_left_since(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    caller, collection = caller_for(archive), make_collection(archive)
    old = make_offer(archive, collection=collection)
    gone = digests(archive)[0]
    collections.remove(caller, str(collection.pk), digests=[gone])
    new = make_offer(archive, collection=collection)
    assert new.snapshot_id != old.snapshot_id
    told, untold = issue_grant(lab, old), issue_grant(stranger, new)

    optouts.record(caller, digests=[gone], by="owner", reason=REASON)

    with system("look in a test"):
        assert Notice.objects.filter(grant=told).count() == 1
        assert not Notice.objects.filter(grant=untold).exists()


def test_both_modes_are_told_each_in_its_own_log(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer = make_offer(archive)
    for livemode in (False, True):
        issue_grant(lab, offer, livemode=livemode)

    opt_out = client_for(archive).post("/v1/opt-outs", body(*digests(archive))).json()

    assert [entry["log"] for entry in opt_out["ledger"]] == ["test", "live"]
    assert opt_out["notices"]["queued"] == 2
    for livemode, name in ((False, "test"), (True, "live")):
        [notice] = client_for(lab, livemode=livemode).get("/v1/notices").json()["data"]
        assert (notice["livemode"], notice["ledger"]["log"]) == (livemode, name)
        # The catalogue is shared, and so is what was done to it.
        shown = client_for(archive, livemode=livemode).get(f"/v1/opt-outs/{opt_out['id']}")
        assert shown.json() == opt_out


def test_a_live_opt_out_of_works_under_test_grants_only_starts_with_the_live_log(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    issue_grant(lab, make_offer(archive))

    opt_out = client_for(archive, livemode=True).post("/v1/opt-outs", body(*digests(archive)))

    assert [entry["log"] for entry in opt_out.json()["ledger"]] == ["live", "test"]


def test_a_licensee_reads_no_item_that_its_notices_are_not_about(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    issue_grant(lab, make_offer(archive))
    optouts.record(caller_for(archive), digests=digests(archive), by="owner", reason=REASON)

    for organization, expected in ((archive, 3), (lab, 3), (stranger, 0)):
        with acting(caller_for(organization), writing=False), connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM licensing_optoutitem")
            assert cursor.fetchone() == (expected,)


# --- snapshots --------------------------------------------------------------------------------


def test_the_next_snapshot_lacks_the_works_and_the_old_ones_keep_their_root(
    archive: Organization,
) -> None:
    caller, collection = caller_for(archive), make_collection(archive)
    old = snapshots.finalize(caller, str(collection.pk))
    out = digests(archive)[0]
    optouts.record(caller, digests=[out], by="owner", reason=REASON)

    new = snapshots.finalize(caller, str(collection.pk))

    assert (old.size, new.size) == (3, 2)
    with acting(caller, writing=False):
        assert out not in {item.digest for item in snapshots.items(new)}
        assert bytes(old.root) == root_again(old)
    assert snapshots.finalize(caller, str(collection.pk)) == new


def root_again(snapshot: Snapshot) -> bytes:
    tree = settree.SetTree("snapshot", bytes(snapshot.secret))
    for item in snapshots.items(snapshot):
        tree.add(
            item.digest,
            settree.item_metadata(
                media_type=item.media_type,
                length=item.length,
                canonicalization=item.canonicalization,
                contributor=item.contributor_ref,
            ),
        )
    return tree.finish(snapshot.totals).root
