"""Events for the backend: written in the transaction of what they tell of, resolved when they are read.

A record's event holds no copy of the record: its subject is the record's row, and the body is put in from the ledger
when the event is read. So a body is stored once, and what is erased there is erased here.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from roamd.clock import Clock, rfc3339
from roamd.errors import Fault, Malformed, StoreDamaged
from roamd.log import get_logger
from roamd.model.keys import ObjectKey
from roamd.roaming import operations as op
from roamd.roaming.ledger.sound import sound_body
from roamd.roaming.ports import Reply
from roamd.roaming.privacy.pseudonyms import Beside, nothing_beside
from roamd.storage import events, feeds, ledgers, records
from roamd.storage.events import EventRow
from roamd.storage.records import RecordRow
from roamd.storage.store import Cx, Store

log = get_logger()

MAX_PAGE = 1000
MAX_PAGE_BYTES = 4 * 1024 * 1024
"""Of data in one page: a thousand records may be a quarter of a gigabyte."""


def record_event_txn(cx: Cx, row: RecordRow, type_: str, now_ms: int) -> None:
    """`record.received` or `record.state`: {record_id, state, record}."""
    record_events_txn(cx, [row], type_, now_ms)


def record_events_txn(cx: Cx, rows: Iterable[RecordRow], type_: str, now_ms: int) -> None:
    """The same event of many records."""
    events.append_many_txn(cx, [(row.peer, str(row.id), _about(row)) for row in rows], at_ms=now_ms, type=type_)


def _about(row: RecordRow) -> bytes:
    data = {"record_id": row.record_id, "state": row.state, "party": row.party, "kind": row.kind}
    if row.reason is not None:
        data["reason"] = row.reason
    return msgspec.json.encode(data)


def object_event_txn(cx: Cx, peer: str, feed: str, key: ObjectKey, version: str, type_: str, now_ms: int) -> None:
    """`object.changed` or `object.removed`: {feed, id, version, party, type?}, coalesced per object while unread.

    Two parties of a peer may use one id, and a UID may be of two types, so the key is told whole.
    """
    told = {
        "feed": feed,
        "id": key.id,
        "version": version,
        "party": key.party,
        **({"type": key.sub} if key.sub else {}),
    }
    subject, data = f"{feed} {key.party} {key.sub or '-'} {key.id}", msgspec.json.encode(told)
    events.append_txn(cx, at_ms=now_ms, peer=peer, type=type_, subject=subject, data=data, coalesce=True)


def peer_event_txn(cx: Cx, peer: str, state: str, link: str, now_ms: int) -> None:
    """`peer.state`: {peer, state, link}."""
    data = msgspec.json.encode({"peer": peer, "state": state, "link": link})
    events.append_txn(cx, at_ms=now_ms, peer=peer, type="peer.state", subject=peer, data=data)


def agreement_event_txn(cx: Cx, peer: str, number: int | None, state: str, now_ms: int) -> None:
    """`agreement.state`: {peer, number, state}; no number where the preset holds again."""
    data = msgspec.json.encode({"peer": peer, "number": number, "state": state})
    events.append_txn(cx, at_ms=now_ms, peer=peer, type="agreement.state", subject=peer, data=data)


def record_body(cx: Cx, row: RecordRow) -> bytes | None:
    """The record's own text, wherever it stands; None once it is erased. StoreDamaged when it is not what came in."""
    if row.body is not None or row.chain_id is None or row.sequence is None:
        return sound_body(row, row.body)
    return sound_body(row, ledgers.get_body(cx, row.chain_id, row.sequence))


class EventDesk:
    """Handles the operations on events. `beside` says which of our contracts a peer means."""

    def __init__(self, clock: Clock, store: Store, beside: Beside = nothing_beside) -> None:
        self._clock = clock
        self._store = store
        self._beside = beside
        self._read_upto = 0

    def read(self, operation: op.ReadEvents, reply: Reply) -> None:
        """ReadEvents -> EventPage."""
        try:
            after = cursor_number(operation.after)
        except Malformed as error:
            reply(error)
            return
        limit = max(1, min(operation.limit, MAX_PAGE))
        page, more = self._store.read(lambda cx: _page(cx, after, limit, self._beside))
        newest = int(page[-1].cursor) if page else after
        if page:  # a cursor of another store's may lie ahead of every event to come
            self._note_read(newest)
        reply(op.EventPage(page, str(newest), more))

    def _note_read(self, upto: int) -> None:
        """Remember, off the answer's path, how far was handed out: only unread events coalesce."""
        if upto > self._read_upto:
            self._read_upto = upto
            self._store.submit(
                lambda cx: events.mark_read_txn(cx, upto), lambda outcome: None, essential=True, patient=True
            )

    def acknowledge(self, operation: op.AcknowledgeEvents, reply: Reply) -> None:
        """AcknowledgeEvents -> None."""
        now_ms = self._clock.now_ms()
        try:
            upto = cursor_number(operation.cursor)
        except Malformed as error:
            reply(error)
            return
        self._store.submit(lambda cx: events.acknowledge_txn(cx, upto, now_ms), reply, essential=True)

    def webhook_position(self, operation: op.WebhookPosition, reply: Reply) -> None:
        """WebhookPosition -> cursor."""
        if operation.cursor is None:
            reply(str(self._store.read(lambda cx: events.get_position(cx, operation.name))))
            return
        upto = cursor_number(operation.cursor)

        def txn(cx: Cx) -> str:
            events.set_position_txn(cx, operation.name, upto)
            return str(upto)

        self._store.submit(txn, reply, essential=True)

    def newest(self) -> str:
        """The cursor of the newest event."""
        return str(self._store.read(events.newest) or 0)


def cursor_number(cursor: str | None) -> int:
    """The number in an event's cursor; Malformed when it is none of ours."""
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise Malformed((Fault("cursor", "is not a cursor that was given here", "bad-cursor"),))
    return int(cursor)


def _page(cx: Cx, after: int, limit: int, beside: Beside) -> tuple[list[op.Event], bool]:
    """As many events as fit, at least one if there is one; and whether there may be more."""
    page: list[op.Event] = []
    size = 0
    rows = events.page(cx, after, limit)
    for row in rows:
        event = _event(cx, row, beside)
        size += len(bytes(event.data))
        if page and size > MAX_PAGE_BYTES:
            break
        page.append(event)
    return page, len(page) < len(rows) or len(rows) == limit


def _event(cx: Cx, row: EventRow, beside: Beside) -> op.Event:
    data = row.data
    if row.type.startswith("record."):
        data = _with_record(cx, row, beside)
    elif row.type == "object.changed" and row.subject.startswith(_OF_CONTRACTS):
        data = _with_contract(data, _contract_of_object(cx, row, beside))
    return op.Event(str(row.id), str(row.id), rfc3339(row.at_ms), row.peer, row.type, msgspec.Raw(data))


_OF_CONTRACTS: Final = ("sessions ", "reservations ")
"""How the subjects of events begin whose objects are about a contract."""


class _Object(msgspec.Struct, frozen=True):
    feed: str
    id: str
    party: str = ""


def _contract_of_object(cx: Cx, row: EventRow, beside: Beside) -> str | None:
    """Looked up when it is read, so that nothing of it is stored with the event."""
    told = msgspec.json.decode(row.data, type=_Object)
    seen = feeds.get_mirrored(cx, row.peer or "", told.feed, ObjectKey(told.party, told.id))
    return None if seen is None else beside(cx, seen.peer, seen.body)


def _with_contract(data: bytes, contract_id: str | None) -> bytes:
    return data if contract_id is None else data[:-1] + b',"contract_id":' + msgspec.json.encode(contract_id) + b"}"


def _with_record(cx: Cx, row: EventRow, beside: Beside) -> bytes:
    """The stored {record_id, state, ...} with the record's text put in as its last member.

    A text that the disk has changed is left out and marked, or nobody would get the events behind it.
    """
    record = records.get_by_id(cx, int(row.subject))
    try:
        body = record_body(cx, record) if record is not None else None
    except StoreDamaged:
        log.warning("record_damaged", peer=row.peer, event_id=row.id)
        return row.data[:-1] + b',"damaged":true,"record":null}'
    contract_id = beside(cx, row.peer, body) if body and row.peer else None
    return _with_contract(row.data, contract_id)[:-1] + b',"record":' + (body or b"null") + b"}"
