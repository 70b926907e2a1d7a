"""A share for each peer, and turns."""

import asyncio
from collections.abc import Awaitable, Callable

from roamd.backend.shares import Shares, Turns


def taken(shares: Shares, peer: str) -> int:
    """How many a peer gets that takes all it can."""
    count = 0
    while shares.take(peer):
        count += 1
    return count


def test_a_peer_that_takes_all_it_can_leaves_as_much_as_it_has() -> None:
    shares = Shares(1000)
    assert taken(shares, "one") == 500
    assert taken(shares, "two") == 250
    assert shares.take("three")


def test_what_is_given_back_can_be_taken_again() -> None:
    shares = Shares(4)
    for _ in range(100):
        assert taken(shares, "one") == 2
        shares.give_back("one")
        shares.give_back("one")


async def settle() -> None:
    """Let everything that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def waiting(turns: Turns, peers: str, served: list[str]) -> "list[asyncio.Task[None]]":
    """One task for each letter, in this order; it notes when it has its place."""

    async def wait(peer: str) -> None:
        await turns.take(peer)
        served.append(peer)

    return [asyncio.get_running_loop().create_task(wait(peer)) for peer in peers]


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    asyncio.run(main())


def test_peers_that_wait_take_turns_each_its_oldest_first() -> None:
    async def test() -> None:
        turns, served = Turns(1), list[str]()
        tasks = waiting(turns, "aaaabbc", served)
        for _ in tasks:
            await settle()
            turns.give_back()
        await settle()
        assert "".join(served) == "aabcaba"

    run(test)


def test_a_place_is_never_lost_by_who_goes_away() -> None:
    async def test() -> None:
        turns, served = Turns(1), list[str]()
        first, gone, told_too_late, last = waiting(turns, "abcd", served)
        await settle()
        gone.cancel()
        await settle()
        turns.give_back()  # to c, which is cancelled before it learns of it
        told_too_late.cancel()
        await settle()
        assert served == ["a", "d"]
        turns.give_back()
        await turns.take("e")
        assert all(task.done() for task in (first, gone, told_too_late, last))

    run(test)


def test_free_places_are_not_waited_for() -> None:
    async def test() -> None:
        turns, served = Turns(3), list[str]()
        waiting(turns, "aaaa", served)
        await settle()
        assert served == ["a", "a", "a"]
        turns.give_back()
        await settle()
        assert served == ["a"] * 4

    run(test)
