"""What runs over one link that is up: each event of the connection goes to the part that knows what to do with it.

This is the last stop of the newcomer's path: cli -> daemon -> peering/link -> protocol/connection -> here. Calls and
answers are handled at once, in plain functions; bulk waits in a queue for the link's turn (`step`), which also makes
what we send: first what came in, then a ledger batch or a feed chunk, as long as the link takes it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from roamd import metrics
from roamd.clock import Clock
from roamd.log import get_logger
from roamd.model.routes import FEEDS, LEDGER
from roamd.protocol import events
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.flow import Pattern
from roamd.protocol.messages import Answer, Call, FeedAck, Mark, Receipt
from roamd.roaming.calls import IncomingCalls, OutgoingCalls
from roamd.roaming.cursors import CursorSeal
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.follower import Follower, Judge, Landed, Taken
from roamd.roaming.inflow import Bulk, Inflow, Settle
from roamd.roaming.ledger.author import Author, is_known, is_ours
from roamd.roaming.ledger.chain import Random
from roamd.roaming.ledger.forgetting import look_back
from roamd.roaming.ledger.marks import own_head_shown
from roamd.roaming.ledger.mending import is_recovering
from roamd.roaming.ledger.receiver import Receiver, Take
from roamd.roaming.ledger.rollback import Rollback
from roamd.roaming.ledger.signer import Signer
from roamd.roaming.projections import Projections
from roamd.roaming.publisher import Publisher
from roamd.storage.store import Store

log = get_logger()

QUEUED_BULK = 256 * 1024
"""Bytes of one bulk lane that may wait in the outbox; more would only be memory."""


class LinkPort(Protocol):
    """The link as the services see it (implemented by `peering.link.Link`). Nothing here blocks or raises.

    `wake` asks for a turn, in which `Exchange.step` is called; `start` runs something for as long as the link lives.
    """

    def send_calls(self, calls: list[Call]) -> None: ...
    def send_answers(self, answers: list[Answer]) -> None: ...
    def send_cancels(self, ids: list[bytes]) -> None: ...
    def send_ledger(self, payload: bytes) -> None: ...
    def send_feed(self, payload: bytes) -> None: ...
    def send_receipts(self, receipts: list[Receipt]) -> None: ...
    def send_feed_acks(self, acks: list[FeedAck]) -> None: ...
    def waiting(self, pattern: Pattern) -> int: ...
    def grant(self, pattern: Pattern, amount: int) -> None: ...
    def close(self, code: int, reason: str, until_ms: int = 0) -> None: ...
    def wake(self) -> None: ...
    def start(self, function: Callable[[], Awaitable[None]]) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that all exchanges share; made once by the composition root.

    After a commit that the backend has events of, one of three is called, since little else follows from two of them:
    `entries_taken` when a peer's chain grew, `records_settled` when a receipt came, `events_written` for all else.
    """

    store: Store
    clock: Clock
    directory: Directory
    outgoing: OutgoingCalls
    incoming: IncomingCalls
    seal: CursorSeal
    signer: Signer
    run_id: bytes
    random: Random
    take: Take
    events_written: Callable[[], None]
    entries_taken: Callable[[], None]
    records_settled: Callable[[], None]
    taken: Mapping[str, Taken]
    judged: Mapping[str, Judge]
    projections: Projections
    landed: Mapping[str, Landed]
    noted: Mapping[str, Taken]


class Exchange:
    """All patterns over one link."""

    def __init__(self, peer: Peer, link: LinkPort, parts: Parts, marks: list[Mark]) -> None:
        self.peer = peer
        self.is_up = True
        self._link = link
        self._parts = parts
        self._marks = marks
        self._shown = own_head_shown(marks)
        self._due = True
        self._inflow = Inflow(parts.store, self._take_bulk, self._took_bulk, self._found_room, link.start)
        self._held: list[tuple[Bulk, Settle]] | None = []
        self._author_begins: Callable[[], None] | None = None
        self.publisher = Publisher(peer, parts.store, parts.directory, parts.seal, parts.run_id, parts.projections)
        self.author = Author(
            peer, parts.store, parts.signer, parts.clock, parts.records_settled, self._close, self._inflow.wait_for_room
        )
        self._follower = Follower(
            peer, parts.store, parts.clock, self._send_feed_ack, parts.events_written, self._close, parts.taken,
            parts.judged, parts.landed, parts.noted,
        )  # fmt: skip
        self._receiver = Receiver(
            peer, parts.store, parts.signer, parts.clock, parts.take, self._send_receipt, self._took, link.close
        )

    def begin_run(self) -> None:
        """This is the first link to a run of the peer: has either side forgotten what stands receipted?"""
        look_back(self.peer, self._parts.store, self._parts.signer, self._marks)

    # --- what comes in ------------------------------------------------------------------------------------------

    def on_event(self, event: events.Event) -> None:
        """Take one event of the connection. ProtocolError ends the link."""
        match event:
            case events.Calls(calls):
                for call in calls:
                    self._parts.incoming.on_call(self, call)
            case events.Answers(answers):
                for answer in answers:
                    self._parts.outgoing.on_answer(self.peer, answer)
            case events.SkewMeasured(skew_ms):
                self.peer.skew_ms = round(skew_ms)
                metrics.clock_skew_seconds.put((self.peer.label,), skew_ms / 1000)
            case events.Cancels():
                pass  # the backend has been asked, and the call is answered all the same, for its credit's sake
            case _:
                self._on_bulk_event(event)

    def _on_bulk_event(self, event: events.Event) -> None:
        match event:
            case events.BulkLedger() | events.BulkFeed():
                self._inflow.add(event)
                self.wake()
            case events.Receipts(receipts):
                # Receipts are cumulative: the last one of a frame settles what the others of its epoch do.
                for receipt in {receipt.epoch: receipt for receipt in receipts}.values():
                    self.author.on_receipt(receipt)
            case events.FeedAcks(acks):
                if self.publisher.on_acks(acks):
                    self.wake()
            case _:
                self.wake()  # CreditArrived: the next turn looks how much there is

    def _take_bulk(self, bulk: Bulk, settle: Settle) -> None:
        if isinstance(bulk, events.BulkFeed):
            self._follower.on_chunk(bulk.payload, settle)
        elif self._held is not None:
            self._held.append((bulk, settle))
        else:
            self._receiver.on_batch(bulk.payload, settle)

    def _took_bulk(self, bulk: Bulk) -> None:
        if self.is_up:
            self._link.grant(Pattern.LEDGER if isinstance(bulk, events.BulkLedger) else Pattern.FEEDS, bulk.cost)

    def _found_room(self) -> None:
        self.author.keep_again()
        self.wake()

    # --- bulk ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The link is up: mend a rollback if there is one, then move bulk both ways, turn by turn."""
        self._follow()
        shown, parts = self._shown, self._parts
        if shown is not None and not is_ours(parts.signer, self.peer, shown):
            log.warning("unsigned_claim_ignored", peer=self.peer.label, claimed_sequence=shown.sequence)
            shown = None
        if self._must_mend(shown):
            self._link.start(lambda: self._mend(shown))
        else:
            self._begin_authoring(shown)

    def _follow(self) -> None:
        """Follow the peer's feeds over the link that stays. One that was passed over meanwhile has gaps, and ends."""
        if self.peer.carrier(FEEDS) is not self or self.peer.follower is self._follower:
            return
        if self._follower.began:
            self._close(GoodbyeCode.INTERNAL, "the feeds were followed over another link meanwhile")
        else:
            self._follower.begin()

    async def _mend(self, shown: Mark | None) -> None:
        parts = self._parts
        rollback = Rollback(self.peer, parts.store, parts.clock, parts.outgoing, parts.random)
        async with self.peer.mending:  # links by several routes come up together, and there is one chain
            if not self._must_mend(shown):
                pass
            elif shown is not None:
                await rollback.mend(shown)
            else:
                await rollback.give_up()
        self._begin_authoring(shown)

    def _begin_authoring(self, shown: Mark | None) -> None:
        self._release()
        self._author_begins = lambda: self.author.begin(shown)
        self.carry()

    def carry(self) -> None:
        """What goes over this link and what over another may have changed: only one of them is written on.

        The newly chosen one begins behind what is receipted, so whatever was under way on the other is sent again.
        """
        chosen = self.peer.carrier(LEDGER) is self
        if not chosen:
            self.author.sending = False
        elif self._author_begins is not None and not self.author.sending:
            self._author_begins()
        self.wake()

    def _must_mend(self, shown: Mark | None) -> bool:
        """We do not know what we signed; or we did not, and a crash came before all of it was mended."""
        is_new = shown is not None and not is_known(self._parts.store, self.peer, shown)
        return is_new or self._is_recovering()

    def _is_recovering(self) -> bool:
        return self._parts.store.read(lambda cx: is_recovering(cx, self.peer.label))

    def _release(self) -> None:
        """What the peer's ledger says of our records can be taken now that we know them again."""
        held, self._held = self._held or [], None
        for bulk, settle in held:
            self._receiver.on_batch(bulk.payload, settle)

    def step(self) -> bool:
        """One payload in, one out, of each kind; whether there may be more to do. ProtocolError ends the link.

        What has no room in the outbox waits for a later turn, and credit for the outbox brings one.
        """
        if not self._due:
            return False
        self._follow()
        self._inflow.step()
        more, full = self._inflow.is_due, False
        if self._link.waiting(Pattern.LEDGER) >= QUEUED_BULK:
            full = True
        elif (payload := self.author.next_batch()) is not None:
            self._link.send_ledger(payload)
            more = True
        if self._link.waiting(Pattern.FEEDS) >= QUEUED_BULK:
            full = True
        elif (payload := self.publisher.next_chunk()) is not None:
            self._link.send_feed(payload)
            more = more or self.publisher.is_due
        self._due = more or full
        return more

    def wake(self) -> None:
        """There may be something to send."""
        self._due = True
        self._link.wake()

    def rights_changed(self) -> None:
        """Another agreement rules: feeds that it has more are followed, those that the peer was sent are replaced."""
        if self.peer.follower is self._follower:
            self._follower.follow()
        self.wake()

    def ledger_grew(self) -> None:
        """Our chain towards the peer has new entries."""
        self.author.behind = True
        self.wake()

    def published(self, feed: str) -> None:
        """Something was published in a feed."""
        self.publisher.wake(feed)
        self.wake()

    def down(self) -> None:
        """The link has ended: nothing is sent over it any more."""
        self.is_up = False

    # --- what goes out ------------------------------------------------------------------------------------------

    def send_call(self, call: Call) -> None:
        """A question."""
        self._link.send_calls([call])

    def send_answer(self, answer: Answer) -> None:
        """An answer."""
        self._link.send_answers([answer])

    def send_cancel(self, call_id: bytes) -> None:
        """We no longer wait for this call."""
        self._link.send_cancels([call_id])

    def _send_receipt(self, receipt: Receipt) -> None:
        if self.is_up:
            self._link.send_receipts([receipt])

    def _send_feed_ack(self, ack: FeedAck) -> None:
        if self.is_up:
            self._link.send_feed_acks([ack])

    def _close(self, code: int, reason: str) -> None:
        if self.is_up:
            self._link.close(code, reason)

    def _took(self, wrote: bool) -> None:
        """The peer's entries are in effect; our refusals of some may want to be sent."""
        self._parts.entries_taken()
        if wrote:
            self.ledger_grew()
