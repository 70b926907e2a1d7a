"""What the store holds of a driver: walks over every table that may name one, and how each kind of row forgets him.

`SOURCES` and `NOT_PERSONAL` together are every table of the schema: a test fails when a new one is in neither, for a
table that nobody thought of is where a driver would be forgotten to be forgotten.

How rows forget: an entry and a record lose what they say and stand (the chain needs the entry, a repeat is recognised
by the record); all other rows go. The hash of an erased record's body goes, too: without the random salt of the ledger
it would let somebody try out which uid was in it. An empty hash is how an erased record is known.

`erasures` remembers the places of the ledger that were erased, so that no rolled-back peer fills one again, and what
each peer answered when it was asked to erase its own copy. It names no driver.
"""

# ruff: noqa: S608 - what is formatted into statements here are constants of this file; values are always bound

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from roamd.model.keys import fold
from roamd.storage import ledgers, meta
from roamd.storage.cx import Cx, within_bytes
from roamd.storage.records import DISPUTED, PARKED, QUEUED, RecordRow

PAGE_ROWS = 256
PAGE_BYTES = 1 << 20
"""One page of a walk is some 5 ms of the loop's time; other work goes between two pages."""


@dataclass(frozen=True, slots=True)
class Source:
    """A table that may name drivers: what is told of a row, and the column that is searched."""

    table: str
    columns: tuple[str, ...]
    text: str
    where: str = "1"


_DECIDED = ("at_ms", "peer", "direction", "authorization_id", "decision", "reason", "source")

SOURCES = (
    Source("entries", ("kind", "record_id", "at_ms", "ocpi"), "body", "body IS NOT NULL"),
    Source("records", ("direction", "party", "record_id", "peer", "kind", "state", "created_ms"), "body",
           "body IS NOT NULL"),
    Source("objects", ("feed", "party", "id", "sub", "version", "ocpi", "changed_ms"), "body"),
    Source("mirror", ("peer", "feed", "party", "id", "sub", "ocpi"), "body"),
    Source("events", ("at_ms", "peer", "type", "subject"), "data"),
    Source("commands", ("direction", "peer", "command_id", "command", "state", "reason", "asked_ms"), "answer",
           "answer IS NOT NULL"),
    Source("decisions", (*_DECIDED, "location_id", "evse_uid"),
           "CAST(json_object('type', type, 'uid', uid, 'contract_id', contract_id) AS BLOB)",
           "uid IS NOT NULL OR contract_id IS NOT NULL"),
    Source("grants", ("peer", "party", "id", "until_ms"), "CAST(json_object('type', type, 'uid', uid) AS BLOB)"),
    Source("grant_uses", ("at_ms", "peer", "party", "id", "authorization_id", "reference"), "body", "body IS NOT NULL"),
    Source("pseudonyms", ("peer",),
           "CAST(json_object('contract_id', contract_id, 'pseudonym', pseudonym) AS BLOB)"),
    Source("idempotency", ("key", "operation", "at_ms"), "answer"),  # last: it is searched for the records, too
)  # fmt: skip

NOT_PERSONAL = {
    "meta": "names and secrets of the daemon itself",
    "counters": "numbers",
    "runs": "starts of the process",
    "peers": "companies",
    "invitations": "companies",
    "cursors": "places in feeds",
    "chains": "places in ledgers",
    "agreements": "companies",
    "presets": "companies",
    "marks": "signatures",
    "acknowledgements": "numbers",
    "positions": "numbers",
    "leases": "ids of sessions; a lease goes with its session",
    "list_keys": "keys of companies",
    "record_counts": "numbers",
    "cards": "digests; one goes with its published credential",
    "price_checks": "amounts; a check goes with its record",
    "accounts": "amounts, by record",
    "statements": "amounts, by month",
    "ocpi_backends": "companies",
    "ocpi_routes": "companies",
    "ocpi_pushed": "numbers",
    "ocpi_sent": "places of records and what was answered; the hash goes with its record",
    "ocpi_results": "companies, and ids of commands",
    "ocpi_quirks": "companies",
    "ocpi_listed": "digests of keys; one goes when its backend lists it no longer",
    "erasures": "places in ledgers",
    "backups": "names of files",
    "migrations": "the schema's own",
}
"""Tables that name no driver, and what they hold instead."""


class Seen(NamedTuple):
    """One row of a source: its number, what is told of it by column, and its text (None: a tombstone)."""

    row: int
    about: dict[str, Any]
    text: bytes | None


def page(cx: Cx, source: Source, after: int) -> list[Seen]:
    """The rows of a source behind a number, as far as one page goes; empty at the end."""
    rows = cx.each(
        f"SELECT rowid, {', '.join(source.columns)}, {source.text} FROM {source.table}"
        f" WHERE rowid > ? AND ({source.where}) ORDER BY rowid LIMIT ?",
        (after, PAGE_ROWS),
    )
    bounded = within_bytes(rows, len(source.columns) + 1, PAGE_BYTES)
    return [Seen(row[0], dict(zip(source.columns, row[1:-1], strict=True)), row[-1]) for row in bounded]


# --- the ledger -----------------------------------------------------------------------------------------------------


class Erased(NamedTuple):
    """A place of a ledger whose content was erased. `ask` 1: the peer is asked to erase its copy.

    `ask_entry` is the entry that asks, None while there is none; `answer` is ERASED, KEPT or REFUSED once it came.
    """

    peer: str
    own: bool
    epoch: bytes
    sequence: int
    record_id: str
    request: str
    erased_ms: int
    ask: bool
    ask_entry: int | None = None
    answer: str | None = None
    until_ms: int | None = None
    answered_ms: int | None = None


_COLUMNS = ", ".join(Erased._fields)
_PLACE = "peer = ? AND own = ? AND epoch = ? AND sequence = ?"


def erase_entry_txn(cx: Cx, chain_id: int, sequence: int) -> None:
    """Take body and salt out of an entry, and out of its record whatever could give them back."""
    ledgers.erase_entry_txn(cx, chain_id, sequence)
    row = record_at(cx, chain_id, sequence)
    if row is not None:
        erase_record_txn(cx, row.id)


def erase_record_txn(cx: Cx, record: int) -> None:
    """Take its text out of a record that has no place in a chain."""
    cx.run(f"{_FORGET} WHERE id = ?", (record,))
    cx.run("DELETE FROM price_checks WHERE record = ?", (record,))
    cx.run("UPDATE ocpi_sent SET body_hash = x'' WHERE record = ?", (record,))


_FORGET = "UPDATE records SET body = NULL, body_hash = x'', authorization_reference = NULL, reason = NULL"
"""The reason may repeat what somebody wrote in a dispute."""


def is_erased(row: RecordRow) -> bool:
    """Whether a record's content was erased: it is not taken in again, and cannot be told from another content."""
    return not row.body_hash


def record_at(cx: Cx, chain_id: int, sequence: int) -> RecordRow | None:
    """The record whose content stands at a place of a chain."""
    entry = ledgers.get_entry(cx, chain_id, sequence)
    if entry is None:
        return None
    row = cx.one(  # by its id first: places are not indexed
        f"SELECT {', '.join(RecordRow._fields)} FROM records WHERE record_key = ? AND chain_id = ? AND sequence = ?",
        (fold(entry.record_id), chain_id, sequence),
    )
    return RecordRow._make(row) if row else None


def undelivered(cx: Cx, chain_id: int, sequence: int) -> RecordRow | None:
    """The own record at a place if the peer has not settled it: erasing it would lose it."""
    row = record_at(cx, chain_id, sequence)
    return row if row is not None and row.direction == "out" and row.state in (QUEUED, PARKED) else None


def is_open(cx: Cx, chain_id: int, sequence: int) -> bool:
    """Whether somebody may still need the content of an entry as proof."""
    row = record_at(cx, chain_id, sequence)
    return row is not None and row.state in (QUEUED, PARKED, DISPUTED)


def put_txn(cx: Cx, row: Erased) -> None:
    """Remember an erased place; one that is remembered already stays as it is."""
    marks = ", ".join("?" * len(row))
    cx.run(
        f"INSERT INTO erasures ({_COLUMNS}) VALUES ({marks}) ON CONFLICT (peer, own, epoch, sequence) DO NOTHING", row
    )


def erased_within(cx: Cx, chain_id: int, first: int, last: int) -> frozenset[int]:
    """Which sequences of a chain were erased here, though the entries may not be here (any more)."""
    rows = cx.run(
        "SELECT sequence FROM chains JOIN erasures USING (peer, own, epoch)"
        " WHERE chain_id = ? AND sequence BETWEEN ? AND ?",
        (chain_id, first, last),
    )
    return frozenset(row[0] for row in rows)


def unasked(cx: Cx, peer: str, limit: int) -> list[Erased]:
    """Places that the peer is still to be asked about, oldest first."""
    sql = f"SELECT {_COLUMNS} FROM erasures WHERE peer = ? AND ask = 1 AND ask_entry IS NULL ORDER BY id LIMIT ?"
    return [_erased(row) for row in cx.run(sql, (peer, limit))]


def asked_txn(cx: Cx, row: Erased, entry: int) -> None:
    """This entry of our own chain asks."""
    cx.run(f"UPDATE erasures SET ask_entry = ? WHERE {_PLACE}", (entry, row.peer, row.own, row.epoch, row.sequence))


def answered_txn(
    cx: Cx, peer: str, own: bool, epoch: bytes, sequence: int, answer: str, until_ms: int | None, now_ms: int
) -> bool:
    """The peer says what became of its copy; False when it was never asked."""
    values = (answer, until_ms, now_ms, peer, own, epoch, sequence)
    return cx.change(f"UPDATE erasures SET answer = ?, until_ms = ?, answered_ms = ? WHERE {_PLACE}", values) > 0


def refused_txn(cx: Cx, entry: int, now_ms: int) -> None:
    """The peer refuses the entry that asks: it does not know what is meant."""
    cx.run("UPDATE erasures SET answer = 'REFUSED', answered_ms = ? WHERE ask_entry = ?", (now_ms, entry))


class Summary(NamedTuple):
    """How one request stands with one peer: how many places it was asked about, and what it answered of how many.

    `waiting` it was asked about and did not answer yet; of `unknown` it has no such entry; `unasked` have no entry yet,
    because our chain towards it is being mended.
    """

    request: str
    peer: str
    erased_ms: int
    kept_until_ms: int | None
    asked: int
    erased: int
    kept: int
    unknown: int
    refused: int
    waiting: int
    unasked: int


_COUNTED = ("ask", *(f"answer IS '{answer}'" for answer in ("ERASED", "KEPT", "UNKNOWN", "REFUSED")),
            "ask AND ask_entry IS NOT NULL AND answer IS NULL", "ask AND ask_entry IS NULL")  # fmt: skip


def summaries(cx: Cx, request: str | None = None) -> list[Summary]:
    """Every request, or one, by peer, oldest first."""
    rows = cx.run(
        f"SELECT request, peer, MIN(erased_ms), MAX(until_ms), {', '.join(f'SUM({each})' for each in _COUNTED)}"
        " FROM erasures WHERE request = COALESCE(?, request) AND request <> '' GROUP BY request, peer ORDER BY MIN(id)",
        (request,),
    )
    return [Summary._make(row) for row in rows]


def _erased(row: tuple[Any, ...]) -> Erased:
    erased = Erased._make(row)
    return erased._replace(own=bool(erased.own), ask=bool(erased.ask))


# --- everything else ------------------------------------------------------------------------------------------------


def delete_txn(cx: Cx, table: str, rows: Iterable[int]) -> None:
    """Delete rows of a source by their numbers."""
    if table not in LINKED and all(source.table != table for source in SOURCES):
        raise ValueError(f"{table} is not a table that drivers are deleted from")
    cx.many(f"DELETE FROM {table} WHERE rowid = ?", [(row,) for row in rows])


def erase_use_txn(cx: Cx, row: int) -> None:
    """Take a driver out of a start under a grant: that there was one still counts."""
    cx.run("UPDATE grant_uses SET uid = NULL, body = NULL WHERE row_id = ?", (row,))


def drop_tombstone_txn(cx: Cx, row: int) -> None:
    """Forget that an object was withdrawn, because its very key names a driver.

    Followers that have not come so far get a replacing snapshot, as for a tombstone that was purged by age.
    """
    gone = cx.one("DELETE FROM objects WHERE row_id = ? AND body IS NULL RETURNING feed, version", (row,))
    if gone is not None:
        meta.raise_txn(cx, f"purged:{gone[0]}", gone[1])


LINKED = {
    "decisions": (
        (*_DECIDED, "reference"),
        "reference = ?",
        None,
    ),
    "commands": (
        ("asked_ms", "peer", "direction", "command_id", "command", "state", "reason", "session_id"),
        "authorization_reference = ? AND due_ms IS NULL",
        "UPPER(session_id) = UPPER(?) AND session_id IS NOT NULL AND due_ms IS NULL",
    ),
}
"""Tables whose rows are a driver's by an authorization reference or a session of his: what is told of a row, and how it
is found by either. A command that roamd still has to do with is left until it has come to its end.
"""


def linked(cx: Cx, table: str, references: Iterable[str], sessions: Iterable[str]) -> list[Seen]:
    """Rows that bore one of these references or led to one of these sessions."""
    columns, by_reference, by_session = LINKED[table]
    sought = [(by_reference, reference) for reference in references]
    sought += [(by_session, session) for session in sessions] if by_session else []
    found: dict[int, Seen] = {}
    for where, value in sought:
        for row in cx.run(f"SELECT rowid, {', '.join(columns)} FROM {table} WHERE {where}", (value,)):
            found[row[0]] = Seen(row[0], dict(zip(columns, row[1:], strict=True)), None)
    return list(found.values())


# --- backups --------------------------------------------------------------------------------------------------------


def note_backup_txn(cx: Cx, path: str, now_ms: int) -> None:
    """Remember where a copy of the store was put."""
    cx.run(
        "INSERT INTO backups (path, made_ms) VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET made_ms = excluded.made_ms",
        (path, now_ms),
    )


def backups(cx: Cx) -> list[tuple[str, int]]:
    """Every copy that we made by request, with its time, oldest first."""
    return [(path, made_ms) for path, made_ms in cx.run("SELECT path, made_ms FROM backups ORDER BY made_ms, path")]


def copies_beside(path: Path) -> list[Path]:
    """Copies that we made of our own accord: before migrations, and the store that a restored backup replaced."""
    names = (f"{path.name}.before-*", f"{path.name}.replaced-*")
    return sorted(file for name in names for file in path.parent.glob(name) if not file.name.endswith(("-wal", "-shm")))
