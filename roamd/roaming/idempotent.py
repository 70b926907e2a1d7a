"""`Idempotency-Key`: the answer is committed with the effect, so a repeat gets it even after a crash."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from roamd.errors import Conflict
from roamd.roaming.operations import Idempotency
from roamd.storage import idempotency
from roamd.storage.idempotency import StoredAnswer
from roamd.storage.store import Cx

T = TypeVar("T")

KEPT_MS = 48 * 3600 * 1000
"""DESIGN section 8."""


def once_txn(cx: Cx, operation: str, key: Idempotency | None, type_: type[T], txn: Callable[[Cx], T], now_ms: int) -> T:
    """Run `txn` unless its key was seen: then the stored reply, or Conflict if the request was another one."""
    if key is None:
        return txn(cx)
    stored = idempotency.get(cx, key.key, operation)
    if stored is None:
        result = txn(cx)
        answer = StoredAnswer(key.request_hash, 0, msgspec.json.encode(result))
        idempotency.put_txn(cx, key.key, operation, answer, now_ms)
        return result
    if stored.request_hash != key.request_hash:
        raise Conflict("This Idempotency-Key was used with another request.", code="idempotency-key-reused")
    return msgspec.json.decode(stored.answer, type=type_)


def same_request_txn(cx: Cx, operation: str, key: Idempotency | None, now_ms: int) -> None:
    """For what is harmless to repeat, and is simply done again: only another request under the key is a Conflict."""
    once_txn(cx, operation, key, bool, lambda _: True, now_ms)
