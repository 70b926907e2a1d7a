"""Stores for tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from roamd.storage.store import Store
from tests.storage.doors import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
    """A store on disk, with its thread."""
    with Store.open(tmp_path / "store.db", clock=clock, ballast_bytes=0) as store:
        yield store


@pytest.fixture
def memory() -> Iterator[Store]:
    """A store in memory, for what SQL does."""
    with Store.open_memory() as store:
        yield store
