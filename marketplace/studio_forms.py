"""Forms of the studio: they gather what a verb takes, and show its refusal at the field."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms

from marketplace.access import Caller
from marketplace.errors import DomainError


class Refusable(forms.BaseForm):
    """A form that shows what a verb refused."""

    caller: Caller
    # What a verb calls a param, where the form's field has another name.
    params: ClassVar[dict[str, str]] = {}

    def refuse(self, error: DomainError) -> None:
        """Show a refusal at the field that its `param` names, or above the form."""
        param = str(error.data.get("param", ""))
        head = param.partition(".")[0].partition("[")[0]
        rest = param[len(head) :].lstrip(".")
        name = self.params.get(head, head)
        detail = f"{rest}: {error.detail}" if rest else str(error.detail)
        if name in self.fields:
            self.add_error(name, detail)
        else:
            self.add_error(None, f"{param}: {error.detail}" if param else detail)


class VerbForm(Refusable, forms.Form):
    """What a verb on one row takes. `row` is the row, already found for the caller."""

    def __init__(self, *args: Any, caller: Caller, row: Any, **kwargs: Any) -> None:
        self.caller, self.row = caller, row
        super().__init__(*args, **kwargs)
        self.prepare()

    def prepare(self) -> None:
        """Fill choices and initial values from the caller's own rows."""


class AddForm(Refusable, forms.ModelForm):  # type: ignore[type-arg]
    """What a verb that makes a row takes. The verb checks and writes; this saves nothing."""

    refusal: ClassVar[DomainError | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepare()

    def prepare(self) -> None:
        """Fill choices and initial values from the caller's own rows."""

    def _post_clean(self) -> None:
        # Instead of Django's, which would write the values into an instance and check that.
        if self.refusal is not None:
            self.refuse(self.refusal)
