"""OCPI tariffs of both versions as the engine reads them. Made of checked bodies only, and never encoded back.

Numbers become fractions: an hour's price for some seconds has no end as a decimal, and two ways to add up the same
parts must give the same sum. What the fields mean is section 7 of the reference's OCPI model.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, TypeVar

Body = Mapping[str, Any]
_T = TypeVar("_T", time, date)

DAYS: Final = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
"""As `date.weekday` counts them."""

DIMENSIONS: Final = ("FLAT", "ENERGY", "TIME", "PARKING_TIME")


class UnreadableTariffError(ValueError):
    """The tariff says something that this engine does not know; a price made without it would be a guess."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount before and after taxes; None where the text does not say."""

    before: Fraction | None
    after: Fraction | None

    def __add__(self, other: "Money") -> "Money":
        return Money(_sum(self.before, other.before), _sum(self.after, other.after))


NOTHING: Final = Money(Fraction(0), Fraction(0))


@dataclass(frozen=True, slots=True)
class Component:
    """One price: per kWh, per hour or once. `step` is in Wh or s."""

    dimension: str
    price: Fraction
    vat: Fraction | None
    step: int

    def cost(self, quantity: Fraction, taxes: str) -> Money:
        """What `quantity` (kWh, h or 1) costs, unrounded.

        `taxes`: "ADDED" (OCPI 2.2.1: no `vat` is no VAT), "NO" (2.3.0: no `vat` is tax unknown), "YES" (the price holds
        them), "N/A" (there are none).
        """
        amount = quantity * self.price
        if taxes == "N/A" or (taxes == "ADDED" and self.vat is None):
            return Money(amount, amount)
        if taxes == "YES":
            return Money(None if self.vat is None else amount / (1 + self.vat / 100), amount)
        return Money(amount, None if self.vat is None else amount * (1 + self.vat / 100))


@dataclass(frozen=True, slots=True)
class Restrictions:
    """When an element applies; None and empty restrict nothing. Lower bounds are part of the range, upper ones not."""

    start_time: time | None = None
    end_time: time | None = None
    start_date: date | None = None
    end_date: date | None = None
    days: frozenset[int] = frozenset()
    kwh: tuple[Fraction | None, Fraction | None] = (None, None)
    current: tuple[Fraction | None, Fraction | None] = (None, None)
    power: tuple[Fraction | None, Fraction | None] = (None, None)
    duration: tuple[Fraction | None, Fraction | None] = (None, None)
    """Seconds."""
    reservation: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the station's time zone is needed to judge it."""
        return bool(self.start_time or self.end_time or self.start_date or self.end_date or self.days)


@dataclass(frozen=True, slots=True)
class Element:
    """Prices that apply together. `place` is its index in the tariff."""

    place: int
    components: Mapping[str, Component]
    restrictions: Restrictions


@dataclass(frozen=True, slots=True)
class Tariff:
    """One tariff; `taxes` is as in Component.cost."""

    id: str
    currency: str
    taxes: str
    elements: tuple[Element, ...]
    min_price: Money
    max_price: Money


def read_tariff(body: Body) -> Tariff:
    """A checked Tariff body, numbers as int or Decimal. Raises UnreadableTariffError."""
    return Tariff(
        id=str(body["id"]),
        currency=str(body["currency"]),
        taxes=_taxes(body),
        elements=tuple(_element(place, element) for place, element in enumerate(body["elements"])),
        min_price=_limit(body.get("min_price")),
        max_price=_limit(body.get("max_price")),
    )


def stated_money(price: object) -> Money:
    """A checked Price or PriceLimit of either version; absent taxes are unknown."""
    if isinstance(price, (int, Decimal)):
        return Money(Fraction(price), None)
    body: Body = price if isinstance(price, dict) else {}
    before = _fraction(body.get("before_taxes", body.get("excl_vat")))
    after = _fraction(body.get("after_taxes", body.get("incl_vat")))
    if after is None and before is not None and body.get("taxes") is not None:
        after = before + sum((Fraction(tax["amount"]) for tax in body["taxes"]), Fraction(0))
    return Money(before, after)


def _taxes(body: Body) -> str:
    included = body.get("tax_included")
    if included is None:
        return "ADDED"
    if included not in ("YES", "NO", "N/A"):
        raise UnreadableTariffError(f"tax_included is {included!s:.20}")
    return str(included)


def _element(place: int, body: Body) -> Element:
    components: dict[str, Component] = {}
    for component in body["price_components"]:
        # Of two components of a dimension in one element the text says nothing; the first is the element's.
        components.setdefault(str(component["type"]), _component(component))
    return Element(place, components, _restrictions(body.get("restrictions") or {}))


def _component(body: Body) -> Component:
    if body["type"] not in DIMENSIONS:
        raise UnreadableTariffError(f"a price for {body['type']!s:.30}")
    return Component(
        str(body["type"]), Fraction(body["price"]), _fraction(body.get("vat")), max(1, int(body["step_size"]))
    )


def _restrictions(body: Body) -> Restrictions:
    reservation = body.get("reservation")
    if reservation not in (None, "RESERVATION", "RESERVATION_EXPIRES"):
        raise UnreadableTariffError(f"reservation is {reservation!s:.30}")
    if unknown := sorted(name for name, value in body.items() if value is not None and name not in _KNOWN):
        raise UnreadableTariffError(f"an unknown restriction: {unknown[0]:.30}")
    return Restrictions(
        start_time=_parsed(time, body.get("start_time")),
        end_time=_parsed(time, body.get("end_time")),
        start_date=_parsed(date, body.get("start_date")),
        end_date=_parsed(date, body.get("end_date")),
        days=_days(body.get("day_of_week") or ()),
        kwh=_range(body, "kwh"),
        current=_range(body, "current"),
        power=_range(body, "power"),
        duration=_range(body, "duration"),
        reservation=reservation,
    )


_RANGES: Final = ("kwh", "current", "power", "duration")
_KNOWN: Final = frozenset(("start_time", "end_time", "start_date", "end_date", "day_of_week", "reservation")).union(
    f"{bound}_{name}" for bound in ("min", "max") for name in _RANGES
)


def _days(names: Iterable[str]) -> frozenset[int]:
    try:
        return frozenset(DAYS.index(name) for name in names)
    except ValueError as error:
        raise UnreadableTariffError("an unknown day of the week") from error


def _parsed(kind: type[_T], text: str | None) -> _T | None:
    try:
        return None if text is None else kind.fromisoformat(text)
    except ValueError as error:
        raise UnreadableTariffError(f"no {kind.__name__}: {text!s:.20}") from error


def _range(body: Body, name: str) -> tuple[Fraction | None, Fraction | None]:
    return _fraction(body.get(f"min_{name}")), _fraction(body.get(f"max_{name}"))


def _limit(price: object) -> Money:
    return Money(None, None) if price is None else stated_money(price)


def _fraction(value: object) -> Fraction | None:
    return Fraction(value) if isinstance(value, (int, Decimal)) else None


def _sum(one: Fraction | None, other: Fraction | None) -> Fraction | None:
    return None if one is None or other is None else one + other
