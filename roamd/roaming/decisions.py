"""The journal of decisions: in groups and off the answer's path, so that a crash may lose the last second of it.

It is what finds the peer of a record by the `authorization_reference` that the home-CSP gave.
"""

from roamd.roaming.deadlines import Deadlines
from roamd.storage import commands, decisions
from roamd.storage.decisions import DecisionRow
from roamd.storage.store import Cx, Store

EVERY_S = 1.0
AT_MOST = 512
"""Rows in one group; more than that go at once."""


class DecisionJournal:
    """Keeps rows for up to a second and writes them together; also answers from what is not yet written."""

    def __init__(self, store: Store, deadlines: Deadlines) -> None:
        self._store = store
        self._deadlines = deadlines
        self._waiting: list[DecisionRow] = []

    def add(self, row: DecisionRow) -> None:
        """Note a decision."""
        if not self._waiting:
            self._deadlines.after(EVERY_S, self.flush)
        self._waiting.append(row)
        if len(self._waiting) >= AT_MOST:
            self.flush()

    def flush(self) -> None:
        """Hand what waits to the writer; a full disk loses the group, as a crash would."""
        rows, self._waiting = self._waiting, []
        if rows:
            self._store.submit(lambda cx: decisions.append_many_txn(cx, rows), lambda outcome: None)

    def peer_of_reference(self, cx: Cx, reference: str) -> str | None:
        """The peer whose decision, or command, carried this `authorization_reference`."""
        for row in reversed(self._waiting):
            if row.reference == reference:
                return row.peer
        return decisions.peer_of_reference(cx, reference) or commands.peer_of_reference(cx, reference)
