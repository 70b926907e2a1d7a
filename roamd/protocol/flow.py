"""What a side may send, and what it may be sent: credit per pattern, solicited answers, an allowance for the rest.

Everything that arrives is paid for by one of three: calls and bulk by credit that we granted; answers, cancellations,
receipts and acknowledgements by what we sent or were sent before, and so is credit that comes in fair steps; the few
other small control frames by an allowance that refills with time. So whatever a peer sends, what it can make us hold
and do is bounded by numbers of ours.

Credit is cumulative: a Credit message names how much may be sent since the link began, so a repeat changes nothing.
Calls cost 1 each; a bulk frame costs its payload's length and `FRAME_COST`, so that tiny frames are not free.
"""

from enum import IntEnum
from typing import Final

from roamd.errors import ProtocolError
from roamd.protocol.codes import GoodbyeCode


class Pattern(IntEnum):
    """The numbers in Credit, and the places in Hello's `windows`."""

    CALLS = 0
    LEDGER = 1
    FEEDS = 2


FRAME_COST: Final = 512  # about what an almost empty bulk frame costs us in memory
MIN_WINDOWS: Final = (1, 512 * 1024, 512 * 1024)  # a joined payload of 384 KiB always fits, so nothing can get stuck
DEFAULT_WINDOWS: Final = [1024, 1024 * 1024, 1024 * 1024]
SLACK: Final = 64  # receipts and acknowledgements beyond those that were asked for: the first of each feed is
PAID_STEPS: Final = 32  # credit in steps of this part of a window is paid for by what we sent; we give sixteenths
ALLOWANCE: Final = 1000  # pings, pongs, other credits and unknown frames at once ...
REFILL_PER_S: Final = 100  # ... and per second


def bulk_cost(length: int) -> int:
    """Credit that a bulk frame with a payload of this length costs."""
    return length + FRAME_COST


class SendCredit:
    """How much of one pattern we may still send."""

    __slots__ = ("_limit", "_used", "_window")

    def __init__(self) -> None:
        self._window = 0
        self._limit = 0
        self._used = 0

    def open(self, window: int) -> None:
        """The peer's Hello: how much it always lets be under way."""
        self._window = window
        self.raise_to(window)

    def pays_for(self, limit: int) -> bool:
        """Whether a new limit follows from what we sent, in a step of some size: then it is not unasked for."""
        fair = max(1, self._window // PAID_STEPS)
        return self._limit + fair <= limit <= self._used + self._window

    @property
    def left(self) -> int:
        """What may be sent now."""
        return self._limit - self._used

    def raise_to(self, limit: int) -> bool:
        """Take a new cumulative limit; a lower one is an old one. True when it gave more."""
        if limit <= self._limit:
            return False
        self._limit = limit
        return True

    def spend(self, amount: int) -> None:
        """Count what is sent. The caller has looked at `left`."""
        self._used += amount


class ReceiveCredit:
    """How much of one pattern the peer may still send, and when to tell it more."""

    __slots__ = ("_announced", "_limit", "_received", "_step", "_window", "pattern")

    def __init__(self, pattern: Pattern, window: int) -> None:
        self.pattern = pattern
        self._window = window
        self._step = max(1, window // 16)  # announced in steps, or each consumed call would cost a frame
        self._announced = window
        self._limit = window
        self._received = 0

    def charge(self, amount: int) -> None:
        """Count what arrived. ProtocolError when the peer had no credit for it."""
        self._received += amount
        if self._received > self._announced:
            raise ProtocolError(GoodbyeCode.CREDIT_OVERDRAWN, f"More {self.pattern.name} came than credit was given.")

    def grant(self, amount: int) -> None:
        """What arrived is consumed. ValueError when more is granted than ever arrived."""
        if amount < 0 or self._limit + amount > self._received + self._window:
            raise ValueError(f"A grant of {amount} {self.pattern.name} exceeds what was received.")
        self._limit += amount

    def due(self) -> int | None:
        """The new limit when it is worth a message; it then counts as announced."""
        if self._limit - self._announced < self._step:
            return None
        self._announced = self._limit
        return self._limit


class Solicited:
    """How many of a kind may come, because as many were asked for."""

    __slots__ = ("_due", "_what")

    def __init__(self, what: str, slack: int = 0) -> None:
        self._what = what
        self._due = slack

    def expect(self, count: int) -> None:
        """So many more may come."""
        self._due += count

    def take(self, count: int) -> None:
        """So many came. ProtocolError when fewer were due."""
        self._due -= count
        if self._due < 0:
            raise ProtocolError(GoodbyeCode.FLOOD, f"More {self._what} came than were asked for.")


class Allowance:
    """A bucket that refills with time, for the frames that nothing else pays for."""

    __slots__ = ("_at", "_left")

    def __init__(self, now: float) -> None:
        self._left = float(ALLOWANCE)
        self._at = now

    def spend(self, now: float) -> None:
        """One frame. ProtocolError when there were too many."""
        self._left = min(float(ALLOWANCE), self._left + max(0.0, now - self._at) * REFILL_PER_S) - 1
        self._at = now
        if self._left < 0:
            raise ProtocolError(GoodbyeCode.FLOOD, "Too many control frames came at once.")
