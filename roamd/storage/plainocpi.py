"""Partners that speak plain OCPI and do not run roamd: who they are, how far each was told of our feeds, and the ledger
of what was sent and answered.

That ledger is ours alone. Nobody signed it, so it is evidence for our own eyes: rows are only added, and a trigger of
the schema refuses to change or remove one (its hash alone goes when a driver is erased).
"""

from typing import NamedTuple

from roamd.storage.cx import Cx
from roamd.storage.records import PARKED, QUEUED, RecordRow, set_state_txn


class PlainPartner(NamedTuple):
    """A partner at a plain OCPI address. `roles` are ours (cso, csp); `private` lets its address be a private one."""

    peer: str
    name: str
    parties: tuple[str, ...]
    roles: tuple[str, ...]
    private: bool
    created_ms: int


class SentRow(NamedTuple):
    """One try. `http` None: no answer was read; `location` is where the partner says that the record stands."""

    peer: str
    record: int
    body_hash: bytes
    at_ms: int
    http: int | None
    ocpi: int | None
    location: str | None


def load_all(cx: Cx) -> list[PlainPartner]:
    """Every route, by label."""
    rows = cx.run("SELECT peer, name, parties, roles, private, created_ms FROM ocpi_routes ORDER BY peer")
    return [
        PlainPartner(peer, name, tuple(parties.split()), tuple(roles.split()), bool(private), created_ms)
        for peer, name, parties, roles, private, created_ms in rows
    ]


def put_txn(cx: Cx, row: PlainPartner) -> None:
    """Add a route, or replace the one with this label."""
    cx.run(
        "INSERT INTO ocpi_routes (peer, name, parties, roles, private, created_ms) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (peer) DO UPDATE SET name = excluded.name, parties = excluded.parties, roles = excluded.roles,"
        " private = excluded.private",
        (row.peer, row.name, " ".join(row.parties), " ".join(row.roles), int(row.private), row.created_ms),
    )


def remove_txn(cx: Cx, peer: str) -> None:
    """Forget a route. What was sent over it stays."""
    cx.run("DELETE FROM ocpi_routes WHERE peer = ?", (peer,))
    cx.run("DELETE FROM ocpi_pushed WHERE peer = ?", (peer,))


def pushed_upto(cx: Cx, peer: str, feed: str) -> int:
    """The version of our feed up to which the partner was told everything."""
    return int(cx.value("SELECT version FROM ocpi_pushed WHERE peer = ? AND feed = ?", (peer, feed)) or 0)


def pushed_txn(cx: Cx, peer: str, feed: str, version: int) -> None:
    """The partner was told everything up to this version."""
    cx.run(
        "INSERT INTO ocpi_pushed (peer, feed, version) VALUES (?, ?, ?)"
        " ON CONFLICT (peer, feed) DO UPDATE SET version = excluded.version",
        (peer, feed, version),
    )


def forget_pushed_txn(cx: Cx, peer: str) -> None:
    """The partner registered anew: it is told everything again."""
    cx.run("DELETE FROM ocpi_pushed WHERE peer = ?", (peer,))


def sent_txn(cx: Cx, row: SentRow) -> None:
    """Add to the ledger."""
    cx.run(
        "INSERT INTO ocpi_sent (peer, record, body_hash, at_ms, http, ocpi, location) VALUES (?, ?, ?, ?, ?, ?, ?)", row
    )


def sent_of(cx: Cx, record: int) -> list[SentRow]:
    """Every try with a record (its id in `records`), oldest first."""
    rows = cx.run(
        "SELECT peer, record, body_hash, at_ms, http, ocpi, location FROM ocpi_sent WHERE record = ? ORDER BY number",
        (record,),
    )
    return [SentRow._make(row) for row in rows]


def was_sent(cx: Cx, record: int) -> bool:
    """Whether a record was ever sent, or begun to be."""
    return cx.one("SELECT 1 FROM ocpi_sent WHERE record = ? LIMIT 1", (record,)) is not None


def move_queued_txn(cx: Cx, row: RecordRow, state: str, reason: str, now_ms: int) -> RecordRow | None:
    """A QUEUED record of a route is taken, or set aside; None when it is no longer QUEUED."""
    found = cx.one("SELECT 1 FROM records WHERE id = ? AND peer = ? AND state = ?", (row.id, row.peer, QUEUED))
    if found is None:
        return None
    set_state_txn(cx, row.id, state, reason, now_ms=now_ms)
    return row._replace(state=state, reason=reason, updated_ms=now_ms)


def park_queued_txn(cx: Cx, rows: list[RecordRow], reason: str, now_ms: int) -> list[RecordRow]:
    """Set queued records aside; those that were."""
    parked = [move_queued_txn(cx, row, PARKED, reason, now_ms) for row in rows]
    return [row for row in parked if row is not None]
