"""The filter over our own cards: kept up to date, published in segments, projected for each peer when it is sent.

Theory of operation. A filter promises "a card that is not in here is not ours", so it is made only where the operator
says that every card is published (authorization.card_filter); the cards are those of our feed user-credentials, whether
or not a peer may follow that.

- A credential that is published has its names' digests in the table `cards` in the very same transaction. New ones are
  in object NEW, which gets a version in that transaction too: so a card is known to partners as soon as a whitelist
  entry would be. A card that is withdrawn stays in its segment until that is made anew: one partner asks in vain.
- When NEW has grown beyond MAX_NEW cards, and once a day, the cards that changed are *settled* into their segments, one
  segment a transaction, so that nobody waits long for the writer. From before the first to after the last of them NEW
  says "ask me about any card": a peer that has the one and not the other yet must not lose a driver.
- The published objects hold no cards: their stored bodies are counters that make versions. What a peer is sent is made
  when it is sent (see `projections`), in a thread, one object after the other for all peers, and forgotten when it is
  sent. A million cards cost half a second of a core for each peer that gets all of them, and 10 ms for a segment.
- A filter that was just switched on, or whose state is not known to be whole, is filled from the published credentials
  in pages; until it is whole nothing is published and every peer goes on asking us.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import Final

import msgspec
import trio

from roamd.clock import Clock
from roamd.errors import StoreFull
from roamd.log import get_logger
from roamd.model import filter as cardfilter
from roamd.model.credentials import UserCredential
from roamd.model.filter import MAX_DEPTH, NEW, names_of, segment_id
from roamd.model.jsontext import tree
from roamd.model.keys import ObjectKey
from roamd.model.objects import Checked
from roamd.model.views import user_credential_view
from roamd.protocol.bulk import FeedItem
from roamd.roaming.audience import EVERYONE
from roamd.roaming.deadlines import Deadlines, Timer
from roamd.roaming.directory import Peer
from roamd.roaming.projections import NOT_READY, Projected
from roamd.roaming.waiting import aside, write
from roamd.storage import cards, feeds, meta
from roamd.storage.feeds import PublishedRow
from roamd.storage.store import Cx, Store

log = get_logger()

FEED: Final = "credential-filter"
CARDS: Final = "user-credentials"
OCPI: Final = "2.3.0"

SEGMENT_CARDS: Final = 24_000
"""A segment holds half as many to as many: 15 to 30 KB to send again when one of its cards has changed."""
MAX_NEW: Final = 1_024
"""Made for each peer again with each new card: half a millisecond each time."""
QUIET_S: Final = 5.0
"""So long no card must have come before all are settled; an upload of a million is settled once."""
AT_LATEST_S: Final = 60.0
DAY_S: Final = 24 * 3600.0
"""How long withdrawn cards may still be asked about."""
PAGE: Final = 500
PAUSE_S: Final = 0.03
"""Between two objects that are made: one keeps Python to itself for some 10 ms, and drivers are not to notice."""

STATE: Final = "card-filter"
"""Our state in `meta`: absent when off, "filling" and the last key that was read, or the depth of the segments."""


class _Filling(msgspec.Struct, frozen=True):
    """Credentials up to this key are in the table."""

    party: str
    id: str
    sub: str


@dataclass(slots=True)
class OwnFilter:
    """Publishes the filter, or takes it back where it is not `wanted`.

    `published(feed)` is called after versions were made and when something that is sent is ready; `secret` is kept by
    the store; `start` runs a coroutine in the daemon's nursery.
    """

    clock: Clock
    store: Store
    deadlines: Deadlines
    start: Callable[..., None]
    published: Callable[[str], None]
    own_parties: tuple[str, ...]
    secret: bytes
    wanted: bool
    _busy: bool = False
    _timer: Timer | None = None
    _first_at: float | None = None
    _queue: dict[str, tuple[Peer, int]] = field(default_factory=dict)
    _making: bool = False
    _made: dict[str, dict[int, FeedItem]] = field(default_factory=dict)

    # --- in our backend's transactions --------------------------------------------------------------------------

    def publishing_txn(self, cx: Cx, checked: Checked) -> None:
        """A credential of ours is about to be published, in place of what is there (catalogue.Heed)."""
        if not self.wanted or not isinstance(checked.view, UserCredential) or not self._is_counted(cx, checked.key):
            return
        known = feeds.get_published(cx, CARDS, checked.key)
        before = self._digests(known.body) if known is not None and known.body is not None else set()
        after = self._digests(checked.body)
        for digest in before - after:
            cards.remove_txn(cx, digest)
        news = [cards.add_txn(cx, digest) for digest in sorted(after - before)]
        if any(news):
            self._grow_txn(cx)

    def withdrawing_txn(self, cx: Cx, row: PublishedRow) -> None:
        """A credential of ours is withdrawn or erased; `row` is what was published."""
        if self.wanted and row.body is not None and self._is_counted(cx, row.key):
            for digest in self._digests(row.body):
                cards.remove_txn(cx, digest)

    def _is_counted(self, cx: Cx, key: ObjectKey) -> bool:
        """Whether the credential under this key is in the table, or would be if it were there."""
        state = meta.get(cx, STATE)
        if state is None or not state.startswith("{"):
            return state is not None
        upto = msgspec.json.decode(state, type=_Filling)
        return (key.id, key.party, key.sub) <= (upto.id, upto.party, upto.sub)

    def _digests(self, body: bytes) -> set[bytes]:
        """Of the names by which the credential is found; a contract id of our own prefix leads to us anyway."""
        value = tree(body)
        assert isinstance(value, dict)  # noqa: S101 - only objects are published
        view = user_credential_view(value)
        names = names_of(view.uid, view.contract_id)
        return {cardfilter.digest(name.text) for name in names if name.provider not in self.own_parties}

    def _grow_txn(self, cx: Cx) -> None:
        """There is a card that no published object has: it is in NEW from now on, or everything is."""
        row = self._new(cx)
        if row is None or _is_open(row):
            return
        if cards.count_fresh(cx, MAX_NEW + 1) > MAX_NEW:
            self._open_txn(cx)
        else:
            self._version_txn(cx, NEW)

    # --- settling -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The daemon runs: fill, settle or clear, whatever is left to do."""
        if self.wanted or self.store.read(lambda cx: meta.get(cx, STATE)) is not None:
            self._run(self._begin)

    def changed(self) -> None:
        """After a commit of our backend's that may have changed cards: settle soon, if NEW cannot hold the new ones."""
        if not self.wanted or self._busy:
            return
        row, some = self.store.read(lambda cx: (self._new(cx), cards.count_fresh(cx, 1)))
        if not some or (row is not None and not _is_open(row)):
            return
        now = self.clock.monotonic()
        self._first_at = now if self._first_at is None else self._first_at
        self._settle_at(min(now + QUIET_S, self._first_at + AT_LATEST_S))

    def _settle_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.deadlines.add(at, lambda: self._run(self._settle))

    def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        """One piece of work at a time."""
        if not self._busy:
            self._busy = True
            self.start(self._do, work)

    async def _do(self, work: Callable[[], Awaitable[None]]) -> None:
        """Work, and see what comes next; what cannot be stored for want of space is tried again."""
        try:
            await work()
        except StoreFull as error:
            log.warning("card_filter_delayed", detail=str(error))
            self._busy = False
            self.deadlines.after(AT_LATEST_S, lambda: self._run(work))
            return
        self._busy, self._first_at = False, None
        if self.wanted:
            self._settle_at(self.clock.monotonic() + DAY_S)
            self.changed()

    async def _begin(self) -> None:
        state = self.store.read(lambda cx: meta.get(cx, STATE))
        if not self.wanted:
            if state is not None:
                await self._clear(None)
            return
        if state is None or self._has_other_party():
            await self._clear(msgspec.json.encode(_Filling("", "", "")).decode())
        await self._fill()
        row = self.store.read(self._new)
        if row is None or _is_open(row):  # it has never been settled, or a crash came in between
            await self._settle()

    def _has_other_party(self) -> bool:
        rows = self.store.read(lambda cx: feeds.list_published(cx, FEED, None, 1))
        return bool(rows) and rows[0].key.party != self.own_parties[0]

    async def _clear(self, state: str | None) -> None:
        """Nothing is published and nothing is known."""

        def txn(cx: Cx) -> None:
            for row in feeds.list_published(cx, FEED, None, 1 << 20):
                feeds.withdraw_txn(cx, FEED, row.key, self.clock.now_ms())
            cards.forget_all_txn(cx)
            meta.set_txn(cx, STATE, state) if state is not None else meta.delete_txn(cx, STATE)

        await write(self.store, txn)
        self.published(FEED)
        log.info("card_filter_cleared")

    async def _fill(self) -> None:
        """Read the published credentials into the table, from where it was left."""
        total = 0

        def txn(cx: Cx) -> int:
            state = meta.get(cx, STATE) or ""
            if not state.startswith("{"):
                return 0
            upto = msgspec.json.decode(state, type=_Filling)
            rows = feeds.list_published(cx, CARDS, ObjectKey(upto.party, upto.id, upto.sub), PAGE)
            for row in rows:
                for digest in self._digests(row.body or b"{}"):
                    cards.add_txn(cx, digest)
            meta.set_txn(cx, STATE, msgspec.json.encode(_Filling(*rows[-1].key)).decode() if rows else "0")
            return len(rows)

        while count := await write(self.store, txn):
            total += count
            if total % (100 * PAGE) < PAGE:
                log.info("card_filter_filled", cards=total)

    async def _settle(self) -> None:
        """Make the segments anew whose cards have changed, all of them where there are too many or too few now."""
        began = self.clock.monotonic()
        old = int(self.store.read(lambda cx: meta.get(cx, STATE)) or 0)
        total, prefixes = await aside(self.store, lambda cx: (cards.count(cx), cards.changed(cx)))
        exists = self.store.read(self._new) is not None
        if not total:  # "nothing is ours": more likely nothing is uploaded yet, and everyone goes on asking us
            if exists:
                await self._clear("0")
            return
        depth = depth_for(total, old if exists else None)
        again = depth != old or not exists
        indexes = range(1 << depth) if again else sorted({prefix >> MAX_DEPTH - depth for prefix in prefixes})
        if not indexes:
            return
        if exists:
            await write(self.store, self._open_txn)
            self.published(FEED)
        for index in indexes:
            await write(self.store, partial(self._settle_txn, depth=depth, index=index))
        await write(self.store, lambda cx: self._settled_txn(cx, old if exists and again else None, depth))
        self.published(FEED)
        seconds = round(self.clock.monotonic() - began, 3)
        log.info("card_filter_settled", cards=total, segments=len(indexes), of=1 << depth, duration_s=seconds)

    def _settle_txn(self, cx: Cx, *, depth: int, index: int) -> None:
        cards.settle_txn(cx, *bounds(depth, index))
        self._version_txn(cx, segment_id(depth, index))

    def _settled_txn(self, cx: Cx, left: int | None, depth: int) -> None:
        """What is over goes only now, and NEW holds its own cards again: the followers get these last."""
        for index in range(1 << left) if left is not None else ():
            feeds.withdraw_txn(cx, FEED, self._key(segment_id(left or 0, index)), self.clock.now_ms())
        meta.set_txn(cx, STATE, str(depth))
        if cards.count_fresh(cx, MAX_NEW + 1) > MAX_NEW:
            self._open_txn(cx)
        else:
            self._version_txn(cx, NEW)

    def _new(self, cx: Cx) -> PublishedRow | None:
        """Object NEW as it is published; None as long as there is no filter, and between two of them."""
        return feeds.get_published(cx, FEED, self._key(NEW))

    def _key(self, object_id: str) -> ObjectKey:
        return ObjectKey(self.own_parties[0], object_id)

    def _version_txn(self, cx: Cx, object_id: str) -> None:
        """A new version of an object, and nothing else: its content is made when it is sent."""
        body = b'{"made":%d}' % (meta.newest_version(cx) + 1)
        feeds.publish_txn(cx, FEED, self._key(object_id), OCPI, body, EVERYONE, self.clock.now_ms())

    def _open_txn(self, cx: Cx) -> None:
        feeds.publish_txn(cx, FEED, self._key(NEW), OCPI, _OPEN, EVERYONE, self.clock.now_ms())

    # --- as a peer is sent it -----------------------------------------------------------------------------------

    def project(self, row: PublishedRow, peer: Peer) -> Projected:
        """The object as this peer gets it (projections.Projection): cards under its own key."""
        if row.body is None:
            return FeedItem(*row.key, row.ocpi, None)
        if _is_open(row):
            return FeedItem(*row.key, row.ocpi, cardfilter.write_open(row.key.party, self.key_for(peer)))
        made = self._made.get(peer.label, {})
        item = made.pop(row.version, None)
        if not made:
            self._made.pop(peer.label, None)
        if item is not None:
            return item
        self._queue[peer.label] = (peer, row.version)
        if not self._making:
            self._making = True
            self.start(self._make)
        return NOT_READY

    def key_for(self, peer: Peer) -> bytes:
        """The peer's key: 16 bytes that stay the same as long as the store's secret does."""
        return hmac_digest(self.secret, b"roamd card filter 1 " + peer.endpoint_id.encode(), sha256)[: cardfilter.KEY]

    async def _make(self) -> None:
        """Make what is waited for, one peer after the other."""
        try:
            while self._queue:
                label, (peer, version) = next(iter(self._queue.items()))
                made = await aside(self.store, self._maker(version, self.key_for(peer)))
                if self._queue[label] == (peer, version):
                    del self._queue[label]
                if peer.exchanges():
                    self._made[label] = made
                    peer.published(FEED)
                await trio.sleep(PAUSE_S)
        finally:
            self._making = False

    def _maker(self, version: int, key: bytes) -> Callable[[Cx], dict[int, FeedItem]]:
        def make(cx: Cx) -> dict[int, FeedItem]:
            rows = feeds.tail(cx, FEED, version - 1, max_rows=1, max_bytes=1 << 20)
            return {row.version: _item(cx, row, key) for row in rows if row.body is not None and not _is_open(row)}

        return make


_OPEN: Final = b'{"matches_all":true}'


def _is_open(row: PublishedRow) -> bool:
    return row.body == _OPEN


def _item(cx: Cx, row: PublishedRow, key: bytes) -> FeedItem:
    place = cardfilter.place_of(row.key.id)
    digests = cards.fresh(cx) if place is None else cards.in_segment(cx, *bounds(*place))
    return FeedItem(*row.key, row.ocpi, cardfilter.write_segment(row.key.party, row.key.id, key, digests))


def bounds(depth: int, index: int) -> tuple[bytes, bytes]:
    """The first and the last digest that belong into a segment."""
    rest = 8 * cardfilter.DIGEST - depth
    first = index << rest
    return first.to_bytes(cardfilter.DIGEST, "big"), (first + (1 << rest) - 1).to_bytes(cardfilter.DIGEST, "big")


def depth_for(total: int, now: int | None) -> int:
    """How deep so many cards are split. A depth that fits more or less is kept: a change makes all segments anew."""
    depth = 0
    while depth < MAX_DEPTH and total > SEGMENT_CARDS << depth:
        depth += 1
    if now is not None and SEGMENT_CARDS << now >= total > (SEGMENT_CARDS << now) // 4:
        return now
    return depth
