"""Founding organizations, admitting members; and what each role may do."""

from __future__ import annotations

import pytest
from django.contrib.auth import authenticate

from marketplace import organizations
from marketplace.access import Scope, acting, system
from marketplace.errors import InvalidInput
from marketplace.models import Audit, Membership, Organization, User
from tests.people import caller_for

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
READS = {scope for scope in Scope if scope.value.endswith(":read")}


def admit(organization: Organization, **fields: str) -> User:
    member = {"email": "ada@example.org", "name": "Ada", "password": PASSWORD, "role": "owner"}
    return organizations.admit(organization, **{**member, **fields})


def counts() -> tuple[int, int, int]:
    with system("count in a test"):
        return User.objects.count(), Membership.objects.count(), Audit.objects.count()


def test_an_organization_is_founded_with_its_legal_identity() -> None:
    made = organizations.found(
        kind="creator",
        name="Ada writes",
        legal_name="Ada Writes B.V.",
        jurisdiction="NL",
        registration_number="7",
    )
    row = Organization.objects.get(pk=made.pk)
    assert (row.kind, row.name, row.legal_name) == ("creator", "Ada writes", "Ada Writes B.V.")
    assert (row.jurisdiction, row.registration_number) == ("NL", "7")
    assert str(row.pk).startswith("org_")


def test_an_unknown_kind_of_organization_is_refused() -> None:
    with pytest.raises(InvalidInput) as refused:
        organizations.found(kind="bank", name="B", legal_name="B", jurisdiction="NL")
    assert refused.value.data == {"param": "kind"}
    assert refused.value.detail == "Use one of: creator, platform, lab, operator."
    assert Organization.objects.count() == 0


@pytest.mark.parametrize("jurisdiction", ["", "nl", "NLD", "US_DE", "N1"])
def test_a_jurisdiction_that_is_no_code_is_refused(jurisdiction: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        organizations.found(kind="lab", name="L", legal_name="L", jurisdiction=jurisdiction)
    assert refusal.value.data == {"param": "jurisdiction"}
    assert not Organization.objects.exists()


def test_a_member_is_admitted_with_a_password_a_role_and_a_record(archive: Organization) -> None:
    user = admit(archive, email="Ada@Example.org", role="editor")
    assert (user.email, user.name, user.is_operator) == ("ada@example.org", "Ada", False)
    assert authenticate(username="ada@example.org", password=PASSWORD) == user
    assert PASSWORD not in user.password
    with acting(caller_for(archive), writing=False):
        membership = Membership.objects.get()
        assert (membership.user_id, membership.role) == (user.pk, "editor")
        act = Audit.objects.get()
    assert (act.action, act.subject, act.actor) == ("member.admitted", str(membership.pk), "system")
    assert act.data == {"role": "editor"}


def test_admitting_a_member_again_changes_neither_password_nor_role(archive: Organization) -> None:
    user = admit(archive, role="viewer")
    before = counts()
    again = admit(archive, name="Eve", password="another password", role="owner")
    assert (again.pk, again.name, counts()) == (user.pk, "Ada", before)
    assert authenticate(username="ada@example.org", password=PASSWORD) == user
    assert authenticate(username="ada@example.org", password="another password") is None
    with acting(caller_for(archive), writing=False):
        assert Membership.objects.get().role == "viewer"


def test_one_person_may_be_in_several_organizations(
    archive: Organization, lab: Organization
) -> None:
    assert admit(archive).pk == admit(lab, password="another password", role="viewer").pk
    assert counts() == (1, 2, 2)
    with acting(caller_for(lab), writing=False):
        assert [row.role for row in Membership.objects.all()] == ["viewer"]


def test_an_unknown_role_is_refused(archive: Organization) -> None:
    with pytest.raises(InvalidInput) as refused:
        admit(archive, role="king")
    assert refused.value.data == {"param": "role"}
    assert counts() == (0, 0, 0)


def test_each_role_may_do_what_its_name_says() -> None:
    written = {
        role: {scope.value for scope in scopes - READS}
        for role, scopes in organizations.ROLE_SCOPES.items()
    }
    sells = {"works:write", "collections:write", "terms:write", "offers:write", "opt_outs:write"}
    buys = {"quotes:write", "orders:write", "access_requests:write"}
    pays = {"royalties:write", "refunds:write", "payouts:write"}
    runs = {"members:write", "webhooks:write"}
    assert written == {
        "owner": sells | buys | pays | runs | {"keys:write", "organization:write"},
        "manager": sells | buys | pays | runs,
        "editor": sells,
        "finance": buys | pays,
        "viewer": set(),
    }
    assert all(scopes >= READS for scopes in organizations.ROLE_SCOPES.values())
    assert set(organizations.ROLE_SCOPES) == set(Membership.Role.values)


def test_an_operator_acts_for_an_organization_as_the_system(archive: Organization) -> None:
    caller = organizations.operator(archive, livemode=True)
    assert (caller.organization, caller.livemode, caller.actor) == (archive, True, "system")
    assert caller.scopes == set(Scope)
