"""Our own objects as a partner without roamd sees them: one, a list, and what it is to be told next."""

from dataclasses import dataclass
from typing import Final

from roamd.errors import NotFound
from roamd.model.agreement import may_publish
from roamd.model.keys import fold
from roamd.roaming import operations as op
from roamd.roaming.audience import is_shown
from roamd.roaming.catalogue import as_read
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.lists import answer, choose, key_after, next_key
from roamd.roaming.plainocpi import asked
from roamd.roaming.ports import Reply
from roamd.storage import feeds, meta, plainocpi
from roamd.storage.feeds import PublishedRow
from roamd.storage.store import Cx, Store

AT_ONCE: Final = 100
MAX_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class Ours:
    """Handles the operations."""

    store: Store
    directory: Directory

    def get(self, operation: asked.GetShown, reply: Reply) -> None:
        """GetShown -> StoredObject."""

        def read(cx: Cx) -> op.StoredObject:
            peer = self._of(operation.peer, operation.feed)
            rows = [
                row for row in feeds.find_published(cx, operation.feed, fold(operation.id)) if self._sees(peer, row)
            ]
            return as_read(cx, choose(rows, operation.party, operation.token_type))

        answer(self.store, read, reply)

    def list(self, operation: asked.ListShown, reply: Reply) -> None:
        """ListShown -> Page of StoredObject, in the order of their keys."""

        def read(cx: Cx) -> op.Page:
            peer = self._of(operation.peer, operation.feed)
            rows = feeds.list_published(cx, operation.feed, key_after(operation.after), operation.limit)
            items = [as_read(cx, row) for row in rows if self._sees(peer, row)]
            return op.Page(items, next_key(rows, operation.limit))

        answer(self.store, read, reply)

    def due(self, operation: asked.DueObjects, reply: Reply) -> None:
        """DueObjects -> (list of Due, version)."""
        peer = self.directory.get(operation.peer)

        def read(cx: Cx) -> tuple[list[asked.Due], int]:
            if not may_publish(peer.agreement, _agreed_feed(operation.feed)):
                return [], 0
            upto = plainocpi.pushed_upto(cx, peer.label, operation.feed)
            rows = feeds.tail(cx, operation.feed, upto, max_rows=AT_ONCE, max_bytes=MAX_BYTES)
            found = [due for row in rows if (due := self._due(cx, peer, row)) is not None]
            return found, rows[-1].version if rows else meta.newest_version(cx)

        answer(self.store, read, reply)

    def pushed(self, operation: asked.NotePushed, reply: Reply) -> None:
        """NotePushed -> None."""
        peer, feed, version = operation.peer, operation.feed, operation.version
        self.store.submit(lambda cx: plainocpi.pushed_txn(cx, peer, feed, version), reply)

    def _due(self, cx: Cx, peer: Peer, row: PublishedRow) -> asked.Due | None:
        if row.body is not None and self._sees(peer, row):
            body = as_read(cx, row).body if row.feed == "locations" else row.body
            return asked.Due(row.feed, row.version, *row.key, row.ocpi, body)
        if any(is_shown(seen, peer, self.directory) for seen in row.seen_by):
            return asked.Due(row.feed, row.version, *row.key, row.ocpi, None)
        return None

    def _sees(self, peer: Peer, row: PublishedRow) -> bool:
        return is_shown(row.audience, peer, self.directory)

    def _of(self, label: str, feed: str) -> Peer:
        peer = self.directory.get(label)
        if not may_publish(peer.agreement, feed):
            raise NotFound("There is no object of this id here.", code="unknown-object")
        return peer


def _agreed_feed(feed: str) -> str:
    """The feed whose clause counts: the status of EVSEs goes with their locations."""
    return "locations" if feed == "evse-status" else feed
