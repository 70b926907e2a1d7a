"""A network in memory: byte streams with delay and a bounded buffer, which can be clogged and cut.

A stream carries who is at its other end, as TLS would have proven it; there is no cryptography under it. Bytes of one
direction stay in order. A cut breaks every stream between two nodes and refuses new ones; a clog holds all bytes back
without a word, and they come late once it ends.
"""

import random
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import trio

from roamd.errors import NotTrusted
from roamd.roaming.waiting import Wake
from tests.simulation.determinism import JumpingClock
from tests.simulation.trace import Trace

BUFFER = 256 * 1024
"""What a sender may be ahead of its reader: both kernels' buffers."""

USUAL_DELAY_S = (0.005, 0.05)
UNREACHABLE_S = 1.0
HANDSHAKE_S = 10.0

Pair = frozenset[str]


@dataclass(slots=True)
class Direction:
    """The bytes from one node to the other over one connection."""

    source: str
    target: str
    pair: Pair = frozenset()
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    size: int = 0
    last_at: float = 0.0
    extra_s: float = 0.0
    ended: bool = False
    changed: Wake = field(default_factory=Wake)
    room: Wake = field(default_factory=Wake)


class Stream:
    """One end of a connection (implements `peering.link.SecureStream`)."""

    def __init__(self, network: "SimNetwork", outgoing: Direction, incoming: Direction, leaves: tuple[bytes, bytes]):
        self.own_leaf_sha256, self.peer_leaf_sha256 = leaves
        self.outgoing, self.incoming = outgoing, incoming
        self._network = network
        self.broken = False
        self.closed = False
        self._unsent = b""

    def send_nowait(self, data: bytes) -> bool:
        self._usable()
        if self.outgoing.size < BUFFER and not self._unsent:
            if data:
                self._network.carry(self.outgoing, data)
            return True
        self._unsent += data
        if self.outgoing.size < BUFFER:
            self._carry()
        return not self._unsent

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()  # a whole one each time would double what a run costs
        while self._usable() and self.outgoing.size >= BUFFER:
            await self.outgoing.room.wait()
        self._usable()
        self._carry()

    def _carry(self) -> None:
        data, self._unsent = self._unsent, b""
        if data:
            self._network.carry(self.outgoing, data)

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._usable():
            due_at = self._network.due_at(self.incoming)
            if due_at is not None and due_at <= self._network.clock.now:
                return self._take()
            await self.incoming.changed.wait()
        return b""

    def _take(self) -> bytes:
        """Everything that has arrived; nothing is the end."""
        parts, now = [], self._network.clock.now
        while self.incoming.waiting and self.incoming.waiting[0][0] <= now:
            parts.append(self.incoming.waiting.popleft()[1])
        data = b"".join(parts)
        self.incoming.size -= len(data)
        self.incoming.room.set()
        return data

    def _usable(self) -> bool:
        if self.closed:
            raise trio.ClosedResourceError
        if self.broken:
            raise trio.BrokenResourceError
        return True

    async def send_eof(self) -> None:
        self.outgoing.ended = True
        self.outgoing.changed.set()
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """No more from here; the other side reads what is under way, then the end."""
        self.closed = True
        self.outgoing.ended = True
        self.outgoing.changed.set()
        self.incoming.room.set()

    def break_(self) -> None:
        """The connection is reset, or this side's process is dead."""
        self.broken = True
        for wake in (self.outgoing.changed, self.outgoing.room, self.incoming.changed, self.incoming.room):
            wake.set()


@dataclass(frozen=True, slots=True)
class Port:
    """Where a node is reached: `accept` takes a stream of the endpoint that dialled, or raises NotTrusted."""

    leaf_sha256: bytes
    accept: Callable[[str, Stream], None]


class SimNetwork:
    """All connections between all nodes."""

    def __init__(self, rng: random.Random, trace: Trace, clock: JumpingClock) -> None:
        self._rng = rng
        self.clock = clock
        self._trace = trace
        self._ports: dict[str, Port] = {}
        self._streams: list[tuple[str, str, Stream, Stream]] = []
        self.cuts: set[Pair] = set()
        self.clogs: set[tuple[str, str]] = set()
        self.delays: dict[Pair, tuple[float, float]] = {}

    # --- nodes --------------------------------------------------------------------------------------------------

    def listen(self, name: str, port: Port) -> None:
        """A node is there."""
        self._ports[name] = port

    def kill(self, name: str) -> None:
        """A node's process is gone: nothing leaves it any more, and its connections are reset."""
        self._ports.pop(name, None)
        self._break(lambda one, other: name in (one, other))

    async def connect(self, source: str, endpoint_id: str, leaf_sha256: bytes, target: str) -> Stream:
        """Dial. OSError when nobody is reached; the stream once the other side has taken it."""
        pair = frozenset((source, target))
        await trio.sleep(2 * self._delay(pair))
        if (source, target) in self.clogs or (target, source) in self.clogs:
            await trio.sleep(HANDSHAKE_S)
            raise TimeoutError("no handshake")
        if pair in self.cuts:
            await trio.sleep(UNREACHABLE_S)
            raise OSError("no route")
        port = self._ports.get(target)
        if port is None:
            raise ConnectionRefusedError("nobody listens")
        there, back = Direction(source, target, pair), Direction(target, source, pair)
        ours = Stream(self, there, back, (leaf_sha256, port.leaf_sha256))
        theirs = Stream(self, back, there, (port.leaf_sha256, leaf_sha256))
        port.accept(endpoint_id, theirs)
        self._streams = [kept for kept in self._streams if not (kept[2].closed and kept[3].closed)]
        self._streams.append((source, target, ours, theirs))
        self._trace.note("connected", f"{source} {target}")
        return ours

    # --- bytes --------------------------------------------------------------------------------------------------

    def carry(self, direction: Direction, data: bytes) -> None:
        """Bytes leave; they arrive after a delay, behind those before them."""
        at = self.clock.now + self._delay(direction.pair) + direction.extra_s
        direction.last_at = at = max(at, direction.last_at)
        direction.waiting.append((at, data))
        direction.size += len(data)
        self.clock.call_at(at, direction.changed.set)
        self._trace.count("bytes", f"{direction.source} {direction.target} {len(data)} {zlib.crc32(data)}")

    def due_at(self, direction: Direction) -> float | None:
        """When the reader has something to read, as far as it is known."""
        if (direction.source, direction.target) in self.clogs:
            return None
        if direction.waiting:
            return direction.waiting[0][0]
        return 0.0 if direction.ended else None

    def _delay(self, pair: Pair) -> float:
        shortest, longest = self.delays.get(pair, USUAL_DELAY_S)
        return shortest + (longest - shortest) * self._rng.random()

    # --- faults -------------------------------------------------------------------------------------------------

    def cut(self, one: str, other: str) -> None:
        """No way between the two until `heal`."""
        self.cuts.add(frozenset((one, other)))
        self._break(lambda a, b: {a, b} == {one, other})

    def reset(self, one: str, other: str) -> None:
        """Connections between the two break; new ones are possible at once."""
        self._break(lambda a, b: {a, b} == {one, other})

    def clog(self, source: str, target: str) -> None:
        """Bytes in this direction wait."""
        self.clogs.add((source, target))

    def slow_down(self, one: str, other: str, longest_s: float) -> None:
        """The connections that are there now take a longer way; what is sent over a newer one overtakes them."""
        for direction in self._directions():
            if {direction.source, direction.target} == {one, other}:
                direction.extra_s = self._rng.uniform(0.2, longest_s)

    def unclog(self, source: str, target: str) -> None:
        """They come."""
        self.clogs.discard((source, target))
        for direction in self._directions():
            direction.changed.set()

    def heal(self) -> None:
        """No faults any more."""
        self.cuts.clear()
        self.delays.clear()
        for source, target in sorted(self.clogs):
            self.unclog(source, target)

    def _break(self, which: Callable[[str, str], bool]) -> None:
        for one, other, ours, theirs in self._streams:
            if which(one, other):
                ours.break_()
                theirs.break_()
        self._streams = [kept for kept in self._streams if not which(kept[0], kept[1])]

    def _directions(self) -> Iterator[Direction]:
        for _, _, ours, theirs in self._streams:
            yield ours.incoming
            yield theirs.incoming


def refused() -> NotTrusted:
    """What a dialler learns that is not a paired peer there."""
    return NotTrusted("refused-unknown-identity", "The other side does not know us.")
