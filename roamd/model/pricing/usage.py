"""What a CDR says was used, as stretches of time in order. Made of checked bodies only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from typing import Any

from roamd.model.times import parse_time

HOUR = 3600


@dataclass(frozen=True, slots=True)
class Stretch:
    """One charging period, or a part of one. `period` is its index in the CDR.

    Seconds are of charging, of parking and of reservation; `levels` holds what was measured of power (kW) and current
    (A) by the dimension's name.
    """

    period: int
    start: datetime
    end: datetime
    tariff_id: str | None
    kwh: Fraction = Fraction(0)
    charging_s: Fraction = Fraction(0)
    parking_s: Fraction = Fraction(0)
    reserved_s: Fraction = Fraction(0)
    levels: Mapping[str, Fraction] = field(default_factory=dict)

    @property
    def is_reservation(self) -> bool:
        """Whether it is priced by the elements for reservations."""
        return self.reserved_s > 0 and not (self.kwh or self.charging_s or self.parking_s)


@dataclass(frozen=True, slots=True)
class Usage:
    """A session. `expired`: reserved, and never charged."""

    stretches: tuple[Stretch, ...]
    expired: bool


def read_usage(cdr: Mapping[str, Any]) -> Usage:
    """A checked CDR's charging periods. Raises ValueError when they are not in the order of time."""
    periods = cdr["charging_periods"]
    ends = [_time(period["start_date_time"]) for period in periods] + [_time(cdr["end_date_time"])]
    if any(later < earlier for earlier, later in pairwise(ends)):
        raise ValueError("the charging periods are not in the order of time")
    stretches = tuple(part for place, period in enumerate(periods) for part in _parts(place, period, *ends[place:][:2]))
    return Usage(stretches, bool(stretches) and all(stretch.is_reservation for stretch in stretches))


def _parts(place: int, period: Mapping[str, Any], start: datetime, end: datetime) -> Iterable[Stretch]:
    """The period; reserved time in a period in which there was charging, too, comes first and by itself."""
    sums: dict[str, Fraction] = {}
    for dimension in period["dimensions"]:
        kind = str(dimension["type"])
        sums[kind] = sums.get(kind, Fraction(0)) + Fraction(dimension["volume"])
    tariff_id = period.get("tariff_id")
    reserved_s = sums.pop("RESERVATION_TIME", Fraction(0)) * HOUR
    if reserved_s:
        yield Stretch(place, start, end, tariff_id, reserved_s=reserved_s)
    if sums or not reserved_s:
        yield Stretch(
            place,
            start,
            end,
            tariff_id,
            kwh=sums.pop("ENERGY", Fraction(0)),
            charging_s=sums.pop("TIME", Fraction(0)) * HOUR,
            parking_s=sums.pop("PARKING_TIME", Fraction(0)) * HOUR,
            levels=sums,
        )


def _time(text: str) -> datetime:
    found = parse_time(text)
    if found is None:
        raise ValueError("a time that is none")
    return found
