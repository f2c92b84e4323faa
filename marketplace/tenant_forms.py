"""Forms of the workspace: they gather what a verb takes, and show its refusal at the field."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib.admin.helpers import ActionForm
from unfold import widgets

from marketplace.access import Caller
from marketplace.errors import DomainError

# Of each kind of control, Unfold's classes. The first that fits counts.
_CLASSES: tuple[tuple[type[forms.Widget], Any], ...] = (
    (forms.HiddenInput, ()),
    (forms.Textarea, widgets.TEXTAREA_CLASSES),
    (forms.CheckboxSelectMultiple, widgets.CHECKBOX_CLASSES),
    (forms.RadioSelect, widgets.RADIO_CLASSES),
    (forms.Select, widgets.SELECT_CLASSES),
    (forms.CheckboxInput, widgets.CHECKBOX_CLASSES),
    (forms.FileInput, ("file-input",)),
    (forms.Widget, widgets.INPUT_CLASSES),
)


def dress(form: forms.BaseForm) -> None:
    """Have the controls look as those of the admin's own forms."""
    for field in form.fields.values():
        own = str(field.widget.attrs.get("class", ""))
        if "border" in own or "admin-autocomplete" in own:
            continue
        classes = next(names for kind, names in _CLASSES if isinstance(field.widget, kind))
        if type(field.widget) is forms.Select:
            field.widget.template_name = "unfold/widgets/select.html"
        if classes:
            field.widget.attrs["class"] = " ".join([*own.split(), *classes])


class ChosenForm(ActionForm):
    """What to do with the rows that were chosen in a list."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dress(self)


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
        dress(self)

    def prepare(self) -> None:
        """Fill choices and initial values from the caller's own rows."""


class AddForm(Refusable, forms.ModelForm):  # type: ignore[type-arg]
    """What a verb that makes a row takes. The verb checks and writes; this saves nothing."""

    refusal: ClassVar[DomainError | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepare()
        dress(self)

    def prepare(self) -> None:
        """Fill choices and initial values from the caller's own rows."""

    def _post_clean(self) -> None:
        # Instead of Django's, which would write the values into an instance and check that.
        if self.refusal is not None:
            self.refuse(self.refusal)
