"""Everything that waits to be sent, and the order in which it goes.

Control first, then cancellations, answers and calls, all of them in full; then bulk, at most so much per flush, ledger
and feeds 3 to 1 while both wait. So what a driver of the other company waits for is never behind more than one flush of
bulk, and the next flush begins with the upper lanes again. Small messages of a kind are encoded together, one encode
per frame. Calls and bulk wait here while the peer has not given credit; the queues are bounded, so a peer that
stops reading costs a bounded amount.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from roamd.protocol.flow import Pattern, SendCredit, Solicited, bulk_cost
from roamd.protocol.frames import FRAGMENT, HEADER_SIZE, MAX_JOINED, RULES, FrameType, FrameWriter, Lane
from roamd.protocol.messages import MANY, MAX_CALL_BODY, Answer, Call, Cancel, encode_many

MAX_CALLS_WAITING: Final = 4096  # without credit; a live question is worth little after that many
MAX_BULK_WAITING: Final = 4 * 1024 * 1024  # bytes per bulk lane; who produces looks at `waiting` long before
MAX_SMALL_WAITING: Final = 65536  # messages; their number is tied to what the peer sent, so this is the last resort
_WEIGHTS: Final = {Lane.LEDGER: 3, Lane.FEEDS: 1}
_SMALL: Final = (FrameType.PONG, FrameType.PING, FrameType.CREDIT, FrameType.FEED_ACK, FrameType.RECEIPT)


class OutboxFullError(RuntimeError):
    """More waits than may: the caller did not look at `waiting`, or the peer stopped reading and the link must end."""


def _check_bodies(messages: Sequence[Call] | Sequence[Answer]) -> None:
    """A body that the peer would refuse is the caller's mistake, and must not surface in the writer."""
    for message in messages:
        if len(message.body) > MAX_CALL_BODY:
            raise ValueError(f"A body of {len(message.body)} bytes is more than {MAX_CALL_BODY}.")


class _BulkLane:
    """One bulk lane's frames. `served` is bytes sent divided by the lane's weight: the lane with less goes next."""

    __slots__ = ("_pieces", "credit", "lane", "served", "type", "waiting")

    def __init__(self, type_: FrameType, credit: SendCredit) -> None:
        self.type = type_
        self.lane = RULES[type_].lane
        self.credit = credit
        self.waiting = 0
        self.served = 0.0
        self._pieces: list[tuple[bytes, bool]] = []  # at most some ninety, and every link has two: no deque

    def push(self, payload: bytes) -> None:
        if self.waiting + len(payload) > MAX_BULK_WAITING:
            raise OutboxFullError(f"More than {MAX_BULK_WAITING} bytes of {self.lane.name} wait.")
        self.waiting += len(payload)
        last = len(payload) - FRAGMENT
        self._pieces.extend((payload[at : at + FRAGMENT], at < last) for at in range(0, len(payload), FRAGMENT))

    def ready(self) -> bool:
        return bool(self._pieces) and bulk_cost(len(self._pieces[0][0])) <= self.credit.left

    def next_size(self) -> int:
        return HEADER_SIZE + len(self._pieces[0][0])

    def pop(self) -> tuple[bytes, bool]:
        piece, more = self._pieces.pop(0)
        self.waiting -= len(piece)
        self.served += len(piece) / _WEIGHTS[self.lane]
        self.credit.spend(bulk_cost(len(piece)))
        return piece, more

    def clear(self) -> None:
        self._pieces.clear()
        self.waiting = 0


class Outbox:
    """The queues of one connection. It numbers the frames too, since their order is decided here."""

    __slots__ = (
        "_answers",
        "_calls",
        "_cancels",
        "_feeds",
        "_frames",
        "_last",
        "_ledger",
        "_small",
        "_writer",
        "acks_due",
        "answers_due",
        "credits",
        "receipts_due",
    )

    def __init__(self) -> None:
        self._writer = FrameWriter()
        self.credits = {pattern: SendCredit() for pattern in Pattern}
        self.answers_due = Solicited("answers")
        self.receipts_due = Solicited("receipts")
        self.acks_due = Solicited("feed acknowledgements")
        self._frames: list[tuple[int, bytes, Lane]] = []
        self._small: dict[FrameType, list[msgspec.Struct]] = {}  # only what waits: an idle link has none
        self._cancels: list[Cancel] = []
        self._answers: list[Answer] = []
        self._calls: list[Call] = []
        self._ledger = _BulkLane(FrameType.LEDGER_BATCH, self.credits[Pattern.LEDGER])
        self._feeds = _BulkLane(FrameType.FEED_CHUNK, self.credits[Pattern.FEEDS])
        self._last: tuple[int, bytes, Lane] | None = None

    # --- putting in ---------------------------------------------------------------------------------------------

    def put_frame(self, type_: int, payload: bytes, lane: Lane = Lane.CONTROL) -> None:
        """A whole frame of the upper lanes, in the order of putting, before all messages."""
        self._frames.append((type_, payload, lane))

    def put_small(self, type_: FrameType, messages: Iterable[msgspec.Struct]) -> None:
        """Control messages. OutboxFullError when the peer has not read for very long."""
        queue = self._small.get(type_, [])
        queue.extend(messages)
        if queue:
            self._small[type_] = queue
        if len(queue) > MAX_SMALL_WAITING:
            raise OutboxFullError(f"More than {MAX_SMALL_WAITING} {type_.name} messages wait.")

    def replace_small(self, type_: FrameType, message: msgspec.Struct) -> None:
        """A message that makes older ones of its type needless."""
        self._small[type_] = [message]

    def put_calls(self, calls: Sequence[Call]) -> None:
        """Calls, all or none of them. They wait for credit; OutboxFullError when too many do."""
        _check_bodies(calls)
        if len(self._calls) + len(calls) > MAX_CALLS_WAITING:
            raise OutboxFullError(f"More than {MAX_CALLS_WAITING} calls wait.")
        self._calls.extend(calls)

    def put_answers(self, answers: Sequence[Answer]) -> None:
        """Answers; they need no credit, their calls had it."""
        _check_bodies(answers)
        self._answers.extend(answers)

    def cancel(self, ids: Iterable[bytes]) -> None:
        """Calls that still wait are taken back; for those that were sent, a Cancel goes."""
        unwanted = set(ids)
        unsent = {call.id for call in self._calls if call.id in unwanted}
        if unsent:
            self._calls = [call for call in self._calls if call.id not in unsent]
        self._cancels.extend(Cancel(id_) for id_ in ids if id_ not in unsent)

    def put_bulk(self, pattern: Pattern, payload: bytes) -> None:
        """A bulk payload. OutboxFullError when too much waits, ValueError when it is too large or empty."""
        if not 0 < len(payload) <= MAX_JOINED:
            raise ValueError(f"A bulk payload has 1 to {MAX_JOINED} bytes, not {len(payload)}.")
        (self._ledger if pattern is Pattern.LEDGER else self._feeds).push(payload)

    def put_last(self, type_: int, payload: bytes) -> None:
        """The frame after which nothing is sent. Answers and receipts still go before it; calls and bulk do not."""
        self._last = (type_, payload, Lane.CONTROL)
        self._calls.clear()
        self._ledger.clear()
        self._feeds.clear()

    def clear(self) -> None:
        """Forget everything: nobody reads it any more."""
        queues: tuple[list[Any], ...] = (self._frames, self._cancels, self._answers, self._calls)
        for queue in queues:
            queue.clear()
        self._small.clear()
        self._ledger.clear()
        self._feeds.clear()
        self._last = None

    # --- looking ------------------------------------------------------------------------------------------------

    def waiting(self, pattern: Pattern) -> int:
        """Calls, or bytes of bulk, that are not sent yet."""
        if pattern is Pattern.CALLS:
            return len(self._calls)
        return (self._ledger if pattern is Pattern.LEDGER else self._feeds).waiting

    def has_data(self) -> bool:
        """Whether `take` would give anything."""
        return bool(
            self._frames
            or self._answers
            or self._cancels
            or (self._calls and self.credits[Pattern.CALLS].left)
            or self._small
            or (self._ledger.waiting and self._ledger.ready())
            or (self._feeds.waiting and self._feeds.ready())
            or self._last
        )

    # --- taking out ---------------------------------------------------------------------------------------------

    def take(self, bulk_limit: int) -> bytes:
        """The frames to send now: the upper lanes in full, then bulk up to the limit."""
        out: list[bytes] = []
        self._take_frames(out)
        if self._small:
            self._take_small(out)
        if self._cancels or self._answers or self._calls:
            self._take_messages(FrameType.CANCEL, self._cancels, out)
            self._take_messages(FrameType.ANSWER, self._answers, out)
            self._take_calls(out)
        if self._ledger.waiting or self._feeds.waiting:
            self._take_bulk(bulk_limit, out)
        if self._last is not None:
            self._frames.append(self._last)
            self._take_frames(out)
            self._last = None
        return b"".join(out)

    def _take_frames(self, out: list[bytes]) -> None:
        if self._frames:
            out.extend(self._writer.frame(type_, payload, lane=lane) for type_, payload, lane in self._frames)
            self._frames.clear()

    def _take_small(self, out: list[bytes]) -> None:
        for type_ in _SMALL:
            if type_ in self._small:
                self._take_messages(type_, self._small.pop(type_), out)

    def _take_messages(self, type_: FrameType, queue: list[Any], out: list[bytes]) -> None:
        if queue:
            rule = RULES[type_]
            payloads = encode_many(queue, rule.max_payload, MANY[type_])
            out.extend(self._writer.frame(type_, payload, lane=rule.lane) for payload in payloads)
            queue.clear()

    def _take_calls(self, out: list[bytes]) -> None:
        credit = self.credits[Pattern.CALLS]
        calls = self._calls[: credit.left]
        del self._calls[: len(calls)]
        credit.spend(len(calls))
        self.answers_due.expect(len(calls))
        self._take_messages(FrameType.CALL, calls, out)

    def _take_bulk(self, limit: int, out: list[bytes]) -> None:
        """At least one frame goes whenever the limit lets any bulk through, or a small limit would starve it."""
        spent = 0
        while lane := self._next_bulk():
            size = lane.next_size()
            if limit <= 0 or (spent and spent + size > limit):
                return
            spent += size
            payload, more = lane.pop()
            out.append(self._writer.frame(lane.type, payload, lane=lane.lane, more=more))
            if not more:
                (self.receipts_due if lane is self._ledger else self.acks_due).expect(1)

    def _next_bulk(self) -> _BulkLane | None:
        """The lane that was served less for its weight. A lane that cannot send saves nothing up meanwhile."""
        ready = [lane for lane in (self._ledger, self._feeds) if lane.ready()]
        if len(ready) == 1:
            idle = self._feeds if ready[0] is self._ledger else self._ledger
            idle.served = max(idle.served, ready[0].served)
        return min(ready, key=lambda lane: lane.served, default=None)
