"""All peering as one part: a dialler for each peer, the registry of links, and what the operator may do to a peer."""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from roamd.clock import Clock
from roamd.log import get_logger
from roamd.peering.dialler import COURTESY_S, Connect, Dialler
from roamd.peering.registry import Registry
from roamd.protocol.codes import GoodbyeCode
from roamd.roaming.directory import Directory, Peer

log = get_logger()

SPREAD_PER_S = 25.0
"""First attempts after a start are spread so that no more than so many peers are dialled in a second."""


FAREWELL_S = 1.0
"""How long a shutdown waits for its Goodbyes to leave."""


@dataclass(slots=True)
class Peering:
    """Owns the dialling tasks; `run` is the task that they live in."""

    directory: Directory
    registry: Registry
    connect: Connect
    addresses: Callable[[Peer], tuple[str, ...]]
    clock: Clock
    random: Callable[[int], bytes]
    slots: trio.CapacityLimiter
    cap_s: float
    own_endpoint: str
    dialable: bool
    _diallers: dict[str, Dialler] = field(default_factory=dict)
    _nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Dial until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            peers = sorted(self.directory, key=lambda peer: peer.label)
            window_s = len(peers) / SPREAD_PER_S
            for peer in peers:
                self._start(peer, self._share() * window_s)
            task_status.started()
            await trio.sleep_forever()

    def _share(self) -> float:
        return int.from_bytes(self.random(4), "big") / 2**32

    def _start(self, peer: Peer, first_wait_s: float) -> None:
        if self._nursery is None:
            return
        dialler = Dialler(
            peer, self.connect, self.addresses, self.clock, self.random, self.slots, first_wait_s, self.cap_s
        )
        if self.dialable and peer.row.address and self.own_endpoint > peer.endpoint_id:
            dialler.courtesy_s = COURTESY_S
        self._diallers[peer.label] = dialler
        self._nursery.start_soon(dialler.run)

    def add(self, peer: Peer) -> None:
        """A peer was paired."""
        if peer.label not in self._diallers:
            self._start(peer, 0.0)
        self.kick(peer)

    def kick(self, peer: Peer) -> None:
        """Try this peer now: it contacted us, its link went down, its address or state changed, the operator asks."""
        dialler = self._diallers.get(peer.label)
        if dialler is not None:
            dialler.kick()

    def suspend(self, peer: Peer) -> None:
        """Close its links; its dialler sleeps until it is kicked."""
        self.registry.close_all(peer, GoodbyeCode.SUSPENDED, "suspended by the operator")

    def remove(self, peer: Peer) -> None:
        """Close its links and end its dialler."""
        self.registry.close_all(peer, GoodbyeCode.REMOVED, "removed by the operator")
        self.kick(peer)  # the dialler sees that the peer is gone, and ends
        self._diallers.pop(peer.label, None)

    def next_attempt_s(self, peer: Peer) -> float | None:
        """Seconds until the next attempt, None when none is planned."""
        dialler = self._diallers.get(peer.label)
        if dialler is None or dialler.next_attempt_at is None or peer.exchange is not None:
            return None
        return max(0.0, dialler.next_attempt_at - self.clock.monotonic())

    async def say_goodbye(self, until_ms: int) -> None:
        """At shutdown: tell every peer, so that it need not find out."""
        for peer in self.directory:
            for link in self.registry.of(peer):
                link.close(GoodbyeCode.SHUTTING_DOWN, "shutting down", until_ms)
        with trio.move_on_after(FAREWELL_S):
            await self.registry.wait_empty()
