"""How the store's connections are opened: every pragma with its reason."""

import fcntl
import os
from pathlib import Path

import apsw

from roamd.errors import OperatorError

CHECKPOINT_PAGES = 16_000
"""64 MiB of write-ahead log before it is taken in under load: that stalls 20-75 ms, so it is better done when idle."""

_PAGE_BYTES = 4096
"""A 3 KB row and its neighbours' index pages: larger pages cost single commits more than they save in bulk."""

_CACHE_KIB = 32_768
"""Holds the inner pages of every index at millions of rows, and a group of the usual size without spilling."""

BUSY_MS = 5_000
"""We are the only writer; this bridges an operator's own look with the sqlite3 tool."""

_STATEMENTS = 256
"""Room for every statement that the table modules know, so that each is prepared once."""


def create_private(path: Path) -> None:
    """Make an empty file that only we may read; SQLite gives its -wal and -shm the same mode."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))


def open_writer(path: Path, *, synchronous: str, vfs: str | None) -> apsw.Connection:
    """The one connection that writes and checkpoints; makes the file when it is not there."""
    create_private(path)
    connection = apsw.Connection(str(path), vfs=vfs, statementcachesize=_STATEMENTS)
    connection.set_busy_timeout(BUSY_MS)
    connection.pragma("page_size", _PAGE_BYTES)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", synchronous)
    connection.pragma("journal_size_limit", CHECKPOINT_PAGES * _PAGE_BYTES)
    _set_common(connection)
    return connection


def open_reader(path: Path, *, vfs: str | None = None) -> apsw.Connection:
    """A connection that can only read; in WAL mode it sees all that was committed when its transaction began."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs, statementcachesize=_STATEMENTS)
    connection.set_busy_timeout(BUSY_MS)
    _set_common(connection)
    return connection


def open_memory(image: bytes | None) -> apsw.Connection:
    """A database in memory, empty or as `serialize` gave it."""
    connection = apsw.Connection(":memory:", statementcachesize=_STATEMENTS)
    if image is not None:
        connection.deserialize("main", image)
    _set_common(connection)
    return connection


def _set_common(connection: apsw.Connection) -> None:
    connection.pragma("cache_size", -_CACHE_KIB)
    connection.pragma(
        "temp_store", "memory"
    )  # savepoints keep what they overwrite; a file for that would cost a write each
    connection.pragma("secure_delete", "on")  # deleted personal data does not linger in free pages
    connection.pragma("mmap_size", 0)  # a read error must be an error, not a SIGBUS
    connection.pragma("trusted_schema", "off")
    # Without this a parameter beside the condition of a partial index has its statement prepared anew at each use.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)  # "x" is a name, never silently a string


def hold_lock(path: Path) -> int:
    """Take the store for this process; a descriptor to close. OperatorError when another process has it."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise OperatorError(f"Another roamd has the store {path.name} open: stop it first.") from error
    return descriptor
