"""The published schema of ledger entries takes every golden vector, and nothing near one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api_docs import ledger_schema
from licensing import jcs
from licensing.ledger import commitments

ROOT = Path(__file__).parents[2]
COMMITTED = json.loads((ROOT / "api_docs" / "ledger_entry.schema.json").read_text())
VALIDATOR = Draft202012Validator(COMMITTED)


def bodies(document: Any) -> Iterator[dict[str, Any]]:
    """Every entry's body in a file of vectors."""
    if isinstance(document, list):
        for each in document:
            yield from bodies(each)
    elif isinstance(document, dict):
        for name, value in document.items():
            if name == "entry" and isinstance(value, str):
                yield json.loads(value)
            else:
                yield from bodies(value)


VECTORS = [
    pytest.param(body, id=f"{file.stem}-{place}-{body['kind']}")
    for file in sorted((ROOT / "tests" / "licensing" / "vectors").glob("*.json"))
    for place, body in enumerate(bodies(json.loads(file.read_text())))
]


def test_the_committed_schema_is_what_the_code_says() -> None:
    Draft202012Validator.check_schema(COMMITTED)
    assert ledger_schema.document() == COMMITTED, "run 'make openapi' and commit it"


def test_every_published_kind_has_a_vector() -> None:
    assert {vector.values[0]["kind"] for vector in VECTORS} == set(commitments.FIELDS)


@pytest.mark.parametrize("body", VECTORS)
def test_a_golden_vector_is_of_the_schema(body: dict[str, Any]) -> None:
    VALIDATOR.validate(body)


def spoiled(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Bodies that are no entries of this kind, each by one change, which the code refuses too."""
    for name in body:
        yield f"without {name}", {key: value for key, value in body.items() if key != name}
    yield "with more", {**body, "more": 1}
    yield "of version 3", {**body, "v": 3}
    yield "of no log", {**body, "log": "prod"}
    yield "by a time without microseconds", {**body, "at": "2027-01-31T12:00:00Z"}
    yield "first and after another", {**body, "seq": 0, "prev": "0" * 64}
    yield "later and after none", {**body, "seq": 1, "prev": None}
    yield "with capitals", {**body, commitments.ref_name(body["kind"]): "A" * 32}
    given = body["commitments"]
    always, _sometimes = commitments.FIELDS[body["kind"]]
    for field in always:
        yield (
            f"not committed to {field}",
            {
                **body,
                "commitments": {key: value for key, value in given.items() if key != field},
            },
        )
    yield "committed to more", {**body, "commitments": {**given, "more": "0" * 64}}
    if body["v"] == 2:
        yield "of version 1 with parties", {**body, "v": 1}
        yield "with parties by name", {**body, "parties": ["org_1"]}
        yield "with more in public", {**body, "public": {**body.get("public", {}), "more": 1}}


@pytest.mark.parametrize("body", VECTORS)
def test_what_the_schema_refuses_the_code_refuses_too(body: dict[str, Any]) -> None:
    for what, wrong in spoiled(body):
        assert not VALIDATOR.is_valid(wrong), what
        with pytest.raises(commitments.CommitmentError):
            commitments.parse_body(jcs.dumps(wrong))
