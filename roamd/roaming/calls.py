"""The pattern *call*: a question with a deadline and one answer (DESIGN section 3).

Guarantees: `done` is called exactly once per started call, at the latest at its deadline. A call whose link falls
stays open, and is repeated by its id on the next link with what is left of its time; the asked side remembers ids
until their deadline and a minute, so that a repeat gets the same answer and is never asked of a backend twice.
What is remembered for one peer is bounded: beyond `REMEMBERED_BYTES` its oldest answers are forgotten early.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from roamd import metrics
from roamd.clock import Clock
from roamd.log import get_logger
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming.deadlines import Deadlines, Timer
from roamd.roaming.directory import Peer

if TYPE_CHECKING:
    from roamd.roaming.dispatch import Exchange

log = get_logger()

REMEMBERED_S = 60.0
"""How long after its deadline an incoming call's answer is kept for a repeat (DESIGN section 3)."""

BUCKET_S = 15.0
"""Answers are forgotten in buckets of this width: one timer a bucket instead of one a call."""

REMEMBERED_BYTES = 16 * 1024 * 1024
"""Of one peer's answers, counted with `ENTRY_COST` each: some 30,000 authorizations. A repeat comes within seconds."""

ENTRY_COST = 512
"""About what an id, its answer and its place in the tables cost in memory."""

Answered = Callable[[Answer | None], None]
"""Called with the answer, or None when there was none before the deadline."""


@dataclass(slots=True)
class OpenCall:
    """A question that waits for its answer."""

    call: Call
    peer: Peer
    deadline_at: float
    done: Answered
    timer: Timer


class OutgoingCalls:
    """The questions we asked."""

    def __init__(self, clock: Clock, deadlines: Deadlines) -> None:
        self._clock = clock
        self._timers = deadlines.line()
        self._open: dict[bytes, OpenCall] = {}

    def start(self, peer: Peer, call: Call, deadline_at: float, done: Answered) -> None:
        """Ask `peer`; without a link `done(None)` comes at once, for a live question is never delivered late."""
        if peer.exchange is None:
            done(None)
            return
        timer = self._timers.add(deadline_at, lambda: self._expire(call.id))
        self._open[call.id] = OpenCall(call, peer, deadline_at, done, timer)
        peer.exchange.send_call(call)

    def cancel(self, call_id: bytes) -> None:
        """Stop waiting and tell the peer; `done` is not called."""
        waiting = self._open.pop(call_id, None)
        if waiting is not None:
            waiting.timer.cancel()
            self._tell_cancelled(waiting)

    def on_answer(self, peer: Peer, answer: Answer) -> None:
        """Match an answer; one that nobody waits for, or of another peer than the asked one, is ignored."""
        waiting = self._open.get(answer.id)
        if waiting is not None and waiting.peer is peer:
            del self._open[answer.id]
            waiting.timer.cancel()
            _finish(waiting, answer)

    def repeat(self, peer: Peer) -> None:
        """A new link is up: ask again what is still open, with the time that is left."""
        now = self._clock.monotonic()
        for waiting in list(self._open.values()):
            if waiting.peer is peer and peer.exchange is not None:
                left_ms = max(1, int((waiting.deadline_at - now) * 1000))
                waiting.call = msgspec.structs.replace(waiting.call, deadline_ms=left_ms)
                peer.exchange.send_call(waiting.call)

    def is_open(self, call_id: bytes) -> bool:
        """Whether a question of that id waits for its answer."""
        return call_id in self._open

    def open_of(self, peer: Peer) -> int:
        """How many questions wait for this peer."""
        return sum(1 for waiting in self._open.values() if waiting.peer is peer)

    def _expire(self, call_id: bytes) -> None:
        waiting = self._open.pop(call_id, None)
        if waiting is not None:
            self._tell_cancelled(waiting)
            _finish(waiting, None)

    def _tell_cancelled(self, waiting: OpenCall) -> None:
        if waiting.peer.exchange is not None:
            waiting.peer.exchange.send_cancel(waiting.call.id)


def _finish(waiting: OpenCall, answer: Answer | None) -> None:
    """Tell who asked. A fault of theirs is theirs alone: the answers behind this one in the frame are still taken."""
    status = "TIMED_OUT" if answer is None else _status_name(answer.status)
    metrics.child(metrics.calls, waiting.peer.label, status).inc()
    try:
        waiting.done(answer)
    except Exception:  # the edge: it is reported, and whoever else waits is not left hanging
        log.exception("call_outcome_not_taken", peer=waiting.peer.label, message_id=waiting.call.id.hex())


def _status_name(status: int) -> str:
    """A bounded label, whatever number the peer sent."""
    return _STATUS_NAMES.get(status, "OTHER")


_STATUS_NAMES: dict[int, str] = {status.value: status.name for status in AnswerStatus}


Respond = Callable[[int, bytes], None]
"""Gives the answer's status and body; called at most once."""

Service = Callable[[Peer, Call, float, Respond], None]
"""Answers a call of a peer: (who asks, the call, monotonic deadline, where the answer goes)."""


@dataclass(slots=True)
class _Remembered:
    """An incoming call: `answer` is None while its service works.

    `owed` are the links that it came by since the last answer, each as often as it did. An answer goes to each of
    them, and to no other: the asker paid with credit on that link, and gets it back with the answer.
    """

    key: tuple[str, bytes]
    bucket: int
    owed: "list[Exchange]"
    answer: Answer | None = None

    @property
    def cost(self) -> int:
        return ENTRY_COST + (len(self.answer.body) if self.answer is not None else 0)


@dataclass(slots=True)
class _Memory:
    """What is remembered for one peer, the oldest first, and what that costs."""

    calls: dict[bytes, _Remembered] = field(default_factory=dict)
    held: int = 0


class IncomingCalls:
    """The questions we were asked, by (peer, id). Every one is answered, or the asker's credit would leak away."""

    def __init__(self, clock: Clock, deadlines: Deadlines, services: dict[int, Service]) -> None:
        self._clock = clock
        self._deadlines = deadlines
        self._services = services
        self._memory: dict[str, _Memory] = {}
        self._expiring: dict[int, dict[tuple[str, bytes], None]] = {}

    def on_call(self, exchange: "Exchange", call: Call) -> None:
        """Answer it, or give a repeat the answer that the first one got."""
        label = exchange.peer.label
        memory = self._memory.get(label)
        if memory is None:
            memory = self._memory[label] = _Memory()
        known = memory.calls.get(call.id)
        if known is not None:
            known.owed.append(exchange)
            _send(known)
            return
        deadline_at = self._clock.monotonic() + call.deadline_ms / 1000
        key = (label, call.id)
        known = memory.calls[call.id] = _Remembered(
            key, self._forget_later(key, deadline_at + REMEMBERED_S), [exchange]
        )
        memory.held += ENTRY_COST
        self._serve(known, call, deadline_at)

    def remembered(self, label: str) -> int:
        """How many calls of a peer are remembered."""
        memory = self._memory.get(label)
        return 0 if memory is None else len(memory.calls)

    def _serve(self, known: _Remembered, call: Call, deadline_at: float) -> None:
        service = self._services.get(call.service)
        if service is None:
            self._answer(known, AnswerStatus.MALFORMED, b"unknown service")
            return
        try:
            service(known.owed[0].peer, call, deadline_at, lambda status, body: self._answer(known, status, body))
        except Exception:  # the edge: a fault of one service is answered, and the calls behind it are served
            log.exception("call_failed", peer=known.key[0], message_id=call.id.hex(), service=call.service)
            self._answer(known, AnswerStatus.NO_ANSWER, b"internal error")

    def _answer(self, known: _Remembered, status: int, body: bytes) -> None:
        if known.answer is not None:
            return
        known.answer = Answer(known.key[1], status, body)
        memory = self._memory.get(known.key[0])
        if memory is not None and memory.calls.get(known.key[1]) is known:
            memory.held += len(body)
            if memory.held > REMEMBERED_BYTES:
                self._make_room(memory)
        _send(known)

    def _make_room(self, memory: _Memory) -> None:
        """Forget the oldest answers beyond the bound; what waits for its answer stays, its number is the credit's."""
        for call_id in list(memory.calls):
            if memory.calls[call_id].answer is not None:
                known = self._drop(memory, call_id)
                self._expiring[known.bucket].pop(known.key, None)
            if memory.held <= REMEMBERED_BYTES * 7 // 8:  # a margin, so that not every further answer looks again
                return

    def _drop(self, memory: _Memory, call_id: bytes) -> _Remembered:
        known = memory.calls.pop(call_id)
        memory.held -= known.cost
        return known

    def _forget_later(self, key: tuple[str, bytes], at: float) -> int:
        bucket = int(at // BUCKET_S) + 1
        keys = self._expiring.get(bucket)
        if keys is None:
            keys = self._expiring[bucket] = {}
            self._deadlines.add(bucket * BUCKET_S, lambda: self._forget(bucket))
        keys[key] = None
        return bucket

    def _forget(self, bucket: int) -> None:
        for label, call_id in self._expiring.pop(bucket):
            memory = self._memory[label]
            self._drop(memory, call_id)
            if not memory.calls:
                del self._memory[label]


def _send(known: _Remembered) -> None:
    if known.answer is not None:
        owed, known.owed = known.owed, []
        for exchange in owed:
            if exchange.is_up:
                exchange.send_answer(known.answer)
