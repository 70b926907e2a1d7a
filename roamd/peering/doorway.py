"""The doorway of a port: what connections of strangers may hold open there, and who must go when it is full.

Theory of operation. Until a connection has proven who it is it costs us a place, and there are only so many. Attackers
want those places for ever: by saying nothing, by a byte a second, by a first message and then silence. So nobody keeps
a place by waiting. When all are taken and someone else knocks, one of those goes who keep *us* waiting: of an address
that holds more than its share, then who had ample time, then who has not yet got an answer out of us, then who came
first. Honest partners are through in two round trips. Nobody whose message is being worked on is ever sent away, so an
honest crowd (every partner at once, after a restart) is served.

People are sent away at a measured pace, or attackers who come back at once would turn the places over faster than an
honest partner passes through. The others wait in the kernel's queue meanwhile, in the order in which they came.

The work itself is shared out as well: what arrived is taken up one visitor at a time, one in each pass of the
scheduler, so that the links that are up wait for one step of one handshake at most, however many knock.
"""

import itertools
import math
from collections import Counter
from ipaddress import IPv6Address, ip_address, ip_network
from types import TracebackType
from typing import Final

import trio

AMPLE_S: Final = 2.0
"""Two round trips around the world, with a lost packet; who needs longer keeps its place while nobody wants it."""

SETTLING_S: Final = 0.25
"""Before that nobody counts as one who says nothing: his first message may be on its way."""

PACE_S: Final = 0.01
"""Between two who are sent away: with 64 places an honest partner has half a second even among idlers only."""

BACKLOG: Final = 512
"""The kernel's queue. At that pace its last one is let in after 5 s, before he or a watchdog gives up."""

_FAIR: Final = 4
"""An address may hold one in so many of the places before it makes room first; partners share one rarely."""


class Visitor(trio.abc.HalfCloseableStream):
    """A connection that has not proven who it is. A context manager: it has its place inside the block only.

    Reading through it tells the doorway whether it keeps us waiting. `made_room` says after the block whether it was
    sent away for another one; a send or receive that was under way has then been cancelled.
    """

    def __init__(self, doorway: "Doorway", stream: trio.SocketStream) -> None:
        self.stream = stream
        self.source = source_of(stream)
        self.number = next(doorway.numbers)
        self.began_at = trio.current_time()
        self.was_answered = False
        self.keeps_us_waiting = True
        self._doorway = doorway
        self._scope = trio.CancelScope()

    @property
    def made_room(self) -> bool:
        return self._scope.cancelled_caught

    def standing(self, now: float) -> tuple[bool, bool]:
        """Whether it had ample time, and whether it could have said something and did not; True is worse."""
        age_s = now - self.began_at
        return age_s > AMPLE_S, age_s > SETTLING_S and not self.was_answered

    def send_away(self) -> None:
        """End the block; its place is free at once."""
        self._scope.cancel()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        self.keeps_us_waiting = True
        data = bytes(await self.stream.receive_some(max_bytes))
        self.keeps_us_waiting = False
        await self._doorway.take_turn()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        # Who does not read what we say keeps us waiting, too. A byte of a first message gets no answer, only all of it.
        self.was_answered = self.keeps_us_waiting = True
        await self.stream.send_all(data)
        self.keeps_us_waiting = False

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    async def aclose(self) -> None:
        await self.stream.aclose()

    def __enter__(self) -> "Visitor":
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._doorway.leave(self)
        return bool(self._scope.__exit__(kind, error, traceback))


class Doorway:
    """At most `places` visitors at a time."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._visitors: set[Visitor] = set()
        self.numbers = itertools.count()
        self._turn = trio.Lock()
        self._left = trio.Event()
        self._sent_away_at = -math.inf

    def __len__(self) -> int:
        return len(self._visitors)

    def enter(self, stream: trio.SocketStream) -> Visitor | None:
        """A place for whoever knocks, if need be another one's; None when everyone inside is being worked on.

        Not before `wait_for_room`.
        """
        if len(self._visitors) >= self._places:
            going = self._who_goes()
            if going is None:
                return None
            self._visitors.discard(going)
            going.send_away()
            self._sent_away_at = trio.current_time()
        visitor = Visitor(self, stream)
        self._visitors.add(visitor)
        return visitor

    async def wait_for_room(self) -> None:
        """Until there is a place, or someone may be sent away for the next one who knocks."""
        while len(self._visitors) >= self._places:
            pace_s = self._sent_away_at + PACE_S - trio.current_time()
            if pace_s <= 0 and self._who_goes() is not None:
                return
            with trio.move_on_after(max(pace_s, PACE_S)):
                await self._left.wait()

    def _who_goes(self) -> Visitor | None:
        held = Counter(visitor.source for visitor in self._visitors)
        greedy = {source: count for source, count in held.items() if count > self._places // _FAIR}
        now = trio.current_time()
        idle = (visitor for visitor in self._visitors if visitor.keeps_us_waiting)
        return max(
            idle,
            key=lambda v: (greedy.get(v.source, 0), *v.standing(now), -v.number),
            default=None,
        )

    def leave(self, visitor: Visitor) -> None:
        """Its place is free."""
        self._visitors.discard(visitor)
        self._left.set()
        self._left = trio.Event()

    async def take_turn(self) -> None:
        """Wait until it is one's turn to work; one visitor gets it in each pass of the scheduler."""
        async with self._turn:
            pass


class GuardedListener(trio.abc.Listener[trio.SocketStream]):
    """A listener that lets nobody in before there is room in the doorway."""

    def __init__(self, listener: trio.SocketListener, doorway: Doorway) -> None:
        self.listener = listener
        self._doorway = doorway

    async def accept(self) -> trio.SocketStream:
        await self._doorway.wait_for_room()
        return await self.listener.accept()

    async def aclose(self) -> None:
        await self.listener.aclose()


def source_of(stream: trio.SocketStream) -> str:
    """The address that a connection comes from, for IPv6 its /64: that is what one customer gets."""
    try:
        address = ip_address(stream.socket.getpeername()[0].partition("%")[0])
    except (OSError, ValueError):
        return "unknown"
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address)
