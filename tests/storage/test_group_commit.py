"""How a transaction comes to the disk, and who is told what."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roamd.demo.client import wait_until
from roamd.errors import Conflict, OperatorError, StoreBroken, StoreError
from roamd.storage import writer
from roamd.storage.cx import Cx
from roamd.storage.store import Store
from roamd.storage.writer import MAX_GROUP
from tests.storage.doors import HeldWriter, Outcomes, note, noted
from tests.support.crashfs import FaultyVFS, RecordingVFS, Sync


@pytest.fixture
def faulty() -> Iterator[FaultyVFS]:
    vfs = FaultyVFS("faulty")
    yield vfs
    vfs.unregister()


def refuse(cx: Cx) -> None:
    note("refused")(cx)
    raise Conflict("no")


def test_what_was_submitted_is_there_when_its_outcome_is_told(store: Store) -> None:
    seen: list[list[str]] = []
    told = threading.Event()

    def done(_: object) -> None:
        seen.append(store.read(noted))
        told.set()

    store.submit(note("one"), done)
    assert told.wait(20)
    assert seen == [["one"]]


def test_all_that_waits_becomes_one_commit_and_one_delivery(tmp_path: Path) -> None:
    deliveries: list[int] = []
    outcomes = Outcomes()

    def deliver(batch: list[tuple[Any, Any]]) -> None:
        deliveries.append(len(batch))
        for done, outcome in batch:
            done(outcome)

    vfs = RecordingVFS("counting")
    with Store.open(tmp_path / "store.db", ballast_bytes=0, deliver=deliver, vfs=vfs.name) as store:
        with HeldWriter(store):
            for number in range(50):
                store.submit(note(f"{number:02}"), outcomes)
            before = len(vfs.journal)
        assert outcomes.take(50) == [f"{number:02}" for number in range(50)]
        syncs = [step for step in vfs.journal[before:] if isinstance(step, Sync)]
    assert deliveries == [1, 50]
    assert len([step for step in syncs if step.file == "store.db-wal"]) <= 3  # the held job's, the group's, closing's
    vfs.unregister()


def test_a_group_is_at_most_so_many(tmp_path: Path) -> None:
    sizes: list[int] = []
    done = threading.Event()

    def deliver(batch: list[tuple[Any, Any]]) -> None:
        sizes.append(len(batch))
        if sum(sizes) == MAX_GROUP + 11:
            done.set()

    with Store.open(tmp_path / "store.db", ballast_bytes=0, deliver=deliver) as store:
        with HeldWriter(store):
            for _ in range(MAX_GROUP + 10):
                store.submit(lambda cx: None, lambda _: None)
        assert done.wait(20)
    assert sizes == [1, MAX_GROUP, 10]


@pytest.mark.parametrize("error", [Conflict("no"), ValueError("no"), ZeroDivisionError()])
def test_who_fails_leaves_no_trace_and_takes_nobody_along(store: Store, error: Exception) -> None:
    def fail(cx: Cx) -> None:
        note("failed")(cx)
        raise error

    outcomes = Outcomes()
    with HeldWriter(store):
        for fn in (note("before"), fail, note("after")):
            store.submit(fn, outcomes)
    assert outcomes.take(3) == ["before", error, "after"]
    assert store.read(noted) == ["after", "before"]


def test_a_broken_constraint_is_the_submitters_own_matter(store: Store) -> None:
    outcomes = Outcomes()
    with HeldWriter(store):
        for _ in range(2):
            store.submit(note("twice"), outcomes)
    first, second = outcomes.take(2)
    assert first == "twice"
    assert type(second) is StoreError
    assert "twice" in store.read(noted)


def test_write_raises_what_the_function_raised(store: Store) -> None:
    with pytest.raises(Conflict):
        store.write(refuse)
    assert store.write(lambda cx: 7) == 7


def test_write_works_while_nobody_delivers(tmp_path: Path) -> None:
    parked: list[Any] = []
    with Store.open(tmp_path / "store.db", ballast_bytes=0, deliver=parked.extend) as store:
        store.submit(note("parked"), lambda _: None)
        assert store.write(note("told")) == "told"
    with Store.open_memory(deliver=parked.extend) as store:
        assert store.write(note("told")) == "told"
    with pytest.raises(StoreError, match="closed"):
        store.write(note("late"))
    assert [outcome for _, outcome in parked] == ["parked"]


def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError):
        store.read(note("sneaked in"))
    assert store.read(noted) == []


def test_a_read_sees_one_state_while_the_writer_goes_on(store: Store) -> None:
    def look(cx: Cx) -> tuple[list[str], list[str]]:
        before = noted(cx)
        store.write(note("meanwhile"))
        return before, noted(cx)

    assert store.read(look) == ([], [])
    assert store.read(noted) == ["meanwhile"]


def test_closing_finishes_what_was_submitted(tmp_path: Path) -> None:
    outcomes = Outcomes()
    store = Store.open(tmp_path / "store.db", ballast_bytes=0)
    with HeldWriter(store):
        for number in range(20):
            store.submit(note(f"{number:02}"), outcomes)
    store.close()
    assert len(outcomes.take(20)) == 20
    store.submit(note("late"), outcomes)
    assert isinstance(outcomes.take(1)[0], StoreError)
    with Store.open(tmp_path / "store.db", ballast_bytes=0) as again:
        assert len(again.read(noted)) == 20


def test_a_log_that_became_long_is_taken_in_under_load(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db", ballast_bytes=0, checkpoint_pages=50) as store:
        for number in range(100):
            store.write(note(f"{number:02}", 10_000))
        assert (tmp_path / "store.db-wal").stat().st_size < 200 * 4096
        assert len(store.read(noted)) == 100


def test_what_comes_alone_is_synced_once_also_after_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_IDLE_S", 0.0)
    vfs = RecordingVFS("alone")
    with Store.open(tmp_path / "store.db", ballast_bytes=0, vfs=vfs.name) as store:
        store.write(note("the log is begun"))
        before = len(vfs.journal)
        for number in range(20):
            store.write(note(f"{number:02}"))
        synced = [step.file for step in vfs.journal[before:] if isinstance(step, Sync)]
    assert synced == ["store.db-wal"] * 20
    vfs.unregister()


def test_a_log_of_some_length_is_taken_in_when_nothing_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_IDLE_S", 0.0)
    vfs = RecordingVFS("pausing")
    with Store.open(tmp_path / "store.db", ballast_bytes=0, vfs=vfs.name) as store:
        before = len(vfs.journal)
        store.write(note("long", 300 * 4096))
        wait_until("the log being taken in", lambda: Sync("store.db") in vfs.journal[before:], 20)
    vfs.unregister()


def test_what_has_patience_goes_along_with_the_next_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PATIENCE_S", 20.0)
    vfs, outcomes = RecordingVFS("patient"), Outcomes()
    with Store.open(tmp_path / "store.db", ballast_bytes=0, vfs=vfs.name) as store:
        store.write(note("the log is begun"))
        before = len(vfs.journal)
        store.submit(note("patient"), outcomes, patient=True)
        store.write(note("urgent"))
        synced = [step.file for step in vfs.journal[before:] if isinstance(step, Sync)]
        assert outcomes.take(1) == ["patient"]
        assert set(store.read(noted)) > {"patient", "urgent"}
    assert synced == ["store.db-wal"]
    vfs.unregister()


def test_what_has_patience_is_committed_by_itself_when_nothing_comes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PATIENCE_S", 0.0)
    outcomes = Outcomes()
    store.submit(note("patient"), outcomes, patient=True)
    assert outcomes.take(1) == ["patient"]
    assert store.read(noted) == ["patient"]


def test_closing_waits_for_no_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PATIENCE_S", 1e6)
    with Store.open(tmp_path / "store.db", ballast_bytes=0) as store:
        store.submit(note("patient"), lambda _: None, patient=True)
    with Store.open(tmp_path / "store.db", ballast_bytes=0) as store:
        assert store.read(noted) == ["patient"]


def test_two_processes_cannot_have_the_same_store(store: Store) -> None:
    assert store.path is not None
    with pytest.raises(OperatorError, match="stop it first"):
        Store.open(store.path)


def test_the_store_is_for_its_owner_only(store: Store) -> None:
    store.write(note("private"))
    assert store.path is not None
    modes = {path.name: path.stat().st_mode & 0o077 for path in store.path.parent.iterdir()}
    assert set(modes.values()) == {0}, modes


def test_a_sync_that_fails_breaks_the_store_and_nobody_is_told_done(tmp_path: Path, faulty: FaultyVFS) -> None:
    outcomes, ends = Outcomes(), Outcomes()
    store = Store.open(tmp_path / "store.db", ballast_bytes=0, on_broken=ends, vfs=faulty.name)
    store.write(note("safe"))
    with HeldWriter(store):
        store.submit(note("unsure"), outcomes)
        store.submit(refuse, outcomes, essential=True)
        faulty.sync_fails = True
    assert [type(outcome) for outcome in outcomes.take(2)] == [StoreBroken, StoreBroken]
    assert isinstance(ends.take(1)[0], StoreBroken)

    faulty.sync_fails = False  # the disk "recovers": a sync is never tried again all the same
    store.submit(note("later"), outcomes, essential=True)
    assert isinstance(outcomes.take(1)[0], StoreBroken)
    store.close()


def test_a_delivery_that_fails_ends_the_writer_loudly(tmp_path: Path) -> None:
    ends = Outcomes()

    def deliver(_: object) -> None:
        raise RuntimeError("the loop is gone")

    store = Store.open(tmp_path / "store.db", ballast_bytes=0, deliver=deliver, on_broken=ends)
    store.submit(note("one"), lambda _: None)
    assert "the loop is gone" in str(ends.take(1)[0])
    store.close()


# --- in memory --------------------------------------------------------------------------------------------------


def test_in_memory_a_submission_is_committed_before_submit_returns() -> None:
    outcomes: list[Any] = []
    with Store.open_memory() as store:
        store.submit(note("one"), outcomes.append)
        store.submit(refuse, outcomes.append)
        assert store.read(noted) == ["one"]
    assert outcomes[0] == "one"
    assert isinstance(outcomes[1], Conflict)


def test_an_old_copy_of_a_memory_store_can_be_restored() -> None:
    with Store.open_memory() as store:
        store.write(note("kept"))
        image = store.snapshot_bytes()
        store.write(note("forgotten"))
    with Store.open_memory(image) as restored:
        assert restored.read(noted) == ["kept"]
        restored.write(note("new"))
        assert restored.read(noted) == ["kept", "new"]


@pytest.mark.parametrize(("where", "kept"), [("before-commit", []), ("after-commit", ["one"])])
def test_a_crash_keeps_what_was_committed_and_tells_nobody(where: str, kept: list[str]) -> None:
    class CrashError(BaseException):
        pass

    def crash(point: str) -> None:
        if point == where:
            raise CrashError

    told: list[Any] = []
    store = Store.open_memory(crash_point=crash)
    with pytest.raises(CrashError):
        store.submit(note("one"), told.append)
    with Store.open_memory(store.snapshot_bytes()) as restored:
        assert restored.read(noted) == kept
    assert told == []


def test_submitting_inside_a_transaction_is_a_mistake_that_is_said() -> None:
    with Store.open_memory() as store:
        with pytest.raises(RuntimeError, match="inside a transaction"):
            store.write(lambda cx: store.submit(note("inner"), lambda _: None))
        assert store.read(noted) == []


# --- items that share a call ------------------------------------------------------------------------------------------


class Shelf:
    """Notes items, many in one call; refuses `bad` by its outcome and `worse` by raising."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def put(self, cx: Cx, items: list[str]) -> list[str | Conflict]:
        self.calls.append(items)
        for item in items:
            if item != "bad":
                note(item)(cx)
        if "worse" in items:
            raise Conflict("worse")
        return [Conflict("bad") if item == "bad" else item.upper() for item in items]


def test_items_that_wait_together_share_a_call_and_each_has_its_own_outcome(store: Store) -> None:
    shelf, outcomes = Shelf(), Outcomes()
    with HeldWriter(store):
        for item in ("a", "bad", "b"):
            store.submit_each(shelf.put, item, outcomes)
        store.submit(note("between"), outcomes)
        store.submit_each(shelf.put, "c", outcomes)
    told = outcomes.take(5)
    assert isinstance(told.pop(1), Conflict)
    assert told == ["A", "B", "between", "C"]
    assert shelf.calls == [["a", "bad", "b"], ["c"]]
    assert store.read(noted) == ["a", "b", "between", "c"]


def test_an_item_that_breaks_the_shared_call_spoils_no_other(store: Store) -> None:
    shelf, outcomes = Shelf(), Outcomes()
    with HeldWriter(store):
        for item in ("a", "worse", "b"):
            store.submit_each(shelf.put, item, outcomes)
    told = outcomes.take(3)
    assert isinstance(told.pop(1), Conflict)
    assert told == ["A", "B"]
    assert store.read(noted) == ["a", "b"]
