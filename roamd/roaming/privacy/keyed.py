"""Keyed lists of user credentials: ours as a peer is sent it, and the keys of those that peers send us.

A peer that is sent a keyed list (`roamd peers keyed`, part of the agreement) gets each credential under hashes of its
numbers; see `model.keyedlist` for what they are and what they hide. Like every projection nothing of it is stored here,
and a switch raises the peer's `rights_version`, so that the one list takes the other's place.

Two credentials that we publish of the same number in two spellings are one in a keyed list: the newer counts, and
when one is withdrawn the other stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import digest

from roamd.model.agreement import may_publish
from roamd.model.credentials import EMAID, canonical_uid
from roamd.model.keyedlist import KEY, is_marked, key_of, keyed_body, mark_of, uid_hash
from roamd.protocol.bulk import FeedChunk, FeedItem
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.privacy.fields import without_withheld
from roamd.roaming.projections import Projected, Projection
from roamd.roaming.whitelist import spellings
from roamd.storage import feeds, listkeys
from roamd.storage.feeds import PublishedRow
from roamd.storage.store import Cx, Store

FEED = "user-credentials"


@dataclass(frozen=True, slots=True)
class OwnLists:
    """Our feed of user credentials as each peer may see it. `secret` is kept by the store."""

    secret: bytes

    def project(self, row: PublishedRow, peer: Peer) -> FeedItem:
        """The credential without what is withheld, and under hashes where that is agreed (projections.Projection)."""
        item = without_withheld(row, peer)
        if not peer.agreement.keyed_list:
            return item
        key, (party, uid, type_) = self.key_for(peer), row.key
        body = None if item.body is None else keyed_body(key, type_, uid, item.body)
        return FeedItem(party, uid_hash(key, type_, uid), type_, row.ocpi, body)

    def key_for(self, peer: Peer) -> bytes:
        """The peer's key: 16 bytes that stay the same as long as the store's secret does."""
        return digest(self.secret, b"roamd keyed list 1 " + peer.endpoint_id.encode(), sha256)[:KEY]


def standing(store: Store, project: Projection) -> Projection:
    """`project`, and in the place of a withdrawn credential one that stands under the same hash or name and still does.

    A peer that is told numbers as they are has them as two.
    """

    def shown(row: PublishedRow, peer: Peer) -> Projected:
        is_gone = row.body is None and may_publish(peer.agreement, FEED)  # else: it is not for this peer any more
        is_one = peer.agreement.keyed_list or (peer.agreement.pseudonyms and row.key.sub == EMAID)
        other = _other_spelling(store, row) if is_gone and is_one else None
        return project(other or row, peer)

    return shown


def _other_spelling(store: Store, gone: PublishedRow) -> PublishedRow | None:
    """The newest that is published of the same number as a credential that was withdrawn."""
    party, uid, type_ = gone.key
    ids = spellings(type_, canonical_uid(type_, uid))
    rows = store.read(
        lambda cx: [row for one in ids for row in feeds.find_published(cx, FEED, one, party=party, sub=type_)]
    )
    if any(row.key == gone.key for row in rows):
        return None  # it is there, and only not for this peer
    return max(rows, key=lambda row: row.version, default=None)


@dataclass(slots=True)
class TheirKeys:
    """Keeps `Directory.list_keys`: under which keys the peers' lists have to be looked at."""

    store: Store
    directory: Directory

    def load(self) -> None:
        """At the start, and when there are others."""
        self.directory.list_keys = self.store.read(listkeys.load)

    def noted_txn(self, cx: Cx, peer: str, item: FeedItem, now_ms: int) -> None:
        """A credential of a peer has come (follower.Taken). Its key is kept in the same transaction."""
        del now_ms
        if not self._is_known(peer, item):
            listkeys.put_txn(cx, peer, key_of(item.body or b"{}") or b"")

    def landed(self, peer: Peer, chunk: FeedChunk, items: Sequence[FeedItem]) -> None:
        """A chunk is committed (follower.Landed): only now a new key counts, for before it could still be lost."""
        del chunk
        if not all(self._is_known(peer.label, item) for item in items):
            self.load()

    def _is_known(self, peer: str, item: FeedItem) -> bool:
        """Whether an object needs no key, or one that is known: nearly always, so the text is not parsed for it."""
        if item.body is None or not is_marked(item.body):
            return True
        known = self.directory.list_keys.get(peer, ())
        return any(mark_of(key) in item.body for key in known) or key_of(item.body) is None

    def peer_changed(self, peer: Peer) -> None:
        """After a change of the peer book: nothing is looked for at those who left."""
        if self.directory.find(peer.label) is None and peer.label in self.directory.list_keys:
            self.load()
