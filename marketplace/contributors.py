"""Contributors: who made works in somebody else's collection, their consent, their erasure."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit, idempotency
from marketplace.access import Caller, acting
from marketplace.errors import DuplicateExternalId, InvalidInput
from marketplace.models import Contributor, ContributorIdentity


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
    """Delete who a contributor is. The reference, the consent and the works stay."""
    with acting(caller):
        contributor = Contributor.objects.get_visible(caller, id, lock=True)
        erased, _tables = ContributorIdentity.objects.filter(contributor=contributor).delete()
        if erased:
            audit.record(caller, "contributor.erased", subject=contributor)
        idempotency.names(caller, contributor)
    return contributor


def _check_consent(consent: str) -> None:
    if consent not in Contributor.Consent.values:
        raise InvalidInput(
            _("Use one of: %(known)s.") % {"known": ", ".join(Contributor.Consent.values)},
            param="consent",
        )
