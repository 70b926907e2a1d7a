"""Who of many may use a bounded thing: a share for each, and turns.

A peer that asks more than the backend can answer must not cost the others their answers. Two rules see to that, and
neither needs to know how many peers there are:

- *Shares* bound how many may be under way at all. A peer may hold as many as are still free: alone it gets half of
  them, two that ask without end a third each, and there is always room for one that comes later.
- *Turns* decide who gets the next of a few places. Peers that wait take it in turns, each its oldest first, so that
  one question of a quiet peer waits for one turn of every other, and never for all that one of them has heaped up.
"""

import asyncio
from collections import Counter, deque


class Shares:
    """Counts what is under way, by peer."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._held: Counter[str] = Counter()

    def take(self, peer: str) -> bool:
        """Begin one for this peer, if its share allows it."""
        if self._held[peer] >= self._left:
            return False
        self._held[peer] += 1
        self._left -= 1
        return True

    def give_back(self, peer: str) -> None:
        """One that was begun has ended."""
        self._left += 1
        self._held[peer] -= 1
        if not self._held[peer]:
            del self._held[peer]


class Turns:
    """A number of places. Whoever was given one gives it back."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def take(self, peer: str) -> None:
        """Wait for a place. Cancelled, it holds none."""
        if self._free:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(peer, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # it was given while we were cancelled
                self.give_back()
            raise

    def give_back(self) -> None:
        """The place is free for the peer whose turn it is; those who have gone meanwhile are passed over."""
        while self._waiting:
            peer = next(iter(self._waiting))
            queue = self._waiting.pop(peer)
            place = queue.popleft()
            if queue:
                self._waiting[peer] = queue  # at the end: the others come first
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
