"""A peer's feeds towards us, over one link: each chunk and its cursor are committed together.

The follower keeps what the publisher shows it, byte for byte, and nothing else. A peer may publish objects of its own
parties only; an object that names another owner, or another key than it is sent under, is refused and logged, and
everything around it goes on. During a replacing snapshot objects carry a new generation; at its end whatever still has
an older one is gone at the publisher, and goes here.

While one link takes another's place both may carry chunks. Only those of the follower that began last are taken: what
is still under way on the other link may be older than what this one has brought.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from roamd import metrics
from roamd.clock import Clock
from roamd.errors import ProtocolError, RoamdError
from roamd.log import get_logger
from roamd.model.agreement import may_follow, not_agreed, owns_party
from roamd.model.keys import ObjectKey
from roamd.model.objects import check_peer_object
from roamd.model.roles import FEED_BY_NUMBER, FEEDS
from roamd.protocol.bulk import ChunkFlag, FeedChunk, FeedItem, unpack_feed_chunk
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.messages import FeedAck
from roamd.roaming.directory import Peer
from roamd.roaming.events import object_event_txn
from roamd.roaming.inflow import Settle
from roamd.storage import feeds, peers
from roamd.storage.feeds import FeedPosition
from roamd.storage.store import Cx, Store

log = get_logger()


FOREIGN = "foreign-party"

Taken = Callable[[Cx, str, FeedItem, int], None]
"""A service's own way to take an object of a peer, in its transaction and in place of the object's event."""


class Judge(Protocol):
    """Why an object cannot have become what a peer sends in its place (its known body, the item); None when it can.

    `replacing`: it is part of a replacing snapshot, perhaps of a publisher whose backup was restored.
    """

    def __call__(self, known: bytes, item: FeedItem, *, replacing: bool) -> str | None: ...


Landed = Callable[[Peer, FeedChunk, Sequence[FeedItem]], None]
"""A chunk is committed: the chunk, and the items of it that were taken. On the loop, also when nothing has changed."""


@dataclass(slots=True)
class Follower:
    """Takes one peer's chunks. `took` is called after a commit that changed something.

    `taken` has the services that do something with a feed's objects beyond keeping them, `judged` those that know
    which change is impossible, `landed` those that hold objects in memory, `noted` those that keep something of an
    object in its transaction beside its event, by feed.
    """

    peer: Peer
    store: Store
    clock: Clock
    send: Callable[[FeedAck], None]
    took: Callable[[], None]
    close: Callable[[int, str], None]
    taken: Mapping[str, Taken] = field(default_factory=dict)
    judged: Mapping[str, Judge] = field(default_factory=dict)
    landed: Mapping[str, Landed] = field(default_factory=dict)
    noted: Mapping[str, Taken] = field(default_factory=dict)
    began: bool = False
    _followed: set[str] = field(default_factory=set)
    _gaps: set[str] = field(default_factory=set)
    _handed_over: dict[str, bytes] = field(default_factory=dict)
    """By feed, the cursor of the chunk that was given to the writer last."""

    def begin(self) -> None:
        """Follow every feed that the agreement lets the peer publish to us, from where we stand."""
        self.began, self.peer.follower = True, self
        self.follow()

    def follow(self) -> None:
        """Follow those that are not followed yet: all at first, later what a new agreement adds."""
        agreement = self.peer.agreement
        new = [row for row in FEEDS.values() if row.name not in self._followed and may_follow(agreement, row.name)]
        if not new:
            return
        cursors = self.store.read(lambda cx: feeds.cursors_of(cx, self.peer.label))
        for row in new:
            self._followed.add(row.name)
            self.send(FeedAck(row.number, cursors.get(row.name, b"")))

    def on_chunk(self, payload: bytes, settle: Settle) -> None:
        """Commit a chunk and acknowledge it; `settle` is told what became of it. ProtocolError ends the link."""
        if self.peer.follower is not self:
            settle(None)
            return
        chunk = unpack_feed_chunk(payload)
        row = FEED_BY_NUMBER.get(chunk.feed)
        if row is None:
            raise ProtocolError(GoodbyeCode.BAD_FEED, f"feed {chunk.feed} is not known here")
        feed = row.name
        if self._is_passed_over(feed, chunk):
            settle(None)
            return
        good = self._good(feed, chunk.items)
        now_ms, follows = self.clock.now_ms(), self._handed_over.get(feed)
        self._handed_over[feed] = chunk.cursor

        def txn(cx: Cx) -> int:
            self._require_next(cx, feed, follows)
            return self._take_txn(cx, feed, chunk, good, now_ms)

        def done(outcome: int | BaseException) -> None:
            if settle(outcome):
                self._finished(feed, chunk, good, outcome)
            else:
                self._handed_over.clear()  # nothing more is handed over until all are back: then the store says

        self.store.submit(txn, done)

    def _is_passed_over(self, feed: str, chunk: FeedChunk) -> bool:
        """A feed that was agreed when it began, and is not any more, may still be on its way. ProtocolError otherwise.

        Should it be agreed again, it begins with a replacing snapshot: what was passed over must not be missed.
        """
        if not may_follow(self.peer.agreement, feed):
            if feed not in self._followed:
                reason = not_agreed(self.peer.agreement, f"feeds.{feed}")
                raise ProtocolError(GoodbyeCode.BAD_FEED, reason)
            self._gaps.add(feed)
        elif chunk.flags & ChunkFlag.REPLACING_FIRST:
            self._gaps.discard(feed)
        return feed in self._gaps

    def _require_next(self, cx: Cx, feed: str, follows: bytes | None) -> None:
        """A chunk counts only behind the one that came before it: its cursor vouches for that one's objects, too.

        And not behind the peer's removal, or its cursor would vouch, when the two pair again, for what went with it.
        """
        if peers.is_removed(cx, self.peer.label):
            raise ProtocolError(GoodbyeCode.REMOVED, "the peer was removed meanwhile")
        if follows is not None and feeds.get_cursor(cx, self.peer.label, feed).cursor != follows:
            raise ProtocolError(GoodbyeCode.INTERNAL, "the chunk before this one could not be stored")

    def _good(self, feed: str, items: Sequence[FeedItem]) -> list[FeedItem]:
        """The items that may be believed; bad ones are left out, and the feed goes on.

        Those of a chunk are logged in one line for each reason: thousands travel in fifty bytes.
        """
        good: list[FeedItem] = []
        refused: dict[str, int] = {}
        for item in items:
            reason = self._why_not(feed, item)
            if reason is None:
                good.append(item)
            else:
                refused[reason] = refused.get(reason, 0) + 1
        for reason, count in refused.items():
            self._refuse(feed, reason, count)
        return good

    def _why_not(self, feed: str, item: FeedItem) -> str | None:
        """Why an item is not to be believed, in a word."""
        if not owns_party(self.peer.agreement, item.party):
            return FOREIGN
        if item.body is None:
            return None
        try:
            check_peer_object(feed, item.ocpi, item.body, claimed=ObjectKey(item.party, item.id, item.sub))
        except RoamdError as error:
            return error.code
        return None

    def _refuse(self, feed: str, reason: str, count: int = 1) -> None:
        detail = not_agreed(self.peer.agreement, "parties") if reason == FOREIGN else ""
        log.warning("object_refused", peer=self.peer.label, feed=feed, reason=reason, detail=detail, count=count)
        metrics.object_refusals.labels(self.peer.label, feed, reason).inc(count)

    def _take_txn(self, cx: Cx, feed: str, chunk: FeedChunk, items: list[FeedItem], now_ms: int) -> int:
        """Objects, removals, cursor and events in one transaction; how many objects changed."""
        position = feeds.get_cursor(cx, self.peer.label, feed)
        first, last = ChunkFlag.REPLACING_FIRST in chunk.flags, ChunkFlag.REPLACING_LAST in chunk.flags
        at = FeedPosition(chunk.cursor, position.generation + first, position.replacing or first)
        changed = sum(self._apply_txn(cx, feed, item, at, now_ms) for item in items)
        if last and at.replacing:  # alone it ends nothing, and looking for what is over reads all that there is
            at = at._replace(replacing=False)
            for key in feeds.mirror_finish_replacing_txn(cx, self.peer.label, feed, at.generation):
                self._removed_txn(cx, feed, key, now_ms)
                changed += 1
        feeds.set_cursor_txn(cx, self.peer.label, feed, at)
        return changed

    def _apply_txn(self, cx: Cx, feed: str, item: FeedItem, at: FeedPosition, now_ms: int) -> bool:
        key = ObjectKey(item.party, item.id, item.sub)
        if item.body is None:
            if feeds.mirror_remove_txn(cx, self.peer.label, feed, key):
                self._removed_txn(cx, feed, key, now_ms)
                return True
            return False
        if feed in self.judged and self._is_impossible_txn(cx, feed, key, item, at):
            return False
        version = feeds.mirror_put_txn(
            cx, self.peer.label, feed, key, ocpi=item.ocpi, body=item.body, generation=at.generation
        )
        if version is not None and feed in self.taken:
            self.taken[feed](cx, self.peer.label, item, now_ms)
        elif version is not None:
            self._note_txn(cx, feed, key, "object.changed", str(version), now_ms)
        if version is not None and feed in self.noted:
            self.noted[feed](cx, self.peer.label, item, now_ms)
        return version is not None

    def _removed_txn(self, cx: Cx, feed: str, key: ObjectKey, now_ms: int) -> None:
        if feed in self.taken:
            self.taken[feed](cx, self.peer.label, FeedItem(*key, "", None), now_ms)
        else:
            self._note_txn(cx, feed, key, "object.removed", "", now_ms)

    def _is_impossible_txn(self, cx: Cx, feed: str, key: ObjectKey, item: FeedItem, at: FeedPosition) -> bool:
        """Whether to keep what is known; a replacing snapshot that brings the object counts as having brought that."""
        known = feeds.get_mirrored(cx, self.peer.label, feed, key)
        if known is None or self.judged[feed](known.body, item, replacing=at.replacing) is None:
            return False
        generation = at.generation
        feeds.mirror_put_txn(cx, self.peer.label, feed, key, ocpi=known.ocpi, body=known.body, generation=generation)
        self._refuse(feed, "impossible-change")
        return True

    def _note_txn(self, cx: Cx, feed: str, key: ObjectKey, type_: str, version: str, now_ms: int) -> None:
        """The event for the backend. A status belongs to its location, and is held back until that is there."""
        if feed == "evse-status":
            location = feeds.get_mirrored(cx, self.peer.label, "locations", ObjectKey(key.party, key.id))
            if location is None:
                return
            feed, type_, key = "locations", "object.changed", ObjectKey(key.party, key.id)
        object_event_txn(cx, self.peer.label, feed, key, version, type_, now_ms)

    def _finished(self, feed: str, chunk: FeedChunk, items: list[FeedItem], outcome: int | BaseException) -> None:
        if isinstance(outcome, BaseException):
            self.close(GoodbyeCode.OVERLOADED, "a chunk could not be stored")
            return
        metrics.objects.labels(feed, "in").inc(outcome)
        if feed in self.landed:
            self.landed[feed](self.peer, chunk, items)
        self.send(FeedAck(chunk.feed, chunk.cursor))
        if outcome:
            self.took()
