"""Bulk that came in over one link: handed to the store in order, and kept waiting while the disk has no room for it.

Theory of operation. Batches and chunks are handed over without waiting for each other, so when one finds the disk full
some behind it are with the writer already. None of them may take effect without it: a chunk's cursor would pass over
the objects that were not stored. So each refuses, inside its transaction, to follow anything but what came before it
(ProtocolError); all that were refused go back to the head of the queue, in their order, and are handed over again when
there is room. The link stays up meanwhile, and calls pass. The peer is given no credit for what waits, so that is
bounded by the windows.

Credit counts bytes as they travel, and a megabyte of objects that are alike travels in a hundred. So no more than
`UNDER_WAY` payloads are opened at a time; the others wait as they came.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio

from roamd.errors import ProtocolError, StoreFull
from roamd.protocol.events import BulkFeed, BulkLedger
from roamd.storage.store import Store

Bulk: TypeAlias = BulkLedger | BulkFeed

Settle: TypeAlias = Callable[[object], bool]
"""Takes what became of a payload. False when it will be handed over again, so that nothing follows from it now."""

UNDER_WAY = 32
"""Payloads of one link that are open, each of a megabyte at most. The writer takes all in one commit, which is as long
as the way to a partner and back; what honest peers have open is a few.
"""

ROOM_S = 1.0
"""How often to look for room: the writer looks at the disk as often."""


class Inflow:
    """See the module. `take` hands one payload over and has its outcome settled once; `finished` is told its cost.

    `take` may raise ProtocolError instead. `go_on` is called when what was refused may be tried again, or more may be
    handed over; `start` runs `look_for_room`, for as long as the link lives.
    """

    __slots__ = ("_finished", "_go_on", "_refused", "_start", "_store", "_take", "_under_way", "_waiting", "stuck")

    def __init__(
        self,
        store: Store,
        take: Callable[[Bulk, Settle], None],
        finished: Callable[[Bulk], None],
        go_on: Callable[[], None],
        start: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        self._store = store
        self._take = take
        self._finished = finished
        self._go_on = go_on
        self._start = start
        self._waiting: list[Bulk] = []  # a window's worth at most; every link has one, so no deque
        self._refused: list[Bulk] = []
        self._under_way = 0
        self.stuck = False

    def add(self, bulk: Bulk) -> None:
        """A payload came in."""
        self._waiting.append(bulk)

    @property
    def is_due(self) -> bool:
        """Whether `step` would hand something over."""
        return bool(self._waiting) and not self.stuck and self._under_way < UNDER_WAY

    def step(self) -> bool:
        """Hand one payload over; False when none may be."""
        if not self.is_due:
            return False
        bulk = self._waiting.pop(0)
        self._under_way += 1
        self._take(bulk, lambda outcome: self._settle(bulk, outcome))
        return True

    def _settle(self, bulk: Bulk, outcome: object) -> bool:
        self._under_way -= 1
        if isinstance(outcome, StoreFull) or (self.stuck and isinstance(outcome, ProtocolError)):
            self._refused.append(bulk)
            self.wait_for_room()
            return False
        self._finished(bulk)
        if self._under_way == UNDER_WAY - 1 and self.is_due:
            self._go_on()
        return True

    def wait_for_room(self) -> None:
        """The disk is full: nothing is handed over until it no longer is, and then `go_on` is called."""
        if not self.stuck:
            self.stuck = True
            self._start(self.look_for_room)

    async def look_for_room(self) -> None:
        """Until there is some."""
        while True:
            await trio.sleep(ROOM_S)
            if not (self._store.full or self._under_way):
                break
        self._waiting[:0] = self._refused
        self._refused.clear()
        self.stuck = False
        self._go_on()
