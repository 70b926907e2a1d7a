"""Replies of authorizations under an Idempotency-Key, in memory: a repeat while the first is open waits for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from roamd.clock import Clock
from roamd.roaming.ports import Reply, is_error

KEPT_S = 48 * 3600.0
AT_MOST = 100_000
"""Keys in memory; beyond, the oldest are forgotten early. A driver at a station repeats within seconds."""


@dataclass(slots=True)
class _Entry:
    request_hash: bytes
    forget_at: float
    waiting: list[Reply] = field(default_factory=list)
    value: Any = None
    done: bool = False


class RememberedReplies:
    """Keyed replies, the oldest first; all are kept equally long, so the oldest is the first to go."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self, key: str, request_hash: bytes, reply: Reply) -> Literal["new", "known", "other"]:
        """Whether the caller is to do the work ("new"); for "known" `reply` gets the first one's reply."""
        self._forget_old()
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(request_hash, self._clock.monotonic() + KEPT_S, [reply])
            if len(self._entries) > AT_MOST:
                del self._entries[next(iter(self._entries))]
            return "new"
        if entry.request_hash != request_hash:
            return "other"
        if entry.done:
            reply(entry.value)
        else:
            entry.waiting.append(reply)
        return "known"

    def finisher(self, key: str) -> Callable[[Any], None]:
        """What to call with the value once the work is done. An error is told to all who wait, and not remembered."""
        entry = self._entries[key]

        def finish(value: Any) -> None:
            if is_error(value) and self._entries.get(key) is entry:
                del self._entries[key]
            entry.value, entry.done = value, True
            waiting, entry.waiting = entry.waiting, []
            for reply in waiting:
                reply(value)

        return finish

    def _forget_old(self) -> None:
        now = self._clock.monotonic()
        while self._entries:
            key, oldest = next(iter(self._entries.items()))
            if oldest.forget_at > now:
                return
            del self._entries[key]
