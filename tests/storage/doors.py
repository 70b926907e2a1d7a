"""What storage tests bring in through the store's doors, and rows to put into it."""

import queue
import threading
from collections.abc import Callable
from typing import Any

from roamd.storage.cx import Cx
from roamd.storage.ledgers import EntryRow
from roamd.storage.records import QUEUED, RecordRow
from roamd.storage.store import Store


class ManualClock:
    """Time stands until it is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def now_ms(self) -> int:
        return int(self.now_s * 1000)


class Outcomes:
    """Collects what those who submitted are told, in order, and waits for it."""

    def __init__(self) -> None:
        self._told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __call__(self, outcome: Any) -> None:
        self._told.put(outcome)

    def take(self, count: int) -> list[Any]:
        """The next outcomes; fails rather than waits for ever."""
        return [self._told.get(timeout=20) for _ in range(count)]


class HeldWriter:
    """While inside the block the writer is busy, so that all that is submitted there becomes one group.

    The first job of the block's group is the one that holds; it is alone in its commit.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._go = threading.Event()

    def __enter__(self) -> None:
        holding = threading.Event()

        def hold(_: Cx) -> None:
            holding.set()
            self._go.wait(20)

        self._store.submit(hold, lambda _: None, essential=True)
        assert holding.wait(20)

    def __exit__(self, *_: object) -> None:
        self._go.set()


def note(name: str, size: int = 10) -> Callable[[Cx], str]:
    """A job that writes one row and returns its name."""

    def fn(cx: Cx) -> str:
        cx.run("INSERT INTO meta (name, value) VALUES (?, ?)", (name, "x" * size))
        return name

    return fn


def noted(cx: Cx) -> list[str]:
    """The names of the rows that `note` wrote."""
    return [row[0] for row in cx.run("SELECT name FROM meta ORDER BY name")]


def entry(sequence: int, body: bytes | None = b"{}", record_id: str | None = None) -> EntryRow:
    """A ledger entry whose hash tells its sequence."""
    salt = bytes(16) if body is not None else None
    return EntryRow(sequence, 1, record_id or f"CDR-{sequence}", b"c" * 32, hash_of(sequence), salt, body, 5, "2.3.0")


def hash_of(sequence: int) -> bytes:
    """The hash that `entry` gives to a sequence; 0 is the genesis."""
    return sequence.to_bytes(32, "big")


def record(record_id: str, **changes: Any) -> RecordRow:
    """An own record for peer alpha, queued without a place."""
    row = RecordRow(
        direction="out",
        party="DEABC",
        record_id=record_id,
        peer="alpha",
        kind="CDR",
        state=QUEUED,
        reason=None,
        ocpi="2.3.0",
        body_hash=b"h" * 32,
        body=b'{"id": 1}',
        chain_id=None,
        sequence=None,
        authorization_reference=None,
        created_ms=1,
        updated_ms=1,
    )
    return row._replace(**changes)
