"""Does a record cost what its tariff says? Each of its totals is held against the price, and a difference explained.

Rounding of money is deliberately not defined by OCPI; how two companies round is part of what they agree on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import tzinfo
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Decimal, localcontext
from fractions import Fraction
from typing import Any, Final

import msgspec

from roamd.model.pricing.engine import KINDS, Line, Priced, price
from roamd.model.pricing.tariff import Money, Tariff, UnreadableTariffError, read_tariff, stated_money
from roamd.model.pricing.usage import HOUR, Usage, read_usage

MODES: Final = {"HALF_UP": ROUND_HALF_UP, "HALF_EVEN": ROUND_HALF_EVEN, "UP": ROUND_UP, "DOWN": ROUND_DOWN}

AGREES, DIFFERS, UNSURE, UNPRICED = "AGREES", "DIFFERS", "UNSURE", "UNPRICED"
"""UNSURE: it differs, and so may the price, since the record leaves something open. UNPRICED: no price can be made."""


class Rounding(msgspec.Struct, frozen=True, omit_defaults=True):
    """How two companies round money: `decimals` places, by `mode`, each LINE or the TOTAL alone."""

    decimals: int = 2
    mode: str = "HALF_UP"
    level: str = "TOTAL"

    def __post_init__(self) -> None:
        if not 0 <= self.decimals <= 6:
            raise ValueError("decimals are from 0 to 6")
        if self.mode not in MODES:
            raise ValueError(f"mode is one of {', '.join(MODES)}")
        if self.level not in ("LINE", "TOTAL"):
            raise ValueError("level is LINE or TOTAL")

    def round(self, amount: Fraction) -> Decimal:
        """An exact amount as money."""
        return rounded(amount, self.decimals, self.mode)

    def round_decimal(self, amount: Decimal) -> Decimal:
        """The same of an amount that has an end."""
        return self.round(Fraction(amount))


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of the record that is not as priced; amounts in the record's currency."""

    field: str
    stated: Decimal
    priced: Decimal

    @property
    def amount(self) -> Decimal:
        """What the record asks for too much; less than zero when it is too little."""
        return self.stated - self.priced


@dataclass(frozen=True, slots=True)
class Check:
    """What came of it. `lines` explain the price; `reason` says why there is none."""

    verdict: str
    total: Decimal | None = None
    lines: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    doubts: tuple[str, ...] = ()
    reason: str | None = None


def check_cdr(
    cdr: Mapping[str, Any],
    *,
    published: Mapping[str, Tariff] | None = None,
    zone: tzinfo | None = None,
    rounding: Rounding | None = None,
    tolerance: Decimal = Decimal("0.01"),
) -> Check:
    """Hold a checked CDR against its tariffs.

    `published` are tariffs, by id, that go before those in the record: its author made these, too. `tolerance` is what
    an amount may differ by and still agree.
    """
    rounding = rounding or Rounding()
    try:
        tariffs = {tariff.id: tariff for tariff in map(read_tariff, cdr.get("tariffs") or ())} | dict(published or {})
        if not tariffs:  # told before the periods are read: where tariffs are not exchanged it is every record
            named = (period.get("tariff_id") for period in cdr["charging_periods"])
            return unpriced(next(filter(None, named), ""))
        _require_one_currency(cdr, tariffs.values())
        usage = _with_default_tariff(read_usage(cdr), tariffs)
        priced = price(usage, tariffs, zone)
    except (UnreadableTariffError, ValueError, OverflowError) as error:
        return Check(UNPRICED, reason=str(error))
    differences = tuple(_differences(cdr, usage, priced, rounding, tolerance))
    verdict = AGREES if not differences else UNSURE if priced.doubts else DIFFERS
    total = None if priced.total.before is None else rounding.round(priced.total.before)
    lines = tuple(_explained(line, rounding, str(cdr["currency"])) for line in priced.lines)
    if priced.bounded:
        lines += (f"the tariff's {priced.bounded} applies",)
    return Check(verdict, total, lines, differences, tuple(priced.doubts))


def unpriced(named: str) -> Check:
    """What comes of a CDR that no tariff is known for; the first one that it names, or ""."""
    return Check(UNPRICED, reason=f"its tariff {named} is not known" if named else _NO_TARIFF)


_NO_TARIFF: Final = "it comes with no tariff, and none is known"


def _require_one_currency(cdr: Mapping[str, Any], tariffs: Iterable[Tariff]) -> None:
    if other := [tariff.currency for tariff in tariffs if tariff.currency != cdr["currency"]]:
        raise ValueError(f"the record is in {cdr['currency']}, its tariff in {other[0]}")


def _with_default_tariff(usage: Usage, tariffs: Mapping[str, Tariff]) -> Usage:
    """A record with one tariff whose periods do not name it means that one; else no name is no tariff (OCPI)."""
    if any(stretch.tariff_id is not None for stretch in usage.stretches):
        return usage
    if len(tariffs) != 1:
        raise ValueError("its periods name no tariff")
    (only,) = tariffs
    return Usage(tuple(replace(stretch, tariff_id=only) for stretch in usage.stretches), usage.expired)


_COSTS: Final = (*dict.fromkeys(KINDS.values()), "reservation")


def _differences(
    cdr: Mapping[str, Any], usage: Usage, priced: Priced, rounding: Rounding, tolerance: Decimal
) -> Iterable[Difference]:
    is_credit = cdr.get("credit") is True
    stated = {"total_cost": (cdr["total_cost"], _total(priced, rounding))}
    for kind in _COSTS:
        if cdr.get(f"total_{kind}_cost") is not None:
            stated[f"total_{kind}_cost"] = (cdr[f"total_{kind}_cost"], _of_kind(priced, kind, rounding))
    for name, (given, wanted) in stated.items():
        yield from _money(name, stated_money(given), wanted, is_credit, rounding, tolerance)
    yield from _amounts(cdr, usage)


def _money(
    name: str, given: Money, wanted: Money, is_credit: bool, rounding: Rounding, tolerance: Decimal
) -> Iterable[Difference]:
    for side, one, other in (("before", given.before, wanted.before), ("after", given.after, wanted.after)):
        if one is None or other is None:
            continue
        # A credit's total is below zero; its other totals are written with either sign.
        sign = -1 if is_credit and (one < 0 or name == "total_cost") else 1
        given_amount = as_stated(sign * one, rounding.decimals)
        difference = Difference(f"{name}.{side}_taxes", given_amount, rounding.round(other))
        if abs(difference.amount) > tolerance:
            yield difference


def _total(priced: Priced, rounding: Rounding) -> Money:
    """By line, each line's cents are added; a limit that moved the total is the total."""
    if rounding.level == "TOTAL" or priced.bounded:
        return priced.total
    return sum((_rounded_money(line.cost, rounding) for line in priced.lines), Money(Fraction(0), Fraction(0)))


def _of_kind(priced: Priced, kind: str, rounding: Rounding) -> Money:
    if rounding.level == "TOTAL":
        return priced.of(kind)
    costs = (_rounded_money(line.cost, rounding) for line in priced.lines if line.kind == kind)
    return sum(costs, Money(Fraction(0), Fraction(0)))


def _rounded_money(money: Money, rounding: Rounding) -> Money:
    before, after = (None if side is None else Fraction(rounding.round(side)) for side in (money.before, money.after))
    return Money(before, after)


_NEAR: Final = Decimal("0.01")
"""kWh and hours that totals may differ from their periods: both are written with few places."""


def _amounts(cdr: Mapping[str, Any], usage: Usage) -> Iterable[Difference]:
    """The totals of energy and time against the periods; a total is not wrong for periods that do not tell."""
    sums = {
        "total_energy": sum((stretch.kwh for stretch in usage.stretches), Fraction(0)),
        "total_time": sum((s.charging_s + s.parking_s for s in usage.stretches), Fraction(0)) / HOUR,
        "total_parking_time": sum((stretch.parking_s for stretch in usage.stretches), Fraction(0)) / HOUR,
    }
    for name, amount in sums.items():
        if cdr.get(name) is not None and amount:
            difference = Difference(name, as_stated(Fraction(cdr[name]), 0), as_stated(amount, 0))
            if abs(difference.amount) > _NEAR:
                yield difference


_UNITS: Final = {"ENERGY": "kWh", "TIME": "h", "PARKING_TIME": "h parking", "FLAT": "time"}


def _explained(line: Line, rounding: Rounding, currency: str) -> str:
    """As an operator reads it: `tariff 12 element 0: 2 h x 2 = 4.00 EUR before taxes (with 0.027 to the full step)`."""
    component = line.component
    quantity = f"{_plain(line.quantity + line.rounded_up)} {_UNITS[component.dimension]}"
    side, amount = ("before", line.cost.before) if line.cost.before is not None else ("after", line.cost.after)
    step = f" (with {_plain(line.rounded_up)} to the full step)" if line.rounded_up else ""
    cost = rounding.round(amount or Fraction(0))
    what = "reservation, " if line.kind == "reservation" else ""
    return (
        f"tariff {line.tariff_id} element {line.element}: {what}{quantity} x {_plain(component.price)}"
        f" = {cost} {currency} {side} taxes{step}"
    )


def _plain(value: Fraction) -> str:
    text = format(rounded(value, 4), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def as_stated(value: Fraction, decimals: int) -> Decimal:
    """To `decimals` places, and to as many as six where it has them, so that a record's own odd cents are seen."""
    whole, _, places = format(rounded(value, 6), "f").partition(".")
    return Decimal(f"{whole}.{places.rstrip('0').ljust(decimals, '0')}")


def rounded(value: Fraction, decimals: int, mode: str = "HALF_UP") -> Decimal:
    """An exact value to some places; a half that is exactly one is seen as one."""
    with localcontext() as context:
        context.prec = 60
        scaled = value * 10**decimals
        whole, rest = divmod(abs(scaled), 1)
        # Any value that is neither 0 nor a half stands for all between; so rounding needs no long division.
        part = (
            Decimal(0)
            if rest == 0
            else Decimal("0.5")
            if rest * 2 == 1
            else Decimal("0.25" if rest * 2 < 1 else "0.75")
        )
        units = (Decimal(int(whole)) + part).quantize(Decimal(1), MODES[mode])
        return (units if scaled >= 0 else -units).scaleb(-decimals)
