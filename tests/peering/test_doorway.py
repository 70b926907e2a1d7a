"""The doorway: nobody keeps a place by waiting, and nobody who is being worked on is sent away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from roamd.peering.doorway import AMPLE_S, PACE_S, SETTLING_S, Doorway, Visitor, source_of

PLACES = 4


@dataclass
class Porch:
    """A real port behind a doorway; inside each visitor is read from until it ends, its words answered one by one."""

    doorway: Doorway
    port: int = 0
    inside: dict[str, Visitor] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    turned_away: int = 0
    answers: bool = True

    async def serve(self, stream: trio.SocketStream) -> None:
        visitor = self.doorway.enter(stream)
        if visitor is None:
            self.turned_away += 1
            await trio.aclose_forcefully(stream)
            return
        name = str(visitor.number)
        self.inside[name] = visitor
        with visitor, suppress(trio.BrokenResourceError):
            while await visitor.receive_some():
                if self.answers:
                    await visitor.send_all(b"yes?")
        if visitor.made_room:
            self.gone.append(name)
        await trio.aclose_forcefully(stream)

    async def knock(self, source: str = "127.0.0.1") -> trio.SocketStream:
        """A new connection from that address; when this returns it is inside, or was turned away."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port, local_address=source)
        await wait_all_tasks_blocked(0.01)
        return stream

    async def say(self, stream: trio.SocketStream, words: bytes = b"hello") -> None:
        await stream.send_all(words)
        await wait_all_tasks_blocked(0.01)


@asynccontextmanager
async def porch() -> AsyncIterator[Porch]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        one = Porch(Doorway(PLACES), listeners[0].socket.getsockname()[1])
        nursery.start_soon(trio.serve_listeners, one.serve, listeners)
        with trio.fail_after(20):
            yield one
        nursery.cancel_scope.cancel()


async def test_whoever_knocks_gets_the_place_of_the_one_who_has_been_silent_for_longest() -> None:
    async with porch() as here:
        held = [await here.knock() for _ in range(PLACES + 2)]
        assert here.gone == ["0", "1"]
        assert len(here.doorway) == PLACES
        assert here.turned_away == 0
        assert await held[0].receive_some() == b"", "who was sent away is told at once"


async def test_who_got_an_answer_stays_before_those_who_did_not(mock_clock: trio.testing.MockClock) -> None:
    async with porch() as here:
        first = await here.knock()
        await here.say(first)
        silent = [await here.knock() for _ in range(PLACES - 1)]
        mock_clock.jump(2 * SETTLING_S)
        await here.knock()
        assert here.gone == ["1"]
        assert silent


async def test_who_has_just_come_is_given_a_moment_to_say_something() -> None:
    async with porch() as here:
        first = await here.knock()
        await here.say(first)
        silent = [await here.knock() for _ in range(PLACES)]
        assert here.gone == ["0"]
        assert silent


async def test_at_a_full_porch_one_waits_for_the_pace_or_for_a_free_place(mock_clock: trio.testing.MockClock) -> None:
    async with porch() as here:
        streams = [await here.knock() for _ in range(PLACES + 1)]
        assert here.gone == ["0"]
        with trio.move_on_after(PACE_S / 2) as too_soon:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(here.doorway.wait_for_room)
                await wait_all_tasks_blocked(0.01)
                mock_clock.jump(PACE_S * 0.6)
        assert too_soon.cancelled_caught
        mock_clock.jump(PACE_S)
        await here.doorway.wait_for_room()
        assert streams


async def test_a_byte_now_and_then_is_no_answer_and_keeps_no_place() -> None:
    async with porch() as here:
        here.answers = False
        trickler = await here.knock()
        others = [await here.knock() for _ in range(PLACES - 1)]
        await here.say(trickler, b"\x16")
        await here.knock()
        assert here.gone == ["0"]
        assert others


async def test_who_had_ample_time_goes_first_even_if_it_was_answered(mock_clock: trio.testing.MockClock) -> None:
    async with porch() as here:
        slow = await here.knock()
        await here.say(slow)
        mock_clock.jump(AMPLE_S + 1)
        fresh = [await here.knock() for _ in range(PLACES)]
        assert here.gone == ["0"]
        assert fresh


async def test_the_address_that_holds_the_most_places_makes_room_for_the_others() -> None:
    async with porch() as here:
        honest = await here.knock("127.0.0.2")
        crowd = [await here.knock("127.0.0.3") for _ in range(PLACES + 5)]
        assert "0" not in here.gone
        assert len(here.gone) == 6
        await here.say(honest)
        assert await honest.receive_some() == b"yes?"
        assert crowd


async def test_nobody_who_is_being_worked_on_is_sent_away() -> None:
    async with porch() as here:
        streams = [await here.knock() for _ in range(PLACES)]
        for visitor in here.inside.values():
            visitor.keeps_us_waiting = False
        late = await here.knock()
        assert here.turned_away == 1
        assert here.gone == []
        assert await late.receive_some() == b""
        assert streams


async def test_a_place_is_free_when_the_block_ends() -> None:
    async with porch() as here:
        stream = await here.knock()
        await stream.aclose()
        await wait_all_tasks_blocked(0.01)
        assert len(here.doorway) == 0


async def test_turns_come_one_in_each_pass() -> None:
    doorway, passes, took = Doorway(PLACES), 0, list[int]()

    async def count_passes() -> None:
        nonlocal passes
        while True:
            passes += 1
            await trio.lowlevel.checkpoint()

    async def work() -> None:
        await doorway.take_turn()
        took.append(passes)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_passes)
        async with trio.open_nursery() as workers:
            for _ in range(10):
                workers.start_soon(work)
        nursery.cancel_scope.cancel()
    # Within a pass the order of tasks is random, so two turns may fall between the same two counts; ten may not.
    assert took[-1] - took[0] >= 7


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_source_is_an_address_or_a_network_of_ipv6(host: str) -> None:
    try:
        listeners = await trio.open_tcp_listeners(0, host=host)
    except OSError:
        pytest.skip(f"no {host} on this machine")
    port = listeners[0].socket.getsockname()[1]
    async with await trio.open_tcp_stream(host, port), await listeners[0].accept() as arrived:
        assert source_of(arrived) == {"127.0.0.1": "127.0.0.1", "::1": "::/64"}[host]
    await listeners[0].aclose()
