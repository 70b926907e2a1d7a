"""A fleet of real daemons for tests of whole processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import Fleet


@pytest.fixture
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Companies that end with the test; after a failed test their logs are printed."""
    failed_before = request.session.testsfailed
    with Fleet(tmp_path) as fleet:
        yield fleet
        if request.session.testsfailed > failed_before:
            print(fleet.logs())  # noqa: T201 -- pytest shows it beside the failure
