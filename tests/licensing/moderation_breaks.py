"""How to break the constraints of reports, decisions and appeals, for test_constraints.py."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from licensing.models import Appeal, ModerationDecision, Report


def decided(world: Any, **changes: Any) -> ModerationDecision:
    fields: dict[str, Any] = {
        "organization": world.seller,
        "measure": "listing_suspended",
        "offer": world.offer,
        "facts": "A map is in it.",
        "ground": "law",
        "reference": "Article 2.",
        "decided_by": "usr_1",
    }
    return ModerationDecision.objects.create(**{**fields, **changes})


def reported(world: Any, **changes: Any) -> Report:
    fields: dict[str, Any] = {
        "target": str(world.offer.pk),
        "target_sha256": os.urandom(32),
        "offer": world.offer,
        "ground": "law",
        "explanation": "I drew it.",
        "location": "Page 3.",
        "reporter_name": "Rae",
        "reporter_email": "rae@example.org",
        "in_good_faith": True,
        "sender": os.urandom(32),
        "token_sha256": os.urandom(32),
    }
    return Report.objects.create(**{**fields, **changes})


def appealed(world: Any, **changes: Any) -> Appeal:
    fields: dict[str, Any] = {
        "organization": world.seller,
        "by": "seller",
        "reasons": "It is ours.",
        "actor": "key_1",
        "first_operator": "usr_1",
    }
    if "decision" not in changes:
        fields["decision"] = decided(world)
    return Appeal.objects.create(**{**fields, **changes})


def _twice(world: Any) -> None:
    decision = decided(world)
    appealed(world, decision=decision)
    appealed(world, decision=decision)


def _joined_to_itself(world: Any) -> None:
    report = reported(world)
    report.pk = type(report)._meta.pk.get_default()
    report.token_sha256, report.joined_to_id = os.urandom(32), report.pk
    report.save(force_insert=True)


def _token_twice(model: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda w: [model(w, token_sha256=b"t" * 32) for _each in range(2)]


BREAKS: dict[str, Callable[[Any], Any]] = {
    "licensing_moderationdecision_token_sha256_key": _token_twice(decided),
    "moderation_measure_has_its_target": lambda w: decided(w, offer=None),
    "moderation_states_its_reasons": lambda w: decided(w, facts=""),
    "moderation_ends_after_it_was_decided": lambda w: decided(
        w, until=timezone.now() - timedelta(days=1)
    ),
    "moderation_state_matches_its_end": lambda w: decided(w, state="lifted"),
    "moderation_token_is_sha256": lambda w: decided(w, token_sha256=b"short"),
    "licensing_report_token_sha256_key": _token_twice(reported),
    "report_ground_is_known": lambda w: reported(w, ground="taste"),
    "report_says_what_where_and_why": lambda w: reported(w, location=""),
    "report_is_made_in_good_faith": lambda w: reported(w, in_good_faith=False),
    "report_says_by_whom": lambda w: reported(w, reporter_email=""),
    "report_is_decided_iff_it_has_a_decision": lambda w: reported(w, state="decided"),
    "report_joins_another": _joined_to_itself,
    "report_hashes_are_sha256": lambda w: reported(w, sender=b"short"),
    "appeal_is_made_once": _twice,
    "appeal_is_the_sellers_or_a_reporters": lambda w: appealed(w, by="reporter"),
    "appeal_says_why": lambda w: appealed(w, reasons=""),
    "appeal_state_matches_its_answer": lambda w: appealed(w, state="upheld"),
    "appeal_is_answered_by_another": lambda w: appealed(
        w, state="upheld", answer="So.", answered_by="usr_1", answered_at=timezone.now()
    ),
}
