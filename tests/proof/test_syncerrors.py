"""Syncs that fail, in the store alone and in one real daemon; `scripts/syncerrors` has fifty of those."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from roamd.errors import StoreBroken
from roamd.storage import ledgers
from roamd.storage.group import GroupCommit
from roamd.storage.store import Store
from tests.proof import syncerrors
from tests.storage.powercut import append_txn
from tests.support.crashfs import LosingVFS

MOST = 100


def written(path: Path, fails_at: int) -> tuple[int, bool]:
    """Rows that were acknowledged before the store broke, over a disk that loses one sync; and whether it broke."""
    vfs = LosingVFS(f"losing {path} {fails_at}", fails_at)
    ends: list[StoreBroken] = []
    store = Store.open(path, ballast_bytes=0, on_broken=ends.append, checkpoint_pages=20, vfs=vfs.name)
    acknowledged = 0
    try:
        while acknowledged < MOST:
            store.write(partial(append_txn, size=500))
            acknowledged += 1
    except StoreBroken:
        pass
    store.close()
    vfs.unregister()
    return acknowledged, bool(ends)


def held(path: Path) -> int:
    with Store.open(path, ballast_bytes=0) as store:
        chain = store.read(lambda cx: ledgers.current_chain(cx, "peer", own=True))
    return chain.tail_sequence if chain else 0


@pytest.fixture
def first(tmp_path: Path) -> int:
    """The first sync after the store has been made."""
    vfs = LosingVFS(f"counting {tmp_path}", 1 << 30)
    Store.open(tmp_path / "counted.db", ballast_bytes=0, vfs=vfs.name).close()
    vfs.unregister()
    return vfs.syncs


def test_whatever_sync_fails_the_store_breaks_and_what_was_acknowledged_is_there(tmp_path: Path, first: int) -> None:
    for nth in range(1, 30, 2):
        path = tmp_path / f"{nth}.db"
        acknowledged, broke = written(path, first + nth)
        assert broke
        assert held(path) == acknowledged


def test_a_planted_store_that_takes_no_notice_is_caught(
    tmp_path: Path, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = GroupCommit.commit

    def careless(self: GroupCommit, jobs: Any) -> Any:
        try:
            return commit(self, jobs)
        except StoreBroken:
            return [(job.done, None) for job in jobs]

    monkeypatch.setattr(GroupCommit, "commit", careless)
    acknowledged, broke = written(tmp_path / "store.db", first + 5)
    assert not broke
    assert held(tmp_path / "store.db") < acknowledged


def test_the_command_says_what_it_found_of_a_real_daemon(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncerrors, "LATEST", 60)
    assert syncerrors.main(["--runs", "1", "--seed", "10", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["figures"]["process ended by itself"] == 1
    assert told["figures"]["records acknowledged"] > 0
