"""The journal of authorization decisions, written in groups, off the answer's path."""

# ruff: noqa: S608 - what is formatted into statements here are constants of this file; values are always bound

from collections.abc import Iterable
from typing import NamedTuple

from roamd.storage.cx import Cx


class DecisionRow(NamedTuple):
    """One decision. `direction` is "out" when we asked, "in" when we were asked; no credential stands here."""

    authorization_id: str
    at_ms: int
    peer: str | None
    direction: str
    decision: str
    reason: str
    source: str
    reference: str | None
    elapsed_ms: float


_COLUMNS = ", ".join(DecisionRow._fields)


def append_many_txn(cx: Cx, rows: Iterable[DecisionRow]) -> None:
    """Add decisions to the journal."""
    cx.many(f"INSERT INTO decisions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def peer_of_reference(cx: Cx, reference: str) -> str | None:
    """Which peer gave this authorization reference, the latest if several did."""
    peer: str | None = cx.value(
        "SELECT peer FROM decisions WHERE reference = ? AND peer IS NOT NULL ORDER BY id DESC LIMIT 1", (reference,)
    )
    return peer


def page(cx: Cx, after: int, limit: int) -> list[tuple[int, DecisionRow]]:
    """Decisions with their journal number, oldest first."""
    rows = cx.run(f"SELECT id, {_COLUMNS} FROM decisions WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
    return [(row[0], DecisionRow._make(row[1:])) for row in rows]


def purge_txn(cx: Cx, before_ms: int) -> int:
    """Forget decisions older than this; how many."""
    return cx.change("DELETE FROM decisions WHERE at_ms < ?", (before_ms,))
