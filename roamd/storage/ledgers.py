"""Ledgers: one chain of entries per author, receiver and epoch, with the signed heads and receipts beside it.

This module keeps order, not proof: an entry goes in only where it continues the chain's tail; hashes and signatures
are made and checked by the caller. Entries are never changed: erasure takes body and salt away, and mending a rollback
(`truncate_txn`) takes back entries that the peer never had.
Sequences begin at 1; a chain with tail 0 is empty and its tail hash is GENESIS.
"""

# ruff: noqa: S608 - what is formatted into statements here are constants of this file; values are always bound

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from roamd.storage.cx import ROWS, Cx, Row, within_bytes

GENESIS = bytes(32)
"""What the first entry of a chain names as the hash before it."""

_SEQUENCE_BITS = 40
_SEQUENCE_MASK = (1 << _SEQUENCE_BITS) - 1


class Chain(NamedTuple):
    """One chain. `own` if we are its author; receipts cover it up to `receipted_sequence`."""

    chain_id: int
    peer: str
    own: bool
    epoch: bytes
    tail_sequence: int
    tail_hash: bytes
    receipted_sequence: int
    closed: bool


class EntryRow(NamedTuple):
    """One entry; `salt` and `body` are None once erased; `ocpi` is "" where that means nothing."""

    sequence: int
    kind: int
    record_id: str
    commitment: bytes
    hash: bytes
    salt: bytes | None
    body: bytes | None
    at_ms: int
    ocpi: str = ""


class SignedMark(NamedTuple):
    """A signed head or receipt: everything up to `sequence`, whose hash is `hash`."""

    sequence: int
    hash: bytes
    time_ms: int
    signature: bytes


_CHAIN = ", ".join(Chain._fields)
_ENTRY = f"id & {_SEQUENCE_MASK}, kind, record_id, commitment, hash, salt, body, at_ms, ocpi"
_MARK = ", ".join(SignedMark._fields)


PLACE_OF_RECORD = f"records.chain_id << {_SEQUENCE_BITS} | records.sequence"
"""`place` in SQL: the id of the entry in which a record's text stands."""


def _chain(row: Row) -> Chain:
    return Chain._make(row)._replace(own=bool(row[2]), closed=bool(row[7]))


def place(chain_id: int, sequence: int = 0) -> int:
    """The id of an entry; a sequence beyond all that fit (a peer can name any) is the end of the chain."""
    return chain_id << _SEQUENCE_BITS | min(sequence, _SEQUENCE_MASK)


def chain_and_sequence(entry: int) -> tuple[int, int]:
    """The place of an entry by its id: the way back from `place`."""
    return entry >> _SEQUENCE_BITS, entry & _SEQUENCE_MASK


# --- chains -----------------------------------------------------------------------------------------------------


def open_chain_txn(cx: Cx, peer: str, *, own: bool, epoch: bytes) -> Chain:
    """Begin an empty chain. The epoch must be new between the two."""
    row = cx.one(
        "INSERT INTO chains (peer, own, epoch, tail_sequence, tail_hash, receipted_sequence, closed)"
        f" VALUES (?, ?, ?, 0, ?, 0, 0) RETURNING {_CHAIN}",
        (peer, int(own), epoch, GENESIS),
    )
    assert row is not None  # noqa: S101 - INSERT ... RETURNING gives a row or raises
    return _chain(row)


def close_chain_txn(cx: Cx, chain_id: int) -> None:
    """End an epoch: nothing more is appended to this chain."""
    cx.run("UPDATE chains SET closed = 1 WHERE chain_id = ?", (chain_id,))


def reopen_chain_txn(cx: Cx, chain_id: int) -> None:
    """Take a chain's end back, when it turns out that the peer holds more of it than was known when it was closed."""
    cx.run("UPDATE chains SET closed = 0 WHERE chain_id = ?", (chain_id,))


def drop_empty_chain_txn(cx: Cx, chain_id: int) -> None:
    """Forget a chain that was cut back to nothing; ValueError while anything stands in it."""
    if not cx.change("DELETE FROM chains WHERE chain_id = ? AND tail_sequence = 0", (chain_id,)):
        raise ValueError(f"chain {chain_id} is not empty")


def get_chain(cx: Cx, chain_id: int) -> Chain | None:
    """One chain by its number."""
    row = cx.one(f"SELECT {_CHAIN} FROM chains WHERE chain_id = ?", (chain_id,))
    return _chain(row) if row else None


def current_chain(cx: Cx, peer: str, *, own: bool) -> Chain | None:
    """The open chain of the latest epoch, if there is one."""
    row = cx.one(
        f"SELECT {_CHAIN} FROM chains WHERE peer = ? AND own = ? AND closed = 0 ORDER BY chain_id DESC LIMIT 1",
        (peer, int(own)),
    )
    return _chain(row) if row else None


def chain_of_epoch(cx: Cx, peer: str, *, own: bool, epoch: bytes) -> Chain | None:
    """The chain of one epoch, open or closed."""
    row = cx.one(f"SELECT {_CHAIN} FROM chains WHERE peer = ? AND own = ? AND epoch = ?", (peer, int(own), epoch))
    return _chain(row) if row else None


def chains(cx: Cx, peer: str | None = None) -> list[Chain]:
    """All chains, of one peer when named, in the order in which they were opened."""
    if peer is None:
        rows = cx.run(f"SELECT {_CHAIN} FROM chains ORDER BY chain_id")
    else:
        rows = cx.run(f"SELECT {_CHAIN} FROM chains WHERE peer = ? ORDER BY chain_id", (peer,))
    return [_chain(row) for row in rows]


# --- entries ----------------------------------------------------------------------------------------------------


def append_txn(cx: Cx, chain_id: int, previous_hash: bytes, entry: EntryRow) -> None:
    """Append one entry; see `append_many_txn`."""
    append_many_txn(cx, chain_id, previous_hash, (entry,))


def append_many_txn(cx: Cx, chain_id: int, previous_hash: bytes, entries: Sequence[EntryRow]) -> None:
    """Append entries that follow each other; `previous_hash` is what the first one was hashed over.

    ValueError if they do not continue the chain's tail or the chain is closed: nothing is stored then.
    """
    if not entries:
        return
    _require_continuation(get_chain(cx, chain_id), chain_id, previous_hash, entries)
    cx.many(  # `blocks` would copy each body once more
        "INSERT INTO entries (id, kind, record_id, commitment, hash, salt, body, at_ms, ocpi)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(place(chain_id, entry.sequence), *entry[1:]) for entry in entries],
    )
    last = entries[-1]
    cx.run(
        "UPDATE chains SET tail_sequence = ?, tail_hash = ? WHERE chain_id = ?", (last.sequence, last.hash, chain_id)
    )


def _require_continuation(
    chain: Chain | None, chain_id: int, previous_hash: bytes, entries: Sequence[EntryRow]
) -> None:
    """Refuse what would leave a gap, a branch or a doubled entry."""
    if chain is None:
        raise ValueError(f"there is no chain {chain_id}")
    if chain.closed:
        raise ValueError(f"chain {chain_id} is closed")
    if previous_hash != chain.tail_hash:
        raise ValueError(f"the entry does not follow the tail of chain {chain_id} (sequence {chain.tail_sequence})")
    for expected, entry in enumerate(entries, chain.tail_sequence + 1):
        if entry.sequence != expected:
            raise ValueError(f"sequence {entry.sequence} does not continue chain {chain_id}, {expected} would")


def entries(cx: Cx, chain_id: int, after_sequence: int, *, max_rows: int, max_bytes: int) -> list[EntryRow]:
    """Entries after a sequence, in order; at least one if there is one, however large it is."""
    sql = f"SELECT {_ENTRY} FROM entries WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
    rows = cx.each(sql, (place(chain_id, after_sequence), place(chain_id + 1), max_rows))
    return [EntryRow._make(row) for row in within_bytes(rows, 6, max_bytes)]


def get_entry(cx: Cx, chain_id: int, sequence: int) -> EntryRow | None:
    """One entry by its place."""
    row = cx.one(f"SELECT {_ENTRY} FROM entries WHERE id = ?", (place(chain_id, sequence),))
    return EntryRow._make(row) if row else None


def get_body(cx: Cx, chain_id: int, sequence: int) -> bytes | None:
    """The body of one entry; None where it was erased, or there is no such entry."""
    body: bytes | None = cx.value("SELECT body FROM entries WHERE id = ?", (place(chain_id, sequence),))
    return body


def entries_about(cx: Cx, record_id: str) -> list[tuple[int, EntryRow]]:
    """What is said about a record id, with its chain, over all chains and epochs, in the order of chains.

    Not the record itself: its place stands in `records`, and an index of them all would cost each one.
    """
    sql = f"SELECT id >> {_SEQUENCE_BITS}, {_ENTRY} FROM entries WHERE record_id = ? AND kind > 3 ORDER BY id"
    return [(row[0], EntryRow._make(row[1:])) for row in cx.run(sql, (record_id,))]


def spoken_of(cx: Cx, record_ids: Iterable[str], kinds: Collection[int]) -> set[str]:
    """Those record ids about which an entry of one of these kinds, none of them a record's, stands in any chain."""
    sql = (
        f"SELECT record_id FROM (VALUES {ROWS}) AS sought CROSS JOIN entries ON record_id = sought.column1"
        f" WHERE kind > 3 AND kind IN ({', '.join(str(int(kind)) for kind in sorted(kinds))})"
    )
    return {row[0] for row in cx.blocks(sql, [(record_id,) for record_id in record_ids])}


def own_said(cx: Cx, peer: str, record_id: str, kinds: Collection[int]) -> bool:
    """Whether we say anything of these kinds (none of them a record) about an id in our chains towards a peer."""
    marks = ", ".join("?" * len(kinds))
    sql = (
        "SELECT EXISTS (SELECT 1 FROM entries e JOIN chains c ON c.chain_id = e.id >> 40"
        f" WHERE e.record_id = ? AND e.kind > 3 AND e.kind IN ({marks}) AND c.peer = ? AND c.own = 1)"
    )
    return bool(cx.value(sql, (record_id, *kinds, peer)))


def truncate_txn(cx: Cx, chain_id: int, sequence: int) -> Chain:
    """Take back every entry after a sequence, and the heads over them; the chain as it is then.

    Only for mending a rollback, below which the peer holds other entries. ValueError when a receipt covers any of them.
    """
    chain = get_chain(cx, chain_id)
    if chain is None or sequence < chain.receipted_sequence:
        raise ValueError(f"chain {chain_id} cannot be cut back to sequence {sequence}")
    tail = min(sequence, chain.tail_sequence)
    last = get_entry(cx, chain_id, tail)
    tail_hash = last.hash if last is not None else GENESIS
    cx.run("DELETE FROM entries WHERE id > ? AND id < ?", (place(chain_id, sequence), place(chain_id + 1)))
    cx.run("DELETE FROM marks WHERE chain_id = ? AND kind = 'head' AND sequence > ?", (chain_id, sequence))
    cx.run("UPDATE chains SET tail_sequence = ?, tail_hash = ? WHERE chain_id = ?", (tail, tail_hash, chain_id))
    # What was asked of the peer in these entries (see `erasure`) is to be asked again.
    cut = (place(chain_id, sequence), place(chain_id + 1))
    cx.run("UPDATE erasures SET ask_entry = NULL WHERE ask_entry > ? AND ask_entry < ? AND answer IS NULL", cut)
    # What was signed in them has no place; whatever is signed from now on is newer.
    cx.run("UPDATE statements SET chain_id = 0, sequence = 0 WHERE chain_id = ? AND sequence > ?", (chain_id, sequence))
    return chain._replace(tail_sequence=tail, tail_hash=tail_hash)


def erase_entry_txn(cx: Cx, chain_id: int, sequence: int) -> bool:
    """Take body and salt out of an entry; the chain still verifies. False when there was nothing to erase."""
    sql = "UPDATE entries SET salt = NULL, body = NULL WHERE id = ? AND (salt IS NOT NULL OR body IS NOT NULL)"
    return cx.change(sql, (place(chain_id, sequence),)) > 0


# --- heads and receipts -----------------------------------------------------------------------------------------


def put_head_txn(cx: Cx, chain_id: int, mark: SignedMark) -> bool:
    """Keep a signed head. False, and nothing stored, if a head of this sequence and hash is there already."""
    return _put_mark(cx, chain_id, "head", mark)


def put_receipt_txn(cx: Cx, chain_id: int, mark: SignedMark) -> bool:
    """Keep a signed receipt and count the chain as receipted up to it. False if it is there already."""
    cx.run(
        "UPDATE chains SET receipted_sequence = ? WHERE chain_id = ? AND receipted_sequence < ?",
        (mark.sequence, chain_id, mark.sequence),
    )
    return _put_mark(cx, chain_id, "receipt", mark)


MAX_FORKS = 64
"""Heads of one chain that are kept as evidence: one convicts, and whoever lies can sign any number of them."""


def put_fork_txn(cx: Cx, chain_id: int, mark: SignedMark) -> bool:
    """Keep a head that contradicts what we hold, as evidence; it never counts as a head. False if there are enough."""
    if cx.value("SELECT COUNT(*) FROM marks WHERE chain_id = ? AND kind = 'fork'", (chain_id,)) >= MAX_FORKS:
        return False
    return _put_mark(cx, chain_id, "fork", mark)


def _put_mark(cx: Cx, chain_id: int, kind: str, mark: SignedMark) -> bool:
    sql = (
        "INSERT INTO marks (chain_id, kind, sequence, hash, time_ms, signature) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (chain_id, kind, sequence, hash) DO NOTHING"
    )
    return cx.change(sql, (chain_id, kind, *mark)) > 0


def newest_head(cx: Cx, chain_id: int) -> SignedMark | None:
    """The head of the highest sequence."""
    return _newest(cx, chain_id, "head")


def newest_receipt(cx: Cx, chain_id: int) -> SignedMark | None:
    """The receipt of the highest sequence."""
    return _newest(cx, chain_id, "receipt")


def _newest(cx: Cx, chain_id: int, kind: str) -> SignedMark | None:
    sql = f"SELECT {_MARK} FROM marks WHERE chain_id = ? AND kind = ? ORDER BY sequence DESC LIMIT 1"
    row = cx.one(sql, (chain_id, kind))
    return SignedMark._make(row) if row else None


def covering_head(cx: Cx, chain_id: int, sequence: int) -> SignedMark | None:
    """The stored head of the smallest sequence that covers this one."""
    return _covering(cx, chain_id, "head", sequence)


def covering_receipt(cx: Cx, chain_id: int, sequence: int) -> SignedMark | None:
    """The stored receipt of the smallest sequence that covers this one: what a repeat is answered, byte for byte."""
    return _covering(cx, chain_id, "receipt", sequence)


def _covering(cx: Cx, chain_id: int, kind: str, sequence: int) -> SignedMark | None:
    sql = f"SELECT {_MARK} FROM marks WHERE chain_id = ? AND kind = ? AND sequence >= ? ORDER BY sequence LIMIT 1"
    row = cx.one(sql, (chain_id, kind, min(sequence, _SEQUENCE_MASK)))
    return SignedMark._make(row) if row else None


def marks(cx: Cx, chain_id: int, kind: str) -> list[SignedMark]:
    """All marks of a kind ("head", "receipt", "fork"), by sequence."""
    sql = f"SELECT {_MARK} FROM marks WHERE chain_id = ? AND kind = ? ORDER BY sequence"
    return [SignedMark._make(row) for row in cx.run(sql, (chain_id, kind))]
