"""What operators watch of the ledger: metrics, and whether its keys can be read."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.db.models import Min
from django.utils import timezone

from licensing.ledger import signer, succession, tiles
from licensing.ledger.log import LOGS
from licensing.models import LedgerPending
from marketplace import access
from marketplace.metrics import Reading
from marketplace.probes import Check, NotWell


def readings() -> Iterator[Reading]:
    """How many entries wait for their places and signatures, and how old what stands is."""
    now = timezone.now()
    with access.system("look how long entries wait"):
        waiting = LedgerPending.objects.filter(not_before=None)
        oldest = waiting.aggregate(oldest=Min("entry__created_at"))["oldest"]
        count = waiting.count() if oldest else 0
    waits = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
    yield Reading("licet_ledger_waiting", "Entries that wait for their places in a log.", count)
    yield Reading(
        "licet_ledger_waiting_oldest_seconds", "For how long the oldest of them has waited.", waits
    )
    for log in LOGS:
        name = succession.current(log)
        newest, last = tiles.newest_tree(name), tiles.newest_checkpoint(name)
        size, signed = newest.size if newest else 0, last.size if last else 0
        labels = {"log": log}
        yield Reading("licet_ledger_entries", "Entries that have their places.", size, labels)
        yield Reading(
            "licet_ledger_unsigned", "Of these, those in no checkpoint yet.", size - signed, labels
        )
        if last is not None:
            yield Reading(
                "licet_ledger_checkpoint_age_seconds",
                "The age of the newest checkpoint; an idle log signs none.",
                max(0.0, (now - last.signed_at).total_seconds()),
                labels,
            )


def _key() -> None:
    """The key of the log that this market sells in can be read: who serves shows its public half.

    Raises what the signer says of a key that is there and cannot be used.
    """
    name = succession.current("live" if settings.STRIPE_LIVEMODE else "test")
    try:
        is_there = signer.is_there(name)
    except signer.KeyUnusable as error:
        raise NotWell(str(error)) from None
    # In development the test log gets its key with its first use.
    if not is_there and not settings.DEVELOPMENT:
        raise NotWell(f"The log “{name}” has no key here.")


KEY = Check("ledger_key", _key, processes=("web",), asks_database=True)
