"""TypeIDs: what they look like, and what they refuse."""

from __future__ import annotations

import copy
import pickle
import time
import uuid

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from marketplace.typeid import TypeID, TypeIDField, uuid7


# The vectors that the TypeID specification publishes (jetify-com/typeid, spec/valid.yml).
@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("prefix_00000000000000000000000000", "00000000-0000-0000-0000-000000000000"),
        ("prefix_00000000000000000000000001", "00000000-0000-0000-0000-000000000001"),
        ("prefix_0000000000000000000000000a", "00000000-0000-0000-0000-00000000000a"),
        ("prefix_0000000000000000000000000g", "00000000-0000-0000-0000-000000000010"),
        ("prefix_00000000000000000000000010", "00000000-0000-0000-0000-000000000020"),
        ("prefix_7zzzzzzzzzzzzzzzzzzzzzzzzz", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
        ("prefix_0123456789abcdefghjkmnpqrs", "0110c853-1d09-52d8-d73e-1194e95b5f19"),
        ("prefix_01h455vb4pex5vsknk084sn02q", "01890a5d-ac96-774b-bcce-b302099a8057"),
    ],
)
def test_an_id_reads_and_prints_as_the_specification_says(text: str, plain: str) -> None:
    assert TypeID.parse("prefix", text) == uuid.UUID(plain)
    assert str(TypeID("prefix", uuid.UUID(plain))) == text


@given(st.uuids())
def test_every_uuid_survives_the_round_trip(value: uuid.UUID) -> None:
    assert TypeID.parse("grt", str(TypeID("grt", value))) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "grt",
        "grt_",
        "ord_01h455vb4pex5vsknk084sn02q",
        "grt_81h455vb4pex5vsknk084sn02q",
        "grt_01h455vb4pex5vsknk084sn02",
        "grt_01h455vb4pex5vsknk084sn02qq",
        "grt_01H455VB4PEX5VSKNK084SN02Q",
        "grt_01h455vb4pex5vsknk084sn0iq",
        "grt_01h455vb4pex5vsknk084sn0\n",
        "01h455vb4pex5vsknk084sn02q",
    ],
)
def test_a_malformed_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a grt_ id"):
        TypeID.parse("grt", text)
    with pytest.raises(ValidationError):
        TypeIDField(prefix="grt").to_python(text)


def test_an_id_of_another_kind_is_refused_even_as_an_object() -> None:
    with pytest.raises(ValidationError):
        TypeIDField(prefix="grt").to_python(TypeID.new("ord"))


def test_a_fresh_id_is_version_7_and_carries_its_time() -> None:
    before = time.time_ns() // 1_000_000
    value = uuid7()
    after = time.time_ns() // 1_000_000
    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert before <= value.int >> 80 <= after


def test_an_id_survives_copies_and_pickles_with_its_prefix() -> None:
    value = TypeID.new("grt")
    for other in (copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert (other, other.prefix, str(other)) == (value, "grt", str(value))


def test_ids_made_one_after_another_ascend() -> None:
    values = []
    for _number in range(200):
        values.append(uuid7())
        time.sleep(1e-6)
    assert values == sorted(values)
    assert len(set(values)) == 200
