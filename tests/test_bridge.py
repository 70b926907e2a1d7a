"""The crossing between trio and asyncio, with real threads on both sides."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import trio

from roamd.bridge import (
    AsyncioThread,
    BackendPort,
    CoreClient,
    Port,
    Started,
    port_to_asyncio,
    port_to_trio,
    run_asyncio,
)
from roamd.errors import NotFound, RoamdError
from roamd.roaming.ports import AuthorizeQuestion, BackendAnswer, CommandQuestion, CommandResult, NoAnswer, Reply

QUESTION = AuthorizeQuestion(
    "a-1", "abc", "DE*ABC", {"type": "RFID", "uid": "04AB"}, "CHARGING", 1000, "2026-01-01T00:00:00Z"
)


class Wakes:
    """A receiving loop that runs nothing until told."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def __call__(self, drain: Callable[[], None]) -> None:
        self.waiting.append(drain)

    def run(self) -> None:
        waiting, self.waiting = self.waiting, []
        for drain in waiting:
            drain()


class EchoCore:
    """Answers a number with its double, "missing" with a refusal, "bug" by raising."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def handle(self, operation: object, reply: Reply) -> None:
        self.threads.add(threading.get_ident())
        if isinstance(operation, int):
            reply(operation * 2)
        elif operation == "missing":
            reply(NotFound("there is none"))
        elif operation == "bug":
            raise ZeroDivisionError("a bug in the core")


async def test_one_wake_up_carries_all_that_waits_in_order() -> None:
    wakes, got = Wakes(), list[int]()
    port = Port(wakes, got.append)
    for number in range(5):
        port.send(number)
    assert len(wakes.waiting) == 1
    wakes.run()
    assert got == [0, 1, 2, 3, 4]
    port.send(5)
    assert len(wakes.waiting) == 1


async def test_what_is_sent_while_draining_is_not_forgotten() -> None:
    wakes, got = Wakes(), list[int]()

    def handle(number: int) -> None:
        got.append(number)
        if number < 3:
            port.send(number + 1)

    port = Port(wakes, handle)
    port.send(0)
    while wakes.waiting:
        wakes.run()
    assert got == [0, 1, 2, 3]


async def test_items_behind_one_whose_handling_fails_are_still_handled() -> None:
    wakes, got = Wakes(), list[int]()

    def handle(number: int) -> None:
        if number == 0:
            raise ValueError(number)
        got.append(number)

    port = Port(wakes, handle)
    port.send(0)
    port.send(1)
    with pytest.raises(ValueError, match="0"):
        wakes.run()
    wakes.run()
    assert got == [1]


async def test_a_flood_is_drained_in_turns() -> None:
    wakes, got = Wakes(), list[int]()
    port = Port(wakes, got.append)
    for number in range(5000):
        port.send(number)
    wakes.run()
    assert 0 < len(got) < 5000
    wakes.run()
    assert got == list(range(5000))


async def test_sending_to_a_loop_that_is_gone_is_quiet() -> None:
    loop = asyncio.new_event_loop()
    port: Port[int] = Port(loop.call_soon_threadsafe, print)
    loop.close()
    port.send(1)


async def test_four_threads_lose_nothing_and_keep_their_own_order() -> None:
    got: list[tuple[int, int]] = []
    done = trio.Event()

    def handle(item: tuple[int, int]) -> None:
        got.append(item)
        if len(got) == 4 * 2000:
            done.set()

    port = port_to_trio(handle)

    def send_all(who: int) -> None:
        for number in range(2000):
            port.send((who, number))

    threads = [threading.Thread(target=send_all, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    with trio.fail_after(20):
        await done.wait()
    for who in range(4):
        assert [n for sender, n in got if sender == who] == list(range(2000))


async def test_the_asyncio_main_asks_the_core_on_the_trio_thread() -> None:
    core, seen = EchoCore(), dict[str, Any]()
    client = CoreClient(core)

    async def main(started: Started) -> None:
        seen["one"] = await client.ask(21)
        seen["many"] = await client.ask_many([1, "missing", 3])
        seen["none"] = await client.ask_many([])
        with pytest.raises(NotFound, match="there is none"):
            await client.ask("missing")
        seen["thread"] = threading.get_ident()

    with trio.fail_after(20):
        await run_asyncio(main)
    assert seen["one"] == 42
    assert seen["many"][0] == 2
    assert isinstance(seen["many"][1], NotFound)
    assert seen["many"][2] == 6
    assert seen["none"] == []
    assert core.threads == {threading.get_ident()}
    assert seen["thread"] != threading.get_ident()


async def test_started_gives_its_value_to_the_nursery_and_cancelling_cleans_up() -> None:
    cleaned = threading.Event()

    async def main(started: Started) -> None:
        started(8119)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)  # clean-up that needs the loop
            cleaned.set()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            assert await nursery.start(run_asyncio, main) == 8119
            nursery.cancel_scope.cancel()
    assert cleaned.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "roamd-asyncio"]


async def test_cancelling_before_the_loop_is_there_leaves_no_thread_behind() -> None:
    async def main(started: Started) -> None:
        await asyncio.get_running_loop().create_future()

    with trio.fail_after(20), trio.CancelScope() as scope:
        scope.cancel()
        await run_asyncio(main)
    assert scope.cancelled_caught
    assert not [thread for thread in threading.enumerate() if thread.name == "roamd-asyncio"]


async def test_a_crash_of_the_asyncio_main_is_raised_in_the_tree() -> None:
    async def main(started: Started) -> None:
        started(None)
        await asyncio.sleep(0)
        raise ZeroDivisionError("a bug in the API")

    with trio.fail_after(20), pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_asyncio, main)
    assert caught.group_contains(ZeroDivisionError, match="a bug in the API")


async def test_a_crash_before_started_is_raised_by_start() -> None:
    async def main(started: Started) -> None:
        raise OSError("address in use")

    with trio.fail_after(20), pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(run_asyncio, main)
    assert caught.group_contains(OSError, match="address in use")


async def test_a_core_that_raises_answers_its_asker_and_takes_the_tree_down() -> None:
    answered: list[BaseException] = []

    async def main(started: Started) -> None:
        try:
            await client.ask("bug")
        except RoamdError as error:
            answered.append(error)
        await asyncio.get_running_loop().create_future()

    thread = AsyncioThread(main)
    client = CoreClient(EchoCore(), thread.fail)
    with trio.fail_after(20), pytest.raises(ZeroDivisionError, match="a bug in the core"):
        await thread.run()


async def test_a_reply_to_someone_who_has_gone_is_dropped() -> None:
    client = CoreClient(EchoCore())
    seen: list[int] = []
    complaints: list[object] = []

    async def main(started: Started) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        client.ask(1).cancel()
        seen.append(await client.ask(2))

    with trio.fail_after(20):
        await run_asyncio(main)
    assert seen == [4]
    assert complaints == []


class AnsweringBackend:
    """Lives on the asyncio side and answers at once."""

    def __init__(self) -> None:
        self.newest: list[str] = []
        self.threads: set[int] = set()

    def ask_authorize(self, question: AuthorizeQuestion, done: Callable[[BackendAnswer | NoAnswer], None]) -> None:
        self.threads.add(threading.get_ident())
        done(BackendAnswer("ALLOWED", reason=question.authorization_id))

    def ask_command(self, question: CommandQuestion, done: Callable[[CommandResult | NoAnswer], None]) -> None:
        done(CommandResult("ACCEPTED"))

    def events_arrived(self, newest: str) -> None:
        self.newest.append(newest)


async def test_questions_cross_to_the_backend_and_answers_come_back_on_trio() -> None:
    port, backend = BackendPort(), AnsweringBackend()
    answers: list[tuple[int, BackendAnswer | NoAnswer]] = []
    answered = trio.Event()

    async def main(started: Started) -> None:
        port.attach(backend)
        started(None)
        await asyncio.get_running_loop().create_future()

    def done(answer: BackendAnswer | NoAnswer) -> None:
        answers.append((threading.get_ident(), answer))
        answered.set()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(run_asyncio, main)
            port.events_arrived("e-7")
            port.ask_authorize(QUESTION, done)
            await answered.wait()
            nursery.cancel_scope.cancel()
    assert answers == [(threading.get_ident(), BackendAnswer("ALLOWED", reason="a-1"))]
    assert backend.newest == ["e-7"]
    assert threading.get_ident() not in backend.threads


async def test_without_a_backend_a_question_has_no_answer() -> None:
    port = BackendPort()
    answers: list[BackendAnswer | NoAnswer] = []
    port.events_arrived("e-1")
    port.ask_authorize(QUESTION, answers.append)
    assert isinstance(answers[0], NoAnswer)
    port.detach()
    port.ask_authorize(QUESTION, answers.append)
    assert isinstance(answers[1], NoAnswer)


async def test_a_port_to_asyncio_hands_over_on_the_loops_own_thread() -> None:
    seen: list[int] = []

    async def main(started: Started) -> None:
        arrived = asyncio.get_running_loop().create_future()
        port: Port[int] = port_to_asyncio(arrived.set_result)
        threading.Thread(target=port.send, args=(7,)).start()
        seen.append(await arrived)

    with trio.fail_after(20):
        await run_asyncio(main)
    assert seen == [7]


def test_what_is_held_around_a_wake_up_is_held_once_for_all_its_items() -> None:
    wakes: list[Callable[[], None]] = []
    seen: list[str] = []

    @contextlib.contextmanager
    def around(items: Sequence[str]) -> Iterator[None]:
        seen.append(f"begin {''.join(items)}")
        yield
        seen.append("end")

    port = Port(wakes.append, seen.append, around)
    for item in "abc":
        port.send(item)
    (drain,) = wakes
    drain()
    assert seen == ["begin abc", "a", "b", "c", "end"]
