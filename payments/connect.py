"""Connected accounts: whether a seller or a contributor can be paid, as Stripe and we say.

Accounts of API version 2 with the recipient configuration: https://docs.stripe.com/connect/accounts-v2.
Stripe asks who they are, and for their bank, on its own pages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from marketplace import audit, organizations
from marketplace.access import Caller, acting, system
from marketplace.errors import (
    ContributorErased,
    InvalidInput,
    MissingScope,
    NotFound,
    PaymentProviderRefused,
    PaymentProviderUnavailable,
    RegionNotSupported,
    SellerCannotBePaid,
)
from marketplace.models import Contributor, Organization, User
from payments import commands, regions, stripe_gateway
from payments.commands import Call
from payments.models import Command, ConnectedAccount
from payments.stripe_facts import AccountFacts, RequirementFacts

logger = logging.getLogger(__name__)
State = ConnectedAccount.State
Clearance = ConnectedAccount.Clearance

# What a capability's status says of an account whose details are complete.
_STATES = {
    "active": State.ACTIVE,
    "pending": State.PENDING,
    "restricted": State.RESTRICTED,
    "rejected": State.RESTRICTED,
    "unsupported": State.RESTRICTED,
}
# An account that is not settled is looked at again so often, should its events be lost.
LOOK_EVERY = timedelta(hours=1)
# What stands among an account's requirements, awaited from Stripe, where Stripe rejected it:
# nothing that anybody tells it on its pages changes that.
REJECTED = "account_rejected"
CLAIMED_FOR = timedelta(seconds=60)
RETURN_SALT = "payments.connect.return"


def open(caller: Caller, *, country: str = "") -> ConnectedAccount:
    """Open the caller's account to be paid with, or go on with it. Repeatable.

    In its own country, unless it is established elsewhere. In live mode the caller's legal identity
    is complete before. Raises LegalIdentityIncomplete, InvalidInput, RegionNotSupported,
    PaymentModeUnavailable, PaymentProviderUnavailable, PaymentProviderRefused.
    """
    stripe_gateway.check_mode(caller.livemode)
    if caller.livemode:
        organizations.check_identity(caller.organization)
    where = (country or caller.organization.jurisdiction[:2]).upper()
    if len(where) != 2 or not where.isascii() or not where.isalpha():
        raise InvalidInput(_("Give the country as two letters (ISO 3166-1)."), param="country")
    _check_region(where)
    return _open(caller, where)


def open_for(caller: Caller, contributor: str, *, country: str) -> ConnectedAccount:
    """Open an account that one of the caller's contributors is paid with, or go on with it.

    Repeatable. Stripe asks the person who they are; it hears nothing of it from us. Raises
    NotFound, ContributorErased, and what `open` raises.
    """
    stripe_gateway.check_mode(caller.livemode)
    if caller.livemode:
        organizations.check_identity(caller.organization)
    with acting(caller, writing=False):
        found = Contributor.objects.get_visible(caller, contributor)
    _check_region(country)
    return _open(caller, country, found)


def _open(caller: Caller, where: str, contributor: Contributor | None = None) -> ConnectedAccount:
    with acting(caller):
        if contributor is not None:
            contributor = Contributor.objects.get_visible(caller, contributor.pk, lock=True)
            _check_known(contributor)
        account, is_new = ConnectedAccount.objects.select_for_update().get_or_create(
            organization=caller.organization,
            livemode=caller.livemode,
            contributor=contributor,
            defaults={"country": where},
        )
        if is_new:
            audit.record(caller, "connected_account.opened", subject=account)
        if account.stripe_id is not None:
            return account
        command = commands.give(
            Command.Kind.CREATE_ACCOUNT,
            _params(account),
            account=account,
            reference=str(account.pk),
            caller_waits=True,
        )
    command = commands.carry_out(command.pk, caller=caller)
    if command.state == Command.State.REFUSED:
        raise PaymentProviderRefused(command.refusal)
    return own(caller) if contributor is None else of_contributor(caller, str(contributor.pk))


def of_contributor(caller: Caller, contributor: str) -> ConnectedAccount:
    """The account of one of the caller's contributors. Raises NotFound, also where none is open."""
    with acting(caller, writing=False):
        found = Contributor.objects.get_visible(caller, contributor)
        account = ConnectedAccount.objects.visible_to(caller).filter(contributor=found).first()
    if account is None:
        raise NotFound(_("No account to be paid with was opened for this contributor yet."))
    return account


def own(caller: Caller) -> ConnectedAccount:
    """The caller's account, as Stripe said last. Raises NotFound where none was opened."""
    with acting(caller, writing=False):
        account = ConnectedAccount.objects.visible_to(caller).filter(contributor=None).first()
    if account is None:
        raise NotFound(_("No account to be paid with was opened yet."))
    return account


def onboarding_url(account: ConnectedAccount) -> str:
    """An address of Stripe's where the account's details are given. It works once, for minutes.

    Raises ContributorErased, PaymentProviderUnavailable, PaymentProviderRefused.
    """
    if account.stripe_id is None:
        raise NotFound(_("The account is being opened at Stripe. Try again in a minute."))
    if account.contributor_id is not None:
        with system("look whether a contributor was erased"):
            _check_known(Contributor.objects.get(pk=account.contributor_id))
    token = signing.Signer(salt=RETURN_SALT).sign(str(account.pk))
    back = f"{settings.BASE_URL}/payout-account"
    return stripe_gateway.account_link(
        account.stripe_id,
        refresh_url=f"{back}/again/{token}",
        return_url=f"{back}/return/{token}",
    )


def lasting_url(account: ConnectedAccount) -> str:
    """An address of ours that leads on to Stripe's pages as long as something is missing there.

    For somebody who has no login here. It stands for one: whoever holds it may tell Stripe who
    they are.
    """
    token = signing.Signer(salt=RETURN_SALT).sign(str(account.pk))
    return f"{settings.BASE_URL}/payout-account/again/{token}"


def returned(token: str) -> ConnectedAccount:
    """The account of somebody who comes back from Stripe's pages, brought up to date.

    Raises NotFound for a forged address.
    """
    try:
        account_id = ConnectedAccount._meta.pk.to_python(
            signing.Signer(salt=RETURN_SALT).unsign(token)
        )
    except signing.BadSignature:
        raise NotFound(_("There is nothing at this address.")) from None
    return sync_account(account_id)


def sync_account(account_id: UUID) -> ConnectedAccount:
    """Bring an account up to what Stripe says now. The only way its state changes. Repeatable.

    Raises PaymentProviderUnavailable, PaymentProviderRefused.
    """
    with system("claim a connected account to look at it"):
        account = ConnectedAccount.objects.select_for_update().get(pk=account_id)
        if account.stripe_id is None:
            return account
        account.next_sync_at = timezone.now() + CLAIMED_FOR
        account.save(update_fields=["next_sync_at"])
    # Outside any transaction: a slow Stripe must not hold a row lock.
    asked_at = timezone.now()
    facts = stripe_gateway.retrieve_account(account.stripe_id)
    is_allowed = _screened(account) if facts.status == "active" else None
    with system("keep how a connected account stands"):
        account = ConnectedAccount.objects.select_for_update().get(pk=account_id)
        if account.synced_at is None or account.synced_at <= asked_at:
            _merge(account, facts)
            account.synced_at = asked_at
        if is_allowed is not None and account.clearance == Clearance.NONE:
            clearance = Clearance.CLEARED if is_allowed else Clearance.REFUSED
            _set(account, clearance, by="screening", note=settings.SCREENING)
        account.next_sync_at = _next_look(account)
        account.save(update_fields=["state", "requirements", "synced_at", "next_sync_at"])
    return account


def complete_due(limit: int = 20) -> int:
    """Look again at accounts that are not settled: heals what events did not bring."""
    with system("find connected accounts that are due for another look"):
        due = list(
            ConnectedAccount.objects.filter(next_sync_at__lte=timezone.now())
            .order_by("next_sync_at")
            .values_list("pk", flat=True)[:limit]
        )
    for account_id in due:
        try:
            sync_account(account_id)
        except PaymentProviderUnavailable:
            break
        except Exception:
            logger.exception("could not look at account %s", account_id)
    return len(due)


def find(id: str) -> ConnectedAccount:
    """An account by its id, for an operator's command. Raises NotFound."""
    with system("an operator names any party's account"):
        try:
            return ConnectedAccount.objects.get(pk=id)
        except (ConnectedAccount.DoesNotExist, ValidationError):
            raise NotFound(_("There is no connected account “%(id)s”.") % {"id": id}) from None


def clear(operator: User, account_id: str, *, note: str) -> ConnectedAccount:
    """Allow a party to be paid in live mode, after who it is was looked at."""
    return _decide(operator, account_id, Clearance.CLEARED, note)


def refuse(operator: User, account_id: str, *, note: str) -> ConnectedAccount:
    """Forbid that a party is paid, in either mode; what is owed to it stays owed."""
    return _decide(operator, account_id, Clearance.REFUSED, note)


def check_payable(seller: Organization, *, livemode: bool) -> None:
    """Refuse a sale of a seller to whom its share could not be sent. Before anybody pays.

    In test mode a seller may sell before it has an account: its share waits. Raises
    SellerCannotBePaid, RegionNotSupported.
    """
    with connection.cursor() as cursor:
        # Also for a buyer, who sees nothing of the account itself.
        cursor.execute("SELECT * FROM payments_standing(%s, %s)", [seller.pk, livemode])
        standing = cursor.fetchone()
    _check_region(seller.jurisdiction[:2] if standing is None else standing[0])
    if standing is None:
        if livemode:
            raise SellerCannotBePaid(_("The seller has no account to be paid with yet."))
        return
    _country, state, clearance = standing
    if clearance == Clearance.REFUSED:
        raise SellerCannotBePaid(_("This market does not pay the seller."))
    if state in {State.RESTRICTED, State.CLOSED}:
        raise SellerCannotBePaid(_("Stripe does not pay the seller at present."))
    if livemode and (state != State.ACTIVE or clearance != Clearance.CLEARED):
        raise SellerCannotBePaid(_("The seller's account to be paid with is not ready yet."))


# What Stripe asks for, in plain words, by how its own word for it begins.
_WORDS: list[tuple[str, Callable[[], str]]] = [
    (REJECTED, lambda: _("Stripe rejected this account")),
    ("external_account", lambda: _("A bank account")),
    ("configuration.recipient.default_outbound_destination", lambda: _("A bank account")),
    ("configuration.recipient.payout_methods", lambda: _("A bank account")),
    ("identity.attestations.terms_of_service", lambda: _("Agreement to Stripe's terms")),
    ("identity.attestations.representative", lambda: _("That somebody may act for the company")),
    ("identity.attestations", lambda: _("A statement about owners or directors")),
    ("identity.business_details.address", lambda: _("The business address")),
    ("identity.business_details.registered_name", lambda: _("The registered name")),
    ("identity.business_details.id_numbers", lambda: _("The company's registration or tax number")),
    ("identity.business_details.documents", lambda: _("A document about the company")),
    ("identity.business_details.phone", lambda: _("The business phone number")),
    ("identity.country", lambda: _("The country")),
    ("identity.business_details", lambda: _("Details of the business")),
    ("identity.entity_type", lambda: _("Whether it is a company or a person")),
    ("identity.individual.given_name", lambda: _("The first name")),
    ("identity.individual.surname", lambda: _("The last name")),
    ("identity.individual.documents", lambda: _("A document that shows who you are")),
    ("identity.individual.date_of_birth", lambda: _("The date of birth")),
    ("identity.individual.address", lambda: _("The home address")),
    ("identity.individual.id_numbers", lambda: _("A personal tax or identity number")),
    ("identity.individual", lambda: _("Details of the person")),
    ("identity.persons", lambda: _("Details of the people behind the company")),
    ("contact_email", lambda: _("An e-mail address")),
    ("defaults.profile", lambda: _("What the business does, and its website")),
]


def in_words(what: str) -> str:
    """Something that Stripe still wants, as a person would say it."""
    return next(
        (words() for prefix, words in _WORDS if what.startswith(prefix)),
        what.replace("_", " ").replace(".", ": "),
    )


def missing(account: ConnectedAccount) -> list[str]:
    """What somebody still has to tell Stripe, in words, each thing once."""
    awaited = [each["what"] for each in account.requirements if each["from"] == "them"]
    return list(dict.fromkeys(in_words(what) for what in awaited))


def is_rejected(account: ConnectedAccount) -> bool:
    """Whether Stripe wants nothing to do with the account, rather than to know more of it."""
    return any(each["what"] == REJECTED for each in account.requirements)


def _decide(operator: User, account_id: str, clearance: str, note: str) -> ConnectedAccount:
    if not operator.is_operator or not operator.is_active:
        raise MissingScope(_("Only an operator of this market decides who is paid."))
    if not note.strip():
        raise InvalidInput(_("Say why."), param="note")
    with system("an operator decides whether a party is paid"):
        account = ConnectedAccount.objects.select_for_update().get(pk=find(account_id).pk)
        if account.clearance == clearance:
            return account
        _set(account, clearance, by=str(operator.pk), note=note.strip())
        audit.record(
            Caller(
                account.organization,
                livemode=account.livemode,
                scopes=frozenset(),
                user=operator,
            ),
            "connected_account.cleared"
            if clearance == Clearance.CLEARED
            else "connected_account.refused",
            subject=account,
            note=account.clearance_note,
        )
    return account


def _set(account: ConnectedAccount, clearance: str, *, by: str, note: str) -> None:
    account.clearance, account.cleared_by = clearance, by
    account.clearance_note = note[:1000]
    account.save(update_fields=["clearance", "cleared_by", "clearance_note"])


def _check_known(contributor: Contributor) -> None:
    if contributor.erased_at is not None:
        raise ContributorErased(_("Nobody knows any more who this contributor is."))


def _check_region(country: str) -> None:
    if not regions.are_one(settings.PLATFORM_COUNTRY, country):
        raise RegionNotSupported(
            _("Stripe makes no transfers from %(market)s, where this market is, to %(seller)s.")
            % {"market": settings.PLATFORM_COUNTRY, "seller": country},
            seller_country=country,
            market_country=settings.PLATFORM_COUNTRY,
        )


def _params(account: ConnectedAccount) -> dict[str, Any]:
    """The exact request for an account that is paid by transfers, and sells nothing itself."""
    owner = account.organization
    params: dict[str, Any] = {
        "display_name": owner.legal_name,
        "dashboard": "express",
        "identity": {"country": account.country.lower()},
        "configuration": {
            "recipient": {
                "capabilities": {"stripe_balance": {"stripe_transfers": {"requested": True}}}
            }
        },
        # The market is the merchant: a negative balance is its own.
        "defaults": {
            "responsibilities": {
                "fees_collector": "application",
                "losses_collector": "application",
            }
        },
        "include": [*stripe_gateway.ACCOUNT_INCLUDES],
        "metadata": {"licet": str(account.pk), "organization": str(owner.pk)},
    }
    if account.contributor_id is not None:
        # By our reference alone: calls are kept, and Stripe asks the person for the rest.
        params["display_name"] = params["metadata"]["contributor"] = str(account.contributor_id)
    elif owner.contact_email:
        params["contact_email"] = owner.contact_email
    return params


def _merge(account: ConnectedAccount, facts: AccountFacts) -> None:
    account.requirements = [_requirement(each) for each in facts.requirements]
    if facts.status == "rejected":
        rejected = RequirementFacts(REJECTED, "stripe", "past_due", ())
        account.requirements.append(_requirement(rejected))
    is_missing = any(
        each.awaited_from == "user" and each.deadline != "eventually_due"
        for each in facts.requirements
    )
    if facts.is_closed:
        account.state = State.CLOSED
    elif facts.status == "active":
        account.state = State.ACTIVE
    elif is_missing and facts.status in {"pending", "restricted"}:
        # Restricted from the start until the details are there; after that, it is a restriction.
        was_active = account.state in {State.ACTIVE, State.RESTRICTED}
        account.state = State.RESTRICTED if was_active else State.ONBOARDING
    else:
        account.state = _STATES.get(facts.status, State.RESTRICTED)


def _screened(account: ConnectedAccount) -> bool | None:
    """What the operator's own screening, where one is named, says of who nobody looked at yet.

    Outside any transaction: it may ask another service. None: people have to look.
    """
    if not account.livemode or account.clearance != Clearance.NONE or not settings.SCREENING:
        return None
    screen: Callable[[Organization | Contributor], bool | None] = import_string(settings.SCREENING)
    with system("screen who shall be paid"):
        if account.contributor_id is not None:
            party: Organization | Contributor = Contributor.objects.select_related("identity").get(
                pk=account.contributor_id
            )
        else:
            party = Organization.objects.get(pk=account.organization_id)
    return screen(party)


def _requirement(facts: RequirementFacts) -> dict[str, Any]:
    return {
        "what": facts.what,
        "from": "them" if facts.awaited_from == "user" else "stripe",
        "deadline": facts.deadline,
        "errors": list(facts.errors),
    }


def _next_look(account: ConnectedAccount) -> Any:
    if account.state in {State.ACTIVE, State.CLOSED} and not account.requirements:
        return None
    return timezone.now() + LOOK_EVERY


def _create(command: Command) -> AccountFacts:
    return stripe_gateway.create_account(command.params, key=str(command.pk))


def _keep(command: Command, result: AccountFacts) -> str:
    account = ConnectedAccount.objects.select_for_update().get(pk=command.reference)
    account.stripe_id = result.account
    _merge(account, result)
    account.next_sync_at = timezone.now() + LOOK_EVERY
    account.save(update_fields=["stripe_id", "state", "requirements", "next_sync_at"])
    return result.account


def _refuse(command: Command, why: str, code: str) -> None:
    """Nothing was opened: the same call, with other details, is another command."""
    ConnectedAccount.objects.filter(pk=command.reference, stripe_id=None).delete()


CREATE = Call(send=_create, keep=_keep, refuse=_refuse)
