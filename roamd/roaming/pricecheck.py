"""Every received record is held against its tariff, and may be disputed by that alone.

Theory of operation. Checking goes on behind the receipt, never before it: a receipt says "I have it". A cursor over the
received records says how far checking has come; it is committed together with the outcomes, so after a crash a record
is checked again or not yet, and never passed over. The engine runs in a thread, a few records at a time, so that a
record made to be costly delays no driver. What is published goes before what the record brings along: its author made
both. An outcome that DIFFERS by more than the agreement's `dispute_above` is disputed at once, in the transaction that
keeps it, with the lines that explain the price as its evidence; one with doubts is for a person to look at.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import trio

from roamd import metrics
from roamd.clock import Clock
from roamd.errors import Conflict, RoamdError, StoreFull
from roamd.log import get_logger
from roamd.model.keys import ObjectKey, fold
from roamd.model.pricing.check import DIFFERS, UNPRICED, Check, Difference, as_stated, check_cdr
from roamd.model.pricing.tariff import Tariff, UnreadableTariffError, read_tariff, stated_money
from roamd.model.records import sdr_items
from roamd.model.terms import Terms
from roamd.model.times import time_ms
from roamd.protocol.ledger import EntryKind, Word
from roamd.roaming.events import record_body
from roamd.roaming.ledger.chain import Random
from roamd.roaming.ledger.words import say_txn
from roamd.roaming.waiting import Wake, write
from roamd.storage import feeds, meta, prices, records
from roamd.storage.prices import PriceRow
from roamd.storage.records import DELIVERED, RecordRow
from roamd.storage.store import Cx, Store

log = get_logger()

CURSOR: Final = "prices:after"
AT_ONCE: Final = 32
"""Records that are read, checked and committed together."""

RETRY_S: Final = 30.0
"""After a full disk."""


_decode_exactly: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
"""For bodies that were checked when they came."""


class Asked(NamedTuple):
    """A record with what it is held against, read in one go."""

    row: RecordRow
    text: bytes
    body: dict[str, Any]
    published: dict[str, Tariff]
    zone: tzinfo | None
    terms: Terms
    credited: dict[str, Any] | None = None
    """What a credit takes back."""


@dataclass(slots=True)
class PriceChecks:
    """`terms(peer)` is what is agreed with a peer; `queued(peer)` is called after a commit that disputed something."""

    clock: Clock
    store: Store
    random: Random
    terms: Callable[[str | None], Terms]
    queued: Callable[[str], None]
    _wake: Wake = field(default_factory=Wake)

    def look(self) -> None:
        """Something came in."""
        self._wake.set()

    async def run(self) -> None:
        """Check what came in, until cancelled."""
        self._wake.set()
        while True:
            await self._wake.wait()
            try:
                while await self._some():
                    pass
            except StoreFull:
                await trio.sleep(RETRY_S)
                self._wake.set()

    async def _some(self) -> bool:
        """The next few records; False when there are none."""
        found, upto = self.store.read(self._read)
        if upto is None:
            return False
        checked = await trio.to_thread.run_sync(_all_checked, found)
        disputed = await write(self.store, lambda cx: self._keep_txn(cx, found, checked, upto))
        for peer in disputed:
            self.queued(peer)
        self._tell(found, checked)
        return True

    # --- reading ----------------------------------------------------------------------------------------------------

    def _read(self, cx: Cx) -> tuple[list[Asked], int | None]:
        numbers = prices.unchecked(cx, int(meta.get(cx, CURSOR) or 0), AT_ONCE)
        asked = [one for number in numbers if (one := self._asked(cx, number)) is not None]
        return asked, numbers[-1] if numbers else None

    def _asked(self, cx: Cx, number: int) -> Asked | None:
        """None for what was erased, or what the disk has changed: there is nothing to check."""
        row = records.get_by_id(cx, number)
        try:
            text = record_body(cx, row) if row is not None else None
        except RoamdError:
            return None
        if row is None or text is None:
            return None
        body = _decode_exactly(text)
        terms = self.terms(row.peer)
        if row.kind == "SDR":
            return Asked(row, text, body, {}, None, terms)
        if row.kind == "CREDIT":
            return Asked(row, text, body, {}, None, terms, _credited(cx, row, body))
        return Asked(row, text, body, _published(cx, row, body), _zone(cx, row, body), terms)

    # --- keeping ----------------------------------------------------------------------------------------------------

    def _keep_txn(self, cx: Cx, asked: list[Asked], checked: list[Check], upto: int) -> set[str]:
        """Outcomes, disputes and the cursor; the peers towards whom something was said."""
        now_ms = self.clock.now_ms()
        prices.put_many_txn(cx, [_row(one, check, now_ms) for one, check in zip(asked, checked, strict=True)])
        meta.set_txn(cx, CURSOR, str(upto))
        pairs = zip(asked, checked, strict=True)
        return {one.row.peer or "" for one, check in pairs if self._dispute_txn(cx, one, check, now_ms)}

    def _dispute_txn(self, cx: Cx, asked: Asked, check: Check, now_ms: int) -> bool:
        above = asked.terms.dispute_above
        row = records.get_by_id(cx, asked.row.id)
        if row is None or row.state != DELIVERED or above is None or check.verdict != DIFFERS:
            return False
        if all(abs(difference.amount) <= above for difference in check.differences):
            return False
        detail = "; ".join(map(_said, check.differences))[:2000]
        word = Word(row.party, "price", detail, [line[:500] for line in check.lines[:100]])
        try:
            say_txn(cx, row, EntryKind.DISPUTED, word, self.random, now_ms)
        except Conflict as conflict:
            log.info("record_not_disputed", peer=row.peer, reason=str(conflict))
            return False
        return True

    def _tell(self, asked: list[Asked], checked: list[Check]) -> None:
        for one, check in zip(asked, checked, strict=True):
            metrics.price_checks.labels(check.verdict).inc()
            if check.verdict == DIFFERS:
                differences = [_said(difference) for difference in check.differences[:5]]
                log.warning("record_price_differs", peer=one.row.peer, differences=differences)


def _all_checked(asked: list[Asked]) -> list[Check]:
    return [_checked(one) for one in asked]


def _checked(asked: Asked) -> Check:
    if asked.row.kind == "SDR":
        return _checked_sdr(asked)
    if asked.row.kind == "CREDIT":
        return _checked_credit(asked)
    terms = asked.terms
    return check_cdr(
        asked.body, published=asked.published, zone=asked.zone, rounding=terms.rounding, tolerance=terms.tolerance
    )


def _checked_sdr(asked: Asked) -> Check:
    """An SDR's items bear their own prices: they must add up to its total."""
    items = sdr_items(asked.text)
    if any(item.price is None for item in items):
        return Check(UNPRICED, reason="an item has no price")
    amount = sum((item.quantity * (item.price or 0) for item in items), Decimal(0))
    stated = stated_money(asked.body["total_cost"]).before or Fraction(0)
    total = asked.terms.rounding.round_decimal(amount)
    difference = Difference("total_cost.before_taxes", as_stated(abs(stated), asked.terms.rounding.decimals), total)
    agrees = abs(difference.amount) <= asked.terms.tolerance
    lines = tuple(f"{item.type}: {item.quantity} {item.unit} x {item.price}" for item in items)
    return Check("AGREES" if agrees else DIFFERS, total, lines, () if agrees else (difference,))


def _checked_credit(asked: Asked) -> Check:
    """A credit takes back what the record asked for, be that right or wrong by the tariff."""
    if asked.credited is None:
        return Check(UNPRICED, reason="the record that it credits is not here")
    credit, record = (stated_money(body["total_cost"]) for body in (asked.body, asked.credited))
    rounding = asked.terms.rounding
    differences = tuple(
        Difference(f"total_cost.{side}_taxes", as_stated(abs(one), rounding.decimals), rounding.round(abs(other)))
        for side, one, other in (("before", credit.before, record.before), ("after", credit.after, record.after))
        if one is not None and other is not None and abs(abs(one) - abs(other)) > asked.terms.tolerance
    )
    total = None if record.before is None else rounding.round(abs(record.before))
    return Check(DIFFERS if differences else "AGREES", total, (), differences)


def _row(asked: Asked, check: Check, now_ms: int) -> PriceRow:
    detail = {
        "lines": check.lines,
        "differences": [
            {"field": d.field, "stated": str(d.stated), "priced": str(d.priced)} for d in check.differences
        ],
        "doubts": check.doubts,
        "reason": check.reason,
    }
    text = msgspec.json.encode({name: value for name, value in detail.items() if value})
    return PriceRow(asked.row.id, check.verdict, None if check.total is None else str(check.total), text, now_ms)


def _said(difference: Difference) -> str:
    return f"{difference.field} is {difference.stated}, priced {difference.priced}"


# --- what a record is held against --------------------------------------------------------------------------------


def _credited(cx: Cx, row: RecordRow, body: dict[str, Any]) -> dict[str, Any] | None:
    record = records.get(cx, "in", row.party, str(body.get("credit_reference_id") or ""), peer=row.peer)
    try:
        text = record_body(cx, record) if record is not None else None
    except RoamdError:
        return None
    return None if text is None else _decode_exactly(text)


def _published(cx: Cx, row: RecordRow, body: dict[str, Any]) -> dict[str, Tariff]:
    """The peer's published tariffs that the record names, where they are not younger than the session."""
    names = {str(period["tariff_id"]) for period in body["charging_periods"] if period.get("tariff_id") is not None}
    began_ms = time_ms(body["start_date_time"])
    found = {}
    for name in names:
        mirrored = feeds.get_mirrored(cx, row.peer or "", "tariffs", ObjectKey(row.party, fold(name), ""))
        if mirrored is None:
            continue
        text = _decode_exactly(mirrored.body)
        try:
            if time_ms(text["last_updated"]) <= began_ms:
                found[name] = read_tariff(text)
        except (UnreadableTariffError, ValueError):
            continue  # the record's own copy is judged, and says the same
    return found


def _zone(cx: Cx, row: RecordRow, body: dict[str, Any]) -> tzinfo | None:
    """The station's time zone, as its location says."""
    place = (body.get("cdr_location") or {}).get("id")
    if place is None:
        return None
    mirrored = feeds.get_mirrored(cx, row.peer or "", "locations", ObjectKey(row.party, fold(str(place)), ""))
    if mirrored is None:
        return None
    try:
        return ZoneInfo(msgspec.json.decode(mirrored.body, type=_Zoned).time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


class _Zoned(msgspec.Struct):
    time_zone: str = ""
