"""The journal of decisions: in groups and off the answer's path, so that a crash may lose the last second of it.

It is what finds the peer of a record by the `authorization_reference` that the home-CSP gave.
"""

from dataclasses import dataclass

import msgspec

from roamd.clock import rfc3339
from roamd.model.decision import DOMAIN
from roamd.roaming import operations as op
from roamd.roaming.deadlines import Deadlines
from roamd.roaming.lists import cursor_after, next_cursor
from roamd.roaming.ports import Reply
from roamd.storage import commands, decisions, grants
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
        """The peer whose decision, grant or command carried this `authorization_reference`."""
        for row in reversed(self._waiting):
            if row.reference == reference:
                return row.peer
        return (
            decisions.peer_of_reference(cx, reference)
            or grants.peer_of_reference(cx, reference)
            or commands.peer_of_reference(cx, reference)
        )

    def peers_of_reference(self, cx: Cx, reference: str) -> set[str]:
        """All of them: a reference is its CSP's own, and two CSPs may count alike."""
        waiting = {row.peer for row in self._waiting if row.reference == reference and row.peer is not None}
        return waiting.union(*(table.peers_of_reference(cx, reference) for table in (decisions, grants, commands)))


@dataclass(slots=True)
class DecisionDesk:
    """Lets the operator read the journal."""

    store: Store
    journal: DecisionJournal

    def list(self, operation: op.ListDecisions, reply: Reply) -> None:
        """ListDecisions -> Page of DecisionReply; with what is not written yet, for it is written first."""
        after = cursor_after(operation.after)

        def read(cx: Cx) -> op.Page:
            start = decisions.newest(cx, operation.limit) if operation.newest and not operation.after else after
            rows = decisions.page(
                cx, start, operation.limit, peer=operation.peer, authorization_id=operation.authorization_id
            )
            return op.Page([_shown(cx, row) for _, row in rows], next_cursor([id_ for id_, _ in rows], operation.limit))

        self.journal.flush()
        self.store.submit(read, reply, essential=True)


def _shown(cx: Cx, row: DecisionRow) -> op.DecisionReply:
    use = grants.use_of(cx, row.authorization_id) if row.source == "GRANT" and row.direction == "out" else None
    return op.DecisionReply(
        authorization_id=row.authorization_id,
        at=rfc3339(row.at_ms),
        direction=row.direction,
        peer=row.peer,
        decision=row.decision,
        reason=row.reason,
        source=row.source,
        elapsed_ms=row.elapsed_ms,
        service=row.service,
        authorization_reference=row.reference,
        type=row.type,
        uid=row.uid,
        contract_id=row.contract_id,
        location_id=row.location_id,
        evse_uid=row.evse_uid,
        row=row.row,
        facts=dict(zip(DOMAIN, row.facts.split(), strict=False)) if row.facts else None,
        grant=msgspec.Raw(use.body) if use is not None and use.body is not None else None,
    )
