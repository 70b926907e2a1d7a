"""Who is silent, and how far the clocks are apart. A Ping goes out only where nothing came in: traffic is a heartbeat.

`now` is monotonic and rules the timers; `clock_ms` is the wall clock and only measures skew, so a jump of it is
measured, not believed.

On a link that has nothing to say the sides take turns, so that one Ping and its Pong are the heartbeat of both and each
still measures the skew every other time. For that they must not be equally patient, for whatever came last came to both
at once: the listener waits a little longer than the dialler, and whose Ping was answered waits a turn more.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from roamd.protocol.events import SkewMeasured
from roamd.protocol.messages import Ping, Pong

LISTENER_WAITS: Final = 1.05  # times the heartbeat; more than a round trip, and not much later
ANSWERED_WAITS: Final = 1.1  # the other side's turn comes before ours


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient a connection is, in seconds."""

    heartbeat_s: float = 30.0
    missed: int = 3
    handshake_s: float = 10.0


class Due(Enum):
    """What a timer asks for."""

    NOTHING = auto()
    PING = auto()
    GIVE_UP = auto()


class Heartbeat:
    """The timers of one connection."""

    __slots__ = ("_in_handshake", "_missed", "_next_at", "_patience_s", "_ping_id", "_ping_sent_at", "_timing")

    def __init__(self, timing: Timing, now: float, *, dialler: bool) -> None:
        self._timing = timing
        self._patience_s = timing.heartbeat_s * (1 if dialler else LISTENER_WAITS)
        self._next_at: float = now + timing.handshake_s
        self._in_handshake = True
        self._missed = 0
        self._ping_id = 0
        self._ping_sent_at: float | None = None

    @property
    def next_at(self) -> float:
        """When `due` should be asked."""
        return self._next_at

    def went_up(self, now: float) -> None:
        """The handshake is over; from here on silence is counted."""
        self._in_handshake = False
        self.heard(now)

    def heard(self, now: float) -> None:
        """Something came in. During the handshake that buys no time: it has to end."""
        if not self._in_handshake:
            self._missed = 0
            self._next_at = now + self._patience_s

    def due(self, now: float) -> Due:
        """What is to be done at `now`; a Ping is given up as missed when the next one is due."""
        if now < self._next_at:
            return Due.NOTHING
        if self._in_handshake or self._missed >= self._timing.missed:
            return Due.GIVE_UP
        self._missed += 1
        self._next_at = now + self._timing.heartbeat_s
        return Due.PING

    def ping(self, now: float, clock_ms: int) -> Ping:
        """The next Ping; only the newest one is measured."""
        self._ping_id += 1
        self._ping_sent_at = now
        return Ping(self._ping_id, clock_ms)

    def pong(self, pong: Pong, now: float, clock_ms: int) -> SkewMeasured | None:
        """The skew, when this answers the newest Ping. The round trip is monotonic, so a jump is harmless."""
        if pong.id != self._ping_id or self._ping_sent_at is None:
            return None
        round_trip_s = max(0.0, now - self._ping_sent_at)
        self._ping_sent_at = None
        self._next_at = now + self._patience_s * ANSWERED_WAITS
        return SkewMeasured(pong.clock_ms - (clock_ms - round_trip_s * 500), round_trip_s)
