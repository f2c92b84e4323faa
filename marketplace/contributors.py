"""Contributors: who made works in somebody else's collection, their consent, their erasure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit, erasures, idempotency, legal_holds, metadata
from marketplace.access import Caller, acting
from marketplace.errors import DuplicateExternalId, InvalidInput
from marketplace.models import Contributor, ContributorIdentity
from marketplace.typeid import TypeID, uuid7

Consent = Contributor.Consent
# No import gives these back: somebody records the new consent on purpose.
NO_CONSENT = frozenset({Consent.REFUSED.value, Consent.WITHDRAWN.value})


@dataclass(frozen=True, slots=True)
class Person:
    """What a record says of its contributor; "" where it says nothing."""

    name: str = ""
    email: str = ""
    consent: str = ""


@dataclass(slots=True)
class Settled:
    """What became of the contributors that records name, by the records' positions."""

    ids: Mapping[str, UUID] = field(default_factory=dict)
    unknown: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)


def hold(organization: UUID) -> None:
    """Keep imports of an organization out until the transaction ends.

    Two batches that bring the same bytes would otherwise both find them new, and a batch would
    name a person who is being erased. Whoever locks more takes this first, as imports do.
    """
    assert connection.in_atomic_block, "A lock lasts as long as its transaction."
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('works of ' || %s, 0))",
            [str(organization)],
        )


def add(
    caller: Caller,
    *,
    external_id: str,
    consent: str = Contributor.Consent.UNKNOWN,
    name: str = "",
    email: str = "",
) -> Contributor:
    """Record a contributor; name and email go to a row of their own, which can be erased.

    Raises DuplicateExternalId, InvalidInput.
    """
    _check_consent(consent)
    if email and not name:
        raise InvalidInput(_("An email needs a name beside it."), param="name")
    with acting(caller):
        contributor = Contributor(
            organization=caller.organization,
            external_id=external_id,
            consent=consent,
            consent_changed_at=None if consent == Contributor.Consent.UNKNOWN else timezone.now(),
        )
        try:
            with transaction.atomic():
                contributor.save(force_insert=True)
        except IntegrityError:
            raise DuplicateExternalId(
                _("There is a contributor “%(id)s” already.") % {"id": external_id},
                param="external_id",
            ) from None
        if name:
            ContributorIdentity.objects.create(
                contributor=contributor, organization=caller.organization, name=name, email=email
            )
        audit.record(caller, "contributor.added", subject=contributor, consent=consent)
        idempotency.names(caller, contributor)
    return contributor


def set_consent(caller: Caller, id: str, *, consent: str) -> Contributor:
    """Change what a contributor consents to. Repeating it changes nothing."""
    _check_consent(consent)
    if consent == Contributor.Consent.UNKNOWN:
        raise InvalidInput(_("Once asked, a consent cannot be unknown again."), param="consent")
    with acting(caller):
        hold(caller.organization.pk)
        contributor = Contributor.objects.get_visible(caller, id, lock=True)
        if contributor.consent != consent:
            contributor.consent = consent
            contributor.consent_changed_at = timezone.now()
            contributor.save(update_fields=["consent", "consent_changed_at"])
            audit.record(
                caller, "contributor.consent_changed", subject=contributor, consent=consent
            )
        idempotency.names(caller, contributor)
    return contributor


def erase(caller: Caller, id: str) -> Contributor:
    """Delete who a contributor is. The reference, the consent and the works stay.

    It goes on the list of erasures: a restored backup is erased again (`after_restore`). Raises
    NotFound, LegallyHeld.
    """
    with acting(caller):
        # First, as every erasure takes it; no hold is placed meanwhile.
        erasures.lock()
        hold(caller.organization.pk)
        contributor = Contributor.objects.get_visible(caller, id, lock=True)
        if contributor.erased_at is None:
            legal_holds.check([contributor.pk, caller.organization.pk])
        gone = forget(contributor)
        if gone:
            erasures.record(gone, subject=str(contributor.pk), organization=caller.organization.pk)
            audit.record(caller, "contributor.erased", subject=contributor)
        idempotency.names(caller, contributor)
    return contributor


def forget(contributor: Contributor) -> erasures.Gone:
    """Delete what says who a contributor is, and say what that was; nothing, the second time.

    Whoever calls it has locked the contributor, and keeps imports out (`hold`).
    """
    gone = erasures.Gone()
    identity = ContributorIdentity.objects.filter(contributor=contributor).first()
    if identity is not None:
        told = [identity.name, identity.email]
        gone.add_refs("answers", idempotency.blank(told, contributor.organization_id))
        gone.add_refs("notes", metadata.forget(told, contributor.organization_id))
        identity.delete()
        gone.add("contributor_identities", 1)
    if contributor.erased_at is None:
        # Also where nobody was named: a later import must not name them again.
        contributor.erased_at = timezone.now()
        contributor.save(update_fields=["erased_at"])
        gone.add("contributors", 1)
    return gone


def settle(
    caller: Caller,
    rows: Sequence[tuple[int, str, Person | None]],
    *,
    is_trial: bool = False,
    refused: Iterable[str] = (),
) -> Settled:
    """Record the contributors of many records, one after another, in the caller's transaction.

    The caller holds the organization's imports (`hold`). Rows are (position, external id, what is
    said of them); None for a person names somebody who must be recorded already. Consent only ever
    turns for the worse here: a record that says "granted" of somebody who refused is itself
    refused. A row is refused by what stood before it and what it says itself. Erased people stay
    erased. With `is_trial` nothing is written, and `refused` names those whom earlier rows of the
    same trial would have recorded as refusing.
    """
    assert connection.in_atomic_block, "Contributors are recorded with their works."
    named = {name for _n, name, _person in rows}
    known = _known(caller, named)
    new = {name for _n, name, person in rows if person is not None and name not in known}
    if new and not is_trial:
        _insert(caller, sorted(new))
        known = _known(caller, named)
    settled = Settled(ids={name: one.id for name, one in known.items()})
    consents = {name: one.consent for name, one in known.items()}
    consents |= dict.fromkeys(refused, Consent.REFUSED.value)
    people: dict[str, Person] = {}
    for n, name, person in rows:
        if person is None:
            if name not in consents:
                settled.unknown.append(n)
                continue
        else:
            consents[name] = _merged(consents.get(name, Consent.UNKNOWN.value), person.consent)
            if person.name:
                people[name] = person
        if consents[name] in NO_CONSENT:
            settled.refused.append(n)
    if not is_trial:
        _set_consents(caller, known, consents, new)
        # Of a million rows, next to none say anything new of who they name.
        _name(
            caller,
            {known[name].id: who for name, who in people.items() if known[name].not_yet(who)},
        )
    return settled


class _Known(NamedTuple):
    id: UUID
    consent: str
    erased: bool
    name: str
    email: str

    def not_yet(self, said: Person) -> bool:
        """Whether somebody, who is not erased, is said to be another than is recorded."""
        return not self.erased and (self.name != said.name or said.email not in ("", self.email))


def _known(caller: Caller, names: Iterable[str]) -> dict[str, _Known]:
    """Contributors by their external ids. `hold` keeps them as they are."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT external_id, id, consent, erased_at IS NOT NULL, coalesce(name, ''),
                coalesce(email, '')
            FROM marketplace_contributor LEFT JOIN marketplace_contributoridentity
                ON contributor_id = id
            WHERE marketplace_contributor.organization_id = %s AND external_id = ANY(%s)
            """,
            [caller.organization.pk, list(names)],
        )
        return {row[0]: _Known(*row[1:]) for row in cursor.fetchall()}


def _insert(caller: Caller, names: Sequence[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO marketplace_contributor"
            " (id, organization_id, external_id, consent, created_at)"
            " SELECT id, %s, external_id, 'unknown', now()"
            " FROM unnest(%s::uuid[], %s::text[]) AS new (id, external_id)"
            " ON CONFLICT (organization_id, external_id) DO NOTHING",
            [caller.organization.pk, sorted(uuid7() for _name in names), list(names)],
        )


def _merged(now: str, said: str) -> str:
    if not said or said == Consent.UNKNOWN:
        return now
    if now in NO_CONSENT and said != Consent.WITHDRAWN:
        return now
    return said


def _set_consents(
    caller: Caller,
    known: Mapping[str, _Known],
    consents: Mapping[str, str],
    new: Iterable[str],
) -> None:
    changed = {name: consents[name] for name, one in known.items() if one.consent != consents[name]}
    if not changed:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE marketplace_contributor contributor"
            " SET consent = said.consent, consent_changed_at = now()"
            " FROM unnest(%s::uuid[], %s::text[]) AS said (id, consent)"
            " WHERE contributor.id = said.id",
            [[known[name].id for name in changed], list(changed.values())],
        )
    # Those of new contributors stand in the audit with their import.
    audit.record_all(
        caller,
        "contributor.consent_changed",
        {
            str(TypeID("ctr", known[name].id)): {"consent": consent}
            for name, consent in changed.items()
            if name not in new
        },
    )


def _name(caller: Caller, people: Mapping[UUID, Person]) -> None:
    """Record who contributors are; an email that is not said stays as it is."""
    if not people:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO marketplace_contributoridentity AS identity
                (contributor_id, organization_id, name, email)
            SELECT id, %s, name, email FROM unnest(%s::uuid[], %s::text[], %s::text[])
                AS said (id, name, email)
            ON CONFLICT (contributor_id) DO UPDATE SET name = excluded.name,
                email = coalesce(nullif(excluded.email, ''), identity.email)
            WHERE identity.name <> excluded.name
                OR excluded.email NOT IN ('', identity.email)
            """,
            [
                caller.organization.pk,
                list(people),
                [who.name for who in people.values()],
                [who.email for who in people.values()],
            ],
        )


def _check_consent(consent: str) -> None:
    if consent not in Contributor.Consent.values:
        raise InvalidInput(
            _("Use one of: %(known)s.") % {"known": ", ".join(Contributor.Consent.values)},
            param="consent",
        )
