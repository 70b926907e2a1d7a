"""Migrations: each once, whole, only over a store that fits."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from roamd.errors import OperatorError, StoreError
from roamd.storage import backup, migrate
from roamd.storage.migrate import Migration
from roamd.storage.store import Store
from tests.storage.doors import note, noted

ONE = Migration(1, "0001_one", "CREATE TABLE one (a INTEGER); INSERT INTO one VALUES (1);")
TWO = Migration(2, "0002_two", "CREATE TABLE two (a INTEGER);")
BAD = Migration(2, "0002_bad", "CREATE TABLE two (a INTEGER); INSERT INTO nowhere VALUES (1);")


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    yield connection
    connection.close()


def run(connection: apsw.Connection, *migrations: Migration) -> tuple[list[int], list[int]]:
    """What was applied, and ahead of which ones a backup was asked for."""
    backups: list[int] = []
    return migrate.migrate(connection, list(migrations), 5, backups.append), backups


def test_each_is_applied_once_and_in_order(connection: apsw.Connection) -> None:
    assert run(connection, ONE) == ([1], [])
    assert run(connection, ONE, TWO) == ([2], [2])
    assert run(connection, ONE, TWO) == ([], [])
    assert connection.execute("SELECT COUNT(*) FROM one").get == 1


def test_a_new_store_needs_no_backup(connection: apsw.Connection) -> None:
    assert run(connection, ONE, TWO) == ([1, 2], [])


def test_a_migration_that_fails_leaves_the_store_as_it_was(connection: apsw.Connection) -> None:
    run(connection, ONE)
    with pytest.raises(StoreError):
        run(connection, ONE, BAD)
    assert not connection.table_exists("main", "two")
    assert run(connection, ONE, TWO) == ([2], [2])


def test_a_newer_schema_is_refused_with_what_to_do(connection: apsw.Connection) -> None:
    run(connection, ONE, TWO)
    with pytest.raises(OperatorError, match=r"newer roamd \(schema 2, this one knows 1\).*backup"):
        run(connection, ONE)


def test_a_migration_that_was_changed_afterwards_is_refused(connection: apsw.Connection) -> None:
    run(connection, ONE)
    with pytest.raises(OperatorError, match="0001_one is not the one"):
        run(connection, ONE._replace(sql=ONE.sql + " "), TWO)
    assert not connection.table_exists("main", "two")


def test_a_gap_is_refused(connection: apsw.Connection) -> None:
    run(connection, ONE, TWO)
    connection.execute("DELETE FROM migrations WHERE number = 1")
    with pytest.raises(OperatorError, match="gap"):
        run(connection, ONE, TWO)


def test_the_migrations_that_we_bring_are_numbered_without_a_gap() -> None:
    assert [migration.number for migration in migrate.load()] == list(range(1, len(migrate.load()) + 1))


def test_an_existing_store_is_copied_before_it_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    with Store.open(path, ballast_bytes=0) as store:
        store.write(note("old"))
    known = migrate.load()
    number = len(known) + 1
    brought = [*known, Migration(number, f"{number:04}_new", "DELETE FROM meta;")]
    monkeypatch.setattr(migrate, "load", lambda: brought)
    with Store.open(path, ballast_bytes=0) as store:
        assert store.read(noted) == []
    backup.restore(tmp_path / f"store.db.before-{number:04}", path, 5)
    monkeypatch.undo()
    with Store.open(path, ballast_bytes=0) as store:
        assert "old" in store.read(noted)


def test_a_file_that_is_no_store_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match=r"store\.db cannot be opened"):
        Store.open(tmp_path / "store.db")
