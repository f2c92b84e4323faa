"""Both walls: `visible_to` alone, and row-level security alone."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from marketplace.access import TenantQuerySet, acting, system
from tests.people import caller_for
from tests.security.world import World

pytestmark = pytest.mark.django_db

MODELS = [
    model for model in apps.get_models() if isinstance(model._default_manager.all(), TenantQuerySet)
]


def _private_tables() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relrowsecurity AND relkind = 'r' ORDER BY relname"
        )
        return [row[0] for row in cursor.fetchall()]


def _count(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT count(*) FROM "{table}"')
        row = cursor.fetchone()
        assert row is not None
        return int(row[0])


# Tables whose rows belong to a tenant, or to nobody but us. A new table is put here, or into
# PUBLIC, on purpose.
PRIVATE = {
    "marketplace_workidentifier",
    "marketplace_accountact",
    "marketplace_apikey",
    "marketplace_attestation",
    "marketplace_audit",
    "marketplace_bulkedit",
    "marketplace_columntemplate",
    "marketplace_contributor",
    "marketplace_contributoridentity",
    "marketplace_embeddedrights",
    "marketplace_erasure",
    "marketplace_event",
    "marketplace_excerpt",
    "marketplace_idempotencykey",
    "marketplace_importjob",
    "marketplace_importrejection",
    "marketplace_invitation",
    "marketplace_legalhold",
    "licensing_appeal",
    "licensing_moderationdecision",
    "licensing_report",
    "marketplace_membership",
    "marketplace_metadata",
    "licensing_accessrequest",
    "marketplace_rightsoverride",
    "marketplace_upload",
    "marketplace_webhookattempt",
    "marketplace_webhookdelivery",
    "marketplace_webhookendpoint",
    "licensing_acknowledgement",
    "marketplace_remotebucket",
    "licensing_agreement",
    "licensing_auditleaf",
    "licensing_contributorlink",
    "licensing_coverage",
    "licensing_deliverycount",
    "licensing_deliverysummary",
    "licensing_grant",
    "licensing_grantevent",
    "licensing_ledgercounter",
    "licensing_ledgeropening",
    "licensing_ledgerparty",
    "licensing_notice",
    "licensing_optout",
    "licensing_optoutitem",
    "licensing_period",
    "licensing_scopeclaim",
    "licensing_takensample",
    "payments_account",
    "payments_command",
    "payments_invoice",
    "payments_connectedaccount",
    "payments_dispute",
    "payments_feeschedule",
    "payments_journal",
    "payments_mismatch",
    "payments_order",
    "payments_paymentpart",
    "payments_posting",
    "payments_quote",
    "payments_stripecustomer",
    "payments_refund",
    "payments_refundapproval",
    "payments_royaltyaccrual",
    "payments_royaltyadvance",
    "payments_royaltyadvanceline",
    "payments_royaltyallocation",
    "payments_royaltybalance",
    "payments_royaltybase",
    "payments_remittance",
    "payments_royaltycounted",
    "payments_royaltypayment",
    "payments_royaltypayout",
    "payments_royaltyweight",
    "payments_stripeevent",
    "payments_transfer",
    "payments_transferreversal",
    "payments_reconcilecursor",
    "payments_stripepace",
}
PUBLIC = {
    # The catalogue: walled off by visible_to (decision 5).
    "marketplace_organization",
    "marketplace_collection",
    "marketplace_collectionitem",
    "marketplace_work",
    "marketplace_representation",
    # Who may open which collection: the person who signs in is of no one tenant.
    "marketplace_collectionshare",
    # Digests alone, which importers and licensees of other tenants must find.
    "marketplace_reserveddigest",
    # An instant for each key or address that asks, by its id or a keyed hash.
    "marketplace_ratetally",
    # Who sells, which the law has buyers shown.
    "marketplace_trader",
    "licensing_offer",
    # What a listing says of its sample, to everybody.
    "licensing_sample",
    # What the market's search reads: a policy would keep it from its index, so `candidates` asks
    # for the audience. Scopes and words are of no one tenant.
    "licensing_searchdocument",
    "licensing_searchscope",
    "licensing_searchword",
    "licensing_snapshot",
    "licensing_terms",
    # An order fixes its shares as its buyer, who must read the seller's rule.
    "payments_royaltyrule",
    # People who sign in: of no one tenant.
    "marketplace_user",
    "marketplace_user_groups",
    "marketplace_user_user_permissions",
    # What the log says of the audit: sizes and hashes over all tenants' acts.
    "licensing_auditroot",
    # The public log.
    "licensing_ledgerawaited",
    "licensing_ledgercheckpoint",
    "licensing_ledgercontinuation",
    "licensing_ledgercosignature",
    "licensing_ledgerentry",
    "licensing_ledgerkeychange",
    "licensing_ledgerleaf",
    "licensing_ledgerpending",
    "licensing_ledgerrecovered",
    "licensing_ledgertile",
    "licensing_ledgertree",
    # What status proofs are made of: references of the public log, and no party.
    "licensing_statuschange",
    "licensing_statusleaf",
    "licensing_statusroot",
}


def test_every_table_of_ours_is_private_or_public_on_purpose() -> None:
    ours = {
        table
        for table in connection.introspection.table_names()
        if table.startswith(("marketplace_", "licensing_", "payments_"))
    }
    assert ours == PRIVATE | PUBLIC
    assert set(_private_tables()) == PRIVATE


def test_row_level_security_binds_the_owner_too() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_class WHERE relrowsecurity AND NOT relforcerowsecurity"
        )
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize("table", sorted(PRIVATE))
def test_with_no_tenant_set_a_private_table_reads_no_row(world: World, table: str) -> None:
    with system("count in a test"):
        assert _count(table) > 0, "The world must hold a row, or this proves nothing."
    assert _count(table) == 0


@pytest.mark.parametrize("table", sorted(PRIVATE))
def test_row_level_security_alone_hides_everything_from_a_stranger(
    world: World, table: str
) -> None:
    """The stranger's own rows of the world are one key and its audit row."""
    own = {"marketplace_apikey": 1, "marketplace_audit": 1}
    world.client(world.stranger)
    with acting(caller_for(world.stranger), writing=False):
        assert _count(table) == own.get(table, 0)


def _seen_by_stranger(model: Any) -> int:
    """How many rows `visible_to` alone shows to somebody with no part in the world."""
    with system("look past row-level security in a test"):
        outsider = caller_for(world_outsider())
        return int(model._default_manager.visible_to(outsider).count())


def world_outsider() -> Any:
    from marketplace.models import Organization

    return Organization.objects.get(name="Outsider")


# What anybody may see: an outsider's own organization; terms and snapshots of public listings.
OPEN = {"Organization": 1}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_visible_to_alone_hides_what_is_not_the_callers(world: World, model: Any) -> None:
    with system("count in a test"):
        total = model._default_manager.count()
    assert total > 0, "The world must hold a row, or this proves nothing."
    assert _seen_by_stranger(model) == world.open_rows(model)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_widened_visible_to_turns_that_test_red(
    world: World, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        type(model._default_manager.all()), "visible_to", lambda rows, caller: rows.all()
    )
    assert _seen_by_stranger(model) > world.open_rows(model)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_visible_to_keeps_the_modes_apart(world: World, model: Any) -> None:
    if "livemode" not in {field.name for field in model._meta.fields}:
        assert not hasattr(model, "livemode")
        return
    with system("look past row-level security in a test"):
        for organization in (world.archive, world.lab):
            for livemode in (True, False):
                caller = caller_for(organization, livemode=livemode)
                rows = model._default_manager.visible_to(caller)
                assert set(rows.values_list("livemode", flat=True)) <= {livemode}
