"""Dialling: one task a peer, which keeps a link up as long as the peer is paired and can be reached.

An attempt that fails waits, each time longer, up to five minutes; a peer that contacts us, a new address, an operator's
`retry` or a confirmation ends the wait at once. While a link is up, by whoever's dialling, the task sleeps. At a start
with many peers the first attempts are spread, and at most so many handshakes run at a time.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from roamd import metrics
from roamd.clock import Clock
from roamd.errors import NotTrusted, PeerError
from roamd.log import get_logger
from roamd.peering.backoff import CAP_S, Backoff
from roamd.peering.link import Link
from roamd.protocol.codes import Reconnect, reconnect_after
from roamd.roaming.directory import Peer
from roamd.roaming.peerbook import REMOVED
from roamd.roaming.waiting import Wake

log = get_logger()

SETTLED_S = 10.0
"""A link that lived this long counts as a success: the next attempt begins without back-off."""

FRESH_CAP_S = 5.0
"""A peer with which no link was ever up is tried this often: its operator may confirm us at any moment."""

FRESH_MS = 3600 * 1000
"""For how long after the pairing that holds."""

COURTESY_S = 0.5
"""How long the side with the larger endpoint id, which can itself be dialled, lets the other one go first."""

Connect = Callable[[Peer, str], Awaitable[Link]]
"""Dial an address, shake hands, judge who is there; a link that is ready to run. Raises OSError or PeerError."""


@dataclass(slots=True)
class Dialler:
    """Keeps one peer's link up. `addresses` gives where to try, best first, asked anew at each attempt."""

    peer: Peer
    connect: Connect
    addresses: Callable[[Peer], tuple[str, ...]]
    clock: Clock
    random: Callable[[int], bytes]
    slots: trio.CapacityLimiter
    first_wait_s: float = 0.0
    cap_s: float = CAP_S
    courtesy_s: float = 0.0
    _kick: Wake = field(default_factory=Wake)
    next_attempt_at: float | None = None

    def kick(self) -> None:
        """Something changed for the better, or the link went down: look again at once."""
        self._kick.set()

    async def run(self) -> None:
        """Dial until the peer is removed. Whatever goes wrong with one attempt is logged and tried again."""
        backoff = Backoff(self.random)
        await self._wait(self.first_wait_s)
        while self.peer.row.state != REMOVED:
            if not self._wanted():
                self.next_attempt_at = None
                await self._kick.wait()
                backoff.reset()
                await self._pause(self.courtesy_s)
                continue
            backoff.cap_s = self._cap_s()
            wait_s = await self._attempt(backoff)
            if self.peer.exchange is None:
                await self._wait(wait_s, backoff)

    def _wanted(self) -> bool:
        return self.peer.exchange is None and self.peer.active and bool(self.addresses(self.peer))

    async def _pause(self, seconds: float) -> None:
        """Give the other side, whose dialling would win, the first go; skipped once there is nothing to dial for."""
        if seconds > 0 and self._wanted():
            await trio.sleep(seconds)

    async def _attempt(self, backoff: Backoff) -> float:
        """Try every address in turn; how long to wait before the next round."""
        for address in self.addresses(self.peer):
            began = self.clock.monotonic()
            try:
                async with self.slots:
                    link = await self.connect(self.peer, address)
            except (OSError, PeerError) as error:
                self._failed(address, error)
                continue
            await link.run()
            self._ended(address, link)
            if self.clock.monotonic() - began >= SETTLED_S:
                backoff.reset()
            return self._after(link, backoff)
        return backoff.next_s()

    def _failed(self, address: str, error: Exception) -> None:
        reason = error.reason if isinstance(error, NotTrusted) else getattr(error, "code", type(error).__name__)
        metrics.handshakes.labels("failed").inc()
        text = f"{address}: {error}"
        if self.peer.last_error != text:
            log.warning("dial_failed", peer=self.peer.label, address=address, reason=reason, detail=str(error))
        self.peer.last_error = text

    def _ended(self, address: str, link: Link) -> None:
        """A link that never went up was an attempt that failed."""
        if link.exchange is None:
            self._failed(address, PeerError(link.detail or f"the link ended before it was up: {link.reason}"))

    def _after(self, link: Link, backoff: Backoff) -> float:
        """What the peer's Goodbye asks for, else the next step of the back-off."""
        goodbye = link.goodbye
        wait_s = backoff.next_s()
        if goodbye is None or reconnect_after(goodbye.code) is not Reconnect.AFTER_UNTIL:
            return wait_s
        until_s = (goodbye.until_ms - self.clock.now_ms()) / 1000
        return max(wait_s, min(until_s, CAP_S))

    def _cap_s(self) -> float:
        fresh = self.peer.last_up_ms is None and self.clock.now_ms() - self.peer.row.paired_at_ms < FRESH_MS
        return min(FRESH_CAP_S, self.cap_s) if fresh else self.cap_s

    async def _wait(self, seconds: float, backoff: Backoff | None = None) -> None:
        if seconds <= 0:
            return
        self.next_attempt_at = self.clock.monotonic() + seconds
        with trio.move_on_after(seconds):
            await self._kick.wait()
            if backoff is not None:
                backoff.reset()
