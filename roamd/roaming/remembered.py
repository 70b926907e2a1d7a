"""Replies of authorizations under an Idempotency-Key, in memory: a repeat while the first is open waits for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from roamd.roaming.deadlines import Deadlines
from roamd.roaming.ports import Reply

KEPT_S = 48 * 3600.0
AT_MOST = 100_000
"""Keys in memory; beyond, the oldest are forgotten early. A driver at a station repeats within seconds."""


@dataclass(slots=True)
class _Entry:
    request_hash: bytes
    waiting: list[Reply] = field(default_factory=list)
    value: Any = None
    done: bool = False


class RememberedReplies:
    """Keyed replies."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._entries: dict[str, _Entry] = {}

    def begin(self, key: str, request_hash: bytes, reply: Reply) -> Literal["new", "known", "other"]:
        """Whether the caller is to do the work ("new"); for "known" `reply` gets the first one's reply."""
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(request_hash, [reply])
            self._make_room(key)
            return "new"
        if entry.request_hash != request_hash:
            return "other"
        if entry.done:
            reply(entry.value)
        else:
            entry.waiting.append(reply)
        return "known"

    def finisher(self, key: str) -> Callable[[Any], None]:
        """What to call with the value once the work is done."""
        entry = self._entries[key]

        def finish(value: Any) -> None:
            entry.value, entry.done = value, True
            waiting, entry.waiting = entry.waiting, []
            for reply in waiting:
                reply(value)

        return finish

    def _make_room(self, key: str) -> None:
        self._deadlines.after(KEPT_S, lambda: self._forget(key))
        if len(self._entries) > AT_MOST:
            del self._entries[next(iter(self._entries))]

    def _forget(self, key: str) -> None:
        self._entries.pop(key, None)
