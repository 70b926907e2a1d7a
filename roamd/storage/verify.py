"""Raw walks for `ledger verify`: rows in order, in pages short enough for a loop; the hashing is the caller's."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

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


def orphans(cx: Cx) -> list[int]:
    """Numbers of chains that have entries or marks but no row of their own; always empty in a whole store."""
    rows = cx.run(
        "SELECT DISTINCT id >> 40 FROM entries WHERE id >> 40 NOT IN (SELECT chain_id FROM chains)"
        " UNION SELECT chain_id FROM marks WHERE chain_id NOT IN (SELECT chain_id FROM chains)"
    )
    return sorted(row[0] for row in rows)
