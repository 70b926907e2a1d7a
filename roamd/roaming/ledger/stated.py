"""STATEMENT entries: what either side signed of a month, read from its chain."""

import re
from typing import Final

import msgspec

from roamd.log import get_logger
from roamd.model.statement import Statement
from roamd.protocol.ledger import LedgerItem
from roamd.roaming.ledger.receiver import Arrival
from roamd.storage import accounts, events
from roamd.storage.accounts import StatementRow
from roamd.storage.ledgers import EntryRow
from roamd.storage.store import Cx

log = get_logger()

MONTH: Final = re.compile(r"20[0-9]{2}-(?:0[1-9]|1[0-2])")


def statement_id(month: str) -> str:
    """The record id of a STATEMENT entry."""
    return f"statement {month}"


def take_statement_txn(cx: Cx, arrival: Arrival, item: LedgerItem, entry: EntryRow) -> None:
    """The peer has signed a month."""
    at = (arrival.chain_id, entry.sequence)
    row = _row_of(item, arrival.peer.label, at, entry.at_ms, by_us=False)
    if row is None:
        log.warning("statement_ignored", peer=arrival.peer.label)
        return
    accounts.put_statement_txn(cx, row)
    data = msgspec.json.encode({"peer": row.peer, "month": row.month, "root": row.root.hex()})
    events.append_txn(cx, at_ms=arrival.now_ms, peer=row.peer, type="statement.received", subject=row.month, data=data)


def regain_statement_txn(cx: Cx, peer: str, at: tuple[int, int], item: LedgerItem, signed_ms: int) -> None:
    """What we had signed and forgotten is back, or stands at another place; `at` is chain and sequence."""
    row = _row_of(item, peer, at, signed_ms, by_us=True)
    if row is not None:
        accounts.put_statement_txn(cx, row)


def _row_of(item: LedgerItem, peer: str, at: tuple[int, int], signed_ms: int, *, by_us: bool) -> StatementRow | None:
    """None for an entry that is no statement of the month that it names."""
    try:
        found = Statement.unpack(item.body or b"")
        root = bytes.fromhex(found.root)
    except ValueError:
        return None
    if not MONTH.fullmatch(found.month) or statement_id(found.month) != item.record_id or len(root) != 32:
        return None
    return StatementRow(peer, found.month, by_us, root, item.body or b"", *at, signed_ms)
