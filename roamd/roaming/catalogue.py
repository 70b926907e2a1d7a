"""Own objects: what this company publishes into its feeds, and what it reads back.

Bodies are kept byte for byte. The status of an EVSE is an object of its own (feed evse-status, key location/uid), so
that a change of status does not send a whole location; it is merged into the location when that is read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from roamd import metrics
from roamd.clock import Clock, rfc3339
from roamd.errors import NotFound, PreconditionFailed, RoamdError
from roamd.model.body import find_evse, is_status_only, merge_evse, merge_evse_status, merge_patch
from roamd.model.jsontext import compact
from roamd.model.keys import ObjectKey, fold
from roamd.model.objects import Checked, check_evse_status, check_object
from roamd.model.views import LocationView
from roamd.roaming import operations as op
from roamd.roaming.audience import EVERYONE, audience_of
from roamd.roaming.idempotent import same_request_txn
from roamd.roaming.lists import answer, choose, key_after, next_key
from roamd.roaming.ports import Reply
from roamd.storage import feeds
from roamd.storage.feeds import PublishedRow
from roamd.storage.store import Cx, Store

Heed = Callable[[Cx, Checked], None]
"""What a service does, in the same transaction, when our backend publishes an object."""


@dataclass(slots=True)
class Catalogue:
    """Handles the operations on own objects. `published(feed)` is called after each commit that made a version.

    `heeded` has the services that look at what is published, `judged` those that look before and may refuse it,
    `withdrawn` those that look at what is about to go, by feed. `sealed` makes the body that is published of what the
    backend wrote, `revoked` the one that stands in the place of what it deletes.
    """

    clock: Clock
    store: Store
    own_parties: frozenset[str]
    published: Callable[[str], None]
    heeded: Mapping[str, Heed] = field(default_factory=dict)
    judged: Mapping[str, Heed] = field(default_factory=dict)
    sealed: Mapping[str, Callable[[Cx, Checked], Checked]] = field(default_factory=dict)
    revoked: Mapping[str, Callable[[PublishedRow], bytes]] = field(default_factory=dict)
    withdrawn: Mapping[str, Callable[[Cx, PublishedRow], None]] = field(default_factory=dict)

    def put(self, operation: op.PutObject, reply: Reply) -> None:
        """PutObject -> StoredObject."""

        def txn(cx: Cx) -> op.StoredObject:
            _require_match(cx, operation.feed, operation.checked.key, operation.if_match)
            _require_new(cx, operation)
            return self._publish_txn(cx, operation.feed, operation.checked)

        self._commit(operation.feed, txn, reply)

    def put_many(self, operation: op.PutObjects, reply: Reply) -> None:
        """PutObjects -> list of StoredObject."""

        def txn(cx: Cx) -> list[op.StoredObject]:
            same_request_txn(cx, f"batch {operation.feed}", operation.idempotency, self.clock.now_ms())
            return [self._publish_txn(cx, operation.feed, checked) for checked in operation.checked]

        self._commit(operation.feed, txn, reply)

    def patch(self, operation: op.PatchObject, reply: Reply) -> None:
        """PatchObject -> StoredObject; the merged object is checked as a PUT is."""

        def txn(cx: Cx) -> op.StoredObject:
            row = _one(cx, operation.feed, operation.id, operation.party, operation.token_type)
            _require_match(cx, operation.feed, row.key, operation.if_match)
            merged = merge_patch(_body(row), operation.patch)
            return self._publish_txn(cx, operation.feed, self._check(operation.feed, row.ocpi, merged, operation.id))

        self._commit(operation.feed, txn, reply)

    def patch_evse(self, operation: op.PatchEvse, reply: Reply) -> None:
        """PatchEvse -> StoredObject of the EVSE. Status alone is published as evse-status, all else as a location."""

        try:
            patch = compact(operation.patch)
            status = self._status_of(patch, operation.ocpi)
        except RoamdError as error:
            reply(error)
            return

        def txn(cx: Cx) -> op.StoredObject:
            row = _one(cx, "locations", operation.location_id, operation.party, None)
            if status is None:
                self._merge_evse_txn(cx, row, operation, patch)
            else:
                _require_evse(row, operation.evse_uid)
                key = ObjectKey(row.key.party, row.key.id, fold(operation.evse_uid))
                feeds.publish_txn(cx, "evse-status", key, row.ocpi, status, EVERYONE, self.clock.now_ms())
            read = as_read(cx, _one(cx, "locations", row.key.id, row.key.party, None))
            return op.StoredObject(_require_evse(read, operation.evse_uid), read.etag, read.ocpi, changed=True)

        self._commit("locations" if status is None else "evse-status", txn, reply)

    def _status_of(self, patch: bytes, ocpi: str) -> bytes | None:
        """The patch as an evse-status object, or None when it touches more than that."""
        if not patch.startswith(b"{") or not is_status_only(patch):
            return None
        return check_evse_status(patch, ocpi=ocpi, last_updated=rfc3339(self.clock.now_ms()))

    def _merge_evse_txn(self, cx: Cx, row: PublishedRow, operation: op.PatchEvse, patch: bytes) -> None:
        merged = merge_evse(_body(row), operation.evse_uid, patch)
        if merged is None:
            raise _no_evse(operation.evse_uid)
        self._publish_txn(cx, "locations", self._check("locations", row.ocpi, merged, operation.location_id))

    def delete(self, operation: op.DeleteObject, reply: Reply) -> None:
        """DeleteObject -> None; a location takes its EVSE status along, a session its lease."""

        def txn(cx: Cx) -> None:
            row = _one(cx, operation.feed, operation.id, operation.party, operation.token_type)
            _require_match(cx, operation.feed, row.key, operation.if_match)
            if operation.feed in self.revoked:
                body = self.revoked[operation.feed](row)
                feeds.publish_txn(cx, operation.feed, row.key, row.ocpi, body, row.audience, self.clock.now_ms())
                return
            if operation.feed in self.withdrawn:
                self.withdrawn[operation.feed](cx, row)
            feeds.withdraw_txn(cx, operation.feed, row.key, self.clock.now_ms())
            for status in _statuses(cx, row) if operation.feed == "locations" else ():
                feeds.withdraw_txn(cx, "evse-status", status.key, self.clock.now_ms())
            if operation.feed == "sessions":
                feeds.withdraw_txn(cx, "session-leases", row.key, self.clock.now_ms())

        self._commit(operation.feed, txn, reply)

    def get(self, operation: op.GetObject, reply: Reply) -> None:
        """GetObject -> StoredObject."""

        def read(cx: Cx) -> op.StoredObject:
            return as_read(cx, _one(cx, operation.feed, operation.id, operation.party, operation.token_type))

        answer(self.store, read, reply)

    def list(self, operation: op.ListObjects, reply: Reply) -> None:
        """ListObjects -> Page of StoredObject, in the order of their keys."""

        def read(cx: Cx) -> op.Page:
            rows = feeds.list_published(cx, operation.feed, key_after(operation.after), operation.limit)
            return op.Page([as_read(cx, row) for row in rows], next_key(rows, operation.limit))

        answer(self.store, read, reply)

    def _check(self, feed: str, ocpi: str, body: bytes, path_id: str) -> Checked:
        return check_object(feed, ocpi, body, own_parties=self.own_parties, path_id=path_id)

    def _publish_txn(self, cx: Cx, feed: str, checked: Checked) -> op.StoredObject:
        if feed in self.judged:
            self.judged[feed](cx, checked)
        if feed in self.sealed:
            checked = self.sealed[feed](cx, checked)
        result = feeds.publish_txn(
            cx, feed, checked.key, checked.ocpi, checked.body, audience_of(checked), self.clock.now_ms()
        )
        if feed in self.heeded:
            self.heeded[feed](cx, checked)
        row = feeds.get_published(cx, feed, checked.key)
        assert row is not None  # noqa: S101 - it was published in this very transaction
        if isinstance(checked.view, LocationView):
            for status in _statuses(cx, row):
                if status.key.sub not in checked.view.evse_uids:  # the EVSE is gone, and its status with it
                    feeds.withdraw_txn(cx, "evse-status", status.key, self.clock.now_ms())
        read = as_read(cx, row)
        return op.StoredObject(read.body, read.etag, read.ocpi, created=result.created, changed=result.changed)

    def _commit(self, feed: str, txn: Callable[[Cx], object], reply: Reply) -> None:
        def done(outcome: object) -> None:
            if not isinstance(outcome, BaseException):
                metrics.objects.labels(feed, "out").inc()
                self.published(feed)
                if feed == "locations":
                    self.published("evse-status")
            reply(outcome)

        self.store.submit(txn, done)


def _one(cx: Cx, feed: str, id_: str, party: str | None, token_type: str | None) -> PublishedRow:
    rows = feeds.find_published(cx, feed, fold(id_))
    return choose(rows, party, token_type)


def _statuses(cx: Cx, row: PublishedRow) -> list[PublishedRow]:
    found = feeds.find_published(cx, "evse-status", row.key.id)
    return [status for status in found if status.key.party == row.key.party]


def as_read(cx: Cx, row: PublishedRow) -> op.StoredObject:
    """The object with the EVSEs' newest status, and the version of all that went into it."""
    version, body = row.version, _body(row)
    if row.feed == "locations":
        statuses = _statuses(cx, row)
        version = max([version, *(status.version for status in statuses)])
        body = merge_evse_status(body, {status.key.sub: _body(status) for status in statuses})
    return op.StoredObject(body, f'"{version}"', row.ocpi)


def _body(row: PublishedRow) -> bytes:
    assert row.body is not None  # noqa: S101 - find_published and list_published give no tombstones
    return row.body


def _require_evse(location: PublishedRow | op.StoredObject, uid: str) -> bytes:
    evse = find_evse(location.body or b"{}", uid)
    if evse is None:
        raise _no_evse(uid)
    return evse


def _no_evse(uid: str) -> NotFound:
    return NotFound(f"The location has no EVSE {uid!r}.", code="unknown-evse")


def _require_new(cx: Cx, operation: op.PutObject) -> None:
    """`If-None-Match: *`: only where there is nothing yet."""
    if operation.only_new and feeds.get_published(cx, operation.feed, operation.checked.key) is not None:
        raise PreconditionFailed("The object is there already, and the request is for a new one only.")


def _require_match(cx: Cx, feed: str, key: ObjectKey, if_match: str | None) -> None:
    if if_match is None:
        return
    row = feeds.get_published(cx, feed, key)
    etag = None if row is None or row.body is None else as_read(cx, row).etag
    if etag is None or (if_match != "*" and etag not in [tag.strip() for tag in if_match.split(",")]):
        raise PreconditionFailed("The object is not the one that If-Match names; read it again.")
