"""Each operation of the document takes what it names there, and refuses everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.urls import get_resolver
from rest_framework import serializers

from api_docs.document import parameters
from marketplace.http import Body, ObjectField
from marketplace.models import Organization
from marketplace.typeid import TypeID
from tests.api_docs.test_openapi import DOCUMENT, every_operation
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
PIECE = "application/offset+octet-stream"


def address(path: str, query: str = "") -> str:
    """Of something that is not there: whatever is refused here is refused before it is sought."""
    return path.replace("{id}", str(TypeID.new("wrk"))) + query


def ask(client: ApiClient, method: str, url: str, body: Any = None) -> Any:
    if method == "get":
        return client.get(url)
    if method == "patch":
        return client.patch(url, b"")
    return client.post(url, body)


@every_operation
def test_an_operation_refuses_a_parameter_that_is_not_documented(
    client_for: ClientFor, lab: Organization, path: str, method: str, operation: dict[str, Any]
) -> None:
    known = {each["name"] for each in parameters(DOCUMENT, operation) if each["in"] == "query"}
    answer = ask(client_for(lab), method, address(path, "?undocumented=1"))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")
    assert answer.json()["param"] == "undocumented"
    assert all(name in answer.json()["detail"] for name in known)


@every_operation
def test_an_operation_knows_each_of_its_parameters_once(
    client_for: ClientFor, lab: Organization, path: str, method: str, operation: dict[str, Any]
) -> None:
    client = client_for(lab)
    for each in parameters(DOCUMENT, operation):
        if each["in"] != "query":
            continue
        once = ask(client, method, address(path, f"?{each['name']}=1"))
        assert once.status_code < 500
        assert once.json()["code"] != "invalid_query" if once.status_code >= 400 else True
        twice = ask(client, method, address(path, f"?{each['name']}=1&{each['name']}=1"))
        assert twice.status_code in {400, 422}
        assert twice.json()["param"] == each["name"]
        if each["name"] != "format":  # which chooses the answer before the rest is read
            assert twice.json()["code"] == "invalid_query"


@every_operation
def test_an_operation_refuses_members_that_are_not_documented(
    client_for: ClientFor, lab: Organization, path: str, method: str, operation: dict[str, Any]
) -> None:
    client = client_for(lab)
    if method == "post":
        answer = client.post(address(path), {"undocumented": 1})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
        assert answer.json()["param"] == "undocumented"
    elif method == "get":
        answer = client._client.generic(
            "GET", address(path), b"{}", content_type="application/json",
            headers={"Authorization": f"Bearer {client.secret}"},
        )  # fmt: skip
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
        assert answer.json()["param"] == "body"
    else:
        assert operation["requestBody"]["content"].keys() == {PIECE}


# --- fields -----------------------------------------------------------------------------------


def bodies(kind: type = Body) -> Iterator[type]:
    for each in kind.__subclasses__():
        yield each
        yield from bodies(each)


def leaves(field: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every field of a body that holds no others."""
    if isinstance(field, serializers.ListSerializer | serializers.ListField):
        yield from leaves(field.child, f"{path}[]")
    elif isinstance(field, serializers.DictField):
        yield from leaves(field.child, f"{path}.*")
    elif isinstance(field, serializers.BaseSerializer):
        assert isinstance(field, Body), f"{path} would ignore what it does not know."
        for name, inner in field.fields.items():
            yield from leaves(inner, f"{path}.{name}")
    elif not field.read_only and not isinstance(field, ObjectField):
        yield path, field


def every_leaf() -> list[tuple[str, Any]]:
    assert get_resolver().url_patterns  # which imports every view
    # AskStatement reads the address, where everything is text.
    found = [kind for kind in bodies() if kind.__name__ != "AskStatement"]
    return [leaf for kind in found for leaf in leaves(kind(), kind.__name__)]


WRONG: dict[type, tuple[Any, ...]] = {
    serializers.CharField: (7, 7.5, True, [], {}),
    serializers.ChoiceField: (7, True, [], {}),
    serializers.IntegerField: ("7", 7.0, True, [], {}),
    serializers.BooleanField: ("true", 1, 0, "", [], {}),
    serializers.DateTimeField: (7, True, [], {}),
}


def test_no_field_of_a_body_takes_one_type_for_another() -> None:
    """A number as text, or text as a boolean, is a mistake of the client's, and said so."""
    free = (serializers.JSONField,)  # what the modules of terms and prices read themselves
    seen = set()
    for path, field in every_leaf():
        kinds = [kind for kind in WRONG if isinstance(field, kind)]
        if not kinds:
            assert isinstance(field, free) or path == "DraftTerms.changes.*", path
            continue
        seen.add(kinds[0])
        for value in WRONG[kinds[0]]:
            with pytest.raises(serializers.ValidationError):
                print(path, value, field.run_validation(value))
    assert seen == set(WRONG)
