"""Questions to the operator's own systems: over the stream if one takes them, else by HTTP.

A question is asked once, by one way. Whatever is not a readable answer in time - another status, a redirect, a body
that is too large or no JSON, a closed connection - is `NoAnswer` with a reason in a few words; the asker's policy
then answers the driver.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import aiohttp
import msgspec

from roamd import metrics
from roamd.backend.context import Api
from roamd.backend.shares import Shares, Turns
from roamd.backend.waiting import Done
from roamd.clock import Clock
from roamd.log import get_logger
from roamd.roaming.ports import (
    AuthorizeQuestion,
    BackendAnswer,
    CommandQuestion,
    CommandResult,
    NoAnswer,
    Question,
)

log = get_logger(room="backend")

MAX_ANSWER: Final = 64 * 1024
"""A decision with a location is about 2 KB; a megabyte would only be held in memory for nothing."""

MAX_OPEN: Final = 1000
"""Questions by HTTP at a time; each is a task. Beyond, the backend is too slow and waiting would not help.

No peer gets all of them, and those that wait for a connection take turns by peer; see `shares`.
"""

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """`[backend]` of the configuration. An empty `url`: no callback. `timeout_ms` 0: the question's own deadline.

    `connections`, how many questions may be under way over HTTP, stays as it was when serving began.
    """

    url: str = ""
    key: str = ""
    timeout_ms: int = 0
    connections: int = 32


_NOTHING: Final = msgspec.Raw(b"")


class _AnswerIn(msgspec.Struct, frozen=True):
    """`BackendAnswer` as it is read: msgspec takes nothing but null for a field of type `Raw | None`."""

    decision: str
    reason: str | None = None
    authorization_reference: str | None = None
    valid_until: str | None = None
    location: msgspec.Raw = _NOTHING
    info: msgspec.Raw = _NOTHING


_decode_answer: Final = msgspec.json.Decoder(_AnswerIn).decode


def read_answer(data: bytes) -> BackendAnswer | NoAnswer:
    """A backend's answer; unknown fields are ignored."""
    try:
        told = _decode_answer(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return NoAnswer("unreadable answer")
    return BackendAnswer(
        told.decision,
        told.reason,
        told.authorization_reference,
        told.valid_until,
        _text_or_none(told.location),
        _text_or_none(told.info),
    )


class _ResultIn(msgspec.Struct, frozen=True):
    """`CommandResult` as it is read."""

    result: str
    reason: str | None = None
    profile: msgspec.Raw = _NOTHING


_decode_result: Final = msgspec.json.Decoder(_ResultIn).decode


def read_result(data: bytes) -> CommandResult | NoAnswer:
    """A backend's word on a command; unknown fields are ignored."""
    try:
        told = _decode_result(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return NoAnswer("unreadable answer")
    return CommandResult(told.result, told.reason, _text_or_none(told.profile))


READERS: Final[dict[str, Callable[[bytes], BackendAnswer | CommandResult | NoAnswer]]] = {
    AuthorizeQuestion.KIND: read_answer,
    CommandQuestion.KIND: read_result,
}
"""How the answer to each kind of question is read."""


def _text_or_none(raw: msgspec.Raw) -> msgspec.Raw | None:
    """A copy, so that the whole answer need not stay in memory; null is nothing."""
    return None if bytes(raw) in (b"", b"null") else raw.copy()


class Questions:
    """`ports.Backend` on the asyncio thread."""

    def __init__(self, api: Api, settings: BackendSettings, session: aiohttp.ClientSession) -> None:
        """`session` belongs to the caller; see `backend_session`."""
        self._api = api
        self._session = session
        self._open: set[asyncio.Task[None]] = set()
        self._shares = Shares(MAX_OPEN)
        self._turns = Turns(settings.connections)
        self.configure(settings)

    def configure(self, settings: BackendSettings) -> None:
        """Use these settings from the next question on."""
        self._settings = settings
        self._url = settings.url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if settings.key:
            self._headers["Authorization"] = f"Bearer {settings.key}"

    def events_arrived(self, newest: str) -> None:
        """Wake whoever waits for events."""
        self._api.events.arrived()

    def ask_authorize(self, question: AuthorizeQuestion, done: Done) -> None:
        """Ask the newest stream that takes questions, else the configured address."""
        self._ask(question, done)

    def ask_command(self, question: CommandQuestion, done: Done) -> None:
        """As `ask_authorize`."""
        self._ask(question, done)

    def _ask(self, question: Question, done: Done) -> None:
        taker = self._api.takers.taker_of(question)
        if taker is not None:
            taker.take_question(question, _measured("stream", self._api.clock, done))
        elif not self._url:
            done(NoAnswer("not configured", asked=False))
        elif self._shares.take(question.peer):
            self._post_soon(question, _measured("http", self._api.clock, done))
        else:
            _measured("http", self._api.clock, done)(NoAnswer("too many open questions", asked=False))

    async def aclose(self) -> None:
        """Give up what is open; its askers get NoAnswer."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _post_soon(self, question: Question, done: Done) -> None:
        task = asyncio.get_running_loop().create_task(self._post(question, done))
        self._open.add(task)
        task.add_done_callback(partial(self._ended, question.peer))

    def _ended(self, peer: str, task: "asyncio.Task[None]") -> None:
        self._open.discard(task)
        self._shares.give_back(peer)

    async def _post(self, question: Question, done: Done) -> None:
        answer: BackendAnswer | CommandResult | NoAnswer = NoAnswer("the daemon stops")
        has_turn = False
        try:
            async with asyncio.timeout(self._patience_s(question)):
                await self._turns.take(question.peer)
                has_turn = True
                answer = await self._fetch(question)
        except TimeoutError:
            answer = NoAnswer("late", asked=has_turn)
        except aiohttp.ClientConnectorError:
            answer = NoAnswer("not reachable", asked=False)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            answer = NoAnswer(f"connection failed: {type(error).__name__}")
        finally:
            if has_turn:
                self._turns.give_back()
            done(answer)

    def _patience_s(self, question: Question) -> float:
        own = self._settings.timeout_ms
        return (min(own, question.deadline_ms) if own else question.deadline_ms) / 1000

    async def _fetch(self, question: Question) -> BackendAnswer | CommandResult | NoAnswer:
        url, body = f"{self._url}/{question.KIND}", _encode(question)
        async with self._session.post(url, data=body, headers=self._headers, allow_redirects=False) as response:
            if response.status != 200:
                return NoAnswer(f"status {response.status}")
            known = response.content_length
            short = known is not None and known <= MAX_ANSWER
            data = await (response.read() if short else read_bounded(response, MAX_ANSWER))
        return NoAnswer("answer too large") if data is None else READERS[question.KIND](data)


async def read_bounded(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """The answer's body, or None when it is longer than `limit`; then the connection is closed."""
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            response.close()
            return None
        parts.append(chunk)
    return b"".join(parts)


def backend_session(connections: int) -> aiohttp.ClientSession:
    """A session that keeps its connections to the backend and follows nothing: no proxy, no cookies.

    It does not offer to take compressed answers either, since they are read as they come.
    """
    return aiohttp.ClientSession(
        skip_auto_headers=("Accept-Encoding",),
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
    )


_SECONDS: Final = {way: metrics.question_seconds.labels(way) for way in ("stream", "http")}
"""Looked up once: that costs more than to observe."""


def _measured(way: str, clock: Clock, done: Done) -> Done:
    return partial(_note, way, clock.monotonic, clock.monotonic(), done)


def _note(
    way: str,
    monotonic: Callable[[], float],
    begun: float,
    done: Done,
    answer: BackendAnswer | CommandResult | NoAnswer,
) -> None:
    metrics.child(metrics.questions, way, "none" if isinstance(answer, NoAnswer) else "answered").inc()
    _SECONDS[way].observe(monotonic() - begun)
    done(answer)
