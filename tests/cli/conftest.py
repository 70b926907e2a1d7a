"""The `roamd` command at a stand-in for the daemon's API."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from roamd.cli import main
from tests.support.fake_api import KEY, FakeApi, Roamd, configured


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """Answers by its `routes`, and remembers what it was `asked`."""
    with FakeApi() as fake:
        yield fake


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A daemon's directory as far as commands read it; `configured` adds the configuration."""
    (tmp_path / "api.key").write_text(KEY + "\n")
    return tmp_path


@pytest.fixture
def roamd(api: FakeApi, directory: Path) -> Roamd:
    """The command in this process; its exit code."""

    def run(*arguments: str) -> int:
        return main([*arguments, "-c", str(configured(directory, api.address))])

    return run
