"""Which of several links stays, who closes the other, and what becomes of open calls."""

import itertools

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from roamd import metrics
from roamd.peering import registry
from roamd.peering.link import Link
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.events import Calls, PeerSaidGoodbye
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming.directory import Peer
from roamd.storage import events
from tests.support.endpoints import Endpoint, FarEnd, Neighbourhood, far_end, until

ASKED = 99
"""A service that these tests ask about; other calls on the wire are the daemons' own."""


async def two(hood: Neighbourhood, *, smaller_first: bool = True) -> tuple[Endpoint, Endpoint]:
    """A pair of whom nobody dials by itself; the first is the smaller side, or the larger."""
    one = await hood.endpoint("DE*ABC", "cso", reachable=False)
    other = await hood.endpoint("FR*XYZ", "csp", reachable=False)
    await hood.pair(one, other)
    assert one.endpoint_id < other.endpoint_id
    return (one, other) if smaller_first else (other, one)


def ask(here: Endpoint, there: Endpoint, call_id: bytes = b"q" * 16, within_s: float = 10.0) -> list[Answer | None]:
    """Ask; the list has the answer once it is there."""
    answers: list[Answer | None] = []
    call = Call(call_id, ASKED, int(within_s * 1000), b"how are you?")
    here.core.outgoing.start(here.peer(there), call, trio.current_time() + within_s, answers.append)
    return answers


def asked(far: FarEnd) -> list[Call]:
    """The test's questions that this end was asked."""
    calls = itertools.chain.from_iterable(event.calls for event in far.events if isinstance(event, Calls))
    return [call for call in calls if call.service == ASKED]


async def hear_all(far: FarEnd, seconds: float = 1.0) -> None:
    """Listen for a while."""
    with trio.move_on_after(seconds):
        while not far.ended:
            await far.hear()


def goodbye_of(far: FarEnd) -> GoodbyeCode | None:
    """What it was told at the end."""
    heard = [event.goodbye.code for event in far.events if isinstance(event, PeerSaidGoodbye)]
    return GoodbyeCode(heard[0]) if heard else None


# --- both dial at once --------------------------------------------------------------------------------------------


async def test_when_both_dial_at_once_the_smaller_sides_link_stays_and_only_it_closes(
    autojump_clock: MockClock,
) -> None:
    async with Neighbourhood() as hood:
        smaller, larger = await two(hood)
        links: list[Link] = []

        async def dial(here: Endpoint, there: Endpoint) -> None:
            link = await here.dial(here.peer(there), there)
            links.append(link)
            await link.run()

        smaller.start(dial, smaller, larger)
        larger.start(dial, larger, smaller)
        await until(lambda: len(links) == 2)
        await hood.until_linked(smaller, larger)
        assert smaller.links_to(larger)[0].dialler == smaller.endpoint_id
        assert larger.links_to(smaller)[0].dialler == smaller.endpoint_id
        loser_here = next(link for link in smaller.links if link.dialler == larger.endpoint_id)
        loser_there = next(link for link in larger.links if link.dialler == larger.endpoint_id)
        assert loser_here.reason == loser_there.reason == "DUPLICATE"
        assert loser_here.goodbye is None, "the smaller side said it"
        assert loser_there.goodbye is not None, "the larger one was told"


@pytest.mark.parametrize("smaller_first", [True, False])
async def test_two_that_can_dial_each_other_settle_and_stay_settled(
    autojump_clock: MockClock, smaller_first: bool
) -> None:
    async with Neighbourhood() as hood:
        cso = await hood.endpoint("DE*ABC", "cso")
        csp = await hood.endpoint("FR*XYZ", "csp")
        await (hood.pair(cso, csp) if smaller_first else hood.pair(csp, cso))
        await hood.until_linked(cso, csp)
        links = cso.links_to(csp) + csp.links_to(cso)
        dialled = len(cso.dialled) + len(csp.dialled)
        await trio.sleep(1000)
        assert cso.links_to(csp) + csp.links_to(cso) == links
        assert len(cso.dialled) + len(csp.dialled) == dialled


async def test_of_two_links_with_the_same_dialler_the_newest_stays(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        smaller, larger = await two(hood)
        old = await (await far_end(smaller, larger, here_dials=False)).come_up()
        await until(lambda: smaller.is_up(larger))
        new = await (await far_end(smaller, larger, here_dials=False)).come_up()
        await hear_all(old)
        assert goodbye_of(old) is GoodbyeCode.DUPLICATE
        await hear_all(new)
        assert goodbye_of(new) is None
        assert len(smaller.links_to(larger)) == 1


async def test_the_larger_side_closes_nothing_and_uses_the_link_that_stays(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        larger, smaller = await two(hood, smaller_first=False)
        old = await (await far_end(larger, smaller, here_dials=False)).come_up()
        await until(lambda: larger.is_up(smaller))
        new = await (await far_end(larger, smaller, here_dials=False)).come_up()
        await until(lambda: len(larger.links_to(smaller)) == 2)
        ask(larger, smaller)
        await hear_all(old)
        await hear_all(new)
        assert goodbye_of(old) is goodbye_of(new) is None
        assert (len(asked(old)), len(asked(new))) == (0, 1)


# --- a new run ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smaller_first", [True, False])
@pytest.mark.parametrize("here_dials", [True, False])
async def test_a_new_run_of_the_peer_replaces_every_link_of_the_old_one(
    autojump_clock: MockClock, smaller_first: bool, here_dials: bool
) -> None:
    async with Neighbourhood() as hood:
        here, there = await two(hood, smaller_first=smaller_first)
        old = await (await far_end(here, there, here_dials=not here_dials, run_id=b"o" * 16)).come_up()
        await until(lambda: here.is_up(there))
        new = await (await far_end(here, there, here_dials=here_dials, run_id=b"n" * 16)).come_up()
        await hear_all(old)
        assert goodbye_of(old) is GoodbyeCode.REPLACED
        await hear_all(new)
        assert goodbye_of(new) is None
        ask(here, there)
        await hear_all(new)
        assert len(asked(new)) == 1


async def test_two_processes_of_one_endpoint_that_take_each_others_links_are_told_of_at_both_sides(
    autojump_clock: MockClock,
) -> None:
    async with Neighbourhood() as hood:
        here, there = await two(hood)
        alarms = here.peer(there).alarms
        for number, run in enumerate((b"o", b"n", b"o", b"n")):
            assert not alarms, f"before link {number}"
            far = await (await far_end(here, there, run_id=run * 16)).come_up()
            await hear_all(far)
        assert ["runs twice" in alarm for alarm in alarms] == [True]


async def test_a_process_that_is_replaced_although_it_lives_tells_its_operator_the_second_time(
    autojump_clock: MockClock,
) -> None:
    async with Neighbourhood() as hood:
        here, there = await two(hood)
        alarms = here.peer(there).alarms
        for seen in (0, 1, 1):
            far = await (await far_end(here, there)).come_up()
            await until(lambda: here.is_up(there))
            far.connection.send_goodbye(GoodbyeCode.REPLACED, "a newer run is here")
            await far.say()
            await until(lambda: not here.is_up(there))
            assert len(alarms) == max(0, seen)


# --- open calls ---------------------------------------------------------------------------------------------------


async def test_open_calls_are_repeated_by_id_on_the_link_that_stays(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        here, there = await two(hood)
        old = await (await far_end(here, there, run_id=b"o" * 16)).come_up()
        await until(lambda: here.is_up(there))
        answers = ask(here, there, within_s=10.0)
        await hear_all(old, 3.0)
        new = await (await far_end(here, there, run_id=b"n" * 16)).come_up()
        await hear_all(new, 1.0)
        (first,), (again,) = asked(old), asked(new)
        assert first.id == again.id
        assert first.body == again.body
        assert 6000 <= again.deadline_ms <= 7000, "what is left of its time"
        new.connection.send_answers([Answer(again.id, AnswerStatus.ANSWERED, b"well")])
        await new.say()
        await until(lambda: bool(answers))
        assert [answer.body for answer in answers if answer] == [b"well"]


async def test_a_call_whose_link_falls_waits_for_the_next_one_and_no_longer_than_its_time(
    autojump_clock: MockClock,
) -> None:
    async with Neighbourhood() as hood:
        here, there = await two(hood)
        far = await (await far_end(here, there)).come_up()
        await until(lambda: here.is_up(there))
        answers = ask(here, there, within_s=3.0)
        await far.stream.transport.aclose()
        await until(lambda: not here.is_up(there))
        await trio.sleep(2.5)
        assert answers == []
        await trio.sleep(1)
        assert answers == [None]


# --- two instances of one endpoint --------------------------------------------------------------------------------


async def test_two_instances_of_one_endpoint_keep_a_link_each_and_the_newest_is_asked(
    autojump_clock: MockClock,
) -> None:
    async with Neighbourhood() as hood:
        here, there = await two(hood)
        first = await (await far_end(here, there, instance=b"1" * 16, run_id=b"a" * 16)).come_up()
        await until(lambda: here.is_up(there))
        second = await (await far_end(here, there, instance=b"2" * 16, run_id=b"b" * 16)).come_up()
        await until(lambda: len(here.links_to(there)) == 2)
        ask(here, there)
        await hear_all(first)
        await hear_all(second)
        assert goodbye_of(first) is goodbye_of(second) is None
        assert (len(asked(first)), len(asked(second))) == (0, 1)

        # What the first did not follow meanwhile it can only learn by beginning anew.
        await second.stream.aclose()
        await first.hear_goodbye()
        await first.stream.aclose()
        again = await (await far_end(here, there, instance=b"1" * 16, run_id=b"a" * 16)).come_up()
        await hear_all(again)
        assert [call.id for call in asked(again)] == [b"q" * 16], "it takes over, with what is open"


async def test_a_peer_has_so_many_links_at_most_and_its_newest_stay(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "MAX_INSTANCES", 2)
    async with Neighbourhood() as hood:
        here, there = await two(hood)
        ends: list[FarEnd] = []
        for number in range(4):
            name = bytes([number]) * 16
            ends.append(await (await far_end(here, there, instance=name, run_id=name)).come_up())
            await hear_all(ends[-1], 0.1)
        for far in ends:
            await hear_all(far)
        assert [goodbye_of(far) for far in ends] == [GoodbyeCode.OVERLOADED] * 2 + [None] * 2


# --- what is told -------------------------------------------------------------------------------------------------


def told(endpoint: Endpoint) -> list[bytes]:
    """The link states of the events that its backend reads, in order."""
    page = endpoint.store.read(lambda cx: events.page(cx, 0, 100))
    return [b"UP" if b'"UP"' in row.data else b"DOWN" for row in page if row.type == "peer.state"]


async def test_a_duplicate_is_no_news_but_up_and_down_are(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        here, there = await two(hood)
        far = await (await far_end(here, there, here_dials=False)).come_up()
        await until(lambda: here.is_up(there))
        newer = await (await far_end(here, there, here_dials=False)).come_up()
        await hear_all(far)
        await far.stream.aclose()
        await newer.stream.aclose()
        await until(lambda: len(here.core.registry) == 0)
        assert told(here) == [b"UP", b"DOWN"]


async def test_suspending_and_removing_close_every_link_at_once(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        here, there = await two(hood)
        first = await (await far_end(here, there, instance=b"1" * 16, run_id=b"a" * 16)).come_up()
        second = await (await far_end(here, there, instance=b"2" * 16, run_id=b"b" * 16)).come_up()
        await until(lambda: len(here.links_to(there)) == 2)
        await here.core.book.suspend(here.peer(there))
        for far in (first, second):
            assert (await far.hear_goodbye()).code == GoodbyeCode.SUSPENDED
            await far.stream.aclose()
        await until(lambda: len(here.core.registry) == 0)

        await here.core.book.resume(here.peer(there))
        peer: Peer = here.peer(there)
        third = await (await far_end(here, there)).come_up()
        await until(lambda: here.is_up(there))
        await here.core.book.remove(peer, park=False)
        assert (await third.hear_goodbye()).code == GoodbyeCode.REMOVED
        await third.stream.aclose()
        await until(lambda: len(here.core.registry) == 0)


async def test_a_removed_peer_leaves_no_metrics(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        here, there = await two(hood)
        far = await (await far_end(here, there)).come_up()
        await until(lambda: here.is_up(there))
        peer = here.peer(there)
        assert f'peer="{peer.label}"' in metrics.render().decode()
        await here.core.book.remove(peer, park=False)
        await far.stream.aclose()
        await until(lambda: len(here.core.registry) == 0)
        await wait_all_tasks_blocked()
        assert f'roamd_link_up{{peer="{peer.label}"}}' not in metrics.render().decode()
        assert f'peer="{peer.label}"' not in metrics.render().decode()


async def test_a_stop_tells_every_peer_when_to_come_back(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        here, there = await two(hood)
        far = await (await far_end(here, there)).come_up()
        await until(lambda: here.is_up(there))
        until_ms = here.clock.now_ms() + 5_000
        hood.nursery.start_soon(here.core.peering.say_goodbye, until_ms)
        goodbye = await far.hear_goodbye()
        assert (goodbye.code, goodbye.until_ms) == (GoodbyeCode.SHUTTING_DOWN, until_ms)


async def test_who_stops_dials_nobody_any_more(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await hood.linked()
        hood.ports.pop(cso.address or "")
        await cso.core.peering.say_goodbye(cso.clock.now_ms())
        await until(lambda: len(cso.core.registry) == 0)
        before = len(cso.dialled)
        await trio.sleep(600)
        assert len(cso.dialled) == before
        assert not csp.is_up(cso)
