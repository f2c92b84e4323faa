"""Connected accounts (API version 2): sellers who may receive transfers once Stripe knows them."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from payments.simulator import (
    account_requirements,
    amounts,
    metadata,
    thin_events,
    timestamps,
    v2_lists,
)
from payments.simulator.errors import ApiError, Uncovered
from payments.simulator.state import Resource, World, new_id

KIND = "v2.core.account"
URL = "/v2/core/accounts"

# Parameters that the simulator acts on, by where they stand; any other valid one is a 501.
_ADDRESS = {"city", "country", "line1", "line2", "postal_code", "state", "town"}
COVERED: dict[str, set[str]] = {
    "": {
        "configuration",
        "contact_email",
        "contact_phone",
        "dashboard",
        "defaults",
        "display_name",
        "identity",
        "include",
        "metadata",
    },
    "configuration": {"recipient"},
    "configuration.recipient": {"applied", "capabilities"},
    "configuration.recipient.capabilities": {"stripe_balance"},
    "configuration.recipient.capabilities.stripe_balance": {"stripe_transfers"},
    "configuration.recipient.capabilities.stripe_balance.stripe_transfers": {"requested"},
    "defaults": {"currency", "locales", "profile", "responsibilities"},
    "identity": {"attestations", "business_details", "country", "entity_type", "individual"},
    "identity.attestations": {"terms_of_service"},
    "identity.business_details": {
        "address",
        "estimated_worker_count",
        "id_numbers",
        "phone",
        "registered_name",
        "registration_date",
        "structure",
    },
    "identity.individual": {
        "address",
        "date_of_birth",
        "email",
        "given_name",
        "id_numbers",
        "nationalities",
        "phone",
        "surname",
    },
}
# https://docs.stripe.com/api-includable-response-values: null unless asked for by name.
INCLUDABLE = ("defaults", "future_requirements", "identity", "requirements")
PLAIN = ("contact_email", "contact_phone", "dashboard", "display_name")
REJECTIONS = (
    "rejected_fraud",
    "rejected_incomplete_verification",
    "rejected_listed",
    "rejected_other",
    "rejected_platform_fraud",
    "rejected_platform_other",
    "rejected_platform_terms_of_service",
    "rejected_terms_of_service",
    "unsupported_business",
)


def create(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Make an account. What it can do is restricted until its requirements are met."""
    _check_coverage(params)
    id = new_id("acct", 16)
    account: Resource = {
        "id": id,
        "object": KIND,
        "applied_configurations": [],
        "closed": False,
        "configuration": {"customer": None, "merchant": None, "recipient": None},
        "created": timestamps.text(world.now()),
        **dict.fromkeys(PLAIN),
        "defaults": {
            "currency": None,
            "locales": None,
            "payout_methods": None,
            "profile": None,
            "responsibilities": {
                "fees_collector": None,
                "losses_collector": None,
                "requirements_collector": "stripe",
            },
        },
        "future_requirements": None,
        "identity": {
            "attestations": None,
            "business_details": None,
            "country": None,
            "entity_type": None,
            "individual": None,
        },
        "livemode": False,
        "metadata": {},
        "requirements": {"alternatives": [], "entries": [], "summary": None},
    }
    _take(world, account, params)
    world.add(account)
    _tell(world, account, "created")
    return _shown(account, params)


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return _shown(world.get(KIND, arguments["id"]), params)


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Accounts with all of the wanted configurations; closed ones only where asked for."""
    wanted = set(params.get("applied_configurations", []))
    is_closed = params.get("closed", False)

    def is_wanted(account: Resource) -> bool:
        return account["closed"] is is_closed and wanted <= set(account["applied_configurations"])

    page = v2_lists.page(world, KIND, URL, params, is_wanted)
    page["data"] = [_shown(each, {}) for each in page["data"]]
    return page


def update(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Change what is given, and nothing else."""
    _check_coverage(params)
    account = open_account(world, arguments["id"])
    with_changes = deepcopy(account)
    _take(world, with_changes, params)
    _keep(world, account, with_changes)
    return _shown(with_changes, params)


def close(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """End an account. It stays to be looked at, and can do nothing any more."""
    account = open_account(world, arguments["id"])
    named = params.get("applied_configurations")
    if named is not None and set(named) != set(account["applied_configurations"]):
        raise ApiError(
            "All configurations of the account must be named to close it.",
            param="applied_configurations",
        )
    account["closed"] = True
    world.put(account)
    _tell(world, account, "closed")
    return _shown(account, params)


def open_account(world: World, id: str, *, param: str = "id") -> Resource:
    """An account that was not closed. Raises for any other."""
    account = world.get(KIND, id, param=param)
    if account["closed"]:
        raise ApiError(f"The account {id} is closed.", param=param)
    return account


# --- what happens during onboarding ------------------------------------------------------------


def complete(world: World, id: str) -> Resource:
    """All that was asked is given, and Stripe is content."""

    def change(account: Resource) -> None:
        identity = account["identity"]
        identity["country"] = identity["country"] or world.country
        identity["entity_type"] = identity["entity_type"] or "company"
        if account_requirements.is_rejected(account):
            account_requirements.accept_again(account)
        account_requirements.put(account, [])

    return _change(world, id, change)


def leave_out(world: World, id: str, descriptions: list[str] | None = None) -> Resource:
    """All but some of what was asked is given. By default one thing that transfers need."""

    def change(account: Resource) -> None:
        kind = account["identity"]["entity_type"]
        default = account_requirements.LEFT_OUT.get(kind, account_requirements.LEFT_OUT[None])
        account_requirements.keep_only(account, descriptions or [default])

    return _change(world, id, change)


def refuse(world: World, id: str, code: str = "rejected_other") -> Resource:
    """Stripe or the platform rejects the account, for a reason of REJECTIONS."""
    if code not in REJECTIONS:
        raise ApiError(f"code is one of {', '.join(REJECTIONS)}.", param="code")
    return _change(world, id, lambda account: account_requirements.reject(account, code))


def restrict(
    world: World, id: str, *, description: str = "", is_verifying: bool = False
) -> Resource:
    """Stripe wants to know more of an account that it knew; or looks itself, meanwhile pending."""

    def change(account: Resource) -> None:
        wanted = account_requirements.entry(
            description or "identity.business_details.documents.proof_of_registration.files",
            reason="routine_verification",
            awaiting="stripe" if is_verifying else "user",
        )
        account_requirements.put(account, [*account_requirements.entries(account), wanted])

    return _change(world, id, change)


def _change(world: World, id: str, change: Callable[[Resource], None]) -> Resource:
    account = open_account(world, id)
    changed = deepcopy(account)
    change(changed)
    _keep(world, account, changed)
    return changed


# --- parts -------------------------------------------------------------------------------------


def _check_coverage(params: dict[str, Any], at: str = "") -> None:
    for name, value in params.items():
        if name not in COVERED[at]:
            where = f"{at}.{name}" if at else name
            raise Uncovered(f"{name} of an account", param=where)
        inside = f"{at}.{name}" if at else name
        if inside in COVERED and isinstance(value, dict):
            _check_coverage(value, inside)


def _take(world: World, account: Resource, params: dict[str, Any]) -> None:
    """Put what a caller gave into an account, and ask for what is missing."""
    account |= {name: params[name] for name in PLAIN if name in params}
    notes = {name: value or "" for name, value in params.get("metadata", {}).items()}
    account["metadata"] = metadata.merged(account["metadata"], notes)
    _take_defaults(account, params.get("defaults", {}))
    _take_identity(world, account, params.get("identity", {}))
    recipient = params.get("configuration", {}).get("recipient")
    if recipient is not None:
        _take_recipient(account, recipient)
    else:
        account_requirements.drop_given(account)


def _take_defaults(account: Resource, given: dict[str, Any]) -> None:
    defaults = account["defaults"]
    if "currency" in given:
        defaults["currency"] = amounts.check_currency(given["currency"], param="defaults.currency")
    if "locales" in given:
        defaults["locales"] = given["locales"]
    if "profile" in given:
        empty = dict.fromkeys(("business_url", "doing_business_as", "product_description"))
        defaults["profile"] = empty | (defaults["profile"] or {}) | given["profile"]
    responsibilities = defaults["responsibilities"] | given.get("responsibilities", {})
    # Ours: who collects requirements follows from who bears losses, and whose dashboard there is.
    is_ours = (
        account["dashboard"] == "none" and responsibilities["losses_collector"] == "application"
    )
    responsibilities["requirements_collector"] = "application" if is_ours else "stripe"
    defaults["responsibilities"] = responsibilities


def _take_identity(world: World, account: Resource, given: dict[str, Any]) -> None:
    identity = account["identity"]
    if "country" in given:
        country = given["country"].upper()
        if len(country) != 2 or not country.isalpha() or not country.isascii():
            raise ApiError(f"Invalid country: {given['country']}", param="identity.country")
        identity["country"] = country
    for name in ("entity_type", "attestations"):
        if name in given:
            identity[name] = given[name]
    if "business_details" in given:
        before = identity["business_details"] or {}
        identity["business_details"] = before | _without_numbers(given["business_details"])
    if "individual" in given:
        if identity["entity_type"] != "individual":
            raise ApiError(
                "identity.individual is for accounts with the entity_type individual.",
                param="identity.individual",
            )
        person = identity["individual"] or {
            "id": new_id("person"),
            "object": "v2.core.account_person",
            "account": account["id"],
            "created": timestamps.text(world.now()),
        }
        person["updated"] = timestamps.text(world.now())
        identity["individual"] = person | _without_numbers(given["individual"])


def _without_numbers(given: dict[str, Any]) -> dict[str, Any]:
    """Details as they are shown: of a number that names somebody only its kind."""
    if "id_numbers" not in given:
        return given
    kinds = [
        {name: value for name, value in each.items() if name != "value"}
        for each in given["id_numbers"]
    ]
    return given | {"id_numbers": kinds}


def _take_recipient(account: Resource, given: dict[str, Any]) -> None:
    recipient = account["configuration"]["recipient"]
    is_new = recipient is None
    recipient = recipient or {"applied": True, "capabilities": None}
    recipient["applied"] = given.get("applied", recipient["applied"])
    account["configuration"]["recipient"] = recipient
    account["applied_configurations"] = ["recipient"] if recipient["applied"] else []
    wanted = (
        given.get("capabilities", {})
        .get("stripe_balance", {})
        .get("stripe_transfers", {})
        .get("requested")
    )
    had = recipient["capabilities"] is not None
    if wanted is True and not had:
        # Payouts come with transfers: there is no parameter that asks for them.
        balance = {
            name: {"status": "restricted", "status_details": []}
            for name in ("payouts", "stripe_transfers")
        }
        recipient["capabilities"] = {
            "bank_accounts": None,
            "cards": None,
            "stripe_balance": balance,
        }
    elif wanted is False:
        recipient["capabilities"] = None
    if account_requirements.capabilities(account) and (is_new or not had):
        account_requirements.ask(account)
    elif not account_requirements.capabilities(account):
        account_requirements.put(account, [])
    else:
        account_requirements.drop_given(account)


def _shown(account: Resource, params: dict[str, Any]) -> Resource:
    """An account as it is answered: what depends on `include` is null without it."""
    include = set(params.get("include", []))
    shown = account | {name: None for name in INCLUDABLE if name not in include}
    if "future_requirements" in include:
        # Nothing is announced here.
        shown["future_requirements"] = {"alternatives": [], "entries": [], "summary": None}
    configurations = {
        name: value if f"configuration.{name}" in include else None
        for name, value in account["configuration"].items()
    }
    is_asked = any(name.startswith("configuration.") for name in include)
    shown["configuration"] = configurations if is_asked else None
    return shown


# --- events ------------------------------------------------------------------------------------


def _keep(world: World, before: Resource, after: Resource) -> None:
    """Keep a changed account, and tell of each part that changed."""
    if before == after:
        return
    world.put(after)
    if any(before[name] != after[name] for name in (*PLAIN, "metadata")):
        _tell(world, after, "updated")
    for part in ("identity", "defaults", "requirements"):
        if before[part] != after[part]:
            _tell(world, after, "updated", part)
    if _configured(before) != _configured(after):
        _tell(world, after, "updated", "configuration.recipient")
    old, new = (account_requirements.capabilities(each) for each in (before, after))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            _tell(
                world,
                after,
                "capability_status_updated",
                "configuration.recipient",
                data={"updated_capability": name},
            )


def _configured(account: Resource) -> Any:
    """What a caller can set of the recipient configuration."""
    recipient = account["configuration"]["recipient"]
    if recipient is None:
        return None
    return recipient["applied"], recipient["capabilities"] is not None


def _tell(
    world: World,
    account: Resource,
    what: str,
    part: str = "",
    *,
    data: dict[str, Any] | None = None,
) -> None:
    type = f"{KIND}[{part}].{what}" if part else f"{KIND}.{what}"
    thin_events.emit(world, type, account["id"], KIND, f"{URL}/{account['id']}", data=data)
