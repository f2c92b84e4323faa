"""Erasing a natural person from everything that may hold them, and again after a restore."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Q
from django.utils.translation import gettext as _

from licensing import reports, signatories
from licensing.ledger import openings, stores
from licensing.models import LedgerParty
from marketplace import (
    access,
    accounts,
    contributors,
    erasures,
    idempotency,
    legal_holds,
    metadata,
)
from marketplace.erasures import ErasureUnreadable, Gone
from marketplace.errors import InvalidInput, NotFound
from marketplace.models import (
    Contributor,
    ContributorIdentity,
    Erasure,
    Membership,
    Organization,
    User,
)
from marketplace.typeid import TypeID
from payments.models import Order

# What stays, and by which row of `api_docs/retention.md`: column -> the basis in short. A test
# holds both to each other.
KEPT = {
    "payments_royaltyadvance.reference": "17(3)(b)",
    "payments_royaltyadvanceline.reference": "17(3)(b)",
    "payments_royaltypayment.reference": "17(3)(b)",
    "payments_royaltypayment.refusal": "17(3)(b)",
    "licensing_agreement.accepted_by_name": "17(3)(e)",
    "licensing_agreement.accepted_by_title": "17(3)(e)",
    "licensing_agreement.document": "17(3)(e)",
    "licensing_acknowledgement.person_name": "17(3)(e)",
    "licensing_acknowledgement.person_title": "17(3)(e)",
    "licensing_acknowledgement.statement": "17(3)(e)",
    "licensing_optout.reason": "17(3)(e)",
    "licensing_grantevent.reason": "17(3)(e)",
    "licensing_grantevent.reference": "17(3)(e)",
    "licensing_period.reference": "17(3)(e)",
    "licensing_accessrequest.message": "6(1)(b)",
    "licensing_accessrequest.reason": "6(1)(b)",
    "marketplace_attestation.person_name": "17(3)(e)",
    "marketplace_attestation.person_title": "17(3)(e)",
    "marketplace_attestation.statement": "17(3)(e)",
    "licensing_offer.rights_statement": "17(3)(e)",
    "licensing_offer.state_reason": "17(3)(e)",
    "marketplace_rightsoverride.person_name": "17(3)(e)",
    "marketplace_rightsoverride.person_title": "17(3)(e)",
    "marketplace_rightsoverride.statement": "17(3)(e)",
    "marketplace_embeddedrights.creator": "6(1)(c)",
    "marketplace_embeddedrights.copyright_notice": "6(1)(c)",
    "marketplace_contributor.external_id": "17(3)(b)",
    "marketplace_organization.name": "6(1)(b)",
    "marketplace_organization.legal_name": "6(1)(c)",
    "marketplace_organization.registered_address": "6(1)(c)",
    "marketplace_organization.representative_name": "6(1)(c)",
    "marketplace_organization.contact_email": "6(1)(c)",
    "marketplace_organization.registration_number": "6(1)(c)",
    "marketplace_organization.vat_id": "6(1)(c)",
    "marketplace_work.title": "6(1)(f)",
    "marketplace_work.external_id": "6(1)(f)",
    "marketplace_work.source_url": "6(1)(f)",
    "marketplace_collection.name": "6(1)(f)",
    "marketplace_collection.description": "6(1)(f)",
    "licensing_searchword.word": "6(1)(f)",
    "licensing_searchdocument.search": "6(1)(f)",
    "marketplace_workidentifier.value": "6(1)(f)",
    "licensing_terms.name": "6(1)(b)",
    "licensing_terms.typed": "6(1)(b)",
    "licensing_terms.text": "6(1)(b)",
    "marketplace_apikey.name": "6(1)(f)",
    "marketplace_webhookendpoint.url": "6(1)(f)",
    "marketplace_webhookendpoint.description": "6(1)(f)",
    "marketplace_webhookattempt.answer": "6(1)(f)",
    "marketplace_audit.data": "6(1)(f)",
    "marketplace_upload.name": "6(1)(f)",
    "marketplace_importjob.source": "6(1)(f)",
    "marketplace_importjob.failure": "6(1)(f)",
    "marketplace_importjob.resume_after": "6(1)(f)",
    "marketplace_importrejection.name": "6(1)(f)",
    "marketplace_importrejection.detail": "6(1)(f)",
    "payments_order.accepted_by_name": "6(1)(c)",
    "payments_order.accepted_by_title": "6(1)(c)",
    "payments_quote.document": "6(1)(c)",
    "payments_invoice.purchase_order": "6(1)(c)",
    "payments_stripeevent.body": "6(1)(c)",
    "payments_command.params": "6(1)(c)",
    "payments_refund.reason": "6(1)(c)",
    "payments_connectedaccount.clearance_note": "6(1)(c)",
    "licensing_report.target": "17(3)(e)",
    "licensing_report.explanation": "17(3)(e)",
    "licensing_report.location": "17(3)(e)",
    "licensing_moderationdecision.facts": "17(3)(e)",
    "licensing_moderationdecision.reference": "17(3)(e)",
    "licensing_moderationdecision.end_reason": "17(3)(e)",
    "licensing_appeal.reasons": "17(3)(e)",
    "licensing_appeal.answer": "17(3)(e)",
    "marketplace_trader.legal_name": "6(1)(c)",
    "marketplace_trader.address": "6(1)(c)",
    "marketplace_trader.registration_number": "6(1)(c)",
    "marketplace_trader.trade_register": "6(1)(c)",
    "marketplace_trader.email": "6(1)(c)",
    "marketplace_trader.phone": "6(1)(c)",
    "marketplace_trader.reason": "6(1)(c)",
    "marketplace_legalhold.reason": "17(3)(e)",
    "marketplace_legalhold.matter": "17(3)(e)",
    "marketplace_legalhold.lift_reason": "17(3)(e)",
    "payments_mismatch.note": "6(1)(c)",
}


@dataclass(frozen=True, slots=True)
class Person:
    """Whom to erase: exactly one of contributor, e-mail, or name at an organization."""

    contributor: str = ""
    email: str = ""
    name: str = ""
    organization: str = ""


@dataclass(slots=True)
class Report:
    """What an erasure did, or would do."""

    counts: dict[str, int]
    # Column -> in how many rows the person still stands.
    kept: dict[str, int]
    # Sole owners: the organizations that nobody owns any more.
    orphaned: list[str]
    # Null where nothing was left to erase, or nothing was to be done.
    erasure: Erasure | None = None


@dataclass(slots=True)
class Again:
    """What `replay` did."""

    known: int = 0
    returned: int = 0
    counts: dict[str, int] = field(default_factory=dict)


class ListMissing(Exception):
    """There is no list of erasures where it should be. Says what to do."""


class _LookedOnly(Exception):
    """Takes back what a look has tried."""


def look(person: Person) -> Report:
    """Say what `erase` would do. Changes nothing. Raises InvalidInput, NotFound."""
    report = None
    try:
        with access.system("look what erasing a person would do"):
            report = _erase(person, store=None)
            raise _LookedOnly
    except _LookedOnly:
        assert report is not None
        report.erasure = None
        return report


def erase(person: Person) -> Report:
    """Delete and blank what nothing obliges us to keep of a person, and put it on the list.

    The list outside the database has it before this commits: no restore can lose it. Repeating it
    erases what has come since, or nothing. What is held for an open matter stays whole. Raises
    InvalidInput, NotFound, LegallyHeld, StoreUnavailable, StoreConflict.
    """
    with access.system("erase a person"):
        return _erase(person, store=stores.open_store(settings.ERASURES))


def copy_due() -> int:
    """Copy what the list outside the database does not have yet: how many. The worker's job."""
    with access.system("copy the list of erasures"):
        rows = erasures.uncopied()
        if not rows:
            return 0
        store = stores.open_store(settings.ERASURES)
        for row in rows:
            store.write_once(erasures.path(row), erasures.dump(row))
            erasures.copied(row)
    return len(rows)


def parties_of(order: TypeID) -> list[Organization] | None:
    """Whose an order is: its seller's and its buyer's. None where there is none."""
    found = Order.objects.filter(pk=order).select_related("seller", "organization").first()
    return None if found is None else [found.seller, found.organization]


def replay(*, may_be_empty: bool = False) -> Again:
    """Erase again, in a restored database, everybody on the list outside it; and keep the list.

    Each in a transaction of its own: stopped in the middle, it goes on. Repeating it changes
    nothing. A list that lacks what this database knows of is not the list, nor is (unless told
    so) one with nobody on it. Raises ErasureUnreadable, ListMissing, StoreUnavailable,
    StoreConflict.
    """
    store = stores.open_store(settings.ERASURES)
    places = sorted(store.paths(erasures.PREFIX))
    with access.system("look which erasures a restored database knows of"):
        missing = sorted(erasures.copied_paths() - set(places))
    if missing:
        raise ErasureUnreadable(
            _("%(place)s lacks %(path)s, which this database knows of.")
            % {"place": store, "path": missing[0]}
        )
    copy_due()
    if not places and not may_be_empty:
        raise ListMissing(
            _(
                "%(place)s holds no erasure. Is it the right place, and its volume mounted? If"
                " nobody was ever erased, say so with --empty."
            )
            % {"place": store}
        )
    again = Again()
    total = Gone()
    for place in places:
        data = store.read(place)
        row = erasures.load(place, data or b"")
        with access.system("erase a person again, after a restore"):
            erasures.lock()
            gone = _again(row)
            again.known += 1
            again.returned += erasures.keep(row)
            total.counts += gone.counts
    again.counts = dict(sorted(total.counts.items()))
    return again


# --- one person -------------------------------------------------------------------------------


def _erase(person: Person, store: stores.Store | None) -> Report:
    erasures.lock()
    subject, organization, told, gone, orphaned = _forget(person)
    row = None
    if gone:
        row = erasures.record(gone, subject=subject, organization=organization)
        if store is not None:
            store.write_once(erasures.path(row), erasures.dump(row))
            erasures.copied(row)
    return Report(dict(sorted(gone.counts.items())), _kept(told, organization), orphaned, row)


def _forget(person: Person) -> tuple[str, UUID | None, list[str], Gone, list[str]]:
    """Erase; give the subject, its organization, what it was called, what went, what it owned."""
    if bool(person.contributor) + bool(person.email) + bool(person.name) != 1:
        raise InvalidInput(_("Name a contributor, an e-mail address, or a name."), param="person")
    if person.contributor:
        contributor = _contributor(person.contributor)
        legal_holds.check([contributor.pk, contributor.organization_id])
        told = _told(contributor)
        return str(contributor.pk), contributor.organization_id, told, _one(contributor), []
    if person.name:
        if not person.organization:
            raise InvalidInput(
                _("Others have that name too: say at which organization."), param="organization"
            )
        organization = _organization(person.organization)
        accepted = Order.objects.filter(
            organization=organization, accepted_by_name__iexact=person.name
        )
        _check_not_held(
            Q(name=person.name, organization=organization),
            [organization.pk, *_accounts_of(person.name, organization, accepted)],
            accepted,
            signatories.entries(name=person.name, organizations=[organization.pk]),
        )
        return "", organization.pk, [person.name], _named(person.name, organization), []
    gone = Gone()
    email = person.email.strip().lower()
    told = [email]
    subject, orphaned = "", []
    user = accounts.find(email=email)
    roles = [] if user is None else accounts.roles(user)
    _check_not_held(
        Q(email__iexact=email),
        [
            *([] if user is None else [user.pk]),
            *(role.organization_id for role in roles),
            *accounts.inviting(email),
            *reports.reported_by(email),
        ],
        Order.objects.filter(accepted_by_actor="" if user is None else str(user.pk)),
        [] if user is None else _entries(user),
    )
    if user is not None:
        subject, told = str(user.pk), [user.name, email]
        orphaned = _orphaned(user)
        _join(gone, _account(user))
    _join(gone, accounts.forget_invited(email))
    _contributors(gone, Q(email__iexact=email))
    _join(gone, reports.forget(email))
    if user is None and not gone:
        raise NotFound(_("There is no account, invitation, contributor or report of that address."))
    return subject, None, told, gone, orphaned


def _again(row: Erasure) -> Gone:
    """Do what an erasure did, to what a restored database has again of it."""
    gone = Gone()
    if row.subject.startswith("ctr_"):
        _contributors(gone, Q(contributor=TypeID.parse("ctr", row.subject)))
    elif row.subject.startswith("usr_"):
        user = accounts.find(id=row.subject)
        if user is not None:
            _join(gone, _account(user))
    for ref in row.refs.get("contributors", []):
        _contributors(gone, Q(contributor=TypeID.parse("ctr", ref)))
    gone.add("openings", openings.forget(row.refs.get("openings", [])))
    _join(gone, accounts.forget_invitations(row.refs.get("invitations", [])))
    _join(gone, reports.forget_again(row.refs.get("reports", [])))
    gone.add("answers", idempotency.blank_again(row.refs.get("answers", [])))
    gone.add("notes", metadata.forget_again(row.refs.get("notes", [])))
    return gone


def _check_not_held(those: Q, subjects: list[Any], orders: Any, entries: Sequence[int]) -> None:
    """Refuse to erase a person of whose records something is held. Raises LegallyHeld.

    By the person, its organizations, the contributors it is, the orders that it accepted, or a
    party of what the ledger has of it: also one that the person has left since.
    """
    parties = set(
        LedgerParty.objects.filter(entry__in=entries).values_list("organization_id", flat=True)
    )
    # Entries of version 1 number no party, and of what was not granted there is none.
    for pair in orders.values_list("organization", "seller"):
        parties |= {*pair}
    subjects = [*subjects, *(TypeID("org", party) for party in parties)]
    rows = ContributorIdentity.objects.filter(those)
    for contributor, organization in rows.values_list("contributor", "organization"):
        subjects = [*subjects, TypeID("ctr", contributor), TypeID("org", organization)]
    legal_holds.check([*subjects, *orders.values_list("pk", flat=True)])


def _one(contributor: Contributor) -> Gone:
    contributors.hold(contributor.organization_id)
    locked = Contributor.objects.select_for_update(of=("self",)).get(pk=contributor.pk)
    return contributors.forget(locked)


def _account(user: User) -> Gone:
    gone = Gone()
    _openings(gone, _entries(user))
    _join(gone, accounts.forget(user))
    return gone


def _entries(user: User) -> list[int]:
    """What the ledger has of an account."""
    if not user.name:
        return signatories.entries(actor=str(user.pk))
    at = [role.organization_id for role in accounts.roles(user)]
    return signatories.entries(actor=str(user.pk), name=user.name, organizations=at)


def _accounts_of(name: str, organization: Organization, accepted: Any) -> list[str]:
    """The accounts that may be somebody's who is known by a name alone."""
    members = Membership.objects.filter(organization=organization, user__name__iexact=name)
    actors = accepted.filter(accepted_by_actor__startswith="usr_")
    return [
        *(str(TypeID("usr", user)) for user in members.values_list("user", flat=True)),
        *actors.values_list("accepted_by_actor", flat=True),
    ]


def _named(name: str, organization: Organization) -> Gone:
    gone = Gone()
    _contributors(gone, Q(name=name, organization=organization))
    _openings(gone, signatories.entries(name=name, organizations=[organization.pk]))
    gone.add_refs("answers", idempotency.blank([name], organization.pk))
    gone.add_refs("notes", metadata.forget([name], organization.pk))
    return gone


def _contributors(gone: Gone, those: Q) -> None:
    rows = ContributorIdentity.objects.filter(those).select_related("contributor")
    for each in [identity.contributor for identity in rows.order_by("organization", "pk")]:
        _join(gone, _one(each))
        gone.add("contributors", 0, [str(each.pk)])


def _openings(gone: Gone, entries: Sequence[int]) -> None:
    refs = openings.opened(entries)
    gone.add("openings", openings.forget(refs), refs)


def _join(gone: Gone, more: Gone) -> None:
    gone.counts += more.counts
    for kind, refs in more.refs.items():
        gone.add(kind, 0, refs)


def _orphaned(user: User) -> list[str]:
    mine = [role for role in accounts.roles(user) if role.role == role.Role.OWNER]
    return [
        str(role.organization_id)
        for role in mine
        if not role.organization.memberships.filter(role=role.Role.OWNER)
        .exclude(pk=role.pk)
        .exists()
    ]


def _contributor(id: str) -> Contributor:
    try:
        return Contributor.objects.get(pk=TypeID.parse("ctr", id))
    except (ValueError, Contributor.DoesNotExist):
        raise NotFound(_("There is no contributor “%(id)s”.") % {"id": id}) from None


def _organization(id: str) -> Organization:
    try:
        return Organization.objects.get(pk=TypeID.parse("org", id))
    except (ValueError, Organization.DoesNotExist):
        raise NotFound(_("There is no organization “%(id)s”.") % {"id": id}) from None


def _told(contributor: Contributor) -> list[str]:
    identity = ContributorIdentity.objects.filter(contributor=contributor).first()
    return [] if identity is None else [text for text in (identity.name, identity.email) if text]


def _kept(told: Sequence[str], organization: UUID | None) -> dict[str, int]:
    """Where what somebody is called still stands, in what is kept. May be a namesake's."""
    texts = [text.lower() for text in told if text]
    if not texts:
        return {}
    counts = {}
    with connection.cursor() as cursor:
        for place in KEPT:
            table, column = place.split(".")
            cursor.execute(
                f'SELECT count(*) FROM "{table}" WHERE EXISTS (SELECT FROM unnest(%s::text[]) told'
                f' WHERE strpos(lower("{column}"::text), told) > 0)',
                [texts],
            )
            (count,) = cursor.fetchone() or (0,)
            if count:
                counts[place] = count
    return counts
