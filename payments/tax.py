"""Tax on a sale: by a table of the operator's, or by Stripe Tax. Both answer the same line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from marketplace.errors import PaymentProviderUnavailable
from marketplace.models import Organization
from marketplace.money import round_half_even
from payments import stripe_gateway
from payments.fees import BASIS_POINTS_IN_ONE, share_minor
from payments.stripe_facts import TaxFacts


class Provider(StrEnum):
    """Who says what tax is due."""

    LOCAL = "local"
    STRIPE = "stripe"


class Reason(StrEnum):
    """Why a sale has the tax that it has."""

    STANDARD = "standard"
    # The buyer, a business elsewhere in the EU, owes it: Article 196 of Directive 2006/112/EC.
    REVERSE_CHARGE = "reverse_charge"
    EXEMPT = "exempt"
    # The operator collects none where the buyer is established.
    NOT_REGISTERED = "not_registered"


@dataclass(frozen=True, slots=True)
class TaxLine:
    """One tax of a sale; every sale has one, 0 where nothing is due."""

    country: str
    rate_basis_points: int
    amount_minor: int
    inclusive: bool
    reason: str
    provider: str = Provider.LOCAL


@dataclass(frozen=True, slots=True)
class Tax:
    """A tax line, and what of the price it was taken out of: the rest is the license fee."""

    line: TaxLine
    # The tax that an inclusive price holds, whether it is due or not.
    taken_out_minor: int = 0
    # Of Stripe Tax, where that was asked: the sale is recorded from it (`tax_records`).
    calculation: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What Stripe Tax said of a price."""

    price_minor: int
    currency: str
    facts: TaxFacts


# https://taxation-customs.ec.europa.eu/taxation/vat/vat-directive/vat-identification-numbers_en:
# what a VAT identification number looks like, behind the letters of its country. Whether it was
# given to anybody, only its country knows.
VAT_ID_FORMATS = {
    "AT": r"U\d{8}",
    "BE": r"[01]\d{9}",
    "BG": r"\d{9,10}",
    "CY": r"\d{8}[A-Z]",
    "CZ": r"\d{8,10}",
    "DE": r"\d{9}",
    "DK": r"\d{8}",
    "EE": r"\d{9}",
    "ES": r"[A-Z0-9]\d{7}[A-Z0-9]",
    "FI": r"\d{8}",
    "FR": r"[A-HJ-NP-Z0-9]{2}\d{9}",
    "GR": r"\d{9}",
    "HR": r"\d{11}",
    "HU": r"\d{8}",
    "IE": r"\d[A-Z0-9+*]\d{5}[A-Z]{1,2}",
    "IT": r"\d{11}",
    "LT": r"(\d{9}|\d{12})",
    "LU": r"\d{8}",
    "LV": r"\d{11}",
    "MT": r"\d{8}",
    "NL": r"[A-Z0-9+*]{10}\d{2}",
    "PL": r"\d{10}",
    "PT": r"\d{9}",
    "RO": r"\d{2,10}",
    "SE": r"\d{12}",
    "SI": r"\d{8}",
    "SK": r"\d{10}",
}
# Greece's numbers begin otherwise than its ISO 3166-1 code.
_VAT_PREFIX = {"GR": "EL"}

# https://docs.stripe.com/api/tax/calculations/object: Stripe's reasons, in our words. What is not
# here is a rate of its own, such as a reduced one.
_STRIPE_REASONS = {
    "reverse_charge": Reason.REVERSE_CHARGE,
    "customer_exempt": Reason.EXEMPT,
    "product_exempt": Reason.EXEMPT,
    "product_exempt_holiday": Reason.EXEMPT,
    "not_subject_to_tax": Reason.EXEMPT,
    "not_collecting": Reason.NOT_REGISTERED,
    "not_supported": Reason.NOT_REGISTERED,
}


def calculate(
    buyer: Organization, *, price_minor: int, currency: str, answer: Answer | None = None
) -> Tax:
    """The tax on a price, where the buyer is established. 0 for what is free.

    `answer` is of `ask`. Raises PaymentProviderUnavailable where Stripe's was about another price.
    """
    if not is_remote() or not price_minor:
        return _local(buyer, price_minor)
    if answer is None or (answer.price_minor, answer.currency) != (price_minor, currency):
        raise PaymentProviderUnavailable(
            _("The price changed while its tax was calculated. Send the same request again.")
        )
    return Tax(_line_of(buyer, answer.facts), calculation=answer.facts.calculation)


def is_remote() -> bool:
    """Whether Stripe Tax is asked."""
    return bool(settings.TAX_PROVIDER == Provider.STRIPE)


def ask(buyer: Organization, *, price_minor: int, currency: str) -> Answer:
    """Ask Stripe Tax, outside any transaction. Nothing is collected or reported by it.

    Raises PaymentProviderUnavailable, PaymentProviderRefused.
    """
    details: dict[str, Any] = {"address": _address(buyer), "address_source": "billing"}
    if is_vat_id(buyer.vat_id, country_of(buyer)):
        details["tax_ids"] = [{"type": "eu_vat", "value": _plain(buyer.vat_id)}]
    facts = stripe_gateway.calculate_tax(
        {
            "currency": currency.lower(),
            "customer_details": details,
            "line_items": [
                {"amount": price_minor, "reference": "license", "tax_behavior": "exclusive"}
            ],
        }
    )
    return Answer(price_minor, currency, facts)


def in_words(line: TaxLine, vat_id: str) -> str:
    """What a contract says of a tax beside its amount; "" where there is nothing to say.

    In English: a contract's words are hashed.
    """
    if line.reason == Reason.REVERSE_CHARGE:
        return f"reverse charge: the Licensee owes the tax in {line.country} (VAT ID {vat_id})"
    if line.reason == Reason.EXEMPT:
        return "the Licensee is exempt"
    if line.reason == Reason.NOT_REGISTERED:
        return ""
    whole, rest = divmod(line.rate_basis_points, 100)
    rate = f"{whole}.{rest:02}".rstrip("0").rstrip(".")
    contained = ", contained in the price" if line.inclusive else ""
    return f"{rate} % in {line.country}{contained}"


def is_vat_id(text: str, country: str) -> bool:
    """Whether a text looks like a VAT identification number of a country of the EU."""
    rest = VAT_ID_FORMATS.get(country)
    prefix = _VAT_PREFIX.get(country, country)
    return rest is not None and re.fullmatch(prefix + rest, _plain(text), re.ASCII) is not None


def country_of(organization: Organization) -> str:
    """Where an organization is established (ISO 3166-1)."""
    return organization.jurisdiction[:2]


def _plain(vat_id: str) -> str:
    return re.sub(r"[\s.-]", "", vat_id).upper()


# --- the operator's table ---------------------------------------------------------------------


def _local(buyer: Organization, price_minor: int) -> Tax:
    country = country_of(buyer)
    row = _row(buyer)
    if row is None:
        return Tax(TaxLine(country, 0, 0, False, Reason.NOT_REGISTERED))
    rate, inclusive = row["basis_points"], bool(row.get("inclusive", False))
    due = (
        round_half_even(price_minor * rate, BASIS_POINTS_IN_ONE + rate)
        if inclusive
        else share_minor(price_minor, rate)
    )
    taken_out = due if inclusive else 0
    reason = _reason(buyer, row)
    if reason != Reason.STANDARD:
        # Who owes no tax pays less than a price that holds one.
        return Tax(TaxLine(country, 0, 0, inclusive, reason), taken_out)
    return Tax(TaxLine(country, rate, due, inclusive, reason), taken_out)


def _row(buyer: Organization) -> Mapping[str, Any] | None:
    """The rate of the buyer's region, such as US-CA, else that of its country."""
    table: Mapping[str, Mapping[str, Any]] = settings.TAX
    return table.get(buyer.jurisdiction) or table.get(country_of(buyer))


def _reason(buyer: Organization, row: Mapping[str, Any]) -> Reason:
    if str(buyer.pk) in settings.TAX_EXEMPT:
        return Reason.EXEMPT
    country = country_of(buyer)
    is_elsewhere = country != settings.PLATFORM_COUNTRY
    if row.get("reverse_charge") and is_elsewhere and is_vat_id(buyer.vat_id, country):
        return Reason.REVERSE_CHARGE
    return Reason.STANDARD


# --- Stripe Tax -------------------------------------------------------------------------------


def _address(buyer: Organization) -> dict[str, str]:
    country, _dash, region = buyer.jurisdiction.partition("-")
    address = {"country": country}
    if region:
        address["state"] = region
    if buyer.registered_address:
        address["line1"] = buyer.registered_address
    return address


def _line_of(buyer: Organization, facts: TaxFacts) -> TaxLine:
    reason = _STRIPE_REASONS.get(facts.reason, Reason.STANDARD)
    if facts.amount_minor:
        reason = Reason.STANDARD
    return TaxLine(
        country=facts.country or country_of(buyer),
        rate_basis_points=facts.rate_basis_points,
        amount_minor=facts.amount_minor,
        inclusive=False,
        reason=reason,
        provider=Provider.STRIPE,
    )
