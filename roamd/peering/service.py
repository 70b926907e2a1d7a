"""All peering as one part: a dialler for each route, the registry of links, and what the operator may do to a peer."""

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from roamd import metrics
from roamd.clock import Clock
from roamd.model.routes import DIRECT, every_route
from roamd.peering.dialler import Connect, Dialler
from roamd.peering.registry import Registry
from roamd.peering.turns import Turns
from roamd.protocol.codes import GoodbyeCode
from roamd.roaming.directory import Directory, Peer

SPREAD_PER_S = 25.0
"""First attempts after a start are spread so that no more than so many peers are dialled in a second."""

COURTESY_S = 0.5
"""How long the side with the larger endpoint id, which can itself be dialled, lets the other one go first."""

FAREWELL_S = 1.0
"""How long a shutdown waits for its Goodbyes to leave."""


@dataclass(slots=True)
class Peering:
    """Owns the dialling tasks and the links' turns; `run` is the task that they live in.

    `connect` dials, and itself bounds how many handshakes run at a time; `through` opens a passage, its address is the
    clearing house's label. `addresses` says where a peer may be tried by a route.
    `cap_s` may be changed at any time.
    """

    directory: Directory
    registry: Registry
    turns: Turns
    connect: Connect
    through: Connect
    addresses: Callable[[Peer, str], tuple[str, ...]]
    clock: Clock
    random: Callable[[int], bytes]
    cap_s: float
    own_endpoint: str
    dialable: bool
    _diallers: dict[str, dict[str, Dialler]] = field(default_factory=dict)
    _nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Dial, and let links send, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.turns.run)
            peers = sorted(self.directory, key=lambda peer: peer.label)
            window_s = len(peers) / SPREAD_PER_S
            for peer in peers:
                self._start(peer, self._share() * window_s)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def _share(self) -> float:
        return int.from_bytes(self.random(4), "big") / 2**32

    def _start(self, peer: Peer, first_wait_s: float) -> None:
        """A dialler for each route that has none."""
        running = self._diallers.setdefault(peer.label, {})
        for route in every_route(peer.agreement.routes):
            if route not in running and self._nursery is not None:
                running[route] = dialler = self._dialler(peer, route, first_wait_s)
                dialler.begin()

    def _dialler(self, peer: Peer, route: str, first_wait_s: float) -> Dialler:
        return Dialler(
            peer=peer,
            connect=self.connect if route == DIRECT else self.through,
            addresses=lambda peer: self.addresses(peer, route),
            clock=self.clock,
            random=self.random,
            due_at=self.clock.monotonic() + first_wait_s,
            cap_s=lambda: self.cap_s,
            courtesy_s=lambda: self._courtesy_s(peer, route),
            start=self._begin_task,
            linked=lambda peer: self.registry.is_linked(peer, route),
        )

    def _begin_task(self, function: Callable[[], Awaitable[None]]) -> None:
        """In our nursery; after its end links still go down, and nobody is dialled any more."""
        if self._nursery is not None:
            self._nursery.start_soon(function)

    def _courtesy_s(self, peer: Peer, route: str) -> float:
        """Of two that can dial each other, the one whose link would win goes first."""
        both_dial = route != DIRECT or (self.dialable and peer.row.address)
        return COURTESY_S if both_dial and self.own_endpoint > peer.endpoint_id else 0.0

    # --- what happens to a peer ---------------------------------------------------------------------------------

    def add(self, peer: Peer) -> None:
        """A peer was paired, confirmed, resumed, or has a new address or other routes: try it now.

        One that was removed since is left alone: its dialler would stand in the way when the two pair again.
        """
        if self.directory.find(peer.label) is not peer:
            return
        self._start(peer, 0.0)
        running, wanted = self._diallers[peer.label], every_route(peer.agreement.routes)
        for route in [route for route in running if route not in wanted]:
            running.pop(route).retire()
        self.kick(peer)

    def kick(self, peer: Peer) -> None:
        """Try this peer now: its address was seen, or the operator asks."""
        for dialler in self._diallers.get(peer.label, {}).values():
            dialler.kick()

    def reachable(self, relay: Peer) -> None:
        """A clearing house can be asked now: try whom we reach through it."""
        for running in self._diallers.values():
            if (dialler := running.get(relay.label)) is not None:
                dialler.kick()

    def contacted(self, peer: Peer, route: str = DIRECT) -> None:
        """The peer has dialled us and proven its leaf."""
        if (dialler := self._of(peer, route)) is not None:
            dialler.contacted()

    def link_changed(self, peer: Peer, route: str) -> None:
        """The peer's first link by a route came up, or its last one ended."""
        dialler = self._of(peer, route)
        if dialler is None:
            return
        if self.registry.is_linked(peer, route):
            dialler.link_up()
        else:
            dialler.link_down(self.registry.farewell_of(peer, route))

    def _of(self, peer: Peer, route: str) -> Dialler | None:
        return self._diallers.get(peer.label, {}).get(route)

    def suspend(self, peer: Peer) -> None:
        """Close its links; its dialler sleeps until it is kicked."""
        self.registry.close_all(peer, GoodbyeCode.SUSPENDED, "suspended by the operator")

    def remove(self, peer: Peer) -> None:
        """Close its links and end its dialler."""
        self.registry.close_all(peer, GoodbyeCode.REMOVED, "removed by the operator")
        for dialler in self._diallers.pop(peer.label, {}).values():
            dialler.retire()
        if not self.registry.of(peer):
            metrics.forget_peer(peer.label)

    def next_attempt_s(self, peer: Peer) -> float | None:
        """Seconds until the next attempt, None when none is planned."""
        planned = [dialler.next_attempt_at for dialler in self._diallers.get(peer.label, {}).values()]
        at = min((at for at in planned if at is not None), default=None)
        return None if at is None else max(0.0, at - self.clock.monotonic())

    async def say_goodbye(self, until_ms: int) -> None:
        """At shutdown: dial nobody any more, and tell every peer, so that it need not find out."""
        for dialler in itertools.chain.from_iterable(running.values() for running in self._diallers.values()):
            dialler.retire()
        self.registry.close_every(GoodbyeCode.SHUTTING_DOWN, "shutting down", until_ms)
        with trio.move_on_after(FAREWELL_S):
            await self.registry.wait_empty()
