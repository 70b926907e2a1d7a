"""Every received record is held against its tariff, and may be disputed by that alone.

Theory of operation. Checking goes on behind the receipt, never before it: a receipt says "I have it". A cursor over the
received records says how far checking has come; it is committed together with the outcomes, so after a crash a record
is checked again or not yet, and never passed over. The engine runs in a thread, a few records at a time, so that a
record made to be costly delays no driver. What is published goes before what the record brings along: its author made
both. An outcome that DIFFERS by more than the agreement's `dispute_above` is disputed at once, in the transaction that
keeps it, with the lines that explain the price as its evidence; one with doubts is for a person to look at.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import msgspec
import trio

from roamd import metrics
from roamd.clock import Clock
from roamd.errors import Conflict, StoreFull
from roamd.log import get_logger
from roamd.model.pricing.check import DIFFERS, UNPRICED, Check, Difference, as_stated, check_cdr, unpriced
from roamd.model.pricing.tariff import stated_money
from roamd.model.records import sdr_items
from roamd.model.terms import Terms
from roamd.protocol.ledger import EntryKind, Word
from roamd.roaming.heldagainst import Asked, Reading, decode_exactly
from roamd.roaming.ledger.chain import Random
from roamd.roaming.ledger.words import say_txn
from roamd.roaming.waiting import Wake, write
from roamd.storage import meta, prices, records
from roamd.storage.prices import PriceRow
from roamd.storage.records import DELIVERED
from roamd.storage.store import Cx, Store

log = get_logger()

CURSOR: Final = "prices:after"
AT_ONCE: Final = 64
"""Records that are read, checked and committed together."""

RETRY_S: Final = 30.0
"""After a full disk."""


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
            await trio.lowlevel.checkpoint()  # the receipt is made in the same turn of the loop, and leaves first
            try:
                while await self._some():
                    pass
            except StoreFull:
                await trio.sleep(RETRY_S)
                self._wake.set()

    async def _some(self) -> bool:
        """The next few records; False when there are no more of them."""
        found, upto, more = self.store.read(self._read)
        if upto is None:
            return False
        known = [one for one in found if one.unknown is None]
        outcomes = iter(await trio.to_thread.run_sync(_all_checked, known) if known else ())
        checked = [next(outcomes) if one.unknown is None else unpriced(one.unknown) for one in found]
        disputed = await write(self.store, lambda cx: self._keep_txn(cx, found, checked, upto), patient=not more)
        for peer in disputed:
            self.queued(peer)
        self._tell(found, checked)
        return more  # whatever came meanwhile has called `look`

    # --- reading ----------------------------------------------------------------------------------------------------

    def _read(self, cx: Cx) -> tuple[list[Asked], int | None, bool]:
        """What is to be checked, the last number of it, and whether there may be more behind it."""
        rows = prices.unchecked(cx, int(meta.get(cx, CURSOR) or 0), AT_ONCE)
        return Reading(cx, self.terms).asked(rows), rows[-1][0].id if rows else None, len(rows) == AT_ONCE

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
        if above is None or check.verdict != DIFFERS:
            return False
        row = records.get_by_id(cx, asked.row.id)
        if row is None or row.state != DELIVERED:
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
        for verdict, count in Counter(check.verdict for check in checked).items():
            metrics.price_checks.labels(verdict).inc(count)
        for one, check in zip(asked, checked, strict=True):
            if check.verdict == DIFFERS:
                differences = [_said(difference) for difference in check.differences[:5]]
                log.warning("record_price_differs", peer=one.row.peer, differences=differences)


def _all_checked(asked: list[Asked]) -> list[Check]:
    checked = []
    for one in asked:
        time.sleep(0)  # gives the loop its turn at the interpreter, which else waits 5 ms for it
        checked.append(_checked(one))
    return checked


def _checked(asked: Asked) -> Check:
    body, terms = decode_exactly(asked.text), asked.terms
    if asked.row.kind == "SDR":
        return _checked_sdr(asked, body)
    if asked.row.kind == "CREDIT":
        return _checked_credit(asked, body)
    return check_cdr(
        body, published=asked.published, zone=asked.zone, rounding=terms.rounding, tolerance=terms.tolerance
    )


def _checked_sdr(asked: Asked, body: dict[str, Any]) -> Check:
    """An SDR's items bear their own prices: they must add up to its total."""
    items = sdr_items(asked.text)
    if any(item.price is None for item in items):
        return Check(UNPRICED, reason="an item has no price")
    amount = sum((item.quantity * (item.price or 0) for item in items), Decimal(0))
    stated = stated_money(body["total_cost"]).before or Fraction(0)
    total = asked.terms.rounding.round_decimal(amount)
    difference = Difference("total_cost.before_taxes", as_stated(abs(stated), asked.terms.rounding.decimals), total)
    agrees = abs(difference.amount) <= asked.terms.tolerance
    lines = tuple(f"{item.type}: {item.quantity} {item.unit} x {item.price}" for item in items)
    return Check("AGREES" if agrees else DIFFERS, total, lines, () if agrees else (difference,))


def _checked_credit(asked: Asked, body: dict[str, Any]) -> Check:
    """A credit takes back what the record asked for, be that right or wrong by the tariff."""
    if asked.credited is None:
        return Check(UNPRICED, reason="the record that it credits is not here")
    credit, record = (stated_money(each["total_cost"]) for each in (body, decode_exactly(asked.credited)))
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
