"""Units of works in snapshots, manifests and prices: summed where all count, fixed once hashed."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from licensing import delivery, jcs, offers, optouts, settree, snapshots
from licensing.models import Grant, Offer, Snapshot
from licensing.offline import manifest as manifests
from marketplace import collections, imports
from marketplace.access import acting, system
from marketplace.errors import InvalidInput
from marketplace.models import COUNT_MAX, Collection, Organization
from tests.make import make_collection, make_grant, make_offer, records
from tests.marketplace.test_feeds import Feed
from tests.marketplace.test_imports import in_threads
from tests.people import ApiClient, caller_for, found

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
PER_TOKEN = {"model": "per_unit", "unit": "token", "rate": {"amount_minor": 30, "per": 1_000}}


def attested(archive: Organization, *units: dict[str, int]) -> Collection:
    """A collection whose works are counted as given, one after the other."""
    collection = make_collection(archive, works=1)
    with acting(caller_for(archive), writing=False):
        digests = [item.representation.digest for item in collection.items.all()]
    collections.remove(caller_for(archive), str(collection.pk), digests=digests)
    counted = [
        replace(record, units=tuple(sorted(each.items())))
        for record, each in zip(records(len(units)), units, strict=True)
    ]
    imports.run(caller_for(archive), str(collection.pk), imports.Records(counted))
    return collection


def freeze(collection: Collection) -> Snapshot:
    return snapshots.finalize(caller_for(collection.organization), str(collection.pk))


def count_anew(collection: Collection, number: int, **units: int) -> None:
    (record,) = records(1, start=number)
    counted = replace(record, units=tuple(sorted(units.items())))
    # A name of its own: what is under way under another's is not gone on with.
    changed = Feed(counted, name=f"{number} {units}")
    caller = caller_for(collection.organization)
    job = imports.run(caller, str(collection.pk), changed, taken=optouts.of_feed)
    assert (job.updated, job.rejected) == (1, 0)


def root_of(snapshot: Snapshot) -> str:
    """The root as api_docs/set_tree.md defines it, of what the tables say now."""
    secret, leaves = bytes(snapshot.secret), []
    with acting(caller_for(snapshot.organization), writing=False):
        for item in snapshots.items(snapshot):
            metadata = {
                "contributor": None,
                "representation": {
                    "canonicalization": "raw",
                    "length": item.length,
                    "media_type": item.media_type,
                },
                "rights_layers": [],
                "units": dict(item.units or {}),
            }
            # Not our JCS: these few names and integers are canonical by their order alone.
            written = json.dumps(metadata, sort_keys=True, separators=(",", ":")).encode()
            blind = hashlib.sha256(secret + item.digest).digest()
            data = b"licet/set/v1\x01" + item.digest + blind + hashlib.sha256(written).digest()
            leaves.append(hashlib.sha256(b"\x00" + data).digest())
    return _fold(leaves).hex()


def _fold(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + _fold(leaves[:split]) + _fold(leaves[split:])).digest()


def granted(archive: Organization, lab: Organization, collection: Collection) -> Grant:
    return make_grant(archive, lab, offer=make_offer(archive, price_minor=0, collection=collection))


def manifest_of(grant: Grant) -> bytes:
    seconds = int(timezone.now().timestamp()) + 60
    link = delivery.Link(str(grant.pk), grant.livemode, delivery.MANIFEST, seconds)
    return b"".join(delivery.manifest(link))


def received(data: bytes, tmp_path: Path) -> manifests.Manifest:
    found = manifests.receive(io.BytesIO(data), tmp_path / "manifest", lambda _count: None)
    found.close()
    return found


# --- snapshots --------------------------------------------------------------------------------


def test_a_unit_has_a_total_where_every_work_counts_it(archive: Organization) -> None:
    collection = attested(
        archive, {"tokens": 250, "words": 200}, {"tokens": 7, "seconds": 90}, {"tokens": 1}
    )
    snapshot = freeze(collection)
    assert snapshot.totals == {"works": 3, "bytes": 3003, "tokens": 258}
    assert root_of(snapshot) == bytes(snapshot.root).hex()


def test_one_work_that_nobody_counted_leaves_no_total(archive: Organization) -> None:
    snapshot = freeze(attested(archive, {"tokens": 250}, {}))
    assert snapshot.totals == {"works": 2, "bytes": 2001}
    assert root_of(snapshot) == bytes(snapshot.root).hex()


def test_a_sum_that_json_cannot_say_is_no_total(archive: Organization) -> None:
    snapshot = freeze(
        attested(archive, {"tokens": COUNT_MAX, "words": 1}, {"tokens": 1, "words": 1})
    )
    assert snapshot.totals == {"works": 2, "bytes": 2001, "words": 2}


def test_the_api_shows_the_totals_that_are_cited(
    archive: Organization, client_for: ClientFor
) -> None:
    collection = attested(archive, dict.fromkeys(["pages", "pixels", "seconds", "tokens"], 7))
    client = client_for(archive)
    shown = client.post(f"/v1/collections/{collection.pk}/snapshots").json()
    counts = dict.fromkeys(["pages", "pixels", "seconds", "tokens"], 7)
    assert shown["totals"] == {"works": 1, "bytes": 1000, **counts}
    named = {key: shown[key] for key in ("tree", "type", "size", "root", "totals")}
    assert hashlib.sha256(jcs.dumps(named)).hexdigest() == shown["citation"]
    # As the fast reader makes it, too.
    assert client.get(f"/v1/collections/{collection.pk}/snapshots").json()["data"] == [shown]


def test_who_counts_anew_leaves_older_snapshots_what_was_hashed(archive: Organization) -> None:
    collection = attested(archive, {}, {})
    uncounted = freeze(collection)
    for number in range(2):
        count_anew(collection, number, tokens=250)
    counted = freeze(collection)
    count_anew(collection, 0, tokens=300)
    again = freeze(collection)

    assert [each.number for each in (uncounted, counted, again)] == [1, 2, 3]
    totals = [each.totals.get("tokens") for each in (uncounted, counted, again)]
    assert totals == [None, 500, 550]
    for snapshot in (uncounted, counted, again):
        assert root_of(snapshot) == bytes(snapshot.root).hex()
    assert len({bytes(each.root) for each in (uncounted, counted, again)}) == 3


def test_another_count_is_another_snapshot_and_the_same_is_none(archive: Organization) -> None:
    collection = attested(archive, {"tokens": 250})
    first = freeze(collection)
    count_anew(collection, 0, tokens=251)
    count_anew(collection, 0, tokens=250)
    # Counted otherwise, and back: an item that began since, though it says the same.
    second = freeze(collection)
    assert (second.number, second.totals) == (2, first.totals)
    assert freeze(collection).pk == second.pk


def test_what_another_collection_counts_changes_no_snapshot(archive: Organization) -> None:
    one = attested(archive, {"tokens": 250})
    first = freeze(one)
    other = attested(archive, {"tokens": 300})
    assert freeze(other).totals["tokens"] == 300
    assert root_of(first) == bytes(first.root).hex()
    assert freeze(one).pk == first.pk


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_a_snapshot_beside_feeds_that_count_anew_has_the_root_of_its_rows() -> None:
    """However freezing and counting fall together. Seen to fail when `works.hold` does not lock."""
    archive = found("Archive", "platform")
    collection = attested(archive, *[{"tokens": 1} for _ in range(5)])
    frozen: list[Snapshot] = []

    def count(begin: int) -> None:
        for tokens in range(begin, begin + 8):
            for number in range(5):
                count_anew(collection, number, tokens=tokens)

    def freeze_often() -> None:
        frozen.extend(freeze(collection) for _ in range(12))

    in_threads(lambda: count(100), lambda: count(200), freeze_often)
    frozen.append(freeze(collection))

    assert len({snapshot.pk for snapshot in frozen}) > 2, "nothing was frozen meanwhile"
    for snapshot in {snapshot.pk: snapshot for snapshot in frozen}.values():
        assert (snapshot.size, root_of(snapshot)) == (5, bytes(snapshot.root).hex())
        with acting(caller_for(archive), writing=False):
            tokens = [dict(item.units or {})["tokens"] for item in snapshots.items(snapshot)]
        assert snapshot.totals["tokens"] == sum(tokens)


def test_a_sample_is_counted_as_its_whole(archive: Organization, client_for: ClientFor) -> None:
    collection = attested(archive, {"tokens": 250}, {"tokens": 7}, {"tokens": 1})
    offer = make_offer(archive, collection=collection)
    # What the offer's snapshot counts, whatever is counted since.
    count_anew(collection, 0, tokens=999)
    chosen = client_for(archive).post(
        f"/v1/offers/{offer.pk}/sample", {"external_ids": ["work-0", "work-1"]}
    )
    assert chosen.status_code == 201, chosen.content
    with system("look in a test"):
        sampled = Offer.objects.exclude(pk=offer.pk).select_related("snapshot").get()
    assert sampled.snapshot.totals == {"works": 2, "bytes": 2001, "tokens": 257}


def test_a_total_needs_every_item_whatever_they_count() -> None:
    totals = settree.UnitTotals()
    assert totals.of(0) == {}
    totals.add({"tokens": 2, "words": 3})
    totals.add({"tokens": 5})
    assert totals.of(2) == {"tokens": 7}
    assert totals.of(3) == {}


# --- manifests --------------------------------------------------------------------------------


def test_a_manifest_lets_licensees_add_the_units_up_again(
    archive: Organization, lab: Organization, tmp_path: Path
) -> None:
    collection = attested(archive, {"tokens": 250, "words": 200}, {"tokens": 7})
    grant = make_grant(
        archive, lab, offer=make_offer(archive, price_minor=0, collection=collection)
    )
    data = manifest_of(grant)

    found = received(data, tmp_path)

    assert found.root.totals == {"works": 2, "bytes": 2001, "tokens": 257}
    assert found.units.of(2) == {"tokens": 257}
    lines = [json.loads(line) for line in data.splitlines()[1:-1]]
    units = {line["external_id"]: line["metadata"]["units"] for line in lines}
    assert units == {"work-0": {"tokens": 250, "words": 200}, "work-1": {"tokens": 7}}


def test_a_manifest_from_before_units_passes(
    archive: Organization, lab: Organization, tmp_path: Path
) -> None:
    """What was frozen without counts, and counted since, is delivered as it was frozen."""
    collection = attested(archive, {}, {})
    grant = make_grant(
        archive, lab, offer=make_offer(archive, price_minor=0, collection=collection)
    )
    before = manifest_of(grant)
    count_anew(collection, 0, tokens=250)
    data = manifest_of(grant)
    assert received(data, tmp_path).root == received(before, tmp_path).root
    assert [json.loads(line)["metadata"]["units"] for line in data.splitlines()[1:-1]] == [{}, {}]


def forged(data: bytes, **totals: Any) -> bytes:
    """The same works under a citation of other totals, as a seller could make who lies."""
    head, *rest = data.splitlines(keepends=True)
    said = json.loads(head)
    cited = said["snapshot"]
    cited["totals"] = {k: v for k, v in (cited["totals"] | totals).items() if v is not None}
    named = {key: cited[key] for key in ("tree", "type", "size", "root", "totals")}
    citation = hashlib.sha256(jcs.dumps(named)).digest()
    cited["citation"] = citation.hex()
    excluded = hashlib.sha256().hexdigest()
    name = {"excluded": excluded, "manifest": "licet/manifest/v1", "snapshot": citation.hex()}
    said["manifest"] = hashlib.sha256(jcs.dumps(name)).hexdigest()
    end = json.loads(rest[-1]) | {"manifest": said["manifest"]}
    return b"".join([_line(said), *rest[:-1], _line(end)])


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


@pytest.mark.parametrize(
    "totals",
    [
        {"tokens": 258},
        {"tokens": 0},
        # Only one of the works counts words.
        {"words": 200},
        {"bytes": 2002},
        {"works": 3},
        {"seconds": 90},
    ],
)
def test_works_that_do_not_add_up_to_the_cited_totals_are_refused(
    archive: Organization, lab: Organization, tmp_path: Path, totals: dict[str, int]
) -> None:
    collection = attested(archive, {"tokens": 250, "words": 200}, {"tokens": 7})
    grant = make_grant(
        archive, lab, offer=make_offer(archive, price_minor=0, collection=collection)
    )
    data = manifest_of(grant)

    with pytest.raises(manifests.ManifestError) as refused:
        received(forged(data, **totals), tmp_path)

    assert refused.value.code == "totals_differ"
    assert not (tmp_path / "manifest").exists()
    # The forger's hand is good: without the lie, and with less said, it passes.
    assert received(forged(data), tmp_path).root.totals["tokens"] == 257
    assert received(forged(data, tokens=None), tmp_path).root.totals == {"works": 2, "bytes": 2001}


@pytest.mark.parametrize(
    "units",
    [
        [],
        None,
        1,
        {"tokens": "1"},
        {"tokens": -1},
        {"tokens": 1.0},
        {"tokens": True},
        {"tokens": COUNT_MAX + 1},
    ],
)
def test_units_that_are_no_counts_are_refused(
    archive: Organization, lab: Organization, tmp_path: Path, units: Any
) -> None:
    collection = attested(archive, {"tokens": 250})
    grant = make_grant(
        archive, lab, offer=make_offer(archive, price_minor=0, collection=collection)
    )
    head, work, end = manifest_of(grant).splitlines(keepends=True)
    line = json.loads(work)
    line["metadata"]["units"] = units
    with pytest.raises(manifests.ManifestError) as refused:
        received(b"".join([head, _line(line), end]), tmp_path)
    assert refused.value.code == "manifest_invalid"
    assert not (tmp_path / "manifest").exists()


def test_other_units_are_another_set(
    archive: Organization, lab: Organization, tmp_path: Path
) -> None:
    collection = attested(archive, {"tokens": 250})
    grant = make_grant(
        archive, lab, offer=make_offer(archive, price_minor=0, collection=collection)
    )
    head, work, end = manifest_of(grant).splitlines(keepends=True)
    line = json.loads(work)
    line["metadata"]["units"] = {"tokens": 251}
    with pytest.raises(manifests.ManifestError) as refused:
        received(b"".join([head, _line(line), end]), tmp_path)
    assert refused.value.code == "set_root_differs"


# --- prices -----------------------------------------------------------------------------------


def quote_for(client: ApiClient, offer: Offer) -> dict[str, Any]:
    body = {"offer": str(offer.pk), "uses": ["pretrain"], "territories": ["EU"]}
    answer = client.post("/v1/quotes", body)
    assert answer.status_code == 201, answer.content
    quote: dict[str, Any] = answer.json()
    return quote


def test_a_price_per_thousand_tokens_is_quoted_by_the_snapshot_s_total(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    collection = attested(archive, {"tokens": 250_000}, {"tokens": 100_050})
    quote = quote_for(client_for(lab), make_offer(archive, price=PER_TOKEN, collection=collection))

    # 350,050 × 30 ÷ 1,000 is 10,501.5, half to even.
    assert quote["lines"][0] == {
        "kind": "license",
        "amount_minor": 10_502,
        "unit": "token",
        "quantity": 350_050,
        "rate": {"amount_minor": 30, "per": 1_000},
        "above": 0,
    }
    assert quote["subtotal_minor"] == 10_502
    basis = "Basis: per token, for 350,050 tokens."
    assert basis in quote["document"].splitlines()
    assert (
        "350,050 tokens, at 0.30 USD per 1,000 tokens: 105.02 USD" in quote["document"].splitlines()
    )


@pytest.mark.parametrize(
    ("unit", "units", "quantity"),
    [
        # Forty clips of 5 and of 6 seconds: none has a minute, together they have 3 2/3.
        ("minute", [{"seconds": 5 + n % 2} for n in range(40)], 4),
        ("megapixel", [{"pixels": 307_200} for _ in range(10)], 3),
        ("page", [{"pages": 3}, {"pages": 4}], 7),
        ("word", [{"words": 3}, {"words": 4}], 7),
    ],
)
def test_minutes_and_megapixels_are_rounded_once_over_the_whole(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    unit: str,
    units: list[dict[str, int]],
    quantity: int,
) -> None:
    price = {"model": "per_unit", "unit": unit, "rate": {"amount_minor": 1_000, "per": 1}}
    offer = make_offer(archive, price=price, collection=attested(archive, *units))
    line = quote_for(client_for(lab), offer)["lines"][0]
    assert (line["unit"], line["quantity"]) == (unit, quantity)
    assert line["amount_minor"] == quantity * 1_000


@pytest.mark.parametrize("unit", ["token", "minute", "megapixel"])
def test_a_price_by_what_one_work_does_not_count_is_refused(
    archive: Organization, client_for: ClientFor, unit: str
) -> None:
    counted = {"tokens": 250, "seconds": 90, "pixels": 100, "words": 200}
    collection = attested(archive, counted, {"words": 7})
    price = {"model": "per_unit", "unit": unit, "rate": {"amount_minor": 1_000, "per": 1}}
    with pytest.raises(InvalidInput) as refused:
        make_offer(archive, price=price, collection=collection)
    assert refused.value.data["param"] == "price.unit"
    assert f"how many {unit}s it has" in refused.value.detail
    assert "It counts bytes, words, works:" in refused.value.detail
    with acting(caller_for(archive), writing=False):
        assert not offers.Offer.objects.exists()


def test_who_bought_by_the_token_keeps_what_was_counted_then(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    collection = attested(archive, {"tokens": 250_000})
    offer = make_offer(archive, price=PER_TOKEN, collection=collection)
    count_anew(collection, 0, tokens=1)
    freeze(collection)
    quote = quote_for(client_for(lab), offer)
    assert (quote["lines"][0]["quantity"], quote["subtotal_minor"]) == (250_000, 7_500)


def test_what_is_opted_out_is_not_paid_for_by_the_token(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    collection = attested(
        archive, {"tokens": 250_000, "words": 1}, {"tokens": 100_050}, {"tokens": 10_000}
    )
    offer = make_offer(archive, price=PER_TOKEN, collection=collection)
    taken = client_for(archive).post(
        "/v1/opt-outs", {"external_ids": ["work-0", "work-2"], "reason": "Asked."}
    )
    assert taken.status_code == 201, taken.content

    quote = quote_for(client_for(lab), offer)

    assert (quote["lines"][0]["quantity"], quote["subtotal_minor"]) == (100_050, 3_002)
    assert quote["lines"][-1] == {"kind": "opted_out", "amount_minor": 0, "works": 2}
    assert "Basis: per token, for 100,050 tokens." in quote["document"].splitlines()
    with acting(caller_for(archive), writing=False):
        totals = optouts.left(Snapshot.objects.get(pk=offer.snapshot_id), 2)
    assert totals == {"works": 1, "bytes": 3003, "tokens": 100_050}
