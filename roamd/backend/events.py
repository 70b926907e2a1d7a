"""`/v1/events`: everything that came in, in order; as pages, as a long poll, and as server-sent events."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from aiohttp import web

from roamd.backend.context import Api
from roamd.backend.requests import (
    decode_strictly,
    encode,
    json_answer,
    page_after,
    page_limit,
    page_text,
    whole_number,
)
from roamd.backend.routes import AFTER, IDEMPOTENCY_KEY, LIMIT, Answer, Body, Parameter, Route
from roamd.errors import RoamdError
from roamd.roaming.operations import AcknowledgeEvents, Event, EventPage, ReadEvents

MAX_WAIT_S: Final = 60
HEARTBEAT_S: Final = 15.0
"""A comment this often keeps proxies from closing a quiet stream, and finds out that the client has gone."""

STREAM_PAGE: Final = 500


class AckIn(msgspec.Struct, frozen=True):
    """Everything up to here has been dealt with."""

    cursor: str


class Events:
    """The handlers and their routes."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def get(self, request: web.Request) -> web.StreamResponse:
        """A page, perhaps waited for; or the endless stream, if that is what the client accepts."""
        if "text/event-stream" in request.headers.get("Accept", ""):
            return await self._stream(request)
        wait_s = min(whole_number(request, "wait", 0, 0), MAX_WAIT_S)
        page = await self._read_waiting(page_after(request), page_limit(request), wait_s)
        return json_answer(page_text(map(encode, page.items), page.next))

    async def ack(self, request: web.Request) -> web.Response:
        """Let events up to the cursor go."""
        asked = decode_strictly(await request.read(), AckIn)
        await self._api.core.ask(AcknowledgeEvents(asked.cursor))
        return web.Response(status=204)

    async def _read_waiting(self, after: str | None, limit: int, wait_s: float) -> EventPage:
        until = self._api.clock.monotonic() + wait_s
        while True:
            generation = self._api.events.generation
            page: EventPage = await self._api.core.ask(ReadEvents(after, limit))
            left = until - self._api.clock.monotonic()
            if page.items or left <= 0 or self._api.events.closing:
                return page
            await self._api.events.hold_request(generation, left)
            after = page.next

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        pages = self._pages(request.headers.get("Last-Event-ID") or page_after(request))
        first = await anext(pages)  # a bad cursor is refused before the stream begins
        self._api.events.require_room()
        await response.prepare(request)
        await _write(response, first)
        with contextlib.suppress(RoamdError):  # the head is sent: the stream ends, and who comes again is told why
            async for page in pages:
                await _write(response, page)
        return response

    async def _pages(self, after: str | None) -> AsyncIterator[EventPage]:
        """Page after page; an empty one after each time that nothing came."""
        hub = self._api.events
        session = hub.sessions
        while not hub.closing and hub.sessions == session:
            generation = hub.generation
            page: EventPage = await self._api.core.ask(ReadEvents(after, STREAM_PAGE))
            after = page.next
            yield page
            if not page.items:
                await hub.hold_request(generation, HEARTBEAT_S)

    def routes(self) -> list[Route]:
        """The table's rows."""
        wait = Parameter("wait", "Seconds to wait for the first event, up to 60.", {"type": "integer", "default": 0})
        last = Parameter("Last-Event-ID", "Where a server-sent stream was cut; stands for `after`.", place="header")
        return [
            Route("GET", "/v1/events", self.get, "events",
                  "What came in, in order. `Accept: text/event-stream` gives an endless stream.",
                  (Answer(200, "A page; `next` is always a cursor.", "EventPage"),),
                  parameters=(AFTER, LIMIT, wait, last)),
            Route("POST", "/v1/events/ack", self.ack, "events", "Events up to the cursor may be deleted after 24 h.",
                  (Answer(204, "Noted."),), Body("Acknowledge", {"cursor": "3"}), (IDEMPOTENCY_KEY,), remembered=True),
        ]  # fmt: skip


async def _write(response: web.StreamResponse, page: EventPage) -> None:
    """The page's events, or a comment; waits while the client does not read."""
    text = b"".join(map(sse_text, page.items)) if page.items else b": \n\n"
    await response.write(text)
    if len(page.items) == STREAM_PAGE:
        await asyncio.sleep(0)  # a client that reads fast must not keep the loop


def sse_text(event: Event) -> bytes:
    """One event as server-sent text; its cursor is the id that a client comes back with."""
    data = encode(event).replace(b"\r", b" ").replace(b"\n", b" ")  # in JSON text they can only be white space
    return b"id: " + event.cursor.encode() + b"\nevent: " + event.type.encode() + b"\ndata: " + data + b"\n\n"
