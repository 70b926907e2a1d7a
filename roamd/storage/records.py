"""Service records: where each one stands. The law `accepted = settled + queued + parked` is read straight from here.

An own record ("out") is one wherever it goes: unique by (party, record id). A received one ("in") is unique by
(peer, party, record id). Ids are compared folded and kept as spelled. While a record has a place in a chain its body
stands there, once; before that (PARKED at intake) it stands here.
"""

# ruff: noqa: S608 - what is formatted into statements here are constants of this file; values are always bound

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from roamd.model.keys import fold
from roamd.storage import ledgers
from roamd.storage.cx import ROWS, Cx, Row

QUEUED = "QUEUED"
DELIVERED = "DELIVERED"
ACCEPTED = "ACCEPTED"
DISPUTED = "DISPUTED"
CREDITED = "CREDITED"
FINAL = "FINAL"
PARKED = "PARKED"
SETTLED = (DELIVERED, ACCEPTED, DISPUTED, CREDITED, FINAL)
"""Receipted by the peer and not refused."""


class RecordRow(NamedTuple):
    """One record. `id` is given by the store (0 before) and is the cursor of lists."""

    direction: str
    party: str
    record_id: str
    peer: str | None
    kind: str
    state: str
    reason: str | None
    ocpi: str
    body_hash: bytes
    body: bytes | None
    chain_id: int | None
    sequence: int | None
    authorization_reference: str | None
    created_ms: int
    updated_ms: int
    id: int = 0


class Counts(NamedTuple):
    """A peer's own records: accepted from the backend, and where they are now."""

    accepted: int
    settled: int
    queued: int
    parked: int


_RECORD = ", ".join(RecordRow._fields)
_STORED = RecordRow._fields[:-1]
_IDENTITY = ("direction", "party", "record_id", "created_ms")
_INSERT = f"INSERT INTO records (scope, record_key, {', '.join(_STORED)}) VALUES {ROWS}"
_PUT = f"{_INSERT} ON CONFLICT (record_key, party, direction, scope) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in _STORED if name not in _IDENTITY
)
_ADD = f"{_INSERT} ON CONFLICT (record_key, party, direction, scope) DO NOTHING RETURNING record_key, party, id"
_GET = f"SELECT {_RECORD} FROM records WHERE record_key = ? AND party = ? AND direction = ? AND scope = ?"
_OWN_OF = (
    f"SELECT {_RECORD} FROM (VALUES {ROWS}) AS sought CROSS JOIN records"
    " ON record_key = sought.column1 AND party = sought.column2 AND direction = 'out' AND scope = ''"
)


def _scope(direction: str, peer: str | None) -> str:
    """Within what a record's (party, id) is unique."""
    return "" if direction == "out" else peer or ""


def put_txn(cx: Cx, row: RecordRow) -> int:
    """Insert a record, or replace all but its identity and creation time (a retry that moves it); gives its id.

    Who takes in a record looks with `get` first, in the same transaction: this does not compare contents.
    """
    ((number,),) = cx.blocks(_PUT + " RETURNING id", [_values(row)])
    return int(number)


def put_many_txn(cx: Cx, rows: Iterable[RecordRow]) -> None:
    """`put_txn` for many rows, whose ids are not asked for."""
    cx.blocks(_PUT, [_values(row) for row in rows])


def add_many_txn(cx: Cx, rows: Sequence[RecordRow]) -> list[int]:
    """Insert the records that are not there yet, all of one direction and peer; for each its id, or 0 if one was there.

    Of two alike in `rows` the first one counts.
    """
    added = {(key, party): number for key, party, number in cx.blocks(_ADD, [_values(row) for row in rows])}
    return [added.pop((fold(row.record_id), row.party), 0) for row in rows]


def _values(row: RecordRow) -> tuple[Any, ...]:
    return (_scope(row.direction, row.peer), fold(row.record_id), *row[:-1])


def get(cx: Cx, direction: str, party: str, record_id: str, *, peer: str | None = None) -> RecordRow | None:
    """One record; `peer` names the sender of a received one and does not matter for an own one."""
    row = cx.one(_GET, (fold(record_id), party, direction, _scope(direction, peer)))
    return RecordRow._make(row) if row else None


def own_of(cx: Cx, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], RecordRow]:
    """The own records among these (party, folded id)."""
    rows = cx.blocks(_OWN_OF, [(key, party) for party, key in keys])
    return {(row.party, fold(row.record_id)): row for row in map(RecordRow._make, rows)}


def get_by_id(cx: Cx, record: int) -> RecordRow | None:
    """One record by its id here."""
    row = cx.one(f"SELECT {_RECORD} FROM records WHERE id = ?", (record,))
    return RecordRow._make(row) if row else None


def find(cx: Cx, record_id: str, *, party: str | None = None, direction: str | None = None) -> list[RecordRow]:
    """All records of this id, oldest first."""
    where, params = _where({"record_key": fold(record_id), "party": party, "direction": direction})
    rows = cx.run(f"SELECT {_RECORD} FROM records WHERE {where} ORDER BY id", params)
    return [RecordRow._make(row) for row in rows]


def page(
    cx: Cx, after: int, limit: int, *, state: str | None = None, peer: str | None = None, direction: str | None = None
) -> list[RecordRow]:
    """A page of records by id, oldest first; `after` is the id of the last one seen, 0 at the start."""
    where, params = _where({"state": state, "peer": peer, "direction": direction})
    where = f"{where} AND id > ?" if where else "id > ?"
    rows = cx.run(f"SELECT {_RECORD} FROM records WHERE {where} ORDER BY id LIMIT ?", (*params, after, limit))
    return [RecordRow._make(row) for row in rows]


def _where(named: dict[str, str | None]) -> tuple[str, list[Any]]:
    """A condition from the names that have a value."""
    given = {name: value for name, value in named.items() if value is not None}
    return " AND ".join(f"{name} = ?" for name in given), list(given.values())


def queued_at(cx: Cx, chain_id: int, sequence: int) -> RecordRow | None:
    """The own record at a place of a chain, while it is QUEUED."""
    row = cx.one(
        f"SELECT {_RECORD} FROM records WHERE chain_id = ? AND sequence = ? AND state = 'QUEUED' AND direction = 'out'",
        (chain_id, sequence),
    )
    return RecordRow._make(row) if row else None


def set_state_txn(cx: Cx, record: int, state: str, reason: str | None, *, now_ms: int) -> None:
    """Move a record (by its id here) to a state."""
    cx.run("UPDATE records SET state = ?, reason = ?, updated_ms = ? WHERE id = ?", (state, reason, now_ms, record))


def undisputed(cx: Cx, peer: str, received_before_ms: int, limit: int) -> list[RecordRow]:
    """Received records that are neither disputed nor ended, of before a time, oldest first in each state."""
    due: list[RecordRow] = []
    for state in (DELIVERED, ACCEPTED):
        # By id, which is the order of arrival: the first that is too new ends the search.
        rows = cx.run(
            f"SELECT {_RECORD} FROM records WHERE direction = 'in' AND peer = ? AND state = ? ORDER BY id LIMIT ?",
            (peer, state, limit - len(due)),
        )
        due += [row for row in map(RecordRow._make, rows) if row.created_ms <= received_before_ms]
    return due


def drop_txn(cx: Cx, record: int) -> bool:
    """Give up a record that has no place in a chain and was never sent; False when it is unknown or neither."""
    never_sent = "NOT EXISTS (SELECT 1 FROM ocpi_sent WHERE record = id)"
    return cx.change(f"DELETE FROM records WHERE id = ? AND chain_id IS NULL AND {never_sent}", (record,)) > 0


def without_place(cx: Cx, peer: str) -> list[RecordRow]:
    """Queued own records of a peer that have no place in a chain (while a rollback is mended), oldest first."""
    rows = cx.run(
        f"SELECT {_RECORD} FROM records WHERE direction = 'out' AND peer = ? AND state = 'QUEUED' AND chain_id IS NULL"
        " ORDER BY id",
        (peer,),
    )
    return [RecordRow._make(row) for row in rows]


def displace_txn(cx: Cx, chain_id: int, after_sequence: int, *, now_ms: int) -> list[RecordRow]:
    """Take own records behind a sequence out of the chain, before `ledgers.truncate_txn`: bodies move back here."""
    rows = cx.run(
        f"SELECT {_RECORD} FROM records WHERE chain_id = ? AND sequence > ? AND direction = 'out' ORDER BY sequence",
        (chain_id, after_sequence),
    )
    displaced = []
    for row in map(RecordRow._make, rows):
        entry = ledgers.get_entry(cx, chain_id, row.sequence or 0)
        body = entry.body if entry is not None else row.body
        displaced.append(row._replace(body=body, chain_id=None, sequence=None, updated_ms=now_ms))
        put_txn(cx, displaced[-1])
    return displaced


def mark_delivered_txn(cx: Cx, chain_id: int, upto_sequence: int, *, now_ms: int) -> list[RecordRow]:
    """A receipt came: queued records of an own chain up to it are DELIVERED. Those that changed, in chain order."""
    rows: list[Row] = cx.run(
        f"UPDATE records SET state = ?, updated_ms = ? WHERE chain_id = ? AND sequence <= ? AND state = 'QUEUED'"
        f" AND direction = 'out' RETURNING {_RECORD}",
        (DELIVERED, now_ms, chain_id, upto_sequence),
    )
    return sorted((RecordRow._make(row) for row in rows), key=lambda row: row.sequence or 0)


def counts(cx: Cx) -> dict[str | None, Counts]:
    """The law per peer; records that found no peer stand under None. The store counts as records change."""
    by_peer: dict[str | None, dict[str, int]] = {}
    for peer, state, count in cx.run("SELECT peer, state, count FROM record_counts WHERE count > 0 ORDER BY peer"):
        by_peer.setdefault(peer or None, {})[state] = count
    return {peer: _counts(of_state) for peer, of_state in by_peer.items()}


def _counts(of_state: Mapping[str, int]) -> Counts:
    settled = sum(of_state.get(state, 0) for state in SETTLED)
    return Counts(sum(of_state.values()), settled, of_state.get(QUEUED, 0), of_state.get(PARKED, 0))


def count_received(cx: Cx) -> dict[tuple[str, str], int]:
    """How many received records each peer has in each state."""
    rows = cx.run("SELECT peer, state, COUNT(*) FROM records WHERE direction = 'in' GROUP BY peer, state")
    return {(peer, state): count for peer, state, count in rows}
