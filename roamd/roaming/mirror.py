"""What peers publish to us, as the backend reads it: byte for byte, with the newest EVSE status merged in."""

import hashlib
from dataclasses import dataclass, replace
from typing import Final

from roamd.errors import NotFound
from roamd.model.body import merge_evse_status
from roamd.model.keys import fold
from roamd.model.roles import FEEDS
from roamd.roaming import operations as op
from roamd.roaming.directory import Directory
from roamd.roaming.lists import answer, choose, key_after, next_key
from roamd.roaming.ports import Reply
from roamd.roaming.privacy.pseudonyms import Beside, nothing_beside
from roamd.storage import feeds
from roamd.storage.feeds import MirroredRow
from roamd.storage.store import Cx, Store

OF_CONTRACTS: Final = frozenset(("sessions", "reservations"))
"""Feeds in which peers name our contracts."""


@dataclass(slots=True)
class Mirror:
    """Handles the operations on peers' objects. `beside` says which of our contracts a peer means."""

    store: Store
    directory: Directory
    beside: Beside = nothing_beside

    def get(self, operation: op.GetPeerObject, reply: Reply) -> None:
        """GetPeerObject -> StoredObject."""

        def read(cx: Cx) -> op.StoredObject:
            self._require(operation.peer, operation.feed)
            rows = feeds.find_mirrored(cx, operation.feed, fold(operation.id), peer=operation.peer)
            row = choose(rows, operation.party, operation.token_type)
            return self._told(cx, row)

        answer(self.store, read, reply)

    def list(self, operation: op.ListPeerObjects, reply: Reply) -> None:
        """ListPeerObjects -> Page of StoredObject, in the order of their keys."""

        def read(cx: Cx) -> op.Page:
            self._require(operation.peer, operation.feed)
            after = key_after(operation.after)
            rows = feeds.list_mirrored(cx, operation.peer, operation.feed, after, operation.limit)
            items = [self._told(cx, row) for row in rows]
            return op.Page(items, next_key(rows, operation.limit))

        answer(self.store, read, reply)

    def _told(self, cx: Cx, row: MirroredRow) -> op.StoredObject:
        read = as_read(cx, row)
        return read if row.feed not in OF_CONTRACTS else replace(read, contract_id=self.beside(cx, row.peer, row.body))

    def _require(self, peer: str, feed: str) -> None:
        self.directory.get(peer)
        if feed not in FEEDS:
            raise NotFound(f"There is no feed {feed!r}.", code="unknown-feed")


def as_read(cx: Cx, row: MirroredRow) -> op.StoredObject:
    body = row.body
    if row.feed == "locations":
        rows = feeds.find_mirrored(cx, "evse-status", row.key.id, peer=row.peer)
        body = merge_evse_status(body, {s.key.sub: s.body for s in rows if s.key.party == row.key.party})
    # The ETag is of the content, so that it tells nothing of how much the peer publishes to others.
    return op.StoredObject(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"', row.ocpi)
