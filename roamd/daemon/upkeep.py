"""What a daemon does by itself now and then: renew its leaf, forget what is old, notice that the clock jumped."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import trio

from roamd import metrics
from roamd.clock import Clock
from roamd.config.schema import Config
from roamd.errors import OperatorError, StoreFull
from roamd.log import get_logger
from roamd.roaming.control.desk import forget_txn
from roamd.roaming.grants import withdraw_ended_txn
from roamd.roaming.privacy.retention import Retention, forget_contents
from roamd.roaming.waiting import write
from roamd.storage import decisions, events, feeds, grants, idempotency
from roamd.storage.store import Cx, Store
from roamd.trust.contexts import Contexts
from roamd.trust.leaf import Leaf, issue_leaf

log = get_logger()

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS
CLEAN_S = 600.0
GROUP = 500
"""Rows that are deleted in one transaction: a few milliseconds of the writer's time."""
MINUTE_S = 60.0
LOOK_S = 10.0
JUMP_MS = 60_000
"""DESIGN section 2, promise 10: a larger jump of the wall clock is logged and shown."""

AHEAD_MS = DAY_MS
"""What cannot be undone (contents that go, records that become FINAL) is not done by a wall clock that is ahead of the
monotonic one since the start, or of most partners', by more than this."""


@dataclass(slots=True)
class Upkeep:
    """Tasks of the daemon's nursery; each runs until cancelled."""

    clock: Clock
    store: Store
    contexts: Contexts
    config: Callable[[], Config]
    swap: Callable[[Leaf], Awaitable[None]]
    close_due: Callable[[], None]
    others_doubt: Callable[[], bool] = lambda: False
    """Whether most partners' clocks say that ours is ahead."""
    jumps: int = 0
    _began_ms: float = field(init=False)

    def __post_init__(self) -> None:
        self._began_ms = self._offset_ms()

    @property
    def is_sure(self) -> bool:
        """Whether the wall clock is believed where nothing can be undone. Once it is not, a new start is believed."""
        return self._offset_ms() - self._began_ms <= AHEAD_MS and not self.others_doubt()

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
        """Delete what its retention has run out for; not at once, for partners' clocks are to be seen first."""
        await trio.sleep(CLEAN_S)
        await every(CLEAN_S, self._forget_if_sure)

    async def _forget_if_sure(self) -> None:
        if self.is_sure:
            await self._forget()
            return
        detail = (
            "the wall clock is far ahead of what it was, or of partners': nothing is forgotten or closed until it is "
            "right; if it is right now, restart roamd"
        )
        log.warning("upkeep_held_back", detail=detail)

    async def _forget(self) -> None:
        now_ms = self.clock.now_ms()
        for what, group_txn in self._classes(now_ms):
            gone = await self._in_groups(group_txn)
            if gone:
                log.info("old_rows_deleted", what=what, rows=gone)
        before_ms = Retention(lambda: self.config().retention.records_years).over_before(now_ms)
        erased = await forget_contents(self.store, before_ms, now_ms) if before_ms is not None else 0
        if erased:
            log.info("old_contents_erased", entries=erased)

    async def _in_groups(self, group_txn: Callable[[Cx], int]) -> int:
        """Group by group, each a transaction of its own, so that whoever writes meanwhile waits for one at most."""
        total = 0
        while gone := await write(self.store, group_txn, essential=True):
            total += gone
            if gone < GROUP:
                break
        return total

    def _classes(self, now_ms: int) -> Iterator[tuple[str, Callable[[Cx], int]]]:
        """What is forgotten after a time of its own, and how a group of it is."""
        keep = self.config().retention
        events_ms, answers_ms = now_ms - keep.events_h * HOUR_MS, now_ms - keep.idempotency_h * HOUR_MS
        decisions_ms, commands_ms = now_ms - keep.decisions_days * DAY_MS, now_ms - keep.commands_days * DAY_MS
        tombstones_ms = now_ms - keep.tombstones_days * DAY_MS
        yield "events", lambda cx: events.delete_acknowledged_txn(cx, events_ms, GROUP)
        yield "answers", lambda cx: idempotency.purge_txn(cx, answers_ms, GROUP)
        yield "decisions", lambda cx: decisions.purge_txn(cx, decisions_ms, GROUP)
        yield "grants", lambda cx: withdraw_ended_txn(cx, now_ms)
        yield "grant uses", lambda cx: grants.purge_uses_txn(cx, decisions_ms)
        yield "commands", lambda cx: forget_txn(cx, commands_ms, now_ms, GROUP)
        yield "tombstones", lambda cx: feeds.purge_tombstones_txn(cx, tombstones_ms, GROUP)

    async def close_records(self) -> None:
        """Received records whose agreed time has passed without a dispute become FINAL."""
        while True:
            await trio.sleep(CLEAN_S)
            self.close_due()

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
