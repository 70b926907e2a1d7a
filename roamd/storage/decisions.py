"""The journal of authorization decisions, written in groups, off the answer's path.

`uid`, `contract_id`, `location_id` and `evse_uid` say who was where: they are personal, are shown by no log, and
`erase_txn` takes them out. `facts` are the words by which the decision table came to `row` (`model.decision`), empty
where the backend decided.
"""

# ruff: noqa: S608 - what is formatted into statements here are constants of this file; values are always bound

from collections.abc import Iterable
from typing import NamedTuple

from roamd.storage.cx import NO_LIMIT, Cx


class DecisionRow(NamedTuple):
    """One decision. `direction` is "out" when we asked, "in" when we were asked. `uid` is canonical."""

    authorization_id: str
    at_ms: int
    peer: str | None
    direction: str
    decision: str
    reason: str
    source: str
    reference: str | None
    elapsed_ms: float
    service: str = "CHARGING"
    type: str | None = None
    uid: str | None = None
    contract_id: str | None = None
    location_id: str | None = None
    evse_uid: str | None = None
    row: int | None = None
    facts: str = ""


_COLUMNS = ", ".join(DecisionRow._fields)
_APPEND = f"INSERT INTO decisions ({_COLUMNS}) VALUES ({', '.join('?' for _ in DecisionRow._fields)})"


def append_many_txn(cx: Cx, rows: Iterable[DecisionRow]) -> None:
    """Add decisions to the journal."""
    cx.many(_APPEND, rows)


def peer_of_reference(cx: Cx, reference: str) -> str | None:
    """Which peer gave this authorization reference, the latest if several did."""
    peer: str | None = cx.value(
        "SELECT peer FROM decisions WHERE reference = ? AND peer IS NOT NULL ORDER BY id DESC LIMIT 1", (reference,)
    )
    return peer


def peers_of_reference(cx: Cx, reference: str) -> set[str]:
    """All peers that gave this authorization reference."""
    return {
        row[0] for row in cx.run("SELECT peer FROM decisions WHERE reference = ? AND peer IS NOT NULL", (reference,))
    }


def by_reference(cx: Cx, reference: str) -> DecisionRow | None:
    """The newest decision of a peer that gave this authorization reference."""
    where = "WHERE reference = ? AND peer IS NOT NULL ORDER BY id DESC LIMIT 1"
    row = cx.one(f"SELECT {_COLUMNS} FROM decisions {where}", (reference,))
    return DecisionRow._make(row) if row else None


def page(
    cx: Cx, after: int, limit: int, *, peer: str | None = None, authorization_id: str | None = None
) -> list[tuple[int, DecisionRow]]:
    """Decisions with their journal number, oldest first."""
    named = [(name, value) for name, value in (("peer", peer), ("authorization_id", authorization_id)) if value]
    where = "".join(f" AND {name} = ?" for name, _ in named)
    rows = cx.run(
        f"SELECT id, {_COLUMNS} FROM decisions WHERE id > ?{where} ORDER BY id LIMIT ?",
        (after, *(value for _, value in named), limit),
    )
    return [(row[0], DecisionRow._make(row[1:])) for row in rows]


def newest(cx: Cx, count: int) -> int:
    """The journal number behind which the newest so many stand."""
    number: int | None = cx.value("SELECT id FROM decisions ORDER BY id DESC LIMIT 1 OFFSET ?", (count,))
    return number or 0


def erase_txn(cx: Cx, type_: str, uid: str) -> int:
    """Take a driver out of the journal (folded type, canonical uid): what was decided stays; how many rows."""
    return cx.change(
        "UPDATE decisions SET uid = NULL, contract_id = NULL, location_id = NULL, evse_uid = NULL"
        " WHERE uid = ? AND type = ?",
        (uid, type_),
    )


def purge_txn(cx: Cx, before_ms: int, limit: int = NO_LIMIT) -> int:
    """Forget decisions older than this, the oldest `limit`; how many."""
    chosen = "SELECT id FROM decisions WHERE at_ms < ? ORDER BY at_ms LIMIT ?"
    return cx.change(f"DELETE FROM decisions WHERE id IN ({chosen})", (before_ms, limit))
