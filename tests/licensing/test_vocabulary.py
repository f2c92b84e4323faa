"""The words of a license, and the numbers that they are stored by."""

from __future__ import annotations

import hashlib

import pytest

from licensing import vocabulary
from licensing.vocabulary import COUNTRY_NAMES, COUNTRY_NUMBERS, EU_MEMBERS, USE_NUMBERS, Use


def test_every_use_has_a_number_of_its_own_and_words() -> None:
    assert set(USE_NUMBERS) == set(Use) == set(vocabulary.USE_WORDS)
    assert sorted(USE_NUMBERS.values()) == list(range(1, 19))


def test_numbers_that_are_stored_never_change() -> None:
    # Claims are stored by number: whoever adds a use appends, and then changes only this hash.
    stored = ",".join(f"{use.value}={number}" for use, number in USE_NUMBERS.items())
    assert hashlib.sha256(stored.encode()).hexdigest()[:16] == "633f20143888def3"
    places = ",".join(f"{code}={number}" for code, number in sorted(COUNTRY_NUMBERS.items()))
    assert hashlib.sha256(places.encode()).hexdigest()[:16] == "7f5b19e8d581af14"


def test_the_countries_are_those_of_iso_3166_1() -> None:
    assert len(COUNTRY_NUMBERS) == len(set(COUNTRY_NUMBERS.values())) == len(COUNTRY_NAMES) == 249
    assert (COUNTRY_NUMBERS["DE"], COUNTRY_NUMBERS["US"], COUNTRY_NUMBERS["AF"]) == (276, 840, 4)


def test_the_european_union_has_27_members() -> None:
    assert len(EU_MEMBERS) == 27
    assert set(COUNTRY_NUMBERS) >= EU_MEMBERS
    assert not EU_MEMBERS & {"GB", "CH", "NO"}


def test_groups_and_the_whole_world_are_sets_of_countries() -> None:
    assert vocabulary.territory_numbers(["US", "DE"]) == [276, 840]
    assert vocabulary.territory_numbers(["DE", "EU"]) == vocabulary.territory_numbers(["EU"])
    assert len(vocabulary.territory_numbers(["EU"])) == 27
    assert len(vocabulary.territory_numbers(["*"])) == 249


def test_numbers_ascend_and_stand_once() -> None:
    assert vocabulary.use_numbers(["finetune", "pretrain", "finetune"]) == [1, 3]


@pytest.mark.parametrize("code", ["", "de", "UK", "EUR", "XX", "**", "D"])
def test_what_is_no_territory_is_refused(code: str) -> None:
    assert not vocabulary.is_territory(code)
    with pytest.raises(KeyError):
        vocabulary.territory_numbers([code])


def test_an_unknown_use_is_refused() -> None:
    with pytest.raises(ValueError, match="sell"):
        vocabulary.use_numbers(["sell"])


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("*", "the whole world"),
        ("EU", "the European Union"),
        ("US", "the United States"),
        ("NL", "the Netherlands"),
        ("CD", "the Democratic Republic of the Congo"),
        ("DE", "Germany"),
    ],
)
def test_a_territory_reads_as_in_a_contract(code: str, name: str) -> None:
    assert vocabulary.territory_name(code) == name
