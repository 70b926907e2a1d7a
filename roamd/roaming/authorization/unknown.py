"""How many cards that nobody knows a peer may ask about: above the agreed rate it is trying numbers.

Only questions that our backend answered UNKNOWN count. Above the rate further unknown cards are answered UNKNOWN
without asking it; a card that is on our own list, or that the backend has known before, is asked about as ever.
"""

from collections import OrderedDict
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
REMEMBERED = 100_000
"""Cards that the backend has known; about 15 MB when full."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float
    told: bool = False


@dataclass(slots=True)
class UnknownCards:
    """One bucket a peer, refilled by the minute; `usual_per_minute` is for agreements that name no rate."""

    clock: Clock
    store: Store
    usual_per_minute: int = 60
    _buckets: dict[str, _Bucket] = field(default_factory=dict)
    _known: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)

    def may_ask(self, peer: Peer, type_: str, uid: str) -> bool:
        """Whether the backend is to be asked about this card of this peer's."""
        bucket = self._bucket(peer)
        if bucket.left >= 1 or self._is_known(type_, uid):
            return True
        if not bucket.told:
            bucket.told = True
            text = "it asks about more unknown cards than agreed"
            peer.alarm(text)
            log.warning("unknown_cards_limited", peer=peer.label, per_minute=self._rate(peer))
        return False

    def answered(self, peer: Peer, type_: str, uid: str, decision: str) -> None:
        """What the backend said about it."""
        if decision == "UNKNOWN":
            self._bucket(peer).left -= 1
            return
        self._known[fold(type_), canonical_uid(type_, uid)] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _is_known(self, type_: str, uid: str) -> bool:
        key = fold(type_), canonical_uid(type_, uid)
        return key in self._known or self.store.read(lambda cx: _is_published(cx, *key))

    def _rate(self, peer: Peer) -> int:
        agreed = peer.agreement.unknown_cards_per_minute
        return self.usual_per_minute if agreed is None else agreed

    def _bucket(self, peer: Peer) -> _Bucket:
        rate, now = self._rate(peer), self.clock.monotonic()
        bucket = self._buckets.setdefault(peer.label, _Bucket(rate, now))
        bucket.left = min(float(rate), bucket.left + (now - bucket.at) * rate / MINUTE_S)
        bucket.at = now
        if bucket.left >= max(1.0, rate / 2):
            bucket.told = False
        return bucket


def _is_published(cx: Cx, type_: str, uid: str) -> bool:
    return any(feeds.find_published(cx, "user-credentials", one, sub=type_) for one in spellings(type_, uid))
