"""Turns: every link that has something to do, once in each pass of the scheduler, and none in the way of another."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import wait_all_tasks_blocked

from roamd.peering.turns import TURNS_A_PASS, Turns


class Walker:
    """Takes so many turns and notes them in a list that all share; the last one may fail."""

    def __init__(self, name: str, turns: int, walked: list[str], *, fails: bool = False) -> None:
        self.name, self.left, self.walked, self.fails = name, turns, walked, fails
        self.failures: list[Exception] = []

    def turn(self) -> bool:
        self.walked.append(self.name)
        self.left -= 1
        if self.fails and not self.left:
            raise LookupError(self.name)
        return self.left > 0

    def fail(self, error: Exception) -> None:
        self.failures.append(error)


@asynccontextmanager
async def running(turns: Turns) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.run)
        yield
        nursery.cancel_scope.cancel()


async def test_all_who_asked_have_a_turn_and_who_has_more_to_do_another_one() -> None:
    turns, walked = Turns(), list[str]()
    for name, count in (("a", 3), ("b", 1), ("c", 2)):
        turns.add(Walker(name, count, walked))
    async with running(turns):
        await wait_all_tasks_blocked()
        assert walked == ["a", "b", "c", "a", "c", "a"]


async def test_asking_twice_before_its_turn_is_asking_once() -> None:
    turns, walked = Turns(), list[str]()
    walker = Walker("a", 1, walked)
    async with running(turns):
        await wait_all_tasks_blocked()
        turns.add(walker)
        turns.add(walker)
        await wait_all_tasks_blocked()
        assert walked == ["a"]
        turns.add(walker)
        await wait_all_tasks_blocked()
        assert walked == ["a", "a"]


async def test_others_run_between_two_turns() -> None:
    turns, walked = Turns(), list[str]()
    turns.add(Walker("a", 3, walked))

    async def look() -> None:
        for _ in range(20):
            walked.append("-")
            await trio.lowlevel.checkpoint()

    async with running(turns):
        await look()
        await wait_all_tasks_blocked()
    text = "".join(walked)
    assert "aaa" not in text, "one a pass; the end of one pass and the begin of the next may meet"


async def test_in_one_pass_only_so_many_have_a_turn_and_then_readers_read() -> None:
    turns, walked = Turns(), list[str]()
    for number in range(3 * TURNS_A_PASS):
        turns.add(Walker(str(number), 1, walked))
    seen: list[int] = []

    async def look() -> None:
        for _ in range(20):
            seen.append(len(walked))
            await trio.lowlevel.checkpoint()

    async with running(turns):
        await look()
    assert walked == [str(number) for number in range(3 * TURNS_A_PASS)]
    steps = [after - before for before, after in itertools.pairwise(seen)]
    assert 0 < max(steps) <= 2 * TURNS_A_PASS, "the end of one pass and the begin of the next may meet"


async def test_one_that_fails_is_told_and_the_others_go_on() -> None:
    turns, walked = Turns(), list[str]()
    bad, good = Walker("bad", 2, walked, fails=True), Walker("good", 3, walked)
    turns.add(bad)
    turns.add(good)
    async with running(turns):
        await wait_all_tasks_blocked()
    assert walked == ["bad", "good", "bad", "good", "good"]
    assert [str(error) for error in bad.failures] == ["bad"]
    assert good.failures == []
