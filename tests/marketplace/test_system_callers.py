"""Who sees all tenants: read from the source, so that a new caller is a decision, no accident."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APPS = ("marketplace", "licensing", "payments", "api_docs")

# Each module that may open a block for all tenants, and why one tenant's would not do.
ALL_TENANT_CALLERS = {
    "marketplace.account_acts": "A person and their account are of no tenant.",
    "marketplace.known_keys": "Whose key it is, is only known once it is found.",
    "marketplace.authentication": "A person's memberships are of several tenants.",
    "marketplace.backups": "A backup holds the rows of all tenants.",
    "marketplace.restores": "A database is empty where no tenant has a row.",
    "marketplace.imports.queue": "The worker runs the queued imports of everybody.",
    "marketplace.invitations": "Whose invitation it is, is only known once it is found.",
    "marketplace.legal_holds": "An operator holds the records of any organization or person.",
    "marketplace.traders": "An operator verifies any seller.",
    "marketplace.sign_in": "Whose factors an operator removed is of no tenant.",
    "marketplace.operators": "Who runs the market is of no tenant.",
    "marketplace.operator_pages": "The forms of operators are about anybody's rows.",
    "payments.operator_desk": "An operator names any seller that a fee is of.",
    "marketplace.operator_site": "Operators look at everything, and change nothing.",
    "licensing.access_requests": "The worker ends overdue access requests of everybody.",
    "licensing.audit_check": "One tree holds the acts of all tenants.",
    "licensing.audit_roots": "One tree holds the acts of all tenants.",
    "marketplace.bulk_edits": "The worker carries out the edits of everybody.",
    "marketplace.excerpts": "The worker makes the excerpts of everybody.",
    "marketplace.uploads": "The worker discards unused uploads of everybody.",
    "marketplace.webhooks": "The secrets of all webhooks are sealed anew at once.",
    "marketplace.webhook_deliveries": "The worker sends everybody's events.",
    "licensing.scope_claims": "The worker ends overdue claims of everybody.",
    "licensing.lifecycle": "The worker moves the grants of everybody when their time has come.",
    "licensing.ledger_readings": "Operators watch how long the entries of all tenants wait.",
    "licensing.ledger.freezing": "A log that is frozen holds the entries of all tenants.",
    "licensing.ledger.guard": "One guard stands for the entries of all tenants.",
    "licensing.ledger.recovery": "One log's lost tail holds the entries of all tenants.",
    "licensing.ledger.rotation": "A log's key signs the entries of all tenants.",
    "licensing.ledger.sequencer": "One log holds the entries of all tenants.",
    "licensing.ledger.witnessing": "A witness cosigns a log with the entries of all tenants.",
    "licensing.ledger.fsck": "A log is checked whole, with what opens its entries.",
    "licensing.status": "A status root is about the grants of all tenants.",
    "licensing.moderation": "An operator decides about any seller's works; links name theirs.",
    "licensing.reports": "Who reports something is of no organization.",
    "licensing.offers": "An operator decides about any seller's listing.",
    "licensing.search_documents": "The search is indexed anew for all sellers at once.",
    "licensing.optouts": "An operator takes bytes out at every organization that has them.",
    "licensing.optout_links": "Whose link it is, is only known once it is found.",
    "licensing.delivery_counts": "One process delivers to the licensees of everybody.",
    "licensing.delivery_summaries": "The worker records the deliveries of everybody.",
    "licensing.delivery": "A signed link stands for the caller, and names its grant.",
    "payments.stripe_events": "Stripe's events belong to nobody until they are handled.",
    "payments.sync": "Settling an order writes rows of its buyer and of its seller.",
    "payments.connect": "Whose account Stripe speaks of is only known once it is found.",
    "payments.management.commands.fee": "An operator names any seller's fee.",
    "payments.fees": "An operator sets the fees of any seller.",
    "payments.orders": "What a sale's seller gets is no business of its buyer.",
    "payments.queues": "Operators watch how much waits for the worker, of all tenants.",
    "payments.refunds": "A refund is of a buyer and of a seller.",
    "payments.remittances": "The worker sends what all sellers are owed beside their sales.",
    "payments.statements": "Whole journals belong to no tenant; a seller reads its own postings.",
    "payments.transfers": "The worker sends the shares of all sellers.",
    "payments.invoices": "A credit note is made by the worker, for anybody.",
    "payments.tax_records": "A sale's tax is recorded by the worker, for anybody.",
    "payments.checkup": "Whether a market is well is a question about all tenants.",
    "payments.commands": "The worker makes the due calls to Stripe of everybody.",
    "payments.mismatches": "What does not agree with Stripe is of no tenant.",
    "payments.refusals": "What Stripe refused is of several tenants, and told to operators.",
    "payments.balance_checks": "Stripe's books are held against the journals of everybody.",
    "payments.stripe_pace": "All tenants share one account at Stripe, and its limits.",
    "payments.reconcile": "Stripe's books are held against the journals of everybody.",
    "payments.management.commands.reconcile": "It shows what is of no tenant.",
    "payments.payouts": "The worker writes the payouts of everybody.",
    "payments.royalty_payments": "A payment posts among accounts of its seller and of the market.",
    "payments.royalties": "The worker shares out the pools of everybody.",
    "payments.erasures": "A person stands in rows of several tenants, and in none's account.",
    "payments.demo": "Looks whether the demonstration's tenants are there.",
}


@cache
def _modules() -> list[tuple[str, ast.Module]]:
    return [
        (
            path.relative_to(ROOT)
            .with_suffix("")
            .as_posix()
            .replace("/", ".")
            .removesuffix(".__init__"),
            ast.parse(path.read_text()),
        )
        for app in APPS
        for path in sorted((ROOT / app).rglob("*.py"))
    ]


def _uses_system(module: ast.Module) -> bool:
    """Whether the module gets hold of `access.system`, by whatever name, to call or to hand on."""
    ways = {"marketplace.access"}
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and node.module == "marketplace.access":
            if {"system", "*"} & {alias.name for alias in node.names}:
                return True
        elif isinstance(node, ast.ImportFrom) and node.module == "marketplace":
            ways |= {alias.asname or alias.name for alias in node.names if alias.name == "access"}
        elif isinstance(node, ast.Import):
            ways |= {
                alias.asname
                for alias in node.names
                if alias.name == "marketplace.access" and alias.asname
            }
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "system"
        and ast.unparse(node.value) in ways
        for node in ast.walk(module)
    )


def test_only_the_modules_named_here_see_all_tenants() -> None:
    found = {name for name, module in _modules() if _uses_system(module)}
    assert found == set(ALL_TENANT_CALLERS)


def test_each_of_them_has_its_reason() -> None:
    assert all(reason.endswith(".") for reason in ALL_TENANT_CALLERS.values())


def test_no_view_and_no_serializer_is_among_them() -> None:
    """What runs for a tenant asks as that tenant."""
    layers = {name.rsplit(".", 1)[1] for name in ALL_TENANT_CALLERS}
    assert not {layer for layer in layers if "view" in layer or layer in {"serializers", "pages"}}


def test_every_block_says_a_reason_that_the_source_shows() -> None:
    for name, module in _modules():
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"system", "access.system"}:
                [reason] = node.args
                shown = isinstance(reason, ast.JoinedStr) or (
                    isinstance(reason, ast.Constant) and len(str(reason.value)) > 10
                )
                assert shown, f"{name}, line {node.lineno}"


def test_only_access_and_migrations_touch_the_settings_that_the_walls_read() -> None:
    found = {
        name
        for name, module in _modules()
        for node in ast.walk(module)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and ("licet.tenant" in node.value or "licet.system" in node.value)
    }
    assert {name for name in found if ".migrations." not in name} == {"marketplace.access"}


@pytest.mark.parametrize(
    "source",
    [
        "from marketplace.access import system",
        "from marketplace.access import system as everybody",
        "from marketplace.access import *",
        "from marketplace import access\naccess.system('a reason')",
        "from marketplace import access as a\nblock = a.system",
        "import marketplace.access\nmarketplace.access.system('a reason')",
        "import marketplace.access as a\na.system('a reason')",
    ],
)
def test_no_way_to_name_it_escapes_this_test(source: str) -> None:
    assert _uses_system(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    ["import os\nos.system('ls')", "from marketplace.access import acting", "system = 1\nsystem"],
)
def test_other_systems_are_not_meant(source: str) -> None:
    assert not _uses_system(ast.parse(source))
