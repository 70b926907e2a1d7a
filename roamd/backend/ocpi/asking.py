"""The questions that are under way to OCPI backends: each a task, each peer with its share of them, and in turn."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from roamd.backend.ocpi.caller import CallFailed
from roamd.backend.shares import Shares, Turns
from roamd.roaming.ports import NoAnswer, Question, Told

MAX_OPEN: Final = 1000
"""A peer that asks without end holds half of them (`shares`)."""

Ask = Callable[[], Coroutine[Any, Any, Any]]


class Asking:
    """What is open, of one kind of question."""

    def __init__(self, places: int) -> None:
        """`places` is how many may be at the backends at a time; the others wait for their peer's turn."""
        self._open: set[asyncio.Task[None]] = set()
        self._shares = Shares(MAX_OPEN)
        self._turns = Turns(places)

    def begin(self, question: Question, ask: Ask, done: Told) -> None:
        """Ask by `ask`, which may raise CallFailed; `done` is called once: now if the peer has too many open."""
        if not self._shares.take(question.peer):
            done(NoAnswer("too many open questions", asked=False))
            return
        task = asyncio.get_running_loop().create_task(self._ask(question, ask, done))
        self._open.add(task)
        task.add_done_callback(partial(self._ended, question.peer))

    def _ended(self, peer: str, task: "asyncio.Task[None]") -> None:
        self._open.discard(task)
        self._shares.give_back(peer)

    async def aclose(self) -> None:
        """Give up what is open; its askers get NoAnswer."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _ask(self, question: Question, ask: Ask, done: Told) -> None:
        answer: Any = NoAnswer("the daemon stops")
        has_turn = False
        try:
            async with asyncio.timeout(question.deadline_ms / 1000):
                await self._turns.take(question.peer)
                has_turn = True
                answer = await ask()
        except TimeoutError:
            answer = NoAnswer("late", asked=has_turn)
        except CallFailed as error:
            answer = NoAnswer(str(error), asked=error.sent)
        finally:
            if has_turn:
                self._turns.give_back()
            done(answer)
