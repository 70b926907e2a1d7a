"""What two companies owe each other for a month: accounts of single records, and the statement that adds them up.

Theory of operation. A record belongs to the UTC month of its `end_date_time`, on both sides alike. It *counts* unless
it is disputed: one that was credited counts, and so does its credit, below zero. The statement is a JSON text that
names the two by their endpoint ids, in order, and no side as "us"; so both sides write the same bytes from the same
records. Its root is a hash over the sorted list of (author, party, id, commitment, standing), which joins it to the
signed chains. Standing is COUNTED or DISPUTED, not the state itself: a statement does not change when time closes a
record. Amounts are added exactly as the records state them; nothing is rounded.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from itertools import groupby
from typing import Any, Final

import msgspec

from roamd.model.keys import fold
from roamd.model.lifecycle import DISPUTED
from roamd.model.times import parse_time

FORMAT: Final = "roamd statement 1"
COUNTED: Final = "COUNTED"
CREDIT: Final = "CREDIT"
UNREADABLE: Final = "?"
NOT_STATED: Final = ""
"""The name of taxes in a record that tells no taxes."""

_EXACT: Final = Context(prec=200)
_ZERO: Final = Decimal(0)
_decode_exactly: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


@dataclass(frozen=True, slots=True)
class Account:
    """What one record adds to a month. `taxes` are pairs of name and amount; a credit's figures are not above zero."""

    day: str
    currency: str
    energy: Decimal
    before: Decimal
    taxes: tuple[tuple[str, Decimal], ...] | None

    @property
    def month(self) -> str:
        """As in 2026-10."""
        return self.day[:7]

    @property
    def after(self) -> Decimal:
        """With the taxes that it states."""
        return exact_sum([self.before, *(amount for _, amount in self.taxes or ())])


@dataclass(frozen=True, slots=True)
class Line:
    """One record in a statement's list. `author` is an endpoint id."""

    author: str
    party: str
    record_id: str
    kind: str
    commitment: bytes
    state: str
    account: Account

    @property
    def standing(self) -> str:
        """Whether it counts."""
        return DISPUTED if self.state == DISPUTED else COUNTED

    @property
    def key(self) -> tuple[str, str, str]:
        """What lists are sorted by."""
        return self.author, self.party, fold(self.record_id)


# --- one record -------------------------------------------------------------------------------------------------


def account_of(kind: str, body: bytes) -> Account:
    """A checked record's account. ValueError for a text that is none.

    Amounts that no company owes another stand under the currency `UNREADABLE`, with nothing: they are seen, not added.
    """
    value = _decode_exactly(body)
    ended = parse_time(value["end_date_time"])
    if ended is None:
        raise ValueError("its end_date_time is no time")
    found = _amounts(kind, value)
    day, currency = ended.strftime("%Y-%m-%d"), str(value["currency"])
    figures = (found.energy, found.before, *(amount for _, amount in found.taxes or ()))
    if all(map(_is_sane, figures)):
        return replace(found, day=day, currency=currency)
    return Account(day, UNREADABLE, _ZERO, _ZERO, None)


def _is_sane(amount: Decimal) -> bool:
    """Below a thousand billions, with at most 12 decimals: what is added exactly must stay short."""
    exponent = amount.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -12 and amount.adjusted() < 15


def _amounts(kind: str, value: dict[str, Any]) -> Account:
    price = value["total_cost"]
    before, taxes = _price(price) if isinstance(price, dict) else (Decimal(price), None)
    energy = _energy(value)
    if kind == CREDIT:
        sign = -1 if before > 0 else 1
        before, energy = before * sign, -abs(energy)
        taxes = None if taxes is None else tuple((name, amount * sign) for name, amount in taxes)
    return Account("", "", energy, before, taxes)


def _price(price: dict[str, Any]) -> tuple[Decimal, tuple[tuple[str, Decimal], ...] | None]:
    """OCPI 2.3.0 lists taxes by name, 2.2.1 knows VAT alone, and only as the difference."""
    if "before_taxes" in price:
        taxes = price.get("taxes")
        stated = None if taxes is None else tuple((_tax_name(tax), Decimal(tax["amount"])) for tax in taxes)
        return Decimal(price["before_taxes"]), stated
    before, after = Decimal(price["excl_vat"]), price.get("incl_vat")
    return before, None if after is None else (("VAT", _EXACT.subtract(Decimal(after), before)),)


def _tax_name(tax: dict[str, Any]) -> str:
    percentage = tax.get("percentage")
    return str(tax["name"]) if percentage is None else f"{tax['name']} {plain(Decimal(percentage))}%"


def _energy(value: dict[str, Any]) -> Decimal:
    if "total_energy" in value:
        return Decimal(value["total_energy"])
    items = value.get("items") or ()
    return exact_sum(Decimal(item["quantity"]) for item in items if item["type"] == "energy")


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """A sum without rounding."""
    total = _ZERO
    for amount in amounts:
        total = _EXACT.add(total, amount)
    return total


def plain(amount: Decimal) -> str:
    """A number as people write it: at least two decimals where it has any, no exponent, no minus before a zero."""
    text = format(amount.normalize(_EXACT) if amount else _ZERO, "f")
    whole, point, decimals = text.partition(".")
    return f"{whole}.{decimals.ljust(2, '0')}" if point else whole


def money(amount: Decimal) -> str:
    """An amount with at least two decimals."""
    text = plain(amount)
    return text if "." in text else f"{text}.00"


# --- a month ----------------------------------------------------------------------------------------------------


class Tax(msgspec.Struct, frozen=True):
    """One tax's sum; `tax` is "" for records that state none."""

    tax: str
    records: int
    before_taxes: str
    amount: str


class KindTotal(msgspec.Struct, frozen=True):
    """The records of one kind."""

    kind: str
    records: int
    energy_kwh: str
    before_taxes: str
    taxes: list[Tax]
    after_taxes: str


class Section(msgspec.Struct, frozen=True):
    """What one author is owed in one currency; `disputed` does not count."""

    author: str
    parties: list[str]
    currency: str
    kinds: list[KindTotal]
    before_taxes: str
    after_taxes: str
    disputed: list[KindTotal] = []


class Statement(msgspec.Struct, frozen=True):
    """The document that both sides sign; `between` are their endpoint ids, sorted."""

    format: str
    month: str
    between: list[str]
    records: int
    root: str
    sections: list[Section]

    def pack(self) -> bytes:
        """Compact JSON text, the same bytes on both sides."""
        return msgspec.json.encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "Statement":
        """Raises msgspec.DecodeError (a ValueError); unknown fields are ignored."""
        return _decode_statement(body)


_decode_statement: Final = msgspec.json.Decoder(Statement).decode


def list_root(month: str, lines: Iterable[Line]) -> bytes:
    """SHA-256 over the month and the list, sorted: each line is its five parts, each of them behind its length."""
    digest = hashlib.sha256(f"{FORMAT} {month}\n".encode())
    for line in sorted(lines, key=lambda line: line.key):
        parts = (line.author, line.party, line.record_id, line.commitment.hex(), line.standing)
        digest.update("".join(f"{len(part)}:{part}" for part in parts).encode() + b"\n")
    return digest.digest()


def make_statement(month: str, between: Iterable[str], lines: Sequence[Line]) -> Statement:
    """The statement of these lines, which are all of the month between the two."""
    ordered = sorted(lines, key=lambda line: (line.author, line.account.currency, line.kind, line.key))
    groups = groupby(ordered, key=lambda line: (line.author, line.account.currency))
    sections = [_section(author, currency, list(some)) for (author, currency), some in groups]
    root = list_root(month, lines).hex()
    return Statement(FORMAT, month, sorted(between), len(lines), root, sections)


def _section(author: str, currency: str, lines: list[Line]) -> Section:
    counted = [line for line in lines if line.standing == COUNTED]
    disputed = [line for line in lines if line.standing == DISPUTED]
    return Section(
        author,
        sorted({line.party for line in lines}),
        currency,
        _by_kind(counted),
        money(exact_sum(line.account.before for line in counted)),
        money(exact_sum(line.account.after for line in counted)),
        _by_kind(disputed),
    )


def _by_kind(lines: list[Line]) -> list[KindTotal]:
    return [_total(kind, list(some)) for kind, some in groupby(lines, key=lambda line: line.kind)]


def _total(kind: str, lines: list[Line]) -> KindTotal:
    return KindTotal(
        kind,
        len(lines),
        plain(exact_sum(line.account.energy for line in lines)),
        money(exact_sum(line.account.before for line in lines)),
        _taxes(lines),
        money(exact_sum(line.account.after for line in lines)),
    )


def _taxes(lines: list[Line]) -> list[Tax]:
    """By the name of the tax; `before_taxes` is of the records that bear it."""
    found: dict[str, list[tuple[Decimal, Decimal]]] = {}
    for line in lines:
        for name, amount in line.account.taxes or ((NOT_STATED, _ZERO),):
            found.setdefault(name, []).append((line.account.before, amount))
    return [
        Tax(name, len(some), money(exact_sum(b for b, _ in some)), money(exact_sum(a for _, a in some)))
        for name, some in sorted(found.items())
    ]
