"""A license's certificate and its public verification in a real browser, on a desk and a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from licensing import lifecycle
from marketplace.access import system
from marketplace.models import Membership, Organization, User
from tests.browser.conftest import VisitorFor
from tests.browser.visitor import DESKTOP, PASSWORD, PHONE, Visitor
from tests.licensing.test_certificates import ACT, signed
from tests.make import make_grant
from tests.people import ApiClient, caller_for

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def member(organization: Organization) -> User:
    user = User(email="counsel@example.org", name="Counsel")
    user.set_password(PASSWORD)
    user.save()
    with system("a test makes a member"):
        Membership.objects.create(organization=organization, user=user, role="viewer")
    return user


def check(visitor: Visitor) -> None:
    assert visitor.violations() == []
    assert visitor.overflow() <= 0


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_counsel_goes_from_signing_in_to_the_grant_s_proof(
    visitor_for: VisitorFor,
    size: tuple[int, int],
    archive: Organization,
    lab: Organization,
    client_for: Callable[..., ApiClient],
    tmp_path: Path,
) -> None:
    grant = signed(make_grant(archive, lab))
    user = member(lab)
    receipt = tmp_path / "r.tlog-proof"
    receipt.write_bytes(client_for(lab).get(f"/v1/grants/{grant.pk}/receipt").content)
    visitor = visitor_for(size)

    visitor.sign_in(user.email, f"/certificates/{grant.pk}")
    assert "In force as of" in visitor.text
    assert "TEST LICENSE, no money moved" in visitor.text
    check(visitor)
    visitor.press("Hide the price")
    check(visitor)

    stranger = visitor_for(size)
    reference = bytes(grant.grant_ref).hex()
    assert stranger.open("/verify/") == 200
    check(stranger)
    stranger.fill(ref=reference.upper())
    stranger.press("Look it up")
    assert stranger.path == f"/verify/{reference}"
    assert "Archive" not in stranger.text
    check(stranger)
    stranger.field("receipt").set_input_files(receipt)
    stranger.press("Check it")
    assert "This receipt is sound." in stranger.text
    assert "Archive Ltd" in stranger.text
    check(stranger)

    lifecycle.suspend(caller_for(archive), str(grant.pk), ACT)
    visitor.open(f"/certificates/{grant.pk}")
    assert "SUSPENDED with effect from" in visitor.text
    check(visitor)
    assert (visitor.complaints, stranger.complaints) == ([], [])
