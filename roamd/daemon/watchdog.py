"""The watchdog's proof of life: a commit that went through and a connection that was accepted, not a mere timer."""

from dataclasses import dataclass

import trio

from roamd.daemon.assembly import Assembly
from roamd.daemon.systemd import Notifier
from roamd.log import get_logger
from roamd.roaming.waiting import write

log = get_logger()

PATIENCE_S = 10.0


@dataclass(slots=True)
class Watchdog:
    """Feeds the service manager's watchdog; with `every_s` None nobody asks, and nothing is checked."""

    assembly: Assembly
    notifier: Notifier
    every_s: float | None

    async def run(self) -> None:
        """Check and tell until cancelled; a check that fails is logged, and the manager draws its conclusion."""
        while self.every_s is not None:
            with trio.move_on_after(PATIENCE_S) as patience:
                await write(self.assembly.ground.store, lambda cx: None, essential=True)
                await self.assembly.network.probe()
                self.notifier.watchdog()
            if patience.cancelled_caught:
                log.error("watchdog_check_failed", patience_s=PATIENCE_S)
            await trio.sleep(self.every_s)
