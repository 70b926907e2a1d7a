"""Service records folded into a CDR's totals, for those who only know CDRs.

A session's parking, idling or reservation may be settled by an SDR of its own. A system that knows CDRs alone would
miss it; what it books is the CDR as this function writes it: the same text, with other totals. The signed record is
never changed by it. An item's price is for one unit and before taxes, as in the SDR; its cost is quantity times price,
exact and not rounded. The totals of the records are believed, also where their items add up to something else.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, cast

import msgspec

from roamd.model.body import tree, with_fields
from roamd.model.keys import fold
from roamd.model.records import Item, sdr_items

_Body = Mapping[str, object]

COST_FIELDS: Final = {
    "energy": "total_energy_cost",
    "reservation": "total_reservation_cost",
    "parking": "total_parking_cost",
    "idle": "total_parking_cost",
    "other": "total_fixed_cost",
}
"""The CDR's total that takes each type of item; OCPI has no word for idling but parking."""

_PER_HOUR: Final = {"h": 1, "min": 60, "s": 3600}


def folded_cdr(cdr: bytes, sdrs: Iterable[bytes], ocpi: str) -> bytes:
    """A checked CDR with the items of checked SDRs of the same session in its totals; untouched fields keep their text.

    Raises ValueError for an SDR of another session, another currency, or that is a credit.
    """
    body, totals = cast(_Body, tree(cdr)), _Totals(ocpi)
    for text in sdrs:
        sdr = cast(_Body, tree(text))
        _require_fit(body, sdr)
        totals.add(sdr, sdr_items(text))
    return with_fields(cdr, totals.fields(body)) if totals.count else cdr


class _Totals:
    """What the SDRs add."""

    def __init__(self, ocpi: str) -> None:
        self.count = 0
        self._net = "before_taxes" if ocpi == "2.3.0" else "excl_vat"
        self._gross = None if ocpi == "2.3.0" else "incl_vat"
        self._costs: dict[str, Decimal] = {}
        self._numbers: dict[str, Decimal] = {}
        self._prices: list[object] = []

    def add(self, sdr: _Body, items: Iterable[Item]) -> None:
        """One SDR."""
        self.count += 1
        self._prices.append(sdr["total_cost"])
        for item in items:
            cost = item.quantity * (item.price or 0)
            _plus(self._costs, COST_FIELDS.get(item.type, "total_fixed_cost"), cost)
            self._count(item)

    def _count(self, item: Item) -> None:
        if item.type == "energy" and item.unit == "kWh":
            _plus(self._numbers, "total_energy", item.quantity)
        if item.type in ("parking", "idle") and item.unit in _PER_HOUR:
            hours = item.quantity / _PER_HOUR[item.unit]
            _plus(self._numbers, "total_parking_time", hours)
            _plus(self._numbers, "total_time", hours)  # OCPI counts parking in it

    def fields(self, cdr: _Body) -> dict[str, bytes]:
        """The CDR's fields as they become."""
        found = {name: _number(_decimal(cdr.get(name)) + more) for name, more in self._numbers.items()}
        for name, cost in self._costs.items():
            if cost or name in cdr:
                found[name] = self._price([cdr.get(name), {self._net: cost}])
        return found | {"total_cost": self._price([cdr["total_cost"], *self._prices])}

    def _price(self, prices: list[object]) -> bytes:
        """The sum of prices; taxes only where every part says what they are."""
        parts = [price if isinstance(price, dict) else {self._net: price} for price in prices if price is not None]
        members = [b'"%b":%b' % (self._net.encode(), _number(sum((_decimal(p[self._net]) for p in parts), Decimal(0))))]
        if self._gross is not None and all(part.get(self._gross) is not None for part in parts):
            gross = sum((_decimal(part[self._gross]) for part in parts), Decimal(0))
            members.append(b'"%b":%b' % (self._gross.encode(), _number(gross)))
        if self._gross is None and all("taxes" in part for part in parts):
            members.append(b'"taxes":[%b]' % b",".join(_taxes(parts)))
        return b"{" + b",".join(members) + b"}"


def _taxes(parts: list[dict[str, object]]) -> list[bytes]:
    """The taxes of all parts, those of the same name and rate as one."""
    sums: dict[tuple[str, Decimal | None], Decimal] = {}
    for part in parts:
        for tax in cast(list[_Body], part["taxes"] or []):
            rate = None if tax.get("percentage") is None else _decimal(tax["percentage"])
            key = (str(tax["name"]), rate)
            sums[key] = sums.get(key, Decimal(0)) + _decimal(tax["amount"])
    return [_tax(name, rate, amount) for (name, rate), amount in sums.items()]


def _tax(name: str, rate: Decimal | None, amount: Decimal) -> bytes:
    percentage = b"" if rate is None else b',"percentage":' + _number(rate)
    return b'{"name":%b%b,"amount":%b}' % (msgspec.json.encode(name), percentage, _number(amount))


def _require_fit(cdr: _Body, sdr: _Body) -> None:
    if not any(_same(cdr, sdr, name) for name in ("session_id", "authorization_reference")):
        raise ValueError("the SDR is of another session than the CDR")
    if cdr["currency"] != sdr["currency"]:
        raise ValueError(f"the SDR is in {sdr['currency']}, the CDR in {cdr['currency']}")
    if sdr.get("credit") is True or cdr.get("credit") is True:
        raise ValueError("a credit is booked by itself")


def _same(cdr: _Body, sdr: _Body, name: str) -> bool:
    one, other = cdr.get(name), sdr.get(name)
    return isinstance(one, str) and isinstance(other, str) and fold(one) == fold(other)


def _plus(sums: dict[str, Decimal], name: str, more: Decimal) -> None:
    sums[name] = sums.get(name, Decimal(0)) + more


def _decimal(value: object) -> Decimal:
    """A checked number; absent and null count as zero."""
    return Decimal(0) if value is None else Decimal(cast(int | Decimal, value))


def _number(value: Decimal) -> bytes:
    """As JSON, without exponent."""
    return format(value, "f").encode()
