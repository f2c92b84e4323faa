"""Every word of typed terms in a text, and the hash of that text: wordings never change.

python manage.py shell -c "from tests.licensing import wordings; wordings.record()"

That adds lines for new words and changes none: a line that changed is a contract that changed, and
such a wording needs a new name in `terms_text.WORDINGS`.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from licensing import duties, jcs, terms, terms_schema, terms_text, vocabulary
from licensing import terms_schema as schema
from tests.make import TYPED_2

RECORDED = Path(__file__).with_name("wordings.txt")
Line = tuple[str, str]


def recorded() -> dict[str, str]:
    """What was rendered when it was first recorded, and its hash."""
    rows = (line.split(" ", 1) for line in RECORDED.read_text().splitlines())
    return {what: hashed for hashed, what in rows}


def record() -> None:
    """Add what is not recorded yet."""
    known = recorded()
    kept = known | {what: hashed for what, hashed in lines() if what not in known}
    RECORDED.write_text("".join(f"{hashed} {what}\n" for what, hashed in kept.items()))


def lines() -> Iterator[Line]:
    """What was rendered, and the first half of the SHA-256 of its text and duties."""
    for what, typed in itertools.chain(first(), second()):
        text = terms_text.render(typed, name="Terms", version=1)
        made = text.encode() + jcs.dumps(duties.duties(typed))
        yield what, hashlib.sha256(made).hexdigest()[:32]


# --- version 1 --------------------------------------------------------------------------------


def first() -> Iterator[tuple[str, Any]]:
    base = terms.EXAMPLE
    clause = base["permit"][0]
    yield "1 example", base
    for use in vocabulary.Use:
        other = "embed" if use.value == "evaluate" else "evaluate"
        permit = {**base, "permit": [{**clause, "uses": [use.value]}], "deny": []}
        yield f"1 permit {use}", permit
        deny = {"permit": [{**clause, "uses": [other]}], "deny": [{"uses": [use.value]}]}
        yield f"1 deny {use}", {**base, **deny}
    for code in (*vocabulary.GROUPS, *vocabulary.COUNTRY_NUMBERS):
        yield f"1 territory {code}", {**base, "permit": [{**clause, "territories": [code]}]}
    named = {**clause, "model_scope": "named_model", "model_name": "Aurora"}
    yield "1 named model, two clauses", {**base, "permit": [named, clause], "deny": []}
    for field, words in (
        ("exclusivity", vocabulary.Exclusivity),
        ("attribution", vocabulary.Attribution),
        ("redistribution", vocabulary.Redistribution),
    ):
        for word in words:
            yield f"1 {field} {word.value}", {**base, field: word.value}
    for access, training, use_days in ((1, 1, None), (1, 2, 2), (1000, 1000, 36_500)):
        term = {"access_days": access, "training_days": training, "use_days": use_days}
        yield f"1 term {access} {training} {use_days}", {**base, "term": term}
    for number in (None, 0, 1, 1_000_000):
        yield f"1 output {number}", {**base, "output": {"max_verbatim_words": number}}
    for within, weights in itertools.product((0, 1, 30), vocabulary.WeightsOnExpiry):
        expiry = {"raw_copies_delete_within_days": within, "weights": weights.value}
        term = {**base["term"], "use_days": 400}
        yield f"1 expiry {within} {weights.value}", {**base, "term": term, "on_expiry": expiry}


# --- version 2 --------------------------------------------------------------------------------


def second() -> Iterator[tuple[str, Any]]:
    yield "2 base", TYPED_2
    for name, member in terms_schema.SECTIONS.items():
        assert isinstance(member.kind, schema.Object)
        for what, value in _objects(member.kind, TYPED_2[name]):
            yield f"2 {name}{what}", {**TYPED_2, name: value}
    for what, value in _objects(schema.PERMIT, TYPED_2["permit"][0]):
        yield f"2 permit{what}", {**TYPED_2, "permit": [value]}
    for what, value in _objects(schema.DENY, {}):
        yield f"2 deny{what}", {**TYPED_2, "deny": [value]}
    yield "2 deny nothing", {**TYPED_2, "deny": []}


def _objects(kind: schema.Object, base: Any) -> Iterator[tuple[str, Any]]:
    """An object with one of its fields changed, and with what must stand beside that."""
    for name, member in {**kind.fields, **kind.optional}.items():
        for what, value in _values(member.kind, base.get(name)):
            if member.beside is None:
                yield f".{name}{what}", _with_neighbors(kind, {**base, name: value})
                continue
            other, words = member.beside
            for word in words:
                changed = _with_neighbors(kind, {**base, other: word.value})
                yield f".{other}={word.value}.{name}{what}", {**changed, name: value}


def _values(kind: schema.Kind, base: Any) -> Iterator[tuple[str, Any]]:
    match kind:
        case schema.Word(words):
            yield from ((f"={word.value}", word.value) for word in words)
        case schema.Words(words, least):
            known = [word.value for word in words]
            yield from ((f"={word}", [word]) for word in known)
            yield "=two", known[:2]
            yield "=three", known[-3:]
            if least == 0:
                yield "=none", []
        case schema.Whole(least, most, null):
            for number in sorted({least, most, *([2] if least <= 2 <= most else [])}):
                yield f"={number}", number
            if null:
                yield "=null", None
        case schema.Names(pattern=pattern):
            names = ["0" * 64, "1" * 64, "a" * 64] if pattern else ["One", "Two", "Three"]
            yield "=one", names[:1]
            yield "=three", names
        case schema.Territories():
            for codes in (["*"], ["EU"], ["DE", "US"], ["EU", "GB", "JP"]):
                yield f"={'+'.join(codes)}", codes
        case schema.Law():
            yield from ((f"={code}", code) for code in (None, "DE", "US-NY"))
        case schema.Objects(of):
            yield from ((what, [value]) for what, value in _objects(of, base[0]))
        case schema.Object():
            yield from _objects(kind, copy.deepcopy(base) or {})


def _with_neighbors(kind: schema.Object, changed: dict[str, Any]) -> dict[str, Any]:
    """What stands beside other words only is left out, and what is due is put in."""
    made = dict(changed)
    for name, member in kind.fields.items():
        if member.beside is None:
            continue
        other, words = member.beside
        if made.get(other) not in [word.value for word in words]:
            made.pop(name, None)
        elif name not in made:
            made[name] = next(value for _, value in _values(member.kind, None))
    return made
