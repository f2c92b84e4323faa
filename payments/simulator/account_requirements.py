"""Requirements: what Stripe still wants to know of an account, and what it may not do until then.

Works on the bodies of accounts; nothing is kept here.
"""

from __future__ import annotations

from typing import Any

from payments.simulator.state import Resource

TRANSFERS, PAYOUTS = "stripe_balance.stripe_transfers", "stripe_balance.payouts"
BANK = "external_account"

# A selection of what https://docs.stripe.com/connect/required-verification-information lists; what
# Stripe asks for differs by country, kind of business and capability.
_OF_ALL = (
    "identity.country",
    "identity.entity_type",
    BANK,
    "identity.attestations.terms_of_service.account.date",
    "identity.attestations.terms_of_service.account.ip",
)
_OF_A_PERSON = (
    "identity.individual.given_name",
    "identity.individual.surname",
    "identity.individual.date_of_birth.day",
    "identity.individual.date_of_birth.month",
    "identity.individual.date_of_birth.year",
    "identity.individual.address.line1",
    "identity.individual.address.city",
    "identity.individual.address.postal_code",
)
_OF_A_BUSINESS = (
    "identity.business_details.registered_name",
    "identity.business_details.id_numbers",
    "identity.business_details.address.line1",
    "identity.business_details.address.city",
    "identity.business_details.address.postal_code",
)
# What stays when somebody leaves something out, unless said otherwise.
LEFT_OUT = {
    "individual": "identity.individual.date_of_birth.day",
    None: "identity.business_details.id_numbers",
}


def ask(account: Resource) -> None:
    """Ask for all that is not given yet: what has been said is not asked again."""
    is_person = (account["identity"] or {}).get("entity_type") == "individual"
    wanted = _OF_ALL + (_OF_A_PERSON if is_person else _OF_A_BUSINESS)
    put(account, [entry(each) for each in wanted if not _is_given(account, each)])


def drop_given(account: Resource) -> None:
    """Take off what has been given meanwhile."""
    put(account, [each for each in entries(account) if not _is_given(account, each["description"])])


def keep_only(account: Resource, descriptions: list[str]) -> None:
    put(account, [entry(each) for each in descriptions])


def entries(account: Resource) -> list[Resource]:
    found: list[Resource] = account["requirements"]["entries"]
    return found


def put(account: Resource, found: list[Resource]) -> None:
    """Set what is asked, and the capabilities that follow from it."""
    summary = None
    if found:
        statuses = {each["minimum_deadline"]["status"] for each in found}
        strictest = "past_due" if "past_due" in statuses else "currently_due"
        summary = {"minimum_deadline": {"status": strictest, "time": None}}
    account["requirements"] = {"alternatives": [], "entries": found, "summary": summary}
    for name, capability in capabilities(account).items():
        if capability["status"] != "rejected":
            capability |= _follows(name, found)


def reject(account: Resource, code: str) -> None:
    """Stripe, or the platform, wants nothing to do with the account: nothing more is asked."""
    account["requirements"] = {"alternatives": [], "entries": [], "summary": None}
    for capability in capabilities(account).values():
        capability |= _status("rejected", code, "contact_stripe")


def accept_again(account: Resource) -> None:
    """Take a rejection back."""
    for capability in capabilities(account).values():
        capability |= {"status": "active", "status_details": []}


def is_rejected(account: Resource) -> bool:
    return any(each["status"] == "rejected" for each in capabilities(account).values())


def capabilities(account: Resource) -> dict[str, Resource]:
    """The requested ones by their names, such as "stripe_balance.stripe_transfers"."""
    recipient = (account["configuration"] or {}).get("recipient")
    balance: Resource | None = ((recipient or {}).get("capabilities") or {}).get("stripe_balance")
    if recipient is None or balance is None or not recipient["applied"]:
        return {}
    return {f"stripe_balance.{name}": each for name, each in balance.items() if each is not None}


def can_receive_transfers(account: Resource) -> bool:
    return capabilities(account).get(TRANSFERS, {}).get("status") == "active"


def entry(
    description: str, *, reason: str = "routine_onboarding", awaiting: str = "user"
) -> Resource:
    """One thing that is asked for. Without a bank account only payouts stop."""
    status = "past_due" if awaiting == "user" else "currently_due"
    names = (PAYOUTS,) if description == BANK else (TRANSFERS, PAYOUTS)
    return {
        "awaiting_action_from": awaiting,
        "description": description,
        "errors": [],
        "impact": {
            "restricts_capabilities": [
                {"capability": name, "configuration": "recipient", "deadline": {"status": status}}
                for name in names
            ]
        },
        "minimum_deadline": {"status": status},
        "reference": None,
        "requested_reasons": [{"code": reason}],
    }


def _follows(name: str, found: list[Resource]) -> Resource:
    """The status of a capability, from what is asked for its sake."""
    awaited = {
        each["awaiting_action_from"]
        for each in found
        if any(hit["capability"] == name for hit in each["impact"]["restricts_capabilities"])
    }
    if "user" in awaited:
        return _status("restricted", "requirements_past_due", "provide_info")
    if "stripe" in awaited:
        return _status("pending", "requirements_pending_verification", "no_resolution")
    return {"status": "active", "status_details": []}


def _status(status: str, code: str, resolution: str) -> Resource:
    return {"status": status, "status_details": [{"code": code, "resolution": resolution}]}


def _is_given(account: Resource, description: str) -> bool:
    value: Any = account
    for name in description.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return bool(value)
