"""Backups are whole, private and checked; a restored store knows that it was restored."""

import contextlib
from pathlib import Path

import pytest

from roamd.errors import OperatorError, StoreError
from roamd.storage import backup, events, meta
from roamd.storage.store import Store
from tests.storage.doors import Outcomes, note, noted


def test_a_backup_of_a_running_store_holds_what_was_committed(store: Store, tmp_path: Path) -> None:
    store.write(note("one"))
    assert store.path is not None
    size = backup.backup(store.path, tmp_path / "copy.db")
    store.write(note("two"))
    assert size == (tmp_path / "copy.db").stat().st_size
    assert backup.check(tmp_path / "copy.db") == []
    with Store.open(tmp_path / "copy.db", ballast_bytes=0) as copy:
        assert copy.read(noted) == ["one"]


def test_a_backup_under_load_does_not_stop_the_writer(store: Store, tmp_path: Path) -> None:
    outcomes = Outcomes()
    for number in range(500):
        store.submit(note(f"{number:03}", 2000), outcomes)
    assert store.path is not None
    backup.backup(store.path, tmp_path / "copy.db")
    assert len(outcomes.take(500)) == 500
    with Store.open(tmp_path / "copy.db", ballast_bytes=0) as copy:
        held = copy.read(noted)
    assert held == [f"{number:03}" for number in range(len(held))]


def test_a_backup_is_private_and_never_overwrites(store: Store, tmp_path: Path) -> None:
    assert store.path is not None
    backup.backup(store.path, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    with pytest.raises(OperatorError, match="exists already"):
        backup.backup(store.path, tmp_path / "copy.db")


def test_a_backup_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        backup.backup(tmp_path / "nowhere.db", tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


def test_a_restored_store_is_what_was_saved_and_the_old_one_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(path, ballast_bytes=0) as store:
        store.write(note("saved"))
        backup.backup(path, tmp_path / "copy.db")
        store.write(note("forgotten"))
    aside = backup.restore(tmp_path / "copy.db", path, 12345)
    with Store.open(path, ballast_bytes=0) as store:
        assert store.write(meta.take_restored_txn) == 12345
        assert store.write(meta.take_restored_txn) is None
        assert store.read(noted) == ["saved"]
    assert aside is not None
    with Store.open(aside, ballast_bytes=0) as old:
        assert old.read(noted) == ["forgotten", "saved"]


def test_the_log_of_a_killed_store_is_not_played_into_the_restored_one(tmp_path: Path) -> None:
    path, live = tmp_path / "store.db", tmp_path / "live.db"
    with Store.open(live, ballast_bytes=0) as store:
        backup.backup(live, tmp_path / "copy.db")
        store.write(note("in the log"))
        for suffix in ("", "-wal"):  # what a SIGKILL leaves behind
            path.with_name(path.name + suffix).write_bytes(live.with_name(live.name + suffix).read_bytes())
    aside = backup.restore(tmp_path / "copy.db", path, 5)
    with Store.open(path, ballast_bytes=0) as store:
        assert "in the log" not in store.read(noted)
    assert aside is not None
    with Store.open(aside, ballast_bytes=0) as old:
        assert "in the log" in old.read(noted)


@pytest.mark.parametrize("renames", range(4))
def test_a_restore_that_ends_halfway_leaves_no_empty_store_and_none_without_its_log(
    renames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, live, left = tmp_path / "state.db", tmp_path / "live.db", [renames]
    with Store.open(live, ballast_bytes=0) as store:
        backup.backup(live, tmp_path / "copy.db")
        store.write(note("in the log"))
        for suffix in ("", "-wal"):
            path.with_name(path.name + suffix).write_bytes(live.with_name(live.name + suffix).read_bytes())
    rename = Path.rename

    def until_the_crash(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as crashing:
        crashing.setattr(Path, "rename", until_the_crash)
        with contextlib.suppress(KeyboardInterrupt):
            backup.restore(tmp_path / "copy.db", path, now_ms=7)
    if renames == 0:
        with Store.open(path, ballast_bytes=0) as untouched:
            assert "in the log" in untouched.read(noted)
        return
    if renames < 3:
        with pytest.raises(OperatorError, match="did not come to its end"):
            Store.open(path, ballast_bytes=0)
        assert backup.restore(tmp_path / "copy.db", path, now_ms=8) == tmp_path / "state.db.replaced-7"
    with Store.open(path, ballast_bytes=0) as restored:
        assert "in the log" not in restored.read(noted)
    with Store.open(tmp_path / "state.db.replaced-7", ballast_bytes=0) as old:
        assert "in the log" in old.read(noted)


def test_event_cursors_of_the_forgotten_time_are_never_given_again(tmp_path: Path) -> None:
    def add(store: Store) -> int:
        return store.write(
            lambda cx: events.append_txn(cx, at_ms=0, peer=None, type="record.state", subject="s", data=b"{}")
        )

    path = tmp_path / "store.db"
    with Store.open(path, ballast_bytes=0) as store:
        add(store)
        backup.backup(path, tmp_path / "copy.db")
        forgotten = add(store)
    backup.restore(tmp_path / "copy.db", path, 5)
    with Store.open(path, ballast_bytes=0) as store:
        assert add(store) > forgotten


def test_event_cursors_jump_also_when_the_backup_had_no_event(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(path, ballast_bytes=0):
        backup.backup(path, tmp_path / "copy.db")
    backup.restore(tmp_path / "copy.db", path, 5)
    with Store.open(path, ballast_bytes=0) as store:
        first = store.write(
            lambda cx: events.append_txn(cx, at_ms=0, peer=None, type="record.state", subject="s", data=b"{}")
        )
    assert first > 1 << 32


def test_a_running_store_is_not_restored_over(store: Store, tmp_path: Path) -> None:
    assert store.path is not None
    backup.backup(store.path, tmp_path / "copy.db")
    with pytest.raises(OperatorError, match="stop it first"):
        backup.restore(tmp_path / "copy.db", store.path, 5)


@pytest.mark.parametrize("content", [b"", b"rubbish" * 1000], ids=["empty", "rubbish"])
def test_what_is_no_store_is_not_restored(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "store.db"
    with Store.open(path, ballast_bytes=0) as store:
        store.write(note("kept"))
    (tmp_path / "copy.db").write_bytes(content)
    with pytest.raises(OperatorError, match="cannot be restored"):
        backup.restore(tmp_path / "copy.db", path, 5)
    with Store.open(path, ballast_bytes=0) as store:
        assert store.read(noted) == ["kept"]


def test_a_damaged_backup_is_not_restored(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(path, ballast_bytes=0) as store:
        for number in range(50):
            store.write(note(f"{number:02}", 3000))
        backup.backup(path, tmp_path / "copy.db")
    content = bytearray((tmp_path / "copy.db").read_bytes())
    content[20 * 4096 : 90 * 4096] = bytes(70 * 4096)
    (tmp_path / "copy.db").write_bytes(content)
    assert backup.check(tmp_path / "copy.db") != []
    with pytest.raises(OperatorError, match="cannot be restored"):
        backup.restore(tmp_path / "copy.db", path, 5)
