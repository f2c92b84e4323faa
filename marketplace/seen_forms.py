"""Forms over what stands already: whoever saved meanwhile is not overwritten unseen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.tenant_forms import VerbForm

# Whoever sends the same again is told so.
UNCHANGED = gettext_lazy("It stands so already: nothing was changed.")


class SeenForm(VerbForm):
    """A form that changes some texts of its row; the second of two editors is told.

    What they wrote stays in the form, what the first saved stands above it, and saving once more
    puts theirs in its place.
    """

    # The row's fields that it changes, as people call them.
    labels: ClassVar[Mapping[str, Any]] = {}
    # What the page showed.
    seen = forms.CharField(widget=forms.HiddenInput, required=False)

    def prepare(self) -> None:
        for name, text in self.standing(self.row).items():
            self.fields[name].initial = text
        self.fields["seen"].initial = self.mark(self.row)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("seen") and self.is_stale(self.row, data):
            self.data = {**self.data.dict(), "seen": self.mark(self.row)}  # type: ignore[attr-defined]
            raise forms.ValidationError(self.told(self.row))
        return data

    @classmethod
    def standing(cls, row: Any) -> dict[str, str]:
        """The texts as they are."""
        return {name: getattr(row, name) for name in cls.labels}

    @classmethod
    def mark(cls, row: Any) -> str:
        """What stands for a row as it is: it differs once anything of it does."""
        said = "\n".join(cls.standing(row).values())
        return hashlib.sha256(said.encode()).hexdigest()[:32]

    @classmethod
    def is_same(cls, row: Any, data: Mapping[str, Any]) -> bool:
        """Whether the row says already what was sent."""
        return all(text == data.get(name, "") for name, text in cls.standing(row).items())

    @classmethod
    def is_stale(cls, row: Any, data: Mapping[str, Any]) -> bool:
        """Whether somebody else saved something else since the page was shown."""
        return data["seen"] != cls.mark(row) and not cls.is_same(row, data)

    @classmethod
    def told(cls, row: Any) -> str:
        """What the second editor is told."""
        now = "; ".join(
            f"{cls.labels[name]}: {text or '–'}" for name, text in cls.standing(row).items()
        )
        return _(
            "Somebody else changed this while you wrote. What you wrote stands below and is"
            " not saved; what stands now is: %(now)s. Save again to put yours in its place."
        ) % {"now": now}
