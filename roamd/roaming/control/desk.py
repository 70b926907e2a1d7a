"""Looking at commands, and forgetting them."""

from dataclasses import dataclass

from roamd.model.keys import ObjectKey, fold
from roamd.roaming import operations as op
from roamd.roaming.control.shown import FEED, as_reply, find_one
from roamd.roaming.lists import answer, cursor_after, next_cursor
from roamd.roaming.ports import Reply
from roamd.storage import commands, feeds, ocpi
from roamd.storage.cx import NO_LIMIT
from roamd.storage.store import Cx, Store

RESULTS_MS = 7 * 86_400_000
"""How long what became of a command may still be told to the OCPI backend that asked for it."""


@dataclass(slots=True)
class ControlDesk:
    """Handles the operations that only look."""

    store: Store

    def get(self, operation: op.GetCommand, reply: Reply) -> None:
        """GetCommand -> CommandReply."""
        answer(self.store, lambda cx: as_reply(find_one(cx, operation.command_id, operation.direction)), reply)

    def list(self, operation: op.ListCommands, reply: Reply) -> None:
        """ListCommands -> Page of CommandReply, oldest first."""

        def read(cx: Cx) -> op.Page:
            rows = commands.page(
                cx,
                cursor_after(operation.after),
                operation.limit,
                direction=operation.direction,
                peer=operation.peer,
                reference=operation.authorization_reference,
            )
            return op.Page([as_reply(row) for row in rows], next_cursor([row.id for row in rows], operation.limit))

        answer(self.store, read, reply)


def forget_txn(cx: Cx, before_ms: int, now_ms: int, limit: int = NO_LIMIT) -> int:
    """Forget old commands and take them out of the feed; how many. A repeat of one would be a new command by then."""
    gone = commands.purge_txn(cx, before_ms, limit)
    ocpi.purge_results_txn(cx, now_ms - RESULTS_MS)
    for row in gone:
        if row.direction == "in":
            feeds.withdraw_txn(cx, FEED, ObjectKey(row.station, fold(row.command_id)), now_ms)
    return len(gone)
