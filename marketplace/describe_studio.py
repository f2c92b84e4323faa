"""“Change what buyers read”: a collection's name and description, by one editor at a time."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace import collections
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput
from marketplace.models import Collection
from marketplace.seen_forms import UNCHANGED, SeenForm
from marketplace.tenant_pages import Done, Verb


class DescribeForm(SeenForm):
    labels = {
        "name": gettext_lazy("Name"),
        "description": gettext_lazy("Description"),
        "notice": gettext_lazy("Notice"),
        "languages": gettext_lazy("Languages"),
    }
    name = forms.CharField(label=labels["name"], max_length=200)
    description = forms.CharField(
        label=labels["description"],
        max_length=10_000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 6}),
        help_text=gettext_lazy(
            "What the works are, since when, in which languages. Buyers search in it."
        ),
    )
    notice = forms.CharField(
        label=labels["notice"],
        max_length=200,
        required=False,
        help_text=gettext_lazy("One line shown wherever the collection is. May stay empty."),
    )
    languages = forms.CharField(
        label=labels["languages"],
        max_length=4_000,
        required=False,
        help_text=gettext_lazy(
            "The main one first, with commas, such as: de, pt-BR. Empty: those of its works count."
        ),
    )

    @classmethod
    def standing(cls, row: Collection) -> dict[str, str]:
        return {
            "name": row.name,
            # As a browser sends it back: no page may say that somebody else changed the line ends.
            "description": _lines(row.description),
            "notice": row.notice,
            "languages": ", ".join(row.languages),
        }

    def clean_description(self) -> str:
        return _lines(self.cleaned_data["description"])

    def clean_languages(self) -> str:
        return ", ".join(_tags(self.cleaned_data["languages"]))


def _lines(text: str) -> str:
    return "\n".join(text.strip().splitlines())


def _tags(text: str) -> list[str]:
    return [tag.strip() for tag in text.split(",") if tag.strip()]


def _describe(caller: Caller, row: Collection, data: dict[str, Any]) -> Done:
    with acting(caller):
        # Under the lock of the verb: two who save at once come one after the other.
        found = Collection.objects.owned_by(caller).get_visible(caller, str(row.pk), lock=True)
        if data["seen"] and DescribeForm.is_stale(found, data):
            raise InvalidInput(DescribeForm.told(found), param="")
        if DescribeForm.is_same(found, data):
            return Done(str(UNCHANGED))
        texts = {name: data[name] for name in ("name", "description", "notice")}
        tags = _tags(data["languages"])
        collections.describe(caller, str(row.pk), languages=tags, **texts)
    return Done(_("Saved. What was offered or sold keeps its snapshot."))


DESCRIBE = Verb(
    "describe",
    gettext_lazy("Change what buyers read"),
    gettext_lazy("Its name and description, in the market and here. Works stay as they are."),
    _describe,
    DescribeForm,
)
