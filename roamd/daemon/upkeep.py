"""What a daemon does by itself now and then: renew its leaf, forget what is old, notice that the clock jumped."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from roamd import metrics
from roamd.clock import Clock
from roamd.config.schema import Config
from roamd.errors import OperatorError, StoreFull
from roamd.log import get_logger
from roamd.roaming.control.desk import forget_txn
from roamd.roaming.grants import withdraw_ended_txn
from roamd.roaming.waiting import write
from roamd.storage import decisions, events, feeds, grants, idempotency
from roamd.storage.store import Cx, Store
from roamd.trust.contexts import Contexts
from roamd.trust.leaf import Leaf, issue_leaf

log = get_logger()

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS
CLEAN_S = 600.0
MINUTE_S = 60.0
LOOK_S = 10.0
JUMP_MS = 60_000
"""DESIGN section 2, promise 10: a larger jump of the wall clock is logged and shown."""


@dataclass(slots=True)
class Upkeep:
    """Tasks of the daemon's nursery; each runs until cancelled."""

    clock: Clock
    store: Store
    contexts: Contexts
    config: Callable[[], Config]
    swap: Callable[[Leaf], Awaitable[None]]
    close_due: Callable[[], None]
    jumps: int = 0

    async def renew_leaf(self) -> None:
        """A new leaf at half of the old one's life; links that are up keep what they began with."""
        while True:
            await trio.sleep(MINUTE_S)
            now_ms = self.clock.now_ms()
            leaf = self.contexts.leaf
            # A clock that was set back far makes a leaf of the future: renew that, too.
            if now_ms >= leaf.renew_at_ms or leaf.renew_at_ms - now_ms > 7 * DAY_MS:
                fresh = issue_leaf(self.contexts.identity, now_ms)
                await self.swap(fresh)
                if self.contexts.leaf is fresh:
                    log.info("leaf_renewed", until_ms=fresh.not_after_ms)

    async def forget_old(self) -> None:
        """Delete what its retention has run out for."""
        await every(CLEAN_S, self._forget)

    async def _forget(self) -> None:
        gone = await write(self.store, self._forget_txn, essential=True)
        if gone:
            log.info("old_rows_deleted", rows=gone)

    def _forget_txn(self, cx: Cx) -> int:
        keep, now_ms = self.config().retention, self.clock.now_ms()
        return (
            events.delete_acknowledged_txn(cx, now_ms - keep.events_h * HOUR_MS)
            + idempotency.purge_txn(cx, now_ms - keep.idempotency_h * HOUR_MS)
            + decisions.purge_txn(cx, now_ms - keep.decisions_days * DAY_MS)
            + withdraw_ended_txn(cx, now_ms)
            + grants.purge_uses_txn(cx, now_ms - keep.decisions_days * DAY_MS)
            + forget_txn(cx, now_ms - keep.decisions_days * DAY_MS, now_ms)
            + feeds.purge_tombstones_txn(cx, now_ms - keep.tombstones_days * DAY_MS)
        )

    async def close_records(self) -> None:
        """Received records whose agreed time has passed without a dispute become FINAL."""
        while True:
            self.close_due()
            await trio.sleep(CLEAN_S)

    async def watch_clock(self) -> None:
        """Timers and deadlines do not care; stamps and certificates do, so the operator is told."""
        offset = self._offset_ms()
        while True:
            await trio.sleep(LOOK_S)
            now = self._offset_ms()
            if abs(now - offset) > JUMP_MS:
                self.jumps += 1
                metrics.clock_jumps.inc()
                log.warning("clock_jumped", by_s=round((now - offset) / 1000))
            offset = now

    def _offset_ms(self) -> float:
        return self.clock.now_ms() - self.clock.monotonic() * 1000


async def every(seconds: float, act: Callable[[], Awaitable[None]]) -> None:
    """Act again and again until cancelled; what cannot be done now (a full disk, a port that is taken) is logged."""
    while True:
        try:
            await act()
        except (OperatorError, StoreFull) as error:
            log.warning("upkeep_failed", detail=str(error))
        await trio.sleep(seconds)
