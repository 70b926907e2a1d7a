"""The watchdog's proof of life: a commit that went through and a connection that was accepted, not a mere timer."""

from contextlib import suppress
from dataclasses import dataclass

import trio

from roamd.daemon.assembly import Assembly
from roamd.daemon.systemd import Notifier
from roamd.errors import StoreFull
from roamd.log import get_logger
from roamd.roaming.waiting import write
from roamd.storage import meta

log = get_logger()

PATIENCE_S = 10.0
ALIVE = "alive-ms"
"""When the last proof of life was committed, in the store's `meta`."""


@dataclass(slots=True)
class Watchdog:
    """Feeds the service manager's watchdog; with `every_s` None nobody asks, and nothing is checked."""

    assembly: Assembly
    notifier: Notifier
    every_s: float | None

    async def run(self) -> None:
        """Check and tell until cancelled; a check that fails is logged, and the manager draws its conclusion."""
        while self.every_s is not None:
            began = trio.current_time()
            if await self._lives():
                self.notifier.watchdog()
            await trio.sleep(max(0.0, began + self.every_s - trio.current_time()))

    async def _lives(self) -> bool:
        try:
            with trio.fail_after(PATIENCE_S):
                await self._commit()
                await self.assembly.network.probe()
        except (trio.TooSlowError, OSError) as error:
            log.error("watchdog_check_failed", patience_s=PATIENCE_S, detail=str(error) or "too slow")  # noqa: TRY400
            return False
        return True

    async def _commit(self) -> None:
        """Something must change, or SQLite has nothing to write and to sync."""
        now_ms = self.assembly.ground.clock.now_ms()
        with suppress(StoreFull):  # that is an answer: the writer lives, and a restart would not make room
            await write(self.assembly.ground.store, lambda cx: meta.set_txn(cx, ALIVE, str(now_ms)), essential=True)
