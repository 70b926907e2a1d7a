"""The leases of peers' sessions: until when each holds, and which have run out."""

from typing import NamedTuple

from roamd.storage.cx import Cx, Row


class LeaseRow(NamedTuple):
    """One session's lease; `id` is folded, `until_ms` is by the peer's clock."""

    peer: str
    party: str
    id: str
    until_ms: int
    stale: bool


def _row(row: Row) -> LeaseRow:
    peer, party, session, until_ms, stale = row
    return LeaseRow(peer, party, session, until_ms, bool(stale))


def put_txn(cx: Cx, peer: str, party: str, session: str, until_ms: int) -> bool:
    """Renew a lease; whether it had run out."""
    was_stale = cx.value("SELECT stale FROM leases WHERE peer = ? AND party = ? AND id = ?", (peer, party, session))
    cx.run(
        "INSERT INTO leases (peer, party, id, until_ms, stale) VALUES (?, ?, ?, ?, 0)"
        " ON CONFLICT (peer, party, id) DO UPDATE SET until_ms = excluded.until_ms, stale = 0",
        (peer, party, session, until_ms),
    )
    return bool(was_stale)


def remove_txn(cx: Cx, peer: str, party: str, session: str) -> None:
    """The session has ended, or is not shown any more."""
    cx.run("DELETE FROM leases WHERE peer = ? AND party = ? AND id = ?", (peer, party, session))


def first_until(cx: Cx) -> int | None:
    """When the next lease runs out."""
    until_ms: int | None = cx.value("SELECT MIN(until_ms) FROM leases WHERE stale = 0")
    return until_ms


def running_until(cx: Cx, before_ms: int) -> list[LeaseRow]:
    """Leases that run out before a moment."""
    sql = "SELECT peer, party, id, until_ms, stale FROM leases WHERE stale = 0 AND until_ms < ? ORDER BY until_ms"
    return [_row(row) for row in cx.run(sql, (before_ms,))]


def stale_of(cx: Cx, peer: str) -> list[LeaseRow]:
    """A peer's sessions whose leases have run out."""
    sql = "SELECT peer, party, id, until_ms, stale FROM leases WHERE stale = 1 AND peer = ? ORDER BY id"
    return [_row(row) for row in cx.run(sql, (peer,))]


def mark_stale_txn(cx: Cx, row: LeaseRow) -> bool:
    """It has run out, unless it was renewed meanwhile."""
    sql = "UPDATE leases SET stale = 1 WHERE peer = ? AND party = ? AND id = ? AND until_ms = ? AND stale = 0"
    return cx.change(sql, (row.peer, row.party, row.id, row.until_ms)) > 0


def drop_peer_txn(cx: Cx, peer: str) -> None:
    """Forget a peer's."""
    cx.run("DELETE FROM leases WHERE peer = ?", (peer,))
