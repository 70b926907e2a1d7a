"""What a partner without roamd publishes: taken into the mirror, where all other partners' objects are."""

from collections.abc import Callable
from dataclasses import dataclass

from roamd.clock import Clock
from roamd.errors import Forbidden, NotFound, PreconditionFailed
from roamd.model.agreement import may_follow, not_agreed, owns_party
from roamd.model.body import merge_evse, merge_patch
from roamd.model.keys import fold
from roamd.model.objects import Checked, check_object
from roamd.roaming import operations as op
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.events import object_event_txn
from roamd.roaming.lists import choose
from roamd.roaming.mirror import as_read
from roamd.roaming.plainocpi import asked
from roamd.roaming.ports import Reply
from roamd.storage import feeds
from roamd.storage.feeds import MirroredRow
from roamd.storage.store import Cx, Store


@dataclass(slots=True)
class Theirs:
    """Handles the operations. `events_written` is called after each commit."""

    clock: Clock
    store: Store
    directory: Directory
    events_written: Callable[[], None]

    def put(self, operation: asked.PutTheirs, reply: Reply) -> None:
        """PutTheirs -> StoredObject."""
        peer = self._agreed(operation.peer, operation.feed)

        def txn(cx: Cx) -> op.StoredObject:
            old = feeds.get_mirrored(cx, peer.label, operation.feed, operation.checked.key)
            if operation.only_new and old is not None:
                raise PreconditionFailed("The object is there already.")
            _require_match(cx, old, operation.if_match)
            return self._put_txn(cx, peer, operation.feed, operation.checked, old is None)

        self._commit(txn, reply)

    def patch(self, operation: asked.PatchTheirs, reply: Reply) -> None:
        """PatchTheirs -> StoredObject; what comes of it is checked like a PUT."""
        peer = self._agreed(operation.peer, operation.feed)

        def txn(cx: Cx) -> op.StoredObject:
            row = _one(cx, peer, operation.feed, operation.id, operation.party, operation.token_type)
            _require_match(cx, row, operation.if_match)
            merged = _merged(row, operation)
            checked = check_object(
                operation.feed, row.ocpi, merged, own_parties=frozenset(peer.agreement.parties), path_id=operation.id
            )
            return self._put_txn(cx, peer, operation.feed, checked, False)

        self._commit(txn, reply)

    def remove(self, operation: asked.RemoveTheirs, reply: Reply) -> None:
        """RemoveTheirs -> None."""
        peer = self._agreed(operation.peer, operation.feed)

        def txn(cx: Cx) -> None:
            row = _one(cx, peer, operation.feed, operation.id, operation.party, operation.token_type)
            feeds.mirror_remove_txn(cx, peer.label, operation.feed, row.key)
            now_ms = self.clock.now_ms()
            object_event_txn(cx, peer.label, operation.feed, row.key, "", "object.removed", now_ms)

        self._commit(txn, reply)

    def _put_txn(self, cx: Cx, peer: Peer, feed: str, checked: Checked, new: bool) -> op.StoredObject:
        if not owns_party(peer.agreement, checked.key.party):
            raise Forbidden(not_agreed(peer.agreement, "parties"), code="foreign-party")
        version = feeds.mirror_put_txn(
            cx, peer.label, feed, checked.key, ocpi=checked.ocpi, body=checked.body, generation=0
        )
        if version is not None:
            now_ms = self.clock.now_ms()
            object_event_txn(cx, peer.label, feed, checked.key, str(version), "object.changed", now_ms)
        row = feeds.get_mirrored(cx, peer.label, feed, checked.key)
        assert row is not None  # noqa: S101 - it was put in this very transaction
        read = as_read(cx, row)
        return op.StoredObject(read.body, read.etag, read.ocpi, created=new, changed=version is not None)

    def _agreed(self, label: str, feed: str) -> Peer:
        peer = self.directory.get(label)
        if not may_follow(peer.agreement, feed):
            raise Forbidden(not_agreed(peer.agreement, f"feeds.{feed}"), code="not-agreed")
        return peer

    def _commit(self, txn: Callable[[Cx], object], reply: Reply) -> None:
        def done(outcome: object) -> None:
            if not isinstance(outcome, BaseException):
                self.events_written()
            reply(outcome)

        self.store.submit(txn, done)


def _merged(row: MirroredRow, operation: asked.PatchTheirs) -> bytes:
    if operation.evse_uid is None:
        return merge_patch(row.body, operation.patch)
    merged = merge_evse(row.body, operation.evse_uid, operation.patch)
    if merged is None:
        raise NotFound("The location has no such EVSE.", code="unknown-evse")
    return merged


def _one(cx: Cx, peer: Peer, feed: str, id_: str, party: str | None, token_type: str | None) -> MirroredRow:
    return choose(feeds.find_mirrored(cx, feed, fold(id_), peer=peer.label), party, token_type)


def _require_match(cx: Cx, row: MirroredRow | None, if_match: str | None) -> None:
    if if_match is not None and (row is None or if_match not in ("*", as_read(cx, row).etag)):
        raise PreconditionFailed("The object has changed meanwhile; read it again.")
