"""Whose card may it be? The filters that CSPs publish to us, in memory, and whom they name (ports.Candidates).

Theory of operation. A peer's filter is a tree of segments by the first bits of a card's digest, and the object NEW
beside it. A card is asked about where a segment that covers it says "perhaps", or NEW does. Nobody may lose a driver by
it, so a peer counts as *open*, and is asked about every card, as long as we cannot be sure: it publishes no filter, a
replacing snapshot is under way, no segment that can be read covers the card, or it says so itself.

Those whose filter matches are asked first. Then come those that are open, for they may know any card; a peer whose
filter denies the card is asked last where the operator wants even that, and else never shown it.

Everything is held as the bytes that were published, 1.25 a card, and gone when the peer is suspended or removed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from roamd.log import get_logger
from roamd.model.agreement import may_follow
from roamd.model.filter import MAX_DEPTH, NEW, Marker, Segment, digest, marker, names_asked, place_of, read_object
from roamd.model.keys import ObjectKey
from roamd.protocol.bulk import ChunkFlag, FeedChunk, FeedItem
from roamd.roaming.directory import Directory, Peer
from roamd.storage import feeds
from roamd.storage.store import Cx, Store

log = get_logger()

FEED: Final = "credential-filter"
MAX_BYTES: Final = 64 * 1024 * 1024
"""Of one peer, fifty million cards. One that publishes more is asked about every card, like one without a filter."""
HELD_TIMES: Final = 2
"""So many times that much is held at most: while a peer makes all segments anew, old and new ones stand side by side.
Of one that publishes yet more nothing is held until its next replacing snapshot, or our next start.
"""

PAGE: Final = 500

_OVERHEAD: Final = 3000
"""What a segment takes beside its bytes, if a liar gives each a key of its own: objects, a cipher."""

_KEYS: Final = 8
"""An honest peer has one, and two while it changes it."""


class PeerFilter:
    """One peer's objects. `might_know` is on the way of every card that nothing else tells the owner of."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._segments: dict[int, dict[int, tuple[Segment, Marker]]] = {}
        self._new: Segment | None = None
        self._mark: Marker = marker(bytes(16))
        self._markers: dict[str, Marker] = {}
        self._open = True
        self.size = 0
        self.is_too_much = False
        self._is_told = False

    def put(self, object_id: str, body: bytes) -> None:
        """An object as it was published. One that cannot be read covers nothing, so that the peer is asked."""
        self.remove(object_id)
        if self.is_too_much:
            return
        try:
            read, segment = read_object(body)
        except ValueError:
            if not self._is_told:  # a chunk holds thousands
                self._is_told = True
                log.warning("card_filter_unreadable", peer=self._peer)
            return
        mark = self._marker(read.key.lower())
        self.size += segment.size + _OVERHEAD
        place = place_of(object_id)
        if place is None:
            self._new, self._mark, self._open = segment, mark, read.matches_all
        else:
            self._segments.setdefault(place[0], {})[place[1]] = (segment, mark)
        if self.size > HELD_TIMES * MAX_BYTES:
            self._give_up()

    def _give_up(self) -> None:
        self._segments.clear()
        self._new, self._open, self.size, self.is_too_much = None, True, 0, True
        log.warning("card_filter_too_large", peer=self._peer)

    def _marker(self, key: str) -> Marker:
        if key not in self._markers:
            if len(self._markers) == _KEYS:
                self._markers.clear()  # those in use are held by their segments
            self._markers[key] = marker(bytes.fromhex(key))
        return self._markers[key]

    def remove(self, object_id: str) -> None:
        """The object was withdrawn; without NEW the filter is none."""
        place, gone = place_of(object_id), None
        if place is not None:
            at_depth = self._segments.get(place[0], {})
            gone = at_depth.pop(place[1], (None,))[0]
            if not at_depth:
                self._segments.pop(place[0], None)
        elif object_id == NEW:
            gone, self._new, self._open = self._new, None, True
        if gone is not None:
            self.size -= gone.size + _OVERHEAD

    def might_know(self, card: bytes) -> bool | None:
        """Whether a card with this digest may be the peer's; None when its filter does not say."""
        if self._open or self._new is None or self.size > MAX_BYTES:
            return None
        prefix, covered = card[0] << 8 | card[1], False
        for depth, segments in self._segments.items():
            found = segments.get(prefix >> MAX_DEPTH - depth)
            if found is not None:
                covered = True
                if found[0].might_hold(found[1](card)):
                    return True
        if not covered:
            return None
        return self._new.cards > 0 and self._new.might_hold(self._mark(card))


@dataclass(slots=True)
class TheirFilters:
    """All peers' filters. `ask_everyone` in the end, also those whose filter denies the card."""

    store: Store
    directory: Directory
    ask_everyone: bool = False
    _filters: dict[str, PeerFilter] = field(default_factory=dict)
    _replacing: set[str] = field(default_factory=set)

    def load(self) -> None:
        """At the start: what is mirrored of every active peer."""
        for peer in self.directory:
            if peer.active:
                self._load(peer.label)

    def _load(self, label: str) -> None:
        loaded = PeerFilter(label)
        position = self.store.read(lambda cx: feeds.get_cursor(cx, label, FEED))
        for object_id, body in self._mirrored(label):
            loaded.put(object_id, body)
            if loaded.is_too_much:
                break
        self._filters[label] = loaded
        (self._replacing.add if position.replacing else self._replacing.discard)(label)

    def _mirrored(self, label: str) -> Iterator[tuple[str, bytes]]:
        after: ObjectKey | None = None
        while rows := self.store.read(_page(label, after)):
            yield from ((row.key.id, row.body) for row in rows)
            after = rows[-1].key

    # --- what changes -------------------------------------------------------------------------------------------

    def taken_txn(self, cx: Cx, peer: str, item: FeedItem, now_ms: int) -> None:
        """An object came (follower.Taken): it is nothing for the backend, and `landed` has it after the commit."""

    def landed(self, peer: Peer, chunk: FeedChunk, items: Sequence[FeedItem]) -> None:
        """A chunk is committed (follower.Landed)."""
        if ChunkFlag.REPLACING_FIRST in chunk.flags:
            self._replacing.add(peer.label)
        is_replaced = ChunkFlag.REPLACING_LAST in chunk.flags and peer.label in self._replacing
        if is_replaced or peer.label not in self._filters:
            self._load(peer.label)  # what was not in the snapshot is gone
            return
        known = self._filters[peer.label]
        for item in items:
            known.remove(item.id) if item.body is None else known.put(item.id, item.body)

    def peer_changed(self, peer: Peer) -> None:
        """After a change of the peer book: nothing is held of those with whom nothing is exchanged."""
        if not peer.active:
            self._filters.pop(peer.label, None)
            self._replacing.discard(peer.label)
        elif peer.label not in self._filters:
            self._load(peer.label)

    @property
    def size(self) -> int:
        """Bytes held, about."""
        return sum(known.size for known in self._filters.values())

    # --- whose card ---------------------------------------------------------------------------------------------

    def __call__(self, type_: str, uid: str, peers: Sequence[Peer], /) -> Sequence[Sequence[Peer]]:
        """The waves (ports.Candidates): whose filter matches, who is open, and perhaps who denies the card."""
        names = names_asked(uid, None)
        cards = [digest(name.text) for name in names]
        providers = {name.provider for name in names} - {None}
        matching: list[Peer] = []
        opened: list[Peer] = []
        denying: list[Peer] = []
        for peer in peers:
            known = self._filters.get(peer.label)
            if known is None or peer.label in self._replacing or not may_follow(peer.agreement, FEED):
                opened.append(peer)
            elif not providers.isdisjoint(peer.row.parties):
                matching.append(peer)
            else:
                said = _said(known.might_know, cards)
                (opened if said is None else matching if said else denying).append(peer)
        return [matching, opened, denying] if self.ask_everyone else [matching, opened]


def _said(might_know: Callable[[bytes], bool | None], cards: list[bytes]) -> bool | None:
    """True if any of a card's names may be known, else None if of any it is not said."""
    answers = [might_know(card) for card in cards]
    return True if True in answers else None if None in answers else False


def _page(label: str, after: ObjectKey | None) -> Callable[[Cx], list[feeds.MirroredRow]]:
    return lambda cx: feeds.list_mirrored(cx, label, FEED, after, PAGE)
