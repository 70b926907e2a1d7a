"""What single records add to a month, by their id in `records`; and the statements that the two sides signed.

An account is made once, behind the record's intake, and holds no more than a clerk needs: it stays when the record's
content is erased. It counts only while its record is settled and has a place in a chain; that is looked up when read.
"""

# ruff: noqa: S608 - what is formatted into statements here are constants of this file; values are always bound

from collections.abc import Iterable
from typing import NamedTuple

from roamd.storage import ledgers
from roamd.storage.cx import Cx
from roamd.storage.records import SETTLED


class AccountRow(NamedTuple):
    """One record's account. `day` "" and all texts "": it could not be read. `taxes` is JSON text of pairs."""

    record: int
    peer: str
    own: bool
    kind: str
    day: str
    party: str
    record_key: str
    currency: str = ""
    energy: str = "0"
    before: str = "0"
    taxes: str = "null"


class Place(NamedTuple):
    """Behind which account a page begins: they are walked in this order."""

    day: str = ""
    own: bool = False
    kind: str = ""
    party: str = ""
    record_key: str = ""


class Settled(NamedTuple):
    """An account with its record as it stands. `commitment` is None where the entry itself is gone."""

    account: AccountRow
    record_id: str
    state: str
    epoch: bytes
    sequence: int
    commitment: bytes | None

    @property
    def place(self) -> Place:
        """Where it stands in the walk."""
        row = self.account
        return Place(row.day, row.own, row.kind, row.party, row.record_key)


_ACCOUNT = ", ".join(AccountRow._fields)
_STATES = ", ".join(f"'{state}'" for state in SETTLED)


def unaccounted(cx: Cx, after: int, limit: int) -> list[int]:
    """Ids of records behind `after` that may have no account yet, oldest first."""
    return [row[0] for row in cx.run("SELECT id FROM records WHERE id > ? ORDER BY id LIMIT ?", (after, limit))]


def unread(cx: Cx, peer: str, limit: int) -> list[int]:
    """Records of a peer whose content was not to be had when their accounts were made."""
    return [row[0] for row in cx.run("SELECT record FROM accounts WHERE peer = ? AND day = '' LIMIT ?", (peer, limit))]


def replace_many_txn(cx: Cx, rows: Iterable[AccountRow]) -> None:
    """Accounts that can be made now take the places of those that could not."""
    rows = list(rows)
    cx.many("DELETE FROM accounts WHERE record = ?", [(row.record,) for row in rows])
    put_many_txn(cx, rows)


def put_many_txn(cx: Cx, rows: Iterable[AccountRow]) -> None:
    """Keep accounts; one that is there stays."""
    marks = ", ".join("?" * len(AccountRow._fields))
    cx.many(
        f"INSERT INTO accounts ({_ACCOUNT}) VALUES ({marks}) ON CONFLICT (record) DO NOTHING",
        [tuple(row) for row in rows],
    )


def moved_txn(cx: Cx, record: int, peer: str) -> None:
    """A record that was parked goes to a peer."""
    cx.run("UPDATE accounts SET peer = ? WHERE record = ?", (peer, record))


def dropped_txn(cx: Cx, record: int) -> None:
    """A record was given up."""
    cx.run("DELETE FROM accounts WHERE record = ?", (record,))


def settled(cx: Cx, peer: str, after: Place, until_day: str, limit: int) -> list[Settled]:
    """Settled records of a peer behind a place, up to a day, in the order of `Place`; one page."""
    columns = ", ".join(f"a.{name}" for name in AccountRow._fields)
    rows = cx.run(
        f"SELECT {columns}, r.record_id, r.state, c.epoch, r.sequence, e.commitment FROM accounts a"
        " JOIN records r ON r.id = a.record JOIN chains c ON c.chain_id = r.chain_id"
        " LEFT JOIN entries e ON e.id = (r.chain_id << 40 | r.sequence)"
        " WHERE a.peer = ? AND (a.day, a.own, a.kind, a.party, a.record_key) > (?, ?, ?, ?, ?) AND a.day <= ?"
        f" AND r.peer = a.peer AND r.state IN ({_STATES})"
        " ORDER BY a.day, a.own, a.kind, a.party, a.record_key LIMIT ?",
        (peer, *after, until_day, limit),
    )
    size = len(AccountRow._fields)
    return [Settled(AccountRow._make(row[:size])._replace(own=bool(row[2])), *row[size:]) for row in rows]


# --- places of a ledger that lost something ---------------------------------------------------------------------


class Gap(NamedTuple):
    """Sequences of a chain that are not there, both ends included."""

    first: int
    last: int


def gaps_within(cx: Cx, chain: ledgers.Chain, after: int, upto: int) -> list[Gap]:
    """Gaps between two sequences of a chain. It walks the table itself, some 4 KB an entry."""
    last = min(upto, chain.tail_sequence)
    rows = cx.run(
        "SELECT at + 1, following - 1 FROM (SELECT at, LEAD(at, 1, ?) OVER (ORDER BY at) AS following FROM"
        " (SELECT ? AS at UNION ALL SELECT id & 1099511627775 FROM entries WHERE id > ? AND id <= ?))"
        " WHERE following > at + 1",
        (last + 1, after, ledgers.place(chain.chain_id, after), ledgers.place(chain.chain_id, last)),
    )
    return [Gap(*row) for row in rows]


def without_content(cx: Cx, chain_id: int, limit: int) -> list[int]:
    """Sequences of entries that have no content though nobody here erased it."""
    rows = cx.run(
        "SELECT e.id & 1099511627775 FROM entries e JOIN chains c ON c.chain_id = ?"
        " WHERE e.body IS NULL AND e.id > ? AND e.id < ? AND NOT EXISTS (SELECT 1 FROM erasures x WHERE x.peer = c.peer"
        " AND x.own = c.own AND x.epoch = c.epoch AND x.sequence = (e.id & 1099511627775)) ORDER BY e.id LIMIT ?",
        (chain_id, ledgers.place(chain_id), ledgers.place(chain_id + 1), limit),
    )
    return [row[0] for row in rows]


def put_back_txn(cx: Cx, chain_id: int, rows: Iterable[ledgers.EntryRow]) -> None:
    """Put entries back where there are none. The caller has proved that they are what stood there."""
    cx.many(
        "INSERT INTO entries (id, kind, record_id, commitment, hash, salt, body, at_ms, ocpi)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        [(ledgers.place(chain_id, row.sequence), *row[1:]) for row in rows],
    )


def refill_txn(cx: Cx, chain_id: int, sequence: int, salt: bytes, body: bytes) -> bool:
    """Put lost content back into an entry; whether there was nothing. The caller has proved it by its commitment."""
    sql = "UPDATE entries SET salt = ?, body = ? WHERE id = ? AND body IS NULL"
    return cx.change(sql, (salt, body, ledgers.place(chain_id, sequence))) > 0


# --- statements -------------------------------------------------------------------------------------------------


class StatementRow(NamedTuple):
    """What one side signed of a month last, and where in its chain."""

    peer: str
    month: str
    by_us: bool
    root: bytes
    body: bytes
    chain_id: int
    sequence: int
    at_ms: int


_STATEMENT = ", ".join(StatementRow._fields)


def put_statement_txn(cx: Cx, row: StatementRow) -> None:
    """Keep it; the newest of each side rules."""
    marks = ", ".join("?" * len(row))
    cx.run(
        f"INSERT INTO statements ({_STATEMENT}) VALUES ({marks}) ON CONFLICT (peer, month, by_us) DO UPDATE SET"
        " root = excluded.root, body = excluded.body, chain_id = excluded.chain_id, sequence = excluded.sequence,"
        " at_ms = excluded.at_ms WHERE (excluded.chain_id, excluded.sequence) > (chain_id, sequence)",
        tuple(row),
    )


def get_statement(cx: Cx, peer: str, month: str, *, by_us: bool) -> StatementRow | None:
    """What one side signed last."""
    sql = f"SELECT {_STATEMENT} FROM statements WHERE peer = ? AND month = ? AND by_us = ?"
    row = cx.one(sql, (peer, month, int(by_us)))
    return StatementRow._make(row)._replace(by_us=bool(row[2])) if row else None


def months(cx: Cx, peer: str) -> list[str]:
    """Months in which the two have records, oldest first."""
    rows = cx.run("SELECT DISTINCT substr(day, 1, 7) FROM accounts WHERE peer = ? AND day <> '' ORDER BY 1", (peer,))
    return [row[0] for row in rows]
