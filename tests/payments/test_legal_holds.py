"""Legal holds: what is held is not erased, by name; a second person lifts it; then it goes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from marketplace import contributors, invitations, legal_holds, organizations, uploads
from marketplace.access import system
from marketplace.errors import (
    AnotherOperatorNeeded,
    DomainError,
    InvalidInput,
    LegallyHeld,
    MissingScope,
    NotFound,
)
from marketplace.models import (
    Audit,
    ContributorIdentity,
    Erasure,
    LegalHold,
    Membership,
    Organization,
    Upload,
    User,
)
from payments import erasures
from payments.erasures import Person
from payments.models import Order
from tests.licensing.test_moderation import reported
from tests.make import make_grant, make_offer, make_operator
from tests.payments.racing import at_once
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
WHY = {"reason": "A court asked for it.", "matter": "4 O 17/26"}


@pytest.fixture(autouse=True)
def outside(settings: Any, tmp_path: Any) -> None:
    settings.ERASURES = str(tmp_path / "erasures")


@pytest.fixture
def olga(db: None) -> User:
    return make_operator("olga@example.org")


@pytest.fixture
def otto(db: None) -> User:
    return make_operator("otto@example.org")


def quill(organization: Organization) -> Any:
    return contributors.add(
        caller_for(organization), external_id="c-1", name="Quill", email="quill@example.org"
    )


def counted() -> tuple[int, int]:
    with system("count in a test"):
        return ContributorIdentity.objects.count(), Erasure.objects.count()


@pytest.mark.parametrize("what", ["contributor", "organization"])
def test_who_is_held_is_not_erased_by_anybody_until_it_is_lifted(
    what: str, archive: Organization, client_for: ClientFor, olga: User, otto: User
) -> None:
    person = quill(archive)
    subject = str(person.pk if what == "contributor" else archive.pk)
    hold = legal_holds.place(olga, subject, **WHY)
    people = [
        Person(contributor=str(person.pk)),
        Person(email="quill@example.org"),
        Person(name="Quill", organization=str(archive.pk)),
    ]
    for each in people:
        for act in (erasures.look, erasures.erase):
            with pytest.raises(LegallyHeld) as refused:
                act(each)
            assert refused.value.data == {"hold": str(hold.pk)}
    answer = client_for(archive).post(f"/v1/contributors/{person.pk}/erase")
    assert (answer.status_code, answer.json()["code"]) == (409, "legally_held")
    assert answer.json()["hold"] == str(hold.pk)
    assert "court" not in answer.content.decode()
    assert counted() == (1, 0)

    legal_holds.lift(otto, str(hold.pk), reason="The matter is over.")
    erasures.erase(people[1])
    assert counted() == (0, 1)


def test_an_account_is_held_by_itself_and_by_its_organization(
    lab: Organization, olga: User, otto: User
) -> None:
    person = organizations.admit(
        lab, email="lin@example.org", name="Lin", password="correct horse", role="owner"
    )
    for subject in (str(person.pk), str(lab.pk)):
        hold = legal_holds.place(olga, subject, **WHY)
        with pytest.raises(LegallyHeld, match=str(hold.pk)):
            erasures.erase(Person(email="lin@example.org"))
        legal_holds.lift(otto, str(hold.pk), reason="Over.")
    assert User.objects.get(pk=person.pk).name == "Lin"


def test_an_order_is_of_both_its_parties_and_holds_who_accepted_it(
    archive: Organization, lab: Organization, olga: User
) -> None:
    make_grant(archive, lab)
    with system("look in a test"):
        order = Order.objects.get()
    hold = legal_holds.place(olga, str(order.pk), **WHY)
    with system("read the audit in a test"):
        rows = Audit.objects.filter(action="legal_hold.placed")
        assert {row.organization_id for row in rows} == {archive.pk, lab.pk}
        assert {row.subject for row in rows} == {str(hold.pk)}
    with pytest.raises(LegallyHeld):
        erasures.erase(Person(name="Lin", organization=str(lab.pk)))


@pytest.mark.parametrize("what", ["licensee", "licensor", "account"])
def test_who_signed_for_a_held_party_and_left_is_not_erased_from_the_ledger(
    what: str, archive: Organization, lab: Organization, olga: User, otto: User
) -> None:
    person = organizations.admit(
        lab, email="lin@example.org", name="Lin", password="correct horse", role="owner"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "tests.make.caller_for",
            lambda *_a, **_k: (
                dataclasses.replace(caller_for(lab), user=person)
                if _a[0] == lab
                else caller_for(*_a, **_k)
            ),
        )
        make_grant(archive, lab)
    with system("leave in a test"):
        assert Order.objects.get().accepted_by_actor == str(person.pk)
        Membership.objects.filter(user=person).delete()
    subject = {"licensee": lab, "licensor": archive, "account": person}[what]
    hold = legal_holds.place(olga, str(subject.pk), **WHY)
    people = [Person(email="lin@example.org"), Person(name="Lin", organization=str(lab.pk))]
    for each in people:
        with pytest.raises(LegallyHeld, match=str(hold.pk)):
            erasures.erase(each)
    assert User.objects.get(pk=person.pk).name == "Lin"
    assert counted() == (0, 0)
    legal_holds.lift(otto, str(hold.pk), reason="Over.")
    assert erasures.erase(people[0]).counts["openings"] > 0


def test_whom_a_held_organization_invited_and_who_reported_it_stay(
    archive: Organization, olga: User, otto: User
) -> None:
    invitations.invite(caller_for(archive), email="ines@example.org", role="viewer")
    reported(str(make_offer(archive).pk))
    hold = legal_holds.place(olga, str(archive.pk), **WHY)
    people = [Person(email="ines@example.org"), Person(email="rae@example.org")]
    for person in people:
        with pytest.raises(LegallyHeld):
            erasures.erase(person)
    legal_holds.lift(otto, str(hold.pk), reason="Over.")
    assert [list(erasures.erase(each).counts) for each in people] == [["invitations"], ["reports"]]


def test_a_hold_ends_when_its_time_is_over(archive: Organization, olga: User) -> None:
    person = quill(archive)
    hold = legal_holds.place(olga, str(person.pk), **WHY, until=timezone.now() + timedelta(hours=1))
    with system("look in a test"):
        assert legal_holds.over([person.pk]) == hold.pk
        assert list(legal_holds.in_force()) == [hold]
    later = timezone.now() + timedelta(hours=2)
    with pytest.MonkeyPatch.context() as patch, system("look in a test"):
        patch.setattr("marketplace.legal_holds.timezone.now", lambda: later)
        assert list(legal_holds.in_force()) == []


def test_unused_uploads_of_a_held_organization_stay(
    archive: Organization, lab: Organization, olga: User, otto: User
) -> None:
    for owner in (archive, lab):
        uploads.begin(caller_for(owner), length=3)
    with system("age uploads in a test"):
        Upload.objects.update(used_at=timezone.now() - timedelta(days=30))
    hold = legal_holds.place(olga, str(archive.pk), **WHY)
    assert uploads.sweep() == 1
    with system("look in a test"):
        kept = Upload.objects.exclude(status="discarded")
        assert [row.organization_id for row in kept] == [archive.pk]
    legal_holds.lift(otto, str(hold.pk), reason="Over.")
    assert uploads.sweep() == 1


def test_who_placed_it_does_not_lift_it_and_repeats_change_nothing(
    archive: Organization, olga: User, otto: User
) -> None:
    hold = legal_holds.place(olga, str(archive.pk), **WHY)
    assert legal_holds.place(otto, str(archive.pk), **WHY) == hold
    assert legal_holds.place(otto, str(archive.pk), reason="r", matter="another") != hold
    with pytest.raises(AnotherOperatorNeeded):
        legal_holds.lift(olga, str(hold.pk), reason="Over.")
    for _each in range(2):
        lifted = legal_holds.lift(otto, str(hold.pk), reason="Over.")
        assert (lifted.lifted_by, lifted.lift_reason) == (str(otto.pk), "Over.")
    with system("read the audit in a test"):
        rows = Audit.objects.filter(action__startswith="legal_hold.").order_by("id")
        assert [row.action for row in rows] == [
            "legal_hold.placed",
            "legal_hold.placed",
            "legal_hold.lifted",
        ]


def test_what_cannot_be_held_is_refused(archive: Organization, olga: User) -> None:
    member = organizations.admit(
        archive, email="ada@example.org", name="Ada", password="correct horse", role="owner"
    )
    at, past = str(archive.pk), timezone.now() - timedelta(days=1)
    refused: list[tuple[type[DomainError], Callable[[], Any]]] = [
        (MissingScope, lambda: legal_holds.place(member, at, **WHY)),
        (MissingScope, lambda: legal_holds.lift(member, "lgh_1", reason="r")),
        (InvalidInput, lambda: legal_holds.place(olga, at, reason=" ", matter="m")),
        (InvalidInput, lambda: legal_holds.place(olga, at, reason="r", matter="x" * 101)),
        (InvalidInput, lambda: legal_holds.place(olga, at, **WHY, until=past)),
        (InvalidInput, lambda: legal_holds.place(olga, "wrk_1", **WHY)),
        (NotFound, lambda: legal_holds.place(olga, "org_1", **WHY)),
        (NotFound, lambda: legal_holds.place(olga, "ord_01m86qffpae7zr451q5yc40mdx", **WHY)),
        (NotFound, lambda: legal_holds.lift(olga, "x", reason="r")),
    ]
    for error, act in refused:
        with pytest.raises(error):
            act()
    with system("count in a test"):
        assert LegalHold.objects.count() == 0


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_an_erasure_and_a_hold_at_once_are_one_after_the_other(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is second sees the first: either it is erased, or it is held and whole."""
    person, olga = quill(archive), make_operator()
    check, seen = legal_holds.check, []

    def slow(subjects: Any) -> None:
        check(subjects)
        # Long enough for a hold to be placed, if nothing kept it out.
        time.sleep(0.4)
        with system("look in a test"):
            seen.append(LegalHold.objects.count())

    monkeypatch.setattr(legal_holds, "check", slow)
    at_once(
        lambda: erasures.erase(Person(contributor=str(person.pk))),
        lambda: legal_holds.place(olga, str(person.pk), **WHY),
    )
    # Nothing was erased after a hold over it had been committed.
    assert (counted()[0], seen) in [(0, [0]), (1, [])]
