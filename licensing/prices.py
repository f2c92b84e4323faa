"""Prices: typed models of what a license costs, computed in integers, and said in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace import money
from marketplace.errors import InvalidInput, NotSupportedYet


class Model(StrEnum):
    """How a price comes about."""

    FREE = "free"
    FLAT = "flat"
    PER_UNIT = "per_unit"
    SUBSCRIPTION = "subscription"
    METERED = "metered"
    MILESTONES = "milestones"


class Unit(StrEnum):
    """What is counted. A snapshot's totals count it under its plural, or in PARTS of it."""

    WORK = "work"
    BYTE = "byte"
    WORD = "word"
    TOKEN = "token"
    PAGE = "page"
    MINUTE = "minute"
    MEGAPIXEL = "megapixel"
    # Of use, not of works: for metered prices alone.
    REQUEST = "request"


class Every(StrEnum):
    """How often something recurs."""

    MONTH = "month"
    YEAR = "year"


# Counted in something finer, and summed before it is rounded: of works that are shorter than a
# minute each, whole minutes would say nothing.
PARTS: dict[Unit, tuple[str, int]] = {
    Unit.MINUTE: ("seconds", 60),
    Unit.MEGAPIXEL: ("pixels", 1_000_000),
}

# What is priced here and cannot be charged yet: an offer may say it, no quote is made of it.
NOT_CHARGED_YET = frozenset({Model.SUBSCRIPTION, Model.METERED, Model.MILESTONES})

TIERS_MAX = 20
MILESTONES_MAX = 20
GOAL_MAX = 200
PER_MAX = 10**12
# A larger integer does not survive a JavaScript reader (RFC 7493).
QUANTITY_MAX = 2**53 - 1

# The price models, by example. What is left out of `per_unit` and `metered` is empty or null.
EXAMPLES: dict[Model, dict[str, Any]] = {
    Model.FREE: {"model": "free"},
    Model.FLAT: {"model": "flat", "amount_minor": 250_000},
    Model.PER_UNIT: {
        "model": "per_unit",
        "unit": "work",
        "tiers": [{"up_to": 10_000, "amount_minor": 5, "per": 1}],
        "rate": {"amount_minor": 2, "per": 1},
        "minimum_minor": 10_000,
        "cap_minor": 5_000_000,
    },
    Model.SUBSCRIPTION: {"model": "subscription", "amount_minor": 90_000, "every": "month"},
    Model.METERED: {
        "model": "metered",
        "unit": "token",
        "rate": {"amount_minor": 250, "per": 1_000_000},
        "every": "month",
    },
    Model.MILESTONES: {
        "model": "milestones",
        "milestones": [
            {"goal": "The agreement is signed", "amount_minor": 100_000},
            {"goal": "All works are delivered", "amount_minor": 150_000},
        ],
    },
}


@dataclass(frozen=True, slots=True)
class Rate:
    """So much for so many: 250 minor units for each 1,000,000 tokens. Never a fraction."""

    amount_minor: int
    per: int

    def of(self, quantity: int) -> int:
        """What a quantity costs, rounded once, half to even."""
        return money.round_half_even(quantity * self.amount_minor, self.per)

    def as_dict(self) -> dict[str, int]:
        return {"amount_minor": self.amount_minor, "per": self.per}


@dataclass(frozen=True, slots=True)
class Tier:
    """What the units from the tier before up to and including `up_to` cost. Graduated."""

    up_to: int
    rate: Rate


@dataclass(frozen=True, slots=True)
class Milestone:
    """A sum that falls due once the parties agree that a goal is reached."""

    goal: str
    amount_minor: int

    def as_dict(self) -> dict[str, str | int]:
        return {"goal": self.goal, "amount_minor": self.amount_minor}


@dataclass(frozen=True, slots=True)
class Price:
    """A price that was checked. Which fields it has, its model says (see EXAMPLES)."""

    model: Model
    amount_minor: int | None = None
    every: Every | None = None
    unit: Unit | None = None
    tiers: tuple[Tier, ...] = ()
    # What each unit above the last tier costs.
    rate: Rate | None = None
    minimum_minor: int | None = None
    cap_minor: int | None = None
    milestones: tuple[Milestone, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The typed JSON, every field of its model said."""
        typed: dict[str, Any] = {"model": self.model.value}
        if self.amount_minor is not None:
            typed["amount_minor"] = self.amount_minor
        if self.rate is not None and self.unit is not None:
            typed |= {
                "unit": self.unit.value,
                "tiers": [{"up_to": tier.up_to, **tier.rate.as_dict()} for tier in self.tiers],
                "rate": self.rate.as_dict(),
                "minimum_minor": self.minimum_minor,
                "cap_minor": self.cap_minor,
            }
        if self.every is not None:
            typed["every"] = self.every.value
        if self.milestones:
            typed["milestones"] = [each.as_dict() for each in self.milestones]
        return typed


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a price: an amount, and what it is for. The lines add up to the price."""

    # "license", "minimum" (what is missing to it) or "cap" (negative: what goes beyond it).
    kind: str
    amount_minor: int
    unit: Unit | None = None
    quantity: int = 0
    rate: Rate | None = None
    above: int = 0
    up_to: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """What anybody needs to compute the line again: quantity × amount / per, half to even."""
        shown: dict[str, Any] = {"kind": self.kind, "amount_minor": self.amount_minor}
        if self.unit is not None and self.rate is not None:
            shown |= {
                "unit": self.unit.value,
                "quantity": self.quantity,
                "rate": self.rate.as_dict(),
                "above": self.above,
            }
        if self.up_to is not None:
            shown["up_to"] = self.up_to
        return shown


# --- computing --------------------------------------------------------------------------------


def flat(amount_minor: int) -> Price:
    """One amount for everything; 0 is free."""
    if amount_minor == 0:
        return Price(Model.FREE)
    return Price(Model.FLAT, amount_minor=amount_minor)


def load(typed: Mapping[str, Any] | None, amount_minor: int) -> Price:
    """Read an offer's stored price. None: it was made before prices had models, and is flat."""
    return flat(amount_minor) if typed is None else parse(typed)


def lines(price: Price, totals: Mapping[str, int]) -> list[Line]:
    """What a snapshot costs now, line by line, each rounded once.

    `totals` are the snapshot's. Raises InvalidInput (`price.unit`) for what they do not count.
    """
    match price.model:
        case Model.FREE:
            return [Line("license", 0)]
        case Model.FLAT | Model.SUBSCRIPTION:
            assert price.amount_minor is not None
            return [Line("license", price.amount_minor)]
        case Model.METERED:
            # Nothing was used yet: no more than the minimum is sure.
            return [Line("license", price.minimum_minor or 0)]
        case Model.PER_UNIT:
            return _bounded(price, _tier_by_tier(price, quantity(price, totals)))
        case Model.MILESTONES:
            return [Line("license", each.amount_minor) for each in price.milestones]


def total_minor(of: Sequence[Line]) -> int:
    return sum(line.amount_minor for line in of)


def quantity(price: Price, totals: Mapping[str, int]) -> int:
    """How many of its unit a snapshot has, rounded once, half to even.

    Raises InvalidInput where the snapshot does not say.
    """
    assert price.unit is not None
    found = _counted(price.unit, totals)
    if found is None:
        known = (f"{unit.value}s" for unit in Unit if _counted(unit, totals) is not None)
        raise InvalidInput(
            _(
                "This snapshot does not say how many %(counted)s it has: it does where each of its"
                " works does. It counts %(known)s: price by one of them, or give a flat amount."
            )
            % {"counted": f"{price.unit.value}s", "known": ", ".join(sorted(known))},
            param="price.unit",
        )
    return found


def _counted(unit: Unit, totals: Mapping[str, int]) -> int | None:
    part, per = PARTS.get(unit, (f"{unit.value}s", 1))
    return money.round_half_even(totals[part], per) if part in totals else None


def check(price: Price, totals: Mapping[str, int], currency: str) -> int:
    """Return what a snapshot costs at least now. Raises InvalidInput for what none could charge."""
    due = total_minor(lines(price, totals))
    money.check_price(due, currency, param="price")
    if price.model == Model.PER_UNIT and due == 0:
        raise InvalidInput(
            _(
                "For this snapshot the price comes to 0. Give a minimum_minor, or say"
                " {“model”: “free”}."
            ),
            param="price",
        )
    if price.model in NOT_CHARGED_YET:
        # Each would be charged by itself.
        parts = (price.minimum_minor, price.cap_minor, *(m.amount_minor for m in price.milestones))
        for amount_minor in parts:
            money.check_price(amount_minor or 0, currency, param="price")
    return due


def check_chargeable(price: Price) -> None:
    """Raise NotSupportedYet for a model that is priced here and not charged yet."""
    if price.model in NOT_CHARGED_YET:
        raise NotSupportedYet(
            _(
                "This market cannot charge “%(model)s” yet, so it does not sell it. Ask the seller"
                " for an offer at a flat price or per unit."
            )
            % {"model": price.model.value},
            param="offer",
            model=price.model.value,
        )


def basis(price: Price, totals: Mapping[str, int], currency: str) -> dict[str, Any]:
    """What a grant and its ledger entry say of the price: the typed price, and what it came to."""
    found = {
        **price.as_dict(),
        "amount_minor": total_minor(lines(price, totals)),
        "currency": currency,
    }
    if price.model == Model.PER_UNIT:
        found["quantity"] = quantity(price, totals)
    return found


def _tier_by_tier(price: Price, counted: int) -> list[Line]:
    assert price.rate is not None
    found: list[Line] = []
    above = 0
    steps: list[tuple[int | None, Rate]] = [(tier.up_to, tier.rate) for tier in price.tiers]
    for up_to, rate in [*steps, (None, price.rate)]:
        within = (counted if up_to is None else min(counted, up_to)) - above
        if within <= 0 and found:
            break
        found.append(Line("license", rate.of(within), price.unit, within, rate, above, up_to))
        above += within
    return found


def _bounded(price: Price, of: list[Line]) -> list[Line]:
    """Add what is missing to the minimum, or take off what goes beyond the cap."""
    sum_minor = total_minor(of)
    if price.minimum_minor is not None and sum_minor < price.minimum_minor:
        return [*of, Line("minimum", price.minimum_minor - sum_minor)]
    if price.cap_minor is not None and sum_minor > price.cap_minor:
        return [*of, Line("cap", price.cap_minor - sum_minor)]
    return of


# --- words ------------------------------------------------------------------------------------


def in_words(price: Price, totals: Mapping[str, int], currency: str) -> list[str]:
    """The price basis as lines of a contract. In English: these words are hashed and accepted."""
    match price.model:
        case Model.FREE:
            return ["Basis: the license is free of charge."]
        case Model.FLAT:
            return ["Basis: one amount for all the works together."]
        case Model.PER_UNIT:
            assert price.unit is not None
            counted = _several(quantity(price, totals), price.unit)
            bounds = [
                f"{name}: {money.show(bound, currency)}."
                for name, bound in (
                    ("No less than", price.minimum_minor),
                    ("No more than", price.cap_minor),
                )
                if bound is not None
            ]
            return [
                " ".join([f"Basis: per {price.unit.value}, for {counted}.", *bounds]),
                *(_line_in_words(line, currency) for line in lines(price, totals)),
            ]
    raise AssertionError(f"No contract is made at a price by {price.model}.")


def shown(
    price: Price, amount_minor: int, currency: str, write: Callable[[int, str], str] = money.show
) -> str:
    """A price as a page shows it: what it comes to now, and by which rate.

    `write` writes amounts: as in contracts, or as `preferences.amount` has them for a reader.
    """
    due = write(amount_minor, currency)
    match price.model:
        case Model.FREE:
            return _("free")
        case Model.SUBSCRIPTION:
            return _("%(due)s every %(every)s") % {"due": due, "every": price.every}
        case Model.METERED | Model.PER_UNIT:
            assert price.rate is not None
            assert price.unit is not None
            by = _rate_shown(price.rate, price.unit, write(price.rate.amount_minor, currency))
            return f"{due} ({by})" if amount_minor else by
        case Model.MILESTONES:
            return _("%(due)s in %(count)s parts") % {"due": due, "count": len(price.milestones)}
    return due


def _line_in_words(line: Line, currency: str) -> str:
    amount = money.show(line.amount_minor, currency)
    if line.unit is None or line.rate is None:
        return (
            f"Up to the minimum: {amount}"
            if line.kind == "minimum"
            else f"Beyond the maximum: {amount}"
        )
    rate = _rate_in_words(line.rate, line.unit, currency)
    counted = _several(line.quantity, line.unit)
    after = f" after the first {line.above:,}" if line.above else ""
    return f"{counted}{after}, at {rate}: {amount}"


def _rate_in_words(rate: Rate, unit: Unit, currency: str) -> str:
    each = unit.value if rate.per == 1 else f"{rate.per:,} {unit.value}s"
    return f"{money.show(rate.amount_minor, currency)} per {each}"


def _rate_shown(rate: Rate, unit: Unit, amount: str) -> str:
    if rate.per == 1:
        return _EACH[unit] % {"amount": amount}
    return _SO_MANY[unit] % {"amount": amount, "count": f"{rate.per:,}"}


_EACH = {
    Unit.WORK: gettext_lazy("%(amount)s per work"),
    Unit.BYTE: gettext_lazy("%(amount)s per byte"),
    Unit.WORD: gettext_lazy("%(amount)s per word"),
    Unit.TOKEN: gettext_lazy("%(amount)s per token"),
    Unit.PAGE: gettext_lazy("%(amount)s per page"),
    Unit.MINUTE: gettext_lazy("%(amount)s per minute"),
    Unit.MEGAPIXEL: gettext_lazy("%(amount)s per megapixel"),
    Unit.REQUEST: gettext_lazy("%(amount)s per request"),
}
_SO_MANY = {
    Unit.WORK: gettext_lazy("%(amount)s per %(count)s works"),
    Unit.BYTE: gettext_lazy("%(amount)s per %(count)s bytes"),
    Unit.WORD: gettext_lazy("%(amount)s per %(count)s words"),
    Unit.TOKEN: gettext_lazy("%(amount)s per %(count)s tokens"),
    Unit.PAGE: gettext_lazy("%(amount)s per %(count)s pages"),
    Unit.MINUTE: gettext_lazy("%(amount)s per %(count)s minutes"),
    Unit.MEGAPIXEL: gettext_lazy("%(amount)s per %(count)s megapixels"),
    Unit.REQUEST: gettext_lazy("%(amount)s per %(count)s requests"),
}


def _several(count: int, unit: Unit) -> str:
    return f"1 {unit.value}" if count == 1 else f"{count:,} {unit.value}s"


# --- reading strictly -------------------------------------------------------------------------

_RATED = ("unit", "rate", "tiers", "minimum_minor", "cap_minor")
# The fields of each model, beside `model`: required, optional.
_FIELDS: dict[Model, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Model.FREE: ((), ()),
    Model.FLAT: (("amount_minor",), ()),
    Model.PER_UNIT: (_RATED[:2], _RATED[2:]),
    Model.SUBSCRIPTION: (("amount_minor", "every"), ()),
    Model.METERED: ((*_RATED[:2], "every"), _RATED[2:]),
    Model.MILESTONES: (("milestones",), ()),
}


def parse(typed: Any) -> Price:
    """Check a typed price (see EXAMPLES). Raises InvalidInput naming the field."""
    path = "price"
    if not isinstance(typed, Mapping):
        raise InvalidInput(_("Give an object, such as {“model”: “free”}."), param=path)
    if "model" not in typed:
        raise InvalidInput(_("This field is required."), param=f"{path}.model")
    model = _word(typed["model"], Model, f"{path}.model")
    required, optional = _FIELDS[model]
    fields = _object(typed, path, ("model", *required), optional)
    if "rate" in required:
        return _rated(model, fields)
    if model == Model.MILESTONES:
        return Price(model, milestones=_milestones(fields["milestones"]))
    price = Price(model)
    if "amount_minor" in required:
        amount = _amount(fields["amount_minor"], f"{path}.amount_minor")
        if amount == 0:
            raise _say_free(f"{path}.amount_minor")
        every = _word(fields["every"], Every, f"{path}.every") if "every" in required else None
        price = Price(model, amount_minor=amount, every=every)
    return price


def _rated(model: Model, fields: Mapping[str, Any]) -> Price:
    unit = _word(fields["unit"], Unit, "price.unit")
    if model == Model.PER_UNIT and unit == Unit.REQUEST:
        raise InvalidInput(
            _("Requests are counted when they are made: use the model “metered”."),
            param="price.unit",
        )
    tiers = _tiers(fields.get("tiers"))
    rate = _rate(_object(fields["rate"], "price.rate", ("amount_minor", "per")), "price.rate")
    if not any(each.amount_minor for each in (rate, *(tier.rate for tier in tiers))):
        raise _say_free("price.rate")
    bounds = [
        None if fields.get(name) is None else _amount(fields[name], f"price.{name}")
        for name in ("minimum_minor", "cap_minor")
    ]
    minimum, cap = bounds
    if cap == 0:
        raise _say_free("price.cap_minor")
    if minimum is not None and cap is not None and cap < minimum:
        raise InvalidInput(
            _("The cap is below the minimum. Raise it, or lower the minimum."),
            param="price.cap_minor",
        )
    every = _word(fields["every"], Every, "price.every") if model == Model.METERED else None
    return Price(
        model,
        every=every,
        unit=unit,
        tiers=tiers,
        rate=rate,
        minimum_minor=minimum,
        cap_minor=cap,
    )


def _tiers(value: Any) -> tuple[Tier, ...]:
    path = "price.tiers"
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > TIERS_MAX:
        raise InvalidInput(
            _("Give a list of up to %(most)s tiers.") % {"most": TIERS_MAX}, param=path
        )
    tiers: list[Tier] = []
    for place, item in enumerate(value):
        at = f"{path}[{place}]"
        fields = _object(item, at, ("up_to", "amount_minor", "per"))
        if fields["up_to"] is None:
            raise InvalidInput(
                _("Each tier ends somewhere: what lies above the last one costs `rate`."),
                param=f"{at}.up_to",
            )
        up_to = _integer(fields["up_to"], f"{at}.up_to", 1, QUANTITY_MAX)
        if tiers and up_to <= tiers[-1].up_to:
            raise InvalidInput(
                _("Tiers ascend: this one ends no later than the one before."),
                param=f"{at}.up_to",
            )
        tiers.append(Tier(up_to, _rate(fields, at)))
    return tuple(tiers)


def _milestones(value: Any) -> tuple[Milestone, ...]:
    path = "price.milestones"
    if not isinstance(value, list) or not 1 <= len(value) <= MILESTONES_MAX:
        raise InvalidInput(
            _("Give a list of 1 to %(most)s milestones.") % {"most": MILESTONES_MAX}, param=path
        )
    milestones: list[Milestone] = []
    for place, item in enumerate(value):
        at = f"{path}[{place}]"
        fields = _object(item, at, ("goal", "amount_minor"))
        amount = _amount(fields["amount_minor"], f"{at}.amount_minor")
        if amount == 0:
            raise InvalidInput(
                _("Each milestone has a sum that falls due."), param=f"{at}.amount_minor"
            )
        milestones.append(Milestone(_goal(fields["goal"], f"{at}.goal"), amount))
    return tuple(milestones)


def _goal(value: Any, path: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= GOAL_MAX or not value.isprintable():
        raise InvalidInput(
            _("Say the goal in one line of up to %(most)s characters.") % {"most": GOAL_MAX},
            param=path,
        )
    return value


def _rate(fields: Mapping[str, Any], path: str) -> Rate:
    return Rate(
        _amount(fields["amount_minor"], f"{path}.amount_minor"),
        _integer(fields["per"], f"{path}.per", 1, PER_MAX),
    )


def _say_free(param: str) -> InvalidInput:
    return InvalidInput(_("Nothing costs anything here. Say {“model”: “free”}."), param=param)


def _object(
    value: Any, path: str, required: Sequence[str], optional: Sequence[str] = ()
) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInput(_("Give an object."), param=path)
    known = (*required, *optional)
    for name in value:
        if name not in known:
            raise InvalidInput(
                _("This field is unknown. Known: %(known)s.") % {"known": ", ".join(known)},
                param=f"{path}.{name}",
            )
    for name in required:
        if name not in value:
            raise InvalidInput(_("This field is required."), param=f"{path}.{name}")
    return value


def _amount(value: Any, path: str) -> int:
    return _integer(value, path, 0, money.STRIPE_MAXIMUM_MINOR)


def _integer(value: Any, path: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise InvalidInput(
            _("Give a whole number from %(least)s to %(most)s.") % {"least": least, "most": most},
            param=path,
        )
    return value


Word = TypeVar("Word", bound=StrEnum)


def _word(value: Any, words: type[Word], path: str) -> Word:
    try:
        return words(value)
    except ValueError:
        known = ", ".join(word.value for word in words)
        raise InvalidInput(_("Use one of: %(known)s.") % {"known": known}, param=path) from None
