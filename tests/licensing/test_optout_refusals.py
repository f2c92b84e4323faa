"""From an opt-out's commit on, everything refuses: quotes, orders, links, decisions."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from licensing import links, notices, optouts
from licensing.models import (
    Acknowledgement,
    Grant,
    LedgerEntry,
    LedgerParty,
    Notice,
    OptOut,
)
from marketplace import reservations
from marketplace.access import acting, system
from marketplace.errors import DomainError
from marketplace.models import Organization, Representation
from payments import orders, quotes
from tests.make import issue_grant, make_collection, make_offer
from tests.payments.buying import (
    ACCEPTANCE,
    SCOPE,
    acceptance,
    counts,
    order_for,
    quote_for,
)
from tests.people import ApiClient, caller_for

ClientFor = Callable[..., ApiClient]
pytestmark = pytest.mark.django_db


def digests(organization: Organization) -> list[bytes]:
    with system("look in a test"):
        rows = Representation.objects.filter(organization=organization).order_by("digest")
        return [bytes(form.digest) for form in rows]


def take_out(organization: Organization, *works: bytes) -> OptOut:
    return optouts.record(
        caller_for(organization),
        by="owner",
        reason="Asked.",
        digests=list(works or digests(organization)),
    )


def decision(client: ApiClient, work: bytes) -> str:
    answer = client.post(
        "/v1/decisions",
        {
            "question": {"use": "pretrain", "territory": "DE", "model": {"name": "Atlas"}},
            "works": [work.hex()],
        },
    )
    assert answer.status_code == 200, answer.content
    return str(answer.json()["data"][0]["decision"])


# --- one after the other ----------------------------------------------------------------------


def test_with_every_work_out_there_is_nothing_to_quote(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer, client = make_offer(archive, price_minor=0), client_for(lab)
    take_out(archive)
    before = counts()
    answer = client.post("/v1/quotes", {"offer": str(offer.pk), **SCOPE})
    assert (answer.status_code, answer.json()["code"]) == (409, "opted_out")
    assert counts() == before


def test_a_quote_says_what_is_out_and_the_contract_too(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer = make_offer(archive, price_minor=0)
    take_out(archive, digests(archive)[0])
    quote = quote_for(client_for(lab), offer)
    assert {"kind": "opted_out", "amount_minor": 0, "works": 1} in quote["lines"]
    assert "1 work was opted out since the snapshot and will not be delivered." in quote["document"]


def test_what_is_sold_by_the_work_costs_less_by_those_that_are_out(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    rate = {"amount_minor": 100, "per": 1}
    price = {"model": "per_unit", "unit": "work", "rate": rate}
    offer, client = make_offer(archive, price=price), client_for(lab)
    assert quote_for(client, offer)["subtotal_minor"] == 300
    take_out(archive, digests(archive)[0])
    assert quote_for(client, offer)["subtotal_minor"] == 200


def test_a_quote_of_before_buys_nothing_after(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer, client = make_offer(archive, price_minor=0), client_for(lab)
    body = acceptance(quote_for(client, offer))
    take_out(archive, digests(archive)[0])
    before = counts()
    answer = client.post("/v1/orders", body)
    assert (answer.status_code, answer.json()["code"]) == (409, "opted_out")
    assert counts() == before
    # The way out: a new quote, which says so.
    assert order_for(client, offer)["status"] == "granted"


def test_a_decision_is_permit_before_and_deny_after(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    client = client_for(lab)
    issue_grant(lab, make_offer(archive))
    first, second = digests(archive)[:2]
    assert (decision(client, first), decision(client, second)) == ("permit", "permit")
    take_out(archive, first)
    assert (decision(client, first), decision(client, second)) == ("deny", "permit")


def test_an_opt_out_that_is_rolled_back_refuses_nothing(
    archive: Organization, lab: Organization, client_for: ClientFor
) -> None:
    offer, client = make_offer(archive, price_minor=0), client_for(lab)
    works = digests(archive)
    with acting(caller_for(archive)), transaction.atomic():
        take_out(archive, *works)
        transaction.set_rollback(True)
    with system("count in a test"):
        assert OptOut.objects.count() == Notice.objects.count() == 0
    assert quote_for(client, offer)["lines"][0]["kind"] == "license"


# --- at once ----------------------------------------------------------------------------------


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Do things in threads that start together; returns what each returned or raised."""
    barrier = threading.Barrier(len(acts))
    results: list[Any] = [None] * len(acts)

    def run(index: int, act: Callable[[], Any]) -> None:
        try:
            barrier.wait(10)
            results[index] = act()
        except DomainError as error:
            results[index] = error.code
        except Exception as error:
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def place(lab: Organization, offer: Any) -> Callable[[], Any]:
    """An order that is ready to be placed: its quote was made before."""
    caller = caller_for(lab)
    quote = quotes.make(caller, offer=str(offer.pk), **SCOPE)
    accept = {"document_sha256": bytes(quote.document_sha256).hex(), **ACCEPTANCE}
    return lambda: orders.place(caller_for(lab), quote=str(quote.pk), accept=accept)  # type: ignore[arg-type]


@pytest.mark.django_db(transaction=True)
def test_every_grant_that_commits_beside_an_opt_out_has_its_notice(
    archive: Organization, lab: Organization
) -> None:
    """Whoever comes first: no grant of a work is left whose licensee was not told."""
    letters = make_collection(archive)
    offers = [make_offer(archive, price_minor=0, collection=letters) for _number in range(6)]
    work = digests(archive)[0]
    ready = [place(lab, offer) for offer in offers]
    results = at_once(*ready, lambda: take_out(archive, work))
    assert isinstance(results[-1], OptOut), results
    refused = results.count("opted_out")
    with system("look in a test"):
        granted = set(Grant.objects.values_list("pk", flat=True))
        told = set(Notice.objects.values_list("grant", flat=True))
    # Whoever came after the opt-out was refused: the document accepted said nothing of it.
    assert granted == told
    assert len(granted) + refused == len(offers)


@pytest.mark.django_db(transaction=True)
def test_two_opt_outs_of_the_same_works_at_once_are_one(
    archive: Organization, lab: Organization
) -> None:
    issue_grant(lab, make_offer(archive))
    found = at_once(*[lambda: str(take_out(archive).pk)] * 4)
    assert len(set(found)) == 1
    with system("count in a test"):
        assert (OptOut.objects.count(), Notice.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_two_opt_outs_that_overlap_share_no_work(archive: Organization) -> None:
    make_collection(archive, works=30)
    all_of_them = digests(archive)
    at_once(
        lambda: take_out(archive, *all_of_them[:20]),
        lambda: take_out(archive, *reversed(all_of_them[10:])),
    )
    with system("count in a test"):
        sizes = list(OptOut.objects.values_list("size", flat=True))
        reserved = reservations.at(archive.pk).count()
    assert (sum(sizes), reserved) == (30, 30)


@pytest.mark.django_db(transaction=True)
def test_two_who_license_from_each_other_take_out_works_at_once(
    archive: Organization, lab: Organization
) -> None:
    """Each is numbered for both: whoever took the counters bit by bit would wait for ever."""
    issue_grant(lab, make_offer(archive))
    issue_grant(archive, make_offer(lab))
    works = list(zip(digests(archive), digests(lab), strict=True))
    for of_archive, of_lab in works:
        found = at_once(partial(take_out, archive, of_archive), partial(take_out, lab, of_lab))
        assert [type(each) for each in found] == [OptOut, OptOut], found
    with system("count in a test"):
        for party in (archive, lab):
            numbers = LedgerParty.objects.filter(log="test", organization_id=party.pk)
            # A snapshot and terms; a grant given and one held; what it took out itself; and a
            # notice of each opt-out.
            assert sorted(numbers.values_list("sequence", flat=True)) == list(
                range(1, 4 + len(works) + 2 * len(works) + 1)
            )


@pytest.mark.django_db(transaction=True)
def test_two_acknowledgements_at_once_are_one(archive: Organization, lab: Organization) -> None:
    issue_grant(lab, make_offer(archive))
    take_out(archive)
    with system("look in a test"):
        notice = str(Notice.objects.get().pk)

    def state(statement: str) -> Callable[[], Any]:
        said = {"statement": statement, "name": "Lin", "title": "Counsel"}
        return lambda: str(notices.acknowledge(caller_for(lab), notice, **said).pk)

    assert at_once(*[state(f"Done by {number}.") for number in range(4)]) == [notice] * 4
    with system("count in a test"):
        assert Acknowledgement.objects.count() == 1
        assert LedgerEntry.objects.filter(kind="optout.acknowledged").count() == 1


# --- delivery ---------------------------------------------------------------------------------


def test_the_link_of_before_answers_gone(archive: Organization, lab: Organization) -> None:
    grant = issue_grant(lab, make_offer(archive))
    work = digests(archive)[0]
    soon = int((timezone.now() + timedelta(minutes=5)).timestamp())
    link = links.Link(str(grant.pk), grant.livemode, work.hex(), soon)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("django.conf.settings.ROOT_URLCONF", "licensing.delivery_urls")
        url = "/" + link.url().split("/", 3)[3]
        before = Client(raise_request_exception=False).get(url)
        take_out(archive, work)
        after = Client(raise_request_exception=False).get(url)
    # The seller keeps these bytes; what matters is that the opt-out is said first.
    assert before.status_code != 410
    assert (after.status_code, after.json()["code"]) == (410, "work_opted_out")


# --- the operator -----------------------------------------------------------------------------


def test_the_operator_s_command_takes_works_out_and_tells_how_many_were_told(
    archive: Organization, lab: Organization, tmp_path: Path
) -> None:
    issue_grant(lab, make_offer(archive))
    listed = tmp_path / "digests"
    listed.write_text("\n".join(digest.hex() for digest in digests(archive)))
    said = StringIO()
    for _time in range(2):
        call_command(
            "opt_out",
            organization=str(archive.pk),
            digests=listed,
            reason="By court order.",
            stdout=said,
        )
    first, second = said.getvalue().splitlines()
    assert "3 works out, 1 notices queued" in first
    assert second == f"{first} (recorded before)"
    with system("look in a test"):
        assert OptOut.objects.get().by == "operator"


def test_an_everywhere_opt_out_holds_for_bytes_that_are_yet_to_come(
    archive: Organization, tmp_path: Path
) -> None:
    digest = hashlib.sha256(b"work 1000").digest()
    listed = tmp_path / "digests"
    listed.write_text(digest.hex())
    call_command(
        "opt_out", everywhere=True, digests=listed, reason="By court order.", stdout=StringIO()
    )
    make_offer(archive)
    # The first of the three works that the offer would have: its import refuses it.
    found = digests(archive)
    assert digest not in found
    assert hashlib.sha256(b"work 1001").digest() in found
    assert len(found) == 2


@pytest.mark.parametrize(
    ("text", "said"), [("xyz", "is no hex"), ("00", "SHA-256"), ("0" * 64, "no such work")]
)
def test_the_command_names_what_is_wrong_and_takes_nothing_out(
    archive: Organization, tmp_path: Path, text: str, said: str
) -> None:
    make_offer(archive)
    listed = tmp_path / "digests"
    listed.write_text(text)
    with pytest.raises(CommandError, match=said):
        call_command("opt_out", organization=str(archive.pk), digests=listed, reason="R")
    with system("count in a test"):
        assert not OptOut.objects.exists()
