"""Emptying the log on request: what was deleted stands in no file any more."""

from pathlib import Path

import apsw
import pytest

from roamd.errors import StoreBroken, StoreError
from roamd.storage import meta
from roamd.storage.store import Store
from roamd.storage.writer import Waiter
from tests.support.crashfs import FaultyVFS

SECRET = "this must go"


def files_of(store: Store) -> bytes:
    """Every byte of the database, its log and the log's index."""
    assert store.path is not None
    return b"".join(file.read_bytes() for file in sorted(store.path.parent.glob(store.path.name + "*")))


def truncated(store: Store) -> bool:
    waiter = Waiter()
    store.truncate_log(waiter)
    outcome = waiter.wait()
    if isinstance(outcome, BaseException):
        raise outcome
    done: bool = outcome
    return done


def test_what_was_deleted_before_stands_in_no_file_after_it(store: Store) -> None:
    store.write(lambda cx: meta.set_txn(cx, "name", SECRET * 1000))
    store.write(lambda cx: meta.delete_txn(cx, "name"))
    assert SECRET.encode() in files_of(store)
    assert truncated(store)
    assert SECRET.encode() not in files_of(store)
    assert store.path is not None
    assert store.path.with_name(store.path.name + "-wal").stat().st_size == 0


def test_somebody_who_reads_puts_it_off_and_is_not_waited_for(store: Store) -> None:
    store.write(lambda cx: meta.set_txn(cx, "name", SECRET))
    assert store.path is not None
    reader = apsw.Connection(str(store.path), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN; SELECT * FROM meta").fetchall()
    store.write(lambda cx: meta.delete_txn(cx, "name"))
    assert not truncated(store)
    assert store.write(lambda cx: meta.get(cx, "name")) is None
    reader.close()
    assert truncated(store)
    assert SECRET.encode() not in files_of(store)


def test_a_store_in_memory_has_no_log_and_a_closed_one_says_so(memory: Store) -> None:
    assert truncated(memory)
    memory.close()
    with pytest.raises(StoreError, match="closed"):
        truncated(memory)


def test_a_disk_that_fails_at_it_breaks_the_store_and_whoever_asked_is_told(tmp_path: Path) -> None:
    faulty = FaultyVFS("faulty-truncation")
    broken: list[StoreBroken] = []
    with Store.open(tmp_path / "store.db", ballast_bytes=0, vfs=faulty.name, on_broken=broken.append) as store:
        store.write(lambda cx: meta.set_txn(cx, "name", SECRET))
        faulty.sync_fails = True
        with pytest.raises(StoreBroken):
            truncated(store)
        with pytest.raises(StoreBroken):
            store.write(lambda cx: meta.get(cx, "name"))
    assert len(broken) == 1
    faulty.unregister()
