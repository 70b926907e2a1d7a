"""Cutting what was used where a tariff's price changes.

OCPI wants a new charging period at every event that matters for the price; many records have one for the whole session.
So a period is cut where a restriction begins or ends within it, and its amounts are taken as even over its time. The
cut is exact for what depends on time and on energy; what depends on power or current cannot be cut.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from fractions import Fraction
from itertools import product

from roamd.model.pricing.tariff import Restrictions, Tariff
from roamd.model.pricing.usage import Stretch

MAX_DAYS = 62
"""Days of a period that are cut by their hours: nobody charges for longer, and a hostile record would cost much."""

MAX_WORK = 20_000
"""A CDR has tens of periods, its tariff tens of elements. A hostile one of 16 KiB, 40 days and an element for each
minute took 2.5 s of a processor, and four times as much for twice the size, before this was counted where it arises."""


class Work:
    """What may be spent on one record: parts times elements, and instants."""

    def __init__(self) -> None:
        self._left = MAX_WORK

    def spend(self, amount: int) -> None:
        """Raises ValueError when it is more than there is left."""
        self._left -= amount
        if self._left < 0:
            raise ValueError("it has more periods and elements than are looked at")


def cut(
    stretch: Stretch, tariff: Tariff, *, kwh: Fraction, elapsed_s: Fraction, zone: tzinfo, work: Work | None = None
) -> list[Stretch]:
    """The parts of a stretch over each of which every restriction holds or does not, in order.

    `kwh` and `elapsed_s`: what the session had used before it. ValueError when it takes more than `work` allows.
    """
    work = work or Work()
    limits = [element.restrictions for element in tariff.elements]
    places = sorted({*_by_amount(stretch, limits, kwh, elapsed_s), *_by_clock(stretch, limits, zone, work)})
    work.spend((len(places) + 1) * len(limits))
    return [
        _part(stretch, begin, end) for begin, end in zip([Fraction(0), *places], [*places, Fraction(1)], strict=True)
    ]


def _by_amount(
    stretch: Stretch, limits: Iterable[Restrictions], kwh: Fraction, elapsed_s: Fraction
) -> Iterator[Fraction]:
    """Where in the stretch, as shares of it between 0 and 1, energy or time reach a bound."""
    length_s = _seconds(stretch.end - stretch.start)
    for each in limits:
        for bound in each.kwh:
            if bound is not None and 0 < (place := _share(bound, kwh, stretch.kwh)) < 1:
                yield place
        for bound in each.duration:
            if bound is not None and 0 < (place := _share(bound, elapsed_s, length_s)) < 1:
                yield place


def _by_clock(stretch: Stretch, limits: Iterable[Restrictions], zone: tzinfo, work: Work) -> Iterator[Fraction]:
    """The same where a local time, or a day, begins that matters to any of them."""
    local = [each for each in limits if each.is_local]
    if not local:
        return
    hours = {time(0), *(hour for each in local for hour in (each.start_time, each.end_time) if hour is not None)}
    first, last = (at.astimezone(zone).date() for at in (stretch.start, stretch.end))
    days = min((last - first).days, MAX_DAYS) + 1
    work.spend(days * len(hours))
    length_s = _seconds(stretch.end - stretch.start)
    for day, hour in product(range(days), hours):
        at = datetime.combine(first + timedelta(days=day), hour, tzinfo=zone).astimezone(UTC)
        if stretch.start < at < stretch.end:
            yield _share(_seconds(at - stretch.start), Fraction(0), length_s)


def _share(bound: Fraction, before: Fraction, amount: Fraction) -> Fraction:
    return (bound - before) / amount if amount else Fraction(0)


def _part(stretch: Stretch, begin: Fraction, end: Fraction) -> Stretch:
    if end - begin == 1:
        return stretch
    share, length_s = end - begin, _seconds(stretch.end - stretch.start)
    return replace(
        stretch,
        start=stretch.start + _duration(begin * length_s),
        end=stretch.start + _duration(end * length_s),
        kwh=stretch.kwh * share,
        charging_s=stretch.charging_s * share,
        parking_s=stretch.parking_s * share,
        reserved_s=stretch.reserved_s * share,
    )


def applies_at(restrictions: Restrictions, local: datetime) -> bool:
    """Whether the hours, dates and days of a restriction hold at a local time."""
    return (
        _within_hours(restrictions, local.time())
        and (restrictions.start_date is None or local.date() >= restrictions.start_date)
        and (restrictions.end_date is None or local.date() < restrictions.end_date)
        and (not restrictions.days or local.weekday() in restrictions.days)
    )


def _within_hours(restrictions: Restrictions, hour: time) -> bool:
    """`end_time` before `start_time` wraps past midnight; as 00:00 it is the end of the day."""
    start, end = restrictions.start_time or time(0), restrictions.end_time
    if end is None or end == time(0):
        return hour >= start
    return start <= hour < end if start < end else (hour >= start or hour < end)


def in_range(bounds: tuple[Fraction | None, Fraction | None], value: Fraction) -> bool:
    """Whether a value lies in a range whose lower bound is part of it and whose upper is not."""
    low, high = bounds
    return (low is None or value >= low) and (high is None or value < high)


def seconds_of(stretches: Iterable[Stretch]) -> Fraction:
    """How long stretches last by the clock."""
    return sum((_seconds(stretch.end - stretch.start) for stretch in stretches), Fraction(0))


def _seconds(span: timedelta) -> Fraction:
    return Fraction(span // timedelta(microseconds=1), 1_000_000)


def _duration(seconds: Fraction) -> timedelta:
    return timedelta(microseconds=round(seconds * 1_000_000))
