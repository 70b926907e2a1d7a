"""How many cards that nobody knows a peer may ask about: above the agreed rate it is trying numbers.

A question about a card that we do not know yet is charged when it is put to our backend and given back when the card
turns out to be known, or when nothing came of it; so only those answered UNKNOWN count, and a burst cannot exceed the
rate by what is under way. What cannot be charged while others are under way waits for their outcome; when nothing is
under way any more it is answered UNKNOWN without asking. A card that is on our own list, or that the backend has known
before, is asked about as ever, and costs nothing.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from roamd.clock import Clock
from roamd.log import get_logger
from roamd.model.credentials import canonical_uid
from roamd.model.keys import fold
from roamd.roaming.directory import Peer
from roamd.roaming.whitelist import spellings
from roamd.storage import feeds
from roamd.storage.store import Cx, Store

log = get_logger()

MINUTE_S = 60.0
WAITING = 1024
"""Questions of one peer that wait for the outcome of others."""

REMEMBERED = 100_000
"""Cards that the backend has known; about 15 MB when full."""


Admitted = Callable[[bool, bool], None]
"""Called once: whether the backend is to be asked, and whether that was charged."""

Card = tuple[str, str]
"""A credential as it is compared: folded type, canonical uid."""


def card_of(type_: str, uid: str) -> Card:
    """The card that somebody asks about."""
    return fold(type_), canonical_uid(type_, uid)


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float
    under_way: int = 0
    waiting: deque[Admitted] = field(default_factory=deque)
    told: bool = False
    settling: bool = False


@dataclass(slots=True)
class UnknownCards:
    """One bucket a peer, refilled by the minute; `usual_per_minute` is for agreements that name no rate."""

    clock: Clock
    store: Store
    usual_per_minute: int = 60
    _buckets: dict[str, _Bucket] = field(default_factory=dict)
    _known: OrderedDict[Card, None] = field(default_factory=OrderedDict)

    def admit(self, peer: Peer, card: Card, admitted: Admitted) -> None:
        """Whether the backend is to be asked about this card of this peer's; `admitted` may have to wait for it.

        Who is told that it was charged must call `answered` or `unanswered` once. What waits does so no longer than
        those under way, which have deadlines.
        """
        if card in self._known:
            admitted(True, False)
            return
        bucket = self._bucket(peer)
        if bucket.left >= 1:
            self._charge(bucket, admitted)
        elif self.store.read(lambda cx: _is_published(cx, *card)):
            admitted(True, False)
        elif bucket.under_way and len(bucket.waiting) < WAITING:
            bucket.waiting.append(admitted)
        else:
            self._refuse(peer, bucket, admitted)

    def answered(self, peer: Peer, card: Card, decision: str, *, charged: bool) -> None:
        """What the backend said about it."""
        if decision != "UNKNOWN":
            self._known[card] = None
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        if charged:
            self._settle(peer, give_back=decision != "UNKNOWN")

    def unanswered(self, peer: Peer, *, charged: bool) -> None:
        """Nothing came of it, so nothing was learnt."""
        if charged:
            self._settle(peer, give_back=True)

    def _charge(self, bucket: _Bucket, admitted: Admitted) -> None:
        bucket.left -= 1
        bucket.under_way += 1
        admitted(True, True)

    def _settle(self, peer: Peer, *, give_back: bool) -> None:
        bucket = self._bucket(peer)
        bucket.under_way -= 1
        bucket.left += give_back
        if bucket.settling:
            return  # a backend that answers at once came back here: the loop below goes on
        bucket.settling = True
        try:
            while bucket.waiting and (bucket.left >= 1 or not bucket.under_way):
                admitted = bucket.waiting.popleft()
                if bucket.left >= 1:
                    self._charge(bucket, admitted)
                else:
                    self._refuse(peer, bucket, admitted)
        finally:
            bucket.settling = False

    def _refuse(self, peer: Peer, bucket: _Bucket, admitted: Admitted) -> None:
        if not bucket.told:
            bucket.told = True
            peer.alarm("it asks about more unknown cards than agreed")
            log.warning("unknown_cards_limited", peer=peer.label, per_minute=self._rate(peer))
        admitted(False, False)

    def _rate(self, peer: Peer) -> int:
        agreed = peer.agreement.unknown_cards_per_minute
        return self.usual_per_minute if agreed is None else agreed

    def _bucket(self, peer: Peer) -> _Bucket:
        rate, now = self._rate(peer), self.clock.monotonic()
        bucket = self._buckets.get(peer.label)
        if bucket is None:
            bucket = self._buckets[peer.label] = _Bucket(rate, now)
        bucket.left = min(float(rate), bucket.left + (now - bucket.at) * rate / MINUTE_S)
        bucket.at = now
        if bucket.left >= max(1.0, rate / 2):
            bucket.told = False
        return bucket


def _is_published(cx: Cx, type_: str, uid: str) -> bool:
    return any(feeds.find_published(cx, "user-credentials", one, sub=type_) for one in spellings(type_, uid))
