"""Our feeds towards one peer, over one link: snapshot, then tail, from where its cursor stands.

Theory of operation. A feed is a set, not a queue: nothing is kept per peer but a cursor, and that is kept by the peer.
A snapshot is the tail from version 0; so a partner that was away for a month costs what it does not have. A cursor is
good if its run is known, its version lies within that run, it is not older than the purged tombstones, and the rights
it was given under still hold; else a *replacing* snapshot follows, after which the peer drops what was not in it.

Rows that the peer may not see are passed over; rows that it may have seen before and must not see any more are sent as
tombstones. The place of a chunk is "complete up to" its last row, seen or not. What is sent of a row is the row, or
what the feed's projection makes of it for this peer (`projections`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from roamd import metrics
from roamd.log import get_logger
from roamd.model.agreement import may_publish, not_agreed
from roamd.model.roles import FEED_BY_NUMBER, FEEDS
from roamd.protocol.bulk import ChunkFlag, FeedItem, Squeezed, fitting, pack_squeezed, squeeze
from roamd.protocol.messages import FeedAck
from roamd.roaming.audience import is_shown
from roamd.roaming.cursors import CursorSeal, Place
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.projections import NOT_READY, Projected, Projections, as_it_is
from roamd.storage import feeds, meta
from roamd.storage.feeds import PublishedRow
from roamd.storage.store import Cx, Store

log = get_logger()

MAX_ROWS = 512
MAX_BYTES = 64 * 1024
"""Bodies in one chunk. The follower checks a chunk in one go, and a driver's question waits for it: that is 1 ms."""

SILENT_VERSIONS = 2000
"""Rows that a peer may not see are passed over without a word; after so many of them it is told how far it is."""


@dataclass(slots=True)
class _Following:
    """One feed that the peer follows."""

    feed: str
    number: int
    rights_version: int
    version: int
    snapshot_end: int
    first: bool
    told: int
    behind: bool = True
    waits: bool = False
    """For a projection that is being made; until the feed is woken."""
    acknowledged: bytes = b""
    sent: bytes = b""


@dataclass(frozen=True, slots=True)
class _Page:
    """One read of a tail, for all peers that stand there, and what was made of it: most of them are sent the same."""

    rows: list[PublishedRow]
    newest: int
    purged_upto: int
    _made: dict[tuple[FeedItem, ...], Squeezed] = field(default_factory=dict)

    def squeezed(self, items: list[FeedItem]) -> Squeezed:
        """These items, encoded and compressed once."""
        key = tuple(items)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = squeeze(items)
        return made


@dataclass(slots=True)
class Publisher:
    """Gives the chunks for one peer. `run_id` is this process's own, `projections` how feeds are shown to this peer."""

    peer: Peer
    store: Store
    directory: Directory
    seal: CursorSeal
    run_id: bytes
    projections: Projections = field(default_factory=dict)
    _following: dict[int, _Following] = field(default_factory=dict)
    _turn: int = 0
    _rights: int = 0
    _refused: dict[int, FeedAck] = field(default_factory=dict)

    def on_acks(self, acks: Iterable[FeedAck]) -> bool:
        """The first of a feed begins it (True when any did); later ones say how far the peer has committed."""
        first: dict[int, FeedAck] = {}
        for ack in acks:
            following = self._following.get(ack.feed)
            if following is not None:
                following.acknowledged = ack.cursor
            elif self._may_begin(ack):
                first.setdefault(ack.feed, ack)
        if first:
            self.store.read(lambda cx: self._begin(cx, list(first.values())))
        return bool(first)

    def _may_begin(self, ack: FeedAck) -> bool:
        row = FEED_BY_NUMBER.get(ack.feed)
        if row is None or not may_publish(self.peer.agreement, row.name):
            feed = row.name if row is not None else str(ack.feed)
            log.warning(
                "feed_refused", peer=self.peer.label, feed=feed, reason=not_agreed(self.peer.agreement, f"feeds.{feed}")
            )
            if row is not None:
                self._refused[ack.feed] = ack  # a new agreement may allow it, and is not in effect here yet
            return False
        self._refused.pop(ack.feed, None)
        return True

    def _begin(self, cx: Cx, acks: list[FeedAck]) -> None:
        """Every link-up comes through here, so it is few statements for all feeds, and none for those without news."""
        names = {ack.feed: FEED_BY_NUMBER[ack.feed].name for ack in acks}
        places = {ack.feed: self.seal.open(self.peer.label, names[ack.feed], ack.cursor) for ack in acks}
        extent = feeds.extent(cx)
        ends = {run_id: meta.run_end(cx, run_id) for run_id in {place.run_id for place in places.values() if place}}
        newest_in = feeds.newest_in(cx, [names[number] for number, place in places.items() if place])
        for ack in acks:
            feed, place = names[ack.feed], places[ack.feed]
            if place is not None and self._is_good(place, ends[place.run_id], extent.purged_upto.get(feed, 0)):
                self._following[ack.feed] = self._from(place, feed, ack.feed, newest_in[feed])
            else:
                self._following[ack.feed] = self._anew(feed, ack, extent.newest)

    def _is_good(self, place: Place, run_end: int | None, purged_upto: int) -> bool:
        # A snapshot that is under way misses nothing that was gone before it began.
        seen_upto = max(place.version, place.snapshot_end)
        is_known = run_end is not None and place.version <= run_end
        return is_known and place.rights_version == self.peer.row.rights_version and seen_upto >= purged_upto

    def _from(self, place: Place, feed: str, number: int, newest_in: int) -> _Following:
        """On from where the peer stands."""
        behind = place.version < newest_in or place.snapshot_end > 0
        rights, upto = place.rights_version, place.version
        return _Following(feed, number, rights, upto, place.snapshot_end, first=False, told=upto, behind=behind)

    def _anew(self, feed: str, ack: FeedAck, newest: int) -> _Following:
        """A replacing snapshot."""
        if ack.cursor:
            metrics.replacing_snapshots.labels(self.peer.label, feed).inc()
            log.info("feed_replaced", peer=self.peer.label, feed=feed)
        # At least 1, so that an empty store, too, sends the snapshot that empties the follower's.
        return _Following(feed, ack.feed, self.peer.row.rights_version, 0, max(1, newest), first=True, told=0)

    def wake(self, feed: str) -> None:
        """Something was published in this feed, or a projection that was not ready is."""
        row = FEEDS.get(feed)
        following = self._following.get(row.number) if row else None
        if following is not None:
            following.behind, following.waits = True, False

    @property
    def is_due(self) -> bool:
        """Whether `next_chunk` might give something."""
        return any(following.behind and not following.waits for following in self._following.values())

    def next_chunk(self) -> bytes | None:
        """The payload of the next chunk, the feeds taking turns; None when all are complete."""
        self._heed_rights()
        order = sorted(self._following.values(), key=lambda f: (f.number <= self._turn, f.number))
        for following in order:
            while following.behind and not following.waits:
                payload = self._chunk(following)
                if payload is not None:
                    self._turn = following.number
                    return payload
        return None

    def _heed_rights(self) -> None:
        """What was sent under other rights than today's is replaced, also while the link stays up."""
        if self._rights != self.peer.row.rights_version:
            self._rights = self.peer.row.rights_version
            refused, self._refused = self._refused, {}
            self.on_acks(refused.values())
        for following in self._following.values():
            if following.rights_version != self.peer.row.rights_version:
                self._start_over(following, self.store.read(meta.newest_version))

    def _start_over(self, following: _Following, newest: int) -> None:
        """A replacing snapshot over a link that is up."""
        metrics.replacing_snapshots.labels(self.peer.label, following.feed).inc()
        log.info("feed_replaced", peer=self.peer.label, feed=following.feed)
        following.rights_version = self.peer.row.rights_version
        following.version, following.told, following.snapshot_end = 0, 0, max(1, newest)
        following.first = following.behind = True
        following.waits = False

    def _chunk(self, following: _Following) -> bytes | None:
        """One read of the tail; None when there was nothing in it that the peer has to be told."""

        def read(cx: Cx) -> _Page:
            rows = feeds.tail(cx, following.feed, following.version, max_rows=MAX_ROWS, max_bytes=MAX_BYTES)
            extent = feeds.extent(cx)
            return _Page(rows, extent.newest, extent.purged_upto.get(following.feed, 0))

        # Once for all peers that stand there: a change wakes them together.
        page: _Page = self.store.read_once(("tail", following.feed, following.version), read)
        if max(following.version, following.snapshot_end) < page.purged_upto:
            # A tombstone went before the peer was sent it: the link has stood still for longer than they are kept.
            self._start_over(following, page.newest)
            return None
        items, version = self._fitting_items(page.rows, following, page.newest)
        following.version = version
        # A page may be cut short by its bytes, so its length does not tell that it is the last.
        following.behind = bool(page.rows) and version < page.newest
        done_replacing = following.snapshot_end > 0 and (version >= following.snapshot_end or not page.rows)
        if not items and not done_replacing and version - following.told < SILENT_VERSIONS:
            return None
        return self._pack(following, page.squeezed(items), done_replacing)

    def _fitting_items(
        self, rows: list[PublishedRow], following: _Following, newest: int
    ) -> tuple[list[FeedItem], int]:
        """As many of the rows' items as one payload surely holds, and the version up to which that is complete."""
        shown, upto = self._shown(rows, following)
        items = [item for _, item in shown]
        count = fitting(items)
        if count < len(items):
            following.waits = False  # there is something to send before what is not ready
            return items[:count], shown[count - 1][0]
        return items, upto if rows else newest

    def _shown(self, rows: list[PublishedRow], following: _Following) -> tuple[list[tuple[int, FeedItem]], int]:
        """The items with their rows' versions, and the version up to which that is everything."""
        shown, upto = [], following.version
        for row in rows:
            item = self._item(row, following)
            if item is NOT_READY:
                following.waits = True
                break
            if item is not None:
                shown.append((row.version, item))
            upto = row.version
        return shown, upto

    def _pack(self, following: _Following, items: Squeezed, done_replacing: bool) -> bytes:
        flags = ChunkFlag.REPLACING_FIRST if following.first else ChunkFlag.NONE
        if done_replacing:
            flags |= ChunkFlag.REPLACING_LAST
            following.snapshot_end = 0
        if not following.behind:
            flags |= ChunkFlag.CAUGHT_UP
        following.first, following.told = False, following.version
        place = Place(self.run_id, following.version, following.rights_version, following.snapshot_end)
        following.sent = self.seal.seal(self.peer.label, following.feed, place)
        return pack_squeezed(following.number, flags, following.sent, items)

    def _item(self, row: PublishedRow, following: _Following) -> Projected:
        project = self.projections.get(following.feed, as_it_is)
        agreed = may_publish(self.peer.agreement, following.feed)
        if agreed and row.body is not None and is_shown(row.audience, self.peer, self.directory):
            return project(row, self.peer)
        if row.version <= following.snapshot_end and following.snapshot_end:
            return None  # a replacing snapshot has no room for what was there before it
        if any(is_shown(seen, self.peer, self.directory) for seen in row.seen_by):
            return project(row._replace(body=None), self.peer)
        return None

    def in_sync(self) -> dict[str, bool]:
        """Per followed feed, whether the peer has committed everything that it was sent."""
        return {f.feed: not f.behind and f.acknowledged == f.sent for f in self._following.values()}
