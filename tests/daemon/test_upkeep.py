"""What the daemon does by itself: the watchdog's proof of life, the leaf, the clock, and what is too old."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from roamd.daemon import watchdog
from roamd.daemon.main import _leaves, _report
from roamd.daemon.systemd import Notifier
from roamd.daemon.upkeep import CLEAN_S, DAY_MS, LOOK_S, MINUTE_S, Upkeep, every
from roamd.daemon.watchdog import ALIVE, Watchdog
from roamd.errors import OperatorError, StoreBroken, StoreFull
from roamd.roaming.lifecycle import Lifecycle
from roamd.roaming.waiting import write
from roamd.storage import idempotency, meta
from roamd.storage.idempotency import StoredAnswer
from roamd.storage.store import Store
from roamd.trust.identity import Identity
from roamd.trust.leaf import Leaf, issue_leaf
from tests.support.assemblies import RunningDaemon, Site
from tests.support.endpoints import TrioClock, events_of, logged, until
from tests.support.trust import identity, real_now_ms

# --- the watchdog -------------------------------------------------------------------------------------------------


@contextmanager
def manager(room: Path) -> Iterator[tuple[Notifier, socket.socket]]:
    """A service manager's socket and the line to it."""
    path = str(room / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        listening.bind(path)
        yield Notifier(path), listening


def told(listening: socket.socket) -> int:
    """How many proofs of life came since it was asked last."""
    count = 0
    try:
        while listening.recv(4096) == b"WATCHDOG=1":
            count += 1
    except BlockingIOError:
        return count
    raise AssertionError("something else was told")


def alive_ms(daemon: RunningDaemon) -> str | None:
    return daemon.assembly.ground.store.read(lambda cx: meta.get(cx, ALIVE))


async def test_the_watchdog_is_fed_by_a_commit_and_an_accepted_connection(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso")
        with manager(tmp_path) as (notifier, listening), logged() as lines:
            dog = Watchdog(cso.assembly, notifier, 0.02)
            site.nursery.start_soon(dog.run)
            await until(lambda: told(listening) > 0, 10)
            first = alive_ms(cso)
            await until(lambda: alive_ms(cso) != first, 10)
            assert first is not None
        assert events_of(lines, "watchdog_check_failed", "handshake_refused") == []


async def test_a_closed_port_feeds_no_watchdog(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso")
        cso.assembly.network.stop_accepting()
        await trio.testing.wait_all_tasks_blocked()
        with manager(tmp_path) as (notifier, listening), logged() as lines:
            site.nursery.start_soon(Watchdog(cso.assembly, notifier, 0.02).run)
            await until(lambda: bool(lines), 10)
            assert told(listening) == 0
        assert set(events_of(lines, "watchdog_check_failed")) == {"watchdog_check_failed"}


async def test_a_writer_that_stands_still_feeds_no_watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "PATIENCE_S", 0.2)
    async with Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso")
        read_end, write_end = os.pipe()
        cso.assembly.ground.store.submit(lambda cx: os.read(read_end, 1), lambda outcome: None)
        with manager(tmp_path) as (notifier, listening), logged() as lines:
            site.nursery.start_soon(Watchdog(cso.assembly, notifier, 0.02).run)
            await until(lambda: bool(lines), 10)
            assert told(listening) == 0
            os.write(write_end, b"!")
            await until(lambda: told(listening) > 0, 10)
        os.close(read_end)
        os.close(write_end)


async def test_without_a_manager_nothing_is_checked(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso")
        await Watchdog(cso.assembly, Notifier(None), None).run()
        assert alive_ms(cso) is None


# --- the leaf and the clock ---------------------------------------------------------------------------------------


@dataclass
class Shown:
    """A leaf that is shown, by trio's time: OpenSSL would ask the machine's clock, and a week is long."""

    identity: Identity
    leaf: Leaf


class Tended:
    """Upkeep over a store in memory."""

    def __init__(self) -> None:
        self.clock = TrioClock()
        self.store = Store.open_memory()
        self.contexts = Shown(identity(0), issue_leaf(identity(0), real_now_ms()))
        self.upkeep = Upkeep(
            self.clock,
            self.store,
            self.contexts,  # type: ignore[arg-type]  # all that is asked of it
            lambda: None,  # type: ignore[arg-type,return-value]  # no retention is asked for
            self._swap,
            lambda: None,
        )

    async def _swap(self, leaf: Leaf) -> None:
        self.contexts.leaf = leaf


async def test_the_leaf_is_renewed_at_half_of_its_life_and_not_before(autojump_clock: MockClock) -> None:
    tended = Tended()
    first = tended.contexts.leaf
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tended.upkeep.renew_leaf)
        left_s = (first.renew_at_ms - tended.clock.now_ms()) / 1000
        await trio.sleep(left_s - MINUTE_S)
        assert tended.contexts.leaf is first
        await trio.sleep(3 * MINUTE_S)
        assert tended.contexts.leaf.not_after_ms > first.not_after_ms
        nursery.cancel_scope.cancel()


async def test_a_leaf_of_the_future_is_renewed_too(autojump_clock: MockClock) -> None:
    tended = Tended()
    first = tended.contexts.leaf
    tended.clock.jump(-30 * 24 * 3600)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tended.upkeep.renew_leaf)
        await trio.sleep(2 * MINUTE_S)
        assert tended.contexts.leaf.not_after_ms < first.not_after_ms
        nursery.cancel_scope.cancel()


async def test_a_clock_that_jumps_is_logged_and_counted_and_one_that_drifts_is_not(autojump_clock: MockClock) -> None:
    tended = Tended()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tended.upkeep.watch_clock)
        await trio.sleep(LOOK_S / 2)  # so that the clock is set between two looks, never at one
        with logged() as lines:
            for _ in range(20):
                await trio.sleep(LOOK_S)
                tended.clock.jump(5)
            await trio.sleep(LOOK_S)
            assert tended.upkeep.jumps == 0
            for seconds in (61, -3600):
                tended.clock.jump(seconds)
                await trio.sleep(2 * LOOK_S)
        assert tended.upkeep.jumps == 2
        assert [line["by_s"] for line in lines] == [61, -3600]
        nursery.cancel_scope.cancel()


# --- what is too old ----------------------------------------------------------------------------------------------


async def test_what_cannot_be_done_now_is_logged_and_tried_again(autojump_clock: MockClock) -> None:
    tries: list[float] = []

    async def full() -> None:
        tries.append(trio.current_time())
        raise StoreFull("no space")

    with logged() as lines, trio.move_on_after(250):
        await every(100.0, full)
    assert tries == [0, 100, 200]
    assert events_of(lines, "upkeep_failed") == ["upkeep_failed"] * 3


async def test_a_broken_store_is_no_matter_of_upkeep(autojump_clock: MockClock) -> None:
    async def broken() -> None:
        raise StoreBroken("the sync failed")

    with pytest.raises(StoreBroken):
        await every(100.0, broken)


async def test_old_answers_go_by_the_configured_time(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso", settings="[retention]\nidempotency_h = 1\n")
        store, now_ms = cso.assembly.ground.store, cso.clock.now_ms()
        answer = StoredAnswer(b"h", 200, b"{}")
        await write(store, lambda cx: idempotency.put_txn(cx, "k", "post", answer, now_ms))
        forget = cso.assembly.upkeep._forget
        await forget()
        assert store.read(lambda cx: idempotency.get(cx, "k", "post")) is not None
        cso.clock.ahead_ms = DAY_MS
        await forget()
        assert store.read(lambda cx: idempotency.get(cx, "k", "post")) is None


async def test_a_clock_that_jumped_ahead_forgets_nothing_until_it_is_right(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgot: list[float] = []

    async def forget(upkeep: Upkeep) -> None:
        forgot.append(trio.current_time())

    monkeypatch.setattr(Upkeep, "_forget", forget)
    tended = Tended()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tended.upkeep.forget_old)
        await trio.sleep(CLEAN_S - 1)
        assert not forgot, "partners' clocks are seen first"
        await trio.sleep(2)
        assert len(forgot) == 1
        tended.clock.jump(11 * 366 * 86_400)
        with logged() as lines:
            await trio.sleep(3 * CLEAN_S)
        assert len(forgot) == 1
        assert events_of(lines, "upkeep_held_back") == ["upkeep_held_back"] * 3
        tended.clock.jump(-11 * 366 * 86_400)
        await trio.sleep(CLEAN_S)
        assert len(forgot) == 2
        nursery.cancel_scope.cancel()


async def test_a_clock_that_most_partners_doubt_closes_and_forgets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await site.daemon("DE*ABC", "cso"), await site.daemon("FR*XYZ", "csp")
        await site.pair(cso, csp)
        (peer,) = cso.assembly.directory
        await until(lambda: peer.exchange is not None, 10)
        closed: list[None] = []
        monkeypatch.setattr(Lifecycle, "close_due", lambda lifecycle: closed.append(None))
        for skew_ms, is_sure in ((-2 * DAY_MS, False), (2 * DAY_MS, True), (None, True)):
            peer.skew_ms = skew_ms
            assert cso.assembly.upkeep.is_sure is is_sure
            cso.assembly._now_and_then()
        assert len(closed) == 2


# --- how the daemon's end is told ---------------------------------------------------------------------------------


def test_an_operators_fault_inside_groups_is_raised_as_it_is() -> None:
    fault = OperatorError("The port is taken. See `link.listen`.")
    group = BaseExceptionGroup("", [BaseExceptionGroup("", [fault])])
    assert _leaves(group) == [fault]
    with pytest.raises(OperatorError) as caught:
        _report(group)
    assert caught.value is fault


def test_a_bug_ends_the_daemon_with_one_line_and_status_1() -> None:
    with logged() as lines:
        assert _report(BaseExceptionGroup("", [RuntimeError("a bug")])) == 1
    assert events_of(lines, "daemon_failed") == ["daemon_failed"]
