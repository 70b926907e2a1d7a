"""Numbered migrations: `migrations/0001_base.sql`, `0002_...`, each applied once, in a transaction of its own.

The store notes each one's checksum. A migration that was changed after it was applied, a gap, or a schema newer than
this program knows is refused with words that say what to do. Before an existing store is migrated it is copied to
`<store>.before-<number>`.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

import apsw

from roamd.errors import OperatorError
from roamd.storage.cx import store_error


class Migration(NamedTuple):
    """One step of the schema."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """What the store remembers of it."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def load() -> tuple[Migration, ...]:
    """The migrations that this program brings, in order; read once."""
    files = resources.files("roamd.storage").joinpath("migrations").iterdir()
    found = [
        Migration(int(file.name[:4]), file.name.removesuffix(".sql"), file.read_text("utf-8"))
        for file in files
        if file.name.endswith(".sql")
    ]
    return tuple(sorted(found))


def applied(connection: apsw.Connection) -> dict[int, tuple[str, str]]:
    """What this store has been through: number -> (name, checksum)."""
    if not connection.table_exists("main", "migrations"):
        return {}
    return {row[0]: (row[1], row[2]) for row in connection.execute("SELECT number, name, checksum FROM migrations")}


def migrate(
    connection: apsw.Connection, migrations: Sequence[Migration], now_ms: int, before: Callable[[int], None]
) -> list[int]:
    """Bring the schema up to date; the numbers that were applied now.

    `before(number)` is called once, ahead of the first change to a store that is not new: make the backup there.
    Raises OperatorError, with nothing changed, when the store does not fit this program.
    """
    done = applied(connection)
    _require_fit(done, migrations)
    pending = [migration for migration in migrations if migration.number not in done]
    if pending and done:
        before(pending[0].number)
    for migration in pending:
        _apply(connection, migration, now_ms)
    return [migration.number for migration in pending]


def _require_fit(done: dict[int, tuple[str, str]], migrations: Sequence[Migration]) -> None:
    """Refuse a store that another program made, or that was changed behind our back."""
    known = {migration.number: migration for migration in migrations}
    newest, newest_known = max(done, default=0), max(known, default=0)
    if newest > newest_known:
        raise OperatorError(
            f"The store was written by a newer roamd (schema {newest}, this one knows {newest_known}). Install that"
            " version again, or restore the backup that its upgrade made (beside the store, '.before-...')."
        )
    if sorted(done) != list(range(1, newest + 1)):
        raise OperatorError(f"The store's list of migrations has a gap ({sorted(done)}): restore it from a backup.")
    for number, (name, checksum) in done.items():
        if known[number].checksum != checksum:
            raise OperatorError(
                f"Migration {name} is not the one that made this store: "
                "the installation was changed. Install the released roamd again."
            )


def _apply(connection: apsw.Connection, migration: Migration, now_ms: int) -> None:
    """One migration, whole or not at all."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL,"
            " checksum TEXT NOT NULL, applied_ms INTEGER NOT NULL) STRICT"
        )
        connection.execute(migration.sql)
        connection.execute(
            "INSERT INTO migrations (number, name, checksum, applied_ms) VALUES (?, ?, ?, ?)",
            (migration.number, migration.name, migration.checksum, now_ms),
        )
        connection.execute("COMMIT")
    except apsw.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise store_error(error) from error
