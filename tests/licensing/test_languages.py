"""What is hashed and signed reads the same, whoever's language the page has."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from licensing import prices
from marketplace.preferences import Viewer, viewing
from tests.licensing import wordings

GERMAN = Viewer("de", ZoneInfo("Asia/Tokyo"), "de-DE")


def test_contracts_have_the_same_bytes_for_a_german_reader() -> None:
    with viewing(GERMAN):
        made = dict(wordings.lines())
    assert made == wordings.recorded()


def test_a_price_in_a_contract_is_written_in_english() -> None:
    price = prices.parse({"model": "flat", "amount_minor": 123_450})
    english = prices.in_words(price, {}, "EUR")
    with viewing(GERMAN):
        assert prices.in_words(price, {}, "EUR") == english
