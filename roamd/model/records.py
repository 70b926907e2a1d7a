"""What a service record sold, as typed items: given in an SDR, derived from an OCPI CDR's totals and never added to it.

Prices are before taxes, exactly as the record states them; nothing here multiplies or rounds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import msgspec

HOURS: Final = "h"
ENERGY_UNIT: Final = "kWh"
_ZERO: Final = Decimal(0)


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


class _Price(msgspec.Struct):
    """A Price of either OCPI version."""

    before_taxes: Decimal | None = None
    excl_vat: Decimal = _ZERO

    @property
    def net(self) -> Decimal:
        return self.excl_vat if self.before_taxes is None else self.before_taxes


class _Dimension(msgspec.Struct):
    type: str
    volume: Decimal


class _Period(msgspec.Struct):
    dimensions: list[_Dimension]


class _Cdr(msgspec.Struct):
    """What an OCPI CDR counts and prices; the periods are a text, because few of them hold anything that is wanted."""

    total_energy: Decimal
    total_time: Decimal
    charging_periods: msgspec.Raw
    total_energy_cost: _Price | None = None
    total_time_cost: _Price | None = None
    total_parking_time: Decimal | None = None
    total_parking_cost: _Price | None = None
    total_reservation_cost: _Price | None = None
    total_fixed_cost: _Price | None = None


class _SdrItem(msgspec.Struct):
    type: str
    quantity: Decimal
    unit: str
    price: Decimal | _Price


class _Sdr(msgspec.Struct):
    items: list[_SdrItem]


_decode_cdr: Final = msgspec.json.Decoder(_Cdr).decode
_decode_sdr: Final = msgspec.json.Decoder(_Sdr).decode
_decode_periods: Final = msgspec.json.Decoder(list[_Period]).decode


def cdr_items(body: bytes) -> tuple[Item, ...]:
    """The items of a checked OCPI CDR's text: always its energy, and what else it counts or prices."""
    return tuple(_cdr_items(_decode_cdr(body)))


def sdr_items(body: bytes) -> tuple[Item, ...]:
    """The items of a checked SDR's text, as they are given."""
    return tuple(Item(row.type, row.quantity, row.unit, _net(row.price)) for row in _decode_sdr(body).items)


def _cdr_items(cdr: _Cdr) -> Iterator[Item]:
    yield Item("energy", cdr.total_energy, ENERGY_UNIT, _net(cdr.total_energy_cost))
    parking = cdr.total_parking_time or _ZERO
    if cdr.total_time_cost is not None:  # `total_time` counts parking too, and its cost does not
        yield Item("other", cdr.total_time - parking, HOURS, _net(cdr.total_time_cost))
    if parking or cdr.total_parking_cost is not None:
        yield Item("parking", parking, HOURS, _net(cdr.total_parking_cost))
    reserved = _reserved_hours(bytes(cdr.charging_periods))
    if reserved or cdr.total_reservation_cost is not None:
        yield Item("reservation", reserved, HOURS, _net(cdr.total_reservation_cost))
    if cdr.total_fixed_cost is not None:
        yield Item("other", Decimal(1), "session", _net(cdr.total_fixed_cost))


def _reserved_hours(periods: bytes) -> Decimal:
    if b"RESERVATION_TIME" not in periods and b"\\" not in periods:
        return _ZERO
    dimensions = (row for period in _decode_periods(periods) for row in period.dimensions)
    return sum((row.volume for row in dimensions if row.type == "RESERVATION_TIME"), _ZERO)


def _net(price: Decimal | _Price | None) -> Decimal | None:
    return price.net if isinstance(price, _Price) else price
