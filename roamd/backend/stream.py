"""`GET /v1/stream`: the fast path (its messages are written up in STREAM.md).

What makes it fast: a frame is decoded once into envelopes whose bodies stay text; every request goes to the core as a
plain callback, without a task or a future; answers pile up in a list, and one writer task sends all that waits as one
frame. So the cost of a wake-up, of a system call and of a frame is shared by all messages that are there.

What bounds it: `MAX_OPEN` requests (the reader pauses), `MAX_WAITING_OUT` messages towards a client that does not read
(the event pump pauses, questions count as not answered), the frame's size, and a heartbeat that ends dead connections.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import Any, Final

from aiohttp import WSCloseCode, WSMsgType, web

from roamd import metrics
from roamd.backend.authorizations import parse_authorization, traceparent_of
from roamd.backend.commands import report_command, send_command
from roamd.backend.context import Api
from roamd.backend.messages import (
    Envelope,
    UnreadableFrame,
    check_request_id,
    idempotency_of_message,
    known_feed,
    read_frame,
    refusal,
    reply_text,
    take_frame,
    tell_nothing,
    tell_object,
    tell_put,
    tell_records,
    tell_value,
)
from roamd.backend.objects import evse_patch, patch_text
from roamd.backend.problems import Problem, problem, problem_of
from roamd.backend.questions import READERS
from roamd.backend.records import parse_records
from roamd.backend.requests import MAX_BODY, checked_ocpi, checked_peer, encode, fault, is_array, page_text
from roamd.backend.routes import Answer, Route
from roamd.backend.waiting import Done
from roamd.errors import NotFound, RoamdError
from roamd.model.objects import check_object, check_record
from roamd.model.roles import COMMANDS
from roamd.roaming.operations import (
    AcknowledgeEvents,
    DeleteObject,
    EventPage,
    GetCommand,
    GetObject,
    GetPeerObject,
    PatchEvse,
    PatchObject,
    PostRecords,
    PutObject,
    ReadEvents,
)
from roamd.roaming.ports import NoAnswer, Question

MAX_OPEN: Final = 1024
MAX_WAITING_OUT: Final = 4096
EVENT_PAGE: Final = 200
HEARTBEAT_S: Final = 30.0
IDLE_S: Final = 60.0
MAX_STREAMS: Final = 64
CLOSE_S: Final = 2.0
"""How long a client may take to close from its side."""


# --- one connection -----------------------------------------------------------------------------------------------


class Stream:
    """One connected backend."""

    def __init__(self, api: Api, socket: web.WebSocketResponse) -> None:
        self._api = api
        self._socket = socket
        self._out: list[bytes] = []
        self._wake_writer = asyncio.Event()
        self._written = asyncio.Event()
        self._open = 0
        self._room = asyncio.Event()
        self._broken = False
        self._questions: dict[str, tuple[str, Done, asyncio.TimerHandle]] = {}
        self._pump: asyncio.Task[None] | None = None
        self._operations: dict[str, Callable[[Envelope], None]] = {
            "authorize": self._authorize,
            "record": self._record,
            "command": self._command,
            "command.state": self._report_command,
            "command.get": self._get_command,
            "put": self._put,
            "patch": self._patch,
            "patch_evse": self._patch_evse,
            "delete": self._delete,
            "get": self._get,
            "events.subscribe": self._subscribe_events,
            "events.unsubscribe": self._unsubscribe_events,
            "events.ack": self._acknowledge,
            "questions.subscribe": self._subscribe_questions,
            "questions.unsubscribe": self._unsubscribe_questions,
            "answer": self._take_answer,
        }

    async def run(self) -> None:
        """Until the client or the daemon ends it."""
        writer = asyncio.get_running_loop().create_task(self._write())
        try:
            await self._read()
        finally:
            self._api.takers.remove(self)
            self._end_pump()
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            self._give_up_questions()

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT:
                await self._socket.close(code=WSCloseCode.UNSUPPORTED_DATA, message=b"text frames only")
                return
            try:
                received = read_frame(message.data)
            except UnreadableFrame:
                await self._socket.close(code=WSCloseCode.INVALID_TEXT, message=b"not a JSON array of objects")
                return
            for each in received:
                self._take(each)
            await self._wait_room()

    async def _wait_room(self) -> None:
        """Stop reading while too much is open or waits to be read by the client, as long as that can be."""
        while not self._broken and (self._open >= MAX_OPEN or len(self._out) >= MAX_WAITING_OUT):
            self._room.clear()
            await self._room.wait()

    # --- writing ---

    def send(self, message: bytes) -> None:
        """Queue one message; all that is queued at this turn of the loop goes out in one frame."""
        self._out.append(message)
        self._wake_writer.set()

    async def _write(self) -> None:
        """Until cancelled, or the connection is gone; then the reader waits for no more room, and finds that out."""
        try:
            while True:
                await self._wake_writer.wait()
                self._wake_writer.clear()
                while self._out:
                    frame = take_frame(self._out)
                    await self._socket.send_frame(frame, WSMsgType.TEXT)
                    self._room.set()
                self._written.set()
        finally:
            self._broken = True
            self._room.set()

    # --- requests ---

    def _take(self, message: Envelope | Problem) -> None:
        if isinstance(message, Problem):
            self.send(refusal(None, message))
            return
        try:
            operation = self._operations.get(message.op)
            if operation is None:
                raise NotFound(f"There is no op {message.op[:40]!r}.", code="no-such-op")
            check_request_id(message.id)
            operation(message)
        except RoamdError as error:
            self.send(refusal(message.id, problem_of(error)))

    def _ask(self, request_id: int | str | None, operation: object, told: Callable[[Any], bytes]) -> None:
        """Send an operation to the core; `told` makes the reply's text from its reply (a status and a body)."""
        self._open += 1
        self._api.core.tell(operation, partial(self._answer, request_id, told))

    def _answer(self, request_id: int | str | None, told: Callable[[Any], bytes], reply: Any) -> None:
        self._open -= 1
        if self._open == MAX_OPEN // 2:
            self._room.set()
        if isinstance(reply, RoamdError):
            self.send(refusal(request_id, problem_of(reply)))
        else:
            self.send(reply_text(request_id, told(reply)))

    def _authorize(self, message: Envelope) -> None:
        asked = parse_authorization(
            message.text,
            self._api.settings.default_deadline_ms,
            idempotency_of_message(message),
            traceparent_of(message.traceparent),
        )
        self._ask(message.id, asked, tell_value)

    def _record(self, message: Envelope) -> None:
        ocpi, own, text = checked_ocpi(message.ocpi), self._api.own_parties, message.text
        many = is_array(text)
        records = parse_records(text, ocpi, own) if many else [check_record(ocpi, text, own_parties=own)]
        peer = checked_peer(message.peer) if message.peer else None
        if not records:
            self.send(reply_text(message.id, b'"status":202,"body":[]}'))
            return
        asked = PostRecords(tuple(records), peer, idempotency_of_message(message))
        self._ask(message.id, asked, partial(tell_records, records, many))

    def _command(self, message: Envelope) -> None:
        if message.command not in COMMANDS:
            raise NotFound(f"There is no such command; these are: {', '.join(COMMANDS)}.")
        asked = send_command(
            message.command,
            checked_ocpi(message.ocpi),
            message.text,
            peer=message.peer,
            party=message.canonical_party,
            deadline_ms=message.deadline_ms,
            timeout_s=message.timeout_s,
            late=message.late,
            idempotency=idempotency_of_message(message),
            traceparent=traceparent_of(message.traceparent),
        )
        self._ask(message.id, asked, tell_value)

    def _report_command(self, message: Envelope) -> None:
        self._ask(message.id, report_command(message.key, message.text), tell_value)

    def _get_command(self, message: Envelope) -> None:
        self._ask(message.id, GetCommand(message.key), tell_value)

    def _put(self, message: Envelope) -> None:
        checked = check_object(
            known_feed(message.feed),
            checked_ocpi(message.ocpi),
            message.text,
            own_parties=self._api.own_parties,
            path_id=message.key or None,
        )
        asked = PutObject(message.feed, checked, message.if_match)
        self._ask(message.id, asked, partial(tell_put, checked, message.echo))

    def _patch(self, message: Envelope) -> None:
        asked = PatchObject(
            known_feed(message.feed),
            message.key,
            patch_text(message.text),
            checked_ocpi(message.ocpi),
            message.canonical_party,
            message.type,
            message.if_match,
        )
        self._ask(message.id, asked, tell_object)

    def _patch_evse(self, message: Envelope) -> None:
        ocpi = checked_ocpi(message.ocpi)
        patch = evse_patch(message.text, ocpi, self._api.clock.now_ms())
        asked = PatchEvse(message.key, message.evse, patch, ocpi, message.canonical_party)
        self._ask(message.id, asked, tell_object)

    def _delete(self, message: Envelope) -> None:
        party, feed = message.canonical_party, known_feed(message.feed)
        self._ask(message.id, DeleteObject(feed, message.key, party, message.type, message.if_match), tell_nothing)

    def _get(self, message: Envelope) -> None:
        feed, party = known_feed(message.feed), message.canonical_party
        asked: object = GetObject(feed, message.key, party, message.type)
        if message.peer is not None:
            asked = GetPeerObject(checked_peer(message.peer), feed, message.key, party, message.type)
        self._ask(message.id, asked, tell_object)

    # --- events ---

    def _acknowledge(self, message: Envelope) -> None:
        self._ask(message.id, AcknowledgeEvents(message.cursor), tell_nothing)

    def _subscribe_events(self, message: Envelope) -> None:
        self._end_pump()
        self._pump = asyncio.get_running_loop().create_task(self._pump_events(message.after or None))
        self._done(message)

    def _unsubscribe_events(self, message: Envelope) -> None:
        self._end_pump()
        self._done(message)

    def _end_pump(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None

    async def _pump_events(self, after: str | None) -> None:
        hub = self._api.events
        try:
            while not hub.closing:
                generation = hub.generation
                page: EventPage = await self._api.core.ask(ReadEvents(after, EVENT_PAGE))
                after = page.next
                if page.items:
                    self.send(b'{"op":"events",' + page_text(map(encode, page.items), page.next)[1:])
                    await self._wait_written()
                if not (page.items and page.more):
                    await hub.wait_beyond(generation, IDLE_S)
        except RoamdError as error:
            self.send(encode({"op": "events.ended", "problem": problem_of(error)}))

    async def _wait_written(self) -> None:
        """Until the client has taken what was sent: no page is read ahead of it."""
        while self._out:
            self._written.clear()
            await self._written.wait()

    # --- questions ---

    def _subscribe_questions(self, message: Envelope) -> None:
        self._api.takers.add(self)
        self._done(message)

    def _unsubscribe_questions(self, message: Envelope) -> None:
        self._api.takers.remove(self)
        self._done(message)

    def take_question(self, question: Question, done: Done) -> None:
        """Ask the client; `done` is called at the deadline at the latest."""
        if len(self._out) >= MAX_WAITING_OUT:
            done(NoAnswer("the stream is not read", asked=False))
            return
        name, kind = question.name, question.KIND
        timer = asyncio.get_running_loop().call_later(question.deadline_ms / 1000, self._late, name)
        self._questions[name] = (kind, done, timer)
        self.send(b'{"op":"question","kind":"%b","id":%b,"body":%b}' % (kind.encode(), encode(name), encode(question)))

    def _take_answer(self, message: Envelope) -> None:
        asked = self._questions.pop(str(message.id), None)
        if asked is None:
            told = problem(
                410, "no-such-question", "This question was never asked, is answered, or is past its deadline."
            )
            self.send(refusal(message.id, told))
            return
        kind, done, timer = asked
        timer.cancel()
        answer = READERS[kind](bytes(message.body))
        done(answer)
        if isinstance(answer, NoAnswer):
            raise fault("$.body", "cannot be read as an answer; it counts as none", "answer")

    def _late(self, name: str) -> None:
        asked = self._questions.pop(name, None)
        if asked is not None:
            asked[1](NoAnswer("late"))

    def _give_up_questions(self) -> None:
        questions, self._questions = self._questions, {}
        for _, done, timer in questions.values():
            timer.cancel()
            done(NoAnswer("the stream ended"))

    def _done(self, message: Envelope) -> None:
        self.send(reply_text(message.id, tell_nothing(None)))


class Streams:
    """Accepts streams, and ends them when the API stops."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._sockets: set[web.WebSocketResponse] = set()

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Upgrade, and serve until it ends."""
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S, compress=False, max_msg_size=MAX_BODY, decode_text=False, timeout=CLOSE_S
        )
        if not socket.can_prepare(request).ok:
            raise UpgradeRequired("This resource is a WebSocket; see /v1/stream.md.")
        if len(self._sockets) >= MAX_STREAMS:
            raise TooManyStreams(f"{MAX_STREAMS} streams are connected already.")
        await socket.prepare(request)
        self._sockets.add(socket)
        metrics.streams.set(len(self._sockets))
        try:
            await Stream(self._api, socket).run()
        finally:
            self._sockets.discard(socket)
            metrics.streams.set(len(self._sockets))
        return socket

    async def close_all(self, code: WSCloseCode = WSCloseCode.GOING_AWAY, message: bytes = b"the daemon stops") -> None:
        """End all streams: the daemon stops, or their key does not count any longer."""
        await asyncio.gather(*(socket.close(code=code, message=message) for socket in self._sockets))

    async def document(self, request: web.Request) -> web.Response:
        """STREAM.md."""
        text = resources.files("roamd.backend").joinpath("STREAM.md").read_text("utf-8")
        return web.Response(text=text, content_type="text/markdown")

    def routes(self) -> list[Route]:
        """The table's rows."""
        return [
            Route("GET", "/v1/stream", self.get, "stream", "The fast path: a WebSocket; see /v1/stream.md.",
                  (Answer(101, "The stream."),)),
            Route("GET", "/v1/stream.md", self.document, "stream", "The stream's messages.",
                  (Answer(200, "The document.", None, "text/markdown"),)),
        ]  # fmt: skip


class UpgradeRequired(RoamdError):
    """A plain request where a WebSocket was expected."""

    code = "upgrade-required"
    http_status = 426


class TooManyStreams(RoamdError):
    """No further stream is taken now."""

    code = "too-many-streams"
    http_status = 503
