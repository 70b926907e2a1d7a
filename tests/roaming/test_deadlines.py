"""Timers and the two small ways to wait."""

import pytest
import trio

from roamd.errors import NotFound, StoreFull
from roamd.roaming.deadlines import Deadlines
from roamd.roaming.waiting import Outcome, Wake, write
from roamd.storage.cx import Cx
from roamd.storage.store import Store
from tests.support.roaming import StillClock


class TrioTime:
    """trio's own clock."""

    def monotonic(self) -> float:
        return trio.current_time()

    def now_ms(self) -> int:
        return round(trio.current_time() * 1000)


async def test_timers_fire_at_their_time_in_their_order(autojump_clock: trio.abc.Clock) -> None:
    deadlines, fired = Deadlines(TrioTime()), []
    began = trio.current_time()

    def note(name: str) -> None:
        fired.append((name, round(trio.current_time() - began, 6)))

    async with trio.open_nursery() as nursery:
        deadlines.after(5, lambda: note("late"))
        nursery.start_soon(deadlines.run)
        await trio.sleep(1)
        deadlines.after(1, lambda: note("early"))  # before what it sleeps for
        deadlines.after(1, lambda: note("beside"))
        deadlines.after(4, lambda: note("last"))
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert fired == [("early", 2), ("beside", 2), ("late", 5), ("last", 5)]


async def test_a_timer_may_set_the_next_one_even_for_now(autojump_clock: trio.abc.Clock) -> None:
    deadlines, fired = Deadlines(TrioTime()), []

    def first() -> None:
        deadlines.after(0, lambda: fired.append("second"))
        deadlines.after(1, lambda: fired.append("third"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deadlines.run)
        await trio.testing.wait_all_tasks_blocked()
        deadlines.after(1, first)
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert fired == ["second", "third"]


async def test_a_cancelled_timer_does_nothing_and_cancelling_twice_harms_nobody(autojump_clock: trio.abc.Clock) -> None:
    deadlines, fired = Deadlines(TrioTime()), []
    timer = deadlines.after(1, lambda: fired.append("cancelled"))
    deadlines.after(1, lambda: fired.append("kept"))
    timer.cancel()
    timer.cancel()
    with trio.move_on_after(2):
        await deadlines.run()
    assert fired == ["kept"]


async def test_the_fault_of_one_timer_is_raised_after_the_others_that_are_due(autojump_clock: trio.abc.Clock) -> None:
    deadlines, fired = Deadlines(TrioTime()), []

    def fail() -> None:
        raise LookupError("this one")

    deadlines.after(1, fail)
    deadlines.after(1, lambda: fired.append("the other"))
    with pytest.raises(ExceptionGroup) as caught:
        await deadlines.run()
    assert fired == ["the other"]
    assert caught.group_contains(LookupError, match="this one")


async def test_timers_of_lines_fire_among_all_others_also_one_that_comes_before_the_last(
    autojump_clock: trio.abc.Clock,
) -> None:
    deadlines, fired = Deadlines(TrioTime()), []
    began, one, other = trio.current_time(), deadlines.line(), deadlines.line()
    for name, place, after_s in (("third", one, 3), ("fifth", one, 5), ("first", one, 1), ("fourth", other, 4)):
        place.add(began + after_s, lambda name=name: fired.append((name, round(trio.current_time() - began, 6))))
    deadlines.after(2, lambda: fired.append(("second", round(trio.current_time() - began, 6))))
    with trio.move_on_after(10):
        await deadlines.run()
    assert fired == [("first", 1), ("second", 2), ("third", 3), ("fourth", 4), ("fifth", 5)]


async def test_a_line_wakes_who_sleeps_for_something_later(autojump_clock: trio.abc.Clock) -> None:
    deadlines, fired = Deadlines(TrioTime()), []
    began, line = trio.current_time(), deadlines.line()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deadlines.run)
        await trio.testing.wait_all_tasks_blocked()
        line.add(began + 1, lambda: fired.append(round(trio.current_time() - began, 6)))
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert fired == [1]


def test_cancelled_timers_of_a_line_do_not_heap_up() -> None:
    line = Deadlines(StillClock()).line()
    for number in range(1000):
        line.add(10.0 + number, lambda: None).cancel()
    assert len(line.entries) == 1


async def test_sets_that_come_together_are_one_wake_up_and_none_is_lost() -> None:
    wake, woken = Wake(), []

    async def worker() -> None:
        while True:
            await wake.wait()
            woken.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker)
        wake.set()
        wake.set()
        await trio.testing.wait_all_tasks_blocked()
        assert len(woken) == 1
        wake.set()
        await trio.testing.wait_all_tasks_blocked()
        assert len(woken) == 2
        nursery.cancel_scope.cancel()


async def test_a_wake_that_was_set_while_nobody_waited_is_kept_also_by_a_cancelled_wait() -> None:
    wake = Wake()
    with trio.CancelScope() as scope:
        scope.cancel()
        await wake.wait()
    wake.set()
    with trio.fail_after(1):
        await wake.wait()
    with trio.CancelScope() as scope:
        scope.cancel()
        wake.set()
        await wake.wait()
    with trio.fail_after(1):
        await wake.wait()


async def test_an_outcome_gives_the_value_or_raises_the_error() -> None:
    good: Outcome[int] = Outcome()
    good(7)
    assert await good.wait() == 7
    bad: Outcome[int] = Outcome()
    bad(NotFound("nowhere"))
    with pytest.raises(NotFound):
        await bad.wait()


async def test_a_write_raises_what_its_transaction_raised_and_leaves_nothing() -> None:
    def refuse(cx: Cx) -> None:
        cx.run("INSERT INTO meta (name, value) VALUES ('half', 'done')")
        raise StoreFull("no room")

    def count(cx: Cx) -> int:
        return int(cx.value("SELECT COUNT(*) FROM meta WHERE name = 'half'"))

    with Store.open_memory() as store:
        assert await write(store, count) == 0
        with pytest.raises(StoreFull):
            await write(store, refuse)
        assert store.read(count) == 0
