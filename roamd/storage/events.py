"""Events for the backend: everything that came in, in order, kept until a day after it was acknowledged.

An event's id is its cursor: it only grows and is never used twice. Events that only say "look again" (`object.*`)
coalesce: while nobody has read the last one about a subject, the next one takes its place at the end of the line.
`mark_read_txn` notes how far pages were handed out; it may lag, because what it then lets go is told again by the
newer event. Record events never coalesce.
"""

from collections.abc import Iterable
from typing import NamedTuple

from roamd.storage import meta
from roamd.storage.cx import NO_LIMIT, Cx

_READ = "events-read"
_MINUTE_MS = 60_000


class EventRow(NamedTuple):
    """One event; `data` is ready JSON text."""

    id: int
    at_ms: int
    peer: str | None
    type: str
    subject: str
    data: bytes


def append_txn(
    cx: Cx,
    *,
    at_ms: int,
    peer: str | None,
    type: str,  # noqa: A002 - the word of the API
    subject: str,
    data: bytes,
    coalesce: bool = False,
) -> int:
    """Add an event; its id. With `coalesce` it replaces unread ones of the same peer, type group and subject."""
    coalescing = f"{type.partition('.')[0]} {peer or ''} {subject}" if coalesce else None
    if coalescing is not None:
        cx.run("DELETE FROM events WHERE coalescing = ? AND id > ?", (coalescing, meta.counter(cx, _READ)))
    event_id: int = cx.value(
        "INSERT INTO events (at_ms, peer, type, subject, coalescing, data) VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        (at_ms, peer, type, subject, coalescing, data),
    )
    return event_id


def append_many_txn(cx: Cx, rows: Iterable[tuple[str | None, str, bytes]], *, at_ms: int, type: str) -> None:  # noqa: A002
    """Add events of one type that do not coalesce: the peer, subject and data of each."""
    sql = "INSERT INTO events (at_ms, type, peer, subject, data) VALUES {rows}"
    cx.blocks(sql, [(at_ms, type, *row) for row in rows])


def page(cx: Cx, after: int, limit: int) -> list[EventRow]:
    """Events after a cursor, in order; `after` 0 is from the oldest kept."""
    sql = "SELECT id, at_ms, peer, type, subject, data FROM events WHERE id > ? ORDER BY id LIMIT ?"
    return [EventRow._make(row) for row in cx.run(sql, (after, limit))]


def oldest(cx: Cx) -> int | None:
    """The id of the oldest event kept."""
    value: int | None = cx.value("SELECT MIN(id) FROM events")
    return value


def newest(cx: Cx) -> int | None:
    """The id of the newest event kept."""
    value: int | None = cx.value("SELECT MAX(id) FROM events")
    return value


def mark_read_txn(cx: Cx, upto: int) -> None:
    """Events up to this one were handed out: they stay as they are from now on."""
    meta.raise_txn(cx, _READ, upto)


def acknowledge_txn(cx: Cx, upto: int, now_ms: int) -> None:
    """The backend has taken in everything up to here; it may go a day from now.

    A cursor from the future counts as the newest one: no event is let go before it was there to be read.
    """
    upto = min(upto, newest(cx) or 0)
    mark_read_txn(cx, upto)
    cx.run(
        "INSERT INTO acknowledgements (minute, upto) VALUES (?, ?)"
        " ON CONFLICT (minute) DO UPDATE SET upto = excluded.upto WHERE excluded.upto > acknowledgements.upto",
        (now_ms // _MINUTE_MS, upto),
    )


def acknowledged_upto(cx: Cx) -> int:
    """The highest cursor that was ever acknowledged and is not yet deleted; 0 when there is none."""
    return cx.value("SELECT MAX(upto) FROM acknowledgements") or 0


def delete_acknowledged_txn(cx: Cx, older_than_ms: int, limit: int = NO_LIMIT) -> int:
    """Delete what was acknowledged before a moment, the oldest `limit` of it; how many events went.

    A minute of acknowledgements counts as its end, so nothing goes early.
    """
    minutes = older_than_ms // _MINUTE_MS
    upto = cx.value("SELECT MAX(upto) FROM acknowledgements WHERE minute < ?", (minutes,))
    if upto is None:
        return 0
    sql = "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id <= ? ORDER BY id LIMIT ?)"
    gone = cx.change(sql, (upto, limit))
    if gone < limit:
        cx.run("DELETE FROM acknowledgements WHERE minute < ?", (minutes,))
    return gone


def get_position(cx: Cx, name: str) -> int:
    """How far a webhook has come; 0 at the start."""
    return cx.value("SELECT event_id FROM positions WHERE name = ?", (name,)) or 0


def set_position_txn(cx: Cx, name: str, event_id: int) -> None:
    """Keep how far a webhook has come."""
    cx.run(
        "INSERT INTO positions (name, event_id) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET event_id = excluded.event_id",
        (name, event_id),
    )
