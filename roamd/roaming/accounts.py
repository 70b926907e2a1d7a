"""What each record adds to a month: made behind the intake, read for reconciliation and statements.

A cursor over the records says how far the accounts have come; it is committed with them. They are made when somebody
asks and when a daemon does its upkeep, a few at a time, so that no driver waits for a clerk.
"""

from decimal import Decimal
from functools import partial
from typing import Final

import msgspec
import trio

from roamd.errors import RoamdError
from roamd.model.keys import fold
from roamd.model.statement import Account, Line, account_of
from roamd.roaming.events import record_body
from roamd.roaming.waiting import write
from roamd.storage import accounts, meta, records
from roamd.storage.accounts import AccountRow, Place, Settled
from roamd.storage.records import RecordRow
from roamd.storage.store import Cx, Store

CURSOR: Final = "accounts:after"
AT_ONCE: Final = 64
"""Records whose accounts are made and committed together: some 3 ms of the loop."""

PAGE: Final = 200
MAX_UNREAD: Final = 1000
"""Accounts that are tried again at once."""

_Pairs = list[tuple[str, str]] | None


async def catch_up(store: Store) -> None:
    """Make the accounts of all records that came in. StoreFull where there is no room."""
    while rows := store.read(_next):
        await write(store, partial(_keep_txn, rows=rows))


async def read_again(store: Store, peer: str) -> None:
    """Content is back: make the accounts that could not be made without it."""
    rows = store.read(lambda cx: [account_row(cx, row) for row in _unread(cx, peer)])
    if found := [row for row in rows if row.day]:
        await write(store, partial(accounts.replace_many_txn, rows=found))


def _unread(cx: Cx, peer: str) -> list[RecordRow]:
    numbers = accounts.unread(cx, peer, MAX_UNREAD)
    return [row for number in numbers if (row := records.get_by_id(cx, number)) is not None]


def _next(cx: Cx) -> list[AccountRow]:
    numbers = accounts.unaccounted(cx, int(meta.get(cx, CURSOR) or 0), AT_ONCE)
    found = [(number, records.get_by_id(cx, number)) for number in numbers]
    return [account_row(cx, row) for _, row in found if row is not None]


def _keep_txn(cx: Cx, rows: list[AccountRow]) -> None:
    accounts.put_many_txn(cx, rows)
    meta.set_txn(cx, CURSOR, str(rows[-1].record))


def account_row(cx: Cx, row: RecordRow) -> AccountRow:
    """A record's account as it is kept; without a day where its content is not to be had."""
    own = row.direction == "out"
    bare = AccountRow(row.id, row.peer or "", own, row.kind, "", row.party, fold(row.record_id))
    try:
        body = record_body(cx, row)
        account = account_of(row.kind, body) if body is not None else None
    except (RoamdError, ValueError, KeyError, TypeError):
        account = None
    if account is None:
        return bare
    taxes: _Pairs = None if account.taxes is None else [(name, str(amount)) for name, amount in account.taxes]
    return bare._replace(
        day=account.day,
        currency=account.currency,
        energy=str(account.energy),
        before=str(account.before),
        taxes=msgspec.json.encode(taxes).decode(),
    )


def read_account(row: AccountRow) -> Account:
    """The account that a row keeps."""
    pairs = msgspec.json.decode(row.taxes, type=_Pairs)
    taxes = None if pairs is None else tuple((name, Decimal(amount)) for name, amount in pairs)
    return Account(row.day, row.currency, Decimal(row.energy), Decimal(row.before), taxes)


def read_line(found: Settled, author: str) -> Line:
    """One record as statements list it; `author` is its author's endpoint id."""
    row = found.account
    commitment = found.commitment or b""
    return Line(author, row.party, found.record_id, row.kind, commitment, found.state, read_account(row))


class Walk:
    """The settled records of a peer, page by page, each page in a read of its own: other work goes in between."""

    def __init__(self, store: Store, peer: str, after: Place, until: str) -> None:
        self._store = store
        self._peer = peer
        self._after = after
        self._until = until

    async def page(self) -> list[Settled]:
        """The next page; empty at the end."""
        await trio.lowlevel.checkpoint()
        page = self._store.read(lambda cx: accounts.settled(cx, self._peer, self._after, self._until, PAGE))
        if page:
            self._after = page[-1].place
        return page


def month_bounds(month: str) -> tuple[Place, str]:
    """Behind which place a month's records begin, and its last day; a month is as in 2026-10."""
    return Place(month), f"{month}-31"


def following(day: str) -> Place:
    """The place behind all records of a day, and of those before; "" is before all."""
    return Place(f"{day}~" if day else "")
