"""Dialling: when, how often, how many at a time, and when not at all."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from roamd.errors import NotTrusted
from roamd.model.agreement import preset
from roamd.peering.backoff import CAP_S, FIRST_S, Backoff
from roamd.peering.dialler import CONTACT_S, FRESH_CAP_S, FRESH_MS, SETTLED_S, Dialler
from roamd.peering.link import Link
from roamd.peering.service import SPREAD_PER_S, Peering
from roamd.peering.turns import Turns
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.messages import Goodbye
from roamd.roaming.directory import SUSPENDED, Directory, Peer
from roamd.storage.peers import PeerRow
from tests.support.endpoints import Neighbourhood, TrioClock, events_of, logged, until

HALF = bytes([0x80, 0, 0, 0])


# --- the waits --------------------------------------------------------------------------------------------------


def test_waits_double_and_are_capped() -> None:
    lowest = Backoff(bytes)
    waits = [lowest.next_s() for _ in range(15)]
    assert waits[:4] == [FIRST_S / 2, FIRST_S, FIRST_S * 2, FIRST_S * 4]
    assert waits[-1] == CAP_S / 2
    highest = Backoff(lambda n: b"\xff" * n)
    assert max(highest.next_s() for _ in range(200)) <= CAP_S, "also after very many"


def test_two_that_failed_together_do_not_come_back_together() -> None:
    backoffs = [Backoff(os.urandom) for _ in range(50)]
    for _ in range(8):
        waits = [backoff.next_s() for backoff in backoffs]
    assert len({round(wait) for wait in waits}) > 10


def test_a_reset_begins_anew() -> None:
    backoff = Backoff(bytes)
    for _ in range(10):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == FIRST_S / 2


# --- one dialler, against a network that fails as it is told ------------------------------------------------------


def peer_row(label: str = "csp", address: str | None = "csp.example:63119") -> PeerRow:
    agreement = preset(("cso",), ("csp",), ("FRXYZ",)).to_json()
    return PeerRow(
        label,
        label.upper().ljust(56, "A"),
        b"",
        label,
        ("FRXYZ",),
        "PAIRED",
        address,
        b"",
        1,
        agreement,
        1,
        "",
        0,
        True,
    )


@dataclass
class Failing:
    """A network where every attempt fails, after `takes_s`; `at` has the times of the attempts."""

    takes_s: float = 0.0
    first: dict[str, float] = field(default_factory=dict)
    error: Callable[[], Exception] = lambda: ConnectionRefusedError("nobody listens there")
    at: list[float] = field(default_factory=list)

    async def connect(self, peer: Peer, address: str) -> Link:
        self.at.append(trio.current_time())
        self.first.setdefault(address, trio.current_time())
        await trio.sleep(self.takes_s)
        raise self.error()

    @property
    def waits(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.at, self.at[1:], strict=False)]


def dialler_of(network: Failing, peer: Peer, *, cap_s: float = CAP_S, courtesy_s: float = 0.0) -> Dialler:
    return Dialler(
        peer=peer,
        connect=network.connect,
        addresses=lambda peer: (peer.row.address,) if peer.row.address else (),
        clock=TrioClock(),
        random=lambda n: HALF[:n],
        due_at=trio.current_time(),
        cap_s=lambda: cap_s,
        courtesy_s=lambda: courtesy_s,
        start=lambda run: None,
    )


def one_peer(**changes: object) -> Peer:
    peer = Directory().put(peer_row()._replace(**changes))  # type: ignore[arg-type]  # fields of the row
    peer.last_up_ms = 1  # it was up before: no longer a fresh one
    return peer


async def test_attempts_that_fail_come_ever_later_until_five_minutes(autojump_clock: MockClock) -> None:
    network = Failing()
    dialler = dialler_of(network, one_peer())
    with trio.move_on_after(3600):
        await dialler.run()
    assert network.waits[:3] == pytest.approx([0.375, 0.75, 1.5])
    assert network.waits == sorted(network.waits)
    assert network.waits[-1] == pytest.approx(CAP_S * 0.75)


async def test_the_longest_pause_follows_the_configuration_while_it_runs(autojump_clock: MockClock) -> None:
    network = Failing()
    dialler = dialler_of(network, one_peer(), cap_s=8.0)
    with trio.move_on_after(600):
        await dialler.run()
    assert max(network.waits) == pytest.approx(6.0)


async def test_a_fresh_partner_is_tried_often_for_an_hour(autojump_clock: MockClock) -> None:
    network = Failing()
    peer = one_peer(paired_at_ms=TrioClock().now_ms())
    peer.last_up_ms = None
    dialler = dialler_of(network, peer)
    with trio.move_on_after(2 * FRESH_MS / 1000):
        await dialler.run()
    within = [wait for at, wait in zip(network.at, network.waits, strict=False) if at < FRESH_MS / 1000]
    assert max(within) <= FRESH_CAP_S
    assert network.waits[-1] > 100


async def test_good_news_brings_the_next_attempt_to_now(autojump_clock: MockClock) -> None:
    network = Failing()
    dialler = dialler_of(network, one_peer())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialler.run)
        await trio.sleep(1000)
        before = len(network.at)
        dialler.kick()
        await trio.sleep(2)
        assert len(network.at) - before == 3, "at once, and again with short waits"
        nursery.cancel_scope.cancel()


async def test_good_news_during_an_attempt_is_not_lost(autojump_clock: MockClock) -> None:
    network = Failing(takes_s=10.0)
    dialler = dialler_of(network, one_peer())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialler.run)
        await trio.sleep(5)
        dialler.kick()
        await trio.sleep(5.1)
        assert len(network.at) == 2
        nursery.cancel_scope.cancel()


async def test_a_peer_that_contacts_us_is_given_a_moment_and_forgiven(autojump_clock: MockClock) -> None:
    network = Failing()
    dialler = dialler_of(network, one_peer())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialler.run)
        await trio.sleep(1000)
        before = len(network.at)
        dialler.contacted()
        await trio.sleep(CONTACT_S - 0.1)
        assert len(network.at) == before, "its own link is about to come up"
        await trio.sleep(1)
        assert len(network.at) > before, "it did not"
        nursery.cancel_scope.cancel()


async def test_a_peer_whose_contacts_come_to_nothing_does_not_keep_us_from_dialling(autojump_clock: MockClock) -> None:
    network = Failing()
    dialler = dialler_of(network, one_peer())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialler.run)
        await trio.sleep(1000)
        before = len(network.at)
        for _ in range(5):
            dialler.contacted()
            await trio.sleep(CONTACT_S / 4)
        assert len(network.at) > before, "each contact put it off"
        nursery.cancel_scope.cancel()


async def test_contacts_that_come_to_nothing_again_and_again_do_not_keep_us_dialling_all_day(
    autojump_clock: MockClock,
) -> None:
    """As when both sides dial and have no version in common: each attempt of ours brings about one of theirs."""
    network = Failing()
    dialler = dialler_of(network, one_peer())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialler.run)
        for _ in range(24 * 360):
            await trio.sleep(10)
            dialler.contacted()
        assert len(network.at) < 500, "about one in five minutes"
        assert max(network.waits) <= CAP_S + 1
        dialler.link_up()
        dialler.link_down(None)
        dialler.contacted()
        assert dialler.due_at - trio.current_time() <= CONTACT_S, "a link was up since: that counts"
        nursery.cancel_scope.cancel()


async def test_a_suspended_peer_and_one_without_address_are_not_dialled(autojump_clock: MockClock) -> None:
    for peer in (one_peer(state=SUSPENDED), one_peer(address=None)):
        network = Failing()
        dialler = dialler_of(network, peer)
        with trio.move_on_after(3600):
            await dialler.run()
        assert network.at == []
        assert dialler.next_attempt_at is None


async def test_a_dialler_that_is_retired_ends_whatever_it_waits_for(autojump_clock: MockClock) -> None:
    for peer in (one_peer(), one_peer(state=SUSPENDED)):
        dialler = dialler_of(Failing(), peer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialler.run)
            await trio.sleep(100)
            dialler.retire()
            with trio.fail_after(1):
                await wait_all_tasks_blocked()
                assert not nursery.child_tasks


async def test_the_same_failure_is_logged_once(autojump_clock: MockClock) -> None:
    network = Failing(error=lambda: NotTrusted("refused-unknown-identity", "It does not know us."))
    peer = one_peer()
    with logged() as lines, trio.move_on_after(3600):
        await dialler_of(network, peer).run()
    assert len(network.at) > 10
    assert events_of(lines, "dial_failed") == ["dial_failed"]
    assert peer.last_error == "csp.example:63119: It does not know us."


async def test_a_bug_in_an_attempt_is_logged_and_tried_again(autojump_clock: MockClock) -> None:
    network = Failing(error=lambda: RuntimeError("a bug of ours"))
    with logged() as lines, trio.move_on_after(60):
        await dialler_of(network, one_peer()).run()
    assert len(network.at) > 3
    assert set(events_of(lines, "dial_crashed", "dial_failed")) == {"dial_crashed"}


async def test_a_peer_that_is_linked_costs_no_task_and_one_whose_link_ended_is_dialled(
    autojump_clock: MockClock,
) -> None:
    network, is_linked = Failing(), False
    dialler = dialler_of(network, one_peer())
    dialler.linked = lambda peer: is_linked
    async with trio.open_nursery() as nursery:
        dialler.start = nursery.start_soon
        dialler.begin()
        await trio.sleep(100)
        is_linked = True
        dialler.link_up()
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks
        before = len(network.at)
        await trio.sleep(1000)
        is_linked = False
        dialler.link_down(None)
        await trio.sleep(10)
        assert len(nursery.child_tasks) == 1
        assert len(network.at) > before
        nursery.cancel_scope.cancel()


# --- after a link ended -----------------------------------------------------------------------------------------


def ended_after(dialler: Dialler, goodbye: Goodbye | None = None) -> float:
    """How long the dialler waits after its peer's link has ended."""
    dialler.link_down(goodbye)
    return dialler.due_at - trio.current_time()


async def test_links_that_break_young_are_dialled_ever_later_until_one_lasts(autojump_clock: MockClock) -> None:
    dialler = dialler_of(Failing(), one_peer())
    waits = []
    for _ in range(12):
        dialler.contacted()  # the other side dials as well: that alone forgives nothing
        dialler.link_up()
        await trio.sleep(0.1)
        waits.append(ended_after(dialler))
    assert waits == sorted(waits)
    assert waits[-1] > 100
    dialler.link_up()
    await trio.sleep(SETTLED_S)
    assert ended_after(dialler) < 1


async def test_after_a_goodbye_with_a_time_the_peer_is_not_dialled_before(autojump_clock: MockClock) -> None:
    dialler = dialler_of(Failing(), one_peer())
    now_ms = dialler.clock.now_ms()
    dialler.link_up()
    assert ended_after(dialler, Goodbye(GoodbyeCode.SHUTTING_DOWN, "", now_ms + 30_000)) == pytest.approx(30, abs=0.1)
    assert ended_after(dialler, Goodbye(GoodbyeCode.SHUTTING_DOWN, "", now_ms + 10**10)) == CAP_S, "not for ever"


async def test_a_peer_that_removed_us_is_not_dialled_until_something_happens(autojump_clock: MockClock) -> None:
    dialler = dialler_of(Failing(), one_peer())
    assert ended_after(dialler, Goodbye(GoodbyeCode.REMOVED)) == math.inf
    dialler.kick()
    assert dialler.due_at == trio.current_time()


async def test_who_is_replaced_again_by_a_process_of_its_own_endpoint_waits_longest(autojump_clock: MockClock) -> None:
    dialler = dialler_of(Failing(), one_peer())
    dialler.link_up()
    await trio.sleep(SETTLED_S)
    assert ended_after(dialler, Goodbye(GoodbyeCode.REPLACED)) < 1, "once may be a late link of one that has died"
    dialler.link_up()
    await trio.sleep(SETTLED_S)
    assert CAP_S / 2 <= ended_after(dialler, Goodbye(GoodbyeCode.REPLACED)) <= CAP_S
    dialler.contacted()
    assert dialler.due_at - trio.current_time() < 5, "the partner itself comes back to us"
    dialler.link_up()
    await trio.sleep(SETTLED_S)
    assert ended_after(dialler) < 1


async def test_who_would_lose_the_race_lets_the_other_side_dial_first(autojump_clock: MockClock) -> None:
    assert ended_after(dialler_of(Failing(), one_peer(), courtesy_s=0.5)) > 0.5


# --- many peers -------------------------------------------------------------------------------------------------


async def test_the_first_dials_of_hundreds_are_spread(autojump_clock: MockClock) -> None:
    directory = Directory()
    for number in range(300):
        directory.put(peer_row(f"p{number}")._replace(endpoint_id=f"{number:0>56}"))
    network = Failing()
    async with Neighbourhood() as hood:
        registry = (await hood.endpoint("DE*ABC", "cso")).core.registry
        peering = Peering(
            directory, registry, Turns(), network.connect, network.connect, lambda peer, _: (peer.label,), TrioClock(),
            os.urandom, CAP_S, "A", True,
        )  # fmt: skip
        hood.nursery.start_soon(peering.run)
        await trio.sleep(300 / SPREAD_PER_S)
    assert len(network.first) == 300
    times = list(network.first.values())
    assert max(sum(second <= at < second + 1 for at in times) for second in range(12)) < 2 * SPREAD_PER_S


async def test_who_was_removed_while_a_change_took_effect_is_dialled_when_the_two_pair_again(
    autojump_clock: MockClock,
) -> None:
    network, directory = Failing(), Directory()
    async with Neighbourhood() as hood:
        registry = (await hood.endpoint("DE*ABC", "cso")).core.registry
        peering = Peering(
            directory, registry, Turns(), network.connect, network.connect, lambda peer, _: (peer.label,), TrioClock(),
            os.urandom, CAP_S, "A", True,
        )  # fmt: skip
        await hood.nursery.start(peering.run)
        peer = directory.put(peer_row("xyz"))
        directory.remove("xyz")
        peer.row = peer.row._replace(state="REMOVED")
        peering.remove(peer)
        peering.add(peer)  # what a confirmation or a new descriptor of a moment ago leads to
        peering.add(directory.put(peer_row("xyz")))
        await trio.sleep(1)
    assert list(network.first) == ["xyz"]


async def test_an_endpoint_without_an_address_dials_and_is_never_dialled(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        hidden = await hood.endpoint("DE*ABC", "cso", reachable=False)
        open_one = await hood.endpoint("FR*XYZ", "csp")
        await hood.pair(hidden, open_one)
        await hood.until_linked(hidden, open_one)
        before = len(hidden.dialled)
        for link in hidden.links_to(open_one):
            link.close(GoodbyeCode.DONE, "the test cuts it")
        await until(lambda: not hidden.is_up(open_one))
        await hood.until_linked(hidden, open_one)
        assert len(hidden.dialled) == before + 1
        assert open_one.dialled == []


async def test_a_peer_that_goes_away_for_a_day_is_linked_soon_after_it_is_back(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await hood.linked()
        await csp.stop()
        await until(lambda: not cso.is_up(csp))
        assert cso.peer(csp).last_error == "link ended: SHUTTING_DOWN"
        await trio.sleep(24 * 3600)
        assert len(cso.dialled) < 24 * 3600 / CAP_S * 2 + 20
        await csp.restart()
        began = trio.current_time()
        await hood.until_linked(cso, csp)
        assert trio.current_time() - began < 2, "it dialled us: nobody waits for the rest of five minutes"


async def test_a_changed_address_reaches_the_partner_and_is_dialled(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await hood.linked()
        await csp.stop()
        await until(lambda: not cso.is_up(csp))
        csp.address, csp.sequence = "moved.example:63119", 2
        await csp.restart()
        await until(lambda: cso.peer(csp).row.address == "moved.example:63119")
        await csp.stop()
        await until(lambda: not cso.is_up(csp))
        await trio.sleep(60)
        assert cso.dialled[-1][1] == "moved.example:63119"
