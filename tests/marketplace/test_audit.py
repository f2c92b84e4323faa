"""Who did what: the record stands and falls with the act, and nobody changes it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from marketplace import audit, collections
from marketplace.access import Scope, acting, system
from marketplace.models import Audit, Collection, Organization
from tests.make import make_operator
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
ROOT = Path(__file__).parents[2]


def acts(organization: Organization) -> list[tuple[str, str, str]]:
    with acting(caller_for(organization), writing=False):
        return [(row.actor, row.action, row.subject) for row in Audit.objects.order_by("id")]


def test_a_key_s_act_names_the_key_the_act_and_its_subject(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    [key] = client.get("/v1/api-keys").json()["data"]
    made = client.post("/v1/collections", {"name": "Letters"}).json()["id"]
    assert acts(archive) == [
        ("system", "api_key.created", key["id"]),
        (key["id"], "collection.created", made),
    ]


def test_the_details_of_an_act_are_kept_and_hold_no_secret(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    made = client.post("/v1/api-keys", {"name": "n", "scopes": ["works:read"]}).json()
    with acting(caller_for(archive), writing=False):
        row = Audit.objects.get(subject=made["id"])
        every = str(list(Audit.objects.values()))
    assert row.data == {"scopes": ["works:read"]}
    assert made["secret"] not in every
    assert str(client.secret) not in every


def test_a_refused_act_leaves_no_record(client_for: ClientFor, archive: Organization) -> None:
    client = client_for(archive, scopes=[Scope.COLLECTIONS_READ])
    before = acts(archive)
    assert client.post("/v1/collections", {"name": "Letters"}).status_code == 403
    assert client_for(archive).post("/v1/collections", {"name": 7}).status_code == 422
    assert [act for act in acts(archive) if act[1] != "api_key.created"] == []
    assert len(acts(archive)) == len(before) + 1


def test_an_act_that_cannot_be_recorded_does_not_happen(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_fields: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(audit, "record", fail)
    with pytest.raises(ZeroDivisionError):
        collections.create(caller_for(archive), name="Letters")
    assert Collection.objects.count() == 0


def test_a_record_goes_with_an_act_that_fails_later(archive: Organization) -> None:
    caller = caller_for(archive)

    def act() -> None:
        with acting(caller):
            audit.record(caller, "note.made", subject=archive)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        act()
    assert acts(archive) == []


@pytest.mark.django_db(transaction=True)
def test_a_record_outside_a_transaction_is_a_mistake(archive: Organization) -> None:
    with pytest.raises(AssertionError, match="commits with its act"):
        audit.record(caller_for(archive), "note.made", subject=archive)


@pytest.mark.parametrize(
    "change", [lambda rows: rows.update(action="x"), lambda rows: rows.delete()]
)
def test_nobody_changes_or_removes_a_record(
    archive: Organization, change: Callable[[Any], object]
) -> None:
    caller = caller_for(archive)
    with acting(caller):
        audit.record(caller, "note.made", subject=archive)
    with pytest.raises(DatabaseError), acting(caller), transaction.atomic():
        change(Audit.objects.all())
    assert acts(archive) == [("system", "note.made", str(archive.pk))]


def test_a_tenant_sees_its_own_records_only(archive: Organization, lab: Organization) -> None:
    caller = caller_for(archive)
    with acting(caller):
        audit.record(caller, "note.made", subject=lab)
    assert acts(lab) == []
    with acting(caller_for(lab), writing=False):
        assert Audit.objects.visible_to(caller_for(lab)).count() == 0


def test_an_act_on_the_market_is_of_no_organization_and_no_tenant_reads_or_writes_it(
    archive: Organization,
) -> None:
    olga = make_operator()
    with system("act on the market in a test"):
        audit.record(audit.by_operator(olga, None), "note.made", subject=archive)
        audit.record(audit.by_operator(olga, archive), "note.made", subject=archive)
        notes = Audit.objects.filter(action="note.made").order_by("id")
        rows = [(row.organization_id, row.actor) for row in notes]
    assert rows == [(None, str(olga.pk)), (archive.pk, str(olga.pk))]
    assert acts(archive) == [(str(olga.pk), "note.made", str(archive.pk))]
    with pytest.raises(DatabaseError), acting(caller_for(archive)), transaction.atomic():
        audit.record(audit.OfMarket(str(olga.pk)), "note.made", subject=archive)
    with system("look in a test"):
        assert Audit.objects.filter(action="note.made").count() == 2


def test_every_recorded_act_is_a_noun_and_a_verb_in_the_past() -> None:
    found = set()
    acts_of = {"audit.record", "audit.record_done", "account_acts.record"}
    for app in ("marketplace", "licensing", "payments"):
        for path in (ROOT / app).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in acts_of:
                    named = node.args[1]
                    found |= {
                        str(each.value)
                        for each in ast.walk(named)
                        if isinstance(each, ast.Constant)
                    } or {ast.unparse(named)}
    assert {"api_key.created", "collection.attested", "offer.published", "order.placed"} <= found
    assert {"account.signed_in", "factor.added", "password.changed"} <= found
    past = re.compile(
        r"^[a-z_]+\.([a-z_]+(ed|den)|signed_(in|out)[a-z_]*|made|begun|chosen|set|taken|withdrawn|(paid|sent)(_[a-z]+)?)$"
    )
    assert [action for action in sorted(found) if not past.match(action)] == []
