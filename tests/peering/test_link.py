"""One link, against an end that the test drives by hand over real TLS: coming up, refusals, time, and how it ends."""

from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from roamd.peering import link as link_module
from roamd.peering.link import Link
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.events import Answers, Event, HelloReceived, ProofReceived
from roamd.protocol.frames import FrameType, FrameWriter, Lane
from roamd.protocol.messages import AnswerStatus, Call, encode
from tests.support.endpoints import Endpoint, FarEnd, Neighbourhood, events_of, far_end, in_order, logged, until
from tests.support.wiretap import CountingStream

Pair = tuple[Endpoint, Endpoint]


async def strangers_to_be(hood: Neighbourhood) -> Pair:
    """Two that are paired and of whom nobody dials: the test makes their links."""
    cso = await hood.endpoint("DE*ABC", "cso", reachable=False)
    csp = await hood.endpoint("FR*XYZ", "csp", reachable=False)
    await hood.pair(cso, csp)
    return cso, csp


def whole_frame(type_: FrameType, payload: bytes) -> bytes:
    return FrameWriter().frame(type_, payload, lane=Lane.CONTROL)


# --- coming up --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("here_dials", [True, False])
async def test_a_link_is_up_only_after_both_proofs(autojump_clock: MockClock, here_dials: bool) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        far = await far_end(cso, csp, here_dials=here_dials)
        await far.greet()
        await far.wait_for(ProofReceived)
        assert not cso.is_up(csp), "it has sent its Proof and waits for ours"
        far.connection.send_proof(far.proof(), 0.0)
        await far.say()
        await until(lambda: cso.is_up(csp))
        assert cso.peer(csp).last_up_ms is not None


async def refused(hood: Neighbourhood, cso: Endpoint, csp: Endpoint, far: FarEnd, code: GoodbyeCode) -> None:
    """It was told why, in one line logged; nothing was stored, and no link is left."""
    goodbye = await far.hear_goodbye()
    assert GoodbyeCode(goodbye.code) is code
    await far.stream.aclose()
    await wait_all_tasks_blocked()
    assert not cso.is_up(csp)
    assert len(cso.core.registry) == 0


async def test_a_wrong_proof_is_refused(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        before = cso.store.snapshot_bytes()
        far = await far_end(cso, csp)
        await far.greet()
        with logged() as lines:
            thief = in_order(5)
            own, peer = far.stream.own_leaf_sha256, far.stream.peer_leaf_sha256
            far.connection.send_proof(thief.sign(far.connection.own_proof_document(own, peer)), 0.0)
            await far.say()
            await refused(hood, cso, csp, far, GoodbyeCode.NOT_TRUSTED)
        assert events_of(lines, "link_broke_rule", "link_up", "link_failed") == ["link_broke_rule"]
        assert cso.store.snapshot_bytes() == before


async def test_the_own_proof_reflected_is_refused(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        far = await far_end(cso, csp)
        await far.greet()
        theirs = (await far.wait_for(ProofReceived)).proof
        far.connection.send_proof(theirs.signature, 0.0)
        await far.say()
        await refused(hood, cso, csp, far, GoodbyeCode.NOT_TRUSTED)


async def test_the_own_hello_reflected_is_refused(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        far = await far_end(cso, csp)
        hello = (await far.wait_for(HelloReceived)).hello
        await far.say(whole_frame(FrameType.HELLO, encode(hello)))
        await refused(hood, cso, csp, far, GoodbyeCode.WRONG_ENDPOINT)


async def test_the_own_nonce_under_another_name_is_refused(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        far = await far_end(cso, csp)
        hello = (await far.wait_for(HelloReceived)).hello
        await far.say(whole_frame(FrameType.HELLO, encode(msgspec.structs.replace(hello, endpoint_id=csp.endpoint_id))))
        await refused(hood, cso, csp, far, GoodbyeCode.MALFORMED)


async def test_a_hello_and_proof_of_an_earlier_link_are_refused(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        first = await far_end(cso, csp)
        heard = first.connection.data_to_send()
        await first.say(heard)
        await first.wait_for(HelloReceived)
        proof = first.proof()
        await first.stream.aclose()

        second = await far_end(cso, csp)
        await second.say(heard)
        await second.wait_for(HelloReceived)
        second.connection.data_to_send()
        second.connection.send_proof(proof, 0.0)
        await second.say()
        await refused(hood, cso, csp, second, GoodbyeCode.NOT_TRUSTED)


async def test_whoever_was_suspended_while_the_link_came_up_has_none(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        far = await far_end(cso, csp)
        await far.greet()
        await cso.core.book.suspend(cso.peer(csp))
        far.connection.send_proof(far.proof(), 0.0)
        await far.say()
        await refused(hood, cso, csp, far, GoodbyeCode.SUSPENDED)


async def test_a_handshake_that_does_not_end_is_ended(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        far = await far_end(cso, csp)
        began = trio.current_time()
        await refused(hood, cso, csp, far, GoodbyeCode.HANDSHAKE_LATE)
        assert 10.0 <= trio.current_time() - began < 12.0


# --- time -------------------------------------------------------------------------------------------------------


async def test_silence_is_asked_about_three_times_and_then_ends_the_link(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        far = await (await far_end(cso, csp)).come_up()
        began = trio.current_time()
        goodbye = await far.hear_goodbye()
        assert goodbye.code == GoodbyeCode.SILENT
        assert 119.0 < trio.current_time() - began < 121.0
        await until(lambda: not cso.is_up(csp))
        assert cso.peer(csp).last_error == "link ended: silent"


async def test_two_that_have_nothing_to_say_stay_linked_for_hours(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await hood.linked()
        links = cso.links_to(csp)
        await trio.sleep(6 * 3600)
        assert cso.links_to(csp) == links
        assert abs(cso.peer(csp).skew_ms or 0) < 1000


async def test_a_peers_clock_that_is_off_is_measured_and_breaks_nothing(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await hood.linked()
        csp.clock.jump(3600)
        await trio.sleep(100)
        assert cso.is_up(csp)
        skew_ms = cso.peer(csp).skew_ms
        assert skew_ms is not None
        assert abs(skew_ms - 3_600_000) < 1000


# --- a peer that does not read ----------------------------------------------------------------------------------


def clogged(hood: Neighbourhood) -> CountingStream:
    """The next link's writes will stand still once `clogged` is set."""
    near, far = memory_stream_pair()
    tap = CountingStream(near)
    hood.wires = lambda: (tap, far)
    return tap


async def test_a_peer_that_stops_reading_costs_a_bounded_queue_and_then_its_link(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        tap = clogged(hood)
        await (await far_end(cso, csp)).come_up()
        await until(lambda: cso.is_up(csp))
        tap.clogged = trio.Event()
        peer = cso.peer(csp)
        answered: list[object] = []
        for number in range(6000):
            call = Call(number.to_bytes(16, "big"), 1, 10_000, b"x" * 100)
            cso.core.outgoing.start(peer, call, trio.current_time() + 10, answered.append)
        assert not cso.is_up(csp) or cso.links[-1].reason == "OVERLOADED"
        with trio.fail_after(link_module.LAST_WORDS_S + link_module.LINGER_S + 3):
            await until(lambda: len(cso.core.registry) == 0)
        assert cso.links[-1].reason == "OVERLOADED"
        await trio.sleep(11)
        assert answered == [None] * 6000, "every question has its end, none twice"


async def test_one_write_that_does_not_leave_ends_the_link(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        tap = clogged(hood)
        far = await (await far_end(cso, csp)).come_up()
        await until(lambda: cso.is_up(csp))
        tap.clogged = trio.Event()
        with trio.move_on_after(10 * link_module.STALLED_S):
            while cso.is_up(csp):  # it asks and asks, so it is not silent, and takes no answer
                far.connection.send_ping(csp.clock.monotonic(), csp.clock.now_ms())
                await far.say()
                await trio.sleep(5)
        assert cso.links[-1].reason == "stalled"


async def test_a_silent_peer_whose_wire_stands_still_is_not_waited_for(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "STALLED_S", 10**6)
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        tap = clogged(hood)
        await (await far_end(cso, csp)).come_up()
        await until(lambda: cso.is_up(csp))
        await trio.sleep(25)
        tap.clogged = trio.Event()
        with trio.fail_after(150):
            await until(lambda: not cso.is_up(csp), 200)


async def test_a_peer_that_asks_and_does_not_read_the_answers_runs_out_of_credit(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        tap = clogged(hood)
        far = await (await far_end(cso, csp)).come_up()
        await until(lambda: cso.is_up(csp))
        tap.clogged = trio.Event()
        writer = FrameWriter()
        for _ in range(2):  # the Hello and the Proof had the first two numbers
            writer.frame(FrameType.PING, b"", lane=Lane.CONTROL)
        with suppress(trio.BrokenResourceError):  # at some point nobody listens any more
            for batch in range(50):
                calls = [Call((batch * 100 + n).to_bytes(16, "big"), 99, 10_000, b"") for n in range(100)]
                await far.say(writer.frame(FrameType.CALL, encode(calls), lane=Lane.CALLS))
                await wait_all_tasks_blocked()
        await until(lambda: len(cso.core.registry) == 0)
        assert cso.links[-1].reason == "CREDIT_OVERDRAWN"


async def test_an_answer_that_reading_brought_about_leaves_without_a_turn(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        far = await (await far_end(cso, csp)).come_up()
        await until(lambda: cso.is_up(csp))
        await wait_all_tasks_blocked()
        order: list[str] = []
        for name in ("wake", "_hand_over"):
            monkeypatch.setattr(Link, name, noted(order, getattr(Link, name)))
        far.connection.send_calls([Call(bytes(16), 99, 10_000, b"")])
        await far.say()
        (answer,) = (await far.wait_for(Answers)).answers
        assert (answer.status, order[:1]) == (AnswerStatus.MALFORMED, ["_hand_over"])


def noted(order: list[str], method: Callable[..., None]) -> Callable[..., None]:
    """A method that notes its name before it does what it does."""

    def noting(*arguments: object) -> None:
        order.append(method.__name__)
        method(*arguments)

    return noting


# --- how it ends ------------------------------------------------------------------------------------------------


async def test_a_malformed_frame_ends_the_link_with_one_line_and_leaves_others_alone(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        other = await hood.endpoint("NL*OTH", "csp", reachable=False)
        await hood.pair(cso, other)
        await (await far_end(cso, other)).come_up()
        far = await (await far_end(cso, csp)).come_up()
        await until(lambda: cso.is_up(csp) and cso.is_up(other))
        with logged() as lines:
            await far.say(b"\xff" * 64)
            goodbye = await far.hear_goodbye()
            await far.stream.aclose()
            await until(lambda: not cso.is_up(csp))
        assert goodbye.code >= 32, "a broken rule"
        assert events_of(lines, "link_broke_rule", "link_failed", "dial_failed") == ["link_broke_rule"]
        assert cso.is_up(other)


def explode(event: Event) -> None:
    raise RuntimeError("a bug of ours")


async def test_a_bug_of_ours_ends_one_link_only(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        other = await hood.endpoint("NL*OTH", "csp", reachable=False)
        await hood.pair(cso, other)
        await (await far_end(cso, other)).come_up()
        far = await (await far_end(cso, csp)).come_up()
        await until(lambda: cso.is_up(csp) and cso.is_up(other))
        exchange = cso.peer(csp).exchange
        assert exchange is not None
        monkeypatch.setattr(exchange, "on_event", explode)
        with logged() as lines:
            far.connection.send_calls([Call(b"q" * 16, 99, 3000, b"")])
            await far.say()
            goodbye = await far.hear_goodbye()
            await far.stream.aclose()
            await until(lambda: not cso.is_up(csp))
        assert goodbye.code == GoodbyeCode.INTERNAL
        assert "bug" not in goodbye.reason, "what went wrong here is not the peer's to know"
        assert events_of(lines, "link_failed", "link_broke_rule", "dial_failed") == ["link_failed"]
        assert cso.is_up(other)


async def test_a_cancelled_link_says_that_we_are_shutting_down(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        far = await (await far_end(cso, csp)).come_up()
        await until(lambda: cso.is_up(csp))
        await wait_all_tasks_blocked()
        cso.crash()
        assert (await far.hear_goodbye()).code == GoodbyeCode.SHUTTING_DOWN


async def test_a_link_that_is_cancelled_in_the_middle_of_a_write_still_closes(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        tap = clogged(hood)
        far = await (await far_end(cso, csp)).come_up()
        await until(lambda: cso.is_up(csp))
        tap.clogged = trio.Event()
        cso.core.outgoing.start(cso.peer(csp), Call(b"q" * 16, 1, 3000, b""), trio.current_time() + 3, lambda _: None)
        await wait_all_tasks_blocked()
        cso.crash()
        with trio.fail_after(link_module.LAST_WORDS_S + link_module.LINGER_S):
            while not far.ended:
                await far.hear()


async def test_two_sides_that_leave_at_once_do_not_wait_for_each_other(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        link = await cso.dial(cso.peer(csp), csp)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            await hood.until_linked(cso, csp)
            began = trio.current_time()
            for end in (link, csp.links_to(cso)[0]):
                end.close(GoodbyeCode.SHUTTING_DOWN, "until later")
        assert trio.current_time() - began < link_module.LINGER_S


async def test_a_goodbye_goes_out_ahead_of_what_can_wait_and_is_heard(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await strangers_to_be(hood)
        far = await (await far_end(cso, csp)).come_up()
        await until(lambda: cso.is_up(csp))
        link: Link = cso.links_to(csp)[0]
        link.close(GoodbyeCode.DONE, "that is all")
        link.close(GoodbyeCode.INTERNAL, "a second one is not said")
        goodbye = await far.hear_goodbye()
        assert (goodbye.code, goodbye.reason) == (GoodbyeCode.DONE, "that is all")
        assert link.reason == "DONE"
        await far.stream.aclose()
        await until(lambda: not cso.is_up(csp))
