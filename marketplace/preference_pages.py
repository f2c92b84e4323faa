"""The page on which a person chooses language, time zone and formats."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from marketplace import preferences
from marketplace.errors import InvalidInput
from marketplace.models import User


class PreferencesForm(forms.Form):
    language = forms.ChoiceField(label=gettext_lazy("Language"), required=False)
    time_zone = forms.CharField(
        label=gettext_lazy("Time zone"),
        required=False,
        max_length=64,
        widget=forms.TextInput(attrs={"list": "zones", "autocomplete": "off"}),
        help_text=gettext_lazy("Begin to write a city, such as Berlin. Empty: UTC."),
    )
    formats = forms.ChoiceField(label=gettext_lazy("Dates and amounts"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        browsers = ("", _("As the browser says"))
        self.fields["language"].choices = [browsers, *settings.LANGUAGES]  # type: ignore[attr-defined]
        self.fields["formats"].choices = [  # type: ignore[attr-defined]
            ("", _("As is usual in the language")),
            *preferences.format_choices(),
        ]


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def own_preferences(request: HttpRequest) -> HttpResponse:
    """Show what the person chose, and keep what they choose."""
    user = request.user
    assert isinstance(user, User)
    initial = {name: getattr(user, name) for name in ("language", "time_zone", "formats")}
    form = PreferencesForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            is_changed = preferences.choose(user, **form.cleaned_data)
        except InvalidInput as error:
            form.add_error(error.data["param"], str(error.detail))
        else:
            told = _("Kept.") if is_changed else _("Nothing was changed: it was so before.")
            messages.success(request, told)
            return redirect("preferences")
    context = {"form": form, "zones": sorted(preferences.zones()), "now": timezone.now()}
    status = 422 if form.errors else 200
    return render(request, "marketplace/preferences.html", context, status=status)
