"""The pattern *call*: a question with a deadline and one answer (DESIGN section 3).

Guarantees: `done` is called exactly once per started call, at the latest at its deadline. A call whose link falls
stays open, and is repeated by its id on the next link with what is left of its time; the asked side remembers ids
until their deadline and a minute, so that a repeat gets the same answer and is never asked of a backend twice.
What is remembered for one peer is bounded: beyond `REMEMBERED_BYTES` its oldest answers are forgotten early.

An answer is remembered as two strings of bytes, in one dictionary for all that are forgotten together: what a busy
daemon holds most of is then nothing that the cycle collector would have to walk.
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
"""Of one peer's answers, counted with `ENTRY_COST` each: some 50,000 authorizations. A repeat comes within seconds."""

ENTRY_COST = 256
"""About what an id, its answer's head and its place in the table cost in memory."""

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
class _Open:
    """An incoming call that its service works on.

    `owed` are the links that it came by, each as often as it did. An answer goes to each of them, and to no other: the
    asker paid with credit on that link, and gets it back with the answer.
    """

    label: str
    id: bytes
    bucket: int
    owed: "list[Exchange]"
    answered: bool = False


@dataclass(slots=True)
class _Memory:
    """What is known of one peer's calls: those that are open, and answers by the bucket in which they are forgotten.

    An answer is kept as its status in one byte, and its body behind it. `held` is what all answers cost.
    """

    open: dict[bytes, _Open] = field(default_factory=dict)
    answers: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    held: int = 0

    def find(self, call_id: bytes) -> Answer | None:
        """The answer that this call got."""
        for answers in self.answers.values():
            kept = answers.get(call_id)
            if kept is not None:
                return Answer(call_id, kept[0], kept[1:])
        return None

    def keep(self, bucket: int, answer: Answer) -> None:
        """Remember an answer, within the bound."""
        self.answers.setdefault(bucket, {})[answer.id] = bytes((answer.status,)) + answer.body
        self.held += ENTRY_COST + len(answer.body)
        if self.held > REMEMBERED_BYTES:
            self._make_room()

    def _make_room(self) -> None:
        """Forget the answers that would be the next to go, and some more, so that not every further one looks again."""
        for bucket in sorted(self.answers):
            answers, gone = self.answers[bucket], []
            for call_id, kept in answers.items():
                if self.held <= REMEMBERED_BYTES * 7 // 8:
                    break
                self.held -= _cost(kept)
                gone.append(call_id)
            for call_id in gone:
                del answers[call_id]
            if answers:
                return
            del self.answers[bucket]

    def forget(self, bucket: int) -> None:
        """The time of a bucket has come."""
        self.held -= sum(map(_cost, self.answers.pop(bucket, {}).values()))
        for call in [call for call in self.open.values() if call.bucket == bucket]:
            del self.open[call.id]


def _cost(kept: bytes) -> int:
    return ENTRY_COST + len(kept) - 1


class IncomingCalls:
    """The questions we were asked, by (peer, id). Every one is answered, or the asker's credit would leak away."""

    def __init__(self, clock: Clock, deadlines: Deadlines, services: dict[int, Service]) -> None:
        self._clock = clock
        self._deadlines = deadlines
        self._services = services
        self._memory: dict[str, _Memory] = {}
        self._buckets: set[int] = set()

    def on_call(self, exchange: "Exchange", call: Call) -> None:
        """Answer it, or give a repeat the answer that the first one got."""
        label = exchange.peer.label
        memory = self._memory.get(label)
        if memory is None:
            memory = self._memory[label] = _Memory()
        under_way = memory.open.get(call.id)
        if under_way is not None:
            under_way.owed.append(exchange)
            return
        answer = memory.find(call.id)
        if answer is not None:
            _send(answer, exchange)
            return
        deadline_at = self._clock.monotonic() + call.deadline_ms / 1000
        known = memory.open[call.id] = _Open(label, call.id, self._bucket_of(deadline_at + REMEMBERED_S), [exchange])
        self._serve(known, call, deadline_at)

    def remembered(self, label: str) -> int:
        """How many calls of a peer are remembered."""
        memory = self._memory.get(label)
        return 0 if memory is None else len(memory.open) + sum(map(len, memory.answers.values()))

    def _serve(self, known: _Open, call: Call, deadline_at: float) -> None:
        service = self._services.get(call.service)
        if service is None:
            self._answer(known, AnswerStatus.MALFORMED, b"unknown service")
            return
        try:
            service(known.owed[0].peer, call, deadline_at, lambda status, body: self._answer(known, status, body))
        except Exception:  # the edge: a fault of one service is answered, and the calls behind it are served
            log.exception("call_failed", peer=known.label, message_id=call.id.hex(), service=call.service)
            self._answer(known, AnswerStatus.NO_ANSWER, b"internal error")

    def _answer(self, known: _Open, status: int, body: bytes) -> None:
        if known.answered:
            return
        known.answered = True
        answer = Answer(known.id, status, body)
        memory = self._memory.get(known.label)
        if memory is not None and memory.open.get(known.id) is known:
            del memory.open[known.id]
            memory.keep(known.bucket, answer)
        for exchange in known.owed:
            _send(answer, exchange)

    def _bucket_of(self, at: float) -> int:
        bucket = int(at // BUCKET_S) + 1
        if bucket not in self._buckets:
            self._buckets.add(bucket)
            self._deadlines.add(bucket * BUCKET_S, lambda: self._forget(bucket))
        return bucket

    def _forget(self, bucket: int) -> None:
        self._buckets.discard(bucket)
        for label, memory in list(self._memory.items()):
            memory.forget(bucket)
            if not memory.open and not memory.answers:
                del self._memory[label]


def _send(answer: Answer, exchange: "Exchange") -> None:
    if exchange.is_up:
        exchange.send_answer(answer)
