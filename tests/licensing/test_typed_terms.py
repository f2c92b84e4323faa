"""Typed terms, version 2: whatever a client sends is refused by name, or rendered."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from licensing import (
    contradictions,
    duties,
    jcs,
    terms,
    terms_json_schema,
    terms_schema,
    terms_text,
)
from licensing import terms_schema as schema
from licensing.terms_templates import library
from licensing.vocabulary import COUNTRY_NUMBERS
from marketplace.errors import InvalidInput
from tests.licensing.grades import GRADE_MAX, grade
from tests.make import TYPED, TYPED_2

BASES = [TYPED_2, *(dict(template.typed) for template in library())]
SCHEMA = Draft202012Validator(terms_json_schema.root())
# The machine may be busy; a slow example proves nothing.
many = settings(max_examples=300, deadline=None)


def values(kind: schema.Kind) -> st.SearchStrategy[Any]:
    """Any value that a field's kind allows, taken for itself."""
    match kind:
        case schema.Word(words):
            return st.sampled_from([word.value for word in words])
        case schema.Words(words, least):
            known = [word.value for word in words]
            return st.lists(st.sampled_from(known), unique=True, min_size=least, max_size=4)
        case schema.Whole(least, most, null):
            number = st.integers(least, most) | st.integers(least, min(most, least + 400))
            return number | st.none() if null else number
        case schema.Names():
            name = st.just(kind.example) if kind.pattern else st.sampled_from(["A", "B b", "Ü-1"])
            return st.lists(name, unique=True, min_size=kind.least, max_size=2)
        case schema.Territories(least):
            codes = st.sampled_from(["*", "EU", "DE", "US", "ZW"])
            return st.lists(codes, unique=True, min_size=least, max_size=3)
        case schema.Law():
            return st.sampled_from([None, "DE", "US-NY"])
        case schema.Objects(of, least, _most):
            return st.lists(objects(of), min_size=least, max_size=2)
        case schema.Object():
            return objects(kind)


@st.composite
def objects(draw: st.DrawFn, kind: schema.Object) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, member in {**kind.fields, **kind.optional}.items():
        if member.beside is not None:
            other, words = member.beside
            if made.get(other) not in [word.value for word in words]:
                continue
        elif name in kind.optional and not draw(st.booleans()):
            continue
        made[name] = draw(values(member.kind))
    return made


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    """A template with some of its parts drawn anew: well shaped, and sound or not."""
    typed = copy.deepcopy(draw(st.sampled_from(BASES)))
    for part in draw(st.lists(st.sampled_from(sorted(schema.SECTIONS)), max_size=4, unique=True)):
        typed[part] = draw(values(schema.SECTIONS[part].kind))
    if draw(st.booleans()):
        typed["deny"] = draw(st.lists(objects(schema.DENY), max_size=3))
    if draw(st.booleans()):
        typed["permit"] = draw(st.lists(objects(schema.PERMIT), min_size=1, max_size=3))
    return typed


def parsed(typed: Any) -> tuple[terms.TypedTerms | None, str]:
    """The conditions read, or the place that their refusal names."""
    try:
        return terms.parse(typed), ""
    except InvalidInput as refused:
        return None, str(refused.data["param"])


@pytest.mark.oracle
@many
@given(conditions())
def test_what_is_well_shaped_is_rendered_or_refused_at_a_place_in_it(typed: Any) -> None:
    before = jcs.dumps(typed)
    read, param = parsed(typed)
    if read is None:
        assert param.startswith("typed.")
        return
    text = terms.render(read, name="Terms", version=1)
    assert text == terms_text.render(typed, name="Terms", version=1)
    assert jcs.dumps(typed) == before
    numbers = set(re.findall(r"^(\d+\.\d+) ", text, re.MULTILINE))
    assert {duty["clause"] for duty in duties.duties(typed)} <= numbers
    assert {f"2.{place}" for place, _clause in enumerate(typed["permit"], 1)} <= numbers
    assert {f"3.{place}" for place, _clause in enumerate(typed["deny"], 1)} <= numbers
    for _place, words in read.others:
        assert words in text
    assert read.needs_human == ('"other":[' in before.decode().replace('"other":[]', ""))
    assert all(warned.param.startswith("typed.") for warned in contradictions.warnings(typed))
    assert grade(text) <= GRADE_MAX


# What clients send by mistake, or on purpose.
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "*", "EU", "de", "none", "deny", "pretrain", "a\nb", "“", "\ud800"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in JSON: what holds it, and its key or index there."""
    members = value if isinstance(value, dict) else range(len(value))
    found = [(value, key) for key in members]
    inner = [value[key] for key in members if isinstance(value[key], (dict, list))]
    return found + [each for one in inner for each in places(one)]


@pytest.mark.oracle
@settings(max_examples=1000, deadline=None)
@given(st.sampled_from([TYPED, *BASES]), st.data())
def test_whatever_stands_at_a_place_is_refused_by_name_or_read_back_the_same(
    base: Any, data: st.DataObject
) -> None:
    typed = copy.deepcopy(base)
    holder, key = data.draw(st.sampled_from(places(typed)))
    kind = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if kind == "remove":
        del holder[key]
    elif kind == "replace":
        holder[key] = data.draw(JUNK)
    elif isinstance(holder, list):
        holder.append(data.draw(JUNK))
    else:
        holder[data.draw(st.text(max_size=4) | st.sampled_from(["other", "uses", "days"]))] = (
            data.draw(JUNK)
        )
    read, param = parsed(typed)
    if read is None:
        assert param.startswith("typed")
        return
    again = terms.parse(json.loads(jcs.dumps(typed)))
    assert again == read
    assert terms.render(again, name="T", version=1) == terms.render(read, name="T", version=1)
    if read.v == 2:
        assert not list(SCHEMA.iter_errors(typed))


@pytest.mark.oracle
@many
@given(conditions(), st.data())
def test_a_use_that_is_permitted_and_denied_everywhere_is_never_accepted(
    typed: Any, data: st.DataObject
) -> None:
    use = data.draw(st.sampled_from(typed["permit"][0]["uses"]))
    typed["deny"] = [*typed["deny"], {"uses": [use]}]
    with pytest.raises(InvalidInput):
        terms.parse(typed)


@many
@given(st.sampled_from(BASES), st.data())
def test_a_part_that_is_left_out_or_unknown_is_refused_by_name(
    typed: Any, data: st.DataObject
) -> None:
    part = data.draw(st.sampled_from([*schema.SECTIONS, "permit", "deny"]))
    without = {name: value for name, value in typed.items() if name != part}
    with pytest.raises(InvalidInput) as refused:
        terms.parse(without)
    assert refused.value.data["param"] == f"typed.{part}"
    with pytest.raises(InvalidInput) as refused:
        terms.parse({**typed, "sale": 1})
    assert refused.value.data["param"] == "typed.sale"


@many
@given(st.sampled_from(BASES), st.text(max_size=3).filter(lambda text: text not in ("*", "EU")))
def test_a_territory_that_is_no_iso_code_is_refused_by_name(typed: Any, code: str) -> None:
    if code in COUNTRY_NUMBERS:
        return
    changed = copy.deepcopy(typed)
    changed["permit"][0]["territories"]["training"] = ["DE", code]
    with pytest.raises(InvalidInput) as refused:
        terms.parse(changed)
    assert refused.value.data["param"] == "typed.permit[0].territories.training[1]"


def changed(path: str, value: Any) -> dict[str, Any]:
    """TYPED_2 with one place changed, such as "term.use_days"."""
    typed = copy.deepcopy(TYPED_2)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = typed
    for parent in parents:
        place = place[parent]
    place[last] = value
    return typed


# What contradicts itself: the changed place, its value, and the place that the refusal names.
CONTRADICTIONS: dict[str, tuple[str, Any, str]] = {
    "training after use ends": ("term.use_days", 10, "typed.term.use_days"),
    "fetching after training ends": ("term.access_days", 366, "typed.term.access_days"),
    "weights of no training": (
        "permit.0.uses",
        ["evaluate"],
        "typed.retention.weights.rule",
    ),
    "a permitted use denied": ("deny.0.uses", ["pretrain"], "typed.deny[0].uses[0]"),
    "a denial of everything": ("deny.0", {}, "typed.deny[0]"),
    "named processors without names": (
        "parties.processors",
        "named",
        "typed.parties.processor_names",
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_refused_at_its_place(name: str) -> None:
    path, value, param = CONTRADICTIONS[name]
    with pytest.raises(InvalidInput) as refused:
        terms.parse(changed(path, value))
    assert refused.value.data["param"] == param


def test_every_word_and_every_field_has_a_say() -> None:
    """The reference and the API's document are made of these: none is empty."""

    def members(kind: schema.Object) -> list[schema.Member]:
        found = []
        for member in {**kind.fields, **kind.optional}.values():
            found.append(member)
            inner = member.kind.of if isinstance(member.kind, schema.Objects) else member.kind
            if isinstance(inner, schema.Object):
                found += members(inner)
        return found

    assert all(len(member.says) > 3 for member in members(terms_schema.ROOT))
