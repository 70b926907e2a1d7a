"""What many ask at the same time: read once, and never after a commit; or in one state."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from roamd.storage import meta
from roamd.storage.store import KNOWN, Cx, Store


class Looks:
    """A read that counts how often it ran."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.count = 0

    def __call__(self, key: str = "it") -> str | None:
        return self.store.read_once(key, self._read)

    def _read(self, cx: Cx) -> str | None:
        self.count += 1
        return meta.get(cx, "it")


@pytest.fixture(params=["a file", "in memory"])
def looks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Looks]:
    with Store.open(tmp_path / "roamd.db") if request.param == "a file" else Store.open_memory() as store:
        yield Looks(store)


def test_the_first_one_reads_for_all(looks: Looks) -> None:
    assert [looks(), looks(), looks()] == [None] * 3
    assert looks.count == 1


def test_a_commit_is_seen_by_the_next_one(looks: Looks) -> None:
    looks()
    looks.store.write(lambda cx: meta.set_txn(cx, "it", "new"))
    assert looks() == "new"
    looks.store.write(lambda cx: meta.set_txn(cx, "it", "newer"))
    assert (looks(), looks(), looks.count) == ("newer", "newer", 3)


def test_only_so_much_is_kept(looks: Looks) -> None:
    for number in range(KNOWN):
        looks(str(number))
    looks("0")
    assert looks.count == KNOWN
    looks("one more")
    looks("0")
    assert looks.count == KNOWN + 2


def test_within_a_snapshot_all_looks_see_one_state(tmp_path: Path) -> None:
    with Store.open(tmp_path / "roamd.db") as store:

        def looks() -> tuple[str | None, str | None]:
            return store.read(lambda cx: meta.get(cx, "it")), store.look(lambda cx: meta.get(cx, "it"))

        with store.snapshot():
            assert looks() == (None, None)
            store.write(lambda cx: meta.set_txn(cx, "it", "new"))
            with store.snapshot():
                assert looks() == (None, None)
            assert looks() == (None, None)
        assert looks() == ("new", "new")


def test_what_a_snapshot_saw_is_forgotten_behind_it(tmp_path: Path) -> None:
    with Store.open(tmp_path / "roamd.db") as store:
        looks = Looks(store)
        with store.snapshot():
            assert store.look(lambda cx: meta.get(cx, "it")) is None
            store.write(lambda cx: meta.set_txn(cx, "it", "new"))
            assert (looks(), looks(), looks.count) == (None, None, 1)
        assert (looks(), looks(), looks.count) == ("new", "new", 2)


def test_a_snapshot_begins_with_its_first_look(tmp_path: Path) -> None:
    with Store.open(tmp_path / "roamd.db") as store:
        looks = Looks(store)
        looks()
        with store.snapshot():
            store.write(lambda cx: meta.set_txn(cx, "it", "new"))
            assert looks() == "new"


def test_a_snapshot_ends_with_the_failure_of_what_it_was_for(tmp_path: Path) -> None:
    with Store.open(tmp_path / "roamd.db") as store:
        with pytest.raises(ZeroDivisionError), store.snapshot():
            store.read(lambda cx: 1 // 0)
        store.write(lambda cx: meta.set_txn(cx, "it", "new"))
        assert store.read(lambda cx: meta.get(cx, "it")) == "new"
