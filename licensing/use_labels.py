"""What people call uses, territories and the release of a model, in their own language."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from licensing import vocabulary
from licensing.vocabulary import Use
from marketplace import preferences

USES = {
    Use.PRETRAIN: gettext_lazy("Pretrain models"),
    Use.CONTINUED_PRETRAIN: gettext_lazy("Continue the pretraining of models"),
    Use.FINETUNE: gettext_lazy("Fine-tune models"),
    Use.INSTRUCTION_TUNE: gettext_lazy("Tune models to follow instructions"),
    Use.PREFERENCE_TUNE: gettext_lazy("Tune models to preferences"),
    Use.DISTILL: gettext_lazy("Make teaching data for other models"),
    Use.SYNTHETIC_DATA: gettext_lazy("Make synthetic data"),
    Use.EMBED: gettext_lazy("Make embeddings"),
    Use.RETRIEVE_RAG: gettext_lazy("Look passages up at answer time (retrieval)"),
    Use.GROUND_DISPLAY: gettext_lazy("Show passages in answers"),
    Use.EVALUATE: gettext_lazy("Evaluate models"),
    Use.SAFETY_TEST: gettext_lazy("Test the safety of models"),
    Use.CLASSIFY: gettext_lazy("Train classifiers and filters"),
    Use.SEARCH_INDEX: gettext_lazy("Index for search"),
    Use.ANNOTATE: gettext_lazy("Have people annotate"),
    Use.RESEARCH_NONCOMMERCIAL: gettext_lazy("Do non-commercial research"),
    Use.WORKPLACE_PROMPTING: gettext_lazy("Let employees prompt models with them"),
    Use.PRODUCT_IMPROVEMENT: gettext_lazy("Improve products"),
}
RELEASES = {
    "closed_api": gettext_lazy("Served through an interface only"),
    "open_weights": gettext_lazy("Released as open weights"),
    "internal_only": gettext_lazy("Used inside your organization only"),
}


def uses(of: Iterable[str]) -> str:
    """Several uses as one line."""
    return ", ".join(str(USES[Use(use)]) for use in of)


def territory(code: str) -> str:
    """A territory with its code, so that a list of them can be searched for either."""
    if code == vocabulary.WORLDWIDE:
        return _("Worldwide")
    if code == vocabulary.EUROPEAN_UNION:
        return _("European Union (EU)")
    return f"{preferences.country(code, vocabulary.COUNTRY_NAMES[code])} ({code})"


def territories(of: Iterable[str]) -> str:
    """Several territories as one line."""
    return ", ".join(map(territory, of))
