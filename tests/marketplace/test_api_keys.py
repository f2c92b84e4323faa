"""API keys."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import RequestFactory
from django.utils import timezone

from marketplace import api_keys
from marketplace.access import Scope, acting
from marketplace.errors import InvalidInput, MalformedApiKey, NotFound, Unauthenticated
from marketplace.models import ApiKey, Audit, Organization
from tests.people import caller_for

pytestmark = pytest.mark.django_db
READ = [Scope.WORKS_READ.value]


def make(organization: Organization, **fields: object) -> tuple[ApiKey, str]:
    caller = caller_for(organization)
    return api_keys.create(caller, name="k", scopes=READ, **fields)  # type: ignore[arg-type]


def test_a_secret_names_its_mode_and_holds_178_random_bits(lab: Organization) -> None:
    _key, secret = make(lab)
    assert secret.startswith("licet_test_")
    random_part = secret.removeprefix("licet_test_")[:-6]
    assert len(random_part) * math.log2(62) >= 178
    _key, live = api_keys.create(caller_for(lab, livemode=True), name="k", scopes=READ)
    assert live.startswith("licet_live_")


def test_a_secret_becomes_its_organizations_caller(lab: Organization) -> None:
    key, secret = make(lab)
    caller = api_keys.authenticate(secret)
    assert (caller.organization, caller.livemode, caller.scopes, caller.actor) == (
        lab,
        False,
        frozenset(READ),
        str(key.pk),
    )


def test_the_secret_is_stored_nowhere(lab: Organization) -> None:
    key, secret = make(lab)
    with acting(caller_for(lab)):
        row = ApiKey.objects.values().get(pk=key.pk)
    assert secret not in str(row)
    assert bytes(row["digest"]).hex() not in secret


def test_any_changed_character_is_refused_without_the_database(
    lab: Organization, django_assert_num_queries: Callable[..., object]
) -> None:
    _key, secret = make(lab)
    with django_assert_num_queries(0):  # type: ignore[attr-defined]
        for position in range(len("licet_test_"), len(secret)):
            other = "a" if secret[position] != "a" else "b"
            with pytest.raises(MalformedApiKey):
                api_keys.authenticate(secret[:position] + other + secret[position + 1 :])


@pytest.mark.parametrize("secret", ["", "licet_test_", "sk_live_x", "licet_test_" + "é" * 36])
def test_what_is_no_key_is_refused(secret: str) -> None:
    with pytest.raises(MalformedApiKey):
        api_keys.authenticate(secret)


def test_a_well_formed_unknown_key_is_refused(lab: Organization) -> None:
    with pytest.raises(Unauthenticated):
        api_keys.authenticate(api_keys._new_secret(livemode=False))


def test_a_revoked_key_is_refused_at_once(lab: Organization) -> None:
    key, secret = make(lab)
    api_keys.revoke(caller_for(lab), str(key.pk))
    with pytest.raises(Unauthenticated):
        api_keys.authenticate(secret)


def test_revoking_twice_changes_nothing(lab: Organization) -> None:
    key, _secret = make(lab)
    first = api_keys.revoke(caller_for(lab), str(key.pk)).revoked_at
    assert api_keys.revoke(caller_for(lab), str(key.pk)).revoked_at == first
    with acting(caller_for(lab)):
        assert Audit.objects.filter(action="api_key.revoked").count() == 1


def test_an_expired_key_is_refused(lab: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    _key, secret = make(lab, expires_at=timezone.now() + timedelta(hours=1))
    assert api_keys.authenticate(secret).organization == lab
    later = timezone.now() + timedelta(hours=2)
    monkeypatch.setattr(api_keys.timezone, "now", lambda: later)
    with pytest.raises(Unauthenticated):
        api_keys.authenticate(secret)


def test_both_secrets_work_during_a_rotations_overlap(
    lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, old_secret = make(lab)
    new, new_secret = api_keys.rotate(caller_for(lab), str(old.pk), overlap_seconds=60)
    assert new.rotated_from_id == old.pk
    assert api_keys.authenticate(old_secret).organization == lab
    assert api_keys.authenticate(new_secret).scopes == frozenset(READ)
    later = timezone.now() + timedelta(seconds=61)
    monkeypatch.setattr(api_keys.timezone, "now", lambda: later)
    with pytest.raises(Unauthenticated):
        api_keys.authenticate(old_secret)
    assert api_keys.authenticate(new_secret).organization == lab


def test_a_key_is_rotated_once(lab: Organization) -> None:
    old, _secret = make(lab)
    api_keys.rotate(caller_for(lab), str(old.pk))
    with pytest.raises(InvalidInput):
        api_keys.rotate(caller_for(lab), str(old.pk))
    with acting(caller_for(lab)):
        assert ApiKey.objects.count() == 2


def test_nobody_gives_a_scope_that_they_do_not_hold(lab: Organization) -> None:
    caller = caller_for(lab, scopes=[Scope.KEYS_WRITE])
    with pytest.raises(InvalidInput) as refusal:
        api_keys.create(caller, name="k", scopes=[Scope.ORDERS_WRITE.value])
    assert refusal.value.data["param"] == "scopes[0]"
    with acting(caller_for(lab)):
        assert ApiKey.objects.count() == 0


@pytest.mark.parametrize("scopes", [[], ["everything"]])
def test_a_key_needs_known_scopes(lab: Organization, scopes: list[str]) -> None:
    with pytest.raises(InvalidInput):
        api_keys.create(caller_for(lab), name="k", scopes=scopes)


def test_another_organizations_key_is_not_there(lab: Organization, stranger: Organization) -> None:
    key, _secret = make(lab)
    for verb in (api_keys.revoke, api_keys.rotate):
        with pytest.raises(NotFound):
            verb(caller_for(stranger), str(key.pk))


def test_a_wrong_scheme_is_refused(rf: RequestFactory, lab: Organization) -> None:
    from marketplace.authentication import ApiKeyAuthentication

    request = rf.get("/", headers={"Authorization": "Basic abc"})
    with pytest.raises(Unauthenticated):
        ApiKeyAuthentication().authenticate(request)  # type: ignore[arg-type]
