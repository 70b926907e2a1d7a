"""The statement of a month with a peer: made from the records, signed by both, and what differs named.

Theory of operation. Nothing of a statement is kept until somebody signs it: it is made anew from the accounts each
time, so it is never older than the records. Signing is an entry of the signer's own chain with the document as its
body; head and receipt make it a signed and dated word. Both have agreed when the newest of each has the root that the
records have now. Where the peer signed another root the two lists are compared, live, and the records that differ are
named: those are what the clerks talk about, or what `reconcile` puts right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import trio

from roamd.clock import Clock, rfc3339
from roamd.errors import Conflict, Fault, Malformed, PeerError, RoamdError
from roamd.log import get_logger
from roamd.model.lifecycle import DISPUTED
from roamd.model.statement import Line, Statement, make_statement, money, plain
from roamd.protocol.ledger import MAX_BODY, SALT_SIZE, EntryKind, LedgerItem
from roamd.protocol.reconcile import RecordLine
from roamd.roaming import operations as op
from roamd.roaming.accounts import Walk, catch_up, month_bounds, read_line
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.ledger.chain import Random, append_items_txn, own_chain_txn
from roamd.roaming.ledger.mending import is_recovering
from roamd.roaming.ledger.stated import MONTH, statement_id
from roamd.roaming.ports import Reply
from roamd.roaming.reconcile.compare import Comparison, Difference
from roamd.roaming.reconcile.desk import told
from roamd.roaming.waiting import write
from roamd.storage import accounts
from roamd.storage.accounts import StatementRow
from roamd.storage.store import Cx, Store

log = get_logger()

OPEN, SIGNED, PROPOSED, AGREED, DIFFERS = "OPEN", "SIGNED", "PROPOSED", "AGREED", "DIFFERS"

MAX_DIFFERENCES: Final = 1000
"""Records that are named; more than that is for `roamd reconcile`."""


@dataclass(slots=True)
class Statements:
    """Handles the operations. `compare(peer)` makes a comparison; `queued(peer)` is called after a signature."""

    clock: Clock
    store: Store
    directory: Directory
    endpoint_id: str
    random: Random
    start: Callable[..., None]
    compare: Callable[[Peer], Comparison]
    queued: Callable[[str], None]

    # --- operations -----------------------------------------------------------------------------------------------

    def get(self, operation: op.GetStatement, reply: Reply) -> None:
        """GetStatement -> StatementReply."""
        peer, month = self.directory.get(operation.peer), checked_month(operation.month)
        self.start(self._replying, self._get(peer, month, operation), reply)

    def sign(self, operation: op.SignStatement, reply: Reply) -> None:
        """SignStatement -> StatementReply, committed."""
        peer, month = self.directory.get(operation.peer), checked_month(operation.month)
        if month >= rfc3339(self.clock.now_ms())[:7]:
            raise Conflict(f"{month} is not over yet.", code="month-goes-on")
        self.start(self._replying, self._sign(peer, month, operation.root), reply)

    def months(self, operation: op.ListStatements, reply: Reply) -> None:
        """ListStatements -> list of dicts, oldest month first."""
        peer = self.directory.get(operation.peer)
        self.start(self._replying, self._list(peer), reply)

    async def _replying(self, work: Any, reply: Reply) -> None:
        try:
            reply(await work)
        except RoamdError as error:
            reply(error)

    # --- looking --------------------------------------------------------------------------------------------------

    async def _get(self, peer: Peer, month: str, asked: op.GetStatement) -> op.StatementReply:
        lines = await self._lines(peer, month)
        found = self._reply(peer, await self._made(peer, month, lines))
        if asked.lines:
            listed = await trio.to_thread.run_sync(lambda: [shown(line) for line in lines])
            found = msgspec.structs.replace(found, lines=listed)
        if asked.compare and found.state == DIFFERS:
            found = await self._compared(peer, found)
        return found

    async def _list(self, peer: Peer) -> list[dict[str, Any]]:
        await catch_up(self.store)
        months = self.store.read(lambda cx: accounts.months(cx, peer.label))
        made = [await self._made(peer, month, await self._lines(peer, month)) for month in months]
        replies = [self._reply(peer, each) for each in made]
        return [{"month": each.month, "state": each.state, "root": each.root} for each in replies]

    async def _lines(self, peer: Peer, month: str) -> list[Line]:
        """The month's list."""
        await catch_up(self.store)
        walk = Walk(self.store, peer.label, *month_bounds(month))
        lines: list[Line] = []
        while page := await walk.page():
            lines += [read_line(each, self.endpoint_id if each.account.own else peer.endpoint_id) for each in page]
        return await trio.to_thread.run_sync(lambda: sorted(lines, key=lambda line: line.key))

    async def _made(self, peer: Peer, month: str, lines: list[Line]) -> Statement:
        """In a thread: a hundred thousand records take seconds."""
        between = (self.endpoint_id, peer.endpoint_id)
        return await trio.to_thread.run_sync(make_statement, month, between, lines)

    def _reply(self, peer: Peer, made: Statement) -> op.StatementReply:
        month = made.month
        us, them = self.store.read(
            lambda cx: [accounts.get_statement(cx, peer.label, month, by_us=by_us) for by_us in (True, False)]
        )
        return op.StatementReply(
            peer=peer.label,
            month=month,
            state=_state(bytes.fromhex(made.root), us, them),
            root=made.root,
            statement=msgspec.Raw(made.pack()),
            signed={"us": _signature(us), "peer": _signature(them)},
        )

    async def _compared(self, peer: Peer, found: op.StatementReply) -> op.StatementReply:
        """With the records that differ, as the peer tells them now."""
        try:
            comparison = self.compare(peer)
            compared = await comparison.differences(f"{found.month}-00", f"{found.month}-31")
        except PeerError as error:
            return msgspec.structs.replace(found, differences_why=str(error))
        differences = [told(each) for each in compared if _matters(each)]
        why = None if differences else "the lists are alike by now; the partner has to sign anew"
        return msgspec.structs.replace(found, differences=differences[:MAX_DIFFERENCES], differences_why=why)

    # --- signing --------------------------------------------------------------------------------------------------

    async def _sign(self, peer: Peer, month: str, root: str | None) -> op.StatementReply:
        lines = await self._lines(peer, month)
        made = await self._made(peer, month, lines)
        if root is not None and root != made.root:
            raise Conflict(f"The statement has changed; its root is {made.root} now.", code="statement-changed")
        if len(made.pack()) > MAX_BODY:
            raise Conflict("The statement is too large to be signed: it has too many kinds of taxes.", code="too-large")
        if await write(self.store, lambda cx: self._sign_txn(cx, peer.label, made)):
            log.info("statement_signed", peer=peer.label, month=month)
            self.queued(peer.label)
        return self._reply(peer, made)

    def _sign_txn(self, cx: Cx, peer: str, made: Statement) -> bool:
        body, root = made.pack(), bytes.fromhex(made.root)
        signed = accounts.get_statement(cx, peer, made.month, by_us=True)
        if signed is not None and signed.body == body:
            return False
        if is_recovering(cx, peer):
            raise Conflict("A rollback is being mended; try again in a moment.", code="recovering")
        now_ms = self.clock.now_ms()
        item = LedgerItem(EntryKind.STATEMENT, statement_id(made.month), self.random(SALT_SIZE), body)
        chain = append_items_txn(cx, own_chain_txn(cx, peer, self.random), [item], now_ms)
        row = StatementRow(peer, made.month, True, root, body, chain.chain_id, chain.tail_sequence, now_ms)
        accounts.put_statement_txn(cx, row)
        return True


def checked_month(month: str) -> str:
    """A month as in 2026-10. Raises Malformed."""
    if not MONTH.fullmatch(month):
        raise Malformed((Fault("month", "must be a month such as 2026-10", "month"),))
    return month


def _state(root: bytes, us: StatementRow | None, them: StatementRow | None) -> str:
    ours, theirs = us is not None and us.root == root, them is not None and them.root == root
    if them is not None and not theirs:
        return DIFFERS
    return AGREED if ours and theirs else PROPOSED if theirs else SIGNED if ours else OPEN


def _signature(row: StatementRow | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {"root": row.root.hex(), "at": rfc3339(row.at_ms), "sequence": row.sequence}


def _matters(difference: Difference) -> bool:
    """Whether it makes two statements different; two states that count alike do not."""
    one, other = _listed(difference.here), _listed(difference.there)
    return one != other


def _listed(line: RecordLine | None) -> tuple[bytes | None, bool] | None:
    return None if line is None else (line.commitment, line.state == DISPUTED)


def shown(line: Line) -> dict[str, Any]:
    """A line as the API shows it, the same on both sides."""
    account = line.account
    return {
        "author": line.author,
        "party": line.party,
        "record_id": line.record_id,
        "kind": line.kind,
        "day": account.day,
        "standing": line.standing,
        "currency": account.currency,
        "energy_kwh": plain(account.energy),
        "before_taxes": money(account.before),
        "taxes": [{"tax": name, "amount": money(amount)} for name, amount in account.taxes or ()],
        "after_taxes": money(account.after),
        "commitment": line.commitment.hex(),
    }
