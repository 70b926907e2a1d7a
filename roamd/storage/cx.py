"""One transaction's hand on the database: the only way by which the table modules speak SQL.

Nothing of apsw passes through: rows are plain tuples, errors are ours. A full disk and a broken one are told apart
here, because all else depends on it: StoreFull is rolled back and answered, StoreBroken ends the process.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Final

import apsw

from roamd.errors import StoreBroken, StoreDamaged, StoreError, StoreFull

Row = tuple[Any, ...]

_OUR_FAULT = (
    apsw.SQLError,
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.RangeError,
    apsw.TooBigError,
    apsw.BindingsError,
    apsw.ExecutionCompleteError,
    apsw.IncompleteExecutionError,
)
"""A wrong statement or a broken constraint: the transaction around it is whole, only this step failed."""


def store_error(error: apsw.Error) -> StoreError:
    """Our error for SQLite's. What is not known to be harmless counts as broken."""
    if isinstance(error, apsw.FullError) or getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE:
        return StoreFull("The disk is full: nothing was stored. Free some space; roamd goes on by itself.")
    if isinstance(error, _OUR_FAULT):
        return StoreError(f"The store refused a statement: {error}")
    return StoreBroken(f"The store failed: {type(error).__name__}: {error}")


NO_LIMIT = 1 << 40
"""For those who delete what is old all at once; the daemon does it in groups."""


ROWS: Final = "{rows}"
"""Where a statement takes many rows of parameters: `VALUES {rows}`."""

_BLOCKS: Final = (64, 32, 16, 8, 4)
"""Rows to a statement. Few sizes, for each is a statement to keep; one by one a row costs twice as much, most of it in
what SQLite does around each statement: a journal of its own where there are triggers, the last id given away. For fewer
than four it is not worth a statement of their own."""


class Cx:
    """A connection inside a transaction. Valid only while the function that it was given to runs."""

    __slots__ = ("_connection", "_cursor")

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()

    def run(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """Run one statement and give all its rows."""
        try:
            return self._cursor.execute(sql, params).fetchall()
        except apsw.Error as error:
            raise store_error(error) from error
        except UnicodeDecodeError as error:
            raise _damaged_text() from error

    def one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        """The first row, or None."""
        rows = self.run(sql, params)
        return rows[0] if rows else None

    def value(self, sql: str, params: Sequence[Any] = ()) -> Any:
        """The first column of the first row, or None."""
        rows = self.run(sql, params)
        return rows[0][0] if rows else None

    def change(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run one statement that writes; how many rows it changed."""
        self.run(sql, params)
        return self._connection.changes()

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> list[Row]:
        """Run one statement for each row of parameters; all that they give, in that order. Cheaper than one by one."""
        try:
            return self._cursor.executemany(sql, rows).fetchall()
        except apsw.Error as error:
            raise store_error(error) from error
        except UnicodeDecodeError as error:
            raise _damaged_text() from error

    def blocks(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[Row]:
        """Run a statement with `VALUES {rows}` for rows of the same length, many at once; all rows that it gives.

        Rows are taken in their order; what comes back is in no order within one block.
        """
        given: list[Row] = []
        at = 0
        for size in _BLOCKS:
            while len(rows) - at >= size:
                block = rows[at : at + size]
                given += self.run(_with_rows(sql, len(block[0]), size), [value for row in block for value in row])
                at += size
        return given + self.many(_with_rows(sql, len(rows[at]), 1), rows[at:]) if at < len(rows) else given

    def each(self, sql: str, params: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows one by one, for those who may stop early; nothing may be written while it runs."""
        try:
            yield from self._connection.execute(sql, params)
        except apsw.Error as error:
            raise store_error(error) from error
        except UnicodeDecodeError as error:
            raise _damaged_text() from error


@cache
def _with_rows(sql: str, width: int, count: int) -> str:
    """The statement for so many rows."""
    row = f"({', '.join('?' * width)})"
    return sql.replace(ROWS, ", ".join([row] * count))


def _damaged_text() -> StoreDamaged:
    return StoreDamaged("A text in the store is no text any more: it is damaged on the disk. Bring back a backup.")


def within_bytes(rows: Iterable[Row], column: int, max_bytes: int) -> Iterator[Row]:
    """Rows until the blobs of one column fill `max_bytes`; the first with content always, however large."""
    size = 0
    for row in rows:
        length = len(row[column] or b"")
        if size and size + length > max_bytes:
            return
        size += length
        yield row
