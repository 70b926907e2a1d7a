"""Copies of the store: online backup, the copy before a migration, and restore.

A backup is taken over a connection of its own in one read transaction: it neither waits for the writer nor stops it,
and it may run on any thread. It is one file, checked and synced before it gets its name, so a file with that name is
a whole backup. A backup holds personal data, so only its owner may read it.
"""

import os
from pathlib import Path

import apsw

from roamd.errors import OperatorError, StoreError
from roamd.storage import connect, meta, migrate
from roamd.storage.cx import Cx, store_error

_FORGOTTEN_EVENTS = 1 << 32
"""How far event ids jump at a restore: past every id that the forgotten time can have handed out."""


def backup(source: Path, target: Path) -> int:
    """Copy a store, running or not, to a new file; its size. OperatorError when `target` exists."""
    if target.exists():
        raise OperatorError(f"{target} exists already: name a new file for the backup.")
    part = target.with_name(target.name + ".part")
    try:
        _copy(source, part)
        problems = check(part)
        if problems:
            raise StoreError(
                f"The copy of the store is not whole ({problems[0]}): check the disk, and restore an older backup."
            )
        _take_name(part, target)
    except apsw.Error as error:
        raise StoreError(f"The backup failed: {store_error(error)}") from error
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def before_migration(path: Path, number: int) -> None:
    """The automatic copy ahead of migration `number`; one that stands from an earlier try is kept."""
    target = path.with_name(f"{path.name}.before-{number:04}")
    if not target.exists():
        backup(path, target)


def check(path: Path) -> list[str]:
    """What is wrong with a store file; empty when it is whole and of a schema that this program knows."""
    if not path.is_file():
        return [f"{path} is not a file"]
    try:
        connection = apsw.Connection(
            path.absolute().as_uri() + "?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        )
        try:
            return _problems(connection)
        finally:
            connection.close()
    except apsw.Error as error:
        return [str(store_error(error))]


def _problems(connection: apsw.Connection) -> list[str]:
    found = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    done = migrate.applied(connection)
    if not done:
        found.append("it is not a roamd store")
    elif max(done) > len(migrate.load()):
        found.append(f"its schema {max(done)} is newer than this roamd knows ({len(migrate.load())})")
    return found


def restore(source: Path, path: Path, now_ms: int) -> Path | None:
    """Put a backup in the store's place, marked so that the next start knows; where the old store went (None: none).

    The daemon must be stopped (OperatorError otherwise). The backup is checked first; the old store is moved aside,
    never deleted.
    """
    problems = check(source)
    if problems:
        raise OperatorError(f"{source} cannot be restored: {problems[0]}.")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = connect.hold_lock(path)
    part = path.with_name(path.name + ".part")
    try:
        _copy(source, part)
        _mark_restored(part, now_ms)
        aside = _move_aside(path, now_ms)
        _take_name(part, path)
    except apsw.Error as error:
        raise StoreError(f"The restore failed: {store_error(error)}") from error
    finally:
        part.unlink(missing_ok=True)
        os.close(lock)
    return aside


def require_no_half_restore(path: Path) -> None:
    """OperatorError where a restore came to its end between moving the old store aside and putting the new one there.

    A start would make an empty store, which knows nothing of what was received and signed under this identity.
    """
    replaced = _replaced(path)
    if replaced and not path.exists():
        raise OperatorError(
            f"There is no store {path.name}, but {replaced[-1].name} beside it: a restore did not come to its end. "
            "Run `roamd restore` again, or give that file (and its -wal) the store's name back. To begin with an "
            "empty store, move it away."
        )


def _mark_restored(path: Path, now_ms: int) -> None:
    """Leave the marker, and jump over the event cursors that the forgotten time handed out."""
    connection = apsw.Connection(str(path))
    try:
        connection.pragma("journal_mode", "delete")  # one file, so that it can be renamed
        with connection:
            cx = Cx(connection)
            if not cx.change("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'events'", (_FORGOTTEN_EVENTS,)):
                cx.run("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?)", (_FORGOTTEN_EVENTS,))
            meta.set_txn(cx, meta.RESTORED_AT, str(now_ms))
    finally:
        connection.close()


def _move_aside(path: Path, now_ms: int) -> Path | None:
    """Give the old store another name, with its log: a log left behind would be played into the restored store.

    The file goes first: with a crash before its log went, too, it would be an older store that nobody misses. What a
    restore that did not come to its end has left is put beside what that one has moved.
    """
    replaced = _replaced(path)
    if not path.exists() and not replaced:
        return None
    aside = path.with_name(f"{path.name}.replaced-{now_ms}") if path.exists() else replaced[-1]
    for suffix in ("", "-wal", "-shm"):
        old = path.with_name(path.name + suffix)
        if old.exists():
            old.rename(aside.with_name(aside.name + suffix))
    return aside


def _replaced(path: Path) -> list[Path]:
    """Stores that restored ones have replaced, without their logs."""
    return sorted(path.parent.glob(f"{path.name}.replaced-*[0-9]"))


def _copy(source: Path, target: Path) -> None:
    """Copy page by page, in one read transaction, into a private file, synced."""
    target.unlink(missing_ok=True)
    connect.create_private(target)
    origin = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
    copy = apsw.Connection(str(target))
    try:
        with copy.backup("main", origin, "main") as transfer:
            transfer.step()
    finally:
        copy.close()
        origin.close()
    _sync(target)


def _take_name(part: Path, target: Path) -> None:
    """Rename a whole file into place, lastingly."""
    _sync(part)
    part.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
