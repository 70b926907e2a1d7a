"""What a service record sold, as typed items: given in an SDR, derived from an OCPI CDR's totals and never added to it.

Prices are before taxes, exactly as the record states them; nothing here multiplies or rounds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, cast

HOURS: Final = "h"
ENERGY_UNIT: Final = "kWh"
_ZERO: Final = Decimal(0)
_Body = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was sold. `type`: energy, parking, reservation, idle or other; `price` is before taxes, if any."""

    type: str
    quantity: Decimal
    unit: str
    price: Decimal | None = None

    def as_json(self) -> dict[str, str | None]:
        """For answers: numbers as texts, so that no reader rounds them."""
        price = None if self.price is None else str(self.price)
        return {"type": self.type, "quantity": str(self.quantity), "unit": self.unit, "price": price}


def cdr_items(cdr: _Body) -> tuple[Item, ...]:
    """The items of a checked OCPI CDR: always its energy, and what else it counts or prices."""
    return tuple(_cdr_items(cdr))


def sdr_items(sdr: _Body) -> tuple[Item, ...]:
    """The items of a checked SDR, as they are given."""
    rows = cast(list[_Body], sdr["items"])
    return tuple(
        Item(str(row["type"]), _quantity(row, "quantity"), str(row["unit"]), _amount(row["price"])) for row in rows
    )


def _cdr_items(cdr: _Body) -> Iterator[Item]:
    yield Item("energy", _quantity(cdr, "total_energy"), ENERGY_UNIT, _price(cdr, "total_energy_cost"))
    parking, parking_price = _quantity(cdr, "total_parking_time"), _price(cdr, "total_parking_cost")
    time_price = _price(cdr, "total_time_cost")
    if time_price is not None:  # `total_time` counts parking too, and its cost does not
        yield Item("other", _quantity(cdr, "total_time") - parking, HOURS, time_price)
    if parking or parking_price is not None:
        yield Item("parking", parking, HOURS, parking_price)
    reserved, reservation_price = _reserved_hours(cdr), _price(cdr, "total_reservation_cost")
    if reserved or reservation_price is not None:
        yield Item("reservation", reserved, HOURS, reservation_price)
    fixed_price = _price(cdr, "total_fixed_cost")
    if fixed_price is not None:
        yield Item("other", Decimal(1), "session", fixed_price)


def _reserved_hours(cdr: _Body) -> Decimal:
    periods = cast(list[_Body], cdr["charging_periods"])
    dimensions = (row for period in periods for row in cast(list[_Body], period["dimensions"]))
    return sum((_quantity(row, "volume") for row in dimensions if row["type"] == "RESERVATION_TIME"), _ZERO)


def _quantity(body: _Body, field: str) -> Decimal:
    """A checked number; absent and null count as zero."""
    value = body.get(field)
    return _ZERO if value is None else Decimal(cast(int | Decimal, value))


def _price(body: _Body, field: str) -> Decimal | None:
    value = body.get(field)
    return None if value is None else _amount(value)


def _amount(value: object) -> Decimal:
    """A number, or a Price of either OCPI version."""
    if isinstance(value, dict):
        value = value["before_taxes"] if "before_taxes" in value else value["excl_vat"]
    return Decimal(cast(int | Decimal, value))
