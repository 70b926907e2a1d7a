"""From a checked frame of an established link to an event, with everything that bounds what a peer can make us hold."""

from collections.abc import Callable
from typing import Final

from roamd.errors import ProtocolError
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.events import (
    Answers,
    BulkFeed,
    BulkLedger,
    Calls,
    Cancels,
    CreditArrived,
    Event,
    ExtensionReceived,
    FeedAcks,
    Receipts,
)
from roamd.protocol.flow import SLACK, Allowance, Pattern, ReceiveCredit, Solicited, bulk_cost
from roamd.protocol.frames import MAX_JOINED, Frame, FrameType
from roamd.protocol.messages import decode
from roamd.protocol.outbox import Outbox


class Joiner:
    """Joins the fragments of one bulk lane; a peer holds at most one unfinished payload per lane."""

    __slots__ = ("_cost", "_parts", "_size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._cost = 0

    def add(self, payload: bytes, more: bool) -> tuple[bytes, int] | None:
        """The whole payload and what it cost, when this was its last fragment. ProtocolError over the limit."""
        self._size += len(payload)
        self._cost += bulk_cost(len(payload))
        if self._size > MAX_JOINED:
            raise ProtocolError(GoodbyeCode.TOO_LARGE, f"A bulk payload has more than {MAX_JOINED} bytes.")
        self._parts.append(payload)
        if more:
            return None
        whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        cost, self._parts, self._size, self._cost = self._cost, [], 0, 0
        return whole, cost


class Inbox:
    """The receiving half of an established link."""

    __slots__ = ("_allowance", "_cancels_due", "_extensions", "_joiners", "_outbox", "credits")

    def __init__(self, outbox: Outbox, windows: list[int], extensions: frozenset[int], now: float) -> None:
        self._outbox = outbox
        self._extensions = extensions
        self.credits = {pattern: ReceiveCredit(pattern, windows[pattern]) for pattern in Pattern}
        self._cancels_due = Solicited("cancellations")
        self._joiners = {Pattern.LEDGER: Joiner(), Pattern.FEEDS: Joiner()}
        self._allowance = Allowance(now)
        outbox.receipts_due.expect(SLACK)
        outbox.acks_due.expect(SLACK)

    def event(self, frame: Frame, now: float) -> Event | None:
        """What the frame says, None when it says nothing (yet). ProtocolError when it breaks a rule."""
        handler = _HANDLERS.get(frame.type)
        if handler is None:
            return self._extension(frame, now)
        return handler(self, frame)

    def spend_allowance(self, now: float) -> None:
        """One of the frames that nothing else pays for."""
        self._allowance.spend(now)

    def credit(self, frame: Frame, now: float) -> Event | None:
        """Credit of the peer; patterns that we do not know are left alone."""
        raised: set[Pattern] = set()
        paid = False
        for credit in decode(FrameType.CREDIT, frame.payload):
            of_pattern = self._outbox.credits.get(credit.pattern)
            if of_pattern is None:
                continue
            paid = paid or of_pattern.pays_for(credit.limit)
            if of_pattern.raise_to(credit.limit):
                raised.add(Pattern(credit.pattern))
        if not paid:
            self.spend_allowance(now)
        return CreditArrived(frozenset(raised)) if raised else None

    def on_calls(self, frame: Frame) -> Event:
        """Paid by the credit that we granted; each may be cancelled once."""
        calls = decode(FrameType.CALL, frame.payload)
        self.credits[Pattern.CALLS].charge(len(calls))
        self._cancels_due.expect(len(calls))
        return Calls(calls)

    def on_answers(self, frame: Frame) -> Event:
        """Each was asked for by a call."""
        answers = decode(FrameType.ANSWER, frame.payload)
        self._outbox.answers_due.take(len(answers))
        return Answers(answers)

    def on_cancels(self, frame: Frame) -> Event:
        """Each belongs to a call that came."""
        cancels = decode(FrameType.CANCEL, frame.payload)
        self._cancels_due.take(len(cancels))
        return Cancels([cancel.id for cancel in cancels])

    def on_receipts(self, frame: Frame) -> Event:
        """At most one for each batch that we sent."""
        receipts = decode(FrameType.RECEIPT, frame.payload)
        self._outbox.receipts_due.take(len(receipts))
        return Receipts(receipts)

    def on_acks(self, frame: Frame) -> Event:
        """At most one for each chunk that we sent, and those that begin to follow."""
        acks = decode(FrameType.FEED_ACK, frame.payload)
        self._outbox.acks_due.take(len(acks))
        return FeedAcks(acks)

    def on_ledger(self, frame: Frame) -> Event | None:
        """A batch, when its last fragment came; it stays packed."""
        whole = self._bulk(Pattern.LEDGER, frame)
        return BulkLedger(*whole) if whole else None

    def on_feed(self, frame: Frame) -> Event | None:
        """A chunk, when its last fragment came; it stays packed."""
        whole = self._bulk(Pattern.FEEDS, frame)
        return BulkFeed(*whole) if whole else None

    def _bulk(self, pattern: Pattern, frame: Frame) -> tuple[bytes, int] | None:
        self.credits[pattern].charge(bulk_cost(len(frame.payload)))
        return self._joiners[pattern].add(bytes(frame.payload), frame.more)

    def _extension(self, frame: Frame, now: float) -> Event | None:
        self.spend_allowance(now)
        return ExtensionReceived(frame.type, bytes(frame.payload)) if frame.type in self._extensions else None


_HANDLERS: Final[dict[int, Callable[[Inbox, Frame], Event | None]]] = {
    FrameType.CALL: Inbox.on_calls,
    FrameType.ANSWER: Inbox.on_answers,
    FrameType.CANCEL: Inbox.on_cancels,
    FrameType.RECEIPT: Inbox.on_receipts,
    FrameType.FEED_ACK: Inbox.on_acks,
    FrameType.LEDGER_BATCH: Inbox.on_ledger,
    FrameType.FEED_CHUNK: Inbox.on_feed,
}
