"""One link, as a pure state machine: bytes in, events out; messages in, bytes out.

The driver owns the TLS stream, the clock and the keys, and decides nothing about the protocol:

    connection = Connection(dialler, own_hello, now, expected_endpoint=endpoint_id_of_the_pinned_identity)
    send connection.data_to_send()                      the Hello
    for event in connection.receive_data(data, now, clock_ms): ...
        HelloReceived   -> sign own_proof_document(...), send_proof(signature)
        ProofReceived   -> verify peer_proof_document(...), proof_verified(now, clock_ms)   (or send_goodbye)
        WentUp          -> from here on all send_* are allowed
    at connection.next_timer(): connection.handle_timer(now, clock_ms)

After every call look at `has_data` and send what `data_to_send` gives. What it guarantees: nothing but Hello, Proof and
Goodbye counts before both Proofs are good; everything that arrives is limited and paid for (see `flow`); upper lanes
never wait for more than one flush of bulk (see `outbox`). A ProtocolError ends the link: its Goodbye is queued already,
the driver sends that and closes; events that the same bytes brought before the bad frame are not delivered.

`now` is monotonic seconds, `clock_ms` the wall clock; they are never mixed.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from roamd.errors import ProtocolError
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.events import Event, HelloReceived, PeerSaidGoodbye, PeerSilent, ProofReceived, WentUp
from roamd.protocol.flow import MIN_WINDOWS, Pattern
from roamd.protocol.frames import FIRST_EXTENSION, MAX_PAYLOAD, Frame, FrameReader, FrameType, Lane
from roamd.protocol.heartbeat import Due, Heartbeat, Timing
from roamd.protocol.inbox import Inbox
from roamd.protocol.messages import (
    ECDSA_P256,
    Answer,
    Call,
    Credit,
    FeedAck,
    Goodbye,
    Hello,
    Ping,
    Pong,
    Proof,
    Receipt,
    decode,
    encode,
)
from roamd.protocol.outbox import Outbox
from roamd.protocol.proof import Side, proof_document
from roamd.protocol.states import BEING_JUDGED, OPEN, Input, Machine, State

VERSION: Final = 1
BULK_LIMIT: Final = 64 * 1024  # of bulk per flush; more would let a driver wait longer
MAX_HELD: Final = 1024 * 1024  # unread bytes while a Proof is judged; the driver does not read meanwhile anyway

_INPUTS: Final[dict[int, Input]] = {
    FrameType.HELLO: Input.RECEIVE_HELLO,
    FrameType.PROOF: Input.RECEIVE_PROOF,
    FrameType.GOODBYE: Input.RECEIVE_GOODBYE,
}
_DEFAULT_TIMING: Final = Timing()


class Connection:
    """The protocol of one link, for either side. `hello.windows` is what the peer may send us at first."""

    __slots__ = (
        "_expected_endpoint",
        "_heartbeat",
        "_hello_payload",
        "_inbox",
        "_machine",
        "_outbox",
        "_peer_hello_payload",
        "_reader",
        "dialler",
        "hello",
        "peer_hello",
    )

    def __init__(
        self,
        dialler: bool,
        hello: Hello,
        now: float,
        *,
        expected_endpoint: str | None = None,
        extensions: frozenset[int] = frozenset(),
        timing: Timing = _DEFAULT_TIMING,
    ) -> None:
        self.dialler = dialler
        self.hello = hello
        self.peer_hello: Hello | None = None
        self._hello_payload = encode(hello)
        self._peer_hello_payload = b""
        self._expected_endpoint = expected_endpoint
        self._machine = Machine()
        self._reader = FrameReader()
        self._outbox = Outbox()
        self._inbox = Inbox(self._outbox, hello.windows, extensions, now)
        self._heartbeat = Heartbeat(timing, now, dialler=dialler)
        self._outbox.put_frame(FrameType.HELLO, self._hello_payload)

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._machine.state

    @property
    def is_up(self) -> bool:
        """Whether messages may be sent."""
        return self._machine.state is State.UP

    # --- receiving ----------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes | bytearray | memoryview, now: float, clock_ms: int) -> list[Event]:
        """Take bytes from the stream. ProtocolError when they break a rule; the Goodbye is then queued."""
        if self._machine.state not in OPEN:
            return []
        self._heartbeat.heard(now)
        self._reader.feed(data)
        return self._read(now, clock_ms)

    def connection_lost(self) -> None:
        """The stream ended or broke: nothing more comes or goes."""
        self._machine.move(Input.LOSE)
        self._forget()

    def _read(self, now: float, clock_ms: int) -> list[Event]:
        events: list[Event] = []
        if self._machine.state in BEING_JUDGED:
            self._check_held()
            return events
        frames = self._reader.frames()
        try:
            for frame in frames:
                event = self._receive_frame(frame, now, clock_ms)
                if event is not None:
                    events.append(event)
                if self._machine.state is not State.UP and not self._reads_on():
                    break
        except ProtocolError as error:
            self.send_goodbye(error.goodbye, str(error))
            raise
        finally:
            frames.close()
            if self._machine.state not in OPEN:
                self._reader.clear()
        return events

    def _reads_on(self) -> bool:
        """A Proof is judged before anything behind it is read; after a Goodbye nothing is."""
        return self._machine.state in OPEN and self._machine.state not in BEING_JUDGED

    def _check_held(self) -> None:
        if len(self._reader) > MAX_HELD:
            error = ProtocolError(GoodbyeCode.FLOOD, "Too much came before the Proof was judged.")
            self.send_goodbye(error.goodbye, str(error))
            raise error

    def _receive_frame(self, frame: Frame, now: float, clock_ms: int) -> Event | None:
        happened = _INPUTS.get(frame.type, Input.RECEIVE_OTHER)
        self._machine.move(happened)
        if happened is not Input.RECEIVE_OTHER:
            return self._receive_handshake(frame)
        match frame.type:
            case FrameType.PING:
                self._receive_ping(frame, now, clock_ms)
                return None
            case FrameType.PONG:
                return self._receive_pong(frame, now, clock_ms)
            case FrameType.CREDIT:
                return self._inbox.credit(frame, now)
        return self._inbox.event(frame, now)

    def _receive_handshake(self, frame: Frame) -> Event:
        message = decode(frame.type, frame.payload)
        if isinstance(message, Hello):
            self._accept_hello(message, bytes(frame.payload))
            return HelloReceived(message)
        if isinstance(message, Proof):
            return ProofReceived(message)
        self._forget()
        return PeerSaidGoodbye(message)

    def _accept_hello(self, hello: Hello, payload: bytes) -> None:
        if not set(hello.versions) & set(self.hello.versions):
            raise ProtocolError(GoodbyeCode.NO_COMMON_VERSION, f"The peer speaks {hello.versions} only.")
        if self._expected_endpoint is not None and hello.endpoint_id != self._expected_endpoint:
            raise ProtocolError(GoodbyeCode.WRONG_ENDPOINT, "The Hello names another endpoint than the certificate.")
        if any(window < least for window, least in zip(hello.windows, MIN_WINDOWS, strict=False)):
            raise ProtocolError(GoodbyeCode.MALFORMED, f"The windows must be at least {MIN_WINDOWS}.")
        if hello.nonce == self.hello.nonce:
            raise ProtocolError(GoodbyeCode.MALFORMED, "The peer sent our own nonce back.")
        self.peer_hello, self._peer_hello_payload = hello, payload
        for pattern, credit in self._outbox.credits.items():
            credit.open(hello.windows[pattern])

    def _receive_ping(self, frame: Frame, now: float, clock_ms: int) -> None:
        """Only the newest Ping is answered: a Pong for an older one would measure nothing."""
        self._inbox.spend_allowance(now)
        newest: Ping = decode(FrameType.PING, frame.payload)[-1]
        self._outbox.replace_small(FrameType.PONG, Pong(newest.id, newest.clock_ms, clock_ms))

    def _receive_pong(self, frame: Frame, now: float, clock_ms: int) -> Event | None:
        self._inbox.spend_allowance(now)
        newest: Pong = decode(FrameType.PONG, frame.payload)[-1]
        return self._heartbeat.pong(newest, now, clock_ms)

    # --- coming up ----------------------------------------------------------------------------------------------

    def own_proof_document(self, own_leaf_sha256: bytes, peer_leaf_sha256: bytes) -> bytes:
        """What our identity key signs, once the peer's Hello is here."""
        return self._proof_document(self.dialler, own_leaf_sha256, peer_leaf_sha256)

    def peer_proof_document(self, own_leaf_sha256: bytes, peer_leaf_sha256: bytes) -> bytes:
        """What the peer's identity key must have signed."""
        return self._proof_document(not self.dialler, own_leaf_sha256, peer_leaf_sha256)

    def _proof_document(self, signer_is_dialler: bool, own_leaf: bytes, peer_leaf: bytes) -> bytes:
        own, peer = Side(self._hello_payload, own_leaf), Side(self._peer_hello_payload, peer_leaf)
        dialler, listener = (own, peer) if self.dialler else (peer, own)
        return proof_document(signer_is_dialler=signer_is_dialler, dialler=dialler, listener=listener)

    def send_proof(self, signature: bytes, now: float, *, algorithm: str = ECDSA_P256) -> list[Event]:
        """Our Proof. Gives WentUp when the peer's was verified before."""
        state = self._machine.move(Input.SEND_PROOF)
        self._outbox.put_frame(FrameType.PROOF, encode(Proof(signature, algorithm)))
        return self._went_up(now) if state is State.UP else []

    def proof_verified(self, now: float, clock_ms: int) -> list[Event]:
        """The peer's Proof is good. Reads what came behind it, so this may give many events, or raise ProtocolError."""
        state = self._machine.move(Input.VERIFY_PROOF)
        events = self._went_up(now) if state is State.UP else []
        return events + self._read(now, clock_ms)

    def _went_up(self, now: float) -> list[Event]:
        self._heartbeat.went_up(now)
        return [WentUp(self.version, self.features)]

    @property
    def version(self) -> int:
        """The newest version that both sides speak; 0 before the peer's Hello."""
        theirs = self.peer_hello.versions if self.peer_hello else []
        return max(set(theirs) & set(self.hello.versions), default=0)

    @property
    def features(self) -> frozenset[str]:
        """What both sides named in their Hello."""
        theirs = self.peer_hello.features if self.peer_hello else []
        return frozenset(theirs) & frozenset(self.hello.features)

    # --- sending ------------------------------------------------------------------------------------------------

    def send_calls(self, calls: Sequence[Call]) -> None:
        """Questions. They wait for credit (see `credit_left`); OutboxFullError when too many do.

        `deadline_ms` is sent as it stands, so cancel what has waited too long: unsent calls are then never sent.
        """
        self._machine.move(Input.SEND_OTHER)
        self._outbox.put_calls(calls)

    def send_answers(self, answers: Sequence[Answer]) -> None:
        """Answers to Calls, one for each, also when it was cancelled: each frees the peer's credit for one more.

        The peer learns of that credit with the answers and not before, so one that reads none cannot ask for ever.
        """
        self._machine.move(Input.SEND_OTHER)
        self._outbox.put_answers(answers)
        self._inbox.credits[Pattern.CALLS].grant(len(answers))

    def send_cancels(self, ids: Sequence[bytes]) -> None:
        """We no longer wait for these calls; those that were not sent yet never will be."""
        self._machine.move(Input.SEND_OTHER)
        self._outbox.cancel(ids)

    def send_ledger(self, payload: bytes) -> None:
        """A packed ledger batch, in fragments when it is large."""
        self._machine.move(Input.SEND_OTHER)
        self._outbox.put_bulk(Pattern.LEDGER, payload)

    def send_feed(self, payload: bytes) -> None:
        """A packed feed chunk, in fragments when it is large."""
        self._machine.move(Input.SEND_OTHER)
        self._outbox.put_bulk(Pattern.FEEDS, payload)

    def send_receipts(self, receipts: Iterable[Receipt]) -> None:
        """Receipts for ledger batches, at most one for each that came."""
        self._machine.move(Input.SEND_OTHER)
        self._outbox.put_small(FrameType.RECEIPT, receipts)

    def send_feed_acks(self, acks: Iterable[FeedAck]) -> None:
        """The first of a feed follows it; then at most one for each chunk that came."""
        self._machine.move(Input.SEND_OTHER)
        self._outbox.put_small(FrameType.FEED_ACK, acks)

    def send_extension(self, type_: int, payload: bytes, lane: Lane = Lane.CALLS) -> None:
        """A frame that the connection does not interpret, on one of the two upper lanes."""
        if not FIRST_EXTENSION <= type_ <= 255 or lane > Lane.CALLS or len(payload) > MAX_PAYLOAD:
            raise ValueError("An extension frame has a type from 128 on, an upper lane and at most 64 KiB.")
        self._machine.move(Input.SEND_OTHER)
        self._outbox.put_frame(type_, payload, lane)

    def send_goodbye(self, code: int, reason: str = "", until_ms: int = 0) -> None:
        """The last thing we say. Answers and receipts go before it, calls and bulk do not. Later ones are dropped."""
        if self._machine.state in OPEN:
            self._outbox.put_last(FrameType.GOODBYE, encode(Goodbye(int(code), reason[:200], until_ms)))
        self._machine.move(Input.SEND_GOODBYE)

    def grant(self, pattern: Pattern, amount: int) -> None:
        """What the peer sent is consumed: calls are by being answered (done by `send_answers`), bulk by its `cost`."""
        self._inbox.credits[pattern].grant(amount)
        self._announce_credit(pattern)

    def _announce_credit(self, pattern: Pattern) -> None:
        limit = self._inbox.credits[pattern].due() if self.is_up else None
        if limit is not None:
            self._outbox.put_small(FrameType.CREDIT, [Credit(pattern, limit)])

    def credit_left(self, pattern: Pattern) -> int:
        """What the peer would take beyond what waits already: calls, or bytes of bulk (and FRAME_COST a frame)."""
        return self._outbox.credits[pattern].left - self._outbox.waiting(pattern)

    def waiting(self, pattern: Pattern) -> int:
        """Calls, or bytes of bulk, that are queued and not sent."""
        return self._outbox.waiting(pattern)

    @property
    def has_data(self) -> bool:
        """Whether `data_to_send` would give anything."""
        return self._outbox.has_data()

    def data_to_send(self, bulk_limit: int = BULK_LIMIT) -> bytes:
        """All that waits, upper lanes in full and first, bulk at most `bulk_limit` bytes (one frame if it is smaller).

        Ask again after it was written: more bulk may wait, and what came meanwhile on the upper lanes goes before it.
        """
        self._announce_credit(Pattern.CALLS)
        return self._outbox.take(bulk_limit)

    def _forget(self) -> None:
        self._outbox.clear()

    # --- time ---------------------------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        """When to call `handle_timer`; None when time no longer matters."""
        return self._heartbeat.next_at if self._machine.state in OPEN else None

    def handle_timer(self, now: float, clock_ms: int) -> list[Event]:
        """Time has passed: perhaps queues a Ping, perhaps gives the peer up (PeerSilent, its Goodbye is queued)."""
        due = self._heartbeat.due(now) if self._machine.state in OPEN else Due.NOTHING
        if due is Due.PING:
            self.send_ping(now, clock_ms)
        return [self._give_up()] if due is Due.GIVE_UP else []

    def send_ping(self, now: float, clock_ms: int) -> None:
        """Measure skew and round trip now; the answer comes as SkewMeasured."""
        self._machine.move(Input.SEND_OTHER)
        self._outbox.replace_small(FrameType.PING, self._heartbeat.ping(now, clock_ms))

    def _give_up(self) -> PeerSilent:
        in_handshake = not self.is_up
        code = GoodbyeCode.HANDSHAKE_LATE if in_handshake else GoodbyeCode.SILENT
        self.send_goodbye(code, "The handshake took too long." if in_handshake else "Nothing came for too long.")
        return PeerSilent(in_handshake)
