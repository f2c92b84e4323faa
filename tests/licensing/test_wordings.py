"""The same conditions give the same text and the same duties, for ever."""

from __future__ import annotations

from licensing import reading, terms, terms_schema
from tests.licensing import wordings


def test_no_text_that_was_ever_rendered_changes() -> None:
    made = dict(wordings.lines())
    changed = {what for what, hashed in wordings.recorded().items() if made.get(what) != hashed}
    assert not changed, "a signed contract would read otherwise: give the wording a new name"


def test_every_word_is_recorded_with_its_text() -> None:
    made = [what for what, _ in wordings.lines()]
    assert len(made) == len(set(made))
    assert set(made) == set(wordings.recorded()), "record it: see wordings.py"


def test_what_is_recorded_has_the_shape_of_typed_terms() -> None:
    for _, typed in wordings.first():
        assert terms.parse(typed).v == 1
    for what, typed in wordings.second():
        shape = {name: typed[name] for name in typed if name != "v"}
        reading.read(shape, terms_schema.ROOT, what)
