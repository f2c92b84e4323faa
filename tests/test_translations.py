"""The catalogs: whole, true to their sources, and compiled as they stand."""

from __future__ import annotations

import functools
import re

import pytest
from django.template import Context, Template
from django.utils import translation

from tests import translations

found = functools.cache(translations.found)
PLACEHOLDERS = re.compile(r"%\(\w+\)[sd]|%%|<[^>]+>|\{\w*\}")
EACH = [(app, language) for app in translations.APPS for language in translations.LANGUAGES]


@pytest.mark.parametrize(("app", "language"), EACH)
def test_every_string_that_people_read_is_translated(app: str, language: str) -> None:
    # `python -m tests.translations --list` says what, `--write` brings it into the catalogs.
    assert translations.missing(app, language) == []
    assert len(found(app)) > 300


@pytest.mark.parametrize(("app", "language"), EACH)
def test_nothing_is_unsure_or_left_over(app: str, language: str) -> None:
    kept = translations.catalog(app, language)
    ids = {entry.id if isinstance(entry.id, str) else tuple(entry.id) for entry in kept if entry.id}
    assert ids == set(found(app))
    assert [entry.id for entry in kept if entry.id and entry.fuzzy] == []
    assert not kept.obsolete


@pytest.mark.parametrize(("app", "language"), EACH)
def test_a_translation_keeps_placeholders_and_tags(app: str, language: str) -> None:
    for entry in translations.catalog(app, language):
        if not entry.id:
            continue
        several = not isinstance(entry.id, str)
        sources = list(entry.id) if several else [entry.id]
        given = list(entry.string) if several else [entry.string]
        assert len(sources) == len(given)
        for source, text in zip(sources, given, strict=True):
            assert set(PLACEHOLDERS.findall(source)) == set(PLACEHOLDERS.findall(text)), source
            for edge in (0, -1):
                assert source[edge].isspace() == text[edge].isspace(), source


@pytest.mark.parametrize(("app", "language"), EACH)
def test_what_is_compiled_is_what_is_written(app: str, language: str) -> None:
    kept = translations.path_of(app, language, "mo").read_bytes()
    assert kept == translations.compiled(translations.catalog(app, language))


def test_the_same_words_are_translated_alike_in_every_app() -> None:
    # Django looks a text up in all catalogs at once: of two translations one would never be seen.
    seen: dict[str, object] = {}
    for app, language in EACH:
        for entry in translations.catalog(app, language):
            if entry.id:
                key = entry.id if isinstance(entry.id, str) else entry.id[0]
                assert seen.setdefault(key, entry.string) == entry.string, key


def test_a_reader_of_sources_finds_what_they_mark() -> None:
    source = (
        'x = _("a" " b")\ny = gettext_lazy("c")\nz = ngettext("%(n)s d", "%(n)s e", 2)\n_(name)\n'
    )
    assert list(translations._of_python(source)) == ["a b", "c", ("%(n)s d", "%(n)s e")]
    template = (
        "{% load i18n %}{% translate 'f' %}{% blocktranslate with x=1 %}g {{ x }}"
        "{% endblocktranslate %}{% blocktranslate count n=1 %}h{% plural %}i{% endblocktranslate %}"
    )
    assert list(translations._of_template(template)) == ["f", "g %(x)s", ("h", "i")]


def test_pages_speak_german() -> None:
    template = Template("{% load i18n %}{% translate 'Sign in' %}")
    with translation.override("de"):
        assert template.render(Context()) == "Anmelden"
    with translation.override("en"):
        assert template.render(Context()) == "Sign in"
