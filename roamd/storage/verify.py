"""Raw walks for `ledger verify`: rows in order, in pages short enough for a loop; the hashing is the caller's."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import apsw

from roamd.storage import ledgers
from roamd.storage.cx import Cx

Read = Callable[[Callable[[Cx], Any]], Any]
"""`Store.read`."""

_PAGE_ROWS = 256
_PAGE_BYTES = 1 << 20
"""About 3 ms of reading and hashing a page: other work of the loop may go between two pages."""


def pages(read: Read, chain_id: int) -> Iterator[list[ledgers.EntryRow]]:
    """The entries of a chain from its first to its tail, page by page, each page in a read of its own."""
    after = 0
    while page := read(partial(_page, chain_id=chain_id, after=after)):
        yield page
        after = page[-1].sequence


def _page(cx: Cx, chain_id: int, after: int) -> list[ledgers.EntryRow]:
    return ledgers.entries(cx, chain_id, after, max_rows=_PAGE_ROWS, max_bytes=_PAGE_BYTES)


LEDGER_TABLES = ("chains", "entries", "marks")


def structure_faults(connection: apsw.Connection) -> list[str]:
    """What SQLite itself finds wrong in the ledger: pages, cells, indexes. Reads all of it."""
    try:
        found = [
            str(row[0])
            for table in LEDGER_TABLES
            for row in connection.execute(f"PRAGMA integrity_check({table})")
            if row[0] != "ok"
        ]
    except (apsw.Error, UnicodeDecodeError) as error:
        return [f"the store cannot be read: {type(error).__name__}: {error}"]
    return found


def misfits(cx: Cx) -> list[str]:
    """What cannot be in a whole store, in words: places where the tables of the ledger contradict each other."""
    found: list[str] = []
    for text, sql in _MISFITS.items():
        found += [text.format(*row) for row in cx.run(sql)]
    return found


_MISFITS = {
    "chain {0} has a mark of an unknown kind": (
        "SELECT DISTINCT chain_id FROM marks WHERE kind NOT IN ('head', 'receipt', 'fork')"
    ),
    "chain {0} counts as receipted up to {1}, and the receipt for that is not there": (
        "SELECT chain_id, receipted_sequence FROM chains WHERE receipted_sequence <> COALESCE("
        "(SELECT MAX(sequence) FROM marks WHERE marks.chain_id = chains.chain_id AND kind = 'receipt'), 0)"
    ),
    "chain {0} is open and was followed by another, or closed and was not": (
        "SELECT chain_id FROM chains WHERE closed <> EXISTS (SELECT 1 FROM chains AS later"
        " WHERE later.peer = chains.peer AND later.own = chains.own AND later.chain_id > chains.chain_id)"
    ),
    "chain {0} says neither that it is ours nor that it is not": "SELECT chain_id FROM chains WHERE own NOT IN (0, 1)",
    "records in chain {0} belong to another peer": (
        "SELECT DISTINCT chain_id FROM chains JOIN records USING (chain_id) WHERE records.peer IS NOT chains.peer"
    ),
    "an entry in chain {0} is of an unknown OCPI version": (
        "SELECT DISTINCT id >> 40 FROM entries WHERE ocpi NOT IN ('', '2.2.1', '2.3.0')"
    ),
}
"""What to say, and the rows of which it must be said."""


def orphans(cx: Cx) -> list[int]:
    """Numbers of chains that have entries or marks but no row of their own; always empty in a whole store."""
    rows = cx.run(
        "SELECT DISTINCT id >> 40 FROM entries WHERE id >> 40 NOT IN (SELECT chain_id FROM chains)"
        " UNION SELECT chain_id FROM marks WHERE chain_id NOT IN (SELECT chain_id FROM chains)"
    )
    return sorted(row[0] for row in rows)
