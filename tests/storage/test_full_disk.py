"""A full disk: intake is refused, promises are kept, and all goes on by itself when there is room again."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from roamd.errors import StoreFull
from roamd.storage.ballast import Ballast, free_bytes
from roamd.storage.store import Store
from tests.storage.doors import HeldWriter, ManualClock, Outcomes, note, noted
from tests.support.crashfs import FaultyVFS

MIB = 1 << 20


@pytest.fixture
def faulty() -> Iterator[FaultyVFS]:
    vfs = FaultyVFS("small")
    yield vfs
    vfs.unregister()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


# --- the ballast on its own -------------------------------------------------------------------------------------


class Space:
    """Free space as a test sets it."""

    def __init__(self, free: int) -> None:
        self.free = free

    def __call__(self, _: Path) -> int:
        return self.free


def nothing() -> int:
    """The log owes nothing."""
    return 0


def test_with_room_the_ballast_lies_and_intake_is_open(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", 4096, 0.0, owed=nothing, free=Space(10_000))
    assert not ballast.full
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= 4096


def test_below_the_reserve_intake_closes_before_the_disk_is_full(tmp_path: Path) -> None:
    space = Space(10_000)
    ballast = Ballast(tmp_path / "ballast", 4096, 0.0, owed=nothing, free=space)
    space.free = 4095
    ballast.look(1.0)
    assert ballast.full
    assert ballast.held
    space.free = 4096
    ballast.look(2.0)
    assert not ballast.full


def test_the_space_is_looked_at_once_a_second(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", 4096, 0.0, owed=nothing, free=Space(10_000))
    assert [ballast.due(now) for now in (0.1, 0.99, 1.0)] == [False, False, True]


def test_a_released_ballast_is_laid_down_again_when_there_is_room_for_it_and_more(tmp_path: Path) -> None:
    space = Space(10_000)
    ballast = Ballast(tmp_path / "ballast", 4096, 0.0, owed=nothing, free=space)
    ballast.note_full(0.0)
    assert not (tmp_path / "ballast").exists()
    space.free = 8191
    ballast.look(1.0)
    assert ballast.full
    space.free = 8192
    ballast.look(2.0)
    assert (ballast.full, ballast.held) == (False, True)


def test_the_ballast_of_an_earlier_run_is_taken_over(tmp_path: Path) -> None:
    Ballast(tmp_path / "ballast", 4096, 0.0, owed=nothing, free=Space(10_000))
    again = Ballast(tmp_path / "ballast", 4096, 0.0, owed=nothing, free=Space(4096))
    assert (again.full, again.held) == (False, True)


def test_a_ballast_of_another_size_is_laid_down_anew(tmp_path: Path) -> None:
    Ballast(tmp_path / "ballast", 4096, 0.0, owed=nothing, free=Space(100_000))
    Ballast(tmp_path / "ballast", 8192, 0.0, owed=nothing, free=Space(100_000))
    assert (tmp_path / "ballast").stat().st_size == 8192


# --- the store --------------------------------------------------------------------------------------------------


def test_a_write_without_room_is_rolled_back_and_refused(tmp_path: Path, clock: ManualClock, faulty: FaultyVFS) -> None:
    outcomes = Outcomes()
    with Store.open(tmp_path / "store.db", clock=clock, ballast_bytes=MIB, vfs=faulty.name) as store:
        store.write(note("before"))
        faulty.room = 0
        with HeldWriter(store):
            for number in range(3):
                store.submit(note(f"intake-{number}", 100_000), outcomes)
        assert all(isinstance(outcome, StoreFull) for outcome in outcomes.take(3))
        assert store.full
        assert not (tmp_path / "ballast").exists()
        assert store.read(noted) == ["before"]

        faulty.room = None
        clock.now_s += 1
        assert store.write(note("after"), essential=False) == "after"
        assert not store.full
        assert (tmp_path / "ballast").exists()


def test_what_is_essential_is_tried_again_on_the_reserve(tmp_path: Path, clock: ManualClock, faulty: FaultyVFS) -> None:
    outcomes = Outcomes()
    with Store.open(tmp_path / "store.db", clock=clock, ballast_bytes=MIB, vfs=faulty.name) as store:
        store.write(note("before"))
        faulty.room = 40_000
        with HeldWriter(store):
            store.submit(note("intake", 100_000), outcomes)
            store.submit(note("receipt"), outcomes, essential=True)
        receipt, intake = outcomes.take(2)
        assert receipt == "receipt"
        assert isinstance(intake, StoreFull)
        assert store.read(noted) == ["before", "receipt"]


def test_while_full_intake_is_refused_at_once_and_receipts_pass(
    tmp_path: Path, clock: ManualClock, faulty: FaultyVFS
) -> None:
    with Store.open(tmp_path / "store.db", clock=clock, ballast_bytes=MIB, vfs=faulty.name) as store:
        faulty.room = 0
        with pytest.raises(StoreFull):
            store.write(note("intake", 100_000), essential=False)
        faulty.room = None  # room comes back, but nobody has looked yet
        with pytest.raises(StoreFull):
            store.write(note("intake"), essential=False)
        assert store.write(note("receipt"), essential=True) == "receipt"


def test_what_the_log_owes_is_not_free(tmp_path: Path) -> None:
    owed = Space(1000)
    ballast = Ballast(tmp_path / "ballast", 4096, 0.0, owed=lambda: owed.free, free=Space(9000))
    assert (ballast.full, ballast.held) == (True, False)
    assert ballast.log_fits()
    owed.free = 0
    ballast.look(1.0)
    assert (ballast.full, ballast.held) == (False, True)
    owed.free = 9001
    assert not ballast.log_fits()


def test_a_disk_that_fills_up_slowly_keeps_room_for_promises(small_disk: Path, clock: ManualClock) -> None:
    with Store.open(small_disk / "store.db", clock=clock, ballast_bytes=MIB) as store:
        taken = fill(store, clock, 1.0)
        assert store.full
        assert free_bytes(small_disk) > MIB // 2, "intake closes before the disk is full"
        assert (small_disk / "ballast").exists()
        for number in range(100):
            clock.now_s += 1
            store.write(note(f"receipt-{number:02}", 100), essential=True)
        for name in taken:
            store.write(lambda cx, name=name: cx.run("DELETE FROM meta WHERE name = ?", (name,)), essential=True)
        assert len(store.read(noted)) == 100


def test_a_disk_that_fills_up_at_once_gives_up_the_ballast_and_goes_on_when_there_is_room(
    small_disk: Path, clock: ManualClock
) -> None:
    with Store.open(small_disk / "store.db", clock=clock, ballast_bytes=MIB) as store:
        taken = fill(store, clock, 0.0)
        assert store.full
        assert not (small_disk / "ballast").exists()
        assert store.read(noted) == taken
        for number in range(20):
            clock.now_s += 1
            store.write(note(f"receipt-{number:02}", 100), essential=True)
        subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
        clock.now_s += 1
        assert store.write(note("open again"), essential=False) == "open again"
        assert (small_disk / "ballast").exists()
    with Store.open(small_disk / "store.db", clock=clock, ballast_bytes=MIB) as store:
        assert len(store.read(noted)) == len(taken) + 21


def fill(store: Store, clock: ManualClock, every_s: float) -> list[str]:
    """Hand in rows of 50 kB until one is refused."""
    taken: list[str] = []
    for number in range(1000):
        clock.now_s += every_s
        try:
            taken.append(store.write(note(f"intake-{number:03}", 50_000), essential=False))
        except StoreFull:
            return taken
    raise AssertionError("the disk never filled up")
