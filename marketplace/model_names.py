"""What tables and their columns are called on pages: in the reader's language."""

from __future__ import annotations

from django.apps import AppConfig
from django.db import models
from django.utils import translation
from django.utils.translation import gettext_lazy


def translate(app: AppConfig) -> None:
    """Have the names of an app's tables and columns looked up whenever they are shown.

    Django makes them of Python's own names where a model says none. To say each there would be a
    migration for each: what is set here afterwards is no part of any. `tests/translations.py`
    reads the same names, of every table that has pages.
    """
    for model in app.get_models():
        meta = model._meta
        names = meta.original_attrs
        singular = str(meta.verbose_name_raw)
        if "verbose_name_plural" not in names:
            # Django's own is the translated singular and an English “s”.
            meta.verbose_name_plural = gettext_lazy(f"{singular}s")
        if "verbose_name" not in names:
            meta.verbose_name = gettext_lazy(singular)
        for field in meta.local_fields:
            if isinstance(field.verbose_name, str):
                field.verbose_name = gettext_lazy(field.verbose_name)


def spoken(model: type[models.Model]) -> list[str]:
    """What of a model's names is looked up, in English."""
    meta = model._meta
    with translation.override("en"):
        columns = [str(field.verbose_name) for field in meta.local_fields]
        return [str(meta.verbose_name), str(meta.verbose_name_plural), *columns]
