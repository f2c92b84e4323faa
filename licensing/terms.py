"""Terms: typed license conditions, the exact text that they render to, and their versions."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import contradictions, jcs, terms_templates, terms_text, typed_terms
from licensing.contradictions import Warned
from licensing.ledger import log
from licensing.models import LedgerEntry, Terms
from licensing.parties import party
from licensing.typed_terms import Deny, Permit, TypedTerms, Windows, parse
from marketplace import audit, idempotency
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput, TermsAlreadyPublished
from marketplace.models import Organization

# The typed conditions, by example. Every field is required: a contract has no silent defaults,
# but for `model_name`, which goes with the model scope "named_model" and with no other.
EXAMPLE: dict[str, Any] = {
    "v": 1,
    "permit": [
        {
            "uses": ["pretrain", "finetune"],
            "territories": ["EU", "US"],
            "model_scope": "any_model_of_licensee",
        }
    ],
    "deny": [{"uses": ["retrieve_rag"]}],
    "exclusivity": "non_exclusive",
    "term": {"access_days": 90, "training_days": 365, "use_days": None},
    "output": {"max_verbatim_words": 200},
    "attribution": "in_model_docs",
    "redistribution": "none",
    "on_expiry": {"raw_copies_delete_within_days": 30, "weights": "keep_and_continue"},
}

NAME_LENGTH_MAX = 200

__all__ = ["Deny", "Permit", "TypedTerms", "Warned", "Windows", "parse"]


# --- verbs ------------------------------------------------------------------------------------


def draft(
    caller: Caller,
    *,
    name: str,
    typed: Any = None,
    template: str = "",
    changes: Mapping[str, Any] | None = None,
) -> Terms:
    """Write terms down, with the text that they render to: the next version under this name.

    The conditions are `typed`, or those of a template with some parts replaced. Raises
    InvalidInput naming what is wrong, such as `typed.permit[0].uses[1]`.
    """
    if template:
        if typed is not None:
            raise InvalidInput(_("Give either typed conditions or a template."), param="template")
        typed = terms_templates.fill(template, changes)
    elif changes is not None:
        raise InvalidInput(_("Changes are to a template: name it."), param="template")
    elif typed is None:
        raise InvalidInput(_("Give typed conditions, or the name of a template."), param="typed")
    name = name.strip()
    if not name.isprintable() or not 0 < len(name) <= NAME_LENGTH_MAX:
        raise InvalidInput(
            _("Give the terms a name of up to %(max)s printable characters.")
            % {"max": NAME_LENGTH_MAX},
            param="name",
        )
    conditions = parse(typed)
    canonical = jcs.dumps(typed).decode()
    with acting(caller):
        version = _next_version(caller, name)
        text = render(conditions, name=name, version=version)
        terms = Terms(
            organization=caller.organization,
            name=name,
            version=version,
            typed=canonical,
            typed_sha256=hashlib.sha256(canonical.encode()).digest(),
            text=text,
            text_sha256=hashlib.sha256(text.encode()).digest(),
            template_version=terms_text.WORDINGS[conditions.v],
        )
        terms.save(force_insert=True)
        audit.record(caller, "terms.drafted", subject=terms, version=version)
        idempotency.names(caller, terms)
    return terms


def publish(caller: Caller, id: str) -> Terms:
    """Fix a version for good: from now on offers may use it, and nothing changes it.

    Recorded in the log of the caller's mode, though both modes share the terms. Raises NotFound,
    TermsAlreadyPublished.
    """
    with acting(caller):
        terms = Terms.objects.owned_by(caller).get_visible(caller, id, lock=True)
        if terms.published_at is not None:
            raise TermsAlreadyPublished(
                _(
                    "These terms are published. A new draft under the same name is the next"
                    " version."
                ),
                terms=str(terms.pk),
            )
        terms.published_at, terms.terms_ref = timezone.now(), os.urandom(16)
        terms.entry = _record(caller, terms)
        terms.save(update_fields=["published_at", "terms_ref", "entry"])
        audit.record(caller, "terms.published", subject=terms)
        idempotency.names(caller, terms)
    return terms


def recorded(terms: Terms) -> dict[str, Any]:
    """What a version says, as ledger entries commit to it: the same here and in its grants."""
    return {
        "terms": json.loads(terms.typed),
        "terms_text": {
            "sha256": bytes(terms.text_sha256).hex(),
            "template_version": terms.template_version,
        },
    }


def load(terms: Terms) -> TypedTerms:
    """Read a version's typed conditions."""
    return typed_terms.read(terms.typed)


def render(typed: TypedTerms, *, name: str, version: int) -> str:
    """Write the conditions out as numbered clauses: the exact text that is hashed."""
    return terms_text.render(typed.raw, name=name, version=version)


def warnings(typed: TypedTerms) -> list[Warned]:
    """What is odd in the conditions, though it does not contradict itself."""
    return contradictions.warnings(typed.raw)


def _next_version(caller: Caller, name: str) -> int:
    # Locked, so that two drafts at once become two versions and not one refusal.
    Organization.objects.select_for_update(no_key=True).get(pk=caller.organization.pk)
    mine = Terms.objects.owned_by(caller).filter(name=name)
    return (mine.aggregate(newest=Max("version"))["newest"] or 0) + 1


def _record(caller: Caller, terms: Terms) -> LedgerEntry:
    """Append `terms.published`. Its fields are published: they never change."""
    assert terms.published_at is not None
    assert terms.terms_ref is not None
    return log.append(
        log=log.name(livemode=caller.livemode),
        kind="terms.published",
        subject_ref=bytes(terms.terms_ref),
        seq=0,
        prev=None,
        at=terms.published_at,
        parties=[terms.organization_id],
        values={
            "licensor": party(caller.organization),
            "version": {"id": str(terms.pk), "name": terms.name, "number": terms.version},
            **recorded(terms),
        },
    )
