"""What coalescing is worth: the one figure of the bench that a test holds, as a ratio of work, never as a time.

Messages that wait together leave as one frame, one TLS record and one write. So sixty-four of them must cost much less
than sixty-four times one; if that is lost, no tuning elsewhere brings it back.
"""

import time
from collections.abc import Sequence

import trio
from trio.testing import memory_stream_pair

from roamd.peering.tls import TlsStream
from roamd.protocol.events import Calls
from roamd.protocol.messages import Call
from tests.support.trust import contexts, identity
from tests.support.wire import CLOCK_MS, Wire
from tests.support.wiretap import CountingStream

HERE, THERE = identity(0), identity(1)
AT_ONCE = 64
GROUPS = 8
LEAST_RATIO = 5


def calls(count: int) -> list[Call]:
    return [Call(number.to_bytes(16, "big"), 1, 3000, bytes(90)) for number in range(count)]


class Carried:
    """Two connections that are up, joined by real TLS; counts the writes and the processor's time."""

    def __init__(self) -> None:
        self.wire = Wire.up()
        near, far = memory_stream_pair()
        self.tap = CountingStream(near)
        self.dialler = TlsStream.dial(self.tap, contexts(HERE, THERE))
        self.listener = TlsStream.accept(far, contexts(THERE, HERE))

    async def carry(self, groups: Sequence[Sequence[Call]]) -> tuple[int, float]:
        """Send each group in one go and receive it; (writes, CPU seconds) of it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.dialler.handshake)
            await self.listener.handshake()
        writes, began = self.tap.writes, time.process_time()
        for group in groups:
            await self._carry(group)
        return self.tap.writes - writes, time.process_time() - began

    async def _carry(self, group: Sequence[Call]) -> None:
        self.wire.dialler.connection.send_calls(group)
        await self.dialler.send_all(self.wire.dialler.connection.data_to_send())
        arrived = 0
        while arrived < len(group):
            data = await self.listener.receive_some()
            for event in self.wire.listener.connection.receive_data(data, self.wire.now, CLOCK_MS):
                assert isinstance(event, Calls)
                arrived += len(event.calls)


async def test_sixty_four_calls_at_once_cost_at_most_a_fifth_of_sixty_four_single_ones() -> None:
    messages = calls(AT_ONCE * GROUPS)
    ratios = []
    for _ in range(3):
        writes_single, single = await Carried().carry([[message] for message in messages])
        together = [messages[first : first + AT_ONCE] for first in range(0, len(messages), AT_ONCE)]
        writes, coalesced = await Carried().carry(together)
        assert (writes_single, writes) == (len(messages), GROUPS)
        ratios.append(single / coalesced)
    assert max(ratios) >= LEAST_RATIO, f"coalescing is worth only {max(ratios):.1f} times"
