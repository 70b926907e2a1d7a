"""Who waits for events, and who takes questions."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from roamd.errors import RoamdError
from roamd.roaming.ports import AuthorizeQuestion, NoAnswer, Question, Told

MAX_WAITING: Final = 256
"""Requests that wait at a time, long polls and event streams; each holds a socket and a coroutine. What waits of our
own accord (webhooks, WebSockets, the OCPI face) is bounded elsewhere, and is not kept out by them.
"""

Done = Told


class TooManyWaiting(RoamdError):
    """Nobody else may wait now."""

    code = "too-many-waiting"
    http_status = 503


class EventHub:
    """Wakes whoever waits for events.

    To lose none: note `generation`, read, and when nothing was there wait for a generation after the noted one.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.sessions = 0
        self.closing = False
        self._waiters: set[asyncio.Future[None]] = set()
        self._requests = 0

    def arrived(self) -> None:
        """There are new events."""
        self.generation += 1
        self._wake_all()

    def end_sessions(self) -> None:
        """Who reads without an end has to come again: whoever notes `sessions` sees it changed."""
        self.sessions += 1
        self._wake_all()

    def close(self) -> None:
        """The API stops: nobody waits any longer."""
        self.closing = True
        self._wake_all()

    async def wait_beyond(self, generation: int, timeout_s: float) -> bool:
        """Wait for events after `generation`; whether there are some. Returns at once when the API stops."""
        if self.generation != generation or self.closing or timeout_s <= 0:
            return self.generation != generation
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.add(waiter)
        timer = loop.call_later(timeout_s, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)
        return self.generation != generation

    async def hold_request(self, generation: int, timeout_s: float) -> bool:
        """`wait_beyond` for a request. Raises TooManyWaiting where it would have to wait beside too many others."""
        if self.generation == generation and not self.closing and timeout_s > 0:
            self.require_room()
        self._requests += 1
        try:
            return await self.wait_beyond(generation, timeout_s)
        finally:
            self._requests -= 1

    def require_room(self) -> None:
        """Raises TooManyWaiting unless another request might wait."""
        if self._requests >= MAX_WAITING:
            raise TooManyWaiting(f"{MAX_WAITING} requests wait for events already; close some.")

    def _wake_all(self) -> None:
        for waiter in self._waiters:
            _wake(waiter)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


class QuestionTaker(Protocol):
    """A connected stream that answers questions."""

    def take_question(self, question: Question, done: Done) -> None:
        """Ask it; `done` is called once, at the latest at the question's deadline."""
        ...


class StandingTaker(QuestionTaker, Protocol):
    """One that is there without a stream, for some questions."""

    def takes(self, question: Question) -> bool:
        """Whether it can be asked this now."""
        ...


class StandingTakers:
    """Several as one: a question goes to the first that takes it."""

    def __init__(self, takers: Sequence[StandingTaker]) -> None:
        self._takers = takers

    def takes(self, question: Question) -> bool:
        """Whether any takes it now."""
        return any(taker.takes(question) for taker in self._takers)

    def take_question(self, question: Question, done: Done) -> None:
        """Ask the first that takes it."""
        for taker in self._takers:
            if taker.takes(question):
                taker.take_question(question, done)
                return
        done(NoAnswer("not configured", asked=False))


class QuestionTakers:
    """The streams that subscribed to questions. They go to the newest, so that a restarted backend takes over.

    `standing` (the OCPI face) is asked what it takes while there is no stream, `outward` what is for partners without
    roamd.
    """

    def __init__(self) -> None:
        self._takers: list[QuestionTaker] = []
        self.standing: StandingTaker | None = None
        self.outward: QuestionTaker | None = None

    def add(self, taker: QuestionTaker) -> None:
        """It is the newest now, also when it was there before."""
        self.remove(taker)
        self._takers.append(taker)

    def remove(self, taker: QuestionTaker) -> None:
        """It takes no more questions."""
        if taker in self._takers:
            self._takers.remove(taker)

    def newest(self) -> QuestionTaker | None:
        """Who is asked next."""
        return self._takers[-1] if self._takers else None

    def taker_of(self, question: Question) -> QuestionTaker | None:
        """Who is asked this. What is for a partner without roamd goes to no stream of ours."""
        if isinstance(question, AuthorizeQuestion) and question.via is not None:
            return self.outward
        newest, standing = self.newest(), self.standing
        if newest is None and standing is not None and standing.takes(question):
            return standing
        return newest
