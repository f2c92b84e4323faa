"""Signed links: what they ask for, until when, and that we gave them out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core import signing
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.errors import LinkExpired, LinkInvalid

# Signatures made for links are worth nothing anywhere else.
_SALT = "licensing.delivery"

# What a link is for, when it is not one work.
MANIFEST = "manifest"
SHARDS = "shards/"


@dataclass(frozen=True, slots=True)
class Link:
    """What a signed link asks for: a grant's manifest, one work of it, or its shards."""

    grant: str
    livemode: bool
    # A digest in hex, MANIFEST, or SHARDS and a manifest's id.
    subject: str
    expires: int

    @property
    def mode(self) -> str:
        return "live" if self.livemode else "test"

    @property
    def path(self) -> str:
        is_work = self.subject != MANIFEST and not self.subject.startswith(SHARDS)
        return f"/grants/{self.grant}/{'works/' if is_work else ''}{self.subject}"

    def url(self, below: str = "") -> str:
        """The address at the delivery process; whoever holds it needs no key.

        The signature holds for every address `below`: all shards of one manifest.
        """
        # A signature is URL-safe base64, so nothing here needs quoting.
        query = f"mode={self.mode}&expires={self.expires}&signature={self._signature()}"
        return f"{settings.DELIVERY_URL}{self.path}{below}?{query}"

    def check(self, signature: str) -> None:
        """Raise LinkInvalid unless we signed exactly this, LinkExpired when its time is over."""
        try:
            signing.Signer(salt=_SALT).unsign(f"{self._text()}:{signature}")
        except signing.BadSignature:
            raise LinkInvalid(_("This link was not signed here, or it was changed.")) from None
        if timezone.now().timestamp() >= self.expires:
            raise LinkExpired(_("Ask for new links, or fetch the grant's manifest again."))

    def _signature(self) -> str:
        return signing.Signer(salt=_SALT).signature(self._text())

    def _text(self) -> str:
        return f"{self.mode}/{self.grant}/{self.subject}/{self.expires}"


def expiry() -> datetime:
    """When a link that is made now expires."""
    return timezone.now().replace(microsecond=0) + timedelta(seconds=settings.DELIVERY_LINK_SECONDS)
