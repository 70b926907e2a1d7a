"""One live link to a paired endpoint: a thin driver that joins a protocol connection to a TLS stream.

It decides nothing about the protocol (`protocol.connection` does) and nothing about roaming (`roaming.dispatch` does).
Its own task reads. Sending is done in turns that all links share (`peering.turns`), and so are the timers
(`roaming.deadlines`): a peer that has nothing to say costs a task, not five. A turn takes everything that waits in one
go, so that messages which were queued in one pass of the scheduler leave in one TLS write; that is where most of the
speed comes from. What reading itself brought about (answers that were ready, receipts, Pongs) the reader sends unless
the kernel is full, which saves a lone call a pass of the scheduler. While the kernel is full a task of the link's waits
for it, and turns pass it over. A link ends in one of three ways: the peer says Goodbye or is gone, we say Goodbye, or a
rule is broken; in each the last words are flushed within a bounded time and the stream is closed.
"""

import contextlib
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import trio

from roamd import metrics
from roamd.clock import Clock
from roamd.errors import NotTrusted, PeerError, ProtocolError
from roamd.log import get_logger
from roamd.model.routes import DIRECT
from roamd.peering.turns import Turns
from roamd.protocol import events
from roamd.protocol.codes import GoodbyeCode, code_name
from roamd.protocol.connection import Connection
from roamd.protocol.duplicates import LinkFacts
from roamd.protocol.flow import Pattern
from roamd.protocol.messages import Answer, Call, FeedAck, Goodbye, Hello, Receipt
from roamd.protocol.outbox import OutboxFullError
from roamd.protocol.states import OPEN, State
from roamd.roaming.deadlines import Deadlines, Timer
from roamd.roaming.directory import Peer
from roamd.roaming.dispatch import Exchange
from roamd.trust.succession import Verify, signer_among

log = get_logger()

LAST_WORDS_S = 2.0
"""How long a Goodbye may take to leave."""

LINGER_S = 0.5
"""How long we then read on: closing over unread data resets the connection, which would take the Goodbye with it."""

STALLED_S = 60.0
"""How long one write may take. A peer that reads slower than a kilobyte a second is not there for a driver."""


class SecureStream(Protocol):
    """A byte stream that has proven which leaf is at its other end: `peering.tls.TlsStream`, or the simulator's.

    `peering.passage.Passage` is one through a clearing house; its keys stand where the others have leaves.
    """

    @property
    def own_leaf_sha256(self) -> bytes: ...
    @property
    def peer_leaf_sha256(self) -> bytes: ...
    async def receive_some(self) -> bytes: ...
    def send_nowait(self, data: bytes) -> bool: ...
    async def flush(self) -> None: ...
    async def send_eof(self) -> None: ...
    async def aclose(self) -> None: ...


class Links(Protocol):
    """Who is told when a link goes up and down (`peering.registry.Registry`)."""

    def up(self, link: "Link") -> Exchange: ...
    def down(self, link: "Link") -> None: ...


@dataclass(frozen=True, slots=True)
class OwnEnd:
    """What our side brings to every link."""

    clock: Clock
    sign: Callable[[bytes], bytes]
    verify: Verify
    links: Links
    turns: Turns
    deadlines: Deadlines


class Link:
    """See the module. `run` lives as long as the link does; it closes the stream."""

    __slots__ = (
        "_bytes_in",
        "_bytes_out",
        "_connection",
        "_fault",
        "_is_at_it",
        "_is_clogged",
        "_nursery",
        "_own",
        "_scope",
        "_sending",
        "_stream",
        "_timer",
        "detail",
        "dialler",
        "exchange",
        "facts",
        "goodbye",
        "logged",
        "peer",
        "reason",
        "route",
    )

    def __init__(
        self, peer: Peer, stream: SecureStream, connection: Connection, own: OwnEnd, dialler: str, route: str = DIRECT
    ) -> None:
        self.peer = peer
        self.dialler = dialler
        self.route = route
        self.facts: LinkFacts | None = None
        self.exchange: Exchange | None = None
        self.goodbye: Goodbye | None = None
        self.reason = "cut"
        self.detail = ""
        self.logged = False
        self._stream = stream
        self._connection = connection
        self._own = own
        self._scope = trio.CancelScope()
        self._bytes_in = metrics.link_bytes.labels(peer.label, "in")
        self._bytes_out = metrics.link_bytes.labels(peer.label, "out")
        self._nursery: trio.Nursery | None = None
        self._timer: Timer | None = None
        self._sending: trio.CancelScope | None = None
        self._is_clogged = False
        self._is_at_it = False  # reading or in a turn, at whose end everything that waits is sent
        self._fault: Exception | None = None

    @property
    def peer_hello(self) -> Hello:
        """What the peer said of itself; only once it is up."""
        assert self._connection.peer_hello is not None  # noqa: S101 - a link is handed out only after its Hello
        return self._connection.peer_hello

    # --- its life -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Bring the link up, run it, end it. Returns when it has ended, whatever the reason; raises only Cancelled."""
        try:
            with self._scope:
                await self._live()
            self._raise_fault()
        except* ProtocolError as group:
            self._broke(first_of(group))
        except* PeerError as refused:
            self._refused(first_of(refused))
        except* trio.TooSlowError:
            self.reason = "stalled" if self.reason == "cut" else self.reason
            self._connection.connection_lost()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            self._connection.connection_lost()
        except* Exception:  # the edge: a fault of ours ends one link, never the daemon
            self.reason, self.logged = "failed", True
            log.exception("link_failed", peer=self.peer.label)
            self._connection.send_goodbye(GoodbyeCode.INTERNAL, "internal error")
        finally:
            if self._connection.state in OPEN:  # nobody has ended it, so we are cancelled: the daemon stops
                self.close(GoodbyeCode.SHUTTING_DOWN, "shutting down")
            try:
                if self.exchange is not None:
                    self.exchange.down()
                    self._own.links.down(self)
            finally:
                await self._say_last_words()

    async def _live(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._plan_timer()
            self.wake()
            try:
                await self._read()
                nursery.cancel_scope.cancel()
            finally:
                self._stop_tasks()

    def _stop_tasks(self) -> None:
        """No turn does anything any more. What is being written has a moment left."""
        self._nursery = None
        if self._timer is not None:
            self._timer.cancel()
        self._hurry(0 if self._connection.state is State.CLOSED else LAST_WORDS_S)

    def fail(self, error: Exception) -> None:
        """Something that is done for the link elsewhere has failed: it ends as if its own task had."""
        self._fault = self._fault or error
        self._scope.cancel()

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    def start(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run something for as long as the link lives."""
        if self._nursery is not None:
            self._nursery.start_soon(function)

    def _broke(self, error: ProtocolError) -> None:
        """A rule was broken: logged once, by its code, and the peer is told."""
        self.reason, self.logged = code_name(error.goodbye), True
        log.warning("link_broke_rule", peer=self.peer.label, code=self.reason, detail=str(error))
        self._connection.send_goodbye(error.goodbye, str(error))

    def _refused(self, error: PeerError) -> None:
        """The other side does not take us, which a dialler learns only now, or it broke TLS."""
        self.reason = error.reason if isinstance(error, NotTrusted) else "broken-tls"
        self.detail = str(error)
        self._connection.connection_lost()

    async def _say_last_words(self) -> None:
        """Send what is left; after a Goodbye give the peer the time to read it and to close.

        Ours is the end of what we send, so two sides that leave at once do not wait for each other to close.
        """
        leaving = self._connection.state is State.LEAVING
        gone = contextlib.suppress(
            trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError, OSError, PeerError
        )
        with trio.CancelScope(shield=True), gone:
            try:
                with trio.move_on_after(LAST_WORDS_S):
                    await self._flush()
                    if leaving:
                        await self._stream.send_eof()
                with trio.move_on_after(LINGER_S if leaving else 0):
                    while await self._stream.receive_some():
                        pass
            finally:
                await self._stream.aclose()

    async def _flush(self) -> None:
        if not self._stream.send_nowait(self._connection.data_to_send()):
            await self._stream.flush()

    # --- reading and sending ------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while self._connection.state is not State.CLOSED:
            data = await self._stream.receive_some()
            if not data:
                self._connection.connection_lost()
                return
            self._bytes_in.inc(len(data))
            now, clock_ms = self._own.clock.monotonic(), self._own.clock.now_ms()
            self._is_at_it = True
            self._take(self._connection.receive_data(data, now, clock_ms))
            self._is_at_it = False
            if self._connection.has_data:
                self._send_at_once()

    def _send_at_once(self) -> None:
        """The upper lanes, unless the kernel is full; a turn does the rest."""
        if self._connection.is_up and not self._is_clogged:
            self._hand_over(self._connection.data_to_send(bulk_limit=0))
        if self._connection.has_data:
            self.wake()

    def _hand_over(self, data: bytes) -> None:
        """To the kernel, as much as it takes; a task of its own waits until it takes the rest."""
        self._bytes_out.inc(len(data))
        if not self._stream.send_nowait(data):
            self._is_clogged = True
            self.start(self._write_rest)

    def wake(self) -> None:
        """There is something to do, or to send."""
        self._own.turns.add(self)

    def turn(self) -> bool:
        """One payload each way and one write (`peering.turns`). Whether there is more to do."""
        if self._nursery is None or self._is_clogged:
            return False
        self._is_at_it = True
        busy = self.exchange is not None and self.exchange.is_up and self.exchange.step()
        self._is_at_it = False
        if data := self._connection.data_to_send():
            self._hand_over(data)
        if self._is_clogged:
            return False
        if self._connection.state is State.LEAVING:
            self._scope.cancel()
        return busy or self._connection.has_data

    async def _write_rest(self) -> None:
        """Shielded, within limits: after half a record nothing can be sent, and a Goodbye may have to follow."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STALLED_S) as self._sending:
            await self._stream.flush()
        if self._sending.cancelled_caught:
            raise trio.TooSlowError
        self._sending = None
        self._is_clogged = False
        self.wake()

    def _hurry(self, seconds: float) -> None:
        """The link ends: what is being written has so much time left."""
        if self._sending is not None:
            self._sending.deadline = min(self._sending.deadline, trio.current_time() + seconds)

    # --- time ---------------------------------------------------------------------------------------------------

    def _plan_timer(self) -> None:
        """At whole seconds, so that all links whose time has come in one share a wake-up of the idle process."""
        at = self._connection.next_timer()
        self._timer = None if at is None else self._own.deadlines.add(math.ceil(at), self._look_at_time)

    def _look_at_time(self) -> None:
        """Heartbeats. Traffic moves the timer without telling, so it is only looked at when it would have fired."""
        try:
            now = self._own.clock.monotonic()
            self._take(self._connection.handle_timer(now, self._own.clock.now_ms()))
            if self._connection.has_data:
                self._send_at_once()
            self._plan_timer()
        except Exception as error:  # noqa: BLE001 - it ends this link alone, and is told apart and logged in `run`
            self.fail(error)

    # --- events -------------------------------------------------------------------------------------------------

    def _take(self, happened: list[events.Event]) -> None:
        for event in happened:
            match event:
                case events.HelloReceived():
                    self._prove()
                case events.ProofReceived(proof):
                    self._judge(proof.signature)
                case events.WentUp():
                    self._went_up()
                case events.PeerSaidGoodbye(goodbye):
                    self._farewell(goodbye)
                case events.PeerSilent():
                    self.reason = "silent"
                    self._leave_soon()
                case _ if self.exchange is not None and self.exchange.is_up:
                    self.exchange.on_event(event)

    def _prove(self) -> None:
        document = self._connection.own_proof_document(self._stream.own_leaf_sha256, self._stream.peer_leaf_sha256)
        self._take(self._connection.send_proof(self._own.sign(document), self._own.clock.monotonic()))

    def _judge(self, signature: bytes) -> None:
        document = self._connection.peer_proof_document(self._stream.own_leaf_sha256, self._stream.peer_leaf_sha256)
        if not self._holds(document, signature):
            raise ProtocolError(GoodbyeCode.NOT_TRUSTED, "the proof does not hold")
        now, clock_ms = self._own.clock.monotonic(), self._own.clock.now_ms()
        self._take(self._connection.proof_verified(now, clock_ms))

    def _holds(self, document: bytes, signature: bytes) -> bool:
        try:
            keys = self.peer.keys(self._own.clock.now_ms())
            return signer_among(keys, document, signature, self._own.verify) is not None
        except NotTrusted:
            return False

    def _went_up(self) -> None:
        if not self.peer.active:  # suspended or removed while it came up
            self.close(GoodbyeCode.SUSPENDED, "not a peer any more")
            return
        self.exchange = self._own.links.up(self)
        self.exchange.begin()

    def _farewell(self, goodbye: Goodbye) -> None:
        self.goodbye = goodbye
        self.reason = code_name(goodbye.code)
        self._scope.cancel()

    # --- what the exchange sends (roaming.dispatch.LinkPort) ----------------------------------------------------

    def send_calls(self, calls: list[Call]) -> None:
        self._send(self._connection.send_calls, calls)

    def send_answers(self, answers: list[Answer]) -> None:
        self._send(self._connection.send_answers, answers)

    def send_cancels(self, ids: list[bytes]) -> None:
        self._send(self._connection.send_cancels, ids)

    def send_ledger(self, payload: bytes) -> None:
        self._send(self._connection.send_ledger, payload)

    def send_feed(self, payload: bytes) -> None:
        self._send(self._connection.send_feed, payload)

    def send_receipts(self, receipts: list[Receipt]) -> None:
        self._send(self._connection.send_receipts, receipts)

    def send_feed_acks(self, acks: list[FeedAck]) -> None:
        self._send(self._connection.send_feed_acks, acks)

    def _send(self, send: Callable[[Any], None], what: object) -> None:
        """Queue it; a link that is ending drops it, and one whose peer does not read is ended."""
        if not self._connection.is_up:
            return
        try:
            send(what)
        except OutboxFullError as error:
            self.close(GoodbyeCode.OVERLOADED, str(error))
        if not self._is_at_it:
            self.wake()

    def waiting(self, pattern: Pattern) -> int:
        return self._connection.waiting(pattern)

    def grant(self, pattern: Pattern, amount: int) -> None:
        if self._connection.is_up:
            self._connection.grant(pattern, amount)
            if self._connection.has_data and not self._is_at_it:
                self.wake()

    def close(self, code: int, reason: str, until_ms: int = 0) -> None:
        """Say Goodbye and end. Safe to call again, from anywhere on the trio thread."""
        if self.reason == "cut":
            self.reason = code_name(code)
        self._connection.send_goodbye(code, reason, until_ms)
        if self.exchange is not None:
            self.exchange.down()
        self._leave_soon()

    def _leave_soon(self) -> None:
        """A Goodbye is queued. A peer that does not read it is not waited for."""
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + LAST_WORDS_S)
        self._hurry(LAST_WORDS_S)
        self.wake()


E = TypeVar("E", bound=PeerError)


def first_of(group: BaseExceptionGroup[E]) -> E:
    """The first of what may be several tasks' errors; all in the group are of its type."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return cast(E, error)
