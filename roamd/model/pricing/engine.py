"""Pricing a session by its tariffs, line by line, exact and unrounded.

Theory of operation. At any instant and for each dimension the first element in the tariff's order applies that has a
price for that dimension and whose restrictions all hold; where none does, the dimension is free (OCPI, Tariffs). What
was used is cut where that changes, priced part by part, and the parts of one price are shown as one line. FLAT is
charged once for the session and once for its reservation. Then steps: per session once for ENERGY and once for TIME
and PARKING_TIME together, the total of what the last priced part is of is rounded up, at that part's price. In the end
the tariff's least and highest price bound the sum, before and after taxes each by itself.

Whatever the record does not say (the power at which it was charged, the station's time zone) is a doubt that is named;
a price with doubts is an opinion and no proof.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from fractions import Fraction
from math import ceil

from roamd.model.pricing.cuts import Work, applies_at, cut, in_range, seconds_of
from roamd.model.pricing.tariff import NOTHING, Component, Element, Money, Tariff
from roamd.model.pricing.usage import HOUR, Stretch, Usage

KINDS = {"FLAT": "fixed", "ENERGY": "energy", "TIME": "time", "PARKING_TIME": "parking"}
"""The CDR's total (`total_{kind}_cost`) that takes each dimension; all of a reservation goes to `reservation`."""


@dataclass(frozen=True, slots=True)
class Line:
    """One price of the tariff and what it came to. `quantity` is in kWh, hours or times; `element` is its index."""

    tariff_id: str
    element: int
    kind: str
    component: Component
    quantity: Fraction
    rounded_up: Fraction
    cost: Money


@dataclass(slots=True)
class Priced:
    """What a session costs. `bounded` names the limit of the tariff that moved the total."""

    lines: list[Line] = field(default_factory=list)
    total: Money = NOTHING
    bounded: str | None = None
    doubts: list[str] = field(default_factory=list)

    def of(self, kind: str) -> Money:
        """The sum of the lines of a kind, before the tariff's limits."""
        return sum((line.cost for line in self.lines if line.kind == kind), NOTHING)


def price(usage: Usage, tariffs: Mapping[str, Tariff], zone: tzinfo | None) -> Priced:
    """Price a session; `tariffs` by id, `zone` the station's. Raises ValueError when it cannot be priced at all."""
    priced, sums, work = Priced(), [], Work()
    for tariff_id in dict.fromkeys(stretch.tariff_id for stretch in usage.stretches if stretch.tariff_id is not None):
        if tariff_id not in tariffs:
            raise ValueError(f"its tariff {tariff_id:.36} is not known")
        work.spend(len(usage.stretches))
        lines = _Pricing(tariffs[tariff_id], usage, zone, priced.doubts, work).lines()
        priced.lines += lines
        sums.append(_bounded(tariffs[tariff_id], lines, priced))
    priced.total = sum(sums, NOTHING)
    priced.doubts = list(dict.fromkeys(priced.doubts))
    return priced


@dataclass(frozen=True, slots=True)
class _Used:
    """Part of a quantity at one price."""

    element: Element
    component: Component
    kind: str
    quantity: Fraction


@dataclass(slots=True)
class _Pricing:
    """One tariff over the stretches that name it."""

    tariff: Tariff
    usage: Usage
    zone: tzinfo | None
    doubts: list[str]
    work: Work

    def lines(self) -> list[Line]:
        """Every price that applied."""
        used: list[_Used] = []
        prices: dict[tuple[int, bool], set[frozenset[tuple[int, str]]]] = {}
        for part, kwh, elapsed_s in self._stretches():
            found = list(self._used(part, kwh, elapsed_s))
            used += found
            prices.setdefault((part.period, part.is_reservation), set()).add(_prices(found))
        for (period, _), seen in prices.items():
            if len(seen) > 1:
                self.doubts.append(f"charging period {period} spans a change of price")
        flats = self._flats(used)
        return _summed(self.tariff, flats + [part for part in used if part.component.dimension != "FLAT"])

    def _stretches(self) -> Iterable[tuple[Stretch, Fraction, Fraction]]:
        """The parts of each stretch of this tariff, with the energy and time that were used before."""
        if self.zone is None and any(element.restrictions.is_local for element in self.tariff.elements):
            self.doubts.append("the station's time zone is not known, and its hours were taken as UTC")
        kwh = {False: Fraction(0), True: Fraction(0)}
        elapsed_s = {False: Fraction(0), True: Fraction(0)}
        for stretch in self.usage.stretches:
            side = stretch.is_reservation
            if stretch.tariff_id == self.tariff.id:
                used = {"kwh": kwh[side], "elapsed_s": elapsed_s[side]}
                for part in cut(stretch, self.tariff, **used, zone=self._zone, work=self.work):
                    yield part, kwh[side], elapsed_s[side]
                    kwh[side] += part.kwh
                    elapsed_s[side] += seconds_of((part,))
            else:
                kwh[side] += stretch.kwh
                elapsed_s[side] += seconds_of((stretch,))

    @property
    def _zone(self) -> tzinfo:
        return self.zone or UTC

    def _used(self, part: Stretch, kwh: Fraction, elapsed_s: Fraction) -> Iterable[_Used]:
        elements = self._holding(part, kwh, elapsed_s)
        for dimension, quantity in _quantities(part).items():
            element = next((element for element in elements if dimension in element.components), None)
            if element is not None and quantity:
                kind = "reservation" if part.is_reservation else KINDS[dimension]
                yield _Used(element, element.components[dimension], kind, quantity)

    def _holding(self, part: Stretch, kwh: Fraction, elapsed_s: Fraction) -> list[Element]:
        """The elements that apply to this part, in the order in which they are asked."""
        wanted: tuple[str | None, ...] = (None,)
        if part.is_reservation:
            # An expired reservation's own prices go before those of any reservation (OCPI, ReservationRestrictionType).
            wanted = ("RESERVATION_EXPIRES", "RESERVATION") if self.usage.expired else ("RESERVATION",)
        local, power, current = part.start.astimezone(self._zone), _levels(part, "POWER"), _levels(part, "CURRENT")
        return [
            element
            for reservation in wanted
            for element in self.tariff.elements
            if element.restrictions.reservation == reservation
            and applies_at(element.restrictions, local)
            and in_range(element.restrictions.kwh, kwh)
            and in_range(element.restrictions.duration, elapsed_s)
            and self._fits(element.restrictions.power, power, "power", part)
            and self._fits(element.restrictions.current, current, "current", part)
        ]

    def _fits(
        self, bounds: tuple[Fraction | None, Fraction | None], values: list[Fraction], name: str, part: Stretch
    ) -> bool:
        if bounds == (None, None):
            return True
        if not values:
            self.doubts.append(f"charging period {part.period} does not say its {name}")
            return False
        verdicts = {in_range(bounds, value) for value in values}
        if len(verdicts) > 1:
            self.doubts.append(f"charging period {part.period} has {name} on both sides of a bound")
        return in_range(bounds, values[0])

    def _flats(self, used: list[_Used]) -> list[_Used]:
        """One for the session, one for its reservation: the first that applied."""
        found: dict[bool, _Used] = {}
        for part in used:
            if part.component.dimension == "FLAT":
                found.setdefault(part.kind == "reservation", part)
        return list(found.values())


def _prices(used: list[_Used]) -> frozenset[tuple[int, str]]:
    """Which prices apply, but for those that are charged once wherever they begin."""
    dimensions = ((part.element.place, part.component.dimension) for part in used)
    return frozenset(price for price in dimensions if price[1] != "FLAT")


def _quantities(part: Stretch) -> dict[str, Fraction]:
    if part.is_reservation:
        return {"FLAT": Fraction(1), "TIME": part.reserved_s / HOUR}
    return {
        "FLAT": Fraction(1),
        "ENERGY": part.kwh,
        "TIME": part.charging_s / HOUR,
        "PARKING_TIME": part.parking_s / HOUR,
    }


def _levels(part: Stretch, name: str) -> list[Fraction]:
    """What is known of the power (kW) or the current (A) of a part, the best guess first."""
    measured = [part.levels[level] for level in (f"MAX_{name}", f"MIN_{name}") if level in part.levels]
    if not measured and name == "POWER" and part.charging_s:
        return [part.kwh / (part.charging_s / HOUR)]
    return measured


def _summed(tariff: Tariff, used: list[_Used]) -> list[Line]:
    """The parts of one price as one line, with what its step adds."""
    sums: dict[tuple[int, str, str], _Used] = {}
    for part in used:
        key = (part.element.place, part.component.dimension, part.kind)
        before = sums.get(key)
        sums[key] = part if before is None else replace(before, quantity=before.quantity + part.quantity)
    added = _steps(used)
    return [_line(tariff, part, added.get(key, Fraction(0))) for key, part in sums.items()]


def _line(tariff: Tariff, part: _Used, added: Fraction) -> Line:
    cost = part.component.cost(part.quantity + added, tariff.taxes)
    return Line(tariff.id, part.element.place, part.kind, part.component, part.quantity, added, cost)


_STEPPED = (("energy",), ("time", "parking"), ("reservation",))
"""What shares one step: the last priced part says which kind is rounded, and how."""


def _steps(used: list[_Used]) -> dict[tuple[int, str, str], Fraction]:
    """What the steps add, by the line that takes it."""
    added: dict[tuple[int, str, str], Fraction] = {}
    for kinds in _STEPPED:
        parts = [part for part in used if part.kind in kinds and part.component.dimension != "FLAT"]
        if parts:
            last = parts[-1]
            total = sum((part.quantity for part in parts if part.kind == last.kind), Fraction(0))
            step = Fraction(last.component.step, 1000 if last.kind == "energy" else HOUR)
            added[last.element.place, last.component.dimension, last.kind] = ceil(total / step) * step - total
    return added


def _bounded(tariff: Tariff, lines: list[Line], priced: Priced) -> Money:
    """The sum within the tariff's limits, before and after taxes each by itself.

    A limit that moves the amount before taxes and says nothing of the one after leaves that one open.
    """
    total = sum((line.cost for line in lines), NOTHING)
    for name, limit, bound_by in (("min_price", tariff.min_price, max), ("max_price", tariff.max_price, min)):
        before = _moved(total.before, limit.before, bound_by)
        after = None if limit.after is None and before != total.before else _moved(total.after, limit.after, bound_by)
        if (before, after) != (total.before, total.after):
            priced.bounded = name
        total = Money(before, after)
    return total


def _moved(
    value: Fraction | None, limit: Fraction | None, bound_by: Callable[[Fraction, Fraction], Fraction]
) -> Fraction | None:
    return value if value is None or limit is None else bound_by(value, limit)
