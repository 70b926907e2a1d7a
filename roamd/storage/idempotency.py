"""Answers kept for repeats: committed in the same transaction as the effect that they tell of."""

from typing import NamedTuple

from roamd.storage.cx import NO_LIMIT, Cx


class StoredAnswer(NamedTuple):
    """What a request under a key was answered; `request_hash` tells a repeat from another body under the same key."""

    request_hash: bytes
    status: int
    answer: bytes


def get(cx: Cx, key: str, operation: str) -> StoredAnswer | None:
    """The stored answer, or None when the key is new to this operation."""
    row = cx.one(
        "SELECT request_hash, status, answer FROM idempotency WHERE key = ? AND operation = ?", (key, operation)
    )
    return StoredAnswer._make(row) if row else None


def put_txn(cx: Cx, key: str, operation: str, answer: StoredAnswer, now_ms: int) -> None:
    """Keep an answer. A key that is there already is a StoreError: look first, in the same transaction."""
    cx.run(
        "INSERT INTO idempotency (key, operation, request_hash, status, answer, at_ms) VALUES (?, ?, ?, ?, ?, ?)",
        (key, operation, *answer, now_ms),
    )


def purge_txn(cx: Cx, before_ms: int, limit: int = NO_LIMIT) -> int:
    """Forget answers older than this, the oldest `limit`; how many."""
    chosen = "SELECT rowid FROM idempotency WHERE at_ms < ? ORDER BY at_ms LIMIT ?"
    return cx.change(f"DELETE FROM idempotency WHERE rowid IN ({chosen})", (before_ms, limit))  # noqa: S608 - ours
