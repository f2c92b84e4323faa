"""Contributors' links: an address, good once, that takes all of a contributor's works out."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import optouts
from licensing.models import ContributorLink, OptOut
from marketplace import access, audit, contributors, idempotency, organizations, preferences
from marketplace.access import Caller, acting
from marketplace.errors import LinkUsed, NotFound
from marketplace.models import Contributor, Work

_TOKEN_BYTES = 32
# What is no token of ours is refused before the database is asked.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Opened:
    """What the page of a link says: whose works, and how many of them are still to go."""

    link: ContributorLink
    works: int


def make(caller: Caller, contributor: str) -> tuple[ContributorLink, str]:
    """Make a link for one of the caller's contributors. Returns it with its address, once.

    Raises NotFound.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    with acting(caller):
        now = timezone.now()
        link = ContributorLink(
            organization=caller.organization,
            contributor=Contributor.objects.get_visible(caller, contributor),
            token_sha256=_hash(token),
            created_by=caller.actor,
            created_at=now,
            expires_at=now + timedelta(days=settings.OPT_OUT_LINK_DAYS),
        )
        link.save(force_insert=True)
        audit.record(caller, "opt_out_link.made", subject=link)
        idempotency.names(caller, link)
    return link, f"{settings.BASE_URL}/opt-out/{token}"


def revoke(caller: Caller, id: str) -> ContributorLink:
    """End a link that was not used yet. Repeating it changes nothing. Raises NotFound."""
    with acting(caller):
        link = ContributorLink.objects.get_visible(caller, id, lock=True)
        if link.revoked_at is None and link.used_at is None:
            link.revoked_at = timezone.now()
            link.save(update_fields=["revoked_at"])
            audit.record(caller, "opt_out_link.revoked", subject=link)
        idempotency.names(caller, link)
    return link


def of_contributor(caller: Caller, contributor: str) -> QuerySet[ContributorLink]:
    """The links of one of the caller's contributors. Raises NotFound."""
    row = Contributor.objects.get_visible(caller, contributor)
    return ContributorLink.objects.visible_to(caller).filter(contributor=row)


def open(token: str) -> Opened:
    """Look at a link, and change nothing. Raises NotFound for a forged one, LinkUsed."""
    caller, id = _caller(token)
    with acting(caller, writing=False):
        link = ContributorLink.objects.select_related("organization").get(pk=id)
        _check(link)
        count = Work.objects.visible_to(caller).filter(contributor=link.contributor_id).count()
    return Opened(link, count)


def use(token: str) -> Opened:
    """Withdraw the contributor's consent and take all their works out. Once.

    All of it commits together. Raises NotFound, LinkUsed.
    """
    caller, id = _caller(token)
    with acting(caller):
        optouts.hold(caller.organization.pk)
        # Locked, so that two who press the button at once find one use.
        link = ContributorLink.objects.select_related("organization").get_visible(
            caller, id, lock=True
        )
        _check(link)
        contributors.set_consent(
            caller, str(link.contributor_id), consent=Contributor.Consent.WITHDRAWN
        )
        link.opt_out = _opt_out(caller, link)
        link.used_at = timezone.now()
        link.save(update_fields=["used_at", "opt_out"])
        audit.record(caller, "opt_out_link.used", subject=link)
        count = Work.objects.visible_to(caller).filter(contributor=link.contributor_id).count()
    return Opened(link, count)


def _opt_out(caller: Caller, link: ContributorLink) -> OptOut | None:
    if not Work.objects.visible_to(caller).filter(contributor=link.contributor_id).exists():
        # Nothing of theirs is here yet; what is imported later is refused for want of consent.
        return None
    return optouts.record(
        caller,
        contributor=str(link.contributor_id),
        by=OptOut.By.CONTRIBUTOR,
        reason="The contributor withdrew the consent by a link.",
    )


def _caller(token: str) -> tuple[Caller, str]:
    """The organization that a token speaks for, in live mode: no key of test mode is involved."""
    missing = NotFound(_("There is nothing at this address. Check that it is whole."))
    if not _TOKEN.fullmatch(token):
        raise missing
    with access.system("find the organization of an opt-out link"):
        link = (
            ContributorLink.objects.select_related("organization")
            .filter(token_sha256=_hash(token))
            .first()
        )
    if link is None:
        raise missing
    return organizations.operator(link.organization, livemode=True), str(link.pk)


def _check(link: ContributorLink) -> None:
    if link.used_at is not None:
        raise LinkUsed(
            _("This link was used on %(when)s. The works are out; you need do nothing more.")
            % {"when": preferences.moment(link.used_at)},
            used_at=link.used_at.isoformat(),
        )
    if link.revoked_at is not None:
        raise LinkUsed(_("This link was taken back. Ask whoever sent it for a new one."))
    if link.expires_at <= timezone.now():
        raise LinkUsed(
            _("This link ended on %(when)s. Ask whoever sent it for a new one.")
            % {"when": preferences.moment(link.expires_at)}
        )


def _hash(token: str) -> bytes:
    """Plain SHA-256: the token has 256 random bits, so there is nothing to guess."""
    return hashlib.sha256(token.encode()).digest()
