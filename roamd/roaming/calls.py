"""The pattern *call*: a question with a deadline and one answer (DESIGN section 3).

Guarantees: `done` is called exactly once per started call, at the latest at its deadline. A call whose link falls
stays open, and is repeated by its id on the next link with what is left of its time; the asked side remembers ids
until their deadline and a minute, so that a repeat gets the same answer and is never asked of a backend twice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from roamd.clock import Clock
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming.deadlines import Deadlines, Timer
from roamd.roaming.directory import Peer

if TYPE_CHECKING:
    from roamd.roaming.dispatch import Exchange

REMEMBERED_S = 60.0
"""How long after its deadline an incoming call's answer is kept for a repeat (DESIGN section 3)."""

BUCKET_S = 15.0
"""Answers are forgotten in buckets of this width: one timer a bucket instead of one a call."""

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
        self._deadlines = deadlines
        self._open: dict[bytes, OpenCall] = {}

    def start(self, peer: Peer, call: Call, deadline_at: float, done: Answered) -> None:
        """Ask `peer`; without a link `done(None)` comes at once, for a live question is never delivered late."""
        if peer.exchange is None:
            done(None)
            return
        timer = self._deadlines.add(deadline_at, lambda: self._expire(call.id))
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
            waiting.done(answer)

    def repeat(self, peer: Peer) -> None:
        """A new link is up: ask again what is still open, with the time that is left."""
        now = self._clock.monotonic()
        for waiting in self._open.values():
            if waiting.peer is peer and peer.exchange is not None:
                left_ms = max(1, int((waiting.deadline_at - now) * 1000))
                waiting.call = msgspec.structs.replace(waiting.call, deadline_ms=left_ms)
                peer.exchange.send_call(waiting.call)

    def open_of(self, peer: Peer) -> int:
        """How many questions wait for this peer."""
        return sum(1 for waiting in self._open.values() if waiting.peer is peer)

    def _expire(self, call_id: bytes) -> None:
        waiting = self._open.pop(call_id, None)
        if waiting is not None:
            self._tell_cancelled(waiting)
            waiting.done(None)

    def _tell_cancelled(self, waiting: OpenCall) -> None:
        if waiting.peer.exchange is not None:
            waiting.peer.exchange.send_cancel(waiting.call.id)


Respond = Callable[[int, bytes], None]
"""Gives the answer's status and body; called at most once."""

Service = Callable[[Peer, Call, float, Respond], None]
"""Answers a call of a peer: (who asks, the call, monotonic deadline, where the answer goes)."""


@dataclass(slots=True)
class _Remembered:
    """An incoming call: `answer` is None while its service works; `exchange` is the link that it last came by.

    The answer goes there and nowhere else: on any other link nobody is owed one.
    """

    answer: Answer | None
    exchange: "Exchange"


class IncomingCalls:
    """The questions we were asked, by (peer, id). Every one is answered, or the asker's credit would leak away."""

    def __init__(self, clock: Clock, deadlines: Deadlines, services: dict[int, Service]) -> None:
        self._clock = clock
        self._deadlines = deadlines
        self._services = services
        self._remembered: dict[tuple[str, bytes], _Remembered] = {}
        self._expiring: dict[int, list[tuple[str, bytes]]] = {}

    def on_call(self, exchange: "Exchange", call: Call) -> None:
        """Answer it, or give a repeat the answer that the first one got."""
        key = (exchange.peer.label, call.id)
        known = self._remembered.get(key)
        if known is not None:
            known.exchange = exchange
            _send(known)
            return
        self._remembered[key] = _Remembered(None, exchange)
        deadline_at = self._clock.monotonic() + call.deadline_ms / 1000
        self._forget_later(key, deadline_at + REMEMBERED_S)
        self._serve(key, call, deadline_at)

    def _serve(self, key: tuple[str, bytes], call: Call, deadline_at: float) -> None:
        service = self._services.get(call.service)
        if service is None:
            self._answer(key, AnswerStatus.MALFORMED, b"unknown service")
        else:
            peer = self._remembered[key].exchange.peer
            service(peer, call, deadline_at, lambda status, body: self._answer(key, status, body))

    def _answer(self, key: tuple[str, bytes], status: int, body: bytes) -> None:
        known = self._remembered.get(key)
        if known is not None and known.answer is None:
            known.answer = Answer(key[1], status, body)
            _send(known)

    def _forget_later(self, key: tuple[str, bytes], at: float) -> None:
        bucket = int(at // BUCKET_S) + 1
        keys = self._expiring.get(bucket)
        if keys is None:
            keys = self._expiring[bucket] = []
            self._deadlines.add(bucket * BUCKET_S, lambda: self._forget(bucket))
        keys.append(key)

    def _forget(self, bucket: int) -> None:
        for key in self._expiring.pop(bucket):
            self._remembered.pop(key, None)


def _send(known: _Remembered) -> None:
    if known.answer is not None and known.exchange.is_up:
        known.exchange.send_answer(known.answer)
