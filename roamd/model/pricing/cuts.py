"""Cutting what was used where a tariff's price changes.

OCPI wants a new charging period at every event that matters for the price; many records have one for the whole session.
So a period is cut where a restriction begins or ends within it, and its amounts are taken as even over its time. The
cut is exact for what depends on time and on energy; what depends on power or current cannot be cut.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from fractions import Fraction

from roamd.model.pricing.tariff import Restrictions, Tariff
from roamd.model.pricing.usage import Stretch

MAX_DAYS = 62
"""Days of a period that are cut by their hours: nobody charges for longer, and a hostile record would cost much."""


def cut(stretch: Stretch, tariff: Tariff, *, kwh: Fraction, elapsed_s: Fraction, zone: tzinfo) -> list[Stretch]:
    """The parts of a stretch over each of which every restriction holds or does not, in order.

    `kwh` and `elapsed_s`: what the session had used before it.
    """
    places = sorted(
        {place for element in tariff.elements for place in _places(stretch, element.restrictions, kwh, elapsed_s, zone)}
    )
    return [
        _part(stretch, begin, end) for begin, end in zip([Fraction(0), *places], [*places, Fraction(1)], strict=True)
    ]


def _places(
    stretch: Stretch, restrictions: Restrictions, kwh: Fraction, elapsed_s: Fraction, zone: tzinfo
) -> Iterator[Fraction]:
    """Where in the stretch, as shares of it between 0 and 1, this element may begin or end to apply."""
    length_s = _seconds(stretch.end - stretch.start)
    candidates = [_share(bound, kwh, stretch.kwh) for bound in restrictions.kwh if bound is not None]
    candidates += [_share(bound, elapsed_s, length_s) for bound in restrictions.duration if bound is not None]
    if restrictions.is_local:
        instants = _instants(stretch, restrictions, zone)
        candidates += [_share(_seconds(at - stretch.start), Fraction(0), length_s) for at in instants]
    return (place for place in candidates if 0 < place < 1)


def _share(bound: Fraction, before: Fraction, amount: Fraction) -> Fraction:
    return (bound - before) / amount if amount else Fraction(0)


def _instants(stretch: Stretch, restrictions: Restrictions, zone: tzinfo) -> Iterator[datetime]:
    """The instants at which one of its local times, or a day, begins."""
    first, last = (at.astimezone(zone).date() for at in (stretch.start, stretch.end))
    hours = {time(0), restrictions.start_time or time(0), restrictions.end_time or time(0)}
    for day in range(min((last - first).days, MAX_DAYS) + 1):
        for hour in hours:
            local = datetime.combine(first + timedelta(days=day), hour, tzinfo=zone)
            yield local.astimezone(UTC)


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
